"""The networks' shapes, sizes and first weights."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.errors import UserError
from genjax.nn.dcgan import DCGANDecoder, DCGANEncoder
from genjax.nn.heads import Discriminator, Posterior
from genjax.nn.hierarchy import ChainDecoder, ChainEncoder, TwoLevelDecoder, TwoLevelEncoder
from genjax.nn.mlp import MLPDecoder, MLPEncoder
from genjax.nn.resnet import ResNetDecoder, ResNetEncoder

SHAPES = [(size, size, channels) for size in (28, 32, 64) for channels in (1, 3)]
LABELS = jax.ShapeDtypeStruct((2,), jnp.int32)
#: A network of each family and what it takes beside its defaults.
ENCODERS = {
    "mlp": (MLPEncoder, {"widths": (8, 6)}),
    "dcgan": (DCGANEncoder, {"width": 4}),
    "resnet": (ResNetEncoder, {"width": 4}),
}
DECODERS = {
    "mlp": (MLPDecoder, {"widths": (8, 6)}),
    "dcgan": (DCGANDecoder, {"width": 4}),
    "resnet": (ResNetDecoder, {"width": 4}),
}


def images(*shape):
    return jax.ShapeDtypeStruct((2, *shape), jnp.float32)


def traced(network, *inputs):
    """(shape of the outputs, shapes of the parameters by path, other collections)."""
    init = lambda *inputs: network.init_with_output(jax.random.key(0), *inputs, train=False)
    outputs, variables = jax.eval_shape(init, *inputs)
    leaves, _ = jax.tree.flatten_with_path(variables["params"])
    shapes = {"/".join(part.key for part in path): leaf.shape for path, leaf in leaves}
    return outputs, shapes, variables.keys() - {"params"}


def kernels(shapes):
    return [shape for name, shape in shapes.items() if name.endswith("kernel")]


def size(shapes):
    return sum(math.prod(shape) for shape in shapes.values())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", DECODERS)
def test_decoder_gives_images_of_its_shape(name, shape):
    module, fields = DECODERS[name]
    output, _, _ = traced(module(shape=shape, **fields), images(5))
    assert (output.shape, output.dtype) == ((2, *shape), jnp.float32)


# Sides and channels at the end: 28 is halved twice to 7, 32 three times to 4, 64 four times to 4;
# the width doubles with each halving but the first. ResNets sum over pixels, and double their width
# twice for 28 and four times for 64.
FEATURES = {
    "mlp": {28: 6, 32: 6, 64: 6},
    "dcgan": {28: 7 * 7 * 8, 32: 4 * 4 * 16, 64: 4 * 4 * 32},
    "resnet": {28: 16, 32: 4, 64: 64},
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ENCODERS)
def test_encoder_gives_features(name, shape):
    module, fields = ENCODERS[name]
    output, _, _ = traced(module(**fields), images(*shape))
    assert output.shape == (2, FEATURES[name][shape[0]])


def test_resnet_encoder_can_keep_the_place_of_things():
    # 28 is halved twice, so 7 x 7 pixels; the last blocks have four times the width.
    output, _, _ = traced(ResNetEncoder(width=4, pooling="flatten"), images(28, 28, 1))
    assert output.shape == (2, 7 * 7 * 16)


WRONG_SIZES = [
    # The side is to be 4, 5, 6 or 7 times 2, 4, 8, ...: 24 = 6 * 4, 28 = 7 * 4, 32 = 4 * 8,
    # 96 = 6 * 16.
    ("dcgan", 25, 24),
    ("dcgan", 27, 28),
    ("dcgan", 33, 32),
    ("dcgan", 100, 96),
    ("dcgan", 2, 8),
    ("resnet", 27, 28),
    ("resnet", 48, 32),
    ("resnet", 128, 64),
]


@pytest.mark.parametrize(("name", "side", "nearest"), WRONG_SIZES)
def test_wrong_size_is_an_error_that_names_the_field_and_the_nearest_size(name, side, nearest):
    decoder, fields = DECODERS[name]
    with pytest.raises(UserError) as of_decoder:
        traced(decoder(shape=(side, side, 1), **fields), images(5))
    encoder, fields = ENCODERS[name]
    with pytest.raises(UserError) as of_encoder:
        traced(encoder(**fields), images(side, side, 1))
    assert str(of_decoder.value) == str(of_encoder.value)
    message = rf"data\.image_size: .*'{name}'.* {side}x{side} .*nearest: {nearest}"
    assert re.fullmatch(message, str(of_decoder.value))


def test_networks_of_the_article():
    output, shapes, _ = traced(MLPDecoder(shape=(28, 28, 1), widths=(128, 256, 512)), images(100))
    assert output.shape == (2, 28, 28, 1)
    assert kernels(shapes) == [(100, 128), (128, 256), (256, 512), (512, 784)]
    # A dense layer from n to m has (n + 1) m parameters.
    assert size(shapes) == 101 * 128 + 129 * 256 + 257 * 512 + 513 * 784

    (logits, _), shapes, _ = traced(
        Discriminator(MLPEncoder(widths=(512, 256, 128))), images(28, 28, 1)
    )
    assert logits.shape == (2,)
    assert sorted(kernels(shapes)) == [(128, 1), (256, 128), (512, 256), (784, 512)]
    assert size(shapes) == 785 * 512 + 513 * 256 + 257 * 128 + 129

    posterior, shapes, _ = traced(Posterior(MLPEncoder(widths=(128, 64)), 20), images(28, 28, 1))
    assert [leaf.shape for leaf in posterior] == [(2, 20), (2, 20)]
    assert sorted(kernels(shapes)) == [(64, 40), (128, 64), (784, 128)]
    # Two heads of 20, as one of 40.
    assert size(shapes) == 785 * 128 + 129 * 64 + 2 * 65 * 20

    _, shapes, _ = traced(MLPDecoder(shape=(28, 28, 1), widths=(64, 128)), images(20))
    assert kernels(shapes) == [(20, 64), (64, 128), (128, 784)]
    assert size(shapes) == 21 * 64 + 65 * 128 + 129 * 784


def test_dcgan_of_the_paper():
    # Radford et al. 2016, figure 1: 100 latents, 4x4x1024, then 512, 256 and 128 channels at 8, 16
    # and 32 pixels, then the 64x64 image; here with kernels of 4.
    output, shapes, others = traced(DCGANDecoder(shape=(64, 64, 3), width=128), images(100))
    assert output.shape == (2, 64, 64, 3)
    assert kernels(shapes) == [
        (4, 4, 1024, 512),
        (4, 4, 512, 256),
        (4, 4, 256, 128),
        (4, 4, 128, 3),
        (100, 4 * 4 * 1024),
    ]
    weights = 16 * (1024 * 512 + 512 * 256 + 256 * 128 + 128 * 3) + 100 * 16 * 1024
    biases = 512 + 256 + 128 + 3 + 16 * 1024
    # A scale and a bias for every channel of all but the last layer.
    batch_norm = 2 * (1024 + 512 + 256 + 128)
    assert size(shapes) == weights + biases + batch_norm
    assert others == {"batch_stats"}

    _, shapes, _ = traced(DCGANEncoder(width=64), images(28, 28, 1))
    assert kernels(shapes) == [(4, 4, 1, 64), (4, 4, 64, 128)]
    # Batch norm after the second layer only.
    assert size(shapes) == 16 * 64 + 64 + 16 * 64 * 128 + 128 + 2 * 128


def test_sngan_of_the_paper_for_32_pixels():
    # Miyato et al. 2018, table 4: 128 latents, a dense layer to 4x4x256, three blocks of 256, batch
    # norm, and a 3x3 convolution to the image.
    output, shapes, _ = traced(ResNetDecoder(shape=(32, 32, 3)), images(128))
    assert output.shape == (2, 32, 32, 3)
    dense = 129 * 4 * 4 * 256
    # Two 3x3 convolutions with a batch norm in front of each, and the 1x1 of the shortcut.
    block = 2 * (9 * 256 * 256 + 256) + 2 * 2 * 256 + (256 * 256 + 256)
    last = 2 * 256 + 9 * 256 * 3 + 3
    assert size(shapes) == dense + 3 * block + last == 4_276_739

    _, shapes, _ = traced(Discriminator(ResNetEncoder()), images(32, 32, 3))
    # Four blocks of 128; the first two halve and have a 1x1 shortcut, the last two need none.
    first = (9 * 3 * 128 + 128) + (9 * 128 * 128 + 128) + (3 * 128 + 128)
    other = 2 * (9 * 128 * 128 + 128)
    shortcut = 128 * 128 + 128
    assert size(shapes) == first + (other + shortcut) + 2 * other + (128 + 1)


def test_kernels_beside_a_shortcut_start_with_twice_the_variance():
    """Glorot: 2 / (in + out), with all that the kernel's 9 or 1 pixels take in and give out."""
    module = ResNetDecoder(shape=(32, 32, 3), width=64)
    block = module.init(jax.random.key(0), jnp.zeros((1, 8)), train=True)["params"][
        "DecoderBlock_0"
    ]
    of = {name: jnp.var(layer["kernel"]) for name, layer in block.items() if "Conv" in name}
    assert len(of) == 3
    expected = {3: 2 * 2 / (9 * 256), 1: 2 / 256}
    for name, variance in of.items():
        side = block[name]["kernel"].shape[0]
        assert variance == pytest.approx(expected[side], rel=0.05)


