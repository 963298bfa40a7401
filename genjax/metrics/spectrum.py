"""How the power of images is spread over spatial frequencies."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from genjax.types import Images

#: Of red, green and blue in luminance (ITU-R BT.601).
_LUMINANCE = (0.299, 0.587, 0.114)
#: What float32 leaves of the mean's power in other frequencies; less can not be told from nothing.
_LEAST_POWER = 1e-10


def radial_power(images: Images) -> Float[Array, "batch radius"]:
    """Azimuthally averaged power spectrum of each image's luminance (Durall et al. 2020, eq. 4).

    Entry r is the mean of |FFT|^2 / (height * width) over the frequencies that are r / min(height,
    width) cycles per pixel, to the nearest, from the origin; r goes from 0 to min(height, width) //
    2, the highest frequency of the shorter side. White noise of variance v has power v everywhere;
    upsampling leaves too much or too little at the last radii. The mean over many images is the
    curve to plot.

    Args:
      images: in [0, 1]; three channels are red, green and blue, of any others the mean is taken.
    """
    height, width, channels = images.shape[1:]
    weights = jnp.array(_LUMINANCE if channels == 3 else [1 / channels] * channels)
    grey = (images * weights).sum(axis=-1)
    power = jnp.square(jnp.abs(jnp.fft.fft2(grey))) / (height * width)
    side = min(height, width)
    radii = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)) * side
    rings = np.minimum(np.round(radii).astype(int), side // 2 + 1).ravel()  # the last: corners
    sums = jax.ops.segment_sum(power.reshape(len(images), -1).T, rings, side // 2 + 2).T
    return (sums / np.maximum(np.bincount(rings, minlength=side // 2 + 2), 1))[:, :-1]


def spectral_distance(
    real_power: Float[Array | np.ndarray, " radius"],
    fake_power: Float[Array | np.ndarray, " radius"],
) -> float:
    """Mean over the radii above 0 of |log10 real_power - log10 fake_power|, in decades.

    1 is a factor of ten at every frequency. Powers below 1e-10, the rounding of float32, count as
    that.

    Args:
      real_power: the mean of `radial_power` over real images.
      fake_power: that over generated images of the same size.
    """
    real, fake = (
        np.log10(np.maximum(np.asarray(power, np.float64)[1:], _LEAST_POWER))
        for power in (real_power, fake_power)
    )
    return float(np.abs(real - fake).mean())
