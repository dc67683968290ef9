"""Every standard normal is a pure function Z(seed, stream, path, step, component): noise is no state.

    words  = Philox4x32-10(counter, key)                        Salmon et al. 2011
    u, v   = odd multiples of 2^-53 in (0, 1)                   52 bits from two words each
    Z, Z'  = sqrt(-2 ln u) (cos 2 pi v, sin 2 pi v)             Box & Muller 1958; |Z| <= 8.57

Key: the first two words of Philox(key = seed's 64 bits, counter = (stream, 0, 0, TAG)).
Counter: (path's low 32 bits; component + 2^24 (path's high 8 bits); step // 2; slot). Z serves the even step, Z' the
odd one after it. Slot 0 is dW / sqrt(dt); those of the other laws are listed in variates.py.

The functions here are written once, in operations that NumPy's int64 arrays, Torch's int64 tensors and Numba's
int64 scalars share: the words agree bit for bit everywhere, the normals to rounding. Products of two words wrap, and
masks undo the sign; compiled, they are an instruction of their own, since Numba's product promises LLVM not to wrap.
"""

import operator
import secrets
import sys

import numpy as np
from numpy.typing import DTypeLike

VERSION = 1  # of the map above; recorded in every result
MAX_PATHS, MAX_COMPONENTS, MAX_STEPS, MAX_STREAM = 2**40, 2**24, 2**32, 2**32
COMPILE_FROM = 2_000_000  # normals at once: where loading the compiled code pays
TOGETHER = 16384  # blocks that NumPy makes at once, few enough for the cache
TAG, START_TAG, COARSE_TAG = 1, 2, 3  # of the keys: the noise's, the random starts', and that of bits=32

MASK = 0xFFFFFFFF
ONE, SQRT_HALF = 0x3FF0000000000000, 0x3FE6A09E667F3BCD  # the bits of 1.0 and of sqrt(1/2)
MAGIC, MAGIC_BITS = 6755399441055744.0, 0x4338000000000000  # 1.5 * 2^52: adding it rounds to an integer
LN2_HIGH, LN2_LOW = 0.6931471803691238, 1.9082149292705877e-10
SIGN = -(2**31)  # the sign's bit of an int32
f32, i32 = np.float32, np.int32
Count = int | range  # so many from the first one, or these


def bits(x):
    """The 64 bits of a float as an integer."""
    return x.view(np.int64)


def from_bits(k):
    """The float that has these 64 bits."""
    return k.view(np.float64)


def product(x, y):
    """x y modulo 2^64, as int64."""
    return x * y


def philox(c0, c1, c2, c3, k0, k1):
    """Philox4x32-10: four words of counter and two of key to four random words, each int64 in [0, 2^32).

    >>> [hex(w.item()) for w in philox(*np.zeros((6, 1), np.int64))]
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    for _ in range(10):
        p, q = product(c0, 0xD2511F53), product(c2, 0xCD9E8D57)
        c0, c1 = ((q >> 32) ^ c1 ^ k0) & MASK, q & MASK
        c2, c3 = ((p >> 32) ^ c3 ^ k1) & MASK, p & MASK
        k0, k1 = (k0 + 0x9E3779B9) & MASK, (k1 + 0xBB67AE85) & MASK
    return c0, c1, c2, c3


def uniform(high, low):
    """The odd multiple of 2^-53 in (0, 1) that 52 bits of two words say."""
    return from_bits(((high << 20) | (low >> 12)) | ONE) - 0.9999999999999999  # (2k + 1) 2^-53, exactly


def ln(x):
    """The natural logarithm of a positive normal number, in plain operations: the same bits wherever it stands.

    ln x = e ln 2 + ln m, m in [sqrt(1/2), sqrt 2), and ln m = 2 s + s^3 L(s^2) with s = (m - 1)/(m + 1). L is a
    near-minimax fit (Chebyshev nodes, 50 digits) of relative error below 2e-17.

    >>> ln(np.array([0.5, 1.0, 100.0]))
    array([-0.69314718,  0.        ,  4.60517019])
    """
    b = bits(x)
    e = (b - SQRT_HALF) >> 52
    m = from_bits(b - (e << 52))
    e = from_bits(e + MAGIC_BITS) - MAGIC
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    L = 0.15331721600556042 + z * 0.14616449685043406
    L = 0.2222221113479508 + z * (0.18182889125261723 + z * L)
    L = 0.666666666666667 + z * (0.39999999999899505 + z * (0.28571428625975487 + z * L))
    return e * LN2_HIGH + (2.0 * s + (s * z * L + e * LN2_LOW))


def box_muller(w0, w1, w2, w3):
    """Two independent standard normals from four words."""
    return polar(uniform(w0, w1), uniform(w2, w3))


def polar(u, v):
    """sqrt(-2 ln u) (cos 2 pi v, sin 2 pi v), without a branch.

    The polynomials are fits as in `ln`: sin(pi f/2) = f (pi/2 + f^2 S(f^2)), cos(pi f/2) = 1 + f^2 C(f^2).
    """
    r = np.sqrt(-2.0 * ln(u))

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


def block(k0, k1, path, component, half, slot):
    """The four words of a counter under the key (k0, k1): int64, broadcasting."""
    return philox(path & MASK, component | ((path >> 32) << 24), half & MASK, slot, k0, k1)


def pair(k0, k1, path, component, half, slot):
    """(Z(path, 2 half, component), Z(path, 2 half + 1, component)) under the key (k0, k1); int64, broadcasting."""
    w0, w1, w2, w3 = block(k0, k1, path, component, half, slot)
    return box_muller(w0, w1, w2, w3)


def quad(k0, k1, path, component, quarter, slot):
    """The noise of bits=32: four normals of a block, for the steps 4 quarter to 4 quarter + 3; |Z| <= 6.77.

    Each of the four words makes a uniform, an odd multiple of 2^-33.
    """
    w0, w1, w2, w3 = block(k0, k1, path, component, quarter, slot)
    a, b = polar(coarse(w0), coarse(w1))
    c, d = polar(coarse(w2), coarse(w3))
    return a, b, c, d


def coarse(word):
    """The odd multiple of 2^-33 in (0, 1) that one word says."""
    return from_bits((word << 20) | ONE) - 0.9999999998835847  # 1 - 2^-33


def single_quad(k0, k1, path, component, quarter, slot):
    """`quad` in float32 arithmetic: within 6 2^-24 |Z| of it, and of its sign."""
    w0, w1, w2, w3 = block(k0, k1, path, component, quarter, slot)
    return single_normals(w0, w1, w2, w3)


def single_normals(w0, w1, w2, w3):
    """The four normals that a block's words make in float32 arithmetic."""
    a, b = single_polar(i32(w0), i32(w1))
    c, d = single_polar(i32(w2), i32(w3))
    return a, b, c, d


