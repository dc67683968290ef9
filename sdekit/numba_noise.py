"""Many normals at once, compiled: the numbers of noise.py bit for bit, at many times the speed."""

from collections.abc import Callable
from functools import cache

import numpy as np

from sdekit import noise
from sdekit.components import written
from sdekit.numba_compiler import compiled

LANES = 64  # blocks at once
AT_ONCE = 20_000_000  # numbers between two looks at Ctrl-C


def filled(out: np.ndarray, key: tuple[int, int], path: np.ndarray, first: int, component: np.ndarray, slot: int,
           law: Callable) -> np.ndarray:
    """Write Z of these paths and components and of the steps from `first` on to `out` (paths, steps, components)."""
    fill = (_rows if len(component) == 1 and out.shape[1] > LANES else _boxes)(law)
    rows, most = out.reshape(len(path), -1), max(LANES, AT_ONCE // (out[0].size or 1))
    for begin in range(0, len(path), most):  # Ctrl-C is seen in between
        part = slice(begin, begin + most)
        fill(rows[part], *key, path[part], component, first, out.shape[1], slot)
    return out


def _loops(law: Callable, path: str, component: str, number: str) -> tuple[int, type, Callable]:
    """A block's normals, their type, and the function that puts the normals of LANES blocks into Z (per, LANES).

    In float32 that is two loops, by way of the words W: Philox's products are 64 bits wide, all the rest is 32.
    """
    single, per = law is noise.single_quad, 2 if law is noise.pair else 4
    Z, W = (", ".join(f"{name}[{k}, i]" for k in range(n)) for name, n in (("Z", per), ("W", 4)))
    block = f"(k0, k1, {path}, {component}, {number}, slot)"
    bodies = [f"{W} = block{block}", f"{Z} = normals({W})"] if single else [f"{Z} = law{block}"]
    draw = written("Z, W, k0, k1, path, component, number, slot",
                   "".join(f"\n for i in range({LANES}): {body}" for body in bodies),
                   law=law, block=noise.block, normals=noise.single_normals)
    return per, np.float32 if single else np.float64, draw


@cache
def _rows(law: Callable):
    """One component, many steps: the lanes are consecutive blocks of a path."""
    per, real, draw = _loops(law, "path", "component", "number + i")
    braid = written("row, n, Z, i", ", ".join(f"row[n + {per} * i + {k}]" for k in range(per)) + " = "
                    + ", ".join(f"Z[{k}, i]" for k in range(per)))

    def fill(out, k0, k1, paths, components, first, steps, slot):
        Z, W = np.empty((per, LANES), real), np.empty((4, LANES), np.int32)
        begin, end = first // per, (first + steps - 1) // per + 1  # blocks
        for p in range(len(paths)):
            path, row = paths[p], out[p]
            for b in range(begin, end, LANES):
                draw(Z, W, k0, k1, path, components[0], b, slot)
                n = b * per - first  # the step of the first number of these blocks
                if n >= 0 and n + per * LANES <= steps:
                    for i in range(LANES):
                        braid(row, n, Z, i)
                else:
                    for i in range(max(0, -n), min(per * LANES, steps - n)):
                        row[n + i] = Z[i % per, i // per]

    return compiled(fill, contract=False)


@cache
def _boxes(law: Callable):
    """The lanes are the blocks of a box: of `high` paths, `deep` blocks of steps, `width` components.

    Indices are unsigned: signed ones would be looked at for a place counted from the end.
    """
    per, real, draw = _loops(law, "path[i]", "component[i]", "number[i]")
    whole = np.uint64

    def share(n, most):
        """The size of the fewest equal pieces of n that are none above `most`."""
        pieces = (n + most - 1) // most
        return (n + pieces - 1) // pieces

    def fill(out, k0, k1, paths, components, first, steps, slot):
        many, begin, end = len(components), first // per, (first + steps - 1) // per + 1  # blocks
        width = share(many, LANES)
        deep = share(end - begin, LANES // width)
        size = width * deep
        high = LANES // size if width == many and deep == end - begin else 1

        Z, W = np.empty((per, LANES), real), np.empty((4, LANES), np.int32)
        row, column, rank = np.empty(LANES, np.int64), np.empty(LANES, np.int64), np.empty(LANES, np.int64)
        path, component, number = np.empty(LANES, np.int64), np.empty(LANES, np.int64), np.empty(LANES, np.int64)
        for i in range(LANES):  # a lane's place in the box
            row[i], column[i], rank[i] = i // size, i % width, i // width % deep
        for p in range(0, len(paths), high):
            for i in range(LANES):
                path[i] = paths[min(p + row[i], len(paths) - 1)]
            for left in range(0, many, width):
                j = min(left, many - width)  # the last piece may have some of the one before
                for i in range(LANES):
                    component[i] = components[j + column[i]]
                for b in range(begin, end, deep):
                    for i in range(LANES):
                        number[i] = b + rank[i]
                    draw(Z, W, k0, k1, path, component, number, slot)
                    start, stop = max(0, first - b * per), min(deep * per, first + steps - b * per)
                    for r in range(min(high, len(paths) - p)):
                        line, place, lane = out[p + r], (b * per - first) * many + j, r * size
                        for s in range(start, stop):
                            for c in range(width):
                                at = whole(lane + s // per * width + c)
                                line[whole(place + s * many + c)] = Z[s % per, at]

    return compiled(fill, contract=False)
