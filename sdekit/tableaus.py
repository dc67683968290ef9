"""Coefficients of stochastic Runge-Kutta methods, as data, and their order conditions.

Over a step of length h a noise gives its increment W ~ N(0, h) and its space-time area H ~ N(0, h/12), and with them

    I_10 = int W ds = h (W/2 + H),    I_01 = int s dW = h (W/2 - H),
    I_11 = (W^2 - h)/2,    I_111 = (W^3 - 3 h W)/6.

`conditions` of a tableau returns residuals, by name; the method has its order where all of them are 0.
"""

from dataclasses import dataclass
from functools import singledispatch

import numpy as np

Row = tuple[float, ...]


@dataclass(frozen=True)
class Additive:
    """Strong order 1.5 and weak order 2 for dX = f(X, t) dt + g(t) dW, with one evaluation of f at each end.

    f1 = f(x + (p1 W + q1 H) g, t),    f2 = f(x + a h f1 + (p2 W + q2 H) g, t + h),    g = g(t)
    x' = x + h (alpha1 f1 + alpha2 f2) + (u1 W + v1 H) g(t) + (u2 W + v2 H) g(t + h)
    """

    alpha: Row
    a: float
    p: Row
    q: Row
    u: Row
    v: Row


@dataclass(frozen=True)
class Diagonal:
    """Strong order 1.5 and weak order 2 where each component is moved by one noise; f1 and alpha, p, q are `drift`'s.

    g1 = g(x, t),    g+- = g(x + a h f1 +- b r g1, t + h),    r = sqrt(h)
    f2 = f(x + a h f1 + (p2 W + q2 H) g1 + (e1 W^2 + e2 W H + e3 H^2 + e4 h) (g+ - g-)/r, t + h)
    g0 = g(x + h ((1 - c) f1 + c f2) + d r (g+ - g-), t + h)
    x' = x + h (alpha1 f1 + alpha2 f2) + I_10/h g1
           + u I_01/h (g+ + g-) + v I_11/r (g+ - g-) + I_111/h (w1 (g+ + g-) + w2 g0)
    """

    drift: Additive
    b: float
    c: float
    d: float
    e: Row
    u: float
    v: float
    w: Row


@dataclass(frozen=True)
class Weak:
    """Weak order 2 for any noise; `dri1` in `sdekit.runge_kutta` writes out the step.

    The stages are those of Debrabant & Roessler 2009 (Appl. Numer. Math. 59): A0, B0 of the drift's, A1, B1 of the
    diffusion's along its own noise, B2 (with A2 = 0) of those along the others.
    """

    alpha: Row
    A0: tuple[Row, Row, Row]
    B0: tuple[Row, Row, Row]
    A1: tuple[Row, Row, Row]
    B1: tuple[Row, Row, Row]
    B2: tuple[Row, Row, Row]
    beta: tuple[Row, Row, Row, Row]


@singledispatch
def conditions(tableau) -> dict[str, float]:
    """Residuals by name, all 0 where the order holds."""
    raise TypeError(f"no order conditions are known for {tableau!r}")


@conditions.register
def _additive(t: Additive) -> dict[str, float]:
    """Roessler 2010 (SIAM J. Numer. Anal. 48), section 6, with H beside W: E xi^2 = p^2 h + q^2 h/12."""
    alpha, p, q, u, v, ends = (np.array(k) for k in (t.alpha, t.p, t.q, t.u, t.v, (0.0, 1.0)))
    found = {
        "f": alpha.sum() - 1, "f'f": alpha[1] * t.a - 1 / 2, "f_t": alpha @ ends - 1 / 2,
        "f'g, W": alpha @ p - 1 / 2, "f'g, H": alpha @ q - 1, "E f''gg": alpha @ (p**2 + q**2 / 12) - 1 / 2,
        "g, W": u.sum() - 1, "g, H": v.sum(), "g_t, W": u @ ends - 1 / 2, "g_t, H": v @ ends + 1,
    }
    return {name: float(residual) for name, residual in found.items()}


def leading_error(t: Additive) -> float:
    """The variance of the leading error, of I_110 f''gg: E (int W^2 ds/h - sum alpha_i (p_i W + q_i H)^2)^2 / h^2.

    int W^2 ds/h = W^2/3 + W H + 6/5 H^2 + h/15 + L, with L independent of W and H to second order (Foster, Lyons &
    Oberhauser 2020), var L = 7/900 h^2.
    """
    alpha, p, q = np.array(t.alpha), np.array(t.p), np.array(t.q)
    ww, wh, hh = alpha @ p**2 - 1 / 3, 2 * alpha @ (p * q) - 1, alpha @ q**2 - 6 / 5
    return float(2 * ww**2 + wh**2 / 12 + 2 * hh**2 / 144 + 7 / 900)


