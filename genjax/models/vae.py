"""The variational autoencoder (Kingma and Welling 2014), with or without labels.

    ELBO(x) = E_q(z|x)[log p(x | z)] - KL(q(z | x) || p(z)),

summed over pixels and over latents for each image, then one mean over the batch.
"""

import dataclasses
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from genjax import rng
from genjax.losses.divergences import free_bits, gaussian_kl
from genjax.losses.likelihoods import Likelihood
from genjax.models.base import (
    Metrics,
    TrainState,
    apply_network,
    gradient_step,
    init_network,
)
from genjax.nn.layers import pmean
from genjax.schedule import Schedule
from genjax.types import Batch, Images, Labels, Latents, PerExample, Positions, PRNGKey, PyTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class VAE:
    """A VAE with standard normal prior and diagonal Gaussian posterior.

    Attributes:
      encoder: images and labels to the posterior's mean and log variance.
      decoder: latents and labels to the likelihood's raw outputs.
      likelihood: p(x | z), with its own learned parameters if it has any.
      optimizer: for all parameters together.
      latent_size: number of latents.
      num_classes: 0 for a model without labels.
      kl_weight: the weight of the KL term at each step; 1 is the bound.
      free_bits: nats below which a latent's mean KL is not pressed (Kingma et al. 2016).
      accumulate: chunks in which a batch goes through, one after the other.
    """

    networks: ClassVar[tuple[str, ...]] = ("encoder", "decoder")
    batches_per_step: ClassVar[int] = 1

    encoder: nn.Module
    decoder: nn.Module
    likelihood: Likelihood
    optimizer: optax.GradientTransformation
    latent_size: int
    num_classes: int
    kl_weight: Schedule
    free_bits: float
    accumulate: int = 1

    def init(self, key: PRNGKey, batch: Batch) -> TrainState:
        """The state before the first step; `batch` gives shapes only."""
        images, labels = batch["image"][:1], self._labels(batch, slice(1))
        latents = jnp.zeros((1, self.latent_size))
        encoder, encoder_stats = init_network(
            self.encoder, rng.stream(key, "encoder"), images, labels
        )
        decoder, decoder_stats = init_network(
            self.decoder, rng.stream(key, "decoder"), latents, labels
        )
        params = {"encoder": encoder, "decoder": decoder, "likelihood": self.likelihood.init()}
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            opt={"vae": self.optimizer.init(params)},
            stats={"encoder": encoder_stats, "decoder": decoder_stats},
            ema={},
        )

    def train_step(
        self, state: TrainState, batch: Batch, key: PRNGKey
    ) -> tuple[TrainState, Metrics]:
        """One step up the bound, its KL weighted by `kl_weight` and held above `free_bits`."""
        weight = self.kl_weight(state.step)

        def loss_fn(params, stats, batch):
            images, labels = batch["image"], self._labels(batch)
            noise = rng.normal(rng.stream(key, "latents"), batch["position"], (self.latent_size,))
            (mean, log_var), encoder_stats = apply_network(
                self.encoder, params["encoder"], stats["encoder"], images, labels
            )
            latents = mean + jnp.exp(0.5 * log_var) * noise
            outputs, decoder_stats = apply_network(
                self.decoder, params["decoder"], stats["decoder"], latents, labels
            )
            log_prob = self.likelihood.log_prob(params["likelihood"], outputs, images).mean()
            # The mean over the whole batch comes before the maximum with the free bits.
            kl = pmean(gaussian_kl(mean, log_var).mean(0))
            loss = weight * free_bits(kl, self.free_bits) - log_prob
            metrics = {
                "loss": loss,
                "elbo": log_prob - kl.sum(),
                "log_prob": log_prob,
                "kl": kl.sum(),
                "kl_per_dimension": kl,
                "kl_weight": weight,
                "moments": (mean.mean(0), (mean**2).mean(0)),
            }
            return loss, ({"encoder": encoder_stats, "decoder": decoder_stats}, metrics, {})

        params, opt, (stats, metrics, _) = gradient_step(
            loss_fn,
            self.optimizer,
            state.params,
            state.opt["vae"],
            state.stats,
            batch,
            self.accumulate,
        )
        metrics = pmean(metrics)
        first, second = metrics.pop("moments")
        # Burda et al. 2016: a latent is active where its posterior mean moves with the image.
        metrics["active_units"] = jnp.sum(second - first**2 > 0.01).astype(jnp.float32)
        state = state.replace(step=state.step + 1, params=params, opt={"vae": opt}, stats=stats)
        return state, metrics

    def inference_params(self, state: TrainState) -> PyTree:
        """The variables of encoder and decoder, and the likelihood's parameters."""
        return {
            "encoder": {"params": state.params["encoder"], **state.stats["encoder"]},
            "decoder": {"params": state.params["decoder"], **state.stats["decoder"]},
            "likelihood": state.params["likelihood"],
        }

    def encode(
        self, params: PyTree, images: Images, labels: Labels | None = None
    ) -> tuple[Latents, Latents]:
        """(mean, log variance) of q(z | x)."""
        return self.encoder.apply(params["encoder"], images, labels, train=False)

    def decode(self, params: PyTree, latents: Latents, labels: Labels | None = None) -> Array:
        """The likelihood's raw outputs for `latents`."""
        return self.decoder.apply(params["decoder"], latents, labels, train=False)

    def generate(self, params: PyTree, latents: Latents, labels: Labels | None = None) -> Images:
        """The mean image of p(x | z) for `latents`."""
        return self.likelihood.mean(self.decode(params, latents, labels))

    def moments(
        self, params: PyTree, latents: Latents, labels: Labels | None = None
    ) -> tuple[Images, Images]:
        """(mean, variance) of each value of p(x | z)."""
        outputs = self.decode(params, latents, labels)
        return self.likelihood.mean(outputs), self.likelihood.variance(
            params["likelihood"], outputs
        )

    def reconstruct(self, params: PyTree, images: Images, labels: Labels | None = None) -> Images:
        """The mean image of p(x | z) at the posterior's mean."""
        return self.generate(params, self.encode(params, images, labels)[0], labels)

    def bound(
        self, params: PyTree, batch: Batch, key: PRNGKey
    ) -> tuple[PerExample, Float[Array, "batch latent"], Latents]:
        """(log p(x | z) with one z ~ q(z | x), KL per latent, posterior mean), in nats.

        Draws are keyed by `batch["index"]`: the same however the images are batched.
        """
        labels = self._labels(batch)
        mean, log_var = self.encode(params, batch["image"], labels)
        noise = rng.normal(key, batch["index"], (self.latent_size,))
        latents = mean + jnp.exp(0.5 * log_var) * noise
        log_prob = self.log_likelihood(params, latents, batch["image"], labels)
        return log_prob, gaussian_kl(mean, log_var), mean

    def log_likelihood(
        self, params: PyTree, latents: Latents, images: Images, labels: Labels | None = None
    ) -> PerExample:
        """log p(x | z) of each row's image and latents, in nats."""
        outputs = self.decode(params, latents, labels)
        return self.likelihood.log_prob(params["likelihood"], outputs, images)

    def simulate(
        self,
        params: PyTree,
        latents: Latents,
        key: PRNGKey,
        positions: Positions,
        labels: Labels | None = None,
    ) -> Images:
        """Images drawn from p(x | z), each by its position; of a density beyond [0, 1] too."""
        outputs = self.decode(params, latents, labels)
        return self.likelihood.sample(params["likelihood"], outputs, key, positions)

    def _labels(self, batch: Batch, rows: slice = slice(None)) -> Labels | None:
        return batch["label"][rows] if self.num_classes else None
