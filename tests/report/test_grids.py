import itertools

import numpy as np
import pytest
from PIL import Image

from genjax.report.grids import BACKGROUND, PADDING, grid, labelled_rows, pairs, save_png


def test_every_image_lands_at_its_row_and_column():
    images = np.linspace(0, 1, 6)[:, None, None, None] * np.ones((6, 64, 80, 3))
    picture = grid(images, columns=4)
    assert picture.dtype == np.uint8
    assert picture.shape == (2 * (64 + PADDING) + PADDING, 4 * (80 + PADDING) + PADDING, 3)
    for k in range(6):
        top, left = PADDING + (k // 4) * (64 + PADDING), PADDING + (k % 4) * (80 + PADDING)
        assert (picture[top : top + 64, left : left + 80] == round(255 * k / 5)).all()
    assert (picture[:PADDING] == BACKGROUND).all()
    assert (picture[-PADDING:] == BACKGROUND).all()
    # The last row holds two images; the rest of it is empty.
    assert (picture[64 + 2 * PADDING :, 2 * (80 + PADDING) + PADDING :] == BACKGROUND).all()


def test_a_pixel_of_a_small_image_becomes_a_square():
    images = np.zeros((4, 28, 28, 1))
    images[3, 10, 20] = 1
    picture = grid(images, columns=2)
    # 28 goes twice into 64; image 3 is at row 1, column 1.
    top, left = (PADDING + (2 * 28 + PADDING) + 2 * place for place in (10, 20))
    assert np.argwhere(picture[..., 0] == 255).tolist() == [
        [top, left],
        [top, left + 1],
        [top + 1, left],
        [top + 1, left + 1],
    ]


@pytest.mark.parametrize(("num", "columns"), [(1, 1), (4, 2), (10, 4), (64, 8)])
def test_the_default_grid_is_about_square(num, columns):
    assert grid(np.zeros((num, 64, 64, 1))).shape[1] == columns * (64 + PADDING) + PADDING


def test_what_lies_outside_the_range_is_clipped_and_nan_is_black():
    images = np.array([-1.0, 2.0, np.nan, np.inf]).reshape(4, 1, 1, 1)
    picture = grid(images, columns=4)
    middle = PADDING + 32
    assert picture[middle, middle :: 64 + PADDING, 0].tolist() == [0, 255, 0, 255]


@pytest.mark.parametrize("shape", [(0, 8, 8, 1), (8, 8, 1), (2, 8, 8, 2)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="expected"):
        grid(np.zeros(shape))


def test_an_original_stands_directly_above_its_reconstruction():
    values = np.array([0.2, 0.4, 0.6]).reshape(3, 1, 1, 1) * np.ones((3, 64, 64, 1))
    picture = pairs(values, values + 0.1, columns=2)[..., 0]
    downwards = [int(value) for value, _ in itertools.groupby(picture[:, 4 * PADDING])]
    # The first column holds pair 0 and, in the second row, pair 2.
    assert [value for value in downwards if value != BACKGROUND] == [51, 76, 153, 178]


def test_pairs_must_agree_in_shape():
    with pytest.raises(ValueError, match="originals"):
        pairs(np.zeros((2, 8, 8, 1)), np.zeros((3, 8, 8, 1)))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_class_has_its_name_at_the_left_of_its_row(channels):
    images = np.repeat([0.0, 1.0], 3)[:, None, None, None] * np.ones((6, 28, 28, channels))
    picture = labelled_rows(images, ["", "seven"], per_class=3)
    tiles = grid(images, 3)
    names, rest = np.split(picture, [picture.shape[1] - tiles.shape[1]], axis=1)
    np.testing.assert_array_equal(rest, tiles)
    half = len(names) // 2
    assert (names[:half] == BACKGROUND).all()
    assert names[half:].max() > 200
    with pytest.raises(ValueError, match="6 images for 2 x 2"):
        labelled_rows(images, ["a", "b"], per_class=2)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_holds_the_array_and_nothing_else_is_left(tmp_path, channels):
    array = np.arange(12 * channels, dtype=np.uint8).reshape(3, 4, channels)
    path = save_png(array, tmp_path / "samples" / "a.png")
    with Image.open(path) as image:
        np.testing.assert_array_equal(np.asarray(image).reshape(array.shape), array)
    assert list(path.parent.iterdir()) == [path]
