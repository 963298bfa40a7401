"""What a user gets wrong ends with one line that names it, exit code 2, and nothing written."""

import functools
import json
import os
import pathlib
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

import launch
from genjax import picture_commands

VAE = "train --config=configs/article_vae.py:mnist_sample,test"
GAN = "train --config=configs/article_gan.py:mnist_sample,test"
CGAN = "train --config=configs/article_cgan.py:mnist_sample,test"
HVAE = "train --config=configs/hvae.py:mnist_sample,test"

#: What is typed -> what the line has to say.
TYPED = {
    "trian": ["'trian'", "did you mean 'train'?"],
    "train": ["--config: is missing"],
    "train --conf=configs/vae.py": ["--conf: no such flag; did you mean '--config'?"],
    "train --config=configs/vea.py": ["'configs/vea.py'; did you mean 'configs/vae.py'?"],
    "train --config configs/vea.py": ["'configs/vea.py'; did you mean 'configs/vae.py'?"],
    "train --config=configs/common.py": ["configs/common.py is no config", "get_config"],
    "train --config=configs/vae.py:mnist_sample,tset": ["no such variant 'tset'", "'test'"],
    "train --config.seed=1": ["--config: is missing"],
    "train --config=a:b/vae.py:mnist_sample": ["no such file 'a:b/vae.py'"],
    f"{VAE} --wrkdir=x": ["--wrkdir: no such flag; did you mean '--workdir'?"],
    f"{VAE} stray": ["'stray': is no flag"],
    f"{VAE} --config.sed=1": ["--config.sed: no such field; did you mean 'seed'?"],
    f"{VAE} --config.training.batchsize=1": ["config.training.batchsize", "'batch_size'?"],
    f"{VAE} --config.seed.x=1": ["--config.seed.x: no such field"],
    f"{VAE} --config.seed-x=1": ["--config.seed-x: no such field"],
    f"{VAE} --config.encoder.widths[0]=1": ["--config.encoder.widths[0]: no such field", "widths"],
    f"{VAE} --config.=1": ["--config.: no such field"],
    f"sample --workdir={300 * 'x'}": ["xxx"],
    "sample --workdir=~nobody_of_this_name/run": ["is no run folder"],
    f"{VAE} --config.model=3": ["--config.model: is a section", "--config.model.latent_size"],
    f"{VAE} --config.seed=abc": ["--config.seed: 'abc' is not a whole number"],
    f"{VAE} --config.seed=1.5": ["--config.seed: '1.5' is not a whole number"],
    f"{VAE} --config.encoder.spectral_norm=maybe": ["spectral_norm: 'maybe' is not true or false"],
    f"{VAE} --config.optimizer.learning_rate=fast": ["learning_rate: 'fast' is not a number"],
    "sample --num=abc --workdir=x": ["--num: 'abc' is not a whole number"],
    "evaluate": ["--workdir: is missing"],
    "report": ["--workdir: is missing"],
    "compare": ["REAL: is missing", "a folder of pictures"],
    "compare nowhere": ["FAKE: is missing"],
    "compare nowhere either": ["nowhere: no such file or folder"],
    "compare tests tests too": ["'too': is no flag"],
    "restore": ["--workdir: is missing"],
    "restore --workdir=x": ["--input: is missing"],
    "translate --workdir=x --input=tests": ["--output: is missing"],
    "enhance --workdir=x --input=a --output=b --amount=much": ["--amount: 'much' is not a number"],
    "compose --workdir=x --input=a --output=b --mask=c": ["--mask: no such flag", "'--masks'?"],
    "compose --workdir=x --input=a --output=b": ["choose one of --masks, --labels, --plus"],
    "restore --workdir=runs/none --input=a --output=b": ["--input: no such file or folder 'a'"],
    "sample --workdir=runs/none": ["runs/none"],
}

