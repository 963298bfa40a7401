"""One update of each optimizer, worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
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


def test_normalized_adam_sees_gradients_of_length_one():
    """Each parameter by itself; by hand with b1 = 0 and b2 = 0.75, from gradients (3, 4) and 100.

    Of length one they are (0.6, 0.8) and 1 at each step; so the mean squares, corrected for their
    start, are their squares, and an update is the rate against the sign. Then the first parameter's
    gradient turns to (0, 5), or (0, 1), and the mean square of its second value is
    (0.64 * 0.75 + 1) / 1.75.
    """
    optimizer = OPTIMIZERS["normalized_adam"](constant(RATE, 0), b1=0.0, b2=0.75)
    gradients = {"a": jnp.array([3.0, 4.0]), "b": jnp.array(100.0)}
    first, state = optimizer.update(gradients, optimizer.init(gradients))
    np.testing.assert_allclose(first["a"], [-RATE, -RATE], rtol=1e-4)
    np.testing.assert_allclose(first["b"], -RATE, rtol=1e-4)
    second, _ = optimizer.update({**gradients, "a": jnp.array([0.0, 5.0])}, state)
    expected = [0.0, -RATE / np.sqrt((0.64 * 0.75 + 1) / 1.75)]
    np.testing.assert_allclose(second["a"], expected, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(second["b"], -RATE, rtol=1e-4)


def test_sgd_with_momentum_adds_up_gradients():
    """1, then 1 + 0.5, then 1 + 0.75."""
    expected = [-RATE, -1.5 * RATE, -1.75 * RATE]
    assert updates("sgd", [1.0] * 3, 0.5, 0.9) == pytest.approx(expected)


def test_boxed_rmsprop_ends_at_the_walls():
    """Without memory a step is the rate against the sign: from 0 to -0.1, beyond the wall at -0.03.

    What starts outside is set to the wall at once, whichever way its gradient points.
    """
    optimizer = OPTIMIZERS["boxed_rmsprop"](constant(RATE, 0), b1=0.0, b2=0.0, weight_clip=0.03)
    params = {"kernel": jnp.array([0.0, -0.02, 1.0]), "bias": jnp.array(-1.0)}
    gradients = {"kernel": jnp.array([5.0, -5.0, 5.0]), "bias": jnp.array(5.0)}
    update, _ = optimizer.update(gradients, optimizer.init(params), params)
    moved = optax.apply_updates(params, update)
    np.testing.assert_allclose(moved["kernel"], [-0.03, 0.03, 0.03], atol=1e-7)
    np.testing.assert_allclose(moved["bias"], -0.03, atol=1e-7)


def test_boxed_rmsprop_is_rmsprop_within_the_walls():
    params, gradients = jnp.array([0.0, 0.5]), jnp.array([2.0, -3.0])
    states = {}
    for name, walls in (("rmsprop", {}), ("boxed_rmsprop", {"weight_clip": 10.0})):
        optimizer = OPTIMIZERS[name](constant(RATE, 0), b1=0.5, b2=0.9, **walls)
        states[name], _ = optimizer.update(gradients, optimizer.init(params), params)
    np.testing.assert_allclose(states["boxed_rmsprop"], states["rmsprop"], atol=1e-6)


def test_rmsprop_divides_by_the_root_of_the_mean_square():
    """Mean squares of 1 at decay 0.75 from 0: 1/4, then 3/16 + 1/4 = 7/16."""
    expected = [-RATE * 2, -RATE * (16 / 7) ** 0.5]
    assert updates("rmsprop", [1.0] * 2, 0.0, 0.75) == pytest.approx(expected, rel=1e-5)


def test_muon_moves_a_kernel_by_a_matrix_without_long_sides():
    """By 0.2 sqrt(max(in, out)) U V' of the gradient U S V', to Newton-Schulz's accuracy.

    A kernel of 3 x 3 pixels and 2 channels to 5 features is a matrix of 18 x 5; biases are Adam's.
    """
    optimizer = OPTIMIZERS["muon"](constant(RATE, 0), b1=0.0, b2=0.0)
    draw = lambda seed, *shape: jax.random.normal(jax.random.key(seed), shape)
    gradient = {
        "conv": {"kernel": draw(0, 3, 3, 2, 5)},
        "dense": {"kernel": draw(1, 4, 6), "bias": draw(2, 7)},
        "prior": {"means": draw(3, 5, 2)},
    }
    update, _ = optimizer.update(gradient, optimizer.init(gradient), gradient)
    for layer, name in (("dense", "bias"), ("prior", "means")):
        by_adam = -RATE * jnp.sign(gradient[layer][name])
        np.testing.assert_allclose(update[layer][name], by_adam, rtol=1e-4)
    for layer, (rows, columns) in {"conv": (18, 5), "dense": (4, 6)}.items():
        kernel, moved = (
            tree[layer]["kernel"].reshape(rows, columns) for tree in (gradient, update)
        )
        left, _, right = jnp.linalg.svd(kernel, full_matrices=False)
        moved = moved / (-RATE * 0.2 * max(rows, columns) ** 0.5)
        turned = left.T @ moved @ right.T  # diagonal, as singular vectors stay
        np.testing.assert_allclose(turned, np.diag(np.diag(turned)), atol=1e-4)
        assert (np.abs(np.diag(turned) - 0.95) < 0.3).all()


def test_clipping_keeps_the_direction_and_leaves_small_gradients_alone():
    """(3, 4) is 5 long; at most 1 it is (0.6, 0.8). Plain descent shows it."""
    for norm, expected in ((1.0, [0.6, 0.8]), (10.0, [3.0, 4.0]), (0.0, [3.0, 4.0])):
        optimizer = clipped(OPTIMIZERS["sgd"](constant(1.0, 0), b1=0.0, b2=0.0), norm)
        gradient = jnp.array([3.0, 4.0])
        update, _ = optimizer.update(gradient, optimizer.init(gradient))
        assert (-update).tolist() == pytest.approx(expected)
