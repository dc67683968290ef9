"""Grids: levels by their formulas, falling noise, and nobody else owns a step size."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import diffusion as df
from diffusion.grid import Level, default_grid
from tests.conftest import rounding
from tests.strategies import numbers


def column(grid, name):
    return np.array([getattr(level, name) for level in grid])


@given(st.integers(1, 40), numbers(0.001, 0.5), numbers(1.0, 100.0), numbers(1.0, 10.0))
def test_edm_levels_are_equally_spaced_in_the_rho_th_root(steps, low, high, rho):
    """Karras et al. 2022, eq. 5: sigma_i = (sigma_max^(1/rho) + i/N (sigma_min^(1/rho) - sigma_max^(1/rho)))^rho."""
    grid = df.Grid.edm(steps, low, high, rho)
    i = np.arange(steps + 1) / steps
    exact = (high ** (1 / rho) + i * (low ** (1 / rho) - high ** (1 / rho))) ** rho
    sigma = column(grid, "sigma")
    assert np.abs(sigma - exact).max() <= rounding(rho, high)  # the rho-th power magnifies by rho
    assert (column(grid, "alpha") == 1).all() and (column(grid, "time") == sigma).all()
    assert len(grid) == steps and isinstance(grid.process, df.EDM)


def test_edm_begins_at_40_and_ends_at_one_fiftieth():
    sigma = column(df.Grid.edm(18), "sigma")
    assert sigma[0] == pytest.approx(40, rel=1e-14) and sigma[-1] == pytest.approx(0.02, rel=1e-14)


@given(st.integers(1, 40), st.sampled_from([df.VP(), df.VP(0.1, 5.0), df.EDM()]))
def test_uniform_levels_are_equal_steps_in_time(steps, process):
    grid = df.Grid.uniform(process, steps)
    low, high = process.span
    time = column(grid, "time")
    np.testing.assert_allclose(time, high + (low - high) * np.arange(steps + 1) / steps, atol=rounding(2, high))
    assert time[0] == high and time[-1] == low
    assert column(grid, "alpha").tolist() == [process.alpha(t) for t in time]
    assert column(grid, "sigma").tolist() == [process.sigma(t) for t in time]
    assert grid.process is process


def test_uniform_takes_another_span():
    assert column(df.Grid.uniform(df.EDM(), 4, (1.0, 5.0)), "time").tolist() == [5, 4, 3, 2, 1]


def test_discrete_levels_are_products_of_betas():
    """alpha_t^2 = prod_{s <= t} (1 - beta_s), times T, ..., 1; the walk alpha_t = sqrt(1 - beta_t) alpha_{t-1}."""
    betas = df.linear_betas(50, 0.001, 0.3)
    grid = df.Grid.discrete(betas)
    time, alpha, sigma = (column(grid, name) for name in ("time", "alpha", "sigma"))
    assert time.tolist() == list(range(50, 0, -1)) and grid.process is None
    np.testing.assert_allclose(alpha**2 + sigma**2, 1, rtol=1e-14)
    np.testing.assert_allclose(alpha[:-1] / alpha[1:], np.sqrt(1 - betas[:0:-1]), rtol=1e-14)
    assert alpha[-1] ** 2 == pytest.approx(1 - betas[0], rel=1e-14)


@given(st.integers(2, 60), st.data())
def test_fewer_discrete_steps_are_some_of_the_walk_s_levels(T, data):
    steps = data.draw(st.integers(1, T - 1))
    betas = np.linspace(0.001, 0.2, T)
    every = {level.time: level for level in df.Grid.discrete(betas)}
    grid = df.Grid.discrete(betas, steps)
    assert len(grid) == steps
    assert grid.levels[0].time == T and grid.levels[-1].time == 1
    assert all(level == every[level.time] for level in grid)
    gaps = -np.diff(column(grid, "time"))
    assert gaps.max() - gaps.min() <= 2 and gaps.min() >= 1  # rounding moves either end by a half


def test_a_thousand_steps_of_the_walk_do_not_exist_between_a_thousand_times():
    with pytest.raises(ValueError, match="has 1000 times, so at most 999 steps; got 1000"):
        df.Grid.discrete(df.linear_betas(), 1000)


def test_the_default_grid_is_edm_s_or_equal_steps():
    for process in (None, df.EDM()):
        assert default_grid(process, 5).levels == df.Grid.edm(5).levels
    vp = df.VP()
    assert default_grid(vp, 5) == df.Grid.uniform(vp, 5)


def test_a_grid_cannot_be_changed():
    grid = df.Grid.edm(3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        grid.name = "other"
    with pytest.raises(dataclasses.FrozenInstanceError):
        grid.levels[0].sigma = 1.0
    with pytest.raises(TypeError):
        grid.levels[0] = grid.levels[1]


def level(alpha, sigma):
    return Level(sigma, alpha, sigma)


@pytest.mark.parametrize("levels", [
    (level(1, 1), level(1, 2)), (level(1, 1), level(1, 1)), (level(1, 1), level(1, 0)), (level(0, 1), level(1, 0.5)),
    (level(1, 1), level(0, 0.5)), (level(-1, 1), level(1, 0.5)), (level(1, float("nan")), level(1, 0.5)),
    (level(1, 1), level(1, float("nan"))), (level(1, 3), level(1, 2), level(1, -1)), (level(1, 1), level(0.5, 0.6))])
def test_noise_must_fall_and_stay_above_nought(levels):
    with pytest.raises(ValueError, match="noise must fall along a grid and stay above 0"):
        df.Grid("made", levels)


@pytest.mark.parametrize("levels", [(), (level(1, 1),)])
def test_a_grid_has_a_step(levels):
    with pytest.raises(ValueError, match=f"at least one step, two levels; got {len(levels)}"):
        df.Grid("made", levels)


@pytest.mark.parametrize("steps", [0, -1, 1.5, True, "3", None])
@pytest.mark.parametrize("make", [df.Grid.edm, lambda steps: df.Grid.uniform(df.VP(), steps)])
def test_steps_are_whole_and_positive(make, steps):
    with pytest.raises(ValueError, match=f"steps must be a whole number of at least 1, got {steps!r}"):
        make(steps)


@pytest.mark.parametrize("make", [
    lambda: df.Grid.edm(5, 0.0), lambda: df.Grid.edm(5, 2.0, 1.0), lambda: df.Grid.edm(5, 0.1, float("nan")),
    lambda: df.Grid.uniform(df.VP(), 5, (0.0, 1.0)), lambda: df.Grid.uniform(df.EDM(), 5, (5.0, 1.0)),
    lambda: df.Grid.discrete(np.array([0.1, 0.0]))])
def test_a_span_that_reaches_nought_or_runs_backwards_is_refused(make):
    with pytest.raises(ValueError, match="noise must fall along a grid and stay above 0"):
        make()


def test_its_repr_tells_its_ends():
    assert repr(df.Grid.edm(7)) == "Grid('edm', 7 steps, sigma/alpha from 40 to 0.02)"
