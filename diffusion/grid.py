"""A grid of noise levels, the one thing that all samplers step over: immutable, and the only owner of step sizes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from diffusion.process import EDM, Process


@dataclass(frozen=True)
class Level:
    """A point of the grid: x = alpha x_0 + sigma eps there; `time` is the process's, if there is one."""

    time: float
    alpha: float
    sigma: float


@dataclass(frozen=True)
class Grid:
    """Levels in the order of sampling, from the noisiest to the last with sigma > 0.

    >>> Grid.edm(3)
    Grid('edm', 3 steps, sigma/alpha from 40 to 0.02)
    """

    name: str
    levels: tuple[Level, ...]
    process: Process | None = None

    def __post_init__(self):
        if len(self.levels) < 2:
            raise ValueError(f"a grid needs at least one step, two levels; got {len(self.levels)}")
        for t, s in pairwise(self.levels):
            if not (t.alpha > 0 and s.alpha > 0 and s.sigma > 0 and s.sigma / s.alpha < t.sigma / t.alpha):
                raise ValueError(f"noise must fall along a grid and stay above 0, but it goes from {t} to {s}")

    @classmethod
    def edm(cls, steps: int, sigma_min: float = 0.02, sigma_max: float = 40.0, rho: float = 7.0) -> "Grid":
        """sigma_i^(1/rho) equally spaced, alpha = 1 (Karras et al. 2022, eq. 5)."""
        _check_steps(steps)
        sigmas = np.linspace(sigma_max ** (1 / rho), sigma_min ** (1 / rho), steps + 1) ** rho
        return cls("edm", tuple(Level(s, 1.0, s) for s in sigmas.tolist()), EDM())

    @classmethod
    def uniform(cls, process: Process, steps: int, span: Sequence[float] | None = None) -> "Grid":
        """Equal steps in the process's time, from span[1] down to span[0]."""
        _check_steps(steps)
        low, high = process.span if span is None else span
        times = np.linspace(high, low, steps + 1).tolist()
        return cls("uniform", tuple(Level(t, process.alpha(t), process.sigma(t)) for t in times), process)

    @classmethod
    def discrete(cls, betas: np.ndarray, steps: int | None = None) -> "Grid":
        """Times T, ..., 1 of the walk x_t = sqrt(1 - beta_t) x_{t-1} + sqrt(beta_t) eps: all, or `steps` + 1."""
        kept = np.cumprod(1 - np.asarray(betas, float))  # alpha_t^2, t = 1 ... T
        times = np.arange(len(kept), 0, -1)
        if steps is not None:
            _check_steps(steps)
            if steps >= len(times):
                raise ValueError(f"the walk has {len(times)} times, so at most {len(times) - 1} steps; got {steps}")
            times = np.linspace(len(kept), 1, steps + 1).round().astype(int)
        levels = tuple(Level(float(t), float(kept[t - 1] ** 0.5), float((1 - kept[t - 1]) ** 0.5)) for t in times)
        return cls("discrete", levels)

    def __iter__(self) -> Iterator[Level]:
        return iter(self.levels)

    def __len__(self) -> int:
        return len(self.levels) - 1

    def __repr__(self) -> str:
        first, last = self.levels[0], self.levels[-1]
        return (f"Grid({self.name!r}, {len(self)} steps, sigma/alpha from {first.sigma / first.alpha:g} "
                f"to {last.sigma / last.alpha:g})")


def default_grid(process: Process | None, steps: int) -> Grid:
    """What `sample` uses without a grid: EDM's, or equal steps in the time of another process."""
    return Grid.edm(steps) if process is None or isinstance(process, EDM) else Grid.uniform(process, steps)


def _check_steps(steps) -> None:
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or steps < 1:
        raise ValueError(f"steps must be a whole number of at least 1, got {steps!r}")


