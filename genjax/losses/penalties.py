"""Penalties on the gradient of a critic with respect to its images, unweighted and per example.

All have one signature:

  critic: images -> logits [batch]. Where batch statistics tie logits to other images, too, the
    gradient of one example holds parts of the others'; layer norm keeps them apart (Gulrajani et
    al. 2017, section 4).
  real, fake: images in the range that the critic expects, which need not be [0, 1].
  key: where the random draws come from.
  positions: the examples' places in the global batch, to which the draws belong.
  axis_name: the device axis over which the batch is split evenly, if it is.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from genjax import rng
from genjax.types import Images, PerExample, Positions, PRNGKey

Critic = Callable[[Images], PerExample]
#: Any function of this module; the arguments are those above.
Penalty = Callable[..., PerExample]


def gradient_penalty(
    critic: Critic,
    real: Images,
    fake: Images,
    key: PRNGKey,
    positions: Positions,
    axis_name: str | None = None,
) -> PerExample:
    """(||gradient|| - 1)^2 at a random point between a real and a fake image.

    Gulrajani et al. 2017, eq. 3, without the weight.
    """
    del axis_name
    fraction = rng.uniform(key, positions, (1, 1, 1))
    return _distance_from_unit_slope(critic, real + fraction * (fake - real))


def r1(
    critic: Critic,
    real: Images,
    fake: Images,
    key: PRNGKey,
    positions: Positions,
    axis_name: str | None = None,
) -> PerExample:
    """Half the squared gradient norm at the real images (Mescheder et al. 2018, eq. 9)."""
    del fake, key, positions, axis_name
    return 0.5 * _squared_slope(critic, real)


def dragan(
    critic: Critic,
    real: Images,
    fake: Images,
    key: PRNGKey,
    positions: Positions,
    axis_name: str | None = None,
) -> PerExample:
    """(||gradient|| - 1)^2 between each real image and a noisy copy of it (Kodali et al. 2017).

    The noise is U[0, 1) times half the standard deviation of all pixels of the global batch, as in
    the authors' code.
    """
    del fake
    noise = rng.uniform(rng.stream(key, "noise"), positions, real.shape[1:])
    fraction = rng.uniform(rng.stream(key, "fraction"), positions, (1, 1, 1))
    return _distance_from_unit_slope(
        critic, real + fraction * 0.5 * _standard_deviation(real, axis_name) * noise
    )


#: The penalties that a config may name.
PENALTIES = {"gradient_penalty": gradient_penalty, "r1": r1, "dragan": dragan}


def _standard_deviation(images: Images, axis_name: str | None) -> jax.Array:
    """Of all the pixels in the batch, on all devices together."""
    mean_over_devices = lambda x: x if axis_name is None else jax.lax.pmean(x, axis_name)
    mean = mean_over_devices(images.mean())
    return jnp.sqrt(mean_over_devices(jnp.square(images - mean).mean()))


def _squared_slope(critic: Critic, images: Images) -> PerExample:
    # The gradient of the sum is each example's own gradient, as no logit sees another's image.
    gradient = jax.grad(lambda images: critic(images).sum())(images)
    return jnp.square(gradient).sum(axis=(1, 2, 3))


def _distance_from_unit_slope(critic: Critic, images: Images) -> PerExample:
    squared = _squared_slope(critic, images)
    # The square root has an infinite derivative at 0, and infinity times the 0 behind it is NaN: a
    # critic that is flat at one image would ruin all its weights. There we take 0, a subgradient of
    # the norm. The inner `where` is needed because `where` differentiates both of its branches.
    flat = squared == 0
    slope = jnp.where(flat, 0.0, jnp.sqrt(jnp.where(flat, 1.0, squared)))
    return jnp.square(slope - 1)
