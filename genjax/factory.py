"""From a config to objects: the one module that knows how a config is laid out.

Every table here is the list of what a config may name; a new model, network, data set or metric is
one file and one entry. A section of a config becomes the arguments of what it names, so that a field
that nothing reads is an error.
"""

import dataclasses
import functools
import importlib
import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from genjax import rng, schedule
from genjax.data.base import SPLITS, Source
from genjax.data.plan import Plan
from genjax.data.readers import READERS, Resident, Stream
from genjax.data.transforms import AUGMENTATIONS
from genjax.errors import UserError, choose, did_you_mean
from genjax.evaluation.evaluators import (
    AccuracyEvaluator,
    BoundEvaluator,
    ReconstructionEvaluator,
    SampleEvaluator,
)
from genjax.evaluation.extractors import ClassifierExtractor
from genjax.evaluation.rows import Evaluator
from genjax.losses.adversarial import ADVERSARIAL_LOSSES
from genjax.losses.likelihoods import LIKELIHOODS
from genjax.losses.penalties import PENALTIES
from genjax.models.base import (
    LabelReader,
    LikelihoodModel,
    Model,
    Reconstructor,
    Sampler,
    TrainState,
)
from genjax.models.classifier import Classifier
from genjax.models.gan import GAN
from genjax.models.vae import VAE
from genjax.nn import heads
from genjax.nn.dcgan import DCGANDecoder, DCGANEncoder
from genjax.nn.mlp import MLPDecoder, MLPEncoder
from genjax.nn.resnet import ResNetDecoder, ResNetEncoder
from genjax.training.loop import Cadence
from genjax.training.optimizers import OPTIMIZERS, clipped
from genjax.training.parallel import Devices

#: Name to "module:function", imported when asked for: TensorFlow Datasets takes a second.
DATA_SETS = {
    "mnist_sample": "genjax.data.mnist_sample:mnist_sample",
    "shapes": "genjax.data.shapes:shapes",
    "folder": "genjax.data.folder:folder",
    "tfds": "genjax.data.tfds_images:tfds_images",
}
#: (from images to features, from latents to images)
NETWORKS = {
    "mlp": (MLPEncoder, MLPDecoder),
    "dcgan": (DCGANEncoder, DCGANDecoder),
    "resnet": (ResNetEncoder, ResNetDecoder),
}
NORMALIZATIONS = ("none", "batch", "layer")
#: How a label may come into each network.
CONDITIONING = {
    "encoder": ("none", "concat"),
    "decoder": ("none", "concat", "batch_norm"),
    "generator": ("none", "concat", "batch_norm"),
    "discriminator": ("none", "concat", "projection", "auxiliary"),
}
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}

Section = Mapping[str, Any]


def construct(function: Callable, section: Section, where: str, **context: Any) -> Any:
    """`function` called with the fields of `section` and with that part of `context` it takes.

    The field `name`, which chose the function, is not passed.

    Raises:
      UserError: a field that `function` does not take, or one that it needs and is not there.
    """
    parameters = inspect.signature(function).parameters
    # Flax adds `parent` and `name` to every module.
    fields = {name: value for name, value in section.items() if name != "name"}
    takes = [name for name in parameters if name not in {*context, "parent", "name"}]
    for name in fields:
        if name not in takes:
            kind = section.get("name", function.__name__)
            raise UserError(
                f"{where}.{name}: no such field for {kind!r}{did_you_mean(name, takes)}"
            )
    for name in takes:
        if name not in fields and parameters[name].default is inspect.Parameter.empty:
            raise UserError(f"{where}.{name}: is missing")
    return function(**fields, **{k: v for k, v in context.items() if k in parameters})


