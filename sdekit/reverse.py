"""Time reversal: an SDE whose score is known, run backwards, is again an SDE; and an ODE moves the same marginals.

For dX = f(X, t) dt + G(X, t) dW with density p_t, D = G G^T and (div D)_i = sum_j d D_ij / d x_j, at forward time
s = T - tau:

    reverse           dX = (-f + div D + D grad log p_s) dtau + G dW             Anderson 1982
    probability flow  dx/ds = f - (1/2) div D - (1/2) D grad log p_s             Song et al. 2021, eq. 13

div D vanishes where the noise does not depend on the state, the case that the courses state. It is found by central
differences: see `sdekit.calculus` for their steps and their error. Compiled by Numba, functions grow with the square of
the system and more: a few seconds for 2 components, a minute for a 4 x 4 matrix; beyond, backend="numpy" is the way.
"""

import math
from collections.abc import Callable
from numbers import Real

from sdekit.calculus import around, by_name, check_size, difference, in_order, moved, spacing, to_ito
from sdekit.components import as_tuple, written
from sdekit.maths import BySize
from sdekit.sde import ODE, SDE, takes


def reverse(sde: SDE, score: Callable, t: float) -> SDE:
    """The SDE of `sde`'s paths run backwards from time t, on its own clock from 0 (x at t) to t (x at 0).

    score   grad log p(x, s), a function of the state and of forward time s; for a system it takes and returns a tuple
    t       the time from which it starts

    It is in the sense of Ito and has the parameters of `sde`, by name. For a tensor state each element's diffusion may
    depend on that element and on time alone. Raises TypeError for arguments of another kind.

    >>> import sdekit as sk
    >>> ou = sk.OrnsteinUhlenbeck(kappa=1.0, sigma=2.0 ** 0.5)             # started in its stationary law N(0, 1)
    >>> back = sk.reverse(ou, lambda x, s: -x, t=3.0)
    >>> round(float(back.drift(0.5, 0.0, **back.parameters)), 9)
    -0.5
    """
    drift, diffusion, parameters = _backwards(sde, score, t, lambda f, noise: noise - f)
    return SDE(drift, diffusion, **parameters)


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
    if t is None:
        drift, _, parameters = _backwards(sde, score, 0.0, lambda f, noise: f - 0.5 * noise, clock=1.0)
    else:
        drift, _, parameters = _backwards(sde, score, t, lambda f, noise: 0.5 * noise - f)
    return ODE(drift, **parameters)


def _backwards(sde: SDE, score: Callable, t: float, combine: Callable, clock: float = -1.0):
    """combine(f, div D + D score) and G at the forward time s = t + clock tau, and their parameters."""
    if not isinstance(sde, SDE):
        raise TypeError(f"only an SDE can be reversed, got {sde!r}")
    if not callable(score):
        raise TypeError(f"score must be a function (x, s) -> grad log p(x, s), got {score!r}")
    if isinstance(t, bool) or not isinstance(t, Real) or not math.isfinite(t):
        raise TypeError(f"t must be the time to start from, got {t!r}")
    sde = to_ito(sde)
    names, noisy = tuple(sde.parameters), tuple(k for k in sde.parameters if k in takes(sde.diffusion))
    f, g, spread = in_order(sde.drift, names), in_order(sde.diffusion, names), in_order(sde.diffusion, noisy)
    combined = _combined(g, combine)

    def drift(x, tau, p):
        s = t + clock * tau
        return combined(x, s, f(x, s, p), g(x, s, p), score(x, s), p)

    def diffusion(x, tau, p):
        return spread(x, t + clock * tau, p)

    return by_name(drift, names), by_name(diffusion, noisy), sde.parameters


def _combined(diffusion: Callable, combine: Callable) -> BySize:
    """(x, t, f, g, score, p) -> combine(f, div D + D score) component by component, with f, g, score at (x, t)."""
    def make(x, t, f, g, score, p):
        arguments, names = "x, t, f, g, score, p", {"spread": diffusion, "combine": combine, "spacing": spacing}
        if x is None:
            return written(arguments, _of_a_number(), square=_square(g), **names)
        check_size(x, g)
        columns = {f"column{j}": _column(g, j) for j in range(len(x))}
        return written(arguments, _of_a_system(len(x)), **columns, **names)

    return BySize(make)


def _of_a_number() -> str:
    return (f"h = spacing(x); {around('y', 'square(spread({}, t, p))', 'x + {} * h')}; "
            f"return combine(f, {difference('y', '', 'h')} + square(g) * score)")


def _of_a_system(d: int) -> str:
    """Component j is moved to see how column j of D changes."""
    lines = [f"h{j} = spacing(x[{j}]); {around(f'y{j}_', f'column{j}(spread({{}}, t, p))', moved(d, j))}; "
             f"D{j} = column{j}(g)" for j in range(d)]
    terms = (" + ".join(f"{difference(f'y{j}_', f'[{i}]', f'h{j}')} + D{j}[{i}] * score[{j}]" for j in range(d))
             for i in range(d))
    return "; ".join([*lines, "return " + as_tuple(f"combine(f[{i}], {term})" for i, term in enumerate(terms))])


def _square(g: tuple | None) -> Callable:
    """g -> D of a state of one number or tensor: g^2, or the sum of the squares of a row of noises."""
    return written("g", "return g * g" if g is None else
                   "return " + " + ".join(f"g[{k}] * g[{k}]" for k in range(len(g))))


def _column(g: tuple, j: int) -> Callable:
    """g -> column j of D = G G^T, a tuple."""
    if g[0] is None:
        entries = [f"g[{j}] * g[{j}]" if i == j else "0.0" for i in range(len(g))]
    else:
        entries = [" + ".join(f"g[{i}][{k}] * g[{j}][{k}]" for k in range(len(g[0]))) for i in range(len(g))]
    return written("g", "return " + as_tuple(entries))
