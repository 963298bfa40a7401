"""What the scripts share as commands: an error is one line, and launch.py is told of signals."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from absl import flags, logging

from genjax.errors import UserError, tell
from genjax.training.stopping import SIGNALS, TEMPORARY_FAILURE, Stopped

ROOT = pathlib.Path(__file__).resolve().parent.parent
#: Flags of the script that runs.
FLAGS = flags.FLAGS
#: How launch.py ends when it was asked to stop: in training, elsewhere, and while it was starting.
STOPPED = (TEMPORARY_FAILURE, 128 + signal.SIGINT, -signal.SIGINT, -signal.SIGTERM)
#: Signals that ask to stop: Ctrl-C, a scheduler, a terminal that is closed, Ctrl-\\.
ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class LaunchError(Exception):
    """launch.py ended with this code, and has said why."""

    def __init__(self, code: int):
        super().__init__(code)
        self.code = code


def main(argv: Sequence[str], doc: str, body: Callable[..., None], *, names: str = "") -> int:
    """Calls `body` when the flags are read; 0, 2 after an error, 75 if asked to stop.

    Args:
      argv: the script's.
      doc: its docstring, for --help.
      body: what it does.
      names: what is given besides flags, one or more, to `body`; without it there are flags alone.
    """
    if {"--help", "-h"} & set(argv):
        print(doc.strip())
        return 0
    try:
        _, *given = FLAGS(argv)
        if given and not names:
            raise UserError(f"{given[0]!r}: is no flag; flags are written --name=value")
        if names and not given:
            raise UserError(f"{names}: is missing; name one or more")
        logging.set_verbosity(logging.FATAL)
        with _handling(dict.fromkeys(SIGNALS, _stop)):
            body(*given)
    except (UserError, flags.Error, OSError) as error:
        return tell(error, argv[0])
    except LaunchError as error:
        return error.code
    except (Stopped, KeyboardInterrupt):
        print("stopped; the same command goes on from what is done", file=sys.stderr)
        return TEMPORARY_FAILURE
    return 0


def _stop(*_: object) -> None:
    raise Stopped


@contextlib.contextmanager
def _handling(handlers: Mapping[signal.Signals, Any]) -> Iterator[None]:
    """Handles signals so; what is ignored, by nohup for one, stays so."""
    there = {number: signal.getsignal(number) for number in handlers}
    before = {k: was for k, was in there.items() if was not in (signal.SIG_IGN, None)}
    try:
        for number in before:
            signal.signal(number, handlers[number])
        yield
    finally:
        for number, was in before.items():
            signal.signal(number, was)


def launch(*arguments: str) -> None:
    """Runs launch.py in a process of its own, which is told when this one is asked to stop.

    Raises:
      Stopped: it was asked to stop, or this process was; it goes on when it is called again.
      LaunchError: it failed.
    """
    process, heard, early = None, [], []

    def hand_on(number: int, _: object) -> None:
        heard.append(number)
        early.append(number) if process is None else send(number)

    def send(number: int) -> None:
        process.send_signal(signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)

    def pause(*_: object) -> None:
        """Ctrl-Z, until the shell says to go on."""
        if process:
            process.send_signal(signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)
        if process:
            process.send_signal(signal.SIGCONT)

    handlers = dict.fromkeys(ASKING, hand_on)
    # What is ignored in this process is so in the other: of the background, it may write.
    handlers |= {signal.SIGTSTP: pause, signal.SIGTTOU: signal.SIG_IGN}
    with _handling(handlers):
        # In a group of its own: a terminal's Ctrl-C comes here alone, and to it once.
        command = [sys.executable, str(ROOT / "launch.py"), *arguments]
        with subprocess.Popen(command, process_group=0) as process:
            for number in early:
                send(number)
            code = process.wait()
    if heard or code in STOPPED:
        raise Stopped
    if code < 0:
        print(f"error: launch.py: {signal.Signals(-code).name} ended it", file=sys.stderr)
        code = 128 - code
    if code:
        raise LaunchError(code)
