"""What diagnose finds, of equations where it is known; and the table of methods, row by row."""

import numpy as np
import pytest

import sdekit as sk
from sdekit.diagnosis import Diagnosis, diagnose
from sdekit.processes.langevin import UnderdampedLangevin
from sdekit.sde import SDE, Stratonovich

still = lambda x, t: (0.0, 0.0)
heston = SDE(lambda x, t: (0.05 * x[0], 2.0 * (0.04 - x[1])),
             lambda x, t: (np.sqrt(x[1]) * x[0], 0.1 * np.sqrt(x[1])))
cir = SDE(lambda x, t: 2.0 * (0.04 - x), lambda x, t: 0.5 * np.sqrt(x))
double_well = SDE(lambda x, t: x - x**3, lambda x, t: 0.5 * x)
fast = SDE(lambda x, t, L: -L * x, lambda x, t: 1.0 + 0.1 * np.sin(x), L=1000.0)
fast_additive = SDE(lambda x, t, L: (-L * (x[0] - x[1]), -x[1]), lambda x, t: (0.1, 0.1), L=1000.0)
bridge = SDE(lambda x, t: -x / (1.0 - t), lambda x, t: 1.0)
langevin = SDE(lambda x, t, c: (x[1], -np.sin(x[0]) - c * x[1]), lambda x, t: (0.0, 1.0), c=0.5)


def heat(x, t, n=12):
    """The heat equation on a ring of n: the fastest rate is 4 n^2."""
    return tuple(n * n * (x[i - 1] - 2 * x[i] + x[(i + 1) % n]) for i in range(n))


TABLE = [
    (sk.GeometricBrownianMotion(0.1, 0.2), 1.0, "exact"),
    (sk.OrnsteinUhlenbeck(1000.0), 1.0, "exact"),
    (cir, 0.04, "euler_maruyama"),
    (bridge, 0.0, "euler_maruyama"),
    (Stratonovich(cir.drift, cir.diffusion), 0.04, "euler_heun"),
    (fast, 1.0, "theta(1.0)"),
    (fast_additive, (0.0, 1.0), "theta(0.5)"),
    (Stratonovich(fast_additive.drift, fast_additive.diffusion, L=1000.0), (0.0, 1.0), "theta(0.5)"),
    (SDE(heat, lambda x, t: tuple(0.1 * v for v in x)), (1.0,) * 12, "srock_with(2)"),
    (double_well, 1.0, "tamed_euler"),
    (SDE(lambda x, t: -np.sinh(x), lambda x, t: 0.1), 0.0, "tamed_euler"),
    (SDE(lambda x, t: np.sin(x), lambda x, t: 1.0), 1.0, "sra"),
    (Stratonovich(lambda x, t: np.sin(x), lambda x, t: 1.0), 1.0, "sra"),
    (Stratonovich(lambda x, t: -x, lambda x, t: x), 1.0, "heun_stratonovich"),
    (Stratonovich(still, lambda x, t: ((x[1], 0.0), (0.0, x[0]))), (1.0, 1.0), "milstein_stratonovich"),
    (SDE(lambda x, t: -x, lambda x, t: x), 1.0, "sri"),
    (SDE(still, lambda x, t: ((0.2 * x[0],), (x[1] * x[0] / (1 + x[0] ** 2),))), (1.0, 1.0), "sri"),
    (SDE(still, lambda x, t: (0.2 * x[0], 0.1 * x[1])), (1.0, 1.0), "sri"),
    (SDE(still, lambda x, t: ((0.2 * x[0], 0.0), (0.0, 0.1 * x[1]))), (1.0, 1.0), "milstein"),  # a matrix
    (SDE(still, lambda x, t: ((x[1], x[0]), (-x[0], x[1]))), (1.0, 1.0), "milstein"),
    (heston, (100.0, 0.04), "strong_general"),
]


@pytest.mark.parametrize("sde, x0, name", TABLE)
def test_the_table(sde, x0, name):
    d = diagnose(sde, x0)
    assert d.reasons[0].startswith(name + ":")
    if name in ("sra", "sri", "strong_general"):
        pytest.importorskip("sdekit.runge_kutta")
    assert str(d.method) == name


