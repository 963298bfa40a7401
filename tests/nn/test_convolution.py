"""Our convolutions are Flax's: parameters, values, gradients, and gradients of gradients."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nn.convolution import Conv, ConvTranspose

PAIRS = {"down": (Conv, nn.Conv), "up": (ConvTranspose, nn.ConvTranspose)}
# (kernel, strides): those of the networks; then, one along the height and one along the width,
# every other kernel of 1 to 5 with every stride of 1 to 3.
GEOMETRIES = [
    ((4, 4), (2, 2)),
    ((3, 3), (1, 1)),
    ((1, 1), (1, 1)),
    ((1, 2), (2, 3)),
    ((1, 2), (3, 1)),
    ((2, 5), (2, 1)),
    ((3, 4), (2, 3)),
    ((3, 5), (3, 2)),
    ((4, 5), (1, 3)),
]


def both_orders(layer):
    """(the output, a loss's gradients, the gradients of the squared norm of those gradients)."""
    # The sine makes the loss bend, so that its gradients depend on everything.
    loss = lambda variables, x: jnp.sin(layer.apply(variables, x)).sum()
    gradients = jax.grad(loss, argnums=(0, 1))

    def squared_norm(variables, x):
        return sum((leaf**2).sum() for leaf in jax.tree.leaves(gradients(variables, x)))

    second = jax.grad(squared_norm, argnums=(0, 1))
    return lambda *args: (layer.apply(*args), gradients(*args), second(*args))


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(("kernel", "strides"), GEOMETRIES)
@pytest.mark.parametrize("name", PAIRS)
def test_layer_equals_that_of_flax(name, kernel, strides, padding):
    # Few channels go another way than more; both are met going up and going down.
    features, channels = (3, 6) if padding == "SAME" else (6, 3)
    ours, theirs = (layer(features, kernel, strides, padding) for layer in PAIRS[name])
    x = jax.random.normal(jax.random.key(0), (2, 7, 8, channels))
    key = jax.random.key(1)
    variables = theirs.init(key, x)
    jax.tree.map(np.testing.assert_array_equal, ours.init(key, x), variables)

    both = lambda *args: (both_orders(ours)(*args), both_orders(theirs)(*args))
    got, expected = jax.jit(both)(variables, x)
    # Sums of up to some hundred float32 products, in another order.
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * np.abs(b).max())
    jax.tree.map(close, got, expected)


@pytest.mark.parametrize(("features", "channels"), [(3, 6), (6, 3)])
@pytest.mark.parametrize("resample", ["up", "down"])
def test_resampling_is_part_of_the_convolution(resample, features, channels):
    class Apart(nn.Module):
        @nn.compact
        def __call__(self, x):
            conv = nn.Conv(features, (3, 3))
            if resample == "up":
                return conv(jnp.repeat(jnp.repeat(x, 2, 1), 2, 2))
            return nn.avg_pool(conv(x), (2, 2), (2, 2))

    class Together(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Conv(features, (3, 3), resample=resample)(x)

    x = jax.random.normal(jax.random.key(0), (2, 6, 4, channels))
    variables = Apart().init(jax.random.key(1), x)
    jax.tree.map(np.testing.assert_array_equal, Together().init(jax.random.key(1), x), variables)
    both = lambda *args: (both_orders(Together())(*args), both_orders(Apart())(*args))
    got, expected = jax.jit(both)(variables, x)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * np.abs(b).max())
    jax.tree.map(close, got, expected)
