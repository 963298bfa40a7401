"""What happens to pictures: noise, holes, blur, haze, darkness, coarse blocks.

A degradation is a pure function of one image [H, W, C] in [0, 1], a key and parameters,

    y = A(x; truth) + noise,

in two parts: `forward` is A, without a random draw, and `noisy` adds what no one can know. `draw`
chooses the truth: the parameters (each from a range) and what follows from them, as a mask or a
depth map. All of it can be differentiated in x; where `linear`, `adjoint` is A's.

In a config and on the command line a degradation is a text:

    gaussian_noise:0.1                     one parameter
    haze:beta=0.5..2,airlight=0.9          several, and a range from which one is drawn
    gaussian_blur:1.5+gaussian_noise:0.05  one after the other
    gaussian_noise:0.1|missing_box         one or the other, at random
"""

import abc
import dataclasses
import math
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from genjax import rng
from genjax.errors import UserError, choose, did_you_mean
from genjax.fields import Rule, errors_within
from genjax.types import Images, Positions, PRNGKey

#: One image, in [0, 1].
Image = Float[Array, "height width channel"]
#: Parameters by name, and what follows from them. Maps over the image are [H, W, 1].
Truth = dict[str, Any]
#: (height, width, channels) of an image.
Shape = tuple[int, int, int]
#: 1 where there is a pixel, else 0; or no mask.
Mask = Float[Array, "height width 1"] | None

SIGMA = Rule("a deviation from 0 to 1, white being 1", lambda v: 0 <= v <= 1)
SHARE = Rule("a share from 0 to 1", lambda v: 0 <= v <= 1)
PEAK = Rule("a number of photons above 0, at white", lambda v: v > 0)
PIXELS = Rule("a number of pixels above 0 and up to 64", lambda v: 0 < v <= 64)
DEGREES = Rule("an angle from 0 to 360 degrees", lambda v: 0 <= v <= 360)
FACTOR = Rule("2, 4 or 8", lambda v: v in (2, 4, 8))
DENSITY = Rule("a number from 0 to 10", lambda v: 0 <= v <= 10)
GAMMA = Rule("a number from 0.1 to 10", lambda v: 0.1 <= v <= 10)
QUALITY = Rule("a quality from 1 to 100", lambda v: 1 <= v <= 100)


@dataclasses.dataclass(frozen=True)
class Range:
    """A parameter drawn uniformly from [low, high]; a plain number where both are one."""

    low: float
    high: float

    def draw(self, key: PRNGKey) -> Float[Array, ""]:
        """One draw."""
        return jax.random.uniform(key, minval=self.low, maxval=self.high)


def _parameter(default: float, rule: Rule, high: float | None = None) -> Any:
    default = Range(default, default if high is None else high)
    return dataclasses.field(default=default, metadata={"rule": rule})


