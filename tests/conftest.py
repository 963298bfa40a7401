"""Runs before any test module: devices to emulate, and types that are checked for real."""

import os
import pathlib
import shutil
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = " ".join(
    [os.environ.get("XLA_FLAGS", ""), "--xla_force_host_platform_device_count=8"]
).strip()
# The emulated devices wait for one another in collectives, each on a thread of its own; with fewer
# threads than devices (XLA takes one for each core) they wait for ever.
os.environ["NPROC"] = "16"
# Tests compile for longer than they run.
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "true"
os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="genjax-compiled-")

import pytest
from jaxtyping import install_import_hook

CHECKED = ["genjax.losses", "genjax.metrics", "genjax.rng", "genjax.schedule"]
install_import_hook(CHECKED, "beartype.beartype")


def pytest_unconfigure():
    shutil.rmtree(os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)


@pytest.fixture(scope="session")
def runs(tmp_path_factory) -> pathlib.Path:
    """A folder with the finished runs `vae` and `gan` of small_config.py, and their judge."""
    import jax

    import launch

    # Every run compiles the same few programs; processes that tests start share them too.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    folder = tmp_path_factory.mktemp("runs")
    for model in ("vae", "gan"):
        flags = [f"--config=tests/small_config.py:{model}", f"--workdir={folder / model}"]
        assert launch.main(["launch.py", "train", *flags]) == 0
    return folder
