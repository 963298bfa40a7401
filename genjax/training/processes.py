"""Several processes that train as one: how they come together, agree, and part.

Each runs the same program on its own devices. Process 0 alone reads and writes the run folder, and
scores; the others hear from it what they have to know, so that no file system need be shared.
"""

import collections
import contextlib
import itertools
import os
import pickle
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from orbax.checkpoint import multihost

from genjax.errors import UserError
from genjax.training.parallel import Devices
from genjax.training.stopping import Stopped

T = TypeVar("T")

#: Seconds in which all processes have to have come.
ARRIVAL = 300
#: Seconds without a sign of life after which a process counts as dead.
HEARTBEAT = 60
#: Seconds that a process which ends waits for the others to end, too.
DEPARTURE = 10
#: Milliseconds for which the others wait while process 0 scores: a week.
PATIENCE = 7 * 24 * 3600 * 1000
#: What JAX says where a process does not answer any more.
LOST = re.compile("Gloo|heartbeat timeout|Barrier failed")
ADDRESS = re.compile(r"(.+):(\d+)")
_meetings = itertools.count()


def join(
    distributed: bool, coordinator: str, num_processes: int | None, process_id: int | None
) -> None:
    """Joins this process to the others, if there are to be any; before JAX asks for its devices.

    Args:
      distributed: whether JAX finds the rest by itself: in a job of Slurm or Open MPI, on
        Kubernetes and on pods of TPUs.
      coordinator: HOST:PORT at which process 0 listens.
      num_processes: how many there are.
      process_id: which of them this is.

    Raises:
      UserError: naming the flag that is wrong, or what can not be reached.
    """
    given = {
        "coordinator": coordinator or None,
        "num_processes": num_processes,
        "process_id": process_id,
    }
    missing = [name for name, value in given.items() if value is None]
    if len(missing) == 3 and not distributed:
        return
    if len(missing) < 3 and distributed:
        raise UserError("--distributed: finds out by itself what the other flags say; leave it out")
    if distributed:
        return _join_cluster()
    if missing:
        raise UserError(
            f"--{missing[0]}: is missing; --coordinator, --num_processes and --process_id go "
            "together"
        )
    _check_place(coordinator, num_processes, process_id)
    # Else JAX, in a job of Slurm, gives a process one of its devices only.
    _initialize(coordinator, num_processes, process_id, cluster_detection_method="deactivate")


def _initialize(*place: Any, **how: Any) -> None:
    # JAX's own service for stopping would hear SIGTERM instead of `StopRequest`: Python can neither
    # call nor put back a handler that is not its own. `agreed` does its work.
    jax.config.update("jax_enable_preemption_service", False)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(
        *place,
        **how,
        initialization_timeout=ARRIVAL,
        heartbeat_timeout_seconds=HEARTBEAT,
        shutdown_timeout_seconds=DEPARTURE,
    )


def _join_cluster() -> None:
    try:
        _initialize()
    except ValueError as error:
        raise UserError(
            "--distributed: this is no job of Slurm or Open MPI, no pod of TPUs and no Kubernetes; "
            "give --coordinator, --num_processes and --process_id"
        ) from error


def _check_place(coordinator: str, num_processes: int, process_id: int) -> None:
    """Raises a UserError where JAX would end the process, with a trace of C++."""
    address = ADDRESS.fullmatch(coordinator)
    if not address or int(address[2]) >= 2**16:
        raise UserError(f"--coordinator: {coordinator!r} is not HOST:PORT, as 10.0.0.1:1234")
    if num_processes < 1:
        raise UserError(f"--num_processes: {num_processes} is not a whole number of at least 1")
    if not 0 <= process_id < num_processes:
        raise UserError(
            f"--process_id: {process_id} is not from 0 to {num_processes - 1}, "
            "--num_processes less 1"
        )
    host, port = address[1].strip("[]"), int(address[2])
    if process_id == 0:
        try:
            socket.create_server(("", port)).close()
        except OSError as error:
            raise UserError(f"--coordinator: port {port}: {error.strerror}") from error
        return
    end = time.monotonic() + ARRIVAL
    while True:
        try:
            return socket.create_connection((host, port), timeout=5).close()
        except OSError as error:
            if time.monotonic() > end:
                raise UserError(
                    f"--coordinator: process 0 does not answer at {coordinator} after {ARRIVAL} s: "
                    f"{error.strerror or error}"
                ) from error
        time.sleep(0.5)


def leave(code: int) -> None:
    """Waits for the others to end, too; where they do not, ends this process with `code` at once.

    JAX, which waits for them at the end of a process, would abort it instead.
    """
    if not jax.distributed.is_initialized() or jax.process_count() == 1:
        return
    try:
        multihost.get_barrier_sync_fn()(key="genjax ends", timeout_ms=DEPARTURE * 1000)
    except jax.errors.JaxRuntimeError:
        os._exit(code)


@contextlib.contextmanager
def losses_stop() -> Iterator[None]:
    """Raises `Stopped` within where another process was lost: the same command goes on."""
    try:
        yield
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        if jax.process_count() == 1 or not LOST.search(str(error)):
            raise
        print(f"another process is lost: {str(error).splitlines()[0]}", file=sys.stderr)
        raise Stopped from error


def is_first() -> bool:
    """Whether this is process 0, or the only one."""
    return jax.process_index() == 0


def from_first(work: Callable[[], T]) -> T:
    """What `work` gives on process 0, on every process; the others wait for it.

    All have to call it, in the same order. What it raises there is raised on all.
    """
    if jax.process_count() == 1:
        return work()
    value, error = None, None
    if is_first():
        try:
            value = jax.device_get(work())
        except BaseException as raised:
            error = raised
    # Collectives of the devices need not wait for minutes, which a service for that does.
    multihost.get_barrier_sync_fn()(key=f"genjax {next(_meetings)}", timeout_ms=PATIENCE)
    told = _broadcast(pickle.dumps((value, _plain(error))))
    if error:
        raise error
    value, error = pickle.loads(told)
    if error:
        raise error
    return value


def _plain(error: BaseException | None) -> BaseException | None:
    """An error that can be sent."""
    if error is None or isinstance(error, Stopped):
        return error
    if isinstance(error, UserError):
        return UserError(str(error))
    if isinstance(error, OSError) and error.errno:
        return OSError(error.errno, error.strerror, error.filename)
    return RuntimeError(f"process 0: {error!r}")


def _broadcast(message: bytes) -> bytes:
    """Process 0's `message`."""
    length = int(multihost_utils.broadcast_one_to_all(np.uint32(len(message))))
    # JAX compiles a program for each size.
    size = 1 << (length - 1).bit_length()
    padded = np.zeros(size, np.uint8)
    if is_first():
        padded[:length] = np.frombuffer(message, np.uint8)
    return multihost_utils.broadcast_one_to_all(padded)[:length].tobytes()


def anywhere(devices: Devices, flag: bool) -> bool:
    """Whether `flag` is true on any process; all have to ask."""
    return flag if jax.process_count() == 1 else bool(devices.any(flag))


def agreed(devices: Devices, asked: Callable[[], bool]) -> Callable[[], bool]:
    """Whether `asked` holds on any process: at the same call on all, if all call it as often.

    The answer is that of the call before, so that no one waits for what was just dispatched.
    """
    if jax.process_count() == 1:
        return asked
    answers = collections.deque()

    def ask() -> bool:
        answers.append(devices.any(asked()))
        return len(answers) > 1 and bool(answers.popleft())

    return ask
