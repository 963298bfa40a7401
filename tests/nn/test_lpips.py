"""LPIPS is PyTorch's, recorded by experiments/record_feature_networks.py."""

import json

import jax
import numpy as np
import pytest

from experiments.record_feature_networks import draw_weights
from genjax.errors import UserError
from genjax.nn.lpips import LPIPS, MIN_SIDE, lpips_params

distance = jax.jit(lambda params, images, others: LPIPS().apply({"params": params}, images, others))


@pytest.fixture(scope="module")
def weights(recorded):
    return draw_weights(json.loads(str(recorded["shapes"]))["lpips"])


@pytest.fixture(scope="module")
def params(weights):
    return lpips_params(weights, "--lpips")


def test_distances_are_those_of_pytorch(recorded, params):
    images = recorded["images"] / np.float32(255)
    others = np.stack([images[1], images[1, :, ::-1]])
    np.testing.assert_allclose(distance(params, images, others), recorded["distances"], rtol=1e-4)


def test_it_is_symmetric_zero_for_equal_images_and_repeats_grey(recorded, params):
    images = recorded["images"][..., :1] / np.float32(255)
    others = images[:, ::-1]
    there = distance(params, images, others)
    np.testing.assert_allclose(there, distance(params, others, images), rtol=1e-5)
    np.testing.assert_array_equal(distance(params, images, images), 0)
    colours = lambda grey: np.repeat(grey, 3, axis=-1)
    np.testing.assert_allclose(there, distance(params, colours(images), colours(others)), rtol=1e-5)


def test_images_without_a_last_feature_are_refused():
    shapes = [jax.ShapeDtypeStruct((1, side, 40, 3), np.float32) for side in (MIN_SIDE - 1, 31)]
    with pytest.raises(UserError, match=r"data.image_size: 30x40 is too small .* at least 31"):
        jax.eval_shape(LPIPS().init, jax.random.key(0), shapes[0], shapes[0])
    assert jax.eval_shape(LPIPS().init, jax.random.key(0), shapes[1], shapes[1])


def test_another_networks_file_is_refused(weights):
    missing = {name: array for name, array in weights.items() if name != "lin3.model.1.weight"}
    with pytest.raises(UserError, match=r"--lpips: .* 'lin3.model.1.weight'"):
        lpips_params(missing, "--lpips")
    other = {**weights, "net.slice2.3.weight": np.zeros((192, 64, 3, 3), np.float32)}
    with pytest.raises(UserError, match=r"--lpips: 'net.slice2.3.weight' .* \(192, 64, 5, 5\)"):
        lpips_params(other, "--lpips")
