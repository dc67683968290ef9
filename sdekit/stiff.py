"""Methods for drifts that Euler-Maruyama cannot bear: superlinear ones (tamed_euler) and stiff ones (theta, srock).

    dX = f(X, t) dt + g(X, t) dW, in the sense of Ito; a dash marks the value at t + h, and Q = g(x, t) dW
"""

from collections.abc import Callable
from functools import lru_cache
from numbers import Real

import numpy as np

from sdekit.components import Coefficients, as_tuple, written
from sdekit.maths import PythonOnly
from sdekit.methods import Method, euler_maruyama
from sdekit.ode import ODEMethod, euler

LARGEST = 8  # components of a system that `theta` solves: its elimination is written out
ITERATIONS, DAMPING = 4, 0.05
APART = 2.0**-17  # of a difference quotient: between the roots of the precisions, 2^-26 of float64 and 2^-12 of float32


def _noise(c: Coefficients) -> Callable:
    """(x, t, dw, p) -> Q; nought for an ODE."""
    g, dot, scale = c.g, c.dot, c.scale
    if g is None:
        return lambda x, t, dw, p: scale(0.0, x)
    return lambda x, t, dw, p: dot(g(x, t, p), dw)


def _tamed_euler(c: Coefficients) -> Callable:
    f, add, scale, noise = c.f, c.add, c.scale, _noise(c)
    squares = " + ".join(f"k[{i}] * k[{i}]" for i in range(c.shape.dim))
    size = written("k", "return abs(k[0])" if c.shape.dim == 1 else f"return np.sqrt({squares})", np=np)

    def step(x, t, h, dw, p):
        k = f(x, t, p)
        return add(add(x, scale(h / (1.0 + h * size(k)), k)), noise(x, t, dw, p))

    return step


#: x' = x + h f / (1 + h |f|) + Q, |f| Euclidean: no step of the drift is longer than 1, so that one that grows faster
#: than the state does not explode, -x^3 or a double well's (Hutzenthaler, Jentzen & Kloeden 2012, Ann. Appl. Probab.
#: 22). A state that is one array or tensor is tamed element by element.
tamed_euler = Method("tamed_euler", _tamed_euler, strong=0.5, weak=1.0, additive=1.0,
                     ode=ODEMethod("tamed_euler", _tamed_euler, order=1, evaluations=1))


def theta(theta: float = 0.5, iterations: int = ITERATIONS) -> Method:
    """x' = x + h [(1 - theta) f(x, t) + theta f(x', t + h)] + Q: implicit in the drift.

    theta       in [0, 1]; 0 is `euler_maruyama`, 1/2 the trapezoidal rule, 1 implicit Euler. From 1/2 on it is
                A-stable: dX = -L X dt + s dW may have any L h, and at 1/2 it keeps the stationary law of that equation
    iterations  of Newton's method from x, as many on every path

    The derivatives are difference quotients, of a step 2^-17 of the terms of the equation. A linear drift is solved to
    rounding in 2 iterations; x - x^3 at h = 0.1 to 10^-6 in 4; where -x^3 h is far larger than x, each iteration takes
    a third of the way, and 8 are better. Where theta h f' passes 1 the equation may have several solutions, and x' be
    any of them: take smaller steps. The linear systems are eliminated with pairwise pivoting (Sorensen 1985), up to 8
    components. With d of them a step evaluates the drift (1 + d) iterations + 1 times. A state that is one array or
    tensor is refused: its elements may be coupled. Kloeden & Platen 1992, section 12.2.

    Raises TypeError and ValueError for what is not in its domain; `make` raises ValueError for larger systems.

    >>> import sdekit as sk
    >>> fast = sk.SDE(lambda x, t, L: -L * x, lambda x, t: 1.0, L=1000.0)
    >>> paths = sk.simulate(fast, 0.0, t=1.0, steps=20, paths=10_000, seed=1, save="final", method=theta(0.5))
    >>> bool(abs(paths.final.var() / (1 / 2000) - 1) < 0.1)  # the stationary variance 1 / (2 L), at L h = 50
    True
    """
    if not isinstance(theta, Real) or isinstance(theta, bool):
        raise TypeError(f"theta must be a number between 0 (explicit) and 1 (implicit), got {theta!r}")
    if not 0 <= theta <= 1:
        raise ValueError(f"theta must be between 0 (explicit) and 1 (implicit), got {theta!r}")
    if not isinstance(iterations, int) or isinstance(iterations, bool) or iterations < 1:
        raise ValueError(f"iterations of Newton's method must be an integer >= 1, got {iterations!r}")
    return _theta_method(float(theta), iterations)