@pytest.mark.parametrize("name", DECODERS)
def test_label_enters_a_decoder(name):
    module, fields = DECODERS[name]
    plain = {"shape": (28, 28, 1), "normalization": "none", "num_classes": 10, **fields}
    _, without, _ = traced(module(**plain), images(5))
    _, concat, _ = traced(module(**plain, conditioning="concat"), images(5), LABELS)
    # Ten more inputs to the first dense layer, and nothing else.
    assert concat.keys() == without.keys()
    (more,) = [name for name in concat if concat[name] != without[name]]
    assert more == "Dense_0/kernel"
    assert concat[more] == (15, without[more][1])
    _, norms, others = traced(module(**plain, conditioning="batch_norm"), images(5), LABELS)
    tables = {name: shape for name, shape in norms.items() if name not in without}
    assert tables
    assert all(shape[0] == 10 for shape in tables.values())
    assert others == {"batch_stats"}


@pytest.mark.parametrize("name", ENCODERS)
def test_label_enters_an_encoder(name):
    module, fields = ENCODERS[name]
    plain = {"normalization": "none", "num_classes": 10, **fields}
    _, without, _ = traced(module(**plain), images(28, 28, 1))
    _, concat, _ = traced(module(**plain, conditioning="concat"), images(28, 28, 1), LABELS)
    changed = {
        name: (without[name][-2], concat[name][-2])
        for name in concat
        if concat[name] != without[name]
    }
    # Pixels, or channels, and ten more; the shortcut of a residual block sees them too.
    seen = 28 * 28 if name == "mlp" else 1
    assert set(changed.values()) == {(seen, seen + 10)}
    assert len(changed) == (2 if name == "resnet" else 1)


