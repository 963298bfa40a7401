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
    ours, theirs = (layer(3, kernel, strides, padding) for layer in PAIRS[name])
    x = jax.random.normal(jax.random.key(0), (2, 7, 8, 2))
    key = jax.random.key(1)
    variables = theirs.init(key, x)
    jax.tree.map(np.testing.assert_array_equal, ours.init(key, x), variables)

    both = lambda *args: (both_orders(ours)(*args), both_orders(theirs)(*args))
    got, expected = jax.jit(both)(variables, x)
    # Sums of up to some hundred float32 products, in another order.
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * np.abs(b).max())
    jax.tree.map(close, got, expected)
