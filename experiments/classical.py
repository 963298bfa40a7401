"""Restoration without learning: scikit-image's, SciPy's and OpenCV's methods by degradation.

A method is a function of one observed image, float [H, W, C] in [0, 1], of the degradation's truth
(as genjax.imaging.degradations draws it: sigma, mask, kernel, factor ...) and of parameters. It is
told more than a user knows, but for two things that no user could know: haze's transmission and
airlight, and low light's gamma.

`METHODS` has the candidates for each kind of degradation. `choose` finds the one that restores
given images best, and the best of its parameters. No wavelets: they would need PyWavelets.
"""

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import jax.numpy as jnp
import numpy as np
from PIL import Image as Pillow
from scipy import ndimage, special
from skimage import exposure, restoration

from genjax.evaluation.evaluators import MAX_PSNR
from genjax.metrics.reconstruction import psnr

Image = np.ndarray  # float [H, W, C] in [0, 1]
Truth = Mapping[str, Any]


class Candidate(NamedTuple):
    """A method: its name, what restores an image, the values to try of each parameter."""

    name: str
    restore: Callable[..., Image]
    grid: Mapping[str, Sequence[Any]]

    def settings(self) -> Iterator[dict[str, Any]]:
        """Every combination of the grid's values."""
        for values in itertools.product(*self.grid.values()):
            yield dict(zip(self.grid, values, strict=True))


def kind(text: str) -> str:
    """The kind of a degradation's text; of several one after the other, the first one's."""
    return text.partition("+")[0].partition(":")[0]


def restore(
    candidate: Candidate, parameters: Mapping[str, Any], observed: Image, truth: Truth
) -> Image:
    """The restored image, cut to [0, 1]; the truth of a chain is a tuple, whose first counts."""
    truth = truth[0] if isinstance(truth, tuple) else truth
    restored = candidate.restore(observed, truth, **parameters)
    return np.clip(np.nan_to_num(restored), 0, 1).astype(np.float32)


def choose(
    candidates: Sequence[Candidate],
    images: np.ndarray,
    observed: np.ndarray,
    truths: Sequence[Truth],
) -> tuple[Candidate, dict[str, Any], float]:
    """The candidate and its parameters that restore `images` best, and their mean PSNR in dB."""

    def mean_psnr(candidate, parameters):
        one = functools.partial(restore, candidate, parameters)
        restored = np.stack([*map(one, observed, truths)])
        return float(psnr_in_8_bits(images, restored).mean())

    trials = [(each, setting) for each in candidates for setting in each.settings()]
    values = [mean_psnr(*trial) for trial in trials]
    return *trials[np.argmax(values)], max(values)


def in_8_bits(images: np.ndarray) -> np.ndarray:
    """The images as a file holds them: cut to [0, 1] and in steps of 1/255."""
    return (np.round(255 * np.clip(images, 0, 1)) / 255).astype(np.float32)


def psnr_in_8_bits(images: np.ndarray, restored: np.ndarray) -> np.ndarray:
    """PSNR in dB of each image as a file holds it; at most that of such a file."""
    values = psnr(jnp.asarray(images), jnp.asarray(in_8_bits(restored)))
    return np.minimum(np.asarray(values), MAX_PSNR)


def _nothing(observed: Image, truth: Truth) -> Image:
    del truth
    return observed


def _each_channel(function: Callable[[np.ndarray], np.ndarray], image: Image) -> Image:
    return np.stack([function(channel) for channel in np.moveaxis(image, -1, 0)], axis=-1)


def _all_channels(function: Callable[..., np.ndarray], image: Image, **options: Any) -> Image:
    """`function` of scikit-image, which wants images of one channel without its axis."""
    if image.shape[-1] == 1:
        return function(image[..., 0], **options)[..., None]
    return function(image, channel_axis=-1, **options)


# --- noise ---------------------------------------------------------------------------------------


def nonlocal_means(image: Image, sigma: float, *, strength: float, patch: int) -> Image:
    """Means of pixels whose surroundings are alike (Buades, Coll and Morel 2005)."""
    return _all_channels(
        functools.partial(restoration.denoise_nl_means, fast_mode=False),
        image,
        sigma=sigma,
        h=strength * sigma,
        patch_size=patch,
        patch_distance=5,
    )


def total_variation(image: Image, sigma: float, *, strength: float) -> Image:
    """The nearest image of little total variation (Chambolle 2004)."""
    return _all_channels(restoration.denoise_tv_chambolle, image, weight=strength * sigma)


def bilateral(image: Image, sigma: float, *, strength: float, radius: float) -> Image:
    """Means of near pixels of like value (Tomasi and Manduchi 1998)."""
    return _all_channels(
        restoration.denoise_bilateral,
        image,
        sigma_color=strength * sigma,
        sigma_spatial=radius,
        mode="edge",
    )


