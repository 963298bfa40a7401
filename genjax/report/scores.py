"""The rows of `evals.jsonl` as a table, by class, and over checkpoints."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from genjax.evaluation.comparison import base_name
from genjax.report.run import Row, Series
from genjax.report.values import compact, count, number

_CHECKPOINTS = ("best", "last")
_SPLITS = ("test", "validation", "train")


def evaluation_table(rows: list[Row]) -> dict[str, Any] | None:
    """One line a metric, one column a (checkpoint, step, split); best before last, test first.

    Metrics of single classes are left to `label_accuracies`.
    """
    rows = [row for row in rows if row["metric"] == base_name(row["metric"])]
    if not rows:
        return None
    cells: dict[tuple, dict[tuple, list[Row]]] = {}
    for row in rows:
        line = (row["metric"], row.get("unit") or "", _method(row))
        column = (row.get("checkpoint") or "", row.get("step") or 0, row.get("split") or "")
        cells.setdefault(line, {}).setdefault(column, []).append(row)
    columns = sorted({column for line in cells.values() for column in line}, key=_column_order)
    lines = [
        {
            "metric": metric.replace("_", " "),
            "unit": unit,
            "method": method,
            "cells": [_cell(line[column]) if column in line else None for column in columns],
        }
        for (metric, unit, method), line in cells.items()
    ]
    repeated = any(cell["spread"] for line in lines for cell in line["cells"] if cell)
    return {"columns": columns, "rows": lines, "repeated": repeated}


def _method(row: Row) -> str:
    """What turned images into numbers, in words."""
    features = [row.get(name) for name in ("extractor", "resize")]
    features = ", ".join(name for name in features if name and name != "none")
    parts = [f"features: {features}" if features else "", row.get("settings")]
    return " · ".join(filter(None, parts))


def label_accuracies(rows: list[Row]) -> dict[str, Any] | None:
    """The share of samples read as asked, by class, of the best checkpoint: mean over seeds."""
    found: dict[tuple, dict[str, dict[int, float]]] = {}
    for row in rows:
        metric, _, name = row["metric"].partition("[")
        if metric == "label_accuracy" and name:
            column = (row.get("checkpoint") or "", row.get("step") or 0, row.get("split") or "")
            of_class = found.setdefault(column, {}).setdefault(name.removesuffix("]"), {})
            of_class[row.get("seed") or 0] = number(row.get("value"))
    if not found:
        return None
    column = min(found, key=_column_order)
    means = {name: float(np.mean(list(of.values()))) for name, of in found[column].items()}
    return {"checkpoint": column[0], "step": column[1], "split": column[2], "of": means}


def measured_by(row: Row) -> tuple[str, str, str]:
    """How many real images and generated ones, and the extractor, resize rule and settings."""
    by = [row[name] for name in ("extractor", "resize") if row[name] != "none"]
    by.append(row.get("settings", ""))  # older rows have none
    counts = (f"{row[name]:,}" if row[name] else "" for name in ("n_real", "n_fake"))
    return *counts, ", ".join(filter(None, by))


def mean_and_deviation(values: Sequence[float]) -> str:
    """In words; the standard deviation where there are several values, nothing of none."""
    if not values:
        return ""
    deviation = f" ± {np.std(values, ddof=1):.2g}" if len(values) > 1 else ""
    return f"{compact(np.mean(values))}{deviation}"


def over_checkpoints(rows: list[Row]) -> dict[str, Series]:
    """The mean over seeds of each metric at each step, as `test/kid`; where it differs by step.

    Of rows that were measured in several ways the newest way counts.
    """
    rows = [row for row in rows if row["metric"] == base_name(row["metric"]) and row.get("step")]
    ways: dict[str, list] = {_curve_name(row): _way(row) for row in rows}
    values: dict[str, dict[int, dict[Any, float]]] = {}
    for row in rows:
        if _way(row) == ways[_curve_name(row)]:
            seeds = values.setdefault(_curve_name(row), {}).setdefault(row["step"], {})
            seeds[row.get("seed")] = number(row.get("value"))
    curves = {
        name: {step: float(np.mean(list(steps[step].values()))) for step in sorted(steps)}
        for name, steps in values.items()
    }
    return {name: curve for name, curve in curves.items() if len(set(curve.values())) > 1}


def _curve_name(row: Row) -> str:
    through = [row.get(name) or "none" for name in ("extractor", "resize")]
    through = [name for name in through if name not in ("none", "classifier")]
    of = f" ({', '.join(through)})" if through else ""
    return f"{row.get('split') or 'test'}/{row['metric']}{of}"


def _way(row: Row) -> list:
    """All that says how a number was measured but for when and by which draws."""
    apart = ("value", "seed", "step", "checkpoint")
    return sorted((key, str(value)) for key, value in row.items() if key not in apart)


def marked_steps(rows: list[Row]) -> dict[str, int]:
    """The steps of the best and the last checkpoint."""
    steps = {row.get("checkpoint"): row.get("step") for row in rows}
    return {name: steps[name] for name in _CHECKPOINTS if steps.get(name)}


def _column_order(column: tuple[str, int, str]) -> tuple:
    checkpoint, step, split = column
    order = [*_CHECKPOINTS, checkpoint].index(checkpoint), [*_SPLITS, split].index(split)
    return order[0], checkpoint, -step, order[1], split


def _cell(rows: list[Row]) -> dict[str, str]:
    """The newest rows' value; where only the seed differs, mean and standard deviation."""
    newest = _provenance(rows[-1])
    by_seed = {
        row.get("seed"): number(row.get("value")) for row in rows if _provenance(row) == newest
    }
    values = list(by_seed.values())
    with np.errstate(invalid="ignore"):
        mean, deviation = np.mean(values), np.std(values, ddof=1) if len(values) > 1 else None
    sizes = " / ".join(count(rows[-1][key]) for key in ("n_real", "n_fake") if rows[-1].get(key))
    seeds = f"{len(values)} seeds" if len(values) > 1 else ""
    return {
        "value": compact(mean),
        "spread": "" if deviation is None else f"± {deviation:.2g}",
        "exact": ", ".join(map(repr, values)),
        "note": " · ".join(filter(None, [sizes, seeds])),
    }


def _provenance(row: Row) -> list:
    return sorted((key, str(value)) for key, value in row.items() if key not in ("value", "seed"))
