"""`launch.py sweep` from the command line to its report, by both engines."""

import functools
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from small_config import get_config
from test_commands import rows, run

import launch
from configs import common
from genjax.errors import UserError
from genjax.sweep import cluster, command
from genjax.sweep.space import parse

SMALL = [
    "--config=tests/small_config.py:vae",
    "--config.evaluation.num_samples=0",
    "--config.checkpoint.best_metric=elbo",
]
LONG = [
    "--config.training.duration=500",
    "--config.training.checkpoint_every=100",
    "--config.training.log_every=100",
]
GRID = "{'model.kl_weight': common.grid(0.5, 2.0), 'seed': common.seeds(2)}"


def sweep_file(folder: pathlib.Path, space: str = GRID, more: str = "") -> pathlib.Path:
    path = folder / "weights.py"
    text = f"from configs import common\n\n\ndef get_sweep():\n    return common.sweep({space}, "
    path.write_text(f"{text}'elbo', 'max'{more})\n")
    return path


@pytest.fixture(scope="module")
def swept(tmp_path_factory) -> pathlib.Path:
    """The folder of a finished sweep of four trials."""
    folder = tmp_path_factory.mktemp("sweep")
    run("sweep", *SMALL, f"--sweep={sweep_file(folder)}", f"--workdir={folder / 'run'}")
    return folder / "run"


def test_a_sweep_folder_describes_itself(swept):
    assert {path.name for path in swept.iterdir()} == {
        "sweep.json",
        "sweep.jsonl",
        "sweep.html",
        "best.py",
        "trials",
    }
    found = {row["trial"]: row for row in rows(swept / "sweep.jsonl")}
    assert {name: row["state"] for name, row in found.items()} == dict.fromkeys(
        ["0000", "0001", "0002", "0003"], "finished"
    )
    for row in found.values():
        config = json.loads((swept / row["workdir"] / "config.json").read_text())
        assert row["parameters"] == {
            "model.kl_weight": config["model"]["kl_weight"],
            "seed": config["seed"],
        }
        last = rows(swept / row["workdir"] / "metrics.jsonl")[-1]
        assert row["metrics"]["elbo"] == last["validation/elbo"]
        assert row["step"] == last["step"] == 24


def test_the_best_setting_is_a_config_to_launch(swept):
    means = {}
    for row in rows(swept / "sweep.jsonl"):
        means.setdefault(row["parameters"]["model.kl_weight"], []).append(row["metrics"]["elbo"])
    best = max(means, key=lambda weight: sum(means[weight]))
    config = launch._load_config(str(swept / "best.py")).to_dict()
    there = json.loads((swept / "sweep.json").read_text())["config"]
    there["model"]["kl_weight"] = best
    assert json.loads(json.dumps(config)) == there


def test_a_finished_sweep_is_left_as_it_is(swept, capsys):
    before = {path: path.stat().st_mtime_ns for path in swept.glob("trials/**/*")}
    text = (swept / "sweep.jsonl").read_text()
    run("sweep", "--resume", f"--workdir={swept}")
    assert (swept / "sweep.jsonl").read_text() == text
    assert {path: path.stat().st_mtime_ns for path in swept.glob("trials/**/*")} == before
    assert "best of 4" in capsys.readouterr().out


def test_a_sweep_is_the_same_wherever_its_images_lie(tmp_path):
    asked = lambda place, search: {
        "config": {"data": {"name": "tfds", "binarize": False, "data_dir": place}},
        "sweep": {"search": search, "num_samples": 1},
    }
    (tmp_path / "sweep.json").write_text(json.dumps(asked("/old", "random")))
    command._claim(tmp_path, asked("/new", "random"))
    with pytest.raises(UserError, match="belongs to another sweep"):
        command._claim(tmp_path, asked("/old", "optuna"))


def test_a_sweep_may_grow_in_its_folder_and_not_shrink(tmp_path, capsys):
    folder, space = tmp_path / "run", "{'model.kl_weight': common.uniform(0.5, 2.0)}"
    at = lambda num: [
        *("sweep", *SMALL, f"--workdir={folder}"),
        f"--sweep={sweep_file(tmp_path, space, f', num_samples={num}')}",
    ]
    run(*at(1))
    (first,) = rows(folder / "sweep.jsonl")
    run(*at(2))
    before, second = rows(folder / "sweep.jsonl")
    assert before == first
    assert (second["trial"], second["state"]) == ("0001", "finished")
    assert second["parameters"] != first["parameters"]
    capsys.readouterr()
    assert launch.main(["launch.py", *at(1)]) == 2
    assert capsys.readouterr().err.startswith("error: num_samples: 1, and the sweep in")
    assert len(rows(folder / "sweep.jsonl")) == 2


