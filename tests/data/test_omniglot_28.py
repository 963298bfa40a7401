"""The file of Burda et al. 2016, made up: which way its characters stand, and the parts."""

import numpy as np
import pytest
import scipy.io

from genjax.data.omniglot_28 import omniglot_28
from genjax.errors import UserError

NUM_TRAIN, NUM_TEST = 24_345, 8_070


def columns(numbers):
    """Each of `numbers` as the levels of a column's first pixels, its digits to base 250."""
    written = np.zeros((784, len(numbers)))
    for digit in range(3):
        written[digit] = numbers // 250**digit % 250 / 255
    return written


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Each character says in which place of the file it stands."""
    file = tmp_path_factory.mktemp("omniglot") / "chardata.mat"
    parts = {"data": columns(np.arange(NUM_TRAIN)), "testdata": columns(np.arange(NUM_TEST))}
    scipy.io.savemat(file, {**parts, "target": np.zeros((50, 3))}, do_compression=True)
    return file


def places(source):
    """Where its characters stand in the file."""
    # Pixels that follow one another in the file stand below one another, as in MATLAB.
    assert not source.images[:, :, 1:].any()
    return source.images[:, :3, 0, 0].astype(int) @ [1, 250, 250**2]


def test_the_parts_are_the_papers_and_together_the_file(file):
    train, validation, test = (
        omniglot_28(split=split, path=str(file)) for split in ("train", "validation", "test")
    )
    assert (len(train), len(validation), len(test)) == (23_000, 1_345, NUM_TEST)
    assert train.image_shape == (28, 28, 1)
    assert train[0]["image"].dtype == np.uint8
    assert not train.class_names
    np.testing.assert_array_equal(places(test), np.arange(NUM_TEST))
    held_out = places(validation)
    together = np.sort(np.concatenate([places(train), held_out]))
    np.testing.assert_array_equal(together, np.arange(NUM_TRAIN))
    # From everywhere: the mean place of 1,345 drawn ones is within 4 deviations of the middle.
    error = 4 * NUM_TRAIN / np.sqrt(12 * 1_345)
    assert abs(held_out.mean() - NUM_TRAIN / 2) < error


def test_other_sizes_and_colours(file):
    source = omniglot_28(split="validation", path=str(file), image_size=32, channels=3)
    assert source.image_shape == (32, 32, 3)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (None, "no such file"),
        (b"not a MATLAB file" * 20, "format is another"),
        (b"no MATLAB file", "format is another"),
        ({"images": np.zeros((3, 3))}, r"'data' has to be \(784, 24345\), of values from 0 to 1"),
        ({"data": np.zeros((NUM_TRAIN, 784), np.uint8)}, "'data' has to be"),
        ({"data": np.full((784, NUM_TRAIN), 255, np.uint8)}, "'data' has to be"),
    ],
)
def test_another_file_is_named(tmp_path, content, named):
    file = tmp_path / "chardata.mat"
    if isinstance(content, dict):
        scipy.io.savemat(file, content, do_compression=True)
    elif content:
        file.write_bytes(content)
    with pytest.raises(UserError, match=rf"data\.path: .*{named}"):
        omniglot_28(split="train", path=str(file))


def test_the_file_has_to_be_named():
    with pytest.raises(UserError, match=r"data\.path: is empty"):
        omniglot_28(split="train", path="")
