"""Sampling: from noise at the first level of a grid to data, by a denoiser. One loop, many steps.

A step takes x from level t to level s:  step(denoise, x, t, s, noise) -> x, where denoise(x, level) = E[x_0 | x] and
noise() gives fresh standard normals. After the last level every sampler closes with x <- E[x_0 | x]. All arithmetic
is in float64; the network computes in its own type.

Sample i is named by (seed, i): its noise depends on nothing else, not on the batch it is drawn in.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

import sdekit as sk
from diffusion.denoiser import Denoiser
from diffusion.grid import Grid, Level, default_grid
from diffusion.guidance import classifier_free
from diffusion.process import Process
from sdekit.noise import check_seed, key, whole
from sdekit.torch_engine import normals

START, STEPS = 1, 0  # streams: of the first noise, and of the noise of the steps
Denoise = Callable[[Tensor, Level], Tensor]
Noise = Callable[[int], Tensor]


@dataclass(frozen=True)
class Sampler:
    """A way down a grid: solve(denoise, x, grid, seed, first) yields the state at each level after the first."""

    name: str
    solve: Callable[..., Iterator[Tensor]]

    def __repr__(self) -> str:
        return self.name


def stepwise(name: str, step: Callable) -> Sampler:
    """The sampler that takes one `step` after another."""
    def solve(denoise: Denoise, x: Tensor, grid: Grid, seed: int, first: int) -> Iterator[Tensor]:
        for n, (t, s) in enumerate(pairwise(grid)):
            x = step(denoise, x, t, s, partial(standard_normal, x.shape, seed, STEPS, first, n))
            yield x

    return Sampler(name, solve)


def _heun(denoise: Denoise, x: Tensor, t: Level, s: Level, noise: Callable) -> Tensor:
    l, m = t.sigma / t.alpha, s.sigma / s.alpha
    y = x / t.alpha
    slope = (y - denoise(x, t)) / l  # eps = dy/dl
    end = y + (m - l) * slope
    return s.alpha * (y + (m - l) * (slope + (end - denoise(s.alpha * end, s)) / m) / 2)


def _ddpm(denoise: Denoise, x: Tensor, t: Level, s: Level, noise: Callable) -> Tensor:
    ratio = t.alpha / s.alpha  # sqrt(1 - beta) where t and s are neighbours
    beta = t.sigma**2 - ratio**2 * s.sigma**2
    eps = (x - t.alpha * denoise(x, t)) / t.sigma
    return (x - beta / t.sigma * eps) / ratio + beta**0.5 * noise()


#: Heun's method for the flow ODE in the noise level l = sigma/alpha: y = x/alpha, dy/dl = eps. Two evaluations a step,
#: order 2 (Karras et al. 2022, algorithm 1, for any alpha).
heun = stepwise("heun", _heun)

#: x' = (x - beta eps / sigma_t) / sqrt(1 - beta) + sqrt(beta) z (Ho et al. 2020, algorithm 2, with variance beta);
#: over several steps of the walk at once beta is that of the larger step.
ddpm = stepwise("ddpm", _ddpm)


def reverse_sde(method: sk.Method = sk.euler_maruyama) -> Sampler:
    """The process's SDE reversed by its score (alpha D - x)/sigma^2, solved on the grid's times by an sdekit method."""
    def solve(denoise: Denoise, x: Tensor, grid: Grid, seed: int, first: int) -> Iterator[Tensor]:
        process, times = _timed(grid)
        back = sk.reverse(process, _score(denoise, process), t=grid.levels[0].time)
        paths = sk.simulate(back, x, times, len(grid), seed=seed, first=first, stream=STEPS, method=method)
        yield from paths.x[:, 1:].unbind(1)

    return Sampler(f"reverse_sde({method})", solve)


def flow_ode(method: sk.ODEMethod = sk.heun) -> Sampler:
    """The process's probability flow, solved on the grid's times by an sdekit method."""
    def solve(denoise: Denoise, x: Tensor, grid: Grid, seed: int, first: int) -> Iterator[Tensor]:
        process, times = _timed(grid)
        flow = sk.probability_flow(process, _score(denoise, process), t=grid.levels[0].time)
        yield from sk.integrate(flow, x, times, len(grid), method=method).x[:, 1:].unbind(1)

    return Sampler(f"flow_ode({method})", solve)


def _timed(grid: Grid) -> tuple[Process, np.ndarray]:
    """The grid's process, and its times on the reversed clock, which starts at 0."""
    if grid.process is None:
        raise ValueError(f"{grid} belongs to no process in continuous time; use Grid.edm or Grid.uniform, or the "
                         "sampler ddpm")
    return grid.process, grid.levels[0].time - np.array([level.time for level in grid])


def _score(denoise: Denoise, process: Process) -> Callable:
    def score(x: Tensor, s: float) -> Tensor:
        level = Level(s, process.alpha(s), process.sigma(s))
        return (level.alpha * denoise(x, level) - x) / level.sigma**2

    return score


@dataclass(frozen=True, eq=False)
class Samples:
    """samples (n, channels, height, width) float32; nfe: network evaluations for each sample, guided calls count two.

    trajectory: the states at the grid's levels, then the samples: (levels + 1, n, ...), if `keep` was asked for
    """

    samples: Tensor
    label: Tensor | None
    nfe: float
    seconds: float
    grid: Grid
    info: dict[str, Any] = field(repr=False)
    trajectory: Tensor | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.samples)


