"""simulate() and integrate(): which method and which execution, and how they say no, before and during the work."""

import re
from functools import partial
from types import SimpleNamespace

import numpy as np
import psutil
import pytest

import sdekit as sk
from sdekit import array_engine, work
from tests.conftest import array, rounding
from tests.problems import euler_path

bm = sk.BrownianMotion()
plain = sk.SDE(lambda x, t: -x, lambda x, t: 0.5)


# --- the method and the execution -----------------------------------------------------------------------------------


def test_a_process_is_simulated_by_its_exact_law_and_others_by_euler_maruyama():
    assert sk.simulate(bm, 0.0, steps=2).info["method"] is sk.exact
    assert sk.simulate(bm, 0.0, steps=2, method=sk.euler_maruyama).info["method"] is sk.euler_maruyama
    assert sk.simulate(bm, 0.0, steps=2, noise=np.zeros((1, 2))).info["method"] is sk.euler_maruyama
    assert sk.simulate(plain, 0.0, steps=2).info["method"] is sk.euler_maruyama


def test_auto_compiles_where_the_work_pays_for_it(monkeypatch):
    run = lambda: sk.simulate(bm, 1.0, steps=10, paths=100, seed=1)
    assert run().info["backend"] == "numpy"
    monkeypatch.setattr(work, "COMPILE_ABOVE", 2 * 10 * 100)
    assert run().info["backend"] == "numba"  # one component and one noise: 2 x 10 x 100 is not below
    monkeypatch.setattr(work, "COMPILE_ABOVE", 2 * 10 * 100 + 1)
    assert run().info["backend"] == "numpy"


def branching(x, t):
    return -1.0 if x > 0 else 1.0


def test_an_if_on_the_state_runs_path_by_path():
    """auto takes Numba, whatever the work, and the numbers are those of np.where."""
    result = sk.simulate(sk.SDE(branching, lambda x, t: 0.5), 0.1, steps=9, paths=300, seed=2)
    assert result.info["backend"] == "numba"
    h = np.diff(result.t)
    exact = euler_path(sk.SDE(lambda x, t: np.where(x > 0, -1.0, 1.0), lambda x, t: 0.5), 0.1, result.t,
                       h[:, None] ** 0.5 * sk.normals(2, paths=300, steps=9))
    assert np.abs(result.x - exact).max() <= rounding(9, exact)


@pytest.mark.parametrize("t, x0", [(1.0, 0.1), ((-1.0, 1.0), 0.1)], ids=["from the start", "later on"])
def test_numpy_says_that_it_cannot_take_an_if_on_the_state(t, x0):
    late = sk.SDE(lambda x, t: 0.0 if t < 0.0 else branching(x, t), lambda x, t: 0.5)
    with pytest.raises(TypeError, match=r"backend='numpy'.*np\.where, or use backend='numba'"):
        sk.simulate(late, x0, t, steps=4, paths=3, backend="numpy")


def test_an_if_that_comes_later_in_time_works_on_auto():
    late = sk.SDE(lambda x, t: 0.0 if t < 0.5 else branching(x, t), lambda x, t: 0.5)
    assert np.isfinite(sk.simulate(late, 0.1, steps=4, paths=3, seed=1).x).all()


class Pull:
    """A drift that is an object, and one of its methods."""

    def __call__(self, x, t, k=2.0):
        return -k * x

    def halved(self, x, t):
        return -1.0 * x


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("drift, slope", [(partial(Pull(), k=3.0), -3.0), (Pull(), -2.0), (Pull().halved, -1.0)],
                         ids=["partial", "object", "method"])
def test_whatever_can_be_called_can_be_a_drift(drift, slope, backend):
    """Numba compiles plain functions only; arrays and tensors go through anything."""
    pytest.importorskip(backend)
    x = sk.simulate(sk.SDE(drift, lambda x, t: 1.0), 1.0, steps=1, noise=[[0.25]], backend=backend).final[0]
    assert x == 1.0 + slope + 0.25