@conditions.register
def _diagonal(t: Diagonal) -> dict[str, float]:
    """Roessler 2010 (SIAM J. Numer. Anal. 48), section 5, for the stages of `Diagonal`, and what weak order 2 asks.

    With B_ij r g_j and A_ik h f_k in stage i of g, eta = B 1 and zeta = B eta, the Ito-Taylor expansion to order 3/2
    asks of the stages' weights s_i

        sum s = W,    sum s eta = I_11/r,    sum s eta^2 = I_01/h + 2 I_111/h,    sum s zeta = I_111/h.

    Of order 2 the mean is 0, and in E(x' - x)^2 the products of its terms with W, of order 5/2, have to vanish as well.
    e makes f'g'g, of order 2, the best that W and H allow: E(I_110 | W, H) = W^2/6 + W H/2 + 3/5 H^2 - 13/60 h, over h.
    """
    a, alpha2, p, q = t.drift.a, t.drift.alpha[1], np.array(t.drift.p), np.array(t.drift.q)
    B = np.array([[0, 0, 0, 0], [t.b, 0, 0, 0], [-t.b, 0, 0, 0], [0, t.d, -t.d, 0]])
    A = np.array([[0, 0], [a, 0], [a, 0], [1 - t.c, t.c]])
    beta = np.array([[0, t.u, t.u, 0], [0, t.v, -t.v, 0], [0, t.w[0], t.w[0], t.w[1]]])  # of I_01/h, I_11/r, I_111/h
    eta, time = B.sum(axis=1), A.sum(axis=1)
    zeta, moved = B @ eta, A @ (p / 2 - q / 12)  # the latter: E (noise in f) I_01/h^2
    found = {f"drift: {name}": residual for name, residual in _additive(t.drift).items()}
    for name, value, wanted in (
            ("g", beta.sum(axis=1), (1, 0, 0)), ("g_t and g'f", beta @ time, (1, 0, 0)), ("g'g", beta @ eta, (0, 1, 0)),
            ("g''gg", beta @ eta**2, (1, 0, 2)), ("g'g'g", beta @ zeta, (0, 0, 1))):
        found |= {f"{name}, {n}": float(value[n] - wanted[n]) for n in range(3)}
    for name, value in (
            ("g'f'g", moved), ("g''f g", eta * time), ("g''(f'g)g", eta * moved), ("g'''ggg", eta**3),
            ("g''g(g'g)", eta * zeta), ("g'g'f", B @ time), ("g'g''gg", B @ eta**2), ("g'g'g'g", B @ zeta)):
        found[f"E W {name}"] = float(beta[0] @ value)
    found["E g'f''gg"] = float(beta[1] @ A @ (p**2 + q**2 / 12))
    best = alpha2 * 2 * t.b * np.array(t.e) - (1 / 6, 1 / 2, 3 / 5, -13 / 60)
    return found | {f"f'g'g, {name}": float(best[n]) for n, name in enumerate(("WW", "WH", "HH", "h"))}


