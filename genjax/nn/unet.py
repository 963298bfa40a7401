"""The U-Net (Ronneberger et al. 2015) as pix2pix has it (Isola et al. 2017): images to images.

Strided convolutions down, transposed ones up, and a way across at every level; between them
residual blocks, which work at half the image's side and below, where a convolution costs least for
what it sees; at the lowest level every place attends to every other (Vaswani et al. 2017). What
comes up meets the image itself once more, at its full size, so that single pixels can be told
apart. For images of any size whose sides 2^levels divides.
"""

import functools

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array

from genjax.nn.convolution import Conv, ConvTranspose
from genjax.nn.layers import Normalize, leaky_relu, spectral
from genjax.types import Images

KERNEL = (4, 4)  # a multiple of the stride: no checkerboard (Odena et al. 2016)


class SelfAttention(nn.Module):
    """A weighted mean over all places, the weights by products of keys and queries."""

    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[batch, height, width, channel] to the same shape; zero before training."""
        places = x.reshape(x.shape[0], -1, x.shape[-1])
        dense = functools.partial(nn.Dense, x.shape[-1], use_bias=False, dtype=self.dtype)
        query, key, value = dense()(places), dense()(places), dense()(places)
        weights = jnp.einsum("bqc,bkc->bqk", query, key) / x.shape[-1] ** 0.5
        mixed = jnp.einsum("bqk,bkc->bqc", nn.softmax(weights), value)
        return dense(kernel_init=nn.initializers.zeros)(mixed).reshape(x.shape)


class UNet(nn.Module):
    """Images in [-1, 1] to images of as many pixels, with `channels` channels.

    Attributes:
      channels: of the result.
      detail: channels at the full side.
      width: channels at half the side; each level below has twice as many.
      levels: how often the side is halved.
      blocks: residual blocks at each level, on the way down and on the way up.
      normalization: `none`, `batch` or `instance`.
      residual: the result is the input and a change to it; else it is the tanh of what comes out.
      dtype: of the computation.
    """

    channels: int
    detail: int = 16
    width: int = 64
    levels: int = 2
    blocks: int = 1
    normalization: str = "none"
    residual: bool = False
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: Images, present: Images | None = None, *, train: bool) -> Images:
        """The result, as float32; with `residual` it may lie a little outside [-1, 1].

        `present`, if it is told, is 1 at the pixels that there are, and -1 at those that miss.
        """
        normalize = lambda x: Normalize(self.normalization, dtype=self.dtype)(x, train=train)

        def conv(x: Array, features: int) -> Array:
            return Conv(features, (3, 3), dtype=self.dtype)(x)

        def refine(x: Array) -> Array:
            for _ in range(self.blocks):
                change = leaky_relu(normalize(conv(leaky_relu(x), x.shape[-1])))
                x = x + conv(change, x.shape[-1])
            return x

        told = images if present is None else jnp.concatenate([images, present], axis=-1)
        x, across = told, []
        for level in range(self.levels):
            features = self.width * 2**level
            x = leaky_relu(x) if level else x
            x = refine(Conv(features, KERNEL, (2, 2), dtype=self.dtype)(x))
            across.append(x)
        x = x + SelfAttention(dtype=self.dtype)(x)
        for level in reversed(range(self.levels)):
            if level < self.levels - 1:
                both = jnp.concatenate([x, across[level]], axis=-1)
                x = refine(conv(leaky_relu(both), across[level].shape[-1]))
            x = leaky_relu(normalize(x))
            features = self.width * 2 ** (level - 1) if level else self.detail
            x = ConvTranspose(features, KERNEL, (2, 2), dtype=self.dtype)(x)
        x = jnp.concatenate([x, told.astype(x.dtype)], axis=-1)
        x = conv(leaky_relu(conv(x, self.detail)), self.channels).astype(jnp.float32)
        return images + x if self.residual else jnp.tanh(x)


class PatchDiscriminator(nn.Module):
    """A logit for each patch of an image, [batch, h, w, 1] (Isola et al. 2017, section 3.2.2).

    Attributes:
      width: channels at half the side; doubled at each level below.
      levels: how often the side is halved; a logit sees 10, 22, 46 pixels of it for 1, 2, 3.
      normalization: `none`, `batch` or `instance`; not on the first layer, which sees pixels.
      spectral_norm: on all layers.
      dtype: of the computation.
    """

    width: int = 64
    levels: int = 2
    normalization: str = "none"
    spectral_norm: bool = True
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: Images, *, train: bool) -> Array:
        """Images in [-1, 1], the condition's channels among theirs if there is one."""
        x = images
        for level in range(self.levels):
            conv = Conv(self.width * 2**level, KERNEL, (2, 2), dtype=self.dtype)
            x = spectral(conv, self.spectral_norm, x, train=train)
            kind = self.normalization if level else "none"
            x = leaky_relu(Normalize(kind, dtype=self.dtype)(x, train=train))
        last = Conv(1, KERNEL, dtype=self.dtype)
        return spectral(last, self.spectral_norm, x, train=train).astype(jnp.float32)
