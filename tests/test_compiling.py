"""XLA's options are used where it knows them, and left out where it does not."""

import os
import subprocess
import sys

import jax
import pytest

from genjax import compiling

#: XLA_FLAGS of the tests has a number of devices, too.
NO_FLAGS = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}


@pytest.fixture(autouse=True)
def asked_anew():
    compiling.compiler_options.cache_clear()
    yield
    compiling.compiler_options.cache_clear()


def test_this_xla_knows_them():
    assert compiling.compiler_options("cpu") == compiling.OPTIONS["cpu"]


def test_an_import_leaves_the_choice_of_devices():
    """JAX refuses another number of devices once they are started."""
    code = (
        "import jax, experiments.tables, genjax.commands, genjax.sweep.command;"
        "jax.config.update('jax_num_cpu_devices', 3); print(len(jax.devices('cpu')))"
    )
    command = [sys.executable, "-c", code]
    told = subprocess.run(command, check=True, capture_output=True, text=True, env=NO_FLAGS).stdout
    assert told.split() == ["3"]


@pytest.mark.parametrize("option", ["xla_cpu_no_such_option", "xla_cpu_scheduler_type"])
def test_an_xla_that_does_not_know_one_compiles_without(option, monkeypatch):
    monkeypatch.setattr(compiling, "OPTIONS", {"cpu": {option: "NO_SUCH_CHOICE"}})
    assert compiling.compiler_options("cpu") is None
    assert jax.jit(lambda x: x + 1, compiler_options=None)(1) == 2
