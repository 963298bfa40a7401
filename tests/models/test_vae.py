import dataclasses

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

from genjax.losses.likelihoods import LIKELIHOODS, Likelihood
from genjax.models.base import sample
from genjax.nn.heads import Posterior
from genjax.nn.mlp import MLPDecoder, MLPEncoder

# A factor analysis whose every quantity is known. Four pixels are x = W'z + b + 0.5 noise, with two
# latents; the rows of W are orthogonal, so the true posterior is a diagonal Gaussian,
#   z | x ~ N(S W (x - b) / 0.25, S),  S = diag(1 / (1 + |w_i|^2 / 0.25)).
W = np.array([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.8, -0.6]])
B, VARIANCE = np.array([0.1, 0.2, 0.3, 0.4]), 0.25
POSTERIOR_VARIANCE = 1 / (1 + (W**2).sum(1) / VARIANCE)
X = np.random.default_rng(0).normal(size=(5, 4))
BATCH = {"image": jnp.array(X, jnp.float32).reshape(5, 2, 2, 1), "index": jnp.arange(5)}


class Linear(Likelihood):
    """A normal density around the outputs themselves."""

    def log_prob(self, params, outputs, image):
        log_probs = -0.5 * (image - outputs) ** 2 / VARIANCE - 0.5 * np.log(2 * np.pi * VARIANCE)
        return log_probs.sum((1, 2, 3))


FACTOR_ANALYSIS = vae(
    # Without hidden layers, both networks are linear.
    encoder=Posterior(MLPEncoder(widths=()), 2),
    decoder=MLPDecoder(shape=(2, 2, 1), widths=()),
    likelihood=Linear(),
    latent_size=2,
)


def known_params(mean_shift=0.0, log_var_shift=0.0):
    """The true decoder, and the true posterior but for a shift of each latent's two numbers."""
    to_mean = (W * POSTERIOR_VARIANCE[:, None] / VARIANCE).T
    kernel = np.concatenate([to_mean, np.zeros((4, 2))], axis=1)
    bias = np.concatenate([-B @ to_mean + mean_shift, np.log(POSTERIOR_VARIANCE) + log_var_shift])
    dense = lambda kernel, bias: {"params": {"Dense_0": {"kernel": kernel, "bias": bias}}}
    params = {"encoder": dense(kernel, bias), "decoder": dense(W, B), "likelihood": {}}
    return jax.tree.map(lambda leaf: jnp.array(leaf, jnp.float32), params)


def log_evidence():
    """log p(x), x ~ N(b, W'W + 0.25 I)."""
    covariance = W.T @ W + VARIANCE * np.eye(4)
    distance = np.einsum("ni,ij,nj->n", X - B, np.linalg.inv(covariance), X - B)
    return -0.5 * (distance + np.linalg.slogdet(covariance)[1] + 4 * np.log(2 * np.pi))


def test_every_weight_is_the_evidence_under_the_true_posterior():
    weights = FACTOR_ANALYSIS.log_weights(known_params(), BATCH, KEY, 7)
    assert weights.shape == (7, 5)
    np.testing.assert_allclose(weights, np.broadcast_to(log_evidence(), (7, 5)), rtol=1e-5)


# KL(N(m + d, e^r v) || N(m, v)) = (e^r + d^2 / v - 1 - r) / 2 for each latent.
SHIFT, LOG_RATIO = 0.3, 0.4
GAP = 0.5 * (np.exp(LOG_RATIO) + SHIFT**2 / POSTERIOR_VARIANCE - 1 - LOG_RATIO).sum()
NUM = 4000


@pytest.fixture(scope="module")
def wrong_posterior_weights():
    weights = FACTOR_ANALYSIS.log_weights(known_params(SHIFT, LOG_RATIO), BATCH, KEY, NUM)
    return np.asarray(weights, np.float64)


def test_weights_fall_short_of_the_evidence_by_the_posteriors_divergence(wrong_posterior_weights):
    error = wrong_posterior_weights.std(0) / np.sqrt(NUM)
    short = log_evidence() - wrong_posterior_weights.mean(0)
    assert (np.abs(short - GAP) < 5 * error).all()
    assert (5 * error < GAP / 4).all()


def test_bound_falls_short_by_as_much():
    params = known_params(SHIFT, LOG_RATIO)
    keys = jax.random.split(KEY, NUM)
    log_probs, kl, mean = jax.vmap(lambda key: FACTOR_ANALYSIS.bound(params, BATCH, key))(keys)
    np.testing.assert_allclose(mean[0], FACTOR_ANALYSIS.encode(params, BATCH["image"])[0])
    bounds = np.asarray(log_probs - kl.sum(-1), np.float64)
    error = bounds.std(0) / np.sqrt(NUM)
    assert (np.abs(log_evidence() - bounds.mean(0) - GAP) < 5 * error).all()


def test_importance_weighting_closes_the_gap(wrong_posterior_weights):
    # Burda et al. 2016: log-mean-exp of many weights is nearly the evidence.
    peak = wrong_posterior_weights.max(0)
    log_mean = peak + np.log(np.exp(wrong_posterior_weights - peak).mean(0))
    np.testing.assert_allclose(log_mean, log_evidence(), atol=0.1 * GAP)


def test_draws_belong_to_the_example_not_to_its_place():
    params, turned = known_params(SHIFT), jax.tree.map(lambda leaf: leaf[::-1], BATCH)
    for draw in (
        lambda batch: FACTOR_ANALYSIS.bound(params, batch, KEY)[0],
        lambda batch: FACTOR_ANALYSIS.log_weights(params, batch, KEY, 3).T,
    ):
        np.testing.assert_allclose(draw(turned)[::-1], draw(BATCH), rtol=1e-5)


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


def test_active_units_are_the_latents_whose_mean_moves_with_the_image():
    model = dataclasses.replace(FACTOR_ANALYSIS, optimizer=optax.sgd(0.0))
    params = known_params()
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
