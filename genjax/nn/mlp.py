"""Multilayer perceptrons: the article's networks, and any other stack of dense layers."""

import math

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from genjax.nn.layers import Normalize, concatenate_label, leaky_relu, spectral
from genjax.types import Images, Labels, Latents


class MLPEncoder(nn.Module):
    """Images, flattened, to features of the last width; leaky ReLU after every layer."""

    widths: tuple[int, ...]
    normalization: str = "none"
    spectral_norm: bool = False
    conditioning: str = "none"
    num_classes: int = 0
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self, images: Images, labels: Labels | None = None, *, train: bool
    ) -> Float[Array, "batch feature"]:
        """Images, in whatever range the model uses, to features."""
        x = images.reshape(images.shape[0], -1)
        if self.conditioning == "concat":
            x = concatenate_label(x, labels, self.num_classes)
        for width in self.widths:
            x = spectral(nn.Dense(width, dtype=self.dtype), self.spectral_norm, x, train=train)
            x = Normalize(self.normalization, dtype=self.dtype)(x, train=train)
            x = leaky_relu(x)
        return x


class MLPDecoder(nn.Module):
    """Latents to raw, image-shaped outputs of `shape` (height, width, channel)."""

    shape: tuple[int, int, int]
    widths: tuple[int, ...]
    normalization: str = "none"
    spectral_norm: bool = False
    conditioning: str = "none"
    num_classes: int = 0
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, latents: Latents, labels: Labels | None = None, *, train: bool) -> Images:
        """Outputs without a last activation, as float32."""
        x = latents
        if self.conditioning == "concat":
            x = concatenate_label(x, labels, self.num_classes)
        kind = "conditional_batch" if self.conditioning == "batch_norm" else self.normalization
        for width in self.widths:
            x = spectral(nn.Dense(width, dtype=self.dtype), self.spectral_norm, x, train=train)
            x = Normalize(kind, self.num_classes, dtype=self.dtype)(x, labels, train=train)
            x = leaky_relu(x)
        last = nn.Dense(math.prod(self.shape), dtype=self.dtype)
        x = spectral(last, self.spectral_norm, x, train=train)
        return x.reshape(x.shape[0], *self.shape).astype(jnp.float32)
