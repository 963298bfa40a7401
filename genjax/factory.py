"""From a config to objects: the one module that knows how a config is laid out.

Every table here is the list of what a config may name; a new model, network, data set or metric is
one file and one entry. A section of a config becomes the arguments of what it names, so that a
field that nothing reads is an error.
"""

import dataclasses
import functools
import importlib
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from genjax import rng, schedule
from genjax.data.base import SPLITS, Facts, Source
from genjax.data.pairs import unpaired_halves
from genjax.data.plan import Plan
from genjax.data.readers import READERS, Resident, Stream, mean_image, prefetch
from genjax.data.reading import decoded_once
from genjax.data.shapes import Shapes
from genjax.data.transforms import AUGMENTATIONS, Binarized, binarize, on_images
from genjax.errors import UserError, choose, did_you_mean
from genjax.evaluation.comparison import base_name
from genjax.evaluation.evaluators import (
    AccuracyEvaluator,
    BoundEvaluator,
    ReconstructionEvaluator,
    TranslationEvaluator,
)
from genjax.evaluation.extractors import ClassifierExtractor, Extractor, PixelExtractor
from genjax.evaluation.factors import DisentanglementEvaluator
from genjax.evaluation.likelihood import AnnealedEvaluator, ImportanceEvaluator
from genjax.evaluation.rows import Evaluator
from genjax.evaluation.samples import (
    ClassificationEvaluator,
    MemorisationEvaluator,
    SampleEvaluator,
)
from genjax.fields import Section, check_numbers, construct, errors_within
from genjax.imaging import degradations
from genjax.imaging.views import VIEWS, Pairing
from genjax.losses.adversarial import ADVERSARIAL_LOSSES
from genjax.losses.likelihoods import LIKELIHOODS, Likelihood
from genjax.losses.penalties import PENALTIES
from genjax.losses.priors import PRIORS
from genjax.models.base import (
    LabelReader,
    LikelihoodModel,
    Metrics,
    Model,
    Reconstructor,
    Sampler,
    TrainState,
    Translator,
    require,
)
from genjax.models.classifier import Classifier
from genjax.models.gan import GAN
from genjax.models.hvae import HVAE, ChainVAE
from genjax.models.translation import CycleGAN, Pix2Pix, Regression
from genjax.models.vae import OBJECTIVES, OUTPUT_BIASES, VAE
from genjax.nn import heads
from genjax.nn.dcgan import DCGANDecoder, DCGANEncoder
from genjax.nn.hierarchy import ChainDecoder, ChainEncoder, TwoLevelDecoder, TwoLevelEncoder
from genjax.nn.layers import KERNEL_INITS
from genjax.nn.mlp import ACTIVATIONS, MLPDecoder, MLPEncoder
from genjax.nn.resnet import ResNetDecoder, ResNetEncoder
from genjax.nn.unet import PatchDiscriminator, UNet
from genjax.training.loop import Cadence
from genjax.training.optimizers import OPTIMIZERS, clipped
from genjax.training.parallel import Devices
from genjax.types import Batch, PRNGKey

