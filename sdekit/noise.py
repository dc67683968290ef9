"""Every standard normal is a pure function Z(seed, stream, path, step, component): noise is no state.

    words  = Philox4x32-10(counter, key)                        Salmon et al. 2011
    u, v   = odd multiples of 2^-53 in (0, 1)                   52 bits from two words each
    Z, Z'  = sqrt(-2 ln u) (cos 2 pi v, sin 2 pi v)             Box & Muller 1958; |Z| <= 8.57

Key: the first two words of Philox(key = seed's 64 bits, counter = (stream, 0, 0, TAG)).
Counter: (path's low 32 bits; component + 2^24 (path's high 8 bits); step // 2; slot). Z serves the even step, Z' the
odd one after it. Slot 0 is dW / sqrt(dt).

The functions here are written once, in operations that NumPy's int64 arrays, Torch's int64 tensors and Numba's
int64 scalars share: the words agree bit for bit everywhere, the normals to rounding. int64 products wrap, which is
what Philox wants; masks undo the sign.
"""

import operator
import secrets

import numpy as np

VERSION = 1  # of the map above; recorded in every result
MAX_PATHS, MAX_COMPONENTS, MAX_STEPS, MAX_STREAM = 2**40, 2**24, 2**32, 2**32
TAG = 1

MASK = 0xFFFFFFFF
ONE, SQRT_HALF = 0x3FF0000000000000, 0x3FE6A09E667F3BCD  # the bits of 1.0 and of sqrt(1/2)
MAGIC, MAGIC_BITS = 6755399441055744.0, 0x4338000000000000  # 1.5 * 2^52: adding it rounds to an integer
LN2_HIGH, LN2_LOW = 0.6931471803691238, 1.9082149292705877e-10


def bits(x):
    """The 64 bits of a float as an integer."""
    return x.view(np.int64)


def from_bits(k):
    """The float that has these 64 bits."""
    return k.view(np.float64)


