"""A U-Net F(u, c, label) for small images, fast on a CPU.

The picture is folded into patches of p x p pixels (pixel-unshuffle), so that most of the work is done at a half and a
quarter of its size. Each residual block is told the noise level c and the class by a scale and a shift of its channels
(FiLM, Perez et al. 2018); norms are over the channels of each pixel, which costs a fifth of what group norms do where
the channels lie side by side; skips are added, not concatenated, which halves the cost of the way up. Layout after
Ronneberger et al. 2015. What each choice costs and brings: benchmarks/design.py.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffusion.denoiser import Preconditioned
from diffusion.guess import Mixture
from diffusion.records import recorded


@recorded
@dataclass(frozen=True)
class UNetConfig:
    """What defines the network.

    size, channels   of the square pictures
    classes          labels are numbered from 0; label number `classes` means "none"
    patch, widths    pixels to a side of a patch; channels at each size, halved between them
    blocks           residual blocks at each size, on the way down and again on the way up
    attention        self-attention at the lowest size
    components       Gaussians of each class, in a mixture whose guess at x_0 is a second input (`diffusion.guess`); 0
                     for no guess
    rank             of their covariances
    embedding        features that tell noise level and class
    """

    size: int = 28
    channels: int = 1
    classes: int = 10
    patch: int = 2
    widths: tuple[int, ...] = (64, 128)
    blocks: int = 1
    attention: bool = False
    components: int = 8
    rank: int = 32
    embedding: int = 128

    def __post_init__(self):
        object.__setattr__(self, "widths", tuple(self.widths))
        for name in ("components", "rank"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise ValueError(f"a U-Net's {name} must be a whole number, got {value!r}")
        for name in ("size", "channels", "classes", "patch", "blocks", "embedding", "widths"):
            value = getattr(self, name)
            for number in value if name == "widths" and value else (value,):
                if isinstance(number, bool) or not isinstance(number, int) or number < 1:
                    raise ValueError(f"a U-Net's {name} must be positive whole numbers, got {value!r}")
        if any(width % 8 for width in self.widths) or self.embedding % 2:
            raise ValueError(f"a U-Net's widths must be multiples of 8 and its embedding even, got {self.widths} and "
                             f"{self.embedding}")
        least = self.patch * 2 ** (len(self.widths) - 1)
        if self.size % least:
            raise ValueError(f"a U-Net with patches of {self.patch} and {len(self.widths)} sizes needs pictures whose "
                             f"side is a multiple of {least}, got {self.size}; pad or resize them")

    @classmethod
    def of(cls, shape: tuple[int, ...], classes: int) -> "UNetConfig":
        """The default for pictures of this shape: patches of 2, halved until 8 or fewer are left to a side.

        >>> UNetConfig.of((3, 64, 64), 11).widths
        (64, 128, 256)
        """
        channels, size = shape[0], shape[-1]
        patch = 2 if size % 4 == 0 and size >= 16 else 1
        widths, side = [64], size // patch
        while side % 2 == 0 and (side > 8 or len(widths) < 2):
            widths.append(2 * widths[-1])
            side //= 2
        return cls(size, channels, classes, patch, tuple(widths))

    def build(self, center: Tensor, spread: float) -> Preconditioned:
        """As a denoiser of data of this mean and spread."""
        guess = None
        if self.components:
            guess = Mixture(tuple(center.shape), self.classes, self.components, self.rank)
        net = UNet(self)
        for parameter in net.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        return Preconditioned(net, center, spread, guess)

    def check(self, shape: tuple[int, ...], classes: int, name: str) -> None:
        """Raise ValueError for pictures of another shape or number of classes."""
        if len(shape) != 3 or shape[1] != shape[2]:
            raise ValueError(f"a U-Net takes square pictures (channels, side, side), but {name} has samples of shape "
                             f"{shape}; crop them, or take another network, such as MLPConfig({shape}, {classes})")
        needed = {"channels": shape[0], "size": shape[-1], "classes": classes}
        for field, value in needed.items():
            if getattr(self, field) != value:
                raise ValueError(f"the network is for {field}={getattr(self, field)}, but {name} has {value}")


class UNet(nn.Module):
    """F(u, c, label): u (batch, channels, size, size), c = ln(sigma/alpha)/4 (batch,), label (batch,) integers.

    With components > 0 u has twice the channels, the noisy picture's and the guess's. F is of the picture's shape.

    >>> net = UNet(UNetConfig())
    >>> net(torch.zeros(2, 2, 28, 28), torch.zeros(2), torch.tensor([3, 10])).shape
    torch.Size([2, 1, 28, 28])
    """

    def __init__(self, config: UNetConfig):
        super().__init__()
        self.config = config
        widths, embedding = config.widths, config.embedding
        pixels = config.channels * config.patch**2
        self.level = nn.Sequential(NoiseLevel(embedding), nn.Linear(embedding, embedding))
        self.label = nn.Embedding(config.classes + 1, embedding)
        self.stem = nn.Conv2d(pixels * (2 if config.components else 1), widths[0], 3, padding=1)

        def blocks(width: int) -> nn.ModuleList:
            return nn.ModuleList(Block(width, embedding) for _ in range(config.blocks))

        self.down = nn.ModuleList(blocks(w) for w in widths)
        self.shrink = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths))
        self.attention = Attention(widths[-1]) if config.attention else None
        self.middle = Block(widths[-1], embedding)
        self.up = nn.ModuleList(blocks(w) for w in widths)
        self.grow = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in pairwise(widths))
        last = nn.Conv2d(widths[0], pixels, 3, padding=1)
        self.out = nn.Sequential(ChannelNorm(widths[0]), nn.SiLU(), last)
        zero(last)  # F = 0 at the start: the denoiser begins as the Gaussian's own

    def forward(self, u: Tensor, c: Tensor, label: Tensor) -> Tensor:
        e = F.silu(self.level(c) + self.label(label))  # (batch, embedding)
        h = self.stem(F.pixel_unshuffle(u, self.config.patch))  # (batch, width, size/p, size/p)
        skips = []
        for i, stage in enumerate(self.down):
            h = self.shrink[i - 1](h) if i else h
            h = through(stage, h, e)
            skips.append(h)
        h = self.middle(h if self.attention is None else self.attention(h), e)
        for i in reversed(range(len(self.up))):
            h = h + skips[i]
            h = through(self.up[i], h, e)
            h = self.grow[i - 1](h) if i else h
        return F.pixel_shuffle(self.out(h), self.config.patch)


def through(blocks: nn.Module, h: Tensor, e: Tensor) -> Tensor:
    """h after every one of the blocks."""
    for block in blocks.children():
        h = block(h, e)
    return h


def zero(layer: nn.Conv2d | nn.Linear) -> None:
    """Set weights and bias to nought: what comes after begins as if the layer were not there."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


