"""The article's configs for tests of whole runs: smaller still, and with statistics to keep.

The generator has conditional batch norm and the discriminator spectral norm, so that every part of
a TrainState is there. The judge is a perceptron; a small convolution takes longer to compile.
"""

from ml_collections import ConfigDict

from configs import article_cgan, article_vae
from configs.common import network

MODELS = {"vae": article_vae, "gan": article_cgan}


def get_config(arg: str) -> ConfigDict:
    model, _, dataset = arg.partition(",")
    config = MODELS[model].get_config(f"{dataset or 'mnist_sample'},test")
    config.training.update({"duration": "24 steps", "checkpoint_every": "8 steps"})
    encoder = config.evaluation.classifier.encoder
    del encoder.width
    encoder.update(network("mlp", widths=(16,)))
    config.evaluation.classifier.training.duration = "24 steps"
    if model == "gan":
        config.generator.update({"conditioning": "batch_norm", "normalization": "batch"})
        config.discriminator.spectral_norm = True
    return config
