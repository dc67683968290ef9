"""Counts that jump: the Poisson process and the M/M/1 queue, against their laws written a second time."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from scipy.linalg import expm
from scipy.special import chdtri, pdtr

import sdekit as sk
from tests import strategies
from tests.conftest import ALARM, array, assert_near

PATHS = 40_000
TIMES = np.array([0.0, 0.1, 0.15, 1.0, 3.5])


def drawn(process, x0, **how):
    return sk.simulate(process, x0, **{"paths": PATHS, "seed": 41, "backend": "numpy", **how})


def assert_counts(counts, p):
    """Pearson's chi-square against P(n), n = 0, 1, ...; the cells of the tails are joined until 10 are expected."""
    last = int(np.flatnonzero(len(counts) * np.cumsum(p[::-1])[::-1] > 10)[-1])
    first = int(np.flatnonzero(len(counts) * np.cumsum(p) > 10)[0])
    cell = np.clip(counts, first, last).astype(int) - first
    expected = np.concatenate([[p[:first + 1].sum()], p[first + 1:last], [p[last:].sum()]]) * len(counts)
    seen = np.bincount(cell, minlength=len(expected))
    assert ((seen - expected) ** 2 / expected).sum() <= chdtri(len(expected) - 1, ALARM)


def generator(arrivals, services, size):
    """The rates of an M/M/1 queue on 0..size - 1: row n to column m."""
    Q = np.diag(np.full(size - 1, arrivals), 1) + np.diag(np.full(size - 1, services), -1)
    return Q - np.diag(Q.sum(axis=1))


# --- the Poisson process

@pytest.mark.parametrize("rate", [0.3, 4.0, 500.0])
@pytest.mark.parametrize("grid", [{"t": TIMES}, {"t": 3.5, "steps": 1}, {"t": 3.5, "steps": 17}], ids=repr)
def test_events_have_their_law_whatever_the_steps(rate, grid):
    result = drawn(sk.PoissonProcess(rate), 0.0, **grid)
    mean = rate * 3.5
    p = np.diff(pdtr(np.arange(mean + 12 * mean**0.5 + 20), mean), prepend=0.0)
    assert_counts(result.final, p)
    steps = np.diff(result.x)
    assert (steps >= 0).all() and (steps == np.floor(steps)).all()


def test_events_in_disjoint_times_are_independent():
    rate, t = 4.0, TIMES[1:]
    x = drawn(sk.PoissonProcess(rate), 2.0, t=TIMES).x[:, 1:]
    exact = rate * np.minimum.outer(t, t)
    centred = x - (2.0 + rate * t)
    products = centred[:, :, None] * centred[:, None]
    assert_near(products.mean(axis=0), exact, products.std(axis=0) / PATHS**0.5)
    process = sk.PoissonProcess(rate)
    assert process.covariance(2.0, t[:, None], t) == pytest.approx(exact, rel=1e-15)
    assert (process.mean(2.0, t) == 2.0 + rate * t).all() and (process.variance(2.0, t) == rate * t).all()
    assert process.law(2, 1.5).pmf(5) == pytest.approx(math.exp(-6) * 6**3 / 6, rel=1e-13)


def test_each_path_may_have_a_rate_of_its_own():
    """0.01 to 1e6 beside each other: both ways of drawing in one array."""
    rates = np.repeat([0.01, 1.0, 30.0, 1e6], 5000)
    x = drawn(sk.PoissonProcess(rates), 0.0, paths=None, t=1.0, steps=3).final.reshape(4, -1)
    rate = np.array([0.01, 1.0, 30.0, 1e6])
    assert_near(x.mean(axis=1), rate, (rate / 5000) ** 0.5)
    assert_near(((x - rate[:, None]) ** 2).mean(axis=1), rate, ((rate + 2 * rate**2) / 5000) ** 0.5)


# --- the queue

QUEUES = [(1.0, 2.0, 0), (3.0, 3.5, 4), (2.0, 1.0, 1), (0.2, 5.0, 7)]
each_queue = pytest.mark.parametrize("arrivals, services, x0", QUEUES)


@each_queue
@pytest.mark.parametrize("t", [0.0, 0.3, 4.0])
def test_the_probabilities_of_a_queue_solve_its_rate_equations(arrivals, services, x0, t):
    """dp/dt = p Q, on 120 lengths, far more than it reaches."""
    exact = expm(t * generator(arrivals, services, 120))[x0]
    queue = sk.Queue(arrivals, services)
    p = queue.probabilities(x0, t)
    assert p.sum() == pytest.approx(1.0, abs=1e-14)
    assert np.abs(np.pad(p, (0, max(0, 120 - len(p))))[:120] - exact).max() <= 1e-12
    n = np.arange(120)
    mean = exact @ n
    assert queue.mean(x0, t) == pytest.approx(mean, abs=1e-10)
    assert queue.variance(x0, np.array([t, t])) == pytest.approx(np.full(2, exact @ (n - mean) ** 2), abs=1e-9)


