"""What tables of sample quality share: runs scored by samples, published values above ours."""

import dataclasses
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from absl import flags

from experiments import tables
from experiments.tables import FLAGS, Published, Record, Run
from genjax.errors import UserError

#: Against as many test images.
NUM_SAMPLES = 10_000
CHECKPOINTS = ("best", "last")
#: Which checkpoint is best is for the judge, on validation images.
JUDGED = {
    "evaluation.num_samples": NUM_SAMPLES,
    "checkpoint.best_metric": "frechet_distance",
    "checkpoint.best_mode": "min",
}
#: As long as Lucic et al. 2018 train on Fashion-MNIST, with their batches.
TWENTY_EPOCHS = {
    **JUDGED,
    "training.duration": "20 epochs",
    "training.batch_size": 64,
    "training.checkpoint_every": "10 percent",
    "training.rollbacks": 3,
}
NO_WEIGHTS = "needs the Inception weights"

flags.DEFINE_string("inception", "", "A file with the weights of the Inception network.")


@dataclasses.dataclass(frozen=True)
class Column:
    """A metric of the test split, as rows of evals.jsonl have it.

    Attributes:
      title: its name in the table.
      metric: its name in the rows.
      extractor: what samples are seen through.
      scale: what a value is multiplied by, 100 for percent.
      n_fake: how many samples it is of; None of as many as the metric takes.
      checkpoints: those that it is measured of.
      of_labels: whether only a model that is given labels has it.
    """

    title: str
    metric: str
    extractor: str = "classifier"
    scale: float = 1.0
    n_fake: int | None = NUM_SAMPLES
    checkpoints: tuple[str, ...] = CHECKPOINTS
    of_labels: bool = False

    def value(self, run: Run, checkpoint: str) -> float | None:
        """Of a run with sampling seed 0; None where it is not measured yet."""
        wanted = {"metric": self.metric, "extractor": self.extractor, "checkpoint": checkpoint}
        if self.n_fake is not None:
            wanted["n_fake"] = self.n_fake
        found = run.rows(**wanted, split="test", seed=0)
        return self.scale * float(found[-1]["value"]) if found else None

    def values(self, runs: Sequence[Run], checkpoint: str) -> list[float]:
        """Of the runs that have one."""
        values = [self.value(run, checkpoint) for run in runs]
        return [value for value in values if value is not None]


@dataclasses.dataclass(frozen=True)
class Row(tables.Row):
    """A model.

    Attributes:
      published: values by the title of their column, in its unit.
      labelled: whether the model is given labels.
      is_large: whether it is for an accelerator and is compared by Inception.
    """

    published: Mapping[str, Published] = dataclasses.field(default_factory=dict)
    labelled: bool = True
    is_large: bool = False

    def lacks(self) -> str:
        """What it needs and has not got here; empty if nothing."""
        if self.is_large and not (FLAGS.inception and tables.backend() != "cpu"):
            return f"needs {self.dataset}, a GPU and the Inception weights"
        return tables.lacks_images(self.dataset)


class Line(NamedTuple):
    """A model's checkpoint, or what is published of the model: a value for each column."""

    row: Row
    of: str
    values: Sequence[Published | None]
    runs: Sequence[Run] = ()