def sample(denoiser: Denoiser, n: int = 1, *, label: int | Sequence[int] | Tensor | None = None, steps: int = 18,
           method: Sampler = heun, seed: int | None = None, first: int = 0, guidance: float = 0.0,
           interval: tuple[float, float] = (0.5, 8.0), process: Process | None = None, grid: Grid | None = None,
           shape: Sequence[int] | None = None, close: bool = True, keep: bool = False, batch: int = 256,
           progress: bool | None = None) -> Samples:
    """Draw n samples from a denoiser: x from N(alpha m, (alpha^2 s^2 + sigma^2) I) at the first level, then down.

    denoiser        D(x, alpha, sigma, condition), trained or exact
    label           the class asked for: one for all, or one a sample; None for no condition
    steps, method   `heun`, `ddpm`, `reverse_sde(...)` or `flow_ode(...)`, in this many steps
    seed, first     sample i is named by (seed, first + i); seed None draws one
    guidance        w of classifier-free guidance, at noise levels within `interval`; 0 for none
    process, grid   the grid of levels; by default EDM's (sigma 40 to 0.02), or equal steps in the process's time
    shape           of one sample; by default that of the data the denoiser was trained on
    close           end with x <- D; off, the samples are those at the grid's last level
    keep            keep the state at every level

    Raises ValueError for a label outside the classes, TypeError for a seed that is no whole number.

    >>> from diffusion.exact import Gaussian
    >>> result = sample(Gaussian(3.0, 0.5), 1000, shape=(1,), steps=18, seed=1)
    >>> result.samples.shape, result.nfe
    (torch.Size([1000, 1]), 37.0)
    """
    n = whole("n", n, 2**40, start=1)
    seed, first, batch = check_seed(seed), whole("first", first, 2**40), whole("batch", batch, 2**31, start=1)
    if not isinstance(method, Sampler):
        raise TypeError(f"method must be a sampler: heun, ddpm, reverse_sde(...) or flow_ode(...); got {method!r}")
    grid = grid or default_grid(process, steps)
    shape = tuple(shape) if shape is not None else _shape(denoiser)
    labels = None if label is None else _labels(label, n, denoiser)
    center = torch.as_tensor(getattr(denoiser, "center", getattr(denoiser, "mean", 0.0)), dtype=torch.float64)
    spread = float(getattr(denoiser, "spread", getattr(denoiser, "std", 1.0)))
    device, top = center.device, grid.levels[0]
    rows = 0

    def counted(x: Tensor, alpha, sigma, condition=None) -> Tensor:
        nonlocal rows
        rows += len(x)
        return denoiser(x, alpha, sigma, condition)

    counted.config = getattr(denoiser, "config", None)
    guided = classifier_free(counted, guidance, interval)
    start, done, kept = time.perf_counter(), [], []
    with torch.inference_mode(), tqdm(total=n * len(grid), unit="step", delay=2.0, leave=False,
                                      disable=None if progress is None else not progress) as bar:
        for begin in range(0, n, batch):
            count = min(batch, n - begin)
            condition = None if labels is None else labels[begin:begin + count].to(device)

            def denoise(x: Tensor, level: Level, condition=condition) -> Tensor:
                return guided(x, level.alpha, level.sigma, condition).to(x.dtype)

            z = standard_normal((count, *shape), seed, START, first + begin, 0).to(device)
            x = top.alpha * center + (top.alpha**2 * spread**2 + top.sigma**2) ** 0.5 * z
            states = [x]
            for state in method.solve(denoise, x, grid, seed, first + begin):
                bar.update(count)
                states = [*states, state] if keep else [state]
            end = grid.levels[-1]
            states.append(denoise(states[-1], end) if close else states[-1])
            done.append(states[-1].float().cpu())
            if keep:
                kept.append(torch.stack(states if close else states[:-1]).float().cpu())
    samples = torch.cat(done)
    bad = (~samples.isfinite().reshape(n, -1).all(1)).nonzero().flatten().tolist()
    if bad:
        raise FloatingPointError(f"sample {first + bad[0]} of seed {seed} is not finite ({len(bad)} of {n} are not): "
                                 "the denoiser gave values that are not, or the grid is too coarse for the method")
    info = {"seed": seed, "first": first, "method": str(method), "guidance": guidance}
    return Samples(samples, labels, rows / n, time.perf_counter() - start, grid, info,
                   torch.cat(kept, dim=1) if keep else None)


def standard_normal(shape: Sequence[int], seed: int, stream: int, first: int, step: int) -> Tensor:
    """Z(seed, stream, first + row, step, element) of sdekit's noise, float64, (rows, ...)."""
    count, size = shape[0], int(np.prod(shape[1:]))
    path = torch.arange(first, first + count)[:, None]
    pair = normals(key(seed, stream), path, torch.arange(size)[None, :], step // 2)
    return pair[step % 2].reshape(shape)


def _shape(denoiser: Denoiser) -> tuple[int, ...]:
    center = getattr(denoiser, "center", None)
    if center is None:
        raise TypeError("this denoiser does not tell the shape of its data; give shape=, that of one sample")
    return tuple(center.shape)


def _labels(label, n: int, denoiser: Denoiser) -> Tensor:
    config = getattr(denoiser, "config", None)
    if config is None:
        raise TypeError(f"label={label!r} was given, but this denoiser has no classes; leave label out")
    try:
        labels = torch.as_tensor(label)
        if labels.dtype == torch.bool or labels.is_floating_point():
            raise TypeError
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"a label is a whole number from 0 to {config.classes - 1}, got {label!r}") from None
    if labels.ndim > 1 or labels.numel() not in (1, n):
        raise ValueError(f"give one label, or one for each of the {n} samples; got {labels.numel()}")
    wrong = labels[(labels < 0) | (labels >= config.classes)]
    if len(wrong.reshape(-1)):
        raise ValueError(f"label {int(wrong.reshape(-1)[0])} is outside the classes of this model: 0 to "
                         f"{config.classes - 1}")
    return labels.long().reshape(-1).expand(n)
