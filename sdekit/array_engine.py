"""The execution on whole arrays: NumPy's here, and the loop that it shares with Torch.

A state is a tuple of components, each an array over the paths, or one tensor of any shape; a step works on all of
them at once.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np

from sdekit import noise
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


def run_numpy(step: Callable, run: Run, sink: Sink, tick: Callable[[int], None]) -> None:
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


def _block(step: Callable, run: Run, out: np.ndarray, begin: int) -> None:
    """Fill `out` (saved times, elements, paths)."""
    inner = run.x0[0].shape[1:]
    x = tuple(np.array(np.broadcast_to(c, (run.paths, *inner))) for c in run.x0)
    p = tuple(v.reshape(-1, *(1,) * len(inner)) if np.ndim(v) else v for v in run.p)

    def careful(x, t, h, dw, p):
        """The step with arrays that cannot be written to, and times that divide by zero as arrays do."""
        for component in x:
            if isinstance(component, np.ndarray):
                component.flags.writeable = False
        return step(x, np.float64(t), h, dw, p)

    try:
        with np.errstate(all="ignore"):  # a state that is not finite is reported by path, step and time
            for s, state in march(careful, x, run, p, *_draws(run, inner), _finite):
                for part, component in zip(np.split(out[s], len(state)), state):
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

    normals = blocks(*((noise.pair, 2) if run.bits == 64 else (noise.quad, 4)), run.noises * size, 0)
    waits = blocks(noise.exponential_pair, 2, run.waits, EXPONENTIAL)

    def increments(n: int, h: float) -> tuple:
        dw = () if not run.noises else parts(math.sqrt(h) * normals(n) if given is None else given[:, n].T)
        return (*dw, *(waits(n) if run.waits else ()))

    return increments, lambda k: parts(aside[:, k].T)
