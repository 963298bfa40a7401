"""What scripts that set a paper's table beside our runs share: runs, published values, files."""

import csv
import dataclasses
import functools
import importlib
import io
import math
import os
import pathlib
import re
import statistics
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import matplotlib
from absl import flags
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from experiments import command_line
from experiments.command_line import FLAGS, ROOT, LaunchError, launch
from genjax import factory
from genjax.data.tfds_images import is_prepared, tfds_images
from genjax.errors import UserError, choose
from genjax.evaluation.rows import read_rows
from genjax.factory import Experiment
from genjax.files import replacing
from genjax.run_folder import check_writable, claim, config_hash, read_config
from genjax.training.checkpoint import Checkpoints, DamagedError

TIMED_BLOCKS = 3
#: Data sets that come with the project; all others are of TensorFlow Datasets.
EMBEDDED = ("mnist_sample", "shapes")
#: Flags that name a file or a folder; launch.py and this process have to mean the same.
PATHS = {"runs", "results", "data_dir", "manual_dir", "inception", "omniglot"}

Record = Mapping[str, Any]

flags.DEFINE_list("rows", [], "Rows that are run, or the beginnings of rows.")
flags.DEFINE_integer("seeds", 3, "Runs of each row.", lower_bound=1)
flags.DEFINE_string("runs", "", "Where run folders are; empty: runs/ and the script's name.")
flags.DEFINE_string("results", str(ROOT / "results"), "Where the table goes.")
flags.DEFINE_string("data_dir", "", "Where data sets are prepared.")
flags.DEFINE_string("manual_dir", "", "Where downloaded archives are.")
flags.DEFINE_boolean("dry_run", False, "Prints what there is to do.")


class Published(NamedTuple):
    """A number as a paper prints it, with its standard deviation over runs; 0 where it has none."""

    value: float
    deviation: float = 0.0


R = TypeVar("R", bound="Row")


# --- the command line ----------------------------------------------------------------------------


def main(argv: Sequence[str], doc: str, plan: Callable[[], None], run: Callable[[], None]) -> int:
    """Calls `run`, or with --dry_run `plan`; 0, 2 after an error, 75 if asked to stop."""

    def body() -> None:
        for name in PATHS & set(FLAGS):
            FLAGS[name].value = os.path.expanduser(FLAGS[name].value)
        if not FLAGS.runs:
            FLAGS.runs = f"runs/{pathlib.Path(argv[0]).stem}"
        check_writable("--runs", pathlib.Path(FLAGS.runs))
        check_writable("--results", pathlib.Path(FLAGS.results))
        if not FLAGS.dry_run:  # the accelerator is for launch.py, which takes all its memory
            jax.config.update("jax_platforms", "cpu")
        (plan if FLAGS.dry_run else run)()

    return command_line.main(argv, doc, body)


def asked(rows: Sequence[R]) -> list[R]:
    """Those that --rows names, or whose names begin with these parts; all without it.

    Raises:
      UserError: no row has such a name.
    """
    by_name: dict[str, list[R]] = {}
    for row in rows:
        parts = row.name.split("/")
        for end in range(1, len(parts) + 1):
            by_name.setdefault("/".join(parts[:end]), []).append(row)
    found = [row for name in FLAGS.rows for row in choose("--rows", name, by_name)] or rows
    return list({row.name: row for row in found}.values())


def print_plan(rows: Sequence[R], score: Callable[[R, "Run"], str]) -> None:
    """What there is to do of the rows that were asked for, and how long it takes here.

    Args:
      rows: of the table.
      score: of a row's run, in words; empty if it is not scored yet.

    Raises:
      UserError: a folder is of another config.
    """
    for row in rows:
        row.found()
    total = 0.0
    for row in asked(rows):
        if lacking := row.lacks():
            print(f"{row.name}: {lacking}; its hours are not counted")
            continue
        runs, seconds = row.runs(), None
        ended = [run.epochs for run in runs if run.is_trained]
        most = runs[0].experiment.cadence.total_steps / steps_per_epoch(runs[0].experiment)
        epochs = statistics.fmean(ended) if ended else most
        for run in runs:
            where = f"{row.name}, {run.workdir.name}"
            if (scored := score(row, run)) and not run.is_under_way:
                print(f"{where}: done, {scored}")
            elif run.is_trained:
                print(f"{where}: trained, to be scored")
            else:
                seconds = seconds or seconds_per_epoch(run.experiment)
                hours = max(epochs - run.epochs, 0) * seconds / 3600
                total += hours
                told = "as many as those that ended" if ended else f"at most {most:,.0f} epochs"
                print(
                    f"{where}: {run.epochs:.0f} epochs are done; {seconds:.1f} s an epoch here, "
                    f"{hours:.1f} hours to {epochs:.0f} ({told})"
                )
    print(f"{total:.1f} hours, one run after the other")


