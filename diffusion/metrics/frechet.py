"""The Frechet distance of features, as if they were Gaussian (Frechet 1957; Heusel et al. 2017, eq. 6):

    FID = |m - n|^2 + tr S + tr R - 2 tr (R^{1/2} S R^{1/2})^{1/2},   x ~ (m, S),   y ~ (n, R).

The last trace is the sum of the singular values of S^{1/2} R^{1/2}: real, and not negative, for singular S or R too, so
that no root of a product that is not symmetric is taken. All is in float64.

The influence of a sample is Kantorovich's potential, with the map T that carries N(m, S) to N(n, R):

    psi(x) = 2 (m - n).c + c^T (I - T) c + constant,   c = x - m,   T = R^{1/2} (R^{1/2} S R^{1/2})^{-1/2} R^{1/2}.

FID is biased upwards, by about a/n (Chong & Forsyth 2020), more where n is not far above d; with n <= d samples S is
singular, and the value is mostly bias. So it is compared at the same n, and with its floor. At the floor itself, where
FID is quadratic in what is sampled, the interval is too wide, by sqrt(2). Its lower end is at least 0.
"""

from dataclasses import replace

import numpy as np

from diffusion.metrics.extractor import Features, check_features
from diffusion.metrics.score import Score, smooth
from diffusion.metrics.statistics import Statistics, same_extractor


def frechet(x: Statistics, y: Statistics) -> float:
    """FID of two sets' statistics.

    Raises ValueError for those of different extractors.

    >>> a = Statistics(9, np.zeros(2), np.eye(2), "mine", "a")
    >>> b = Statistics(9, np.ones(2), 4 * np.eye(2), "mine", "b")
    >>> frechet(a, a), frechet(a, b)                       # |m - n|^2 + 2 (2 - 1)^2
    (0.0, 4.0)
    """
    same_extractor(x, y)
    return _distance(x, y, np.linalg.svd(_root(x.covariance) @ _root(y.covariance), compute_uv=False))


def fid(x: Features, y: Features | Statistics) -> Score:
    """FID of samples x against a reference y, with the interval of its influence.

    Raises TypeError for what is not features, ValueError for those of different extractors, or fewer than two.

    >>> random = np.random.default_rng(0)
    >>> x, y = (Features(random.normal(size=(n, 3)), None, "mine", "toy") for n in (500, 9000))
    >>> score = fid(x, y)
    >>> score.low < score.value < score.high, score.value < 0.1
    (True, True)
    """
    check_features(x, *(() if isinstance(y, Statistics) else (y,)))
    same_extractor(x, y)
    p, q = x.statistics(), y.statistics() if isinstance(y, Features) else y
    root = _root(q.covariance)
    _, values, v = np.linalg.svd(_root(p.covariance) @ root)
    keep = values > len(root) * np.finfo(float).eps * values.max(initial=0.0)
    w = (v[keep] / values[keep, None] ** 0.5) @ root  # T = w^T w
    c = x.values - p.mean
    influence = 2 * c @ (p.mean - q.mean) + (c**2).sum(1) - ((c @ w.T) ** 2).sum(1)
    score = smooth("fid", _distance(p, q, values), influence, q.told, x.extractor)
    return replace(score, low=max(0.0, score.low))  # a distance


def _distance(x: Statistics, y: Statistics, values: np.ndarray) -> float:
    apart = x.mean - y.mean
    return max(0.0, float(apart @ apart + np.trace(x.covariance) + np.trace(y.covariance) - 2 * values.sum()))


def _root(S: np.ndarray) -> np.ndarray:
    """S^{1/2}; what is 0 but for rounding becomes 0, since the root of 1e-16 would count."""
    values, vectors = np.linalg.eigh(S)
    kept = np.where(values > len(S) * np.finfo(float).eps * values[-1], values, 0.0)
    return (vectors * np.sqrt(kept)) @ vectors.T
