"""The double well and the noisy system of Lorenz."""

import math

import numpy as np
import pytest
from hypothesis import given
from scipy.integrate import solve_ivp

import sdekit as sk
from tests import strategies
from tests.conftest import assert_law, assert_near, rounding

LORENZ = {"sigma": 10.0, "rho": 28.0, "beta": 8 / 3}


@given(strategies.numbers(0.1, 5), strategies.numbers(0.1, 5), strategies.numbers(0.02, 3), strategies.numbers(-4, 4))
def test_the_potential_of_the_well_is_that_of_its_drift(a, b, sigma, x):
    """V' = -drift, V'(0) = V'(sqrt(a/b)) = 0 and V(0) - V(sqrt(a/b)) = a^2/(4 b), the height of the wall."""
    well, h = sk.DoubleWell(a, b, sigma), 1e-3
    slope = (well.potential(x + h) - well.potential(x - h)) / (2 * h)  # of x^4 and x^2: the error is b x h^2
    assert abs(slope + well.drift(x, 0.0, a=a, b=b)) <= b * abs(x) * h * h + rounding(1, well.potential(5.0)) / h
    assert well.potential(0.0) - well.potential((a / b) ** 0.5) == pytest.approx(a * a / (4 * b), rel=1e-12)
    assert well.diffusion(x, 0.0, sigma=sigma) == sigma


@pytest.mark.parametrize("a, b, sigma", [(1.0, 1.0, 0.5), (2.0, 0.5, 1.5), (1.0, 1.0, 0.01), (1.0, 1.0, 1e-4),
                                         (0.01, 1.0, 20.0), (50.0, 0.01, 1.0)])
def test_the_stationary_density_of_the_well_is_one_and_solves_its_equation(a, b, sigma):
    """It integrates to 1, is even, has no flux: drift p = (sigma^2/2) p'."""
    well = sk.DoubleWell(a, b, sigma)
    centre, width = (a / b) ** 0.5, min(sigma / (2 * a**0.5), 1 + (sigma**2 / b) ** 0.25)
    cuts = np.unique((centre + width * np.linspace(-24, 24, 97)).clip(0))
    nodes, weights = np.polynomial.legendre.leggauss(20)
    half = np.diff(cuts)[:, None] / 2
    points = cuts[:-1, None] + half * (1 + nodes)
    assert 2 * (half * weights * well.stationary(points)).sum() == pytest.approx(1.0, abs=1e-10)
    x = centre + width * np.array([-1.0, -0.3, 0.4, 1.0])
    p, h = well.stationary(x), width * 1e-3
    assert well.stationary(-x) == pytest.approx(p, rel=1e-12)
    slope = (well.stationary(x + h) - well.stationary(x - h)) / (2 * h)
    assert slope * sigma**2 / 2 == pytest.approx(well.drift(x, 0.0, a=a, b=b) * p, rel=1e-4,
                                                 abs=1e-5 * p.max() * sigma**2 / width)


def test_the_well_keeps_its_stationary_density():
    """Starts by inversion of the distribution function; the bias of sra is far below the noise."""
    well, n = sk.DoubleWell(sigma=1.0), 5000
    x = np.linspace(-4, 4, 4001)
    p = well.stationary(x)
    F = np.concatenate([[0.0], np.cumsum((p[1:] + p[:-1]) / 2)]) * (x[1] - x[0])
    assert F[-1] == pytest.approx(1.0, abs=1e-8)
    start = np.interp(sk.uniforms(71, paths=n)[:, 0, 0], F, x)
    end = sk.simulate(well, start, t=1.0, steps=25, seed=72, method=sk.sra, save="final", backend="numpy").final
    assert_law(end, lambda y: np.interp(y, x, F))
    moved = sk.simulate(well, np.full(n, 1.0), t=12.0, steps=300, seed=73, method=sk.sra, save="final", paths=n,
                        backend="numpy").final
    assert_law(moved, lambda y: np.interp(y, x, F))  # from one well it has gone to both


def test_tame_steps_survive_large_starts():
    x = sk.simulate(sk.DoubleWell(), 30.0, t=5.0, steps=50, paths=100, seed=74, method=sk.tamed_euler).final
    assert (np.abs(x) < 4).all()  # Euler-Maruyama is infinite after five steps


def test_the_drift_of_lorenz():
    system = sk.Lorenz()
    assert system.drift((2.0, 3.0, 5.0), 0.0, **LORENZ) == pytest.approx((10.0, 2 * 23 - 3, 6 - 40 / 3), rel=1e-15)
    for sign in (1, -1):  # the fixed points +-sqrt(beta (rho - 1))
        c = sign * (8 / 3 * 27) ** 0.5
        assert system.drift((c, c, 27.0), 0.0, **LORENZ) == pytest.approx((0.0, 0.0, 0.0), abs=1e-12)


