"""The two ways to bring images to the size that a feature network sees.

Distances between sets of features depend on the way (Parmar et al. 2022, clean-fid), so results
name it.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from genjax.types import Images


def tf1_bilinear(images: Images, size: int) -> Images:
    """`resize_bilinear` of TensorFlow 1 without aligned corners, by which FID was defined.

    Output i lies at input i * side / size: pixels are points at their upper left corners. It looks
    at two rows and two columns however small the output, so making images smaller aliases.
    """
    return _between(_between(images, 1, size), 2, size)


def _between(x: Array, axis: int, size: int) -> Array:
    side = x.shape[axis]
    # In float32, like TensorFlow: in exact arithmetic some outputs would lie on the next pixel.
    places = np.arange(size, dtype=np.float32) * np.float32(side / size)
    low = places.astype(np.int32)
    high = np.minimum(low + 1, side - 1)
    share = (places - low).reshape(-1, *(1,) * (x.ndim - 1 - axis))
    first = jnp.take(x, low, axis)
    return first + (jnp.take(x, high, axis) - first) * share


def antialiased(images: Images, size: int) -> Images:
    """Bicubic (Keys 1981, a = -1/2) with a kernel as wide as an output pixel, then cut to [0, 1].

    The rule of clean-fid (Parmar et al. 2022), which is that of Pillow on floating-point images.
    """
    shape = (images.shape[0], size, size, images.shape[3])
    return jnp.clip(jax.image.resize(images, shape, "bicubic", antialias=True), 0, 1)


#: By the name that results give them.
RESIZES = {"tf1_bilinear": tf1_bilinear, "antialiased": antialiased}
