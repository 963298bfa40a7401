"""Every file of configs/, found by looking: it builds, its step traces, and it says what it is."""

import importlib
import pathlib
import re

import jax
import numpy as np
import pytest

from genjax import factory
from genjax.data.base import SPLITS
from genjax.sweep.space import parse
from genjax.training.parallel import Devices

NAMES = sorted(path.stem for path in pathlib.Path("configs").glob("*.py") if path.stem != "common")


def load(name: str, argument: str = "mnist_sample,test"):
    return importlib.import_module(f"configs.{name}").get_config(argument)


def test_the_shipped_configs_are_found():
    assert {"article_gan", "article_cgan", "article_vae", "gan", "cgan", "vae"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_config_is_called_as_its_file_and_says_how_to_run_it(name):
    assert load(name, "mnist_sample").name == name
    # A name of its own keeps the test variant out of the real run's folder.
    assert load(name).name == f"{name}_test"
    assert (
        f"python launch.py train --config=configs/{name}.py"
        in importlib.import_module(f"configs.{name}").__doc__
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_step_of_the_small_variant_keeps_the_state_as_it_is_built(name):
    """Traced, not compiled: 8 devices, the model's own networks, all metrics scalars or vectors."""
    experiment = factory.build(load(name).to_dict())
    networks = {*experiment.model.networks, "likelihood"}
    assert set(experiment.state_shape.params) <= networks
    assert set(experiment.model.networks) <= set(experiment.config)
    assert set(experiment.model.networks) <= set(experiment.state_shape.params)
    reader = experiment.reader
    run = Devices("jit").spread(experiment.model, reader.fetch, experiment.augment)
    per_call = experiment.cadence.steps_per_call
    block = jax.eval_shape(Devices("jit").shard, next(reader.blocks(0, 1, per_call)))
    state, metrics = jax.eval_shape(
        run, experiment.state_shape, reader.store, block, jax.random.key(0)
    )
    shapes = lambda tree: jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)
    assert shapes(state) == shapes(experiment.state_shape)
    assert metrics
    assert all(value.shape[0] == per_call for value in metrics.values())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("argument", ["mnist_sample", "shapes"])
def test_the_full_config_builds_on_grey_digits_and_on_colour(name, argument, monkeypatch):
    # The networks themselves are traced above.
    monkeypatch.setattr(factory.Experiment, "state_shape", None)
    config = load(name, argument).to_dict()
    experiment = factory.build(config)
    channels = {"mnist_sample": 1, "shapes": 3}[argument]
    assert {experiment.sources[split].image_shape[-1] for split in SPLITS} == {channels}
    cadence = experiment.cadence
    assert cadence.checkpoint_every % cadence.log_every == 0
    assert cadence.log_every % cadence.steps_per_call == 0


@pytest.mark.parametrize("path", sorted(pathlib.Path("configs/sweeps").glob("*.py")))
def test_a_shipped_sweep_has_trials_of_the_config_that_it_names(path):
    module = importlib.import_module(f"configs.sweeps.{path.stem}")
    command = re.search(
        rf"python launch.py sweep --config=configs/(\w+).py --sweep={path}", module.__doc__
    )
    config = load(command[1], "mnist_sample").to_dict()
    sweep = parse(module.get_sweep(), config)
    trials = sweep.trials(config)
    assert len({trial.name for trial in trials}) == len(trials) >= 8
    assert sweep.metric in factory.build(load(command[1]).to_dict()).metrics()


@pytest.mark.parametrize("name", ["vae", "sngan", "edges_to_photo"])
def test_half_precision_and_chunks_keep_the_state_in_float32(name):
    config = load(name)
    config.training.update({"dtype": "bfloat16", "accumulate": 2})
    experiment = factory.build(config.to_dict())
    reader, devices = experiment.reader, Devices("jit")
    run = devices.spread(experiment.model, reader.fetch, experiment.augment)
    block = jax.eval_shape(devices.shard, next(reader.blocks(0, 1, 2)))
    state, _ = jax.eval_shape(run, experiment.state_shape, reader.store, block, jax.random.key(0))
    for before, after in zip(*map(jax.tree.leaves, (experiment.state_shape, state)), strict=True):
        assert (before.shape, before.dtype) == (after.shape, after.dtype)
        assert after.dtype in (np.float32, np.int32)
