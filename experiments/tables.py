"""What scripts that set a paper's table beside our runs share: runs, published values, files."""

import csv
import dataclasses
import functools
import importlib
import pathlib
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import tensorflow_datasets as tfds
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from genjax import factory
from genjax.evaluation.rows import read_rows
from genjax.factory import Experiment
from genjax.loaded import checkpoints_of
from genjax.training.stopping import TEMPORARY_FAILURE, Stopped

ROOT = pathlib.Path(__file__).resolve().parent.parent
TIMED_BLOCKS = 3

Record = Mapping[str, Any]


class Published(NamedTuple):
    """A number as a paper prints it, with its standard deviation over runs."""

    value: float
    deviation: float


class LaunchError(Exception):
    """launch.py ended with this code, and has said why."""

    def __init__(self, code: int):
        super().__init__(code)
        self.code = code


def launch(*arguments: str) -> None:
    """Runs launch.py in a process of its own, which is told of a signal to stop.

    Raises:
      Stopped: it was asked to stop, and goes on when it is called again.
      LaunchError: it failed.
    """
    with subprocess.Popen([sys.executable, str(ROOT / "launch.py"), *arguments]) as process:
        # A terminal sends Ctrl-C to both.
        ours = {signal.SIGINT: lambda *_: None, signal.SIGTERM: lambda *_: process.terminate()}
        before = {number: signal.signal(number, heard) for number, heard in ours.items()}
        code = process.wait()
        for number, heard in before.items():
            signal.signal(number, heard)
    if code == TEMPORARY_FAILURE:
        raise Stopped
    if code:
        raise LaunchError(code)


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
    fields: Mapping[str, str | int]

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

    def evaluate(self, *flags: str) -> None:
        """Adds rows to its evals.jsonl."""
        launch("evaluate", f"--workdir={self.workdir}", *flags)

    def rows(self, **wanted: Any) -> list[dict[str, Any]]:
        """Those of evals.jsonl that have these values."""
        rows = read_rows(self.workdir / "evals.jsonl")
        return [row for row in rows if wanted.items() <= row.items()]

    @functools.cached_property
    def experiment(self) -> Experiment:
        """What its config describes."""
        name, _, dataset = self.config.partition(":")
        config = importlib.import_module(f"configs.{name}").get_config(dataset)
        for path, value in self.fields.items():
            config.update_from_flattened_dict({path: value})
        return factory.build(config.to_dict())

    @property
    def epochs(self) -> float:
        """Those behind its last checkpoint."""
        return self._steps.get("last", 0) / steps_per_epoch(self.experiment)

    @property
    def is_trained(self) -> bool:
        """Whether there is nothing left to train."""
        return self.experiment.cadence.is_over(self._steps)

    @property
    def _steps(self) -> dict[str, int]:
        if not self.workdir.is_dir():
            return {}
        with checkpoints_of(self.experiment, self.workdir) as checkpoints:
            return checkpoints.steps()


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


def is_prepared(dataset: str, data_dir: str) -> bool:
    """Whether a set of TensorFlow Datasets can be read without a download."""
    return tfds.builder(dataset, data_dir=data_dir or None).is_prepared()


# --- values --------------------------------------------------------------------------------------


def mean_and_deviation(values: Sequence[float], digits: int = 2) -> str:
    """As `228.70 ± 0.15`, the deviation that of a sample; of one value the value alone."""
    if not values:
        return ""
    mean = f"{statistics.fmean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


def difference(values: Sequence[float], published: Published) -> tuple[float, float]:
    """Our mean less the published one; the same in published standard deviations."""
    found = statistics.fmean(values) - published.value
    return found, found / published.deviation


# --- files ---------------------------------------------------------------------------------------


def write(
    path: pathlib.Path,
    caption: str,
    lines: Sequence[Sequence[str]],
    records: Sequence[Record],
) -> None:
    """The table as `path`.md and .tex, its header the first of `lines`; its records as .csv."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".md").write_text(f"{caption}\n\n{markdown(lines)}\n", encoding="utf-8")
    path.with_suffix(".tex").write_text(latex(caption, lines), encoding="utf-8")
    with path.with_suffix(".csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(records[0]))
        writer.writeheader()
        writer.writerows(records)


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


def comparison_figure(
    path: pathlib.Path, unit: str, values: Mapping[str, tuple[Published, Sequence[float]]]
) -> None:
    """Published values beside ours, by name, with standard deviations, as `path`.png and .svg."""
    figure = Figure(figsize=(6.4, 1.0 + 0.5 * len(values)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for row, (published, ours) in enumerate(values.values()):
        bar = {"capsize": 3, "linestyle": "none", "markersize": 6}
        named = {"label": "published"} if row == 0 else {}
        axes.errorbar(
            published.value, row - 0.12, xerr=published.deviation, fmt="o", color="0.55",
            markerfacecolor="white", **bar, **named,
        )  # fmt: skip
        if ours:
            named = {"label": "genjax"} if row == 0 else {}
            spread = statistics.stdev(ours) if len(ours) > 1 else 0
            axes.errorbar(
                statistics.fmean(ours), row + 0.12, xerr=spread, fmt="s", color="C0", **bar, **named
            )
    axes.set_yticks(range(len(values)), values)
    axes.invert_yaxis()
    axes.set_xlabel(unit)
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="best")
    for suffix in (".png", ".svg"):
        figure.savefig(path.with_suffix(suffix), dpi=150)
