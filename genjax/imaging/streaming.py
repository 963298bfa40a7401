"""A folder of pictures through a function, picture by picture, into another folder."""

import errno
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import rich.progress
from rich.console import Console
from rich.text import Text

from genjax.data.folder import other_pictures, walked
from genjax.errors import UserError
from genjax.imaging.pictures import Picture, pictures_in, read_picture, write_picture


class Outcome(NamedTuple):
    """What became of the pictures.

    Attributes:
      done: how many were read, computed and written.
      skipped: how many were there already.
      failed: a line for each of the others.
      left_out: pictures of the folder in formats that are not read.
    """

    done: int
    skipped: int
    failed: list[str]
    left_out: tuple[Path, ...] = ()


def each_picture(
    source: Path,
    target: Path,
    function: Callable[[Path, Picture], Mapping[str, Picture]],
    extras: Sequence[str] = (),
    source_flag: str = "--input",
    target_flag: str = "--out",
) -> Outcome:
    """Writes what `function` makes of each picture under the picture's own name in `target`.

    Pictures whose output is there already are skipped, so a run that was cut short goes on where it
    was. One that can not be read, computed or written for its own faults stops nothing. Besides
    what `function` returns, two pictures are held: the present one, and the next, which is read
    meanwhile.

    Args:
      source: a folder, read with those below it, or one picture.
      target: a folder; is made if need be.
      function: takes the picture's path relative to `source` and the picture; returns its output
        at "" and others at each of `extras`. May raise a UserError.
      extras: suffixes to the file's stem; with "_panel", a/b.jpg has a/b_panel.png beside it.
      source_flag: what named the source, for messages.
      target_flag: what named the target, for messages.

    Raises:
      UserError: there is no picture; an output would overwrite an input or another output, or lie
        where the next run reads it; the disk is full or can not be written.
      ValueError: `function` returns other keys than "" and `extras`.
    """
    names = pictures_in(source, source_flag)
    check_apart(source, target, names, target_flag)
    _check_distinct(names, extras, source_flag)
    root = source if source.is_dir() else source.parent
    waiting = [name for name in names if not (target / name).exists()]
    failed = []
    with _progress() as progress, ThreadPoolExecutor(1) as pool:
        task = progress.add_task("pictures", total=len(waiting))
        try:
            for name, reading in _read_ahead(pool, root, waiting):
                try:
                    _write(target, name, extras, function(name, reading.result()))
                except UserError as error:
                    failed.append(_naming(root / name, error))
                except OSError as error:
                    if error.errno != errno.ENAMETOOLONG:  # of an extra: it is its own fault
                        raise
                    failed.append(f"{root / name}: {error.strerror}")
                progress.advance(task)
        except OSError as error:
            raise UserError(
                f"{target_flag}: can not write to {target}: {error.strerror or error}; the same "
                "command goes on from there"
            ) from error
    left_out = tuple(sorted(other_pictures(source))) if source.is_dir() else ()
    return Outcome(len(waiting) - len(failed), len(names) - len(waiting), failed, left_out)


def check_apart(source: Path, target: Path, names: Sequence[Path], flag: str) -> None:
    """Raises a UserError naming `flag` if outputs `names` in `target` would lie in `source`."""
    if target.is_file():
        raise UserError(f"{flag}: {target} is a file; name a folder, as {target.with_suffix('')}")
    into = target.resolve()
    if source.is_dir():
        # Links may lead to folders elsewhere. A folder around one that is read is fine, as long as
        # no output falls back into that.
        read = {here.resolve() for here, _ in walked(source)}
        outputs = {(into / name).parent for name in names}
        among = any(not read.isdisjoint((folder, *folder.parents)) for folder in outputs)
    else:
        among = into == source.parent.resolve()
    if among:
        raise UserError(
            f"{flag}: what is written to {target} would lie among the pictures of {source}; choose "
            "a folder outside it"
        )


def _check_distinct(names: Sequence[Path], extras: Sequence[str], flag: str) -> None:
    """Raises a UserError if two inputs would write the same file."""
    inputs: dict[Path, Path] = {}
    for name in names:
        for suffix in ("", *extras):
            output = _output(name, suffix)
            if inputs.setdefault(output, name) != name:
                raise UserError(
                    f"{flag}: {inputs[output]} and {name} would both write {output}; rename one"
                )


def _output(name: Path, suffix: str) -> Path:
    return name.with_name(f"{name.stem}{suffix}.png") if suffix else name


def _read_ahead(
    pool: ThreadPoolExecutor, root: Path, names: Sequence[Path]
) -> Iterator[tuple[Path, Future[Picture]]]:
    """Each name and its picture; the next is being read while the caller works on one."""
    # `zip` would hold the first picture to the end.
    ahead = None
    for name in names:
        following = name, pool.submit(read_picture, root / name)
        if ahead:
            yield ahead
        ahead = following
    if ahead:
        yield ahead


def _write(
    target: Path, name: Path, extras: Sequence[str], pictures: Mapping[str, Picture]
) -> None:
    if set(pictures) != {"", *extras}:
        raise ValueError(f"expected pictures {['', *extras]}, got {list(pictures)}")
    # "" comes last: where it lies, the picture is done.
    for suffix in (*extras, ""):
        write_picture(target / _output(name, suffix), pictures[suffix])


def _naming(file: Path, error: UserError) -> str:
    """The error's line, which begins with the file."""
    line = str(error)
    return line if line.startswith(str(file)) else f"{file}: {line}"


class _Rate(rich.progress.ProgressColumn):
    """Pictures a second."""

    def render(self, task: rich.progress.Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.3g}/s" if speed else "", style="progress.data.speed")


def _progress() -> rich.progress.Progress:
    """A live line on a terminal, and nothing elsewhere."""
    console = Console(stderr=True)
    return rich.progress.Progress(
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        _Rate(),
        rich.progress.TimeRemainingColumn(),
        console=console,
        # Of the usual half minute's pictures a large model may not finish two.
        speed_estimate_period=600,
        transient=True,
        disable=not console.is_terminal,
    )
