"""Summaries: the statistics of any number of paths in memory that does not grow with them.

The paths are taken in blocks of BLOCK. A block leaves, for each time and component, of y = x - c (c a fixed centre)

    n, mean, M_p = sum (y - mean)^p for p = 2, 3, 4, min, max;  for two components the sums M_pq up to M_22

and one count for each value in a histogram. The moments of two sets A and B join exactly: with d_A = mean_A - mean,

    M_pq = sum over A, B of  sum_ij binom(p, i) binom(q, j) d^i e^j M_{p-i, q-j}       Chan, Golub & LeVeque 1979;
                                                                                       Pebay 2008, eq. 3.1
and they are joined along a binary tree over the blocks' numbers: the same bits for any number of threads, any sizes
of chunks and any order. Counts are integers and may be added in any order.

>>> values = np.random.default_rng(0).standard_normal((3, 1, 5000))             # (times, dim, paths)
>>> bins = Bins.from_pilot(values[:, :, :500])
>>> accumulator, counts = Accumulator(3, 1), bins.counts()
>>> for begin in (4096, 0):                                                     # whole blocks, in any order
...     chunk = values[:, :, begin:begin + 4096]
...     accumulator.add(begin // BLOCK, *block_statistics(chunk, bins.centre, bins.base, counts))
>>> Summary(np.arange(3.0), accumulator.result(5000, counts), bins, {"equation": "Z", "seed": 0})
Summary(5,000 paths, 3 times from 0.0 to 2.0, Z, seed=0)
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

BLOCK = 2048  # paths; a constant of the result's bits, as are the bins
LOW, HIGH, FINE = -20, 12, 8  # bins of |y| from S 2^LOW to S 2^HIGH, 2^FINE of them in an octave
SHIFT, INFINITY, ABS = 52 - FINE, 0x7FF0000000000000, 0x7FFFFFFFFFFFFFFF
OUTSIDE = (HIGH - LOW) * 2**FINE + 1  # number of the bin of |y| >= S 2^HIGH; 0 is that of |y| < S 2^LOW
BINS = 2 * OUTSIDE + 1
FORMAT = 1  # of saved files


# Moments -------------------------------------------------------------------------------------------------------------

def block_statistics(values, centre, base, counts, moments=None, pairs=None):
    """The moments of each block of `values`; every value is counted in its bin. Written in NumPy.

    values          (times, dim, n): whole blocks, of which the last may be shorter
    centre, base    (times, dim), of the `Bins`
    counts          (times, dim, BINS), integers; added to
    moments         (7, blocks, times, dim): n, mean, M2, M3, M4 of y = x - centre, min and max of x; written
    pairs           (9, blocks, times, dim (dim - 1) / 2): n, the two means, M20, M11, M02, M21, M12, M22 of the pairs
                    of components (0, 1), (0, 2), ... (1, 2), ...; written. With a last axis of 0: not wanted

    Values that are not finite are left out; a pair, where either is not. Returns moments and pairs.
    """
    times, dim, total = values.shape
    blocks, two = -(-total // BLOCK), _pairs(dim) if pairs is None or pairs.shape[3] else []
    moments = np.empty((7, blocks, times, dim)) if moments is None else moments
    pairs = np.empty((9, blocks, times, len(two))) if pairs is None else pairs
    for b in range(blocks):
        x = values[:, :, b * BLOCK:(b + 1) * BLOCK]
        good = np.isfinite(x)
        y = np.where(good, x - centre[:, :, None], 0.0)  # (times, dim, BLOCK), contiguous
        n, mean, d = _deviations(y, good)
        d2 = d * d
        moments[:5, b] = n, mean, d2.sum(-1), (d2 * d).sum(-1), (d2 * d2).sum(-1)
        moments[5:, b] = np.where(good, x, np.inf).min(-1), np.where(good, x, -np.inf).max(-1)
        for p, (k, l) in enumerate(two):
            both = good[:, k] & good[:, l]
            n, a, d = _deviations(y[:, k], both)
            n, b_, e = _deviations(y[:, l], both)
            d2, e2, de = d * d, e * e, d * e
            sums = [s.sum(-1) for s in (d2, de, e2, d * de, de * e, d2 * e2)]
            pairs[:, b, :, p] = n, a, b_, *sums
    y = values - centre[:, :, None]
    w = np.ascontiguousarray(y).view(np.int64)
    cell = np.clip(((w & ABS) >> SHIFT) - base[:, :, None], 0, OUTSIDE)
    cell = OUTSIDE + np.where(w < 0, -cell, cell)
    for t, k in np.ndindex(times, dim):
        counts[t, k] += np.bincount(cell[t, k][np.isfinite(values[t, k])], minlength=BINS)
    return moments, pairs


def _deviations(y, good):
    """n, mean and y - mean over the last axis, where good; y is 0 and the deviation too where not."""
    n = good.sum(-1)
    mean = np.where(good, y, 0.0).sum(-1) / np.maximum(n, 1)
    return n, mean, np.where(good, y - mean[..., None], 0.0)


def _pairs(dim: int) -> list[tuple[int, int]]:
    return [(k, l) for k in range(dim) for l in range(k + 1, dim)]


def _shares(a, b, means: slice):
    """n, the joint means and, for A and for B, each one's mean less the joint one."""
    n = a[0] + b[0]
    d = np.where((a[0] > 0) & (b[0] > 0), b[means] - a[means], 0.0)
    share = np.divide(b[0], n, out=np.zeros_like(n), where=n > 0)
    mean = np.where(a[0] > 0, a[means] + share * d, b[means])
    return n, mean, -share * d, (1.0 - share) * d


