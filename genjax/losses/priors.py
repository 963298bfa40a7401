"""Distributions of latents before an image is seen.

All have one interface, `Prior`. Log densities are in nats and summed over each example's latents.
"""

import abc
import dataclasses
import math
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array

from genjax import rng
from genjax.types import Images, Latents, PerExample, Positions, PRNGKey

#: Pseudo-inputs start as nearly black images (the code of Tomczak and Welling 2018).
PSEUDO_INPUT_MEAN, PSEUDO_INPUT_DEVIATION = 0.05, 0.01
#: What is learned, as the model's state holds it.
Params = Mapping[str, Array]
#: `mean` and `log_var`, each [component, latent], of normal distributions with equal shares; empty
#: for a prior that has no need of them.
Components = Mapping[str, Array]


class Prior(abc.ABC):
    """The common interface."""

    @abc.abstractmethod
    def init(
        self, key: PRNGKey, image_shape: tuple[int, int, int], latent_size: int
    ) -> dict[str, Array]:
        """The learned parameters, as they start."""

    def components(
        self, params: Params, encode: Callable[[Images], tuple[Latents, Latents]]
    ) -> Components:
        """What the functions below take; `encode` gives the (mean, log variance) of a posterior."""
        del encode
        return params

    @abc.abstractmethod
    def log_prob(self, components: Components, latents: Latents) -> PerExample:
        """Log density of each example's latents, in nats."""

    @abc.abstractmethod
    def place(
        self, components: Components, noise: Latents, key: PRNGKey, positions: Positions
    ) -> Latents:
        """Draws, made of standard normal `noise`; all else is drawn by each example's position."""


@dataclasses.dataclass(frozen=True)
class StandardNormal(Prior):
    """Independent latents of mean 0 and variance 1."""

    def init(
        self, key: PRNGKey, image_shape: tuple[int, int, int], latent_size: int
    ) -> dict[str, Array]:
        """None."""
        del key, image_shape, latent_size
        return {}

    def log_prob(self, components: Components, latents: Latents) -> PerExample:
        """-|z|^2 / 2 and its normalising constant."""
        del components
        return -0.5 * jnp.sum(latents**2 + math.log(2 * math.pi), axis=-1)

    def place(
        self, components: Components, noise: Latents, key: PRNGKey, positions: Positions
    ) -> Latents:
        """The noise itself."""
        del components, key, positions
        return noise


@dataclasses.dataclass(frozen=True)
class Mixture(Prior):
    """Normal distributions with learned means and variances, in equal shares.

    Attributes:
      num_components: how many.
    """

    num_components: int

    def init(
        self, key: PRNGKey, image_shape: tuple[int, int, int], latent_size: int
    ) -> dict[str, Array]:
        """Means drawn from a standard normal, variances of 1."""
        del image_shape
        shape = (self.num_components, latent_size)
        return {"mean": jax.random.normal(key, shape), "log_var": jnp.zeros(shape)}

    def log_prob(self, components: Components, latents: Latents) -> PerExample:
        """The logarithm of the components' mean density."""
        mean, log_var = components["mean"], components["log_var"]
        precision = jnp.exp(-log_var)
        # (z - m)^2 / v as one product of matrices: all pairs of latents and components, each
        # squared by itself, would be by far the longest part of a step.
        features = jnp.concatenate([latents**2, -2 * latents], axis=-1)
        weights = jnp.concatenate([precision, mean * precision], axis=-1)
        distances = jnp.matmul(features, weights.T, precision=jax.lax.Precision.HIGHEST)
        constants = jnp.sum(mean**2 * precision + log_var + math.log(2 * math.pi), axis=-1)
        return logsumexp(-0.5 * (distances + constants), axis=-1) - math.log(self.num_components)

    def place(
        self, components: Components, noise: Latents, key: PRNGKey, positions: Positions
    ) -> Latents:
        """The noise around the mean of a component that is drawn."""
        chosen = rng.randint(rng.stream(key, "component"), positions, 0, self.num_components)
        mean, log_var = components["mean"][chosen], components["log_var"][chosen]
        return mean + jnp.exp(0.5 * log_var) * noise


@dataclasses.dataclass(frozen=True)
class VampPrior(Mixture):
    """The mean of the posteriors of learned images, the pseudo-inputs (Tomczak and Welling 2018).

    Attributes:
      num_components: how many pseudo-inputs.
    """

    def init(
        self, key: PRNGKey, image_shape: tuple[int, int, int], latent_size: int
    ) -> dict[str, Array]:
        """`pseudo_inputs`, [component, height, width, channel]."""
        del latent_size
        noise = jax.random.normal(key, (self.num_components, *image_shape))
        return {"pseudo_inputs": PSEUDO_INPUT_MEAN + PSEUDO_INPUT_DEVIATION * noise}

    def components(
        self, params: Params, encode: Callable[[Images], tuple[Latents, Latents]]
    ) -> Components:
        """The posteriors of the pseudo-inputs, which are cut off at 0 and 1."""
        mean, log_var = encode(jnp.clip(params["pseudo_inputs"], 0, 1))
        return {"mean": mean, "log_var": log_var}


def standard_normal(num_components: int) -> Prior:
    """Has no use for `num_components`."""
    del num_components
    return StandardNormal()


#: The priors that a config may name, all with the same fields.
PRIORS = {"standard_normal": standard_normal, "mixture": Mixture, "vamp": VampPrior}
