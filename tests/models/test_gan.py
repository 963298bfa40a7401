import dataclasses
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
    initial,
    same,
)

from genjax import rng
from genjax.models.base import sample
from genjax.models.gan import _moments, _spread


def assert_close(got, expected):
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
    jax.tree.map(close, got, expected)


class Plain:
    """The GAN without labels before and after a step."""

    model = gan()
    step = staticmethod(compiled(model))

    def __init__(self):
        self.before = initial(self.model)
        self.after, self.metrics = self.step(self.before, batch(), KEY)


@pytest.fixture(scope="module")
def plain():
    return Plain()


def test_one_step_is_gradient_descent_on_goodfellows_two_losses_in_turn(plain):
    model, state, after, metrics = plain.model, plain.before, plain.after, plain.metrics
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
    assert_close(after.params, {"generator": new_g, "discriminator": new_d})
    assert_close(metrics["d_loss"], d_loss(d))
    assert_close(metrics["g_loss"], g_loss(g, new_d))
    assert after.step == 1


def test_diversity_is_how_far_samples_lie_apart_beside_real_images(plain):
    key = rng.stream(rng.stream(KEY, "generator"), "latents")
    latents = rng.normal(key, jnp.arange(6), (LATENTS,))
    params = plain.before.params["generator"]
    fakes = jnp.tanh(plain.model.generator.apply({"params": params}, latents, train=True))
    reals = 2 * batch()["image"] - 1
    ratio = np.sqrt(fakes.var(0).mean() / reals.var(0).mean())
    assert plain.metrics["diversity"] == pytest.approx(ratio, rel=1e-4)
    same_image = jax.tree.map(jnp.zeros_like, plain.before.params["generator"])
    collapsed = plain.before.replace(params=plain.before.params | {"generator": same_image})
    assert plain.step(collapsed, batch(), KEY)[1]["diversity"] == 0


def test_of_equal_images_diversity_is_a_number():
    """Rounding puts the mean of the squares below the square of the mean about every other time."""
    spread = jax.jit(lambda images: _spread(*_moments(images)))
    images = np.random.default_rng(0).uniform(-1, 1, (20, 1, 8, 8, 1)).astype(np.float32)
    found = [spread(image.repeat(100, 0)) for image in images]
    assert all(0 <= each < 1e-3 for each in found)


def test_average_forgets_the_start_at_first(plain):
    old, new = (state.params["generator"] for state in (plain.before, plain.after))
    assert same(plain.before.ema["generator"]["params"], old)
    # The decay is min(ema_decay, (1 + step) / (10 + step)): a tenth at the first step.
    average = jax.tree.map(lambda old, new: 0.1 * old + 0.9 * new, old, new)
    assert_close(plain.after.ema["generator"]["params"], average)
    # 2 / 11 at the second.
    second, _ = plain.step(plain.after, batch(), KEY)
    average = jax.tree.map(
        lambda old, new: (2 * old + 9 * new) / 11, average, second.params["generator"]
    )
    assert_close(second.ema["generator"]["params"], average)


@pytest.fixture(scope="module")
def rich():
    """(model, state before, after): batch norm in G, spectral norm and three updates in D."""
    model = gan(
        generator=generator(normalization="batch"),
        discriminator=discriminator(spectral_norm=True),
        d_optimizer=optax.adam(1e-2),
        g_optimizer=optax.adam(1e-2),
        d_steps=3,
        ema_decay=0.05,
    )
    state = initial(model)
    return model, state, compiled(model)(state, batch(9), KEY)[0]


def test_three_updates_of_the_discriminator_to_one_of_the_generator(rich):
    model, _, after = rich
    assert model.batches_per_step == 3
    assert after.opt["discriminator"][0].count == 3
    assert after.opt["generator"][0].count == 1
    assert after.step == 1


def test_average_holds_all_that_sampling_needs(rich):
    _, before, after = rich
    assert not same(after.stats["generator"], before.stats["generator"])
    variables = {"params": after.params["generator"], **after.stats["generator"]}
    # A decay below the first step's tenth holds from the start: a twentieth of the old.
    expected = jax.tree.map(
        lambda old, new: 0.05 * old + 0.95 * new, before.ema["generator"], variables
    )
    assert_close(after.ema["generator"], expected)


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
def test_each_network_moves_by_its_own_optimizer_only(plain, still):
    model = gan(**{f"{still[0]}_optimizer": optax.sgd(0.0)})
    after, _ = compiled(model)(plain.before, batch(), KEY)
    for network in model.networks:
        assert same(plain.before.params[network], after.params[network]) == (network == still)


