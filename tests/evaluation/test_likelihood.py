"""Bounds of a log-likelihood that is known in closed form."""

import dataclasses

import factor_analysis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from factor_analysis import MODEL, POSTERIOR_VARIANCE, known_params, log_evidence
from scipy.special import logsumexp

from genjax import rng
from genjax.data.base import InMemory
from genjax.evaluation.likelihood import (
    AnnealedEvaluator,
    ImportanceEvaluator,
    ais,
    bdmc,
    bits_per_dimension,
    importance_bound,
    inverse_temperatures,
    log_weights,
)
from genjax.losses.likelihoods import LIKELIHOODS
from genjax.models.base import sample_latents
from genjax.nn.heads import Posterior
from genjax.nn.mlp import MLPDecoder, MLPEncoder

KEY = jax.random.key(3)
#: Of the posterior's means and log variances; the encoder is then wrong by `GAP` nats.
SHIFT, LOG_RATIO = 0.5, 0.4
GAP = factor_analysis.divergence(SHIFT, LOG_RATIO)


def batch(num=5, copies=1):
    """`num` images, each so many times, under another number every time."""
    images = np.random.default_rng(0).normal(size=(num, 2, 2, 1)).astype(np.float32)
    rows = num * copies
    return {
        "image": jnp.array(np.tile(images, (copies, 1, 1, 1))),
        "index": jnp.arange(rows),
        "label": jnp.arange(rows) % 2,
    }


def source(num=5) -> InMemory:
    images = np.random.default_rng(1).integers(0, 256, (num, 2, 2, 1), np.uint8)
    return InMemory(images, np.arange(num, dtype=np.int32) % 2, ("a", "b"))


def weights(params, rows, num, model=MODEL):
    """float64 [num, rows]"""
    posterior = model.encode(params, rows["image"])
    found = jax.jit(log_weights, static_argnums=0)(
        model, params, rows, posterior, KEY, jnp.arange(num)
    )
    return np.asarray(found, np.float64)


def conditional(likelihood="bernoulli"):
    """A small VAE whose encoder and decoder are given the label, and its parameters."""
    label = {"conditioning": "concat", "num_classes": 2}
    likelihood = LIKELIHOODS[likelihood]()
    model = dataclasses.replace(
        MODEL,
        encoder=Posterior(MLPEncoder(widths=(8,), **label), 2),
        decoder=MLPDecoder((2, 2, likelihood.outputs_per_channel), widths=(8,), **label),
        likelihood=likelihood,
        num_classes=2,
    )
    return model, model.inference_params(model.init(KEY, batch()))


def test_every_weight_and_bound_is_the_evidence_under_the_true_posterior():
    rows = batch()
    truth = log_evidence(rows["image"])
    np.testing.assert_allclose(
        weights(known_params(), rows, 7), np.broadcast_to(truth, (7, 5)), rtol=1e-5
    )
    for num in (1, 10, 1000):
        bound = importance_bound(MODEL, known_params(), rows, KEY, num=num)
        np.testing.assert_allclose(bound, truth, rtol=1e-5)


@pytest.fixture(scope="module")
def bounds():
    """{draws: (mean gap to the evidence, its standard error)} over 2,500 independent bounds."""
    rows = batch(copies=500)
    truth, params = log_evidence(rows["image"]), known_params(SHIFT, LOG_RATIO)
    found = {}
    for num in (1, 10, 100, 1000):
        bound = importance_bound(MODEL, params, rows, KEY, num=num)
        gaps = truth - np.asarray(bound, np.float64)
        found[num] = gaps.mean(), gaps.std() / np.sqrt(len(gaps))
    return found


def test_one_draw_gives_the_evidence_lower_bound(bounds):
    gap, error = bounds[1]
    assert abs(gap - GAP) < 4 * error < GAP / 4


def test_bound_rises_with_the_draws_and_stays_below_the_evidence(bounds):
    for few, many in ((1, 10), (10, 100), (100, 1000)):
        rise = bounds[few][0] - bounds[many][0]
        assert rise > 4 * np.hypot(bounds[few][1], bounds[many][1])
    for gap, error in bounds.values():
        assert gap > -4 * error