def fill(
    rows: Sequence[R],
    is_scored: Callable[[R, "Run"], bool],
    score: Callable[[R, "Run"], None],
    write: Callable[[], None],
) -> None:
    """Scores the runs that were asked for and are not, seed by seed: one of each row comes first.

    A run that fails keeps no other from being run.

    Args:
      rows: of the table; those that were not asked for, or lack something here, are not run.
      is_scored: whether a row's run has all its values.
      score: trains and measures a row's run.
      write: the table of all runs that are there until now.

    Raises:
      UserError: no row can be run, and none was.
      LaunchError: that of the first run that failed, at the end.
    """
    failed = []
    there = [row for row in asked(rows) if not row.lacks(prepare=True)]
    has_any = lambda: any(is_scored(row, run) for row in rows for run in row.found())
    for seed in range(FLAGS.seeds):
        for row in there:
            run = row.runs()[seed]
            if is_scored(row, run) and not run.is_under_way:
                continue
            if has_any():  # what follows may take a day
                write()
            try:
                score(row, run)
            except LaunchError as error:
                print(f"warning: {run.workdir} is left as it is", file=sys.stderr)
                failed.append(error)
    if has_any():
        write()
    if failed:
        raise failed[0]
    if not has_any():  # a table of nothing would take the place of one that was there
        needs = "; ".join(dict.fromkeys(row.lacks() for row in asked(rows)))
        raise UserError(f"--rows: nothing to be run here: {needs}")


def missing(row: R) -> str:
    """What its table says of a row without a score."""
    is_run = any(run.has_checkpoints or run.rows("last") for run in row.found())
    return row.lacks() or ("not scored so yet" if is_run else "not run yet")


