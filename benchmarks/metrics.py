#!/usr/bin/env python3
"""What sample-quality metrics and their features cost, beside the packages people use.

  pip install -e '.[bench]' && python benchmarks/metrics.py [--only=prdc,frechet,kid] [--rounds=3]

Metrics take 10,000 real and 10,000 generated images, 2,048 float32 features of each; Inception a
batch of 32 images. Contenders take turns, each in a process of its own; both start from the same
arrays and their numbers are compared. Writes the table to results/ as Markdown and as JSON.
"""

import functools
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import machine
import metrics_inception
import numpy as np
from absl import app, flags
from cases import ROOT
from turns import take_turns

NUM_IMAGES, NUM_FEATURES, RANK = 10_000, 2_048, 256
HEADER = (
    "metric",
    "genjax, s (spread)",
    "beside it",
    "s (spread)",
    "ratio",
    "memory, MiB: genjax / it",
    "largest relative difference",
)

FLAGS = flags.FLAGS
flags.DEFINE_integer("rounds", 3, "Rounds that count, of each contender.")
flags.DEFINE_string("out", str(ROOT / "results" / "metrics"), "Where to write, without suffix.")


def main(argv: list[str]) -> None:
    """Measures, prints, writes."""
    del argv
    about = machine.describe()
    rows = [measure(name, FLAGS.rounds) for name in FLAGS.only]
    lines = [f"{machine.in_words(about)}.\n", f"| {' | '.join(HEADER)} |", "|" + " --- |" * 7]
    lines += map(line, rows)
    machine.write(FLAGS.out, {"machine": about, "rows": rows}, "\n".join(lines) + "\n")


def measure(name: str, rounds: int) -> dict[str, Any]:
    """One row of the table."""
    title, ours, beside, theirs, inputs = METRICS[name]
    with tempfile.TemporaryDirectory() as folder:
        for number, which in enumerate(("real", "fake")):
            np.save(Path(folder, f"{which}.npy"), inputs(number))
        contenders = {
            who: (repeat, (function, folder, who), {})
            for who, function in (("genjax", ours), ("other", theirs))
        }
        timings = take_turns(contenders, rounds)
        values, expected = (np.load(Path(folder, f"value_{who}.npy")) for who in contenders)
    row = {"metric": name, "title": title, "beside": beside, "values": values.tolist()}
    row["difference"] = float(np.abs(values / expected - 1).max())
    for who, timing in timings.items():
        row[who] = {
            "seconds": timing.median,
            "spread": timing.spread,
            "peak_bytes": timing.peak_bytes,
        }
    return row


def features(number: int) -> np.ndarray:
    """Not negative, of falling variances and the last nearly 0: as those of a network."""
    rng = np.random.default_rng(number)
    mixing = np.random.default_rng(2).normal(size=(RANK, NUM_FEATURES)).astype(np.float32)
    hidden = rng.standard_normal((NUM_IMAGES, RANK), np.float32) * 0.98 ** np.arange(RANK)
    noise = 0.1 * rng.standard_normal((NUM_IMAGES, NUM_FEATURES), np.float32)
    return np.maximum(hidden.astype(np.float32) @ mixing / 8 + noise + 0.1 * number, 0)


def pictures(number: int) -> np.ndarray:
    """A batch of 8-bit noise of Inception's size."""
    return np.random.default_rng(number).integers(0, 256, (32, 299, 299, 3), np.uint8)


def repeat(end_of_round: Callable[..., None], function: Callable, folder: str, who: str) -> None:
    """The metric of the two files again and again; the last value is left in the folder."""
    sets = [np.load(Path(folder, f"{which}.npy")) for which in ("real", "fake")]
    compute = function(*sets)
    while True:
        np.save(Path(folder, f"value_{who}.npy"), np.asarray(compute(), np.float64))
        end_of_round()


def our_neighbours(real: np.ndarray, fake: np.ndarray) -> Callable[[], Any]:
    """Precision, recall, density and coverage by genjax."""
    from genjax.metrics.neighbours import precision_recall_density_coverage

    return lambda: list(precision_recall_density_coverage(real, fake, k=5).values())


