import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats
from jaxtyping import TypeCheckError

from genjax.errors import UserError
from genjax.losses.likelihoods import (
    LIKELIHOODS,
    Bernoulli,
    DiscretizedLogistic,
    Gaussian,
    GlobalGaussian,
    PixelGaussian,
)

SHAPE = (4, 5, 3, 2)
IMAGE = jnp.round(255 * jax.random.uniform(jax.random.key(0), SHAPE)) / 255


def outputs_for(likelihood, shape=SHAPE, scale=1.0):
    *rest, channels = shape
    outputs = (*rest, channels * likelihood.outputs_per_channel)
    return scale * jax.random.normal(jax.random.key(1), outputs)


def log_prob_of(name, outputs, image):
    likelihood = LIKELIHOODS[name]()
    return jax.jit(likelihood.log_prob)(likelihood.init(), outputs, image)


def pixel(*values):
    return jnp.array(values, jnp.float32).reshape(1, 1, 1, -1)


def test_bernoulli_is_minus_the_cross_entropy():
    logits = outputs_for(Bernoulli(), scale=5.0)
    expected = -optax.sigmoid_binary_cross_entropy(logits, IMAGE).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(log_prob_of("bernoulli", logits, IMAGE), expected, rtol=1e-6)


def test_bernoulli_of_one_pixel_by_hand():
    # P(1) = sigmoid(log 3) = 3/4.
    logits = pixel(np.log(3))
    np.testing.assert_allclose(log_prob_of("bernoulli", logits, pixel(1)), np.log(3 / 4), rtol=1e-6)
    np.testing.assert_allclose(log_prob_of("bernoulli", logits, pixel(0)), np.log(1 / 4), rtol=1e-6)


@pytest.mark.parametrize("log_scale", [-3.0, 0.0, 1.0])
def test_gaussians_are_the_normal_density_around_the_mean(log_scale):
    logits = outputs_for(Gaussian())
    expected = scipy.stats.norm.logpdf(IMAGE, jax.nn.sigmoid(logits), np.exp(log_scale))
    expected = expected.sum(axis=(1, 2, 3))
    fixed = Gaussian(scale=float(np.exp(log_scale))).log_prob({}, logits, IMAGE)
    learned = GlobalGaussian().log_prob({"log_scale": jnp.array(log_scale)}, logits, IMAGE)
    # Far above its bound, the soft clip changes nothing.
    outputs = jnp.concatenate([logits, jnp.full(SHAPE, log_scale)], axis=-1)
    per_pixel = PixelGaussian(min_log_scale=-30.0).log_prob({}, outputs, IMAGE)
    for log_prob in (fixed, learned, per_pixel):
        np.testing.assert_allclose(log_prob, expected, rtol=1e-5)


def test_best_global_scale_is_the_root_mean_squared_error():
    # The sigma-VAE's closed form: d/d(log sigma) is zero where sigma^2 is the mean squared error.
    logits = outputs_for(GlobalGaussian())
    rmse = jnp.sqrt(jnp.square(IMAGE - jax.nn.sigmoid(logits)).mean())
    total = lambda s: GlobalGaussian().log_prob({"log_scale": s}, logits, IMAGE).mean()
    slope = jax.jit(jax.grad(total))
    np.testing.assert_allclose(slope(jnp.log(rmse)), 0.0, atol=1e-4)
    assert slope(jnp.log(2 * rmse)) < 0 < slope(jnp.log(rmse / 2))


def test_pixel_gaussian_is_bounded_on_a_perfectly_known_pixel():
    bound = 6 - 0.5 * np.log(2 * np.pi)
    densities = [
        log_prob_of("pixel_gaussian", pixel(0, log_scale), pixel(0.5))[0]
        for log_scale in (-4.0, -6.0, -8.0, -100.0)
    ]
    assert densities == sorted(densities)
    assert densities[-1] <= bound + 1e-5
    np.testing.assert_allclose(densities[-1], bound, rtol=1e-5)


