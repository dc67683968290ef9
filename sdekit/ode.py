"""Methods for ODEs dx/dt = f(x, t): the same habit as for SDEs, without the noise.

    step(x, t, h, dw, p) -> x at t + h;   dw is ()
"""

from collections.abc import Callable
from dataclasses import dataclass

from sdekit.components import Coefficients


@dataclass(frozen=True)
class ODEMethod:
    """A way to step, its order in h, and how often a step calls f."""

    name: str
    make: Callable[[Coefficients], Callable]
    order: int
    evaluations: int

    def __repr__(self) -> str:
        return self.name


def _euler(c: Coefficients) -> Callable:
    f, add, scale = c.f, c.add, c.scale

    def step(x, t, h, dw, p):
        return add(x, scale(h, f(x, t, p)))

    return step


def _heun(c: Coefficients) -> Callable:
    f, add, scale = c.f, c.add, c.scale

    def step(x, t, h, dw, p):
        k1 = f(x, t, p)
        k2 = f(add(x, scale(h, k1)), t + h, p)
        return add(x, scale(h / 2, add(k1, k2)))

    return step


def _rk4(c: Coefficients) -> Callable:
    f, add, scale = c.f, c.add, c.scale

    def step(x, t, h, dw, p):
        k1 = f(x, t, p)
        k2 = f(add(x, scale(h / 2, k1)), t + h / 2, p)
        k3 = f(add(x, scale(h / 2, k2)), t + h / 2, p)
        k4 = f(add(x, scale(h, k3)), t + h, p)
        return add(x, scale(h / 6, add(add(k1, k4), scale(2.0, add(k2, k3)))))

    return step


#: x' = x + h f(x, t)
euler = ODEMethod("euler", _euler, order=1, evaluations=1)

#: The trapezoidal rule, its end predicted by Euler (Heun 1900; Hairer, Norsett & Wanner 1993, II.1).
heun = ODEMethod("heun", _heun, order=2, evaluations=2)

#: The classical fourth-order method (Kutta 1901; Hairer, Norsett & Wanner 1993, II.1).
rk4 = ODEMethod("rk4", _rk4, order=4, evaluations=4)
