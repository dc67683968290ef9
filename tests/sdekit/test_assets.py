"""Several stocks: on a given path, in law, and what is no correlation."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sdekit as sk
from sdekit.processes.check import correlations
from tests import strategies
from tests.conftest import EPS, array, assert_near, rounding

PATHS = 40_000
MU, SIGMA = np.array([0.05, -0.1, 0.2]), np.array([0.2, 0.5, 0.35])
R = np.array([[1.0, 0.6, -0.3], [0.6, 1.0, 0.2], [-0.3, 0.2, 1.0]])
S0 = (100.0, 50.0, 80.0)
three = sk.CorrelatedGeometricBrownianMotion(MU, SIGMA, R)
TIMES = np.array([0.0, 0.1, 0.15, 1.0, 2.5])
five = sk.CorrelatedGeometricBrownianMotion(0.05, 0.3, 0.5 + 0.5 * np.eye(5))


def solution(process, s0, t, W):
    """S_i(0) exp((mu_i - sigma_i^2/2) t + sigma_i (L W)_i), L of NumPy's own Cholesky; (paths, times, d)."""
    driven = W @ np.linalg.cholesky(process.correlation).T
    return s0 * np.exp((process.mu - process.sigma**2 / 2) * t[:, None] + process.sigma * driven)


def brownian(dw):
    return np.pad(dw.cumsum(axis=1), ((0, 0), (1, 0), (0, 0)))


@pytest.mark.parametrize("process, s0", [(three, S0), (five, (1.0, 2.0, 3.0, 4.0, 5.0))], ids=["three", "five"])
def test_stocks_are_exact_path_by_path(process, s0, backend):
    h, d = np.diff(TIMES), len(s0)
    dw = h[:, None] ** 0.5 * sk.normals(61, paths=50, steps=len(h), components=d)
    exact = solution(process, s0, TIMES, brownian(dw))
    x = array(sk.simulate(process, s0, TIMES, paths=50, seed=61, backend=backend).x)
    assert np.abs(x / exact - 1).max() <= rounding(4 * len(h), 1.0)
    if backend == "numpy":
        x = sk.simulate(process, s0, TIMES, noise=dw, method=sk.exact).x
        assert np.abs(x / exact - 1).max() <= rounding(4 * len(h), 1.0)


def test_euler_steps_on_the_same_path_tend_to_it():
    """Strong order 1/2: 16 times as many steps, a quarter of the error, to a factor of 1.5."""
    dw = sk.normals(62, paths=1000, steps=256, components=3) / 16
    exact = solution(three, S0, np.array([0.0, 1.0]), brownian(dw.sum(axis=1, keepdims=True)))[:, -1]
    errors = []
    for n in (16, 256):
        noise = dw.reshape(1000, n, -1, 3).sum(axis=2)
        x = sk.simulate(three, S0, steps=n, noise=noise, method=sk.euler_maruyama, save="final", backend="numpy").final
        errors.append(((x / exact - 1) ** 2).mean() ** 0.5)
    assert 4 / 1.5 < errors[0] / errors[1] < 4 * 1.5


def test_stocks_have_their_means_and_covariances():
    result = sk.simulate(three, S0, t=TIMES, paths=PATHS, seed=63, backend="numpy")
    assert result.info["method"] is sk.exact
    s, t = result.x, (0.15, 2.5)
    mean = np.array(S0) * np.exp(MU * TIMES[:, None])
    assert np.abs(three.mean(S0, TIMES) / mean - 1).max() <= 8 * EPS
    assert_near(s[:, 1:].mean(axis=0), mean[1:], s[:, 1:].std(axis=0) / PATHS**0.5)
    a, b = (s[:, list(TIMES).index(time)] - mean[list(TIMES).index(time)] for time in t)
    grown = np.exp(np.outer(SIGMA, SIGMA) * R * t[0]) - 1
    exact = np.outer(S0 * np.exp(MU * t[0]), S0 * np.exp(MU * t[1])) * grown
    assert three.covariance(S0, *t) == pytest.approx(exact, rel=1e-13)
    products = a[:, :, None] * b[:, None]
    assert_near(products.mean(axis=0), exact, products.std(axis=0) / PATHS**0.5)
    assert np.diag(three.covariance(S0, 2.5, 2.5)) == pytest.approx(three.variance(S0, 2.5), rel=1e-13)


def test_the_logarithms_have_the_correlations():
    """dlog S_i dlog S_j = sigma_i sigma_j R_ij dt; a correlation's estimate has the error (1 - r^2)/sqrt n."""
    s = sk.simulate(three, S0, t=1.0, steps=1, paths=PATHS, seed=64, backend="numpy").final
    assert_near(np.corrcoef(np.log(s).T)[np.triu_indices(3, 1)], R[np.triu_indices(3, 1)],
                (1 - R[np.triu_indices(3, 1)] ** 2) / PATHS**0.5)


def test_one_stock_is_geometric_brownian_motion(backend):
    one = sk.CorrelatedGeometricBrownianMotion(0.05, 0.2, [[1.0]])
    ours = array(sk.simulate(one, (100.0,), steps=7, paths=40, seed=65, backend=backend).x)[..., 0]
    gbm = array(sk.simulate(sk.GeometricBrownianMotion(0.05, 0.2), 100.0, steps=7, paths=40, seed=65,
                            backend=backend).x)
    assert np.abs(ours / gbm - 1).max() <= rounding(7, 1.0)