def test_discretized_logistic_is_a_distribution_over_256_levels():
    location, log_scale = np.meshgrid([-1.7, -1.0, -0.3, 0.5, 1.2], [-9.0, -5.0, -2.0, 1.0, 6.0])
    # One example for each level, one pixel for each distribution.
    levels = jnp.tile((jnp.arange(256) / 255).reshape(256, 1, 1, 1, 1), (1, 25, 1, 1, 1))
    outputs = jnp.stack([location.ravel(), log_scale.ravel()], axis=-1).reshape(25, 1, 1, 2)
    log_probs = jax.vmap(lambda image: log_prob_of("discretized_logistic", outputs, image))(levels)
    assert (log_probs <= 0).all()
    probs = np.exp(np.asarray(log_probs, np.float64))
    np.testing.assert_allclose(probs.sum(axis=0), 1.0, rtol=2e-5)
    # And its mean is that distribution's, to within half a level; much better if it is wide.
    expected = (probs * np.arange(256)[:, None] / 255).sum(axis=0)
    error = np.abs(np.ravel(DiscretizedLogistic().mean(outputs)) - expected)
    assert (error < np.where(log_scale.ravel() < -4, 0.5 / 255, 1e-4)).all()


def test_discretized_logistic_is_the_difference_of_two_distribution_functions():
    # In the paper's range [-1, 1] a level is 2/255 wide and the edges reach to infinity.
    outputs = outputs_for(DiscretizedLogistic())
    location, log_scale = np.split(np.asarray(outputs, np.float64), 2, axis=-1)
    image = np.asarray(IMAGE, np.float64)
    image[0, 0], image[1, 1] = 0.0, 1.0
    x = 2 * image - 1
    cdf = lambda x: scipy.stats.logistic.cdf(x, location, np.exp(log_scale))
    upper = np.where(image == 1, 1.0, cdf(x + 1 / 255))
    lower = np.where(image == 0, 0.0, cdf(x - 1 / 255))
    expected = np.log(upper - lower).sum(axis=(1, 2, 3))
    log_prob = log_prob_of("discretized_logistic", outputs, jnp.asarray(image, jnp.float32))
    # The soft bound of -7 adds about 0.001 to a log scale of 0.
    np.testing.assert_allclose(log_prob, expected, rtol=1e-3)


def test_discretized_logistic_can_be_sure_of_black_and_white():
    for image, location in ((0.0, -3.0), (1.0, 3.0)):
        log_prob = log_prob_of("discretized_logistic", pixel(location, -7), pixel(image))
        np.testing.assert_allclose(log_prob, 0.0, atol=1e-6)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_log_prob_is_a_sum_over_pixels_for_each_example(name):
    outputs = outputs_for(LIKELIHOODS[name])
    log_prob = log_prob_of(name, outputs, IMAGE)
    assert log_prob.shape == SHAPE[:1]
    # Twice the image below itself has twice the log probability, and examples do not mix.
    twice = log_prob_of(name, jnp.tile(outputs, (1, 2, 1, 1)), jnp.tile(IMAGE, (1, 2, 1, 1)))
    np.testing.assert_allclose(twice, 2 * log_prob, rtol=1e-5)
    (alone,) = log_prob_of(name, outputs[1:2], IMAGE[1:2])
    np.testing.assert_allclose(alone, log_prob[1], rtol=1e-6)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_log_prob_prefers_the_mean_to_other_images(name):
    likelihood = LIKELIHOODS[name]()
    outputs = outputs_for(likelihood, scale=2.0)
    mean = likelihood.mean(outputs)
    assert mean.shape == SHAPE
    assert ((mean >= 0) & (mean <= 1)).all()
    assert (log_prob_of(name, outputs, mean) > log_prob_of(name, outputs, 1 - mean)).all()


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_samples_have_the_distribution_that_log_prob_gives(name):
    likelihood, num = LIKELIHOODS[name](), 20000
    one = jnp.array([0.4, -2.0])[: likelihood.outputs_per_channel].reshape(1, 1, 1, -1)
    params = jax.tree.map(lambda leaf: leaf - 1.0, likelihood.init())
    outputs = jnp.tile(one, (num, 1, 1, 1))
    drawn = likelihood.sample(params, outputs, jax.random.key(2), jnp.arange(num)).ravel()
    discrete = {"bernoulli": 2, "discretized_logistic": 256}.get(name)
    grid = jnp.linspace(0, 1, discrete) if discrete else jnp.linspace(-3, 4, 7001)
    grid_outputs = jnp.tile(one, (len(grid), 1, 1, 1))
    log_probs = likelihood.log_prob(params, grid_outputs, grid.reshape(-1, 1, 1, 1))
    probs = np.exp(np.asarray(log_probs, np.float64)) * (1 if discrete else grid[1] - grid[0])
    np.testing.assert_allclose(probs.sum(), 1, rtol=1e-3)
    assert not discrete or set(np.asarray(drawn)) <= set(np.asarray(grid))
    # The two distribution functions: sup |difference| sqrt(n) is above 1.95 once in 1000 (Smirnov).
    below = np.searchsorted(np.sort(drawn), np.asarray(grid), side="right") / num
    assert np.abs(below - np.cumsum(probs)).max() < 1.95 / np.sqrt(num) + 1e-3


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_variance_is_that_of_the_samples(name):
    likelihood, num = LIKELIHOODS[name](), 20000
    # Two pixels of two channels. The logistics lie in the middle of the range and are narrow, but
    # wider than a level: neither their tails nor the rounding counts.
    outputs = jnp.array([[-0.3, 0.2, -3.0, -3.5], [0.1, 0.4, -4.0, -3.2]])
    outputs = outputs[:, : 2 * likelihood.outputs_per_channel]
    params = jax.tree.map(lambda leaf: leaf - 1.5, likelihood.init())
    images = jnp.tile(outputs.reshape(1, 1, 2, -1), (num, 1, 1, 1))
    drawn = np.asarray(likelihood.sample(params, images, jax.random.key(2), jnp.arange(num)))
    variance = likelihood.variance(params, images[:1])
    assert variance.shape == (1, 1, 2, 2)
    # A sample variance of a logistic is off by sqrt(3.2 / n) of itself, others by less.
    error = 5 * np.sqrt(3.2 / num)
    np.testing.assert_allclose(variance[0], drawn.var(0), rtol=error)


