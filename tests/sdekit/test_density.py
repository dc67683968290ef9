"""The density solver: what it keeps, exact laws, measured orders, agreement with paths, and what it refuses."""

import warnings

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays
from scipy.linalg import expm, solve_continuous_lyapunov
from scipy.stats import beta, betaprime, lognorm, multivariate_normal, norm, uniform

import sdekit as sk
from sdekit.density import continuity, fokker_planck, grid
from sdekit.density.cells import masses
from sdekit.density.finite_volumes import FARTHEST, advance, decomposed, lines, rates
from sdekit.density.generator import Generator
from sdekit.density.score import changes
from sdekit.gaussian import Gaussian
from sdekit.numba_compiler import compiled
from sdekit.walks.priors import Prior
from tests.conftest import EPS, assert_near

WELL = sk.SDE(lambda x, t: x - x**3, lambda x, t, s: s, s=0.8)
QUARTIC = lambda x: x**4 / 4 - x**2 / 2  # its potential


def cell_means(law, edges):
    return np.diff(law.cdf(edges)) / np.diff(edges)


def distance(p, exact, k=-1):
    """sum |p - exact| over the cells: twice the total variation."""
    area = np.outer(*map(np.diff, p.edges)) if isinstance(p.edges, tuple) else np.diff(p.edges)
    return float(np.sum(np.abs(p.density[k] - exact) * area))


def order(errors, steps):
    """The slope of log error over log step, by least squares."""
    return np.polyfit(np.log(steps), np.log(errors), 1)[0]


class Linear:
    """dX = A X dt + G dW in the plane, started in N(m, S), and its law."""

    def __init__(self, A, G, m=(1.0, -0.5), S=((0.25, 0.05), (0.05, 0.3))):
        self.A, self.G, self.m, self.S = (np.array(v) for v in (A, G, m, S))
        a, g = self.A.tolist(), self.G.tolist()
        self.sde = sk.SDE(lambda x, t: (a[0][0] * x[0] + a[0][1] * x[1], a[1][0] * x[0] + a[1][1] * x[1]),
                          lambda x, t: (tuple(g[0]), tuple(g[1])))

    def at(self, t):
        """Mean and covariance: dS/dt = A S + S A^T + D."""
        E, rest = expm(self.A * t), solve_continuous_lyapunov(self.A, -self.G @ self.G.T)
        return E @ self.m, E @ (self.S - rest) @ E.T + rest

    def solved(self, n, steps, **more):
        return fokker_planck(self.sde, multivariate_normal(self.m, self.S), (grid(-5, 5, n), grid(-5, 5, n)), 1.0,
                             steps, save="final", **more)


TURNING = ((-1.0, 0.5), (-0.8, -0.6))
SPRING = ((0.0, 1.0), (-1.0, -1.0))


# --- what every step keeps

@given(st.data())
def test_mass_stays_and_nothing_is_negative_whatever_the_rates(data):
    n = data.draw(st.integers(3, 12))
    numbers = lambda low, high, size: data.draw(arrays(float, size, elements=st.floats(low, high, width=32)))
    half, width = numbers(0.0, 100.0, n), numbers(0.125, 2.0, n)
    family = rates(lines((n,), (1,)), half, (width[1:] + width[:-1]) / 2, width, numbers(-100.0, 100.0, n - 1))
    mass, h = numbers(0.0, 1.0, n), data.draw(st.floats(1e-4, 1e3))
    assert (family.forward >= 0).all() and (family.backward >= 0).all()
    after = advance(mass, [family], h, width)
    assert (after >= 0).all()
    fastest = h * (family.forward + family.backward).max()
    assert abs(after.sum() - mass.sum()) <= 64 * n * EPS * (1 + fastest) * mass.sum()  # the solve's residual


@pytest.mark.parametrize("start", [norm(1.0, 0.3), uniform(-1.0, 1.0)], ids=["smooth", "jumps"])
@pytest.mark.parametrize("sde", [WELL, sk.OrnsteinUhlenbeck(2.0, 0.5, 0.7), sk.BrownianMotion(0.3),
                                 sk.SDE(lambda x, t: np.sin(3 * t) - x, lambda x, t: 0.5 * np.sqrt(1 + x**2))],
                         ids=["well", "ou", "brownian", "in time"])
def test_mass_is_kept_to_rounding_with_few_and_with_many_steps(sde, start):
    for steps in (3, 60):
        p = fokker_planck(sde, start, grid(-8, 8, 240), 1.0, steps)
        np.testing.assert_allclose(p.mass, 1.0, rtol=0, atol=1e-12)
        assert (p.density >= 0).all()


@pytest.mark.parametrize("G", [((0.8, 0.0), (0.5, 0.4)), ((0.0, 0.0), (0.0, 1.0)), ((0.0, 0.0), (0.0, 0.0))],
                         ids=["correlated", "no noise in x", "none"])
def test_mass_is_kept_in_the_plane(G):
    for steps in (2, 20):
        p = Linear(TURNING, G).solved(40, steps)
        assert abs(p.mass[-1] - 1.0) < 1e-12 and (p.density >= 0).all()


