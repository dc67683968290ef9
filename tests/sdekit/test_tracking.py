"""What is recorded along a path: its extremes, its integral, when it first reached a level."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.special import kolmogi, ndtr

import sdekit as sk
from sdekit import array_engine, work
from tests.conftest import ALARM, array, assert_gaussian, assert_law, assert_near, rounding

SIGMA, UP, DOWN, N = 1.5, 1.4, -1.1, 20_000
bm = sk.BrownianMotion(sigma=SIGMA)
GRID = np.array([0.0, 0.5, 0.75, 1.5, 2.0])
TRACK = {"high": sk.maximum(), "low": sk.minimum(), "area": sk.integral(), "up": sk.first_passage(UP),
         "down": sk.first_passage(DOWN)}
PLAIN = {"high": sk.maximum(bridge=False), "low": sk.minimum(bridge=False),
         "up": sk.first_passage(UP, bridge=False), "down": sk.first_passage(DOWN, bridge=False)}


def same(a, b):
    return a.shape == b.shape and (a.view(np.int64) == b.view(np.int64)).all()


def run(backend, track=None, **how):
    return sk.simulate(**({"sde": bm, "x0": 0.0, "t": GRID, "paths": 600, "seed": 21, "track": track or TRACK,
                           "backend": backend} | how))


@pytest.fixture(scope="module")
def many():
    return run("numpy", paths=N)


# --- Brownian motion, where all is known ----------------------------------------------------------------------------


def test_the_maximum_and_the_minimum_have_the_law_of_the_modulus(many):
    """max W, s <= t, is distributed as |W(t)| (the reflection principle), on any grid, at each of its times."""
    root = SIGMA * GRID[1:] ** 0.5
    for extreme in (many.tracked["high"], -many.tracked["low"]):
        assert (extreme[:, 0] == 0.0).all()
        assert_law(extreme[:, 1:] / root, lambda m: 2.0 * ndtr(m) - 1.0)


def test_the_maximum_and_the_end_have_their_joint_law(many):
    """P(max > m | W(t) = w) = exp(-2 m (m - w) / (sigma^2 t)), so that this number at m = max is uniform."""
    high, x = many.tracked["high"][:, 1:], many.x[:, 1:]
    assert_law(np.exp(-2.0 * high * (high - x) / (SIGMA**2 * GRID[1:])), lambda u: u)


def test_the_bridge_looks_between_the_points_of_the_grid(many):
    assert (many.tracked["high"] >= np.maximum.accumulate(many.x, axis=1)).all()
    assert (many.tracked["low"] <= np.minimum.accumulate(many.x, axis=1)).all()
    assert (many.tracked["high"][:, 1:] > np.maximum.accumulate(many.x, axis=1)[:, 1:]).mean() > 0.99


@pytest.mark.parametrize("name, level", [("up", UP), ("down", DOWN)])
def test_a_level_is_reached_by_a_time_of_the_grid_with_the_exact_probability(many, name, level):
    """P(tau <= t) = 2 Phi(-|b| / (sigma sqrt t)). The time within its step is not exact: at the times of the grid."""
    tau, p = many.tracked[name], 2.0 * ndtr(-abs(level) / (SIGMA * GRID[1:] ** 0.5))
    assert_near(np.isfinite(tau[:, 1:]).mean(axis=0), p, np.sqrt(p * (1.0 - p) / N))


def test_a_level_may_be_reached_from_above():
    """From 1, the level 0.2, and from 0.2, the level 1: the same law."""
    p = 2.0 * ndtr(-0.8 / (SIGMA * 2.0**0.5))
    for x0, level in ((1.0, 0.2), (0.2, 1.0)):
        tau = run("numpy", sk.first_passage(level), x0=x0, paths=N, save="final").tracked["first_passage"]
        assert_near(np.isfinite(tau).mean(), p, (p * (1.0 - p) / N) ** 0.5)


def test_the_time_of_the_first_passage_has_its_law_to_a_step():
    """Its distribution function is exact at the points of the grid, so that between them it is off by no more than
    what it rises in a step, beside the bound of Kolmogorov and Smirnov."""
    t, level, n = np.linspace(0.0, 2.0, 101), 1.0, 5000
    F = lambda s: 2.0 * ndtr(-level / (SIGMA * s**0.5))
    tau = run("numpy", sk.first_passage(level), t=t, paths=n, save="final").tracked["first_passage"][:, 0]
    tau = np.sort(tau[np.isfinite(tau)])
    rank = np.arange(1, len(tau) + 1) / n
    step = np.diff(F(t[1:]), prepend=0.0).max()
    assert np.abs(rank - F(tau)).max() <= kolmogi(ALARM) / n**0.5 + step + 1.0 / n
    assert step < 0.05


@pytest.mark.parametrize("name, level", [("up", UP), ("down", DOWN)])
def test_the_time_within_its_step_is_that_of_the_formula(backend, name, level):
    paths = run(backend)
    x, tau = array(paths.x), array(paths.tracked[name])
    end = tau[:, -1]
    for k, (t, u) in enumerate(pairwise(GRID)):
        here = (t < end) & (end <= u)
        before, after = np.abs(level - x[here, k]), np.abs(level - x[here, k + 1])
        assert here.sum() > 5
        assert np.abs(end[here] - (t + (u - t) * before / (before + after))).max() <= rounding(1, GRID)
        assert (tau[here, :k + 1] == np.inf).all() and (tau[here, k + 1:] == end[here, None]).all()
    crossed = ((x - level) * np.sign(level) >= 0.0).any(axis=1)
    assert np.isfinite(end[crossed]).all() and np.isfinite(end).sum() > crossed.sum()


def test_a_path_that_begins_at_the_level_has_reached_it(backend):
    tau = array(run(backend, x0=UP, t=(3.0, 4.0), steps=2).tracked["up"])
    assert (tau == 3.0).all()


def test_the_integral_is_the_trapezoidal_rule(backend):
    paths = run(backend)
    x, area = array(paths.x), array(paths.tracked["area"])
    exact = np.pad(np.cumsum(np.diff(GRID) * (x[:, 1:] + x[:, :-1]) / 2.0, axis=1), ((0, 0), (1, 0)))
    assert np.abs(area - exact).max() <= rounding(4, exact)


def test_the_integral_of_brownian_motion_is_gaussian():
    """int_0^t W ds ~ N(0, t^3/3); by the trapezoidal rule on equal steps, sum_j (t - t_j - h/2) dW_j, of the variance
    h sum_j (h (j + 1/2))^2 = t^3/3 - t h^2/12."""
    area = run("numpy", sk.integral(), t=2.0, steps=5, paths=N, save="final").tracked["integral"][:, 0]
    assert_gaussian(area, 0.0, SIGMA**2 * (2.0**3 / 3.0 - 2.0 * 0.4**2 / 12.0))


# --- any SDE --------------------------------------------------------------------------------------------------------


def test_without_the_bridge_it_is_what_the_points_of_the_grid_say(backend):
    paths = run(backend, PLAIN)
    x = array(paths.x)
    assert same(array(paths.tracked["high"]), np.maximum.accumulate(x, axis=1))
    assert same(array(paths.tracked["low"]), np.minimum.accumulate(x, axis=1))
    for name, level in (("up", UP), ("down", DOWN)):
        tau, reached = array(paths.tracked[name]), np.maximum.accumulate((x - level) * np.sign(level) >= 0.0, axis=1)
        assert (np.isfinite(tau) == reached).all() and reached[:, -1].any() and not reached[:, -1].all()


def _drift(x, t):
    u, v = x
    return -v, u


def _noise(x, t, s):
    return (0.6, 0.8), (s, 0.0)


system = sk.SDE(_drift, _noise, s=0.5)
ONE_EACH = {"u high": sk.maximum(0), "v low": sk.minimum(1), "v area": sk.integral(1), "v up": sk.first_passage(0.6, 1)}


def of_system(backend, **how):
    return sk.simulate(**({"sde": system, "x0": (0.2, -0.1), "t": GRID, "paths": 600, "seed": 21, "track": ONE_EACH,
                           "backend": backend} | how))


def test_a_component_of_a_system_has_the_variance_of_its_row():
    """u = (3 W + 4 W')/5 and v = W/2: without a drift, Brownian motions of variance 1 and 1/4."""
    flat = sk.SDE(lambda x, t: (0.0, 0.0), _noise, s=0.5)
    paths = of_system("numpy", sde=flat, x0=(0.0, 0.0), paths=N)
    root = GRID[1:] ** 0.5
    assert_law(paths.tracked["u high"][:, 1:] / root, lambda m: 2.0 * ndtr(m) - 1.0)
    assert_law(-paths.tracked["v low"][:, 1:] / (0.5 * root), lambda m: 2.0 * ndtr(m) - 1.0)
    p = 2.0 * ndtr(-0.6 / (0.5 * 2.0**0.5))
    assert_near(np.isfinite(paths.tracked["v up"][:, -1]).mean(), p, (p * (1.0 - p) / N) ** 0.5)
    v = paths.x[..., 1]
    exact = np.cumsum(np.diff(GRID) * (v[:, 1:] + v[:, :-1]) / 2.0, axis=1)
    assert np.abs(paths.tracked["v area"][:, 1:] - exact).max() <= rounding(4, exact)


@pytest.mark.parametrize("case", [run, of_system], ids=["a number", "a system"])
def test_every_execution_records_the_same_numbers_to_rounding(case, backend):
    ours, numpys = case(backend), case("numpy")
    assert list(ours.tracked) == list(numpys.tracked)
    for name, values in numpys.tracked.items():
        theirs = array(ours.tracked[name])
        assert theirs.shape == values.shape == (600, 5) and (np.isfinite(theirs) == np.isfinite(values)).all()
        there = np.isfinite(values)
        assert np.abs(theirs[there] - values[there]).max() <= rounding(64, values[there])


@pytest.mark.parametrize("case", [run, of_system], ids=["a number", "a system"])
def test_what_is_tracked_leaves_the_path_alone(case):
    x = array(case("numpy").x)
    untracked = array(case("numpy", track=[]).x)
    assert same(x, untracked)


@pytest.mark.parametrize("case", [run, of_system], ids=["a number", "a system"])
def test_what_is_tracked_never_changes_with_company_threads_or_what_is_saved(case, backend, monkeypatch):
    whole = case(backend, threads=1)
    final, part = case(backend, save="final"), case(backend, first=255, paths=3)
    for k in (0, 256, 599):
        alone = whole.replay(k)
        assert all(same(array(alone.tracked[name])[0], array(v)[k]) for name, v in whole.tracked.items())
    monkeypatch.setattr(array_engine, "BLOCK", 7)
    monkeypatch.setattr(array_engine, "DRAWS", 1)
    if backend == "numba":
        monkeypatch.setattr("sdekit.numba_engine.CHUNK", 1)
    again = case(backend, threads=3)
    for name, values in whole.tracked.items():
        assert same(array(again.tracked[name]), array(values))
        assert same(array(final.tracked[name])[:, 0], array(values)[:, -1])
        assert same(array(part.tracked[name]), array(values)[255:258])


def test_a_level_given_again_needs_no_new_function():
    sk.simulate(bm, 0.0, steps=2, track=[sk.first_passage(0.25)])
    before = work._step.cache_info().misses
    sk.simulate(bm, 0.0, steps=2, track=[sk.first_passage(0.25)])
    assert work._step.cache_info().misses == before


def test_an_ode_is_tracked_on_its_grid():
    paths = sk.integrate(sk.ODE(lambda x, t: np.cos(t)), 0.0, t=2.0, steps=5,
                         track=[sk.maximum(bridge=False), sk.integral()])
    assert same(array(paths.tracked["maximum"]), np.maximum.accumulate(array(paths.x), axis=1))
    assert abs(float(paths.tracked["integral"][0, -1]) - (1.0 - np.cos(2.0))) < 2.0 * 0.4**2 / 12.0 * 2.0


def test_trackers_have_the_names_of_their_kinds_or_those_they_are_given():
    few = lambda track: list(sk.simulate(bm, 0.0, steps=1, track=track).tracked)
    assert few([sk.maximum(), sk.minimum(), sk.integral(), sk.first_passage(1.0)]) == ["maximum", "minimum", "integral",
                                                                                       "first_passage"]
    assert few({"a": sk.maximum(), "b": sk.maximum()}) == ["a", "b"]
    assert few(sk.integral()) == ["integral"] and few(None) == few([]) == []


BAD = [
    ({"track": [sk.maximum(), sk.maximum(bridge=False)]}, ValueError, r"two of \['maximum', 'maximum'\] have the same"),
    ({"track": sk.maximum(1)}, ValueError, "maximum of component 1: there are 1, numbered from 0"),
    ({"track": {"m": sk.minimum(-1)}}, ValueError, "m of component -1: there are 1"),
    ({"track": ["maximum"]}, TypeError, r"track takes maximum\(\), minimum\(\).*got 'maximum'"),
    ({"track": {"m": 3}}, TypeError, "track takes .*got 3"),
    ({"track": sk.integral(), "x0": np.zeros((2, 3))}, ValueError, "track= and nonfinite='stop' work on numbers"),
]


@pytest.mark.parametrize("how, error, message", BAD, ids=[message for *_, message in BAD])
def test_what_cannot_be_tracked_is_refused(how, error, message):
    with pytest.raises(error, match=message):
        sk.simulate(**({"sde": bm, "x0": 0.0, "steps": 2} | how))


def test_a_bridge_needs_noise_and_a_level_a_number():
    with pytest.raises(ValueError, match="an ODE has no noise between the points of the grid: track with bridge=False"):
        sk.integrate(sk.ODE(lambda x, t: x), 1.0, steps=2, track=sk.maximum())
    with pytest.raises(ValueError, match="level must be a finite number, got inf"):
        sk.first_passage(np.inf)


def _wall(x, t):
    return np.where(x > 1.5, np.inf, 0.0)


def _one(x, t):
    return 1.0


def test_what_is_tracked_stays_where_its_path_was_stopped(backend):
    paths = sk.simulate(sk.SDE(_wall, _one), 0.0, t=4.0, steps=16, paths=300, seed=2, nonfinite="stop",
                        track={"high": sk.maximum(), "low": sk.minimum()}, backend=backend)
    x = array(paths.x)
    still = x[:, 1:] == x[:, :-1]
    assert 50 < paths.info["stopped"] == still[:, -1].sum() < 250
    for name in paths.tracked:
        values = array(paths.tracked[name])
        assert np.isfinite(values).all() and (values[:, 1:] == values[:, :-1])[still].all()


@pytest.mark.parametrize("steps", [1, 12])
def test_on_geometric_brownian_motion_the_bridge_is_one_of_the_logarithm(steps):
    """P(max S >= b) by the reflection principle with drift, however coarse the grid."""
    mu, sigma, b, n = 0.05, 0.5, np.log(1.2), 40_000
    a = mu - sigma**2 / 2
    exact = ndtr((a - b) / sigma) + np.exp(2 * a * b / sigma**2) * ndtr((-a - b) / sigma)
    paths = sk.simulate(sk.GeometricBrownianMotion(mu, sigma), 100.0, steps=steps, paths=n, seed=31, save="final",
                        track=[sk.first_passage(120.0), sk.maximum()])
    hit = np.isfinite(paths.tracked["first_passage"][:, -1])
    assert_near(hit.mean(), exact, (exact * (1 - exact) / n) ** 0.5)
    assert (hit == (paths.tracked["maximum"][:, -1] >= 120.0)).all()


def test_a_level_was_passed_exactly_if_the_extreme_is_beyond_it(backend):
    track = {"up": sk.first_passage(0.7), "down": sk.first_passage(-0.7), "high": sk.maximum(), "low": sk.minimum()}
    found = sk.simulate(sk.BrownianMotion(), 0.0, steps=6, paths=3000, seed=32, backend=backend, track=track).tracked
    up, down, high, low = (array(found[name]) for name in track)
    assert (np.isfinite(up) == (high >= 0.7)).all() and (np.isfinite(down) == (low <= -0.7)).all()


def test_another_level_needs_no_other_kernel():
    run = lambda level: sk.simulate(sk.BrownianMotion(), 0.0, steps=2, seed=1, backend="numba",
                                    track=sk.first_passage(level))
    run(0.5)
    before = work._kernel.cache_info().misses
    run(0.6)
    assert work._kernel.cache_info().misses == before
