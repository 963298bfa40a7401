"""The one place that compiles a training step, for one device or many."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from genjax import rng
from genjax.compiling import compiler_options
from genjax.data.transforms import to_float
from genjax.errors import UserError
from genjax.models.base import Metrics, Model, TrainState
from genjax.nn.layers import AXIS
from genjax.types import Batch, PRNGKey, PyTree

Fetch = Callable[[Batch, Batch], Batch]
#: (batch with floats in [0, 1] and `position`, key) -> what the step trains on.
Augment = Callable[[Batch, PRNGKey], Batch]
#: (state, store, block, seed's key) -> (state, metrics [steps]); gives the state's memory away.
Run = Callable[[TrainState, Batch, Batch, PRNGKey], tuple[TrainState, Metrics]]


def scanned(model: Model, fetch: Fetch, augment: Augment) -> Run:
    """`model.train_step` over a block of steps, for one shard of each batch on the axis `AXIS`.

    `fetch` turns store and the block's entry for one step into a batch of uint8 images.
    """

    def run(
        state: TrainState, store: Batch, block: Batch, key: PRNGKey
    ) -> tuple[TrainState, Metrics]:
        def step(state: TrainState, row: Batch) -> tuple[TrainState, Metrics]:
            step_key = jax.random.fold_in(rng.stream(key, "train"), state.step)
            batch = to_float(fetch(store, row))
            num = batch["index"].shape[0]
            position = jax.lax.axis_index(AXIS) * num + jnp.arange(num)
            batch = augment({**batch, "position": position}, rng.stream(step_key, "augment"))
            return model.train_step(state, batch, step_key)

        return jax.lax.scan(step, state, block)

    return run


@dataclasses.dataclass(frozen=True)
class Devices:
    """The devices that share each batch, and how a step is spread over them.

    Attributes:
      kind: `pmap`, or `jit` for jit of shard_map over a mesh; both give the same numbers.
      devices: all of this process's, unless given.
    """

    kind: str
    devices: tuple[jax.Device, ...] = dataclasses.field(
        default_factory=lambda: tuple(jax.local_devices())
    )

    def __len__(self) -> int:
        return len(self.devices)

    def replicate(self, tree: PyTree) -> PyTree:
        """The tree on every device."""
        return jax.device_put(tree, self._sharding(PartitionSpec()))

    def shard(self, block: Batch) -> Batch:
        """A block of steps, leaves [steps, rows, ...], with each device's rows on that device.

        Returns:
          Leaves [device, steps, rows / devices, ...]; a device's rows are contiguous.
        """

        def split(rows: np.ndarray) -> np.ndarray:
            steps, num = rows.shape[:2]
            return rows.reshape(steps, len(self), num // len(self), *rows.shape[2:]).swapaxes(0, 1)

        return jax.device_put(
            {name: split(rows) for name, rows in block.items()},
            self._sharding(PartitionSpec(AXIS)),
        )

    def check_batch_size(self, batch_size: int) -> None:
        """Raises a UserError if the devices do not divide `batch_size`."""
        if batch_size < 1 or batch_size % len(self):
            near = max(1, round(batch_size / len(self))) * len(self)
            raise UserError(
                f"training.batch_size: {len(self)} devices do not divide {batch_size}; "
                f"nearest: {near}"
            )

    def compile(self, model: Model, fetch: Fetch, augment: Augment) -> Run:
        """`spread`, compiled at its first call; all blocks have one shape."""
        spread, compiled = self.spread(model, fetch, augment), []

        def run(*args: Any) -> tuple[TrainState, Metrics]:
            if not compiled:
                options = compiler_options(self.devices[0].platform)
                compiled.append(spread.lower(*args).compile(options))
            return compiled[0](*args)

        return run

    def spread(self, model: Model, fetch: Fetch, augment: Augment) -> Run:
        """`scanned`, jitted or pmapped over these devices: a block of steps is one dispatch."""
        run = scanned(model, fetch, augment)
        if self.kind == "pmap":
            return jax.pmap(
                run,
                axis_name=AXIS,
                in_axes=(None, None, 0, None),
                out_axes=(None, None),
                devices=self.devices,
                donate_argnums=0,
            )
        one, split = PartitionSpec(), PartitionSpec(AXIS)
        return jax.jit(
            jax.shard_map(
                lambda state, store, block, key: run(
                    state, store, jax.tree.map(lambda leaf: leaf[0], block), key
                ),
                mesh=self._mesh,
                in_specs=(one, one, split, one),
                out_specs=(one, one),
                # The step says itself where it takes means; pmap knows no other way.
                check_vma=False,
            ),
            donate_argnums=0,
        )

    @property
    def _mesh(self) -> Mesh:
        return Mesh(np.array(self.devices), (AXIS,))

    def _sharding(self, spec: PartitionSpec) -> NamedSharding:
        return NamedSharding(self._mesh, spec)
