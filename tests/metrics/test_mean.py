import jax.numpy as jnp
import numpy as np
import pytest

from genjax.metrics.mean import MaskedMean


def test_padding_may_hold_nan():
    mean = MaskedMean().add(jnp.array([1.0, jnp.nan, 3.0, jnp.inf]), jnp.array([1, 0, 1, 0]))
    assert mean.result() == 2.0
    assert mean.count == 2


def test_a_ragged_last_batch_weighs_as_much_as_it_holds():
    # The mean of the batch means would be (2 + 10) / 2.
    mean = MaskedMean().add(np.array([1.0, 2.0, 3.0])).add(np.array([10.0]))
    assert mean.result() == 16 / 4


def test_merging_is_adding():
    values, mask = np.arange(6.0), np.array([1, 1, 0, 1, 0, 1], bool)
    left, right = (MaskedMean().add(values[s], mask[s]) for s in (np.s_[:2], np.s_[2:]))
    assert left.merge(right) == right.merge(left) == MaskedMean().add(values, mask)
    assert left.merge(MaskedMean()) == left


def test_adds_in_double_precision():
    # 2^24 + 1 is no float32.
    mean = MaskedMean().add(np.array([2.0**24], np.float32)).add(np.array([1.0], np.float32))
    assert mean.total == 2**24 + 1


def test_truth_values_give_a_share():
    assert MaskedMean().add(np.array([True, False, True, True])).result() == 0.75


def test_nothing_has_no_mean():
    assert np.isnan(MaskedMean().add(np.ones(2), np.zeros(2)).result())


def test_a_nan_that_counts_is_not_hidden():
    assert np.isnan(MaskedMean().add(np.array([1.0, np.nan])).result())


def test_is_frozen():
    with pytest.raises(AttributeError):
        MaskedMean().total = 1.0
