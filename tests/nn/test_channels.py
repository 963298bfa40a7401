"""Sums over all but the channels: by hand, and as one another's gradients."""

import jax
import jax.numpy as jnp
import numpy as np

from genjax.nn.channels import channel_mean, spread


def test_mean_is_over_all_axes_but_the_last():
    x = jnp.arange(24.0).reshape(2, 3, 2, 2)
    np.testing.assert_allclose(channel_mean(x), [11, 12])  # 0, 2, ... 22 and 1, 3, ... 23


def test_spread_is_the_same_at_every_place_and_its_gradient_a_sum():
    values, shape = jnp.array([1.0, -2.0]), (2, 3, 2, 2)
    np.testing.assert_array_equal(spread(values, shape), np.broadcast_to(values, shape))
    weights = jnp.arange(24.0).reshape(shape)
    gradient = jax.grad(lambda values: (weights * spread(values, shape)).sum())(values)
    np.testing.assert_allclose(gradient, weights.sum((0, 1, 2)))


def test_gradient_of_the_mean_is_a_share_for_each_place():
    x = jnp.ones((2, 3, 2, 2))
    gradient = jax.grad(lambda x: (channel_mean(x) * jnp.array([12.0, 24.0])).sum())(x)
    np.testing.assert_allclose(gradient, np.broadcast_to([1.0, 2.0], x.shape), rtol=1e-6)
