#!/usr/bin/env python3
"""genjax: train, evaluate and use generative image models (GAN, conditional GAN, VAE).

  python launch.py train       --config=FILE[:DATA SET] [--workdir=DIR] [--config.FIELD=VALUE ...]
  python launch.py evaluate    --workdir=DIR   score checkpoints: quality, likelihood, copies
  python launch.py compare     REAL FAKE       score two folders of pictures, or files of features
  python launch.py sample      --workdir=DIR   draw pictures
  python launch.py reconstruct --workdir=DIR   pictures beside what a VAE makes of them
  python launch.py interpolate --workdir=DIR   pictures on the way between two samples

  with --input=DIR --output=DIR, on your own pictures:

  python launch.py restore     --workdir=DIR   undo noise, holes, blur, haze, darkness, ...
  python launch.py translate   --workdir=DIR   turn pictures of one kind into another
  python launch.py enhance     --workdir=DIR   change angle, scale, light, colour, ...
  python launch.py compose     --workdir=DIR   several pictures into one; attributes of others

  python launch.py report      --workdir=DIR   write report.html
  python launch.py sweep       --config=FILE[:DATA SET] --sweep=FILE   many trials of one config

Start here:

  python launch.py train --config=configs/vae.py
  python launch.py train --config=configs/cgan.py:fashion_mnist --config.training.batch_size=128
  python launch.py sample --workdir=runs/cgan-mnist_sample --labels=3,7 --num=20

`python launch.py COMMAND --help` lists a command's flags. Killed? Run the same command again: it
goes on from the last checkpoint. A mistake in what you typed ends with one line and exit code 2.
"""

import importlib
import os
import pathlib
import re
import runpy
import sys
import textwrap
from collections.abc import Callable
from typing import Any, NamedTuple

from absl import flags, logging
from ml_collections import ConfigDict, config_flags

from genjax.errors import UserError, choose, did_you_mean, tell
from genjax.fields import Section, field_at
from genjax.training.stopping import TEMPORARY_FAILURE, Stopped


class Flag(NamedTuple):
    """A flag: what defines it (None: a line of help only), its name, what it takes, its help."""

    define: Callable[..., Any] | None
    name: str
    takes: str
    default: Any
    help: str


CONFIG_FLAGS = (
    Flag(
        flags.DEFINE_string,
        "config",
        "FILE[:DATA SET[,test]]",
        None,
        "A file of configs/. The data set is mnist_sample (the default of most), shapes, folder "
        "(your own pictures, in --config.data.path), folders (two of them), omniglot_28 or any "
        "image set of TensorFlow Datasets, as fashion_mnist. `,test` shrinks the run to a few "
        "seconds.",
    ),
    Flag(
        None,
        "config.FIELD",
        "VALUE",
        None,
        "Sets a field of the config, as --config.training.duration='20 epochs'; a wrong "
        "name is answered with the nearest right one.",
    ),
)
WORKDIR = Flag(flags.DEFINE_string, "workdir", "DIR", None, "The run folder, as train made it.")
LABELS = Flag(
    flags.DEFINE_string,
    "labels",
    "LIST",
    "",
    "Class numbers or names, taken in turn, as 3,7; for models with labels. Without it every class "
    "in turn.",
)
SEED = Flag(flags.DEFINE_integer, "seed", "N", 0, "Another seed draws other latents.")
SPLIT = Flag(flags.DEFINE_string, "split", "NAME", "test", "train, validation or test.")
OUT_FILE = Flag(
    flags.DEFINE_string, "out", "FILE.png", None, "Without it a file in the run folder's samples/."
)
INPUT = Flag(flags.DEFINE_string, "input", "DIR", None, "A folder of pictures, or one picture.")
OUTPUT = Flag(
    flags.DEFINE_string,
    "output",
    "DIR",
    None,
    "A folder for the results, which keep the pictures' names, sizes and formats. A picture whose "
    "result is there already is skipped.",
)
PANEL = Flag(
    flags.DEFINE_boolean, "panel", "true", False, "Writes before and after side by side, too."
)
RESTARTS = Flag(flags.DEFINE_integer, "restarts", "N", 8, "Searches for latents, all at once.")
STEPS = Flag(flags.DEFINE_integer, "steps", "N", 100, "Steps of each search.")
METRICS = Flag(
    flags.DEFINE_string, "metrics", "LIST", "", "Names, as frechet_distance,kid. Without it all."
)
INCEPTION = Flag(
    flags.DEFINE_string,
    "inception",
    "FILE.pth",
    "",
    "The weights of the FID's Inception-v3, pt_inception-2015-12-05-6726825d.pth; `download` "
    "fetches them.",
)
CACHE = Flag(
    flags.DEFINE_string,
    "cache",
    "DIR",
    os.environ.get("JAX_COMPILATION_CACHE_DIR")
    or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "genjax"),
    "Where compiled programs and decoded pictures are kept for later starts; --cache= keeps none.",
)
#: `--config=FILE` and `--config.FIELD`, as arguments.
CONFIG, FIELD = re.compile("--?config="), re.compile(r"--?(?:no)?config\.([^=]*)")
#: What --config names.
FILE_AND_ARGUMENT = re.compile(r"(.*?\.py(?=:|$)|[^:]*):?(.*)", re.DOTALL)
MISSING_CONFIG = "--config: is missing; for example --config=configs/vae.py"
#: Flags that name files and folders.
PATHS = {"out", "input", "output", "mask", "masks", "before", "after", "plus", "minus"}
#: The same of those that may say something else, as `download`, or nothing.
TEXTS = {"classifier", "inception", "lpips"}
#: Flags that bring processes together.
PROCESSES = ("distributed", "coordinator", "num_processes", "process_id")
#: What a value should be, by the type of the flag.
TYPES = {"int": "a whole number", "float": "a number", "bool": "true or false"}


