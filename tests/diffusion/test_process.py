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
from tests.diffusion.problems import ZERO_TERMINAL
from tests.strategies import numbers

betas = st.builds(lambda low, more: (low, low + more), numbers(0.05, 2.0), numbers(0.0, 20.0))
PROCESSES = [df.VP(), df.VP(0.5, 0.5), df.VP(0.1, 5.0), df.EDM(), df.VE(), df.VE(0.1, 2.0), df.SubVP(),
             df.SubVP(0.5, 0.5), df.Cosine(), df.Cosine(0.0), df.RectifiedFlow()]
WALKS = [df.Discrete(df.linear_betas()), df.Discrete(df.cosine_betas(20)), df.Discrete([0.1, 0.2, 0.7]), ZERO_TERMINAL]
ALL = [*PROCESSES, *WALKS]
every_process = pytest.mark.parametrize("process", ALL, ids=repr)


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
        for t in (0.1, 1.0 if process.alpha(1.0) else 0.9):
            coarse, fine = moments(process, t, 50), moments(process, t, 100)
            bias = np.abs(fine - coarse) + rounding(100, fine)
            assert (np.abs(fine - [process.alpha(t), process.sigma(t) ** 2]) <= bias).all(), (process, t)


@pytest.mark.parametrize("process", WALKS, ids=repr)
def test_the_moments_of_the_walk_s_sde_are_alpha_and_sigma(process):
    """ln alpha = int f and sigma^2 = alpha^2 int g^2/alpha^2, by Gauss nodes between whole times, where they jump."""
    nodes, weights = np.polynomial.legendre.leggauss(40)
    log, grown = 0.0, 0.0
    for k in range(min(len(process.betas), 30) - 1):
        t = k + (1 + nodes) / 2
        f, g = (np.array([float(call(process, name, 1.0, s)) for s in t]) for name in ("drift", "diffusion"))
        grown += weights @ (g**2 / np.array([process.alpha(s) for s in t]) ** 2) / 2
        log += weights @ f / 2
        assert log == pytest.approx(math.log(process.alpha(k + 1)), rel=1e-9, abs=1e-14)
        assert process.alpha(k + 1) ** 2 * grown == pytest.approx(process.sigma(k + 1) ** 2, rel=1e-9)


def inner(process, *parts):
    """Times at these parts of the way from the first to the last."""
    low, high = process.times
    return [low + part * (high - low) for part in parts]


@every_process
def test_slopes_are_differences(process):
    """Central ones: an error of order (h/t)^2, and rounding over h; no whole times of a walk, where they jump."""
    for t in inner(process, 0.0713, 0.3137, 0.7171, 0.9333):
        h = 1e-5 * min(t, 1.0)
        for name, slope in zip(("alpha", "sigma"), process.slopes(t)):
            value = getattr(process, name)
            exact = (value(t + h) - value(t - h)) / (2 * h)
            assert slope == pytest.approx(exact, rel=1e-6, abs=16 * EPS * value(t) / h)


@every_process
def test_coefficients_are_those_of_the_sde(process):
    for t in inner(process, 0.0713, 0.3137, 0.7171, 0.9333):
        f, g2 = process.coefficients(t)
        assert f == pytest.approx(float(call(process, "drift", 1.0, t)), rel=1e-8, abs=1e-15)
        assert g2 == pytest.approx(float(call(process, "diffusion", 1.0, t)) ** 2, rel=1e-8)


@every_process
def test_a_process_starts_at_data_and_loses_it(process):
    low, high = process.times
    assert low == 0 and (process.alpha(0.0), process.sigma(0.0)) == (1.0, 0.0)
    levels = [process.level(t) for t in np.linspace(low, high, 200).tolist()]
    assert (np.diff([level.noise for level in levels]) > 0).all()
    assert low < process.span[0] < process.span[1] <= high


@given(st.sampled_from(ALL), numbers(-7.0, 4.0))
def test_time_is_the_inverse_of_the_noise_level(process, log):
    """To 1e-12 of it, but for a walk the interpolation between its times, and for the cosine 1 - asin(1 / ...)."""
    noise = min(10**log, 0.999 * process.level(process.times[1]).noise)
    found = process.at(noise)
    assert found.noise == pytest.approx(noise, rel=1e-10, abs=0)
    assert found == process.level(found.time) and process.times[0] <= found.time <= process.times[1]


@every_process
def test_the_ends_have_their_noise_level_too(process):
    low, high = process.times
    assert process.at(0.0) == process.level(low)
    assert process.at(process.level(high).noise).time == pytest.approx(high, rel=4 * EPS)


