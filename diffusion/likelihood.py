"""The density of what a denoiser samples: log p along its flow, in one integral for all processes.

With z and q of `diffusion.encoding`, in which one flow serves every process,

    log p(x) = log p(z) - d ln r,
    log p(z at the last level) = log p(z at the first) + int tr(d/dz dz/dq) dq,   tr = d a - tr dD/dx,

from the last level's q to the first's (Chen et al. 2018, theorem 1; Song et al. 2021, eq. 39). The integrand is 0 where
the data are N(m, s^2 I). tr dD/dx is (a / sigma^2) tr Cov[x_0 | x] for a law that knows it, d products with the
Jacobian otherwise, or the mean of v^T (dD/dx) v over probes v of random signs (Hutchinson 1990; Grathwohl et al. 2019).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

import sdekit as sk
from diffusion.bytes import WIDTH, dequantised
from diffusion.denoiser import Denoiser
from diffusion.encoding import TOLERANCE, Flow, Route, parts, samples
from diffusion.grid import Grid
from diffusion.process import Level, Process
from diffusion.views import brief
from sdekit.noise import MAX_PATHS, check_seed, whole

SMALL = 64  # elements of a sample up to which the trace is exact by default
PROBES, DRAWS = 0x9B0E, 0xDE9A  # streams: of the probes' signs, and of the noise below a grey level


def mean_interval(values: Tensor) -> tuple[float, float]:
    """The 95% interval of the mean of which values (n,) are a sample: mean -+ 1.96 sd / sqrt(n); NaN for n = 1."""
    mean, half = float(values.mean()), 1.96 * float(values.std()) / len(values)**0.5 if len(values) > 1 else math.nan
    return mean - half, mean + half


@dataclass(frozen=True, eq=False)
class LogLikelihood:
    """log p of samples x (n, ...) at `level`, where the flow of sampling ends; (n,) each, float64.

    nats         log p(x) in nats; with `draws`, its mean over them: at most the logarithm of the mean, the bound of
                 Theis, van den Oord & Bethge 2016, eq. 6
    stderr       of the nats over the probes, from their own scatter; None where the trace is exact or the probe is one
    stderr_draws of the nats over the draws, the probes' scatter included; None with fewer than two
    latent       x at the first level (n, ...), the last draw's
    prior_gap    log p of the latent by the prior, less the exact one: what the prior added to nats; None where the
                 denoiser has no `log_prob`
    nfe          evaluations of the denoiser for each sample and draw; of its Jacobian's products, as many times d or
                 the probes
    dimensions   d
    width        between two grey levels, in the units of x
    draws        of the noise below a grey level; 0 where x was taken as it is
    """

    nats: Tensor
    stderr: Tensor | None
    stderr_draws: Tensor | None
    latent: Tensor = field(repr=False)
    prior_gap: Tensor | None = field(repr=False)
    nfe: Tensor = field(repr=False)
    level: Level
    dimensions: int
    width: float
    draws: int

    @property
    def bits_per_dim(self) -> Tensor:
        """-nats / (d ln 2) - log2(width), (n,): of a picture's grey levels; without draws a density at their middles.

        log2(255/2) = 6.9944 is added for the levels u / 127.5 - 1 of u = 0 ... 255, whose width is 2/255. The 7 of
        papers that map (u + noise) / 128 - 1 belongs to the width 2/256.
        """
        return -self.nats / (self.dimensions * math.log(2)) - math.log2(self.width)

    @property
    def interval(self) -> tuple[float, float]:
        """Of the mean bits per dimension of all that x is a sample of, 95%: mean -+ 1.96 sd / sqrt(n).

        Every sample has draws and probes of its own, so that their scatter is part of it.
        """
        return mean_interval(self.bits_per_dim)

    def __len__(self) -> int:
        return len(self.nats)

    def __str__(self) -> str:
        n, mean = len(self), float(self.nats.mean())
        over = f" +- {float(self.nats.std()) / n**0.5:.2g} over samples" if n > 1 else ""
        how = (f"{self.draws} uniform draws within a grey level of {self.width:g}" if self.draws
               else f"no dequantisation, grey levels of {self.width:g}")
        grey = self.draws or self.latent.ndim == 4  # only pictures (n, channels, height, width) have grey levels
        low, high = self.interval
        within = f", 95% {low:.4f} to {high:.4f}" if n > 1 else ""
        bits = f"{float(self.bits_per_dim.mean()):.4f} bits/dim{within} ({how}); " if grey else ""
        return (f"log p at sigma/alpha = {self.level.noise:g}: {mean:.6g} nats{over} (n = {n}, d = {self.dimensions}); "
                f"{bits}{float(self.nfe.double().mean()):.0f} evaluations")


def log_likelihood(denoiser: Denoiser, x: Tensor | np.ndarray, process: Process | None = None,
                   grid: Grid | None = None, *, label: Any = None, trace: int | Literal["exact"] | None = None,
                   prior: Callable[..., Tensor] | None = None, dequantise: int = 0, width: float = WIDTH,
                   seed: int | None = None, first: int = 0, method: sk.ODEMethod | None = None,
                   rtol: float = TOLERANCE, atol: float = TOLERANCE, batch: int = 256,
                   progress: bool | None = None) -> LogLikelihood:
    """log p(x) at the end of sampling, by the flow: of whatever samples, trained, exact or guided.

    x            (n, ...), a tensor or a NumPy array, at the last level of the process's span, or of the grid
    process, grid  as of `diffusion.encode`: of a grid the levels are the steps
    label        the class of each, or one of all: log p(x | label)
    trace        "exact", or a number of probes; by default exact for laws that know their covariance and for d up to
                 64, and 4 probes beyond. With probes nats has a standard error, and one evaluation takes as many
                 products with the Jacobian instead of d. The probes' signs are functions of (seed, first + i, probe),
                 the same along the whole flow
    prior        log p of x at the first level, (x, alpha, sigma, condition) -> (n,), such as `log_prob` of an exact
                 denoiser; None for N(alpha m, (alpha^2 s^2 + sigma^2) I), from which sampling starts
    dequantise   0 takes x as it is; k adds noise uniform within a grey level, k times, as `diffusion.bytes` says: a
                 function of (seed, first + i, draw, element)
    width        of a grey level in the units of x: 2/255 for bytes u / 127.5 - 1
    method, rtol, atol, batch, progress   as of `diffusion.encode`; on a mixture in the plane log p was
                 off by 5 to 50 tolerances at most

    Raises ValueError and TypeError for arguments that do not fit, FloatingPointError where the flow is not finite.

    >>> from diffusion.exact import Gaussian
    >>> data, x = Gaussian(3.0, 0.5, shape=(2,)), torch.tensor([[2.5, 4.0]], dtype=torch.float64)
    >>> log_likelihood(data, x).nats, data.log_prob(x, 1.0, 0.02)
    (tensor([-2.9492], dtype=torch.float64), tensor([-2.9492], dtype=torch.float64))
    """
    route = Route.of(process, grid, method, rtol, atol)
    draws, first = whole("dequantise, the number of draws,", dequantise, 2**20), whole("first", first, MAX_PATHS)
    if not 0 < width < math.inf:
        raise ValueError(f"width is that of a grey level in the units of x, positive; got {width!r}")
    seed, x = check_seed(seed), samples(denoiser, x)
    if trace is None:
        trace = "exact" if _knows_covariance(denoiser) or x[0].numel() <= SMALL else 4
    probes = 0 if isinstance(trace, str) and trace == "exact" else whole(
        'trace, "exact" or the number of probes,', trace, 2**20, start=1)
    runs, begin = [], first
    with torch.no_grad():
        for part, labels in parts(denoiser, x, label, batch, progress):
            names = range(begin, begin := begin + len(part))
            kept, held = [], part.to(torch.float64).cpu()
            for draw in range(max(draws, 1)):
                drawn = dequantised(held, _uniform(seed, names, draw, held), width) if draws else held
                flow = Flow(denoiser, tuple(x.shape[1:]), labels, len(part))
                signs = _signs(seed, names, draw, probes, flow.size)
                kept.append(_one(flow, drawn, signs, route, prior))
            runs.append([torch.stack(values, 1) for values in zip(*kept)])  # (rows, draws, ...)
    nats, latent, gap, nfe = (torch.cat(values) for values in zip(*runs))  # nats (n, draws, probes or 1)
    over = None if probes < 2 else (nats.var(2) / probes).mean(1).div(nats.shape[1]).sqrt()
    between = None if draws < 2 else (nats.mean(2).var(1) / draws).sqrt()
    return LogLikelihood(nats.mean((1, 2)), over, between, latent[:, -1].reshape(x.shape),
                         None if gap.isnan().all() else gap.mean(1), nfe.mean(1), route.levels[-1], flow.size, width,
                         draws)


def _one(flow: Flow, x: Tensor, signs: Tensor | None, route: Route, prior: Callable | None) -> tuple[Tensor, ...]:
    """nats (n, probes or 1), latent (n, d), gap (n,), nfe (n,) of states at the last level."""
    top, bottom, d = route.levels[0], route.levels[-1], flow.size
    z, signs = flow.z(x, bottom), None if signs is None else signs.to(flow.device)

    def velocity(state: Tensor, q: float, row: Tensor) -> Tensor:
        z = state[:, :d]
        own, alpha, sigma = flow.at(z, q)
        D, traces = _traced(flow, own, alpha, sigma, row, None if signs is None else signs[row])
        return torch.cat((flow.along(z, alpha, D), d * alpha - traces), 1)

    wide = z.new_zeros(len(z), 1 if signs is None else signs.shape[1])
    end = flow.follow(velocity, torch.cat((z, wide), 1), route, True)
    z, rise = end[:, :d], end[:, d:]
    latent = flow.x(z, top)
    at = (latent, top.alpha, top.sigma, flow.labels)
    if prior is None:
        log_p = -0.5 * z.square().sum(1) - 0.5 * d * math.log(2 * math.pi) - d * math.log(flow.scale(top))
    else:
        log_p = prior(*at)
        if log_p.shape != (len(z),):
            raise ValueError(f"the prior gave a tensor of shape {tuple(log_p.shape)} for {len(z)} samples; it must "
                             "give log p, (n,)")
    exact = getattr(type(flow.denoiser), "log_prob", None)  # not that of a base, through `Derived`
    gap = log_p - exact(flow.denoiser, *at) if exact else torch.full_like(log_p, math.nan)
    nats = log_p[:, None] + rise + d * math.log(flow.scale(top) / flow.scale(bottom))
    return tuple(v.cpu() for v in (nats, latent.reshape(len(z), d), gap, flow.nfe))


def _traced(flow: Flow, x: Tensor, alpha: float, sigma: float, row: Tensor,
            signs: Tensor | None) -> tuple[Tensor, Tensor]:
    """D, and tr dD/dx (rows, 1), or v^T dD/dx v of each probe (rows, probes)."""
    if signs is None and _knows_covariance(flow.denoiser):
        own: Any = flow.denoiser
        C = own.covariance(x, alpha, sigma, None if flow.labels is None else flow.labels[row])
        return (flow.denoised(x, alpha, sigma, row),
                alpha / sigma**2 * C.diagonal(dim1=1, dim2=2).sum(1, keepdim=True))
    with torch.enable_grad():
        held = x.detach().requires_grad_(True)
        D = flow.denoised(held, alpha, sigma, row)
    if not D.requires_grad:
        raise TypeError(f"{brief(flow.denoiser)} is not differentiable by autograd, and has no log p by its flow: it "
                        "computes under torch.no_grad(), or outside of torch")
    columns = torch.eye(flow.size, dtype=x.dtype, device=x.device) if signs is None else signs.unbind(1)
    last = len(columns) - 1
    products = []
    for k, v in enumerate(columns):
        v = v.expand(len(x), -1)
        grad, = torch.autograd.grad(D, held, v.reshape(x.shape), retain_graph=k < last)
        products.append((grad.reshape(v.shape) * v).sum(1))
    each = torch.stack(products, 1)
    return D.detach(), each.sum(1, keepdim=True) if signs is None else each


def _knows_covariance(denoiser: Any) -> bool:
    """Itself: not its base, through `Derived`."""
    return hasattr(type(denoiser), "covariance")


def _signs(seed: int, names: range, draw: int, probes: int, size: int) -> Tensor | None:
    """Random signs (n, probes, d)."""
    if not probes:
        return None
    z = sk.uniforms(seed, PROBES, names, range(draw * probes, (draw + 1) * probes), size)  # type: ignore[arg-type]
    return torch.from_numpy(np.where(z < 0.5, -1.0, 1.0))


def _uniform(seed: int, names: range, draw: int, x: Tensor) -> Tensor:
    """Uniform on (0, 1), of the shape of x."""
    u = sk.uniforms(seed, DRAWS, names, range(draw, draw + 1), x[0].numel())  # type: ignore[arg-type]
    return torch.from_numpy(u).reshape(x.shape)
