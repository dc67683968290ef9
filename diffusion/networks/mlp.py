"""A perceptron F(u, c, label) for points and other data that are no pictures.

Residual blocks h + W_2 silu((1 + scale) norm(W_1 silu h) + shift), told the noise level c and the class by scale and
shift (FiLM, Perez et al. 2018), as those of the U-Net are.
"""

import math
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from diffusion.denoiser import Preconditioned
from diffusion.networks.unet import NoiseLevel, zero
from diffusion.records import recorded


@recorded
@dataclass(frozen=True)
class MLPConfig:
    """What defines the network. `classes` labels are numbered from 0; label number `classes` means "none"."""

    shape: tuple[int, ...] = (2,)
    classes: int = 1
    width: int = 256
    blocks: int = 3

    def __post_init__(self):
        object.__setattr__(self, "shape", tuple(self.shape))
        for name in ("classes", "width", "blocks"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"a perceptron's {name} must be a positive whole number, got {value!r}")
        if self.width % 2:
            raise ValueError(f"a perceptron's width must be even, got {self.width}")

    def build(self, center: Tensor, spread: float) -> Preconditioned:
        """As a denoiser of data of this mean and spread."""
        return Preconditioned(MLP(self), center, spread)

    def check(self, shape: tuple[int, ...], classes: int, name: str) -> None:
        """Raise ValueError for data of another shape or number of classes."""
        if (self.shape, self.classes) != (shape, classes):
            raise ValueError(f"the network is for samples of shape {self.shape} and {self.classes} classes, but {name} "
                             f"has {shape} and {classes}")


class MLP(nn.Module):
    """F(u, c, label): u (batch, *shape), c = ln(sigma/alpha)/4 (batch,), label (batch,) integers.

    >>> import torch
    >>> MLP(MLPConfig((2,), classes=3))(torch.zeros(5, 2), torch.zeros(5), torch.tensor([0, 1, 2, 3, 3])).shape
    torch.Size([5, 2])
    """

    def __init__(self, config: MLPConfig):
        super().__init__()
        self.config = config
        size, width = math.prod(config.shape), config.width
        self.level = nn.Sequential(NoiseLevel(width), nn.Linear(width, width))
        self.label = nn.Embedding(config.classes + 1, width)
        self.stem = nn.Linear(size, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(config.blocks))
        last = nn.Linear(width, size)
        self.out = nn.Sequential(nn.LayerNorm(width), nn.SiLU(), last)
        zero(last)  # F = 0 at the start: the denoiser begins as the Gaussian's own

    def forward(self, u: Tensor, c: Tensor, label: Tensor) -> Tensor:
        e = F.silu(self.level(c) + self.label(label))  # (batch, width)
        h = self.stem(u.flatten(1))
        for block in self.blocks:
            h = block(h, e)
        return self.out(h).view(u.shape)


class Block(nn.Module):
    """h + W_2 silu((1 + scale) norm(W_1 silu h) + shift)."""

    def __init__(self, width: int):
        super().__init__()
        self.first, self.norm = nn.Linear(width, width), nn.LayerNorm(width)
        self.film, self.second = nn.Linear(width, 2 * width), nn.Linear(width, width)
        zero(self.second)  # each block begins as the identity

    def forward(self, h: Tensor, e: Tensor) -> Tensor:
        scale, shift = self.film(e).chunk(2, dim=1)
        return h + self.second(F.silu(self.norm(self.first(F.silu(h))) * (1 + scale) + shift))
