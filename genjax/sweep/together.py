"""Trials that differ only in numbers, trained together by one compiled program.

Learning rates, weights, decays and seeds are inputs of the program, which trains a stack of trials
side by side (`jax.vmap`), on each accelerator a stack of its own. On a CPU, where products of
stacked matrices were measured to be slower, a stack is one trial, and each core has its own.
"""

import contextlib
import dataclasses
import functools
import math
import os
import pathlib
import queue
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from genjax import rng
from genjax.compiling import compiler_options
from genjax.data.readers import prefetch
from genjax.errors import UserError
from genjax.evaluation.rows import Evaluator, scores_of
from genjax.factory import Experiment
from genjax.models.base import Metrics, TrainState
from genjax.nn.layers import AXIS
from genjax.run_folder import begin, check_facts
from genjax.sweep.results import Outcome
from genjax.sweep.space import Trial
from genjax.training import loop
from genjax.training.checkpoint import Checkpoints
from genjax.training.parallel import Devices, scanned
from genjax.training.writers import MetricsWriter
from genjax.types import Batch, PyTree

T = TypeVar("T")

#: The sections of a config whose numbers may be inputs of the program. Nothing but the training
#: step reads them, so that all trials are evaluated by one model.
SECTIONS = ("model.", "optimizer.")
#: The part of a device's free memory that a program may ask for.
MEMORY = 0.9


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
    """Trials that one program trains.

    Attributes:
      experiment: of the first of them.
      trials: all of them.
      inputs: the swept fields that are inputs of the program, by path.
    """

    experiment: Experiment
    trials: tuple[Trial, ...]
    inputs: tuple[str, ...]

    def of(self, trials: Sequence[Trial]) -> "Group":
        """The group with some of its trials only."""
        return dataclasses.replace(self, trials=tuple(trials))

    def init(self, values: Mapping[str, jax.Array]) -> TrainState:
        """A trial's state before its first step; `values` by the paths of `inputs`."""
        model, seed = self._model_and_seed(values)
        return model.init(rng.key(seed, "init"), self.experiment.first_batch())

    def steps(
        self, values: Mapping[str, jax.Array], state: TrainState, store: Batch, block: Batch
    ) -> tuple[TrainState, Metrics]:
        """A trial after a block of steps, and its metrics [steps, ...]."""
        model, seed = self._model_and_seed(values)
        run = scanned(model, self.experiment.reader.fetch, self.experiment.augment)
        return run(state, store, block, jax.random.key(seed))

    def _model_and_seed(self, values: Mapping[str, jax.Array]) -> tuple[Any, jax.Array | int]:
        numbers = {path: value for path, value in values.items() if path != "seed"}
        model = self.experiment.with_values(numbers).model
        return model, values.get("seed", self.experiment.config["seed"])

    def values(self, trials: Sequence[Trial]) -> dict[str, np.ndarray]:
        """The inputs of a stack of trials: [trial] by path."""
        return {
            path: np.array(
                [trial.parameters[path] for trial in trials],
                np.uint32 if path == "seed" else np.float32,
            )
            for path in self.inputs
        }

    def blocks(self, trials: Sequence[Trial], start: int) -> Iterator[Batch]:
        """The blocks of steps of a stack of trials, from step `start`: leaves [trial, steps, ...].

        Trials of one seed see the same examples, which are read once.
        """
        seeds = [trial.config["seed"] for trial in trials]
        different = list(dict.fromkeys(seeds))
        which = np.array([different.index(seed) for seed in seeds])
        cadence = self.experiment.cadence
        num = (cadence.total_steps - start) // cadence.steps_per_call
        readers = [self.experiment.with_values({"seed": seed}).reader for seed in different]
        blocks = [reader.blocks(start, num, cadence.steps_per_call) for reader in readers]
        for each in zip(*blocks, strict=True):
            yield {name: np.stack([block[name] for block in each])[which] for name in each[0]}

    def can_be_traced(self) -> bool:
        """Whether the program can be, with its inputs unknown."""
        values = {name: jnp.asarray(v[0]) for name, v in self.values(self.trials).items()}
        store = jax.tree.map(_shape_of, dict(self.experiment.reader.store))
        block = jax.tree.map(lambda leaf: leaf[0], next(self.blocks(self.trials[:1], 0)))
        try:
            state = jax.eval_shape(self.init, values)
            jax.eval_shape(_alone(self.steps, jax.local_devices()[0]), values, state, store, block)
        except (TypeError, UserError, jax.errors.JAXTypeError):
            # A shape, a count, a branch of Python, a duration: with numbers all were fine.
            return False
        return True


