"""Factor analysis of images, x = W'z + mu + noise: every posterior has a closed form."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax import rng
from genjax.losses.priors import StandardNormal
from genjax.models.base import Drawn

LATENTS = 3
PRIOR = StandardNormal()


def patterns(size):
    """W [latent, pixel]: a step, a slope and a wave, each worth 0.08 of grey."""
    axis = np.linspace(-1, 1, size)
    rows, columns = np.meshgrid(axis, axis, indexing="ij")
    step, wave = np.where(rows > 0, 1.0, 0.0), np.cos(3 * rows + 2 * columns)
    return 0.08 * np.stack([step, columns, wave]).reshape(LATENTS, -1)


def greys(size):
    """mu [pixel], around 0.5."""
    axis = np.linspace(-1, 1, size)
    return 0.5 + 0.1 * np.sin(5 * np.outer(axis, axis)).ravel()


def params_of(w, mu, deviation=0.05, mean_shift=0.0, log_var_shift=0.0):
    """Parameters; `mu` is [pixel] or [class, pixel], the shifts are the encoder's errors."""
    params = {
        "w": w,
        "mu": mu,
        "variance": deviation**2,
        "mean_shift": mean_shift,
        "log_var_shift": log_var_shift,
    }
    return jax.tree.map(lambda leaf: jnp.array(leaf, jnp.float32), params)


@dataclasses.dataclass(frozen=True)
class Generator:
    """The images x = W'z + mu, and nothing of what lies around them."""

    size: int
    num_classes: int = 0
    latent_size: int = LATENTS

    def generate(self, params, latents, labels=None):
        mu = params["mu"] if labels is None else params["mu"][labels]
        return (latents @ params["w"] + mu).reshape(-1, self.size, self.size, 1)


@dataclasses.dataclass(frozen=True)
class Linear(Generator):
    """The whole model."""

    likelihood: Any = None
    prior: Any = PRIOR
    levels: int = 1

    def moments(self, params, latents, labels=None):
        mean = self.generate(params, latents, labels)
        return mean, jnp.full_like(mean, params["variance"])

    def encode(self, params, images, labels=None):
        """The true posterior but for its correlations and the shifts."""
        x = images.reshape(len(images), -1) - params["mu"]
        precision = jnp.eye(self.latent_size) + params["w"] @ params["w"].T / params["variance"]
        mean = jnp.linalg.solve(precision, params["w"] @ x.T / params["variance"]).T
        log_var = -jnp.log(jnp.diag(precision)) + params["log_var_shift"]
        return mean + params["mean_shift"], jnp.broadcast_to(log_var, mean.shape)

    def draw_latents(self, params, encoded, noise):
        mean, log_var = encoded
        return Drawn(mean + jnp.exp(0.5 * log_var) * noise, None, mean)

    def log_prior(self, params, latents):
        return self.prior.log_prob({}, latents)

    def prior_latents(self, params, noise, key, positions):
        return noise

    def simulate(self, params, latents, key, positions, labels=None):
        mean, variance = self.moments(params, latents, labels)
        return mean + jnp.sqrt(variance) * rng.normal(key, positions, mean.shape[1:])

    def bound(self, params, batch, key):
        raise NotImplementedError

    def log_likelihood(self, params, latents, images, labels=None):
        raise NotImplementedError