#: A train command -> what the line has to say about its fields.
FIELDS = {
    f"{VAE} --config.model.name=vea": ["model.name", "'vea'; did you mean 'vae'?"],
    f"{VAE} --config.encoder.name=mpl": ["encoder.name", "did you mean 'mlp'?"],
    f"{VAE} --config.encoder.normalization=batches": ["encoder.normalization", "'batch'?"],
    f"{VAE} --config.prior.name=vampire": ["prior.name", "'vamp'?"],
    f"{VAE} --config.prior.num_components=0": ["prior.num_components: 0"],
    f"{VAE} --config.model.objective=iwea": ["model.objective", "'iwae'?"],
    f"{VAE} --config.model.objective=iwae --config.model.free_bits=0.5": ["model.free_bits", "0"],
    f"{VAE} --config.model.draws=0": ["model.draws: 0"],
    f"{VAE} --config.model.log_var_range=(2.0,-6.0)": ["model.log_var_range", "(-6.0, 2.0)"],
    f"{VAE} --config.model.output_bias=means": ["model.output_bias", "'mean'?"],
    f"{VAE} --config.training.patience=soon": ["training.patience", "'soon'"],
    f"{VAE} --config.training.patience=2 --config.checkpoint.best_metric=": [
        "training.patience",
        "checkpoint.best_metric",
    ],
    "train --config=configs/cvae.py:mnist_sample,test --config.prior.name=vamp": [
        "prior.name: 'vamp'",
        "'mixture'",
    ],
    f"{HVAE} --config.encoder.name=dcgan": ["encoder.name", "mlp"],
    f"{HVAE} --config.decoder.activation=gate": ["decoder.activation", "'gated'?"],
    f"{VAE} --config.likelihood.name=bernouli": ["likelihood.name", "'bernoulli'?"],
    f"{VAE} --config.optimizer.name=adamw": ["optimizer.name", "'adam'?"],
    f"{VAE} --config.optimizer.schedule=cosin": ["optimizer.schedule", "'cosine'?"],
    f"{VAE} --config.data.reader=residant": ["data.reader", "'resident'?"],
    f"{VAE} --config.data.augment=flips": ["data.augment", "'flip'?"],
    f"{VAE} --config.data.name=mnist_smaple": ["data.name", "'mnist_sample'?"],
    f"{VAE} --config.training.parallel=pmpa": ["training.parallel", "'pmap'?"],
    f"{VAE} --config.training.dtype=float16": ["training.dtype", "'bfloat16'?"],
    f"{GAN} --config.model.loss=hinges": ["model.loss", "'hinge'?"],
    f"{GAN} --config.model.penalty=gradient_penaly": ["model.penalty", "'gradient_penalty'?"],
    "train --config=configs/gan.py:fashon_mnist": ["data.dataset", "'fashion_mnist'?"],
    "train --config=configs/gan.py:mnist_smaple": ["data.dataset", "'mnist_sample'?"],
    "train --config=configs/gan.py:mnist_sample --config.data.image_size=30": [
        "data.image_size",
        "30x30",
        "nearest: 28",
    ],
    "train --config=configs/sngan.py:mnist_sample --config.data.image_size=48": [
        "data.image_size",
        "48x48",
        "nearest: 32",
    ],
    f"{GAN} --config.data.image_size=30": ["evaluation.classifier", "30x30", "nearest: 28"],
    f"{VAE} --config.data.image_size=8": ["data.image_size", "SSIM", "at least 11"],
    f"{CGAN} --config.discriminator.conditioning=none": ["discriminator.conditioning", "auxiliary"],
    f"{CGAN} --config.generator.conditioning=none": ["generator.conditioning", "batch_norm"],
    f"{CGAN} --config.generator.conditioning=batch_norm": ["generator.normalization = 'batch'"],
    f"{VAE} --config.encoder.conditioning=projection": ["encoder.conditioning", "concat"],
    f"{VAE} --config.training.batch_size=0": ["training.batch_size: 0"],
    f"{VAE} --config.training.batch_size=-8": ["training.batch_size: -8"],
    f"{VAE} --config.training.batch_size=15": ["training.batch_size: 8 devices", "nearest: 16"],
    f"{VAE} --config.training.accumulate=0": ["training.accumulate: 0"],
    f"{VAE} --config.training.accumulate=5": ["8 devices in 5 chunks each", "nearest: 40"],
    f"{VAE} --config.training.accumulate=2 --config.model.free_bits=0.1": ["model.free_bits: 0.1"],
    f"{GAN} --config.training.accumulate=2 --config.model.penalty=dragan": ["model.penalty: "],
    f"{VAE} --config.training.steps_per_call=0": ["training.steps_per_call: 0"],
    f"{VAE} --config.training.steps_per_call={10**19}": [
        "training.steps_per_call: 10000000000000000000"
    ],
    f"{VAE} --coordinator=127.0.0.1:1234": ["--num_processes: is missing"],
    f"{VAE} --num_processes=two": ["--num_processes: 'two' is not a whole number"],
    f"{VAE} --config.training.duration=10fortnights": ["training.duration", "epochs"],
    f"{VAE} --config.training.duration=0": ["training.duration", "no step"],
    f"{VAE} --config.training.duration=1e99": ["training.duration", "'1e99'"],
    f"{VAE} --config.training.duration=1e999": ["training.duration", "'1e999'"],
    f"{VAE} --config.optimizer.warmup=soon": ["optimizer.warmup", "'soon'"],
    f"{VAE} --config.optimizer.learning_rate=-1": ["optimizer.learning_rate: -1.0"],
    f"{VAE} --config.optimizer.learning_rate=nan": ["optimizer.learning_rate: nan"],
    f"{VAE} --config.optimizer.b1=1": ["optimizer.b1: 1.0"],
    f"{VAE} --config.model.latent_size=0": ["model.latent_size: 0"],
    f"{VAE} --config.encoder.widths=0": ["encoder.widths: 0"],
    f"{GAN} --config.model.d_steps=0": ["model.d_steps: 0"],
    f"{GAN} --config.model.ema_decay=1.1": ["model.ema_decay: 1.1", "from 0 to 1"],
    f"{GAN} --config.model.ema_decay=-1": ["model.ema_decay: -1.0"],
    f"{VAE} --config.checkpoint.max_to_keep=0": ["checkpoint.max_to_keep: 0"],
    f"{VAE} --config.checkpoint.best_mode=low": ["checkpoint.best_mode", "max, min"],
    f"{VAE} --config.checkpoint.best_metric=elbow": ["checkpoint.best_metric", "'elbo'?"],
    f"{GAN} --config.checkpoint.best_metric=elbo": [
        "checkpoint.best_metric",
        "class_entropy, classifier_accuracy, frechet_distance",
    ],
    f"{CGAN} --config.evaluation.num_samples=1": ["evaluation.num_samples: 1"],
    f"{GAN} --config.evaluation.num_samples=0": ["checkpoint.best_metric", "choose ''"],
    f"{VAE} --config.evaluation.batch_size=0": ["evaluation.batch_size: 0"],
    f"{VAE} --config.evaluation.classifier.encoder.name=dcgn": [
        "evaluation.classifier",
        "encoder.name",
        "'dcgan'?",
    ],
    f"{VAE} --config.evaluation.classifier.training.batch_size=15": [
        "evaluation.classifier",
        "training.batch_size: 8 devices",
    ],
    "train --config=configs/thin_to_thick.py --config.data.binarize=true": ["data.binarize: True"],
    f"{VAE} --config.seed=-1": ["seed: -1"],
    f"{VAE} --config.seed=99999999999999999999": ["seed: 99999999999999999999"],
}


