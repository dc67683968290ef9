"""Dormand & Prince's pair: its orders, its dense output, its tolerance beside SciPy's, each trajectory's own steps."""

import math
from typing import Any

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import sdekit as sk
from tests.conftest import EPS, array, rounding

MU = 0.012277471  # the moon's share of the mass


def volterra(x, t):
    return 1.5 * x[0] - x[0] * x[1], x[0] * x[1] - 3.0 * x[1]


def van_der_pol(x, t):
    return x[1], 5.0 * (1.0 - x[0] * x[0]) * x[1] - x[0]


def kepler(x, t):
    a, b, u, v = x
    r3 = (a * a + b * b) ** 1.5
    return u, v, -a / r3, -b / r3


def arenstorf(x, t):
    """A periodic orbit around earth and moon (Hairer, Norsett & Wanner 1993, II, (0.1))."""
    a, b, u, v = x
    d1, d2 = ((a + MU) ** 2 + b * b) ** 1.5, ((a - 1 + MU) ** 2 + b * b) ** 1.5
    return (u, v, a + 2 * v - (1 - MU) * (a + MU) / d1 - MU * (a - 1 + MU) / d2,
            b - 2 * u - (1 - MU) * b / d1 - MU * b / d2)


PROBLEMS = {
    "Lotka-Volterra": (volterra, (10.0, 5.0), 10.0),
    "Van der Pol": (van_der_pol, (2.0, 0.0), 20.0),
    "Kepler": (kepler, (0.4, 0.0, 0.0, 2.0), 20.0),
    "Arenstorf": (arenstorf, (0.994, 0.0, 0.0, -2.00158510637908252240537862224), 17.0652165601579625588917206249),
}
PENDULUM = sk.ODE(lambda x, t, k, c: (x[1], -k * x[0] + c * x[0] * x[0] * x[0]), k=4.0, c=np.zeros(9))
STARTS = np.linspace(0.1, 1.2, 9), np.linspace(1.0, -1.0, 9)


def test_one_linear_step_is_the_taylor_polynomial_of_order_5_and_a_rest():
    """x' = z x: R(z) = 1 + ... + z^5/120 + z^6/600 (Hairer & Wanner 1996, IV.2)."""
    for z in (-1.5, -0.1, 0.3, 2.0):
        x = sk.integrate(sk.ODE(lambda x, t, z: z * x, z=z), 1.0, steps=1, method=sk.dopri5, rtol=1e9).final[0]
        terms = [z**k / math.factorial(k) for k in range(6)] + [z**6 / 600]
        assert abs(x - sum(terms)) <= 64 * EPS * sum(map(abs, terms))


@pytest.mark.parametrize("save, order", [("final", 5), ([0.03 + 0.2 * k for k in range(5)], 5)], ids=["steps", "dense"])
def test_the_order_on_a_nonlinear_problem(save, order):
    """x' = -2 t x^2 has x = 1/(1 + t^2). In a step of length h the dense output has the error O(h^5), of order 4."""
    ode = sk.ODE(lambda x, t: -2.0 * t * x * x)
    error = []
    for n in (8, 16, 32):
        x = sk.integrate(ode, 1.0, steps=n, method=sk.dopri5, save=save, rtol=1e9)
        error.append(np.abs(x.x[0] - 1 / (1 + x.t**2)).max())
    orders = np.log2(np.array(error[:-1]) / error[1:])
    assert (orders > order - 0.7).all() and orders[1] < order + 1.2


