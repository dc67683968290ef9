"""Many normals at once, compiled: the numbers of noise.py bit for bit, at many times the speed."""

from collections.abc import Callable
from functools import cache

import numpy as np

from sdekit import noise
from sdekit.components import written
from sdekit.numba_compiler import compiled

LANES, VECTORS = 256, 32  # blocks at once; two vectors of 512 bits in flight have at most 32 lanes


def filled(out: np.ndarray, key: tuple[int, int], path: np.ndarray, first: int, component: np.ndarray, slot: int,
           law: Callable) -> np.ndarray:
    """Write Z of these paths and components and of the steps from `first` on to `out` (paths, steps, components)."""
    _fill(law)(out.reshape(-1), *key, path, component, first, out.shape[1], slot)
    return out


@cache
def _fill(law: Callable):
    """The compiled loops: lanes are the blocks of a box, of `high` paths, `deep` blocks of steps, `width` components.

    Indices are unsigned: signed ones would be looked at for a place counted from the end.
    """
    per = 2 if law is noise.pair else 4
    Zs, Ws = (", ".join(f"{name}[{k}, i]" for k in range(n)) for name, n in (("Z", per), ("W", 4)))
    arguments = "n, Z, W, k0, k1, path, component, number, slot"
    block = "k0, k1, path[i], component[i], number[i], slot"
    if law is noise.single_quad:  # two loops: 64 bits wide for the products of Philox, 32 bits wide for the rest
        draw = written(arguments, f"""
            for i in range(n): {Ws} = block({block})
            for i in range(n): {Zs} = normals({Ws})""", block=noise.block, normals=noise.single_normals)
    else:
        draw = written(arguments, f"""
            for i in range(n): {Zs} = law({block})""", law=law)
    braid = written("out, place, Z, lane, i", ", ".join(f"out[place + {per} * i + {k}]" for k in range(per))
                    + " = " + Zs.replace("i]", "lane + i]"))
    real, whole = np.float32 if law is noise.single_quad else np.float64, np.uint64

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
        n = min(LANES, (high * size + VECTORS - 1) // VECTORS * VECTORS)

        Z, W = np.empty((per, LANES), real), np.empty((4, LANES), np.int32)
        row, column, rank = np.empty(LANES, np.int64), np.empty(LANES, np.int64), np.empty(LANES, np.int64)
        path, component, number = np.empty(LANES, np.int64), np.empty(LANES, np.int64), np.empty(LANES, np.int64)
        for i in range(n):  # a lane's place in the box
            row[i], column[i], rank[i] = i // size, i % width, i // width % deep
        for p in range(0, len(paths), high):
            for i in range(n):
                path[i] = paths[min(p + row[i], len(paths) - 1)]
            for left in range(0, many, width):
                j = min(left, many - width)  # the last piece may have some of the one before
                for i in range(n):
                    component[i] = components[j + column[i]]
                for b in range(begin, end, deep):
                    for i in range(n):
                        number[i] = b + rank[i]
                    draw(n, Z, W, k0, k1, path, component, number, slot)
                    start, stop = max(0, first - b * per), min(deep * per, first + steps - b * per)
                    for r in range(min(high, len(paths) - p)):
                        place, lane = ((p + r) * steps + b * per - first) * many + j, r * size
                        if many == 1 and stop - start == deep * per:
                            for i in range(deep):
                                braid(out, place, Z, lane, i)
                        else:
                            for s in range(start, stop):
                                for c in range(width):
                                    at = whole(lane + s // per * width + c)
                                    out[whole(place + s * many + c)] = Z[s % per, at]

    return compiled(fill, contract=False)
