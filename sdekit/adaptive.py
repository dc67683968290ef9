"""Steps of each path's own length: cells of its own dyadic tree, cut in half until their error is small.

Every step of the grid is the root of a tree of cells (`sdekit.brownian`), and a path walks over it from left to right:

    attempt  one step over the cell, and two over its halves; e = |difference| / (atol + rtol max(|x|, |x'|)), root mean
             square over the components. A path begins with small cells, see `Cellwise.start`
    e <= 1   the two halves' value is the path's; on to the cell next to this one, the largest that begins there unless
             experience speaks against it: the last one's length, and twice that where e < easy
    e > 1    on to the cell's first half. Its second half follows: no cell is ever left out

So the path's W is that of its seed, whatever is tried and thrown away: a rejection changes how finely it is looked at,
never what it is. Gaines & Lyons 1997 and Foster & Jelincic 2023 (arXiv 2311.14201) prove that methods of strong order 1
converge so, and that Euler-Maruyama need not. An ODE walks over the same cells by a pair of methods, its error their
difference, without any noise.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from threading import Lock
from typing import Any, Protocol

import numpy as np

from sdekit.brownian import DEPTH, LEVELS, join, locate
from sdekit.components import Coefficients, written
from sdekit.maths import rebind

DEEPEST = LEVELS - 1  # halvings of a step of the grid


@dataclass(frozen=True)
class Cellwise:
    """What a method does with a cell. dw, first, second: the draws of the cell and of its halves.

    attempt(x, t, h, dw, first, second, p, rtol, atol)  -> (x', e, k): the value at t + h, its error as a share of what
                                                           is allowed, and what `aside` wants to know besides
    aside(x, t, h, part, dw, k, p)                      -> the value at t + part h; dw are the draws until there
    easy      twice the length makes of this error one that is just allowed: 2^-q, where the error is O(h^q)
    """

    attempt: Callable
    aside: Callable
    easy: float

    def start(self, rtol: float, atol: float) -> int:
        """The level of a path's first attempt: where an error of 1 over a whole step would be as small as is allowed.

        An error is as good as nought now and then, however long the cell: a path that began with the longest one would
        keep a large error in a share of about tol / h^q of all runs, and their mean square would not fall like tol^2.
        From small cells upwards it takes several such errors in a row.
        """
        return max(0, int(np.ceil(np.log(rtol + atol) / np.log(self.easy))))

    def bound(self, replace: Callable) -> "Cellwise":
        """The same with np.* and math.* replaced, as `maths.rebind` does."""
        return Cellwise(rebind(self.attempt, replace), rebind(self.aside, replace), self.easy)


@dataclass
class Tally:
    """How small errors are to be; what became of the cells; the paths that could not go on: their numbers, and when."""

    rtol: float
    atol: float
    accepted: int = 0
    rejected: int = 0
    lost: dict[int, float] = field(default_factory=dict)
    lock: Any = field(default_factory=Lock)

    def new(self) -> "Tally":
        """One for another run of the same kind."""
        return Tally(self.rtol, self.atol)

    def add(self, accepted: int, rejected: int, lost: dict[int, float]) -> None:
        with self.lock:
            self.accepted += int(accepted)
            self.rejected += int(rejected)
            self.lost.update(lost)


def halving(step: Callable, c: Coefficients, order: float) -> Cellwise:
    """The cells of an SDE's method of this strong order: its error is the difference that two half steps make."""
    error = _error(c.shape.dim)

    def attempt(x, t, h, dw, first, second, p, rtol, atol):
        y = step(x, t, h, dw, p)
        middle = step(x, t, 0.5 * h, first, p)
        z = step(middle, t + 0.5 * h, 0.5 * h, second, p)
        return z, error(x, z, y, rtol, atol), ()

    def aside(x, t, h, part, dw, k, p):
        return step(x, t, part * h, dw, p)

    return Cellwise(attempt, aside, 0.5 ** (order + 0.5))


def embedded(pair: Callable, dense: Callable, c: Coefficients, order: int) -> Cellwise:
    """The cells of an ODE's method of this order: pair(x, t, h, p) -> (x', another value that it differs from by its
    error, stages), and dense(x, h, part, stages) -> the value at a part of the step."""
    error = _error(c.shape.dim)

    def attempt(x, t, h, dw, first, second, p, rtol, atol):
        y, other, k = pair(x, t, h, p)
        return y, error(x, y, other, rtol, atol), k

    def aside(x, t, h, part, dw, k, p):
        return dense(x, h, part, k)

    return Cellwise(attempt, aside, 0.5**order)


def _error(dim: int) -> Callable:
    """(x, y, z, rtol, atol) -> the root mean square over the components of (y - z) / (atol + rtol max(|x|, |y|))."""
    parts = [f"squared((y[{i}] - z[{i}]) / (atol + rtol * np.maximum(np.abs(x[{i}]), np.abs(y[{i}]))))"
             for i in range(dim)]
    return written("x, y, z, rtol, atol", f"return np.sqrt(({' + '.join(parts)}) / {dim}.0)", np=np,
                   squared=_squared)


def _squared(e):
    return e * e


def deepest(t: float, h: float) -> int:
    """How often a step of the grid can be halved before its cells are lost in the rounding of times."""
    return int(np.clip(np.floor(np.log2(h / (16.0 * np.spacing(max(abs(t), abs(t + h), h))))), 0, DEEPEST))


def parts(grid: np.ndarray, save: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Where in its step each saved time lies, as the tree rounds it: in (0, 1], and 0 for the points of the grid."""
    n, fraction = locate(grid, grid[save] + offset)
    return np.where(offset > 0, np.where(n > save, 1.0, np.maximum(fraction, 0.5**DEPTH)), 0.0)


class Arrays(Protocol):
    """What `march_cells` needs of arrays, NumPy's or Torch's; the paths are their first axis.

    everyone   the paths' numbers in the run, (paths,)
    """

    everyone: Any

    def root(self, n: int) -> Any:
        """(W, H) of step n, each (paths, columns)."""
        ...

    def split(self, paths, n: int, cell: int, h: float, W, H) -> Any:
        """((W, H), (W, H)) of the two halves of a cell of step n, for these paths."""
        ...

    def aside(self, k: int) -> Any:
        """(W, H) from the point of the grid before it to the k-th saved time that is not on the grid."""
        ...

    def draws(self, W, H) -> tuple:
        """What a step takes."""
        ...

    def put(self, array, which, values) -> Any:
        """The array with these values in it."""
        ...

    def norm(self, e) -> Any:
        """The errors' root mean square for each path."""
        ...


def march_cells(cellwise: Cellwise, x: tuple, run, p: tuple, arrays: Arrays) -> Iterator[tuple[int, tuple]]:
    """Yield (s, state at the s-th time to keep) in order, as `array_engine.march` does.

    A path that would need cells smaller than the rounding of times allows is NaN from there on, and told in run.tally.
    """
    everyone = arrays.everyone
    hint = 0 * everyone + cellwise.start(run.tally.rtol, run.tally.atol)  # the level of a path's next attempt
    alive = everyone >= 0  # whether it goes on

    def cross(paths, level: int, place: int, W, H) -> None:
        """Take these paths, whose draws are W and H, over the cell of length 2^-level at place 2^-level in step n."""
        nonlocal x, hint, alive, past
        size = 0.5**level
        h, begin, ahead = size * length, t + place * size * length, place * size
        first, second = arrays.split(paths, n, (1 << level) + place, h, W, H)
        trying = (hint[paths] <= level) | (level == cap)
        good = trying & False
        if bool(trying.any()):
            i, w, v = paths[trying], W[trying], H[trying]
            at, own = tuple(u[i] for u in x), tuple(u[i] if np.ndim(u) else u for u in p)
            halves = (arrays.draws(*(u[trying] for u in half)) for half in (first, second))
            y, e, stages = cellwise.attempt(at, begin, h, arrays.draws(w, v), *halves, own, run.tally.rtol,
                                            run.tally.atol)
            e = arrays.norm(e)
            fine = e <= 1.0
            good = arrays.put(good, trying, fine)
            for part, V, G, values in asides[bisect_right(places, ahead):bisect_right(places, ahead + size)]:
                if part == ahead + size:
                    values[:] = [arrays.put(u, i, z) for u, z in zip(values, y)]
                else:  # what is left of the way there, by Chen's relation
                    left, rest = part - ahead, V[i] - past[0][i]
                    area = part * G[i] - past[1][i] - 0.5 * (left * past[0][i] - ahead * rest)
                    value = cellwise.aside(at, begin, h, left / size, arrays.draws(rest, area / left), stages, own)
                    values[:] = [arrays.put(u, i, z) for u, z in zip(values, value)]
            x = tuple(arrays.put(u, i[fine], z[fine]) for u, z in zip(x, y))
            hint = arrays.put(hint, i, level + 1 - 1 * fine - 1 * (e < cellwise.easy))
            joined = join((ahead, past[0][i], past[1][i]), (size, w, size * v))[1:]
            past = tuple(arrays.put(u, i[fine], z[fine]) for u, z in zip(past, joined))
            run.tally.add(fine.sum(), (~fine).sum(), {})
        on = paths[~good]
        if len(on) and level == cap:
            x, alive = tuple(arrays.put(u, on, np.nan) for u in x), arrays.put(alive, on, False)
            for _, _, _, values in asides[bisect_right(places, ahead):]:
                values[:] = [arrays.put(u, on, np.nan) for u in values]
            run.tally.add(0, 0, {run.first + int(k): begin for k in on})
        elif len(on):
            cross(on, level + 1, 2 * place, *(u[~good] for u in first))
            still = alive[on]
            if bool(still.any()):
                cross(on[still], level + 1, 2 * place + 1, *(u[~good][still] for u in second))

    save, s, beside = run.save.tolist(), 0, 0
    part = parts(run.grid, run.save, run.offset).tolist()
    if save[0] == 0 and part[0] == 0.0:
        yield 0, x
        s = 1
    for n, (t, end) in enumerate(pairwise(run.grid.tolist())):
        length, cap, root = end - t, deepest(t, end - t), arrays.root(n)
        last = bisect_right(save, n, lo=s)
        asides = [(part[k], *arrays.aside(beside + k - s), list(x)) for k in range(s, last)]
        places = part[s:last]
        past = tuple(0.0 * u for u in root)  # (W, A) of each path from the point of the grid on
        if bool(alive.any()):
            cross(everyone[alive], 0, 0, *(u[alive] for u in root))
        for _, _, _, values in asides:
            yield s, tuple(values)
            s, beside = s + 1, beside + 1
        if s < len(save) and save[s] == n + 1 and part[s] == 0.0:
            yield s, x
            s += 1
