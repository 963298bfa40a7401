"""The network of restore_l1 as an image-conditional GAN: pix2pix (Isola et al. 2017).

python launch.py train --config=configs/restore_gan.py

On `fashion_mnist`, with --config.training.duration='8 epochs', 10,000 test images, each damaged in
one of 13 ways: PSNR 23.5 dB, SSIM 0.835 (damaged: 15.9 dB, 0.575).
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "mnist_sample") -> ConfigDict:
    dataset, test = common.parse(arg)
    config = ConfigDict({"name": "restore_gan", "seed": 0})
    config.data = common.data(dataset)
    config.pairs = common.pairs(dataset, common.DAMAGE)
    config.model = common.pix2pix_model()
    config.generator = common.unet()
    config.discriminator = common.patches()
    config.optimizer = common.gan_optimizers(3e-3, 5e-4, b1=0.5, schedule="cosine")
    config.optimizer.generator.update({"name": "muon", "b1": 0.9})
    config.training = common.training(common.epochs(dataset, 60), 64)
    config.checkpoint = common.checkpoint("mae", "min")
    config.evaluation = common.no_judge()
    return common.shrink(config) if test else config
