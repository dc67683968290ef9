"""Samples in place of a prior: the law of X_0 given X_1 = X_0 + s Z = k, by weights p_i ~ phi_s(k - x_i).

    log p_i - log p_j = (x_j - x_i) (x_j + x_i - 2 k) / (2 s^2)

Weights are compared with that of the nearest sample by this product, which has its digits however far k lies.
"""

import math
from dataclasses import dataclass

import numpy as np

from sdekit.walks.posterior import checked


@dataclass(frozen=True)
class Weighted:
    """The law of X_0 given k where the prior is a set of samples: x, each with its probability p.

    evidence, stderr  q(k) as estimated from the samples, and its standard error; both are 0 where they underflow
    log_evidence      log q(k)
    """

    x: np.ndarray
    p: np.ndarray
    evidence: float
    stderr: float
    log_evidence: float

    @property
    def mean(self) -> float:
        """E[X_0 | k] = sum p x."""
        return float(self.p @ self.x)

    @property
    def variance(self) -> float:
        """Var[X_0 | k] = sum p (x - mean)^2."""
        return float(self.p @ (self.x - self.mean) ** 2)

    @property
    def effective(self) -> float:
        """1 / sum p^2: how many samples of equal weight are worth as much (Kish 1965)."""
        return float(1.0 / (self.p**2).sum())

    def cdf(self, x):
        """P(X_0 <= x | k), of the shape of x."""
        order = np.argsort(self.x)
        total = np.append(0.0, np.cumsum(self.p[order]))
        return total[np.searchsorted(self.x[order], x, "right")] / total[-1]


def weigh(samples, s: float, k: float) -> Weighted:
    """The law of X_0 given X_1 = X_0 + s Z = k, from samples (n,) of X_0: p_i = phi_s(k - x_i) / sum_j phi_s(k - x_j).

    Raises ValueError for samples that are not finite numbers (n,), for s <= 0, and for a k so far from all samples
    that not even the logarithm of q(k) is finite.

    >>> law = weigh(np.linspace(0.0, 1.0, 1001), s=0.1, k=0.5)
    >>> round(law.mean, 12), round(law.variance**0.5, 4)
    (0.5, 0.1)
    """
    x = np.array(samples, float)
    if x.ndim != 1 or not len(x):
        raise ValueError(f"samples must be finite numbers of shape (n,), n >= 1; got shape {x.shape}")
    bad = np.flatnonzero(~np.isfinite(x))
    if len(bad):
        raise ValueError(f"samples must be finite numbers, but samples[{bad[0]}] is {x[bad[0]]}"
                         f"{f' and {len(bad) - 1} more are not' * (len(bad) > 1)}; leave such samples out")
    checked("s", s, "> 0", lambda s: s > 0)
    checked("k", k, "", lambda k: True)
    with np.errstate(over="ignore"):
        away = np.abs(x - k) / s
        nearest = int(away.argmin())
        peak = -0.5 * away[nearest] ** 2 - math.log(s) - 0.5 * math.log(2.0 * math.pi)
        if not math.isfinite(peak):
            raise ValueError(f"k = {k:g} is {away[nearest]:.3g} s away from the nearest of the samples, "
                             f"{x[nearest]:g}: no weights are left; take k nearer to them, or a larger s")
        logs = 0.5 * ((x[nearest] - x) / s) * ((x[nearest] - k) / s + (x - k) / s)
    phi, peak = np.exp(logs - logs.max()), float(peak + logs.max())  # as x - k is rounded, another may be nearer
    scale = math.exp(peak) if peak < 700.0 else math.inf
    return Weighted(x, phi / phi.sum(), float(scale * phi.mean()), float(scale * phi.std() / len(x) ** 0.5),
                    peak + math.log(phi.mean()))