def single_polar(radius, angle):
    """`polar` of two words, int32, in float32 and int32 alone: 16 at once in a vector of 512 bits.

    Read with its sign, the first word gives x = u, or from u = 1/2 on x = u - 1: exact where ln u is sensitive.
    u = 2^e (1 + y), -1/2 <= y <= 0, and -2 ln(1 + y) = y L(y) has no cancellation. The second word's top two bits,
    rounded, are the quadrant q, the others f. The fits are as in `ln`, of relative error 3e-8. Numba computes int32 as
    int64: i32 stands where 32 bits are to wrap, or to stay.
    """
    x = f32(radius) * f32(2.0**-32) + f32(2.0**-33)
    k = single_bits(x)
    upper = i32(k >> 31)  # -1 from u = 1/2 on, else 0
    e = i32((k >> 23) - 126) & ~upper
    m = single_bits(from_single_bits((k & 0x7FFFFF) | 0x3F000000) - f32(1.0))
    y = from_single_bits(m ^ ((m ^ k) & upper))
    L = f32(-0.5210037) + y * (f32(-0.3455007) + y * (f32(-2.402379) + y * (f32(-3.2876604) + y * f32(-2.8458326))))
    L = f32(-2.0) + y * (f32(0.9999929) + y * (f32(-0.6671715) + y * (f32(0.48851758) + y * L)))
    r = np.sqrt(y * L + f32(e) * f32(-1.3862944))  # -2 ln 2

    q = i32(angle + 0x20000000)  # in its top two bits
    f = f32(i32(angle << 2)) * f32(2.0**-32) + f32(2.0**-31)
    z = f * f
    S = f32(1.5707964) + z * (f32(-0.64596516) + z * (f32(0.07969316) + z * f32(-0.0046299123)))
    C = f32(1.0) + z * (f32(-1.2336978) + z * (f32(0.25360224) + z * f32(-0.020410828)))
    sine, cosine = single_bits(f * S), single_bits(C)
    swap = (sine ^ cosine) & i32(i32(q << 1) >> 31)
    x = from_single_bits(cosine ^ swap ^ (i32(q + 0x40000000) & SIGN))
    y = from_single_bits(sine ^ swap ^ (q & SIGN))
    return r * x, r * y


def single_bits(x):
    """The 32 bits of a float32 as an int32."""
    return f32(x).view(i32)


def from_single_bits(k):
    """The float32 that has these 32 bits."""
    return i32(k).view(f32)


def uniform_pair(k0, k1, path, component, half, slot):
    """The same for uniforms in (0, 1): those of the steps 2 half and 2 half + 1."""
    w0, w1, w2, w3 = block(k0, k1, path, component, half, slot)
    return uniform(w0, w1), uniform(w2, w3)


def exponential_pair(k0, k1, path, component, half, slot):
    """The same for exponentials of mean 1, -ln U."""
    u, v = uniform_pair(k0, k1, path, component, half, slot)
    return -ln(u), -ln(v)