def test_a_dim_1_system_keeps_its_axis_and_a_number_has_none():
    system = sk.SDE(lambda x, t: (-x[0],), lambda x, t: (0.5,))
    one, bare = (sk.simulate(s, x0, steps=3, paths=2, seed=3).x for s, x0 in ((system, (1.0,)), (plain, 1.0)))
    assert one.shape == (2, 4, 1) and (one[..., 0] == bare).all()


# --- before the work ------------------------------------------------------------------------------------------------


def run(sde=plain, x0=1.0, steps=2, **how):
    return lambda: sk.simulate(sde, x0, steps=steps, **how)


ode = sk.ODE(lambda x, t: x)
BAD = [
    (run(sde=ode), TypeError, r"simulate needs an SDE, got ODE\(\); .*give an ODE to integrate\(\)"),
    (run(sde=branching), TypeError, r"simulate needs an SDE, got <function .*SDE\(drift, diffusion\)"),
    (run(sde=None), TypeError, "simulate needs an SDE, got None"),
    (run(method="euler"), TypeError, "simulate needs a method for SDEs, a value such as .*; got 'euler'"),
    (run(method=sk.rk4), TypeError, "simulate needs a method for SDEs, a value such as .*; got rk4"),
    (run(method=sk.exact), ValueError, r"SDE\(\) has no exact transition; use method=euler_maruyama"),
    (run(backend="cuda"), ValueError, "backend must be one of auto, numpy, numba, torch; got 'cuda'"),
    (run(backend=None), ValueError, "backend must be one of auto, numpy, numba, torch; got None"),
    (run(device="cpu", backend="numpy"), ValueError, "a device needs backend='torch', got 'numpy'"),
    (run(threads=0), ValueError, "threads must be at least 1 and below 4096, got 0"),
    (run(threads=1.5), TypeError, r"threads must be a whole number, got 1.5 \(float\)"),
    (run(first=-1), ValueError, "first must be at least 0 and below .*, got -1"),
    (run(first=2**40), ValueError, "first must be at least 0 and below 1099511627776"),
    (run(first=2**40 - 3, paths=4), ValueError, "first must be at least 0"),
    (run(first=1.5), TypeError, "first must be a whole number, got 1.5"),
    (run(stream=-1), ValueError, "stream must be at least 0 and below 4294967296, got -1"),
    (run(stream=2**32), ValueError, "stream must be at least 0"),
    (run(stream=0.5), TypeError, "stream must be a whole number, got 0.5"),
    (lambda: sk.integrate(ode, 1.0, steps=2, method=sk.euler_maruyama), TypeError,
     "integrate needs a method for ODEs, one of euler, heun, rk4, dopri5; got euler_maruyama"),
    (lambda: sk.integrate(ode, 1.0, steps=2, method="rk4"), TypeError, "integrate needs a method for ODEs.*got .rk4"),
    (lambda: sk.integrate(1.0, 1.0, steps=2), TypeError, "drift must be a function of .*, got 1.0"),
    (lambda: sk.integrate(lambda x, t, k: k, 1.0, steps=2), TypeError, "drift takes the parameter 'k'"),
]


@pytest.mark.parametrize("call, error, message", BAD, ids=[message for *_, message in BAD])
def test_what_does_not_fit_is_refused_with_a_way_out(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("bytes_free, fits", [(8 * 3 * 100 * 2, True), (8 * 3 * 100 - 1, False)])
def test_a_result_larger_than_the_memory_is_refused_before_any_work(monkeypatch, bytes_free, fits, backend):
    called = []

    def drift(x, t):
        called.append(t)
        return -x

    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=bytes_free))
    call = lambda: sk.simulate(sk.SDE(drift, lambda x, t: 0.5), 1.0, steps=2, paths=100, backend=backend)
    if fits:
        if backend != "numba":  # which cannot compile a list that a function writes to
            assert len(call()) == 100
    else:
        with pytest.raises(MemoryError, match=r"100 paths x 3 times x 8 bytes.*would take about.*Save fewer times"):
            call()
        assert 1 <= len(called) <= 3 and set(called) == {0.0}  # to see what it returns, for numbers and for arrays