class Command(NamedTuple):
    """A command: what it does, its flags, and what stands before them."""

    summary: str
    flags: tuple[Flag, ...]
    paths: tuple[str, ...] = ()
    module: str = "commands"


COMMANDS = {
    "train": Command(
        "Train a model, score it and write its report. A run that was killed goes on where it "
        "stopped; one that is finished is left as it is.",
        (
            *CONFIG_FLAGS,
            WORKDIR._replace(help="The run folder. Without it runs/NAME-DATA SET."),
            Flag(
                flags.DEFINE_string,
                "coordinator",
                "HOST:PORT",
                "",
                "Trains with other processes, which are given the same command but for their "
                "--process_id: where process 0 listens.",
            ),
            Flag(flags.DEFINE_integer, "num_processes", "N", None, "How many there are."),
            Flag(flags.DEFINE_integer, "process_id", "I", None, "Which this is, from 0 on."),
            Flag(
                flags.DEFINE_boolean,
                "distributed",
                "true",
                False,
                "Instead of these three in jobs of Slurm or Open MPI, on pods of TPUs and on "
                "Kubernetes: JAX finds them by itself.",
            ),
            CACHE,
        ),
    ),
    "evaluate": Command(
        "Score checkpoints; rows go to evals.jsonl in the run folder. What stands there already is "
        "not scored again, so an interrupted command goes on where it was.",
        (
            WORKDIR,
            SPLIT,
            Flag(
                flags.DEFINE_string,
                "checkpoint",
                "LIST",
                "",
                "last, best, steps as 1000,2000, or all that are kept. Without it last and best.",
            ),
            METRICS._replace(
                help="Names, as frechet_distance,kid. Without it all but those that take long "
                "(cas, ais, mig and its like); lpips needs its file.",
            ),
            Flag(
                flags.DEFINE_integer,
                "num_samples",
                "N",
                0,
                "How many samples are drawn; 0: as the config has it.",
            ),
            SEED,
            Flag(
                flags.DEFINE_integer,
                "seeds",
                "N",
                1,
                "Scores with so many seeds, from --seed on, and gives mean and deviation.",
            ),
            Flag(
                flags.DEFINE_integer,
                "importance_samples",
                "N",
                100,
                "Draws for each image of the importance-weighted bound.",
            ),
            Flag(
                flags.DEFINE_string,
                "extractor",
                "LIST",
                "",
                "What samples are looked at through: classifier (the run's own), pixels, inception "
                "(resized as TensorFlow 1 did) or inception_antialiased. Without it the "
                "classifier, or pixels where there is none, and inception if --inception is given.",
            ),
            INCEPTION,
            Flag(
                flags.DEFINE_string,
                "lpips",
                "FILE.pth",
                "",
                "The weights of LPIPS on AlexNet, as torch.save(lpips.LPIPS(net='alex')"
                ".state_dict(), FILE) writes them; adds it to the reconstructions' scores.",
            ),
            CACHE,
        ),
    ),
    "compare": Command(
        "Compare two sets without a run: two folders of pictures of one size, or two .npy or .npz "
        "files of images [N, H, W, C], uint8 or floats in [0, 1], or of features [N, D].",
        (
            METRICS,
            Flag(
                flags.DEFINE_string,
                "extractor",
                "NAME",
                "",
                "What images are looked at through: inception (resized as TensorFlow 1 did), "
                "inception_antialiased, classifier or pixels. Without it inception or classifier, "
                "where it is given, else pixels.",
            ),
            INCEPTION,
            Flag(
                flags.DEFINE_string,
                "classifier",
                "DIR",
                "",
                "A run folder of a classifier, for --extractor=classifier.",
            ),
            Flag(
                flags.DEFINE_string,
                "out",
                "FILE.jsonl",
                None,
                "Where to append the rows, if anywhere.",
            ),
            CACHE,
        ),
        ("real", "fake"),
    ),
    "sample": Command(
        "Draw pictures: PNG files, and one grid of them.",
        (
            WORKDIR,
            Flag(flags.DEFINE_integer, "num", "N", 64, "How many."),
            LABELS,
            SEED,
            Flag(
                flags.DEFINE_float,
                "truncation",
                "T",
                0.0,
                "Keeps latents between -T and T: less variety, fewer failures; 0 draws all.",
            ),
            OUT_FILE._replace(
                takes="DIR", help="Without it a folder in the run folder's samples/."
            ),
            CACHE,
        ),
    ),
    "reconstruct": Command(
        "Put pictures of a split above what the model makes of them.",
        (WORKDIR, Flag(flags.DEFINE_integer, "num", "N", 32, "How many."), SPLIT, OUT_FILE, CACHE),
    ),
    "interpolate": Command(
        "Draw pictures on the way between two samples.",
        (
            WORKDIR,
            Flag(flags.DEFINE_integer, "num", "N", 8, "How many rows."),
            Flag(flags.DEFINE_integer, "steps", "N", 10, "Pictures to a row, both ends included."),
            LABELS,
            SEED,
            OUT_FILE,
            CACHE,
        ),
    ),
    "restore": Command(
        "Restore pictures: by a model that was trained to (configs/restore_l1.py), or by a VAE or "
        "GAN as a prior, which has to be told what happened. Pictures of any size are restored in "
        "overlapping tiles.",
        (
            WORKDIR,
            INPUT,
            OUTPUT,
            Flag(
                flags.DEFINE_string,
                "degradation",
                "NAME",
                "",
                "What happened: gaussian_noise:0.1, poisson_noise:30, salt_and_pepper:0.1, "
                "missing_pixels, missing_box, missing_half, gaussian_blur:1, "
                "motion_blur:length=7,angle=30, downsample:2, haze:1, low_light:gamma=2.5, "
                "jpeg:20; joined by + where one came after the other.",
            ),
            Flag(
                flags.DEFINE_boolean,
                "degrade",
                "true",
                False,
                "The pictures are whole: damages them first, restores them and says how well.",
            ),
            Flag(
                flags.DEFINE_string,
                "mask",
                "FILE|DIR",
                None,
                "White where there is a pixel, black where one is missing: a picture for all, or a "
                "folder with one of each picture's name.",
            ),
            Flag(
                flags.DEFINE_string,
                "method",
                "NAME",
                "search",
                "By a prior: search (for latents), or impute (a VAE's encoder and decoder in turn, "
                "for missing pixels).",
            ),
            RESTARTS,
            STEPS,
            Flag(
                flags.DEFINE_integer,
                "enlarge",
                "N",
                1,
                "Repeats every pixel N times first; for pictures that are to become larger.",
            ),
            PANEL,
            Flag(
                flags.DEFINE_boolean,
                "uncertainty",
                "true",
                False,
                "Writes each pixel's standard deviation as a picture, too; by a prior.",
            ),
            SEED,
            CACHE,
        ),
        module="picture_commands",
    ),
    "translate": Command(
        "Translate pictures by a model of pairs (configs/edges_to_photo.py) or of two kinds of "
        "pictures (configs/thin_to_thick.py), in overlapping tiles.",
        (
            WORKDIR,
            INPUT,
            OUTPUT,
            Flag(
                flags.DEFINE_boolean,
                "back",
                "true",
                False,
                "The other way, by a model of two kinds.",
            ),
            PANEL,
            CACHE,
        ),
        module="picture_commands",
    ),
    "enhance": Command(
        "Move pictures along a direction in a model's latents. The model sees each picture as a "
        "whole, squeezed to its own size.",
        (
            WORKDIR,
            INPUT,
            OUTPUT,
            Flag(
                flags.DEFINE_string,
                "attribute",
                "NAME",
                "",
                "A factor of the shapes data, for a model of it: scale, angle, x, y, light, hue.",
            ),
            Flag(
                flags.DEFINE_string,
                "before",
                "DIR",
                None,
                "Pictures whose way to those of the same names in --after is the direction.",
            ),
            Flag(flags.DEFINE_string, "after", "DIR", None, "See --before."),
            Flag(
                flags.DEFINE_float,
                "amount",
                "X",
                1.0,
                "How far: in the factor's unit (angle: radians; others: parts of 1), or in ways "
                "from before to after.",
            ),
            PANEL,
            CACHE,
        ),
        module="picture_commands",
    ),
    "compose": Command(
        "Make one picture of several by masks, or give each picture of a folder another's "
        "attributes.",
        (
            WORKDIR,
            INPUT,
            OUTPUT,
            Flag(
                flags.DEFINE_string,
                "masks",
                "DIR",
                None,
                "One for each picture, of its name: white where it is to be seen in the result.",
            ),
            Flag(
                flags.DEFINE_string,
                "labels",
                "FROM,TO",
                "",
                "Pictures of one class come out as another, by a model with labels.",
            ),
            Flag(
                flags.DEFINE_string,
                "plus",
                "DIR",
                None,
                "Adds what these pictures' latents have on average, beyond those of --minus.",
            ),
            Flag(flags.DEFINE_string, "minus", "DIR", None, "See --plus."),
            RESTARTS,
            STEPS,
            SEED,
            CACHE,
        ),
        module="picture_commands",
    ),
    "sweep": Command(
        "Train a config many times, with other values for some of its fields, and say which are "
        "best. What was stopped or killed goes on by the same command.",
        (
            *CONFIG_FLAGS,
            Flag(
                flags.DEFINE_string,
                "sweep",
                "FILE",
                None,
                "A file of configs/sweeps/: which fields, which values, by which metric.",
            ),
            Flag(
                flags.DEFINE_string,
                "engine",
                "NAME",
                "vmap",
                "vmap trains all trials in this process by one compiled program, where they differ "
                "in numbers only; ray takes any trials, and the machines of a cluster.",
            ),
            WORKDIR._replace(help="The sweep's folder. Without it runs/NAME-DATA SET-SWEEP."),
            Flag(
                flags.DEFINE_boolean,
                "resume",
                "true",
                False,
                "Goes on with the sweep in --workdir, without --config and --sweep.",
            ),
            CACHE,
        ),
        module="sweep.command",
    ),
    "report": Command(
        "Write report.html: config, curves, pictures, scores and environment in one file.",
        (WORKDIR,),
    ),
}


