"""Bringing pictures of any size and mode to a square."""

import numpy as np
import pytest
from PIL import Image

from genjax.data.base import check_fields, resize_and_crop
from genjax.errors import UserError


def test_a_picture_of_the_right_size_keeps_its_values():
    rng = np.random.default_rng(0)
    for shape in ((32, 32, 3), (32, 32, 1)):
        pixels = rng.integers(0, 256, shape, np.uint8)
        image = Image.fromarray(pixels.squeeze())
        for crop in ("center", "none"):
            np.testing.assert_array_equal(resize_and_crop(image, 32, shape[-1], crop), pixels)


def test_center_keeps_the_middle_and_none_keeps_all():
    # The middle 30 columns of 60 are green, the 15 on either side are red.
    pixels = np.zeros((30, 60, 3), np.uint8)
    pixels[..., 0] = 255
    pixels[:, 15:45] = (0, 255, 0)
    image = Image.fromarray(pixels)
    cropped = resize_and_crop(image, 10, 3, "center")
    np.testing.assert_array_equal(cropped[:, 1:9], np.full((10, 8, 3), (0, 255, 0)))
    assert (cropped[:, ::9, 1] > 220).all()  # the filter reaches a little beyond the cut
    squeezed = resize_and_crop(image, 8, 3, "none")
    np.testing.assert_array_equal(squeezed[:, 0], np.full((8, 3), (255, 0, 0)))
    np.testing.assert_array_equal(squeezed[:, 7], np.full((8, 3), (255, 0, 0)))
    assert (squeezed[:, 3:5, 1] > 240).all()


def test_making_smaller_is_antialiased():
    # Eight by eight pixels of a checkerboard average to mid-grey; picking one of them would not.
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    small = resize_and_crop(Image.fromarray(board), 8, 1, "none").astype(int)
    assert abs(small[1:-1, 1:-1] - 127.5).max() < 3


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("RGBA", (255, 0, 0, 0), 255),  # transparent: white shows
        ("RGBA", (0, 0, 0, 255), 0),
        ("RGBA", (0, 0, 0, 51), 204),  # a fifth of black on white: 0.8 * 255
        ("LA", (0, 0), 255),
        ("RGB", (255, 0, 0), 76),  # 0.299 * 255
        ("RGB", (0, 255, 0), 150),  # 0.587 * 255
        ("1", 1, 255),
        ("I;16", 65535, 255),
        ("I;16", 256, 1),
        ("CMYK", (0, 0, 0, 255), 0),
    ],
)
def test_modes_become_grey(mode, colour, expected):
    image = Image.new(mode, (4, 4), colour)
    np.testing.assert_array_equal(
        resize_and_crop(image, 4, 1, "center"), np.full((4, 4, 1), expected)
    )


def test_grey_becomes_three_equal_channels():
    pixels = resize_and_crop(Image.new("L", (9, 5), 37), 4, 3, "center")
    np.testing.assert_array_equal(pixels, np.full((4, 4, 3), 37))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (("val", 28, 1, "center"), ["data.split", "'val'"]),
        (("train", 0, 1, "center"), ["data.image_size", "0"]),
        (("train", 28, 4, "center"), ["data.channels", "'4'"]),
        (("train", 28, 1, "centre"), ["data.crop", "did you mean 'center'?"]),
    ],
)
def test_wrong_fields_are_named(fields, words):
    with pytest.raises(UserError) as error:
        check_fields(*fields)
    assert all(word in str(error.value) for word in words)
