"""The evaluators: a model and its parameters in, scores on one split out.

Training calls the very same objects on the validation split that `evaluate` calls on the test
split. Every real image is scored exactly once.
"""

import dataclasses
import functools
import math
from functools import partial
from typing import Any

import jax
import numpy as np

from genjax import rng
from genjax.data.base import Source
from genjax.data.readers import evaluation_batches
from genjax.data.transforms import to_float
from genjax.errors import UserError
from genjax.evaluation.extractors import ClassifierExtractor
from genjax.evaluation.rows import Score
from genjax.evaluation.sampling import draw, reconstruct
from genjax.metrics.classification import histogram_entropy, label_accuracy
from genjax.metrics.distribution import Moments, frechet_distance
from genjax.metrics.latents import active_units
from genjax.metrics.mean import MaskedMean
from genjax.metrics.reconstruction import WINDOW, mse, psnr, ssim
from genjax.models.base import LabelReader, LikelihoodModel, Reconstructor
from genjax.types import PRNGKey, PyTree

WITH_UNITS = {"psnr": "dB", "elbo": "nats", "log_prob": "nats", "kl": "nats"}


@jax.jit
def _distances(images, others):
    return {"mse": mse(images, others), "psnr": psnr(images, others), "ssim": ssim(images, others)}


@partial(jax.jit, static_argnums=0)
def _bound(model, params, batch, key):
    return model.bound(params, batch, key)


def _batches(source: Source, batch_size: int):
    for batch in evaluation_batches(source, min(batch_size, len(source))):
        yield to_float(batch)


@dataclasses.dataclass(frozen=True)
class ReconstructionEvaluator:
    """Mean MSE, PSNR (dB) and SSIM between the images of `source` and their reconstructions."""

    source: Source
    batch_size: int

    def __post_init__(self):
        side = min(self.source.image_shape[:2])
        if side < WINDOW:
            raise UserError(
                f"data.image_size: {side} is smaller than the window of SSIM; at least {WINDOW}"
            )

    @staticmethod
    def metrics(model: Any) -> tuple[str, ...]:
        """The names of the scores of `model`."""
        del model
        return ("mse", "psnr", "ssim")

    def __call__(self, model: Reconstructor, params: PyTree, key: PRNGKey) -> list[Score]:
        """Draws nothing; `key` is not used."""
        del key
        means = {name: MaskedMean() for name in self.metrics(model)}
        for batch in _batches(self.source, self.batch_size):
            values = _distances(batch["image"], reconstruct(model, params, batch))
            means = {name: mean.add(values[name], batch["mask"]) for name, mean in means.items()}
        return [
            Score(
                metric=name,
                value=mean.result(),
                unit=WITH_UNITS.get(name, ""),
                n_real=mean.count,
                n_fake=mean.count,
            )
            for name, mean in means.items()
        ]


@dataclasses.dataclass(frozen=True)
class BoundEvaluator:
    """The ELBO (nats) on `source` with one draw an image, its two terms, and active units."""

    source: Source
    batch_size: int

    @staticmethod
    def metrics(model: Any) -> tuple[str, ...]:
        """The names of the scores of `model`."""
        del model
        return ("elbo", "log_prob", "kl", "active_units")

    def __call__(self, model: LikelihoodModel, params: PyTree, key: PRNGKey) -> list[Score]:
        """Latents are drawn by `key` and each image's number."""
        log_prob, kl, posterior_means = MaskedMean(), MaskedMean(), None
        for batch in _batches(self.source, self.batch_size):
            values, divergences, means = _bound(model, params, batch, rng.stream(key, "posterior"))
            log_prob = log_prob.add(values, batch["mask"])
            kl = kl.add(divergences.sum(-1), batch["mask"])
            moments = Moments.of(means, batch["mask"])
            posterior_means = posterior_means.merge(moments) if posterior_means else moments
        values = {
            "elbo": log_prob.result() - kl.result(),
            "log_prob": log_prob.result(),
            "kl": kl.result(),
            "active_units": active_units(posterior_means),
        }
        return [
            Score(metric=name, value=value, unit=WITH_UNITS.get(name, ""), n_real=kl.count)
            for name, value in values.items()
        ]


