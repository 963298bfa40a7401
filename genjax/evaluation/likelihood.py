"""Log-likelihoods of latent-variable models: importance weighting, annealed importance sampling.

All draws belong to an image, by its number: a result does not depend on how images are batched.
"""

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, Int

from genjax import rng
from genjax.data.base import InMemory, Source
from genjax.data.reading import read
from genjax.evaluation.evaluators import float_batches
from genjax.evaluation.rows import Score
from genjax.metrics.mean import MaskedMean
from genjax.models.base import LikelihoodModel, sample_latents
from genjax.types import Batch, Images, Labels, Latents, PerExample, Positions, PRNGKey, PyTree

#: Draws times images that the decoder takes at once: large enough for fast matrix products, small
#: enough for the processor's cache.
ROWS = 1000
#: Neal 2001's chains, as Wu et al. 2017 set them: where the sigmoid of the schedule begins and
#: ends, and how a step size follows the mean acceptance.
SIGMOID_END = 4.0
TARGET_ACCEPTANCE = 0.65
SMOOTHING = 0.9
GROWTH, SHRINKAGE = 1.02, 0.98
FIRST_STEP_SIZE = 0.1
#: Ten leapfrogs of this length are most of a turn around the prior; longer ones come back.
MAX_STEP_SIZE = 0.5


def bits_per_dimension(log_prob: float, image_shape: tuple[int, int, int]) -> float:
    """Bits that one channel of one pixel costs, from an image's log probability in nats.

    Only for probabilities of pixel values (`Likelihood.over_256_levels`): a density is no code.
    """
    return -log_prob / (math.log(2) * math.prod(image_shape))


def _labels(model: LikelihoodModel, batch: Batch) -> Labels | None:
    return batch["label"] if model.num_classes else None


def log_weights(
    model: LikelihoodModel,
    params: PyTree,
    batch: Batch,
    encoded: PyTree,
    key: PRNGKey,
    draws: Int[Array, " draw"],
) -> Float[Array, "draw batch"]:
    """log p(x, z) - log q(z | x) of the `draws`, by number, of z ~ q(z | x), in nats.

    Their mean over draws has the expectation of the evidence lower bound.

    Args:
      model: of any prior, and any number of levels of latents.
      params: its inference parameters.
      batch: `image`, `index` and, for a conditional model, `label`.
      encoded: what the model's `encode` gives for the images.
      key: of all draws.
      draws: their numbers.
    """
    draw = lambda number: rng.normal(
        jax.random.fold_in(key, number), batch["index"], (model.latent_size,)
    )
    noise = jax.vmap(draw)(draws)
    images, labels, encoded = jax.tree.map(
        lambda rows: jnp.tile(rows, (len(draws), *(1,) * (rows.ndim - 1))),
        (batch["image"], _labels(model, batch), encoded),
    )
    drawn = model.draw_latents(params, encoded, noise.reshape(-1, model.latent_size))
    log_joint = model.log_likelihood(params, drawn.latents, images, labels)
    log_joint += model.log_prior(params, drawn.latents)
    return (log_joint - drawn.log_prob).reshape(noise.shape[:2])


