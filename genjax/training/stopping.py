"""Ending in time when the operating system, a scheduler or a person asks for it."""

import contextlib
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Iterator

#: What asks: a scheduler that wants the machine back, and Ctrl-C.
SIGNALS = (signal.SIGTERM, signal.SIGINT)
#: Exit code of a run that goes on when it is called again (EX_TEMPFAIL).
TEMPORARY_FAILURE = 75
#: Seconds for what is under way; then the process ends, whatever it is doing.
GRACE = 25.0


class Stopped(BaseException):
    """The process was asked to stop, and what there was to save is saved.

    No `Exception`: who handles a picture that can not be read does not handle this.
    """


class StopRequest(contextlib.AbstractContextManager):
    """Listens for `SIGNALS` while it is entered, in the main thread; elsewhere it hears nothing.

    The first signal raises `Stopped` where the program is, or, inside of `polled`, is noted in
    `asked` for the loop to see. The second one ends the process at once. A thread of its own hears
    them, too, since Python calls no handler while a compiler runs: it keeps to `GRACE`.

    Attributes:
      asked: the name of the signal that came; empty before.
    """

    def __init__(self):
        self.asked = ""
        self._is_polled = False

    def __enter__(self) -> "StopRequest":
        self._listens = threading.current_thread() is threading.main_thread()
        if self._listens:
            self._ours, theirs = socket.socketpair()
            theirs.setblocking(False)
            self._theirs = theirs
            self._wakeup = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
            self._handlers = {each: signal.signal(each, self._handle) for each in SIGNALS}
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        if self._listens:
            for each, handler in self._handlers.items():
                signal.signal(each, handler)
            signal.set_wakeup_fd(self._wakeup)
            self._theirs.close()  # which ends the thread
            self._thread.join()
            self._ours.close()

    @contextlib.contextmanager
    def polled(self) -> Iterator[None]:
        """Within, a signal is only noted; one that nobody acted on raises `Stopped` at the end."""
        self._is_polled = True
        try:
            yield
        finally:
            self._is_polled = False
        if self.asked:
            raise Stopped

    def _handle(self, number: int, frame: object) -> None:
        del frame
        self.asked = self.asked or signal.Signals(number).name
        if not self._is_polled:
            raise Stopped

    def _watch(self) -> None:
        heard = False
        while True:
            ready, _, _ = select.select([self._ours], [], [], GRACE if heard else None)
            came = self._ours.recv(1) if ready else b""
            if ready and not came:
                return
            if came and came[0] not in SIGNALS:
                continue
            if came and not heard:
                heard = True
                self.asked = signal.Signals(came[0]).name
                continue
            why = "asked twice" if came else f"not done after {GRACE:g} s"
            print(f"stopping at once: {why}", file=sys.stderr, flush=True)
            os._exit(TEMPORARY_FAILURE)
