"""Summaries: against NumPy on the same values, the same bits for any order, joined, kept, drawn."""

import dataclasses
import json
import pickle

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sdekit as sk
from sdekit import summary as summaries
from sdekit.bins import BINS, FINE, HIGH, LOW, OUTSIDE, Bins
from sdekit.moments import BLOCK, Accumulator, block_statistics
from sdekit.summary import Summary, load
from tests.conftest import EPS, assert_near


@pytest.fixture(scope="module", params=["numpy", "numba"])
def blocks(request):
    """The statistics of blocks, in NumPy and compiled: a function of (values, bins, counts)."""
    return numpy_blocks if request.param == "numpy" else numba_blocks


def numpy_blocks(values, bins, counts):
    return block_statistics(values, bins.centre, bins.base, counts)


def numba_blocks(values, bins, counts):
    from sdekit.numba_moments import block_statistics as compiled
    times, dim, n = values.shape
    number = -(-n // BLOCK)
    moments = np.full((7, number, times, dim), np.nan)
    pairs = np.full((9, number, times, dim * (dim - 1) // 2), np.nan)
    compiled(np.ascontiguousarray(values), bins.centre, bins.base, counts, moments, pairs)
    return moments, pairs


def summarized(values, blocks=numpy_blocks, bins=None, chunk=3, order=None, info=None, **options):
    """The summary of values (times, dim, paths) or (paths,), given in chunks of so many blocks in this order."""
    values = np.asarray(values, float)
    values = values.reshape(1, 1, -1) if values.ndim == 1 else values
    times, dim, n = values.shape
    bins = bins or Bins.from_pilot(values[:, :, :1000])
    accumulator, counts = Accumulator(times, dim), bins.counts()
    starts = range(0, n, chunk * BLOCK)
    for i in range(len(starts)) if order is None else order(len(starts)):
        part = bins.counts()
        accumulator.add(starts[i] // BLOCK, *blocks(values[:, :, starts[i]:starts[i] + chunk * BLOCK], bins, part))
        counts += part
    about = {"equation": "X", "seed": 1, "stream": 0, "first": 0, "paths": n} | (info or {})
    return Summary(np.arange(times) / 2.0, accumulator.result(n, counts), bins, about, scalar=dim == 1, **options)


def laws(n=20_000):
    """Samples that are easy and hard to bin."""
    rng = np.random.default_rng(7)
    z = rng.standard_normal(n)
    return {"normal": z, "lognormal": np.exp(2 * z), "negative": -np.exp(0.2 * z) * 50,
            "cauchy": rng.standard_cauchy(n), "near 100": 100 + 1e-3 * z, "constant": np.full(n, 3.7),
            "zero": np.zeros(n), "two points": np.where(z > 0.3, 2.0, -1.0), "rare": np.where(z > 3.2, 7.0, 0.25),
            "tiny": 1e-300 * z, "huge": 1e60 * z, "few digits": np.round(z, 1), "squares": z**2,
            "mostly zero": np.where(z > 1, z, 0.0), "far": 1e8 + z, "far rounding": 1e8 + 1e-8 * np.round(z)}


each_law = pytest.mark.parametrize("law", laws(1))


# Moments

def moments(x):
    """Mean, var, skew, kurtosis along the last axis in extended precision."""
    x = np.asarray(x, np.longdouble)
    n, y = x.shape[-1], x - x[..., :1]
    mean = y.sum(-1) / n
    m2, m3, m4 = (((y - mean[..., None]) ** p).sum(-1) / n for p in (2, 3, 4))
    with np.errstate(all="ignore"):
        return x[..., 0] + mean, m2 * n / (n - 1), m3 / m2**1.5, m4 / m2**2 - 3


@each_law
def test_moments_are_exact_to_rounding(law, blocks):
    x = laws()[law]
    summary = summarized(x, blocks)
    mean, var, skew, kurtosis = (float(m) for m in moments(x))
    few = 64 * EPS  # errors of a sum in lanes and in a tree: some last places
    scale = np.abs(x - summary.bins.centre).mean()  # sums are those of x - c
    assert abs(summary.mean[0] - mean) <= few * scale + EPS * abs(mean)
    if var > 0:
        loss = few * (1 + scale / var**0.5)
        assert abs(summary.var[0] - var) <= loss * var
        assert abs(summary.skew[0] - skew) <= loss * (10 + 10 * abs(skew))
        assert abs(summary.kurtosis[0] - kurtosis) <= loss * (10 + 10 * abs(kurtosis))
        np.testing.assert_allclose(summary.stderr[0], (var / len(x)) ** 0.5, rtol=loss)
    else:
        assert summary.var[0] == 0 and np.isnan(summary.skew[0]) and np.isnan(summary.kurtosis[0])
    assert (summary.min[0], summary.max[0], summary.n[0]) == (x.min(), x.max(), len(x))


def test_a_small_deviation_far_away_keeps_its_digits(blocks):
    x = 1e8 + np.random.default_rng(3).standard_normal(50_000)
    summary = summarized(x, blocks)
    assert summary.bins.centre.item() == 1e8
    np.testing.assert_allclose(summary.var[0], float(moments(x)[1]), rtol=64 * EPS)


@pytest.mark.parametrize("n", [1, 2, 3, 255, 256, 257, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 77])
def test_any_number_of_paths(n, blocks):
    x = np.random.default_rng(n).standard_normal((2, 3, n)) + 0.5
    summary = summarized(x, blocks)
    assert summary.total == n and (summary.n == n).all() and summary.statistics.counts.sum() == 6 * n
    np.testing.assert_allclose(summary.mean, x.mean(-1), rtol=1e-12, atol=64 * EPS)
    with np.errstate(all="ignore"):
        var = x.var(-1, ddof=1) if n > 1 else np.full((2, 3), np.nan)
    np.testing.assert_allclose(summary.var, var, rtol=1e-12)
    np.testing.assert_allclose(summary.std, var**0.5, rtol=1e-12)
    assert (summary.min == x.min(-1)).all() and (summary.max == x.max(-1)).all()
    for t in range(2):
        cov = np.cov(x[t]) if n > 1 else np.full((3, 3), np.nan)
        np.testing.assert_allclose(summary.cov[t], cov, rtol=1e-11, atol=1e-12)


def test_the_compiled_blocks_are_those_of_numpy():
    rng = np.random.default_rng(5)
    x = rng.standard_normal((3, 3, 2 * BLOCK + 100)) * [[[1.0], [3.0], [0.1]]] + [[[0.0], [10.0], [-7.0]]]
    x[1, 1, rng.random(x.shape[2]) < 0.3] = np.inf
    x[1, 2, 5:9] = -np.inf
    x[2, 0] = np.nan
    bins = Bins.from_pilot(x[:, :, :500])
    ours, theirs = bins.counts(), bins.counts().astype(np.int32)
    (a, b), (c, d) = numpy_blocks(x, bins, ours), numba_blocks(x, bins, theirs)
    assert (ours == theirs).all()
    np.testing.assert_allclose(a, c, rtol=1e-12, atol=1e-10)
    np.testing.assert_allclose(b, d, rtol=1e-12, atol=1e-10)


def test_covariances_of_a_system(blocks):
    rng = np.random.default_rng(2)
    x = rng.standard_normal((4, 3, 9000))
    x[:, 1] = 0.5 * x[:, 0] + 1e6  # a component far away
    summary = summarized(x, blocks)
    assert summary.cov.shape == summary.cov_stderr.shape == (4, 3, 3) and summary.mean.shape == (4, 3)
    for t in range(4):
        np.testing.assert_allclose(summary.cov[t], np.cov(x[t] - x[t, :, :1]), rtol=1e-9, atol=1e-12)
    for p, (k, l) in enumerate([(0, 1), (0, 2), (1, 2)]):
        d, e = (x[:, j] - x[:, j].mean(-1, keepdims=True) for j in (k, l))
        sums = [(d**i * e**j).sum(-1) for i, j in ((2, 0), (1, 1), (0, 2), (2, 1), (1, 2), (2, 2))]
        np.testing.assert_allclose(summary.statistics.pairs[3:, :, p], sums, rtol=1e-6, atol=1e-4)
        m20, m11, m02, _, _, m22 = np.array(sums) / 9000
        variance = (m22 - m11**2 * 8998 / 8999 + m20 * m02 / 8999) / 9000
        np.testing.assert_allclose(summary.cov_stderr[:, k, l] ** 2, variance, rtol=1e-6)
    np.testing.assert_array_equal(np.diagonal(summary.cov, axis1=1, axis2=2), summary.var)
    np.testing.assert_array_equal(np.diagonal(summary.cov_stderr, axis1=1, axis2=2), summary.var_stderr)


@pytest.mark.parametrize("compiled", [False, True])
def test_pairs_that_are_not_wanted_are_not_kept(compiled):
    from sdekit.numba_moments import block_statistics as kernel
    x = np.random.default_rng(2).standard_normal((2, 3, 5000))
    bins, accumulator = Bins.from_pilot(x), Accumulator(2, 3, paired=False)
    counts, moments, pairs = bins.counts(), np.empty((7, 3, 2, 3)), np.empty((9, 3, 2, 0))
    (kernel if compiled else block_statistics)(x, bins.centre, bins.base, counts, moments, pairs)
    accumulator.add(0, moments, pairs)
    summary = Summary(np.arange(2.0), accumulator.result(5000, counts), bins, {"seed": 1}, scalar=False)
    np.testing.assert_allclose((summary + summary).mean, x.mean(-1), atol=1e-12)
    for name in ("cov", "cov_stderr"):
        with pytest.raises(ValueError, match="covariances of these 3 components were not kept"):
            getattr(summary, name)


# Order

def _bits(summary):
    s = summary.statistics
    return s.moments.tobytes(), s.pairs.tobytes(), s.counts.tobytes()


@pytest.fixture(scope="module")
def many():
    x = np.random.default_rng(11).standard_normal((2, 2, 23 * BLOCK + 5)) ** 3 + 1
    return x, _bits(summarized(x, numba_blocks, chunk=1)), _bits(summarized(x, numpy_blocks, chunk=1))


@given(st.integers(1, 30), st.randoms(use_true_random=False), st.integers(0, 6))
def test_the_same_bits_for_any_chunks_in_any_order(many, chunk, random, group):
    x, compiled, plain = many

    def order(n):
        return random.sample(range(n), n)

    group_of, Accumulator.__init__ = Accumulator.__init__, lambda self, *shape: (  # any size of the leaves, too
        group_of(self, *shape), setattr(self, "_group", 2**group))[0]
    try:
        assert _bits(summarized(x, numba_blocks, chunk=chunk, order=order)) == compiled
        assert _bits(summarized(x, numpy_blocks, chunk=chunk, order=order)) == plain
    finally:
        Accumulator.__init__ = group_of


def test_paths_are_joined_in_their_order(many):
    x, compiled, _ = many
    cut = 5 * BLOCK
    swapped = np.concatenate([x[:, :, cut:2 * cut], x[:, :, :cut], x[:, :, 2 * cut:]], axis=-1)
    other = summarized(swapped, numba_blocks, bins=Bins.from_pilot(x[:, :, :1000]))
    assert _bits(other) != compiled and _bits(other)[2] == compiled[2]


@pytest.mark.parametrize("given, message", [
    ([0, 1, 3], "8292 paths are 5 blocks, but 3 came with gaps"), ([0, 1, 2, 3], "but 4 came"),
    ([0, 1, 2, 3, 5], "but 5 came with gaps"), ([0, 1, 2, 3, 4, 5], "but 6 came"), ([], "but 0 came")])
def test_missing_blocks_are_noticed(given, message):
    accumulator, bins = Accumulator(1, 1), Bins.from_pilot(np.zeros((1, 1, 5)))
    for block in given:
        accumulator.add(block, *numpy_blocks(np.ones((1, 1, BLOCK)), bins, bins.counts()))
    with pytest.raises(ValueError, match=message):
        accumulator.result(4 * BLOCK + 100, bins.counts())


def test_a_block_that_came_before_is_refused():
    accumulator, bins = Accumulator(400, 2), Bins.from_pilot(np.zeros((400, 2, 5)))
    some = numpy_blocks(np.ones((400, 2, 9 * BLOCK)), bins, bins.counts())
    accumulator.add(0, *some)
    for block in (0, 7, 8):
        with pytest.raises(ValueError, match="hold one that was added before"):
            accumulator.add(block, *(part[:, :1] for part in some))
    with pytest.raises(ValueError, match=r"blocks of \(400, 2\) \(times, dim\) are wanted, got moments \(7, 1, 4"):
        accumulator.add(9, *(part[:, :1, :4] for part in some))


def test_pairwise_joining_keeps_digits_over_many_blocks():
    accumulator, n = Accumulator(1, 1), 200_000
    m = np.zeros((7, n, 1, 1))
    m[0], m[1], m[2], m[5], m[6] = BLOCK, 0.1, 0.3, 0.0, 1.0
    accumulator.add(0, m, np.empty((9, n, 1, 0)))
    s = accumulator.result(n * BLOCK, np.zeros((1, 1, BINS), np.int64))
    assert s.moments[0] == n * BLOCK and s.moments[1] == 0.1
    assert abs(s.moments[2].item() - 0.3 * n) <= 18 * EPS * 0.3 * n


# Bins and quantiles

Q = np.array([0, 1e-4, 0.01, 0.05, 0.25, 0.3, 0.5, 0.62, 0.75, 0.95, 0.99, 0.9999, 1])


@each_law
def test_quantiles_are_those_of_the_sorted_values_to_the_stated_bound(law, blocks):
    for x in (laws()[law], laws()[law][:777], laws()[law][:2], laws()[law][:1]):
        summary = summarized(x, blocks)
        exact, got, bound = np.quantile(x, Q), summary.quantile(Q)[:, 0], summary.quantile_error(Q)[:, 0]
        assert (np.abs(got - exact) <= bound * (1 + 8 * EPS) + 4 * EPS * np.abs(exact)).all()
        assert got[0] == x.min() and got[-1] == x.max() and bound[0] == bound[-1] == 0
        assert (np.diff(got) >= 0).all()
        assert (bound <= x.max() - x.min()).all()


@pytest.mark.parametrize("law", ["normal", "lognormal", "negative", "near 100", "squares", "far", "tiny", "huge"])
def test_the_bound_is_small(law):
    x = laws(400_000)[law]
    q = np.array([0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99])
    summary = summarized(x)
    spread = np.ptp(np.quantile(x, [0.16, 0.84])) / 2
    y = np.abs(np.quantile(x, q) - summary.bins.centre.item())
    bound = y * 1.01 / 2**FINE + spread * 2.0 ** (LOW + 2) + 2 * EPS * abs(x[0])
    assert (summary.quantile_error(q)[:, 0] <= bound).all()


def test_values_beyond_the_bins_are_bounded_by_the_largest():
    x = np.concatenate([np.random.default_rng(0).standard_normal(5000), [-1e12, 1e9, 2e9, 3e9]])
    summary = summarized(x)
    got, bound = summary.quantile([2.5e-4, 1 - 2.0 / 5003])[:, 0], summary.quantile_error([0.0, 1 - 2.0 / 5003])[:, 0]
    assert bound[1] > 1e8 and abs(got[1] - 1e9) <= bound[1] and got[0] > -1e12


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=50),
       st.integers(-1000, 1000), st.sampled_from([0.0, 1.0, -7.25, 1e200]))
def test_a_value_lies_in_its_bin(x, exponent, centre):
    bins = Bins(np.array([[centre]]), np.array([[exponent]]))
    edges = bins.edges(0, 0)
    assert len(edges) == BINS + 1 and (np.diff(edges) > 0).all()
    for value in x:
        ours, theirs = bins.counts(), bins.counts()
        numpy_blocks(np.full((1, 1, 1), value), bins, ours)
        numba_blocks(np.full((1, 1, 1), value), bins, theirs)
        assert (ours == theirs).all()
        i, y = ours.argmax(), value - centre
        assert edges[i] <= y <= edges[i + 1]
        if 0 < i < BINS - 1 and i != OUTSIDE:
            assert edges[i + 1] - edges[i] <= abs(y) / 2**FINE


@pytest.mark.parametrize("law, centre, exponent", [
    ("normal", 0.0, 0), ("lognormal", 0.0, 2), ("cauchy", 0.0, 1), ("near 100", 100.0, -10), ("constant", None, 2),
    ("zero", 0.0, 0), ("far", 1e8, 0), ("negative", -50.0, 3), ("tiny", 0.0, -997), ("huge", 0.0, 199)])
def test_bins_follow_a_pilot(law, centre, exponent):
    bins = Bins.from_pilot(laws(4000)[law].reshape(1, 1, -1))
    assert bins.exponent.item() == exponent
    if centre is None:
        assert abs(bins.centre.item() - 3.7) <= 3.7 * 2.0**-32
    else:
        assert abs(bins.centre.item() - centre) <= 2.0 ** (exponent - 3)
        assert (bins.centre.item() / 2.0 ** (exponent - 3)).is_integer()


@each_law
def test_bins_do_not_move_with_rounding(law):
    x = laws(3000)[law].reshape(1, 1, -1)
    assert law == "far rounding" or Bins.from_pilot(x).same(Bins.from_pilot(np.nextafter(x, np.inf) if x.all() else x))
    assert law == "far rounding" or Bins.from_pilot(x).same(Bins.from_pilot(x * (1 - EPS)))


def test_bins_ignore_what_is_not_finite():
    x = np.random.default_rng(1).normal(10, 1, (2, 2, 300))
    y = x.copy()
    y[0, 0, :100], y[0, 1, :100], y[1, 0], y[1, 1, :299] = np.nan, np.inf, np.inf, -np.inf
    bins = Bins.from_pilot(y)
    alone = Bins.from_pilot(y[:1, :, 100:])
    assert (bins.centre[0] == alone.centre[0]).all() and (bins.exponent[0] == alone.exponent[0]).all()
    assert bins.centre[1, 0] == 0 and bins.exponent[1, 0] == 0 and abs(bins.centre[1, 1] - y[1, 1, 299]) < 1e-6
    assert np.isfinite(bins.edges(0, 0)[1:-1]).all() and bins.counts().shape == (2, 2, BINS)
    assert bins.edges(0, 0)[-2] == 2.0 ** (HIGH + bins.exponent[0, 0])


@pytest.mark.parametrize("shape", [(3, 5), (2, 1, 0), (4,)])
def test_a_pilot_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"a pilot sample has shape \(times, dim, n\) with n > 0"):
        Bins.from_pilot(np.zeros(shape))


# Standard errors

REPEATS, N = 400, 4000


@pytest.fixture(scope="module")
def repeated():
    """400 summaries of a skew law and a Gaussian that hangs together with it."""
    rng = np.random.default_rng(17)
    z = rng.standard_normal((REPEATS, 2, N))
    x = np.stack([np.exp(0.5 * z[:, 0]), 5 + 0.6 * z[:, 0] + 0.8 * z[:, 1]], axis=1)
    bins = Bins.from_pilot(x[0][None])
    return [summarized(part[None], numba_blocks, bins=bins) for part in x]


@pytest.mark.parametrize("value, stderr, bias", [
    (lambda s: s.mean, lambda s: s.stderr, 0.0),
    (lambda s: s.var, lambda s: s.var_stderr, 0.03),  # a fourth moment is mostly underestimated
    (lambda s: s.cov, lambda s: s.cov_stderr, 0.03),
    (lambda s: s.quantile([0.05, 0.3, 0.5, 0.9]), lambda s: s.quantile_stderr([0.05, 0.3, 0.5, 0.9]), 0.03),
], ids=["mean", "var", "cov", "quantile"])
def test_standard_errors_are_the_spread_of_repeated_summaries(repeated, value, stderr, bias):
    spread = np.std([value(s) for s in repeated], axis=0, ddof=1)
    stated = np.sqrt(np.mean([stderr(s) ** 2 for s in repeated], axis=0))
    # the relative error of a deviation from 400 values of kurtosis near 0 is 1 / sqrt(800)
    assert_near(stated / spread, 1.0, (2 * REPEATS) ** -0.5, bias)


def test_standard_errors_in_closed_form():
    x = np.random.default_rng(0).standard_normal(1_000_000)
    s, n = summarized(x), 1e6
    np.testing.assert_allclose(s.stderr, n**-0.5, rtol=0.01)
    np.testing.assert_allclose(s.var_stderr, (2 / n) ** 0.5, rtol=0.01)
    np.testing.assert_allclose(s.quantile_stderr(0.5), (np.pi / 2 / n) ** 0.5, rtol=0.05)
    assert np.isnan(s.quantile_stderr([0.0, 1.0])).all()


def test_the_standard_error_of_a_variance_of_coins():
    s = summarized(np.tile([0.0, 1.0], 5000))
    np.testing.assert_allclose(s.var_stderr, 0.25 * (2 / (1e4 * (1e4 - 1))) ** 0.5, rtol=1e-6)


def test_constants_have_no_errors():
    s = summarized(np.full(5000, 3.7))
    assert (s.mean, s.std, s.stderr, s.var_stderr) == (3.7, 0.0, 0.0, 0.0)
    assert (s.quantiles == 3.7).all() and (s.quantile_error(0.3), s.quantile_stderr(0.3)) == (0.0, 0.0)


# What is not finite

def test_values_that_are_not_finite_are_left_out(blocks):
    rng = np.random.default_rng(4)
    x = rng.exponential(size=(2, 1, 3 * BLOCK + 9))
    x[0, 0, rng.random(x.shape[2]) < 0.4] = np.inf  # a passage that has not come
    x[0, 0, :BLOCK] = np.inf  # a block without any
    x[0, 0, 3 * BLOCK] = np.nan
    s, good = summarized(x, blocks, bins=Bins.from_pilot(x)), x[0, 0][np.isfinite(x[0, 0])]
    assert s.total == x.shape[2] and s.n.tolist() == [len(good), x.shape[2]]
    np.testing.assert_allclose([s.mean[0], s.var[0]], [good.mean(), good.var(ddof=1)], rtol=1e-12)
    assert s.min[0] == good.min() and s.max[0] == good.max()
    assert (np.abs(s.quantile(Q)[:, 0] - np.quantile(good, Q)) <= s.quantile_error(Q)[:, 0] + 1e-12).all()
    assert s.statistics.counts[0].sum() == len(good)


def test_a_pair_is_left_out_where_either_is_not_finite(blocks):
    rng = np.random.default_rng(6)
    x = rng.standard_normal((1, 2, 2 * BLOCK + 300)) + 3
    x[0, 0, rng.random(x.shape[2]) < 0.2] = np.inf
    x[0, 1, rng.random(x.shape[2]) < 0.2] = np.nan
    x[0, 1] += np.where(np.isfinite(x[0, 0]), 0.5 * x[0, 0], 0.0)
    s, both = summarized(x, blocks), np.isfinite(x[0]).all(axis=0)
    np.testing.assert_allclose(s.cov[0, 0, 1], np.cov(x[0][:, both])[0, 1], rtol=1e-11)
    np.testing.assert_allclose(s.cov[0, 1, 1], np.var(x[0, 1][np.isfinite(x[0, 1])], ddof=1), rtol=1e-11)


def test_nothing_finite_is_nan(blocks):
    s = summarized(np.full((1, 2, 3000), np.inf), blocks)
    assert (s.n == 0).all() and s.total == 3000
    for value in (s.mean, s.var, s.stderr, s.var_stderr, s.skew, s.kurtosis, s.cov, s.cov_stderr, s.min, s.max,
                  s.quantiles, s.quantile_stderr(0.5), s.quantile_error(0.5)):
        assert np.isnan(value).all()
    with pytest.raises(ValueError, match=r"no value of component 1 at t = 0.0 is finite"):
        s.histogram(component=1)


# Histograms

def test_a_histogram_with_edges_of_the_fine_bins_is_exact(blocks):
    x = np.random.default_rng(9).standard_normal(30_000)
    s, edges = summarized(x, blocks), np.arange(-8, 9) / 8
    h = s.histogram(edges)
    counts = np.histogram(x, edges)[0]
    assert (h.counts == counts).all() and (h.error == 0).all()
    p = counts / 30_000
    np.testing.assert_allclose(h.density, p * 8)
    np.testing.assert_allclose(h.stderr, 8 * np.sqrt(p * (1 - p) / 30_000))


@each_law
def test_a_histograms_counts_are_right_to_the_stated_error(law):
    x = laws()[law]
    s = summarized(x)
    low, high = np.quantile(x, [0.1, 0.9])
    for bins in (7, 50, np.linspace(low - 0.01, high + 0.013, 23), [x.min(), x.max() + 1]):
        h = s.histogram(bins)
        assert (np.abs(h.counts - np.histogram(x, h.edges)[0]) <= h.error + 1e-6).all()
        assert (h.counts >= -1e-9).all() and h.counts.sum() <= len(x) + 1e-6


def test_a_histogram_of_one_time_and_component():
    x = np.random.default_rng(1).standard_normal((3, 2, 5000)) + np.arange(6).reshape(3, 2, 1)
    s = summarized(x)
    for t, k in ((0, 1), (-1, 0), (1, 1)):
        h = s.histogram([-20, 20], time=t, component=k)
        assert h.counts == 5000
        h = s.histogram(40, time=t, component=k)
        assert abs(np.average((h.edges[1:] + h.edges[:-1]) / 2, weights=h.counts) - x[t, k].mean()) < 0.02
    with pytest.raises(IndexError):
        s.histogram(time=3)


@pytest.mark.parametrize("bins", [0, -3, [1.0], [1.0, 1.0], [2.0, 1.0], [0.0, np.nan], [[0.0, 1.0]]])
def test_histograms_need_increasing_edges(bins):
    with pytest.raises(ValueError, match="a histogram needs a number of cells or increasing edges"):
        summarized(np.arange(100.0)).histogram(bins)


# Joining summaries

def parts(x, cut, **two):
    """Summaries of x[:cut] and x[cut:] that say so."""
    bins = Bins.from_pilot(x[:, :, :1000])
    return (summarized(x[:, :, :cut], bins=bins), summarized(x[:, :, cut:], bins=bins, info={"first": cut} | two))


@pytest.mark.parametrize("cut", [1, 5000, 4 * BLOCK, 11_999])
def test_a_sum_is_one_run_of_both(cut):
    x = np.random.default_rng(8).standard_normal((3, 2, 12_000)) ** 2 + 1
    x[0, 0, 50:60] = np.inf
    (a, b), whole = parts(x, cut), summarized(x)
    both = a + b
    assert (both.statistics.counts == whole.statistics.counts).all() and both.total == 12_000
    np.testing.assert_allclose(both.statistics.moments, whole.statistics.moments, rtol=1e-11)
    np.testing.assert_allclose(both.statistics.pairs, whole.statistics.pairs, rtol=1e-9, atol=1e-9)
    assert (both.quantiles == whole.quantiles).all()
    assert dict(both.info) == dict(whole.info) == dict((b + a).info)
    assert repr(both) == repr(whole) == "Summary(12,000 paths, 3 times from 0.0 to 1.0, X, seed=1)"


def test_runs_of_several_seeds_are_told():
    x = np.random.default_rng(8).standard_normal((1, 1, 9000))
    a, b = parts(x, 4000, seed=2)
    c = parts(x, 4000, seed=2, first=0, backend="numba")[1]
    both = a + b
    assert both.info["runs"] == [(1, 0, 0, 4000), (2, 0, 4000, 5000)] and both.info["paths"] == 9000
    assert "seed" not in both.info and repr(both) == "Summary(9,000 paths, time 0.0, X, 2 runs)"
    with pytest.raises(ValueError, match=r"both summaries hold path 4000 of seed=2, stream=0: the same numbers twice\. "
                                         r"Take another seed, or paths from first=9000 on"):
        both + c
    far = parts(x, 4000, seed=2, first=10_000, backend="numba")[1]
    some = dataclasses.replace(a, info={**a.info, "backend": "torch"})
    assert (some + far).info["backend"] == "numba and torch" and ((some + far) + b).total == 14_000


@pytest.mark.parametrize("info, message", [
    ({}, "both summaries hold path 0 of seed=1"),
    ({"first": 4999}, "both summaries hold path 4999 of seed=1.*paths from first=9999 on"),
    ({"seed": 2, "equation": "Y"}, "equation is X in one and Y in the other"),
    ({"seed": 2, "steps": 5}, "steps is None in one and 5 in the other"),
])
def test_other_laws_and_the_same_numbers_are_refused(info, message):
    x = np.random.default_rng(8).standard_normal(5000)
    with pytest.raises(ValueError, match=message):
        summarized(x) + summarized(x, info=info)


def test_summaries_that_do_not_fit_are_refused():
    x, other = np.random.default_rng(8).standard_normal((3, 1, 2000)), {"seed": 2}
    a = summarized(x)
    with pytest.raises(ValueError, match="different times"):
        a + summarized(x[:2], info=other)
    with pytest.raises(ValueError, match="different bins"):
        a + summarized(x * 8, info=other)
    with pytest.raises(ValueError, match="different states cannot be added: 1 and 2 components"):
        a + summarized(np.concatenate([x, x], axis=1), info=other)
    with pytest.raises(ValueError, match=r"track different things cannot be added: \[\] and \['hit'\]"):
        a + summarized(x, info=other, tracked={"hit": a})
    with pytest.raises(TypeError):
        a + 1


def test_equations_are_compared_by_what_they_do():
    def make(sign, s=1.0):
        return sk.SDE(lambda x, t: sign * x, lambda x, t, s: s, s=s)

    x = np.random.default_rng(8).standard_normal(5000)
    a = summarized(x, info={"equation": make(1)})
    assert (a + summarized(x, info={"equation": make(1), "seed": 2})).total == 10_000
    for equation in (make(-1), make(1, s=2.0), sk.BrownianMotion(), sk.SDE(lambda x, t: x, lambda x, t, s: s, s=1.0)):
        with pytest.raises(ValueError, match=r"equation is|the functions of .* differ"):
            a + summarized(x, info={"equation": equation, "seed": 2})
    brown = [summarized(x, info={"equation": sk.BrownianMotion(mu=1.0), "seed": seed}) for seed in (1, 2)]
    assert (brown[0] + brown[1]).info["equation"] is brown[0].info["equation"]


def test_tracked_quantities_are_joined_too():
    x = np.random.default_rng(8).standard_normal((2, 1, 3000))
    bins = Bins.from_pilot(x)
    a, b = (summarized(x, bins=bins, info={"seed": s}, tracked={"area": summarized(x[:1], info={"seed": s})})
            for s in (1, 2))
    both = a + b
    assert both.tracked["area"].total == 6000 and both.tracked["area"].mean.shape == (1,)
    assert repr(both).endswith("2 runs, tracked: area)")


# Files, pictures, results

def test_a_file_gives_it_all_back(tmp_path):
    x = np.random.default_rng(8).standard_normal((3, 2, 5000))
    s = summarized(x, info={"equation": sk.BrownianMotion(), "seed": 2**64 - 1}, probabilities=(0.1, 0.5),
                   tracked={"first passage": summarized(x[:1, :1])})
    file = s.save(tmp_path / "new" / "run")
    assert file == tmp_path / "new" / "run.npz"
    back = load(file)
    assert _bits(back) == _bits(s) and back.total == 5000 and back.bins.same(s.bins) and (back.t == s.t).all()
    assert back.info == {**s.info, "equation": repr(s.info["equation"])} and repr(back) == repr(s)
    assert (back.quantiles == s.quantiles).all() and len(back.quantiles) == 2 and not back.scalar
    passage = back.tracked["first passage"]
    assert _bits(passage) == _bits(s.tracked["first passage"]) and passage.scalar
    more = back + summarized(x, info={"equation": sk.BrownianMotion(), "seed": 3},
                             tracked={"first passage": summarized(x[:1, :1], info={"seed": 3})})
    assert load(more.save(file)).info["runs"] == [[3, 0, 0, 5000], [2**64 - 1, 0, 0, 5000]]
    with pytest.raises(ValueError, match="the same numbers twice"):
        load(file) + back


def test_a_file_is_small(tmp_path):
    x = np.random.default_rng(8).standard_normal((20, 1, 20_000))
    assert summarized(x).save(tmp_path / "a").stat().st_size < 1_000_000


def test_other_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none.npz")
    np.savez(tmp_path / "paths.npz", t=np.zeros(3), x=np.zeros((2, 3)))
    (tmp_path / "text.npz").write_text("no")
    s = summarized(np.arange(9.0))
    later = summaries._packed(s, "")
    later["about"] = json.dumps(json.loads(later["about"]) | {"format": 9})
    np.savez(tmp_path / "later.npz", **later)
    for name in ("paths", "text", "later"):
        with pytest.raises(ValueError, match=f"{name}.npz is no file of Summary.save"):
            load(tmp_path / f"{name}.npz")


def test_a_summary_can_be_sent_to_another_process():
    s = summarized(np.arange(5000.0))
    assert (s.quantiles == pickle.loads(pickle.dumps(s)).quantiles).all()


def test_shapes_follow_the_state():
    x = np.random.default_rng(8).standard_normal((3, 1, 3000))
    number, system = summarized(x), dataclasses.replace(summarized(x), scalar=False)
    for name in ("n", "mean", "stderr", "var", "var_stderr", "std", "skew", "kurtosis", "min", "max"):
        assert getattr(number, name).shape == (3,) and getattr(system, name).shape == (3, 1)
    assert number.quantiles.shape == (5, 3) and system.quantiles.shape == (5, 3, 1)
    assert number.quantile(0.5).shape == (3,) and system.quantile([0.5]).shape == (1, 3, 1)
    assert number.cov.shape == (3, 1, 1) and number.quantile_stderr([0.1, 0.2]).shape == (2, 3)
    with pytest.raises(AttributeError):
        number.t = None


@pytest.mark.parametrize("q", [5, -0.1, [0.5, 1.5], float("nan"), [[0.5]]])
def test_quantiles_are_asked_for_by_probabilities(q):
    s = summarized(np.arange(10.0))
    for ask in (s.quantile, s.quantile_stderr, s.quantile_error, lambda q: dataclasses.replace(s, probabilities=q)):
        with pytest.raises(ValueError, match="quantiles are asked for by probabilities from 0 to 1"):
            ask(q)


def test_a_picture_shows_quantiles_and_the_mean():
    x = np.cumsum(np.random.default_rng(8).standard_normal((30, 2, 3000)), axis=0)
    s = summarized(x)
    ax = s.plot(bands=(0.5, 0.9), component=1)
    corners = ax.collections[0].get_paths()[0].vertices
    at = corners[np.isclose(corners[:, 0], s.t[7]), 1]
    np.testing.assert_allclose([at.min(), at.max()], s.quantile([0.05, 0.95])[:, 7, 1])
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), s.mean[:, 1])
    assert ax.get_title() == "3,000 paths, X" and len(ax.collections) == 2
    assert summarized(x[:, :1]).plot(ax) is ax
    for wrong in (2, -1):
        with pytest.raises(ValueError, match=f"component must be from 0 to 1, got {wrong}"):
            s.plot(component=wrong)
    with pytest.raises(ValueError, match="bands are shares"):
        s.plot(bands=(90,))
    plt.close("all")
