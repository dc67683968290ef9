"""What training minimises, of a network in general and of a denoiser in particular:

    L = E w(l) |D(x_0 + l eps, 1, l, y) - x_0|^2 / d,    l = sigma / alpha the noise level, d the number of elements.

D(c x, c alpha, c sigma) = D(x, alpha, sigma), so that alpha = 1 stands for every process: what tells one published
objective from another is how often each noise level is visited (a density of l) and what an error counts there (a
weight w). Those of the literature, written for alpha^2 + sigma^2 = 1 or alpha + sigma = 1, as weights of |D - x_0|^2:

    | loss       | noise levels                          | weight                       |                           |
    | ---------- | ------------------------------------- | ---------------------------- | ------------------------- |
    | edm        | LogNormal(m, s)                       | Karras: 1 / the Gaussian's   | Karras et al. 2022, eq. 8 |
    | ddpm       | Times(Discrete(linear_betas()))       | Eps: 1 / l^2                 | Ho et al. 2020, alg. 1    |
    | v          | Times(Cosine())                       | V: 1 + 1 / l^2               | Salimans & Ho 2022, app. D|
    | min_snr    | Times(Discrete(linear_betas()))       | MinSNR(g): min(1 / l^2, g)   | Hang et al. 2023, eq. 8   |
    | flow       | Times(RectifiedFlow())                | Velocity: (1 + 1 / l)^2      | Lipman et al. 2023, eq. 14|
    | likelihood | LogUniform(low, high)                 | Eps: 1 / l^2                 | Kingma et al. 2021, eq. 15|

Esser et al. 2024's logit-normal times of the rectified flow are LogNormal levels: l = t / (1 - t).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from diffusion.denoiser import column
from diffusion.process import Cosine, Discrete, Process, RectifiedFlow, linear_betas
from diffusion.records import recorded

MOST = 1e4  # noise levels beyond are drawn as this: nothing of the data is left there


class Terms(NamedTuple):
    """Of a batch: `value` (batch,), whose mean is minimised; of a denoiser also each level and |D - x_0|^2 / d."""

    value: Tensor
    level: Tensor | None = None
    error: Tensor | None = None


class Loss(Protocol):
    """loss(model, x0 (batch, ...), label (batch,), random: all the chance there is, on x0's device) -> Terms."""

    def __call__(self, model: Any, x0: Tensor, label: Tensor, random: torch.Generator) -> Terms: ...


@recorded
@dataclass(frozen=True)
class LogNormal:
    """ln l ~ N(mean, deviation^2)."""

    mean: float = 0.3
    deviation: float = 1.4

    def __post_init__(self):
        if not (math.isfinite(self.mean) and 0 < self.deviation < math.inf):
            raise ValueError("ln l ~ N(mean, deviation^2) takes a finite mean and a positive deviation; got "
                             f"{self.mean!r} and {self.deviation!r}")

    def __call__(self, u: Tensor) -> Tensor:
        """The level below which a share u of them lies."""
        return (self.mean + self.deviation * torch.special.ndtri(u)).exp()


@recorded
@dataclass(frozen=True)
class LogUniform:
    """ln l uniform on [ln low, ln high]."""

    low: float = 0.02
    high: float = 40.0

    def __post_init__(self):
        if not 0 < self.low < self.high < math.inf:
            raise ValueError(f"noise levels run from low to high, 0 < low < high; got {self.low} and {self.high}")

    def __call__(self, u: Tensor) -> Tensor:
        """The level below which a share u of them lies."""
        return self.low * (math.log(self.high / self.low) * u).exp()


@recorded
@dataclass(frozen=True)
class Times:
    """The levels of a process at times uniform on its span; of a `Discrete` walk, of its whole times 1, ..., T."""

    process: Process

    def __call__(self, u: Tensor) -> Tensor:
        """The level below which a share u of them lies."""
        low, high = self.process.span
        if isinstance(self.process, Discrete):
            t = (u * high).floor() + 1
        else:
            t = low + (high - low) * u
        level = [self.process.level(min(v, high)).noise for v in t.tolist()]
        return torch.tensor(level, dtype=u.dtype, device=u.device)


Weight = Callable[[Tensor, Tensor], Tensor]  # w(level, the closed-form Gaussian's |D - x_0|^2 / d at it)


@recorded
@dataclass(frozen=True)
class Karras:
    """1 / the closed-form Gaussian's error: at every level a loss of 1 for having learned nothing beyond it.

    For N(m, s^2 I) that is (l^2 + s^2) / (l s)^2, Karras et al. 2022's.
    """

    def __call__(self, level: Tensor, gaussian: Tensor) -> Tensor:
        """w(level)."""
        return 1 / gaussian


@recorded
@dataclass(frozen=True)
class Eps:
    """1 / l^2: |eps - its estimate|^2."""

    def __call__(self, level: Tensor, gaussian: Tensor) -> Tensor:
        """w(level)."""
        return level**-2


@recorded
@dataclass(frozen=True)
class V:
    """1 + 1 / l^2: |v - its estimate|^2, v = alpha eps - sigma x_0, alpha^2 + sigma^2 = 1."""

    def __call__(self, level: Tensor, gaussian: Tensor) -> Tensor:
        """w(level)."""
        return 1 + level**-2


@recorded
@dataclass(frozen=True)
class MinSNR:
    """min(1 / l^2, most)."""

    most: float = 5.0

    def __post_init__(self):
        if not 0 < self.most < math.inf:
            raise ValueError(f"the weight of an error is at most a positive number, got {self.most!r}")

    def __call__(self, level: Tensor, gaussian: Tensor) -> Tensor:
        """w(level)."""
        return (level**-2).clamp(max=self.most)


@recorded
@dataclass(frozen=True)
class Velocity:
    """(1 + 1 / l)^2: |u - its estimate|^2, u = eps - x_0 the flow's velocity, alpha + sigma = 1."""

    def __call__(self, level: Tensor, gaussian: Tensor) -> Tensor:
        """w(level)."""
        return (1 + 1 / level) ** 2


@recorded
@dataclass(frozen=True)
class Denoising:
    """w(l) |D(x_0 + l eps, 1, l, y) - x_0|^2 / d, one noise level in each of `batch` strata of their density.

    levels   u -> the level below which a share u of them lies: `LogNormal`, `LogUniform`, `Times`
    weight   w: `Karras`, `Eps`, `V`, `MinSNR`, `Velocity`
    """

    levels: Any
    weight: Any

    def __call__(self, model: Any, x0: Tensor, label: Tensor, random: torch.Generator) -> Terms:
        """Of a denoiser with `gaussian_error`, such as `Preconditioned`."""
        batch, device = len(x0), x0.device
        strata = torch.randperm(batch, generator=random, device=device)
        u = (strata + torch.rand(batch, generator=random, device=device)) / batch
        level = self.levels(u.clamp(1e-7, 1 - 1e-7)).clamp(max=MOST)
        noise = torch.randn(x0.shape, generator=random, device=device)
        d = model(x0 + column(level, x0) * noise, 1.0, level, label)
        error = (d.to(x0.dtype) - x0).square().flatten(1).mean(1)
        return Terms(self.weight(level, model.gaussian_error(level)) * error, level, error.detach())


def edm(mean: float = 0.3, deviation: float = 1.4) -> Denoising:
    """ln l ~ N(mean, deviation^2), weighted such that the target has unit variance at every level.

    The class of a digit is decided at l from 1.5 to 10, which Karras et al.'s N(-1.2, 1.2^2) hardly visits; hence these
    defaults.
    """
    return Denoising(LogNormal(mean, deviation), Karras())


def ddpm() -> Denoising:
    """E |eps - eps_theta|^2, t uniform on 1 ... 1000 (Ho et al. 2020, algorithm 1)."""
    return Denoising(Times(Discrete(linear_betas())), Eps())


def v() -> Denoising:
    """E |v - v_theta|^2, t uniform under the cosine schedule (Salimans & Ho 2022)."""
    return Denoising(Times(Cosine()), V())


def min_snr(most: float = 5.0) -> Denoising:
    """Ho et al.'s levels, errors of x_0 weighted by the signal-to-noise ratio up to `most` (Hang et al. 2023)."""
    return Denoising(Times(Discrete(linear_betas())), MinSNR(most))


def flow() -> Denoising:
    """E |u - u_theta|^2 of the velocity u = eps - x_0, t uniform (Lipman et al. 2023; Liu et al. 2023)."""
    return Denoising(Times(RectifiedFlow()), Velocity())


def likelihood(low: float = 1e-3, high: float = 40.0) -> Denoising:
    """The steps of the variational bound, d ln(high/low) L nats of them in continuous time (Kingma et al. 2021).

    Train in float32: bfloat16 does not see noise below a hundredth.
    """
    return Denoising(LogUniform(low, high), Eps())


LOSSES: dict[str, Callable[[], Denoising]] = {"edm": edm, "ddpm": ddpm, "v": v, "min_snr": min_snr, "flow": flow,
                                              "likelihood": likelihood}
