"""The commands of launch.py that work on a person's own pictures."""

import functools
import itertools
import math
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import cv2
import jax
import numpy as np
from rich.console import Console

from genjax import rng
from genjax.data.folder import ENDINGS
from genjax.data.shapes import RANGES, Shapes, render
from genjax.errors import UserError, choose
from genjax.evaluation.evaluators import MAX_PSNR
from genjax.fields import ANY, COUNT, SEED, check_number
from genjax.imaging.degradations import Degradation, MissingPixels, parse
from genjax.imaging.latents import Composed
from genjax.imaging.pictures import Picture, pictures_in, read_picture, write_picture
from genjax.imaging.streaming import Outcome, check_apart, each_picture
from genjax.imaging.tiles import LUMA
from genjax.loaded import METHODS, Loaded, check_method, load
from genjax.metrics.reconstruction import WINDOW, psnr, ssim
from genjax.models.base import Restorer, Sampler, Translator, TwoWayTranslator, require
from genjax.report import grids
from genjax.run_folder import check_writable

CONSOLE = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)
#: Pairs of drawings from which a factor's direction is found, and how far apart they are, as a
#: share of the factor's range.
NUM_DRAWINGS, PART_OF_RANGE = 2000, 0.1

Pixels = np.ndarray


def restore(
    workdir: pathlib.Path,
    input: pathlib.Path,
    output: pathlib.Path,
    degradation: str,
    degrade: bool,
    mask: pathlib.Path | None,
    method: str,
    restarts: int,
    steps: int,
    enlarge: int,
    panel: bool,
    uncertainty: bool,
    seed: int,
) -> None:
    """Restores every picture of `input` into `output`.

    Args:
      workdir: a run of a model trained to restore, or of a VAE or GAN as a prior.
      input: a folder or a picture.
      output: a folder.
      degradation: what happened to the pictures; a trained model need not be told.
      degrade: whether they are whole and are to be damaged first.
      mask: a picture, or a folder with one for each: white where there is a pixel.
      method: `search` or `impute`, for a prior.
      restarts: of the search.
      steps: of the search.
      enlarge: makes pictures so many times larger first.
      panel: whether damaged | restored (| whole) are written side by side, too.
      uncertainty: whether the deviations are written as a picture, too.
      seed: of damage and search.
    """
    for name, value in (("restarts", restarts), ("steps", steps), ("enlarge", enlarge)):
        check_number(f"--{name}", value, COUNT)
    check_number("--seed", seed, SEED)
    choose("--method", method, METHODS)
    damage = parse("--degradation", degradation or "none")
    _check_apart(input, output, mask)
    loaded = load(workdir)
    prior = not isinstance(loaded.model, Restorer)
    if prior:
        require(loaded.model, Sampler, "restore")
    if degrade and not degradation:
        raise UserError("--degradation: is missing; say how --degrade is to damage the pictures")
    if prior and not degradation:
        raise UserError(
            "--degradation: is missing; a model that is not trained to restore has to be told what "
            "happened to the pictures, as gaussian_noise:0.1"
        )
    if uncertainty and not prior:
        raise UserError("--uncertainty: comes from restarts of a VAE or GAN; this run has neither")
    if mask and (degrade or (prior and not damage.has_holes)):
        raise UserError(
            "--mask: says which pixels miss, without --degrade, and for a VAE or GAN with "
            "--degradation=missing_pixels; here nothing would look at it"
        )
    if mask and not prior and not loaded.model.told_holes:
        raise UserError(
            "--mask: this network was trained on pictures without holes, and can not be told of any"
        )
    if damage.has_holes and not (prior or mask or degrade) and loaded.model.told_holes:
        raise UserError("--mask: is missing; this network has to be told which pixels miss")
    masks = _masks(mask)
    # A trained model wants to know of no more than holes.
    told = MissingPixels() if mask and not prior else damage
    if prior:
        check_method("--method", method, loaded.model, damage)
        if not degrade:  # what is not known is so of every picture
            damage.known(loaded.image_shape, None if mask is None else np.ones((1, 1, 1)))
    values: list[tuple[float, ...]] = []  # mean deviation; of the restored, of the damaged

    def one(name: pathlib.Path, picture: Picture) -> dict[str, Picture]:
        whole = picture.pixels.repeat(enlarge, 0).repeat(enlarge, 1)
        seen, truth = whole, None
        if degrade:
            seen, truth = damaged(damage, whole, rng.key(seed, name.as_posix()))
        elif prior or mask:
            truth = told.known(whole.shape, masks(name, whole.shape[:2], enlarge))
        shown: list[Pixels] = [seen]
        extra = {}
        if prior:
            made, deviation = loaded.explain(
                seen, told, truth, method=method, restarts=restarts, steps=steps, seed=seed
            )
            if uncertainty:
                extra["_uncertainty"] = Picture(deviation.clip(0, 1))
        else:
            made, deviation = loaded.restore(seen, told, truth), np.zeros(1)
        compared = (made, seen) if degrade else ()
        quality = itertools.chain(*(psnr_and_ssim(each, whole) for each in compared))
        values.append((deviation.mean(), *quality))
        shown.append(made)
        if degrade:
            shown.append(whole)
        if panel:
            extra["_panel"] = Picture(side_by_side(shown))
        return {"": picture.with_pixels(made), **extra}

    extras = [*(["_panel"] if panel else []), *(["_uncertainty"] if uncertainty else [])]
    outcome = _each(input, output, one, extras)
    told = ""
    if values:
        deviation, *quality = np.mean(values, axis=0)
        if degrade:
            told = "; PSNR {:.2f} dB, SSIM {:.3f} (damaged: {:.2f} dB, {:.3f})".format(*quality)
        told += f"; mean deviation {deviation:.3f}" if prior else ""
    _tell(outcome, "restored", output, told)


