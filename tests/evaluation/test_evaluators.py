"""Scores of models whose answers are known, so that the numbers can be derived by hand."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.data.base import InMemory
from genjax.errors import UserError
from genjax.evaluation.evaluators import (
    AccuracyEvaluator,
    BoundEvaluator,
    ReconstructionEvaluator,
    SampleEvaluator,
)
from genjax.evaluation.extractors import ClassifierExtractor

KEY = jax.random.key(3)
NUM, SIDE = 10, 12  # batches of 4 leave a ragged one of 2


def source(num=NUM, side=SIDE, num_classes=2) -> InMemory:
    """Noise; the class, 0 or 1 in turn, is whether the corner is white."""
    images = np.random.default_rng(5).integers(0, 256, (num, side, side, 1), np.uint8)
    labels = np.arange(num, dtype=np.int32) % num_classes
    images[:, 0, 0, 0] = 255 * labels
    return InMemory(images, labels, tuple("ab"[:num_classes]))


@dataclasses.dataclass(frozen=True)
class Fake:
    """Reconstructs by adding a constant; its bound is made of the images' numbers."""

    offset: float = 0.0
    num_classes: int = 0
    latent_size: int = 2

    def reconstruct(self, params, images, labels=None):
        del params, labels
        return images + self.offset

    def bound(self, params, batch, key):
        """log p is -index; KL is 2 and 3 nats; the first latent alone follows the image."""
        del params, key
        index = batch["index"].astype(jnp.float32)
        kl = jnp.stack([jnp.full_like(index, 2), jnp.full_like(index, 3)], 1)
        return -index, kl, jnp.stack([index, jnp.zeros_like(index)], 1)


@dataclasses.dataclass(frozen=True, eq=False)
class Memory:
    """A sampler that returns the images of a source in order; latents come one for each number."""

    source: InMemory
    num_classes: int = 2
    latent_size: int = 1
    offset: int = 0

    def generate(self, params, latents, labels=None):
        del params
        images = jnp.asarray(self.source.images, jnp.float32) / 255
        if labels is None:
            return jnp.zeros((len(latents), *images.shape[1:]))
        # An image of the class that is asked for: class k stands in row k.
        return images[(labels + self.offset) % 2]


@dataclasses.dataclass(frozen=True)
class CornerReader:
    """Reads the class off the corner; the features are the first pixels of the last row."""

    def predict(self, params, images):
        del params
        corner = images[:, 0, 0, 0]
        return jnp.stack([1 - corner, corner], 1), images[:, -1, :4, 0]


def values(scores) -> dict[str, float]:
    return {score.metric: score.value for score in scores}


def test_a_perfect_reconstruction():
    scores = ReconstructionEvaluator(source(), 4)(Fake(), {}, KEY)
    assert values(scores) == {"mse": 0.0, "psnr": math.inf, "ssim": pytest.approx(1.0)}
    assert {score.n_real for score in scores} == {NUM}
    assert {score.unit for score in scores if score.metric == "psnr"} == {"dB"}


def test_a_constant_offset():
    """Off by 0.1 everywhere: mse 0.01, psnr -10 log10(0.01) = 20 dB."""
    found = values(ReconstructionEvaluator(source(), 4)(Fake(offset=0.1), {}, KEY))
    assert found["mse"] == pytest.approx(0.01, rel=1e-4)
    assert found["psnr"] == pytest.approx(20.0, rel=1e-4)
    assert found["ssim"] < 1


@pytest.mark.parametrize("batch_size", [1, 4, 10, 64])
def test_the_bound_counts_every_image_once(batch_size):
    """log p = -(0 + ... + 9) / 10 = -4.5; KL = 2 + 3; one of two latents is active."""
    scores = BoundEvaluator(source(), batch_size)(Fake(), {}, KEY)
    expected = {"elbo": -9.5, "log_prob": -4.5, "kl": 5.0, "active_units": 1.0}
    assert values(scores) == pytest.approx(expected)
    assert {score.n_real for score in scores} == {NUM}