@lru_cache(maxsize=64)
def _theta_method(theta: float, iterations: int) -> Method:
    name = f"theta({theta})" if iterations == ITERATIONS else f"theta({theta}, iterations={iterations})"

    def make(c: Coefficients) -> Callable:
        return _theta(c, theta, iterations)

    cost, order = (2 * iterations + (theta < 1.0), 2 if theta == 0.5 else 1) if theta else (1, 1)
    return Method(name, make, strong=0.5, weak=1.0, additive=1.0, evaluations=(cost, 1),
                  ode=ODEMethod(name, make, order, cost))


def _theta(c: Coefficients, theta: float, iterations: int) -> Callable:
    if theta == 0.0:
        return (euler if c.g is None else euler_maruyama).make(c)
    if c.shape.dim > LARGEST:
        raise ValueError(f"theta solves systems of at most {LARGEST} components, this one has {c.shape.dim}; for more, "
                         "srock_with(stages) is explicit and bears stiff drifts whose rates are real")
    f, add, scale, noise, newton, check = c.f, c.add, c.scale, _noise(c), _newton(c), PythonOnly(_only_numbers)

    def step(x, t, h, dw, p):
        if not isinstance(x[0], float):
            check(x)
        b = add(x, noise(x, t, dw, p))
        if theta < 1.0:
            b = add(b, scale((1.0 - theta) * h, f(x, t, p)))
        y = x
        for _ in range(iterations):
            y = newton(y, b, t + h, theta * h, p)
        return y

    return step


def _only_numbers(x) -> None:
    if getattr(x[0], "ndim", 0) > 1:
        raise ValueError(f"theta solves for numbers and tuples of at most {LARGEST} of them, not for a state that is "
                         "one array or tensor, whose elements may be coupled; use srock_with(stages)")


def _newton(c: Coefficients) -> Callable:
    """(y, b, t, h, p) -> the next iterate for y = b + h f(y, t): y - z with (1 - h df/dy) z = y - h f - b.

    d + 1 evaluations of f; no branch, so that it works on all paths at once.
    """
    d = c.shape.dim
    lines = ["k = f(y, t, p)"]
    for j in range(d):
        moved = as_tuple(f"y[{i}] + s{j}" if i == j else f"y[{i}]" for i in range(d))
        lines += [f"s{j} = apart * (abs(y[{j}]) + abs(b[{j}]) + abs(h * k[{j}])) + 1e-30", f"f{j} = f({moved}, t, p)"]
    for i in range(d):
        lines += [f"a{i}_{j} = {float(i == j)} - h * (f{j}[{i}] - k[{i}]) / s{j}" for j in range(d)]
        lines += [f"a{i}_{d} = y[{i}] - h * k[{i}] - b[{i}]"]
    for k in range(d):
        for i in range(k + 1, d):  # the row with the larger entry becomes row k; then row i is cleared of component k
            lines += [f"m = 1.0 * (abs(a{i}_{k}) > abs(a{k}_{k}))"]
            lines += [f"a{k}_{j}, a{i}_{j} = m * a{i}_{j} + (1.0 - m) * a{k}_{j}, m * a{k}_{j} + (1.0 - m) * a{i}_{j}"
                      for j in range(k, d + 1)]
            lines += [f"q = a{i}_{k} / a{k}_{k}"]
            lines += [f"a{i}_{j} = a{i}_{j} - q * a{k}_{j}" for j in range(k + 1, d + 1)]
    for k in reversed(range(d)):
        known = "".join(f" - a{k}_{j} * z{j}" for j in range(k + 1, d))
        lines += [f"z{k} = (a{k}_{d}{known}) / a{k}_{k}"]
    lines += ["return " + as_tuple(f"y[{i}] - z{i}" for i in range(d))]
    return written("y, b, t, h, p", "; ".join(lines), f=c.f, apart=APART, __name__=__name__)


