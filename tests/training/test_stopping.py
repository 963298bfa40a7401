"""What signals do to a process that listens for them; each in a process of its own."""

import signal
import subprocess
import sys
import threading
import time

import pytest

from genjax.training.stopping import TEMPORARY_FAILURE, StopRequest

#: Says when it listens, and what comes of it.
PROGRAM = """
import sys, time
from genjax.training import stopping
stopping.GRACE = float(sys.argv[2])
try:
    with stopping.StopRequest() as stop:
        if sys.argv[1] == "polled":
            with stop.polled():
                print("ready", flush=True)
                while not stop.asked:
                    time.sleep(0.01)
                print("asked by", stop.asked, flush=True)
        elif sys.argv[1] == "deaf":
            with stop.polled():
                print("ready", flush=True)
                time.sleep(60)
                while True:
                    time.sleep(60)
        else:
            print("ready", flush=True)
            time.sleep(60)
except stopping.Stopped:
    print("stopped")
    raise SystemExit(stopping.TEMPORARY_FAILURE)
"""


def ended(kind: str, *signals: signal.Signals, grace: float = 50.0) -> tuple[int, str, str]:
    """(exit code, what was said on either stream)."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, kind, str(grace)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout.readline() == "ready\n"
        for number in signals:
            process.send_signal(number)
            time.sleep(0.2)
        out, err = process.communicate(timeout=40)
    return process.returncode, out, err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_loop_sees_the_first_signal_and_ends_in_its_own_time(number):
    code, out, err = ended("polled", number)
    assert (code, out, err) == (TEMPORARY_FAILURE, f"asked by {number.name}\nstopped\n", "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_elsewhere_the_first_signal_stops_where_the_program_is(number):
    assert ended("elsewhere", number) == (TEMPORARY_FAILURE, "stopped\n", "")


def test_the_second_signal_stops_at_once():
    code, out, err = ended("deaf", signal.SIGINT, signal.SIGINT)
    assert (code, out, err) == (TEMPORARY_FAILURE, "", "stopping at once: asked twice\n")


def test_who_does_not_listen_is_stopped_when_its_time_is_over():
    code, out, err = ended("deaf", signal.SIGTERM, grace=0.5)
    assert (code, out, err) == (TEMPORARY_FAILURE, "", "stopping at once: not done after 0.5 s\n")


def test_afterwards_signals_do_what_they_did():
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    before, threads = signal.set_wakeup_fd(-1), threading.active_count()
    with StopRequest(), StopRequest():
        assert signal.getsignal(signal.SIGTERM) not in handlers
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == handlers
    assert signal.set_wakeup_fd(-1) == before == -1
    assert threading.active_count() == threads


def test_in_another_thread_nothing_is_heard():
    heard = []

    def listen():
        with StopRequest() as stop, stop.polled():
            heard.append(stop.asked)

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert heard == [""]
