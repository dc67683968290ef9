"""Many values of Brownian paths at once, compiled: the numbers of brownian.py bit for bit, at many times the speed.

The values are lanes of a loop, whatever paths, noises and times they are of: LANES of them go down their trees
together, level after level, all state in the L1 cache. A lane whose cells have ended joins nothing any more.

Times that are close together share the upper part of their ways, which is walked for each of them. Of the halvings for
m times spread over one step, 19 in 100 are done before for m = 1,000, 26 for 10,000, 33 for 100,000: that is all there
would be to gain from walking each cell once, over lanes that would have to be paths alone.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from sdekit import noise
from sdekit.brownian import DEPTH, LEVELS, Functions, halve, join
from sdekit.numba_compiler import compiled

LANES = 64  # values at once
AT_ONCE = 1 << 15  # values between two looks at Ctrl-C


def pair(k0, k1, path, component, half, slot):
    """`noise.pair` under one key."""
    return _each(_pairs(), 2, (int(k0[0]), int(k1[0])), path, component, half, slot)


def split(k0, k1, path, component, n, cell, length, W, H):
    """`brownian.split` under one key."""
    z, other = pair(k0, k1, path, component, n, 16 + cell)
    return halve(W, H, np.sqrt(length / 16.0) * z, np.sqrt(length / 12.0) * other)


def descend(key, path, component, n, h, place, before, after):
    """`brownian.descend`; the lengths are sums of powers of two and exact."""
    W, A, V, B = _each(_descents(), 4, key, path, component, n, h, place, before, after)
    return (np.ldexp(before, -DEPTH), W, A), (np.ldexp(after, -DEPTH), V, B)


COMPILED = Functions(pair, split, descend)


def _each(kernel: Callable, results: int, same: tuple, *arrays) -> tuple[np.ndarray, ...]:
    """kernel(*same, *arrays, *results), AT_ONCE numbers at a time: int64 and float64 arrays that broadcast."""
    kinds = [np.asarray(x).dtype for x in arrays] + [np.dtype(float)] * results
    flags: Any = [["readonly", "contig"]] * len(arrays) + [["writeonly", "allocate", "contig"]] * results
    with np.nditer([*arrays, *[None] * results], ["external_loop", "buffered", "zerosize_ok"], flags, kinds, order="C",
                   buffersize=AT_ONCE) as pieces:
        if pieces.itersize:
            for piece in pieces:
                kernel(*same, *piece)
        return pieces.operands[len(arrays):]


@cache
def _pairs():
    block = noise.pair

    def fill(k0, k1, path, component, half, slot, even, odd):
        for i in range(len(path)):
            even[i], odd[i] = block(k0, k1, path[i], component[i], half[i], slot[i])

    return compiled(fill, contract=False)


@cache
def _descents():
    """The walk of `brownian.descend`.

    Turns -2 and -1 draw the root's W and H, the others halve cells; before turn 28 there is one for the new key. All
    draw with the same lines, since the noise is most of what there is to compile. What a loop chooses from is loaded
    before: a load in a branch would keep it from becoming vector code. All numbers of one type are one array for the
    same reason, since LLVM then sees what may overlap.
    """
    block, normals = noise.block, noise.box_muller
    path, component, n, place, before, after, k0, k1, cell, w0, w1, w2, w3 = range(13)  # rows of I
    W, H, h, z, other, W1, H1, W2, H2, a, U, A, b, V, B = range(15)  # rows of X; (a, U, A) is what `before` joins to

    def fill(key0, key1, paths, components, ns, hs, places, befores, afters, W_before, A_before, W_after, A_after):
        I, X = np.empty((13, LANES), np.int64), np.empty((15, LANES))
        for begin in range(0, len(paths), LANES):
            width, ends, begins = min(LANES, len(paths) - begin), 0, 0
            for i in range(LANES):
                k = begin + min(i, width - 1)  # past the last value it stands again
                I[path, i], I[component, i], I[n, i], X[h, i] = paths[k], components[k], ns[k], hs[k]
                I[place, i], I[before, i], I[after, i] = places[k], befores[k], afters[k]
                I[k0, i], I[k1, i], I[cell, i] = key0, key1, 1
                ends |= befores[k]
                begins |= afters[k]
            level, length = -2, 1.0
            while level < 0 or (ends | begins) & ((1 << (DEPTH - level)) - 1):
                for i in range(LANES):
                    half = I[n, i] >> 1 if level < 0 else I[n, i]
                    slot = level + 2 if level < 0 else 16 + I[cell, i]
                    I[w0, i], I[w1, i], I[w2, i], I[w3, i] = block(I[k0, i], I[k1, i], I[path, i], I[component, i],
                                                                   half, slot)
                if level == LEVELS and I[cell, 0] > 1:
                    for i in range(LANES):
                        I[k0, i], I[k1, i], I[cell, i] = I[w0, i], I[w1, i], 1
                    continue
                for i in range(LANES):
                    X[z, i], X[other, i] = normals(I[w0, i], I[w1, i], I[w2, i], I[w3, i])
                if level < 0:
                    row, part = (W, 1.0) if level == -2 else (H, 12.0)
                    for i in range(LANES):
                        X[row, i] = np.sqrt(X[h, i] / part) * (X[other, i] if I[n, i] & 1 else X[z, i])
                        full = I[before, i] >> DEPTH > 0
                        X[a, i], X[U, i], X[A, i] = (1.0, X[W, i], X[H, i]) if full else (0.0, 0.0, 0.0)
                        X[b, i], X[V, i], X[B, i] = 0.0, 0.0, 0.0
                    level += 1
                    continue
                for i in range(LANES):
                    size = X[h, i] * length
                    X[W1, i], X[H1, i], X[W2, i], X[H2, i] = halve(X[W, i], X[H, i], np.sqrt(size / 16.0) * X[z, i],
                                                                   np.sqrt(size / 12.0) * X[other, i])
                level, length = level + 1, 0.5 * length
                bit, rest = DEPTH - level, (1 << (DEPTH - level)) - 1
                if (ends >> bit) & 1:
                    for i in range(LANES):
                        here = float((I[before, i] >> bit) & 1)
                        first = here * length, here * X[W1, i], here * (length * X[H1, i])
                        X[a, i], X[U, i], X[A, i] = join((X[a, i], X[U, i], X[A, i]), first)
                if (begins >> bit) & 1:
                    for i in range(LANES):
                        here = float((I[after, i] >> bit) & 1)
                        lower = (I[place, i] >> bit) & 1 | (I[after, i] & rest) == 0
                        u, v, p, q = X[W1, i], X[H1, i], X[W2, i], X[H2, i]
                        u, v = u if lower else p, v if lower else q
                        X[b, i], X[V, i], X[B, i] = join((here * length, here * u, here * (length * v)),
                                                         (X[b, i], X[V, i], X[B, i]))
                for i in range(LANES):
                    upper = (I[place, i] >> bit) & 1
                    u, v, p, q = X[W1, i], X[H1, i], X[W2, i], X[H2, i]
                    X[W, i], X[H, i] = p if upper else u, q if upper else v
                    I[cell, i] = 2 * I[cell, i] + upper
            for i in range(width):
                W_before[begin + i], A_before[begin + i] = X[U, i], X[A, i]
                W_after[begin + i], A_after[begin + i] = X[V, i], X[B, i]

    return compiled(fill, contract=False)
