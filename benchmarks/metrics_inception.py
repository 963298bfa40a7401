"""Inception features as genjax and as PyTorch take them, with drawn weights, for a benchmark.

Both builders take uint8 images [batch, 299, 299, 3] and give a function that runs the network on
them once, to the features [batch, 2048] as a NumPy array.
"""

import functools
from collections.abc import Callable

import numpy as np
from cases import ROOT  # puts experiments/ on the path

from experiments.record_feature_networks import draw_weights

Round = Callable[[], np.ndarray]
#: The ways to run PyTorch; the fastest is the one to beat.
VARIANTS = ("eager", "channels_last", "compile")


@functools.cache
def _weights() -> dict[str, np.ndarray]:
    import json

    with np.load(ROOT / "tests/evaluation/feature_networks.npz") as file:
        return draw_weights(json.loads(str(file["shapes"]))["inception"])


def genjax(images: np.ndarray) -> Round:
    """By `genjax.nn.inception`."""
    import jax

    from genjax import compiling
    from genjax.nn.inception import Inception, inception_params

    params = jax.device_put(inception_params(_weights(), "benchmark"))
    network = compiling.jit()(
        lambda params, x: Inception().apply({"params": params}, x / 255).features
    )
    return lambda: np.asarray(network(params, images))


def pytorch(images: np.ndarray, variant: str) -> Round:
    """By the port of `experiments/feature_networks_torch.py`, run as `variant` says."""
    import torch

    from experiments.feature_networks_torch import Inception, with_weights

    module = with_weights(Inception(), _weights())
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
    if variant == "channels_last":
        module = module.to(memory_format=torch.channels_last)
    else:
        pixels = pixels.contiguous()
    if variant == "compile":
        module = torch.compile(module)

    @torch.inference_mode()
    def run() -> np.ndarray:
        return module(pixels.float())[0].numpy()

    return run