#: Name to "module:function", imported when asked for: TensorFlow Datasets takes a second.
DATA_SETS = {
    "mnist_sample": "genjax.data.mnist_sample:mnist_sample",
    "shapes": "genjax.data.shapes:shapes",
    "folder": "genjax.data.folder:folder",
    "tfds": "genjax.data.tfds_images:tfds_images",
    "folders": "genjax.data.pairs:folders",
    "omniglot_28": "genjax.data.omniglot_28:omniglot_28",
}
#: (from images to features, from latents to images)
NETWORKS = {
    "mlp": (MLPEncoder, MLPDecoder),
    "dcgan": (DCGANEncoder, DCGANDecoder),
    "resnet": (ResNetEncoder, ResNetDecoder),
}
#: The same for two levels of latents, and for those that are a chain.
HIERARCHIES = {"mlp": (TwoLevelEncoder, TwoLevelDecoder)}
CHAINS = {"mlp": (ChainEncoder, ChainDecoder)}
#: From images to images, and from images to a logit for each patch.
TRANSLATORS = {"unet": UNet}
PATCHES = {"patch": PatchDiscriminator}
NORMALIZATIONS = ("none", "batch", "layer", "instance")
#: How a label may come into each network.
CONDITIONING = {
    "encoder": ("none", "concat"),
    "decoder": ("none", "concat", "batch_norm"),
    "generator": ("none", "concat", "batch_norm"),
    "discriminator": ("none", "concat", "projection", "auxiliary"),
}
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
#: What measures a model, by the ability that it has to have: while training, when `evaluate` is
#: called, or only when one of its metrics is asked for.
EVALUATORS = (
    (Reconstructor, ReconstructionEvaluator, "train"),
    (LikelihoodModel, BoundEvaluator, "train"),
    (Sampler, SampleEvaluator, "train"),
    (LabelReader, AccuracyEvaluator, "train"),
    (Translator, TranslationEvaluator, "train"),
    (LikelihoodModel, ImportanceEvaluator, "evaluate"),
    (Sampler, MemorisationEvaluator, "evaluate"),
    (Sampler, ClassificationEvaluator, "ask"),
    (LikelihoodModel, AnnealedEvaluator, "ask"),
    (LikelihoodModel, DisentanglementEvaluator, "ask"),
)
#: Steps are counted in int32.
MAX_STEPS = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Everything that a config describes; sources are opened when first asked for.

    Attributes:
      config: the config.
      train: stands in for the data set's training split, if given.
    """

    config: Section
    train: Source | None = None

    @functools.cached_property
    def sources(self) -> dict[str, Source]:
        """The data set's splits by name."""
        data = self.config["data"]
        module, function = choose("data.name", data["name"], DATA_SETS).split(":")
        function = getattr(importlib.import_module(module), function)
        fields = data.without("reader", "augment", "binarize")
        paired = self._entry.pairs == "paired"
        two_folders = "paired" in inspect.signature(function).parameters
        if two_folders and not self._entry.pairs:
            raise UserError(f"data.name: {data['name']!r} has pairs, which this model can not use")
        if data["binarize"] and self._entry.pairs:
            raise UserError("data.binarize: True, but conditions would stay grey; choose False")
        other_sets = tuple(DATA_SETS.keys() - {"tfds"})
        context = {"paired": paired, "other_sets": other_sets, "labelled": True}
        sources = {split: construct(function, fields, split=split, **context) for split in SPLITS}
        if data["reader"] == "resident":
            sources = {split: decoded_once(source) for split, source in sources.items()}
        if self._entry.pairs == "unpaired" and not two_folders:
            sources["train"] = unpaired_halves(sources["train"])
        sources = {**sources, "train": self.train} if self.train else sources
        if data["binarize"]:
            sources = {split: Binarized(source) for split, source in sources.items()}
        return sources

    def with_values(self, values: Mapping[str, Any]) -> "Experiment":
        """The experiment with these fields, by path, set anew; of the same data."""
        other = Experiment(self.config.with_values(values), self.train)
        vars(other)["sources"] = self.sources  # as if it had opened them
        return other

    @property
    def _entry(self) -> "Entry":
        return choose("model.name", self.config["model"]["name"], MODELS)

    @functools.cached_property
    def facts(self) -> Facts:
        """Of the training split, which is opened for them."""
        train = self.sources["train"]
        return Facts(tuple(train.image_shape), tuple(train.class_names), len(train))

    def without_data(self, facts: Facts) -> "Experiment":
        """The experiment with these facts, for which no source is opened."""
        other = Experiment(self.config, self.train)
        vars(other)["facts"] = facts
        return other

    @property
    def class_names(self) -> tuple[str, ...]:
        """The data set's classes; empty without labels."""
        return self.facts.class_names

    @functools.cached_property
    def model(self) -> Model:
        """The model."""
        return self._entry.build(self)

    def init_state(self) -> TrainState:
        """The state before the first step, on all devices."""
        state = self._init(rng.key(self.config["seed"], "init"), self.first_batch())
        return self.devices.replicate(state)

    @functools.cached_property
    def state_shape(self) -> TrainState:
        """The shapes of a state and its place on this process's devices; nothing is computed.

        Raises:
          UserError: a network does not fit the data set's images.
        """
        shapes = self._init.eval_shape(jax.random.key(0), self.example_batch())
        place = self.devices.whole
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place), shapes
        )

    @functools.cached_property
    def _init(self) -> Callable[[PRNGKey, Batch], TrainState]:
        """The model's, as one program: shapes and state need one trace of it."""
        return jax.jit(self.model.init)

    def example_batch(self) -> dict[str, jax.Array]:
        """A batch of one, for its shapes."""
        shapes = {"image": self.facts.image_shape}
        if self.pairing:
            shapes["condition"], shapes["image"] = self.pairing.shapes(shapes["image"])
            shapes["present"] = (*shapes["image"][:2], 1)
        images = {name: jnp.zeros((1, *shape)) for name, shape in shapes.items()}
        return {**images, "label": jnp.zeros(1, jnp.int32)}

    def first_batch(self) -> dict[str, jax.Array]:
        """A batch of one to make a state from: the mean training image, if it starts at that."""
        batch = self.example_batch()
        if self.config["model"].get("output_bias") == "mean":
            batch["image"] = jnp.asarray(self._mean_image[None], jnp.float32)
        return batch

    @functools.cached_property
    def _mean_image(self) -> np.ndarray:
        """Of the training split, all of which is read for it."""
        return mean_image(self._greys, self.config["evaluation"]["batch_size"])

    @functools.cached_property
    def devices(self) -> Devices:
        """All devices of all processes."""
        kind = self.config["training"]["parallel"]
        choose("training.parallel", kind, dict.fromkeys(("pmap", "jit")))
        return Devices(kind)

    def check_batch_size(self) -> None:
        """Raises a UserError if the devices can not share a batch; only training has to."""
        fields = self.config["training"]
        self.devices.check_batch_size(fields["batch_size"], fields["accumulate"])
        if self.judge is not None:
            with errors_within("evaluation.classifier"):
                self.judge.check_batch_size()

    @functools.cached_property
    def reader(self) -> Resident | Stream:
        """What brings the training split to the step, by the batch plan."""
        train = self._greys  # training draws its own
        plan = Plan(self.config["seed"], len(train), self.images_per_step)
        rows = self.devices.own_rows(self.images_per_step)
        return choose("data.reader", self.config["data"]["reader"], READERS)(train, plan, rows)

    @property
    def _greys(self) -> Source:
        """The training split before its values are drawn as 0 or 1."""
        train = self.sources["train"]
        return train.grey if isinstance(train, Binarized) else train

    @property
    def augment(self) -> Callable[[Batch, PRNGKey], Batch]:
        """What happens to a training batch inside the step: augmentation, binary pixels, pairs."""
        augment = choose("data.augment", self.config["data"]["augment"], AUGMENTATIONS)
        binary, pairing = self.config["data"]["binarize"], self.pairing

        def prepare(batch: Batch, key: PRNGKey) -> Batch:
            # A condition moves as its image does.
            moved = on_images(batch, lambda images: augment(images, key, batch["position"]))
            batch = {**batch, **moved}
            if binary:
                own = rng.stream(key, "binarize")
                batch["image"] = binarize(batch["image"], own, batch["position"])
            return pairing(batch, rng.stream(key, "pairs")) if pairing else batch

        return prepare

    @functools.cached_property
    def pairing(self) -> Pairing | None:
        """What makes pairs of images, for models that need some."""
        if not self._entry.pairs:
            return None
        section = self.config["pairs"]
        section.check_names({"input", "target"})
        view = lambda name: degradations.parse(f"pairs.{name}", section[name], VIEWS)
        return Pairing(view("input"), view("target"))

    def run_block(
        self, rollbacks: int = 0
    ) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
        """The compiled step over a block of steps; the data set lies on the devices beside it.

        After each of the `rollbacks` to a checkpoint its noise is another.
        """
        run = self.devices.compile(self.model, self.reader.fetch, self.augment)
        store = self.devices.replicate(self.reader.store)
        key = jax.random.key(self.config["seed"])
        key = self.devices.replicate(rng.stream(key, f"rollback {rollbacks}") if rollbacks else key)
        return lambda state, block: run(state, store, block, key)

    def blocks(self, start: int) -> Iterator[Batch]:
        """The blocks of steps from step `start` to the end, on the devices ahead of use."""
        per_block = self.cadence.steps_per_call
        num_blocks = (self.cadence.total_steps - start) // per_block
        return prefetch(self.reader.blocks(start, num_blocks, per_block), self.devices.shard)

    @property
    def images_per_step(self) -> int:
        """Real images that one step takes."""
        return self.config["training"]["batch_size"] * self.model.batches_per_step

    @functools.cached_property
    def cadence(self) -> Cadence:
        """When training logs, saves and ends."""
        per_call = self.config["training"]["steps_per_call"]
        total = self.steps("training.duration")
        if total == 0:
            raise UserError("training.duration: is no step at all; for example '20 epochs'")
        total = schedule.round_up(total, per_call)
        if total > MAX_STEPS:
            raise UserError(
                f"training.steps_per_call: {per_call} makes a run of more than {MAX_STEPS} steps"
            )
        log = min(max(self.steps("training.log_every", total), 1), total)
        log = schedule.round_up(log, per_call)
        save = min(max(self.steps("training.checkpoint_every", total), 1), total)
        # A resumed run starts at a checkpoint; its first logged mean must begin there too.
        save = schedule.round_up(save, log)
        patience = self.steps("training.patience", total)
        if patience and not self.config["checkpoint"]["best_metric"]:
            raise UserError(
                "training.patience: waits for a better checkpoint.best_metric, which is empty; "
                "choose '0 steps'"
            )
        return Cadence(
            total_steps=total,
            steps_per_call=per_call,
            log_every=log,
            checkpoint_every=save,
            patience=patience,
        )

    def steps(self, field: str, total: int = 0) -> int:
        """The duration in `field` (a dotted path), in steps of this experiment."""
        value = functools.reduce(lambda section, key: section[key], field.split("."), self.config)
        # Durations go into the optimizers' schedules, so they are known before the model is.
        batches = self.config["model"].get("d_steps", 1)
        steps = schedule.num_steps(
            field,
            value,
            examples_per_step=self.config["training"]["batch_size"] * batches,
            num_examples=self.facts.num_examples,
            total=total,
        )
        if steps > MAX_STEPS:
            raise UserError(f"{field}: {value!r} is more than {MAX_STEPS} steps")
        return steps

    @functools.cached_property
    def judge(self) -> "Experiment | None":
        """The classifier that judges samples, an experiment of its own on the same images.

        None where there can be none: no samples, no labels, or none asked for.
        """
        fields = self.config["evaluation"]
        section = fields["classifier"]
        asked = section and fields["num_samples"]
        if not asked or not isinstance(self.model, Sampler) or not self.class_names:
            return None
        data = self.config["data"]
        config = {
            "name": f"classifier-{data.get('dataset', data['name'])}".replace("/", "_"),
            "seed": 0,
            "data": {**data, "augment": section["augment"]},
            **section.without("augment"),
        }
        with errors_within("evaluation.classifier"):
            judge = build(config)
            require(judge.model, LabelReader, "model.name")
        return judge

    @property
    def untrained_judge(self) -> ClassifierExtractor | None:
        """Stands for the judge where it has nothing to see yet; None where there is none."""
        return self.judge and ClassifierExtractor(self.judge.model, {}, len(self.class_names))

    def metrics(self) -> list[str]:
        """The names of all that is measured of this model while it trains."""
        judge = self.untrained_judge
        evaluators = self.evaluators("validation", [judge] if judge else [])
        return [score.metric for make in evaluators for score in make.planned(self.model)]

    def evaluators(self, split: str, extractors: Sequence[Extractor]) -> list[Evaluator]:
        """What measures this model on `split` while it trains; samples by each extractor."""
        return self._evaluators(split, extractors, ("train",), thorough=False)

    def all_evaluators(
        self,
        split: str,
        extractors: Sequence[Extractor],
        metrics: Collection[str] = (),
        **settings: Any,
    ) -> list[Evaluator]:
        """What measures this model on `split` in depth, or those that measure `metrics`.

        Raises:
          UserError: nothing measures one of `metrics` of this model.
        """
        when = ("train", "evaluate", "ask") if metrics else ("train", "evaluate")
        settings = {"thorough": True, "metrics": tuple(metrics), **settings}
        found = self._evaluators(split, extractors, when, **settings)
        if not metrics:
            return found
        names = [{base_name(score.metric) for score in make.planned(self.model)} for make in found]
        for metric in set(metrics) - set().union(*names):
            everything = self._evaluators(split, extractors, when, **{**settings, "metrics": ()})
            known = {base_name(s.metric) for make in everything for s in make.planned(self.model)}
            raise UserError(
                f"--metrics: {metric!r} is not measured of a {type(self.model).__name__} model on "
                f"this data set{did_you_mean(metric, known)}"
            )
        return [make for make, given in zip(found, names, strict=True) if given & set(metrics)]

    def _evaluators(
        self, split: str, extractors: Sequence[Extractor], when: Collection[str], **settings: Any
    ) -> list[Evaluator]:
        fields = self.config["evaluation"]
        context = {
            "source": self.sources[split],
            "train": self.sources["train"],
            "batch_size": fields["batch_size"],
            "num_samples": fields["num_samples"],
            "fit": self.fit_judge,
            "pairing": self.pairing,
            **settings,
        }
        make = functools.partial(construct, section=Section({}), optional=True)
        evaluators = []
        for ability, function, then in EVALUATORS:
            if then not in when or not isinstance(self.model, ability):
                continue
            if ability is Sampler and not context["num_samples"]:
                continue
            if ability is Translator and not self.knows_answers(split):
                continue
            if function is DisentanglementEvaluator and not isinstance(context["source"], Shapes):
                continue
            if "fit" in inspect.signature(function).parameters and not self.judge:
                continue
            if "extractor" in inspect.signature(function).parameters:
                through = list(extractors)
                if function is MemorisationEvaluator:
                    # All training images go through it; Inception would take hours.
                    judges = [each for each in extractors if isinstance(each, ClassifierExtractor)]
                    through = [PixelExtractor(), *judges]
                evaluators += [make(function, extractor=each, **context) for each in through]
            else:
                evaluators.append(make(function, **context))
        return evaluators

    def knows_answers(self, split: str) -> bool:
        """Whether each image of the split has the condition that belongs to it."""
        apart = self.config["data"]["name"] == "folders" or split == "train"
        return self._entry.pairs == "paired" or not apart

    def fit_judge(self, source: Source) -> ClassifierExtractor:
        """A classifier like the judge, trained on `source` instead, in memory."""
        judge = dataclasses.replace(self.judge, train=source)
        with errors_within("evaluation.classifier"):
            judge.check_batch_size()
        state, run = judge.init_state(), judge.run_block()
        for block in judge.blocks(0):
            state, _ = run(state, block)
        params = jax.device_put(judge.model.inference_params(state), jax.local_devices()[0])
        return ClassifierExtractor(judge.model, params, len(self.class_names))

    def network(self, part: str, index: int, **context: Any) -> Any:
        """The network in the config's section `part`: its encoder (0) or decoder (1) form."""
        section, data = self.config[part], self.config["data"]
        conditioning, normalization = section["conditioning"], section["normalization"]
        choose(f"{part}.normalization", normalization, dict.fromkeys(NORMALIZATIONS))
        _check_dense(section)
        if normalization == "instance" and section["name"] == "mlp":
            raise UserError(
                f"{part}.normalization: 'instance' is over pixels, and a dense layer has none; "
                "choose 'layer'"
            )
        if conditioning == "batch_norm" and normalization != "batch":
            raise UserError(
                f"{part}.conditioning: 'batch_norm' needs {part}.normalization = 'batch'"
            )
        if conditioning != "none" and not self.class_names:
            raise UserError(
                f"{part}.conditioning: data set {data['name']!r} has no labels; choose 'none'"
            )
        return construct(
            choose(f"{part}.name", section["name"], NETWORKS)[index],
            section,
            num_classes=len(self.class_names),
            dtype=choose("training.dtype", self.config["training"]["dtype"], DTYPES),
            # An encoder has to keep the place of things; a discriminator sums, as SNGAN's does.
            pooling="flatten" if part == "encoder" else "sum",
            output_bias=nn.initializers.zeros,
            **context,
        )

    def image_network(self, part: str, table: Mapping[str, Any], **context: Any) -> Any:
        """The network in the config's section `part`, whose input is an image's size."""
        section = self.config[part]
        kind = section["normalization"]
        choose(f"{part}.normalization", kind, dict.fromkeys(("none", "batch", "instance")))
        side = self.facts.image_shape[0]
        if side % 2 ** section["levels"]:
            raise UserError(
                f"{part}.levels: {section['levels']} halvings of {side} pixels leave a half"
            )
        return construct(
            choose(f"{part}.name", section["name"], table),
            section,
            dtype=choose("training.dtype", self.config["training"]["dtype"], DTYPES),
            **context,
        )

    def num_classes(self, *parts: str) -> int:
        """The number of classes if the networks `parts` are given the label; 0 if none is."""
        conditional = {}
        for part in parts:
            how = self.config[part]["conditioning"]
            choose(f"{part}.conditioning", how, dict.fromkeys(CONDITIONING[part]))
            conditional[part] = how != "none"
        if len(set(conditional.values())) > 1:
            without = next(part for part, has in conditional.items() if not has)
            other = next(part for part, has in conditional.items() if has)
            raise UserError(
                f"{without}.conditioning: is 'none', but the {other} is given the label; choose "
                f"one of {', '.join(CONDITIONING[without][1:])}, or 'none' for both"
            )
        return len(self.class_names) if all(conditional.values()) else 0

    def optimizer(
        self, section: Section, updates_per_step: int = 1
    ) -> optax.GradientTransformation:
        """The optimizer with its schedule and gradient clipping."""
        where, value = section.path, section["learning_rate"]
        steps = self.steps("training.duration")
        # Optax counts updates, and a GAN's step has several of its discriminator.
        total = steps * updates_per_step
        warmup = self.steps(f"{where}warmup", steps) * updates_per_step
        shape = choose(f"{where}schedule", section["schedule"], schedule.SCHEDULES)
        rate = schedule.with_warmup(shape(value, max(total - warmup, 1)), warmup)
        fields = section.without("learning_rate", "schedule", "warmup", "clip_norm")
        make = choose(f"{where}name", section["name"], OPTIMIZERS)
        return clipped(construct(make, fields, learning_rate=rate), section["clip_norm"])


