#!/usr/bin/env python3
"""genjax: train, evaluate and use generative image models (GAN, conditional GAN, VAE).

  python launch.py train       --config=FILE[:DATA SET] [--workdir=DIR] [--config.FIELD=VALUE ...]
  python launch.py evaluate    --workdir=DIR   score the last and the best checkpoint
  python launch.py sample      --workdir=DIR   draw pictures
  python launch.py reconstruct --workdir=DIR   pictures beside what a VAE makes of them
  python launch.py interpolate --workdir=DIR   pictures on the way between two samples
  python launch.py report      --workdir=DIR   write report.html

Start here:

  python launch.py train --config=configs/vae.py
  python launch.py train --config=configs/cgan.py:fashion_mnist --config.optimizer.generator.learning_rate=1e-4
  python launch.py sample --workdir=runs/cgan-mnist_sample --labels=3,7 --num=20

Run `python launch.py COMMAND --help` for a command's flags. Killed? Run the same command again: it
goes on from the last checkpoint. A mistake in what you typed ends with one line and exit code 2.
"""

import pathlib
import re
import sys
from typing import Any

from absl import flags
from ml_collections import config_flags

from genjax.errors import UserError, choose, did_you_mean

FLAGS = flags.FLAGS

#: The flags that commands share: name to (define, default, help).
WORKDIR = (flags.DEFINE_string, "workdir", None, "The run folder.")
LABELS = (flags.DEFINE_string, "labels", "", "Class numbers or names, as 3,7. Default: all.")
SEED = (flags.DEFINE_integer, "seed", 0, "Another seed draws other latents.")
SPLIT = (flags.DEFINE_string, "split", "test", "train, validation or test.")
OUT_FILE = (flags.DEFINE_string, "out", None, "PNG file. Default: in the run folder's samples/.")

#: Command to (what it does, its flags).
COMMANDS = {
    "train": (
        "Train a model, score it, write its report; a run that was killed goes on where it stopped.",
        (
            (
                config_flags.DEFINE_config_file,
                "config",
                None,
                "A file of configs/, behind a colon its arguments: FILE:DATA SET[,test]. Every "
                "field can be set as --config.FIELD=VALUE.",
            ),
            (flags.DEFINE_string, "workdir", None, "Run folder. Default: runs/NAME-DATA SET."),
        ),
    ),
    "evaluate": (
        "Score the last and the best checkpoint; rows go to evals.jsonl in the run folder.",
        (WORKDIR, SPLIT, SEED),
    ),
    "sample": (
        "Draw pictures: PNG files and one grid of them.",
        (
            WORKDIR,
            (flags.DEFINE_integer, "num", 64, "How many."),
            LABELS,
            SEED,
            (flags.DEFINE_string, "out", None, "Folder. Default: in the run folder's samples/."),
        ),
    ),
    "reconstruct": (
        "Put pictures of a split above what the model makes of them.",
        (WORKDIR, (flags.DEFINE_integer, "num", 32, "How many."), SPLIT, OUT_FILE),
    ),
    "interpolate": (
        "Draw pictures on the way between two samples.",
        (
            WORKDIR,
            (flags.DEFINE_integer, "num", 8, "How many rows."),
            (flags.DEFINE_integer, "steps", 10, "Pictures to a row."),
            LABELS,
            SEED,
            OUT_FILE,
        ),
    ),
    "report": (
        "Write report.html: config, curves, pictures, scores and environment in one file.",
        (WORKDIR,),
    ),
}


def main(argv: list[str]) -> int:
    """Runs `launch.py COMMAND FLAGS`; 0, or 2 after one line on what the user got wrong."""
    command = argv[1] if len(argv) > 1 else "--help"
    if command in ("--help", "-h", "help"):
        print(__doc__)
        return 0
    try:
        summary, definitions = choose("launch.py", command, COMMANDS)
        if {"--help", "-h"} & set(argv[2:]):
            print(f"launch.py {command}: {summary}\n")
            for _, name, default, text in definitions:
                print(f"  --{name}  {text}{f' Default: {default}.' if default else ''}")
            return 0
        _run(command, _parse(command, argv[2:]))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _parse(command: str, arguments: list[str]) -> dict[str, Any]:
    """The command's flags by name.

    Raises:
      UserError: a flag or a config field that is not there, or a value of the wrong type.
    """
    for define, *definition in COMMANDS[command][1]:
        define(*definition)
    _check_config_fields(arguments)
    try:
        rest = FLAGS([command, *arguments])
    except flags.Error as error:
        raise UserError(" ".join(str(error).split())) from error
    if len(rest) > 1:
        raise UserError(f"{rest[1]!r}: is no flag; flags are written --name=value")
    return {name: FLAGS[name].value for _, name, *_ in COMMANDS[command][1]}


def _check_config_fields(arguments: list[str]) -> None:
    """Says which config file or field is wrong; ml_collections itself names neither."""
    named = [text for text in arguments if re.match("--?config=", text)]
    if not named:
        return
    alone = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=alone)
    path = named[-1].partition("=")[2]
    try:
        alone(["launch.py", named[-1]])
        fields = alone.config.to_dict()
    except FileNotFoundError as error:
        near = did_you_mean(path, map(str, pathlib.Path("configs").glob("*.py")))
        raise UserError(f"--config: no such file {path.partition(':')[0]!r}{near}") from error
    except Exception as error:  # whatever the config file raises
        raise UserError(f"--config: {path}: {' '.join(str(error).split())}") from error
    for text in arguments:
        if match := re.match(r"--?(?:no)?config\.([\w.]+)", text):
            here, path = fields, match[1].split(".")
            for depth, name in enumerate(path):
                if not isinstance(here, dict) or name not in here:
                    choices = here if isinstance(here, dict) else ()
                    where = ".".join(path[: depth + 1])
                    raise UserError(f"--config.{where}: no such field{did_you_mean(name, choices)}")
                here = here[name]


def _run(command: str, values: dict[str, Any]) -> None:
    """Calls the command's function with its flags."""
    from genjax import commands

    workdir = values.pop("workdir")
    if command == "train":
        if values["config"] is None:
            raise UserError("--config: is missing; for example --config=configs/vae.py")
        config = values["config"].to_dict()
        data = config["data"]
        name = f"{config['name']}-{data.get('dataset', data['name']).replace('/', '_')}"
        commands.train(config, pathlib.Path(workdir or f"runs/{name}"))
        return
    if workdir is None:
        raise UserError("--workdir: is missing; name a run folder, as runs/vae-mnist_sample")
    if values.get("out"):
        values["out"] = pathlib.Path(values["out"])
    getattr(commands, command)(pathlib.Path(workdir), **values)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