def main(argv: list[str]) -> int:
    """Runs `launch.py COMMAND FLAGS`; 0, or 2 after one line on what the user got wrong.

    75 (EX_TEMPFAIL) when training was asked to stop, by Ctrl-C or SIGTERM, and goes on when called
    again; 130 after Ctrl-C elsewhere, as shells have it.
    """
    name = argv[1] if len(argv) > 1 else "--help"
    if name in ("--help", "-h", "help"):
        print(__doc__.strip())
        return 0
    try:
        command = choose("launch.py: command", name, COMMANDS)
        if {"--help", "-h"} & set(argv[2:]):
            print(_help(name, command))
        else:
            _run(name, _parse(command, argv[2:]))
    except (UserError, OSError) as error:
        return tell(error, name)
    except Exception as error:
        said = str(error)
        if "RESOURCE_EXHAUSTED" not in said:  # as XLA calls it
            raise
        why = re.sub(".*RESOURCE_EXHAUSTED: *", "", said.splitlines()[0])
        trains = name in ("train", "sweep")
        hint = "; choose a smaller training.batch_size, or accumulate" if trains else ""
        return tell(UserError(f"{name}: no memory is left ({why}){hint}"), name)
    except Stopped:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return TEMPORARY_FAILURE
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from what is done", file=sys.stderr)
        return 130
    return 0


