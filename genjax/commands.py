"""The commands of launch.py, as functions of plain values and a run folder."""

import contextlib
import dataclasses
import functools
import itertools
import math
import os
import pathlib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import rich.box
import rich.progress
from rich.console import Console
from rich.table import Table

from genjax import factory, rng, schedule
from genjax.data.readers import evaluation_batches
from genjax.data.reading import read
from genjax.data.transforms import to_float
from genjax.errors import UserError, choose, did_you_mean
from genjax.evaluation import comparison
from genjax.evaluation.evaluators import translate
from genjax.evaluation.extractors import (
    ClassifierExtractor,
    Extractor,
    PixelExtractor,
    load_inception,
    load_lpips,
)
from genjax.evaluation.image_sets import check_pair, open_set
from genjax.evaluation.rows import Evaluator, append_rows, identity, read_rows, scores_of
from genjax.evaluation.samples import MemorisationEvaluator
from genjax.evaluation.sampling import balanced_labels, draw
from genjax.evaluation.sampling import reconstruct as reconstructions
from genjax.factory import Experiment
from genjax.fields import AMOUNT, COUNT, SAMPLES, SEED, check_number, errors_within
from genjax.loaded import (
    Loaded,
    checkpoints_of,
    experiment_of,
    inference_params,
    load,
    steps_of,
)
from genjax.metrics.spectrum import radial_power
from genjax.models.base import (
    LabelReader,
    Reconstructor,
    Sampler,
    TrainState,
    Translator,
    require,
)
from genjax.report import grids
from genjax.report.scores import mean_and_deviation, measured_by
from genjax.run_folder import (
    begin,
    check_facts,
    check_writable,
    claim,
    code_version,
    config_hash,
    describe,
    locked,
    read_config,
    read_facts,
)
from genjax.training import loop
from genjax.training.checkpoint import Checkpoints, GoneError
from genjax.training.health import Watch
from genjax.training.processes import agreed, anywhere, from_first, is_first
from genjax.training.stopping import StopRequest
from genjax.training.writers import MetricsWriter, Nowhere, Progress
from genjax.types import PyTree

CONSOLE = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)
GRID = 64  # pictures in a grid of samples or reconstructions while training
TIMES_DRAWN = 100  # so many grids at most, however many checkpoints there are
IN_SPECTRUM = 1000  # images whose mean power is drawn
WIDTH = 140  # of tables in a file, in characters
MOST_IN_GRID = 400  # of those that `sample` draws


# --- train ---------------------------------------------------------------------------------------


def train(
    config: Mapping[str, Any],
    workdir: pathlib.Path,
    wait: bool = False,
    listen: Callable[[int, Mapping[str, Any]], None] = lambda step, row: None,
) -> None:
    """Trains what `config` describes in `workdir`, goes on where it stopped, scores and reports.

    Where another process trains there, `wait` says whether to wait for it; else it is an error.
    `listen` is told of each row of metrics, with its step. Raises `Stopped` when it is asked to
    stop, with all that was done on the disk.

    Where several processes have joined, all call it: process 0 has the folder and scores.
    """
    CONSOLE.quiet = not is_first()
    config = absolute(config)
    experiment = factory.build(config)
    experiment.check_batch_size()
    from_first(lambda: claim(workdir, config))
    from_first(lambda: check_facts(workdir, experiment.facts, counted=True))
    with StopRequest() as stop, contextlib.ExitStack() as stack:
        from_first(lambda: stack.enter_context(locked(workdir, wait)))
        _train_and_score(experiment, config, workdir, stop, listen)


