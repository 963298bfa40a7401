import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.imaging.degradations import Chain, GaussianNoise, parse
from genjax.imaging.views import (
    INK,
    LUMA,
    MOONLIGHT,
    PAPER,
    SKY,
    VIEWS,
    Colour,
    Day,
    Edges,
    Grey,
    InvertedColoured,
    Night,
    Pairing,
    Thick,
    Thin,
    View,
)

KEY = jax.random.key(3)
IMAGES = jax.random.uniform(jax.random.key(0), (4, 8, 8, 3))
BATCH = {"image": IMAGES, "position": jnp.arange(4), "label": jnp.array([2, 0, 1, 2])}


@functools.cache
def of(view):
    return jax.jit(lambda image: view(image, KEY)[0])


def seen(view, image):
    """A view of an image that is given as rows of numbers."""
    return np.asarray(of(view)(jnp.array(image, jnp.float32)[..., None]))[..., 0]


def pixel(*values):
    return jnp.array(values, jnp.float32).reshape(1, 1, -1)


def test_a_step_from_black_to_white_is_an_edge_of_one_on_both_its_sides():
    step = np.zeros((6, 6))
    step[:, 3:] = 1
    expected = np.zeros((6, 6))
    # 1 2 1 times the step, over 4; and the picture's own border is no edge.
    expected[:, 2:4] = 1
    np.testing.assert_allclose(seen(Edges(), step), expected, atol=1e-6)
    np.testing.assert_allclose(seen(Edges(), step.T / 2), expected.T / 2, atol=1e-6)


def test_edges_around_a_point_by_hand():
    point = np.zeros((5, 5))
    point[2, 2] = 0.8
    # Beside it 2 x 0.8 in one direction, at its corners 0.8 in both; over 4.
    beside, corner = 0.4, 0.2 * np.sqrt(2)
    expected = np.zeros((5, 5))
    expected[1:4, 1:4] = [[corner, beside, corner], [beside, 0, beside], [corner, beside, corner]]
    np.testing.assert_allclose(seen(Edges(), point), expected, atol=1e-6)


def test_edges_are_those_of_the_brightest_channel():
    # From red to blue nothing is brighter; from black to blue it is.
    image = jnp.zeros((3, 6, 3)).at[:, :2, 0].set(1).at[:, 2:4, 2].set(1)
    edges = of(Edges())(image)
    assert edges.shape == (3, 6, 1)
    np.testing.assert_allclose(edges[1, :, 0], [0, 0, 0, 1, 1, 0], atol=1e-6)


def test_a_flat_image_has_a_finite_gradient_to_its_edges():
    slope = jax.jit(jax.grad(lambda image: Edges().forward(image, {}).sum()))
    assert jnp.isfinite(slope(jnp.full((4, 4, 1), 0.5))).all()


def test_a_line_of_three_pixels_becomes_thinner_and_thicker():
    line = np.zeros((6, 7))
    line[:, 2:5] = 1
    # A pixel inside stays, its neighbours are half of it; and a pixel more to each side.
    np.testing.assert_allclose(seen(Thin(), line), np.tile([0, 0, 0.5, 1, 0.5, 0, 0], (6, 1)))
    np.testing.assert_allclose(seen(Thick(), line), np.tile([0, 1, 1, 1, 1, 1, 0], (6, 1)))


def test_thin_and_thick_reach_over_corners_and_not_over_the_border():
    point = np.zeros((5, 5))
    point[0, 1] = 0.6
    thick = np.zeros((5, 5))
    thick[:2, :3] = 0.6
    np.testing.assert_allclose(seen(Thick(), point), thick)
    # A white image has no thinner strokes: what lies beyond the border is not black.
    np.testing.assert_array_equal(seen(Thin(), np.ones((4, 4))), 1)
    hole = np.ones((5, 5))
    hole[2, 2] = 0
    thin = np.ones((5, 5))
    thin[1:4, 1:4], thin[2, 2] = 0.5, 0
    np.testing.assert_allclose(seen(Thin(), hole), thin)


def test_grey_is_the_luma_and_grey_stays_as_it_is():
    for colour, luma in zip(np.eye(3), (0.299, 0.587, 0.114), strict=True):
        np.testing.assert_allclose(of(Grey())(pixel(*colour)), luma, rtol=1e-6)
    np.testing.assert_allclose(of(Grey())(pixel(1, 1, 1)), 1, rtol=1e-6)
    np.testing.assert_array_equal(of(Grey())(IMAGES[0, ..., :1]), IMAGES[0, ..., :1])


def test_colour_has_the_same_in_each_channel_and_grey_brings_it_back():
    grey = IMAGES[0, ..., :1]
    coloured = of(Colour())(grey)
    assert coloured.shape == (8, 8, 3)
    np.testing.assert_array_equal(coloured, jnp.concatenate([grey] * 3, axis=-1))
    np.testing.assert_allclose(of(Grey())(coloured), grey, rtol=1e-6)
    np.testing.assert_array_equal(of(Colour())(IMAGES[0]), IMAGES[0])


