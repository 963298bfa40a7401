"""Checkpoints: the last ones and the best one, written by Orbax while training goes on."""

import contextlib
import errno
import functools
import itertools
import json
import os
import pathlib
import textwrap
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import (
    AnyPreservationPolicy,
    BestN,
    LatestN,
)

from genjax.errors import UserError
from genjax.models.base import TrainState
from genjax.training.processes import from_first
from genjax.types import PyTree

#: How often a folder that another process saves to is looked at.
LOOKS = 6


class Checkpoints(contextlib.AbstractContextManager):
    """The folder `workdir/checkpoints`.

    Saving is asynchronous and atomic: a killed run leaves whole checkpoints only. Leaving the
    context waits for what is still being written.

    Where several processes train, all of them call `save`, `finish`, `restore_newest` and `held`,
    and process 0 does it; the rest is for process 0.

    Args:
      workdir: the run folder; nothing is made in it before the first save.
      max_to_keep: how many of the last checkpoints stay; the best one stays besides.
      best_metric: the metric that says which is best, of those given to `save`; empty for none.
      best_mode: `min` or `max`.
      read_only: changes nothing, so that another process may be saving meanwhile.

    Attributes:
      rollbacks: how often training went back to a checkpoint until now; is saved with each, and is
        that of the state which `restore_newest` found.
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
        self.rollbacks = 0

    @functools.cached_property
    def _manager(self) -> ocp.CheckpointManager:
        # The other process may delete a checkpoint while Orbax looks at it.
        for _ in range(LOOKS - 1 if self._read_only else 0):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                return self._opened()
        return self._opened()

    def _opened(self) -> ocp.CheckpointManager:
        best_metric, best_mode = self._best_metric, self._best_mode

        # Orbax reads all of them, and stops at what it can not read.
        for path in self._folder.glob("*/metrics/metrics"):
            try:
                float(json.loads(path.read_text(encoding="utf-8")).get(best_metric, 0))
            except (ValueError, TypeError, AttributeError) as error:
                raise DamagedError(path.parents[1], f"{path.name}: {_first_line(error)}") from error

        def value(metrics: Mapping[str, float]) -> tuple[float, float]:
            # Of equals the earliest: a later one is no better. Older checkpoints have no step.
            earliness = metrics.get("step", 0)
            return metrics[best_metric], earliness if best_mode == "min" else -earliness

        best = BestN(
            get_metric_fn=value,
            reverse=best_mode == "min",
            n=1,
            keep_checkpoints_without_metrics=False,
        )
        # Process 0 alone: it has the whole state, as all have.
        alone = ocp.options.MultiprocessingOptions(primary_host=0, active_processes={0})
        if not self._read_only:
            self._folder.mkdir(parents=True, exist_ok=True)
        return ocp.CheckpointManager(
            self._folder,
            item_handlers=ocp.StandardCheckpointHandler(multiprocessing_options=alone),
            options=ocp.CheckpointManagerOptions(
                multiprocessing_options=alone,
                best_fn=value,
                best_mode=best_mode,
                preservation_policy=AnyPreservationPolicy([LatestN(self._max_to_keep), best]),
                create=False,
                cleanup_tmp_directories=not self._read_only,
                read_only=self._read_only,
            ),
        )

    def __exit__(self, *_) -> None:
        if "_manager" in vars(self):
            with self._full_disk():
                self._manager.close()

    def save(
        self,
        state: TrainState,
        metrics: Mapping[str, float],
        *,
        held: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Begins to save `state` under its step.

        Args:
          state: what to save.
          metrics: of validation; one of them ranks it.
          held: metrics of training that are still to be written.

        Raises:
          UserError: the disk is full.
        """
        from_first(lambda: self._save(state, metrics, held or {}))

    def _save(
        self, state: TrainState, metrics: Mapping[str, float], held: Mapping[str, np.ndarray]
    ) -> None:
        ranking = {k: v for k, v in metrics.items() if k == self._best_metric}
        if ranking:
            ranking["step"] = int(state.step)
        # Every device has the whole state. Given all of them, Orbax would let each write a slice
        # of each leaf, and compile a program for every slice; given one's, it refuses where there
        # are several processes. A copy: the next step takes the state's memory.
        copy = jax.tree.map(lambda leaf: np.array(leaf.addressable_data(0)), state)
        notes = {
            "checksum": _checksum(copy),
            "held": {name: values.tolist() for name, values in held.items()},
            "rollbacks": self.rollbacks,
        }
        with self._full_disk():
            self._manager.save(
                int(state.step),
                args=ocp.args.StandardSave(copy),
                metrics=ranking or None,
                custom_metadata=notes,
            )

    def finish(self) -> None:
        """Waits for what is still being written.

        Raises:
          UserError: the disk is full.
        """

        def wait() -> None:
            with self._full_disk():
                self._manager.wait_until_finished()

        from_first(wait)

    @contextlib.contextmanager
    def _full_disk(self) -> Iterator[None]:
        """What Orbax says of a full disk, in one line."""
        try:
            yield
        except Exception as error:
            words = ("No space left", "Disk quota", "File too large")
            if not any(word in str(error) for word in words):
                raise
            raise UserError(
                f"--workdir: no space left to save in {self._folder}; the checkpoints that are "
                "there are whole, and the same command goes on from the last of them"
            ) from error

    def held(self, step: int) -> dict[str, np.ndarray]:
        """The metrics that were still to be written at `step`, by name: [steps, ...]."""
        held = from_first(lambda: self._notes(step).get("held", {}))
        return {name: np.array(values) for name, values in held.items()}

    def _notes(self, step: int) -> dict[str, Any]:
        """What `save` noted besides; nothing in checkpoints of older versions."""
        self._manager.wait_until_finished()
        return self._manager.metadata(step).custom_metadata or {}

    def restore_newest(self, like: TrainState, warn: Callable[[str], None]) -> TrainState | None:
        """The newest state that is whole; None if there is none.

        Those that are not are set aside, into the folder `damaged` of the run; `warn` is told.

        Raises:
          UserError: a checkpoint is of another model.
        """
        state, self.rollbacks = from_first(lambda: self._newest(like, warn))
        return state

    def _newest(
        self, like: TrainState, warn: Callable[[str], None]
    ) -> tuple[TrainState | None, int]:
        """(the newest state that is whole, or None, how often training had gone back)."""
        while True:
            try:
                steps = self.all_steps()
                if not steps:
                    return None, self.rollbacks
                state = self.restore(steps[-1], like)
                return state, self._notes(steps[-1]).get("rollbacks", 0)
            except DamagedError as error:
                warn(f"{error}; it is kept in {self._set_aside(error.path)}")

    def forget_after(self, step: int) -> None:
        """Deletes the checkpoints behind `step`, so that training can go on from there."""
        for later in [each for each in self.all_steps() if each > step]:
            self._manager.delete(later)

    def _set_aside(self, path: pathlib.Path) -> pathlib.Path:
        folder = self._folder.parent / "damaged"
        folder.mkdir(exist_ok=True)
        names = (f"{path.name}{f'-{number}' if number else ''}" for number in itertools.count())
        aside = next(folder / name for name in names if not (folder / name).exists())
        os.replace(path, aside)
        if "_manager" in vars(self):  # it knows of it
            self._manager.close()
            del self._manager
        return aside

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
          UserError: the checkpoint does not fit `like`, is gone (`GoneError`) or is damaged
            (`DamagedError`).
          OSError: it can not be read: no right to, too many open files.
        """
        path = self._folder / str(step)
        self._manager.wait_until_finished()
        try:
            there = _shapes(self._manager.item_metadata(step))
            about = self._manager.metadata(step)
        except Exception as error:  # whatever comes of reading noise
            raise _damage(path, error) from error
        if not there or not about.init_timestamp_nsecs:
            raise _damage(path, ValueError("what describes it can not be read"))
        if there != (here := _shapes(like)):
            raise UserError(f"{path}: is of another model: {_difference(there, here)}")
        try:
            state = self._manager.restore(step, args=ocp.args.StandardRestore(_abstract(like)))
        except Exception as error:
            raise _damage(path, error) from error
        # Checkpoints of older versions have none.
        checksum = (about.custom_metadata or {}).get("checksum")
        if checksum not in (None, _checksum(state)):
            raise DamagedError(path, "its checksum is not that of what was saved")
        return state


class GoneError(UserError):
    """A checkpoint that another process has deleted."""

    def __init__(self, path: pathlib.Path):
        super().__init__(f"{path}: is gone; training has deleted it meanwhile")


class DamagedError(UserError):
    """A checkpoint that is not what was saved."""

    def __init__(self, path: pathlib.Path, why: str):
        super().__init__(f"{path}: is damaged: {why}")
        self.path = path


def _damage(path: pathlib.Path, error: Exception) -> DamagedError | GoneError:
    """What `error`, which came of reading `path`, says of it; raised is what says nothing of it."""
    short = isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)
    if short or "RESOURCE_EXHAUSTED" in str(error):  # of memory or open files, in XLA's words
        raise error

    def fail(error: OSError) -> None:
        raise error

    # Orbax may have logged why it could not open a file, and have gone on without.
    try:
        for folder, _, files in os.walk(path, onerror=fail):
            for file in files:
                pathlib.Path(folder, file).open("rb").close()
    except FileNotFoundError:  # it is being deleted
        return GoneError(path)
    return DamagedError(path, _first_line(error))


def _first_line(error: Exception) -> str:
    line = next(iter(str(error).strip().splitlines()), "")
    return textwrap.shorten(line, 120) or type(error).__name__


def _checksum(state: TrainState) -> int:
    """CRC-32 of all values."""
    total = 0
    for leaf in jax.tree.leaves(state):
        total = zlib.crc32(np.ascontiguousarray(leaf).view(np.uint8).ravel(), total)
    return total


def _shapes(tree: PyTree) -> dict[str, str]:
    """Type and shape of each value by its path, as `float32[3, 2]`."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    name = functools.partial(jax.tree_util.keystr, simple=True, separator=".")
    return {name(path): f"{np.dtype(leaf.dtype)}{list(leaf.shape)}" for path, leaf in leaves}


def _difference(there: Mapping[str, str], here: Mapping[str, str]) -> str:
    """The first value that is not in both, or not of one type and shape."""
    name = next(name for name in sorted(there | here) if there.get(name) != here.get(name))
    return f"{name} is {there.get(name, 'missing')} there and {here.get(name, 'missing')} here"


def _abstract(state: TrainState) -> TrainState:
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), state
    )
