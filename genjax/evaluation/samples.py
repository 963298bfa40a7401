"""Evaluators of samples: beside real images, as copies of training images, as training images."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator
from typing import ClassVar

import numpy as np

from genjax import rng
from genjax.data.base import InMemory, Source
from genjax.data.readers import evaluation_batches
from genjax.data.reading import read
from genjax.evaluation import comparison
from genjax.evaluation.comparison import Comparison, Seen, see
from genjax.evaluation.evaluators import accuracy_of, float_batches
from genjax.evaluation.extractors import ClassifierExtractor, Extractor
from genjax.evaluation.rows import Score
from genjax.evaluation.sampling import balanced_labels, draw
from genjax.metrics.neighbours import nearest
from genjax.models.base import Sampler
from genjax.types import PRNGKey, PyTree

#: Values of training images whose features are held at once: by pixels 1 GB of them.
MOST_VALUES = 2**28
#: Samples among which the ones most like copies are sought, to be looked at.
MOST_SEEN = 1000


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


def in_8_bits(images: np.ndarray) -> np.ndarray:
    """The images as a file would hold them; real ones are so."""
    return np.round(255 * images) / np.float32(255)


def alike(labels: np.ndarray, num: int) -> np.ndarray:
    """`num` labels with the classes in the same shares as in `labels`, shuffled: int32 [num].

    Other shares would show in the Frechet distance.
    """
    spread = np.sort(labels)[np.arange(num) * len(labels) // num]
    return spread[rng.shuffled(num)]


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
        """Latents are drawn by `key`; a conditional model is asked for labels as the real ones."""
        comparisons, num = self._comparisons(model.num_classes > 0), self.num_samples
        labels = alike(self._real.labels, num) if model.num_classes else None
        batches = draw(model, params, rng.stream(key, "samples"), num, labels, self.batch_size)
        fake = see(map(in_8_bits, batches), self.extractor, num, comparisons, labels)
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
            "moments": comparison.few_features(self.extractor, self.source.image_shape),
            "classes": self.extractor.num_classes,
            "labels": reads_labels,
            "asked": asked,
        }
        given = {name for name, there in given.items() if there}
        smallest = min(len(self.source), self.num_samples)
        return comparison.choose_from(found, given, smallest, self.metrics)


@dataclasses.dataclass(frozen=True, eq=False)
class MemorisationEvaluator:
    """The share of samples that are nearer to a training image than its own neighbour is.

    Of training images that have more than `MOST_VALUES` values every n-th counts. All features of
    these, and of the samples, are held.
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
        num, all_of_them = len(self._rows), len(self.train)
        settings = "" if num == all_of_them else f"{num:,} of {all_of_them:,} training images"
        score = functools.partial(Score, settings=settings, **comparison.seen_by(self.extractor))
        scores = [score(metric="copies", n_real=num, n_fake=self.num_samples)]
        if self.source is not self.train:  # where each image would find itself
            scores.append(score(metric="copies_of_real", n_real=num + len(self.source)))
        return scores

    def __call__(self, model: Sampler, params: PyTree, key: PRNGKey) -> dict[str, float]:
        """Latents are drawn by `key`; a conditional model is asked for every class in turn."""
        _, features = self._samples(model, params, key, self.num_samples)
        values = {"copies": math.nan}  # of a model that has diverged
        if np.isfinite(features).all():
            values["copies"] = float((self._nearness(features)[0] < 1).mean())
        if self.source is not self.train:
            values["copies_of_real"] = self._of_real
        return values

    def closest(
        self, model: Sampler, params: PyTree, key: PRNGKey, num: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The `num` samples that are most like copies, and the training image next to each.

        Of the first thousand samples, or as many as there are.
        """
        images, features = self._samples(model, params, key, min(self.num_samples, MOST_SEEN))
        if not np.isfinite(features).all():
            return images[:num], np.zeros_like(images[:num])
        nearness, index = self._nearness(features)
        first = np.argsort(nearness, kind="stable")[:num]
        neighbours = [self.train[int(row)]["image"] for row in self._rows[index[first]]]
        return images[first], np.stack(neighbours).astype(np.float32) / 255

    def _samples(self, model: Sampler, params: PyTree, key: PRNGKey, num: int):
        """(the first of `num` samples, at most MOST_SEEN; the features of all)."""
        labels = balanced_labels(num, model.num_classes)
        batches = draw(model, params, rng.stream(key, "samples"), num, labels, self.batch_size)
        images, features = [], []
        for batch in map(in_8_bits, batches):
            images += list(batch[: max(MOST_SEEN - len(images), 0)])
            features.append(self.extractor(batch)[0])
        return np.stack(images), np.concatenate(features)

    def _nearness(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(distance to the nearest training image / that one's to its own, which one)."""
        train, radii = self._train
        distances, index = nearest(features, train)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = distances / radii[index]
        # A training image that is there twice has radius 0: only the very image is a copy.
        return np.where(distances == 0, 0, ratio), index

    @functools.cached_property
    def _train(self) -> tuple[np.ndarray, np.ndarray]:
        """(features of the training images, each one's distance to the nearest other)."""
        examples = read(self.train, self._rows)
        train = InMemory(examples["image"], examples.get("label"), self.train.class_names)
        features = self._features(train)
        return features, nearest(features, features, exclude_self=True)[0]

    @functools.cached_property
    def _rows(self) -> np.ndarray:
        """The training images that count."""
        size = math.prod(self.train.image_shape)
        return np.arange(0, len(self.train), -(-len(self.train) * size // MOST_VALUES))

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
        images = []
        for batch in batches:
            if not np.isfinite(batch).all():  # of a model that has diverged
                return {"cas": math.nan, "cas_of_real": self._of_real}
            images.append(np.round(255 * batch).astype(np.uint8))
        generated = InMemory(np.concatenate(images), labels, self.train.class_names)
        return {
            "cas": accuracy_of(self.fit(generated), self.source, self.batch_size),
            "cas_of_real": self._of_real,
        }

    @functools.cached_property
    def _of_real(self) -> float:
        return accuracy_of(self.fit(self.train), self.source, self.batch_size)
