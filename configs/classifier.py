"""The classifier that judges samples, as a run of its own.

python launch.py train --config=configs/classifier.py

On `mnist_sample` the last checkpoint reads 98.2% of the test digits.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "mnist_sample") -> ConfigDict:
    dataset, test = common.parse(arg)
    config = common.classifier(dataset)
    config.data = common.data(dataset, augment=config.augment)
    del config.augment
    config.name, config.seed = "classifier", 0
    return common.shrink(config) if test else config
