"""What the configs share: data sets by name, and sections with their usual values."""

from ml_collections import ConfigDict


def parse(arg: str) -> tuple[str, bool]:
    """`"fashion_mnist,test"` to (data set, whether the small test variant is asked for)."""
    dataset, _, variant = (arg or "mnist_sample").partition(",")
    if variant not in ("", "test"):
        raise ValueError(f"no such variant {variant!r}; the only one is 'test'")
    return dataset, variant == "test"


def data(dataset: str, **overrides) -> ConfigDict:
    """The data section: `mnist_sample`, `shapes`, `folder`, or any image set of TFDS by name."""
    # Larger pictures in colour are brought to 32x32; MNIST and its like keep their form.
    grey_28 = {"mnist", "fashion_mnist", "kmnist", "emnist"}
    size, channels = (28, 1) if dataset.partition("/")[0] in grey_28 else (32, 3)
    sets = {
        "mnist_sample": {"name": "mnist_sample", "image_size": 28, "channels": 1},
        "shapes": {
            "name": "shapes",
            "image_size": 32,
            "channels": 3,
            "num_examples": 50_000,
            "num_evaluation": 5_000,
        },
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
    section = {"reader": "resident", "augment": "none", **sets.get(dataset, tfds), **overrides}
    return ConfigDict(section)


def optimizer(learning_rate: float, b1: float = 0.9, b2: float = 0.999) -> ConfigDict:
    """Adam at a constant rate, gradients as they are."""
    return ConfigDict(
        {
            "name": "adam",
            "learning_rate": learning_rate,
            "b1": b1,
            "b2": b2,
            "schedule": "constant",
            "warmup": "0 steps",
            "clip_norm": 0.0,
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
        "parallel": "pmap",
        "dtype": "float32",
    }
    return ConfigDict(section | overrides)


def checkpoint(best_metric: str, best_mode: str) -> ConfigDict:
    """The last checkpoint and the one that validation calls best are kept."""
    return ConfigDict({"max_to_keep": 1, "best_metric": best_metric, "best_mode": best_mode})


def classifier() -> ConfigDict:
    """A small convolutional classifier; `evaluation.classifier` judges samples by one."""
    return ConfigDict(
        {
            "model": {"name": "classifier", "feature_size": 64},
            "encoder": {
                "name": "dcgan",
                "width": 32,
                "normalization": "batch",
                "spectral_norm": False,
                "conditioning": "none",
            },
            "optimizer": optimizer(1e-3).to_dict() | {"schedule": "cosine"},
            "training": training("80000 examples", 100).to_dict(),
            "checkpoint": checkpoint("accuracy", "max").to_dict(),
            "evaluation": {"batch_size": 500, "num_samples": 0, "classifier": {}},
            "augment": "shift",
        }
    )


def evaluation(dataset: str) -> ConfigDict:
    """2,000 samples before the judge."""
    del dataset
    return ConfigDict(
        {"batch_size": 500, "num_samples": 2000, "classifier": classifier().to_dict()}
    )


def shrink(config: ConfigDict) -> ConfigDict:
    """The test variant: the same experiment for a few steps."""
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