class NoiseLevel(nn.Module):
    """(batch,) -> (batch, features): cos and sin of 2 pi f c, the frequencies f geometric from 1/4 to 16."""

    frequencies: Tensor

    def __init__(self, features: int):
        super().__init__()
        frequencies = torch.logspace(math.log10(1 / 4), math.log10(16), features // 2, dtype=torch.float32)
        self.register_buffer("frequencies", 2 * math.pi * frequencies, persistent=False)

    def forward(self, c: Tensor) -> Tensor:
        angle = c[:, None] * self.frequencies
        return torch.cat((angle.cos(), angle.sin()), dim=1)


class ChannelNorm(nn.LayerNorm):
    """(h - mean) / deviation over the channels of each pixel, then a scale and a shift for each channel."""

    def forward(self, h: Tensor) -> Tensor:
        return super().forward(h.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Block(nn.Module):
    """h + conv(silu((1 + scale) norm(conv(silu(norm h))) + shift)), scale and shift linear in the embedding."""

    def __init__(self, width: int, embedding: int):
        super().__init__()
        self.norm1, self.conv1 = ChannelNorm(width), nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2, self.conv2 = ChannelNorm(width), nn.Conv2d(width, width, 3, padding=1)
        self.film = nn.Linear(embedding, 2 * width)
        zero(self.conv2)  # each block begins as the identity

    def forward(self, h: Tensor, e: Tensor) -> Tensor:
        scale, shift = self.film(e)[:, :, None, None].chunk(2, dim=1)
        y = self.norm2(self.conv1(F.silu(self.norm1(h))))
        return h + self.conv2(F.silu(torch.addcmul(shift, y, 1 + scale)))


class Attention(nn.Module):
    """h + linear(attention(norm h)) over the pixels (Vaswani et al. 2017), heads of 32 channels."""

    def __init__(self, width: int):
        super().__init__()
        self.heads = max(1, width // 32)
        self.norm, self.qkv, self.out = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        zero(self.out)

    def forward(self, h: Tensor) -> Tensor:
        rows, columns = h.shape[2:]
        tokens = self.norm(h.flatten(2).transpose(1, 2))  # (batch, pixels, width)
        q, k, v = self.qkv(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if h.is_cuda:
            y = F.scaled_dot_product_attention(q, k, v)
        else:  # written out: the fused one's gradient takes ten times as long on a CPU for so few pixels
            y = torch.softmax(q @ k.transpose(2, 3) * q.shape[-1] ** -0.5, 3) @ v
        y = y.transpose(1, 2).flatten(2)
        return h + self.out(y).transpose(1, 2).unflatten(2, (rows, columns))
