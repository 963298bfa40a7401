"""The commands of launch.py, as functions of plain values and a run folder."""

import contextlib
import dataclasses
import datetime
import hashlib
import json
import os
import pathlib
import platform
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import flax
import jax
import jaxlib
import numpy as np
import optax
import orbax.checkpoint
from rich.console import Console
from rich.table import Table

import genjax
from genjax import factory, rng
from genjax.data.readers import evaluation_batches, prefetch
from genjax.errors import UserError, did_you_mean
from genjax.evaluation.extractors import ClassifierExtractor
from genjax.evaluation.rows import Evaluator, Score, append_rows
from genjax.evaluation.sampling import balanced_labels, draw
from genjax.factory import Experiment
from genjax.models.base import LabelReader, Reconstructor, Sampler, TrainState, require
from genjax.report import grids
from genjax.report.html import write_report
from genjax.training import loop
from genjax.training.checkpoint import Checkpoints
from genjax.training.writers import MetricsWriter, Progress
from genjax.types import PyTree

CONSOLE = Console(soft_wrap=True, highlight=False)
GRID = 64  # pictures in a grid of samples or reconstructions


# --- train ---------------------------------------------------------------------------------------


def train(config: Mapping[str, Any], workdir: pathlib.Path) -> None:
    """Trains what `config` describes in `workdir`, goes on where it stopped, scores and reports."""
    experiment = factory.build(config)
    _claim(workdir, config)
    judge = _judge(experiment, workdir)
    evaluators = experiment.evaluators("validation", judge)
    _write_json(workdir / "config.json", config)
    _write_json(workdir / "environment.json", _environment())

    with _checkpoints(experiment, workdir) as checkpoints:
        state = experiment.init_state()
        if steps := checkpoints.steps():
            state = checkpoints.restore(steps["last"], state)
        start, cadence = int(state.step), experiment.cadence
        if start < cadence.total_steps:
            where = f"from step {start} " if start else ""
            CONSOLE.print(f"training {where}to step {cadence.total_steps} in {workdir}")
            _train(experiment, state, start, evaluators, workdir, checkpoints)
    evaluate(workdir, experiment=experiment, judge=judge)


def _train(
    experiment: Experiment,
    state: TrainState,
    start: int,
    evaluators: Sequence[Evaluator],
    workdir: pathlib.Path,
    checkpoints: Checkpoints,
) -> None:
    cadence, devices, reader = experiment.cadence, experiment.devices, experiment.reader
    compiled = devices.compile(experiment.model, reader.fetch, experiment.augment)
    store = devices.replicate(reader.store)
    key = devices.replicate(jax.random.key(experiment.config["seed"]))
    num_blocks = (cadence.total_steps - start) // cadence.steps_per_call
    blocks = reader.blocks(start, num_blocks, cadence.steps_per_call)
    with MetricsWriter(workdir, start or -1) as writer, Progress(cadence.total_steps) as progress:

        def validate(state: TrainState) -> dict[str, float]:
            params = _inference_params(experiment, state)
            for name, picture in _pictures(experiment, params).items():
                path = workdir / "samples" / f"{name}_{int(state.step):08d}.png"
                grids.save_png(picture, path)
                writer.images(int(state.step), name, picture)
            scores = _score(experiment, params, evaluators, int(state.step))
            return {score.metric: score.value for score in scores}

        loop.train(
            state,
            lambda state, block: compiled(state, store, block, key),
            prefetch(blocks, devices.shard),
            cadence=cadence,
            images_per_step=experiment.images_per_step,
            evaluate=validate,
            checkpoints=checkpoints,
            writer=writer,
            progress=progress,
        )


