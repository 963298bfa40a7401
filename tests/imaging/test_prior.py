import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_model import LATENTS, Generator, Linear, greys, params_of, patterns

from genjax.errors import UserError
from genjax.imaging import prior
from genjax.imaging.degradations import GaussianBlur, SaltAndPepper, degrade, parse
from genjax.models.base import LikelihoodModel, Sampler, sample_latents

SIZE, RESTARTS = 6, 256
SHAPE, PIXELS = (SIZE, SIZE, 1), SIZE**2
W, MU = patterns(SIZE), greys(SIZE)
MODEL = Linear(SIZE)
KEY = jax.random.key(3)


def matrix_of(degradation, truth):
    """A [pixel, pixel]."""
    forward = lambda x: degradation.forward(x.reshape(SHAPE), truth).ravel()
    return np.asarray(jax.jacobian(forward)(jnp.zeros(PIXELS)), np.float64)


def closed_form(degradation, truth, observed, variance, noise=0.0, w=W, mu=MU):
    """Mean and deviation of x given y = A x + n, of all pixels, in float64.

    x ~ N(mu, C), C = W'W + s^2 I, so with K = C A'(A C A' + R)^-1 they are mu + K (y - A mu) and
    the root of the diagonal of C - K A C.
    """
    forward = lambda x: degradation.forward(x.reshape(SHAPE), truth).ravel()
    offset = np.asarray(forward(jnp.zeros(PIXELS)), np.float64)
    A = matrix_of(degradation, truth)
    C = w.T @ w + variance * np.eye(PIXELS)
    gain = C @ A.T @ np.linalg.inv(A @ C @ A.T + (noise + prior.FLOOR) * np.eye(PIXELS))
    mean = mu + gain @ (np.ravel(observed).astype(np.float64) - A @ mu - offset)
    return mean.reshape(SHAPE), np.sqrt(np.diag(C - gain @ A @ C)).reshape(SHAPE)


# Parameters and truths are arguments: one program restores from any holes and any noise.
DAMAGE, DEVIATION, NUM = parse("here", "haze+missing_pixels+gaussian_noise"), 0.05, 24
TRUE = MODEL.simulate(
    params_of(W, MU, DEVIATION),
    sample_latents(MODEL, {}, jax.random.key(8), jnp.arange(NUM)),
    jax.random.key(9),
    jnp.arange(NUM),
)


def truth_of(share, sigma, beta=0.0):
    masks = jax.random.uniform(jax.random.key(4), (NUM, *SHAPE[:2], 1)) >= share
    transmission = jnp.exp(-beta * jax.random.uniform(jax.random.key(7), masks.shape))
    return (
        {"transmission": transmission, "airlight": jnp.full(NUM, 0.9)},
        {"mask": masks.astype(jnp.float32)},
        {"sigma": jnp.full(NUM, sigma)},
    )


@functools.cache
def restored(share, sigma, beta=0.0):
    """(observed, truth, what `restore` makes of it) of the model's own images."""
    truth = truth_of(share, sigma, beta)
    noise = sigma * jax.random.normal(jax.random.key(5), TRUE.shape)
    observed = jax.vmap(DAMAGE.forward)(TRUE, truth) + noise
    return observed, truth, restore(DAMAGE, observed, truth)


def restore(degradation, observed, truth, model=MODEL, restarts=RESTARTS, **params):
    positions = jnp.arange(len(observed))
    params = params_of(**{"w": W, "mu": MU, "deviation": DEVIATION} | params)
    args = model, params, degradation, observed, truth, KEY, positions
    return prior.restore(*args, restarts=restarts)


def row(tree, number):
    return jax.tree.map(lambda leaf: leaf[number], tree)


def test_the_models_are_what_they_claim():
    assert isinstance(MODEL, LikelihoodModel)
    assert isinstance(Generator(SIZE), Sampler)
    assert not isinstance(Generator(SIZE), LikelihoodModel)


# --- by search -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("share", "sigma", "beta"),
    [(0.0, 0.1, 0), (0.5, 0.0, 0), (0.5, 0.05, 0), (0.9, 0.1, 0), (0.0, 0.05, 2)],
)
def test_holes_noise_and_haze_are_undone_as_well_as_can_be(share, sigma, beta):
    observed, truth, found = restored(share, sigma, beta)
    assert (found.kept > 0).mean() > 0.99
    for number in range(NUM):
        mean, deviation = closed_form(
            DAMAGE, row(truth, number), observed[number], DEVIATION**2, sigma**2
        )
        # A mean over restarts is off by their scatter; the search ends near the summit, not on it.
        error = found.draws[number].std(0) / np.sqrt(RESTARTS)
        assert (np.abs(found.mean[number] - mean) < 5 * error + 0.02 * deviation).all()
        # A deviation over n draws is off by 1 / sqrt(2 n) of itself.
        np.testing.assert_allclose(
            found.deviation[number], deviation, rtol=5 / np.sqrt(2 * RESTARTS)
        )


