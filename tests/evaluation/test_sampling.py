"""Samples in batches, labels in turn, and the great circle between two latents."""

import dataclasses

import jax
import numpy as np
import pytest

from genjax.evaluation.sampling import balanced_labels, draw, slerp

KEY = jax.random.key(1)


@dataclasses.dataclass(frozen=True)
class Mirror:
    """Shows its latents, and the label beside them."""

    latent_size: int = 3
    num_classes: int = 0

    def generate(self, params, latents, labels=None):
        del params
        pixels = latents if labels is None else latents.at[:, 0].set(labels)
        return pixels[:, None, :, None]


def drawn(num, batch_size=500, key=KEY, labels=None):
    return np.concatenate(list(draw(Mirror(), {}, key, num, labels, batch_size)))


@pytest.mark.parametrize("batch_size", [1, 3, 7, 500])
def test_samples_do_not_depend_on_the_batch(batch_size):
    np.testing.assert_array_equal(drawn(7, batch_size), drawn(7))


def test_fewer_samples_are_the_first_of_more():
    np.testing.assert_array_equal(drawn(3), drawn(7)[:3])


def test_samples_differ_from_one_another_and_between_keys():
    both = np.concatenate([drawn(7), drawn(7, key=jax.random.key(2))])
    assert len(np.unique(both, axis=0)) == 14


def test_every_sample_has_its_own_label():
    labels = np.array([4, 1, 3, 0, 2], np.int32)
    np.testing.assert_array_equal(drawn(5, 2, labels=labels)[:, 0, 0, 0], labels)


def test_classes_take_turns():
    assert balanced_labels(5, 3).tolist() == [0, 1, 2, 0, 1]
    assert balanced_labels(5, 0) is None


def test_slerp_goes_along_the_circle():
    """From east to north in three: north-east, of length 1, lies in the middle."""
    way = slerp(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]]), 3)
    expected = [[[1, 0], [2**-0.5, 2**-0.5], [0, 1]]]
    np.testing.assert_allclose(way, expected, atol=1e-12)


def test_slerp_keeps_the_length_and_the_ends():
    start, end = np.random.default_rng(0).normal(size=(2, 4, 20))
    start, end = (rows / np.linalg.norm(rows, axis=-1, keepdims=True) * 5 for rows in (start, end))
    way = slerp(start, end, 7)
    np.testing.assert_allclose(np.linalg.norm(way, axis=-1), 5.0, rtol=1e-12)
    np.testing.assert_allclose(way[:, 0], start, atol=1e-12)
    np.testing.assert_allclose(way[:, -1], end, atol=1e-12)


def test_slerp_between_equal_ends_stays_there():
    same = np.array([[3.0, 4.0]])
    np.testing.assert_allclose(slerp(same, same, 4), np.tile(same[:, None], (1, 4, 1)), atol=1e-9)