def key(seed: int, stream: int = 0) -> tuple[int, int]:
    """The key of a seed and a stream, two 32-bit words."""
    return tagged_key(seed, stream, TAG)


def tagged_key(seed: int, stream: int, tag: int) -> tuple[int, int]:
    """A key of its own for each purpose: TAG is the noise's, START_TAG that of random starts."""
    return philox(stream, 0, 0, tag, seed & MASK, seed >> 32)[:2]  # Python's whole numbers do as well


def normals(seed: int, stream: int = 0, paths: Count = 1, steps: Count = 1, components: Count = 1, *, slot: int = 0,
            bits: int = 64, dtype: DTypeLike | None = None, out: np.ndarray | None = None) -> np.ndarray:
    """Z(seed, stream, path, step, component): independent standard normals, shape (paths, steps, components).

    seed        integer in [0, 2^64)
    stream      integer in [0, 2^32): independent noise under the same seed
    paths, steps, components   counts from 0, or a range: any part of the noise can be had alone
    slot        0: the increments' own; others are for a method's further draws
    bits        32: the coarser and faster noise of `simulate(bits=32)`
    dtype       float64 or float32; by default that of `out`, or else float64
    out         where to put them, C-contiguous; by default a new array

    In float32 the normals of bits=64 are those of float64, rounded; those of bits=32 are computed in float32, at twice
    the speed, and lie within 6 2^-24 |Z| of those of float64. Many at once are drawn by compiled code: the same numbers
    bit for bit.

    The same numbers drive `simulate(seed=...)`: dW = sqrt(dt) Z. Raises TypeError or ValueError outside these bounds.

    >>> z = normals(7, paths=1000, steps=4)
    >>> bool((normals(7, paths=range(500, 501), steps=range(2, 4)) == z[500:501, 2:4]).all())
    True
    """
    if bits not in (64, 32):
        raise ValueError(f"bits must be 64 or 32, got {bits!r}")
    key, places = indices(seed, stream, paths, steps, components, TAG if bits == 64 else COARSE_TAG)
    slot, (path, step, component) = whole("slot", slot, 16), places
    shape = np.broadcast_shapes(path.shape, step.shape, component.shape)
    if dtype is None:
        dtype = np.float64 if out is None else out.dtype
    kind = np.dtype(dtype)
    if kind not in (np.float64, np.float32):
        raise ValueError(f"the normals' dtype must be float64 or float32, got {kind}")
    if out is None:
        out = np.empty(shape, kind)
    elif out.shape != shape or out.dtype != kind or not out.flags.carray:
        raise ValueError(f"out must be a C-contiguous array of {kind} and shape {shape} that can be written to, got "
                         f"{out.dtype} {out.shape}")
    law, per = (pair, 2) if bits == 64 else (single_quad if kind == np.float32 else quad, 4)
    loaded = "sdekit.numba_noise" in sys.modules and out.size >= COMPILE_FROM // 100
    if (loaded or out.size >= COMPILE_FROM) and (np.diff(step[:, 0]) == 1).all():
        from sdekit.numba_noise import filled
        return filled(out, key, path.ravel(), int(step[0, 0]), component, slot, law)
    out[:] = drawn(law, key, places, slot, per)
    return out


def indices(seed: int, stream: int, paths, steps, components, tag: int = TAG) -> tuple[tuple[int, int], tuple]:
    """The key, and path, step, component as int64 arrays (paths, 1, 1), (steps, 1), (components,); all checked."""
    seed, stream = check_seed(seed), whole("stream", stream, MAX_STREAM)
    path = _indices("paths", paths, MAX_PATHS)[:, None, None]
    step = _indices("steps", steps, MAX_STEPS)[:, None]
    return tagged_key(seed, stream, tag), (path, step, _indices("components", components, MAX_COMPONENTS))


def drawn(law, key: tuple[int, int], indices: tuple, slot: int, per: int = 2) -> np.ndarray:
    """What `law`, whose blocks serve `per` steps, gives at all these `indices`: (paths, steps, components)."""
    path, step, component = indices
    number, place = np.unique(step[:, 0] // per, return_inverse=True)  # a block is made once
    k0, k1 = np.array(key, np.int64)[:, None, None, None]
    rows = max(1, TOGETHER // max(1, len(number) * len(component)))
    parts = []
    for p in range(0, max(1, len(path)), rows):
        z = np.stack(law(k0, k1, path[p:p + rows], component, number[:, None], np.int64(slot)), axis=2)
        z = z.reshape(len(z), len(number) * per, len(component))  # the blocks' steps in their order
        parts.append(z[:, place * per + step[:, 0] % per])
    return np.concatenate(parts)


def drawn_singly(law, key: tuple[int, int], indices: tuple, slot: int) -> np.ndarray:
    """The same at n single places: path, step, component and the result are (n,)."""
    path, step, component = indices
    k0, k1 = np.array(key, np.int64)[:, None]
    even, odd = law(k0, k1, path, component, step >> 1, np.int64(slot))
    return np.where(step & 1, odd, even)


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
