"""Brownian motion with drift, dX = mu dt + sigma dW."""

from sdekit.processes.check import positive
from sdekit.sde import SDE


def drift(x, t, mu):
    return mu


def diffusion(x, t, sigma):
    return sigma


def transition(x, t, h, z, mu, sigma):
    return x + mu * h + sigma * h**0.5 * z


class BrownianMotion(SDE):
    """dX = mu dt + sigma dW: X(t) ~ N(x0 + mu t, sigma^2 t), increments independent.

    >>> BrownianMotion().variance(2.0)
    2.0
    """

    transition = staticmethod(transition)
    transition_pathwise = True

    def __init__(self, mu: float = 0.0, sigma: float = 1.0):
        super().__init__(drift, diffusion, mu=mu, sigma=sigma)
        positive(self, "sigma")

    def mean(self, x0, t):
        """E X(t)."""
        return x0 + self.parameters["mu"] * t

    def variance(self, t):
        """Var X(t)."""
        return self.parameters["sigma"] ** 2 * t
