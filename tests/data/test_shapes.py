"""The drawings show the factors that they are said to show."""

import colorsys
import math

import numpy as np
import pytest

from genjax.data.shapes import RANGES, SHAPES, render, shapes
from genjax.errors import UserError

SIZE = 96
MIDDLE = {"scale": 0.4, "angle": 0.0, "x": 0.5, "y": 0.5, "light": 1.0, "hue": 0.0}
each_shape = pytest.mark.parametrize("shape", range(len(SHAPES)), ids=SHAPES)


def cover(shape, **factors):
    """How much of each pixel the shape covers, in [0, 1]."""
    return render({"shape": shape, **MIDDLE, **factors}, SIZE, 1)[..., 0] / 255


def centroid(image):
    """In pixels from the upper left corner: to the right, down."""
    down, right = np.mgrid[:SIZE, :SIZE] + 0.5
    return np.array([(image * right).sum(), (image * down).sum()]) / image.sum()


def second_moments(image):
    down, right = np.mgrid[:SIZE, :SIZE] + 0.5
    x, up = right - centroid(image)[0], centroid(image)[1] - down
    return np.array([(image * x * x).sum(), (image * up * up).sum(), (image * x * up).sum()])


@each_shape
@pytest.mark.parametrize("scale", [0.2, 0.3, 0.4])
def test_the_area_is_that_of_a_square_of_side_scale(shape, scale):
    image = cover(shape, scale=scale, angle=0.7)
    assert image.mean() == pytest.approx(scale**2, rel=0.02)


@each_shape
def test_the_centroid_is_at_x_and_y_whatever_the_angle(shape):
    for x, y, angle in ((0.5, 0.5, 0.0), (0.6, 0.4, 1.0), (0.37, 0.61, 4.0)):
        image = cover(shape, x=x, y=y, angle=angle)
        np.testing.assert_allclose(centroid(image), [SIZE * x, SIZE * y], atol=0.1)


@each_shape
def test_moving_by_whole_pixels_moves_the_picture(shape):
    still = cover(shape, angle=0.5)
    moved = cover(shape, angle=0.5, x=0.5 + 7 / SIZE, y=0.5 - 4 / SIZE)
    # Rounding may put a sample on the other side of the outline: a 16th of a pixel.
    assert abs(moved - np.roll(still, (-4, 7), (0, 1))).max() <= 1 / 16 + 1e-6


@each_shape
def test_a_quarter_turn_is_counter_clockwise(shape):
    turned = cover(shape, angle=math.pi / 2)
    assert abs(turned - np.rot90(cover(shape))).mean() < 2e-3


def test_the_long_axis_of_an_ellipse_lies_at_the_angle():
    for angle in (0.3, 1.2, 2.5):
        xx, yy, xy = second_moments(cover(SHAPES.index("ellipse"), angle=angle))
        assert 0.5 * math.atan2(2 * xy, xx - yy) % math.pi == pytest.approx(angle, abs=0.01)
        # The axes are as two to one, so the principal moments are as four to one.
        mean, half = (xx + yy) / 2, math.hypot((xx - yy) / 2, xy)
        assert (mean + half) / (mean - half) == pytest.approx(4, rel=0.03)


def test_a_heart_stands_on_its_point_with_two_lobes():
    rows = cover(SHAPES.index("heart"))
    filled = np.flatnonzero(rows.sum(1) > 0.5)
    lowest, highest = rows[filled[-1]], rows[filled[0]]
    assert np.average(np.arange(SIZE) + 0.5, weights=lowest) == pytest.approx(SIZE / 2, abs=0.5)
    assert highest[SIZE // 2] == 0  # the notch between the lobes
    np.testing.assert_allclose(rows, rows[:, ::-1], atol=1 / 16 + 1e-6)


def test_light_is_the_brightness_and_hue_the_colour():
    for light, hue in ((1.0, 0.0), (0.5, 1 / 3), (0.8, 0.55)):
        factors = {"shape": 0, **MIDDLE, "light": light, "hue": hue}
        centre = render(factors, SIZE, 3)[SIZE // 2, SIZE // 2] / 255
        np.testing.assert_allclose(centre, colorsys.hsv_to_rgb(hue, 1, light), atol=0.5 / 255)
        grey = render(factors, SIZE, 1)
        assert grey[SIZE // 2, SIZE // 2, 0] == round(255 * light)
        np.testing.assert_array_equal(grey[..., 0], render(factors, SIZE, 3).max(2))


def test_hue_means_nothing_in_grey():
    a, b = ({"shape": 2, **MIDDLE, "hue": hue} for hue in (0.1, 0.6))
    np.testing.assert_array_equal(render(a, SIZE, 1), render(b, SIZE, 1))
    assert not np.array_equal(render(a, SIZE, 3), render(b, SIZE, 3))


def test_the_outline_is_antialiased():
    image = cover(SHAPES.index("square"), angle=0.3)
    assert ((image > 0) & (image < 1)).sum() > 0.4 * SIZE  # of a perimeter of 1.6 sides


def test_an_example_shows_its_factors_and_is_always_the_same():
    source = shapes(split="train", image_size=32, channels=3)
    for index in (0, 7, 49_999):
        example, again = source[index], shapes(split="train", image_size=32, channels=3)[index]
        np.testing.assert_array_equal(example["image"], again["image"])
        np.testing.assert_array_equal(example["image"], render(source.factors(index), 32, 3))
        assert example["label"] == source.factors(index)["shape"]
    assert example["image"].dtype == np.uint8
    assert example["label"].dtype == np.int32
    assert source.image_shape == example["image"].shape == (32, 32, 3)


def test_factors_fill_their_ranges_evenly_and_independently():
    source = shapes(split="train")
    drawn = [source.factors(index) for index in range(3000)]
    columns = []
    for name, (low, high) in RANGES.items():
        values = (np.array([factors[name] for factors in drawn]) - low) / (high - low)
        assert values.min() >= 0
        assert values.max() <= 1
        counts, _ = np.histogram(values, 10, (0, 1))
        assert abs(counts - 300).max() < 85  # five standard deviations of 16.4
        columns.append(values)
    columns.append([factors["shape"] for factors in drawn])
    assert abs(np.bincount(columns[-1], minlength=3) - 1000).max() < 130  # of 25.8
    correlation = np.corrcoef(columns) - np.eye(len(columns))
    assert abs(correlation).max() < 0.1  # five standard deviations of 1 / sqrt(3000)


def test_nothing_drawn_touches_the_border():
    for name in ("train", "test"):
        source = shapes(split=name, image_size=48)
        for index in range(100):
            image = source[index]["image"]
            edges = (image[0], image[-1], image[:, 0], image[:, -1])
            assert not any(edge.any() for edge in edges)
            assert image.any()


def test_the_splits_are_different_streams():
    first = {name: shapes(split=name).factors(0)["x"] for name in ("train", "validation", "test")}
    train = {shapes(split="train").factors(index)["x"] for index in range(2000)}
    for name in ("validation", "test"):
        assert first[name] not in train
        other = {shapes(split=name).factors(index)["x"] for index in range(2000)}
        assert not train & other


def test_num_examples_is_the_length_and_no_more():
    short = shapes(split="train", num_examples=10)
    assert len(list(short)) == len(short) == 10
    assert len(shapes(split="test", num_evaluation=20)) == 20
    assert short.factors(25) == shapes(split="train", num_examples=1000).factors(25)
    with pytest.raises(UserError, match=r"data\.num_examples: 0"):
        shapes(split="train", num_examples=0)