def _vae(experiment: Experiment) -> VAE:
    fields, likelihood = experiment.config["model"], _likelihood(experiment)
    num_classes = experiment.num_classes("encoder", "decoder")
    if experiment.config["prior"]["name"] == "vamp" and num_classes:
        raise UserError("prior.name: 'vamp' has no labels for its pseudo-inputs; choose 'mixture'")
    encoder, section = experiment.network("encoder", 0), experiment.config["encoder"]
    start = {"kernel_init": section["kernel_init"]} if "kernel_init" in section else {}
    return _autoencoder(
        VAE,
        experiment,
        encoder=heads.Posterior(encoder, fields["latent_size"], _log_var_range(fields), **start),
        decoder=experiment.network("decoder", 1, shape=_outputs(experiment, likelihood)),
        likelihood=likelihood,
        latent_size=fields["latent_size"],
        num_classes=num_classes,
    )


def _hvae(model: type[HVAE], networks: Mapping[str, Any], experiment: Experiment) -> HVAE:
    config, likelihood = experiment.config, _likelihood(experiment)
    sizes = config["model"]["latent_size"]
    if not (isinstance(sizes, tuple) and len(sizes) == 2):
        raise UserError(f"model.latent_size: {sizes} is not (first level, second), as (40, 40)")
    if model is ChainVAE and config["prior"]["name"] == "vamp":
        raise UserError("prior.name: 'vamp' needs q(z2 | x), which a chain lacks; choose 'mixture'")
    make = functools.partial(
        construct,
        latent_sizes=sizes,
        log_var_range=_log_var_range(config["model"]),
        dtype=choose("training.dtype", config["training"]["dtype"], DTYPES),
        shape=_outputs(experiment, likelihood),
        output_bias=nn.initializers.zeros,
    )
    parts = {}
    for index, part in enumerate(HVAE.networks):
        _check_dense(config[part])
        network = choose(f"{part}.name", config[part]["name"], networks)[index]
        parts[part] = make(network, config[part])
    return _autoencoder(
        model,
        experiment,
        **parts,
        likelihood=likelihood,
        latent_size=sum(sizes),
        second_size=sizes[1],
        num_classes=0,
    )


