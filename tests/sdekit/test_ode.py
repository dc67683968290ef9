"""The methods for ODEs: their orders by what they are exact on, and measured on a nonlinear problem."""

import math

import numpy as np
import pytest
from hypothesis import given

import sdekit as sk
from tests import strategies
from tests.conftest import EPS, rounding

METHODS = [sk.euler, sk.heun, sk.rk4]
each_method = pytest.mark.parametrize("method", METHODS, ids=repr)


@each_method
def test_one_linear_step_is_the_taylor_polynomial_of_the_order(method):
    """x' = z x: R(z) = sum_{k <= p} z^k / k!; the coefficients of the stages all enter it."""
    for z in (-1.5, -0.1, 0.3, 2.0):
        x = sk.integrate(sk.ODE(lambda x, t, z: z * x, z=z), 1.0, steps=1, method=method).final[0]
        terms = [z**k / math.factorial(k) for k in range(method.order + 1)]
        assert abs(x - sum(terms)) <= 8 * EPS * sum(map(abs, terms))


@each_method
def test_a_drift_of_time_alone_is_integrated_exactly_up_to_the_order(method):
    """x' = t^d: the quadrature rules of Riemann, of the trapezium and of Simpson, exact for d < 1, 2, 4 and no more."""
    exact_degrees = [d for d in range(6) if abs(
        sk.integrate(sk.ODE(lambda x, t, d: t**d, d=d), 1.0, t=(1.0, 3.0), steps=1, method=method).final[0]
        - (1.0 + (3.0 ** (d + 1) - 1) / (d + 1))) < rounding(1, 3.0**d)]
    assert exact_degrees == list(range(method.order))


@each_method
def test_the_order_on_a_nonlinear_problem(method):
    """x' = -2 t x^2, x(0) = 1 has x(t) = 1 / (1 + t^2); halving h twice, the order differs by O(h)."""
    ode = sk.ODE(lambda x, t: -2.0 * t * x * x)
    error = [abs(sk.integrate(ode, 1.0, steps=n, method=method).final[0] - 0.5) for n in (32, 64, 128)]
    orders = np.log2(np.array(error[:-1]) / error[1:])
    assert (np.abs(orders - method.order) < 1 / 8).all()
    assert abs(orders[1] - method.order) < abs(orders[0] - method.order)


@each_method
def test_a_step_calls_the_drift_as_often_as_the_method_says(method):
    calls = []

    def drift(x, t):
        calls.append(t)
        return -x

    def steps(n):
        calls.clear()
        sk.integrate(drift, 1.0, steps=n, method=method, backend="numpy")
        return len(calls)

    assert steps(7) - steps(2) == 5 * method.evaluations


@each_method
def test_a_rotation_is_the_same_polynomial_of_a_complex_number(method):
    paths = sk.integrate(lambda x, t: (-x[1], x[0]), (1.0, 0.0), t=2.0, steps=20, method=method).x[0]
    grow = sum((0.1j) ** k / math.factorial(k) for k in range(method.order + 1))
    exact = grow ** np.arange(21)
    assert np.abs(paths[:, 0] + 1j * paths[:, 1] - exact).max() <= rounding(20, np.abs(exact))


@given(strategies.grids(), strategies.numbers(-1.0, 1.0))
def test_on_any_grid_rk4_follows_each_steps_own_size(grid, k):
    x = sk.integrate(sk.ODE(lambda x, t, k: k * x, k=k), 1.0, t=grid).x[0]
    z = k * np.diff(grid)
    exact = np.cumprod([1.0, *sum(z**j / math.factorial(j) for j in range(5))])
    assert np.abs(x - exact).max() <= rounding(len(z), exact)


def test_the_curve_of_an_sde_is_that_of_its_drift():
    ou = sk.OrnsteinUhlenbeck(kappa=2.0, theta=1.0, sigma=9.0)
    curve = sk.integrate(ou, 3.0, t=1.0, steps=64)
    alone = sk.integrate(lambda x, t: 2.0 * (1.0 - x), 3.0, t=1.0, steps=64)
    assert np.abs(curve.x - alone.x).max() <= rounding(64, alone.x)
    assert abs(curve.final[0] - ou.mean(3.0, 1.0)) <= 2.0**5 * 2.0 / 120 * (1 / 64) ** 4  # h^4 k^5 |x0 - theta| / 5!


def test_methods_are_called_by_their_names():
    assert [repr(m) for m in METHODS] == ["euler", "heun", "rk4"]
    assert [(m.order, m.evaluations) for m in METHODS] == [(1, 1), (2, 2), (4, 4)]
