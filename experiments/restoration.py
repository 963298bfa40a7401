#!/usr/bin/env python3
"""The table of restored images: each degradation at two strengths, undone in five ways.

    python experiments/restoration.py --l1=RUN --gan_restorer=RUN --vae=RUN --gan=RUN

      --num=1000       of the first images of the test split
      --rows=LIST      degradations of the table, or kinds of them, joined by |; all without it
      --methods=LIST   of degraded,classical,vae,gan,l1,gan_restorer; without it all whose runs
                       are given
      --restarts=8 --steps=100   of the search in a prior's latents
      --results=DIR    results/, where restoration.jsonl, .md and .csv go
      --picture=FILE   docs/images/restoration.png

Every method sees the same observed images, in 8 bits. `classical` is the best of
experiments/classical.py for each row, chosen with its parameters on 50 validation images. Each
result is written at once and not computed again; one whose run is not given stays in the table.
"""

import base64
import csv
import functools
import json
import os
import pathlib
import sys
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import experiments  # noqa: E402, F401 - it hears Ctrl-C while the rest is imported

# isort: split
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from absl import flags  # noqa: E402
from PIL import Image, ImageDraw, ImageFont  # noqa: E402

from experiments import classical, command_line  # noqa: E402
from genjax import rng  # noqa: E402
from genjax.data.base import Source  # noqa: E402
from genjax.data.reading import read  # noqa: E402
from genjax.errors import UserError, choose  # noqa: E402
from genjax.evaluation.rows import append_rows, read_rows  # noqa: E402
from genjax.fields import errors_within  # noqa: E402
from genjax.files import replacing  # noqa: E402
from genjax.imaging import prior  # noqa: E402
from genjax.imaging.degradations import Truth, degrade, parse  # noqa: E402
from genjax.loaded import Loaded, load  # noqa: E402
from genjax.metrics.reconstruction import ssim  # noqa: E402
from genjax.models.base import LikelihoodModel, Restorer, Sampler, require  # noqa: E402
from genjax.report import grids  # noqa: E402
from genjax.run_folder import (  # noqa: E402
    PLACES,
    as_it_was,
    check_writable,
    code_version,
    config_hash,
)
from genjax.types import PyTree  # noqa: E402

#: Each kind at a weaker and a stronger strength, in this order.
ROWS = (
    "gaussian_noise:0.1",
    "gaussian_noise:0.25",
    "poisson_noise:30",
    "poisson_noise:8",
    "salt_and_pepper:0.1",
    "salt_and_pepper:0.3",
    "missing_pixels:0.5",
    "missing_pixels:0.8",
    "missing_box:0.35",
    "missing_box:0.5",
    "missing_half:0.35",
    "missing_half:0.5",
    "gaussian_blur:1+gaussian_noise:0.02",
    "gaussian_blur:2+gaussian_noise:0.02",
    "motion_blur:5+gaussian_noise:0.02",
    "motion_blur:9+gaussian_noise:0.02",
    "downsample:2",
    "downsample:4",
    "haze:1",
    "haze:2",
    "low_light:2,0.02",
    "low_light:3.5,0.04",
    "jpeg:30",
    "jpeg:8",
)
STRONGER = ROWS[1::2]
TITLES = {
    "degraded": "degraded",
    "classical": "classical",
    "vae": "VAE prior",
    "gan": "GAN prior",
    "l1": "L1 network",
    "gan_restorer": "conditional GAN",
}
#: What the run of a method has to be able to do.
ABILITIES = {"vae": LikelihoodModel, "gan": Sampler, "l1": Restorer, "gan_restorer": Restorer}
#: Fields of a config's data section that do not change the test images.
SAME_IMAGES = {"augment", "reader"} | PLACES
VALIDATION = 50  # images by which a classical method and its parameters are chosen
BATCH = 100
PICTURED = np.array([1, 2])  # numbers of test images; of Fashion-MNIST, a coat and a boot
DEVIATIONS = 1.645  # to each side, of a band that holds 90 % of a normal distribution

