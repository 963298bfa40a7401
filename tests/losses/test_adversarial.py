import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jaxtyping import TypeCheckError

from genjax.losses import adversarial
from genjax.losses.adversarial import ADVERSARIAL_LOSSES

LOGITS = jnp.array([-1e4, -90.0, -2.0, 0.0, 0.5, 90.0, 1e4])


@pytest.mark.parametrize("name", ["minimax", "non_saturating"])
def test_discriminator_minimises_the_cross_entropy_of_real_and_fake(name):
    real, fake = LOGITS, LOGITS[::-1]
    expected = optax.sigmoid_binary_cross_entropy(
        real, jnp.ones_like(real)
    ) + optax.sigmoid_binary_cross_entropy(fake, jnp.zeros_like(fake))
    np.testing.assert_allclose(
        ADVERSARIAL_LOSSES[name].discriminator(real, fake), expected, rtol=1e-6
    )


def test_undecided_discriminator_is_at_the_equilibrium_of_the_game():
    # D = 1/2 everywhere: -log 1/2 - log 1/2 (Goodfellow et al. 2014, theorem 1, for one example).
    loss = adversarial.minimax.discriminator(jnp.zeros(1), jnp.zeros(1))
    np.testing.assert_allclose(loss, 2 * np.log(2), rtol=1e-6)


def test_generator_losses_are_the_two_log_probabilities():
    fake = np.array([-3.0, 0.0, 2.0])
    probability = 1 / (1 + np.exp(-fake))
    fake = jnp.asarray(fake, jnp.float32)
    np.testing.assert_allclose(
        adversarial.minimax.generator(fake), np.log(1 - probability), rtol=1e-5
    )
    np.testing.assert_allclose(
        adversarial.non_saturating.generator(fake), -np.log(probability), rtol=1e-5
    )


def test_only_the_minimax_generator_stalls_when_the_discriminator_is_sure():
    sure = jnp.array([-20.0])
    slope = lambda loss: jax.grad(lambda fake: loss.generator(fake).sum())(sure)[0]
    assert abs(slope(adversarial.minimax)) < 1e-8
    np.testing.assert_allclose(slope(adversarial.non_saturating), -1.0, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "discriminator", "generator"),
    [
        # real logit 0.5, fake logit -2, by hand:
        ("least_squares", 0.5 * (0.25 + 4.0), 0.5 * 9.0),
        ("hinge", 0.5 + 0.0, 2.0),
        ("wasserstein", -2.5, 2.0),
    ],
)
def test_values_by_hand(name, discriminator, generator):
    loss = ADVERSARIAL_LOSSES[name]
    real, fake = jnp.array([0.5]), jnp.array([-2.0])
    np.testing.assert_allclose(loss.discriminator(real, fake), [discriminator], rtol=1e-6)
    np.testing.assert_allclose(loss.generator(fake), [generator], rtol=1e-6)


def test_hinge_ignores_what_lies_beyond_the_margin():
    loss = adversarial.hinge.discriminator(jnp.array([1.0, 7.0]), jnp.array([-1.0, -7.0]))
    np.testing.assert_array_equal(loss, 0.0)


@pytest.mark.parametrize("name", ADVERSARIAL_LOSSES)
def test_each_player_pushes_the_logits_its_own_way(name):
    loss, logits = ADVERSARIAL_LOSSES[name], jnp.array([0.3])
    real_slope, fake_slope = jax.grad(
        lambda real, fake: loss.discriminator(real, fake).sum(), (0, 1)
    )(logits, logits)
    generator_slope = jax.grad(lambda fake: loss.generator(fake).sum())(logits)
    assert real_slope < 0 < fake_slope
    assert generator_slope < 0


@pytest.mark.parametrize("name", ADVERSARIAL_LOSSES)
def test_extreme_logits_give_finite_losses_and_gradients_under_jit_and_vmap(name):
    loss = ADVERSARIAL_LOSSES[name]

    @jax.jit
    def total(real, fake):
        return (loss.discriminator(real, fake) + loss.generator(fake)).sum()

    assert jnp.isfinite(total(LOGITS, LOGITS[::-1]))
    for slope in jax.grad(total, (0, 1))(LOGITS, LOGITS[::-1]):
        assert jnp.isfinite(slope).all()
    curvature = jax.vmap(jax.grad(jax.grad(lambda x: loss.generator(x[None])[0])))(LOGITS)
    assert jnp.isfinite(curvature).all()


@pytest.mark.parametrize("name", ADVERSARIAL_LOSSES)
def test_batches_of_unlike_size_are_refused(name):
    with pytest.raises(TypeCheckError):
        adversarial._cross_entropy(jnp.zeros(3), jnp.zeros(2))
    with pytest.raises(TypeCheckError):
        ADVERSARIAL_LOSSES[name].generator(jnp.zeros((3, 1)))
