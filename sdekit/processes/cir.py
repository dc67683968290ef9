"""The square-root process of Cox, Ingersoll & Ross 1985, dX = kappa (theta - X) dt + sigma sqrt(X) dW.

X(t + h) = c chi'^2_d(lambda), a non-central chi-square (Feller 1951), with

    c = sigma^2 (1 - e^{-kappa h}) / (4 kappa),   d = 4 kappa theta / sigma^2,   lambda = X(t) e^{-kappa h} / c

It is drawn exactly: for d > 1 as (Z + sqrt lambda)^2 + chi^2_{d-1}, else as chi^2_{d + 2N} with N ~ Poisson(lambda / 2)
(Glasserman 2003, section 3.4). X >= 0 always; it touches 0 where 2 kappa theta < sigma^2 (Feller's condition broken).
"""

import numpy as np

from sdekit import draws
from sdekit.processes.check import asked, not_negative, positive
from sdekit.sde import SDE


def drift(x, t, kappa, theta):
    return kappa * (theta - x)


def diffusion(x, t, sigma):
    # Full truncation (Lord, Koekkoek & van Dijk 2010): with other methods than its own x may dip below 0.
    return sigma * np.sqrt(np.maximum(x, 0.0))


def transition(x, t, h, place, kappa, theta, sigma):
    decay = np.exp(-kappa * h)
    c = -sigma * sigma * np.expm1(-kappa * h) / (4.0 * kappa)
    return c * noncentral(place, 4.0 * kappa * theta / (sigma * sigma), x * decay / c)


def noncentral(place, d, lam):
    """chi'^2_d(lambda), d >= 0: non-central chi-square; at d = 0 it has an atom at 0."""
    many = d > 1.0
    n, z2 = 0.0 * lam, 0.0 * lam
    if np.any(many):
        z = draws.normal(place, 0) + np.sqrt(lam)
        z2 = np.where(many, z * z, 0.0)
    if np.any(np.logical_not(many)):
        n = draws.poisson(place, np.where(many, 0.0, 0.5 * lam), 0)
    shape = np.where(many, 0.5 * (d - 1.0), 0.5 * d + n)
    chi2 = 2.0 * draws.gamma(place, np.where(shape > 0.0, shape, 1.0), 0)
    return z2 + np.where(shape > 0.0, chi2, 0.0)


class CoxIngersollRoss(SDE):
    """dX = kappa (theta - X) dt + sigma sqrt(X) dW, X >= 0: interest rates, variances of stocks.

    kappa  rate of the way back to theta, > 0
    theta  the level, >= 0
    sigma  the noise's size, > 0

    `simulate` draws it exactly by default: never negative, never NaN, whether 2 kappa theta >= sigma^2 or not. Leave
    rtol and atol out: there is no error to be made smaller, and other methods' adaptive steps get very short at 0.

    >>> rate = CoxIngersollRoss(kappa=1.0, theta=0.04, sigma=0.4)  # Feller's condition is broken
    >>> round(float(rate.mean(0.09, t=1.0)), 6)
    0.058394
    >>> round(float(rate.law(0.09, t=1.0).mean()), 6)
    0.058394
    """

    transition = staticmethod(transition)
    transition_draws = "P"
    domain = ((0.0, np.inf),)

    def __init__(self, kappa: float, theta: float, sigma: float):
        super().__init__(drift, diffusion, kappa=kappa, theta=theta, sigma=sigma)
        positive(self, "kappa", "sigma")
        not_negative(self, "theta")

    def mean(self, x0, t):
        """E X(t) = x0 e^{-kappa t} + theta (1 - e^{-kappa t})."""
        x0, t = asked(self, x0, t)
        past = -self.parameters["kappa"] * t
        return x0 * np.exp(past) - self.parameters["theta"] * np.expm1(past)

    def variance(self, x0, t):
        """Var X(t) = sigma^2/kappa (1 - e) (x0 e + theta (1 - e) / 2), e = e^{-kappa t}."""
        x0, t = asked(self, x0, t)
        kappa, theta, sigma = (self.parameters[name] for name in ("kappa", "theta", "sigma"))
        gone = -np.expm1(-kappa * t)
        return sigma**2 / kappa * gone * (x0 * np.exp(-kappa * t) + 0.5 * theta * gone)

    def covariance(self, x0, s, t):
        """Cov(X(s), X(t)) = e^{-kappa |t - s|} Var X(min(s, t))."""
        x0, s, t = asked(self, x0, s, t)
        return np.exp(-self.parameters["kappa"] * np.abs(np.subtract(t, s))) * self.variance(x0, np.minimum(s, t))

    def law(self, x0, t):
        """The law of X(t), t > 0, theta > 0: a frozen scipy.stats.ncx2, of non-centrality 0 from x0 = 0."""
        from scipy.stats import ncx2
        x0, t = asked(self, x0, t, spread=True)
        kappa, theta, sigma = self._with_a_level()
        c = -(sigma**2) * np.expm1(-kappa * t) / (4 * kappa)
        return ncx2(4 * kappa * theta / sigma**2, x0 * np.exp(-kappa * t) / c, scale=c)

    def stationary(self):
        """The law that it tends to and keeps: gamma, of shape 2 kappa theta / sigma^2 and scale sigma^2 / (2 kappa)."""
        from scipy.stats import gamma
        kappa, theta, sigma = self._with_a_level()
        return gamma(2 * kappa * theta / sigma**2, scale=sigma**2 / (2 * kappa))

    def _with_a_level(self) -> tuple:
        kappa, theta, sigma = (self.parameters[name] for name in ("kappa", "theta", "sigma"))
        if not np.all(np.greater(theta, 0.0)):
            raise ValueError(f"with theta = 0 {self!r} has an atom at 0 and no law of scipy.stats; mean, variance and "
                             "paths are there")
        return kappa, theta, sigma
