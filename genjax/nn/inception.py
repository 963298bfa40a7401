"""The Inception-v3 by which FID is defined: Google's graph of 2015-12-05.

The network of Szegedy et al. 2016 with 1,008 classes. Where papers' versions differ, this is as
that graph is: averages over 3x3 pixels leave out the padding, and the last block takes a maximum
instead of an average. Names are those of the state dict of its PyTorch port,
pt_inception-2015-12-05-6726825d.pth (pytorch-fid, torch-fidelity).

It only infers. Batch norm is folded into the convolutions. Averaging and a 1x1 convolution may
change places, and averaging fewer channels costs less; so all 1x1 convolutions that look at one
input are one matrix product.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import lax
from jaxtyping import Array, Float

from genjax.nn.pretrained import StateDict, take, take_kernel
from genjax.types import Images, PyTree

SIZE = 299
NUM_FEATURES = 2048
NUM_CLASSES = 1008
BATCH_NORM_EPSILON = 1e-3


class Outputs(NamedTuple):
    """What the network says of images.

    Attributes:
      features: the mean over pixels of the last block, which FID and KID compare.
      logits: of the 1,008 classes.
      logits_unbiased: the same without the last layer's bias, as the Inception score takes them.
    """

    features: Float[Array, "batch 2048"]
    logits: Float[Array, "batch 1008"]
    logits_unbiased: Float[Array, "batch 1008"]


class _Weights(nn.Module):
    """The kernel and bias of a convolution, batch norm included."""

    shape: tuple[int, ...]

    @nn.compact
    def __call__(self) -> tuple[Array, Array]:
        kernel = self.param("kernel", nn.initializers.he_normal(), self.shape)
        return kernel, self.param("bias", nn.initializers.zeros, self.shape[-1:])


def _conv(x: Array, name: str, features: int, size=(1, 1), stride=1, padding="SAME") -> Array:
    kernel, bias = _Weights((*size, x.shape[-1], features), name=name)()
    return nn.relu(_convolve(x, kernel, stride, padding) + bias)


def _heads(x: Array, **features: int) -> list[Array]:
    """1x1 convolutions of `x` by name, before their activation."""
    weights = [_Weights((1, 1, x.shape[-1], num), name=name)() for name, num in features.items()]
    kernels, biases = zip(*weights, strict=True)
    y = _convolve(x, jnp.concatenate(kernels, -1), 1, "SAME") + jnp.concatenate(biases)
    return jnp.split(y, np.cumsum(list(features.values()))[:-1], axis=-1)


def _convolve(x: Array, kernel: Array, stride: int, padding: str) -> Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        # Accelerators would multiply with fewer bits, and the score would tell where it was taken.
        precision=lax.Precision.HIGHEST,
    )


def _average(x: Array) -> Array:
    return nn.avg_pool(x, (3, 3), padding="SAME", count_include_pad=False)


def _halve(x: Array) -> Array:
    return nn.max_pool(x, (3, 3), (2, 2))


class _BlockA(nn.Module):
    pool_features: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        one, five, three, pooled = _heads(
            x, branch1x1=64, branch5x5_1=48, branch3x3dbl_1=64, branch_pool=self.pool_features
        )
        five = _conv(nn.relu(five), "branch5x5_2", 64, (5, 5))
        three = _conv(nn.relu(three), "branch3x3dbl_2", 96, (3, 3))
        three = _conv(three, "branch3x3dbl_3", 96, (3, 3))
        return jnp.concatenate([nn.relu(one), five, three, nn.relu(_average(pooled))], -1)


class _BlockB(nn.Module):
    @nn.compact
    def __call__(self, x: Array) -> Array:
        single = _conv(x, "branch3x3", 384, (3, 3), 2, "VALID")
        double = _conv(x, "branch3x3dbl_1", 64)
        double = _conv(double, "branch3x3dbl_2", 96, (3, 3))
        double = _conv(double, "branch3x3dbl_3", 96, (3, 3), 2, "VALID")
        return jnp.concatenate([single, double, _halve(x)], -1)


class _BlockC(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        one, single, double, pooled = _heads(
            x, branch1x1=192, branch7x7_1=self.width, branch7x7dbl_1=self.width, branch_pool=192
        )
        single = _conv(nn.relu(single), "branch7x7_2", self.width, (1, 7))
        single = _conv(single, "branch7x7_3", 192, (7, 1))
        double = _conv(nn.relu(double), "branch7x7dbl_2", self.width, (7, 1))
        double = _conv(double, "branch7x7dbl_3", self.width, (1, 7))
        double = _conv(double, "branch7x7dbl_4", self.width, (7, 1))
        double = _conv(double, "branch7x7dbl_5", 192, (1, 7))
        return jnp.concatenate([nn.relu(one), single, double, nn.relu(_average(pooled))], -1)


class _BlockD(nn.Module):
    @nn.compact
    def __call__(self, x: Array) -> Array:
        three, seven = map(nn.relu, _heads(x, branch3x3_1=192, branch7x7x3_1=192))
        three = _conv(three, "branch3x3_2", 320, (3, 3), 2, "VALID")
        seven = _conv(seven, "branch7x7x3_2", 192, (1, 7))
        seven = _conv(seven, "branch7x7x3_3", 192, (7, 1))
        seven = _conv(seven, "branch7x7x3_4", 192, (3, 3), 2, "VALID")
        return jnp.concatenate([three, seven, _halve(x)], -1)


class _BlockE(nn.Module):
    pool: str

    @nn.compact
    def __call__(self, x: Array) -> Array:
        features = {"branch1x1": 320, "branch3x3_1": 384, "branch3x3dbl_1": 448}
        if self.pool == "average":
            one, single, double, pooled = _heads(x, **features, branch_pool=192)
            pooled = nn.relu(_average(pooled))
        else:  # a maximum does not change places with a convolution
            one, single, double = _heads(x, **features)
            pooled = _conv(nn.max_pool(x, (3, 3), padding="SAME"), "branch_pool", 192)
        single, double = nn.relu(single), nn.relu(double)
        double = _conv(double, "branch3x3dbl_2", 384, (3, 3))
        parts = [
            nn.relu(one),
            _conv(single, "branch3x3_2a", 384, (1, 3)),
            _conv(single, "branch3x3_2b", 384, (3, 1)),
            _conv(double, "branch3x3dbl_3a", 384, (1, 3)),
            _conv(double, "branch3x3dbl_3b", 384, (3, 1)),
            pooled,
        ]
        return jnp.concatenate(parts, -1)


class Inception(nn.Module):
    """Images of 299x299 pixels with 1 or 3 channels to `Outputs`; grey is repeated to RGB."""

    @nn.compact
    def __call__(self, images: Images) -> Outputs:
        """Images in [0, 1]; by the metrics' definitions, such as 8 bits can hold."""
        x = (255 * images - 128) / 128
        x = jnp.broadcast_to(x, (*x.shape[:-1], 3))
        x = _conv(x, "Conv2d_1a_3x3", 32, (3, 3), 2, "VALID")
        x = _conv(x, "Conv2d_2a_3x3", 32, (3, 3), padding="VALID")
        x = _halve(_conv(x, "Conv2d_2b_3x3", 64, (3, 3)))
        x = _conv(x, "Conv2d_3b_1x1", 80)
        x = _halve(_conv(x, "Conv2d_4a_3x3", 192, (3, 3), padding="VALID"))
        x = _BlockA(32, name="Mixed_5b")(x)
        x = _BlockA(64, name="Mixed_5c")(x)
        x = _BlockA(64, name="Mixed_5d")(x)
        x = _BlockB(name="Mixed_6a")(x)
        x = _BlockC(128, name="Mixed_6b")(x)
        x = _BlockC(160, name="Mixed_6c")(x)
        x = _BlockC(160, name="Mixed_6d")(x)
        x = _BlockC(192, name="Mixed_6e")(x)
        x = _BlockD(name="Mixed_7a")(x)
        x = _BlockE("average", name="Mixed_7b")(x)
        x = _BlockE("maximum", name="Mixed_7c")(x)
        features = x.mean((1, 2))
        kernel, bias = _Weights((NUM_FEATURES, NUM_CLASSES), name="fc")()
        unbiased = jnp.dot(features, kernel, precision=lax.Precision.HIGHEST)
        return Outputs(features, unbiased + bias, unbiased)