def groups(
    trials: Sequence[Trial], build: Callable[[Mapping[str, Any]], Experiment]
) -> list[Group]:
    """The trials in groups of one program each.

    Args:
      trials: all with the same fields.
      build: the experiment of a config; called once for each group.

    Raises:
      UserError: there are several trials, and no two of them can have one program; or a batch can
        not be cut into its chunks.
    """
    one = Devices("jit", tuple(jax.local_devices()[:1]))
    for trial in trials:
        fields = trial.config["training"]
        one.check_batch_size(fields["batch_size"], fields["accumulate"])
    first = Group(build(trials[0].config), tuple(trials), ())
    possible = [
        path
        for path, value in trials[0].parameters.items()
        if path == "seed" or (path.startswith(SECTIONS) and isinstance(value, int | float))
    ]
    with_inputs = lambda paths: dataclasses.replace(first, inputs=tuple(paths))
    if not with_inputs(possible).can_be_traced():
        possible = [path for path in possible if with_inputs([path]).can_be_traced()]
    members: dict[tuple, list[Trial]] = {}
    for trial in trials:
        shape = [repr(value) for path, value in trial.parameters.items() if path not in possible]
        members.setdefault(tuple(shape), []).append(trial)
    if len(members) == len(trials) > 1:
        field = next(path for path in trials[0].parameters if path not in possible)
        raise UserError(
            f"space.{field}: is no number that a compiled step can take, and no two trials have "
            "the same value; choose --engine=ray"
        )
    return [
        Group(build(each[0].config) if index else first.experiment, tuple(each), tuple(possible))
        for index, each in enumerate(members.values())
    ]


def _shape_of(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)


def _alone(function: Callable, device: jax.Device) -> Callable:
    """`function` on one device, which has the whole of each batch."""
    one = PartitionSpec()
    mesh = Mesh(np.array([device]), (AXIS,))
    return jax.shard_map(function, mesh=mesh, in_specs=one, out_specs=one, check_vma=False)


@dataclasses.dataclass(frozen=True, eq=False)
class Program:
    """A group's compiled step for stacks of `size` trials on one device."""

    group: Group
    size: int
    device: jax.Device

    def _stacked(self, function: Callable, *axes: int | None) -> Callable:
        """`function` of one trial, of a stack of them."""
        if self.size > 1:
            return jax.vmap(function, in_axes=axes)
        first = lambda tree, axis: tree if axis is None else jax.tree.map(lambda x: x[0], tree)
        return lambda *trees: jax.tree.map(
            lambda leaf: leaf[None], function(*map(first, trees, axes))
        )

    @functools.cached_property
    def init(self) -> Callable[[Mapping[str, jax.Array]], TrainState]:
        """The states of a stack before the first step, from its values."""
        return jax.jit(self._stacked(self.group.init, 0))

    @functools.cached_property
    def store(self) -> Batch:
        """The data set, on the device."""
        return self.place(dict(self.group.experiment.reader.store))

    @functools.cached_property
    def steps(self) -> Any:
        """Values, states, store and block to states and metrics; gives the states away."""
        step = jax.jit(
            _alone(self._stacked(self.group.steps, 0, 0, None, 0), self.device), donate_argnums=1
        )
        trials = self.group.trials[:1] * self.size
        values = self.place(self.group.values(trials))
        states = jax.tree.map(self.placed, jax.eval_shape(self.init, values))
        block = self.place(next(self.group.blocks(trials, 0)))
        lowered = step.lower(values, states, self.store, block)
        return lowered.compile(compiler_options(self.device.platform))

    @property
    def memory(self) -> int:
        """Bytes that the compiled step asks for."""
        found = self.steps.memory_analysis()
        asked = found.temp_size_in_bytes + found.argument_size_in_bytes
        return asked + found.output_size_in_bytes - found.alias_size_in_bytes

    def place(self, tree: PyTree) -> PyTree:
        """The tree on the device."""
        return jax.device_put(tree, self._sharding)

    @property
    def _sharding(self) -> NamedSharding:
        return NamedSharding(Mesh(np.array([self.device]), (AXIS,)), PartitionSpec())

    def placed(self, leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        """The shape of an array that lies on the device."""
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=self._sharding)


