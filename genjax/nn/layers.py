"""Layers that the networks share: activation, normalisation, conditioning."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array

from genjax.nn.channels import channel_mean, spread
from genjax.types import Labels, PyTree

#: How the kernels of dense layers start, by the names that Flax has for it.
KERNEL_INITS = {
    "lecun_normal": nn.initializers.lecun_normal(),
    "he_normal": nn.initializers.he_normal(),
    "xavier_uniform": nn.initializers.xavier_uniform(),
}
#: The mapped axis over which a batch is spread; batch norm takes its statistics over it.
AXIS = "data"


def pmean(tree: PyTree) -> PyTree:
    """The mean over the devices that share the batch; on one device nothing, and no copy."""
    return tree if jax.lax.axis_size(AXIS) == 1 else jax.lax.pmean(tree, AXIS)


def leaky_relu(x: Array, slope: float = 0.2) -> Array:
    """max(x, slope * x). As a maximum, not a select: XLA fuses it better on CPU."""
    return jnp.maximum(x, slope * x)


def concatenate_label(x: Array, labels: Labels | None, num_classes: int) -> Array:
    """`x` [batch, ..., channel] with the one-hot label as further channels (Mirza, Osindero 2014).

    `x` itself where there are no labels.
    """
    if labels is None:
        return x
    one_hot = jax.nn.one_hot(labels, num_classes, dtype=x.dtype)
    one_hot = one_hot.reshape(one_hot.shape[0], *(1,) * (x.ndim - 2), num_classes)
    return jnp.concatenate([x, jnp.broadcast_to(one_hot, (*x.shape[:-1], num_classes))], axis=-1)


class BatchNorm(nn.Module):
    """`flax.linen.BatchNorm` (Ioffe and Szegedy 2015), variable for variable, over every device."""

    use_scale_and_bias: bool = True
    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """`x` [..., channel] normalised by the batch's statistics, or out of training the kept."""
        features = x.shape[-1:]
        kept_mean = self.variable("batch_stats", "mean", jnp.zeros, features)
        kept_var = self.variable("batch_stats", "var", jnp.ones, features)
        mean, var = kept_mean.value, kept_var.value
        if train:
            wide = x.astype(jnp.float32)
            moments = channel_mean(wide), channel_mean(wide * wide)
            if not self.is_initializing():
                moments = pmean(moments)
            mean, square = moments
            var = jnp.maximum(square - mean * mean, 0)
            if not self.is_initializing():
                kept_mean.value = self._moved(kept_mean.value, mean)
                kept_var.value = self._moved(kept_var.value, var)
        scale, shift = jax.lax.rsqrt(var + self.epsilon), 0.0
        if self.use_scale_and_bias:
            scale *= self.param("scale", nn.initializers.ones, features)
            shift = self.param("bias", nn.initializers.zeros, features)
        # One factor and one term for each channel, whose gradients are one sum each.
        y = x * spread(scale, x.shape) + spread(shift - mean * scale, x.shape)
        return y.astype(self.dtype)

    def _moved(self, kept: Array, new: Array) -> Array:
        return self.momentum * kept + (1 - self.momentum) * new


class Normalize(nn.Module):
    """Normalisation by name: `none`, `batch`, `layer`, `instance`, `conditional_batch`.

    Batch statistics are those of the whole batch, over every device. `layer` normalises each
    example by itself, over pixels and channels, as WGAN-GP's critic does; `instance` each of its
    channels (Ulyanov et al. 2016). `conditional_batch` has a scale and a bias for each class
    (Dumoulin et al. 2017).
    """

    kind: str
    num_classes: int = 0
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, labels: Labels | None = None, *, train: bool) -> Array:
        """`x` [batch, ..., channel], normalised; the same shape."""
        if self.kind == "none":
            return x
        if self.kind == "layer":
            return nn.LayerNorm(dtype=self.dtype, reduction_axes=tuple(range(1, x.ndim)))(x)
        if self.kind == "instance":
            return nn.InstanceNorm(dtype=self.dtype)(x)
        conditional = self.kind == "conditional_batch"
        x = BatchNorm(use_scale_and_bias=not conditional, dtype=self.dtype)(x, train=train)
        if not conditional:
            return x
        features = x.shape[-1]
        embed = partial(nn.Embed, self.num_classes, features, dtype=self.dtype)
        scale = embed(embedding_init=nn.initializers.ones, name="scale")(labels)
        bias = embed(embedding_init=nn.initializers.zeros, name="bias")(labels)
        shape = (x.shape[0], *(1,) * (x.ndim - 2), features)
        return x * scale.reshape(shape) + bias.reshape(shape)


def spectral(layer: nn.Module, enabled: bool, x: Array, *, train: bool) -> Array:
    """`layer(x)`; if `enabled`, with its kernel divided by its largest singular value.

    One power iteration a call (Miyato et al. 2018); its vectors live in the collection
    `spectral` and move on only while training.
    """
    if not enabled:
        return layer(x)
    return nn.SpectralNorm(layer, collection_name="spectral")(x, update_stats=train)
