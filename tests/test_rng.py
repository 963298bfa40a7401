import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import rng

KEY = rng.key(0, "test")
POSITIONS = jnp.arange(16)
DRAWS = {
    "normal": lambda positions: rng.normal(KEY, positions, (3,)),
    "uniform": lambda positions: rng.uniform(KEY, positions, (3,)),
    "randint": lambda positions: rng.randint(KEY, positions, 0, 1_000_000),
}


def data(key):
    return tuple(jax.random.key_data(key).tolist())


def test_a_stream_may_have_the_name_of_a_file_that_is_no_text():
    assert data(rng.stream(KEY, os.fsdecode(b"caf\xe9"))) != data(rng.stream(KEY, "cafe"))


@pytest.mark.parametrize("name", DRAWS)
def test_draws_belong_to_positions_not_to_devices_or_batches(name):
    draw = jax.jit(DRAWS[name])
    whole = np.asarray(draw(POSITIONS))
    on_devices = jax.pmap(DRAWS[name])(POSITIONS.reshape(8, 2))
    np.testing.assert_array_equal(on_devices.reshape(whole.shape), whole)
    np.testing.assert_array_equal(draw(POSITIONS[::-1]), whole[::-1])
    assert len(np.unique(whole)) == whole.size


def test_keys_differ_by_seed_stream_and_step_and_by_nothing_else():
    named = [(seed, name, step) for seed in (0, 1) for name in ("a", "b") for step in (0, 1)]
    keys = [data(rng.key(*parts)) for parts in named]
    assert len(set(keys)) == len(named)
    assert keys == [data(rng.key(*parts)) for parts in named]
    assert len({data(rng.stream(KEY, name)) for name in ("a", "b")}) == 2


def test_a_step_counted_on_the_device_gives_the_same_key():
    counted = jax.jit(lambda step: rng.key(3, "noise", step))(jnp.array(7))
    assert data(counted) == data(rng.key(3, "noise", 7))


def test_streams_do_not_depend_on_the_process():
    # Python's own hash of a string does; the standard's check value of CRC-32 is 0xCBF43926.
    expected = jax.random.fold_in(KEY, 0xCBF43926)
    assert data(rng.stream(KEY, "123456789")) == data(expected)


def test_draws_have_the_range_that_they_promise():
    many = jnp.arange(4000)
    uniform = jax.jit(lambda: rng.uniform(KEY, many, ()))()
    assert ((uniform >= 0) & (uniform < 1)).all()
    np.testing.assert_allclose(uniform.mean(), 0.5, atol=0.02)
    normal = jax.jit(lambda: rng.normal(KEY, many, ()))()
    np.testing.assert_allclose([normal.mean(), normal.std()], [0, 1], atol=0.05)
    integers = jax.jit(lambda: rng.randint(KEY, many, 2, 5))()
    assert set(integers.tolist()) == {2, 3, 4}
