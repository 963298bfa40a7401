"""The VAE of two levels of latents (Tomczak and Welling 2018, section 3.3).

    p(x, z1, z2) = p(z2) p(z1 | z2) p(x | z1, z2),  q(z1, z2 | x) = q(z2 | x) q(z1 | x, z2).

A row of latents is z2 and, beside it, z1 in deviations from its mean under p(z1 | z2). Those are
standard normal under p(z), whatever z2 is: so what is done with the latents of a VAE (samples,
interpolation, search) is done with these.
"""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp

from genjax.losses.priors import StandardNormal
from genjax.models.base import Drawn
from genjax.models.vae import VAE
from genjax.types import Latents, PerExample, Positions, PRNGKey, PyTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class HVAE(VAE):
    """A VAE of two levels; see `VAE` for the attributes.

    Attributes:
      encoder: a `TwoLevelEncoder`.
      decoder: a `TwoLevelDecoder`.
      prior: p(z2).
      latent_size: number of latents, half of them in each level.
    """

    levels: ClassVar[int] = 2

    @property
    def prior_size(self) -> int:
        """Number of latents that the prior is of."""
        return self.latent_size // 2

    def draw_latents(self, params: PyTree, encoded: PyTree, noise: Latents) -> Drawn:
        """z ~ q(z | x) of each row of what `encode` gave, made of standard normal `noise`."""
        *q_second, features = encoded
        noises = jnp.split(noise, 2, axis=-1)
        second = super().draw_latents(params, tuple(q_second), noises[0])
        given_second = lambda network, *inputs: getattr(self, network).apply(
            params[network], *inputs, method="given_second"
        )
        q_first = given_second("encoder", features, second.latents)
        mean, log_var = given_second("decoder", second.latents)
        first = super().draw_latents(params, q_first, noises[1])
        deviations = lambda latents: (latents - mean) * jnp.exp(-0.5 * log_var)
        return Drawn(
            jnp.concatenate([second.latents, deviations(first.latents)], axis=-1),
            # A density in deviations is that in latents times one deviation.
            second.log_prob + first.log_prob + 0.5 * log_var.sum(-1),
            jnp.concatenate([second.mean, deviations(first.mean)], axis=-1),
        )

    def log_prior(self, params: PyTree, latents: Latents) -> PerExample:
        """log p(z), in nats."""
        second, deviations = jnp.split(latents, 2, axis=-1)
        return super().log_prior(params, second) + StandardNormal().log_prob({}, deviations)

    def prior_latents(
        self, params: PyTree, noise: Latents, key: PRNGKey, positions: Positions
    ) -> Latents:
        """z ~ p(z) made of standard normal `noise`, and of what `key` gives to each position."""
        second, deviations = jnp.split(noise, 2, axis=-1)
        second = super().prior_latents(params, second, key, positions)
        return jnp.concatenate([second, deviations], axis=-1)
