"""The execution on whole arrays: NumPy's here, and the loop that it shares with Torch.

A state is a tuple of components, each an array over the paths, or one tensor of any shape; a step works on all of
them at once.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np

from sdekit import noise
from sdekit.adaptive import Cellwise, march_cells
from sdekit.areas import step_areas
from sdekit.brownian import root, split
from sdekit.maths import namespace
from sdekit.run import NonFinite, Run, Sink, Unfit
from sdekit.variates import EXPONENTIAL

NUMPY = namespace(np, "NumPy", pow=np.power, fabs=np.abs)  # so that a body written with math.* takes arrays

BLOCK = 4096  # paths that go through all their steps together; the numbers do not depend on it
DRAWS = 16384  # normals drawn at once, few enough for the cache


def march(step: Callable, x: tuple, run: Run, p: tuple, increments: Callable, aside: Callable,
          finite: Callable) -> Iterator[tuple[int, tuple]]:
    """Yield (s, state at the s-th time to keep) in order; raise NonFinite at the first state that is not finite.

    increments(n, h) is the tuple of draws of step n, aside(k) that of the k-th time that is not on the grid; finite(x)
    is None, or the row of a path that is not finite.
    """
    save, offset, s, beside = run.save.tolist(), run.offset.tolist(), 0, 0
    if save[0] == 0 and offset[0] == 0.0:
        yield 0, x
        s = 1
    for n, (t, h) in enumerate(zip(run.grid[:-1].tolist(), np.diff(run.grid).tolist())):
        while s < len(save) and save[s] == n:  # behind this point of the grid and before the next: a step aside
            yield s, step(x, t, offset[s], aside(beside), p)
            s, beside = s + 1, beside + 1
        x = step(x, t, h, increments(n, h), p)
        row = finite(x[:run.finite])
        if row is not None:
            raise NonFinite(row, n + 1)
        if s < len(save) and save[s] == n + 1 and offset[s] == 0.0:
            yield s, x
            s += 1


def run_numpy(step: Callable | Cellwise, run: Run, sink: Sink, tick: Callable[[int], None]) -> None:
    """Hand every path's values to `sink`; tick(n) is told of n more path-steps."""
    unit = math.lcm(sink.block, BLOCK)
    for begin in range(0, run.paths, unit):
        block = slice(begin, min(begin + unit, run.paths))
        out, place = sink.room(block)
        for start in range(block.start, block.stop, BLOCK):
            rows = slice(start, min(start + BLOCK, block.stop))
            _block(step, run.part(rows), out[:, :, place + start - begin:place + rows.stop - begin], start)
            tick((rows.stop - start) * run.steps)
        sink.done(block, out, place)


def _block(step: Callable | Cellwise, run: Run, out: np.ndarray, begin: int) -> None:
    """Fill `out` (saved times, elements, paths)."""
    inner = run.x0[0].shape[1:]
    x = tuple(np.array(np.broadcast_to(c, (run.paths, *inner))) for c in run.x0)
    p = tuple(v.reshape(-1, *(1,) * len(inner)) if np.ndim(v) else v for v in run.p)

    try:
        with np.errstate(all="ignore"):  # a state that is not finite is reported by path, step and time
            if isinstance(step, Cellwise):
                cells = Cellwise(_careful(step.attempt), _careful(step.aside), step.easy)
                states = march_cells(cells, x, run, p, Cells(run, inner))
            else:
                states = march(_careful(step), x, run, p, *_draws(run, inner), _finite)
            for s, state in states:
                for part, component in zip(np.split(out[s], run.kept), state):
                    part[:] = np.broadcast_to(component, (run.paths, *inner)).reshape(run.paths, -1).T
    except NonFinite as fault:
        raise NonFinite(begin + fault.path, fault.step) from None
    except (TypeError, ValueError) as error:
        if any(words in str(error) for words in ("truth value of an array", "0-dimensional arrays")):
            raise not_on_arrays(error) from error
        if "read-only" in str(error):
            raise ValueError(f"drift or diffusion changes its argument in place ({error}); write x = x - 1.0 in place "
                             "of x -= 1.0, so that it gets an array of its own") from error
        raise


def _careful(step: Callable) -> Callable:
    """The step with arrays that cannot be written to, and times that divide by zero as arrays do."""
    def careful(x, t, *rest):
        for component in x:
            if isinstance(component, np.ndarray):
                component.flags.writeable = False
        return step(x, np.float64(t), *rest)

    return careful


def not_on_arrays(error: Exception) -> Unfit:
    """The error for functions that take numbers but not arrays of paths."""
    return Unfit(f"the functions do not work on arrays of paths, as backend='numpy' needs: {error}. Write `if` on the "
                 "state as np.where, or use backend='numba', which runs path by path")


def _finite(x: tuple) -> int | None:
    good = np.isfinite(sum(0.0 * c for c in x))
    return None if good.all() else int(np.argmin(good.reshape(len(good), -1).all(axis=1)))


