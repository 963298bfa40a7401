"""The importance-weighted autoencoder of two stochastic layers; otherwise as configs/iwae.py.

python launch.py train --config=configs/iwae_chain.py
python launch.py train --config=configs/iwae_chain.py --config.model.objective=elbo

100 latents next to the image, and 50 above them behind two dense layers of 100.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "mnist_sample") -> ConfigDict:
    dataset, test = common.parse(arg)
    config = ConfigDict({"name": "iwae_chain", "seed": 0})
    config.data = common.data(dataset, binarize=True)
    config.model = common.vae_model(
        name="chain_vae", latent_size=(100, 50), objective="iwae", draws=50, output_bias="mean"
    )
    layers = {"name": "mlp", **common.tanh(200, 200), "second_widths": (100, 100)}
    config.encoder, config.decoder = ConfigDict(layers), ConfigDict(layers)
    config.update(common.by_stages(dataset))
    return common.shrink(config) if test else config
