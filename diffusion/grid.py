"""Grids of noise levels, the one thing that all samplers step over: immutable, and the only owners of step sizes.

A grid of N steps has N + 1 levels, from the noisiest to the last, where sigma > 0; the closing x <- D is no step.

    | function                       | levels k = 0, ..., N, from the top of the span to its end                 |
    | ------------------------------ | ------------------------------------------------------------------------- |
    | edm(N, rho=7)                  | (sigma/alpha)^(1/rho) equally spaced (Karras et al. 2022, eq. 5)          |
    | uniform(process, N)            | t equally spaced                                                          |
    | quadratic(process, N)          | sqrt(t) equally spaced (Song et al. 2021, DDIM, appendix D.2)             |
    | log_snr(process, N)            | ln(alpha/sigma) equally spaced (Lu et al. 2022)                           |
    | linspace(walk, N)              | whole times from T to 1, about equally spaced; without N all of them      |
    | leading(walk, N)               | whole times 1 + k floor(T / (N + 1)): ends at 1, does not begin at T      |
    | trailing(walk, N)              | whole times T - k T / (N + 1), rounded: begins at T, does not end at 1    |
    | tuned(model, N, method)        | those of the least error                                                  |
    | custom(process, times)         | the given times                                                           |

linspace, leading and trailing are of a walk, a `Discrete` process: Lin et al. 2024, table 2.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from diffusion.process import EDM, Discrete, Level, Process


@dataclass(frozen=True)
class Grid:
    """Levels in the order of sampling, from the noisiest (alpha = 0 is allowed there) to the last, where sigma > 0.

    >>> print(edm(18))
    edm: 18 steps of EDM() in sigma/alpha from 40 to 0.02; 19 evaluations at one a step, 37 at two, the closing one
    included
    """

    name: str
    levels: tuple[Level, ...]
    process: Process

    def __post_init__(self):
        if len(self.levels) < 2:
            raise ValueError(f"a grid needs at least one step, two levels; got {len(self.levels)}")
        for t, s in pairwise(self.levels):
            if not (s.alpha > 0 and s.sigma > 0 and s.noise < t.noise):
                raise ValueError(f"noise must fall along a grid and stay above 0, but it goes from {t} to {s}; give "
                                 "times from the noisiest down, each once, the last with sigma > 0")

    def nfe(self, per_step: int = 1, close: bool = True) -> int:
        """Evaluations of the denoiser for a method of so many a step."""
        return per_step * len(self) + close

    def __iter__(self) -> Iterator[Level]:
        return iter(self.levels)

    def __len__(self) -> int:
        return len(self.levels) - 1

    def __repr__(self) -> str:
        first, last = self.levels[0], self.levels[-1]
        return f"Grid({self.name!r}, {len(self)} steps, sigma/alpha from {first.noise:g} to {last.noise:g})"

    def __str__(self) -> str:
        first, last = self.levels[0], self.levels[-1]
        return (f"{self.name}: {len(self)} steps of {self.process!r} in sigma/alpha from {first.noise:g} to "
                f"{last.noise:g}; {self.nfe()} evaluations at one a step, {self.nfe(2)} at two, the closing one\n"
                "included")


def edm(steps: int, sigma_min: float | None = None, sigma_max: float | None = None, rho: float = 7.0,
        process: Process | None = None) -> Grid:
    """(sigma/alpha)^(1/rho) equally spaced, of EDM's process or any other (Karras et al. 2022, eq. 5).

    sigma_min, sigma_max   the noise levels at the ends, by default those of the process's span, for EDM 0.02 and 40
    """
    process = process or EDM()
    low, high = (process.level(t).noise for t in process.span)
    low, high = (low if sigma_min is None else sigma_min), (high if sigma_max is None else sigma_max)
    if not 0 < low < high < math.inf:
        raise ValueError(f"edm needs noise levels 0 < sigma_min < sigma_max, finite; got {low:g} and {high:g}"
                         + ("; give sigma_max" if high == math.inf else ""))
    if not rho > 0:
        raise ValueError(f"rho must be positive, got {rho!r}")
    noises = _between(high ** (1 / rho), low ** (1 / rho), steps) ** rho
    noises[[0, -1]] = high, low
    return Grid("edm", tuple(process.at(v) for v in noises.tolist()), process)


def uniform(process: Process, steps: int, span: Sequence[float] | None = None) -> Grid:
    """Equal steps in the process's time, from span[1] down to span[0]."""
    low, high = _span(process, span)
    return _timed("uniform", process, _between(high, low, steps))


