"""The mean of a number per example, over any number of batches."""

import dataclasses

import numpy as np
from jaxtyping import Array, Shaped

#: Of any type: numbers and truth values alike.
Values = Shaped[Array | np.ndarray, " batch"]


@dataclasses.dataclass(frozen=True)
class MaskedMean:
    """A sum and a count, in float64 on the host; they are divided once, at the end.

    Attributes:
      total: the sum of the values that count.
      count: how many they are.
    """

    total: float = 0.0
    count: int = 0

    def add(self, values: Values, mask: Values | None = None) -> "MaskedMean":
        """With the values [batch] of one more batch; those whose mask is 0 may hold NaN."""
        values = np.asarray(values, np.float64)
        real = np.ones(values.shape, bool) if mask is None else np.asarray(mask) != 0
        total = np.where(real, values, 0.0).sum()
        return self.merge(MaskedMean(float(total), int(real.sum())))

    def merge(self, other: "MaskedMean") -> "MaskedMean":
        """With all that `other` has seen."""
        return MaskedMean(self.total + other.total, self.count + other.count)

    def result(self) -> float:
        """The mean; NaN if nothing counted."""
        return self.total / self.count if self.count else float("nan")
