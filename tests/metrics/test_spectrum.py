import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.metrics.spectrum import radial_power, spectral_distance


@pytest.mark.parametrize(("height", "width", "across"), [(32, 32, 0), (32, 48, 1), (24, 36, 0)])
def test_a_wave_has_all_its_power_in_the_ring_of_its_frequency(height, width, across):
    # 1/2 + 1/4 cos: amplitudes of 1/8 at +-f, each of power (h w / 8)^2 / (h w).
    side, size = min(height, width), (height, width)[across]
    waves = size // 4  # a quarter of a cycle per pixel
    ring = side // 4
    phase = 2 * np.pi * waves * np.arange(size) / size
    shape = (1, -1, 1, 1) if across == 0 else (1, 1, -1, 1)
    image = np.broadcast_to(0.5 + 0.25 * np.cos(phase).reshape(shape), (1, height, width, 1))
    power = jax.jit(radial_power)(jnp.asarray(image, jnp.float32))
    radii = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None]) * side
    expected = np.zeros((1, side // 2 + 1))
    expected[0, 0] = height * width / 4 / (np.round(radii) == 0).sum()
    expected[0, ring] = 2 * height * width / 64 / (np.round(radii) == ring).sum()
    np.testing.assert_allclose(power, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_the_spectrum_of_white_noise_is_flat_at_its_variance(channels):
    noise = np.random.default_rng(0).normal(0, 0.1, (400, 32, 40, channels))
    power = np.asarray(radial_power(jnp.asarray(noise, jnp.float32))).mean(axis=0)
    # Of a weighted sum of independent channels.
    weights = {1: [1], 2: [0.5, 0.5], 3: [0.299, 0.587, 0.114]}[channels]
    assert power.shape == (17,)
    # A ring has at least 8 pairs of conjugate frequencies: relative error 1 / sqrt(400 * 4).
    np.testing.assert_allclose(power[1:], 0.01 * np.square(weights).sum(), rtol=0.12)


def test_each_image_has_its_own_spectrum():
    images = np.random.default_rng(1).uniform(size=(3, 16, 16, 3)).astype(np.float32)
    together = radial_power(jnp.asarray(images))
    alone = [radial_power(jnp.asarray(image[None]))[0] for image in images]
    np.testing.assert_allclose(together, alone, rtol=1e-5)


def test_distance_in_decades():
    # A constant factor of 10 at half of the radii above 0; what the mean brightness does not count.
    real = np.array([100.0, 1.0, 1.0, 0.5, 0.5])
    fake = real * [7, 10, 1, 0.1, 1]
    np.testing.assert_allclose(spectral_distance(real, fake), 0.5, rtol=1e-12)
    assert spectral_distance(real, real) == 0
    assert spectral_distance(real, fake) == spectral_distance(fake, real)


def test_images_without_contrast_are_finitely_far():
    flat = np.array([1.0, 0.0, 0.0])
    np.testing.assert_allclose(spectral_distance(flat, np.array([1.0, 1e-8, 1e-8])), 2, rtol=1e-12)
