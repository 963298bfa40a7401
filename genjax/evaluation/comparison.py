"""Two sets of images beside each other: what is seen of each in one pass, and what sets them apart.

A run's samples are compared with real images by this, and so are two folders.
"""

import dataclasses
import math
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float32, Float64, Int

from genjax.evaluation.extractors import Extractor, PixelExtractor
from genjax.evaluation.rows import Score
from genjax.metrics.classification import (
    InceptionScores,
    accuracy_per_class,
    histogram_entropy,
    label_accuracy,
)
from genjax.metrics.distribution import Moments, frechet_distance, kid
from genjax.metrics.neighbours import precision_recall_density_coverage
from genjax.metrics.spectrum import radial_power, spectral_distance

NEIGHBOURS = 5
KID_SUBSETS, KID_SUBSET = 100, 1000
#: More features than this have no Frechet distance: their covariance alone would take gigabytes.
MOST_FEATURES = 4096
SPLITS = 10
_radial_power = jax.jit(radial_power)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seen:
    """What was seen of a set of images; None where no comparison needs it.

    Attributes:
      moments: of the features; None of those that are too many for a covariance.
      features: all of them.
      predicted: the class that the extractor reads off each image.
      scores: of the classes' probabilities.
      power: the images' mean power by radius.
      labels: the images' own, or those that the model was asked for.
      finite: whether all features are numbers.
    """

    moments: Moments | None = None
    features: Float32[np.ndarray, "num feature"] | None = None
    predicted: Int[np.ndarray, " num"] | None = None
    scores: InceptionScores | None = None
    power: Float64[np.ndarray, " radius"] | None = None
    labels: Int[np.ndarray, " num"] | None = None
    finite: bool = True


class Comparison(NamedTuple):
    """Metrics of two sets that are computed together.

    Attributes:
      names: of the metrics.
      compute: (what was seen of the real images, of the generated ones) -> a value for each name.
      needs: some of `moments`; `features`, all of them kept; `power`, of images; `classes` that the
        extractor reads; `labels` of the real images in those; `asked`, a model that is asked for
        labels.
      of: `both` sets, `real` or `fake`.
      at_least: how many images each set must have.
      settings: from the two numbers of images.
    """

    names: tuple[str, ...]
    compute: Callable[[Seen, Seen], Sequence[float]]
    needs: frozenset[str] = frozenset()
    of: str = "both"
    at_least: int = 1
    settings: Callable[[int, int], str] = lambda num_real, num_fake: ""


