"""What became of the trials: rows of `sweep.jsonl`, and which setting is best."""

import dataclasses
import math
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from genjax.evaluation.rows import read_rows
from genjax.sweep.space import Sweep, Trial

PREFIX = "validation/"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    Attributes:
      trial: which one.
      state: `finished`, `failed`, or `stopped` where the search ended it early.
      reason: why it failed.
    """

    trial: Trial
    state: str
    reason: str = ""


def trial_folder(workdir: pathlib.Path, trial: Trial) -> pathlib.Path:
    """The run folder of a trial."""
    return workdir / "trials" / trial.name


def last_scores(run: pathlib.Path) -> tuple[int, dict[str, float]]:
    """The last step of a run that was scored on the validation split, and its scores."""
    step, scores = 0, {}
    for row in read_rows(run / "metrics.jsonl"):
        found = {name: value for name, value in row.items() if name.startswith(PREFIX)}
        if found:
            step = row["step"]
            scores = {
                name.removeprefix(PREFIX): float(value)
                for name, value in found.items()
                if not isinstance(value, list)
            }
    return step, scores


def row_of(outcome: Outcome, workdir: pathlib.Path) -> dict[str, Any]:
    """The trial's row of `sweep.jsonl`."""
    folder = trial_folder(workdir, outcome.trial)
    step, scores = last_scores(folder)
    return {
        "trial": outcome.trial.name,
        "state": outcome.state,
        "reason": outcome.reason,
        "parameters": dict(outcome.trial.parameters),
        "step": step,
        "metrics": scores,
        "workdir": str(folder.relative_to(workdir)),
    }


def settings(
    rows: Iterable[Mapping[str, Any]], sweep: Sweep
) -> list[tuple[dict[str, Any], list[float]]]:
    """(the parameters without the seed, the metric of each seed) of what finished, best mean first.

    A metric that is not a number is left out, and so is a setting's second row with the same seed.
    """
    found: dict[tuple, tuple[dict[str, Any], dict[Any, float]]] = {}
    for row in rows:
        value = float(row["metrics"].get(sweep.metric, math.nan))
        if row["state"] == "finished" and math.isfinite(value):
            parameters = {k: v for k, v in row["parameters"].items() if k != "seed"}
            _, of = found.setdefault(tuple(map(repr, parameters.values())), (parameters, {}))
            of.setdefault(row["parameters"].get("seed"), value)
    sign = -1 if sweep.mode == "max" else 1
    values = [(parameters, list(of.values())) for parameters, of in found.values()]
    return sorted(values, key=lambda each: sign * np.mean(each[1]))


def importances(rows: Sequence[Mapping[str, Any]], metric: str) -> dict[str, float]:
    """The part of the metric's variance, in [0, 1], that each parameter explains by itself.

    Adjusted R^2 of the means over a parameter's values (of a drawn number, over quarters of its
    range by rank): 1 - (1 - R^2) (n - 1) / (n - k) for n trials and k means, at least 0. NaN where
    there are no more trials than means. A trial whose metric is not a number is left out.
    """
    rows = [row for row in rows if math.isfinite(float(row["metrics"][metric]))]
    values = np.array([float(row["metrics"][metric]) for row in rows])
    found = {}
    for name in rows[0]["parameters"] if rows else ():
        classes = _classes([row["parameters"][name] for row in rows])
        n, k = len(values), classes.max() + 1
        means = np.array([values[classes == c].mean() for c in range(k)])
        total = ((values - values.mean()) ** 2).sum()
        if n <= k or total == 0:
            found[name] = math.nan
            continue
        left = ((values - means[classes]) ** 2).sum() / total
        found[name] = max(0.0, 1 - left * (n - 1) / (n - k))
    return found


def _classes(values: Sequence[Any], most: int = 6) -> np.ndarray:
    """Equal values as one number; more than `most` different numbers as quarters by rank."""
    numbers = all(isinstance(value, int | float) for value in values)
    values = list(values if numbers else map(repr, values))
    different = sorted(set(values))
    index = np.array([different.index(value) for value in values])
    return index * 4 // len(different) if numbers and len(different) > most else index
