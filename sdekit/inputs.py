"""What was asked for, checked: the grid of times, the times to keep, the start, given increments."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import psutil

from sdekit.noise import MAX_PATHS, MAX_STEPS, whole
from sdekit.starts import draw, is_random


@dataclass(frozen=True)
class Start:
    """Where the paths begin.

    components  a tuple of arrays, each (1,) or (paths,); for a state that is one array or torch tensor, that one,
                (paths, ...)
    scalar      the state is one number, array or tensor: functions get it bare
    tensor      it is a torch tensor
    law         what the starts were drawn from; None where they were given
    """

    components: tuple
    paths: int
    scalar: bool
    tensor: bool
    law: Any = None

    @property
    def inner(self) -> tuple[int, ...] | None:
        """The shape of one path's state where it is one array or tensor, else None."""
        first = self.components[0]
        return tuple(first.shape[1:]) if self.tensor or first.ndim > 1 else None

    @property
    def sample(self):
        """The first path's state, as the user's functions see it: a number, or a tuple of numbers."""
        state = tuple(float(c[0]) for c in self.components)
        return state[0] if self.scalar else state


def start(x0, paths: int | None, seed: int | None = None, stream: int = 0, first: int = 0) -> Start:
    """x0 as `Start`: a number, an array (paths,), a tuple of these, a torch tensor (batch, ...), or a law.

    A law is a frozen scipy.stats distribution, alone or in a tuple, or a function of uniforms; `starts.draw` draws
    from it by (seed, stream, first + i) for path i.
    """
    if is_random(x0):
        if seed is None:
            raise TypeError("a random x0 needs a seed, and here is none; draw the starts first and give the array")
        if paths is None:
            raise TypeError("paths is missing: x0 is random, so say how many paths start from it")
        paths = whole("paths", paths, MAX_PATHS + 1, start=1)
        first = whole("first", first, MAX_PATHS - paths + 1)
        return replace(start(draw(x0, seed, stream, range(first, first + paths)), paths), law=x0)
    if hasattr(x0, "detach"):
        return _tensor_start(x0, paths)
    if isinstance(x0, np.ndarray) and x0.ndim > 1:
        return _array_start(x0, paths)
    scalar = not isinstance(x0, tuple)
    values = (x0,) if scalar else x0
    if not values:
        raise ValueError("x0 is an empty tuple; give a number for each component")
    components = tuple(_component(v, "x0" if scalar else f"x0[{i}]") for i, v in enumerate(values))
    sizes = {len(c) for c in components} - {1}
    if paths is not None:
        paths = whole("paths", paths, MAX_PATHS + 1, start=1)
    if len(sizes) > 1 or (sizes and paths not in (None, *sizes)):
        raise ValueError(f"x0 holds {' and '.join(map(str, sorted(sizes)))} values"
                         f"{'' if paths is None else f', but paths={paths}'}; give one for all paths, or one each")
    return Start(components, paths or max(sizes, default=1), scalar, tensor=False)


def check_domain(equation, begin: Start) -> None:
    """Raise ValueError for a start outside the equation's domain."""
    domain = equation.domain
    if domain is None or begin.tensor:
        return
    for values in begin.components if equation.counts else ():
        if (values != np.floor(values)).any():
            raise ValueError(f"x0 of {equation!r} counts something and must be whole, got "
                             f"{values[values != np.floor(values)].flat[0]}")
    for k, (values, (least, most)) in enumerate(zip(begin.components, domain)):
        outside = ~((values >= least) & (values <= most))
        if outside.any():
            bounds = f"at least {least:g}" if most == np.inf else f"between {least:g} and {most:g}"
            raise ValueError(f"{'x0' if begin.scalar else f'x0[{k}]'} of {equation!r} must be {bounds}, got "
                             f"{values[outside].flat[0]}" + (f" for path {int(outside.argmax())}" * (len(values) > 1)))


def _component(value, name: str) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.kind not in "iuf" or array.ndim > 1:
        raise TypeError(f"{name} must be real numbers, one or one a path; got {_brief(value)}; give a number, an array "
                        "(paths,), a tuple of these for a system, an array or tensor (paths, ...), or a law")
    array = np.atleast_1d(array.astype(float))
    if not array.size:
        raise ValueError(f"{name} is empty")
    if not np.isfinite(array).all():
        bad = int(np.argmin(np.isfinite(array)))
        raise ValueError(f"{name} must be finite, got {array[bad]}" + (f" for path {bad}" if len(array) > 1 else ""))
    return array


def _array_start(x0: np.ndarray, paths: int | None) -> Start:
    """One array (paths, ...), or (1, ...) for all paths."""
    if x0.dtype.kind not in "iuf" or not x0.size:
        raise TypeError(f"an array x0 must be of real numbers with a first axis of paths, got {x0.dtype} {x0.shape}")
    count = len(x0) if paths is None else whole("paths", paths, MAX_PATHS + 1, start=1)
    if len(x0) not in (1, count):
        raise ValueError(f"x0 is an array of {len(x0)} paths, but paths={count}; leave paths out, or give (1, ...) for "
                         "all. A system of a few components goes in a tuple: x0=(100.0, 0.04)")
    if not np.isfinite(x0).all():
        raise ValueError("x0 must be finite, but the array holds values that are not")
    return Start((np.array(np.broadcast_to(x0, (count, *x0.shape[1:])), float),), count, scalar=True, tensor=False)


