import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.fft
import scipy.ndimage
import scipy.stats

from genjax import rng
from genjax.errors import UserError
from genjax.imaging import degradations
from genjax.imaging.degradations import (
    COSINES,
    DEGRADATIONS,
    FEW_PHOTONS,
    QUANTISATION,
    Chain,
    Degradation,
    Downsample,
    GaussianBlur,
    GaussianNoise,
    Haze,
    Jpeg,
    LowLight,
    MissingBox,
    MissingHalf,
    MissingPixels,
    Mixture,
    MotionBlur,
    PoissonNoise,
    Range,
    SaltAndPepper,
    degrade,
    parse,
)

# Neither side is a multiple of a block.
SHAPE = (9, 12, 2)
KEY = jax.random.key(3)
IMAGES = jax.random.uniform(jax.random.key(0), (4, *SHAPE))
POSITIONS = jnp.arange(4)
CHAINS = (
    "gaussian_blur:0.8+downsample:2+missing_pixels:0.3",
    "motion_blur:3..5+missing_half:0.2..0.4+gaussian_noise",
)
LINEAR = (*(name for name in DEGRADATIONS if name not in ("haze", "low_light")), *CHAINS)
NOT_LINEAR = ("haze:0.5..2", "low_light", "gaussian_blur+haze", "gaussian_noise|missing_box")
ALL = (*LINEAR, *NOT_LINEAR)
# These two are in the chains.
DERIVED = tuple(name for name in LINEAR if name not in ("missing_half", "motion_blur"))


@functools.cache
def made(text):
    return parse("here", text)


@functools.cache
def compiled(text):
    return jax.jit(functools.partial(degrade, made(text)))


@functools.cache
def degraded(text):
    """(observed, truth) of `IMAGES`."""
    return compiled(text)(IMAGES, KEY, POSITIONS)


def rows(tree, number):
    return jax.tree.map(lambda leaf: leaf[number], tree)


@functools.partial(jax.jit, static_argnums=0)
def noisy(degradation, image):
    """What is seen of an image, not cut to [0, 1]."""
    truth = degradation.draw(KEY, image.shape)
    return degradation.noisy(degradation.forward(image, truth), KEY, truth)


def of_grey(degradation, value, shape=(64, 64, 1)):
    return np.asarray(noisy(degradation, jnp.full(shape, value)), np.float64)


def assert_moments(values, mean, variance):
    """Of independent values; each is off by more than 5 deviations once in a million."""
    num = values.size
    assert abs(values.mean() - mean) < 5 * np.sqrt(variance / num)
    # The variance of a sample variance, with the fourth moment as it is in the sample.
    error = np.sqrt((((values - mean) ** 2).var()) / num)
    assert abs(((values - mean) ** 2).mean() - variance) < 5 * error


# --- every degradation ---------------------------------------------------------------------------


X, Y = (jax.random.normal(jax.random.key(seed), SHAPE) for seed in (1, 2))
GREYS = jnp.stack([jnp.full(SHAPE, value) for value in (0.0, 0.4, 1.0)])


@functools.cache
def derivatives(text):
    """In one program, for one truth:

    slopes of <Y, what is seen> at `GREYS`, and of a linear degradation A Y, A (2 X - 3 Y), A X and
    A' Y.
    """
    degradation = made(text)

    @jax.jit
    def all_at_once(key):
        truth = degradation.draw(key, SHAPE)
        forward = lambda image: degradation.forward(image, truth)
        uncut = lambda image: (degradation.noisy(forward(image), KEY, truth) * Y).sum()
        whole = lambda image: (degradation(image, KEY)[0] * Y).sum()
        # Several together are noisy as a whole only.
        several = isinstance(degradation, Chain | Mixture)
        slopes = jax.vmap(jax.grad(whole if several else uncut))(GREYS)
        if not degradation.linear:
            return (slopes,)
        forth = jax.vmap(forward)(jnp.stack([Y, 2 * X - 3 * Y, X]))
        return slopes, *forth, degradation.adjoint(Y, truth)

    return all_at_once(KEY)


