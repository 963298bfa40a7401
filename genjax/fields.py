"""A config's fields: each known, each there, each number one that can be."""

import contextlib
import inspect
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple

from genjax.errors import UserError, did_you_mean


class Section(dict):
    """A config, or a section of one, that knows its path; asking for a missing field says so."""

    def __init__(self, fields: Mapping[str, Any], path: str = ""):
        self.path = path
        super().__init__({name: self._value(name, value) for name, value in fields.items()})

    def _value(self, name: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            return Section(value, f"{self.path}{name}.")
        # JSON has no tuples, and a Flax module with a list could not be hashed.
        return tuple(value) if isinstance(value, list) else value

    def __missing__(self, name: str) -> Any:
        raise UserError(f"{self.path}{name}: is missing")

    def without(self, *names: str) -> "Section":
        """The section without these fields, which something else reads; they have to be there."""
        for name in names:
            _ = self[name]
        return Section({k: v for k, v in self.items() if k not in names}, self.path)

    def with_values(self, values: Mapping[str, Any]) -> "Section":
        """The section with these fields, by their paths from here, set anew."""
        fields = dict(self)
        for path, value in values.items():
            name, _, rest = path.partition(".")
            fields[name] = fields[name].with_values({rest: value}) if rest else value
        return Section(fields, self.path)

    def check_names(self, known: Collection[str]) -> None:
        """Raises a UserError naming a field that is not known, or a known one that is missing."""
        for name in sorted(self.keys() - set(known)):
            raise UserError(f"{self.path}{name}: no such field{did_you_mean(name, known)}")
        for name in sorted(set(known) - self.keys()):
            _ = self[name]


def field_at(fields: Any, path: str, where: str = "") -> Any:
    """The field of nested sections at a dotted path.

    Raises:
      UserError: naming the first part that is not there, after `where`, and the nearest that is.
    """
    parts = path.split(".")
    for depth, name in enumerate(parts, 1):
        choices = fields if isinstance(fields, Mapping) else ()
        if name not in choices:
            missing = ".".join(parts[:depth])
            raise UserError(f"{where}{missing}: no such field{did_you_mean(name, choices)}")
        fields = fields[name]
    return fields


def construct(function: Callable, section: Section, optional: bool = False, **context: Any) -> Any:
    """`function` called with the fields of `section` and with that part of `context` it takes.

    The field `name`, which chose the function, is not passed.

    Args:
      function: a function or a class.
      section: its arguments; each has to be there.
      optional: whether those with a default need not be there.
      context: arguments that are no fields.

    Raises:
      UserError: a field that `function` does not take, or one that is missing.
    """
    # Flax adds `parent` and `name` to every module.
    takes = {
        name: parameter
        for name, parameter in inspect.signature(function).parameters.items()
        if name not in ("parent", "name")
    }
    fields = {name: value for name, value in section.items() if name != "name"}
    known = takes.keys() - context.keys()
    for name in sorted(fields.keys() - known):
        kind = section.get("name", function.__name__)
        near = did_you_mean(name, known)
        raise UserError(f"{section.path}{name}: no such field for {kind!r}{near}")
    for name in sorted(known - fields.keys()):
        if not optional or takes[name].default is inspect.Parameter.empty:
            _ = section[name]
    return function(**fields, **{name: v for name, v in context.items() if name in takes})


@contextlib.contextmanager
def errors_within(where: str) -> Iterator[None]:
    """Puts `where` in front of the message of a UserError."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


class Rule(NamedTuple):
    """What a number has to be, in words and as a test."""

    text: str
    holds: Callable[[float], bool]


def _is_whole(value: float) -> bool:
    return isinstance(value, int)


COUNT = Rule("a whole number of at least 1", lambda v: _is_whole(v) and v >= 1)
NUMBER = Rule("a whole number of at least 0", lambda v: _is_whole(v) and v >= 0)
SEED = Rule("a whole number from 0 to 2^32 - 1", lambda v: _is_whole(v) and 0 <= v < 2**32)
ANY = Rule("a number", lambda _: True)
AMOUNT = Rule("a number of at least 0", lambda v: v >= 0)
RATE = Rule("a number above 0", lambda v: v > 0)
SHARE = Rule("a number from 0 to 1", lambda v: 0 <= v <= 1)
DECAY = Rule("a number from 0 to below 1", lambda v: 0 <= v < 1)
SAMPLES = Rule(
    "a whole number of at least 2, or 0 for no judging of samples",
    lambda v: _is_whole(v) and (v == 0 or v >= 2),
)

#: What the numbers of a config may be, by the last part of their path.
NUMBERS = {
    "accumulate": COUNT,
    "auxiliary_weight": AMOUNT,
    "b1": DECAY,
    "b2": DECAY,
    "blocks": NUMBER,
    "batch_size": COUNT,
    "clip_norm": AMOUNT,
    "cycle_weight": AMOUNT,
    "d_steps": COUNT,
    "detail": COUNT,
    "draws": COUNT,
    "ema_decay": SHARE,
    "feature_size": COUNT,
    "free_bits": AMOUNT,
    "identity_weight": AMOUNT,
    "kl_weight": AMOUNT,
    "l1_weight": AMOUNT,
    "latent_size": COUNT,
    "learning_rate": RATE,
    "levels": COUNT,
    "log_var_range": ANY,
    "max_to_keep": COUNT,
    "min_log_scale": ANY,
    "num_components": COUNT,
    "num_samples": SAMPLES,
    "penalty_weight": AMOUNT,
    "pool_size": COUNT,
    "rollbacks": NUMBER,
    "scale": RATE,
    "second_widths": COUNT,
    "seed": SEED,
    "steps_per_call": COUNT,
    "weight_clip": RATE,
    "width": COUNT,
    "widths": COUNT,
}


#: Those of which there are several, or may be.
LISTS, MAY_BE_LISTS = {"widths", "second_widths", "log_var_range"}, {"latent_size"}


def check_number(where: str, value: Any, rule: Rule) -> None:
    """Raises a UserError naming the field or flag `where` if `value` breaks `rule`."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (is_number and math.isfinite(value) and rule.holds(value)):
        raise UserError(f"{where}: {value!r} is not {rule.text}")


def check_numbers(section: Section) -> None:
    """Raises a UserError naming the first number in `section`, or below it, that can not be."""
    for name, value in section.items():
        if isinstance(value, Section):
            check_numbers(value)
        elif name in NUMBERS:
            where, is_list = f"{section.path}{name}", isinstance(value, list | tuple)
            if is_list != (name in LISTS) and name not in MAY_BE_LISTS:
                kind = "a list of numbers" if name in LISTS else NUMBERS[name].text
                raise UserError(f"{where}: {value!r} is not {kind}")
            for each in value if is_list else [value]:
                check_number(where, each, NUMBERS[name])
