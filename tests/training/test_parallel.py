"""One step, compiled for one device or eight, by pmap or by jit, gives the same numbers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax import rng
from genjax.data.base import InMemory
from genjax.data.plan import Plan
from genjax.data.readers import Resident
from genjax.errors import UserError
from genjax.losses.adversarial import ADVERSARIAL_LOSSES
from genjax.losses.likelihoods import Bernoulli
from genjax.losses.penalties import PENALTIES
from genjax.losses.priors import StandardNormal, VampPrior
from genjax.models.base import TrainState
from genjax.models.gan import GAN
from genjax.models.hvae import HVAE
from genjax.models.translation import CycleGAN, Pix2Pix, Regression
from genjax.models.vae import VAE
from genjax.nn.dcgan import DCGANDecoder, DCGANEncoder
from genjax.nn.heads import Discriminator, Posterior
from genjax.nn.hierarchy import TwoLevelDecoder, TwoLevelEncoder
from genjax.nn.layers import AXIS
from genjax.nn.mlp import MLPDecoder, MLPEncoder
from genjax.nn.unet import PatchDiscriminator, UNet
from genjax.training.parallel import Devices

BATCH_SIZE, STEPS, CLASSES, LATENTS = 16, 4, 3, 4
SHAPE = (8, 8, 1)
ALL, ONE = tuple(jax.devices()), tuple(jax.devices()[:1])
KEY = jax.random.key(5)
SOURCE = InMemory(
    images=np.random.default_rng(0).integers(0, 256, (60, *SHAPE), np.uint8),
    labels=(np.arange(60) % CLASSES).astype(np.int32),
    class_names=("a", "b", "c"),
)


def dim(batch, key):
    """An augmentation that draws for each example, of which the condition is the negative.

    Pixels of the draw's darker half are said to be missing.
    """
    images = batch["image"] * rng.uniform(key, batch["position"], (1, 1, 1))
    present = jnp.round(images[..., :1])
    return {**batch, "image": images, "condition": 1 - batch["image"], "present": present}


def identity(batch, key):
    return batch


def gan(penalty, conditional=False, d_steps=1, **networks):
    """A GAN with batch norm in both networks, trained by gradient descent."""
    classes = CLASSES if conditional else 0
    how = ("batch_norm", "projection") if conditional else ("none", "none")
    critic = Discriminator(MLPEncoder((8,), normalization="batch"), how[1], classes)
    fields = {
        "generator": MLPDecoder(SHAPE, (8,), "batch", conditioning=how[0], num_classes=classes),
        "discriminator": critic,
        **networks,
    }
    return GAN(
        loss=ADVERSARIAL_LOSSES["non_saturating"],
        penalty=PENALTIES[penalty],
        penalty_weight=1.0,
        auxiliary_weight=1.0,
        d_steps=d_steps,
        ema_decay=0.9,
        d_optimizer=optax.sgd(0.05),
        g_optimizer=optax.sgd(0.05),
        latent_size=LATENTS,
        num_classes=classes,
        **fields,
    )


def vae():
    return VAE(
        encoder=Posterior(MLPEncoder((8,)), LATENTS),
        decoder=MLPDecoder(SHAPE, (8,)),
        prior=StandardNormal(),
        likelihood=Bernoulli(),
        optimizer=optax.sgd(0.01),
        latent_size=LATENTS,
        num_classes=0,
        objective="elbo",
        draws=1,
        kl_weight=optax.constant_schedule(1.0),
        # Near the latents' divergence: the maximum is of the mean over all devices.
        free_bits=0.05,
    )


def two_levels():
    """With all that a VAE may have besides: a prior that learns, several draws, their weights."""
    fields = {field.name: getattr(vae(), field.name) for field in dataclasses.fields(VAE)}
    return HVAE(
        **fields
        | {
            "encoder": TwoLevelEncoder(latent_sizes=(LATENTS, LATENTS), widths=(8,)),
            "decoder": TwoLevelDecoder(SHAPE, latent_sizes=(LATENTS, LATENTS), widths=(8,)),
            "prior": VampPrior(3),
            "latent_size": 2 * LATENTS,
            "second_size": LATENTS,
            "objective": "iwae",
            "draws": 2,
        }
    )


UNET = UNet(1, detail=2, width=2, levels=1, blocks=0, normalization="batch")
PATCHES = PatchDiscriminator(width=2, levels=1)
MODELS = {
    "vae": vae(),
    "two_levels": two_levels(),
    "gan": gan(
        "dragan",
        generator=DCGANDecoder(SHAPE, width=4),
        discriminator=Discriminator(DCGANEncoder(width=4)),
    ),
    "conditional_gan": gan("gradient_penalty", conditional=True, d_steps=2),
    "regression": Regression(generator=UNET, g_optimizer=optax.sgd(0.05), ema_decay=0.9),
    # Of the fakes that its judges are shown, some are of the steps before.
    "cyclegan": CycleGAN(
        forward=dataclasses.replace(UNET, normalization="instance"),
        backward=UNET,
        image_judge=PATCHES,
        condition_judge=PATCHES,
        g_optimizer=optax.sgd(0.05),
        d_optimizer=optax.sgd(0.05),
        loss=ADVERSARIAL_LOSSES["least_squares"],
        cycle_weight=1.0,
        identity_weight=1.0,
        pool_size=20,
        ema_decay=0.9,
    ),
}


def train(model, devices, augment=dim, steps_per_call=STEPS):
    """(state after `STEPS` steps, metrics of every step), in dispatches of `steps_per_call`."""
    plan = Plan(0, len(SOURCE), BATCH_SIZE * model.batches_per_step)
    reader = Resident(SOURCE, plan)
    image = jnp.zeros((1, *SHAPE))
    images = {"image": image, "condition": image, "present": image[..., :1]}
    shapes = {**images, "label": jnp.zeros(1, jnp.int32)}
    state = devices.replicate(jax.jit(model.init)(KEY, shapes))
    run = devices.compile(model, reader.fetch, augment)
    store, key = devices.replicate(reader.store), devices.replicate(KEY)
    metrics = []
    for block in reader.blocks(0, STEPS // steps_per_call, steps_per_call):
        given = state
        state, of_block = run(given, store, devices.shard(block), key)
        # Its memory is given away to the new one.
        assert all(leaf.is_deleted() for leaf in jax.tree.leaves(given))
        assert {leaf.shape[0] for leaf in jax.tree.leaves(of_block)} == {steps_per_call}
        metrics.append(jax.device_get(of_block))
    return jax.device_get(state), jax.tree.map(lambda *parts: np.concatenate(parts), *metrics)


def assert_close(got, expected):
    # Sums in another order differ in the last digits of float32, some 1e-7 of their size, and a
    # few steps of gradient descent pass that on about as it is. (Adam would not: it divides a
    # gradient by its own size, so where that is all rounding, the step is too.)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-6)
    jax.tree.map(close, got, expected)


@pytest.mark.parametrize("name", MODELS)
def test_eight_devices_agree_with_one_and_pmap_with_jit(name):
    model = MODELS[name]
    expected = train(model, Devices("pmap", ONE))
    assert expected[0].step == STEPS
    for kind in ("pmap", "jit"):
        assert_close(train(model, Devices(kind, ALL)), expected)


#: Without statistics of a batch, of which a chunk has others, and vectors that move on with each.
PLAIN = dataclasses.replace(UNET, normalization="none")
PLAIN_JUDGE = dataclasses.replace(PATCHES, spectral_norm=False)
WITHOUT_STATISTICS = {
    "vae": dataclasses.replace(MODELS["vae"], free_bits=0.0),
    "gan": gan(
        "gradient_penalty",
        d_steps=2,
        generator=MLPDecoder(SHAPE, (8,)),
        discriminator=Discriminator(MLPEncoder((8,))),
    ),
    "pix2pix": Pix2Pix(
        generator=PLAIN,
        discriminator=PLAIN_JUDGE,
        g_optimizer=optax.sgd(0.05),
        d_optimizer=optax.sgd(0.05),
        loss=ADVERSARIAL_LOSSES["non_saturating"],
        l1_weight=1.0,
        ema_decay=0.9,
    ),
    "cyclegan": dataclasses.replace(
        MODELS["cyclegan"],
        forward=PLAIN,
        backward=PLAIN,
        image_judge=PLAIN_JUDGE,
        condition_judge=PLAIN_JUDGE,
    ),
}


@pytest.mark.parametrize("name", WITHOUT_STATISTICS)
def test_a_batch_in_chunks_gives_the_step_of_the_whole(name):
    model = WITHOUT_STATISTICS[name]
    in_chunks = dataclasses.replace(model, accumulate=4)
    expected = train(model, Devices("pmap", ONE))
    assert_close(train(in_chunks, Devices("pmap", ONE)), expected)
    assert_close(train(in_chunks, Devices("jit", ALL[:2])), expected)


def test_a_step_in_chunks_takes_less_memory():
    """Of a convolutional VAE, whose images weigh more than its parameters."""

    def needed(accumulate: int) -> int:
        model = dataclasses.replace(
            vae(),
            encoder=Posterior(DCGANEncoder(width=8), LATENTS),
            decoder=DCGANDecoder((32, 32, 1), width=8),
            free_bits=0.0,
            accumulate=accumulate,
        )
        images = {"image": jnp.zeros((64, 32, 32, 1), jnp.uint8), "index": jnp.zeros(64, jnp.int32)}
        block = Devices("jit", ONE).shard({k: np.asarray(v)[None] for k, v in images.items()})
        state = jax.eval_shape(model.init, KEY, {"image": jnp.zeros((1, 32, 32, 1))})
        run = Devices("jit", ONE).spread(model, lambda store, row: row, identity)
        return run.lower(state, {}, block, KEY).compile().memory_analysis().temp_size_in_bytes

    assert needed(8) < needed(1) / 3


@pytest.mark.parametrize("kind", ["pmap", "jit"])
def test_steps_in_one_dispatch_are_those_of_as_many_dispatches(kind):
    devices = Devices(kind, ALL[:2])
    at_once = train(MODELS["vae"], devices)
    one_by_one = train(MODELS["vae"], devices, steps_per_call=1)
    assert_close(at_once, one_by_one)


class Probe:
    """A model that only tells what its step was given, on all devices."""

    def train_step(self, state, batch, key):
        seen = {**batch, "key": jax.random.key_data(key)[None]}
        return state.replace(step=state.step + 1), jax.lax.all_gather(seen, AXIS, tiled=True)


@pytest.mark.parametrize("kind", ["pmap", "jit"])
def test_a_step_is_given_its_own_rows_positions_and_key(kind):
    devices = Devices(kind, ALL)
    reader = Resident(SOURCE, Plan(0, len(SOURCE), BATCH_SIZE))
    run = devices.compile(Probe(), reader.fetch, identity)
    (block,) = reader.blocks(7, 1, 2)
    # Steps 7 and 8 of a run.
    state = TrainState(step=jnp.array(7), params={}, opt={}, stats={}, ema={})
    store, key = devices.replicate(reader.store), devices.replicate(KEY)
    state, seen = jax.device_get(run(devices.replicate(state), store, devices.shard(block), key))
    assert state.step == 9
    np.testing.assert_array_equal(seen["index"], block["index"])
    np.testing.assert_array_equal(seen["label"], SOURCE.labels[block["index"]])
    # Grey levels become numbers from 0 to 1.
    np.testing.assert_allclose(seen["image"], SOURCE.images[block["index"]] / 255, rtol=1e-6)
    # Places count through the whole batch, over all devices.
    np.testing.assert_array_equal(seen["position"], np.tile(np.arange(BATCH_SIZE), (2, 1)))
    # Every device has the same key, a function of the seed's key and the step alone.
    for keys, step in zip(seen["key"], (7, 8), strict=True):
        expected = jax.random.key_data(jax.random.fold_in(rng.stream(KEY, "train"), step))
        np.testing.assert_array_equal(keys, np.tile(expected, (len(ALL), 1)))


def test_each_device_has_its_own_rows_of_each_step():
    devices = Devices("pmap", ALL[:4])
    rows = np.arange(2 * 8 * 3).reshape(2, 8, 3)
    placed = devices.shard({"image": rows})["image"]
    assert placed.shape == (4, 2, 2, 3)
    for number, shard in enumerate(placed.addressable_shards):
        assert shard.device == ALL[number]
        np.testing.assert_array_equal(shard.data[0], rows[:, 2 * number : 2 * number + 2])


def test_one_process_takes_all_rows_of_a_step():
    assert Devices("pmap", ALL[:4]).own_rows(8) == slice(0, 8)


def test_a_replicated_tree_is_whole_on_every_device():
    placed = Devices("jit", ALL).replicate({"a": np.arange(3.0)})["a"]
    assert [shard.device for shard in placed.addressable_shards] == list(ALL)
    assert all((shard.data == np.arange(3.0)).all() for shard in placed.addressable_shards)


def test_all_devices_share_the_batch_unless_told():
    assert Devices("pmap").devices == ALL
    assert len(Devices("jit", ONE)) == 1


@pytest.mark.parametrize(("batch_size", "nearest"), [(17, 16), (103, 104), (3, 8), (0, 8)])
def test_batch_that_devices_do_not_divide_is_an_error_with_the_nearest_size(batch_size, nearest):
    message = rf"^training\.batch_size: 8 devices do not divide {batch_size}; nearest: {nearest}$"
    with pytest.raises(UserError, match=message):
        Devices("pmap", ALL).check_batch_size(batch_size)
    Devices("pmap", ALL).check_batch_size(nearest)


def test_batch_that_chunks_do_not_divide_is_an_error_with_the_nearest_size():
    message = r"^training\.batch_size: 2 devices in 3 chunks each do not divide 16; nearest: 18$"
    with pytest.raises(UserError, match=message):
        Devices("pmap", ALL[:2]).check_batch_size(16, accumulate=3)
    Devices("pmap", ALL[:2]).check_batch_size(18, accumulate=3)
