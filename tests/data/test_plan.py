"""The plan is one permutation an epoch, cut into steps without a rest, and forgets nothing."""

import numpy as np
import pytest

from genjax.data.plan import Plan

# Steps that divide the epoch, that do not, that are longer than it, and a set of one.
SIZES = [(12, 4), (10, 4), (3, 8), (1, 5), (7, 7)]


@pytest.mark.parametrize(("num_examples", "rows"), SIZES)
def test_every_epoch_has_every_example_once(num_examples, rows):
    plan = Plan(seed=3, num_examples=num_examples, rows_per_step=rows)
    row = plan.indices(0, 6 * num_examples).ravel()  # 6 * rows whole epochs
    epochs = row.reshape(-1, num_examples)
    np.testing.assert_array_equal(
        np.sort(epochs, axis=1), np.tile(np.arange(num_examples), (len(epochs), 1))
    )


@pytest.mark.parametrize(("num_examples", "rows"), SIZES)
def test_any_step_is_where_it_would_be_in_an_unbroken_run(num_examples, rows):
    whole = Plan(7, num_examples, rows).indices(0, 40)
    assert whole.dtype == np.int32
    assert whole.shape == (40, rows)
    for start, steps in ((0, 1), (1, 3), (17, 23), (39, 1)):
        again = Plan(7, num_examples, rows).indices(start, steps)
        np.testing.assert_array_equal(again, whole[start : start + steps])


def test_the_order_does_not_depend_on_the_size_of_a_step():
    # So a run goes on with the same examples where it stood when its batch size changes.
    np.testing.assert_array_equal(
        Plan(0, 100, 6).indices(0, 50).ravel(), Plan(0, 100, 10).indices(0, 30).ravel()
    )


def test_epochs_and_seeds_have_orders_of_their_own():
    first, second = Plan(0, 1000, 1000).indices(0, 2)
    (other,) = Plan(1, 1000, 1000).indices(0)
    for a, b in ((first, second), (first, other), (second, other), (first, np.arange(1000))):
        # Two independent orders of 1000 agree in one place on average (Poisson); 10 has 1e-7.
        assert (a == b).sum() < 10
