"""The variational autoencoder (Kingma and Welling 2014), with or without labels.

    ELBO(x) = E_q(z|x)[log p(x | z)] - KL(q(z | x) || p(z)),

summed over pixels and over latents for each image, then one mean over the batch. With k draws the
importance-weighted autoencoder (Burda et al. 2016) goes up a tighter bound,

    E[log 1/k sum_i p(x, z_i) / q(z_i | x)],  z_i ~ q(z | x).
"""

import dataclasses
import math
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float

from genjax import rng
from genjax.losses.divergences import free_bits, gaussian_kl
from genjax.losses.likelihoods import Likelihood
from genjax.losses.priors import Prior, StandardNormal
from genjax.models.base import (
    Drawn,
    Metrics,
    TrainState,
    apply_network,
    gradient_step,
    init_network,
)
from genjax.nn.layers import pmean
from genjax.schedule import Schedule
from genjax.types import Batch, Images, Labels, Latents, PerExample, Positions, PRNGKey, PyTree

#: The mean of k draws' bounds, or the logarithm of their mean weight; of one draw the same, but for
#: the KL, which is in closed form where it can be, or estimated by the draw.
OBJECTIVES = ("elbo", "iwae")
#: How the biases of the decoder's outputs start: at 0, or at the logits of the mean image.
OUTPUT_BIASES = ("zeros", "mean")
#: Pixels that are the same in all images start as all but sure.
PIXEL_MEANS = (0.001, 0.999)