def test_inverted_and_coloured_goes_from_paper_to_ink():
    view = of(InvertedColoured())
    np.testing.assert_allclose(np.ravel(view(pixel(0))), PAPER, rtol=1e-6)
    np.testing.assert_allclose(np.ravel(view(pixel(1))), INK, rtol=1e-6)
    between = 0.25 * np.array(INK) + 0.75 * np.array(PAPER)
    np.testing.assert_allclose(np.ravel(view(pixel(0.25))), between, rtol=1e-6)
    np.testing.assert_allclose(np.ravel(view(pixel(1, 1, 1))), INK, rtol=1e-5)
    # It is inverted: ink is darker than paper.
    assert np.dot(INK, LUMA) < np.dot(PAPER, LUMA)


def test_by_day_a_shape_stands_before_the_sky_and_by_night_in_moonlight():
    shape = jnp.zeros((1, 2, 3)).at[0, 0, 0].set(1)
    day, night = of(Day())(shape), of(Night())(shape)
    np.testing.assert_allclose(day[0], [[1, 0, 0], SKY], rtol=1e-6)
    np.testing.assert_allclose(
        night[0], [[MOONLIGHT[0], 0, 0], np.square(SKY) * MOONLIGHT], rtol=1e-5
    )
    # At a shape's soft border, half of it and half the sky.
    half = 0.5 * np.array([1, 0, 0]) + 0.5 * np.array(SKY)
    np.testing.assert_allclose(np.ravel(of(Day())(pixel(0.5, 0, 0))), half, rtol=1e-6)


def test_night_is_darker_and_bluer_and_of_less_contrast():
    day, night = np.asarray(of(Day())(IMAGES[0])), np.asarray(of(Night())(IMAGES[0]))
    assert (night < day).all()
    assert night.std() < day.std()
    blue = lambda image: image[..., 2].mean() / image.mean()
    assert blue(night) > blue(day)


@pytest.mark.parametrize("name", sorted(name for name, v in VIEWS.items() if issubclass(v, View)))
def test_a_view_has_nothing_to_draw_and_stays_in_range(name):
    view = parse("here", name, VIEWS)
    assert not view.linear
    image, truth = view(IMAGES[0], KEY)
    assert truth == {}
    assert ((image >= 0) & (image <= 1)).all()
    np.testing.assert_array_equal(view(IMAGES[0], jax.random.key(9))[0], image)


def test_views_and_degradations_are_named_alike():
    assert parse("here", "edges+gaussian_noise", VIEWS) == Chain((Edges(), GaussianNoise()))


def pairing(input, target):
    return Pairing(parse("input", input, VIEWS), parse("target", target, VIEWS))


@functools.cache
def paired(input, target):
    return jax.jit(pairing(input, target))


def test_a_pair_is_made_of_one_image():
    pair = paired("grey", "none")(BATCH, KEY)
    np.testing.assert_array_equal(pair["image"], IMAGES)
    np.testing.assert_allclose(pair["condition"], IMAGES @ np.array(LUMA)[:, None], rtol=1e-5)
    np.testing.assert_array_equal(pair["label"], BATCH["label"])
    np.testing.assert_array_equal(pair["position"], BATCH["position"])
    pair = paired("none", "grey")(BATCH, KEY)
    np.testing.assert_array_equal(pair["condition"], IMAGES)
    np.testing.assert_allclose(pair["image"], IMAGES @ np.array(LUMA)[:, None], rtol=1e-5)


def test_a_pair_says_which_pixels_its_condition_lacks():
    pair = paired("missing_half:0.5", "missing_pixels")(BATCH, KEY)
    assert pair["present"].shape == (*IMAGES.shape[:3], 1)
    assert 0.3 < pair["present"].mean() < 0.7
    np.testing.assert_array_equal(pair["condition"], IMAGES * pair["present"])
    assert (paired("grey", "none")(BATCH, KEY)["present"] == 1).all()


def test_a_pair_is_made_of_an_image_and_its_condition():
    conditions = IMAGES[::-1, ..., :1]
    pair = paired("colour", "grey")({**BATCH, "condition": conditions}, KEY)
    np.testing.assert_array_equal(pair["condition"], jnp.concatenate([conditions] * 3, axis=-1))
    np.testing.assert_allclose(pair["image"], IMAGES @ np.array(LUMA)[:, None], rtol=1e-5)


def test_a_pairs_draws_belong_to_its_position():
    pair = paired("gaussian_noise", "gaussian_noise")
    order = jnp.array([3, 1, 1, 0])
    whole = pair(BATCH, KEY)
    again = pair(jax.tree.map(lambda leaf: leaf[order], BATCH), KEY)
    for name in ("image", "condition"):
        np.testing.assert_array_equal(again[name], whole[name][order])
    # Two noises, not one twice; and another of another key and position.
    noise = {name: np.asarray(whole[name] - IMAGES) for name in ("image", "condition")}
    assert np.abs(noise["image"] - noise["condition"]).mean() > 0.05
    assert np.abs(noise["image"][0] - noise["image"][1]).mean() > 0.05
    assert (pair(BATCH, jax.random.key(4))["image"] != whole["image"]).any()


@pytest.mark.parametrize(
    ("input", "target", "channels"),
    [("edges", "none", 3), ("none", "inverted_coloured", 1), ("day", "night", 3)],
)
def test_shapes_are_those_of_what_is_made(input, target, channels):
    batch = {**BATCH, "image": IMAGES[:, :, :6, :channels]}
    pair = paired(input, target)(batch, KEY)
    shapes = pairing(input, target).shapes((8, 6, channels))
    assert shapes == (pair["condition"].shape[1:], pair["image"].shape[1:])