@pytest.mark.parametrize("text", DERIVED)
def test_the_adjoint_of_a_linear_degradation_is_its_own(text):
    slopes, ay, both, ax, back = derivatives(text)
    np.testing.assert_allclose((ax * Y).sum(), (X * back).sum(), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(both, 2 * ax - 3 * ay, atol=1e-5)
    if "salt" not in text and "+" not in text:
        # Noise, and rounding, let the gradient through.
        np.testing.assert_allclose(slopes[1], back, atol=1e-5)


@pytest.mark.parametrize("text", NOT_LINEAR)
def test_what_is_not_linear_has_no_adjoint(text):
    assert not made(text).linear
    with pytest.raises(TypeError, match="is not linear and has no adjoint"):
        made(text).adjoint(IMAGES[0], {})


@pytest.mark.parametrize("text", DERIVED + NOT_LINEAR)
def test_gradients_are_finite_from_black_to_white(text):
    slopes, *_ = derivatives(text)
    assert jnp.isfinite(slopes).all()
    assert jnp.abs(slopes[1]).max() > 0.01


@pytest.mark.parametrize("text", ALL)
def test_an_images_draws_belong_to_its_position(text):
    observed, truth = degraded(text)
    assert observed.shape == IMAGES.shape
    assert ((observed >= 0) & (observed <= 1)).all()
    # The same program, for other rows in another order.
    order = jnp.array([3, 2, 2, 0])
    again = compiled(text)(IMAGES[order], KEY, POSITIONS[order])
    jax.tree.map(np.testing.assert_array_equal, again, rows((observed, truth), order))


def test_one_images_draws_are_those_in_a_batch():
    text = "missing_box:0.2..0.5"
    alone = compiled(text)(IMAGES[2:3], KEY, POSITIONS[2:3])
    # Compiled for another batch, sums may be taken in another order.
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    jax.tree.map(close, alone, rows(degraded(text), slice(2, 3)))


@pytest.mark.parametrize(
    "text", sorted(set(ALL) - {"none", "downsample", "gaussian_blur", "jpeg", CHAINS[0]})
)
def test_draws_differ_from_position_to_position_and_by_key(text):
    same = jnp.stack([IMAGES[0]] * 4)
    seen, _ = compiled(text)(same, KEY, POSITIONS)
    other, _ = compiled(text)(same, jax.random.key(4), POSITIONS)
    assert any((seen[0] != each).any() for each in seen[1:])
    assert (other != seen).any()


@pytest.mark.parametrize(
    "text", ["none", "missing_box", "gaussian_blur", "motion_blur", "downsample", "haze:0.5..2"]
)
def test_the_truth_explains_what_is_seen_where_there_is_no_noise(text):
    observed, truth = degraded(text)
    again = jax.jit(jax.vmap(made(text).forward))(IMAGES, truth)
    np.testing.assert_allclose(observed, again.clip(0, 1), atol=1e-6)


@pytest.mark.parametrize("name", ["missing_pixels", "missing_box", "missing_half"])
def test_holes_are_black_and_the_rest_is_as_it_was(name):
    observed, truth = degraded(name)
    mask = np.asarray(truth["mask"])
    assert mask.shape == (4, *SHAPE[:2], 1)
    assert set(np.unique(mask)) == {0, 1}
    np.testing.assert_array_equal(observed, np.asarray(IMAGES) * mask)


def test_a_parameter_is_drawn_evenly_from_its_range_and_a_number_is_that_number():
    draw = lambda text: jax.jit(jax.vmap(lambda key: made(text).draw(key, SHAPE)["sigma"]))
    keys = jax.random.split(KEY, 2000)
    drawn = draw("gaussian_noise:0.1..0.3")(keys)
    assert scipy.stats.kstest(drawn, scipy.stats.uniform(0.1, 0.2).cdf).pvalue > 1e-3
    np.testing.assert_array_equal(draw("gaussian_noise:0.1")(keys), np.float32(0.1))


def test_parameters_are_drawn_independently():
    truth = jax.vmap(lambda key: made("low_light:1..2,0..1").draw(key, SHAPE))(
        jax.random.split(KEY, 2000)
    )
    # A correlation of independent draws is about 1 / sqrt(n).
    assert abs(np.corrcoef(truth["gamma"], truth["sigma"])[0, 1]) < 5 / np.sqrt(2000)


# --- noise ---------------------------------------------------------------------------------------


def test_gaussian_noise_has_the_deviation_that_the_truth_says():
    noise = of_grey(GaussianNoise(Range(0.2, 0.2)), 0.5) - 0.5
    assert_moments(noise, 0, 0.2**2)
    assert scipy.stats.kstest(noise.ravel() / 0.2, "norm").pvalue > 1e-3
    np.testing.assert_allclose(degraded("gaussian_noise")[1]["sigma"], 0.1, rtol=1e-6)


@pytest.mark.parametrize("peak", [2, FEW_PHOTONS, FEW_PHOTONS + 1])
def test_photons_are_as_many_as_their_variance(peak):
    # A row for each grey.
    greys = np.array([0.0, 0.02, 0.4, 1.0])
    image = jnp.tile(jnp.array(greys)[:, None, None], (1, 4096, 1))
    seen = np.asarray(noisy(PoissonNoise(Range(peak, peak)), image), np.float64)[..., 0]
    np.testing.assert_allclose(seen * peak, np.round(seen * peak), atol=1e-3)
    assert (seen[0] == 0).all()
    for grey, row in zip(greys[1:], seen[1:], strict=True):
        assert_moments(row, grey, grey / peak)
        counts = np.round(row * peak)
        # And the whole distribution: sup |difference| sqrt(n) is above 1.95 once in 1000.
        levels = np.arange(int(counts.max()) + 2)
        below = np.searchsorted(np.sort(counts), levels + 0.5) / counts.size
        expected = scipy.stats.poisson.cdf(levels, grey * peak)
        assert np.abs(below - expected).max() < 1.95 / np.sqrt(4096)


def test_salt_and_pepper_come_in_equal_shares_and_in_all_channels():
    seen = of_grey(SaltAndPepper(Range(0.3, 0.3)), 0.5, (64, 64, 3))
    assert (seen == seen[..., :1]).all()
    assert set(np.unique(seen)) == {0, 0.5, 1}
    for value, share in ((0, 0.15), (1, 0.15), (0.5, 0.7)):
        count = (seen[..., 0] == value).sum()
        assert abs(count - 4096 * share) < 5 * np.sqrt(4096 * share * (1 - share))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("gaussian_noise:0.2", 0.5),
        ("poisson_noise:20", 0.7),
        ("low_light:2,0.05", 0.6),
    ],
)
def test_the_noise_variance_is_that_of_the_noise(text, value):
    degradation, image = made(text), jnp.full((64, 64, 1), value)
    truth = degradation.draw(KEY, image.shape)
    seen = degradation.forward(image, truth)
    expected = degradation.noise_variance(seen, seen, jnp.zeros_like(image), truth)
    np.testing.assert_allclose(expected, expected[0, 0, 0], rtol=1e-6)
    values = np.asarray(noisy(degradation, image), np.float64)
    assert_moments(values, float(seen[0, 0, 0]), float(expected[0, 0, 0]))


