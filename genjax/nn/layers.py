"""Layers that the networks share: activation, normalisation, conditioning."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array

from genjax.types import Labels

#: The mapped axis over which a batch is spread; batch norm takes its statistics over it.
AXIS = "data"


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


class Normalize(nn.Module):
    """Normalisation by name: `none`, `batch`, `layer`, `conditional_batch`.

    Batch statistics are those of the whole batch, over every device. `layer` normalises each
    example by itself, over pixels and channels, as WGAN-GP's critic does. `conditional_batch` has
    a scale and a bias for each class (Dumoulin et al. 2017).
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
        conditional = self.kind == "conditional_batch"
        x = nn.BatchNorm(
            use_running_average=not train,
            momentum=0.9,
            axis_name=AXIS,
            use_scale=not conditional,
            use_bias=not conditional,
            dtype=self.dtype,
        )(x)
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
