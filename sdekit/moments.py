"""Moments that join: those of any number of blocks of paths, the same bits in whatever order the blocks come.

The paths are taken in blocks of BLOCK. A block leaves, for each time and component, of y = x - c (c a fixed centre)

    n, mean, M_p = sum (y - mean)^p for p = 2, 3, 4, min, max;  for two components the sums M_pq up to M_22

The moments of two sets A and B join exactly: with d_A = mean_A - mean and e_A the same of the other component,

    M_pq = sum over A, B of  sum_ij binom(p, i) binom(q, j) d^i e^j M_{p-i, q-j}       Chan, Golub & LeVeque 1979;
                                                                                       Pebay 2008, eq. 3.1
and they are joined along a binary tree over the blocks' numbers: the same bits for any number of threads, any sizes
of chunks and any order. The same pass over the values counts them in their `Bins`.

>>> from sdekit.bins import Bins
>>> x = np.random.default_rng(0).standard_normal((1, 1, 5000))                  # (times, dim, paths)
>>> bins = Bins.from_pilot(x[:, :, :500])
>>> accumulator, counts = Accumulator(1, 1), bins.counts()
>>> for begin in (4096, 0):                                                     # whole blocks, in any order
...     moments, pairs = block_statistics(x[:, :, begin:begin + 4096], bins.centre, bins.base, counts)
...     accumulator.add(begin // BLOCK, moments, pairs)
>>> n, mean, m2, *_ = accumulator.result(5000, counts).moments[:, 0, 0]
>>> bool(n == 5000 and abs(mean - x.mean()) < 1e-14 and abs(m2 / n / x.var() - 1) < 1e-14)
True
"""

from dataclasses import dataclass

import numpy as np

from sdekit.bins import count

BLOCK = 2048  # paths; a constant of the result's bits, as are the bins


@np.errstate(over="ignore", invalid="ignore")  # the fourth powers of values beyond 1e77
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
    blocks, two = -(-total // BLOCK), component_pairs(dim) if pairs is None or pairs.shape[3] else []
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
    count(values - centre[:, :, None], base, np.isfinite(values), counts)
    return moments, pairs


def _deviations(y, good):
    """n, mean and y - mean over the last axis, where good; y is 0 and the deviation too where not."""
    n = good.sum(-1)
    mean = np.where(good, y, 0.0).sum(-1) / np.maximum(n, 1)
    return n, mean, np.where(good, y - mean[..., None], 0.0)


def component_pairs(dim: int) -> list[tuple[int, int]]:
    """(0, 1), (0, 2), ... (1, 2), ...: the order of the pairs."""
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
        return Statistics(self.total + other.total, *_join((self.moments, self.pairs), (other.moments, other.pairs)),
                          self.counts + other.counts)


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
