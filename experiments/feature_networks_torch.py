"""The feature networks in PyTorch, by the names of the published files' state dicts.

What genjax's are checked against and timed beside: no batch norm is folded and no branch is merged.
"""

import numpy as np
import torch
from torch import Tensor, nn

relu = nn.functional.relu


class Conv(nn.Module):
    """A convolution without bias, batch norm, ReLU; "same" padding unless `padding` is 0."""

    def __init__(self, inputs: int, outputs: int, size=1, stride: int = 1, padding=None):
        super().__init__()
        size = (size, size) if isinstance(size, int) else size
        if padding is None:
            padding = tuple(side // 2 for side in size)
        self.conv = nn.Conv2d(inputs, outputs, size, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, inputs, height, width] to [batch, outputs, height', width']."""
        return relu(self.bn(self.conv(x)))


def average(x: Tensor) -> Tensor:
    """The mean of every 3x3 pixels, without padding at the edges."""
    return nn.functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


def maximum(x: Tensor) -> Tensor:
    """The maximum of every 3x3 pixels."""
    return nn.functional.max_pool2d(x, 3, 1, 1)


def halve(x: Tensor) -> Tensor:
    """The maximum of every other 3x3 pixels."""
    return nn.functional.max_pool2d(x, 3, 2)


class Branches(nn.Module):
    """Layers by name, and the chains of them whose outputs are concatenated.

    A chain is a string of names; after a slash come layers that all see what is before it. Where
    the first name is `pool`, the chain begins with `pool`.
    """

    def __init__(self, layers: dict[str, Conv], chains: str, pool=average):
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.chains, self.pool = chains.split(","), pool

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channel, height, width] to [batch, channel', height', width']."""
        parts = []
        for chain in self.chains:
            trunk, _, leaves = chain.partition("/")
            y = x
            for name in trunk.split():
                y = self.pool(y) if name == "pool" else getattr(self, name)(y)
            parts += [getattr(self, name)(y) for name in leaves.split()] or [y]
        return torch.cat(parts, 1)


def block_a(inputs: int, pooled: int) -> Branches:
    """The block of 35x35 pixels."""
    layers = {
        "branch1x1": Conv(inputs, 64),
        "branch5x5_1": Conv(inputs, 48),
        "branch5x5_2": Conv(48, 64, 5),
        "branch3x3dbl_1": Conv(inputs, 64),
        "branch3x3dbl_2": Conv(64, 96, 3),
        "branch3x3dbl_3": Conv(96, 96, 3),
        "branch_pool": Conv(inputs, pooled),
    }
    chains = (
        "branch1x1,branch5x5_1 branch5x5_2,"
        "branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3,pool branch_pool"
    )
    return Branches(layers, chains)


def block_b(inputs: int) -> Branches:
    """From 35x35 to 17x17 pixels."""
    layers = {
        "branch3x3": Conv(inputs, 384, 3, 2, 0),
        "branch3x3dbl_1": Conv(inputs, 64),
        "branch3x3dbl_2": Conv(64, 96, 3),
        "branch3x3dbl_3": Conv(96, 96, 3, 2, 0),
    }
    return Branches(layers, "branch3x3,branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3,pool", halve)


def block_c(inputs: int, width: int) -> Branches:
    """The block of 17x17 pixels."""
    layers = {
        "branch1x1": Conv(inputs, 192),
        "branch7x7_1": Conv(inputs, width),
        "branch7x7_2": Conv(width, width, (1, 7)),
        "branch7x7_3": Conv(width, 192, (7, 1)),
        "branch7x7dbl_1": Conv(inputs, width),
        "branch7x7dbl_2": Conv(width, width, (7, 1)),
        "branch7x7dbl_3": Conv(width, width, (1, 7)),
        "branch7x7dbl_4": Conv(width, width, (7, 1)),
        "branch7x7dbl_5": Conv(width, 192, (1, 7)),
        "branch_pool": Conv(inputs, 192),
    }
    double = " ".join(f"branch7x7dbl_{number}" for number in range(1, 6))
    chains = f"branch1x1,branch7x7_1 branch7x7_2 branch7x7_3,{double},pool branch_pool"
    return Branches(layers, chains)


def block_d(inputs: int) -> Branches:
    """From 17x17 to 8x8 pixels."""
    layers = {
        "branch3x3_1": Conv(inputs, 192),
        "branch3x3_2": Conv(192, 320, 3, 2, 0),
        "branch7x7x3_1": Conv(inputs, 192),
        "branch7x7x3_2": Conv(192, 192, (1, 7)),
        "branch7x7x3_3": Conv(192, 192, (7, 1)),
        "branch7x7x3_4": Conv(192, 192, 3, 2, 0),
    }
    seven = " ".join(f"branch7x7x3_{number}" for number in range(1, 5))
    return Branches(layers, f"branch3x3_1 branch3x3_2,{seven},pool", halve)


def block_e(inputs: int, pool) -> Branches:
    """The block of 8x8 pixels."""
    layers = {
        "branch1x1": Conv(inputs, 320),
        "branch3x3_1": Conv(inputs, 384),
        "branch3x3_2a": Conv(384, 384, (1, 3)),
        "branch3x3_2b": Conv(384, 384, (3, 1)),
        "branch3x3dbl_1": Conv(inputs, 448),
        "branch3x3dbl_2": Conv(448, 384, 3),
        "branch3x3dbl_3a": Conv(384, 384, (1, 3)),
        "branch3x3dbl_3b": Conv(384, 384, (3, 1)),
        "branch_pool": Conv(inputs, 192),
    }
    chains = (
        "branch1x1,branch3x3_1/branch3x3_2a branch3x3_2b,"
        "branch3x3dbl_1 branch3x3dbl_2/branch3x3dbl_3a branch3x3dbl_3b,pool branch_pool"
    )
    return Branches(layers, chains, pool)


class Inception(nn.Module):
    """The Inception-v3 of FID: see `genjax.nn.inception`."""

    def __init__(self):
        super().__init__()
        self.Conv2d_1a_3x3 = Conv(3, 32, 3, 2, 0)
        self.Conv2d_2a_3x3 = Conv(32, 32, 3, 1, 0)
        self.Conv2d_2b_3x3 = Conv(32, 64, 3)
        self.Conv2d_3b_1x1 = Conv(64, 80)
        self.Conv2d_4a_3x3 = Conv(80, 192, 3, 1, 0)
        self.Mixed_5b = block_a(192, 32)
        self.Mixed_5c = block_a(256, 64)
        self.Mixed_5d = block_a(288, 64)
        self.Mixed_6a = block_b(288)
        self.Mixed_6b = block_c(768, 128)
        self.Mixed_6c = block_c(768, 160)
        self.Mixed_6d = block_c(768, 160)
        self.Mixed_6e = block_c(768, 192)
        self.Mixed_7a = block_d(768)
        self.Mixed_7b = block_e(1280, average)
        self.Mixed_7c = block_e(2048, maximum)
        self.fc = nn.Linear(2048, 1008)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """[batch, 3, 299, 299] from 0 to 255 to features [batch, 2048] and logits [batch, 1008]."""
        x = (images - 128) / 128
        x = halve(self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x))))
        x = halve(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x)))
        for name, block in self.named_children():
            x = block(x) if name.startswith("Mixed") else x
        features = x.mean((2, 3))
        return features, self.fc(features)


