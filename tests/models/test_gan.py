import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_models import (
    CLASSES,
    KEY,
    LATENTS,
    batch,
    compiled,
    conditional_gan,
    discriminator,
    gan,
    generator,
    same,
)

from genjax import rng
from genjax.models.base import sample


@functools.cache
def plain_step():
    """(state before, state after, metrics) of one step of the GAN without labels."""
    model = gan()
    state = model.init(KEY, batch())
    return model, state, *compiled(model)(state, batch(), KEY)


def test_one_step_is_gradient_descent_on_goodfellows_two_losses_in_turn():
    model, state, after, metrics = plain_step()
    real = 2 * batch()["image"] - 1

    def latents(player):
        key = rng.stream(rng.stream(KEY, player), "latents")
        return rng.normal(key, jnp.arange(6), (LATENTS,))

    def fake(params, player):
        return jnp.tanh(model.generator.apply({"params": params}, latents(player), train=True))

    def judge(params, images):
        return jax.nn.sigmoid(model.discriminator.apply({"params": params}, images, train=True)[0])

    g, d = state.params["generator"], state.params["discriminator"]

    def d_loss(d):
        return -(jnp.log(judge(d, real)) + jnp.log(1 - judge(d, fake(g, "discriminator")))).mean()

    def g_loss(g, d):
        return -jnp.log(judge(d, fake(g, "generator"))).mean()

    descend = lambda params, gradients: jax.tree.map(lambda p, g: p - 0.1 * g, params, gradients)
    new_d = descend(d, jax.grad(d_loss)(d))
    # The generator plays against the discriminator that has just moved.
    new_g = descend(g, jax.grad(g_loss)(g, new_d))
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
    jax.tree.map(close, after.params, {"generator": new_g, "discriminator": new_d})
    close(metrics["d_loss"], d_loss(d))
    close(metrics["g_loss"], g_loss(g, new_d))
    assert after.step == 1


def test_average_forgets_the_start_at_first():
    # The decay is min(ema_decay, (1 + step) / (10 + step)): a tenth at the first step.
    model, state, after, _ = plain_step()
    old, new = state.params["generator"], after.params["generator"]
    np_close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7)
    assert same(state.ema["generator"]["params"], old)
    expected = jax.tree.map(lambda old, new: 0.1 * old + 0.9 * new, old, new)
    jax.tree.map(np_close, after.ema["generator"]["params"], expected)
    # 2 / 11 at the second.
    second, _ = compiled(model)(after, batch(), KEY)
    expected = jax.tree.map(
        lambda old, new: (2 * old + 9 * new) / 11, expected, second.params["generator"]
    )
    jax.tree.map(np_close, second.ema["generator"]["params"], expected)


@pytest.fixture(scope="module")
def rich():
    """(model, state before, after): Adam, three updates of D, batch norm in G, spectral norm in D."""
    model = gan(
        generator=generator(normalization="batch"),
        discriminator=discriminator(spectral_norm=True),
        d_optimizer=optax.adam(1e-2),
        g_optimizer=optax.adam(1e-2),
        d_steps=3,
        ema_decay=0.05,
    )
    state = model.init(KEY, batch())
    return model, state, compiled(model)(state, batch(9), KEY)[0]


def test_three_updates_of_the_discriminator_to_one_of_the_generator(rich):
    model, _, after = rich
    assert model.batches_per_step == 3
    assert after.opt["discriminator"][0].count == 3
    assert after.opt["generator"][0].count == 1
    assert after.step == 1


def test_average_holds_all_that_sampling_needs(rich):
    model, before, after = rich
    variables = {"params": after.params["generator"], **after.stats["generator"]}
    assert not same(after.stats["generator"], before.stats["generator"])
    # A decay below the first step's tenth holds from the start: a twentieth of the old.
    np.testing.assert_allclose(
        *(
            np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(tree)])
            for tree in (
                after.ema["generator"],
                jax.tree.map(
                    lambda old, new: 0.05 * old + 0.95 * new, before.ema["generator"], variables
                ),
            )
        ),
        rtol=1e-5,
        atol=1e-7,
    )


def test_samples_come_from_the_average(rich):
    model, _, after = rich
    params = model.inference_params(after)
    assert params is after.ema["generator"]
    images = sample(model, params, KEY, jnp.arange(5))
    raw = model.generator.apply(params, rng.normal(KEY, jnp.arange(5), (LATENTS,)), train=False)
    np.testing.assert_allclose(images, (jnp.tanh(raw) + 1) / 2, rtol=1e-5)
    assert images.shape == (5, 8, 8, 1)
    assert 0 <= images.min() < 0.5 < images.max() <= 1
    # The sample with a number is the same one in whatever company.
    np.testing.assert_allclose(sample(model, params, KEY, jnp.array([3])), images[3:4], rtol=1e-4)


