import numpy as np
import pytest
import scipy.special

from genjax.errors import UserError
from genjax.metrics.classification import (
    ClassEntropies,
    InceptionScores,
    accuracy_per_class,
    histogram_entropy,
    label_accuracy,
)
from genjax.rng import shuffled

#: Float32 as classifiers give them, some nearly sure of a class.
LOGITS = np.random.default_rng(0).normal(0, 4, (103, 7)).astype(np.float32)


def inception_score(logits):
    """exp of the mean divergence of p(y|x) from p(y), written out in float64."""
    probabilities = scipy.special.softmax(logits.astype(np.float64), axis=1)
    marginal = probabilities.mean(axis=0)
    return np.exp(scipy.special.rel_entr(probabilities, marginal).sum(axis=1).mean())


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
    with pytest.raises(ValueError, match=r"label|negative"):
        accuracy_per_class(np.array([0, 0]), np.array([0, label]), 10)


def test_accuracy_of_each_class_that_was_asked_for():
    accuracy = accuracy_per_class(np.array([0, 1, 1, 3, 3]), np.array([0, 0, 1, 3, 3]), 5)
    np.testing.assert_array_equal(accuracy, [0.5, 1.0, np.nan, 1.0, np.nan])


def test_inception_score_of_sure_and_balanced_classes_is_their_number():
    logits = 1000.0 * np.eye(6).repeat(4, axis=0)
    np.testing.assert_allclose(ClassEntropies.empty(6).add(logits).inception_score(), 6, rtol=1e-12)


def test_inception_score_of_one_class_or_of_no_idea_is_one():
    for logits in (1000.0 * np.eye(6)[[2, 2, 2]], np.zeros((3, 6))):
        score = ClassEntropies.empty(6).add(logits).inception_score()
        np.testing.assert_allclose(score, 1, rtol=1e-12)


def test_inception_score_of_two_classes_by_hand():
    # p(y|x) = (3/4, 1/4) and (1/4, 3/4): log 2 minus the entropy of (3/4, 1/4).
    logits = np.log([[3.0, 1.0], [1.0, 3.0]]) + 5.0
    expected = 2 * 0.75**0.75 * 0.25**0.25
    score = ClassEntropies.empty(2).add(logits).inception_score()
    np.testing.assert_allclose(score, expected, rtol=1e-12)


@pytest.mark.parametrize("batch_size", [1, 10, 103])
def test_inception_score_does_not_depend_on_the_batches(batch_size):
    entropies, backward = ClassEntropies.empty(7), ClassEntropies.empty(7)
    for start in range(0, 103, batch_size):
        batch = LOGITS[start : start + batch_size]
        entropies = entropies.add(batch)
        backward = ClassEntropies.empty(7).add(batch).merge(backward)
    for seen in (entropies, backward):
        np.testing.assert_allclose(seen.inception_score(), inception_score(LOGITS), rtol=1e-12)


def test_inception_score_leaves_out_padding():
    padded, mask = np.concatenate([LOGITS, np.full((5, 7), np.nan, np.float32)]), np.arange(108)
    plain = ClassEntropies.empty(7).add(LOGITS)
    masked = ClassEntropies.empty(7).add(padded, mask < 103)
    assert masked.inception_score() == plain.inception_score()
    assert masked.add(padded[-2:], np.zeros(2)).count == 103
    assert np.isnan(ClassEntropies.empty(7).inception_score())


@pytest.mark.parametrize("batch_size", [1, 16, 103])
def test_inception_scores_of_splits(batch_size):
    scores = InceptionScores.empty(103, 7, num_splits=10)
    for start in range(0, 103, batch_size):
        batch = LOGITS[start : start + batch_size]
        garbage = np.full((2, 7), np.nan, np.float32)
        mask = np.arange(len(batch) + 2) >= 2
        scores = scores.add(np.concatenate([garbage, batch]), mask)
    parts = np.argsort(shuffled(103))  # who comes first, second, ... in the fixed order
    sizes = np.bincount(np.arange(103) * 10 // 103).cumsum()[:-1]
    expected = [inception_score(LOGITS[part]) for part in np.split(parts, sizes)]
    np.testing.assert_allclose(
        scores.mean_and_deviation(), (np.mean(expected), np.std(expected)), rtol=1e-10
    )
    with pytest.raises(UserError, match="more than the 103"):
        scores.add(LOGITS[:1])


def test_inception_scores_wait_for_every_sample():
    assert np.isnan(InceptionScores.empty(103, 7).add(LOGITS[:102]).mean_and_deviation()[0])


def test_inception_scores_of_sure_classes_are_their_number_though_they_come_class_by_class():
    """Of 100 of each of 10 classes, a split of 100 has 10 +- 3 of each: its score is below 10."""
    sure = 1000.0 * np.eye(10).repeat(100, axis=0)
    mean, deviation = InceptionScores.empty(1000, 10).add(sure).mean_and_deviation()
    assert 9 < mean < 10
    assert deviation < 0.5
