"""How many of its latent dimensions a VAE uses."""

import numpy as np
from jaxtyping import Array, Float

from genjax.metrics.distribution import Moments


def active_units(
    posterior_means: Float[Array | np.ndarray, "num latent"] | Moments, threshold: float = 0.01
) -> int:
    """The number of dimensions whose posterior mean varies over the data (Burda et al. 2016, 5.2).

    Varies means a variance above `threshold`; a standard normal prior's is 1. Takes the posterior
    means themselves, or their moments where they arrive in batches.

    Raises:
      UserError: if there are fewer than two examples.
    """
    streamed = isinstance(posterior_means, Moments)
    moments = posterior_means if streamed else Moments.of(posterior_means)
    return int((moments.variance > threshold).sum())
