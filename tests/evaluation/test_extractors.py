"""The hash of weights tells apart whatever could change a score."""

import jax.numpy as jnp
import numpy as np

from genjax.evaluation.extractors import hash_weights


def test_the_hash_sees_names_shapes_types_and_values():
    weights = {"a": np.arange(6, dtype=np.float32), "b": np.zeros(2, np.float32)}
    others = [
        {"c": weights["a"], "b": weights["b"]},
        {"a": weights["a"].reshape(2, 3), "b": weights["b"]},
        {"a": weights["a"].view(np.int32), "b": weights["b"]},
        {"a": weights["a"] + np.float32(1e-6), "b": weights["b"]},
        {"a": weights["a"]},
    ]
    hashes = [hash_weights(tree) for tree in [weights, *others]]
    assert len(set(hashes)) == len(hashes)


def test_the_hash_does_not_depend_on_order_or_place():
    first = {"a": np.ones(2, np.float32), "b": np.zeros(2, np.float32)}
    second = {"b": jnp.zeros(2), "a": jnp.ones(2)}
    assert hash_weights(first) == hash_weights(second)
