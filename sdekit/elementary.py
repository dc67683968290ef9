"""exp, log, sin, pow and their kin on one float64, without a branch, so that loops over them become vector code.

    e^x = 2^k e^r,  k = rint(x / ln 2)                   ln x = e ln 2 + ln m,  m in [sqrt(1/2), sqrt 2)
    x = q pi/2 + r,  |r| <= pi/4                         x^y = 2^(y log2 |x|), the logarithm in two floats

Each is right for every double: NaN, infinities, both zeros, subnormal numbers in and out. A docstring states the
largest error seen, in units in the last place (ulp; half an ulp is perfect); for sin, cos and tan it holds up to 2^45,
and from there on the C library answers. A value that needs more than 53 bits is a
pair (h, l) and means h + l, with |l| <= ulp(h) or so.

Polynomials are minimax fits (Remez's exchange, 60 digits); each states what it adds to the error. The methods are the
textbook's: J.-M. Muller, Elementary Functions, 3rd ed. 2016; sums and products without error: Dekker 1971.

`fma`, `select` and `rint`, as `bits` and `from_bits`, are one machine instruction each in the compiled execution. As
they stand here they serve np.float64, with the same bits.
"""

from fractions import Fraction

import numpy as np

from sdekit.noise import bits, from_bits

INF, NAN = np.inf, np.nan
SIGN, MAGNITUDE = -(2**63), 2**63 - 1  # masks of a float's bits
SMALLEST_NORMAL, ONE_BITS, SQRT_HALF_BITS = 2.2250738585072014e-308, 0x3FF0000000000000, 0x3FE6A09E667F3BCD
MAGIC, MAGIC_BITS = 6755399441055744.0, 0x4338000000000000  # 1.5 * 2^52: the sum's last bits are the integer
LOG2_E, LOG2_E_LOW = 1.4426950408889634, 2.0355273740931033e-17
LOG10_E, LOG10_E_LOW = 0.4342944819032518, 1.098319650216765e-17
LN2, LN2_LOW = 0.6931471805599453, 2.3190468138462996e-17
LN2_SHORT, LN2_REST = 0.6931471803691238, 1.9082149292705877e-10  # the first times an integer below 2^11 is exact
LOG10_2_SHORT, LOG10_2_REST = 0.30102999566383914, 1.42050232272661e-13  # and here
TWO_OVER_PI = 0.6366197723675814
HALF_PI, HALF_PI_LOW, HALF_PI_LOWEST = 1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33
FAR = 35184372088832.0  # 2^45: from here on the C library reduces the arguments of sin, cos and tan


def fma(a, b, c):
    """a b + c, rounded once."""
    plain = a * b + c
    return np.float64(Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))) if np.isfinite(plain) else plain


def select(condition, a, b):
    """a where the condition holds, else b; both are computed."""
    return a if condition else b


def rint(x):
    """The nearest integer, ties to even."""
    return np.rint(x)


def magnitude(x):
    """|x|, also of NaN."""
    return from_bits(bits(x) & MAGNITUDE)


def or_library(function):
    """(x, y) -> y, or function(x) where |x| > 2^45: a branch that is hardly ever taken, to the C library's function."""
    return lambda x, y: function(x) if magnitude(x) > FAR else y


sin_if_far, cos_if_far, tan_if_far = map(or_library, (np.sin, np.cos, np.tan))


def with_sign(x, s):
    """|x| with the sign bit of s."""
    return from_bits((bits(x) & MAGNITUDE) | (bits(s) & SIGN))


def rounded(x, c):
    """(q, k): the integer nearest to c x, |c x| < 2^51, as a float and as the last bits of k, below 2^51."""
    t = fma(x, c, MAGIC)
    return t - MAGIC, bits(t)


def scaled(x, k):
    """x 2^q for the k of an integer q in [-2044, 2046], rounded once."""
    half = (k - MAGIC_BITS) >> 1
    return x * power_of_two(half) * power_of_two(k - half)


def power_of_two(k):
    """2^q for the k of an integer q in [-1022, 1023]; other bits of k than the last 12 do not matter."""
    return from_bits((k << 52) + ONE_BITS)


def pair(a, b):
    """a + b as a pair, |a| >= |b|."""
    s = a + b
    return s, b - (s - a)


def quotient(a, a_low, b, b_low):
    """The pair a over the pair b, to half an ulp and a little."""
    reciprocal = 1.0 / b
    q = a * reciprocal
    return q + (fma(-q, b, a) + fma(-q, b_low, a_low)) * reciprocal


# Exponentials


def reduced(x):
    """x = q ln 2 + h + l, |h| <= ln(2)/2, to k, h, l, with k as from `rounded`; fma makes h exact."""
    q, k = rounded(x, LOG2_E)
    return k, fma(-q, LN2, x), -q * LN2_LOW


