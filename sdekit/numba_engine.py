"""The execution on CPUs: a kernel compiled by Numba for the user's own functions, run by threads.

The paths are cut into tiles of LANES; a tile's state lives in the L1 cache and takes all its steps before the next
tile begins. Two steps share one block of noise and go through the loop over the lanes together, which LLVM turns
into vector instructions: noise, drift, diffusion and update, without a call or a branch. A tile is always full: lanes
past the last path are computed and not kept, so that a path's numbers do not depend on its place.
"""

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core.errors import NumbaError
from numba.extending import intrinsic

from sdekit import noise
from sdekit.components import as_tuple, written
from sdekit.maths import PythonOnly, rebind
from sdekit.run import NonFinite, Run, Unfit

LANES = 256
CHUNK = 4_000_000  # path-steps between two looks at Ctrl-C and the progress bar


def _bitcast(source, target, llvm_type):
    @intrinsic
    def cast(context, x):
        def generate(context, builder, signature, arguments):
            return builder.bitcast(arguments[0], llvm_type)

        return target(source), generate

    return cast


@intrinsic
def _wide_vectors(context):
    """Ask for 512-bit vectors, which LLVM avoids by default on processors that have them.

    llvmlite keeps a list of the attributes it knows and this one is not on it, hence the set's own `add`.
    """
    def generate(context, builder, signature, arguments):
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.none(), generate


_BITCASTS = {noise.bits: _bitcast(types.float64, types.int64, ir.IntType(64)),
             noise.from_bits: _bitcast(types.int64, types.float64, ir.DoubleType())}

# Division by zero gives infinity as in NumPy, and `contract` allows fused multiply-adds: both are needed for vector
# code. The other fast-math flags are not set: infinities and NaN of the user's functions stay visible.
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}


@njit
def _clip(x, low, high):
    return min(max(x, low), high)


_NUMPY = ModuleType("numpy")  # with what Numba's own lacks for numbers
vars(_NUMPY).update(vars(np) | {"clip": _clip})


@njit
def _nothing(*args):
    """Stands for a function that is not compiled: whoever uses its value gets a typing error."""


def compiled(function: Callable) -> Callable:
    """`function` compiled, with every plain function that it calls compiled into it.

    Written-out tuple arithmetic and the noise are inlined by Numba, which is quick for them; the user's functions by
    LLVM, since Numba's own inlining takes minutes on functions nested a few deep.
    """
    inner: dict = {}

    def finish(copy: Callable) -> Callable:
        small = copy.__globals__.get("__name__", noise.__name__) == noise.__name__  # written functions have no name
        options: dict[str, Any] = {"inline": "always"} if small else {"forceinline": True}
        return njit(**_OPTIONS, **options)(copy)

    def replace(value):
        if isinstance(value, FunctionType):
            return _BITCASTS.get(value) or rebind(value, replace, finish, inner)
        if value is np:
            return _NUMPY
        return _nothing if isinstance(value, PythonOnly) else value

    return rebind(function, replace, njit(**_OPTIONS))