def test_without_noise_it_is_lorenzs_own_system():
    def rate(t, x):
        return [10 * (x[1] - x[0]), x[0] * (28 - x[2]) - x[1], x[0] * x[1] - 8 / 3 * x[2]]

    exact = solve_ivp(rate, (0, 2), (1.0, 2.0, 20.0), method="DOP853", rtol=1e-12, atol=1e-12).y[:, -1]
    ode = sk.integrate(sk.Lorenz(noise=0.0), (1.0, 2.0, 20.0), t=2.0, steps=4000, save="final",
                       backend="numpy").final[0]
    assert ode == pytest.approx(exact, abs=1e-6)
    walked = [sk.simulate(sk.Lorenz(noise=0.0), (1.0, 2.0, 20.0), t=0.5, steps=n, seed=1, backend="numpy").final[0]
              for n in (500, 1000)]
    half = solve_ivp(rate, (0, 0.5), (1.0, 2.0, 20.0), method="DOP853", rtol=1e-12, atol=1e-12).y[:, -1]
    assert 1.8 < np.linalg.norm(walked[0] - half) / np.linalg.norm(walked[1] - half) < 2.2  # Euler, of order 1


def test_the_noise_of_lorenz_is_additive():
    """Its covariance after a short time is noise^2 h, the same for each component."""
    n, h = 20_000, 1e-5
    x = sk.simulate(sk.Lorenz(noise=2.0), (1.0, 2.0, 20.0), t=h, steps=1, paths=n, seed=75, backend="numpy").final
    assert_near(np.cov(x.T), 4 * h * np.eye(3), 4 * h * (1 + np.eye(3)) ** 0.5 / n**0.5)


def test_neighbours_part_at_lorenzs_exponent():
    """0.9056 (Sprott 2003). Pairs over 10 units, once on the attractor and along the growing direction."""
    n = 64
    start = tuple(5 * z for z in np.moveaxis(sk.normals(76, paths=n, components=3)[:, 0], 1, 0))
    ode = sk.Lorenz(noise=0.0)
    x = tuple(sk.integrate(ode, tuple(c + s for c, s in zip(start, (0, 0, 25))), t=10.0, steps=1000,
                           backend="numpy", save="final").final.T)
    gap = 1e-12
    both = tuple(np.concatenate([c, c + gap * (k == 0)]) for k, c in enumerate(x))
    ends = sk.integrate(ode, both, t=14.0, steps=1400, save=np.array([4.0, 14.0]), backend="numpy")
    apart = np.linalg.norm(ends.x[n:] - ends.x[:n], axis=-1)
    rates = np.log(apart[:, 1] / apart[:, 0]) / 10.0
    assert apart.max() < 1.0  # still linear
    assert_near(rates.mean(), 0.9056, rates.std() / n**0.5)


@pytest.mark.parametrize("make, message", [
    (lambda: sk.DoubleWell(a=0.0), "DoubleWell needs a > 0, got 0.0"),
    (lambda: sk.DoubleWell(sigma=-1.0), "DoubleWell needs sigma > 0, got -1.0"),
    (lambda: sk.Lorenz(noise=-1.0), "Lorenz needs noise >= 0, got -1.0"),
])
def test_wells_and_systems_of_wrong_parameters_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_wall_is_crossed_at_kramers_rate_to_its_order():
    """Mean time of leaving a well, 2 pi / sqrt(V''(0) V''(well)) e^{2 wall / sigma^2}: by quadrature, within 20%."""
    sigma = 0.4
    well = sk.DoubleWell(sigma=sigma)
    x = np.linspace(-3, 1, 20_001)
    p, h = well.stationary(x), x[1] - x[0]
    inner = h * (np.cumsum(p) - p / 2)
    exact = 2 / sigma**2 * h * (inner / p)[x >= -1].sum()
    assert exact == pytest.approx(2 * math.pi / 2**0.5 * math.exp(0.5 / sigma**2), rel=0.2)


def test_a_density_of_wells_for_each_path_is_refused():
    with pytest.raises(ValueError, match="parameters for each path; make a DoubleWell of three numbers"):
        sk.DoubleWell(a=[1.0, 2.0]).stationary(0.0)
    with pytest.raises(ValueError, match="x0 must be finite, got nan"):
        sk.DoubleWell().stationary(np.nan)
    assert (sk.DoubleWell().stationary([0.0, 1.0]) == sk.DoubleWell().stationary(np.array([0.0, 1.0]))).all()