@dataclasses.dataclass(frozen=True)
class Table:
    """A table: files called `name`, a line for what is published of each row and for ours."""

    name: str
    caption: str
    rows: Sequence[Row]
    columns: Sequence[Column]

    def main(self, argv: Sequence[str], doc: str) -> int:
        """Does what is left to do and writes the table; 0, 2 after an error, 75 when stopped."""
        return tables.main(argv, doc, self._plan, self._run)

    def _plan(self) -> None:
        told = lambda row, run: "" if self._missing(row, run) else "scored"
        tables.print_plan(tables.asked(self.rows), told)

    def _run(self) -> None:
        rows = tables.asked(self.rows)
        if FLAGS.inception not in ("", "download") and not pathlib.Path(FLAGS.inception).is_file():
            raise UserError(f"--inception: {FLAGS.inception} is no file")
        is_scored = lambda row, run: not self._missing(row, run)
        tables.fill(rows, is_scored, self._finish, lambda: self._write(rows))

    def _finish(self, row: Row, run: Run) -> None:
        if self._missing(row, run):
            run.train()
        for checkpoints in dict.fromkeys(column.checkpoints for column in self.columns):
            found = self._missing(row, run)
            names = {each.metric for each in found if each.checkpoints == checkpoints}
            if names:
                weights = [f"--inception={FLAGS.inception}"] if FLAGS.inception else []
                asked = f"--checkpoint={','.join(checkpoints)}"
                run.evaluate(asked, f"--metrics={','.join(sorted(names))}", *weights)

    def _missing(self, row: Row, run: Run) -> list[Column]:
        """What is still to be measured."""
        return [
            column
            for column in self.columns
            if (row.labelled or not column.of_labels)
            and (FLAGS.inception or column.extractor != "inception")
            and None in [column.value(run, checkpoint) for checkpoint in column.checkpoints]
        ]

    def _is_measured(self, run: Run) -> bool:
        """Whether it has a value of any column."""
        values = [column.value(run, each) for column in self.columns for each in CHECKPOINTS]
        return values.count(None) < len(values)

    def _write(self, rows: Sequence[Row]) -> None:
        """The table of what is there until now."""
        found = {row.name: list(filter(self._is_measured, row.runs())) for row in rows}
        lines = [line for row in rows for line in self._lines(row, found[row.name])]
        path = pathlib.Path(FLAGS.results) / self.name
        titles = [column.title for column in self.columns]
        header = ["model", "", *titles, "seeds", "run"]
        records = [record for line in lines for record in self._records(line)]
        tables.write(path, self.caption, [header, *map(self._cells, lines)], records)
        if panels := self._panels(rows, lines):
            tables.panels_figure(path, [row.title for row in rows], panels)
        print(f"{path}.md, .tex, .csv, .png, .svg")

    def _lines(self, row: Row, runs: Sequence[Run]) -> list[Line]:
        published = [row.published.get(column.title) for column in self.columns]
        lines = [Line(row, "published", published)] if row.published else []
        if not runs:
            return [*lines, Line(row, "genjax", [None] * len(self.columns))]
        for checkpoint in CHECKPOINTS:
            values = [tables.spread(each.values(runs, checkpoint)) for each in self.columns]
            lines.append(Line(row, checkpoint, values, runs))
        return lines

    def _cells(self, line: Line) -> list[str]:
        row, ours = line.row, line.of != "published"
        if ours and not line.runs:
            empty = [""] * (len(self.columns) - 1)
            missing = row.lacks() or "not run yet"
            return [row.title, line.of, missing, *empty, "0", f"`--rows={row.name}`"]
        cells = [
            NO_WEIGHTS
            if ours and not value and column.extractor == "inception" and not FLAGS.inception
            else _text(value, ours=ours)
            for column, value in zip(self.columns, line.values, strict=True)
        ]
        runs = line.runs if line.of == CHECKPOINTS[0] else ()  # the same for the other
        names = ", ".join(f"`{run.workdir.name}` {run.config_hash[:8]}" for run in runs)
        return [row.title, line.of, *cells, str(len(line.runs)) if ours else "", names]

    def _records(self, line: Line) -> list[Record]:
        """One for each column."""
        ours = line.of != "published"
        return [
            {
                "row": line.row.name,
                "config": line.row.config,
                "of": line.of,
                "metric": column.title,
                "extractor": column.extractor,
                "mean": value.value if value else "",
                "deviation": value.deviation if value else "",
                "values": " ".join(map(str, column.values(line.runs, line.of))),
                "runs": " ".join(run.workdir.name for run in line.runs),
                "config_hashes": " ".join(run.config_hash for run in line.runs),
                "needs": line.row.lacks() if ours and not line.runs else "",
            }
            for column, value in zip(self.columns, line.values, strict=True)
        ]

    def _panels(
        self, rows: Sequence[Row], lines: Sequence[Line]
    ) -> dict[str, dict[str, list[Published | None]]]:
        panels = {}
        for index, column in enumerate(self.columns):
            of = {(line.row.name, line.of): line.values[index] for line in lines}
            if any(of.values()):
                panels[column.title] = {
                    series: [of.get((row.name, series)) for row in rows]
                    for series in ("published", *CHECKPOINTS)
                }
        return panels


def _text(value: Published | None, *, ours: bool) -> str:
    """A published value as it is printed; four digits of ours, its deviation as far as these go."""
    if value is None:
        return ""
    decimals = max(3 - math.floor(math.log10(abs(value.value))), 0) if value.value else 3
    numbers = [value.value, *([value.deviation] if value.deviation else [])]
    return " ± ".join(f"{each:.{decimals}f}" if ours else f"{each:g}" for each in numbers)
