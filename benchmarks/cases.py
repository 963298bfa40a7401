"""What the benchmarks train, and how genjax trains it: by the way of `launch.py train`."""

import dataclasses
import importlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # configs/ is no package that is installed

#: The ways to run a PyTorch twin; the fastest is the one to beat.
VARIANTS = ("eager", "channels_last", "compile")
#: A run that no benchmark sees the end of.
ENDLESS = 10**8


@dataclasses.dataclass(frozen=True)
class Case:
    """A model to time.

    Attributes:
      title: for tables.
      config: a file of `configs/`, its data set, and the fields that differ.
      twin: a function of `twins.py`.
      target: the least ratio of genjax's images/s to PyTorch's.
      steps: in a round.
    """

    title: str
    config: tuple[str, str, Mapping[str, Any]]
    twin: str
    target: float
    steps: int


DCGAN = {
    **{f"{net}.width": 64 for net in ("generator", "discriminator")},
    "discriminator.spectral_norm": False,
    "discriminator.normalization": "batch",
    "training.batch_size": 64,
}
CASES = {
    case.twin: case
    for case in (
        Case(
            "article VAE (MLP 128-64-20), batch 128",
            ("article_vae", "mnist_sample", {}),
            "article_vae",
            1.5,
            1000,
        ),
        Case(
            "gated MLP VAE, 2 x 300, 40 latents, batch 100",
            ("gated_vae", "mnist_sample", {}),
            "gated_vae",
            1.5,
            400,
        ),
        Case(
            "article GAN (MLP), batch 128",
            ("article_gan", "mnist_sample", {"model.penalty": "none"}),
            "article_gan",
            1.5,
            200,
        ),
        Case(
            "DCGAN 28x28, base 64, batch norm, batch 64",
            ("gan", "mnist_sample", DCGAN),
            "dcgan",
            1.25,
            30,
        ),
        Case(
            "convolutional VAE 28x28, batch 128",
            ("vae", "mnist_sample", {}),
            "conv_vae",
            1.25,
            80,
        ),
        Case(
            "SNGAN ResNet 32x32, 5 x batch 64",
            ("sngan", "shapes", {"data.num_examples": 4000, "training.steps_per_call": 1}),
            "sngan",
            1.0,
            1,
        ),
    )
}


def config_of(case: Case, **overrides: Any) -> dict[str, Any]:
    """The case's config; `overrides` by dotted path."""
    name, data_set, fields = case.config
    config = importlib.import_module(f"configs.{name}").get_config(data_set)
    config.training.duration = f"{ENDLESS} steps"
    for path, value in {**fields, **overrides}.items():
        config.update_from_flattened_dict({path: value})
    return config.to_dict()


def train(end_of_round: Callable[..., None], config: Mapping[str, Any], steps: int) -> None:
    """Trains by genjax's own loop and calls `end_of_round` after every `steps` steps."""
    from genjax import factory
    from genjax.training import loop

    class Clock:
        """Stands where the loop writes its metrics, which it has waited for."""

        def write(self, *_: Any) -> None:
            nonlocal waited
            end_of_round(waited)
            waited = 0.0

        def update(self, *_: Any) -> None:
            pass

    def timed(blocks: Iterator[T]) -> Iterator[T]:
        nonlocal waited
        while True:
            start = time.perf_counter()
            block = next(blocks)
            waited += time.perf_counter() - start
            yield block

    waited = 0.0
    experiment = factory.build(config)
    cadence = dataclasses.replace(experiment.cadence, log_every=steps, checkpoint_every=ENDLESS)
    loop.train(
        experiment.init_state(),
        experiment.run_block(),
        timed(experiment.blocks(0)),
        cadence=cadence,
        images_per_step=experiment.images_per_step,
        evaluate=None,
        checkpoints=None,
        writer=Clock(),
        progress=Clock(),
        watch=lambda step, row: [],
        held={},
        asked=lambda: False,
    )