def _help(name: str, command: Command) -> str:
    usage = " ".join([f"python launch.py {name}", *map(str.upper, command.paths)])
    lines = [usage, "", *textwrap.wrap(command.summary, 90), ""]
    for flag in command.flags:
        default = f" Default: {flag.default}." if flag.default not in (None, "") else ""
        lines.append(f"  --{flag.name}={flag.takes}")
        text = textwrap.wrap(flag.help + default, 84)
        lines += textwrap.indent("\n".join(text), " " * 6).splitlines()
    return "\n".join(lines)


def _parse(command: Command, arguments: list[str]) -> dict[str, Any]:
    """The values of the command's flags by name.

    Raises:
      UserError: a flag or a config field that is not there, or a value of the wrong type.
    """
    values = flags.FlagValues()
    names = [flag.name for flag in command.flags if flag.define]
    for flag in command.flags:
        if flag.define:
            flag.define(flag.name, flag.default, flag.help, flag_values=values)
    if "config" in names:
        arguments = _define_config(arguments, values)
    try:
        rest = values(["launch.py", *arguments])
    except flags.UnrecognizedFlagError as error:
        near = did_you_mean(f"--{error.flagname}", [f"--{name}" for name in names])
        raise UserError(f"--{error.flagname}: no such flag{near}") from error
    except flags.IllegalFlagValueError as error:
        raise UserError(_wrong_type(str(error), values)) from error
    except flags.Error as error:
        raise UserError(str(error)) from error
    _, *paths = rest
    for name in command.paths[len(paths) :]:
        raise UserError(f"{name.upper()}: is missing; name a folder of pictures or a .npy file")
    for path in paths[len(command.paths) :]:
        raise UserError(f"{path!r}: is no flag; flags are written --name=value")
    named = dict(zip(command.paths, map(pathlib.Path, paths), strict=True))
    return {**named, **{name: values[name].value for name in names}}


