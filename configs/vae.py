"""A convolutional VAE (Kingma and Welling 2014) with 20 latents.

python launch.py train --config=configs/vae.py

On `mnist_sample`, seed 0, last checkpoint on the test split: ELBO -108.8 nats, PSNR 20.4 dB, SSIM
0.873, 20 active units of 20; Frechet distance 85.8, class entropy 2.278 of 2.303 nats. About 1.2
minutes on two CPU cores.
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
    config.prior = common.prior()
    config.likelihood = ConfigDict({"name": "bernoulli"})
    config.optimizer = common.optimizer(1e-3, schedule="cosine")
    config.training = common.training(common.epochs(dataset, 40), 128)
    config.checkpoint = common.checkpoint("elbo", "max")
    config.evaluation = common.evaluation(dataset)
    return common.shrink(config) if test else config
