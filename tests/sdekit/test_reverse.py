"""Time reversal and probability flow: both end in the law that the forward SDE started from.

A linear SDE with Gaussian data stays Gaussian, its score is affine, and so is every method: the end of a run is
A x + b + sum_k C_k dW_k. `affine` reads A, b, C off runs on unit starts and unit increments, and the mean and the
covariance at the end follow from them exactly, without Monte Carlo. What is left is the method's own error, which must
vanish at the method's order; with a wrong term in the drift it would not vanish at all.

Where the noise depends on the state the term div D matters. Geometric Brownian motion started in a lognormal law has a
score and a flow in closed form: y = ln x moves as an affine function of the start.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from scipy.linalg import solve_continuous_lyapunov, sqrtm

import sdekit as sk
from sdekit import work
from sdekit.maths import captured, fingerprint
from sdekit.sde import Stratonovich, call
from tests.conftest import EPS, array, assert_near, rounding
from tests.strategies import numbers

DIFFERENCE = 1e4  # div D is a difference over 10^-4 |x|: it magnifies rounding so much


@dataclass(frozen=True)
class Gaussian:
    """A linear SDE on [0, end] whose law at time s is N(mean(s), covariance(s)), (dim,) and (dim, dim)."""

    name: str
    sde: sk.SDE
    dim: int
    noises: int
    mean: Callable
    covariance: Callable
    end: float = 1.5

    def __repr__(self):
        return self.name

    def score(self, x, s):
        """-covariance^-1 (x - mean)."""
        m, P = self.mean(s), np.linalg.inv(self.covariance(s))
        if not isinstance(x, tuple):
            return -P[0, 0] * (x - m[0])
        return tuple(-sum(P[i, j] * (x[j] - m[j]) for j in range(self.dim)) for i in range(self.dim))

    def law(self, s):
        """Mean and covariance in one array, which errors are measured in."""
        return np.append(self.mean(s), self.covariance(s))


def ou(kappa=1.2, theta=-0.5, sigma=0.8, m=1.5, v=0.3):
    def variance(s):
        return v * np.exp(-2 * kappa * s) + sigma**2 / (2 * kappa) * (1 - np.exp(-2 * kappa * s))

    return Gaussian("Ornstein-Uhlenbeck", sk.OrnsteinUhlenbeck(kappa, theta, sigma), 1, 1,
                    lambda s: np.array([theta + (m - theta) * np.exp(-kappa * s)]), lambda s: np.array([[variance(s)]]))


def vp(low=0.1, high=5.0, m=0.7, v=0.2):
    """Song et al. 2021, appendix B, with a slower beta."""
    sde = sk.SDE(lambda x, t, low, high: -0.5 * (low + (high - low) * t) * x,
                 lambda x, t, low, high: (low + (high - low) * t) ** 0.5, low=low, high=high)
    alpha = lambda s: np.exp(-0.5 * (low * s + 0.5 * (high - low) * s**2))
    return Gaussian("variance preserving", sde, 1, 1, lambda s: np.array([alpha(s) * m]),
                    lambda s: np.array([[alpha(s) ** 2 * v + 1 - alpha(s) ** 2]]), end=1.0)


def correlated():
    """dX = A X dt + B dW, start and noise correlated: P(s) = E (P - Q) E^T + Q, E = e^{A s}, with Q the stationary
    covariance, A Q + Q A^T + B B^T = 0."""
    A, B = np.array([[-1.0, 0.8], [-0.3, -0.6]]), np.array([[0.7, 0.2], [-0.4, 0.5]])
    m, P = np.array([1.0, -2.0]), np.array([[0.5, 0.3], [0.3, 0.4]])
    Q = solve_continuous_lyapunov(A, -B @ B.T)
    rates, V = np.linalg.eig(A)
    (a, b), (c, d) = A.tolist()
    rows = tuple(map(tuple, B.tolist()))
    sde = sk.SDE(lambda x, t: (a * x[0] + b * x[1], c * x[0] + d * x[1]), lambda x, t: rows)

    def propagator(s):
        return (V * np.exp(rates * s) @ np.linalg.inv(V)).real

    return Gaussian("correlated pair", sde, 2, 2, lambda s: propagator(s) @ m,
                    lambda s: propagator(s) @ (P - Q) @ propagator(s).T + Q, end=1.0)


GAUSSIANS = [ou(), vp(), correlated()]
each = pytest.mark.parametrize("problem", GAUSSIANS, ids=repr)


def components(x, dim):
    """Rows (n, dim) as the start that `simulate` takes."""
    return tuple(x.T) if dim > 1 else x[:, 0]


def affine(problem, steps, run):
    """Mean and covariance at the end, started from the exact law at `problem.end`; run(x0, dw) -> (rows, dim)."""
    dim, draws = problem.dim, steps * problem.noises
    starts, dw = np.zeros((1 + dim + draws, dim)), np.zeros((1 + dim + draws, steps, problem.noises))
    starts[1:1 + dim] = np.eye(dim)
    dw[1 + dim:] = np.eye(draws).reshape(draws, steps, problem.noises)
    end = run(components(starts, dim), dw).reshape(-1, dim)
    b = end[0]
    A, C = (end[1:1 + dim] - b).T, (end[1 + dim:] - b).T
    h = problem.end / steps
    return np.append(A @ problem.mean(problem.end) + b, A @ problem.covariance(problem.end) @ A.T + h * C @ C.T)


def orders(errors):
    """log2 of how the size of the error falls when the steps are doubled."""
    size = np.array([np.linalg.norm(e) for e in errors])
    return np.log2(size[:-1] / size[1:])


@each
def test_the_reverse_sde_ends_in_the_starting_law_at_weak_order_1(problem):
    back = sk.reverse(problem.sde, problem.score, problem.end)

    def error(steps):
        return affine(problem, steps, lambda x0, dw: sk.simulate(
            back, x0, problem.end, steps, noise=dw, save="final", backend="numpy").final) - problem.law(0.0)

    errors = [error(steps) for steps in (100, 200, 400)]
    assert np.abs(orders(errors) - 1).max() < 0.15
    assert np.linalg.norm(2 * errors[2] - errors[1]) < 0.1 * np.linalg.norm(errors[2])  # what is left is of order h^2


@pytest.mark.parametrize("method, steps", [(sk.euler, 100), (sk.heun, 50), (sk.rk4, 20)], ids=repr)
@each
def test_the_probability_flow_ends_in_the_starting_law_at_the_method_s_order(problem, method, steps):
    flow = sk.probability_flow(problem.sde, problem.score, problem.end)

    def error(steps):
        def run(x0, dw):  # the flow knows no noise: its C is 0
            return sk.integrate(flow, x0, problem.end, steps, method=method, save="final", backend="numpy").final
        return affine(problem, steps, run) - problem.law(0.0)

    found = orders([error(steps * 2**k) for k in range(3)])
    assert abs(found[-1] - method.order) < 0.15, found


@each
def test_the_forward_flow_carries_the_law_on(problem):
    flow = sk.probability_flow(problem.sde, problem.score)
    starts = np.vstack([np.zeros(problem.dim), np.eye(problem.dim)])

    def error(steps):
        x0 = components(starts, problem.dim)
        end = sk.integrate(flow, x0, problem.end, steps, backend="numpy", save="final").final.reshape(-1, problem.dim)
        A = (end[1:] - end[0]).T
        return np.append(A @ problem.mean(0.0) + end[0], A @ problem.covariance(0.0) @ A.T) - problem.law(problem.end)

    found = orders([error(steps) for steps in (20, 40, 80)])
    assert abs(found[-1] - 4) < 0.3, found


@each
def test_samples_of_the_reverse_sde_have_the_starting_law(problem):
    """With the seed's own noise; the bias is Euler-Maruyama's, from the exact recursion."""
    n, steps = 20_000, 100
    back = sk.reverse(problem.sde, problem.score, problem.end)
    z = sk.normals(3, stream=1, paths=n, components=problem.dim)[:, 0]
    x = problem.mean(problem.end) + z @ np.linalg.cholesky(problem.covariance(problem.end)).T
    end = sk.simulate(back, components(x, problem.dim), problem.end, steps, seed=3, save="final", backend="numpy").final
    end = end.reshape(n, problem.dim)
    law = affine(problem, steps, lambda x0, dw: sk.simulate(
        back, x0, problem.end, steps, noise=dw, save="final", backend="numpy").final)
    mean, covariance = law[:problem.dim], law[problem.dim:].reshape(problem.dim, problem.dim)
    variance = np.diag(covariance)
    assert_near(end.mean(axis=0), mean, (variance / n) ** 0.5)
    found = (end - mean).T @ (end - mean) / n
    assert_near(found, covariance, ((np.outer(variance, variance) + covariance**2) / n) ** 0.5)
    bias = np.abs(law - problem.law(0.0))
    assert_near(end.mean(axis=0), problem.mean(0.0), (variance / n) ** 0.5, bias[:problem.dim])


# Noise that depends on the state


@dataclass(frozen=True)
class Lognormal:
    """Geometric Brownian motion from ln X(0) ~ N(m, v): ln X(s) ~ N(m + (mu - sigma^2/2) s, v + sigma^2 s)."""

    mu: float = 0.1
    sigma: float = 0.6
    m: float = 0.2
    v: float = 0.15
    end: float = 1.0

    @property
    def sde(self):
        return sk.GeometricBrownianMotion(self.mu, self.sigma)

    def log_law(self, s):
        return self.m + (self.mu - self.sigma**2 / 2) * s, self.v + self.sigma**2 * s

    def score(self):
        mu, sigma, m, v = self.mu, self.sigma, self.m, self.v

        def score(x, s):
            return -(1.0 + (np.log(x) - m - (mu - 0.5 * sigma**2) * s) / (v + sigma**2 * s)) / x

        return score

    def flow(self, x):
        """The flow from `end` back to 0: ln x keeps its place in its Gaussian."""
        (m0, v0), (m1, v1) = self.log_law(0.0), self.log_law(self.end)
        return np.exp(m0 + (v0 / v1) ** 0.5 * (np.log(x) - m1))


GBM = Lognormal()


def gbm_start(z):
    m, v = GBM.log_law(GBM.end)
    return np.exp(m + v**0.5 * z)


def test_the_flow_of_gbm_follows_its_closed_form():
    flow = sk.probability_flow(GBM.sde, GBM.score(), GBM.end)
    x = gbm_start(np.linspace(-2.5, 2.5, 9))
    found = orders([sk.integrate(flow, x, GBM.end, steps, save="final", backend="numpy").final - GBM.flow(x)
                    for steps in (10, 20, 40)])
    assert abs(found[-1] - 4) < 0.3, found


def test_the_flow_of_gbm_ends_at_the_starting_mean():
    """By Gauss-Hermite quadrature over the start, which is exact here to rounding; without div D, or with its sign
    turned, the mean would end elsewhere."""
    z, weight = np.polynomial.hermite_e.hermegauss(60)
    weight = weight / weight.sum()
    flow = sk.probability_flow(GBM.sde, GBM.score(), GBM.end)
    exact = np.exp(GBM.m + GBM.v / 2)
    ends = [weight @ sk.integrate(flow, gbm_start(z), GBM.end, steps, save="final", backend="numpy").final
            for steps in (50, 100)]
    assert abs(ends[1] - exact) <= abs(ends[1] - ends[0]) + rounding(100, exact)


def test_samples_of_the_reverse_gbm_are_lognormal_as_at_the_start():
    """The bias is measured on the same increments with twice the steps: at weak order 1 it is twice the difference."""
    n, steps = 20_000, 200
    back = sk.reverse(GBM.sde, GBM.score(), GBM.end)
    x = gbm_start(sk.normals(5, stream=1, paths=n)[:, 0, 0])
    dw = (GBM.end / steps) ** 0.5 * sk.normals(5, paths=n, steps=steps)[..., 0]
    coarse, fine = (np.log(sk.simulate(back, x, GBM.end, w.shape[1], noise=w, save="final", backend="numpy").final)
                    for w in (dw.reshape(n, -1, 2).sum(axis=2), dw))
    for moment, exact, stderr in ((lambda y: y.mean(), GBM.m, (GBM.v / n) ** 0.5),
                                  (lambda y: y.var(), GBM.v, GBM.v * (2 / n) ** 0.5)):
        assert_near(moment(fine), exact, stderr, 2 * abs(moment(fine) - moment(coarse)))


def test_the_flow_of_two_correlated_stocks_follows_its_closed_form():
    """y = ln x is Gaussian with y' = c, P' = S and the flow dy/ds = c + S P^-1 (y - m)/2, P(s) = P + s S. All
    S P(s)^-1 commute, so that y - m is carried from time T to 0 by (P P(T)^-1)^(1/2)."""
    mu, L = np.array([0.1, -0.2]), np.array([[0.5, 0.0], [0.3, 0.4]])
    m, P, end = np.array([0.2, -0.1]), np.array([[0.3, -0.1], [-0.1, 0.2]]), 1.0
    S = L @ L.T
    c = mu - np.diag(S) / 2
    sde = sk.SDE(lambda x, t: (mu[0] * x[0], mu[1] * x[1]),
                 lambda x, t: tuple(tuple(L[i, j] * x[i] for j in range(2)) for i in range(2)))

    def score(x, s):
        Q = np.linalg.inv(P + s * S)
        y = [np.log(x[i]) - m[i] - c[i] * s for i in range(2)]
        return tuple(-(1.0 + Q[i, 0] * y[0] + Q[i, 1] * y[1]) / x[i] for i in range(2))

    y = np.array([[0.3, 0.1], [-1.0, 0.5], [0.8, -0.9], [1.0, 1.2]])
    exact = np.exp(m + (y - m - c * end) @ np.real(sqrtm(P @ np.linalg.inv(P + end * S))).T)
    flow = sk.probability_flow(sde, score, end)
    found = orders([sk.integrate(flow, tuple(np.exp(y).T), end, steps, save="final", backend="numpy").final - exact
                    for steps in (10, 20, 40)])
    assert abs(found[-1] - 4) < 0.3, found


# The terms, at points


def polynomial(a, b, c):
    """A number driven by (1 + t)(a + b x + c x^2): D has degree 4, where the difference is exact."""
    return sk.SDE(lambda x, t: 0.7 * x + t, lambda x, t, a, b, c: (1 + t) * (a + b * x + c * x * x), a=a, b=b, c=c)


@given(numbers(-3, 3), numbers(0, 2), numbers(-2, 2), numbers(-2, 2), numbers(-2, 2))
def test_the_drifts_at_a_point_are_those_of_the_formulas(x, tau, a, b, c):
    end = 2.0
    s = end - tau
    g, slope = (1 + s) * (a + b * x + c * x * x), (1 + s) * (b + 2 * c * x)
    f, noise, score = 0.7 * x + s, 2 * g * slope, -x * (1 + s)
    sde = polynomial(a, b, c)
    h = 1e-4 * max(abs(x), 1e-2)
    near = [((1 + s) * (a + b * y + c * y * y)) ** 2 for y in (x - 2 * h, x + 2 * h, x)]
    allowed = 64 * EPS * (max(near) / h + abs(f) + abs(g * g * score) + abs(noise)) + 1e-300
    back = sk.reverse(sde, lambda x, s: -x * (1 + s), end)
    assert abs(call(back, "drift", x, tau) - (-f + noise + g * g * score)) <= allowed
    assert call(back, "diffusion", x, tau) == sde.diffusion(x, s, a=a, b=b, c=c)
    flow = sk.probability_flow(sde, lambda x, s: -x * (1 + s), end)
    assert abs(call(flow, "drift", x, tau) - (-f + (noise + g * g * score) / 2)) <= allowed


@given(numbers(-3, 3), numbers(-3, 3))
def test_the_divergence_of_a_system_is_by_its_columns(x, y):
    """G = [[y, x y], [1 + x, y]]: D_00 = y^2 + x^2 y^2, D_01 = y + x y + x y^2, D_11 = (1 + x)^2 + y^2, so that
    (div D)_0 = 2 x y^2 + 1 + x + 2 x y and (div D)_1 = y + y^2 + 2 y."""
    sde = sk.SDE(lambda s, t: (0.0, 0.0), lambda s, t: ((s[1], s[0] * s[1]), (1 + s[0], s[1])))
    back = sk.reverse(sde, lambda s, t: (0.0, 0.0), 1.0)
    allowed = 64 * EPS * 1e6 * 300  # D <= 300 within reach of these points, over a difference of 10^-6 or more
    found = back.drift((x, y), 0.25)
    assert np.abs(np.array(found) - (2 * x * y**2 + 1 + x + 2 * x * y, y + y**2 + 2 * y)).max() <= allowed


def test_the_score_of_a_system_is_multiplied_by_the_whole_matrix():
    B = np.array([[0.7, 0.2], [-0.4, 0.5], [0.1, 0.3]])
    sde = sk.SDE(lambda x, t: (1.0, 2.0, 3.0), lambda x, t: tuple(map(tuple, B)))
    score = np.array([0.5, -1.0, 2.0])
    back = sk.reverse(sde, lambda x, t: tuple(score), 1.0)
    exact = B @ B.T @ score - [1, 2, 3]
    np.testing.assert_allclose(back.drift((0.0, 0.0, 0.0), 0.0), exact, atol=rounding(1, exact))
    np.testing.assert_array_equal(back.diffusion((0.0, 0.0, 0.0), 0.0), B)


def test_a_pair_with_a_noise_each_is_reversed_as_two_numbers():
    """Diagonal noise that depends on the state: each component is a geometric Brownian motion of its own."""
    score = GBM.score()
    pair = sk.SDE(lambda x, t: (0.1 * x[0], 0.1 * x[1]), lambda x, t: (0.6 * x[0], 0.6 * x[1]))
    both = sk.probability_flow(pair, lambda x, s: (score(x[0], s), score(x[1], s)), GBM.end)
    alone = sk.probability_flow(GBM.sde, score, GBM.end)
    x = (0.7, 2.5)
    for component, number in zip(both.drift(x, 0.25), x):
        assert abs(component - call(alone, "drift", number, 0.25)) <= rounding(DIFFERENCE, number)


def test_two_noises_of_a_number_act_as_one_of_their_joint_size():
    two = sk.SDE(lambda x, t: -x, lambda x, t: (0.6 * x, 0.8 * x))
    one = sk.SDE(lambda x, t: -x, lambda x, t: x)
    for make in (sk.reverse, sk.probability_flow):
        x = np.array([-1.5, 0.4, 3.0])
        drifts = [make(sde, lambda x, s: -2 * x, 1.0).drift(x, 0.5) for sde in (two, one)]
        assert np.abs(drifts[0] - drifts[1]).max() <= rounding(DIFFERENCE, 9.0)


def test_the_reverse_of_the_reverse_is_the_sde_itself():
    end, score = 2.0, GBM.score()
    back = sk.reverse(GBM.sde, score, end)
    again = sk.reverse(back, lambda x, tau: score(x, end - tau), end)
    x, s = np.array([0.2, 1.0, 3.7]), 0.75
    assert np.abs(call(again, "drift", x, s) - 0.1 * x).max() <= rounding(DIFFERENCE, x)
    assert (call(again, "diffusion", x, s) == GBM.sde.diffusion(x, s, sigma=0.6)).all()


@given(numbers(-3, 3))
def test_forwards_the_flow_is_minus_the_backward_flow_at_the_same_time(x):
    sde, score, end, tau = polynomial(0.3, -0.5, 0.2), lambda x, s: -x * (1 + s), 2.0, 0.625  # end - tau is exact
    back, forth = (sk.probability_flow(sde, score, *t) for t in ((end,), ()))
    assert call(back, "drift", x, tau) == -call(forth, "drift", x, end - tau)


def test_there_and_back_along_the_flow_is_where_one_was():
    x = np.linspace(0.5, 2.5, 5)
    forth, back = (sk.probability_flow(GBM.sde, GBM.score(), *end) for end in ((), (GBM.end,)))

    def error(steps):
        far = sk.integrate(forth, x, GBM.end, steps, save="final").final
        assert np.abs(far - x).min() > 0.01  # it did move
        return sk.integrate(back, far, GBM.end, steps, save="final").final - x

    found = orders([error(steps) for steps in (10, 20, 40)])
    assert found[-1] > 4 - 0.3, found


# Executions


def on(backend, reversed_sde, x0, steps, **options):
    if isinstance(reversed_sde, sk.SDE):
        return array(sk.simulate(reversed_sde, x0, 1.0, steps, seed=9, backend=backend, **options).x)
    return array(sk.integrate(reversed_sde, x0, 1.0, steps, backend=backend, **options).x)


@pytest.mark.parametrize("make", [sk.reverse, sk.probability_flow])
def test_every_execution_gives_the_same_numbers(backend, make):
    """Noise that depends on the state, a score with a logarithm, parameters in closures."""
    steps = 20
    equation = make(GBM.sde, GBM.score(), 1.0)
    x = np.linspace(0.4, 3.0, 300)
    exact = on("numpy", equation, x, steps)
    assert np.abs(on(backend, equation, x, steps) - exact).max() <= rounding(DIFFERENCE * steps, exact)


def _crossed(x, t, a):
    return (a * x[1], 0.1, 0.2), (0.3, 0.1 * x[0] * x[1], 0.4)


SYSTEMS = {  # an SDE, a score, starts: a noise for each component, a 2 x 3 matrix, two noises of a number
    "a pair": (sk.SDE(lambda x, t: (-x[0], -x[1]), lambda x, t, b: (0.6 * x[1], b + 0.1 * x[1]), b=0.8),
               lambda x, s: (-2.0 * x[0], -x[1]), (np.linspace(0.3, 0.5, 40), -0.2)),
    "crossed": (sk.SDE(lambda x, t: (-x[0], 0), _crossed, a=0.5), lambda x, s: (-x[0] / (1 + s), -np.tanh(x[1])),
                (0.3, np.linspace(-0.5, 0.5, 40))),
    "two noises": (sk.SDE(lambda x, t: -x, lambda x, t: (0.6 * x, 0.8)), lambda x, s: -2.0 * x, np.linspace(-1, 1, 40)),
}


@pytest.mark.parametrize("make", [sk.reverse, sk.probability_flow])
@pytest.mark.parametrize("what", SYSTEMS)
def test_every_execution_gives_the_same_numbers_for_systems(backend, what, make):
    sde, score, x0 = SYSTEMS[what]
    if backend == "numba" and (what == "a pair") != (make is sk.probability_flow):
        pytest.skip("a compilation of seconds that tells nothing new")
    equation = make(sde, score, 1.0)
    exact = on("numpy", equation, x0, 10)
    assert np.abs(on(backend, equation, x0, 10) - exact).max() <= rounding(100 * DIFFERENCE * 10, exact)


def test_large_work_of_a_system_is_compiled_without_a_warning(monkeypatch, recwarn):
    sde, score, x0 = SYSTEMS["a pair"]
    monkeypatch.setattr(work, "COMPILE_ABOVE", 0)
    assert sk.simulate(sk.reverse(sde, score, 1.0), x0, 1.0, 10, seed=9).source.work.backend == "numba"
    assert not recwarn.list


@pytest.mark.parametrize("make", [sk.reverse, sk.probability_flow])
def test_parameters_stay_parameters(make):
    """By name, with a value for each path: each half of the paths as with its own."""
    score, x = GBM.score(), np.linspace(0.5, 2.0, 6)
    mu, sigma = np.repeat([0.1, -0.3], 3), np.repeat([0.6, 0.2], 3)
    both = make(sk.GeometricBrownianMotion(mu, sigma), score, 1.0)
    assert dict(both.parameters).keys() == {"mu", "sigma"}
    found = on("numpy", both, x, 10)
    for half in (slice(0, 3), slice(3, 6)):
        alone = make(sk.GeometricBrownianMotion(mu[half][0], sigma[half][0]), score, 1.0)
        dw = {"noise": 0.1**0.5 * sk.normals(9, paths=6, steps=10)[half]} if make is sk.reverse else {}
        run = sk.simulate if make is sk.reverse else sk.integrate
        assert np.abs(run(alone, x[half], 1.0, 10, **dw).x - found[half]).max() <= rounding(DIFFERENCE, found)
    keys = {fingerprint(captured(make(sk.GeometricBrownianMotion(m, 0.6), score, 1.0).drift)) for m in mu}
    assert len(keys) == 1 and None not in keys


def test_an_equation_of_stratonovich_is_reversed_as_the_same_process():
    """b X o dW is b^2/2 X dt + b X dW."""
    one = Stratonovich(lambda x, t: 0.0 * x, lambda x, t, b: b * x, b=0.6)
    same = sk.GeometricBrownianMotion(0.18, 0.6)
    for make in (sk.reverse, sk.probability_flow):
        ours, exact = (make(sde, GBM.score(), 1.0) for sde in (one, same))
        assert getattr(ours, "calculus", "ito") == "ito"
        assert abs(call(ours, "drift", 1.3, 0.25) - call(exact, "drift", 1.3, 0.25)) <= rounding(DIFFERENCE, 1.0)


def test_a_tensor_is_reversed_element_by_element():
    torch = pytest.importorskip("torch")
    n, shape, steps = 3, (2, 3), 10
    back = sk.reverse(GBM.sde, GBM.score(), 1.0)
    start = torch.linspace(0.5, 2.5, n * 6, dtype=torch.float64).reshape(n, *shape)
    x = sk.simulate(back, start, 1.0, steps, seed=9).x
    assert x.shape == (n, steps + 1, *shape)
    dw = (1 / steps) ** 0.5 * sk.normals(9, paths=n, steps=steps, components=6)
    alone = sk.simulate(back, start.numpy().ravel(), 1.0, steps, noise=dw.transpose(0, 2, 1).reshape(n * 6, steps)).x
    found = x.reshape(n, steps + 1, 6).transpose(1, 2).reshape(n * 6, steps + 1).numpy()
    assert np.abs(found - alone).max() <= rounding(DIFFERENCE * steps, alone)


def test_a_tensor_flows_element_by_element():
    torch = pytest.importorskip("torch")
    flow = sk.probability_flow(GBM.sde, GBM.score(), 1.0)
    start = torch.linspace(0.5, 2.5, 12, dtype=torch.float64).reshape(2, 2, 3)
    end = sk.integrate(flow, start, 1.0, 10).final
    alone = sk.integrate(flow, start.numpy().ravel(), 1.0, 10).final
    assert end.shape == start.shape
    assert np.abs(end.numpy().ravel() - alone).max() <= rounding(DIFFERENCE * 10, alone)


def test_a_tensor_with_constant_coefficients_is_reversed_too():
    """Brownian motion's drift and diffusion are bare numbers, whatever the state is."""
    torch = pytest.importorskip("torch")
    flow = sk.probability_flow(sk.BrownianMotion(), lambda x, s: -x / (1 + s), 3.0)
    x = torch.tensor([[2.0], [-1.0]], dtype=torch.float64)
    torch.testing.assert_close(sk.integrate(flow, x, 3.0, 100).final, x / 2, rtol=0, atol=1e-6)


