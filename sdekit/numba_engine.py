"""The execution on CPUs: a kernel compiled by Numba for the user's own functions, run by threads.

The paths are cut into tiles of LANES; a tile's state lives in the L1 cache and takes all its steps before the next
tile begins. The tile's normals of a few steps are drawn into an array of the same cache; then each step is one loop
over the lanes. LLVM turns both loops into vector instructions without a call or a branch. A tile is always full: lanes
past the last path are computed and not kept, so that a path's numbers do not depend on its place.
"""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from itertools import pairwise

import numpy as np
from numba.core.errors import NumbaError

from sdekit import noise
from sdekit.areas import tile_areas
from sdekit.components import as_tuple, written
from sdekit.numba_compiler import compiled
from sdekit.run import NonFinite, Run, Sink, Unfit, columns
from sdekit.variates import EXPONENTIAL

LANES = 256
CHUNK = 4_000_000  # path-steps that a thread takes at a time
SHARES = 8  # chunks of a thread, at least
NONE = np.empty((1, 1, 1))
LOOK = 0.1  # seconds between two looks at the progress and at Ctrl-C


def kernel(step: Callable, dim: int, finite: int, kept: int, noises: int, draws: str, waits: int,
           varying: tuple[bool, ...], given: bool, aside: bool, bits: int) -> Callable:
    """The loop over tiles, steps and lanes for this step, compiled; see `Run` for the names.

    varying   which parameters have a value for each path
    """
    by_place = draws == "P"
    drawn = 0 if by_place else columns(noises, draws)
    slots = 0 if by_place else min(len(draws), 2)  # W, and H
    group = 4  # steps whose draws are made together: they stay in the cache
    per = 2 if bits == 64 else 4  # steps that a block of noise serves
    places = [f"Q[{sum(varying[:k])}, i]" if each else f"p[{k}]" for k, each in enumerate(varying)]
    load = written("X, i", "return " + as_tuple(f"X[{k}, i]" for k in range(dim)))
    store = written("X, i, x", "; ".join(f"X[{k}, i] = x[{k}]" for k in range(dim)))
    values = written("p, Q, i", "return " + as_tuple(places))
    defect = written("X, i", "return " + " + ".join(f"0.0 * X[{k}, i]" for k in range(finite)))  # 0, or NaN
    scales = ["a * "] * noises + ["b * "] * noises + ["c * "] * (drawn - 2 * noises)
    increments = written("Z, g, i, a, b, c, k0, k1, path, number", "return " + as_tuple([
        *["(k0, k1, path + i, number)"] * by_place,
        *(f"{scale}Z[g, {j}, i]" for j, scale in enumerate([*scales[:drawn], *[""] * waits]))]))
    pair, quad, exponential_pair, slot = noise.pair, noise.quad, noise.exponential_pair, EXPONENTIAL

    def draw(Z, start, number, path, k0, k1, W, row, width, ahead, count):
        """The normals of `count` steps, in the noise from `number` on, a multiple of `per`, and of the `ahead` before
        them; the first path is `path`."""
        for b in range((ahead + count + 1) // 2):
            for s in range(slots):
                for j in range(noises):
                    k = s * noises + j
                    for i in range(LANES):
                        Z[2 * b, k, i], Z[2 * b + 1, k, i] = pair(k0, k1, path + i, j, number // 2 + b, s)

    def draw_coarse(Z, start, number, path, k0, k1, W, row, width, ahead, count):
        """The same for bits=32."""
        for b in range((ahead + count + 3) // 4):
            for s in range(slots):
                for j in range(noises):
                    k = s * noises + j
                    for i in range(LANES):
                        z0, z1, z2, z3 = quad(k0, k1, path + i, j, number // 4 + b, s)
                        Z[4 * b, k, i], Z[4 * b + 1, k, i], Z[4 * b + 2, k, i], Z[4 * b + 3, k, i] = z0, z1, z2, z3

    def take(Z, start, number, path, k0, k1, W, row, width, ahead, count):
        """The draws that were given, W (rows, steps, columns)."""
        for g in range(count):
            for j in range(drawn):
                for i in range(LANES):
                    Z[ahead + g, j, i] = W[row + min(i, width - 1), start + g, j]

    joined = tile_areas(noises, LANES)

    def add_areas(Z, ahead, count, path, n, k0, k1, level, S):
        """The Levy areas of the steps from number n on."""
        for g in range(count):
            joined(Z, ahead + g, path, n + g, k0, k1, level, S)

    def wait(Z, number, path, k0, k1, count):
        """The exponentials of these steps, the block that they begin in included."""
        for b in range((count + 1) // 2):
            for j in range(waits):
                for i in range(LANES):
                    u, v = exponential_pair(k0, k1, path + i, j, number // 2 + b, slot)
                    Z[2 * b, drawn + j, i], Z[2 * b + 1, drawn + j, i] = u, v

    def keep(out, s, row, width, X):
        for k in range(kept):
            for i in range(width):
                out[s, k, row + i] = X[k, i]

    def step_aside(out, s, place, row, width, X, Q, p, t, h, V, beside, Z):
        """From this point of the grid to a saved time h behind it, and back."""
        for i in range(width):
            for j in range(drawn):
                Z[0, j, i] = V[row + i, beside, j]
        for i in range(width):
            x = step(load(X, i), t, h, increments(Z, 0, i, 1.0, 1.0, 1.0, 0, 0, 0, 0), values(p, Q, i))
            for k in range(kept):
                out[s, k, place + row + i] = x[k]

    def nothing(*args):
        pass

    fill = take if given else draw if bits == 64 else draw_coarse
    pause, detour = wait if waits else nothing, step_aside if aside else nothing
    turn = add_areas if len(draws) == 3 and not given else nothing

    def run(begin, end, place, path0, begun, k0, k1, level, x0, p, q, t, h, scale, save, offset, W, V, out, fault, flag,
            done):
        ahead = begun % per  # a run that begins in the middle of a block of steps: one block more
        rows = group + per * (ahead > 0)
        X, Z, Q = np.empty((dim, LANES)), np.empty((rows, drawn + waits, LANES)), np.empty((len(q), LANES))
        bad, one, S = np.empty(LANES), np.empty((1, drawn + waits, LANES)), np.empty((2 * level + 4, noises, LANES))
        steps = len(h)
        for row in range(0, end - begin, LANES):  # a tile
            width, path = min(LANES, end - begin - row), path0 + begin + row
            for i in range(LANES):
                bad[i] = 0.0
                lane = begin + row + min(i, width - 1)
                for k in range(dim):
                    X[k, i] = x0[k, min(lane, x0.shape[1] - 1)]
                for k in range(len(q)):
                    Q[k, i] = q[k, lane]
            s, beside = 0, 0
            if save[0] == 0 and offset[0] == 0.0:
                keep(out, 0, place + row, width, X)
                s = 1
            for start in range(0, steps, group):
                number = begun + start - ahead
                count = min(group, steps - start)
                fill(Z, start, number, path, k0, k1, W, row, width, ahead, count)
                pause(Z, number, path, k0, k1, ahead + count)
                turn(Z, ahead, count, path, begun + start, k0, k1, level, S)
                for n in range(start, start + count):
                    while save[s] == n:  # times behind this point of the grid and before the next
                        detour(out, s, place, row, width, X, Q, p, t[n], offset[s], V, beside, one)
                        s, beside = s + 1, beside + 1
                    now, length, a, b, c = t[n], h[n], scale[0, n], scale[1, n], scale[2, n]
                    for i in range(LANES):
                        dw = increments(Z, n - start + ahead, i, a, b, c, k0, k1, path, begun + n)
                        store(X, i, step(load(X, i), now, length, dw, values(p, Q, i)))
                    if save[s] == n + 1 and offset[s] == 0.0:
                        keep(out, s, place + row, width, X)
                        s += 1
                for i in range(LANES):
                    bad[i] += defect(X, i)
                done[0] += count * width
                if flag[0]:
                    return
            for i in range(width):
                fault[row + i] = bad[i]

    return compiled(run)


def run_numba(kernel: Callable, run: Run, sink: Sink, tick: Callable[[int], None]) -> None:
    """Hand every path's values to `sink`, computed on `run.threads` threads; Ctrl-C stops them and is raised.

    tick(n) is told of n more path-steps. Raises NonFinite for the first path whose state is not finite.
    """
    h = np.diff(run.grid)
    scale = np.array([np.sqrt(h), np.sqrt(h / 12.0), h]) if run.given is None else np.ones((3, len(h)))
    offset = np.append(run.offset, 0.0)

    def work(rows, place, out, x0, p, q, save, V, flag, done):
        W = NONE if run.given is None else np.ascontiguousarray(run.increments(rows))
        fault = np.zeros(rows.stop - rows.start)
        kernel(rows.start, rows.stop, place, run.first, run.begun, *run.key, run.level, x0, p, q, run.grid, h, scale,
               save, offset, W, V, out, fault, flag, done)
        if np.isnan(fault).any():
            raise NonFinite(rows.start + int(np.isnan(fault).argmax()), -1)

    in_chunks(work, run, sink, tick)


def in_chunks(work: Callable, run: Run, sink: Sink, tick: Callable[[int], None]) -> None:
    """work(rows, place, out, x0, p, q, save, V, flag, done) for ranges of paths, on the run's threads."""
    x0 = np.array(np.broadcast_arrays(*run.x0), np.float64).reshape(len(run.x0), -1)
    q = np.array([v for v in run.p if np.ndim(v)]).reshape(-1, run.paths)
    p = tuple(0.0 if np.ndim(v) else v for v in run.p)
    save = np.append(run.save, -1)  # a last number that no step has
    flag = np.zeros(1, np.int64)
    unit = math.lcm(sink.block, LANES)
    units = -(-run.paths // unit)
    draws = 1 if run.given is None else 8 * run.columns  # given draws take memory: chunks are smaller
    largest = max(1, min(CHUNK // (unit * run.steps * draws), sink.most // unit))  # units in a chunk
    count = min(units, run.threads * max(SHARES, -(-units // (largest * run.threads))))  # as many for each thread
    edges = [unit * (k * units // count) for k in range(count)] + [run.paths]
    chunks = [slice(*ends) for ends in pairwise(edges)]
    done = np.zeros((len(chunks), 1), np.int64)

    def chunk(rows: slice, done: np.ndarray) -> None:
        out, place = sink.room(rows)
        V = NONE if run.aside is None else np.ascontiguousarray(run.detours(rows))
        work(rows, place, out, x0, p, q, save, V, flag, done)
        if not flag[0]:
            sink.done(rows, out, place)

    _in_order(chunk, chunks, done, run.threads, flag, tick)


def _in_order(work: Callable, chunks: list, done: np.ndarray, threads: int, flag: np.ndarray, tick: Callable) -> None:
    """Do all chunks on the threads, looking at progress and Ctrl-C meanwhile; raise the first chunk's fault."""
    told, pool = 0, ThreadPoolExecutor(threads)
    try:
        waiting = [pool.submit(work, *item) for item in zip(chunks, done)]
        for future in waiting:
            while not future.done():
                wait_for([future], LOOK)
                told, before = int(done.sum()), told
                tick(told - before)
            future.result()
        tick(int(done.sum()) - told)
    except NumbaError as error:
        raise Unfit(f"Numba cannot compile the SDE's functions: {str(error).strip()}\nUse backend='numpy', or "
                    "write them in numbers, tuples, np.* and math.* alone") from None
    finally:
        flag[0] = 1  # whoever still works is to stop
        pool.shutdown(wait=True, cancel_futures=True)
