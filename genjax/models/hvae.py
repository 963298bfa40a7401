"""VAEs of two levels of latents, z1 beside the image and z2 above it.

    p(x, z1, z2) = p(z2) p(z1 | z2) p(x | z1, z2),  q(z1, z2 | x) = q(z2 | x) q(z1 | x, z2)

(Tomczak and Welling 2018, section 3.3), or a chain in which each sees its neighbour alone,

    p(x, z1, z2) = p(z2) p(z1 | z2) p(x | z1),  q(z1, z2 | x) = q(z1 | x) q(z2 | z1)

(Burda et al. 2016). A row of latents is z2 and, beside it, z1 in deviations from its mean under
p(z1 | z2). Those are standard normal under p(z), whatever z2 is: so what is done with the latents
of a VAE (samples, interpolation, search) is done with these.
"""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array

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
      latent_size: number of latents in both levels.
      second_size: of them in z2.
    """

    levels: ClassVar[int] = 2

    second_size: int

    @property
    def prior_size(self) -> int:
        """Number of latents that the prior is of."""
        return self.second_size

    def draw_latents(self, params: PyTree, encoded: PyTree, noise: Latents) -> Drawn:
        """z ~ q(z | x) of each row of what `encode` gave, made of standard normal `noise`."""
        first, second = self._drawn(params, encoded, self._split(noise))
        mean, log_var = self._given(params, "decoder", "given_second", second.latents)
        deviations = lambda latents: (latents - mean) * jnp.exp(-0.5 * log_var)
        return Drawn(
            jnp.concatenate([second.latents, deviations(first.latents)], axis=-1),
            # A density in deviations is that in latents times one deviation.
            second.log_prob + first.log_prob + 0.5 * log_var.sum(-1),
            jnp.concatenate([second.mean, deviations(first.mean)], axis=-1),
        )

    def log_prior(self, params: PyTree, latents: Latents) -> PerExample:
        """log p(z), in nats."""
        second, deviations = self._split(latents)
        return super().log_prior(params, second) + StandardNormal().log_prob({}, deviations)

    def prior_latents(
        self, params: PyTree, noise: Latents, key: PRNGKey, positions: Positions
    ) -> Latents:
        """z ~ p(z) made of standard normal `noise`, and of what `key` gives to each position."""
        second, deviations = self._split(noise)
        second = super().prior_latents(params, second, key, positions)
        return jnp.concatenate([second, deviations], axis=-1)

    def _drawn(
        self, params: PyTree, encoded: PyTree, noises: Sequence[Latents]
    ) -> tuple[Drawn, Drawn]:
        """z1 and z2 of q(z | x), made of the noises of z2 and z1."""
        *q_second, features = encoded
        second = super().draw_latents(params, tuple(q_second), noises[0])
        q_first = self._given(params, "encoder", "given_second", features, second.latents)
        return super().draw_latents(params, q_first, noises[1]), second

    def _given(self, params: PyTree, network: str, method: str, *inputs: Array) -> PyTree:
        return getattr(self, network).apply(params[network], *inputs, method=method)

    def _split(self, latents: Latents) -> list[Latents]:
        """z2, and what stands for z1."""
        return jnp.split(latents, [self.second_size], axis=-1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChainVAE(HVAE):
    """A VAE whose levels are a chain; see `VAE` for the attributes.

    Attributes:
      encoder: a `ChainEncoder`.
      decoder: a `ChainDecoder`.
      prior: p(z2).
      latent_size: number of latents in both levels.
      second_size: of them in z2.
    """

    def _drawn(
        self, params: PyTree, encoded: PyTree, noises: Sequence[Latents]
    ) -> tuple[Drawn, Drawn]:
        """z1 and z2 of q(z | x), made of the noises of z2 and z1."""
        first = VAE.draw_latents(self, params, encoded, noises[1])
        q_second = self._given(params, "encoder", "given_first", first.latents)
        return first, VAE.draw_latents(self, params, q_second, noises[0])