def _draws(run: Run, inner: tuple[int, ...]) -> tuple[Callable, Callable]:
    """The draws of step n, and those of the k-th saved time off the grid: tuples of arrays of the components' shape.

    The normals of several consecutive steps are drawn together. Element e of a state that is one array has noise of
    its own: of noise j it is component j elements + e.
    """
    size, whole = math.prod(inner), slice(0, run.paths)
    aside = np.empty((run.paths, 0, 0)) if run.aside is None else run.detours(whole)
    given = None if run.given is None else run.increments(whole)
    path = np.arange(run.first, run.first + run.paths, dtype=np.int64)
    k0, k1 = np.array(run.key, np.int64)[:, None, None, None]

    def parts(z: np.ndarray) -> tuple:
        """(draws x elements, paths) -> a tuple of draws"""
        if not inner or not len(z):
            return tuple(z)
        return tuple(part.T.reshape(run.paths, *inner) for part in np.split(z, len(z) // size))

    def blocks(law: Callable, per: int, count: int, slot: int) -> Callable[[int], np.ndarray]:
        """(count, paths) numbers of step n; a block of noise serves `per` steps."""
        component = np.arange(count, dtype=np.int64)[:, None]
        some = max(1, DRAWS // (per * run.paths * max(count, 1)))  # blocks at a time
        held: dict[int, np.ndarray] = {}

        def of(n: int) -> np.ndarray:
            which, place = divmod(run.begun + n, per * some)
            if which not in held:
                held.clear()
                number = np.arange(which * some, (which + 1) * some, dtype=np.int64)[:, None, None]
                z = np.stack(law(k0, k1, path, component, number, np.int64(slot)), axis=1)
                held[which] = z.reshape(per * some, count, run.paths)
            return held[which][place]

        return of

    law = (noise.pair, 2) if run.bits == 64 else (noise.quad, 4)
    slots = [blocks(*law, run.noises * size, slot) for slot in range(min(len(run.draws), 2))]  # W, and H
    waits = blocks(noise.exponential_pair, 2, run.waits, EXPONENTIAL)

    def increments(n: int, h: float) -> tuple:
        dw = ()
        if run.draws == "P":
            dw = (*np.array(run.key, np.int64)[:, None], path, np.array([run.begun + n])),
        elif given is not None:
            dw = parts(given[:, n].T)
        elif run.noises:
            dw = parts(np.concatenate([math.sqrt(h / (12.0 if k else 1.0)) * z(n) for k, z in enumerate(slots)]))
            if len(run.draws) == 3:
                W, H = (np.stack(part, -1)[:, None] for part in (dw[:run.noises], dw[run.noises:]))
                number = np.array([run.begun + n])
                dw += tuple(step_areas(k0[0, 0], k1[0, 0], path, number, np.array([h]), run.level, W, H)[:, 0].T)
        return (*dw, *(waits(n) if run.waits else ()))

    return increments, lambda k: parts(aside[:, k].T)


class Cells:
    """The arrays of `adaptive.march_cells`."""

    def __init__(self, run: Run, inner: tuple[int, ...]):
        self.run, self.inner, self.columns = run, inner, run.noises * math.prod(inner)
        self.everyone = np.arange(run.paths)
        self.k0, self.k1 = (np.array([k], np.int64) for k in run.key)
        self.component = np.arange(self.columns, dtype=np.int64)
        self.detours = None if run.aside is None else run.detours(slice(0, run.paths))

    def _path(self, paths: np.ndarray) -> np.ndarray:
        return (self.run.first + paths)[:, None]

    def root(self, n: int):
        if not self.columns:
            return np.empty((2, self.run.paths, 0))
        h = self.run.grid[n + 1] - self.run.grid[n]
        return root((self.k0, self.k1), self._path(self.everyone), self.component, np.array(n), h)

    def split(self, paths, n, cell, h, W, H):
        if not self.columns:
            return (W, H), (W, H)
        W1, H1, W2, H2 = split(self.k0, self.k1, self._path(paths), self.component, np.array(n), np.array(cell), h, W,
                               H)
        return (W1, H1), (W2, H2)

    def aside(self, k: int):
        if self.detours is None:
            return np.empty((2, self.run.paths, 0))
        return self.detours[:, k, :self.columns], self.detours[:, k, self.columns:]

    def draws(self, W, H) -> tuple:
        if not self.inner:
            return (*W.T, *H.T)
        return tuple(z.reshape(len(z), -1, *self.inner)[:, j] for z in (W, H) for j in range(self.run.noises))

    def put(self, array, which, values):
        array = array.copy()
        array[which] = values
        return array

    def norm(self, e):
        e = np.broadcast_to(e, np.shape(e))
        return np.sqrt(np.mean(np.reshape(e, (len(e), -1)) ** 2, axis=1)) if self.inner else e
