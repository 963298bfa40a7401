"""DCGAN (Radford et al. 2016): strided convolutions down, transposed convolutions up.

For any image of side 4 to 7 times a power of two: 28 (7, 14, 28), 32 (4, 8, 16, 32), 64.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from genjax.errors import UserError
from genjax.nn.convolution import Conv, ConvTranspose
from genjax.nn.layers import Normalize, concatenate_label, leaky_relu, spectral
from genjax.types import Images, Labels, Latents

KERNEL = (4, 4)  # a multiple of the stride: no checkerboard (Odena et al. 2016)
INIT = nn.initializers.normal(0.02)


def halvings(image_size: int) -> int:
    """How often the side of an image can be halved down to 4, 5, 6 or 7.

    Raises:
      UserError: the side is not 4, 5, 6 or 7 times a power of two of at least 2.
    """
    count = 0
    while image_size > 7 and image_size % 2 == 0:
        image_size, count = image_size // 2, count + 1
    if count == 0 or not 4 <= image_size <= 7:
        size = image_size * 2**count
        fitting = sorted(base * 2**n for base in (4, 5, 6, 7) for n in range(1, 9))
        near = min(fitting, key=lambda fit: abs(fit - size))
        raise UserError(
            f"data.image_size: network 'dcgan' does not fit {size}x{size} images; nearest: {near}"
        )
    return count


class DCGANEncoder(nn.Module):
    """Images to features [batch, base * base * width * 2^(n-1)], halving the side n times."""

    width: int = 64
    normalization: str = "batch"
    spectral_norm: bool = False
    conditioning: str = "none"
    num_classes: int = 0
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self, images: Images, labels: Labels | None = None, *, train: bool
    ) -> Float[Array, "batch feature"]:
        """Images, in whatever range the model uses, to flattened features."""
        x = images
        if self.conditioning == "concat":
            x = concatenate_label(x, labels, self.num_classes)
        for level in range(halvings(images.shape[1])):
            # The first layer sees pixels; normalising those loses their level (DCGAN, section 3).
            kind = self.normalization if level else "none"
            conv = Conv(self.width * 2**level, KERNEL, (2, 2), dtype=self.dtype, kernel_init=INIT)
            x = spectral(conv, self.spectral_norm, x, train=train)
            x = leaky_relu(Normalize(kind, dtype=self.dtype)(x, train=train))
        return x.reshape(x.shape[0], -1)


class DCGANDecoder(nn.Module):
    """Latents to raw, image-shaped outputs of `shape` (height, width, channel)."""

    shape: tuple[int, int, int]
    width: int = 64
    normalization: str = "batch"
    spectral_norm: bool = False
    conditioning: str = "none"
    num_classes: int = 0
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, latents: Latents, labels: Labels | None = None, *, train: bool) -> Images:
        """Outputs without a last activation, as float32."""
        levels = halvings(self.shape[0])
        base = self.shape[0] // 2**levels
        x = latents
        if self.conditioning == "concat":
            x = concatenate_label(x, labels, self.num_classes)
        kind = "conditional_batch" if self.conditioning == "batch_norm" else self.normalization

        def activate(x):
            x = Normalize(kind, self.num_classes, dtype=self.dtype)(x, labels, train=train)
            return nn.relu(x)

        channels = self.width * 2 ** (levels - 1)
        dense = nn.Dense(base * base * channels, dtype=self.dtype, kernel_init=INIT)
        x = spectral(dense, self.spectral_norm, x, train=train)
        x = activate(x.reshape(x.shape[0], base, base, channels))
        for level in reversed(range(levels)):
            channels = self.width * 2 ** (level - 1) if level else self.shape[-1]
            up = ConvTranspose(channels, KERNEL, (2, 2), dtype=self.dtype, kernel_init=INIT)
            x = spectral(up, self.spectral_norm, x, train=train)
            x = activate(x) if level else x
        return x.astype(jnp.float32)
