"""The named processes: their exact laws at any times, their exact paths, and what binds transition to coefficients."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sdekit as sk
from tests import strategies
from tests.conftest import BACKENDS, EPS, array, assert_gaussian, assert_near, rounding
from tests.problems import LAWS

TIMES = np.array([0.0, 0.1, 0.15, 0.7, 1.0, 2.5])
PATHS = 40_000
each_law = pytest.mark.parametrize("law", LAWS, ids=repr)


def simulated(law, seed, **how):
    return sk.simulate(law.process, law.x0, paths=PATHS, seed=seed, backend="numpy", **how)


@each_law
@pytest.mark.parametrize("grid", [{"t": TIMES}, {"t": 2.0, "steps": 4}], ids=["own grid", "equal steps"])
def test_the_law_is_exact_at_every_time_of_any_grid(law, grid):
    """Mean, variance, distribution function, and the covariances between times, of the Gaussian beneath."""
    result = simulated(law, 21, **grid)
    assert result.info["method"] is sk.exact
    t, y = result.t[1:], law.gaussian(result.x[:, 1:])
    m, v = law.gaussian_mean(t), law.gaussian_covariance(t, t)
    assert_gaussian(y, m, v)
    assert_near(result.mean()[1:], law.mean(t), (law.variance(t) / PATHS) ** 0.5)
    c, exact = np.cov(y.T), law.gaussian_covariance(t[:, None], t)
    assert_near(c, exact, ((np.outer(v, v) + exact**2) / PATHS) ** 0.5)


@each_law
def test_the_law_does_not_depend_on_the_steps_between(law):
    few, many = (law.gaussian(simulated(law, 22, t=2.0, steps=n, save="final").final) for n in (1, 9))
    for y in (few, many):
        assert_gaussian(y, law.gaussian_mean(2.0), law.gaussian_covariance(2.0, 2.0))


@each_law
def test_mean_and_variance_are_those_of_the_literature(law):
    t = TIMES[1:]
    assert np.abs(law.process.mean(law.x0, t) / law.mean(t) - 1).max() <= 64 * EPS
    assert np.abs(law.process.variance(law.x0, t) / law.variance(t) - 1).max() <= 64 * EPS / t[0]


NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(60)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


def moments(process, x, h):
    """Mean and variance of the transition from x over h, by Gauss-Hermite quadrature over z."""
    y = process.transition(x, 0.0, h, NODES, **process.parameters)
    mean = WEIGHTS @ y
    return mean, WEIGHTS @ (y - mean) ** 2


PROCESSES = st.one_of(
    st.builds(sk.BrownianMotion, strategies.numbers(-2, 2), strategies.numbers(0.1, 2)),
    st.builds(sk.GeometricBrownianMotion, strategies.numbers(-1, 1), strategies.numbers(0.1, 1)),
    st.builds(sk.OrnsteinUhlenbeck, strategies.numbers(0.1, 3), strategies.numbers(-2, 2),
              strategies.numbers(0.1, 2)),
    st.builds(sk.LinearDrift, strategies.numbers(0.1, 2) | strategies.numbers(-2, -0.1), strategies.numbers(0.1, 2)),
)


@given(PROCESSES, strategies.numbers(0.5, 2.0))
def test_the_transition_begins_with_drift_and_diffusion(process, x):
    """(E X_h - x) / h -> drift(x) and Var X_h / h -> diffusion(x)^2 as h -> 0."""
    own = lambda f: {k: process.parameters[k] for k in f.__code__.co_varnames[2:f.__code__.co_argcount]}
    f, g = process.drift(x, 0.0, **own(process.drift)), process.diffusion(x, 0.0, **own(process.diffusion))

    def rates(h):
        mean, variance = moments(process, x, h)
        return np.array([(mean - x) / h, variance / h])

    h = 2.0**-10
    limit = (rates(2 * h) - 6 * rates(h) + 8 * rates(h / 2)) / 3  # Richardson twice: the error is O(h^3)
    size = 1 + abs(x) + max(map(abs, process.parameters.values()))
    assert np.abs(limit - [f, g * g]).max() <= (size**2 * h) ** 3 * size**2 + 128 * EPS * size**2 / h


@given(PROCESSES, strategies.numbers(0.5, 2.0), strategies.numbers(0.05, 1.0), strategies.numbers(0.05, 1.0))
def test_two_transitions_in_a_row_are_the_one_over_both(process, x, h, k):
    """Chapman-Kolmogorov: E and Var of the second, averaged over the first, by the law of total variance."""
    y = process.transition(x, 0.0, h, NODES, **process.parameters)
    means, variances = np.array([moments(process, point, k) for point in y]).T
    mean = WEIGHTS @ means
    total = np.array([mean, WEIGHTS @ variances + WEIGHTS @ (means - mean) ** 2])
    exact = np.array(moments(process, x, h + k))
    assert np.abs(total - exact).max() <= 1000 * EPS * (1 + mean**2 + exact[1])


@given(PROCESSES, strategies.numbers(0.5, 2.0), strategies.numbers(0.01, 2.0))
def test_mean_and_variance_are_the_transitions(process, x, h):
    mean, variance = moments(process, x, h)
    assert abs(process.mean(x, h) - mean) <= 100 * EPS * (1 + abs(mean) + variance)
    assert abs(process.variance(x, h) - variance) <= 1000 * EPS * (1 + mean**2 + variance)


@pytest.mark.parametrize("law", LAWS[:2], ids=repr)
@pytest.mark.parametrize("how, backend", [("the seed", name) for name in BACKENDS] + [("given increments", "numpy")])
def test_brownian_motion_and_gbm_are_exact_path_by_path(law, how, backend):
    """X(t) = x0 + mu t + sigma W(t), and S(t) = S0 exp((mu - sigma^2 / 2) t + sigma W(t)), W from the same noise."""
    h = np.diff(TIMES)
    dw = h**0.5 * sk.normals(23, paths=50, steps=len(h))[..., 0]
    W = np.pad(dw.cumsum(axis=1), ((0, 0), (1, 0)))
    mu, sigma = law.process.parameters.values()
    exact = law.x0 + mu * TIMES + sigma * W
    if isinstance(law.process, sk.GeometricBrownianMotion):
        exact = law.x0 * np.exp((mu - sigma**2 / 2) * TIMES + sigma * W)
    noise = {"seed": 23} if how == "the seed" else {"noise": dw}
    x = array(sk.simulate(law.process, law.x0, TIMES, paths=50, method=sk.exact, backend=backend, **noise).x)
    assert np.abs(x - exact).max() <= rounding(len(h), exact)


@each_law
def test_only_an_exact_path_takes_given_increments(law):
    dw = np.zeros((1, 4))
    assert sk.simulate(law.process, law.x0, steps=4, noise=dw).info["method"] is sk.euler_maruyama
    if law.process.transition_pathwise:
        sk.simulate(law.process, law.x0, steps=4, noise=dw, method=sk.exact)
    else:
        with pytest.raises(ValueError, match=r"follows the law, not a given path.*use method=euler_maruyama"):
            sk.simulate(law.process, law.x0, steps=4, noise=dw, method=sk.exact)


@settings(max_examples=20)
@given(strategies.seeds, strategies.numbers(-2, 2), strategies.numbers(0.1, 2), strategies.grids(2, 4))
def test_increments_of_brownian_motion_are_gaussian_and_independent(seed, mu, sigma, grid):
    """X(t) - X(s) ~ N(mu (t - s), sigma^2 (t - s)), and increments over disjoint times have no correlation."""
    n, h = 4000, np.diff(grid)
    x = sk.simulate(sk.BrownianMotion(mu, sigma), 0.0, t=grid, paths=n, seed=seed).x
    z = (np.diff(x) - mu * h) / (sigma * h**0.5)
    assert_gaussian(np.diff(x), mu * h, sigma**2 * h)
    assert_near((z.T @ z / n)[~np.eye(len(h), dtype=bool)], 0.0, n**-0.5)


@settings(max_examples=20)
@given(strategies.seeds, strategies.grids(2, 5))
def test_the_covariance_of_brownian_motion_is_the_smaller_time(seed, grid):
    """E W(s) W(t) = min(s, t), with the variance (s t + min(s, t)^2) / n of its estimate."""
    n, t = 4000, grid - grid[0]
    W = sk.simulate(sk.BrownianMotion(), 0.0, t=grid, paths=n, seed=seed).x[:, 1:]
    exact = np.minimum.outer(t[1:], t[1:])
    assert_near(W.T @ W / n, exact, ((np.outer(t[1:], t[1:]) + exact**2) / n) ** 0.5)


@settings(max_examples=20)
@given(strategies.seeds, strategies.matrices(2, 3), strategies.matrices(2, 2), strategies.numbers(-1, 1))
def test_independent_gaussians_add_in_mean_and_covariance(seed, A, B, m):
    """X ~ N(m, A A^T) and Y ~ N(m', B B^T) from two streams of a seed: X + Y ~ N(m + m', A A^T + B B^T)."""
    def gaussian(matrix, mean, stream):
        rows = tuple(tuple(row) for row in matrix.tolist())
        sde = sk.SDE(lambda x, t, m0, m1: (m0, m1), lambda x, t: rows, m0=mean[0], m1=mean[1])
        return sk.simulate(sde, (0.0, 0.0), steps=2, paths=n, seed=seed, stream=stream, save="final",
                           backend="numpy").final

    n, one, two = 4000, np.array([m, 1.0]), np.array([0.5, -m])
    total = gaussian(A, one, 1) + gaussian(B, two, 2)
    covariance = A @ A.T + B @ B.T
    variances = covariance.diagonal()
    assert_near(total.mean(axis=0), one + two, (variances / n) ** 0.5)
    centred = total - (one + two)
    assert_near(centred.T @ centred / n, covariance, ((np.outer(variances, variances) + covariance**2) / n) ** 0.5)
    assert_gaussian(total @ [0.6, 0.8], (one + two) @ [0.6, 0.8], [0.6, 0.8] @ covariance @ [0.6, 0.8])


BAD = [
    (lambda: sk.BrownianMotion(sigma=0), "BrownianMotion needs sigma > 0, got 0.0"),
    (lambda: sk.GeometricBrownianMotion(0.1, -1), "GeometricBrownianMotion needs sigma > 0, got -1.0"),
    (lambda: sk.OrnsteinUhlenbeck(0.0), "OrnsteinUhlenbeck needs kappa > 0, got 0.0"),
    (lambda: sk.OrnsteinUhlenbeck(1.0, sigma=0), "OrnsteinUhlenbeck needs sigma > 0, got 0.0"),
    (lambda: sk.LinearDrift(0.0), r"LinearDrift needs a != 0; for a = 0 use BrownianMotion"),
    (lambda: sk.LinearDrift(1.0, -1.0), "LinearDrift needs sigma > 0, got -1.0"),
    (lambda: sk.GeometricBrownianMotion(float("nan"), 1.0), "the parameter mu must be finite, got nan"),
]


@pytest.mark.parametrize("make, message", BAD, ids=[message for _, message in BAD])
def test_parameters_outside_the_domain_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_parameters_are_those_of_the_process():
    with pytest.raises(TypeError, match="sigma"):
        sk.GeometricBrownianMotion(0.1)
    with pytest.raises(TypeError, match="theta"):
        sk.GeometricBrownianMotion(0.1, sigma=0.2, theta=0.3)


def test_parameters_that_are_no_numbers_are_refused():
    with pytest.raises(TypeError, match=r"sigma must be a real number, or an array .*; got 'a' \(str\)"):
        sk.GeometricBrownianMotion(0.1, "a")


SCALAR = {  # with a start and times at which it lives
    "BrownianMotion": (sk.BrownianMotion(0.3, 0.7), 1.5),
    "LinearDrift": (sk.LinearDrift(0.4, 0.5), 1.0),
    "GeometricBrownianMotion": (sk.GeometricBrownianMotion(0.05, 0.4), 100.0),
    "OrnsteinUhlenbeck": (sk.OrnsteinUhlenbeck(1.3, -0.4, 0.9), 2.0),
    "BrownianBridge": (sk.BrownianBridge(2.0, 3.0, 0.6), 0.5),
    "CoxIngersollRoss": (sk.CoxIngersollRoss(1.2, 0.3, 0.5), 0.4),
    "PoissonProcess": (sk.PoissonProcess(2.5), 1.0),
}


@pytest.mark.parametrize("process, x0", SCALAR.values(), ids=SCALAR)
def test_all_processes_tell_their_law_in_the_same_words(process, x0):
    """mean, variance, covariance and law of (x0, t): one consistent law, at one time or an array of them."""
    t = np.array([0.2, 0.9, 1.4, 2.6])
    mean, variance, c = process.mean(x0, t), process.variance(x0, t), process.covariance(x0, t[:, None], t)
    law = process.law(x0, t)
    assert law.mean() == pytest.approx(mean, rel=1e-12) and law.var() == pytest.approx(variance, rel=1e-10)
    assert np.diag(c) == pytest.approx(variance, rel=1e-13) and (c == c.T).all()
    assert np.linalg.eigvalsh(c)[0] > 0
    assert [process.mean(x0, s) for s in t] == pytest.approx(mean, rel=1e-15)
    assert process.mean(x0, 0.0) == pytest.approx(x0, rel=1e-15) and process.variance(x0, 0.0) == 0.0
    assert process.covariance(x0, 0.0, 1.0) == 0.0


@pytest.mark.parametrize("process, x0", SCALAR.values(), ids=SCALAR)
def test_closed_forms_refuse_what_is_no_time_and_no_state(process, x0):
    for form in (process.mean, process.variance, process.law, lambda x, t: process.covariance(x, t, 1.0),
                 lambda x, t: process.covariance(x, 1.0, t)):
        for x, t, error, words in (
                (x0, -1.0, ValueError, "t must be a time from 0 on, got -1"), (x0, "1", TypeError, "t must be a real"),
                (x0, [0.5, -0.5], ValueError, "got -0.5"), (x0, np.nan, ValueError, "t must be finite, got nan"),
                (x0, np.inf, ValueError, "t must be finite, got inf"), (np.nan, 1.0, ValueError, "x0 must be finite"),
                (None, 1.0, TypeError, "x0 must be a real number"),
                ([x0, x0], [0.5, 1.0, 1.5], ValueError, r"must broadcast, got x0 \(2,\), t \(3,\)")):
            with pytest.raises(error, match=words):
                form(x, t)
        if process.domain:
            with pytest.raises(ValueError, match=f"x0 of {type(process).__name__}.* must be at least 0, got -1"):
                form([x0, -1.0], 1.0)
            with pytest.raises(TypeError, match="must be a number or an array"):
                form((x0, x0), 1.0)
    many = process.mean([x0, x0 + 1], [[0.5], [1.0], [1.5]])  # lists, too: a row for each time
    assert many.shape == (3, 2) and many[2, 1] == process.mean(x0 + 1, 1.5)
    assert process.law([x0, x0 + 1], 1.0).mean() == pytest.approx(process.mean([x0, x0 + 1], 1.0), rel=1e-12)


def test_each_path_of_its_own_parameters_has_its_law():
    kappa, sigma = np.array([0.5, 1.0, 2.0]), np.array([0.3, 0.4, 0.5])
    for make in (lambda k, s: sk.OrnsteinUhlenbeck(k, 0.2, s), lambda k, s: sk.CoxIngersollRoss(k, 0.2, s)):
        many, each = make(kappa, sigma), [make(*both) for both in zip(kappa.tolist(), sigma.tolist())]
        assert many.law(0.4, 0.7).cdf(0.3) == pytest.approx([one.law(0.4, 0.7).cdf(0.3) for one in each], rel=1e-14)
        assert many.variance(0.4, 0.7) == pytest.approx([one.variance(0.4, 0.7) for one in each], rel=1e-14)
        assert many.stationary().cdf(0.3) == pytest.approx([one.stationary().cdf(0.3) for one in each], rel=1e-14)
        with pytest.raises(ValueError, match=r"t \(2,\), kappa \(3,\), .*t\[:, None\] makes a row for each time"):
            many.mean(0.4, [0.5, 1.0])


def test_a_law_without_spread_is_refused():
    for process, x0 in SCALAR.values():
        if not isinstance(process, sk.PoissonProcess):
            with pytest.raises(ValueError, match=r"at t = 0 the state of .* is known"):
                process.law(x0, [1.0, 0.0])
    bridge = sk.BrownianBridge(2.0, 3.0, 0.6)
    with pytest.raises(ValueError, match="at t = 3 the state of"):
        bridge.law(0.5, 3.0)
    for form in (bridge.mean, bridge.variance, bridge.law):
        with pytest.raises(ValueError, match=r"lives until t = 3, got t=3\.5"):
            form(0.5, [1.0, 3.5])
    with pytest.raises(ValueError, match="lives until t = 3"):
        bridge.covariance(0.5, 3.5, 1.0)
    with pytest.raises(ValueError, match=r"lognormal for S\(0\) > 0, got -1"):
        sk.GeometricBrownianMotion(0.1, 0.2).law([1.0, -1.0], 1.0)
