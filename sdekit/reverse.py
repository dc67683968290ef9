"""Time reversal: an SDE whose score is known, run backwards, is again an SDE; and an ODE moves the same marginals.

For dX = f(X, t) dt + G(X, t) dW with density p_t, D = G G^T and (div D)_i = sum_j d D_ij / d x_j, at forward time
s = T - tau:

    reverse           dX = (-f + div D + D grad log p_s) dtau + G dW             Anderson 1982
    probability flow  dx/ds = f - (1/2) div D - (1/2) D grad log p_s             Song et al. 2021, eq. 13

div D vanishes where the noise does not depend on the state, the case that the courses state. It is found by the
fourth-order central difference with steps of 10^-3 max(1, |x_j|): exact for a D that is a polynomial of degree up to
4, else with a relative error of about 10^-12.
"""

import math
from collections.abc import Callable
from numbers import Real

import numpy as np

from sdekit.components import written
from sdekit.maths import PythonOnly
from sdekit.sde import ODE, SDE, takes


def reverse(sde: SDE, score: Callable, t: float) -> SDE:
    """The SDE of `sde`'s paths run backwards from time t, on its own clock from 0 (x at t) to t (x at 0).

    score   grad log p(x, s), a function of the state and of forward time s; for a system it takes and returns a tuple
    t       the time from which it starts

    For a tensor state each element's diffusion may depend on that element and on time alone. Raises TypeError for
    arguments of another kind. Numba compiles it for a state of one number; systems run on NumPy and Torch.

    >>> import sdekit as sk
    >>> ou = sk.OrnsteinUhlenbeck(kappa=1.0, sigma=2.0 ** 0.5)             # started in its stationary law N(0, 1)
    >>> back = sk.reverse(ou, lambda x, s: -x, t=3.0)
    >>> round(float(back.drift(0.5, 0.0)), 9)
    -0.5
    """
    forward, spread, noise_term = _terms(sde, score, t)

    def drift(x, tau):
        if isinstance(x, tuple):
            return _minus(noise_term(x, t - tau), forward(x, t - tau))
        return noise_term(x, t - tau) - forward(x, t - tau)

    def diffusion(x, tau):
        return spread(x, t - tau)

    return SDE(drift, diffusion)


def probability_flow(sde: SDE, score: Callable, t: float | None = None) -> ODE:
    """The ODE whose solutions have the marginals of `sde`: dx/ds = f - (1/2) (div D + D grad log p_s).

    With t it runs backwards from time t, on its own clock from 0 (x at t) to t (x at 0), as `reverse` does;
    without, forwards. The arguments and errors are those of `reverse`.

    >>> import sdekit as sk
    >>> brownian = sk.BrownianMotion()
    >>> flow = sk.probability_flow(brownian, lambda x, s: -x / (1 + s), t=3.0)   # started in N(0, 1)
    >>> round(float(sk.integrate(flow, 2.0, t=3.0, steps=100).final[0]), 6)       # N(0, 4) back to N(0, 1)
    1.0
    """
    forward, _, noise_term = _terms(sde, score, 0.0 if t is None else t)
    half = 0.5

    def along(x, s):
        if isinstance(x, tuple):
            return _minus(forward(x, s), _times(half, noise_term(x, s)))
        return forward(x, s) - half * noise_term(x, s)

    def back(x, tau):
        if isinstance(x, tuple):
            return _times(-1.0, along(x, t - tau))
        return -along(x, t - tau)

    return ODE(along if t is None else back)


def _terms(sde: SDE, score: Callable, t: float) -> tuple[Callable, Callable, Callable]:
    """f(x, s), G(x, s) and the noise's term div D + D score, as functions of the state and forward time."""
    if not isinstance(sde, SDE):
        raise TypeError(f"only an SDE can be reversed, got {sde!r}")
    if not callable(score):
        raise TypeError(f"score must be a function (x, s) -> grad log p(x, s), got {score!r}")
    if isinstance(t, bool) or not isinstance(t, Real) or not math.isfinite(t):
        raise TypeError(f"t must be the time to start from, got {t!r}")
    forward, spread = (_bound(function, sde) for function in (sde.drift, sde.diffusion))

    def noise_term(x, s):
        if isinstance(x, tuple):
            return _system(spread, x, s, score(x, s))
        h = 1e-3 * np.maximum(1.0, np.abs(x))
        near = _square(spread(x + h, s)) - _square(spread(x - h, s))
        far = _square(spread(x + 2.0 * h, s)) - _square(spread(x - 2.0 * h, s))
        return (8.0 * near - far) / (12.0 * h) + _square(spread(x, s)) * score(x, s)

    return forward, spread, noise_term


def _bound(function: Callable, sde: SDE) -> Callable:
    """The function of (x, t) alone, its parameters filled in."""
    named = [f"{k}={sde.parameters[k]!r}" for k in takes(function) if k in sde.parameters]
    return written("x, t", f"return user({', '.join(['x', 't', *named])})", user=function)


def _square(g):
    """D = G G^T of a state of one number or tensor: g^2, or the sum of the squares of a row of noises."""
    if isinstance(g, tuple):
        return _sum_of_squares(g)
    return g * g


_sum_of_squares = PythonOnly(lambda g: sum(gj * gj for gj in g))
_minus = PythonOnly(lambda x, y: tuple(a - b for a, b in zip(x, y)))
_times = PythonOnly(lambda h, x: tuple(h * a for a in x))


@PythonOnly
def _system(spread: Callable, x: tuple, s, score: tuple) -> tuple:
    """div D + D score for a system of components."""
    d = len(x)

    def matrix(y) -> list[list]:
        g = spread(y, s)
        if not isinstance(g[0], tuple):
            return [[g[i] * g[i] if i == j else 0.0 for j in range(d)] for i in range(d)]
        return [[sum(a * b for a, b in zip(g[i], g[j])) for j in range(d)] for i in range(d)]

    D = matrix(x)
    total = [sum(D[i][j] * score[j] for j in range(d)) for i in range(d)]
    for j in range(d):
        h = 1e-3 * np.maximum(1.0, np.abs(x[j]))
        shifted = [matrix((*x[:j], x[j] + k * h, *x[j + 1:])) for k in (-2.0, -1.0, 1.0, 2.0)]
        for i in range(d):
            a, b, c, e = (m[i][j] for m in shifted)
            total[i] = total[i] + (a - 8.0 * b + 8.0 * c - e) / (12.0 * h)
    return tuple(total)
