"""Rows become rankings: means over seeds, and variance explained, by hand."""

import math

import pytest

from genjax.sweep.results import importances, settings
from genjax.sweep.space import Sweep


def row(value: float, state: str = "finished", **parameters) -> dict:
    return {"state": state, "parameters": parameters, "metrics": {"elbo": value}}


def sweep(mode: str) -> Sweep:
    return Sweep({}, 1, "elbo", mode, "random", "none", {})


def test_settings_are_ranked_by_their_mean_over_seeds():
    rows = [row(1, a=1, seed=0), row(5, a=1, seed=1), row(2, a=2, seed=0), row(3, a=2, seed=1)]
    assert settings(rows, sweep("max")) == [({"a": 1}, [1, 5]), ({"a": 2}, [2, 3])]
    assert settings(rows, sweep("min"))[0] == ({"a": 2}, [2, 3])


def test_what_did_not_finish_or_is_no_number_is_left_out():
    rows = [row(9, "failed", a=1), row(9, "stopped", a=2), row(math.nan, a=3), row(1, a=4)]
    assert settings(rows, sweep("max")) == [({"a": 4}, [1])]


def test_importance_is_the_adjusted_part_of_the_variance():
    # Values 0, 1, 10, 11: between the means of a lie 100 of 101; adjusted 1 - 1/101 * 3/2.
    rows = [row(0, a=1, b=0), row(1, a=1, b=1), row(10, a=2, b=0), row(11, a=2, b=1)]
    found = importances(rows, "elbo")
    assert found["a"] == pytest.approx(1 - 1.5 / 101)
    assert found["b"] == 0  # 1 - 100/101 * 3/2 is below 0


def test_a_setting_that_is_there_twice_is_no_second_seed():
    rows = [row(1, a=1), row(1, a=1), row(3, a=1, seed=1), row(2, a=2, seed=0), row(2, a=2, seed=0)]
    found = {str(parameters): values for parameters, values in settings(rows, sweep("max"))}
    assert found == {"{'a': 1}": [1, 3], "{'a': 2}": [2]}


def test_a_trial_without_a_number_says_nothing_of_the_others():
    rows = [row(0, a=1), row(1, a=1), row(10, a=2), row(11, a=2)]
    assert importances([row(math.nan, a=3), *rows], "elbo") == importances(rows, "elbo")
    assert importances([row(math.nan, a=3)], "elbo") == {}


def test_of_drawn_numbers_quarters_are_compared():
    # Eight values of a, in quarters of two; the metric is the quarter.
    rows = [row(a // 2, a=a) for a in range(8)]
    assert importances(rows, "elbo")["a"] == 1.0


def test_lists_are_values_too():
    rows = [row(0, a=[8]), row(0, a=[8]), row(1, a=[16, 8]), row(1, a=[16, 8])]
    assert importances(rows, "elbo")["a"] == 1.0


def test_with_a_value_for_each_trial_nothing_can_be_said():
    assert math.isnan(importances([row(1, a="x"), row(2, a="y")], "elbo")["a"])