def test_noise_after_noise_has_the_sum_of_the_variances():
    chain, image = made("gaussian_noise:0.03+gaussian_noise:0.04"), jnp.full((64, 64, 1), 0.5)
    truth = chain.known(image.shape)
    variance = chain.noise_variance(image, image, image, truth)
    np.testing.assert_allclose(variance, 0.05**2, rtol=1e-5)
    assert_moments(np.asarray(chain(image, KEY)[0], np.float64), 0.5, 0.05**2)


@pytest.mark.parametrize("text", ["none", "missing_box", "downsample", "haze:0.5..2"])
def test_without_noise_there_is_no_variance(text):
    (observed, truth), image = degraded(text), IMAGES[0]
    variance = made(text).noise_variance(observed[0], image, image, rows(truth, 0))
    assert variance.shape == SHAPE
    assert (variance == 0).all()


def test_black_and_white_count_by_how_likely_salt_and_pepper_are():
    # What the image lies around m with variance s, and the pixel is 0: by Bayes it is as it was
    # with P = a / (a + b), a = 0.8 N(0; m, s) / 255, b = 0.1. The gain s / (s + R) is that P.
    degradation, truth = SaltAndPepper(), {"amount": jnp.array(0.2)}
    observed = jnp.array([0.0, 0.0, 1.0, 0.3]).reshape(1, 4, 1)
    mean = jnp.array([0.02, 0.3, 0.95, 0.9]).reshape(1, 4, 1)
    spread = jnp.full_like(mean, 0.01)
    variance = np.ravel(degradation.noise_variance(observed, mean, spread, truth))
    untouched = 0.8 * scipy.stats.norm.pdf(np.ravel(observed), np.ravel(mean), 0.1) / 255
    as_it_was = untouched / (untouched + 0.1)
    # The variance that is always there, 1e-4, beside the spread of 1e-2.
    np.testing.assert_allclose(0.01 / (0.01 + variance[:3]), as_it_was[:3], rtol=0.06, atol=1e-4)
    assert variance[3] == 0


# --- holes ---------------------------------------------------------------------------------------


def masks(degradation, shape, num):
    draw = lambda key: degradation.draw(key, shape)["mask"][..., 0]
    return np.asarray(jax.jit(jax.vmap(draw))(jax.random.split(KEY, num)))


def test_pixels_are_missing_independently_with_the_share():
    missing = 1 - masks(MissingPixels(Range(0.3, 0.3)), (16, 16, 1), 64)
    assert_moments(missing, 0.3, 0.3 * 0.7)
    # Of two neighbours, both with probability 0.09.
    both = missing[:, 1:] * missing[:, :-1]
    assert abs(both.mean() - 0.09) < 5 * np.sqrt(0.09 * 0.91 / both.size * 2)


