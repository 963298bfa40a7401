"""Charts as inline SVG that takes its colours from the page's style sheet."""

import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, MaxNLocator, NullFormatter

from genjax.report.run import Series

#: Longer curves are drawn as the mean of neighbours inside a band from least to greatest.
MAX_POINTS = 300
#: A curve that stays positive and spans more than this factor gets a logarithmic axis.
LOG_SPAN = 50

# matplotlib must be given colours; these stand for the style sheet's variables.
_INK, _RULE = "#010203", "#010204"
_SERIES = ["#010205", "#010206", "#010207", "#010208"]
_VARIABLES = {_INK: "var(--muted)", _RULE: "var(--rule)"} | {
    color: f"var(--series-{index})" for index, color in enumerate(_SERIES)
}


def curves_svg(
    curves: Sequence[tuple[Series, int]], marks: Mapping[str, int] | None = None
) -> Markup:
    """Draws curves over the training step, each with the number k of its colour `--series-k`.

    Values that are not finite leave a gap. The axis is logarithmic where the values ask for it.
    `marks` are steps by name.
    """
    figure, axes = _chart(width=4.2, height=2.3)
    names: dict[int, list[str]] = {}
    for name, step in (marks or {}).items():
        names.setdefault(step, []).append(name)
    for step, here in names.items():
        axes.axvline(step, color=_INK, linewidth=0.8, linestyle=(0, (2, 2)))
        top = axes.get_xaxis_transform()
        first = min(min(curve) for curve, _ in curves)
        side = "left" if step == first else "right"
        axes.text(step, 1.01, ", ".join(here), color=_INK, size=8, ha=side, transform=top)
    for curve, color in curves:
        steps = np.array(list(curve), np.float64)
        values = np.array(list(curve.values()), np.float64)
        values[~np.isfinite(values)] = np.nan
        _draw(axes, steps, values, _SERIES[color])
    finite = [v for curve, _ in curves for v in curve.values() if math.isfinite(v)]
    if finite and min(finite) > 0 and max(finite) / min(finite) > LOG_SPAN:
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.yaxis.set_major_locator(MaxNLocator(4))
    _over_steps(axes)
    return _svg(figure)


def named_bars_svg(values: Mapping[str, float], color: int) -> Markup:
    """Draws one bar a share in [0, 1], in the order given, each with its name and number."""
    figure, axes = _chart(width=6.4, height=0.6 + 0.22 * len(values))
    names = [name.replace("$", r"\$") for name in values]  # no formulas
    shares = np.array(list(values.values()), np.float64)
    lengths = np.nan_to_num(shares)
    axes.barh(np.arange(len(names)), lengths, height=0.72, color=_SERIES[color])
    axes.set_yticks(np.arange(len(names)), names)
    for row, (length, share) in enumerate(zip(lengths, shares, strict=True)):
        text = f"{share:.3f}" if math.isfinite(share) else "none asked for"
        axes.text(length + 0.01, row, text, va="center", size=8.5, color=_INK)
    axes.set_xlim(0, 1.1)
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.spines["bottom"].set_visible(False)
    axes.set_xticks([])
    return _svg(figure)


def bars_svg(values: Sequence[float], color: int) -> Markup:
    """Draws one bar a value, in descending order, in the colour `--series-<color>`.

    What is not finite has no bar.
    """
    figure, axes = _chart(width=6.4, height=1.9)
    heights = np.sort(np.nan_to_num(np.asarray(values, np.float64), posinf=0, neginf=0))[::-1]
    axes.bar(np.arange(1, len(heights) + 1), heights, width=0.72, color=_SERIES[color])
    axes.set_xlim(0.4, len(heights) + 0.6)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    return _svg(figure)


def coordinates_svg(rows: Sequence[Sequence[Any]], names: Sequence[str]) -> Markup:
    """Draws each row as a line over parallel axes, the first quarter of the rows in colour.

    An axis of numbers above 0 that span more than a factor of 10 is logarithmic; one with a value
    that is no number has its values in the order of their names.
    """
    figure, axes = _chart(width=8.8, height=3.2)
    columns = [_Axis(list(column)) for column in zip(*rows, strict=True)]
    heights = np.array([axis.heights for axis in columns]).T
    best = math.ceil(len(rows) / 4)
    for index in reversed(range(len(rows))):
        color, alpha, width = (_SERIES[0], 1.0, 1.6) if index < best else (_INK, 0.35, 0.9)
        axes.plot(heights[index], color=color, alpha=alpha, linewidth=width)
    for x, (axis, name) in enumerate(zip(columns, names, strict=True)):
        axes.axvline(x, color=_RULE, linewidth=1.2, zorder=0)
        for height, text in axis.ticks:
            axes.text(x + 0.02, height, text, color=_INK, size=8, va="center")
        axes.text(x, 1.1, name.replace("$", r"\$"), color=_INK, size=8.5, ha="center")
    axes.set_xlim(-0.3, len(names) - 0.7)
    axes.set_ylim(-0.06, 1.16)
    axes.set_axis_off()
    return _svg(figure)


