"""Images to images: with the answer given, with a discriminator besides, or without any pairs.

A batch has `condition`, the images that come in, and `image`, those that should come out: of the
same scenes (`Regression`, `Pix2Pix`) or of any (`CycleGAN`). For the former, `present` is 1 where
the condition has a pixel, and 0 where one is missing. Inside, images lie in [-1, 1].
"""

import dataclasses
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from genjax import rng
from genjax.losses.adversarial import AdversarialLoss
from genjax.models.base import (
    Metrics,
    TrainState,
    apply_network,
    init_network,
    moving_average,
    network_step,
    with_average,
)
from genjax.nn.layers import AXIS, pmean
from genjax.types import Batch, Images, Positions, PRNGKey, PyTree

WAYS = ("forward", "backward")
BACK = {"forward": "backward", "backward": "forward"}


def _signed(images: Images) -> Images:
    return 2 * images - 1


def _translated(network: nn.Module, variables: PyTree, *inputs: Images) -> Images:
    """What `network` makes of inputs in [0, 1], in [0, 1]."""
    return jnp.clip((network.apply(variables, *map(_signed, inputs), train=False) + 1) / 2, 0, 1)


def _distance(a: Images, b: Images) -> Array:
    """The mean absolute difference, in units of [0, 1]."""
    return jnp.abs(a - b).mean() / 2


