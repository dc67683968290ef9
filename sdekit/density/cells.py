"""Grids of cells in one and two dimensions: their edges, checked; their volumes; the mass a density puts in each."""

import math
import reprlib
from numbers import Real
from typing import Any

import numpy as np

from sdekit.noise import whole
from sdekit.starts import is_family

OFF = 1e-3  # of a start's mass may be missing: it is off the grid, or an error of the quadrature
NODES, WEIGHTS = np.polynomial.legendre.leggauss(3)  # of a cell's mean, on [-1, 1]

Axes = tuple[np.ndarray, ...]  # edges of the cells along each axis


def grid(low: float, high: float, cells: int) -> np.ndarray:
    """The edges (cells + 1,) of so many equal cells between low and high.

    Raises TypeError or ValueError for ends that are not finite or out of order, and for less than 3 cells.

    >>> grid(-1.0, 1.0, 4)
    array([-1. , -0.5,  0. ,  0.5,  1. ])
    """
    for name, value in ("low", low), ("high", high):
        if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
            raise TypeError(f"{name} must be a finite number, got {value!r}")
    if not low < high:
        raise ValueError(f"a grid goes from low to high, got {low} to {high}; give the lower end first")
    return np.linspace(low, high, whole("cells", cells, 10**8, start=3) + 1)


def checked_axes(edges: Any) -> Axes:
    """The edges as one or two increasing arrays; raises TypeError or ValueError for anything else."""
    pair = isinstance(edges, tuple | list) and any(np.ndim(e) for e in edges)
    if pair and len(edges) != 2:
        raise ValueError(f"a grid has one or two dimensions, got {len(edges)} arrays of edges; for more components "
                         "simulate paths, and take their histogram")
    return tuple(_checked(f"grid[{k}]" if pair else "grid", e) for k, e in enumerate(edges if pair else (edges,)))


def _checked(name: str, edges) -> np.ndarray:
    try:
        array = np.array(edges, float)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be edges of cells, an increasing array such as grid(-5, 5, 400); got {edges!r}"
                        ) from None
    if array.ndim != 1 or len(array) < 4:
        raise ValueError(f"{name} must hold the edges of at least 3 cells, an array such as grid(-5, 5, 400); got "
                         f"shape {array.shape}. In two dimensions give a pair of them")
    good = np.isfinite(array[:-1]) & np.isfinite(array[1:]) & (array[:-1] < array[1:])
    if not good.all():
        k = int(np.argmin(good))
        raise ValueError(f"{name} must be finite and increase, but edge {k} is {array[k]} and the next {array[k + 1]}")
    array.setflags(write=False)
    return array


def centres(axes: Axes) -> Axes:
    """The cells' centres along each axis."""
    return tuple((e[1:] + e[:-1]) / 2 for e in axes)


def volumes(axes: Axes) -> np.ndarray:
    """Lengths or areas of all cells, (cells,)."""
    first, *rest = (np.diff(e) for e in axes)
    return np.outer(first, rest[0]).ravel() if rest else first


def points(along: Axes) -> Axes:
    """All points of a grid of these coordinates, the components of a state: arrays (points,)."""
    return tuple(c.ravel() for c in np.meshgrid(*along, indexing="ij"))


def masses(start, axes: Axes) -> np.ndarray:
    """The mass that a density puts into each cell, (cells,), divided by their sum, which is to be 1 within 10^-3.

    start   as told in `density.fokker_planck`

    >>> from scipy.stats import norm
    >>> masses(norm(0.0, 1.0), (np.array([-4.0, -1.0, 1.0, 4.0]),)).round(4)
    array([0.1586, 0.6827, 0.1586])
    """
    mass, shape = _masses(start, axes), tuple(len(e) - 1 for e in axes)

    def where(k: int) -> str:
        at = [f"{c[i]:.6g}" for c, i in zip(centres(axes), np.unravel_index(k, shape))]
        return f"x = {at[0] if len(at) == 1 else '(' + ', '.join(at) + ')'}"

    if not np.isfinite(mass).all():
        k = int(np.argmin(np.isfinite(mass)))
        raise ValueError(f"the start is {mass[k]} in the cell at {where(k)}; a density is finite. For a point give a "
                         "narrow law, such as scipy.stats.norm(x0, 0.1)")
    if (mass < 0).any():
        raise ValueError(f"the start is negative in {int((mass < 0).sum())} cells, the lowest at "
                         f"{where(int(mass.argmin()))}; a density is not")
    total = float(mass.sum())
    if abs(total - 1.0) > OFF:
        why = ("it is off the grid, or the density is not normalised: widen the grid, or divide by the integral"
               if total < 1 else "divide by the integral, or take finer cells if it is narrower than they are")
        raise ValueError(f"the start has the mass {total:.6g} on the grid, but a density has 1 (within {OFF:g})"
                         f"{_support(start, axes)}; {why}")
    return mass / total


