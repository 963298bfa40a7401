"""How near one set of features is to another, from the mean and covariance of each."""

import dataclasses

import numpy as np
from jaxtyping import Array, Float, Float64, Shaped

from genjax.errors import UserError

Features = Float[Array | np.ndarray, "batch feature"]
Mask = Shaped[Array | np.ndarray, " batch"]
Covariance = Float64[np.ndarray, "feature feature"]


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
        return Moments(len(features), mean, (features - mean).T @ (features - mean))

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
    # With A = F F' and B = G G', the eigenvalues of A B are those of (F' G)(F' G)', so their roots
    # are the singular values of F' G. On covariances of low rank the general matrix square root
    # turns complex, and roots of eigenvalues keep half of the digits; singular values keep all.
    trace_of_root = np.linalg.norm(_factor(a.covariance).T @ _factor(b.covariance), "nuc")
    traces = a.variance.sum() + b.variance.sum() - 2 * trace_of_root
    # Rounding may leave equal distributions a little below 0.
    return max(0.0, float(np.square(a.mean - b.mean).sum() + traces))


def _factor(covariance: Covariance) -> Covariance:
    """F with F F' = covariance; eigenvalues that rounding made negative count as 0."""
    eigenvalues, vectors = np.linalg.eigh(covariance)
    return vectors * np.sqrt(np.clip(eigenvalues, 0, None))