@partial(jax.jit, static_argnames=("model", "num"))
def importance_bound(
    model: LikelihoodModel, params: PyTree, batch: Batch, key: PRNGKey, *, num: int
) -> PerExample:
    """log 1/num sum_k p(x, z_k) / q(z_k | x) of each image, in nats (Burda et al. 2016, eq. 8).

    Its expectation is at most log p(x), and rises with `num` from the evidence lower bound. Memory
    does not grow with `num`: a running maximum and a sum scaled by it stand for all weights.

    Args:
      model: its prior, posterior and likelihood.
      params: its inference parameters.
      batch: `image`, `index` and, for a conditional model, `label`.
      key: of all draws.
      num: draws for each image.
    """
    encoded = model.encode(params, batch["image"], _labels(model, batch))
    rows = len(batch["image"])
    at_once = min(num, max(1, ROWS // rows))

    def step(state, start):
        peak, total = state
        draws = start + jnp.arange(at_once)
        weights = log_weights(model, params, batch, encoded, key, draws)
        weights = jnp.where((draws < num)[:, None], weights, -jnp.inf)
        higher = jnp.maximum(peak, weights.max(0))
        total = total * jnp.exp(peak - higher) + jnp.exp(weights - higher).sum(0)
        return (higher, total), None

    # The lowest number, not minus infinity, whose difference to itself is no number.
    state = jnp.full(rows, jnp.finfo(jnp.float32).min), jnp.zeros(rows)
    (peak, total), _ = jax.lax.scan(step, state, jnp.arange(0, num, at_once))
    return peak + jnp.log(total) - math.log(num)


def inverse_temperatures(num_steps: int) -> Float[np.ndarray, " steps+1"]:
    """From 0 to 1 along the middle of a sigmoid, slow at both ends (Wu et al. 2017)."""
    sigmoid = 1 / (1 + np.exp(-np.linspace(-SIGMOID_END, SIGMOID_END, num_steps + 1)))
    return (sigmoid - sigmoid[0]) / (sigmoid[-1] - sigmoid[0])


class _State(NamedTuple):
    """Where chains stand, [row, latent], with log p(x | z) and log p(z), [row], and both slopes."""

    latents: Latents
    log_prob: PerExample
    log_prior: PerExample
    gradient: Latents
    prior_gradient: Latents


@dataclasses.dataclass(frozen=True)
class _Chains:
    """`num` chains for each image, in rows, those of an image beside one another.

    Attributes:
      log_likelihood: log p(x | z) of each row.
      log_prior: log p(z) of each row.
      place: z ~ p(z) of each row, made of noise, a key and the rows' positions.
      index: the images' numbers.
      num: chains for each image.
      latent_size: of z.
      leapfrog: steps of the integrator between two decisions.
    """

    log_likelihood: Callable[[Latents], PerExample]
    log_prior: Callable[[Latents], PerExample]
    place: Callable[[Latents, PRNGKey, Positions], Latents]
    index: Positions
    num: int
    latent_size: int
    leapfrog: int

    def normal(self, key: PRNGKey) -> Latents:
        """A standard normal draw for each row."""
        draws = rng.normal(key, self.index, (self.num, self.latent_size))
        return draws.reshape(-1, self.latent_size)

    def start(self, key: PRNGKey) -> Latents:
        """A draw from the prior for each row."""
        rows = self.index[:, None] * self.num + jnp.arange(self.num)
        return self.place(self.normal(key), key, rows.reshape(-1))

    def at(self, latents: Latents) -> _State:
        """The state of chains that stand at `latents`."""
        log_prob, pull = jax.vjp(self.log_likelihood, latents)
        log_prior, pull_prior = jax.vjp(self.log_prior, latents)
        ones = jnp.ones_like(log_prob)
        return _State(latents, log_prob, log_prior, *pull(ones), *pull_prior(ones))

    def move(
        self, state: _State, key: PRNGKey, beta: Array, step_size: PerExample
    ) -> tuple[_State, PerExample]:
        """(state, acceptance of each image) after a transition that keeps p(z) p(x | z)^beta.

        Hamiltonian Monte Carlo with fresh momenta, by steps of half to the whole of each image's
        `step_size`: of one length, they would bring some latents back to where they were at each
        transition (Neal 2011, section 3.2).
        """
        uniform = lambda name: rng.uniform(rng.stream(key, name), self.index, (self.num,))
        size = step_size[:, None] * (0.5 + 0.5 * uniform("part"))
        size = size.reshape(-1, 1)
        slope = lambda state: beta * state.gradient + state.prior_gradient

        def leap(_, moving):
            state, momentum = moving
            momentum += 0.5 * size * slope(state)
            state = self.at(state.latents + size * momentum)
            return state, momentum + 0.5 * size * slope(state)

        def log_joint(state, momentum):
            return beta * state.log_prob + state.log_prior - 0.5 * jnp.sum(momentum**2, -1)

        momentum = self.normal(rng.stream(key, "momentum"))
        proposed, turned = jax.lax.fori_loop(0, self.leapfrog, leap, (state, momentum))
        ratio = jnp.exp(log_joint(proposed, turned) - log_joint(state, momentum))
        # A trajectory that left all numbers behind compares as false.
        accept = uniform("accept").reshape(-1) < ratio
        keep = lambda new, old: jnp.where(accept.reshape(-1, *(1,) * (new.ndim - 1)), new, old)
        acceptance = jnp.where(jnp.isnan(ratio), 0, jnp.minimum(ratio, 1))
        return jax.tree.map(keep, proposed, state), acceptance.reshape(-1, self.num).mean(1)

    def step_sizes(self, latents: Latents, key: PRNGKey, betas: np.ndarray) -> Array:
        """[betas - 2, image]: a step size for each transition, found by a run of these chains.

        It grows by 2 percent where the image's smoothed acceptance is above 0.65, and shrinks by 2
        percent where it is below.
        """

        def step(carry, inputs):
            state, size, smoothed = carry
            beta, number = inputs
            state, acceptance = self.move(state, jax.random.fold_in(key, number), beta, size)
            smoothed = SMOOTHING * smoothed + (1 - SMOOTHING) * acceptance
            factor = jnp.where(smoothed > TARGET_ACCEPTANCE, GROWTH, SHRINKAGE)
            return (state, jnp.minimum(size * factor, MAX_STEP_SIZE), smoothed), size

        images = len(self.index)
        start = jnp.full(images, FIRST_STEP_SIZE), jnp.full(images, TARGET_ACCEPTANCE)
        betas = jnp.asarray(betas[1:-1], jnp.float32)
        _, sizes = jax.lax.scan(step, (self.at(latents), *start), (betas, jnp.arange(len(betas))))
        return sizes

    def anneal(
        self, latents: Latents, key: PRNGKey, betas: np.ndarray, step_sizes: Array
    ) -> PerExample:
        """log of each image's mean weight over its chains, from the first to the last of `betas`.

        Neal 2001, eq. 3: the weights' expectation is Z(last beta) / Z(first beta) if `latents` are
        draws at the first and the step sizes are fixed in advance.
        """
        gaps = jnp.asarray(np.diff(betas), jnp.float32)
        betas = jnp.asarray(betas[1:-1], jnp.float32)

        def step(carry, inputs):
            state, log_weight = carry
            beta, gap, size, number = inputs
            state, _ = self.move(state, jax.random.fold_in(key, number), beta, size)
            return (state, log_weight + gap * state.log_prob), None

        state = self.at(latents)
        (_, log_weight), _ = jax.lax.scan(
            step,
            (state, gaps[0] * state.log_prob),
            (betas, gaps[1:], step_sizes, jnp.arange(len(betas))),
        )
        return logsumexp(log_weight.reshape(-1, self.num), axis=1) - math.log(self.num)


def _chains(
    model: LikelihoodModel,
    params: PyTree,
    images: Images,
    labels: Labels | None,
    index: Positions,
    num: int,
    leapfrog: int,
) -> _Chains:
    images, labels = jax.tree.map(lambda rows: jnp.repeat(rows, num, axis=0), (images, labels))
    return _Chains(
        lambda latents: model.log_likelihood(params, latents, images, labels),
        lambda latents: model.log_prior(params, latents),
        partial(model.prior_latents, params),
        index,
        num,
        model.latent_size,
        leapfrog,
    )


def _forward(make: Callable[[int], _Chains], num_chains: int, num_steps: int, key: PRNGKey):
    """(log mean weight of each image, chains, step sizes) of chains that start at the prior."""
    betas = inverse_temperatures(num_steps)
    # Step sizes found by the chains that are weighed would depend on where those stand, and the
    # weights would lose their expectation. So one chain more for each image finds them.
    pilot, chains = make(1), make(num_chains)
    tuning, weighing = rng.stream(key, "tuning"), rng.stream(key, "weighing")
    start = lambda chains, key: chains.start(rng.stream(key, "start"))
    step_sizes = pilot.step_sizes(start(pilot, tuning), tuning, betas)
    return chains.anneal(start(chains, weighing), weighing, betas, step_sizes), chains, step_sizes


@partial(jax.jit, static_argnames=("model", "num_chains", "num_steps", "leapfrog"))
def ais(
    model: LikelihoodModel,
    params: PyTree,
    batch: Batch,
    key: PRNGKey,
    *,
    num_chains: int,
    num_steps: int,
    leapfrog: int = 10,
) -> PerExample:
    """log p(x) of each image by annealed importance sampling from the prior, in nats.

    Neal 2001 and Wu et al. 2017: chains pass `num_steps` distributions from p(z) to p(z) p(x | z).
    The mean weight has the expectation p(x), so its logarithm is at most log p(x) in expectation;
    it exceeds log p(x) by b nats with probability at most exp(-b).

    Args:
      model: its prior and likelihood; the encoder has no part in it.
      params: its inference parameters.
      batch: `image`, `index` and, for a conditional model, `label`.
      key: of all draws.
      num_chains: whose weights are averaged, for each image.
      num_steps: from one distribution to the next, at least 1.
      leapfrog: steps of the integrator in each transition.
    """
    make = lambda num: _chains(
        model, params, batch["image"], _labels(model, batch), batch["index"], num, leapfrog
    )
    return _forward(make, num_chains, num_steps, key)[0]


@partial(jax.jit, static_argnames=("model", "num_chains", "num_steps", "leapfrog"))
def bdmc(
    model: LikelihoodModel,
    params: PyTree,
    positions: Positions,
    key: PRNGKey,
    *,
    num_chains: int,
    num_steps: int,
    leapfrog: int = 10,
) -> tuple[PerExample, PerExample]:
    """Bounds of log p(x) from below and above, in nats, for images drawn from the model.

    Bidirectional Monte Carlo (Grosse et al. 2015): the latents that an image was drawn from are an
    exact draw from its posterior. Chains that start there and pass the distributions backward have
    weights with the expectation 1 / p(x). No such draw is known for real images.

    Args:
      model: its prior and likelihood; the encoder has no part in it.
      params: its inference parameters.
      positions: numbers of the images to draw; a conditional model takes its classes in turn.
      key: of all draws.
      num_chains: whose weights are averaged, for each image and direction.
      num_steps: from one distribution to the next, at least 1.
      leapfrog: steps of the integrator in each transition.
    """
    latents = sample_latents(model, params, rng.stream(key, "latents"), positions)
    labels = positions % model.num_classes if model.num_classes else None
    images = model.simulate(params, latents, rng.stream(key, "images"), positions, labels)
    make = lambda num: _chains(model, params, images, labels, positions, num, leapfrog)
    lower, chains, step_sizes = _forward(make, num_chains, num_steps, key)
    upper = -chains.anneal(
        jnp.repeat(latents, num_chains, axis=0),
        rng.stream(key, "backward"),
        inverse_temperatures(num_steps)[::-1],
        step_sizes[::-1],
    )
    return lower, upper


@dataclasses.dataclass(frozen=True)
class ImportanceEvaluator:
    """The mean importance-weighted bound on `source`, in nats and, of pixel values, in bits.

    Attributes:
      source: the images.
      batch_size: how many at once.
      importance_samples: draws for each image.
    """

    draws: ClassVar[bool] = True

    source: Source
    batch_size: int
    importance_samples: int = 5000

    def planned(self, model: LikelihoodModel) -> list[Score]:
        """The bound; with a likelihood of pixel values, in bits per dimension, too."""
        score = partial(Score, n_real=len(self.source), settings=f"{self.importance_samples} draws")
        scores = [score(metric="iw_bound", unit="nats")]
        if model.likelihood.over_256_levels:
            scores.append(score(metric="iw_bound_bits", unit="bits per dimension"))
        return scores

    def __call__(self, model: LikelihoodModel, params: PyTree, key: PRNGKey) -> dict[str, float]:
        """Latents are drawn by `key`, each image's number and the draw's."""
        mean, key = MaskedMean(), rng.stream(key, "importance")
        for batch in float_batches(self.source, self.batch_size):
            bound = importance_bound(model, params, batch, key, num=self.importance_samples)
            mean = mean.add(bound, batch["mask"])
        bound = mean.result()
        bits = bits_per_dimension(bound, self.source.image_shape)
        values = {"iw_bound": bound, "iw_bound_bits": bits}
        return {score.metric: values[score.metric] for score in self.planned(model)}


@dataclasses.dataclass(frozen=True)
class AnnealedEvaluator:
    """Mean log-likelihoods by annealed importance sampling, in nats.

    `ais` bounds that of real images from below; on as many images drawn from the model,
    `bdmc_lower` and `bdmc_upper` bound it from both sides: how far apart they are tells how far
    `ais` may be off.

    Attributes:
      source: the real images.
      batch_size: chains at once.
      num_images: real ones, spread evenly over `source`, and drawn ones.
      num_chains: for each image.
      num_steps: of each chain, from prior to posterior.
    """

    draws: ClassVar[bool] = True

    source: Source
    batch_size: int
    num_images: int = 100
    num_chains: int = 16
    num_steps: int = 1000

    def planned(self, model: Any) -> list[Score]:
        """The bound on real images and the two on images of the model."""
        del model
        score = partial(
            Score, unit="nats", settings=f"{self.num_chains} chains of {self.num_steps} steps"
        )
        return [
            score(metric="ais", n_real=self._num_real),
            score(metric="bdmc_lower", n_fake=self.num_images),
            score(metric="bdmc_upper", n_fake=self.num_images),
        ]

    def __call__(self, model: LikelihoodModel, params: PyTree, key: PRNGKey) -> dict[str, float]:
        """All is drawn by `key` and the image's number among those that are taken."""
        settings = {"num_chains": self.num_chains, "num_steps": self.num_steps}
        at_once = max(1, self.batch_size // self.num_chains)
        real, lower, upper = MaskedMean(), MaskedMean(), MaskedMean()
        for batch in float_batches(self._part(), at_once):
            bound = ais(model, params, batch, rng.stream(key, "ais"), **settings)
            real = real.add(bound, batch["mask"])
        at_once = min(at_once, self.num_images)
        for start in range(0, self.num_images, at_once):
            positions = np.arange(start, start + at_once, dtype=np.int32)
            bounds = bdmc(model, params, positions, rng.stream(key, "bdmc"), **settings)
            mask = positions < self.num_images
            lower, upper = lower.add(bounds[0], mask), upper.add(bounds[1], mask)
        return {
            "ais": real.result(),
            "bdmc_lower": lower.result(),
            "bdmc_upper": upper.result(),
        }

    @property
    def _num_real(self) -> int:
        return min(self.num_images, len(self.source))

    def _part(self) -> InMemory:
        rows = np.arange(self._num_real) * len(self.source) // self._num_real
        examples = read(self.source, rows)
        return InMemory(examples["image"], examples.get("label"), self.source.class_names)