@dataclasses.dataclass(frozen=True)
class Degradation:
    """The common interface, by itself the degradation that does nothing."""

    #: Whether `forward` is linear in the image.
    linear: ClassVar[bool] = True
    #: Whether a value of `forward` depends on the value at its own place only.
    pointwise: ClassVar[bool] = True

    @property
    def block(self) -> int:
        """The side of the blocks of pixels, from the upper left corner on, that come out alike."""
        return 1

    def repeats(self, truth: Truth) -> Float[Array, ""]:
        """How many values of `forward` say one thing of what a model has got wrong."""
        del truth
        return jnp.ones(())

    def draw(self, key: PRNGKey, shape: Shape) -> Truth:
        """The truth for an image of `shape`: each parameter by its name."""
        del shape
        fields = dataclasses.fields(self)
        return {
            field.name: getattr(self, field.name).draw(rng.stream(key, field.name))
            for field in fields
            if isinstance(getattr(self, field.name), Range)
        }

    def known(
        self, shape: tuple[int, int, int], mask: Float[Array, "h w 1"] | None = None
    ) -> Truth:
        """The truth as far as it can be told without having done the damage.

        Args:
          shape: of the image.
          mask: 1 where there is a pixel; for degradations with holes.

        Raises:
          UserError: a parameter is a range, or there is more to know than parameters and a mask.
        """
        del mask
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Range) and value.low != value.high:
                raise UserError(
                    f"--degradation: {_name_of(self)}: {field.name} is drawn from {value.low:g} to "
                    f"{value.high:g}; to undo the damage, name the value"
                )
        return Degradation.draw(self, jax.random.key(0), shape)

    @property
    def has_holes(self) -> bool:
        """Whether pixels may be missing."""
        return False

    def present(self, image: Image, truth: Truth) -> Float[Array, "height width 1"]:
        """1 where something was seen of the image, else 0."""
        del truth
        return jnp.ones((*image.shape[:2], 1), image.dtype)

    def forward(self, image: Image, truth: Truth) -> Image:
        """A(x; truth): what would be seen without noise."""
        del truth
        return image

    def noisy(self, image: Image, key: PRNGKey, truth: Truth) -> Image:
        """What is seen where `forward` gave `image`."""
        del key, truth
        return image

    def noise_variance(self, observed: Image, mean: Image, spread: Image, truth: Truth) -> Image:
        """The variance of the noise on `observed`.

        Args:
          observed: what was seen.
          mean: what is expected there.
          spread: the variance of that expectation.
          truth: as drawn.
        """
        del observed, spread, truth
        return jnp.zeros_like(mean)

    def adjoint(self, observed: Image, truth: Truth) -> Image:
        """A'(y): <A x, y> = <x, A' y> for every x. For linear degradations only."""
        if not self.linear:
            raise TypeError(f"{type(self).__name__} is not linear and has no adjoint")
        return jax.linear_transpose(lambda image: self.forward(image, truth), observed)(observed)[0]

    def __call__(self, image: Image, key: PRNGKey) -> tuple[Image, Truth]:
        """(what is seen, cut to [0, 1]; the truth)."""
        truth = self.draw(rng.stream(key, "truth"), image.shape)
        seen = self.noisy(self.forward(image, truth), rng.stream(key, "noise"), truth)
        return jnp.clip(seen, 0, 1), truth


def degrade(
    degradation: Degradation, images: Images, key: PRNGKey, positions: Positions
) -> tuple[Images, Truth]:
    """(observed, truth) of every image, each with draws of its own by its position."""
    one = lambda image, position: degradation(image, jax.random.fold_in(key, position))
    return jax.vmap(one)(images, positions)


# --- noise ---------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class GaussianNoise(Degradation):
    """Normal noise of deviation `sigma` on every value."""

    sigma: Range = _parameter(0.1, SIGMA)

    def noisy(self, image: Image, key: PRNGKey, truth: Truth) -> Image:
        """x + sigma n."""
        return image + truth["sigma"] * jax.random.normal(key, image.shape)

    def noise_variance(self, observed: Image, mean: Image, spread: Image, truth: Truth) -> Image:
        """sigma^2."""
        return jnp.full_like(mean, 1) * truth["sigma"] ** 2


@dataclasses.dataclass(frozen=True)
class PoissonNoise(Degradation):
    """Shot noise: white is `peak` photons on average. Its gradient is that of its mean."""

    peak: Range = _parameter(30, PEAK)

    def noisy(self, image: Image, key: PRNGKey, truth: Truth) -> Image:
        """Poisson(peak x) / peak."""
        rate = jax.lax.stop_gradient(image.clip(0, 1)) * truth["peak"]
        few = self.peak.high <= FEW_PHOTONS
        counts = _few_counts(key, rate, self.peak.high) if few else jax.random.poisson(key, rate)
        return image + jax.lax.stop_gradient(counts / truth["peak"] - image)

    def noise_variance(self, observed: Image, mean: Image, spread: Image, truth: Truth) -> Image:
        """x / peak."""
        return mean.clip(0) / truth["peak"]


#: exp(-FEW_PHOTONS) is well within what float32 can hold.
FEW_PHOTONS = 64


def _few_counts(key: PRNGKey, rate: Image, highest: float) -> Image:
    """Poisson counts by inversion, one for each rate up to `highest`.

    The same draws as a sampler for any rate would give in distribution, in an eighth of the time.
    """
    uniform = jax.random.uniform(key, rate.shape)

    def step(count, state):
        counts, below, probability = state
        counts += uniform >= below
        probability *= rate / (count + 1.0)
        return counts, below + probability, probability

    least = jnp.exp(-rate)
    most = math.ceil(highest + 7 * math.sqrt(highest) + 7)
    start = jnp.zeros_like(rate), least, least
    counts, _, _ = jax.lax.fori_loop(0, most, step, start, unroll=8)
    return counts


