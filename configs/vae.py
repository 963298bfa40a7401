"""A convolutional VAE (Kingma and Welling 2014) with 20 latents.

    python launch.py train --config=configs/vae.py
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "mnist_sample") -> ConfigDict:
    dataset, test = common.parse(arg)
    config = ConfigDict({"name": "vae", "seed": 0})
    config.data = common.data(dataset)
    config.model = ConfigDict(
        {
            "name": "vae",
            "latent_size": 20,
            "kl_weight": 1.0,
            "kl_warmup": "5 percent",
            "free_bits": 0.0,
        }
    )
    network = {
        "name": "dcgan",
        "width": 32,
        "normalization": "batch",
        "spectral_norm": False,
        "conditioning": "none",
    }
    config.encoder = ConfigDict(network)
    config.decoder = ConfigDict(network)
    config.likelihood = ConfigDict({"name": "bernoulli"})
    config.optimizer = common.optimizer(1e-3)
    config.optimizer.schedule = "cosine"
    config.training = common.training("30 epochs", 100)
    config.checkpoint = common.checkpoint("elbo", "max")
    config.evaluation = common.evaluation(dataset)
    return common.shrink(config) if test else config
