"""A classifier of noisy digits, log p(y | x, alpha, sigma) of x = alpha x_0 + sigma eps, which guides a denoiser:

    log p = log softmax F(u, ln(sigma / alpha) / 4),   u = (x - alpha m) / r,   r^2 = alpha^2 s^2 + sigma^2,

m and s the data's mean and spread, so that u has unit variance at every level, and log p(c x, c alpha, c sigma) =
log p(x, alpha, sigma), as of a denoiser: it serves every process. Dhariwal & Nichol 2021, section 4, guide by one.

What is small beside the noise is seen by convolutions; what is as wide as the picture, and all that is left of it at
great noise, by a linear map of u (there log p is linear in x). There is no normalisation, u being normal already.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffusion.denoiser import column
from diffusion.losses import MOST, LogNormal, Terms
from diffusion.records import recorded

WEIGHTS = Path(__file__).parents[1] / "weights" / "noise-aware.safetensors"
LOG_LEVEL = 7.0  # ln(sigma / alpha) beyond is taken as this


@recorded
@dataclass(frozen=True)
class NoiseAwareConfig:
    """What defines the network: grey or coloured pictures of size x size pixels, a multiple of 4; `classes` labels."""

    size: int = 28
    channels: int = 1
    classes: int = 10
    widths: tuple[int, int] = (32, 64)
    features: int = 96
    templates: int = 48
    embedding: int = 64

    def __post_init__(self):
        object.__setattr__(self, "widths", tuple(self.widths))
        if self.size % 4:
            raise ValueError(f"the classifier halves pictures twice, so their side is a multiple of 4; got {self.size}")

    def build(self, center: Tensor, spread: float) -> "NoiseAware":
        """For data of this mean and spread."""
        return NoiseAware(self, center, spread)

    def check(self, shape: tuple[int, ...], classes: int, name: str) -> None:
        """Raise ValueError for pictures of another shape or number of classes."""
        mine = (self.channels, self.size, self.size)
        if (mine, self.classes) != (shape, classes):
            raise ValueError(f"the classifier is for pictures of shape {mine} and {self.classes} classes, but {name} "
                             f"has {shape} and {classes}")


class NoiseAware(nn.Module):
    """log p(y | x, alpha, sigma), (batch, classes): x (batch, channels, size, size), the others numbers or (batch,).

    >>> net = NoiseAware(NoiseAwareConfig(), torch.zeros(1, 28, 28), 0.6)
    >>> net(torch.zeros(5, 1, 28, 28), 1.0, 2.0).exp().sum(1).shape
    torch.Size([5])
    """

    center: Tensor
    header: Any = None  # of the checkpoint that it was loaded from

    def __init__(self, config: NoiseAwareConfig, center: Tensor, spread: float):
        super().__init__()
        self.config, self.spread = config, float(spread)
        self.register_buffer("center", center.detach().clone().float())
        first, second = config.widths
        pixels, e = config.channels * config.size**2, config.embedding
        least = -(-config.size // 8)
        self.level = nn.Sequential(nn.Linear(1, e), nn.SiLU(), nn.Linear(e, e), nn.SiLU())
        self.stem = nn.Conv2d(4 * config.channels, first, 3, padding=1)
        self.blocks = nn.ModuleList([Block(first, e), Block(second, e)])
        self.shrink = nn.ModuleList([nn.Conv2d(first, second, 3, 2, 1), nn.Conv2d(second, second, 3, 2, 1)])
        self.features = nn.Linear(second * least**2, config.features)
        self.templates = nn.Linear(pixels, config.templates)
        self.film = nn.Linear(e, 2 * (config.features + config.templates))
        self.head = nn.Linear(config.features + config.templates, config.classes)

    def forward(self, x: Tensor, alpha, sigma) -> Tensor:
        a, s = column(alpha, x), column(sigma, x)
        u = (x - a * self.center.to(x.dtype)) / (a**2 * self.spread**2 + s**2).sqrt()
        c = ((s / a).log().clamp(-LOG_LEVEL, LOG_LEVEL) / 4).expand(len(x), *s.shape[1:]).reshape(-1, 1)
        return self.logits(u.float(), c.float()).log_softmax(1).to(x.dtype)

    def logits(self, u: Tensor, c: Tensor) -> Tensor:
        """F(u, c): u (batch, channels, size, size), c = ln(sigma / alpha) / 4 (batch, 1)."""
        e = self.level(c)  # (batch, embedding)
        h = self.stem(F.pixel_unshuffle(u, 2))  # (batch, width, size / 2, size / 2)
        for block, shrink in zip(self.blocks, self.shrink):
            h = shrink(F.silu(block(h, e)))
        z = torch.cat([self.features(F.silu(h).flatten(1)), self.templates(u.flatten(1))], 1)
        scale, shift = self.film(e).chunk(2, dim=1)
        return self.head(F.silu((1 + scale) * z + shift))


class Block(nn.Module):
    """h + conv(silu((1 + scale) conv(silu h) + shift)), scale and shift linear in the embedded noise level."""

    def __init__(self, width: int, embedding: int):
        super().__init__()
        self.first, self.second = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.film = nn.Linear(embedding, 2 * width)
        for parameter in self.second.parameters():
            nn.init.zeros_(parameter)  # it begins as the identity

    def forward(self, h: Tensor, e: Tensor) -> Tensor:
        scale, shift = self.film(e)[:, :, None, None].chunk(2, dim=1)
        return h + self.second(F.silu((1 + scale) * self.first(F.silu(h)) + shift))


@recorded
@dataclass(frozen=True)
class NoisyLabels:
    """-log p(y | x_0 + l eps, 1, l), the levels l one in each of `batch` strata of their density."""

    levels: Any = field(default_factory=lambda: LogNormal(0.0, 2.0))

    def __call__(self, model: Any, x0: Tensor, label: Tensor, random: torch.Generator) -> Terms:
        """Of a classifier (x, alpha, sigma) -> log p (batch, classes); it learns from labels, so none are dropped."""
        batch, device = len(x0), x0.device
        strata = torch.randperm(batch, generator=random, device=device)
        u = (strata + torch.rand(batch, generator=random, device=device)) / batch
        level = self.levels(u.clamp(1e-7, 1 - 1e-7)).clamp(max=MOST)
        noise = torch.randn(x0.shape, generator=random, device=device)
        logs = model(x0 + column(level, x0) * noise, 1.0, level)
        if bool((label >= logs.shape[1]).any()):
            raise ValueError("a classifier learns from labels, and some were dropped; train it with drop_label=0.0")
        return Terms(F.nll_loss(logs.float(), label, reduction="none"))


def noise_aware(device: str | torch.device = "cpu") -> NoiseAware:
    """The shipped classifier of noisy digits, trained on MNIST: log p(y | x, alpha, sigma), (batch, 10).

    With it a model guides itself to a class that it is not told:

    >>> import diffusion as df
    >>> guided = df.classifier_guided(df.load(), noise_aware(), classes=10, scale=1.5, interval=(0.1, 20.0))
    >>> df.sample(guided, 2, label=[3, 8], steps=2, seed=0).samples.shape
    torch.Size([2, 1, 28, 28])
    """
    from diffusion.checkpoint import load  # which knows all networks, this one too
    return load(WEIGHTS, device)
