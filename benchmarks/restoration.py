#!/usr/bin/env python3
"""Restoration of 28x28 images: by a trained network, by a model as a prior, and by scikit-image.

    python benchmarks/restoration.py [--rounds=5] [--out=results/restoration_speed]

Networks have the shipped configs' sizes and random parameters: time does not depend on those.
Contenders take turns, each in a process of its own.
"""

import argparse
import sys
import time
from pathlib import Path

from machine import describe, in_words, write
from turns import take_turns

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

REPEATS = {1: 100, 256: 4}
HEADER = "| what | images at once | ms an image (spread) | in all |"


def network(end_of_round, num: int) -> None:
    """The U-Net of configs/restore_l1.py."""
    import jax
    import numpy as np

    loaded = _loaded("restore_l1")
    images = np.asarray(jax.random.uniform(jax.random.key(0), (num, 28, 28, 1)))
    while True:
        for _ in range(REPEATS[num]):
            loaded.restore(images)
        end_of_round()


def prior(end_of_round, config: str, num: int) -> None:
    """Restarts and steps as `launch.py restore` has them; half of each image is missing."""
    import jax
    import numpy as np

    loaded = _loaded(config)
    images = np.asarray(jax.random.uniform(jax.random.key(0), (num, 28, 28, 1)))
    mask = np.repeat(np.arange(28) < 14, 28).reshape(1, 28, 28, 1).astype(np.float32)
    truth = {"mask": mask.repeat(num, 0)}
    while True:
        loaded.explain(images * mask, "missing_half", truth)
        end_of_round()


def classical(end_of_round, name: str) -> None:
    """scikit-image on one image after the other."""
    import numpy as np
    from skimage import restoration

    image = np.random.default_rng(0).random((28, 28), np.float32)
    mask = np.zeros((28, 28), bool)
    mask[14:] = True
    run = {
        "non-local means": lambda: restoration.denoise_nl_means(image, h=0.1, sigma=0.1),
        "biharmonic inpainting": lambda: restoration.inpaint_biharmonic(image, mask),
    }[name]
    while True:
        for _ in range(10):
            run()
        end_of_round()


def _loaded(config: str):
    import importlib

    from genjax import factory
    from genjax.loaded import Loaded, inference_params

    fields = importlib.import_module(f"configs.{config}").get_config("mnist_sample").to_dict()
    experiment = factory.build(fields)
    return Loaded(experiment, inference_params(experiment, experiment.init_state()), 0)


#: Name, function, arguments, images at once, images in a round.
CASES = (
    ("network alone", network, (1,), 1, REPEATS[1]),
    ("network, batch", network, (256,), 256, 256 * REPEATS[256]),
    ("prior: VAE (configs/prior_vae.py)", prior, ("prior_vae", 64), 64, 64),
    ("prior: GAN (configs/gan.py)", prior, ("gan", 64), 64, 64),
    ("scikit-image: non-local means", classical, ("non-local means",), 1, 10),
    ("scikit-image: biharmonic inpainting", classical, ("biharmonic inpainting",), 1, 10),
)


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", default=str(ROOT / "results" / "restoration_speed"))
    options = parser.parse_args()
    start = time.perf_counter()
    contenders = {name: (function, args, {}) for name, function, args, _, _ in CASES}
    timings = take_turns(contenders, options.rounds)
    rows, results = [HEADER, "|" + " --- |" * 4], []
    for name, _, _, at_once, images in CASES:
        timing = timings[name]
        each = timing.median / images
        rows.append(
            f"| {name} | {at_once} | {1000 * each:.2f} ({timing.spread:.0%}) "
            f"| {each * at_once:.3g} s |"
        )
        results.append({"name": name, "at_once": at_once, "seconds": each, "spread": timing.spread})
    machine = describe()
    text = "\n".join([*rows, "", f"{in_words(machine)}; {options.rounds} rounds in turns", ""])
    write(options.out, {"machine": machine, "results": results}, text)
    print(f"({time.perf_counter() - start:.0f} s)")


if __name__ == "__main__":
    main()
