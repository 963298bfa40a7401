"""The importance-weighted autoencoder, by the protocol of its paper (Burda et al. 2016, section 5).

python launch.py train --config=configs/iwae.py
python launch.py train --config=configs/iwae.py:fashion_mnist --config.model.draws=5
python launch.py train --config=configs/iwae.py --config.model.objective=elbo

Two dense layers of 200 and 50 latents, 50 draws for each image; pixels are drawn anew at each step.
The biases of the outputs start at the mean training image, as in the paper's code.
A rate goes down in eight stages, each three times as long as the one before; the last step counts.
Adam's epsilon is 1e-8, not the paper's 1e-4.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "mnist_sample") -> ConfigDict:
    dataset, test = common.parse(arg)
    config = ConfigDict({"name": "iwae", "seed": 0})
    config.data = common.data(dataset, binarize=True)
    config.model = common.vae_model(latent_size=50, objective="iwae", draws=50, output_bias="mean")
    config.encoder = common.network("mlp", **common.tanh(200, 200))
    config.decoder = common.network("mlp", **common.tanh(200, 200))
    config.update(common.by_stages(dataset))
    return common.shrink(config) if test else config