def test_between_the_steps_it_is_a_polynomial_of_degree_4_that_is_smooth():
    """x' = t^d, d < 4: the integral is a polynomial of degree d + 1 <= 4, which it repeats; t^4 it does not. At the
    ends of a step it has the value and the slope of the solution."""
    t = np.linspace(0.0, 2.0, 41)[1:]
    for d in range(5):
        x = sk.integrate(sk.ODE(lambda x, t, d: t**d, d=d), 1.0, t=2.0, steps=2, save=t, rtol=1e9).x[0]
        wrong = np.abs(x - 1.0 - t ** (d + 1) / (d + 1)).max()
        assert wrong <= rounding(4, x) if d < 4 else wrong > 1e-4
    e = 1e-5
    near = np.array([0.5, 1.0, 1.5])[:, None] + e * np.array([-1.0, 0.0, 1.0])
    x = sk.integrate(volterra, (1.0, 2.0), t=2.0, steps=4, save=near.ravel(), rtol=1e9, method=sk.dopri5).x[0]
    x = x.reshape(3, 3, 2)
    slope = np.stack(volterra(x[:, 1].T, 0.0), -1)
    for side in (0, 1):
        assert np.abs(np.diff(x, axis=1)[:, side] / e - slope).max() < 100 * e


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_error_is_that_of_scipy_at_the_same_tolerance(name):
    """Compared at many times, a few times the error of RK45, or less, by at most 2 1/4 times as many calls of f."""
    f, x0, t = PROBLEMS[name]
    g = lambda s, x: np.array(f(tuple(x), s))
    times = np.linspace(0.0, t, 60)
    exact = solve_ivp(g, (0.0, t), x0, method="DOP853", rtol=1e-12, atol=1e-13, t_eval=times).y.T
    for tol in (1e-4, 1e-6) if name != "Arenstorf" else (1e-6, 1e-8):
        theirs = solve_ivp(g, (0.0, t), x0, method="RK45", rtol=tol, atol=1e-3 * tol, t_eval=times)
        ours = sk.integrate(f, x0, t, rtol=tol, atol=1e-3 * tol, save=times, backend="numpy")
        error = lambda x: np.sqrt(np.mean((x - exact) ** 2))
        calls = 7 * (ours.info["accepted"] + ours.info["rejected"])
        assert error(ours.x[0]) < 5 * error(theirs.y.T)
        assert calls < 2.25 * theirs.nfev


def test_few_attempts_are_in_vain():
    """A cell of twice the length is tried where its error, 2^5 times as large, would do."""
    tried = [sk.integrate(f, x0, t, rtol=1e-6, save="final", backend="numpy").info for f, x0, t in PROBLEMS.values()]
    assert sum(i["rejected"] for i in tried) < 0.2 * sum(i["accepted"] for i in tried)


def test_each_trajectory_has_steps_of_its_own(backend):
    """Nine of them together are the nine alone: bit for bit, and they took as many steps."""
    times = np.append(np.linspace(0.0, 3.0, 7), 3.3)
    run = lambda ode, x0: sk.integrate(ode, x0, 3.3, rtol=1e-7, atol=1e-9, save=times, backend=backend)
    whole = run(PENDULUM, STARTS)
    alone = [run(sk.ODE(PENDULUM.drift, k=4.0, c=np.zeros(1)), tuple(c[i:i + 1] for c in STARTS)) for i in range(9)]
    assert np.array_equal(array(whole.x), np.concatenate([array(a.x) for a in alone]))
    for key in ("accepted", "rejected"):
        assert whole.info[key] == sum(a.info[key] for a in alone)
    u, v = (c[:, None] for c in STARTS)
    exact = u * np.cos(2 * times) + v / 2 * np.sin(2 * times)
    assert np.abs(array(whole.x)[..., 0] - exact).max() < 1e-5
    numpy = sk.integrate(PENDULUM, STARTS, 3.3, rtol=1e-7, atol=1e-9, save=times, backend="numpy")
    assert np.abs(array(whole.x) - numpy.x).max() <= rounding(100, numpy.x)


def test_a_trajectory_that_ends_is_told_and_the_others_are_kept(backend):
    """x'' = -4 x + 100 x^3 runs to infinity."""
    c = np.zeros(9)
    c[4] = 100.0
    how: dict[str, Any] = dict(t=3.3, save=np.linspace(0.0, 3.3, 34), rtol=1e-6, atol=1e-9, backend=backend)
    with pytest.warns(RuntimeWarning, match="1 of 9 paths .* path 4, at t = "):
        x = sk.integrate(sk.ODE(PENDULUM.drift, k=4.0, c=c), STARTS, **how)
    assert list(x.info["lost"]) == [4]
    assert (np.isnan(array(x.x)[4]).all(axis=1) == (x.t > x.info["lost"][4])).all()
    good = sk.integrate(PENDULUM, STARTS, **how)
    assert np.array_equal(np.delete(array(x.x), 4, 0), np.delete(array(good.x), 4, 0))


