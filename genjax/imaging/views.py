"""Views of an image, which translation goes between; and the pairs that two views make.

A view is a degradation without a random draw, and is named like one; degradations are views, too.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import lax

from genjax import rng
from genjax.imaging.degradations import DEGRADATIONS, Degradation, Image, Truth, degrade
from genjax.types import Batch, PRNGKey

#: ITU-R BT.601, as Pillow's greyscale.
LUMA = (0.299, 0.587, 0.114)
#: A clear day's sky and the light of the moon, RGB.
SKY, MOONLIGHT = (0.55, 0.75, 0.95), (0.30, 0.34, 0.55)
#: Ink and paper of the digits that are inverted and coloured, RGB.
INK, PAPER = (0.10, 0.20, 0.55), (0.98, 0.85, 0.40)


class View(Degradation):
    """What `forward` makes of an image is all there is."""

    linear: ClassVar[bool] = False

    def __call__(self, image: Image, key: PRNGKey) -> tuple[Image, Truth]:
        """(the view, nothing)."""
        del key
        return jnp.clip(self.forward(image, {}), 0, 1), {}


@dataclasses.dataclass(frozen=True)
class Edges(View):
    """The length of Sobel's gradient, one channel; 1 where it is a step from black to white."""

    def forward(self, image: Image, truth: Truth) -> Image:
        """Of the brightest channel; borders have no edge."""
        padded = jnp.pad(image.max(-1), 1, mode="edge")
        smooth = lambda x: x[:-2] + 2 * x[1:-1] + x[2:]
        across = smooth(padded[:, 2:] - padded[:, :-2])
        down = smooth((padded[2:] - padded[:-2]).T).T
        return jnp.sqrt(across**2 + down**2 + 1e-12)[..., None] / 4


def _extreme(image: Image, most: bool) -> Image:
    """The largest or the smallest value among each pixel and its eight neighbours."""
    reduce, start = (lax.max, -jnp.inf) if most else (lax.min, jnp.inf)
    return lax.reduce_window(image, start, reduce, (3, 3, 1), (1, 1, 1), "SAME")


@dataclasses.dataclass(frozen=True)
class Thin(View):
    """Strokes thinner by half a pixel on each side: the mean of the image and its erosion."""

    def forward(self, image: Image, truth: Truth) -> Image:
        """Of bright strokes on a dark ground."""
        return (image + _extreme(image, most=False)) / 2


@dataclasses.dataclass(frozen=True)
class Thick(View):
    """Strokes thicker by a pixel on each side: dilation by 3x3 pixels."""

    def forward(self, image: Image, truth: Truth) -> Image:
        """Of bright strokes on a dark ground."""
        return _extreme(image, most=True)


@dataclasses.dataclass(frozen=True)
class Colour(View):
    """A grey image in three channels."""

    def forward(self, image: Image, truth: Truth) -> Image:
        """The same value in each."""
        return jnp.broadcast_to(image, (*image.shape[:2], 3))


@dataclasses.dataclass(frozen=True)
class Grey(View):
    """A colour image in one channel."""

    def forward(self, image: Image, truth: Truth) -> Image:
        """Its luma."""
        return image if image.shape[-1] == 1 else image @ jnp.array(LUMA)[:, None]


@dataclasses.dataclass(frozen=True)
class InvertedColoured(View):
    """Bright strokes on dark ground as blue ink on yellow paper."""

    def forward(self, image: Image, truth: Truth) -> Image:
        """From paper at 0 to ink at 1."""
        grey = Grey().forward(image, truth)
        return grey * jnp.array(INK) + (1 - grey) * jnp.array(PAPER)


@dataclasses.dataclass(frozen=True)
class Day(View):
    """Shapes, drawn on black, before a clear sky."""

    def forward(self, image: Image, truth: Truth) -> Image:
        """As much sky as the brightest channel leaves."""
        return image + (1 - image.max(-1, keepdims=True)) * jnp.array(SKY)


@dataclasses.dataclass(frozen=True)
class Night(View):
    """The same scene as `day` by the light of the moon: darker, bluer, of less contrast."""

    def forward(self, image: Image, truth: Truth) -> Image:
        """The day's picture, squared, in moonlight."""
        return Day().forward(image, truth) ** 2 * jnp.array(MOONLIGHT)


#: What a config's `pairs` may name.
VIEWS = DEGRADATIONS | {
    "edges": Edges,
    "thin": Thin,
    "thick": Thick,
    "colour": Colour,
    "grey": Grey,
    "inverted_coloured": InvertedColoured,
    "day": Day,
    "night": Night,
}


@dataclasses.dataclass(frozen=True)
class Pairing:
    """Makes pairs of a batch: views of its images and of its conditions, or of its images alone.

    Attributes:
      input: the view that comes in.
      target: the view that should come out.
    """

    input: Degradation
    target: Degradation

    def __call__(self, batch: Batch, key: PRNGKey) -> Batch:
        """The batch with the target's view as `image` and the input's as `condition`.

        `present` is 1 where something was seen by the input's view, else 0. Draws belong to a
        row's `position`.
        """
        images, place = batch["image"], batch["position"]
        conditions = batch.get("condition", images)
        see = lambda view, images, name: degrade(view, images, rng.stream(key, name), place)
        seen, truth = see(self.input, conditions, "input")
        return {
            **batch,
            "image": see(self.target, images, "target")[0],
            "condition": seen,
            "present": jax.vmap(self.input.present)(conditions, truth),
        }

    def shapes(self, image_shape: tuple[int, int, int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The shapes of a condition and an image made of images of `image_shape`."""
        batch = {
            "image": jax.ShapeDtypeStruct((1, *image_shape), jnp.float32),
            "position": jax.ShapeDtypeStruct((1,), jnp.int32),
        }
        made = jax.eval_shape(self, batch, jax.random.key(0))
        return made["condition"].shape[1:], made["image"].shape[1:]