def srock_with(stages: int, damping: float = DAMPING) -> Method:
    """The stabilised explicit method of so many stages, S-ROCK with Chebyshev polynomials of the second kind.

        K_1  = x + mu_1 h f(x + nu_1 Q) + kappa_1 Q
        K_j  = mu_j h f(K_{j-1}) + nu_j K_{j-1} + kappa_j K_{j-2},  j = 2..s,  K_0 = x, x' = K_s
        mu_1 = w1 / w0,                    nu_1 = s w1 / 2,              kappa_1 = s w1 / w0
        mu_j = 2 w1 T_{j-1}(w0) / T_j(w0), nu_j = 2 w0 T_{j-1} / T_j,    kappa_j = 1 - nu_j
        w0   = 1 + damping / s^2,          w1 = T_s(w0) / T_s'(w0)

    stages    s, an integer >= 2; a step evaluates the drift s times and the diffusion once
    damping   > 0; the stable interval shrinks by 4/3 s^2 for a unit of it

    On dX = -l X dt + m X dW it is stable in the mean square wherever the solution is, m^2 <= 2 l, up to
    l h = (2 - 4/3 damping) s^2, measured 1.93 s^2 for the default; Euler-Maruyama up to nothing where m^2 = 2 l, and
    to l h = 2 without noise. For stiff drifts whose rates are real and negative, diffusion equations for example.
    Abdulle, Almuslimani & Vilmart 2018 (SIAM/ASA J. Uncertain. Quantif. 6), SK-ROCK; it supersedes the S-ROCK methods
    of Abdulle & Cirilli 2008 and Abdulle & Li 2008, of a stable interval of 0.33 s^2.

    Raises TypeError and ValueError for what is not in its domain.

    >>> import sdekit as sk
    >>> stiff = sk.SDE(lambda x, t: -1000.0 * x, lambda x, t: 40.0 * x)
    >>> end = sk.simulate(stiff, 1.0, t=1.0, steps=25, paths=1000, seed=1, method=srock_with(5)).final  # l h = 40
    >>> bool(abs(end).max() < 1e-2)
    True
    """
    if not isinstance(stages, int) or isinstance(stages, bool):
        raise TypeError(f"stages must be an integer >= 2, got {stages!r}")
    if not isinstance(damping, Real) or isinstance(damping, bool):
        raise TypeError(f"damping must be a number > 0, such as 0.05; got {damping!r}")
    if not 2 <= stages <= 1000:
        raise ValueError(f"stages must lie between 2 and 1000, got {stages}; for 1 take euler_maruyama")
    if not 0 < damping <= 1:
        raise ValueError(f"damping must lie in (0, 1], such as 0.05; got {damping!r}")
    return _srock_method(stages, float(damping))


@lru_cache(maxsize=64)
def _srock_method(stages: int, damping: float) -> Method:
    name = f"srock_with({stages})" if damping == DAMPING else f"srock_with({stages}, {damping})"

    def make(c: Coefficients) -> Callable:
        return _srock(c, *chebyshev(stages, damping))

    return Method(name, make, strong=0.5, weak=1.0, additive=1.0, evaluations=(stages, 1),
                  ode=ODEMethod(name, make, order=1, evaluations=stages))


def chebyshev(stages: int, damping: float) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    """mu, nu, kappa of `srock_with`, for its stages 1..s."""
    w0 = 1.0 + damping / stages**2
    T, slope = [1.0, w0], [0.0, 1.0]  # T_j(w0) and T_j'(w0)
    for j in range(2, stages + 1):
        T.append(2.0 * w0 * T[-1] - T[-2])
        slope.append(2.0 * T[j - 1] + 2.0 * w0 * slope[-1] - slope[-2])
    w1 = T[stages] / slope[stages]
    ratio = [T[j - 1] / T[j] for j in range(2, stages + 1)]
    nu = [2.0 * w0 * r for r in ratio]
    return ((w1 / w0, *(2.0 * w1 * r for r in ratio)), (stages * w1 / 2.0, *nu),
            (stages * w1 / w0, *(1.0 - v for v in nu)))


def _srock(c: Coefficients, mu: tuple, nu: tuple, kappa: tuple) -> Callable:
    f, add, scale, noise, stages = c.f, c.add, c.scale, _noise(c), len(mu)
    stage = c.each(lambda slope, last, before, m, n, k: m * slope + n * last + k * before, 3)
    time = [0.0, mu[0]]  # K_j is a value at t + time_j h
    for j in range(1, stages):
        time.append(mu[j] + nu[j] * time[-1] + kappa[j] * time[-2])
    at = tuple(time)

    def step(x, t, h, dw, p):
        Q = noise(x, t, dw, p)
        before, last = x, stage(f(add(x, scale(nu[0], Q)), t, p), x, Q, mu[0] * h, 1.0, kappa[0])
        for j in range(1, stages):
            before, last = last, stage(f(last, t + at[j] * h, p), last, before, mu[j] * h, nu[j], kappa[j])
        return last

    return step


#: `srock_with` of 5 stages: stable up to l h = 48.
srock = srock_with(5)
