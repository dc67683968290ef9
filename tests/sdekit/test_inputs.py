"""What was asked for: grids of times, times to keep, starts, given increments, and what does not fit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sdekit as sk
from sdekit.inputs import increments, saved_steps, start, time_grid
from tests import strategies
from tests.conftest import EPS

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
        sk.integrate(bm, 0.0, t, steps)


@given(st.integers(1, 60), st.data())
def test_saved_times_are_found_on_the_grid(steps, data):
    grid = time_grid((0.1, 0.7), steps)
    wanted = sorted(data.draw(st.sets(st.integers(0, steps), min_size=1)))
    assert saved_steps(grid[wanted], grid).tolist() == wanted
    assert saved_steps(grid[wanted] * (1 + EPS), grid).tolist() == wanted  # as another formula would round them


def test_saved_times_are_all_the_last_or_equally_many():
    grid = time_grid(1.0, 6)
    for save, kept in (("all", range(7)), ("final", [6]), (1, [6]), (2, [0, 6]), (3, [0, 3, 6]), (4, [0, 2, 4, 6]),
                       (7, range(7))):
        assert saved_steps(save, grid).tolist() == list(kept)


BAD_SAVES = [
    ("last", ValueError, 'save must be "all", "final", a number of times, or an array of times; got \'last\''),
    (0, ValueError, "save must be at least 1"),
    (6, ValueError, "save must be at least 1 and below 6, got 6"),
    (4, ValueError, "save=4 equally spaced times do not fall on a grid of 4 steps; nearest that do: 2, 3, 5"),
    (True, TypeError, r"save must be a whole number, got True \(bool\)"),
    (1.5, TypeError, r"save must be a whole number, got 1.5 \(float\)"),
    (None, TypeError, "save must be a whole number, got None"),
    ([], ValueError, r"save as times must be an increasing array, got \[\]"),
    ([[0.5]], ValueError, "save as times must be an increasing array"),
    ([0.5, 0.25], ValueError, "save as times must be an increasing array"),
    ([0.5, 0.5], ValueError, "save as times must be an increasing array"),
    ([0.5, nan], ValueError, "save as times must be an increasing array"),
    ([nan], ValueError, "save.*nan"),
    ([inf], ValueError, "save=inf is not a time of the grid"),
    ([0.3], ValueError, "save=0.3 is not a time of the grid; the nearest is 0.25. Choose steps so"),
    ([0.0, 0.51], ValueError, "save=0.51 is not a time of the grid; the nearest is 0.5"),
    ([-0.25], ValueError, "save=-0.25 is not a time of the grid; the nearest is 0.0"),
    ([1.25], ValueError, "save=1.25 is not a time of the grid; the nearest is 1.0"),
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
    ([[1.0, 2.0]], None, TypeError, "x0 must be real numbers, .* a system's components go in a tuple"),
    (np.zeros((2, 2)), None, TypeError, "a system's components go in a tuple"),
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
