import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import rng
from genjax.losses.penalties import PENALTIES, dragan, gradient_penalty, r1

BATCH, SHAPE = 8, (4, 4, 3)
KEY = rng.key(0, "penalty")
POSITIONS = jnp.arange(BATCH)
REAL = jax.random.uniform(jax.random.key(1), (BATCH, *SHAPE), minval=-1)
FAKE = jax.random.uniform(jax.random.key(2), (BATCH, *SHAPE), minval=-1)
WEIGHTS = jax.random.normal(jax.random.key(3), SHAPE)


@functools.cache
def compiled(penalty, critic):
    return jax.jit(functools.partial(penalty, critic))


def penalise(penalty, critic, real, fake):
    return compiled(penalty, critic)(real, fake, KEY, POSITIONS)


def linear(images):
    return (WEIGHTS * images).sum(axis=(1, 2, 3))


def quadratic(images):
    return 0.5 * jnp.square(images).sum(axis=(1, 2, 3))


def curved(images):
    return (WEIGHTS * jnp.sin(3 * images)).sum(axis=(1, 2, 3))


@pytest.mark.parametrize("penalty", [gradient_penalty, dragan])
def test_linear_critic_has_the_same_slope_everywhere(penalty):
    # The gradient of w.x is w, wherever the random point falls.
    expected = (np.linalg.norm(WEIGHTS) - 1) ** 2
    np.testing.assert_allclose(
        penalise(penalty, linear, REAL, FAKE), np.full(BATCH, expected), rtol=1e-5
    )


def test_r1_of_a_linear_critic_is_half_its_squared_weights():
    expected = np.full(BATCH, 0.5 * np.square(WEIGHTS).sum())
    np.testing.assert_allclose(penalise(r1, linear, REAL, FAKE), expected, rtol=1e-5)


def test_r1_of_a_quadratic_critic_is_half_the_squared_distance():
    # The gradient of |x|^2 / 2 is x itself; and the fakes do not matter.
    expected = 0.5 * np.square(REAL).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(penalise(r1, quadratic, REAL, FAKE), expected, rtol=1e-5)


def slopes_at(penalty, real, fake):
    """Each example's gradient norm over its image's, for a critic whose gradient is the image."""
    return (jnp.sqrt(penalise(penalty, quadratic, real, fake)) + 1) / np.sqrt(REAL[0].size)


def test_gradient_penalty_looks_between_real_and_fake():
    slopes = slopes_at(gradient_penalty, jnp.full_like(REAL, 2.0), jnp.full_like(REAL, 4.0))
    assert ((slopes >= 2) & (slopes < 4)).all()
    assert len(np.unique(slopes)) == BATCH


def test_dragan_looks_within_half_a_standard_deviation_above_the_real_images():
    # Half of the batch is 2 and half is 4, so the deviation of the batch is 1, though that of
    # every image is 0.
    real = jnp.full_like(REAL, 2.0).at[BATCH // 2 :].set(4.0)
    # Over an image's pixels the noise averages half of its 0.5, times the example's fraction.
    above = slopes_at(dragan, real, FAKE) - real[:, 0, 0, 0]
    assert ((above > 0) & (above < 0.3)).all()
    assert above.max() > 0.15
    # Images that are all the same are not moved.
    same = jnp.full_like(REAL, 2.0)
    np.testing.assert_allclose(slopes_at(dragan, same, FAKE), 2.0, rtol=1e-5)


@pytest.mark.parametrize("name", PENALTIES)
def test_gradients_are_finite_where_the_critic_is_flat(name):
    def total(scale):
        critic = lambda images: scale * linear(images)
        return PENALTIES[name](critic, REAL, FAKE, KEY, POSITIONS).mean()

    value, slope = jax.jit(jax.value_and_grad(total))(0.0)
    # ||0|| - 1 squared is 1; R1 asks for no slope at all.
    np.testing.assert_allclose(value, 0.0 if name == "r1" else 1.0)
    assert jnp.isfinite(slope)
    assert jnp.isfinite(jax.jit(jax.grad(jax.grad(total)))(0.0))


@pytest.mark.parametrize("name", ["gradient_penalty", "dragan"])
def test_gradient_in_the_weights_is_that_of_the_closed_form(name):
    def total(weights):
        critic = lambda images: (weights * images).sum(axis=(1, 2, 3))
        return PENALTIES[name](critic, REAL, FAKE, KEY, POSITIONS).mean()

    # d/dw (|w| - 1)^2 = 2 (|w| - 1) w / |w|.
    norm = np.linalg.norm(WEIGHTS)
    expected = 2 * (norm - 1) * WEIGHTS / norm
    np.testing.assert_allclose(jax.jit(jax.grad(total))(WEIGHTS), expected, rtol=1e-4)


@pytest.mark.parametrize("name", PENALTIES)
def test_two_devices_agree_with_one(name):
    penalty = PENALTIES[name]
    whole = penalise(penalty, curved, REAL, FAKE)
    split = lambda x: x.reshape(2, BATCH // 2, *x.shape[1:])
    on_shard = lambda real, fake, positions: penalty(curved, real, fake, KEY, positions, "data")
    shards = jax.jit(jax.vmap(on_shard, axis_name="data"))(
        split(REAL), split(FAKE), split(POSITIONS)
    )
    np.testing.assert_allclose(shards.reshape(BATCH), whole, rtol=2e-5)
