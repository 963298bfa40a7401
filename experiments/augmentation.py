#!/usr/bin/env python3
"""Does a generative model help a classifier that has few labelled images?

    python experiments/augmentation.py [--dataset=fashion_mnist] [--per_class=100] [--seeds=5]

For each seed a subset of the training images is drawn, `per_class` of each class, and a model with
labels (a CVAE of gated dense layers) is trained on it alone. A classifier then learns from the
subset, and another one from the subset and `--generated` times as many generated images; both take
the same number of steps with the same random shifts. Errors are those on the whole test split.

Generated images are not drawn from the prior: an image of the subset and another of its class are
encoded, and to the model's image on the way between them, at a random place of the first half,
comes what the model missed of the first image. So it keeps the detail that decoders lose.

Writes results/augmentation-DATA SET.md; seeds that are in results/augmentation.jsonl are not run
again.
"""

import dataclasses
import pathlib
import re
import sys
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import experiments  # noqa: E402, F401 - it hears Ctrl-C while the rest is imported

# isort: split
import jax  # noqa: E402
import numpy as np  # noqa: E402
from absl import flags  # noqa: E402

from configs import common, cvae  # noqa: E402
from experiments import command_line  # noqa: E402
from genjax import factory  # noqa: E402
from genjax.data.base import InMemory  # noqa: E402
from genjax.data.reading import read  # noqa: E402
from genjax.evaluation.evaluators import accuracy_of  # noqa: E402
from genjax.evaluation.rows import append_rows, read_rows  # noqa: E402
from genjax.factory import Experiment  # noqa: E402
from genjax.fields import Section  # noqa: E402
from genjax.files import replacing  # noqa: E402
from genjax.run_folder import code_version  # noqa: E402

CVAE_STEPS = 4000

FLAGS = flags.FLAGS
flags.DEFINE_string("dataset", "fashion_mnist", "The data set, as in a config's argument.")
flags.DEFINE_integer("per_class", 100, "Labelled images of each class.")
flags.DEFINE_integer("generated", 4, "Generated images for each labelled one.")
flags.DEFINE_integer("seeds", 5, "How many seeds, from 0 on.")
flags.DEFINE_integer("steps", 1500, "Of each classifier.")
flags.DEFINE_string("data_dir", "", "Where data sets are prepared.")
flags.DEFINE_string("manual_dir", "", "Where downloaded archives are.")
flags.DEFINE_string("results", str(ROOT / "results"), "Where the results go.")


def experiment() -> Experiment:
    """The CVAE and, as its judge, the classifier."""
    config = cvae.get_config(FLAGS.dataset)
    places = {"data_dir": FLAGS.data_dir, "manual_dir": FLAGS.manual_dir}
    config.data.update({name: place for name, place in places.items() if place})
    config.model.latent_size = 32
    config.encoder = common.network("mlp", "concat", widths=(300, 300), activation="gated")
    config.decoder = common.network("mlp", "concat", widths=(300, 300), activation="gated")
    config.training = common.training(
        f"{CVAE_STEPS} steps", 128, steps_per_call=50, log_every="1000 steps"
    )
    config.evaluation.classifier.training.update(
        {"duration": f"{FLAGS.steps} steps", "log_every": f"{FLAGS.steps} steps"}
    )
    return factory.build(config.to_dict())


def subset(whole: dict[str, np.ndarray], names: tuple[str, ...], seed: int) -> InMemory:
    """`per_class` images of each class."""
    order = np.random.default_rng(seed).permutation(len(whole["label"]))
    labels = whole["label"][order]
    rows = [order[labels == number][: FLAGS.per_class] for number in range(len(names))]
    rows = np.concatenate(rows)
    return InMemory(whole["image"][rows], whole["label"][rows], names)


def trained(here: Experiment) -> Any:
    """Inference parameters after all steps."""
    state, run = here.init_state(), here.run_block()
    for block in here.blocks(0):
        state, _ = run(state, block)
    return here.model.inference_params(state)


