import dataclasses

import factor_analysis
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_models import (
    KEY,
    LATENTS,
    batch,
    compiled,
    encoder,
    finite,
    generator,
    initial,
    same,
    vae,
)

from genjax.losses.likelihoods import LIKELIHOODS
from genjax.losses.priors import Mixture, StandardNormal, VampPrior
from genjax.models.base import sample, sample_latents

FACTOR_ANALYSIS = factor_analysis.MODEL
X = np.random.default_rng(0).normal(size=(5, 4))
BATCH = {"image": jnp.array(X, jnp.float32).reshape(5, 2, 2, 1), "index": jnp.arange(5)}


def test_bound_falls_short_of_the_evidence_by_the_posteriors_divergence():
    shifts, num = (0.3, 0.4), 4000
    params = factor_analysis.known_params(*shifts)
    gap = factor_analysis.divergence(*shifts)
    keys = jax.random.split(KEY, num)
    log_probs, kl, mean = jax.vmap(lambda key: FACTOR_ANALYSIS.bound(params, BATCH, key))(keys)
    np.testing.assert_allclose(mean[0], FACTOR_ANALYSIS.encode(params, BATCH["image"])[0])
    bounds = np.asarray(log_probs - kl.sum(-1), np.float64)
    error = bounds.std(0) / np.sqrt(num)
    short = factor_analysis.log_evidence(BATCH["image"]) - bounds.mean(0)
    assert (np.abs(short - gap) < 5 * error).all()
    assert (5 * error < gap / 4).all()


def test_draws_belong_to_the_example_not_to_its_place():
    params = factor_analysis.known_params(0.3)
    turned = jax.tree.map(lambda leaf: leaf[::-1], BATCH)
    bound = lambda batch: FACTOR_ANALYSIS.bound(params, batch, KEY)[0]
    np.testing.assert_allclose(bound(turned)[::-1], bound(BATCH), rtol=1e-5)
    latents = jnp.zeros((5, 2))
    simulate = lambda index: FACTOR_ANALYSIS.simulate(params, latents, KEY, index)
    images = simulate(BATCH["index"])
    np.testing.assert_allclose(simulate(turned["index"])[::-1], images, rtol=1e-5)
    assert jnp.abs(images[0] - images[1]).max() > 1e-3


def test_images_simulated_from_the_prior_have_the_evidences_mean_and_covariance():
    # x ~ N(b, W'W + 0.25 I): a mean of n draws is off by its standard deviation / sqrt(n), a
    # product of two deviations by at most sqrt(2) times the product of theirs / sqrt(n).
    num = 20000
    positions = jnp.arange(num)
    params, key = factor_analysis.known_params(), jax.random.key(1)
    latents = sample_latents(FACTOR_ANALYSIS, params, KEY, positions)
    images = FACTOR_ANALYSIS.simulate(params, latents, key, positions).reshape(num, 4)
    W = factor_analysis.W
    covariance = W.T @ W + factor_analysis.VARIANCE * np.eye(4)
    largest = covariance.max()
    error = 5 * np.sqrt(2 / num) * largest
    np.testing.assert_allclose(images.mean(0), factor_analysis.B, atol=error)
    np.testing.assert_allclose(np.cov(images, rowvar=False), covariance, atol=error)


@pytest.fixture(scope="module")
def weighed():
    """(model, state before, after, metrics) of a step from 3 on: rising weight, free bits."""
    model = vae(kl_weight=lambda step: 0.25 * step, free_bits=0.5)
    state = initial(model).replace(step=jnp.array(3))
    return model, state, *compiled(model)(state, batch(), KEY)


def test_weight_and_free_bits_enter_the_loss_and_not_the_bound(weighed):
    _, _, after, metrics = weighed
    kl = np.asarray(metrics["kl_per_dimension"])
    assert kl.shape == (LATENTS,)
    assert (kl < 0.5).any()  # free bits at work
    np.testing.assert_allclose(metrics["kl"], kl.sum(), rtol=1e-5)
    np.testing.assert_allclose(metrics["elbo"], metrics["log_prob"] - kl.sum(), rtol=1e-5)
    np.testing.assert_allclose(metrics["kl_weight"], 0.75)
    loss = 0.75 * np.maximum(kl, 0.5).sum() - metrics["log_prob"]
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-5)
    assert after.step == 4


