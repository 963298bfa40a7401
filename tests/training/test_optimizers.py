"""One update of each optimizer, worked out by hand."""

import jax.numpy as jnp
import pytest

from genjax.schedule import constant
from genjax.training.optimizers import OPTIMIZERS, clipped

RATE = 0.1


def updates(name: str, gradients: list[float], b1: float, b2: float) -> list[float]:
    optimizer = OPTIMIZERS[name](constant(RATE, 0), b1=b1, b2=b2)
    state, found = optimizer.init(jnp.zeros(())), []
    for gradient in gradients:
        update, state = optimizer.update(jnp.float32(gradient), state)
        found.append(float(update))
    return found


def test_adam_divides_by_the_size_of_the_gradient():
    """Without memory (b1 = b2 = 0) each update is the rate against the gradient's sign."""
    assert updates("adam", [3.0, -0.5], 0.0, 0.0) == pytest.approx([-RATE, RATE], rel=1e-5)


def test_adam_corrects_the_bias_of_its_first_means():
    """Of a constant gradient g both means are g and g^2 from the first step on."""
    assert updates("adam", [2.0] * 3, 0.9, 0.999) == pytest.approx([-RATE] * 3, rel=1e-4)


def test_sgd_with_momentum_adds_up_gradients():
    """1, then 1 + 0.5, then 1 + 0.75."""
    expected = [-RATE, -1.5 * RATE, -1.75 * RATE]
    assert updates("sgd", [1.0] * 3, 0.5, 0.9) == pytest.approx(expected)


def test_rmsprop_divides_by_the_root_of_the_mean_square():
    """Mean squares of 1 at decay 0.75 from 0: 1/4, then 3/16 + 1/4 = 7/16."""
    expected = [-RATE * 2, -RATE * (16 / 7) ** 0.5]
    assert updates("rmsprop", [1.0] * 2, 0.0, 0.75) == pytest.approx(expected, rel=1e-5)


def test_clipping_keeps_the_direction_and_leaves_small_gradients_alone():
    """(3, 4) is 5 long; at most 1 it is (0.6, 0.8). Plain descent shows it."""
    for norm, expected in ((1.0, [0.6, 0.8]), (10.0, [3.0, 4.0]), (0.0, [3.0, 4.0])):
        optimizer = clipped(OPTIMIZERS["sgd"](constant(1.0, 0), b1=0.0, b2=0.0), norm)
        gradient = jnp.array([3.0, 4.0])
        update, _ = optimizer.update(gradient, optimizer.init(gradient))
        assert (-update).tolist() == pytest.approx(expected)
