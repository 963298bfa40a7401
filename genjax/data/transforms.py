"""What happens to a batch inside the compiled step: to floats, augmentation, binary pixels."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from genjax import rng
from genjax.data.base import Example, Source
from genjax.data.reading import read
from genjax.types import Batch, Images, Positions, PRNGKey

#: The farthest that `shift` moves an image, in pixels.
MAX_SHIFT = 2


def to_float(batch: Batch) -> Batch:
    """The batch with its uint8 images as float32 in [0, 1]; on the device or on the host."""
    return batch | on_images(batch, lambda images: images.astype(jnp.float32) / 255)


def on_images(batch: Batch, function: Callable[[Images], Images]) -> Batch:
    """`function` of the batch's `image` and, in one of pairs, its `condition`."""
    return {name: function(batch[name]) for name in ("image", "condition") if name in batch}


def none(images: Images, key: PRNGKey, positions: Positions) -> Images:
    """The images as they are."""
    del key, positions
    return images


def flip(images: Images, key: PRNGKey, positions: Positions) -> Images:
    """Mirrors each image left to right with probability one half."""
    mirrored = rng.randint(rng.stream(key, "flip"), positions, 0, 2)
    return jnp.where(mirrored[:, None, None, None] == 1, images[:, :, ::-1], images)


def shift(images: Images, key: PRNGKey, positions: Positions) -> Images:
    """Moves each image by up to 2 whole pixels each way; its edge pixels fill the gap."""
    draw = lambda axis: rng.randint(rng.stream(key, axis), positions, 0, 2 * MAX_SHIFT + 1)
    margins = ((0, 0), (MAX_SHIFT, MAX_SHIFT), (MAX_SHIFT, MAX_SHIFT), (0, 0))
    padded = jnp.pad(images, margins, mode="edge")
    cut = lambda image, top, left: jax.lax.dynamic_slice(image, (top, left, 0), images.shape[1:])
    return jax.vmap(cut)(padded, draw("vertical"), draw("horizontal"))


#: The augmentations that a config may name. Draws are keyed by an example's position in the batch.
AUGMENTATIONS = {"none": none, "flip": flip, "shift": shift}


def binarize(images: Images, key: PRNGKey, positions: Positions) -> Images:
    """Each value as 0 or 1, which it is with its grey as the probability (Salakhutdinov 2008)."""
    return (rng.uniform(key, positions, images.shape[1:]) < images).astype(images.dtype)


@dataclasses.dataclass(frozen=True, eq=False)
class Binarized:
    """A source in black and white, drawn once for all: what a likelihood of binary images scores.

    Once they are asked for, all examples stay in memory.

    Attributes:
      grey: the source, whose greys are the probabilities.
    """

    grey: Source

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every image."""
        return self.grey.image_shape

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes; empty without labels."""
        return self.grey.class_names

    def __len__(self) -> int:
        return len(self.grey)

    def __getitem__(self, index: int) -> Example:
        return {name: rows[0] for name, rows in self.read(np.array([index])).items()}

    def read(self, indices: np.ndarray, num_threads: int | None = None) -> Example:
        """The examples `indices`, stacked, as `genjax.data.reading.read` does it."""
        del num_threads
        return {name: values[indices] for name, values in self._examples.items()}

    @functools.cached_property
    def _examples(self) -> Example:
        """All of them: an epoch's evaluation would take longer to draw than to compute."""
        examples = read(self.grey, np.arange(len(self)))
        images = examples["image"]
        # Of the 255 thresholds 0 to 254, k lie below a grey level k.
        thresholds = np.random.default_rng(0).integers(255, size=images.shape, dtype=np.uint8)
        return {**examples, "image": np.where(thresholds < images, 255, 0).astype(np.uint8)}
