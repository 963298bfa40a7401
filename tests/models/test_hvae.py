"""A linear-Gaussian hierarchy, in which the true posterior and the evidence are known.

Without hidden layers and with one latent in each level,

    z2 ~ N(0, 1),  z1 = A z2 + C + D e,  x = U z1 + V z2 + B + 0.5 n,

all posteriors are Gaussians whose means are linear: those of the networks, if they are told. With
V = 0 it is a chain.
"""

import dataclasses

import factor_analysis
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats
from small_models import KEY, SHAPE, batch, compiled, finite, initial

from genjax.evaluation.likelihood import ais, bdmc, importance_bound
from genjax.losses.likelihoods import Bernoulli
from genjax.losses.priors import Mixture, StandardNormal, VampPrior
from genjax.models import base
from genjax.models.hvae import HVAE, ChainVAE
from genjax.nn.hierarchy import ChainDecoder, ChainEncoder, TwoLevelDecoder, TwoLevelEncoder

A, C, D = 0.7, -0.2, 0.6
U, V = np.array([1.0, -0.5, 0.3, 0.8]), np.array([0.4, 0.9, -0.6, 0.2])
B, VARIANCE = factor_analysis.B, factor_analysis.VARIANCE
LINEAR = HVAE(
    encoder=TwoLevelEncoder(latent_sizes=(1, 1), widths=()),
    decoder=TwoLevelDecoder(shape=(2, 2, 1), latent_sizes=(1, 1), widths=()),
    prior=StandardNormal(),
    likelihood=factor_analysis.Linear(),
    optimizer=optax.sgd(0.0),
    latent_size=2,
    second_size=1,
    num_classes=0,
    objective="elbo",
    draws=1,
    kl_weight=lambda step: 1.0,
    free_bits=0.0,
)
_FIELDS = {field.name: getattr(LINEAR, field.name) for field in dataclasses.fields(LINEAR)}
CHAIN = ChainVAE(
    **_FIELDS
    | {
        "encoder": ChainEncoder(latent_sizes=(1, 1), widths=(), second_widths=()),
        "decoder": ChainDecoder((2, 2, 1), latent_sizes=(1, 1), widths=(), second_widths=()),
    }
)
X = np.random.default_rng(0).normal(size=(5, 4))
ROWS = {"image": jnp.array(X, jnp.float32).reshape(5, 2, 2, 1), "index": jnp.arange(5)}
#: Of x and z2 together: x ~ N(B + U C, ...), z2 ~ N(0, 1).
SLOPE = U * A + V
COVARIANCE = np.outer(SLOPE, SLOPE) + D**2 * np.outer(U, U) + VARIANCE * np.eye(4)


def dense(weights, bias):
    """A dense layer from inputs of `weights`, [input, output]."""
    return {"kernel": jnp.array(weights, jnp.float32), "bias": jnp.array(bias, jnp.float32)}


def known_params(shift=0.0):
    """The true model and its true posterior, but for a shift of the mean of q(z2 | x)."""
    gain = np.linalg.solve(COVARIANCE, SLOPE)
    second = np.stack([gain, np.zeros(4)], axis=1)
    variance = 1 - SLOPE @ gain
    # z1 given x and z2: a prior N(A z2 + C, D^2), and what x - V z2 - B says of it.
    precision = 1 / D**2 + U @ U / VARIANCE
    of_x, of_z2 = U / VARIANCE / precision, (A / D**2 - U @ V / VARIANCE) / precision
    first = np.stack([[*of_x, of_z2], np.zeros(5)], axis=1)
    rest = (C / D**2 - U @ B / VARIANCE) / precision
    posterior = lambda *layer: {"Dense_0": dense(*layer)}
    encoder = {
        "second": posterior(second, [-(B + U * C) @ gain + shift, np.log(variance)]),
        "first": posterior(first, [rest, -np.log(precision)]),
    }
    decoder = {
        "first": posterior([[A, 0.0]], [C, 2 * np.log(D)]),
        "of_both": {"Dense_0": dense(np.stack([U, V]), B)},
    }
    networks = {"encoder": {"params": encoder}, "decoder": {"params": decoder}}
    return {**networks, "prior": {}, "likelihood": {}}


def log_evidence():
    return scipy.stats.multivariate_normal(B + U * C, COVARIANCE).logpdf(X)