@given(st.floats(-0.99, 0.99), st.floats(0.2, 5.0))
def test_correlated_noise_is_a_sum_of_jumps_of_positive_weight(rho, ratio):
    D = np.array([[1.0, rho * ratio], [rho * ratio, ratio**2]])
    try:
        found = decomposed(*(np.array([d]) for d in (D[0, 0], D[0, 1], D[1, 1])))
    except ValueError:
        assert abs(rho) > 0.9
        return
    assert len(found) <= 3 and min(w[0] for w in found.values()) >= 0
    np.testing.assert_allclose(sum(w[0] * np.outer(e, e) for e, w in found.items()), D, rtol=0, atol=1e-9 * ratio**2)


def test_noise_in_common_goes_along_the_diagonal():
    found = decomposed(*np.array([[2.0, 2.0], [2.0, -2.0], [2.0, 2.0]]))
    assert {e: w.tolist() for e, w in found.items() if w.any()} == {(1, 1): [2.0, 0.0], (1, -1): [0.0, 2.0]}


def test_lines_pass_every_cell_once_and_link_neighbours():
    for offset in (1, 0), (0, 1), (1, -1), (2, 1), (1, -3):
        found = lines((5, 7), offset)
        assert sorted(found.order) == list(range(35))
        i, j = np.divmod(found.order, 7)
        ends = np.stack([i[:-1] + offset[0] - i[1:], j[:-1] + offset[1] - j[1:]])
        assert (ends[:, found.linked] == 0).all()
        assert found.linked.sum() == (5 - abs(offset[0])) * (7 - abs(offset[1]))


def test_boltzmanns_density_is_in_balance_over_every_face():
    """Simpson's rule is exact for the well's drift, so the fitted rates' ratio is e^{-2 (U_{i+1} - U_i) / D}."""
    edges = grid(-2, 2, 50)
    generator = Generator(WELL, (edges,), 0.0)
    [found] = generator.rates(0.0, np.zeros(50))
    U = QUARTIC((edges[1:] + edges[:-1]) / 2)
    np.testing.assert_allclose(found.forward / found.backward, np.exp(-2 * np.diff(U) / 0.64), rtol=1e-12)


def test_the_well_tends_to_boltzmanns_density():
    p = fokker_planck(WELL, norm(0.3, 0.3), grid(-3, 3, 120), 100.0, 200, save="final")
    exact = np.exp(-2 * QUARTIC(p.x) / 0.64)
    assert distance(p, exact / exact.sum() / 0.05) < 1e-5


def test_walls_reflect():
    """Without drift between walls the uniform density stays, and any other tends to it."""
    edges = grid(0.0, 1.0, 40)
    with pytest.warns(RuntimeWarning, match="walls reflect"):
        p = fokker_planck(sk.BrownianMotion(), lambda x: 2 * x, edges, 4.0, 100, save="final")
    np.testing.assert_allclose(p.density[-1], 1.0, atol=2 * np.exp(-np.pi**2 / 2 * 4.0))


# --- exact laws and orders

def brownian(n):
    p = fokker_planck(sk.BrownianMotion(), norm(0.0, 0.5), grid(-8, 8, n), 1.0, 200, save="final")
    return p, cell_means(norm(0.0, 1.25**0.5), p.edges)


def ornstein_uhlenbeck(n):
    ou = sk.OrnsteinUhlenbeck(kappa=1.0, theta=0.5, sigma=1.0)
    p = fokker_planck(ou, norm(-1.0, 0.5), grid(-5, 5, n), 1.0, 200, save="final")
    variance = 0.25 * np.exp(-2.0) + (1 - np.exp(-2.0)) / 2
    return p, cell_means(norm(0.5 - 1.5 * np.exp(-1.0), variance**0.5), p.edges)


def geometric(n, edges=grid, sde=sk.GeometricBrownianMotion):
    law = lambda t: lognorm(s=(0.09 + 0.16 * t) ** 0.5, scale=np.exp((0.1 - 0.08) * t))
    p = fokker_planck(sde(0.1, 0.4), law(0.0), edges(0.0, 12.0, 4 * n), 1.0, 200, save="final")
    return p, cell_means(law(1.0), p.edges)


def graded(low, high, cells):
    """Cells that grow with x, smoothly."""
    return 3 * np.sinh(np.linspace(0.0, np.arcsinh(high / 3), cells + 1)) + low


def stratonovich(mu, sigma):
    """The same process by the chain rule: dX = (mu - sigma^2 / 2) X dt + sigma X o dW."""
    return sk.Stratonovich(lambda x, t, m: m * x, lambda x, t, s: s * x, m=mu - sigma**2 / 2, s=sigma)


