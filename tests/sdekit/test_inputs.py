"""What was asked for: grids of times, times to keep, starts, given increments, and what does not fit."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import gammainc, ndtr, ndtri

import sdekit as sk
from sdekit import starts
from sdekit.inputs import increments, saved_times, start, time_grid
from sdekit.variates import uniforms
from tests import strategies
from tests.conftest import EPS, assert_gaussian, assert_law, assert_near
from tests.sdekit.test_noise import philox, uniform

nan, inf = float("nan"), float("inf")
bm = sk.BrownianMotion()


@given(strategies.numbers(-100, 100), strategies.numbers(0.01, 100), st.integers(1, 50))
def test_a_grid_is_cut_into_equal_steps_from_end_to_end(begin, length, steps):
    grid = time_grid((begin, begin + length), steps)
    assert len(grid) == steps + 1 and grid[0] == begin and grid[-1] == begin + length
    assert np.abs(np.diff(grid) * steps / length - 1).max() <= 8 * EPS * steps * (abs(begin) + length) / length


def test_a_number_is_the_end_and_zero_the_start():
    assert (time_grid(2, 4) == [0.0, 0.5, 1.0, 1.5, 2.0]).all()
    assert (time_grid(np.float32(2), np.int64(1)) == [0.0, 2.0]).all()
    assert (time_grid([1, 3], 2) == [1.0, 2.0, 3.0]).all()


@pytest.mark.parametrize("steps", [None, 3])
def test_three_times_or_more_are_the_grid_itself(steps):
    assert (time_grid((0, 1, 5, 6), steps) == [0.0, 1.0, 5.0, 6.0]).all()


BAD_TIMES = [  # t, steps, error, message
    (0, 4, ValueError, "time must run forwards: t goes from 0.0 to 0.0; give an end after the start"),
    (-1.0, 4, ValueError, "time must run forwards: t goes from 0.0 to -1.0"),
    ((1.0, 0.0), 4, ValueError, "time must run forwards: t goes from 1.0 to 0.0"),
    ((1.0, 1.0), 4, ValueError, "time must run forwards"),
    (nan, 4, ValueError, "times must be finite, got nan"),
    ((0.0, inf), 4, ValueError, r"times must be finite, got \(0.0, inf\)"),
    ((0.0, nan, 1.0), None, ValueError, "times must be finite"),
    ("a", 4, TypeError, r"t must be an end time, a pair \(start, end\), or an array of times; got 'a'"),
    (1j, 4, TypeError, "t must be an end time"),
    ([], 4, ValueError, r"t must be an end time, .*; got \[\]"),
    ([1.0], 4, ValueError, r"t must be an end time, .*; got \[1.0\]"),
    ([[0.0, 1.0]], 4, ValueError, "t must be an end time"),
    ((0, 1, 2), 3, ValueError, "t is a grid of 2 steps, but steps=3; leave steps out"),
    ((0, 2, 1), None, ValueError, r"the times of the grid must increase, but t\[1\] = 2.0 and t\[2\] = 1.0"),
    ((0, 1, 1), None, ValueError, r"must increase, but t\[1\] = 1.0 and t\[2\] = 1.0"),
    ((1e16, 1e16 + 2), 10, ValueError, "must increase, but"),
    (1.0, None, TypeError, "steps is missing: say into how many equal steps the time is cut, or give the grid as t"),
    (1.0, 0, ValueError, "steps must be at least 1 and below .*, got 0"),
    (1.0, -3, ValueError, "steps must be at least 1 and below .*, got -3"),
    (1.0, 2.5, TypeError, r"steps must be a whole number, got 2.5 \(float\)"),
    (1.0, True, TypeError, r"steps must be a whole number, got True \(bool\)"),
    (1.0, 2**32, ValueError, "steps must be at least 1 and below 4294967296, got 4294967296"),
]


@pytest.mark.parametrize("t, steps, error, message", BAD_TIMES)
def test_times_that_do_not_fit_are_refused(t, steps, error, message):
    with pytest.raises(error, match=message):
        sk.simulate(bm, 0.0, t, steps)
    with pytest.raises(error, match=message):
        sk.integrate(bm, 0.0, t, steps, method=sk.rk4)


@given(st.integers(1, 60), st.data())
def test_saved_times_are_found_on_the_grid(steps, data):
    grid = time_grid((0.1, 0.7), steps)
    wanted = sorted(data.draw(st.sets(st.integers(0, steps), min_size=1)))
    for times in (grid[wanted], grid[wanted] * (1 + EPS)):  # the second as another formula would round them
        kept, offset = saved_times(times, grid)
        assert kept.tolist() == wanted and not offset.any()


def test_saved_times_are_all_the_last_or_equally_many():
    grid = time_grid(1.0, 6)
    for save, kept in (("all", range(7)), ("final", [6]), (1, [6]), (2, [0, 6]), (3, [0, 3, 6]), (4, [0, 2, 4, 6]),
                       (7, range(7))):
        assert saved_times(save, grid)[0].tolist() == list(kept)


@given(st.integers(1, 20), st.lists(st.floats(0.0, 1.0), min_size=1, max_size=8, unique=True))
def test_saved_times_off_the_grid_are_behind_its_points(steps, fractions):
    grid = time_grid((0.1, 0.7), steps)
    times = 0.1 + 0.6 * np.sort(fractions)
    if (np.diff(times) <= 1e-8).any():
        return
    kept, offset = saved_times(times, grid)
    assert (offset >= 0).all() and np.abs(grid[kept] + offset - times).max() <= 1e-9
    inside = offset > 0
    assert (grid[kept[inside]] < times[inside]).all() and (times[inside] < grid[kept[inside] + 1]).all()


BAD_SAVES = [
    ("last", ValueError, 'save must be "all", "final", a number of times, or an array of times; got \'last\''),
    (0, ValueError, "save must be at least 1"),
    (True, TypeError, r"save must be a whole number, got True \(bool\)"),
    (1.5, TypeError, r"save must be a whole number, got 1.5 \(float\)"),
    (None, TypeError, "save must be a whole number, got None"),
    ([], ValueError, r"save as times must be an increasing array, got \[\]"),
    ([[0.5]], ValueError, "save as times must be an increasing array"),
    ([0.5, 0.25], ValueError, "save as times must be an increasing array"),
    ([0.5, 0.5], ValueError, "save as times must be an increasing array"),
    ([0.5, nan], ValueError, "save as times must be an increasing array"),
    ([nan], ValueError, "save.*nan"),
    ([inf], ValueError, "save=inf is not a time of the run"),
    ([-0.25], ValueError, "save=-0.25 is not a time of the run, which goes from 0.0 to 1.0"),
    ([1.25], ValueError, "save=1.25 is not a time of the run"),
    ([0.5, 0.5 + 1e-12], ValueError, "two times of save=.* are the same point of the grid"),
    (["a"], (TypeError, ValueError), "save.*'a'"),
]


@pytest.mark.parametrize("save, error, message", BAD_SAVES)
def test_saves_off_the_grid_are_refused(save, error, message):
    with pytest.raises(error, match=message):
        sk.simulate(bm, 0.0, steps=4, save=save)


def test_starts_are_one_for_all_paths_or_one_each():
    assert (start(2, None).paths, start(2, 5).paths, start(np.ones(3), None).paths, start(np.ones(3), 3).paths,
            start((1.0, np.ones(4)), None).paths) == (1, 5, 3, 3, 4)
    assert start(2, 5).sample == 2.0 and start((1, np.array([2, 3])), None).sample == (1.0, 2.0)


BAD_STARTS = [
    (nan, None, ValueError, "x0 must be finite, got nan"),
    (inf, None, ValueError, "x0 must be finite, got inf"),
    (np.array([1.0, nan]), None, ValueError, "x0 must be finite, got nan for path 1"),
    ((1.0, nan), None, ValueError, r"x0\[1\] must be finite, got nan"),
    (True, None, TypeError, "x0 must be real numbers, one or one a path; got True"),
    ("a", None, TypeError, "x0 must be real numbers, .*; got 'a'; give a number"),
    (None, None, TypeError, "x0 must be real numbers, .*; got None"),
    (1j, None, TypeError, "x0 must be real numbers, .*; got 1j"),
    ((1.0, "a"), None, TypeError, r"x0\[1\] must be real numbers"),
    ([[1.0, 2.0]], None, TypeError, "x0 must be real numbers, .* a tuple of these for a system"),
    ((), None, ValueError, "x0 is an empty tuple; give a number for each component"),
    (np.zeros(0), None, ValueError, "x0 is empty"),
    (np.zeros(3), 2, ValueError, "x0 holds 3 values, but paths=2; give one for all paths, or one each"),
    ((np.zeros(3), np.zeros(2)), None, ValueError, "x0 holds 2 and 3 values"),
    (0.0, 0, ValueError, "paths must be at least 1 and below .*, got 0"),
    (0.0, -1, ValueError, "paths must be at least 1"),
    (0.0, 1.5, TypeError, r"paths must be a whole number, got 1.5 \(float\)"),
    (0.0, True, TypeError, r"paths must be a whole number, got True \(bool\)"),
    (0.0, 2**40 + 1, ValueError, "paths must be at least 1"),
]


@pytest.mark.parametrize("x0, paths, error, message", BAD_STARTS)
def test_starts_that_do_not_fit_are_refused(x0, paths, error, message):
    sde = sk.SDE(lambda x, t: x, lambda x, t: x)
    with pytest.raises(error, match=message):
        sk.simulate(sde, x0, steps=2, paths=paths)


def test_given_increments_may_leave_out_the_axis_of_one_noise():
    dw = np.arange(6.0).reshape(2, 3)
    assert (increments(dw, 2, 3, 1) == dw[..., None]).all() and (increments(dw[..., None], 2, 3, 1)[..., 0] == dw).all()
    assert increments(dw.T.tolist(), 3, 2, 1).shape == (3, 2, 1)


BAD_NOISES = [
    (np.zeros((5, 2)), ValueError, r"shape \(5, 3, 1\) \(paths, steps, noises\) or \(5, 3\), got \(5, 2\)"),
    (np.zeros((4, 3)), ValueError, r"or \(5, 3\), got \(4, 3\)"),
    (np.zeros((5, 3, 2)), ValueError, r"got \(5, 3, 2\)"),
    (np.zeros(15), ValueError, r"got \(15,\)"),
    (np.full((5, 3), nan), ValueError, "noise holds values that are not finite"),
    ("a", (TypeError, ValueError), "noise.*'a'"),
]


@pytest.mark.parametrize("noise, error, message", BAD_NOISES)
def test_increments_that_do_not_fit_are_refused(noise, error, message):
    with pytest.raises(error, match=message):
        sk.simulate(bm, 0.0, steps=3, paths=5, noise=noise)


def test_increments_of_several_noises_need_their_axis():
    pair = sk.SDE(lambda x, t: 0.0, lambda x, t: (1.0, 2.0))
    with pytest.raises(ValueError, match=r"shape \(5, 3, 2\) \(paths, steps, noises\), got \(5, 3\)"):
        sk.simulate(pair, 0.0, steps=3, paths=5, noise=np.zeros((5, 3)))


# --- random starts

@pytest.fixture(scope="module")
def stats():
    return pytest.importorskip("scipy.stats")


def u_of(seed, stream, path, component):
    """The uniform of a start, written a second time: the noise's counter under the key of tag 2."""
    key = philox((stream, 0, 0, 2), (seed % 2**32, seed // 2**32))[:2]
    return uniform(*philox((path % 2**32, component + 2**24 * (path // 2**32), 0, 0), key)[:2])


@given(strategies.seeds, strategies.streams, st.integers(0, 2**40 - 3))
def test_a_random_start_is_the_function_of_seed_stream_and_path(seed, stream, first):
    begin = start(lambda u, v, w: (u, v, w), 3, seed, stream, first)
    assert (begin.paths, begin.scalar, begin.tensor) == (3, False, False)
    for component, u in enumerate(begin.components):
        assert u.tolist() == [u_of(seed, stream, first + i, component) for i in range(3)]


def test_a_law_starts_where_its_inverse_distribution_function_says(stats):
    u, _, w = start(lambda u, v, w: (u, v, w), 50_000, seed=1).components
    normal, gamma = stats.norm(100.0, 5.0), stats.gamma(2.0)
    alone = start(normal, 50_000, seed=1)
    assert alone.scalar and (alone.components[0] == normal.ppf(u)).all()
    assert_gaussian(alone.components[0], 100.0, 25.0)
    mixed = start((normal, 0.04, gamma), 50_000, seed=1)
    assert not mixed.scalar and (mixed.components[1] == 0.04).all()
    assert (mixed.components[0] == normal.ppf(u)).all() and (mixed.components[2] == gamma.ppf(w)).all()
    assert_law(mixed.components[2], lambda x: gammainc(2.0, x))
    assert (start(stats.poisson(3.0), 100, seed=1).components[0] == stats.poisson(3.0).ppf(u[:100])).all()


def test_a_tuple_holds_numbers_arrays_and_laws(stats):
    given_ = np.arange(4.0)
    begin = start((2, given_, stats.norm(), ndtri, lambda u: 2 * u, SimpleNamespace(icdf=lambda u: -u)), 4, seed=3)
    assert len(begin.components) == 6 and begin.components[0] == [2.0] and (begin.components[1] == given_).all()
    expected = [ndtri, ndtri, lambda u: 2 * u, lambda u: -u]
    for k, function in enumerate(expected, start=2):
        u = np.array([u_of(3, 0, i, k) for i in range(4)])
        assert np.abs(begin.components[k] - function(u)).max() <= 16 * EPS


def test_a_function_of_uniforms_may_make_its_components_dependent():
    disc = lambda u, v, radius=2.0: (radius * u**0.5 * np.cos(2 * np.pi * v), radius * u**0.5 * np.sin(2 * np.pi * v))
    x, y = start(disc, 50_000, seed=4).components
    assert_law((x**2 + y**2) / 4.0, lambda r: r)
    assert_law(np.arctan2(y, x), lambda a: (a + math.pi) / (2 * math.pi))
    assert_near((x * y).mean(), 0.0, (2.0 / 3.0 / 50_000) ** 0.5)  # E r^4 E sin^2 cos^2 = (16/3)(1/8)


@pytest.mark.parametrize("x0", [ndtri, lambda u: u**2, (ndtri, 1.0), lambda u, v: (u, ndtri(v))])
@pytest.mark.parametrize("begin, end", [(0, 1), (17, 20), (99, 100), (99, 101), (40, 200)])
def test_a_path_starts_at_the_same_place_alone_as_among_others(x0, begin, end, monkeypatch):
    edge = 2**32 - 100
    whole = start(x0, 200, seed=5, stream=1, first=edge)
    monkeypatch.setattr(starts, "BLOCK", 7)
    part = start(x0, end - begin, seed=5, stream=1, first=edge + begin)
    for all_, some in zip(whole.components, part.components):
        assert (np.broadcast_to(all_, 200)[begin:end] == some).all()


def test_random_starts_are_independent_of_all_noise():
    n = 100_000
    x, second = start(lambda u, v: (ndtri(u), ndtri(v)), n, 7).components
    others = [second, *start(ndtri, n, 8).components, *start(ndtri, n, 7, 1).components, np.roll(x, 1),
              *sk.normals(7, paths=n, steps=2)[..., 0].T, sk.normals(7, paths=n, slot=1).ravel(),
              ndtri(uniforms(7, paths=n)).ravel()]
    for y in others:
        for product, variance in ((x * y, 1), ((x**2 - 1) * (y**2 - 1), 4), (x * (y**2 - 1), 2), ((x**2 - 1) * y, 2)):
            assert_near(product.mean(), 0.0, (variance / n) ** 0.5)
    assert_law(x, ndtr)


def test_a_function_may_start_tensors():
    torch = pytest.importorskip("torch")
    begin = start(lambda u, v: torch.stack([torch.as_tensor(u), torch.as_tensor(v)], 1), 5, seed=1)
    assert begin.tensor and begin.components[0].shape == (5, 2)
    assert begin.components[0][4, 1].item() == u_of(1, 0, 4, 1)


BAD_LAWS = [  # x0, what start() is told, error, message
    (ndtri, {"paths": None}, TypeError, "paths is missing: x0 is random, so say how many paths start from it"),
    ((1.0, ndtri, np.zeros(4)), {"paths": None}, TypeError, "paths is missing"),
    (ndtri, {"seed": None}, TypeError, "a random x0 needs a seed"),
    (ndtri, {"paths": 0}, ValueError, "paths must be at least 1"),
    (ndtri, {"seed": -1}, ValueError, "seed must be at least 0"),
    (ndtri, {"stream": 2**32}, ValueError, "stream must be at least 0"),
    (ndtri, {"first": 2**40 - 3}, ValueError, "first must be at least 0"),
    (ndtri, {"first": 1.5}, TypeError, "first must be a whole number"),
    (lambda: 1.0, {}, TypeError, "x0 is a function, but not of uniforms: .*; it must take one or several arrays"),
    (lambda *u: u, {}, TypeError, "x0 is a function, but not of uniforms"),
    (max, {}, TypeError, "x0 is a function, but not of uniforms: <built-in function max>"),
    (np.random.default_rng(1).normal, {}, TypeError, "x0 is a function, but not of uniforms"),
    ((1.0, lambda u, v: u), {}, TypeError, r"x0\[1\] is a function of 2 uniforms; in a tuple each takes one"),
    (lambda u: u[:2], {}, ValueError, "x0 holds 2 values, but paths=4"),
    (lambda u: [u, u], {}, TypeError, "x0 must be real numbers, .*tuple"),
    (lambda u: None, {}, TypeError, "x0 must be real numbers, .*; got None"),
    (lambda u: np.where(u < 2, nan, u), {}, ValueError, "x0 must be finite, got nan for path 0"),
    (lambda u: (u, 1.0 / (u * 0 + inf) + inf), {}, ValueError, r"x0\[1\] must be finite, got inf"),
    (SimpleNamespace(ppf=lambda u: u[:3]), {}, ValueError, r"x0 is a law whose ppf gave \(3,\) for \(4,\) uniforms"),
]


@pytest.mark.parametrize("x0, how, error, message", BAD_LAWS)
def test_laws_that_give_no_starts_are_refused(x0, how, error, message):
    with pytest.raises(error, match=message):
        start(x0, **{"paths": 4, "seed": 1, **how})


@pytest.mark.parametrize("law, message", [
    (lambda stats: stats.multivariate_normal([0.0, 0.0]),
     r"x0 is a law without an inverse .*multivariate_normal_frozen has no ppf.*x0=lambda u, v: \(m\[0\] \+ L\[0, 0\]"),
    (lambda stats: (1.0, stats.dirichlet([1.0, 2.0])), r"x0\[1\] is a law without an inverse distribution function"),
    (lambda stats: stats.gaussian_kde(np.arange(5.0)), "x0 is a law without an inverse .*gaussian_kde has no ppf"),
    (lambda stats: stats.gamma, "x0 is a family of laws without its parameters.*give one law of it"),
    (lambda stats: (1.0, stats.norm), r"x0\[1\] is a family of laws without its parameters"),
    (lambda stats: stats.norm([0.0, 1.0, 2.0], 1.0), r"x0 is a law that does not give one number for each uniform"),
])
def test_distributions_without_one_number_for_each_uniform_are_refused(stats, law, message):
    with pytest.raises(TypeError, match=message):
        start(law(stats), 4, seed=1)


def test_the_gaussian_that_the_error_suggests_has_its_covariance():
    """What to write instead of multivariate_normal."""
    m, C = np.array([1.0, -2.0]), np.array([[2.0, 0.6], [0.6, 0.5]])
    L = np.linalg.cholesky(C)
    x0 = lambda u, v: (m[0] + L[0, 0] * ndtri(u), m[1] + L[1, 0] * ndtri(u) + L[1, 1] * ndtri(v))
    x = np.stack(start(x0, 50_000, seed=6).components)
    for i in range(2):
        assert_gaussian(x[i], m[i], C[i, i])
    product = (x[0] - m[0]) * (x[1] - m[1])
    assert_near(product.mean(), C[0, 1], ((C[0, 0] * C[1, 1] + C[0, 1] ** 2) / 50_000) ** 0.5)