def join_moments(a, b):
    """The moments (7, ...) of two sets in one, from those of each."""
    n, mean, *shifts = _shares(a, b, slice(1, 2))
    out = np.empty(np.broadcast_shapes(a.shape, b.shape))
    out[0], out[1:2], out[2:5] = n, mean, 0.0
    for (n, _, m2, m3, m4, _, _), (d,) in zip((a, b), shifts):
        d2 = d * d
        out[2] += m2 + n * d2
        out[3] += m3 + 3 * d * m2 + n * d2 * d
        out[4] += m4 + 4 * d * m3 + 6 * d2 * m2 + n * d2 * d2
    out[5], out[6] = np.minimum(a[5], b[5]), np.maximum(a[6], b[6])
    return out


def join_pairs(a, b):
    """The moments (9, ...) of pairs of two sets in one, from those of each."""
    n, mean, *shifts = _shares(a, b, slice(1, 3))
    out = np.empty(np.broadcast_shapes(a.shape, b.shape))
    out[0], out[1:3], out[3:] = n, mean, 0.0
    for (n, _, _, m20, m11, m02, m21, m12, m22), (d, e) in zip((a, b), shifts):
        d2, e2, de = d * d, e * e, d * e
        out[3] += m20 + n * d2
        out[4] += m11 + n * de
        out[5] += m02 + n * e2
        out[6] += m21 + 2 * d * m11 + e * m20 + n * d2 * e
        out[7] += m12 + 2 * e * m11 + d * m02 + n * d * e2
        out[8] += m22 + 2 * e * m21 + 2 * d * m12 + e2 * m20 + 4 * de * m11 + d2 * m02 + n * d2 * e2
    return out


@dataclass(frozen=True, eq=False)
class Statistics:
    """What is kept of `total` paths: moments (7, times, dim), pairs (9, times, pairs), counts (times, dim, BINS).

    The rows are those of `block_statistics`.
    """

    total: int
    moments: np.ndarray
    pairs: np.ndarray
    counts: np.ndarray

    def __add__(self, other: "Statistics") -> "Statistics":
        with np.errstate(all="ignore"):
            return Statistics(self.total + other.total, join_moments(self.moments, other.moments),
                              join_pairs(self.pairs, other.pairs), self.counts + other.counts)


Node = tuple[np.ndarray, np.ndarray]  # moments and pairs


