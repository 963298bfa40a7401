"""Random keys: a seed, the name of a stream and a step; never a threaded split.

So step k of a resumed run draws what step k of an unbroken run draws, and an example draws the same
whichever device holds it.
"""

import functools
import zlib

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Integer

from genjax.types import Positions, PRNGKey


def stream(key: PRNGKey, name: str) -> PRNGKey:
    """The key of the stream called `name` under `key`."""
    return jax.random.fold_in(key, zlib.crc32(name.encode(errors="surrogateescape")))


def key(seed: int | Integer[Array, ""], name: str, step: int | Int[Array, ""] = 0) -> PRNGKey:
    """The key of stream `name` at `step` of the run with this `seed`."""
    return jax.random.fold_in(stream(jax.random.key(seed), name), step)


@functools.lru_cache(maxsize=4)
def shuffled(num: int) -> Int[np.ndarray, " {num}"]:
    """The numbers from 0 to num - 1 in an order that is the same every time; to be read only."""
    return np.argsort(np.random.Philox(key=0).random_raw(num), kind="stable")


def normal(key: PRNGKey, positions: Positions, shape: tuple[int, ...]) -> Float[Array, "batch ..."]:
    """Standard normal draws of `shape` for each example, keyed by its position in the batch."""
    draw = lambda position: jax.random.normal(jax.random.fold_in(key, position), shape)
    return jax.vmap(draw)(positions)


def uniform(
    key: PRNGKey, positions: Positions, shape: tuple[int, ...]
) -> Float[Array, "batch ..."]:
    """Draws from U[0, 1) of `shape` for each example, keyed by its position in the batch."""
    draw = lambda position: jax.random.uniform(jax.random.fold_in(key, position), shape)
    return jax.vmap(draw)(positions)


def randint(key: PRNGKey, positions: Positions, minval: int, maxval: int) -> Int[Array, " batch"]:
    """One whole number of [minval, maxval) for each example, keyed by its position."""
    draw = lambda position: jax.random.randint(
        jax.random.fold_in(key, position), (), minval, maxval, jnp.int32
    )
    return jax.vmap(draw)(positions)
