"""Coefficients from a table: np.interp is the definition; numbers, arrays, compiled loops and tensors agree."""

import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

from sdekit import numba_maths
from sdekit.interp import interp
from sdekit.maths import PythonOnly, rebind

KNOTS = pytest.mark.parametrize("n", [1, 2, 3, 8, 9, 250])


def table(n, seed=1):
    rng = np.random.default_rng(seed)
    times, values = np.cumsum(rng.uniform(0.01, 1.0, n)), rng.normal(size=n)
    asked = np.concatenate([times, rng.uniform(times[0] - 1, times[-1] + 1, 200), [times[0] - 50.0, times[-1] + 50.0]])
    return times, values, asked


def tolerance(times, values, asked):
    """Rounding: of the slope, the product, and the sum."""
    slope = np.abs(np.diff(values) / np.diff(times)).max() if len(times) > 1 else 0.0
    return 4 * np.finfo(float).eps * (np.abs(values).max() + slope * (np.abs(asked).max() + np.ptp(times)))


@KNOTS
def test_numbers_and_arrays_are_those_of_numpy(n):
    times, values, asked = table(n)
    f, exact = interp(times, values), np.interp(asked, times, values)
    assert np.abs(f(asked) - exact).max() <= tolerance(times, values, asked)
    assert np.array_equal([f(float(t)) for t in asked], f(asked))
    assert np.array_equal(f(asked[:200].reshape(2, 100)), f(asked)[:200].reshape(2, 100))


@given(st.lists(st.integers(-1000, 1000), min_size=1, max_size=40, unique=True), st.integers(0, 2**32))
def test_knots_are_met_exactly_and_the_ends_are_kept(times, seed):
    times = np.sort(times)
    values = np.random.default_rng(seed).normal(size=len(times))
    f = interp(times, values)
    assert np.array_equal(f(times.astype(float)), values)
    assert f(times[0] - 1e6) == f(-1e300) == values[0] and f(times[-1] + 1e6) == f(1e300) == values[-1]
    assert np.isnan(f(np.nan))


def test_a_whole_number_is_a_time_too():
    f = interp([0, 2], [0, 1])
    assert f(1) == f(1.0) == f(np.int64(1)) == f(np.float32(1)) == f(np.array(1)) == 0.5


@pytest.mark.parametrize("times, values, words", [
    ([0, 1], [1.0], "2 times and 1 values"), ([0, 0], [1, 2], r"times\[0\] = 0 is followed by times\[1\] = 0"),
    ([0, 2, 1], [1, 2, 3], r"times must increase.*times\[1\] = 2"), ([], [], "times.*at least one"),
    ([0, np.nan], [1, 2], r"times must be finite, but times\[1\] is nan"), ([0, 1], [1, np.inf], r"values\[1\] is inf"),
    ([[0, 1]], [1, 2], r"shape \(1, 2\)"), (["a"], [1], "times must be numbers"), (0.5, 1.0, "at least one"),
    ([0, 1e-300], [0, 1e300], "slope")])
def test_what_is_wrong_is_said(times, values, words):
    with pytest.raises(ValueError, match=words):
        interp(times, values)


def test_later_changes_of_the_given_lists_have_no_effect():
    times, values = np.array([0.0, 1.0]), np.array([1.0, 2.0])
    f = interp(times, values)
    times[:], values[:] = 7.0, 9.0
    assert f(0.5) == 1.5


OPTIONS = {"nogil": True, "error_model": "numpy"}


def compiled(function):
    """As the compiled execution does it, in small."""
    inner: dict = {}
    nothing = njit(lambda *args: None)

    def finish(copy):
        return njit(forceinline=True, **OPTIONS)(copy)

    def replace(value):
        if isinstance(value, types.FunctionType):
            return rebind(value, replace, finish, inner)
        return nothing if isinstance(value, PythonOnly) else numba_maths.replace(value)

    return rebind(function, replace, finish)


@KNOTS
def test_compiled_functions_agree_to_the_bit(n):
    times, values, asked = table(n)
    f = interp(times, values)
    assert isinstance(f, types.FunctionType)
    g = compiled(lambda x, t: f(t) + 0.0 * f(x))
    assert np.array_equal([g(1.0, t) for t in asked], f(asked))


def test_a_table_does_not_stop_a_loop_from_becoming_vector_code():
    times, values, asked = table(9)
    f = interp(times, values)
    step = compiled(lambda x, t: f(t) * f(x))

    def run(x, t, out):
        for i in range(x.size):
            out[i] = step(x[i], t)

    run, out = njit(**OPTIONS)(run), np.empty_like(asked)
    run(asked, 2.0, out)
    assert np.allclose(out, f(2.0) * f(asked), rtol=1e-15)
    (text,) = run.inspect_llvm().values()
    assert "x double> @llvm.masked.gather" in text or "insertelement <" in text


def test_tensors_agree_and_have_gradients():
    torch = pytest.importorskip("torch")
    torch_engine = pytest.importorskip("sdekit.torch_engine")
    times, values, asked = table(9)
    f = interp(times, values)
    replace = torch_engine._replace
    drift = rebind(lambda x, t: f(t) * x + f(x), replace)
    x = torch.tensor(asked, requires_grad=True)
    y = drift(x, 0.75)
    exact = f(0.75) * asked + f(asked)
    assert np.abs(y.detach().numpy() - exact).max() <= len(times) * tolerance(times, values, asked)
    inside = torch.tensor([0.5 * (times[3] + times[4])], dtype=torch.float64, requires_grad=True)
    rebind(lambda x: f(x), replace)(inside).sum().backward()
    slope = (values[4] - values[3]) / (times[4] - times[3])
    assert inside.grad is not None and abs(inside.grad.item() - slope) <= 1e-12 * abs(slope)
    assert drift(torch.ones(2, dtype=torch.float32), 0.75).dtype == torch.float32
