"""Scores, and the rows with provenance that they become in `evals.jsonl`."""

import dataclasses
import fcntl
import json
import math
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Protocol

from genjax.types import PRNGKey, PyTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score:
    """A number and what it was computed from; NaN where it is only planned.

    Attributes:
      metric: its name.
      value: the number.
      unit: of the value; empty for a pure number.
      n_real: how many real images went into it.
      n_fake: how many generated ones.
      extractor: what turned images into features or labels.
      extractor_sha256: of the extractor's weights.
      resize: how images were brought to the extractor's size.
      settings: of the metric, in words, as "5 neighbours".
    """

    metric: str
    value: float = math.nan
    unit: str = ""
    n_real: int = 0
    n_fake: int = 0
    extractor: str = "none"
    extractor_sha256: str = ""
    resize: str = "none"
    settings: str = ""


class Evaluator(Protocol):
    """Scores a model on one split.

    What it will measure is known before, with all that it is measured by: so nothing that stands
    in `evals.jsonl` already is measured again.
    """

    #: Whether its scores depend on the seed.
    draws: ClassVar[bool]

    def planned(self, model: Any) -> list[Score]:
        """The scores to come, without their values."""

    def __call__(self, model: Any, params: PyTree, key: PRNGKey) -> dict[str, float]:
        """The value of each planned score, by metric."""


def scores_of(
    evaluators: Iterable[Evaluator], model: Any, params: PyTree, key: PRNGKey
) -> dict[str, float]:
    """What all of them give, by metric."""
    values = [evaluate(model, params, key) for evaluate in evaluators]
    return {name: value for each in values for name, value in each.items()}


#: Two rows that agree in all of these are one measurement, whatever the checkpoint is called.
IDENTITY = (
    "metric",
    "split",
    "step",
    "seed",
    "n_real",
    "n_fake",
    "extractor",
    "extractor_sha256",
    "resize",
    "settings",
    "config_hash",
    "code_version",
)


def read_rows(path: pathlib.Path) -> list[dict[str, Any]]:
    """The rows of a `.jsonl` file; none if there is no file.

    A line that a running or killed program has half written is skipped.
    """
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def _jsonable(value: Any) -> Any:
    # JSON knows no NaN and no infinity; as in metrics.jsonl they are texts that `float` reads.
    if isinstance(value, Mapping):
        return {name: _jsonable(each) for name, each in value.items()}
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def identity(row: Mapping[str, Any]) -> tuple:
    """What tells the row's measurement from all others."""
    return tuple(row.get(name) for name in IDENTITY)


def append_rows(path: pathlib.Path, rows: Iterable[dict[str, Any]]) -> None:
    """Appends the rows, all or on an OSError none; makes the folder if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = b"".join(json.dumps(_jsonable(row), allow_nan=False).encode() + b"\n" for row in rows)
    with path.open("ab+", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # what is cut off must not be another process's row
        if end := file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":  # a process was killed while it wrote
                text = b"\n" + text
        try:
            while text:  # where the disk is full, a part is written first
                text = text[file.write(text) :]
        except OSError:
            file.truncate(end)
            raise
