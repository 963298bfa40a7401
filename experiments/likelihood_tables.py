"""What tables of test likelihoods share: VAEs scored by the importance-weighted bound."""

import dataclasses
import pathlib
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from absl import flags

from experiments import tables
from experiments.tables import FLAGS, Published, Run
from genjax.data.omniglot_28 import omniglot_28
from genjax.fields import errors_within

TITLES = {
    "fashion_mnist": "Fashion-MNIST",
    "mnist": "dynamic MNIST",
    "mnist_sample": "5,000 digits of MNIST",
    "omniglot_28": "Omniglot",
}
flags.DEFINE_integer("draws", 5000, "For each image.", lower_bound=1)
flags.DEFINE_string("omniglot", "", "The 28 x 28 Omniglot of Burda et al. 2016, chardata.mat.")


@dataclasses.dataclass(frozen=True)
class Row(tables.Row):
    """A model; published is its -log p(x) in nats, None of a data set that the paper lacks."""

    published: Published | None = None

    def lacks(self, prepare: bool = False) -> str:
        """What it needs and has not got here; empty if nothing. As `tables.lacks_images`."""
        if self.dataset != "omniglot_28":
            return tables.lacks_images(self.dataset, prepare)
        if FLAGS.omniglot:
            return ""
        return "needs the 28 x 28 Omniglot of Burda et al. 2016 (chardata.mat) as --omniglot"

    def places(self) -> dict[str, str]:
        """The fields that say where its images are."""
        # TFDS's Omniglot has 105 x 105 pixels and another split.
        return {"data.path": FLAGS.omniglot} if self.dataset == "omniglot_28" else super().places()


class Scored(NamedTuple):
    """A run whose checkpoint, at `step`, has its bound: -log p(x) in nats."""

    name: str
    nats: float
    step: int
    config_hash: str


@dataclasses.dataclass(frozen=True)
class Table:
    """A table: files called `name`, a line for each row.

    Attributes:
      name: of the files, too.
      caption: of what was found for each row's name, with {draws} where their number belongs.
      rows: in order.
      checkpoint: `best` or `last`, the one that is scored.
    """

    name: str
    caption: Callable[[Mapping[str, Sequence[Scored]]], str]
    rows: Sequence[Row]
    checkpoint: str

    def main(self, argv: Sequence[str], doc: str) -> int:
        """Does what is left to do and writes the table; 0, 2 after an error, 75 when stopped."""
        return tables.main(argv, doc, self._plan, self._run)

    def score(self, run: Run) -> Scored | None:
        """Of evals.jsonl; None where it is not there yet."""
        settings = f"{FLAGS.draws} draws"
        found = run.rows(self.checkpoint, metric="iw_bound", settings=settings)
        if not found:
            return None
        row = found[-1]
        return Scored(run.workdir.name, -float(row["value"]), row["step"], row["config_hash"])

    def _check(self) -> None:
        """Raises a UserError if --omniglot is another file: its turn may come after days."""
        if FLAGS.omniglot:
            with errors_within("--omniglot"):
                omniglot_28(split="test", path=FLAGS.omniglot)

    def _plan(self) -> None:
        self._check()

        def told(row: Row, run: Run) -> str:
            del row
            scored = self.score(run)
            return f"{scored.nats:.2f} nats" if scored else ""

        tables.print_plan(self.rows, told)

    def _run(self) -> None:
        self._check()
        is_scored = lambda row, run: self.score(run) is not None
        tables.fill(self.rows, is_scored, self._finish, self._write)

    def _finish(self, row: Row, run: Run) -> None:
        del row
        run.train()
        draws = f"--importance_samples={FLAGS.draws}"
        run.evaluate(f"--checkpoint={self.checkpoint}", "--metrics=iw_bound", draws)

    def _write(self) -> None:
        runs = {row.name: map(self.score, row.found()) for row in self.rows}
        found = {name: [scored for scored in each if scored] for name, each in runs.items()}
        path = pathlib.Path(FLAGS.results) / self.name
        of_ours = ("genjax", "seeds", "difference", "in deviations", "run")
        lines, records = [["data set", "model", "published", *of_ours]], []
        for row in self.rows:
            runs = found[row.name]
            values = [run.nats for run in runs]
            missing = "" if values else tables.missing(row)
            ours = tables.mean_and_deviation(values) or missing
            away = tables.difference(values, row.published) if values and row.published else ()
            signed = [f"{each:+.2f}" for each in away]
            names = [f"`{run.name}` {run.config_hash[:8]}" for run in runs]
            cells = [_printed(row.published), ours, str(len(runs)), *signed]
            cells += [""] * (5 - len(cells))
            lines.append([TITLES[row.dataset], row.title, *cells, ", ".join(names)])
            records.append(
                {
                    "row": row.name,
                    "config": row.config,
                    "published": row.published.value if row.published else "",
                    "published_deviation": (row.published and row.published.deviation) or "",
                    "mean": statistics.fmean(values) if values else "",
                    "deviation": tables.deviation(values) if len(values) > 1 else "",
                    "difference": away[0] if away else "",
                    "in_published_deviations": away[1] if len(away) > 1 else "",
                    "values": " ".join(f"{value:.4f}" for value in values),
                    "steps": " ".join(str(run.step) for run in runs),
                    "runs": " ".join(run.name for run in runs),
                    "config_hashes": " ".join(run.config_hash for run in runs),
                    "missing": missing,
                }
            )
        caption = self.caption(found).format(draws=FLAGS.draws)
        tables.write(path, caption, lines, records)
        tables.panels_figure(path, *self._panels(found))
        print(f"{path}.md, .tex, .csv, .png, .svg")

    def _panels(
        self, found: Mapping[str, Sequence[Scored]]
    ) -> tuple[list[str], dict[str, dict[str, list[Published | None]]]]:
        """The models that have a score on any data set, and a panel for each of these sets.

        Their numbers are far apart: on one axis no two models of a set could be told apart.
        """
        shown = [row for row in self.rows if found[row.name]]
        there = {row.title for row in shown}
        titles = list(dict.fromkeys(row.title for row in self.rows if row.title in there))
        panels = {}
        for dataset in dict.fromkeys(row.dataset for row in shown):
            of = {row.title: row for row in shown if row.dataset == dataset}
            scores = {title: [run.nats for run in found[row.name]] for title, row in of.items()}
            panels[f"-log p(x) in nats, {TITLES[dataset]}"] = {
                "published": [of[title].published if title in of else None for title in titles],
                "genjax": [tables.spread(scores.get(title, [])) for title in titles],
            }
        return titles, panels


def _printed(published: Published | None) -> str:
    if not published:
        return ""
    deviation = f" ± {published.deviation:.2f}" if published.deviation else ""
    return f"{published.value:.2f}{deviation}"
