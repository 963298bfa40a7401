"""What a classifier says about generated images."""

import numpy as np
from jaxtyping import Array, Int

PredictedLabels = Int[Array | np.ndarray, " num"]


def label_accuracy(predicted: PredictedLabels, asked: PredictedLabels) -> float:
    """The share, in [0, 1], of images in which the classifier sees the label that was asked for."""
    return float(np.mean(np.asarray(predicted) == np.asarray(asked)))


def histogram_entropy(predicted: PredictedLabels, num_classes: int) -> float:
    """Entropy, in nats, of the shares of the predicted classes.

    From 0 (always the same class: a generator that has dropped modes) to log(num_classes).

    Raises:
      ValueError: if a label is not in [0, num_classes).
    """
    counts = np.bincount(np.asarray(predicted), minlength=num_classes)
    if len(counts) > num_classes:
        raise ValueError(f"label {len(counts) - 1} is not one of {num_classes} classes")
    shares = counts[counts > 0] / counts.sum()
    return float((shares * np.log(1 / shares)).sum())