def test_what_is_seen_whole_and_without_noise_comes_back():
    _, _, found = restored(0.0, 0.0)
    # But for the variance that is always there, 1e-4 beside 25e-4.
    assert np.abs(found.mean - TRUE).max() < 0.25 * DEVIATION
    np.testing.assert_allclose(found.deviation, 0.0098, rtol=0.05)
    # If the model leaves each value much room, as it is.
    observed, truth, _ = restored(0.0, 0.0)
    found = restore(DAMAGE, observed, truth, deviation=0.5)
    np.testing.assert_allclose(found.mean, TRUE, atol=1e-3)


def test_where_nothing_is_seen_there_is_the_prior():
    _, _, found = restored(1.0, 0.0)
    deviation = np.sqrt((W**2).sum(0) + DEVIATION**2).reshape(SHAPE)
    error = 5 * deviation / np.sqrt(RESTARTS)
    for mean, own in zip(found.mean, found.deviation, strict=True):
        assert (np.abs(mean - MU.reshape(SHAPE)) < error).all()
        np.testing.assert_allclose(own, deviation, rtol=5 / np.sqrt(2 * RESTARTS))


def test_nine_tenths_of_all_true_values_lie_within_bands_of_nine_tenths():
    for share, sigma in ((0.5, 0.05), (0.9, 0.1)):
        _, _, found = restored(share, sigma)
        within = np.abs(TRUE - found.mean) < 1.645 * found.deviation
        # 864 values; those of one image are off together.
        assert abs(within.mean() - 0.9) < 0.05


def test_an_images_draws_do_not_depend_on_those_beside_it():
    observed, truth, found = restored(0.5, 0.05)
    order = jnp.array([5, 5, 2, *range(NUM - 3)])
    again = prior.restore(
        MODEL, params_of(W, MU), DAMAGE, observed[order], row(truth, order),
        KEY, order, restarts=RESTARTS,
    )  # fmt: skip
    for name in ("mean", "deviation", "draws", "latents", "kept"):
        np.testing.assert_allclose(getattr(again, name), getattr(found, name)[order], atol=2e-5)
    # Another key, other draws.
    other = prior.restore(
        MODEL, params_of(W, MU), DAMAGE, observed, truth,
        jax.random.key(99), jnp.arange(NUM), restarts=RESTARTS,
    )  # fmt: skip
    assert np.abs(other.latents - found.latents).mean() > 0.05


def test_draws_are_images_of_restarts_in_range():
    _, _, found = restored(0.5, 0.05)
    assert found.draws.shape == (NUM, RESTARTS, *SHAPE)
    assert found.latents.shape == (NUM, RESTARTS, LATENTS)
    np.testing.assert_allclose(found.kept.sum(1), 1, rtol=1e-5)
    over = jnp.einsum("ir,irhwc->ihwc", found.kept, found.draws)
    np.testing.assert_allclose(over, found.mean, atol=1e-5)
    assert ((found.draws >= 0) & (found.draws <= 1)).all()


# Of neighbours that mix, the deviation is a mean of squares of one draw of each restart.
MIXED = {"gaussian_blur:1+gaussian_noise:0.1": 0.1, "downsample:2": 0.0}


@functools.cache
def mixed(text):
    degradation = parse("here", text)
    observed, truth = jax.jit(functools.partial(degrade, degradation))(TRUE[:3], KEY, jnp.arange(3))
    return degradation, observed, truth


@pytest.mark.parametrize(("text", "sigma"), MIXED.items())
def test_neighbours_that_mix_are_told_apart_as_well_as_can_be(text, sigma):
    degradation, observed, truth = mixed(text)
    # Values that no latent moves are independent, and the mean is exact.
    found = restore(degradation, observed, truth, w=0 * W)
    for number in range(3):
        mean, deviation = closed_form(
            degradation, row(truth, number), observed[number], DEVIATION**2, sigma**2, 0 * W
        )
        np.testing.assert_allclose(found.mean[number], mean, atol=1e-3)
        ratio = found.deviation[number] / deviation
        assert (np.abs(ratio - 1) < 5 / np.sqrt(2 * RESTARTS)).all()
        assert abs(ratio.mean() - 1) < 0.03


