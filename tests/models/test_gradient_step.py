"""What all models' updates have in common: what they say of gradients."""

import functools

import jax
import jax.numpy as jnp
import optax
import pytest

from genjax.models.base import gradient_step
from genjax.nn.layers import AXIS


def test_an_update_tells_the_gradients_norm_and_the_units_that_have_none():
    # The gradient of a linear loss is its coefficients: a norm of sqrt(9 + 16 + 144) = 13, and the
    # second of the kernel's two units has none. A bias is no unit.
    slope = {"kernel": jnp.array([[3.0, 0.0], [4.0, 0.0]]), "bias": jnp.array([12.0, 0.0])}
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}

    def loss_fn(params, stats, batch):
        loss = sum(jnp.vdot(params[name], slope[name]) for name in slope)
        return loss * batch["image"].mean(), (stats, {"loss": loss}, {})

    optimizer = optax.sgd(1.0)

    def update(batch, accumulate):
        state = optimizer.init(params)
        return gradient_step(loss_fn, optimizer, params, state, {}, batch, accumulate, "d_")

    for accumulate in (1, 2):
        alone = jax.vmap(functools.partial(update, accumulate=accumulate), axis_name=AXIS)
        found = alone({"image": jnp.ones((1, 4, 1))})
        moved, _, (_, metrics, _) = jax.tree.map(lambda leaf: leaf[0], found)
        assert set(metrics) == {"loss", "d_gradient_norm", "d_dead_units"}
        assert metrics["d_gradient_norm"] == pytest.approx(13)
        assert metrics["d_dead_units"] == 0.5
        assert moved["bias"].tolist() == [-11.0, 1.0]
