"""What a user gets to see of a mistake: one line, whatever was given."""

import subprocess
import sys

import pytest

from genjax.errors import UserError, choose


@pytest.mark.parametrize("name", ["ab", {}, ["a"], None])
def test_what_is_no_choice_is_said_whatever_it_is(name):
    with pytest.raises(UserError, match=r"^field: no such choice .*"):
        choose("field", name, {"abc": 1, "x": 2})


def test_a_reader_that_has_gone_is_told_nothing():
    """As `... | head -1`: 141 is a shell's code for SIGPIPE."""
    code = "for _ in range(10000): print('a line of a long table', flush=True)"
    program = (
        f"import sys\nfrom genjax.errors import tell\ntry:\n    {code}\n"
        "except OSError as error:\n    sys.exit(tell(error, 'script.py'))\n"
    )
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", program], **pipes, text=True) as process:
        assert process.stdout.readline() == "a line of a long table\n"
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141
