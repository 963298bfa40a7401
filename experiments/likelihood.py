#!/usr/bin/env python3
"""The table of test likelihoods: VAEs of one and two levels, under two priors, beside the paper.

    python experiments/likelihood.py --dry_run
    python experiments/likelihood.py

      --rows=LIST       rows, or the beginnings of rows, as fashion_mnist,mnist/vae; all without it
      --seeds=3         runs of each, with the seeds 0, 1, ...
      --draws=5000      of the importance-weighted bound, for each image
      --runs=DIR        runs/likelihood, where run folders are, or are to be
      --results=DIR     results/, where likelihood.md, .csv, .tex, .png and .svg go
      --data_dir=DIR --manual_dir=DIR   as config.data has them
      --dry_run         prints what there is to do and how long it takes here

Trains the runs that are missing, goes on with those that were stopped, and scores the best
checkpoint of each. What is done is not done again. A row whose data set is not there stays in the
table and says so.
"""

import os
import pathlib
import statistics
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from absl import flags

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from experiments import tables  # noqa: E402
from experiments.tables import FLAGS, Published, Run  # noqa: E402


class Row(NamedTuple):
    """A row of the table: -log p(x) in nats, Norouzi et al. 2020 (Exemplar VAE), table 1."""

    dataset: str
    model: str
    prior: str
    published: Published

    @property
    def name(self) -> str:
        """As --rows has it."""
        return f"{self.dataset}/{self.model}/{self.prior}"


#: Rows are of data sets as configs name them.
ROWS = (
    Row("fashion_mnist", "vae", "standard_normal", Published(228.70, 0.15)),
    Row("fashion_mnist", "vae", "vamp", Published(227.35, 0.05)),
    Row("fashion_mnist", "hvae", "standard_normal", Published(227.37, 0.1)),
    Row("fashion_mnist", "hvae", "vamp", Published(226.72, 0.08)),
    Row("mnist", "vae", "standard_normal", Published(84.45, 0.12)),
    Row("mnist", "vae", "vamp", Published(82.43, 0.06)),
    Row("mnist", "hvae", "standard_normal", Published(82.39, 0.11)),
    Row("mnist", "hvae", "vamp", Published(81.56, 0.09)),
    Row("omniglot", "vae", "standard_normal", Published(108.34, 0.06)),
    Row("omniglot", "vae", "vamp", Published(106.78, 0.21)),
    Row("omniglot", "hvae", "standard_normal", Published(104.92, 0.08)),
    Row("omniglot", "hvae", "vamp", Published(103.30, 0.43)),
)
CONFIGS = {"vae": "binary_vae", "hvae": "hvae"}
TITLES = {
    "fashion_mnist": "Fashion-MNIST",
    "mnist": "dynamic MNIST",
    "omniglot": "Omniglot",
    "vae": "VAE",
    "hvae": "HVAE, two levels",
    "standard_normal": "Gaussian prior",
    "vamp": "VampPrior",
}
#: What a row whose images are not there needs.
NEEDS = {
    "fashion_mnist": "needs fashion_mnist of TensorFlow Datasets in --data_dir",
    "mnist": "needs mnist of TensorFlow Datasets in --data_dir",
    # That of TensorFlow Datasets has 105 x 105 pixels and another split.
    "omniglot": "needs the 28 x 28 Omniglot of Burda et al. 2016 (chardata.mat)",
}

flags.DEFINE_integer("draws", 5000, "For each image.", lower_bound=1)


def main(argv: list[str]) -> int:
    """Does what is left to do and writes the table; 0, 2 after an error, 75 if asked to stop."""
    return tables.main(argv, __doc__, _plan, _run)


def runs_of(row: Row) -> list[Run]:
    """The row's run with each seed."""
    places = {"data.data_dir": FLAGS.data_dir, "data.manual_dir": FLAGS.manual_dir}
    folder = pathlib.Path(FLAGS.runs)
    return [
        Run(
            folder / f"{row.dataset}-{row.model}-{row.prior}-{seed}",
            f"{CONFIGS[row.model]}:{row.dataset}",
            {**places, "prior.name": row.prior, "seed": seed},
        )
        for seed in range(FLAGS.seeds)
    ]


def needs(row: Row) -> str:
    """What it lacks to be run here; empty if nothing."""
    there = row.dataset != "omniglot" and tables.is_prepared(row.dataset, FLAGS.data_dir)
    return "" if there else NEEDS[row.dataset]


