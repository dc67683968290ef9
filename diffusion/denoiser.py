"""The denoiser: D(x, alpha, sigma, condition) = E[x_0 | alpha x_0 + sigma eps = x, condition].

It knows no time and no process, and D(c x, c alpha, c sigma) = D(x, alpha, sigma): one trained network serves
every forward process x_t = alpha(t) x_0 + sigma(t) eps. Whatever is called like this is a Denoiser: a trained
network (`Preconditioned`), an exact one (`diffusion.exact`), a guided one (`diffusion.guidance`).

The other common views of it, with x = alpha x_0 + sigma eps:

    noise   eps   = (x - alpha D) / sigma          (sigma > 0)
    score   grad log p(x) = (alpha D - x) / sigma^2  (sigma > 0; Tweedie's formula)
"""

import math
from typing import Any, Protocol

import torch
from torch import Tensor, nn


class Denoiser(Protocol):
    """D(x, alpha, sigma, condition): x (batch, ...), alpha and sigma numbers or (batch,); returns x's shape."""

    def __call__(self, x: Tensor, alpha, sigma, condition: Any = None) -> Tensor: ...


def eps(denoiser: Denoiser, x: Tensor, alpha, sigma, condition=None) -> Tensor:
    """The noise that the denoiser sees in x: (x - alpha D) / sigma.

    Shapes as `Denoiser`. Raises ZeroDivisionError where sigma = 0: there x holds no noise.

    >>> from diffusion.exact import Gaussian
    >>> eps(Gaussian(0.0, 1.0), torch.tensor([[3.0]]), alpha=0.6, sigma=0.8)
    tensor([[2.4000]])
    """
    a, s = column(alpha, x), column(sigma, x)
    if not (s > 0).all():
        raise ZeroDivisionError("the noise and the score exist only where sigma > 0, got sigma = 0; "
                                "end the grid of times at a positive sigma")
    return (x - a * denoiser(x, alpha, sigma, condition)) / s


def score(denoiser: Denoiser, x: Tensor, alpha, sigma, condition=None) -> Tensor:
    """grad log p(x) = (alpha D - x) / sigma^2 = -eps / sigma (Tweedie; Efron 2011, eq. 1.4)."""
    return -eps(denoiser, x, alpha, sigma, condition) / column(sigma, x)


def column(value, x: Tensor) -> Tensor:
    """A number or a (batch,) tensor, shaped (batch or 1, 1, ...) so that it multiplies x (batch, ...)."""
    value = torch.as_tensor(value, dtype=x.dtype, device=x.device)
    return value.reshape(-1, *[1] * (x.ndim - 1))


class Preconditioned(nn.Module):
    """A network F made a denoiser, with the data's centre m and spread s and r^2 = alpha^2 s^2 + sigma^2:

        D = m + (alpha s^2 / r^2) (x - alpha m) + (s sigma / r) F((x - alpha m) / r, ln(sigma / alpha) / 4).

    F = 0 is the exact denoiser of N(m, s^2 I); F's input and its target have unit variance at every noise level
    (Karras et al. 2022, table 1, which has m = 0 and alpha = 1). ln(sigma / alpha) is clipped to [-7, 7].

    net     F(u, c, label), its `config` a frozen record with `classes`
    center  m, a picture (channels, height, width)
    spread  s, one number
    """

    LOG_LEVEL = 7.0
    center: Tensor
    config: Any
    header: Any = None  # of the checkpoint that it was loaded from

    def __init__(self, net: nn.Module, center: Tensor, spread: float):
        super().__init__()
        self.net, self.config, self.spread = net, net.config, float(spread)
        self.register_buffer("center", center.detach().clone().float())

    def forward(self, x: Tensor, alpha, sigma, condition=None) -> Tensor:
        a, s = column(alpha, x), column(sigma, x)
        u, r = self.scaled(x, a, s)
        c = ((s / a).log().clamp(-self.LOG_LEVEL, self.LOG_LEVEL) / 4).expand(len(x), *s.shape[1:]).flatten()
        f = self.net(u.float(), c.float(), self.labels(condition, len(x))).to(x.dtype)
        m, spread = self.center.to(x.dtype), self.spread
        return m + a * spread**2 / r**2 * (x - a * m) + spread * s / r * f

    def scaled(self, x: Tensor, a: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """u = (x - alpha m) / r, and r."""
        r = (a**2 * self.spread**2 + s**2).sqrt()
        return (x - a * self.center.to(x.dtype)) / r, r

    def labels(self, condition, batch: int) -> Tensor:
        """Class numbers (batch,) from one number, a sequence, or None; the number `classes` stands for none."""
        classes = self.config.classes
        if condition is None:
            condition = classes
        label = torch.as_tensor(condition, device=self.center.device)
        if label.is_floating_point() or label.dtype == torch.bool:
            raise TypeError(f"a label is a whole number from 0 to {classes - 1}, got {condition!r}")
        if label.numel() not in (1, batch) or label.ndim > 1:
            raise ValueError(f"give one label, or one for each of the {batch} samples, "
                             f"got labels of shape {tuple(label.shape)}")
        if label.numel() and (label.min() < 0 or label.max() > classes):
            wrong = [int(v) for v in label.reshape(-1) if not 0 <= v <= classes]
            raise ValueError(f"label {wrong[0]} is outside the classes of this model: 0 to {classes - 1}")
        return label.long().reshape(-1).expand(batch)

    def loss(self, x0: Tensor, sigma: Tensor, noise: Tensor, label: Tensor) -> Tensor:
        """Mean square of F - target for x = x_0 + sigma eps (alpha = 1; the homogeneity of D gives the rest).

        target = (r / (s sigma)) (x_0 - m - (s^2 / r^2)(x - m)). The same as |D - x_0|^2 weighted by
        r^2 / (s sigma)^2, the weighting of Karras et al. 2022.
        """
        sigma, spread = column(sigma, x0), self.spread
        x = x0 + sigma * noise
        u, r = self.scaled(x, torch.ones_like(sigma), sigma)
        target = (r * (x0 - self.center) - spread**2 * u) / (spread * sigma)
        c = sigma.log().clamp(-self.LOG_LEVEL, self.LOG_LEVEL).flatten() / 4
        return (self.net(u, c, label).float() - target).square().mean()


def parameter_count(module: nn.Module) -> int:
    """How many numbers are trained."""
    return sum(math.prod(p.shape) for p in module.parameters())
