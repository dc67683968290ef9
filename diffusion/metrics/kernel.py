"""The kernel distance: MMD^2 of features by a polynomial of degree three (Binkowski et al. 2018, section 4).

    KID = E k(x, x') + E k(y, y') - 2 E k(x, y),   k(x, y) = (x.y / d + 1)^3

It is unbiased, and so may be negative, at any n: means are over pairs of different samples (Gretton et al. 2012, eq. 3;
`diffusion.mmd` is the same of the data themselves with a Gaussian kernel). All pairs count: no mean over subsets of
1,000 is taken. The influence of a sample is 2 (E k(x, x') - E k(x, y)).
"""

import numpy as np

from diffusion.metrics.extractor import Features, check_features
from diffusion.metrics.score import Score, smooth
from diffusion.metrics.statistics import same_extractor

ROWS = 500  # of the table of k at once


def kid(x: Features, y: Features) -> Score:
    """KID of samples x against a reference y, as it stands.

    Takes time like (n + m)^2, and the memory of 500 of its rows. Raises ValueError for features of different
    extractors, or fewer than two.

    >>> x = Features(np.array([[0.0], [1.0]]), None, "mine", "toy")
    >>> kid(x, x).value                                    # k = 1, 1, 8: 1 + 1 - 2 (1 + 2 + 8) / 4
    -3.5
    """
    check_features(x, y)
    same_extractor(x, y)
    if len(x) < 2 or len(y) < 2:
        raise ValueError(f"KID is a mean over pairs of different images, two or more of either; got {len(x)} and "
                         f"{len(y)}")
    a, b = x.values.astype(np.float64), y.values.astype(np.float64)
    among, across = _others(a), _sums(a, b) / len(b)
    value = among.mean() + _others(b).mean() - 2 * across.mean()
    return smooth("kid", value, 2 * (among - across), y.told, x.extractor)


def _others(x: np.ndarray) -> np.ndarray:
    """The mean of k(x_i, x_j) over j other than i, (n,)."""
    own = ((x**2).sum(1) / x.shape[1] + 1) ** 3
    return (_sums(x, x) - own) / (len(x) - 1)


def _sums(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """sum_j k(x_i, y_j), (n,)."""
    return np.concatenate([_cubes(part @ y.T / x.shape[1] + 1).sum(1)
                           for part in np.split(x, range(ROWS, len(x), ROWS))])


def _cubes(k: np.ndarray) -> np.ndarray:
    return k * k * k  # a power of NumPy's takes ten times as long
