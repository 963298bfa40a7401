"""The command `sweep` of launch.py."""

import json
import pathlib
import pprint
import shlex
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from genjax import commands, factory
from genjax.commands import CONSOLE
from genjax.errors import UserError, choose, did_you_mean
from genjax.evaluation.rows import append_rows, read_rows
from genjax.factory import Experiment
from genjax.files import replacing
from genjax.run_folder import (
    check_free,
    check_writable,
    in_todays_form,
    locked,
    read_object,
    without_places,
    write_json,
)
from genjax.sweep import cluster, together
from genjax.sweep.results import Outcome, importances, row_of, settings, trial_folder
from genjax.sweep.space import Sweep, Trial, parse
from genjax.training.stopping import StopRequest
from genjax.training.writers import Progress

ENGINES = ("vmap", "ray")


def sweep(
    workdir: pathlib.Path,
    config: Mapping[str, Any] | None,
    sweep: Mapping[str, Any] | None,
    engine: str,
) -> None:
    """Trains all trials of a sweep that are not done yet, and reports.

    Without `config` and `sweep`, those of the sweep folder `workdir`. Raises `Stopped` when it is
    asked to stop, with all that was done on the disk.
    """
    choose("--engine", engine, dict.fromkeys(ENGINES))
    if config is None:
        asked = _read(workdir)
    else:
        asked = _plain({"config": commands.absolute(config), "sweep": sweep})
    swept = parse(asked["sweep"], asked["config"])
    if config is not None:
        _claim(workdir, asked)
    experiment = factory.build(asked["config"])
    choose("metric", swept.metric, dict.fromkeys(experiment.metrics()))
    trials = swept.trials(asked["config"])
    if engine == "vmap":
        for field, wanted in (("search", "random"), ("early_stopping", "none")):
            if getattr(swept, field) != wanted:
                raise UserError(f"{field}: {getattr(swept, field)!r} needs --engine=ray")
        groups = together.groups(trials, factory.build)
    else:
        cluster.connect(swept)  # before StopRequest: Ray, too, takes the signals for itself
    with StopRequest() as stop, locked(workdir, wait=False), stop.polled():
        write_json(workdir / "sweep.json", asked)
        done = {row["trial"] for row in read_rows(workdir / "sweep.jsonl")}
        waiting = [trial for trial in trials if trial.name not in done]
        heard = lambda: bool(stop.asked)
        if engine == "vmap":
            outcomes = _together(groups, waiting, workdir, heard)
        else:
            commands.judge_of(experiment, workdir / "trials" / "any")
            outcomes = cluster.train(swept, experiment, waiting, workdir, heard)
        for outcome in outcomes if waiting or swept.search == "optuna" else ():
            append_rows(workdir / "sweep.jsonl", [row_of(outcome, workdir)])
        if not stop.asked:
            _report(workdir, swept, asked["config"])


def _together(
    groups: list[together.Group],
    waiting: list[Trial],
    workdir: pathlib.Path,
    asked: Callable[[], bool],
) -> Iterator[Outcome]:
    """Trains those that wait, a group after the other."""
    names = {trial.name for trial in waiting}
    CONSOLE.print(
        f"training {len(waiting)} trials, {len(groups)} "
        f"{'program' if len(groups) == 1 else 'programs'}, in {workdir}"
    )
    for group in groups:
        rest = tuple(trial for trial in group.trials if trial.name in names)
        if not rest or asked():
            continue
        group = group.of(rest)
        judge = commands.judge_of(group.experiment, workdir / "trials" / "any")
        evaluators = group.experiment.evaluators("validation", [judge] if judge else [])
        folder = lambda trial: trial_folder(workdir, trial)
        with _Counter(group.experiment, len(rest)) as counter:
            yield from together.train(group, folder, evaluators, asked, counter.advance)


