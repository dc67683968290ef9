"""Walks: exact laws against closed forms, enumeration and 30 digits; simulated ones against the exact laws."""

import pickle
from itertools import pairwise, product

import mpmath as mp
import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

import sdekit as sk
from sdekit.walks import Chain, CoinWalk, Finite, GaussianWalk, LazyWalk, mutation_clock
from tests.conftest import EPS, array, assert_gaussian, assert_law, assert_near

PATHS = 40_000
WEATHER = Chain([[0.7, 0.2, 0.1, 0.0], [0.0, 0.5, 0.0, 0.5], [0.3, 0.3, 0.4, 0.0], [1.0, 0.0, 0.0, 0.0]], "abcd")
probabilities = st.floats(0, 1)
few = st.integers(0, 40)


def close(a, b, units):
    """Equal within so many units in the last place of the larger one."""
    a, b = np.asarray(a), np.asarray(b)
    return np.all(np.abs(a - b) <= units * EPS * np.maximum(np.abs(a), np.abs(b)) + 1e-300)


# --- exact laws

@given(probabilities)
def test_two_flips(p):
    law = CoinWalk(p).law(10.0, 2)
    assert law.x.tolist() == [8.0, 10.0, 12.0]
    assert close(law.p, [(1 - p) ** 2, 2 * p * (1 - p), p**2], 16)


@pytest.mark.parametrize("p", [1e-4, 0.3, 0.5, 0.999])
def test_a_coin_walk_is_a_shifted_binomial_for_many_flips(p):
    n = 100_000
    law = CoinWalk(p).law(0.0, n)
    assert np.array_equal(law.x, np.arange(-n, n + 1, 2))
    mean = n * p
    for k in {int(mean), int(mean + 5 * (mean * (1 - p)) ** 0.5), int(mean * 0.9)}:
        with mp.workdps(30):
            exact = float(mp.binomial(n, k) * mp.mpf(p) ** k * (1 - mp.mpf(p)) ** (n - k))
        assert law.probability(2.0 * k - n) == pytest.approx(exact, rel=1e-11, abs=0)
        assert law.probability(2.0 * k - n + 1) == 0.0