def generated(here: Experiment, params: Any, known: InMemory, seed: int) -> InMemory:
    """`known` and, after it, the generated images."""
    model, draws = here.model, np.random.default_rng(seed)
    images, labels = known.images.astype(np.float32) / 255, known.labels
    latents = np.asarray(model.encode(params, images, labels)[0])
    generate = jax.jit(model.generate)
    missed = images - np.asarray(generate(params, latents, labels))
    made = []
    for _ in range(FLAGS.generated):
        partner = np.empty(len(labels), int)
        for number in range(len(known.class_names)):
            (own,) = np.nonzero(labels == number)
            partner[own] = draws.permutation(own)
        way = draws.uniform(0, 0.5, (len(labels), 1)).astype(np.float32)
        between = (1 - way) * latents + way * latents[partner]
        detail = missed * (1 - way)[..., None, None]
        images_between = np.asarray(generate(params, between, labels)) + detail
        made.append(np.round(255 * images_between.clip(0, 1)).astype(np.uint8))
    every = np.concatenate([known.images, *made])
    return InMemory(every, np.tile(labels, 1 + FLAGS.generated), known.class_names)


def run_seed(here: Experiment, whole: dict[str, np.ndarray], seed: int) -> dict[str, float]:
    """The test error without and with generated images, in percent."""
    known = subset(whole, here.class_names, seed)
    own = dataclasses.replace(here, config=Section(here.config | {"seed": seed}), train=known)
    params = trained(own)
    sets = {"without": known, "with": generated(own, params, known, seed)}
    test = here.sources["test"]
    error = lambda source: 100 * (1 - accuracy_of(here.fit_judge(source), test, 500))
    return {name: error(source) for name, source in sets.items()}


def main() -> None:
    """Runs the seeds that are missing and writes the table."""
    here, results = experiment(), pathlib.Path(FLAGS.results)
    whole = read(here.sources["train"], np.arange(len(here.sources["train"])))
    settings = {
        "dataset": FLAGS.dataset,
        "per_class": FLAGS.per_class,
        "generated": FLAGS.generated,
        "steps": FLAGS.steps,
    }
    path = results / "augmentation.jsonl"
    results.mkdir(parents=True, exist_ok=True)

    def rows() -> dict[int, dict[str, Any]]:
        """What is known, by seed; another call may know the same."""
        known = [row for row in read_rows(path) if settings.items() <= row.items()]
        return {row["seed"]: row for row in known}

    for seed in range(FLAGS.seeds):
        if seed not in rows():
            found = {**settings, "seed": seed, **run_seed(here, whole, seed)}
            append_rows(path, [{**found, "code_version": code_version()}])
            print(f"seed {seed}: {found['without']:.2f} % without, {found['with']:.2f} % with")
    known = rows().values()
    without, with_ = (np.array([row[name] for row in known]) for name in ("without", "with"))
    table = summary(without, with_)
    name = re.sub("[/:]", "_", FLAGS.dataset)
    with replacing(results / f"augmentation-{name}.md") as file:
        file.write_text(table + "\n", encoding="utf-8")
    print(f"\n{table}")


def summary(without: np.ndarray, with_: np.ndarray) -> str:
    """The table, and whether the error fell by more than two standard errors."""
    gain = without - with_
    error_of = lambda values: values.std(ddof=1) / len(values) ** 0.5
    fell = gain.mean() > 2 * error_of(gain)
    what, times = f"{FLAGS.per_class} labelled images a class", FLAGS.generated
    lines = [
        f"A small convolutional classifier, {FLAGS.steps:,} steps, on the labelled images with and "
        "without those that a CVAE of gated dense layers, trained on them alone for "
        f"{CVAE_STEPS:,} steps, makes of two of a class: error on the test split, mean over "
        "seeds of the images and the CVAE and its standard error; the classifier's own seed is 0.",
        "",
        f"| {FLAGS.dataset}, {what} | test error, % | standard error |",
        "| --- | --- | --- |",
        f"| the labelled images alone | {without.mean():.2f} | {error_of(without):.2f} |",
        f"| and {times} generated ones for each | {with_.mean():.2f} | {error_of(with_):.2f} |",
        f"| fall, seed by seed | {gain.mean():.2f} | {error_of(gain):.2f} |",
        "",
        f"{len(gain)} seeds; the error {'falls' if fell else 'does not fall'} by more than two "
        "standard errors.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(command_line.main(sys.argv, __doc__, main))