@given(st.sampled_from(ALL), st.sampled_from(ALL), numbers(-4.0, 4.0), numbers(-3.0, 3.0), numbers(-3.0, 3.0))
def test_a_state_of_one_process_is_one_of_any_other(source, target, log, x0, eps):
    """alpha x_0 + sigma eps, there and back."""
    noise = min(10**log, *(0.999 * p.level(p.times[1]).noise for p in (source, target)))
    a, b = source.at(noise), target.at(noise)
    x = a.alpha * x0 + a.sigma * eps
    there = df.convert(x, a, b)
    size = b.alpha * abs(x0) + b.sigma * abs(eps)
    assert abs(there - (b.alpha * x0 + b.sigma * eps)) <= 1e-8 * size
    assert abs(df.convert(there, b, a) - x) <= 8 * EPS * abs(x)


def test_pure_noise_is_converted_too():
    """At alpha = 0 of both x is sigma eps."""
    a, b = df.Level(1.0, 0.0, 1.0), df.Level(5.0, 0.0, 3.0)
    assert df.convert(2.0, a, b) == 6.0 and df.convert(6.0, b, df.RectifiedFlow().at(math.inf)) == 2.0


def test_levels_of_different_noise_are_not_converted():
    with pytest.raises(ValueError, match=r"sigma/alpha is 1 here and 2 there; find the target by process.at\(1\)"):
        df.convert(1.0, df.EDM().at(1.0), df.RectifiedFlow().at(2.0))


@every_process
def test_a_time_or_a_noise_level_that_it_does_not_have_is_refused(process):
    low, high = process.times
    for t in (low - 1e-9, high * (1 + 1e-9), math.nan, math.inf):
        with pytest.raises(ValueError, match="and has no time"):
            process.level(t)
    top = process.level(high).noise
    for noise in (-1e-9, math.nan, *([] if top == math.inf else [1.001 * top, math.inf])):
        with pytest.raises(ValueError, match=r"goes from 0 to .* and never is"):
            process.at(noise)


@pytest.mark.parametrize("process", PROCESSES, ids=repr)
def test_the_drift_is_linear_without_a_constant(process):
    x = np.array([-2.0, 0.0, 1.0, 3.0])
    for t in (0.1, 0.9):
        slope = call(process, "drift", 1.0, t)
        np.testing.assert_allclose(np.broadcast_to(call(process, "drift", x, t), 4), slope * x, rtol=2 * EPS)


def test_simulated_noise_has_the_law_of_the_process():
    """Euler-Maruyama on a linear SDE: its own mean and variance follow by recursion."""
    n, steps, x0 = 20_000, 60, 1.3
    for process, end in ((df.VP(), 0.7), (df.EDM(), 2.0), (df.VE(), 0.8), (df.SubVP(), 0.7), (df.Cosine(), 0.8),
                         (df.RectifiedFlow(), 0.8), (WALKS[0], 700.0)):
        x = sk.simulate(process, x0, end, steps, n, seed=4, save="final", backend="numpy").final
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


@given(betas, numbers(0.0, 1.0))
def test_sub_vp_has_vp_s_alpha_and_the_square_of_its_sigma(beta, t):
    vp, sub = df.VP(*beta), df.SubVP(*beta)
    assert sub.alpha(t) == vp.alpha(t) and sub.sigma(t) == pytest.approx(vp.sigma(t) ** 2, rel=8 * EPS, abs=1e-300)


@given(numbers(1e-3, 1.0), numbers(1.01, 100.0), numbers(0.0, 1.0))
def test_ve_grows_geometrically_from_nought(low, ratio, t):
    """sigma^2 + sigma_min^2 = sigma_min^2 ratio^(2t)."""
    ve = df.VE(low, low * ratio)
    assert math.hypot(ve.sigma(t), low) == pytest.approx(low * ratio**t, rel=1e-12)


@given(numbers(0.0, 0.1), numbers(0.0, 1.0))
def test_cosine_is_nichol_and_dhariwal_s(offset, t):
    """f(t)/f(0), f = cos^2(pi/2 (t + s)/(1 + s)); at t near 1 the formula itself is rounded."""
    f = [math.cos(math.pi / 2 * (u + offset) / (1 + offset)) ** 2 for u in (t, 0.0)]
    cosine = df.Cosine(offset)
    lost = 8 * EPS / max(f[0], 1e-40) ** 0.5  # the rounded angle, in the units of its distance to a right one
    assert cosine.alpha(t) ** 2 == pytest.approx(f[0] / f[1], rel=1e-9 + lost, abs=1e-30)
    assert cosine.alpha(t) ** 2 + cosine.sigma(t) ** 2 == pytest.approx(1, rel=4 * EPS)


@given(numbers(0.0, 1.0))
def test_the_flow_is_a_straight_line(t):
    flow = df.RectifiedFlow()
    assert (flow.alpha(t), flow.sigma(t), flow.slopes(t)) == (1 - t, t, (-1.0, 1.0))


