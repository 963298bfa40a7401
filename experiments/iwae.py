#!/usr/bin/env python3
"""The table of importance-weighted autoencoders: objectives, draws and stochastic layers.

    python experiments/iwae.py --dry_run --rows=mnist_sample
    python experiments/iwae.py --rows=mnist_sample
    python experiments/iwae.py --rows=mnist          (on a GPU)

      --rows=LIST       rows to run, or the beginnings of rows, as mnist/1,mnist/2/iwae
      --seeds=3         runs of each, with the seeds 0, 1, ...
      --draws=5000      of the importance-weighted bound, for each image
      --runs=DIR        runs/iwae, where run folders are, or are to be
      --results=DIR     results/, where iwae.md, .csv, .tex, .png and .svg go
      --data_dir=DIR --manual_dir=DIR   as config.data has them
      --dry_run         prints what there is to do and how long it takes here

Trains the runs that are missing, goes on with those that were stopped, and scores the last
checkpoint of each. What is done is not done again. A row whose data set is not there stays in the
table and says so. Only those of mnist have a published number; the caption says of each data set
how many pairs of rows stand in the published order.
"""

import itertools
import os
import pathlib
import statistics
import sys
from collections.abc import Mapping, Sequence

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from experiments.likelihood_tables import TITLES, Row, Scored, Table  # noqa: E402
from experiments.tables import Published  # noqa: E402

CONFIGS = {1: "iwae", 2: "iwae_chain"}
OBJECTIVES = {"elbo": "VAE", "iwae": "IWAE"}
#: Burda et al. 2016, table 1, by layers, objective and k. With k = 1 the objectives are the same,
#: but for what their estimates vary by.
PUBLISHED = {
    (1, "elbo", 1): 86.76,
    (1, "elbo", 5): 86.47,
    (1, "elbo", 50): 86.35,
    (1, "iwae", 5): 85.54,
    (1, "iwae", 50): 84.78,
    (2, "elbo", 1): 85.33,
    (2, "elbo", 5): 85.01,
    (2, "elbo", 50): 84.78,
    (2, "iwae", 5): 83.89,
    (2, "iwae", 50): 82.90,
}
#: With what differs from the config: all of the protocol's 3,280 passes take days on a CPU.
DATASETS = {"mnist": {}, "fashion_mnist": {"training.duration": "82 epochs"}, "mnist_sample": {}}


def row(dataset: str, layers: int, objective: str, draws: int) -> Row:
    """One number of the table on a data set."""
    of = "VAE and IWAE" if draws == 1 else OBJECTIVES[objective]
    return Row(
        f"{dataset}/{layers}/{objective}/{draws}",
        f"{of}, k = {draws}, {'two stochastic layers' if layers == 2 else 'one stochastic layer'}",
        CONFIGS[layers],
        {"model.objective": objective, "model.draws": draws, **DATASETS[dataset]},
        Published(PUBLISHED[layers, objective, draws]) if dataset == "mnist" else None,
    )


ROWS = tuple(row(dataset, *key) for dataset in DATASETS for key in PUBLISHED)
CAPTION = (
    "Test negative log-likelihood in nats, of images whose pixels are drawn as 0 or 1 with their "
    "grey as the probability: importance-weighted bound with {draws} draws for each image, mean "
    "and standard deviation over seeds, of the last checkpoint. Published: Burda et al. 2016, "
    "table 1. By its protocol: pixels drawn anew at each step, two dense layers of 200 (and 100 "
    "above the first latents), 50 latents, or 100 and 50; pixels that start, by their biases, at "
    "the mean training image (as in its code); batches of 20; Adam, whose rate goes from 0.001 to "
    "0.0001 in eight stages, each three times as long as the one before, 3,280 passes in all. Not "
    "as in the paper: 10,000 training images are kept for validation; Adam's epsilon is 1e-8 "
    "instead of 1e-4; the KL of a VAE of one layer, k = 1 included, is computed in closed form, "
    "where its code has the draws' log q - log p; mean and log variance of latents are one layer, "
    "where its code has one for the mean and one for the log deviation (so Glorot's range is that "
    "of twice as many outputs); 82 passes over Fashion-MNIST; of the 5,000 digits 328 passes over "
    "4,000, and 500 are the test images. Adam's moments are the paper's; in its code the first "
    "decays by 0.99 instead of 0.9 and the second starts at 1."
)


def caption(found: Mapping[str, Sequence[Scored]]) -> str:
    """With how many pairs of rows of each data set stand in the published order."""
    lines = [CAPTION]
    for dataset in DATASETS:
        ours = [
            (value, statistics.fmean(run.nats for run in runs))
            for key, value in PUBLISHED.items()
            if (runs := found.get(row(dataset, *key).name))
        ]
        pairs = [(a, b) for a, b in itertools.combinations(sorted(ours), 2) if a[0] < b[0]]
        if pairs:
            kept = sum(a[1] < b[1] for a, b in pairs)
            lines.append(f"{TITLES[dataset]}: {kept} of {len(pairs)} pairs in published order.")
    return " ".join(lines)


TABLE = Table("iwae", caption, ROWS, "last")

if __name__ == "__main__":
    sys.exit(TABLE.main(sys.argv, __doc__))
