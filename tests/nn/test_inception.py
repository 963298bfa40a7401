"""Inception is PyTorch's port, recorded by experiments/record_feature_networks.py."""

import json

import jax
import numpy as np
import pytest
from PIL import Image

from experiments.record_feature_networks import draw_weights
from genjax.errors import UserError
from genjax.nn.inception import SIZE, Inception, inception_params
from genjax.nn.resize import antialiased, tf1_bilinear

outputs = jax.jit(lambda params, images: Inception().apply({"params": params}, images))


@pytest.fixture(scope="module")
def weights(recorded):
    return draw_weights(json.loads(str(recorded["shapes"]))["inception"])


@pytest.fixture(scope="module")
def params(weights):
    return inception_params(weights, "--inception")


def test_features_and_logits_are_those_of_pytorch(recorded, weights, params):
    images = recorded["images"] / np.float32(255)
    got = outputs(params, tf1_bilinear(images, SIZE))
    for name in ("features", "logits"):
        expected = recorded[name]
        error = np.abs(getattr(got, name) - expected).max()
        assert error < 1e-4 * expected.std(), name
    unbiased = recorded["logits"] - weights["fc.bias"]
    np.testing.assert_allclose(got.logits_unbiased, unbiased, atol=1e-4 * unbiased.std())


def test_grey_is_repeated(recorded, params):
    # All sides from 75 on leave the last block a pixel.
    grey = recorded["images"][:1, ..., :1] / np.float32(255)
    grey = tf1_bilinear(grey, 75)
    one = outputs(params, grey).features
    np.testing.assert_allclose(one, outputs(params, np.repeat(grey, 3, -1)).features, rtol=1e-5)


def test_another_networks_file_is_refused(weights):
    missing = {
        name: array for name, array in weights.items() if name != "Mixed_7c.branch1x1.bn.bias"
    }
    with pytest.raises(UserError, match=r"--inception: .* 'Mixed_7c.branch1x1.bn.bias'"):
        inception_params(missing, "--inception")
    # torchvision's own has 1,000 classes.
    other = {**weights, "fc.weight": weights["fc.weight"][:1000]}
    with pytest.raises(
        UserError, match=r"--inception: 'fc.weight' has shape \(1000, 2048\), not \(1008"
    ):
        inception_params(other, "--inception")


def test_tf1_bilinear_starts_at_corners():
    # Output i of 5 lies at input 2i/5 = 0, 0.4, 0.8, 1.2, 1.6; behind the last pixel is the last.
    rows = np.array([0, 0.4, 0.8, 1, 1])
    image = np.array([[0, 1], [10, 11]], np.float32)[None, ..., None]
    expected = 10 * rows[:, None] + rows
    np.testing.assert_allclose(tf1_bilinear(image, 5)[0, ..., 0], expected, rtol=1e-6)
    # Smaller: output i of 2 lies at input 2i, and no other pixel counts.
    image = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
    np.testing.assert_array_equal(tf1_bilinear(image, 2)[0, ..., 0], [[0, 2], [8, 10]])


@pytest.mark.parametrize("side", [24, 64, 97])
def test_antialiased_is_pillows_bicubic(side):
    image = np.random.default_rng(0).random((64, 64), np.float32)
    expected = Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)
    expected = np.clip(np.asarray(expected), 0, 1)
    got = antialiased(image[None, ..., None], side)[0, ..., 0]
    np.testing.assert_allclose(got, expected, atol=1e-5)
