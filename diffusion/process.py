"""Forward noising: x_t = alpha(t) x_0 + sigma(t) eps, an SDE dx = f(t) x dt + g(t) dW with

    f = alpha' / alpha,     g^2 = (sigma^2)' - 2 f sigma^2.

A process is an `sdekit.SDE`: it simulates, reverses and flows like any other, one number or one element of a picture
at a time.
"""

import math

import numpy as np

import sdekit as sk


def _vp_drift(x, t, beta_min, beta_max):
    return -0.5 * (beta_min + (beta_max - beta_min) * t) * x


def _vp_diffusion(x, t, beta_min, beta_max):
    return (beta_min + (beta_max - beta_min) * t) ** 0.5


class VP(sk.SDE):
    """Variance preserving: dx = -beta/2 x dt + sqrt(beta) dW, beta(t) = beta_min + (beta_max - beta_min) t on [0, 1].

    alpha^2 + sigma^2 = 1 (Song et al. 2021, eq. 11 and appendix B).

    >>> vp = VP()
    >>> round(vp.alpha(1.0), 5), round(vp.alpha(0.5) ** 2 + vp.sigma(0.5) ** 2, 12)
    (0.00657, 1.0)
    """

    span = (1e-3, 1.0)

    def __init__(self, beta_min: float = 0.1, beta_max: float = 20.0):
        super().__init__(_vp_drift, _vp_diffusion, beta_min=beta_min, beta_max=beta_max)
        if not 0 < beta_min <= beta_max:
            raise ValueError(f"VP needs 0 < beta_min <= beta_max, got {beta_min} and {beta_max}")

    def _integral(self, t):
        low, high = self.parameters["beta_min"], self.parameters["beta_max"]
        return low * t + 0.5 * (high - low) * t**2

    def alpha(self, t) -> float:
        """exp(-1/2 integral of beta)."""
        return math.exp(-0.5 * self._integral(t))

    def sigma(self, t) -> float:
        """sqrt(1 - alpha^2), without cancellation at small t."""
        return math.sqrt(-math.expm1(-self._integral(t)))


def _edm_drift(x, t):
    return 0.0 * x


def _edm_diffusion(x, t):
    return (2.0 * t) ** 0.5


class EDM(sk.SDE):
    """Variance exploding with sigma = t: dx = sqrt(2 t) dW, alpha = 1 (Karras et al. 2022, table 1)."""

    span = (0.02, 40.0)

    def __init__(self):
        super().__init__(_edm_drift, _edm_diffusion)

    def alpha(self, t) -> float:
        """1."""
        return 1.0

    def sigma(self, t) -> float:
        """t."""
        return float(t)


Process = VP | EDM


def linear_betas(steps: int = 1000, first: float = 1e-4, last: float = 0.02) -> np.ndarray:
    """beta_1 ... beta_T of the discrete walk x_t = sqrt(1 - beta_t) x_{t-1} + sqrt(beta_t) eps (Ho et al. 2020, 4)."""
    if steps < 1 or not 0 < first <= last < 1:
        raise ValueError(f"betas need steps >= 1 and 0 < first <= last < 1, got steps={steps}, first={first}, "
                         f"last={last}")
    return np.linspace(first, last, steps)
