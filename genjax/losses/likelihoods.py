"""How a decoder's outputs become a distribution over images.

All have one interface, `Likelihood`. Log probabilities are in nats and summed over the pixels and
channels of each example, never averaged, so that they stand beside a KL divergence as they are.
"""

import abc
import dataclasses
import math
from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from genjax import rng
from genjax.errors import UserError
from genjax.types import Images, PerExample, Positions, PRNGKey

#: What a decoder gives: `outputs_per_channel` numbers, of any size, for each channel of the image.
Outputs = Float[Array, "batch height width output"]
#: Parameters of the likelihood itself, which are learned along with the decoder's.
Params = Mapping[str, Array]


class Likelihood(abc.ABC):
    """The common interface, for decoders whose outputs are the logits of the mean."""

    #: Decoder channels needed for each image channel.
    outputs_per_channel: ClassVar[int] = 1
    #: Whether `log_prob` is that of 8-bit pixel values: only then it has bits per dimension.
    over_256_levels: ClassVar[bool] = False

    def init(self) -> dict[str, Array]:
        """The learned global parameters; none by default."""
        return {}

    @abc.abstractmethod
    def log_prob(self, params: Params, outputs: Outputs, image: Images) -> PerExample:
        """Log probability of images in [0, 1], in nats, summed over each image's pixels."""

    @abc.abstractmethod
    def sample(
        self, params: Params, outputs: Outputs, key: PRNGKey, positions: Positions
    ) -> Images:
        """Images drawn from the distribution, each by its position.

        Those of a density over all numbers are not cut off at 0 and 1: they would have another.
        """

    def mean(self, outputs: Outputs) -> Images:
        """The expected image, in [0, 1]."""
        return jax.nn.sigmoid(outputs)

    @abc.abstractmethod
    def variance(self, params: Params, outputs: Outputs) -> Images:
        """The variance of each value around the mean."""


@dataclasses.dataclass(frozen=True)
class Bernoulli(Likelihood):
    """Each pixel is 1 with the probability whose logit the decoder gives (Kingma and Welling 2014).

    For binary images this is a log probability. For grey ones it is minus the cross entropy, which
    is fine to train on but no log density (Loaiza-Ganem and Cunningham 2019).
    """

    def log_prob(self, params: Params, outputs: Images, image: Images) -> PerExample:
        """Sum of x log p + (1 - x) log(1 - p), in nats."""
        del params
        # log(1 + exp(x)) by `log`, within 6e-8 of the value by `log1p`, which takes twice as long.
        softplus = jnp.maximum(outputs, 0) + jnp.log(1 + jnp.exp(-jnp.abs(outputs)))
        return _sum_over_pixels(image * outputs - softplus)

    def sample(self, params: Params, outputs: Images, key: PRNGKey, positions: Positions) -> Images:
        """Pixels that are 0 or 1."""
        del params
        uniform = rng.uniform(key, positions, outputs.shape[1:])
        return (uniform < self.mean(outputs)).astype(outputs.dtype)

    def variance(self, params: Params, outputs: Images) -> Images:
        """That of a binary pixel, p (1 - p): more than a grey one can have."""
        del params
        mean = self.mean(outputs)
        return mean * (1 - mean)


@dataclasses.dataclass(frozen=True)
class Gaussian(Likelihood):
    """A normal density around the sigmoid of the outputs, with a fixed standard deviation.

    Attributes:
      scale: the standard deviation, in units of the [0, 1] range.

    Raises:
      UserError: if `scale` is not positive.
    """

    scale: float = 0.1

    def __post_init__(self):
        if not self.scale > 0:
            raise UserError(f"scale: {self.scale} is no standard deviation; it must be above 0")

    def log_prob(self, params: Params, outputs: Images, image: Images) -> PerExample:
        """Log density in nats, at most -log(scale) - log(2 pi) / 2 for each pixel."""
        del params
        return _normal_log_prob(self.mean(outputs), math.log(self.scale), image)

    def sample(self, params: Params, outputs: Images, key: PRNGKey, positions: Positions) -> Images:
        """The mean and noise."""
        del params
        return _normal_sample(self.mean(outputs), math.log(self.scale), key, positions)

    def variance(self, params: Params, outputs: Outputs) -> Images:
        """The same everywhere."""
        del params
        return jnp.full_like(self.mean(outputs), self.scale**2)


