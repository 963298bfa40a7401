"""Checkpoints: which are kept, what is in them, and on which devices they come back."""

import contextlib
import os
import pathlib
import resource
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.errors import UserError
from genjax.models.base import TrainState
from genjax.training import checkpoint
from genjax.training.checkpoint import Checkpoints
from genjax.training.parallel import Devices

ALL = Devices("pmap")
ONE = Devices("pmap", tuple(jax.local_devices()[:1]))


def state(step: int, value: float = 0.0, devices: Devices = ALL, size: int = 3) -> TrainState:
    params = {"network": {"kernel": jnp.full((size, 2), value, float), "bias": jnp.arange(2.0)}}
    moments = ({"count": jnp.int32(step)}, jnp.full((size,), -value, float))
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


@pytest.mark.parametrize("mode", ["min", "max"])
def test_of_equals_the_earliest_is_the_best(tmp_path, mode):
    with checkpoints(tmp_path, mode) as saved:
        for step in (1, 2, 3, 4):
            saved.save(state(step), {"score": 0.5})
        assert saved.steps() == {"last": 4, "best": 1}
    assert kept(tmp_path) == {1, 4}


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


def test_who_looks_while_another_process_deletes_looks_again(tmp_path, monkeypatch):
    """Orbax lists the folder, and then reads what was deleted meanwhile."""
    with checkpoints(tmp_path) as saved:
        saved.save(state(1), {"score": 1.0})
    manager, gone = checkpoint.ocp.CheckpointManager, [FileNotFoundError(), NotADirectoryError()]

    def opened(*args, **fields):
        if gone:
            raise gone.pop()
        return manager(*args, **fields)

    monkeypatch.setattr(checkpoint.ocp, "CheckpointManager", opened)
    with checkpoints(tmp_path, read_only=True) as saved:
        assert saved.steps() == {"last": 1, "best": 1}
    # Who saves has no other beside him.
    gone.append(FileNotFoundError())
    with checkpoints(tmp_path) as saved, pytest.raises(FileNotFoundError):
        saved.steps()


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
        with pytest.raises(UserError, match=r"checkpoints/1: is of another model: \S*bias is"):
            saved.restore(1, ALL.replicate(other))
        # It is not taken for damaged.
        with pytest.raises(UserError, match="is of another model"):
            saved.restore_newest(ALL.replicate(other), pytest.fail)
    assert kept(tmp_path) == {1}


def test_metrics_that_wait_for_their_row_come_back_as_they_were(tmp_path):
    held = {"loss": np.float32([0.1, 1e-30]), "per_dimension": np.float32([[1, 2], [3, 0.7]])}
    with checkpoints(tmp_path) as saved:
        saved.save(state(1), {}, held=held)
        saved.save(state(2), {"score": 1.0})
    with checkpoints(tmp_path, keep=2) as saved:
        assert saved.held(2) == {}
    with checkpoints(tmp_path / "other", keep=2) as saved:
        saved.save(state(1), {}, held=held)
        found = saved.held(1)
    for name, values in held.items():
        assert found[name].dtype == np.float64
        np.testing.assert_array_equal(found[name], values)


@pytest.fixture(scope="module")
def two_checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    with checkpoints(folder, keep=2) as saved:
        for step in (1, 2):
            saved.save(state(step, step + 0.5, size=500), {"score": float(step)})
    return folder


def everything_of(step: int, folder: pathlib.Path) -> list[pathlib.Path]:
    files = (folder / "checkpoints" / str(step)).rglob("*")
    return sorted(path for path in files if path.is_file() and path.name != "commit_success.txt")