FLAGS = flags.FLAGS
for name in ABILITIES:
    flags.DEFINE_string(name, "", "A run folder.")
flags.DEFINE_integer("num", 1000, "How many test images.", lower_bound=3)
flags.DEFINE_string("rows", "", "Degradations of the table, or kinds of them, joined by |.")
flags.DEFINE_list("methods", [], "These only.")
flags.DEFINE_integer("restarts", 8, "Of a search in a prior, for each image.", lower_bound=1)
flags.DEFINE_integer("steps", 100, "Of each restart.", lower_bound=1)
flags.DEFINE_string("results", str(ROOT / "results"), "Where the tables go.")
flags.DEFINE_string("picture", str(ROOT / "docs/images/restoration.png"), "Where the picture goes.")

Row = dict[str, Any]


class Observed(NamedTuple):
    """Images of a split and what is seen of them; numbers are the images' places in the split."""

    images: np.ndarray
    observed: np.ndarray
    truth: Truth
    numbers: np.ndarray


class Restored(NamedTuple):
    """What a method makes of `Observed`: images and, if it knows one, their deviation."""

    images: np.ndarray
    deviation: np.ndarray | None = None


#: Restores what is observed.
Restore = Callable[[Observed], Restored]


# --- what is measured ----------------------------------------------------------------------------


def observe(source: Source, num: int, row: str, stream: str = "") -> Observed:
    """The first `num` images of `source` degraded by `row`, in 8 bits."""
    numbers = np.arange(num, dtype=np.int32)
    images = read(source, numbers)["image"].astype(np.float32) / 255
    see = jax.jit(functools.partial(degrade, parse("--rows", row)))
    observed, truth = jax.device_get(see(images, rng.key(0, row + stream), numbers))
    return Observed(images, classical.in_8_bits(observed), truth, numbers)


def score(seen: Observed, restored: Restored) -> Row:
    """PSNR (dB) and SSIM with their standard errors; how much a band of 90 % holds."""
    pairs = jnp.asarray(seen.images), jnp.asarray(classical.in_8_bits(restored.images))
    values = {"psnr": classical.psnr_in_8_bits(*pairs), "ssim": np.asarray(ssim(*pairs))}
    found = {name: float(each.mean()) for name, each in values.items()}
    for name, each in values.items():
        found[f"{name}_se"] = float(each.std(ddof=1) / len(each) ** 0.5)
    if restored.deviation is not None:
        within = abs(seen.images - restored.images) <= DEVIATIONS * restored.deviation
        found["coverage"] = float(within.mean())
        if "mask" in seen.truth:
            missing = np.broadcast_to(seen.truth["mask"] == 0, within.shape)
            found["coverage_missing"] = float(within[missing].mean())
    return found


# --- methods -------------------------------------------------------------------------------------


def as_it_is(row: str) -> tuple[Restore, Row]:
    """Nothing is done."""
    del row
    return lambda seen: Restored(seen.observed), {}


def classically(validation: Source, row: str) -> tuple[Restore, Row]:
    """By the method that restores validation images best; and which one that is."""
    tried = observe(validation, min(VALIDATION, len(validation)), row, " of validation images")
    candidate, parameters, psnr = classical.choose(
        classical.METHODS[classical.kind(row)], tried.images, tried.observed, _each_truth(tried)
    )
    one = functools.partial(classical.restore, candidate, parameters)
    notes = {"classical": candidate.name, "parameters": parameters, "validation_psnr": psnr}
    return lambda seen: Restored(np.stack([*map(one, seen.observed, _each_truth(seen))])), notes


def _each_truth(seen: Observed) -> list[Truth]:
    return [jax.tree.map(lambda values, n=n: values[n], seen.truth) for n in seen.numbers]


def by_network(run: Loaded, row: str) -> tuple[Restore, Row]:
    """By a network that is told no more of the degradation than which pixels are missing."""
    restore = lambda observed, truth: run.restore(observed, row, truth)
    return lambda seen: Restored(_in_batches(restore, seen.observed, seen.truth)), {}


