"""Scores of models whose answers are known, so that the numbers can be derived by hand."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.data.base import InMemory
from genjax.errors import UserError
from genjax.evaluation import samples
from genjax.evaluation.evaluators import (
    MAX_PSNR,
    AccuracyEvaluator,
    BoundEvaluator,
    ReconstructionEvaluator,
    TranslationEvaluator,
)
from genjax.evaluation.extractors import ClassifierExtractor, PixelExtractor
from genjax.evaluation.samples import (
    ClassificationEvaluator,
    MemorisationEvaluator,
    SampleEvaluator,
)
from genjax.imaging.degradations import parse
from genjax.imaging.views import VIEWS, Pairing

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


def test_a_perfect_reconstruction():
    evaluate = ReconstructionEvaluator(source(), 4)
    values = evaluate(Fake(), {}, KEY)
    assert values == {"mse": 0.0, "mae": 0.0, "psnr": math.inf, "ssim": pytest.approx(1.0)}
    planned = evaluate.planned(Fake())
    assert {score.n_real for score in planned} == {NUM}
    assert {score.unit for score in planned if score.metric == "psnr"} == {"dB"}


def test_a_constant_offset():
    """Off by 0.1 everywhere: mse 0.01, mae 0.1, psnr -10 log10(0.01) = 20 dB."""
    found = ReconstructionEvaluator(source(), 4)(Fake(offset=0.1), {}, KEY)
    assert found["mse"] == pytest.approx(0.01, rel=1e-4)
    assert found["mae"] == pytest.approx(0.1, rel=1e-4)
    assert found["psnr"] == pytest.approx(20.0, rel=1e-4)
    assert found["ssim"] < 1


def test_large_images_have_a_multiscale_similarity():
    assert "ms_ssim" not in names(ReconstructionEvaluator(source(side=175), 4), Fake())
    large = ReconstructionEvaluator(source(4, side=176), 4)
    assert large(Fake(), {}, KEY)["ms_ssim"] == pytest.approx(1.0)


def test_a_learned_distance_stands_beside_the_others_with_its_weights():
    """Of constant offset 0.1 and a distance that is the largest difference, 0.1."""

    class Largest:
        sha256 = "abc"

        def __call__(self, images, others):
            return jnp.abs(images - others).max((1, 2, 3))

    evaluate = ReconstructionEvaluator(source(side=31), 4, Largest())
    assert evaluate(Fake(offset=0.1), {}, KEY)["lpips"] == pytest.approx(0.1, rel=1e-4)
    assert evaluate.planned(Fake())[-1].extractor_sha256 == "abc"
    with pytest.raises(UserError, match="--lpips: images of 30 pixels"):
        ReconstructionEvaluator(source(side=30), 4, Largest())


@dataclasses.dataclass(frozen=True)
class Lighter:
    """Translates by adding a constant."""

    offset: float = 0.0

    def translate(self, params, images):
        del params
        return images + self.offset


@dataclasses.dataclass(frozen=True)
class Mean:
    """Translates to the mean of the channels."""

    def translate(self, params, images):
        del params
        return images.mean(-1, keepdims=True)


def pairing(input="none", target="none") -> Pairing:
    return Pairing(*(parse(f"pairs.{name}", name, VIEWS) for name in (input, target)))


def test_a_perfect_translation_has_the_psnr_of_rounding_to_8_bits():
    """Rounding errs by up to half a level of 255, evenly: the mean square is 1 / (12 255^2)."""
    assert pytest.approx(10 * math.log10(12 * 255**2)) == MAX_PSNR
    found = TranslationEvaluator(source(), 4, pairing())(Lighter(), {}, KEY)
    perfect = {"mse": 0.0, "mae": 0.0, "psnr": pytest.approx(MAX_PSNR), "ssim": pytest.approx(1.0)}
    assert found == {**perfect, **{f"input_{name}": value for name, value in perfect.items()}}


def test_what_came_in_is_scored_beside_what_came_out():
    """All white as the answer to black: without a change mse 1, with one of 0.9 (1 - 0.9)^2."""
    black = InMemory(np.zeros((NUM, SIDE, SIDE, 1), np.uint8))

    @dataclasses.dataclass(frozen=True)
    class White:
        def __call__(self, batch, key):
            return {**batch, "condition": batch["image"], "image": 1 - batch["image"]}

        def shapes(self, image_shape):
            return image_shape, image_shape

    evaluate = TranslationEvaluator(black, 4, White())
    found = evaluate(Lighter(0.9), {}, KEY)
    assert (found["input_mse"], found["input_mae"], found["input_psnr"]) == (1, 1, 0)
    expected = {"mse": 0.01, "mae": 0.1, "psnr": 20.0}
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-4)
    units = {score.metric: score.unit for score in evaluate.planned(Lighter())}
    assert {name for name, unit in units.items() if unit == "dB"} == {"psnr", "input_psnr"}
    assert {score.n_real for score in evaluate.planned(Lighter())} == {NUM}


def test_the_number_of_an_image_says_how_it_is_damaged_whatever_the_batch():
    damage = pairing("gaussian_noise:0.05..0.3")
    scores = [
        TranslationEvaluator(source(), size, damage)(Lighter(0.1), {}, jax.random.key(size))
        for size in (1, 4, 64)
    ]
    assert 0.001 < scores[0]["input_mse"] < 0.09
    for other in scores[1:]:
        assert other == pytest.approx(scores[0], rel=1e-5)


def test_an_input_of_other_channels_has_no_distance_to_the_answer():
    """A grey image in three channels, and its brightness as the answer."""
    evaluate = TranslationEvaluator(source(), 4, pairing("colour"))
    assert names(evaluate, Mean()) == ("mse", "mae", "psnr", "ssim")
    assert evaluate(Mean(), {}, KEY)["mse"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("batch_size", [1, 4, 10, 64])
def test_the_bound_counts_every_image_once(batch_size):
    """log p = -(0 + ... + 9) / 10 = -4.5; KL = 2 + 3; one of two latents is active."""
    evaluate = BoundEvaluator(source(), batch_size)
    expected = {"elbo": -9.5, "log_prob": -4.5, "kl": 5.0, "active_units": 1.0}
    assert evaluate(Fake(), {}, KEY) == pytest.approx(expected)
    assert {score.n_real for score in evaluate.planned(Fake())} == {NUM}


def extractor(num_classes=2) -> ClassifierExtractor:
    return ClassifierExtractor(CornerReader(), {"weight": np.zeros(1)}, num_classes)


def test_accuracy_counts_every_image_once():
    """Three of ten labels are changed."""
    images = source()
    images.labels[[0, 1, 9]] = 1 - images.labels[[0, 1, 9]]
    evaluate = AccuracyEvaluator(images, 4)
    assert evaluate(CornerReader(), {}, KEY) == {"accuracy": pytest.approx(0.7)}
    assert [score.n_real for score in evaluate.planned(CornerReader())] == [NUM]


def names(evaluator, model) -> tuple[str, ...]:
    return tuple(score.metric for score in evaluator.planned(model))


def test_what_is_planned_is_what_comes():
    real = two_pictures()
    for thorough in (False, True):
        samples = SampleEvaluator(real, extractor(), 20, 4, thorough)
        for model in (Memory(real), Memory(real, num_classes=0)):
            assert tuple(samples(model, {}, KEY)) == names(samples, model)
    for evaluator, model in (
        (ReconstructionEvaluator(real, 4), Fake()),
        (BoundEvaluator(real, 4), Fake()),
        (AccuracyEvaluator(real, 4), CornerReader()),
        (TranslationEvaluator(real, 4, pairing("gaussian_blur:1")), Lighter()),
        (TranslationEvaluator(real, 4, pairing("colour", "thick")), Mean()),
        (SampleEvaluator(real, PixelExtractor(), 20, 4, True), Memory(real)),
        (MemorisationEvaluator(real, source(), extractor(), 8, 4), Memory(real)),
        (ClassificationEvaluator(real, real, lambda train: extractor(), 4), Memory(real)),
    ):
        assert tuple(evaluator(model, {}, KEY)) == names(evaluator, model)


def two_pictures() -> InMemory:
    """Ten images of which the odd ones are alike and the even ones are alike."""
    pair = source(2)
    return InMemory(np.tile(pair.images, (5, 1, 1, 1)), np.tile(pair.labels, 5), pair.class_names)


def test_samples_that_are_the_real_images_have_distance_zero():
    """The model returns the real image of the class asked for, every class in turn."""
    real = two_pictures()
    evaluate = SampleEvaluator(real, extractor(), NUM, 4, thorough=True)
    found = evaluate(Memory(real), {}, KEY)
    for metric in ("frechet_distance", "within_class_frechet", "spectral_distance"):
        assert found[metric] == pytest.approx(0.0, abs=1e-6)
    for metric in ("label_accuracy", "label_accuracy[a]", "label_accuracy[b]"):
        assert found[metric] == 1.0
    assert found["classifier_accuracy"] == 1.0
    assert found["class_entropy"] == pytest.approx(math.log(2))
    by_metric = {score.metric: score for score in evaluate.planned(Memory(real))}
    assert (by_metric["frechet_distance"].n_real, by_metric["frechet_distance"].n_fake) == (10, 10)
    assert (by_metric["label_accuracy"].n_real, by_metric["label_accuracy"].n_fake) == (0, 10)
    assert by_metric["label_accuracy"].extractor_sha256 == extractor().sha256
    assert by_metric["kid"].settings == "100 subsets of 5"
    assert by_metric["spectral_distance"].extractor == "none"


def test_samples_of_the_other_class_are_read_as_such():
    """The same images under the wrong labels: only what asks for labels falls."""
    real = two_pictures()
    found = SampleEvaluator(real, extractor(), NUM, 4, True)(Memory(real, offset=1), {}, KEY)
    assert found["label_accuracy"] == found["label_accuracy[a]"] == 0.0
    assert found["frechet_distance"] == pytest.approx(0.0, abs=1e-9)
    # Within a class all images are alike, so only the means of the two classes are apart.
    features = real.images[:2, -1, :4, 0] / np.float64(255)
    apart = np.square(features[0] - features[1]).sum()
    assert found["within_class_frechet"] == pytest.approx(apart, rel=1e-5)


def test_collapsed_samples_have_no_entropy_and_the_distance_of_their_mean():
    """All samples black: covariance 0, so |mean|^2 + trace of the real covariance is left."""
    real = two_pictures()
    found = SampleEvaluator(real, extractor(), 8, 4, False)(Memory(real, num_classes=0), {}, KEY)
    features = real.images[:, -1, :4, 0] / np.float64(255)
    expected = np.square(features.mean(0)).sum() + features.var(0, ddof=1).sum()
    assert found["frechet_distance"] == pytest.approx(expected, rel=1e-5)
    assert found["class_entropy"] == 0.0
    assert "label_accuracy" not in found


def test_the_judge_is_judged_on_the_real_images_alone():
    """Half of the labels are wrong, whatever the model draws."""
    real = two_pictures()
    real.labels[:5] = 1 - real.labels[:5]
    found = SampleEvaluator(real, extractor(), NUM, 4, False)(Memory(two_pictures()), {}, KEY)
    assert found["classifier_accuracy"] == 0.5
    assert found["label_accuracy"] == 1.0


def test_what_was_not_asked_for_is_not_computed():
    """Two samples are too few for the metrics of neighbours: left out, or refused if asked for."""
    real = two_pictures()
    ask = lambda *metrics: SampleEvaluator(real, extractor(), 2, 4, True, metrics)
    assert tuple(ask("class_entropy")(Memory(real), {}, KEY)) == ("class_entropy",)
    left = ask()(Memory(real), {}, KEY)
    assert "density" not in left
    assert left["frechet_distance"] >= 0
    assert math.isnan(left["within_class_frechet"])
    with pytest.raises(UserError, match="at least 6"):
        ask("density")(Memory(real), {}, KEY)


def test_copies_are_what_lies_nearer_than_a_training_image_to_its_own_neighbour():
    """Training images 0, 10, ..., 90 lie 10 apart; a sample of 11 copies 10, one of 250 nothing."""
    levels = np.arange(0, 100, 10, dtype=np.uint8)
    flat = lambda values: InMemory(np.tile(np.uint8(values)[:, None, None, None], (1, 12, 12, 1)))
    train, test = flat(levels), flat([200, 12, 220, 240])
    samples = flat([250, 11])
    samples = InMemory(samples.images, np.arange(2, dtype=np.int32), ("a", "b"))
    evaluate = MemorisationEvaluator(test, train, PixelExtractor(), 4, 2)
    found = evaluate(Memory(samples), {}, KEY)
    assert found == {"copies": 0.5, "copies_of_real": 0.25}
    ours, theirs = evaluate.closest(Memory(samples), {}, KEY, 3)
    np.testing.assert_allclose(255 * ours[:, 0, 0, 0], [11, 11, 250], rtol=1e-6)
    np.testing.assert_allclose(255 * theirs[:, 0, 0, 0], [10, 10, 90], rtol=1e-6)


def test_of_a_training_image_that_is_there_twice_only_the_very_image_is_a_copy():
    """Nothing is nearer to it than its twin at distance 0."""
    twins, others = two_pictures(), source(side=SIDE)
    found = MemorisationEvaluator(others, twins, PixelExtractor(), 4, 4)(Memory(twins), {}, KEY)
    assert found["copies"] == 1.0
    # Of ten others the first two are the twins' images.
    assert found["copies_of_real"] == 0.2


def test_training_images_are_no_new_images_to_compare_with():
    train = source()
    evaluate = MemorisationEvaluator(train, train, PixelExtractor(), 4, 4)
    assert evaluate(Memory(two_pictures()), {}, KEY).keys() == {"copies"}


def test_a_large_training_set_counts_in_part_and_says_so(monkeypatch):
    monkeypatch.setattr(samples, "MOST_VALUES", 4 * SIDE * SIDE)
    evaluate = MemorisationEvaluator(source(4), source(), PixelExtractor(), 4, 4)
    planned = evaluate.planned(Memory(source()))
    assert planned[0].settings == "4 of 10 training images"  # every third
    assert planned[0].n_real == 4


def test_a_model_that_has_diverged_has_no_numbers_but_those_of_real_images():
    broken = two_pictures()
    nan = InMemory(np.full((2, SIDE, SIDE, 1), np.nan), np.arange(2, dtype=np.int32), ("a", "b"))
    found = SampleEvaluator(broken, extractor(), NUM, 4, True)(Memory(nan), {}, KEY)
    assert {"frechet_distance", "kid", "density", "class_entropy", "label_accuracy[a]"} <= set(
        found
    )
    assert found.pop("classifier_accuracy") == 1.0
    assert all(map(math.isnan, found.values()))
    quick = SampleEvaluator(broken, extractor(), NUM, 4, False)(Memory(nan), {}, KEY)
    assert quick.pop("classifier_accuracy") == 1.0
    assert all(map(math.isnan, quick.values()))
    fit = lambda source: extractor()
    cas = ClassificationEvaluator(broken, broken, fit, 4)(Memory(nan), {}, KEY)
    assert math.isnan(cas["cas"])
    assert cas["cas_of_real"] == 1.0
    evaluate = MemorisationEvaluator(source(), broken, PixelExtractor(), 4, 4)
    assert math.isnan(evaluate(Memory(nan), {}, KEY)["copies"])


@pytest.mark.parametrize("num", [3, 10, 25, 1000])
def test_labels_asked_for_have_the_shares_of_the_real_ones_in_no_order(num):
    labels = np.repeat(np.arange(4, dtype=np.int32), [10, 20, 30, 40])  # sorted, as of folders
    for given in (labels, labels[::-1], np.tile(np.arange(10, dtype=np.int32), 10)):
        asked = samples.alike(given, num)
        shares = np.bincount(given) / 100
        assert np.abs(np.bincount(asked, minlength=len(shares)) - num * shares).max() <= 1
    halves = samples.alike(labels, 1000).reshape(2, 500)
    np.testing.assert_allclose((halves == 3).mean(1), 0.4, atol=0.1)


def test_a_classifier_is_fitted_to_as_many_generated_images_as_there_are_real_ones():
    """Its accuracy is that of what `fit` gives; generated images are those asked for."""
    real, test = two_pictures(), source()
    fitted = []

    def fit(train):
        fitted.append(train)
        return extractor()

    evaluate = ClassificationEvaluator(test, real, fit, 4)
    assert evaluate(Memory(real), {}, KEY) == {"cas": 1.0, "cas_of_real": 1.0}
    np.testing.assert_array_equal(fitted[0].images, real.images)
    np.testing.assert_array_equal(fitted[0].labels, real.labels)
    assert fitted[1] is real
    assert evaluate.planned(Memory(real, num_classes=0)) == []


def test_images_smaller_than_the_window_of_ssim_are_refused_at_once():
    with pytest.raises(UserError, match=r"data\.image_size: 10 is smaller"):
        ReconstructionEvaluator(source(side=10), 4)
    with pytest.raises(UserError, match=r"data\.image_size: 10 is smaller"):
        TranslationEvaluator(source(side=10), 4, pairing())