#: (name, denoiser of an image with noise of a known deviation, its grid).
DENOISERS = (
    (
        "non-local means",
        nonlocal_means,
        {"strength": (0.3, 0.45, 0.6, 0.8, 1.0, 1.3), "patch": (3, 5, 7)},
    ),
    ("total variation", total_variation, {"strength": (0.25, 0.35, 0.5, 0.7, 1.0, 1.4)}),
    ("bilateral filter", bilateral, {"strength": (1.0, 1.5, 2.5, 4.0), "radius": (1.0, 1.5, 2.5)}),
)


def _known_sigma(denoise: Callable[..., Image]) -> Callable[..., Image]:
    def restore(observed, truth, **options):
        sigma = float(truth["sigma"])
        return unclipped(denoise(observed, sigma, **options), sigma)

    return restore


def unclipped(means: np.ndarray, sigma: float) -> np.ndarray:
    """From the mean of noisy values that were cut to [0, 1] to that of the values (Foi 2009).

    Where black has noise, half of it is cut off, and what is left is brighter than black.
    """
    if sigma == 0:
        return means
    values = np.linspace(0, 1, 256)
    # Of x + sigma n what is above 0, less what of it is above 1.
    return np.interp(means, _above(values, sigma) - _above(values - 1, sigma), values)


def _above(mean: np.ndarray, sigma: float) -> np.ndarray:
    """The mean of max(x, 0) for a normal x."""
    ratio = mean / sigma
    return mean * special.ndtr(ratio) + sigma * np.exp(-0.5 * ratio**2) / math.sqrt(2 * math.pi)


def _as_if_normal(denoise: Callable[..., Image]) -> Callable[..., Image]:
    """Shot noise as normal noise of the deviation that it has on average."""

    def restore(observed, truth, **options):
        return denoise(observed, math.sqrt(max(observed.mean(), 1e-6) / truth["peak"]), **options)

    return restore


def _variance_stabilised(denoise: Callable[..., Image]) -> Callable[..., Image]:
    """`denoise` between Anscombe's transform and its inverse."""

    def restore(observed, truth, **options):
        peak = float(truth["peak"])
        highest = anscombe(peak)  # the transform has noise of deviation 1
        denoised = denoise(anscombe(peak * observed) / highest, 1 / highest, **options)
        return inverse_anscombe(highest * denoised) / peak

    return restore


def anscombe(counts: np.ndarray | float) -> np.ndarray | float:
    """Poisson counts to values whose deviation is about 1 (Anscombe 1948)."""
    return 2 * np.sqrt(counts + 3 / 8)


def inverse_anscombe(values: np.ndarray) -> np.ndarray:
    """From the mean of transformed counts to that of the counts (Mäkitalo and Foi 2011)."""
    values = np.maximum(values, anscombe(0.0))
    root = math.sqrt(3 / 2)
    return (
        values**2 / 4
        + root / (4 * values)
        - 11 / (8 * values**2)
        + 5 * root / (8 * values**3)
        - 1 / 8
    )


def median(observed: Image, truth: Truth, *, size: int) -> Image:
    """The median of every window of `size` x `size` pixels."""
    del truth
    return ndimage.median_filter(observed, (size, size, 1), mode="nearest")


def switching_median(observed: Image, truth: Truth, *, size: int, passes: int) -> Image:
    """Medians in the place of pixels that are quite black or white; again, with those, `passes`."""
    extreme = ((observed == 0) | (observed == 1)).all(-1, keepdims=True)
    image = observed
    for _ in range(passes):
        image = np.where(extreme, median(image, truth, size=size), image)
    return image


# --- holes ---------------------------------------------------------------------------------------


def biharmonic(observed: Image, truth: Truth) -> Image:
    """The smoothest continuation: its bilaplacian is 0 (Damelin and Hoang 2018)."""
    holes = truth["mask"][..., 0] == 0
    if not holes.any() or holes.all():
        return observed
    return _all_channels(restoration.inpaint_biharmonic, observed, mask=holes)


def inpainted(observed: Image, truth: Truth, *, method: int, radius: int) -> Image:
    """By OpenCV, from the border of what is missing inwards."""
    holes = (truth["mask"] == 0).astype(np.uint8)
    in_bytes = lambda channel: np.round(255 * channel).astype(np.uint8)
    fill = lambda channel: cv2.inpaint(in_bytes(channel), holes, radius, method) / 255
    return np.where(holes, _each_channel(fill, observed), observed)


