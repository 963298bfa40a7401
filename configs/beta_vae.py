"""A beta-VAE (Higgins et al. 2017) for drawn shapes: `model.kl_weight` is beta.

python launch.py train --config=configs/beta_vae.py:shapes
python launch.py evaluate --workdir=runs/beta_vae-shapes --checkpoint=last --metrics=mig

On `shapes`, seed 0, last checkpoint on the test split: ELBO -164.6 nats, PSNR 26.4 dB, 9 active
units of 10, MIG 0.112. About four minutes on one CPU core.

Dense layers, as in the paper for two-dimensional shapes; a third as wide, one fewer in the decoder,
leaky ReLU instead of ReLU and tanh.
experiments/disentanglement.py sets what the latents stand for, and what is lost of the images,
against beta.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "shapes") -> ConfigDict:
    dataset, test = common.parse(arg)
    config = ConfigDict({"name": "beta_vae", "seed": 0})
    config.data = common.data(dataset)
    config.model = common.vae_model(latent_size=10, kl_weight=4.0)
    config.encoder = common.network("mlp", widths=(400, 400))
    config.decoder = common.network("mlp", widths=(400, 400))
    config.prior = common.prior()
    config.likelihood = ConfigDict({"name": "bernoulli"})
    config.optimizer = common.optimizer(1e-3, schedule="cosine")
    config.training = common.training(
        common.epochs(dataset, 80), 128, log_every="1 epoch", checkpoint_every="50 percent"
    )
    config.checkpoint = common.checkpoint("elbo", "max")
    config.evaluation = common.no_judge()
    return common.shrink(config) if test else config
