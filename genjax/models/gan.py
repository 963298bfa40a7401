"""Generative adversarial networks (Goodfellow et al. 2014), with or without labels.

Loss, penalty, networks and conditioning are separate axes; any goes with any.
"""

import dataclasses
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from genjax import rng
from genjax.losses.adversarial import AdversarialLoss
from genjax.losses.penalties import Penalty
from genjax.models.base import (
    Metrics,
    TrainState,
    apply_network,
    init_network,
    network_step,
    with_average,
)
from genjax.nn.layers import AXIS, pmean
from genjax.types import Batch, Images, Labels, Latents, PRNGKey, PyTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class GAN:
    """A generator and a discriminator.

    Attributes:
      generator: latents and labels to raw images; tanh takes them into [-1, 1].
      discriminator: images in [-1, 1] and labels to (logits, class logits or None).
      loss: what both make of the logits.
      penalty: a price on the discriminator's gradients, or None.
      penalty_weight: its weight (lambda of WGAN-GP and DRAGAN, gamma of R1).
      auxiliary_weight: weight of the class logits' cross-entropy, where there are any (AC-GAN).
      d_steps: discriminator updates to one of the generator, each on a batch of its own.
      ema_decay: of the moving average of the generator, which is what samples are drawn from.
      d_optimizer, g_optimizer: one for each network.
      latent_size: number of latents, standard normal.
      num_classes: 0 for a model without labels.
      accumulate: chunks in which a batch goes through, one after the other.
    """

    networks: ClassVar[tuple[str, ...]] = ("generator", "discriminator")

    generator: nn.Module
    discriminator: nn.Module
    loss: AdversarialLoss
    penalty: Penalty | None
    penalty_weight: float
    auxiliary_weight: float
    d_steps: int
    ema_decay: float
    d_optimizer: optax.GradientTransformation
    g_optimizer: optax.GradientTransformation
    latent_size: int
    num_classes: int
    accumulate: int = 1

    @property
    def batches_per_step(self) -> int:
        """Each discriminator update sees real images of its own."""
        return self.d_steps

    def init(self, key: PRNGKey, batch: Batch) -> TrainState:
        """The state before the first step; `batch` gives shapes only."""
        labels = batch["label"][:1] if self.num_classes else None
        latents = jnp.zeros((1, self.latent_size))
        g_params, g_stats = init_network(
            self.generator, rng.stream(key, "generator"), latents, labels
        )
        d_params, d_stats = init_network(
            self.discriminator, rng.stream(key, "discriminator"), batch["image"][:1], labels
        )
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params={"generator": g_params, "discriminator": d_params},
            opt={
                "generator": self.g_optimizer.init(g_params),
                "discriminator": self.d_optimizer.init(d_params),
            },
            stats={"generator": g_stats, "discriminator": d_stats},
            # A copy: the state is donated, and no buffer can be given away twice.
            ema={"generator": jax.tree.map(jnp.copy, {"params": g_params, **g_stats})},
        )

    def train_step(
        self, state: TrainState, batch: Batch, key: PRNGKey
    ) -> tuple[TrainState, Metrics]:
        """`d_steps` updates of the discriminator, then one of the generator and its average."""
        # Every d_steps-th row makes a batch, so that a shard's rows are the same batch's rows
        # however many devices share it.
        batches = jax.tree.map(
            lambda rows: rows.reshape(-1, self.d_steps, *rows.shape[1:]).swapaxes(0, 1), dict(batch)
        )

        def d_step(state, batch):
            return self._discriminator_step(state, batch, rng.stream(key, "discriminator"))

        state, d_metrics = jax.lax.scan(d_step, state, batches)
        last = jax.tree.map(lambda rows: rows[-1], batches)
        state, g_metrics = self._generator_step(state, last, rng.stream(key, "generator"))
        metrics = jax.tree.map(lambda each: each.mean(0), d_metrics) | g_metrics
        metrics = pmean(metrics | {"real_moments": _moments(2 * last["image"] - 1)})
        fake, real = (_spread(*metrics.pop(f"{which}_moments")) for which in ("fake", "real"))
        # Of a batch: how far samples lie apart beside real images; 0 where all are the same.
        metrics["diversity"] = fake / jnp.maximum(real, jnp.finfo(real.dtype).tiny)
        return state.replace(step=state.step + 1), metrics

    def _discriminator_step(
        self, state: TrainState, batch: Batch, key: PRNGKey
    ) -> tuple[TrainState, Metrics]:
        g_params, g_stats = state.params["generator"], state.stats["generator"]

        def loss_fn(params, stats, batch):
            real, labels, positions = 2 * batch["image"] - 1, self._labels(batch), batch["position"]
            fake, _ = self._fake(g_params, g_stats, labels, positions, key)
            (real_logits, real_classes), stats = apply_network(
                self.discriminator, params, stats, real, labels
            )
            (fake_logits, fake_classes), stats = apply_network(
                self.discriminator, params, stats, fake, labels
            )
            loss = self.loss.discriminator(real_logits, fake_logits).mean()
            metrics = {"d_loss": loss, "d_real": real_logits.mean(), "d_fake": fake_logits.mean()}
            if real_classes is not None:
                both = self._class_loss(real_classes, labels) + self._class_loss(
                    fake_classes, labels
                )
                metrics["d_class_loss"] = both
                loss += self.auxiliary_weight * both
            if self.penalty is not None:

                def critic(images):
                    (logits, _), _ = apply_network(
                        self.discriminator, params, stats, images, labels
                    )
                    return logits

                penalty_key = rng.stream(key, "penalty")
                penalty = self.penalty(critic, real, fake, penalty_key, positions, AXIS).mean()
                metrics["penalty"] = penalty
                loss += self.penalty_weight * penalty
            return loss, (stats, metrics, {})

        state, metrics, _ = network_step(
            state, "discriminator", loss_fn, self.d_optimizer, batch, self.accumulate, "d_"
        )
        return state, metrics

    def _generator_step(
        self, state: TrainState, batch: Batch, key: PRNGKey
    ) -> tuple[TrainState, Metrics]:
        def loss_fn(params, stats, batch):
            labels = self._labels(batch)
            fake, stats = self._fake(params, stats, labels, batch["position"], key)
            (logits, classes), _ = apply_network(
                self.discriminator,
                state.params["discriminator"],
                state.stats["discriminator"],
                fake,
                labels,
            )
            loss = self.loss.generator(logits).mean()
            metrics = {"g_loss": loss, "fake_moments": _moments(fake)}
            if classes is not None:
                metrics["g_class_loss"] = self._class_loss(classes, labels)
                loss += self.auxiliary_weight * metrics["g_class_loss"]
            return loss, (stats, metrics, {})

        state, metrics, _ = network_step(
            state, "generator", loss_fn, self.g_optimizer, batch, self.accumulate, "g_"
        )
        return with_average(state, "generator", self.ema_decay), metrics

    def _fake(self, params, stats, labels, positions, key) -> tuple[Images, PyTree]:
        """Images in [-1, 1] in training mode, and the generator's moved-on statistics."""
        latents = rng.normal(rng.stream(key, "latents"), positions, (self.latent_size,))
        raw, stats = apply_network(self.generator, params, stats, latents, labels)
        return jnp.tanh(raw), stats

    def _class_loss(self, class_logits, labels):
        return optax.softmax_cross_entropy_with_integer_labels(class_logits, labels).mean()

    def _labels(self, batch: Batch) -> Labels | None:
        return batch["label"] if self.num_classes else None

    def inference_params(self, state: TrainState) -> PyTree:
        """The moving average of the generator's variables."""
        return state.ema["generator"]

    def generate(self, params: PyTree, latents: Latents, labels: Labels | None = None) -> Images:
        """Images in [0, 1] for `latents` and, in a conditional model, `labels`."""
        return (jnp.tanh(self.generator.apply(params, latents, labels, train=False)) + 1) / 2


def _moments(images: Images) -> tuple[Array, Array]:
    """The mean over the batch of each value and of its square."""
    return images.mean(0), jnp.square(images).mean(0)


def _spread(mean: Array, mean_square: Array) -> Array:
    """The root of the values' mean variance, which rounding may leave below 0 where all agree."""
    return jnp.sqrt(jnp.maximum(jnp.mean(mean_square - jnp.square(mean)), 0))
