"""Adaptive steps on CPUs: each path walks over its own cells, compiled; see `sdekit.adaptive` for the rules."""

from collections.abc import Callable

import numpy as np

from sdekit import noise
from sdekit.adaptive import Cellwise, deepest, parts
from sdekit.brownian import LEVELS, halve
from sdekit.components import as_tuple, written
from sdekit.numba_compiler import compiled
from sdekit.numba_engine import in_chunks
from sdekit.run import Run, Sink


def kernel(cellwise: Cellwise, dim: int, kept: int, noises: int, varying: tuple[bool, ...], aside: bool) -> Callable:
    """The loop over paths, steps of the grid and their cells, compiled; see `Run` for the names.

    varying   which parameters have a value for each path
    """
    places = [f"q[{sum(varying[:k])}, i]" if each else f"p[{k}]" for k, each in enumerate(varying)]
    load = written("x, i", "return " + as_tuple(f"x[{k}, i]" for k in range(dim)))
    values = written("p, q, i", "return " + as_tuple(places))
    drawn = written("W, H", "return " + as_tuple(f"{a}[{j}]" for a in "WH" for j in range(noises)))
    none = written("", "return " + as_tuple(["np.nan"] * dim), np=np)
    pair, attempt, at_side, easy = noise.pair, cellwise.attempt, cellwise.aside, cellwise.easy

    def normals(k0, k1, path, j, half, slot):
        return pair(k0, k1, path, j, half, slot)

    def keep(out, s, place, x):
        for k in range(kept):
            out[s, k, place] = x[k]

    def beside(out, s, place, x, y, begin, h, ahead, size, part, V, row, side, k, PW, PA, W, H, p):
        """The value at a saved time inside of a cell: what is left of the way there, by Chen's relation."""
        if part == ahead + size:
            keep(out, s, place, y)
        else:
            left = part - ahead
            for j in range(noises):
                W[j] = V[row, side, j] - PW[j]
                H[j] = (part * V[row, side, noises + j] - PA[j] - 0.5 * (left * PW[j] - ahead * W[j])) / left
            keep(out, s, place, at_side(x, begin, h, left / size, drawn(W, H), k, p))

    def nothing(*args):
        pass

    detour = beside if aside else nothing

    def run(begin, end, place, path0, k0, k1, x0, p, q, rtol, atol, first, t, caps, save, part, V, out, lost, counts,
            flag, done):
        W, H, W1, H1, W2, H2, PW, PA, w, v = np.empty((10, noises))
        later = np.empty((LEVELS + 1, 2, noises))  # (W, H) of the second halves that are still to come, by level
        for row in range(end - begin):
            lane, path = begin + row, path0 + begin + row
            x, own = load(x0, min(lane, x0.shape[1] - 1)), values(p, q, lane)
            s, side, hint, alive = 0, 0, first, True
            if save[0] == 0 and part[0] == 0.0:
                keep(out, 0, place + row, x)
                s = 1
            for n in range(len(t) - 1):
                length, cap = t[n + 1] - t[n], caps[n]
                for j in range(noises):
                    even, odd = normals(k0, k1, path, j, n >> 1, 0)
                    W[j] = np.sqrt(length) * (odd if n & 1 else even)
                    even, odd = normals(k0, k1, path, j, n >> 1, 1)
                    H[j] = np.sqrt(length / 12.0) * (odd if n & 1 else even)
                    PW[j], PA[j] = 0.0, 0.0
                level, cell, size = 0, 1, 1.0
                while alive and not flag[0]:
                    ahead, h = (cell - (1 << level)) * size, size * length
                    for j in range(noises):
                        z, other = normals(k0, k1, path, j, n, 16 + cell)
                        W1[j], H1[j], W2[j], H2[j] = halve(W[j], H[j], np.sqrt(h / 16.0) * z,
                                                           np.sqrt(h / 12.0) * other)
                    good = level >= hint or level == cap
                    if good:
                        start = t[n] + ahead * length
                        y, e, k = attempt(x, start, h, drawn(W, H), drawn(W1, H1), drawn(W2, H2), own, rtol,
                                          atol)
                        good = e <= 1.0
                        counts[0] += good
                        counts[1] += not good
                        hint = level + 1
                        if good:
                            hint = level - (e < easy)
                            while save[s] == n and part[s] <= ahead + size and part[s] > 0.0:
                                detour(out, s, place + row, x, y, start, h, ahead, size, part[s], V, row, side, k, PW,
                                       PA, w, v, own)
                                s, side = s + 1, side + 1
                            x = y
                            for j in range(noises):
                                PA[j] += size * H[j] + 0.5 * (size * PW[j] - ahead * W[j])
                                PW[j] += W[j]
                    if good:
                        while cell & 1 and level > 0:
                            cell, level, size = cell >> 1, level - 1, 2.0 * size
                        if level == 0:
                            break
                        cell += 1
                        for j in range(noises):
                            W[j], H[j] = later[level, 0, j], later[level, 1, j]
                    elif level == cap:
                        x, alive, lost[row] = none(), False, t[n] + ahead * length
                    else:
                        cell, level, size = 2 * cell, level + 1, 0.5 * size
                        for j in range(noises):
                            later[level, 0, j], later[level, 1, j] = W2[j], H2[j]
                            W[j], H[j] = W1[j], H1[j]
                while save[s] == n and part[s] > 0.0:  # a path that was lost
                    keep(out, s, place + row, x)
                    s, side = s + 1, side + 1
                if save[s] == n + 1 and part[s] == 0.0:
                    keep(out, s, place + row, x)
                    s += 1
                done[0] += 1
                if flag[0]:
                    return

    return compiled(run)


def run_cells(kernel: Callable, cellwise: Cellwise, run: Run, sink: Sink, tick: Callable[[int], None]) -> None:
    """Hand every path's values to `sink`; as `numba_engine.run_numba`, but what cannot go on is told in run.tally."""
    h = np.diff(run.grid)
    caps = np.array([deepest(t, length) for t, length in zip(run.grid, h)])
    part = np.append(parts(run.grid, run.save, run.offset), 0.0)
    assert run.tally is not None
    tally, first = run.tally, cellwise.start(run.tally.rtol, run.tally.atol)

    def work(rows, place, out, x0, p, q, save, V, flag, done):
        lost, counts = np.full(rows.stop - rows.start, np.inf), np.zeros(2, np.int64)
        kernel(rows.start, rows.stop, place, run.first, *run.key, x0, p, q, tally.rtol, tally.atol, first, run.grid,
               caps, save, part, V, out, lost, counts, flag, done)
        gone = np.flatnonzero(np.isfinite(lost))
        tally.add(counts[0], counts[1], {run.first + rows.start + int(k): float(lost[k]) for k in gone})

    in_chunks(work, run, sink, tick)
