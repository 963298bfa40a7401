"""Whole runs: training, resuming, scoring and using them, by the command line itself."""

import functools
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import types

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from PIL import Image

import launch
from genjax import commands, factory, rng
from genjax.evaluation.evaluators import ReconstructionEvaluator
from genjax.evaluation.samples import MemorisationEvaluator
from genjax.metrics.distribution import Moments, frechet_distance
from genjax.models.base import sample_latents
from genjax.training import health, loop
from genjax.training.checkpoint import Checkpoints


def run(*arguments: str) -> None:
    assert launch.main(["launch.py", *map(str, arguments)]) == 0


def train_flags(model: str, workdir: pathlib.Path) -> list[str]:
    return ["train", f"--config=tests/small_config.py:{model}", f"--workdir={workdir}"]


def last_state(workdir: pathlib.Path, step: int = 24):
    experiment = commands.experiment_of(workdir)
    with Checkpoints(workdir, **experiment.config["checkpoint"], read_only=True) as checkpoints:
        return jax.device_get(checkpoints.restore(step, experiment.state_shape))


def rows(path: pathlib.Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def assert_same_run(workdir: pathlib.Path, other: pathlib.Path, step: int = 24) -> None:
    """Bit for bit: parameters, optimizers, EMA, statistics, and every row of numbers."""
    ours, theirs = last_state(workdir, step), last_state(other, step)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    assert rows(workdir / "metrics.jsonl") == rows(other / "metrics.jsonl")
    strip = lambda rows: [{k: v for k, v in row.items() if k != "code_version"} for row in rows]
    ours, theirs = (strip(rows(folder / "evals.jsonl")) for folder in (workdir, other))
    assert ours == theirs[: len(ours)]  # it may have been scored in depth since


@pytest.fixture
def beside_judge(runs, tmp_path) -> pathlib.Path:
    """An empty folder with the judge of `runs`, so that it need not be trained again."""
    judge = next(runs.glob("classifier-*"))
    shutil.copytree(judge, tmp_path / judge.name)
    return tmp_path


def test_a_run_folder_describes_itself(runs):
    for model, metric in (("vae", "elbo"), ("gan", "frechet_distance")):
        folder = runs / model
        names = {path.name for path in folder.iterdir() if "tfevents" not in path.name}
        files = {"config.json", "environment.json", "data.json", "report.html"}
        assert names == files | {"metrics.jsonl", "evals.jsonl", "checkpoints", "samples"}
        assert json.loads((folder / "environment.json").read_text())["jax"] == jax.__version__
        steps = [row["step"] for row in rows(folder / "metrics.jsonl") if "train/" in str(row)]
        assert steps == list(range(4, 25, 4))
        (last,) = [
            row
            for row in rows(folder / "evals.jsonl")
            if (row["metric"], row["checkpoint"]) == (metric, "last")
        ]
        assert (last["step"], last["split"], last["n_real"]) == (24, "test", 500)
        assert last["config_hash"] == commands.config_hash(
            json.loads((folder / "config.json").read_text())
        )


def test_every_part_of_the_gan_state_has_moved(runs):
    """Or comparing the states of two runs would say little."""
    experiment = commands.experiment_of(runs / "gan")
    first, last = jax.device_get(experiment.init_state()), last_state(runs / "gan")
    for part in ("params", "opt", "stats", "ema"):
        for name, leaves in getattr(last, part).items():
            pairs = zip(
                jax.tree.leaves(leaves), jax.tree.leaves(getattr(first, part)[name]), strict=True
            )
            assert any(not np.array_equal(new, old) for new, old in pairs), (part, name)
    assert {"batch_stats"} <= last.stats["generator"].keys()
    assert {"spectral"} <= last.stats["discriminator"].keys()


def test_training_a_finished_run_again_changes_nothing(runs, capsys, monkeypatch):
    monkeypatch.setattr(commands, "_train", lambda *_: pytest.fail("it was trained again"))
    monkeypatch.setattr(commands, "_evaluate", lambda *_: pytest.fail("it was scored again"))
    before = {
        path: path.read_bytes()
        for path in (runs / "gan").rglob("*")
        if path.suffix != ".html"
        if path.is_file()
    }
    run(*train_flags("gan", runs / "gan"))
    assert all(path.read_bytes() == content for path, content in before.items())
    assert "is trained and scored already" in capsys.readouterr().out


def test_what_a_run_was_trained_on_has_to_be_there_as_it_was(runs, tmp_path, capsys):
    workdir = tmp_path / "vae"
    shutil.copytree(runs / "vae", workdir)
    facts = json.loads((workdir / "data.json").read_text())
    refusing = {
        "num_examples": [train_flags("vae", workdir)],
        "class_names": [
            train_flags("vae", workdir),
            ["evaluate", f"--workdir={workdir}"],
            ["reconstruct", f"--workdir={workdir}"],
        ],
    }
    for name, commands_ in refusing.items():
        other = {"num_examples": 5, "class_names": list("abcdefghij")}[name]
        (workdir / "data.json").write_text(json.dumps({**facts, name: other}))
        for command in commands_:
            assert launch.main(["launch.py", *command]) == 2
            said = f"error: --workdir: {workdir} was trained when its data set was another: {name} "
            assert capsys.readouterr().err.startswith(said)
    # Of a run of an earlier version, what it was trained on is not known, and noted now.
    (workdir / "data.json").unlink()
    shutil.copytree(judge := next(runs.glob("classifier-*")), tmp_path / judge.name)
    run(*train_flags("vae", workdir))
    assert json.loads((workdir / "data.json").read_text()) == facts


def test_a_judge_stays_what_it_is_when_the_data_set_grows(runs, tmp_path, monkeypatch):
    """Its epochs are those of the images that it has seen."""
    config = commands.experiment_of(runs / "vae").judge.config
    judge = factory.build(config.with_values({"training.duration": "1 epochs"}))
    whole, half = judge.facts, judge.facts._replace(num_examples=judge.facts.num_examples // 2)
    seen = {"last": judge.without_data(half).cadence.total_steps}
    assert seen["last"] < judge.cadence.total_steps
    trained = []
    monkeypatch.setattr(commands, "_steps", lambda experiment, folder: seen)
    monkeypatch.setattr(commands, "_last_params", lambda experiment, folder: {})
    monkeypatch.setattr(commands, "train", lambda config, folder, wait: trained.append(folder))
    beside = types.SimpleNamespace(judge=judge)
    name = f"{judge.config['name']}-{commands.config_hash(judge.config)[:8]}"
    for facts, times in ((half, 0), (whole, 1)):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "data.json").write_text(json.dumps(facts._asdict()))
        commands.judge_of(beside, tmp_path / "run")
        assert trained == times * [tmp_path / name]


def test_a_checkpoint_that_is_deleted_meanwhile_stops_no_other(runs, tmp_path, monkeypatch, capsys):
    workdir = tmp_path / "vae"
    shutil.copytree(runs / "vae", workdir)
    (workdir / "evals.jsonl").unlink()
    with Checkpoints(workdir, max_to_keep=2, best_metric="", best_mode="min") as checkpoints:
        first, *others = checkpoints.all_steps()
    assert others
    manager, restore = ocp.CheckpointManager, ocp.CheckpointManager.restore

    def delayed(self, step, **rest):
        shutil.rmtree(workdir / "checkpoints" / str(first), ignore_errors=True)
        return restore(self, step, **rest)

    monkeypatch.setattr(manager, "restore", delayed)
    flags = ["evaluate", f"--workdir={workdir}", "--metrics=elbo", "--checkpoint=all"]
    run(*flags)
    assert f"checkpoints/{first}: is gone" in capsys.readouterr().out
    assert {row["step"] for row in rows(workdir / "evals.jsonl")} == {*others}


def stopping_at(step: int):
    """`MetricsWriter.write` that is followed by a SIGTERM at `step`."""
    write = commands.MetricsWriter.write

    def stopping(writer, at, metrics):
        write(writer, at, metrics)
        if at == step:
            os.kill(os.getpid(), signal.SIGTERM)

    return stopping


def test_an_interrupted_run_ends_as_an_unbroken_one(runs, beside_judge, monkeypatch, capsys):
    workdir = beside_judge / "vae"
    with monkeypatch.context() as patch:
        # Between the checkpoints at 8 and 16, after a row.
        patch.setattr(commands.MetricsWriter, "write", stopping_at(12))
        assert launch.main(["launch.py", *train_flags("vae", workdir)]) == 75
    assert "stopped; the same command goes on from here" in capsys.readouterr().err
    assert rows(workdir / "metrics.jsonl")[-1]["step"] == 12
    assert (workdir / "checkpoints" / "12").is_dir()
    watched, watch = [], health.Watch.__call__
    record = lambda self, step, row: watched.append(step) or watch(self, step, row)
    monkeypatch.setattr(health.Watch, "__call__", record)
    run(*train_flags("vae", workdir))
    assert_same_run(workdir, runs / "vae")
    # Who looks for illnesses knows the rows before the stop, too.
    assert watched == [row["step"] for row in rows(workdir / "metrics.jsonl")]


def test_a_killed_run_goes_on_from_its_last_checkpoint(runs, beside_judge, capsys):
    workdir = beside_judge / "gan"
    command = [sys.executable, "launch.py", *train_flags("gan", workdir)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 300
        while not (workdir / "checkpoints" / "8").is_dir() and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (workdir / "checkpoints" / "24").exists()
    capsys.readouterr()
    run(*train_flags("gan", workdir))
    assert "training from step " in capsys.readouterr().out
    assert_same_run(workdir, runs / "gan")


def test_a_run_goes_back_and_on_with_other_noise(runs, beside_judge, monkeypatch, capsys):
    """At step 18 it fails twice, of the two times allowed; and is then killed and goes on."""
    workdir, read, fails = beside_judge / "vae", loop.read, [18, 18]

    def failing(waiting, last_step):
        values = read(waiting, last_step)
        if last_step == 20 and fails:
            raise loop.NotFiniteError(fails.pop(), "loss", np.float32(np.nan))
        return values

    flags = [*train_flags("vae", workdir), "--config.training.rollbacks=2"]
    monkeypatch.setattr(loop, "read", failing)
    run(*flags)
    assert "back to the last checkpoint, on with other noise (2 of 2 times)" in (
        capsys.readouterr().out.replace("\n", " ")
    )
    failures = rows(workdir / "failures.jsonl")
    assert [(row["step"], row["metric"], row["value"]) for row in failures] == [
        (18, "loss", "nan"), (18, "loss", "nan"),
    ]  # fmt: skip
    assert [row["rollbacks"] for row in failures] == [0, 1]
    plan = commands.experiment_of(workdir).reader.plan
    np.testing.assert_array_equal(failures[0]["indices"], plan.indices(17)[0])
    # Before step 16 nothing is another, and from there on the noise is.
    ours, theirs = rows(workdir / "metrics.jsonl"), rows(runs / "vae" / "metrics.jsonl")
    assert [row["step"] for row in ours] == [row["step"] for row in theirs]
    for our, their in zip(ours, theirs, strict=True):
        assert (our == their) == (our["step"] <= 16)
    # Asked to stop on the way, it goes on with the noise of its second rollback.
    shutil.rmtree(workdir / "checkpoints" / "24")
    fails.extend([18, 18])
    with monkeypatch.context() as patch:
        patch.setattr(commands.MetricsWriter, "write", stopping_at(20))
        assert launch.main(["launch.py", *flags]) == 75
    assert (workdir / "checkpoints" / "20").is_dir()
    run(*flags)
    assert not fails
    assert rows(workdir / "metrics.jsonl") == ours


def test_scoring_again_gives_the_same_rows_and_appends_none(runs, copied):
    """The same as those of training, and none twice."""
    for model in ("vae", "gan"):
        path, asked = copied(model) / "evals.jsonl", {"vae": "mse,elbo", "gan": "frechet_distance"}
        flags = [f"--workdir={path.parent}", f"--metrics={asked[model]}"]
        run("evaluate", *flags)
        before = path.read_bytes()
        run("evaluate", *flags)
        assert path.read_bytes() == before
        key = lambda row: (row["metric"], row["extractor"], row["checkpoint"], row["step"])
        theirs = {key(row): row["value"] for row in rows(runs / model / "evals.jsonl")}
        ours = {key(row): row["value"] for row in rows(path)}
        assert ours.keys() <= theirs.keys()
        assert ours == {name: theirs[name] for name in ours}


def test_another_seed_scores_other_samples_and_another_split_other_images(copied):
    workdir = copied("gan")
    for flags in ([], ["--seed=1"], ["--split=validation"]):
        run("evaluate", f"--workdir={workdir}", "--metrics=frechet_distance", *flags)
    distances = [
        row["value"]
        for row in rows(workdir / "evals.jsonl")
        if (row["metric"], row["checkpoint"]) == ("frechet_distance", "last")
    ]
    assert len(set(distances)) == 3


@pytest.fixture
def copied(runs, tmp_path):
    """Copies a run of `runs` next to its judge."""

    def copy(model: str) -> pathlib.Path:
        shutil.copytree(runs / model, tmp_path / model)
        judge = next(runs.glob("classifier-*"))
        if not (tmp_path / judge.name).exists():
            (tmp_path / judge.name).symlink_to(judge)
        (tmp_path / model / "evals.jsonl").unlink()
        return tmp_path / model

    return copy


def test_an_interrupted_evaluation_goes_on_where_it_was(copied, monkeypatch):
    workdir = copied("vae")

    def stop(*_):
        raise KeyboardInterrupt

    def refuse(*_):
        raise AssertionError("was scored already")

    call = MemorisationEvaluator.__call__
    monkeypatch.setattr(MemorisationEvaluator, "__call__", stop)
    assert launch.main(["launch.py", "evaluate", f"--workdir={workdir}"]) == 130
    before = rows(workdir / "evals.jsonl")
    assert {"psnr", "elbo"} <= {row["metric"] for row in before}
    monkeypatch.setattr(MemorisationEvaluator, "__call__", call)
    monkeypatch.setattr(ReconstructionEvaluator, "__call__", refuse)
    run("evaluate", f"--workdir={workdir}")
    after = rows(workdir / "evals.jsonl")
    assert after[: len(before)] == before
    assert {row["metric"] for row in after} > {"psnr", "copies", "iw_bound", "kid", "density"}


def test_all_checkpoints_some_metrics_and_several_seeds(copied):
    workdir = copied("gan")
    flags = ["--checkpoint=all", "--metrics=frechet_distance,kid", "--seeds=2", "--num_samples=24"]
    run("evaluate", f"--workdir={workdir}", *flags)
    found = rows(workdir / "evals.jsonl")
    kept = {int(path.name) for path in (workdir / "checkpoints").iterdir() if path.name.isdecimal()}
    assert {row["step"] for row in found} == kept
    assert {row["seed"] for row in found} == {0, 1}
    assert {row["metric"] for row in found} == {"frechet_distance", "kid", "kid_std"}
    assert {row["n_fake"] for row in found} == {24}
    values = {(row["step"], row["seed"], row["metric"]): row["value"] for row in found}
    # A checkpoint that is both last and best is one measurement under two names.
    assert len(values) == 3 * 2 * len(kept)
    assert len(set(values.values())) == len(values)


def test_a_checkpoint_asked_for_by_another_name_has_rows_by_it_and_is_not_scored_again(
    copied, monkeypatch
):
    workdir = copied("vae")
    step = max(int(path.name) for path in (workdir / "checkpoints").glob("[0-9]*"))
    run("evaluate", f"--workdir={workdir}", "--metrics=psnr", f"--checkpoint={step}")
    monkeypatch.setattr(
        ReconstructionEvaluator, "__call__", lambda *_: pytest.fail("it was scored again")
    )
    run("evaluate", f"--workdir={workdir}", "--metrics=psnr", "--checkpoint=last")
    first, second = [row for row in rows(workdir / "evals.jsonl") if row["metric"] == "psnr"]
    assert first["checkpoint"] == str(step)
    assert second == {**first, "checkpoint": "last"}


def test_metrics_that_have_to_be_asked_for(copied):
    workdir = copied("gan")
    run("evaluate", f"--workdir={workdir}", "--metrics=cas", "--checkpoint=last")
    found = {row["metric"]: row["value"] for row in rows(workdir / "evals.jsonl")}
    assert found.keys() == {"cas", "cas_of_real"}
    # The judge's few steps teach it something of real digits, and nothing of noise.
    assert 0 <= found["cas"] <= found["cas_of_real"] <= 1


def test_two_folders_are_compared_as_their_arrays_are(tmp_path, capsys):
    sets = {
        name: np.random.default_rng(n).integers(0, 256, (20, 16, 16, 1), np.uint8)
        for n, name in enumerate(("real", "fake"))
    }
    for name, images in sets.items():
        np.save(tmp_path / f"{name}.npy", images)
        (tmp_path / name).mkdir()
        for number, image in enumerate(images):
            Image.fromarray(image[..., 0]).save(tmp_path / name / f"{number:02}.png")
    values = []
    for suffix in ("", ".npy"):
        out = tmp_path / f"rows{suffix}.jsonl"
        paths = [str(tmp_path / f"{name}{suffix}") for name in sets]
        run("compare", *paths, f"--out={out}")
        values.append({row["metric"]: row["value"] for row in rows(out)})
        assert {row["extractor"] for row in rows(out)} == {"pixels", "none"}
    assert values[0] == values[1]
    moments = [Moments.of(images.reshape(20, -1) / np.float32(255)) for images in sets.values()]
    assert values[0]["frechet_distance"] == pytest.approx(frechet_distance(*moments))
    assert "frechet_distance" in capsys.readouterr().out


def draw(runs, out, *flags: str) -> dict[str, bytes]:
    run("sample", f"--workdir={runs / 'gan'}", f"--out={out}", *flags)
    return {path.name: path.read_bytes() for path in sorted(out.glob("0*.png"))}


def test_samples_follow_the_seed_alone(runs, tmp_path, monkeypatch):
    six = draw(runs, tmp_path / "six", "--num=6", "--seed=1")
    assert draw(runs, tmp_path / "again", "--num=6", "--seed=1") == six
    assert not set(draw(runs, tmp_path / "other", "--num=6", "--seed=2").values()) & set(
        six.values()
    )
    whole = commands.draw
    monkeypatch.setattr(commands, "draw", functools.partial(whole, batch_size=4))
    assert draw(runs, tmp_path / "batches", "--num=6", "--seed=1") == six


def test_labels_are_taken_in_turn_and_stand_in_the_names(runs, tmp_path):
    names = list(draw(runs, tmp_path / "asked", "--num=5", "--labels=3,7"))
    assert names == ["00000_3.png", "00001_7.png", "00002_3.png", "00003_7.png", "00004_3.png"]
    names = list(draw(runs, tmp_path / "all", "--num=11"))
    assert [name[6] for name in names] == list("01234567890")
    with Image.open(tmp_path / "all" / "00000_0.png") as picture:
        assert picture.size == (28, 28)


def test_the_label_changes_the_picture(runs, tmp_path):
    three = draw(runs, tmp_path / "three", "--num=1", "--labels=3")
    seven = draw(runs, tmp_path / "seven", "--num=1", "--labels=7")
    assert list(three.values()) != list(seven.values())


def tile(path: pathlib.Path, row: int, column: int) -> np.ndarray:
    """A 28x28 tile of a grid: enlarged twice, two pixels between tiles."""
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("L")).astype(int)
    top, left = (2 + place * (2 * 28 + 2) for place in (row, column))
    return pixels[top : top + 56 : 2, left : left + 56 : 2]


def test_interpolation_begins_and_ends_at_the_images_of_two_latents(runs, tmp_path):
    out = tmp_path / "way.png"
    run("interpolate", f"--workdir={runs / 'vae'}", "--num=2", "--steps=5", f"--out={out}")
    loaded = commands.load(runs / "vae")
    experiment, params = loaded.experiment, loaded.params
    latents = sample_latents(experiment.model, params, rng.key(0, "interpolate"), jnp.arange(4))
    images = np.asarray(experiment.model.generate(params, latents))[..., 0]
    for row in range(2):
        for column, latent in ((0, row), (4, 2 + row)):
            assert np.abs(tile(out, row, column) - np.round(255 * images[latent])).max() <= 1
        assert np.abs(tile(out, row, 2) - tile(out, row, 0)).max() > 1


def test_reconstructions_stand_below_the_originals(runs, tmp_path):
    out = tmp_path / "pair.png"
    run("reconstruct", f"--workdir={runs / 'vae'}", "--num=1", f"--out={out}")
    loaded = commands.load(runs / "vae")
    experiment, params = loaded.experiment, loaded.params
    image = experiment.sources["test"][0]["image"]
    with Image.open(out) as picture:
        pixels = np.asarray(picture.convert("L")).astype(int)[:, 8:64:2]
    np.testing.assert_array_equal(pixels[8:64:2], image[..., 0])
    wanted = experiment.model.reconstruct(params, image[None] / np.float32(255))
    below = pixels[8 + 56 + 1 :: 2][:28]
    assert np.abs(below - np.round(255 * np.asarray(wanted)[0, :, :, 0])).max() <= 1


def test_a_folder_of_pictures_trains_scores_and_samples(tmp_path, runs):
    """With fewer pictures in a split than in an evaluation batch, and without a judge."""
    for index in range(40):
        folder = tmp_path / "pictures" / ("cats", "dogs")[index % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(index).integers(0, 256, (20, 24, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    workdir, out = tmp_path / "run", tmp_path / "out"
    flags = (
        f"--config.data.path={tmp_path / 'pictures'} --config.training.duration=8 "
        "--config.data.image_size=28 --config.data.channels=1 --config.evaluation.num_samples=0"
    )
    run(*train_flags("vae,folder", workdir), *flags.split())
    scores = {row["metric"]: row["n_real"] for row in rows(workdir / "evals.jsonl")}
    num = len(commands.experiment_of(workdir).sources["test"])
    assert num < 16
    assert scores == dict.fromkeys(
        ("mse", "mae", "psnr", "ssim", "elbo", "log_prob", "kl", "active_units"), num
    )
    run("sample", f"--workdir={workdir}", "--num=2", f"--out={out}")
    assert sorted(path.name for path in out.iterdir()) == ["00000.png", "00001.png", "grid.png"]


ON_ONE_DEVICE = """
import os, pathlib, sys
import jax, numpy as np
from genjax import commands
assert jax.local_device_count() == 1
sys.path.insert(0, "tests")
from test_commands import last_state
state = last_state(pathlib.Path(sys.argv[1]))
np.savez(sys.argv[2], *jax.tree.leaves(state))
"""


def test_a_run_of_eight_devices_is_used_on_one(runs, tmp_path):
    out = tmp_path / "leaves.npz"
    environment = {**os.environ, "XLA_FLAGS": "", "PYTHONPATH": os.pathsep.join(["."])}
    command = [sys.executable, "-c", ON_ONE_DEVICE, str(runs / "gan"), str(out)]
    subprocess.run(command, check=True, env=environment)
    here = jax.tree.leaves(last_state(runs / "gan"))
    with np.load(out) as there:
        assert len(there) == len(here)
        for index, leaf in enumerate(here):
            np.testing.assert_array_equal(leaf, there[f"arr_{index}"])


@pytest.fixture(scope="module")
def two_levels(tmp_path_factory) -> pathlib.Path:
    """A run of two levels of latents under a VampPrior, on binary images, that does not learn.

    Its bound is as good as its draws are, so patience ends it early.
    """
    folder = tmp_path_factory.mktemp("runs") / "hvae"
    run(*two_levels_flags(folder))
    return folder


def two_levels_flags(folder: pathlib.Path) -> list[str]:
    fields = {
        "prior.name": "vamp",
        "prior.num_components": 5,
        "encoder.widths": 8,
        "decoder.widths": 8,
        "optimizer.learning_rate": 1e-12,
        "training.duration": 400,
        "training.patience": 8,
    }
    config = "configs/hvae.py:mnist_sample,test"
    flags = [f"--config.{name}={value}" for name, value in fields.items()]
    return ["train", f"--config={config}", f"--workdir={folder}", *flags]


def test_patience_ends_a_run_which_is_then_left_as_it_is(two_levels, capsys, monkeypatch):
    last = max(row["step"] for row in rows(two_levels / "metrics.jsonl"))
    scores = {
        row["step"]: row["validation/elbo"]
        for row in rows(two_levels / "metrics.jsonl")
        if "validation/elbo" in row
    }
    best = max(scores, key=scores.get)
    assert last == best + 8 < 400
    evals = rows(two_levels / "evals.jsonl")
    assert {(row["checkpoint"], row["step"]) for row in evals} == {("best", best), ("last", last)}
    monkeypatch.setattr(commands, "_train", lambda *_: pytest.fail("it was trained again"))
    run(*two_levels_flags(two_levels))
    assert "is trained and scored already" in capsys.readouterr().out


def test_a_model_of_two_levels_is_scored_and_used_like_any(two_levels, tmp_path):
    run(
        "evaluate",
        f"--workdir={two_levels}",
        "--checkpoint=best",
        "--metrics=iw_bound",
        "--importance_samples=20",
    )
    found = {row["metric"]: row["value"] for row in rows(two_levels / "evals.jsonl")}
    # Twenty draws bound an image's likelihood more tightly than one, by a nat and more here.
    assert found["elbo"] + 1 < found["iw_bound"] < 0
    run("sample", f"--workdir={two_levels}", "--num=3", f"--out={tmp_path / 'samples'}")
    assert len(list((tmp_path / "samples").glob("0*.png"))) == 3
    run("reconstruct", f"--workdir={two_levels}", "--num=3", f"--out={tmp_path / 'pairs.png'}")
    run(
        "interpolate",
        f"--workdir={two_levels}",
        "--num=2",
        "--steps=3",
        f"--out={tmp_path / 'way.png'}",
    )


def test_a_search_in_latents_that_are_not_normal_is_refused(two_levels, tmp_path, capsys):
    Image.fromarray(np.zeros((28, 28), np.uint8)).save(tmp_path / "digit.png")
    flags = [f"--workdir={two_levels}", f"--input={tmp_path / 'digit.png'}"]
    flags += [f"--output={tmp_path / 'out'}", "--degradation=missing_pixels:0.5", "--degrade"]
    for method, words in (
        ("search", "standard normal, and this model's prior is a VampPrior"),
        ("impute", "'impute' needs one level of latents"),
    ):
        assert launch.main(["launch.py", "restore", *flags, f"--method={method}"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert words in line
    assert not (tmp_path / "out").exists()
