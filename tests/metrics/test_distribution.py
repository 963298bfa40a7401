import numpy as np
import pytest
import scipy.linalg

from genjax.errors import UserError
from genjax.metrics.distribution import Moments, frechet_distance, kid

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


def low_rank(seed, count, width, scale):
    """Features of unlike variances, fewer than they have numbers."""
    return np.random.default_rng(seed).normal(size=(count, width)) * scale ** np.arange(width) + 1


@pytest.mark.parametrize(("num_real", "num_fake"), [(40, 40), (40, 300), (300, 25)])
def test_distance_of_fewer_examples_than_features(num_real, num_fake):
    """What batches say is what the features themselves say, by no square root of a covariance."""
    x, y = low_rank(5, num_real, 96, 0.95), low_rank(6, num_fake, 96, 0.94)
    factors = [(z - z.mean(axis=0)) / np.sqrt(len(z) - 1) for z in (x, y)]
    trace_of_root = np.linalg.norm(factors[0] @ factors[1].T, "nuc")
    expected = np.square(x.mean(axis=0) - y.mean(axis=0)).sum() - 2 * trace_of_root
    expected += sum(np.square(factor).sum() for factor in factors)
    a = Moments.of(x[:17]).add(x[17:])
    np.testing.assert_allclose(frechet_distance(a, Moments.of(y)), expected, rtol=1e-6)
    # SciPy's general square root of a singular product keeps fewer digits.
    root = scipy.linalg.sqrtm(np.cov(x.T) @ np.cov(y.T)).real
    general = np.square(x.mean(axis=0) - y.mean(axis=0)).sum() - 2 * np.trace(root)
    general += np.trace(np.cov(x.T) + np.cov(y.T))
    np.testing.assert_allclose(frechet_distance(a, Moments.of(y)), general, rtol=1e-6)


def test_distance_of_features_whose_variances_differ_by_many_digits():
    """Singular values of 1e-9 of the largest are nothing beside its rounding, squared."""
    x = low_rank(5, 300, 96, 0.8)
    scale = 1 + np.linspace(-1e-5, 1e-5, 96)
    expected = np.square(x.std(axis=0, ddof=1) * (1 - scale)).sum()
    diagonal = np.diag(x.var(axis=0, ddof=1))
    a, b = gaussian(np.full(96, 1e-3), diagonal), gaussian(np.zeros(96), diagonal * scale**2)
    np.testing.assert_allclose(frechet_distance(a, b), expected + 96e-6, rtol=1e-6)


def test_distance_from_what_does_not_vary():
    constant = Moments.of(np.ones((4, 5)))
    assert frechet_distance(constant, constant) == 0
    a = gaussian(np.zeros(5), np.diag([1.0, 2, 3, 0, 0]))
    np.testing.assert_allclose(frechet_distance(a, constant), 5 + 6, rtol=1e-12)
    b = gaussian(np.zeros(5), np.diag([0.0, 0, 0, 4, 5]))
    np.testing.assert_allclose(frechet_distance(a, b), 6 + 9, rtol=1e-12)


def squared_mmd(x, y):
    """The unbiased estimator (Gretton et al. 2012, eq. 3) for the cubic kernel, in float64."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    kernel = lambda a, b: (a @ b.T / a.shape[1] + 1) ** 3
    between = lambda a: kernel(a, a)[~np.eye(len(a), dtype=bool)].mean()
    return between(x) + between(y) - 2 * kernel(x, y).mean()


@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_kid_is_the_mean_over_subsets_in_double_precision(shift):
    rng = np.random.default_rng(7)
    real = np.abs(rng.normal(0.4, 0.3, (310, 64))).astype(np.float32)
    fake = np.abs(rng.normal(0.4 + shift, 0.3, (260, 64))).astype(np.float32)
    draw = lambda key, count: np.argsort(np.random.Philox(key=key).random_raw(count))[:120]
    expected = [
        squared_mmd(real[draw([3, 2 * i], 310)], fake[draw([3, 2 * i + 1], 260)]) for i in range(8)
    ]
    mean, deviation = kid(real, fake, seed=3, num_subsets=8, subset_size=120)
    np.testing.assert_allclose(mean, np.mean(expected), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(deviation, np.std(expected), rtol=1e-6, atol=1e-6)


def test_kid_of_whole_sets_does_not_depend_on_the_draw():
    rng = np.random.default_rng(8)
    real, fake = rng.normal(size=(90, 16)), rng.normal(size=(90, 16)) + 0.5
    mean, deviation = kid(real, fake, num_subsets=3, subset_size=90)
    np.testing.assert_allclose(mean, squared_mmd(real, fake), rtol=1e-6)
    assert deviation < 1e-6


def test_kid_of_equal_distributions_is_zero_in_the_mean():
    draws = np.random.default_rng(9).normal(size=(4000, 8))
    estimates = [
        kid(draws[i : i + 200], draws[i + 200 : i + 400], num_subsets=1, subset_size=200)[0]
        for i in range(0, 4000, 400)
    ]
    assert min(estimates) < 0 < max(estimates)
    assert abs(np.mean(estimates)) < 4 * np.std(estimates) / np.sqrt(len(estimates))


def test_kid_of_too_few_or_unlike_features_is_refused():
    real = FEATURES.astype(np.float32)
    with pytest.raises(UserError, match=r"fake has 299 rows .* at least 300"):
        kid(real, real[:299], subset_size=300)
    with pytest.raises(UserError, match="unlike features"):
        kid(real, real[:, :2], subset_size=100)
    with pytest.raises(UserError, match="row 7 of real"):
        kid(np.where(np.arange(300)[:, None] == 7, np.inf, real), real, subset_size=100)
