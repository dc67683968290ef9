"""Uniforms, exponentials, gammas, Poisson numbers: their laws, and that each value depends on its names alone.

`gamma` and `poisson` here are the algorithms written a second time, number by number, on the words of test_noise.
"""

import math
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from scipy.special import chdtri, gammainc, gammaincc, ndtr, pdtr

import sdekit as sk
from sdekit import noise
from sdekit.variates import _ln_poisson, exponentials, gammas, poissons, uniforms
from tests import strategies
from tests.conftest import ALARM, EPS, assert_law, assert_near, rounding
from tests.sdekit.test_noise import normal, philox, uniform

MANY = 200_000


def assert_cells(counts, cdf, edges):
    """Pearson's chi-square over the cells (-infinity, e_0], (e_0, e_1], ..., (e_last, infinity)."""
    n, p = counts.size, np.diff(np.concatenate([[0.0], cdf(edges), [1.0]]))
    seen = np.bincount(np.searchsorted(edges, counts.ravel()), minlength=len(p))
    assert n * p.min() > 5
    assert ((seen - n * p) ** 2 / (n * p)).sum() <= chdtri(len(p) - 1, ALARM)


# --- the format, written a second time

def u_of(slot, seed, stream, path, step, component):
    key = philox((stream, 0, 0, 1), (seed % 2**32, seed // 2**32))[:2]
    w = philox((path % 2**32, component + 2**24 * (path // 2**32), step // 2, slot), key)
    return uniform(*w[2:]) if step % 2 else uniform(*w[:2])


def gamma(a, *name):
    if a < 1:
        return gamma(a + 1, *name) * u_of(2**30 + 2, *name) ** (1 / a)
    d, slot = a - 1 / 3, 2**31
    while True:
        x, u = normal(*name, slot=slot), u_of(slot + 1, *name)
        v = (1 + x / math.sqrt(9 * d)) ** 3
        if v > 0 and math.log(u) < x * x / 2 + d - d * v + d * math.log(v):
            return d * v
        slot += 2


def poisson(mean, *name):
    if mean < 10:
        u, k, term = u_of(2**30 + 3, *name), 0, math.exp(-mean)
        total = term
        while u > total:
            k += 1
            term *= mean / k
            total += term
        return k
    b = 0.931 + 2.53 * math.sqrt(mean)
    a, slot = -0.059 + 0.02483 * b, 3 * 2**30
    while True:
        u, v = u_of(slot, *name) - 0.5, u_of(slot + 1, *name)
        us = 0.5 - abs(u)
        k = math.floor((2 * a / us + b) * u + mean + 0.43)
        if us >= 0.07 and v <= 0.9277 - 3.6224 / (b - 2):
            return k
        if not (k < 0 or (us < 0.013 and v > us)):
            if (math.log(v) + math.log(1.1239 + 1.1328 / (b - 3.4)) - math.log(a / us**2 + b)
                    <= k * math.log(mean) - mean - math.lgamma(k + 1)):
                return k
        slot += 2


@given(strategies.seeds, strategies.streams, strategies.paths, strategies.steps, strategies.components)
def test_a_value_is_the_function_of_its_names(seed, stream, path, step, component):
    name = seed, stream, path, step, component
    place = (*name[:2], *(range(i, i + 1) for i in name[2:]))
    assert uniforms(*place).item() == u_of(2**30, *name)
    assert exponentials(*place, rate=2.0).item() == pytest.approx(-math.log(u_of(2**30 + 1, *name)) / 2, rel=4 * EPS)
    for a in (0.3, 1.0, 40.0):
        assert gammas(*place, shape=a, scale=3.0).item() == pytest.approx(3 * gamma(a, *name), rel=1e-12)
    for mean in (0.5, 9.5, 10.0, 300.0):
        assert poissons(*place, mean=mean).item() == poisson(mean, *name)


@pytest.mark.parametrize("a", [0.7, 1.0, 2.5])
def test_gammas_are_the_algorithm_also_after_many_attempts(a):
    """4000 elements: about 200 need a second attempt, some a third."""
    ours = gammas(3, 1, range(8, 1008), 2, 2, shape=a)
    exact = [[[gamma(a, 3, 1, i, n, j) for j in range(2)] for n in range(2)] for i in range(8, 1008)]
    assert np.abs(ours - exact).max() <= rounding(100, ours)


@pytest.mark.parametrize("mean", [10.0, 11.3, 77.7])
def test_poissons_are_the_algorithm_also_after_many_attempts(mean):
    ours = poissons(3, 1, range(8, 1008), 2, 2, mean=mean)
    assert ours.tolist() == [[[poisson(mean, 3, 1, i, n, j) for j in range(2)] for n in range(2)]
                             for i in range(8, 1008)]


GOLDEN = {  # (seed, stream, path, step, component): uniform, exponential, gamma(0.5), gamma(3.7), Poisson(4), (1000)
    (0, 0, 0, 0, 0): (0.6187823858708529, 0.893889406172742, 0.6980329877100435, 4.308987090680683, 4, 954),
    (7, 0, 4711, 251, 2): (0.620547267694492, 0.6005080579525567, 0.004153627105502174, 1.2719979774416386, 2, 956),
    (2**64 - 1, 2**32 - 1, 2**40 - 1, 2**32 - 1, 2**24 - 1): (
        0.5078546006669883, 0.9627996864098527, 0.7163145937607591, 3.1182774378888514, 1, 1004),
}


def test_version_1_of_the_noise_has_its_golden_values():
    assert noise.VERSION == 1
    for name, values in GOLDEN.items():
        place = (*name[:2], *(range(i, i + 1) for i in name[2:]))
        ours = [uniforms(*place), exponentials(*place), gammas(*place, shape=0.5), gammas(*place, shape=3.7),
                poissons(*place, mean=4.0), poissons(*place, mean=1000.0)]
        assert [z.item() for z in ours] == pytest.approx(values, rel=16 * EPS)


# --- ends

def test_uniforms_never_reach_0_or_1():
    last = 2**32 - 1
    ends = noise.uniform(np.array([0, last]), np.array([0, last]))
    assert ends.tolist() == [2**-53, 1 - 2**-53]
    assert (noise.uniform(np.array([0]), np.array([0xFFF])) == 2**-53).all()  # the last 12 bits do not count
    with np.errstate(all="raise"):
        assert (-noise.ln(ends)).tolist() == pytest.approx([53 * math.log(2), -math.log1p(-(2**-53))], rel=EPS)


def test_the_logarithm_is_right_to_a_unit_in_the_last_place():
    rng = np.random.default_rng(1)
    for x in (rng.random(10_000), 1 + rng.normal(size=10_000) * 1e-6, np.exp(rng.uniform(-700, 700, 10_000))):
        exact = np.log(x.astype(np.longdouble))
        assert (np.abs(noise.ln(x) - exact) <= 1.5 * EPS * np.abs(exact)).all()


# --- laws

LAWS = {  # how to draw, the distribution function
    "uniform": (uniforms, lambda x: x),
    "exponential": (exponentials, lambda x: -np.expm1(-x)),
    "exponential, rate 4": (partial(exponentials, rate=4.0), lambda x: -np.expm1(-4 * x)),
    **{f"gamma {a}": (partial(gammas, shape=a), partial(gammainc, a)) for a in (0.05, 0.5, 0.999, 1.0, 3.7, 1000.0)},
    "gamma 2, scale 5": (partial(gammas, shape=2, scale=5), lambda x: gammainc(2, x / 5)),
    "gamma 1e6": (partial(gammas, shape=1e6), partial(gammainc, 1e6)),
}
each_law = pytest.mark.parametrize("name", LAWS)


@each_law
@pytest.mark.parametrize("axis", ["path", "step", "component"])
def test_the_law_along_every_axis(name, axis):
    law, cdf = LAWS[name]
    assert_law(law(4, 0, *(MANY // 4 if axis == name else 1 for name in ("path", "step", "component"))).ravel(), cdf)


@pytest.mark.parametrize("a", [0.05, 0.5, 1.0, 3.7, 1000.0])
def test_gammas_have_their_moments(a):
    """Mean a, variance a, of which the estimates have the variances a/n and (2 a^2 + 6 a)/n."""
    g = gammas(5, paths=MANY // 2, steps=2, shape=a).ravel()
    assert_near(g.mean(), a, (a / MANY) ** 0.5)
    assert_near(((g - a) ** 2).mean(), a, ((2 * a**2 + 6 * a) / MANY) ** 0.5)


MEANS = (0.01, 0.5, 3.0, 9.999, 10.0, 10.001, 14.0, 30.0, 1000.0, 1e6, 1e9, 1e12, 1e15)


@pytest.mark.parametrize("mean", MEANS)
def test_poissons_have_their_law(mean):
    counts = poissons(6, paths=MANY // 2, steps=2, mean=mean)
    assert counts.dtype == np.int64
    if mean < 1e9:  # the distribution function of SciPy loses digits beyond
        edges = np.unique(np.floor(mean + mean**0.5 * np.linspace(-3, 3, 41)).clip(0))
        assert_cells(counts, lambda k: pdtr(k, mean), edges)
    assert_near(counts.mean() - mean, 0.0, (mean / MANY) ** 0.5)
    # the variance of (N - m)^2 is m + 2 m^2
    assert_near(((counts - mean) ** 2).mean() / mean, 1.0, ((1 / mean + 2) / MANY) ** 0.5)


@pytest.mark.parametrize("mean", [1e9, 1e12, 1e15])
def test_poissons_of_a_large_mean_are_gaussian_with_their_skewness(mean):
    """Cornish & Fisher: F(k) = Phi(w) + (1 - w^2) phi(w)/(6 sqrt m) + O(1/m) at the half-integers."""
    w = (poissons(6, paths=MANY, mean=mean).ravel() - mean) / mean**0.5
    assert_law(w, lambda w: ndtr(w) + (1 - w**2) * np.exp(-w**2 / 2) / (2 * np.pi) ** 0.5 / (6 * mean**0.5))


@pytest.mark.parametrize("mean", [9.5, 10.0, 20.0])
def test_poissons_have_their_far_tails(mean):
    counts = poissons(11, paths=5 * MANY, mean=mean)
    for z in (4.0, 4.5):
        k = math.floor(mean + z * mean**0.5)
        for seen, p in ((counts > k, 1 - pdtr(k, mean)), (counts <= mean / 4, pdtr(math.floor(mean / 4), mean))):
            assert_near(seen.mean(), p, (p / counts.size) ** 0.5)


@pytest.mark.parametrize("mean", [10.0, 33.3, 1000.0, 1e6, 1e9, 1e12])
def test_the_probabilities_of_large_poissons_keep_their_digits(mean):
    """k ln m - m - ln k! in the longest floats there are, where it loses log10(m ln m) digits, as ours must not."""
    long = np.longdouble
    k = np.unique(np.floor(mean + mean**0.5 * np.linspace(-8, 8, 500)).clip(0))
    ours = _ln_poisson(k, np.full(len(k), mean))
    if mean <= 1000:
        factorials = np.cumsum(np.log(np.arange(1, k[-1] + 1, dtype=long)))
        ln_factorial = np.where(k > 0, factorials[k.astype(int) - 1], long(0))
    else:
        n = k.astype(long)
        ln_factorial = (n + long(0.5)) * np.log(n) - n + np.log(2 * long(math.pi)) / 2 + 1 / (12 * n) - 1 / (360 * n**3)
    exact = k * np.log(long(mean)) - mean - ln_factorial
    lost = 4 * np.finfo(long).eps * mean * math.log(mean)
    assert np.abs(ours - exact).max() <= 1e-12 + 64 * EPS * mean**0.5 + lost


def test_parameters_broadcast():
    """Every element has the law of its own parameter, and the value that it has alone."""
    shape, scale = np.array([0.3, 2.0, 50.0])[:, None, None], np.array([1.0, 7.0])
    g = gammas(7, paths=3, steps=20_000, components=2, shape=shape, scale=scale)
    for i in range(3):
        for j in range(2):
            assert_law(g[i, :, j] / scale[j], partial(gammainc, shape[i, 0, 0]))
            alone = gammas(7, paths=range(i, i + 1), steps=20_000, components=range(j, j + 1), shape=shape[i, 0, 0],
                           scale=scale[j])
            assert (alone[0, :, 0] == g[i, :, j]).all()
    means = np.array([0.0, 3.0, 12.0, 1e12])
    n = poissons(7, paths=1000, steps=3, components=4, mean=means)
    for j, mean in enumerate(means):
        assert (poissons(7, paths=1000, steps=3, components=range(j, j + 1), mean=mean)[..., 0] == n[..., j]).all()
    rates = np.geomspace(0.1, 10.0, 5)[:, None]
    assert (exponentials(7, paths=3, steps=5, rate=rates) == exponentials(7, paths=3, steps=5) / rates).all()


# --- each value by its names alone

PARAMETERS = np.geomspace(1e-3, 1e3, 9 * 7 * 5).reshape(9, 7, 5)  # of both algorithms, in no order of the axes
CUTS = {
    "uniforms": lambda p, *names: uniforms(*names),
    "exponentials": lambda p, *names: exponentials(*names, rate=p),
    "gammas": lambda p, *names: gammas(*names, shape=p, scale=1 / p),
    "poissons": lambda p, *names: poissons(*names, mean=p),
}


@pytest.mark.parametrize("law", CUTS)
@given(strategies.seeds, strategies.parts(9), strategies.parts(7), strategies.parts(5))
def test_any_part_can_be_had_alone(law, seed, paths, steps, components):
    whole = CUTS[law](PARAMETERS, seed, 3, 9, 7, 5)
    part = CUTS[law](PARAMETERS[np.ix_(paths, steps, components)], seed, 3, paths, steps, components)
    assert (part == whole[np.ix_(paths, steps, components)]).all()


@pytest.mark.parametrize("draw", [uniforms, partial(gammas, shape=0.5), partial(poissons, mean=25.0)])
def test_a_large_request_is_made_of_small_ones(draw):
    """Vector instructions take several elements at once, and the last few alone."""
    whole = draw(8, paths=range(2**32 - 500, 2**32 + 500), steps=5)
    for begin, end in ((0, 1), (1, 8), (8, 499), (499, 501), (501, 1000)):
        part = draw(8, paths=range(2**32 - 500 + begin, 2**32 - 500 + end), steps=range(1, 5))
        assert (part == whole[begin:end, 1:]).all()


@pytest.mark.parametrize("draw", [uniforms, exponentials, partial(gammas, shape=0.5), partial(poissons, mean=4),
                                  partial(poissons, mean=40)])
def test_no_paths_no_steps_or_no_components_is_an_empty_array(draw):
    assert draw(1, paths=0, steps=2, components=3).shape == (0, 2, 3)
    assert draw(1, paths=1, steps=0, components=3).shape == (1, 0, 3)
    assert draw(1, paths=1, steps=2, components=range(0)).shape == (1, 2, 0)


# --- independence: products of two standardised samples have mean 0 and, if independent, variance 1

STANDARD = {
    "normals": sk.normals,
    "normals, slot 1": partial(sk.normals, slot=1),
    "uniforms": lambda *n: (uniforms(*n) - 0.5) * 12**0.5,
    "exponentials": lambda *n: exponentials(*n) - 1,
    "gammas, shape 0.5": lambda *n: (gammas(*n, shape=0.5) - 0.5) / 0.5**0.5,
    "gammas, shape 3": lambda *n: (gammas(*n, shape=3.0) - 3) / 3**0.5,
    "poissons, mean 4": lambda *n: (poissons(*n, mean=4.0) - 4) / 2,
    "poissons, mean 25": lambda *n: (poissons(*n, mean=25.0) - 25) / 5,
}
SAMPLES = {name: draw(7, 0, MANY // 2, 2).ravel() for name, draw in STANDARD.items()}
SHARE = ({"gammas, shape 0.5", "gammas, shape 3"},)  # the same law under the same names: the same attempts
PAIRS = [(a, b) for a in STANDARD for b in STANDARD if a < b and {a, b} not in SHARE]


@pytest.mark.parametrize("one, other", PAIRS)
def test_the_laws_are_independent_of_each_other(one, other):
    x, y = SAMPLES[one], SAMPLES[other]
    fold = lambda x: (np.abs(x) - np.abs(x).mean()) / np.abs(x).std()  # dependence without correlation shows here
    for product in (x * y, fold(x) * fold(y), x * fold(y), fold(x) * y):
        assert_near(product.mean(), 0.0, MANY**-0.5)
    even, odd = x.reshape(-1, 2), y.reshape(-1, 2)[:, ::-1]  # against the other step of the same block
    assert_near((even * odd).mean(), 0.0, MANY**-0.5)


AXES = {
    "path": lambda draw: draw(7, 0, MANY + 1).ravel(),
    "step, in a block and between blocks": lambda draw: draw(7, 0, 1, MANY + 1).ravel(),
    "component": lambda draw: draw(7, 0, 1, 1, MANY + 1).ravel(),
    "seed": lambda draw: np.stack([draw(s, 0, MANY).ravel() for s in (7, 8)]),
    "stream": lambda draw: np.stack([draw(7, s, MANY).ravel() for s in (0, 1)]),
    "path, by its high bits": lambda draw: np.stack([draw(7, 0, range(b, b + MANY)).ravel() for b in (0, 2**32)]),
}


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("law", list(STANDARD)[2:])
def test_neighbours_are_independent(law, axis):
    z = AXES[axis](STANDARD[law])
    x, y = (z[:-1], z[1:]) if z.ndim == 1 else z
    assert_near((x * y).mean(), 0.0, MANY**-0.5)
    assert_near(((x > 0) * 1.0 - (x > 0).mean()) @ ((y > 0) * 1.0 - (y > 0).mean()) / MANY, 0.0, 0.25 * MANY**-0.5)


# --- extremes

def test_a_mean_of_zero_gives_zero():
    assert not poissons(1, paths=1000, mean=0.0).any() and not poissons(1, paths=1000, mean=1e-30).any()


@pytest.mark.parametrize("shape", [5e-324, 1e-310, 1e-100, 1e-5, 1e-3])
def test_gammas_of_a_tiny_shape_are_almost_all_nearly_zero(shape):
    with np.errstate(all="raise", under="ignore"):
        g = gammas(9, paths=MANY, shape=shape)
    assert np.isfinite(g).all() and (g >= 0).all()
    for level in (1e-200, 1e-9):
        p = gammaincc(shape, level)
        assert_near((g > level).mean(), p, (max(p, 1e-300) / MANY) ** 0.5)


def test_gammas_of_a_huge_shape_are_their_mean():
    g = gammas(9, paths=1000, shape=1e30)
    assert np.abs(g / 1e30 - 1).max() <= 6e-15


# --- what does not fit

@pytest.mark.parametrize("draw, error, message", [
    (partial(exponentials, rate=0.0), ValueError, "rate must be positive and finite, got 0.0"),
    (partial(exponentials, rate=math.inf), ValueError, "rate must be positive and finite, got inf"),
    (partial(exponentials, rate="a"), TypeError, r"rate must be a number or an array of numbers, got 'a' \(str\)"),
    (partial(exponentials, rate=True), TypeError, "rate must be a number .*, got True"),
    (partial(gammas, shape=0.0), ValueError, "shape must be positive and finite, got 0.0"),
    (partial(gammas, shape=np.array([1.0, -2.0, 3.0])), ValueError, "shape must be positive and finite, got -2.0"),
    (partial(gammas, shape=math.nan), ValueError, "shape must be positive and finite, got nan"),
    (partial(gammas, shape=1j), TypeError, "shape must be a number"),
    (partial(gammas, shape=1.0, scale=-1), ValueError, "scale must be positive and finite, got -1.0"),
    (partial(gammas, shape=np.ones(4)), ValueError,
     r"shape must broadcast to \(paths, steps, components\) = \(5, 2, 3\), got \(4,\); .* shape\[:, None, None\]"),
    (partial(gammas, shape=np.ones((1, 1, 1, 1))), ValueError, "shape must broadcast"),
    (partial(poissons, mean=-1e-9), ValueError, "mean must be between 0 and 1e[+]15, got -1e-09"),
    (partial(poissons, mean=2e15), ValueError, "mean must be between .*, got 2000000000000000.0"),
    (partial(poissons, mean=math.nan), ValueError, "mean must be between .*, got nan"),
    (partial(poissons, mean=None), TypeError, "mean must be a number .*, got None"),
])
def test_parameters_that_do_not_fit_are_refused(draw, error, message):
    with pytest.raises(error, match=message):
        draw(1, paths=5, steps=2, components=3)


@pytest.mark.parametrize("draw", [uniforms, exponentials, partial(gammas, shape=1.0), partial(poissons, mean=1.0)])
def test_names_outside_the_counter_are_refused(draw):
    for given_, error, message in (({"seed": -1}, ValueError, "seed must be at least 0"),
                                   ({"seed": 1.5}, TypeError, "seed must be a whole number"),
                                   ({"stream": 2**32}, ValueError, "stream must be at least 0"),
                                   ({"paths": range(-1, 2)}, ValueError, "paths must lie between"),
                                   ({"steps": 2**32 + 1}, ValueError, "steps must be at least 0"),
                                   ({"components": range(2**24, 2**24 + 1)}, ValueError, "components must lie")):
        with pytest.raises(error, match=message):
            draw(**{"seed": 1, **given_})