def test_variances_by_hand():
    # P(1) = sigmoid(log 3) = 3/4.
    np.testing.assert_allclose(Bernoulli().variance({}, pixel(np.log(3))), 3 / 16, rtol=1e-6)
    np.testing.assert_allclose(Gaussian(scale=0.2).variance({}, pixel(1)), 0.04, rtol=1e-6)
    params = {"log_scale": jnp.log(0.3)}
    np.testing.assert_allclose(GlobalGaussian().variance(params, pixel(1)), 0.09, rtol=1e-6)
    # Softly above e^-6, by log(1 + e^-5.7) at a log scale of -0.3.
    expected = np.exp(2 * (-0.3 + np.log1p(np.exp(-5.7))))
    np.testing.assert_allclose(PixelGaussian().variance({}, pixel(1, -0.3)), expected, rtol=1e-5)
    # A logistic of scale s has (pi s)^2 / 3; in the range [0, 1] s is half of the paper's.
    logistic = DiscretizedLogistic(min_log_scale=-30.0)
    expected = scipy.stats.logistic.var(scale=np.exp(-2.0) / 2)
    np.testing.assert_allclose(logistic.variance({}, pixel(0, -2)), expected, rtol=1e-5)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_gradients_are_finite_at_extreme_outputs(name):
    likelihood = LIKELIHOODS[name]()
    # A log scale may be as extreme, but not as large as e^10000 grey levels.
    first, last, image = jnp.meshgrid(
        jnp.array([-1e4, -50, 0, 50, 1e4]), jnp.array([-1e4, 0, 50]), jnp.array([0, 0.5, 1])
    )
    outputs = jnp.stack([first, last], axis=-1)[..., : likelihood.outputs_per_channel]
    image = image[..., None]
    total = lambda params, outputs: likelihood.log_prob(params, outputs, image).sum()
    value, slopes = jax.jit(jax.value_and_grad(total, (0, 1)))(likelihood.init(), outputs)
    assert jnp.isfinite(value)
    for slope in jax.tree.leaves(slopes):
        assert jnp.isfinite(slope).all()
    assert jnp.isfinite(jax.grad(lambda outputs: likelihood.mean(outputs).sum())(outputs)).all()


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_works_under_vmap_as_under_a_loop(name):
    outputs = outputs_for(LIKELIHOODS[name])
    each = jax.vmap(lambda o, x: log_prob_of(name, o[None], x[None])[0])(outputs, IMAGE)
    np.testing.assert_allclose(each, log_prob_of(name, outputs, IMAGE), rtol=1e-5)


def test_only_the_global_gaussian_learns_parameters_of_its_own():
    learned = {name: set(make().init()) for name, make in LIKELIHOODS.items()}
    assert learned.pop("global_gaussian") == {"log_scale"}
    assert not any(learned.values())


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan")])
def test_a_scale_that_is_none_is_refused(scale):
    with pytest.raises(UserError, match="scale"):
        Gaussian(scale=scale)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_grey_outputs_do_not_broadcast_over_colours(name):
    outputs = outputs_for(LIKELIHOODS[name], shape=(*SHAPE[:3], 1))
    with pytest.raises(TypeCheckError):
        log_prob_of(name, outputs, IMAGE)