def _subset(num_real: int, num_fake: int) -> int:
    # Of a small set, half: subsets of all of it would not differ.
    return max(2, min(KID_SUBSET, num_real // 2, num_fake // 2))


def _kid(real: Seen, fake: Seen) -> tuple[float, float]:
    size = _subset(len(real.features), len(fake.features))
    return kid(real.features, fake.features, num_subsets=KID_SUBSETS, subset_size=size)


def _neighbours(real: Seen, fake: Seen) -> tuple[float, ...]:
    values = precision_recall_density_coverage(real.features, fake.features, NEIGHBOURS)
    return tuple(values[name] for name in ("precision", "recall", "density", "coverage"))


def _entropy(real: Seen, fake: Seen) -> tuple[float]:
    del real
    return (histogram_entropy(fake.predicted, len(fake.scores.splits[0].shares)),)


def _within_class(real: Seen, fake: Seen) -> tuple[float]:
    of_class = lambda seen, label: Moments.of(seen.features[seen.labels == label])
    pairs = [(of_class(real, label), of_class(fake, label)) for label in np.unique(real.labels)]
    # A class of a single image has no covariance.
    found = [frechet_distance(a, b) for a, b in pairs if min(a.count, b.count) > 1]
    return (np.mean(found) if found else math.nan,)


FRECHET = Comparison(
    ("frechet_distance",),
    lambda real, fake: (frechet_distance(real.moments, fake.moments),),
    frozenset({"moments"}),
    at_least=2,
)
ENTROPY = Comparison(("class_entropy",), _entropy, frozenset({"classes"}), "fake")
CLASSIFIER = Comparison(
    ("classifier_accuracy",),
    lambda real, fake: (label_accuracy(real.predicted, real.labels),),
    frozenset({"classes", "labels"}),
    "real",
)
LABELS = Comparison(
    ("label_accuracy",),
    lambda real, fake: (label_accuracy(fake.predicted, fake.labels),),
    frozenset({"classes", "labels", "asked"}),
    "fake",
)
#: What training looks at.
QUICK = (FRECHET, ENTROPY, CLASSIFIER, LABELS)
#: What `evaluate` and `compare` look at.
THOROUGH = (
    FRECHET,
    Comparison(
        ("kid", "kid_std"),
        _kid,
        frozenset({"features"}),
        at_least=2,
        settings=lambda *nums: f"{KID_SUBSETS} subsets of {_subset(*nums)}",
    ),
    Comparison(
        ("inception_score", "inception_score_std"),
        lambda real, fake: fake.scores.mean_and_deviation(),
        frozenset({"classes"}),
        "fake",
        settings=lambda num_real, num_fake: f"{min(SPLITS, num_fake)} splits",
    ),
    Comparison(
        ("precision", "recall", "density", "coverage"),
        _neighbours,
        frozenset({"features"}),
        at_least=NEIGHBOURS + 1,
        settings=lambda num_real, num_fake: f"{NEIGHBOURS} neighbours",
    ),
    Comparison(
        ("spectral_distance",),
        lambda real, fake: (spectral_distance(real.power, fake.power),),
        frozenset({"power"}),
    ),
    ENTROPY,
    CLASSIFIER,
    LABELS,
    Comparison(
        ("within_class_frechet",),
        _within_class,
        frozenset({"features", "classes", "labels", "asked"}),
    ),
)


def per_class(class_names: Sequence[str]) -> Comparison:
    """The label accuracy of each class, as `label_accuracy[name]`."""
    return Comparison(
        tuple(f"label_accuracy[{name}]" for name in class_names),
        lambda real, fake: accuracy_per_class(fake.predicted, fake.labels, len(class_names)),
        frozenset({"classes", "labels", "asked"}),
        "fake",
    )


def choose_from(
    comparisons: Iterable[Comparison],
    given: Collection[str],
    smallest: int,
    metrics: Collection[str] = (),
) -> tuple[Comparison, ...]:
    """Those that need but `features` and what is `given`, of sets of `smallest` images at least.

    Where `metrics` are asked for, those that give one of them, however few the images.
    """
    possible = (each for each in comparisons if each.needs <= {"features", *given})
    if not metrics:
        return tuple(each for each in possible if smallest >= each.at_least)
    return tuple(each for each in possible if set(map(base_name, each.names)) & set(metrics))


def base_name(metric: str) -> str:
    """The metric of which this one is a class's, `label_accuracy` of `label_accuracy[7]`."""
    return metric.partition("[")[0]


def few_features(extractor: Extractor, shape: tuple[int, ...]) -> bool:
    """Whether what the extractor makes of images, or features, of this shape has a covariance."""
    return not isinstance(extractor, PixelExtractor) or math.prod(shape) <= MOST_FEATURES


def seen_by(extractor: Extractor) -> dict[str, str]:
    """The fields of a `Score` that say what turned images into features."""
    return {
        "extractor": extractor.name,
        "extractor_sha256": extractor.sha256,
        "resize": extractor.resize,
    }


def planned(
    comparisons: Iterable[Comparison], extractor: Extractor, num_real: int, num_fake: int
) -> list[Score]:
    """The scores that `compare` will give of so many images, without their values."""
    return [
        Score(
            metric=name,
            unit=_unit(name, extractor),
            n_real=0 if comparison.of == "fake" else num_real,
            n_fake=0 if comparison.of == "real" else num_fake,
            settings=comparison.settings(num_real, num_fake),
            # What an extractor had no part in should not depend on which one it was.
            **({} if "power" in comparison.needs else seen_by(extractor)),
        )
        for comparison in comparisons
        for name in comparison.names
    ]


def see(
    batches: Iterable[np.ndarray],
    extractor: Extractor,
    num: int,
    comparisons: Iterable[Comparison],
    labels: np.ndarray | None = None,
) -> Seen:
    """Looks once at `num` images, which come in batches [batch, h, w, c] in [0, 1].

    Memory grows with their number only where a comparison needs all features.
    """
    needs = frozenset().union(*(comparison.needs for comparison in comparisons))
    moments, kept, predicted, scores, power, finite = None, [], [], None, 0.0, True
    for images in batches:
        features, logits = extractor(images)
        finite &= bool(np.isfinite(features).all())
        if "moments" in needs:
            here = Moments.of(features)
            moments = here if moments is None else moments.merge(here)
        if "features" in needs:
            kept.append(features)
        if "power" in needs:
            power += np.asarray(_radial_power(images), np.float64).sum(0) / num
        if "classes" in needs:
            predicted.append(logits.argmax(-1))
            if scores is None:
                scores = InceptionScores.empty(num, logits.shape[1], min(SPLITS, num))
            scores = scores.add(logits)
    return Seen(
        moments=moments,
        features=np.concatenate(kept) if kept else None,
        predicted=np.concatenate(predicted) if predicted else None,
        scores=scores,
        power=power if "power" in needs else None,
        labels=labels,
        finite=finite,
    )


def compare(comparisons: Iterable[Comparison], real: Seen, fake: Seen) -> dict[str, float]:
    """The value of each planned score."""
    values: dict[str, float] = {}
    # Of a model that has diverged nothing can be said, and the rest is worth saying.
    for comparison in comparisons:
        if not fake.finite and comparison.of != "real":
            found = [math.nan] * len(comparison.names)
        else:
            found = map(float, comparison.compute(real, fake))
        values |= zip(comparison.names, found, strict=True)
    return values


def _unit(name: str, extractor: Extractor) -> str:
    if name == "class_entropy":
        return f"nats, at most {math.log(extractor.num_classes):.4f}"
    return {"spectral_distance": "decades"}.get(name, "")
