"""The engines' form of an equation: functions on tuples of components, their parameters a tuple of numbers.

A user's functions take a number or a few components and return numbers or tuples of them. Methods and engines see
one form only: f(x, t, p) and g(x, t, p) with x and f's value a tuple of dim components. The few lines of tuple
arithmetic that a method needs are written out here for the equation's own number of components and noises, as
plain Python that NumPy runs and Numba compiles without a loop or an allocation.
"""

from collections.abc import Callable
from dataclasses import dataclass

from sdekit.sde import Structure, takes


@dataclass(frozen=True)
class Coefficients:
    """An equation in the engines' form; x, y and h x are dim-tuples, p the tuple of the parameters' values.

    f(x, t, p)            the drift, a dim-tuple
    g(x, t, p)            the diffusion: a dim-tuple if diagonal, else dim tuples of noises; None for an ODE
    exact(x, t, h, z, p)  the exact transition over a step h with normals z, or None
    add(x, y)             x + y
    scale(h, x)           h x
    dot(g, dw)            the product of the diffusion with the noise, a dim-tuple
    """

    f: Callable
    g: Callable | None
    exact: Callable | None
    add: Callable
    scale: Callable
    dot: Callable


def coefficients(drift: Callable, diffusion: Callable | None, transition: Callable | None, names: tuple[str, ...],
                 shape: Structure) -> Coefficients:
    """The functions in the engines' form; `names` are the parameters whose values p holds, in that order.

    >>> from sdekit.sde import Structure
    >>> scalar = Structure(dim=1, noises=1, diagonal=True, scalar=True)
    >>> coefficients(lambda x, t, k: -k * x, lambda x, t: 1.0, None, ("k",), scalar).f((3.0,), 0.0, (2.0,))
    (-6.0,)
    """
    components = range(shape.dim)
    if shape.diagonal:
        product = [f"g[{i}] * dw[{i}]" for i in components]
    else:
        product = [" + ".join(f"g[{i}][{j}] * dw[{j}]" for j in range(shape.noises)) for i in components]
    return Coefficients(
        f=_call(drift, names, shape.scalar, "x, t"),
        g=None if diffusion is None else _call(diffusion, names, shape.scalar, "x, t"),
        exact=None if transition is None else _call(transition, names, shape.scalar, "x, t, h, z"),
        add=written("x, y", "return " + as_tuple(f"x[{i}] + y[{i}]" for i in components)),
        scale=written("h, x", "return " + as_tuple(f"h * x[{i}]" for i in components)),
        dot=written("g, dw", "return " + as_tuple(product)),
    )


def _call(function: Callable, names: tuple[str, ...], scalar: bool, arguments: str) -> Callable:
    """(arguments, p) -> function(arguments, its parameters by name), a bare number's x[0] taken out and put back."""
    named = [f"{k}=p[{names.index(k)}]" for k in takes(function, arguments.count(",") + 1) if k in names]
    given = arguments.replace("x", "x[0]").replace("z", "z[0]") if scalar else arguments
    body = f"user({', '.join([given, *named])})"
    return written(f"{arguments}, p", f"return ({body},)" if scalar else f"return {body}", user=function)


def as_tuple(items) -> str:
    """The source of a tuple of these expressions."""
    return "(" + "".join(f"{item}, " for item in items) + ")"


def written(arguments: str, body: str, **names) -> Callable:
    """The function `def function(arguments): body`, with `names` its globals."""
    exec(f"def function({arguments}): {body}", names)
    return names["function"]