def _autoencoder(model: type[VAE], experiment: Experiment, **parts: Any) -> VAE:
    """What a VAE of any number of levels has besides its networks."""
    config = experiment.config
    fields, prior = config["model"], config["prior"]
    choose("model.objective", fields["objective"], dict.fromkeys(OBJECTIVES))
    if fields["objective"] == "iwae" and fields["free_bits"]:
        raise UserError("model.free_bits: belong to the objective 'elbo'; choose 0 for 'iwae'")
    return construct(
        model,
        fields.without("latent_size", "log_var_range", "kl_weight", "kl_warmup"),
        prior=construct(choose("prior.name", prior["name"], PRIORS), prior),
        optimizer=experiment.optimizer(config["optimizer"]),
        accumulate=config["training"]["accumulate"],
        kl_weight=schedule.with_warmup(
            schedule.constant(fields["kl_weight"], 0),
            experiment.steps("model.kl_warmup", experiment.steps("training.duration")),
        ),
        **parts,
    )


def _check_dense(section: Section) -> None:
    """Raises a UserError if what the network's dense layers are made of does not exist."""
    for name, table in {"activation": ACTIVATIONS, "kernel_init": KERNEL_INITS}.items():
        if name in section:  # networks of convolutions have no such fields
            choose(f"{section.path}{name}", section[name], table)


