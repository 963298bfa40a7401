"""Each row of the table of conditional models brings the label in as its name says."""

import pathlib

import pytest

from experiments.conditional import ROWS
from experiments.tables import Run

#: Of generator and discriminator, or of encoder and decoder.
LABELS = {
    "fashion_mnist/concat": ("concat", "concat"),
    "fashion_mnist/projection": ("batch_norm", "projection"),
    "fashion_mnist/acgan": ("batch_norm", "auxiliary"),
    "fashion_mnist/cvae": ("concat", "concat"),
    "cifar10/sngan": ("none", "none"),
    "cifar10/projection": ("batch_norm", "projection"),
}
BY_NAME = {row.name: row for row in ROWS}


def test_every_row_is_known():
    assert BY_NAME.keys() == LABELS.keys()


@pytest.mark.parametrize("name", LABELS)
def test_the_label_comes_in_as_the_row_says(name):
    row = BY_NAME[name]
    made = Run(pathlib.Path(name), f"{row.config}:mnist_sample", row.fields).experiment
    sections = [made.config[part] for part in made.model.networks]
    assert tuple(section["conditioning"] for section in sections) == LABELS[name]
    assert row.labelled == (made.model.num_classes > 0)