def extractor(num_classes=2) -> ClassifierExtractor:
    return ClassifierExtractor(CornerReader(), {"weight": np.zeros(1)}, num_classes)


def test_accuracy_counts_every_image_once():
    """Three of ten labels are changed."""
    images = source()
    images.labels[[0, 1, 9]] = 1 - images.labels[[0, 1, 9]]
    (score,) = AccuracyEvaluator(images, 4)(CornerReader(), {}, KEY)
    assert (score.metric, score.value, score.n_real) == ("accuracy", pytest.approx(0.7), NUM)


def two_pictures() -> InMemory:
    """Ten images of which the odd ones are alike and the even ones are alike."""
    pair = source(2)
    return InMemory(np.tile(pair.images, (5, 1, 1, 1)), np.tile(pair.labels, 5), pair.class_names)


def test_samples_that_are_the_real_images_have_distance_zero():
    """The model returns the real image of the class asked for, every class in turn."""
    real = two_pictures()
    evaluate = SampleEvaluator(real, extractor(), NUM, 4)
    scores = evaluate(Memory(real), {}, KEY)
    found = values(scores)
    assert found["frechet_distance"] == pytest.approx(0.0, abs=1e-9)
    assert found["label_accuracy"] == 1.0
    assert found["classifier_accuracy"] == 1.0
    assert found["class_entropy"] == pytest.approx(math.log(2))
    by_metric = {score.metric: score for score in scores}
    assert (by_metric["frechet_distance"].n_real, by_metric["frechet_distance"].n_fake) == (10, 10)
    assert by_metric["label_accuracy"].extractor_sha256 == extractor().sha256


def test_samples_of_the_other_class_are_read_as_such():
    """The same images under the wrong labels: only the label accuracy falls, to 0."""
    real = two_pictures()
    found = values(SampleEvaluator(real, extractor(), NUM, 4)(Memory(real, offset=1), {}, KEY))
    assert found["label_accuracy"] == 0.0
    assert found["frechet_distance"] == pytest.approx(0.0, abs=1e-9)


def test_collapsed_samples_have_no_entropy_and_the_distance_of_their_mean():
    """All samples black: covariance 0, so |mean|^2 + trace of the real covariance is left."""
    real = two_pictures()
    found = values(SampleEvaluator(real, extractor(), 8, 4)(Memory(real, num_classes=0), {}, KEY))
    features = real.images[:, -1, :4, 0] / np.float64(255)
    expected = np.square(features.mean(0)).sum() + features.var(0, ddof=1).sum()
    assert found["frechet_distance"] == pytest.approx(expected, rel=1e-5)
    assert found["class_entropy"] == 0.0
    assert "label_accuracy" not in found


def test_the_judge_is_judged_on_the_real_images_alone():
    """Half of the labels are wrong, whatever the model draws."""
    real = two_pictures()
    real.labels[:5] = 1 - real.labels[:5]
    found = values(SampleEvaluator(real, extractor(), NUM, 4)(Memory(two_pictures()), {}, KEY))
    assert found["classifier_accuracy"] == 0.5
    assert found["label_accuracy"] == 1.0


def test_metrics_are_announced_under_the_names_they_get():
    real = two_pictures()
    for evaluator, model in (
        (ReconstructionEvaluator(real, 4), Fake()),
        (BoundEvaluator(real, 4), Fake()),
        (SampleEvaluator(real, extractor(), 4, 4), Memory(real)),
        (SampleEvaluator(real, extractor(), 4, 4), Memory(real, num_classes=0)),
        (AccuracyEvaluator(real, 4), CornerReader()),
    ):
        assert tuple(values(evaluator(model, {}, KEY))) == evaluator.metrics(model)


def test_images_smaller_than_the_window_of_ssim_are_refused_at_once():
    with pytest.raises(UserError, match=r"data\.image_size: 10 is smaller"):
        ReconstructionEvaluator(source(side=10), 4)
