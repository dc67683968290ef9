"""Brownian motion with drift, dX = mu dt + sigma dW (Einstein 1905; Wiener 1923)."""

import numpy as np

from sdekit.processes.check import asked, positive
from sdekit.sde import SDE


def drift(x, t, mu):
    return mu


def diffusion(x, t, sigma):
    return sigma


def transition(x, t, h, z, mu, sigma):
    return x + mu * h + sigma * h**0.5 * z


class BrownianMotion(SDE):
    """dX = mu dt + sigma dW: X(t) ~ N(x0 + mu t, sigma^2 t), increments independent.

    >>> BrownianMotion().variance(0.0, 2.0)
    2.0
    """

    transition = staticmethod(transition)
    transition_pathwise = True

    def __init__(self, mu: float = 0.0, sigma: float = 1.0):
        super().__init__(drift, diffusion, mu=mu, sigma=sigma)
        positive(self, "sigma")

    def mean(self, x0, t):
        """E X(t) = x0 + mu t."""
        x0, t = asked(self, x0, t)
        return x0 + self.parameters["mu"] * t

    def variance(self, x0, t):
        """Var X(t) = sigma^2 t."""
        x0, t = asked(self, x0, t)
        return self.parameters["sigma"] ** 2 * t

    def covariance(self, x0, s, t):
        """Cov(X(s), X(t)) = sigma^2 min(s, t)."""
        x0, s, t = asked(self, x0, s, t)
        return self.variance(x0, np.minimum(s, t))

    def law(self, x0, t):
        """The law of X(t), a frozen scipy.stats.norm."""
        from scipy.stats import norm
        x0, t = asked(self, x0, t, spread=True)
        return norm(self.mean(x0, t), self.variance(x0, t) ** 0.5)