def _pictures(experiment: Experiment, params: PyTree) -> dict[str, np.ndarray]:
    """Grids by name: samples from fixed latents, validation images above reconstructions."""
    model, pictures = experiment.model, {}
    if isinstance(model, Sampler):
        labels = balanced_labels(GRID, model.num_classes)
        if labels is not None:
            labels = np.sort(labels)
        key = rng.key(experiment.config["seed"], "grid")
        samples = np.concatenate(list(draw(model, params, key, GRID, labels)))
        pictures["samples"] = grids.grid(samples, 8)
    if isinstance(model, Reconstructor):
        batch = _first_batch(experiment, "validation", GRID // 2)
        pictures["reconstructions"] = grids.pairs(
            batch["image"], _reconstruct(experiment, params, batch), 8
        )
    return pictures


def _first_batch(experiment: Experiment, split: str, num: int) -> dict[str, np.ndarray]:
    source = experiment.sources[split]
    batch = next(evaluation_batches(source, min(num, len(source))))
    return {**batch, "image": batch["image"].astype(np.float32) / 255}


def _reconstruct(experiment: Experiment, params: PyTree, batch: Mapping[str, Any]) -> np.ndarray:
    model = experiment.model
    labels = batch["label"] if model.num_classes else None
    return np.asarray(jax.jit(model.reconstruct)(params, batch["image"], labels))


# --- evaluate ------------------------------------------------------------------------------------


def evaluate(
    workdir: pathlib.Path,
    split: str = "test",
    seed: int = 0,
    experiment: Experiment | None = None,
    judge: ClassifierExtractor | None = None,
) -> None:
    """Scores the last and the best checkpoint on `split`; appends rows to evals.jsonl; reports.

    Rows that are there already are not written twice.
    """
    experiment = experiment or load(workdir)
    judge = judge or _judge(experiment, workdir)
    evaluators = experiment.evaluators(split, judge)
    rows = []
    with _checkpoints(experiment, workdir) as checkpoints:
        steps = _steps(checkpoints, workdir)
        for name, step in steps.items():
            params = _inference_params(
                experiment, checkpoints.restore(step, experiment.init_state())
            )
            provenance = {
                "split": split,
                "checkpoint": name,
                "step": step,
                "seed": seed,
                "dtype": experiment.config["training"]["dtype"],
                "config_hash": config_hash(experiment.config),
                "code_version": _code_version(),
            }
            scores = _score(experiment, params, evaluators, seed)
            rows += [{**dataclasses.asdict(score), **provenance} for score in scores]
    append_rows(workdir / "evals.jsonl", rows)
    _print_table(rows, split)
    CONSOLE.print(f"report: {write_report(workdir)}")


def _score(
    experiment: Experiment, params: PyTree, evaluators: Sequence[Evaluator], seed: int
) -> list[Score]:
    key = rng.key(seed, "evaluate")
    return [score for evaluator in evaluators for score in evaluator(experiment.model, params, key)]


def _print_table(rows: Sequence[Mapping[str, Any]], split: str) -> None:
    names = list(dict.fromkeys(row["checkpoint"] for row in rows))
    steps = {row["checkpoint"]: row["step"] for row in rows}
    table = Table("metric", *(f"{name} (step {steps[name]})" for name in names), "unit")
    for metric in dict.fromkeys(row["metric"] for row in rows):
        cells = {row["checkpoint"]: row for row in rows if row["metric"] == metric}
        values = [f"{cells[name]['value']:.4f}" for name in names]
        table.add_row(metric, *values, next(iter(cells.values()))["unit"])
    CONSOLE.print(f"scores on the {split} split:")
    CONSOLE.print(table)


def _judge(experiment: Experiment, workdir: pathlib.Path) -> ClassifierExtractor | None:
    """The classifier that judges samples: an ordinary run beside this one, trained when missing."""
    config = factory.judge_config(experiment.config)
    if config is None or not isinstance(experiment.model, Sampler) or not experiment.class_names:
        return None
    folder = workdir.absolute().parent / f"{config['name']}-{config_hash(config)[:8]}"
    judge = factory.build(config)
    if _finished_step(judge, folder) is None:
        CONSOLE.print("the classifier that judges samples is not trained yet: training it first")
        train(config, folder)
    with _checkpoints(judge, folder) as checkpoints:
        state = checkpoints.restore(_steps(checkpoints, folder)["last"], judge.init_state())
    params = _inference_params(judge, state)
    require(judge.model, LabelReader, "evaluation.classifier")
    return ClassifierExtractor(judge.model, params, len(judge.class_names))


def _finished_step(experiment: Experiment, workdir: pathlib.Path) -> int | None:
    if not (workdir / "checkpoints").is_dir():
        return None
    with _checkpoints(experiment, workdir) as checkpoints:
        last = checkpoints.steps().get("last")
    return last if last == experiment.cadence.total_steps else None


# --- using a run ---------------------------------------------------------------------------------


def sample(
    workdir: pathlib.Path, num: int, labels: str, seed: int, out: pathlib.Path | None
) -> None:
    """Draws `num` pictures from the last checkpoint: PNG files and a grid in `out`.

    `labels`: numbers or class names, comma-separated, used in turn; empty for every class in turn.
    """
    factory.positive("--num", num)
    experiment, params, step = _restore(workdir, Sampler, "sample")
    model = experiment.model
    asked = _labels(experiment, labels, num)
    out = out or workdir / "samples" / f"step_{step:08d}_seed_{seed}"
    _check_writable(out)
    images = []
    for batch in draw(model, params, rng.key(seed, "sample"), num, asked):
        for image in batch:
            name = f"{len(images):05d}"
            if asked is not None:
                name += f"_{_file_name(experiment.class_names[asked[len(images)]])}"
            grids.save_png(_to_uint8(image), out / f"{name}.png")
            images.append(image)
    grids.save_png(grids.grid(np.stack(images[:400])), out / "grid.png")
    CONSOLE.print(f"{num} samples and grid.png in {out}")


def reconstruct(workdir: pathlib.Path, num: int, split: str, out: pathlib.Path | None) -> None:
    """Writes originals of `split` above their reconstructions as one PNG file."""
    factory.positive("--num", num)
    experiment, params, step = _restore(workdir, Reconstructor, "reconstruct")
    factory.choose("--split", split, experiment.sources)
    batch = _first_batch(experiment, split, num)
    out = out or workdir / "samples" / f"step_{step:08d}_{split}_reconstructions.png"
    _check_png(out)
    grids.save_png(grids.pairs(batch["image"], _reconstruct(experiment, params, batch)), out)
    CONSOLE.print(f"{len(batch['image'])} originals above their reconstructions: {out}")


def interpolate(
    workdir: pathlib.Path, num: int, steps: int, labels: str, seed: int, out: pathlib.Path | None
) -> None:
    """Writes `num` rows of pictures on the way between two latents, `steps` to a row, as PNG.

    The way is the great circle (White 2016): on a straight line between two normal latents the
    middle would be shorter than any latent that the model knows.
    """
    factory.positive("--num", num)
    if steps < 2:
        raise UserError(f"--steps: {steps} is too few; at least 2")
    experiment, params, step = _restore(workdir, Sampler, "interpolate")
    model = experiment.model
    asked = _labels(experiment, labels, num)
    out = out or workdir / "samples" / f"step_{step:08d}_interpolation_seed_{seed}.png"
    _check_png(out)
    ends = rng.normal(
        rng.key(seed, "interpolate"), np.arange(2 * num, dtype=np.int32), (model.latent_size,)
    )
    latents = slerp(np.asarray(ends[:num]), np.asarray(ends[num:]), steps)
    rows = None if asked is None else np.repeat(asked, steps)
    images = jax.jit(model.generate)(params, latents.reshape(num * steps, -1), rows)
    grids.save_png(grids.grid(np.asarray(images), steps), out)
    CONSOLE.print(f"{num} interpolations of {steps} steps: {out}")


def slerp(start: np.ndarray, end: np.ndarray, steps: int) -> np.ndarray:
    """Spherical interpolation of rows [num, latent]: [num, steps, latent], both ends included."""
    unit = lambda rows: rows / np.linalg.norm(rows, axis=-1, keepdims=True)
    cosine = np.clip((unit(start) * unit(end)).sum(-1), -1, 1)
    angle = np.maximum(np.arccos(cosine), 1e-6)[:, None, None]
    at = np.linspace(0, 1, steps)[None, :, None]
    return (np.sin((1 - at) * angle) * start[:, None] + np.sin(at * angle) * end[:, None]) / np.sin(
        angle
    )


def report(workdir: pathlib.Path) -> None:
    """Writes report.html of the run folder."""
    _config(workdir)
    CONSOLE.print(f"report: {write_report(workdir)}")


def _restore(workdir: pathlib.Path, ability: type, command: str) -> tuple[Experiment, PyTree, int]:
    experiment = load(workdir)
    require(experiment.model, ability, command)
    with _checkpoints(experiment, workdir) as checkpoints:
        step = _steps(checkpoints, workdir)["last"]
        state = checkpoints.restore(step, experiment.init_state())
    return experiment, _inference_params(experiment, state), step


def _labels(experiment: Experiment, asked: str, num: int) -> np.ndarray | None:
    """`asked` as int32 [num], repeated in turn; every class in turn if empty."""
    names, num_classes = experiment.class_names, experiment.model.num_classes
    if not asked:
        return balanced_labels(num, num_classes)
    if not num_classes:
        raise UserError(f"--labels: {asked!r}, but this model was trained without labels")
    labels = []
    for name in asked.split(","):
        name = name.strip()
        if name in names:
            labels.append(names.index(name))
        elif name.isdecimal() and int(name) < num_classes:
            labels.append(int(name))
        elif re.fullmatch(r"[+-]?\d+", name):
            raise UserError(f"--labels: {name} is out of range; labels are 0 to {num_classes - 1}")
        else:
            raise UserError(f"--labels: no such class {name!r}{did_you_mean(name, names)}")
    return np.resize(np.array(labels, np.int32), num)


# --- the run folder ------------------------------------------------------------------------------


def load(workdir: pathlib.Path) -> Experiment:
    """The experiment of a run folder, from its config.json."""
    return factory.build(_config(workdir))


def config_hash(config: Mapping[str, Any]) -> str:
    """SHA-256 of the config as JSON with sorted keys."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def _config(workdir: pathlib.Path) -> dict[str, Any]:
    path = workdir / "config.json"
    if not path.is_file():
        runs = [str(found.parent) for found in workdir.parent.glob("*/config.json")]
        raise UserError(f"--workdir: {workdir} is no run folder{did_you_mean(str(workdir), runs)}")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: is not valid JSON: {error}") from error


def _claim(workdir: pathlib.Path, config: Mapping[str, Any]) -> None:
    """Raises a UserError unless `workdir` is free or belongs to this very config."""
    if (workdir / "config.json").is_file():
        old, new = _flat(_config(workdir)), _flat(json.loads(json.dumps(config)))
        differing = [
            f"{name} ({old.get(name, 'missing')} there, {new.get(name, 'missing')} here)"
            for name in sorted(old.keys() | new.keys())
            if old.get(name) != new.get(name)
        ]
        if differing:
            more = f" and {len(differing) - 5} more" if len(differing) > 5 else ""
            raise UserError(
                f"--workdir: {workdir} belongs to another config, which differs in "
                f"{', '.join(differing[:5])}{more}; choose another --workdir"
            )
    elif workdir.exists() and (not workdir.is_dir() or any(workdir.iterdir())):
        raise UserError(f"--workdir: {workdir} is there already and is no run folder")


def _flat(config: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(config, Mapping):
        return {prefix: config}
    flat = {}
    for name, value in config.items():
        flat |= _flat(value, f"{prefix}.{name}" if prefix else name)
    return flat


def _checkpoints(experiment: Experiment, workdir: pathlib.Path) -> Checkpoints:
    return Checkpoints(workdir, **experiment.config["checkpoint"])


def _steps(checkpoints: Checkpoints, workdir: pathlib.Path) -> dict[str, int]:
    steps = checkpoints.steps()
    if not steps:
        raise UserError(f"--workdir: {workdir} has no checkpoint yet; run train first")
    return steps


def _inference_params(experiment: Experiment, state: TrainState) -> PyTree:
    return jax.device_put(experiment.model.inference_params(state), jax.local_devices()[0])


def _write_json(path: pathlib.Path, value: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def _environment() -> dict[str, Any]:
    return {
        "genjax": genjax.__version__,
        "python": platform.python_version(),
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "flax": flax.__version__,
        "optax": optax.__version__,
        "orbax-checkpoint": orbax.checkpoint.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "devices": [f"{device.platform}: {device.device_kind}" for device in jax.local_devices()],
        "git_revision": _code_version(),
        "command": " ".join(sys.argv),
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _code_version() -> str:
    """The version, and the git revision where genjax runs from a checkout."""
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=pathlib.Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
        return f"{genjax.__version__}+{described.stdout.strip()}"
    return genjax.__version__


def _check_writable(folder: pathlib.Path) -> None:
    existing: Iterator[pathlib.Path] = (p for p in (folder, *folder.parents) if p.exists())
    nearest = next(existing)
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise UserError(f"--out: can not write to {folder}")


def _check_png(path: pathlib.Path) -> None:
    if path.suffix.lower() != ".png":
        raise UserError(f"--out: {path} is no PNG file; try {path.with_suffix('.png')}")
    _check_writable(path.parent)


def _file_name(class_name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", class_name)


def _to_uint8(image: np.ndarray) -> np.ndarray:
    return np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
