"""A VAE whose every quantity is known: factor analysis.

Four pixels are x = W'z + b + 0.5 noise, with two latents; the rows of W are orthogonal, so the true
posterior is a diagonal Gaussian,
  z | x ~ N(S W (x - b) / 0.25, S),  S = diag(1 / (1 + |w_i|^2 / 0.25)).
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from genjax import rng
from genjax.losses.likelihoods import Likelihood
from genjax.losses.priors import StandardNormal
from genjax.models.vae import VAE
from genjax.nn.heads import Posterior
from genjax.nn.mlp import MLPDecoder, MLPEncoder

W = np.array([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.8, -0.6]])
B, VARIANCE = np.array([0.1, 0.2, 0.3, 0.4]), 0.25
POSTERIOR_VARIANCE = 1 / (1 + (W**2).sum(1) / VARIANCE)


class Linear(Likelihood):
    """A normal density around the outputs themselves."""

    def log_prob(self, params, outputs, image):
        log_probs = -0.5 * (image - outputs) ** 2 / VARIANCE - 0.5 * np.log(2 * np.pi * VARIANCE)
        return log_probs.sum((1, 2, 3))

    def sample(self, params, outputs, key, positions):
        return outputs + np.sqrt(VARIANCE) * rng.normal(key, positions, outputs.shape[1:])

    def mean(self, outputs):
        return outputs

    def variance(self, params, outputs):
        return jnp.full_like(outputs, VARIANCE)


MODEL = VAE(
    # Without hidden layers, both networks are linear.
    encoder=Posterior(MLPEncoder(widths=()), 2),
    decoder=MLPDecoder(shape=(2, 2, 1), widths=()),
    prior=StandardNormal(),
    likelihood=Linear(),
    optimizer=optax.sgd(0.0),
    latent_size=2,
    num_classes=0,
    objective="elbo",
    draws=1,
    kl_weight=lambda step: 1.0,
    free_bits=0.0,
)


def known_params(mean_shift=0.0, log_var_shift=0.0):
    """The true decoder, and the true posterior but for a shift of each latent's two numbers."""
    to_mean = (W * POSTERIOR_VARIANCE[:, None] / VARIANCE).T
    kernel = np.concatenate([to_mean, np.zeros((4, 2))], axis=1)
    bias = np.concatenate([-B @ to_mean + mean_shift, np.log(POSTERIOR_VARIANCE) + log_var_shift])
    dense = lambda kernel, bias: {"params": {"Dense_0": {"kernel": kernel, "bias": bias}}}
    params = {"encoder": dense(kernel, bias), "decoder": dense(W, B)}
    params |= {"prior": {}, "likelihood": {}}
    return jax.tree.map(lambda leaf: jnp.array(leaf, jnp.float32), params)


def divergence(mean_shift, log_var_shift):
    """KL from a posterior so shifted to the true one, N(m + d, e^r v) to N(m, v), in nats."""
    shifts = mean_shift**2 / POSTERIOR_VARIANCE
    return 0.5 * (np.exp(log_var_shift) + shifts - 1 - log_var_shift).sum()


def log_evidence(images):
    """log p(x), x ~ N(b, W'W + 0.25 I), of images [n, 2, 2, 1]: float64 [n]."""
    x = np.asarray(images, np.float64).reshape(-1, 4) - B
    covariance = W.T @ W + VARIANCE * np.eye(4)
    distance = np.einsum("ni,ij,nj->n", x, np.linalg.inv(covariance), x)
    return -0.5 * (distance + np.linalg.slogdet(covariance)[1] + 4 * np.log(2 * np.pi))
