"""Draws samples in batches, sample i the same however many at once; reconstructs images."""

from collections.abc import Iterator
from functools import partial

import jax
import numpy as np

from genjax import compiling
from genjax.models.base import Reconstructor, Sampler, sample
from genjax.types import Batch, Images, PRNGKey, PyTree


@partial(jax.jit, static_argnames=("model", "truncation"))
def _sample(model, params, key, positions, labels, truncation):
    return sample(model, params, key, positions, labels, truncation)


@compiling.jit(static_argnums=0)
def reconstruct(model: Reconstructor, params: PyTree, batch: Batch) -> Images:
    """The model's images for those of `batch`, all in [0, 1]."""
    labels = batch["label"] if model.num_classes else None
    return model.reconstruct(params, batch["image"], labels)


def draw(
    model: Sampler,
    params: PyTree,
    key: PRNGKey,
    num: int,
    labels: np.ndarray | None = None,
    batch_size: int = 500,
    truncation: float = 0.0,
) -> Iterator[np.ndarray]:
    """Samples 0 to num - 1, in batches.

    Args:
      model: what draws them.
      params: its inference parameters.
      key: of the latents.
      num: how many.
      labels: int [num], for a conditional model.
      batch_size: how many at once; the last batch may be smaller.
      truncation: of the latents, where above 0.

    Yields:
      float32 [batch, height, width, channel] in [0, 1].
    """
    batch_size = min(batch_size, num)
    for start in range(0, num, batch_size):
        positions = np.arange(start, start + batch_size, dtype=np.int32)
        # All batches have one shape, to compile once; what is too much is cut off.
        asked = None if labels is None else labels[np.minimum(positions, num - 1)]
        images = _sample(model, params, key, positions, asked, truncation)
        yield np.asarray(images)[: num - start]


def balanced_labels(num: int, num_classes: int) -> np.ndarray | None:
    """`num` labels, every class in turn: int32 [num]; None for a model without labels."""
    return np.arange(num, dtype=np.int32) % num_classes if num_classes else None


def slerp(start: np.ndarray, end: np.ndarray, steps: int) -> np.ndarray:
    """Spherical interpolation of rows [num, latent]: [num, steps, latent], both ends included."""
    unit = lambda rows: rows / np.linalg.norm(rows, axis=-1, keepdims=True)
    cosine = np.clip((unit(start) * unit(end)).sum(-1), -1, 1)
    angle = np.maximum(np.arccos(cosine), 1e-6)[:, None, None]
    at = np.linspace(0, 1, steps)[None, :, None]
    return (np.sin((1 - at) * angle) * start[:, None] + np.sin(at * angle) * end[:, None]) / np.sin(
        angle
    )


def lerp(start: np.ndarray, end: np.ndarray, steps: int) -> np.ndarray:
    """Straight lines between rows [num, latent]: [num, steps, latent], both ends included."""
    at = np.linspace(0, 1, steps, dtype=start.dtype)[:, None]
    return (1 - at) * start[:, None] + at * end[:, None]