def refuse(capsys, typed: str) -> str:
    """The one line on standard error."""
    code = launch.main(["launch.py", *typed.split()])
    lines = capsys.readouterr().err.splitlines()
    assert code == 2
    assert len(lines) == 1, lines
    return lines[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "get_config() gives a dict, and no ConfigDict"),
        ("ConfigDict({'data': {'name': 'shapes'}})", "error: name: is missing"),
        ("ConfigDict({'name': 'vae'})", "error: data: is missing"),
        ("changed('encoder.widths', 300)", "encoder.widths: 300 is not a list of numbers"),
        (
            "changed('training.batch_size', (16, 16))",
            "training.batch_size: (16, 16) is not",
        ),
        (
            "changed('model.log_var_range', (None, 2.0))",
            "model.log_var_range: None is not",
        ),
    ],
)
def test_a_config_file_of_another_form_is_named(text, said, capsys, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from ml_collections import ConfigDict\nfrom configs import vae\n\n\n"
        "def changed(path, value):\n    config = vae.get_config('mnist_sample,test').to_dict()\n"
        "    section, name = path.split('.')\n    config[section][name] = value\n"
        f"    return ConfigDict(config)\n\n\ndef get_config():\n    return {text}\n"
    )
    assert said in refuse(capsys, f"train --config={file} --workdir={tmp_path / 'run'}")
    assert not (tmp_path / "run").exists()


