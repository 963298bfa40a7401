"""The one place that compiles a training step, for one device or many, of all processes."""

import dataclasses
import functools
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
      devices: all of all processes, unless given; each process's are neighbours.
    """

    kind: str
    devices: tuple[jax.Device, ...] = dataclasses.field(
        default_factory=lambda: tuple(
            sorted(jax.devices(), key=lambda device: device.process_index)
        )
    )

    def __len__(self) -> int:
        return len(self.devices)

    @property
    def whole(self) -> NamedSharding:
        """The place of what each device of this process has the whole of."""
        return NamedSharding(self._mesh.local_mesh, PartitionSpec())

    def replicate(self, tree: PyTree) -> PyTree:
        """The tree, which every process has, on every device."""
        everywhere = self._sharding(PartitionSpec())

        def join(here: jax.Array) -> jax.Array:
            copies = [shard.data for shard in here.addressable_shards]
            return jax.make_array_from_single_device_arrays(here.shape, everywhere, copies)

        return jax.tree.map(join, jax.device_put(tree, self.whole))

    def own_rows(self, num: int) -> slice:
        """Those of the `num` rows of a step that this process's devices take."""
        here = [number for number, device in enumerate(self.devices) if _is_here(device)]
        return slice(here[0] * num // len(self), (here[-1] + 1) * num // len(self))

    def shard(self, block: Batch) -> Batch:
        """A block of steps with each device's rows on that device.

        Args:
          block: leaves [steps, own rows, ...], of the rows of `own_rows`.

        Returns:
          Leaves [device, steps, rows / devices, ...]; a device's rows are contiguous.
        """
        place, num_here = self._sharding(PartitionSpec(AXIS)), sum(map(_is_here, self.devices))

        def split(rows: np.ndarray) -> jax.Array:
            steps, num = rows.shape[:2]
            parts = rows.reshape(steps, num_here, num // num_here, *rows.shape[2:]).swapaxes(0, 1)
            shape = (len(self), *parts.shape[1:])
            return jax.make_array_from_process_local_data(place, parts, shape)

        return {name: split(rows) for name, rows in block.items()}

    def any(self, flag: bool) -> jax.Array:
        """Whether `flag` is true on any process, when that is known; all have to ask."""
        return self._any(self.shard({"flag": np.full((1, sum(map(_is_here, self.devices))), flag)}))

    @functools.cached_property
    def _any(self) -> Callable[[Batch], jax.Array]:
        everywhere = self._sharding(PartitionSpec())
        return jax.jit(lambda block: block["flag"].any(), out_shardings=everywhere)

    def check_batch_size(self, batch_size: int, accumulate: int = 1) -> None:
        """Raises a UserError if the devices' `accumulate` chunks do not divide `batch_size`."""
        parts = len(self) * accumulate
        if batch_size < 1 or batch_size % parts:
            near = max(1, round(batch_size / parts)) * parts
            chunks = f" in {accumulate} chunks each" if accumulate > 1 else ""
            raise UserError(
                f"training.batch_size: {len(self)} devices{chunks} do not divide {batch_size}; "
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


def _is_here(device: jax.Device) -> bool:
    return device.process_index == jax.process_index()
