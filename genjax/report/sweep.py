"""A sweep as one HTML file that needs nothing else."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from genjax.report.curves import coordinates_svg, many_curves_svg, named_bars_svg
from genjax.report.html import write_page
from genjax.report.run import read_run
from genjax.report.values import compact, number

#: (parameters without the seed, the metric by seed), best first.
Settings = Sequence[tuple[Mapping[str, Any], Sequence[float]]]


def write_sweep_report(
    workdir: Path,
    name: str,
    rows: Sequence[Mapping[str, Any]],
    settings: Settings,
    importances: Mapping[str, float],
    metric: str,
    mode: str,
) -> Path:
    """Writes `workdir/sweep.html`, all or nothing.

    Args:
      workdir: the sweep's folder.
      name: of the experiment.
      rows: of sweep.jsonl.
      settings: what finished, best first.
      importances: of the parameters, in [0, 1]; NaN is not shown.
      metric: what it was about.
      mode: `min` or `max`.

    Returns:
      The file's path.
    """
    value = lambda row: number(row["metrics"].get(metric))
    finished = [row for row in rows if row["state"] == "finished" and math.isfinite(value(row))]
    finished.sort(key=value, reverse=mode == "max")
    swept = list(rows[0]["parameters"]) if rows else []
    seeds = max((len(values) for _, values in settings), default=0)
    known = {name: value for name, value in importances.items() if math.isfinite(value)}
    path = workdir / "sweep.html"
    write_page(
        path,
        "sweep.html",
        name=name,
        rows=rows,
        states=", ".join(f"{num} {state}" for state, num in Counter(_states(rows)).items()),
        goal=f"{'highest' if mode == 'max' else 'lowest'} {metric}",
        tiles=_tiles(settings, metric),
        best=workdir / "best.py",
        coordinates=finished
        and coordinates_svg(
            [[*row["parameters"].values(), value(row)] for row in finished],
            [*swept, metric],
        ),
        importance=known and named_bars_svg(known, 2),
        curves=settings and many_curves_svg(_curves(workdir, finished, settings, metric)),
        seeds=seeds if seeds > 1 else 0,
        settings=[
            {
                "parameters": [_text(value) for value in parameters.values()],
                "mean": compact(np.mean(values)),
                "spread": f"± {compact(np.std(values, ddof=1))}" if len(values) > 1 else "",
                "num": len(values),
            }
            for parameters, values in settings
        ],
        fields=[field for field in swept if field != "seed"],
        swept=swept,
        metric=metric,
        metrics=list(dict.fromkeys(name for row in rows for name in row["metrics"])),
    )
    return path


def _states(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return [row["state"] for row in rows]


def _text(value: Any) -> str:
    return compact(value) if isinstance(value, float) else str(value)


def _tiles(settings: Settings, metric: str) -> list[dict[str, str]]:
    if not settings:
        return []
    parameters, values = settings[0]
    best = {"label": f"best {metric}", "value": compact(np.mean(values)), "note": ""}
    if len(values) > 1:
        best["note"] = f"mean of {len(values)} seeds"
    return [best, *({"label": k, "value": _text(v), "note": ""} for k, v in parameters.items())]


def _curves(
    workdir: Path, rows: Sequence[Mapping[str, Any]], settings: Settings, metric: str
) -> list[dict[int, list[float]]]:
    """For each setting, best first: the metric of all seeds by step."""
    curves = []
    for parameters, _ in settings:
        curve: dict[int, list[float]] = {}
        for row in rows:
            if {k: v for k, v in row["parameters"].items() if k != "seed"} == parameters:
                scalars = read_run(workdir / row["workdir"]).scalars
                for step, value in scalars.get(f"validation/{metric}", {}).items():
                    curve.setdefault(step, []).append(value)
        curves.append(curve)
    return curves
