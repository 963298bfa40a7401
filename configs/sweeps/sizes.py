"""How large a VAE of dense layers should be: Optuna looks, ASHA ends what is behind.

pip install -e '.[sweep]'
python launch.py sweep --config=configs/article_vae.py --sweep=configs/sweeps/sizes.py --engine=ray
"""

from configs import common


def get_sweep() -> dict:
    space = {
        "model.latent_size": common.uniform(2, 64),
        "optimizer.learning_rate": common.log_uniform(1e-4, 1e-2),
        "training.batch_size": common.choice(32, 64, 128, 256),
    }
    return common.sweep(
        space, "elbo", "max", num_samples=20, search="optuna", early_stopping="asha"
    )
