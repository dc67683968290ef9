"""Heun's kind of methods for Stratonovich equations: their formulas, their orders, and the way back."""

import numpy as np
import pytest

import sdekit as sk
from sdekit.stratonovich import euler_heun, heun_stratonovich, midpoint, reversible_heun
from tests.conftest import rounding
from tests.problems import PATHWISE, bump, coarse, fine_increments, whirl
from tests.sdekit.test_milstein import (
    B1,
    B2,
    A,
    assert_counts,
    assert_strong_order,
    assert_weak_order_1,
    form,
    linear,
    march,
    non_commutative_order,
    order,
)

METHODS = [euler_heun, heun_stratonovich, midpoint, reversible_heun]
each_method = pytest.mark.parametrize("method", METHODS, ids=repr)


def textbook(method, f, g, x, grid, dw):
    """The formulas on vectors x (dim,), f (dim,) and matrices g (dim, noises); dw (steps, noises)."""
    y = x
    for t, h, w in zip(grid, np.diff(grid), dw):
        k = lambda x, t, h=h, w=w: f(x, t) * h + g(x, t) @ w
        if method is euler_heun:
            x = x + f(x, t) * h + (g(x, t) + g(x + g(x, t) @ w, t + h)) @ w / 2
        elif method is heun_stratonovich:
            x = x + (k(x, t) + k(x + k(x, t), t + h)) / 2
        elif method is midpoint:
            x = x + k(x + k(x, t) / 2, t + h / 2)
        else:
            before, y = k(y, t), 2 * x - y + k(y, t)
            x = x + (before + k(y, t + h)) / 2
    return x


@each_method
def test_a_step_is_the_formula(method):
    """With the time in both functions, a diagonal and a matrix, and arrays of torch."""
    torch = pytest.importorskip("torch")
    grid, dw = np.array([0.5, 0.8, 0.9, 1.3]), fine_increments(32, 1, 3, 3)
    f = lambda x, t: (x[1] * x[1] - t, -x[0] * t)
    for g, matrix in ((lambda x, t: (x[1] * t, x[0] - t), lambda x, t: np.diag([x[1] * t, x[0] - t])),
                      (lambda x, t: ((x[1], 0.5, t), (x[0] * x[0] * t, -1, x[1])),
                       lambda x, t: np.array([[x[1], 0.5, t], [x[0] * x[0] * t, -1, x[1]]]))):
        sde, start = sk.SDE(f, g), np.array([0.4, -0.7])
        used = dw[..., :matrix(start, 0.0).shape[1]]
        exact = textbook(method, lambda x, t: np.array(f(x, t)), matrix, start, grid, used[0])
        assert np.abs(march(method, sde, tuple(start), grid, used) - exact).max() <= rounding(10, exact)
        z, step = tuple(torch.tensor([v]) for v in start) * (1 + method.memory), method.make(form(sde, tuple(start)))
        for t, h, w in zip(grid, np.diff(grid), torch.tensor(used[0])):
            z = step(z, t, h, tuple(w[:, None]), ())
        assert np.abs(torch.cat(z[:2]).numpy() - exact).max() <= rounding(10, exact)


@each_method
@pytest.mark.parametrize("problem", PATHWISE, ids=repr)
def test_the_strong_order_is_1_where_the_noise_commutes(method, problem):
    assert method.commutative == 1.0
    if problem.name != "additive":
        assert_strong_order(method, 1.0, problem)


@each_method
def test_the_strong_order_is_1_where_the_noise_is_additive(method):
    """dX = sin X dt + dW: the space-time areas are not seen, whatever the order of the drift's rule."""
    assert method.additive == 1.0
    sde, dw = sk.SDE(lambda x, t: np.sin(x), lambda x, t: 1.0), fine_increments(31, 1000, 1024)
    run = lambda used, n: march(used, sde, 1.0, np.linspace(0, 1, n + 1), coarse(dw, n))[:, 0]
    exact = run(heun_stratonovich, 1024)
    measured, width = order([np.abs(run(method, n) - exact) for n in (8, 16, 32, 64)], (8, 16, 32, 64))
    assert abs(measured - 1.0) + width < 0.15


@each_method
def test_the_strong_order_is_a_half_where_the_noise_does_not_commute(method):
    assert (method.strong, method.noise, method.general) == (0.5, "general", None)
    measured, width = non_commutative_order(method, areas=False)
    assert abs(measured - 0.5) + width < 0.15


@each_method
def test_the_weak_order_is_1(method):
    assert method.weak == 1.0
    assert_weak_order_1(method)


