"""Integrals of a density that is known by its logarithm, as narrow as it may be: Gauss-Legendre rules on panels.

    int f(u) du = sum over panels of half sum_i w_i f(u_i),    u_i = middle + half y_i

y_i, w_i the points and weights of [-1, 1]. A panel is halved as long as the integrals of f, u f and f log f over it
differ from those over its halves; panels that f's peak lies in are halved until they are as narrow as it is.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import exp, inf

import numpy as np

POINTS, WEIGHTS = np.polynomial.legendre.leggauss(20)
EPS = float(np.finfo(float).eps)


@dataclass(frozen=True)
class Panels:
    """Panels (m,) from begin to end, log f at their points (m, n), and its largest value."""

    begin: np.ndarray
    end: np.ndarray
    values: np.ndarray
    peak: float

    @property
    def points(self) -> np.ndarray:
        return points_of(self.begin, self.end)

    @property
    def half(self) -> np.ndarray:
        return (self.end - self.begin) / 2.0

    @cached_property
    def mass(self) -> np.ndarray:
        """int f / e^peak over each panel, (m,)."""
        return np.exp(self.values - self.peak) @ WEIGHTS * self.half

    @cached_property
    def probabilities(self) -> np.ndarray:
        """What each point weighs, (m, n), of sum 1."""
        w = np.exp(self.values - self.peak) * WEIGHTS * self.half[:, None]
        return w / w.sum()


def points_of(begin: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The rule's points between begin and end (m,), shape (m, n)."""
    return (begin + end)[:, None] / 2.0 + (end - begin)[:, None] / 2.0 * POINTS


def panels(log_f: Callable, edges: np.ndarray, spacing: float) -> Panels:
    """Panels between the edges, halved until int f, int u f and int f log f over each do not change.

    spacing   panels as narrow as a few of these are left as they are
    """
    begin, end = edges[:-1], edges[1:]
    values, done, finished, peak = log_f(points_of(begin, end)), [], 0.0, -inf
    while len(begin):
        middle = (begin + end) / 2.0
        left, right = log_f(points_of(begin, middle)), log_f(points_of(middle, end))
        higher = max(peak, values.max(), left.max(), right.max())
        finished, peak = finished * exp(peak - higher) if done else 0.0, higher
        f, g, h = (np.exp(v - peak) for v in (values, left, right))
        entropies = [_f_log_f(v - peak) @ WEIGHTS for v in (values, left, right)]
        half = (end - begin) / 2.0
        mass = (g + h) @ WEIGHTS / 2.0
        lever = (g @ ((POINTS - 1.0) * WEIGHTS) + h @ ((POINTS + 1.0) * WEIGHTS)) / 4.0
        error = np.maximum(np.abs(f @ WEIGHTS - mass), np.abs(f @ (POINTS * WEIGHTS) - lever))
        error = np.maximum(error, np.abs(entropies[0] - (entropies[1] + entropies[2]) / 2.0)) * half
        tolerance = EPS * (64.0 + 4.0 * abs(peak))  # exp(-peak) brings the rounding of the exponent
        bad = (error > tolerance * (finished + (mass * half).sum())) & (half > 8.0 * spacing)
        good = ~bad
        finished += (mass * half)[good].sum()
        done += [(begin[good], middle[good], left[good]), (middle[good], end[good], right[good])]
        values = np.concatenate((left[bad], right[bad]))
        begin, end = np.concatenate((begin[bad], middle[bad])), np.concatenate((middle[bad], end[bad]))
    begin, end, values = (np.concatenate(parts) for parts in zip(*done))
    order = np.argsort(begin)
    return Panels(begin[order], end[order], values[order], peak)


def _f_log_f(log_f: np.ndarray) -> np.ndarray:
    return np.exp(log_f) * np.maximum(log_f, -1e3)  # 0 where f is
