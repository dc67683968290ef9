"""Counts that jump: the Poisson process, and the length of a queue.

Both are drawn exactly at the times of the grid, whatever the steps: what happens between two times is a Poisson number
of events.
"""

import math
from collections.abc import Callable
from numbers import Real

import numpy as np

from sdekit import draws
from sdekit.markov import MarkovProcess
from sdekit.noise import whole
from sdekit.processes.check import asked, positive

LENGTHS = 2**22  # of a queue, in its law


def _count(x, t, h, place, rate):
    return x + draws.poisson(place, rate * h, 0)


class PoissonProcess(MarkovProcess):
    """N(t) counts events that come independently at a constant rate: N(t) - N(s) ~ Poisson(rate (t - s)).

    rate   events per unit of time, > 0

    >>> import sdekit as sk
    >>> clicks = PoissonProcess(rate=3.0)
    >>> clicks.mean(0.0, 2.0), round(float(clicks.law(0, 2.0).pmf(6)), 6)
    (6.0, 0.160623)
    >>> bool((np.diff(sk.simulate(clicks, 0.0, t=2.0, steps=8, paths=5, seed=1).x) >= 0.0).all())
    True
    """

    domain = ((0.0, np.inf),)

    def __init__(self, rate: float):
        super().__init__(_count, rate=rate)
        positive(self, "rate")

    def mean(self, x0, t):
        """E N(t) = x0 + rate t."""
        x0, t = asked(self, x0, t)
        return x0 + self.parameters["rate"] * t

    def variance(self, x0, t):
        """Var N(t) = rate t."""
        x0, t = asked(self, x0, t)
        return self.parameters["rate"] * t

    def covariance(self, x0, s, t):
        """Cov(N(s), N(t)) = rate min(s, t)."""
        x0, s, t = asked(self, x0, s, t)
        return self.variance(x0, np.minimum(s, t))

    def law(self, x0, t):
        """The law of N(t), a frozen scipy.stats.poisson."""
        from scipy.stats import poisson
        x0, t = asked(self, x0, t)
        return poisson(self.parameters["rate"] * t, loc=x0)


def _queue(x, t, h, place, arrivals, services):
    # Uniformisation: Poisson((lambda + mu) h) events, each an arrival or the end of a service, if anyone is served
    share = arrivals / (arrivals + services)
    n = draws.poisson(place, (arrivals + services) * h, 0)
    k = 0
    going = n > k
    while np.any(going):
        move = np.where(draws.uniform(place, k) < share, 1.0, -1.0)
        x = np.where(going, np.maximum(x + move, 0.0), x)
        k = k + 1
        going = n > k
    return x