def by_prior(run: Loaded, row: str) -> tuple[Restore, Row]:
    """By a search among a model's images for those that would be seen so."""
    ask = functools.partial(
        prior.restore, run.model, run.params, parse("--rows", row), **_settings()
    )

    def one(observed, truth, numbers):
        found = ask(observed, truth, rng.key(0, f"{row} restored"), numbers)
        return found.mean, found.deviation

    return lambda seen: Restored(*_in_batches(one, seen.observed, seen.truth, seen.numbers)), {}


def _settings() -> Row:
    return {"restarts": FLAGS.restarts, "steps": FLAGS.steps}


def _in_batches(function: Callable[..., PyTree], *arrays: PyTree) -> PyTree:
    """`function` of arrays in batches of one shape; the last image fills up the last batch."""
    num = len(jax.tree.leaves(arrays)[0])
    parts = []
    for start in range(0, num, BATCH):
        rows = np.minimum(np.arange(start, start + min(BATCH, num)), num - 1)
        batch = jax.tree.map(lambda values, rows=rows: values[rows], arrays)
        parts.append(jax.device_get(function(*batch)))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:num], *parts)


def prepare(
    name: str, runs: Mapping[str, Loaded], validation: Source, row: str
) -> tuple[Restore, Row]:
    """What the method `name` does with `row`, and what is to be noted of it."""
    if name == "degraded":
        return as_it_is(row)
    if name == "classical":
        return classically(validation, row)
    return (by_network if ABILITIES[name] is Restorer else by_prior)(runs[name], row)


def identity(name: str, runs: Mapping[str, Loaded]) -> Row:
    """What the results of a method depend on, but for the images."""
    if name not in runs:
        return {"method": name}
    run = runs[name]
    settings = {} if ABILITIES[name] is Restorer else _settings()
    provenance = {"step": run.step, "config_hash": config_hash(run.experiment.config)}
    return {"method": name, **provenance, **settings}


# --- the command ---------------------------------------------------------------------------------


def main() -> None:
    """Measures what is not measured yet, and writes tables and picture."""
    rows = _rows(FLAGS.rows)
    folder, picture = pathlib.Path(FLAGS.results), pathlib.Path(FLAGS.picture)
    for where, path in (("--results", folder), ("--picture", picture.parent)):
        check_writable(where, path)
    names = _names()
    runs = {name: _open(name) for name in ABILITIES if FLAGS[name].value}
    data, log = _data(runs), folder / "restoration.jsonl"
    sources = next(iter(runs.values())).experiment.sources
    if FLAGS.num > len(sources["test"]):
        raise UserError(f"--num: {FLAGS.num}, but the test split has {len(sources['test'])}")
    same = {"num": FLAGS.num, "data": data}
    known = _that_agree(read_rows(log), same)
    table = {}
    for row in rows:
        observed = functools.cache(lambda row=row: observe(sources["test"], FLAGS.num, row))
        for name in names:
            wanted = {"row": row, **identity(name, runs), **same}
            found = next(iter(_that_agree(known, wanted)), None)
            if not found:
                restore, notes = prepare(name, runs, sources["validation"], row)
                run = {"run": pathlib.Path(FLAGS[name].value).name} if name in runs else {}
                found = {**wanted, **run, **notes, **_measure(restore, observed())}
                append_rows(log, [found])
                print(f"{row} {name}: {found['psnr']:.2f} dB, SSIM {found['ssim']:.3f}", flush=True)
            table[row, name] = found
    # Of other calls, too, which may have measured meanwhile.
    every = {(row["row"], row["method"]): row for row in _that_agree(read_rows(log), same)}
    table = every | table
    _write_tables(table, folder)
    grids.save_png(_picture(table, read(sources["test"], PICTURED)["image"]), picture)
    print(f"{folder / 'restoration.md'}, {picture}")


def _rows(asked: str) -> list[str]:
    table = {row: [row] for row in ROWS}
    for row in ROWS:
        table.setdefault(classical.kind(row), []).append(row)
    names = asked.split("|") if asked else ROWS
    found = [row for name in names for row in choose("--rows", name.strip(), table)]
    return list(dict.fromkeys(found))


