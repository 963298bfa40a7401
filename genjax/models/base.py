"""What every model is: a TrainState, pure functions of it, and abilities that can be asked for."""

import inspect
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Int

from genjax import rng
from genjax.errors import UserError
from genjax.losses.likelihoods import Likelihood
from genjax.losses.priors import Prior, StandardNormal
from genjax.nn.layers import pmean
from genjax.types import Batch, Images, Labels, Latents, PerExample, Positions, PRNGKey, PyTree

Metrics = dict[str, Array]


@struct.dataclass(kw_only=True)
class TrainState:
    """Everything that training changes, every part by name.

    Attributes:
      step: finished steps.
      params: parameters of each network.
      opt: the state of each optimizer.
      stats: each network's other collections (batch statistics, spectral vectors).
      ema: for a network sampled by its moving average, the averaged variables.
    """

    step: Int[Array, ""]
    params: dict[str, PyTree]
    opt: dict[str, PyTree]
    stats: dict[str, PyTree]
    ema: dict[str, PyTree]


class Model(Protocol):
    """What the training loop asks of a model.

    A model is a frozen dataclass of Flax modules and hyperparameters with pure functions: no
    I/O, no Python state. `train_step` is written for one shard of the batch and takes means over
    the mapped axis `data`; `training/parallel.py` compiles it.
    """

    #: The networks, in the order in which a config lists them.
    networks: ClassVar[tuple[str, ...]]

    @property
    def batches_per_step(self) -> int:
        """How many batches of `batch_size` one step takes."""

    def init(self, key: PRNGKey, batch: Batch) -> TrainState:
        """The state before the first step; `batch` gives shapes, and whatever `VAE.init` says."""

    def train_step(
        self, state: TrainState, batch: Batch, key: PRNGKey
    ) -> tuple[TrainState, Metrics]:
        """One step on `batch`: `image` [rows, ...] in [0, 1], `position` and, if any, `label`."""

    def inference_params(self, state: TrainState) -> PyTree:
        """The part of the state that the abilities below take as `params`."""


@runtime_checkable
class Sampler(Protocol):
    """Draws images."""

    latent_size: int
    num_classes: int  # 0 = without labels

    def generate(self, params: PyTree, latents: Latents, labels: Labels | None = None) -> Images:
        """Images in [0, 1] for `latents` and, in a conditional model, `labels`."""


@runtime_checkable
class Reconstructor(Protocol):
    """Passes images through its latent space."""

    def reconstruct(self, params: PyTree, images: Images, labels: Labels | None = None) -> Images:
        """The image that the model has for each of `images`, both in [0, 1]."""


class Drawn(NamedTuple):
    """A draw of latents for each image.

    Attributes:
      latents: z ~ q(z | x).
      log_prob: log q(z | x), in nats.
      mean: where q(z | x) has its mean; of levels below the first, given the draw above.
    """

    latents: Latents
    log_prob: PerExample
    mean: Latents


@runtime_checkable
class LikelihoodModel(Protocol):
    """Bounds the log-likelihood of images: p(z), q(z | x) and p(x | z).

    All that is random in the latents is made of `latent_size` standard normal numbers, the noise.
    """

    prior: Prior
    likelihood: Likelihood
    latent_size: int
    num_classes: int  # 0 = without labels
    levels: int  # of latents; with one, `encode` gives the (mean, log variance) of q(z | x)

    def bound(
        self, params: PyTree, batch: Batch, key: PRNGKey
    ) -> tuple[PerExample, Float[Array, "batch part"], Latents]:
        """(log p(x | z) with one z ~ q(z | x), KL in parts, posterior mean), in nats.

        The parts are the latents where the KL is a sum over them; else there is one.
        """

    def encode(self, params: PyTree, images: Images, labels: Labels | None = None) -> PyTree:
        """q(z | x) of each image, as far as no draw is needed: leaves [batch, ...]."""

    def draw_latents(self, params: PyTree, encoded: PyTree, noise: Latents) -> Drawn:
        """z ~ q(z | x) of each row of what `encode` gave, made of `noise`."""

    def log_prior(self, params: PyTree, latents: Latents) -> PerExample:
        """log p(z), in nats."""

    def prior_latents(
        self, params: PyTree, noise: Latents, key: PRNGKey, positions: Positions
    ) -> Latents:
        """z ~ p(z) made of `noise`, and of what `key` gives to each position."""

    def log_likelihood(
        self, params: PyTree, latents: Latents, images: Images, labels: Labels | None = None
    ) -> PerExample:
        """log p(x | z) of each row's image and latents, in nats."""

    def moments(
        self, params: PyTree, latents: Latents, labels: Labels | None = None
    ) -> tuple[Images, Images]:
        """(mean, variance) of each value of p(x | z)."""

    def simulate(
        self,
        params: PyTree,
        latents: Latents,
        key: PRNGKey,
        positions: Positions,
        labels: Labels | None = None,
    ) -> Images:
        """Images drawn from p(x | z), each by its position."""


