"""Convolution and transposed convolution whose gradients XLA lowers well.

Autodiff writes the gradients of a convolution as convolutions with permuted dimensions. XLA on CPU
puts such a one into a form that it has a fast kernel for only at a program's top level: inside a
loop, a kernel gradient was measured 40 to 200 times slower. The kernel gradient of a transposed
convolution is written with a dilated left side and is slow everywhere, on GPU too. So the
gradients are written out here, in the one order of dimensions that has fast kernels.

A convolution is one bilinear form in (input, kernel, gradient of the output). Its three partial
derivatives, `_output`, `_input` and `_kernel`, are one another's gradients, to any order, which
gradient penalties need.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

Pair = tuple[int, int]


class Geometry(NamedTuple):
    """What the arrays do not tell: all sizes are (height, width)."""

    strides: Pair
    padding: tuple[Pair, Pair]  # (before, after) for height and for width
    input_size: Pair
    kernel_size: Pair


def _convolve(x, kernel, strides=(1, 1), padding=((0, 0), (0, 0)), **dilation):
    return lax.conv_general_dilated(
        x, kernel, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC"), **dilation
    )


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _output(geometry: Geometry, x: Array, kernel: Array) -> Array:
    """The convolution itself: [B, H, W, I] and [h, w, I, O] to [B, H', W', O]."""
    return _convolve(x, kernel, geometry.strides, geometry.padding)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _input(geometry: Geometry, gradient: Array, kernel: Array) -> Array:
    """The gradient in the input: [B, H', W', O] and [h, w, I, O] to [B, H, W, I]."""
    padding = []
    for axis, (before, _) in enumerate(geometry.padding):
        small, stride = gradient.shape[1 + axis], geometry.strides[axis]
        size, k = geometry.input_size[axis], geometry.kernel_size[axis]
        low = k - 1 - before
        # Output = (dilated input + low + high) - (k - 1); it must come out as `size`.
        padding.append((low, size + k - 1 - ((small - 1) * stride + 1) - low))
    flipped = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    return _convolve(gradient, flipped, padding=padding, lhs_dilation=geometry.strides)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _kernel(geometry: Geometry, x: Array, gradient: Array) -> Array:
    """The gradient in the kernel: [B, H, W, I] and [B, H', W', O] to [h, w, I, O]."""
    padding = []
    for axis, (before, _) in enumerate(geometry.padding):
        small, stride = gradient.shape[1 + axis], geometry.strides[axis]
        size, k = geometry.input_size[axis], geometry.kernel_size[axis]
        # Output = (input + before + high) - (dilated gradient - 1); it must come out as k.
        padding.append((before, k + (small - 1) * stride - size - before))
    # Channels take the batch's place, and the batch is what is summed over.
    kernel = _convolve(
        x.transpose(3, 1, 2, 0),
        gradient.transpose(1, 2, 0, 3),
        padding=padding,
        rhs_dilation=geometry.strides,
    )
    return kernel.transpose(1, 2, 0, 3)


def _keep(function):
    """The forward rule of a bilinear function: its value, and both arguments for the gradient."""
    return lambda geometry, a, b: (function(geometry, a, b), (a, b))


_output.defvjp(
    _keep(_output),
    lambda geo, kept, g: (_input(geo, g, kept[1]), _kernel(geo, kept[0], g)),
)
_input.defvjp(
    _keep(_input),
    lambda geo, kept, g: (_output(geo, g, kept[1]), _kernel(geo, g, kept[0])),
)
_kernel.defvjp(
    _keep(_kernel),
    lambda geo, kept, g: (_input(geo, kept[1], g), _output(geo, kept[0], g)),
)


def convolve(
    x: Float[Array, "batch height width in"],
    kernel: Float[Array, "kernel_height kernel_width in out"],
    strides: Sequence[int],
    padding: str,
) -> Float[Array, "batch out_height out_width out"]:
    """The convolution of `flax.linen.Conv`; reverse mode only, to any order."""
    size, kernel_size = x.shape[1:3], kernel.shape[:2]
    padding = lax.padtype_to_pads(size, kernel_size, strides, padding)
    geometry = Geometry(tuple(strides), tuple(map(tuple, padding)), size, kernel_size)
    return _output(geometry, x, kernel)


def transposed_convolve(
    x: Float[Array, "batch height width in"],
    kernel: Float[Array, "kernel_height kernel_width in out"],
    strides: Sequence[int],
    padding: str,
) -> Float[Array, "batch out_height out_width out"]:
    """`lax.conv_transpose(x, kernel, strides, padding)`; reverse mode only, to any order.

    It is the input gradient of the ordinary convolution from the larger to the smaller image with
    the flipped kernel. `padding`: `SAME` (output = input * stride) or `VALID`.
    """
    size, pads = [], []
    for small, k, stride in zip(x.shape[1:3], kernel.shape[:2], strides, strict=True):
        # How far lax.conv_transpose pads the dilated input at either end.
        total = k + stride - 2 + (max(k - stride, 0) if padding == "VALID" else 0)
        if padding == "VALID" or stride > k - 1:
            low = k - 1
        else:
            low = -(-total // 2)
        large = (small - 1) * stride + 1 + total - (k - 1)
        size.append(large)
        pads.append((k - 1 - low, (small - 1) * stride + k - large - (k - 1 - low)))
    geometry = Geometry(tuple(strides), tuple(pads), tuple(size), kernel.shape[:2])
    return _input(geometry, x, jnp.flip(kernel, (0, 1)).swapaxes(2, 3))


class Conv(nn.Module):
    """`flax.linen.Conv` in two dimensions, parameter for parameter, by way of `convolve`."""

    features: int
    kernel_size: Pair
    strides: Pair = (1, 1)
    padding: str = "SAME"
    dtype: jnp.dtype | None = None
    kernel_init: nn.initializers.Initializer = nn.linear.default_kernel_init

    def apply_kernel(self, x: Array, kernel: Array) -> Array:
        """What the layer does with its kernel [height, width, in, out]."""
        return convolve(x, kernel, self.strides, self.padding)

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[batch, height, width, channel] to [batch, height', width', features]."""
        shape = (*self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        return self.apply_kernel(x, kernel) + bias


class ConvTranspose(Conv):
    """`flax.linen.ConvTranspose`, parameter for parameter, by way of `transposed_convolve`."""

    def apply_kernel(self, x: Array, kernel: Array) -> Array:
        """What the layer does with its kernel [height, width, in, out]."""
        return transposed_convolve(x, kernel, self.strides, self.padding)