def _support(start, axes: Axes) -> str:
    """Which laws reach beyond the grid, as far as they tell."""
    laws, told = start if isinstance(start, tuple | list) else (start,), ""
    for k, (law, e) in enumerate(zip(laws, axes) if len(laws) == len(axes) else ()):
        a, b = _ends(law)
        if not (e[0] <= a and b <= e[-1]) and (a, b) != (-math.inf, math.inf):
            where = f" in component {k}" if len(axes) > 1 else ""
            told += f". Its support{where} is ({a:g}, {b:g}), and the grid goes from {e[0]:g} to {e[-1]:g}"
    return told


def _ends(law) -> tuple[float, float]:
    """The ends of a law's support, where it has one."""
    support = getattr(law, "support", (-math.inf, math.inf))
    ends: Any = support() if callable(support) else support
    return float(ends[0]), float(ends[1])


def _masses(start, axes: Axes) -> np.ndarray:
    """As `masses`, unchecked."""
    shape = tuple(len(e) - 1 for e in axes)
    if isinstance(start, np.ndarray):
        if start.shape != shape:
            raise ValueError(f"a start given by values has one for each cell, shape {shape}; got {start.shape}")
        return start.astype(float).ravel() * volumes(axes)
    laws = tuple(start) if isinstance(start, tuple | list) else (start,)
    if any(map(is_family, laws)):
        raise TypeError(f"the start is a family of laws without its parameters, {start!r}; give one law of it, such as "
                        "scipy.stats.norm(0.0, 1.0)")
    if laws and all(hasattr(law, "cdf") and not hasattr(law, "cov") for law in laws):
        if len(laws) != len(axes):
            raise ValueError(f"the start is of {len(laws)} law(s), but the grid has {len(axes)} dimension(s); give a "
                             "law for each, or a function of the state")
        parts = [np.diff(np.asarray(law.cdf(e), float)) for law, e in zip(laws, axes)]
        return parts[0] if len(parts) == 1 else np.outer(*parts).ravel()
    pdf = getattr(start, "pdf", None)
    if pdf is not None:
        if len(axes) == 1:  # outside its support a density may be anything
            axes = (np.clip(axes[0], *_ends(start)),)
        return _quadrature(lambda x: pdf(np.stack(x, -1) if len(x) > 1 else x[0]), axes)
    if callable(start):
        return _quadrature(lambda x: start(x if len(x) > 1 else x[0]), axes)
    raise TypeError("the start must be a law such as scipy.stats.norm(0, 1), a pair of them, a density function of x, "
                    f"or an array of cell values; got {reprlib.repr(start)}. For a point give a narrow law")


def _quadrature(density, axes: Axes) -> np.ndarray:
    """Integrals over the cells by the rule of Gauss with three points along each axis."""
    middle, half = centres(axes), [np.diff(e) / 2 for e in axes]
    total = np.zeros(len(volumes(axes)))
    for index in np.ndindex(*(3,) * len(axes)):
        x = points(tuple(m + NODES[k] * h for k, m, h in zip(index, middle, half)))
        try:
            value = np.asarray(density(x))
        except (TypeError, ValueError) as error:
            many = f"{'an array' if len(axes) == 1 else 'a pair of arrays'} of {len(x[0])} points"
            raise TypeError(f"the start does not work on {many}: {error}. It is a density in {len(axes)} dimension(s), "
                            "of NumPy's functions; write `if` as np.where") from error
        if value.dtype.kind not in "biuf":
            raise TypeError(f"the start must give numbers, got {reprlib.repr(value)}")
        if value.ndim and value.shape != x[0].shape:
            raise ValueError(f"the start must give one number for each point, {x[0].shape}; got {value.shape}")
        total = total + math.prod(float(WEIGHTS[k]) / 2 for k in index) * value
    return np.where(volumes(axes) > 0, total * volumes(axes), 0.0)
