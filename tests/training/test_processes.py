"""Two processes on this machine train as one does, stop together and go on in any number."""

import errno
import os
import pathlib
import pickle
import shutil
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest
from test_commands import assert_same_run, rows

import launch
from genjax.errors import UserError
from genjax.training import processes
from genjax.training.stopping import TEMPORARY_FAILURE

#: launch.py, but process 1 is sent a signal at step 12.
SIGNALLED = """
import os, signal, sys
import launch
from genjax.training import loop, processes
read = loop.read
def signalled(waiting, step):
    if step == 12 and "--process_id=1" in sys.argv:
        os.kill(os.getpid(), signal.{name})
    return read(waiting, step)
loop.read = signalled
processes.DEPARTURE = 2
code = launch.main(["launch.py", *sys.argv[1:]])
processes.leave(code)
sys.exit(code)
"""
#: Adam divides a gradient by its own size, so that where that is all rounding, the step is, too.
SMALL_STEPS = [f"--config.optimizer.{n}.learning_rate=1e-5" for n in ("generator", "discriminator")]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def flags(model: str, workdir: pathlib.Path) -> list[str]:
    given = [f"--config=tests/small_config.py:{model}", f"--workdir={workdir}"]
    no_judge = ["--config.evaluation.num_samples=0", "--config.checkpoint.best_metric="]
    return ["train", *given, *no_judge, *(SMALL_STEPS if model == "gan" else [])]


def begun(arguments: list[str], program: tuple[str, ...] = ("launch.py",)) -> subprocess.Popen:
    """A process of one device."""
    environment = {**os.environ, "XLA_FLAGS": "", "PYTHONPATH": "."}
    command = [sys.executable, *program, *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)


def run_two(arguments: list[str], program: tuple[str, ...] = ("launch.py",)) -> list[int]:
    """The exit codes of two processes."""
    together = [f"--coordinator=127.0.0.1:{free_port()}", "--num_processes=2"]
    both = [begun([*arguments, *together, f"--process_id={n}"], program) for n in range(2)]
    try:
        return [process.wait(300) for process in both]
    finally:
        for process in both:
            process.kill()


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> pathlib.Path:
    """A run of two processes."""
    workdir = tmp_path_factory.mktemp("two") / "vae"
    assert run_two(flags("vae", workdir)) == [0, 0]
    return workdir


@pytest.fixture(scope="module")
def one(tmp_path_factory) -> pathlib.Path:
    """The same run of one process."""
    workdir = tmp_path_factory.mktemp("one") / "vae"
    assert begun(flags("vae", workdir)).wait(300) == 0
    return workdir


def assert_same_curve(workdir: pathlib.Path, other: pathlib.Path) -> None:
    ours, theirs = rows(workdir / "metrics.jsonl"), rows(other / "metrics.jsonl")
    assert [row.keys() for row in ours] == [row.keys() for row in theirs]
    for our, their in zip(ours, theirs, strict=True):
        for name, value in our.items():
            np.testing.assert_allclose(value, their[name], rtol=2e-3, atol=1e-4, err_msg=name)


def test_two_processes_have_the_curve_of_one(two, one):
    assert_same_curve(two, one)


