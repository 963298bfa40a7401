"""Scores of an encoder that reads two factors off drawings, and no others."""

import types

import jax
import numpy as np
import pytest

from genjax.data.shapes import shapes
from genjax.errors import UserError
from genjax.evaluation import factors
from genjax.evaluation.factors import DisentanglementEvaluator, encode

SIZE, NUM = 24, 700


class Reader:
    """Its latents are an image's light, the place of its centroid to the right, and a constant."""

    num_classes, latent_size = 0, 3


def read(model, params, images, key, labels):
    del model, params, key, labels
    light = images.max((1, 2, 3))
    total = np.maximum(images.sum((1, 2, 3)), 1)  # the last batch is filled up with black ones
    right = (images.sum((1, 3)) * (np.arange(SIZE) + 0.5)).sum(1) / total / SIZE
    return np.stack([light, right, np.ones(len(images))], 1)


@pytest.fixture(autouse=True)
def latents(monkeypatch):
    monkeypatch.setattr(factors, "latents_of", read)


def drawings(split, channels=1, num=NUM):
    return shapes(split=split, image_size=SIZE, channels=channels, num_examples=num)


def test_codes_stand_beside_the_factors_of_their_drawings():
    encoded = encode(Reader(), {}, drawings("train"), 250, batch_size=100)
    assert encoded.codes.shape == (250, 3)
    np.testing.assert_allclose(encoded.codes[:, 0], encoded.factors["light"], atol=1 / 255)
    np.testing.assert_allclose(encoded.codes[:, 1], encoded.factors["x"], atol=0.01)


def test_what_can_not_be_seen_is_no_factor():
    """Grey drawings have no hue."""
    grey, coloured = (encode(Reader(), {}, drawings("train", n), 5).factors for n in (1, 3))
    assert [*grey] == ["shape", "scale", "angle", "x", "y", "light"]
    assert [*coloured] == [*grey, "hue"]


def test_one_latent_has_no_other_to_be_compared_with():
    evaluate = DisentanglementEvaluator(drawings("train"), drawings("train"), batch_size=300)
    with pytest.raises(UserError, match=r"^model.latent_size: 1; "):
        evaluate(types.SimpleNamespace(latent_size=1), {}, jax.random.key(0))


def test_factors_with_a_latent_of_their_own_are_told_and_others_are_not(monkeypatch):
    monkeypatch.setattr(factors, "NUM_FIT", NUM)
    test = shapes(split="test", image_size=SIZE, num_evaluation=NUM)
    evaluate = DisentanglementEvaluator(test, drawings("train"), batch_size=300)
    planned = evaluate.planned(Reader())
    assert {score.settings for score in planned} == {"20 bins, 700 drawings to learn from"}
    assert {score.n_real for score in planned} == {NUM}
    values = evaluate(Reader(), {}, jax.random.key(0))
    assert values.keys() == {score.metric for score in planned}
    for told in ("light", "x"):
        assert values[f"sap[{told}]"] > 0.97
        # Chance tells 19^2 / (2 * 700) of log 20 = 3.0 nats: 0.09; bins are cut at other places.
        assert values[f"mig[{told}]"] > 0.6
        assert values[f"dci_informativeness[{told}]"] > 0.6
    for other in ("angle", "y"):
        assert values[f"sap[{other}]"] < 0.02
        assert values[f"mig[{other}]"] < 0.05
        assert values[f"dci_informativeness[{other}]"] < 0.1
    six = ("shape", "scale", "angle", "x", "y", "light")
    for name in ("mig", "sap", "dci_informativeness"):
        assert values[name] == pytest.approx(np.mean([values[f"{name}[{each}]"] for each in six]))