def positive(where: str, value: float) -> None:
    """Raises a UserError naming the field `where` if `value` is not above 0."""
    if not value > 0:
        raise UserError(f"{where}: {value} is not positive")


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Everything that a config describes; sources are opened when first asked for."""

    config: Section

    @functools.cached_property
    def sources(self) -> dict[str, Source]:
        """The data set's splits by name."""
        data = self.config["data"]
        module, function = choose("data.name", data["name"], DATA_SETS).split(":")
        function = getattr(importlib.import_module(module), function)
        fields = {k: v for k, v in data.items() if k not in ("reader", "augment")}
        return {split: construct(function, fields, "data", split=split) for split in SPLITS}

    @property
    def class_names(self) -> tuple[str, ...]:
        """The data set's classes; empty without labels."""
        return self.sources["train"].class_names

    @functools.cached_property
    def model(self) -> Model:
        """The model, checked to fit the data set's images."""
        name = self.config["model"]["name"]
        model = choose("model.name", name, MODELS).build(self)
        jax.eval_shape(lambda: model.init(jax.random.key(0), self._example_batch()))
        return model

    def init_state(self) -> TrainState:
        """The state before the first step, on all devices."""
        state = self.model.init(rng.key(self.config["seed"], "init"), self._example_batch())
        return self.devices.replicate(state)

    def _example_batch(self) -> dict[str, jax.Array]:
        image = jnp.zeros((1, *self.sources["train"].image_shape))
        return {"image": image, "label": jnp.zeros(1, jnp.int32)}

    @functools.cached_property
    def devices(self) -> Devices:
        """All devices of this process."""
        kind = self.config["training"]["parallel"]
        choose("training.parallel", kind, dict.fromkeys(("pmap", "jit")))
        devices = Devices(kind)
        devices.check_batch_size(self.config["training"]["batch_size"])
        return devices

    @functools.cached_property
    def reader(self) -> Resident | Stream:
        """What brings the training split to the step, by the batch plan."""
        train = self.sources["train"]
        plan = Plan(self.config["seed"], len(train), self.images_per_step)
        return choose("data.reader", self.config["data"]["reader"], READERS)(train, plan)

    @property
    def augment(self) -> Callable:
        """What happens to training images inside the step."""
        return choose("data.augment", self.config["data"]["augment"], AUGMENTATIONS)

    @property
    def images_per_step(self) -> int:
        """Real images that one step takes."""
        return self.config["training"]["batch_size"] * self.model.batches_per_step

    @functools.cached_property
    def cadence(self) -> Cadence:
        """When training logs, saves and ends."""
        training = self.config["training"]
        per_call = training["steps_per_call"]
        positive("training.steps_per_call", per_call)
        total = schedule.round_up(self.steps("training.duration"), per_call)
        positive("training.duration", total)
        log = min(max(self.steps("training.log_every", total), 1), total)
        log = schedule.round_up(log, per_call)
        save = min(max(self.steps("training.checkpoint_every", total), 1), total)
        # A resumed run starts at a checkpoint; its first logged mean must begin there too.
        save = schedule.round_up(save, log)
        return Cadence(
            total_steps=total, steps_per_call=per_call, log_every=log, checkpoint_every=save
        )

    def steps(self, field: str, total: int = 0) -> int:
        """The duration in `field` (a dotted path), in steps of this experiment."""
        value = functools.reduce(lambda section, key: section[key], field.split("."), self.config)
        # Durations go into the optimizers' schedules, so they are known before the model is.
        batches = self.config["model"].get("d_steps", 1)
        return schedule.num_steps(
            field,
            value,
            examples_per_step=self.config["training"]["batch_size"] * batches,
            num_examples=len(self.sources["train"]),
            total=total,
        )

    def evaluators(self, split: str, judge: ClassifierExtractor | None) -> list[Evaluator]:
        """All that can be measured of this model on `split`; samples only beside a judge."""
        choose("split", split, dict.fromkeys(SPLITS))
        source, fields = self.sources[split], self.config["evaluation"]
        positive("evaluation.batch_size", fields["batch_size"])
        size = fields["batch_size"]
        found = []
        if isinstance(self.model, Reconstructor):
            found.append(ReconstructionEvaluator(source, size))
        if isinstance(self.model, LikelihoodModel):
            found.append(BoundEvaluator(source, size))
        if isinstance(self.model, Sampler) and judge is not None:
            if fields["num_samples"] < 2:
                raise UserError(
                    f"evaluation.num_samples: {fields['num_samples']} is too few; at least 2"
                )
            found.append(SampleEvaluator(source, judge, fields["num_samples"], size))
        if isinstance(self.model, LabelReader):
            found.append(AccuracyEvaluator(source, size))
        return found

    def network(self, part: str, index: int, **context: Any) -> Any:
        """The network in the config's section `part`: its encoder (0) or decoder (1) form."""
        section = dict(self.config[part])
        choices = CONDITIONING[part]
        conditioning = section.get("conditioning", "none")
        choose(f"{part}.conditioning", conditioning, dict.fromkeys(choices))
        choose(
            f"{part}.normalization",
            section.get("normalization", "none"),
            dict.fromkeys(NORMALIZATIONS),
        )
        if conditioning == "batch_norm" and section.get("normalization") != "batch":
            raise UserError(
                f"{part}.conditioning: 'batch_norm' needs {part}.normalization = 'batch'"
            )
        if conditioning != "none" and not self.class_names:
            raise UserError(
                f"{part}.conditioning: data set {self.config['data']['name']!r} has no labels; "
                "choose 'none'"
            )
        module = choose(f"{part}.name", section["name"], NETWORKS)[index]
        dtype = choose("training.dtype", self.config["training"]["dtype"], DTYPES)
        return construct(
            module, section, part, num_classes=len(self.class_names), dtype=dtype, **context
        )

    def num_classes(self, *parts: str) -> int:
        """The number of classes if the networks `parts` are given the label; 0 if none is."""
        conditional = {part: self.config[part]["conditioning"] != "none" for part in parts}
        if len(set(conditional.values())) > 1:
            without = next(part for part, has in conditional.items() if not has)
            raise UserError(
                f"{without}.conditioning: is 'none', but the other network is given the label; "
                f"choose one of {', '.join(CONDITIONING[without][1:])}"
            )
        return len(self.class_names) if all(conditional.values()) else 0

    def optimizer(self, where: str, section: Section) -> optax.GradientTransformation:
        """The optimizer with its schedule and gradient clipping."""
        total = self.steps("training.duration")
        positive(f"{where}.learning_rate", section["learning_rate"])
        warmup = self.steps(f"{where}.warmup", total)
        shape = choose(f"{where}.schedule", section["schedule"], schedule.SCHEDULES)
        rate = shape(section["learning_rate"], max(total - warmup, 1))
        rest = {
            k: v
            for k, v in section.items()
            if k not in ("learning_rate", "schedule", "warmup", "clip_norm")
        }
        make = choose(f"{where}.name", section["name"], OPTIMIZERS)
        learning_rate = schedule.with_warmup(rate, warmup)
        return clipped(
            construct(make, rest, where, learning_rate=learning_rate), section["clip_norm"]
        )


