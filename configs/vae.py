"""A convolutional VAE (Kingma and Welling 2014) with 20 latents.

python launch.py train --config=configs/vae.py
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "mnist_sample") -> ConfigDict:
    dataset, test = common.parse(arg)
    config = ConfigDict({"name": "vae", "seed": 0})
    config.data = common.data(dataset)
    config.model = common.vae_model(kl_warmup="5 percent")
    config.encoder = common.network("dcgan", width=32, normalization="batch")
    config.decoder = common.network("dcgan", width=32, normalization="batch")
    config.likelihood = ConfigDict({"name": "bernoulli"})
    config.optimizer = common.optimizer(1e-3, schedule="cosine")
    config.training = common.training(common.epochs(dataset, 40), 128)
    config.checkpoint = common.checkpoint("elbo", "max")
    config.evaluation = common.evaluation(dataset)
    return common.shrink(config) if test else config
