import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from skimage import data
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from genjax.errors import UserError
from genjax.metrics.reconstruction import mae, ms_ssim, mse, psnr, ssim


def photographs():
    """Parts of a photograph, bright and dark, and noisy copies of them; in [0, 1], float64."""
    astronaut = data.astronaut() / 255.0
    clean = np.stack([astronaut[:32, :40], astronaut[100:132, 200:240], astronaut[-32:, -40:]])
    noise = np.random.default_rng(0).normal(0, [[[[0.01]]], [[[0.05]]], [[[0.3]]]], clean.shape)
    return clean, np.clip(clean + noise, 0, 1)


@pytest.mark.parametrize("channels", [1, 3])
def test_ssim_is_that_of_scikit_image(channels):
    clean, noisy = (images[..., :channels] for images in photographs())
    expected = [
        structural_similarity(
            a,
            b,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1,
            channel_axis=-1,
        )
        for a, b in zip(clean, noisy, strict=True)
    ]
    ours = jax.jit(ssim)(jnp.asarray(clean), jnp.asarray(noisy))
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_ssim_of_flat_images_compares_their_luminance_alone():
    # Without variance only (2 a b + C1) / (a^2 + b^2 + C1) is left. White is where float32 has the
    # fewest digits for a variance.
    a, b = jnp.full((1, 11, 11, 1), 1.0), jnp.full((1, 11, 11, 1), 0.9)
    np.testing.assert_allclose(jax.jit(ssim)(a, b), (1.8 + 1e-4) / (1.81 + 1e-4), atol=1e-4)


def test_equal_images():
    images = jnp.asarray(photographs()[0])
    np.testing.assert_array_equal(jax.jit(ssim)(images, images), 1.0)
    np.testing.assert_array_equal(psnr(images, images), np.inf)
    np.testing.assert_array_equal(mse(images, images), 0.0)


def test_ssim_of_small_images_is_refused():
    small = jnp.zeros((2, 10, 32, 1))
    with pytest.raises(UserError, match="10 x 32"):
        ssim(small, small)


def test_psnr_by_hand_and_by_scikit_image():
    # An error of 0.1 everywhere: 10 log10(1 / 0.01) = 20 dB.
    flat = jnp.zeros((1, 2, 2, 3))
    np.testing.assert_allclose(psnr(flat, flat + 0.1), 20.0, rtol=1e-6)
    clean, noisy = photographs()
    expected = [
        peak_signal_noise_ratio(a, b, data_range=1) for a, b in zip(clean, noisy, strict=True)
    ]
    np.testing.assert_allclose(psnr(jnp.asarray(clean), jnp.asarray(noisy)), expected, rtol=1e-5)


def test_mse_is_per_example():
    a = jnp.zeros((2, 2, 2, 1))
    b = a.at[1, 0, 0, 0].set(1.0)
    np.testing.assert_array_equal(mse(a, b), [0.0, 0.25])


def test_mae_is_per_example_and_of_either_sign():
    a = jnp.zeros((2, 2, 2, 1))
    b = a.at[1, 0, 0, 0].set(1.0).at[1, 1, 1, 0].set(-0.5)
    np.testing.assert_array_equal(mae(a, b), [0.0, 0.375])


compiled_ms_ssim = jax.jit(ms_ssim)


def gaussian_window(image):
    """Weighted mean over 11 x 11 pixels, Gaussian of 1.5, where the window is whole."""
    blurred = scipy.ndimage.gaussian_filter(image, 1.5, truncate=5 / 1.5, axes=(0, 1))
    return blurred[5:-5, 5:-5]


def reference_ms_ssim(a, b):
    """Wang, Simoncelli and Bovik 2003 in float64, of images [height, width, channel]."""
    c1, c2 = 0.01**2, 0.03**2
    product = 1.0
    for scale, weight in enumerate([0.0448, 0.2856, 0.3001, 0.2363, 0.1333]):
        if scale:
            a, b = (
                scipy.ndimage.uniform_filter(x, 2, origin=-1, axes=(0, 1))[:-1:2, :-1:2]
                for x in (a, b)
            )
        mean_a, mean_b = gaussian_window(a), gaussian_window(b)
        variance_a = gaussian_window(a * a) - mean_a**2
        variance_b = gaussian_window(b * b) - mean_b**2
        covariance = gaussian_window(a * b) - mean_a * mean_b
        similarity = (2 * covariance + c2) / (variance_a + variance_b + c2)
        if scale == 4:
            similarity *= (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
        product = product * np.maximum(similarity.mean(axis=(0, 1)), 0) ** weight
    return product.mean()


@pytest.mark.parametrize(("height", "width", "channels"), [(176, 176, 1), (201, 186, 3)])
def test_ms_ssim_is_that_of_scipy(height, width, channels):
    astronaut = data.astronaut()[:height, 100 : 100 + width, :channels] / 255.0
    clean = np.stack([astronaut] * 3)
    noise = np.random.default_rng(0).normal(0, [[[[0.02]]], [[[0.1]]], [[[0.3]]]], clean.shape)
    noisy = np.clip(clean + noise, 0, 1)
    ours = compiled_ms_ssim(jnp.asarray(clean), jnp.asarray(noisy))
    expected = [reference_ms_ssim(a, b) for a, b in zip(clean, noisy, strict=True)]
    np.testing.assert_allclose(ours, expected, atol=1e-5)
    assert ours[0] > ours[1] > ours[2]
    equal = compiled_ms_ssim(jnp.asarray(clean), jnp.asarray(clean))
    np.testing.assert_array_equal(equal, 1.0)


def test_ms_ssim_of_a_negative_is_zero():
    images = jnp.asarray(np.stack([data.astronaut()[:176, :176, :1] / 255.0] * 3))
    np.testing.assert_array_equal(compiled_ms_ssim(images, 1 - images), 0.0)


def test_ms_ssim_of_small_images_is_refused():
    small = jnp.zeros((1, 175, 256, 1))
    with pytest.raises(UserError, match=r"175 x 256 .* use ssim"):
        ms_ssim(small, small)
