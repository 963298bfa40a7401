"""Restoration by a model as a prior: nothing is trained for the task.

Given what was observed, y = A(x) + n, and how A works, the latents z are sought whose images
explain y. The image itself is more than the decoder's mean m(z): around it the model leaves a
variance s^2(z) to each value, and y says where in it x lies,

    x | z, y ~ Normal(m + S A'(A S A' + R)^-1 (y - A m), ...),   S = diag(s^2), R = diag(noise).

What is missing is so integrated over: where nothing was seen, x is what the latents say, with their
spread; where all was seen, it is what was seen. A that is not linear is linearised at m.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from genjax import compiling, rng
from genjax.errors import UserError
from genjax.imaging.degradations import Degradation, Image, Missing, Truth
from genjax.models.base import (
    LikelihoodModel,
    Sampler,
    has_normal_latents,
    require,
    sample_latents,
)
from genjax.types import Images, Positions, PRNGKey, PyTree

#: Variance that is always there: what rounding to 8 bits and the model's own mistakes leave.
FLOOR = 1e-4
#: How far images of a generator, which gives no variance, are from real ones, as a deviation.
GENERATOR_DEVIATION = 0.15
#: Adam's first and last rate.
RATES = (0.15, 0.0075)
#: The likelihood's first weight: all restarts find to the same region before details count.
FIRST_WEIGHT = 0.03
#: The share of steps after which the likelihood has its whole weight.
RISE = 0.6
#: Of conjugate gradients, where values depend on their neighbours.
MAX_ITERATIONS = 20


class Restored(NamedTuple):
    """Images as the restarts together have them.

    Attributes:
      mean: the expected image, in [0, 1]: [batch, height, width, channel].
      deviation: the standard deviation of the true value around it.
      draws: each restart's image, [batch, restart, height, width, channel]; of restarts that found
        no explanation, too.
      latents: where each restart ended, [batch, restart, latent].
      kept: 1 / n for the n restarts whose explanation counts, else 0: [batch, restart].
      energies: of each restart's optimum, in nats; the lowest explains best: [batch, restart].
    """

    mean: Images
    deviation: Images
    draws: Float[Array, "batch restart height width channel"]
    latents: Float[Array, "batch restart latent"]
    kept: Float[Array, "batch restart"]
    energies: Float[Array, "batch restart"]


class _View(NamedTuple):
    """What a model at some latents says of an image, and of what is observed of it."""

    mean: Image
    spread: Image  # s^2
    seen: Image  # A m
    seen_spread: Image  # the variance of A x
    noise: Image  # R
    linear: Callable[[Image], Image]  # A at m


def restore(
    model: Sampler,
    params: PyTree,
    degradation: Degradation,
    observed: Images,
    truth: Truth,
    key: PRNGKey,
    positions: Positions,
    *,
    restarts: int = 8,
    steps: int = 100,
) -> Restored:
    """What the images were of which `observed` is left.

    Each restart begins at a draw from the prior, goes down the joint energy of latents and
    observation by Adam while the likelihood gains weight, and, where the model has a likelihood,
    ends in a draw from the normal distribution that fits the posterior there (Laplace). A
    model with labels takes another label with each restart.

    Args:
      model: a VAE, or a GAN, whose generator's images are taken to be `GENERATOR_DEVIATION` off.
      params: its inference parameters.
      degradation: A and n.
      observed: y, in [0, 1].
      truth: what is known of A, with a leading axis for the images; as `degrade` returns it.
      key: of all draws.
      positions: the images' numbers; an image's draws are its own, in whatever batch.
      restarts: for each image, all at once; at least one with each label.
      steps: of Adam.
    """
    check_searchable("a search in latents", model)
    restarts = max(restarts, model.num_classes)
    return _restore(model, degradation, restarts, steps, params, observed, truth, key, positions)


@compiling.jit(static_argnums=(0, 1, 2, 3))
def _restore(model, degradation, restarts, steps, params, observed, truth, key, positions):
    labels = None
    if model.num_classes:
        labels = jnp.arange(restarts, dtype=jnp.int32) % model.num_classes

    def one(image, truth, position):
        keys = jax.random.split(jax.random.fold_in(key, position), restarts)
        run = partial(_chain, model, degradation, steps, params, image, truth)
        return _together(model, degradation, *jax.vmap(run)(keys, labels))

    return jax.vmap(one)(observed, truth, positions)


def _view(model, degradation, params, observed, truth, latents, label) -> _View:
    label = None if label is None else label[None]
    if isinstance(model, LikelihoodModel):
        mean, spread = (each[0] for each in model.moments(params, latents[None], label))
    else:
        mean = model.generate(params, latents[None], label)[0]
        spread = jnp.full_like(mean, GENERATOR_DEVIATION**2)
    seen, linear = jax.linearize(lambda image: degradation.forward(image, truth), mean)
    # Neighbours are wrong together, so a mean of them has their variance, not less.
    seen_spread = linear(linear(spread)).clip(0)
    noise = degradation.noise_variance(observed, seen, seen_spread, truth) + FLOOR
    return _View(mean, spread, seen, seen_spread, noise, linear)


def _chain(model, degradation, steps, params, observed, truth, key, label):
    """(energy, latents, conditional mean, conditional variance or a draw's squared error)."""
    view = partial(_view, model, degradation, params, observed, truth, label=label)
    repeats = degradation.repeats(truth)

    def energy(latents, weight=1.0):
        at = view(latents=latents)
        variance = at.seen_spread + at.noise
        misfit = jnp.sum((observed - at.seen) ** 2 / variance + jnp.log(variance))
        return 0.5 * jnp.sum(latents**2) + 0.5 * weight * misfit / repeats

    rate = optax.cosine_decay_schedule(RATES[0], steps, RATES[1] / RATES[0])
    optimizer = optax.adam(rate)

    def step(carry, weight):
        latents, state = carry
        updates, state = optimizer.update(jax.grad(energy)(latents, weight), state)
        return (latents + updates, state), None

    weights = FIRST_WEIGHT ** (1 - jnp.minimum(jnp.arange(steps) / (RISE * steps), 1))
    start = jax.random.normal(rng.stream(key, "start"), (model.latent_size,))
    (latents, _), _ = jax.lax.scan(step, (start, optimizer.init(start)), weights)
    found = energy(latents)
    if isinstance(model, LikelihoodModel):
        at = view(latents=latents)
        precision = 1 / (at.seen_spread + at.noise) / repeats
        slope = _jacobian(lambda latents: view(latents=latents).seen, latents)
        latents += _laplace_draw(slope, precision.ravel(), rng.stream(key, "latents"))
    mean, variance = _conditional(degradation, view(latents=latents), observed, key)
    return found, latents, mean, variance


def _jacobian(function: Callable[[Array], Image], at: Array) -> Float[Array, "latent value"]:
    """The derivative of the flattened image in each latent.

    Forward mode by two reverse ones: the networks' convolutions know only those.
    """
    value, pull = jax.vjp(function, at)
    _, push = jax.vjp(lambda image: pull(image)[0], value)
    return jax.vmap(lambda basis: push(basis)[0].ravel())(jnp.eye(len(at)))


def _laplace_draw(slope, precision, key) -> Float[Array, " latent"]:
    """A draw from Normal(0, H^-1), H the Gauss-Newton curvature with that of the prior."""
    curvature = jnp.eye(len(slope)) + (slope * precision) @ slope.T
    root = jnp.linalg.cholesky(curvature)
    draw = jax.random.normal(key, (len(slope),))
    return jax.scipy.linalg.solve_triangular(root.T, draw, lower=False)


def _conditional(degradation, at: _View, observed: Image, key: PRNGKey) -> tuple[Image, Image]:
    """Mean and variance of x | z, y; for neighbours that mix, the squared error of one draw."""
    total = at.seen_spread + at.noise
    (back,) = jax.linear_transpose(at.linear, at.mean)(jnp.ones_like(observed))
    if degradation.pointwise:
        gain = at.spread * back / total
        variance = at.spread - gain * back * at.spread
        return at.mean + gain * (observed - at.seen), variance.clip(0)
    transpose = jax.linear_transpose(at.linear, at.mean)

    def update(error: Image) -> Image:
        """S A'(A S A' + R)^-1 error."""
        product = lambda w: at.linear(at.spread * transpose(w)[0]) + at.noise * w
        solution, _ = jax.scipy.sparse.linalg.cg(
            product, error, maxiter=MAX_ITERATIONS, M=lambda w: w / total
        )
        return at.spread * transpose(solution)[0]

    draw = lambda name, variance: (
        jnp.sqrt(variance) * jax.random.normal(rng.stream(key, name), at.mean.shape)
    )
    image, noise = draw("image", at.spread), draw("noise", at.noise)
    left = image - update(at.linear(image) + noise)
    return at.mean + update(observed - at.seen), left**2


def _together(model, degradation, energies, latents, means, variances) -> Restored:
    """The restarts of one image as one answer.

    Energies of draws from one posterior scatter by sqrt(latents / 2). A restart that lies farther
    above the best than three times that has found another, worse explanation, and does not count.

    The true image is one more draw. It lies around the mean of n by the variance within a draw and
    (1 + 1/n) times that between draws, which n squares sum up to n - 1 times.
    """
    allowed = 3 * math.sqrt(model.latent_size / 2)
    # A restart that left all numbers behind compares as false.
    counts = energies <= jnp.nanmin(energies) + allowed
    num = counts.sum()
    kept = counts / num
    use = lambda values: jnp.where(counts.reshape(-1, *(1,) * (values.ndim - 1)), values, 0)
    over = lambda values: jnp.tensordot(kept, use(values), 1)
    mean = over(means)
    between = over((means - mean) ** 2) * (num + 1) / jnp.maximum(num - 1, 1)
    variance = over(variances) + between
    deviation, draws = jnp.sqrt(variance), means.clip(0, 1)
    return Restored(mean.clip(0, 1), deviation, draws, latents, kept, energies)


def impute(
    model: LikelihoodModel,
    params: PyTree,
    degradation: Degradation,
    observed: Images,
    truth: Truth,
    key: PRNGKey,
    positions: Positions,
    *,
    restarts: int = 8,
    steps: int = 100,
) -> Restored:
    """What is missing in images, by a VAE's encoder and decoder in turn; for `Missing` only.

    From the completed image latents are drawn by the encoder, and from them what is missing by the
    decoder (Rezende et al. 2014, appendix F). In the second half of the steps a draw of latents is
    accepted or not as Metropolis and Hastings have it, which corrects for the encoder's error
    (Mattei and Frellsen 2018, section 3.3), and each step counts.

    Args and result are those of `restore`.

    Raises:
      UserError: the degradation is not one of missing values, or the model has labels.
    """
    check_imputable("--method", model, degradation)
    return _impute(model, restarts, steps, params, observed, truth["mask"], key, positions)


def check_searchable(where: str, model: Sampler) -> None:
    """Raises a UserError naming `where` if `restore` can not use this model."""
    if not has_normal_latents(model):
        raise UserError(
            f"{where}: needs latents that are standard normal, and this model's prior is a "
            f"{type(model.prior).__name__}; use a run with prior.name 'standard_normal'"
        )


def check_imputable(where: str, model: Sampler, degradation: Degradation) -> None:
    """Raises a UserError naming `where` if `impute` can not undo it by this model."""
    require(model, LikelihoodModel, f"{where}: 'impute'")
    if not isinstance(degradation, Missing):
        raise UserError(
            f"{where}: 'impute' fills in what is missing; for other degradations choose 'search'"
        )
    if model.num_classes:
        raise UserError(f"{where}: 'impute' needs a model without labels; choose 'search'")
    if model.levels > 1:
        raise UserError(f"{where}: 'impute' needs one level of latents; choose 'search'")


@compiling.jit(static_argnums=(0, 1, 2))
def _impute(model, restarts, steps, params, observed, mask, key, positions):
    shape = (len(observed), restarts)
    repeat = lambda values: jnp.repeat(values, restarts, axis=0)
    images, masks = repeat(observed), repeat(mask)
    place = repeat(positions) * restarts + jnp.tile(jnp.arange(restarts), len(observed))
    normal = lambda key, like: rng.normal(key, place, like.shape[1:])

    def moments(latents):
        mean, variance = model.moments(params, latents)
        return mean, variance + FLOOR

    log_normal = lambda x, mean, variance: (
        -0.5 * jnp.sum((x - mean) ** 2 / variance + jnp.log(variance), axis=tuple(range(1, x.ndim)))
    )

    def step(state, number):
        latents, mean, variance, total, square, spread = state
        own = jax.random.fold_in(key, number)
        filled = mean + jnp.sqrt(variance) * normal(rng.stream(own, "image"), mean)
        whole = jnp.where(masks == 1, images, filled)
        centre, log_var = model.encode(params, whole.clip(0, 1))
        proposed = centre + jnp.exp(log_var / 2) * normal(rng.stream(own, "latents"), centre)
        new_mean, new_variance = moments(proposed)
        # Of the whole image: what was filled in came from the old latents.
        log_weight = lambda latents, mean, variance: (
            log_normal(whole, mean, variance)
            + model.log_prior(params, latents)
            - log_normal(latents, centre, jnp.exp(log_var))
        )
        ratio = log_weight(proposed, new_mean, new_variance) - log_weight(latents, mean, variance)
        counted = number >= steps // 2
        accept = rng.uniform(rng.stream(own, "accept"), place, ()) < jnp.exp(ratio)
        accept = accept | ~counted
        keep = lambda a, b: jnp.where(accept.reshape(-1, *(1,) * (a.ndim - 1)), a, b)
        latents = keep(proposed, latents)
        mean, variance = keep(new_mean, mean), keep(new_variance, variance)
        total += counted * mean
        square += counted * mean**2
        spread += counted * variance
        return (latents, mean, variance, total, square, spread), None

    start = sample_latents(model, params, rng.stream(key, "start"), place)
    mean, variance = moments(start)
    nothing = jnp.zeros_like(mean)
    state = (start, mean, variance, nothing, nothing, nothing)
    state, _ = jax.lax.scan(step, state, jnp.arange(steps))
    latents, _, _, *sums = state
    total, square, spread = (each / (steps - steps // 2) for each in sums)
    draws = jnp.where(masks == 1, images, total).reshape(*shape, *observed.shape[1:])
    by_image = lambda values: values.reshape(*shape, *values.shape[1:]).mean(1)
    mean = by_image(total)
    variance = by_image(square + spread) - mean**2
    return Restored(
        mean=jnp.where(mask == 1, observed, mean).clip(0, 1),
        deviation=jnp.sqrt(jnp.where(mask == 1, FLOOR, variance.clip(FLOOR))),
        draws=draws.clip(0, 1),
        latents=latents.reshape(*shape, -1),
        kept=jnp.full(shape, 1 / restarts),
        energies=jnp.zeros(shape),  # all are draws from one posterior
    )
