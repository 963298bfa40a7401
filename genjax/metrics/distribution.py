"""How near one set of features is to another: by the moments of each, or by a kernel."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float, Float64, Shaped

from genjax.errors import UserError

Features = Float[Array | np.ndarray, "batch feature"]
#: Of another set, which may have more or fewer rows (and, until that is refused, numbers in each).
OtherFeatures = Float[Array | np.ndarray, "other_batch other_feature"]
Mask = Shaped[Array | np.ndarray, " batch"]
Covariance = Float64[np.ndarray, "feature feature"]

#: The relative error of a Frechet distance that is never exceeded for speed.
_TOLERANCE = 1e-7


@dataclasses.dataclass(frozen=True)
class Moments:
    """Mean and covariance of feature vectors that arrive in batches, in float64 on the host.

    What is kept is the sum of squares *around the mean*, which batches can merge without the
    cancellation of E[x x'] - E[x] E[x]' (Chan et al. 1979); so neither the order nor the size of
    the batches matters.

    Attributes:
      count: the number of examples seen.
      mean: their mean.
      scatter: the sum over examples of (x - mean)(x - mean)'.
    """

    count: int
    mean: Float64[np.ndarray, " feature"]
    scatter: Covariance

    @staticmethod
    def empty(num_features: int) -> "Moments":
        """Of no examples yet."""
        return Moments(0, np.zeros(num_features), np.zeros((num_features, num_features)))

    @staticmethod
    def of(features: Features, mask: Mask | None = None) -> "Moments":
        """Of the rows of `features`; those whose mask is 0 do not count and may hold NaN."""
        features = np.asarray(features, np.float64)
        if mask is not None:
            features = features[np.asarray(mask) != 0]
        if not len(features):
            return Moments.empty(features.shape[1])
        mean = features.mean(axis=0)
        centred = features - mean
        return Moments(len(features), mean, centred.T @ centred)

    def add(self, features: Features, mask: Mask | None = None) -> "Moments":
        """With one more batch of examples."""
        return self.merge(self.of(features, mask))

    def merge(self, other: "Moments") -> "Moments":
        """With all that `other` has seen."""
        count = self.count + other.count
        if count == 0:
            return self
        shift = other.mean - self.mean
        mean = self.mean + shift * (other.count / count)
        between = np.outer(shift, shift) * (self.count * other.count / count)
        return Moments(count, mean, self.scatter + other.scatter + between)

    @property
    def covariance(self) -> Covariance:
        """Unbiased: divided by count - 1, as by `numpy.cov`.

        Raises:
          UserError: if fewer than two examples were seen.
        """
        if self.count < 2:
            raise UserError(f"a covariance needs at least two examples, not {self.count}")
        return self.scatter / (self.count - 1)

    @property
    def variance(self) -> Float64[np.ndarray, " feature"]:
        """The covariance's diagonal."""
        return np.diagonal(self.covariance)


def frechet_distance(a: Moments, b: Moments) -> float:
    """Squared Fréchet distance between the normal distributions with these moments.

    |mean_a - mean_b|^2 + tr(A + B - 2 (A B)^(1/2)) (Dowson and Landau 1982; Heusel et al. 2017,
    eq. 6). With Inception features this is the FID. It is biased upwards for few examples, so
    compare only distances from equally many. NaN where a feature is not finite.

    Raises:
      UserError: if the two have unlike features, or either fewer than two examples.
    """
    if a.mean.shape != b.mean.shape:
        raise UserError(f"unlike features: {len(a.mean)} numbers for each image, {len(b.mean)}")
    if not (np.isfinite(a.scatter).all() and np.isfinite(b.scatter).all()):
        return float("nan")  # eigenvalues of what is not finite do not converge
    # With A = F F' and B = G G', the eigenvalues of A B are those of M M' for M = F' G, so their
    # roots are the singular values of M. The general matrix square root of A B is slower and turns
    # complex where ranks are low.
    factor_a, factor_b = _factor(a.covariance), _factor(b.covariance)
    product = factor_a.T @ factor_b
    apart = np.square(a.mean - b.mean).sum() + a.variance.sum() + b.variance.sum()
    roots, uncertainty = _roots_of_gram(product if len(product) > product.shape[1] else product.T)
    distance = apart - 2 * roots.sum()
    if 2 * uncertainty > _TOLERANCE * distance:
        distance = apart - 2 * np.linalg.norm(product, "nuc")
    return max(0.0, float(distance))  # rounding may leave equal distributions a little below 0


def _factor(covariance: Covariance) -> Float64[np.ndarray, "feature rank"]:
    """F with F F' = covariance, by Cholesky with pivots: no column stands for rounding alone."""
    lower, pivots, rank, _ = scipy.linalg.lapack.dpstrf(covariance, lower=1)
    factor = np.empty((len(lower), rank))
    factor[pivots - 1] = np.tril(lower)[:, :rank]
    return factor


def _roots_of_gram(product: np.ndarray) -> tuple[np.ndarray, float]:
    """Singular values, by the eigenvalues of M' M, and how far off their sum may be.

    Five times as fast as the decomposition of M, but an eigenvalue is uncertain by the rounding of
    the largest one, which costs small roots half of their digits.
    """
    if not product.any():
        return np.zeros(0), 0.0
    eigenvalues = np.linalg.eigvalsh(product.T @ product)
    rounding = 10 * np.finfo(np.float64).eps * eigenvalues[-1]
    uncertainty = (rounding / np.sqrt(np.maximum(eigenvalues, rounding))).sum()
    return np.sqrt(np.maximum(eigenvalues, 0)), float(uncertainty)


def kid(
    real: Features,
    fake: OtherFeatures,
    *,
    seed: int = 0,
    num_subsets: int = 100,
    subset_size: int = 1000,
) -> tuple[float, float]:
    """Kernel Inception distance: the mean over random subsets, and their standard deviation.

    Of the unbiased squared maximum mean discrepancy with the kernel (x.y / num_features + 1)^3
    (Binkowski et al. 2018, 4); in expectation 0 for equal distributions and free of the number of
    examples. The subsets follow from the seed alone.

    Args:
      real: float [num_real, feature].
      fake: float [num_fake, feature].
      seed: of the subsets; not negative.
      num_subsets: how many are drawn of each set.
      subset_size: rows of each, all different; at least 2.

    Raises:
      UserError: if either set is smaller than a subset or holds what is not finite, or if the two
        have unlike features.
    """
    check_features("kid", subset_size, real=real, fake=fake)
    sets = [np.asarray(features, np.float32) for features in (real, fake)]
    estimates = []
    for number in range(num_subsets):
        x, y = (
            features[_subset([seed, 2 * number + which], len(features), subset_size)]
            for which, features in enumerate(sets)
        )
        # The device sums rows in float32, the host these sums in float64.
        within, across = (np.asarray(sums, np.float64).sum() for sums in _kernel_sums(x, y))
        estimate = within / (subset_size * (subset_size - 1)) - 2 * across / subset_size**2
        estimates.append(estimate)
    return float(np.mean(estimates)), float(np.std(estimates))


def _subset(key: list[int], count: int, size: int) -> np.ndarray:
    # The raw stream of Philox is fixed by its specification, that of `Generator.choice` is not.
    return np.argsort(np.random.Philox(key=key).random_raw(count), kind="stable")[:size]


@jax.jit
def _kernel_sums(x, y):
    """Row sums of the kernel: between different rows of one set, of both; and between the sets."""

    def kernel(a, b):
        products = jnp.matmul(a, b.T, precision=jax.lax.Precision.HIGHEST)
        return (products / a.shape[1] + 1) ** 3

    within = sum(jnp.where(jnp.eye(len(a), dtype=bool), 0, kernel(a, a)).sum(1) for a in (x, y))
    return within, kernel(x, y).sum(axis=1)


def check_features(metric: str, at_least: int, **sets: Array | np.ndarray) -> None:
    """Refuses sets of features that `metric` can not compare, in the words of its user.

    Args:
      metric: its name.
      at_least: the rows that each set needs.
      **sets: features [num, feature] by the name of the set.

    Raises:
      UserError: if a set has fewer rows or holds what is not finite, or if rows of the sets differ
        in length.
    """
    widths = {name: features.shape[1] for name, features in sets.items()}
    if len(set(widths.values())) > 1:
        words = ", ".join(f"{width} numbers for each of {name}" for name, width in widths.items())
        raise UserError(f"{metric}: unlike features: {words}")
    for name, features in sets.items():
        if len(features) < at_least:
            raise UserError(
                f"{metric}: {name} has {len(features)} rows of features; at least {at_least} needed"
            )
        finite = np.isfinite(np.asarray(features)).all(axis=1)
        if not finite.all():
            raise UserError(f"{metric}: row {finite.argmin()} of {name} features is not finite")
