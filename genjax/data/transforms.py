"""What happens to a batch inside the compiled step: to floats, and random augmentation."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from genjax import rng
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
