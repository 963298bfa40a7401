"""From edges to pictures, by pairs: pix2pix (Isola et al. 2017).

python launch.py train --config=configs/edges_to_photo.py:fashion_mnist

On `fashion_mnist`, with --config.training.duration='2 epochs', 10,000 test images: mean absolute
error 0.037, PSNR 23.4 dB, SSIM 0.799 (the edges themselves: 0.261, 9.0 dB, 0.058).

With `folders` in place of the data set, and --config.data.input_path=DIR and target_path=DIR, it
learns from two folders of your own, whose pictures have the same names.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "mnist_sample") -> ConfigDict:
    dataset, test = common.parse(arg)
    config = ConfigDict({"name": "edges_to_photo", "seed": 0})
    config.data = common.data(dataset)
    config.pairs = common.pairs(dataset, "edges")
    config.model = common.pix2pix_model(l1_weight=50.0)
    config.generator = common.unet(residual=False)
    config.discriminator = common.patches()
    config.optimizer = common.gan_optimizers(1e-3, 5e-4, b1=0.5, schedule="cosine")
    config.training = common.training(common.epochs(dataset, 40), 64)
    config.checkpoint = common.checkpoint("", "min")
    config.evaluation = common.no_judge()
    return common.shrink(config) if test else config
