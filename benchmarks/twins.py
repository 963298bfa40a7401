"""The PyTorch twins of the models that `train_speed.py` times: same layers, batch and optimizer.

A twin does what the genjax step does and keeps no metrics, in the way that its users would write it
when they want it fast: data on hand as one uint8 tensor, fused Adam, lists of parameters updated by
`torch._foreach_*`. Its number of parameters is checked against genjax's.
"""

import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class View(nn.Module):
    """Reshapes all but the batch."""

    def __init__(self, *shape: int):
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(len(x), *self.shape)


class Gated(nn.Module):
    """A dense layer times the sigmoid of another."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.both = nn.Linear(inputs, 2 * outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.glu(self.both(x), -1)


def mlp(*sizes: int, gated: bool = False, last: bool = False) -> list[nn.Module]:
    """Dense layers of these sizes, each with its activation; `last` leaves the last one without."""
    layers = []
    for index, (inputs, outputs) in enumerate(itertools.pairwise(sizes), 1):
        bare = last and index == len(sizes) - 1
        if gated and not bare:
            layers += [Gated(inputs, outputs)]
        else:
            layers += [nn.Linear(inputs, outputs), *([] if bare else [nn.LeakyReLU(0.2)])]
    return layers


def dcgan_encoder(width: int, normalize: bool) -> list[nn.Module]:
    """28x28x1 to 7x7 by two strided convolutions."""
    # A bias before batch norm does nothing, but genjax and the paper's code have one.
    second = [nn.BatchNorm2d(2 * width)] if normalize else []
    return [
        *(nn.Conv2d(1, width, 4, 2, 1), nn.LeakyReLU(0.2)),
        *(nn.Conv2d(width, 2 * width, 4, 2, 1), *second, nn.LeakyReLU(0.2)),
        nn.Flatten(),
    ]


def dcgan_decoder(latents: int, width: int) -> list[nn.Module]:
    """Latents to 28x28x1 by two transposed convolutions, with batch norm."""
    return [
        *(nn.Linear(latents, 49 * 2 * width), View(2 * width, 7, 7)),
        *(nn.BatchNorm2d(2 * width), nn.ReLU()),
        *(nn.ConvTranspose2d(2 * width, width, 4, 2, 1), nn.BatchNorm2d(width), nn.ReLU()),
        nn.ConvTranspose2d(width, 1, 4, 2, 1),
    ]


class DecoderBlock(nn.Module):
    """A doubling block of SNGAN's generator."""

    def __init__(self, channels: int):
        super().__init__()
        double = nn.Upsample(scale_factor=2)
        self.residual = nn.Sequential(
            *(nn.BatchNorm2d(channels), nn.ReLU(), double, nn.Conv2d(channels, channels, 3, 1, 1)),
            *(nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, channels, 3, 1, 1)),
        )
        # The 1x1 convolution commutes with doubling; before it, it costs a quarter.
        self.shortcut = nn.Sequential(nn.Conv2d(channels, channels, 1), double)

    def forward(self, x: Tensor) -> Tensor:
        return self.residual(x) + self.shortcut(x)