def test_saving_less_is_the_way_out_of_too_little_memory(monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=10_000))
    with pytest.raises(MemoryError):
        sk.simulate(bm, 0.0, steps=99, paths=100)
    assert sk.simulate(bm, 0.0, steps=99, paths=100, save="final").x.shape == (100, 1)
    system = sk.SDE(lambda x, t: x, lambda x, t: x)
    with pytest.raises(MemoryError, match="16 bytes"):
        sk.simulate(system, (1.0, 2.0), steps=99, paths=100)


# --- during the work ------------------------------------------------------------------------------------------------


def burst_drift(x, t, at):
    """0, until the time `at`, when paths near x = 1 get an infinite push."""
    return np.exp(1e6 * (t - at) - 1e6 * (x - 1.0) * (x - 1.0))


def small(x, t):
    return 0.001


def starts(paths, which):
    """Far from 1, where nothing happens, but for one path."""
    x0 = np.full(paths, 100.0)
    x0[which] = 1.0
    return x0


@pytest.mark.parametrize("steps", [15, 16])
@pytest.mark.parametrize("which", [0, 255, 256, 299])
@pytest.mark.parametrize("late", [13, 6, 1, 0])
def test_a_state_that_is_not_finite_is_named_by_path_step_and_time(backend, steps, which, late, monkeypatch):
    """The push comes `late` steps before the end, at an odd or even step; the paths before are not blamed."""
    monkeypatch.setattr(array_engine, "BLOCK", 128)
    n = steps - late
    sde = sk.SDE(burst_drift, small, at=(n - 1.5) / steps)
    grid = np.linspace(0.0, 1.0, steps + 1)
    with pytest.raises(FloatingPointError) as caught:
        sk.simulate(sde, starts(300, which), t=grid, seed=4, backend=backend, save="final")
    assert str(caught.value).startswith(f"path {which} is not finite after step {n} of {steps}, at t = {grid[n]}")
    before = sk.simulate(sde, starts(300, which), t=grid[:n], steps=n - 1, seed=4, backend=backend)
    assert np.isfinite(array(before.x)).all()
    if backend != "torch":
        assert f"the step before it was x = {before.final[which]}" in str(caught.value)


def test_a_systems_state_is_told_by_its_components():
    sde = sk.SDE(lambda x, t, at: (burst_drift(x[0], t, at), -x[1]), lambda x, t: (0.001, 0.5), at=0.6)
    with pytest.raises(FloatingPointError) as caught:
        sk.simulate(sde, (1.0, 2.0), steps=8, seed=4, first=9)
    before = sk.simulate(sde, (1.0, 2.0), t=(0.0, 5 / 8), steps=5, seed=4, first=9).final[0]
    assert f"path 0 is not finite after step 6 of 8, at t = 0.75; the step before it was x = {before[0]}, {before[1]}" \
        in str(caught.value)


CALL = re.compile(r"the same call with t=(?P<t>\(.*?\)|\[.*?\]), (?:steps=(?P<steps>\d+), )?paths=1, "
                  r"seed=(?P<seed>\d+), first=(?P<first>\d+), backend='(?P<backend>\w+)'")


