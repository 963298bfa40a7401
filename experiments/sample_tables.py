"""What tables of sample quality share: runs scored by samples, published values above ours."""

import collections
import dataclasses
import itertools
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from absl import flags

from experiments import tables
from experiments.tables import FLAGS, Published, Record, Run
from genjax.errors import UserError
from genjax.evaluation.weights import INCEPTION_SHA256, load_torch_weights

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
        row = self.measured(run, checkpoint)
        return self.scale * float(row["value"]) if row else None

    def measured(self, run: Run, checkpoint: str) -> Mapping[str, Any]:
        """The row of evals.jsonl, empty if there is none."""
        wanted = {"metric": self.metric, "extractor": self.extractor}
        if self.n_fake is not None:
            wanted["n_fake"] = self.n_fake
        if self.extractor == "inception":  # there is another, by clean-fid's rule
            wanted["resize"] = "tf1_bilinear"
        return next(reversed(run.rows(checkpoint, **wanted)), {})

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

    def lacks(self, prepare: bool = False) -> str:
        """What it needs and has not got here; empty if nothing. As `tables.lacks_images`."""
        if self.is_large and not (FLAGS.inception and tables.backend() != "cpu"):
            return f"needs {self.dataset}, a GPU and the Inception weights"
        return tables.lacks_images(self.dataset, prepare)


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
        self._check()
        told = lambda row, run: "" if self._missing(row, run) else "scored"
        tables.print_plan(self.rows, told)

    def _run(self) -> None:
        self._check()
        is_scored = lambda row, run: not self._missing(row, run)
        tables.fill(self.rows, is_scored, self._finish, self._write)

    def _check(self) -> None:
        """Raises a UserError of what would come out after the training.

        --inception is no file of its weights, or two classifiers have seen runs.
        """
        if FLAGS.inception not in ("", "download"):
            load_torch_weights(FLAGS.inception, INCEPTION_SHA256, "--inception")
        self._check_seen()

    def _check_seen(self) -> None:
        """Raises a UserError if runs of a data set were seen by two classifiers.

        One is of another machine or version, and distances by the two can not be compared.
        """
        seen = collections.defaultdict(dict)
        runs = ((row, run) for row in self.rows for run in row.found())
        for (row, run), column in itertools.product(runs, self.columns):
            for checkpoint in column.checkpoints:
                if weights := column.measured(run, checkpoint).get("extractor_sha256"):
                    seen[row.dataset, column.extractor].setdefault(weights, run.workdir.name)
        for (_, extractor), runs in seen.items():
            if len(runs) > 1:
                (one, first), (other, second), *_ = runs.items()
                raise UserError(
                    f"--runs: {first} is scored by the {extractor} {one[:8]}, {second} by "
                    f"{other[:8]}, and they can not be compared; score both beside one of them by "
                    "launch.py evaluate, or move one away"
                )

    def _finish(self, row: Row, run: Run) -> None:
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

    def _write(self) -> None:
        self._check_seen()  # a run that was trained just now may have brought its own classifier
        found = {row.name: list(filter(self._is_measured, row.found())) for row in self.rows}
        lines = [line for row in self.rows for line in self._lines(row, found[row.name])]
        path = pathlib.Path(FLAGS.results) / self.name
        titles = [column.title for column in self.columns]
        header = ["model", "", *titles, "seeds", "run"]
        records = [record for line in lines for record in self._records(line)]
        tables.write(path, self.caption, [header, *map(self._cells, lines)], records)
        tables.panels_figure(path, [row.title for row in self.rows], self._panels(lines))
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
            missing = tables.missing(row)
            return [row.title, line.of, missing, *empty, "0", f"`--rows={row.name}`"]
        cells = [
            self._ours(column, line, value) if ours else _printed(value)
            for column, value in zip(self.columns, line.values, strict=True)
        ]
        runs = line.runs if line.of == CHECKPOINTS[0] else ()  # the same for the other
        names = ", ".join(f"`{run.workdir.name}` {run.config_hash[:8]}" for run in runs)
        return [row.title, line.of, *cells, str(len(line.runs)) if ours else "", names]

    def _ours(self, column: Column, line: Line, value: Published | None) -> str:
        """In four digits of the mean, and of how many runs if not of all."""
        if not value:
            return NO_WEIGHTS if column.extractor == "inception" and not FLAGS.inception else ""
        digits = _digits(value.value)
        text = " ± ".join(f"{each:.{digits}f}" for each in _numbers(value))
        measured = len(column.values(line.runs, line.of))
        return text + (f" ({measured} of {len(line.runs)})" if measured < len(line.runs) else "")

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
                "deviation": value.deviation if value and value.deviation else "",
                "values": " ".join(map(str, column.values(line.runs, line.of))),
                "runs": " ".join(run.workdir.name for run in line.runs),
                "config_hashes": " ".join(run.config_hash for run in line.runs),
                "missing": tables.missing(line.row) if ours and not line.runs else "",
            }
            for column, value in zip(self.columns, line.values, strict=True)
        ]

    def _panels(self, lines: Sequence[Line]) -> dict[str, dict[str, list[Published | None]]]:
        panels = {}
        for index, column in enumerate(self.columns):
            of = {(line.row.name, line.of): line.values[index] for line in lines}
            if any(of.values()):
                panels[column.title] = {
                    series: [of.get((row.name, series)) for row in self.rows]
                    for series in ("published", *CHECKPOINTS)
                }
        return panels


def _digits(value: float) -> int:
    """Decimals that make four digits of a number; of one without any, three decimals."""
    has_any = value and math.isfinite(value)
    return max(3 - math.floor(math.log10(abs(value))), 0) if has_any else 3


def _printed(value: Published | None) -> str:
    """As its paper has it, with as many decimals in both numbers."""
    numbers = _numbers(value) if value else ()
    decimals = max((len(f"{each:g}".partition(".")[2]) for each in numbers), default=0)
    return " ± ".join(f"{each:.{decimals}f}" for each in numbers)


def _numbers(value: Published) -> tuple[float, ...]:
    return value if value.deviation else value[:1]
