"""Generative image models (GAN, conditional GAN, VAE) in JAX: train, evaluate, use."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genjax.loaded import Loaded

__version__ = "0.1.0"


def load(workdir: str, checkpoint: str = "last") -> "Loaded":
    """The model of a run folder, ready for use; see `genjax.loaded.load`."""
    from genjax import loaded  # with JAX; asking for the version does not wait for it

    return loaded.load(workdir, checkpoint)
