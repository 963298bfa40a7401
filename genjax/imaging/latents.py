"""Pictures changed in their latents: moved along a direction, fused, given another's attributes."""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
import scipy.ndimage
from jaxtyping import Float

from genjax.errors import UserError
from genjax.imaging import prior
from genjax.imaging.degradations import Chain, Degradation, GaussianNoise, MissingPixels, Range
from genjax.models.base import LikelihoodModel, Sampler
from genjax.types import Images, Labels, Latents, PRNGKey, PyTree

#: Ridge of `find_direction`, in units of the latents' own variance, for one pair.
RIDGE = 1.0
#: How far pieces may be from the image that joins them, as a deviation.
TOLERANCE = 0.05
#: Pixels from a mask's border to where a piece is shown as it is.
FEATHER = 3.0


@partial(jax.jit, static_argnums=0)
def _encode(model, params, images, labels):
    encoded = model.encode(params, images, labels)
    return model.draw_latents(params, encoded, jnp.zeros((len(images), model.latent_size))).latents


@partial(jax.jit, static_argnums=0)
def generate(
    model: Sampler, params: PyTree, latents: Latents, labels: Labels | None = None
) -> Images:
    """The model's images, in [0, 1]."""
    return model.generate(params, latents, labels)


def latents_of(
    model: Sampler,
    params: PyTree,
    images: Images,
    key: PRNGKey,
    labels: Labels | None = None,
    *,
    restarts: int = 8,
    steps: int = 100,
) -> Latents:
    """Latents whose images are nearest to `images`: the encoder's, or a generator's by search.

    `key`, `restarts` and `steps` are the search's; see `genjax.imaging.prior.restore`.
    """
    if isinstance(model, LikelihoodModel):
        if model.num_classes and labels is None:
            raise UserError("--labels: are missing; this model encodes a picture by its class")
        return _encode(model, params, images, labels)
    nothing = Degradation()
    positions = np.arange(len(images), dtype=np.int32)
    found = prior.restore(
        model, params, nothing, images, {}, key, positions, restarts=restarts, steps=steps
    )
    energies = np.array(found.energies)
    if labels is not None:  # those of the restarts are taken in turn
        taken = np.arange(energies.shape[1]) % model.num_classes
        energies[taken != np.asarray(labels)[:, None]] = np.inf
    best = np.nanargmin(energies, 1)
    return found.latents[np.arange(len(images)), best]


# --- directions ----------------------------------------------------------------------------------


def find_direction(
    before: Latents, after: Latents, amounts: Float[np.ndarray, " pair"]
) -> Float[np.ndarray, "latent+1 latent+1"]:
    """What moves latents by an amount of 1, as the generator G of z -> exp(amount G) z.

    Some changes, as one of light, are one way for every image; others, as a turn, are another way
    for each. Both are affine: dz = amount (W z + b), fitted to the pairs by ridge regression in the
    middle of each. The ridge holds W, not b, so that few pairs give one direction, b.

    Args:
      before: latents [pair, latent].
      after: of the same pictures, changed.
      amounts: by how much; not 0.
    """
    before, after = np.asarray(before, np.float64), np.asarray(after, np.float64)
    size = before.shape[1]
    middle, change = (before + after) / 2, (after - before) / amounts[:, None]
    centre = middle.mean(0)
    inner = np.linalg.solve(
        (middle - centre).T @ (middle - centre) + RIDGE * size * np.eye(size),
        (middle - centre).T @ (change - change.mean(0)),
    )
    generator = np.zeros((size + 1, size + 1))
    generator[:size, :size] = inner.T
    generator[:size, size] = change.mean(0) - inner.T @ centre
    return generator


def move(latents: Latents, direction: Float[np.ndarray, "n n"], amount: float) -> Latents:
    """The latents, moved by `amount` along a direction of `find_direction`."""
    way = scipy.linalg.expm(amount * direction)
    return jnp.asarray(np.asarray(latents) @ way[:-1, :-1].T + way[:-1, -1], jnp.float32)


# --- several images into one ---------------------------------------------------------------------