def test_spectral_vectors_move_with_the_discriminator(rich):
    _, before, after = rich
    vectors = lambda state: state.stats["discriminator"]["spectral"]
    moved = jax.tree.map(lambda a, b: not jnp.allclose(a, b), vectors(before), vectors(after))
    assert jax.tree.all(moved)


@pytest.mark.parametrize("still", ["generator", "discriminator"])
def test_each_network_moves_by_its_own_optimizer_only(still):
    model = gan(**{f"{still[0]}_optimizer": optax.sgd(0.0)})
    _, state, _, _ = plain_step()
    after, _ = compiled(model)(state, batch(), KEY)
    for network in model.networks:
        assert same(state.params[network], after.params[network]) == (network == still)


def test_each_update_of_the_discriminator_has_real_and_fake_images_of_its_own():
    # Two updates on two batches of three are two steps of one update each, on every other row,
    # while the generator stands still.
    both = {"g_optimizer": optax.sgd(0.0)}
    _, state, _, _ = plain_step()
    rows = batch(6)
    after, _ = compiled(gan(d_steps=2, **both))(state, rows, KEY)
    one = compiled(gan(**both))
    expected = state
    for first in (0, 1):
        every_other = {name: values[first::2] for name, values in rows.items()}
        expected, _ = one(expected, every_other, KEY)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6),
        after.params["discriminator"],
        expected.params["discriminator"],
    )


def test_penalty_enters_the_loss_with_its_weight():
    _, state, free, _ = plain_step()
    # A "penalty" of twice the mean logit of the real images moves the discriminator, by gradient
    # descent, as far as its weight says.
    price = lambda critic, real, *_: 2 * critic(real)
    moved = []
    for weight in (1.0, 3.0):
        model = gan(penalty=price, penalty_weight=weight)
        after, metrics = compiled(model)(state, batch(), KEY)
        bias = lambda state: state.params["discriminator"]["Dense_0"]["bias"]
        moved.append((bias(after) - bias(free)).item())
        np.testing.assert_allclose(metrics["penalty"], 2 * metrics["d_real"], rtol=1e-5)
    # The logit's derivative in its bias is 1; the learning rate is 0.1.
    np.testing.assert_allclose(moved, [-0.1 * 2 * 1, -0.1 * 2 * 3], rtol=1e-4)


def test_auxiliary_classifier_learns_from_real_and_fake_and_teaches_the_generator():
    model = conditional_gan("concat", "auxiliary", auxiliary_weight=2.0)
    state = model.init(KEY, batch())
    flat = jax.tree.map(jnp.zeros_like, state.params["discriminator"]["classes"])
    params = state.params["discriminator"] | {"classes": flat}
    state = state.replace(params=state.params | {"discriminator": params})
    after, metrics = compiled(model)(state, batch(), KEY)
    # Flat class logits: the cross-entropy is log(classes), for real and fake alike.
    np.testing.assert_allclose(metrics["d_class_loss"], 2 * np.log(CLASSES), rtol=1e-5)
    # Its gradient in a class's bias is the class's probability less its share of the labels, which
    # take turns, so nothing; with labels of one class, (1/3 - 1) for it and 1/3 for the others.
    bias = after.params["discriminator"]["classes"]["bias"]
    np.testing.assert_allclose(bias, 0, atol=1e-6)
    zeros = batch() | {"label": jnp.zeros(6, jnp.int32)}
    bias = compiled(model)(state, zeros, KEY)[0].params["discriminator"]["classes"]["bias"]
    expected = -0.1 * 2.0 * 2 * np.array([1 / 3 - 1, 1 / 3, 1 / 3])
    np.testing.assert_allclose(bias, expected, rtol=1e-4)
    # The generator's own class loss, once the classifier has an opinion, is part of its step.
    free = compiled(conditional_gan("concat", "auxiliary", auxiliary_weight=0.0))
    opinion = compiled(model)(after, batch(), KEY)[0].params["generator"]
    assert not same(opinion, free(after, batch(), KEY)[0].params["generator"])


@pytest.mark.parametrize("conditioning", ["concat", "batch_norm"])
def test_generated_images_follow_the_label(conditioning):
    model = conditional_gan(conditioning)
    state = model.init(KEY, batch())
    step = compiled(model)
    for _ in range(3):
        state, _ = step(state, batch(), KEY)
    params = model.inference_params(state)
    latents = jnp.ones((CLASSES, LATENTS))
    images = np.asarray(model.generate(params, latents, jnp.arange(CLASSES)))
    assert np.abs(images[0] - images[1]).max() > 1e-4
    again = model.generate(params, latents, jnp.zeros(CLASSES, jnp.int32))
    np.testing.assert_allclose(again, np.broadcast_to(images[:1], again.shape), rtol=1e-4)
