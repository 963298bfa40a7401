"""Many images as one picture."""

import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from genjax.files import replacing

#: A dark grey: black digits and bright photographs both keep their edges on it.
BACKGROUND = 48
PADDING = 2
#: Smaller images are enlarged by a whole factor towards this many pixels.
COMFORTABLE = 64


def grid(images: np.ndarray, columns: int | None = None) -> np.ndarray:
    """Tiles images row by row; small ones are enlarged by a whole factor without smoothing.

    Image k lies at row `k // columns`, column `k % columns`; its corner is `PADDING` plus that
    many (scaled height or width + `PADDING`) from the top and the left.

    Args:
      images: float [N, H, W, C] in [0, 1], C = 1 or 3; what lies outside is clipped, NaN is black.
      columns: Images a row; None makes the picture about square.

    Returns:
      uint8 [H', W', C].

    Raises:
      ValueError: there is no image, or `images` is not [N, H, W, 1 or 3].
    """
    return _tile(_enlarge(to_uint8(images)), columns, PADDING)


def pairs(
    originals: np.ndarray, reconstructions: np.ndarray, columns: int | None = None
) -> np.ndarray:
    """Tiles originals, each directly above its reconstruction, with wider gaps between the pairs.

    Args:
      originals: float [N, H, W, C] in [0, 1].
      reconstructions: float [N, H, W, C] in [0, 1], in the same order.
      columns: Pairs a row; None makes the picture about square.

    Returns:
      uint8 [H', W', C].

    Raises:
      ValueError: the shapes differ, or are not [N, H, W, 1 or 3].
    """
    above, below = _enlarge(to_uint8(originals)), _enlarge(to_uint8(reconstructions))
    if above.shape != below.shape:
        raise ValueError(f"{np.shape(originals)} originals, {np.shape(reconstructions)} others")
    seam = np.full_like(above[:, :1], BACKGROUND)
    return _tile(np.concatenate([above, seam, below], axis=1), columns, 4 * PADDING)


def labelled_rows(images: np.ndarray, class_names: Sequence[str], per_class: int) -> np.ndarray:
    """Tiles one class a row, with the class's name at the left.

    Args:
      images: float [K * per_class, H, W, C] in [0, 1], class by class.
      class_names: K names.
      per_class: Images a class.

    Returns:
      uint8 [H', W', C].

    Raises:
      ValueError: the number of images is not K * per_class.
    """
    if len(images) != len(class_names) * per_class:
        raise ValueError(f"{len(images)} images for {len(class_names)} x {per_class}")
    tiles = grid(images, per_class)
    row_height = (tiles.shape[0] - PADDING) // len(class_names)
    font = ImageFont.load_default(min(16, max(8, row_height // 2)))
    width = math.ceil(max(font.getlength(name) for name in class_names)) + 4 * PADDING
    margin = Image.new("L", (width, tiles.shape[0]), BACKGROUND)
    draw = ImageDraw.Draw(margin)
    for row, name in enumerate(class_names):
        middle = PADDING + row * row_height + (row_height - PADDING) // 2
        draw.text((width - 2 * PADDING, middle), name, fill=230, font=font, anchor="rm")
    names = np.repeat(np.asarray(margin)[..., None], tiles.shape[-1], axis=-1)
    return np.concatenate([names, tiles], axis=1)


def in_colour(images: np.ndarray) -> np.ndarray:
    """[N, H, W, 1 or 3] to [N, H, W, 3]; grey ones three times the same."""
    return np.broadcast_to(images, (*np.shape(images)[:3], 3))


def save_png(array: np.ndarray, path: str | os.PathLike) -> Path:
    """Writes uint8 [H, W, 1 or 3] as a PNG file, all or nothing; makes the folder if need be."""
    path = Path(path)
    array = np.asarray(array)
    with replacing(path) as file:
        Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array).save(file, "PNG")
    return path


def to_uint8(images: np.ndarray) -> np.ndarray:
    """Floats in [0, 1], [N, H, W, 1 or 3], to uint8; clipped, NaN is black.

    Raises:
      ValueError: there is no image, or the shape is another.
    """
    images = np.asarray(images, np.float32)
    if images.ndim != 4 or not len(images) or images.shape[-1] not in (1, 3):
        raise ValueError(f"expected [N, H, W, 1 or 3] with N > 0, got {list(images.shape)}")
    return np.round(np.clip(np.nan_to_num(images), 0, 1) * 255).astype(np.uint8)


def _enlarge(images: np.ndarray) -> np.ndarray:
    factor = max(1, COMFORTABLE // max(images.shape[1:3]))
    return images.repeat(factor, axis=1).repeat(factor, axis=2)


def _tile(images: np.ndarray, columns: int | None, padding: int) -> np.ndarray:
    """[N, H, W, C] -> [rows * (H + padding) + padding, columns * (W + padding) + padding, C]."""
    num, height, width, channels = images.shape
    # A little under the ceiling, lest a seam's few pixels cost a column.
    columns = min(num, columns or math.ceil(math.sqrt(num * height / width) - 0.1))
    rows = math.ceil(num / columns)
    cells = np.full(
        (rows * columns, height + padding, width + padding, channels), BACKGROUND, np.uint8
    )
    cells[:num, padding:, padding:] = images
    cells = cells.reshape(rows, columns, *cells.shape[1:]).swapaxes(1, 2)
    canvas = cells.reshape(rows * (height + padding), columns * (width + padding), channels)
    return np.pad(canvas, ((0, padding), (0, padding), (0, 0)), constant_values=BACKGROUND)