def test_gap_of_many_draws_is_the_weights_variance_over_twice_their_number(bounds):
    # Domke and Sheldon 2018, theorem 3. The relative variance is E_q[(p / q)^2] - 1, for Gaussians
    # whose variances have the ratio r and whose means lie d apart a product over latents of
    #   r / sqrt(2 r - 1) * exp(d^2 / (v (2 r - 1))).
    r = np.exp(LOG_RATIO)
    square = r / np.sqrt(2 * r - 1) * np.exp(SHIFT**2 / (POSTERIOR_VARIANCE * (2 * r - 1)))
    variance = square.prod() - 1
    for num in (100, 1000):
        gap, error = bounds[num]
        # The next term is of order 1 / num^2.
        assert abs(gap - variance / (2 * num)) < 4 * error + (variance / num) ** 2


@pytest.mark.parametrize("num", [1, 3, 1003])
@pytest.mark.parametrize("far", [0.0, 100.0])
def test_running_sum_is_the_log_mean_exp_of_all_weights(num, far):
    """1003 draws of five images are blocks of 200 and a rest; `far`, no weight is a float."""
    rows, params = batch(), known_params(SHIFT, LOG_RATIO)
    rows = {**rows, "image": rows["image"] + far}
    expected = logsumexp(weights(params, rows, num), axis=0) - np.log(num)
    assert far == 0 or expected.max() < -1000
    found = importance_bound(MODEL, params, rows, KEY, num=num)
    np.testing.assert_allclose(found, expected, rtol=3e-6)


def check_each_image_alone(estimate):
    """Alone, among others and beside rows of NaN, an image gets the same."""
    rows = batch()
    together = estimate(rows)
    turned = jax.tree.map(lambda leaf: leaf[::-1], rows)
    np.testing.assert_allclose(estimate(turned)[::-1], together, rtol=1e-4)
    alone = jax.tree.map(lambda leaf: leaf[3:4], rows)
    np.testing.assert_allclose(estimate(alone), together[3:4], rtol=1e-4)
    padded = {**rows, "image": rows["image"].at[3:].set(jnp.nan)}
    padded = estimate(padded)
    np.testing.assert_allclose(padded[:3], together[:3], rtol=1e-4)
    assert jnp.isnan(padded[3:]).all()
    assert len(set(np.asarray(together))) == 5


def test_bound_belongs_to_the_image():
    model, params = conditional()
    check_each_image_alone(lambda rows: importance_bound(model, params, rows, KEY, num=50))


def test_annealed_estimate_belongs_to_the_image():
    model, params = conditional()
    settings = {"num_chains": 3, "num_steps": 5}
    check_each_image_alone(lambda rows: ais(model, params, rows, KEY, **settings))


def test_label_and_images_of_equal_number_stay_together():
    """The estimates of a model with labels converge to one number by both ways."""
    model, params = conditional()
    rows = batch()
    rows = {**rows, "image": jax.nn.sigmoid(rows["image"])}
    bound = importance_bound(model, params, rows, KEY, num=4000)
    annealed = ais(model, params, rows, KEY, num_chains=50, num_steps=50)
    np.testing.assert_allclose(annealed, bound, atol=0.02)
    swapped = importance_bound(model, params, {**rows, "label": 1 - rows["label"]}, KEY, num=4000)
    assert np.abs(swapped - bound).min() > 0.05


def test_temperatures_rise_from_0_to_1_slowest_at_the_ends():
    betas = inverse_temperatures(10)
    assert (betas[0], betas[5], betas[10]) == (0, pytest.approx(0.5), 1)
    gaps = np.diff(betas)
    np.testing.assert_allclose(gaps, gaps[::-1])
    assert (np.diff(gaps[:5]) > 0).all()
    np.testing.assert_allclose(inverse_temperatures(1), [0, 1])


NUM = 400


@pytest.fixture(scope="module")
def drawn():
    """log p(x) of the images that `bdmc` draws."""
    positions = jnp.arange(NUM)
    latents = sample_latents(MODEL, known_params(), rng.stream(KEY, "latents"), positions)
    key = rng.stream(KEY, "images")
    return log_evidence(MODEL.simulate(known_params(), latents, key, positions))


@pytest.fixture(scope="module")
def brackets(drawn):
    """{steps: (truth - lower, upper - truth)}, each [image]; the encoder is no part of it."""

    def gaps(num_steps):
        lower, upper = bdmc(
            MODEL, known_params(), jnp.arange(NUM), KEY, num_chains=2, num_steps=num_steps
        )
        return drawn - np.asarray(lower, np.float64), np.asarray(upper, np.float64) - drawn

    return {num_steps: gaps(num_steps) for num_steps in (10, 100)}


