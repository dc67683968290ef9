"""Many normals at once, compiled: the numbers of noise.py bit for bit, at many times the speed."""

from functools import cache

import numpy as np

from sdekit import noise
from sdekit.components import written
from sdekit.numba_compiler import compiled

LANES = 64


def filled(out: np.ndarray, key: tuple[int, int], path: np.ndarray, first: int, component: np.ndarray, slot: int,
           bits: int) -> np.ndarray:
    """Write Z of these paths and components and of the steps from `first` on to `out` (paths, steps, components)."""
    _fill(bits)(out.reshape(len(path), -1), *key, path, component, first, out.shape[1], slot)
    return out


@cache
def _fill(bits: int):
    """The compiled loops: the lanes of a vector are consecutive blocks of a path, or one block of consecutive paths."""
    law, per = (noise.pair, 2) if bits == 64 else (noise.quad, 4)
    lanes = ", ".join(f"Z[{k}, i]" for k in range(per))
    draw = written("Z, i, k0, k1, path, component, number, slot",
                   f"{lanes} = law(k0, k1, path, component, number, slot)", law=law)
    braid = written("row, n, Z, i", ", ".join(f"row[n + {per} * i + {k}]" for k in range(per)) + f" = {lanes}")

    def fill(out, k0, k1, paths, components, first, steps, slot):
        Z, many = np.empty((per, LANES)), len(components)
        begin, end = first // per, (first + steps - 1) // per + 1  # blocks
        if steps < per * LANES // 2 and len(paths) > steps:  # few steps: along the paths
            for p in range(0, len(paths), LANES):
                for b in range(begin, end):
                    for j in range(many):
                        component = components[j]
                        for i in range(LANES):
                            draw(Z, i, k0, k1, paths[min(p + i, len(paths) - 1)], component, b, slot)
                        for k in range(max(0, first - b * per), min(per, first + steps - b * per)):
                            for i in range(min(LANES, len(paths) - p)):
                                out[p + i, (b * per + k - first) * many + j] = Z[k, i]
            return
        for p in range(len(paths)):
            row, path = out[p], paths[p]
            for j in range(many):
                component = components[j]
                for b in range(begin, end, LANES):
                    for i in range(LANES):
                        draw(Z, i, k0, k1, path, component, b + i, slot)
                    n = b * per - first  # the step of the first number of these blocks
                    if many == 1 and n >= 0 and n + per * LANES <= steps:
                        for i in range(LANES):
                            braid(row, n, Z, i)
                    else:
                        for i in range(max(0, -n), min(per * LANES, steps - n)):
                            row[(n + i) * many + j] = Z[i % per, i // per]

    return compiled(fill, contract=False)
