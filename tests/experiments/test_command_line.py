"""Scripts as commands: errors are one line, and launch.py hears what they are told."""

import errno
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest

from experiments import command_line
from experiments.command_line import LaunchError
from genjax.errors import UserError
from genjax.training.stopping import Stopped

#: All that make tables.
SCRIPTS = [
    path
    for path in sorted((command_line.ROOT / "experiments").glob("*.py"))
    if "sys.exit(" in path.read_text(encoding="utf-8")
]


@pytest.fixture
def launched(tmp_path, monkeypatch):
    """Launches a program in place of launch.py."""
    monkeypatch.setattr(command_line, "ROOT", tmp_path)

    def launch(program):
        (tmp_path / "launch.py").write_text(program)
        command_line.launch("train")

    return launch


@pytest.fixture(autouse=True)
def signals_are_heard():
    """Who runs the tests in the background has some of them ignored."""
    numbers = (*command_line.ASKING, signal.SIGTSTP, signal.SIGTTOU)
    before = [signal.signal(number, signal.SIG_DFL) for number in numbers]
    yield
    for number, was in zip(numbers, before, strict=True):
        signal.signal(number, was)


@pytest.mark.parametrize("end", ["sys.exit(75)", "sys.exit(130)", "kill(15)", "kill(2)"])
def test_who_asks_launch_py_to_stop_has_asked_the_script(end, launched):
    with pytest.raises(Stopped):
        launched(
            "import os, signal, sys\n"
            "signal.signal(signal.SIGINT, signal.SIG_DFL)\n"
            f"kill = lambda number: os.kill(os.getpid(), number)\n{end}"
        )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_script_by_itself_is_asked_to_stop(number, capsys):
    stop = lambda: os.kill(os.getpid(), number) or time.sleep(9)
    assert command_line.main(["script.py"], "", stop) == 75
    told = "stopped; the same command goes on from what is done\n"
    assert capsys.readouterr().err == told
    assert signal.getsignal(number) is signal.SIG_DFL


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_that_is_interrupted_while_it_starts_ends_in_silence(script):
    command = [sys.executable, "-X", "importtime", str(script), "--dry_run", "--rows=none"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if line.endswith("| numpy\n") or "numpy._core" in line:  # of what experiments imports
                process.send_signal(signal.SIGINT)
                break
        rest = process.stderr.read()
    assert process.returncode == -signal.SIGINT
    assert "Traceback" not in rest


def test_what_killed_launch_py_is_named(launched, capsys):
    """The code is that of a shell: 128 and the signal's number."""
    with pytest.raises(LaunchError) as error:
        launched("import os\nos.kill(os.getpid(), 9)")
    assert error.value.code == 137
    assert capsys.readouterr().err == "error: launch.py: SIGKILL ended it\n"


LISTENING = """
import pathlib, signal, sys, time
heard = []
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, _: heard.append(number))
pathlib.Path({ready!r}).touch()
while not heard:
    time.sleep(0.01)
time.sleep(0.2)
pathlib.Path({file!r}).write_text(str([signal.Signals(number).name for number in heard]))
"""


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (signal.SIGINT, "SIGINT"),
        (signal.SIGTERM, "SIGTERM"),
        (signal.SIGHUP, "SIGTERM"),
        (signal.SIGQUIT, "SIGTERM"),
    ],
)
def test_who_asks_the_script_to_stop_has_asked_launch_py_once(number, told, launched, tmp_path):
    """Asked twice it would end at once, and save nothing."""
    ready, file = tmp_path / "ready", tmp_path / "heard"

    def ask():
        while not ready.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=ask)
    thread.start()
    # It ends with code 0, but what comes next was not asked for.
    with pytest.raises(Stopped):
        launched(LISTENING.format(ready=str(ready), file=str(file)))
    thread.join()
    assert file.read_text() == str([told])


