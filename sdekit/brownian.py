"""A Brownian path as a pure function of its seed, with its space-time areas, at any time and on any grid.

    W_{s,t} = W(t) - W(s)
    H_{s,t} = 1/(t - s) int_s^t (W_{s,u} - (u - s)/(t - s) W_{s,t}) du  ~ N(0, (t - s)/12), independent of W_{s,t}

Foster, Lyons & Oberhauser 2020 (SIAM J. Numer. Anal. 58). The path is a forest: one tree for each step of the base
grid, whose cells are halved on demand by Levy's construction, for the pair (W, H).

Root:     step n of length h has W = sqrt(h) Z and H = sqrt(h/12) Z', the normals of slots 0 and 1 of that step.
Halving:  cell = 2^l + j is the j-th of level l, of length h / 2^l = len; its halves are the cells 2 cell, 2 cell + 1.
          The block at counter (path, component, n, 16 + cell) gives Z ~ N(0, len/16) and N ~ N(0, len/12) to `halve`.
Rekeying: a cell of level 28 is the root, cell 1, of a tree under a new key: the first two words of its own block.
Joining:  (W1, H1) over a length a, then (W2, H2) over b, make (W, H) over a + b (Chen's relation):
          W = W1 + W2,  (a + b) H = a H1 + b H2 + (b W1 - a W2) / 2.

Any stretch of time is the join of its largest cells, in a fixed order, so that its numbers depend on its two ends
alone: not on the other times asked for, nor on their order, nor on the paths beside it. noise.VERSION must change with
any of this.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import psutil

from sdekit import noise
from sdekit.inputs import time_grid
from sdekit.noise import MAX_COMPONENTS, MAX_PATHS, MAX_STEPS, MAX_STREAM, check_seed, whole

LEVELS = 28  # of a tree: 16 + cell must fit into a word
DEPTH = 56  # bits of a place in a step, of which `locate` uses at most 49: a second tree is the last
WHOLE = 1 << DEPTH
BLOCK = 1 << 15  # normals drawn at once, few enough for the cache; the numbers do not depend on it
COMPILE_FROM = 1_000_000  # halvings at once: where loading the compiled code pays


def halve(W, H, Z, N):
    """(W, H) of a cell's two halves, (W', H', W'', H''): independent, N(0, len/2) and N(0, len/24).

    Inverse: W = W' + W'', H = (H' + H'')/2 + (W' - W'')/4. Operations on numbers or arrays alone.
    """
    rise = 1.5 * H + Z
    return 0.5 * W + rise, 0.25 * H - 0.5 * (Z - N), 0.5 * W - rise, 0.25 * H - 0.5 * (Z + N)


def split(k0, k1, path, component, n, cell, length, W, H):
    """`halve` with the normals that belong to this cell of step n; `length` is the cell's."""
    z, other = noise.pair(k0, k1, path, component, n, 16 + cell)
    return halve(W, H, np.sqrt(length / 16.0) * z, np.sqrt(length / 12.0) * other)


def rekey(k0, k1, path, component, n, cell):
    """The key of the tree below a cell of level 28."""
    return noise.philox(path & noise.MASK, component | ((path >> 32) << 24), n, 16 + cell, k0, k1)[:2]


def join(first, second):
    """(length, W, A) of two neighbours as one; A = length x H. Lengths in steps: a cell's is a power of 2, so exact."""
    (a, W1, A1), (b, W2, A2) = first, second
    return a + b, W1 + W2, A1 + A2 + 0.5 * (b * W1 - a * W2)


def root(key, path, component, n, h):
    """(W, H) of the whole step n of length h."""
    k0, k1 = key
    (w, odd_w), (z, odd_z) = (noise.pair(k0, k1, path, component, n >> 1, slot) for slot in (0, 1))
    return np.sqrt(h) * np.where(n & 1, odd_w, w), np.sqrt(h / 12.0) * np.where(n & 1, odd_z, z)


def locate(grid, t) -> tuple[np.ndarray, np.ndarray]:
    """(n, fraction): t = grid[n] + fraction (grid[n + 1] - grid[n]), fraction in [0, 1); the end has n = steps.

    Times are rounded to the cells of the finest level that is coarser than r = 16 units in the last place of
    |start| + |end|: np.linspace's rounding vanishes, and times closer than r to 2 r may be the same.
    Raises ValueError for a time outside of the grid.
    """
    t, grid = np.asarray(t, float), np.asarray(grid, float)
    r = 16.0 * np.spacing(abs(grid[0]) + abs(grid[-1]))
    outside = ~((t >= grid[0] - 0.5 * r) & (t <= grid[-1] + 0.5 * r))
    if outside.any():
        raise ValueError(f"times must lie between {grid[0]} and {grid[-1]}, got {t[outside][0]}")
    n = np.clip(np.searchsorted(grid, t, side="right") - 1, 0, len(grid) - 2)
    h = grid[n + 1] - grid[n]
    level = np.maximum(np.frexp(h / r)[1] - 1, 0)
    fraction = np.ldexp(np.rint(np.ldexp((t - grid[n]) / h, level)), -level)
    return n + (fraction >= 1.0), np.where(fraction >= 1.0, 0.0, np.maximum(fraction, 0.0))


def within(key, path, component, n, h, fraction) -> tuple[np.ndarray, np.ndarray]:
    """(W, H) over the first part of a step, from grid[n] to grid[n] + fraction h, for any grid's step of length h.

    key        two words, `noise.key(seed, stream)`
    path, component, n   their numbers, integers or int64 arrays
    fraction   in [0, 1], from `locate` where a time is meant; of it 2^-56 counts

    All broadcast, and W and H have that shape. The whole step has dW = sqrt(h) Z, as in `simulate(seed=...)`.

    >>> W, H = within(noise.key(7), np.arange(3), 0, n=5, h=0.01, fraction=1.0)
    >>> bool((W == 0.1 * noise.normals(7, paths=3, steps=6)[:, 5, 0]).all())
    True
    """
    shape = np.broadcast_shapes(*map(np.shape, (path, component, n, h, fraction)))
    path, component, n = (np.atleast_1d(np.asarray(i, np.int64)) for i in (path, component, n))
    h, place = np.atleast_1d(np.asarray(h, float)), _place(np.atleast_1d(fraction))
    if not ((place >= 0) & (place <= WHOLE)).all():
        raise ValueError(f"fraction must lie between 0 and 1, got {fraction}; locate(grid, t) gives it")
    by = _functions(_depth(place) * int(np.prod(shape)))
    (length, W, A), _ = by.descend(key, path, component, n, h, place, place, np.zeros_like(place))
    return W.reshape(shape), np.divide(A, length, out=np.zeros_like(A), where=length > 0.0).reshape(shape)


def descend(key, path, component, n, h, place, before, after):
    """(length, W, A) of a stretch that ends at a place in step n, and of one that begins there.

    Lengths in steps; place, before and after in 2^-56 steps. `before` and `after` are the stretches' lengths, 0 for
    none: each reaches to an end of the step, or of a half of some cell, so that each set bit is one cell on the way.
    """
    k0, k1 = (np.array([k], np.int64) for k in key)
    W, H = root((k0, k1), path, component, n, h)
    full, cell = before >> DEPTH, np.ones_like(place)
    left, right = (1.0 * full, full * W, full * H), (0.0 * full, 0.0 * W, 0.0 * H)
    for level in range(_depth(before | after)):
        if level == LEVELS:
            (k0, k1), cell = rekey(k0, k1, path, component, n, cell), np.ones_like(place)
        W1, H1, W2, H2 = split(k0, k1, path, component, n, cell, h * 2.0**-level, W, H)
        size, bit = 2.0 ** -(level + 1), DEPTH - 1 - level
        upper, ends, begins = ((x >> bit) & 1 for x in (place, before, after))
        if ends.any():
            left = join(left, (ends * size, ends * W1, ends * (size * H1)))
        if begins.any():  # the last cell begins at the place itself, those before it across from it
            lower = (upper == 0) & (after & ((1 << bit) - 1) == 0)
            V, G = np.where(lower, W1, W2), np.where(lower, H1, H2)
            right = join((begins * size, begins * V, begins * (size * G)), right)
        W, H, cell = np.where(upper, W2, W1), np.where(upper, H2, H1), 2 * cell + upper
    return left, right


class Functions(NamedTuple):
    """What the values of a path are made of: `noise.pair`, `split` and `descend`, by NumPy or compiled."""

    pair: Callable
    split: Callable
    descend: Callable


ARRAYS = Functions(noise.pair, split, descend)


def _functions(halvings: int) -> Functions:
    """Those for so many halvings, a pair of normals each. The numbers do not depend on it."""
    loaded = "sdekit.numba_brownian" in sys.modules and halvings >= COMPILE_FROM // 100
    if loaded or halvings >= COMPILE_FROM:
        from sdekit.numba_brownian import COMPILED
        return COMPILED
    return ARRAYS


def _reach(n, place):
    """`before` and `after` of the points (n, place), so that each stretch between two neighbours is covered once."""
    lo, hi, same = place[:-1], place[1:], n[:-1] == n[1:]
    differs = np.frexp((lo ^ hi).astype(float))[1] - 1  # the first bit; exact for 49 bits
    meet = np.where(same, hi >> differs << differs, WHOLE)  # the middle of the smallest cell that holds both
    after = np.where(lo > 0, meet - lo, 0)
    before = np.where(same & (lo > 0), hi - meet, hi)
    return np.append(0, before), np.append(after, 0)


def _place(fraction) -> np.ndarray:
    return np.rint(np.ldexp(fraction, DEPTH)).astype(np.int64)


def _depth(places) -> int:
    """The first level whose cells all these places bound."""
    bits = int(np.bitwise_or.reduce(places, axis=None))
    return DEPTH + 1 - (bits & -bits).bit_length() if bits else 0


def _alternate(x, y) -> np.ndarray:
    """Two arrays (paths, cells, noises) as one, (paths, 2 cells, noises)."""
    return np.stack([x, y], axis=2).reshape(len(x), -1, x.shape[-1])


def tiles(rows: int, columns: int, weight: int) -> Iterator[tuple[slice, slice]]:
    """A table in pieces of at most BLOCK / weight places (one at least), whole rows where they fit."""
    wide = max(1, min(columns, BLOCK // weight))
    tall = max(1, BLOCK // (weight * wide))
    for i in range(0, rows, tall):
        for j in range(0, columns, wide):
            yield slice(i, min(i + tall, rows)), slice(j, min(j + wide, columns))


@dataclass(frozen=True)
class Brownian:
    """Brownian paths to ask at any time, in any order, to refine, and to share.

    seed     integer in [0, 2^64); None draws one
    t        the end (from 0), or (start, end)
    steps    equal steps of the base grid: on it dW = sqrt(h) Z, as in `simulate(seed=seed, steps=steps)`
    paths    how many: those with the numbers first, ..., first + paths - 1 in the noise (seed, stream)
    noises   how many independent ones drive each path

    W(t) is W at a time, (paths,), or at an array of times, (paths, times), with W(start) = 0; more noises than one are
    the last axis. The same question has the same answer bit for bit, whatever else is asked, and however the paths are
    parted. W(t) and the sum of the increments of any grid up to t agree to rounding.

    Grids of steps x 2^k equal steps are quickest, and those of grid points; any other time costs up to 49 halvings.
    From a million halvings on compiled code does them: the same numbers bit for bit, at 0.02 microseconds each.
    Times that differ by less than about 16 units in the last place of |start| + |end| may be the same (see `locate`).
    Raises TypeError and ValueError for arguments that do not fit, MemoryError before any work for a result that does
    not fit into memory.

    >>> W = Brownian(seed=5, t=1.0, steps=64, paths=1000)
    >>> W(0.5).shape, W([0.1, 1 / 3]).shape, W.increments(256).shape, W.areas([0.2, 0.3, 0.9]).shape
    ((1000,), (1000, 2), (1000, 256, 1), (1000, 2, 1))
    >>> bool(np.allclose(W(0.5), W.increments(256)[:, :128, 0].sum(axis=1), rtol=0, atol=1e-13))
    True
    """

    seed: int
    t: Any = 1.0
    steps: int = 1
    paths: int = 1
    noises: int = 1
    stream: int = field(default=0, kw_only=True)
    first: int = field(default=0, kw_only=True)
    grid: np.ndarray = field(init=False, repr=False, compare=False)  # the base grid, (steps + 1,)
    key: tuple[int, int] = field(init=False, repr=False, compare=False)  # of the noise

    def __post_init__(self):
        if np.size(self.t) > 2:
            raise ValueError(f"a Brownian has equal steps between two ends, got {np.size(self.t)} times; give "
                             "t=(start, end) and steps, then ask for increments(grid)")
        grid = time_grid(self.t, whole("steps", self.steps, MAX_STEPS, start=1))
        grid.setflags(write=False)
        seed, stream = check_seed(self.seed), whole("stream", self.stream, MAX_STREAM)
        first = whole("first", self.first, MAX_PATHS)
        vars(self).update(
            seed=seed, stream=stream, t=(float(grid[0]), float(grid[-1])), steps=len(grid) - 1, first=first,
            paths=whole("paths", self.paths, MAX_PATHS - first + 1, start=1),
            noises=whole("noises", self.noises, MAX_COMPONENTS + 1, start=1), grid=grid, key=noise.key(seed, stream))

    def part(self, first: int, count: int) -> "Brownian":
        """The paths first, ..., first + count - 1 of these, with the same numbers."""
        first = whole("first", first, self.paths)
        return replace(self, first=self.first + first, paths=whole("count", count, self.paths - first + 1, start=1))

    def __call__(self, t) -> np.ndarray:
        times = np.asarray(t)
        if times.dtype.kind not in "iuf" or times.ndim > 1:
            raise TypeError(f"t must be a time or an array of times, got {t!r}")
        n, fraction = locate(self.grid, np.atleast_1d(times))
        place = _place(fraction)
        self._check_memory(len(n), 1)
        out = np.zeros((self.paths, len(n), self.noises))
        last, inside = int(n.max(initial=0)), np.flatnonzero(place)
        by = _functions(self.paths * self.noises * (last // 2 + _depth(place) * len(inside)))
        width = max(1, min(last, BLOCK // self.noises))
        for rows, _ in tiles(self.paths, 1, self.noises * width):
            W = np.zeros((rows.stop - rows.start, 1, self.noises))
            for a in range(0, last, width):  # step after step, going on from the last sum
                b = min(a + width, last)
                W = np.add.accumulate(np.concatenate([W[:, -1:], self._base(by, rows, a, b, 0)], axis=1), axis=1)
                here = np.flatnonzero((a <= n) & (n <= b))
                out[rows, here] = W[:, n[here] - a]
        for rows, columns in tiles(self.paths, len(inside), self.noises):
            i = inside[columns]
            out[rows, i] += self._around(by, rows, n[i], place[i], place[i], np.zeros_like(i))[0][1]
        out = out[..., 0] if self.noises == 1 else out
        return out if times.ndim else out[:, 0]

    def increments(self, grid) -> np.ndarray:
        """dW over each step of a grid: (paths, len(grid) - 1, noises).

        grid   increasing times inside [start, end], or how many equal steps from start to end
        """
        return self._over(grid, areas=False)[0]

    def areas(self, grid) -> np.ndarray:
        """The space-time area H over each step of a grid, in the shape of `increments`."""
        return self._over(grid, areas=True)[1]

    def increments_and_areas(self, grid) -> tuple[np.ndarray, np.ndarray]:
        """Both, at the cost of `areas` alone."""
        dW, H = self._over(grid, areas=True)
        return dW, H

    def levy_areas(self, grid, c: float = 1.0) -> np.ndarray:
        """The Levy areas A_jk, j < k, over each step of a grid: (paths, len(grid) - 1, pairs), row by row.

            A_jk = 1/2 int (W_j dW_k - W_k dW_j), W from the step's start

        c   the mean-square error over a step of length h is at most c h^3

        A step is cut into the 2^level equal parts of `areas.area_level`, a x b being a_j b_k - a_k b_j,

            A = sum_i (H_i + 1/2 sum_{p < i} W_p) x W_i.

        >>> W = Brownian(seed=5, steps=64, paths=1000, noises=3)
        >>> W.levy_areas(64).shape
        (1000, 64, 3)
        """
        from sdekit.areas import area_level, pairs

        times, paired = self._times(grid), pairs(self.noises)
        self._check_memory(len(times) - 1, (self.noises - 1) / 2)
        out = np.empty((self.paths, len(times) - 1, len(paired)))
        end, J, K = 0, [j for j, _ in paired], [k for _, k in paired]
        levels = [area_level(h, c) for h in np.diff(times)]
        _functions(self.paths * self.noises * sum(1 << level for level in levels))  # loads them for the parts below
        for level, same in groupby(levels):
            first, end, parts = end, end + len(list(same)), 1 << level
            for rows, columns in tiles(self.paths, end - first, self.noises * parts) if paired else ():
                t = times[first + columns.start:first + columns.stop + 1]
                fine = np.append(t[:-1, None] + np.diff(t)[:, None] * (np.arange(parts) / parts), t[-1])
                dW, H = (x.reshape(len(x), len(t) - 1, parts, self.noises) for x in
                         self.part(rows.start, rows.stop - rows.start).increments_and_areas(fine))
                H += 0.5 * (np.add.accumulate(dW, axis=2) - dW)
                out[rows, first:end][:, columns] = (H[..., J] * dW[..., K] - H[..., K] * dW[..., J]).sum(axis=2)
        return out

    def _times(self, grid) -> np.ndarray:
        if np.ndim(grid) == 0:
            grid = time_grid(self.t, whole("grid, where it is no array of times,", grid, MAX_STEPS, start=1))
        return time_grid(grid, 1 if np.size(grid) == 2 else None)

    def _over(self, grid, areas: bool) -> list[np.ndarray]:
        times = self._times(grid)
        n, fraction = locate(self.grid, times)
        place = _place(fraction)
        apart = (np.diff(n) > 0) | (np.diff(place) > 0)
        if not apart.all():
            k = int(np.argmin(apart))
            raise ValueError(f"t[{k}] = {times[k]} and t[{k + 1}] = {times[k + 1]} are too close to be told apart on "
                             f"the way from {self.t[0]} to {self.t[1]}; leave one of them out")
        size, level = len(apart), _depth(place)
        cells = (n << min(level, LEVELS)) + (place >> DEPTH - min(level, LEVELS))
        regular = level <= LEVELS and bool((np.diff(cells) == 1).all())
        span = max(1, int(n[-1] - n[0]) // size)  # base steps to an interval
        self._check_memory(size, 1 + areas)
        by = _functions(self.paths * self.noises * (int(n[-1] - n[0]) // 2 + (1 if regular else level) * size))
        out = [np.empty((self.paths, size, self.noises)) for _ in range(1 + areas)]
        for rows, columns in tiles(self.paths, size, self.noises * span):
            i = slice(columns.start, columns.stop + 1)
            parts = (self._cells(by, rows, level, int(cells[i][0]), int(cells[i][-1]), areas) if regular else
                     self._stretches(by, rows, n[i], place[i], areas))
            for array, part in zip(out, parts):
                array[rows, columns] = part
        return out

    def _cells(self, by: Functions, rows: slice, level: int, first: int, end: int, areas: bool):
        """(W, H) of the cells first, ..., end - 1 of a level, counted through all steps; level by level."""
        a, b = first >> level, ((end - 1) >> level) + 1
        W, H = self._base(by, rows, a, b, 0), self._base(by, rows, a, b, 1) if level or areas else None
        k0, k1, path, component = self._names(rows)
        for l in range(level):
            n, j = np.divmod(np.arange(a, b)[:, None], 1 << l)
            h = self.grid[n + 1] - self.grid[n]
            W1, H1, W2, H2 = by.split(k0, k1, path, component, n, (1 << l) + j, h * 2.0**-l, W, H)
            c, a, b = 2 * a, first >> (level - l - 1), ((end - 1) >> (level - l - 1)) + 1
            W, H = (_alternate(x, y)[:, a - c:b - c] for x, y in ((W1, W2), (H1, H2)))
        return W, H

    def _stretches(self, by: Functions, rows: slice, n, place, areas: bool):
        """(W, H) between neighbours of any points: the rest of a step, whole steps, the beginning of another."""
        before, after = _reach(n, place)
        cut = np.flatnonzero(before | after)
        left, right = ([np.zeros((len(n), 1)), *np.zeros((2, rows.stop - rows.start, len(n), self.noises))]
                       for _ in range(2))
        if len(cut):
            for sides, parts in zip((left, right), self._around(by, rows, n[cut], place[cut], before[cut], after[cut])):
                for array, part in zip(sides, parts):
                    array[..., cut, :] = part
        steps = self._whole_steps(by, rows, n[:-1] + (place[:-1] > 0), n[1:], areas)
        length, W, A = join(join([x[..., :-1, :] for x in right], steps), [x[..., 1:, :] for x in left])
        return W, A / length

    def _whole_steps(self, by: Functions, rows: slice, a, b, areas: bool):
        """(length, W, A) of the base steps a, ..., b - 1 for each a and b. All joined at once,

            A = sum_i H_i + ((a + b - 1)/2 - i) W_i.
        """
        length = np.maximum(b - a, 0)[:, None]
        W, A = np.zeros((2, rows.stop - rows.start, len(a), self.noises))
        some = a < b
        if some.any():
            a, b = a[some], b[some]
            i = np.arange(a[0], b[-1])
            j = np.searchsorted(b, i, side="right")  # the interval of step i, where it is in one
            ends = np.ravel([a, b], "F") - a[0]

            def summed(x):
                return np.add.reduceat(np.pad(x, ((0, 0), (0, 1), (0, 0))), ends, axis=1)[:, ::2]

            w = self._base(by, rows, a[0], b[-1], 0)
            W[:, some] = summed(w)
            if areas:
                A[:, some] = summed(self._base(by, rows, a[0], b[-1], 1) + (0.5 * (a[j] + b[j] - 1) - i)[:, None] * w)
        return length, W, A

    def _base(self, by: Functions, rows: slice, a: int, b: int, slot: int) -> np.ndarray:
        """W (slot 0) or H (slot 1) of the base steps a, ..., b - 1."""
        scale = np.sqrt(np.diff(self.grid[a:b + 1]) / (12.0 if slot else 1.0))[:, None]
        k0, k1, path, component = self._names(rows)
        out = np.empty((len(path), b - a, self.noises))
        for _, i in tiles(1, b - a, len(path) * self.noises):
            half = np.arange((a + i.start) >> 1, (a + i.stop + 1) >> 1)[:, None]
            z = _alternate(*by.pair(k0, k1, path, component, half, slot))
            out[:, i] = scale[i] * z[:, (a + i.start) & 1:][:, :i.stop - i.start]
        return out

    def _around(self, by: Functions, rows: slice, n, place, before, after):
        _, _, path, component = self._names(rows)
        h = self.grid[n + 1] - self.grid[n]
        return by.descend(self.key, path, component, *(x[:, None] for x in (n, h, place, before, after)))

    def _names(self, rows: slice):
        """k0, k1, path, component, to broadcast to (paths, cells, noises)."""
        k0, k1 = np.array(self.key, np.int64)[:, None]
        return k0, k1, np.arange(self.first + rows.start, self.first + rows.stop)[:, None, None], np.arange(self.noises)

    def _check_memory(self, times: int, arrays: float) -> None:
        need, free = 8 * self.paths * times * self.noises * arrays, psutil.virtual_memory().available
        if need > 0.9 * free:
            raise MemoryError(f"the values would take {need / 2**30:,.1f} GiB ({self.paths:,} paths x {times:,} times "
                              f"x {self.noises:,} noises) and {free / 2**30:,.1f} GiB are free; ask for some of the "
                              "paths at a time: W.part(first, count)")
