"""Divergences from a posterior to the prior, in nats and per latent dimension."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from genjax.types import Latents


def gaussian_kl(mean: Latents, log_var: Latents) -> Latents:
    """KL(N(mean, exp(log_var)) || N(0, 1)) in nats, each dimension by itself; never negative.

    Kingma and Welling 2014, appendix B. Sum over the latent axis for the divergence of an example.
    """
    # expm1 keeps the digits that exp(log_var) - 1 would lose near the prior.
    return 0.5 * (jnp.square(mean) + (jnp.expm1(log_var) - log_var))


def free_bits(
    kl_per_dimension_mean: Float[Array, " latent"], nats: float | Float[Array, ""]
) -> Float[Array, ""]:
    """The sum over dimensions of max(KL, nats): `nats` of each dimension cost nothing extra.

    Kingma et al. 2016, eq. 15, with each latent dimension a group of its own. The mean over the
    (global) batch comes before the maximum, so pass KL that is averaged over examples.
    """
    return jnp.maximum(kl_per_dimension_mean, nats).sum()
