import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nn.heads import Classifier, Discriminator, Posterior
from genjax.nn.mlp import MLPEncoder

TRUNK = MLPEncoder(widths=(6,))
IMAGES = jax.random.normal(jax.random.key(0), (4, 3, 3, 1))
LABELS = jnp.array([2, 0, 1, 2])


def run(head, *inputs):
    """(parameters, the trunk's features, the head's outputs)."""
    variables = head.init(jax.random.key(1), *inputs, train=False)
    params = jax.tree.map(np.asarray, variables["params"])
    features = TRUNK.apply({"params": params["trunk"]}, IMAGES, train=False)
    return params, np.asarray(features), head.apply(variables, *inputs, train=False)


def dense(params, x):
    return x @ params["kernel"] + params["bias"]


def test_discriminator_is_one_dense_logit():
    params, features, (logits, classes) = run(Discriminator(TRUNK), IMAGES)
    assert params.keys() == {"trunk", "Dense_0"}
    np.testing.assert_allclose(logits, dense(params["Dense_0"], features)[:, 0], rtol=1e-5)
    assert classes is None


def test_projection_adds_the_inner_product_of_features_and_the_labels_embedding():
    # Miyato and Koyama 2018, eq. 3: the logit is psi(phi(x)) + <embed(y), phi(x)>.
    head = Discriminator(TRUNK, "projection", num_classes=3)
    params, features, (logits, classes) = run(head, IMAGES, LABELS)
    embedding = params["Embed_0"]["embedding"]
    assert embedding.shape == (3, 6)
    expected = [
        dense(params["Dense_0"], phi)[0] + embedding[label] @ phi
        for phi, label in zip(features, LABELS, strict=True)
    ]
    np.testing.assert_allclose(logits, expected, rtol=1e-5)
    assert classes is None


def test_auxiliary_head_reads_the_label_off_the_image():
    head = Discriminator(TRUNK, "auxiliary", num_classes=3)
    params, features, (logits, classes) = run(head, IMAGES, LABELS)
    np.testing.assert_allclose(logits, dense(params["Dense_0"], features)[:, 0], rtol=1e-5)
    np.testing.assert_allclose(classes, dense(params["classes"], features), rtol=1e-5)
    assert classes.shape == (4, 3)


@pytest.mark.parametrize("conditioning", ["projection", "auxiliary"])
def test_every_weight_of_a_spectral_discriminator_has_its_vector(conditioning):
    trunk = MLPEncoder(widths=(6,), spectral_norm=True)
    head = Discriminator(trunk, conditioning, num_classes=3, spectral_norm=True)
    variables = head.init(jax.random.key(1), IMAGES, LABELS, train=False)
    matrices = [leaf for leaf in jax.tree.leaves(variables["params"]) if leaf.ndim > 1]
    vectors = [leaf for leaf in jax.tree.leaves(variables["spectral"]) if leaf.ndim]
    assert sorted(m.shape[-1] for m in matrices) == sorted(v.shape[-1] for v in vectors)
    assert len(matrices) == 3


def test_posterior_is_one_dense_layer_split_in_two():
    params, features, (mean, log_var) = run(Posterior(TRUNK, latent_size=5), IMAGES)
    assert params.keys() == {"trunk", "Dense_0"}
    both = dense(params["Dense_0"], features)
    assert both.shape == (4, 10)
    np.testing.assert_allclose(mean, both[:, :5], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(log_var, both[:, 5:], rtol=1e-5, atol=1e-6)


def test_log_variances_are_cut_off_at_both_ends():
    free = run(Posterior(TRUNK, latent_size=5), IMAGES)[2]
    cut = run(Posterior(TRUNK, latent_size=5, log_var_range=(-0.1, 0.2)), IMAGES)[2]
    np.testing.assert_array_equal(cut[0], free[0])
    np.testing.assert_array_equal(cut[1], np.clip(free[1], -0.1, 0.2))
    assert (cut[1] != free[1]).any()


def test_classifier_gives_logits_and_the_features_under_them():
    params, trunk, (logits, features) = run(
        Classifier(TRUNK, num_classes=3, feature_size=5), IMAGES
    )
    hidden = dense(params["Dense_0"], trunk)
    np.testing.assert_allclose(features, np.where(hidden > 0, hidden, 0.2 * hidden), rtol=1e-5)
    np.testing.assert_allclose(logits, dense(params["Dense_1"], features), rtol=1e-5, atol=1e-6)
    assert (features.shape, logits.shape) == ((4, 5), (4, 3))


def test_heads_compute_in_float32_on_a_trunk_of_half_precision():
    trunk = MLPEncoder(widths=(6,), dtype=jnp.bfloat16)
    for head in (Discriminator(trunk), Posterior(trunk, 5), Classifier(trunk, 3, 5)):
        everything = head.init_with_output(jax.random.key(1), IMAGES, train=False)
        assert {leaf.dtype for leaf in jax.tree.leaves(everything)} == {jnp.dtype("float32")}
