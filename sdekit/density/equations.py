"""Densities on a grid of one or two dimensions: the Fokker-Planck and the continuity equation of an SDE or ODE.

    dX = f(X, t) dt + G(X, t) dW:   dp/dt = -div(f p) + (1/2) sum_ij d_i d_j (D_ij p),  D = G G^T     Planck 1917
    dx/dt = F(x, t):                dp/dt = -div(F p)

Both say that mass moves and none is lost: dp/dt = -div J with J = f p - (1/2) div(D p). The grid's walls reflect: J = 0
there. Values are means over cells; the mass of all cells stays 1, none is ever negative, and errors fall with the
square of the cells' widths and of the steps. The scheme is told in `sdekit.density.finite_volumes`.

The drift f - (1/2) div D - (1/2) D grad log p moves p as the SDE does (Song et al. 2021, eq. 13): a result's `score` is
what `probability_flow` asks for.

    p = sk.density.fokker_planck(sde, scipy.stats.norm(1.0, 0.2), sk.density.grid(-5, 5, 400), t=1.0, steps=100)
"""

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import numpy as np
import psutil
from tqdm import tqdm

from sdekit.calculus import to_ito
from sdekit.density.cells import Axes, centres, checked_axes, masses, points, volumes
from sdekit.density.finite_volumes import advance
from sdekit.density.generator import Generator
from sdekit.density.score import Score, slopes, warn_of_change
from sdekit.inputs import saved_times, time_grid
from sdekit.sde import ODE, SDE, noise_free

AT_WALLS = 1e-6  # of the mass may be in the cells at the walls without a warning