def test_nothing_presses_a_divergence_below_its_free_bits():
    # A decoder that ignores its latents leaves the KL term as the encoder's only teacher.
    def step(free_bits):
        model = vae(free_bits=free_bits)
        state = initial(model)
        deaf = jax.tree.map(jnp.zeros_like, state.params["decoder"])
        state = state.replace(params=state.params | {"decoder": deaf})
        after, metrics = compiled(model)(state, batch(), KEY)
        return state.params["encoder"], after.params["encoder"], metrics

    before, after, metrics = step(free_bits=0.0)
    assert not same(before, after)
    assert metrics["kl_per_dimension"].max() < 100
    before, after, _ = step(free_bits=100.0)
    assert same(before, after)


def test_step_is_gradient_descent_on_the_loss(weighed):
    model, state, after, metrics = weighed
    assert finite(after)
    # The learning rate is 0.01, so the squared gradient is the step's times 10^4; a step down the
    # gradient, short enough, lowers the loss by the learning rate times its square.
    gradients = jax.tree.map(lambda old, new: (old - new) / 0.01, state.params, after.params)
    square = sum(float((leaf**2).sum()) for leaf in jax.tree.leaves(gradients))
    short = 1e-3 / square
    params = jax.tree.map(lambda p, g: p - short * g, state.params, gradients)
    _, lower = compiled(model)(state.replace(params=params), batch(), KEY)
    np.testing.assert_allclose(metrics["loss"] - lower["loss"], 1e-3, rtol=0.1)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_every_likelihood_trains_reconstructs_and_generates(name):
    likelihood = LIKELIHOODS[name]()
    shape = (8, 8, likelihood.outputs_per_channel)
    model = vae(likelihood=likelihood, decoder=generator(shape=shape), optimizer=optax.adam(1e-3))
    state = initial(model)
    after, metrics = compiled(model)(state, batch(), KEY)
    assert finite((after, metrics))
    # The likelihood's own parameters learn too.
    assert not any(
        same(old, new)
        for old, new in zip(*map(jax.tree.leaves, (state.params, after.params)), strict=True)
    )
    params = model.inference_params(after)
    for images in (
        model.reconstruct(params, batch()["image"]),
        sample(model, params, KEY, jnp.arange(6)),
    ):
        assert images.shape == (6, 8, 8, 1)
        assert ((images >= 0) & (images <= 1)).all()


def test_reconstruction_is_the_mean_image_at_the_posterior_mean(weighed):
    model, _, after, _ = weighed
    params, images = model.inference_params(after), batch()["image"]
    mean, _ = model.encode(params, images)
    expected = jax.nn.sigmoid(model.decode(params, mean))
    np.testing.assert_allclose(model.reconstruct(params, images), expected, rtol=1e-5)


def test_moments_are_those_of_the_images_that_are_simulated(weighed):
    # A pixel's logits, one Bernoulli image for each draw.
    model, _, after, _ = weighed
    params, num = model.inference_params(after), 4000
    latents = jnp.tile(jnp.linspace(-1, 1, LATENTS), (num, 1))
    images = np.asarray(model.simulate(params, latents, KEY, jnp.arange(num)))
    mean, variance = (np.asarray(each) for each in model.moments(params, latents[:1]))
    assert mean.shape == variance.shape == (1, 8, 8, 1)
    assert (np.abs(images.mean(0) - mean[0]) < 5 * np.sqrt(variance[0] / num)).all()
    # The variance of a binary sample is that of its mean.
    np.testing.assert_allclose(variance, mean * (1 - mean), rtol=1e-5)


def test_moments_of_factor_analysis_are_the_line_and_its_variance():
    latents = jnp.array([[1.0, -2.0], [0.5, 0.0]])
    mean, variance = FACTOR_ANALYSIS.moments(factor_analysis.known_params(), latents)
    expected = latents @ factor_analysis.W + factor_analysis.B
    np.testing.assert_allclose(mean.reshape(2, 4), expected, rtol=1e-5)
    np.testing.assert_array_equal(variance, np.full((2, 2, 2, 1), factor_analysis.VARIANCE))


def test_active_units_are_the_latents_whose_mean_moves_with_the_image():
    model = FACTOR_ANALYSIS
    params = factor_analysis.known_params()
    # The second latent's mean no longer depends on the image; the first one's does.
    kernel = params["encoder"]["params"]["Dense_0"]["kernel"].at[:, 1].set(0.0)
    params["encoder"]["params"]["Dense_0"]["kernel"] = kernel
    rows = BATCH | {"position": BATCH["index"]}
    state = model.init(KEY, rows)
    state = state.replace(params={name: part.get("params", {}) for name, part in params.items()})
    _, metrics = compiled(model)(state, rows, KEY)
    assert metrics["active_units"] == 1


