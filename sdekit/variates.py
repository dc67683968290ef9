"""Other laws from the noise's counters: each value a pure function of (seed, stream, path, step, component).

    U ~ uniform(0, 1)      odd multiples of 2^-53, 52 bits from two words
    E ~ exponential        -ln U / rate
    G ~ gamma              Marsaglia & Tsang 2000: counted attempts, each from a normal and a uniform
    N ~ Poisson            inversion of one U below a mean of 10, from there Hormann 1993 (PTRS): counted attempts

Key and counter are those of noise.py; the laws differ in the counter's last word, the slot:

    | slot               | whose                                                                         |
    | ------------------ | ----------------------------------------------------------------------------- |
    | below 2^29         | normals: the increments, a method's further draws, refinement (noise.py)      |
    | 2^30               | uniforms                                                                      |
    | 2^30 + 1           | exponentials                                                                  |
    | 2^30 + 2           | gammas of a shape below 1: the uniform of the boost                           |
    | 2^30 + 3           | poissons by inversion                                                         |
    | 2^31 + 2k, + 1     | gammas: the normal and the uniform of attempt k                               |
    | 3 2^30 + 2k, + 1   | poissons by rejection: the two uniforms of attempt k                          |

A sampler by rejection goes on for each element alone, at the slots of that element, until one of its attempts is
accepted: no value depends on what else was asked for. One block serves the steps 2m and 2m + 1, as for the normals.
Two calls of one law under the same seed, stream and indices use the same draws, whatever the parameters: take
another stream for independent ones.
"""

from collections.abc import Callable

import numpy as np

from sdekit.noise import Count, drawn, drawn_singly, indices, ln, pair, uniform_pair

UNIFORM, EXPONENTIAL, BOOST, INVERSION, GAMMA, POISSON = 2**30, 2**30 + 1, 2**30 + 2, 2**30 + 3, 2**31, 3 * 2**30
PTRS_FROM = 10.0  # the mean from which Hormann's constants hold
MAX_MEAN = 1e15  # whole numbers around it are exact in float64, and U tells neighbours apart


def uniforms(seed: int, stream: int = 0, paths: Count = 1, steps: Count = 1, components: Count = 1) -> np.ndarray:
    """U(seed, stream, path, step, component) ~ uniform(0, 1): never 0 or 1; shape (paths, steps, components).

    The arguments are those of `normals`, of which these are independent. Raises TypeError or ValueError outside
    their bounds.

    >>> u = uniforms(7, paths=1000, steps=4)
    >>> bool((uniforms(7, paths=range(500, 501), steps=range(2, 4)) == u[500:501, 2:4]).all())
    True
    """
    return drawn(uniform_pair, *indices(seed, stream, paths, steps, components), UNIFORM)


def exponentials(seed: int, stream: int = 0, paths: Count = 1, steps: Count = 1, components: Count = 1, *,
                 rate=1.0) -> np.ndarray:
    """E = -ln U / rate, of mean 1/rate: P(E > x) = e^{-rate x}; shape (paths, steps, components).

    rate   positive, a number or an array that broadcasts to that shape; the other arguments are those of `normals`

    E rate lies between 2^-53 and 36.8. Raises TypeError or ValueError for arguments outside their bounds.

    >>> round(float(exponentials(7, paths=100_000, rate=2.0).mean()), 2)
    0.5
    """
    key, places = indices(seed, stream, paths, steps, components)
    rate = _parameter("rate", rate, places)
    return -ln(drawn(uniform_pair, key, places, EXPONENTIAL)) / rate


def gammas(seed: int, stream: int = 0, paths: Count = 1, steps: Count = 1, components: Count = 1, *,
           shape, scale=1.0) -> np.ndarray:
    """G of density x^{a-1} e^{-x/scale} / (Gamma(a) scale^a), mean a scale, variance a scale^2, a = shape.

    shape, scale   positive, numbers or arrays that broadcast to (paths, steps, components), the result's shape;
                   the other arguments are those of `normals`

    With d = a - 1/3, x normal and v = (1 + x/sqrt(9 d))^3, an attempt gives d v, accepted if v > 0 and
    ln u < x^2/2 + d (1 - v + ln v). For a < 1, G(a) = G(a + 1) u^{1/a}; what lies below 1e-308 comes out as 0.
    Marsaglia & Tsang 2000, sections 2 and 6. Raises TypeError or ValueError for arguments outside their bounds.

    >>> g = gammas(7, paths=100_000, shape=4.0, scale=0.5)
    >>> round(float(g.mean()), 1), round(float(g.std()), 1)  # a scale, sqrt(a) scale
    (2.0, 1.0)
    """
    key, places = indices(seed, stream, paths, steps, components)
    a, scale = _parameter("shape", shape, places), _parameter("scale", scale, places)

    g = _first_accepted(marsaglia_tsang, (pair, uniform_pair), key, places, GAMMA, np.where(a < 1.0, a + 1.0, a))
    if (a < 1.0).any():
        with np.errstate(over="ignore"):  # ln u / a is -infinity for a below 1e-307
            boost = np.exp(ln(drawn(uniform_pair, key, places, BOOST)) / a)
        g = np.where(a < 1.0, g * boost, g)
    return scale * g