def _vae(experiment: Experiment) -> VAE:
    config = experiment.config
    fields, likelihood = config["model"], config["likelihood"]
    positive("model.latent_size", fields["latent_size"])
    likelihood = construct(
        choose("likelihood.name", likelihood["name"], LIKELIHOODS), likelihood, "likelihood"
    )
    height, width, channels = experiment.sources["train"].image_shape
    outputs = (height, width, channels * likelihood.outputs_per_channel)
    rest = {k: v for k, v in fields.items() if k not in ("kl_weight", "kl_warmup")}
    return construct(
        VAE,
        rest,
        "model",
        encoder=heads.Posterior(experiment.network("encoder", 0), fields["latent_size"]),
        decoder=experiment.network("decoder", 1, shape=outputs),
        likelihood=likelihood,
        optimizer=experiment.optimizer("optimizer", config["optimizer"]),
        num_classes=experiment.num_classes("encoder", "decoder"),
        kl_weight=schedule.with_warmup(
            schedule.constant(fields["kl_weight"], 0),
            experiment.steps("model.kl_warmup", experiment.steps("training.duration")),
        ),
    )


def _gan(experiment: Experiment) -> GAN:
    config = experiment.config
    fields = config["model"]
    for name in ("latent_size", "d_steps"):
        positive(f"model.{name}", fields[name])
    num_classes = experiment.num_classes("generator", "discriminator")
    how = config["discriminator"]["conditioning"]
    trunk = experiment.network("discriminator", 0)
    penalties = {"none": None, **PENALTIES}
    discriminator = heads.Discriminator(
        # Only a label that is concatenated comes in below the head.
        trunk if how == "concat" else trunk.copy(conditioning="none"),
        conditioning=how,
        num_classes=num_classes,
        spectral_norm=config["discriminator"]["spectral_norm"],
    )
    rest = {k: v for k, v in fields.items() if k not in ("loss", "penalty")}
    optimizers = config["optimizer"]
    return construct(
        GAN,
        rest,
        "model",
        generator=experiment.network("generator", 1, shape=experiment.sources["train"].image_shape),
        discriminator=discriminator,
        loss=choose("model.loss", fields["loss"], ADVERSARIAL_LOSSES),
        penalty=choose("model.penalty", fields["penalty"], penalties),
        d_optimizer=experiment.optimizer("optimizer.discriminator", optimizers["discriminator"]),
        g_optimizer=experiment.optimizer("optimizer.generator", optimizers["generator"]),
        num_classes=num_classes,
    )


