"""Two systems that every course on noise meets: a particle in a double well, and the weather of Lorenz with noise."""

import numpy as np

from sdekit.processes.check import asked, not_negative, positive
from sdekit.sde import SDE


def _well_drift(x, t, a, b):
    return a * x - b * x * x * x


def _well_noise(x, t, sigma):
    return sigma


class DoubleWell(SDE):
    """dX = (a X - b X^3) dt + sigma dW: V(x) = b x^4 / 4 - a x^2 / 2, two wells at +- sqrt(a/b), a wall of a^2 / (4 b).

    Its stationary density is exp(-2 V(x) / sigma^2) / normaliser. The time from one well to the other grows like
    exp(a^2 / (2 b sigma^2)) (Kramers 1940). Large steps explode, since the drift is cubic: method=sdekit.tamed_euler.

    >>> round(float(DoubleWell(sigma=0.5).stationary(0.0) / DoubleWell(sigma=0.5).stationary(1.0)), 6)  # e^{-2}
    0.135335
    """

    def __init__(self, a: float = 1.0, b: float = 1.0, sigma: float = 0.5):
        super().__init__(_well_drift, _well_noise, a=a, b=b, sigma=sigma)
        positive(self, "a", "b", "sigma")

    def potential(self, x):
        """V(x) = b x^4 / 4 - a x^2 / 2."""
        return 0.25 * self.parameters["b"] * x**4 - 0.5 * self.parameters["a"] * x**2

    def stationary(self, x):
        """The density that it tends to and keeps, at x; parameters one number each."""
        from scipy.integrate import quad
        x, (a, b, sigma) = asked(self, x)[0], (self.parameters[name] for name in ("a", "b", "sigma"))
        if any(map(np.ndim, (a, b, sigma))):
            raise ValueError(f"the density is that of one well, and {self!r} has parameters for each path; make a "
                             "DoubleWell of three numbers")
        well = (a / b) ** 0.5
        # V less its least value is b (y^2 - a/b)^2 / 4, where the difference of the two would lose its digits
        density = lambda y: np.exp(-0.5 * b * (y * y - a / b) ** 2 / sigma**2)
        width = sigma / (2 * a**0.5)  # of the well: V'' = 2 a
        ends = [max(0.0, well - 20 * width), well, well + 10 * width + (10 * sigma**2 / b) ** 0.25]
        normaliser = 2.0 * quad(density, ends[0], ends[-1], points=[well], epsabs=0.0, epsrel=1e-12, limit=200)[0]
        return density(x) / normaliser


def _lorenz_drift(x, t, sigma, rho, beta):
    u, v, w = x
    return sigma * (v - u), u * (rho - w) - v, u * v - beta * w


def _lorenz_noise(x, t, noise):
    return noise, noise, noise


class Lorenz(SDE):
    """du = sigma (v - u) dt + s dW1, dv = (u (rho - w) - v) dt + s dW2, dw = (u v - beta w) dt + s dW3.

    Lorenz 1963, with noise of the same size s = `noise` on each component; s = 0 is the deterministic system. Two paths
    part at the rate of its largest Lyapunov exponent, about 0.906 at the default parameters.

    >>> [float(f) for f in Lorenz().drift((1.0, 1.0, 1.0), 0.0, sigma=10.0, rho=28.0, beta=2.0)]
    [0.0, 26.0, -1.0]
    """

    def __init__(self, sigma: float = 10.0, rho: float = 28.0, beta: float = 8.0 / 3.0, noise: float = 1.0):
        super().__init__(_lorenz_drift, _lorenz_noise, sigma=sigma, rho=rho, beta=beta, noise=noise)
        not_negative(self, "noise")
