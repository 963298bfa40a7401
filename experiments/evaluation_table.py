#!/usr/bin/env python3
"""The scores of finished runs beside one another, as a Markdown table.

  python launch.py evaluate --workdir=RUN      # for each of them
  python experiments/evaluation_table.py RUN [RUN ...] [--checkpoint=last] [--split=test]

A line is a metric with all that it was measured by, a column a run. Several seeds give their mean
and standard deviation.
"""

import pathlib
import sys
from collections.abc import Mapping
from typing import Any

from absl import flags

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from experiments import command_line  # noqa: E402
from genjax.errors import UserError, choose  # noqa: E402
from genjax.evaluation.comparison import base_name  # noqa: E402
from genjax.evaluation.rows import read_rows  # noqa: E402
from genjax.report.scores import mean_and_deviation, measured_by  # noqa: E402

FLAGS = flags.FLAGS
flags.DEFINE_string("checkpoint", "last", "Of this name.")
flags.DEFINE_string("split", "test", "On this split.")


def main(*folders: str) -> None:
    """Prints the table."""
    runs = list(map(pathlib.Path, folders))
    for run in runs:
        if not (run / "evals.jsonl").is_file():
            raise UserError(f"{run}: has no evals.jsonl; run evaluate first")
    names = [run.name for run in runs]
    # Two of one name are told apart by all that was typed.
    titles = names if len(set(names)) == len(names) else map(str, runs)
    print(markdown({title: scores(run) for title, run in zip(titles, runs, strict=True)}))


def scores(workdir: pathlib.Path) -> dict[tuple[str, ...], str]:
    """The values of a run by (metric, unit, images, extractor and settings)."""
    wanted = {"checkpoint": FLAGS.checkpoint, "split": FLAGS.split}
    there = read_rows(workdir / "evals.jsonl")
    for name, value in wanted.items():
        choose(f"--{name}: {workdir}", value, dict.fromkeys(row[name] for row in there))
    rows = [
        row
        for row in there
        if wanted.items() <= row.items() and row["metric"] == base_name(row["metric"])
    ]
    # Of what was measured in several ways, by other steps or numbers of images, the newest counts.
    newest = {_name(row): _way(row) for row in rows}
    values: dict[tuple[str, ...], dict[int, float]] = {}
    for row in rows:
        if newest[_name(row)] == _way(row):
            values.setdefault(_line(row), {})[row["seed"]] = float(row["value"])
    return {line: mean_and_deviation(list(by_seed.values())) for line, by_seed in values.items()}


def markdown(runs: Mapping[str, Mapping[tuple[str, ...], str]]) -> str:
    """The table; a metric that a run does not have is an empty cell."""
    lines = list(dict.fromkeys(line for found in runs.values() for line in found))
    header = ("metric", *runs, "unit", "real", "generated", "by")
    rows = [header, ("---",) * len(header)]
    for metric, *rest in lines:
        rows.append((metric, *(found.get((metric, *rest), "") for found in runs.values()), *rest))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _name(row: Mapping[str, Any]) -> tuple[str, ...]:
    return row["metric"], row["extractor"], row["resize"]


def _way(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in ("value", "seed")}


def _line(row: Mapping[str, Any]) -> tuple[str, ...]:
    return row["metric"], row["unit"], *measured_by(row)


if __name__ == "__main__":
    sys.exit(command_line.main(sys.argv, __doc__, main, names="RUN"))
