import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from genjax.models.base import sample, sample_latents

KEY = jax.random.key(7)
LATENTS, NUM = 4, 4000


@dataclasses.dataclass(frozen=True)
class Mirror:
    """A model whose images are its latents, between 0 and 1."""

    latent_size: int = LATENTS
    num_classes: int = 0

    def generate(self, params, latents, labels=None):
        return jax.nn.sigmoid(latents).reshape(-1, 2, 2, 1)


MODEL = Mirror()
POSITIONS = jnp.arange(NUM)
WHOLE = np.asarray(sample_latents(MODEL, {}, KEY, POSITIONS))


@pytest.mark.parametrize("truncation", [0.05, 2.0, 6.0])
def test_truncated_latents_have_the_truncated_normal_distribution(truncation):
    latents = np.asarray(sample_latents(MODEL, {}, KEY, POSITIONS, truncation), np.float64)
    assert latents.shape == (NUM, LATENTS)
    assert np.abs(latents).max() <= truncation
    expected = scipy.stats.truncnorm(-truncation, truncation)
    assert abs(latents.mean()) < 5 * expected.std() / np.sqrt(latents.size)
    fourth = expected.moment(4)
    error = 5 * np.sqrt((fourth - expected.var() ** 2) / latents.size)
    assert abs((latents**2).mean() - expected.var()) < error
    assert scipy.stats.kstest(latents.ravel(), expected.cdf).pvalue > 1e-3


@pytest.mark.parametrize("truncation", [0.05, 2.0, 6.0])
def test_a_truncated_latent_keeps_its_place_among_all(truncation):
    latents = np.asarray(sample_latents(MODEL, {}, KEY, POSITIONS, truncation)).ravel()
    assert (np.diff(latents[np.argsort(WHOLE.ravel())]) >= 0).all()
    # A draw at a quantile goes to the same quantile: the middle stays in the middle.
    expected = scipy.stats.truncnorm.ppf(
        scipy.stats.norm.cdf(np.asarray(WHOLE, np.float64)), -truncation, truncation
    )
    np.testing.assert_allclose(latents, expected.ravel(), atol=2e-3)


def test_a_wide_truncation_changes_nothing_and_none_is_exactly_nothing():
    np.testing.assert_array_equal(sample_latents(MODEL, {}, KEY, POSITIONS, 0.0), WHOLE)
    np.testing.assert_allclose(sample_latents(MODEL, {}, KEY, POSITIONS, 30.0), WHOLE, atol=2e-3)


def test_a_truncated_sample_is_the_same_in_whatever_batch():
    some = jnp.array([7, 3, 3999])
    latents = sample_latents(MODEL, {}, KEY, POSITIONS, 0.5)
    np.testing.assert_allclose(sample_latents(MODEL, {}, KEY, some, 0.5), latents[some], atol=1e-6)
    images = sample(MODEL, None, KEY, some, truncation=0.5)
    np.testing.assert_allclose(images, MODEL.generate(None, latents[some]), atol=1e-6)
    assert images.min() >= jax.nn.sigmoid(-0.5)
    assert images.max() <= jax.nn.sigmoid(0.5)
