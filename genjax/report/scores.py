"""The rows of `evals.jsonl` as a table."""

from typing import Any

import numpy as np

from genjax.report.run import Row
from genjax.report.values import compact, count, number

_CHECKPOINTS = ("best", "last")
_SPLITS = ("test", "validation", "train")


def evaluation_table(rows: list[Row]) -> dict[str, Any] | None:
    """One line a metric, one column a (checkpoint, step, split); best before last, test first."""
    if not rows:
        return None
    cells: dict[tuple, dict[tuple, list[Row]]] = {}
    for row in rows:
        line = (row["metric"], row.get("unit") or "", row.get("extractor") or "")
        column = (row.get("checkpoint") or "", row.get("step") or 0, row.get("split") or "")
        cells.setdefault(line, {}).setdefault(column, []).append(row)
    columns = sorted({column for line in cells.values() for column in line}, key=_column_order)
    lines = [
        {
            "metric": metric.replace("_", " "),
            "unit": unit,
            "extractor": extractor,
            "cells": [_cell(line[column]) if column in line else None for column in columns],
        }
        for (metric, unit, extractor), line in cells.items()
    ]
    repeated = any(cell["spread"] for line in lines for cell in line["cells"] if cell)
    return {"columns": columns, "rows": lines, "repeated": repeated}


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