@pytest.mark.parametrize("b", [0.5, 30.0, 99.9, 100.0])
def test_a_lazy_walk_has_trinomial_coefficients_for_many_turns(b):
    n, q = 20_000, mp.mpf(b) / 200
    law = LazyWalk(b).law(0.0, n)
    sites = [0, int((n * b / 100) ** 0.5) // 2 * 2, 6]
    with mp.workdps(30):
        for d in sites:  # sum over r steps to the right and r - d to the left
            stay = 1 - 2 * q
            if stay == 0:
                exact = mp.binomial(n, (n + d) // 2) / mp.mpf(2) ** n
            else:
                term = exact = mp.binomial(n, d) * q**d * stay ** (n - d)
                for j in range((n - d) // 2):
                    term *= mp.mpf((n - d - 2 * j) * (n - d - 2 * j - 1)) / ((j + 1) * (j + 1 + d)) * (q / stay) ** 2
                    exact += term
            for site in (d, -d):
                assert law.probability(float(site)) == pytest.approx(float(exact), rel=1e-11, abs=0)


@given(st.sampled_from([CoinWalk, LazyWalk]), probabilities, few, few, st.integers(-5, 5))
def test_moves_add_up_and_have_the_moments_they_claim(kind, p, m, n, x0):
    walk = kind(p if kind is CoinWalk else 100 * p)
    law, one, other = walk.law(x0, m + n), walk.law(x0, m), walk.law(0, n)
    assert np.abs(np.convolve(one.p, other.p) - law.p).max() <= 200 * EPS
    scale = m + n + abs(x0) + 1
    assert abs(law.mean - walk.mean(x0, m + n)) <= 200 * EPS * scale
    assert abs(law.variance - walk.variance(x0, m + n)) <= 200 * EPS * scale**2
    assert walk.covariance(x0, m, m + n) == walk.variance(x0, m)


def test_a_lazy_walk_of_no_laziness_is_a_coin_walk_and_one_that_never_moves_stays():
    assert LazyWalk(100).law(3, 7).probability(4.0) == CoinWalk().law(3, 7).probability(4.0)
    assert LazyWalk(0).law(3.0, 50).probability(3.0) == 1.0 and LazyWalk(0).variance(3.0, 50) == 0.0
    assert LazyWalk(37.0).variance(0, 200) == pytest.approx(74.0, rel=1e-15)


@given(probabilities.filter(lambda p: 0.01 < p < 0.99), st.integers(0, 8), st.integers(0, 8), st.data())
def test_a_coin_walk_between_two_ends_by_bayes_rule(p, n, rest, data):
    """For every p, and the answer does not depend on it."""
    walk, m = CoinWalk(p), n + rest
    end = 2.0 * data.draw(st.integers(0, m)) - m
    law, before = walk.between(0, n, m, end), walk.law(0, n)
    joint = before.p * [float(walk.law(x, rest).probability(end)) for x in before.x]
    assert np.abs(law.probability(before.x) - joint / joint.sum()).max() <= 1e-13


def test_the_mutation_clock():
    clock, n = mutation_clock(), np.arange(60)
    same = np.array([clock.law("A", k).p[0] for k in n])
    assert np.abs(same - (0.25 + 0.75 * (-1 / 3) ** n)).max() <= 4 * EPS
    assert close(same[1:4], [0.0, 1 / 3, 2 / 9], 4)
    for letter in "CGT":
        assert close(clock.law(letter, 3).p[clock.number(letter)], 2 / 9, 4)
    assert clock.names([[0, 3]]).tolist() == [["A", "T"]]


@given(st.floats(1e-6, 1), st.floats(1e-6, 1), st.integers(0, 100_000))
def test_a_chain_of_two_states_after_many_moves(a, b, n):
    """P^n = pi + (1 - a - b)^n (I - pi)."""
    chain = Chain([[1 - a, a], [b, 1 - b]])
    with mp.workdps(30):  # the chain's own entries, which rounding has moved
        a, b = (mp.mpf(float(v)) for v in (chain.P[0, 1], chain.P[1, 0]))
        exact = float((b + a * (1 - a - b) ** n) / (a + b))
        pi = float(b / (a + b))
    assert abs(chain.law(0, n).p[0] - exact) <= 1e-11
    assert chain.law(np.array([0.25, 0.75]), n).p[0] == pytest.approx(
        0.25 * chain.law(0, n).p[0] + 0.75 * chain.law(1, n).p[0], abs=1e-14)
    assert chain.stationary().p[0] == pytest.approx(pi, rel=1e-14)


def test_a_stationary_law_has_its_digits_in_every_entry():
    """A queue that grows with 0.1 and shrinks with 0.9: pi_i = pi_0 / 9^i, down to 1e-19."""
    k = 21
    P = np.diag([0.1] * (k - 1), 1) + np.diag([0.9] * (k - 1), -1)
    P[0, 0], P[-1, -1] = 0.9, 0.1
    law = Chain(P).stationary()
    assert close(law.p[1:] / law.p[:-1], 1 / 9, 64)


def test_a_walk_on_a_graph_stays_where_the_edges_are():
    A = np.array([[0, 1, 0, 0, 1], [1, 0, 2, 0, 0], [0, 2, 1, 0, 1], [0, 0, 0, 0, 3], [1, 0, 1, 3, 0]])
    walk = Chain.graph(A)
    assert close(walk.stationary().p, A.sum(axis=1) / A.sum(), 64)
    pi = walk.stationary().p[:, None] * walk.P
    assert np.abs(pi - pi.T).max() <= 4 * EPS  # reversible
    assert Chain.graph(np.eye(3)).law(1, 100).p.tolist() == [0.0, 1.0, 0.0]


def test_a_chain_between_two_ends_by_counting_paths():
    n, m, start, end = 2, 5, "a", "c"
    weights = np.zeros(4)
    for path in product(range(4), repeat=m - 1):
        path = (0, *path, 2)
        weights[path[n]] += np.prod([WEATHER.P[i, j] for i, j in pairwise(path)])
    assert np.abs(WEATHER.between(start, n, m, end).p - weights / weights.sum()).max() <= 16 * EPS


def test_transient_states_and_two_traps():
    P = [[0.5, 0.5, 0.0], [0.0, 0.2, 0.8], [0.0, 0.6, 0.4]]
    assert np.allclose(Chain(P).stationary().p, [0.0, 3 / 7, 4 / 7], rtol=1e-15)
    with pytest.raises(ValueError, match="2 sets of states that it never leaves"):
        Chain([[1.0, 0.0, 0.0], [0.3, 0.4, 0.3], [0.0, 0.0, 1.0]]).stationary()


# --- Gaussian walks

def test_the_gaussian_walk_of_the_course():
    s = 1.7
    walk = GaussianWalk(s)
    for n in (1, 100):
        law = walk.law(30.0, n)
        assert law.mean[0] == 30.0 and law.cov[0, 0] == pytest.approx(n * s**2, rel=1e-15)
    law = walk.between(30.0, 100, 101, 10.0)
    assert law.mean[0] == pytest.approx(30 + 100 / 101 * (10 - 30), rel=1e-14)
    assert law.cov[0, 0] == pytest.approx(100 / 101 * s**2, rel=1e-14)


def test_variance_preserving_and_halving_walks():
    p, n = 0.01, np.array([0, 1, 7, 1000, 100_000])
    walk = GaussianWalk(p**0.5, (1 - p) ** 0.5)
    assert np.allclose(walk.mean(3.0, n), 3.0 * (1 - p) ** (n / 2), rtol=n[-1] * EPS, atol=0)  # a itself is rounded
    assert np.allclose(walk.variance(3.0, n), 1 - (1 - p) ** n, rtol=1e-12, atol=0)
    halving = GaussianWalk(0.5**0.5, 0.5**0.5)
    assert np.allclose(halving.mean(5.0, n), 5.0 * 2.0 ** (-n / 2), rtol=1e-9, atol=0)
    assert np.allclose(halving.variance(5.0, n[:4]), 1 - 2.0 ** -n[:4], rtol=1e-14, atol=0)


def test_the_bayes_step_of_a_brownian_schedule():
    walk = GaussianWalk.marginal(np.sqrt)
    for t in (1, 3, 50):
        law = walk.between(2.0, t, t + 1, -1.0)
        assert law.mean[0] == pytest.approx(2.0 / (t + 1) - (1 - 1 / (t + 1)), abs=1e-13)
        assert law.cov[0, 0] == pytest.approx(t / (t + 1), rel=1e-13)


def test_one_schedule_read_as_steps_and_as_marginals():
    sigma = np.array([0.0, 0.5, 0.7, 2.0, 2.0, 3.0])
    steps, marginal = GaussianWalk(sigma), GaussianWalk.marginal(sigma)
    n = np.arange(6)
    assert np.allclose(marginal.variance(0, n), sigma**2, rtol=1e-14)
    assert np.allclose(steps.variance(0, n), np.append(0.0, np.cumsum(sigma[:5] ** 2)), rtol=1e-14)
    assert steps.variance(0, 8) == pytest.approx(steps.variance(0, 6) + 2 * 9.0)  # the last step goes on
    function = GaussianWalk.marginal(lambda n: 0.3 * n**1.5)
    assert np.allclose(function.variance(0, n), (0.3 * n**1.5) ** 2, rtol=1e-13)


@given(st.floats(0.1, 3), st.sampled_from([1.0, -1.0, 0.0, 0.5, -0.9, 1.1, 1 - 1e-9]), few, few, st.booleans())
def test_a_gaussian_walk_has_the_law_of_its_recursion(s, a, n, rest, scheduled):
    sd = [s] * (n + rest) if not scheduled else [s * (1 + k % 3) for k in range(n + rest)]
    walk = GaussianWalk(s, a) if not scheduled else GaussianWalk(lambda k: s * (1 + k % 3), a)
    mean, V = 2.0, [0.0]
    for k in range(n + rest):
        V.append(a**2 * V[k] + sd[k] ** 2)
        mean *= a
    m = n + rest
    assert close(walk.variance(2.0, m), V[m], 4000) and close(walk.mean(2.0, m), mean, 200)
    assert close(walk.covariance(2.0, n, m), a**rest * V[n], 4000)
    if V[m] > 0:  # the conditional law of the joint Gaussian
        law, c = walk.between(2.0, n, m, 5.0), a**rest * V[n]
        assert law.mean[0] == pytest.approx(2.0 * a**n + c / V[m] * (5.0 - 2.0 * a**m), abs=1e-9)
        assert law.cov[0, 0] == pytest.approx(V[n] - c**2 / V[m], abs=1e-9 * V[n])


# --- simulated

CASES = {"coin": (CoinWalk(0.3), 1.0), "lazy": (LazyWalk(60.0), 0.0), "clock": (mutation_clock(), 2.0),
         "chain": (WEATHER, 1.0), "gaussian": (GaussianWalk(0.5, 0.9), 4.0),
         "schedule": (GaussianWalk([0.5, 1.0, 2.0, 0.1, 3.0, 1.5], 0.8), 4.0),
         "marginal": (GaussianWalk.marginal(lambda n: 0.1 * n), 4.0)}
each_walk = pytest.mark.parametrize("name", CASES)


@each_walk
def test_simulated_walks_have_the_exact_laws_at_every_time(name):
    walk, x0 = CASES[name]
    start = walk.states[int(x0)] if isinstance(walk, Chain) else x0
    paths = sk.simulate(walk, x0, steps=6, paths=PATHS, seed=41, backend="numpy")
    assert paths.t.tolist() == list(range(7))
    for n in range(1, 7):
        law, x = walk.law(start, n), paths.x[:, n]
        if isinstance(law, Finite):
            assert np.isin(x, law.x[law.p > 0]).all()
            seen = np.array([(x == site).mean() for site in law.x])
            possible = (law.p > 0) & (law.p < 1 - 1e-12)
            assert_near(seen[possible], law.p[possible], (law.p * (1 - law.p) / PATHS)[possible] ** 0.5)
        else:
            assert_gaussian(x, law.mean[0], law.cov[0, 0])
    for m, n in ((1, 6), (3, 5), (4, 4)):
        products = (paths.x[:, m] - walk.mean(start, m)) * (paths.x[:, n] - walk.mean(start, n))
        assert_near(products.mean(), walk.covariance(start, m, n), products.std() / PATHS**0.5)


@each_walk
def test_every_backend_walks_the_same_way(name, backend):
    if backend == "numba" and name in ("clock", "marginal"):
        pytest.skip("the same functions as those of chain and schedule: compiling takes seconds")
    walk, x0 = CASES[name]
    x = array(sk.simulate(walk, x0, steps=6, paths=300, seed=41, backend=backend).x)
    expected = sk.simulate(walk, x0, steps=6, paths=300, seed=41, backend="numpy").x
    assert np.abs(x - expected).max() <= (64 * EPS * np.abs(expected).max() if isinstance(walk, GaussianWalk) else 0.0)


@pytest.mark.parametrize("name, m, end", [("coin", 6, -1.0), ("chain", 5, 2.0), ("gaussian", 5, 2.5)])
def test_simulated_walks_that_end_there_have_the_law_between(name, m, end):
    walk, x0 = CASES[name]
    x = sk.simulate(walk, x0, steps=6, paths=400_000, seed=43, backend="numpy").x
    if name == "gaussian":  # a slice of this width biases by O(width^2)
        width, n = 0.05, 3
        x = x[np.abs(x[:, m] - end) < width / 2, n]
        law = walk.between(x0, n, m, end)
        assert_near(x.mean(), law.mean[0], (law.cov[0, 0] / len(x)) ** 0.5, bias=width**2)
        assert_near(x.var(), law.cov[0, 0], law.cov[0, 0] * (2 / len(x)) ** 0.5, bias=width**2)
        return
    start, stop = ("b", "c") if name == "chain" else (x0, end)
    x = x[x[:, m] == end]
    for n in range(1, m):
        law = walk.between(start, n, m, stop)
        possible = (law.p > 0) & (law.p < 1 - 1e-12)
        seen = np.array([(x[:, n] == site).mean() for site in law.x])
        assert_near(seen[possible], law.p[possible], (law.p * (1 - law.p) / len(x))[possible] ** 0.5)


def test_a_schedule_goes_by_the_time_and_a_law_may_be_the_start():
    s = np.array([0.5, 1.0, 2.0, 0.1, 3.0, 1.5])
    late = sk.simulate(GaussianWalk(s), 0.0, t=(3.0, 6.0), steps=3, paths=PATHS, seed=44, backend="numpy")
    assert_gaussian(late.final, 0.0, (s[3:] ** 2).sum())
    start = CoinWalk(0.4).law(0, 5)
    x = sk.simulate(CoinWalk(0.4), start, steps=3, paths=PATHS, seed=45, backend="numpy").final
    law = CoinWalk(0.4).law(0, 8)
    assert_near([(x == site).mean() for site in law.x], law.p, (law.p * (1 - law.p) / PATHS) ** 0.5)


def test_summarized_flips_have_the_binomial_moments():
    walk, n, paths = CoinWalk(0.3), 100, 200_000
    summary = sk.summarize(walk, 0.0, steps=n, paths=paths, seed=46, at=[50, 100], backend="numpy")
    v = walk.variance(0.0, np.array([50, 100]))
    assert_near(summary.mean, walk.mean(0.0, np.array([50, 100])), (v / paths) ** 0.5)
    assert_near(np.ravel(summary.cov), v, v * (2 / paths) ** 0.5)


@pytest.mark.parametrize("x0", [4.0, 0.5, -1.0])
def test_a_start_that_is_no_state_is_refused(x0, backend):
    words = r"x0 of Chain\(4 states\) (must be between 0 and 3|counts something and must be whole), got "
    with pytest.raises(ValueError, match=words):
        sk.simulate(WEATHER, x0, steps=6, paths=300, seed=1, backend=backend)


# --- finite laws

@given(st.lists(st.floats(0, 1), min_size=1, max_size=8).filter(lambda p: sum(p) > 0.1), st.floats(0.001, 0.999))
def test_a_finite_law_agrees_with_scipy(p, u):
    p = np.array(p) / sum(p)
    law, other = Finite(np.arange(len(p)), p), scipy.stats.rv_discrete(values=(np.arange(len(p)), p))
    assert law.mean == pytest.approx(other.mean(), abs=1e-13) and law.variance == pytest.approx(other.var(), abs=1e-12)
    grid = np.arange(-1, 2 * len(p)) / 2
    assert np.abs(law.cdf(grid) - other.cdf(grid)).max() <= 1e-12
    assert np.abs(law.probability(grid) - other.pmf(grid)).max() <= 1e-15
    x = float(law.ppf(u))
    assert law.cdf(x) >= u - 1e-12 and law.cdf(x - 0.5) < u and law.probability(x) > 0


def test_a_finite_law_draws_itself():
    law = Finite([-1.0, 0.5, 4.0], [0.2, 0.0, 0.8])
    x = law.ppf(sk.uniforms(3, paths=10_000)[:, 0, 0])
    assert_near((x == -1).mean(), 0.2, (0.16 / 10_000) ** 0.5)
    assert not (x == 0.5).any()
    assert_law(sk.uniforms(3, paths=10_000)[:, 0, 0], lambda u: u)


@pytest.mark.parametrize("make, words", [
    (lambda: CoinWalk(1.2), "p must be between 0 and 1, got 1.2"),
    (lambda: CoinWalk(float("nan")), "p must be between"),
    (lambda: CoinWalk([0.2, 0.3]).law(0, 3), r"for each path, and a law is of one walk; ask CoinWalk\(p=0.2"),
    (lambda: CoinWalk().law(0, 10**12), r"all 1,000,000,000,000 moves, and 10,000,000 are the most; .* Gaussian\(walk"),
    (lambda: LazyWalk().law(0, 10**8), "all 100,000,000 moves"),
    (lambda: CoinWalk().between(0, 10**8, 10**9, 0), "all 100,000,000 moves"),
    (lambda: GaussianWalk([1.0]).variance(0, 10**9), "all 1,000,000,000 moves"),
    (lambda: CoinWalk(0).between(0, 1, 2, 0), r"p = 0 lead from 0 to -2 for certain, and not to 0"),
    (lambda: CoinWalk(1).between(3, 1, 2, 1), r"p = 1 lead from 3 to 5 for certain, and not to 1"),
    (lambda: CoinWalk().between(0, 1, 2, float("nan")), "cannot end at nan"),
    (lambda: CoinWalk().between(0, 1, 2, float("inf")), "cannot end at inf"),
    (lambda: LazyWalk(-1), "b must be between 0 and 100, got -1"),
    (lambda: CoinWalk().law(0, -1), "whole numbers from 0 on, got -1"),
    (lambda: LazyWalk().variance(0, 1.5), "whole numbers from 0 on, got 1.5"),
    (lambda: CoinWalk().between(0, 3, 2, 0), "n=3, m=2"),
    (lambda: CoinWalk().between(0, 1, 2, 1.0), "cannot end at 1; they reach -2, 0, ..., 2"),
    (lambda: GaussianWalk(0.0), "s must be > 0"),
    (lambda: GaussianWalk([1.0, -1.0]), "at least 0, but s holds -1"),
    (lambda: GaussianWalk([]), "one for each step, or a function of its number"),
    (lambda: GaussianWalk.marginal([-2.0, -1.0]), "at least 0, but sigma holds -2"),
    (lambda: GaussianWalk.marginal([0.0, np.nan]), "finite and at least 0, but sigma holds nan"),
    (lambda: GaussianWalk.marginal([1.0]), r"at least two numbers \(N \+ 1,\)"),
    (lambda: GaussianWalk.marginal([0.0, 2.0, 1.0]), r"cannot fall.*sigma\[1\] = 2 is followed by 1"),
    (lambda: GaussianWalk.marginal(lambda n: 5.0 - n).variance(0, 3), "must not fall"),
    (lambda: Chain([[0.5, 0.5], [0.5, 0.4]]), "row 1 sums to 0.9, off by -0.1"),
    (lambda: Chain([[1.5, -0.5], [0.5, 0.5]]), r"P\[0, 1\] = -0.5"),
    (lambda: Chain([[0.5, 0.5]]), r"must be a matrix \(k, k\), got shape \(1, 2\)"),
    (lambda: Chain(np.eye(2), "A"), "as many different names"),
    (lambda: Chain(np.eye(2), "AA"), "as many different names"),
    (lambda: Chain.graph([[0, 0], [1, 1]]), "vertex 0 has no neighbour"),
    (lambda: mutation_clock().law("U", 1), "'U' is none of the states"),
    (lambda: mutation_clock().names([0, -1]), "numbered from 0 to 3, got -1"),
    (lambda: mutation_clock().names(4), "numbered from 0 to 3, got 4"),
    (lambda: mutation_clock().names([0.5, np.nan]), "numbered from 0 to 3, got 0.5"),
    (lambda: mutation_clock().law([0.5, 0.5, 0.5, 0.0], 1), "must sum to 1, got 1.5"),
    (lambda: Chain(np.eye(2)).between(0, 1, 2, 1), "1 is not reached from 0 in 2 moves"),
    (lambda: Finite([1.0, 0.0], [0.5, 0.5]), "increase"),
])
def test_bad_input_is_told(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_a_walk_goes_on_by_whole_moves():
    walk = CoinWalk(0.5)
    paths = sk.simulate(walk, 0, steps=4, paths=3, seed=1)
    assert (paths.extend(6.0).x == sk.simulate(walk, 0, steps=6, paths=3, seed=1).x).all()
    for t, steps in ((6.5, None), (8.0, 2)):
        with pytest.raises(ValueError, match="makes one move in each 1 of time: extend it by whole moves"):
            paths.extend(t, steps)


def test_a_finite_law_answers_what_is_no_number_or_no_probability():
    law = CoinWalk(0.5).law(0, 100)
    assert np.isnan(law.cdf(np.nan)) and np.isnan(law.ppf([np.nan, -0.1, 1.5])).all()
    assert law.ppf(1.0) == 100.0 and law.cdf(100.0) == 1.0


def test_a_chain_can_be_pickled():
    clock = mutation_clock()
    again = pickle.loads(pickle.dumps(clock))
    assert again.states == clock.states and (again.P == clock.P).all()
    paths = [sk.simulate(chain, 0, steps=5, paths=4, seed=2).x for chain in (clock, again)]
    assert (paths[0] == paths[1]).all()


@pytest.mark.parametrize("make, words", [
    (lambda: CoinWalk("a"), "p must be a number between 0 and 1, got 'a'"),
    (lambda: LazyWalk(None), "b must be a number between 0 and 100, got None"),
    (lambda: GaussianWalk("a"), "s must be a number, an array or a function of the step's number; got 'a'"),
    (lambda: Chain(np.eye(2), states=5), "states must be a sequence of 2 names.*got 5"),
])
def test_input_of_another_kind_is_told(make, words):
    with pytest.raises(TypeError, match=words):
        make()


def test_a_coin_of_one_side_goes_where_it_must():
    assert CoinWalk(0).between(0.0, 1, 3, -3.0).probability(-1.0) == 1.0
    assert CoinWalk(1).between(2.0, 2, 3, 5.0).probability(4.0) == 1.0
    assert CoinWalk(0).law(0, 10**6).probability(-1e6) == 1.0


def sloped(n):
    return 1.0 + 0.5 * n


@pytest.mark.parametrize("walk", [
    GaussianWalk(0.5, 0.9), GaussianWalk([0.5, 1.0, 2.0], 0.8), GaussianWalk(sloped, 0.8),
    GaussianWalk.marginal([0.0, 1.0, 1.5]), GaussianWalk.marginal(sloped)], ids=lambda walk: repr(walk))
def test_a_gaussian_walk_can_be_pickled(walk):
    again = pickle.loads(pickle.dumps(walk))
    n = np.arange(7)
    assert (again.variance(0.0, n) == walk.variance(0.0, n)).all()
    assert (again.mean(2.0, n) == walk.mean(2.0, n)).all()
    paths = [sk.simulate(w, 0.0, steps=6, paths=4, seed=2, backend="numpy").x for w in (walk, again)]
    assert (paths[0] == paths[1]).all()


@pytest.mark.parametrize("sigma", [sloped, sloped(np.arange(5.0))], ids=["function", "array"])
def test_a_marginal_sigma_that_does_not_begin_with_nought(sigma):
    """X_n from X_0 = x0 lacks sigma(0)^2; from X_0 ~ N(m, sigma(0)^2) it has sigma(n) itself."""
    walk, n = GaussianWalk.marginal(sigma), np.arange(5)
    assert np.allclose(walk.variance(3.0, n), sloped(n) ** 2 - sloped(0) ** 2, rtol=1e-13, atol=0)
    start = sk.gaussian.Gaussian(3.0, sloped(0) ** 2)
    x = sk.simulate(walk, start, steps=4, paths=PATHS, seed=47, backend="numpy").x
    assert_gaussian(x, 3.0, sloped(n) ** 2)


def test_steps_of_a_flat_marginal_keep_their_digits():
    """sigma(n+1)^2 - sigma(n)^2 as a product: the difference of the squares would lose half of them."""
    walk = GaussianWalk.marginal([1e6, 1e6 + 2.0**-10, 1e6 + 2.0**-9])
    assert walk.variance(0.0, 1) == pytest.approx(2.0**-10 * (2e6 + 2.0**-10), rel=4 * EPS)


def test_moments_of_walks_that_nobody_counts_out():
    n = 10**12
    assert CoinWalk().variance(0, n) == n and LazyWalk(50).variance(0, n) == n / 2
    assert GaussianWalk(2.0).law(1.0, n).cov[0, 0] == 4.0 * n
    assert mutation_clock().law("A", n).p[0] == pytest.approx(0.25, abs=1e-12)


def test_a_walk_may_begin_at_any_time():
    """t = (2, 5) are three moves, at the times 3, 4 and 5."""
    one, other = (sk.simulate(sk.walks.CoinWalk(0.5), 0, t=t, paths=5, seed=1) for t in ((2, 5), 3))
    assert one.t.tolist() == [2, 3, 4, 5] and np.array_equal(one.x, other.x)
    with pytest.raises(ValueError, match="makes one move in each 1 of time"):
        sk.simulate(sk.walks.CoinWalk(0.5), 0, t=(2, 4.5), paths=5, seed=1)
