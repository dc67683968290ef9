"""Methods for Stratonovich equations, dX = f(X, t) dt + g(X, t) o dW, that need increments alone and take any noise.

With k(x, t) = f(x, t) h + g(x, t) dW:

    euler_heun          x~ = X + g(X, t) dW,        X' = X + f(X, t) h + (g(X, t) + g(x~, t + h)) dW / 2
    heun_stratonovich   x~ = X + k(X, t),           X' = X + (k(X, t) + k(x~, t + h)) / 2
    midpoint            x~ = X + k(X, t) / 2,       X' = X + k(x~, t + h/2)
    reversible_heun     Y' = 2X - Y + k(Y, t),      X' = X + (k(Y, t) + k(Y', t + h)) / 2

Each has dW_j dW_k / 2 where the Stratonovich-Taylor expansion has int W_j o dW_k: without the Levy areas it is of
strong order 1/2, and 1 where the noise commutes and they cancel (Ruemelin 1982, SIAM J. Numer. Anal. 19).
"""

from collections.abc import Callable

from sdekit.components import Coefficients, as_tuple, written
from sdekit.methods import Method
from sdekit.ode import ODEMethod, euler, heun


def _euler_heun(c: Coefficients) -> Callable:
    f, g, add, dot = c.f, c.g, c.add, c.dot
    move = c.each(lambda x, f, k1, k2, h: x + f * h + 0.5 * (k1 + k2), 4)
    assert g is not None

    def step(x, t, h, dw, p):
        k1 = dot(g(x, t, p), dw)
        k2 = dot(g(add(x, k1), t + h, p), dw)
        return move(x, f(x, t, p), k1, k2, h)

    return step


def _heun(c: Coefficients) -> Callable:
    add, slope = c.add, _slope(c)
    move = c.each(lambda x, k1, k2: x + 0.5 * (k1 + k2), 3)

    def step(x, t, h, dw, p):
        k1 = slope(x, t, h, dw, p)
        return move(x, k1, slope(add(x, k1), t + h, h, dw, p))

    return step


def _midpoint(c: Coefficients) -> Callable:
    add, scale, slope = c.add, c.scale, _slope(c)

    def step(x, t, h, dw, p):
        middle = add(x, scale(0.5, slope(x, t, h, dw, p)))
        return add(x, slope(middle, t + h / 2, h, dw, p))

    return step


def _reversible_heun(c: Coefficients) -> Callable:
    slope, d = _slope(c), c.shape.dim
    first = written("z", "return " + as_tuple(f"z[{i}]" for i in range(d)))
    last = written("z", "return " + as_tuple(f"z[{i}]" for i in range(d, 2 * d)))
    joined = written("x, y", "return " + as_tuple(f"{v}[{i}]" for v in "xy" for i in range(d)))
    across = c.each(lambda x, y, k: 2 * x - y + k, 3)
    move = c.each(lambda x, k1, k2: x + 0.5 * (k1 + k2), 3)

    def step(z, t, h, dw, p):
        x, y = first(z), last(z)
        k1 = slope(y, t, h, dw, p)
        y = across(x, y, k1)
        return joined(move(x, k1, slope(y, t + h, h, dw, p)), y)

    return step


def _slope(c: Coefficients) -> Callable:
    """x, t, h, dw, p -> f(x, t) h + g(x, t) dW"""
    f, g, add, scale, dot = c.f, c.g, c.add, c.scale, c.dot
    assert g is not None

    def slope(x, t, h, dw, p):
        return add(scale(h, f(x, t, p)), dot(g(x, t, p), dw))

    return slope


def _midpoint_ode(c: Coefficients) -> Callable:
    f, add, scale = c.f, c.add, c.scale

    def step(x, t, h, dw, p):
        return add(x, scale(h, f(add(x, scale(h / 2, f(x, t, p))), t + h / 2, p)))

    return step


#: Euler's method, its noise by the trapezoidal rule.
euler_heun = Method("euler_heun", _euler_heun, strong=0.5, weak=1.0, additive=1.0, commutative=1.0,
                    calculus="stratonovich", evaluations=(1, 2), ode=euler)

#: The trapezoidal rule for drift and noise, its end predicted by Euler.
heun_stratonovich = Method("heun_stratonovich", _heun, strong=0.5, weak=1.0, additive=1.0, commutative=1.0,
                           calculus="stratonovich", evaluations=(2, 2), ode=heun)

#: The midpoint rule, its middle predicted by Euler.
midpoint = Method(
    "midpoint", _midpoint, strong=0.5, weak=1.0, additive=1.0, commutative=1.0, calculus="stratonovich",
    evaluations=(2, 2), ode=ODEMethod("midpoint", _midpoint_ode, order=2, evaluations=2))

#: A step that can be taken back: from (X', Y') at t + h, the step with -h and -dW gives (X, Y), with no error but
#: rounding (Kidger, Foster, Li & Lyons 2021, algorithms 1 and 2). Its state is z = (X, Y), Y = X at the start. Without
#: noise it is of order 2, but no ODEMethod: it takes two steps. Where the drift pulls back, X' = -a X, the difference
#: of X and Y grows in the long run, like exp(a t): for long runs take `heun_stratonovich`.
reversible_heun = Method("reversible_heun", _reversible_heun, strong=0.5, weak=1.0, additive=1.0, commutative=1.0,
                         calculus="stratonovich", evaluations=(2, 2), memory=1)