@dataclasses.dataclass(frozen=True, eq=False)
class SampleEvaluator:
    """Samples beside the images of `source`, through the eyes of a classifier.

    The Frechet distance of its features; the entropy of the classes it reads off the samples,
    where a collapsed generator shows; for a conditional model the share of samples that it reads
    as the label asked for; and, to judge the judge, its accuracy on the real images.
    """

    source: Source
    extractor: ClassifierExtractor
    num_samples: int
    batch_size: int

    @staticmethod
    def metrics(model: Any) -> tuple[str, ...]:
        """The names of the scores of `model`."""
        names = ("frechet_distance", "class_entropy", "classifier_accuracy")
        return (*names, "label_accuracy") if model.num_classes else names

    @functools.cached_property
    def _real(self) -> tuple[Moments, np.ndarray, float]:
        """(moments of the features, labels, the judge's accuracy) of the real images."""
        moments, labels, correct = None, [], MaskedMean()
        for batch in _batches(self.source, self.batch_size):
            predicted, features = self.extractor(batch["image"])
            here = Moments.of(features, batch["mask"])
            moments = moments.merge(here) if moments else here
            labels.append(batch["label"][batch["mask"] == 1])
            correct = correct.add(predicted == batch["label"], batch["mask"])
        return moments, np.concatenate(labels), correct.result()

    def __call__(self, model: Any, params: PyTree, key: PRNGKey) -> list[Score]:
        """Latents are drawn by `key`; a conditional model is asked for the real images' labels.

        Other shares of the classes than the real ones would show in the Frechet distance.
        """
        real, real_labels, accuracy = self._real
        labels = np.resize(real_labels, self.num_samples) if model.num_classes else None
        fake, predicted = None, []
        key = rng.stream(key, "samples")
        for images in draw(model, params, key, self.num_samples, labels, self.batch_size):
            read, features = self.extractor(images)
            predicted.append(read)
            moments = Moments.of(features)
            fake = fake.merge(moments) if fake else moments
        predicted = np.concatenate(predicted)
        classes = self.extractor.num_classes

        score = partial(
            Score, extractor=self.extractor.name, extractor_sha256=self.extractor.sha256
        )
        of_fakes = partial(score, n_fake=self.num_samples)
        scores = [
            of_fakes(
                metric="frechet_distance", value=frechet_distance(real, fake), n_real=real.count
            ),
            of_fakes(
                metric="class_entropy",
                value=histogram_entropy(predicted, classes),
                unit=f"nats, at most {math.log(classes):.4f}",
            ),
            score(metric="classifier_accuracy", value=accuracy, n_real=real.count),
        ]
        if labels is not None:
            scores.append(
                of_fakes(metric="label_accuracy", value=label_accuracy(predicted, labels))
            )
        return scores


@dataclasses.dataclass(frozen=True)
class AccuracyEvaluator:
    """The share of images of `source` whose label a classifier reads rightly."""

    source: Source
    batch_size: int

    @staticmethod
    def metrics(model: Any) -> tuple[str, ...]:
        """The names of the scores of `model`."""
        del model
        return ("accuracy",)

    def __call__(self, model: LabelReader, params: PyTree, key: PRNGKey) -> list[Score]:
        """Draws nothing; `key` is not used."""
        del key
        extractor = ClassifierExtractor(model, params, len(self.source.class_names))
        correct = MaskedMean()
        for batch in _batches(self.source, self.batch_size):
            correct = correct.add(extractor(batch["image"])[0] == batch["label"], batch["mask"])
        return [Score(metric="accuracy", value=correct.result(), n_real=correct.count)]
