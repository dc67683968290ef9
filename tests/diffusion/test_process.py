"""A process is its SDE: alpha and sigma are what its own drift and diffusion make of a start."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import diffusion as df
import sdekit as sk
from sdekit.sde import call
from tests.conftest import EPS, assert_near, rounding
from tests.strategies import numbers

betas = st.builds(lambda low, more: (low, low + more), numbers(0.05, 2.0), numbers(0.0, 20.0))
PROCESSES = [df.VP(), df.VP(0.5, 0.5), df.VP(0.1, 5.0), df.EDM()]


def moments(process, end, steps):
    """alpha and sigma^2 at `end` by RK4 from the SDE's coefficients: m' = f m, v' = 2 f v + g^2, m = 1, v = 0 at 0."""
    def rates(x, t):
        m, v = x
        f = call(process, "drift", 1.0, t)
        return f * m, 2 * f * v + call(process, "diffusion", 0.0, t) ** 2

    return sk.integrate(rates, (1.0, 0.0), end, steps, save="final", backend="numpy").final[0]


def test_the_moments_of_the_sde_are_alpha_and_sigma():
    """The error of RK4 is the difference of two step sizes, at most."""
    for process in PROCESSES:
        for t in (0.03, 0.4, 1.0):
            coarse, fine = moments(process, t, 100), moments(process, t, 200)
            bias = np.abs(fine - coarse) + rounding(200, fine)
            assert (np.abs(fine - [process.alpha(t), process.sigma(t) ** 2]) <= bias).all(), (process, t)


@pytest.mark.parametrize("process", PROCESSES, ids=repr)
def test_the_drift_is_linear_without_a_constant(process):
    x = np.array([-2.0, 0.0, 1.0, 3.0])
    for t in (0.1, 0.9):
        slope = call(process, "drift", 1.0, t)
        np.testing.assert_array_equal(np.broadcast_to(call(process, "drift", x, t), 4), slope * x)


def test_simulated_noise_has_the_law_of_the_process():
    """Euler-Maruyama on a linear SDE: its own mean and variance follow by recursion."""
    n, steps, x0 = 20_000, 200, 1.3
    for process, end in ((df.VP(), 0.7), (df.EDM(), 2.0)):
        x = sk.simulate(process, x0, end, steps, n, seed=4, save="final").final
        h, mean, variance = end / steps, x0, 0.0
        for t in np.arange(steps) * h:
            a = 1 + h * call(process, "drift", 1.0, t)
            mean, variance = a * mean, a**2 * variance + h * call(process, "diffusion", 0.0, t) ** 2
        assert_near(x.mean(), mean, (variance / n) ** 0.5)
        assert_near(x.var(), variance, variance * (2 / n) ** 0.5)
        assert_near(x.mean(), process.alpha(end) * x0, (variance / n) ** 0.5, abs(mean - process.alpha(end) * x0))


@given(betas, numbers(0.0, 1.0))
def test_vp_preserves_variance(beta, t):
    vp = df.VP(*beta)
    assert abs(vp.alpha(t) ** 2 + vp.sigma(t) ** 2 - 1) <= 4 * EPS


@given(betas, numbers(0.0, 1.0))
def test_alpha_of_vp_is_the_integral_of_beta(beta, t):
    """alpha = exp(-1/2 int_0^t beta), and beta is linear: its integral is t times its mean."""
    low, high = beta
    assert df.VP(*beta).alpha(t) == pytest.approx(math.exp(-t * (low + low + (high - low) * t) / 4), rel=1e-14)


def test_sigma_of_vp_does_not_cancel_at_small_times():
    """sigma^2 = beta_min t (1 + O(t))."""
    for t in (1e-18, 1e-12, 1e-9):
        beta = 0.1 + 19.9 * t
        assert df.VP().sigma(t) == pytest.approx((0.1 * t) ** 0.5, rel=10 * beta * t + 19.9 * t / 0.1 + 4 * EPS)
    assert df.VP().sigma(0.0) == 0.0 and df.VP().alpha(0.0) == 1.0


def test_vp_starts_at_data_and_ends_near_noise():
    assert df.VP().alpha(1.0) == pytest.approx(math.exp(-10.05 / 2), rel=1e-14)
    low, high = df.VP().span
    assert 0 < low < high == 1.0


@given(numbers(0.0, 80.0))
def test_edm_has_alpha_1_and_sigma_t(t):
    assert df.EDM().alpha(t) == 1.0 and df.EDM().sigma(t) == t


@pytest.mark.parametrize("low, high", [(0.0, 1.0), (-1.0, 1.0), (2.0, 1.0)])
def test_vp_refuses_betas_that_are_not_positive_or_fall(low, high):
    with pytest.raises(ValueError, match=f"VP needs 0 < beta_min <= beta_max, got {low} and {high}"):
        df.VP(low, high)


def test_vp_refuses_a_beta_that_is_no_number():
    with pytest.raises(ValueError, match="beta_max must be finite"):
        df.VP(0.1, math.inf)
    with pytest.raises(TypeError, match="beta_min must be a real number"):
        df.VP("0.1")


def test_linear_betas_are_those_of_ho():
    betas = df.linear_betas()
    assert betas.shape == (1000,) and betas[0] == 1e-4 and betas[-1] == 0.02
    np.testing.assert_allclose(np.diff(betas), (0.02 - 1e-4) / 999, rtol=1e-9)
    assert df.linear_betas(1).tolist() == [1e-4]


def test_linear_betas_are_vp_in_a_thousand_steps():
    """sum beta_k = int_0^1 beta = 10.05, and -ln(1 - b) lies between b and b + b^2 / (2 (1 - b))."""
    betas = df.linear_betas()
    kept = np.log(np.prod(1 - betas))
    assert betas.sum() == pytest.approx(10.05, rel=1e-12)
    assert -10.05 - (betas**2 / (2 * (1 - betas))).sum() <= kept <= -10.05
    assert kept == pytest.approx(2 * math.log(df.VP().alpha(1.0)), abs=(betas**2 / (2 * (1 - betas))).sum())


@pytest.mark.parametrize("arguments", [(0,), (10, 0.0, 0.1), (10, 0.2, 0.1), (10, 0.1, 1.0), (10, -0.1, 0.1)])
def test_betas_outside_0_and_1_are_refused(arguments):
    with pytest.raises(ValueError, match="betas need steps >= 1 and 0 < first <= last < 1, got"):
        df.linear_betas(*arguments)
