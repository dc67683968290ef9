"""A score with what it takes to mean something: its interval, n, its reference, its extractor, and its floor.

    low <= score at this n, of other samples of the same model against the same reference <= high, with 95%

Where a score is a smooth function T(P) of the samples' law P, its error is that of the mean of its influence,

    T(P_n) - T(P) ~ 1/n sum psi(x_i),   psi(x) = d/de T((1 - e) P + e delta_x) at e = 0,   stderr = std(psi) / sqrt(n),

the infinitesimal jackknife (Jaeckel 1972; Efron 1982, chapter 6). Shares of independent samples have Wilson's interval.
A floor is the same score of n real images: what is left of a perfect model, for a distance of finite sets is not 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import ndtri
from scipy.stats import binomtest

LEVEL = 0.95
WIDTH = float(ndtri((1 + LEVEL) / 2))  # half an interval in standard errors: 1.96


@dataclass(frozen=True, eq=False)
class Score:
    """One number about n samples; it is compared with, or subtracted from, one of the same kind alone.

    name        "fid", "kid", "inception", "precision", "recall", "copying", "accuracy"
    low, high   95% interval of the value at this n, the reference as it stands
    n           samples
    reference   what they were compared with, and how many; "" if nothing
    extractor   name and digest of what saw them
    floor       the same score of real images, or None

    `a < b` and `a - b` raise ValueError for scores of another name, reference or extractor.
    """

    name: str
    value: float
    low: float
    high: float
    n: int
    reference: str
    extractor: str
    floor: Score | None = None

    def __str__(self) -> str:
        return f"{self.name} {self.value:.4g} ({self.low:.4g} to {self.high:.4g})"

    def __sub__(self, other: Score) -> Score:
        """The difference, of independent samples: half widths add as squares do."""
        self._alike(other)
        value = self.value - other.value
        down = float(np.hypot(self.value - self.low, other.high - other.value))
        up = float(np.hypot(self.high - self.value, other.value - other.low))
        return replace(self, value=value, low=value - down, high=value + up, n=min(self.n, other.n), floor=None)

    def __lt__(self, other: Score) -> bool:
        self._alike(other)
        return self.value < other.value

    @property
    def floors(self) -> float:
        """The value in units of its floor."""
        if self.floor is None:
            raise ValueError(f"this {self.name} has no floor; one comes with evaluate(..., data=, held_out=)")
        return self.value / self.floor.value

    def over(self, floor: Score | None) -> Score:
        """The score with that floor."""
        if floor is not None:
            self._alike(floor, "name", "extractor")
        return replace(self, floor=floor)

    def as_dict(self) -> dict[str, Any]:
        """What JSON can hold of it."""
        told: dict[str, Any] = {k: getattr(self, k) for k in ("value", "low", "high", "n", "reference", "extractor")}
        return told | {"floor": self.floor.as_dict() if self.floor else None}

    def _alike(self, other: Score, *whats: str) -> None:
        for what in whats or ("name", "extractor", "reference"):
            mine, theirs = getattr(self, what), getattr(other, what)
            if mine != theirs:
                raise ValueError(f"scores of different {what}s do not compare: {mine!r} and {theirs!r}; measure both "
                                 "with one extractor against one reference")


def smooth(name: str, value: float, influence: np.ndarray, reference: str, extractor: str) -> Score:
    """The score whose samples have these influences, (n,)."""
    half = WIDTH * float(np.std(influence, ddof=1)) / len(influence) ** 0.5
    return Score(name, float(value), float(value - half), float(value + half), len(influence), reference, extractor)


def share(name: str, count: int, n: int, reference: str, extractor: str) -> Score:
    """count / n of independent samples, with Wilson's interval (1927)."""
    low, high = binomtest(int(count), int(n)).proportion_ci(LEVEL, method="wilson")
    return Score(name, count / n, float(low), float(high), int(n), reference, extractor)
