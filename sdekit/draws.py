"""What a transition draws: the k-th normal, uniform, exponential, gamma or Poisson number of one step of one path.

    transition(x, t, h, place, parameters by name) -> x at t + h

`place` says where the step is in the noise: (two words of the key, path, step). A draw is a pure function of it, the
same number as sdekit.normals, uniforms, exponentials, gammas or poissons have for (path, step, component k):

    | here                  | there                                                |
    | --------------------- | ---------------------------------------------------- |
    | uniform(place, k)     | uniforms(seed, stream, path, step)[..., k]           |
    | poisson(place, m, k)  | poissons(seed, stream, path, step, mean=m)[..., k]   |

Two draws of one law in one step need two k; different laws are independent at the same k. Each works on arrays, on
tensors and, compiled, on numbers; loops go on until every path has its value.
"""

import numpy as np

from sdekit.noise import exponential_pair, ln, pair, uniform_pair
from sdekit.variates import (
    BOOST,
    EXPONENTIAL,
    GAMMA,
    INVERSION,
    POISSON,
    PTRS_FROM,
    UNIFORM,
    marsaglia_tsang,
    ptrs,
)


def normal(place, k):
    """Z ~ N(0, 1)."""
    return _normal(place, k, 0)


def uniform(place, k):
    """U ~ uniform(0, 1), never 0 or 1."""
    return _uniform(place, k, UNIFORM)


def exponential(place, k):
    """E = -ln U, of mean 1."""
    k0, k1, path, step = place
    even, odd = exponential_pair(k0, k1, path, k, step >> 1, EXPONENTIAL)
    return np.where((step & 1) == 1, odd, even)


def gamma(place, shape, k):
    """G of density x^{a-1} e^{-x} / Gamma(a), a = shape > 0. Marsaglia & Tsang 2000."""
    slot, small = GAMMA, shape < 1.0
    a = np.where(small, shape + 1.0, shape)
    value, good = marsaglia_tsang(_normal(place, k, slot), _uniform(place, k, slot + 1), a)
    while not np.all(good):
        slot = slot + 2
        again, fine = marsaglia_tsang(_normal(place, k, slot), _uniform(place, k, slot + 1), a)
        value, good = np.where(good, value, again), good | fine
    if np.any(small):
        value = np.where(small, value * np.exp(ln(_uniform(place, k, BOOST)) / shape), value)
    return value


def poisson(place, mean, k):
    """N of P(N = n) = e^{-mean} mean^n / n!, a whole float; mean from 0 to 1e15. By inversion below 10, then Hormann
    1993 (PTRS)."""
    large = mean >= PTRS_FROM
    u, m = _uniform(place, k, INVERSION), np.where(large, 0.0, mean)
    n, term = 0.0 * u, np.exp(-m)
    total = term
    more = u > total
    while np.any(more):  # behind a term below 2^-60 the tail is finer than u
        n = np.where(more, n + 1.0, n)
        term = np.where(more, term * (m / np.maximum(n, 1.0)), term)
        total = np.where(more, total + term, total)
        more = more & (u > total) & (term > 2.0**-60)
    if np.any(large):
        slot, m = POISSON, np.where(large, mean, PTRS_FROM)
        value, good = ptrs(_uniform(place, k, slot), _uniform(place, k, slot + 1), m)
        good = good | np.logical_not(large)
        while not np.all(good):
            slot = slot + 2
            again, fine = ptrs(_uniform(place, k, slot), _uniform(place, k, slot + 1), m)
            value, good = np.where(good, value, again), good | fine
        n = np.where(large, value, n)
    return n


def _normal(place, k, slot):
    k0, k1, path, step = place
    even, odd = pair(k0, k1, path, k, step >> 1, slot)
    return np.where((step & 1) == 1, odd, even)


def _uniform(place, k, slot):
    k0, k1, path, step = place
    even, odd = uniform_pair(k0, k1, path, k, step >> 1, slot)
    return np.where((step & 1) == 1, odd, even)