@pytest.mark.parametrize("how", ["cut", "flipped", "emptied", "gone"])
def test_damage_is_noticed_and_the_checkpoint_before_is_used(two_checkpoints, tmp_path, how):
    """Whatever file it is: either nothing was lost, or the damaged one is set aside."""
    names = [path.relative_to(two_checkpoints) for path in everything_of(2, two_checkpoints)]
    aside = set()
    for number, name in enumerate(names):
        folder = tmp_path / str(number)
        shutil.copytree(two_checkpoints, folder)
        damage(folder / name, how)
        said = []
        with checkpoints(folder, keep=2) as saved:
            found = saved.restore_newest(state(0, size=500), said.append)
            step = int(found.step)
            # The run goes on from there.
            saved.save(state(3, size=500), {"score": 0.0})
            assert saved.steps() == {"last": 3, "best": 3}
        jax.tree.map(np.testing.assert_array_equal, found, state(step, step + 0.5, size=500))
        if step == 1:
            (line,) = said
            assert f"{folder / 'checkpoints' / '2'}: is damaged: " in line
            assert line.endswith(f"it is kept in {folder / 'damaged' / '2'}")
            assert "\n" not in line
            aside.add(name)
        assert (step == 1) == bool(said) == (folder / "damaged" / "2").exists()
    # The values themselves, what describes them, and their rank.
    kinds = {path.name for path in aside}
    described = {"_CHECKPOINT_METADATA", "_METADATA", "manifest.ocdbt"}
    assert described | ({"metrics"} if how != "gone" else set()) <= kinds
    assert any(path.parent.name == "d" for path in aside)


def damage(path: pathlib.Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "gone":
        path.unlink()
        return
    if how == "flipped":
        for place in range(len(content) // 4, len(content) * 3 // 4, max(1, len(content) // 16)):
            content[place] ^= 0x10
    path.write_bytes({"cut": content[: len(content) // 2], "emptied": b""}.get(how, content))


def test_without_a_whole_checkpoint_there_is_no_state(tmp_path):
    with checkpoints(tmp_path) as saved:
        assert saved.restore_newest(state(0), pytest.fail) is None
        saved.save(state(1), {"score": 1.0})
    damage(tmp_path / "checkpoints" / "1" / "metrics" / "metrics", "cut")
    with (
        checkpoints(tmp_path, read_only=True) as saved,
        pytest.raises(UserError, match="checkpoints/1: is damaged: metrics"),
    ):
        saved.steps()
    with checkpoints(tmp_path) as saved:
        assert saved.restore_newest(state(0), lambda line: None) is None
        assert saved.all_steps() == []
    # A second one of that number does not replace the first.
    with checkpoints(tmp_path) as saved:
        saved.save(state(1), {"score": 1.0})
    damage(tmp_path / "checkpoints" / "1" / "metrics" / "metrics", "cut")
    with checkpoints(tmp_path) as saved:
        assert saved.restore_newest(state(0), lambda line: None) is None
    assert {path.name for path in (tmp_path / "damaged").iterdir()} == {"1", "1-1"}


@pytest.mark.parametrize("free", [0, 3])
def test_a_checkpoint_for_which_no_file_can_be_opened_is_not_damaged(tmp_path, free):
    """With 3 some of the files can be."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = []
    with checkpoints(tmp_path) as saved:
        saved.save(state(1, 7.0), {"score": 1.0})
        saved.restore(1, state(0))
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(open_files()) + 20, limits[1]))
        try:
            with contextlib.suppress(OSError):
                while True:
                    taken.append(os.open(os.devnull, os.O_RDONLY))
            for file in taken[:free]:
                os.close(file)
            with pytest.raises(OSError, match="Too many open files"):
                saved.restore_newest(state(0), pytest.fail)
        finally:
            for file in taken[free:]:
                os.close(file)
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        found = saved.restore_newest(state(0), pytest.fail)
    assert float(found.params["network"]["kernel"][0, 0]) == 7


def open_files() -> list[int]:
    return [int(name) for name in os.listdir("/proc/self/fd")]


FULL = """
import resource, sys
sys.path[:0] = ["tests/training", "."]
from test_checkpoint import ALL, checkpoints, jax, pathlib, state
from genjax.errors import UserError

folder = pathlib.Path(sys.argv[1])
try:
    with checkpoints(folder) as saved:
        saved.save(state(1, 1.0), {"score": 1.0})
    # No file may be larger from here on: what a full disk is to who writes.
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    with checkpoints(folder) as saved:
        big = jax.random.normal(jax.random.key(0), (1_000_000,))
        saved.save(state(2).replace(stats={"big": ALL.replicate(big)}), {"score": 1.0})
except UserError as error:
    print(error)
"""


def test_a_full_disk_is_said_and_leaves_the_last_checkpoint_whole(tmp_path):
    command = [sys.executable, "-c", FULL, str(tmp_path)]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "--workdir: no space left to save in" in said.stdout, said.stderr[-2000:]
    with checkpoints(tmp_path, read_only=True) as saved:
        assert saved.steps() == {"last": 1, "best": 1}
        assert float(saved.restore(1, state(0)).params["network"]["kernel"][0, 0]) == 1