def _wrong_type(message: str, values: flags.FlagValues) -> str:
    """Says of absl's `flag --name=value: ...` what the value should be."""
    match = re.match(r"flag --([\w.]+)=(.*?): ", message, re.DOTALL)
    kind = TYPES.get(values[match[1]].flag_type()) if match else None
    return f"--{match[1]}: {match[2]!r} is not {kind}" if kind else message


def _define_config(arguments: list[str], values: flags.FlagValues) -> list[str]:
    """Loads what --config names and defines a flag for each of its fields that is set.

    Returns:
      The arguments without --config itself.

    Raises:
      UserError: naming the file or the field that is wrong, and the nearest right one.
    """
    joined = re.sub(r"(^|\0)(--?config)\0", r"\1\2=", "\0".join(arguments))  # --config FILE
    arguments = joined.split("\0") if joined else []
    files = [text.partition("=")[2] for text in arguments if CONFIG.match(text)]
    if not files:
        if any(FIELD.match(text) for text in arguments):
            raise UserError(MISSING_CONFIG)
        return arguments
    config = _load_config(files[-1])
    rest = [text for text in arguments if not CONFIG.match(text)]
    for text in rest:
        if match := FIELD.match(text):
            _check_field(match[1], config.to_dict())
    delattr(values, "config")
    config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=rest)
    return rest


def _load_config(text: str) -> ConfigDict:
    """The config of `FILE` or `FILE:argument`; a folder may have a colon in its name."""
    path, argument = FILE_AND_ARGUMENT.fullmatch(text).groups()
    config = _call("config", path, *([argument] if argument else []))
    if not isinstance(config, ConfigDict):
        raise UserError(
            f"--config: {path}: get_config() gives a {type(config).__name__}, and no ConfigDict"
        )
    return config


