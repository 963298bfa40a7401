import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.losses.divergences import free_bits, gaussian_kl


def kl_of(mean, log_var):
    return gaussian_kl(jnp.array([[mean]]), jnp.array([[log_var]]))[0, 0]


@pytest.mark.parametrize(("mean", "log_var"), [(0.7, -1.3), (-2.0, 0.4), (0.0, 1.0), (1.5, 0.0)])
def test_is_the_integral_of_q_log_q_over_p(mean, log_var):
    x = np.linspace(-40, 40, 400_001)
    log_q = -0.5 * ((x - mean) ** 2 / np.exp(log_var) + log_var + np.log(2 * np.pi))
    log_p = -0.5 * (x**2 + np.log(2 * np.pi))
    expected = np.trapezoid(np.exp(log_q) * (log_q - log_p), x)
    np.testing.assert_allclose(kl_of(mean, log_var), expected, rtol=1e-5)


def test_is_zero_only_at_the_prior_and_never_negative():
    assert kl_of(0.0, 0.0) == 0
    small_to_large = np.logspace(-12, 1.5, 200_000, dtype=np.float32)
    log_var = jnp.concatenate([small_to_large, -small_to_large])[None]
    assert (jax.jit(gaussian_kl)(jnp.zeros_like(log_var), log_var) >= 0).all()
    assert (gaussian_kl(1e-3 * jnp.ones_like(log_var), log_var) > 0).all()


def test_mean_and_variance_enter_with_the_right_sign():
    # A mean away from 0 costs mu^2 / 2; a posterior narrower than the prior, -log(var) / 2.
    np.testing.assert_allclose(kl_of(3.0, 0.0), 4.5, rtol=1e-6)
    np.testing.assert_allclose(kl_of(0.0, -20.0), 0.5 * (20 - 1), rtol=1e-6)


def test_keeps_its_digits_near_the_prior():
    # exp(v) - 1 - v = v^2 / 2 + ...; without expm1, float32 leaves nothing of it at v = 1e-4.
    np.testing.assert_allclose(kl_of(0.0, 1e-3), 0.25e-6, rtol=1e-3)


def test_gradient_is_zero_at_the_prior_and_curvature_one_and_a_half():
    at_zero = jnp.zeros(())
    np.testing.assert_array_equal(jax.grad(kl_of, (0, 1))(at_zero, at_zero), 0.0)
    np.testing.assert_allclose(jax.grad(jax.grad(kl_of, 0), 0)(at_zero, at_zero), 1.0)
    np.testing.assert_allclose(jax.grad(jax.grad(kl_of, 1), 1)(at_zero, at_zero), 0.5)


def test_free_bits_charges_at_least_the_allowance_for_each_dimension():
    kl = jnp.array([0.0, 0.1, 0.5, 2.0])
    np.testing.assert_allclose(free_bits(kl, 0.25), 0.25 + 0.25 + 0.5 + 2.0)
    np.testing.assert_allclose(free_bits(kl, 0.0), kl.sum())
    # No reward for going below the allowance.
    np.testing.assert_array_equal(jax.grad(free_bits)(kl, 0.25), [0, 0, 1, 1])
