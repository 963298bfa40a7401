#!/usr/bin/env python3
"""Restoration of photographs in colour, by a network trained on patches of others.

    python experiments/photographs.py [--workdir=runs/restore_photographs] [--duration='4500 steps']

Cuts patches of 32x32 pixels out of photographs of scikit-image and scikit-learn, trains
configs/restore_l1.py on them, with all damages alike, and restores a photograph that it has not
seen, in tiles, from several kinds of damage, beside the classical method that is best on a part of
another. Writes docs/images/photographs.jpg (damaged | classical | restored | true) and
results/photographs.md.
"""

import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import experiments  # noqa: E402, F401 - it hears Ctrl-C while the rest is imported

# isort: split
import numpy as np  # noqa: E402
import skimage.data  # noqa: E402
import sklearn.datasets  # noqa: E402
from absl import flags  # noqa: E402

import genjax  # noqa: E402
from configs import common  # noqa: E402
from experiments import classical, command_line  # noqa: E402
from genjax import rng  # noqa: E402
from genjax.files import replacing  # noqa: E402
from genjax.imaging.degradations import parse  # noqa: E402
from genjax.imaging.pictures import Picture, write_picture  # noqa: E402
from genjax.loaded import Loaded  # noqa: E402
from genjax.picture_commands import damaged, psnr_and_ssim, side_by_side  # noqa: E402
from genjax.run_folder import config_hash  # noqa: E402

FLAGS = flags.FLAGS
flags.DEFINE_string("workdir", "runs/restore_photographs", "The run folder.")
flags.DEFINE_string("patches", "runs/photograph_patches", "Where the patches go.")
flags.DEFINE_string("duration", "4500 steps", "Of training.")
flags.DEFINE_string("results", str(ROOT / "results"), "Where the table goes.")
flags.DEFINE_string("pictures", str(ROOT / "docs" / "images"), "Where the picture goes.")

SIDE, PATCHES = 32, 1500  # of each photograph
DAMAGES = (
    "gaussian_noise:0.15",
    "missing_pixels:0.5",
    "motion_blur:length=7,angle=30+gaussian_noise:0.02",
    "downsample:2",
    "haze:1.5",
    "low_light:2.5,0.03",
    "jpeg:10",
)


def photographs() -> dict[str, np.ndarray]:
    """Those to learn from, uint8 [H, W, 3]."""
    found = {name: getattr(skimage.data, name)() for name in ("astronaut", "coffee", "rocket")}
    for name in ("china.jpg", "flower.jpg"):
        found[name.removesuffix(".jpg")] = sklearn.datasets.load_sample_image(name)
    return found


def cut(folder: pathlib.Path) -> None:
    """Patches at random places and scales of each photograph, turned and mirrored."""
    draws = np.random.default_rng(0)
    for name, whole in photographs().items():
        for number in range(PATCHES):
            scale = draws.choice([1, 1, 2, 3])
            side = SIDE * scale
            top, left = (draws.integers(0, length - side) for length in whole.shape[:2])
            patch = whole[top : top + side, left : left + side].astype(np.float32) / 255
            patch = patch.reshape(SIDE, scale, SIDE, scale, 3).mean((1, 3))
            patch = np.rot90(patch, draws.integers(4))
            patch = patch[:, :: draws.choice([1, -1])]
            write_picture(folder / f"{name}_{number:04d}.png", Picture(np.ascontiguousarray(patch)))


def train(workdir: str, patches: pathlib.Path) -> None:
    """Trains, or goes on, or leaves it as it is."""
    command_line.launch(
        "train",
        f"--config={ROOT / 'configs' / 'restore_l1.py'}:folder",
        f"--workdir={workdir}",
        f"--config.data.path={patches}",
        f"--config.pairs.input={common.DAMAGE}",
        f"--config.training.duration={FLAGS.duration}",
    )


def best_classical(text: str) -> tuple[classical.Candidate, dict]:
    """The method, with its parameters, that restores a part of another photograph best."""
    part = skimage.data.coffee()[100:196, 200:296].astype(np.float32) / 255
    seen, truth = damaged(parse("damage", text), part, rng.key(1, text))
    candidates = classical.METHODS[classical.kind(text)]
    return classical.choose(candidates, part[None], seen[None], [truth])[:2]


def _caption(run: Loaded, picture: np.ndarray) -> str:
    height, width, _ = picture.shape
    where = f"`{pathlib.Path(FLAGS.workdir).name}` {config_hash(run.experiment.config)[:8]}"
    return (
        f"PSNR in dB of one photograph (chelsea, {height} x {width}), restored in tiles of "
        f"{SIDE} x {SIDE} by configs/restore_l1.py, one run ({where} at step {run.step}) on "
        f"{PATCHES} patches of each of {len(photographs())} other photographs. Classical: the "
        "method that is best, with its parameters, on a part of one of those."
    )


def main() -> None:
    """Cuts, trains, restores, writes."""
    patches = pathlib.Path(FLAGS.patches)
    if not (patches / f"flower_{PATCHES - 1:04d}.png").exists():
        cut(patches)
    train(FLAGS.workdir, patches)
    loaded = genjax.load(FLAGS.workdir)
    whole = skimage.data.chelsea()[20:260, 60:360].astype(np.float32) / 255
    rows, lines = [], ["| damage | damaged | classical | restored | by |", "|" + " --- |" * 5]
    for text in DAMAGES:
        seen, truth = damaged(parse("damage", text), whole, rng.key(0, text))
        method, settings = best_classical(text)
        by_hand = classical.restore(method, settings, seen, truth)
        made = loaded.restore(seen, text, truth)
        scores = [psnr_and_ssim(picture, whole)[0] for picture in (seen, by_hand, made)]
        lines.append(f"| {text} | {' | '.join(f'{s:.2f}' for s in scores)} | {method.name} |")
        rows.append(side_by_side([seen, by_hand, made, whole]))
        print(lines[-1])
    path = pathlib.Path(FLAGS.results) / "photographs.md"
    with replacing(path) as file:
        table = "\n".join(lines)
        file.write_text(f"{_caption(loaded, whole)}\n\n{table}\n", encoding="utf-8")
    write_picture(
        pathlib.Path(FLAGS.pictures) / "photographs.jpg", Picture(np.concatenate(rows, axis=0))
    )


if __name__ == "__main__":
    sys.exit(command_line.main(sys.argv, __doc__, main))