def test_latents_and_images_follow_the_label():
    model = vae(encoder=encoder("concat"), decoder=generator("concat"), num_classes=3)
    params, labels = model.inference_params(initial(model)), jnp.arange(3)
    # The same image and the same latents for every label.
    image = jnp.broadcast_to(batch()["image"][:1], (3, 8, 8, 1))
    mean, _ = model.encode(params, image, labels)
    images = model.generate(params, jnp.ones((3, LATENTS)), labels)
    for outputs in (mean, images):
        assert jnp.abs(outputs[0] - outputs[1]).max() > 1e-3


ROWS = BATCH | {"position": BATCH["index"]}
EVIDENCE = factor_analysis.log_evidence(BATCH["image"]).mean()


def losses(num, mean_shift=0.3, prior_params=None, **changes):
    """float64 [num]: of a step of factor analysis so changed, each with its own noise.

    The posterior's means are off by `mean_shift`.
    """
    model, told = dataclasses.replace(FACTOR_ANALYSIS, **changes), factor_analysis.known_params
    params = {name: part.get("params", {}) for name, part in told(mean_shift).items()}
    del params["prior"]
    params |= {"prior": prior_params} if prior_params else {}
    state = model.init(KEY, ROWS).replace(params=params)
    step, keys = compiled(model), jax.random.split(jax.random.key(3), num)
    return np.array([float(step(state, ROWS, key)[1]["loss"]) for key in keys])


def check_same_mean(a, b):
    """Of two estimates that are drawn together."""
    assert abs((a - b).mean()) < 4 * (a - b).std() / np.sqrt(len(a))


def test_importance_weighting_with_one_draw_is_the_bound():
    """log p(x | z) + log p(z) - log q(z | x); the KL in closed form is the mean of its part."""
    estimated, closed = losses(400, objective="iwae"), losses(400)
    check_same_mean(estimated, closed)
    gap = factor_analysis.divergence(0.3, 0.0)
    assert abs(closed.mean() - (gap - EVIDENCE)) < 4 * closed.std() / np.sqrt(400)


def test_the_bound_of_an_importance_weighted_model_is_that_of_the_draw():
    """Under the true posterior log p(x, z) - log q(z | x) is log p(x), whatever z is."""
    model = dataclasses.replace(FACTOR_ANALYSIS, objective="iwae")
    log_prob, kl, _ = model.bound(factor_analysis.known_params(0.0), BATCH, KEY)
    assert kl.shape == (len(log_prob), 1)
    expected = factor_analysis.log_evidence(BATCH["image"])
    np.testing.assert_allclose(log_prob - kl[:, 0], expected, rtol=1e-5)


def test_importance_weighted_loss_comes_near_the_evidence():
    """Each k a bound of Burda et al. 2016, eq. 8, tighter than those of fewer draws."""
    gaps = {
        draws: losses(100 if draws < 5000 else 1, objective="iwae", draws=draws).mean() + EVIDENCE
        for draws in (1, 10, 5000)
    }
    assert gaps[1] > gaps[10] > gaps[5000]
    assert abs(gaps[5000]) < 0.05


def test_every_weight_in_training_is_the_evidence_under_the_true_posterior():
    found = losses(3, mean_shift=0.0, objective="iwae", draws=7)
    np.testing.assert_allclose(found, -EVIDENCE, rtol=1e-5)


def test_several_draws_of_the_bound_are_its_mean_with_less_noise():
    one, four = losses(400), losses(400, draws=4)
    error = np.hypot(one.std(), four.std()) / np.sqrt(400)
    assert abs(one.mean() - four.mean()) < 4 * error
    assert four.std() == pytest.approx(one.std() / 2, rel=0.2)


def test_a_mixture_of_the_standard_normal_is_trained_as_the_standard_normal():
    """Its KL is estimated by the draw, of the same expectation."""
    own = {"mean": jnp.zeros((1, 2)), "log_var": jnp.zeros((1, 2))}
    check_same_mean(losses(400, prior=Mixture(1), prior_params=own), losses(400))


@pytest.mark.parametrize("prior", [Mixture(5), VampPrior(5)])
def test_a_learned_prior_learns(prior):
    model = vae(prior=prior)
    state = initial(model)
    after, metrics = compiled(model)(state, batch(), KEY)
    assert finite((after, metrics))
    assert not any(
        same(old, new)
        for old, new in zip(*map(jax.tree.leaves, (state.params, after.params)), strict=True)
    )
    assert "kl_per_dimension" not in metrics
    np.testing.assert_allclose(metrics["loss"], metrics["kl"] - metrics["log_prob"], rtol=1e-5)


def test_a_prior_without_parameters_leaves_no_trace_in_the_state():
    """Checkpoints of before there were others are read as they are."""
    assert set(initial(vae()).params) == {"encoder", "decoder", "likelihood"}
    assert isinstance(vae().prior, StandardNormal)
