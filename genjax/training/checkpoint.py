"""Checkpoints: the last ones and the best one, written by Orbax while training goes on."""

import contextlib
import functools
import pathlib
from collections.abc import Mapping

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import (
    AnyPreservationPolicy,
    BestN,
    LatestN,
)

from genjax.errors import UserError
from genjax.models.base import TrainState


class Checkpoints(contextlib.AbstractContextManager):
    """The folder `workdir/checkpoints`.

    Saving is asynchronous and atomic: a killed run leaves whole checkpoints only. Leaving the
    context waits for what is still being written.

    Args:
      workdir: the run folder; nothing is made in it before the first save.
      max_to_keep: how many of the last checkpoints stay; the best one stays besides.
      best_metric: the metric that says which is best, of those given to `save`; empty for none.
      best_mode: `min` or `max`.
      read_only: changes nothing, so that another process may be saving meanwhile.
    """

    def __init__(
        self,
        workdir: pathlib.Path,
        *,
        max_to_keep: int,
        best_metric: str,
        best_mode: str,
        read_only: bool = False,
    ):
        self._folder = pathlib.Path(workdir).absolute() / "checkpoints"
        self._max_to_keep = max_to_keep
        self._best_metric = best_metric
        self._best_mode = best_mode
        self._read_only = read_only

    @functools.cached_property
    def _manager(self) -> ocp.CheckpointManager:
        best_metric, best_mode = self._best_metric, self._best_mode

        def value(metrics: Mapping[str, float]) -> float:
            return metrics[best_metric]

        best = BestN(
            get_metric_fn=value,
            reverse=best_mode == "min",
            n=1,
            keep_checkpoints_without_metrics=False,
        )
        return ocp.CheckpointManager(
            self._folder,
            options=ocp.CheckpointManagerOptions(
                best_fn=value,
                best_mode=best_mode,
                preservation_policy=AnyPreservationPolicy([LatestN(self._max_to_keep), best]),
                create=not self._read_only,
                cleanup_tmp_directories=not self._read_only,
                read_only=self._read_only,
            ),
        )

    def __exit__(self, *_) -> None:
        if "_manager" in vars(self):
            self._manager.close()

    def save(self, state: TrainState, metrics: Mapping[str, float]) -> None:
        """Begins to save `state` under its step, with the validation metrics that rank it."""
        ranking = {k: v for k, v in metrics.items() if k == self._best_metric}
        # Every device has the whole state. Given all of them, Orbax would let each write a slice
        # of each leaf, and compile a program for every slice.
        copy = jax.tree.map(lambda leaf: leaf.addressable_data(0), state)
        self._manager.save(
            int(state.step), args=ocp.args.StandardSave(copy), metrics=ranking or None
        )

    def steps(self) -> dict[str, int]:
        """The step of `last` and, where a metric ranks them, of `best`; empty without any."""
        last = self._manager.latest_step() if self._folder.is_dir() else None
        if last is None:
            return {}
        best = self._manager.best_step()
        return {"last": last} if best is None else {"last": last, "best": best}

    def all_steps(self) -> list[int]:
        """The steps of all checkpoints that are kept, ascending."""
        return sorted(self._manager.all_steps()) if self._folder.is_dir() else []

    def restore(self, step: int, like: TrainState) -> TrainState:
        """The state at `step`, placed as the arrays of `like` are.

        Raises:
          UserError: the checkpoint does not fit `like`.
        """
        try:
            return self._manager.restore(step, args=ocp.args.StandardRestore(_abstract(like)))
        except (ValueError, KeyError, FileNotFoundError) as error:
            first_line = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise UserError(
                f"{self._folder / str(step)}: can not be restored: {first_line}"
            ) from error


def _abstract(state: TrainState) -> TrainState:
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), state
    )