def damaged(degradation: Degradation, pixels: Pixels, key: Any) -> tuple[Pixels, Any]:
    """(what is left of a picture, in 8 bits as a file holds it; the truth)."""
    seen, truth = degradation(jax.numpy.asarray(pixels), key)
    return np.round(255 * np.asarray(seen)) / np.float32(255), jax.tree.map(np.asarray, truth)


def psnr_and_ssim(made: Pixels, truth: Pixels) -> tuple[float, float]:
    """(PSNR in dB, at most `MAX_PSNR`; SSIM) of a picture; SSIM 0 where its window does not fit."""
    pair = jax.numpy.asarray(made)[None], jax.numpy.asarray(truth)[None]
    similarity = float(ssim(*pair)[0]) if min(truth.shape[:2]) >= WINDOW else 0.0
    return min(float(psnr(*pair)[0]), MAX_PSNR), similarity


def _masks(path: pathlib.Path | None, flag: str = "--mask") -> Callable[..., Pixels | None]:
    """For (name, size, enlarge): the mask [H, W, 1] of 0 and 1, or None without masks."""
    if path is None:
        return lambda *_: None
    files = pictures_in(path, flag)
    root = path if path.is_dir() else path.parent
    by_name = _by_name(files, flag)

    @functools.lru_cache(maxsize=1)
    def of(file: pathlib.Path) -> Pixels:
        return read_picture(root / file).pixels.mean(-1, keepdims=True) > 0.5

    def find(name: pathlib.Path, size: tuple[int, int], enlarge: int = 1) -> Pixels:
        file = by_name.get(name.with_suffix("")) if path.is_dir() else files[0]
        if file is None:
            raise UserError(f"{flag}: {path} has no mask called {name.with_suffix('')}")
        mask = of(file).repeat(enlarge, 0).repeat(enlarge, 1)
        if mask.shape[:2] != size:
            ours, theirs = (f"{w} wide and {h} high" for h, w in (mask.shape[:2], size))
            raise UserError(f"{flag}: {root / file} is {ours}, but the picture {theirs}")
        return mask.astype(np.float32)

    return find


def _by_name(files: Iterable[pathlib.Path], flag: str) -> dict[pathlib.Path, pathlib.Path]:
    """The pictures by their names without endings, of which no two may be the same."""
    named: dict[pathlib.Path, pathlib.Path] = {}
    for file in files:
        if (other := named.setdefault(file.with_suffix(""), file)) != file:
            raise UserError(f"{flag}: {other} and {file} have one name; rename one")
    return named


def translate(
    workdir: pathlib.Path, input: pathlib.Path, output: pathlib.Path, back: bool, panel: bool
) -> None:
    """Translates every picture of `input` into `output`; with `back`, the other way."""
    _check_apart(input, output)
    loaded = load(workdir)
    ability, asked = (TwoWayTranslator, "translate --back") if back else (Translator, "translate")
    require(loaded.model, ability, asked)

    def one(name: pathlib.Path, picture: Picture) -> dict[str, Picture]:
        del name
        made = loaded.translate(picture.pixels, back=back)
        extra = {"_panel": Picture(side_by_side([picture.pixels, made]))} if panel else {}
        return {"": picture.with_pixels(made), **extra}

    _tell(_each(input, output, one, ["_panel"] if panel else []), "translated", output)


