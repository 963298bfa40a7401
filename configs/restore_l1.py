"""A network that undoes any damage of `common.DAMAGE`: a U-Net under L1 loss.

It is not told which damage, but for which pixels are missing, if any are.

python launch.py train --config=configs/restore_l1.py

On `fashion_mnist`, last checkpoint, 10,000 test images, each damaged in one of 13 ways: PSNR
24.3 dB, SSIM 0.856 (damaged: 15.2 dB, 0.538). results/restoration.md has each kind of damage. In
short runs of 60,000 images, nine kinds came out at 22.5 dB by Muon, and at 19.0 dB by Adam.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "mnist_sample") -> ConfigDict:
    dataset, test = common.parse(arg)
    config = ConfigDict({"name": "restore_l1", "seed": 0})
    config.data = common.data(dataset)
    # Pixels missing at random take a network longest to learn; they come three times as often.
    config.pairs = common.pairs(dataset, common.DAMAGE + 2 * "|missing_pixels:0.3..0.85")
    config.model = ConfigDict({"name": "regression", "ema_decay": 0.999})
    config.generator = common.unet()
    config.optimizer = common.optimizer(
        5e-3, name="muon", b1=0.95, schedule="cosine", warmup="2 percent", clip_norm=1.0
    )
    config.training = common.training(common.epochs(dataset, 120), 64)
    config.checkpoint = common.checkpoint("mae", "min")
    config.evaluation = common.no_judge()
    return common.shrink(config) if test else config