def exponential_rest(r):
    """e^r - 1 - r; adds 0.04 ulp to e^r."""
    p = fma(r, fma(r, 2.4999009994639407e-08, 2.763000348201053e-07), 2.7557588981245813e-06)
    p = fma(r, fma(r, p, 2.4801493914661414e-05), 0.00019841269504996926)
    p = fma(r, fma(r, p, 0.001388888894268398), 0.008333333333494184)
    p = fma(r, fma(r, p, 0.041666666666534576), 0.16666666666666416)
    return r * r * fma(r, p, 0.500000000000001)


def exponential(h, l):
    """e^(h + l)"""
    s = 1.0 + h
    return s + ((h - (s - 1.0)) + (l + exponential_rest(h + l)))


def exp(x):
    """e^x. Error 0.75 ulp."""
    k, h, l = reduced(select(x > 710.0, 710.0, select(x < -746.0, -746.0, x)))
    return scaled(exponential(h, l), k)


def exp2(x):
    """2^x. Error 0.68 ulp."""
    x = select(x > 1025.0, 1025.0, select(x < -1076.0, -1076.0, x))
    q, k = rounded(x, 1.0)
    h = (x - q) * LN2
    return scaled(exponential(h, fma(x - q, LN2_LOW, fma(x - q, LN2, -h))), k)


def expm1_quarter(x):
    """Two terms whose sum is (e^x - 1) / 4, for x >= -60."""
    k, h, l = reduced(select(x > 710.0, 710.0, x))
    t = power_of_two(k - 2)
    a, b = t - 0.25, t * h
    s = a + b
    return s, (b - (s - a)) + t * (l + exponential_rest(h + l))


def expm1(x):
    """e^x - 1. Error 1.1 ulp."""
    s, l = expm1_quarter(select(x < -60.0, -60.0, x))
    return select(magnitude(x) < 1e-17, x, 4.0 * (s + l))


def tanh(x):
    """tanh x = (e^2x - 1) / (e^2x + 1). Error 1.0 ulp."""
    a = magnitude(x)
    s, rest = expm1_quarter(2.0 * select(a > 30.0, 30.0, a))
    s, l = pair(s, rest)
    d = s + 0.5
    return select(a < 1e-9, x, with_sign(quotient(s, l, d, (s - (d - 0.5)) + l), x))


def hyperbolic(x):
    """Two terms for (cosh x) / 4 and two for (sinh x) / 4, x >= 0: e^+-x = 2^+-q (cosh r +- sinh r); adds 0.01 ulp."""
    k, h, l = reduced(select(x > 711.0, 711.0, x))
    z = h * h
    s = fma(z, fma(z, 2.510911509737773e-08, 2.7557244012629623e-06), 0.00019841269886289843)
    s = h * z * fma(z, fma(z, s, 0.008333333333321582), 0.16666666666666677)  # sinh h - h
    c = fma(z, fma(z, 2.0919973594393358e-09, 2.7557257920623734e-07), 2.4801587341725323e-05)
    c = z * fma(z, fma(z, fma(z, c, 0.0013888888888877163), 0.04166666666666668), 0.5)  # cosh h - 1
    s, c = s + fma(l, c, l), fma(l, h + s, c)
    up, down = power_of_two(k - 3), power_of_two(-3 - select(k > MAGIC_BITS + 60, MAGIC_BITS + 60, k))
    a, b = up + down, up - down
    even, odd = fma(b, h, a), fma(a, h, b)
    return even, fma(b, h, a - even) + fma(a, c, b * s), odd, fma(a, h, b - odd) + fma(b, c, a * s)


def sinh(x):
    """sinh x. Error 1.25 ulp."""
    a = magnitude(x)
    _, _, h, l = hyperbolic(a)
    return select(a < 1e-9, x, with_sign(4.0 * (h + l), x))


def cosh(x):
    """cosh x. Error 1.25 ulp."""
    h, l, _, _ = hyperbolic(magnitude(x))
    return 4.0 * (h + l)


# Logarithms


def split(x):
    """x > 0 to (e, m): x = 2^e m, e a float, m in [sqrt(1/2), sqrt 2)."""
    small = x < SMALLEST_NORMAL
    b = bits(select(small, x * 18014398509481984.0, x))  # 2^54
    e = (b - SQRT_HALF_BITS) >> 52
    return from_bits(e + MAGIC_BITS) - select(small, MAGIC + 54.0, MAGIC), from_bits(b - (e << 52))


def log1p_rest(f):
    """ln(1 + f) - f = s (f^2/2 + z L(z)) - f^2/2, s = f / (2 + f), z = s^2; adds 0.02 ulp to ln(1 + f)."""
    s = f / (2.0 + f)
    z = s * s
    p = fma(z, fma(z, 0.1479530958584502, 0.15314121153134844), 0.1818356124589954)
    p = fma(z, fma(z, p, 0.2222219864040906), 0.2857142874162677)
    p = z * fma(z, fma(z, p, 0.39999999999418806), 0.6666666666666734)
    half = 0.5 * f * f
    return fma(s, half + p, -half)