def enhance(
    workdir: pathlib.Path,
    input: pathlib.Path,
    output: pathlib.Path,
    attribute: str,
    before: pathlib.Path | None,
    after: pathlib.Path | None,
    amount: float,
    panel: bool,
) -> None:
    """Moves every picture of `input` along a direction in the model's latents by `amount`.

    The direction is that of an `attribute` of the `shapes` data, in that factor's unit, or the one
    from the pictures in `before` to those of the same names in `after`, whose amount is 1.
    """
    check_number("--amount", amount, ANY)
    if attribute and (before or after):
        raise UserError("--attribute: goes without --before and --after; choose one way")
    if not (attribute or before or after):
        raise UserError("--attribute: name one, or two folders by --before and --after")
    _check_apart(input, output, before, after)
    loaded = load(workdir)
    require(loaded.model, Sampler, "enhance")
    _without_labels(loaded)
    if attribute:
        direction = attribute_direction(loaded, attribute)
    else:
        direction = loaded.direction(*_partners(loaded, before, after))

    def one(name: pathlib.Path, picture: Picture) -> dict[str, Picture]:
        del name
        seen = fitted(picture.pixels, loaded.image_shape)
        made = as_it_came(loaded.enhance(seen[None], direction, amount)[0], picture)
        shown = [picture.pixels, made.pixels]
        return {"": made, **({"_panel": Picture(side_by_side(shown))} if panel else {})}

    _tell(_each(input, output, one, ["_panel"] if panel else []), "enhanced", output)


def attribute_direction(loaded: Loaded, attribute: str) -> Pixels:
    """The direction of one factor of `shapes`, found from pairs of drawings that differ in it."""
    data = loaded.experiment.config["data"]
    if data["name"] != "shapes":
        raise UserError(
            f"--attribute: {attribute!r} is a factor of the data set 'shapes', and this run has "
            f"{data['name']!r}; name two folders by --before and --after"
        )
    size, _, channels = loaded.image_shape
    drawings = Shapes("train", NUM_DRAWINGS, size, channels)
    known = {name: RANGES[name] for name in drawings.factor_names if name in RANGES}
    low, high = choose("--attribute", attribute, known)
    amount = PART_OF_RANGE * (high - low)
    pairs: tuple[list, list] = [], []
    for index in range(NUM_DRAWINGS):
        factors = drawings.factors(index)
        for side, drawn in zip((-0.5, 0.5), pairs, strict=True):
            # Only drawings that can be: light ends at 1, hue goes round.
            value = factors[attribute] + side * amount - (amount / 2 if attribute == "light" else 0)
            changed = {**factors, attribute: value % 1 if attribute == "hue" else value}
            drawn.append(render(changed, size, channels))
    before, after = (np.stack(drawn).astype(np.float32) / 255 for drawn in pairs)
    return loaded.direction(before, after, np.full(NUM_DRAWINGS, amount))


def _partners(
    loaded: Loaded, before: pathlib.Path | None, after: pathlib.Path | None
) -> tuple[Pixels, Pixels]:
    """Two batches: the pictures of both folders by their names."""
    if not (before and after):
        missing = "--after" if before else "--before"
        raise UserError(f"{missing}: is missing; name two folders with pictures of the same names")
    names = {}
    for flag, folder in (("--before", before), ("--after", after)):
        files = [file.relative_to(folder) for file in _all(folder, flag)]
        names[flag] = {name: folder / file for name, file in _by_name(files, flag).items()}
    alone = sorted(map(str, names["--before"].keys() ^ names["--after"].keys()))
    if alone:
        more = f" and {len(alone) - 5} more" if len(alone) > 5 else ""
        raise UserError(f"--before, --after: no partner for {', '.join(alone[:5])}{more}")
    order = sorted(names["--before"])
    return tuple(_batch([files[name] for name in order], loaded) for files in names.values())


def _all(folder: pathlib.Path, flag: str) -> list[pathlib.Path]:
    """The pictures of the folder that `flag` names."""
    files = pictures_in(folder, flag)
    if not folder.is_dir():
        raise UserError(f"{flag}: {folder} is one picture; name a folder of some")
    return [folder / file for file in files]


def _batch(files: list[pathlib.Path], loaded: Loaded) -> Pixels:
    return np.stack([fitted(read_picture(file).pixels, loaded.image_shape) for file in files])


