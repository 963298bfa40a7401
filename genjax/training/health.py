"""What goes wrong with generative models without any number ceasing to be one, and what helps."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

#: A metric's value at each step that reported it.
Series = Mapping[int, float]

#: Losses whose discriminator is done when its loss is nothing.
SATURATING = ("minimax", "non_saturating", "hinge", "least_squares")
#: Where a network's units are, by what its metrics begin with.
UNITS = {"": "", "d_": "of the discriminator ", "g_": "of the generator "}


class Rule(NamedTuple):
    """An illness, by one metric of metrics.jsonl.

    Attributes:
      metric: its name.
      is_ill: of a value and the highest one until then.
      rows: so many rows in succession have to be ill.
      text: what it is, and what helps.
    """

    metric: str
    is_ill: Callable[[float, float], bool]
    rows: int
    text: str


def rules(config: Mapping[str, Any]) -> list[Rule]:
    """The illnesses that a model of this config can have."""
    model = config.get("model")
    model = model if isinstance(model, Mapping) else {}
    found = [
        Rule(
            "validation/class_entropy",
            lambda value, highest: value < 0.7 * highest,
            2,
            "mode collapse: samples are of fewer classes than they were; the best checkpoint may "
            "be the better one; try model.penalty, a lower learning rate or a larger batch",
        ),
        Rule(
            "train/diversity",
            lambda value, highest: value < 0.5 * highest,
            10,
            "mode collapse: samples differ half as much as they did; the best checkpoint may be "
            "the better one; try model.penalty, a lower learning rate or a larger batch",
        ),
        *(
            Rule(
                f"train/{network}dead_units",
                lambda value, _: value > 0.5,
                10,
                f"more than half of the units {where}learn nothing any more: their gradients are "
                "0; try a lower learning rate, a clip_norm or a normalization",
            )
            for network, where in UNITS.items()
        ),
    ]
    sizes = model.get("latent_size")
    # A GAN has latents, too, but nothing that counts the active ones.
    if size := sum(sizes) if isinstance(sizes, list | tuple) else sizes:
        found.append(
            Rule(
                "train/active_units",
                lambda value, _: value < size / 10,
                10,
                f"posterior collapse: not even a tenth of the {size} latents are used; try "
                "model.free_bits above 0, a longer model.kl_warmup or a lower model.kl_weight",
            )
        )
    if model.get("loss") in SATURATING:
        found.append(
            Rule(
                "train/d_loss",
                lambda value, _: value < 0.05,
                10,
                "the discriminator has won: its loss is below 0.05, and the generator learns "
                "little from it; try discriminator.spectral_norm, a lower "
                "optimizer.discriminator.learning_rate or, where the model has one, model.penalty",
            )
        )
    return found


class _Course(NamedTuple):
    """How a rule's metric has gone until now: its highest value, and since when it is ill."""

    highest: float = -math.inf
    since: int = 0
    rows: int = 0

    def after(self, rule: Rule, step: int, value: float) -> "_Course":
        highest = max(self.highest, value)
        if not rule.is_ill(value, highest):
            return _Course(highest)
        return _Course(highest, self.since if self.rows else step, self.rows + 1)


def warnings(series: Mapping[str, Series], config: Mapping[str, Any]) -> list[tuple[int, str]]:
    """(the step at which it began, what it is and what helps) for all that is ill at the end."""
    found = []
    for rule in rules(config):
        course = _Course()
        for step, value in series.get(rule.metric, {}).items():
            course = course.after(rule, step, value)
        if course.rows >= rule.rows:
            found.append((course.since, rule.text))
    return found


class Watch:
    """Takes the rows of metrics.jsonl as they are written, and tells each illness once."""

    def __init__(self, config: Mapping[str, Any]):
        self._courses = {rule: _Course() for rule in rules(config)}

    def __call__(self, step: int, row: Mapping[str, Any]) -> list[str]:
        """What is new with this row, as lines for a person."""
        new = []
        for rule, course in self._courses.items():
            if rule.metric in row:
                course = course.after(rule, step, float(row[rule.metric]))
                self._courses[rule] = course
                if course.rows == rule.rows:
                    new.append(f"since step {course.since}: {rule.text}")
        return new