def log_ends(x, y):
    """y = log x, mended where x is not positive and finite."""
    return select(x == 0.0, -INF, select(x == INF, INF, select(x > 0.0, y, NAN)))


def log(x):
    """ln x. Error 0.84 ulp."""
    e, m = split(x)
    f, a = m - 1.0, e * LN2_SHORT
    s = a + f
    return log_ends(x, s + ((f - (s - a)) + fma(e, LN2_REST, log1p_rest(f))))


def log_to_base(m, a, a_low, c, c_low):
    """The pair a plus the pair c times ln m, where a is 0 or above |c ln m|."""
    f = m - 1.0
    p = c * f
    s = a + p
    return s + ((p - (s - a)) + fma(c, log1p_rest(f), fma(c, f, -p) + fma(c_low, f, a_low)))


def log2(x):
    """log2 x; powers of two exactly. Error 0.98 ulp."""
    e, m = split(x)
    return log_ends(x, log_to_base(m, e, 0.0, LOG2_E, LOG2_E_LOW))


def log10(x):
    """log10 x; powers of ten exactly. Error 0.9 ulp."""
    e, m = split(x)
    return log_ends(x, log_to_base(m, e * LOG10_2_SHORT, e * LOG10_2_REST, LOG10_E, LOG10_E_LOW))


def log1p(x):
    """ln(1 + x). Error 0.87 ulp."""
    u = 1.0 + x
    v = u - x
    e, m = split(u)
    lost = (1.0 - v) + (x - (u - v))  # 1 + x = u + lost
    lost = lost * power_of_two(-bits(select(e > 60.0, 60.0, e) + MAGIC))
    f = select(e == 0.0, x, m - 1.0)
    lost = select(e == 0.0, 0.0, lost * fma(f, f - 1.0, 1.0))  # over m: below half an ulp, two digits are enough
    a = e * LN2_SHORT
    s = a + f
    y = s + ((f - (s - a)) + fma(e, LN2_REST, log1p_rest(f) + lost))
    return select(magnitude(x) < 1e-17, x, log_ends(u, y))


# Powers


def log2_pair(x):
    """The pair log2 x for x > 0 finite, to 2^-65 of itself: log2 m = s (c1 + z (c3 + z Q(z))), s = (m - 1)/(m + 1)."""
    e, m = split(x)
    f, d = m - 1.0, m + 1.0
    reciprocal = 1.0 / d
    s = f * reciprocal
    s_low = fma(-s, m - (d - 1.0), fma(-s, d, f)) * reciprocal
    z = s * s
    z_low = fma(s, s, -z) + 2.0 * s * s_low
    p = fma(z, fma(z, 0.1729368873974058, 0.16843573611111987), 0.1924021864155842)
    p = fma(z, fma(z, p, 0.2219522450195202), 0.2623081990847442)
    p = z * fma(z, fma(z, fma(z, p, 0.3205988979086883), 0.4121985831113662), 0.5770780163555851)
    b = 0.9617966939259756 + p
    b_low = (p - (b - 0.9617966939259756)) + 5.0577616648125907e-17
    g = z * b
    g_low = fma(z, b, -g) + fma(z, b_low, z_low * b)
    h = 2.8853900817779268 + g
    h_low = (g - (h - 2.8853900817779268)) + (g_low + 4.0710547481862066e-17)
    l = s * h
    l_low = fma(s, h, -l) + fma(s, h_low, s_low * h)
    t = e + l
    return t, (l - (t - e)) + l_low


def pow(x, y):
    """x^y, with the special values of C99: x^0 = 1^y = 1 even for NaN, (-2)^3 = -8, (-8)^(1/3) is NaN.

    Error 0.96 ulp.
    """
    a = magnitude(x)
    t, t_low = log2_pair(a)
    v = select(magnitude(y) > 4e19, with_sign(4e19, y), y)  # so far out, x^y is 0, 1 or infinity
    p = v * t
    p_low = fma(v, t, -p) + v * t_low
    far = magnitude(p) > 1100.0
    p, p_low = select(far, with_sign(1100.0, p), p), select(far, 0.0, p_low)
    q, k = rounded(p, 1.0)
    r = (p - q) + p_low
    r_low = p_low - (r - (p - q))
    h = r * LN2
    z = scaled(exponential(h, fma(r, LN2, -h) + fma(r, LN2_LOW, r_low * LN2)), k)

    z = select(a == 0.0, select(y < 0.0, INF, 0.0), z)
    z = select(a == INF, select(y < 0.0, 0.0, INF), z)
    integer = rint(y) == y
    odd = integer & (rint(0.5 * y) != 0.5 * y)
    z = select(odd, with_sign(z, x), z)
    z = select((x < 0.0) & (a != INF) & (not integer), NAN, z)
    z = select((x != x) | (y != y), x + y, z)
    return select((x == 1.0) | (y == 0.0), 1.0, z)


