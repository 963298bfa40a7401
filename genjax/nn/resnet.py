"""Residual networks of SNGAN (Miyato et al. 2018, appendix B.4) for 32x32 images.

Those for 28x28 and 64x64 are built alike. The paper's for 64x64 halve five times, these four times;
with their channels, at most 1,024, `width` is 64.
"""

from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from genjax.errors import UserError
from genjax.nn.convolution import Conv
from genjax.nn.layers import Normalize, concatenate_label, spectral
from genjax.types import Images, Labels, Latents

INIT = nn.initializers.xavier_uniform()
#: Of the 3x3 convolutions beside a shortcut, with a gain of the root of 2, as SNGAN's code has it.
RESIDUAL_INIT = nn.initializers.variance_scaling(2.0, "fan_avg", "uniform")


class Plan(NamedTuple):
    """Blocks of both networks for one image size; widths are multiples of `width`."""

    base: int  # side of the first feature map of the decoder
    decoder: Sequence[int]  # one doubling a block
    encoder: Sequence[int]
    halvings: int  # the first blocks of the encoder halve the side


PLANS = {
    28: Plan(base=7, decoder=(4, 2, 1), encoder=(1, 2, 4, 4), halvings=2),
    32: Plan(base=4, decoder=(2, 2, 2, 2), encoder=(1, 1, 1, 1), halvings=2),
    64: Plan(base=4, decoder=(16, 8, 4, 2, 1), encoder=(1, 2, 4, 8, 16), halvings=4),
}


def plan(image_size: int) -> Plan:
    """The blocks for images of this side.

    Raises:
      UserError: there is no plan for this side.
    """
    if image_size not in PLANS:
        near = min(PLANS, key=lambda fit: abs(fit - image_size))
        raise UserError(
            f"data.image_size: network 'resnet' does not fit {image_size}x{image_size} images; "
            f"nearest: {near}"
        )
    return PLANS[image_size]


def upsample(x: Float[Array, "b h w c"]) -> Float[Array, "b 2*h 2*w c"]:
    """Every pixel twice in both directions."""
    return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)


def downsample(x: Float[Array, "b h w c"]) -> Float[Array, "b h//2 w//2 c"]:
    """The mean of every 2x2 pixels."""
    return nn.avg_pool(x, (2, 2), (2, 2))


class DecoderBlock(nn.Module):
    """Norm, ReLU, doubling, 3x3, norm, ReLU, 3x3; beside it doubling and 1x1."""

    features: int
    normalization: str
    spectral_norm: bool
    num_classes: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Array, labels: Labels | None, *, train: bool) -> Array:
        """[batch, h, w, c] to [batch, 2h, 2w, features]."""

        def conv(x, kernel, resample="none"):
            size, init = (kernel, kernel), RESIDUAL_INIT if kernel == 3 else INIT
            layer = Conv(self.features, size, dtype=self.dtype, kernel_init=init, resample=resample)
            return spectral(layer, self.spectral_norm, x, train=train)

        def activate(x):
            norm = Normalize(self.normalization, self.num_classes, dtype=self.dtype)
            return nn.relu(norm(x, labels, train=train))

        residual = conv(activate(x), 3, "up")
        residual = conv(activate(residual), 3)
        # The 1x1 convolution commutes with doubling; before it, it costs a quarter.
        return residual + upsample(conv(x, 1))


class EncoderBlock(nn.Module):
    """(Norm, ReLU,) 3x3, norm, ReLU, 3x3, halving; beside it 1x1 and halving."""

    features: int
    first: bool  # sees pixels: no activation in front
    halve: bool
    normalization: str
    spectral_norm: bool
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """[batch, h, w, c] to [batch, h/2, w/2, features], or [batch, h, w, features]."""

        def conv(x, kernel, resample="none"):
            size, init = (kernel, kernel), RESIDUAL_INIT if kernel == 3 else INIT
            layer = Conv(self.features, size, dtype=self.dtype, kernel_init=init, resample=resample)
            return spectral(layer, self.spectral_norm, x, train=train)

        def activate(x):
            return nn.relu(Normalize(self.normalization, dtype=self.dtype)(x, train=train))

        residual = conv(x if self.first else activate(x), 3)
        residual = conv(activate(residual), 3, "down" if self.halve else "none")
        if not self.halve:
            return residual + (x if x.shape[-1] == self.features else conv(x, 1))
        # The 1x1 convolution commutes with the mean; after it, it costs a quarter.
        return residual + conv(downsample(x), 1)


class ResNetEncoder(nn.Module):
    """Images to features: summed over pixels, as SNGAN does, or flattened.

    `pooling`: `sum` or `flatten`; a VAE needs the place of things, so `flatten`.
    """

    width: int = 128
    normalization: str = "none"
    spectral_norm: bool = False
    pooling: str = "sum"
    conditioning: str = "none"
    num_classes: int = 0
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self, images: Images, labels: Labels | None = None, *, train: bool
    ) -> Float[Array, "batch feature"]:
        """Images, in whatever range the model uses, to features."""
        x = images
        if self.conditioning == "concat":
            x = concatenate_label(x, labels, self.num_classes)
        layout = plan(images.shape[1])
        for index, multiple in enumerate(layout.encoder):
            x = EncoderBlock(
                features=self.width * multiple,
                first=index == 0,
                halve=index < layout.halvings,
                normalization=self.normalization,
                spectral_norm=self.spectral_norm,
                dtype=self.dtype,
            )(x, train=train)
        x = nn.relu(x)
        return x.sum((1, 2)) if self.pooling == "sum" else x.reshape(x.shape[0], -1)


class ResNetDecoder(nn.Module):
    """Latents to raw, image-shaped outputs of `shape` (height, width, channel)."""

    shape: tuple[int, int, int]
    width: int = 128
    normalization: str = "batch"
    spectral_norm: bool = False
    conditioning: str = "none"
    num_classes: int = 0
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, latents: Latents, labels: Labels | None = None, *, train: bool) -> Images:
        """Outputs without a last activation, as float32."""
        layout = plan(self.shape[0])
        x = latents
        if self.conditioning == "concat":
            x = concatenate_label(x, labels, self.num_classes)
        kind = "conditional_batch" if self.conditioning == "batch_norm" else self.normalization
        first, *widths = (self.width * multiple for multiple in layout.decoder)
        dense = nn.Dense(layout.base**2 * first, dtype=self.dtype, kernel_init=INIT)
        x = spectral(dense, self.spectral_norm, x, train=train)
        x = x.reshape(x.shape[0], layout.base, layout.base, first)
        for features in widths:
            x = DecoderBlock(
                features=features,
                normalization=kind,
                spectral_norm=self.spectral_norm,
                num_classes=self.num_classes,
                dtype=self.dtype,
            )(x, labels, train=train)
        x = nn.relu(Normalize(kind, self.num_classes, self.dtype)(x, labels, train=train))
        last = Conv(self.shape[-1], (3, 3), dtype=self.dtype, kernel_init=INIT)
        return spectral(last, self.spectral_norm, x, train=train).astype(jnp.float32)