@dataclasses.dataclass(frozen=True)
class SaltAndPepper(Degradation):
    """A share `amount` of all pixels is white or black, as likely."""

    amount: Range = _parameter(0.1, SHARE)

    def noisy(self, image: Image, key: PRNGKey, truth: Truth) -> Image:
        """x, 0 or 1, the same in all channels."""
        uniform = jax.random.uniform(key, (*image.shape[:2], 1))
        white, touched = uniform < truth["amount"] / 2, uniform < truth["amount"]
        return jnp.where(touched, white.astype(image.dtype), image)

    def noise_variance(self, observed: Image, mean: Image, spread: Image, truth: Truth) -> Image:
        """As if the noise were normal, and as wide as the pixel is likely to be one of them."""
        spread = spread + 1e-4
        density = jnp.exp(-0.5 * (observed - mean) ** 2 / spread) / jnp.sqrt(2 * jnp.pi * spread)
        extreme = (observed <= 0) | (observed >= 1)
        # Of the 256 levels, noise knows two.
        noise = jnp.where(extreme, truth["amount"] / 2, 0)
        untouched = (1 - truth["amount"]) * density / 255
        return spread * (noise / (untouched + 1e-9)).clip(0, 1e6)


# --- holes ---------------------------------------------------------------------------------------


class Missing(Degradation, abc.ABC):
    """Pixels are missing, and black. `mask` is 1 where there is a pixel."""

    @abc.abstractmethod
    def mask(self, key: PRNGKey, shape: tuple[int, int], truth: Truth) -> Float[Array, "h w"]:
        """Where there are pixels, for an image of `shape` (height, width)."""

    def draw(self, key: PRNGKey, shape: Shape) -> Truth:
        """The parameters and `mask` [H, W, 1]."""
        truth = super().draw(key, shape)
        mask = self.mask(rng.stream(key, "mask"), shape[:2], truth)
        return truth | {"mask": mask.astype(jnp.float32)[..., None]}

    def known(
        self, shape: tuple[int, int, int], mask: Float[Array, "h w 1"] | None = None
    ) -> Truth:
        """The mask is all there is to know."""
        if mask is None:
            raise UserError(
                f"--mask: is missing; {_name_of(self)!r} does not say which pixels are missing"
            )
        return {"mask": mask}

    @property
    def has_holes(self) -> bool:
        """They are."""
        return True

    def present(self, image: Image, truth: Truth) -> Float[Array, "height width 1"]:
        """The mask."""
        del image
        return truth["mask"]

    def forward(self, image: Image, truth: Truth) -> Image:
        """The mask's product with the image."""
        return image * truth["mask"]


def _axes(shape: tuple[int, int]) -> tuple[Float[Array, "h 1"], Float[Array, "1 w"]]:
    """The pixels' centres, as shares of the height and of the width."""
    along = lambda size: (jnp.arange(size) + 0.5) / size
    return along(shape[0])[:, None], along(shape[1])[None, :]


@dataclasses.dataclass(frozen=True)
class MissingPixels(Missing):
    """Each pixel is missing with probability `share`."""

    share: Range = _parameter(0.5, SHARE)

    def mask(self, key: PRNGKey, shape: tuple[int, int], truth: Truth) -> Float[Array, "h w"]:
        """Independent draws."""
        return jax.random.uniform(key, shape) >= truth["share"]


@dataclasses.dataclass(frozen=True)
class MissingBox(Missing):
    """A box is missing anywhere in the image, its sides `size` of the image's."""

    size: Range = _parameter(0.4, SHARE)

    def mask(self, key: PRNGKey, shape: tuple[int, int], truth: Truth) -> Float[Array, "h w"]:
        """The box's upper left corner is uniform over where it fits."""
        size = truth["size"]
        corner = (1 - size) * jax.random.uniform(key, (2,))
        outside = lambda axis, low: (axis < low) | (axis >= low + size)
        rows, columns = _axes(shape)
        return outside(rows, corner[0]) | outside(columns, corner[1])