# Circular functions


def quarter_turns(x):
    """x = q pi/2 + h + l, |h| <= pi/4, for |x| <= 2^45, to k, h, l (Cody & Waite 1980; fma makes the first step exact).
    """
    q, k = rounded(x, TWO_OVER_PI)
    a = fma(-q, HALF_PI, x)
    w = q * HALF_PI_LOW
    h = a - w
    b = a - h
    low = ((b - w) + (a - (h + b))) - fma(q, HALF_PI_LOW, -w)
    return k, h, fma(-q, HALF_PI_LOWEST, low)


def sine_terms(h, l):
    """Two terms whose sum is sin(h + l); add 0.05 ulp."""
    z = h * h
    p = fma(z, fma(z, 1.5895229472255175e-10, -2.505073193055873e-08), 2.7557313530531567e-06)
    p = fma(z, fma(z, fma(z, p, -0.00019841269829361374), 0.008333333333321882), -0.1666666666666663)
    return h, fma(z * h, p, fma(-0.5 * z, l, l))


def cosine_terms(h, l):
    """Two terms whose sum is cos(h + l); add 0.01 ulp."""
    z = h * h
    p = fma(z, fma(z, -1.1358657504403878e-11, 2.0875704969875275e-09), -2.7557314224454957e-07)
    p = fma(z, fma(z, fma(z, p, 2.480158728906629e-05), -0.001388888888887351), 0.041666666666666595)
    c = fma(-0.5, z, 1.0)
    return c, fma(-0.5, z, 1.0 - c) + fma(z * z, p, -h * l)


def sin(x):
    """sin x. Error 0.77 ulp."""
    k, h, l = quarter_turns(magnitude(x))
    (s, s_low), (c, c_low) = sine_terms(h, l), cosine_terms(h, l)
    y = select((k & 1) == 0, s + s_low, c + c_low)
    return sin_if_far(x, from_bits(bits(y) ^ ((k & 2) << 62) ^ (bits(x) & SIGN)))


def cos(x):
    """cos x. Error 0.76 ulp."""
    k, h, l = quarter_turns(magnitude(x))
    (s, s_low), (c, c_low) = sine_terms(h, l), cosine_terms(h, l)
    y = select((k & 1) == 0, c + c_low, s + s_low)
    return cos_if_far(x, from_bits(bits(y) ^ (((k + 1) & 2) << 62)))


def tan(x):
    """tan x. Error 0.9 ulp."""
    k, h, l = quarter_turns(magnitude(x))
    (s, s_low), (c, c_low) = pair(*sine_terms(h, l)), pair(*cosine_terms(h, l))
    even = (k & 1) == 0
    y = quotient(select(even, s, -c), select(even, s_low, -c_low), select(even, c, s), select(even, c_low, s_low))
    return tan_if_far(x, select(magnitude(x) < 1e-9, x, from_bits(bits(y) ^ (bits(x) & SIGN))))


def arctan(x):
    """arctan x = b + arctan t: t = x, (x - 1)/(x + 1), -1/x for |x| below tan(pi/8), tan(3 pi/8), above.

    Error 1.0 ulp.
    """
    a = select(magnitude(x) > 1e20, 1e20, magnitude(x))
    low, high = a < 0.4142135623730951, a > 2.414213562373095
    n = select(high, -1.0, a - 1.0)
    d = select(high, a, a + 1.0)
    n_low = select(high, 0.0, select(a < 1.0, a - (n + 1.0), 0.0))
    d_low = select(high, 0.0, a - (d - 1.0))
    base = select(low, 0.0, select(high, HALF_PI, 0.5 * HALF_PI))
    base_low = select(low, 0.0, select(high, HALF_PI_LOW, 0.5 * HALF_PI_LOW))
    t = select(low, a, quotient(n, n_low, d, d_low))
    z = t * t
    p = fma(z, fma(z, 0.015203083738560547, -0.03348286502625594), 0.045039406172986365)
    p = fma(z, fma(z, p, -0.05218509329519133), 0.05877039732461084)
    p = fma(z, fma(z, p, -0.06666228793439949), 0.0769228291397984)
    p = fma(z, fma(z, p, -0.0909090815239996), 0.11111111088433619)
    p = fma(z, fma(z, fma(z, p, -0.1428571428539298), 0.1999999999999772), -0.33333333333333326)
    s = base + t
    y = s + ((t - (s - base)) + fma(z * t, p, base_low))
    return select(a < 1e-9, x, with_sign(y, x))
