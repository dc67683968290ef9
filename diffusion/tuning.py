"""Grids tuned to a model, a method and a budget: of all grids of N steps one on which errors are small.

With l_k = ln(sigma/alpha) at level k, a grid of N steps between two ends is its shares of the way,

    l_{k-1} - l_k = (l_0 - l_N) w_k,    w_k ~ b_k exp(c((k - 1/2) / N)),

b those of the best grid of the families of `diffusion.grid`, and c a cubic spline through KNOTS points, which are
moved by the simplex of Nelder & Mead (1965) to lower the geometric mean of the strong errors |x_N - x_ref| over n
samples: it is near their median, and smoother. A spline of few knots is what n samples can tell; shares of their own
for all steps fit the samples better and other samples hardly so. The errors of other samples are measured in the end.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from scipy.optimize import minimize
from tqdm import tqdm

from diffusion.compare import CONVERGED, norms, refined
from diffusion.denoiser import Denoiser
from diffusion.distances import interval, picks
from diffusion.grid import Grid, edm, log_snr, quadratic, uniform
from diffusion.process import EDM, Process
from diffusion.samplers import Sampler
from diffusion.sampling import sample
from sdekit.noise import check_seed, whole

KNOTS = 6
RHOS = (3.0, 5.0, 7.0, 10.0, 20.0)
FINER, HELD_OUT, TIMES = 16, 256, 200


@dataclass(frozen=True, repr=False)
class Tuned(Grid):
    """A grid made for one method; the errors are medians of |x_N - x_ref| / sqrt(d), in the data's units.

    method      that it is for
    base        the family's grid that it was tuned from
    training    its error on the samples that it was tuned on
    held_out    on others
    interval    95%, of that
    before      the error of `base` on the same others
    nfe_used    evaluations of the denoiser down the grid, the closing one left out
    """

    method: Sampler
    base: Grid
    training: float
    held_out: float
    interval: tuple[float, float]
    before: float
    nfe_used: float

    @property
    def report(self) -> str:
        """The errors in words.

        >>> from diffusion.problems import mixture
        >>> from diffusion.samplers import dpmpp_2m
        >>> print(tuned(mixture(), 6, dpmpp_2m, n=32, trials=20, progress=False).report)
        dpmpp_2m in 6 steps from 40 to 0.02, 6 evaluations: median error ... (... to ...) on other samples, ...
        """
        low, high = self.interval
        return (f"{self.method!r} in {len(self)} steps from {self.levels[0].noise:g} to {self.levels[-1].noise:g}, "
                f"{self.nfe_used:g} evaluations: median error {self.held_out:.2g} ({low:.2g} to {high:.2g}) on other "
                f"samples, {self.training:.2g} on those it was tuned on; {self.before:.2g} on {self.base.name}'s grid")


def tuned(denoiser: Denoiser, steps: int, method: Sampler, process: Process | None = None,
          span: tuple[float, float] | None = None, n: int = 64, seed: int = 0, *, label: Any = None, trials: int = 200,
          progress: bool | None = None, **options) -> Tuned:
    """The grid of so many steps on which the method's strong error is least, as far as a search of `trials` runs finds.

    denoiser  trained or exact
    method    the sampler that it is for, which claims an order; a stochastic one is compared with itself
    process   by default EDM's
    span      times of the process, (end, start), by default the process's own; alpha > 0 at its start,
              so that processes whose own begins at alpha = 0, as Cosine's, need one
    n, seed   the samples that it is tuned on are 0, ..., n - 1 of the seed; the next 256 tell how good it is
    trials    runs of the method, each of n samples
    options   of `sample`: guidance, interval, shape, batch

    Returns a `Grid` that also tells its errors; print its `report`. The reference has 16 times as many steps. The same
    arguments give the same grid. Raises TypeError and ValueError for arguments that do not fit.

    >>> from diffusion.problems import mixture
    >>> from diffusion.samplers import deis
    >>> grid = tuned(mixture(), 8, deis(3), n=32, trials=40, progress=False)
    >>> len(grid), grid.held_out < grid.before
    (8, True)
    """
    if not isinstance(method, Sampler):
        raise TypeError(f"method must be a sampler, such as df.unipc(3); got {method!r}")
    if method.order is None:
        raise ValueError(f"{method!r} claims no order: with more steps it does not come to an end that an error "
                         "could be measured from; tune the grid of another method")
    trials, n, seed = whole("trials", trials, 2**30, start=1), whole("n", n, 2**31, start=2), check_seed(seed)
    process = process or EDM()
    top = process.level((process.span if span is None else span)[1]) if isinstance(process, Process) else None
    if top is not None and not top.alpha:
        low = (process.span if span is None else span)[0]
        raise ValueError(f"{process!r} has alpha = 0 at t = {top.time:g}, infinitely far back in ln(sigma/alpha), in "
                         f"which grids are tuned; give span=({low:g}, t) with alpha > 0 at t, such as t = "
                         f"{low + 0.999 * (top.time - low):.4g}")
    families = [log_snr(process, steps, span)]  # checks steps and span
    first, last = families[0].levels[0], families[0].levels[-1]
    families += [edm(steps, last.noise, first.noise, rho, process) for rho in RHOS]
    families += [make(process, steps, span) for make in (uniform, quadratic)]
    run = _Run(denoiser, method, label, seed, families[0], options)
    with tqdm(total=trials + len(families), unit="run", leave=False,
              disable=None if progress is None else not progress) as bar:
        train = run.truth(0, n)
        base, least = families[0], np.inf
        for grid in families:
            error = run.geometric(grid, train)
            bar.update()
            if error < least:
                base, least = grid, error
        shares = np.log(np.diff([level.log for level in base]))

        def objective(c: np.ndarray) -> float:
            bar.update()
            return run.geometric(moved(base, shares, c), train)

        simplex = np.vstack([np.zeros(KNOTS), 0.5 * np.eye(KNOTS)])
        found = minimize(objective, simplex[0], method="Nelder-Mead", options={
            "initial_simplex": simplex, "maxfev": trials, "xatol": 1e-3, "fatol": 1e-3})
    grid = moved(base, shares, found.x) if found.fun < least else base
    other = run.truth(n, HELD_OUT)
    errors = run.errors(grid, other)
    again = np.median(errors[picks(len(errors), TIMES, seed)], axis=1)
    median = lambda e: float(np.median(e))
    return Tuned("tuned", grid.levels, process, method, base, median(run.errors(grid, train)), median(errors),
                 interval(median(errors), again), median(run.errors(base, other)), run.nfe)


def moved(base: Grid, shares: np.ndarray, c: np.ndarray) -> Grid:
    """The grid of the shares exp(shares + spline through c)."""
    steps, first, last = len(base), base.levels[0], base.levels[-1]
    bent = shares + CubicSpline(np.linspace(0, 1, KNOTS), c)((np.arange(steps) + 0.5) / steps)
    parts = np.exp(np.clip(bent - bent.max(), -20, 0))  # steps of no length are no steps
    way = np.cumsum(parts)[:-1] / parts.sum()
    noises = first.noise * (last.noise / first.noise) ** way
    return Grid(base.name, (first, *(base.process.at(v) for v in noises.tolist()), last), base.process)


class _Run:
    """Strong errors of one method on any grid between the same ends."""

    def __init__(self, denoiser: Denoiser, method: Sampler, label: Any, seed: int, ends: Grid, options: dict):
        if np.ndim(label):
            raise ValueError(f"a grid is tuned for one label, or none; got {label!r}")
        self.denoiser, self.method, self.label, self.seed, self.ends = denoiser, method, label, seed, ends
        self.options, self.nfe = options, 0.0

    def sampled(self, method: Sampler, grid: Grid, first: int, n: int):
        return sample(self.denoiser, n, label=self.label, method=method, grid=grid, seed=self.seed, first=first,
                      close=False, nested=method.stochastic, dtype=torch.float64, progress=False, **self.options)

    def truth(self, first: int, n: int) -> tuple[int, torch.Tensor]:
        """Samples first, ..., first + n - 1 by very many steps."""
        limit = self.method if self.method.stochastic else CONVERGED
        return first, self.sampled(limit, refined(self.ends, max(256, FINER * len(self.ends))), first, n).samples

    def errors(self, grid: Grid, truth: tuple[int, torch.Tensor]) -> np.ndarray:
        """|x_N - x_ref| / sqrt(d), (n,)."""
        found = self.sampled(self.method, grid, truth[0], len(truth[1]))
        self.nfe = float(torch.as_tensor(found.nfe).mean())
        return norms(found.samples - truth[1])

    def geometric(self, grid: Grid, truth: tuple[int, torch.Tensor]) -> float:
        """The mean of ln errors."""
        try:
            return float(np.log(self.errors(grid, truth) + 1e-300).mean())
        except FloatingPointError:  # too coarse a grid is a bad one
            return np.inf
