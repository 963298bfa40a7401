"""Architecture, loss, penalty and conditioning are separate axes: any goes with any."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import pytest
from small_models import (
    CLASSES,
    KEY,
    batch,
    compiled,
    conditional_gan,
    encoder,
    finite,
    gan,
    generator,
    initial,
    same,
    vae,
)

from genjax.losses.adversarial import ADVERSARIAL_LOSSES, AdversarialLoss
from genjax.losses.penalties import PENALTIES
from genjax.nn.dcgan import DCGANDecoder, DCGANEncoder
from genjax.nn.heads import Discriminator, Posterior
from genjax.nn.mlp import MLPDecoder, MLPEncoder
from genjax.nn.resnet import ResNetDecoder, ResNetEncoder

SHAPE = (28, 28, 1)
NETWORKS = {
    "mlp": (MLPEncoder, MLPDecoder, {"widths": (8,)}),
    "dcgan": (DCGANEncoder, DCGANDecoder, {"width": 2}),
    "resnet": (ResNetEncoder, ResNetDecoder, {"width": 4}),
}


def network(name, index, **fields):
    """The encoder (0) or decoder (1) of a family."""
    return NETWORKS[name][index](**NETWORKS[name][2], num_classes=CLASSES, **fields)


@pytest.fixture(scope="module")
def state():
    """Neither loss nor penalty has a part in the state, so one start serves all."""
    return initial(gan())


def chosen(number):
    """The loss of that number, chosen inside the compiled step, so that one step serves all."""

    def side(name):
        branches = [getattr(loss, name) for loss in ADVERSARIAL_LOSSES.values()]
        return lambda *logits: jax.lax.switch(number, branches, *logits)

    return AdversarialLoss(side("discriminator"), side("generator"))


@pytest.mark.parametrize("penalty", [None, *PENALTIES])
def test_every_loss_with_every_penalty(state, penalty):
    model = gan(penalty=penalty and PENALTIES[penalty])

    def step(number, state):
        return compiled(dataclasses.replace(model, loss=chosen(number)))(state, batch(), KEY)

    step, losses = jax.jit(step), set()
    for number in range(len(ADVERSARIAL_LOSSES)):
        after, metrics = step(number, state)
        assert finite((after, metrics))
        assert ("penalty" in metrics) == (penalty is not None)
        for name in model.networks:
            assert not same(state.params[name], after.params[name])
        losses.add((float(metrics["d_loss"]), float(metrics["g_loss"])))
    assert len(losses) == len(ADVERSARIAL_LOSSES)


@pytest.mark.parametrize(("g", "d"), [("mlp", "dcgan"), ("dcgan", "resnet"), ("resnet", "mlp")])
def test_every_family_as_generator_and_as_penalised_critic(g, d):
    model = gan(
        generator=network(g, 1, shape=SHAPE),
        discriminator=Discriminator(network(d, 0, normalization="none")),
        loss=ADVERSARIAL_LOSSES["wasserstein"],
        penalty=PENALTIES["gradient_penalty"],
        penalty_weight=10.0,
    )
    before = initial(model, rows=2, shape=SHAPE)
    after, metrics = compiled(model)(before, batch(2, SHAPE), KEY)
    assert finite((after, metrics))
    for name in model.networks:
        assert not same(before.params[name], after.params[name])


def check_shapes(model, shape):
    """One step, in shapes only, gives a state of the shapes and types that it took."""
    rows = batch(4, shape)
    before = jax.eval_shape(model.init, KEY, rows)
    after, metrics = jax.eval_shape(compiled(model), before, rows, KEY)
    describe = lambda tree: jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)
    assert describe(after) == describe(before)
    return metrics


GENERATOR_LABELS = ("concat", "batch_norm")
DISCRIMINATOR_LABELS = ("concat", "projection", "auxiliary")


@pytest.mark.parametrize(
    ("g", "d"), list(itertools.product(GENERATOR_LABELS, DISCRIMINATOR_LABELS))
)
def test_every_way_for_the_label_into_both_networks(g, d):
    metrics = check_shapes(conditional_gan(g, d, penalty=PENALTIES["r1"]), (8, 8, 1))
    assert ("g_class_loss" in metrics) == (d == "auxiliary")


@pytest.mark.parametrize(("g", "d"), [("mlp", "mlp"), ("dcgan", "resnet"), ("resnet", "dcgan")])
def test_every_family_with_labels_spectral_norm_and_half_precision(g, d):
    fields = {"dtype": jnp.bfloat16, "spectral_norm": True}
    model = gan(
        generator=network(g, 1, shape=SHAPE, conditioning="batch_norm", **fields),
        discriminator=Discriminator(
            network(d, 0, normalization="layer", **fields), "projection", CLASSES, True
        ),
        num_classes=CLASSES,
    )
    check_shapes(model, SHAPE)


@pytest.mark.parametrize(
    ("into", "out_of"), [("mlp", "dcgan"), ("dcgan", "resnet"), ("resnet", "mlp")]
)
def test_every_family_as_encoder_and_as_decoder(into, out_of):
    model = vae(
        encoder=Posterior(network(into, 0, normalization="batch", conditioning="concat"), 4),
        decoder=network(out_of, 1, shape=SHAPE, normalization="batch", conditioning="concat"),
        num_classes=CLASSES,
    )
    check_shapes(model, SHAPE)


@pytest.mark.parametrize("how", [*GENERATOR_LABELS, "none"])
def test_every_way_for_the_label_into_a_decoder(how):
    below = "none" if how == "none" else "concat"
    model = vae(encoder=encoder(below), decoder=generator(how), num_classes=CLASSES)
    check_shapes(model, (8, 8, 1))
