"""The Brownian bridge, dX = (b - X) / (T - t) dt + sigma dW: Brownian motion that is known to end in b at T (Levy)."""

import numpy as np

from sdekit.processes.check import asked, positive
from sdekit.sde import SDE


def drift(x, t, end, horizon):
    return (end - x) / (horizon - t)


def diffusion(x, t, sigma):
    return sigma


def transition(x, t, h, z, end, horizon, sigma):
    left = horizon - t
    return x + (end - x) * h / left + sigma * np.sqrt(h * np.maximum(left - h, 0.0) / left) * z


class BrownianBridge(SDE):
    """dX = (b - X) / (T - t) dt + sigma dW on [0, T]: sigma W, given that it goes from X(0) to X(T) = b.

    end      b
    horizon  T > 0, one number; a run ends there or before
    sigma    per square root of the unit of time

    X(t) ~ N(x0 + (b - x0) t / T, sigma^2 t (T - t) / T).

    >>> BrownianBridge(end=2.0).variance(0.0, np.array([0.0, 0.5, 1.0]))
    array([0.  , 0.25, 0.  ])
    """

    transition = staticmethod(transition)

    def __init__(self, end: float = 0.0, horizon: float = 1.0, sigma: float = 1.0):
        super().__init__(drift, diffusion, end=end, horizon=horizon, sigma=sigma)
        positive(self, "horizon", "sigma")
        if np.ndim(self.parameters["horizon"]):
            raise ValueError("BrownianBridge needs one horizon for all paths, got an array")

    @property
    def lifetime(self) -> float:
        """The time at which it ends."""
        return float(self.parameters["horizon"])

    def mean(self, x0, t):
        """E X(t) = x0 + (b - x0) t / T."""
        x0, t = asked(self, x0, t)
        return x0 + (self.parameters["end"] - x0) * t / self.parameters["horizon"]

    def variance(self, x0, t):
        """Var X(t) = sigma^2 t (T - t) / T."""
        return self.covariance(x0, t, t)

    def covariance(self, x0, s, t):
        """Cov(X(s), X(t)) = sigma^2 s (T - t) / T for s <= t."""
        x0, s, t = asked(self, x0, s, t)
        T, first, last = self.parameters["horizon"], np.minimum(s, t), np.maximum(s, t)
        return self.parameters["sigma"] ** 2 * first * (T - last) / T

    def law(self, x0, t):
        """The law of X(t), a frozen scipy.stats.norm."""
        from scipy.stats import norm
        x0, t = asked(self, x0, t, spread=True)
        return norm(self.mean(x0, t), self.variance(x0, t) ** 0.5)