def _likelihood(experiment: Experiment) -> Likelihood:
    section = experiment.config["likelihood"]
    return construct(
        choose("likelihood.name", section["name"], LIKELIHOODS), section, optional=True
    )


def _outputs(experiment: Experiment, likelihood: Likelihood) -> tuple[int, int, int]:
    """The shape of what a decoder has to give for each image."""
    config = experiment.config
    start, name = config["model"]["output_bias"], config["decoder"]["name"]
    choose("model.output_bias", start, dict.fromkeys(OUTPUT_BIASES))
    choose("decoder.name", name, NETWORKS)
    for what, fits in (
        ("decoder", name == "mlp"),  # others have a bias for each channel
        ("likelihood", likelihood.outputs_per_channel == 1),  # others take more than means
    ):
        if start == "mean" and not fits:
            raise UserError(
                f"model.output_bias: 'mean' does not fit {what} {config[what]['name']!r}; "
                "choose 'zeros'"
            )
    height, width, channels = experiment.facts.image_shape
    return (height, width, channels * likelihood.outputs_per_channel)


def _log_var_range(fields: Section) -> tuple[float, ...]:
    """The two ends, or nothing."""
    ends = fields["log_var_range"]
    if ends and not (len(ends) == 2 and ends[0] < ends[1]):
        raise UserError(
            f"{fields.path}log_var_range: {ends} is not (lowest, highest), as (-6.0, 2.0), or ()"
        )
    return ends