@dataclasses.dataclass(frozen=True)
class MissingHalf(Missing):
    """One side of the image is missing, `share` of it: left, right, top or bottom, as likely."""

    share: Range = _parameter(0.5, SHARE)

    def mask(self, key: PRNGKey, shape: tuple[int, int], truth: Truth) -> Float[Array, "h w"]:
        """Half a plane."""
        rows, columns = (jnp.broadcast_to(axis, shape) for axis in _axes(shape))
        sides = jnp.stack([rows, 1 - rows, columns, 1 - columns])
        return sides[jax.random.randint(key, (), 0, 4)] >= truth["share"]


# --- blur ----------------------------------------------------------------------------------------


def _convolve(image: Image, kernel: Float[Array, "k k"]) -> Image:
    """The convolution, as large as the image, whose edge pixels go on beyond it."""
    radius = kernel.shape[0] // 2
    height, width, _ = image.shape
    padded = jnp.pad(image, ((radius, radius), (radius, radius), (0, 0)), mode="edge")
    size = padded.shape[:2]
    # The kernel's middle comes first, so that nothing is shifted.
    full = jnp.zeros(size).at[: kernel.shape[0], : kernel.shape[1]].set(kernel)
    full = jnp.roll(full, (-radius, -radius), (0, 1))
    spectrum = jnp.fft.rfft2(padded, axes=(0, 1)) * jnp.fft.rfft2(full)[..., None]
    blurred = jnp.fft.irfft2(spectrum, size, axes=(0, 1))
    return blurred[radius : radius + height, radius : radius + width]


class Blur(Degradation, abc.ABC):
    """The image is convolved with `kernel`, [k, k], which sums to 1."""

    pointwise: ClassVar[bool] = False

    @abc.abstractmethod
    def kernel(self, truth: Truth) -> Float[Array, "k k"]:
        """The kernel."""

    def draw(self, key: PRNGKey, shape: Shape) -> Truth:
        """The parameters and `kernel`."""
        truth = super().draw(key, shape)
        return truth | {"kernel": self.kernel(truth)}

    def known(
        self, shape: tuple[int, int, int], mask: Float[Array, "h w 1"] | None = None
    ) -> Truth:
        """The parameters and `kernel`."""
        truth = super().known(shape)
        return truth | {"kernel": self.kernel(truth)}

    def repeats(self, truth: Truth) -> Float[Array, ""]:
        """The kernel's width, as the root of 1 / sum k^2, its area.

        What a model gets wrong are edges: alike along a line, not over an area. With the width,
        bands of 90 % hold 88 to 90 % of the pixels of blurred images; with 1, 71 to 77 %.
        """
        return jax.lax.rsqrt(jnp.sum(truth["kernel"] ** 2))

    def forward(self, image: Image, truth: Truth) -> Image:
        """The convolution; beyond the border the edge pixels go on."""
        return _convolve(image, truth["kernel"])


@dataclasses.dataclass(frozen=True)
class GaussianBlur(Blur):
    """A normal kernel of deviation `sigma`, in pixels."""

    sigma: Range = _parameter(1, PIXELS)

    def kernel(self, truth: Truth) -> Float[Array, "k k"]:
        """Three deviations to each side."""
        radius = math.ceil(3 * self.sigma.high)
        row = jnp.exp(-0.5 * (jnp.arange(-radius, radius + 1) / truth["sigma"]) ** 2)
        row = row / row.sum()
        return row[:, None] * row[None, :]


@dataclasses.dataclass(frozen=True)
class MotionBlur(Blur):
    """The camera moved by `length` pixels at `angle` degrees, counter-clockwise from the right."""

    length: Range = _parameter(7, PIXELS)
    angle: Range = _parameter(0, DEGREES, high=180)

    def kernel(self, truth: Truth) -> Float[Array, "k k"]:
        """Points along the way, each shared among the four pixels around it."""
        radius = math.ceil(self.length.high / 2)
        way = truth["length"] * jnp.linspace(-0.5, 0.5, 8 * radius + 1)
        angle = jnp.deg2rad(truth["angle"])
        pixels = jnp.arange(-radius, radius + 1)
        near = lambda places: (1 - jnp.abs(places[:, None] - pixels)).clip(0)
        kernel = near(-way * jnp.sin(angle)).T @ near(way * jnp.cos(angle))
        return kernel / kernel.sum()