def train(
    group: Group,
    folder: Callable[[Trial], pathlib.Path],
    evaluators: Sequence[Evaluator],
    asked: Callable[[], bool],
    advance: Callable[[int], None],
) -> Iterator[Outcome]:
    """Trains all trials of a group, each into an ordinary run folder, from where they are.

    Args:
      group: the trials.
      folder: the run folder of each.
      evaluators: score each of them, when a checkpoint is due.
      asked: whether to stop; then all that are under way are saved, and are not yielded.
      advance: is told how many steps, of all trials together, were done.

    Yields:
      Each trial that has ended, as it ends.
    """
    devices, size = _lanes(len(group.trials))
    programs = _programs(group, size, devices)
    idle: queue.SimpleQueue[Program] = queue.SimpleQueue()
    for device in devices:
        idle.put(programs[device])
    size = programs[devices[0]].size

    over = threading.Event()
    stops = lambda: over.is_set() or asked()

    def train_stack(trials: Sequence[Trial]) -> list[Outcome]:
        if stops():
            return []
        program = idle.get()
        try:
            with contextlib.ExitStack() as opened:
                runs = [
                    opened.enter_context(_Run(each, folder(each), group.experiment, evaluators))
                    for each in trials
                ]
                # Those that stand at one step go on together.
                by_step: dict[int, list[_Run]] = {}
                for run in runs:
                    if not run.ended:
                        by_step.setdefault(max(run.steps, default=0), []).append(run)
                whole = all(
                    _train_stack(program, waiting, stops, advance) for waiting in by_step.values()
                )
            return [run.outcome for run in runs if whole or run.ended]
        except jax.errors.JaxRuntimeError as error:  # no memory, say
            return [Outcome(trial, "failed", str(error).splitlines()[0]) for trial in trials]
        finally:
            idle.put(program)

    stacks = [group.trials[at : at + size] for at in range(0, len(group.trials), size)]
    with ThreadPoolExecutor(len(devices)) as pool:
        try:
            for done in as_completed([pool.submit(train_stack, stack) for stack in stacks]):
                yield from done.result()
        finally:  # after an error of one, the others stop, and are saved
            over.set()


def _lanes(num_trials: int) -> tuple[list[jax.Device], int]:
    """The device of each stack that is trained at once, and how many trials make one."""
    devices = jax.local_devices()
    if devices[0].platform == "cpu":
        return devices[:1] * len(os.sched_getaffinity(0)), 1
    return devices, math.ceil(num_trials / len(devices))


def _programs(group: Group, size: int, devices: Sequence[jax.Device]) -> dict[jax.Device, Program]:
    """The program for each device, with stacks as large as `size` if they fit its memory."""
    while True:
        programs = {device: Program(group, size, device) for device in devices}
        fits = [program.memory <= _free(device) for device, program in programs.items()]
        if size == 1 or all(fits):
            return programs
        size = math.ceil(size / 2)


def _free(device: jax.Device) -> float:
    """Bytes that a program may ask for on this device."""
    known = device.memory_stats() or {}
    return MEMORY * (known.get("bytes_limit", math.inf) - known.get("bytes_in_use", 0))


def _train_stack(
    program: Program,
    runs: Sequence["_Run"],
    asked: Callable[[], bool],
    advance: Callable[[int], None],
) -> bool:
    """Trains a stack to the end; false if it was asked to stop before."""
    group, cadence = program.group, program.group.experiment.cadence
    # A smaller stack than the others is filled up, so that there is one program.
    trials = [run.trial for run in runs]
    trials += trials[-1:] * (program.size - len(trials))
    values = program.place(group.values(trials))
    states, step, waiting = _begin(program, values, runs)
    advance(step * len(runs))
    for block in prefetch(group.blocks(trials, step), program.place):
        states, metrics = program.steps(values, states, program.store, block)
        step += cadence.steps_per_call
        waiting.append(metrics)
        advance(cadence.steps_per_call * len(runs))
        stops = asked() and step < cadence.total_steps
        saves = cadence.is_due(step, cadence.checkpoint_every)
        if stops or cadence.is_due(step, cadence.log_every):
            columns = jax.device_get(waiting)
            rows = [_of(index, columns) for index in range(len(runs))]
        if cadence.is_due(step, cadence.log_every):
            for run, row in zip(runs, rows, strict=True):
                run.log(row, step)
            waiting, rows = [], [[]] * len(runs)
        if stops or saves:
            for index, run in enumerate(runs):
                state = _trial_of(states, index)
                run.score(state, step) if saves else run.hold(state, rows[index], step)
        if stops:
            return False
        if all(run.ended for run in runs):
            break
    return True


def _begin(
    program: Program, values: Mapping[str, jax.Array], runs: Sequence["_Run"]
) -> tuple[TrainState, int, list[Metrics]]:
    """The states, their step and the metrics that wait for a row: what is saved, or the start."""
    found = [run.steps for run in runs]
    step = max(set.intersection(*found), default=0)
    if not step:
        states, waiting = program.place(program.init(values)), []
    else:
        like = jax.tree.map(program.placed, program.group.experiment.state_shape)
        each, held = zip(*[run.at(step, like) for run in runs], strict=True)
        each, held = (found + found[-1:] * (program.size - len(runs)) for found in (each, held))
        states = program.place(_stacked(*each))
        waiting = [{name: np.stack([h[name] for h in held]) for name in held[0]}] * bool(held[0])
    for run in runs:
        run.begin(step)
    return states, step, waiting


