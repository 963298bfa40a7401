"""Pictures of any size through a model of one size: overlapping tiles, blended without seams."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float32, Shaped

#: ITU-R 601-2: what a grey model sees of a colour picture.
LUMA = np.array([0.299, 0.587, 0.114], np.float32)

Pixels = Float32[np.ndarray, "height width channel"]
Tiles = Float32[np.ndarray, "batch size size channel"]
Apply = Callable[[Tiles], Shaped[Any, "batch size size channel_out"]]
#: Where a tile begins on one axis, and its weights [size] along it.
Window = tuple[int, Float32[np.ndarray, " size"]]


def tiled(
    pixels: Pixels,
    size: int,
    channels: int,
    apply: Apply,
    overlap: int | None = None,
    batch_size: int = 16,
    channels_out: int | None = None,
) -> Float32[np.ndarray, "height width channel_out"]:
    """What a model of `size` x `size` makes of a picture of any size.

    A larger picture is cut into overlapping tiles, the last flush with its border; where tiles
    overlap, their weights fall linearly towards their borders and sum to one. A smaller picture is
    mirrored outwards on all sides, and what was added is cut off again.

    A model that keeps the number of channels keeps the picture's: a grey model sees each channel of
    a colour picture as a grey picture of its own, and what a colour model makes of a grey picture
    is averaged to grey. Where `channels_out` differs from `channels`, it is what comes back, and a
    grey model sees a colour picture's luma.

    Args:
      pixels: [H, W, 1 or 3], or as many channels as the model takes.
      size: the model's height and width.
      channels: what the model takes: 1, 3, or as many as there are.
      apply: the model. It is given `batch_size` tiles, or, where a picture has fewer, the next
        power of two, so that it is compiled for few shapes; copies of the last tile fill a batch.
      overlap: pixels that neighbouring tiles share at least, up to half of `size`; None is a
        quarter of it.
      batch_size: the most tiles at once.
      channels_out: what the model gives; None is as many as it takes.

    Returns:
      [H, W, the picture's channels, or `channels_out` where that differs from `channels`].

    Raises:
      ValueError: the picture, a number, or what `apply` returns is of another shape or range.
    """
    overlap = size // 4 if overlap is None else overlap
    channels_out = channels_out or channels
    _check(pixels, size, channels, overlap, batch_size)
    becomes_grey = pixels.shape[-1] == 1 and channels == channels_out
    planes, inside = _padded(_planes(pixels, channels, channels_out), size)
    num_planes, height, width, _ = planes.shape
    blended = np.zeros((num_planes, height, width, 1 if becomes_grey else channels_out), np.float32)
    rows, columns = _windows(height, size, overlap), _windows(width, size, overlap)
    places = list(itertools.product(range(num_planes), rows, columns))
    batch = min(batch_size, 1 << (len(places) - 1).bit_length())
    for start in range(0, len(places), batch):
        group = places[start : start + batch]
        tiles = [planes[p, y : y + size, x : x + size] for p, (y, _), (x, _) in group]
        results = _applied(apply, tiles, batch, channels_out)
        if becomes_grey:
            results = results.mean(axis=-1, keepdims=True)
        for (p, (y, down), (x, across)), result in zip(group, results, strict=True):
            weights = down[:, None, None] * across[:, None]
            blended[p, y : y + size, x : x + size] += weights * result
    return np.concatenate(blended[:, *inside], axis=-1)


def _check(pixels: Pixels, size: int, channels: int, overlap: int, batch_size: int) -> None:
    if pixels.ndim != 3 or pixels.shape[-1] not in (1, 3, channels) or not pixels.size:
        raise ValueError(f"expected pixels [H, W, 1, 3 or {channels}], got {list(pixels.shape)}")
    if channels not in (1, 3, pixels.shape[-1]):
        raise ValueError(f"a model of {channels} channels sees {pixels.shape[-1]}; 1 or 3 could")
    if not 0 <= 2 * overlap <= size or batch_size < 1:
        raise ValueError(f"size {size}, overlap {overlap}, batch_size {batch_size}")


def _planes(pixels: Pixels, channels: int, channels_out: int) -> Float32[np.ndarray, "p h w c"]:
    """[H, W, C] -> [P, H, W, channels], P pictures that the model sees one by one."""
    height, width, colours = pixels.shape
    if colours == channels:
        return pixels[None]
    if channels == 3:
        return np.broadcast_to(pixels, (1, height, width, 3))
    if channels_out == 1:
        return np.moveaxis(pixels, -1, 0)[..., None]
    return (pixels @ LUMA)[None, ..., None]


def _padded(
    planes: Float32[np.ndarray, "p h w c"], size: int
) -> tuple[Float32[np.ndarray, "p h_out w_out c"], tuple[slice, slice]]:
    """The planes with height and width of at least `size`, and where the picture lies in them."""
    lengths = planes.shape[1:3]
    missing = [max(0, size - length) for length in lengths]
    before = [number // 2 for number in missing]
    around = [(b, m - b) for b, m in zip(before, missing, strict=True)]
    # A single row or column, which has nothing to mirror, is repeated.
    padded = np.pad(planes, ((0, 0), *around, (0, 0)), "reflect") if any(missing) else planes
    return padded, tuple(slice(b, b + n) for b, n in zip(before, lengths, strict=True))


def _windows(length: int, size: int, overlap: int) -> list[Window]:
    """The tiles of one axis; over every pixel their weights sum to one, and none is zero."""
    starts = [*range(0, length - size, size - overlap), length - size]
    # 1/(n+1), ..., n/(n+1) and its mirror image sum to one.
    rise = np.minimum(np.arange(1, size + 1) / (overlap + 1), 1)
    weights = np.ones((len(starts), size))
    # Towards the picture's own border nothing falls: no other tile takes over there.
    weights[1:] *= rise
    weights[:-1] *= rise[::-1]
    total = np.zeros(length)
    for start, weight in zip(starts, weights, strict=True):
        total[start : start + size] += weight
    shares = [w / total[s : s + size] for s, w in zip(starts, weights, strict=True)]
    return list(zip(starts, np.float32(shares), strict=True))


def _applied(
    apply: Apply, tiles: list[Float32[np.ndarray, "size size c"]], batch: int, channels_out: int
) -> Tiles:
    filled = np.stack(tiles + tiles[-1:] * (batch - len(tiles)))
    results = np.asarray(apply(filled), np.float32)
    if results.shape != (*filled.shape[:-1], channels_out):
        raise ValueError(
            f"{list(filled.shape)} became {list(results.shape)}, not {channels_out} channels"
        )
    return results[: len(tiles)]
