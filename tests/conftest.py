"""Runs before any test module: devices to emulate, and types that are checked for real."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = " ".join(
    [os.environ.get("XLA_FLAGS", ""), "--xla_force_host_platform_device_count=8"]
).strip()
# The emulated devices wait for one another in collectives, each on a thread of its own; with fewer
# threads than devices (XLA takes one for each core) they wait for ever.
os.environ["NPROC"] = "16"

from jaxtyping import install_import_hook

CHECKED = ["genjax.losses", "genjax.metrics", "genjax.rng", "genjax.schedule"]
install_import_hook(CHECKED, "beartype.beartype")