def absolute(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The config with its data set's folders as they are found from anywhere."""
    data = {
        name: os.path.abspath(os.path.expanduser(value))
        if name in ("path", "input_path", "target_path", "data_dir", "manual_dir") and value
        else value
        for name, value in config["data"].items()
    }
    return {**config, "data": data}


def _train_and_score(
    experiment: Experiment,
    config: Mapping[str, Any],
    workdir: pathlib.Path,
    stop: StopRequest,
    listen: Callable[[int, Mapping[str, Any]], None],
) -> None:
    cadence, judge = experiment.cadence, None
    newest = lambda: checkpoints.restore_newest(experiment.state_shape, _warn)
    with Checkpoints(workdir, **experiment.config["checkpoint"]) as checkpoints:
        state = newest()
        start = 0 if state is None else int(state.step)
        if not cadence.is_over(from_first(checkpoints.steps)):
            judge = judge_of(experiment, workdir)
            from_first(lambda: begin(workdir, config, experiment.facts))
            where = f"from step {start} " if start else ""
            CONSOLE.print(f"training {where}to step {cadence.total_steps} in {workdir}")
            while True:
                try:
                    _train(experiment, state, checkpoints, judge, workdir, stop, listen)
                    break
                except loop.NotFiniteError as error:
                    failed = functools.partial(_failed, experiment, checkpoints.rollbacks, workdir)
                    rollbacks = from_first(lambda failed=failed, error=error: failed(error))
                    state = newest()
                    checkpoints.rollbacks = rollbacks
        else:  # its images may lie elsewhere by now
            from_first(lambda: describe(workdir, config, experiment.facts))
        last = from_first(checkpoints.steps)["last"]
    rows = from_first(lambda: _rows_of(experiment, workdir))
    if start == last and rows:
        CONSOLE.print(f"{workdir} is trained and scored already")
        from_first(lambda: _report(workdir, rows, "test"))
    else:
        judge = judge or judge_of(experiment, workdir)
        from_first(lambda: _score(experiment, judge, workdir))


def _score(
    experiment: Experiment, judge: ClassifierExtractor | None, workdir: pathlib.Path
) -> None:
    """Scores the last and the best checkpoint on the test split, and reports."""
    evaluators = experiment.evaluators("test", [judge] if judge else [])
    with checkpoints_of(experiment, workdir) as checkpoints:
        steps = checkpoints.steps()
        rows = _evaluate(experiment, checkpoints, workdir, "test", steps, [0], evaluators)
    _report(workdir, rows, "test")


def _warn(line: str) -> None:
    CONSOLE.print(line, style="yellow")


def _failed(
    experiment: Experiment, rollbacks: int, workdir: pathlib.Path, error: loop.NotFiniteError
) -> int:
    """Keeps what is known of a failure in failures.jsonl; the number of the rollback to follow.

    Raises:
      NotFiniteError: `error`, where no more are allowed.
    """
    row = {
        "step": error.step,
        "metric": error.name,
        "value": str(error.value),
        "indices": experiment.reader.plan.indices(error.step - 1)[0].tolist(),
        "rollbacks": rollbacks,
    }
    append_rows(workdir / "failures.jsonl", [row])
    allowed = experiment.config["training"]["rollbacks"]
    if rollbacks >= allowed:
        raise error
    _warn(
        f"step {error.step}: {error.name} is {error.value}; back to the last checkpoint, on with "
        f"other noise ({rollbacks + 1} of {allowed} times)"
    )
    return rollbacks + 1


def _train(
    experiment: Experiment,
    state: TrainState | None,
    checkpoints: Checkpoints,
    judge: ClassifierExtractor | None,
    workdir: pathlib.Path,
    stop: StopRequest,
    listen: Callable[[int, Mapping[str, Any]], None],
) -> None:
    """Trains from `state`, or from step 0, to the end."""
    cadence = experiment.cadence
    evaluators = experiment.evaluators("validation", [judge] if judge else [])
    start = 0 if state is None else int(state.step)
    asked = agreed(experiment.devices, lambda: bool(stop.asked))
    drawn_every = schedule.round_up(
        -(-cadence.total_steps // TIMES_DRAWN), cadence.checkpoint_every
    )
    with (
        MetricsWriter(workdir, start or -1) if is_first() else Nowhere() as writer,
        Progress(cadence.total_steps) if is_first() else Nowhere() as progress,
        stop.polled(),
    ):

        def validate(state: TrainState) -> dict[str, float]:
            params, step = inference_params(experiment, state), int(state.step)
            pictures = _pictures(experiment, params) if cadence.is_due(step, drawn_every) else {}
            for name, picture in pictures.items():
                grids.save_png(picture, workdir / "samples" / f"{name}_{step:08d}.png")
                writer.images(step, name, picture)
            return scores_of(evaluators, experiment.model, params, rng.key(step, "evaluate"))

        watch = Watch(experiment.config)
        for row in read_rows(workdir / "metrics.jsonl") if is_first() else ():
            watch(row["step"], row)  # what it said of these, it has said

        def watched(step: int, row: Mapping[str, Any]) -> list[str]:
            listen(step, row)
            return watch(step, row)

        loop.train(
            experiment.init_state() if state is None else experiment.devices.replicate(state),
            experiment.run_block(checkpoints.rollbacks),
            experiment.blocks(start),
            cadence=cadence,
            images_per_step=experiment.images_per_step,
            evaluate=validate,
            checkpoints=checkpoints,
            writer=writer,
            progress=progress,
            watch=watched,
            held=checkpoints.held(start) if start else {},
            asked=asked,
        )
        if anywhere(experiment.devices, bool(stop.asked)):
            stop.asked = stop.asked or "of another process"


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
    if isinstance(model, Translator):
        batch = _first_batch(experiment, "validation", GRID // 4)
        conditions, answers, made = translate(model, experiment.pairing, params, batch)
        shown = [conditions, made, *([answers] if experiment.knows_answers("validation") else [])]
        columns = np.stack(list(map(grids.in_colour, shown)), axis=1)
        pictures["translations"] = grids.grid(
            columns.reshape(-1, *columns.shape[2:]), 4 * len(shown)
        )
    return pictures


def _first_batch(experiment: Experiment, split: str, num: int) -> dict[str, np.ndarray]:
    source = experiment.sources[split]
    batch = next(evaluation_batches(source, min(num, len(source))))
    return to_float(batch)


# --- evaluate ------------------------------------------------------------------------------------


def evaluate(
    workdir: pathlib.Path,
    split: str,
    checkpoint: str,
    metrics: str,
    num_samples: int,
    seed: int,
    seeds: int,
    extractor: str,
    inception: str,
    lpips: str,
    importance_samples: int,
) -> None:
    """Scores checkpoints on `split`; appends rows to evals.jsonl, and reports.

    What is scored is written at once, and nothing that is written is scored again.

    `checkpoint`: `last`, `best`, steps or `all`, comma-separated; empty for last and best.
    `metrics`: names, comma-separated; empty for all but those that have to be asked for. `seeds`:
    how many, from `seed` on. `extractor`: `classifier`, `pixels` or `inception`,
    comma-separated; empty for the classifier, or pixels where there is none, and for Inception
    where its weights are given.
    `inception` and `lpips`: files with these networks' weights.
    """
    choose("--split", split, dict.fromkeys(factory.SPLITS))
    check_number("--seed", seed, SEED)
    check_number("--seeds", seeds, COUNT)
    check_number("--seeds", seed + seeds - 1, SEED)
    check_number("--importance_samples", importance_samples, COUNT)
    if num_samples:
        check_number("--num_samples", num_samples, SAMPLES)
    if "lpips" in _names(metrics) and not lpips:
        raise UserError("--lpips: is missing; name a file with its weights")
    experiment = experiment_of(workdir)
    check_writable("--workdir", workdir)
    with checkpoints_of(experiment, workdir) as checkpoints:
        steps = _asked_steps(checkpoints, workdir, checkpoint)
        make = functools.partial(
            experiment.all_evaluators,
            split,
            metrics=_names(metrics),
            importance_samples=importance_samples,
            lpips=load_lpips(lpips) if lpips else None,
            **({"num_samples": num_samples} if num_samples else {}),
        )
        extractors = _extractors(experiment, extractor, inception)
        make(extractors)  # a wrong name is told before the classifier is trained
        evaluators = make(
            [
                judge_of(experiment, workdir) if isinstance(each, ClassifierExtractor) else each
                for each in extractors
            ]
        )
        seeds_ = range(seed, seed + seeds)
        rows = _evaluate(experiment, checkpoints, workdir, split, steps, seeds_, evaluators)
    _report(workdir, rows, split)


def _evaluate(
    experiment: Experiment,
    checkpoints: Checkpoints,
    workdir: pathlib.Path,
    split: str,
    steps: Mapping[str, int],
    seeds: Sequence[int],
    evaluators: Sequence[Evaluator],
) -> list[dict[str, Any]]:
    """The rows of these checkpoints; those that evals.jsonl lacks are computed and appended.

    A checkpoint with two names is scored once and has a row by each, and what does not depend on
    the seed is scored with seed 0.
    """
    path, model = workdir / "evals.jsonl", experiment.model
    there = read_rows(path)
    known = {identity(row): row for row in there}
    named = {(identity(row), row.get("checkpoint")) for row in there}
    provenance = {
        "split": split,
        "dtype": experiment.config["training"]["dtype"],
        "config_hash": config_hash(experiment.config),
        "code_version": code_version(),
    }
    by_step: dict[int, list[str]] = {}
    for name, step in steps.items():
        by_step.setdefault(step, []).append(name)
    found: dict[tuple, dict[str, Any]] = {}
    gone: list[GoneError] = []
    with _progress() as progress:
        task = progress.add_task("", total=len(by_step) * len(evaluators) * len(seeds))
        for step, names in by_step.items():
            params = functools.cache(lambda step=step: _restored(experiment, checkpoints, step))
            try:
                for evaluator, seed in itertools.product(evaluators, seeds):
                    progress.advance(task)
                    if not evaluator.draws:
                        seed = 0
                    here = [
                        {**dataclasses.asdict(score), **provenance, "seed": seed, "step": step}
                        for score in evaluator.planned(model)
                    ]
                    what = ", ".join(row["metric"] for row in here[:3])
                    progress.update(task, description=f"step {step}, seed {seed}: {what} ...")
                    if any(identity(row) not in known for row in here):
                        values = evaluator(model, params(), rng.key(seed, "evaluate"))
                        measured = ({**row, "value": values[row["metric"]]} for row in here)
                        known = {identity(row): row for row in measured} | known
                    new = [
                        {**known[identity(row)], "checkpoint": name}
                        for row in here
                        for name in names
                        if (identity(row), name) not in named
                    ]
                    if new:
                        append_rows(path, new)
                        named |= {(identity(row), row["checkpoint"]) for row in new}
                    found |= {identity(row): known[identity(row)] for row in here}
                _picture_samples(experiment, workdir, split, step, evaluators, params)
            except GoneError as error:  # the others may be there
                gone.append(error)
    for error in gone:
        if not found:
            raise error
        _warn(str(error))
    return [{**row, "checkpoint": name} for row in found.values() for name in by_step[row["step"]]]


def _restored(experiment: Experiment, checkpoints: Checkpoints, step: int) -> PyTree:
    return inference_params(experiment, checkpoints.restore(step, experiment.state_shape))


def _picture_samples(
    experiment: Experiment,
    workdir: pathlib.Path,
    split: str,
    step: int,
    evaluators: Sequence[Evaluator],
    params: Callable[[], PyTree],
) -> None:
    """Real images beside samples, in pictures and spectra; samples above what they may copy.

    Where copies are looked for, and the pictures are not there yet.
    """
    finders = [each for each in evaluators if isinstance(each, MemorisationEvaluator)]
    path = lambda kind: workdir / "samples" / f"{split}_{kind}_{step:08d}.png"
    kinds = [f"nearest_training_images_by_{each.extractor.name}" for each in finders]
    drawn = ("real_beside_generated", "power_spectrum", *kinds)
    if not finders or all(path(kind).exists() for kind in drawn):
        return
    from genjax.report.curves import power_curves  # Matplotlib

    model, key, source = experiment.model, rng.key(0, "evaluate"), experiment.sources[split]
    real = to_float(read(source, rng.shuffled(len(source))[:IN_SPECTRUM]))
    labels = real["label"] if model.num_classes else None
    samples = np.concatenate(list(draw(model, params(), key, len(real["image"]), labels)))
    halves = [grids.grid(images[: GRID // 2], 8) for images in (real["image"], samples)]
    seam = np.full((len(halves[0]), 16, halves[0].shape[-1]), grids.BACKGROUND, np.uint8)
    grids.save_png(np.concatenate([halves[0], seam, halves[1]], axis=1), path(drawn[0]))
    powers = [
        np.asarray(radial_power(jnp.asarray(images))).mean(0) for images in (real["image"], samples)
    ]
    grids.save_png(power_curves(*powers), path(drawn[1]))
    for each, kind in zip(finders, kinds, strict=True):
        grids.save_png(grids.pairs(*each.closest(model, params(), key, 16), 8), path(kind))


def _asked_steps(checkpoints: Checkpoints, workdir: pathlib.Path, asked: str) -> dict[str, int]:
    """The checkpoints that `asked` names: their steps by the names that rows call them."""
    named, kept = steps_of(checkpoints, workdir), checkpoints.all_steps()
    steps = {} if _names(asked) else named
    for name in _names(asked):
        if name == "all":
            steps |= named | {str(step): step for step in kept if step not in named.values()}
        elif name.isdecimal() and int(name) in kept:
            steps[str(int(name))] = int(name)
        else:
            known = [*named, "all", *map(str, kept)]
            steps[name] = choose("--checkpoint", name, {**dict.fromkeys(known), **named})
    return steps


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _extractors(experiment: Experiment, asked: str, inception: str) -> list[Extractor]:
    """What `evaluate` looks at samples through, by name; the classifier is not trained yet."""
    if not isinstance(experiment.model, Sampler):
        return []
    make = {"classifier": lambda: experiment.untrained_judge, **_any_data(inception)}
    default = ["classifier" if experiment.judge else "pixels", *(["inception"] * bool(inception))]
    names = _names(asked) or default
    for name in names:
        choose("--extractor", name, make)
    if "classifier" in names and not experiment.judge:
        raise UserError(
            "--extractor: 'classifier', but this run has none, since its data set has no labels or "
            "evaluation.num_samples is 0; choose 'pixels' or 'inception'"
        )
    return [make[name]() for name in names]


def _rows_of(experiment: Experiment, workdir: pathlib.Path) -> list[dict[str, Any]]:
    """Last's and best's rows of `evals.jsonl` on the test split; none if one is missing."""
    with checkpoints_of(experiment, workdir) as checkpoints:
        steps = checkpoints.steps()
    wanted = {"split": "test", "seed": 0, "config_hash": config_hash(experiment.config)}
    rows = [
        row
        for row in read_rows(workdir / "evals.jsonl")
        if steps.get(row.get("checkpoint")) == row.get("step")
        and all(row.get(name) == value for name, value in wanted.items())
    ]
    newest = {(row["metric"], row["checkpoint"]): row for row in rows}
    complete = newest.keys() >= set(itertools.product(experiment.metrics(), steps))
    return list(newest.values()) if complete else []


def _report(workdir: pathlib.Path, rows: Sequence[Mapping[str, Any]], split: str) -> None:
    """Prints the rows as a table, a column for each checkpoint, and writes the report."""
    from genjax.report.html import write_report  # Matplotlib: training does not wait for it

    if rows:
        CONSOLE.print(f"scores on the {split} split:")
        steps = {row["checkpoint"]: row["step"] for row in rows}
        _print_scores(rows, steps, *(f"{name} (step {step})" for name, step in steps.items()))
    CONSOLE.print(f"report: {write_report(workdir)}")


def _print_scores(rows: Sequence[Mapping[str, Any]], names: Collection[str], *titles: str) -> None:
    """A line for each metric, a column for each checkpoint; classes are left to the report."""
    table = Table(box=rich.box.SIMPLE_HEAD, padding=(0, 2, 0, 0), show_edge=False)
    for title in ("metric", *(titles or names), "unit", "real", "generated", "by"):
        table.add_column(title, no_wrap=True)
    lines: dict[tuple, dict[str, list[float]]] = {}
    for row in rows:
        if row["metric"] == comparison.base_name(row["metric"]):
            line = lines.setdefault((row["metric"], row["unit"], *measured_by(row)), {})
            line.setdefault(row["checkpoint"], []).append(float(row["value"]))
    for (metric, *rest), values in lines.items():
        table.add_row(metric, *(mean_and_deviation(values.get(n, [])) for n in names), *rest)
    Console(width=max(CONSOLE.width, WIDTH), highlight=False).print(table)


def _progress() -> rich.progress.Progress:
    """A live bar on a terminal, and nothing elsewhere."""
    console = Console(stderr=True)
    return rich.progress.Progress(
        *rich.progress.Progress.get_default_columns(),
        rich.progress.TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def judge_of(experiment: Experiment, workdir: pathlib.Path) -> ClassifierExtractor | None:
    """The classifier that judges samples: an ordinary run beside this one, trained when missing."""
    judge = experiment.judge
    if judge is None:
        return None
    name = f"{judge.config['name']}-{config_hash(judge.config)[:8]}"
    folder = workdir.absolute().parent / name
    # A finished one stays what it is when the data set grows, as scores of before are of it.
    facts = from_first(lambda: read_facts(folder)) or judge.facts
    if not judge.without_data(facts).cadence.is_over(from_first(lambda: _steps(judge, folder))):
        with errors_within("evaluation.classifier"):
            CONSOLE.print("first comes the classifier that will judge samples, once for all runs")
            train(judge.config, folder, wait=True)
    params = _last_params(judge, folder) if is_first() else {}
    return ClassifierExtractor(judge.model, params, len(judge.class_names))


def _steps(experiment: Experiment, workdir: pathlib.Path) -> dict[str, int]:
    with checkpoints_of(experiment, workdir) as checkpoints:
        return checkpoints.steps()


def _any_data(inception: str) -> dict[str, Callable[[], Extractor]]:
    """The extractors that do not belong to a data set, by name."""
    return {
        "pixels": PixelExtractor,
        "inception": lambda: load_inception(inception),
        "inception_antialiased": lambda: load_inception(inception, "antialiased"),
    }


# --- compare -------------------------------------------------------------------------------------


def compare(
    real: pathlib.Path,
    fake: pathlib.Path,
    metrics: str,
    extractor: str,
    inception: str,
    classifier: str,
    out: pathlib.Path | None,
) -> None:
    """Scores the images, or features, `fake` beside `real`: folders, .npy or .npz files."""
    if out:
        if out.is_dir():
            raise UserError(f"--out: {out} is a folder; name a file, as {out / 'rows.jsonl'}")
        check_writable("--out", out.parent)
    sets = {"real": open_set(real), "fake": open_set(fake)}
    check_pair(*sets.values())
    images = sets["real"].is_images
    shape = sets["real"].shape
    make = {"classifier": lambda: _classifier_of(classifier, shape), **_any_data(inception)}
    default = "inception" if inception else "classifier" if classifier else "pixels"
    if not images and (extractor or inception or classifier):
        raise UserError(f"--extractor: {real} holds features, which nothing needs to extract")
    seen_through = (
        choose("--extractor", extractor or default, make)() if images else PixelExtractor("given")
    )
    few = comparison.few_features(seen_through, shape)
    given = {"power": images, "classes": seen_through.num_classes, "moments": few}
    given = [name for name, there in given.items() if there]
    smallest = min(map(len, sets.values()))
    possible = comparison.choose_from(comparison.THOROUGH, given, math.inf)
    for name in _names(metrics):
        choose("--metrics", name, dict.fromkeys(n for each in possible for n in each.names))
    comparisons = comparison.choose_from(possible, given, smallest, _names(metrics))
    if not comparisons:
        few_ = min(sets.values(), key=len)
        raise UserError(f"{few_.path}: holds {len(few_)}, too few for any metric; at least 2")
    planned = comparison.planned(comparisons, seen_through, *map(len, sets.values()))
    with _progress() as progress:
        seen = [
            comparison.see(
                progress.track(each.batches(), each.num_batches, description=name),
                seen_through,
                len(each),
                comparisons,
            )
            for name, each in sets.items()
        ]
    values = comparison.compare(comparisons, *seen)
    where = {"real": str(real), "fake": str(fake), "code_version": code_version()}
    rows = [
        {**dataclasses.asdict(score), "value": values[score.metric], **where} for score in planned
    ]
    if out:
        append_rows(out, rows)
    _print_scores([{**row, "checkpoint": "value"} for row in rows], ["value"])


def _classifier_of(workdir: str, image_shape: tuple[int, ...]) -> ClassifierExtractor:
    """The classifier of a run folder, for images of this shape."""
    if not workdir:
        raise UserError("--classifier: is missing; name the run folder of a classifier")
    with errors_within("--classifier"):
        loaded = _load(pathlib.Path(workdir), LabelReader, "compare")
    wanted = loaded.image_shape
    if wanted != image_shape:
        raise UserError(f"--classifier: {workdir} reads images of {wanted}, not of {image_shape}")
    return ClassifierExtractor(loaded.model, loaded.params, len(loaded.experiment.class_names))


# --- using a run ---------------------------------------------------------------------------------


def sample(
    workdir: pathlib.Path,
    num: int,
    labels: str,
    seed: int,
    truncation: float,
    out: pathlib.Path | None,
) -> None:
    """Draws `num` pictures from the last checkpoint: PNG files and a grid in `out`.

    `labels`: numbers or class names, comma-separated, used in turn; empty for every class in turn,
    which the grid shows class by class.
    """
    check_number("--num", num, COUNT)
    check_number("--seed", seed, SEED)
    check_number("--truncation", truncation, AMOUNT)
    loaded = _load(workdir, Sampler, "sample")
    names = loaded.experiment.class_names
    asked = _labels(loaded, labels, num)
    cut = f"_truncation_{truncation:g}" if truncation else ""
    folder = f"step_{loaded.step:08d}_seed_{seed}_num_{num}{_suffix(labels)}{cut}"
    out = out or workdir / "samples" / folder
    check_writable("--out", out)
    key = rng.key(seed, "sample")
    batches = draw(loaded.model, loaded.params, key, num, asked, truncation=truncation)
    in_grid = []
    for index, image in enumerate(itertools.chain.from_iterable(batches)):
        name = f"{index:05d}"
        if asked is not None:
            name += f"_{_file_name(names[asked[index]])}"
        grids.save_png(grids.to_uint8(image[None])[0], out / f"{name}.png")
        if index < MOST_IN_GRID:
            in_grid.append(image)
    images, each = np.stack(in_grid), len(in_grid) // max(loaded.model.num_classes, 1)
    if asked is None or labels or not each:
        picture = grids.grid(images)
    else:
        by_class = np.concatenate(
            [images[asked[: len(images)] == c][:each] for c in range(len(names))]
        )
        picture = grids.labelled_rows(by_class, names, each)
    grids.save_png(picture, out / "grid.png")
    CONSOLE.print(f"{num} samples and grid.png in {out}")


def reconstruct(workdir: pathlib.Path, num: int, split: str, out: pathlib.Path | None) -> None:
    """Writes originals of `split` above their reconstructions as one PNG file."""
    check_number("--num", num, COUNT)
    choose("--split", split, dict.fromkeys(factory.SPLITS))
    loaded = _load(workdir, Reconstructor, "reconstruct")
    experiment = Experiment(loaded.experiment.config)  # with its data set
    check_facts(workdir, experiment.facts)
    batch = _first_batch(experiment, split, num)
    out = out or workdir / "samples" / f"{split}_reconstructions_{loaded.step:08d}.png"
    _check_png(out)
    found = loaded.reconstruct(batch["image"], batch["label"] if loaded.model.num_classes else None)
    grids.save_png(grids.pairs(batch["image"], found), out)
    CONSOLE.print(f"{len(batch['image'])} originals above their reconstructions: {out}")


def interpolate(
    workdir: pathlib.Path, num: int, steps: int, labels: str, seed: int, out: pathlib.Path | None
) -> None:
    """Writes `num` rows of pictures on the way between two samples, `steps` to a row, as PNG."""
    check_number("--num", num, COUNT)
    check_number("--seed", seed, SEED)
    if steps < 2:
        raise UserError(f"--steps: {steps} is too few; at least 2, the two ends")
    loaded = _load(workdir, Sampler, "interpolate")
    name = f"interpolation_seed_{seed}{_suffix(labels)}_{loaded.step:08d}.png"
    out = out or workdir / "samples" / name
    _check_png(out)
    images = loaded.interpolate(num, steps, seed=seed, labels=_labels(loaded, labels, num))
    grids.save_png(grids.grid(images.reshape(num * steps, *images.shape[2:]), steps), out)
    CONSOLE.print(f"{num} interpolations of {steps} steps: {out}")


def report(workdir: pathlib.Path) -> None:
    """Writes report.html of the run folder."""
    from genjax.report.html import write_report

    read_config(workdir)
    check_writable("--workdir", workdir)
    CONSOLE.print(f"report: {write_report(workdir)}")


def _load(workdir: pathlib.Path, ability: type, command: str) -> Loaded:
    loaded = load(workdir)
    require(loaded.model, ability, command)
    return loaded


def _labels(loaded: Loaded, asked: str, num: int) -> np.ndarray | None:
    """`asked` as int32 [num], repeated in turn; every class in turn if empty."""
    names, num_classes = loaded.experiment.class_names, loaded.model.num_classes
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


def _last_params(experiment: Experiment, workdir: pathlib.Path) -> PyTree:
    """The inference parameters of the last checkpoint."""
    with checkpoints_of(experiment, workdir) as checkpoints:
        step = steps_of(checkpoints, workdir)["last"]
        return _restored(experiment, checkpoints, step)


def _check_png(path: pathlib.Path) -> None:
    if path.suffix.lower() != ".png":
        raise UserError(f"--out: {path} is no PNG file; try {path.with_suffix('.png')}")
    check_writable("--out", path.parent)


def _file_name(class_name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", class_name)


def _suffix(labels: str) -> str:
    """What tells the pictures of these labels from others; short enough for a file's name."""
    return f"_labels_{_file_name(labels)[:100]}" if labels else ""
