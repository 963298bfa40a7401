"""Simple shapes drawn on the fly from known factors: data without end, and with ground truth."""

import colorsys
import dataclasses
import functools
import hashlib
import math

import numpy as np
from jaxtyping import UInt8

from genjax.data.base import Example, check_fields
from genjax.errors import UserError

SHAPES = ("square", "ellipse", "heart")
#: Each factor is drawn evenly from its range; within these every shape lies wholly in the image.
RANGES = {
    "scale": (0.2, 0.4),
    "angle": (0.0, 2 * math.pi),
    "x": (0.35, 0.65),
    "y": (0.35, 0.65),
    "light": (0.4, 1.0),
    "hue": (0.0, 1.0),
}
#: Each pixel is the mean of this many samples a side.
SAMPLES = 4

Factors = dict[str, float | int]


@dataclasses.dataclass(frozen=True)
class Shapes:
    """A split of drawings; example `index` depends on the split's name and `index` alone."""

    split: str
    num_examples: int
    image_size: int
    channels: int
    class_names: tuple[str, ...] = SHAPES

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every image."""
        return (self.image_size, self.image_size, self.channels)

    @property
    def factor_names(self) -> tuple[str, ...]:
        """What can be told from an image: of a grey one all but the hue."""
        names = ("shape", *RANGES)
        return names if self.channels == 3 else names[:-1]

    def __len__(self) -> int:
        return self.num_examples

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(f"example {index} of {len(self)}")
        drawn = self.factors(index)
        image = render(drawn, self.image_size, self.channels)
        return {"image": image, "label": np.int32(drawn["shape"])}

    def factors(self, index: int) -> Factors:
        """What example `index` (from 0, without end) shows: `render` says what each factor is."""
        # A hash is a generator whose stream will never change, and one that needs no state.
        digest = hashlib.blake2b(f"{self.split}/{index}".encode(), digest_size=64).digest()
        numbers = np.frombuffer(digest, "<u8") / 2.0**64
        drawn = {
            name: low + (high - low) * float(number)
            for (name, (low, high)), number in zip(RANGES.items(), numbers[1:], strict=False)
        }
        return {"shape": int(numbers[0] * len(SHAPES)), **drawn}


def shapes(
    *,
    split: str,
    image_size: int = 28,
    channels: int = 1,
    num_examples: int = 50_000,
    num_evaluation: int = 5_000,
) -> Shapes:
    """Drawings of one split; the three splits are different streams that never end.

    Args:
      split: `train`, `validation` or `test`.
      image_size: height and width.
      channels: 1 for greyscale, where hue means nothing, or 3 for RGB.
      num_examples: how many make an epoch of `train`.
      num_evaluation: how many `validation` and `test` have.

    Raises:
      UserError: `split` or `channels` names no such choice, or a number is not positive.
    """
    lengths = {"train": num_examples, "validation": num_evaluation, "test": num_evaluation}
    check_fields(split, image_size, channels)
    for name, value in (("num_examples", num_examples), ("num_evaluation", num_evaluation)):
        if value < 1:
            raise UserError(f"data.{name}: {value} is not positive; try 5000")
    return Shapes(split, lengths[split], image_size, channels)


def render(
    factors: Factors, image_size: int, channels: int
) -> UInt8[np.ndarray, "{image_size} {image_size} {channels}"]:
    """Draws a shape on black, antialiased.

    Args:
      factors: `shape`, a number into `SHAPES`; `scale`, the side of the square of the same area, as
        a part of the image's side; `angle`, by which it is turned counter-clockwise as seen, in
        radians; `x` (to the right) and `y` (down), the place of its centroid, as parts of the
        image's side; `light`, its brightness in [0, 1]; `hue`, its colour in [0, 1), from red by
        green to blue.
      image_size: height and width.
      channels: 1 shows the light only, 3 the hue too.
    """
    axis = _sample_axis(image_size)
    x = (axis - factors["x"]) / factors["scale"]
    up = (factors["y"] - axis) / factors["scale"]
    cos, sin = math.cos(factors["angle"]), math.sin(factors["angle"])
    along = cos * x[None, :] + sin * up[:, None]
    across = cos * up[:, None] - sin * x[None, :]
    inside = INSIDE[SHAPES[factors["shape"]]](along, across)
    cover = inside.reshape(image_size, SAMPLES, image_size, SAMPLES).mean((1, 3), np.float32)
    light = factors["light"]
    colour = (light,) if channels == 1 else colorsys.hsv_to_rgb(factors["hue"], 1.0, light)
    return np.rint(255 * cover[:, :, None] * np.array(colour, np.float32)).astype(np.uint8)


@functools.lru_cache(maxsize=8)
def _sample_axis(image_size: int) -> np.ndarray:
    return (np.arange(image_size * SAMPLES, dtype=np.float32) + 0.5) / (image_size * SAMPLES)


# Each shape has area 1 and its centroid at (0, 0); `along` points to the right, `across` up.


def _in_square(along: np.ndarray, across: np.ndarray) -> np.ndarray:
    return np.maximum(abs(along), abs(across)) < 0.5


def _in_ellipse(along: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Twice as long as wide: pi * a * (a / 2) = 1."""
    return along**2 + 4 * across**2 < 2 / math.pi


def _in_heart(along: np.ndarray, across: np.ndarray) -> np.ndarray:
    """A square of side s on its corner, with a half disc on each of its two upper sides.

    Its area is s^2 (1 + pi / 4) = 1. With the square's centre at 0, each half disc has its centre
    at the height s / sqrt(8), and its centroid higher by 2 s / (3 pi) / sqrt(2).
    """
    side = 1 / math.sqrt(1 + math.pi / 4)
    middle = side / math.sqrt(8)
    centroid = math.pi / 4 * side**2 * (middle + math.sqrt(2) * side / (3 * math.pi))
    across = across + centroid
    in_square = abs(along) + abs(across) < side / math.sqrt(2)
    in_disc = (abs(along) - middle) ** 2 + (across - middle) ** 2 < side**2 / 4
    return in_square | in_disc


INSIDE = {"square": _in_square, "ellipse": _in_ellipse, "heart": _in_heart}
