#!/usr/bin/env python3
"""The table of beta-VAEs on drawn shapes: what latents stand for, and what is lost, against beta.

    python experiments/disentanglement.py --dry_run
    python experiments/disentanglement.py

      --rows=LIST     rows to run, as shapes/beta-1,shapes/beta-16; all without it
      --seeds=3       runs of each, with the seeds 0, 1, ...
      --runs=DIR      runs/disentanglement, where run folders are, or are to be
      --results=DIR   results/, where disentanglement.md, .csv, .tex, .png and .svg go, and for
                      each beta disentanglement-BETA.png
      --dry_run       prints what there is to do and how long it takes here

Trains the runs that are missing, goes on with those that were stopped, and scores the last
checkpoint of each. What is done is not done again.

disentanglement-BETA.png has a row for each latent of the run with seed 0: the image of a drawing
while this latent alone goes from -2 to 2, and the factor that it tells most of, with the share of
the factor's entropy.
"""

import os
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import experiments  # noqa: E402, F401 - it hears Ctrl-C while the rest is imported

# isort: split
import numpy as np  # noqa: E402
from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

import genjax  # noqa: E402
from experiments import tables  # noqa: E402
from experiments.tables import Row, Run  # noqa: E402
from genjax.data.shapes import SHAPES  # noqa: E402
from genjax.evaluation.comparison import base_name  # noqa: E402
from genjax.evaluation.factors import encode  # noqa: E402
from genjax.metrics.disentanglement import mutual_information  # noqa: E402
from genjax.report.grids import labelled_rows, save_png  # noqa: E402

#: Each metric of the table, its heading and its decimals.
COLUMNS = {
    "mig": ("MIG", 3),
    "sap": ("SAP", 3),
    "dci_disentanglement": ("disentanglement", 3),
    "dci_completeness": ("completeness", 3),
    "dci_informativeness": ("informativeness", 3),
    "psnr": ("PSNR, dB", 2),
    "kl": ("KL, nats", 2),
    "active_units": ("active units", 1),
}
#: Of a traversal: as many images, this far from the prior's mean.
TRAVERSAL_STEPS, TRAVERSAL_END = 9, 2.0

FLAGS = tables.FLAGS
#: Weights of the KL.
BETAS = (1, 2, 4, 8, 16)
ROWS = tuple(
    Row(f"shapes/beta-{beta}", str(beta), "beta_vae", {"model.kl_weight": float(beta)})
    for beta in BETAS
)


def main(argv: list[str]) -> int:
    """Does what is left to do and writes the table; 0, 2 after an error, 75 if asked to stop."""
    return tables.main(argv, __doc__, _print_plan, _run)


class Scored(NamedTuple):
    """A run whose last checkpoint is measured: values by metric, those of each factor too."""

    name: str
    values: Mapping[str, float]
    step: int
    config_hash: str


def score(run: Run) -> Scored | None:
    """Of evals.jsonl; None where it is not all there yet."""
    rows = [row for row in run.rows("last") if base_name(row["metric"]) in COLUMNS]
    values = {row["metric"]: float(row["value"]) for row in rows}
    if not COLUMNS.keys() <= values.keys():
        return None
    return Scored(run.workdir.name, values, rows[-1]["step"], rows[-1]["config_hash"])


def _print_plan() -> None:
    def told(row: Row, run: Run) -> str:
        del row
        scored = score(run)
        return f"MIG {scored.values['mig']:.3f}" if scored else ""

    tables.print_plan(ROWS, told)


def _run() -> None:
    is_scored = lambda row, run: score(run) is not None
    tables.fill(ROWS, is_scored, _finish, _write)
    for row in tables.asked(ROWS):
        picture = pathlib.Path(FLAGS.results) / f"disentanglement-{row.title}.png"
        if (run := row.runs()[0]).has_checkpoints:
            save_png(traversals(run), picture)
            print(picture)
        else:  # it was trained somewhere else
            print(f"{picture} is left as it is: {run.workdir} has no checkpoint")


def _finish(row: Row, run: Run) -> None:
    del row
    run.train()
    run.evaluate("--checkpoint=last", "--metrics=mig")


