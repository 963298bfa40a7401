"""What a classifier says about generated images."""

import dataclasses

import numpy as np
from jaxtyping import Array, Float, Float64, Int, Shaped

from genjax.errors import UserError
from genjax.rng import shuffled

PredictedLabels = Int[Array | np.ndarray, " num"]
Logits = Float[Array | np.ndarray, "batch class"]
Mask = Shaped[Array | np.ndarray, " batch"]


def label_accuracy(predicted: PredictedLabels, asked: PredictedLabels) -> float:
    """The share, in [0, 1], of images in which the classifier sees the label that was asked for."""
    return float(np.mean(np.asarray(predicted) == np.asarray(asked)))


def accuracy_per_class(
    predicted: PredictedLabels, asked: PredictedLabels, num_classes: int
) -> Float64[np.ndarray, " {num_classes}"]:
    """`label_accuracy` of the images of each class that was asked for; NaN where none was.

    Raises:
      ValueError: if a label that was asked for is not in [0, num_classes).
    """
    predicted, asked = np.asarray(predicted), np.asarray(asked)
    counts = _counts(asked, num_classes)
    hits = _counts(asked[predicted == asked], num_classes)
    return np.where(counts > 0, hits / np.maximum(counts, 1), np.nan)


def histogram_entropy(predicted: PredictedLabels, num_classes: int) -> float:
    """Entropy, in nats, of the shares of the predicted classes.

    From 0 (always the same class: a generator that has dropped modes) to log(num_classes).

    Raises:
      ValueError: if a label is not in [0, num_classes).
    """
    counts = _counts(np.asarray(predicted), num_classes)
    shares = counts[counts > 0] / counts.sum()
    return float((shares * np.log(1 / shares)).sum())


def _counts(labels: np.ndarray, num_classes: int) -> np.ndarray:
    counts = np.bincount(labels, minlength=num_classes)
    if len(counts) > num_classes:
        raise ValueError(f"label {len(counts) - 1} is not one of {num_classes} classes")
    return counts


@dataclasses.dataclass(frozen=True)
class ClassEntropies:
    """How sure a classifier is of each image and how many classes it sees, in float64 on the host.

    Attributes:
      count: the number of images seen.
      shares: the sum over them of the class probabilities p(y|x).
      entropy: the sum over them of the entropy of p(y|x), in nats.
    """

    count: int
    shares: Float64[np.ndarray, " class"]
    entropy: float

    @staticmethod
    def empty(num_classes: int) -> "ClassEntropies":
        """Of no images yet."""
        return ClassEntropies(0, np.zeros(num_classes), 0.0)

    def add(self, logits: Logits, mask: Mask | None = None) -> "ClassEntropies":
        """With one more batch of images; those whose mask is 0 do not count and may hold NaN."""
        logits = np.asarray(logits, np.float64)
        if mask is not None:
            logits = logits[np.asarray(mask) != 0]
        logits = logits - logits.max(axis=1, keepdims=True)
        exponentials = np.exp(logits)
        totals = exponentials.sum(axis=1, keepdims=True)
        probabilities = exponentials / totals
        # -log p is log total - logit; 0 * -inf does not come up where a logit is very low.
        entropy = np.log(totals).sum() - (probabilities * logits).sum()
        return self.merge(ClassEntropies(len(logits), probabilities.sum(axis=0), float(entropy)))

    def merge(self, other: "ClassEntropies") -> "ClassEntropies":
        """With all that `other` has seen."""
        return ClassEntropies(
            self.count + other.count, self.shares + other.shares, self.entropy + other.entropy
        )

    def inception_score(self) -> float:
        """exp(H(y) - H(y|x)), from 1 to the number of classes (Salimans et al. 2016, 4).

        High where each image is surely of one class and all classes come alike. NaN of no images.
        """
        if not self.count:
            return float("nan")
        shares = self.shares[self.shares > 0] / self.count
        return float(np.exp(-(shares * np.log(shares)).sum() - self.entropy / self.count))


@dataclasses.dataclass(frozen=True)
class InceptionScores:
    """The Inception score of each of several equal parts of a known number of samples.

    Of n samples in s splits, the one that comes as number i is in split p[i] * s // n, with p the
    fixed order of `genjax.rng.shuffled`: samples may come sorted by their class.

    Attributes:
      num_samples: how many there will be.
      splits: what was seen of each part.
    """

    num_samples: int
    splits: tuple[ClassEntropies, ...]

    @staticmethod
    def empty(num_samples: int, num_classes: int, num_splits: int = 10) -> "InceptionScores":
        """Of no samples yet."""
        return InceptionScores(num_samples, (ClassEntropies.empty(num_classes),) * num_splits)

    def add(self, logits: Logits, mask: Mask | None = None) -> "InceptionScores":
        """With the next batch of samples; those whose mask is 0 have no number and may hold NaN.

        Raises:
          UserError: if they are more than `num_samples` in all.
        """
        real = np.ones(len(logits), bool) if mask is None else np.asarray(mask) != 0
        numbers = sum(split.count for split in self.splits) + np.cumsum(real) - 1
        if len(numbers) and numbers[-1] >= self.num_samples:
            raise UserError(f"inception score: more than the {self.num_samples} samples announced")
        places = shuffled(self.num_samples)[numbers.clip(0)]  # of what is masked, any
        here = places * len(self.splits) // self.num_samples
        logits = np.asarray(logits)
        splits = tuple(
            split.add(logits, real & (here == which)) if (here == which).any() else split
            for which, split in enumerate(self.splits)
        )
        return dataclasses.replace(self, splits=splits)

    def mean_and_deviation(self) -> tuple[float, float]:
        """Mean and standard deviation of the splits' scores; NaN until all samples have come."""
        if sum(split.count for split in self.splits) < self.num_samples:
            return float("nan"), float("nan")
        scores = [split.inception_score() for split in self.splits]
        return float(np.mean(scores)), float(np.std(scores))
