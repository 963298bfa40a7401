"""Augmentations move pixels as they say, and draw by position."""

import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import rng
from genjax.data.base import InMemory
from genjax.data.reading import read
from genjax.data.transforms import AUGMENTATIONS, Binarized, binarize, to_float

KEY = rng.key(0, "augmentation", 5)


def test_to_float_is_a_255th_and_keeps_the_rest():
    batch = {"image": np.array([0, 51, 255], np.uint8).reshape(3, 1, 1, 1), "label": np.arange(3)}
    floats = to_float(batch)
    assert floats["image"].dtype == jnp.float32
    np.testing.assert_allclose(floats["image"].ravel(), [0.0, 0.2, 1.0], rtol=1e-6)
    np.testing.assert_array_equal(floats["label"], batch["label"])


def test_flip_mirrors_about_half():
    images = jax.random.uniform(jax.random.key(1), (1000, 4, 5, 3))
    flipped = AUGMENTATIONS["flip"](images, KEY, jnp.arange(1000))
    same = (flipped == images).all((1, 2, 3))
    mirrored = (flipped == images[:, :, ::-1]).all((1, 2, 3))
    assert (same ^ mirrored).all()
    assert 420 < mirrored.sum() < 580  # 500, give or take five standard deviations of 16


def test_shift_reaches_every_offset_up_to_two_pixels():
    images = jnp.zeros((1000, 9, 9, 1)).at[:, 4, 4].set(1.0)
    shifted = AUGMENTATIONS["shift"](images, KEY, jnp.arange(1000))
    np.testing.assert_array_equal(shifted.sum((1, 2, 3)), 1)
    _, rows, columns, _ = np.nonzero(shifted)
    offsets, counts = np.unique(np.stack([rows - 4, columns - 4]), axis=1, return_counts=True)
    assert {tuple(offset) for offset in offsets.T} == {
        (dy, dx) for dy in range(-2, 3) for dx in range(-2, 3)
    }
    assert counts.max() < 80  # 40 each on average, with a deviation of 6


def test_shift_fills_the_gap_with_the_edge():
    images = jnp.full((50, 6, 6, 2), 0.75)
    np.testing.assert_array_equal(AUGMENTATIONS["shift"](images, KEY, jnp.arange(50)), images)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_draws_belong_to_positions(name):
    """A shard of the batch is augmented as it would be within the whole."""
    augment = jax.jit(AUGMENTATIONS[name])
    images, positions = jax.random.uniform(jax.random.key(2), (64, 8, 8, 1)), jnp.arange(64)
    whole = augment(images, KEY, positions)
    np.testing.assert_array_equal(augment(images[48:], KEY, positions[48:]), whole[48:])
    changed = not np.array_equal(whole, images)
    assert changed == (name != "none")
    if changed:
        other_key = rng.key(0, "augmentation", 6)
        assert not np.array_equal(augment(images, other_key, positions), whole)


GREYS = np.array([0, 1, 64, 128, 254, 255], np.uint8)


def check_shares(binary):
    """Of 4,000 draws of each grey level k, [draw, level], about k / 255 are white."""
    shares = GREYS / 255
    error = 5 * np.sqrt(shares * (1 - shares) / len(binary))
    assert (np.abs(np.asarray(binary).mean(0) - shares) <= error).all()


def test_a_step_draws_each_value_with_its_grey_as_probability():
    images = jnp.broadcast_to(GREYS[:, None] / jnp.float32(255), (4000, 1, 6, 1))
    drawn = binarize(images, KEY, jnp.arange(4000))
    assert set(np.unique(drawn)) == {0, 1}
    check_shares(drawn[:, 0, :, 0])
    some = jnp.array([17, 5])
    np.testing.assert_array_equal(binarize(images[some], KEY, some), drawn[some])


def test_thresholds_are_those_that_published_scores_were_taken_with():
    """NumPy may change the stream of a generator; scores of binary images would change with it."""
    grey = InMemory(np.full((2, 28, 28, 1), 128, np.uint8), np.zeros(2, np.int32), ("a",))
    drawn = Binarized(grey).read(np.arange(2))["image"]
    assert hashlib.sha256(drawn.tobytes()).hexdigest()[:16] == "3dfabd6c7903270d"


def test_a_binarized_source_is_drawn_once_for_all():
    images = np.broadcast_to(GREYS[:, None], (4000, 1, 6, 1))
    grey = InMemory(images, np.arange(4000, dtype=np.int32) % 2, ("a", "b"))
    source = Binarized(grey)
    assert (len(source), source.image_shape, source.class_names) == (4000, (1, 6, 1), ("a", "b"))
    drawn = read(source, np.arange(4000))
    assert set(np.unique(drawn["image"])) == {0, 255}
    check_shares(drawn["image"][:, 0, :, 0] / 255)
    np.testing.assert_array_equal(drawn["label"], grey.labels)
    again = read(Binarized(grey), np.array([9, 2]))
    np.testing.assert_array_equal(again["image"], drawn["image"][[9, 2]])
    np.testing.assert_array_equal(source[9]["image"], drawn["image"][9])
