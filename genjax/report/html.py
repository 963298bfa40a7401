"""A run folder as one HTML file that needs nothing else."""

import base64
import io
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from PIL import Image

from genjax.errors import UserError
from genjax.files import replacing
from genjax.report.curves import MAX_POINTS, bars_svg, curves_svg, named_bars_svg
from genjax.report.run import Run, Series, read_run
from genjax.report.scores import (
    evaluation_table,
    label_accuracies,
    marked_steps,
    over_checkpoints,
)
from genjax.report.values import compact, count
from genjax.training.health import warnings

#: Charts in sight; with the wide one of the KL divergence they fill the page's three columns.
MAX_CHARTS = 7
MAX_HISTORY = 12
MAX_TILES = 6
LARGE, SMALL = 1600, 320
#: Dimensions above this many nats count as used.
ACTIVE_NATS = 0.01


def write_report(workdir: str | os.PathLike) -> Path:
    """Writes `workdir/report.html`, all or nothing, from whatever the run has produced so far.

    Returns:
      The file's path.

    Raises:
      UserError: `workdir` has no `config.json`, or one of its files cannot be read.
    """
    run = read_run(Path(workdir))
    # What was measured while training and what was measured later are two lines of one chart.
    charts = _charts({**over_checkpoints(run.evals), **run.scalars}, marked_steps(run.evals))
    path = Path(workdir) / "report.html"
    write_page(
        path,
        "report.html",
        run=run,
        name=run.config.get("name") or Path(workdir).resolve().name,
        model=_name_in(run.config, "model"),
        data=_name_in(run.config, "data"),
        tiles=_tiles(run),
        table=evaluation_table(run.evals),
        classes=_classes(run),
        columns=list(dict.fromkeys(name for row in run.evals for name in row)),
        warnings=warnings(run.scalars, run.config),
        charts=charts[:MAX_CHARTS],
        more_charts=charts[MAX_CHARTS:],
        thinned=any(len(series) > MAX_POINTS for series in run.scalars.values()),
        divergences=_divergences(run.vectors),
        pictures=[_gallery(kind, files) for kind, files in run.pictures.items()],
    )
    return path


def write_page(path: Path, template: str, **values: Any) -> None:
    """Writes a template of this package, filled with `values`, to `path`: all or nothing."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("genjax.report", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(compact=compact, count=count)
    page = environment.get_template(template).render(**values)
    with replacing(path) as file:
        # The name of a folder may be no text.
        file.write_text(page, encoding="utf-8", errors="backslashreplace")


def _name_in(config: Mapping[str, Any], field: str) -> str:
    part = config.get(field)
    return str(part.get("name", "")) if isinstance(part, Mapping) else str(part or "")


def _tiles(run: Run) -> list[dict[str, str]]:
    """The headline numbers: the step, then the best checkpoint's scores, else the last losses."""
    steps = [step for series in run.scalars.values() for step in series]
    steps += [row["step"] for row in run.evals if row.get("step")]
    tiles = [{"label": "training steps", "value": count(max(steps)), "note": ""}] if steps else []
    if table := evaluation_table(run.evals):
        checkpoint, _, split = table["columns"][0]
        tiles += [
            {
                "label": row["metric"],
                "value": row["cells"][0]["value"],
                "note": " · ".join(filter(None, [row["unit"], checkpoint, split])),
            }
            for row in table["rows"]
            if row["cells"][0]
        ]
    else:
        tiles += [
            {"label": chart["name"], "value": compact(line["last"]), "note": line["split"]}
            for chart in _grouped(run.scalars)
            for line in chart["lines"][-1:]
        ]
    return tiles[:MAX_TILES]


def _grouped(scalars: Mapping[str, Series]) -> list[dict[str, Any]]:
    """`train/loss` and `validation/loss` are two lines of one chart."""
    groups: dict[str, dict[str, Series]] = {}
    for full_name, series in scalars.items():
        split, _, name = full_name.rpartition("/")
        groups.setdefault(name, {})[split] = series
    charts = [
        {
            "name": name.replace("_", " "),
            "lines": [
                {
                    "split": split,
                    "color": _color(split),
                    "series": series,
                    "last": list(series.values())[-1],
                    "lost": sum(not math.isfinite(value) for value in series.values()),
                }
                for split, series in lines.items()
            ],
        }
        for name, lines in groups.items()
    ]
    return sorted(charts, key=_chart_order)


def _chart_order(chart: dict[str, Any]) -> tuple:
    """Losses first, then what was measured on held-out images."""
    return "loss" not in chart["name"], not _is_held_out(chart)


def _is_held_out(chart: dict[str, Any]) -> bool:
    return any(line["split"] not in ("", "train") for line in chart["lines"])


def _charts(scalars: Mapping[str, Series], marks: Mapping[str, int]) -> list[dict[str, Any]]:
    charts = []
    for chart in _grouped(scalars):
        lines = [(line["series"], line["color"]) for line in chart["lines"]]
        charts.append(chart | {"svg": curves_svg(lines, marks if _is_held_out(chart) else {})})
    return charts


def _classes(run: Run) -> dict[str, Any] | None:
    """Label accuracies with their chart."""
    found = label_accuracies(run.evals)
    return found and {**found, "svg": named_bars_svg(found["of"], _color(found["split"]))}


def _color(split: str) -> int:
    """The number of a split's colour, the same in every chart."""
    return {"": 0, "train": 0, "validation": 1, "test": 2}.get(split, 3)


def _divergences(vectors: Mapping[str, tuple[int, list[float]]]) -> dict[str, Any] | None:
    """KL by latent dimension at the last step, on held-out images where they were measured."""
    names = [name for name in vectors if name.rpartition("/")[2] == "kl_per_dimension"]
    if not names:
        return None
    name = max(names, key=lambda name: name.startswith("validation/"))
    step, values = vectors[name]
    split = name.rpartition("/")[0]
    return {
        "split": split,
        "color": _color(split),
        "step": step,
        "total": math.fsum(values),
        "active": sum(value > ACTIVE_NATS for value in values),
        "num": len(values),
        "threshold": ACTIVE_NATS,
        "svg": bars_svg(values, _color(split)),
    }


def _gallery(kind: str, files: list[tuple[int, Path]]) -> dict[str, Any]:
    """The last picture whole, and up to `MAX_HISTORY` earlier ones, evenly spaced, small."""
    *earlier, (step, last) = files
    stride = max(1, math.ceil(len(earlier) / MAX_HISTORY))
    return {
        "kind": kind.replace("_", " "),
        "step": step,
        "last": _data_uri(last, LARGE),
        "history": [(step, _data_uri(path, SMALL)) for step, path in earlier[::stride]],
    }


def _data_uri(path: Path, longest_side: int) -> str:
    buffer = io.BytesIO()
    try:
        with Image.open(path) as image:
            image.thumbnail((longest_side, longest_side))
            image.save(buffer, "PNG", optimize=True)
    except (OSError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: not a picture that can be read") from error
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