def traversals(run: Run) -> np.ndarray:
    """A row for each latent, those that tell most first: uint8 [height, width, channel]."""
    loaded = genjax.load(run.workdir)
    source = loaded.experiment.sources["test"]
    encoded = encode(loaded.model, loaded.params, source, len(source))
    shares = mutual_information(encoded)
    # Of the shapes only a heart looks different after every turn.
    start = encoded.codes[np.argmax(encoded.factors["shape"] == SHAPES.index("heart"))]
    rows, names = [], []
    for latent in np.argsort(-shares.max(1)):
        row = np.repeat(start[None], TRAVERSAL_STEPS, axis=0)
        row[:, latent] = np.linspace(-TRAVERSAL_END, TRAVERSAL_END, TRAVERSAL_STEPS)
        rows.append(loaded.generate(row.astype(np.float32)))
        factor = source.factor_names[shares[latent].argmax()]
        names.append(f"z{latent}: {factor} {shares[latent].max():.2f}")
    return labelled_rows(np.concatenate(rows), names, TRAVERSAL_STEPS)


def _write() -> None:
    found = [list(filter(None, map(score, row.found()))) for row in ROWS]
    metrics = next(runs for runs in found if runs)[0].values
    lines = [["beta", *(heading for heading, _ in COLUMNS.values()), "seeds", "run"]]
    records = []
    for row, runs in zip(ROWS, found, strict=True):
        values = {name: [run.values[name] for run in runs] for name in metrics}
        ours = [
            tables.mean_and_deviation(values[name], digits) for name, (_, digits) in COLUMNS.items()
        ]
        missing = "" if runs else tables.missing(row)
        ours[0] = ours[0] or missing
        names = [f"`{run.name}` {run.config_hash[:8]}" for run in runs]
        lines.append([row.title, *ours, str(len(runs)), ", ".join(names)])
        records.append(
            {
                "beta": row.title,
                **{name: " ".join(f"{each:.6g}" for each in values[name]) for name in values},
                "steps": " ".join(str(run.step) for run in runs),
                "runs": " ".join(run.name for run in runs),
                "config_hashes": " ".join(run.config_hash for run in runs),
                "missing": missing,
            }
        )
    path = pathlib.Path(FLAGS.results) / "disentanglement"
    tables.write(path, _caption(), lines, records)
    _figure(path, {beta: runs for beta, runs in zip(BETAS, found, strict=True) if runs})
    print(f"{path}.md, .tex, .csv, .png, .svg")


def _figure(path: pathlib.Path, found: Mapping[int, Sequence[Scored]]) -> None:
    """Scores and PSNR against beta, the deviation over seeds as bars: `path`.png and .svg."""
    figure = Figure(figsize=(8.4, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    scores, reconstruction = figure.subplots(1, 2)
    for name, (heading, _) in COLUMNS.items():
        if name in ("kl", "active_units"):
            continue
        points = [tables.spread([run.values[name] for run in runs]) for runs in found.values()]
        means, deviations = zip(*points, strict=True)
        axes = reconstruction if name == "psnr" else scores
        axes.errorbar(list(found), means, yerr=deviations, marker="o", capsize=3, label=heading)
    for axes in (scores, reconstruction):
        axes.set_xscale("log", base=2)
        axes.set_xticks(list(found), list(map(str, found)))
        axes.set_xlabel("beta")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    scores.set_ylim(0, 1)
    scores.legend(frameon=False, fontsize="small")
    reconstruction.set_ylabel(COLUMNS["psnr"][0])
    tables.save_figure(figure, path)


def _caption() -> str:
    return (
        "beta-VAEs with 10 latents on coloured shapes of seven factors, the last checkpoint on "
        "5,000 test drawings, mean and standard deviation over seeds. Trained on 50,000 drawings, "
        "20 epochs of batches of 128; two dense layers of 400 in encoder and decoder, Bernoulli "
        "likelihood, Adam whose rate falls from 0.001 to 0 along a cosine. MIG: Chen et al. 2018, "
        "as disentanglement_lib estimates it, posterior means and amounts in 20 bins. SAP: Kumar "
        "et al. 2018, squared correlations with the six amounts, of the shape accuracies of a "
        "linear support vector machine. Disentanglement, completeness, informativeness: Eastwood "
        "and Williams 2018, by random forests, informativeness the share of the values that they "
        "get right, amounts in 20 bins; the machine and the forests learn from 10,000 training "
        "drawings. No latent can have all of the angle, since a square looks the same after a "
        "quarter turn and an ellipse after a half, nor of the hue, which is a circle; so 1 is out "
        "of reach. The values of each factor are in the .csv."
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv))