def compose(
    workdir: pathlib.Path,
    input: pathlib.Path,
    output: pathlib.Path,
    masks: pathlib.Path | None,
    labels: str,
    plus: pathlib.Path | None,
    minus: pathlib.Path | None,
    restarts: int,
    steps: int,
    seed: int,
) -> None:
    """Makes one picture of several, or gives each another's attributes.

    With `masks`, a folder of masks with the pictures' names, all pictures of `input` become one,
    each where its mask is white: composed.png, and panel.png beside the pieces. With `labels`, as
    FROM,TO, each picture of the class FROM comes out as one of the class TO. With `plus` and
    `minus`, two folders, what tells the mean picture of `plus` from that of `minus` is added to
    each.
    """
    for name, value in (("restarts", restarts), ("steps", steps)):
        check_number(f"--{name}", value, COUNT)
    check_number("--seed", seed, SEED)
    ways = {"--masks": masks, "--labels": labels, "--plus": plus or minus}
    if sum(map(bool, ways.values())) != 1:
        raise UserError(f"compose: choose one of {', '.join(ways)}")
    _check_apart(input, output, masks, plus, minus)
    if masks and (output / "composed.png").exists():
        CONSOLE.print(f"composed.png was there already in {output}")
        return
    loaded = load(workdir)
    require(loaded.model, Sampler, "compose")
    if masks:
        found = _composed(loaded, input, output, masks, restarts, steps, seed)
        told = "no two pieces touch, so there is no seam"
        if np.isfinite(found.seam):
            told = f"seam {found.seam:.2f} times the pieces' own steps there"
            told += f", {found.pasted_seam:.2f} when pasted"
        CONSOLE.print(f"composed.png and panel.png in {output}; {told}")
        return
    latents = functools.partial(loaded.latents, restarts=restarts, steps=steps, seed=seed)
    if labels:
        first, second = _classes(loaded, labels)
        change = lambda images: loaded.generate(latents(images, first), second)
    else:
        _without_labels(loaded)
        if not (plus and minus):
            raise UserError(f"--{'minus' if plus else 'plus'}: is missing; name both folders")
        ends = [
            latents(_batch(_all(folder, flag), loaded))
            for flag, folder in (("--plus", plus), ("--minus", minus))
        ]
        step = ends[0].mean(0) - ends[1].mean(0)
        change = lambda images: loaded.generate(latents(images) + step)

    def one(name: pathlib.Path, picture: Picture) -> Mapping[str, Picture]:
        del name
        seen = fitted(picture.pixels, loaded.image_shape)
        return {"": as_it_came(change(seen[None])[0], picture)}

    _tell(_each(input, output, one, []), "composed", output)


def _composed(
    loaded: Loaded,
    source: pathlib.Path,
    output: pathlib.Path,
    masks: pathlib.Path,
    restarts: int,
    steps: int,
    seed: int,
) -> Composed:
    names, find = pictures_in(source), _masks(masks, "--masks")
    if len(names) < 2:
        raise UserError(f"--input: {source} holds one picture; at least two make another")
    root = source if source.is_dir() else source.parent
    pieces = [read_picture(root / name) for name in names]
    size = pieces[0].pixels.shape
    for name, piece in zip(names, pieces, strict=True):
        if piece.pixels.shape[:2] != size[:2]:
            raise UserError(f"{root / name}: is of another size than {root / names[0]}")
    shown = [find(name, size[:2]) for name in names]
    shape = loaded.image_shape
    small = np.stack([fitted(piece.pixels, shape) for piece in pieces])
    covers = np.stack([resized(mask, (*shape[:2], 1)) for mask in shown])
    found = loaded.compose(small, covers, restarts=restarts, steps=steps, seed=seed)
    panel = [*small, found.pasted, found.image]
    write_picture(output / "panel.png", Picture(side_by_side(panel)))
    # It comes last: where it lies, all is done.
    write_picture(output / "composed.png", as_it_came(found.image, _frame(pieces)))
    return found


def _frame(pieces: list[Picture]) -> Picture:
    """An empty picture of the pieces' size: in colour, or deep, if one of them is; opaque."""
    channels = max(piece.pixels.shape[-1] for piece in pieces)
    deepest = max((piece.dtype for piece in pieces), key=lambda dtype: np.iinfo(dtype).max)
    size = pieces[0].pixels.shape[:2]
    return Picture(np.zeros((*size, channels), np.float32), dtype=deepest)


