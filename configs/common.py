"""What the configs share: data sets by name, and sections with their usual values."""

import re

from ml_collections import ConfigDict


def parse(arg: str) -> tuple[str, bool]:
    """`"fashion_mnist,test"` to (data set, whether the small test variant is asked for)."""
    dataset, _, variant = (arg or "mnist_sample").partition(",")
    if variant not in ("", "test"):
        raise ValueError(f"no such variant {variant!r}; the only one is 'test'")
    return dataset, variant == "test"


def data(dataset: str, **overrides) -> ConfigDict:
    """The data section: a set of genjax by its name, or any image set of TFDS."""
    # Larger pictures in colour are brought to 32x32; MNIST and its like keep their form.
    grey_28 = {"mnist", "fashion_mnist", "kmnist", "emnist"}
    size, channels = (28, 1) if re.split("[/:]", dataset)[0] in grey_28 else (32, 3)
    sets = {
        "mnist_sample": {"name": "mnist_sample", "image_size": 28, "channels": 1},
        "shapes": {
            "name": "shapes",
            "image_size": 32,
            "channels": 3,
            "num_examples": 50_000,
            "num_evaluation": 5_000,
        },
        "omniglot_28": {"name": "omniglot_28", "path": "", "image_size": 28, "channels": 1},
        "folder": {
            "name": "folder",
            "path": "",
            "image_size": 32,
            "channels": 3,
            "crop": "center",
            "validation_fraction": 0.1,
            "test_fraction": 0.1,
            "max_unreadable": 0,
        },
        "folders": {
            "name": "folders",
            "input_path": "",
            "target_path": "",
            "image_size": 32,
            "channels": 3,
            "crop": "center",
            "validation_fraction": 0.1,
            "test_fraction": 0.1,
            "max_unreadable": 0,
        },
    }
    tfds = {
        "name": "tfds",
        "dataset": dataset,
        "image_size": size,
        "channels": channels,
        "crop": "center",
        "data_dir": "",  # where prepared sets lie; empty: TFDS's own default
        "manual_dir": "",  # a folder with archives that were downloaded already
        "num_validation": 10_000,  # cut off the end of train where a set has no such split
    }
    section = {
        "reader": "resident",
        "augment": "none",
        "binarize": False,  # every value is drawn as 0 or 1: anew each step, once for evaluation
        **sets.get(dataset, tfds),
        **overrides,
    }
    return ConfigDict(section)


def epochs(dataset: str, on_mnist_sample: int) -> str:
    """A duration; sets larger than the embedded one need fewer epochs, a folder may be small."""
    small = dataset in ("mnist_sample", "folder", "folders")
    return f"{on_mnist_sample if small else on_mnist_sample // 4} epochs"


def network(name: str, conditioning: str = "none", **overrides) -> ConfigDict:
    """A section for one network: `mlp` takes `widths`, `dcgan` and `resnet` take `width`."""
    dense = {
        "activation": "leaky_relu",  # or tanh, gated
        "kernel_init": "lecun_normal",  # or he_normal, xavier_uniform
    }
    section = {
        "name": name,
        **(dense if name == "mlp" else {}),
        "normalization": "none",
        "spectral_norm": False,
        "conditioning": conditioning,
    }
    return ConfigDict(section | overrides)


def vae_model(**overrides) -> ConfigDict:
    """20 latents under the plain bound."""
    section = {
        "name": "vae",
        "latent_size": 20,
        "log_var_range": (),  # or (lowest, highest) log variance of the posterior
        "output_bias": "zeros",  # or mean: a dense decoder starts at the mean training image
        "objective": "elbo",
        "draws": 1,
        "kl_weight": 1.0,
        "kl_warmup": "0 percent",
        "free_bits": 0.0,
    }
    return ConfigDict(section | overrides)


def hvae_model(**overrides) -> ConfigDict:
    """The same with 40 latents in each of two levels."""
    return vae_model(**{"name": "hvae", "latent_size": (40, 40), **overrides})


def gated(*widths: int) -> dict[str, object]:
    """Dense layers of the published likelihoods (Tomczak and Welling 2018), as fields of `mlp`."""
    return {"widths": widths, "activation": "gated", "kernel_init": "he_normal"}


