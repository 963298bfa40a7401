#!/usr/bin/env python3
"""The table of the shipped configs: trains each one that is not trained yet, and scores it.

    python experiments/shipped_configs.py [--dataset=mnist_sample] [--runs=runs] [--only=vae,gan]

Writes results/shipped_configs-DATA SET.md: scores of the last checkpoint on the test split, and the
minutes from command to report where a call trained the run from the start; those of the first
config have the training of the judge in them. Rows that --only leaves out stay as they are.
"""

import pathlib
import re
import sys
import time

from absl import flags

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from experiments import command_line  # noqa: E402
from genjax.errors import choose  # noqa: E402
from genjax.evaluation.rows import read_rows  # noqa: E402
from genjax.files import replacing  # noqa: E402

CONFIGS = (
    "vae",
    "cvae",
    "gan",
    "cgan",
    "wgan",
    "wgan_gp",
    "sngan",
    "gated_vae",
    "article_vae",
    "article_gan",
    "article_cgan",
)
COLUMNS = {
    "elbo": ("ELBO, nats", "{:.1f}"),
    "psnr": ("PSNR, dB", "{:.1f}"),
    "ssim": ("SSIM", "{:.3f}"),
    "active_units": ("active units", "{:.0f}"),
    "frechet_distance": ("Fréchet distance", "{:.1f}"),
    "class_entropy": ("class entropy, nats", "{:.3f}"),
    "label_accuracy": ("label accuracy", "{:.1%}"),
}

CAPTION = (
    "Shipped configs on {dataset}, one run each: scores of the last checkpoint on the test split, "
    "against as many samples as the config has; Fréchet distance, class entropy and label accuracy "
    "by the classifier of the same data that judges them. Minutes from command to report."
)

FLAGS = flags.FLAGS
flags.DEFINE_string("dataset", "mnist_sample", "The data set, as in a config's argument.")
flags.DEFINE_string("runs", "runs", "Where the run folders are, or are to be.")
flags.DEFINE_list("only", list(CONFIGS), "These configs only.")
flags.DEFINE_list("override", [], "Passed to every run, as config.data.data_dir=DIR.")


def train(config: str, workdir: pathlib.Path) -> float | None:
    """Trains to the end; the minutes that it took, or None if it had been begun before."""
    begun, start = (workdir / "config.json").exists(), time.monotonic()
    command_line.launch(
        "train",
        f"--config={ROOT / 'configs' / config}.py:{FLAGS.dataset}",
        f"--workdir={workdir}",
        *(f"--{text}" for text in FLAGS.override),
    )
    return None if begun else (time.monotonic() - start) / 60


def scores(workdir: pathlib.Path) -> dict[str, float]:
    """The last checkpoint's scores on the test split."""
    wanted = {"checkpoint": "last", "split": "test", "seed": 0}
    rows = [row for row in read_rows(workdir / "evals.jsonl") if wanted.items() <= row.items()]
    last, found = max(row["step"] for row in rows), {}
    for row in rows:
        if row["step"] == last:  # the last one of a run that went on was another
            found.setdefault(row["metric"], float(row["value"]))  # those of training come first
    return found


def rows_of(table: pathlib.Path) -> dict[str, list[str]]:
    """The cells of each config's row."""
    if not table.exists():
        return {}
    lines = table.read_text(encoding="utf-8").splitlines()
    cells = [line.removeprefix("| ").removesuffix(" |").split(" | ") for line in lines]
    return {row[0].strip("`"): row for row in cells if row[0].startswith("`")}


def main() -> None:
    """Trains, collects, writes."""
    configs = dict.fromkeys(path.stem for path in (ROOT / "configs").glob("*.py"))
    for name in FLAGS.only:
        choose("--only", name, configs)
    dataset = re.sub("[/:]", "_", FLAGS.dataset)
    out = ROOT / "results" / f"shipped_configs-{dataset}.md"
    header = ["config", *(title for title, _ in COLUMNS.values()), "minutes"]
    for config in FLAGS.only:
        workdir = pathlib.Path(FLAGS.runs) / f"{config}-{dataset}"
        minutes = train(config, workdir)
        found = scores(workdir)
        cells = [form.format(found[m]) if m in found else "" for m, (_, form) in COLUMNS.items()]
        row = [f"`{config}`", *cells]
        rows = rows_of(out)  # others may write it, too
        *known, took = rows.get(config, [""])
        rows[config] = [*row, f"{minutes:.1f}" if minutes else took if known == row else ""]
        order = [name for name in dict.fromkeys([*CONFIGS, *rows]) if name in rows]
        lines = [header, ["---"] * len(header), *(rows[name] for name in order)]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        with replacing(out) as file:  # the next one may be stopped
            file.write_text(f"{CAPTION.format(dataset=FLAGS.dataset)}\n\n{table}\n", "utf-8")
    print(f"\n{table}\n\n{out}")


if __name__ == "__main__":
    sys.exit(command_line.main(sys.argv, __doc__, main))
