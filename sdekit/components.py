"""The engines' form of an equation: functions on tuples of components, their parameters a tuple of numbers.

A user's functions take a number or a few components and return numbers or tuples of them. Methods and engines see
one form only: f(x, t, p) and g(x, t, p) with x and f's value a tuple of dim components. The few lines of tuple
arithmetic that a method needs are written out here for the equation's own number of components and noises, as
plain Python that NumPy runs and Numba compiles without a loop or an allocation.
"""

from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature

from sdekit.sde import Structure, takes


@dataclass(frozen=True)
class Coefficients:
    """An equation in the engines' form; x, y and h x are dim-tuples, p the tuple of the parameters' values.

    f(x, t, p)            the drift, a dim-tuple
    g(x, t, p)            the diffusion: a dim-tuple if diagonal, else dim tuples of noises; None for an ODE
    exact(x, t, h, z, p)  the process's own transition over a step h, or None; z its normals, or its place in the noise
    add(x, y)             x + y
    scale(h, x)           h x
    dot(g, dw)            the product of the diffusion with the first `noises` of dw, a dim-tuple
    shape                 how many components and noises, and whether the diffusion is written as a diagonal
    kind                  of the noise (see `sdekit.kinds`); "general" where nobody asked
    langevin(x, t, p)     the accelerations, gamma and kT/m of a Langevin equation (see `processes.langevin`), or None
    """

    f: Callable
    g: Callable | None
    exact: Callable | None
    add: Callable
    scale: Callable
    dot: Callable
    shape: Structure
    kind: str = "general"
    langevin: Callable | None = None

    def each(self, function: Callable, vectors: int) -> Callable:
        """`function` of numbers, component by component: its first `vectors` arguments are dim-tuples, the others
        numbers; the value is a dim-tuple.

        >>> from sdekit.sde import Structure
        >>> c = coefficients(lambda x, t: x, None, None, (), Structure(2, 2, True, False))
        >>> c.each(lambda x, k, h: x + h * k, 2)((1.0, 2.0), (10.0, 20.0), 0.5)
        (6.0, 12.0)
        """
        names = list(signature(function).parameters)
        values = (", ".join(f"{k}[{i}]" if n < vectors else k for n, k in enumerate(names))
                  for i in range(self.shape.dim))
        return written(", ".join(names), "return " + as_tuple(f"one({v})" for v in values), one=function)

    def columns(self) -> Callable:
        """g -> its columns, one for each noise: tuples of dim."""
        d, m = self.shape.dim, self.shape.noises
        if self.shape.diagonal:
            column = lambda j: as_tuple(f"g[{i}]" if i == j else "0.0" for i in range(d))
        else:
            column = lambda j: as_tuple(f"g[{i}][{j}]" for i in range(d))
        return written("g", "return " + as_tuple(column(j) for j in range(m)))

    def own(self) -> Callable:
        """g -> the one coefficient of each component: of a diagonal, or of a single noise. A dim-tuple."""
        assert self.single
        return written("g", "return " + as_tuple(f"g[{i}]" if self.shape.diagonal else f"g[{i}][0]"
                                                 for i in range(self.shape.dim)))

    def drives(self, block: int = 0) -> Callable:
        """dw -> for each component the draw of the one noise that moves it: its increment (block 0), or its space-time
        area (block 1). A dim-tuple."""
        d, m = self.shape.dim, self.shape.noises
        assert self.single
        return written("dw", "return " + as_tuple(f"dw[{block * m + (i if self.shape.diagonal else 0)}]"
                                                  for i in range(d)))

    @property
    def single(self) -> bool:
        """Whether each component is moved by one noise: a diagonal, or one noise for all."""
        return self.shape.diagonal or self.shape.noises == 1

    def areas(self) -> Callable:
        """dw -> A, the noises x noises tuple of tuples of Levy areas A_jk = 1/2 int W_j dW_k - W_k dW_j.

        They follow the increments and the space-time areas in dw, those with j < k, row by row.
        """
        m = self.shape.noises
        pairs = [(j, k) for j in range(m) for k in range(j + 1, m)]

        def entry(j: int, k: int) -> str:
            if j == k:
                return "0.0"
            place = 2 * m + pairs.index((min(j, k), max(j, k)))
            return f"dw[{place}]" if j < k else f"-dw[{place}]"

        return written("dw", "return " + as_tuple(as_tuple(entry(j, k) for k in range(m)) for j in range(m)))


def coefficients(drift: Callable | None, diffusion: Callable | None, transition: Callable | None,
                 names: tuple[str, ...], shape: Structure, kind: str = "general", langevin: Callable | None = None,
                 place: bool = False) -> Coefficients:
    """The functions in the engines' form; `names` are the parameters whose values p holds, in that order. `place`: the
    transition gets its place in the noise.

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
        f=_no_drift if drift is None else _call(drift, names, shape.scalar, "x, t"),
        g=None if diffusion is None else _call(diffusion, names, shape.scalar, "x, t"),
        exact=None if transition is None else _call(transition, names, shape.scalar,
                                                    "x, t, h, place" if place else "x, t, h, z"),
        add=written("x, y", "return " + as_tuple(f"x[{i}] + y[{i}]" for i in components)),
        scale=written("h, x", "return " + as_tuple(f"h * x[{i}]" for i in components)),
        dot=written("g, dw", "return " + as_tuple(product)),
        shape=shape, kind=kind, langevin=None if langevin is None else _call(langevin, names, False, "x, t"),
    )


def _no_drift(x, t, p):
    raise TypeError("this process is known by its transition alone")


def _call(function: Callable, names: tuple[str, ...], scalar: bool, arguments: str) -> Callable:
    """(arguments, p) -> function(arguments, its parameters by name), a bare number's x[0] taken out and put back."""
    place = {k: i for i, k in enumerate(names)}
    named = [f"{k}=p[{place[k]}]" for k in takes(function, arguments.count(",") + 1) if k in place]
    given = arguments.replace("x", "x[0]").replace(", z", ", z[0]") if scalar else arguments
    body = f"user({', '.join([given, *named])})"
    return written(f"{arguments}, p", f"return ({body},)" if scalar else f"return {body}", user=function)


def as_tuple(items) -> str:
    """The source of a tuple of these expressions."""
    return "(" + "".join(f"{item}, " for item in items) + ")"


def written(arguments: str, body: str, **names) -> Callable:
    """The function `def function(arguments): body`, with `names` its globals."""
    exec(f"def function({arguments}): {body}", names)
    return names["function"]
