"""Coefficients from a table: straight lines between the knots, constant outside them.

    f(t) = v_j + s_j (t - t_j),  j = the number of knots <= t

with a row before the first knot and one after the last whose slope is 0. j is found by a binary search written out
step by step, without a loop or a branch, so that a compiled loop over paths stays vector code.
"""

from collections.abc import Callable

import numpy as np

from sdekit.components import written
from sdekit.maths import PythonOnly


def interp(times, values) -> Callable:
    """The function of t (or of x) that joins the points (times[i], values[i]) by straight lines.

    times   the knots, increasing, shape (n,), n >= 1
    values  the function there, shape (n,)

    Outside the knots it keeps the first and the last value, as np.interp does. It takes a number, an array or a
    tensor, and may be called inside a drift or a diffusion on every backend. Raises ValueError for anything but
    finite numbers, one value per knot, at increasing times.

    >>> rate = interp([0, 1, 2], [0.01, 0.02, 0.015])
    >>> float(rate(0.5)), float(rate(7.0))
    (0.015, 0.015)
    >>> drift = lambda x, t: rate(t) * x
    """
    times, values = _numbers("times", times), _numbers("values", values)
    if len(times) != len(values):
        raise ValueError(f"interp needs one value for each time, got {len(times)} times and {len(values)} values")
    late = np.flatnonzero(np.diff(times) <= 0)
    if len(late):
        i = late[0]
        raise ValueError(f"times must increase, but times[{i}] = {times[i]:g} is followed by times[{i + 1}] = "
                         f"{times[i + 1]:g}; sort them, and keep one value for each")
    with np.errstate(over="ignore"):
        slopes = np.concatenate(([0.0], np.diff(values) / np.diff(times), [0.0]))
    if not np.isfinite(slopes).all():
        raise ValueError("the values change too fast for a float64: the slope between two knots is infinite")
    table = _table(np.append(times[0], times), np.append(values[0], values), slopes)
    ramps, numpy_kinds = _sum_of_ramps(times, values, slopes[1:-1]), (np.ndarray, np.number)
    on_other = PythonOnly(lambda t: table(t) if isinstance(t, numpy_kinds) else ramps(t))

    def interpolated(t):
        if isinstance(t, (float, int)):
            return table(t)
        return on_other(t)

    return interpolated


def _table(starts: np.ndarray, values: np.ndarray, slopes: np.ndarray) -> Callable:
    """f for numbers and arrays; row 0 is left of the first knot, the last row is repeated up to a power of two."""
    depth = (len(slopes) - 1).bit_length()
    rows = 2**depth
    knots = np.append(starts[1:], np.full(rows - len(starts), np.inf))
    search = "; ".join(f"j = j + {2**k} * (knots[j + {2**k - 1}] <= t)" for k in reversed(range(depth)))
    starts, values, slopes = (np.append(a, np.full(rows - len(a), a[-1])) for a in (starts, values, slopes))
    return written("t", f"j = 0; {search}; return values[j] + slopes[j] * (t - starts[j])",
                   knots=knots, starts=starts, values=values, slopes=slopes)


def _sum_of_ramps(times: np.ndarray, values: np.ndarray, slopes: np.ndarray) -> Callable:
    """f for tensors, which can't look up an array: each piece's rise, in operations that torch has."""
    first, pieces = float(values[0]), list(zip(times[:-1].tolist(), times[1:].tolist(), slopes.tolist()))

    def ramps(t):
        total = first + 0.0 * t
        for begin, end, slope in pieces:
            total = total + slope * (np.clip(t, begin, end) - begin)
        return total

    return ramps


def _numbers(name: str, given) -> np.ndarray:
    try:
        numbers = np.array(given, np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be numbers, got {given!r}") from None
    if numbers.ndim != 1 or not len(numbers):
        raise ValueError(f"{name} must be a list of at least one number, got shape {numbers.shape}")
    if not np.isfinite(numbers).all():
        i = int(np.flatnonzero(~np.isfinite(numbers))[0])
        raise ValueError(f"{name} must be finite, but {name}[{i}] is {numbers[i]}")
    return numbers