def tf1_bilinear(images: Tensor, size: int) -> Tensor:
    """TensorFlow 1's resize of [batch, channel, side, side], by PyTorch's grid sampling."""
    side = images.shape[-1]
    # A grid's -1 and 1 are the centres of the first and the last pixel.
    places = torch.arange(size, dtype=torch.float64) * (side / size) * 2 / (side - 1) - 1
    grid = torch.stack(torch.meshgrid(places, places, indexing="xy"), -1)
    grid = grid.expand(len(images), -1, -1, -1)
    sample = nn.functional.grid_sample
    resized = sample(images.double(), grid, padding_mode="border", align_corners=True)
    return resized.float()


class LPIPS(nn.Module):
    """LPIPS 0.1 on AlexNet: see `genjax.nn.lpips`."""

    def __init__(self):
        super().__init__()
        self.scaling_layer = nn.Module()
        self.scaling_layer.register_buffer("shift", torch.zeros(1, 3, 1, 1))
        self.scaling_layer.register_buffer("scale", torch.ones(1, 3, 1, 1))
        layers = [
            *(nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2)),
            *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
            *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()),
        ]
        self.net = nn.Module()
        self.slices = (0, 2, 5, 8, 10, 12)
        for number in range(5):
            part = nn.Sequential()
            for index in range(*self.slices[number : number + 2]):
                part.add_module(str(index), layers[index])
            self.net.add_module(f"slice{number + 1}", part)
        for number, channels in enumerate((64, 192, 384, 256, 256)):
            linear = nn.Module()
            linear.model = nn.Sequential(nn.Dropout(), nn.Conv2d(channels, 1, 1, bias=False))
            self.add_module(f"lin{number}", linear)

    def forward(self, images: Tensor, others: Tensor) -> Tensor:
        """Two of [batch, 3, height, width] in [0, 1] to distances [batch]."""
        layer, total = self.scaling_layer, 0.0
        a, b = ((2 * x - 1 - layer.shift) / layer.scale for x in (images, others))
        for number in range(5):
            part, linear = getattr(self.net, f"slice{number + 1}"), getattr(self, f"lin{number}")
            a, b = part(a), part(b)
            a_unit, b_unit = (x / (x.norm(dim=1, keepdim=True) + 1e-10) for x in (a, b))
            total = total + linear.model((a_unit - b_unit) ** 2).mean((1, 2, 3))
        return total


def with_weights(module: nn.Module, weights: dict[str, np.ndarray]) -> nn.Module:
    """`module` for inference with these weights, by name."""
    module.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    return module.eval().requires_grad_(False)
