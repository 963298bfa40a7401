"""A number for each channel: spread over batch and pixels, and averaged over them.

Each is the other's gradient, up to a factor, and both are written as products with a vector of
ones: XLA on CPU sums [batch, height, width, channel] over all but the channels element by element
in one thread, and takes 4 times as long for it as for the product.
"""

import math

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


def channel_mean(x: Float[Array, "... channel"]) -> Float[Array, " channel"]:
    """The mean over all axes but the last."""
    rows = x.reshape(-1, x.shape[-1])
    weights = jnp.full(len(rows), 1 / len(rows), x.dtype)
    # Where a product may use fewer bits than its operands have, a mean may not.
    return jnp.dot(weights, rows, precision=lax.Precision.HIGHEST)


def spread(values: Float[Array, " channel"], shape: tuple[int, ...]) -> Float[Array, "... channel"]:
    """`values` at every place of an array of `shape`, whose last axis is the channels."""
    ones = jnp.ones((math.prod(shape[:-1]), 1), values.dtype)
    return jnp.dot(ones, values[None], precision=lax.Precision.HIGHEST).reshape(shape)