def _gan(experiment: Experiment) -> GAN:
    config = experiment.config
    fields, optimizers = config["model"], config["optimizer"]
    optimizers.check_names({"generator", "discriminator"})
    num_classes = experiment.num_classes("generator", "discriminator")
    how = config["discriminator"]["conditioning"]
    trunk = experiment.network("discriminator", 0)
    discriminator = heads.Discriminator(
        # Only a label that is concatenated comes in below the head.
        trunk if how == "concat" else trunk.copy(conditioning="none"),
        conditioning=how,
        num_classes=num_classes,
        spectral_norm=config["discriminator"]["spectral_norm"],
    )
    return construct(
        GAN,
        fields.without("loss", "penalty"),
        accumulate=experiment.config["training"]["accumulate"],
        generator=experiment.network("generator", 1, shape=experiment.facts.image_shape),
        discriminator=discriminator,
        loss=choose("model.loss", fields["loss"], ADVERSARIAL_LOSSES),
        penalty=choose("model.penalty", fields["penalty"], {"none": None, **PENALTIES}),
        d_optimizer=experiment.optimizer(optimizers["discriminator"], fields["d_steps"]),
        g_optimizer=experiment.optimizer(optimizers["generator"]),
        num_classes=num_classes,
    )


def _classifier(experiment: Experiment) -> Classifier:
    fields, num_classes = experiment.config["model"], len(experiment.class_names)
    if not num_classes:
        name = experiment.config["data"]["name"]
        raise UserError(f"model.name: 'classifier' needs labels, and data set {name!r} has none")
    how = experiment.config["encoder"]["conditioning"]
    if how != "none":
        raise UserError(f"encoder.conditioning: {how!r} would show a classifier its own answer")
    trunk = experiment.network("encoder", 0)
    return construct(
        Classifier,
        fields.without("feature_size"),
        accumulate=experiment.config["training"]["accumulate"],
        encoder=heads.Classifier(trunk, num_classes, fields["feature_size"]),
        optimizer=experiment.optimizer(experiment.config["optimizer"]),
        num_classes=num_classes,
    )


