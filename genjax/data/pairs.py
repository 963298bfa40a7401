"""Images with a condition: two sources side by side, and two folders of the user's own pictures."""

import contextlib
import dataclasses
import glob
import os
import pathlib
from collections.abc import Iterator

import numpy as np

from genjax.data.base import SPLITS, Example, Source
from genjax.data.folder import SUFFIXES, Folder, folder
from genjax.data.reading import read
from genjax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Example i is image `i + offset` of `targets`, with image i of `inputs` as its condition.

    Both are taken in turn where they are shorter than `length`. Labels are the targets'.
    """

    inputs: Source
    targets: Source
    length: int
    offset: int = 0

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every image and every condition."""
        return self.targets.image_shape

    @property
    def class_names(self) -> tuple[str, ...]:
        """The targets' classes; empty without labels."""
        return self.targets.class_names

    @property
    def fingerprint(self) -> str:
        """All that the examples depend on; no attribute where one of the sources has none."""
        return f"{self.inputs.fingerprint} {self.targets.fingerprint} {self.length} {self.offset}"

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Example:
        return {name: rows[0] for name, rows in self.read(np.array([index])).items()}

    def read(self, indices: np.ndarray, num_threads: int | None = None) -> Example:
        """The examples `indices`, stacked, as `genjax.data.reading.read` does it."""
        targets = (indices + self.offset) % len(self.targets)
        conditions = read(self.inputs, indices % len(self.inputs), num_threads)
        return {**read(self.targets, targets, num_threads), "condition": conditions["image"]}


def unpaired_halves(source: Source) -> Pairs:
    """The first half of `source` as conditions of the second: no image is on both sides."""
    half = len(source) // 2
    return Pairs(source, source, length=half, offset=half)


def folders(
    *,
    split: str,
    paired: bool,
    input_path: str,
    target_path: str,
    image_size: int,
    channels: int,
    crop: str = "center",
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    max_unreadable: int = 0,
) -> Pairs:
    """Pictures of one folder as conditions of another's; sub-folders are no classes here.

    Args:
      split: `train`, `validation` or `test`; see `genjax.data.folder.folder`.
      paired: whether pictures of the same name (but for the suffix) belong together.
      input_path: the folder of conditions.
      target_path: the folder of images.
      image_size: height and width.
      channels: 1 or 3.
      crop: `center` or `none`.
      validation_fraction: about this part of the files is validation.
      test_fraction: about this part of the files is test.
      max_unreadable: go on without broken files as long as there are no more of them than this.

    Raises:
      UserError: as `folder` does; pictures without a partner, or two of one name, which are named.
    """
    fields = {
        "image_size": image_size,
        "channels": channels,
        "crop": crop,
        "validation_fraction": validation_fraction,
        "test_fraction": test_fraction,
        "max_unreadable": max_unreadable,
        "labelled": False,
    }
    open_all = lambda path: {each: folder(split=each, path=path, **fields) for each in SPLITS}
    with _naming("data.input_path"):
        inputs = open_all(input_path)
    with _naming("data.target_path"):
        targets = open_all(target_path)
    if not paired:
        ours, theirs = inputs[split], targets[split]
        return Pairs(ours, theirs, length=max(len(ours), len(theirs)))
    partners = _by_name(targets, "data.target_path")
    _check_partners(_by_name(inputs, "data.input_path"), partners, input_path, target_path)
    # A picture whose partner can not be read goes with it.
    files = tuple(file for file in inputs[split].files if _name(file) in partners)
    if not files:
        raise UserError(f"data.target_path: no readable partner for any picture of {split}")
    ours = dataclasses.replace(inputs[split], files=files)
    theirs = dataclasses.replace(
        targets[split], files=tuple(partners[_name(file)] for file in files)
    )
    return Pairs(ours, theirs, length=len(ours))


@contextlib.contextmanager
def _naming(field: str) -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise UserError(str(error).replace("data.path", field)) from error


def _name(file: str) -> str:
    return str(pathlib.PurePosixPath(file).with_suffix(""))


def _by_name(sources: dict[str, Folder], field: str) -> dict[str, str]:
    files = {}
    for file in sorted(file for source in sources.values() for file in source.files):
        if (other := files.setdefault(_name(file), file)) != file:
            raise UserError(
                f"{field}: {other} and {file} have one name, which pairs go by; rename one"
            )
    return files


def _is_there(folder: str, name: str) -> bool:
    """Whether there is a picture of this name, be it that it can not be read."""
    path = pathlib.Path(os.path.expanduser(folder)) / name
    found = path.parent.glob(f"{glob.escape(path.name)}.*")
    return any(_name(each.name) == path.name and each.suffix.lower() in SUFFIXES for each in found)


def _check_partners(
    inputs: dict[str, str], targets: dict[str, str], input_path: str, target_path: str
) -> None:
    for ours, theirs, where in ((inputs, targets, target_path), (targets, inputs, input_path)):
        alone = (name for name in ours.keys() - theirs.keys() if not _is_there(where, name))
        if lacking := sorted(ours[name] for name in alone):
            more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
            raise UserError(
                f"data.{'target' if ours is inputs else 'input'}_path: {where} has no partner for "
                f"{', '.join(lacking[:5])}{more}; pictures of a pair have one name"
            )
