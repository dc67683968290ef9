"""Several stocks, dS_i = mu_i S_i dt + sigma_i S_i dW_i, dW_i dW_j = R_ij dt: correlated geometric Brownian motions."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from sdekit.components import as_tuple, written
from sdekit.processes.check import asked, correlations, real
from sdekit.sde import SDE


class CorrelatedGeometricBrownianMotion(SDE):
    """dS_i = mu_i S_i dt + sigma_i S_i (L dW)_i with L L^T = R: lognormal, the logs jointly Gaussian.

    mu           rates of growth, (d,) or one for all
    sigma        volatilities > 0, (d,) or one for all
    correlation  R, (d, d): symmetric, positive semi-definite (it may be singular), 1 on the diagonal

    S_i(t) = S_i(0) exp((mu_i - sigma_i^2 / 2) t + sigma_i (L W(t))_i), also on a given path W. The state is a d-tuple.

    >>> import sdekit as sk
    >>> two = CorrelatedGeometricBrownianMotion(mu=0.05, sigma=[0.2, 0.3], correlation=[[1.0, 0.6], [0.6, 1.0]])
    >>> two.mean((100.0, 50.0), 1.0).round(4)
    array([105.1271,  52.5636])
    >>> sk.simulate(two, (100.0, 50.0), steps=12, paths=10, seed=1).x.shape
    (10, 13, 2)
    """

    transition_pathwise = True
    logarithmic = True

    mu: np.ndarray
    sigma: np.ndarray
    correlation: np.ndarray

    def __init__(self, mu, sigma, correlation):
        R, L = correlations(correlation)
        d = len(R)
        mu, sigma = (_vector(name, v, d) for name, v in (("mu", mu), ("sigma", sigma)))
        if not (sigma > 0).all():
            raise ValueError(f"{type(self).__name__} needs sigma > 0, got {sigma.tolist()}")
        drift, diffusion, transition = _functions(d)
        loads = sigma[:, None] * L
        super().__init__(drift, diffusion, **{f"mu{i}": mu[i] for i in range(d)},
                         **{f"l{i}_{j}": loads[i, j] for i in range(d) for j in range(i + 1)})
        vars(self).update(transition=transition, mu=mu, sigma=sigma, correlation=R)

    def __getstate__(self):
        return {"mu": self.mu, "sigma": self.sigma, "correlation": self.correlation}

    def __setstate__(self, state) -> None:
        self.__init__(**state)

    def __repr__(self) -> str:
        return (f"{type(self).__name__}(mu={self.mu.tolist()}, sigma={self.sigma.tolist()}, "
                f"correlation={self.correlation.tolist()})")

    def mean(self, x0, t):
        """E S_i(t) = S_i(0) e^{mu_i t}, (..., d)."""
        x0, t = self._asked(x0, t)
        return x0 * np.exp(self.mu * t[..., None])

    def variance(self, x0, t):
        """Var S_i(t) = S_i(0)^2 e^{2 mu_i t} (e^{sigma_i^2 t} - 1), (..., d)."""
        return self.mean(x0, t) ** 2 * np.expm1(self.sigma**2 * self._asked(x0, t)[1][..., None])

    def covariance(self, x0, s: float, t: float):
        """Cov(S_i(s), S_j(t)) = E S_i(s) E S_j(t) (e^{sigma_i sigma_j R_ij min(s, t)} - 1), (d, d)."""
        shapes = [a.shape[k == 0:] for k, a in enumerate(self._asked(x0, s, t))]
        if any(shapes):
            raise ValueError("covariance takes one start and two numbers s and t, and here are arrays of them: "
                             f"{shapes[0]} starts, {shapes[1]} s, {shapes[2]} t")
        grown = np.expm1(np.outer(self.sigma, self.sigma) * self.correlation * min(s, t))
        return np.outer(self.mean(x0, s), self.mean(x0, t)) * grown

    def _asked(self, x0, *times) -> tuple[np.ndarray, ...]:
        """x0 (..., d) and times as arrays, checked."""
        state = np.asarray(real("x0", np.asarray(x0)))
        if state.shape[-1:] != self.mu.shape:
            raise ValueError(f"x0 must hold a price of each of the {len(self.mu)} assets, got {x0!r}")
        return state, *map(np.asarray, asked(self, tuple(np.moveaxis(state, -1, 0)), *times)[1:])


def _vector(name: str, value, d: int) -> np.ndarray:
    array = np.asarray(value, float)
    if array.shape not in ((), (d,)) or not np.isfinite(array).all():
        raise ValueError(f"{name} must be one finite number, or one for each of the {d} assets; got {value!r}")
    return np.array(np.broadcast_to(array, d))


@lru_cache(maxsize=64)
def _functions(d: int) -> tuple[Callable, Callable, Callable]:
    """drift, diffusion and transition for d assets, the parameters mu0, ... and l0_0, l1_0, l1_1, ... written out."""
    mus, loads = [f"mu{i}" for i in range(d)], [[f"l{i}_{j}" for j in range(i + 1)] for i in range(d)]
    every = [name for row in loads for name in row]
    drift = written(", ".join(["x", "t", *mus]), "return " + as_tuple(f"mu{i} * x[{i}]" for i in range(d)))
    rows = (as_tuple([f"{name} * x[{i}]" for name in row] + ["0.0"] * (d - 1 - i)) for i, row in enumerate(loads))
    diffusion = written(", ".join(["x", "t", *every]), "return " + as_tuple(rows))
    moved = (f"x[{i}] * np.exp((mu{i} - 0.5 * ({' + '.join(f'{name} * {name}' for name in row)})) * h + h**0.5 * ("
             f"{' + '.join(f'{name} * z[{j}]' for j, name in enumerate(row))}))" for i, row in enumerate(loads))
    transition = written(", ".join(["x", "t", "h", "z", *mus, *every]), "return " + as_tuple(moved), np=np)
    return drift, diffusion, transition
