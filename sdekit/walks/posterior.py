"""Where did it come from? The law of X_0 where X_1 = X_0 + s Z was seen at k, Z ~ N(0, 1) and X_0 of any density p.

    p(x | k) = p(x) phi_s(k - x) / q(k),    q(k) = int p(x) phi_s(k - x) dx, the density of X_1
    E[X_0 | k]         = k + s^2 (log q)'(k)          Tweedie's formula: Robbins 1956; Efron 2011, eq. 2.8
    Var[X_0 | k] / s^2 = 1 + s^2 (log q)''(k)

For every s; so that for small s, where q is smooth and positive near k, the law is Gaussian of variance s^2 whatever
the prior. What is left is its skewness s^3 (log q)''': KL(law, Gaussian) = s^6 ((log q)'''(k))^2 / 12 + ..., a 64th for
each halving of s. At an edge of the prior q is not smooth on the scale s, and none of this holds.

Integrals are taken in v = (x - c) / s, c the point of the support next to k, by Gauss-Legendre rules on panels that
are halved until nothing changes. With d = (c - k) / s, phi(v + d) = phi(d) e^{-v (v + 2 d) / 2}: however far k lies
from the support, d^2 / 2 is in the logarithm of q alone, and takes no digits from the law.
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
BLURRED = 1e-3  # a log density that is rounded to this leaves no law
TINY = -690.0  # log of what next to no float64 is


@dataclass(frozen=True)
class Posterior:
    """The law of X_0 given that X_1 = X_0 + s Z was seen at k, or within width/2 of it.

        p(x | k) = p(x) phi_s(k - x) / q(k);  with a width, phi_s and q are means over [k - width/2, k + width/2]

    prior  the law of X_0: a continuous distribution of scipy.stats, such as beta(2, 7), or a `Prior`
    s      standard deviation of the noise, > 0
    k      where X_1 was seen
    width  of the slice around k; 0 for k itself

    Raises TypeError for a prior without a density, ValueError for s <= 0, a negative width, and a k where X_1 has no
    density, or next to none. Relative errors are about 1e-14; 1e-8 where the prior is infinite at an edge, and
    1e-15 |log p| where k leads so far out that the prior's own logarithm is large.

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

    @property
    def _centre(self) -> float:
        """c, where v = (x - c) / s is 0."""
        return min(max(self.k, self._prior.support[0]), self._prior.support[1])

    @property
    def _off(self) -> float:
        """d = (c - k) / s: 0 for a k in the support."""
        return (self._centre - self.k) / self.s

    @property
    def _half(self) -> float:
        """Half the width of the slice, in units of s."""
        return self.width / (2.0 * self.s)

    @property
    def _gap(self) -> float:
        """How far the support is from k, or from the slice, in units of s; e^{-gap^2/2} is left out of `_log_seen`."""
        return max(abs(self._off) - self._half, 0.0)

    @cached_property
    def _rule(self) -> Panels:
        """The panels and, at their points, the logarithm of the joint density of x and k, without e^{-gap^2/2}."""
        return panels(self._log_joint, *self._window())

    def _log_joint(self, v: np.ndarray) -> np.ndarray:
        c, (a, b) = self._centre, self._prior.support
        inside = [np.spacing(max(abs(end), abs(c))) if math.isfinite(end) else 0.0 for end in (a, b)]
        x = np.clip(c + self.s * v, a + inside[0], b - inside[1])  # a density may be infinite at the edge itself
        return self._prior.logpdf(x) + self._log_seen(v)

    def _log_seen(self, v: np.ndarray) -> np.ndarray:
        """log phi(v + d), or of its mean over the slice, as wide as `half` on either side; plus gap^2/2."""
        half, d = self._half, self._off
        if not half:
            return -0.5 * (v * (v + 2.0 * d) + math.log(2.0 * math.pi))
        from scipy.special import erfcx, log_ndtr  # loaded where needed: they take longer than all of sdekit

        if not self._gap:
            near, far = log_ndtr(half - np.abs(v + d)), log_ndtr(-half - np.abs(v + d))
            return near + np.log(-np.expm1(far - near)) - math.log(2.0 * half)
        # Phi(-y) = e^{-y^2/2} erfcx(y / 2^{1/2}) / 2, y from the near and from the far end of the slice
        y = self._gap + np.abs(v)
        near, far = (erfcx(end / math.sqrt(2.0)) for end in (y, y + 2.0 * half))
        rest = near - far * np.exp(-2.0 * half * (y + half))
        return np.log(rest / (4.0 * half)) - 0.5 * np.abs(v) * (y + self._gap)

    def _window(self) -> tuple[np.ndarray, float]:
        """The first edges of panels, around all that matters of the law, and the spacing of numbers there."""
        c, half = self._centre, self._half
        low, high = ((end - c) / self.s for end in self._prior.support)
        reach = (max(low, -half - REACH), min(high, half + REACH))
        offsets = half + np.array([-8.0, -4.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0, 8.0])
        places = [0.0, *offsets, *-offsets, *((np.array(self._prior.points) - c) / self.s)]
        places = np.array([v for v in places if low < v < high])
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
        spacing = max(EPS * abs(c) / self.s, 1e-300)
        return self._closer(edges, spacing), spacing

    def _closer(self, edges: np.ndarray, spacing: float) -> np.ndarray:
        """More edges, where from one point between them to the next the law falls so far that it may hide there."""
        for _ in range(60):
            v = points_of(edges[:-1], edges[1:]).ravel()
            log_joint = self._log_joint(v)
            top = int(log_joint.argmax())
            high, low = np.maximum(log_joint[1:], log_joint[:-1]), np.minimum(log_joint[1:], log_joint[:-1])
            falls = (high > log_joint[top] - FAR / 2.0) & (low < high - 8.0) & (np.diff(v) > 8.0 * spacing)
            falls = np.flatnonzero(falls)
            if not len(falls):
                break
            edges = np.unique([*edges, *v[falls], *v[falls + 1]])
        log_prior = float(self._prior.logpdf(self._centre + self.s * v[top:top + 1])[0])
        if EPS * abs(log_prior) > BLURRED:
            raise ValueError(f"X_1 = {self.k:g} leads so far out that the prior's log density there, {log_prior:.3g}, "
                             f"is known to {EPS * abs(log_prior):.2g} only, and no law is left; take k nearer to the "
                             "prior, or a larger s")
        if log_prior < TINY and np.isneginf(log_joint).any():
            raise ValueError(f"X_1 = {self.k:g} leads to where the prior's density ends in rounding, below 1e-300; "
                             "give a distribution of scipy.stats that knows its logpdf, or take k nearer to the prior")
        return edges

    @property
    def _log_mass(self) -> float:
        """log q(k) + gap^2/2."""
        return float(self._rule.peak + math.log(self._rule.mass.sum()))

    @property
    def log_evidence(self) -> float:
        """log q(k)."""
        return self._log_mass - 0.5 * self._gap**2

    @property
    def evidence(self) -> float:
        """q(k), the density of X_1 at k; with a width its mean over the slice."""
        return math.exp(self.log_evidence)

    @cached_property
    def _moments(self) -> tuple[float, float]:
        """Mean and variance of (X_0 - c) / s."""
        v, p = self._rule.points, self._rule.probabilities
        mean = float((p * v).sum())
        return mean, float((p * (v - mean) ** 2).sum())

    @property
    def mean(self) -> float:
        """E[X_0 | k]."""
        return self._centre + self.s * self._moments[0]

    @property
    def variance(self) -> float:
        """Var[X_0 | k]."""
        return self.s**2 * self._moments[1]

    def pdf(self, x):
        """p(x | k), of the shape of x; 0 outside the prior's support."""
        x = np.asarray(x, float)
        a, b = self._prior.support
        within = (x >= a) & (x <= b)
        x = np.where(within, x, self._centre)
        log_joint = self._prior.logpdf(x) + self._log_seen((x - self._centre) / self.s)
        return np.where(within, np.exp(log_joint - math.log(self.s) - self._log_mass), 0.0)

    def cdf(self, x):
        """P(X_0 <= x | k), of the shape of x."""
        v, rule = (np.asarray(x, float) - self._centre) / self.s, self._rule
        v = np.clip(v, rule.begin[0], rule.end[-1])
        j = np.searchsorted(rule.begin[1:], v, "right")
        before = np.append(0.0, np.cumsum(rule.mass))[j]
        part = np.exp(self._log_joint(points_of(rule.begin[j].ravel(), v.ravel())) - rule.peak) @ WEIGHTS
        return np.clip((before + part.reshape(v.shape) * (v - rule.begin[j]) / 2.0) / rule.mass.sum(), 0.0, 1.0)

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
