"""Ito and Stratonovich: the same process, written in the sense of the other calculus.

    dX = f dt + g dW  in Ito's sense  is  dX = (f - (1/2) sum_k (dg_k/dx) g_k) dt + g o dW  in Stratonovich's,

g_k the k-th column of g, the coefficients of noise k (Kloeden & Platen, section 4.9). With noise that does not depend
on the state they are the same.

Derivatives are central differences of the fourth order. A component that moves alone goes 1 and 2 steps of

    h = 10^-4 max(|x|, 10^-2);

along a column all components go at once, the one that goes furthest in units of its own h by 1 and 2 of them. Each
noise takes 4 evaluations of g; the noises of one number share theirs. Exact for polynomials of degree up to 4, but for
rounding, which is about 2 10^-12 g_k^2 / max(|x|, 10^-2). Other functions add (h/l)^4 / 30, l the distance over which
they change: below rounding for l = |x| and larger; 3 10^-6 for the sine of 1000.

The steps stay in a domain that begins at 0 for x > 2 10^-6: the derivative of sqrt(x) is right to 10^-8 for x > 10^-4,
to 10^-4 for x > 10^-5. Closer to its end, or within 2 10^-4 |b| of an end b elsewhere, it needs a diffusion that is
defined beyond, such as sqrt(max(x, 0)).
"""

from collections.abc import Callable, Iterable
from itertools import count

import numpy as np

from sdekit.components import as_tuple, written
from sdekit.maths import BySize
from sdekit.sde import SDE, Stratonovich, takes


def to_stratonovich(sde: SDE) -> Stratonovich:
    """The same process in the sense of Stratonovich: its drift is f - (1/2) sum_k (dg_k/dx) g_k.

    The diffusion and the parameters stay, by name; both functions may take any of them. For the error of the
    derivative, and where it is taken, see this module. For a tensor state each element's diffusion may depend on that
    element and on time alone. One in that sense already is returned as it is, one that `to_ito` made as it was. Raises
    TypeError for anything but an SDE.

    Source: Kloeden & Platen, Numerical Solution of Stochastic Differential Equations, section 4.9.

    >>> import sdekit as sk
    >>> gbm = sk.GeometricBrownianMotion(mu=0.5, sigma=0.2)
    >>> same = to_stratonovich(gbm)
    >>> same
    Stratonovich(mu=0.5, sigma=0.2)
    >>> round(float(same.drift(10.0, 0.0, mu=0.5, sigma=0.2)), 9)          # (0.5 - 0.2^2 / 2) 10
    4.8
    >>> to_ito(same) is gbm
    True
    """
    if _checked(sde).calculus == "stratonovich":
        assert isinstance(sde, Stratonovich)
        return sde
    return _converted(sde, Stratonovich, -0.5)


def to_ito(sde: SDE) -> SDE:
    """The same process in the sense of Ito: its drift is f + (1/2) sum_k (dg_k/dx) g_k; all else as `to_stratonovich`.

    >>> import sdekit as sk
    >>> same = to_ito(Stratonovich(lambda x, t: 0.0 * x, lambda x, t, b: b * x, b=0.2))
    >>> same
    SDE(b=0.2)
    >>> round(float(same.drift(10.0, 0.0, b=0.2)), 9)                      # 0.2^2 / 2 10
    0.2
    """
    return sde if _checked(sde).calculus == "ito" else _converted(sde, SDE, 0.5)


def _checked(sde) -> SDE:
    if not isinstance(sde, SDE):
        raise TypeError(f"only an SDE has a sense to convert, got {sde!r}; an ODE is the same in both")
    return sde


def _converted(sde: SDE, kind: type, half: float):
    if "converted_from" in vars(sde):
        return vars(sde)["converted_from"]
    names = tuple(sde.parameters)
    f, g = in_order(sde.drift, names), in_order(sde.diffusion, names)
    drift = written("x, t, p", "return corrected(x, t, f(x, t, p), g(x, t, p), p)", f=f, g=g,
                    corrected=_corrected(g, half))
    other = kind(by_name(drift, names), sde.diffusion, **sde.parameters)
    object.__setattr__(other, "converted_from", sde)
    return other