@pytest.mark.parametrize("sde, x0, name", TABLE)
def test_the_method_takes_the_equation(sde, x0, name):
    d = diagnose(sde, x0)
    sk.simulate(sde, x0, t=0.01, steps=3, paths=2, seed=1, method=d.method, nonfinite="stop")


def test_langevin_form():
    """baoab needs force and friction apart: it is named for equations of that form, and taken by the process."""
    d = diagnose(langevin, (0.0, 1.0))
    assert "baoab" in d.reasons[1] and d.reasons[0].startswith("sra")


def test_underdamped_langevin_takes_baoab():
    process = UnderdampedLangevin(lambda q: -np.sin(q), gamma=0.5, temperature=1.0)
    assert str(diagnose(process, (0.0, 1.0)).method) == "baoab"


@pytest.mark.parametrize("drift, diffusion", [
    (lambda x, t: (x[1], -x[0] + 0.5 * x[1]), lambda x, t: (0.0, 1.0)),  # pushes on
    (lambda x, t: (x[1], -x[0] - 0.5 * x[1] * abs(x[1])), lambda x, t: (0.0, 1.0)),  # friction that is not linear
    (lambda x, t: (2 * x[1], -x[0] - 0.5 * x[1]), lambda x, t: (0.0, 1.0)),
    (lambda x, t: (x[1], -x[0] - 0.5 * x[1]), lambda x, t: (0.1, 1.0)),
    (lambda x, t: (x[1], -x[0] - 0.5 * x[1]), lambda x, t: (0.0, 1.0 + 0.1 * np.cos(x[0])))])
def test_what_is_not_of_langevin_form(drift, diffusion):
    assert "baoab" not in str(diagnose(SDE(drift, diffusion), (0.0, 1.0)).reasons)


@pytest.mark.parametrize("L", [0.3, 20.0, 4000.0])
def test_linear_drift_is_stable_below_two_over_its_rate(L):
    d = diagnose(SDE(lambda x, t, L: -L * x, lambda x, t: 1.0, L=L), 1.0)
    assert d.stiffness == pytest.approx(L, rel=1e-6) and d.stable_step == pytest.approx(2 / L, rel=1e-6)
    assert d.stiff == (L / 2 > 100)


def test_mean_square_stability_of_linear_noise():
    """h < -(2 a + b^2) / a^2 (Higham 2000)."""
    d = diagnose(SDE(lambda x, t: -3.0 * x, lambda x, t: (1.0 * x, 2.0 * x)), 1.0)
    assert d.stable_step == pytest.approx((6.0 - 5.0) / 9.0, rel=1e-6)


def test_a_damped_oscillation_needs_shorter_steps_than_its_damping():
    """l = -c +- i w: h < 2 c / (c^2 + w^2)."""
    d = diagnose(SDE(lambda x, t: (-x[0] + 50 * x[1], -x[1] - 50 * x[0]), lambda x, t: (0.1, 0.1)), (1.0, 0.0))
    assert d.stiffness == pytest.approx(1.0, rel=1e-3) and d.stable_step == pytest.approx(2 / 2501, rel=1e-3)


def test_no_stiffness_where_nothing_is_drawn_together():
    d = diagnose(SDE(lambda x, t: (x[1], 0.0), lambda x, t: (0.0, 1.0)), (0.0, 0.0))
    assert d.stiffness == 0 and d.stable_step == np.inf and not d.stiff
    assert "stiffness none" in str(d)


@pytest.mark.parametrize("p", [0.5, 1.0, 1.5, 3.0])
def test_growth_is_the_power(p):
    power = lambda x, t: -np.sign(x) * np.abs(x) ** p
    d = diagnose(SDE(power, power), 1.0)
    assert d.growth == pytest.approx((p, p), rel=1e-3)
    assert d.superlinear == (p > 1.2, p > 1.2)


def test_explosions_are_told_from_drifts_that_pull_back():
    words = "explode in finite time"
    assert words in str(diagnose(SDE(lambda x, t: x + x**3, lambda x, t: 1.0), 0.0))
    assert words not in str(diagnose(double_well, 1.0))
    assert words not in str(diagnose(SDE(lambda x, t: 5.0 * x, lambda x, t: 1.0), 1.0))


