"""A conditional DCGAN: conditional batch norm and projection (Miyato and Koyama 2018).

python launch.py train --config=configs/cgan.py
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "mnist_sample") -> ConfigDict:
    dataset, test = common.parse(arg)
    config = ConfigDict({"name": "cgan", "seed": 0})
    config.data = common.data(dataset)
    config.model = common.gan_model(loss="hinge")
    config.generator = common.network("dcgan", "batch_norm", width=32, normalization="batch")
    config.discriminator = common.network("dcgan", "projection", width=32, spectral_norm=True)
    config.optimizer = common.gan_optimizers(4e-4, 8e-4, b1=0.5)
    config.training = common.training(common.epochs(dataset, 70), 64)
    config.checkpoint = common.checkpoint("frechet_distance", "min")
    config.evaluation = common.evaluation(dataset)
    return common.shrink(config) if test else config