@dataclass(frozen=True, eq=False)
class Density:
    """The result of `fokker_planck` and `continuity`.

    t        the saved times, (times,)
    edges    of the cells: an array (nx + 1,), or a pair of arrays
    density  means over the cells, (times, nx) or (times, nx, ny), >= 0
    info     how they came to be: equation, steps

    >>> from scipy.stats import norm
    >>> import sdekit as sk
    >>> from sdekit.density import grid
    >>> p = fokker_planck(sk.BrownianMotion(), norm(0.0, 0.5), grid(-8, 8, 320), t=1.0, steps=50, save=3)
    >>> p
    Density(3 times from 0.0 to 1.0, 320 cells, BrownianMotion(mu=0.0, sigma=1.0))
    >>> p.var().round(2)                                                    # 1/4 + t
    array([0.25, 0.75, 1.25])
    >>> round(float(p.at(0.0)), 3), round(float(p.score(1.0, 1.0)), 2)      # of N(0, 5/4)
    (0.357, -0.8)
    """

    t: np.ndarray
    edges: Any
    density: np.ndarray
    info: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        cells = " x ".join(f"{n:,}" for n in self.density.shape[1:])
        return (f"Density({len(self.t)} times from {self.t[0]} to {self.t[-1]}, {cells} cells, "
                f"{self.info.get('equation')})")

    @property
    def x(self) -> Any:
        """The cells' centres: an array (nx,), or a pair of arrays."""
        return centres(self._axes) if self._plane else centres(self._axes)[0]

    @property
    def mass(self) -> np.ndarray:
        """The whole mass at each saved time, (times,): 1 but for rounding."""
        return self._cells.sum(axis=1)

    def mean(self) -> np.ndarray:
        """E X at each saved time, (times,) or (times, 2)."""
        mean = self._cells @ self._points.T / self.mass[:, None]
        return mean if self._plane else mean[:, 0]

    def cov(self) -> np.ndarray:
        """Cov X at each saved time, (times, 2, 2); (times, 1, 1) in one dimension. Within O(dx^2), as all moments."""
        mean = self._cells @ self._points.T / self.mass[:, None]  # (times, d)
        off = self._points - mean[:, :, None]  # (times, d, cells)
        return np.einsum("tn,tin,tjn->tij", self._cells, off, off) / self.mass[:, None, None]

    def var(self) -> np.ndarray:
        """Var X at each saved time, (times,); of each component, (times, 2)."""
        var = np.diagonal(self.cov(), axis1=1, axis2=2)
        return var if self._plane else var[:, 0]

    def std(self) -> np.ndarray:
        """The standard deviations, the roots of `var`."""
        return self.var() ** 0.5

    def at(self, x, t: float | None = None):
        """p(x, t) by straight lines between the centres and between the saved times; 0 off the grid.

        x   a number or an array, of any shape; in two dimensions a pair of them
        t   by default the last saved time

        Returns an array of the shape of x. Raises ValueError for a time before the first or after the last saved one.
        """
        place = self._state(x)
        outside = np.logical_or.reduce([(c < e[0]) | (e[-1] < c) for c, e in zip(place, self._axes)])
        value = self._in_time(t, lambda k: _between(place, centres(self._axes), self.density[k]))
        return np.where(outside, 0.0, value)[()]

    @property
    def score(self) -> Score:
        """score(x, t) = grad log p by differences of log p, straight lines between them and between the saved times.

        x   a number or an array, of any shape; in two dimensions a pair of them, and then a pair is returned
        t   by default the last saved time

        Exact for a Gaussian on equal cells but for the error of p itself. Where p < 10^-12 of its largest value it is
        0; off the grid it is what it is at the wall. For `reverse` and `probability_flow`, on NumPy and Numba. A
        RuntimeWarning tells of saved times that lie so far apart that it is off by over 10% between them: solve with
        save="all". Raises as `at`; compiled, it keeps the first or the last time instead.
        """
        return Score(self._score, self.t, self._axes, self.density)

    def plot(self, ax=None):
        """Curves at the saved times; of two dimensions the last time as an image. Returns the Axes."""
        from sdekit.plot import density
        return density(self, ax)

    @property
    def _plane(self) -> bool:
        return self.density.ndim == 3

    @property
    def _axes(self) -> Axes:
        return tuple(self.edges) if self._plane else (self.edges,)

    @property
    def _cells(self) -> np.ndarray:
        """Masses, (times, cells)."""
        return self.density.reshape(len(self.t), -1) * volumes(self._axes)

    @property
    def _points(self) -> np.ndarray:
        """The centres of all cells, (d, cells)."""
        return np.stack(points(centres(self._axes)))

    def _state(self, x) -> Axes:
        if self._plane != isinstance(x, tuple) or (self._plane and len(x) != 2):
            raise TypeError(f"this density has {2 if self._plane else 1} dimension(s), so x is "
                            f"{'a pair of numbers or arrays' if self._plane else 'a number or an array'}; got {x!r}")
        return tuple(np.broadcast_arrays(*(np.asarray(c, float) for c in (x if self._plane else (x,)))))

    def _in_time(self, t: float | None, value: Callable[[int], np.ndarray]) -> np.ndarray:
        k, part = self._before(t)
        if part in (0.0, 1.0):
            return value(k + int(part))
        return (1 - part) * value(k) + part * value(k + 1)

    def _before(self, t: float | None) -> tuple[int, float]:
        """The saved time before t, and how far t is on the way to the next, from 0 to 1."""
        t = float(self.t[-1]) if t is None else t
        if not isinstance(t, Real):
            raise TypeError(f"t must be one time, a number, got {t!r}; call once for each time")
        near = 1e-9 * max(1.0, abs(self.t[-1]))
        if not self.t[0] - near <= t <= self.t[-1] + near:
            raise ValueError(f"the density is known from t = {self.t[0]} to {self.t[-1]}, not at t = {t}; solve to a "
                             "later time, or save from an earlier one")
        if len(self.t) == 1:
            return 0, 0.0
        k = int(np.clip(np.searchsorted(self.t, t) - 1, 0, len(self.t) - 2))
        return k, float(np.clip((t - self.t[k]) / (self.t[k + 1] - self.t[k]), 0.0, 1.0))

    def _score(self, x, t: float | None):
        def slope(k: int, axis: int) -> np.ndarray:
            return _between(place, *slopes(self.density[k], self._axes, axis))

        place, (k, part) = self._state(x), self._before(t)
        if 0.0 < part < 1.0:
            warn_of_change(self.t, self._axes, self.density, k)
        parts = tuple(self._in_time(t, lambda k, i=i: slope(k, i))[()] for i in range(len(place)))
        return parts if self._plane else parts[0]


