"""The one kind of error that a user may see, how it is said, and the search for the right name."""

import difflib
import errno
import os
import signal
import sys
from collections.abc import Hashable, Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")
#: What an operating system says where there is no room left; it names no file.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class UserError(Exception):
    """A wrong field, file, shape or folder. Its message is one line that says what to do instead.

    The command line prints the message and exits with code 2; everything else that is raised is
    a fault of genjax itself.
    """


def tell(error: Exception, command: str) -> int:
    """Says in one line, on stderr, what is wrong with what the user gave; the exit code, 2.

    Of a pipe whose reader has gone nothing is said; the code is that of SIGPIPE in a shell.

    Args:
      error: an OSError or what has such a line as its message.
      command: to name where a disk is full.

    Raises:
      OSError: it is none of a file or of a full disk, and so a fault of genjax.
    """
    said = str(error)
    if isinstance(error, BrokenPipeError) and not error.filename:
        # What is left in the buffer goes nowhere when Python flushes it at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    if isinstance(error, OSError):
        if not error.filename and error.errno not in FULL:
            raise error
        said = f"{error.filename or command}: {error.strerror}"
    print(f"error: {' '.join(said.split())}", file=sys.stderr)
    return 2


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
    if not isinstance(name, Hashable) or name not in table:
        raise UserError(f"{where}: no such choice {name!r}{did_you_mean(name, table)}")
    return table[name]