class Queue(MarkovProcess):
    """The length of an M/M/1 queue: arrivals at a constant rate, one server with exponential times of service.

    arrivals   lambda, customers per unit of time, > 0
    services   mu, what the server could do in a unit of time, > 0

    n -> n + 1 at the rate lambda, n -> n - 1 at the rate mu for n > 0. For rho = lambda / mu < 1 it tends to the
    geometric law P(n) = (1 - rho) rho^n; else it grows without end. Cost: about (lambda + mu) h draws a step.

    >>> queue = Queue(arrivals=1.0, services=2.0)
    >>> queue.stationary(3)
    array([0.5   , 0.25  , 0.125 , 0.0625])
    >>> bool(abs(queue.probabilities(0, 50.0)[:4] - queue.stationary(3)).max() < 1e-3)
    True
    """

    domain = ((0.0, np.inf),)
    counts = True

    def __init__(self, arrivals: float, services: float):
        super().__init__(_queue, arrivals=arrivals, services=services)
        positive(self, "arrivals", "services")

    def probabilities(self, x0: int, t: float) -> np.ndarray:
        """P(n customers at time t | x0 at 0) for n = 0, 1, ..., as far as there are any beyond 1e-16: their sum is 1.

        With Y the arrivals less the services that there could be in the time t (Morse 1955; Takacs 1962, section 1.2)

            P(n) = P(Y = n - x0) + rho^n P(Y = -n - x0 - 1) + (1 - rho) rho^n P(Y < -n - x0 - 1)

        Once it cannot be told from the stationary law, to 1e-20, it is that. Errors of 1e-16, of each and of sums of
        them; work and memory grow with the square root of (lambda + mu) t, and with the length itself. Raises TypeError
        or ValueError for a length that is no whole number >= 0, for a time that is not one number >= 0, and for laws of
        more than 4 million lengths.
        """
        if not isinstance(x0, Real) or not 0 <= x0 < np.inf or x0 != int(x0):
            raise ValueError(f"a queue's length is a whole number from 0 on, got {x0}")
        i, t = int(x0), asked(self, x0, t)[1]
        lam, mu = self._rates()
        if np.ndim(t):
            raise TypeError(f"probabilities takes one time, got {np.shape(t)} of them")
        rho, up, down = lam / mu, lam * t, mu * t
        reach = 12.0 * (up + down) ** 0.5 + 40.0  # beyond it Y has less than 1e-20
        decade = 46.0 / -math.log(rho) if rho < 1.0 else math.inf  # rho^n is below 1e-20
        # The distance from the stationary law is below e^{-gap t} P_stationary(x0)^{-1/2} (Diaconis & Stroock 1991)
        if rho < 1.0 and (lam**0.5 - mu**0.5) ** 2 * t > 46.0 - 0.5 * (math.log1p(-rho) + i * math.log(rho)):
            return self.stationary(self._most(decade))
        first = max(0, math.floor(i + up - down - reach))
        last = self._most(max(i + up - down + reach, min(decade, down - up + reach - i), i))
        self._most(2.0 * reach)
        walk, below = _walk(up, down, reach)
        n = np.arange(first, last + 1)
        if rho > 1.0:  # rho^n P(Y = -m) = rho^{n - m} P(Y = m), summed up from above
            from scipy.signal import lfilter
            mirror = rho ** -(i + 1.0) * walk(n + i + 1)
            rest = np.flip(lfilter([0.0, 1.0 / rho], [1.0, -1.0 / rho], np.flip(mirror)))
        else:
            mirror, rest = rho**n * walk(-n - i - 1), rho**n * below(-n - i - 1)
        p = np.zeros(last + 1)
        p[first:] = np.maximum(walk(n - i) + mirror + (1.0 - rho) * rest, 0.0)
        return p[:np.flatnonzero(p > 1e-16)[-1] + 1] / p[p > 1e-16].sum()

    def mean(self, x0: int, t):
        """E of the length at time t, or at several times."""
        return self._moment(x0, t, lambda n, p: p @ n)

    def variance(self, x0: int, t):
        """Var of the length at time t, or at several times."""
        return self._moment(x0, t, lambda n, p: p @ (n - p @ n) ** 2)

    def stationary(self, most: int) -> np.ndarray:
        """The law that it tends to, P(n) = (1 - rho) rho^n for n = 0, ..., most. ValueError for rho >= 1."""
        most = whole("most", most, LENGTHS)
        lam, mu = self._rates()
        if not lam < mu:
            raise ValueError("a queue settles where fewer arrive than can be served, but arrivals / services = "
                             f"{lam / mu:g}")
        return (1 - lam / mu) * (lam / mu) ** np.arange(most + 1)

    def _rates(self) -> tuple[float, float]:
        lam, mu = (self.parameters[name] for name in ("arrivals", "services"))
        if np.ndim(lam) or np.ndim(mu):
            raise ValueError(f"the law is that of one queue, and {self!r} has rates for each path; make a Queue of two "
                             "numbers")
        return float(lam), float(mu)

    def _most(self, n: float) -> int:
        if not n < LENGTHS:
            raise ValueError(f"the law of {self!r} would have {n:.3g} lengths to tell, and {LENGTHS:,} are the most; "
                             "take an earlier time or a shorter queue")
        return math.ceil(n)

    def _moment(self, x0, t, moment):
        def at(time):
            p = self.probabilities(x0, float(time))
            return moment(np.arange(len(p)), p)

        return at(t) if np.ndim(t) == 0 else np.array([at(time) for time in np.ravel(t)]).reshape(np.shape(t))


def _walk(up: float, down: float, reach: float) -> tuple[Callable, Callable]:
    """m -> P(Y = m) and m -> P(Y < m) of the difference of two Poisson numbers of the means up and down, by the
    Fourier transform of E e^{i theta (Y - c)}, c the whole number next to the mean."""
    half, c = 2 ** math.ceil(math.log2(reach)), round(up - down)
    theta = np.pi / half * np.arange(half + 1)
    swing = (up - down) * (np.sin(theta) - theta) + (up - down - c) * theta
    p = np.fft.fftshift(np.fft.irfft(np.exp(-2.0 * (up + down) * np.sin(0.5 * theta) ** 2 - 1j * swing), 2 * half))
    sums = np.append(0.0, np.cumsum(p))

    def walk(m):
        place = m - c + half
        return np.where((place >= 0) & (place < 2 * half), p[np.clip(place, 0, 2 * half - 1)], 0.0)

    return walk, lambda m: sums[np.clip(m - c + half, 0, 2 * half)]
