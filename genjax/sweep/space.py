"""What a sweep tries: the sweep file's search space as a list of trials."""

import dataclasses
import itertools
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from genjax.errors import UserError, choose
from genjax.fields import AMOUNT, COUNT, SEED, Section, check_number, check_numbers, field_at

#: The fields of a sweep file, and those of `resources`, which are for one trial.
FIELDS = ("space", "num_samples", "metric", "mode", "search", "early_stopping", "resources")
RESOURCES = ("cpu", "gpu", "tpu")
SEARCHES = ("random", "optuna")
EARLY_STOPPING = ("none", "asha")


@dataclasses.dataclass(frozen=True)
class Trial:
    """One setting of the swept fields.

    Attributes:
      name: of its run folder.
      parameters: the swept fields' values, by path.
      config: of the whole run.
    """

    name: str
    parameters: Mapping[str, Any]
    config: Mapping[str, Any]


class Kind(NamedTuple):
    """A way to say what values a field takes.

    Attributes:
      crossed: all values, each tried with all others; for a kind that draws None.
      draw: the value at u of [0, 1), from the values that the kind is given.
    """

    crossed: Callable[[Sequence[Any], Any], Sequence[Any]] | None
    draw: Callable[[Sequence[Any], float], Any] | None


def _uniform(bounds: Sequence[float], u: float) -> float:
    low, high = bounds
    whole = isinstance(low, int) and isinstance(high, int)
    return low + int(u * (high - low + 1)) if whole else low + u * (high - low)


def _log_uniform(bounds: Sequence[float], u: float) -> float:
    low, high = bounds
    whole = isinstance(low, int) and isinstance(high, int)
    value = float(np.exp(np.log(low) + u * (np.log(high + whole) - np.log(low))))
    return min(int(value), high) if whole else value


KINDS = {
    "grid": Kind(lambda values, _: values, None),
    "seeds": Kind(lambda values, first: range(first, first + values[0]), None),
    "choice": Kind(None, lambda values, u: values[int(u * len(values))]),
    "uniform": Kind(None, _uniform),
    "log_uniform": Kind(None, _log_uniform),
}


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A sweep file, checked.

    Attributes:
      space: for each swept field, by path, the name of a `Kind` and what it is given.
      num_samples: how many settings are drawn; each is tried with the whole grid and all seeds.
      metric: of the validation split; what counts is its value at the end of training.
      mode: `min` or `max`.
      search: how settings are drawn: `random`, or `optuna`, which learns from those before.
      early_stopping: `none`, or `asha`: trials that are behind end early.
      resources: what a trial takes: `cpu`, `gpu` and `tpu`.
    """

    space: Mapping[str, tuple[str, Sequence[Any]]]
    num_samples: int
    metric: str
    mode: str
    search: str
    early_stopping: str
    resources: Mapping[str, float]

    @property
    def draws(self) -> bool:
        """Whether there is a field whose values are drawn."""
        return any(KINDS[kind].draw for kind, _ in self.space.values())

    def trials(self, config: Mapping[str, Any]) -> list[Trial]:
        """All trials of `config`; which ones is a pure function of it and the sweep.

        Raises:
          UserError: one of them has a number that can not be.
        """
        drawn = {path: spec for path, spec in self.space.items() if KINDS[spec[0]].draw}
        crossed = {
            path: KINDS[kind].crossed(values, config["seed"])
            for path, (kind, values) in self.space.items()
            if path not in drawn
        }
        settings, before = [], []
        for number in range(self.num_samples):
            values = {
                path: KINDS[kind].draw(values, _u(path, config["seed"], number))
                for path, (kind, values) in drawn.items()
            }
            if values in before:  # a run would be trained again, bit for bit
                continue
            before.append(values)
            settings += [
                values | dict(zip(crossed, each, strict=True))
                for each in itertools.product(*crossed.values())
            ]
        return [
            trial(f"{number:04}", {path: values[path] for path in self.space}, config)
            for number, values in enumerate(settings)
        ]


def trial(name: str, parameters: Mapping[str, Any], config: Mapping[str, Any]) -> Trial:
    """The trial of `config` with these values; a UserError if it has a number that can not be."""
    config = Section(config).with_values(parameters)
    try:
        check_numbers(config)
    except UserError as error:
        raise UserError(f"space: {error}") from error
    return Trial(name, dict(parameters), config)


def _u(path: str, seed: int, number: int) -> float:
    """The draw of this number for this field, in [0, 1); Philox's raw stream never changes."""
    bits = np.random.Philox(key=[seed, zlib.crc32(path.encode())]).random_raw(number + 1)[-1]
    return int(bits) / 2**64