@dataclasses.dataclass(frozen=True)
class Downsample(Degradation):
    """Every block of `factor` x `factor` pixels is its mean: a picture of fewer, larger pixels."""

    pointwise: ClassVar[bool] = False

    factor: Range = _parameter(2, FACTOR)

    def __post_init__(self):
        if self.factor.low != self.factor.high:
            raise UserError("downsample: factor is one number, not a range; join two by '|'")

    @property
    def block(self) -> int:
        """The factor."""
        return int(self.factor.low)

    def repeats(self, truth: Truth) -> Float[Array, ""]:
        """All of a block."""
        del truth
        return jnp.float32(self.block**2)

    def forward(self, image: Image, truth: Truth) -> Image:
        """Means of blocks, in an image of the same size."""
        del truth
        factor, (height, width, channels) = self.block, image.shape
        image = jnp.pad(image, ((0, -height % factor), (0, -width % factor), (0, 0)), mode="edge")
        blocks = image.reshape(len(image) // factor, factor, -1, factor, channels).mean((1, 3))
        return blocks.repeat(factor, 0).repeat(factor, 1)[:height, :width]


# --- light ---------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Haze(Degradation):
    """Atmospheric scattering (Narasimhan and Nayar 2002): y = t x + (1 - t) airlight.

    The transmission t is exp(-beta depth), and the depth, in [0, 1], varies over the image: from
    one side to the other, in waves.
    """

    linear: ClassVar[bool] = False  # it is affine

    beta: Range = _parameter(1, DENSITY)
    airlight: Range = _parameter(0.8, SHARE, high=1.0)

    def draw(self, key: PRNGKey, shape: Shape) -> Truth:
        """The parameters, `depth` and `transmission`, both [H, W, 1]."""
        truth = super().draw(key, shape)
        angle, *waves = jax.random.uniform(rng.stream(key, "depth"), (7,)) * 2 * jnp.pi
        rows, columns = _axes(shape[:2])
        depth = 2 * (jnp.cos(angle) * rows + jnp.sin(angle) * columns)
        for number, phase in enumerate(waves[:3]):
            turn = waves[3 + number]
            way = jnp.cos(turn) * rows + jnp.sin(turn) * columns
            depth += 0.4 * jnp.sin(2 * jnp.pi * (number + 1) / 2 * way + phase)
        depth = (depth - depth.min()) / (depth.max() - depth.min() + 1e-9)
        transmission = jnp.exp(-truth["beta"] * depth)
        return truth | {"depth": depth[..., None], "transmission": transmission[..., None]}

    def known(
        self, shape: tuple[int, int, int], mask: Float[Array, "h w 1"] | None = None
    ) -> Truth:
        """Nobody knows how far away everything is."""
        raise UserError(
            "--degradation: haze: how thick it is at each pixel is not known; restore by a model "
            "that is trained for it, as configs/restore_l1.py"
        )

    def forward(self, image: Image, truth: Truth) -> Image:
        """t x + (1 - t) airlight."""
        transmission = truth["transmission"]
        return transmission * image + (1 - transmission) * truth["airlight"]


@dataclasses.dataclass(frozen=True)
class LowLight(Degradation):
    """Too little light: y = x^gamma, and noise of deviation `sigma` on what is left."""

    linear: ClassVar[bool] = False

    gamma: Range = _parameter(2.5, GAMMA)
    sigma: Range = _parameter(0.03, SIGMA)

    def forward(self, image: Image, truth: Truth) -> Image:
        """x^gamma."""
        return image.clip(1e-4) ** truth["gamma"]

    def noisy(self, image: Image, key: PRNGKey, truth: Truth) -> Image:
        """With normal noise."""
        return image + truth["sigma"] * jax.random.normal(key, image.shape)

    def noise_variance(self, observed: Image, mean: Image, spread: Image, truth: Truth) -> Image:
        """sigma^2."""
        return jnp.full_like(mean, 1) * truth["sigma"] ** 2


# --- coding --------------------------------------------------------------------------------------

#: Of brightness, at quality 50 (ITU-T T.81, table K.1).
QUANTISATION = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ],
    np.float32,
)
_PLACES = (np.arange(8) + 0.5) * np.arange(8)[:, None]
#: The orthonormal cosine transform of 8 values (DCT-II).
COSINES = np.cos(np.pi / 8 * _PLACES) * np.where(np.arange(8) == 0, 0.5, 0.5**0.5)[:, None] / 2**0.5