def inception_params(weights: StateDict, where: str) -> PyTree:
    """The parameters of `Inception` from the state dict of its PyTorch port.

    Raises:
      UserError: weights are missing or of other shapes; `where` is the flag that named the file.
    """
    image = jax.ShapeDtypeStruct((1, SIZE, SIZE, 3), jnp.float32)
    shapes = jax.eval_shape(Inception().init, jax.random.key(0), image)["params"]
    shapes = {name: leaf.shape for name, leaf in flatten_dict(shapes, sep=".").items()}
    params = {}
    for layer in (name.removesuffix(".kernel") for name in shapes if name.endswith(".kernel")):
        shape = shapes[f"{layer}.kernel"]
        if layer == "fc":
            kernel = take(weights, "fc.weight", shape[::-1], where).T
            bias = take(weights, "fc.bias", shape[-1:], where)
        else:
            kernel, bias = _folded(weights, layer, shape, where)
        params[f"{layer}.kernel"], params[f"{layer}.bias"] = kernel, bias
    return unflatten_dict(params, sep=".")


def _folded(weights: StateDict, layer: str, shape, where: str) -> tuple[np.ndarray, np.ndarray]:
    """The kernel and bias of a convolution and the batch norm behind it, together."""
    kernel = take_kernel(weights, f"{layer}.conv.weight", shape, where)
    names = ("weight", "bias", "running_mean", "running_var")
    scale, bias, mean, var = (
        take(weights, f"{layer}.bn.{name}", shape[-1:], where).astype(np.float64) for name in names
    )
    scale = scale / np.sqrt(var + BATCH_NORM_EPSILON)
    return (kernel * scale).astype(np.float32), (bias - mean * scale).astype(np.float32)
