"""The commands of launch.py, as functions of plain values and a run folder."""

import dataclasses
import itertools
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from genjax import factory, rng
from genjax.data.readers import evaluation_batches
from genjax.data.transforms import to_float
from genjax.errors import UserError, choose, did_you_mean
from genjax.evaluation.extractors import ClassifierExtractor
from genjax.evaluation.rows import Evaluator, Score, append_rows, read_rows
from genjax.evaluation.sampling import balanced_labels, draw, slerp
from genjax.evaluation.sampling import reconstruct as reconstructions
from genjax.factory import Experiment
from genjax.fields import COUNT, SEED, check_number, errors_within
from genjax.models.base import Reconstructor, Sampler, TrainState, require, sample_latents
from genjax.report import grids
from genjax.run_folder import (
    check_writable,
    claim,
    code_version,
    config_hash,
    environment,
    locked,
    read_config,
    write_json,
)
from genjax.training import loop
from genjax.training.checkpoint import Checkpoints
from genjax.training.writers import MetricsWriter, Progress
from genjax.types import PyTree

CONSOLE = Console(soft_wrap=True, highlight=False)
GRID = 64  # pictures in a grid of samples or reconstructions while training
MOST_IN_GRID = 400  # of those that `sample` draws


# --- train ---------------------------------------------------------------------------------------


def train(config: Mapping[str, Any], workdir: pathlib.Path, wait: bool = False) -> None:
    """Trains what `config` describes in `workdir`, goes on where it stopped, scores and reports.

    Where another process trains there, `wait` says whether to wait for it; else it is an error.
    """
    config = _with_absolute_paths(config)
    experiment = factory.build(config)
    experiment.check_batch_size()
    claim(workdir, config)
    with locked(workdir, wait):
        _train_and_score(experiment, config, workdir)


