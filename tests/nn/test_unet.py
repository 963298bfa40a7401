"""The U-Net, its attention, and the discriminator of patches."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nn.layers import Normalize
from genjax.nn.unet import PatchDiscriminator, SelfAttention, UNet

KEY = jax.random.key(3)
SMALL = UNet(1, detail=2, width=2, levels=2, normalization="instance")


def noise(*shape, key=KEY):
    return jax.random.uniform(key, shape, minval=-1.0)


def initial(network, images):
    return jax.jit(lambda images: network.init(KEY, images, train=False))(images)


def applied(network, variables, images):
    return jax.jit(lambda *args: network.apply(*args, train=False))(variables, images)


@pytest.mark.parametrize(
    ("shape", "levels", "channels"),
    [((28, 28), 2, 1), ((32, 32), 3, 3), ((64, 64), 1, 3), ((8, 40), 3, 1), ((28, 20), 1, 1)],
)
def test_a_translation_has_the_pixels_of_the_image_and_the_channels_asked_for(
    shape, levels, channels
):
    """Whatever the channels of what comes in, which here are 3; traced, not computed."""
    network = dataclasses.replace(SMALL, levels=levels, channels=channels)
    images = jax.ShapeDtypeStruct((2, *shape, 3), jnp.float32)
    made, _ = jax.eval_shape(
        lambda images: network.init_with_output(KEY, images, train=False), images
    )
    assert (made.shape, made.dtype) == ((2, *shape, channels), jnp.float32)


@pytest.mark.parametrize(("levels", "blocks"), [(1, 1), (2, 0)])
def test_without_its_last_layer_a_residual_network_changes_nothing(levels, blocks):
    images = noise(2, 8, 8, 1)
    network = UNet(1, detail=2, width=2, levels=levels, blocks=blocks, residual=True)
    params = initial(network, images)["params"]
    last = max((name for name in params if name.startswith("Conv_")), key=lambda n: int(n[5:]))
    assert params[last]["kernel"].shape == (3, 3, 2, 1)
    run = jax.jit(lambda params, network=network: network.apply(params, images, train=False))
    assert not np.allclose(run({"params": params}), images, atol=1e-3)
    params[last] = jax.tree.map(jnp.zeros_like, params[last])
    np.testing.assert_array_equal(run({"params": params}), images)
    # Without the input, what is left is the tanh of 0.
    plain = dataclasses.replace(network, residual=False)
    np.testing.assert_array_equal(applied(plain, {"params": params}, images), 0)


def test_bfloat16_computes_in_half_and_gives_whole():
    images = noise(1, 8, 8, 1)
    network = UNet(1, detail=2, width=2, levels=1, blocks=0, dtype=jnp.bfloat16)
    variables = initial(network, images)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    made = applied(network, variables, images)
    assert made.dtype == jnp.float32
    whole = applied(dataclasses.replace(network, dtype=jnp.float32), variables, images)
    assert 0 < jnp.abs(made - whole).max() < 0.05


def test_attention_is_nothing_before_training():
    x = noise(2, 3, 4, 5)
    variables = initial_attention(x)
    np.testing.assert_array_equal(SelfAttention().apply(variables, x), 0)


def initial_attention(x, random=False):
    variables = SelfAttention().init(KEY, x)
    if random:
        keys = iter(jax.random.split(KEY, 10))
        variables = jax.tree.map(lambda leaf: noise(*leaf.shape, key=next(keys)), variables)
    return variables


def test_attention_does_not_know_places():
    """Places in another order give the results in that order; examples do not see another."""
    x = noise(2, 3, 4, 5)
    variables = initial_attention(x, random=True)
    run = jax.jit(lambda x: SelfAttention().apply(variables, x))
    y = run(x)
    order = jax.random.permutation(KEY, 12)
    shuffle = lambda x: x.reshape(2, 12, 5)[:, order].reshape(x.shape)
    np.testing.assert_allclose(run(shuffle(x)), shuffle(y), rtol=1e-4, atol=1e-5)
    other = run(x.at[1].set(0.0))
    np.testing.assert_allclose(other[0], y[0], rtol=1e-5, atol=1e-6)


def test_attention_by_hand():
    """Two places, one channel, all weights 1: v = x, and the weights are softmax(q k)."""
    x = jnp.array([1.0, -2.0]).reshape(1, 1, 2, 1)
    variables = jax.tree.map(jnp.ones_like, initial_attention(x))
    first = (np.e * 1 + np.exp(-2) * -2) / (np.e + np.exp(-2))
    second = (np.exp(-2) * 1 + np.exp(4) * -2) / (np.exp(-2) + np.exp(4))
    found = SelfAttention().apply(variables, x).ravel()
    np.testing.assert_allclose(found, [first, second], rtol=1e-5)


def test_the_lowest_level_sees_the_whole_image():
    """A corner has a say in the opposite one, once attention is no longer 0."""
    images = noise(1, 32, 32, 1)
    network = UNet(1, detail=2, width=2, levels=2, blocks=0)
    variables = initial(network, images)
    corner = jax.jit(
        jax.grad(lambda x, variables: network.apply(variables, x, train=False)[0, 0, 0, 0])
    )
    assert (corner(images, variables)[0, -4:, -4:] == 0).all()
    attention = variables["params"]["SelfAttention_0"]
    attention["Dense_3"]["kernel"] = jnp.ones_like(attention["Dense_3"]["kernel"])
    assert (corner(images, variables)[0, -4:, -4:] != 0).any()


@pytest.mark.parametrize(("levels", "pixels"), [(1, 10), (2, 22), (3, 46)])
def test_a_logit_sees_as_many_pixels_as_it_says(levels, pixels):
    images = noise(1, 64, 64, 1)
    network = PatchDiscriminator(width=2, levels=levels, spectral_norm=False)
    # Weights above 0: no two ways to a pixel cancel.
    variables = jax.tree.map(lambda leaf: jnp.abs(leaf) + 0.1, initial(network, images))
    place = 32 // 2**levels
    logit = lambda x: network.apply(variables, x, train=False)[0, place, place, 0]
    seen = jax.jit(jax.grad(logit))(images)[0, :, :, 0] != 0
    assert (seen.any(0).sum(), seen.any(1).sum()) == (pixels, pixels)
    assert seen.sum() == pixels**2


def test_patches_tile_the_image():
    network = PatchDiscriminator(width=2, levels=2)
    images = jax.ShapeDtypeStruct((3, 28, 32, 4), jnp.float32)
    logits, variables = jax.eval_shape(
        lambda images: network.init_with_output(KEY, images, train=False), images
    )
    assert (logits.shape, logits.dtype) == ((3, 7, 8, 1), jnp.float32)
    # All three layers are bounded.
    assert len(variables["spectral"]) == 3


def test_pixels_themselves_are_not_normalised_by_a_discriminator():
    """The first layer sees how bright an image is; with norm there, it would not."""
    images = jnp.full((1, 8, 8, 1), 0.5)
    network = PatchDiscriminator(width=2, levels=1, normalization="instance", spectral_norm=False)
    variables = initial(network, images)
    assert variables["params"].keys() == {"Conv_0", "Conv_1"}
    two = dataclasses.replace(network, levels=2)
    assert len([name for name in initial(two, images)["params"] if "Normalize" in name]) == 1


def test_instance_norm_is_of_each_channel_of_each_image():
    scales = jnp.arange(1.0, 13.0).reshape(4, 1, 1, 3)
    x = scales * noise(4, 9, 7, 3) + 10 * scales
    layer = Normalize("instance")
    variables = layer.init(KEY, x, train=False)
    y = layer.apply(variables, x, train=True)
    np.testing.assert_allclose(y.mean((1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(y.var((1, 2)), 1, rtol=1e-3)
    # It keeps nothing, is the same out of training, and no example sees another.
    assert variables.keys() == {"params"}
    np.testing.assert_array_equal(layer.apply(variables, x, train=False), y)
    np.testing.assert_allclose(layer.apply(variables, x[2:3], train=True), y[2:3], atol=1e-5)
    np.testing.assert_array_equal(variables["params"]["InstanceNorm_0"]["scale"].shape, (3,))