@pytest.mark.parametrize("families", [ENCODERS, DECODERS])
@pytest.mark.parametrize("name", ENCODERS)
def test_spectral_norm_and_half_precision_keep_shapes(families, name):
    module, fields = families[name]
    if families is DECODERS:
        fields, given = {"shape": (28, 28, 1), **fields}, images(5)
    else:
        given = images(28, 28, 1)
    plain, shapes, _ = traced(module(**fields), given)
    other, same, collections = traced(
        module(**fields, spectral_norm=True, dtype=jnp.bfloat16), given
    )
    assert other.shape == plain.shape
    assert sorted(kernels(same)) == sorted(kernels(shapes))
    assert "spectral" in collections


def test_gated_layer_is_half_of_its_features_times_the_sigmoid_of_the_rest():
    network = MLPEncoder(widths=(3,), activation="gated")
    x = jax.random.normal(jax.random.key(0), (2, 2, 2, 1))
    variables = network.init(jax.random.key(1), x, train=False)
    dense = variables["params"]["Dense_0"]
    assert dense["kernel"].shape == (4, 6)
    features = np.asarray(x.reshape(2, 4) @ dense["kernel"] + dense["bias"], np.float64)
    expected = features[:, :3] / (1 + np.exp(-features[:, 3:]))
    np.testing.assert_allclose(network.apply(variables, x, train=False), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("kernel_init", "variance"),
    [("lecun_normal", 1 / 784), ("he_normal", 2 / 784), ("xavier_uniform", 2 / (784 + 600))],
)
def test_kernels_start_with_the_variance_of_their_rule(kernel_init, variance):
    """Of LeCun et al. 1998, He et al. 2015 and Glorot and Bengio 2010."""
    network = MLPEncoder(widths=(300,), activation="gated", kernel_init=kernel_init)
    params = network.init(jax.random.key(0), jnp.zeros((1, 28, 28, 1)), train=False)["params"]
    kernel = np.asarray(params["Dense_0"]["kernel"])
    error = 4 * variance * np.sqrt(2 / kernel.size)  # of no more than a normal's
    assert abs(kernel.var() - variance) < error


TWO_LEVELS = {"latent_sizes": (5, 3), "widths": (8, 8)}
CHAIN = TWO_LEVELS | {"second_widths": (6,)}


def of_trunk(kernel_init, **fields):
    return Posterior(MLPEncoder((8,), kernel_init=kernel_init), kernel_init=kernel_init, **fields)


@pytest.mark.parametrize(
    ("network", "fields", "given"),
    [
        (TwoLevelEncoder, TWO_LEVELS, (1, 2, 2, 1)),
        (TwoLevelDecoder, TWO_LEVELS | {"shape": (2, 2, 1)}, (1, 8)),
        (ChainEncoder, CHAIN, (1, 2, 2, 1)),
        (ChainDecoder, CHAIN | {"shape": (2, 2, 1)}, (1, 8)),
        (of_trunk, {"latent_size": 5}, (1, 2, 2, 1)),
    ],
)
def test_every_dense_layer_starts_by_the_rule(network, fields, given):
    """The same keys draw the same numbers: He's are those of LeCun times the root of two."""

    def start(kernel_init):
        module = network(**fields, kernel_init=kernel_init)
        return module.init(jax.random.key(0), jnp.ones(given), train=False)

    lecun, he = start("lecun_normal"), start("he_normal")
    assert len(jax.tree.leaves(lecun)) >= 4
    jax.tree.map(lambda a, b: np.testing.assert_allclose(b, a * np.sqrt(2), rtol=1e-5), lecun, he)
