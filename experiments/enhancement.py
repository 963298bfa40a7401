#!/usr/bin/env python3
"""How well a VAE of `shapes` turns, scales, moves, lights and colours a drawing.

    python launch.py train --config=configs/prior_vae.py:shapes
    python experiments/enhancement.py --workdir=runs/prior_vae-shapes [--num=200]

Each test drawing is moved along a factor's direction, which is found from other drawings, by a
tenth and by a fifth of the factor's range, and compared with the drawing that has the factor so:
mean absolute error, beside that of the drawing left as it is, and of the VAE's reconstruction of
the true answer, the best that this VAE could do.

Writes results/enhancement.md and docs/images/enhancement.png.
"""

import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import experiments  # noqa: E402, F401 - it hears Ctrl-C while the rest is imported

# isort: split
import numpy as np  # noqa: E402
from absl import flags  # noqa: E402

import genjax  # noqa: E402
from experiments import command_line  # noqa: E402
from genjax.data.shapes import RANGES, Shapes, render  # noqa: E402
from genjax.files import replacing  # noqa: E402
from genjax.picture_commands import attribute_direction  # noqa: E402
from genjax.report import grids  # noqa: E402
from genjax.run_folder import config_hash  # noqa: E402

FLAGS = flags.FLAGS
flags.DEFINE_string("workdir", "runs/prior_vae-shapes", "The run folder.")
flags.DEFINE_integer("num", 200, "Test drawings.")
flags.DEFINE_string("results", str(ROOT / "results"), "Where the table goes.")
flags.DEFINE_string("pictures", str(ROOT / "docs" / "images"), "Where the picture goes.")

PARTS = (0.1, 0.2)  # of a factor's range
SHOWN = np.linspace(-0.3, 0.3, 7)


def drawn(factors: list[dict], attribute: str, change: float, shape: tuple[int, ...]) -> np.ndarray:
    """The drawings with one factor changed; hue and angle go round, light stops at its ends."""
    images = []
    for each in factors:
        value = each[attribute] + change
        if attribute == "light":
            value = np.clip(value, 0, 1)
        value = value % 1 if attribute == "hue" else value
        images.append(render({**each, attribute: value}, *shape))
    return np.stack(images).astype(np.float32) / 255


def main() -> None:
    """Measures and writes."""
    loaded = genjax.load(FLAGS.workdir)
    size, _, channels = loaded.image_shape
    test = Shapes("test", FLAGS.num, size, channels)
    factors = [test.factors(index) for index in range(FLAGS.num)]
    whole = drawn(factors, "angle", 0.0, (size, channels))
    lines = ["| factor | by | left as it is | enhanced | best of this VAE |", "|" + " --- |" * 5]
    rows = []
    for attribute, (low, high) in RANGES.items():
        direction = attribute_direction(loaded, attribute)
        for part in PARTS:
            amount = part * (high - low)
            truth = drawn(factors, attribute, amount, (size, channels))
            made = loaded.enhance(whole, direction, amount)
            candidates = whole, made, loaded.reconstruct(truth)
            errors = [f"{np.abs(each - truth).mean():.4f}" for each in candidates]
            lines.append(f"| {attribute} | {amount:.3g} | {' | '.join(errors)} |")
            print(lines[-1])
        steps = [loaded.enhance(whole[:1], direction, part * (high - low))[0] for part in SHOWN]
        rows.append(np.stack([whole[0], *steps]))
    table = "\n".join(lines)
    path = pathlib.Path(FLAGS.results) / "enhancement.md"
    where = f"`{pathlib.Path(FLAGS.workdir).name}` {config_hash(loaded.experiment.config)[:8]}"
    caption = (
        f"Mean absolute error of {FLAGS.num} test drawings of {size} x {size}, by one VAE "
        f"({where} at step {loaded.step}): a factor changed by a tenth and by a fifth of its "
        "range, beyond which are then a tenth and a fifth of the answers in scale, x and y; the "
        "VAE was not trained on such."
    )
    with replacing(path) as file:
        file.write_text(f"{caption}\n\n{table}\n", encoding="utf-8")
    picture = grids.labelled_rows(np.concatenate(rows), list(RANGES), len(SHOWN) + 1)
    grids.save_png(picture, pathlib.Path(FLAGS.pictures) / "enhancement.png")


if __name__ == "__main__":
    sys.exit(command_line.main(sys.argv, __doc__, main))
