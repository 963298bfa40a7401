"""A folder of the user's own pictures; its sub-folders, where there are any, are the classes."""

import dataclasses
import functools
import hashlib
import mimetypes
import os
import pathlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image, ImageOps

from genjax.data.base import SPLITS, Example, check_fields, resize_and_crop
from genjax.errors import UserError

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
#: What a message says of them.
ENDINGS = f"pictures that are read end in {', '.join(SUFFIXES)}"


@dataclasses.dataclass(frozen=True)
class Folder:
    """The pictures `files` under `root`, decoded when they are asked for."""

    root: pathlib.Path
    files: tuple[str, ...]
    class_names: tuple[str, ...]
    image_size: int
    channels: int
    crop: str

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every image."""
        return (self.image_size, self.image_size, self.channels)

    @property
    def fingerprint(self) -> str:
        """All that the examples depend on: the fields, and each file's size and time."""
        found = ((self.root / file).stat() for file in self.files)
        return f"{self} {[(stat.st_size, stat.st_mtime_ns) for stat in found]}"

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Example:
        file = self.files[index]
        with Image.open(self.root / file) as picture:
            upright = ImageOps.exif_transpose(picture)
            pixels = resize_and_crop(upright, self.image_size, self.channels, self.crop)
        if not self.class_names:
            return {"image": pixels}
        return {"image": pixels, "label": np.int32(self.class_names.index(_class_of(file)))}


def folder(
    *,
    split: str,
    path: str,
    image_size: int,
    channels: int,
    crop: str = "center",
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    max_unreadable: int = 0,
    labelled: bool = True,
) -> Folder:
    """The pictures of one split of a folder, of any size; their names end in `SUFFIXES`.

    If sub-folders hold pictures (at any depth), each is a class, in alphabetical order; pictures
    beside them would have none, and are an error. Every file is decoded once to see that it can be.
    Which split a file belongs to follows from a hash of its path within the folder, so it stays
    where it is when others are added.

    Args:
      split: `train`, `validation` or `test`.
      path: the folder.
      image_size: height and width; pictures are turned upright (EXIF), resized and cropped.
      channels: 1 or 3.
      crop: `center` or `none`; see `resize_and_crop`.
      validation_fraction: about this part of the files is validation, and at least one file.
      test_fraction: about this part of the files is test, and at least one file.
      max_unreadable: go on without broken files as long as there are no more of them than this.
      labelled: whether sub-folders are classes; no field of a config.

    Raises:
      UserError: the folder is missing or holds fewer than three readable pictures, too many files
        are broken, or the fractions leave nothing to train on.
    """
    check_fields(split, image_size, channels, crop)
    if not path:
        raise UserError("data.path: is empty; name your folder, as --config.data.path=FOLDER")
    if min(validation_fraction, test_fraction) < 0 or validation_fraction + test_fraction >= 1:
        raise UserError(
            f"data.validation_fraction: {validation_fraction} and data.test_fraction: "
            f"{test_fraction} must not be negative and leave a part to train on; try 0.1 and 0.1"
        )
    root = pathlib.Path(os.path.expanduser(path))
    files = _picture_files(root)
    class_names = _class_names(root, files) if labelled else ()
    files = _without_unreadable(root, files, max_unreadable)
    parts = _split(files, validation_fraction, test_fraction)
    return Folder(root, parts[split], class_names, image_size, channels, crop)


def picture_files(root: pathlib.Path) -> Iterator[pathlib.Path]:
    """The pictures in a folder and in those below it, by their paths within it; hidden ones not.

    A link to a folder is one, as long as it does not lead back to where it lies.
    """
    return _files(root, lambda path: path.suffix.lower() in SUFFIXES)


def other_pictures(root: pathlib.Path) -> list[pathlib.Path]:
    """As `picture_files`, those whose names say that they are in a format that is not read."""

    def is_other(path: pathlib.Path) -> bool:
        kind = mimetypes.guess_type(path.name)[0] or ""
        return kind.startswith("image/") and path.suffix.lower() not in SUFFIXES

    return list(_files(root, is_other))


def walked(root: pathlib.Path) -> Iterator[tuple[pathlib.Path, list[str]]]:
    """Each folder in which pictures are looked for, and the names in it that are no folders'.

    Raises:
      OSError: one that can not be read; to pass it over would leave out what is in it.
    """
    above = {root: {root.resolve()}}
    for name, folders, files in os.walk(root, onerror=_raise, followlinks=True):
        here = pathlib.Path(name)
        below = {each: (here / each).resolve() for each in folders if not each.startswith(".")}
        folders[:] = [each for each, place in below.items() if place not in above[here]]
        above |= {here / each: {*above[here], below[each]} for each in folders}
        yield here, files


