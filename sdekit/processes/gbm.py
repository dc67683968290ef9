"""Geometric Brownian motion, dS = mu S dt + sigma S dW: the stock price of Black & Scholes 1973."""

import numpy as np

from sdekit.processes.check import asked, positive
from sdekit.sde import SDE


def drift(s, t, mu):
    return mu * s


def diffusion(s, t, sigma):
    return sigma * s


def transition(s, t, h, z, mu, sigma):
    return s * np.exp((mu - 0.5 * sigma**2) * h + sigma * h**0.5 * z)


class GeometricBrownianMotion(SDE):
    """dS = mu S dt + sigma S dW, with S(t) = S(0) exp((mu - sigma^2/2) t + sigma W(t)): lognormal.

    mu     rate of growth of the mean, per unit of time
    sigma  volatility, per square root of the unit of time

    >>> round(float(GeometricBrownianMotion(mu=0.05, sigma=0.2).mean(100.0, t=1.0)), 4)
    105.1271
    """

    transition = staticmethod(transition)
    transition_pathwise = True
    logarithmic = True

    def __init__(self, mu: float, sigma: float):
        super().__init__(drift, diffusion, mu=mu, sigma=sigma)
        positive(self, "sigma")

    def mean(self, s0, t):
        """E S(t) = S(0) e^{mu t}."""
        s0, t = asked(self, s0, t)
        return s0 * np.exp(self.parameters["mu"] * t)

    def variance(self, s0, t):
        """Var S(t) = S(0)^2 e^{2 mu t} (e^{sigma^2 t} - 1)."""
        return self.covariance(s0, t, t)

    def covariance(self, s0, s, t):
        """Cov(S(s), S(t)) = S(0)^2 e^{mu (s + t)} (e^{sigma^2 min(s, t)} - 1)."""
        s0, s, t = asked(self, s0, s, t)
        grown = np.expm1(self.parameters["sigma"] ** 2 * np.minimum(s, t))
        return self.mean(s0, s) * self.mean(s0, t) * grown

    def law(self, s0, t):
        """The law of S(t) for S(0) > 0, a frozen scipy.stats.lognorm."""
        from scipy.stats import lognorm
        s0, t = asked(self, s0, t, spread=True)
        if not np.all(np.greater(s0, 0.0)):
            raise ValueError(f"S(t) is lognormal for S(0) > 0, got {np.min(s0)}")
        mu, sigma = self.parameters["mu"], self.parameters["sigma"]
        return lognorm(sigma * np.sqrt(t), scale=s0 * np.exp((mu - sigma**2 / 2) * t))
