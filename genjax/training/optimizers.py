"""Optimizers by name, all with the same fields."""

import optax

from genjax.schedule import Schedule


def adam(learning_rate: Schedule, b1: float, b2: float) -> optax.GradientTransformation:
    """Adam (Kingma and Ba 2015)."""
    return optax.adam(learning_rate, b1=b1, b2=b2)


def rmsprop(learning_rate: Schedule, b1: float, b2: float) -> optax.GradientTransformation:
    """RMSProp: `b2` is the decay of the mean square, `b1` the momentum."""
    return optax.rmsprop(learning_rate, decay=b2, momentum=b1)


def sgd(learning_rate: Schedule, b1: float, b2: float) -> optax.GradientTransformation:
    """Gradient descent with momentum `b1`; it has no use for `b2`."""
    del b2
    return optax.sgd(learning_rate, momentum=b1)


#: The optimizers that a config may name.
OPTIMIZERS = {"adam": adam, "rmsprop": rmsprop, "sgd": sgd}


def clipped(
    optimizer: optax.GradientTransformation, clip_norm: float
) -> optax.GradientTransformation:
    """`optimizer` on gradients of a global norm of at most `clip_norm`; 0 leaves them alone."""
    if clip_norm == 0:
        return optimizer
    return optax.chain(optax.clip_by_global_norm(clip_norm), optimizer)
