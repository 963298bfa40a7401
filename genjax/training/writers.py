"""Where a run's numbers go: `metrics.jsonl`, TensorBoard events and one live line."""

import contextlib
import functools
import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.text import Text

from genjax.files import replacing

Value = float | Sequence[float]

MAX_METRICS = 5
#: Metrics that the live line shows last: a person looks at them when something is wrong.
LESS_TELLING = ("gradient_norm", "dead_units", "diversity")
PLAIN_EVERY_SECONDS = 30.0


class MetricsWriter:
    """Appends rows to `workdir/metrics.jsonl` and to TensorBoard events in `workdir`.

    A row is `{"step": 100, "train/loss": 1.2, "train/kl_per_dimension": [0.1, 3.2]}` on one line.
    JSON knows no NaN and no infinity: they are the strings `"nan"`, `"inf"` and `"-inf"`, which
    `float` reads back.

    A run that goes on from a checkpoint writes its later steps again. Rows behind
    `resume_step` and a torn last line are therefore dropped on opening, so that the file equals
    that of an unbroken run; TensorBoard is told to hide the same steps.

    Args:
      workdir: The run folder; made if it is not there.
      resume_step: The checkpoint's step, 0 for a new run; rows of that very step are kept.
    """

    def __init__(self, workdir: str | os.PathLike, resume_step: int):
        self._workdir, self._resume_step = Path(workdir), resume_step
        self._workdir.mkdir(parents=True, exist_ok=True)
        path = self._workdir / "metrics.jsonl"
        # Scores of later steps are of a model that is no more.
        for each in (path, self._workdir / "evals.jsonl"):
            _drop_rows_after(each, resume_step)
        self._rows = path.open("a", encoding="utf-8")

    @functools.cached_property
    def _events(self) -> Any:
        """TensorBoard's writer, made at the first row: the device works on meanwhile."""
        from tensorboardX import SummaryWriter  # a second: it imports PyTorch where there is one

        # Files are named by the second; the suffix keeps a quick restart off its predecessor.
        suffix = f".{self._resume_step}"
        first = self._resume_step + 1
        return SummaryWriter(str(self._workdir), purge_step=first, filename_suffix=suffix)

    def write(self, step: int, metrics: Mapping[str, Value]) -> None:
        """Writes one row: numbers become scalars, lists of numbers become histograms."""
        row = {name: np.asarray(value, np.float64) for name, value in metrics.items()}
        plain = {name: _jsonable(value.tolist()) for name, value in row.items()}
        self._rows.write(json.dumps({"step": int(step), **plain}, allow_nan=False) + "\n")
        # A killed run should lose no row that it has reported.
        self._rows.flush()
        for name, value in row.items():
            if value.ndim == 0:
                self._events.add_scalar(name, float(value), step)
            elif np.isfinite(value).any():
                # A histogram has no bin for what is not finite.
                self._events.add_histogram(name, value[np.isfinite(value)], step)

    def images(self, step: int, name: str, grid: np.ndarray) -> None:
        """Writes one picture to TensorBoard: [H, W, 1 or 3], uint8 or float in [0, 1]."""
        self._events.add_image(name, np.asarray(grid), step, dataformats="HWC")

    def flush(self) -> None:
        """Hands everything written so far to the disk."""
        self._rows.flush()
        self._events.flush()

    def close(self) -> None:
        """Flushes and closes both files."""
        self._rows.close()
        self._events.close()

    def __enter__(self) -> "MetricsWriter":
        return self

    def __exit__(self, *_) -> None:
        self.close()