class EncoderBlock(nn.Module):
    """A block of SNGAN's discriminator, with spectral normalisation."""

    def __init__(self, inputs: int, outputs: int, first: bool, halve: bool):
        super().__init__()
        conv = lambda a, b, size: spectral_norm(nn.Conv2d(a, b, size, 1, size // 2))
        start = [] if first else [nn.ReLU()]
        end = [nn.AvgPool2d(2)] if halve else []
        self.residual = nn.Sequential(
            *(*start, conv(inputs, outputs, 3), nn.ReLU(), conv(outputs, outputs, 3), *end)
        )
        learned = halve or inputs != outputs
        # The 1x1 convolution commutes with the mean; after it, it costs a quarter.
        self.shortcut = nn.Sequential(*end, *([conv(inputs, outputs, 1)] if learned else []))

    def forward(self, x: Tensor) -> Tensor:
        return self.residual(x) + self.shortcut(x)


class SumPool(nn.Module):
    """The sum over pixels."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum((2, 3))


def sngan_generator(latents: int, channels: int) -> list[nn.Module]:
    """SNGAN's generator for 32x32 pictures in colour."""
    return [
        *(nn.Linear(latents, 16 * channels), View(channels, 4, 4)),
        *(DecoderBlock(channels) for _ in range(3)),
        *(nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, 3, 3, 1, 1)),
    ]


def sngan_discriminator(channels: int) -> list[nn.Module]:
    """SNGAN's discriminator for 32x32 pictures in colour."""
    return [
        EncoderBlock(3, channels, True, True),
        EncoderBlock(channels, channels, False, True),
        EncoderBlock(channels, channels, False, False),
        EncoderBlock(channels, channels, False, False),
        *(nn.ReLU(), SumPool(), spectral_norm(nn.Linear(channels, 1))),
    ]


class Twin(nn.Module):
    """Networks, optimizers and `step`, one update on images in [0, 1]."""

    #: The methods that compute losses, which `torch.compile` takes.
    losses: tuple[str, ...]

    def prepare(self, variant: str) -> None:
        """Makes the twin run by one of the `VARIANTS`; comes before the first step."""
        if variant == "channels_last":
            self.to(memory_format=torch.channels_last)
        if variant == "compile":
            for name in self.losses:
                setattr(self, name, torch.compile(getattr(self, name)))


class VAETwin(Twin):
    """A VAE with Bernoulli likelihood."""

    losses = ("loss",)

    def __init__(self, encoder: nn.Module, decoder: nn.Module, latents: int, rate: float):
        super().__init__()
        self.encoder, self.decoder, self.latents = encoder, decoder, latents
        self.optimizer = torch.optim.Adam(self.parameters(), rate, fused=True)

    def loss(self, images: Tensor, noise: Tensor) -> Tensor:
        mean, log_var = self.encoder(images).chunk(2, -1)
        outputs = self.decoder(mean + torch.exp(0.5 * log_var) * noise).reshape(images.shape)
        misfit = F.binary_cross_entropy_with_logits(outputs, images, reduction="sum")
        divergence = 0.5 * (mean.square() + torch.expm1(log_var) - log_var).sum()
        return (misfit + divergence) / len(images)

    def step(self, images: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        self.loss(images, torch.randn(len(images), self.latents)).backward()
        self.optimizer.step()


class GANTwin(Twin):
    """A GAN whose generator is averaged; `step` takes the real images of all its updates."""

    losses = ("d_loss", "g_loss")

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        latents: int,
        rates: tuple[float, float],
        betas: tuple[float, float],
        hinge: bool = False,
        d_steps: int = 1,
    ):
        super().__init__()
        self.generator, self.discriminator, self.latents = generator, discriminator, latents
        self.hinge, self.d_steps = hinge, d_steps
        adam = lambda net, rate: torch.optim.Adam(net.parameters(), rate, betas, fused=True)
        self.g_optimizer = adam(generator, rates[0])
        self.d_optimizer = adam(discriminator, rates[1])

    def prepare(self, variant: str) -> None:
        super().prepare(variant)
        state = self.generator.state_dict().values()
        self.live = [tensor for tensor in state if tensor.is_floating_point()]
        self.average = [tensor.clone() for tensor in self.live]

    def d_loss(self, real: Tensor, noise: Tensor) -> Tensor:
        with torch.no_grad():
            fake = torch.tanh(self.generator(noise)).reshape(real.shape)
        real_logits, fake_logits = self.discriminator(2 * real - 1), self.discriminator(fake)
        if self.hinge:
            return F.relu(1 - real_logits).mean() + F.relu(1 + fake_logits).mean()
        return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()

    def g_loss(self, noise: Tensor) -> Tensor:
        logits = self.discriminator(torch.tanh(self.generator(noise)))
        return -logits.mean() if self.hinge else F.softplus(-logits).mean()

    def step(self, images: Tensor) -> None:
        for real in images.chunk(self.d_steps):
            self.d_optimizer.zero_grad(set_to_none=True)
            self.d_loss(real, torch.randn(len(real), self.latents)).backward()
            self.d_optimizer.step()
        # The generator's update needs no gradient of the discriminator's parameters.
        self.discriminator.requires_grad_(False)
        self.g_optimizer.zero_grad(set_to_none=True)
        self.g_loss(torch.randn(len(real), self.latents)).backward()
        self.g_optimizer.step()
        self.discriminator.requires_grad_(True)
        with torch.no_grad():
            torch._foreach_lerp_(self.average, self.live, 1e-3)


def article_vae() -> VAETwin:
    """`configs/article_vae.py`."""
    encoder = nn.Sequential(nn.Flatten(), *mlp(784, 128, 64, 40, last=True))
    return VAETwin(encoder, nn.Sequential(*mlp(20, 64, 128, 784, last=True)), 20, 1e-3)


def gated_vae() -> VAETwin:
    """`configs/gated_vae.py`."""
    encoder = nn.Sequential(nn.Flatten(), *mlp(784, 300, 300, gated=True), *mlp(300, 80, last=True))
    decoder = nn.Sequential(*mlp(40, 300, 300, gated=True), *mlp(300, 784, last=True))
    return VAETwin(encoder, decoder, 40, 5e-4)


def conv_vae() -> VAETwin:
    """`configs/vae.py`."""
    encoder = nn.Sequential(*dcgan_encoder(32, True), nn.Linear(49 * 64, 40))
    return VAETwin(encoder, nn.Sequential(*dcgan_decoder(20, 32)), 20, 1e-3)


def article_gan() -> GANTwin:
    """`configs/article_gan.py` without its penalty, as the article has it."""
    generator = nn.Sequential(*mlp(100, 128, 256, 512, 784, last=True))
    discriminator = nn.Sequential(nn.Flatten(), *mlp(784, 512, 256, 128, 1, last=True))
    return GANTwin(generator, discriminator, 100, (5e-4, 5e-4), (0.5, 0.999))


def dcgan() -> GANTwin:
    """`configs/gan.py` at base width 64, batch norm in both networks."""
    discriminator = nn.Sequential(*dcgan_encoder(64, True), nn.Linear(49 * 128, 1))
    generator = nn.Sequential(*dcgan_decoder(100, 64))
    return GANTwin(generator, discriminator, 100, (1e-3, 1e-3), (0.5, 0.999))


def sngan() -> GANTwin:
    """`configs/sngan.py` at 32x32 in colour: the paper's networks."""
    generator = nn.Sequential(*sngan_generator(128, 256))
    discriminator = nn.Sequential(*sngan_discriminator(128))
    return GANTwin(generator, discriminator, 128, (2e-4, 2e-4), (0.0, 0.9), hinge=True, d_steps=5)


def train(make: Callable[[], Twin], variant: str, store: np.ndarray, rows: int) -> Iterator[Twin]:
    """Trains the twin on random rows of `store` (uint8 [N, H, W, C]); yields it after each step."""
    torch.manual_seed(0)
    twin = make()
    twin.prepare(variant)
    layout = torch.channels_last if variant == "channels_last" else torch.contiguous_format
    images = torch.from_numpy(store).permute(0, 3, 1, 2).contiguous(memory_format=layout)
    per_epoch = math.ceil(rows / len(images))
    order, used = torch.empty(0, dtype=torch.int64), 0
    while True:
        if used + rows > len(order):
            order = torch.cat([torch.randperm(len(images)) for _ in range(per_epoch)])
            used = 0
        batch = images[order[used : used + rows]].float().div_(255)
        used += rows
        twin.step(batch)
        yield twin


def num_parameters(twin: Twin) -> int:
    """How many numbers the twin learns."""
    return sum(parameter.numel() for parameter in twin.parameters())


def flops(make: Callable[[], Twin], store: np.ndarray, rows: int) -> int:
    """Floating point operations of one step's convolutions and matrix products."""
    from torch.utils.flop_counter import FlopCounterMode

    steps = train(make, "eager", store, rows)
    next(steps)
    with FlopCounterMode(display=False) as counter:
        next(steps)
    return counter.get_total_flops()