def _corrected(diffusion: Callable, half: float) -> BySize:
    """(x, t, f, g, p) -> f + half sum_k (dg_k/dx) g_k, where f and g are the coefficients at x."""
    def make(x, t, f, g, p):
        if x is None:
            body = _of_a_number(g)
        else:
            check_size(x, g)
            body = _of_a_diagonal(len(x)) if g[0] is None else _of_a_matrix(len(x), len(g[0]))
        return written("x, t, f, g, p", body, spread=diffusion, half=half, spacing=spacing, stretch=stretch,
                       maximum=np.maximum)

    return BySize(make)


def _of_a_number(g: tuple | None) -> str:
    noises = [""] if g is None else [f"[{k}]" for k in range(len(g))]
    total = " + ".join(f"g{k} * {difference('y', k, 'h')}" for k in noises)
    return f"h = spacing(x); {around('y', 'spread({}, t, p)', 'x + {} * h')}; return f + half * ({total})"


def _of_a_diagonal(d: int) -> str:
    """Component j is moved by its own noise alone."""
    lines = [f"h{j} = spacing(x[{j}]); {around(f'y{j}_', f'spread({{}}, t, p)[{j}]', moved(d, j))}" for j in range(d)]
    drift = as_tuple(f"f[{j}] + half * (g[{j}] * {difference(f'y{j}_', '', f'h{j}')})" for j in range(d))
    return "; ".join([*lines, f"return {drift}"])


def _of_a_matrix(d: int, m: int) -> str:
    """Column k is followed along itself: d/dh g(x + h g_k) at h = 0."""
    lines = []
    for k in range(m):
        largest = f"abs(g[0][{k}]) / spacing(x[0])"
        for i in range(1, d):
            largest = f"maximum({largest}, abs(g[{i}][{k}]) / spacing(x[{i}]))"
        along = as_tuple(f"x[{i}] + {{0}} * (h{k} * g[{i}][{k}])" for i in range(d))
        lines.append(f"h{k} = stretch({largest}); {around(f'y{k}_', 'spread({}, t, p)', along)}")
    sums = (" + ".join(difference(f"y{k}_", f"[{i}][{k}]", f"h{k}") for k in range(m)) for i in range(d))
    return "; ".join([*lines, "return " + as_tuple(f"f[{i}] + half * ({total})" for i, total in enumerate(sums))])


# Differences, shared with `reverse`: numbers, and the source of written functions


def spacing(x):
    """h, see above."""
    return 1e-4 * np.maximum(np.abs(x), 1e-2)


def stretch(largest):
    """1 / largest; 1 where a column is zero, and stays where it is."""
    return 1.0 / np.where(largest > 1e-300, largest, 1.0)


def around(label: str, function: str, point: str) -> str:
    """Statements: label0, ..., label3 are the function at the point with -2, -1, 1 and 2 steps put in."""
    return "; ".join(f"{label}{n} = {function.format(point.format(f'({s})'))}"
                     for n, s in enumerate((-2.0, -1.0, 1.0, 2.0)))


def difference(label: str, entry: str, h: str) -> str:
    """The derivative of an entry of what `around` named, the steps being h apart."""
    y = [f"{label}{n}{entry}" for n in range(4)]
    return f"((8.0 * ({y[2]} - {y[1]}) - ({y[3]} - {y[0]})) / (12.0 * {h}))"


def check_size(x: tuple, g: tuple | None) -> None:
    """Raise ValueError unless the diffusion has a row for each component."""
    if g is None or len(g) != len(x):
        raise ValueError(f"x0 has {len(x)} components, so diffusion must return a tuple of {len(x)}")


def moved(d: int, j: int) -> str:
    """x with component j moved by steps of hj, which are to be put in."""
    return as_tuple(f"x[{i}]" + (f" + {{0}} * h{j}" if i == j else "") for i in range(d))


# Parameters: by name for users, in a tuple inside


def in_order(function: Callable, names: tuple[str, ...]) -> Callable:
    """(x, t, p) -> function(x, t, its parameters by name), p the values of the names."""
    named = [f"{k}=p[{names.index(k)}]" for k in takes(function) if k in names]
    return written("x, t, p", f"return user({', '.join(['x', 't', *named])})", user=function)


def by_name(inner: Callable, names: Iterable[str]) -> Callable:
    """(x, t, parameters by name) -> inner(x, t, their values in a tuple)."""
    names = list(names)
    x, t, call = (next(k for k in (name + n * "_" for n in count()) if k not in names) for name in ("x", "t", "inner"))
    return written(", ".join([x, t, *names]), f"return {call}({x}, {t}, {as_tuple(names)})", **{call: inner})
