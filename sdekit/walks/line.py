"""Walks on the line in discrete time, each with its exact law after n moves.

    coin      X_{n+1} = X_n + 1 with probability p, else X_n - 1         X_n = x_0 + 2 B - n,  B ~ binomial(n, p)
    lazy      X_{n+1} = X_n + 1 or - 1, each with probability b/200      variance n b/100
    Gaussian  X_{n+1} = a X_n + s_n Z                                    N(a^n x_0, V_n),  V_{n+1} = a^2 V_n + s_n^2

    between   p(x_n | x_0, x_m) = p(x_n | x_0) p(x_m | x_n) / p(x_m | x_0)                       0 <= n <= m, Bayes

Time is the number of moves. Laws are accurate to about 1e-12 relative for n up to 10^5: binomials and trinomials by
ratios of neighbours from the middle outwards.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sdekit import draws
from sdekit.gaussian import Gaussian
from sdekit.interp import interp
from sdekit.markov import MarkovProcess
from sdekit.walks.finite import Finite
from sdekit.walks.moves import check_sites, counts, moves, ordered

NORMAL = "for so many, Gaussian(walk.mean(x0, n), walk.variance(x0, n)) is near, by the central limit theorem"


def coin(x, t, h, place, p):
    return x + np.where(draws.uniform(place, 0) < p, 1.0, -1.0)


class CoinWalk(MarkovProcess):
    """X_{n+1} = X_n + 1 with probability p, else X_n - 1: a coin is flipped for each move.

    p   probability of a move to the right, in [0, 1]

    >>> CoinWalk(0.25).law(0, 2).p                       # (1-p)^2, 2 p (1-p), p^2
    array([0.5625, 0.375 , 0.0625])
    """

    unit = 1.0

    def __init__(self, p: Any = 0.5):
        super().__init__(coin, p=_within("p", p, 0.0, 1.0))

    def law(self, x0: float, n: int) -> Finite:
        """X_n = x0 + 2 B - n, B ~ binomial(n, p): on the n + 1 sites of n's parity."""
        n, p = moves("n", n), _one(self, "p")
        check_sites(n, NORMAL)
        j, middle = np.arange(n), min(int((n + 1) * p), n)
        up = (n - j[middle:]) / (j[middle:] + 1.0) * (p / (1.0 - p) if middle < n else 0.0)
        down = (j[:middle] + 1.0) / (n - j[:middle]) * ((1.0 - p) / p if middle else 0.0)
        return Finite(x0 + 2.0 * np.arange(n + 1) - n, _from_ratios(down[::-1], up))

    def mean(self, x0, n):
        """E X_n = x0 + n (2p - 1); n a number or an array."""
        return x0 + counts("n", n) * (2.0 * self.parameters["p"] - 1.0)

    def variance(self, x0, n):
        """Var X_n = 4 n p (1 - p); n a number or an array."""
        p = self.parameters["p"]
        return 4.0 * counts("n", n) * p * (1.0 - p)

    def covariance(self, x0, m, n):
        """Cov(X_m, X_n) = Var X_min(m, n)."""
        return self.variance(x0, np.minimum(m, n))

    def between(self, x0: float, n: int, m: int, x_m: float) -> Finite:
        """X_n given X_0 = x0 and X_m = x_m: n of m flips, of which r went right: hypergeometric, whatever p is.

        Raises ValueError for an end that m flips cannot reach.
        """
        n, m = ordered(n, m)
        check_sites(n, NORMAL)
        p, right = _one(self, "p"), (x_m - x0 + m) / 2.0
        if p in (0.0, 1.0) and right != p * m:
            raise ValueError(f"{m} flips of a coin with p = {p:g} lead from {x0:g} to {x0 + (2.0 * p - 1.0) * m:g} for "
                             f"certain, and not to {x_m:g}")
        if not 0 <= right <= m or right != int(right):
            raise ValueError(f"{m} flips from {x0:g} cannot end at {x_m:g}; they reach {x0 - m:g}, {x0 - m + 2:g}, "
                             f"..., {x0 + m:g}")
        r = int(right)
        least, most = max(0, n + r - m), min(n, r)
        middle = min(max((n + 1) * (r + 1) // (m + 2), least), most)
        k = np.arange(least, most, dtype=float)
        ratio = (r - k) * (n - k) / ((k + 1.0) * (m - r - n + k + 1.0))
        j = middle - least
        return Finite(x0 + 2.0 * np.arange(least, most + 1) - n, _from_ratios(1.0 / ratio[:j][::-1], ratio[j:]))


def lazy(x, t, h, place, b):
    u = draws.uniform(place, 0)
    return x + np.where(u < b / 200.0, 1.0, np.where(u < b / 100.0, -1.0, 0.0))


class LazyWalk(MarkovProcess):
    """A grain that moves with probability b/100 each turn, left or right alike, and else stays.

    b   how Brownian it is, from 0 (it never moves) to 100 (it always does)

    >>> walk = LazyWalk(50)
    >>> walk.law(0, 1).p, float(walk.variance(0, 10))
    (array([0.25, 0.5 , 0.25]), 5.0)
    """

    unit = 1.0

    def __init__(self, b: Any = 50.0):
        super().__init__(lazy, b=_within("b", b, 0.0, 100.0))

    def law(self, x0: float, n: int) -> Finite:
        """The coefficients of (q + (1 - 2q) z + q z^2)^n, q = b/200, on the 2n + 1 sites x0 - n to x0 + n.

        They follow c_k k q = c_{k-1} (n + 1 - k) (1 - 2q) + c_{k-2} (2n + 2 - k) q (Euler), all terms positive for
        k <= n; the other half is the mirror image.
        """
        n, q = moves("n", n), _one(self, "b") / 200.0
        check_sites(n, NORMAL)
        x = x0 + np.arange(-n, n + 1.0)
        if not n or not q:
            return Finite(x, (np.arange(-n, n + 1) == 0).astype(float))
        ratio, ratios = math.inf, np.empty(n)  # c_k / c_{k-1}, k = 1 to n
        stay = (1.0 - 2.0 * q) / q
        if stay == 0.0:  # every second coefficient is 0: two coins
            coin_law = CoinWalk(0.5).law(x0, n)
            return Finite(x, coin_law.probability(x))
        for k in range(1, n + 1):
            ratio = ((n + 1 - k) * stay + (2 * n + 2 - k) / ratio) / k
            ratios[k - 1] = ratio
        outwards = 1.0 / ratios[::-1]
        return Finite(x, _from_ratios(outwards, outwards))

    def mean(self, x0, n):
        """E X_n = x0; n a number or an array."""
        return x0 + 0.0 * counts("n", n)

    def variance(self, x0, n):
        """Var X_n = n b / 100; n a number or an array."""
        return counts("n", n) * self.parameters["b"] / 100.0

    def covariance(self, x0, m, n):
        """Cov(X_m, X_n) = Var X_min(m, n)."""
        return self.variance(x0, np.minimum(m, n))


def gaussian(x, t, h, place, s, a):
    return a * x + s * draws.normal(place, 0)


class GaussianWalk(MarkovProcess):
    """X_{n+1} = a X_n + s_n Z, Z ~ N(0, 1).

    s   standard deviation of a step, > 0; or a schedule: an array with one for each step (after its end the last one
        goes on), or a function of the step's number n = 0, 1, ...
    a   what is kept of X in each step

    The variance-preserving walk of p is GaussianWalk(p**0.5, (1 - p)**0.5), the halving walk GaussianWalk(0.5**0.5,
    0.5**0.5): both tend to N(0, 1) from anywhere. With a = 1 the variance explodes, and a schedule sigma(t) has two
    meanings in the literature. Here it is the sd of step t, so that variances add up; in `GaussianWalk.marginal` it is
    the sd of X_t itself (Song et al. 2021, "VE"). A walk can be pickled if its schedule can.

    >>> GaussianWalk(2.0).law(30.0, 100)
    Gaussian(mean=array([30.]), cov=array([[400.]]))
    >>> vp = GaussianWalk(0.1, 0.99**0.5)
    >>> round(float(vp.mean(1.0, 100) / 0.99**50), 12), round(float(vp.variance(1.0, 10**5)), 12)
    (1.0, 1.0)
    """

    unit = 1.0
    jumps = False
    s: Any
    _schedule: Callable | None

    def __init__(self, s: Any = 1.0, a: float = 1.0):
        s, schedule = _schedule(s)
        vars(self).update(s=s, _schedule=schedule)
        if schedule is None:
            super().__init__(gaussian, s=s, a=a)
            return

        def scheduled(x, t, h, place, a):
            return a * x + schedule(t) * draws.normal(place, 0)

        super().__init__(scheduled, a=a)

    def __getstate__(self):
        return {"s": self.s, "a": self.parameters["a"]}

    def __setstate__(self, state) -> None:
        GaussianWalk.__init__(self, state["s"], state["a"])

    @classmethod
    def marginal(cls, sigma: Callable | Sequence[float]) -> "GaussianWalk":
        """X_{n+1} = X_n + (sigma(n+1)^2 - sigma(n)^2)^{1/2} Z, so that sigma(n) is the sd of X_n itself.

            X_0 ~ N(m, sigma(0)^2)    X_n ~ N(m, sigma(n)^2)
            X_0 = x0                  X_n ~ N(x0, sigma(n)^2 - sigma(0)^2), as `law` has it

        sigma   standard deviations >= 0 that do not fall: a function of n, or an array (N + 1,) for n = 0 to N (then
                the last step goes on)

        The two agree for sigma(0) = 0. For sigma(0) > 0, as in the VE models of the literature, sigma is the sd of X_n
        from a start that has it: `simulate(walk, Gaussian(m, sigma(0)**2), ...)`. Song et al. 2021, eq. 29.

        Its counterpart GaussianWalk(sigma) takes steps of sd sigma(n): N(x_0, sigma(0)^2 + ... + sigma(n-1)^2).

        >>> walk = GaussianWalk.marginal(np.sqrt)              # Brownian motion
        >>> walk.law(0.0, 9).cov, GaussianWalk(np.sqrt).law(0.0, 9).cov
        (array([[9.]]), array([[36.]]))
        >>> GaussianWalk.marginal([3.0, 5.0]).law(0.0, 1).cov            # 5^2 - 3^2
        array([[16.]])
        """
        if callable(sigma):
            return cls(Increments(sigma))
        values = _numbers("sigma", sigma)
        if len(values) < 2:
            raise ValueError(f"sigma must hold at least two numbers (N + 1,), got shape {values.shape}")
        falls = np.flatnonzero(np.diff(values) < 0)
        if len(falls):
            raise ValueError(f"a marginal sigma cannot fall, since steps add noise, but sigma[{falls[0]}] = "
                             f"{values[falls[0]]:g} is followed by {values[falls[0] + 1]:g}")
        return cls(np.sqrt(np.diff(values) * (values[1:] + values[:-1])))

    def law(self, x0: float, n: int) -> Gaussian:
        """X_n ~ N(a^n x0, V_n)."""
        n = moves("n", n)
        return Gaussian(self.mean(x0, n), self.variance(x0, n))

    def mean(self, x0, n):
        """E X_n = a^n x0; n a number or an array."""
        return x0 * self.parameters["a"] ** counts("n", n)

    def variance(self, x0, n):
        """V_n = s^2 (1 - a^{2n}) / (1 - a^2), or V_{n+1} = a^2 V_n + s_n^2 of a schedule; n a number or an array."""
        return self._spread(0, counts("n", n))

    def covariance(self, x0, m, n):
        """Cov(X_m, X_n) = a^{|m - n|} V_min(m, n)."""
        m, n = counts("m", m), counts("n", n)
        return self.parameters["a"] ** np.abs(m - n) * self.variance(x0, np.minimum(m, n))

    def between(self, x0: float, n: int, m: int, x_m: float) -> Gaussian:
        """X_n given X_0 = x0 and X_m = x_m, 0 <= n <= m, by Bayes' rule.

            N(a^n x0 + K (x_m - a^m x0), V_n V_{n,m} / V_m),    K = a^{m-n} V_n / V_m,  V_{n,m} = Var(X_m | X_n)

        With a = 1 and V_n = n: N(x0 + (n/m)(x_m - x0), n (m - n) / m), the bridge.

        >>> GaussianWalk().between(30.0, 100, 101, 10.0).mean.round(6)         # 30 + (100/101)(10 - 30)
        array([10.19802])
        """
        n, m = ordered(n, m)
        a, before, after = self.parameters["a"], self._spread(0, np.array(float(n))), self._spread(n, float(m - n))
        total = a ** (2.0 * (m - n)) * before + after
        if not total > 0:
            if x_m != self.mean(x0, m):
                raise ValueError(f"X_{m} is {self.mean(x0, m):g} for certain, which is not x_m = {x_m:g}")
            return Gaussian(self.mean(x0, n), before)
        return Gaussian(self.mean(x0, n) + a ** float(m - n) * before / total * (x_m - self.mean(x0, m)),
                        before * after / total)

    def _spread(self, start: int, n):
        """Var(X_{start + n} | X_start), of the shape of n."""
        a = self.parameters["a"]
        if self._schedule is None:
            s = self.parameters["s"]
            with np.errstate(divide="ignore", invalid="ignore"):
                log = 2.0 * np.log(np.abs(a))
                geometric = np.where(n == 0, 0.0, np.expm1(n * log) / np.expm1(log))
            return s**2 * np.where(np.abs(a) == 1.0, n, np.where(a == 0.0, np.minimum(n, 1.0), geometric))[()]
        check_sites(int(np.max(n)), "sum s_n^2 itself, where its sum is known")
        steps = np.arange(start, start + int(np.max(n)), dtype=float)
        with np.errstate(invalid="ignore"):
            s2 = np.broadcast_to(self._schedule(steps), steps.shape) ** 2
        if not np.isfinite(s2).all():
            raise ValueError(f"the schedule must give a finite number for each step, got {s2[~np.isfinite(s2)][0]} at "
                             f"step {steps[~np.isfinite(s2)][0]:g}; a marginal sigma must not fall")
        spreads = [0.0]
        for step in s2.tolist():
            spreads.append(a * a * spreads[-1] + step)
        return np.array(spreads)[np.asarray(n).astype(int)][()]


def _from_ratios(down: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Probabilities from the ratios of neighbours, p_{i-1}/p_i and p_{i+1}/p_i, from the likeliest outwards."""
    p = np.concatenate((np.cumprod(down)[::-1], [1.0], np.cumprod(up)))
    return p / p.sum()


@dataclass(frozen=True)
class Increments:
    """What the marginal sd sigma makes of step n: (sigma(n+1)^2 - sigma(n)^2)^{1/2}."""

    sigma: Callable

    def __call__(self, n):
        return self.function(n)

    @property
    def function(self) -> Callable:
        """The same as a plain function, which can be compiled."""
        sigma = self.sigma

        def step(n):
            before, after = sigma(n), sigma(n + 1.0)
            return np.sqrt((after - before) * (after + before))

        return step


def _schedule(s) -> tuple[Any, Callable | None]:
    """s, checked; and as a function of the step, None for a number."""
    if callable(s):
        return s, s.function if isinstance(s, Increments) else s
    if np.ndim(s):
        values = _numbers("s", s)
        return values, interp(np.arange(len(values)), values)
    if np.asarray(s).dtype.kind not in "iuf":
        raise TypeError(f"s must be a number, an array or a function of the step's number; got {s!r}")
    if not np.isfinite(s) or not s > 0:
        raise ValueError(f"s must be > 0 and finite, got {s!r}")
    return float(s), None


def _numbers(name: str, given) -> np.ndarray:
    """Standard deviations, one for each step."""
    values = np.asarray(given)
    if values.ndim != 1 or not len(values) or values.dtype.kind not in "iuf":
        raise ValueError(f"{name} must be a list of numbers, one for each step, or a function of its number; got "
                         f"{given!r}")
    values = values.astype(float)
    bad = ~((values >= 0) & np.isfinite(values))
    if bad.any():
        raise ValueError(f"standard deviations must be finite and at least 0, but {name} holds {values[bad][0]:g}")
    values.setflags(write=False)
    return values


def _one(walk: MarkovProcess, name: str) -> float:
    """A parameter, where it has to be one number."""
    value = walk.parameters[name]
    if np.ndim(value):
        raise ValueError(f"the parameter {name} of {walk!r} holds one number for each path, and a law is of one walk; "
                         f"ask {type(walk).__name__}({name}={value[0]:g}) for it")
    return value


def _within(name: str, value: Any, low: float, high: float) -> Any:
    if np.asarray(value).dtype.kind not in "iuf":
        raise TypeError(f"{name} must be a number between {low:g} and {high:g}, got {value!r}")
    if not (np.min(value) >= low and np.max(value) <= high):
        raise ValueError(f"{name} must be between {low:g} and {high:g}, got {value!r}")
    return value