@dataclasses.dataclass(frozen=True)
class Jpeg(Degradation):
    """JPEG's loss: the cosine transform of each 8x8 block in whole steps (ITU-T T.81, annex A).

    Every channel is treated as brightness. Rounding has the gradient of the identity.
    """

    quality: Range = _parameter(20, QUALITY)

    def _steps(self, truth: Truth) -> Float[Array, "8 8"]:
        quality = truth["quality"]
        scale = jnp.where(quality < 50, 50 / quality, 2 - quality / 50)
        return jnp.clip(QUANTISATION * scale, 1, 255)

    def noisy(self, image: Image, key: PRNGKey, truth: Truth) -> Image:
        """The image from its rounded coefficients."""
        del key
        height, width, channels = image.shape
        padded = jnp.pad(image, ((0, -height % 8), (0, -width % 8), (0, 0)), mode="edge")
        blocks = 255 * padded.reshape(len(padded) // 8, 8, -1, 8, channels) - 128
        steps = self._steps(truth)[None, :, None, :, None]
        cosines = jnp.asarray(COSINES, image.dtype)
        scaled = jnp.einsum("ui,vj,aibjc->aubvc", cosines, cosines, blocks) / steps
        rounded = scaled + jax.lax.stop_gradient(jnp.round(scaled) - scaled)
        blocks = jnp.einsum("ui,vj,aubvc->aibjc", cosines, cosines, rounded * steps)
        return ((blocks + 128) / 255).reshape(padded.shape)[:height, :width]

    def noise_variance(self, observed: Image, mean: Image, spread: Image, truth: Truth) -> Image:
        """That of rounding to a step, over the quarter of lowest frequencies.

        The higher ones hold less than their steps, and lose no more than they hold.
        """
        steps = self._steps(truth)[:4, :4] / 255
        return jnp.full_like(mean, 1) * (steps**2).mean() / 12


# --- put together --------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Chain(Degradation):
    """One after the other; the truth is a tuple with each one's."""

    stages: tuple[Degradation, ...]

    @property
    def linear(self) -> bool:
        """If all are."""
        return all(stage.linear for stage in self.stages)

    @property
    def pointwise(self) -> bool:
        """If all are."""
        return all(stage.pointwise for stage in self.stages)

    @property
    def block(self) -> int:
        """That of the coarsest."""
        return max(stage.block for stage in self.stages)

    def repeats(self, truth: Any) -> Float[Array, ""]:
        """As the one that repeats most."""
        parts = zip(self.stages, truth, strict=True)
        return jnp.max(jnp.stack([stage.repeats(each) for stage, each in parts]))

    def draw(self, key: PRNGKey, shape: Shape) -> Any:
        """Each one's."""
        keys = jax.random.split(key, len(self.stages))
        return tuple(stage.draw(key, shape) for stage, key in zip(self.stages, keys, strict=True))

    def known(self, shape: Shape, mask: Mask = None) -> Any:
        """Each one's; a mask is that of all with holes."""
        return tuple(stage.known(shape, mask) for stage in self.stages)

    @property
    def has_holes(self) -> bool:
        """Whether one of the stages makes some."""
        return any(stage.has_holes for stage in self.stages)

    def present(self, image: Image, truth: Any) -> Float[Array, "height width 1"]:
        """What no stage lost."""
        parts = zip(self.stages, truth, strict=True)
        return math.prod(stage.present(image, each) for stage, each in parts)

    def forward(self, image: Image, truth: Any) -> Image:
        """All of them without noise."""
        for stage, each in zip(self.stages, truth, strict=True):
            image = stage.forward(image, each)
        return image

    def noise_variance(self, observed: Image, mean: Image, spread: Image, truth: Any) -> Image:
        """The sum: what a later degradation does to an earlier one's noise is not followed."""
        parts = zip(self.stages, truth, strict=True)
        return sum(stage.noise_variance(observed, mean, spread, each) for stage, each in parts)

    def __call__(self, image: Image, key: PRNGKey) -> tuple[Image, Any]:
        """(what is seen, cut to [0, 1] after each; every truth)."""
        truths = []
        for number, stage in enumerate(self.stages):
            image, truth = stage(image, jax.random.fold_in(key, number))
            truths.append(truth)
        return image, tuple(truths)


@dataclasses.dataclass(frozen=True)
class Mixture(Degradation):
    """One of several, as likely. For training only.

    The truth is `choice`, its number, and `present`, its mask [H, W, 1] or ones.
    """

    linear: ClassVar[bool] = False

    choices: tuple[Degradation, ...]

    def __call__(self, image: Image, key: PRNGKey) -> tuple[Image, Truth]:
        """(what is seen, which one it was)."""
        choice = jax.random.randint(rng.stream(key, "choice"), (), 0, len(self.choices))
        own = rng.stream(key, "own")

        def branch(one: Degradation, image: Image) -> tuple[Image, Image]:
            seen, truth = one(image, own)
            return seen, one.present(image, truth)

        branches = [partial(branch, one) for one in self.choices]
        seen, present = jax.lax.switch(choice, branches, image)
        return seen, {"choice": choice, "present": present}

    @property
    def has_holes(self) -> bool:
        """Whether one of the choices makes some."""
        return any(choice.has_holes for choice in self.choices)

    def present(self, image: Image, truth: Truth) -> Float[Array, "height width 1"]:
        """What that one left."""
        del image
        return truth["present"]

    def known(
        self, shape: tuple[int, int, int], mask: Float[Array, "h w 1"] | None = None
    ) -> Truth:
        """Which of them it was is not known."""
        raise UserError("--degradation: is one of several ('|'); to undo it, name the one it was")

    def forward(self, image: Image, truth: Truth) -> Image:
        """As for `known`."""
        return self.known(image.shape)


# --- names ---------------------------------------------------------------------------------------

#: The degradations that a text may name.
DEGRADATIONS: dict[str, Callable[..., Degradation]] = {
    "none": Degradation,
    "gaussian_noise": GaussianNoise,
    "poisson_noise": PoissonNoise,
    "salt_and_pepper": SaltAndPepper,
    "missing_pixels": MissingPixels,
    "missing_box": MissingBox,
    "missing_half": MissingHalf,
    "gaussian_blur": GaussianBlur,
    "motion_blur": MotionBlur,
    "downsample": Downsample,
    "haze": Haze,
    "low_light": LowLight,
    "jpeg": Jpeg,
}


def _name_of(degradation: Degradation) -> str:
    return next(name for name, kind in DEGRADATIONS.items() if kind is type(degradation))


def parse(where: str, text: str, table: dict[str, Callable[..., Degradation]] = DEGRADATIONS):
    """The degradation that `text` describes, as the module's docstring has it.

    Raises:
      UserError: naming the field or flag `where`, for a name or a number that can not be.
    """
    choices = [_chain(where, part, table) for part in text.split("|")]
    return choices[0] if len(choices) == 1 else Mixture(tuple(choices))


def _chain(where: str, text: str, table: dict[str, Callable[..., Degradation]]) -> Degradation:
    stages = [_stage(where, part.strip(), table) for part in text.split("+")]
    return stages[0] if len(stages) == 1 else Chain(tuple(stages))


def _stage(where: str, text: str, table: dict[str, Callable[..., Degradation]]) -> Degradation:
    name, _, arguments = text.partition(":")
    make = choose(where, name.strip(), table)
    fields = {field.name: field.metadata["rule"] for field in dataclasses.fields(make)}
    given: dict[str, Range] = {}
    for argument in filter(None, (part.strip() for part in arguments.split(","))):
        key, equals, value = argument.rpartition("=")
        key = key.strip() if equals else next((f for f in fields if f not in given), "")
        if key not in fields:
            named = f"{name}: no such parameter {key or value!r}"
            raise UserError(f"{where}: {named}{did_you_mean(key, fields) if fields else ''}")
        if key in given:
            raise UserError(f"{where}: {name}: {key} is given twice")
        given[key] = _range(f"{where}: {name}: {key}", value.strip(), fields[key])
    with errors_within(where):
        return make(**given)


def _range(where: str, text: str, rule: Rule) -> Range:
    ends: Sequence[str] = text.split("..")
    number = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)")
    if len(ends) > 2 or not all(number.fullmatch(end.strip()) for end in ends):
        raise UserError(f"{where}: {text!r} is no number; write 0.1, or 0.1..0.3 for a range")
    values = [float(end) for end in ends]
    for value in values:
        if not rule.holds(value):
            raise UserError(f"{where}: {value:g} is not {rule.text}")
    if values[-1] < values[0]:
        raise UserError(f"{where}: {text!r} runs downwards; try {ends[1]}..{ends[0]}")
    return Range(values[0], values[-1])