@runtime_checkable
class LabelReader(Protocol):
    """Reads labels off images."""

    def predict(
        self, params: PyTree, images: Images
    ) -> tuple[Float[Array, "batch class"], Float[Array, "batch feature"]]:
        """(class logits, features) for images in [0, 1]."""


@runtime_checkable
class Translator(Protocol):
    """Turns images into others of the same size: restored ones, or of another kind."""

    def translate(self, params: PyTree, images: Images) -> Images:
        """The image that the model has for each of `images`, both in [0, 1]."""


@runtime_checkable
class Restorer(Translator, Protocol):
    """Turns damaged images into whole ones, told which pixels miss."""

    #: Whether it looks at what it is told; not where no picture of its training had holes.
    told_holes: bool

    def restore(self, params: PyTree, images: Images, present: Images) -> Images:
        """As `translate`; `present`, [batch, height, width, 1], is 1 where there is a pixel."""


@runtime_checkable
class TwoWayTranslator(Translator, Protocol):
    """Turns images into others, and those back."""

    def translate_back(self, params: PyTree, images: Images) -> Images:
        """What `translate` would have turned into `images`, both in [0, 1]."""


def require(model: Any, ability: type, asked_for: str) -> None:
    """Raises a UserError naming model and ability if `model` lacks `ability`."""
    if not isinstance(model, ability):
        does = inspect.getdoc(ability).splitlines()[0].rstrip(".")
        raise UserError(
            f"{asked_for}: needs a {ability.__name__}, a model that {does[0].lower()}{does[1:]}; a "
            f"{type(model).__name__} is not one"
        )


def has_normal_latents(model: Sampler) -> bool:
    """Whether the latents of a model's samples are standard normal."""
    return not isinstance(model, LikelihoodModel) or isinstance(model.prior, StandardNormal)


def sample_latents(
    model: Sampler, params: PyTree, key: PRNGKey, positions: Positions, truncation: float = 0.0
) -> Latents:
    """Latents of samples; sample number `position` has its own, in whatever batch.

    With a `truncation` above 0, the standard normal distribution that they are made of is that
    between -truncation and truncation (Brock et al. 2019): less variety, and fewer samples that the
    model knows little of.
    """
    noise = rng.normal(key, positions, (model.latent_size,))
    if truncation:
        # Quantile for quantile: what is drawn without truncation keeps its place among all draws.
        inside = jax.scipy.stats.norm.cdf(jnp.array([-truncation, truncation]))
        share = inside[0] + jax.scipy.stats.norm.cdf(noise) * (inside[1] - inside[0])
        noise = jax.scipy.stats.norm.ppf(share).clip(-truncation, truncation)
    if isinstance(model, LikelihoodModel):
        return model.prior_latents(params, noise, key, positions)
    return noise


def sample(
    model: Sampler,
    params: PyTree,
    key: PRNGKey,
    positions: Positions,
    labels: Labels | None = None,
    truncation: float = 0.0,
) -> Images:
    """The samples numbered `positions`, in [0, 1]; `labels` for a conditional model."""
    latents = sample_latents(model, params, key, positions, truncation)
    return model.generate(params, latents, labels)


def init_network(
    module: nn.Module, key: PRNGKey, *inputs: Array | None
) -> tuple[PyTree, dict[str, PyTree]]:
    """(parameters, other collections) of a freshly initialised network."""
    variables = dict(jax.jit(lambda *inputs: module.init(key, *inputs, train=False))(*inputs))
    return variables.pop("params"), variables


def apply_network(
    module: nn.Module, params: PyTree, stats: dict[str, PyTree], *inputs: Array | None
) -> tuple[Any, dict[str, PyTree]]:
    """(outputs, moved-on collections) of a network in training mode."""
    outputs, stats = module.apply(
        {"params": params, **stats}, *inputs, train=True, mutable=list(stats)
    )
    return outputs, dict(stats)