def tanh(*widths: int) -> dict[str, object]:
    """Those of importance-weighted autoencoders (Burda et al. 2016, section 5)."""
    return {"widths": widths, "activation": "tanh", "kernel_init": "xavier_uniform"}


def prior(name: str = "standard_normal") -> ConfigDict:
    """`standard_normal`, `mixture` or `vamp`, of 500 components where it has any."""
    return ConfigDict({"name": name, "num_components": 500})


def gan_model(**overrides) -> ConfigDict:
    """The non-saturating game, without a penalty."""
    section = {
        "name": "gan",
        "loss": "non_saturating",
        "penalty": "none",
        "penalty_weight": 1.0,
        "auxiliary_weight": 1.0,
        "d_steps": 1,
        "ema_decay": 0.999,
        "latent_size": 100,
    }
    return ConfigDict(section | overrides)


def pix2pix_model(**overrides) -> ConfigDict:
    """The non-saturating game beside the L1 loss."""
    section = {"name": "pix2pix", "loss": "non_saturating", "l1_weight": 100.0, "ema_decay": 0.999}
    return ConfigDict(section | overrides)


def cyclegan_model(**overrides) -> ConfigDict:
    """Least squares, and the paper's weights, of half a square and in units of [0, 1]."""
    section = {
        "name": "cyclegan",
        "loss": "least_squares",
        "cycle_weight": 10.0,
        "identity_weight": 5.0,
        "pool_size": 64,
        "ema_decay": 0.999,
    }
    return ConfigDict(section | overrides)


def unet(**overrides) -> ConfigDict:
    """A section for a network from images to images."""
    section = {"name": "unet", "detail": 16, "width": 32, "levels": 2, "blocks": 1}
    return ConfigDict({**section, "normalization": "none", "residual": True, **overrides})


def patches(**overrides) -> ConfigDict:
    """A section for a network that judges patches of an image."""
    section = {"name": "patch", "width": 32, "levels": 2, "normalization": "none"}
    return ConfigDict({**section, "spectral_norm": True, **overrides})


def pairs(dataset: str, input: str, target: str = "none") -> ConfigDict:
    """What comes in and what should come out: views of one image, or two folders as they are."""
    if dataset == "folders":
        input = target = "none"
    return ConfigDict({"input": input, "target": target})


#: All degradations at all strengths that experiments/restoration.py asks about, and between.
DAMAGE = "|".join(
    (
        "gaussian_noise:0.05..0.3",
        "poisson_noise:5..50",
        "salt_and_pepper:0.05..0.35",
        "missing_pixels:0.3..0.85",
        "missing_box:0.25..0.6",
        "missing_half:0.3..0.5",
        "gaussian_blur:0.7..2.2+gaussian_noise:0..0.04",
        "motion_blur:4..11+gaussian_noise:0..0.04",
        "downsample:2",
        "downsample:4",
        "haze:0.5..2.5",
        "low_light:1.5..4,0.01..0.05",
        "jpeg:5..40",
    )
)


def optimizer(learning_rate: float, **overrides) -> ConfigDict:
    """Adam at a constant rate, gradients as they are."""
    section = {
        "name": "adam",
        "learning_rate": learning_rate,
        "b1": 0.9,
        "b2": 0.999,
        "schedule": "constant",
        "warmup": "0 steps",
        "clip_norm": 0.0,
    }
    return ConfigDict(section | overrides)


def gan_optimizers(learning_rate: float, d_learning_rate: float = 0.0, **overrides) -> ConfigDict:
    """One for each network; the discriminator's rate is the generator's unless given."""
    return ConfigDict(
        {
            "generator": optimizer(learning_rate, **overrides),
            "discriminator": optimizer(d_learning_rate or learning_rate, **overrides),
        }
    )


def training(duration: str, batch_size: int, **overrides) -> ConfigDict:
    """How long, how much at once, how often."""
    section = {
        "duration": duration,
        "batch_size": batch_size,
        "steps_per_call": 10,
        "log_every": "50 steps",
        "checkpoint_every": "20 percent",
        "patience": "0 epochs",  # ends the run when it was without a better checkpoint for so long
        "parallel": "pmap",
        "dtype": "float32",
        "accumulate": 1,  # chunks in which a device takes its part of a batch, for less memory
        "rollbacks": 0,  # how often, when numbers are no longer finite, to go back to a checkpoint
    }
    return ConfigDict(section | overrides)