def _raise(error: OSError) -> None:
    raise error


def _files(root: pathlib.Path, wanted: Callable[[pathlib.Path], bool]) -> Iterator[pathlib.Path]:
    """Those whose names are `wanted`; no other is looked up on the disk."""
    for here, files in walked(root):
        for path in (here / file for file in files if not file.startswith(".")):
            # A link to what is not there is a picture that can not be read.
            if wanted(path) and (path.is_file() or not path.exists()):
                yield path.relative_to(root)


def _picture_files(root: pathlib.Path) -> tuple[str, ...]:
    """The paths within `root` of all its pictures, sorted; hidden files are none."""
    if not root.is_dir():
        raise UserError(f"data.path: no such folder {str(root)!r}")
    files = sorted(path.as_posix() for path in picture_files(root))
    if not files:
        raise UserError(f"data.path: no pictures in {str(root)!r}; {ENDINGS}")
    return tuple(files)


def _class_names(root: pathlib.Path, files: tuple[str, ...]) -> tuple[str, ...]:
    loose = [file for file in files if "/" not in file]
    if loose and len(loose) < len(files):
        raise UserError(
            f"data.path: {str(root)!r} holds both pictures, as {loose[0]!r}, and sub-folders of "
            "pictures, which are classes; move the former into a sub-folder"
        )
    return () if loose else tuple(sorted(set(map(_class_of, files))))


def _class_of(file: str) -> str:
    """Its folder's name; what is no text in that is written in hexadecimal, to be shown."""
    return os.fsencode(file.split("/")[0]).decode(errors="backslashreplace")


def _without_unreadable(
    root: pathlib.Path, files: tuple[str, ...], max_unreadable: int
) -> tuple[str, ...]:
    modified = tuple((root / file).lstat().st_mtime_ns for file in files)
    unreadable = _unreadable(root, files, modified)
    if len(unreadable) > max_unreadable:
        raise UserError(
            f"data.path: {len(unreadable)} of {len(files)} pictures in {str(root)!r} cannot be "
            f"read: {_listed(unreadable)}; mend or remove them, or pass "
            f"--config.data.max_unreadable={len(unreadable)}"
        )
    readable = tuple(sorted(set(files) - set(unreadable)))
    if len(readable) < len(SPLITS):
        raise UserError(
            f"data.path: {len(readable)} readable pictures in {str(root)!r}; at least 3 are "
            "needed, to train, validate and test"
        )
    return readable


@functools.lru_cache(maxsize=8)  # each split of a folder asks again
def _unreadable(
    root: pathlib.Path, files: tuple[str, ...], modified: tuple[int, ...]
) -> tuple[str, ...]:
    """Those of the files that do not decode; `modified` are their times, for the cache."""
    del modified

    def decodes(file: str) -> bool:
        try:
            with Image.open(root / file) as picture:
                # Decodes it. Values of floats have no range that is known.
                return ImageOps.exif_transpose(picture).mode != "F"
        except Exception:  # Pillow's decoders raise whatever they stumble over
            return False

    with ThreadPoolExecutor() as pool:
        return tuple(f for f, fine in zip(files, pool.map(decodes, files), strict=True) if not fine)


def _split(
    files: tuple[str, ...], validation_fraction: float, test_fraction: float
) -> dict[str, tuple[str, ...]]:
    """Cuts the files, ordered by hash, where the hash passes the fractions; no part is empty."""
    place = lambda file: int.from_bytes(hashlib.sha256(os.fsencode(file)).digest()) / 2**256
    order = sorted(files, key=place)
    num_below = lambda fraction: sum(place(file) < fraction for file in order)
    test_end = min(max(num_below(test_fraction), 1), len(order) - 2)
    validation_end = num_below(test_fraction + validation_fraction)
    validation_end = min(max(validation_end, test_end + 1), len(order) - 1)
    parts = (order[validation_end:], order[test_end:validation_end], order[:test_end])
    # They stay in that order, in which the classes are mixed: halves and beginnings are alike.
    return {split: tuple(part) for split, part in zip(SPLITS, parts, strict=True)}


def _listed(names: tuple[str, ...], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
