"""LPIPS, the learned perceptual distance (Zhang et al. 2018), version 0.1 on AlexNet.

The weights are those of `lpips.LPIPS(net="alex")`. Where that package is installed, this writes
them to a file:

    python -c "import lpips, torch; torch.save(lpips.LPIPS(net='alex').state_dict(), 'lpips.pth')"
"""

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from genjax.errors import UserError
from genjax.nn.pretrained import StateDict, take, take_kernel
from genjax.types import Images, PerExample, PyTree

#: The side of the smallest images from which AlexNet's last features have a pixel.
MIN_SIDE = 31


class _Layer(NamedTuple):
    """A convolution of AlexNet as torchvision has it, and whether pooling comes before it."""

    name: str  # in PyTorch
    channels: int
    features: int
    size: int
    stride: int
    padding: int
    pooled: bool


LAYERS = (
    _Layer("net.slice1.0", 3, 64, 11, 4, 2, False),
    _Layer("net.slice2.3", 64, 192, 5, 1, 2, True),
    _Layer("net.slice3.6", 192, 384, 3, 1, 1, True),
    _Layer("net.slice4.8", 384, 256, 3, 1, 1, False),
    _Layer("net.slice5.10", 256, 256, 3, 1, 1, False),
)


class LPIPS(nn.Module):
    """The distance of images from others; 0 for equal ones, symmetric.

    At every layer, features are scaled to length 1 at each pixel; their squared differences are
    weighted by channel, averaged over pixels, and summed over layers.
    """

    @nn.compact
    def __call__(self, images: Images, others: Images) -> PerExample:
        """Both in [0, 1], of one shape, with 1 or 3 channels; grey is repeated to RGB.

        Raises:
          UserError: the images are smaller than 31x31 pixels.
        """
        height, width = images.shape[1:3]
        if min(height, width) < MIN_SIDE:
            raise UserError(
                f"data.image_size: {height}x{width} is too small for LPIPS; at least {MIN_SIDE}"
            )
        x = jnp.concatenate([images, others])
        x = jnp.broadcast_to(x, (*x.shape[:-1], 3))
        shift = self.param("shift", nn.initializers.zeros, (3,))
        x = (2 * x - 1 - shift) / self.param("scale", nn.initializers.ones, (3,))
        distance = 0.0
        for number, layer in enumerate(LAYERS):
            x = self._features(x, layer, number)
            length = jnp.sqrt((x * x).sum(-1, keepdims=True))
            first, second = jnp.split(x / (length + 1e-10), 2)
            weights = self.param(f"linear{number}", nn.initializers.ones, (layer.features,))
            products = jnp.dot((first - second) ** 2, weights, precision=lax.Precision.HIGHEST)
            distance += products.mean((1, 2))
        return distance

    def _features(self, x: Array, layer: _Layer, number: int) -> Array:
        if layer.pooled:
            x = nn.max_pool(x, (3, 3), (2, 2))
        conv = nn.Conv(
            layer.features,
            (layer.size, layer.size),
            layer.stride,
            layer.padding,
            # Accelerators would multiply with fewer bits.
            precision=lax.Precision.HIGHEST,
            name=f"conv{number}",
        )
        return nn.relu(conv(x))


def lpips_params(weights: StateDict, where: str) -> PyTree:
    """The parameters of `LPIPS` from the state dict of `lpips.LPIPS(net="alex")`.

    Raises:
      UserError: weights are missing or of other shapes; `where` is the flag that named the file.
    """
    params = {
        name: take(weights, f"scaling_layer.{name}", (1, 3, 1, 1), where).ravel()
        for name in ("shift", "scale")
    }
    for number, layer in enumerate(LAYERS):
        shape = (layer.size, layer.size, layer.channels, layer.features)
        params[f"conv{number}"] = {
            "kernel": take_kernel(weights, f"{layer.name}.weight", shape, where),
            "bias": take(weights, f"{layer.name}.bias", (layer.features,), where),
        }
        linear = take(weights, f"lin{number}.model.1.weight", (1, layer.features, 1, 1), where)
        params[f"linear{number}"] = linear.ravel()
    return params
