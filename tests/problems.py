"""SDEs whose solution on a given path of W, or whose law, is known: as data, with their sources.

The test suite measures methods against them. Ito unless stated; W starts at 0 and is (paths, times, noises).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import sdekit as sk
from sdekit import problems


@dataclass(frozen=True)
class Pathwise:
    """`solution(t, W)` is X on the path W, with X(0) = x0: (paths, times), or (paths, times, dim) for a system.

    strong   the order of Euler-Maruyama on it
    noises   how many drive it
    """

    name: str
    sde: sk.SDE
    x0: Any
    solution: Callable
    source: str
    strong: float = 0.5
    noises: int = 1

    def __repr__(self):
        return self.name


def pathwise(problem: problems.Problem) -> Pathwise:
    """The library's problem, of W (paths, times, noises)."""

    def solution(t, W):
        x = problem.solution(t, W[..., 0] if problem.noises == 1 else W)
        return np.stack(x, axis=-1) if isinstance(x, tuple) else x

    return Pathwise(problem.name, problem.sde, problem.x0, solution, problem.source,
                    1.0 if problem.kind == "additive" else 0.5, problem.noises)


linear, tanh, wave, additive, sinh, arsinh, two_noises, commutative = map(pathwise, (
    problems.linear, problems.tanh, problems.wave, problems.additive, problems.sinh, problems.arsinh,
    problems.two_noises, problems.commutative))

PATHWISE = [linear, tanh, wave, additive, sinh, arsinh, two_noises, commutative]


@dataclass(frozen=True)
class Law:
    """The exact law of a process from x0: `gaussian` maps X(t) to a Gaussian process, of known mean and covariance.

    Written out from the literature, not taken from the process's own methods.
    """

    process: sk.SDE
    x0: float
    mean: Callable  # E X(t)
    variance: Callable  # Var X(t)
    gaussian: Callable  # x -> y, under which X becomes Gaussian
    gaussian_mean: Callable  # E Y(t)
    gaussian_covariance: Callable  # Cov(Y(s), Y(t))
    source: str

    def __repr__(self):
        return type(self.process).__name__


def _same(x):
    return x


def _brownian(mu=0.3, sigma=0.7, x0=1.5):
    mean = lambda t: x0 + mu * t
    covariance = lambda s, t: sigma**2 * np.minimum(s, t)
    return Law(sk.BrownianMotion(mu, sigma), x0, mean, lambda t: covariance(t, t), _same, mean, covariance,
               "Einstein 1905; Wiener 1923")


def _gbm(mu=0.05, sigma=0.4, x0=100.0):
    mean = lambda t: x0 * np.exp(mu * t)
    variance = lambda t: x0**2 * np.exp(2 * mu * t) * (np.exp(sigma**2 * t) - 1)
    return Law(sk.GeometricBrownianMotion(mu, sigma), x0, mean, variance, np.log,
               lambda t: np.log(x0) + (mu - sigma**2 / 2) * t, lambda s, t: sigma**2 * np.minimum(s, t),
               "Black & Scholes 1973")


def _ou(k=1.3, m=-0.4, s=0.9, x0=2.0):
    mean = lambda t: x0 * np.exp(-k * t) + m * (1 - np.exp(-k * t))
    covariance = lambda t, u: s**2 / (2 * k) * (np.exp(-k * np.abs(t - u)) - np.exp(-k * (t + u)))
    return Law(sk.OrnsteinUhlenbeck(k, m, s), x0, mean, lambda t: covariance(t, t), _same, mean, covariance,
               "Uhlenbeck & Ornstein 1930")


def _growth(a=0.6, s=0.5, x0=-1.0):
    """dX = a X dt + s dW is the Ornstein-Uhlenbeck process with k = -a, m = 0."""
    mean = lambda t: x0 * np.exp(a * t)
    covariance = lambda t, u: s**2 / (2 * a) * (np.exp(a * (t + u)) - np.exp(a * np.abs(t - u)))
    return Law(sk.LinearDrift(a, s), x0, mean, lambda t: covariance(t, t), _same, mean, covariance,
               "Uhlenbeck & Ornstein 1930, the sign of the rate turned")


LAWS = [_brownian(), _gbm(), _ou(), _growth()]


def fine_increments(seed: int, paths: int, steps: int, noises: int = 1, t: float = 1.0):
    """dW on `steps` equal steps, (paths, steps, noises)."""
    return (t / steps) ** 0.5 * sk.normals(seed, paths=paths, steps=steps, components=noises)


def coarse(dw, steps: int):
    """The same path's increments on fewer steps: sums of neighbours."""
    paths, fine, noises = dw.shape
    return dw.reshape(paths, steps, fine // steps, noises).sum(axis=2)


def _bump_drift(x, t, a):
    return a * np.sin(t) - x * np.exp(-x * x)


def _bump_noise(x, t, s):
    return s + 0.1 * np.exp(-x * x)


def _whirl_drift(x, t, a, k):
    u, v = x
    return -k * v - a * u * np.exp(-u * u), k * u + 0.1 * t


def _whirl_noise(x, t, s):
    u, v = x
    return (s, 0.1 * np.cos(v), -0.2), (0.3 * np.sin(u), 0.5 * s, 0.1 * t)


#: Smooth and bounded, with exp and the time in both functions: one number, and a 2 x 3 matrix without symmetry.
bump = sk.SDE(_bump_drift, _bump_noise, a=0.7, s=0.4)
whirl = sk.SDE(_whirl_drift, _whirl_noise, a=0.6, k=1.5, s=0.4)


def euler_path(sde: sk.SDE, x0, grid, dw):
    """Euler-Maruyama as the textbook writes it: X' = X + f h + G dW; (paths, times) or (paths, times, dim)."""
    scalar = not isinstance(x0, tuple)
    of = lambda f: {k: v for k, v in sde.parameters.items() if k in f.__code__.co_varnames[:f.__code__.co_argcount]}
    x = np.stack([np.broadcast_to(c, len(dw)).astype(float) for c in ((x0,) if scalar else x0)])
    states = [x]
    for n, t in enumerate(grid[:-1]):
        at = x[0] if scalar else tuple(x)
        f, g = sde.drift(at, t, **of(sde.drift)), sde.diffusion(at, t, **of(sde.diffusion))
        f, rows = ((f,), (g,)) if scalar else (f, g)
        new = []
        for i, row in enumerate(rows):
            noise = sum(b * dw[:, n, j] for j, b in enumerate(row)) if isinstance(row, tuple) else row * dw[:, n, i]
            new.append(x[i] + f[i] * (grid[n + 1] - t) + noise)
        x = np.stack([np.broadcast_to(c, len(dw)) for c in new])
        states.append(x)
    values = np.stack(states, axis=-1)  # (dim, paths, times)
    return values[0] if scalar else np.moveaxis(values, 0, -1)