def _with_absolute_paths(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The config with its data set's folders as they are found from anywhere."""
    data = {
        name: str(pathlib.Path(value).expanduser().absolute())
        if name in ("path", "data_dir", "manual_dir") and value
        else value
        for name, value in config["data"].items()
    }
    return {**config, "data": data}


def _train_and_score(
    experiment: Experiment, config: Mapping[str, Any], workdir: pathlib.Path
) -> None:
    cadence, judge = experiment.cadence, None
    with Checkpoints(workdir, **experiment.config["checkpoint"]) as checkpoints:
        start = checkpoints.steps().get("last", 0)
        if start < cadence.total_steps:
            judge = _judge(experiment, workdir)
            write_json(workdir / "config.json", config)
            write_json(workdir / "environment.json", environment())
            where = f"from step {start} " if start else ""
            CONSOLE.print(f"training {where}to step {cadence.total_steps} in {workdir}")
            _train(experiment, checkpoints, judge, workdir)
        steps = checkpoints.steps()
    rows = _rows_of(experiment, workdir, steps)
    if start == cadence.total_steps and rows:
        CONSOLE.print(f"{workdir} is trained and scored already")
        _report(workdir, rows, "test")
    else:
        _evaluate(experiment, workdir, "test", 0, judge)


def _train(
    experiment: Experiment,
    checkpoints: Checkpoints,
    judge: ClassifierExtractor | None,
    workdir: pathlib.Path,
) -> None:
    """Trains from the last checkpoint, or from step 0, to the end."""
    cadence = experiment.cadence
    evaluators = experiment.evaluators("validation", judge)
    start = checkpoints.steps().get("last", 0)
    if start:
        state = checkpoints.restore(start, experiment.state_shape)
    else:
        state = experiment.init_state()
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
            experiment.run_block(),
            experiment.blocks(start),
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
        key = rng.key(experiment.config["seed"], "grid")
        # One class a row, where there are classes; the first twenty of many.
        names = experiment.class_names[: min(model.num_classes, 20)]
        labels = np.repeat(np.arange(len(names), dtype=np.int32), 8) if names else None
        num = GRID if labels is None else len(labels)
        samples = np.concatenate(list(draw(model, params, key, num, labels)))
        pictures["samples"] = (
            grids.grid(samples, 8) if labels is None else grids.labelled_rows(samples, names, 8)
        )
    if isinstance(model, Reconstructor):
        batch = _first_batch(experiment, "validation", GRID // 2)
        pictures["reconstructions"] = grids.pairs(
            batch["image"], reconstructions(model, params, batch), 8
        )
    return pictures


def _first_batch(experiment: Experiment, split: str, num: int) -> dict[str, np.ndarray]:
    source = experiment.sources[split]
    batch = next(evaluation_batches(source, min(num, len(source))))
    return to_float(batch)


# --- evaluate ------------------------------------------------------------------------------------


def evaluate(workdir: pathlib.Path, split: str, seed: int) -> None:
    """Scores the last and the best checkpoint on `split`; appends rows to evals.jsonl; reports.

    Rows that are there already are not written twice.
    """
    choose("--split", split, dict.fromkeys(factory.SPLITS))
    check_number("--seed", seed, SEED)
    experiment = load(workdir)
    check_writable("--workdir", workdir)
    _evaluate(experiment, workdir, split, seed, None)


def _evaluate(
    experiment: Experiment,
    workdir: pathlib.Path,
    split: str,
    seed: int,
    judge: ClassifierExtractor | None,
) -> None:
    with _checkpoints(experiment, workdir) as checkpoints:
        steps = _steps(checkpoints, workdir)
        evaluators = experiment.evaluators(split, judge or _judge(experiment, workdir))
        scores = {}
        for step in set(steps.values()):
            state = checkpoints.restore(step, experiment.state_shape)
            params = _inference_params(experiment, state)
            scores[step] = _score(experiment, params, evaluators, seed)
    provenance = {
        "split": split,
        "seed": seed,
        "dtype": experiment.config["training"]["dtype"],
        "config_hash": config_hash(experiment.config),
        "code_version": code_version(),
    }
    rows = [
        {**dataclasses.asdict(score), **provenance, "checkpoint": name, "step": step}
        for name, step in steps.items()
        for score in scores[step]
    ]
    append_rows(workdir / "evals.jsonl", rows)
    _report(workdir, rows, split)


def _rows_of(
    experiment: Experiment, workdir: pathlib.Path, steps: Mapping[str, int]
) -> list[dict[str, Any]]:
    """The rows of `evals.jsonl` for these checkpoints on the test split; none if one is missing."""
    wanted = {"split": "test", "seed": 0, "config_hash": config_hash(experiment.config)}
    rows = [
        row
        for row in read_rows(workdir / "evals.jsonl")
        if steps.get(row.get("checkpoint")) == row.get("step")
        and all(row.get(name) == value for name, value in wanted.items())
    ]
    found = {(row["metric"], row["checkpoint"]) for row in rows}
    complete = found >= set(itertools.product(experiment.metrics(), steps))
    return rows if complete else []


def _score(
    experiment: Experiment, params: PyTree, evaluators: Sequence[Evaluator], seed: int
) -> list[Score]:
    key = rng.key(seed, "evaluate")
    return [score for evaluator in evaluators for score in evaluator(experiment.model, params, key)]


def _report(workdir: pathlib.Path, rows: Sequence[Mapping[str, Any]], split: str) -> None:
    """Prints the rows as a table, a column for each checkpoint, and writes the report."""
    from genjax.report.html import write_report  # Matplotlib: training does not wait for it

    steps = {row["checkpoint"]: row["step"] for row in rows}
    table = Table("metric", *(f"{name} (step {step})" for name, step in steps.items()), "unit")
    values = {(row["metric"], row["checkpoint"]): row["value"] for row in rows}
    for metric, unit in {row["metric"]: row["unit"] for row in rows}.items():
        table.add_row(metric, *(f"{float(values[metric, name]):.4f}" for name in steps), unit)
    if rows:
        CONSOLE.print(f"scores on the {split} split:")
        CONSOLE.print(table)
    CONSOLE.print(f"report: {write_report(workdir)}")


def _judge(experiment: Experiment, workdir: pathlib.Path) -> ClassifierExtractor | None:
    """The classifier that judges samples: an ordinary run beside this one, trained when missing."""
    judge = experiment.judge
    if judge is None:
        return None
    name = f"{judge.config['name']}-{config_hash(judge.config)[:8]}"
    folder = workdir.absolute().parent / name
    if _last_step(judge, folder) != judge.cadence.total_steps:
        with errors_within("evaluation.classifier"):
            CONSOLE.print("first comes the classifier that will judge samples, once for all runs")
            train(judge.config, folder, wait=True)
    params, _ = _last_params(judge, folder)
    return ClassifierExtractor(judge.model, params, len(judge.class_names))


def _last_step(experiment: Experiment, workdir: pathlib.Path) -> int:
    with _checkpoints(experiment, workdir) as checkpoints:
        return checkpoints.steps().get("last", 0)


# --- using a run ---------------------------------------------------------------------------------


def sample(
    workdir: pathlib.Path, num: int, labels: str, seed: int, out: pathlib.Path | None
) -> None:
    """Draws `num` pictures from the last checkpoint: PNG files and a grid in `out`.

    `labels`: numbers or class names, comma-separated, used in turn; empty for every class in turn.
    """
    check_number("--num", num, COUNT)
    check_number("--seed", seed, SEED)
    experiment, params, step = _restore(workdir, Sampler, "sample")
    model = experiment.model
    asked = _labels(experiment, labels, num)
    folder = f"step_{step:08d}_seed_{seed}_num_{num}{_suffix(labels)}"
    out = out or workdir / "samples" / folder
    check_writable("--out", out)
    batches = draw(model, params, rng.key(seed, "sample"), num, asked)
    in_grid = []
    for index, image in enumerate(itertools.chain.from_iterable(batches)):
        name = f"{index:05d}"
        if asked is not None:
            name += f"_{_file_name(experiment.class_names[asked[index]])}"
        grids.save_png(grids.to_uint8(image[None])[0], out / f"{name}.png")
        if index < MOST_IN_GRID:
            in_grid.append(image)
    grids.save_png(grids.grid(np.stack(in_grid)), out / "grid.png")
    CONSOLE.print(f"{num} samples and grid.png in {out}")


def reconstruct(workdir: pathlib.Path, num: int, split: str, out: pathlib.Path | None) -> None:
    """Writes originals of `split` above their reconstructions as one PNG file."""
    check_number("--num", num, COUNT)
    choose("--split", split, dict.fromkeys(factory.SPLITS))
    experiment, params, step = _restore(workdir, Reconstructor, "reconstruct")
    batch = _first_batch(experiment, split, num)
    out = out or workdir / "samples" / f"{split}_reconstructions_{step:08d}.png"
    _check_png(out)
    found = reconstructions(experiment.model, params, batch)
    grids.save_png(grids.pairs(batch["image"], found), out)
    CONSOLE.print(f"{len(batch['image'])} originals above their reconstructions: {out}")


def interpolate(
    workdir: pathlib.Path, num: int, steps: int, labels: str, seed: int, out: pathlib.Path | None
) -> None:
    """Writes `num` rows of pictures on the way between two latents, `steps` to a row, as PNG.

    The way is the great circle (White 2016): on a straight line between two normal latents the
    middle would be shorter than any latent that the model knows.
    """
    check_number("--num", num, COUNT)
    check_number("--seed", seed, SEED)
    if steps < 2:
        raise UserError(f"--steps: {steps} is too few; at least 2, the two ends")
    experiment, params, step = _restore(workdir, Sampler, "interpolate")
    model = experiment.model
    asked = _labels(experiment, labels, num)
    name = f"interpolation_seed_{seed}{_suffix(labels)}_{step:08d}.png"
    out = out or workdir / "samples" / name
    _check_png(out)
    ends = np.asarray(
        sample_latents(model, rng.key(seed, "interpolate"), jnp.arange(2 * num, dtype=jnp.int32))
    )
    latents = slerp(ends[:num], ends[num:], steps)
    rows = None if asked is None else np.repeat(asked, steps)
    images = jax.jit(model.generate)(params, latents.reshape(num * steps, -1), rows)
    grids.save_png(grids.grid(np.asarray(images), steps), out)
    CONSOLE.print(f"{num} interpolations of {steps} steps: {out}")


def report(workdir: pathlib.Path) -> None:
    """Writes report.html of the run folder."""
    from genjax.report.html import write_report

    read_config(workdir)
    check_writable("--workdir", workdir)
    CONSOLE.print(f"report: {write_report(workdir)}")


def _restore(workdir: pathlib.Path, ability: type, command: str) -> tuple[Experiment, PyTree, int]:
    experiment = load(workdir)
    require(experiment.model, ability, command)
    return experiment, *_last_params(experiment, workdir)


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
    return factory.build(read_config(workdir))


def _checkpoints(experiment: Experiment, workdir: pathlib.Path) -> Checkpoints:
    return Checkpoints(workdir, **experiment.config["checkpoint"], read_only=True)


def _steps(checkpoints: Checkpoints, workdir: pathlib.Path) -> dict[str, int]:
    steps = checkpoints.steps()
    if not steps:
        raise UserError(f"--workdir: {workdir} has no checkpoint yet; run train first")
    return steps


def _last_params(experiment: Experiment, workdir: pathlib.Path) -> tuple[PyTree, int]:
    """The inference parameters of the last checkpoint, and its step."""
    with _checkpoints(experiment, workdir) as checkpoints:
        step = _steps(checkpoints, workdir)["last"]
        state = checkpoints.restore(step, experiment.state_shape)
    return _inference_params(experiment, state), step


def _inference_params(experiment: Experiment, state: TrainState) -> PyTree:
    return jax.device_put(experiment.model.inference_params(state), jax.local_devices()[0])


def _check_png(path: pathlib.Path) -> None:
    if path.suffix.lower() != ".png":
        raise UserError(f"--out: {path} is no PNG file; try {path.with_suffix('.png')}")
    check_writable("--out", path.parent)


def _file_name(class_name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", class_name)


def _suffix(labels: str) -> str:
    """What tells the pictures of these labels from others; short enough for a file's name."""
    return f"_labels_{_file_name(labels)[:100]}" if labels else ""
