"""A run that is killed again and again ends as one that is not."""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import pytest
from test_commands import assert_same_run, rows

from genjax.training.stopping import TEMPORARY_FAILURE

STEPS, MOMENTS = 720, 12
TRAIN = [
    sys.executable,
    "launch.py",
    "train",
    "--config=tests/small_config.py:vae",
    "--config.evaluation.num_samples=0",
    f"--config.training.duration={STEPS}",
    "--config.training.checkpoint_every=60",
    "--config.training.log_every=20",
]


def begun(workdir: pathlib.Path) -> subprocess.Popen:
    command = [*TRAIN, f"--workdir={workdir}"]
    # On one device: eight that are emulated would take longer to begin than to train.
    environment = {**os.environ, "XLA_FLAGS": ""}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, env=environment, **quiet)


def reached(workdir: pathlib.Path) -> int:
    """The last step that has a row of metrics."""
    path = workdir / "metrics.jsonl"
    text = path.read_text() if path.exists() else ""
    return max((row["step"] for row in rows_of(text)), default=0)


def rows_of(text: str) -> list[dict]:

    return [json.loads(line) for line in text.splitlines() if line.endswith("}")]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory) -> pathlib.Path:
    workdir = tmp_path_factory.mktemp("chaos") / "unbroken"
    assert begun(workdir).wait(300) == 0
    return workdir


def test_a_dozen_kills_at_random_moments_change_nothing(unbroken, tmp_path):
    """Every other one is a SIGTERM, and every third comes while a checkpoint is being saved."""
    draws, workdir, codes = random.Random(0), tmp_path / "run", []
    for number in range(MOMENTS):
        process, seen = begun(workdir), reached(workdir)
        wait_for(process, lambda seen=seen: reached(workdir) > seen)
        if number % 3 == 0:  # what an earlier kill left unfinished is gone by now
            wait_for(process, lambda: any((workdir / "checkpoints").glob("*.orbax-checkpoint-tmp")))
        else:
            time.sleep(draws.uniform(0, 0.15))
        process.send_signal((signal.SIGKILL, signal.SIGTERM)[number % 2])
        codes.append(process.wait(60))
        if codes[-1] == 0:
            break
    assert set(codes) <= {0, TEMPORARY_FAILURE, -signal.SIGKILL}
    assert {TEMPORARY_FAILURE, -signal.SIGKILL} <= set(codes)
    assert len(codes) == MOMENTS, f"it was done after {len(codes)} of {MOMENTS}; make it longer"
    assert begun(workdir).wait(300) == 0
    assert_same_run(workdir, unbroken, STEPS)
    assert not (workdir / "damaged").exists()
    assert [row["step"] for row in rows(workdir / "metrics.jsonl") if "train/elbo" in row] == list(
        range(20, STEPS + 1, 20)
    )


def wait_for(process: subprocess.Popen, happened) -> None:
    while process.poll() is None and not happened():
        time.sleep(0.002)
