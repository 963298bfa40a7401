"""Classical restoration does what its formulas say, and helps."""

import functools

import jax
import numpy as np
import pytest
from scipy import stats

from experiments import classical
from genjax import rng
from genjax.data.mnist_sample import mnist_sample
from genjax.imaging.degradations import degrade, parse

HELPS = {  # by at least so many dB, on digits
    "gaussian_noise:0.25": 4,
    "poisson_noise:8": 2,
    "salt_and_pepper:0.3": 8,
    "missing_pixels:0.5": 10,
    "missing_box:0.35": 5,
    "missing_half:0.35": 3,
    "gaussian_blur:1+gaussian_noise:0.02": 2,
    "motion_blur:5+gaussian_noise:0.02": 2,
    "downsample:2": 1,
    "haze:1": 10,
    "low_light:2,0.02": 0.5,
    "jpeg:8": 0.5,
}


@functools.cache
def digits() -> np.ndarray:
    return mnist_sample(split="validation")[np.arange(2)]["image"].astype(np.float32) / 255


def damaged(text: str, images: np.ndarray):
    """(observed in 8 bits, the truth of each image)."""
    see = jax.jit(functools.partial(degrade, parse("test", text)))
    observed, truth = jax.device_get(see(images, rng.key(0, text), np.arange(len(images))))
    truths = [jax.tree.map(lambda leaf, n=n: leaf[n], truth) for n in range(len(images))]
    return classical.in_8_bits(observed), truths


@pytest.mark.parametrize("text", HELPS)
def test_best_method_of_each_kind_helps(text):
    # What is missing is black, as the digits' ground is.
    images = 1 - digits() if text.startswith("missing") else digits()
    observed, truths = damaged(text, images)
    candidates = classical.METHODS[classical.kind(text)]
    _, _, psnr = classical.choose(candidates, images, observed, truths)
    assert psnr >= classical.psnr_in_8_bits(images, observed).mean() + HELPS[text]


@pytest.mark.parametrize("text", HELPS)
def test_all_methods_take_colour_and_odd_sizes(text):
    image = np.random.default_rng(0).random((1, 21, 18, 3)).astype(np.float32)
    observed, truths = damaged(text, image)
    for candidate in classical.METHODS[classical.kind(text)]:
        restored = classical.restore(candidate, next(candidate.settings()), observed[0], truths[0])
        assert restored.shape == image[0].shape, candidate.name
        assert restored.min() >= 0, candidate.name
        assert restored.max() <= 1, candidate.name


def test_choose_finds_that_nothing_is_to_be_done():
    images = digits()
    observed, truths = damaged("gaussian_noise:0", images)
    blur = classical.Candidate("median", classical.median, {"size": (3, 5)})
    found, parameters, psnr = classical.choose([blur, classical.NONE], images, observed, truths)
    assert (found, parameters) == (classical.NONE, {})
    assert psnr == pytest.approx(58.92, abs=0.01)  # 10 log10(12 x 255^2), the cap


@pytest.mark.parametrize("rate", [1.0, 4.0, 20.0])
def test_inverse_anscombe_gives_the_mean_of_counts(rate):
    counts = np.arange(200)
    mean = (stats.poisson.pmf(counts, rate) * classical.anscombe(counts)).sum()
    # The naive inverse is 1/4 too low.
    assert classical.inverse_anscombe(mean) == pytest.approx(rate, abs=0.03)


@pytest.mark.parametrize("value", [0.0, 0.1, 0.5, 0.97])
def test_unclipped_gives_the_mean_before_the_cut(value):
    quantiles = stats.norm.ppf((np.arange(100_000) + 0.5) / 100_000)
    mean = (value + 0.2 * quantiles).clip(0, 1).mean()
    assert classical.unclipped(mean, 0.2) == pytest.approx(value, abs=1e-3)


def test_switching_median_changes_black_and_white_pixels_only():
    image = np.random.default_rng(0).uniform(0.4, 0.6, (20, 20, 1))
    observed = image.copy()
    observed[::4, ::4] = 1
    observed[2::4, 2::4] = 0
    restored = classical.switching_median(observed, {}, size=3, passes=1)
    touched = (observed == 0) | (observed == 1)
    np.testing.assert_array_equal(restored[~touched], image[~touched])
    assert abs(restored - image).max() < 0.2


