"""Evaluators of samples: beside real images, as copies of training images, as training images."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import ClassVar

import numpy as np

from genjax import rng
from genjax.data.base import InMemory, Source
from genjax.data.readers import evaluation_batches
from genjax.evaluation import comparison
from genjax.evaluation.comparison import Comparison, Seen, see
from genjax.evaluation.evaluators import accuracy_of, float_batches
from genjax.evaluation.extractors import ClassifierExtractor, Extractor
from genjax.evaluation.rows import Score
from genjax.evaluation.sampling import balanced_labels, draw
from genjax.metrics.neighbours import nearest
from genjax.models.base import Sampler
from genjax.types import PRNGKey, PyTree


def real_images(source: Source, batch_size: int) -> Iterator[np.ndarray]:
    """All images of `source`, float32 in [0, 1], in batches of which the last may be smaller."""
    for batch in float_batches(source, batch_size):
        yield batch["image"][batch["mask"] == 1]


def labels_of(source: Source, batch_size: int) -> np.ndarray | None:
    """The labels of all images of `source`, int32 [num]; None without classes."""
    if not source.class_names:
        return None
    batches = evaluation_batches(source, min(batch_size, len(source)))
    return np.concatenate([batch["label"][batch["mask"] == 1] for batch in batches])


@dataclasses.dataclass(frozen=True, eq=False)
class SampleEvaluator:
    """Samples beside the images of `source`, through the eyes of `extractor`.

    `comparison.QUICK` or, if `thorough`, `comparison.THOROUGH` and each class by itself, as far as
    model and extractor have what they need; where there are `metrics`, those that give one of them.
    """

    draws: ClassVar[bool] = True

    source: Source
    extractor: Extractor
    num_samples: int
    batch_size: int
    thorough: bool
    metrics: tuple[str, ...] = ()

    def planned(self, model: Sampler) -> list[Score]:
        """The scores of samples of `model`."""
        num_real, num_fake = len(self.source), self.num_samples
        comparisons = self._comparisons(model.num_classes > 0)
        return comparison.planned(comparisons, self.extractor, num_real, num_fake)

    def __call__(self, model: Sampler, params: PyTree, key: PRNGKey) -> dict[str, float]:
        """Latents are drawn by `key`; a conditional model is asked for the real images' labels.

        Other shares of the classes than the real ones would show in the Frechet distance.
        """
        comparisons, num = self._comparisons(model.num_classes > 0), self.num_samples
        labels = np.resize(self._real.labels, num) if model.num_classes else None
        batches = draw(model, params, rng.stream(key, "samples"), num, labels, self.batch_size)
        fake = see(batches, self.extractor, num, comparisons, labels)
        return comparison.compare(comparisons, self._real, fake)

    @functools.cached_property
    def _real(self) -> Seen:
        images = real_images(self.source, self.batch_size)
        labels = labels_of(self.source, self.batch_size)
        return see(images, self.extractor, len(self.source), self._comparisons(True), labels)

    def _comparisons(self, asked: bool) -> tuple[Comparison, ...]:
        """Those of a model that is, or is not, asked for labels."""
        found = comparison.QUICK
        if self.thorough:
            found = (*comparison.THOROUGH, comparison.per_class(self.source.class_names))
        reads_labels = isinstance(self.extractor, ClassifierExtractor) and self.source.class_names
        given = {
            "power": True,
            "classes": self.extractor.num_classes,
            "labels": reads_labels,
            "asked": asked,
        }
        given = {name for name, there in given.items() if there}
        return comparison.choose_from(found, given, self.metrics)


@dataclasses.dataclass(frozen=True, eq=False)
class MemorisationEvaluator:
    """The share of samples that are nearer to a training image than its own neighbour is.

    A sample counts as a copy if it lies nearer to the training image next to it than any other
    training image does (1 - authenticity; Alaa et al. 2022, eq. 6). Some new images from the very
    distribution of the training images do, too: the share of those of `source` stands beside it.
    """

    draws: ClassVar[bool] = True

    source: Source
    train: Source
    extractor: Extractor
    num_samples: int
    batch_size: int

    def planned(self, model: Sampler) -> list[Score]:
        """The share of samples, and of real images that the model has not seen."""
        del model
        num = len(self.train)
        seen_by = comparison.seen_by(self.extractor)
        return [
            Score(metric="copies", n_real=num, n_fake=self.num_samples, **seen_by),
            Score(metric="copies_of_real", n_real=num + len(self.source), **seen_by),
        ]

    def __call__(self, model: Sampler, params: PyTree, key: PRNGKey) -> dict[str, float]:
        """Latents are drawn by `key`; a conditional model is asked for every class in turn."""
        _, features = self._samples(model, params, key)
        return {
            "copies": float((self._nearness(features)[0] < 1).mean()),
            "copies_of_real": self._of_real,
        }

    def closest(
        self, model: Sampler, params: PyTree, key: PRNGKey, num: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The `num` samples that are most like copies, and the training image next to each."""
        images, features = self._samples(model, params, key)
        nearness, index = self._nearness(features)
        first = np.argsort(nearness, kind="stable")[:num]
        neighbours = [self.train[int(row)]["image"] for row in index[first]]
        return images[first], np.stack(neighbours).astype(np.float32) / 255

    def _samples(self, model: Sampler, params: PyTree, key: PRNGKey):
        labels = balanced_labels(self.num_samples, model.num_classes)
        batches = list(
            draw(
                model, params, rng.stream(key, "samples"), self.num_samples, labels, self.batch_size
            )
        )
        return np.concatenate(batches), np.concatenate([self.extractor(b)[0] for b in batches])

    def _nearness(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(distance to the nearest training image / that one's to its own, which one)."""
        train, radii = self._train
        distances, index = nearest(features, train)
        with np.errstate(divide="ignore", invalid="ignore"):
            # A training image that is there twice has radius 0, and nothing can be nearer.
            ratio = np.where(radii[index] > 0, distances / radii[index], np.inf)
        return ratio, index

    @functools.cached_property
    def _train(self) -> tuple[np.ndarray, np.ndarray]:
        """(features of the training images, each one's distance to the nearest other)."""
        features = self._features(self.train)
        return features, nearest(features, features, exclude_self=True)[0]

    @functools.cached_property
    def _of_real(self) -> float:
        return float((self._nearness(self._features(self.source))[0] < 1).mean())

    def _features(self, source: Source) -> np.ndarray:
        images = real_images(source, self.batch_size)
        return np.concatenate([self.extractor(batch)[0] for batch in images])


@dataclasses.dataclass(frozen=True, eq=False)
class ClassificationEvaluator:
    """The accuracy, on `source`, of a classifier that was trained on generated images only.

    The classification accuracy score (Ravuri and Vinyals 2019); beside it stands the accuracy of
    the same classifier trained on as many real images.

    `fit` trains the classifier on a source.
    """

    draws: ClassVar[bool] = True

    source: Source
    train: Source
    fit: Callable[[Source], ClassifierExtractor]
    batch_size: int

    def planned(self, model: Sampler) -> list[Score]:
        """Both accuracies; none of a model without labels."""
        if not model.num_classes:
            return []
        num, num_train = len(self.source), len(self.train)
        return [
            Score(metric="cas", n_real=num, n_fake=num_train),
            Score(metric="cas_of_real", n_real=num + num_train),
        ]

    def __call__(self, model: Sampler, params: PyTree, key: PRNGKey) -> dict[str, float]:
        """Draws one image for each training image, of its class."""
        num = len(self.train)
        labels = labels_of(self.train, self.batch_size)
        batches = draw(model, params, rng.stream(key, "samples"), num, labels, self.batch_size)
        images = np.concatenate([np.round(255 * batch).astype(np.uint8) for batch in batches])
        generated = InMemory(images, labels, self.train.class_names)
        return {
            "cas": accuracy_of(self.fit(generated), self.source, self.batch_size),
            "cas_of_real": self._of_real,
        }

    @functools.cached_property
    def _of_real(self) -> float:
        return accuracy_of(self.fit(self.train), self.source, self.batch_size)
