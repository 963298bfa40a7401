"""Scores of codes whose relation to the factors is known."""

import itertools
import math

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

from genjax.metrics.disentanglement import (
    Encoded,
    completeness,
    disentanglement,
    gaps,
    importances,
    mutual_information,
    separability,
)

NUM = 4000


def amounts(seed, num=NUM) -> dict[str, np.ndarray]:
    """Two even amounts in [-1, 1], each on the middle of one of 20 bins."""
    bins = np.random.default_rng(seed).integers(0, 20, (2, num))
    return dict(zip("ab", (bins + 0.5) / 10 - 1, strict=True))


def columns(factors, *others) -> np.ndarray:
    return np.stack([*factors.values(), *others], 1)


def turned(factors) -> Encoded:
    """Two codes that are the factors after an eighth of a turn."""
    a, b = factors.values()
    return Encoded(np.stack([a + b, a - b], 1) / math.sqrt(2), factors)


FACTORS, MORE = amounts(0), amounts(1)
NOISE = np.random.default_rng(2).normal(size=(NUM, 3))


def test_a_latent_for_each_factor_is_one_in_all_scores():
    still = np.zeros(NUM)
    fit, test = (Encoded(columns(each, still), each) for each in (FACTORS, MORE))
    # The other latent tells a sample of 4,000 19^2 / (2 * 4,000 * ln 20) = 0.015 by chance.
    np.testing.assert_allclose(gaps(mutual_information(test)), 1, atol=0.02)
    np.testing.assert_allclose(gaps(separability(fit, test)), 1, atol=0.01)
    importance, informativeness = importances(fit, test)
    np.testing.assert_allclose(importance, [[1, 0], [0, 1], [0, 0]], atol=1e-3)
    np.testing.assert_allclose(informativeness, 1)
    assert disentanglement(importance) == pytest.approx(1, abs=0.01)
    assert completeness(importance) == pytest.approx(1, abs=0.01)


def test_after_an_eighth_of_a_turn_both_latents_tell_as_much():
    """Each latent is half of the variance of each factor: a squared correlation of 1/2."""
    fit, test = turned(FACTORS), turned(MORE)
    np.testing.assert_allclose(separability(fit, test), 0.5, atol=0.05)
    np.testing.assert_allclose(gaps(separability(fit, test)), 0, atol=0.05)
    np.testing.assert_allclose(gaps(mutual_information(test)), 0, atol=0.02)
    importance, _ = importances(fit, test)
    assert disentanglement(importance) < 0.05
    assert completeness(importance) < 0.05


def test_codes_of_noise_tell_nothing():
    fit, test = Encoded(NOISE, FACTORS), Encoded(NOISE[::-1].copy(), MORE)
    assert gaps(mutual_information(test)).max() < 0.01
    assert gaps(separability(fit, test)).max() < 0.01
    importance, informativeness = importances(fit, test)
    assert disentanglement(importance) < 0.01
    assert completeness(importance) < 0.01
    # One of 20 bins by chance.
    np.testing.assert_allclose(informativeness, 0.05, atol=0.015)


def test_mutual_information_is_that_of_the_counts():
    """By scikit-learn, on bins by hand; 20 of them between the smallest and the largest code."""
    classes = np.random.default_rng(3).integers(0, 3, NUM)
    factors = {"class": classes, **FACTORS}
    codes = NOISE + classes[:, None] * [2, 0.5, 0]
    found = mutual_information(Encoded(codes, factors))
    binned = {"class": classes, **{n: np.rint((FACTORS[n] + 0.95) * 10) for n in "ab"}}
    low, high = codes.min(0), codes.max(0)
    bins = np.minimum((codes - low) / (high - low) * 20, 19).astype(int)
    for latent, (column, name) in itertools.product(range(3), enumerate(factors)):
        entropy = mutual_info_score(binned[name], binned[name])
        expected = mutual_info_score(bins[:, latent], binned[name]) / entropy
        assert found[latent, column] == pytest.approx(expected, abs=1e-9)


def test_a_code_of_two_of_four_classes_tells_half_of_the_entropy():
    """Two latents with a bit each of two bits: no gap; one with both: the gap is what is left."""
    four = np.tile(np.arange(4), 100)
    bits = np.stack([four // 2, four % 2], 1).astype(float)
    factors = {"class": four}
    np.testing.assert_allclose(mutual_information(Encoded(bits, factors)), 0.5)
    both = np.stack([four.astype(float), bits[:, 0]], 1)
    assert gaps(mutual_information(Encoded(both, factors))) == pytest.approx(0.5)


def test_scale_shift_sign_and_order_of_latents_change_no_gap():
    codes = columns(FACTORS, NOISE[:, 0])
    order = [2, 0, 1]
    other = (codes * [-3, 0.1, 7] + [5, -2, 0])[:, order]
    for score in (mutual_information, lambda encoded: separability(encoded, encoded)):
        before, after = (score(Encoded(each, FACTORS)) for each in (codes, other))
        np.testing.assert_allclose(after, before[order], atol=1e-9)
        np.testing.assert_allclose(gaps(after), gaps(before), atol=1e-9)


def test_forests_do_not_see_monotone_maps_of_codes():
    codes = columns(FACTORS, NOISE[:, 0])
    before, after = (importances(*[Encoded(each, FACTORS)] * 2) for each in (codes, np.exp(codes)))
    np.testing.assert_allclose(after[0], before[0], atol=1e-6)
    np.testing.assert_allclose(after[1], before[1])


def test_a_class_is_read_by_a_threshold():
    """The sign of the first latent is the class; the second knows it three times of four."""
    classes = np.tile([0, 1], NUM // 2)
    often = np.where(np.arange(NUM) % 8 < 2, 1 - classes, classes)
    codes = np.stack([2.0 * classes - 1, 2.0 * often - 1], 1)
    encoded = Encoded(codes, {"class": classes})
    np.testing.assert_allclose(separability(encoded, encoded), [[1], [0.75]])


def test_a_latent_that_stands_still_explains_nothing():
    encoded = Encoded(np.ones((NUM, 2)), FACTORS)
    assert not separability(encoded, encoded).any()
    assert not mutual_information(encoded).any()
    assert disentanglement(np.zeros((2, 2))) == completeness(np.zeros((2, 2))) == 0


def test_disentanglement_and_completeness_are_entropies_weighted_by_use():
    """Eastwood and Williams 2018, section 2, by hand.

    Rows (1, 1) and (0, 2): entropies of 1 and 0 bit, both used by half. Columns (1, 0) and (1, 2):
    0 and log2 3 - 2/3 bits, used by 1/4 and 3/4.
    """
    importance = np.array([[1.0, 1.0], [0.0, 2.0]])
    assert disentanglement(importance) == pytest.approx(0.5)
    assert completeness(importance) == pytest.approx(1 - 0.75 * (math.log2(3) - 2 / 3))


def test_disentanglement_of_many_latents_for_one_factor_is_whole_and_completeness_none():
    importance = np.kron(np.eye(2), np.ones((2, 1)) / 2)
    assert disentanglement(importance) == pytest.approx(1)
    assert completeness(importance) == pytest.approx(0.5)  # a bit of the two of four latents
    assert disentanglement(np.ones((3, 4))) == pytest.approx(0, abs=1e-9)