def poissons(seed: int, stream: int = 0, paths: Count = 1, steps: Count = 1, components: Count = 1, *,
             mean) -> np.ndarray:
    """N of P(N = k) = e^{-mean} mean^k / k!, int64, shape (paths, steps, components).

    mean   from 0 to 1e15, a number or an array that broadcasts to that shape; the other arguments are those of
           `normals`

    Below a mean of 10 N is the least k with F(k) >= U; from there on Hormann 1993, algorithm PTRS, with the
    probability of k in the form that does not cancel for large means (Loader 2000). Raises TypeError or ValueError
    for arguments outside their bounds.

    >>> n = poissons(7, paths=100_000, mean=4.0)
    >>> n.dtype, round(float(n.mean()), 1), round(float(n.var()), 1)
    (dtype('int64'), 4.0, 4.0)
    """
    key, places = indices(seed, stream, paths, steps, components)
    mean = _parameter("mean", mean, places, least=0.0, most=MAX_MEAN)
    large = mean >= PTRS_FROM
    counts = np.zeros(mean.shape)
    if not large.all():
        counts = _inverted(drawn(uniform_pair, key, places, INVERSION), np.where(large, 0.0, mean))
    if large.any():
        rejection = _first_accepted(ptrs, (uniform_pair, uniform_pair), key, places, POISSON,
                                    np.where(large, mean, PTRS_FROM))
        counts = np.where(large, rejection, counts)
    return counts.astype(np.int64)


def marsaglia_tsang(x, u, a):
    """One attempt at a gamma of shape a >= 1 from a normal x and a uniform u: its value, and whether it is accepted."""
    d = a - 1.0 / 3.0
    v = 1.0 + x / np.sqrt(9.0 * d)
    v = v * v * v
    positive = v > 0.0
    return d * v, positive & (ln(u) < 0.5 * x * x + d * (1.0 - v + ln(np.where(positive, v, 1.0))))


def _inverted(u: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """The least k with u <= F(k), as floats; behind a term below 2^-60 the tail is finer than u's own 2^-52."""
    shape, u, mean = u.shape, u.ravel(), mean.ravel()
    k, term = np.zeros(len(u)), np.exp(-mean)
    total = term.copy()
    pending = np.flatnonzero(u > total)
    while len(pending):
        k[pending] += 1.0
        term[pending] *= mean[pending] / k[pending]
        total[pending] += term[pending]
        pending = pending[(u[pending] > total[pending]) & (term[pending] > 2.0**-60)]
    return k.reshape(shape)


def ptrs(u, v, mean):
    """One attempt at a Poisson number of mean >= 10 from two uniforms, by Hormann's PTRS: its value, a whole float, and
    whether it is accepted."""
    u = u - 0.5
    b = 0.931 + 2.53 * np.sqrt(mean)
    a = -0.059 + 0.02483 * b
    inverse_alpha = 1.1239 + 1.1328 / (b - 3.4)
    inside = 0.5 - np.abs(u)
    k = np.floor((2.0 * a / inside + b) * u + mean + 0.43)
    quick = (inside >= 0.07) & (v <= 0.9277 - 3.6224 / (b - 2.0))
    out = (k < 0.0) | ((inside < 0.013) & (v > inside))

    k = np.maximum(k, 0.0)
    fine = ln(v * inverse_alpha / (a / (inside * inside) + b)) <= _ln_poisson(k, mean)
    return k, quick | (np.logical_not(out) & fine)


def _ln_poisson(k, mean):
    """ln(e^{-mean} mean^k / k!), to about 1e-15 sqrt(mean) near the mean, where k ln(mean) - ln k! has lost its digits.

    P(k) = P(n) prod_{i=1..8} (k + i)/mean with n = k + 8, where Stirling's series S is exact to 3e-13, and
    ln P(n) = n - mean - n ln(n/mean) - S(n) - ln(2 pi n)/2, S(n) = 1/12n - 1/360n^3 + ... (Loader 2000).
    """
    n, rise = k + 8.0, 1.0
    for i in range(1, 9):
        rise = rise * ((k + i) / mean)
    w = 1.0 / (n * n)
    S = (1 / 12 - w * (1 / 360 - w * (1 / 1260 - w * (1 / 1680 - w / 1188)))) / n
    excess = n - mean
    return excess - n * np.log1p(excess / mean) - S + ln(rise / np.sqrt(2.0 * np.pi * n))


def _first_accepted(attempt: Callable, laws: tuple[Callable, Callable], key: tuple[int, int], places: tuple, slot: int,
                    parameter: np.ndarray) -> np.ndarray:
    """For each element the value of its first accepted attempt k = 0, 1, ..., which draws from slot + 2k and the next.

    attempt(a draw of the first law, one of the second, parameter) -> values, accepted, element by element.
    """
    def draws(how: Callable, places: tuple, slot: int) -> list[np.ndarray]:
        return [how(law, key, places, slot + which) for which, law in enumerate(laws)]

    value, accepted = attempt(*draws(drawn, places, slot), parameter)
    pending = np.nonzero(~accepted)
    path, step, component = places
    while len(pending[0]):
        slot += 2
        single = path[pending[0], 0, 0], step[pending[1], 0], component[pending[2]]
        value[pending], accepted = attempt(*draws(drawn_singly, single, slot), parameter[pending])
        pending = tuple(index[~accepted] for index in pending)
    return value


def _parameter(name: str, value, places: tuple, least: float | None = None, most: float = np.inf) -> np.ndarray:
    """`value` as an array of the result's shape; positive and finite, or between `least` and `most`."""
    shape, array = tuple(index.size for index in places), np.asarray(value)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{name} must be a number or an array of numbers, got {value!r} ({type(value).__name__})")
    try:
        array = np.array(np.broadcast_to(array, shape), float, order="C")
    except ValueError:
        raise ValueError(f"{name} must broadcast to (paths, steps, components) = {shape}, got {array.shape}; for one "
                         f"value a path write {name}[:, None, None]") from None
    good = (array > 0.0) & (array < np.inf) if least is None else (array >= least) & (array <= most)
    if not good.all():
        allowed = "positive and finite" if least is None else f"between {least:g} and {most:g}"
        raise ValueError(f"{name} must be {allowed}, got {array[~good][0]}")
    return array