def _classifier(experiment: Experiment) -> Classifier:
    fields = dict(experiment.config["model"])
    if not experiment.class_names:
        name = experiment.config["data"]["name"]
        raise UserError(f"model.name: 'classifier' needs labels, and data set {name!r} has none")
    num_classes = len(experiment.class_names)
    encoder = heads.Classifier(
        experiment.network("encoder", 0), num_classes, fields.pop("feature_size")
    )
    return construct(
        Classifier,
        fields,
        "model",
        encoder=encoder,
        optimizer=experiment.optimizer("optimizer", experiment.config["optimizer"]),
        num_classes=num_classes,
    )


class Entry(NamedTuple):
    """A model: what builds it, and the config sections that it has of its own."""

    build: Callable[[Experiment], Model]
    sections: frozenset[str]


MODELS = {
    "vae": Entry(_vae, frozenset({"encoder", "decoder", "likelihood"})),
    "gan": Entry(_gan, frozenset({"generator", "discriminator"})),
    "classifier": Entry(_classifier, frozenset({"encoder"})),
}
#: The sections that every config has. Where the fields do not depend on a name, they stand here.
SECTIONS: dict[str, frozenset[str] | None] = {
    "name": None,
    "seed": None,
    "data": None,
    "model": None,
    "optimizer": None,
    "training": frozenset(
        {
            "duration",
            "batch_size",
            "steps_per_call",
            "log_every",
            "checkpoint_every",
            "parallel",
            "dtype",
        }
    ),
    "checkpoint": frozenset({"max_to_keep", "best_metric", "best_mode"}),
    "evaluation": frozenset({"batch_size", "num_samples", "classifier"}),
}


def build(config: Section) -> Experiment:
    """The experiment that `config` describes, its model built and checked.

    Raises:
      UserError: naming the field that is wrong and the nearest right choice.
    """
    name = config.get("model", {}).get("name", "")
    _check_fields("", config, SECTIONS.keys() | choose("model.name", name, MODELS).sections)
    for section, fields in SECTIONS.items():
        if fields is not None:
            _check_fields(f"{section}.", config[section], fields)
    choose("checkpoint.best_mode", config["checkpoint"]["best_mode"], {"min": 0, "max": 1})
    positive("checkpoint.max_to_keep", config["checkpoint"]["max_to_keep"])
    if config["seed"] < 0:
        raise UserError(f"seed: {config['seed']} is negative; choose 0 or more")
    experiment = Experiment(config)
    _ = experiment.devices, experiment.model, experiment.cadence, experiment.reader
    _ = experiment.augment
    return experiment


def judge_config(config: Section) -> Section | None:
    """The config of the classifier that judges this run's samples; None if there is none to be.

    It reads the run's own images; every run on the same images has the same judge.
    """
    section = config["evaluation"]["classifier"]
    if not section:
        return None
    augment = section["augment"]
    rest = {k: v for k, v in section.items() if k != "augment"}
    return {
        "name": f"classifier-{config['data'].get('dataset', config['data']['name'])}",
        "seed": 0,
        "data": {**config["data"], "augment": augment},
        **rest,
    }


def _check_fields(where: str, section: Section, known: Collection[str]) -> None:
    for name in sorted(set(section) - set(known)):
        raise UserError(f"{where}{name}: no such field{did_you_mean(name, known)}")
    for name in sorted(set(known) - set(section)):
        raise UserError(f"{where}{name}: is missing")
