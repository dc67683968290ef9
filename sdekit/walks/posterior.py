"""Where did it come from? The law of X_0 where X_1 = X_0 + s Z was seen at k, Z ~ N(0, 1) and X_0 of any density p.

    p(x | k) = p(x) phi_s(k - x) / q(k),    q(k) = int p(x) phi_s(k - x) dx, the density of X_1
    E[X_0 | k]         = k + s^2 (log q)'(k)          Tweedie's formula: Robbins 1956; Efron 2011, eq. 2.8
    Var[X_0 | k] / s^2 = 1 + s^2 (log q)''(k)

For every s; so that for small s, where q is smooth and positive near k, the law is Gaussian of variance s^2 whatever
the prior. What is left is its skewness s^3 (log q)''': KL(law, Gaussian) = s^6 ((log q)'''(k))^2 / 12 + ..., a 64th for
each halving of s. At an edge of the prior q is not smooth on the scale s, and none of this holds.

Integrals are taken in u = (x - k) / s, by Gauss-Legendre rules on panels that are halved until nothing changes.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from numbers import Real
from typing import Any

import numpy as np

from sdekit.walks.panels import EPS, WEIGHTS, Panels, panels, points_of
from sdekit.walks.priors import Known, as_prior

REACH = 12.0  # standard deviations of the noise around k: beyond them it has e^-72 of its density
FAR = 80.0  # a density of e^-80 times the peak is left out
RADIUS, STEP = 8, 0.125  # of the differences for Tweedie's formula, in units of s


@dataclass(frozen=True)
class Posterior:
    """The law of X_0 given that X_1 = X_0 + s Z was seen at k, or within width/2 of it.

        p(x | k) = p(x) phi_s(k - x) / q(k);  with a width, phi_s and q are means over [k - width/2, k + width/2]

    prior  the law of X_0: a continuous distribution of scipy.stats, such as beta(2, 7), or a `Prior`
    s      standard deviation of the noise, > 0
    k      where X_1 was seen
    width  of the slice around k; 0 for k itself

    Raises TypeError for a prior without a density, ValueError for s <= 0, a negative width, and a k where X_1 has no
    density. Relative errors are about 1e-14; 1e-8 where the prior is infinite at an edge, and 1e-15 |log q(k)| where k
    is far from all of it.

    >>> import scipy.stats
    >>> seen = Posterior(scipy.stats.norm(0.0, 1.0), s=0.5, k=2.0)
    >>> round(seen.mean, 12), round(seen.variance, 12), seen.kl < 1e-25         # N(k/(1 + s^2), s^2/(1 + s^2))
    (1.6, 0.2, True)
    """

    prior: Any
    s: float
    k: float
    width: float = 0.0
    _prior: Known = field(init=False, repr=False, compare=False)

    def __post_init__(self):
        checked("s", self.s, "> 0", lambda s: s > 0)
        checked("k", self.k, "", lambda k: True)
        checked("width", self.width, ">= 0", lambda width: width >= 0)
        object.__setattr__(self, "_prior", as_prior(self.prior))

    @cached_property
    def _rule(self) -> Panels:
        """The panels and, at their points, log p(k + s u) + log phi(u)."""
        return panels(self._log_joint, *self._window())

    def _log_joint(self, u: np.ndarray) -> np.ndarray:
        a, b = self._prior.support
        ends = [abs(v) for v in (self.k, a, b) if math.isfinite(v)]
        inside = np.spacing(max(ends))  # a density may be infinite at the edge itself
        x = np.clip(self.k + self.s * u, a + inside, b - inside)
        return self._prior.logpdf(x) + self._log_seen(u)

    def _log_seen(self, u: np.ndarray) -> np.ndarray:
        """log phi(u), or log of the mean of phi over the slice, as wide as `half` on either side."""
        half = self.width / (2.0 * self.s)
        if not half:
            return -0.5 * (u * u + math.log(2.0 * math.pi))
        from scipy.special import log_ndtr  # loaded where it is needed: it takes longer than all of sdekit

        near, far = log_ndtr(half - np.abs(u)), log_ndtr(-half - np.abs(u))
        return near + np.log(-np.expm1(far - near)) - math.log(2.0 * half)

    def _window(self) -> tuple[np.ndarray, float]:
        """The first edges of panels, around all that matters of the law, and the spacing of numbers there."""
        low, high = ((end - self.k) / self.s for end in self._prior.support)
        half = self.width / (2.0 * self.s)
        near = min(max(0.0, low), high)
        reach = (max(low, near - half - REACH), min(high, near + half + REACH))
        offsets = half + np.array([-8.0, -4.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0, 8.0])
        places = [near, *(near + offsets), *(near - offsets), *((np.array(self._prior.points) - self.k) / self.s)]
        places = np.array([u for u in places if low < u < high])
        for _ in range(60):
            edges = np.unique([*reach, *places[(places > reach[0]) & (places < reach[1])]])
            values = self._log_joint(points_of(edges[:-1], edges[1:]))
            peak = values.max()
            outside = places[(places <= reach[0]) | (places >= reach[1])]
            if len(outside):
                at = self._log_joint(outside)
                peak = max(peak, at.max())
                outside = outside[at > peak - FAR]
            # a side that is not yet low enough goes on
            length = reach[1] - reach[0]
            left = reach[0] - length * (values[0, 0] >= peak - FAR)
            right = reach[1] + length * (values[-1, -1] >= peak - FAR)
            wider = (max(low, min(left, *outside - 1.0, left)), min(high, max(right, *outside + 1.0, right)))
            if wider == reach:
                break
            reach = wider
        if not peak > -math.inf:
            raise ValueError(f"X_1 = {self.k:g} cannot have come from this prior, whose support is "
                             f"{self._prior.support}: the density of X_1 is 0 there. If the prior has narrow peaks, "
                             "name them: points=(...)")
        return edges, EPS * max(1.0, abs(self.k) / self.s)

    @property
    def log_evidence(self) -> float:
        """log q(k)."""
        return float(self._rule.peak + math.log(self._rule.mass.sum()))

    @property
    def evidence(self) -> float:
        """q(k), the density of X_1 at k; with a width its mean over the slice."""
        return math.exp(self.log_evidence)

    @cached_property
    def _moments(self) -> tuple[float, float]:
        """Mean and variance of (X_0 - k) / s."""
        u, p = self._rule.points, self._rule.probabilities
        mean = float((p * u).sum())
        return mean, float((p * (u - mean) ** 2).sum())

    @property
    def mean(self) -> float:
        """E[X_0 | k]."""
        return self.k + self.s * self._moments[0]

    @property
    def variance(self) -> float:
        """Var[X_0 | k]."""
        return self.s**2 * self._moments[1]

    def pdf(self, x):
        """p(x | k), of the shape of x; 0 outside the prior's support."""
        x = np.asarray(x, float)
        a, b = self._prior.support
        within = (x >= a) & (x <= b)
        x = np.where(within, x, min(max(self.k, a), b))
        log_joint = self._prior.logpdf(x) + self._log_seen((x - self.k) / self.s)
        return np.where(within, np.exp(log_joint - math.log(self.s) - self.log_evidence), 0.0)

    def cdf(self, x):
        """P(X_0 <= x | k), of the shape of x."""
        u, rule = (np.asarray(x, float) - self.k) / self.s, self._rule
        u = np.clip(u, rule.begin[0], rule.end[-1])
        j = np.searchsorted(rule.begin[1:], u, "right")
        before = np.append(0.0, np.cumsum(rule.mass))[j]
        part = np.exp(self._log_joint(points_of(rule.begin[j].ravel(), u.ravel())) - rule.peak) @ WEIGHTS
        return np.clip((before + part.reshape(u.shape) * (u - rule.begin[j]) / 2.0) / rule.mass.sum(), 0.0, 1.0)

    @property
    def gaussian(self):
        """The Gaussian of the same mean and variance, a distribution of scipy.stats."""
        import scipy.stats

        return scipy.stats.norm(self.mean, self.variance**0.5)

    @property
    def kl(self) -> float:
        """KL(p(. | k), its Gaussian) = int p log(p / g), in nats.

        As int p (r - 1 + e^-r) with r = log(p / g), whose integrand is never negative: a KL of 1e-20 has digits.
        """
        from scipy.special import ndtr

        rule, (mean, variance) = self._rule, self._moments
        log_p = rule.values - rule.peak - math.log(rule.mass.sum())
        log_g = -0.5 * ((rule.points - mean) ** 2 / variance + math.log(2.0 * math.pi * variance))
        p, r = np.exp(log_p), np.where(log_p > -math.inf, log_p - log_g, -math.inf)
        plain = float((rule.probabilities * np.where(p > 0.0, r, 0.0)).sum())
        if plain > 1e-4:
            return plain
        fair = np.abs(r) < 30.0
        e = np.where(fair, r, 0.0)
        far = np.exp(log_g) + p * np.where(p > 0.0, r - 1.0, 0.0)
        integrand = np.where(fair, p * _excess(e), far)
        outside = ndtr((rule.begin[0] - mean) / variance**0.5) + ndtr((mean - rule.end[-1]) / variance**0.5)
        return float((integrand @ WEIGHTS * rule.half).sum() + outside)

    def tweedie(self) -> tuple[float, float]:
        """(k + s^2 (log q)'(k), s^2 (1 + s^2 (log q)''(k))): mean and variance of X_0 from the density of X_1 alone.

        The derivatives are differences of q at 17 places k + i s/8, of order 16; errors are about 1e-12 s and
        1e-11 s^2. Raises ValueError for a slice: Tweedie's formula is about a single k.

        >>> import scipy.stats
        >>> seen = Posterior(scipy.stats.beta(2, 7), s=0.2, k=0.3)
        >>> mean, variance = seen.tweedie()
        >>> abs(mean - seen.mean) < 1e-11, abs(variance - seen.variance) < 1e-11
        (True, True)
        """
        if self.width:
            raise ValueError(f"Tweedie's formula is about a single k, but this law is of a slice of width "
                             f"{self.width:g}; use Posterior(prior, s, k)")
        i = np.arange(-RADIUS, RADIUS + 1)
        log_q = np.array([Posterior(self._prior, self.s, self.k + self.s * STEP * j).log_evidence for j in i])
        # divided by e^(tilt v), so that far out in a tail there is still something to differentiate
        tilt = (log_q[RADIUS + 1] - log_q[RADIUS - 1]) / (2 * STEP)
        q = np.exp(log_q - log_q[RADIUS] - tilt * STEP * i)
        j, c = np.arange(1, RADIUS + 1), _central_weights()
        rise = float((c * (q[RADIUS + j] - q[RADIUS - j])).sum() / STEP)
        bend = float((2 * c / j * ((q[RADIUS + j] - 1.0) + (q[RADIUS - j] - 1.0))).sum() / STEP**2)
        return self.k + self.s * (float(tilt) + rise), self.s**2 * (1.0 + bend - rise**2)


