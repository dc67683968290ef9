"""grad log p between the cells and between the saved times: by differences, and as tables that compile.

Along an axis (log p_{i+1} - log p_i) / (x_{i+1} - x_i) stands over the face between two centres. A table is looked up
by a binary search in every direction, written out as in `sdekit.interp`, and joined by straight lines.

Straight lines in time. For a Gaussian whose variance grows from v to w in proportion to time the line's middle
is (1/v + 1/w)/2 in place of 2/(v + w), too much by a share of (w - v)^2 / (4 v w): about delta^2 / 4, delta the
difference of the two scores over their mean. Its root mean square over p is what `changes` gives for any density.
"""

import warnings
from collections.abc import Callable
from itertools import product

import numpy as np

from sdekit.components import as_tuple, written
from sdekit.density.cells import Axes, centres
from sdekit.maths import BySize, PythonOnly

FLOOR = 1e-12  # of the largest density: below it log p is held constant
ALLOWED = 0.65  # change of the score between two saved times: an error of 10% half-way


class Score(BySize):
    """grad log p, a function of (x, t) for every backend: `Density.score` in Python, a table where it is compiled.

    known    (x, t or None) -> the score at arrays, with all checks
    t, axes, density   as in `Density`
    """

    def __init__(self, known: Callable, t: np.ndarray, axes: Axes, density: np.ndarray):
        self.known, other = known, PythonOnly(known)
        super().__init__(lambda *sizes: _by_table(other, t, axes, density))

    def __call__(self, x, t=None):
        return self.known(x, t)


def slopes(p: np.ndarray, axes: Axes, axis: int) -> tuple[Axes, np.ndarray]:
    """d log p / dx_axis, and the coordinates along each axis at which it stands: faces along this one, else centres."""
    nodes = list(centres(axes))
    gap = np.diff(nodes[axis]).reshape([-1 if i == axis else 1 for i in range(p.ndim)])
    slope = np.diff(np.log(np.maximum(p, FLOOR * p.max())), axis=axis) / gap
    nodes[axis] = (nodes[axis][1:] + nodes[axis][:-1]) / 2
    return tuple(nodes), slope


def changes(p: np.ndarray, q: np.ndarray, axes: Axes) -> float:
    """(E |s_p - s_q|^2 / E |(s_p + s_q) / 2|^2)^{1/2} of two densities' scores, E the mean over both.

    >>> from scipy.stats import norm
    >>> x = np.linspace(-9, 9, 901)
    >>> p, q = (norm.pdf((x[1:] + x[:-1]) / 2, 0.0, v**0.5) for v in (1.0, 1.5))
    >>> round(changes(p, q, (x,)), 3)                               # (1 - 1/1.5) / ((1 + 1/1.5) / 2)
    0.4
    """
    difference, size = 0.0, 0.0
    for axis in range(p.ndim):
        mass = np.moveaxis(p + q, axis, 0) * np.multiply.outer(*map(np.diff, axes)).swapaxes(0, axis) \
            if p.ndim == 2 else (p + q) * np.diff(axes[0])
        over = np.moveaxis(mass[1:] + mass[:-1], 0, axis)
        (_, a), (_, b) = (slopes(each, axes, axis) for each in (p, q))
        difference, size = difference + float((over * (a - b)**2).sum()), size + float((over * (a + b)**2).sum() / 4)
    return (difference / size) ** 0.5 if size > 0 else 0.0


def warn_of_change(t: np.ndarray, axes: Axes, density: np.ndarray, k: int) -> None:
    """Tell of two saved times, k and k + 1, that are too far apart for a straight line."""
    delta = changes(density[k], density[k + 1], axes)
    if delta > ALLOWED:
        warnings.warn(f"the score between the saved times {t[k]:.6g} and {t[k + 1]:.6g} is off by about "
                      f"{delta**2 / 4:.0%}: it changes by {delta:.0%} from one to the other, and straight lines do for "
                      f"{ALLOWED:.0%}. Save more times: save=\"all\"", RuntimeWarning, stacklevel=2)


def _by_table(other: PythonOnly, t: np.ndarray, axes: Axes, density: np.ndarray) -> Callable:
    """The score of numbers by tables, of all else by `other`."""
    for k in range(len(t) - 1):
        warn_of_change(t, axes, density, k)
    if len(t) == 1:
        t, density = np.append(t, t[0] + 1.0), np.concatenate([density, density])
    names: dict = {"np": np}
    lines, values = _found("k", "t", t, names), []
    for c in range(len(axes)):
        many = [slopes(p, axes, c) for p in density]
        names[f"table_{c}"] = np.stack([slope for _, slope in many])
        for a, nodes in enumerate(many[0][0]):
            lines += _found(f"i{c}{a}", f"x[{a}]" if len(axes) == 2 else "x", nodes, names)
        index = ["k", *(f"i{c}{a}" for a in range(len(axes)))]
        values.append(" + ".join(
            " * ".join(f"part_{i}" if up else f"(1.0 - part_{i})" for i, up in zip(index, corner))
            + f" * table_{c}[{', '.join(f'{i} + {up}' for i, up in zip(index, corner))}]"
            for corner in product((0, 1), repeat=len(index))))
    result = as_tuple(values) if len(axes) == 2 else values[0]
    looked_up = written("x, t", "; ".join([*lines, f"return {result}"]), **names)

    def pick(one, x, t):
        if isinstance(one, (float, int)):
            return looked_up(x, t)
        return other(x, t)

    return written("x, t", f"return pick({'x[0]' if len(axes) == 2 else 'x'}, x, t)", pick=pick)


def _found(i: str, x: str, nodes: np.ndarray, names: dict) -> list[str]:
    """Statements that find i, the piece between nodes i and i + 1 in which x is (NaN: the first), and the part of it
    before x, between 0 and 1."""
    inner = nodes[1:-1]
    depth = len(inner).bit_length()
    names |= {f"inner_{i}": np.append(inner, np.full(2**depth - 1 - len(inner), np.inf)), f"nodes_{i}": nodes}
    steps = [f"{i} = {i} + {2**k} * (inner_{i}[{i} + {2**k - 1}] <= {x})" for k in reversed(range(depth))]
    return [f"{i} = 0", *steps, f"part_{i} = np.minimum(np.maximum(({x} - nodes_{i}[{i}]) / (nodes_{i}[{i} + 1] - "
            f"nodes_{i}[{i}]), 0.0), 1.0)"]
