import numpy as np
import pytest
import scipy.linalg

from genjax.errors import UserError
from genjax.metrics.distribution import Moments, frechet_distance

# Means far from 0 are what one-pass formulas fail on.
FEATURES = np.random.default_rng(0).normal(1000.0, 1.0, (300, 5)) @ np.diag([1, 2, 3, 4, 5.0])


def gaussian(mean, covariance):
    """Moments as of a large sample from that normal distribution."""
    count = 11
    scatter = (count - 1) * np.asarray(covariance, float)
    return Moments(count, np.asarray(mean, float), scatter)


@pytest.mark.parametrize("batch_size", [1, 7, 300])
def test_moments_do_not_depend_on_the_batches(batch_size):
    moments = Moments.empty(5)
    for start in range(0, 300, batch_size):
        moments = moments.add(FEATURES[start : start + batch_size])
    assert moments.count == 300
    np.testing.assert_allclose(moments.mean, FEATURES.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(moments.covariance, np.cov(FEATURES.T), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(moments.variance, FEATURES.var(axis=0, ddof=1), rtol=1e-9)


def test_moments_merge_in_any_order():
    parts = [Moments.of(part) for part in np.split(FEATURES, [10, 11, 200])]
    forward, backward = Moments.empty(5), Moments.empty(5)
    for part in parts:
        forward, backward = forward.merge(part), part.merge(backward)
    np.testing.assert_allclose(forward.covariance, backward.covariance, rtol=1e-10, atol=1e-10)


def test_moments_leave_out_padding():
    padded = np.concatenate([FEATURES, np.full((4, 5), np.nan)])
    moments = Moments.empty(5).add(padded, np.arange(304) < 300)
    np.testing.assert_allclose(moments.covariance, np.cov(FEATURES.T), rtol=1e-9, atol=1e-9)
    assert moments.add(padded[-2:], np.zeros(2)).count == 300


def test_distance_in_one_dimension():
    # (m1 - m2)^2 + (s1 - s2)^2.
    a, b = gaussian([1.0], [[4.0]]), gaussian([-2.0], [[25.0]])
    np.testing.assert_allclose(frechet_distance(a, b), 9 + 9, rtol=1e-12)


def test_distance_of_independent_features_is_the_sum_over_them():
    a = gaussian([0, 1, 2], np.diag([1.0, 4.0, 0.0]))
    b = gaussian([0, 0, 0], np.diag([9.0, 4.0, 1.0]))
    np.testing.assert_allclose(frechet_distance(a, b), (1 + 4) + (4 + 0 + 1), rtol=1e-12)


def test_distance_is_that_of_the_general_matrix_square_root():
    rng = np.random.default_rng(1)
    a, b = (Moments.of(rng.normal(size=(50, 8)) @ rng.normal(size=(8, 8))) for _ in range(2))
    root = scipy.linalg.sqrtm(a.covariance @ b.covariance).real
    expected = np.square(a.mean - b.mean).sum() + np.trace(a.covariance + b.covariance - 2 * root)
    np.testing.assert_allclose(frechet_distance(a, b), expected, rtol=1e-9)
    np.testing.assert_allclose(frechet_distance(b, a), expected, rtol=1e-9)


def test_distance_to_itself_and_to_a_shifted_copy_with_fewer_examples_than_features():
    features = np.random.default_rng(2).normal(size=(10, 64))
    a, shifted = Moments.of(features), Moments.of(features + 2.0)
    assert 0 <= frechet_distance(a, a) < 1e-10
    np.testing.assert_allclose(frechet_distance(a, shifted), 64 * 4, rtol=1e-12)


def test_distance_does_not_depend_on_the_features_axes():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(40, 6)), 2 * rng.normal(size=(40, 6)) + 1
    turn, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    turned = frechet_distance(Moments.of(x @ turn), Moments.of(y @ turn))
    np.testing.assert_allclose(frechet_distance(Moments.of(x), Moments.of(y)), turned, rtol=1e-10)


def test_too_few_examples_and_unlike_features_are_refused():
    one = Moments.of(FEATURES[:1])
    with pytest.raises(UserError, match="at least two"):
        frechet_distance(one, Moments.of(FEATURES))
    with pytest.raises(UserError, match="unlike features"):
        frechet_distance(Moments.of(FEATURES[:, :2]), Moments.of(FEATURES))


def test_features_that_are_not_finite_have_no_distance():
    """Eigenvalues of NaN do not converge; the caller has to see a number that says so."""
    good = Moments.of(np.eye(4))
    bad = Moments.of(np.where(np.eye(4) == 1, np.nan, 0.0))
    assert np.isnan(frechet_distance(good, bad))