@pytest.mark.parametrize("size", [0.3, 0.5, 0.77])
def test_a_box_is_missing_whole_and_anywhere_it_fits(size):
    height, width = 12, 10
    missing = masks(MissingBox(Range(size, size)), (height, width, 3), 400) == 0
    sides = {}
    for axis, length in ((2, height), (1, width)):
        along = missing.any(axis)
        # A box of side s covers the centres of floor or ceil of s N pixels; were it cut off by the
        # border, they would be fewer.
        sides[axis] = along.sum(1)
        assert set(sides[axis]) <= {int(size * length), int(np.ceil(size * length))}
        starts = along.argmax(1)
        fewest = int(np.ceil(size * length))
        assert set(starts) >= set(range(length - fewest + 1))
        # Uniform over where it fits: the mean of the middles is the image's.
        middles = starts + sides[axis] / 2
        spread = (1 - size) * length / np.sqrt(12)
        assert abs(middles.mean() - length / 2) < 5 * spread / np.sqrt(400)
    # It is a box: as large as its two sides.
    np.testing.assert_array_equal(missing.sum((1, 2)), sides[1] * sides[2])


def test_a_half_is_missing_at_each_side_as_often():
    missing = masks(MissingHalf(Range(0.25, 0.25)), (8, 12, 1), 800) == 0
    top, left = np.zeros((8, 12), bool), np.zeros((8, 12), bool)
    top[:2], left[:, :3] = True, True
    for half in (top, top[::-1], left, left[:, ::-1]):
        count = (missing == half).all((1, 2)).sum()
        assert abs(count - 200) < 5 * np.sqrt(800 * 0.25 * 0.75)


@pytest.mark.parametrize("make", [MissingPixels, MissingBox, MissingHalf])
def test_the_share_may_be_all_or_nothing(make):
    @jax.jit
    @jax.vmap
    def mask(key, share):
        return make().mask(key, SHAPE[:2], {"share": share, "size": share})

    shares = jnp.repeat(jnp.array([0.0, 1.0]), 20)
    masks = mask(jax.random.split(KEY, 40), shares)
    assert masks[:20].all()
    assert not masks[20:].any()


# --- blur ----------------------------------------------------------------------------------------


def kernel_of(degradation, **truth):
    kernel = np.asarray(degradation.kernel({k: jnp.float32(v) for k, v in truth.items()}))
    kernel = kernel.astype(np.float64)
    places = np.arange(len(kernel)) - len(kernel) // 2
    np.testing.assert_allclose(kernel.sum(), 1, rtol=1e-5)
    np.testing.assert_allclose(kernel, kernel[::-1, ::-1], atol=1e-6)
    return kernel, places


@pytest.mark.parametrize("sigma", [1, 2.5])
def test_the_gaussian_kernels_second_moment_is_the_variance(sigma):
    kernel, places = kernel_of(GaussianBlur(Range(sigma, sigma)), sigma=sigma)
    # Three deviations to each side hold at least 97.3% of the variance of the whole.
    moment = (kernel.sum(0) * places**2).sum()
    assert 0.97 * sigma**2 < moment < 1.001 * sigma**2
    np.testing.assert_allclose(kernel, kernel.T, atol=1e-7)
    np.testing.assert_allclose((kernel * np.outer(places, places)).sum(), 0, atol=1e-6)
    # e^(-1/2) of the middle, one deviation away: at whole deviations.
    if sigma == int(sigma):
        middle = len(kernel) // 2
        ratio = kernel[middle, middle + int(sigma)] / kernel[middle, middle]
        np.testing.assert_allclose(ratio, np.exp(-0.5), rtol=1e-5)


def test_one_program_blurs_by_every_sigma_of_a_range():
    # The size of the kernel is that of the highest; what lies beyond a smaller one's is next to 0.
    wide, _ = kernel_of(GaussianBlur(Range(0.5, 2)), sigma=1)
    narrow, _ = kernel_of(GaussianBlur(), sigma=1)
    margin = (len(wide) - len(narrow)) // 2
    np.testing.assert_allclose(wide[margin:-margin, margin:-margin], narrow, atol=1e-3)


@pytest.mark.parametrize("length", [3, 9.5])
@pytest.mark.parametrize("angle", [0, 30, 45, 90, 135, 300])
def test_the_motion_kernel_is_a_line_of_its_length_and_angle(length, angle):
    kernel, places = kernel_of(MotionBlur(Range(length, length)), length=length, angle=angle)
    right, up = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    x, y = places[None, :], -places[:, None]
    along, across = x * right + y * up, -x * up + y * right
    # An even line has length^2 / 12. A point at a share f between two pixels has f (1 - f) more,
    # on average 1/6, in each direction that is not along the grid; and ends of weight 1 for 1/2
    # make a line of n points wider by (n + 1) / (n - 1).
    num = 8 * np.ceil(length / 2) + 1
    line = length**2 / 12 * (num + 1) / (num - 1)
    assert line - 1e-3 < (kernel * along**2).sum() < line + 0.25
    across = (kernel * across**2).sum()
    assert across < 1e-6 if angle in (0, 90) else 0.08 < across < 0.25