def _of(index: int, columns: Sequence[Metrics]) -> list[Metrics]:
    """One trial's part of what a stack gave."""
    return [{name: values[index] for name, values in each.items()} for each in columns]


@functools.partial(jax.jit, static_argnums=1)
def _trial_of(states: TrainState, index: int) -> TrainState:
    return jax.tree.map(lambda leaf: leaf[index], states)


@jax.jit
def _stacked(*states: TrainState) -> TrainState:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)


#: Orbax counts its operations for all threads together, so one thread does them all.
_ORBAX = ThreadPoolExecutor(1)


class _Run(contextlib.ExitStack):
    """The run folder of a trial while it is trained.

    Attributes:
      ended: whether it is left as it is.
      steps: those at which it was saved whole when it was opened; none if it had ended.
      failure: why it failed, if it did.
    """

    def __init__(
        self, trial: Trial, workdir: pathlib.Path, experiment: Experiment, evaluators: Sequence
    ):
        super().__init__()
        self.trial, self.failure = trial, ""
        self._workdir, self._experiment, self._evaluators = workdir, experiment, evaluators
        self._saved = self._checkpoints(self._look)
        self.ended, self.steps = self._saved.result()
        self.callback(lambda: self._saved.result())

    def _checkpoints(self, work: Callable[[Checkpoints], T]) -> Future[T]:
        """`work` with the run's checkpoints; what it writes is on the disk when it is done."""

        def do() -> T:
            with Checkpoints(self._workdir, **self._experiment.config["checkpoint"]) as opened:
                return work(opened)

        return _ORBAX.submit(do)

    def _look(self, opened: Checkpoints) -> tuple[bool, set[int]]:
        """Whether the run is over, and else the steps at which it is saved whole."""
        if self._is_over(opened):
            return True, set()
        opened.restore_newest(self._experiment.state_shape, warnings.warn)
        return False, set(opened.all_steps())

    def _is_over(self, opened: Checkpoints) -> bool:
        return self._experiment.cadence.is_over(opened.steps())

    @property
    def outcome(self) -> Outcome:
        """How the trial ended."""
        return Outcome(self.trial, "failed" if self.failure else "finished", self.failure)

    def at(self, step: int, like: TrainState) -> tuple[TrainState, Metrics]:
        """The state at a step, placed as `like` is, and the metrics that wait for their row."""
        read = lambda opened: (opened.restore(step, like), opened.held(step))
        return self._checkpoints(read).result()

    def begin(self, step: int) -> None:
        """Goes on from `step`, whatever there is behind it."""
        if any(each > step for each in self.steps):
            self._checkpoints(lambda opened: opened.forget_after(step)).result()
        check_facts(self._workdir, self._experiment.facts, counted=True)
        begin(self._workdir, self.trial.config, self._experiment.facts)
        self._writer = self.enter_context(MetricsWriter(self._workdir, step or -1))

    def log(self, waiting: list[Metrics], step: int) -> None:
        """Writes the row of the steps that waited."""
        with self._unless_it_fails() as goes_on:
            if goes_on:
                means = loop.means_of(loop.read(waiting, step))
                self._writer.write(step, {f"train/{k}": value for k, value in means.items()})

    def score(self, state: TrainState, step: int) -> None:
        """Scores and saves."""
        with self._unless_it_fails() as goes_on:
            if goes_on:
                model, key = self._experiment.model, rng.key(step, "evaluate")
                params = model.inference_params(state)
                scores = scores_of(self._evaluators, model, params, key)
                loop.check_scores(scores, step)
                if scores:
                    self._writer.write(step, {f"validation/{k}": v for k, v in scores.items()})
                self._save(state, scores)

    def hold(self, state: TrainState, waiting: list[Metrics], step: int) -> None:
        """Saves between the beats."""
        with self._unless_it_fails() as goes_on:
            if goes_on:
                self._save(state, {}, held=loop.read(waiting, step) if waiting else {})

    def _save(self, state: TrainState, scores: Mapping[str, float], **held: Any) -> None:
        """Begins to save, when what was saved before is on the disk."""

        def save(opened: Checkpoints) -> bool:
            opened.save(state, scores, **held)
            return self._is_over(opened)

        self._writer.flush()
        self._saved.result()
        self._saved = self._checkpoints(save)
        if self._experiment.cadence.patience:
            self.ended = self._saved.result()

    @contextlib.contextmanager
    def _unless_it_fails(self) -> Iterator[bool]:
        """Whether the trial goes on; a number within that is none ends it."""
        try:
            yield not self.ended
        except loop.NotFiniteError as error:
            self.ended = True
            self.failure = f"step {error.step}: {error.name} is {error.value}"
