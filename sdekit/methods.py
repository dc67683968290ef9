"""Methods for SDEs: each a pure step on the engines' form of an equation, plus what it claims.

    step(x, t, h, dw, p) -> x at t + h;   x a tuple of components, p of parameters, dw of what it draws:

    draws    dw
    "W"      the increments dW_j ~ N(0, h), one for each noise
    "WH"     then the space-time areas H_j = 1/h int (W_j(s) - (s/h) dW_j) ds ~ N(0, h/12), independent of them
    "WHA"    then the Levy areas A_jk = 1/2 int W_j dW_k - W_k dW_j for j < k, row by row
    "P"      none of these, but the step's place in the noise, one tuple, from which `sdekit.draws` draw
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Optional

from sdekit.components import Coefficients
from sdekit.ode import ODEMethod, euler


@dataclass(frozen=True)
class Method:
    """A way to step, and its claims.

    make         Coefficients (see `sdekit.components`) -> step(x, t, h, dw, p)
    strong       order of E|X_h(T) - X(T)| in h on a given path W; None: it follows the law, not the path
    weak         order of |E phi(X_h(T)) - E phi(X(T))| in h
    additive     the strong order where the noise is additive, if that is higher
    commutative  the strong order where the noise commutes (one noise and diagonal noise do), if that is higher
    calculus     "ito", "stratonovich", or "any": of the equations that it solves. With additive noise they are the same
    noise        the widest kind of noise that it takes: "additive", "diagonal", "commutative" or "general"
    draws        what it is driven by: "W", increments; "WH", and space-time areas; "WHA", and Levy areas; "P", what it
                 draws itself: it follows the law, not the path
    evaluations  of drift and of diffusion in a step, with one noise
    ode          the method for ODEs that it is without noise
    memory       how many more copies of the state it carries along; they start as x
    general      the method to take in its place where the noise does not commute

    A method of one's own: `check_method` tells whether it is what it claims.

    >>> def make(c):
    ...     f, g, add, scale, dot = c.f, c.g, c.add, c.scale, c.dot   # taken out here, for Numba
    ...     def step(x, t, h, dw, p):                                 # x + h f(x, t) + g(x, t) dW
    ...         return add(add(x, scale(h, f(x, t, p))), dot(g(x, t, p), dw))
    ...     return step
    >>> Method("mine", make, strong=0.5, weak=1.0, additive=1.0, ode=euler)
    mine
    """

    name: str
    make: Callable[[Coefficients], Callable]
    strong: float | None
    weak: float
    additive: float | None = None
    commutative: float | None = None
    calculus: str = "ito"
    noise: str = "general"
    draws: str = "W"
    evaluations: tuple[int, int] = (1, 1)
    ode: ODEMethod | None = None
    memory: int = 0
    general: Optional["Method"] = None

    def __post_init__(self):
        for name, allowed in (("calculus", ("ito", "stratonovich", "any")), ("draws", ("W", "WH", "WHA", "P")),
                              ("noise", ("additive", "diagonal", "commutative", "general"))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"a method's {name} is one of {', '.join(allowed)}; got {getattr(self, name)!r}")
        for name in ("strong", "weak", "additive", "commutative"):
            order = getattr(self, name)
            if not (order is None and name != "weak") and not (isinstance(order, int | float) and order > 0):
                raise ValueError(f"a method's {name} order is a number > 0, or None; got {order!r}")
        if not callable(self.make):
            raise TypeError(f"make is a function of Coefficients that returns the step, got {self.make!r}")
        if not isinstance(self.evaluations, tuple) or len(self.evaluations) != 2:
            raise TypeError(f"evaluations are two numbers, of drift and of diffusion; got {self.evaluations!r}")
        if not isinstance(self.ode, ODEMethod | None) or not isinstance(self.general, Method | None):
            raise TypeError(f"ode is an ODEMethod and general a Method, or None; got {self.ode!r} and {self.general!r}")
        if not isinstance(self.memory, int) or self.memory < 0:
            raise ValueError(f"memory is how many copies of the state are carried, from 0 on; got {self.memory!r}")

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
euler_maruyama = Method("euler_maruyama", _euler_maruyama, strong=0.5, weak=1.0, additive=1.0, ode=euler)

def _drawn(c: Coefficients) -> Callable:
    transition = c.exact
    assert transition is not None, "simulate() gives this method only to processes that have it"

    def step(x, t, h, dw, p):
        return transition(x, t, h, dw[0], p)

    return step


#: The exact law of a step, for processes that have it in closed form: no error at any step size.
exact = Method("exact", _exact, strong=None, weak=float("inf"), calculus="any", evaluations=(0, 0))

#: The same for processes that draw more than normals.
exact_draws = Method("exact", _drawn, strong=None, weak=float("inf"), calculus="any", draws="P", evaluations=(0, 0))

#: A process's own approximation of the law of a step, such as Heston's: not exact, and always in its domain.
almost_exact = Method("almost_exact", _drawn, strong=None, weak=2.0, calculus="any", draws="P", evaluations=(0, 0))


def own_method(equation) -> Method | None:
    """The method by which an equation's own transition is drawn; None where it has none."""
    if getattr(equation, "transition", None) is None:
        return None
    if not equation.transition_exact:
        return almost_exact
    return exact_draws if equation.transition_draws == "P" else exact