@pytest.mark.parametrize(("text", "sigma"), MIXED.items())
def test_neighbours_that_mix_are_explained_by_latents_too(text, sigma):
    degradation, observed, truth = mixed(text)
    found = restore(degradation, observed, truth)
    for number in range(3):
        mean, deviation = closed_form(
            degradation, row(truth, number), observed[number], DEVIATION**2, sigma**2
        )
        # That neighbours are wrong together is taken for granted, and is not so here.
        off = (found.mean[number] - mean) / deviation
        assert np.sqrt((off**2).mean()) < 0.45
        assert 0.9 < (found.deviation[number] / deviation).mean() < 1.25
        # Laplace's normal distribution of latents: I + J' J / v is its precision, v each value's
        # variance; values that say the same count once.
        see = matrix_of(degradation, row(truth, number))
        weight = 1 / (DEVIATION**2 + sigma**2 + prior.FLOOR)
        weight /= float(degradation.repeats(row(truth, number)))
        slope, left = see @ W.T, np.asarray(observed[number]).ravel() - see @ MU
        precision = np.eye(LATENTS) + weight * slope.T @ slope
        # The image around their mean, m(z) + S A'(A S A' + R)^-1 (y - A m(z)), is exact.
        latents = np.linalg.solve(precision, weight * slope.T @ left)
        spread = DEVIATION**2 * see @ see.T + (sigma**2 + prior.FLOOR) * np.eye(len(see))
        around = DEVIATION**2 * see.T @ np.linalg.solve(spread, left - slope @ latents)
        expected = (MU + W.T @ latents + around).reshape(SHAPE)
        assert (np.abs(found.mean[number] - expected) < 0.15 * deviation).all()
        expected = np.sqrt(np.diag(np.linalg.inv(precision)))
        scatter = found.latents[number].std(0)
        np.testing.assert_allclose(scatter, expected, rtol=5 / np.sqrt(2 * RESTARTS))
    # What was restored would be seen as what was.
    again = jax.vmap(degradation.forward)(found.mean, truth)
    assert np.abs(again - observed).max() < 0.02 + 3.5 * sigma


def test_salt_and_pepper_are_seen_for_what_they_are():
    # Without latents, values lie around mu by 0.05. Black and white are 8 deviations away, and far
    # likelier to be noise: there it is mu with its deviation, and else what is seen.
    key = jax.random.key(6)
    noise = SaltAndPepper()
    images = MU.reshape(SHAPE) + DEVIATION * jax.random.normal(key, (3, *SHAPE))
    observed, truth = degrade(noise, images, KEY, jnp.arange(3))
    touched = np.asarray((observed == 0) | (observed == 1))
    assert 3 < touched.sum() < 30
    found = restore(noise, observed, truth, restarts=8, w=0 * W)
    mu = np.broadcast_to(MU.reshape(SHAPE), images.shape)
    np.testing.assert_allclose(found.mean[touched], mu[touched], atol=1e-3)
    np.testing.assert_allclose(found.deviation[touched], DEVIATION, rtol=1e-3)
    gain = DEVIATION**2 / (DEVIATION**2 + prior.FLOOR)
    expected = mu + gain * (images - mu)
    np.testing.assert_allclose(found.mean[~touched], expected[~touched], atol=1e-4)


def test_the_images_of_a_generator_are_taken_to_be_off_by_their_deviation():
    observed, truth, _ = restored(0.5, 0.05)
    found = restore(DAMAGE, observed, truth, Generator(SIZE), restarts=8)
    variance, noise = prior.GENERATOR_DEVIATION**2, 0.05**2
    at_hole, at_pixel = prior.GENERATOR_DEVIATION, np.sqrt(1 / (1 / variance + 1 / (noise + 1e-4)))
    masks = np.asarray(truth[1]["mask"])
    for number in range(NUM):
        # All restarts end at the summit, which is the posterior's mean.
        args = DAMAGE, row(truth, number), observed[number]
        mean, _ = closed_form(*args, variance, noise)
        np.testing.assert_allclose(found.mean[number], mean.clip(0, 1), atol=0.01)
    expected = np.where(masks == 1, at_pixel, at_hole)
    np.testing.assert_allclose(found.deviation, expected, rtol=0.05)


# --- labels --------------------------------------------------------------------------------------

#: Of three classes: darker, as it is, and brighter.
CLASS_MU = np.stack([MU - 0.2, MU, MU + 0.2])


