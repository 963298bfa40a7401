"""From thin to thick digits, without pairs: CycleGAN (Zhu et al. 2017).

python launch.py train --config=configs/thin_to_thick.py

On `mnist_sample`, last checkpoint, 500 test digits: mean absolute error 0.062, PSNR 15.3 dB, SSIM
0.725 (the thin digits themselves: error 0.186).

With `folders` in place of the data set, and --config.data.input_path=DIR and target_path=DIR, it
learns from two folders of your own.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "mnist_sample") -> ConfigDict:
    dataset, test = common.parse(arg)
    config = ConfigDict({"name": "thin_to_thick", "seed": 0})
    config.data = common.data(dataset)
    config.pairs = common.pairs(dataset, "thin", "thick")
    config.model = common.cyclegan_model()
    config.generator = common.unet(width=16, blocks=1, residual=False)
    config.discriminator = common.patches()
    config.optimizer = common.gan_optimizers(5e-4, b1=0.5, schedule="linear")
    config.training = common.training("1000 steps", 16)
    config.checkpoint = common.checkpoint("", "min")
    config.evaluation = common.no_judge()
    return common.shrink(config) if test else config
