"""The order of errors: p in |error| = C h^p, the slope of log |error| on log h, weights (error/stderr)^2.

The standard error of a slope is that of the jackknife over batches of paths (Efron & Tibshirani 1993, ch. 11), its
interval Student's. Which points a slope is drawn through is decided by the data, never by the claim:

    exact to rounding    every error is as small as rounding: there is no slope
    drowned              errors below SEEN standard errors do not count; of parts with one sign only the longest does
    pre-asymptotic       the coarsest is left out while a straight line is refuted (Hotelling's T^2, BENT) and 3 remain
    still bent           then the interval reaches to the finest two's slope, and to where halving h again would lead
    cannot tell          fewer than 3 points count, or the interval is wider than +-WIDEST
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sdekit.methods import Method, euler_maruyama

BATCHES = 20
SEEN = 3.0  # standard errors from which an error counts as seen
BENT = 0.01  # probability with which points on a straight line are called bent
WIDEST = 0.5


@dataclass(frozen=True)
class Order:
    """An order: what was claimed, and what was measured with its interval; NaN where `note` says why there is none.

    of     "strong", "rms", or what the expectation is of: "E X", "E X^2"
    steps  those whose errors count, by their numbers of steps
    """

    method: Method
    of: str
    claimed: float | None
    estimate: float = math.nan
    low: float = math.nan
    high: float = math.nan
    note: str = ""
    steps: tuple[int, ...] = ()

    @property
    def told(self) -> bool:
        """Whether there is an answer."""
        return math.isfinite(self.estimate)

    def __str__(self) -> str:
        measured = f"{self.estimate:.2f} [{self.low:.2f}, {self.high:.2f}]" if self.told else ""
        return ", ".join(filter(None, (measured, self.note)))


def strong_claim(method: Method, kind: str) -> float | None:
    """The strong order that a method claims for this kind of noise."""
    if kind == "additive" and method.additive is not None:
        return method.additive
    if kind != "general" and method.commutative is not None:
        return method.commutative
    return method.strong


def order(h, errors, floor: Any = 0.0, level: float = 0.95) -> Order:
    """The order of errors (step sizes, batches), each the mean of a batch, with or without a sign; h decreases.

    floor   (step sizes,): errors as small as this are rounding
    Returns an `Order` whose `steps` are the h that count.

    >>> h, noise = np.array([0.4, 0.2, 0.1]), np.random.default_rng(1).normal(size=(3, 20))
    >>> print(order(h, (h**1.5)[:, None] * (1 + 0.01 * noise)))
    1.50 [1.50, 1.50]
    """
    h, errors = np.asarray(h, float), np.asarray(errors, float)
    blank = Order(euler_maruyama, "", None)
    count = errors.shape[1]
    with np.errstate(over="ignore", invalid="ignore"):
        mean, stderr = errors.mean(axis=1), errors.std(axis=1, ddof=1) / count**0.5
    if (np.abs(mean) <= floor).all():
        return replace(blank, note="exact to rounding")
    use = _seen(mean, stderr, np.broadcast_to(floor, h.shape))
    few = min(3, len(h))
    if len(use) < few:
        if not np.isfinite(mean).all():
            return replace(blank, note="cannot tell: the states were not finite")
        if (np.abs(mean) <= np.maximum(floor, SEEN * stderr)).all():
            return replace(blank, note="cannot tell: Monte Carlo error exceeds the bias")
        return replace(blank, note=f"cannot tell: only {len(use)} of {len(h)} errors are clear of the Monte Carlo "
                                   "error and of one sign")
    while len(use) > 3 and _bent(h[use], errors[use]):
        use = use[1:]
    bent = len(use) == 3 and _bent(h[use], errors[use])
    left_out = (count * mean[use, None] - errors[use]) / (count - 1)  # means without one batch
    weights = (mean[use] / np.maximum(stderr[use], 1e-12 * np.abs(mean[use]))) ** 2
    slope, slopes = _slope(h[use], mean[use, None], weights)[0], _slope(h[use], left_out, weights)
    from scipy.special import stdtrit  # loaded where it is needed: it takes longer than all of sdekit
    half = stdtrit(count - 1, (1 + level) / 2) * ((count - 1) * slopes.var()) ** 0.5
    low, high, note = slope - half, slope + half, ""
    if half > WIDEST:
        return replace(blank, note=f"cannot tell: between {low:.1f} and {high:.1f}")
    if bent:
        coarse, fine = np.diff(np.log(np.abs(mean[use]))) / np.diff(np.log(h[use]))
        low, high = min(low, fine - half, 2 * fine - coarse), max(high, fine + half, 2 * fine - coarse)
        note = "still bent: take finer steps"
    return replace(blank, estimate=float(slope), low=float(low), high=float(high), note=note, steps=tuple(h[use]))


def _seen(mean, stderr, floor) -> np.ndarray:
    """The numbers of the points that count: the most neighbours of one sign, clear of noise and of rounding."""
    good = np.isfinite(mean) & (np.abs(mean) > np.maximum(floor, SEEN * stderr))
    signs = np.where(good, np.sign(mean), 0.0)
    parts = [part for part in np.split(np.arange(len(mean)), np.flatnonzero(np.diff(signs)) + 1) if good[part[0]]]
    return max(parts, key=lambda part: (len(part), part[0]), default=np.arange(0))


def _slope(h, errors, weights) -> np.ndarray:
    """Of errors (steps, n): n slopes of weighted least squares, log |error| on log h."""
    x, y = np.log(h), np.log(np.abs(errors))
    x = x - (weights * x).sum() / weights.sum()
    return (weights * x) @ y / (weights * x**2).sum()


def _bent(h, errors) -> bool:
    """Whether the points are on no straight line: T^2 of the K - 2 differences of neighbouring slopes."""
    count = errors.shape[1]
    mean = errors.mean(axis=1, keepdims=True)
    logs = np.log(np.abs(np.hstack([mean, (count * mean - errors) / (count - 1)])))
    bends = np.diff(np.diff(logs, axis=0) / np.diff(np.log(h))[:, None], axis=0)
    each = bends[:, 1:] - bends[:, 1:].mean(axis=1, keepdims=True)
    covariance = (count - 1) / count * each @ each.T
    p = len(bends)
    if not covariance.any():
        return bool(np.abs(bends[:, 0]).max() > 1e-9)
    squared = bends[:, 0] @ np.linalg.pinv(covariance) @ bends[:, 0]
    from scipy.special import fdtrc
    return bool(fdtrc(p, count - p, squared * (count - p) / (p * (count - 1))) < BENT)


def slopes(h, errors) -> Order:
    """The order of errors without noise."""
    blank, e = Order(euler_maruyama, "", None), np.abs(np.array(errors, float))
    use = e > 1e-10
    if not use.any():
        return replace(blank, note="exact to rounding")
    e, h = e[use], np.asarray(h, float)[use]
    if len(e) < 2 or not np.isfinite(e).all():
        return replace(blank, note="cannot tell")
    local = np.diff(np.log(e)) / np.diff(np.log(h))
    before, last = local[-2:] if len(local) > 1 else (local[-1], local[-1])
    ends = (last, 2 * last - before)
    return replace(blank, estimate=float(last), low=float(min(ends)), high=float(max(ends)))