# What is refused


@pytest.mark.parametrize("make", [sk.reverse, sk.probability_flow])
@pytest.mark.parametrize("sde, score, t, message", [
    (sk.ODE(lambda x, t: x), lambda x, s: x, 1.0, "only an SDE can be reversed, got ODE"),
    (lambda x, t: x, lambda x, s: x, 1.0, "only an SDE can be reversed"),
    (sk.BrownianMotion(), -1.0, 1.0, r"score must be a function \(x, s\) .* got -1.0"),
    (sk.BrownianMotion(), None, 1.0, "score must be a function"),
    (sk.BrownianMotion(), lambda x, s: -x, True, "t must be the time to start from, got True"),
    (sk.BrownianMotion(), lambda x, s: -x, float("nan"), "t must be the time to start from, got nan"),
    (sk.BrownianMotion(), lambda x, s: -x, float("inf"), "t must be the time to start from, got inf"),
    (sk.BrownianMotion(), lambda x, s: -x, [1.0], r"t must be the time to start from, got \[1.0\]"),
    (sk.BrownianMotion(), lambda x, s: -x, "1", "t must be the time to start from, got '1'"),
    (sk.BrownianMotion(), lambda x, s: -x, 1j, "t must be the time to start from, got 1j"),
])
def test_what_cannot_be_reversed_is_refused(make, sde, score, t, message):
    with pytest.raises(TypeError, match=message):
        make(sde, score, t)


def test_a_reverse_sde_needs_its_time():
    with pytest.raises(TypeError, match="t must be the time to start from, got None"):
        sk.reverse(sk.BrownianMotion(), lambda x, s: -x, None)


def test_a_reversed_process_has_no_exact_transition():
    with pytest.raises((TypeError, ValueError), match="no exact transition"):
        sk.simulate(sk.reverse(sk.BrownianMotion(), lambda x, s: -x, 1.0), 0.0, 1.0, 10, method=sk.exact)
