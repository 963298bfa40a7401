"""Dense networks of two levels of latents, z1 beside the image and z2 above it.

Two-level networks see everything (Tomczak and Welling 2018, section 3.3): the model is
p(z2) p(z1 | z2) p(x | z1, z2), its posterior q(z2 | x) q(z1 | x, z2). Those of a chain see the next
level alone (Burda et al. 2016, section 5): p(z2) p(z1 | z2) p(x | z1) and q(z1 | x) q(z2 | z1).
"""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from genjax.nn.heads import Posterior
from genjax.nn.mlp import MLPDecoder, MLPEncoder
from genjax.types import Images, Labels, Latents

Features = Float[Array, "batch feature"]


class TwoLevelEncoder(nn.Module):
    """q(z2 | x) by all layers; q(z1 | x, z2) by a layer on x, one on z2 and one on both.

    Attributes:
      latent_sizes: of z1 and z2.
      widths: of the layers of q(z2 | x); the last one is that of all others.
      log_var_range: log variances are cut off at these two; empty leaves them as they are.
    """

    latent_sizes: tuple[int, int]
    widths: tuple[int, ...]
    log_var_range: tuple[float, ...] = ()
    activation: str = "leaky_relu"
    dtype: jnp.dtype = jnp.float32

    def setup(self):  # noqa: D102 - Flax's own
        layers = partial(MLPEncoder, activation=self.activation, dtype=self.dtype)
        first, second = self.latent_sizes
        self.second = Posterior(layers(self.widths), second, self.log_var_range)
        self.of_image = layers(self.widths[-1:])
        self.of_second = layers(self.widths[-1:])
        self.first = Posterior(layers(self.widths[-1:]), first, self.log_var_range)

    def __call__(
        self, images: Images, labels: Labels | None = None, *, train: bool
    ) -> tuple[Latents, Latents, Features]:
        """(mean and log variance of q(z2 | x), what q(z1 | x, z2) sees of x)."""
        del labels
        mean, log_var = self.second(images, train=train)
        features = self.of_image(images, train=train)
        if self.is_initializing():
            self.given_second(features, mean)
        return mean, log_var, features

    def given_second(self, features: Features, second: Latents) -> tuple[Latents, Latents]:
        """(mean, log variance) of q(z1 | x, z2)."""
        both = jnp.concatenate([features, self.of_second(second, train=False)], axis=-1)
        return self.first(both, train=False)


class TwoLevelDecoder(nn.Module):
    """p(z1 | z2) by all layers; p(x | z1, z2) by a layer on z1, one on z2 and one on both.

    Attributes:
      shape: (height, width, channel) of the outputs.
      latent_sizes: of z1 and z2.
      widths: of the layers of p(z1 | z2); the last one is that of all others.
      log_var_range: log variances are cut off at these two; empty leaves them as they are.
    """

    shape: tuple[int, int, int]
    latent_sizes: tuple[int, int]
    widths: tuple[int, ...]
    log_var_range: tuple[float, ...] = ()
    activation: str = "leaky_relu"
    dtype: jnp.dtype = jnp.float32

    def setup(self):  # noqa: D102 - Flax's own
        fields = {"activation": self.activation, "dtype": self.dtype}
        layers = partial(MLPEncoder, **fields)
        self.first = Posterior(layers(self.widths), self.latent_sizes[0], self.log_var_range)
        self.of_first = layers(self.widths[-1:])
        self.of_second = layers(self.widths[-1:])
        self.of_both = MLPDecoder(self.shape, self.widths[-1:], **fields)

    def __call__(self, latents: Latents, labels: Labels | None = None, *, train: bool) -> Images:
        """Raw outputs for z2 and, beside it, z1 in deviations from its mean under p(z1 | z2)."""
        del labels
        second, first = _levels(self, latents)
        parts = self.of_first(first, train=train), self.of_second(second, train=train)
        return self.of_both(jnp.concatenate(parts, axis=-1), train=train)

    def given_second(self, second: Latents) -> tuple[Latents, Latents]:
        """(mean, log variance) of p(z1 | z2)."""
        return self.first(second, train=False)


class ChainEncoder(nn.Module):
    """q(z1 | x) and q(z2 | z1).

    Attributes:
      latent_sizes: of z1 and z2.
      widths: of the layers of q(z1 | x).
      second_widths: of the layers of q(z2 | z1).
      log_var_range: log variances are cut off at these two; empty leaves them as they are.
    """

    latent_sizes: tuple[int, int]
    widths: tuple[int, ...]
    second_widths: tuple[int, ...]
    log_var_range: tuple[float, ...] = ()
    activation: str = "leaky_relu"
    dtype: jnp.dtype = jnp.float32

    def setup(self):  # noqa: D102 - Flax's own
        layers = partial(MLPEncoder, activation=self.activation, dtype=self.dtype)
        first, second = self.latent_sizes
        self.first = Posterior(layers(self.widths), first, self.log_var_range)
        self.second = Posterior(layers(self.second_widths), second, self.log_var_range)

    def __call__(
        self, images: Images, labels: Labels | None = None, *, train: bool
    ) -> tuple[Latents, Latents]:
        """(mean, log variance) of q(z1 | x)."""
        del labels
        mean, log_var = self.first(images, train=train)
        if self.is_initializing():
            self.given_first(mean)
        return mean, log_var

    def given_first(self, first: Latents) -> tuple[Latents, Latents]:
        """(mean, log variance) of q(z2 | z1)."""
        return self.second(first, train=False)


class ChainDecoder(nn.Module):
    """p(z1 | z2) and p(x | z1).

    Attributes:
      shape: (height, width, channel) of the outputs.
      latent_sizes: of z1 and z2.
      widths: of the layers of p(x | z1).
      second_widths: of the layers of p(z1 | z2).
      log_var_range: log variances are cut off at these two; empty leaves them as they are.
    """

    shape: tuple[int, int, int]
    latent_sizes: tuple[int, int]
    widths: tuple[int, ...]
    second_widths: tuple[int, ...]
    log_var_range: tuple[float, ...] = ()
    activation: str = "leaky_relu"
    dtype: jnp.dtype = jnp.float32

    def setup(self):  # noqa: D102 - Flax's own
        fields = {"activation": self.activation, "dtype": self.dtype}
        second = MLPEncoder(self.second_widths, **fields)
        self.first = Posterior(second, self.latent_sizes[0], self.log_var_range)
        self.of_first = MLPDecoder(self.shape, self.widths, **fields)

    def __call__(self, latents: Latents, labels: Labels | None = None, *, train: bool) -> Images:
        """Raw outputs for z2 and, beside it, z1 in deviations from its mean under p(z1 | z2)."""
        del labels
        return self.of_first(_levels(self, latents)[1], train=train)

    def given_second(self, second: Latents) -> tuple[Latents, Latents]:
        """(mean, log variance) of p(z1 | z2)."""
        return self.first(second, train=False)


def _levels(decoder: TwoLevelDecoder | ChainDecoder, latents: Latents) -> tuple[Latents, Latents]:
    """(z2, z1) of z2 and, beside it, z1 in deviations from its mean under p(z1 | z2)."""
    second, deviations = jnp.split(latents, [decoder.latent_sizes[1]], axis=-1)
    mean, log_var = decoder.given_second(second)
    return second, mean + jnp.exp(0.5 * log_var) * deviations
