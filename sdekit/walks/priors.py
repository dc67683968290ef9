"""Laws of X_0 by their density: your own function, or a distribution of scipy.stats."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from sdekit.starts import is_family


@dataclass(frozen=True)
class Prior:
    """A prior by its density.

    pdf      a function of an array x, of integral 1 over the support
    support  (a, b), outside of which it is 0; infinite ends are allowed
    points   places in it where the density has narrow peaks, corners or jumps, as many as you like
    sampler  a function of uniforms that draws from it (see `sdekit.starts`), for experiments

    Raises ValueError if the density is negative, its integral is not 1 within 1e-6, or a point is not in the support;
    TypeError for fields of another kind.

    >>> Prior(lambda x: 2 * x, support=(0, 1), sampler=np.sqrt).support
    (0.0, 1.0)
    """

    pdf: Callable
    support: tuple[float, float] = (-math.inf, math.inf)
    points: tuple[float, ...] = ()
    sampler: Callable | None = None

    def __post_init__(self):
        if not callable(self.pdf):
            raise TypeError(f"pdf must be a function of x, got {self.pdf!r}")
        ends = _numbers("support", self.support)
        if len(ends) != 2 or not ends[0] < ends[1]:
            raise ValueError(f"support must be (a, b) with a < b, got {self.support}")
        a, b = ends
        points = _numbers("points", self.points)
        outside = [x for x in points if not (a <= x <= b and math.isfinite(x))]
        if outside:
            raise ValueError(f"points are places in the support ({a:g}, {b:g}), got {outside[0]:g}; leave it out, or "
                             "give a wider support")
        if self.sampler is not None and not callable(self.sampler):
            raise TypeError("sampler must be a function of uniforms, such as the inverse of the distribution function: "
                            f"sampler=np.sqrt for the density 2 x on (0, 1); got {self.sampler!r}")
        object.__setattr__(self, "support", (a, b))
        object.__setattr__(self, "points", points)
        total = self._integral()
        if not abs(total - 1.0) <= 1e-6:
            advice = "; divide it by that" if 0.0 < total < math.inf else ""
            raise ValueError(f"the prior's density must have integral 1, but over its support ({a:g}, {b:g}) it is "
                             f"{total:.6g}{advice}. If it has narrow peaks, name them: points=(...)")

    def _integral(self) -> float:
        from scipy.integrate import quad  # loaded where it is needed: it takes longer than all of sdekit

        a, b = self.support
        ends = [a, *sorted(x for x in self.points if a < x < b), b]
        if len(ends) == 2 and math.isinf(a) and math.isinf(b):
            ends = [a, 0.0, b]
        at = lambda x: float(np.exp(self.logpdf(np.array([x])))[0])
        return sum(quad(at, *piece, limit=200)[0] for piece in pairwise(ends))

    def logpdf(self, x):
        """log pdf(x), -inf where it is 0."""
        try:
            values = np.asarray(self.pdf(x), float)
        except (TypeError, ValueError) as error:
            raise TypeError(f"pdf must take an array x and give numbers, but of shape {np.shape(x)} it says: {error}; "
                            "write it with np.exp, np.where and the like") from error
        if not (values >= 0.0).all():
            wrong = np.broadcast_to(values, np.shape(x))
            raise ValueError(f"a density is at least 0, but pdf({np.asarray(x)[~(wrong >= 0)][0]:g}) = "
                             f"{wrong[~(wrong >= 0)][0]:g}")
        with np.errstate(divide="ignore"):
            return np.broadcast_to(np.log(values), np.shape(x))


@dataclass(frozen=True)
class Known:
    """What the integrals need of a prior."""

    logpdf: Callable
    support: tuple[float, float]
    points: tuple[float, ...]


def as_prior(given) -> Known:
    """A `Prior`, or a continuous distribution of scipy.stats, whose quantiles tell where it is narrow."""
    if isinstance(given, Known):
        return given
    if isinstance(given, Prior):
        return Known(given.logpdf, given.support, tuple(given.points))
    if is_family(given):
        name = given.__name__ if isinstance(given, type) else given.name
        raise TypeError(f"the prior is a family of laws, {name}, without its parameters; give one law of it: "
                        f"{name}(...), such as norm(0.0, 1.0) or beta(2, 7)")
    if not all(hasattr(given, name) for name in ("pdf", "logpdf", "support")):
        raise TypeError("the prior must be a continuous distribution of scipy.stats, such as beta(2, 7), or a "
                        f"Prior(pdf, support=(a, b)); got {given!r}. For samples of it use weigh(samples, s, k)")
    a, b = (float(end) for end in given.support())
    inverse = getattr(given, "ppf", None) or given.icdf
    quantiles = inverse(np.array([1e-9, 1e-3, 0.02, 0.16, 0.5, 0.84, 0.98, 1 - 1e-3, 1 - 1e-9]))
    return Known(given.logpdf, (a, b), tuple(quantiles[np.isfinite(quantiles)].tolist()))


def _numbers(name: str, given) -> tuple[float, ...]:
    try:
        return tuple(float(x) for x in given)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a tuple of numbers, got {given!r}") from None