@pytest.mark.parametrize("grid", [np.linspace(0, 1, 17), np.linspace(0, 1, 17) ** 2], ids=["equal steps", "own grid"])
@pytest.mark.parametrize("n", [2, 9])
def test_the_call_that_the_error_names_leads_there(backend, grid, n):
    """It runs without an error, and its end is the last finite state of that very path."""
    sde = sk.SDE(burst_drift, small, at=(grid[n - 2] + grid[n - 1]) / 2)
    how = {"t": grid} if np.ptp(np.diff(grid)) > 1e-9 else {"t": 1.0, "steps": 16}
    with pytest.raises(FloatingPointError) as caught:
        sk.simulate(sde, 1.0, paths=5, seed=4, first=7, stream=3, backend=backend, **how)
    named = CALL.search(str(caught.value)).groupdict()
    steps = named["steps"] and int(named["steps"])
    again = sk.simulate(sde, 1.0, t=eval(named["t"], {"np": np, "array": np.array}), steps=steps, paths=1,
                        seed=int(named["seed"]), first=int(named["first"]), stream=3, backend=named["backend"])
    path = int(re.match(r"path (\d+)", str(caught.value))[1])
    before = sk.simulate(sde, 1.0, t=grid[:n], steps=n - 1, paths=5, seed=4, first=7, stream=3, backend=backend)
    assert array(again.final)[0] == array(before.final)[path]


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_an_explosion_is_found_at_its_step(backend):
    """dX = X^2 dt + dW / 2 from 8: Euler squares it until it overflows; the step is that of the formula."""
    square = sk.SDE(lambda x, t: x * x, lambda x, t: 0.5)
    x0 = np.full(300, -1.0)
    x0[270] = 8.0
    with np.errstate(over="ignore", invalid="ignore"):
        exact = euler_path(square, x0, np.linspace(0, 1, 17), 0.25 * sk.normals(4, paths=300, steps=16))
    n = int(np.argmin(np.isfinite(exact[270])))
    assert 2 < n < 16 and np.isfinite(np.delete(exact, 270, axis=0)).all()
    with pytest.raises(FloatingPointError, match=f"path 270 is not finite after step {n} of 16, at t = {n / 16}"):
        sk.simulate(square, x0, steps=16, seed=4, backend=backend)


def test_given_increments_have_no_seed_to_name():
    with pytest.raises(FloatingPointError, match="path 1 is not finite after step 3 of 4") as caught:
        sk.simulate(sk.SDE(lambda x, t: x**200, small), 0.5, steps=4, paths=3,
                    noise=[[0.0] * 4, [0.0, 1e6, 0.0, 0.0], [0.0] * 4])  # pushes path 1 to 1000.5 in step 2
    assert "seed" not in str(caught.value)


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_an_integration_names_the_step_too(backend):
    with pytest.raises(FloatingPointError, match=r"path 0 is not finite after step 4 of 8, at t = 2.0") as caught:
        sk.integrate(sk.ODE(burst_drift, at=1.375), 1.0, t=4.0, steps=8, method=sk.euler, backend=backend)
    assert "seed" not in str(caught.value)


def test_nothing_is_said_of_what_numba_computes_and_does_not_keep():
    """Its tiles are always full and its steps go in pairs: lanes and a step past the last may burst unseen."""
    sde = sk.SDE(lambda x, t: np.exp(2000.0 * (x - 2.0)), lambda x, t: 1.0)
    z = sk.normals(0, paths=256).ravel()
    quiet = int(np.argmax(z > 2.0))  # so many paths come before the first high one
    assert quiet > 0 and z.max() > 2.4  # from which the next step bursts: exp(2000 * 0.4) is infinite
    run = lambda **how: sk.simulate(sde, 0.0, seed=0, backend="numba", **how)
    assert np.isfinite(run(t=2.0, steps=2, paths=quiet).x).all()
    assert np.isfinite(run(t=1.0, steps=1, paths=256).x).all()
    with pytest.raises(FloatingPointError, match=f"path {int(np.argmax(z > 2.36))} is not finite after step 2 of 2"):
        run(t=2.0, steps=2, paths=256)


def test_a_finite_run_may_touch_the_largest_numbers(backend):
    big = -np.finfo(float).max
    still = sk.SDE(burst_drift, small, at=0.5)  # far from 1, and so without a push
    assert (array(sk.simulate(still, big, steps=3, paths=2, backend=backend).x) == big).all()


def test_new_functions_of_the_same_text_are_not_confused():
    """Compiled steps are kept by the functions themselves, closures and all."""
    def growth(k):
        return sk.SDE(lambda x, t: k * x, small)

    def growth_by_default(k):
        return sk.SDE(lambda x, t, k=k: k * x, small)

    for make in (growth, growth_by_default):
        ends = [sk.simulate(make(k), 1.0, steps=1, noise=[[0.0]]).final[0] for k in (1.0, 2.0)]
        assert ends == [2.0, 3.0]


