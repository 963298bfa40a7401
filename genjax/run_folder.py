"""The run folder: who it belongs to, and what its config.json, environment.json, data.json say."""

import contextlib
import datetime
import fcntl
import functools
import hashlib
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

import flax
import jax
import jaxlib
import numpy as np
import optax
import orbax.checkpoint

import genjax
from genjax.data.base import Facts
from genjax.errors import UserError, did_you_mean
from genjax.files import replacing

#: Fields that configs of earlier versions do not have, by section, as it was without them.
ADDED = {
    "training": {"rollbacks": 0, "patience": "0 epochs", "accumulate": 1},
    "data": {"binarize": False},
}
#: The same for a VAE's config.
ADDED_TO_VAE = {
    "model": {"log_var_range": [], "objective": "elbo", "draws": 1, "output_bias": "zeros"},
    "prior": {"name": "standard_normal", "num_components": 500},
}
#: The same for one of two levels.
ADDED_TO_HIERARCHY = {"model": {"output_bias": "zeros"}}
ADDED_TO_MODEL = {
    "vae": ADDED_TO_VAE,
    "hvae": ADDED_TO_HIERARCHY,
    "chain_vae": ADDED_TO_HIERARCHY,
}
#: The same for networks of dense layers.
ADDED_TO_MLP = {"kernel_init": "lecun_normal"}
#: Those that the hash of a config has had from the beginning.
HASHED = {"rollbacks"}
#: Fields of `data` that say where a set of TensorFlow Datasets lies on this machine, and no more.
PLACES = {"data_dir", "manual_dir"}


def config_hash(config: Mapping[str, Any]) -> str:
    """SHA-256 of the config as JSON with sorted keys.

    `PLACES` are empty in it, so that it is the same on every machine, and fields that were added
    and change nothing are left out: a run keeps the hash that it was made with.
    """
    hashed = json.dumps(as_it_was(without_places(config)), sort_keys=True)
    return hashlib.sha256(hashed.encode()).hexdigest()


