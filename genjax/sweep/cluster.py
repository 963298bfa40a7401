"""Trials as ordinary runs, placed by Ray Tune on the cores and devices of a machine or a cluster.

Whatever dies goes on: a trial's run from its last checkpoint, on any machine that shares the file
system; the sweep from its rows.
"""

import math
import os
import pathlib
import queue
import re
import socket
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax

from genjax import commands, factory
from genjax.errors import UserError
from genjax.evaluation.rows import read_rows
from genjax.factory import Experiment
from genjax.fields import field_at
from genjax.run_folder import config_hash, read_config
from genjax.sweep.results import PREFIX, Outcome, last_scores, trial_folder
from genjax.sweep.space import Sweep, Trial, trial

#: How often a trial is begun again whose worker died.
MAX_FAILURES = 3
#: Of the trials that reach a rung, ASHA lets one in so many go on.
REDUCTION = 3
#: A whole trial, as ASHA counts its course.
WHOLE = 1000
#: HOST:PORT of a cluster, or of Ray's client there; and how long it may take to answer.
PLACE = re.compile(r"(?:ray://)?(.+):(\d+)")
SECONDS = 10


def connect(sweep: Sweep) -> None:
    """Starts Ray: the cluster of RAY_ADDRESS, or one of this machine.

    Raises:
      UserError: Ray is not installed or can not be reached, or no node has what a trial takes.
    """
    # A reporter of usage would look for the network; Tune would print tables of its own.
    os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_AIR_NEW_OUTPUT="0")
    try:
        import ray
    except ImportError as error:
        raise UserError("--engine: 'ray' is not installed; pip install -e '.[sweep]'") from error
    address = os.environ.get("RAY_ADDRESS")
    if address and (place := PLACE.fullmatch(address)):
        try:  # Ray would try for minutes
            socket.create_connection((place[1].strip("[]"), int(place[2])), SECONDS).close()
        except OSError as error:
            raise UserError(f"RAY_ADDRESS: nothing answers at {address}: {error}") from error
    local = {} if address else {"include_dashboard": False}
    # JAX warns of every fork; what Ray forks becomes another program at once.
    warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", **local)
    except (ConnectionError, ValueError, RuntimeError) as error:
        if not address:
            raise
        raise UserError(
            f"RAY_ADDRESS: no Ray cluster at {address}, or one that asks for a token; if it does, "
            "set RAY_AUTH_MODE=token"
        ) from error
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for name, amount in sweep.resources.items():
        most = max(node.get(name.upper(), 0) for node in nodes)
        if amount > most:
            ray.shutdown()
            raise UserError(
                f"resources.{name}: a trial takes {amount:g}, and no node has more than {most:g}"
            )


def train(
    sweep: Sweep,
    experiment: Experiment,
    trials: Sequence[Trial],
    workdir: pathlib.Path,
    asked: Callable[[], bool],
) -> Iterator[Outcome]:
    """Trains trials, each in its run folder, from where it is; Ray has to be running.

    Args:
      sweep: its metric, its search and what a trial takes.
      experiment: of the config that is swept.
      trials: those that have no row yet; Optuna chooses its own.
      workdir: of the sweep.
      asked: whether to stop; then nothing more is yielded.

    Yields:
      Each trial that has ended, as it ends.
    """
    import ray
    from ray import tune

    # What goes to the workers is made of plain values.
    config, metric = dict(experiment.config), sweep.metric
    named = {each.name: each for each in trials}
    ended: queue.SimpleQueue[Outcome | Exception | None] = queue.SimpleQueue()

    def trial_of(parameters: Mapping[str, Any]) -> Trial:
        return named.get(parameters.get("trial")) or _named_by_hash(parameters, config)

    class Listener(tune.Callback):
        def __reduce__(self):  # Tune keeps a copy; that of no use hears nothing
            return tune.Callback, ()

        def on_trial_complete(self, iteration, trials, trial, **info):
            last, of = trial.last_result, trial_of(trial.config)
            # Its last report has a reason, though an empty one; ASHA ends a trial before that.
            reason = last.get("reason")
            state = "failed" if reason else "stopped" if reason is None else "finished"
            ended.put(Outcome(of, state, reason or ""))

        def on_trial_error(self, iteration, trials, trial, **info):
            reason = f"its worker died {MAX_FAILURES + 1} times"
            ended.put(Outcome(trial_of(trial.config), "failed", reason))

    def train_trial(parameters: Mapping[str, Any]) -> None:
        _train_trial(trial_of(parameters), workdir, metric, tune.report)

    takes = {name: amount for name, amount in sweep.resources.items() if amount}
    takes = {{"tpu": "TPU"}.get(name, name): amount for name, amount in takes.items()}
    space, search, num = {"trial": tune.grid_search([*named])}, None, 1
    if sweep.search == "optuna":
        space, num = {}, sweep.num_samples
        search, num = _optuna(sweep, experiment, workdir)
    tuner = tune.Tuner(
        tune.with_resources(train_trial, takes),
        param_space=space,
        tune_config=tune.TuneConfig(
            metric=sweep.metric,
            mode=sweep.mode,
            num_samples=num,
            search_alg=search,
            scheduler=_scheduler(sweep, experiment),
            reuse_actors=True,  # the next trial finds JAX started
        ),
        run_config=tune.RunConfig(
            storage_path=str(workdir.absolute() / "ray"),
            callbacks=[Listener()],
            failure_config=tune.FailureConfig(max_failures=MAX_FAILURES),
            verbose=0,
        ),
    )

    def fit() -> None:
        try:
            if num:
                tuner.fit()
            ended.put(None)
        except Exception as error:
            ended.put(error)

    threading.Thread(target=fit, daemon=True).start()
    try:
        while not asked():
            try:
                outcome = ended.get(timeout=0.2)
            except queue.Empty:
                continue
            if outcome is None:
                return
            if isinstance(outcome, Exception):  # a full disk, a cluster that is gone
                raise UserError(f"--engine: Ray Tune ended with {outcome!r}") from outcome
            yield outcome
    finally:
        ray.shutdown()


