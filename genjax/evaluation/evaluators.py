"""The evaluators: a model and its parameters in, scores on one split out.

Training calls the very same objects on the validation split that `evaluate` calls on the test
split. Every real image is scored exactly once.
"""

import dataclasses
import math
from collections.abc import Iterator
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from genjax import compiling, rng
from genjax.data.base import Source
from genjax.data.readers import evaluation_batches
from genjax.data.transforms import to_float
from genjax.errors import UserError
from genjax.evaluation.extractors import ClassifierExtractor, PerceptualDistance
from genjax.evaluation.rows import Score
from genjax.evaluation.sampling import reconstruct
from genjax.imaging.views import Pairing
from genjax.metrics.distribution import Moments
from genjax.metrics.latents import active_units
from genjax.metrics.mean import MaskedMean
from genjax.metrics.reconstruction import MS_SSIM_SIDE, WINDOW, mae, ms_ssim, mse, psnr, ssim
from genjax.models.base import LabelReader, LikelihoodModel, Reconstructor, Restorer, Translator
from genjax.nn.lpips import MIN_SIDE
from genjax.types import Batch, Images, PRNGKey, PyTree

#: In dB, the PSNR of rounding to 8 bits where all errors are as likely: what an image that is met
#: exactly counts, whose own would make the mean infinite.
MAX_PSNR = 10 * math.log10(12 * 255**2)
DISTANCES = {"mse": mse, "mae": mae, "psnr": psnr, "ssim": ssim}


@compiling.jit(static_argnums=0)
def _distances(names, images, others):
    functions = {**DISTANCES, "ms_ssim": ms_ssim}
    return {name: functions[name](images, others) for name in names}


@compiling.jit(static_argnums=0)
def _bound(model, params, batch, key):
    return model.bound(params, batch, key)


def float_batches(source: Source, batch_size: int) -> Iterator[Batch]:
    """`evaluation_batches` with images as floats in [0, 1]."""
    for batch in evaluation_batches(source, min(batch_size, len(source))):
        yield to_float(batch)


def _checked_side(source: Source) -> int:
    """The images' shorter side; a UserError if SSIM's window does not fit."""
    side = min(source.image_shape[:2])
    if side < WINDOW:
        raise UserError(
            f"data.image_size: {side} is smaller than the window of SSIM; at least {WINDOW}"
        )
    return side


@dataclasses.dataclass(frozen=True)
class ReconstructionEvaluator:
    """Mean MSE, MAE, PSNR (dB), SSIM and, of large images, MS-SSIM of reconstructions.

    And LPIPS, where `lpips` has its weights.
    """

    draws: ClassVar[bool] = False

    source: Source
    batch_size: int
    lpips: PerceptualDistance | None = None

    def __post_init__(self):
        side = _checked_side(self.source)
        if self.lpips and side < MIN_SIDE:
            raise UserError(f"--lpips: images of {side} pixels are too small; at least {MIN_SIDE}")

    def planned(self, model: Any) -> list[Score]:
        """A score for each distance that images of this size have."""
        del model
        num = len(self.source)
        large = min(self.source.image_shape[:2]) >= MS_SSIM_SIDE
        score = partial(Score, n_real=num, n_fake=num)
        names = (*DISTANCES, *(("ms_ssim",) if large else ()))
        scores = [score(metric=name, unit="dB" if name == "psnr" else "") for name in names]
        if self.lpips:
            sha256 = self.lpips.sha256
            scores.append(score(metric="lpips", extractor="alexnet", extractor_sha256=sha256))
        return scores

    def __call__(self, model: Reconstructor, params: PyTree, key: PRNGKey) -> dict[str, float]:
        """Draws nothing; `key` is not used."""
        del key
        means = {score.metric: MaskedMean() for score in self.planned(model)}
        for batch in float_batches(self.source, self.batch_size):
            others = reconstruct(model, params, batch)
            names = tuple(name for name in means if name != "lpips")
            values = _distances(names, batch["image"], others)
            if self.lpips:
                values["lpips"] = self.lpips(batch["image"], others)
            means = {name: mean.add(values[name], batch["mask"]) for name, mean in means.items()}
        return {name: mean.result() for name, mean in means.items()}


@partial(jax.jit, static_argnums=(0, 1))
def _translate(model, pairing, params, batch, key):
    batch = pairing({**batch, "position": batch["index"]}, key)
    if isinstance(model, Restorer):
        made = model.restore(params, batch["condition"], batch["present"])
    else:
        made = model.translate(params, batch["condition"])
    return batch["condition"], batch["image"], made


