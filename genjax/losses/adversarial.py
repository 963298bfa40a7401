"""The games that a discriminator and a generator may play, on logits and per example."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from genjax.types import PerExample


@dataclasses.dataclass(frozen=True)
class AdversarialLoss:
    """What each of the two players minimises, in nats where the game has a likelihood.

    Attributes:
      discriminator: (real logits [batch], fake logits [batch]) -> loss [batch].
      generator: fake logits [batch] -> loss [batch].
    """

    discriminator: Callable[[PerExample, PerExample], PerExample]
    generator: Callable[[PerExample], PerExample]


def _cross_entropy(real_logits: PerExample, fake_logits: PerExample) -> PerExample:
    """-log D(real) - log(1 - D(fake)), where D is the sigmoid of the logit."""
    return jax.nn.softplus(-real_logits) + jax.nn.softplus(fake_logits)


def _minimax_generator(fake_logits: PerExample) -> PerExample:
    return -jax.nn.softplus(fake_logits)


def _non_saturating_generator(fake_logits: PerExample) -> PerExample:
    return jax.nn.softplus(-fake_logits)


def _least_squares_discriminator(real_logits: PerExample, fake_logits: PerExample) -> PerExample:
    return 0.5 * (jnp.square(real_logits - 1) + jnp.square(fake_logits))


def _least_squares_generator(fake_logits: PerExample) -> PerExample:
    return 0.5 * jnp.square(fake_logits - 1)


def _hinge_discriminator(real_logits: PerExample, fake_logits: PerExample) -> PerExample:
    return jax.nn.relu(1 - real_logits) + jax.nn.relu(1 + fake_logits)


def _wasserstein_discriminator(real_logits: PerExample, fake_logits: PerExample) -> PerExample:
    return fake_logits - real_logits


def _raise_the_logit(fake_logits: PerExample) -> PerExample:
    return -fake_logits


#: Goodfellow et al. 2014, eq. 1: the generator minimises log(1 - D(fake)), flat where D is sure.
minimax = AdversarialLoss(_cross_entropy, _minimax_generator)
#: Goodfellow et al. 2014, end of section 3: the generator minimises -log D(fake).
non_saturating = AdversarialLoss(_cross_entropy, _non_saturating_generator)
#: Mao et al. 2017, eq. 9 (a = 0, b = c = 1): the logit itself is the score, without a sigmoid.
least_squares = AdversarialLoss(_least_squares_discriminator, _least_squares_generator)
#: Lim and Ye 2017; Miyato et al. 2018, eqs. 16 and 17.
hinge = AdversarialLoss(_hinge_discriminator, _raise_the_logit)
#: Arjovsky et al. 2017, eqs. 2 and 3: holds only for a Lipschitz critic, so use it with a penalty
#: or with clipped weights (optimizer `boxed_rmsprop`).
wasserstein = AdversarialLoss(_wasserstein_discriminator, _raise_the_logit)

#: The losses that a config may name.
ADVERSARIAL_LOSSES = {
    "minimax": minimax,
    "non_saturating": non_saturating,
    "least_squares": least_squares,
    "hinge": hinge,
    "wasserstein": wasserstein,
}
