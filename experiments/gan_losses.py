#!/usr/bin/env python3
"""The table of GAN losses on Fashion-MNIST: six games and two VAEs, beside the large comparison.

    python experiments/gan_losses.py --dry_run
    python experiments/gan_losses.py

      --rows=LIST       rows to run, as fashion_mnist/wgan,fashion_mnist/vae; all without it
      --seeds=3         runs of each, with the seeds 0, 1, ...
      --inception=FILE  weights by which the FID is defined, or `download`; its cells need them
      --runs=DIR        runs/gan_losses, where run folders are, or are to be
      --results=DIR     results/, where gan_losses.md, .csv, .tex, .png and .svg go
      --data_dir=DIR --manual_dir=DIR   as config.data has them
      --dry_run         prints what there is to do and how long it takes here

Trains the runs that are missing, goes on with those that were stopped, and scores the best and the
last checkpoint of each. What is done is not done again.
"""

import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from experiments.sample_tables import TWENTY_EPOCHS, Column, Row, Table  # noqa: E402
from experiments.tables import Published  # noqa: E402

#: Networks that train on a CPU.
GAN = {
    **TWENTY_EPOCHS,
    "generator.width": 16,
    "discriminator.width": 16,
    "discriminator.spectral_norm": False,
    "discriminator.normalization": "batch",
}
# Batch statistics would tie the gradient of one image to the others.
PENALISED = {**GAN, "discriminator.normalization": "layer"}
DRAGAN = {**PENALISED, "model.penalty": "dragan", "model.penalty_weight": 10.0}
VAE = {**TWENTY_EPOCHS, "encoder.width": 16, "decoder.width": 16}


def row(name: str, title: str, config: str, fields: dict, *published: float) -> Row:
    """Of the Fashion-MNIST column of Dai and Wipf 2019, table 1."""
    fid = {"FID": Published(*published)}
    return Row(f"fashion_mnist/{name}", title, config, fields, fid)


ROWS = (
    row("minimax", "minimax GAN", "gan", {**GAN, "model.loss": "minimax"}, 29.6, 1.6),
    row("non_saturating", "non-saturating GAN", "gan", GAN, 26.5, 1.6),
    row("lsgan", "LSGAN", "gan", {**GAN, "model.loss": "least_squares"}, 30.7, 2.2),
    row("wgan", "WGAN, clipped weights", "wgan", GAN, 21.5, 1.6),
    row("wgan_gp", "WGAN-GP", "wgan_gp", PENALISED, 24.5, 2.1),
    row("dragan", "DRAGAN", "gan", DRAGAN, 27.7, 1.2),
    row("vae", "VAE, cross-entropy", "vae", VAE, 43.6, 0.7),
    row(
        "gaussian_vae",
        "VAE, learned sigma",
        "vae",
        {**VAE, "likelihood.name": "global_gaussian"},
        60.0,
        1.1,
    ),
)
COLUMNS = (
    Column("FID", "frechet_distance", "inception"),
    Column("Fréchet distance (classifier)", "frechet_distance"),
    Column("precision", "precision"),
    Column("recall", "recall"),
    Column("density", "density"),
    Column("coverage", "coverage"),
)
CAPTION = (
    "Samples of GANs and VAEs on Fashion-MNIST: 10,000 generated images against the 10,000 test "
    "images, mean and standard deviation over training seeds, of the best checkpoint (by the "
    "classifier's Fréchet distance on 10,000 validation images) and of the last. Published: FID as "
    "printed in Dai and Wipf 2019, table 1, whose GANs are those of Lucic et al. 2018, best of a "
    "search over hyperparameters for each loss. FID: features of Inception (2015-12-05), images "
    "resized as TensorFlow 1 did. All other columns, in features of a small classifier trained on "
    "Fashion-MNIST, have no published counterpart, and distances in different features can not be "
    "compared; precision, recall, density and coverage with 5 neighbours. As published: GANs take "
    "15,625 steps of 64 images, 20 times 50,000 in all, counted in the discriminator's (ours are "
    "rounded up to a block of steps); the decoder's mean images are the samples of a VAE. Not as "
    "published: 10,000 of the 60,000 training images are kept for validation; 20 epochs for the "
    "VAEs, too, where the code of Dai and Wipf has 400; latents of 100 for the GANs and 20 for the "
    "VAEs instead of 64; DCGAN networks of a quarter of its width without its dense layers of "
    "1,024, made for two CPU cores, whose generator ends in tanh and has ReLU, where that of Lucic "
    "et al. ends in a sigmoid and has leaky ReLU; optimizers of the shipped configs, not searched "
    "for; WGAN's generator has Adam and its critic the RMSProp of Arjovsky et al. 2017 (three "
    "rates were tried, on what images is not on record, and theirs was kept; epsilon, 1e-8, is "
    "inside the root, as TensorFlow's), where the code of Lucic et al. has Adam for both; what "
    "LSGAN squares, and DRAGAN penalises the gradient of, is the logit, as in Mao et al. 2017 and "
    "in the code of Kodali et al. 2017, and in that of Lucic et al. its sigmoid; samples from a "
    "moving average of the generator; five critic steps for WGAN and WGAN-GP, one for the others; "
    "batch norm in the discriminator, layer norm under a penalty; latents of the GANs are normal, "
    "not uniform; the weight of the VAEs' KL rises in the first 5 % of training, their encoder has "
    "no spectral norm and their rate falls from 0.001 to 0, where the code of Dai and Wipf begins "
    "at 0.0001 and halves it every 150 epochs; before the FID that code stretches each sample of a "
    "VAE until its darkest pixel is 0 and its brightest 1, ours does not."
)
TABLE = Table("gan_losses", CAPTION, ROWS, COLUMNS)

if __name__ == "__main__":
    sys.exit(TABLE.main(sys.argv, __doc__))
