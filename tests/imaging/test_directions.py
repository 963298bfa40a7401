import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from linear_model import LATENTS, Generator, Linear, greys, params_of, patterns

from genjax.errors import UserError
from genjax.imaging import prior
from genjax.imaging.degradations import Degradation
from genjax.imaging.latents import FEATHER, compose, find_direction, latents_of, move, seam

SIZE = 12
W, MU = patterns(SIZE), greys(SIZE)
MODEL, PARAMS = Linear(SIZE), params_of(W, MU)
KEY = jax.random.key(3)
LEFT = np.zeros((SIZE, SIZE, 1), np.float32)
LEFT[:, : SIZE // 2] = 1
HALVES = np.stack([LEFT, 1 - LEFT])


# --- directions ----------------------------------------------------------------------------------

# Two turns at once, of axes 0 and 1 and of axes 2 and 3, the second half as fast; and a shift.
FLOW = np.zeros((5, 5))
FLOW[0, 1], FLOW[1, 0], FLOW[2, 3], FLOW[3, 2] = -1, 1, -0.5, 0.5
FLOW[:4, 4] = 0.3, 0, -0.2, 0.1


def flowed(latents, amounts):
    values, which = np.unique(amounts, return_inverse=True)
    ways = np.stack([scipy.linalg.expm(value * FLOW) for value in values])[which]
    return np.einsum("nij,nj->ni", ways[:, :4, :4], latents) + ways[:, :4, 4]


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def test_an_affine_flow_is_found_from_its_pairs():
    before, amounts = normal(4000, 4), np.tile([-0.3, -0.1, 0.2, 0.3], 1000)
    found = find_direction(before, flowed(before, amounts), amounts)
    # In the middle of a pair the change is 2 tan(a / 2) / a of the flow, at most 0.8% too much.
    np.testing.assert_allclose(found, FLOW, atol=0.01)
    # A quarter turn, of five times the largest amount that was seen.
    expected = flowed(before[:50], np.full(50, np.pi / 2))
    np.testing.assert_allclose(move(before[:50], found, np.pi / 2), expected, atol=0.06)


def test_fewer_pairs_say_less_of_a_flow_and_never_too_much():
    errors = []
    for num in (5, 50, 500):
        before = normal(num, 4)
        found = find_direction(before, flowed(before, np.full(num, 0.2)), np.full(num, 0.2))
        errors.append(np.abs(found - FLOW).max())
        # Held by the ridge, the turn is slower than it is.
        assert 0 < found[1, 0] < 1
    assert errors == sorted(errors, reverse=True)


def test_a_shift_is_found_exactly_from_any_pairs():
    shift = np.array([0.5, 0, -1, 2])
    for num in (1, 2, 100):
        before, amounts = normal(num, 4), np.linspace(0.5, 2, num)
        found = find_direction(before, before + amounts[:, None] * shift, amounts)
        np.testing.assert_allclose(found[:4, 4], shift, atol=1e-12)
        np.testing.assert_allclose(found[:4, :4], 0, atol=1e-12)
        np.testing.assert_array_equal(found[4], 0)


def test_one_pair_gives_its_difference_and_few_their_mean_in_their_middle():
    before, after = normal(2, 3, 64)
    found = find_direction(before[:1], after[:1], np.array([2.0]))
    np.testing.assert_allclose(found[:64, 64], (after[0] - before[0]) / 2)
    np.testing.assert_array_equal(found[:64, :64], 0)
    amounts = np.array([1.0, 2.0, -1.0])
    found = find_direction(before, after, amounts)
    middle = np.append(((before + after) / 2).mean(0), 1)
    mean = ((after - before) / amounts[:, None]).mean(0)
    np.testing.assert_allclose((found @ middle)[:64], mean, atol=1e-12)


def test_twice_the_amount_for_the_same_change_is_half_the_direction():
    before, after = normal(2, 20, 4)
    once, twice = (find_direction(before, after, np.full(20, amount)) for amount in (1.0, 2.0))
    np.testing.assert_allclose(twice, once / 2, atol=1e-12)


def test_amounts_add_up():
    latents = normal(7, 4).astype(np.float32)
    np.testing.assert_allclose(move(latents, FLOW, 0), latents, atol=1e-6)
    there = move(latents, FLOW, 0.7)
    np.testing.assert_allclose(move(there, FLOW, -0.2), move(latents, FLOW, 0.5), atol=1e-5)
    np.testing.assert_allclose(move(there, FLOW, -0.7), latents, atol=1e-5)
    # By hand: two full turns of the first pair of axes and one of the second, but for the shift.
    turn = FLOW.copy()
    turn[:, 4] = 0
    np.testing.assert_allclose(move(latents, turn, 4 * np.pi), latents, atol=1e-5)
    half = latents * [-1, -1, 1, 1]
    np.testing.assert_allclose(move(latents, turn, np.pi)[:, :2], half[:, :2], atol=1e-5)


# --- latents of images ---------------------------------------------------------------------------


def images_of(latents):
    return MODEL.generate(PARAMS, jnp.asarray(latents, jnp.float32))


def test_an_encoder_gives_the_latents():
    latents = normal(4, LATENTS)
    found = latents_of(MODEL, PARAMS, images_of(latents), KEY)
    # The prior's pull: towards 0 by 1 / (1 + |w|^2 / 0.05^2), about 1%.
    np.testing.assert_allclose(found, latents, atol=0.05)
    labelled = Linear(SIZE, num_classes=2)
    with pytest.raises(UserError, match=r"^--labels: are missing"):
        latents_of(labelled, PARAMS, images_of(latents), KEY)


def test_a_generators_latents_are_found_by_search():
    latents = normal(4, LATENTS)
    images = images_of(latents)
    found = latents_of(Generator(SIZE), PARAMS, images, KEY)
    # The summit of the posterior, z = (I + W W' / v)^-1 W (x - mu) / v.
    variance = prior.GENERATOR_DEVIATION**2 + prior.FLOOR
    pulled = np.linalg.solve(np.eye(LATENTS) + W @ W.T / variance, (W @ W.T / variance) @ latents.T)
    np.testing.assert_allclose(found, pulled.T, atol=0.03)


def test_a_generators_latents_are_those_under_the_label_that_is_given():
    """The same images: under the first label they lie by 1 farther along the first latent."""
    model, params = Generator(SIZE, num_classes=2), params_of(W, np.stack([MU, MU + W[0]]))
    images = model.generate(params, jnp.zeros((2, LATENTS)), jnp.array([1, 1]))
    for label, place in ((0, 1), (1, 0)):
        found = latents_of(model, params, images, KEY, np.full(2, label, np.int32))
        np.testing.assert_allclose(found, np.tile([[place, 0, 0]], (2, 1)), atol=0.1)


# --- several images into one ---------------------------------------------------------------------


def test_more_restarts_than_labels_are_weighed_against_one_another():
    """Of 6 restarts with 2 labels, those under label 1 are the numbers 1, 3 and 5."""
    model, params = Generator(SIZE, num_classes=2), params_of(W, np.stack([MU, MU + W[0]]))
    images, labels = model.generate(params, normal(8, LATENTS), jnp.ones(8, jnp.int32)), np.ones(8)
    few = {"restarts": 6, "steps": 3}
    places = np.arange(8, dtype=np.int32)
    every = prior.restore(model, params, Degradation(), images, {}, KEY, places, **few)
    best = 1 + 2 * np.argmin(np.asarray(every.energies)[:, 1::2], 1)
    assert set(best.tolist()) == {1, 3, 5}
    found = latents_of(model, params, images, KEY, labels, **few)
    np.testing.assert_array_equal(found, every.latents[np.arange(8), best])


def flat(value):
    return np.full((SIZE, SIZE, 1), value, np.float32)


def test_pieces_that_agree_have_no_seam():
    picture = normal(SIZE, SIZE, 3)
    np.testing.assert_allclose(seam(picture, [picture, picture], HALVES), 1)
    down = HALVES.transpose(0, 2, 1, 3)
    np.testing.assert_allclose(seam(picture, [picture, picture], down), 1)


def test_black_beside_white_is_a_seam_of_all_levels():
    # A step of 1 where the pieces have none: (1 + 1 / 255) / (1 / 255).
    pasted = LEFT * flat(0) + (1 - LEFT) * flat(1)
    np.testing.assert_allclose(seam(pasted, [flat(0), flat(1)], HALVES), 256, rtol=1e-5)
    down = HALVES.transpose(0, 2, 1, 3)
    np.testing.assert_allclose(
        seam(pasted.transpose(1, 0, 2), [flat(0), flat(1)], down), 256, rtol=1e-5
    )


def test_a_seam_by_hand():
    # Slopes of 0.02 and 0.04 a pixel, one picture's step of 0.3 across; no step along the border.
    slope = np.tile(np.arange(SIZE)[None, :, None], (SIZE, 1, 1))
    picture = flat(0)
    picture[:, SIZE // 2 :] = 0.3
    expected = (0.3 + 1 / 255) / (0.03 + 1 / 255)
    np.testing.assert_allclose(seam(picture, [0.02 * slope, 0.04 * slope], HALVES), expected)


def test_where_no_two_pieces_touch_there_is_no_seam():
    gap = HALVES.copy()
    gap[1, :, SIZE // 2] = 0
    assert math.isnan(seam(flat(0), [flat(0), flat(1)], gap))
    assert math.isnan(seam(flat(0), [flat(0)], np.ones((1, SIZE, SIZE, 1))))
    assert math.isnan(seam(flat(0), [flat(0)], LEFT[None]))


@functools.cache
def composed(model):
    """Of two of the model's images, one brighter than the other: (pieces, what became of them)."""
    brighter = np.array([-0.1, 0.1], np.float32)[:, None, None, None]
    pieces = np.asarray(images_of([[0.0, 0, -1.5], [1.0, 0, 1.5]])) + brighter
    return pieces, compose(model, PARAMS, pieces, HALVES, KEY)


@pytest.mark.parametrize("model", [MODEL, Generator(SIZE)], ids=["vae", "gan"])
def test_pieces_are_themselves_in_the_middle_and_one_image_where_they_meet(model):
    pieces, made = composed(model)
    middle, deep = SIZE // 2, SIZE // 2 - int(FEATHER)
    np.testing.assert_array_equal(made.image[:, :deep], pieces[0][:, :deep])
    np.testing.assert_array_equal(made.image[:, -deep:], pieces[1][:, -deep:])
    np.testing.assert_array_equal(made.pasted[:, :middle], pieces[0][:, :middle])
    np.testing.assert_array_equal(made.pasted[:, middle:], pieces[1][:, middle:])
    assert made.pasted_seam > 3
    assert made.seam < made.pasted_seam / 2
    np.testing.assert_allclose(made.pasted_seam, seam(made.pasted, pieces, HALVES))
    np.testing.assert_allclose(made.seam, seam(made.image, pieces, HALVES))


def test_where_they_meet_it_is_the_image_that_explains_both():
    # Regression of the pieces on W: the prior weighs nothing beside 144 pixels.
    _, made = composed(MODEL)
    pasted = np.asarray(made.pasted, np.float64).ravel()
    latents = np.linalg.lstsq(W.T, pasted - MU, rcond=None)[0]
    expected = (latents @ W + MU).reshape(SIZE, SIZE, 1)
    border = slice(SIZE // 2 - 1, SIZE // 2 + 1)
    np.testing.assert_allclose(made.image[:, border], expected[:, border], atol=0.02)


def test_a_mask_that_covers_everything_leaves_the_piece_as_it_is():
    piece = 0.5 + 0.1 * normal(1, SIZE, SIZE, 1).astype(np.float32)
    made = compose(MODEL, PARAMS, piece, np.ones((1, SIZE, SIZE, 1)), KEY)
    np.testing.assert_array_equal(made.image, piece[0])
    np.testing.assert_array_equal(made.pasted, piece[0])
    assert math.isnan(made.seam)


def test_where_masks_overlap_it_is_the_mean_and_where_there_is_none_the_models():
    pieces, masks = np.stack([flat(0.4), flat(0.6)]), HALVES.copy()
    masks[0, :, SIZE // 2] = 1
    masks[:, SIZE // 2 + 3 :] = 0  # rows that no piece covers
    made = compose(MODEL, PARAMS, pieces, masks, KEY)
    top = made.pasted[: SIZE // 2 + 3, :, 0]
    np.testing.assert_allclose(top[:, SIZE // 2], 0.5)
    np.testing.assert_allclose(top[:, SIZE // 2 - 1], 0.4)
    np.testing.assert_allclose(top[:, SIZE // 2 + 1], 0.6)
    np.testing.assert_array_equal(made.pasted[SIZE // 2 + 3 :], made.image[SIZE // 2 + 3 :])
    assert np.ptp(made.image[SIZE // 2 + 3 :]) > 0.05


def test_of_a_model_with_labels_the_one_that_explains_the_pieces_is_taken():
    # Two restarts of three classes would never try the third.
    model, params = Generator(SIZE, num_classes=3), params_of(W, np.stack([MU - 0.3, MU, MU + 0.3]))
    pieces = np.asarray(model.generate(params, jnp.zeros((2, LATENTS)), jnp.array([2, 2])))
    made = compose(model, params, pieces, HALVES, KEY, restarts=2)
    np.testing.assert_allclose(made.image, pieces[0], atol=0.03)
