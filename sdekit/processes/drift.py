"""The drift SDE of the courses, dX = a X dt + sigma dW: growth with noise on top."""

import numpy as np

from sdekit.processes.check import asked, positive
from sdekit.sde import SDE, numbers


def drift(x, t, a):
    return a * x


def diffusion(x, t, sigma):
    return sigma


def transition(x, t, h, z, a, sigma):
    return x * np.exp(a * h) + sigma * (np.expm1(2.0 * a * h) / (2.0 * a)) ** 0.5 * z


class LinearDrift(SDE):
    """dX = a X dt + sigma dW, a != 0: Gaussian at every time.

    >>> round(float(LinearDrift(a=0.1).mean(10.0, t=10.0)), 3)  # 10 e
    27.183
    """

    transition = staticmethod(transition)

    def __init__(self, a: float = 0.1, sigma: float = 1.0):
        super().__init__(drift, diffusion, a=a, sigma=sigma)
        positive(self, "sigma")
        if not np.all(numbers(self.parameters["a"])):
            raise ValueError("LinearDrift needs a != 0; for a = 0 use BrownianMotion(sigma=...)")

    def mean(self, x0, t):
        """E X(t) = x0 e^{a t}."""
        x0, t = asked(self, x0, t)
        return x0 * np.exp(self.parameters["a"] * t)

    def variance(self, x0, t):
        """Var X(t) = sigma^2 (e^{2 a t} - 1) / (2 a)."""
        x0, t = asked(self, x0, t)
        a, sigma = self.parameters["a"], self.parameters["sigma"]
        return sigma**2 * np.expm1(2 * a * t) / (2 * a)

    def covariance(self, x0, s, t):
        """Cov(X(s), X(t)) = e^{a |t - s|} Var X(min(s, t))."""
        x0, s, t = asked(self, x0, s, t)
        return np.exp(self.parameters["a"] * np.abs(np.subtract(t, s))) * self.variance(x0, np.minimum(s, t))

    def law(self, x0, t):
        """The law of X(t), a frozen scipy.stats.norm."""
        from scipy.stats import norm
        x0, t = asked(self, x0, t, spread=True)
        return norm(self.mean(x0, t), self.variance(x0, t) ** 0.5)