def _shapes(experiment: Experiment) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The shapes of a condition and of an image."""
    return experiment.pairing.shapes(experiment.facts.image_shape)


def _image_generator(experiment: Experiment, ours: tuple[int, ...], theirs: tuple[int, ...]) -> Any:
    """The network from images of one shape to those of another."""
    if experiment.config["generator"]["residual"] and ours[-1] > theirs[-1]:
        raise UserError(
            f"generator.residual: images of {theirs[-1]} channels can not be those of {ours[-1]} "
            "and a change to them; choose False"
        )
    return experiment.image_network("generator", TRANSLATORS, channels=theirs[-1])


def _regression(experiment: Experiment) -> Regression:
    fields, section = experiment.config["model"], experiment.config["optimizer"]
    return construct(
        Regression,
        fields,
        accumulate=experiment.config["training"]["accumulate"],
        generator=_image_generator(experiment, *_shapes(experiment)),
        told_holes=experiment.pairing.input.has_holes,
        g_optimizer=experiment.optimizer(section),
    )


def _pix2pix(experiment: Experiment) -> Pix2Pix:
    fields, optimizers = experiment.config["model"], experiment.config["optimizer"]
    optimizers.check_names({"generator", "discriminator"})
    return construct(
        Pix2Pix,
        fields.without("loss"),
        accumulate=experiment.config["training"]["accumulate"],
        generator=_image_generator(experiment, *_shapes(experiment)),
        told_holes=experiment.pairing.input.has_holes,
        discriminator=experiment.image_network("discriminator", PATCHES),
        loss=choose("model.loss", fields["loss"], ADVERSARIAL_LOSSES),
        g_optimizer=experiment.optimizer(optimizers["generator"]),
        d_optimizer=experiment.optimizer(optimizers["discriminator"]),
    )


def _cyclegan(experiment: Experiment) -> CycleGAN:
    ours, theirs = _shapes(experiment)
    fields, optimizers = experiment.config["model"], experiment.config["optimizer"]
    optimizers.check_names({"generator", "discriminator"})
    if fields["identity_weight"] and ours != theirs:
        raise UserError(
            f"model.identity_weight: {fields['identity_weight']:g} compares images of {theirs[-1]} "
            f"with conditions of {ours[-1]} channels; choose 0"
        )
    if fields["pool_size"] < experiment.config["training"]["batch_size"]:
        raise UserError(
            f"model.pool_size: {fields['pool_size']} is less than training.batch_size; at least "
            f"{experiment.config['training']['batch_size']}"
        )
    judge = experiment.image_network("discriminator", PATCHES)
    return construct(
        CycleGAN,
        fields.without("loss"),
        accumulate=experiment.config["training"]["accumulate"],
        forward=_image_generator(experiment, ours, theirs),
        backward=_image_generator(experiment, theirs, ours),
        image_judge=judge,
        condition_judge=judge,
        loss=choose("model.loss", fields["loss"], ADVERSARIAL_LOSSES),
        g_optimizer=experiment.optimizer(optimizers["generator"]),
        d_optimizer=experiment.optimizer(optimizers["discriminator"]),
    )


class Entry(NamedTuple):
    """A model: what builds it, the config sections that it has of its own, the pairs it needs."""

    build: Callable[[Experiment], Model]
    sections: frozenset[str]
    pairs: str = ""  # or "paired", or "unpaired"


def _two_levels(model: type[HVAE], networks: Mapping[str, Any]) -> Entry:
    build = functools.partial(_hvae, model, networks)
    return Entry(build, frozenset({*model.networks, "prior", "likelihood"}))


def _translator(build: Callable[[Experiment], Model], model: type, pairs: str) -> Entry:
    return Entry(build, frozenset({*model.networks, "pairs"}), pairs)


MODELS = {
    "vae": Entry(_vae, frozenset({*VAE.networks, "prior", "likelihood"})),
    "hvae": _two_levels(HVAE, HIERARCHIES),
    "chain_vae": _two_levels(ChainVAE, CHAINS),
    "gan": Entry(_gan, frozenset(GAN.networks)),
    "classifier": Entry(_classifier, frozenset(Classifier.networks)),
    "regression": _translator(_regression, Regression, "paired"),
    "pix2pix": _translator(_pix2pix, Pix2Pix, "paired"),
    "cyclegan": _translator(_cyclegan, CycleGAN, "unpaired"),
}
#: The sections that every config has. Where the fields do not depend on a name, they stand here.
SECTIONS: dict[str, tuple[str, ...] | None] = {
    "data": None,
    "model": None,
    "optimizer": None,
    "training": (
        "duration",
        "batch_size",
        "steps_per_call",
        "log_every",
        "checkpoint_every",
        "patience",
        "parallel",
        "dtype",
        "rollbacks",
        "accumulate",
    ),
    "checkpoint": ("max_to_keep", "best_metric", "best_mode"),
    "evaluation": ("batch_size", "num_samples", "classifier"),
}


def outline(config: Mapping[str, Any]) -> Experiment:
    """The experiment that `config` describes, checked as far as no data set has to be there.

    Raises:
      UserError: naming the field that is wrong and the nearest right choice.
    """
    config = Section(config)
    _check_layout(config)
    check_numbers(config)
    return Experiment(config)


def build(config: Mapping[str, Any]) -> Experiment:
    """The experiment that `config` describes, checked in all its parts.

    Raises:
      UserError: naming the field that is wrong and the nearest right choice.
    """
    experiment = outline(config)
    config = experiment.config
    _ = experiment.devices, experiment.reader, experiment.augment, experiment.cadence
    _ = experiment.state_shape
    _check_accumulation(config)
    _check_scores(experiment)
    return experiment


def _check_layout(config: Section) -> None:
    """Raises a UserError unless the sections are those of the config's model."""
    for name in ("model", *SECTIONS):
        if not isinstance(config[name], Section):
            raise UserError(f"{name}: {config[name]!r} is no section with fields")
    own = choose("model.name", config["model"]["name"], MODELS).sections
    config.check_names({"name", "seed"} | SECTIONS.keys() | own)
    for name in own:
        if not isinstance(config[name], Section):
            raise UserError(f"{name}: {config[name]!r} is no section with fields")
    for name, fields in SECTIONS.items():
        if fields is not None:
            config[name].check_names(fields)


