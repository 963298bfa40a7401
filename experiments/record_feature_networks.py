#!/usr/bin/env python3
"""What PyTorch's feature networks say of two images, with drawn weights, for the tests to compare.

    python experiments/record_feature_networks.py

Writes tests/evaluation/feature_networks.npz: the names and shapes of the weights, but not the
weights, which `draw_weights` draws again; the images; features, logits and distances.
"""

import hashlib
import json
import math
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests/evaluation/feature_networks.npz"
SIDE = 64


def draw_weights(shapes: Mapping[str, Sequence[int]]) -> dict[str, np.ndarray]:
    """Weights by name: such that activations stay of order one through all layers."""
    return {name: _weights(name, tuple(shape)) for name, shape in shapes.items()}


def _weights(name: str, shape: tuple[int, ...]) -> np.ndarray:
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if name.startswith("lin") or name.endswith(("bn.weight", "running_var", "scale")):
        return 1 + uniform(name, shape) / 2
    if name.endswith("weight"):
        # Behind a ReLU, such weights keep the mean square (He et al. 2015).
        return uniform(name, shape) * np.float32(math.sqrt(6 / math.prod(shape[1:])))
    return uniform(name, shape) / 10


def uniform(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """float32 in [-1, 1) by name, from the raw bits of Philox: no version of NumPy changes them."""
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "little")
    num = math.prod(shape)
    bits = np.random.Philox(key=key).random_raw(-(-num // 2)).view(np.uint32)[:num]
    return ((bits >> 8).astype(np.float32) / 2**23 - 1).reshape(shape)


def draw_images() -> np.ndarray:
    """uint8 [2, side, side, 3]: slopes under noise."""
    slope = np.linspace(0, 255, SIDE, dtype=np.float32)
    slopes = np.stack([np.add.outer(slope, slope) / 2, np.subtract.outer(slope, slope) / 2 + 128])
    noise = uniform("images", (2, SIDE, SIDE, 3))
    return np.clip(slopes[..., None] + 64 * noise, 0, 255).astype(np.uint8)


def main() -> None:
    """Runs the networks and writes."""
    import feature_networks_torch as networks
    import torch

    images = draw_images()
    tensors = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    recorded, shapes = {"images": images}, {}
    for network in (networks.Inception, networks.LPIPS):
        module = network()
        name = network.__name__.lower()
        shapes[name] = {key: list(tensor.shape) for key, tensor in module.state_dict().items()}
        networks.with_weights(module, draw_weights(shapes[name]))
        if name == "inception":
            resized = networks.tf1_bilinear(tensors, 299)
            recorded["features"], recorded["logits"] = module(resized)
        else:
            # One pair is of different images, the other of an image and its mirror image.
            others = torch.stack([tensors[1], tensors[1].flip(-1)])
            recorded["distances"] = module(tensors / 255, others / 255)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    recorded = {key: np.asarray(value) for key, value in recorded.items()}
    np.savez_compressed(OUT, shapes=json.dumps(shapes), **recorded)
    for key in ("features", "logits", "distances"):
        values = recorded[key]
        print(f"{key} {values.shape}: mean {values.mean():.3g}, deviation {values.std():.3g}")
    print(f"{OUT}: {OUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