@dataclasses.dataclass(frozen=True)
class GlobalGaussian(Likelihood):
    """A normal density around the sigmoid of the outputs, with one learned standard deviation.

    Dai and Wipf 2019; the sigma-VAE of Rybkin et al. 2021. As all pixels share the scale, it can
    only vanish if all of them are reconstructed without error; so it has no lower bound.
    """

    def init(self) -> dict[str, Array]:
        """`log_scale`, a scalar that starts at 0: a standard deviation of 1."""
        return {"log_scale": jnp.zeros(())}

    def log_prob(self, params: Params, outputs: Images, image: Images) -> PerExample:
        """Log density in nats."""
        return _normal_log_prob(self.mean(outputs), params["log_scale"], image)

    def sample(self, params: Params, outputs: Images, key: PRNGKey, positions: Positions) -> Images:
        """The mean and noise."""
        return _normal_sample(self.mean(outputs), params["log_scale"], key, positions)

    def variance(self, params: Params, outputs: Outputs) -> Images:
        """The same everywhere."""
        return jnp.full_like(self.mean(outputs), 1) * jnp.exp(2 * params["log_scale"])


@dataclasses.dataclass(frozen=True)
class PixelGaussian(Likelihood):
    """A normal density whose mean and standard deviation the decoder gives for each pixel.

    The first half of the output channels are the logits of the mean, the second half the log
    standard deviation. Where a pixel is the same in all images (a black border) the best deviation
    would be 0 and the density infinite, so it is softly kept above exp(min_log_scale) (as
    Rybkin et al. 2021 do): the log density of a pixel stays below -min_log_scale - log(2 pi) / 2.

    Attributes:
      min_log_scale: the bound; by default, exp(-6) is about two thirds of a grey level of 8 bits.
    """

    outputs_per_channel: ClassVar[int] = 2
    min_log_scale: float = -6.0

    def log_prob(self, params: Params, outputs: Outputs, image: Images) -> PerExample:
        """Log density in nats."""
        del params
        return _normal_log_prob(self.mean(outputs), self._log_scale(outputs), image)

    def sample(
        self, params: Params, outputs: Outputs, key: PRNGKey, positions: Positions
    ) -> Images:
        """The mean and noise."""
        del params
        return _normal_sample(self.mean(outputs), self._log_scale(outputs), key, positions)

    def mean(self, outputs: Outputs) -> Images:
        """The sigmoid of the first half of the channels, in [0, 1]."""
        logits, _ = jnp.split(outputs, 2, axis=-1)
        return jax.nn.sigmoid(logits)

    def variance(self, params: Params, outputs: Outputs) -> Images:
        """As the decoder gives it."""
        del params
        return jnp.exp(2 * self._log_scale(outputs))

    def _log_scale(self, outputs: Outputs) -> Images:
        _, raw_log_scale = jnp.split(outputs, 2, axis=-1)
        return _softly_above(raw_log_scale, self.min_log_scale)


