"""What turns images into features and labels, so that sets of images can be compared."""

import dataclasses
import functools
import hashlib
import pathlib
from collections.abc import Callable
from functools import partial
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from genjax import compiling
from genjax.errors import UserError
from genjax.evaluation.weights import load_inception_weights, load_torch_weights
from genjax.models.base import LabelReader
from genjax.nn.inception import NUM_CLASSES, SIZE, Inception, inception_params
from genjax.nn.lpips import LPIPS, lpips_params
from genjax.nn.resize import RESIZES
from genjax.types import PyTree

#: How many images Inception takes at once: each needs 15 MB.
INCEPTION_BATCH = 32


class Extractor(Protocol):
    """Turns images into features.

    Attributes:
      name: what rows call it.
      sha256: of its weights; empty without any.
      resize: how it brings images to its size.
      num_classes: how many classes its logits tell apart; 0 if it has none.
    """

    name: str
    sha256: str
    resize: str
    num_classes: int

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Images [batch, h, w, c] in [0, 1] to (features [batch, feature], logits or None)."""


@partial(jax.jit, static_argnums=0)
def _predict(model, params, images):
    logits, features = model.predict(params, images)
    return features, logits


@dataclasses.dataclass(frozen=True, eq=False)
class ClassifierExtractor:
    """A classifier trained by genjax: its last features, and the labels that it reads.

    Attributes:
      model: the classifier.
      params: its inference parameters.
      num_classes: of the labels that it reads.
      name: what rows call it.
    """

    model: LabelReader
    params: PyTree
    num_classes: int
    name: str = "classifier"
    resize: str = "none"

    @functools.cached_property
    def sha256(self) -> str:
        """Of the names, shapes and bytes of all weights."""
        return hash_weights(self.params)

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images [batch, h, w, c] in [0, 1] to (features [batch, feature], logits)."""
        features, logits = _predict(self.model, self.params, images)
        return np.asarray(features), np.asarray(logits)


@dataclasses.dataclass(frozen=True)
class PixelExtractor:
    """The pixels themselves; what it says of photographs means little, of digits something.

    Under another `name`, features that came as such in place of images.
    """

    name: str = "pixels"
    sha256: str = ""
    resize: str = "none"
    num_classes: int = 0

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, None]:
        """Images [batch, h, w, c] to (their pixels [batch, h * w * c], None)."""
        return np.asarray(images).reshape(len(images), -1), None


@functools.cache
def _inception(resize: str) -> Callable:
    @compiling.jit()
    def run(params, images):
        images = jnp.round(255 * images) / 255  # FID is defined on pixels of 8 bits
        outputs = Inception().apply({"params": params}, RESIZES[resize](images, SIZE))
        return outputs.features, outputs.logits_unbiased

    return run


@dataclasses.dataclass(frozen=True, eq=False)
class InceptionExtractor:
    """The network by which FID, KID and the Inception score are defined.

    Attributes:
      params: its weights.
      sha256: of the file that they came from.
      resize: `tf1_bilinear`, by which the scores were first defined, or clean-fid's `antialiased`.
    """

    params: PyTree
    sha256: str
    resize: str = "tf1_bilinear"
    name: str = "inception"
    num_classes: int = NUM_CLASSES

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images [batch, h, w, 1 or 3] in [0, 1] to (features [batch, 2048], logits)."""
        run, parts = _inception(self.resize), []
        for start in range(0, len(images), INCEPTION_BATCH):
            part = np.asarray(images[start : start + INCEPTION_BATCH])
            padding = [(0, INCEPTION_BATCH - len(part))] + [(0, 0)] * 3
            outputs = run(self.params, np.pad(part, padding))  # one shape, to compile once
            parts.append([np.asarray(output)[: len(part)] for output in outputs])
        features, logits = (np.concatenate(each) for each in zip(*parts, strict=True))
        return features, logits


def load_inception(path: str, resize: str = "tf1_bilinear") -> InceptionExtractor:
    """Inception with the weights in the file `path`; `download` fetches them once.

    Raises:
      UserError: no path; no such file, or not the weights that FID is defined by.
    """
    if not path:
        raise UserError(
            "--inception: is missing; name the file pt_inception-2015-12-05-6726825d.pth, or "
            "'download' where there is a network"
        )
    folder = jax.config.jax_compilation_cache_dir or pathlib.Path.home() / ".cache" / "genjax"
    weights = load_inception_weights(path, folder, "--inception")
    params = jax.device_put(inception_params(weights.arrays, "--inception"))
    return InceptionExtractor(params, weights.sha256, resize)


@dataclasses.dataclass(frozen=True, eq=False)
class PerceptualDistance:
    """LPIPS on AlexNet.

    Attributes:
      params: its weights.
      sha256: of the file that they came from.
    """

    params: PyTree
    sha256: str

    def __call__(self, images: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Distances [batch] of images [batch, h, w, c] in [0, 1] from others."""
        return _lpips(self.params, images, others)


@jax.jit
def _lpips(params, images, others):
    return LPIPS().apply({"params": params}, images, others)


def load_lpips(path: str) -> PerceptualDistance:
    """LPIPS with the weights in the file `path`.

    Raises:
      UserError: no such file, or not such weights.
    """
    weights = load_torch_weights(path, None, "--lpips")
    return PerceptualDistance(lpips_params(weights.arrays, "--lpips"), weights.sha256)


def hash_weights(params: PyTree) -> str:
    """SHA-256 over the path, shape, type and bytes of every leaf, in the order of paths."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.shape} {array.dtype}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
