"""Checkpoints: which are kept, what is in them, and on which devices they come back."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.errors import UserError
from genjax.models.base import TrainState
from genjax.training.checkpoint import Checkpoints
from genjax.training.parallel import Devices

ALL = Devices("pmap")
ONE = Devices("pmap", tuple(jax.local_devices()[:1]))


def state(step: int, value: float = 0.0, devices: Devices = ALL, size: int = 3) -> TrainState:
    params = {"network": {"kernel": jnp.full((size, 2), value), "bias": jnp.arange(2.0)}}
    moments = ({"count": jnp.int32(step)}, jnp.full((size,), -value))
    made = TrainState(step=jnp.int32(step), params=params, opt={"all": moments}, stats={}, ema={})
    return devices.replicate(made)


def checkpoints(folder: pathlib.Path, mode: str = "min", keep: int = 1, **fields) -> Checkpoints:
    fields = {"best_metric": "score", **fields}
    return Checkpoints(folder, max_to_keep=keep, best_mode=mode, **fields)


def kept(folder: pathlib.Path) -> set[int]:
    return {int(path.name) for path in (folder / "checkpoints").iterdir()}


@pytest.mark.parametrize(("mode", "best"), [("min", 2), ("max", 3)])
def test_the_last_and_the_best_are_kept(tmp_path, mode, best):
    with checkpoints(tmp_path, mode) as saved:
        for step, score in enumerate([5.0, 1.0, 9.0, 4.0], 1):
            saved.save(state(step, step), {"score": score, "other": -score})
        assert saved.steps() == {"last": 4, "best": best}
        assert float(saved.restore(best, state(0)).params["network"]["kernel"][0, 0]) == best
    assert kept(tmp_path) == {best, 4}


def test_several_of_the_last_are_kept(tmp_path):
    with checkpoints(tmp_path, keep=2) as saved:
        for step, score in enumerate([1.0, 5.0, 4.0, 3.0], 1):
            saved.save(state(step), {"score": score})
    assert kept(tmp_path) == {1, 3, 4}


def test_without_a_metric_only_the_last_is_kept(tmp_path):
    with checkpoints(tmp_path, best_metric="") as saved:
        for step in (1, 2):
            saved.save(state(step), {"score": 1.0})
        assert saved.steps() == {"last": 2}
    assert kept(tmp_path) == {2}


@pytest.mark.parametrize("kind", ["pmap", "jit"])
def test_later_steps_do_not_leak_into_what_is_still_being_saved(tmp_path, kind):
    """The state's memory is given away right after `save` returns, while its file is written."""
    big, devices = 200_000, Devices(kind)

    class Counting:
        @staticmethod
        def train_step(now, batch, key):
            del batch, key
            return jax.tree.map(lambda leaf: leaf + jnp.ones((), leaf.dtype), now), {}

    run = devices.compile(Counting, lambda store, row: {**store, **row}, lambda images, *_: images)
    block = devices.shard({"index": np.zeros((1, 8), np.int32)})
    store = devices.replicate({"image": jnp.zeros((1, 1, 1, 1), jnp.uint8)})
    key = devices.replicate(jax.random.key(0))
    step = lambda now: run(now, store, block, key)[0]
    now = step(state(0, 1.0, devices, big))
    with checkpoints(tmp_path, keep=5) as saved:
        for _ in range(3):
            saved.save(now, {"score": 1.0})
            for _ in range(4):
                before, now = now, step(now)
            assert before.params["network"]["kernel"].is_deleted()
        for number in (1, 5, 9):
            found = jax.device_get(saved.restore(number, state(0, 0.0, devices, big)))
            assert int(found.step) == number
            np.testing.assert_array_equal(found.params["network"]["kernel"], number + 1)
            np.testing.assert_array_equal(found.opt["all"][1], number - 1)


@pytest.mark.parametrize(("there", "here"), [(ALL, ONE), (ONE, ALL), (ALL, ALL)])
def test_a_state_comes_back_whole_on_other_devices(tmp_path, there, here):
    old = state(7, 2.5, there)
    with checkpoints(tmp_path) as saved:
        saved.save(old, {"score": 1.0})
    like = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding),
        state(0, 0.0, here),
    )
    with checkpoints(tmp_path, read_only=True) as saved:
        found = saved.restore(7, like)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(found), jax.device_get(old))
    for leaf in jax.tree.leaves(found):
        assert leaf.sharding.device_set == set(here.devices)


def test_looking_changes_nothing(tmp_path):
    with checkpoints(tmp_path) as saved:
        assert saved.steps() == {}
    assert not list(tmp_path.iterdir())
    with checkpoints(tmp_path) as saved:
        saved.save(state(1), {"score": 1.0})
    # What another process is still writing has such a name; a writer sweeps it up, a reader not.
    unfinished = tmp_path / "checkpoints" / "2.orbax-checkpoint-tmp"
    unfinished.mkdir()
    with checkpoints(tmp_path, read_only=True) as saved:
        assert saved.steps() == {"last": 1, "best": 1}
    assert unfinished.is_dir()


def test_a_checkpoint_of_another_model_is_named(tmp_path):
    with checkpoints(tmp_path) as saved:
        saved.save(state(1), {"score": 1.0})
        other = state(0).replace(params={"network": {"kernel": jnp.zeros((3, 2))}})
        with pytest.raises(UserError, match="checkpoints/1: can not be restored"):
            saved.restore(1, ALL.replicate(other))
