"""Runs contenders in turns, each in a process of its own, and gives their times."""

import dataclasses
import multiprocessing
import os
import resource
import statistics
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

#: Works for ever and calls its first argument after every round, if it likes with the seconds of it
#: that it has waited for input.
Contender = Callable[..., None]


@dataclasses.dataclass(frozen=True)
class Timing:
    """What the turns of one contender took.

    Attributes:
      seconds: of each round.
      waiting: the share of all rounds that was spent waiting for input.
      peak_bytes: the most memory that its process ever held.
    """

    seconds: Sequence[float]
    waiting: float
    peak_bytes: int

    @property
    def median(self) -> float:
        """Seconds of the median round."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """(slowest - fastest) / median."""
        return (max(self.seconds) - min(self.seconds)) / self.median


def take_turns(
    contenders: Mapping[Hashable, tuple[Contender, tuple[Any, ...], Mapping[str, str]]],
    rounds: int,
    warmup: int = 1,
) -> dict[Hashable, Timing]:
    """Times `rounds` rounds of each contender, A B A B, while the others wait.

    Args:
      contenders: by name a function, its arguments after the first and its environment; the
        function has to be one of an importable module.
      rounds: how many count.
      warmup: how many come before them and do not count.
    """
    spawn = multiprocessing.get_context("spawn")
    processes, ends = {}, {}
    try:
        for name, (function, args, environment) in contenders.items():
            ends[name], theirs = spawn.Pipe()
            target = (theirs, function, args, environment)
            processes[name] = spawn.Process(target=_contend, args=target, daemon=True)
            processes[name].start()
            theirs.close()
            for _ in range(warmup):
                _turn(ends[name])
        reports = {name: [] for name in contenders}
        for _ in range(rounds):
            for name, end in ends.items():
                reports[name].append(_turn(end))
    finally:
        for process in processes.values():
            process.kill()
    timings = {}
    for name, turns in reports.items():
        seconds, waits, peaks = zip(*turns, strict=True)
        timings[name] = Timing(seconds, sum(waits) / sum(seconds), peaks[-1])
    return timings


def _turn(end: Connection) -> tuple[float, float, int]:
    time.sleep(0.2)  # until the threads of the one before have stopped to wait for work
    end.send("go")
    return end.recv()


def _contend(
    end: Connection, function: Contender, args: Sequence[Any], environment: Mapping[str, str]
) -> None:
    """In the contender's process: its rounds, each after a word from the other end."""
    os.environ.update(environment)
    end.recv()
    start = time.perf_counter()

    def end_of_round(waited: float = 0.0) -> None:
        nonlocal start
        seconds = time.perf_counter() - start
        # In KiB on Linux, in bytes on macOS.
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        end.send((seconds, waited, peak * (1 if os.uname().sysname == "Darwin" else 1024)))
        end.recv()
        start = time.perf_counter()

    function(end_of_round, *args)