def test_what_is_ignored_stays_so_and_what_was_heard_is_heard_again(launched, monkeypatch):
    """By nohup; also where no process could be started."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    numbers = [*command_line.ASKING, signal.SIGTSTP, signal.SIGTTOU]
    handlers = list(map(signal.getsignal, numbers))
    launched("import os, signal\nos.kill(os.getppid(), signal.SIGHUP)")
    monkeypatch.setattr(command_line.sys, "executable", "/nowhere/python")
    with pytest.raises(FileNotFoundError):
        launched("")
    assert list(map(signal.getsignal, numbers)) == handlers


def test_who_asks_before_it_has_started_is_heard(launched, monkeypatch):
    popen = command_line.subprocess.Popen

    def asked_meanwhile(*args, **fields):
        process = popen(*args, **fields)
        os.kill(os.getpid(), signal.SIGTERM)
        return process

    monkeypatch.setattr(command_line.subprocess, "Popen", asked_meanwhile)
    start = time.monotonic()
    with pytest.raises(Stopped):
        launched("import time\ntime.sleep(60)")
    assert time.monotonic() - start < 30


def test_ctrl_z_halts_both_until_the_shell_says_to_go_on(tmp_path):
    """And what asks to stop then ends both."""
    (tmp_path / "launch.py").write_text(
        "import pathlib, time\n"
        f"file = pathlib.Path({str(tmp_path / 'ticks')!r})\n"
        "while True:\n    file.open('a').write('.')\n    time.sleep(0.02)"
    )
    program = (
        "import pathlib\nfrom experiments import command_line\n"
        f"command_line.ROOT = pathlib.Path({str(tmp_path)!r})\n"
        "command_line.launch()"
    )
    root = pathlib.Path(__file__).resolve().parents[2]
    script = subprocess.Popen([sys.executable, "-c", program], cwd=root, start_new_session=True)
    ticks = lambda: (tmp_path / "ticks").stat().st_size if (tmp_path / "ticks").exists() else 0

    def wait_for(condition):
        end = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < end
            time.sleep(0.01)

    try:
        wait_for(ticks)
        script.send_signal(signal.SIGTSTP)
        os.waitid(os.P_PID, script.pid, os.WSTOPPED)
        time.sleep(0.1)
        halted = ticks()
        time.sleep(0.3)
        assert ticks() == halted
        script.send_signal(signal.SIGCONT)
        wait_for(lambda: ticks() > halted)
        script.send_signal(signal.SIGTERM)
        script.wait(60)
        ended = ticks()
        time.sleep(0.1)
        assert ticks() == ended
    finally:
        script.kill()


def test_a_terminal_tells_the_script_alone(launched, tmp_path):
    """Else launch.py would hear Ctrl-C twice."""
    launched(f"import os, pathlib\npathlib.Path({str(tmp_path / 'group')!r}).write_text("
             "str(os.getpgid(0) == os.getpid()))")  # fmt: skip
    assert (tmp_path / "group").read_text() == "True"


def ended(error):
    def body():
        raise error

    return body


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UserError("--rows: two\n lines"), 2, "error: --rows: two lines"),
        (FileExistsError(errno.EEXIST, "is there", "a.md"), 2, "error: a.md: is there"),
        (OSError(errno.EFBIG, "File too large"), 2, "error: x.py: File too large"),
        (LaunchError(3), 3, ""),
        (Stopped(), 75, "stopped; the same command goes on from what is done"),
        (KeyboardInterrupt(), 75, "stopped; the same command goes on from what is done"),
    ],
)
def test_an_end_is_a_line_and_a_code(error, code, said, capsys):
    assert command_line.main(["x.py"], "", ended(error)) == code
    assert capsys.readouterr().err.strip() == said


def test_what_is_a_fault_of_the_script_is_no_line():
    with pytest.raises(OSError, match="socket"):
        command_line.main(["x.py"], "", ended(OSError(errno.EBADF, "socket")))


def test_names_are_given_where_they_are_taken(capsys):
    given = []
    take = lambda *each: given.append(each)
    assert command_line.main(["x.py", "a", "b"], "", take, names="RUN") == 0
    assert command_line.main(["x.py"], "", take) == 0
    assert given == [("a", "b"), ()]
    assert command_line.main(["x.py"], "", take, names="RUN") == 2
    assert command_line.main(["x.py", "a"], "", take) == 2
    assert capsys.readouterr().err == (
        "error: RUN: is missing; name one or more\n"
        "error: 'a': is no flag; flags are written --name=value\n"
    )
    assert len(given) == 2


def test_help_is_what_the_script_says_of_itself(capsys):
    assert command_line.main(["x.py", "--help"], "\nWhat it does.\n", ended(AssertionError())) == 0
    assert capsys.readouterr().out == "What it does.\n"