INPAINTING = [
    Candidate("biharmonic inpainting", biharmonic, {}),
    *(
        Candidate(name, functools.partial(inpainted, method=method), {"radius": (1, 3, 5)})
        for name, method in (
            ("Telea's inpainting", cv2.INPAINT_TELEA),
            ("Navier-Stokes inpainting", cv2.INPAINT_NS),
        )
    ),
]


# --- blur ----------------------------------------------------------------------------------------


def _deconvolved(function: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Callable[..., Image]:
    """`function` of a channel and the kernel, on an image whose edge pixels go on beyond it."""

    def restore(observed, truth, **options):
        kernel = np.asarray(truth["kernel"], np.float64)
        radius = len(kernel) // 2
        margin = 2 * radius
        within = (slice(margin, -margin), slice(margin, -margin))

        def one(channel):
            padded = np.pad(channel.astype(np.float64), margin, mode="edge")
            return function(padded, kernel, **options)[within]

        return _each_channel(one, observed)

    return restore


def wiener(image: np.ndarray, kernel: np.ndarray, *, balance: float) -> np.ndarray:
    """Wiener's filter, with the Laplacian's square for the inverse of the image's power."""
    return restoration.wiener(image, kernel, balance, clip=False)


def unsupervised_wiener(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """The same, with a balance that Gibbs sampling finds (Orieux, Giovannelli and Rodet 2010)."""
    restored, _ = restoration.unsupervised_wiener(image, kernel, clip=False, rng=0)
    return restored


def richardson_lucy(image: np.ndarray, kernel: np.ndarray, *, steps: int) -> np.ndarray:
    """Multiplicative steps up the likelihood under shot noise (Richardson 1972, Lucy 1974)."""
    return restoration.richardson_lucy(
        image, kernel, num_iter=steps, clip=False, filter_epsilon=1e-3
    )


DEBLURRING = [
    Candidate(
        "Wiener filter", _deconvolved(wiener), {"balance": (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)}
    ),
    Candidate("unsupervised Wiener filter", _deconvolved(unsupervised_wiener), {}),
    Candidate("Richardson-Lucy", _deconvolved(richardson_lucy), {"steps": (6, 10, 15, 25, 40, 80)}),
]


# --- fewer pixels --------------------------------------------------------------------------------

RESAMPLING = {
    "bilinear": Pillow.Resampling.BILINEAR,
    "bicubic": Pillow.Resampling.BICUBIC,
    "Lanczos": Pillow.Resampling.LANCZOS,
}


def enlarge(observed: Image, truth: Truth, *, method: str, corrections: int) -> Image:
    """One pixel of each block, enlarged.

    Each correction adds what the blocks' means lack, enlarged (Irani and Peleg 1991).
    """
    factor = round(float(truth["factor"]))
    height, width, _ = observed.shape
    small = observed[::factor, ::factor]
    larger = lambda blocks: _each_channel(lambda one: _enlarged(one, factor, method), blocks)
    image = larger(small)
    for _ in range(corrections):
        blocks = image.reshape(len(small), factor, -1, factor, image.shape[-1])
        image = image + larger(small - blocks.mean((1, 3)))
    return image[:height, :width]


def _enlarged(channel: np.ndarray, factor: int, method: str) -> np.ndarray:
    height, width = channel.shape
    # Beyond the border Pillow has nothing, which bends what is near it.
    padded = Pillow.fromarray(np.pad(channel.astype(np.float32), 4, mode="edge"))
    size = (factor * (width + 8), factor * (height + 8))
    within = slice(4 * factor, -4 * factor)
    return np.asarray(padded.resize(size, RESAMPLING[method]))[within, within]


# --- light ---------------------------------------------------------------------------------------


def dark_channel(
    observed: Image, truth: Truth, *, size: int, share: float, lowest: float, refined: bool
) -> Image:
    """The darkest pixel of each window is black but for haze (He, Sun and Tang 2009).

    Args:
      observed: the image; a grey one is its own darkest channel.
      truth: not looked at: transmission and airlight are estimated.
      size: of the windows.
      share: of the haze that is taken away.
      lowest: transmission.
      refined: whether the transmission follows the image's edges (He, Sun and Tang 2010).
    """
    del truth
    darkest = lambda image: ndimage.minimum_filter(image.min(-1), size, mode="nearest")
    dark = darkest(observed)
    airlight = observed[dark >= np.quantile(dark, 0.999)].max(0).clip(1e-3)
    transmission = 1 - share * darkest(observed / airlight)
    if refined:
        transmission = guided_filter(observed.mean(-1), transmission, radius=2 * size, epsilon=1e-3)
    transmission = transmission.clip(lowest, 1)[..., None]
    return (observed - airlight) / transmission + airlight


def guided_filter(guide: np.ndarray, image: np.ndarray, radius: int, epsilon: float) -> np.ndarray:
    """Within each window a linear function of the guide (He, Sun and Tang 2010)."""
    mean = lambda values: ndimage.uniform_filter(values, 2 * radius + 1, mode="nearest")
    covariance = mean(guide * image) - mean(guide) * mean(image)
    slope = covariance / (mean(guide * guide) - mean(guide) ** 2 + epsilon)
    offset = mean(image) - slope * mean(guide)
    return mean(slope) * guide + mean(offset)


def _smooth(observed: Image, truth: Truth, strength: float) -> Image:
    """The dark image with less of its noise."""
    denoise = _known_sigma(total_variation)
    return denoise(observed, truth, strength=strength) if strength else observed


def equalised(observed: Image, truth: Truth, *, strength: float) -> Image:
    """Brightness becomes uniform over the image, after denoising."""
    return _each_channel(exposure.equalize_hist, _smooth(observed, truth, strength))


def equalised_locally(
    observed: Image, truth: Truth, *, strength: float, clip_limit: float, window: int
) -> Image:
    """The same in windows, with bounded contrast (Zuiderveld 1994)."""
    image = _smooth(observed, truth, strength)
    size = max(image.shape[0] // window, 2)
    equalise = functools.partial(
        exposure.equalize_adapthist, kernel_size=size, clip_limit=clip_limit
    )
    return _each_channel(equalise, image)


def brightened(observed: Image, truth: Truth, *, strength: float, mean: float) -> Image:
    """After denoising, the power that brings the mean to a value; the true gamma is not known."""
    image = _smooth(observed, truth, strength)
    low, high = 0.05, 1.0
    for _ in range(20):  # the mean falls as the power grows
        power = (low + high) / 2
        low, high = (power, high) if (image**power).mean() > mean else (low, power)
    return image**power


def lightened(observed: Image, truth: Truth, *, strength: float, power: float) -> Image:
    """After denoising, one power for all images."""
    return _smooth(observed, truth, strength) ** power


# --- all of them ---------------------------------------------------------------------------------

NONE = Candidate("none", _nothing, {})
_SMOOTHING = {"strength": (0.0, 0.5, 1.0, 2.0, 4.0)}


def _denoisers(
    how: Callable[..., Callable[..., Image]], prefix: str = "", **more: Sequence[Any]
) -> list[Candidate]:
    return [Candidate(f"{prefix}{name}", how(one), grid | more) for name, one, grid in DENOISERS]


def _some_sigma(denoise: Callable[..., Image]) -> Callable[..., Image]:
    return lambda observed, truth, *, sigma, **options: denoise(observed, sigma, **options)


#: By the kind of degradation.
METHODS: dict[str, list[Candidate]] = {
    "gaussian_noise": _denoisers(_known_sigma),
    "poisson_noise": [
        *_denoisers(_as_if_normal),
        *_denoisers(_variance_stabilised, "Anscombe, "),
    ],
    "salt_and_pepper": [
        Candidate("median filter", median, {"size": (3, 5)}),
        Candidate(
            "switching median filter", switching_median, {"size": (3, 5), "passes": (1, 2, 4)}
        ),
    ],
    "missing_pixels": INPAINTING,
    # Where black is likely, it may be better than any continuation.
    "missing_box": [NONE, *INPAINTING],
    "missing_half": [NONE, *INPAINTING],
    "gaussian_blur": DEBLURRING,
    "motion_blur": DEBLURRING,
    "downsample": [
        Candidate(
            f"{method} interpolation",
            functools.partial(enlarge, method=method),
            {"corrections": (0, 1, 3, 10)},
        )
        for method in RESAMPLING
    ],
    "haze": [
        Candidate(
            "dark channel prior",
            dark_channel,
            {
                "size": (3, 5, 9, 15),
                "share": (0.8, 0.95, 1.0),
                "lowest": (0.05, 0.1, 0.2, 0.3, 0.4),
                "refined": (False, True),
            },
        ),
    ],
    "low_light": [
        Candidate("histogram equalisation", equalised, _SMOOTHING),
        Candidate(
            "CLAHE",
            equalised_locally,
            _SMOOTHING | {"clip_limit": (0.01, 0.05), "window": (1, 4)},
        ),
        Candidate("gamma to a mean", brightened, _SMOOTHING | {"mean": (0.2, 0.3, 0.4, 0.5)}),
        Candidate(
            "gamma correction", lightened, _SMOOTHING | {"power": (0.2, 0.3, 0.4, 0.5, 0.6, 0.8)}
        ),
    ],
    "jpeg": [NONE, *_denoisers(_some_sigma, sigma=(0.03, 0.06, 0.12))],
}
