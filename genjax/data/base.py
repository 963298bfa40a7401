"""What a source of examples is, the source that holds its examples in memory, and image fitting."""

import dataclasses
import functools
import hashlib
from typing import Any, NamedTuple, Protocol

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from genjax.errors import UserError, choose

#: The parts of a data set. Models are fitted to the first, chosen by the second, reported on the
#: third.
SPLITS = ("train", "validation", "test")

#: How a picture is brought to the square: cut out of its middle, or squeezed into it.
CROPS = {"center": ImageOps.fit, "none": Image.Image.resize}

#: Pillow's modes for the numbers of channels: greyscale (ITU-R 601-2 luma) and RGB.
MODES = {1: "L", 3: "RGB"}

Example = dict[str, Any]


class Source(Protocol):
    """One split of a data set, read by number from any thread.

    `image_shape` is (height, width, channels) of every image, `class_names` is empty for a set
    without labels. Example `index` of [0, len) is `{"image": uint8 [H, W, C]}` and, with labels,
    `"label"`, an int32 number into `class_names`.
    """

    @property
    def image_shape(self) -> tuple[int, int, int]: ...  # noqa: D102

    @property
    def class_names(self) -> tuple[str, ...]: ...  # noqa: D102

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example: ...


class Facts(NamedTuple):
    """What there is to know of a training split, to build a model.

    Attributes:
      image_shape: height, width and channels of every image.
      class_names: the classes; empty without labels.
      num_examples: how many there are.
    """

    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    num_examples: int


@dataclasses.dataclass(frozen=True, eq=False)
class InMemory:
    """A source whose `images` (uint8 [N, H, W, C]) and `labels` (int32 [N], or None) are arrays."""

    images: np.ndarray
    labels: np.ndarray | None = None
    class_names: tuple[str, ...] = ()

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every image."""
        return self.images.shape[1:]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int | np.ndarray) -> Example:
        example = {"image": self.images[index]}
        return example if self.labels is None else {**example, "label": self.labels[index]}


@functools.lru_cache(maxsize=4)
def hashed_order(num: int) -> np.ndarray:
    """The numbers below `num` in an order that is as if drawn, and the same for ever; to be read.

    A hash, because the streams of NumPy's generators may change between versions.
    """
    digest = lambda number: hashlib.sha256(str(number).encode()).digest()
    return np.array(sorted(range(num), key=digest))


def check_fields(split: str, image_size: int, channels: int, crop: str = "center") -> None:
    """Checks the fields that all sources share.

    Raises:
      UserError: one of them names no such choice, or `image_size` is not positive.
    """
    choose("data.split", split, dict.fromkeys(SPLITS))
    choose("data.channels", str(channels), {str(number): mode for number, mode in MODES.items()})
    choose("data.crop", crop, CROPS)
    if image_size < 1:
        raise UserError(f"data.image_size: {image_size} is not positive; try 32")


def to_mode(image: Image.Image, channels: int) -> Image.Image:
    """A picture of any mode but F, floats, as 8-bit grey (1 channel) or RGB (3).

    Transparent parts are laid on white, as pages show them; 16-bit grey keeps its upper 8 bits.
    """
    if image.mode.startswith("I"):  # Pillow would clip 16-bit values at 255
        image = Image.fromarray((np.asarray(image).astype(np.int64) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == MODES[channels] else image.convert(MODES[channels])


def resized(images: np.ndarray, image_size: int, channels: int) -> np.ndarray:
    """Grey images, uint8 [N, height, width], as [N, image_size, image_size, channels], not cut."""
    if images.shape[1:] == (image_size, image_size) and channels == 1:
        return images[..., None]
    fit = lambda image: resize_and_crop(Image.fromarray(image), image_size, channels, "none")
    return np.stack([fit(image) for image in images])


def resize_and_crop(
    image: Image.Image, image_size: int, channels: int, crop: str
) -> UInt8[np.ndarray, "{image_size} {image_size} {channels}"]:
    """Brings a picture of any size and mode to a square of so many channels.

    Resizing is bicubic with antialiasing. A picture that has the right size and mode keeps its
    values bit for bit; see `to_mode` for others.

    Args:
      image: the picture.
      image_size: height and width wanted.
      channels: 1 for greyscale, 3 for RGB.
      crop: `center` scales the shorter side to `image_size` and keeps the middle; `none` scales
        both sides to it, whatever the aspect.
    """
    image = to_mode(image, channels)
    if image.size != (image_size, image_size):
        image = CROPS[crop](image, (image_size, image_size), Image.Resampling.BICUBIC)
    return np.asarray(image).reshape(image_size, image_size, channels)
