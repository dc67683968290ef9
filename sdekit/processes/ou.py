"""The Ornstein-Uhlenbeck process, dX = kappa (theta - X) dt + sigma dW (Uhlenbeck & Ornstein 1930)."""

import numpy as np

from sdekit.processes.check import asked, positive
from sdekit.sde import SDE


def drift(x, t, kappa, theta):
    return kappa * (theta - x)


def diffusion(x, t, sigma):
    return sigma


def transition(x, t, h, z, kappa, theta, sigma):
    spread = sigma * (-np.expm1(-2.0 * kappa * h) / (2.0 * kappa)) ** 0.5
    return theta + (x - theta) * np.exp(-kappa * h) + spread * z


class OrnsteinUhlenbeck(SDE):
    """dX = kappa (theta - X) dt + sigma dW: drawn back to theta at the rate kappa; Gaussian at every time.

    >>> float(OrnsteinUhlenbeck(kappa=2.0, theta=1.0, sigma=0.5).mean(1.0, t=3.0))
    1.0
    """

    transition = staticmethod(transition)

    def __init__(self, kappa: float, theta: float = 0.0, sigma: float = 1.0):
        super().__init__(drift, diffusion, kappa=kappa, theta=theta, sigma=sigma)
        positive(self, "kappa", "sigma")

    def mean(self, x0, t):
        """E X(t) = x0 e^{-kappa t} + theta (1 - e^{-kappa t})."""
        x0, t = asked(self, x0, t)
        past = -self.parameters["kappa"] * t
        return x0 * np.exp(past) - self.parameters["theta"] * np.expm1(past)

    def variance(self, x0, t):
        """Var X(t) = sigma^2 (1 - e^{-2 kappa t}) / (2 kappa)."""
        x0, t = asked(self, x0, t)
        kappa, sigma = self.parameters["kappa"], self.parameters["sigma"]
        return -(sigma**2) * np.expm1(-2 * kappa * t) / (2 * kappa)

    def covariance(self, x0, s, t):
        """Cov(X(s), X(t)) = e^{-kappa |t - s|} Var X(min(s, t))."""
        x0, s, t = asked(self, x0, s, t)
        return np.exp(-self.parameters["kappa"] * np.abs(np.subtract(t, s))) * self.variance(x0, np.minimum(s, t))

    def law(self, x0, t):
        """The law of X(t), a frozen scipy.stats.norm."""
        from scipy.stats import norm
        x0, t = asked(self, x0, t, spread=True)
        return norm(self.mean(x0, t), self.variance(x0, t) ** 0.5)

    def stationary(self):
        """The law that it tends to and keeps, N(theta, sigma^2 / (2 kappa)), a frozen scipy.stats.norm."""
        from scipy.stats import norm
        kappa, sigma = self.parameters["kappa"], self.parameters["sigma"]
        return norm(self.parameters["theta"], sigma / (2 * kappa) ** 0.5)
