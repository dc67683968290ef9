"""Grids: levels by their formulas, falling noise, and nobody else owns a step size."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import diffusion as df
from diffusion.grid import default
from diffusion.process import Level
from tests.conftest import rounding
from tests.diffusion.problems import PROCESSES, WALK, ZERO_TERMINAL
from tests.strategies import numbers


def column(grid, name):
    return np.array([getattr(level, name) for level in grid])


@given(st.integers(1, 40), numbers(0.001, 0.5), numbers(1.0, 80.0), numbers(1.0, 10.0))
def test_edm_levels_are_equally_spaced_in_the_rho_th_root(steps, low, high, rho):
    """Karras et al. 2022, eq. 5: sigma_i = (sigma_max^(1/rho) + i/N (sigma_min^(1/rho) - sigma_max^(1/rho)))^rho."""
    grid = df.grid.edm(steps, low, high, rho)
    i = np.arange(steps + 1) / steps
    exact = (high ** (1 / rho) + i * (low ** (1 / rho) - high ** (1 / rho))) ** rho
    sigma = column(grid, "sigma")
    assert np.abs(sigma - exact).max() <= rounding(rho, high)  # the rho-th power magnifies by rho
    assert (column(grid, "alpha") == 1).all() and (column(grid, "time") == sigma).all()
    assert len(grid) == steps and isinstance(grid.process, df.EDM)


def test_edm_begins_at_40_and_ends_at_one_fiftieth():
    sigma = column(df.grid.edm(18), "sigma")
    assert sigma[0] == pytest.approx(40, rel=1e-14) and sigma[-1] == pytest.approx(0.02, rel=1e-14)


@given(st.integers(1, 40), st.sampled_from([df.VP(), df.VP(0.1, 5.0), df.EDM()]))
def test_uniform_levels_are_equal_steps_in_time(steps, process):
    grid = df.grid.uniform(process, steps)
    low, high = process.span
    time = column(grid, "time")
    np.testing.assert_allclose(time, high + (low - high) * np.arange(steps + 1) / steps, atol=rounding(2, high))
    assert time[0] == high and time[-1] == low
    assert column(grid, "alpha").tolist() == [process.alpha(t) for t in time]
    assert column(grid, "sigma").tolist() == [process.sigma(t) for t in time]
    assert grid.process is process


def test_uniform_takes_another_span():
    assert column(df.grid.uniform(df.EDM(), 4, (1.0, 5.0)), "time").tolist() == [5, 4, 3, 2, 1]


every_process = pytest.mark.parametrize("process", PROCESSES, ids=repr)


@every_process
def test_edm_s_rule_serves_every_process(process):
    """The noise levels, not the times, are those of the formula; the ends are those of the process's span."""
    noise = column(df.grid.edm(9, 0.1, 20.0, 5.0, process), "noise")
    np.testing.assert_allclose(noise ** (1 / 5), np.linspace(20 ** (1 / 5), 0.1 ** (1 / 5), 10), rtol=1e-10)
    low, high = (process.level(t).noise for t in process.span)
    if high < math.inf:
        ends = column(df.grid.edm(9, process=process), "noise")[[0, -1]]
        np.testing.assert_allclose(ends, [high, low], rtol=1e-6)


@every_process
def test_log_snr_levels_are_equal_steps_in_lambda(process):
    span = process.time(0.1), process.time(20.0)
    grid = df.grid.log_snr(process, 9, span)
    np.testing.assert_allclose(np.diff(column(grid, "log")), math.log(200) / 9, rtol=1e-8)
    assert (grid.levels[0].time, grid.levels[-1].time) == span[::-1]


@every_process
def test_quadratic_levels_are_equal_steps_in_the_root_of_time(process):
    low, high = process.span
    times = column(df.grid.quadratic(process, 9), "time")
    np.testing.assert_allclose(times**0.5, np.linspace(high**0.5, low**0.5, 10), rtol=1e-12)
    assert times[0] == high and times[-1] == low


@every_process
@pytest.mark.parametrize("make", [
    df.grid.uniform, df.grid.quadratic, lambda p, n: df.grid.edm(n, 0.1, 20.0, process=p),
    lambda p, n: df.grid.log_snr(p, n, (p.time(0.1), p.time(20.0)))])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_levels_are_the_process_s_own(process, make, steps):
    """A grid cannot disagree with its process about alpha and sigma at a time."""
    grid = make(process, steps)
    assert len(grid) == steps and grid.process is process
    assert all(level == process.level(level.time) for level in grid)
    assert (np.diff(column(grid, "noise")) < 0).all()


def test_a_custom_grid_has_the_times_it_is_given():
    grid = df.grid.custom(df.VP(), [0.9, 0.5, 0.05])
    assert column(grid, "time").tolist() == [0.9, 0.5, 0.05] and grid.process.alpha(0.5) == grid.levels[1].alpha