def quadratic(process: Process, steps: int, span: Sequence[float] | None = None) -> Grid:
    """Equal steps in the square root of the process's time: the finer, the closer to the data."""
    low, high = _span(process, span)
    times = _between(high**0.5, low**0.5, steps) ** 2
    times[[0, -1]] = high, low
    return _timed("quadratic", process, times)


def log_snr(process: Process, steps: int, span: Sequence[float] | None = None) -> Grid:
    """Equal steps in lambda = ln(alpha / sigma). Raises ValueError for a span that begins at alpha = 0."""
    low, high = (process.level(t) for t in _span(process, span))
    if not high.alpha:
        raise ValueError(f"ln(alpha/sigma) has no equal steps from alpha = 0, at t = {high.time:g} of {process!r}; "
                         "give a span that ends before, such as (0.001, 0.999)")
    if not low.sigma:
        raise ValueError(f"a grid ends at sigma > 0, but the span begins at t = {low.time:g}, where sigma = 0")
    inner = [process.at(math.exp(-v)) for v in _between(high.log, low.log, steps)[1:-1].tolist()]
    return Grid("log_snr", (high, *inner, low), process)


def linspace(process: Discrete, steps: int | None = None) -> Grid:
    """Whole times of the walk from T to 1, as equally spaced as they can be; without steps, all of them."""
    last = _length(process, steps)
    if steps is None:
        return _timed("linspace", process, np.arange(last, 0, -1))
    if steps >= last:
        raise ValueError(f"the walk has {last} times, so at most {last - 1} steps; got {steps}")
    return _timed("linspace", process, _between(last, 1, steps).round())


def leading(process: Discrete, steps: int) -> Grid:
    """Times 1 + k floor(T / (N + 1)) of the walk: the last is 1, the first is not T."""
    last = _length(process, _whole(steps))
    return _timed("leading", process, 1 + (last // (steps + 1)) * np.arange(steps, -1, -1))


def trailing(process: Discrete, steps: int) -> Grid:
    """Times T - k T / (N + 1) of the walk, rounded: the first is T, the last is not 1."""
    last = _length(process, _whole(steps))
    return _timed("trailing", process, (last - last / (steps + 1) * np.arange(steps + 1)).round())


def custom(process: Process, times: Sequence[float] | np.ndarray) -> Grid:
    """The given times of the process, the noisiest first."""
    times = np.asarray(times, float)
    if times.ndim != 1:
        raise ValueError(f"times are a list of numbers, got an array of shape {times.shape}")
    return _timed("custom", process, times)


def tuned(denoiser, steps: int, method, process: Process | None = None, span: tuple[float, float] | None = None,
          n: int = 64, seed: int = 0, **options) -> Grid:
    """The grid on which a method's strong error is least for this model: see `diffusion.tuning.tuned`."""
    from diffusion.tuning import tuned as search
    return search(denoiser, steps, method, process, span, n, seed, **options)


def default(process: Process | None, steps: int) -> Grid:
    """What `sample` uses without a grid: EDM's; whole times of a walk; equal steps in the time of other processes.

    Equal steps in time end with one that is long in ln(sigma/alpha), where methods of several levels lose what they
    are good for: give these log_snr, edm(process=...) or a tuned grid.
    """
    if process is None or isinstance(process, EDM):
        return edm(steps)
    return linspace(process, steps) if isinstance(process, Discrete) else uniform(process, steps)


def _timed(name: str, process: Process, times: np.ndarray) -> Grid:
    return Grid(name, tuple(process.level(t) for t in times.tolist()), process)


def _whole(steps) -> int:
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or steps < 1:
        raise ValueError(f"steps must be a whole number of at least 1, got {steps!r}")
    return int(steps)


def _between(first: float, last: float, steps) -> np.ndarray:
    return np.linspace(first, last, _whole(steps) + 1)


def _span(process: Process, span: Sequence[float] | None) -> tuple[float, float]:
    if not isinstance(process, Process):
        raise TypeError(f"a grid needs a process, such as EDM() or VP(); got {process!r}")
    low, high = process.span if span is None else span
    if not process.times[0] <= low < high <= process.times[1]:
        raise ValueError(f"the span of a grid is (start, end) within the times {process.times} of {process!r}, got "
                         f"({low!r}, {high!r})")
    return float(low), float(high)


def _length(process: Discrete, steps: int | None) -> int:
    if not isinstance(process, Discrete):
        raise TypeError(f"whole times are those of a walk, Discrete(betas); got {process!r}; use uniform, quadratic, "
                        "log_snr or edm")
    last = len(process.betas)
    if steps is not None:
        _between(0, 1, steps)
        if steps >= last:
            raise ValueError(f"the walk has {last} times, so at most {last - 1} steps; got {steps}")
    return last
