"""BAOAB for under-damped Langevin dynamics, `processes.UnderdampedLangevin`: a composition of exact flows,

    B   V' = V + h/2 F(Q) / m                                               half a kick
    A   Q' = Q + h/2 V                                                      half a drift
    O   V' = e^{-gamma h} V + ((1 - e^{-2 gamma h}) kT / m)^{1/2} dW / h^{1/2}    the heat bath, its exact law
    A, B again, the force at the new place
"""

from collections.abc import Callable

import numpy as np

from sdekit.components import Coefficients, as_tuple, written
from sdekit.methods import Method
from sdekit.ode import ODEMethod


def _baoab(c: Coefficients) -> Callable:
    langevin, n = c.langevin, c.shape.dim // 2
    if langevin is None or c.shape.dim != 2 * n:
        raise ValueError("baoab takes an UnderdampedLangevin(force, gamma, temperature, ...) alone, whose force and "
                         "friction it needs apart; give one, or take another method")
    q, v = [f"x[{i}]" for i in range(n)], [f"x[{n + i}]" for i in range(n)]
    kick = written("x, k, h", "return " + as_tuple(q + [f"{v[i]} + h * k[{i}]" for i in range(n)]))
    drift = written("x, h", "return " + as_tuple([f"{q[i]} + h * {v[i]}" for i in range(n)] + v))
    noise = [""] * n if c.g is None else [f" + s * dw[{i}]" for i in range(n)]
    bath = written("x, e, s, dw", "return " + as_tuple(q + [f"e * {v[i]}{noise[i]}" for i in range(n)]))

    def step(x, t, h, dw, p):
        k = langevin(x, t, p)
        gamma, heat = k[n], k[n + 1]  # heat is kT / m
        x = drift(kick(x, k, 0.5 * h), 0.5 * h)
        x = bath(x, np.exp(-gamma * h), (-np.expm1(-2.0 * gamma * h) * heat / h) ** 0.5, dw)
        x = drift(x, 0.5 * h)
        return kick(x, langevin(x, t + h, p), 0.5 * h)

    return step


#: BAOAB (Leimkuhler & Matthews 2013, Appl. Math. Res. Express 2013, 34): a harmonic force's positions have the exact
#: stationary variance at every stable step, h < 2 / omega. Without friction it is velocity Verlet.
baoab = Method("baoab", _baoab, strong=1.0, weak=2.0, calculus="any", noise="additive", evaluations=(2, 0),
               ode=ODEMethod("baoab", _baoab, order=2, evaluations=2))