def philox(c0, c1, c2, c3, k0, k1):
    """Philox4x32-10: four words of counter and two of key to four random words, each int64 in [0, 2^32).

    >>> [hex(w.item()) for w in philox(*np.zeros((6, 1), np.int64))]
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    for _ in range(10):
        p, q = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1 = ((q >> 32) & MASK) ^ c1 ^ k0, q & MASK
        c2, c3 = ((p >> 32) & MASK) ^ c3 ^ k1, p & MASK
        k0, k1 = (k0 + 0x9E3779B9) & MASK, (k1 + 0xBB67AE85) & MASK
    return c0, c1, c2, c3


def box_muller(w0, w1, w2, w3):
    """Two independent standard normals from four words, without a branch.

    The polynomials are near-minimax fits (Chebyshev nodes, 50 digits) of relative error below 2e-17:
    ln m = 2 s + s^3 L(s^2) with s = (m - 1)/(m + 1), sin(pi f/2) = f (pi/2 + f^2 S(f^2)), cos(pi f/2) = 1 + f^2 C(f^2).
    """
    u = from_bits(((w0 << 20) | (w1 >> 12)) | ONE) - 0.9999999999999999  # (2k + 1) 2^-53, exactly
    v = from_bits(((w2 << 20) | (w3 >> 12)) | ONE) - 0.9999999999999999

    # ln u = e ln 2 + ln m, m in [sqrt(1/2), sqrt 2)
    b = bits(u)
    e = (b - SQRT_HALF) >> 52
    m = from_bits(b - (e << 52))
    e = from_bits(e + MAGIC_BITS) - MAGIC
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    L = 0.15331721600556042 + z * 0.14616449685043406
    L = 0.2222221113479508 + z * (0.18182889125261723 + z * L)
    L = 0.666666666666667 + z * (0.39999999999899505 + z * (0.28571428625975487 + z * L))
    ln_u = e * LN2_HIGH + (2.0 * s + (s * z * L + e * LN2_LOW))
    r = np.sqrt(-2.0 * ln_u)

    # 2 pi v = (pi/2) (q + f), q whole, |f| <= 1/2
    q = 4.0 * v + MAGIC
    f = 4.0 * v - (q - MAGIC)
    z = f * f
    S = 0.00016044116661409423 + z * (-3.5987029509735105e-06 + z * 5.642225369163528e-08)
    S = -0.6459640975062462 + z * (0.07969262624614423 + z * (-0.004681754134254207 + z * S))
    C = -2.5202039028029178e-05 + z * (4.710678405505227e-07 + z * -6.329396344967424e-09)
    C = 0.2536695079010478 + z * (-0.020863480763340773 + z * (0.0009192602745468447 + z * C))
    C = -1.2337005501361697 + z * C
    sine, cosine = bits(f * (1.5707963267948966 + z * S)), bits(1.0 + z * C)

    # the quadrant q swaps the two and sets their signs, on the bits
    q = bits(q)
    swap = (sine ^ cosine) & -(q & 1)
    x = from_bits((cosine ^ swap) ^ (((q + 1) & 2) << 62))
    y = from_bits((sine ^ swap) ^ ((q & 2) << 62))
    return r * x, r * y


def pair(k0, k1, path, component, half, slot):
    """(Z(path, 2 half, component), Z(path, 2 half + 1, component)) under the key (k0, k1); int64, broadcasting."""
    w0, w1, w2, w3 = philox(path & MASK, component | ((path >> 32) << 24), half, slot, k0, k1)
    return box_muller(w0, w1, w2, w3)


def key(seed: int, stream: int = 0) -> tuple[int, int]:
    """The key of a seed and a stream, two 32-bit words."""
    words = [stream, 0, 0, TAG, seed & MASK, seed >> 32]
    k0, k1, *_ = philox(*np.array(words, np.int64)[:, None])
    return int(k0[0]), int(k1[0])


def normals(seed: int, stream: int = 0, paths=1, steps=1, components=1, *, slot: int = 0) -> np.ndarray:
    """Z(seed, stream, path, step, component): independent standard normals, shape (paths, steps, components).

    seed        integer in [0, 2^64)
    stream      integer in [0, 2^32): independent noise under the same seed
    paths, steps, components   counts from 0, or a range: any part of the noise can be had alone
    slot        0: the increments' own; others are for a method's further draws

    The same numbers drive `simulate(seed=...)`: dW = sqrt(dt) Z. Raises TypeError or ValueError outside these bounds.

    >>> z = normals(7, paths=1000, steps=4)
    >>> bool((normals(7, paths=range(500, 501), steps=range(2, 4)) == z[500:501, 2:4]).all())
    True
    """
    seed = check_seed(seed)
    stream, slot = whole("stream", stream, MAX_STREAM), whole("slot", slot, 2**32)
    path = _indices("paths", paths, MAX_PATHS)[:, None, None]
    step = _indices("steps", steps, MAX_STEPS)
    component = _indices("components", components, MAX_COMPONENTS)[None, None, :]
    halves, place = np.unique(step // 2, return_inverse=True)
    k0, k1 = np.array(key(seed, stream), np.int64)[:, None, None, None]
    even, odd = pair(k0, k1, path, component, halves[None, :, None], np.int64(slot))
    return np.where((step % 2 == 0)[None, :, None], even[:, place], odd[:, place])


def check_seed(seed) -> int:
    """`seed` as an int in [0, 2^64); None draws a fresh one from the operating system."""
    return secrets.randbits(63) if seed is None else whole("seed", seed, 2**64)


def whole(name: str, value, end: int, start: int = 0) -> int:
    """`value` as an int in [start, end), or a clear error."""
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be a whole number, got {value!r} ({type(value).__name__})") from None
    if not start <= number < end:
        raise ValueError(f"{name} must be at least {start} and below {end}, got {number}")
    return number


def _indices(name: str, value, end: int) -> np.ndarray:
    if isinstance(value, range):
        if len(value) and not (0 <= min(value) and max(value) < end):
            raise ValueError(f"{name} must lie between 0 and {end - 1}, got {value}")
        return np.arange(value.start, value.stop, value.step, dtype=np.int64)
    return np.arange(whole(name, value, end + 1), dtype=np.int64)
