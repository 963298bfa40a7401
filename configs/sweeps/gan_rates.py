"""Learning rates and momentum of a GAN's two networks: sixteen settings, drawn.

python launch.py sweep --config=configs/article_gan.py --sweep=configs/sweeps/gan_rates.py
"""

from configs import common


def get_sweep() -> dict:
    space = {
        "optimizer.generator.learning_rate": common.log_uniform(5e-5, 2e-3),
        "optimizer.discriminator.learning_rate": common.log_uniform(5e-5, 2e-3),
        "optimizer.generator.b1": common.uniform(0.0, 0.9),
    }
    return common.sweep(space, "frechet_distance", "min", num_samples=16)
