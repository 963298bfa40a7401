import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nn.convolution import Conv, ConvTranspose
from genjax.nn.layers import AXIS, Normalize, concatenate_label, leaky_relu, spectral

DEVICES, SHARD, FEATURES = 8, 4, 3


def test_leaky_relu_and_its_slope():
    x = jnp.array([-2.0, -1.0, 0.5, 3.0])
    np.testing.assert_allclose(leaky_relu(x), [-0.4, -0.2, 0.5, 3.0])
    np.testing.assert_allclose(jax.grad(lambda x: leaky_relu(x).sum())(x), [0.2, 0.2, 1, 1])
    np.testing.assert_allclose(leaky_relu(x, 0.5), [-1.0, -0.5, 0.5, 3.0])


def test_label_becomes_further_features():
    x, labels = jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([2, 0])
    expected = [[1, 2, 0, 0, 1], [3, 4, 1, 0, 0]]
    np.testing.assert_array_equal(concatenate_label(x, labels, 3), expected)
    assert concatenate_label(x, None, 3) is x


def test_label_becomes_further_channels_of_every_pixel():
    x, labels = jnp.arange(16.0).reshape(2, 2, 2, 2), jnp.array([2, 0])
    joined = concatenate_label(x, labels, 3)
    assert joined.shape == (2, 2, 2, 5)
    np.testing.assert_array_equal(joined[..., :2], x)
    np.testing.assert_array_equal(joined[0, ..., 2:], np.broadcast_to([0, 0, 1], (2, 2, 3)))
    np.testing.assert_array_equal(joined[1, ..., 2:], np.broadcast_to([1, 0, 0], (2, 2, 3)))


def rows(*shape):
    """Each shard's rows around a mean of its own: no shard's statistics are the batch's."""
    noise = jax.random.normal(jax.random.key(0), (DEVICES, SHARD, *shape, FEATURES))
    return noise + jnp.arange(DEVICES).reshape(DEVICES, *(1,) * (noise.ndim - 1))


def apply_sharded(layer, variables, x, *labels):
    """(the shards' outputs, the collections that all shards must agree on)."""
    step = lambda *inputs: layer.apply(variables, *inputs, train=True, mutable=["batch_stats"])
    # `out_axes=None` takes only what is the same in every shard.
    return jax.vmap(step, axis_name=AXIS, out_axes=(0, None))(x, *labels)


@pytest.mark.parametrize("shape", [(), (2, 5)])
def test_batch_statistics_are_those_of_the_whole_batch(shape):
    x = rows(*shape)
    layer = Normalize("batch")
    variables = layer.init(jax.random.key(0), x[0], train=False)
    y, moved = apply_sharded(layer, variables, x)
    whole = np.asarray(x).reshape(-1, FEATURES)
    mean, variance = whole.mean(0), whole.var(0)
    expected = (x - mean) / np.sqrt(variance + 1e-5)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    # The running statistics start at mean 0, variance 1 and move a tenth of the way.
    statistics = moved["batch_stats"]["BatchNorm_0"]
    np.testing.assert_allclose(statistics["mean"], 0.1 * mean, rtol=1e-4)
    np.testing.assert_allclose(statistics["var"], 0.9 + 0.1 * variance, rtol=1e-4)
    # Out of training it is they that count, and each row stands alone.
    y = layer.apply({**variables, **moved}, x[3], train=False)
    expected = (x[3] - statistics["mean"]) / np.sqrt(statistics["var"] + 1e-5)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def test_conditional_batch_starts_as_batch_and_has_a_scale_and_bias_for_each_class():
    x, labels = rows(2, 2), jnp.arange(DEVICES * SHARD).reshape(DEVICES, SHARD) % 5
    layer = Normalize("conditional_batch", num_classes=5)
    variables = layer.init(jax.random.key(0), x[0], labels[0], train=False)
    plain = Normalize("batch")
    expected, _ = apply_sharded(plain, plain.init(jax.random.key(0), x[0], train=False), x)
    y, _ = apply_sharded(layer, variables, x, labels)
    np.testing.assert_allclose(y, expected, rtol=1e-5)
    scale, bias = np.arange(30.0).reshape(2, 5, FEATURES)
    params = {"scale": {"embedding": scale}, "bias": {"embedding": bias}}
    assert jax.tree.map(jnp.shape, variables["params"]) == jax.tree.map(jnp.shape, params)
    y, _ = apply_sharded(layer, {**variables, "params": params}, x, labels)
    of_class = lambda table: table[np.asarray(labels)][:, :, None, None]
    np.testing.assert_allclose(y, expected * of_class(scale) + of_class(bias), rtol=1e-4, atol=1e-4)


