"""What the weight of the KL term does to a VAE's samples: four weights, each with two seeds.

python launch.py sweep --config=configs/article_vae.py --sweep=configs/sweeps/vae_beta.py
"""

from configs import common


def get_sweep() -> dict:
    space = {"model.kl_weight": common.grid(0.25, 0.5, 1.0, 2.0), "seed": common.seeds(2)}
    return common.sweep(space, "frechet_distance", "min")