def _names() -> list[str]:
    """The methods of this call."""
    for name in FLAGS.methods:
        choose("--methods", name, TITLES)
        if name in ABILITIES and not FLAGS[name].value:
            raise UserError(f"--{name}: is missing; name a run folder")
    given = lambda name: name not in ABILITIES or FLAGS[name].value
    return FLAGS.methods or [name for name in TITLES if given(name)]


def _open(name: str) -> Loaded:
    with errors_within(f"--{name}"):
        run = load(FLAGS[name].value)
        require(run.model, ABILITIES[name], FLAGS[name].value)
        return run


def _data(runs: Mapping[str, Loaded]) -> Row:
    """What the runs' data sections say of the test images.

    Raises:
      UserError: there is no run, or they are of different images.
    """
    if not runs:
        raise UserError("--l1: is missing; one run at least has to say what the data set is")
    sections = {
        name: {
            k: v
            for k, v in as_it_was(run.experiment.config)["data"].items()
            if k not in SAME_IMAGES
        }
        for name, run in runs.items()
    }
    first, *others = sections
    for name in others:
        if sections[name] != sections[first]:
            raise UserError(
                f"--{name}: its images are {sections[name]}, and those of --{first} "
                f"{sections[first]}; choose runs of one data set"
            )
    return json.loads(json.dumps(sections[first]))  # as it is read again


def _that_agree(rows: Sequence[Row], wanted: Row) -> list[Row]:
    return [row for row in rows if wanted.items() <= row.items()]


def _measure(restore: Restore, seen: Observed) -> Row:
    start = time.monotonic()
    restored = restore(seen)
    seconds = time.monotonic() - start  # with compilation
    pixels = grids.to_uint8(restored.images[PICTURED])
    return {
        **score(seen, restored),
        "seconds_per_image": seconds / len(seen.images),
        "code_version": code_version(),
        "pictured": base64.b64encode(zlib.compress(pixels.tobytes())).decode(),
    }


# --- tables and picture --------------------------------------------------------------------------

Table = Mapping[tuple[str, str], Row]


def _write_tables(table: Table, folder: pathlib.Path) -> None:
    """restoration.md and restoration.csv."""
    first = next(iter(table.values()))
    data = first["data"].get("dataset", first["data"]["name"])
    runs = dict.fromkeys(_run_in_words(row) for row in table.values() if "run" in row)
    parts = [
        f"The first {first['num']} test images of {data}, restored from the same observed ones in "
        "8 bits: mean and standard error over images, the best in bold. Of each network one run, "
        f"by name, config hash and step: {'; '.join(runs) or 'none'}. Classical: of each row the "
        f"best method, chosen with its parameters on {VALIDATION} validation images.",
        "The priors are told a degradation's parameters and maps, haze's transmission and low "
        "light's gamma among them; so are classical methods, but for these two, which they have to "
        "estimate. The networks are told which pixels are missing, and nothing else, not even the "
        "kind.",
        "PSNR in dB, of each image at most that of rounding to 8 bits:",
        _markdown(table, "psnr", 2),
        "SSIM:",
        _markdown(table, "ssim", 3),
        *_calibration(table),
    ]
    with replacing(folder / "restoration.md") as file:
        file.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    rows = [{k: v for k, v in row.items() if k != "pictured"} for row in table.values()]
    names = list(dict.fromkeys(name for row in rows for name in row))
    path = folder / "restoration.csv"
    with replacing(path) as whole, whole.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        for row in rows:
            as_json = {k: json.dumps(v) for k, v in row.items() if isinstance(v, Mapping)}
            writer.writerow(row | as_json)


def _run_in_words(row: Row) -> str:
    search = f", {row['restarts']} searches of {row['steps']} steps" if "restarts" in row else ""
    where = f"`{row['run']}` {row['config_hash'][:8]} at step {row['step']}"
    return f"{TITLES[row['method']]} {where}{search}"


