"""The statistics of blocks of paths, compiled: what `sdekit.summary.block_statistics` computes.

Floating-point sums are not associative, so LLVM leaves a long sum alone. Here a block is read as ROWS x LANES numbers:
each lane adds up its rows, all lanes at a time, and then the upper half of the lanes is added to the lower until one
is left: vector code in one fixed order. A block that is not full is padded with numbers that add nothing.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from sdekit.summary import BLOCK, INFINITY, OUTSIDE, SHIFT

LANES = 256
ROWS = BLOCK // LANES
# Division by zero as in NumPy and fused multiply-adds, for vector code. The compiled code is kept on disk until this
# file changes: change it, too, when one of the constants above that it takes from elsewhere does.
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}, "cache": True}


@intrinsic
def _bits(context, x):
    """The 64 bits of a float as an integer."""
    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.IntType(64))

    return types.int64(types.float64), generate


@intrinsic
def _wide_vectors(context):
    """Ask for 512-bit vectors, which LLVM avoids by default on processors that have them.

    llvmlite keeps a list of the attributes it knows and this one is not on it, hence the set's own `add`.
    """
    def generate(context, builder, signature, arguments):
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.none(), generate


@njit(**_OPTIONS)
def block_statistics(values, centre, base, counts, moments, pairs):
    """The moments of each block of `values`; every value is counted in its bin.

    values          (times, dim, n) float64, C-contiguous: whole blocks, of which the last may be shorter
    centre, base    (times, dim), of the Bins
    counts          (times, dim, BINS), any integers; added to
    moments, pairs  (7, blocks, times, dim) and (9, blocks, times, dim (dim - 1) / 2) float64; written.
                    Pairs with a last axis of 0 are not wanted

    See `sdekit.summary.block_statistics` for what they hold.
    """
    times, dim, total = values.shape
    x, y, Y, lanes = np.empty(BLOCK), np.empty(BLOCK), np.empty((dim, BLOCK)), np.empty((6, LANES))
    cell = np.empty(BLOCK, np.int64)
    for block in range(-(-total // BLOCK)):
        begin, end = block * BLOCK, min((block + 1) * BLOCK, total)
        for t in range(times):
            for k in range(dim):
                n = _finite(values[t, k, begin:end], x)
                _moments(x, n, centre[t, k], Y[k], lanes, moments[:, block, t, k])
                _count(Y[k], n, base[t, k], cell, counts[t, k])
            p = 0
            for k in range(dim if pairs.shape[3] else 0):
                for l in range(k + 1, dim):
                    n = end - begin
                    if moments[0, block, t, k] == n and moments[0, block, t, l] == n:
                        _cross(Y[k], Y[l], n, lanes, pairs[:, block, t, p])
                    else:  # Y holds the finite values of each component, here those paths where both are
                        n = _both(values[t, k, begin:end], values[t, l, begin:end], centre[t, k], centre[t, l], x, y)
                        _cross(x, y, n, lanes, pairs[:, block, t, p])
                    p += 1


@njit(**_OPTIONS)
def _finite(values, x):
    """The finite values in their order at the front of x; returns how many."""
    _wide_vectors()  # pyright: ignore[reportCallIssue]
    n, bad = len(values), 0
    for i in range(n):
        x[i] = values[i]
        bad += (_bits(x[i]) & INFINITY) == INFINITY
    if bad:
        n = 0
        for i in range(len(values)):  # without a branch, which would be guessed wrong
            x[n] = values[i]
            n += np.isfinite(values[i])
    return n


@njit(**_OPTIONS)
def _both(a, b, c, d, x, y):
    """a - c and b - d where both are finite, at the front of x and y; returns how many."""
    n = 0
    for i in range(len(a)):
        x[n], y[n] = a[i] - c, b[i] - d
        n += np.isfinite(a[i]) & np.isfinite(b[i])
    return n


@njit(**_OPTIONS)
def _moments(x, n, c, y, lanes, out):
    """y = x - c, and out = n, mean, M2, M3, M4 of y, min, max of x. Overwrites x behind its first n."""
    _wide_vectors()  # pyright: ignore[reportCallIssue]
    for i in range(n, BLOCK):
        x[i] = x[0] if n else 0.0
    for i in range(LANES):
        least = most = x[i]
        for r in range(ROWS):
            z = x[r * LANES + i]
            least, most = min(least, z), max(most, z)
            y[r * LANES + i] = z - c
        lanes[0, i], lanes[1, i] = least, -most
    low, high = _least(lanes[0]), -_least(lanes[1])
    for i in range(n, BLOCK):
        y[i] = 0.0
    mean = _mean(y, n, lanes[0])
    for i in range(n, BLOCK):
        y[i] = mean
    for i in range(LANES):
        m2 = m3 = m4 = 0.0
        for r in range(ROWS):
            d = y[r * LANES + i] - mean
            d2 = d * d
            m2 += d2
            m3 += d2 * d
            m4 += d2 * d2
        lanes[0, i], lanes[1, i], lanes[2, i] = m2, m3, m4
    out[0], out[1], out[2], out[3], out[4] = n, mean, _total(lanes[0]), _total(lanes[1]), _total(lanes[2])
    out[5], out[6] = (low, high) if n else (np.inf, -np.inf)


@njit(**_OPTIONS)
def _count(y, n, base, cell, counts):
    """Add the first n of y to the counts of their bins; see `sdekit.summary.Bins`."""
    _wide_vectors()  # pyright: ignore[reportCallIssue]
    for i in range(BLOCK):
        w = _bits(y[i])
        sign = w >> 63
        j = min(max(((w & 0x7FFFFFFFFFFFFFFF) >> SHIFT) - base, 0), OUTSIDE)
        cell[i] = OUTSIDE + ((j ^ sign) - sign)
    for i in range(n):
        counts[cell[i]] += 1


@njit(**_OPTIONS)
def _cross(u, v, n, lanes, out):
    """out = n, means, M20, M11, M02, M21, M12, M22 of the first n pairs (u, v). Overwrites those behind."""
    _wide_vectors()  # pyright: ignore[reportCallIssue]
    for i in range(n, BLOCK):
        u[i], v[i] = 0.0, 0.0
    a, b = _mean(u, n, lanes[0]), _mean(v, n, lanes[0])
    for i in range(n, BLOCK):
        u[i], v[i] = a, b
    for i in range(LANES):
        m20 = m11 = m02 = m21 = m12 = m22 = 0.0
        for r in range(ROWS):
            d, e = u[r * LANES + i] - a, v[r * LANES + i] - b
            d2, e2, de = d * d, e * e, d * e
            m20 += d2
            m11 += de
            m02 += e2
            m21 += d * de
            m12 += de * e
            m22 += d2 * e2
        lanes[0, i], lanes[1, i], lanes[2, i], lanes[3, i], lanes[4, i], lanes[5, i] = m20, m11, m02, m21, m12, m22
    out[0], out[1], out[2] = n, a, b
    for j in range(6):
        out[3 + j] = _total(lanes[j])


@njit(**_OPTIONS)
def _mean(y, n, lanes):
    _wide_vectors()  # pyright: ignore[reportCallIssue]
    for i in range(LANES):
        total = 0.0
        for r in range(ROWS):
            total += y[r * LANES + i]
        lanes[i] = total
    return _total(lanes) / max(n, 1)


@njit(**_OPTIONS)
def _total(lanes):
    width = LANES // 2
    while width:
        for i in range(width):
            lanes[i] += lanes[i + width]
        width //= 2
    return lanes[0]


@njit(**_OPTIONS)
def _least(lanes):
    width = LANES // 2
    while width:
        for i in range(width):
            lanes[i] = min(lanes[i], lanes[i + width])
        width //= 2
    return lanes[0]