def test_forward_and_backward_chains_bracket_the_evidence(brackets):
    for below, above in brackets.values():
        for gap in (below, above):
            assert gap.mean() > -4 * gap.std() / np.sqrt(NUM)


def test_the_bracket_closes_with_more_steps(brackets):
    width = {steps: (below + above).mean() for steps, (below, above) in brackets.items()}
    assert width[10] > 4 * width[100] > 0


def test_weights_have_the_expectation_that_the_bounds_rest_on(brackets):
    # E[w] = p(x) forward and E[w] = 1 / p(x) backward, at any number of steps.
    for gap in brackets[100]:
        ratio = np.exp(-gap)
        error = ratio.std() / np.sqrt(NUM)
        assert abs(ratio.mean() - 1) < 4 * error < 0.15


def test_one_step_is_importance_sampling_from_the_prior():
    """No transition at all: the mean of p(x | z), z ~ p(z), with the whole gap of that."""
    rows = batch(1)
    found = ais(MODEL, known_params(), rows, KEY, num_chains=20000, num_steps=1)
    np.testing.assert_allclose(found, log_evidence(rows["image"]), atol=0.15)


def test_bits_per_dimension_by_hand():
    """Three bits for each of 28 x 28 pixels; 256 equal levels take eight."""
    assert bits_per_dimension(-3 * 784 * np.log(2), (28, 28, 1)) == pytest.approx(3)
    assert bits_per_dimension(12 * np.log(1 / 256), (2, 2, 3)) == pytest.approx(8)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_only_probabilities_of_pixel_values_have_bits(name):
    model, params = conditional(name)
    evaluate = ImportanceEvaluator(source(), 2, importance_samples=3)
    found = evaluate(model, params, KEY)
    scores = evaluate.planned(model)
    assert [score.metric for score in scores] == list(found)
    assert ("iw_bound_bits" in found) == (name == "discretized_logistic")
    if "iw_bound_bits" in found:
        assert found["iw_bound_bits"] == pytest.approx(-found["iw_bound"] / np.log(2) / 4)
        assert found["iw_bound_bits"] > 0
    assert {score.settings for score in scores} == {"3 draws"}


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_bound_counts_every_image_once(batch_size):
    """Under the true posterior its mean is that of the evidence, however many draws."""
    images = source(7)
    evaluate = ImportanceEvaluator(images, batch_size, importance_samples=5)
    found = evaluate(MODEL, known_params(), KEY)
    truth = log_evidence(images.images / 255).mean()
    assert found == {"iw_bound": pytest.approx(truth, rel=1e-5)}
    (score,) = evaluate.planned(MODEL)
    assert (score.n_real, score.unit, score.settings) == (7, "nats", "5 draws")


def test_annealed_scores_are_means_over_images_spread_evenly_however_batched():
    images = source(9)
    settings = {"num_chains": 8, "num_steps": 5}
    evaluate = AnnealedEvaluator(images, 24, num_images=4, **settings)  # three at once, then one
    found = evaluate(MODEL, known_params(), KEY)
    # The same, three at once in another order; 8 is no image that is taken.
    parts = []
    for rows, index in (([0, 6, 2], [0, 3, 1]), ([4, 8, 8], [2, 8, 8])):
        batch = {"image": images.images[rows] / np.float32(255), "index": np.array(index)}
        real = ais(MODEL, known_params(), batch, rng.stream(KEY, "ais"), **settings)
        drawn = bdmc(MODEL, known_params(), np.array(index), rng.stream(KEY, "bdmc"), **settings)
        parts.append(np.stack([real, *drawn]))
    expected = np.concatenate(parts, axis=1)[:, :4].mean(1)
    np.testing.assert_allclose(list(found.values()), expected, rtol=1e-4)
    scores = {score.metric: score for score in evaluate.planned(MODEL)}
    assert list(scores) == list(found)
    assert {score.settings for score in scores.values()} == {"8 chains of 5 steps"}
    assert (scores["ais"].n_real, scores["bdmc_upper"].n_fake) == (4, 4)
    assert AnnealedEvaluator(images, 24, num_images=50).planned(MODEL)[0].n_real == 9