@pytest.mark.parametrize("candidate", classical.INPAINTING, ids=lambda each: each.name)
def test_inpainting_keeps_what_is_there_and_continues_a_constant(candidate):
    image = np.full((16, 16, 1), 0.4, np.float32)
    mask = np.ones_like(image)
    mask[4:9, 5:11] = 0
    restored = candidate.restore(image * mask, {"mask": mask}, **next(candidate.settings()))
    np.testing.assert_allclose(restored, image, atol=2.1 / 255)


def test_biharmonic_inpainting_continues_a_ramp():
    image = np.broadcast_to(np.linspace(0, 1, 16)[:, None, None], (16, 16, 1))
    mask = np.ones_like(image)
    mask[5:9, 5:11] = 0
    np.testing.assert_allclose(classical.biharmonic(image * mask, {"mask": mask}), image, atol=1e-6)


@pytest.mark.parametrize("candidate", classical.DEBLURRING, ids=lambda each: each.name)
def test_deblurring_has_no_border(candidate):
    image = np.full((20, 17, 1), 0.4)
    kernel = stats.norm.pdf(np.arange(-3, 4))
    kernel = np.outer(kernel, kernel) / kernel.sum() ** 2
    restored = candidate.restore(image, {"kernel": kernel}, **next(candidate.settings()))
    np.testing.assert_allclose(restored, image, atol=0.01)


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize(
    ("method", "steps"), [("bilinear", 0.001), ("bicubic", 0.001), ("Lanczos", 0.15)]
)
def test_enlargement_of_a_ramp_is_the_ramp(factor, method, steps):
    # Shifted by half a pixel it would be half a step off. Lanczos keeps no ramps exactly.
    ramp = np.add.outer(np.arange(48) / 100, np.arange(48) / 120)[..., None]
    means = ramp.reshape(48 // factor, factor, -1, factor, 1).mean((1, 3))
    observed = means.repeat(factor, 0).repeat(factor, 1)
    truth = {"factor": np.float32(factor)}
    restored = classical.enlarge(observed, truth, method=method, corrections=0)
    inner = slice(4 * factor, -4 * factor)
    np.testing.assert_allclose(restored[inner, inner], ramp[inner, inner], atol=steps / 100)


def test_corrections_give_blocks_their_means():
    observed, truths = damaged("downsample:4", digits()[:1])
    restored = classical.enlarge(observed[0], truths[0], method="bicubic", corrections=30)
    means = restored.reshape(7, 4, 7, 4, 1).mean((1, 3))
    np.testing.assert_allclose(means, observed[0, ::4, ::4], atol=1e-3)


@pytest.mark.parametrize("channels", [1, 3])
def test_dark_channel_takes_constant_haze_away(channels):
    # Black within every window, but for the sky, whose brightness is the airlight.
    image = np.random.default_rng(0).uniform(0, 0.9, (24, 24, channels))
    image[::2, ::2] = 0
    image[:8, :8] = 0.9
    hazy = 0.6 * image + 0.4 * 0.9
    options = {"size": 3, "share": 1.0, "lowest": 0.1, "refined": False}
    np.testing.assert_allclose(classical.dark_channel(hazy, {}, **options), image, atol=1e-6)


def test_guided_filter_keeps_the_guide():
    image = np.random.default_rng(0).random((16, 16))
    filtered = classical.guided_filter(image, 2 * image + 1, radius=3, epsilon=1e-9)
    np.testing.assert_allclose(filtered, 2 * image + 1, atol=1e-5)


def test_gamma_correction_brings_the_mean():
    image = digits()[0] ** 3
    np.testing.assert_allclose(
        classical.lightened(image**2, {"sigma": 0.0}, strength=0.0, power=0.5), image, atol=1e-6
    )
    restored = classical.brightened(image, {"sigma": 0.0}, strength=0.0, mean=0.12)
    assert restored.mean() == pytest.approx(0.12, abs=1e-3)