def chain_params(shift=0.0):
    """The true chain and its true posterior, but for a shift of the mean of q(z1 | x)."""
    # z1 alone: a prior N(C, A^2 + D^2), and what x - B says of it; then z2, of which z1 speaks.
    prior = A**2 + D**2
    precision = 1 / prior + U @ U / VARIANCE
    first = np.stack([U / VARIANCE / precision, np.zeros(4)], axis=1)
    middle = (C / prior - U @ B / VARIANCE) / precision + shift
    above = 1 + A**2 / D**2
    slope = A / D**2 / above
    layer = lambda *values: {"Dense_0": dense(*values)}
    encoder = {
        "first": layer(first, [middle, -np.log(precision)]),
        "second": layer([[slope, 0.0]], [-slope * C, -np.log(above)]),
    }
    decoder = {
        "first": layer([[A, 0.0]], [C, 2 * np.log(D)]),
        "of_first": layer(U[None], B),
    }
    networks = {"encoder": {"params": encoder}, "decoder": {"params": decoder}}
    return {**networks, "prior": {}, "likelihood": {}}


def chain_evidence():
    covariance = (A**2 + D**2) * np.outer(U, U) + VARIANCE * np.eye(4)
    return scipy.stats.multivariate_normal(B + U * C, covariance).logpdf(X)


@pytest.mark.parametrize("num", [1, 7])
def test_every_weight_of_a_chain_is_the_evidence_under_its_true_posterior(num):
    shapes = lambda tree: jax.tree.map(jnp.shape, tree)
    assert shapes(chain_params()) == shapes(CHAIN.inference_params(CHAIN.init(KEY, ROWS)))
    bound = importance_bound(CHAIN, chain_params(), ROWS, KEY, num=num)
    np.testing.assert_allclose(bound, chain_evidence(), rtol=1e-5)


def test_annealing_and_many_weights_agree_on_a_chain_under_a_wrong_posterior():
    params = chain_params(0.5)
    found = ais(CHAIN, params, ROWS, KEY, num_chains=50, num_steps=100)
    np.testing.assert_allclose(found, chain_evidence(), atol=0.1)
    bound = lambda num: importance_bound(CHAIN, params, ROWS, KEY, num=num).mean()
    assert bound(1) < chain_evidence().mean() - 0.2
    assert bound(20_000) == pytest.approx(chain_evidence().mean(), abs=0.05)


def test_the_told_networks_have_the_shapes_of_the_model():
    shapes = lambda tree: jax.tree.map(jnp.shape, tree)
    made = LINEAR.inference_params(LINEAR.init(KEY, ROWS))
    assert shapes(known_params()) == shapes(made)


@pytest.mark.parametrize("num", [1, 7, 1003])
def test_every_weight_is_the_evidence_under_the_true_posterior(num):
    bound = importance_bound(LINEAR, known_params(), ROWS, KEY, num=num)
    np.testing.assert_allclose(bound, log_evidence(), rtol=1e-5)


def test_many_weights_come_near_the_evidence_under_a_wrong_posterior():
    bound = lambda num: importance_bound(LINEAR, known_params(0.8), ROWS, KEY, num=num).mean()
    truth = log_evidence().mean()
    assert bound(1) < truth - 0.2
    assert bound(20_000) == pytest.approx(truth, abs=0.05)


def test_bound_falls_short_by_the_divergence_of_a_shifted_second_level():
    """KL(N(m + d, v), N(m, v)) = d^2 / 2v; z1 is then drawn as it should be, given z2."""
    shift, num = 0.3, 4000
    variance = 1 - SLOPE @ np.linalg.solve(COVARIANCE, SLOPE)
    keys = jax.random.split(KEY, num)
    parts = jax.vmap(lambda key: LINEAR.bound(known_params(shift), ROWS, key))(keys)
    bounds = np.asarray(parts[0] - parts[1].sum(-1), np.float64)
    error = bounds.std(0) / np.sqrt(num)
    short = log_evidence() - bounds.mean(0)
    assert (np.abs(short - shift**2 / (2 * variance)) < 5 * error).all()


