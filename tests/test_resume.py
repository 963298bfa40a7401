"""N + M steps with a stop between are N + M without, bit for bit, of every model."""

import functools
import importlib

import jax
import numpy as np
import pytest

from genjax import factory
from genjax.models.gan import GAN
from genjax.models.translation import CycleGAN
from genjax.training.checkpoint import Checkpoints
from genjax.training.parallel import Devices

STEPS, STOP, PER_CALL = 8, 4, 2
UNET = {f"generator.{name}": value for name, value in (("width", 4), ("detail", 4), ("levels", 1))}
UNET["generator.blocks"] = 0
PATCHES = {"discriminator.width": 4, "discriminator.levels": 1}
PERCEPTRONS = {"generator.widths": (16,), "discriminator.widths": (16,)}
#: Shipped configs and what makes them small.
RUNS = {
    "vae": ("vae", {"encoder.width": 4, "decoder.width": 4}),
    "gan": ("article_gan", PERCEPTRONS | {"discriminator.spectral_norm": True, "model.d_steps": 2}),
    "conditional_gan": ("article_cgan", PERCEPTRONS),
    "classifier": ("classifier", {"encoder.width": 4, "data.augment": "shift"}),
    "regression": ("restore_l1", UNET),
    "pix2pix": ("edges_to_photo", UNET | PATCHES),
    # Some of its fakes come from the pool of past ones.
    "cyclegan": ("thin_to_thick", UNET | PATCHES | {"model.pool_size": 24}),
    "two_levels": (
        "hvae",
        {
            "encoder.widths": (16,),
            "decoder.widths": (16,),
            "model.latent_size": (4, 4),
            "prior.name": "vamp",
            "prior.num_components": 3,
            "training.patience": "0 steps",
        },
    ),
    "chain": (
        "iwae_chain",
        {
            **{f"{net}.widths": (16,) for net in ("encoder", "decoder")},
            **{f"{net}.second_widths": (8,) for net in ("encoder", "decoder")},
            "model.latent_size": (4, 2),
            "model.draws": 3,
        },
    ),
    "stream": ("article_vae", {"data.reader": "stream", "data.augment": "shift"}),
}


@pytest.fixture(params=RUNS)
def experiment(request, monkeypatch) -> factory.Experiment:
    """On one device, which compiles sooner."""
    one = functools.partial(Devices, devices=tuple(jax.devices()[:1]))
    monkeypatch.setattr(factory, "Devices", one)
    name, changes = RUNS[request.param]
    config = importlib.import_module(f"configs.{name}").get_config("mnist_sample,test")
    config.training.update({"duration": f"{STEPS} steps", "steps_per_call": PER_CALL})
    config.evaluation.update({"num_samples": 0})
    config.checkpoint.best_metric = ""
    config.update_from_flattened_dict(changes)
    return factory.build(config.to_dict())


def train(state, blocks, run) -> tuple:
    """(the state after the blocks, the metrics of each)."""
    metrics = []
    for block in blocks:
        state, of_block = run(state, block)
        metrics.append(jax.device_get(of_block))
    return state, metrics


def test_a_run_with_a_stop_is_one_without_bit_for_bit(experiment, tmp_path):
    run, fields = experiment.run_block(), {"max_to_keep": 1, "best_metric": "", "best_mode": "min"}
    unbroken, metrics = train(experiment.init_state(), experiment.blocks(0), run)
    first = [block for block, _ in zip(experiment.blocks(0), range(STOP // PER_CALL), strict=False)]
    state, before = train(experiment.init_state(), first, run)
    with Checkpoints(tmp_path, **fields) as checkpoints:
        checkpoints.save(state, {})
    del state
    # All that is known of the first part is in the folder now.
    with Checkpoints(tmp_path, **fields) as checkpoints:
        restored = checkpoints.restore_newest(experiment.state_shape, pytest.fail)
    assert restored.step == STOP
    again, after = train(restored, experiment.blocks(STOP), run)
    assert again.step == STEPS
    same = lambda ours, theirs: jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    same(jax.device_get(again), jax.device_get(unbroken))
    same([*before, *after], metrics)
    if isinstance(experiment.model, GAN) and experiment.model.d_steps > 1:
        assert "spectral" in again.stats["discriminator"]
    if isinstance(experiment.model, CycleGAN):
        assert again.stats["pool"]["forward"]["filled"].all()