@pytest.mark.parametrize("length", [1, 3.2])
def test_a_motion_along_the_grid_reaches_half_its_length_to_each_side(length):
    kernel, places = kernel_of(MotionBlur(Range(length, length)), length=length, angle=90)
    # The angle's cosine is 0 to float32.
    np.testing.assert_allclose(kernel[:, places != 0], 0, atol=1e-6)
    column = kernel[:, places == 0].ravel()
    assert (column[np.abs(places) >= length / 2 + 1] == 0).all()
    assert (column[np.abs(places) < length / 2] > 0.01).all()


def test_blurring_is_the_convolution_with_the_edge_going_on():
    # Even where the kernel is larger than the image, and not symmetric.
    kernel = jax.random.uniform(KEY, (31, 31))
    got = jax.jit(degradations._convolve)(IMAGES[0], kernel / kernel.sum())
    image, kernel = np.asarray(IMAGES[0], np.float64), np.asarray(kernel / kernel.sum(), np.float64)
    for channel in range(SHAPE[2]):
        expected = scipy.ndimage.convolve(image[..., channel], kernel, mode="nearest")
        np.testing.assert_allclose(got[..., channel], expected, atol=2e-6)


@pytest.mark.parametrize("factor", [2, 4])
def test_downsampling_takes_the_means_of_blocks(factor):
    degradation = Downsample(Range(factor, factor))
    image = np.asarray(jax.random.uniform(KEY, (8, 12, 3)))
    got = noisy(degradation, image)
    for row, column in itertools.product(range(8), range(12)):
        top, left = row - row % factor, column - column % factor
        mean = image[top : top + factor, left : left + factor].mean((0, 1))
        np.testing.assert_allclose(got[row, column], mean, rtol=1e-5)
    assert degradation.block == factor
    assert degradation.repeats({}) == factor**2


def test_a_downsampled_ramp_is_a_staircase():
    ramp = jnp.tile(jnp.arange(8.0)[None, :, None], (4, 1, 1)) / 8
    got = noisy(Downsample(Range(4, 4)), ramp)[0, :, 0]
    np.testing.assert_allclose(got, [1.5 / 8] * 4 + [5.5 / 8] * 4)


def test_a_block_that_reaches_over_the_border_has_the_edge_for_what_is_missing():
    image = jnp.arange(9.0).reshape(3, 3, 1)
    got = noisy(Downsample(), image)[..., 0]
    # Of rows (0 1 | 2), (3 4 | 5), (6 7 | 8).
    np.testing.assert_allclose(got, [[2, 2, 3.5], [2, 2, 3.5], [6.5, 6.5, 8]])


# --- light ---------------------------------------------------------------------------------------


def test_haze_by_hand():
    # Halfway transmitted: half the image and half the airlight.
    truth = {"transmission": jnp.full((1, 1, 1), 0.5), "airlight": jnp.array(0.8)}
    np.testing.assert_allclose(Haze().forward(jnp.full((1, 1, 3), 0.2), truth), 0.5, rtol=1e-6)