def _tensor_start(x0, paths: int | None) -> Start:
    if not x0.is_floating_point() or x0.ndim == 0 or not x0.numel():
        raise TypeError(f"a tensor x0 must be of floats with a first axis of paths, got {x0.dtype} {tuple(x0.shape)}")
    if paths not in (None, len(x0)):
        raise ValueError(f"x0 is a tensor of {len(x0)} paths, but paths={paths}; leave paths out")
    if not bool(x0.isfinite().all()):
        raise ValueError("x0 must be finite, but the tensor holds values that are not")
    return Start((x0,), len(x0), scalar=True, tensor=True)


def time_grid(t, steps: int | None) -> np.ndarray:
    """The grid (steps + 1,): t is its end, both its ends, or the grid itself.

    >>> time_grid((1.0, 2.0), 4)
    array([1.  , 1.25, 1.5 , 1.75, 2.  ])
    """
    if t is None or isinstance(t, bool | np.bool_ | str):
        raise TypeError(f"t must be an end time, a pair (start, end), or an array of times; got {t!r}")
    times = _floats("t", t, "an end time, a pair (start, end), or an array of times")
    if times.ndim > 1 or (times.ndim == 1 and len(times) < 2):
        raise ValueError(f"t must be an end time, a pair (start, end), or an array of times; got {_brief(t)}")
    if not np.isfinite(times).all():
        raise ValueError(f"times must be finite, got {_brief(t)}")
    if times.ndim == 1 and len(times) > 2:
        if steps is not None and steps != len(times) - 1:
            raise ValueError(f"t is a grid of {len(times) - 1} steps, but steps={steps}; leave steps out, or give the "
                             "two ends as t")
    else:
        begin, end = (0.0, float(times)) if times.ndim == 0 else times.tolist()
        if end <= begin:
            raise ValueError(f"time must run forwards: t goes from {begin} to {end}; give an end after the start")
        if steps is None:
            raise TypeError("steps is missing: say into how many equal steps the time is cut, or give the grid as t")
        count = whole("steps", steps, MAX_STEPS, start=1)
        if 32 * count > psutil.virtual_memory().available:
            raise MemoryError(f"a grid of {count:,} steps does not fit into memory; take fewer steps, or the "
                              "time in parts")
        times = np.linspace(begin, end, count + 1)
    if not (np.diff(times) > 0).all():
        n = int(np.argmin(np.diff(times) > 0))
        raise ValueError(f"the times of the grid must increase, but t[{n}] = {times[n]} and "
                         f"t[{n + 1}] = {times[n + 1]}")
    return times


def saved_times(save: Any, grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, offset) of the times to keep: grid[n] + offset, with offset 0 where the time is one of the grid.

    >>> saved_times([0.5, 0.75, 0.8], np.array([0.0, 0.25, 0.5, 0.75, 1.0]))
    (array([2, 3, 3]), array([0.  , 0.  , 0.05]))
    """
    steps = len(grid) - 1
    if isinstance(save, str):
        if save not in ("all", "final"):
            raise ValueError(f'save must be "all", "final", a number of times, or an array of times; got {save!r}')
        kept = np.arange(steps + 1) if save == "all" else np.array([steps])
        return kept, np.zeros(len(kept))
    if np.ndim(save) == 0:
        count = whole("save", save, MAX_STEPS, start=1)
        times = grid[-1:] if count == 1 else np.linspace(grid[0], grid[-1], count)
    else:
        times = _floats("save", save, '"all", "final", a number of times, or an array of times')
    if times.ndim != 1 or not len(times) or not (np.diff(times) > 0).all():
        raise ValueError(f"save as times must be an increasing array, got {_brief(save)}")
    near = 1e-9 * np.diff(grid).min()
    outside = ~((times >= grid[0] - near) & (times <= grid[-1] + near))
    if outside.any():
        raise ValueError(f"save={times[outside][0]} is not a time of the run, which goes from {grid[0]} to {grid[-1]}")
    kept = np.clip(np.searchsorted(grid, times - near), 0, steps)
    off = np.abs(grid[kept] - times) > near
    kept = kept - off
    if ((np.diff(kept) == 0) & ~off[1:] & ~off[:-1]).any():
        raise ValueError(f"two times of save={_brief(save)} are the same point of the grid")
    return kept, np.where(off, times - grid[kept], 0.0)


def increments(noise, paths: int, steps: int, noises: int, inner: tuple[int, ...] | None = None) -> np.ndarray:
    """Given increments dW as (paths, steps, noises), those of a tensor state (batch, *inner) as (..., elements)."""
    array = _floats("noise", noise, "an array of increments dW")
    axes = "(paths, steps, noises)" if inner is None else "(batch, steps, ...)"
    expected = (paths, steps, *((noises,) if inner is None else inner))
    if array.ndim == 2 and expected[2:] == (1,):
        array = array[:, :, None]
    if array.shape != expected:
        bare = f" or {expected[:2]}" if expected[2:] == (1,) else ""
        raise ValueError(f"noise must hold increments dW of shape {expected} {axes}{bare}, got {np.shape(noise)}")
    if not np.isfinite(array).all():
        raise ValueError("noise holds values that are not finite")
    return np.ascontiguousarray(array.reshape(paths, steps, -1))


def _floats(name: str, value, allowed: str) -> np.ndarray:
    try:
        return np.asarray(value, float)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be {allowed}; got {_brief(value)}") from None


def _brief(value) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
