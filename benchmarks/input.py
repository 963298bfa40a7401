#!/usr/bin/env python3
"""What input costs: the resident store and the Grain stream, and the share of a step spent waiting.

  python benchmarks/input.py [--rounds=5]

A reader alone gives blocks as fast as it can. In training, waiting is all the time that the loop
spends on getting the next block; since the device works on meanwhile, it is an upper bound. The
readers train in turns, by the loop and the compiled step of `launch.py train`. Writes the table to
results/ as Markdown and as JSON.
"""

from collections.abc import Callable, Mapping
from typing import Any

import machine
from absl import app, flags
from cases import CASES, ROOT, config_of, train
from turns import take_turns

#: Models, with steps in a round.
MODELS = {"article_vae": 1000, "article_gan": 200, "dcgan": 30}
READERS = ("resident", "stream")
HEADER = "| model | reader | alone, images/s | training, images/s (spread) | waiting, % of a step |"

FLAGS = flags.FLAGS
flags.DEFINE_integer("rounds", 5, "Rounds that count, of each reader.")
flags.DEFINE_string("out", str(ROOT / "results" / "input"), "Where to write, without suffix.")


def main(argv: list[str]) -> None:
    """Measures, prints, writes."""
    del argv
    about = machine.describe()
    rows = [row for name in MODELS for row in measure(name, FLAGS.rounds)]
    text = "\n".join(
        [f"{machine.in_words(about)}.\n", HEADER, f"|{' --- |' * 5}", *map(line, rows)]
    )
    machine.write(FLAGS.out, {"machine": about, "rows": rows}, text + "\n")


def measure(name: str, rounds: int) -> list[dict[str, Any]]:
    """A row for each reader."""
    case, steps = CASES[name], MODELS[name]
    configs = {reader: config_of(case, **{"data.reader": reader}) for reader in READERS}
    contenders = {
        (reader, function.__name__): (function, (config, steps), {})
        for reader, config in configs.items()
        for function in (read, train)
    }
    timings = take_turns(contenders, rounds)
    images = steps * configs["resident"]["training"]["batch_size"]
    return [
        {
            "model": case.title,
            "reader": reader,
            "alone_images_per_s": images / timings[reader, "read"].median,
            "training_images_per_s": images / timings[reader, "train"].median,
            "spread": timings[reader, "train"].spread,
            "waiting": timings[reader, "train"].waiting,
        }
        for reader in READERS
    ]


def read(end_of_round: Callable[..., None], config: Mapping[str, Any], steps: int) -> None:
    """Lays the blocks of a run on the device and does nothing with them."""
    import jax

    from genjax import factory

    experiment = factory.build(config)
    for number, block in enumerate(experiment.blocks(0), 1):
        jax.block_until_ready(block)
        if number * experiment.cadence.steps_per_call % steps == 0:
            end_of_round()


def line(row: Mapping[str, Any]) -> str:
    """A row as Markdown."""
    return (
        f"| {row['model']} | {row['reader']} | {row['alone_images_per_s']:,.0f} "
        f"| {row['training_images_per_s']:,.0f} ({row['spread']:.0%}) | {row['waiting']:.1%} |"
    )


if __name__ == "__main__":
    app.run(main)
