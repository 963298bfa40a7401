"""SNGAN (Miyato et al. 2018): residual networks, spectral normalisation, hinge loss.

python launch.py train --config=configs/sngan.py
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "mnist_sample") -> ConfigDict:
    dataset, test = common.parse(arg)
    config = ConfigDict({"name": "sngan", "seed": 0})
    config.data = common.data(dataset)
    # The paper's setting needs a GPU; on small grey digits a narrow one learns in minutes.
    width, d_steps = (16, 1) if config.data.channels == 1 else (128, 5)
    config.model = common.gan_model(loss="hinge", d_steps=d_steps, latent_size=128)
    config.generator = common.network("resnet", width=width, normalization="batch")
    config.discriminator = common.network("resnet", width=width, spectral_norm=True)
    config.optimizer = common.gan_optimizers(2e-4, b1=0.0, b2=0.9)
    config.training = common.training(common.epochs(dataset, 50), 64)
    config.checkpoint = common.checkpoint("frechet_distance", "min")
    config.evaluation = common.evaluation()
    return common.shrink(config) if test else config