class _Axis:
    """One of parallel axes: `heights` of its values in [0, 1], and `ticks` (height, text)."""

    def __init__(self, values: list[Any]):
        if all(isinstance(value, int | float) for value in values):
            numbers = np.array(values, np.float64)
            finite = numbers[np.isfinite(numbers)]
            low, high = (finite.min(), finite.max()) if len(finite) else (0.0, 0.0)
            scale = np.log if low > 0 and high / low > 10 else np.asarray
            span = scale(high) - scale(low)
            place = lambda value: (scale(value) - scale(low)) / span if span else 0.5 + 0 * value
            different = sorted(set(finite.tolist()))
            shown = different if len(different) <= 6 else [low, high]
            self.heights = place(numbers)
            self.ticks = [(float(place(value)), f"{value:.4g}") for value in shown]
        else:
            names = sorted(set(map(str, values)))
            place = {name: (i + 0.5) / len(names) for i, name in enumerate(names)}
            self.heights = np.array([place[str(value)] for value in values])
            self.ticks = [(height, name) for name, height in place.items()]


def many_curves_svg(curves: Sequence[Mapping[int, Sequence[float]]]) -> Markup:
    """Draws curves of several values a step: their mean, and for the first their deviation.

    The first is in colour and on top.
    """
    figure, axes = _chart(width=8.8, height=2.8)
    for index, curve in reversed(list(enumerate(curves))):
        steps = np.array(list(curve))
        means = np.array([np.mean(values) for values in curve.values()])
        color, alpha, width = (_INK, 0.35, 0.9) if index else (_SERIES[0], 1.0, 1.8)
        axes.plot(steps, means, color=color, alpha=alpha, linewidth=width)
        if not index and all(len(values) > 1 for values in curve.values()):
            spread = np.array([np.std(values, ddof=1) for values in curve.values()])
            axes.fill_between(
                steps, means - spread, means + spread, color=color, alpha=0.18, linewidth=0
            )
    axes.yaxis.set_major_locator(MaxNLocator(4))
    _over_steps(axes)
    return _svg(figure)


def power_curves(real: np.ndarray, generated: np.ndarray) -> np.ndarray:
    """Draws mean power [radius] of real and generated images over spatial frequency.

    Returns:
      uint8 [H, W, 3].
    """
    figure = Figure(figsize=(6, 3.4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for name, power, style in (("real", real, "-"), ("generated", generated, "--")):
        axes.semilogy(np.arange(len(power)), power, style, label=name, linewidth=1.8)
    axes.set_xlabel("frequency, cycles per image")
    axes.set_ylabel("mean power")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3]


def _chart(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="none")
    axes = figure.add_subplot(facecolor="none")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(_RULE)
    axes.tick_params(colors=_INK, labelsize=8.5, length=0, pad=4)
    axes.tick_params(axis="y", which="minor", length=0)
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=_RULE, linewidth=0.8)
    return figure, axes


def _over_steps(axes: Axes) -> None:
    """Numbers as a person writes them, over training steps."""
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def _draw(axes: Axes, steps: np.ndarray, values: np.ndarray, color: str) -> None:
    if len(steps) > MAX_POINTS:
        steps = np.array([part.mean() for part in np.array_split(steps, MAX_POINTS)])
        parts = np.array_split(values, MAX_POINTS)
        low, values, high = (
            np.array([_of_finite(how, part) for part in parts]) for how in (np.min, np.mean, np.max)
        )
        axes.fill_between(steps, low, high, color=color, alpha=0.18, linewidth=0)
    marker = "o" if np.isfinite(values).sum() < 3 else None
    axes.plot(steps, values, color=color, linewidth=1.6, marker=marker, markersize=4)


def _of_finite(how: Callable[[np.ndarray], float], values: np.ndarray) -> float:
    values = values[np.isfinite(values)]
    return how(values) if len(values) else math.nan


def _svg(figure: Figure) -> Markup:
    """Only the `<svg>` element: the rest of the file names a DTD on the network."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "genjax"}):
        # `savefig` would draw it twice, for what only a bitmap or a crop needs.
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' (xmlns(:\w+)?|version)="[^"]*"', "", svg)
    for color, variable in _VARIABLES.items():
        svg = svg.replace(color, variable)
    return Markup(svg)
