#!/usr/bin/env python3
"""The table of conditional models: four ways to bring the label in, and what samples of it teach.

    python experiments/conditional.py --dry_run
    python experiments/conditional.py
    python experiments/conditional.py --rows=cifar10 --seeds=1 --inception=FILE   (on a GPU)

      --rows=LIST       rows to run, or the beginnings of rows, as fashion_mnist,cifar10/sngan
      --seeds=3         runs of each, with the seeds 0, 1, ...
      --inception=FILE  weights by which the FID is defined, or `download`; its cells need them
      --runs=DIR        runs/conditional, where run folders are, or are to be
      --results=DIR     results/, where conditional.md, .csv, .tex, .png and .svg go
      --data_dir=DIR --manual_dir=DIR   as config.data has them
      --dry_run         prints what there is to do and how long it takes here

Trains the runs that are missing, goes on with those that were stopped, and scores the best and the
last checkpoint of each; the classification accuracy score, for which classifiers are trained, is of
the best alone. What is done is not done again. A row that can not be run here stays in the table
and says what it needs.
"""

import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from experiments.sample_tables import JUDGED, TWENTY_EPOCHS, Column, Row, Table  # noqa: E402
from experiments.tables import Published  # noqa: E402

#: Networks that train on a CPU.
GAN = {**TWENTY_EPOCHS, "generator.width": 16, "discriminator.width": 16}
CONCAT = {"generator.conditioning": "concat", "discriminator.conditioning": "concat"}
AUXILIARY = {"generator.conditioning": "batch_norm", "discriminator.conditioning": "auxiliary"}
PROJECTION = {"generator.conditioning": "batch_norm", "discriminator.conditioning": "projection"}
VAE = {**TWENTY_EPOCHS, "encoder.width": 16, "decoder.width": 16}

INCEPTION, FID = "Inception score", "FID"
CAS, CAS_OF_REAL = "CAS, %", "CAS of real images, %"
ROWS = (
    Row("fashion_mnist/concat", "cGAN, concatenation", "cgan", {**GAN, **CONCAT}),
    Row("fashion_mnist/projection", "cGAN, conditional batch norm and projection", "cgan", GAN),
    Row("fashion_mnist/acgan", "AC-GAN", "cgan", {**GAN, **AUXILIARY}),
    Row("fashion_mnist/cvae", "CVAE", "cvae", VAE),
    Row(
        "cifar10/sngan",
        "CIFAR-10: SNGAN, no labels",
        "sngan",
        JUDGED,
        {INCEPTION: Published(7.97), FID: Published(16.77)},
        labelled=False,
        is_large=True,
    ),
    Row(
        "cifar10/projection",
        "CIFAR-10: projection cGAN",
        "sngan",
        {**JUDGED, **PROJECTION},
        {
            INCEPTION: Published(8.25),
            FID: Published(10.84),
            CAS: Published(76.35),
            CAS_OF_REAL: Published(92.58),
        },
        is_large=True,
    ),
)
OF_BEST = {"extractor": "none", "scale": 100, "n_fake": None, "checkpoints": ("best",)}
COLUMNS = (
    Column("label accuracy, %", "label_accuracy", scale=100, of_labels=True),
    Column("Fréchet distance within classes", "within_class_frechet", of_labels=True),
    Column(CAS, "cas", of_labels=True, **OF_BEST),
    Column(CAS_OF_REAL, "cas_of_real", of_labels=True, **OF_BEST),
    Column(INCEPTION, "inception_score", "inception"),
    Column(FID, "frechet_distance", "inception"),
)
CAPTION = (
    "Conditional models on Fashion-MNIST, and CIFAR-10 as published: mean and standard deviation "
    "over training seeds, of the best checkpoint (by the classifier's Fréchet distance on "
    "validation images) and of the last. Label accuracy: samples that a classifier of the same "
    "data reads as asked for, of 10,000. Fréchet distance within classes: in this classifier's "
    "features, mean over the ten classes, 10,000 samples against the 10,000 test images. CAS "
    "(classification accuracy score, Ravuri and Vinyals 2019): accuracy on the test images of a "
    "classifier trained on one generated image for each training image, beside one trained on the "
    "training images; of the best checkpoint only. Our classifier is a small convolutional one, "
    "theirs a ResNet; its own seed is always the same, and so that of real images is one training, "
    "however many seeds there are. On Fashion-MNIST DCGAN networks of width 16, 20 epochs of "
    "50,000 images in batches of 64, made for two CPU cores; the GANs have hinge loss and Adam at "
    "0.0004 for the generator, 0.0008 for the discriminator, which has spectral norm, the CVAE "
    "Adam whose rate falls from 0.001 to 0, and a KL whose weight rises in the first 5 % of "
    "training. The CIFAR-10 rows train configs/sngan.py, 100,000 steps of 64 images with rates "
    "that fall linearly to 0 as in mimicry, on 40,000 of the 50,000 training images, the others "
    "being for validation. Samples of GANs come from a moving average of the generator; those of "
    "the CVAE are the decoder's mean images. Inception score and FID: 10,000 samples, against the "
    "test images, which are resized as TensorFlow 1 did. Published, on CIFAR-10: Inception score "
    "and FID by mimicry, of 50,000 samples against the training images (SNGAN's own paper has 8.22 "
    "and 21.7); CAS by Ravuri and Vinyals 2019, table 3. FID changes with the number of samples "
    "and the split."
)
TABLE = Table("conditional", CAPTION, ROWS, COLUMNS)

if __name__ == "__main__":
    sys.exit(TABLE.main(sys.argv, __doc__))
