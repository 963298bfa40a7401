"""What is told of a run's health, and when."""

import pytest

from genjax.training.health import Watch, warnings

VAE = {"model": {"name": "vae", "latent_size": 20}}
HVAE = {"model": {"name": "hvae", "latent_size": [5, 15]}}
GAN = {"model": {"name": "gan", "loss": "hinge"}}


def series(metric, values):
    return {metric: {10 * n: value for n, value in enumerate(values, 1)}}


@pytest.mark.parametrize(
    ("config", "metric", "ill", "well", "rows", "word"),
    [
        (VAE, "train/active_units", 1.9, 2.0, 10, "posterior collapse"),
        (HVAE, "train/active_units", 1.9, 2.0, 10, "posterior collapse: not even a tenth of"),
        (GAN, "train/d_loss", 0.04, 0.05, 10, "the discriminator has won"),
        (GAN, "validation/class_entropy", 1.39, 1.41, 2, "mode collapse"),
        (GAN, "train/diversity", 0.99, 1.01, 10, "mode collapse"),
        (GAN, "train/d_dead_units", 0.51, 0.5, 10, "more than half of the units of the disc"),
        (VAE, "train/dead_units", 0.51, 0.5, 10, "more than half of the units learn nothing"),
    ],
)
def test_an_illness_is_told_when_it_lasts(config, metric, ill, well, rows, word):
    # The highest entropy was 2, and 0.7 of it is 1.4, half of it 1. All units were awake.
    before = [0.0 if "dead" in metric else 2.0]
    ((step, text),) = warnings(series(metric, [*before, *[ill] * rows]), config)
    assert step == 20
    assert text.startswith(word)
    assert not warnings(series(metric, [*before, *[ill] * (rows - 1)]), config)
    assert not warnings(series(metric, [*before, *[well] * 20]), config)
    assert not warnings(series(metric, [*before, *[ill] * rows, well]), config)


def test_what_a_model_has_not_it_can_not_suffer_from():
    assert not warnings(series("train/d_loss", [0.0] * 20), VAE)
    wasserstein = {"model": {"name": "gan", "loss": "wasserstein"}}
    assert not warnings(series("train/d_loss", [-3.0] * 20), wasserstein)
    for config in ({}, {"model": "vae"}, {"model": {"name": "vae"}}):
        assert not warnings(series("train/active_units", [0.0] * 20), config)


def test_a_run_is_told_once_and_again_after_it_was_well():
    watch, told = Watch(GAN), []
    for step, value in enumerate([0.0] * 15 + [1.0] + [0.0] * 15, 1):
        row = {"train/d_loss": value, "train/kl_per_dimension": [0.1, 0.2]}
        told += [(step, line.partition(": ")[0]) for line in watch(step, row)]
    assert told == [(10, "since step 1"), (26, "since step 17")]
