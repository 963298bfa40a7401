"""XLA's options are used where it knows them, and left out where it does not."""

import jax
import pytest

from genjax import compiling


@pytest.fixture(autouse=True)
def asked_anew():
    compiling.compiler_options.cache_clear()
    yield
    compiling.compiler_options.cache_clear()


def test_this_xla_knows_them():
    assert compiling.compiler_options("cpu") == compiling.OPTIONS["cpu"]


@pytest.mark.parametrize("option", ["xla_cpu_no_such_option", "xla_cpu_scheduler_type"])
def test_an_xla_that_does_not_know_one_compiles_without(option, monkeypatch):
    monkeypatch.setattr(compiling, "OPTIONS", {"cpu": {option: "NO_SUCH_CHOICE"}})
    assert compiling.compiler_options("cpu") is None
    assert jax.jit(lambda x: x + 1, compiler_options=None)(1) == 2