def test_each_update_of_the_discriminator_has_real_and_fake_images_of_its_own(plain):
    # Two updates on two batches of three are two steps of one update each, on every other row,
    # while the generator stands still.
    model = gan(g_optimizer=optax.sgd(0.0))
    one, both = compiled(model), compiled(dataclasses.replace(model, d_steps=2))
    expected = plain.before
    for first in (0, 1):
        rows = {name: values[first::2] for name, values in batch(6).items()}
        expected, _ = one(expected, rows, KEY)
    after, _ = both(plain.before, batch(6), KEY)
    assert_close(after.params, expected.params)


def test_penalty_enters_the_loss_with_its_weight(plain):
    # A "penalty" of twice the real images' logits moves the last bias, by gradient descent, as far
    # as its weight says: the logit's derivative in it is 1, the learning rate 0.1.
    model = gan(penalty=lambda critic, real, *_: 2 * critic(real), penalty_weight=3.0)
    after, metrics = compiled(model)(plain.before, batch(), KEY)
    bias = lambda state: state.params["discriminator"]["Dense_0"]["bias"]
    np.testing.assert_allclose(bias(after) - bias(plain.after), [-0.1 * 3 * 2], rtol=1e-4)
    np.testing.assert_allclose(metrics["penalty"], 2 * metrics["d_real"], rtol=1e-5)


def test_auxiliary_classifier_learns_from_real_and_fake_images():
    model = conditional_gan("concat", "auxiliary", auxiliary_weight=2.0)
    step, state = compiled(model), initial(model)
    flat = jax.tree.map(jnp.zeros_like, state.params["discriminator"]["classes"])
    params = state.params["discriminator"] | {"classes": flat}
    state = state.replace(params=state.params | {"discriminator": params})
    after, metrics = step(state, batch(), KEY)
    # Flat class logits: the cross-entropy is log(classes), for real and fake alike.
    np.testing.assert_allclose(metrics["d_class_loss"], 2 * np.log(CLASSES), rtol=1e-5)
    # Its gradient in a class's bias is the class's probability less its share of the labels: none
    # where labels take turns; where all are 0, 1/3 - 1 for that class and 1/3 for the others.
    bias = lambda state: state.params["discriminator"]["classes"]["bias"]
    np.testing.assert_allclose(bias(after), 0, atol=1e-6)
    after, _ = step(state, batch() | {"label": jnp.zeros(6, jnp.int32)}, KEY)
    expected = -0.1 * 2.0 * 2 * np.array([1 / 3 - 1, 1 / 3, 1 / 3])
    np.testing.assert_allclose(bias(after), expected, rtol=1e-4)


def test_auxiliary_classifier_teaches_the_generator():
    # With a discriminator that stands still and gives the same logit for every image, only the
    # class logits can move the generator.
    model = conditional_gan("concat", "auxiliary", d_optimizer=optax.sgd(0.0))
    state = initial(model)
    head = jax.tree.map(jnp.zeros_like, state.params["discriminator"]["Dense_0"])
    params = state.params["discriminator"] | {"Dense_0": head}
    state = state.replace(params=state.params | {"discriminator": params})
    step = compiled(model)
    losses = []
    for _ in range(20):
        state, metrics = step(state, batch(), KEY)
        losses.append(float(metrics["g_class_loss"]))
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("conditioning", ["concat", "batch_norm"])
def test_generated_images_follow_the_label(conditioning):
    model = conditional_gan(conditioning)
    params = jax.tree.map(
        # The classes' scales and biases are the same until they have learned.
        lambda leaf: leaf + jax.random.uniform(KEY, leaf.shape),
        model.inference_params(initial(model)),
    )
    # The same latents for all; and number 3 has the label of number 0.
    latents, labels = jnp.ones((4, LATENTS)), jnp.array([0, 1, 2, 0])
    images = model.generate(params, latents, labels)
    for other in (1, 2):
        assert jnp.abs(images[0] - images[other]).max() > 1e-3
    np.testing.assert_allclose(images[3], images[0], rtol=1e-5)
