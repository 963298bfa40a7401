import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from genjax.losses.priors import PRIORS, Mixture, StandardNormal, VampPrior

KEY, LATENTS, COMPONENTS = jax.random.key(0), 3, 5


def draw(name, *shape):
    seed = {"mean": 1, "log_var": 2, "latents": 3, "images": 4}[name]
    return jax.random.normal(jax.random.key(seed), shape)


MIXTURE = {name: draw(name, COMPONENTS, LATENTS) for name in ("mean", "log_var")}


def mixture_log_prob(components, latents):
    """By SciPy in float64, component by component."""
    mean, log_var, latents = (
        np.asarray(each, np.float64) for each in (*components.values(), latents)
    )
    each = [
        scipy.stats.norm.logpdf(latents, m, np.exp(v / 2)).sum(-1)
        for m, v in zip(mean, log_var, strict=True)
    ]
    return scipy.special.logsumexp(each, axis=0) - np.log(len(mean))


def test_standard_normal_is_scipys():
    latents = 3 * draw("latents", 7, LATENTS)
    expected = scipy.stats.norm.logpdf(latents).sum(-1)
    np.testing.assert_allclose(StandardNormal().log_prob({}, latents), expected, rtol=1e-6)


def test_mixture_is_scipys():
    latents = 3 * draw("latents", 7, LATENTS)
    found = Mixture(COMPONENTS).log_prob(MIXTURE, latents)
    np.testing.assert_allclose(found, mixture_log_prob(MIXTURE, latents), rtol=1e-5)


def test_narrow_components_keep_their_digits():
    """40 latents at the lowest log variance of the published encoders, 500 components.

    Where z^2 / v is some thousands, float32 leaves 0.01 nats.
    """
    mean = draw("mean", 500, 40)
    components = {"mean": mean, "log_var": jnp.full((500, 40), -6.0)}
    latents = mean[:100] + np.exp(-3) * draw("latents", 100, 40)
    found = Mixture(500).log_prob(components, latents)
    np.testing.assert_allclose(found, mixture_log_prob(components, latents), atol=0.02)


def test_one_component_at_the_origin_is_the_standard_normal():
    origin = {"mean": jnp.zeros((1, LATENTS)), "log_var": jnp.zeros((1, LATENTS))}
    latents = draw("latents", 7, LATENTS)
    found = Mixture(1).log_prob(origin, latents)
    np.testing.assert_allclose(found, StandardNormal().log_prob({}, latents), rtol=1e-6)


def encode(images):
    """A posterior by hand: mean and log variance of a picture are its first pixels."""
    pixels = images.reshape(len(images), -1)
    return pixels[:, :LATENTS], pixels[:, LATENTS : 2 * LATENTS] - 1


def test_vamp_prior_is_the_mean_of_the_posteriors_of_its_pseudo_inputs():
    prior = VampPrior(COMPONENTS)
    images = 0.5 + draw("images", COMPONENTS, 2, 3, 1)
    inside = np.clip(images, 0, 1)
    assert (inside != images).any()
    found = prior.components({"pseudo_inputs": images}, encode)
    mean, log_var = encode(inside)
    np.testing.assert_array_equal(found["mean"], mean)
    np.testing.assert_array_equal(found["log_var"], log_var)
    latents = draw("latents", 7, LATENTS)
    by_hand = mixture_log_prob({"mean": mean, "log_var": log_var}, latents)
    np.testing.assert_allclose(prior.log_prob(found, latents), by_hand, rtol=1e-5)


def test_pseudo_inputs_start_nearly_black_and_each_its_own():
    images = VampPrior(50).init(KEY, (28, 28, 1), 40)["pseudo_inputs"]
    assert images.shape == (50, 28, 28, 1)
    assert images.mean() == pytest.approx(0.05, abs=1e-3)
    assert images.std() == pytest.approx(0.01, abs=1e-3)
    assert jnp.abs(images[0] - images[1]).min() < 0.05 < 10 * jnp.abs(images[0] - images[1]).max()


@pytest.mark.parametrize("name", PRIORS)
def test_draws_have_the_prior_as_their_density(name):
    """The entropy by draws, -E log p(z), is that of draws from the components by NumPy."""
    prior, num = PRIORS[name](COMPONENTS), 20_000
    components = {} if name == "standard_normal" else MIXTURE
    place = lambda positions: prior.place(
        components, jax.random.normal(KEY, (num, LATENTS))[positions], KEY, positions
    )
    found = np.asarray(place(jnp.arange(num)))
    # Each by its number, in whatever batch.
    some = jnp.array([7, 3, 19_999])
    np.testing.assert_allclose(place(some), found[some], rtol=1e-6)
    numbers = np.random.default_rng(0)
    mean, deviation = np.zeros((1, LATENTS)), np.ones((1, LATENTS))
    if components:
        mean, deviation = np.asarray(MIXTURE["mean"]), np.exp(np.asarray(MIXTURE["log_var"]) / 2)
    chosen = numbers.integers(len(mean), size=num)
    other = mean[chosen] + deviation[chosen] * numbers.normal(size=(num, LATENTS))
    surprise = [np.asarray(prior.log_prob(components, jnp.asarray(z))) for z in (found, other)]
    error = np.hypot(*(each.std() for each in surprise)) / np.sqrt(num)
    assert abs(surprise[0].mean() - surprise[1].mean()) < 4 * error
    np.testing.assert_allclose(found.mean(0), other.mean(0), atol=5 * other.std() / np.sqrt(num))