class Composed(NamedTuple):
    """One image of several pieces.

    Attributes:
      image: [height, width, channel].
      pasted: the pieces as they are, side by side, and what the model adds where there is none.
      seam: of `image`, see `seam`; nan where no two pieces touch.
      pasted_seam: of `pasted`.
    """

    image: Float[np.ndarray, "height width channel"]
    pasted: Float[np.ndarray, "height width channel"]
    seam: float
    pasted_seam: float


def compose(
    model: Sampler,
    params: PyTree,
    pieces: Images,
    masks: Float[np.ndarray, "piece height width 1"],
    key: PRNGKey,
    *,
    restarts: int = 8,
    steps: int = 100,
) -> Composed:
    """One image that agrees with each piece inside its mask.

    Latents are sought whose image explains all pieces at once. That image is shown at the masks'
    borders, and towards the middle of each mask, over `FEATHER` pixels, the piece itself.

    Args:
      model: a VAE or GAN.
      params: its inference parameters.
      pieces: [piece, height, width, channel] in [0, 1].
      masks: 1 where a piece counts; where several do, it is their mean that is sought.
      key: of the search.
      restarts: of the search.
      steps: of the search.
    """
    masks = np.asarray(masks > 0.5, np.float32)
    cover = masks.sum(0)
    there = (cover > 0).astype(np.float32)
    wanted = (masks * pieces).sum(0) / np.maximum(cover, 1)
    degradation = Chain((MissingPixels(), GaussianNoise(Range(TOLERANCE, TOLERANCE))))
    truth = ({"mask": there[None]}, {"sigma": np.full(1, TOLERANCE, np.float32)})
    found = prior.restore(
        model, params, degradation, wanted[None], truth, key, np.zeros(1, np.int32),
        restarts=restarts, steps=steps,
    )  # fmt: skip
    kept = np.asarray(found.kept[0]) > 0
    labels = None
    if model.num_classes:
        labels = (np.arange(len(kept), dtype=np.int32) % model.num_classes)[kept]
    made = np.asarray(generate(model, params, found.latents[0][kept], labels)).mean(0)
    share = _shares(masks)
    image = share * wanted + (1 - share) * made
    pasted = there * wanted + (1 - there) * made
    return Composed(image, pasted, seam(image, pieces, masks), seam(pasted, pieces, masks))


def _shares(masks: Float[np.ndarray, "piece h w 1"]) -> Float[np.ndarray, "h w 1"]:
    """How much of the pieces is shown: 0 at their borders to one another, 1 from FEATHER on."""
    depth = np.max([_depth(mask[..., 0]) for mask in masks], axis=0)
    return np.clip((depth - 1) / FEATHER, 0, 1)[..., None]


def _depth(mask: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """How far each pixel lies inside the mask; the picture's own border is none of the mask's."""
    if mask.all():
        return np.full(mask.shape, np.inf)
    return scipy.ndimage.distance_transform_edt(np.pad(mask, 1, mode="edge"))[1:-1, 1:-1]


def seam(
    image: Float[np.ndarray, "height width channel"],
    pieces: Images,
    masks: Float[np.ndarray, "piece height width 1"],
) -> float:
    """The mean step across the border of two pieces, over the steps that the pieces have there.

    About 1 where nothing tells the border; nan where no two pieces touch.
    """
    owner = np.where(masks.any(0)[..., 0], np.asarray(masks)[..., 0].argmax(0), -1)
    across, own = [], []
    for axis in (0, 1):
        length = owner.shape[axis]
        a, b = (owner.take(range(start, length - 1 + start), axis) for start in (0, 1))
        border = (a != b) & (a >= 0) & (b >= 0)
        steps = lambda picture, axis=axis: np.abs(np.diff(picture, axis=axis)).mean(-1)
        across.append(steps(np.asarray(image))[border])
        theirs = np.stack([steps(np.asarray(piece)) for piece in pieces])[:, border]
        columns = np.arange(theirs.shape[1])
        own.append((theirs[a[border], columns] + theirs[b[border], columns]) / 2)
    across, own = np.concatenate(across), np.concatenate(own)
    # A level of 8 bits: in two blank pieces there is no step at all.
    if not len(across):
        return math.nan
    return float((across.mean() + 1 / 255) / (own.mean() + 1 / 255))