class Accumulator:
    """Joins the blocks' moments, given in any order, along one binary tree over their numbers.

    Node k of level l holds the blocks k 2^l to (k + 1) 2^l - 1, and is the join of two nodes of the level below, the
    left one first. The lowest levels are joined many nodes at a time, to spare NumPy the calls: `_group` blocks make a
    leaf. Memory: a leaf for each chunk in work, and a node for each level. To be used by one thread. `paired` says
    whether there are pairs; their number grows as dim^2.
    """

    def __init__(self, times: int, dim: int, paired: bool = True):
        self._shape, self._two = (times, dim), (times, dim * (dim - 1) // 2 if paired else 0)
        self._group = 2 ** min(max(14 - (times * dim).bit_length(), 3), 10)
        self._leaves: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}  # and which blocks came
        self._nodes: dict[tuple[int, int], Node] = {}  # by level and number
        self._full: set[int] = set()

    def add(self, block: int, moments: np.ndarray, pairs: np.ndarray) -> None:
        """Take blocks number `block` and up: (7, blocks, times, dim) and (9, blocks, times, pairs); copied.

        Raises ValueError for a block that came before, or other shapes.
        """
        blocks = moments.shape[1]
        if moments.shape != (7, blocks, *self._shape) or pairs.shape != (9, blocks, *self._two):
            raise ValueError(f"blocks of {self._shape} (times, dim) are wanted, got moments {moments.shape} and pairs "
                             f"{pairs.shape}")
        at = 0
        while at < blocks:
            group, begin = divmod(block + at, self._group)
            width = min(self._group - begin, blocks - at)
            leaf = self._leaves.setdefault(group, self._empty())
            if group in self._full or leaf[2][begin:begin + width].any():
                raise ValueError(f"blocks {block + at} to {block + at + width - 1} hold one that was added before")
            for held, given in zip(leaf, (moments, pairs)):
                held[:, begin:begin + width] = given[:, at:at + width]
            leaf[2][begin:begin + width] = True
            if leaf[2].all():
                self._full.add(group)
                _climb(self._nodes, group, _leaf(self._leaves.pop(group)))
            at += width

    def result(self, paths: int, counts: np.ndarray) -> Statistics:
        """The statistics of all `paths` paths, with their counts. Raises ValueError while blocks are missing."""
        blocks, nodes = -(-paths // BLOCK), dict(self._nodes)
        have = len(self._full) * self._group + sum(int(came.sum()) for _, _, came in self._leaves.values())
        first = all(came[:blocks - group * self._group].all() for group, (_, _, came) in self._leaves.items())
        if have != blocks or not first or blocks < 1:
            raise ValueError(f"{paths} paths are {blocks} blocks, but {have} came" + ("" if first else " with gaps"))
        for group, leaf in self._leaves.items():
            _climb(nodes, group, _leaf(leaf))
        joint, *rest = (nodes[key] for key in sorted(nodes))  # one for each binary digit of the number of leaves
        for node in rest:
            joint = _join(node, joint)
        return Statistics(paths, *joint, counts)

    def _empty(self):
        moments = np.zeros((7, self._group, *self._shape))
        moments[5], moments[6] = np.inf, -np.inf
        return moments, np.zeros((9, self._group, *self._two)), np.zeros(self._group, bool)


def _join(left: Node, right: Node) -> Node:
    with np.errstate(all="ignore"):
        return join_moments(left[0], right[0]), join_pairs(left[1], right[1]) if left[1].size else left[1]


def _leaf(leaf: tuple[np.ndarray, ...]) -> Node:
    """The joint moments of a leaf's blocks."""
    moments, pairs, *_ = leaf
    while moments.shape[1] > 1:
        moments, pairs = _join((moments[:, ::2], pairs[:, ::2]), (moments[:, 1::2], pairs[:, 1::2]))
    return moments[:, 0], pairs[:, 0]


def _climb(nodes: dict[tuple[int, int], Node], index: int, node: Node) -> None:
    """Put leaf `index` into the tree and join while its sibling is there."""
    level = 0
    while (level, index ^ 1) in nodes:
        other = nodes.pop((level, index ^ 1))
        node = _join(other, node) if index % 2 else _join(node, other)
        level, index = level + 1, index >> 1
    nodes[level, index] = node


# Bins ----------------------------------------------------------------------------------------------------------------

@dataclass(frozen=True, eq=False)
class Bins:
    """A log-linear histogram around a centre c with a scale S = 2^exponent, for each time and component.

    The bin of y = x - c is its sign and the top bits of |y|, exponent and FINE bits of the mantissa, so its width is at
    most 2^-FINE |y|. Inside S 2^LOW lies one bin for all; outside S 2^HIGH one on either side, which reaches to the
    least or largest value.

    centre, exponent   (times, dim), float64 and int64

    >>> bins = Bins.from_pilot(np.random.default_rng(0).normal(100.0, 1e-3, (1, 1, 500)))
    >>> bins.centre.item(), bins.exponent.item()  # the median in eighths of S
    (100.0, -10)
    """

    centre: np.ndarray
    exponent: np.ndarray

    @staticmethod
    def from_pilot(values: np.ndarray) -> "Bins":
        """Bins that suit a sample like these values, (times, dim, n); those that are not finite are ignored.

        S is the spread: half the distance from the 16% to the 84% quantile. c is 0, or where the spread is less than
        half of |median|, the median rounded to S/8. Where the spread is no more than rounding, c is it in 32 bits.
        """
        values = np.asarray(values, float)
        if values.ndim != 3 or not values.shape[2]:
            raise ValueError(f"a pilot sample has shape (times, dim, n) with n > 0, got {values.shape}")
        good = np.isfinite(values)
        n, x = good.sum(-1), np.sort(np.where(good, values, np.inf))

        def at(q):
            return np.take_along_axis(x, (q * np.maximum(n - 1, 0)).astype(int)[:, :, None], -1)[:, :, 0]

        with np.errstate(all="ignore"):
            low, median, high = (np.where(n > 0, at(q), 0.0) for q in (0.16, 0.5, 0.84))
            square = np.where(good, values - median[:, :, None], 0.0) ** 2
            spread = high / 2 - low / 2
            spread = np.where(spread > 0, spread, np.sqrt(square.mean(-1)))
            size, constant = np.abs(median), spread <= 2.0**-40 * np.abs(median)
            scale = np.where(constant, size, spread)
            exponent = np.clip(np.rint(np.log2(np.where(scale > 0, scale, 1.0))), -1000, 1000).astype(np.int64)
            unit = np.ldexp(1.0, np.where(constant, np.maximum(exponent - 32, -1070), exponent - 3))
            centre = np.where(constant | (spread < size / 2), np.rint(median / unit) * unit, 0.0)
        return Bins(centre, exponent)

    @property
    def base(self) -> np.ndarray:
        """What `block_statistics` takes off the top bits of |y| to get the bin's number, (times, dim) int64."""
        return ((1023 + self.exponent + LOW) << FINE) - 1

    def counts(self) -> np.ndarray:
        """No counts yet: zeros (times, dim, BINS), int64."""
        return np.zeros((*self.centre.shape, BINS), np.int64)

    def edges(self, t: int, k: int) -> np.ndarray:
        """The edges of the bins of y, increasing, from -inf to inf: (BINS + 1,)."""
        return np.ldexp(_EDGES, int(self.exponent[t, k]))

    def same(self, other: "Bins") -> bool:
        return (np.array_equal(self.centre, other.centre) and np.array_equal(self.exponent, other.exponent))


_UP = ((((1023 + LOW) << FINE) + np.arange(OUTSIDE, dtype=np.int64)) << SHIFT).view(float)
_EDGES = np.concatenate([[-np.inf], -_UP[::-1], _UP, [np.inf]])


@dataclass(frozen=True, eq=False)
class _Cells:
    """The bins of one time and component that hold something: edges and counts (cells,), the counts below each."""

    left: np.ndarray
    right: np.ndarray
    held: np.ndarray
    below: np.ndarray
    n: int

    def rank(self, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The value of rank r = 0 (the least) to n - 1, as if a bin's values were equally spaced; and its bin's width.

        The least and the largest are known exactly.
        """
        i = np.searchsorted(self.below, r, side="right") - 1
        width = self.right[i] - self.left[i]
        value = self.left[i] + width * ((r - self.below[i] + 0.5) / self.held[i])
        ends = [r == 0, r == self.n - 1]
        return np.select(ends, [self.left[0], self.right[-1]], value), np.where(ends[0] | ends[1], 0.0, width)

    def quantile(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The quantiles as `np.quantile` defines them, and the bounds of their errors."""
        if not self.n:
            return np.full(q.shape, np.nan), np.full(q.shape, np.nan)
        h = q * (self.n - 1)
        r = np.floor(h)
        (a, wa), (b, wb) = self.rank(r), self.rank(np.ceil(h))
        return a + (h - r) * (b - a), wa + (h - r) * (wb - wa)

    def under(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How many values lie below x, as if a bin's values were equally spread; and the bound of its error."""
        i = np.minimum(np.searchsorted(self.right, x), len(self.right) - 1)
        width = self.right[i] - self.left[i]
        share = np.divide(x - self.left[i], width, out=(x > self.left[i]).astype(float), where=width > 0).clip(0, 1)
        off = np.where((share > 0) & (share < 1), self.held[i] * np.maximum(share, 1 - share), 0.0)
        return self.below[i] + share * self.held[i], off


@dataclass(frozen=True, eq=False)
class Histogram:
    """Counts of one time and component in cells between `edges`, (cells + 1,).

    counts    how many of the n finite values; not whole where an edge cuts a fine bin, whose values are then shared
              out evenly
    error     the bound of what that may put into the wrong cell
    density   counts / (n width), and its standard error `stderr`, sqrt(p (1 - p) / n) / width with p = counts / n
    """

    edges: np.ndarray
    counts: np.ndarray
    error: np.ndarray
    density: np.ndarray
    stderr: np.ndarray


# Summary -------------------------------------------------------------------------------------------------------------

@dataclass(frozen=True, eq=False)
class Summary:
    """Statistics over the paths at given times: the result of `summarize`.

    t               the times, (times,)
    statistics      what was added up, see `Statistics`
    bins            of the histograms
    info            how it came to be: as for `Paths`, and how many paths; after `a + b`, the `runs` it is made of
    scalar          the state is a number: results have shape (times,), else (times, dim)
    probabilities   those of `quantiles`
    tracked         by name, the summaries of what was recorded along the paths

    All statistics are of the finite values: a first-passage time that has not come is inf and not among them. `n` says
    how many are, and `total` how many paths there were. Moments are exact to rounding, quantiles to `quantile_error`.
    """

    t: np.ndarray
    statistics: Statistics
    bins: Bins
    info: Mapping[str, Any]
    scalar: bool = True
    probabilities: Sequence[float] = (0.05, 0.25, 0.5, 0.75, 0.95)
    tracked: Mapping[str, "Summary"] = field(default_factory=dict)

    def __post_init__(self):
        _check_probabilities(self.probabilities)

    def __repr__(self) -> str:
        about = "".join(f", {self.info[k]}" for k in ("equation", "method", "backend") if k in self.info)
        seed = f", seed={self.info['seed']}" if "seed" in self.info else ""
        runs = f", {len(self.info['runs'])} runs" if "runs" in self.info else ""
        times = f"{len(self.t)} times from {self.t[0]} to {self.t[-1]}" if len(self.t) > 1 else f"time {self.t[0]}"
        tracked = f", tracked: {', '.join(self.tracked)}" if self.tracked else ""
        return f"Summary({self.total:,} paths, {times}{about}{seed}{runs}{tracked})"

    @property
    def total(self) -> int:
        """How many paths."""
        return self.statistics.total

    @property
    def n(self) -> np.ndarray:
        """How many finite values: (times,) or (times, dim), as the other statistics."""
        return self._shaped(self.statistics.moments[0].astype(np.int64))

    @property
    def mean(self) -> np.ndarray:
        return self._shaped(np.where(self._n > 0, self.bins.centre + self.statistics.moments[1], np.nan))

    @property
    def stderr(self) -> np.ndarray:
        """The standard error of the mean, sqrt(var / n)."""
        return self._shaped(np.sqrt(self._var / self._n))

    @property
    def var(self) -> np.ndarray:
        """The unbiased variance, M2 / (n - 1)."""
        return self._shaped(self._var)

    @property
    def var_stderr(self) -> np.ndarray:
        """The standard error of the variance: sqrt((m4 - m2^2 (n - 3)/(n - 1)) / n), m_p the central moments."""
        return self._shaped(self._var_stderr)

    @property
    def std(self) -> np.ndarray:
        return np.sqrt(self.var)

    @property
    def skew(self) -> np.ndarray:
        """m3 / m2^(3/2), m_p = M_p / n; NaN where all values are the same."""
        n, m2, m3 = self._n, *self.statistics.moments[2:4]
        return self._shaped(_ratio(np.sqrt(n) * m3, m2**1.5))

    @property
    def kurtosis(self) -> np.ndarray:
        """The excess, m4 / m2^2 - 3, m_p = M_p / n: 0 for a Gaussian; NaN where all values are the same."""
        n, m2, m4 = self._n, *self.statistics.moments[2:5:2]
        return self._shaped(_ratio(n * m4, m2**2) - 3)

    @property
    def cov(self) -> np.ndarray:
        """The unbiased covariances of the components, (times, dim, dim), over the paths where both are finite.

        Raises ValueError where no pairs were kept.
        """
        n, m11 = self.statistics.pairs[[0, 4]]
        return self._matrix(self._var, _ratio(m11, n - 1))

    @property
    def cov_stderr(self) -> np.ndarray:
        """Their standard errors: sqrt((m22 - m11^2 (n - 2)/(n - 1) + m20 m02/(n - 1)) / n), (times, dim, dim)."""
        n, m20, m11, m02, m22 = self.statistics.pairs[[0, 3, 4, 5, 8]] / np.maximum(self.statistics.pairs[0], 1.0)
        n = self.statistics.pairs[0]
        square = _ratio(m22 * (n - 1) - m11**2 * (n - 2) + m20 * m02, n * (n - 1))
        return self._matrix(self._var_stderr, np.sqrt(np.maximum(square, 0.0)))

    @property
    def min(self) -> np.ndarray:
        return self._shaped(np.where(self._n > 0, self.statistics.moments[5], np.nan))

    @property
    def max(self) -> np.ndarray:
        return self._shaped(np.where(self._n > 0, self.statistics.moments[6], np.nan))

    @cached_property
    def quantiles(self) -> np.ndarray:
        """The quantiles at `probabilities`: (probabilities, times) or (probabilities, times, dim)."""
        return self.quantile(self.probabilities)

    def quantile(self, q) -> np.ndarray:
        """Quantiles as `np.quantile` defines them: (times, ...) for one q, (len(q), times, ...) for several.

        Off by `quantile_error(q)` at most. Raises ValueError for a probability outside [0, 1].
        """
        return self._each(q, lambda cells, q: cells.quantile(q)[0], self.bins.centre)

    def quantile_error(self, q) -> np.ndarray:
        """The bound of the error of `quantile(q)` against all values sorted: the width of the bin, at most
        2^-8 |x - c| for c of the `bins`, unless x lies in the outermost or the innermost bin."""
        return self._each(q, lambda cells, q: cells.quantile(q)[1])

    def quantile_stderr(self, q) -> np.ndarray:
        """The standard error of `quantile(q)`: sqrt(q (1 - q) / n) / density. NaN for q = 0 and 1, which have none.

        1 / density = (x(q + d) - x(q - d)) / 2d, Siddiqui 1960, with the bandwidth d of Bofinger 1975 for a Gaussian.
        """
        def stderr(cells: _Cells, q: np.ndarray) -> np.ndarray:
            d = np.array([_bandwidth(p, cells.n) for p in q.tolist()])
            return np.sqrt(q * (1 - q) / cells.n) * _ratio(cells.quantile(q + d)[0] - cells.quantile(q - d)[0], 2 * d)

        return self._each(q, stderr)

    def histogram(self, bins: int | Sequence[float] = 50, time: int = -1, component: int = 0) -> Histogram:
        """The histogram at t[time] of one component.

        bins   edges, increasing; or a number of equal cells from the 0.1% to the 99.9% quantile (fewer where there
               are not that many floating-point numbers between them)

        >>> values = np.arange(5000.0).reshape(1, 1, -1)
        >>> bins = Bins.from_pilot(values)
        >>> counts, accumulator = bins.counts(), Accumulator(1, 1)
        >>> accumulator.add(0, *block_statistics(values, bins.centre, bins.base, counts))
        >>> summary = Summary(np.zeros(1), accumulator.result(5000, counts), bins, {})
        >>> summary.histogram([0.0, 2048.0, 4096.0]).counts
        array([2048., 2048.])
        """
        t, k = range(len(self.t))[time], range(self.bins.centre.shape[1])[component]
        cells, c = self._cells(t, k), self.bins.centre[t, k]
        if not cells.n:
            raise ValueError(f"no value of component {k} at t = {self.t[t]} is finite: there is no histogram")
        if isinstance(bins, int | np.integer):
            low, high = cells.quantile(np.array([0.001, 0.999]))[0]
            low, high = (low, high) if low < high else (low - 0.5, high + 0.5)
            edges = np.unique(c + np.linspace(low, high, max(int(bins), 0) + 1))
        else:
            edges = np.asarray(bins, float)
        if edges.ndim != 1 or len(edges) < 2 or not (np.diff(edges) > 0).all():
            raise ValueError(f"a histogram needs a number of cells or increasing edges, got {bins!r}")
        under, off = cells.under(edges - c)
        if edges[-1] >= self.statistics.moments[6, t, k]:  # the last cell is closed
            under[-1], off[-1] = cells.n, 0.0
        counts, width = np.diff(under), np.diff(edges)
        p = counts / cells.n
        return Histogram(edges, counts, off[1:] + off[:-1], p / width, np.sqrt(p * (1 - p) / cells.n) / width)

    def __add__(self, other: "Summary") -> "Summary":
        """One summary of the paths of both, which must be of the same law and share no path.

        Raises ValueError if times, bins or what `info` says of the equation and its solution differ, or if a path of
        the same seed, stream and number is in both. Equations read from a file are compared by what is printed of
        them; given increments are not compared.
        """
        if not isinstance(other, Summary):
            return NotImplemented
        _check_alike(self, other)
        return Summary(self.t, self.statistics + other.statistics, self.bins, _joint_info(self, other),
                       self.scalar, self.probabilities,
                       {name: part + other.tracked[name] for name, part in self.tracked.items()})

    def plot(self, ax=None, **options):
        """A fan chart: bands between quantiles and the mean. See `sdekit.plot.summary_fan`; returns the Axes."""
        from sdekit.plot import summary_fan
        return summary_fan(self, ax, **options)

    def save(self, file: str | Path) -> Path:
        """Write all to one .npz file, for `load`."""
        file = Path(file)
        file = file if file.suffix == ".npz" else file.with_name(file.name + ".npz")
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(file, **_packed(self, ""))
        return file

    @property
    def _n(self) -> np.ndarray:
        return self.statistics.moments[0]

    @property
    def _var(self) -> np.ndarray:
        return _ratio(self.statistics.moments[2], self._n - 1)

    @property
    def _var_stderr(self) -> np.ndarray:
        n = self._n
        m2, m4 = self.statistics.moments[2:5:2] / np.maximum(n, 1.0)
        return np.sqrt(np.maximum(_ratio(m4 * (n - 1) - m2**2 * (n - 3), n * (n - 1)), 0.0))

    def _shaped(self, a: np.ndarray) -> np.ndarray:
        return a[..., 0] if self.scalar else a

    def _matrix(self, diagonal: np.ndarray, pairs: np.ndarray) -> np.ndarray:
        times, dim = diagonal.shape
        if dim > 1 and not pairs.shape[1]:
            raise ValueError(f"covariances of these {dim} components were not kept; there are var and var_stderr")
        out = np.empty((times, dim, dim))
        for k in range(dim):
            out[:, k, k] = diagonal[:, k]
        for p, (k, l) in enumerate(_pairs(dim)):
            out[:, k, l] = out[:, l, k] = pairs[:, p]
        return out

    def _cells(self, t: int, k: int) -> _Cells:
        """The bins that hold something; no edge is beyond the least or the largest value."""
        counts, c = self.statistics.counts[t, k], self.bins.centre[t, k]
        i, edges = np.flatnonzero(counts), self.bins.edges(t, k)
        low, high = self.statistics.moments[5:, t, k] - c
        held = counts[i]
        return _Cells(edges[i].clip(low, high), edges[i + 1].clip(low, high), held, np.cumsum(held) - held,
                      int(held.sum()))

    def _each(self, q, function: Callable[[_Cells, np.ndarray], np.ndarray], shift: Any = None) -> np.ndarray:
        """function(cells, q) for each time and component: (times, ...) for one q, (len(q), times, ...) for several."""
        q = _check_probabilities(q)
        out = np.empty((q.size, *self.bins.centre.shape))
        with np.errstate(all="ignore"):
            for t, k in np.ndindex(*self.bins.centre.shape):
                out[:, t, k] = function(self._cells(t, k), q.ravel())
        if shift is not None:
            low, high = self.statistics.moments[5:]
            out = np.clip(out + shift, low, high)
        return self._shaped(out.reshape(*q.shape, *self.bins.centre.shape))


def _ratio(a, b):
    """a / b, NaN where b is not positive."""
    a, b = np.broadcast_arrays(a, b)
    return np.divide(a, b, out=np.full(a.shape, np.nan), where=b > 0)


def _check_probabilities(q) -> np.ndarray:
    q = np.asarray(q, float)
    if q.ndim > 1 or not ((q >= 0) & (q <= 1)).all():
        raise ValueError(f"quantiles are asked for by probabilities from 0 to 1, got {q}; for 5% write 0.05")
    return q


def _bandwidth(q: float, n: int) -> float:
    """Bofinger 1975: d = (4.5 phi(z)^4 / ((2 z^2 + 1)^2 n))^(1/5), z = Phi^-1(q); at most half way to 0 or 1."""
    room = min(q, 1 - q) / 2
    if room <= 0 or not n:
        return 0.0
    normal = NormalDist()
    z = normal.inv_cdf(q)
    return min((4.5 * normal.pdf(z) ** 4 / ((2 * z * z + 1) ** 2 * n)) ** 0.2, room)


# Joining and keeping summaries ---------------------------------------------------------------------------------------

_OF_A_RUN = ("seed", "stream", "first", "paths")


def _check_alike(a: Summary, b: Summary) -> None:
    if not np.array_equal(a.t, b.t):
        raise ValueError(f"summaries at different times cannot be added: {a.t} and {b.t}")
    if a.scalar != b.scalar or a.bins.centre.shape != b.bins.centre.shape:
        raise ValueError(f"summaries of different states cannot be added: {a.bins.centre.shape[1]} and "
                         f"{b.bins.centre.shape[1]} components")
    for key in sorted({*a.info, *b.info} - {*_OF_A_RUN, "runs", "backend"}):
        if not _same(a.info.get(key), b.info.get(key)):
            raise ValueError(f"summaries of different runs cannot be added: {key} is {a.info.get(key)} in one and "
                             f"{b.info.get(key)} in the other")
    if set(a.tracked) != set(b.tracked):
        raise ValueError(f"summaries that track different things cannot be added: {sorted(a.tracked)} and "
                         f"{sorted(b.tracked)}")
    if not a.bins.same(b.bins):
        raise ValueError("summaries with different bins cannot be added; bins come from the equation, its start and "
                         "the times, one of which must differ")
    for seed, stream, first, paths in _runs(a.info):
        for seed_, stream_, first_, paths_ in _runs(b.info):
            if (seed, stream) == (seed_, stream_) and first < first_ + paths_ and first_ < first + paths:
                raise ValueError(
                    f"both summaries hold path {max(first, first_)} of seed={seed}, stream={stream}: the same numbers "
                    f"twice. Take another seed, or paths from first={max(first + paths, first_ + paths_)} on")


def _same(a, b) -> bool:
    if a is b:
        return True
    if isinstance(a, str) or isinstance(b, str):
        return str(a) == str(b)
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return np.array_equal(a, b)
    if hasattr(a, "parameters") and hasattr(b, "parameters"):
        functions = [(getattr(a, f, None), getattr(b, f, None)) for f in ("drift", "diffusion", "transition")]
        return repr(a) == repr(b) and all(_same_function(f, g) for f, g in functions)
    return a == b


def _same_function(f, g) -> bool:
    """The same code around the same values."""
    held = [repr([cell.cell_contents for cell in getattr(h, "__closure__", None) or ()]) for h in (f, g)]
    return f is g or (getattr(f, "__code__", f) == getattr(g, "__code__", g) and held[0] == held[1])


def _runs(info: Mapping[str, Any]) -> list[tuple[int, ...]]:
    """The (seed, stream, first, paths) of each run; none for given increments."""
    if "runs" in info:
        return [tuple(run) for run in info["runs"]]
    return [tuple(info[key] for key in _OF_A_RUN)] if all(key in info for key in _OF_A_RUN) else []


def _joint_info(a: Summary, b: Summary) -> dict[str, Any]:
    """What is common, and the runs; neighbours become one."""
    info = {key: value for key, value in a.info.items() if key not in (*_OF_A_RUN, "runs")}
    backends = {name for part in (a, b) for name in str(part.info.get("backend", "")).split(" and ") if name}
    if backends:
        info["backend"] = " and ".join(sorted(backends))
    runs: list[tuple[int, ...]] = []
    for seed, stream, first, paths in sorted(_runs(a.info) + _runs(b.info)):
        if runs and runs[-1][:2] == (seed, stream) and runs[-1][2] + runs[-1][3] == first:
            first, paths = runs[-1][2], runs.pop()[3] + paths
        runs.append((seed, stream, first, paths))
    if len(runs) == 1:
        return info | dict(zip(_OF_A_RUN, runs[0]))
    return info | {"paths": a.total + b.total} | ({"runs": runs} if runs else {})


def _packed(summary: Summary, prefix: str) -> dict[str, Any]:
    """The arrays of a file; of the counts only those that are not 0. The parts of `tracked` have a longer prefix."""
    s, cells = summary.statistics, np.flatnonzero(summary.statistics.counts)
    about = {"format": FORMAT, "total": s.total, "scalar": summary.scalar, "tracked": list(summary.tracked),
             "probabilities": np.asarray(summary.probabilities, float).tolist(), "info": dict(summary.info)}
    arrays = {"about": json.dumps(about, default=str), "t": summary.t, "moments": s.moments, "pairs": s.pairs,
              "cells": cells, "counts": s.counts.ravel()[cells], "centre": summary.bins.centre,
              "exponent": summary.bins.exponent}
    packed = {prefix + name: value for name, value in arrays.items()}
    for i, part in enumerate(summary.tracked.values()):
        packed |= _packed(part, f"{prefix}{i}/")
    return packed


def _unpacked(held, prefix: str) -> Summary:
    about = json.loads(str(held[prefix + "about"]))
    if about["format"] != FORMAT:
        raise ValueError(f"format {about['format']}, but this version reads {FORMAT}")
    bins = Bins(held[prefix + "centre"], held[prefix + "exponent"])
    counts = bins.counts()
    counts.ravel()[held[prefix + "cells"]] = held[prefix + "counts"]
    statistics = Statistics(about["total"], held[prefix + "moments"], held[prefix + "pairs"], counts)
    tracked = {name: _unpacked(held, f"{prefix}{i}/") for i, name in enumerate(about["tracked"])}
    return Summary(held[prefix + "t"], statistics, bins, about["info"], about["scalar"],
                   tuple(about["probabilities"]), tracked)


def load(file: str | Path) -> Summary:
    """A summary from the file that `save` wrote; equation and method in `info` are what was printed of them.

    Raises FileNotFoundError, or ValueError for a file that holds no summary.
    """
    try:
        with np.load(file) as held:
            return _unpacked(held, "")
    except (KeyError, ValueError, OSError, TypeError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"{file} is no file of Summary.save: {error}") from None