@dataclasses.dataclass(frozen=True)
class DiscretizedLogistic(Likelihood):
    """The probability of each 8-bit grey level under a logistic that the decoder gives per pixel.

    A level k owns the interval (k +- 1/2) / 255; levels 0 and 255 also own all that lies beyond
    them, so the 256 probabilities sum to 1 (Salimans et al. 2017, eq. 2, with one component;
    Kingma et al. 2016). Hence log_prob / log(2) / number of pixels and channels, with its sign
    changed, is in bits per dimension. Images are rounded to the nearest level.

    The first half of the output channels are the locations, the second half the log scales, both
    as in the paper for pixels in [-1, 1]. A location may lie outside the range: that is how a
    pixel can be surely black.

    Attributes:
      min_log_scale: the log scale softly stays above it, which keeps gradients bounded.
    """

    outputs_per_channel: ClassVar[int] = 2
    over_256_levels: ClassVar[bool] = True
    min_log_scale: float = -7.0

    def log_prob(self, params: Params, outputs: Outputs, image: Images) -> PerExample:
        """Log probability in nats, never above 0."""
        del params
        return _logistic_log_prob(*self._location_and_log_scale(outputs), image)

    def sample(
        self, params: Params, outputs: Outputs, key: PRNGKey, positions: Positions
    ) -> Images:
        """Levels k / 255: the logistic's draw goes to the level that owns it."""
        del params
        location, log_scale = self._location_and_log_scale(outputs)
        uniform = rng.uniform(key, positions, location.shape[1:])
        drawn = location + jnp.exp(log_scale) * jax.scipy.special.logit(uniform)
        return jnp.clip(jnp.round(255 * drawn), 0, 255) / 255

    def mean(self, outputs: Outputs) -> Images:
        """The expected value in [0, 1] of the logistic with its tails moved to 0 and 1.

        That is the integral over t from 0 to 1 of P(pixel > t) = sigmoid((location - t) / scale),
        which differs from the mean over the 256 levels by less than half a level.
        """
        location, log_scale = self._location_and_log_scale(outputs)
        scale = jnp.exp(log_scale)
        integral = jax.nn.softplus(location / scale) - jax.nn.softplus((location - 1) / scale)
        return jnp.clip(scale * integral, 0, 1)

    def variance(self, params: Params, outputs: Outputs) -> Images:
        """That of the logistic with its tails, (pi scale)^2 / 3; of one cut off it is less."""
        del params
        _, log_scale = self._location_and_log_scale(outputs)
        return (math.pi * jnp.exp(log_scale)) ** 2 / 3

    def _location_and_log_scale(self, outputs: Outputs) -> tuple[Images, Images]:
        """Both for pixels in [0, 1], which is half as wide as the paper's [-1, 1]."""
        location, raw_log_scale = jnp.split(outputs, 2, axis=-1)
        log_scale = _softly_above(raw_log_scale, self.min_log_scale)
        return (location + 1) / 2, log_scale - math.log(2)


#: The likelihoods that a config may name.
LIKELIHOODS = {
    "bernoulli": Bernoulli,
    "gaussian": Gaussian,
    "global_gaussian": GlobalGaussian,
    "pixel_gaussian": PixelGaussian,
    "discretized_logistic": DiscretizedLogistic,
}


def _sum_over_pixels(log_probs: Images) -> PerExample:
    # As a product with ones: XLA on CPU would sum in one thread what goes into the sum, too.
    rows = log_probs.reshape(len(log_probs), -1)
    return jnp.dot(rows, jnp.ones(rows.shape[1]), precision=jax.lax.Precision.HIGHEST)


def _normal_log_prob(
    mean: Images, log_scale: Images | Float[Array, ""] | float, image: Images
) -> PerExample:
    standardised = (image - mean) / jnp.exp(log_scale)
    log_probs = -0.5 * jnp.square(standardised) - log_scale - 0.5 * math.log(2 * math.pi)
    return _sum_over_pixels(log_probs)


def _normal_sample(
    mean: Images,
    log_scale: Images | Float[Array, ""] | float,
    key: PRNGKey,
    positions: Positions,
) -> Images:
    return mean + jnp.exp(log_scale) * rng.normal(key, positions, mean.shape[1:])


def _logistic_log_prob(location: Images, log_scale: Images, image: Images) -> PerExample:
    level = jnp.round(255 * image)
    precision = jnp.exp(-log_scale)
    upper = ((level + 0.5) / 255 - location) * precision
    lower = ((level - 0.5) / 255 - location) * precision
    # sigmoid(upper) - sigmoid(lower)
    #   = sigmoid(upper) sigmoid(-lower) (1 - exp(lower - upper)):
    # three factors that all have a stable logarithm, however far out the bin lies.
    log_below_upper = jax.nn.log_sigmoid(upper)
    log_above_lower = jax.nn.log_sigmoid(-lower)
    log_width = jnp.log(-jnp.expm1(-precision / 255))
    inside = log_below_upper + log_above_lower + log_width
    log_probs = jnp.where(
        level <= 0, log_below_upper, jnp.where(level >= 255, log_above_lower, inside)
    )
    return _sum_over_pixels(log_probs)


def _softly_above(x: Images, minimum: float) -> Images:
    """About `x` well above `minimum`, about `minimum` below; the gradient fades but is not cut."""
    return minimum + jax.nn.softplus(x - minimum)
