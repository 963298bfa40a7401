"""Images or features that stand by themselves: a folder of pictures, a .npy or .npz file."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from genjax.data.base import MODES, to_mode
from genjax.data.folder import ENDINGS, picture_files
from genjax.errors import UserError

BATCH = 64
IMAGES, FEATURES = 4, 2
SHAPES = "images [N, H, W, 1 or 3] or features [N, D]"


@dataclasses.dataclass(frozen=True, eq=False)
class ImageSet:
    """Images or features, in order.

    Attributes:
      path: where they came from, for messages.
      shape: (height, width, channels) of each image, or (number of features,).
      items: the files of a folder, or one array.
    """

    path: pathlib.Path
    shape: tuple[int, ...]
    items: Any

    def __len__(self) -> int:
        return len(self.items)

    @property
    def is_images(self) -> bool:
        """Whether they are images, not features."""
        return len(self.shape) == IMAGES - 1

    @property
    def num_batches(self) -> int:
        """How many batches there are."""
        return -(-len(self) // BATCH)

    def batches(self) -> Iterator[np.ndarray]:
        """float32 [batch, height, width, channel] in [0, 1], or [batch, feature].

        Raises:
          UserError: a picture that can not be read or is of another size than the first; a value
            that is not finite, or no pixel value.
        """
        for start in range(0, len(self), BATCH):
            items = self.items[start : start + BATCH]
            if isinstance(items, np.ndarray):
                yield self._checked(items, start)
            else:
                pictures = [_decode(file, self.shape[-1]) for file in items]
                for file, picture in zip(items, pictures, strict=True):
                    if picture.shape != self.shape:
                        raise UserError(
                            f"{file}: is {_size(picture.shape)}, but others there are "
                            f"{_size(self.shape)}; bring all to one size first"
                        )
                yield np.stack(pictures).astype(np.float32) / 255

    def _checked(self, rows: np.ndarray, start: int) -> np.ndarray:
        if rows.dtype == np.uint8 and self.is_images:
            return rows.astype(np.float32) / 255
        rows = rows.astype(np.float32)
        finite = np.isfinite(rows.reshape(len(rows), -1)).all(axis=1)
        if not finite.all():
            raise UserError(f"{self.path}: row {start + finite.argmin()} is not finite")
        if self.is_images and (rows.min() < 0 or rows.max() > 1):
            raise UserError(
                f"{self.path}: images lie in [0, 1] where they are not uint8; these reach from "
                f"{rows.min():g} to {rows.max():g}"
            )
        return rows


def open_set(path: pathlib.Path) -> ImageSet:
    """Opens a folder of pictures, with those in folders below it, or a .npy or .npz file.

    Raises:
      UserError: nothing there, or nothing that can be read as images or features.
    """
    if path.is_dir():
        # `sample` lays an overview beside the samples.
        files = sorted(path / file for file in picture_files(path) if file.name != "grid.png")
        if not files:
            raise UserError(f"{path}: holds no pictures; {ENDINGS}")
        first = _open(files[0])
        channels = 1 if all(_mode(file) in ("1", "L", "I;16") for file in files) else 3
        return ImageSet(path, (first.height, first.width, channels), files)
    array = _load(path)
    is_number = array.dtype.kind in "fiu"
    if not is_number or array.ndim not in (IMAGES, FEATURES) or not array.size:
        raise UserError(f"{path}: holds {array.dtype} {list(array.shape)}, not {SHAPES}")
    if array.ndim == IMAGES and array.shape[-1] not in MODES:
        raise UserError(f"{path}: holds an array {list(array.shape)}, not {SHAPES}")
    return ImageSet(path, array.shape[1:], array)


def check_pair(real: ImageSet, fake: ImageSet) -> None:
    """Raises a UserError unless the two hold images of one size, or as many features."""
    if real.shape != fake.shape:
        raise UserError(
            f"{fake.path}: holds {_kind(fake)}, but {real.path} {_kind(real)}; bring them to one "
            "size first"
        )


def _load(path: pathlib.Path) -> np.ndarray:
    if path.suffix not in (".npy", ".npz") or not path.is_file():
        what = "no such file or folder" if not path.exists() else "is no folder, .npy or .npz file"
        raise UserError(f"{path}: {what}")
    try:
        loaded = np.load(path)
        if path.suffix == ".npy":
            return loaded
        with loaded:
            if len(loaded.files) != 1:
                raise UserError(
                    f"{path}: holds {len(loaded.files)} arrays ({', '.join(loaded.files)}); store "
                    "one, the images or the features"
                )
            return loaded[loaded.files[0]]
    except UserError:
        raise
    except Exception as error:  # NumPy raises whatever it stumbles over
        raise UserError(f"{path}: can not be read: {error}") from error


def _mode(file: pathlib.Path) -> str:
    """Pillow's, from the file's header; empty where it is none."""
    with contextlib.suppress(Exception), Image.open(file) as picture:  # decoders raise anything
        return picture.mode
    return ""


def _open(file: pathlib.Path) -> Image.Image:
    try:
        with Image.open(file) as picture:
            return ImageOps.exif_transpose(picture)  # decodes it
    except Exception as error:  # Pillow's decoders raise whatever they stumble over
        raise UserError(f"{file}: is no picture that can be read") from error


def _decode(file: pathlib.Path, channels: int) -> np.ndarray:
    pixels = np.asarray(to_mode(_open(file), channels))
    return pixels.reshape(*pixels.shape[:2], channels)


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _kind(items: ImageSet) -> str:
    return f"images of {_size(items.shape)}" if items.is_images else f"{items.shape[0]} features"
