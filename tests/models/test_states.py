"""What every model promises of its state, and what is asked of models by ability."""

import functools

import jax
import jax.numpy as jnp
import optax
import pytest
from small_models import (
    CLASSES,
    KEY,
    compiled,
    cyclegan,
    discriminator,
    finite,
    gan,
    generator,
    pairs,
    pix2pix,
    regression,
    same,
    unet,
    vae,
)

from genjax.errors import UserError
from genjax.losses.likelihoods import GlobalGaussian
from genjax.models import base
from genjax.models.classifier import Classifier
from genjax.nn import heads
from genjax.nn.mlp import MLPEncoder

ADAM = optax.adam(1e-2)
MODELS = {
    "gan": gan(
        generator=generator("batch_norm"),
        discriminator=discriminator("projection", spectral_norm=True),
        num_classes=CLASSES,
        d_optimizer=ADAM,
        g_optimizer=ADAM,
    ),
    "vae": vae(
        decoder=generator(normalization="batch"), likelihood=GlobalGaussian(), optimizer=ADAM
    ),
    "classifier": Classifier(
        encoder=heads.Classifier(MLPEncoder((8,), normalization="batch"), CLASSES, 8),
        optimizer=ADAM,
        num_classes=CLASSES,
    ),
    "regression": regression(generator=unet("batch"), g_optimizer=ADAM),
    "pix2pix": pix2pix(generator=unet("batch"), g_optimizer=ADAM, d_optimizer=ADAM),
    "cyclegan": cyclegan(
        forward=unet("batch"),
        backward=unet("none"),
        g_optimizer=ADAM,
        d_optimizer=ADAM,
    ),
}


@functools.cache
def start(name):
    """(state before the first step, the compiled step)."""
    return MODELS[name].init(KEY, pairs()), compiled(MODELS[name])


@pytest.mark.parametrize("name", MODELS)
def test_parts_cover_all_parameters_once(name):
    state, _ = start(name)
    assert set(MODELS[name].networks) <= state.params.keys()
    # Adam holds a moment for each parameter that it trains, and each has one optimizer.
    trained = [leaf.shape for opt in state.opt.values() for leaf in jax.tree.leaves(opt[0].mu)]
    assert sorted(trained) == sorted(leaf.shape for leaf in jax.tree.leaves(state.params))
    # No buffer is in two places, so the whole state can be given away.
    buffers = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(state)]
    assert len(set(buffers)) == len(buffers)


@pytest.mark.parametrize("name", MODELS)
def test_a_step_moves_every_part_and_can_be_given_its_own_result(name):
    before, step = start(name)
    after, _ = step(before, pairs(), KEY)
    describe = lambda tree: jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)
    assert describe(after) == describe(before)
    again, metrics = step(after, pairs(), KEY)
    assert finite((again, metrics))
    # Of an optimizer the moments, since its count moves in any case.
    assert not any(same(opt[0].mu, again.opt[name][0].mu) for name, opt in before.opt.items())
    for part in ("params", "stats", "ema"):
        for network, leaves in getattr(before, part).items():
            # A network without batch or spectral norm has no statistics.
            assert not jax.tree.leaves(leaves) or not same(leaves, getattr(again, part)[network])


def test_a_classifier_learns_what_there_is_to_learn():
    model, rows = MODELS["classifier"], pairs()
    # The label is the brightness.
    rows["image"] = jnp.broadcast_to(rows["label"][:, None, None, None] / 2.0, (6, 8, 8, 1))
    state, step = start("classifier")
    _, first = step(state, rows, KEY)
    for _ in range(60):
        state, metrics = step(state, rows, KEY)
    assert metrics["loss"] < 0.1 < first["loss"]
    assert metrics["accuracy"] == 1
    logits, features = model.predict(model.inference_params(state), rows["image"])
    assert (logits.shape, features.shape) == ((6, CLASSES), (6, 8))


def test_an_ability_that_a_model_lacks_is_an_error_that_names_both():
    base.require(MODELS["vae"], base.LikelihoodModel, "bound")
    base.require(MODELS["gan"], base.Sampler, "sample")
    with pytest.raises(UserError, match=r"reconstruct: .*Reconstructor.*GAN"):
        base.require(MODELS["gan"], base.Reconstructor, "reconstruct")
    with pytest.raises(UserError, match=r"sample: .*Sampler.*Classifier"):
        base.require(MODELS["classifier"], base.Sampler, "sample")
    with pytest.raises(UserError, match=r"judge: .*LabelReader.*VAE"):
        base.require(MODELS["vae"], base.LabelReader, "judge")


@pytest.mark.parametrize("name", MODELS)
def test_translators_translate_and_one_knows_the_way_back(name):
    ways = {"regression": 1, "pix2pix": 1, "cyclegan": 2}.get(name, 0)
    for number, ability in enumerate((base.Translator, base.TwoWayTranslator)):
        if ways > number:
            base.require(MODELS[name], ability, "translate")
            assert not isinstance(MODELS[name], base.Sampler | base.Reconstructor)
        else:
            with pytest.raises(UserError, match=f"translate: needs a {ability.__name__}"):
                base.require(MODELS[name], ability, "translate")


@pytest.mark.parametrize(("step", "decay"), [(0, 0.1), (8, 0.5), (80, 0.9), (10_000, 0.9)])
def test_an_average_forgets_its_start_sooner_than_by_its_decay(step, decay):
    """(1 + n) / (10 + n) after n steps: 1 / 10, 9 / 18, and from 81 / 90 on the 0.9 itself."""
    average = base.moving_average({"a": jnp.array(2.0)}, {"a": jnp.array(7.0)}, 0.9, step)
    assert float(average["a"]) == pytest.approx(decay * 2 + (1 - decay) * 7, rel=1e-6)
