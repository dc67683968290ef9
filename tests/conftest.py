"""Tolerances of the whole suite, and how often it would cry wolf.

A statistical test compares an estimate with the exact value and allows K standard errors, which are worked out
from the exact law where it is known. A comparison of true numbers then fails with probability

    p = P(|N(0, 1)| > K) = 7e-6  for K = 4.5,

and Kolmogorov-Smirnov tests use that same p. The tests of sdekit make about 3400 such comparisons (an array counts
each of its entries), so that a run on fresh seeds would fail by bad luck about once in 40 runs. Seeds are fixed and
Hypothesis is derandomised: a normal run draws the same numbers every time, and its false-alarm rate is nought. After
a change of the noise's format, one failure near K is worth a look at a second seed; two are a bug.

Rounding is allowed as a number of units in the last place, EPS = 2^-52, times the number of steps that collect them.

`pytest --hypothesis-profile=fresh` lets Hypothesis search further, with new examples each time.
"""

import hypothesis
import numpy as np
import pytest
from scipy.special import kolmogi, ndtr

K = 4.5
ALARM = 2 * ndtr(-K)
EPS = np.finfo(float).eps
BACKENDS = ("numpy", "numba", "torch")

hypothesis.settings.register_profile("normal", derandomize=True, deadline=None, max_examples=30)
hypothesis.settings.register_profile("fresh", deadline=None, max_examples=200)
hypothesis.settings.load_profile("normal")


def rounding(steps, *values):
    """What `steps` steps may gather in rounding errors on numbers of this size: 16 last places each."""
    return 16 * steps * EPS * max(float(np.abs(np.asarray(v)).max()) for v in values)


def assert_near(estimate, exact, stderr, bias=0.0):
    """|estimate - exact| <= K stderr + bias, entry by entry."""
    off = (np.abs(np.asarray(estimate) - exact) - bias) / stderr
    assert np.all(off <= K), f"{np.max(off):.1f} standard errors from {exact}: {estimate}"


def assert_gaussian(sample, mean, variance):
    """The sample, (n, ...), has the law N(mean, variance): its mean, its variance, its distribution function."""
    n, z = len(sample), (np.asarray(sample) - mean) / np.sqrt(variance)
    assert_near(z.mean(axis=0), 0.0, n**-0.5)
    assert_near((z**2).mean(axis=0), 1.0, (2 / n) ** 0.5)
    assert_law(z, ndtr)


def assert_law(sample, cdf):
    """Kolmogorov-Smirnov: sup |F_n - F| <= the bound that true samples pass with probability 1 - ALARM."""
    n = len(sample)
    p = np.sort(cdf(np.asarray(sample)).reshape(n, -1), axis=0)
    rank = np.arange(n)[:, None] / n
    distance = max(np.max(p - rank), np.max(rank + 1 / n - p))
    assert distance <= kolmogi(ALARM) / n**0.5, f"distance {distance} with {n} samples"


def array(x):
    """A result's values as a NumPy array."""
    return x if isinstance(x, np.ndarray) else x.detach().cpu().numpy()


@pytest.fixture(scope="session", params=BACKENDS)
def backend(request):
    """Each execution in turn; torch is left out where it is not installed."""
    if request.param == "torch":
        pytest.importorskip("torch")
    return request.param
