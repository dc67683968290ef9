"""What is recorded along a path, beside its values: extremes, integrals, first passages. Part of every step.

    maximum         M(t) = max X(s), s <= t         integral        I(t) = int_0^t X ds
    minimum         m(t) = min X(s), s <= t         first_passage   tau = the first s with X(s) = level

Between the points of the grid a path goes on moving. Given both ends x, y of a step of length h it is close to a
Brownian bridge of variance v h, v = (G G^T)_ii at the step's start, whose extremes are known: with E = -ln U,

    max = (x + y + sqrt((y - x)^2 + 2 v h E)) / 2,   min = (x + y - sqrt((y - x)^2 + 2 v h E)) / 2

(Andersen & Brotherton-Ratcliffe 1996; Gobet 2000 for the order: weak 1 instead of 1/2). It is exact for Brownian
motion, and for geometric Brownian motion by its exact transition, where log X takes the place of X; elsewhere its
error is of order h. E is an exponential of the noise, so that it, too, is the same on any thread count and backend.

An integral does not look between the points: it is the trapezoidal rule on them, and leaves out the area between the
bridge and its chord, of mean 0 and variance v h^3 / 12 a step.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import numpy as np

from sdekit.components import Coefficients, as_tuple, written
from sdekit.sde import Structure

NEVER = float("inf")


@dataclass(frozen=True)
class Tracker:
    """A number that is carried along with the path.

    kind       the function that makes it
    name       its name in the result
    component  which component of a system it looks at
    start      (x0, t0, level) -> its value at the start; x0 an array
    update     (r, x, y, t, h, low, high, level) -> its value after a step from x at t to y at t + h, in which the path
               was between low and high
    bridge     whether it looks between the points of the grid, which takes an exponential a step
    level      of a first passage
    """

    kind: str
    name: str
    start: Callable
    update: Callable
    bridge: bool
    component: int = 0
    level: float = 0.0
    down: bool = False  # it looks at the lower side of the bridge


def maximum(component: int = 0, *, bridge: bool = True) -> Tracker:
    """The running maximum; bridge=False looks at the points of the grid alone.

    >>> import sdekit as sk
    >>> paths = sk.simulate(sk.BrownianMotion(), 0.0, steps=10, paths=20_000, seed=1, track=[maximum()])
    >>> exact = (2 / np.pi) ** 0.5  # E max W = sqrt(2 t / pi)
    >>> bool(abs(paths.tracked["maximum"][:, -1].mean() - exact) < 0.02)
    True
    """
    return Tracker("maximum", "maximum", _same, _highest, bool(bridge), component)


def minimum(component: int = 0, *, bridge: bool = True) -> Tracker:
    """The running minimum, as `maximum`."""
    return Tracker("minimum", "minimum", _same, _lowest, bool(bridge), component, down=True)


def integral(component: int = 0) -> Tracker:
    """The time integral by the trapezoidal rule on the steps, int_0^t X ds = sum h (x + y) / 2.

    What the path does between the steps is left out: of Brownian motion the mean stays right, and t h^2 / 12 of the
    variance t^3 / 3 is missing.
    """
    return Tracker("integral", "integral", _nothing, _area, False, component)


def first_passage(level: float, component: int = 0, *, bridge: bool = True) -> Tracker:
    """The first time that X reaches `level`, from either side; infinity as long as it has not.

    Whether it has been reached has the law of the bridge. When, within the step, is put at h |level - x| /
    (|level - x| + |level - y|) from its start, which is late by up to about h/4 on average: an error of order h.
    """
    if not isinstance(level, Real) or not np.isfinite(level):
        raise ValueError(f"level must be a finite number, got {level!r}")
    level = float(level)
    return Tracker("first_passage", "first_passage", _passed_at_start, _passage, bool(bridge), component, level)


def _same(x0, t0, level):
    return x0


def _nothing(x0, t0, level):
    return np.zeros_like(x0)


def _passed_at_start(x0, t0, level):
    return np.where(x0 == level, t0, NEVER)


def _extremes(x, y, h, v, e):
    """(min, max) of the bridge from x to y; each has its law, by the same e."""
    middle, reach = 0.5 * (x + y), 0.5 * np.sqrt((y - x) * (y - x) + 2.0 * v * h * e)
    return middle - reach, middle + reach


def _log_extremes(x, y, h, v, e):
    """The same where log X is the bridge: exact for geometric Brownian motion."""
    low, high = _extremes(np.log(x), np.log(y), h, v / (x * x), e)
    return np.exp(low), np.exp(high)


def _ends(x, y, h, v, e):
    """The same without a look between the points of the grid."""
    return np.minimum(x, y), np.maximum(x, y)


def _highest(r, x, y, t, h, low, high, level):
    return np.maximum(r, high)


def _lowest(r, x, y, t, h, low, high, level):
    return np.minimum(r, low)


def _area(r, x, y, t, h, low, high, level):
    return r + 0.5 * h * (x + y)


def _passage(r, x, y, t, h, low, high, level):
    """The time in this step if it is the one."""
    before, after = np.abs(level - x), np.abs(level - y)
    way = before + after
    time = t + h * before / np.where(way > 0.0, way, 1.0)
    return np.where((r == np.inf) & (low <= level) & (level <= high), time, r)


KINDS = {"maximum": maximum, "minimum": minimum, "integral": integral, "first_passage": first_passage}


def trackers(track: Any, shape: Structure) -> tuple[Tracker, ...]:
    """`track`, a tracker, several, or a mapping from names to them, checked."""
    items: Sequence[Any]
    if track is None:
        return ()
    if isinstance(track, Mapping):
        items = [replace(item, name=str(name)) if isinstance(item, Tracker) else item for name, item in track.items()]
    elif isinstance(track, Tracker):
        items = [track]
    else:
        items = list(track) if isinstance(track, Sequence) and not isinstance(track, str) else [track]
    for item in items:
        if not isinstance(item, Tracker):
            raise TypeError("track takes maximum(), minimum(), integral(), first_passage(level), a list of them or a "
                            f"dict with names for them; got {item!r}")
        if not 0 <= item.component < shape.dim:
            raise ValueError(f"{item.name} of component {item.component}: there are {shape.dim}, numbered from 0")
    names = [item.name for item in items]
    if len(set(names)) < len(names):
        raise ValueError(f"two of {names} have the same name; give names: track={{'high': maximum(0), ...}}")
    return tuple(items)


def exponentials(items: tuple[Tracker, ...]) -> list[tuple[int, bool]]:
    """The exponentials that a step needs: one for the upper and one for the lower side of a component, where asked.

    What looks at the same side has the same one: a level was passed exactly if the maximum is above it.
    """
    return sorted({(item.component, item.down) for item in items if item.bridge})


def tracked(step: Callable, c: Coefficients, draws: int, memory: int, items: tuple[Tracker, ...], stop: bool,
            parameters: int, logarithmic: bool) -> Callable:
    """The step on a longer state: the components, then the trackers' values, then, for `stop`, the time at which the
    path was stopped since its next state was not finite (infinity: it goes on), then what the method itself carries
    along, `memory` numbers. The levels of first passages follow the equation's parameters in p, the exponentials the
    method's `draws` in dw. `logarithmic`: between two points of the grid log X is a Brownian bridge."""
    shape = c.shape
    d, m, last = shape.dim, shape.noises, shape.dim + len(items) + stop
    carried = [*range(d), *range(last, last + memory)]
    lines = [f"x = {as_tuple(f'z[{i}]' for i in carried)}", "y = step(x, t, h, dw, p)"]
    if stop:
        fine = " + ".join(f"0.0 * y[{i}]" for i in range(d))
        lines += [f"fine = (z[{d + len(items)}] == inf) & ({fine} == 0.0)",
                  f"y = {as_tuple(f'np.where(fine, y[{i}], x[{i}])' for i in range(len(carried)))}"]
    if any(item.bridge for item in items):
        lines.append("G = g(x, t, p)")
    sides, values = exponentials(items), [f"y[{i}]" for i in range(d)]
    for k, item in enumerate(items):
        i = item.component
        row = [f"G[{i}]"] if shape.diagonal else [f"G[{i}][{j}]" for j in range(m)]
        v, e, law = "0.0", "0.0", "ends"
        if item.bridge:
            v, e = " + ".join(f"{g} * {g}" for g in row), f"dw[{draws + sides.index((i, item.down))}]"
            v, law = f"np.where(fine, {v}, 0.0)" if stop else v, "extremes"  # a path that was stopped moves no more
        lines.append(f"low_{k}, high_{k} = {law}(x[{i}], y[{i}], h, {v}, {e})")
        values.append(f"update_{k}(z[{d + k}], x[{i}], y[{i}], t, h, low_{k}, high_{k}, p[{parameters + k}])")
    if stop:
        values.append(f"np.where(fine, z[{d + len(items)}], np.minimum(z[{d + len(items)}], t + h))")
    values += [f"y[{d + k}]" for k in range(memory)]
    updates = {f"update_{k}": item.update for k, item in enumerate(items)}
    extremes = _log_extremes if logarithmic else _extremes
    return written("z, t, h, dw, p", "; ".join([*lines, f"return {as_tuple(values)}"]), step=step, g=c.g, np=np,
                   extremes=extremes, ends=_ends, inf=NEVER, __name__=__name__, **updates)