class Scored(NamedTuple):
    """A run whose best checkpoint, at `step`, has its bound: -log p(x) in nats."""

    name: str
    nats: float
    step: int
    config_hash: str


def score(run: Run) -> Scored | None:
    """Of evals.jsonl; None where it is not there yet."""
    wanted = {"metric": "iw_bound", "checkpoint": "best", "split": "test", "seed": 0}
    found = run.rows(**wanted, settings=f"{FLAGS.draws} draws")
    if not found:
        return None
    row = found[-1]
    return Scored(run.workdir.name, -float(row["value"]), row["step"], row["config_hash"])


def _plan() -> None:
    def told(row: Row, run: Run) -> str:
        del row
        scored = score(run)
        return f"{scored.nats:.2f} nats" if scored else ""

    tables.print_plan(tables.asked(ROWS), needs, runs_of, told)


def _run() -> None:
    rows, found = tables.asked(ROWS), {}
    path = pathlib.Path(FLAGS.results) / "likelihood"
    # Seed by seed: a table of one run each comes first.
    for seed in range(FLAGS.seeds):
        for row in [row for row in rows if not needs(row)]:
            run = runs_of(row)[seed]
            if not score(run):
                run.train()
                draws = f"--importance_samples={FLAGS.draws}"
                run.evaluate("--checkpoint=best", "--metrics=iw_bound", draws)
            found.setdefault(row, []).append(score(run))
            _write(path, rows, found)
    _write(path, rows, found)
    print(f"{path}.md, .tex, .csv, .png, .svg")


def _write(path: pathlib.Path, rows: Sequence[Row], found: Mapping[Row, Sequence[Scored]]) -> None:
    """The table of what is there until now."""
    lines = [
        ["data set", "model", "published", "genjax", "seeds", "difference", "in deviations", "run"]
    ]
    records, drawn = [], {}
    for row in rows:
        runs = found.get(row, [])
        values = [run.nats for run in runs]
        names = [f"`{run.name}` {run.config_hash[:8]}" for run in runs]
        away = tables.difference(values, row.published) if values else ("", "")
        model = f"{TITLES[row.model]}, {TITLES[row.prior]}"
        missing = "" if values else needs(row) or "not run yet"
        ours = tables.mean_and_deviation(values) or missing
        signed = [f"{each:+.2f}" if values else "" for each in away]
        published = f"{row.published.value:.2f} ± {row.published.deviation:.2f}"
        lines.append(
            [TITLES[row.dataset], model, published, ours, str(len(runs)), *signed, ", ".join(names)]
        )
        records.append(
            {
                **{name: getattr(row, name) for name in ("dataset", "model", "prior")},
                "published": row.published.value,
                "published_deviation": row.published.deviation,
                "mean": statistics.fmean(values) if values else "",
                "deviation": statistics.stdev(values) if len(values) > 1 else "",
                "difference": away[0],
                "in_published_deviations": away[1],
                "values": " ".join(f"{value:.4f}" for value in values),
                "best_steps": " ".join(str(run.step) for run in runs),
                "runs": " ".join(run.name for run in runs),
                "config_hashes": " ".join(run.config_hash for run in runs),
                "missing": missing,
            }
        )
        if values:
            drawn[f"{TITLES[row.dataset]}: {model}"] = row.published, values
    tables.write(path, _caption(), lines, records)
    if drawn:
        tables.comparison_figure(path, "-log p(x), nats", drawn)


def _caption() -> str:
    return (
        "Test negative log-likelihood in nats, of images whose pixels are drawn as 0 or 1 with "
        f"their grey as the probability: importance-weighted bound with {FLAGS.draws} draws for "
        "each image, mean and standard deviation over seeds. Published: Norouzi et al. 2020, table "
        "1. By its protocol: 50,000 training images, drawn anew at each step; 10,000 validation "
        "and 10,000 test images, drawn once; the KL's weight rises for 100 epochs, training ends "
        "after 50 without a better validation bound, at most after 2,000, and the best epoch is "
        "scored. Ours differs in which 10,000 training images are validation, in the draw of the "
        "test images (from draw to draw a VAE's bound on Fashion-MNIST has a deviation of 0.08 "
        "nats), in weights that start by LeCun's rule instead of He's, and in a KL in closed form "
        "for the VAE under the Gaussian prior."
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv))
