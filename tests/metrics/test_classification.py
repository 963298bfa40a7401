import numpy as np
import pytest

from genjax.metrics.classification import histogram_entropy, label_accuracy


def test_accuracy_is_the_share_of_hits():
    assert label_accuracy(np.array([0, 1, 2, 2]), np.array([0, 1, 1, 2])) == 0.75


def test_entropy_by_hand():
    # Shares 1/2, 1/4, 1/4 of four classes: 1.5 bits.
    np.testing.assert_allclose(histogram_entropy(np.array([3, 0, 3, 1]), 4), 1.5 * np.log(2))


def test_entropy_is_largest_when_all_classes_come_alike_and_zero_when_one_does():
    np.testing.assert_allclose(histogram_entropy(np.arange(10).repeat(3), 10), np.log(10))
    assert histogram_entropy(np.full(7, 4), 10) == 0


@pytest.mark.parametrize("label", [-1, 10])
def test_a_label_beyond_the_classes_is_refused(label):
    with pytest.raises(ValueError, match=r"label|negative"):
        histogram_entropy(np.array([0, label]), 10)