def fokker_planck(sde: SDE, start, grid, t: Any = 1.0, steps: int | None = None, *, save: Any = "all",
                  progress: bool | None = None) -> Density:
    """Solve dp/dt = -div(f p) + (1/2) sum_ij d_i d_j (D_ij p), D = G G^T, for the density of an SDE's state.

    sde      an `SDE`, in either sense, whose state is a number or a pair; noise may depend on the state, be
             correlated, or be missing in a direction. Its functions are called on arrays of cells; its parameters are
             numbers
    start    the density at the first time: a law of scipy.stats, or a pair of them for independent components; a
             function of x, or of a pair (x, y), on arrays; anything else with a method pdf of points (n, d); or an
             array of cell values, (nx,) or (nx, ny). It is divided by its mass, which is to be 1 within 10^-3
    grid     edges of the cells: an increasing array (nx + 1,), such as `grid(-5, 5, 400)`, or a pair of arrays. Where
             components have common noise (D_12 is not 0) the cells are equal
    t        the end (from 0), or (start, end), or the grid of times: an increasing array of at least 3
    steps    how many equal steps; any number is stable
    save     "all", "final", a number of equally spaced times with both ends, or an array of times
    progress True or False; by default a bar in a terminal for runs over 2 s

    Returns `Density`. Walls reflect; a RuntimeWarning tells of mass at a wall that the process would cross. Raises
    TypeError and ValueError for arguments that do not fit: a start off the grid, coefficients that are not finite,
    cells too coarse for the drift (1% of the mass where they are twice as wide as the balance (D / (2 |df/dx|))^{1/2}
    of drift and noise).

    A drift that carries p over many cells spreads it too: for z = |f| dx / (D/2) < 2 as if D were D (1 + z^2 / 12), up
    to a third more, so that after a time t a variance is f^2 dx^2 t / (3 D) too large. Half the cells' width tells.

    At a wall where the noise dies out, as that of a square-root process at 0, p may be infinite: the fluxes follow its
    power (`sdekit.density.walls`), and errors fall with dx^{1+a} for p ~ y^{a-1}, or faster. A RuntimeWarning tells
    where they cannot: noises that are correlated, or a process that stays at the wall. MemoryError is raised before
    any work for a result larger than the free memory.

    Source: Chang & Cooper 1970 for the fluxes; see `sdekit.density.finite_volumes`.

    >>> from scipy.stats import norm
    >>> import sdekit as sk
    >>> from sdekit.density import grid
    >>> ou = sk.OrnsteinUhlenbeck(kappa=1.0, sigma=2**0.5)
    >>> p = fokker_planck(ou, norm(2.0, 0.5), grid(-6, 6, 240), t=8.0, steps=80, save="final")
    >>> p.mean().round(2), p.var().round(2)
    (array([0.]), array([1.]))
    """
    if not isinstance(sde, SDE):
        raise TypeError(f"fokker_planck needs an SDE, got {sde!r}; make one by SDE(drift, diffusion), or give an ODE "
                        "to continuity()")
    return _solved(to_ito(sde), sde, start, grid, t, steps, save, progress)