def parse(fields: Mapping[str, Any], config: Mapping[str, Any]) -> Sweep:
    """What a sweep file's `get_sweep()` returned, for an experiment's config.

    Raises:
      UserError: naming the field that is wrong and the nearest right choice.
    """
    if not isinstance(fields, Mapping):
        raise UserError(f"--sweep: get_sweep() gives {fields!r}, and no fields")
    fields = Section(fields)
    fields.check_names(FIELDS)
    for name in ("space", "resources"):
        if not isinstance(fields[name], Section):
            raise UserError(f"{name}: {fields[name]!r} is no section with fields")
    fields["resources"].check_names(RESOURCES)
    for name, amount in fields["resources"].items():
        check_number(f"resources.{name}", amount, AMOUNT)
    check_number("num_samples", fields["num_samples"], COUNT)
    for name, choices in (
        ("mode", ("min", "max")),
        ("search", SEARCHES),
        ("early_stopping", EARLY_STOPPING),
    ):
        choose(name, fields[name], dict.fromkeys(choices))
    if not fields["space"]:
        raise UserError("space: is empty; for example {'seed': common.seeds(3)}")
    space = {path: _spec(path, spec, config) for path, spec in fields["space"].items()}
    sweep = Sweep(**{**fields, "space": space})
    if sweep.num_samples > 1 and not sweep.draws:
        raise UserError(
            f"num_samples: {sweep.num_samples}, but nothing is drawn, only grid and seeds; choose 1"
        )
    crossed = [path for path, (kind, _) in space.items() if KINDS[kind].crossed]
    if sweep.search == "optuna" and crossed:
        raise UserError(
            f"search: 'optuna' draws, and space.{crossed[0]} is not drawn; write it as choice"
        )
    return sweep


def _spec(path: str, spec: Any, config: Mapping[str, Any]) -> tuple[str, Sequence[Any]]:
    """The kind and the values of one field of the space."""
    where = f"space.{path}"
    now = field_at(config, path, "space.")
    if isinstance(now, Mapping):
        raise UserError(f"{where}: is a section; sweep its fields: {', '.join(now)}")
    if not isinstance(spec, Mapping) or len(spec) != 1:
        raise UserError(f"{where}: {spec!r} does not say how; for example common.grid(1, 2)")
    ((kind, values),) = spec.items()
    kind_ = choose(where, kind, KINDS)
    values = tuple(values) if isinstance(values, list | tuple) else (values,)
    if not values:
        raise UserError(f"{where}: {kind} of no values")
    if kind == "seeds":
        if path != "seed":
            raise UserError(f"{where}: seeds are of the field 'seed'")
        check_number(where, values[0], COUNT)
        check_number(where, config["seed"] + values[0] - 1, SEED)
    elif kind in ("uniform", "log_uniform"):
        is_pair = len(values) == 2 and all(_is_number(each) for each in values)
        if not is_pair or not values[0] < values[1]:
            raise UserError(f"{where}: {kind} takes the least and the greatest, not {values}")
        if kind == "log_uniform" and values[0] <= 0:
            raise UserError(f"{where}: log_uniform needs numbers above 0, and {values[0]} is none")
    for value in kind_.crossed(values, config["seed"]) if kind_.crossed else values:
        if not _fits(value, now):
            raise UserError(f"{where}: {value!r} is no value for a field that is {now!r}")
    # A weight of 1 is one of 1.0, and what lies between 0 and 1 is no whole number.
    return kind, tuple(map(float, values)) if isinstance(now, float) else values


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _fits(value: Any, now: Any) -> bool:
    if isinstance(now, float):
        return _is_number(value)
    if isinstance(now, int | str) and not isinstance(now, bool):
        # A duration may be a number of steps, or a text.
        return isinstance(value, int | str) and not isinstance(value, bool)
    return isinstance(value, (type(now), list, tuple))