def files_below(folder: pathlib.Path) -> dict[pathlib.Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("typed", TYPED)
def test_what_is_mistyped_is_named(typed, capsys):
    line = refuse(capsys, typed)
    assert all(part in line for part in TYPED[typed]), line


@pytest.mark.parametrize("typed", FIELDS)
def test_a_wrong_field_is_named_and_nothing_is_written(typed, capsys, tmp_path):
    line = refuse(capsys, f"{typed} --workdir={tmp_path / 'run'}")
    assert all(part in line for part in FIELDS[typed]), line
    assert not list(tmp_path.iterdir())


def pictures(folder: pathlib.Path, num: int) -> pathlib.Path:
    folder.mkdir(parents=True)
    for index in range(num):
        pixels = np.random.default_rng(index).integers(0, 256, (20, 24, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder


def test_a_folder_that_can_not_be_data_is_named(capsys, tmp_path):
    train = "train --config=configs/{}.py:folder,test --config.data.path={} --workdir={}"
    flat, few = pictures(tmp_path / "flat", 20), pictures(tmp_path / "few", 3)
    broken = pictures(tmp_path / "broken", 5)
    (broken / "torn.png").write_bytes(b"no picture")
    (tmp_path / "empty").mkdir()
    expected = {
        ("vae", ""): "data.path: is empty",
        ("vae", tmp_path / "none"): "no such folder",
        ("vae", tmp_path / "empty"): "no pictures",
        ("vae", broken): "torn.png",
        ("vae", few): "the validation split holds one image",
        ("article_cgan", flat): "discriminator.conditioning: data set 'folder' has no labels",
        ("article_gan", flat): "checkpoint.best_metric: 'frechet_distance' is not computed",
        ("classifier", flat): "'classifier' needs labels",
    }
    workdir = tmp_path / "run"
    for (config, path), part in expected.items():
        assert part in refuse(capsys, train.format(config, path, workdir))
    assert not workdir.exists()


def test_a_workdir_that_can_not_be_trained_in_is_left_alone(capsys, tmp_path, runs):
    (tmp_path / "file").touch()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").touch()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "config.json").write_text('{"name": "va')
    small = "train --config=tests/small_config.py:vae --workdir="
    expected = {
        f"{small}{tmp_path / 'file'}": "no run folder",
        f"{small}{tmp_path / 'file' / 'run'}": "can not write",
        f"{small}{tmp_path / 'other'}": "no run folder",
        f"{small}{tmp_path / 'damaged'}": "config.json: is not valid JSON",
        f"{small}{runs / 'vae'} --config.seed=3": "differs in seed (0 there, 3 here)",
        f"{small}{runs / 'gan'}": "belongs to another config",
    }
    before = files_below(tmp_path) | files_below(runs)
    for typed, part in expected.items():
        assert part in refuse(capsys, typed)
    assert files_below(tmp_path) | files_below(runs) == before


def test_a_workdir_that_can_not_be_used_is_left_alone(capsys, tmp_path, runs):
    config = json.loads((runs / "vae" / "config.json").read_text())
    for name, text in {
        "early": json.dumps(config),
        "damaged": json.dumps(config)[:300],
        "array": "[1]",
        "without": json.dumps({k: v for k, v in config.items() if k != "decoder"}),
        "retyped": json.dumps(config | {"training": 3}),
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(text)
    expected = {
        f"evaluate --workdir={runs / 'vea'}": "did you mean",
        f"evaluate --workdir={tmp_path}": "no run folder",
        f"evaluate --workdir={tmp_path / 'early'}": "no checkpoint yet",
        f"sample --workdir={tmp_path / 'early'}": "no checkpoint yet",
        f"report --workdir={tmp_path / 'damaged'}": "not valid JSON",
        f"evaluate --workdir={tmp_path / 'damaged'}": "not valid JSON",
        f"evaluate --workdir={tmp_path / 'array'}": "no JSON object",
        f"sample --workdir={tmp_path / 'without'}": "decoder: is missing",
        f"sample --workdir={tmp_path / 'retyped'}": "training: 3 is no section",
    }
    before = files_below(tmp_path)
    for typed, part in expected.items():
        assert part in refuse(capsys, typed)
    assert files_below(tmp_path) == before
    assert not (tmp_path / "early" / "checkpoints").exists()


def test_a_mistyped_metric_waits_for_no_classifier(capsys, tmp_path, runs):
    shutil.copytree(runs / "gan", tmp_path / "gan")
    line = refuse(capsys, f"evaluate --workdir={tmp_path / 'gan'} --metrics=label_acuracy")
    assert "did you mean 'label_accuracy'?" in line
    assert [path.name for path in tmp_path.iterdir()] == ["gan"]


def test_a_wrong_request_to_a_run_is_named(capsys, tmp_path, runs):
    (tmp_path / "file").touch()
    gan, vae = f"--workdir={runs / 'gan'}", f"--workdir={runs / 'vae'}"
    expected = {
        f"evaluate {vae} --split=tset": "--split: no such choice 'tset'; did you mean 'test'?",
        f"evaluate {vae} --seed=-1": "--seed: -1",
        f"evaluate {vae} --seeds=0": "--seeds: 0",
        f"evaluate {vae} --seed={2**32 - 1} --seeds=2": "--seeds: 4294967296",
        f"evaluate {vae} --metrics=lpips": "--lpips: is missing",
        f"evaluate {vae} --num_samples=1": "--num_samples: 1",
        f"evaluate {vae} --importance_samples=0": "--importance_samples: 0",
        f"evaluate {vae} --checkpoint=first": "--checkpoint: no such choice 'first'",
        f"evaluate {vae} --checkpoint=7": "--checkpoint: no such choice '7'",
        f"evaluate {vae} --metrics=psnt": "--metrics: 'psnt' is not measured of a VAE model",
        f"evaluate {gan} --metrics=psnr": "--metrics: 'psnr' is not measured of a GAN model",
        f"evaluate {gan} --extractor=pixel": "did you mean 'pixels'?",
        f"evaluate {gan} --extractor=inception": "--inception: is missing",
        f"evaluate {gan} --inception={runs / 'gan' / 'config.json'}": "has SHA-256",
        f"evaluate {vae} --lpips={runs / 'gan' / 'config.json'}": "no state dict",
        f"evaluate {gan} --num_samples=3 --metrics=density": "at least 6",
        f"reconstruct {gan}": "reconstruct: needs a Reconstructor, a model that passes images",
        f"reconstruct {vae} --split=tests": "--split",
        f"reconstruct {vae} --num=0": "--num: 0",
        f"sample {vae} --labels=3": "trained without labels",
        f"sample {gan} --labels=-1": "labels are 0 to 9",
        f"sample {gan} --labels=10": "labels are 0 to 9",
        f"sample {gan} --labels=three": "no such class 'three'",
        f"sample {gan} --num=0": "--num: 0",
        f"sample {gan} --truncation=-1": "--truncation: -1",
        f"sample {gan} --truncation=nan": "--truncation: nan",
        f"sample {gan} --out={tmp_path / 'file'}": "--out: can not write",
        f"interpolate {gan} --steps=1": "--steps: 1",
        f"interpolate {gan} --out={tmp_path / 'x.jpg'}": "x.png",
        f"interpolate {gan} --out={tmp_path / 'file' / 'x.png'}": "--out: can not write",
        f"sample --workdir={next(runs.glob('classifier-*'))}": "Classifier",
    }
    before = files_below(runs)
    for typed, part in expected.items():
        assert part in refuse(capsys, typed), typed
    assert files_below(runs) == before


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> pathlib.Path:
    """Pictures and masks, some of which do not belong to one another."""
    folder = tmp_path_factory.mktemp("own")
    pictures(folder / "in", 2)
    pictures(folder / "others", 3)
    pictures(folder / "one", 1)
    for name, size in (("large", (28, 24)), ("fits", (24, 20))):
        (folder / name).mkdir()
        Image.new("L", size, 255).save(folder / name / "0.png")
    (folder / "text.txt").write_text("no picture")
    (folder / "empty").mkdir()
    return folder


#: RUN COMMAND FLAGS, with --input=in --output=out unless given -> what the line has to say.
OWN_PICTURES = {
    "restore restore --input=nowhere": "--input: no such file or folder",
    "restore restore --input=text.txt": "text.txt' is no picture",
    "restore restore --input=empty": "--input: no pictures in",
    "restore restore --output=in": "--output: what is written to",
    "restore restore --output=in/below": "--output: what is written to",
    "restore restore --output=text.txt": "--output: ",
    "restore restore --degradation=gausian_noise": "did you mean 'gaussian_noise'?",
    "restore restore --degradation=gaussian_noise:2": "--degradation: gaussian_noise: sigma: 2",
    "restore restore --degradation=jpeg:0": "--degradation: jpeg: quality: 0",
    "restore restore --degrade": "--degradation: is missing; say how",
    "restore restore --degradation=missing_box": "--mask: is missing; this network has to be told",
    "restore restore --uncertainty": "--uncertainty: comes from restarts",
    "restore restore --enlarge=0": "--enlarge: 0",
    "vae restore": "--degradation: is missing; a model that is not trained to restore",
    "vae restore --degradation=jpeg --restarts=0": "--restarts: 0",
    "vae restore --degradation=jpeg --steps=0": "--steps: 0",
    "vae restore --degradation=jpeg --seed=-1": "--seed: -1",
    "vae restore --degradation=jpeg --method=serch": "--method: no such choice 'serch'",
    "vae restore --degradation=jpeg --method=impute": "error: --method: 'impute' fills in",
    "gan restore --degradation=missing_box --mask=fits --method=impute": "--method: 'impute'",
    "vae restore --degradation=haze": "error: --degradation: haze",
    "vae restore --degradation=gaussian_noise:0.1..0.2": "error: --degradation: gaussian_noise: s",
    "vae restore --degradation=jpeg|gaussian_noise": "error: --degradation: is one of several",
    "vae restore --degradation=missing_box": "error: --mask: is missing; 'missing_box'",
    "vae restore --degradation=missing_box --mask=nowhere": "--mask: no such file or folder",
    "vae restore --degradation=missing_box --mask=large/0.png": "28 wide and 24 high, but",
    "restore restore --degradation=jpeg --degrade --mask=fits": "error: --mask: says which pixels",
    "vae restore --degradation=jpeg --mask=fits": "error: --mask: says which pixels miss",
    "vae restore --degradation=missing_box --degrade --mask=fits": "--mask: says which pixels miss",
    "vae translate": "translate: needs a Translator, a model that turns images into others",
    "restore translate --back": "translate --back: needs a TwoWayTranslator, a",
    "restore enhance --attribute=light": "enhance: needs a Sampler, a model that draws images",
    "restore compose --labels=3,7": "compose: needs a Sampler, a model that draws images",
    "gan enhance --attribute=light": "--workdir: this model draws pictures by their labels",
    "vae enhance": "--attribute: name one, or two folders",
    "vae enhance --attribute=light --before=in": "--attribute: goes without --before and --after",
    "vae enhance --attribute=light": "--attribute: 'light' is a factor of the data set 'shapes'",
    "vae enhance --amount=nan --before=in --after=in": "--amount: nan",
    "shapes enhance --attribute=ligth": "--attribute: no such choice 'ligth'; did you mean 'light'",
    "vae enhance --before=in": "--after: is missing",
    "vae enhance --after=in": "--before: is missing",
    "vae enhance --before=in --after=nowhere": "--after: no such file or folder",
    "vae enhance --before=in --after=in/0.png": "--after: in/0.png is one picture",
    "vae enhance --before=in --after=others": "--before, --after: no partner for 2",
    "vae compose": "choose one of --masks, --labels, --plus",
    "vae compose --masks=fits --labels=3,7": "choose one of --masks, --labels, --plus",
    "vae compose --masks=nowhere": "--masks: no such file or folder",
    "vae compose --masks=fits": "has no mask called 1",
    "vae compose --masks=large": "--masks: ",
    "vae compose --masks=fits --input=one": "--input: ",
    "vae compose --masks=others --output=in": "--output: ",
    "restore restore --output=fits --mask=fits": "--output: what is written to fits would lie",
    "vae enhance --before=in --after=others --output=others": "would lie among the pictures of",
    "vae compose --plus=others --minus=in --output=others": "--output: what is written to others",
    "vae compose --masks=fits --output=fits": "--output: what is written to fits would lie",
    "gan compose --labels=3,12": "--labels: 12 is out of range; labels are 0 to 9",
    "restore restore --degradation=gaussian_noise:-1": "gaussian_noise: sigma: -1 is not a",
    "vae compose --labels=3,7": "--labels: '3,7', but this model was trained without labels",
    "gan compose --labels=3": "--labels: '3' is not FROM,TO",
    "gan compose --labels=3,eleven": "--labels: no such choice 'eleven'",
    "gan compose --plus=in --minus=in": "--workdir: this model draws pictures by their labels",
    "vae compose --plus=in": "--minus: is missing",
    "vae compose --minus=in": "--plus: is missing",
    "vae compose --plus=in/0.png --minus=in": "--plus: in/0.png is one picture",
}


#: As `load`; a run is loaded once for all requests.
LOAD = functools.lru_cache(picture_commands.load)


@pytest.mark.parametrize("typed", OWN_PICTURES)
def test_a_wrong_request_on_own_pictures_is_named(typed, capsys, own, picture_runs, monkeypatch):
    run, command, *given = typed.split()
    monkeypatch.chdir(own)
    monkeypatch.setattr(picture_commands, "load", LOAD)
    paths = {"--input": "in", "--output": "out"}
    paths |= dict(flag.split("=") for flag in given if flag.split("=")[0] in paths)
    rest = [flag for flag in given if flag.split("=")[0] not in paths]
    where = [f"{flag}={path}" for flag, path in paths.items()]
    before = files_below(own)
    line = refuse(capsys, " ".join([command, f"--workdir={picture_runs[run]}", *where, *rest]))
    assert OWN_PICTURES[typed] in line, line
    assert files_below(own) == before


def test_a_mask_that_is_missing_is_named_and_the_others_serve(capsys, own, picture_runs, tmp_path):
    flags = "--degradation=missing_box --restarts=1 --steps=1"
    where = f"--input={own / 'in'} --output={tmp_path} --mask={own / 'fits'}"
    line = refuse(capsys, f"restore --workdir={picture_runs['vae']} {where} {flags}")
    assert f"{own / 'fits'} has no mask called 1" in line
    assert [path.name for path in tmp_path.iterdir()] == ["0.png"]


def test_a_network_from_images_to_images_draws_none(capsys, picture_runs):
    for command, ability in (("sample", "Sampler"), ("reconstruct", "Reconstructor")):
        line = refuse(capsys, f"{command} --workdir={picture_runs['restore']}")
        assert f"{command}: needs a {ability}, a model that " in line
        assert "; a Regression is not one" in line


def test_two_sets_that_can_not_be_compared_are_named(capsys, tmp_path, runs):
    few, flat, wide, hot = (tmp_path / f"{name}.npy" for name in ("few", "flat", "wide", "hot"))
    np.save(few, np.zeros((3, 28, 28, 1), np.uint8))
    np.save(flat, np.zeros((20, 4)))
    np.save(one := tmp_path / "one.npy", np.zeros((1, 4)))
    np.save(wide, np.zeros((20, 5)))
    np.save(hot, np.full((20, 4), np.nan))
    pictures(tmp_path / "mixed", 3)
    Image.new("RGB", (9, 9)).save(tmp_path / "mixed" / "z.png")
    expected = {
        f"compare {few} {few} --metrics=recall": "at least 6",
        f"compare {flat} {flat} --out={tmp_path / 'mixed'}": "--out: {} is a folder".format(
            tmp_path / "mixed"
        ),
        f"compare {flat} {one}": f"{one}: holds 1, too few for any metric; at least 2",
        f"compare {flat} {wide}": "holds 5 features",
        f"compare {flat} {hot}": "row 0 is not finite",
        f"compare {flat} {few}": "images of 28 x 28 x 1",
        f"compare {tmp_path / 'mixed'} {tmp_path / 'mixed'}": "z.png",
        f"compare {few} {few} --metrics=fid": "--metrics: no such choice 'fid'",
        f"compare {few} {few} --extractor=inception": "--inception: is missing",
        f"compare {few} {few} --extractor=classifier": "--classifier: is missing",
        f"compare {few} {few} --classifier={runs / 'vae'}": "--classifier: compare: needs a",
        f"compare {few} {few} --inception={flat}": "has SHA-256",
        f"compare {flat} {flat} --extractor=pixels": "holds features",
        f"compare {flat} {flat} --out={few}/rows.jsonl": "--out: can not write",
    }
    before = files_below(tmp_path)
    for typed, part in expected.items():
        assert part in refuse(capsys, typed), typed
    assert files_below(tmp_path) == before


def test_a_number_that_is_no_longer_finite_ends_training(capsys, tmp_path, runs):
    judge = next(runs.glob("classifier-*"))
    (tmp_path / judge.name).symlink_to(judge)
    train = f"train --config=tests/small_config.py:vae --workdir={tmp_path / 'run'}"
    code = launch.main(["launch.py", *train.split(), "--config.optimizer.learning_rate=1e6"])
    error = capsys.readouterr().err.splitlines()[-1]
    assert code == 2
    assert error.startswith("error: step ")
    assert "no longer finite; try a lower learning_rate" in error
    assert not (tmp_path / "run" / "checkpoints").exists()
    (failure,) = map(json.loads, (tmp_path / "run" / "failures.jsonl").read_text().splitlines())
    assert len(failure["indices"]) == 16
    assert f"step {failure['step']}: {failure['metric']} is {failure['value']}" in error


def launched(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "launch.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_memory_that_does_not_do_is_one_line(capsys, monkeypatch):
    def run(name, values):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 5 bytes.\nx")

    monkeypatch.setattr(launch, "_run", run)
    line = refuse(capsys, VAE)
    assert line.startswith("error: train: no memory is left (Out of memory allocating 5 bytes.)")


def test_the_shell_sees_one_line_and_code_2(tmp_path):
    for typed in ("trian", f"{VAE} --config.model.name=vea --workdir={tmp_path / 'run'}"):
        result = launched(*typed.split())
        assert result.returncode == 2
        assert not result.stdout
        assert len(result.stderr.splitlines()) == 1
        assert "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["", *launch.COMMANDS])
def test_help_names_every_flag(command, capsys):
    assert launch.main(["launch.py", *filter(None, [command]), "--help"]) == 0
    output = capsys.readouterr()
    assert not output.err
    if command:
        assert all(f"--{flag.name}=" in output.out for flag in launch.COMMANDS[command].flags)
    else:
        assert all(f"launch.py {name} " in output.out for name in launch.COMMANDS)


def test_help_and_mistyped_flags_do_not_wait_for_jax():
    for arguments in (["train", "--help"], ["train", "--config=configs/vea.py"]):
        code = (
            f"import sys, launch; launch.main(['', *{arguments}]); sys.exit('jax' in sys.modules)"
        )
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_a_second_command_does_not_inherit_the_first_ones_flags(capsys, runs):
    assert "--labels" in refuse(capsys, f"sample --workdir={runs / 'vae'} --labels=3")
    assert "--workdir: is missing" in refuse(capsys, "sample")


def test_what_is_compiled_is_kept_where_the_flag_says_or_nowhere(runs, tmp_path, monkeypatch):
    usual, folder = tmp_path / "usual", tmp_path / "cache"
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(usual))
    sample = ["sample", f"--workdir={runs / 'vae'}", "--num=1", f"--out={tmp_path / 'out'}"]
    assert launched(*sample, f"--cache={folder}").returncode == 0
    kept = {path.name for path in folder.iterdir()}
    assert kept
    assert launched(*sample, "--cache=").returncode == 0
    assert not usual.exists()
    assert {path.name for path in folder.iterdir()} == kept


def test_nothing_but_its_own_lines_reaches_the_screen(runs):
    result = launched("evaluate", f"--workdir={runs / 'gan'}")
    assert result.returncode == 0
    assert not result.stderr
    assert result.stdout.startswith("scores on the test split:")
    assert result.stdout.splitlines()[-1] == f"report: {runs / 'gan' / 'report.html'}"


def test_eight_devices_are_emulated():
    """The batch sizes above are refused for that reason."""
    assert jax.local_device_count() == 8
    assert os.environ["NPROC"] == "16"