def _measured(table: Table) -> tuple[list[str], list[str]]:
    """The rows and methods that have a result."""
    rows, names = zip(*table, strict=True)
    return [row for row in ROWS if row in rows], [name for name in TITLES if name in names]


def _markdown(table: Table, metric: str, digits: int) -> str:
    rows, names = _measured(table)
    extra = ["L1 less classical", "classical is"] if metric == "psnr" else []
    lines = [["degradation", *(TITLES[name] for name in names), *extra]]
    lines.append(["---"] * len(lines[0]))
    for row in rows:
        found = {name: table[row, name] for name in names if (row, name) in table}
        # What is not finite is a text in a file of rows.
        best = max(float(each[metric]) for each in found.values())
        cells = [_cell(found.get(name), metric, digits, best) for name in names]
        if extra:
            both = [float(found[name][metric]) for name in ("l1", "classical") if name in found]
            cells.append(f"{both[0] - both[1]:+.{digits}f}" if len(both) == 2 else "")
            cells.append(found.get("classical", {}).get("classical", ""))
        lines.append([f"`{row}`", *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(row: Row | None, metric: str, digits: int, best: float) -> str:
    if row is None:
        return ""
    value, error = (float(row[name]) for name in (metric, f"{metric}_se"))
    mean = f"{value:.{digits}f}"
    mean = f"**{mean}**" if value == best else mean
    return f"{mean} ± {error:.{digits}f}"


def _calibration(table: Table) -> list[str]:
    """How many true values lie in the band that should hold 90 % of them."""
    texts = []
    for name in TITLES:
        found = [table[row, name] for row in ROWS if "coverage" in table.get((row, name), {})]
        shares = [f"`{row['row']}` {_shares(row)}" for row in found]
        if shares:
            band = f"The {TITLES[name]}'s mean ± {DEVIATIONS} deviations, 90 % if it were normal,"
            texts.append(f"{band} holds of all pixels (of those missing): {', '.join(shares)}.")
    return texts


def _shares(row: Row) -> str:
    missing = f" ({row['coverage_missing']:.1%})" if "coverage_missing" in row else ""
    return f"{row['coverage']:.1%}{missing}"


def _picture(table: Table, images: np.ndarray) -> np.ndarray:
    """A row for each kind at its stronger strength, columns of the pictured images by method."""
    rows, names = _measured(table)
    rows = [row for row in rows if row in STRONGER] or rows
    empty = np.full_like(images, grids.BACKGROUND)
    cells = []
    for row in rows:
        cells.append(images)
        for name in names:
            pixels = table.get((row, name), {}).get("pictured")
            raw = zlib.decompress(base64.b64decode(pixels)) if pixels else empty.tobytes()
            cells.append(np.frombuffer(raw, np.uint8).reshape(images.shape))
    tiles = np.concatenate(cells).astype(np.float32) / 255
    titles = [row.partition("+")[0] for row in rows]
    picture = grids.labelled_rows(tiles, titles, len(images) * (1 + len(names)))
    return _below_titles(picture, ["truth", *map(TITLES.get, names)], tiles.shape[2])


def _below_titles(picture: np.ndarray, titles: Sequence[str], side: int) -> np.ndarray:
    """The picture below the titles of its columns, each as wide as the pictured images."""
    font = ImageFont.load_default(14)
    strip = Image.new("L", (picture.shape[1], 24), grids.BACKGROUND)
    draw = ImageDraw.Draw(strip)
    width = len(PICTURED) * (side * max(1, grids.COMFORTABLE // side) + grids.PADDING)
    for number, title in enumerate(reversed(titles)):
        middle = strip.width - (number + 0.5) * width
        draw.text((middle, 13), title, fill=230, font=font, anchor="mm")
    above = np.repeat(np.asarray(strip)[..., None], picture.shape[-1], axis=-1)
    return np.concatenate([above, picture])


if __name__ == "__main__":
    sys.exit(command_line.main(sys.argv, __doc__, main))