def _check_accumulation(config: Section) -> None:
    """Raises a UserError if chunks of a batch would not add up to what the batch gives."""
    model, num = config["model"], config["training"]["accumulate"]
    whole = {"free_bits": model.get("free_bits"), "penalty": model.get("penalty") == "dragan"}
    for name in (name for name, of_batch in whole.items() if of_batch and num > 1):
        raise UserError(
            f"model.{name}: {model[name]!r} looks at the whole batch, which training.accumulate = "
            f"{num} cuts into chunks; choose training.accumulate = 1"
        )


def _check_scores(experiment: Experiment) -> None:
    """Raises a UserError if scores could not be computed, or the best one not be found."""
    for split in SPLITS[1:]:
        if len(experiment.sources[split]) < 2:
            raise UserError(f"data: the {split} split holds one image; scores need at least two")
        experiment.evaluators(split, [])
    fields, metrics = experiment.config["checkpoint"], experiment.metrics()
    choose("checkpoint.best_mode", fields["best_mode"], dict.fromkeys(("min", "max")))
    if fields["best_metric"] and not metrics:
        why = (
            "two folders without pairs hold no answers"
            if isinstance(experiment.model, Translator)
            else "samples are judged by a classifier, which needs labels and evaluation.num_samples"
        )
        raise UserError(
            f"checkpoint.best_metric: {fields['best_metric']!r} is not computed, since {why}; "
            "choose '', to keep the last checkpoint only"
        )
    if fields["best_metric"]:
        choose("checkpoint.best_metric", fields["best_metric"], dict.fromkeys(metrics))