@conditions.register
def _weak(t: Weak) -> dict[str, float]:
    """Roessler 2009 (SIAM J. Numer. Anal. 47), those of his 59 conditions that are left where A2 = 0.

    The last two are the third order of the ODE's method (Hairer, Norsett & Wanner 1993, II.1).
    """
    a, A0, B0, A1, B1, B2 = (np.array(k) for k in (t.alpha, t.A0, t.B0, t.A1, t.B1, t.B2))
    b1, b2, b3, b4 = np.array(t.beta)
    c0, d0, c1, d1, d2 = (M.sum(axis=1) for M in (A0, B0, A1, B1, B2))
    first = (a.sum() - 1, b1.sum() - 1, b2.sum(), b3.sum(), b4.sum(), b1 @ d1, b3 @ d2, b4 @ d2**2)
    second = (
        a @ c0 - 1 / 2, a @ d0 - 1 / 2, a @ d0**2 - 1 / 2, a @ B0 @ d1, a @ (d0 * (B0 @ d1)),
        b1 @ c1 - 1 / 2, b1 @ d1**2 - 1 / 2, b1 @ d1**3, b1 @ B1 @ d1, b1 @ B1 @ d1**2, b1 @ B1 @ B1 @ d1,
        b1 @ (d1 * (B1 @ d1)), b1 @ (c1 * d1), b1 @ B1 @ c1, b1 @ A1 @ d0, b1 @ B1 @ A1 @ d0, b1 @ A1 @ B0 @ d1,
        b1 @ ((A1 @ d0) * d1), b2 @ d1 - 1, b2 @ c1, b2 @ d1**2, b2 @ B1 @ d1, b2 @ A1 @ d0, b2 @ A1 @ d0**2,
        b3 @ d2**2 - 1 / 2, b3 @ d2**3, b3 @ B2 @ d1, b3 @ B2 @ d1**2, b3 @ B2 @ B1 @ d1, b3 @ (d2 * (B2 @ d1)),
        b3 @ B2 @ c1, b3 @ B2 @ A1 @ d0, b4 @ d2 - 1, b4 @ d2**4, b4 @ B2 @ d1, b4 @ (B2 @ d1) ** 2,
        b4 @ (d2 * (B2 @ d1)), b4 @ (d2 * (B2 @ c1)), b4 @ (d2 * (B2 @ d1**2)), b4 @ (d2 * (B2 @ B1 @ d1)))
    ode = (a @ c0**2 - 1 / 3, a @ A0 @ c0 - 1 / 6)
    return {f"{n}": float(residual) for n, residual in enumerate((*first, *second, *ode), start=1)}


_s = 6**-0.5

#: f at both ends, and the least `leading_error` that two evaluations of it can have: 1/45; SRA1 of Roessler 2010 has
#: 1/30. ShARK of Foster, dos Reis & Strange 2024 (SIAM J. Numer. Anal. 62) is the same family with alpha = (2/5, 3/5).
ADDITIVE = Additive(alpha=(1 / 2, 1 / 2), a=1.0, p=(1 / 2 - _s, 1 / 2 + _s), q=(1.0, 1.0), u=(1 / 2, 1 / 2),
                    v=(1.0, -1.0))

#: Own coefficients. Symmetry makes the terms of weak order 2 vanish; what is free is p, q and c. p1 = q1/6 is the
#: condition for g'f'g. c, of the terms of order 2 alone, brings near to its least the mean square of the nine, of their
#: sum for linear equations and of their sums where f = g'g/2: 0.44 of SRIW1's (Roessler 2010).
DIAGONAL = Diagonal(
    drift=Additive(alpha=(1 / 2, 1 / 2), a=1.0, p=((3 - 3**0.5) / 12, (9 + 3**0.5) / 12),
                   q=((3 - 3**0.5) / 2, (1 + 3**0.5) / 2), u=(1 / 2, 1 / 2), v=(1.0, -1.0)),
    b=1.0, c=-1 / 4, d=-1 / 4, e=(1 / 6, 1 / 2, 3 / 5, -13 / 60), u=1 / 2, v=1 / 2, w=(1.0, -2.0))

_b1, _b2, _b3 = 3 * (38 / 491) ** 0.5, 214 / 513 * (1105 / 991) ** 0.5, 491 / 513 * (221 / 4955) ** 0.5
_g2, _g4 = (491 / 38) ** 0.5 / 6, (4955 / 221) ** 0.5 / 8

#: DRI1 of Debrabant & Roessler 2009, its error constants the least of that family; the ODE's method is Kutta's.
DRI1 = Weak(
    alpha=(1 / 6, 2 / 3, 1 / 6),
    A0=((0.0, 0.0, 0.0), (1 / 2, 0.0, 0.0), (-1.0, 2.0, 0.0)),
    B0=((0.0, 0.0, 0.0), ((6 - 6**0.5) / 10, 0.0, 0.0), ((3 + 2 * 6**0.5) / 5, 0.0, 0.0)),
    A1=((0.0, 0.0, 0.0), (342 / 491, 0.0, 0.0), (342 / 491, 0.0, 0.0)),
    B1=((0.0, 0.0, 0.0), (_b1, 0.0, 0.0), (-_b1, 0.0, 0.0)),
    B2=((0.0, 0.0, 0.0), (-_b2, -_b3, -_b3), (_b2, _b3, _b3)),
    beta=((193 / 684, 491 / 1368, 491 / 1368), (0.0, _g2, -_g2), (-4955 / 7072, 4955 / 14144, 4955 / 14144),
          (0.0, -_g4, _g4)))
