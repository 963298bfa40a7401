"""A classifier: the project's own judge of samples, trained as any other model."""

import dataclasses
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from genjax import rng
from genjax.models.base import (
    Metrics,
    TrainState,
    apply_network,
    init_network,
    network_step,
)
from genjax.nn.layers import pmean
from genjax.types import Batch, Images, PRNGKey, PyTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class Classifier:
    """Reads labels off images; its features measure distances between sets of images.

    Attributes:
      encoder: images in [0, 1] to (class logits, features).
      optimizer: for all parameters.
      num_classes: number of labels.
      accumulate: chunks in which a batch goes through, one after the other.
    """

    networks: ClassVar[tuple[str, ...]] = ("encoder",)
    batches_per_step: ClassVar[int] = 1

    encoder: nn.Module
    optimizer: optax.GradientTransformation
    num_classes: int
    accumulate: int = 1

    def init(self, key: PRNGKey, batch: Batch) -> TrainState:
        """The state before the first step; `batch` gives shapes only."""
        params, stats = init_network(self.encoder, rng.stream(key, "encoder"), batch["image"][:1])
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params={"encoder": params},
            opt={"encoder": self.optimizer.init(params)},
            stats={"encoder": stats},
            ema={},
        )

    def train_step(
        self, state: TrainState, batch: Batch, key: PRNGKey
    ) -> tuple[TrainState, Metrics]:
        """One step down the cross-entropy."""
        del key  # the step draws nothing

        def loss_fn(params, stats, batch):
            (logits, _), stats = apply_network(self.encoder, params, stats, batch["image"])
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
            accuracy = (logits.argmax(-1) == batch["label"]).mean()
            return losses.mean(), (stats, {"loss": losses.mean(), "accuracy": accuracy}, {})

        state, metrics, _ = network_step(
            state, "encoder", loss_fn, self.optimizer, batch, self.accumulate
        )
        return state.replace(step=state.step + 1), pmean(metrics)

    def inference_params(self, state: TrainState) -> PyTree:
        """The encoder's variables."""
        return {"params": state.params["encoder"], **state.stats["encoder"]}

    def predict(
        self, params: PyTree, images: Images
    ) -> tuple[Float[Array, "batch class"], Float[Array, "batch feature"]]:
        """(class logits, features) for images in [0, 1]."""
        return self.encoder.apply(params, images, train=False)