class _Counter(Progress):
    """One live line for the steps of all trials, which threads report."""

    def __init__(self, experiment: Experiment, num_trials: int):
        super().__init__(experiment.cadence.total_steps * num_trials)
        self._images, self._begin = experiment.images_per_step, time.monotonic()
        self._done, self._lock = 0, threading.Lock()

    def advance(self, steps: int) -> None:
        with self._lock:
            self._done += steps
            speed = self._done * self._images / (time.monotonic() - self._begin)
            self.update(self._done, {}, speed)


def _read(workdir: pathlib.Path) -> dict[str, Any]:
    """What sweep.json of a sweep folder holds."""
    path = workdir / "sweep.json"
    if not path.is_file():
        folders = [str(found.parent) for found in workdir.parent.glob("*/sweep.json")]
        raise UserError(f"--workdir: {workdir} is no sweep{did_you_mean(str(workdir), folders)}")
    asked = read_object(path)
    if not all(isinstance(asked.get(part), Mapping) for part in ("config", "sweep")):
        raise UserError(f"{path}: describes no sweep; it has no config and sweep")
    return {**asked, "config": in_todays_form(asked["config"])}


def _plain(asked: Mapping[str, Any]) -> dict[str, Any]:
    """As it is read again, NumPy's numbers as Python's."""

    def plain(value: Any) -> Any:
        if isinstance(value, np.generic | np.ndarray):
            return value.tolist()
        raise UserError(f"--sweep: get_sweep() gives {value!r}, which is no number, text or list")

    return json.loads(json.dumps(asked, default=plain))


def _claim(workdir: pathlib.Path, asked: Mapping[str, Any]) -> None:
    """Raises a UserError unless `workdir` is free or belongs to this sweep, or a smaller one."""
    claimed = lambda of: (without_places(of["config"]), {**of["sweep"], "num_samples": ...})
    if not (workdir / "sweep.json").is_file():
        check_free(workdir, "sweep")
    elif claimed(there := _read(workdir)) != claimed(asked):
        raise UserError(
            f"--workdir: {workdir} belongs to another sweep; go on with that by --resume, or "
            "choose another --workdir"
        )
    elif asked["sweep"]["num_samples"] < (least := there["sweep"]["num_samples"]):
        raise UserError(
            f"num_samples: {asked['sweep']['num_samples']}, and the sweep in {workdir} has "
            f"{least}; choose at least {least}, or another --workdir"
        )
    check_writable("--workdir", workdir)


BEST = '''"""The best setting of a sweep by {metric}: {value}.

python launch.py train --config={path} --workdir=RUN
"""

from ml_collections import ConfigDict

CONFIG = {config}


def get_config() -> ConfigDict:
    return ConfigDict(CONFIG)
'''


def _report(workdir: pathlib.Path, swept: Sweep, config: Mapping[str, Any]) -> None:
    """Prints the settings, best first, and writes best.py and sweep.html."""
    from genjax.report.sweep import write_sweep_report  # Matplotlib: training does not wait for it

    rows = read_rows(workdir / "sweep.jsonl")
    found = settings(rows, swept)
    for row in rows:
        if row["state"] == "failed":
            CONSOLE.print(f"{row['trial']} failed: {row['reason']}", style="yellow")
    if found:
        parameters, values = found[0]
        path = workdir / "best.py"
        typed = shlex.quote(str(path))
        best = factory.Section(config).with_values(parameters)
        text = BEST.format(
            metric=swept.metric,
            value=f"{np.mean(values):.4g}",
            path=typed,
            config=pprint.pformat(json.loads(json.dumps(best)), width=96, sort_dicts=False),
        )
        with replacing(path) as file:
            file.write_text(text, encoding="utf-8")
        told = ", ".join(f"{name} = {value}" for name, value in parameters.items())
        CONSOLE.print(f"best of {len(rows)}: {swept.metric} {np.mean(values):.4g} by {told}")
        CONSOLE.print(f"to train it: python launch.py train --config={typed} --workdir=RUN")
    finished = [row for row in rows if row["state"] == "finished"]
    importance = importances(finished, swept.metric)
    name = config["name"]
    path = write_sweep_report(workdir, name, rows, found, importance, swept.metric, swept.mode)
    CONSOLE.print(f"report: {path}")