def plane(A, G):
    def solved(n):
        case = Linear(A, G)
        p = case.solved(n, 2 * n // 3)
        return p, multivariate_normal(*case.at(1.0)).pdf(np.stack(np.meshgrid(*p.x, indexing="ij"), -1))
    return solved


SPACE = {  # solved(cells) -> density and exact; the grids; the largest error on the finest
    "brownian": (brownian, (40, 80, 160, 320), 2e-4),
    "ornstein-uhlenbeck": (ornstein_uhlenbeck, (40, 80, 160, 320), 3e-4),
    "geometric": (geometric, (30, 60, 120, 240), 5e-4),
    "geometric, cells that grow": (lambda n: geometric(n, graded), (30, 60, 120), 5e-4),
    "geometric, Stratonovich": (lambda n: geometric(n, sde=stratonovich), (30, 60, 120), 1e-3),
    "two noises": (plane(TURNING, ((0.8, 0.0), (0.0, 0.6))), (30, 45, 68, 100), 6e-3),
    "correlated": (plane(TURNING, ((0.8, 0.0), (0.5, 0.4))), (30, 45, 68, 100), 2e-2),
    "against": (plane(TURNING, ((0.8, 0.0), (-0.5, 0.4))), (30, 45, 68, 100), 2e-2),
    "no noise in x": (plane(SPRING, ((0.0, 0.0), (0.0, 1.0))), (30, 45, 68, 100), 8e-3),
}


@pytest.mark.parametrize("name", SPACE)
def test_exact_laws_at_second_order_in_space(name):
    solved, cells, largest = SPACE[name]
    errors = [distance(*solved(n)) for n in cells]
    assert errors[-1] < largest, errors
    assert 1.75 < order(errors, 1 / np.array(cells)) < 2.4, errors


def test_moments_of_the_plane():
    """Their errors are c dx^2: two grids tell the exact ones."""
    case = Linear(TURNING, ((0.8, 0.0), (0.5, 0.4)))
    mean, cov = case.at(1.0)
    coarse, fine = (case.solved(n, n) for n in (40, 80))
    np.testing.assert_allclose(fine.cov()[0], cov, atol=4e-3)
    np.testing.assert_allclose((4 * fine.mean() - coarse.mean())[0] / 3, mean, atol=2e-4)
    np.testing.assert_allclose((4 * fine.cov() - coarse.cov())[0] / 3, cov, atol=4e-4)
    assert fine.var().shape == (1, 2) and np.array_equal(fine.var()[0], np.diag(fine.cov()[0]))


TIME = {
    "constant": sk.OrnsteinUhlenbeck(kappa=1.0, theta=0.5, sigma=1.0),
    "in time": sk.SDE(lambda x, t: 2 * np.cos(4 * t) - x, lambda x, t: 1.0 + 0.5 * np.sin(3 * t)),
    "plane": sk.SDE(lambda x, t: (np.cos(3 * t) - x[1], x[0] - x[1]), lambda x, t: ((0.8, 0.0), (0.3, 0.6))),
}


@pytest.mark.parametrize("name", TIME)
def test_second_order_in_time(name):
    start, edges = norm(-1.0, 0.5), grid(-6, 6, 200)
    if name == "plane":
        start, edges = (norm(-1.0, 0.5), norm(0.5, 0.6)), (grid(-6, 6, 48), grid(-6, 6, 50))
    solved = lambda steps: fokker_planck(TIME[name], start, edges, 1.0, steps, save="final")
    steps = (5, 10, 20, 40) if name == "plane" else (10, 20, 40, 80)
    exact = solved(4 * steps[-1]).density[-1]
    errors = [distance(solved(n), exact) for n in steps]
    assert 1.75 < order(errors, 1 / np.array(steps)) < 3.0, errors


@pytest.mark.parametrize("cells", [400, 800])
def test_what_the_fitted_drift_adds_to_the_variance(cells):
    """f^2 dx^2 t / (3 D) to first order in z^2: the next term of z/2 coth z/2 - 1 = z^2/12 - z^4/720 is below 2%."""
    p = fokker_planck(sk.BrownianMotion(1.0, 0.1**0.5), norm(-3.0, 0.5), grid(-10, 10, cells), 4.0, 100, save=2)
    dx = 20 / cells
    np.testing.assert_allclose(p.mean(), [-3.0, 1.0], atol=1e-9)
    np.testing.assert_allclose(np.diff(p.var()) - 0.4, 4 * dx**2 / (3 * 0.1), rtol=0.02)


def test_the_time_at_which_the_coefficients_are_taken():
    """E X = int 2 cos 4s ds for dX = 2 cos(4t) dt + dW from t = 0.5: linear in p, and the middle of each step."""
    sde = sk.SDE(lambda x, t: 2 * np.cos(4 * t) + 0 * x, lambda x, t: 1.0)
    p = fokker_planck(sde, norm(0.0, 0.5), grid(-7, 7, 560), (0.5, 1.5), 100, save=3)
    exact = (np.sin(4 * p.t) - np.sin(2.0)) / 2
    np.testing.assert_allclose(p.mean(), exact, atol=1e-3)


def test_noise_that_turns_with_the_state():
    """dX = J X o dW1 + s dW: E X(t) = e^{-t/2} X(0) and d E|X|^2/dt = 2 s^2; correlations from -0.96 to 0.96."""
    sde = sk.Stratonovich(lambda x, t: (0 * x[0], 0 * x[1]), lambda x, t: ((-x[1], 0.5, 0.0), (x[0], 0.0, 0.5)))
    start, errors = (norm(1.0, 0.3), norm(0.0, 0.3)), []
    for n in (30, 45):
        p = fokker_planck(sde, start, (grid(-5, 5, n), grid(-5, 5, n)), 1.0, 40, save=2)
        squares = p.var().sum(axis=1) + (p.mean() ** 2).sum(axis=1)
        errors.append([*(p.mean()[1] - np.exp(-0.5) * p.mean()[0]), squares[1] - squares[0] - 0.5])
    assert np.all(np.abs(errors[1]) < [8e-3, 1e-4, 0.016])
    assert 1.6 < order([abs(e[0]) for e in errors], (1 / 30, 1 / 45)) < 2.4


def test_several_noises_of_one_number_add_their_variances():
    two = sk.SDE(lambda x, t: -x, lambda x, t: (0.6, 0.8 * np.cos(x)))
    one = sk.SDE(lambda x, t: -x, lambda x, t: np.sqrt(0.36 + 0.64 * np.cos(x) ** 2))
    p, q = (fokker_planck(sde, norm(0.0, 0.5), grid(-6, 6, 100), 1.0, 20).density for sde in (two, one))
    np.testing.assert_allclose(p, q, atol=1e-13)


def test_swapped_components_give_the_transposed_density():
    sde = sk.SDE(lambda x, t: (x[1] - x[0], np.sin(x[0])), lambda x, t: (0.5, 1.0 + 0.3 * np.cos(x[0])))
    swapped = sk.SDE(lambda x, t: (np.sin(x[1]), x[0] - x[1]), lambda x, t: (1.0 + 0.3 * np.cos(x[1]), 0.5))
    laws, edges = (norm(0.5, 0.4), norm(0.0, 0.6)), (grid(-5, 5, 40), grid(-8, 8, 50))
    run: dict = {"steps": 100, "save": "final"}
    p, q = fokker_planck(sde, laws, edges, 0.5, **run), fokker_planck(swapped, laws[::-1], edges[::-1], 0.5, **run)
    assert distance(p, q.density[0].T) < 2e-4  # the order of the splitting differs


# --- walls at which the noise dies out

def square_root(a):
    """dX = (theta - X) dt + X^{1/2} / 2 dW with p ~ x^{a-1} at 0, a = 2 theta / sigma^2, from t = 1/2 to 1."""
    cir = sk.CoxIngersollRoss(1.0, a * 0.125, 0.5)
    before, after = cir.law(0.2, 0.5), cir.law(0.2, 1.0)

    def solved(n):
        p = fokker_planck(cir, before, grid(0.0, 2.0, n), 0.5, 100, save="final")
        return distance(p, cell_means(after, p.edges))
    return solved


@pytest.mark.parametrize("a, slowest", [(0.2, 1.2), (0.5, 1.5), (0.8, 1.8), (1.5, 1.8)])
def test_densities_that_are_infinite_or_steep_at_a_wall(a, slowest):
    """Fluxes that take p for smooth have the order a."""
    cells = (50, 100, 200, 400)
    errors = [square_root(a)(n) for n in cells]
    assert errors[-1] < 4e-4 and order(errors, 1 / np.array(cells)) > slowest, errors


@pytest.mark.parametrize("share", [0.3, 0.8])
def test_two_walls_at_which_the_noise_dies_out(share):
    """dX = (m - X)/2 dt + (X (1 - X))^{1/2} dW tends to beta(m, 1 - m)."""
    sde = sk.SDE(lambda x, t, m: (m - x) / 2, lambda x, t: np.sqrt(np.maximum(x * (1 - x), 0.0)), m=share)
    edges, law = grid(0.0, 1.0, 100), beta(share, 1 - share)
    p = fokker_planck(sde, norm(0.5, 0.08), edges, 30.0, 150, save="final")
    assert distance(p, cell_means(law, edges)) < 2e-3


def test_a_wall_at_which_the_noise_is_no_power():
    """dX = (1/4 - 4 X) dt + (X (1 + X))^{1/2} dW tends to beta'(1/2, 9)."""
    sde = sk.SDE(lambda x, t: 0.25 - 4 * x, lambda x, t: np.sqrt(np.maximum(x * (1 + x), 0.0)))
    solved = [fokker_planck(sde, norm(0.5, 0.08), grid(0.0, 6.0, n), 5.0, 60, save="final") for n in (150, 300)]
    errors = [distance(p, cell_means(betaprime(0.5, 9.0), p.edges)) for p in solved]
    assert errors[1] < 1e-3 and order(errors, (2, 1)) > 1.4, errors


@pytest.mark.parametrize("axis", [0, 1])
def test_a_wall_of_the_plane(axis):
    """Noises that have nothing in common: one component by itself is the square-root process."""
    cir = sk.CoxIngersollRoss(1.0, 0.0625, 0.5)
    turn = lambda v: v[::-1] if axis else v
    sde = sk.SDE(lambda x, t: turn((0.0625 - turn(x)[0], -turn(x)[1])),
                 lambda x, t: turn((0.5 * np.sqrt(np.maximum(turn(x)[0], 0.0)), 1.0)))
    edges = (grid(0.0, 1.5, 80), grid(-4.0, 4.0, 24))
    p = fokker_planck(sde, turn((cir.law(0.2, 0.5), norm(0.0, 0.7))), turn(edges), 0.5, 40, save="final")
    share = p.density[-1].sum(axis=1 - axis) * 1.5 / 80 / 3
    assert np.abs(share - np.diff(cir.law(0.2, 1.0).cdf(edges[0]))).sum() < 2e-3


def test_cells_that_grow_along_either_axis():
    sde, law = sk.SDE(lambda x, t: (-x[0], -x[1]), lambda x, t: (1.0, 1.0)), (norm(1.0, 0.5), norm(1.0, 0.5))
    edges = 5 * np.sinh(np.linspace(-2, 2, 61)) / np.sinh(2), grid(-5, 5, 60)
    for k in 0, 1:
        p = fokker_planck(sde, law, edges[::-1] if k else edges, 1.0, 40, save="final")
        np.testing.assert_allclose(p.mean()[0], np.exp(-1.0), atol=5e-3)
        np.testing.assert_allclose(p.std()[0] ** 2, (1 - np.exp(-2.0)) / 2 + np.exp(-2.0) / 4, atol=2e-3)


def test_warnings_of_walls_that_the_fluxes_do_not_follow():
    vol = lambda x: np.sqrt(np.maximum(x[1], 0.0))
    logs = sk.SDE(lambda x, t: (-x[1] / 2, 2 * (0.04 - x[1])),
                  lambda x, t: ((vol(x), 0.0), (-0.35 * vol(x), 0.5 * 0.51**0.5 * vol(x))))
    with pytest.warns(RuntimeWarning, match=r"at the wall x\[1\] = 0 .* infinite, y\^-0.36 .* to the power 0.64"):
        fokker_planck(logs, (norm(0.0, 0.2), norm(0.2, 0.03)), (grid(-3.6, 3.6, 72), grid(0, 1, 20)), 1.0, 10)
    with pytest.warns(RuntimeWarning, match=r"arrives at the wall x = 0 stays there.* 0\.\d+ is in the cells"):
        fokker_planck(sk.CoxIngersollRoss(1.0, 0.0, 0.5), norm(0.3, 0.05), grid(0, 2, 100), 1.0, 20)


# --- the continuity equation

def test_points_that_are_drawn_together():
    errors = []
    for n in (100, 200, 400):
        p = continuity(lambda x, t: -x, norm(0.5, 1.0), grid(-6, 6, n), 1.0, n // 2, save="final")
        errors.append(distance(p, cell_means(norm(0.5 * np.exp(-1.0), np.exp(-1.0)), p.edges)))
    assert errors[-1] < 2e-3 and order(errors, (4, 2, 1)) > 1.75, errors


def test_a_jump_is_carried_and_makes_no_new_peaks():
    p = continuity(sk.ODE(lambda x, t, v: v + 0 * x, v=1.0), uniform(-3.0, 2.0), grid(-6, 6, 300), 4.0, 200)
    np.testing.assert_allclose(p.mass, 1.0, atol=1e-12)
    np.testing.assert_allclose(p.mean(), -2.0 + p.t, atol=1e-3)
    assert p.density.min() >= 0 and p.density.max() < 0.5 * (1 + 1e-3)
    assert distance(p, cell_means(uniform(1.0, 2.0), p.edges)) < 0.1  # upwinding alone: 0.25


def test_an_sde_without_its_noise():
    ou = sk.OrnsteinUhlenbeck(kappa=1.0, sigma=2.0)
    p = continuity(ou, norm(1.0, 1.0), grid(-6, 6, 300), 0.5, 50, save="final")
    q = continuity(lambda x, t: -x, norm(1.0, 1.0), grid(-6, 6, 300), 0.5, 50, save="final")
    assert np.array_equal(p.density, q.density) and p.info["equation"] is ou


# --- the two views: particles and densities

@pytest.fixture(scope="module")
def well():
    return fokker_planck(WELL, norm(-0.5, 0.4), grid(-3.5, 3.5, 280), 2.0, 200)


def binned(x, edges):
    return np.histogram(x, edges)[0] / len(x)


def shares(p, k, edges):
    """The mass between each two of these edges, which are edges of cells."""
    total = np.concatenate([[0.0], np.cumsum(p.density[k] * np.diff(p.edges))])
    return np.diff(np.interp(edges, p.edges, total))


def test_histograms_of_simulated_paths(well):
    """sra has weak order 2: at 50 steps of 0.04 its bias is below 10^-3."""
    n, edges = 50_000, grid(-2.1, 2.1, 21)
    paths = sk.simulate(WELL, norm(-0.5, 0.4), t=2.0, steps=50, paths=n, seed=3, method=sk.sra, save=5, backend="numpy")
    for k, t in enumerate(paths.t):
        share = shares(well, round(100 * float(t)), edges)
        assert_near(binned(paths.x[:, k], edges), share, np.sqrt(share * (1 - share) / n), bias=1e-3)


def test_the_flow_moves_a_sample_as_the_noise_does(well):
    """Same mean, variance and histogram at every time; the density's grid and its score make the bias."""
    n, edges = 20_000, grid(-2.1, 2.1, 21)
    flow = sk.probability_flow(WELL, well.score)
    start = norm(-0.5, 0.4).ppf(sk.uniforms(5, paths=n)[:, 0, 0])
    x = sk.integrate(flow, start, t=2.0, steps=20, save=5, backend="numpy").x
    mean, var = well.mean()[::50], well.var()[::50]
    fourth = [(p * (well.x - m) ** 4).sum() * 0.025 for p, m in zip(well.density[::50], mean)]
    assert_near(x.mean(axis=0), mean, (var / n) ** 0.5, bias=1e-3)
    assert_near(x.var(axis=0), var, np.sqrt((fourth - var**2) / n), bias=1e-3)
    for k in range(5):
        share = shares(well, 50 * k, edges)
        assert_near(binned(x[:, k], edges), share, np.sqrt(share * (1 - share) / n), bias=1e-3)


def test_the_flows_continuity_equation_gives_the_same_density(well):
    again = continuity(sk.probability_flow(WELL, well.score), norm(-0.5, 0.4), well.edges, 2.0, 200)
    for k in (50, 100, 200):
        assert distance(again, well.density[k], k) < 5e-3
    without = continuity(WELL, norm(-0.5, 0.4), well.edges, 2.0, 200)
    assert distance(without, well.density[200], 200) > 0.3


def test_brownian_motion_and_its_flow_in_the_plane():
    """dx = dW and dx/dt = -1/2 grad log p: every marginal N(0, s^2 + t)."""
    sde = sk.SDE(lambda x, t: (0.0 * x[0], 0.0 * x[1]), lambda x, t: (1.0, 0.5))
    p = fokker_planck(sde, (norm(0.0, 1.0), norm(0.5, 0.5)), (grid(-8, 8, 100), grid(-4, 5, 90)), 1.0, 20)
    flow = sk.probability_flow(sde, p.score)
    a, b = np.array([-1.5, 0.3, 2.0]), np.array([0.1, 0.5, 1.2])
    end = sk.integrate(flow, (a, b), t=1.0, steps=20, save="final", backend="numpy").final
    np.testing.assert_allclose(end[:, 0], a * 2**0.5, atol=5e-3)
    np.testing.assert_allclose(end[:, 1], 0.5 + (b - 0.5) * 2**0.5, atol=5e-3)


# --- what a result tells

def test_values_and_scores_of_a_gaussian():
    ou = sk.OrnsteinUhlenbeck(kappa=1.0, sigma=2**0.5)
    p = fokker_planck(ou, norm(0.0, 1.0), grid(-6, 6, 240), 1.0, 50, save=3)  # it stays
    x = np.array([[-2.0, 0.3], [1.1, 5.0]])
    np.testing.assert_allclose(p.at(x), norm.pdf(x), atol=2e-4)
    np.testing.assert_allclose(p.score(x[0], 0.3), -x[0], atol=2e-3)
    assert p.at(7.0) == p.at(-6.1, 0.2) == 0.0 and np.isnan(p.at(np.nan))
    assert isinstance(p.score(0.5, 0.0), float)
    q = fokker_planck(ou, norm(1.0, 0.5), grid(-6, 6, 240), 1.0, 50, save=3)
    assert q.at(0.7, 0.125) == pytest.approx((3 * q.at(0.7, 0.0) + q.at(0.7, 0.5)) / 4, rel=1e-12)


def test_the_score_of_a_correlated_gaussian():
    S = np.array([[1.0, 0.6], [0.6, 0.8]])
    still = sk.SDE(lambda x, t: (0.0, 0.0), lambda x, t: (0.0, 0.0))
    p = fokker_planck(still, multivariate_normal([0.0, 0.0], S), (grid(-6, 6, 120), grid(-5, 5, 100)), 1.0, 1)
    x, y = np.array([0.4, -1.0]), np.array([0.9, 0.2])
    exact = -np.linalg.solve(S, np.stack([x, y]))
    np.testing.assert_allclose(np.stack(p.score((x, y), 0.5)), exact, rtol=5e-3)
    np.testing.assert_allclose(p.at((x, y)), multivariate_normal([0.0, 0.0], S).pdf(np.stack([x, y], -1)), atol=2e-3)


def test_saved_times_that_are_too_far_apart_for_the_score():
    """Of N(0, v), v from 1/4 to 5/4: half-way a line gives 2.4 for 4/3, and 10% more is allowed."""
    p = fokker_planck(sk.BrownianMotion(), norm(0.0, 0.5), grid(-8, 8, 320), 1.0, 40)
    few = sk.density.Density(p.t[::40], p.edges, p.density[::40])
    assert changes(*few.density, (p.edges,)) == pytest.approx(3.2 / 2.4, rel=0.03)
    with pytest.warns(RuntimeWarning, match=r'0 and 1 is off by about 4\d%.*save="all"'):
        assert few.score(1.0, 0.5) == pytest.approx(-2.4, rel=0.02)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        few.score(1.0, 0.0), few.score(1.0)
        assert p.score(1.0, 0.5125) == pytest.approx(-1 / 0.7625, rel=0.01)
    with pytest.warns(RuntimeWarning, match="off by about"):
        few.score.of(None, None)


@pytest.mark.parametrize("dimensions", [1, 2])
def test_the_score_as_a_table_is_the_score(dimensions):
    """As Numba compiles it: numbers in, between and beyond the nodes."""
    if dimensions == 1:
        p = fokker_planck(WELL, norm(-0.5, 0.4), grid(-3.5, 3.5, 70), 1.0, 8)
        points = [-9.0, -3.5, -0.3, 0.01, 2.2, 9.0]
    else:
        p = Linear(TURNING, ((0.8, 0.0), (0.5, 0.4))).solved(30, 8)
        p = sk.density.Density(np.array([0.0, 1.0]), p.edges, np.concatenate([p.density, p.density[:, ::-1]]))
        points = [(-7.0, 0.3), (0.2, 0.3), (1.1, -0.9), (0.3, 8.0)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = p.score.of((None, None) if dimensions == 2 else None, None)
        for x in points:
            for t in (0.0, 0.3, 0.5, 0.99, 1.0):
                np.testing.assert_allclose(table(x, t), p.score(x, t), rtol=1e-12, atol=1e-12)
    assert np.isnan(table((np.nan, 0.0) if dimensions == 2 else np.nan, 0.5)).any()


def test_the_flow_compiles():
    p = fokker_planck(WELL, norm(-0.5, 0.4), grid(-3.5, 3.5, 70), 1.0, 8)
    drift = sk.probability_flow(WELL, p.score).drift
    move = compiled(lambda x, t: drift(x, t, 0.8))
    for x, t in (-1.2, 0.0), (0.31, 0.55), (2.0, 1.0):
        assert move(x, t) == pytest.approx(drift(x, t, 0.8), rel=1e-12)


def test_a_start_ends_where_its_support_ends():
    edges = (np.array([-1.0, 0.0, 0.25, 0.6, 1.2, 2.0]),)
    np.testing.assert_allclose(masses(Prior(lambda x: 2 * x, (0.0, 1.0)), edges), [0, 0.0625, 0.2975, 0.64, 0],
                               atol=1e-14)


def test_starts_that_are_the_same_give_the_same_masses():
    axes = (grid(-5, 5, 100), grid(-4, 6, 50))
    a, b = norm(0.2, 0.7), norm(1.0, 0.8)
    pair = masses((a, b), axes)
    joint = multivariate_normal([0.2, 1.0], np.diag([0.49, 0.64]))
    for start in ([a, b], joint, lambda x: a.pdf(x[0]) * b.pdf(x[1]), pair.reshape(100, 50) / 0.02):
        np.testing.assert_allclose(masses(start, axes), pair, atol=1e-8)
    cut = masses(norm(), (grid(-3.5, 3.5, 10),))  # 0.05% of it is off the grid
    assert cut.sum() == pytest.approx(1.0, rel=1e-14)
    np.testing.assert_allclose(masses(a.pdf, axes[:1]), masses(a, axes[:1]), atol=1e-8)
    np.testing.assert_allclose(masses(Gaussian(0.2, 0.49), axes[:1]), masses(a, axes[:1]), atol=1e-8)


def test_a_time_between_the_steps_is_a_step_aside():
    args = TIME["in time"], norm(0.0, 0.5), grid(-6, 6, 100)
    p = fokker_planck(*args, 1.0, 4, save=[0.0, 0.3, 0.5, 1.0])
    q = fokker_planck(*args, np.array([0.0, 0.25, 0.3]), save="final")
    assert p.t.tolist() == [0.0, 0.3, 0.5, 1.0]
    np.testing.assert_allclose(p.density[1], q.density[0], atol=1e-13)
    np.testing.assert_allclose(p.density[2:], fokker_planck(*args, 1.0, 4, save=3).density[1:], atol=1e-13)


# --- what is refused, and warned of

def test_no_warning_of_a_wall_that_is_never_crossed():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fokker_planck(sk.GeometricBrownianMotion(-0.5, 0.5), norm(0.6, 0.12), grid(0.0, 3.0, 300), 1.0, 40)
        fokker_planck(sk.OrnsteinUhlenbeck(1.0), norm(0.0, 0.7), grid(-5, 5, 100), 1.0, 20)
        continuity(lambda x, t: 1.0 + 0 * x, uniform(0.0, 1.0), grid(0.0, 4.0, 80), 0.5, 20)  # away from the wall
    with pytest.warns(RuntimeWarning, match=r"0\.51 of the mass is in the cells at the walls at t = 0\.5"):
        continuity(lambda x, t: -1.0 + 0 * x, uniform(0.0, 1.0), grid(0.0, 4.0, 400), 0.5, 20)
    with pytest.warns(RuntimeWarning, match="7e-06 of the mass"):
        fokker_planck(sk.BrownianMotion(), norm(0.0, 0.5), grid(-5, 5, 100), 1.0, 10)


PLANE = (grid(-5, 5, 30), grid(-5, 5, 30))
PAIR = (norm(0, 0.5), norm(0, 0.5))
REFUSED = {
    "no sde": (lambda: fokker_planck(lambda x, t: x, norm(), grid(-5, 5, 50), 1.0, 10), TypeError, "continuity"),
    "too coarse": (lambda: fokker_planck(sk.OrnsteinUhlenbeck(50.0, 2.0, 0.5), norm(0, 0.5), grid(-4, 4, 40), 1.0, 10),
                   ValueError, r"deviation of 0.05, but the cell is 0.2 wide \(its Peclet .* 100% .* Take 160 cells"),
    "half off": (lambda: fokker_planck(WELL, norm(-3, 1), grid(-3, 3, 50), 1.0, 10), ValueError, "the mass 0.5 on"),
    "support": (lambda: masses(Prior(lambda x: 2 * x, (0.0, 1.0)), (grid(-1, 0.5, 30),)), ValueError,
                r"the mass 0.25 on .* Its support is \(0, 1\), and the grid goes from -1 to 0.5; it is off"),
    "too much": (lambda: fokker_planck(Linear(TURNING, ((1.0, 0.0), (0.0, 1.0))).sde, PAIR, (grid(-5, 5, 3000),) * 2,
                                       1.0, 10**6), MemoryError,
                 r"would take 67,\d{3}.\d GiB \(1,000,001 times x 3,000 x 3,000 cells .*save=\"final\""),
    "Heston": (lambda: fokker_planck(sk.Heston(0.05, 2.0, 0.04, 0.5, -0.9), (norm(100, 10), norm(0.2, 0.03)),
                                     (grid(1, 300, 60), grid(0, 1, 50)), 1.0, 10), ValueError,
               r"component 0 is proportional to it, so take its logarithm in its place \(log S .*; and take cells"),
    "twice": (lambda: continuity(lambda x, t: x, lambda x: 2 * norm.pdf(x), grid(-9, 9, 90), 1.0, 10), ValueError,
              "the mass 2 on the grid"),
    "negative": (lambda: masses(lambda x: 0.5 - x, (grid(-1, 1, 40),)), ValueError, "negative in 10 cells, the lowest"),
    "values": (lambda: masses(np.ones(39), (grid(-1, 1, 40),)), ValueError, r"shape \(40,\); got \(39,\)"),
    "one law": (lambda: masses(norm(), PLANE), ValueError, "a law for each"),
    "a number": (lambda: masses(1.0, (grid(-1, 1, 40),)), TypeError, r"got 1.0\. For a point give a"),
    "numbers": (lambda: masses([0.025] * 40, (grid(-1, 1, 40),)), TypeError, r"got \[(0.025, ){6}\.\.\.\]\. For"),
    "no array": (lambda: masses(lambda x: 1.0 if x > 0 else 0.0, (grid(-1, 1, 40),)), TypeError,
                 "not work on an array of 40 points: The truth .* np.where"),
    "two arguments": (lambda: masses(lambda x, y: 1.0, PLANE), TypeError, "pair of arrays of 900 .* argument: 'y'"),
    "plane on a line": (lambda: masses(Gaussian([0.0, 0.0], 1.0), PLANE[:1]), TypeError, "density in 1 dimension"),
    "nothing": (lambda: masses(lambda x: None, PLANE[:1]), TypeError, "must give numbers, got array.None"),
    "complex": (lambda: masses(lambda x: norm.pdf(x) + 0j, PLANE[:1]), TypeError, "must give numbers"),
    "pair of states": (lambda: continuity(lambda x, t: (x[1], x[0]), norm(), PLANE[0], 1.0, 1), TypeError,
                       r"grid has 1 dimension\(s\), so the state is a number, here x0 = .*several components"),
    "one state": (lambda: continuity(lambda x, t: 1.0, PAIR, PLANE, 1.0, 1), ValueError,
                  r"grid has 2 dimension\(s\), so the state is a pair, .* a tuple of 2, got float 1.0"),
    "times": (lambda: fokker_planck(WELL, norm(0, 0.5), grid(-4, 4, 50), 1.0, 5).at(0.0, np.array([0.0, 1.0])),
              TypeError, r"one time, a number, got array\(\[0., 1.\]\)"),
    "infinite": (lambda: fokker_planck(sk.SDE(lambda x, t: 1 / x, lambda x, t: 1.0), norm(), grid(-6, 6, 48), 1.0, 10),
                 ValueError, "drift is (-?inf|nan) at x = 0, t = 0.05; a density needs finite"),
    "three": (lambda: continuity(lambda x, t: x, norm(), (grid(-1, 1, 9),) * 3, 1.0, 1), ValueError, "one or two"),
    "decreasing": (lambda: continuity(lambda x, t: x, norm(), [0.0, 1.0, 0.5, 2.0], 1.0, 1), ValueError,
                   "edge 1 is 1.0 and the next 0.5"),
    "few": (lambda: continuity(lambda x, t: x, norm(), [0.0, 1.0], 1.0, 1), ValueError, "at least 3 cells"),
    "backwards": (lambda: grid(5, -5, 10), ValueError, "lower end first"),
    "branch": (lambda: continuity(lambda x, t: 1.0 if x > 0 else 0.0, norm(), grid(-6, 6, 50), 1.0, 1), TypeError,
               "np.where"),
    "many": (lambda: fokker_planck(sk.OrnsteinUhlenbeck(np.array([1.0, 2.0])), norm(), grid(-6, 6, 50), 1.0, 1),
             ValueError, "kappa holds 2 values"),
    "unequal": (lambda: fokker_planck(Linear(TURNING, ((1.0, 0.0), (0.5, 0.5))).sde, PAIR,
                                      (PLANE[0] ** 3 / 25, PLANE[1]), 1.0, 1),
                ValueError, r"the cells must be equal, but those of grid\[0\]"),
    "one noise": (lambda: fokker_planck(Linear(TURNING, ((1.0, 0.0), (0.7123, 0.0))).sde, PAIR, PLANE, 1.0, 1),
                  ValueError, f"correlation 1, and no jumps over up to {FARTHEST} .* height is 0.7123 times"),
    "steps": (lambda: fokker_planck(WELL, norm(), grid(-6, 6, 50)), TypeError, "steps is missing"),
    "later": (lambda: fokker_planck(WELL, norm(0, 0.5), grid(-4, 4, 50), 1.0, 5).score(0.0, 1.5), ValueError,
              "from t = 0.0 to 1.0, not at t = 1.5"),
    "pair": (lambda: fokker_planck(WELL, norm(0, 0.5), grid(-4, 4, 50), 1.0, 5).at((0.0, 1.0)), TypeError,
             r"1 dimension\(s\)"),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", REFUSED)
def test_errors_say_what_to_do(name):
    ask, kind, words = REFUSED[name]
    with pytest.raises(kind, match=words):
        ask()
