"""The one kind of error that a user may see, and the search for the nearest right name."""

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")


class UserError(Exception):
    """A wrong field, file, shape or folder. Its message is one line that says what to do instead.

    The command line prints the message and exits with code 2; everything else that is raised is
    a fault of genjax itself.
    """


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` for the nearest choice, else the choices themselves."""
    choices = sorted(choices)
    close = difflib.get_close_matches(str(name), choices, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; choose from {', '.join(choices)}" if choices else ""


def choose(where: str, name: str, table: Mapping[str, T]) -> T:
    """The entry of `table` called `name`.

    Raises:
      UserError: `where` (a config field, say) names nothing in `table`.
    """
    if name not in table:
        raise UserError(f"{where}: no such choice {name!r}{did_you_mean(name, table)}")
    return table[name]