def _classes(loaded: Loaded, labels: str) -> tuple[np.ndarray, np.ndarray]:
    """The two labels of `FROM,TO`, each for one picture."""
    names, count = loaded.experiment.class_names, loaded.model.num_classes
    if not count:
        raise UserError(f"--labels: {labels!r}, but this model was trained without labels")
    both = [part.strip() for part in labels.split(",")]
    if len(both) != 2:
        raise UserError(f"--labels: {labels!r} is not FROM,TO; for example 3,8")
    known = {str(number): number for number in range(count)}
    known |= {name: number for number, name in enumerate(names)}
    for name in both:
        if name.isdecimal() and name not in known:
            raise UserError(f"--labels: {name} is out of range; labels are 0 to {count - 1}")
    first, second = (np.array([choose("--labels", name, known)], np.int32) for name in both)
    return first, second


def _without_labels(loaded: Loaded) -> None:
    if loaded.model.num_classes:
        raise UserError(
            "--workdir: this model draws pictures by their labels, and those of your pictures are "
            "not known; use a model without labels"
        )


# --- pictures ------------------------------------------------------------------------------------


def fitted(pixels: Pixels, shape: tuple[int, int, int]) -> Pixels:
    """A picture squeezed into a model's size and brought to its channels."""
    pixels = resized(pixels, shape)
    if shape[-1] == pixels.shape[-1]:
        return pixels
    return pixels @ LUMA[:, None] if shape[-1] == 1 else np.repeat(pixels, 3, axis=-1)


def resized(pixels: Pixels, shape: tuple[int, ...]) -> Pixels:
    """A picture of another height and width; each made smaller by means, larger bicubically."""
    height, width = shape[:2]
    # One side after the other: where one grows, OpenCV takes no means along the other.
    for size in ((pixels.shape[1], height), (width, height)):
        smaller = math.prod(size) < math.prod(pixels.shape[:2])
        how = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
        if pixels.shape[1::-1] != size:
            pixels = cv2.resize(pixels, size, interpolation=how).reshape(*size[::-1], -1)
    return pixels.clip(0, 1)


def as_it_came(made: Pixels, picture: Picture) -> Picture:
    """What a model made of a picture, in the picture's size and in its channels."""
    made = resized(made, picture.pixels.shape)
    if picture.pixels.shape[-1] < made.shape[-1]:
        made = made @ LUMA[:, None]
    return picture.with_pixels(np.broadcast_to(made, picture.pixels.shape))


def side_by_side(pictures: list[Pixels]) -> Pixels:
    """Pictures of one height in a row, in colour, a dark seam between them."""
    seam = np.full((pictures[0].shape[0], 2, 3), grids.BACKGROUND / 255, np.float32)
    row = [part for picture in pictures for part in (grids.in_colour(picture[None])[0], seam)]
    return np.concatenate(row[:-1], axis=1)


def _check_apart(source: pathlib.Path, target: pathlib.Path, *others: pathlib.Path | None) -> None:
    """Raises a UserError if pictures can not be read, or not be written apart from all inputs.

    That is known before a model is loaded.
    """
    check_writable("--output", target)
    names = pictures_in(source)
    for folder in filter(None, (source, *others)):
        check_apart(folder, target, names, "--output")


def _each(
    source: pathlib.Path,
    target: pathlib.Path,
    function: Callable[[pathlib.Path, Picture], Mapping[str, Picture]],
    extras: list[str],
) -> Outcome:
    return each_picture(source, target, function, extras, target_flag="--output")


def _tell(outcome: Outcome, done: str, target: pathlib.Path, more: str = "") -> None:
    """Says what became of the pictures.

    Raises:
      UserError: some failed; the first few are named.
    """
    skipped = f", {outcome.skipped} were there already" if outcome.skipped else ""
    if outcome.done or not outcome.failed:
        pictures = "picture" if outcome.done == 1 else "pictures"
        CONSOLE.print(f"{outcome.done} {pictures} {done} in {target}{skipped}{more}")
    if outcome.left_out:
        others = f" and {len(outcome.left_out) - 1} more" if len(outcome.left_out) > 1 else ""
        CONSOLE.print(f"left out: {outcome.left_out[0]}{others}; {ENDINGS}", style="yellow")
    if outcome.failed:
        left = f"; and {len(outcome.failed) - 5} more" if len(outcome.failed) > 5 else ""
        raise UserError("; ".join(outcome.failed[:5]) + left)