def without_its_end(run: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """A copy of a run as it was at its last checkpoint but one."""
    shutil.copytree(run, folder / run.name)
    shutil.rmtree(folder / run.name / "checkpoints" / "24")
    return folder / run.name


def test_one_process_goes_on_from_what_two_saved(two, one, tmp_path):
    workdir = without_its_end(two, tmp_path)
    assert begun(flags("vae", workdir)).wait(300) == 0
    assert_same_curve(workdir, one)


def test_two_processes_go_on_from_what_eight_devices_saved(tmp_path):
    eight = tmp_path / "eight" / "gan"
    assert launch.main(["launch.py", *flags("gan", eight)]) == 0
    workdir = without_its_end(eight, tmp_path)
    assert run_two(flags("gan", workdir)) == [0, 0]
    assert_same_curve(workdir, eight)


def test_a_judge_is_trained_by_all_and_process_0_alone_scores_and_writes(tmp_path):
    config, workdir = "--config=tests/small_config.py:vae", tmp_path / "vae"
    few = ["--config.training.duration=8", "--config.evaluation.classifier.training.duration=8"]
    assert run_two(["train", config, f"--workdir={workdir}", *few]) == [0, 0]
    assert len(list(workdir.glob("events*"))) == 1
    assert [row["step"] for row in rows(workdir / "metrics.jsonl")] == [4, 8, 8]
    scores = rows(workdir / "evals.jsonl")
    assert len(scores) == len({(row["metric"], row["checkpoint"]) for row in scores})
    assert {"elbo", "frechet_distance"} <= {row["metric"] for row in scores}


def test_a_signal_to_one_process_stops_both_and_both_go_on_bit_for_bit(two, tmp_path):
    workdir, program = tmp_path / "vae", ("-c", SIGNALLED.format(name="SIGTERM"))
    assert run_two(flags("vae", workdir), program) == [TEMPORARY_FAILURE] * 2
    steps = {int(path.name) for path in (workdir / "checkpoints").iterdir()}
    assert max(steps) == 14  # the block after the one in which it came
    assert run_two(flags("vae", workdir)) == [0, 0]
    assert_same_run(workdir, two)


def test_a_process_that_is_killed_ends_the_other(tmp_path):
    program = ("-c", SIGNALLED.format(name="SIGKILL"))
    codes = run_two(flags("vae", tmp_path / "vae"), program)
    assert codes == [TEMPORARY_FAILURE, -signal.SIGKILL]


ADDRESS = "127.0.0.1:1234"


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ((ADDRESS, None, None), "--num_processes: is missing"),
        (("", 2, 1), "--coordinator: is missing"),
        ((ADDRESS, 2, None), "--process_id: is missing"),
        ((ADDRESS, 2, 2), "--process_id: 2 is not from 0 to 1"),
        ((ADDRESS, 2, -1), "--process_id: -1 is not from 0 to 1"),
        ((ADDRESS, 0, 0), "--num_processes: 0 is not a whole number of at least 1"),
        (("127.0.0.1", 2, 1), "--coordinator: '127.0.0.1' is not HOST:PORT"),
        (("127.0.0.1:99999", 2, 1), "--coordinator: '127.0.0.1:99999' is not HOST:PORT"),
    ],
)
def test_wrong_flags_are_named(place, message):
    with pytest.raises(UserError, match=f"^{message}"):
        processes.join(False, *place)


def test_a_coordinator_that_does_not_answer_is_an_error(monkeypatch):
    monkeypatch.setattr(processes, "ARRIVAL", 0)
    with pytest.raises(UserError, match=r"^--coordinator: process 0 does not answer"):
        processes.join(False, f"127.0.0.1:{free_port()}", 2, 1)


def test_a_port_that_is_taken_is_an_error():
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"^--coordinator: port {port}: Address already in use"):
            processes.join(False, f"127.0.0.1:{port}", 2, 0)


def test_without_flags_a_process_is_alone():
    processes.join(False, "", None, None)
    assert processes.from_first(lambda: 3) == 3


def test_a_full_disk_of_process_0_is_one_for_all():
    full = OSError(errno.ENOSPC, "No space left on device", "evals.jsonl")
    sent = pickle.loads(pickle.dumps(processes._plain(full)))
    assert (sent.errno, sent.filename) == (errno.ENOSPC, "evals.jsonl")
    assert str(sent) == str(full)
    # Pillow's have neither number nor file.
    assert "truncated" in str(processes._plain(OSError("image file is truncated")))


def test_a_cluster_that_is_none_is_an_error(tmp_path):
    command = [sys.executable, "launch.py", *flags("vae", tmp_path / "run"), "--distributed"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: --distributed: this is no job of Slurm")
    assert len(done.stderr.splitlines()) == 1