def until_no_better(duration: str, batch_size: int, **overrides) -> ConfigDict:
    """At most `duration`; ends when 50 epochs have brought no better checkpoint."""
    every = {"log_every": "1 epoch", "checkpoint_every": "1 epoch", "patience": "50 epochs"}
    return training(duration, batch_size, **{"steps_per_call": 50, **every, **overrides})


def by_stages(dataset: str) -> dict[str, ConfigDict]:
    """What the configs of Burda et al. 2016 share: 3,280 passes, fewer over the embedded set."""
    passes = 328 if dataset == "mnist_sample" else 3280
    every = {"log_every": "1 epoch", "checkpoint_every": "5 percent"}
    return {
        "prior": prior(),
        "likelihood": ConfigDict({"name": "bernoulli"}),
        "optimizer": optimizer(1e-3, schedule="powers_of_three"),
        "training": training(f"{passes} epochs", 20, steps_per_call=50, **every),
        "checkpoint": checkpoint("elbo", "max"),
        "evaluation": no_judge(),
    }


def checkpoint(best_metric: str, best_mode: str) -> ConfigDict:
    """The last two checkpoints and the one that validation calls best are kept."""
    return ConfigDict({"max_to_keep": 2, "best_metric": best_metric, "best_mode": best_mode})


def classifier(dataset: str) -> ConfigDict:
    """A small convolutional classifier; `evaluation.classifier` judges samples by one."""
    return ConfigDict(
        {
            "model": {"name": "classifier", "feature_size": 64},
            "encoder": network("dcgan", width=32, normalization="batch").to_dict(),
            "optimizer": optimizer(1e-3, schedule="cosine").to_dict(),
            "training": training(epochs(dataset, 20), 64).to_dict(),
            "checkpoint": checkpoint("accuracy", "max").to_dict(),
            "evaluation": {"batch_size": 500, "num_samples": 0, "classifier": {}},
            "augment": "shift",
        }
    )


def no_judge() -> ConfigDict:
    """Of a model whose samples no classifier looks at."""
    return ConfigDict({"batch_size": 500, "num_samples": 0, "classifier": {}})


def evaluation(dataset: str) -> ConfigDict:
    """2,000 samples before the judge."""
    return ConfigDict(
        {"batch_size": 500, "num_samples": 2000, "classifier": classifier(dataset).to_dict()}
    )


def shrink(config: ConfigDict) -> ConfigDict:
    """The test variant: the same experiment for a few steps, in a run folder of its own."""
    config.name += "_test"
    config.training.update(
        {"duration": "8 steps", "batch_size": 16, "steps_per_call": 2, "log_every": "4 steps"}
    )
    config.training.checkpoint_every = "4 steps"
    config.evaluation.num_samples = 40
    if config.evaluation.classifier:
        config.evaluation.classifier.encoder.width = 4
        config.evaluation.classifier.training.update(
            {"duration": "8 steps", "batch_size": 16, "steps_per_call": 2}
        )
    return config


def sweep(space: dict, metric: str, mode: str, **overrides) -> dict:
    """A sweep over `space`, for the trial whose `metric` on the validation split is best."""
    section = {
        "space": space,
        "num_samples": 1,  # settings that are drawn, each for the whole grid and all seeds
        "metric": metric,
        "mode": mode,
        "search": "random",
        "early_stopping": "none",
        "resources": {"cpu": 1, "gpu": 0, "tpu": 0},  # of one trial, by Ray
    }
    return {**section, **overrides}


def grid(*values) -> dict:
    """Each of `values`, with all values of the other fields."""
    return {"grid": values}


def seeds(num: int) -> dict:
    """The config's seed and those after it, `num` in all; each setting is tried with each."""
    return {"seeds": num}


def choice(*values) -> dict:
    """One of `values`, drawn."""
    return {"choice": values}


def uniform(low: float, high: float) -> dict:
    """A number drawn between the two; a whole one for a field of whole numbers."""
    return {"uniform": (low, high)}


def log_uniform(low: float, high: float) -> dict:
    """A number drawn between the two whose logarithm is uniform."""
    return {"log_uniform": (low, high)}
