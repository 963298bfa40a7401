"""Omniglot in 28 x 28 grey pixels, of the file that papers on likelihoods share.

It comes with the code of Burda et al. 2016: github.com/yburda/iwae, datasets/OMNIGLOT/chardata.mat.
"""

import functools
import os
import pathlib

import numpy as np
import scipy.io

from genjax.data.base import InMemory, check_fields, hashed_order, resized
from genjax.errors import UserError

SIZE = 28
#: Of characters, by the names that they have in the file.
NUMBERS = {"data": 24_345, "testdata": 8_070}
#: Characters that are taken from those to train on (Tomczak and Welling 2018, in their code).
NUM_VALIDATION = 1345


def omniglot_28(*, split: str, path: str, image_size: int = SIZE, channels: int = 1) -> InMemory:
    """The characters of one split, without labels.

    There are 23,000 to train, 1,345 to validate, 8,070 to test. Greys are rounded to 8 bits. Test
    is the file's own; validation is the same every time.

    Args:
      split: `train`, `validation` or `test`.
      path: the file, `chardata.mat`.
      image_size: height and width; other than 28, the characters are resized.
      channels: 1, or 3 for grey characters in RGB.

    Raises:
      UserError: an argument names no such choice, the file is missing or holds something else.
    """
    check_fields(split, image_size, channels)
    if not path:
        raise UserError(
            "data.path: is empty; name the 28 x 28 Omniglot, as --config.data.path=chardata.mat"
        )
    file = pathlib.Path(os.path.expanduser(path))
    if not file.is_file():
        raise UserError(f"data.path: no such file {str(file)!r}")
    images = _characters(file, file.stat().st_mtime_ns)["testdata" if split == "test" else "data"]
    if split != "test":
        order = hashed_order(len(images))
        parts = {"train": order[:-NUM_VALIDATION], "validation": order[-NUM_VALIDATION:]}
        images = images[parts[split]]
    return InMemory(resized(images, image_size, channels))


@functools.lru_cache(maxsize=1)  # each split asks again
def _characters(file: pathlib.Path, modified: int) -> dict[str, np.ndarray]:
    """`data` and `testdata`, uint8 [N, 28, 28]; `modified` is the file's time, for the cache."""
    del modified
    wrong = lambda why: UserError(
        f"data.path: {str(file)!r} is not the 28 x 28 Omniglot of Burda et al. 2016: {why}"
    )
    try:
        found = scipy.io.loadmat(file)
    except Exception as error:  # what is damaged raises anything
        raise wrong(f"MATLAB's format is another ({type(error).__name__})") from error
    characters = {}
    for name, number in NUMBERS.items():
        grey, shape = np.asarray(found.get(name)), (SIZE * SIZE, number)
        if grey.shape != shape or not (grey.min() >= 0 and grey.max() <= 1):
            raise wrong(f"{name!r} has to be {shape}, of values from 0 to 1")
        # A column is a character, which is written down column by column.
        upright = grey.T.reshape(-1, SIZE, SIZE).swapaxes(1, 2)
        characters[name] = np.rint(255 * upright).astype(np.uint8)
    return characters
