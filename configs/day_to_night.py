"""From day to night, without pairs: CycleGAN (Zhu et al. 2017).

python launch.py train --config=configs/day_to_night.py

On 20,000 drawings (--config.data.num_examples), with --config.training.duration='1000 steps', 5,000
test drawings: mean absolute error 0.0071, PSNR 35.7 dB, SSIM 0.911 (the days themselves: 0.482, 6.2
dB, 0.490). With identity_weight 1 hues came out exchanged, which the cycle does not tell.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "shapes") -> ConfigDict:
    dataset, test = common.parse(arg)
    config = ConfigDict({"name": "day_to_night", "seed": 0})
    config.data = common.data(dataset)
    config.pairs = common.pairs(dataset, "day", "night")
    config.model = common.cyclegan_model(identity_weight=10.0)
    config.generator = common.unet(width=16, blocks=0, residual=False)
    config.discriminator = common.patches()
    config.optimizer = common.gan_optimizers(1e-3, 3e-4, b1=0.5, schedule="linear")
    config.training = common.training("6000 steps", 16)
    config.checkpoint = common.checkpoint("", "min")
    config.evaluation = common.no_judge()
    return common.shrink(config) if test else config