def test_of_all_labels_the_one_that_explains_the_image_is_kept():
    model, labels = Linear(SIZE, num_classes=3), jnp.array([2, 0, 1])
    latents = sample_latents(model, {}, jax.random.key(8), jnp.arange(3))
    params = params_of(W, CLASS_MU)
    images = model.simulate(params, latents, KEY, jnp.arange(3), labels)
    truth = row(truth_of(0.3, 0.0), slice(3))
    observed = jax.vmap(DAMAGE.forward)(images, truth)
    found = restore(DAMAGE, observed, truth, model, restarts=7, mu=CLASS_MU)
    own = np.arange(7) % 3 == np.asarray(labels)[:, None]
    np.testing.assert_allclose(found.kept, own / own.sum(1, keepdims=True), rtol=1e-6)
    for number, label in enumerate(labels):
        mean, deviation = closed_form(
            DAMAGE, row(truth, number), observed[number], DEVIATION**2, mu=CLASS_MU[label]
        )
        assert (np.abs(found.mean[number] - mean) < 4 * deviation).all()


# --- by encoder and decoder ----------------------------------------------------------------------


@pytest.mark.parametrize(("mean_shift", "log_var_shift"), [(0.0, 0.0), (0.1, 0.3), (0.0, 0.8)])
def test_missing_values_are_imputed_right_whatever_the_encoder(mean_shift, log_var_shift):
    # The encoder is off by 0.7 of its deviations, or less sure than it could be.
    degradation = parse("here", "missing_half:0.5")
    params = params_of(W, MU, DEVIATION, mean_shift, log_var_shift)
    observed, truth = degrade(degradation, TRUE[:3], KEY, jnp.arange(3))
    args = MODEL, params, degradation, observed, truth, KEY, jnp.arange(3)
    found = prior.impute(*args, restarts=64, steps=400)
    np.testing.assert_allclose(found.kept, 1 / 64)
    for number in range(3):
        mean, deviation = closed_form(
            degradation, row(truth, number), observed[number], DEVIATION**2
        )
        missing = np.asarray(truth["mask"][number]) == 0
        error = np.abs(found.mean[number] - mean) / deviation
        assert error[missing].max() < 0.2
        np.testing.assert_allclose(found.deviation[number][missing], deviation[missing], rtol=0.1)
        np.testing.assert_array_equal(found.mean[number][~missing], observed[number][~missing])
        np.testing.assert_allclose(found.deviation[number][~missing], prior.FLOOR**0.5)


class Sure(Linear):
    """Gives no variance, as a decoder does whose logits are large."""

    def moments(self, params, latents, labels=None):
        mean = self.generate(params, latents, labels)
        return mean, jnp.zeros_like(mean)


def test_a_model_without_variance_still_takes_what_explains_the_image():
    """One step that counts: from a draw of the prior to one of the encoder, which knows better."""
    observed, truth = degrade(parse("here", "missing_box:0.1"), TRUE[:3], KEY, jnp.arange(3))
    args = params_of(W, MU), parse("here", "missing_box:0.1"), observed, truth, KEY, jnp.arange(3)
    found = prior.impute(Sure(SIZE), *args, restarts=8, steps=1)
    images = jax.vmap(lambda latents: MODEL.generate(params_of(W, MU), latents))(found.latents)
    error = np.abs(images - observed[:, None]) * truth["mask"][:, None]
    assert error.mean() < 2 * DEVIATION


def test_search_and_imputation_agree():
    degradation, (observed, (_, truth, _), by_search) = (
        parse("here", "missing_pixels"),
        restored(0.5, 0.0),
    )
    args = MODEL, params_of(W, MU), degradation, observed[:3], row(truth, slice(3)), KEY
    found = prior.impute(*args, jnp.arange(3), restarts=64, steps=400)
    holes = np.asarray(truth["mask"][:3]) == 0
    error = np.abs(found.mean - by_search.mean[:3])[holes] / by_search.deviation[:3][holes]
    assert error.max() < 0.25
    # And an image's draws are its own.
    order = jnp.array([2, 0, 2])
    again = prior.impute(
        *args[:3], observed[order], row(truth, order), KEY, order, restarts=64, steps=400
    )
    np.testing.assert_allclose(again.mean, found.mean[order], atol=1e-5)


def test_imputation_is_for_missing_values_and_models_without_labels():
    observed, truth = TRUE[:3], {"sigma": jnp.ones(3)}
    for degradation in (GaussianBlur(), DAMAGE):
        with pytest.raises(UserError, match=r"^--method: 'impute' fills in what is missing"):
            prior.impute(MODEL, params_of(W, MU), degradation, observed, truth, KEY, jnp.arange(3))
    model, holes = Linear(SIZE, num_classes=3), parse("here", "missing_box")
    with pytest.raises(UserError, match=r"^--method: 'impute' needs a model without labels"):
        prior.impute(model, params_of(W, CLASS_MU), holes, observed, truth, KEY, jnp.arange(3))