# --- runs ----------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Run:
    """A run of a shipped config, trained here or somewhere else.

    Attributes:
      workdir: its folder.
      config: as "hvae:fashion_mnist".
      fields: what differs from the config, by dotted path.
    """

    workdir: pathlib.Path
    config: str
    fields: Mapping[str, str | float]

    def train(self) -> None:
        """To the end; what is done is not done again."""
        name, _, dataset = self.config.partition(":")
        flags = [f"--config.{path}={value}" for path, value in self.fields.items()]
        launch(
            "train",
            f"--config={ROOT / 'configs' / name}.py:{dataset}",
            f"--workdir={self.workdir}",
            *flags,
        )
        for name in ("_steps", "config_hash"):  # there are others now
            vars(self).pop(name, None)

    def evaluate(self, *flags: str) -> None:
        """Adds rows to its evals.jsonl."""
        launch("evaluate", f"--workdir={self.workdir}", *flags)

    def rows(self, checkpoint: str, **wanted: Any) -> list[dict[str, Any]]:
        """Those of evals.jsonl of the test split and this checkpoint, as it is now, with seed 0."""
        wanted |= {"checkpoint": checkpoint, "split": "test", "seed": 0}
        wanted["config_hash"] = self.config_hash
        if step := self._steps.get(checkpoint):
            wanted["step"] = step
        rows = read_rows(self.workdir / "evals.jsonl")
        return [row for row in rows if wanted.items() <= row.items()]

    @functools.cached_property
    def whole_config(self) -> dict[str, Any]:
        """The shipped config, with the fields that differ."""
        name, _, dataset = self.config.partition(":")
        config = importlib.import_module(f"configs.{name}").get_config(dataset)
        for path, value in self.fields.items():
            config.update_from_flattened_dict({path: value})
        return config.to_dict()

    @functools.cached_property
    def experiment(self) -> Experiment:
        """What its config describes."""
        return factory.build(self.whole_config)

    def check(self) -> None:
        """Raises a UserError if its folder is of another config, but for where images are, or of
        nobody knows which.
        """
        claim(self.workdir, self._config, "--runs")

    @functools.cached_property
    def config_hash(self) -> str:
        """As its rows have it."""
        return config_hash(self._config)

    @property
    def _config(self) -> dict[str, Any]:
        """`whole_config`, with Omniglot's file where that of its folder has it."""
        is_described = (self.workdir / "config.json").is_file()
        there = read_config(self.workdir).get("data") if is_described else None
        here = self.whole_config["data"]
        is_placed = isinstance(there, Mapping) and "path" in there
        place = {"path": there["path"]} if is_placed else {}
        return {**self.whole_config, "data": {**here, **place}}

    @property
    def epochs(self) -> float:
        """Those behind its last checkpoint."""
        return self._steps.get("last", 0) / steps_per_epoch(self.experiment)

    @property
    def has_checkpoints(self) -> bool:
        """Whether there is a model; a folder with scores alone has none."""
        return bool(self._steps)

    @property
    def is_trained(self) -> bool:
        """Whether there is nothing left to train."""
        return self.has_checkpoints and not self.is_under_way

    @property
    def is_under_way(self) -> bool:
        """Whether there are checkpoints, and more to train."""
        return self.has_checkpoints and not self.experiment.cadence.is_over(self._steps)

    @functools.cached_property  # a table asks for each of its cells
    def _steps(self) -> dict[str, int]:
        if not self.workdir.is_dir():
            return {}
        kept = self.whole_config["checkpoint"]
        try:
            with Checkpoints(self.workdir, **kept, read_only=True) as checkpoints:
                return checkpoints.steps()
        except DamagedError as error:
            warn(f"{error}; it is left out")
            names = [path.name for path in error.path.parent.iterdir() if path != error.path]
            steps = [int(name) for name in names if name.isdecimal()]
            return {"last": max(steps)} if steps else {}


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of a table: a shipped config's runs on a data set.

    Attributes:
      name: data set and model, between slashes, as --rows has it.
      title: its name in the table.
      config: the shipped config.
      fields: what differs from it, by dotted path.
    """

    name: str
    title: str
    config: str
    fields: Mapping[str, str | float]

    @property
    def dataset(self) -> str:
        """As configs name it."""
        return self.name.partition("/")[0]

    def lacks(self, prepare: bool = False) -> str:
        """What it needs and has not got here; empty if nothing. As `lacks_images`."""
        del prepare
        return ""

    def places(self) -> dict[str, str]:
        """The fields that say where its images are."""
        tfds = {"data.data_dir": FLAGS.data_dir, "data.manual_dir": FLAGS.manual_dir}
        return {} if self.dataset in EMBEDDED else tfds

    def runs(self) -> list[Run]:
        """Those that were asked for."""
        return list(map(self._run, range(FLAGS.seeds)))

    def found(self) -> list[Run]:
        """Those that have a folder and are not under way, as far as that can be told here.

        Raises:
          UserError: a folder is of another config.
        """
        folders = pathlib.Path(FLAGS.runs).glob(f"{self._folder}-*")
        ends = [each.name.removeprefix(f"{self._folder}-") for each in folders]
        seeds = sorted(int(end) for end in ends if re.fullmatch("0|[1-9][0-9]*", end))
        runs = list(map(self._run, seeds))
        for run in runs:
            run.check()
        # How long it is to be trained is said in epochs, of images that may not be here.
        return [run for run in runs if self.lacks() or not run.is_under_way]

    @property
    def _folder(self) -> str:
        return self.name.replace("/", "-")

    def _run(self, seed: int) -> Run:
        workdir = pathlib.Path(FLAGS.runs) / f"{self._folder}-{seed}"
        fields = {**self.places(), **self.fields, "seed": seed}
        return Run(workdir, f"{self.config}:{self.dataset}", fields)


@functools.cache  # once for all who look
def warn(text: str) -> None:
    """Says so beside what is printed."""
    print(f"warning: {text}", file=sys.stderr)


def steps_per_epoch(experiment: Experiment) -> float:
    """How many steps see as many images as there are."""
    return len(experiment.sources["train"]) / experiment.images_per_step


def seconds_per_epoch(experiment: Experiment) -> float:
    """Of training here and now, without evaluation."""
    state, run = experiment.init_state(), experiment.run_block()
    blocks, times = experiment.blocks(0), []
    for _ in range(1 + TIMED_BLOCKS):
        start = time.monotonic()
        state, metrics = run(state, next(blocks))
        jax.block_until_ready(metrics)
        times.append(time.monotonic() - start)
    per_step = statistics.median(times[1:]) / experiment.cadence.steps_per_call
    return per_step * steps_per_epoch(experiment)


@functools.cache
def lacks_images(dataset: str, prepare: bool) -> str:
    """What a data set needs and has not got here; empty if it can be read.

    With `prepare` one that is not prepared is, from --manual_dir or the Internet.
    """
    places = {"data_dir": FLAGS.data_dir, "manual_dir": FLAGS.manual_dir}
    try:
        if dataset in EMBEDDED or is_prepared(dataset, FLAGS.data_dir):
            return ""
    except UserError as error:  # what is there is damaged
        return str(error)
    if prepare:
        try:
            tfds_images(split="train", dataset=dataset, image_size=32, channels=1, **places)
        except UserError as error:
            print(f"warning: {error}", file=sys.stderr)
        else:
            lacks_images.cache_clear()  # others were told that it is not there
            return ""
    return f"needs {dataset} in --data_dir, its archives in --manual_dir, or the Internet"


@functools.cache
def backend() -> str:
    """What JAX runs on in launch.py; this process keeps off it."""
    command = [sys.executable, "-c", "import jax; print(jax.default_backend())"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1]


# --- values --------------------------------------------------------------------------------------


def mean_and_deviation(values: Sequence[float], digits: int = 2) -> str:
    """As `228.70 ± 0.15`, the deviation that of a sample; of one value the value alone."""
    if not values:
        return ""
    mean = f"{statistics.fmean(values):.{digits}f}"
    return f"{mean} ± {deviation(values):.{digits}f}" if len(values) > 1 else mean


def deviation(values: Sequence[float]) -> float:
    """The standard deviation of a sample; NaN of values that are not all finite."""
    return statistics.stdev(values) if all(map(math.isfinite, values)) else math.nan


def difference(values: Sequence[float], published: Published) -> tuple[float, ...]:
    """Our mean less the published one; the same in published deviations, where there are any."""
    found = statistics.fmean(values) - published.value
    return (found, found / published.deviation) if published.deviation else (found,)


# --- files ---------------------------------------------------------------------------------------


def write(
    path: pathlib.Path,
    caption: str,
    lines: Sequence[Sequence[str]],
    records: Sequence[Record],
) -> None:
    """The table as `path`.md and .tex, its header the first of `lines`; its records as .csv."""
    rows = io.StringIO()
    writer = csv.DictWriter(rows, list(records[0]))
    writer.writeheader()
    writer.writerows(records)
    texts = {
        ".md": f"{caption}\n\n{markdown(lines)}\n",
        ".tex": latex(caption, lines),
        ".csv": rows.getvalue(),
    }
    for suffix, text in texts.items():
        with replacing(path.with_suffix(suffix)) as file:
            file.write_text(text, encoding="utf-8", newline="")


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """A table whose header is the first line."""
    header, *rest = lines
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, ["---"] * len(header), *rest))


def latex(caption: str, lines: Sequence[Sequence[str]]) -> str:
    """A table of the package booktabs."""
    header, *rest = [" & ".join(map(_escaped, line)) + r" \\" for line in lines]
    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{_escaped(caption)}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(lines[0]) - 1)}}}",
            r"\toprule",
            header,
            r"\midrule",
            *rest,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _escaped(text: str) -> str:
    text = re.sub(r"([&%$#_{}])", r"\\\1", text.replace("`", ""))
    return text.replace("±", r"$\pm$")


def spread(values: Sequence[float]) -> Published | None:
    """Mean and standard deviation of ours, as a published number is given."""
    if not values:
        return None
    return Published(statistics.fmean(values), deviation(values) if len(values) > 1 else 0)


def panels_figure(
    path: pathlib.Path,
    rows: Sequence[str],
    panels: Mapping[str, Mapping[str, Sequence[Published | None]]],
) -> None:
    """A panel for each metric, in it a mark for each row of each series, as `path`.png and .svg.

    Args:
      path: without a suffix.
      rows: their titles, from above.
      panels: by the metric's title the series by name, each a value or None for each row.
    """
    panes = max(1.9 * len(panels), min(4.0 * len(panels), 5.2))  # few have room for longer numbers
    width, height = 2.4 + panes, 1.2 + 0.5 * len(rows)
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    handles = {}
    for axes, (title, series) in zip(
        figure.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels.items(), strict=True
    ):
        drawn = {name: points for name, points in series.items() if any(points)}
        for index, (name, points) in enumerate(drawn.items()):
            there = [(row, point) for row, point in enumerate(points) if point]
            offset = 0.24 * (index - (len(drawn) - 1) / 2)
            handles[name] = axes.errorbar(
                [point.value for _, point in there], [row + offset for row, _ in there],
                xerr=[point.deviation for _, point in there], capsize=3, linestyle="none",
                markersize=6, **MARKS[name],
            )  # fmt: skip
        axes.set_xlabel(textwrap.fill(title, 20))  # as wide as a panel
        axes.locator_params(axis="x", nbins=5)  # no more labels than there is room for
        axes.grid(axis="x", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    first = figure.axes[0]
    first.set_yticks(range(len(rows)), rows)
    first.set_ylim(len(rows) - 0.5, -0.5)
    legend = {"loc": "outside upper right", "ncols": len(handles), "frameon": False}
    figure.legend(handles.values(), handles.keys(), **legend)
    save_figure(figure, path)


def save_figure(figure: Figure, path: pathlib.Path) -> None:
    """`path`.png and .svg; the same values give the same files."""
    kinds = {"png": {"dpi": 150}, "svg": {"metadata": {"Date": None}}}
    with matplotlib.rc_context({"svg.hashsalt": path.name}):
        for kind, options in kinds.items():
            with replacing(path.with_suffix(f".{kind}")) as file:
                figure.savefig(file, format=kind, **options)


#: How a series is drawn.
MARKS = {
    "published": {"fmt": "o", "color": "0.55", "markerfacecolor": "white"},
    "genjax": {"fmt": "s", "color": "C0"},
    "best": {"fmt": "s", "color": "C0"},
    "last": {"fmt": "D", "color": "C1"},
}
