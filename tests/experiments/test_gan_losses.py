"""Each row of the table of GAN losses is the model that its name says."""

import pathlib

import pytest

from experiments.gan_losses import ROWS
from experiments.tables import Run
from genjax.losses import adversarial, penalties
from genjax.losses.likelihoods import Bernoulli, GlobalGaussian

#: Loss, penalty and its weight, updates of the discriminator to one of the generator.
GAMES = {
    "minimax": (adversarial.minimax, None, 1, 1),
    "non_saturating": (adversarial.non_saturating, None, 1, 1),
    "lsgan": (adversarial.least_squares, None, 1, 1),
    "wgan": (adversarial.wasserstein, None, 1, 5),
    "wgan_gp": (adversarial.wasserstein, penalties.gradient_penalty, 10, 5),
    "dragan": (adversarial.non_saturating, penalties.dragan, 10, 1),
}
LIKELIHOODS = {"vae": Bernoulli, "gaussian_vae": GlobalGaussian}
BY_NAME = {row.name.partition("/")[2]: row for row in ROWS}


def experiment(name):
    """That of a row, on the embedded digits."""
    row = BY_NAME[name]
    return Run(pathlib.Path(name), f"{row.config}:mnist_sample", row.fields).experiment


def test_every_row_is_known():
    assert BY_NAME.keys() == GAMES.keys() | LIKELIHOODS.keys()


@pytest.mark.parametrize("name", GAMES)
def test_a_game_is_the_one_of_its_name(name):
    model = experiment(name).model
    assert (model.loss, model.penalty, model.penalty_weight, model.d_steps) == GAMES[name]
    assert not model.discriminator.spectral_norm
    assert (model.generator.width, model.discriminator.trunk.width) == (16, 16)
    # A penalty is on the gradient of each image by itself.
    assert model.discriminator.trunk.normalization == ("layer" if model.penalty else "batch")


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_a_vae_has_the_likelihood_of_its_name(name):
    assert isinstance(experiment(name).model.likelihood, LIKELIHOODS[name])


def test_all_rows_see_as_many_images():
    """20 epochs of 64 images a batch, to the next whole block of steps."""
    for name in ("non_saturating", "wgan", "vae"):
        made = experiment(name)
        images = made.cadence.total_steps * made.images_per_step
        block = made.cadence.steps_per_call * made.images_per_step
        assert 0 <= images - 20 * len(made.sources["train"]) < 2 * block
