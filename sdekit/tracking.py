"""What is recorded along a path, beside its values: extremes, integrals, first passages. Part of every step.

    maximum         M(t) = max X(s), s <= t         integral        I(t) = int_0^t X ds
    minimum         m(t) = min X(s), s <= t         first_passage   tau = the first s with X(s) = level

Between the points of the grid a path goes on moving. Given both ends x, y of a step of length h it is close to a
Brownian bridge of variance v h, v = (G G^T)_ii at the step's start, whose extremes are known: with E = -ln U,

    max = (x + y + sqrt((y - x)^2 + 2 v h E)) / 2,   min = (x + y - sqrt((y - x)^2 + 2 v h E)) / 2

(Andersen & Brotherton-Ratcliffe 1996; Gobet 2000 for the order: weak 1 instead of 1/2). It is exact for Brownian
motion. E is an exponential of the noise, so that it, too, is the same on any thread count and backend.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
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
    update     (r, x, y, t, h, v, e, level) -> its value after a step from x at t to y at t + h; v is the variance per
               time, e the exponential
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
    return Tracker("maximum", "maximum", _same, _highest if bridge else _higher, bool(bridge), component)


def minimum(component: int = 0, *, bridge: bool = True) -> Tracker:
    """The running minimum, as `maximum`."""
    return Tracker("minimum", "minimum", _same, _lowest if bridge else _lower, bool(bridge), component, down=True)


def integral(component: int = 0) -> Tracker:
    """The time integral by the trapezoidal rule, int_0^t X ds = sum h (x + y) / 2."""
    return Tracker("integral", "integral", _nothing, _area, False, component)


def first_passage(level: float, component: int = 0, *, bridge: bool = True) -> Tracker:
    """The first time that X reaches `level`, from either side; infinity as long as it has not.

    Within its step the time is h |level - x| / (|level - x| + |level - y|) from the start.
    """
    level = float(level)
    if not np.isfinite(level):
        raise ValueError(f"level must be finite, got {level}")
    return Tracker("first_passage", "first_passage", _passed_at_start, _passage if bridge else _crossing,
                   bool(bridge), component, level)


def _same(x0, t0, level):
    return x0


def _nothing(x0, t0, level):
    return np.zeros_like(x0)


def _passed_at_start(x0, t0, level):
    return np.where(x0 == level, t0, NEVER)


def _spread(x, y, h, v, e):
    return np.sqrt((y - x) * (y - x) + 2.0 * v * h * e)


def _highest(r, x, y, t, h, v, e, level):
    return np.maximum(r, 0.5 * (x + y + _spread(x, y, h, v, e)))


def _lowest(r, x, y, t, h, v, e, level):
    return np.minimum(r, 0.5 * (x + y - _spread(x, y, h, v, e)))


def _higher(r, x, y, t, h, v, e, level):
    return np.maximum(r, y)


def _lower(r, x, y, t, h, v, e, level):
    return np.minimum(r, y)


def _area(r, x, y, t, h, v, e, level):
    return r + 0.5 * h * (x + y)


def _when(r, x, y, t, h, level, reached):
    """The time in this step if it is the one."""
    before, after = np.abs(level - x), np.abs(level - y)
    way = before + after
    time = t + h * before / np.where(way > 0.0, way, 1.0)
    return np.where((r == np.inf) & reached, time, r)


def _passage(r, x, y, t, h, v, e, level):
    side = np.where(x < level, 1.0, -1.0)
    extreme = 0.5 * (x + y + side * _spread(x, y, h, v, e))
    return _when(r, x, y, t, h, level, side * (extreme - level) >= 0.0)


def _crossing(r, x, y, t, h, v, e, level):
    return _when(r, x, y, t, h, level, (level - x) * (level - y) <= 0.0)


KINDS = {"maximum": maximum, "minimum": minimum, "integral": integral, "first_passage": first_passage}


def trackers(track: Any, shape: Structure) -> tuple[Tracker, ...]:
    """`track`, a tracker, several, or a mapping from names to them, checked."""
    items: Sequence[Tracker]
    if track is None:
        return ()
    if isinstance(track, Mapping):
        items = [replace(item, name=str(name)) if isinstance(item, Tracker) else item for name, item in track.items()]
    else:
        items = [track] if isinstance(track, Tracker) else list(track)
    for item in items:
        if not isinstance(item, Tracker):
            raise TypeError(f"track takes maximum(), minimum(), integral() and first_passage(level), got {item!r}")
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


def tracked(step: Callable, c: Coefficients, shape: Structure, items: tuple[Tracker, ...], stop: bool,
            parameters: int) -> Callable:
    """The step on a longer state: the components, then the trackers' values, then, for `stop`, the time at which the
    path was stopped since its next state was not finite (infinity: it goes on). The levels of first passages follow
    the equation's parameters in p."""
    d, m = shape.dim, shape.noises
    lines = [f"x = {as_tuple(f'z[{i}]' for i in range(d))}", "y = step(x, t, h, dw, p)"]
    if stop:
        fine = " + ".join(f"0.0 * y[{i}]" for i in range(d))
        lines += [f"fine = (z[{d + len(items)}] == inf) & ({fine} == 0.0)",
                  f"y = {as_tuple(f'np.where(fine, y[{i}], x[{i}])' for i in range(d))}"]
    if any(item.bridge for item in items):
        lines.append("G = g(x, t, p)")
    sides, values = exponentials(items), [f"y[{i}]" for i in range(d)]
    for k, item in enumerate(items):
        i = item.component
        row = [f"G[{i}]"] if shape.diagonal else [f"G[{i}][{j}]" for j in range(m)]
        v, e = "0.0", "0.0"
        if item.bridge:
            v, e = " + ".join(f"{g} * {g}" for g in row), f"dw[{m + sides.index((i, item.down))}]"
            v = f"np.where(fine, {v}, 0.0)" if stop else v  # a path that was stopped moves no more
        values.append(f"update_{k}(z[{d + k}], x[{i}], y[{i}], t, h, {v}, {e}, p[{parameters + k}])")
    if stop:
        values.append(f"np.where(fine, z[{d + len(items)}], np.minimum(z[{d + len(items)}], t + h))")
    return written("z, t, h, dw, p", "; ".join([*lines, f"return {as_tuple(values)}"]), step=step, g=c.g, np=np,
                   inf=NEVER, __name__=__name__, **{f"update_{k}": item.update for k, item in enumerate(items)})
