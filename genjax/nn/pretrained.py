"""Weights that PyTorch has saved, as Flax parameters."""

from collections.abc import Mapping

import numpy as np

from genjax.errors import UserError

#: A state dict: arrays by their names in PyTorch.
StateDict = Mapping[str, np.ndarray]


def take(weights: StateDict, name: str, shape: tuple[int, ...], where: str) -> np.ndarray:
    """The weights called `name`.

    Raises:
      UserError: they are missing or of another shape; `where` is the flag that named the file.
    """
    if name not in weights:
        raise UserError(f"{where}: the file has no weights {name!r}; is it another network's?")
    found = weights[name].shape
    if found != shape:
        raise UserError(
            f"{where}: {name!r} has shape {found}, not {shape}; another network's file?"
        )
    return weights[name]


def take_kernel(
    weights: StateDict, name: str, shape: tuple[int, int, int, int], where: str
) -> np.ndarray:
    """The convolution kernel called `name`, OIHW in PyTorch, as HWIO of `shape`; see `take`."""
    height, width, inputs, outputs = shape
    kernel = take(weights, name, (outputs, inputs, height, width), where)
    return kernel.transpose(2, 3, 1, 0)