@dataclass(frozen=True)
class Weighted:
    """The law of X_0 given k where the prior is a set of samples: x, each with its probability p.

    evidence, stderr  q(k) as estimated from the samples, and its standard error
    """

    x: np.ndarray
    p: np.ndarray
    evidence: float
    stderr: float

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

    Raises ValueError for samples that are not finite numbers (n,), and for s <= 0.

    >>> law = weigh(np.linspace(0.0, 1.0, 1001), s=0.1, k=0.5)
    >>> round(law.mean, 12), round(law.variance**0.5, 4)
    (0.5, 0.1)
    """
    x = np.array(samples, float)
    if x.ndim != 1 or not len(x) or not np.isfinite(x).all():
        raise ValueError(f"samples must be finite numbers of shape (n,), got shape {x.shape}")
    checked("s", s, "> 0", lambda s: s > 0)
    checked("k", k, "", lambda k: True)
    log_phi = -0.5 * ((x - k) / s) ** 2
    phi, scale = np.exp(log_phi - log_phi.max()), math.exp(log_phi.max()) / (s * math.sqrt(2.0 * math.pi))
    return Weighted(x, phi / phi.sum(), float(scale * phi.mean()), float(scale * phi.std() / len(x) ** 0.5))


def checked(name: str, value, allowed: str, good: Callable) -> None:
    """Raise ValueError unless the value is a finite number that is `good`."""
    if not isinstance(value, Real) or isinstance(value, bool) or not math.isfinite(value) or not good(value):
        raise ValueError(f"{name} must be a finite number{' ' * bool(allowed)}{allowed}, got {value!r}")


def _excess(r: np.ndarray) -> np.ndarray:
    """r - 1 + e^-r >= 0, by its series near 0, where the terms cancel."""
    e = np.clip(r, -0.01, 0.01)
    series = e**2 / 2 * (1 - e / 3 * (1 - e / 4 * (1 - e / 5 * (1 - e / 6))))
    return np.where(e == r, series, r + np.expm1(-r))


def _central_weights() -> np.ndarray:
    """c_j of f'(0) h = sum_j c_j (f(j h) - f(-j h)), j = 1 to RADIUS: c_j = (-1)^{j+1} R!^2 / (j (R-j)! (R+j)!).

    f''(0) h^2 = sum_j (2 c_j / j) (f(j h) - 2 f(0) + f(-j h)). Fornberg 1988.
    """
    R = math.factorial
    return np.array([(-1) ** (j + 1) * R(RADIUS) ** 2 / (j * R(RADIUS - j) * R(RADIUS + j))
                     for j in range(1, RADIUS + 1)])