def _train_trial(
    trial: Trial, workdir: pathlib.Path, metric: str, report: Callable[[dict[str, Any]], None]
) -> None:
    """One trial, in a worker; reports the metric whenever it is known."""

    folder = trial_folder(workdir, trial)
    try:
        total = factory.build(trial.config).cadence.total_steps

        def listen(step: int, row: Mapping[str, Any]) -> None:
            # What it ends with comes last, with a reason: who is done is not behind.
            if PREFIX + metric in row and step < total:
                share = math.ceil(WHOLE * step / total)
                report({metric: float(row[PREFIX + metric]), "step": step, "share": share})

        # A worker whose sweep has died may still be at it for a moment.
        commands.train(trial.config, folder, wait=True, listen=listen)
        reason = ""
    except (UserError, jax.errors.JaxRuntimeError) as error:  # the latter of no memory, say
        reason = str(error).splitlines()[0]
    step, scores = last_scores(folder)
    found = {metric: scores.get(metric, math.nan), "step": step}
    report({**found, "share": WHOLE, "reason": reason})


def _scheduler(sweep: Sweep, experiment: Experiment) -> Any:
    if sweep.early_stopping == "none":
        return None
    from ray.tune.schedulers import ASHAScheduler

    cadence = experiment.cadence
    return ASHAScheduler(
        time_attr="share",  # of a trial's own steps: a smaller batch has more of them
        max_t=WHOLE + 1,  # one at its end is not stopped, it is finished
        grace_period=max(WHOLE * cadence.checkpoint_every // cadence.total_steps, 1),
        reduction_factor=REDUCTION,
    )


def _named_by_hash(parameters: Mapping[str, Any], config: Mapping[str, Any]) -> Trial:
    """The trial of parameters that a search chose: the same ones, the same folder."""
    return trial(config_hash(parameters)[:8], parameters, config)


def _optuna(sweep: Sweep, experiment: Experiment, workdir: pathlib.Path) -> tuple[Any, int]:
    """Optuna's search, told of all that has a row, and how many trials are left.

    First come those that were under way.
    """
    from ray.tune.search.optuna import OptunaSearch

    rows = read_rows(workdir / "sweep.jsonl")
    known = {row["trial"] for row in rows}
    begun = [
        {path: field_at(read_config(folder.parent), path) for path in sweep.space}
        for folder in sorted((workdir / "trials").glob("*/config.json"))
        if folder.parent.name not in known and not folder.parent.name.startswith("classifier-")
    ]
    search = OptunaSearch(
        space={path: _distribution(*spec) for path, spec in sweep.space.items()},
        metric=sweep.metric,
        mode=sweep.mode,
        points_to_evaluate=begun or None,
        # One that goes on must not draw again what it drew before.
        seed=experiment.config["seed"] + len(rows) + len(begun),
    )
    for row in rows:
        value = row["metrics"].get(sweep.metric)
        if row["state"] == "finished" and value is not None:
            search.add_evaluated_point(row["parameters"], float(value))
    return search, max(sweep.num_samples - len(rows), 0)


def _distribution(kind: str, values: Sequence[Any]) -> Any:
    from optuna import distributions

    if kind == "choice":
        return distributions.CategoricalDistribution(values)
    whole = all(isinstance(value, int) for value in values)
    make = distributions.IntDistribution if whole else distributions.FloatDistribution
    return make(*values, log=kind == "log_uniform")
