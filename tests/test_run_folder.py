"""Whose a run folder is."""

import os
import threading

import pytest

from genjax.errors import UserError
from genjax.run_folder import code_version, locked


def test_a_second_training_in_a_folder_is_refused_until_the_first_ends(tmp_path):
    folder = tmp_path / "run"
    with (
        locked(folder, wait=False),
        pytest.raises(UserError, match=f"is training in .*: process {os.getpid()} on "),
        locked(folder, wait=False),
    ):
        pass
    with locked(folder, wait=False):
        pass
    assert not folder.exists()


def test_who_waits_gets_the_folder_when_it_is_free(tmp_path):
    order, inside = [], threading.Event()

    def second():
        inside.wait()
        with locked(tmp_path / "run", wait=True):
            order.append("second")

    waiting = threading.Thread(target=second)
    with locked(tmp_path / "run", wait=False):
        waiting.start()
        inside.set()
        waiting.join(0.2)
        order.append("first")
    waiting.join(10)
    assert order == ["first", "second"]


def test_a_package_outside_of_its_checkout_claims_no_revision(monkeypatch, tmp_path):
    """Installed into a folder of somebody's repository, it must not report that one's revision."""
    monkeypatch.setattr("genjax.run_folder.__file__", str(tmp_path / "genjax" / "run_folder.py"))
    assert "+" not in code_version.__wrapped__()
