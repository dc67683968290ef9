"""Methods for SDEs: each a pure step on the engines' form of an equation, plus what it claims.

    step(x, t, h, dw, p) -> x at t + h;   x, dw tuples of components and of increments dW ~ N(0, h), p parameters
"""

from collections.abc import Callable
from dataclasses import dataclass

from sdekit.components import Coefficients


@dataclass(frozen=True)
class Method:
    """A way to step, and its claims.

    make      Coefficients -> step
    strong    order of E|X_h(T) - X(T)| in h on a given path W; None: it follows the law, not the path
    weak      order of |E phi(X_h(T)) - E phi(X(T))| in h
    """

    name: str
    make: Callable[[Coefficients], Callable]
    strong: float | None
    weak: float

    def __repr__(self) -> str:
        return self.name


def _euler_maruyama(c: Coefficients) -> Callable:
    f, g, add, scale, dot = c.f, c.g, c.add, c.scale, c.dot
    assert g is not None, "simulate() takes SDEs only"

    def step(x, t, h, dw, p):
        return add(add(x, scale(h, f(x, t, p))), dot(g(x, t, p), dw))

    return step


def _exact(c: Coefficients) -> Callable:
    transition, scale = c.exact, c.scale
    assert transition is not None, "simulate() gives this method only to processes that have it"

    def step(x, t, h, dw, p):
        return transition(x, t, h, scale(1.0 / h**0.5, dw), p)

    return step


#: X' = X + f(X, t) h + g(X, t) dW, in the sense of Ito (Maruyama 1955). Strong 1 where the noise is additive.
euler_maruyama = Method("euler_maruyama", _euler_maruyama, strong=0.5, weak=1.0)

#: The exact law of a step, for processes that have it in closed form: no error at any step size.
exact = Method("exact", _exact, strong=None, weak=float("inf"))
