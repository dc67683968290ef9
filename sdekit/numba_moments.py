"""The statistics of blocks of paths, compiled: what `sdekit.moments.block_statistics` computes.

Floating-point sums are not associative, so LLVM leaves a long sum alone. Here a block is read as ROWS x LANES numbers:
each lane adds up its rows, all lanes at a time, and then the upper half of the lanes is added to the lower until one
is left: vector code in one fixed order. A block that is not full is padded with numbers that add nothing.
`block_statistics`, the last function, is compiled with all those before it in it.
"""

import numpy as np

from sdekit.bins import ABS, OUTSIDE, SHIFT
from sdekit.moments import BLOCK
from sdekit.noise import bits
from sdekit.numba_compiler import compiled

LANES = 256
ROWS = BLOCK // LANES


def _finite(values, x):
    """The finite values in their order at the front of x; returns how many."""
    n, bad = len(values), 0
    for i in range(n):
        x[i] = values[i]
        bad += not np.isfinite(x[i])
    if bad:
        n = 0
        for i in range(len(values)):  # without a branch, which would be guessed wrong
            x[n] = values[i]
            n += np.isfinite(values[i])
    return n


def _both(a, b, c, d, x, y):
    """a - c and b - d where both are finite, at the front of x and y; returns how many."""
    n = 0
    for i in range(len(a)):
        x[n], y[n] = a[i] - c, b[i] - d
        n += np.isfinite(a[i]) & np.isfinite(b[i])
    return n


def _moments(x, n, c, y, lanes, out):
    """y = x - c, and out = n, mean, M2, M3, M4 of y, min, max of x. Overwrites x behind its first n."""
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


def _count(y, n, base, cell, counts):
    """Add the first n of y to the counts of their bins; see `sdekit.bins.Bins`."""
    for i in range(BLOCK):
        w = bits(y[i])
        sign = w >> 63
        j = min(max(((w & ABS) >> SHIFT) - base, 0), OUTSIDE)
        cell[i] = OUTSIDE + ((j ^ sign) - sign)
    for i in range(n):
        counts[cell[i]] += 1


def _cross(u, v, n, lanes, out):
    """out = n, means, M20, M11, M02, M21, M12, M22 of the first n pairs (u, v). Overwrites those behind."""
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


def _mean(y, n, lanes):
    for i in range(LANES):
        total = 0.0
        for r in range(ROWS):
            total += y[r * LANES + i]
        lanes[i] = total
    return _total(lanes) / max(n, 1)


def _total(lanes):
    width = LANES // 2
    while width:
        for i in range(width):
            lanes[i] += lanes[i + width]
        width //= 2
    return lanes[0]


def _least(lanes):
    width = LANES // 2
    while width:
        for i in range(width):
            lanes[i] = min(lanes[i], lanes[i + width])
        width //= 2
    return lanes[0]


@compiled
def block_statistics(values, centre, base, counts, moments, pairs):
    """The moments of each block of `values`; every value is counted in its bin.

    values          (times, dim, n) float64, C-contiguous: whole blocks, of which the last may be shorter
    centre, base    (times, dim), of the Bins
    counts          (times, dim, BINS), any integers; added to
    moments, pairs  (7, blocks, times, dim) and (9, blocks, times, dim (dim - 1) / 2) float64; written.
                    Pairs with a last axis of 0 are not wanted

    See `sdekit.moments.block_statistics` for what they hold.
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