@pytest.mark.parametrize("diffusion, fault", [(lambda x, t: np.sqrt(x), "nan"), (lambda x, t: x**0.5, "complex"),
                                              (lambda x, t: {True: 1.0}[x > 0], "KeyError")])
def test_square_roots_of_negative_numbers_are_found(diffusion, fault):
    d = diagnose(SDE(cir.drift, diffusion), 0.04)
    assert len(d.domain) == 1 and d.domain[0].startswith("diffusion") and fault in d.domain[0]
    assert "x = -" in d.domain[0] and "np.maximum" in d.reasons[-1]
    kept = diagnose(SDE(cir.drift, lambda x, t: 0.5 * np.sqrt(np.maximum(x, 0.0))), 0.04)
    assert kept.domain == () and "domain    no trouble found" in str(kept)


def test_a_domain_that_no_step_reaches_the_edge_of_is_no_trouble():
    assert diagnose(SDE(lambda x, t: 2.0 * (0.04 - x), lambda x, t: 0.02 * np.sqrt(x)), 0.04).domain == ()


def test_a_drift_that_ends_with_time():
    d = diagnose(bridge, 0.0)
    assert "ZeroDivisionError" in d.domain[0] and d.domain[0].endswith("the end")
    assert diagnose(bridge, 0.0, t=0.5).domain == ()


@pytest.mark.parametrize("drift, diffusion, moves", [
    (lambda x, t: -x, lambda x, t: 1.0, (False, False)),
    (lambda x, t: -x * t, lambda x, t: 1.0, (True, False)),
    (lambda x, t: -x, lambda x, t: np.exp(-t) * x, (False, True)),
    (lambda x, t: x * (t > 0.5), lambda x, t: x * (t > 0.5), (True, True))])
def test_dependence_on_time(drift, diffusion, moves):
    d = diagnose(SDE(drift, diffusion), 1.0)
    assert d.time_dependent == moves
    assert ("homogeneous" in str(d)) == (not any(moves))


def test_rare_paths():
    assert "rare paths" in str(diagnose(sk.GeometricBrownianMotion(0.1, 1.5), 1.0))
    assert "rare paths" not in str(diagnose(sk.GeometricBrownianMotion(0.1, 0.2), 1.0))


@pytest.mark.parametrize("sde, x0", [(s, x) for s, x, _ in TABLE])
def test_the_report_is_short_and_always_the_same(sde, x0):
    text = str(diagnose(sde, x0))
    assert text == str(diagnose(sde, x0)) and len(text.splitlines()) <= 12
    assert [line.split()[0] for line in text.splitlines()[:6]] == ["noise", "time", "stiffness", "growth", "domain",
                                                                   "method"]


def test_times_and_starts():
    assert diagnose(cir, np.array([0.04, 1.0]), (1.0, 3.0)).span == 2.0
    grid = diagnose(heston, (np.array([100.0, 50.0]), 0.04), [0.0, 0.1, 0.5])
    assert isinstance(grid, Diagnosis) and grid.span == 0.5 and grid.kind == "general"
    assert diagnose(fast, lambda u: 1.0 + u).kind == "scalar"


@pytest.mark.parametrize("sde, x0, t, error, words", [
    (sk.ODE(lambda x, t: -x), 1.0, 1.0, TypeError, "needs an SDE"),
    (fast, "1", 1.0, TypeError, "x0 must be real"),
    (fast, np.inf, 1.0, ValueError, "finite"),
    (fast, 1.0, -1.0, ValueError, "forwards"),
    (fast, 1.0, None, TypeError, "t must be"),
    (heston, 1.0, 1.0, TypeError, "tuple"),
    (cir, -1.0, 1.0, ValueError, "finite"),
    (fast, np.ones((3, 2)), 1.0, TypeError, "one array")])
def test_what_cannot_be_diagnosed(sde, x0, t, error, words):
    with np.errstate(invalid="ignore"), pytest.raises(error, match=words):
        diagnose(sde, x0, t)


def test_tensors_are_refused():
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match="tensor"):
        diagnose(fast, torch.ones(3, 2))


def test_a_walk_needs_no_method():
    with pytest.raises(TypeError, match=r"CoinWalk\(p=0.5\) needs none: its own transition is the law of a step"):
        diagnose(sk.walks.CoinWalk(), 0.0)
