"""The training loop: the same for every model."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np

from genjax.errors import UserError
from genjax.models.base import Metrics, TrainState
from genjax.training.checkpoint import Checkpoints
from genjax.training.processes import from_first
from genjax.training.writers import MetricsWriter, Progress
from genjax.types import Batch

#: (state) -> numbers to write and to rank the checkpoint by; may write pictures.
Evaluate = Callable[[TrainState], dict[str, float]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cadence:
    """When things happen, in steps; all but `patience` are multiples of `steps_per_call`.

    Attributes:
      total_steps: the whole run, at most.
      steps_per_call: steps of one block.
      log_every: from one row of metrics to the next.
      checkpoint_every: from one evaluation and checkpoint to the next.
      patience: a run is over when so many steps have brought no better checkpoint; 0: never.
    """

    total_steps: int
    steps_per_call: int
    log_every: int
    checkpoint_every: int
    patience: int = 0

    def is_due(self, step: int, every: int) -> bool:
        """Whether `step` ends a period of `every` steps, or the run."""
        return step % every == 0 or step == self.total_steps

    def is_over(self, steps: Mapping[str, int]) -> bool:
        """Whether a run is, with checkpoints whose `last` and `best` are at these steps."""
        last = steps.get("last", 0)
        scored = last - last % self.checkpoint_every  # a stop between two beats brings no score
        waited = scored - steps.get("best", scored)
        return last >= self.total_steps or 0 < self.patience <= waited


def train(
    state: TrainState,
    run_block: Callable[[TrainState, Batch], tuple[TrainState, Metrics]],
    blocks: Iterable[Batch],
    *,
    cadence: Cadence,
    images_per_step: int,
    evaluate: Evaluate,
    checkpoints: Checkpoints,
    writer: MetricsWriter,
    progress: Progress,
    watch: Callable[[int, Mapping[str, Any]], Iterable[str]],
    held: Metrics,
    asked: Callable[[], bool],
) -> TrainState:
    """Trains from `state.step` until `cadence` says it is over, or until it is asked to stop.

    Where several processes train, all call it, and process 0 evaluates.

    Metrics stay on the device until they are logged, so that the host runs ahead of it.

    Args:
      state: where to begin.
      run_block: the compiled steps of one block.
      blocks: what they are given.
      cadence: when what happens.
      images_per_step: for the speed.
      evaluate: scores a state.
      checkpoints: where states go.
      writer: where metrics go.
      progress: shows them.
      watch: what there is to say of a row that is written.
      held: metrics of steps since the last row, as the checkpoint of `state` has them.
      asked: whether to stop after the block that is under way, which all have to hear at the same
        block. Then the state is saved, with the metrics that are waiting for their row.

    Raises:
      NotFiniteError: a metric is no longer finite.
    """

    def write(row: dict[str, float | list[float]]) -> None:
        writer.write(step, row)
        for line in watch(step, row):
            progress.say(line)

    step = int(state.step)
    waiting: list[Metrics] = [held] if held else []
    since, since_step = time.monotonic(), step
    for block in blocks:
        state, metrics = run_block(state, block)
        step += cadence.steps_per_call
        waiting.append(metrics)

        if cadence.is_due(step, cadence.log_every):
            means = means_of(read(waiting, step))
            waiting = []
            speed = (step - since_step) * images_per_step / (time.monotonic() - since)
            write({f"train/{name}": value for name, value in means.items()})
            progress.update(step, means, speed)
            since, since_step = time.monotonic(), step

        # Evaluation comes before saving, since its numbers rank the checkpoint; saving comes
        # before the next step, which gives the state's memory away.
        if cadence.is_due(step, cadence.checkpoint_every):
            scores = from_first(lambda state=state: evaluate(state))
            check_scores(scores, step)
            if scores:
                write({f"validation/{name}": value for name, value in scores.items()})
            writer.flush()
            checkpoints.save(state, scores)
            since, since_step = time.monotonic(), step
            if cadence.patience and step < cadence.total_steps:
                steps = from_first(checkpoints.steps)
                if cadence.is_over(steps):
                    progress.say(f"step {step}: nothing was better since step {steps['best']}")
                    break

        if asked():
            if not cadence.is_due(step, cadence.checkpoint_every):
                columns = read(waiting, step) if waiting else {}
                writer.flush()
                checkpoints.save(state, {}, held=columns)
            break
    checkpoints.finish()
    return state


def check_scores(scores: Mapping[str, float], step: int) -> None:
    """Raises a NotFiniteError if one of the scores of this step is NaN."""
    for name, value in scores.items():
        if math.isnan(value):
            raise NotFiniteError(step, f"validation {name}", value)


def means_of(columns: Mapping[str, np.ndarray]) -> dict[str, float | list[float]]:
    """The mean over steps of each metric [steps, ...]."""
    return {
        name: values.astype(np.float64).mean(axis=0).tolist() for name, values in columns.items()
    }


def read(waiting: list[Metrics], last_step: int) -> dict[str, np.ndarray]:
    """The values [steps, ...] of each metric at the steps that wait, the last at `last_step`.

    Raises:
      NotFiniteError: one of them is no longer finite.
    """
    columns = jax.device_get(waiting)
    steps = {name: np.concatenate([each[name] for each in columns]) for name in columns[0]}
    for name, values in steps.items():
        bad = ~np.isfinite(values.reshape(len(values), -1)).all(axis=1)
        if bad.any():
            step = last_step - len(values) + 1 + int(bad.argmax())
            raise NotFiniteError(step, name, values[bad.argmax()])
    return steps


class NotFiniteError(UserError):
    """A number of training that is none.

    Attributes:
      step: the first step at which one was.
      name: which one.
      value: what it was.
    """

    def __init__(self, step: int, name: str, value: float | np.ndarray):
        super().__init__(
            f"step {step}: {name} is {value}, no longer finite; try a lower learning_rate or a "
            "clip_norm, in another --workdir, or training.rollbacks"
        )
        self.step, self.name, self.value = step, name, value
