"""Times a sweep three ways: trained together, one process after another, and by Ray's local engine.

    pip install -e '.[sweep]'
    python benchmarks/sweep.py --rounds=3 8 32

Every trial is configs/article_vae.py for 2,000 steps at batch 128, another KL weight or another
seed each. The time is that of the commands, from the first one's start to the last one's end, with
all start-up and compilation: each way begins with nothing compiled. Samples are not judged, for
which each way would train the same classifier first.
"""

import argparse
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from machine import describe, in_words, write

ROOT = pathlib.Path(__file__).parents[1]
STEPS = 2000
CONFIG = [
    "--config=configs/article_vae.py",
    f"--config.training.duration={STEPS}",
    "--config.training.batch_size=128",
    "--config.evaluation.num_samples=0",
]
SWEEP = """from configs import common


def get_sweep():
    space = {{"model.kl_weight": common.grid(0.25, 0.5, 1.0, 2.0), "seed": common.seeds({seeds})}}
    return common.sweep(space, "elbo", "max")
"""


def launch(*arguments: str, cache: pathlib.Path) -> None:
    """One command, quietly; an error if it fails."""
    command = [sys.executable, "launch.py", *arguments, f"--cache={cache}"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)


def together(folder: pathlib.Path, num_trials: int, engine: str) -> None:
    """One command for all trials."""
    file = folder / "sweep.py"
    file.write_text(SWEEP.format(seeds=num_trials // 4))
    flags = [f"--sweep={file}", f"--engine={engine}", f"--workdir={folder / 'sweep'}"]
    launch("sweep", *CONFIG, *flags, cache=folder / "cache")


def one_by_one(folder: pathlib.Path, num_trials: int) -> None:
    """A command for each trial."""
    for seed in range(num_trials // 4):
        for weight in (0.25, 0.5, 1.0, 2.0):
            own = [f"--config.seed={seed}", f"--config.model.kl_weight={weight}"]
            flags = [*own, f"--workdir={folder / f'{weight}-{seed}'}"]
            launch("train", *CONFIG, *flags, cache=folder / "cache")


WAYS: dict[str, Callable[[pathlib.Path, int], None]] = {
    "together": lambda folder, num: together(folder, num, "vmap"),
    "one by one": one_by_one,
    "ray": lambda folder, num: together(folder, num, "ray"),
}


def seconds(way: str, num_trials: int) -> float:
    """What all trials take, from the first command to the last result."""
    with tempfile.TemporaryDirectory() as folder:
        begin = time.monotonic()
        WAYS[way](pathlib.Path(folder), num_trials)
        return time.monotonic() - begin


def main() -> None:
    """Takes the ways in turns, round after round, and writes their times."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("nums", nargs="*", type=int, default=[8, 32], help="multiples of 4")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    machine, lines, rows = describe(), [], []
    for num in arguments.nums:
        times: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(arguments.rounds):
            for way in WAYS:
                times[way].append(seconds(way, num))
                print(num, way, f"{times[way][-1]:.1f} s", flush=True)
        medians = {way: statistics.median(values) for way, values in times.items()}
        for way, median in medians.items():
            spread = (max(times[way]) - min(times[way])) / median
            ratio = median / medians["together"]
            lines.append(f"| {num} | {way} | {median:.1f} | {spread:.0%} | {ratio:.2f} |")
            rows.append({"trials": num, "way": way, "seconds": times[way], **machine})
    text = [
        f"{in_words(machine)}. Median of {arguments.rounds} rounds.",
        "",
        "| trials | way | seconds | spread | as long as together |",
        "| --- | --- | --- | --- | --- |",
        *lines,
    ]
    write(str(ROOT / "results" / "sweep_speed"), rows, "\n".join([*text, ""]))


if __name__ == "__main__":
    main()