def translate(
    model: Translator, pairing: Pairing, params: PyTree, batch: Batch
) -> tuple[Images, Images, Images]:
    """(conditions, answers, the model's translations) of a batch, whose draws are its images'."""
    return _translate(model, pairing, params, batch, rng.key(0, "pairs"))


@dataclasses.dataclass(frozen=True)
class TranslationEvaluator:
    """Mean MSE, MAE, PSNR (dB) and SSIM of translations to the answers, and of what came in.

    PSNR counts up to `MAX_PSNR`. The latter, `input_psnr` for example, says how much was left to
    do; it is not there where what comes in has other channels than the answer.
    """

    draws: ClassVar[bool] = False

    source: Source
    batch_size: int
    pairing: Pairing

    def __post_init__(self):
        _checked_side(self.source)

    def planned(self, model: Any) -> list[Score]:
        """A score for each distance."""
        del model
        num = len(self.source)
        ours, theirs = self.pairing.shapes(self.source.image_shape)
        names = [*DISTANCES, *(f"input_{name}" for name in DISTANCES if ours == theirs)]
        unit = lambda name: "dB" if name.endswith("psnr") else ""
        return [Score(metric=name, unit=unit(name), n_real=num, n_fake=num) for name in names]

    def __call__(self, model: Translator, params: PyTree, key: PRNGKey) -> dict[str, float]:
        """Degradations are drawn by each image's number, whatever the seed."""
        del key
        means = {score.metric: MaskedMean() for score in self.planned(model)}
        for batch in float_batches(self.source, self.batch_size):
            conditions, answers, made = translate(model, self.pairing, params, batch)
            values = _distances(tuple(DISTANCES), answers, made)
            if "input_mse" in means:
                before = _distances(tuple(DISTANCES), answers, conditions)
                values |= {f"input_{name}": value for name, value in before.items()}
            # A damage may leave an image as it was.
            for name in values.keys() & {"psnr", "input_psnr"}:
                values[name] = jnp.minimum(values[name], MAX_PSNR)
            means = {name: mean.add(values[name], batch["mask"]) for name, mean in means.items()}
        return {name: mean.result() for name, mean in means.items()}


@dataclasses.dataclass(frozen=True)
class BoundEvaluator:
    """The ELBO (nats) on `source` with one draw an image, its two terms, and active units."""

    draws: ClassVar[bool] = True

    source: Source
    batch_size: int

    def planned(self, model: Any) -> list[Score]:
        """The bound, its terms and how many latents are active."""
        del model
        units = {"elbo": "nats", "log_prob": "nats", "kl": "nats", "active_units": ""}
        num = len(self.source)
        return [Score(metric=name, unit=unit, n_real=num) for name, unit in units.items()]

    def __call__(self, model: LikelihoodModel, params: PyTree, key: PRNGKey) -> dict[str, float]:
        """Latents are drawn by `key` and each image's number."""
        log_prob, kl, posterior_means = MaskedMean(), MaskedMean(), None
        for batch in float_batches(self.source, self.batch_size):
            values, divergences, means = _bound(model, params, batch, rng.stream(key, "posterior"))
            log_prob = log_prob.add(values, batch["mask"])
            kl = kl.add(divergences.sum(-1), batch["mask"])
            moments = Moments.of(means, batch["mask"])
            posterior_means = posterior_means.merge(moments) if posterior_means else moments
        return {
            "elbo": log_prob.result() - kl.result(),
            "log_prob": log_prob.result(),
            "kl": kl.result(),
            "active_units": float(active_units(posterior_means)),
        }


@dataclasses.dataclass(frozen=True)
class AccuracyEvaluator:
    """The share of images of `source` whose label a classifier reads rightly."""

    draws: ClassVar[bool] = False

    source: Source
    batch_size: int

    def planned(self, model: Any) -> list[Score]:
        """The accuracy."""
        del model
        return [Score(metric="accuracy", n_real=len(self.source))]

    def __call__(self, model: LabelReader, params: PyTree, key: PRNGKey) -> dict[str, float]:
        """Draws nothing; `key` is not used."""
        del key
        extractor = ClassifierExtractor(model, params, len(self.source.class_names))
        return {"accuracy": accuracy_of(extractor, self.source, self.batch_size)}


def accuracy_of(extractor: ClassifierExtractor, source: Source, batch_size: int) -> float:
    """The share of images of `source` whose label the classifier reads rightly."""
    correct = MaskedMean()
    for batch in float_batches(source, batch_size):
        _, logits = extractor(batch["image"])
        correct = correct.add(logits.argmax(-1) == batch["label"], batch["mask"])
    return correct.result()
