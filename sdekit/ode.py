"""Methods for ODEs dx/dt = f(x, t): the same habit as for SDEs, without the noise.

    step(x, t, h, dw, p) -> x at t + h;   dw is ()
"""

from collections.abc import Callable
from dataclasses import dataclass

from sdekit.components import Coefficients


@dataclass(frozen=True)
class ODEMethod:
    """A way to step, its order in h, and how often a step calls f.

    pair    for steps of adaptive length: Coefficients -> two functions,
            (x, t, h, p) -> (x at t + h, that minus its error, stages) and (x, h, part, stages) -> x at t + part h
    """

    name: str
    make: Callable[[Coefficients], Callable]
    order: int
    evaluations: int
    pair: Callable[[Coefficients], tuple[Callable, Callable]] | None = None

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


def _dopri5_pair(c: Coefficients) -> tuple[Callable, Callable]:
    f = c.f
    x2 = c.each(lambda x, k1, h: x + h / 5 * k1, 2)
    x3 = c.each(lambda x, k1, k2, h: x + h * (3 / 40 * k1 + 9 / 40 * k2), 3)
    x4 = c.each(lambda x, k1, k2, k3, h: x + h * (44 / 45 * k1 - 56 / 15 * k2 + 32 / 9 * k3), 4)
    x5 = c.each(lambda x, k1, k2, k3, k4, h: x + h * (
        19372 / 6561 * k1 - 25360 / 2187 * k2 + 64448 / 6561 * k3 - 212 / 729 * k4), 5)
    x6 = c.each(lambda x, k1, k2, k3, k4, k5, h: x + h * (
        9017 / 3168 * k1 - 355 / 33 * k2 + 46732 / 5247 * k3 + 49 / 176 * k4 - 5103 / 18656 * k5), 6)
    fifth = c.each(lambda x, k1, k3, k4, k5, k6, h: x + h * (
        35 / 384 * k1 + 500 / 1113 * k3 + 125 / 192 * k4 - 2187 / 6784 * k5 + 11 / 84 * k6), 6)
    fourth = c.each(lambda x, k1, k3, k4, k5, k6, k7, h: x + h * (
        5179 / 57600 * k1 + 7571 / 16695 * k3 + 393 / 640 * k4 - 92097 / 339200 * k5 + 187 / 2100 * k6 + k7 / 40), 7)
    bend = c.each(lambda k1, k3, k4, k5, k6, k7: (
        -12715105075 / 11282082432 * k1 + 87487479700 / 32700410799 * k3 - 10690763975 / 1880347072 * k4
        + 701980252875 / 199316789632 * k5 - 1453857185 / 822651844 * k6 + 69997945 / 29380423 * k7), 6)

    def between(x, y, k1, k7, b, h, s):
        rise = y - x
        r3 = h * k1 - rise
        return x + s * (rise + (1.0 - s) * (r3 + s * (rise - h * k7 - r3 + (1.0 - s) * h * b)))

    at = c.each(between, 5)

    def pair(x, t, h, p):
        k1 = f(x, t, p)
        k2 = f(x2(x, k1, h), t + h / 5, p)
        k3 = f(x3(x, k1, k2, h), t + 3 * h / 10, p)
        k4 = f(x4(x, k1, k2, k3, h), t + 4 * h / 5, p)
        k5 = f(x5(x, k1, k2, k3, k4, h), t + 8 * h / 9, p)
        k6 = f(x6(x, k1, k2, k3, k4, k5, h), t + h, p)
        y = fifth(x, k1, k3, k4, k5, k6, h)
        k7 = f(y, t + h, p)
        return y, fourth(x, k1, k3, k4, k5, k6, k7, h), (y, k1, k7, bend(k1, k3, k4, k5, k6, k7))

    def dense(x, h, part, stages):
        y, k1, k7, b = stages
        return at(x, y, k1, k7, b, h, part)

    return pair, dense


def _dopri5(c: Coefficients) -> Callable:
    pair, _ = _dopri5_pair(c)

    def step(x, t, h, dw, p):
        return pair(x, t, h, p)[0]

    return step


#: x' = x + h f(x, t)
euler = ODEMethod("euler", _euler, order=1, evaluations=1)

#: The trapezoidal rule, its end predicted by Euler (Heun 1900; Hairer, Norsett & Wanner 1993, II.1).
heun = ODEMethod("heun", _heun, order=2, evaluations=2)

#: The classical fourth-order method (Kutta 1901; Hairer, Norsett & Wanner 1993, II.1).
rk4 = ODEMethod("rk4", _rk4, order=4, evaluations=4)

#: Dormand & Prince 1980, of order 5, its error told by a method of order 4; between the steps a polynomial of order 4
#: (Hairer, Norsett & Wanner 1993, II.5 and II.6). Takes steps of each path's own length, unless `steps` says otherwise.
dopri5 = ODEMethod("dopri5", _dopri5, order=5, evaluations=7, pair=_dopri5_pair)