@dataclasses.dataclass(frozen=True, kw_only=True)
class VAE:
    """A VAE with a diagonal Gaussian posterior.

    Attributes:
      encoder: images and labels to the posterior's mean and log variance.
      decoder: latents and labels to the likelihood's raw outputs.
      prior: p(z), with its own learned parameters if it has any.
      likelihood: p(x | z), with its own learned parameters if it has any.
      optimizer: for all parameters together.
      latent_size: number of latents.
      num_classes: 0 for a model without labels.
      objective: `elbo` or `iwae`.
      draws: k, for each image and step.
      kl_weight: the weight of the KL term at each step; 1 is the bound.
      free_bits: nats below which a part of the mean KL is not pressed (Kingma et al. 2016).
      output_bias: `zeros`, or `mean`, for a dense decoder (Burda et al. 2016, in their code).
      accumulate: chunks in which a batch goes through, one after the other.
    """

    networks: ClassVar[tuple[str, ...]] = ("encoder", "decoder")
    batches_per_step: ClassVar[int] = 1
    levels: ClassVar[int] = 1

    encoder: nn.Module
    decoder: nn.Module
    prior: Prior
    likelihood: Likelihood
    optimizer: optax.GradientTransformation
    latent_size: int
    num_classes: int
    objective: str
    draws: int
    kl_weight: Schedule
    free_bits: float
    output_bias: str = "zeros"
    accumulate: int = 1

    @property
    def prior_size(self) -> int:
        """Number of latents that the prior is of."""
        return self.latent_size

    def init(self, key: PRNGKey, batch: Batch) -> TrainState:
        """The state before the first step.

        Args:
          key: of the draws.
          batch: gives shapes; with `output_bias` "mean" its first image is the mean one.
        """
        images, labels = batch["image"][:1], self._labels(batch, slice(1))
        latents = jnp.zeros((1, self.latent_size))
        encoder, encoder_stats = init_network(
            self.encoder, rng.stream(key, "encoder"), images, labels
        )
        network = self.decoder
        if self.output_bias == "mean":
            mean = jnp.clip(images, *PIXEL_MEANS)
            logits = jnp.log(mean) - jnp.log1p(-mean)
            network = network.clone(output_bias=lambda key, *form: logits.reshape(form[0]))
        decoder, decoder_stats = init_network(network, rng.stream(key, "decoder"), latents, labels)
        prior = self.prior.init(rng.stream(key, "prior"), images.shape[1:], self.prior_size)
        params = {"encoder": encoder, "decoder": decoder, "likelihood": self.likelihood.init()}
        if prior:  # one that learns nothing is no part of a checkpoint
            params["prior"] = prior
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
        num = self.draws
        weight = self.kl_weight(state.step)

        def loss_fn(params, stats, batch):
            shape = (num, self.latent_size)
            noise = rng.normal(rng.stream(key, "latents"), batch["position"], shape)
            noise = noise.reshape(-1, self.latent_size)
            images, labels = batch["image"], self._labels(batch)
            many_images, many_labels = _repeated((images, labels), num)
            variables = self._variables(params, stats)
            encoded, encoder_stats = apply_network(
                self.encoder, params["encoder"], stats["encoder"], images, labels
            )
            encoded = _repeated(encoded, num)
            drawn = self.draw_latents(variables, encoded, noise)
            outputs, decoder_stats = apply_network(
                self.decoder, params["decoder"], stats["decoder"], drawn.latents, many_labels
            )
            log_prob = self.likelihood.log_prob(params["likelihood"], outputs, many_images)
            kl = self._kl(variables, encoded, drawn)
            mean_kl = pmean(kl.mean(0))
            if self.objective == "iwae":
                loss = -_log_mean(log_prob - weight * kl.sum(-1), num).mean()
            else:
                # The mean over the whole batch comes before the maximum with the free bits, of
                # which there need be some: an estimate of the KL may be negative.
                pressed = free_bits(mean_kl, self.free_bits) if self.free_bits else mean_kl.sum()
                loss = weight * pressed - log_prob.mean()
            metrics = {
                "loss": loss,
                "elbo": log_prob.mean() - mean_kl.sum(),
                "log_prob": log_prob.mean(),
                "kl": mean_kl.sum(),
                "kl_weight": weight,
                "moments": (drawn.mean.mean(0), (drawn.mean**2).mean(0)),
            }
            if len(mean_kl) == self.latent_size:
                metrics["kl_per_dimension"] = mean_kl
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
        """The variables of encoder and decoder, the prior's components, the likelihood's own."""
        return self._variables(state.params, state.stats)

    def encode(self, params: PyTree, images: Images, labels: Labels | None = None) -> PyTree:
        """(mean, log variance) of q(z | x), or what a model of more levels makes of the images."""
        return self.encoder.apply(params["encoder"], images, labels, train=False)

    def draw_latents(self, params: PyTree, encoded: PyTree, noise: Latents) -> Drawn:
        """z ~ q(z | x) of each row of what `encode` gave, made of standard normal `noise`."""
        del params
        mean, log_var = encoded
        log_prob = StandardNormal().log_prob({}, noise) - 0.5 * log_var.sum(-1)
        return Drawn(mean + jnp.exp(0.5 * log_var) * noise, log_prob, mean)

    def log_prior(self, params: PyTree, latents: Latents) -> PerExample:
        """log p(z), in nats."""
        return self.prior.log_prob(params["prior"], latents)

    def prior_latents(
        self, params: PyTree, noise: Latents, key: PRNGKey, positions: Positions
    ) -> Latents:
        """z ~ p(z) made of standard normal `noise`, and of what `key` gives to each position."""
        return self.prior.place(params["prior"], noise, key, positions)

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
        encoded = self.encode(params, images, labels)
        middle = jnp.zeros((len(images), self.latent_size))
        return self.generate(params, self.draw_latents(params, encoded, middle).latents, labels)

    def bound(
        self, params: PyTree, batch: Batch, key: PRNGKey
    ) -> tuple[PerExample, Float[Array, "batch part"], Latents]:
        """(log p(x | z) with one z ~ q(z | x), KL in parts, posterior mean), in nats.

        Draws are keyed by `batch["index"]`: the same however the images are batched.
        """
        labels = self._labels(batch)
        encoded = self.encode(params, batch["image"], labels)
        noise = rng.normal(key, batch["index"], (self.latent_size,))
        drawn = self.draw_latents(params, encoded, noise)
        log_prob = self.log_likelihood(params, drawn.latents, batch["image"], labels)
        return log_prob, self._kl(params, encoded, drawn), drawn.mean

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

    def _kl(self, params: PyTree, encoded: PyTree, drawn: Drawn) -> Float[Array, "batch part"]:
        """KL(q || p) of each latent in closed form, or the draw's log q(z) - log p(z).

        An importance weight is that of a draw; else the closed form is there for normal latents.
        """
        if isinstance(self.prior, StandardNormal) and self.levels == 1 and self.objective == "elbo":
            return gaussian_kl(*encoded)
        return (drawn.log_prob - self.log_prior(params, drawn.latents))[:, None]

    def _variables(self, params: PyTree, stats: PyTree) -> PyTree:
        encoder = {"params": params["encoder"], **stats["encoder"]}
        encode = lambda images: self.encoder.apply(encoder, images, train=False)[:2]
        return {
            "encoder": encoder,
            "decoder": {"params": params["decoder"], **stats["decoder"]},
            "prior": self.prior.components(params.get("prior", {}), encode),
            "likelihood": params["likelihood"],
        }

    def _labels(self, batch: Batch, rows: slice = slice(None)) -> Labels | None:
        return batch["label"][rows] if self.num_classes else None


def _repeated(tree: PyTree, num: int) -> PyTree:
    """Each row `num` times, one after the other."""
    return jax.tree.map(lambda leaf: jnp.repeat(leaf, num, axis=0), tree)


def _log_mean(log_weights: PerExample, num: int) -> PerExample:
    """The logarithm of the mean over each `num` rows' weights."""
    return logsumexp(log_weights.reshape(-1, num), axis=1) - math.log(num)