@pytest.mark.parametrize("make, error, message", [
    (lambda: df.VE(0.0, 1.0), ValueError, "VE needs 0 < sigma_min < sigma_max, got 0.0 and 1.0"),
    (lambda: df.VE(2.0, 1.0), ValueError, "VE needs 0 < sigma_min < sigma_max"),
    (lambda: df.VE(1.0, 1.0), ValueError, "VE needs 0 < sigma_min < sigma_max"),
    (lambda: df.VE(0.1, math.inf), ValueError, "sigma_max must be finite"),
    (lambda: df.VE("a"), TypeError, "sigma_min must be a real number"),
    (lambda: df.SubVP(0.0, 1.0), ValueError, "SubVP needs 0 < beta_min <= beta_max, got 0.0 and 1.0"),
    (lambda: df.SubVP(2.0, 1.0), ValueError, "SubVP needs 0 < beta_min <= beta_max"),
    (lambda: df.Cosine(-0.1), ValueError, "offset is a number of at least 0, got -0.1"),
    (lambda: df.Cosine(math.nan), ValueError, "offset"), (lambda: df.Cosine(math.inf), ValueError, "offset"),
    *((lambda betas=betas: df.Discrete(betas), ValueError, "betas are a list of numbers between 0 and 1, of which")
      for betas in ([], [0.0], [0.1, 1.1], [0.1, -0.2], [1.0, 0.1], [0.1, math.nan], [[0.1, 0.2]])),
    (lambda: df.cosine_betas(0), ValueError, "betas need steps >= 1 and 0 < most <= 1, got steps=0"),
    (lambda: df.cosine_betas(10, most=0.0), ValueError, "betas need steps >= 1 and 0 < most <= 1"),
    (lambda: df.cosine_betas(10, most=1.5), ValueError, "betas need steps >= 1 and 0 < most <= 1"),
    (lambda: df.cosine_betas(10, offset=-1.0), ValueError, "offset"),
    (lambda: df.zero_terminal(np.array([0.5])), ValueError, "give at least two betas"),
])
def test_what_makes_no_process_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


# The walk


@given(st.lists(numbers(1e-5, 0.99), min_size=1, max_size=30), st.booleans())
def test_at_whole_times_it_is_the_walk(betas, ends):
    """x_t = sqrt(1 - beta_t) x_{t-1} + sqrt(beta_t) eps: alpha is multiplied, variances add up."""
    betas = [*betas, 1.0] if ends else betas
    process, alpha, variance = df.Discrete(betas), 1.0, 0.0
    for t, beta in enumerate(betas, 1):
        alpha, variance = (1 - beta) ** 0.5 * alpha, (1 - beta) * variance + beta
        level = process.level(float(t))
        assert (level.alpha, level.sigma**2) == pytest.approx((alpha, variance), rel=64 * len(betas) * EPS, abs=0)


def test_between_whole_times_the_square_of_alpha_is_a_straight_line():
    walk = df.Discrete([0.1, 0.2, 0.7])
    for k in range(3):
        a, b = walk.alpha(k) ** 2, walk.alpha(k + 1) ** 2
        for part in (0.25, 0.5, 0.9):
            assert walk.alpha(k + part) ** 2 == pytest.approx(a + part * (b - a), rel=1e-14)
            assert walk.alpha(k + part) ** 2 + walk.sigma(k + part) ** 2 == pytest.approx(1, rel=1e-14)


@pytest.mark.parametrize("most", [0.999, 0.9, 1.0])
def test_cosine_betas_are_cosine_s_and_at_most_so_large(most):
    """Up to where one is cut, the walk is the process at t/T."""
    betas, cosine = df.cosine_betas(200, most=most), df.Cosine()
    assert betas.max() == most and (betas > 0).all() and betas.shape == (200,)
    walk, free = df.Discrete(betas), int((betas < most).argmin())
    for t in range(0, free + 1, 20):
        assert walk.alpha(t) == pytest.approx(cosine.alpha(t / 200), rel=1e-10)


def test_cosine_betas_of_a_thousand_steps_are_cut_at_the_last_alone():
    betas = df.cosine_betas()
    assert len(betas) == 1000 and betas.max() == 0.999 and (betas == 0.999).sum() == 1 and betas[-1] == 0.999


@pytest.mark.parametrize("betas", [df.linear_betas(), df.linear_betas(50, 1e-3, 0.3), df.cosine_betas(30)])
def test_zero_terminal_betas_shift_alpha_to_nought_and_keep_its_first_value(betas):
    """Lin et al. 2024, algorithm 1: alpha is an affine function of what it was."""
    before, after = df.Discrete(betas), df.Discrete(df.zero_terminal(betas))
    T = float(len(betas))
    assert after.alpha(T) == 0 and after.betas[-1] == 1 and after.level(T).noise == math.inf
    assert after.alpha(1) == pytest.approx(before.alpha(1), rel=1e-12)
    shrink = before.alpha(1) / (before.alpha(1) - before.alpha(T))
    for t in range(1, len(betas), 7):
        assert after.alpha(t) == pytest.approx(shrink * (before.alpha(t) - before.alpha(T)), rel=1e-9)


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
