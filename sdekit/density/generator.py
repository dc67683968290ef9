"""An equation's rates on a grid of cells: its drift f and D = G G^T at centres and faces, and what they come to.

Over a face goes the mean of f on the way from centre to centre (Simpson's rule); D is taken at the centres.
"""

import math

import numpy as np

from sdekit.array_engine import NUMPY
from sdekit.density.cells import Axes, centres, points
from sdekit.density.finite_volumes import FARTHEST, Lines, Rates, decomposed, lines, rates
from sdekit.density.walls import Wall, fitted, wall
from sdekit.maths import rebind
from sdekit.sde import ODE, structure, takes

WIDE, ALLOWED = 2.0, 0.01  # a cell to the width that the drift presses to; the share of the mass in wider cells
CLOSED = 1e-12  # of the largest D: at a wall with less, nothing diffuses across
NEAR = 1e-6  # of a cell's width from a wall, it is seen how the noise dies out
AT_ROUGH = 1e-3  # of the mass may be in the cells at a wall where the density is infinite
LEAST = 1e-6  # of a wall's a: below it there is no density, but mass at the wall itself


class Generator:
    """The rates of an equation at any time; those of the last time are kept while its coefficients stay the same.

    open_walls   (cells,), whether a cell is at a wall that the process would cross, at the first time
    """

    def __init__(self, equation: ODE, axes: Axes, t: float):
        middle = tuple(float(c[len(c) // 2]) for c in centres(axes))
        self.equation, self.axes, self.shape = equation, axes, tuple(len(e) - 1 for e in axes)
        x0 = middle if len(axes) == 2 else middle[0]
        try:
            self.form = structure(equation, x0, t)
        except (TypeError, ValueError) as error:
            kind = ValueError if isinstance(error, ValueError) else TypeError
            state = "a number" if len(axes) == 1 else "a pair"
            raise kind(f"the grid has {len(axes)} dimension(s), so the state is {state}, "
                       f"here x0 = {x0}, the grid's middle: {error}") from error
        for name, value in equation.parameters.items():
            if np.ndim(value):
                raise ValueError(f"the parameter {name} holds {len(value)} values, one for each path, but a density "
                                 "needs one number; solve for each value by itself")
        self.functions = {which: rebind(getattr(equation, which), NUMPY) for which in ("drift", "diffusion")
                          if hasattr(equation, which)}
        self.lines: dict[tuple[int, ...], Lines] = {}
        self.drifts: list[np.ndarray] = []
        self.spreads: list[np.ndarray] = []
        self.faces: list[np.ndarray] = []
        self.known: list[Rates] = []
        self.walls: list[list[Wall]] = []
        self.follows = True  # the fluxes follow the walls' powers
        self.open_walls = self._open_walls(t)

    def rates(self, t: float, mass: np.ndarray) -> list[Rates]:
        """The families of lines and their rates at the time t; the masses tell whether the cells are too coarse."""
        faces = [self.drift(self._faces(axis, slice(1, -1)), t)[axis] for axis in range(len(self.axes))]
        at = points(centres(self.axes))
        drift, spread = self.drift(at, t), self.spread(at, t)
        before = [*self.faces, *self.drifts, *self.spreads]
        if not before or not all(map(np.array_equal, [*faces, *drift, *spread], before)):
            self.faces, self.drifts, self.spreads = faces, drift, spread
            self.known, self.coarse = self._families(t), self._presses()
        self._check_cells(mass, t)
        return self.known

    def rough_wall(self, mass: np.ndarray) -> str | None:
        """What is to be said of a wall where the density is infinite and the fluxes do not follow it."""
        for axis, each in ((axis, each) for axis, walls in enumerate(self.walls) for each in walls):
            a, end = float(each.a.min()), 0 if each.inward > 0 else -1
            share = float(np.moveaxis(mass.reshape(self.shape), axis, 0)[end].sum())
            if self.follows or a > 1 - LEAST or share < AT_ROUGH:
                continue
            where = f"the wall x{f'[{axis}]' if len(self.axes) > 1 else ''} = {self.axes[axis][end]:.6g}"
            if a <= LEAST:
                return (f"what arrives at {where} stays there: the noise dies out, and the drift does not lead away. "
                        f"That mass is no density: {share:.2g} is in the cells at the wall, and more with time and "
                        "finer cells. Simulate paths, or end the grid where the process still moves")
            return (f"at {where} the noise dies out, and the drift there is less than half of the change of its "
                    f"square: the density is infinite, y^{a - 1:.2g} in the distance y, and {share:.2g} of the mass is "
                    "in the cells at the wall. Since the components' noises are correlated the fluxes do not follow "
                    f"it, and the error falls only like the cells' width to the power {a:.2g}. Solve with half the "
                    "width to see it; if it is too large simulate paths")
        return None

    def drift(self, x: Axes, t: float) -> list[np.ndarray]:
        """f, a list of arrays (points,)."""
        value = self._call("drift", x, t)
        return self._numbers("drift", (value,) if self.form.scalar else value, x, t)

    def spread(self, x: Axes, t: float) -> list[np.ndarray]:
        """D_11, or D_11, D_22, D_12: arrays (points,)."""
        if "diffusion" not in self.functions:
            return [np.zeros(len(x[0]))] * len(x)
        value = self._call("diffusion", x, t)
        rows = (value,) if self.form.scalar else value
        if self.form.diagonal:
            g = self._numbers("diffusion", rows, x, t)
            return [one * one for one in g]
        G = [self._numbers("diffusion", row, x, t) for row in rows]
        pairs = [(row, row) for row in G] + ([(G[0], G[1])] if len(G) == 2 else [])
        return [np.sum([g * h for g, h in zip(*pair)], axis=0) for pair in pairs]

    def _call(self, which: str, x: Axes, t: float):
        function = self.functions[which]
        named = {k: self.equation.parameters[k] for k in takes(function) if k in self.equation.parameters}
        try:
            with np.errstate(all="ignore"):  # what is not finite is reported by its place
                return function(x[0] if self.form.scalar else x, np.float64(t), **named)
        except (TypeError, ValueError) as error:
            if any(words in str(error) for words in ("truth value of an array", "0-dimensional arrays")):
                raise TypeError(f"{which} does not work on arrays of cells: {error}. Write `if` on the state as "
                                "np.where") from error
            raise

    def _numbers(self, which: str, values: tuple, x: Axes, t: float) -> list[np.ndarray]:
        found = []
        for value in values:
            array = np.broadcast_to(np.asarray(value, float), x[0].shape)
            if not np.isfinite(array).all():
                k = int(np.argmin(np.isfinite(array)))
                raise ValueError(f"{which} is {array[k]} at {_place(x, k)}, t = {t:.6g}; a density needs finite "
                                 "coefficients on the whole grid: leave that place out of it, or change the function")
            found.append(array)
        return found

    def _families(self, t: float) -> list[Rates]:
        """Of the diagonals, if the noises are correlated, and of the axes, which take the drift."""
        drift, spread = self.drifts, self.spreads
        axes = range(len(self.axes))
        jumps: dict[tuple[int, ...], np.ndarray] = {}
        halves = [spread[axis] / 2 for axis in axes]
        if len(spread) == 3 and spread[2].any():
            jumps |= self._weights(t)
            halves = [jumps.pop(self._unit(axis), 0 * half) * self._widths(axis)**2 for axis, half in zip(axes, halves)]
        self.walls = [self._walls(axis, t) for axis in axes]
        self.follows = not jumps and all((each.a > LEAST).all() for walls in self.walls for each in walls)
        one = np.ones(len(drift[0]))
        return [*(rates(self._lines(offset), w, one[1:], one) for offset, w in jumps.items()),
                *(self._at_walls(axis, t) if self.follows and self.walls[axis] else self._along(axis, halves[axis])
                  for axis in axes)]

    def _along(self, axis: int, half: np.ndarray) -> Rates:
        """The rates along an axis."""
        along, width = self._lines(self._unit(axis)), self._widths(axis)
        order = along.order
        f, across = self.drifts[axis][order], width[order]
        mean = (f[:-1] + 4 * self._in_order(axis, self.faces[axis]) + f[1:]) / 6
        return rates(along, half, (across[1:] + across[:-1]) / 2, width, mean, self.spreads[axis] / 2)

    def _at_walls(self, axis: int, t: float) -> Rates:
        """The same where the noise dies out at a wall."""
        count, at = len(self.drifts[axis]) // self.shape[axis], self._faces(axis, slice(1, -1))
        by_line = lambda v: v.reshape(-1, count) if axis == 0 else v.reshape(count, -1).T  # (along the axis, lines)
        half, drift, gap, width = ((v if axis == 0 else v.T).ravel() for v in fitted(
            self.walls[axis], self.axes[axis], by_line(self.faces[axis]), by_line(self.spread(at, t)[axis]),
            by_line(self.spreads[axis])))
        over = [self._in_order(axis, v) for v in (half, gap, drift)]
        return rates(self._lines(self._unit(axis)), over[0], over[1], width, over[2])

    def _in_order(self, axis: int, faces: np.ndarray) -> np.ndarray:
        """What belongs to the faces across an axis, (cells - 1,) in the lines' order; 1 where a line ends."""
        padded, shape = np.ones(self.shape), tuple(n - (k == axis) for k, n in enumerate(self.shape))
        padded[tuple(slice(0, n) for n in shape)] = faces.reshape(shape)
        return padded.ravel()[self._lines(self._unit(axis)).order[:-1]]

    def _walls(self, axis: int, t: float) -> list[Wall]:
        """The walls across an axis at which the noise dies out."""
        edges, found = self.axes[axis], []
        for end, inward in (0, 1.0), (-1, -1.0):
            x = edges[end] + inward * NEAR * np.array([1.0, 2.0]) * abs(edges[end] - edges[1 if end == 0 else -2])
            at = [self._across(axis, np.array([one])) for one in x]
            try:
                D, f = (np.stack([which(one, t)[axis] for one in at]) for which in (self.spread, self.drift))
            except ValueError:  # not finite there
                continue
            found.append(wall(edges, end, abs(x - edges[end]), D, f))
        return [each for each in found if each is not None]

    def _weights(self, t: float) -> dict[tuple[int, int], np.ndarray]:
        """Of the offsets, in jumps a unit of time."""
        widths = [np.diff(e) for e in self.axes]
        for k, w in enumerate(widths):
            if np.ptp(w) > 1e-9 * w.mean():
                raise ValueError(f"the components' noises are correlated, so the cells must be equal, but those of "
                                 f"grid[{k}] go from {w.min():.6g} to {w.max():.6g}; take grid(low, high, cells), of "
                                 "other variables if need be")
        h, k = (float(w[0]) for w in widths)
        xx, yy, xy = (D / (2 * area) for D, area in zip(self.spreads, (h * h, k * k, h * k)))
        try:
            return decomposed(xx, xy, yy)
        except ValueError as error:
            cell = int(error.args[0])
            D1, D2, D12 = (float(part[cell]) for part in self.spreads)
            raise ValueError(
                f"at {_place(points(centres(self.axes)), cell)}, t = {t:.6g} the noises of the two components have the "
                f"correlation {D12 / (D1 * D2) ** 0.5:.6g}, and no jumps over up to {FARTHEST} cells of {h:.6g} x "
                f"{k:.6g} follow it; {self._logarithm()}take cells whose height is {(D2 / D1) ** 0.5:.6g} times their "
                "width, or other variables, in which the noises have less in common") from None

    def _logarithm(self) -> str:
        """Advice for a component whose noise is proportional to it, as that of a stock's price is."""
        for axis, D in enumerate(self.spreads[:2]):
            x = points(centres(self.axes))[axis]
            ratio = np.moveaxis((np.sqrt(D) / x).reshape(self.shape), axis, 0)
            if (x > 0).all() and D.any() and np.ptp(ratio, axis=0).max() <= 1e-6 * ratio.max():
                return (f"the noise of component {axis} is proportional to it, so take its logarithm in its place (log "
                        "S for a stock's price S), by which the ratio of the noises changes less over the grid; and ")
        return ""

    def _check_cells(self, mass: np.ndarray, t: float) -> None:
        """Raise ValueError where much of the mass is in cells wider than what the drift presses it to."""
        for axis, ratio in enumerate(self.coarse):
            share = float(mass[ratio > WIDE].sum())
            if share > ALLOWED:
                k = int(np.argmax(np.where(mass > 1e-3 * mass.max(), ratio, 0.0)))
                f, D, dx, cells = self.drifts[axis][k], self.spreads[axis][k], self._widths(axis)[k], self.shape[axis]
                raise ValueError(
                    f"the cells are too coarse for the drift: at {_place(points(centres(self.axes)), k)}, t = {t:.6g} "
                    f"the drift presses the density to a standard deviation of {dx / ratio[k]:.4g}, but the cell is "
                    f"{dx:.4g} wide (its Peclet number |f| dx / (D/2) is {2 * abs(f) * dx / D:.4g}). {share:.0%} of "
                    f"the mass is in cells over {WIDE:g} times as wide, and {ALLOWED:.0%} is allowed. Take "
                    f"{math.ceil(cells * ratio[k] - 1e-6)} cells in place of {cells}"
                    f"{f' along axis {axis}' if len(self.axes) > 1 else ''}; or, if the noise is so small that it can "
                    "be left out, continuity()")

    def _presses(self) -> list[np.ndarray]:
        """dx / s along each axis, (cells,), s = (D / (2 |df/dx|))^{1/2} the standard deviation at which noise balances
        a drift that falls with x; 0 where it does not fall, and where there is no noise."""
        found = []
        for axis, (f, D) in enumerate(zip(self.drifts, self.spreads)):
            fall = -np.gradient(f.reshape(self.shape), centres(self.axes)[axis], axis=axis).ravel()
            with np.errstate(divide="ignore", over="ignore"):
                square = np.divide(2 * np.maximum(fall, 0.0), D, out=np.zeros(len(f)), where=D > 0)
            found.append(self._widths(axis) * np.sqrt(square))
        return found

    def _open_walls(self, t: float) -> np.ndarray:
        found = np.zeros(self.shape, bool)
        """Whether something diffuses or drifts across; where that cannot be told, it may."""
        top = [float(D.max()) for D in self.spread(points(centres(self.axes)), t)]
        for axis in range(len(self.axes)):
            for end, outward in (0, -1.0), (-1, 1.0):
                at = self._faces(axis, [end])
                try:
                    f, D = self.drift(at, t)[axis], self.spread(at, t)[axis]
                except ValueError:  # not finite there
                    f, D = np.full((2, len(at[0])), np.inf)
                cells = np.moveaxis(found, axis, 0)[end, ...]  # a view
                cells |= ((D > CLOSED * top[axis]) | (outward * f > 0)).reshape(cells.shape)
        return found.ravel()

    def _faces(self, axis: int, which) -> Axes:
        """The middles of the faces across an axis, at these of its edges."""
        return self._across(axis, np.atleast_1d(self.axes[axis][which]))

    def _across(self, axis: int, x: np.ndarray) -> Axes:
        """The points of these coordinates along an axis and of the centres along the other."""
        return points(tuple(x if k == axis else c for k, c in enumerate(centres(self.axes))))

    def _widths(self, axis: int) -> np.ndarray:
        """Of all cells along an axis, (cells,)."""
        return points(tuple(np.diff(e) for e in self.axes))[axis]

    def _unit(self, axis: int) -> tuple[int, ...]:
        return tuple(int(k == axis) for k in range(len(self.axes)))

    def _lines(self, offset: tuple[int, ...]) -> Lines:
        if offset not in self.lines:
            self.lines[offset] = lines(self.shape, offset)
        return self.lines[offset]


def _place(x: Axes, k: int) -> str:
    at = [f"{float(c[k]):.6g}" for c in x]
    return f"x = {at[0]}" if len(at) == 1 else f"x = ({', '.join(at)})"
