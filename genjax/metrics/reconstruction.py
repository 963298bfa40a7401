"""How near a reconstruction is to its original: one number for each pair of images in [0, 1]."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from genjax.errors import UserError
from genjax.types import Images, PerExample

WINDOW = 11
_SIGMA = 1.5
_C1, _C2 = 0.01**2, 0.03**2
_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
#: The least side for `ms_ssim`: the window still fits after four halvings.
MS_SSIM_SIDE = WINDOW * 2 ** (len(_SCALE_WEIGHTS) - 1)

LocalMap = Float[Array, "batch inner_height inner_width channel"]


def mse(a: Images, b: Images) -> PerExample:
    """Mean squared error over pixels and channels."""
    return jnp.square(a - b).mean(axis=(1, 2, 3))


def mae(a: Images, b: Images) -> PerExample:
    """Mean absolute error over pixels and channels."""
    return jnp.abs(a - b).mean(axis=(1, 2, 3))


def psnr(a: Images, b: Images) -> PerExample:
    """Peak signal-to-noise ratio in dB, for a peak of 1; infinite where the images are equal."""
    return -10 * jnp.log10(mse(a, b))


def ssim(a: Images, b: Images) -> PerExample:
    """Structural similarity, in [-1, 1]: 1 where the images are equal (Wang et al. 2004, eq. 13).

    Window of 11 x 11 pixels, Gaussian of 1.5; K1 = 0.01, K2 = 0.03; the mean over channels and over
    the pixels whose whole window lies inside the image. Each channel is compared by itself.

    Raises:
      UserError: if the images are smaller than the window.
    """
    height, width = a.shape[1:3]
    if min(height, width) < WINDOW:
        raise UserError(
            f"ssim: images of {height} x {width} pixels are smaller than its window of "
            f"{WINDOW} x {WINDOW}; use psnr or mse"
        )
    luminance, structure = _similarities(a, b)
    return (luminance * structure).mean(axis=(1, 2, 3))


def ms_ssim(a: Images, b: Images) -> PerExample:
    """Structural similarity over five scales, in [0, 1]: 1 where the images are equal.

    The weighted geometric mean (Wang, Simoncelli and Bovik 2003, eq. 7) of the mean
    contrast-structure at each scale, at the last one with luminance, where a negative mean counts
    as 0; windows as in `ssim`. Each scale is the one before in means of 2 x 2 pixels, without an
    odd last row or column. Each channel is compared by itself; the mean over channels.

    Raises:
      UserError: if the images are too small for the window at the last scale.
    """
    height, width = a.shape[1:3]
    if min(height, width) < MS_SSIM_SIDE:
        raise UserError(
            f"ms_ssim: images of {height} x {width} pixels are smaller than the {MS_SSIM_SIDE} x "
            f"{MS_SSIM_SIDE} that five scales need; use ssim"
        )
    product = 1.0
    for weight in _SCALE_WEIGHTS[:-1]:
        _, structure = _similarities(a, b)
        product *= jnp.maximum(structure.mean(axis=(1, 2)), 0) ** weight
        a, b = _halve(a), _halve(b)
    luminance, structure = _similarities(a, b)
    product *= jnp.maximum((luminance * structure).mean(axis=(1, 2)), 0) ** _SCALE_WEIGHTS[-1]
    return product.mean(axis=-1)


def _similarities(a: Images, b: Images) -> tuple[LocalMap, LocalMap]:
    """Luminance and contrast-structure of the window around each pixel that has a whole one."""
    # Variances do not depend on the origin, but E[x^2] - E[x]^2 loses fewer digits near 0.
    x, y = a - 0.5, b - 0.5
    products = jnp.concatenate([x, y, x * x, y * y, x * y], axis=-1)
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = jnp.split(_local_mean(products), 5, axis=-1)
    variance_x = mean_xx - mean_x * mean_x
    variance_y = mean_yy - mean_y * mean_y
    covariance = mean_xy - mean_x * mean_y
    mean_a, mean_b = mean_x + 0.5, mean_y + 0.5
    luminance = (2 * mean_a * mean_b + _C1) / (mean_a * mean_a + mean_b * mean_b + _C1)
    structure = (2 * covariance + _C2) / (variance_x + variance_y + _C2)
    return luminance, structure


def _halve(images: Images) -> Float[Array, "batch half_height half_width channel"]:
    """Means of 2 x 2 pixels."""
    batch, height, width, channels = images.shape
    height, width = height // 2, width // 2
    cut = images[:, : 2 * height, : 2 * width]
    return cut.reshape(batch, height, 2, width, 2, channels).mean(axis=(2, 4))


def _local_mean(images: Images) -> LocalMap:
    """Gaussian-weighted mean over the window around each pixel that has a whole one."""
    offsets = np.arange(WINDOW) - WINDOW // 2
    weights = np.exp(-0.5 * np.square(offsets / _SIGMA))
    weights = (weights / weights.sum()).tolist()
    # Two sums of shifted images: float32 on every device, where a convolution may round to less.
    height, width = (size - WINDOW + 1 for size in images.shape[1:3])
    rows = sum(w * images[:, i : i + height] for i, w in enumerate(weights))
    return sum(w * rows[:, :, i : i + width] for i, w in enumerate(weights))
