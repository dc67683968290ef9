"""What a method claims, measured: the strong order on a given path of W, the weak order in the law."""

import numpy as np
import pytest

import sdekit as sk
from tests.conftest import K, assert_near, rounding
from tests.problems import PATHWISE, coarse, fine_increments, linear

END = 0.25  # a short time: orders show where h times the coefficients is small
BATCHES = 20


def order(steps, errors):
    """The order and its standard error, from errors (steps, batches): a least-squares line for each batch."""
    slopes = np.polyfit(-np.log(steps), np.log(errors), 1)[0]
    return slopes.mean(), slopes.std(ddof=1) / BATCHES**0.5


def ends(problem, dw, steps):
    """X_h(END) by Euler-Maruyama, and X(END), on the path whose fine increments are dw: (paths, dim) each."""
    paths = len(dw)
    ours = sk.simulate(problem.sde, problem.x0, END, steps, paths, noise=coarse(dw, steps), save="final",
                       method=sk.euler_maruyama, backend="numpy").final
    exact = problem.solution(END, dw.sum(axis=1)[:, None])[:, 0]
    return ours.reshape(paths, -1), exact.reshape(paths, -1)


@pytest.mark.parametrize("problem", PATHWISE, ids=repr)
def test_the_strong_order_of_euler_maruyama_is_a_half_and_1_where_the_noise_is_additive(problem):
    steps = (16, 32, 64, 128)
    dw = fine_increments(11, 4000, steps[-1], problem.noises, END)
    errors = [np.abs(np.subtract(*ends(problem, dw, n))).max(axis=1).reshape(BATCHES, -1) for n in steps]
    measured, stderr = order(steps, np.mean(errors, axis=2))
    assert abs(measured - problem.strong) + K * stderr < 0.15


def test_the_weak_order_of_euler_maruyama_is_1():
    """E X_h - E X and E X_h^2 - E X^2, with the exact solution on the same path to cancel the sampling noise."""
    steps = (4, 8, 16)
    pairs = [ends(linear, fine_increments(12 + n, 400_000, n, t=END), n) for n in steps]
    for power in (1, 2):
        errors = [(ours**power - exact**power).reshape(BATCHES, -1).mean(axis=1) for ours, exact in pairs]
        measured, stderr = order(steps, np.abs(errors))
        assert abs(measured - 1.0) + K * stderr < 0.15


def test_euler_maruyama_claims_what_is_measured():
    assert (sk.euler_maruyama.strong, sk.euler_maruyama.weak) == (0.5, 1.0)
    assert (sk.exact.strong, sk.exact.weak) == (None, float("inf"))


def test_the_moments_of_euler_maruyama_on_linear_are_powers():
    """X_h = X0 prod (A + B Z), A = 1 + a h, B^2 = b^2 h: E X_h^p = X0^p (E (A + B Z)^p)^n, at any step size."""
    steps, paths = 4, 200_000
    x = sk.simulate(linear.sde, 0.5, 1.0, steps, paths, seed=13, save="final", backend="numpy").final
    a, b = linear.sde.parameters.values()
    A, B = 1 + a / steps, b / steps**0.5
    first, second, fourth = (0.5**p * m**steps for p, m in (
        (1, A), (2, A**2 + B**2), (4, A**4 + 6 * A**2 * B**2 + 3 * B**4)))
    assert_near(x.mean(), first, ((second - first**2) / paths) ** 0.5)
    assert_near((x**2).mean(), second, ((fourth - second**2) / paths) ** 0.5)


def test_a_method_of_ones_own_is_as_good_as_the_librarys(backend):
    """Milstein on `linear`: X' = X + a X h + b X dW + b^2 X (dW^2 - h) / 2, strong order 1."""

    def make(c):
        f, g, add, scale, dot = c.f, c.g, c.add, c.scale, c.dot

        def step(x, t, h, dw, p):
            slope = g(x, t, p)
            square = scale(0.5 * (dw[0] * dw[0] - h), g(slope, t, p))
            return add(add(add(x, scale(h, f(x, t, p))), dot(slope, dw)), square)

        return step

    milstein = sk.Method("milstein", make, strong=1.0, weak=1.0)
    dw = fine_increments(14, 300, 8)[..., 0]
    x = sk.simulate(linear.sde, linear.x0, steps=8, paths=300, noise=dw, method=milstein, backend=backend)
    a, b = linear.sde.parameters.values()
    exact = 0.5 * np.cumprod(1 + a / 8 + b * dw + b**2 * (dw**2 - 1 / 8) / 2, axis=1)
    assert np.abs(np.asarray(x.x)[:, 1:] - exact).max() <= rounding(8, exact)
    assert repr(x.info["method"]) == "milstein"


@pytest.mark.parametrize("claim, error, message", [
    ({"calculus": "Ito"}, ValueError, "calculus is one of ito, stratonovich, any; got 'Ito'"),
    ({"noise": "scalar"}, ValueError, "noise is one of additive, diagonal"),
    ({"draws": "W,H"}, ValueError, "draws is one of W, WH, WHA"),
    ({"strong": -1.0}, ValueError, "strong order is a number > 0, or None"),
    ({"weak": None}, ValueError, "weak order is a number > 0"),
    ({"evaluations": 1}, TypeError, "evaluations are two numbers"),
    ({"ode": "euler"}, TypeError, "ode is an ODEMethod"),
    ({"memory": -1}, ValueError, "memory is how many copies"),
    ({"make": 3}, TypeError, "make is a function of Coefficients"),
])
def test_claims_that_make_no_sense_are_refused(claim, error, message):
    with pytest.raises(error, match=message):
        sk.Method(**{"name": "mine", "make": lambda c: None, "strong": 0.5, "weak": 1.0, **claim})


def test_a_method_that_breaks_says_how():
    broken = sk.Method("broken", lambda c: lambda x, t, h, dw, p: x + h * dw, strong=0.5, weak=1.0)
    with pytest.raises(ValueError, match=r"broken takes none of the equations.*On dX = f dt .*TypeError"):
        sk.check_method(broken)