def test_haze_thickens_with_depth_which_varies_over_the_image():
    observed, truth = degraded("haze:0.5..2")
    depth, transmission = np.asarray(truth["depth"]), np.asarray(truth["transmission"])
    assert depth.shape == (4, *SHAPE[:2], 1)
    np.testing.assert_allclose(depth.min((1, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(depth.max((1, 2, 3)), 1, atol=1e-6)
    assert (depth.std((1, 2, 3)) > 0.1).all()
    beta = np.asarray(truth["beta"]).reshape(-1, 1, 1, 1)
    np.testing.assert_allclose(transmission, np.exp(-beta * depth), rtol=1e-5)
    airlight = np.asarray(truth["airlight"]).reshape(-1, 1, 1, 1)
    assert ((airlight >= 0.8) & (airlight <= 1)).all()
    expected = transmission * IMAGES + (1 - transmission) * airlight
    np.testing.assert_allclose(observed, expected, rtol=1e-5)


def test_little_light_is_a_power_and_noise():
    image = jnp.array([0.25, 0.5, 1.0]).reshape(1, 3, 1)
    dark = LowLight().forward(image, {"gamma": jnp.array(2.0)})
    np.testing.assert_allclose(np.ravel(dark), [1 / 16, 1 / 4, 1], rtol=1e-5)
    assert_moments(of_grey(LowLight(Range(2, 2), Range(0.1, 0.1)), 0.5), 0.25, 0.1**2)


# --- coding --------------------------------------------------------------------------------------


@jax.jit
def jpeg(image, quality):
    return Jpeg().noisy(image, KEY, {"quality": jnp.asarray(quality)})


def test_the_cosine_transform_is_orthonormal_and_scipys():
    np.testing.assert_allclose(COSINES @ COSINES.T, np.eye(8), atol=1e-12)
    np.testing.assert_allclose(COSINES, scipy.fft.dct(np.eye(8), axis=0, norm="ortho"), atol=1e-12)


def test_the_best_quality_rounds_to_whole_steps_of_one_level():
    # Each coefficient is off by at most half a level of 255; the transform keeps squared lengths.
    image = np.asarray(jax.random.uniform(KEY, (32, 32, 1)))
    error = 255 * (jpeg(image, 100.0) - image)
    rmse = np.sqrt((error**2).mean())
    assert 0 < rmse <= 0.5
    # Even errors of one step: 1 / sqrt(12).
    np.testing.assert_allclose(rmse, 12**-0.5, rtol=0.1)


@pytest.mark.parametrize("quality", [10.0, 50.0, 75.0])
def test_jpegs_coefficients_are_whole_steps(quality):
    # libjpeg's scale: 5000 / quality percent below 50, from there 200 - 2 quality.
    scale = {10.0: 5.0, 50.0: 1.0, 75.0: 0.5}[quality]
    image = np.asarray(jax.random.uniform(KEY, (8, 8, 1)), np.float64)
    steps = np.clip(QUANTISATION * scale, 1, 255)
    coefficients = scipy.fft.dctn(255 * image[..., 0] - 128, norm="ortho") / steps
    expected = (scipy.fft.idctn(np.round(coefficients) * steps, norm="ortho") + 128) / 255
    np.testing.assert_allclose(jpeg(image, quality)[..., 0], expected, atol=1e-5)


def test_jpegs_error_grows_as_the_quality_falls():
    smooth = jnp.sin(jnp.arange(24) / 3)[:, None] * jnp.cos(jnp.arange(17) / 2)
    image = np.asarray(0.5 + 0.4 * smooth)[..., None]
    errors = [np.abs(jpeg(image, float(q)) - image).mean() for q in (95, 70, 40, 15, 2)]
    assert errors == sorted(errors)
    assert errors[0] < 0.02 < errors[-1]


@pytest.mark.parametrize("quality", [1.0, 10.0, 50.0, 90.0])
def test_an_even_block_survives_to_half_a_step(quality):
    # Of its one coefficient, 8 (255 x - 128), which is in steps of 16 times the quality's scale.
    scale = 50 / quality if quality < 50 else 2 - quality / 50
    step = np.clip(16 * scale, 1, 255) / 8 / 255
    values = np.linspace(0, 1, 9)
    seen = jpeg(np.tile(values[:, None, None, None], (1, 8, 8, 1)).reshape(72, 8, 1), quality)
    seen = seen.reshape(9, 64)
    np.testing.assert_allclose(seen, seen[:, :1].repeat(64, 1), atol=1e-5)
    assert (np.abs(seen[:, 0] - values) <= step / 2 + 1e-5).all()


def test_jpegs_variance_is_that_of_rounding_where_the_image_has_all_frequencies():
    # At quality 100 all steps are one level.
    image = jax.random.uniform(KEY, (32, 32, 1))
    truth = {"quality": jnp.array(100.0)}
    expected = Jpeg().noise_variance(image, image, image, truth)
    np.testing.assert_allclose(expected, 1 / 255**2 / 12, rtol=1e-5)
    error = jpeg(image, 100.0) - np.asarray(image)
    np.testing.assert_allclose((error**2).mean(), expected[0, 0, 0], rtol=0.1)


# --- what is known -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("none", {}),
        ("gaussian_noise:0.2", {"sigma": 0.2}),
        ("poisson_noise:8", {"peak": 8}),
        ("salt_and_pepper:0.3", {"amount": 0.3}),
        ("downsample:4", {"factor": 4}),
        ("low_light:3,0.1", {"gamma": 3, "sigma": 0.1}),
        ("jpeg:30", {"quality": 30}),
    ],
)
def test_what_is_known_are_the_parameters(text, expected):
    known = made(text).known(SHAPE)
    assert known.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(known[name], value, rtol=1e-6)


@pytest.mark.parametrize("text", ["gaussian_blur:2", "motion_blur:5,30"])
def test_of_a_blur_the_kernel_is_known_too(text):
    known, drawn = made(text).known(SHAPE), made(text).draw(KEY, SHAPE)
    assert known.keys() == drawn.keys()
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), known, drawn)


@pytest.mark.parametrize("text", ["missing_pixels", "missing_box:0.1..0.5", "missing_half"])
def test_of_holes_the_mask_is_all_to_know(text):
    mask = jnp.zeros((*SHAPE[:2], 1)).at[2:5].set(1)
    known = made(text).known(SHAPE, mask)
    np.testing.assert_array_equal(made(text).forward(IMAGES[0], known), IMAGES[0] * mask)
    with pytest.raises(UserError, match=rf"^--mask: is missing; '{text.partition(':')[0]}'"):
        made(text).known(SHAPE)