def without_places(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config with `PLACES` empty."""
    data = config.get("data")
    if not isinstance(data, Mapping):
        return dict(config)
    return {**config, "data": {**data, **dict.fromkeys(PLACES & data.keys(), "")}}


def as_it_was(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config without fields that were added, as far as they say what was so before them."""
    config = json.loads(json.dumps(config))
    for section, fields in _added(config).items():
        for name, value in fields.items():
            if name not in HASHED and config.get(section, {}).get(name) == value:
                del config[section][name]
        if config.get(section) == {}:
            del config[section]
    return {
        name: as_it_was(value) if isinstance(value, dict) else value
        for name, value in config.items()
    }


def _added(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    model = config.get("model")
    of_model = ADDED_TO_MODEL.get(str(model.get("name")), {}) if isinstance(model, Mapping) else {}
    sections = {name: section for name, section in config.items() if isinstance(section, Mapping)}
    dense = [name for name, section in sections.items() if section.get("name") == "mlp"]
    return {**ADDED, **of_model, **dict.fromkeys(dense, ADDED_TO_MLP)}


def read_config(workdir: pathlib.Path) -> dict[str, Any]:
    """The config of a run folder.

    Raises:
      UserError: `workdir` is no run folder, or its config.json can not be read.
    """
    path = workdir / "config.json"
    if not path.is_file():
        runs = [str(found.parent) for found in workdir.parent.glob("*/config.json")]
        raise UserError(f"--workdir: {workdir} is no run folder{did_you_mean(str(workdir), runs)}")
    return in_todays_form(read_object(path))


def read_object(path: pathlib.Path) -> dict[str, Any]:
    """The JSON object in a file; a UserError if there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise UserError(f"{path}: is no JSON object")
    return value


def in_todays_form(config: dict[str, Any]) -> dict[str, Any]:
    """The config with the fields that came since it was written, as it was without them."""
    whole = {
        name: in_todays_form(value) if isinstance(value, dict) else value
        for name, value in config.items()
    }
    if "prior" in (added := _added(whole)):
        whole.setdefault("prior", added["prior"])
    for section, fields in added.items():
        if isinstance(whole.get(section), dict) and whole[section]:
            whole[section] = {**fields, **whole[section]}
    return whole


def claim(workdir: pathlib.Path, config: Mapping[str, Any], flag: str = "--workdir") -> None:
    """Raises a UserError unless `workdir` is free or belongs to this config, whatever `PLACES`.

    `flag` is what the user named it, or the folder around it, by.
    """
    if (workdir / "config.json").is_file():
        here = json.loads(json.dumps(config))
        old, new = _flat(without_places(read_config(workdir))), _flat(without_places(here))
        differing = [
            f"{name} ({old.get(name, 'missing')} there, {new.get(name, 'missing')} here)"
            for name in sorted(old.keys() | new.keys())
            if old.get(name) != new.get(name)
        ]
        if differing:
            more = f" and {len(differing) - 5} more" if len(differing) > 5 else ""
            raise UserError(
                f"{flag}: {workdir} belongs to another config, which differs in "
                f"{', '.join(differing[:5])}{more}; choose another {flag}"
            )
    else:
        check_free(workdir, "run folder: it has no config.json", flag)
    for folder in (workdir, workdir / "checkpoints"):
        check_writable(flag, folder)


def check_facts(workdir: pathlib.Path, facts: Facts, *, counted: bool = False) -> None:
    """Raises a UserError if the run is of images of another shape or of other classes.

    With `counted`, also if it is of more images or fewer: epochs, and batches, would be others.
    """
    if (known := read_facts(workdir)) is None:
        return
    for name, there, here in zip(Facts._fields, known, facts, strict=True):
        if there != here and (counted or name != "num_examples"):
            raise UserError(
                f"--workdir: {workdir} was trained when its data set was another: {name} ({there} "
                f"there, {here} here); choose another --workdir, or bring back the images"
            )


def check_free(workdir: pathlib.Path, kind: str, flag: str = "--workdir") -> None:
    """Raises a UserError if there is something at `workdir`, which is no `kind`."""
    if workdir.exists() and (not workdir.is_dir() or any(workdir.iterdir())):
        raise UserError(
            f"{flag}: {workdir} is there already and is no {kind}; choose another {flag}"
        )


def check_writable(where: str, folder: pathlib.Path) -> None:
    """Raises a UserError naming the flag `where` if `folder` can not be written to, or made."""
    nearest = folder.absolute()
    while not nearest.exists():
        nearest = nearest.parent
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise UserError(
            f"{where}: can not write to {folder}: {nearest}: {error.strerror}"
        ) from error


@contextlib.contextmanager
def locked(workdir: pathlib.Path, wait: bool) -> Iterator[None]:
    """Holds the run folder against other processes that train in it.

    The lock is the operating system's: it ends with the process, however that ends.

    Raises:
      UserError: another process, which is named, holds it, and `wait` is false.
    """
    place = workdir.resolve()  # which is the same by whatever name the folder is called
    if place.parent.is_dir() and not os.access(place.parent, os.W_OK):
        place = workdir.absolute()  # a link to where others have the say
    place.parent.mkdir(parents=True, exist_ok=True)
    with (place.parent / f".{place.name}.lock").open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            file.seek(0)
            raise UserError(
                f"--workdir: another process is training in {workdir}: {file.read()}"
            ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}")
        file.flush()
        yield


def _flat(config: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(config, Mapping):
        return {prefix: config}
    flat = {}
    for name, value in config.items():
        flat |= _flat(value, f"{prefix}.{name}" if prefix else name)
    return flat


def write_json(path: pathlib.Path, value: Mapping[str, Any]) -> None:
    """Writes `value` to `path`, the whole of it or nothing."""
    with replacing(path) as file:
        file.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def describe(workdir: pathlib.Path, config: Mapping[str, Any], facts: Facts) -> None:
    """Writes config.json and data.json."""
    write_json(workdir / "config.json", config)
    write_json(workdir / "data.json", facts._asdict())


def begin(workdir: pathlib.Path, config: Mapping[str, Any], facts: Facts) -> None:
    """Writes what a run folder holds when its training begins: `describe` and environment.json."""
    describe(workdir, config, facts)
    write_json(workdir / "environment.json", environment())


def read_facts(workdir: pathlib.Path) -> Facts | None:
    """What data.json says; None of a run of an earlier version, which has none.

    Raises:
      UserError: it is damaged.
    """
    path = workdir / "data.json"
    if not path.is_file():
        return None
    found = read_object(path)
    try:
        shape, names = (tuple(found[name]) for name in ("image_shape", "class_names"))
        return Facts(shape, names, found["num_examples"])
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: is no description of a data set ({error!r})") from error


def environment() -> dict[str, Any]:
    """Versions, devices, the code's revision and the command line of this process."""
    return {
        "genjax": genjax.__version__,
        "python": platform.python_version(),
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "flax": flax.__version__,
        "optax": optax.__version__,
        "orbax-checkpoint": orbax.checkpoint.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "devices": [f"{device.platform}: {device.device_kind}" for device in jax.devices()],
        "processes": jax.process_count(),
        "git_revision": code_version(),
        "command": " ".join(sys.argv),
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


@functools.cache
def code_version() -> str:
    """The version, and the git revision where genjax runs from a checkout of its own.

    Asked once: what is committed while a run goes on is not what runs.
    """
    root = pathlib.Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return genjax.__version__
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
        )
        return f"{genjax.__version__}+{described.stdout.strip()}"
    return genjax.__version__