class Progress:
    """One live line on a terminal; elsewhere one plain line at most every 30 seconds.

    Both go to standard error. A summary line stays behind when the context is left.

    Args:
      total_steps: The step at which the run is complete.
      enabled: Whether to draw the live line; None asks whether standard error is a terminal.
      console: Where to draw; standard error unless given.
      clock: Seconds from any origin, for the time left.
    """

    def __init__(
        self,
        total_steps: int,
        enabled: bool | None = None,
        *,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._total = total_steps
        self._console = console or Console(stderr=True)
        self._clock = clock
        self._start = clock()
        self._first: tuple[int, float] | None = None
        self._last: tuple[int, float] = (0, self._start)
        self._metrics: list[str] = []
        self._speed = ""
        self._printed = -math.inf
        live = self._console.is_terminal if enabled is None else enabled
        self._live = self._live_display() if live else None

    def update(self, step: int, metrics: Mapping[str, float], images_per_second: float) -> None:
        """Shows the first five scalars of `metrics`, without the `train/` before their names."""
        self._last = (step, self._clock())
        # The first report includes compilation (and, in a resumed run, every earlier step).
        self._first = self._first or self._last
        scalars = [(name, value) for name, value in metrics.items() if np.ndim(value) == 0]
        scalars.sort(key=lambda scalar: scalar[0].endswith(LESS_TELLING))
        self._metrics = [
            f"{name.removeprefix('train/')} {_compact(float(value))}"
            for name, value in scalars[:MAX_METRICS]
        ]
        self._speed = f"{_thousands(images_per_second)} img/s"
        if self._live is None and self._last[1] - self._printed >= PLAIN_EVERY_SECONDS:
            self._printed = self._last[1]
            left = self._seconds_left()
            time_left = [] if left is None else [f"{_duration(left)} left"]
            head = f"step {step}/{self._total}"
            self._print("  ".join([head, *self._metrics, self._speed, *time_left]))

    def say(self, line: str) -> None:
        """Prints a line that stays, above the live one."""
        self._print(line)

    def __enter__(self) -> "Progress":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_) -> None:
        if self._live is not None:
            self._live.stop()
        step, _ = self._last
        done = "done" if step >= self._total else "stopped"
        spent = (
            f"{done} at step {step}/{self._total} after {_duration(self._clock() - self._start)}"
        )
        self._print("  ".join([spent, *self._metrics, *filter(None, [self._speed])]))

    def _live_display(self) -> Live:
        return Live(
            get_renderable=self._line,
            console=self._console,
            refresh_per_second=2,
            transient=True,
            # What is printed goes above the line, unless it goes to a file.
            redirect_stdout=sys.stdout.isatty(),
        )

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _seconds_left(self) -> float | None:
        if self._first is None or self._last[0] == self._first[0]:
            return None
        (first_step, first_time), (step, then) = self._first, self._last
        a_step = (then - first_time) / (step - first_step)
        return max(0.0, (self._total - step) * a_step - (self._clock() - then))

    def _line(self) -> Text:
        """The live line; metrics that do not fit the terminal's width are left out."""
        step, left = self._last[0], self._seconds_left()
        width = len(str(self._total))
        filled = round(10 * min(1.0, step / max(1, self._total)))
        waiting = f"starting {_duration(self._clock() - self._start)}"
        tail = f"{_duration(left)} left" if left is not None else self._speed and "..."
        ends = [f"{step:>{width}}/{self._total}", "━" * 10, self._speed or waiting, tail]
        room = self._console.width - 1 - sum(len(end) + 2 for end in ends if end)
        shown = []
        for metric in self._metrics:
            if len(metric) + 2 <= room:
                room -= len(metric) + 2
                shown.append(metric)
        line = Text(ends[0] + "  ", no_wrap=True, overflow="ellipsis")
        line.append("━" * filled, "green").append("━" * (10 - filled), "bright_black")
        line.append("".join(f"  {metric}" for metric in shown), "bold")
        return line.append("".join(f"  {end}" for end in ends[2:] if end), "cyan")


class Nowhere(contextlib.AbstractContextManager):
    """Stands in for a `MetricsWriter` or a `Progress` in a process that writes nothing."""

    def __exit__(self, *_) -> None:
        pass

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


def _drop_rows_after(path: Path, step: int) -> None:
    """Rewrites `path` without rows behind `step` and without a torn line."""
    if not path.exists():
        return
    text = path.read_text(encoding="utf-8", errors="replace")
    kept = "".join(line + "\n" for line in text.splitlines() if _step_of(line) <= step)
    if kept != text:  # scores may be appended meanwhile, to the file that is there
        with replacing(path) as file:
            file.write_text(kept, encoding="utf-8")


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (ValueError, TypeError, KeyError):
        return math.inf


def _jsonable(value: float | list) -> float | str | list:
    if isinstance(value, list):
        return [_jsonable(item) for item in value]
    return value if math.isfinite(value) else str(value)


def _compact(value: float) -> str:
    return f"{value:#.4g}".removesuffix(".")


def _thousands(value: float) -> str:
    return f"{value / 1000:.1f}k" if value >= 10_000 else f"{value:.0f}"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
