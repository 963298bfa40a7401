import jax
import pytest


@pytest.fixture(autouse=True, scope="module")
def compile_quickly():
    """These tests compile for longer than they run."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)
