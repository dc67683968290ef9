"""Counts that jump: the Poisson process, and the length of a queue.

Both are drawn exactly at the times of the grid, whatever the steps: what happens between two times is a Poisson number
of events.
"""

import numpy as np

from sdekit import draws
from sdekit.markov import MarkovProcess
from sdekit.processes.check import positive


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
        return x0 + self.parameters["rate"] * t

    def variance(self, x0, t):
        """Var N(t) = rate t."""
        return self.parameters["rate"] * t

    def covariance(self, x0, s, t):
        """Cov(N(s), N(t)) = rate min(s, t)."""
        return self.variance(x0, np.minimum(s, t))

    def law(self, x0, t):
        """The law of N(t), a frozen scipy.stats.poisson."""
        from scipy.stats import poisson
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

        The sum over the number of events of uniformisation, sum_k Poisson(k; (lambda + mu) t) (p P^k)_n; time grows
        with the square of (lambda + mu) t. Raises ValueError for a length that is no whole number >= 0, and times < 0.
        """
        from scipy.stats import poisson
        if x0 < 0 or x0 != int(x0):
            raise ValueError(f"a queue's length is a whole number from 0 on, got {x0}")
        if not t >= 0:
            raise ValueError(f"t must be a time from 0 on, got {t}")
        arrivals, services = (float(self.parameters[name]) for name in ("arrivals", "services"))
        events, up = (arrivals + services) * t, arrivals / (arrivals + services)
        k = np.arange(int(events + 12 * events**0.5) + 40)  # what is beyond has less than 1e-20
        weights = poisson.pmf(k, events)
        p = np.zeros(int(x0) + len(k) + 1)
        p[int(x0)] = 1.0
        total = weights[0] * p
        for weight in weights[1:]:
            p = up * np.append(0.0, p[:-1]) + (1.0 - up) * np.append(p[0] + p[1], np.append(p[2:], 0.0))
            total += weight * p
        last = int(np.flatnonzero(total > 1e-17)[-1])
        return total[:last + 1] / total[:last + 1].sum()

    def mean(self, x0: int, t):
        """E of the length at time t, or at several times."""
        return self._moment(x0, t, lambda n, p: p @ n)

    def variance(self, x0: int, t):
        """Var of the length at time t, or at several times."""
        return self._moment(x0, t, lambda n, p: p @ (n - p @ n) ** 2)

    def stationary(self, most: int) -> np.ndarray:
        """The law that it tends to, P(n) = (1 - rho) rho^n for n = 0, ..., most. ValueError for rho >= 1."""
        rho = self.parameters["arrivals"] / self.parameters["services"]
        if not rho < 1:
            raise ValueError("a queue settles where fewer arrive than can be served, but arrivals / services = "
                             f"{rho:g}")
        return (1 - rho) * rho ** np.arange(most + 1)

    def _moment(self, x0, t, moment):
        def at(time):
            p = self.probabilities(x0, float(time))
            return moment(np.arange(len(p)), p)

        return at(t) if np.ndim(t) == 0 else np.array([at(time) for time in np.ravel(t)]).reshape(np.shape(t))
