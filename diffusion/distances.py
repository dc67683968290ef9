"""Distances between the laws behind two sets of samples, x (n, ...) and y (m, ...), taken as vectors of d numbers:

    SW^2(x, y) = mean over directions u of W_2^2(x.u, y.u),   W_2^2 = int_0^1 (F_x^{-1}(q) - F_y^{-1}(q))^2 dq
    MMD^2(x, y) = E k(x, x') + E k(y, y') - 2 E k(x, y),      k(x, y) = exp(-|x - y|^2 / (2 h^2))

SW is of the data's units, at most W_2 / sqrt(d) in the mean over directions (Bonneel et al. 2015), and biased upwards:
of two sets of one law it reads about the size of the sampling noise. MMD^2 has no unit, and the estimate that leaves
out the pairs of a sample with itself is unbiased, so that it may be negative (Gretton et al. 2012, eq. 3).
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

import sdekit as sk
from sdekit.noise import whole

DIRECTIONS, PICKS = 0xD1, 0xB0  # streams of the directions, and of the bootstrap's picks
MEDIAN_OF = 1000  # samples between which the median distance is taken


def sliced_wasserstein(x: Tensor, y: Tensor, directions: int = 128, seed: int = 0) -> float:
    """SW, in the data's units: the root of the mean of W_2^2 over random directions, which are keyed by the seed.

    x (n, ...), y (m, ...) samples of equal shape. Raises ValueError for other shapes.

    >>> x = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
    >>> sliced_wasserstein(x, x)
    0.0
    """
    a, b = vectors(x, y)
    return between(*shadows(a, b, directions, seed))


def shadows(x: Tensor, y: Tensor, directions: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """x.u and y.u for unit vectors u uniform on the sphere, (n, directions) and (m, directions)."""
    count = whole("directions", directions, 2**20, start=1)
    u = torch.from_numpy(np.array(sk.normals(seed, DIRECTIONS, count, 1, x.shape[1])[:, 0])).T
    u = u / u.norm(dim=0)
    return (x @ u).numpy(), (y @ u).numpy()


def between(a: np.ndarray, b: np.ndarray) -> float:
    """SW of shadows (n, directions) and (m, directions): quantile functions are steps, and the integral a sum."""
    a, b, n, m = np.sort(a, axis=0), np.sort(b, axis=0), len(a), len(b)
    if n == m:
        return float(np.mean((a - b) ** 2) ** 0.5)
    edges = np.union1d(np.arange(n + 1) * m, np.arange(m + 1) * n)  # in units of 1 / (n m)
    left, width = edges[:-1], np.diff(edges) / (n * m)
    return float((width @ ((a[left // m] - b[left // n]) ** 2)).mean() ** 0.5)


def mmd(x: Tensor, y: Tensor, width: float | None = None) -> float:
    """MMD^2, unbiased, by a Gaussian kernel of the width h.

    width   h, in the data's units; by default the median distance between two samples of y

    Takes the memory of (n + m)^2 numbers. Raises ValueError for fewer than two samples of either, whose means are over
    pairs of different ones, or a width that is not positive.

    >>> x = torch.linspace(0, 1, 400)[:, None]
    >>> round(mmd(x, x + 1.0), 2), abs(mmd(x, x)) < 0.01
    (0.95, True)
    """
    a, b = vectors(x, y)
    _paired(a, b)
    return Kernel(a, b, median_distance(b) if width is None else width).value()


def median_distance(y: Tensor) -> float:
    """Of the pairs of the first samples, (m, d)."""
    found = float(torch.pdist(y[:MEDIAN_OF]).median())
    if not found > 0:
        raise ValueError("most of these samples are equal, and their median distance is 0; give the kernel's width")
    return found


class Kernel:
    """The kernel matrices of x (n, d) and y (m, d), of which MMD^2 is taken with any weights."""

    def __init__(self, x: Tensor, y: Tensor, width: float):
        if not width > 0:
            raise ValueError(f"the width of the kernel must be positive, got {width!r}")
        _paired(x, y)
        k = lambda a, b: torch.exp(torch.cdist(a, b).square() / (-2 * width**2)).numpy()
        self.xx, self.yy, self.xy = k(x, x), k(y, y), k(x, y)

    def value(self, p: np.ndarray | None = None, q: np.ndarray | None = None) -> float:
        """MMD^2 with how often each sample of x counts, p (n,), and of y, q (m,); no pair of a sample with itself."""
        p, q = (np.ones(len(k)) if c is None else c for c, k in ((p, self.xx), (q, self.yy)))
        own = lambda c, k: (c @ k @ c - c @ (c * k.diagonal())) / (c.sum() ** 2 - c @ c)
        return float(own(p, self.xx) + own(q, self.yy) - 2 * (p @ self.xy @ q) / (p.sum() * q.sum()))


def _paired(x: Tensor, y: Tensor) -> None:
    if len(x) < 2 or len(y) < 2:
        raise ValueError("MMD needs two samples of either, for it is a mean over pairs of different ones; got "
                         f"{len(x)} and {len(y)}")


def picks(n: int, times: int, seed: int, stream: int = PICKS) -> np.ndarray:
    """Bootstrap: (times, n) numbers of samples, drawn with replacement, keyed by the seed (Efron & Tibshirani 1993)."""
    return (sk.uniforms(seed, stream, times, 1, n)[:, 0] * n).astype(np.int64)  # type: ignore[return-value]


def interval(value: float, again: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """About `value`, as wide as the estimates `again` of the bootstrap spread about their mean.

    What resampling adds to the mean of a distance is left out: it is not the sampling's spread but a bias.
    """
    low, high = np.quantile(again - np.mean(again), ((1 - level) / 2, (1 + level) / 2))
    return float(value + low), float(value + high)


def resampled(of: Callable[[np.ndarray, np.ndarray], float], n: int, m: int, times: int, seed: int) -> np.ndarray:
    """`of` (rows of x, rows of y) for resampled rows, (times,)."""
    return np.array([of(i, j) for i, j in zip(picks(n, times, seed), picks(m, times, seed, PICKS + 1))])


def vectors(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """x (n, d) and y (m, d) in float64 on the CPU."""
    x, y = torch.as_tensor(x), torch.as_tensor(y)
    if x.ndim < 1 or x.shape[1:] != y.shape[1:] or not len(x) or not len(y):
        raise ValueError(f"both sets must be of samples of one shape, got {tuple(x.shape)} and {tuple(y.shape)}")
    x, y = (v.detach().to("cpu", torch.float64).reshape(len(v), v[0].numel()) for v in (x, y))
    if not (x.isfinite().all() and y.isfinite().all()):
        raise ValueError("samples must be finite numbers")
    return x, y