def test_layer_norm_is_over_pixels_and_channels_of_each_example():
    x = rows()[0]
    variables = Normalize("layer").init(jax.random.key(0), x, train=True)
    y = Normalize("layer").apply(variables, x, train=True)
    axes = tuple(range(1, x.ndim))
    mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    expected = (x - mean) / np.sqrt(var + 1e-6)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def test_no_normalisation_is_the_identity():
    x = rows()[0]
    assert Normalize("none").init(jax.random.key(0), x, train=True) == {}
    assert Normalize("none").apply({}, x, train=True) is x


class Spectral(nn.Module):
    layer: nn.Module

    @nn.compact
    def __call__(self, x, train):
        return spectral(self.layer, True, x, train=train)


IMAGE = jax.random.normal(jax.random.key(2), (2, 6, 6, 3))
LAYERS = {
    "dense": (nn.Dense(4), jax.random.normal(jax.random.key(3), (5, 6))),
    "down": (Conv(4, (4, 4), (2, 2)), IMAGE),
    "up": (ConvTranspose(4, (4, 4), (2, 2)), IMAGE),
    "embed": (nn.Embed(5, 4), jnp.arange(5)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_spectral_divides_the_kernel_by_its_largest_singular_value(name):
    layer, x = LAYERS[name]
    module = Spectral(layer)
    variables = module.init(jax.random.key(1), x, False)
    (params,) = variables["params"].values()
    (kernel,) = [leaf for leaf in params.values() if leaf.ndim > 1]

    @jax.jit
    def calls(variables):
        def call(vectors, _):
            _, moved = module.apply({**variables, **vectors}, x, True, mutable=["spectral"])
            return moved, None

        return jax.lax.scan(call, {"spectral": variables["spectral"]}, length=100)[0]

    moved = calls(variables)
    y = module.apply({**variables, **moved}, x, False)
    # The kernel as the matrix from all that goes into an output to its channels; biases are 0.
    largest = np.linalg.svd(np.reshape(kernel, (-1, kernel.shape[-1])), compute_uv=False)[0]
    np.testing.assert_allclose(
        largest * y, layer.apply({"params": params}, x), rtol=1e-3, atol=1e-4
    )
    # The vectors move while training, and only then.
    _, still = module.apply(variables, x, False, mutable=["spectral"])
    jax.tree.map(np.testing.assert_array_equal, still, {"spectral": variables["spectral"]})
    assert not jax.tree.all(jax.tree.map(jnp.allclose, moved["spectral"], variables["spectral"]))


def test_largest_singular_value_of_a_spectral_kernel_is_1():
    module, x = Spectral(nn.Dense(4, kernel_init=nn.initializers.normal(3.0))), jnp.eye(6)
    variables = module.init(jax.random.key(1), x, False)
    for _ in range(50):
        kernel, moved = module.apply(variables, x, True, mutable=["spectral"])
        variables |= moved
    # The images of the unit vectors are the rows of the effective kernel.
    np.testing.assert_allclose(np.linalg.svd(kernel, compute_uv=False)[0], 1.0, rtol=1e-3)


def test_spectral_can_be_off():
    x = LAYERS["dense"][1]
    layer = nn.Dense(4)
    variables = layer.init(jax.random.key(0), x)
    bound = layer.bind(variables)
    np.testing.assert_array_equal(spectral(bound, False, x, train=True), bound(x))
