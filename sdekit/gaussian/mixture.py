"""Mixtures of Gaussians, p(x) = sum_k w_k N(x; m_k, S_k): closed under affine maps and under added Gaussian noise.

    r_k(x) = w_k N(x; m_k, S_k) / p(x)                       the responsibilities
    grad log p(x) = sum_k r_k(x) S_k^{-1} (m_k - x)          the score
    alpha X + sigma Z ~ sum_k w_k N(alpha m_k, alpha^2 S_k + sigma^2 I)

The last line makes a diffusion model whose score is known at every time. Source: Bishop 2006, section 9.2.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sdekit.gaussian.law import ROUNDING, Gaussian, numbers, samples, scalar
from sdekit.noise import normals
from sdekit.variates import uniforms


@dataclass(frozen=True, eq=False, init=False)
class Mixture:
    """The law of X_K, P(K = k) = w_k, X_k ~ N(m_k, S_k).

    weights      w, (k,), non-negative, of sum 1
    components   k Gaussians on the same R^d; a singular one is allowed, but then there is no density

    A @ X, a * X, X + b and X + Y for an independent Y, Gaussian or a mixture, are mixtures again. Points x are those of
    `Gaussian`: (d,), or (..., d) for several; for d = 1 also a number, or (n,).
    Raises TypeError or ValueError for other weights or components.

    >>> X = Mixture([0.5, 0.5], [Gaussian(-2.0, 1.0), Gaussian(2.0, 1.0)])
    >>> X.mean, X.cov
    (array([0.]), array([[5.]]))
    """

    weights: np.ndarray
    components: tuple[Gaussian, ...]
    __array_ufunc__ = None  # A @ X and b + X are ours, for arrays too

    def __init__(self, weights: ArrayLike, components: Sequence[Gaussian]):
        weights, given, components = numbers("weights", weights), components, ()
        if np.iterable(given):
            components = tuple(given)
        if not components or not all(isinstance(part, Gaussian) for part in components):
            raise TypeError("components must be a sequence of Gaussians, such as [Gaussian(0.0, 1.0), Gaussian(2.0, "
                            f"0.5)]; got {given!r}")
        if weights.shape != (len(components),):
            raise ValueError(f"weights must be ({len(components)},), one for each component, got {weights.shape}")
        if (weights < 0.0).any():
            raise ValueError(f"weights are probabilities, at least 0, got the least {weights.min():g}; leave out the "
                             "components that have none, and divide the other weights by their sum")
        if abs(weights.sum() - 1.0) > ROUNDING:
            raise ValueError(f"weights must have the sum 1, got the sum {float(weights.sum())!r}; w / w.sum() has it")
        if len({part.d for part in components}) > 1:
            raise ValueError(f"components must be on the same R^d, got d = {[part.d for part in components]}")
        weights.setflags(write=False)
        object.__setattr__(self, "weights", weights)
        object.__setattr__(self, "components", components)

    @property
    def d(self) -> int:
        """The number of components of X."""
        return self.components[0].d

    @property
    def mean(self) -> np.ndarray:
        """E X = sum_k w_k m_k, (d,)."""
        return self.weights @ np.array([part.mean for part in self.components])

    @property
    def cov(self) -> np.ndarray:
        """Cov X = sum_k w_k (S_k + (m_k - E X)(m_k - E X)^T), (d, d)."""
        off = np.array([part.mean for part in self.components]) - self.mean
        within = np.tensordot(self.weights, np.array([part.cov for part in self.components]), 1)
        return within + (off.T * self.weights) @ off

    # --- maps

    def _each(self, function) -> "Mixture":
        return Mixture(self.weights, [function(part) for part in self.components])

    def __rmatmul__(self, A) -> "Mixture":
        """The law of A X, A (k, d)."""
        return self._each(lambda part: A @ part)

    def __mul__(self, a) -> "Mixture":
        """The law of a X, a a number."""
        return self._each(lambda part: a * part)

    __rmul__ = __mul__

    def __add__(self, other) -> "Mixture":
        """The law of X + b, or of X + Y for an independent Y, Gaussian or a mixture."""
        if isinstance(other, Mixture):
            sums = [part + each for part in self.components for each in other.components]
            return Mixture(np.outer(self.weights, other.weights).ravel(), sums)
        return self._each(lambda part: part + other)

    __radd__ = __add__

    def diffused(self, alpha: float, sigma: float) -> "Mixture":
        """The law of alpha X + sigma Z, Z ~ N(0, I) independent of X: again a mixture of as many components.

        alpha, sigma   numbers, those of a diffusion model at one time

        Point masses, Gaussian(x_k, 0.0), become the diffused law of a data set.

        >>> X = Mixture([0.5, 0.5], [Gaussian(-1.0, 0.0), Gaussian(1.0, 0.0)]).diffused(0.6, 0.8)
        >>> round(float(X.score(0.3)), 6)       # (0.6 tanh(0.6 x / 0.64) - x) / 0.64
        -0.211817
        """
        alpha, sigma = scalar(alpha), scalar(sigma)
        return alpha * self + Gaussian(np.zeros(self.d), sigma**2)

    # --- the density

    def logpdf(self, x) -> np.ndarray:
        """log p(x) at points x (..., d), shape (...); ValueError where a component is singular.

        >>> X = Mixture([0.25, 0.75], [Gaussian(0.0, 1.0), Gaussian(0.0, 1.0)])
        >>> round(float(X.logpdf(0.0)), 6)
        -0.918939
        """
        return np.logaddexp.reduce(self._logs(x), axis=-1)

    def pdf(self, x) -> np.ndarray:
        """p(x) at points x (..., d), shape (...); ValueError where a component is singular.

        >>> round(float(Mixture([0.5, 0.5], [Gaussian(0.0, 1.0), Gaussian(9.0, 1.0)]).pdf(0.0)), 6)
        0.199471
        """
        return np.exp(self.logpdf(x))

    def cdf(self, x) -> np.ndarray:
        """P(X <= x) = sum_k w_k P(X_k <= x) in one dimension, at numbers x of any shape; ValueError for d > 1.

        >>> float(Mixture([0.25, 0.75], [Gaussian(-50.0, 1.0), Gaussian(50.0, 1.0)]).cdf(0.0))
        0.25
        """
        return np.tensordot(self.weights, np.array([part.cdf(x) for part in self.components]), 1)

    def responsibilities(self, x) -> np.ndarray:
        """P(K = k | X = x) at points x (..., d), shape (..., k); ValueError where a component is singular.

        >>> Mixture([0.5, 0.5], [Gaussian(-2.0, 1.0), Gaussian(2.0, 1.0)]).responsibilities(0.0)
        array([0.5, 0.5])
        """
        logs = self._logs(x)
        return np.exp(logs - np.logaddexp.reduce(logs, axis=-1, keepdims=True))

    def score(self, x) -> np.ndarray:
        """grad log p(x) = sum_k r_k(x) grad log p_k(x) at points x (..., d), of the shape of x.

        Raises ValueError where a component is singular.

        >>> X = Mixture([0.5, 0.5], [Gaussian(-2.0, 1.0), Gaussian(2.0, 1.0)])
        >>> round(float(X.score(1.0)), 6)       # 2 tanh(2 x) - x
        0.928055
        """
        r = self.responsibilities(x)
        scores = np.stack([part.score(x) for part in self.components], axis=-1)  # (..., d, k)
        return (scores * r.reshape(*r.shape[:-1], *(1,) * (scores.ndim - r.ndim), r.shape[-1])).sum(axis=-1)

    def _logs(self, x) -> np.ndarray:
        """log(w_k N(x; m_k, S_k)), (..., k)."""
        with np.errstate(divide="ignore"):  # a weight of 0
            return np.log(self.weights) + np.stack([part.logpdf(x) for part in self.components], axis=-1)

    def sample(self, n: int, seed: int, stream: int = 0, first: int = 0) -> np.ndarray:
        """The samples first, ..., first + n - 1 of a seed, (n, d): the component by U(seed, stream, i), then its own.

        x_i = m_k + B_k Z(seed, stream, i) with k the first of w_1 + ... + w_k >= U, as in `Gaussian.sample`; U is
        `sdekit.uniforms`. Sample i is the same, whatever else is drawn.

        >>> X = Mixture([0.3, 0.7], [Gaussian(-2.0, 1.0), Gaussian(2.0, 1.0)])
        >>> bool((X.sample(1, seed=7, first=500) == X.sample(1000, seed=7)[500]).all())
        True
        """
        paths: Any = samples(n, first)
        u, z = uniforms(seed, stream, paths)[:, 0, 0], normals(seed, stream, paths, components=self.d)[:, 0]
        edges = np.cumsum(self.weights)
        which = np.searchsorted(edges / edges[-1], u)
        x = np.empty_like(z)
        for k, part in enumerate(self.components):
            x[which == k] = part.transport(z[which == k])
        return x