def test_numbers_of_numpy_are_numbers():
    given = {"grid": np.arange(2), "one": np.float32(0.5), "text": "a"}
    assert command._plain(given) == {"grid": [0, 1], "one": 0.5, "text": "a"}


def test_a_trial_is_an_ordinary_run(swept, tmp_path):
    run("sample", f"--workdir={swept / 'trials' / '0001'}", "--num=4", f"--out={tmp_path}")
    assert len(list(tmp_path.glob("*.png"))) == 5


@pytest.mark.parametrize(
    ("space", "more", "flags", "says"),
    [
        (GRID, "", ["--engine=vamp"], "--engine: no such choice 'vamp'; did you mean 'vmap'?"),
        (GRID, "", ["--engine=ray", "--resume"], "--resume: takes config and sweep from --workdir"),
        (GRID, ", search='optuna'", [], "search: 'optuna' draws, and space.model.kl_weight is not"),
        (GRID, ", early_stopping='asha'", [], "early_stopping: 'asha' needs --engine=ray"),
        ("{}", "", [], "space: is empty"),
        (
            "{'model.latent_size': common.grid(2, 3)}",
            "",
            [],
            "space.model.latent_size: is no number that a compiled step can take, and no two "
            "trials have the same value; choose --engine=ray",
        ),
        (GRID, ")\nget_sweep = lambda: (1", [], "--sweep: get_sweep() gives 1, and no fields"),
        (
            "{'seed': common.grid({1})}",
            "",
            [],
            "--sweep: get_sweep() gives {1}, which is no number",
        ),
        ("{'seed': {}['x']}", "", [], "--sweep: {file}: KeyError('x')"),
    ],
)
def test_bad_input_ends_with_one_line(space, more, flags, says, tmp_path, capsys):
    file = sweep_file(tmp_path, space, more)
    arguments = ["sweep", *SMALL, f"--sweep={file}", f"--workdir={tmp_path / 'run'}", *flags]
    assert launch.main(["launch.py", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {says.replace('{file}', str(file))}")
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_metric_nobody_computes_is_refused(tmp_path, capsys):
    file = sweep_file(tmp_path)
    file.write_text(file.read_text().replace("'elbo'", "'ebo'"))
    arguments = ["sweep", *SMALL, f"--sweep={file}", f"--workdir={tmp_path / 'run'}"]
    assert launch.main(["launch.py", *arguments]) == 2
    assert "metric: no such choice 'ebo'; did you mean 'elbo'?" in capsys.readouterr().err


def test_a_folder_of_another_sweep_is_refused(swept, tmp_path, capsys):
    file = sweep_file(tmp_path, "{'seed': common.seeds(2)}")
    arguments = ["sweep", *SMALL, f"--sweep={file}", f"--workdir={swept}"]
    assert launch.main(["launch.py", *arguments]) == 2
    assert "belongs to another sweep" in capsys.readouterr().err


def begun(*arguments: str, **environment: str) -> subprocess.Popen:
    command = [sys.executable, "launch.py", "sweep", *SMALL, *arguments]
    # Ray lets its workers wait for everything else, and other tests run beside this one.
    environment = {**os.environ, "XLA_FLAGS": "", "RAY_worker_niceness": "0", **environment}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)


def wait_for(process: subprocess.Popen, happened) -> None:
    while not happened():
        assert process.poll() is None, "it ended before"
        time.sleep(0.02)


def test_a_sweep_that_is_asked_to_stop_goes_on(tmp_path):
    workdir = tmp_path / "run"
    space = "{'seed': common.seeds(3)}"  # one more than are under way on two cores
    flags = [f"--sweep={sweep_file(tmp_path, space)}", f"--workdir={workdir}", *LONG]
    process = begun(*flags)
    wait_for(process, lambda: any(workdir.glob("trials/*/metrics.jsonl")))
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 75
    assert not (workdir / "sweep.html").exists()
    assert begun(*flags).wait(300) == 0
    assert sorted(row["trial"] for row in rows(workdir / "sweep.jsonl")) == [
        "0000",
        "0001",
        "0002",
    ]


# --- Ray ------------------------------------------------------------------------------------------


@functools.cache
def has_ray() -> bool:
    try:
        import ray.tune  # noqa: F401
    except ImportError:
        return False
    return True


needs_ray = pytest.mark.skipif(not has_ray(), reason="Ray is not installed")


@needs_ray
def test_a_worker_that_is_killed_changes_nothing(tmp_path):
    """Four trials, of widths that no program shares; one worker dies in the middle of one."""
    workdir = tmp_path / "run"
    space = "{'encoder.widths': common.grid((8,), (12,)), 'seed': common.seeds(2)}"
    process = begun(
        f"--sweep={sweep_file(tmp_path, space)}",
        f"--workdir={workdir}",
        "--engine=ray",
        *LONG,
    )
    under_way = lambda: [
        path
        for path in workdir.glob("trials/*/checkpoints/100")
        if not (path.parent / "400").exists()
    ]
    wait_for(process, under_way)
    trial = under_way()[0].parents[1]
    lock = (trial.parent / f".{trial.name}.lock").read_text()
    os.kill(int(lock.split()[1]), signal.SIGKILL)
    assert process.wait(400) == 0
    found = {row["trial"]: row for row in rows(workdir / "sweep.jsonl")}
    assert sorted(found) == [f"{number:04}" for number in range(4)]
    assert {row["state"] for row in found.values()} == {"finished"}
    assert {row["step"] for row in found.values()} == {500}
    # It went on from a checkpoint: TensorBoard's files are named by the step that they begin at.
    begun_at = [path.name.rpartition(".")[2] for path in trial.glob("events.*")]
    assert len(begun_at) == 2
    assert int(max(begun_at, key=int)) >= 100


def test_a_trial_reports_the_share_of_its_own_steps(tmp_path, monkeypatch):
    """24 steps, scored at 8, 16 and 24; what it ends with has a reason, if an empty one."""
    config = get_config("vae")
    config.evaluation.num_samples = 0
    (trial,) = parse(
        common.sweep({"seed": common.grid(0)}, "elbo", "max"), config.to_dict()
    ).trials(config.to_dict())
    said = []

    def train(config, folder, wait, listen):
        for step in (8, 16, 24):
            listen(step, {"validation/elbo": -step})

    monkeypatch.setattr(cluster.commands, "train", train)
    monkeypatch.setattr(cluster, "last_scores", lambda folder: (24, {"elbo": -24.0}))
    cluster._train_trial(trial, tmp_path, "elbo", said.append)
    assert said == [
        {"elbo": -8.0, "step": 8, "share": 334},
        {"elbo": -16.0, "step": 16, "share": 667},
        {"elbo": -24.0, "step": 24, "share": 1000, "reason": ""},
    ]

    def fails(config, folder, wait, listen):
        raise jax.errors.JaxRuntimeError("no memory\nat all")

    monkeypatch.setattr(cluster.commands, "train", fails)
    cluster._train_trial(trial, tmp_path, "elbo", said.append)
    assert said[-1]["reason"] == "no memory"


@needs_ray
def test_optuna_draws_as_the_sweep_file_says():
    from optuna import distributions as optuna

    of = cluster._distribution
    assert of("choice", (32, 64)) == optuna.CategoricalDistribution((32, 64))
    assert of("uniform", (0.0, 0.5)) == optuna.FloatDistribution(0.0, 0.5)
    assert of("log_uniform", (1e-4, 1e-2)) == optuna.FloatDistribution(1e-4, 1e-2, log=True)
    assert of("uniform", (2, 64)) == optuna.IntDistribution(2, 64)
    assert of("log_uniform", (2, 64)) == optuna.IntDistribution(2, 64, log=True)


@needs_ray
def test_what_a_cluster_lacks_is_said(tmp_path, capsys):
    more = ", resources={'cpu': 1, 'gpu': 64, 'tpu': 0}"
    flags = [f"--sweep={sweep_file(tmp_path, more=more)}", "--engine=ray"]
    process = begun(*flags, f"--workdir={tmp_path / 'run'}", RAY_ADDRESS="127.0.0.1:1")
    assert process.wait(100) == 2
    process = begun(*flags, f"--workdir={tmp_path / 'run'}")
    assert process.wait(100) == 2
    assert not (tmp_path / "run").exists()
