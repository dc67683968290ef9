"""Laws on finitely many numbers: P(X = x_i) = p_i."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Finite:
    """P(X = x_i) = p_i.

    x   increasing numbers (n,)
    p   their probabilities (n,), of sum 1 within 1e-9

    It goes where a law goes, as a random start too: `sk.simulate(walk, Finite([0, 1], [0.5, 0.5]), ...)`. Raises
    ValueError for anything else.

    >>> die = Finite(range(1, 7), [1 / 6] * 6)
    >>> round(die.mean, 12), round(die.variance, 12), float(die.cdf(4.5).round(12)), die.ppf([0.1, 0.99])
    (3.5, 2.916666666667, 0.666666666667, array([1., 6.]))
    """

    x: Any
    p: Any

    def __post_init__(self):
        x, p = np.array(self.x, float), np.array(self.p, float)
        if x.ndim != 1 or not len(x) or x.shape != p.shape:
            raise ValueError(f"x and p must be of one shape (n,), n >= 1; got {x.shape} and {p.shape}")
        if not np.isfinite(x).all() or (np.diff(x) <= 0).any():
            raise ValueError("x must be finite and increase; sort the numbers, and name each once")
        if not (p >= 0).all():
            raise ValueError(f"probabilities must be at least 0, got {p[~(p >= 0)][0]:g} for x = {x[~(p >= 0)][0]:g}")
        if not abs(p.sum() - 1.0) <= 1e-9:
            raise ValueError(f"probabilities must sum to 1, got {p.sum():.12g}; divide them by that")
        for name, value in (("x", x), ("p", p)):
            value.setflags(write=False)
            object.__setattr__(self, name, value)

    def probability(self, x):
        """P(X = x), of the shape of x; 0 for what is none of the numbers."""
        x = np.asarray(x, float)
        i = np.minimum(np.searchsorted(self.x, x), len(self.x) - 1)
        return np.where(self.x[i] == x, self.p[i], 0.0)

    @property
    def mean(self) -> float:
        """E X = sum p x."""
        return float(self.p @ self.x)

    @property
    def variance(self) -> float:
        """Var X = sum p (x - E X)^2."""
        return float(self.p @ (self.x - self.mean) ** 2)

    def cdf(self, x):
        """P(X <= x), of the shape of x; NaN for NaN."""
        x = np.asarray(x, float)
        return np.where(np.isnan(x), np.nan, np.append(0.0, self._totals)[np.searchsorted(self.x, x, "right")])[()]

    def ppf(self, u):
        """The least x with P(X <= x) >= u, of the shape of u; the largest of all for u = 1, NaN outside [0, 1]."""
        u = np.asarray(u, float)
        found = self.x[np.minimum(np.searchsorted(self._totals, u), len(self.x) - 1)]
        found = np.where(u == 1.0, self.x[np.flatnonzero(self.p)[-1]], found)
        return np.where((u >= 0.0) & (u <= 1.0), found, np.nan)[()]

    @property
    def _totals(self) -> np.ndarray:
        """P(X <= x_i), from the likely end of each number on 1, so that no u lies above."""
        totals = np.cumsum(self.p)
        totals[np.flatnonzero(self.p)[-1]:] = 1.0
        return totals