@each_method
@pytest.mark.parametrize("sde, x0", [
    (sk.SDE(lambda x, t: -x, lambda x, t: x), 1.0),
    (sk.SDE(lambda x, t: x, lambda x, t: ((x[0],), (x[1],))), (1.0, 2.0)),
    (linear(A, B1, B2), (1.0, 2.0))], ids=["number", "one noise", "two noises"])
def test_a_step_calls_the_functions_as_often_as_it_says_whatever_the_noises(method, sde, x0):
    assert method.evaluations == ((1, 2) if method is euler_heun else (2, 2))
    assert_counts(method, sde, x0, method.evaluations)


@each_method
def test_without_noise_it_is_its_method_for_odes(method):
    """Reversible Heun has none, since it takes two steps: its first step is that of `heun`, its order 2."""
    drift = lambda x, t: (x[1] * t, -np.sin(x[0]))
    sde, grid = sk.SDE(drift, lambda x, t: (0.0, 0.0)), np.array([0.0, 0.1, 0.4, 0.5])
    curve = lambda used, grid: sk.integrate(sk.ODE(drift), (1.0, 2.0), t=grid, method=used, backend="numpy").x[:, -1]
    ours = lambda grid: march(method, sde, (1.0, 2.0), grid, np.ones((1, len(grid) - 1, 2)))
    if method is not reversible_heun:
        assert np.abs(ours(grid) - curve(method.ode, grid)).max() <= rounding(3, ours(grid))
        return
    assert method.ode is None
    one = np.array([0.3, 0.7])
    exact = sk.integrate(sk.ODE(drift), (1.0, 2.0), t=(0.3, 0.7), steps=1, method=sk.heun, backend="numpy").final[0]
    assert np.abs(ours(one) - exact).max() <= rounding(1, exact)
    exact = curve(sk.rk4, np.linspace(0, 1, 513))
    errors = [np.abs(ours(np.linspace(0, 1, n + 1)) - exact).max() for n in (32, 64, 128)]
    assert (np.abs(np.diff(np.log2(errors)) + 2.0) < 0.05).all()


def test_the_midpoint_rule_for_odes_is_of_order_2():
    """x' = -2 t x^2 has x(t) = 1 / (1 + t^2); a step calls the drift twice."""
    calls = []
    ode = sk.ODE(lambda x, t: (calls.append(t), -2.0 * t * x * x)[1])
    error = [abs(sk.integrate(ode, 1.0, steps=n, method=midpoint.ode, backend="numpy").final[0] - 0.5)
             for n in (32, 64, 128)]
    assert (np.abs(np.diff(np.log2(error)) + midpoint.ode.order) < 1 / 8).all()
    assert (midpoint.ode.order, midpoint.ode.evaluations) == (2, 2)
    assert abs(len(calls) - 2 * (32 + 64 + 128)) < 12  # and a few to see what the drift returns


def _there_and_back(sde, x0, steps, t, paths=20):
    """(z, z again) after `steps` steps on, and as many with -h and -dW."""
    c = form(sde, x0)
    dw, h, p = fine_increments(33, paths, steps, c.shape.noises, t), t / steps, tuple(sde.parameters.values())
    start = tuple(np.full(paths, v) for v in (x0 if isinstance(x0, tuple) else (x0,))) * 2
    step, z = reversible_heun.make(c), start
    for n in range(steps):
        z = step(z, n * h, h, tuple(dw[:, n].T), p)
    assert np.abs(np.subtract(z, start)).max() > 0.5
    for n in reversed(range(steps)):
        z = step(z, (n + 1) * h, -h, tuple(-dw[:, n].T), p)
    return np.array(start), np.array(z)


@pytest.mark.parametrize("sde, x0", [
    (bump, 0.5), (whirl, (0.5, -0.2)),
    (sk.SDE(lambda x, t: (x[1], -np.sin(x[0])), lambda x, t: (0.2 * np.cos(x[1]), 0.3 * np.sin(x[0] + t))), (0.5, 0.2)),
], ids=["bump", "whirl", "pendulum"])
@pytest.mark.parametrize("steps, t", [(1, 1.0), (2000, 5.0)])
def test_reversible_heun_goes_back_the_way_it_came(sde, x0, steps, t):
    there, back = _there_and_back(sde, x0, steps, t)
    assert np.abs(there - back).max() <= rounding(steps, 1.0)


def test_methods_are_called_by_their_names():
    assert [repr(m) for m in METHODS] == ["euler_heun", "heun_stratonovich", "midpoint", "reversible_heun"]
    assert [m.memory for m in METHODS] == [0, 0, 0, 1]
    assert all((m.calculus, m.draws) == ("stratonovich", "W") for m in METHODS)