@each_queue
@pytest.mark.parametrize("steps", [1, 6])
def test_a_queue_has_its_law_whatever_the_steps(arrivals, services, x0, steps):
    result = drawn(sk.Queue(arrivals, services), x0, t=2.5, steps=steps)
    assert_counts(result.final, expm(2.5 * generator(arrivals, services, 120))[x0])
    assert (result.x >= 0).all()


def test_the_length_of_a_queue_at_two_times_has_its_joint_law():
    """P(X(s) = i, X(t) = j) = P(i at s) P(i -> j): Chapman & Kolmogorov."""
    Q = generator(1.5, 2.0, 100)
    x = drawn(sk.Queue(1.5, 2.0), 1, t=[0.0, 0.7, 2.0], seed=42).x.astype(int)
    joint = expm(0.7 * Q)[1][:, None] * expm(1.3 * Q)
    most = 4  # lengths from 4 on are one cell
    cells = np.minimum(np.arange(100), most)
    p = np.zeros((most + 1, most + 1))
    np.add.at(p, (cells[:, None], cells), joint)
    pair = cells[x[:, 1]] * (most + 1) + cells[x[:, 2]]
    seen = np.bincount(pair, minlength=p.size)
    assert ((seen - PATHS * p.ravel()) ** 2 / (PATHS * p.ravel())).sum() <= chdtri(p.size - 1, ALARM)


def test_a_queue_keeps_its_stationary_law_and_is_reversible():
    """Geometric, kept over time; and P(i, then j) = P(j, then i) (Burke 1956)."""
    queue, rho = sk.Queue(3.0, 4.0), 0.75
    p = queue.stationary(60)
    assert p == pytest.approx(0.25 * rho ** np.arange(61), rel=1e-14)
    start = np.floor(np.log(sk.uniforms(43, paths=PATHS)[:, 0, 0]) / math.log(rho))  # geometric, by inversion
    x = drawn(queue, start, t=1.0, steps=2, stream=1).final
    assert_counts(x, np.append(p, rho**61))
    ups, downs = ((start == 2) & (x == 5)).sum(), ((start == 5) & (x == 2)).sum()
    assert_near(ups - downs, 0.0, (ups + downs) ** 0.5)


def test_a_queue_that_is_not_served_fast_enough_grows_by_the_difference():
    n = 5000
    # from 50 it is never empty: two Poisson processes
    x = drawn(sk.Queue(5.0, 2.0), 50, t=10.0, steps=4, paths=n).final
    assert_near(x.mean(), 80.0, (70 / n) ** 0.5)
    assert_near(((x - 80.0) ** 2).mean(), 70.0, ((70 + 2 * 70**2) / n) ** 0.5)


@settings(max_examples=15)
@given(strategies.numbers(0.05, 5.0), strategies.numbers(0.05, 5.0), strategies.numbers(0.01, 3.0))
def test_the_mean_of_a_queue_grows_by_arrivals_less_services_while_it_is_not_empty(arrivals, services, t):
    """d/dt E X = lambda - mu (1 - P(X = 0))."""
    queue, h = sk.Queue(arrivals, services), 1e-4
    slope = (queue.mean(1, t + h) - queue.mean(1, t - h)) / (2 * h)
    third = (arrivals + services) ** 3  # bounds the third derivative
    rounding = 1e-12 / h
    assert abs(slope - (arrivals - services * (1 - queue.probabilities(1, t)[0]))) <= third * h * h + rounding


def test_every_execution_draws_the_same_queue(backend):
    rates = np.where(np.arange(300) % 2, 40.0, 1.0)  # means on both sides of 10
    ours, numpys = (array(sk.simulate(sk.Queue(rates, 1.1 * rates), 3, t=2.0, steps=5, seed=3, backend=b).x)
                    for b in (backend, "numpy"))
    assert (ours == numpys).all()


