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

from genjax.nn.channels import spread

Pair = tuple[int, int]
#: So many channels has an image, or less.
FEW = 4


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
    """The gradient in the input: [B, H', W', O] and [h, w, I, O] to [B, H, W, I].

    As one convolution it would have a dilated left side, which is slow. So every stride-th row and
    column, a phase, comes from a convolution of its own; or, where the input has `FEW` channels,
    for which convolutions are slow too, from one matrix product for all taps.
    """
    # Where a stride is longer than the kernel, some phases meet taps that are zero.
    missing = [(0, max(s - k, 0)) for s, k in zip(geometry.strides, kernel.shape[:2], strict=True)]
    kernel = jnp.pad(kernel, (*missing, (0, 0), (0, 0)))
    rows, columns = _phases(geometry, 0), _phases(geometry, 1)
    height, width = geometry.input_size
    if kernel.shape[2] <= FEW:
        products = jnp.einsum("bpqo,hwio->bpqhwi", gradient, kernel)
        products = _interleave([row.add(products, 1) for row in rows], 1, height)
        return _interleave([column.add(products, 2) for column in columns], 2, width)

    def convolution(row: _Phase, column: _Phase) -> Array:
        taps = kernel[row.taps, column.taps][::-1, ::-1].swapaxes(2, 3)
        padding = row.padding(len(taps), gradient.shape[1])
        padding = padding, column.padding(taps.shape[1], gradient.shape[2])
        return _convolve(gradient, taps, padding=padding)

    across = lambda row: _interleave([convolution(row, each) for each in columns], 2, width)
    return _interleave([across(row) for row in rows], 1, height)


class _Phase(NamedTuple):
    """Every stride-th row or column of an input; number q meets output q + reach - j by tap j."""

    taps: slice  # of the kernel
    reach: int
    size: int  # rows or columns; the last may lie outside the input

    def padding(self, num_taps: int, outputs: int) -> Pair:
        """The padding of the outputs' gradient for a convolution that gives the phase."""
        low = num_taps - 1 - self.reach
        return low, self.size + num_taps - 1 - outputs - low

    def add(self, products: Array, axis: int) -> Array:
        """The sum over the phase's taps, axis 3 of `products`, each moved along `axis`."""
        total = 0.0
        for j, each in enumerate(jnp.moveaxis(products[:, :, :, self.taps], 3, 0)):
            shift, padding = self.reach - j, [(0, 0, 0)] * each.ndim
            padding[axis] = (-shift, self.size + shift - each.shape[axis], 0)
            total += lax.pad(each, jnp.zeros((), each.dtype), padding)
        return total


def _phases(geometry: Geometry, axis: int) -> list[_Phase]:
    before, stride = geometry.padding[axis][0], geometry.strides[axis]
    size = -(-geometry.input_size[axis] // stride)
    starts = (divmod(phase + before, stride) for phase in range(stride))
    return [_Phase(slice(first, None, stride), reach, size) for reach, first in starts]


def _interleave(phases: Sequence[Array], axis: int, size: int) -> Array:
    """The phases' rows (`axis` 1) or columns (2) in turn, the first `size` of them."""
    shape = list(phases[0].shape)
    shape[axis] *= len(phases)
    return lax.slice_in_dim(jnp.stack(phases, axis + 1).reshape(shape), 0, size, axis=axis)


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


def upsampled_convolve(
    x: Float[Array, "batch height width in"], kernel: Float[Array, "3 3 in out"]
) -> Float[Array, "batch 2*height 2*width out"]:
    """The 3x3 convolution, padded `SAME`, of `x` with every pixel twice in both directions.

    A pixel of it meets only 2x2 pixels of `x`: 4/9 of the multiplications.
    """
    return transposed_convolve(x, _doubled(kernel), (2, 2), "SAME")


def convolve_and_downsample(
    x: Float[Array, "batch height width in"], kernel: Float[Array, "3 3 in out"]
) -> Float[Array, "batch height/2 width/2 out"]:
    """The mean of every 2x2 pixels of the 3x3 convolution, padded `SAME`; sides are even.

    It is one 4x4 convolution with stride 2: 4/9 of the multiplications.
    """
    return convolve(x, _doubled(kernel) / 4, (2, 2), "SAME")


def _doubled(kernel: Float[Array, "3 3 in out"]) -> Float[Array, "4 4 in out"]:
    """The sum of the kernel and itself one tap on, in both directions."""
    kernel = jnp.pad(kernel, ((0, 1), (0, 0), (0, 0), (0, 0)))
    kernel += jnp.roll(kernel, 1, 0)
    kernel = jnp.pad(kernel, ((0, 0), (0, 1), (0, 0), (0, 0)))
    return kernel + jnp.roll(kernel, 1, 1)


#: What may come with a 3x3 convolution: doubling before it, or halving after it.
RESAMPLING = {"up": upsampled_convolve, "down": convolve_and_downsample}


class Conv(nn.Module):
    """`flax.linen.Conv` in two dimensions, parameter for parameter, by way of `convolve`.

    `resample`: `up` for `upsampled_convolve`, `down` for `convolve_and_downsample`; both need
    `kernel_size` (3, 3).
    """

    features: int
    kernel_size: Pair
    strides: Pair = (1, 1)
    padding: str = "SAME"
    dtype: jnp.dtype | None = None
    kernel_init: nn.initializers.Initializer = nn.linear.default_kernel_init
    resample: str = "none"

    def apply_kernel(self, x: Array, kernel: Array) -> Array:
        """What the layer does with its kernel [height, width, in, out]."""
        if self.resample in RESAMPLING:
            return RESAMPLING[self.resample](x, kernel)
        return convolve(x, kernel, self.strides, self.padding)

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[batch, height, width, channel] to [batch, height', width', features]."""
        shape = (*self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        y = self.apply_kernel(x, kernel)
        return y + spread(bias, y.shape)


class ConvTranspose(Conv):
    """`flax.linen.ConvTranspose`, parameter for parameter, by way of `transposed_convolve`."""

    def apply_kernel(self, x: Array, kernel: Array) -> Array:
        """What the layer does with its kernel [height, width, in, out]."""
        return transposed_convolve(x, kernel, self.strides, self.padding)
