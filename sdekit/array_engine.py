"""The execution on whole arrays: NumPy's here, and the loop that it shares with Torch.

A state is a tuple of components, each an array over the paths, or one tensor of any shape; a step works on all of
them at once.
"""

from collections.abc import Callable, Iterator

import numpy as np

from sdekit import noise
from sdekit.maths import namespace
from sdekit.run import NonFinite, Run, Unfit

NUMPY = namespace(np, "NumPy", pow=np.power, fabs=np.abs)  # so that a body written with math.* takes arrays

BLOCK = 4096  # paths that go through all their steps together; the numbers do not depend on it
DRAWS = 16384  # normals drawn at once, few enough for the cache


def march(step: Callable, x: tuple, run: Run, increment: Callable, finite: Callable) -> Iterator[tuple[int, tuple]]:
    """Yield (n, state at grid[n]) for n = 0, 1, ...; raise NonFinite at the first state that is not finite.

    increment(n, h) is the tuple of dW of step n; finite(x) is None, or the row of a path that is not finite.
    """
    yield 0, x
    for n, (t, h) in enumerate(zip(run.grid[:-1].tolist(), np.diff(run.grid).tolist())):
        x = step(x, t, h, increment(n, h), run.p)
        row = finite(x)
        if row is not None:
            raise NonFinite(row, n + 1)
        yield n + 1, x


def run_numpy(step: Callable, run: Run, out: np.ndarray, tick: Callable[[int], None]) -> None:
    """Fill `out` (saved times, dim, paths)."""
    place = {n: k for k, n in enumerate(run.save.tolist())}
    for begin in range(0, run.paths, BLOCK):
        rows = slice(begin, min(begin + BLOCK, run.paths))
        width = rows.stop - begin
        x = tuple(np.array(np.broadcast_to(c if len(c) == 1 else c[rows], width)) for c in run.x0)
        try:
            with np.errstate(all="ignore"):  # a state that is not finite is reported by path, step and time
                for n, state in march(step, x, run, _increments(run, rows), _finite):
                    if n in place:
                        for i, component in enumerate(state):
                            out[place[n], i, rows] = component
        except NonFinite as fault:
            raise NonFinite(begin + fault.path, fault.step) from None
        except (TypeError, ValueError) as error:
            if any(words in str(error) for words in ("truth value of an array", "0-dimensional arrays")):
                raise not_on_arrays(error) from error
            raise
        tick(width)


def not_on_arrays(error: Exception) -> Unfit:
    """The error for functions that take numbers but not arrays of paths."""
    return Unfit(f"the functions do not work on arrays of paths, as backend='numpy' needs: {error}. Write `if` on the "
                 "state as np.where, or use backend='numba', which runs path by path")


def _finite(x: tuple) -> int | None:
    good = np.isfinite(sum(0.0 * c for c in x))
    return None if good.all() else int(np.argmin(good))


def _increments(run: Run, rows: slice) -> Callable[[int, float], tuple]:
    """dW of step n, a tuple of `noises` arrays; the normals of several consecutive steps are drawn together."""
    if run.given is not None:
        given = run.given[rows]
        return lambda n, h: tuple(given[:, n].T)
    if not run.noises:
        return lambda n, h: ()
    path = np.arange(run.first + rows.start, run.first + rows.stop, dtype=np.int64)
    component = np.arange(run.noises, dtype=np.int64)[:, None]
    k0, k1 = np.array(run.key, np.int64)[:, None, None, None]
    block = max(1, DRAWS // (2 * len(path) * run.noises))  # pairs of steps
    held: dict[int, np.ndarray] = {}

    def increment(n: int, h: float) -> tuple:
        which, place = divmod(n, 2 * block)
        if which not in held:
            held.clear()
            half = np.arange(which * block, (which + 1) * block, dtype=np.int64)[:, None, None]
            z = np.stack(noise.pair(k0, k1, path, component, half, np.int64(0)), axis=1)
            held[which] = z.reshape(2 * block, run.noises, len(path))
        return tuple(h**0.5 * held[which][place])

    return increment
