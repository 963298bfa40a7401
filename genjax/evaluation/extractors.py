"""What turns images into features and labels, so that sets of images can be compared."""

import dataclasses
import hashlib
from functools import partial

import jax
import numpy as np

from genjax.models.base import LabelReader
from genjax.types import PyTree


@partial(jax.jit, static_argnums=0)
def _predict(model, params, images):
    logits, features = model.predict(params, images)
    return logits.argmax(-1), features


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

    @property
    def sha256(self) -> str:
        """Of the names, shapes and bytes of all weights."""
        return hash_weights(self.params)

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images [batch, h, w, c] in [0, 1] to (labels [batch], features [batch, feature])."""
        labels, features = _predict(self.model, self.params, images)
        return np.asarray(labels), np.asarray(features)


def hash_weights(params: PyTree) -> str:
    """SHA-256 over the path, shape, type and bytes of every leaf, in the order of paths."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.shape} {array.dtype}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
