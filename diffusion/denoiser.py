"""The denoiser: D(x, alpha, sigma, condition) = E[x_0 | alpha x_0 + sigma eps = x, condition].

It knows no time and no process, and D(c x, c alpha, c sigma) = D(x, alpha, sigma): one trained network serves
every forward process x_t = alpha(t) x_0 + sigma(t) eps. Whatever is called like this is a Denoiser: a trained
network (`Preconditioned`), an exact one (`diffusion.exact`), a guided one (`diffusion.guidance`), anyone's network
(`diffusion.views.denoiser`). Noise, score and velocity are views of it (`diffusion.views`).
"""

import math
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from sdekit.noise import MAX_PATHS, whole


class Denoiser(Protocol):
    """D(x, alpha, sigma, condition): x (batch, ...), alpha and sigma numbers or (batch,); returns x's shape.

    condition   labels (batch,) from 0 to classes - 1; `classes` stands for none, and so does None
    shape       of one sample; None if it may have any
    center      m, the data's mean: a tensor of that shape, or a number
    spread      s: sampling starts from N(alpha m, alpha^2 s^2 + sigma^2)
    classes     how many labels there are; None if it takes none
    """

    def __call__(self, x: Tensor, alpha, sigma, condition: Any = None) -> Tensor: ...

    @property
    def shape(self) -> tuple[int, ...] | None: ...

    @property
    def center(self) -> Tensor | float: ...

    @property
    def spread(self) -> float: ...

    @property
    def classes(self) -> int | None: ...


def column(value, x: Tensor) -> Tensor:
    """A number or a (batch,) tensor, shaped (batch or 1, 1, ...) so that it multiplies x (batch, ...)."""
    value = torch.as_tensor(value, dtype=x.dtype, device=x.device)
    return value.reshape(-1, *[1] * (x.ndim - 1))


def shaped(shape: Sequence[int] | None) -> tuple[int, ...] | None:
    """A shape as a tuple, or None."""
    try:
        return None if shape is None else tuple(whole("shape", n, MAX_PATHS) for n in shape)
    except TypeError:
        raise TypeError(f"shape is that of one sample, such as (2,) or (1, 28, 28); got {shape!r}") from None


def check_labels(condition, batch: int, classes: int, device: torch.device | str = "cpu") -> Tensor:
    """Labels (batch,) from one number, a sequence, or None; the number `classes` stands for none.

    Raises TypeError for what is no whole number, ValueError for another count or a label outside 0 ... classes.

    >>> check_labels(None, 2, classes=10), check_labels([3, 7], 2, classes=10)
    (tensor([10, 10]), tensor([3, 7]))
    """
    label = torch.as_tensor(classes if condition is None else condition, device=device)
    if label.is_floating_point() or label.dtype == torch.bool:
        raise TypeError(f"a label is a whole number from 0 to {classes - 1}, got {condition!r}")
    if label.numel() not in (1, batch) or label.ndim > 1:
        raise ValueError(f"give one label, or one for each of the {batch} samples, "
                         f"got labels of shape {tuple(label.shape)}")
    if label.numel() and (label.min() < 0 or label.max() > classes):
        wrong = [int(v) for v in label.reshape(-1) if not 0 <= v <= classes]
        raise ValueError(f"label {wrong[0]} is outside the classes of this model: 0 to {classes - 1}")
    return label.long().reshape(-1).expand(batch)


class Preconditioned(nn.Module):
    """A network F made a denoiser, with the data's centre m and spread s and r^2 = alpha^2 s^2 + sigma^2:

        D = m + (alpha s^2 / r^2) (x - alpha m) + (s sigma / r) F((x - alpha m) / r, ln(sigma / alpha) / 4).

    F = 0 is the exact denoiser of N(m, s^2 I); F's input and its target have unit variance at every noise level
    (Karras et al. 2022, table 1, which has m = 0 and alpha = 1). ln(sigma / alpha) is clipped to [-7, 7].

    net     F(u, c, label), its `config` a frozen record with `classes`
    center  m, of the shape of one sample
    spread  s, one number
    guess   if there is one, a closed-form denoiser g(x, alpha, sigma, label) of the same data: (g - m) / s is joined to
            F's input, in further channels
    """

    LOG_LEVEL = 7.0
    center: Tensor
    config: Any
    guess: Any
    header: Any = None  # of the checkpoint that it was loaded from

    def __init__(self, net: nn.Module, center: Tensor, spread: float, guess: nn.Module | None = None):
        super().__init__()
        self.net, self.config, self.spread, self.guess = net, net.config, float(spread), guess
        self.register_buffer("center", center.detach().clone().float())

    def fit(self, x: Tensor, labels: Tensor) -> None:
        """What is known of the data x (n, *shape) without training: its centre, and the guess's moments."""
        self.center.copy_(x.mean(0))
        if self.guess is not None:
            self.guess.fit(x, labels)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample: that of the centre."""
        return tuple(self.center.shape)

    @property
    def classes(self) -> int:
        """How many labels the network takes, besides the one that stands for none."""
        return self.config.classes

    def forward(self, x: Tensor, alpha, sigma, condition=None) -> Tensor:
        a, s = column(alpha, x), column(sigma, x)
        m, spread = self.center.to(x.dtype), self.spread
        r = (a**2 * spread**2 + s**2).sqrt()
        u = ((x - a * m) / r).float()
        label = check_labels(condition, len(x), self.classes, x.device)
        if self.guess is not None:
            g = self.guess((x / r).float(), (a / r).flatten().float(), (s / r).flatten().float(), label)
            u = torch.cat((u, (g - self.center) / spread), 1)
        c = ((s / a).log().clamp(-self.LOG_LEVEL, self.LOG_LEVEL) / 4).expand(len(x), *s.shape[1:]).flatten()
        f = self.net(u, c.float(), label).to(x.dtype)
        return m + a * spread**2 / r**2 * (x - a * m) + spread * s / r * f

    def gaussian_error(self, level: Tensor) -> Tensor:
        """(l s)^2 / (l^2 + s^2): |D - x_0|^2 / d at noise level l = sigma/alpha of N(m, s^2 I)'s denoiser, F = 0."""
        return (level * self.spread) ** 2 / (level**2 + self.spread**2)


def parameter_count(module: nn.Module) -> int:
    """How many numbers are trained."""
    return sum(math.prod(p.shape) for p in module.parameters())