@given(st.integers(2, 300), st.data())
def test_leading_and_trailing_times_are_those_of_lin(T, data):
    """Lin et al. 2024, table 2, for S = N + 1 evaluations: arange(0, S) floor(T/S) + 1, and round(T - k T/S)."""
    steps = data.draw(st.integers(1, T - 1))
    walk, S = df.Discrete(np.full(T, 0.01)), steps + 1
    leading, trailing = df.grid.leading(walk, steps), df.grid.trailing(walk, steps)
    assert column(leading, "time").tolist() == [1 + k * (T // S) for k in range(S)][::-1]
    times = column(trailing, "time")
    assert (times == times.round()).all() and np.abs(times - (T - np.arange(S) * T / S)).max() <= 0.5 + 1e-9
    assert leading.levels[-1].time == 1 and trailing.levels[0].time == T


def test_no_step_size_but_the_grid_s_own_where_n_does_not_divide_t():
    """17 steps of 1000: the whole times are neighbours' differences, ends included; nothing is off by a step."""
    grid = df.grid.linspace(WALK, 17)
    times = column(grid, "time")
    assert times[0] == 1000 and times[-1] == 1 and (times == times.round()).all()
    assert np.abs(times - np.linspace(1000, 1, 18)).max() <= 0.5


def test_a_zero_terminal_walk_begins_at_pure_noise():
    grid = df.grid.trailing(ZERO_TERMINAL, 9)
    assert grid.levels[0].alpha == 0 and grid.levels[0].noise == math.inf
    assert df.grid.uniform(df.RectifiedFlow(), 3).levels[0].alpha == 0


def test_evaluations_are_counted_before_a_run():
    grid = df.grid.edm(18)
    assert (grid.nfe(), grid.nfe(2), grid.nfe(close=False), grid.nfe(4, close=False)) == (19, 37, 18, 72)
    assert "19 evaluations at one a step, 37 at two" in str(grid)


def test_discrete_levels_are_products_of_betas():
    """alpha_t^2 = prod_{s <= t} (1 - beta_s), times T, ..., 1; the walk alpha_t = sqrt(1 - beta_t) alpha_{t-1}."""
    betas = df.linear_betas(50, 0.001, 0.3)
    walk = df.Discrete(betas)
    grid = df.grid.linspace(walk)
    time, alpha, sigma = (column(grid, name) for name in ("time", "alpha", "sigma"))
    assert time.tolist() == list(range(50, 0, -1)) and grid.process is walk
    np.testing.assert_allclose(alpha**2 + sigma**2, 1, rtol=1e-14)
    np.testing.assert_allclose(alpha[:-1] / alpha[1:], np.sqrt(1 - betas[:0:-1]), rtol=1e-14)
    assert alpha[-1] ** 2 == pytest.approx(1 - betas[0], rel=1e-14)


@given(st.integers(2, 60), st.data())
def test_fewer_discrete_steps_are_some_of_the_walk_s_levels(T, data):
    steps = data.draw(st.integers(1, T - 1))
    walk = df.Discrete(np.linspace(0.001, 0.2, T))
    every = {level.time: level for level in df.grid.linspace(walk)}
    grid = df.grid.linspace(walk, steps)
    assert len(grid) == steps
    assert grid.levels[0].time == T and grid.levels[-1].time == 1
    assert all(level == every[level.time] for level in grid)
    gaps = -np.diff(column(grid, "time"))
    assert gaps.max() - gaps.min() <= 2 and gaps.min() >= 1  # rounding moves either end by a half


def test_a_thousand_steps_of_the_walk_do_not_exist_between_a_thousand_times():
    with pytest.raises(ValueError, match="has 1000 times, so at most 999 steps; got 1000"):
        df.grid.linspace(WALK, 1000)


def test_the_default_grid_is_edm_s_or_equal_steps():
    for process in (None, df.EDM()):
        assert default(process, 5).levels == df.grid.edm(5).levels
    vp = df.VP()
    assert default(vp, 5) == df.grid.uniform(vp, 5) and default(WALK, 5) == df.grid.linspace(WALK, 5)


def test_a_grid_cannot_be_changed():
    grid = df.grid.edm(3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        grid.name = "other"
    with pytest.raises(dataclasses.FrozenInstanceError):
        grid.levels[0].sigma = 1.0
    with pytest.raises(TypeError):
        grid.levels[0] = grid.levels[1]


def level(alpha, sigma):
    return Level(sigma, alpha, sigma)


@pytest.mark.parametrize("levels", [
    (level(1, 1), level(1, 2)), (level(1, 1), level(1, 1)), (level(1, 1), level(1, 0)), (level(0, 1), level(0, 0.5)),
    (level(1, 1), level(0, 0.5)), (level(-1, 1), level(1, 0.5)), (level(1, float("nan")), level(1, 0.5)),
    (level(1, 1), level(1, float("nan"))), (level(1, 3), level(1, 2), level(1, -1)), (level(1, 1), level(0.5, 0.6))])
def test_noise_must_fall_and_stay_above_nought(levels):
    with pytest.raises(ValueError, match="noise must fall along a grid and stay above 0"):
        df.Grid("made", levels, df.EDM())


@pytest.mark.parametrize("levels", [(), (level(1, 1),)])
def test_a_grid_has_a_step(levels):
    with pytest.raises(ValueError, match=f"at least one step, two levels; got {len(levels)}"):
        df.Grid("made", levels, df.EDM())


@pytest.mark.parametrize("steps", [0, -1, 1.5, True, "3", None])
@pytest.mark.parametrize("make", [
    df.grid.edm, lambda steps: df.grid.uniform(df.VP(), steps), lambda steps: df.grid.quadratic(df.VP(), steps),
    lambda steps: df.grid.log_snr(df.VP(), steps)])
def test_steps_are_whole_and_positive(make, steps):
    with pytest.raises(ValueError, match=f"steps must be a whole number of at least 1, got {steps!r}"):
        make(steps)


@pytest.mark.parametrize("make, error, message", [
    (lambda: df.grid.edm(5, 0.0), ValueError, "edm needs noise levels 0 < sigma_min < sigma_max, finite; got 0 and 40"),
    (lambda: df.grid.edm(5, 2.0, 1.0), ValueError, "edm needs noise levels"),
    (lambda: df.grid.edm(5, 0.1, math.nan), ValueError, "edm needs noise levels"),
    (lambda: df.grid.edm(5, rho=0.0), ValueError, "rho must be positive, got 0.0"),
    (lambda: df.grid.edm(5, process=df.Cosine()), ValueError, "edm needs .* got .* and inf; give sigma_max"),
    (lambda: df.grid.edm(5, sigma_max=200.0, process=df.VP()), ValueError, "goes from 0 to .* and never is 200.0"),
    (lambda: df.grid.uniform(df.VP(), 5, (0.0, 1.0)), ValueError, "noise must fall along a grid and stay above 0"),
    (lambda: df.grid.uniform(df.EDM(), 5, (5.0, 1.0)), ValueError, r"the span of a grid is \(start, end\) within"),
    (lambda: df.grid.uniform(df.VP(), 5, (0.1, 1.1)), ValueError, "the span of a grid is .* got .0.1, 1.1"),
    (lambda: df.grid.uniform(df.VP(), 5, (-0.1, 1.0)), ValueError, "the span of a grid"),
    (lambda: df.grid.uniform(df.VP(), 5, (math.nan, 1.0)), ValueError, "the span of a grid"),
    (lambda: df.grid.uniform("vp", 5), TypeError, "a grid needs a process, such as EDM"),
    (lambda: df.grid.log_snr(df.RectifiedFlow(), 5), ValueError, "has no equal steps from alpha = 0, at t = 1"),
    (lambda: df.grid.log_snr(df.VP(), 5, (0.0, 1.0)), ValueError, "a grid ends at sigma > 0"),
    (lambda: df.grid.linspace(df.VP(), 5), TypeError, "whole times are those of a walk, Discrete"),
    (lambda: df.grid.leading(df.VP(), 5), TypeError, "whole times are those of a walk"),
    (lambda: df.grid.trailing(WALK, 1000), ValueError, "has 1000 times, so at most 999 steps; got 1000"),
    (lambda: df.grid.leading(WALK, 0), ValueError, "steps must be a whole number of at least 1, got 0"),
    (lambda: df.grid.custom(df.VP(), [0.5, 0.9, 0.1]), ValueError, r"noise must fall along a grid .* give times"),
    (lambda: df.grid.custom(df.VP(), [0.9, 0.5, 0.5]), ValueError, "noise must fall along a grid"),
    (lambda: df.grid.custom(df.VP(), [1.2, 0.5]), ValueError, "runs from t = 0 to 1, and has no time 1.2"),
    (lambda: df.grid.custom(df.VP(), [0.5, 0.0]), ValueError, "noise must fall along a grid and stay above 0"),
    (lambda: df.grid.custom(df.VP(), [math.nan, 0.5]), ValueError, "has no time nan"),
    (lambda: df.grid.custom(df.VP(), [[0.9, 0.5]]), ValueError, "times are a list of numbers, got an array of shape"),
    (lambda: df.grid.custom(df.VP(), [0.9]), ValueError, "a grid needs at least one step, two levels; got 1"),
])
def test_what_makes_no_grid_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_its_repr_tells_its_ends():
    assert repr(df.grid.edm(7)) == "Grid('edm', 7 steps, sigma/alpha from 40 to 0.02)"
