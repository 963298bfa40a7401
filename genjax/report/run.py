"""Reads a run folder; whatever is not there yet is empty."""

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genjax.errors import UserError
from genjax.evaluation.rows import read_rows
from genjax.report.values import number

Row = Mapping[str, Any]
#: A metric's value at each step that reported it.
Series = dict[int, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """What a run folder holds.

    Attributes:
      config: `config.json`.
      environment: `environment.json`.
      scalars: name -> step -> value, from `metrics.jsonl`; steps ascend.
      vectors: name -> (last step, values), from `metrics.jsonl`.
      evals: the rows of `evals.jsonl`.
      pictures: kind -> [(step, file)], from `samples/<kind>_<step>.png`; steps ascend.
    """

    config: Mapping[str, Any]
    environment: Mapping[str, Any]
    scalars: Mapping[str, Series]
    vectors: Mapping[str, tuple[int, list[float]]]
    evals: list[Row]
    pictures: Mapping[str, list[tuple[int, Path]]]


def read_run(workdir: Path) -> Run:
    """Reads `workdir`.

    Raises:
      UserError: there is no `config.json`, or a JSON file cannot be read.
    """
    if not (workdir / "config.json").is_file():
        raise UserError(f"{workdir}: not a run folder (it has no config.json)")
    scalars, vectors = _metrics(workdir / "metrics.jsonl")
    return Run(
        config=_object(workdir / "config.json"),
        environment=_object(workdir / "environment.json"),
        scalars=scalars,
        vectors=vectors,
        evals=[row for row in read_rows(workdir / "evals.jsonl") if "metric" in row],
        pictures=_pictures(workdir / "samples"),
    )


def _object(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(value, dict):
        raise UserError(f"{path}: expected a JSON object")
    return value


def _metrics(path: Path) -> tuple[dict[str, Series], dict[str, tuple[int, list[float]]]]:
    scalars: dict[str, Series] = {}
    vectors: dict[str, tuple[int, list[float]]] = {}
    for row in sorted(read_rows(path), key=lambda row: number(row.get("step", 0))):
        step = row.get("step", 0)
        for name, value in row.items():
            if isinstance(value, list):
                vectors[name] = (step, [number(item) for item in value])
            elif name != "step":
                scalars.setdefault(name, {})[step] = number(value)
    return scalars, vectors


def _pictures(folder: Path) -> dict[str, list[tuple[int, Path]]]:
    pictures: dict[str, list[tuple[int, Path]]] = {}
    for path in sorted(folder.glob("*.png")):
        if match := re.fullmatch(r"([^.].*)_(\d+)", path.stem):
            pictures.setdefault(match[1], []).append((int(match[2]), path))
    return {kind: sorted(files) for kind, files in sorted(pictures.items(), reverse=True)}