def test_a_long_time_and_many_saved_times():
    """160 turns of an oscillator; the energy's error adds up, one step's at a time."""
    times = np.linspace(0.0, 1000.0, 20_001)
    x = sk.integrate(PENDULUM, (np.ones(9), np.zeros(9)), 1000.0, rtol=1e-8, atol=1e-10, save=times, backend="numba")
    assert np.abs(x.x[0, :, 0] - np.cos(2 * times)).max() < 1e-8 * x.info["accepted"] / 9
    assert x.info["rejected"] < 0.1 * x.info["accepted"]


def test_a_stiff_equation_costs_what_stability_asks_for():
    """x' = -1000 (x - cos t): explicit steps of length 3.3 / 1000 at most, and no more than four times as many."""
    x = sk.integrate(sk.ODE(lambda x, t: -1000.0 * (x - np.cos(t))), 0.0, 1.0, rtol=1e-4, save="final", backend="numpy")
    assert 303 <= x.info["accepted"] and x.info["accepted"] + x.info["rejected"] < 4 * 303
    assert abs(x.final[0] - np.cos(1.0)) < 2e-3


def test_a_jump_in_time_is_found():
    """x' = x until 0.3, then -5 x: cells are cut in half around the jump alone."""
    x = sk.integrate(sk.ODE(lambda x, t: np.where(t < 0.3, 1.0, -5.0) * x), 1.0, rtol=1e-8, save="final")
    assert abs(x.final[0] / math.exp(0.3 - 3.5) - 1) < 1e-6 and x.info["accepted"] < 150


def test_the_pole_of_a_drift_is_no_error_of_python():
    with pytest.warns(RuntimeWarning, match="1 of 1 paths"):
        x = sk.integrate(sk.ODE(lambda x, t: 1.0 / (0.5 - t) ** 2), 1.0)
    assert abs(x.info["lost"][0] - 0.5) < 1e-6


def test_a_state_that_is_an_array_has_one_error():
    """The root mean square over its elements; each row has steps of its own."""
    x0 = np.linspace(0.5, 1.5, 12).reshape(3, 4)
    fall = sk.ODE(lambda x, t: -x * x)
    x = sk.integrate(fall, x0, 2.0, rtol=1e-7, save=[0.7, 2.0])
    assert np.abs(x.x - (1 / (1 / x0[:, None] + x.t[:, None]))).max() < 1e-6
    alone = sk.integrate(fall, x0[1:2], 2.0, rtol=1e-7, save=[0.7, 2.0])
    assert np.array_equal(alone.x[0], x.x[1])


def test_what_is_the_default():
    """Without steps `dopri5` at rtol = 1e-6, atol = 1e-9; with steps `rk4`."""
    own = sk.integrate(lambda x, t: -x, 1.0)
    assert repr(own.info["method"]) == "dopri5" and (own.info["rtol"], own.info["atol"]) == (1e-6, 1e-9)
    assert abs(own.final[0] - math.exp(-1.0)) < 1e-6
    fixed = sk.integrate(lambda x, t: -x, 1.0, steps=4)
    assert repr(fixed.info["method"]) == "rk4" and "rtol" not in fixed.info
    steps = sk.integrate(lambda x, t: -x, 1.0, steps=4, method=sk.dopri5)
    assert "accepted" not in steps.info and steps.info["steps"] == 4


@pytest.mark.parametrize("how, message", [
    (dict(method=sk.rk4, rtol=1e-3), "rk4 has no error estimate, .* use method=dopri5"),
    (dict(method=sk.euler, atol=1e-3), "euler has no error estimate"),
    (dict(t=(1.0, 0.0)), "time must run forwards"),
    (dict(rtol=0.0, atol=0.0), "rtol and atol are both 0"),
    (dict(rtol=-1e-3), "rtol must be a number from 0 on"),
    (dict(track=sk.maximum(bridge=False)), "go with fixed steps"),
    (dict(nonfinite="stop"), "go with fixed steps"),
])
def test_what_cannot_be_done_is_refused(how, message):
    with pytest.raises(ValueError, match=message):
        sk.integrate(lambda x, t: -x, 1.0, **how)
