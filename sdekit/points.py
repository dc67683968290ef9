"""Which one is Poisson? Points in the plane, and tests of whether they fell independently of each other.

A Poisson process of rate lambda, points per unit of area:

    counts       N(A) ~ Poisson(lambda |A|), independent in disjoint sets          `count_test`
    distances    P(R < r) = 1 - e^{-lambda pi r^2}, R from a point to its nearest  `neighbour_test`

Two that are none, of the same rate: points that keep their distance (`regular`), and points in families (`clustered`).

A window is (width, height), its points (n, 2) in [0, width) x [0, height). Distances are those on the torus, where
opposite edges meet, so that no point has fewer neighbours for standing at an edge.

Counts in small cells, and the distances of neighbours, have laws without a closed form. So a test draws m sets of
Poisson points, and the set at hand is one of m + 1 that are alike if it is Poisson too (Barnard 1963; Besag & Diggle
1977):

    p = (1 + #{sets whose statistic is as large}) / (m + 1)                        P(p <= alpha) <= alpha, exactly
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from numbers import Real

import numpy as np

from sdekit.noise import MAX_STREAM, normals, whole
from sdekit.variates import poissons, uniforms

Box = Sequence[float]
NULL = 2**31  # the first stream of a test's own sets


def poisson(rate: float, box: Box, seed: int, stream: int = 0) -> np.ndarray:
    """Poisson points: N ~ Poisson(rate |box|) of them, each uniform in the window and independent of the others.

    rate   points per unit of area, >= 0
    box    (width, height)

    Returns (n, 2). Point i depends on (seed, stream, i) and the window alone. Raises TypeError or ValueError outside
    these bounds.

    >>> poisson(7.0, (20.0, 20.0), seed=1).shape  # 2800 +- 53 points
    (2791, 2)
    """
    rate, (width, height) = _number("rate", rate, 0.0), _window(box)
    n = int(poissons(seed, stream, mean=rate * width * height)[0, 0, 0])
    return uniforms(seed, stream, paths=n, components=2)[:, 0] * (width, height)


def regular(rate: float, box: Box, seed: int, jitter: float = 1.0, stream: int = 0) -> np.ndarray:
    """A lattice whose points are moved: one point in each cell, uniform in the middle part, of `jitter` times its side.

    rate     points per unit of area, > 0; the window is cut into nearly square cells of about that number
    jitter   from 0, the lattice itself, to 1, anywhere in the cell

    Returns (n, 2), row by row. Raises TypeError or ValueError outside these bounds, and for a window without a cell.

    >>> regular(7.0, (20.0, 20.0), seed=1).shape  # 53 x 53 cells
    (2809, 2)
    """
    rate, sides = _number("rate", rate, 0.0), _window(box)
    if not 0.0 <= _number("jitter", jitter, 0.0) <= 1.0:
        raise ValueError(f"jitter must be from 0, a lattice, to 1, anywhere in the cell; got {jitter}")
    cells = np.array([round(side * rate**0.5) for side in sides])
    if not cells.all():
        raise ValueError(f"a window of {sides[0]:g} x {sides[1]:g} has no room for a cell of area 1/rate = "
                         f"{1.0 / rate if rate else np.inf:g}; take a larger window or rate")
    corner = np.indices(tuple(cells.tolist())).reshape(2, -1).T
    u = uniforms(seed, stream, paths=len(corner), components=2)[:, 0]
    return (corner + 0.5 + jitter * (u - 0.5)) * (sides / cells)


def clustered(rate: float, box: Box, seed: int, size: float, spread: float, stream: int = 0) -> np.ndarray:
    """Families: Poisson(size) children around each of the Poisson parents, whose rate is rate/size; the children alone.

    rate     points per unit of area, >= 0
    size     the mean number of children, > 0
    spread   the standard deviation of a child's place in each direction, >= 0; on the torus

    Returns (n, 2). Raises TypeError or ValueError outside these bounds. Source: Thomas 1949.

    >>> clustered(7.0, (20.0, 20.0), seed=1, size=5.0, spread=0.2).shape
    (2833, 2)
    """
    rate, sides, size = _number("rate", rate, 0.0), _window(box), _number("size", size, 0.0)
    if not size:
        raise ValueError("size is the mean number of children in a family and must be > 0, got 0")
    parents = poisson(rate / size, box, seed, stream)
    # component 0 of path 0 is the number of the parents
    children = poissons(seed, stream, paths=len(parents), components=2, mean=size)[:, 0, 1]
    centers = np.repeat(parents, children, axis=0)
    moved = centers + _number("spread", spread, 0.0) * normals(seed, stream, paths=len(centers), components=2)[:, 0]
    moved %= sides
    return np.where(moved < sides, moved, 0.0)  # the remainder of -1e-20 is rounded up to the side


@dataclass(frozen=True, eq=False)
class PoissonTest:
    """How a set of points compares with Poisson points.

    statistic  of the set: the larger, the less like Poisson points; `name` says which one it is
    null       (m,): those of m sets of Poisson points, in increasing order
    x          at which the law is looked at: counts k, or distances r
    observed   (len(x),): how often a cell holds k points, or the part of the points with a neighbour nearer than r
    expected   (len(x),): the same of Poisson points, in the mean
    """

    name: str
    statistic: float
    null: np.ndarray
    x: np.ndarray
    observed: np.ndarray
    expected: np.ndarray

    @property
    def p_value(self) -> float:
        """(1 + #{sets whose statistic is as large}) / (m + 1)."""
        return float(1 + (self.null >= self.statistic).sum()) / (len(self.null) + 1)

    def accepted(self, level: float = 0.05) -> bool:
        """Whether p > level. Poisson points are rejected with probability `level` at most.

        Raises ValueError for a level that m sets cannot tell.
        """
        self._rank(level)
        return self.p_value > level

    def critical(self, level: float = 0.05) -> float:
        """The statistic above which a set is rejected. For distances, `expected` - and + it is an envelope that the
        whole curve of Poisson points leaves with probability `level` at most."""
        return float(self.null[-self._rank(level)])

    def _rank(self, level: float) -> int:
        """How many of the m + 1 sets are rejected."""
        rank = int(level * (len(self.null) + 1) * (1 + 1e-12)) if 0.0 < level < 1.0 else 0
        if rank < 1:
            raise ValueError(f"with {len(self.null)} sets a level is at least {1 / (len(self.null) + 1):.3g}, and "
                             f"below 1; got {level}. Take more sets for a smaller one")
        return rank

    def __str__(self) -> str:
        return f"{self.name} = {self.statistic:.4g}, p = {self.p_value:.3g} among {len(self.null)} sets"


def count_test(points: np.ndarray, rate: float, box: Box, cell: float, seed: int, sets: int = 199) -> PoissonTest:
    """Whether the numbers of points in square cells are Poisson(rate cell^2).

    points   (n, 2), in the window
    rate     of the Poisson process that is asked about, > 0
    cell     the side of a cell, which divides both sides of the window
    seed     of the sets it is compared with; they have streams of their own, so it may be that of the points
    sets     how many of them, m

    The statistic is KL(observed, Poisson) = sum_k f_k ln(f_k / P(k)), f_k the part of the cells that hold k points.

    Returns a `PoissonTest`. Raises TypeError or ValueError outside these bounds.

    >>> box = (20.0, 20.0)
    >>> print(count_test(poisson(7.0, box, seed=1), 7.0, box, cell=1.0, seed=1))
    KL = 0.03382, p = 0.11 among 199 sets
    >>> print(count_test(regular(7.0, box, seed=1), 7.0, box, cell=1.0, seed=1))
    KL = 0.3794, p = 0.005 among 199 sets
    """
    points, sides = _checked(points, rate, box)
    cell = _number("cell", cell, 0.0)
    cells = np.array([round(side / cell) if cell else 0 for side in sides])
    if not cells.all() or np.abs(cells * cell - sides).max() > 1e-9 * max(sides):
        raise ValueError(f"cells of side {cell:g} do not divide the window of {sides[0]:g} x {sides[1]:g}; take a side "
                         "that goes into both a whole number of times")
    mean = rate * cell**2

    def statistic(points: np.ndarray) -> float:
        f = _frequencies(points, sides, cells)
        return _kl(f, mean)

    f = _frequencies(points, sides, cells)
    k = np.arange(max(len(f), int(mean + 4.0 * mean**0.5) + 3))
    return PoissonTest("KL", _kl(f, mean), _null(statistic, rate, box, seed, sets), k,
                       np.pad(f, (0, len(k) - len(f))), np.exp(_ln_poisson(k, mean)))


def neighbour_test(points: np.ndarray, rate: float, box: Box, seed: int, sets: int = 199) -> PoissonTest:
    """Whether the distances to the nearest other point have the law P(R < r) = 1 - e^{-rate pi r^2}.

    The arguments are those of `count_test`, with rate |box| >= 1. Only from two points on there are neighbours, so the
    sets that these points are compared with have two points and more. The statistic is the largest distance
    D = sup_r |F(r) - P(R < r)| from the law, F(r) the part of the points whose neighbour is nearer than r (Diggle 2013,
    section 2.3; the law of D is not Kolmogorov's, since neighbours share their distance). The result's x are the
    distances in increasing order.

    Returns a `PoissonTest`. Raises TypeError or ValueError outside these bounds, and for fewer than two points.

    >>> box = (20.0, 20.0)
    >>> print(neighbour_test(poisson(7.0, box, seed=1), 7.0, box, seed=1))
    D = 0.02057, p = 0.53 among 199 sets
    >>> print(neighbour_test(regular(7.0, box, seed=1), 7.0, box, seed=1, sets=19))
    D = 0.2545, p = 0.05 among 19 sets
    """
    points, sides = _checked(points, rate, box)
    if len(points) < 2:
        raise ValueError(f"the nearest neighbour needs at least 2 points, got {len(points)}")

    if rate * sides.prod() < 1.0:
        raise ValueError(f"a Poisson process of rate={rate:g} has {rate * sides.prod():.2g} points in this window, too "
                         f"few for neighbours; these points have the rate {len(points) / sides.prod():.3g}. Take a "
                         f"rate of {1.0 / sides.prod():.3g} or more, or a larger window")

    def statistic(points: np.ndarray) -> float:
        return _distance(_nearest(points, sides), rate)

    r = np.sort(_nearest(points, sides))
    return PoissonTest("D", _distance(r, rate), _null(statistic, rate, box, seed, sets, least=2), r,
                       (np.arange(len(r)) + 0.5) / len(r), _law(r, rate))


def _null(statistic: Callable[[np.ndarray], float], rate: float, box: Box, seed: int, sets: int,
          least: int = 0) -> np.ndarray:
    """The statistics of so many sets, those of fewer than `least` points left out: the set at hand is none of them."""
    sets = whole("sets", sets, MAX_STREAM - NULL, start=1)
    drawn = (poisson(rate, box, seed, stream) for stream in range(NULL, MAX_STREAM))
    return np.sort([statistic(points) for points in islice((p for p in drawn if len(p) >= least), sets)])


def _frequencies(points: np.ndarray, sides: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """f_k, the part of the cells that hold k points, k = 0, 1, ..., without a look at the empty ones."""
    column, row = np.minimum((points / sides * cells).astype(np.int64), cells - 1).T
    held = np.bincount(np.unique(column * cells[1] + row, return_counts=True)[1], minlength=1)
    total = int(cells[0]) * int(cells[1])
    held[0] = total - held.sum()
    return held / total


def _kl(f: np.ndarray, mean: float) -> float:
    k = np.flatnonzero(f)
    return float(f[k] @ (np.log(f[k]) - _ln_poisson(k, mean)))


def _ln_poisson(k: np.ndarray, mean: float) -> np.ndarray:
    from scipy.special import gammaln  # loaded where it is needed: it takes longer than all of sdekit
    return k * np.log(mean) - mean - gammaln(k + 1.0)


def _nearest(points: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """(n,): the distance from each point to the nearest other one, on the torus."""
    from scipy.spatial import KDTree
    return KDTree(points, boxsize=sides).query(points, k=2)[0][:, 1]


def _law(r: np.ndarray, rate: float) -> np.ndarray:
    return -np.expm1(-rate * np.pi * r**2)


def _distance(r: np.ndarray, rate: float) -> float:
    """sup_r |F(r) - P(R < r)|: F jumps at the distances."""
    law, n = _law(np.sort(r), rate), len(r)
    below = np.arange(n) / n
    return float(max((law - below).max(), (below + 1.0 / n - law).max()))


def _checked(points, rate: float, box: Box) -> tuple[np.ndarray, np.ndarray]:
    """The points and the sides of their window, after a look at both."""
    if not _number("rate", rate, 0.0):
        raise ValueError("rate must be > 0 to be tested, got 0")
    sides, array = _window(box), np.asarray(points)
    if array.dtype.kind not in "iuf" or array.ndim != 2 or array.shape[1] != 2:
        raise TypeError(f"points must be an array (n, 2) of places, got {array.dtype} {array.shape}")
    inside = ((array >= 0.0) & (array < sides)).all(axis=1)
    if not inside.all():
        raise ValueError(f"points must lie in the window [0, {sides[0]:g}) x [0, {sides[1]:g}), but {(~inside).sum()} "
                         f"of {len(array)} do not, the first at {array[~inside][0]}; shift them, or give a larger box")
    return array.astype(float), sides


def _window(box: Box) -> np.ndarray:
    """(width, height) as an array."""
    sides = np.asarray(box)
    if sides.dtype.kind not in "iuf" or sides.shape != (2,):
        raise TypeError(f"box must be (width, height), got {box!r}")
    if not ((sides > 0.0) & (sides < np.inf)).all():
        raise ValueError(f"box must have a width and a height > 0, got {box!r}")
    return sides.astype(float)


def _number(name: str, value, least: float) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {value!r} ({type(value).__name__})")
    number = float(value)
    if not least <= number < np.inf:
        raise ValueError(f"{name} must be at least {least:g} and finite, got {number:g}")
    return number