def continuity(ode: ODE | Callable, start, grid, t: Any = 1.0, steps: int | None = None, *, save: Any = "all",
               progress: bool | None = None) -> Density:
    """Solve dp/dt = -div(F p): the density of points that move by dx/dt = F(x, t).

    ode   an `ODE`, a function of (x, t), or an `SDE`, of which only the drift is followed

    The other arguments, the result and the errors are those of `fokker_planck`. Densities with jumps stay monotone:
    there, and at peaks, errors are of first order.

    Source: Sweby 1984 for the limiter of the fluxes; see `sdekit.density.finite_volumes`.

    >>> from scipy.stats import norm
    >>> from sdekit.density import grid
    >>> p = continuity(lambda x, t: -x, norm(0.0, 1.0), grid(-6, 6, 600), t=1.0, steps=50, save="final")
    >>> p.var().round(2)                                                    # e^{-2}
    array([0.14])
    """
    return _solved(noise_free(ode if isinstance(ode, ODE) else ODE(ode)), ode, start, grid, t, steps, save, progress)


def _solved(equation: ODE, asked, start, grid, t, steps, save, progress: bool | None) -> Density:
    """Step over the times; a time to save that is none of the steps' is a step aside."""
    axes = checked_axes(grid)
    times = time_grid(t, steps)
    keep, aside = saved_times(save, times)
    shape = tuple(len(e) - 1 for e in axes)
    _check_memory(len(keep), shape)
    volume = volumes(axes)
    mass, generator = masses(start, axes), Generator(equation, axes, float(times[0]))
    found, most, s = np.empty((len(keep), len(mass))), (0.0, 0.0), 0
    with tqdm(total=len(times) - 1, unit="step", delay=2.0, leave=False,
              disable=None if progress is None else not progress) as bar:
        for n, begin in enumerate(times.tolist()):
            while s < len(keep) and keep[s] == n:
                h = float(aside[s])
                found[s] = mass if h == 0.0 else advance(mass, generator.rates(begin + h / 2, mass), h, volume)
                s += 1
            if n + 1 < len(times):
                h = float(times[n + 1]) - begin
                mass = advance(mass, generator.rates(begin + h / 2, mass), h, volume)
                most = max(most, (float(mass @ generator.open_walls), float(times[n + 1])))
                bar.update()
    if most[0] > AT_WALLS:
        warnings.warn(f"{most[0]:.2g} of the mass is in the cells at the walls at t = {most[1]:.6g}; the grid's walls "
                      "reflect what the process would carry across. Widen the grid, unless they are meant to",
                      RuntimeWarning, stacklevel=3)
    rough = generator.rough_wall(mass)
    if rough is not None:
        warnings.warn(rough, RuntimeWarning, stacklevel=3)
    found /= volume
    density = found.reshape(len(keep), *shape)
    edges = axes if len(axes) == 2 else axes[0]
    return Density(times[keep] + aside, edges, density, {"equation": asked, "steps": len(times) - 1})


def _check_memory(times: int, shape: tuple[int, ...]) -> None:
    """Raise MemoryError for a result that does not fit, before any work."""
    need, free = 8 * times * math.prod(shape), psutil.virtual_memory().available
    if need > 0.9 * free:
        raise MemoryError(f"the densities would take {need / 2**30:,.1f} GiB ({times:,} times x "
                          f"{' x '.join(f'{n:,}' for n in shape)} cells x 8 bytes) and {free / 2**30:,.1f} GiB are "
                          "free; save fewer times (save=\"final\" or save=11), or take fewer cells")


def _between(place: Axes, nodes: Axes, values: np.ndarray) -> np.ndarray:
    """Straight lines between the nodes, constant outside them."""
    if len(nodes) == 1:
        return np.interp(place[0], nodes[0], values)
    from scipy.ndimage import map_coordinates
    index = np.stack([np.interp(c.ravel(), n, np.arange(len(n))) for c, n in zip(place, nodes)])
    return map_coordinates(values, index, order=1, mode="nearest").reshape(place[0].shape)
