"""Runs before any test module: devices to emulate, and types that are checked for real."""

import fcntl
import gc
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# The emulated devices wait for one another in collectives, each on a thread of its own; with fewer
# threads than devices (XLA takes one for each core) they wait for ever.
os.environ["NPROC"] = "16"
# Tests compile for longer than they run.
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "true"
DEVICES = "--xla_force_host_platform_device_count=8"
# XLA's former code generator compiles in half the time; an XLA without it ends at its name.
FORMER = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"


def with_flags(*flags: str) -> dict[str, str]:
    """The environment with these flags of XLA's added."""
    return {**os.environ, "XLA_FLAGS": " ".join([os.environ.get("XLA_FLAGS", ""), *flags]).strip()}


# Workers inherit the environment from the process that starts them, and the folder, which that
# process also takes away.
IS_WORKER = "PYTEST_XDIST_WORKER" in os.environ
if not IS_WORKER:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="genjax-compiled-")
    # Every run compiles the same few programs; processes that tests start share them too.
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    tried = [sys.executable, "-c", "import jax; jax.devices()"]
    knows = subprocess.run(tried, env=with_flags(FORMER), capture_output=True).returncode == 0
    os.environ.update(with_flags(DEVICES, FORMER) if knows else with_flags(DEVICES))

import pytest  # noqa: E402
from jaxtyping import install_import_hook  # noqa: E402

CHECKED = ["genjax.losses", "genjax.metrics", "genjax.rng", "genjax.schedule"]
install_import_hook(CHECKED, "beartype.beartype")


#: Files that take longest, half a minute and more each.
LONG = (
    "models/test_hvae.py",
    "sweep/test_command.py",
    "sweep/test_together.py",
    "training/test_parallel.py",
    "training/test_processes.py",
    "test_chaos.py",
    "test_commands.py",
    "test_launch.py",
    "test_picture_commands.py",
    "test_resume.py",
)


def pytest_collection_modifyitems(items):
    """The long files first, lest one worker be at them when the others have nothing left to do."""
    items.sort(key=lambda item: not item.path.as_posix().endswith(LONG))


def pytest_unconfigure():
    if not IS_WORKER:
        shutil.rmtree(os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)


@pytest.fixture(scope="module", autouse=True)
def forget_programs():
    """Lets go of what a module compiled: thousands of programs end in more memory maps than a
    process may have, and XLA with a segmentation fault.
    """
    yield
    import jax

    jax.clear_caches()
    gc.collect()


def made_once(tmp_path_factory, name: str, make) -> pathlib.Path:
    """A folder of this worker's own, with what `make` put into it, by one worker for all."""
    own = tmp_path_factory.mktemp(name)
    shared = tmp_path_factory.getbasetemp().parent / name if IS_WORKER else own.with_suffix(".made")
    with open(shared.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not shared.exists():
            unfinished = tmp_path_factory.mktemp(f"{name}-unfinished")
            make(unfinished)
            unfinished.rename(shared)
    return pathlib.Path(shutil.copytree(shared, own, dirs_exist_ok=True))


@pytest.fixture(scope="session")
def runs(tmp_path_factory) -> pathlib.Path:
    """A folder with the finished runs `vae` and `gan` of small_config.py, and their judge."""
    import launch

    def train(folder: pathlib.Path) -> None:
        for model in ("vae", "gan"):
            flags = [f"--config=tests/small_config.py:{model}", f"--workdir={folder / model}"]
            assert launch.main(["launch.py", "train", *flags]) == 0

    return made_once(tmp_path_factory, "runs", train)


UNET = " ".join(
    f"--config.generator.{field}"
    for field in ("width=4", "detail=4", "levels=1", "blocks=0")  # half the time to compile
)
#: Runs on pictures: their config, and what makes it tiny.
PICTURE_RUNS = {
    "restore": f"restore_l1.py:mnist_sample,test {UNET} "
    "--config.pairs.input=gaussian_noise:0.1|missing_pixels:0.5",
    "cycle": f"thin_to_thick.py:mnist_sample,test {UNET} "
    "--config.discriminator.width=4 --config.discriminator.levels=1",
    "shapes": "article_vae.py:shapes,test --config.data.num_examples=64 "
    "--config.data.num_evaluation=32 --config.data.image_size=16 --config.encoder.widths=16 "
    "--config.decoder.widths=16 --config.model.latent_size=4 --config.evaluation.num_samples=0",
}


@pytest.fixture(scope="session")
def picture_runs(runs, tmp_path_factory) -> dict[str, pathlib.Path]:
    """The runs `vae` and `gan`, and those of `PICTURE_RUNS`, by name."""
    import launch

    def train(folder: pathlib.Path) -> None:
        for name, flags in PICTURE_RUNS.items():
            steps = "--config.training.duration=2 --config.training.checkpoint_every=2"
            flags = f"train --config=configs/{flags} {steps} --workdir={folder / name}"
            assert launch.main(["launch.py", *flags.split()]) == 0

    folder = made_once(tmp_path_factory, "picture_runs", train)
    return {name: folder / name for name in PICTURE_RUNS} | {n: runs / n for n in ("vae", "gan")}
