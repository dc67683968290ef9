"""The probability of pictures of bytes: a bound by every step of ancestral sampling, and a last step that is discrete.

Sampling draws x_T ~ N(alpha m, r^2 I), r^2 = alpha^2 s^2 + sigma^2, then x_s given x_t from q(x_s | x_t, x_0 = D(x_t))
down a grid of levels (`df.ancestral`), and at its last level bytes b from P(b | x). With x_0 = b / 127.5 - 1,

    -log P(b) <= KL(q(x_T | x_0) || N(alpha m, r^2 I))                                                prior
               + sum over steps of KL(q(x_s | x_t, x_0) || q(x_s | x_t, D)), x_t ~ q(x_t | x_0)       steps
               + E[-log P(b | x)],  x ~ q(x | x_0) at the last level                                  last

(Sohl-Dickstein et al. 2015; Ho, Jain & Abbeel 2020, eq. 5). Both laws of a step have the same variance, so that its KL
is (SNR_s - SNR_t) |x_0 - D(x_t)|^2 / 2, SNR = alpha^2 / sigma^2, whatever the process (Kingma et al. 2021, eq. 14):
with more and more steps the sum falls to the integral of |x_0 - D|^2 d SNR / 2. Few of the steps are drawn for each
picture, one from each of as many equal parts of the grid, and stand for all.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

import sdekit as sk
from diffusion import bytes as byte
from diffusion.denoiser import Denoiser, column
from diffusion.encoding import parts, samples
from diffusion.grid import Grid, log_snr
from diffusion.likelihood import mean_interval
from diffusion.process import EDM, Level
from sdekit.noise import MAX_PATHS, check_seed, whole

STREAM = 0xB0D5  # of the steps drawn and of the noise in x_t


@dataclass(frozen=True, eq=False)
class Bound:
    """-log P(b) <= prior + steps + last for pictures (n, ...), in nats, float64.

    prior   (n,)
    steps   (n, draws): from the noisiest down, what the grid's equal parts have, by the one step drawn of each
    last    (n,), by one draw of x
    grid    whose steps they are
    dimensions   d
    """

    prior: Tensor
    steps: Tensor = field(repr=False)
    last: Tensor = field(repr=False)
    grid: Grid
    dimensions: int

    @property
    def nats(self) -> Tensor:
        """(n,): an estimate without bias of what log P(b) is at least."""
        return -(self.prior + self.steps.sum(1) + self.last)

    @property
    def bits_per_dim(self) -> Tensor:
        """-nats / (d ln 2), (n,)."""
        return -self.nats / (self.dimensions * math.log(2))

    @property
    def interval(self) -> tuple[float, float]:
        """Of the mean bits per dimension of all that x is a sample of, 95%: mean -+ 1.96 sd / sqrt(n).

        Every sample has draws of its own, so that their scatter is part of it.
        """
        return mean_interval(self.bits_per_dim)

    @property
    def parts(self) -> list[tuple[float, float, float]]:
        """Of each part of the grid the noise levels sigma/alpha from and to, and its mean bits per dimension."""
        levels, draws = self.grid.levels, self.steps.shape[1]
        edges = [k * len(self.grid) / draws for k in range(draws + 1)]
        bits = self.steps.mean(0) / (self.dimensions * math.log(2))
        return [(levels[math.floor(a)].noise, levels[math.ceil(b)].noise, float(v))
                for a, b, v in zip(edges, edges[1:], bits)]

    def __len__(self) -> int:
        return len(self.prior)

    def __str__(self) -> str:
        unit, (low, high) = self.dimensions * math.log(2), self.interval
        within = f", 95% {low:.4f} to {high:.4f}" if len(self) > 1 else ""
        prior, steps, last = (float(v.mean()) / unit for v in (self.prior, self.steps.sum(1), self.last))
        return (f"at most {float(self.bits_per_dim.mean()):.4f} bits/dim{within} (n = {len(self)}, d = "
                f"{self.dimensions}): prior {prior:.4f}, {len(self.grid)} steps {steps:.4f}, last {last:.4f}; "
                f"{self.steps.shape[1]} steps drawn of each picture, sigma/alpha from {self.grid.levels[0].noise:g} to "
                f"{self.grid.levels[-1].noise:g}")


def variational_bound(denoiser: Denoiser, x: Tensor | np.ndarray, grid: Grid | None = None, *, label: Any = None,
                      draws: int = 16, last: byte.LastStep = byte.categorical, seed: int | None = None, first: int = 0,
                      batch: int = 256, progress: bool | None = None) -> Bound:
    """What -log P(b) of pictures of bytes is at most, for what `df.ancestral` samples with this denoiser on a grid.

    x       (n, ...), a tensor or a NumPy array: bytes as b / 127.5 - 1, as `Images.tensor()` gives them
    grid    of sampling; by default 1000 steps of `df.EDM` equal in ln(sigma/alpha), from 40 to 0.002, a quarter of a
            grey level. How many steps it has costs nothing
    label   the class of each, or one of all: log P(b | label); log P(b, label) is less by the log of how many there are
    draws   of steps for each sample, an evaluation of the denoiser each; as many as the grid has steps are all of them
    last    log P(b | x): `categorical` or `discretised_gaussian` of `diffusion.bytes`
    seed, first   the noise is a function of (seed, first + i, draw, element)
    batch   how many are computed together

    Returns a `Bound`. Raises ValueError and TypeError for arguments that do not fit, FloatingPointError where the
    denoiser gives what is not finite.

    Source: Kingma, Salimans, Poole & Ho 2021, Variational diffusion models.

    >>> from diffusion.exact import GaussianMixture
    >>> data = GaussianMixture([[-1.0], [1.0]], stds=[0.0, 0.0])        # a bit
    >>> x = data.sample(1000, seed=1)
    >>> print(variational_bound(data, x, seed=1))
    at most 1.0716 bits/dim, 95% 0.9769 to 1.1663 (n = 1000, d = 1): prior 0.0005, 1000 steps 0.9814, last 0.0897; 16
    steps drawn of each picture, sigma/alpha from 40 to 0.002
    """
    grid = grid or log_snr(EDM(), 1000, (0.002, 40.0))
    if not isinstance(grid, Grid):
        raise TypeError(f"grid must be one of df.grid's, such as df.grid.edm(1000); got {grid!r}")
    draws, first = whole("draws, of steps for each sample,", draws, 2**20, start=1), whole("first", first, MAX_PATHS)
    seed, x, end, done = check_seed(seed), samples(denoiser, x), first, []
    byte.of(x)  # refused before any work
    with torch.no_grad():
        for part, labels in parts(denoiser, x, label, batch, progress):
            names = range(end, end := end + len(part))
            done.append(_Pictures(denoiser, part, labels, seed, names).terms(grid, draws, last))
    prior, steps, closing = (torch.cat(terms) for terms in zip(*done))
    return Bound(prior, steps, closing, grid, x[0].numel())


class _Pictures:
    """Some of the pictures, and what they cost."""

    def __init__(self, denoiser: Denoiser, x: Tensor, labels: Tensor | None, seed: int, names: range):
        center = getattr(denoiser, "center", 0.0)
        self.device = center.device if isinstance(center, Tensor) else torch.device("cpu")
        self.center = torch.as_tensor(center, dtype=torch.float64, device=self.device)
        self.spread = float(getattr(denoiser, "spread", 1.0)) or 1.0
        self.denoiser, self.seed, self.names = denoiser, seed, names
        self.labels = None if labels is None else labels.to(self.device)
        self.bytes = byte.of(x).to(self.device)
        self.x0 = byte.levels(self.device)[self.bytes]  # (n, ...), float64

    def terms(self, grid: Grid, draws: int, last: byte.LastStep) -> tuple[Tensor, Tensor, Tensor]:
        """prior (n,), steps (n, draws), last (n,), in nats."""
        top, bottom, count = grid.levels[0], grid.levels[-1], len(grid)
        levels = torch.tensor([(level.alpha, level.sigma) for level in grid], dtype=torch.float64)  # (count + 1, 2)
        u = torch.from_numpy(sk.uniforms(self.seed, STREAM, self.names, draws)[..., 0])  # type: ignore[arg-type]
        which = ((torch.arange(draws) + u) * (count / draws)).long().clamp(max=count - 1)  # (n, draws)
        steps = [self._step(levels[w], levels[w + 1], k) * (count / draws) for k, w in enumerate(which.T, start=1)]
        x = self._noisy(bottom.alpha, bottom.sigma, 0)
        chance = last(self.bytes, x, bottom, lambda: self._denoised(x, bottom.alpha, bottom.sigma))
        return self._prior(top).cpu(), torch.stack(steps, 1).cpu(), -chance.flatten(1).sum(1).cpu()

    def _prior(self, top: Level) -> Tensor:
        """KL(N(alpha x_0, sigma^2) || N(alpha m, r^2)), (n,)."""
        r = math.hypot(top.alpha * self.spread, top.sigma)
        off = top.alpha * (self.x0 - self.center)
        each = math.log(r / top.sigma) + 0.5 * ((top.sigma / r)**2 - 1 + (off / r)**2)
        return each.flatten(1).sum(1)

    def _step(self, t: Tensor, s: Tensor, draw: int) -> Tensor:
        """(SNR_s - SNR_t) |x_0 - D(x_t)|^2 / 2, (n,); t and s are alpha and sigma, (n, 2)."""
        alpha, sigma = t.T.to(self.device)
        D = self._denoised(self._noisy(alpha, sigma, draw), alpha, sigma)
        low, high = ((level[:, 0] / level[:, 1]).square().to(self.device) for level in (t, s))
        return 0.5 * (high - low) * (self.x0 - D).square().flatten(1).sum(1)

    def _noisy(self, alpha: float | Tensor, sigma: float | Tensor, draw: int) -> Tensor:
        """alpha x_0 + sigma eps, (n, ...)."""
        size = self.x0[0].numel()
        eps = sk.normals(self.seed, STREAM, self.names, range(draw, draw + 1), size)  # type: ignore[arg-type]
        noise = torch.from_numpy(eps).reshape(self.x0.shape).to(self.device)
        return column(alpha, noise) * self.x0 + column(sigma, noise) * noise

    def _denoised(self, x: Tensor, alpha: float | Tensor, sigma: float | Tensor) -> Tensor:
        D = self.denoiser(x, alpha, sigma, self.labels)
        if D.shape != x.shape:
            raise ValueError(f"the denoiser gave a tensor of shape {tuple(D.shape)} for x of shape {tuple(x.shape)}; "
                             "they must be equal")
        if not D.isfinite().all():
            raise FloatingPointError(f"the denoiser gave what is not finite, at sigma/alpha up to "
                                     f"{float(torch.as_tensor(sigma / alpha).max()):g}")
        return D.to(x.dtype)
