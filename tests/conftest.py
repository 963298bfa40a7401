"""Runs before any test module: devices to emulate, and types that are checked for real."""

import os
import pathlib

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = " ".join(
    [os.environ.get("XLA_FLAGS", ""), "--xla_force_host_platform_device_count=8"]
).strip()
# The emulated devices wait for one another in collectives, each on a thread of its own; with fewer
# threads than devices (XLA takes one for each core) they wait for ever.
os.environ["NPROC"] = "16"
# Tests compile for longer than they run.
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "true"

import pytest
from jaxtyping import install_import_hook

CHECKED = ["genjax.losses", "genjax.metrics", "genjax.rng", "genjax.schedule"]
install_import_hook(CHECKED, "beartype.beartype")


@pytest.fixture(scope="session")
def runs(tmp_path_factory) -> pathlib.Path:
    """A folder with the finished runs `vae` and `gan` of small_config.py, and their judge."""
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    import launch

    # Every run compiles the same few programs; processes that tests start share them too.
    cache = {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("compiled")),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": 0,
    }
    for name, value in cache.items():
        os.environ[name] = str(value)
        jax.config.update(name.lower(), value)
    compilation_cache.reset_cache()

    folder = tmp_path_factory.mktemp("runs")
    for model in ("vae", "gan"):
        flags = [f"--config=tests/small_config.py:{model}", f"--workdir={folder / model}"]
        assert launch.main(["launch.py", "train", *flags]) == 0
    return folder