def moving_average(average: PyTree, new: PyTree, decay: float, step: Int[Array, ""]) -> PyTree:
    """The average moved on by `new`; one over n steps forgets the start sooner than by `decay`."""
    decay = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return optax.incremental_update(new, average, 1 - decay)


#: (parameters, other collections, batch) -> (mean over the batch's examples, (moved-on collections,
#: metrics, what was made of each row)).
Loss = Callable[[PyTree, PyTree, Batch], tuple[Array, tuple[PyTree, Metrics, PyTree]]]


def gradient_step(
    loss_fn: Loss,
    optimizer: optax.GradientTransformation,
    params: PyTree,
    opt_state: PyTree,
    stats: PyTree,
    batch: Batch,
    accumulate: int,
    name: str = "",
) -> tuple[PyTree, PyTree, tuple[PyTree, Metrics, PyTree]]:
    """(parameters, optimizer state, what `loss_fn` gave beside the loss) after one update.

    Two metrics come to those of `loss_fn`, with `name` before theirs: `gradient_norm`, over all
    parameters, and `dead_units`, the share of units whose kernel's gradient is 0: no example of
    the batch woke them.

    This shard's rows of the batch go through in `accumulate` chunks, one after the other, of which
    only one is in memory; collections move on from chunk to chunk. Gradients and metrics are means
    over chunks, and the gradient is one over shards, too.
    """
    gradient = jax.grad(loss_fn, has_aux=True)
    if accumulate == 1:
        gradients, aux = gradient(params, stats, batch)
    else:

        def add(carry, chunk):
            total, stats = carry
            gradients, (stats, metrics, made) = gradient(params, stats, chunk)
            return (jax.tree.map(jnp.add, total, gradients), stats), (metrics, made)

        chunks = jax.tree.map(lambda x: x.reshape(accumulate, -1, *x.shape[1:]), dict(batch))
        start = jax.tree.map(jnp.zeros_like, params), stats
        (total, stats), (metrics, made) = jax.lax.scan(add, start, chunks)
        gradients = jax.tree.map(lambda x: x / accumulate, total)
        metrics = jax.tree.map(lambda x: x.mean(0), metrics)
        aux = stats, metrics, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), made)
    gradients, (stats, metrics, made) = pmean(gradients), aux
    metrics |= {f"{name}{metric}": value for metric, value in _health(gradients).items()}
    updates, opt_state = optimizer.update(gradients, opt_state, params)
    return optax.apply_updates(params, updates), opt_state, (stats, metrics, made)


def network_step(
    state: TrainState,
    network: str,
    loss_fn: Loss,
    optimizer: optax.GradientTransformation,
    batch: Batch,
    accumulate: int,
    name: str = "",
) -> tuple[TrainState, Metrics, PyTree]:
    """(the state with this network updated, metrics, what was made of each row).

    As `gradient_step`, which takes and gives the network's parts of the state.
    """
    params, opt, (stats, metrics, made) = gradient_step(
        loss_fn,
        optimizer,
        state.params[network],
        state.opt[network],
        state.stats[network],
        batch,
        accumulate,
        name,
    )
    state = state.replace(
        params=state.params | {network: params},
        opt=state.opt | {network: opt},
        stats=state.stats | {network: stats},
    )
    return state, metrics, made


def with_average(state: TrainState, network: str, decay: float) -> TrainState:
    """The state with the average of this network's variables moved on."""
    new = {"params": state.params[network], **state.stats[network]}
    average = moving_average(state.ema[network], new, decay, state.step)
    return state.replace(ema=state.ema | {network: average})


def _health(gradients: PyTree) -> Metrics:
    """What gradients say of a network; little work beside that of the step itself."""
    leaves = jax.tree.leaves(gradients)
    # Products are faster than sums of squares, and than a look at each value.
    total = sum(jnp.vdot(leaf, leaf) for leaf in leaves)
    units = [_weighted(leaf) for leaf in leaves if leaf.ndim > 1]
    dead = sum(jnp.sum(unit == 0) for unit in units) / max(sum(unit.size for unit in units), 1)
    return {"gradient_norm": jnp.sqrt(total), "dead_units": dead}


def _weighted(kernel: Float[Array, "... unit"]) -> Float[Array, " unit"]:
    """A sum of each unit's values in which no two weigh the same: 0 where all are."""
    rows = kernel.reshape(-1, kernel.shape[-1])
    return jnp.linspace(1, 2, len(rows), dtype=kernel.dtype) @ rows
