"""Multilayer perceptrons: the article's networks, and any other stack of dense layers."""

import math

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from genjax.nn.layers import KERNEL_INITS, Normalize, concatenate_label, leaky_relu, spectral
from genjax.types import Images, Labels, Latents


def gated(x: Float[Array, "batch 2*width"]) -> Float[Array, "batch width"]:
    """The first half of the features times the sigmoid of the second (Dauphin et al. 2017)."""
    values, gates = jnp.split(x, 2, axis=-1)
    return values * nn.sigmoid(gates)


#: The activations that a config may name, each with how many dense features make one of its own.
ACTIVATIONS = {"leaky_relu": (leaky_relu, 1), "tanh": (nn.tanh, 1), "gated": (gated, 2)}


class MLPEncoder(nn.Module):
    """Images, flattened, to features of the last width; an activation after every layer."""

    widths: tuple[int, ...]
    normalization: str = "none"
    spectral_norm: bool = False
    conditioning: str = "none"
    num_classes: int = 0
    activation: str = "leaky_relu"
    kernel_init: str = "lecun_normal"
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self, images: Images, labels: Labels | None = None, *, train: bool
    ) -> Float[Array, "batch feature"]:
        """Images, in whatever range the model uses, to features."""
        x = images.reshape(images.shape[0], -1)
        if self.conditioning == "concat":
            x = concatenate_label(x, labels, self.num_classes)
        activate, multiple = ACTIVATIONS[self.activation]
        start = KERNEL_INITS[self.kernel_init]
        for width in self.widths:
            dense = nn.Dense(multiple * width, dtype=self.dtype, kernel_init=start)
            x = spectral(dense, self.spectral_norm, x, train=train)
            x = Normalize(self.normalization, dtype=self.dtype)(x, train=train)
            x = activate(x)
        return x


class MLPDecoder(nn.Module):
    """Latents to raw, image-shaped outputs of `shape` (height, width, channel)."""

    shape: tuple[int, int, int]
    widths: tuple[int, ...]
    normalization: str = "none"
    spectral_norm: bool = False
    conditioning: str = "none"
    num_classes: int = 0
    activation: str = "leaky_relu"
    kernel_init: str = "lecun_normal"
    output_bias: nn.initializers.Initializer = nn.initializers.zeros
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, latents: Latents, labels: Labels | None = None, *, train: bool) -> Images:
        """Outputs without a last activation, as float32."""
        x = latents
        if self.conditioning == "concat":
            x = concatenate_label(x, labels, self.num_classes)
        kind = "conditional_batch" if self.conditioning == "batch_norm" else self.normalization
        activate, multiple = ACTIVATIONS[self.activation]
        start = KERNEL_INITS[self.kernel_init]
        for width in self.widths:
            dense = nn.Dense(multiple * width, dtype=self.dtype, kernel_init=start)
            x = spectral(dense, self.spectral_norm, x, train=train)
            x = Normalize(kind, self.num_classes, dtype=self.dtype)(x, labels, train=train)
            x = activate(x)
        starts = {"kernel_init": start, "bias_init": self.output_bias}
        last = nn.Dense(math.prod(self.shape), dtype=self.dtype, **starts)
        x = spectral(last, self.spectral_norm, x, train=train)
        return x.reshape(x.shape[0], *self.shape).astype(jnp.float32)