def kernel(step: Callable, dim: int, noises: int, given: bool) -> Callable:
    """The loop over tiles, steps and lanes for this step, compiled.

    W holds given increments, (paths, steps, noises), or nothing; fault[i] becomes NaN where path i was not finite.
    """
    load = written("X, i", "return " + as_tuple(f"X[{k}, i]" for k in range(dim)))
    store = written("X, i, x", "; ".join(f"X[{k}, i] = x[{k}]" for k in range(dim)))
    defect = written("x", "return " + " + ".join(f"0.0 * x[{k}]" for k in range(dim)))  # 0, or NaN
    if given:  # the increments of this row for the steps n and m = n + 1
        draw = written("k0, k1, path, half, W, row, n, m",
                       "return " + as_tuple(f"(W[row, n, {j}], W[row, m, {j}])" for j in range(noises)))
    else:
        pairs = as_tuple(f"pair(k0, k1, path, {j}, half, 0)" for j in range(noises))
        draw = written("k0, k1, path, half, W, row, n, m", "return " + pairs, pair=noise.pair)
    first, second = (written("z, r", "return " + as_tuple(f"r * z[{j}][{k}]" for j in range(noises))) for k in (0, 1))

    def keep(out, s, row0, width, X):
        for k in range(dim):
            for i in range(width):
                out[s, k, row0 + i] = X[k, i]

    def run(begin, end, paths, path0, k0, k1, x0, p, t, h, root, save, W, out, fault, stop):
        _wide_vectors()  # pyright: ignore[reportCallIssue]
        X, Y = np.empty((dim, LANES)), np.empty((dim, LANES))
        odd, even, before = np.empty(LANES), np.empty(LANES), np.empty(LANES)
        steps = len(h)
        for tile in range(begin, end):
            row0 = tile * LANES
            width = min(LANES, paths - row0)
            for i in range(LANES):
                odd[i], even[i] = 0.0, 0.0
                for k in range(dim):
                    X[k, i] = x0[k, min(row0 + i, x0.shape[1] - 1)]
            s = 0
            if save[0] == 0:
                keep(out, s, row0, width, X)
                s = 1
            for half in range((steps + 1) // 2):
                n, m = 2 * half, min(2 * half + 1, steps - 1)
                for i in range(LANES):
                    before[i] = even[i]
                for i in range(LANES):
                    z = draw(k0, k1, path0 + row0 + i, half, W, min(row0 + i, paths - 1), n, m)
                    x = step(load(X, i), t[n], h[n], first(z, root[n]), p)
                    store(Y, i, x)
                    odd[i] += defect(x)
                    x = step(x, t[m], h[m], second(z, root[m]), p)
                    store(X, i, x)
                    even[i] += defect(x)
                if save[s] == n + 1:
                    keep(out, s, row0, width, Y)
                    s += 1
                if save[s] == n + 2:
                    keep(out, s, row0, width, X)
                    s += 1
                if stop[0]:
                    return
            if steps % 2:  # the last pair's second step was one too many
                even, before = before, even
            for i in range(width):
                fault[row0 + i] = odd[i] + even[i]

    return compiled(run)


def run_numba(kernel: Callable, run: Run, out: np.ndarray, tick: Callable[[int], None]) -> None:
    """Fill `out` (saved times, dim, paths) on `run.threads` threads; Ctrl-C stops them and is raised."""
    h = np.diff(run.grid)
    root = np.sqrt(h) if run.given is None else np.ones_like(h)
    x0 = np.array(np.broadcast_arrays(*run.x0), np.float64).reshape(len(run.x0), -1)
    save = np.append(run.save, -1)  # a last number that no step has
    given = np.empty((1, 1, 1)) if run.given is None else run.given
    fault, stop = np.zeros(run.paths), np.zeros(1, np.int64)
    tiles = -(-run.paths // LANES)
    size = max(1, min(CHUNK // (LANES * run.steps), -(-tiles // (4 * run.threads))))

    def work(begin: int) -> int:
        end = min(begin + size, tiles)
        kernel(begin, end, run.paths, run.first, *run.key, x0, run.p, run.grid, h, root, save, given, out, fault, stop)
        return min(end * LANES, run.paths) - begin * LANES

    with ThreadPoolExecutor(run.threads) as pool:
        waiting = {pool.submit(work, begin) for begin in range(0, tiles, size)}
        try:
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for chunk in done:
                    tick(chunk.result())
        except NumbaError as error:
            raise Unfit(f"Numba cannot compile the SDE's functions: {str(error).strip()}\nUse backend='numpy', or "
                        "write them in numbers, tuples, np.* and math.* alone") from None
        except BaseException:
            stop[0] = 1
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    if np.isnan(fault).any():
        raise NonFinite(int(np.isnan(fault).argmax()), -1)
