#!/usr/bin/env python3
"""Trains each model in genjax and in PyTorch, in turns, and says how fast both are.

  pip install -e '.[bench]' && python benchmarks/train_speed.py [--only=article_vae,dcgan]

genjax trains by the loop, the reader and the compiled step of `launch.py train`. PyTorch's twin
(`twins.py`) has the same layers, batch and optimizer and its data on hand; it runs eagerly, with
`channels_last` and with `torch.compile`, and the fastest of the three is the one to beat. Each is a
process of its own that waits while another has its turn. Writes the table to results/ as Markdown
and as JSON.
"""

import concurrent.futures
import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import machine
import numpy as np
from absl import app, flags
from cases import CASES, ROOT, VARIANTS, Case, config_of, train
from turns import take_turns

FLAGS = flags.FLAGS
flags.DEFINE_list("only", list(CASES), "These models only.")
flags.DEFINE_integer("rounds", 5, "Rounds that count, of each contender.")
flags.DEFINE_string("out", str(ROOT / "results" / "train_speed"), "Where to write, without suffix.")

HEADER = (
    "model",
    "genjax, images/s (spread)",
    "PyTorch, images/s (spread)",
    "ratio",
    "target",
    "genjax, GFLOP/s (of the matmul rate)",
    "memory, MiB: genjax / PyTorch",
    "first step, s: cold / warm / PyTorch",
)


def main(argv: list[str]) -> None:
    """Measures, prints, writes."""
    del argv
    about, rates = machine.describe(), machine.matmul_rates(FLAGS.rounds)
    gigaflops = {name: rate / 1e9 for name, rate in rates.items()}
    results = {"machine": about, "matmul_gflops": gigaflops, "rows": []}
    for name in FLAGS.only:
        row = measure(CASES[name], FLAGS.rounds)
        row["gflops"] = row["flops_per_image"] * row["genjax"]["images_per_s"] / 1e9
        row["share_of_matmul"] = row["gflops"] / max(gigaflops.values())
        results["rows"].append(row)
        print(line(row), flush=True)
    machine.write(FLAGS.out, results, markdown(results))