def _copy(variables: PyTree) -> PyTree:
    # The state is donated, and no buffer can be given away twice.
    return jax.tree.map(jnp.copy, variables)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Regression:
    """A network that is taught the mean absolute error to the answer, and nothing else.

    Attributes:
      generator: images in [-1, 1], and where they have pixels (1, else -1), to images in [-1, 1].
      g_optimizer: for it.
      ema_decay: of the moving average of its variables, which is what translates.
      told_holes: whether the generator is told which pixels miss. Where none ever do, a channel of
        ones would be a bias with as many weights as a kernel: too steep a way to black or white.
      accumulate: chunks in which a batch goes through, one after the other.
    """

    networks: ClassVar[tuple[str, ...]] = ("generator",)
    batches_per_step: ClassVar[int] = 1
    num_classes: ClassVar[int] = 0

    generator: nn.Module
    g_optimizer: optax.GradientTransformation
    ema_decay: float
    told_holes: bool = True
    accumulate: int = 1

    def init(self, key: PRNGKey, batch: Batch) -> TrainState:
        """The state before the first step; `batch` gives shapes only."""
        inputs = [images[:1] for images in self._told(batch)]
        params, stats = init_network(self.generator, rng.stream(key, "generator"), *inputs)
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params={"generator": params},
            opt={"generator": self.g_optimizer.init(params)},
            stats={"generator": stats},
            ema={"generator": _copy({"params": params, **stats})},
        )

    def train_step(
        self, state: TrainState, batch: Batch, key: PRNGKey
    ) -> tuple[TrainState, Metrics]:
        """One step down the mean absolute error."""
        del key  # the step draws nothing
        state, metrics = self._generator_step(state, batch)
        return state.replace(step=state.step + 1), pmean(metrics)

    def _generator_step(self, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        def loss_fn(params, stats, batch):
            made, stats = apply_network(self.generator, params, stats, *self._told(batch))
            loss, metrics = self._generator_loss(state, batch, made)
            return loss, (stats, metrics, {})

        state, metrics, _ = network_step(
            state, "generator", loss_fn, self.g_optimizer, batch, self.accumulate, "g_"
        )
        return with_average(state, "generator", self.ema_decay), metrics

    def _generator_loss(
        self, state: TrainState, batch: Batch, made: Images
    ) -> tuple[Array, Metrics]:
        del state
        distance = _distance(made, _signed(batch["image"]))
        return distance, {"l1": distance}

    def inference_params(self, state: TrainState) -> PyTree:
        """The moving average of the generator's variables."""
        return state.ema["generator"]

    def translate(self, params: PyTree, images: Images) -> Images:
        """The image that the generator has for each of `images`, both in [0, 1]."""
        return self.restore(params, images, jnp.ones_like(images[..., :1]))

    def restore(self, params: PyTree, images: Images, present: Images) -> Images:
        """As `translate`; `present`, [batch, height, width, 1], is 1 where there is a pixel."""
        inputs = (images, present) if self.told_holes else (images,)
        return _translated(self.generator, params, *inputs)

    def _told(self, batch: Batch) -> tuple[Images, ...]:
        """What the generator is told of the images that come in."""
        names = ("condition", "present") if self.told_holes else ("condition",)
        return tuple(_signed(batch[name]) for name in names)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pix2Pix(Regression):
    """Image-conditional GAN (Isola et al. 2017): adversarial and L1 loss, patches judged.

    The paper's only noise is dropout; here there is none, and an image has one translation.

    Attributes:
      discriminator: condition and image, channels side by side, in [-1, 1], to a logit a patch.
      d_optimizer: for it.
      loss: what both make of the logits.
      l1_weight: of the mean absolute error (in units of [0, 1]) beside the game; lambda in the
        paper, which has it in units of [-1, 1], so that its 100 are 200 here.
    """

    networks: ClassVar[tuple[str, ...]] = ("generator", "discriminator")

    discriminator: nn.Module
    d_optimizer: optax.GradientTransformation
    loss: AdversarialLoss
    l1_weight: float

    def init(self, key: PRNGKey, batch: Batch) -> TrainState:
        """The state before the first step; `batch` gives shapes only."""
        state = super().init(key, batch)
        pair = self._pair(batch, _signed(batch["image"]))[:1]
        params, stats = init_network(self.discriminator, rng.stream(key, "discriminator"), pair)
        return state.replace(
            params=state.params | {"discriminator": params},
            opt=state.opt | {"discriminator": self.d_optimizer.init(params)},
            stats=state.stats | {"discriminator": stats},
        )

    def train_step(
        self, state: TrainState, batch: Batch, key: PRNGKey
    ) -> tuple[TrainState, Metrics]:
        """One update of the discriminator, then one of the generator and its average."""
        del key  # the step draws nothing
        state, d_metrics = self._discriminator_step(state, batch)
        state, g_metrics = self._generator_step(state, batch)
        return state.replace(step=state.step + 1), pmean(d_metrics | g_metrics)

    def _pair(self, batch: Batch, images: Images) -> Images:
        return jnp.concatenate([_signed(batch["condition"]), images], axis=-1)

    def _discriminator_step(self, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        g_params, g_stats = state.params["generator"], state.stats["generator"]

        def loss_fn(params, stats, batch):
            made, _ = apply_network(self.generator, g_params, g_stats, *self._told(batch))
            judge = lambda stats, images: apply_network(
                self.discriminator, params, stats, self._pair(batch, images)
            )
            real, stats = judge(stats, _signed(batch["image"]))
            fake, stats = judge(stats, made)
            loss = self.loss.discriminator(real.ravel(), fake.ravel()).mean()
            metrics = {"d_loss": loss, "d_real": real.mean(), "d_fake": fake.mean()}
            return loss, (stats, metrics, {})

        state, metrics, _ = network_step(
            state, "discriminator", loss_fn, self.d_optimizer, batch, self.accumulate, "d_"
        )
        return state, metrics

    def _generator_loss(
        self, state: TrainState, batch: Batch, made: Images
    ) -> tuple[Array, Metrics]:
        distance, metrics = super()._generator_loss(state, batch, made)
        logits, _ = apply_network(
            self.discriminator,
            state.params["discriminator"],
            state.stats["discriminator"],
            self._pair(batch, made),
        )
        loss = self.loss.generator(logits.ravel()).mean()
        return loss + self.l1_weight * distance, metrics | {"g_loss": loss}


@dataclasses.dataclass(frozen=True, kw_only=True)
class CycleGAN:
    """Translation without pairs (Zhu et al. 2017): there and back again must change nothing.

    Each direction has a generator and a discriminator. Discriminators are shown
    past fakes, too, out of a pool of `pool_size` (Shrivastava et al. 2017) in the TrainState.

    Attributes:
      forward, backward: the generators, from condition to image and from image to condition.
      image_judge, condition_judge: the discriminators; a logit a patch.
      g_optimizer, d_optimizer: for both generators, for both discriminators.
      loss: what the players make of the logits; least squares in the paper.
      cycle_weight: of the mean absolute error after both directions, in units of [0, 1]; with
        least squares, which are halved here as the units are, the paper's 10 is 10.
      identity_weight: of what a generator changes in images that are of its kind already.
      pool_size: past fakes of each kind; at least a batch.
      ema_decay: of the moving average of the generators, which is what translates.
      accumulate: chunks in which a batch goes through, one after the other.
    """

    networks: ClassVar[tuple[str, ...]] = ("generator", "discriminator")
    batches_per_step: ClassVar[int] = 1
    num_classes: ClassVar[int] = 0

    forward: nn.Module
    backward: nn.Module
    image_judge: nn.Module
    condition_judge: nn.Module
    g_optimizer: optax.GradientTransformation
    d_optimizer: optax.GradientTransformation
    loss: AdversarialLoss
    cycle_weight: float
    identity_weight: float
    pool_size: int
    ema_decay: float
    accumulate: int = 1

    @property
    def _generators(self) -> dict[str, nn.Module]:
        return {"forward": self.forward, "backward": self.backward}

    @property
    def _judges(self) -> dict[str, nn.Module]:
        return {"forward": self.image_judge, "backward": self.condition_judge}

    def init(self, key: PRNGKey, batch: Batch) -> TrainState:
        """The state before the first step; `batch` gives shapes only."""
        inputs = jax.tree.map(lambda images: images[:1], _inputs(batch))
        generators, g_stats = _init(self._generators, rng.stream(key, "generator"), inputs)
        outputs = {way: inputs[BACK[way]] for way in WAYS}
        judges, d_stats = _init(self._judges, rng.stream(key, "discriminator"), outputs)
        pool = {
            way: {
                "images": jnp.zeros((self.pool_size, *images.shape[1:])),
                "filled": jnp.zeros(self.pool_size, bool),
            }
            for way, images in outputs.items()
        }
        variables = {way: {"params": generators[way], **g_stats[way]} for way in WAYS}
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params={"generator": generators, "discriminator": judges},
            opt={
                "generator": self.g_optimizer.init(generators),
                "discriminator": self.d_optimizer.init(judges),
            },
            stats={"generator": g_stats, "discriminator": d_stats, "pool": pool},
            ema={"generator": _copy(variables)},
        )

    def train_step(
        self, state: TrainState, batch: Batch, key: PRNGKey
    ) -> tuple[TrainState, Metrics]:
        """One update of both generators and their averages, then one of both discriminators."""
        inputs = _inputs(batch)
        state, made, g_metrics = self._generator_step(state, inputs)
        shown, pool = {}, {}
        for way in WAYS:
            shown[way], pool[way] = from_pool(
                state.stats["pool"][way], made[way], batch["position"], rng.stream(key, way)
            )
        state = state.replace(stats=state.stats | {"pool": pool})
        state, d_metrics = self._discriminator_step(state, inputs, shown)
        return state.replace(step=state.step + 1), pmean(d_metrics | g_metrics)

    def _generator_step(
        self, state: TrainState, inputs: dict[str, Images]
    ) -> tuple[TrainState, dict[str, Images], Metrics]:
        def loss_fn(params, stats, inputs):
            run = lambda way, images: apply_network(
                self._generators[way], params[way], stats[way], images
            )
            game = cycle = same = 0.0
            made, moved = {}, {}
            for way in WAYS:
                made[way], moved[way] = run(way, inputs[way])
                logits, _ = apply_network(
                    self._judges[way],
                    state.params["discriminator"][way],
                    state.stats["discriminator"][way],
                    made[way],
                )
                game += self.loss.generator(logits.ravel()).mean()
                cycle += _distance(run(BACK[way], made[way])[0], inputs[way])
                if self.identity_weight:
                    there = inputs[BACK[way]]
                    same += _distance(run(way, there)[0], there)
            loss = game + self.cycle_weight * cycle + self.identity_weight * same
            metrics = {"g_loss": game, "cycle": cycle}
            metrics |= {"identity": same} if self.identity_weight else {}
            return loss, (moved, metrics, made)

        state, metrics, made = network_step(
            state, "generator", loss_fn, self.g_optimizer, inputs, self.accumulate, "g_"
        )
        params, stats = state.params["generator"], state.stats["generator"]
        new = {way: {"params": params[way], **stats[way]} for way in WAYS}
        ema = moving_average(state.ema["generator"], new, self.ema_decay, state.step)
        state = state.replace(ema={"generator": ema})
        return state, jax.lax.stop_gradient(made), metrics

    def _discriminator_step(
        self, state: TrainState, inputs: dict[str, Images], shown: dict[str, Images]
    ) -> tuple[TrainState, Metrics]:
        def loss_fn(params, stats, batch):
            loss, real_logits, fake_logits, moved = 0.0, 0.0, 0.0, {}
            for way in WAYS:
                judge = lambda stats, images, way=way: apply_network(
                    self._judges[way], params[way], stats, images
                )
                real, kept = judge(stats[way], batch["real"][way])
                fake, moved[way] = judge(kept, batch["shown"][way])
                loss += self.loss.discriminator(real.ravel(), fake.ravel()).mean()
                real_logits += real.mean() / 2
                fake_logits += fake.mean() / 2
            metrics = {"d_loss": loss, "d_real": real_logits, "d_fake": fake_logits}
            return loss, (moved, metrics, {})

        state, metrics, _ = network_step(
            state,
            "discriminator",
            loss_fn,
            self.d_optimizer,
            {"real": {way: inputs[BACK[way]] for way in WAYS}, "shown": shown},
            self.accumulate,
            "d_",
        )
        return state, metrics

    def inference_params(self, state: TrainState) -> PyTree:
        """The moving average of both generators' variables."""
        return state.ema["generator"]

    def translate(self, params: PyTree, images: Images) -> Images:
        """Conditions to images, both in [0, 1]."""
        return _translated(self.forward, params["forward"], images)

    def translate_back(self, params: PyTree, images: Images) -> Images:
        """Images to conditions, both in [0, 1]."""
        return _translated(self.backward, params["backward"], images)


def _inputs(batch: Batch) -> dict[str, Images]:
    """What each way starts from, in [-1, 1]."""
    return {"forward": _signed(batch["condition"]), "backward": _signed(batch["image"])}


def _init(
    networks: dict[str, nn.Module], key: PRNGKey, inputs: dict[str, Images]
) -> tuple[PyTree, PyTree]:
    made = {
        way: init_network(network, rng.stream(key, way), inputs[way])
        for way, network in networks.items()
    }
    return {way: params for way, (params, _) in made.items()}, {
        way: stats for way, (_, stats) in made.items()
    }


def from_pool(
    pool: dict[str, Array], made: Images, positions: Positions, key: PRNGKey
) -> tuple[Images, dict[str, Array]]:
    """(what the discriminator is shown for each of `made`, the pool after it).

    Each fake of the whole batch has a place of the pool for itself. Where the place is empty, the
    fake is shown and kept; else, as likely, the fake is shown, or the one that lies there, whose
    place it takes.

    Args:
      pool: `images` [size, height, width, channel] and `filled`, bool [size]; the same on every
        device.
      made: this device's fakes.
      positions: their places in the global batch.
      key: the same on every device.
    """
    everyones = made
    if jax.lax.axis_size(AXIS) > 1:
        everyones = jax.lax.all_gather(made, AXIS, tiled=True)
    num = len(everyones)
    places = jax.random.permutation(rng.stream(key, "places"), len(pool["filled"]))[:num]
    older = jax.random.bernoulli(rng.stream(key, "older"), shape=(num,))
    older = older & pool["filled"][places]
    keep = older | ~pool["filled"][places]
    choose = lambda which, yes, no: jnp.where(which[:, None, None, None], yes, no)
    there = pool["images"][places]
    new = {
        "images": pool["images"].at[places].set(choose(keep, everyones, there)),
        "filled": pool["filled"].at[places].set(True),
    }
    return choose(older, there, everyones)[positions], new