def prdc(real: np.ndarray, fake: np.ndarray) -> Callable[[], Any]:
    """The same four by their authors."""
    import joblib
    from prdc import compute_prdc

    def compute():
        # prdc asks for eight workers; in a daemon joblib grants them where they are threads alone.
        with joblib.parallel_config(backend="threading"):
            return list(compute_prdc(real, fake, nearest_k=5).values())

    return compute


def our_frechet(real: np.ndarray, fake: np.ndarray) -> Callable[[], Any]:
    """From moments that are there, as by pytorch-fid."""
    from genjax.metrics.distribution import Moments, frechet_distance

    a, b = Moments.of(real), Moments.of(fake)
    return lambda: frechet_distance(a, b)


def sqrtm(real: np.ndarray, fake: np.ndarray) -> Callable[[], Any]:
    """The general matrix square root, from mean and covariance."""
    from scipy.linalg import sqrtm

    (mean_a, a), (mean_b, b) = (
        (x.mean(axis=0, dtype=np.float64), np.cov(x, rowvar=False)) for x in (real, fake)
    )

    def distance():
        root = sqrtm(a @ b)
        return (
            np.square(mean_a - mean_b).sum() + np.trace(a) + np.trace(b) - 2 * np.trace(root).real
        )

    return distance


def our_kid(real: np.ndarray, fake: np.ndarray) -> Callable[[], Any]:
    """100 subsets of 1,000 by genjax."""
    from genjax.metrics.distribution import kid

    return lambda: kid(real, fake)[0]


def subsets_in_double(real: np.ndarray, fake: np.ndarray) -> Callable[[], Any]:
    """100 subsets of 1,000 in NumPy float64, as torch-fidelity takes them."""

    def kid():
        rng, estimates = np.random.RandomState(2020), []
        for _ in range(100):
            x, y = (
                z[rng.choice(len(z), 1000, replace=False)].astype(np.float64) for z in (real, fake)
            )
            xx, xy, yy = ((a @ b.T / a.shape[1] + 1) ** 3 for a, b in ((x, x), (x, y), (y, y)))
            within = xx.sum() - np.trace(xx) + yy.sum() - np.trace(yy)
            estimates.append(within / (1000 * 999) - 2 * xy.mean())
        return np.mean(estimates)

    return kid


def our_inception(real: np.ndarray, fake: np.ndarray) -> Callable[[], Any]:
    """Inception's features of a batch by genjax."""
    del real
    run = metrics_inception.genjax(fake)
    return lambda: run().mean(axis=1)


def their_inception(variant: str, real: np.ndarray, fake: np.ndarray) -> Callable[[], Any]:
    """The same by the PyTorch port."""
    del real
    run = metrics_inception.pytorch(fake, variant)
    return lambda: run().mean(axis=1)


class Metric(NamedTuple):
    """A row: its title, genjax's function, what it is beside, that one's function, their inputs.

    A function takes the arrays of both sets and gives what a round calls.
    """

    title: str
    ours: Callable
    beside: str
    theirs: Callable
    inputs: Callable[[int], np.ndarray] = features


METRICS = {
    "prdc": Metric("precision, recall, density, coverage (k = 5)", our_neighbours, "prdc", prdc),
    "frechet": Metric("Fréchet distance, from moments", our_frechet, "SciPy's sqrtm", sqrtm),
    "kid": Metric(
        "KID, 100 subsets of 1,000 (other draws)", our_kid, "NumPy, float64", subsets_in_double
    ),
    **{
        f"inception_{variant}": Metric(
            "Inception features, batch of 32",
            our_inception,
            f"PyTorch {variant}",
            functools.partial(their_inception, variant),
            pictures,
        )
        for variant in metrics_inception.VARIANTS
    },
}
flags.DEFINE_list("only", list(METRICS), "These metrics only.")


def line(row: Mapping[str, Any]) -> str:
    """A row as Markdown."""
    ours, other = row["genjax"], row["other"]
    return (
        f"| {row['title']} | {ours['seconds']:.2f} ({ours['spread']:.0%}) | {row['beside']} "
        f"| {other['seconds']:.2f} ({other['spread']:.0%}) "
        f"| {other['seconds'] / ours['seconds']:.1f} "
        f"| {ours['peak_bytes'] / 2**20:.0f} / {other['peak_bytes'] / 2**20:.0f} "
        f"| {row['difference']:.0e} |"
    )


if __name__ == "__main__":
    app.run(main)
