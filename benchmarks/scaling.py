#!/usr/bin/env python3
"""How genjax's speed depends on batch, width, image size, emulated devices and the data set's size.

  python benchmarks/scaling.py [--only=batch,devices] [--rounds=5]

Every value of an axis is a contender of its own; they train in turns, by the loop, the reader and
the compiled step of `launch.py train`. Writes tables to results/ as Markdown and as JSON. Emulated
devices share the machine's cores: they show what spreading a batch costs, not what devices gain.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import machine
from absl import app, flags
from cases import CASES, DCGAN, ROOT, Case, config_of, train
from turns import take_turns


class Run(NamedTuple):
    """One value of an axis: what differs from the case, emulated devices, steps in a round."""

    overrides: Mapping[str, Any]
    devices: int
    steps: int


class Axis(NamedTuple):
    """One thing that varies, by its value."""

    title: str
    case: Case
    runs: Mapping[int, Run]


WIDTHS = ("generator.width", "discriminator.width")
COLOUR = dataclasses.replace(
    CASES["dcgan"], config=("gan", "shapes", {**DCGAN, "data.num_examples": 2000})
)
DRAWN = dataclasses.replace(
    CASES["article_vae"],
    config=("article_vae", "shapes", {"data.image_size": 28, "data.channels": 1}),
)
AXES = {
    "batch": Axis(
        "DCGAN 28x28, base 64: batch",
        CASES["dcgan"],
        {n: Run({"training.batch_size": n}, 1, 2560 // n) for n in (16, 32, 64, 128, 256)},
    ),
    "width": Axis(
        "DCGAN 28x28, batch 64: base width",
        CASES["dcgan"],
        {n: Run(dict.fromkeys(WIDTHS, n), 1, 2560 // n) for n in (16, 32, 64, 128)},
    ),
    "image_size": Axis(
        "DCGAN in colour, base 64, batch 64: side of the image",
        COLOUR,
        {n: Run({"data.image_size": n}, 1, 640 // n) for n in (16, 32, 64)},
    ),
    "devices": Axis(
        "article VAE, batch 128: emulated devices",
        CASES["article_vae"],
        {n: Run({"training.steps_per_call": 10}, n, 400 // n) for n in (1, 2, 4, 8)},
    ),
    "examples": Axis(
        "article VAE, batch 128: examples in the resident store",
        DRAWN,
        {n: Run({"data.num_examples": n}, 1, 1000) for n in (1000, 4000, 16000)},
    ),
}
FLAGS = flags.FLAGS
flags.DEFINE_list("only", list(AXES), "These axes only.")
flags.DEFINE_integer("rounds", 5, "Rounds that count, of each value.")
flags.DEFINE_string("out", str(ROOT / "results" / "scaling"), "Where to write, without suffix.")


def main(argv: list[str]) -> None:
    """Measures, prints, writes."""
    del argv
    about = machine.describe()
    results, parts = {"machine": about, "axes": {}}, [f"{machine.in_words(about)}.\n"]
    for name in FLAGS.only:
        rows = measure(AXES[name], FLAGS.rounds)
        results["axes"][name] = rows
        parts.append(table(AXES[name].title, rows))
        print(parts[-1], flush=True)
    machine.write(FLAGS.out, results, "\n".join(parts))


def measure(axis: Axis, rounds: int) -> list[dict[str, float]]:
    """Images/s and ms a step for each value."""
    contenders, images = {}, {}
    for value, run in axis.runs.items():
        config = config_of(axis.case, **run.overrides)
        # Emulated devices deadlock with fewer threads than twice their number.
        environment = {
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={run.devices}",
            **({"NPROC": str(2 * run.devices)} if run.devices > 1 else {}),
        }
        per_call = config["training"]["steps_per_call"]
        steps = -(-run.steps // per_call) * per_call
        contenders[value] = (train, (config, steps), environment)
        images[value] = steps, config["training"]["batch_size"]
    rows = []
    for value, timing in take_turns(contenders, rounds).items():
        steps, batch = images[value]
        rows.append(
            {
                "value": value,
                "images_per_s": steps * batch / timing.median,
                "ms_per_step": 1e3 * timing.median / steps,
                "spread": timing.spread,
            }
        )
    return rows


def table(title: str, rows: list[dict[str, float]]) -> str:
    """The axis as Markdown."""
    what, _, variable = title.rpartition(": ")
    lines = [f"{what}:", "", f"| {variable} | images/s | ms a step | spread |", f"|{' --- |' * 4}"]
    for row in rows:
        lines.append(
            f"| {row['value']:,} | {row['images_per_s']:,.0f} | {row['ms_per_step']:.2f} "
            f"| {row['spread']:.0%} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    app.run(main)