@pytest.mark.parametrize("r", [1.0, -1.0])
def test_fully_correlated_stocks_have_one_noise(r):
    two = sk.CorrelatedGeometricBrownianMotion(0.0, 0.3, [[1.0, r], [r, 1.0]])
    s = sk.simulate(two, (1.0, 1.0), t=2.0, steps=5, paths=100, seed=66, backend="numpy").x
    log = np.log(s) + 0.045 * np.linspace(0, 2, 6)[:, None]
    assert np.abs(log[..., 1] - r * log[..., 0]).max() <= rounding(5, log, 1.0)


@given(strategies.matrices(4, 2))
def test_a_correlation_matrix_of_low_rank_is_factored(A):
    """Four assets on two factors: singular, and L L^T = R all the same."""
    A = A / np.linalg.norm(A, axis=1)[:, None]
    full, L = correlations(A @ A.T)
    # a pivot below 1e-14 counts as 0, and costs the square root of it
    assert np.abs(L @ L.T - A @ A.T).max() <= 1e-6
    assert (np.triu(L, 1) == 0).all() and (full == A @ A.T).all()


@given(st.lists(strategies.numbers(-1, 1), min_size=3, max_size=3))
def test_what_is_no_correlation_is_refused_by_its_eigenvalue(r):
    a, b, c = r
    matrix = np.array([[1, a, b], [a, 1, c], [b, c, 1.0]])
    determinant = 1 + 2 * a * b * c - a * a - b * b - c * c
    if determinant < -1e-8:  # with |r| <= 1 there is one negative eigenvalue then
        least = np.linalg.eigvalsh(matrix)[0]
        with pytest.raises(ValueError, match="positive semi-definite") as error:
            correlations(matrix)
        assert f"{least:.3g}" in str(error.value)
    elif determinant > 1e-8:
        assert np.abs(correlations(matrix)[1] - np.linalg.cholesky(matrix)).max() <= 1e-6


@pytest.mark.parametrize("matrix, message", [
    ([[1.0, 0.5], [0.4, 1.0]], r"symmetric, but \[0\]\[1\] = 0.5 and \[1\]\[0\] = 0.4"),
    ([[1.0, 0.5]], r"square, .*got shape \(1, 2\)"),
    ([[2.0, 0.5], [0.5, 1.0]], "1 on its diagonal"),
    ([[1.0, 1.5], [1.5, 1.0]], "entries from -1 to 1"),
    ([[1.0, np.nan], [np.nan, 1.0]], "finite"),
])
def test_what_is_no_correlation_matrix_is_refused(matrix, message):
    with pytest.raises(ValueError, match=message):
        sk.CorrelatedGeometricBrownianMotion(0.0, 0.2, matrix)


def test_wrong_sizes_and_signs_are_refused():
    for mu, sigma, message in ((0.0, [0.2, -0.1], "needs sigma > 0"), ([0.1, 0.2, 0.3], 0.2, "mu must be one finite"),
                               (0.0, np.inf, "sigma must be one finite")):
        with pytest.raises(ValueError, match=message):
            sk.CorrelatedGeometricBrownianMotion(mu, sigma, np.eye(2))


def test_stocks_survive_pickling_and_files(tmp_path):
    again = pickle.loads(pickle.dumps(three))
    assert repr(again) == repr(three) and (again.correlation == R).all()
    paths = sk.simulate(three, S0, steps=3, paths=5, seed=67, backend="numpy")
    assert (sk.simulate(again, S0, steps=3, paths=5, seed=67, backend="numpy").x == paths.x).all()
    loaded = sk.load(paths.save(tmp_path / "stocks.npz"), three)
    assert (loaded.replay(2).x[0] == paths.x[2]).all()
    assert (sk.load(tmp_path / "stocks.npz").x == paths.x).all()


@pytest.mark.parametrize("call, error, words", [
    (lambda: three.mean(S0, -1.0), ValueError, "t must be a time from 0 on, got -1"),
    (lambda: three.variance(S0, np.nan), ValueError, "t must be finite, got nan"),
    (lambda: three.covariance(S0, -0.5, 1.0), ValueError, "t must be a time from 0 on, got -0.5"),
    (lambda: three.covariance(S0, 1.0, [1.0, 2.0]), ValueError, "one start and two numbers s and t"),
    (lambda: three.mean((100.0, np.nan, 80.0), 1.0), ValueError, "x0 must be finite"),
    (lambda: three.mean(100.0, 1.0), ValueError, "a price of each of the 3 assets, got 100.0"),
    (lambda: three.covariance((1.0, 2.0), 1.0, 1.0), ValueError, "a price of each of the 3 assets"),
])
def test_closed_forms_of_stocks_refuse_what_is_no_time_and_no_start(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_many_starts_have_their_means_side_by_side():
    starts = np.array([S0, (1.0, 2.0, 3.0)])
    assert (three.mean(starts, 0.7)[1] == three.mean((1.0, 2.0, 3.0), 0.7)).all()
    assert three.mean(starts, np.array([[0.5], [1.0], [2.0], [3.0]])).shape == (4, 2, 3)