def test_annealing_from_the_prior_agrees():
    """Which never sees the encoder: the density of both levels, and their gradient."""
    found = ais(LINEAR, known_params(9.0), ROWS, KEY, num_chains=50, num_steps=100)
    np.testing.assert_allclose(found, log_evidence(), atol=0.1)


def test_samples_have_the_evidences_mean_and_covariance():
    num = 20_000
    params, positions = known_params(), jnp.arange(num)
    latents = base.sample_latents(LINEAR, params, KEY, positions)
    images = LINEAR.simulate(params, latents, jax.random.key(1), positions).reshape(num, 4)
    error = 5 * np.sqrt(2 / num) * COVARIANCE.max()
    np.testing.assert_allclose(images.mean(0), B + U * C, atol=error)
    np.testing.assert_allclose(np.cov(images, rowvar=False), COVARIANCE, atol=error)


def gated(prior, **changes):
    """A small HVAE of images of noise."""
    fields = {"latent_sizes": (4, 4), "widths": (8, 8), "log_var_range": (-6.0, 2.0)}
    model = dataclasses.replace(
        LINEAR,
        encoder=TwoLevelEncoder(activation="gated", **fields),
        decoder=TwoLevelDecoder(shape=SHAPE, activation="gated", **fields),
        prior=prior,
        likelihood=Bernoulli(),
        optimizer=optax.adam(1e-2),
        latent_size=8,
        second_size=4,
    )
    return dataclasses.replace(model, **changes)


def chained(prior, **changes):
    """The same as a chain."""
    model = gated(prior, **changes)
    fields = {"latent_sizes": (5, 3), "widths": (8, 8), "second_widths": (6,), "activation": "tanh"}
    networks = {"encoder": ChainEncoder(**fields), "decoder": ChainDecoder(SHAPE, **fields)}
    fields = {field.name: getattr(model, field.name) for field in dataclasses.fields(model)}
    return ChainVAE(**fields | networks | {"second_size": 3})


@pytest.mark.parametrize("objective", ["elbo", "iwae"])
@pytest.mark.parametrize(
    "model",
    [*(gated(each) for each in (StandardNormal(), Mixture(5), VampPrior(5))), chained(Mixture(5))],
)
def test_every_parameter_learns_under_every_prior(model, objective):
    model = dataclasses.replace(model, objective=objective, draws=3)
    state = initial(model)
    after, metrics = compiled(model)(state, batch(), KEY)
    assert finite((after, metrics))
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), state.params, after.params)
    assert all(jax.tree.leaves(moved))


def test_a_step_goes_up_the_bound():
    model = gated(StandardNormal())
    state, step = initial(model), compiled(model)
    _, first = step(state, batch(), KEY)
    for _ in range(50):
        state, metrics = step(state, batch(), KEY)
    assert metrics["elbo"] > first["elbo"] + 5
    np.testing.assert_allclose(metrics["elbo"], -metrics["loss"], rtol=1e-5)


@pytest.mark.parametrize("prior", [StandardNormal(), VampPrior(5)])
def test_bounds_of_drawn_images_hold_the_importance_weighted_one_between_them(prior):
    """Three ways to one number: chains to and from the latents, and the encoder's weights."""
    model = gated(prior)
    params, positions = model.inference_params(initial(model)), jnp.arange(40)
    lower, upper = bdmc(model, params, positions, KEY, num_chains=8, num_steps=100)
    latents = base.sample_latents(model, params, jax.random.fold_in(KEY, 0), positions)
    images = model.simulate(params, latents, jax.random.key(5), positions)
    rows = {"image": images, "index": positions}
    weighed = importance_bound(model, params, rows, KEY, num=5000)
    annealed = ais(model, params, rows, KEY, num_chains=8, num_steps=100)
    np.testing.assert_allclose(weighed, annealed, atol=0.2)
    assert abs(lower.mean() - upper.mean()) < 0.1


def test_abilities_and_the_latents_that_may_be_searched():
    for model, normal in ((gated(StandardNormal()), True), (gated(VampPrior(5)), False)):
        for ability in (base.Sampler, base.Reconstructor, base.LikelihoodModel):
            base.require(model, ability, "here")
        assert base.has_normal_latents(model) == normal
        params = model.inference_params(initial(model))
        images = model.reconstruct(params, batch()["image"])
        assert images.shape == (6, *SHAPE)
        assert ((images >= 0) & (images <= 1)).all()