@pytest.mark.parametrize("call, message", [
    (lambda: sk.PoissonProcess(0.0), "PoissonProcess needs rate > 0, got 0.0"),
    (lambda: sk.Queue(-1.0, 1.0), "Queue needs arrivals > 0, got -1.0"),
    (lambda: sk.Queue(1.0, 0.0), "Queue needs services > 0, got 0.0"),
    (lambda: sk.Queue(1.0, 2.0).probabilities(0.5, 1.0), "a queue's length is a whole number from 0 on, got 0.5"),
    (lambda: sk.Queue(1.0, 2.0).probabilities(-1, 1.0), "a queue's length is a whole number from 0 on, got -1"),
    (lambda: sk.Queue(1.0, 2.0).probabilities(0, -1.0), "t must be a time from 0 on, got -1.0"),
    (lambda: sk.Queue(2.0, 2.0).stationary(3), "arrivals / services = 1"),
    (lambda: drawn(sk.Queue(1.0, 2.0), -1, steps=1), "x0 of Queue.* must be at least 0, got -1.0"),
])
def test_what_is_no_count_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_queue_of_half_a_customer_is_refused():
    with pytest.raises(ValueError, match=r"counts something and must be whole, got 0\.5"):
        sk.simulate(sk.Queue(1.0, 2.0), np.array([1.0, 0.5]), steps=3, seed=1)


# --- a queue after a long time

def test_a_queue_without_drift_grows_like_a_walk_that_is_reflected():
    """rho = 1: X + 1/2 is |Y + 1/2|, Y the free walk; E |Y + 1/2| = (4 lambda t / pi)^{1/2} (1 + O(1/(lambda t)))."""
    queue, t = sk.Queue(1.0, 1.0), np.array([1e4, 1e6, 1e8])
    assert queue.mean(0, t) + 0.5 == pytest.approx((4 * t / math.pi) ** 0.5, rel=1e-4)


def test_a_queue_that_grows_has_the_mean_of_a_walk_and_of_what_was_not_served():
    """E X = x0 + (lambda - mu) t + rho^{-(x0 + 1)} / (1 - 1/rho) once 0 is left for good; Var X ~ (lambda + mu) t."""
    queue, t = sk.Queue(2.0, 1.0), 1e5
    assert queue.mean(3, t) - t == pytest.approx(3.0 + 0.5**4 / 0.5, abs=1e-5)
    assert queue.variance(3, t) == pytest.approx(3 * t, rel=1e-3)


@pytest.mark.parametrize("arrivals, services, x0", [(1.0, 1.01, 5), (0.2, 5.0, 7), (3.0, 3.5, 4)])
def test_a_queue_settles_and_is_continuous_where_it_counts_as_settled(arrivals, services, x0):
    queue, rho = sk.Queue(arrivals, services), arrivals / services
    gap = (services**0.5 - arrivals**0.5) ** 2
    settled = (46.0 - 0.5 * (math.log1p(-rho) + x0 * math.log(rho))) / gap
    p = queue.probabilities(x0, 0.3 * settled)  # at e^{-14} it still can be told from it
    assert np.abs(p - queue.stationary(len(p) - 1)).max() > 1e-13
    for t in (0.99 * settled, 1.01 * settled, 1e9, 1e300):
        p = queue.probabilities(x0, t)
        assert np.abs(p - queue.stationary(len(p) - 1)).max() <= 1e-14
        assert queue.mean(x0, t) == pytest.approx(rho / (1 - rho), rel=1e-9)


def test_a_long_queue_is_served_at_its_rate():
    queue = sk.Queue(1.0, 2.0)
    assert queue.mean(100_000, 10.0) == pytest.approx(100_000 - 10.0, rel=1e-12)
    assert queue.variance(100_000, 10.0) == pytest.approx(30.0, rel=1e-9)


@pytest.mark.parametrize("call, error, words", [
    (lambda q: q.stationary(-1), ValueError, "most must be at least 0 .* got -1"),
    (lambda q: q.stationary(2.5), TypeError, "most must be a whole number, got 2.5"),
    (lambda q: q.probabilities(0, np.inf), ValueError, "t must be finite, got inf; the law that it tends to is stat"),
    (lambda q: q.probabilities(0, [1.0, 2.0]), TypeError, "takes one time"),
    (lambda q: q.probabilities(np.inf, 1.0), ValueError, "a whole number from 0 on, got inf"),
    (lambda q: q.probabilities("3", 1.0), ValueError, "a whole number from 0 on, got 3"),
    (lambda q: q.mean([1, 2], 1.0), ValueError, "a whole number from 0 on"),
    (lambda q: sk.Queue(2.0, 1.0).mean(0, 1e9), ValueError, "and 4,194,304 are the most; take an earlier time"),
    (lambda q: sk.Queue([1.0, 2.0], 3.0).mean(0, 1.0), ValueError, "has rates for each path"),
    (lambda q: sk.Queue([1.0, 2.0], 3.0).stationary(3), ValueError, "has rates for each path"),
])
def test_what_a_queue_cannot_answer_is_told(call, error, words):
    with pytest.raises(error, match=words):
        call(sk.Queue(1.0, 2.0))