def measure(case: Case, rounds: int) -> dict[str, Any]:
    """One row of the table."""
    with tempfile.TemporaryDirectory() as folder:
        store, cache = Path(folder, "store.npy"), {"JAX_COMPILATION_CACHE_DIR": f"{folder}/xla"}
        cache["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        ours = apart(describe_genjax, case, store)
        theirs = apart(describe_twin, case, store, ours["images_per_step"])
        if ours["parameters"] != theirs["parameters"]:
            raise SystemExit(
                f"{case.twin}: {ours['parameters']} and {theirs['parameters']} weights"
            )

        config = config_of(case)
        genjax = (train, (config, case.steps), cache)
        take_turns(
            {"genjax": genjax}, 1, warmup=0
        )  # fills the cache: memory is then a warm start's
        images = ours["images_per_step"] * case.steps
        variants = {
            variant: (train_twin, (case.twin, variant, store, images // case.steps, case.steps), {})
            for variant in VARIANTS
        }
        timings = take_turns({"genjax": genjax, **variants}, rounds)
        best = min(VARIANTS, key=lambda variant: timings[variant].median)
        starts = [genjax_start(case, f"{folder}/starts", folder) for _ in ("cold", "warm")]
        one = (case.twin, best, store, ours["images_per_step"], 1)
        begun = time.perf_counter()
        take_turns({best: (train_twin, one, {})}, 1, warmup=0)
        twin_start = time.perf_counter() - begun

    def speed(name: str) -> dict[str, float]:
        timing = timings[name]
        return {
            "images_per_s": images / timing.median,
            "spread": timing.spread,
            "seconds": list(timing.seconds),
            "peak_mib": timing.peak_bytes / 2**20,
        }

    return {
        "model": case.title,
        "parameters": ours["parameters"],
        "flops_per_image": theirs["flops"] / ours["images_per_step"],
        "genjax": {**speed("genjax"), "cold_start_s": starts[0], "warm_start_s": starts[1]},
        "pytorch": {
            **speed(best),
            "variant": best,
            "start_s": twin_start,
            "all": {variant: speed(variant)["images_per_s"] for variant in VARIANTS},
        },
        "ratio": timings[best].median / timings["genjax"].median,
        "target": case.target,
    }


def apart(function: Callable, *args: Any) -> Any:
    """What the function gives in a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, spawn) as pool:
        return pool.submit(function, *args).result()


def describe_genjax(case: Case, store: Path) -> dict[str, int]:
    """Sizes of genjax's form; lays the pictures that it trains on into `store`."""
    import jax

    from genjax import factory

    experiment = factory.build(config_of(case))
    np.save(store, experiment.reader.store["image"])
    weights = jax.tree.leaves(experiment.state_shape.params)
    return {
        "parameters": sum(leaf.size for leaf in weights),
        "images_per_step": experiment.images_per_step,
    }


def describe_twin(case: Case, store: Path, rows: int) -> dict[str, int]:
    """Sizes of PyTorch's form; operations are those of one step's convolutions and products."""
    import twins

    make = getattr(twins, case.twin)
    return {
        "parameters": twins.num_parameters(make()),
        "flops": twins.flops(make, np.load(store), rows),
    }


def train_twin(
    end_of_round: Callable[[], None], twin: str, variant: str, store: Path, rows: int, steps: int
) -> None:
    """Trains the twin and calls `end_of_round` after every `steps` steps."""
    import twins

    for step, _ in enumerate(twins.train(getattr(twins, twin), variant, np.load(store), rows), 1):
        if step % steps == 0:
            end_of_round()


def genjax_start(case: Case, cache: str, folder: str) -> float:
    """Seconds from the command `launch.py train` to the first row of its metrics."""
    file, data_set, fields = case.config
    # Samples need a classifier, which the first run beside them trains; it is not what is timed.
    once = {
        "training.steps_per_call": 1,
        "training.log_every": 1,
        "evaluation.num_samples": 0,
        "checkpoint.best_metric": "",
    }
    with tempfile.TemporaryDirectory(dir=folder) as workdir:
        rows = Path(workdir, "metrics.jsonl")
        command = [
            *(sys.executable, str(ROOT / "launch.py"), "train"),
            f"--config={ROOT / 'configs' / file}.py:{data_set}",
            *(f"--workdir={workdir}", f"--cache={cache}"),
            *(f"--config.{field}={value}" for field, value in {**fields, **once}.items()),
        ]
        start = time.perf_counter()
        quiet = subprocess.DEVNULL
        with subprocess.Popen(command, cwd=ROOT, stdout=quiet, stderr=quiet) as process:
            done = lambda: (rows.exists() and rows.stat().st_size) or process.poll() is not None
            seconds = machine.seconds_until(done, start)
            failed = process.poll()
            process.kill()
        if failed is not None:
            raise SystemExit(f"{' '.join(command)}: ended with {failed}")
        return seconds


def line(row: Mapping[str, Any]) -> str:
    """A row as Markdown."""
    ours, theirs = row["genjax"], row["pytorch"]
    cells = (
        row["model"],
        f"{ours['images_per_s']:,.0f} ({ours['spread']:.0%})",
        f"{theirs['images_per_s']:,.0f} ({theirs['spread']:.0%}) {theirs['variant']}",
        f"{row['ratio']:.2f}",
        f"{row['target']:.2f}",
        f"{row['gflops']:.0f} ({row['share_of_matmul']:.0%})",
        f"{ours['peak_mib']:.0f} / {theirs['peak_mib']:.0f}",
        f"{ours['cold_start_s']:.1f} / {ours['warm_start_s']:.1f} / {theirs['start_s']:.1f}",
    )
    return f"| {' | '.join(cells)} |"


def markdown(results: Mapping[str, Any]) -> str:
    """The table, and what it was measured on."""
    rates = ", ".join(f"{n} {rate:.0f}" for n, rate in results["matmul_gflops"].items())
    return "\n".join(
        [
            f"{machine.in_words(results['machine'])}.",
            f"A float32 matrix product of side {machine.SIZE}: {rates} GFLOP/s.",
            "",
            f"| {' | '.join(HEADER)} |",
            f"|{' --- |' * len(HEADER)}",
            *map(line, results["rows"]),
            "",
        ]
    )


if __name__ == "__main__":
    app.run(main)
