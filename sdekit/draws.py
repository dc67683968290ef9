"""What a transition draws: the k-th normal, uniform, exponential, gamma or Poisson number of one step of one path.

    transition(x, t, h, place, parameters by name) -> x at t + h

`place` says where the step is in the noise: (two words of the key, path, step). A draw is a pure function of it, the
same number as sdekit.normals, uniforms, exponentials, gammas or poissons have for (path, step, component k):

    | here                  | there                                                |
    | --------------------- | ---------------------------------------------------- |
    | uniform(place, k)     | uniforms(seed, stream, path, step)[..., k]           |
    | poisson(place, m, k)  | poissons(seed, stream, path, step, mean=m)[..., k]   |

Two draws of one law in one step need two k; different laws are independent at the same k. Each works on arrays, on
tensors and, compiled, on numbers. A rejection goes on for each path alone: no value depends on the others. A shape
that is not > 0, or a mean that is not >= 0, gives NaN, which the engines report with its path and step.
"""

import numpy as np

from sdekit.maths import PythonOnly
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

ATTEMPTS = 1000  # twice how many a rejection makes: less than one in 10^500 of those that can succeed needs more


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
    a = np.where(shape < 1.0, shape + 1.0, shape)
    g = _gamma(place, a, k)
    if np.any(shape < 1.0):
        g = np.where(shape < 1.0, g * np.exp(ln(_uniform(place, k, BOOST)) / shape), g)
    return np.where(shape > 0.0, g, np.nan)


def poisson(place, mean, k):
    """N of P(N = n) = e^{-mean} mean^n / n!, a whole float; mean from 0 to 1e15. By inversion below 10, then Hormann
    1993 (PTRS)."""
    if isinstance(place[2], int):
        n = _inverted(place, mean, k) if mean < PTRS_FROM else _rejected(place, mean, k)
        return n if mean >= 0.0 else np.nan
    return _poissons(place, mean, k)


def _gamma(place, a, k):
    """a >= 1; in loops for one path, else by `_gammas`."""
    if isinstance(place[2], int):
        slot, value, good = GAMMA, np.nan, False
        while not good and slot < GAMMA + ATTEMPTS:  # written once: it is long code where it is compiled
            value, good = marsaglia_tsang(_normal(place, k, slot), _uniform(place, k, slot + 1), a)
            slot = slot + 2
        return value if good else np.nan
    return _gammas(place, a, k)


def _inverted(place, mean, k):
    u, n, term = _uniform(place, k, INVERSION), 0.0, np.exp(-mean)
    total = term
    while u > total and (n == 0.0 or term > 2.0**-60):  # behind such a term the tail is finer than u
        n = n + 1.0
        term = term * (mean / n)
        total = total + term
    return n


def _rejected(place, mean, k):
    slot, value, good = POISSON, np.nan, False
    while not good and slot < POISSON + ATTEMPTS:
        value, good = ptrs(_uniform(place, k, slot), _uniform(place, k, slot + 1), mean)
        slot = slot + 2
    return value if good else np.nan


def _many_gammas(place, a, k):
    slot = GAMMA
    value, good = marsaglia_tsang(_normal(place, k, slot), _uniform(place, k, slot + 1), a)
    a, left = a + 0.0 * value, np.where(np.logical_not(good))[0]
    while len(left) and slot + 2 < GAMMA + ATTEMPTS:
        slot = slot + 2
        part = _of(place, left)
        value[left], good = marsaglia_tsang(_normal(part, k, slot), _uniform(part, k, slot + 1), a[left])
        left = left[np.logical_not(good)]
    value[left] = np.nan
    return value


def _many_poissons(place, mean, k):
    u = _uniform(place, k, INVERSION)
    mean = mean + 0.0 * u
    small = mean < PTRS_FROM
    n, term = 0.0 * u, np.exp(-mean)
    total = term + 0.0
    left = np.where(small & (u > total))[0]
    while len(left):
        n[left] = n[left] + 1.0
        term[left] = term[left] * (mean[left] / n[left])
        total[left] = total[left] + term[left]
        left = left[(u[left] > total[left]) & (term[left] > 2.0**-60)]
    slot, left = POISSON, np.where(np.logical_not(small))[0]
    while len(left) and slot < POISSON + ATTEMPTS:
        part = _of(place, left)
        n[left], good = ptrs(_uniform(part, k, slot), _uniform(part, k, slot + 1), mean[left])
        slot, left = slot + 2, left[np.logical_not(good)]
    n[left] = np.nan
    return np.where(mean >= 0.0, n, np.nan)


def _of(place, left):
    k0, k1, path, step = place
    return k0, k1, path[left], step


_gammas, _poissons = PythonOnly(_many_gammas), PythonOnly(_many_poissons)


def _normal(place, k, slot):
    k0, k1, path, step = place
    even, odd = pair(k0, k1, path, k, step >> 1, slot)
    return np.where((step & 1) == 1, odd, even)


def _uniform(place, k, slot):
    k0, k1, path, step = place
    even, odd = uniform_pair(k0, k1, path, k, step >> 1, slot)
    return np.where((step & 1) == 1, odd, even)
