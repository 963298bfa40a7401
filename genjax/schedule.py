"""Durations and schedules: how long, how often, and how a number changes over the run."""

import math
import re
from collections.abc import Callable

import optax
from jaxtyping import Array, Float

from genjax.errors import UserError, did_you_mean

Schedule = Callable[[int], float]
#: A number of a config; inside a compiled program, where it is an input of that, an array.
Number = float | Float[Array, ""]


def num_steps(
    where: str, duration: str | int, *, examples_per_step: int, num_examples: int, total: int = 0
) -> int:
    """A duration in steps: `500`, `"500 steps"`, `"20 epochs"`, `"1e6 examples"`, `"10 percent"`.

    Percent is of `total` steps. Fractions of a step round up.

    Raises:
      UserError: naming the config field `where`, for anything else.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?(?:e\d{1,2})?)\s*([a-z%]*)\s*", str(duration).lower())
    if not match:
        raise UserError(
            f"{where}: {duration!r} is no duration; write a number and a unit, as '20 epochs'"
        )
    amount, unit = float(match[1]), (match[2].rstrip("s") or "step").replace("%", "percent")
    units = {
        "step": 1.0,
        "example": 1 / examples_per_step,
        "epoch": num_examples / examples_per_step,
        "percent": total / 100,
    }
    if unit not in units:
        names = ("steps", "examples", "epochs", "percent")
        raise UserError(f"{where}: no such unit {match[2]!r}{did_you_mean(match[2], names)}")
    return math.ceil(amount * units[unit] - 1e-9)


def round_up(steps: int, multiple: int) -> int:
    """The smallest multiple of `multiple` that is at least `steps`."""
    return -(-steps // multiple) * multiple


def constant(value: Number, total_steps: int) -> Schedule:
    """`value` all along."""
    del total_steps
    return optax.constant_schedule(value)


def linear(value: Number, total_steps: int) -> Schedule:
    """From `value` straight down to 0 at `total_steps`."""
    return optax.linear_schedule(value, 0.0, total_steps)


def cosine(value: Number, total_steps: int) -> Schedule:
    """From `value` to 0 along half a cosine (Loshchilov and Hutter 2017)."""
    return optax.cosine_decay_schedule(value, total_steps)


def exponential(value: Number, total_steps: int) -> Schedule:
    """From `value` to a hundredth of it, by the same factor each step."""
    return optax.exponential_decay(value, total_steps, 0.01)


def powers_of_three(value: Number, total_steps: int) -> Schedule:
    """`value` by 10^(-i/7) in stage i of 0 to 7, each three times as long as the one before.

    Burda et al. 2016, section 5: passes over the data are 3^i of stage i, 3280 in all.
    """
    stages = 8
    ends = [-(-total_steps * (3**i - 1) // (3**stages - 1)) for i in range(1, stages)]  # up
    rates = [optax.constant_schedule(value * 10 ** (-i / (stages - 1))) for i in range(stages)]
    return optax.join_schedules(rates, ends)


#: The schedules that a config may name.
SCHEDULES = {
    "constant": constant,
    "linear": linear,
    "cosine": cosine,
    "exponential": exponential,
    "powers_of_three": powers_of_three,
}


def with_warmup(schedule: Schedule, warmup_steps: int) -> Schedule:
    """Rises linearly from 0 to the schedule's first value over `warmup_steps`, then follows it."""
    if warmup_steps == 0:
        return schedule
    rise = optax.linear_schedule(0.0, schedule(0), warmup_steps)
    return optax.join_schedules([rise, schedule], [warmup_steps])
