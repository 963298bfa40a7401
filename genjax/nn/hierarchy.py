"""Dense networks of two levels of latents, z1 beside the image and z2 above it.

Two-level networks see everything (Tomczak and Welling 2018, section 3.3): the model is
p(z2) p(z1 | z2) p(x | z1, z2), its posterior q(z2 | x) q(z1 | x, z2). Those of a chain see the next
level alone (Burda et al. 2016, section 5): p(z2) p(z1 | z2) p(x | z1) and q(z1 | x) q(z2 | z1).
"""

from collections.abc import Callable
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
    kernel_init: str = "lecun_normal"
    dtype: jnp.dtype = jnp.float32

    def setup(self):  # noqa: D102 - Flax's own
        layers, _, posterior = _makers(self)
        first, second = self.latent_sizes
        self.second = posterior(layers(self.widths), second)
        self.of_image = layers(self.widths[-1:])
        self.of_second = layers(self.widths[-1:])
        self.first = posterior(layers(self.widths[-1:]), first)

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
      output_bias: how the last layer's biases start.
    """

    shape: tuple[int, int, int]
    latent_sizes: tuple[int, int]
    widths: tuple[int, ...]
    log_var_range: tuple[float, ...] = ()
    activation: str = "leaky_relu"
    kernel_init: str = "lecun_normal"
    output_bias: nn.initializers.Initializer = nn.initializers.zeros
    dtype: jnp.dtype = jnp.float32

    def setup(self):  # noqa: D102 - Flax's own
        layers, outputs, posterior = _makers(self)
        self.first = posterior(layers(self.widths), self.latent_sizes[0])
        self.of_first = layers(self.widths[-1:])
        self.of_second = layers(self.widths[-1:])
        self.of_both = outputs(self.shape, self.widths[-1:], output_bias=self.output_bias)

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
    kernel_init: str = "lecun_normal"
    dtype: jnp.dtype = jnp.float32

    def setup(self):  # noqa: D102 - Flax's own
        layers, _, posterior = _makers(self)
        first, second = self.latent_sizes
        self.first = posterior(layers(self.widths), first)
        self.second = posterior(layers(self.second_widths), second)

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
      output_bias: how the last layer's biases start.
    """

    shape: tuple[int, int, int]
    latent_sizes: tuple[int, int]
    widths: tuple[int, ...]
    second_widths: tuple[int, ...]
    log_var_range: tuple[float, ...] = ()
    activation: str = "leaky_relu"
    kernel_init: str = "lecun_normal"
    output_bias: nn.initializers.Initializer = nn.initializers.zeros
    dtype: jnp.dtype = jnp.float32

    def setup(self):  # noqa: D102 - Flax's own
        layers, outputs, posterior = _makers(self)
        self.first = posterior(layers(self.second_widths), self.latent_sizes[0])
        self.of_first = outputs(self.shape, self.widths, output_bias=self.output_bias)

    def __call__(self, latents: Latents, labels: Labels | None = None, *, train: bool) -> Images:
        """Raw outputs for z2 and, beside it, z1 in deviations from its mean under p(z1 | z2)."""
        del labels
        return self.of_first(_levels(self, latents)[1], train=train)

    def given_second(self, second: Latents) -> tuple[Latents, Latents]:
        """(mean, log variance) of p(z1 | z2)."""
        return self.first(second, train=False)


def _makers(network: nn.Module) -> tuple[Callable[..., nn.Module], ...]:
    """Layers, layers up to an image, and posteriors, as `network` has them."""
    fields = {name: getattr(network, name) for name in ("activation", "kernel_init", "dtype")}
    return (
        partial(MLPEncoder, **fields),
        partial(MLPDecoder, **fields),
        partial(Posterior, log_var_range=network.log_var_range, kernel_init=network.kernel_init),
    )


def _levels(decoder: TwoLevelDecoder | ChainDecoder, latents: Latents) -> tuple[Latents, Latents]:
    """(z2, z1) of z2 and, beside it, z1 in deviations from its mean under p(z1 | z2)."""
    second, deviations = jnp.split(latents, [decoder.latent_sizes[1]], axis=-1)
    mean, log_var = decoder.given_second(second)
    return second, mean + jnp.exp(0.5 * log_var) * deviations
