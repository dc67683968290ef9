"""Log-linear bins: a histogram from which quantiles are read, for values that are spread over any number of octaves.

The bin of y = x - c, with a centre c and a scale S, is its sign and the top bits of |y|: the exponent and FINE bits of
the mantissa. An octave so has 2^FINE bins of equal width, at most 2^-FINE |y|, and no logarithm is taken. In numbers,
with w the bits of y as an integer and S = 2^exponent,

    bin = OUTSIDE +- clip((|w| >> SHIFT) - base, 0, OUTSIDE),    base = ((1023 + exponent + LOW) << FINE) - 1

Counts are integers and may be added in any order. The value of rank r is read off as if a bin's were equally spaced.
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

LOW, HIGH, FINE = -20, 12, 8  # bins of |y| from S 2^LOW to S 2^HIGH, 2^FINE of them in an octave
SHIFT, ABS = 52 - FINE, 0x7FFFFFFFFFFFFFFF  # what leaves the top bits of |y|; the bits of a float but its sign
OUTSIDE = (HIGH - LOW) * 2**FINE + 1  # number of the bin of |y| >= S 2^HIGH; 0 is that of |y| < S 2^LOW
BINS = 2 * OUTSIDE + 1


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

    def cells(self, t: int, k: int, counts: np.ndarray, low: float, high: float) -> "Cells":
        """The bins that hold something; no edge is beyond the least or the largest value, `low` and `high` of x."""
        i, edges, c = np.flatnonzero(counts[t, k]), self.edges(t, k), self.centre[t, k]
        held = counts[t, k, i]
        return Cells(edges[i].clip(low - c, high - c), edges[i + 1].clip(low - c, high - c), held,
                     np.cumsum(held) - held, int(held.sum()))

    def same(self, other: "Bins") -> bool:
        return np.array_equal(self.centre, other.centre) and np.array_equal(self.exponent, other.exponent)


_UP = ((((1023 + LOW) << FINE) + np.arange(OUTSIDE, dtype=np.int64)) << SHIFT).view(float)
_EDGES = np.concatenate([[-np.inf], -_UP[::-1], _UP, [np.inf]])


def count(y, base, good, counts):
    """Add the values y where `good`, both (times, dim, n), to `counts`, (times, dim, BINS); `base` as in `Bins`."""
    w = np.ascontiguousarray(y).view(np.int64)
    cell = np.clip(((w & ABS) >> SHIFT) - base[:, :, None], 0, OUTSIDE)
    cell = OUTSIDE + np.where(w < 0, -cell, cell)
    for t, k in np.ndindex(*y.shape[:2]):
        counts[t, k] += np.bincount(cell[t, k][good[t, k]], minlength=BINS)


@dataclass(frozen=True, eq=False)
class Cells:
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

    def quantile_stderr(self, q: np.ndarray) -> np.ndarray:
        """sqrt(q (1 - q) / n) / density, 1 / density = (x(q + d) - x(q - d)) / 2d of Siddiqui 1960; NaN where d = 0."""
        d = np.array([_bandwidth(p, self.n) for p in q.tolist()])
        rise = self.quantile(q + d)[0] - self.quantile(q - d)[0]
        return np.sqrt(q * (1 - q) / self.n) * np.divide(rise, 2 * d, out=np.full(q.shape, np.nan), where=d > 0)

    def under(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How many values lie below x, as if a bin's values were equally spread; and the bound of its error."""
        i = np.minimum(np.searchsorted(self.right, x), len(self.right) - 1)
        width = self.right[i] - self.left[i]
        share = np.divide(x - self.left[i], width, out=(x > self.left[i]).astype(float), where=width > 0).clip(0, 1)
        off = np.where((share > 0) & (share < 1), self.held[i] * np.maximum(share, 1 - share), 0.0)
        return self.below[i] + share * self.held[i], off

    def histogram(self, edges: np.ndarray, c: float, high: float) -> "Histogram":
        """That of x = c + y between `edges` of x. The last cell is closed if it reaches to `high`, the largest x."""
        under, off = self.under(edges - c)
        if edges[-1] >= high:
            under[-1], off[-1] = self.n, 0.0
        counts, width = np.diff(under), np.diff(edges)
        p = counts / self.n
        return Histogram(edges, counts, off[1:] + off[:-1], p / width, np.sqrt(p * (1 - p) / self.n) / width)


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


def _bandwidth(q: float, n: int) -> float:
    """Bofinger 1975: d = (4.5 phi(z)^4 / ((2 z^2 + 1)^2 n))^(1/5), z = Phi^-1(q); at most half way to 0 or 1."""
    room = min(q, 1 - q) / 2
    if room <= 0 or not n:
        return 0.0
    normal = NormalDist()
    z = normal.inv_cdf(q)
    return min((4.5 * normal.pdf(z) ** 4 / ((2 * z * z + 1) ** 2 * n)) ** 0.2, room)