def test_of_a_chain_each_ones_is_known():
    mask = jnp.ones((*SHAPE[:2], 1))
    chain = made("gaussian_blur+missing_box+gaussian_noise:0.2")
    blur, box, noise = chain.known(SHAPE, mask)
    assert (blur.keys(), box.keys()) == ({"sigma", "kernel"}, {"mask"})
    np.testing.assert_allclose(noise["sigma"], 0.2)
    with pytest.raises(UserError, match=r"^--mask"):
        chain.known(SHAPE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gaussian_noise:0.1..0.3", r"gaussian_noise: sigma is drawn from 0\.1 to 0\.3;.*name the"),
        ("low_light:2,0.1..0.2", r"low_light: sigma is drawn from 0\.1 to 0\.2"),
        ("motion_blur:5", r"motion_blur: angle is drawn from 0 to 180"),
        ("haze:1,1", r"haze: how thick it is at each pixel is not known"),
        ("gaussian_noise+jpeg:10..20", r"jpeg: quality is drawn from 10 to 20"),
        ("jpeg|haze", r"is one of several"),
    ],
)
def test_what_can_not_be_known_is_said_in_one_line(text, message):
    with pytest.raises(UserError, match=rf"^--degradation: .*{message}") as error:
        made(text).known(SHAPE)
    assert "\n" not in str(error.value)


# --- put together --------------------------------------------------------------------------------


def test_a_mixture_is_each_of_its_choices_as_often():
    mixture, num = made("none|downsample:2|missing_half:0.5+downsample:4"), 600
    image = IMAGES[0]
    images = jnp.broadcast_to(image, (num, *SHAPE))
    seen, truth = jax.jit(functools.partial(degrade, mixture))(images, KEY, jnp.arange(num))
    counts = np.bincount(truth["choice"], minlength=3)
    assert (np.abs(counts - 200) < 5 * np.sqrt(num * 2 / 9)).all()

    @jax.jit
    @jax.vmap
    def each(position):
        key = rng.stream(jax.random.fold_in(KEY, position), "own")
        return jnp.stack([choice(image, key)[0] for choice in mixture.choices])

    expected = np.asarray(each(jnp.arange(num)))[np.arange(num), truth["choice"]]
    np.testing.assert_allclose(seen, expected, atol=1e-6)
    # Half of each image of the third kind is missing, and nothing of the others.
    there = np.asarray(jax.vmap(mixture.present)(images, truth))
    assert there.shape == (num, *SHAPE[:2], 1)
    shares = there.mean((1, 2, 3))
    assert (shares[truth["choice"] != 2] == 1).all()
    assert (np.abs(shares[truth["choice"] == 2] - 0.5) < 0.06).all()


def test_what_is_present_is_what_no_stage_of_a_chain_lost():
    image = IMAGES[0]
    for text in ("none", "gaussian_blur:1+gaussian_noise:0.1", "haze", "jpeg"):
        _, truth = made(text)(image, KEY)
        np.testing.assert_array_equal(made(text).present(image, truth), np.ones((*SHAPE[:2], 1)))
    chain = made("missing_half:0.5+gaussian_noise:0.1+missing_pixels:0.5")
    _, truth = chain(image, KEY)
    both = np.asarray(truth[0]["mask"]) * np.asarray(truth[2]["mask"])
    assert 0.1 < both.mean() < 0.4
    np.testing.assert_array_equal(chain.present(image, truth), both)


def test_the_order_of_a_chain_matters():
    noise, holes = "gaussian_noise:0.2", "missing_pixels:0.5"
    seen, (truth, _) = degraded(f"{holes}+{noise}")
    black = np.broadcast_to(truth["mask"] == 0, seen.shape)
    # Noise on black is cut off at 0 half the time.
    assert abs((np.asarray(seen)[black] > 0).mean() - 0.5) < 0.15
    seen, (_, truth) = degraded(f"{noise}+{holes}")
    assert (np.asarray(seen)[np.broadcast_to(truth["mask"] == 0, seen.shape)] == 0).all()


def test_a_chain_goes_from_first_to_last():
    # Two pixels of a checkerboard: block means first, and the mask halves them; or the mask first.
    image, mask = jnp.ones((2, 2, 1)), jnp.array([[1.0, 0], [0, 1]])[..., None]
    means, holes = made("downsample:2"), made("missing_pixels")
    truth = {"factor": jnp.array(2.0)}, {"mask": mask}
    np.testing.assert_allclose(Chain((means, holes)).forward(image, truth), mask)
    np.testing.assert_allclose(Chain((holes, means)).forward(image, truth[::-1]), 0.5)


def test_a_chain_is_what_its_stages_are():
    assert made("gaussian_noise+missing_box").pointwise
    assert not made("gaussian_noise+gaussian_blur").pointwise
    coarse = made("downsample:2+downsample:4+none")
    assert coarse.block == 4
    assert coarse.repeats(({}, {}, {})) == 16