def _call(flag: str, path: str, *arguments: str) -> Any:
    """What the function `get_FLAG` of the file that `--FLAG` names returns."""
    path = str(_path(path))
    if not pathlib.Path(path).is_file():
        folder = {"config": "configs", "sweep": "configs/sweeps"}[flag]
        near = did_you_mean(path, map(str, pathlib.Path(folder).glob("*.py")))
        raise UserError(f"--{flag}: no such file {path!r}{near}")
    name = f"get_{flag}"
    try:
        found = runpy.run_path(path)
        if name in found:
            return found[name](*arguments)
    except Exception as error:  # whatever the file raises
        said = repr(error) if isinstance(error, KeyError) else error
        raise UserError(f"--{flag}: {':'.join([path, *arguments])}: {said}") from error
    raise UserError(f"--{flag}: {path} is no {flag}: it has no {name!r}")


def _check_field(path: str, config: dict[str, Any]) -> None:
    field = field_at(config, path, "--config.")
    if isinstance(field, dict):
        fields = ", ".join(f"--config.{path}.{name}" for name in sorted(field))
        raise UserError(f"--config.{path}: is a section; set its fields: {fields}")


def _run(name: str, values: dict[str, Any]) -> None:
    """Calls the command's function with its flags."""
    workdir = values.pop("workdir", None)
    resumes = values.pop("resume", False)
    if name in ("train", "sweep") and not values["config"] and not resumes:
        raise UserError(MISSING_CONFIG)
    if name == "sweep" and not values["sweep"] and not resumes:
        raise UserError("--sweep: is missing; for example --sweep=configs/sweeps/vae_beta.py")
    if resumes and (values["config"] or values["sweep"]):
        raise UserError("--resume: takes config and sweep from --workdir; leave out yours")
    if (name not in ("train", "compare", "sweep") or resumes) and not workdir:
        raise UserError("--workdir: is missing; name a run folder, as runs/vae-mnist_sample")
    # What Orbax and TensorFlow have to say is not for users, and what goes wrong they raise, too.
    logging.set_verbosity(logging.FATAL)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if name != "report":
        _keep_cache(values.pop("cache"))
    for flag in ("input", "output"):
        if flag in values and not values[flag]:
            raise UserError(f"--{flag}: is missing; name a folder")
    # JAX starts here: --help and typing errors do not wait for it.
    if name == "train":
        processes = importlib.import_module("genjax.training.processes")
        processes.join(**{name: values[name] for name in PROCESSES})
    commands = importlib.import_module(f"genjax.{COMMANDS[name].module}")

    if name in ("train", "sweep") and not resumes:
        values["config"] = values["config"].to_dict()
        config = Section(values["config"])
        data = config["data"]
        run = f"{config['name']}-{data.get('dataset', data['name']).replace('/', '_')}"
        if name == "sweep":
            run += f"-{pathlib.Path(values['sweep']).stem}"
            values["sweep"] = _call("sweep", values["sweep"])
        workdir = workdir or f"runs/{run}"
    if name == "train":
        with processes.losses_stop():
            commands.train(values["config"], _path(workdir))
        return
    for flag in PATHS & values.keys():
        values[flag] = _path(values[flag]) if values[flag] else None
    for flag in TEXTS & values.keys():
        values[flag] = os.path.expanduser(values[flag])
    run = () if workdir is None else (_path(workdir),)
    getattr(commands, name)(*run, **values)


def _path(text: str) -> pathlib.Path:
    """With the home directory for ~; where there is none, as for ~nobody, as it stands."""
    return pathlib.Path(os.path.expanduser(text))


def _keep_cache(folder: str) -> None:
    """Lets JAX, which is not imported yet, keep what it compiles in `folder`; nowhere if empty."""
    if folder and "://" not in folder:
        folder = os.path.abspath(os.path.expanduser(folder))
    os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
    # A start is made of many small programs.
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="backslashreplace")  # names of files need be no text
    code = main(sys.argv)
    if "genjax.training.processes" in sys.modules:
        sys.modules["genjax.training.processes"].leave(code)
    sys.exit(code)
