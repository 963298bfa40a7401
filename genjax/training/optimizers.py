"""Optimizers by name, all with the same fields."""

import jax
import jax.numpy as jnp
import optax
from optax import contrib

from genjax.schedule import Schedule
from genjax.types import PyTree


def adam(learning_rate: Schedule, b1: float, b2: float) -> optax.GradientTransformation:
    """Adam (Kingma and Ba 2015)."""
    return optax.adam(learning_rate, b1=b1, b2=b2)


def normalized_adam(learning_rate: Schedule, b1: float, b2: float) -> optax.GradientTransformation:
    """Adam on gradients that are each divided by their norm, parameter by parameter.

    The optimizer of Tomczak and Welling 2018, in their code: all steps count alike in Adam's means,
    however steep the loss was.
    """

    divided = lambda gradient: gradient / (jnp.sqrt(jnp.vdot(gradient, gradient)) + 1e-7)
    normalize = optax.stateless(lambda gradients, params: jax.tree.map(divided, gradients))
    return optax.chain(normalize, adam(learning_rate, b1, b2))


def rmsprop(learning_rate: Schedule, b1: float, b2: float) -> optax.GradientTransformation:
    """RMSProp: `b2` is the decay of the mean square, `b1` the momentum.

    Epsilon, 1e-8, is inside the root as in TensorFlow; PyTorch adds it to the root.
    """
    return optax.rmsprop(learning_rate, decay=b2, momentum=b1)


def boxed_rmsprop(
    learning_rate: Schedule, b1: float, b2: float, weight_clip: float
) -> optax.GradientTransformation:
    """RMSProp that sets each parameter back to [-weight_clip, weight_clip] after each step.

    Of a critic, which is Lipschitz so (Arjovsky et al. 2017, algorithm 1: biases, too).
    """

    def kept_inside(updates: PyTree, params: PyTree) -> PyTree:
        inside = lambda update, leaf: jnp.clip(leaf + update, -weight_clip, weight_clip) - leaf
        return jax.tree.map(inside, updates, params)

    return optax.chain(rmsprop(learning_rate, b1, b2), optax.stateless(kept_inside))


def sgd(learning_rate: Schedule, b1: float, b2: float) -> optax.GradientTransformation:
    """Gradient descent with momentum `b1`; it has no use for `b2`."""
    del b2
    return optax.sgd(learning_rate, momentum=b1)


def muon(learning_rate: Schedule, b1: float, b2: float) -> optax.GradientTransformation:
    """Muon (Jordan 2024): the momentum of each kernel, as a matrix with all singular values near 1.

    A kernel is the matrix from all that goes in to the features that come out. What is not called
    one is taught by Adam, with Nesterov's momentum, at the same rate, which is why updates have the
    size of Adam's (Liu et al. 2025, section 2.2). `b1` is the momentum, and Adam's; `b2` is Adam's.
    """

    def matrices(params: PyTree) -> PyTree:
        into = lambda kernel: contrib.MuonDimensionNumbers(tuple(range(kernel.ndim - 1)), (-1,))
        is_kernel = lambda path: path[-1] == jax.tree_util.DictKey("kernel")
        return jax.tree.map_with_path(
            lambda path, leaf: into(leaf) if is_kernel(path) else None, params
        )

    return contrib.muon(
        learning_rate,
        beta=b1,
        adam_b1=b1,
        adam_b2=b2,
        consistent_rms=0.2,
        muon_weight_dimension_numbers=matrices,
    )


#: The optimizers that a config may name.
OPTIMIZERS = {
    "adam": adam,
    "normalized_adam": normalized_adam,
    "rmsprop": rmsprop,
    "boxed_rmsprop": boxed_rmsprop,
    "sgd": sgd,
    "muon": muon,
}


def clipped(
    optimizer: optax.GradientTransformation, clip_norm: float
) -> optax.GradientTransformation:
    """`optimizer` on gradients of a global norm of at most `clip_norm`; 0 leaves them alone."""
    if clip_norm == 0:
        return optimizer
    return optax.chain(optax.clip_by_global_norm(clip_norm), optimizer)