@pytest.mark.parametrize(
    ("text", "width"),
    [
        # A normal density's square has the integral 1 / (4 pi sigma^2).
        ("gaussian_blur:2", 2 * np.sqrt(4 * np.pi)),
        ("gaussian_blur:1+gaussian_noise:0.1", np.sqrt(4 * np.pi)),
        ("gaussian_blur:2+downsample:2", 2 * np.sqrt(4 * np.pi)),
        ("gaussian_blur:1+downsample:4", 16),
        # Along an axis, of 16 pixels each 1/16, but for the ends.
        ("motion_blur:length=16,angle=0", 4),
    ],
)
def test_neighbours_repeat_one_another_over_a_kernels_width(text, width):
    degradation = made(text)
    truth = degradation.known(SHAPE)
    assert float(degradation.repeats(truth)) == pytest.approx(width, rel=0.03)
    assert degradation.block == (int(text[-1]) if "downsample" in text else 1)
    assert not made("jpeg+low_light").linear


# --- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("none", Degradation()),
        ("gaussian_noise", GaussianNoise(Range(0.1, 0.1))),
        ("gaussian_noise:0.2", GaussianNoise(Range(0.2, 0.2))),
        ("gaussian_noise:sigma=0.2", GaussianNoise(Range(0.2, 0.2))),
        ("haze:0.5..2,airlight=.9", Haze(Range(0.5, 2), Range(0.9, 0.9))),
        ("haze:airlight=0.9, 1", Haze(Range(1, 1), Range(0.9, 0.9))),
        (" motion_blur : 9 , 30 .. 60 ", MotionBlur(Range(9, 9), Range(30, 60))),
        ("jpeg:5..5", Jpeg(Range(5, 5))),
        ("downsample:8", Downsample(Range(8, 8))),
        ("jpeg + missing_box:.5", Chain((Jpeg(), MissingBox(Range(0.5, 0.5))))),
        ("jpeg:", Jpeg()),
        ("jpeg|none", Mixture((Jpeg(), Degradation()))),
        (
            "gaussian_blur:2+jpeg|missing_half",
            Mixture((Chain((GaussianBlur(Range(2, 2)), Jpeg())), MissingHalf())),
        ),
    ],
)
def test_a_text_names_a_degradation(text, expected):
    assert parse("here", text) == expected
    assert eval(repr(expected), vars(degradations)) == expected
    assert hash(parse("here", text)) == hash(expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gausian_noise", r"no such choice 'gausian_noise'; did you mean 'gaussian_noise'\?"),
        ("jpeg+hase", r"no such choice 'hase'; did you mean 'haze'\?"),
        ("jpeg|", r"no such choice ''"),
        ("haze:bet=1", r"haze: no such parameter 'bet'; did you mean 'beta'\?"),
        ("gaussian_noise:0.1,0.2", r"gaussian_noise: no such parameter '0\.2'; choose from sigma"),
        ("none:1", r"none: no such parameter '1'"),
        ("gaussian_noise:1.5", r"gaussian_noise: sigma: 1\.5 is not a deviation from 0 to 1"),
        ("gaussian_noise:0.1..2", r"gaussian_noise: sigma: 2 is not a deviation from 0 to 1"),
        ("missing_box:3", r"missing_box: size: 3 is not a share from 0 to 1"),
        ("poisson_noise:0", r"poisson_noise: peak: 0 is not a number of photons above 0"),
        ("gaussian_blur:65", r"gaussian_blur: sigma: 65 is not a number of pixels"),
        ("motion_blur:5,361", r"motion_blur: angle: 361 is not an angle"),
        ("jpeg:0", r"jpeg: quality: 0 is not a quality from 1 to 100"),
        ("downsample:3", r"downsample: factor: 3 is not 2, 4 or 8"),
        ("downsample:2..4", r"downsample: factor is one number, not a range"),
        ("jpeg:high", r"jpeg: quality: 'high' is no number; write"),
        ("jpeg:-5", r"jpeg: quality: -5 is not a quality from 1 to 100"),
        ("jpeg:nan", r"jpeg: quality: 'nan' is no number"),
        ("jpeg:1..2..3", r"jpeg: quality: '1\.\.2\.\.3' is no number"),
        ("jpeg:quality=", r"jpeg: quality: '' is no number"),
        ("jpeg:30..10", r"jpeg: quality: '30\.\.10' runs downwards; try 10\.\.30"),
        ("jpeg:30,quality=40", r"jpeg: quality is given twice"),
        ("haze:beta=1,beta=2", r"haze: beta is given twice"),
    ],
)
def test_a_text_that_names_none_is_refused_in_one_line(text, message):
    with pytest.raises(UserError, match=rf"^here: {message}") as error:
        parse("here", text)
    assert "\n" not in str(error.value)


def test_every_name_is_made_without_a_parameter():
    for name, make in DEGRADATIONS.items():
        assert type(parse("here", name)) is make
