"""Processes that are known by how they are drawn: a user's own transition, run like an SDE."""

import pickle

import numpy as np
import pytest
from scipy.special import pdtr

import sdekit as sk
from sdekit import draws
from tests.conftest import array, assert_law, assert_near, rounding


def arrive(x, t, h, place, rate):
    return x + draws.poisson(place, rate * h, 0)


def drift_and_decay(x, t, h, place, a, b):
    """A Gaussian walk, and a product of exponentials that drives nothing."""
    u, v = x
    return u + a * h**0.5 * draws.normal(place, 0) + t * h, v * np.exp(-b * h * draws.exponential(place, 0))


def toss(x, t, h, place, p):
    return x + np.where(draws.uniform(place, 0) < p, 1.0, -1.0)


class Walk(sk.MarkovProcess):
    unit = 0.5


arrivals = sk.MarkovProcess(arrive, rate=3.0)
pair = sk.MarkovProcess(drift_and_decay, a=2.0, b=0.5)


def test_a_transition_of_ones_own_draws_the_numbers_of_the_seed(backend):
    """x' = x + N(seed, stream, path, step), whatever the grid."""
    t = np.array([1.0, 1.5, 3.0, 3.25])
    x = array(sk.simulate(arrivals, 2.0, t, paths=20, seed=81, stream=4, first=100, backend=backend).x)
    counts = sk.poissons(81, 4, range(100, 120), 3, mean=3.0 * np.diff(t)[:, None])[..., 0]
    assert (np.diff(x) == counts).all() and (x[:, 0] == 2.0).all()


def test_a_system_of_ones_own_gets_its_components_and_the_time(backend):
    t = np.array([0.0, 0.5, 2.0, 2.25])
    x = array(sk.simulate(pair, (1.0, 3.0), t, paths=20, seed=82, backend=backend).x)
    h = np.diff(t)
    u = 1.0 + (2.0 * h**0.5 * sk.normals(82, paths=20, steps=3)[..., 0] + t[:-1] * h).cumsum(axis=1)
    v = 3.0 * np.exp(-0.5 * (h * sk.exponentials(82, paths=20, steps=3)[..., 0]).cumsum(axis=1))
    assert np.abs(x[:, 1:] - np.stack([u, v], axis=-1)).max() <= rounding(3, u, v)


def test_parameters_and_starts_may_be_one_for_each_path():
    rates, starts = np.array([0.0, 2.0, 1e6]), np.array([5.0, 6.0, 7.0])
    x = sk.simulate(sk.MarkovProcess(arrive, rate=rates), starts, t=2.0, steps=4, seed=83, backend="numpy").x
    assert (x[:, 0] == starts).all() and (x[0] == 5.0).all()
    for k in (1, 2):
        alone = sk.simulate(sk.MarkovProcess(arrive, rate=rates[k]), starts[k], t=2.0, steps=4, seed=83, first=k,
                            paths=1, backend="numpy").x
        assert (alone[0] == x[k]).all()


def test_what_a_result_can_do_it_can_do_here(tmp_path):
    run = lambda **rest: sk.simulate(arrivals, 1.0, paths=30, seed=84, stream=2, first=9, backend="numpy", **rest)
    whole = run(t=2.0, steps=8)
    assert (whole.replay(7).x[0] == whole.x[7]).all()
    assert (run(t=1.0, steps=4).extend(2.0).x == whole.x).all()
    assert (run(t=2.0, steps=8, save=np.array([0.5, 2.0])).x == whole.x[:, [2, 8]]).all()
    assert (sk.load(whole.save(tmp_path / "arrivals.npz")).x == whole.x).all()
    area = run(t=2.0, steps=8, track=sk.integral()).tracked["integral"][:, -1]
    assert np.abs(area - (whole.x[:, 1:] + whole.x[:, :-1]).sum(axis=1) / 8).max() <= rounding(8, area)


def test_a_process_of_this_package_comes_back_from_its_file(tmp_path):
    paths = sk.simulate(sk.Queue(1.0, 1.5), 3, t=4.0, steps=6, paths=20, seed=85, backend="numpy")
    loaded = sk.load(paths.save(tmp_path / "queue.npz"))
    assert (loaded.replay(11).x[0] == paths.x[11]).all()
    assert repr(loaded.info["equation"]) == "Queue(arrivals=1.0, services=1.5)"


def test_summaries_are_those_of_the_paths():
    n = 5000
    summary = sk.summarize(arrivals, 1.0, t=2.0, steps=4, paths=n, seed=86, at="all", backend="numpy")
    x = sk.simulate(arrivals, 1.0, t=2.0, steps=4, paths=n, seed=86, backend="numpy").x
    assert np.abs(summary.mean - x.mean(axis=0)).max() <= rounding(n, x)
    assert np.abs(summary.var - x.var(axis=0, ddof=1)).max() <= rounding(n, x * x)
    assert_near(summary.mean, 1.0 + 3.0 * summary.t, (3.0 * summary.t / n) ** 0.5 + 1e-300)


def test_a_plan_tells_what_it_would_take():
    told = sk.plan(arrivals, 0.0, t=2.0, steps=4, paths=1000, seed=1)
    assert told.bytes == 1000 * 5 * 8 and told.method.name == "exact"


def test_a_walk_in_discrete_time_takes_its_own_time():
    """`unit` is the time of a move: without t, the number of moves says how long it is."""
    walk = Walk(toss, p=0.7)
    result = sk.simulate(walk, 0.0, steps=10, paths=20_000, seed=87)
    assert (result.t == 0.5 * np.arange(11)).all() and set(np.unique(np.diff(result.x))) == {-1.0, 1.0}
    assert_near(result.final.mean(), 10 * 0.4, (10 * 4 * 0.21 / 20_000) ** 0.5)
    assert (sk.simulate(walk, 0.0, t=5.0, paths=20, seed=87).x == result.x[:20]).all()
    for wrong in ({"t": 5.0, "steps": 20}, {"t": 5.2}, {"t": [0.0, 0.5, 1.5]}):
        with pytest.raises(ValueError, match=r"makes one move in each 0.5 of time, and a step of this run takes"):
            sk.simulate(walk, 0.0, paths=2, seed=1, **wrong)
    with pytest.raises(TypeError, match="say how many moves the walk makes"):
        sk.simulate(walk, 0.0, paths=2, seed=1)


def test_a_random_start_is_independent_of_the_moves():
    n = 20_000
    x = sk.simulate(arrivals, lambda u: u, t=1.0, steps=1, paths=n, seed=88, backend="numpy").x
    assert_law(x[:, 0], lambda u: u)
    counts = x[:, 1] - x[:, 0]
    assert_near(np.mean((counts < 2.5) * (x[:, 0] < 0.5)), pdtr(2, 3.0) / 2, 0.5 * n**-0.5)


def test_processes_survive_pickling_and_tell_their_parameters():
    again = pickle.loads(pickle.dumps(pair))
    assert repr(again) == "MarkovProcess(a=2.0, b=0.5)" and again.transition is drift_and_decay
    assert repr(Walk(toss, p=0.5)) == "Walk(p=0.5)"


@pytest.mark.parametrize("make, message", [
    (lambda: sk.MarkovProcess(arrive), "transition takes the parameter 'rate', which was not given"),
    (lambda: sk.MarkovProcess(arrive, rate=1.0, more=2.0), "no function takes the parameter 'more'"),
    (lambda: sk.MarkovProcess(3.0), "transition must be a function"),
    (lambda: sk.MarkovProcess(lambda x, t: x), "must take"),
    (lambda: sk.MarkovProcess(arrive, rate="fast"), "the parameter rate must be a real number"),
])
def test_wrong_functions_and_parameters_are_refused(make, message):
    with pytest.raises(TypeError, match=message):
        make()


@pytest.mark.parametrize("how, message", [
    ({"noise": np.zeros((2, 4))}, "it has no use for noise=, rtol or atol"),
    ({"rtol": 1e-3}, "it has no use for noise=, rtol or atol"),
    ({"method": sk.milstein}, "is known by its transition alone, and milstein is for SDEs; leave method out"),
    ({"method": sk.almost_exact}, "is known by its transition alone"),
    ({"save": [0.3]}, "is drawn at the times of the grid alone"),
    ({"bits": 32}, "knows no coarser noise; use bits=64"),
    ({"x0": np.zeros((3, 2))}, "starts from numbers, not from one array or tensor"),
    ({"track": sk.maximum()}, "is known at the points of the grid alone, .* track with bridge=False"),
])
def test_what_a_transition_cannot_do_is_refused(how, message):
    with pytest.raises(ValueError, match=message):
        sk.simulate(arrivals, **{"x0": 0.0, "steps": 4, "seed": 1, **how})


def test_a_state_that_is_no_number_is_told(backend):
    burst = sk.MarkovProcess(lambda x, t, h, place: np.where(t > 0.4, np.nan, x))
    with pytest.raises(FloatingPointError, match="path 0 is not finite after step 2 of 2"):
        sk.simulate(burst, 1.0, steps=2, paths=3, seed=1, backend=backend)


@pytest.mark.parametrize("transition, x0, error, message", [
    (lambda x, t, h, place: (x, x), 0.0, ValueError, "must return one number, got a tuple of 2"),
    (lambda x, t, h, place: (x[0], x[1], x[0]), (0.0, 1.0), ValueError, "must return a tuple of 2, got a tuple of 3"),
    (lambda x, t, h, place: x[0], (0.0, 1.0), ValueError, r"so transition must return a tuple of 2, got"),
    (lambda x, t, h, place: x[0] + x[1], 0.0, TypeError, "takes several components, but x0 holds one number"),
    (lambda x, t, h, place: "x", 0.0, TypeError, "transition must return numbers, got str 'x'"),
])
def test_what_a_transition_returns_has_to_fit_the_start(transition, x0, error, message, backend):
    with pytest.raises(error, match=message):
        sk.simulate(sk.MarkovProcess(transition), x0, steps=3, paths=2, seed=1, backend=backend)


def test_a_transition_needs_its_place():
    with pytest.raises(TypeError, match=r"must take \(x, t, h, place\) and then its parameters, but takes \(x, t\)"):
        sk.MarkovProcess(lambda x, t: x)


def test_paths_in_a_file_go_on_with_the_process_that_is_given(tmp_path):
    process = sk.MarkovProcess(lambda x, t, h, place, rate: x + draws.poisson(place, rate * h, 0), rate=3.0)
    paths = sk.simulate(process, 0.0, t=2.0, steps=4, paths=5, seed=3, backend="numpy")
    again = sk.load(paths.save(tmp_path / "paths"), process)
    assert (again.replay(3).x[0] == paths.x[3]).all() and (again.extend(3.0).x == paths.extend(3.0).x).all()


@pytest.mark.parametrize("wrong", [None, 3.0, "x"])
def test_what_is_no_transition_is_told_by_what_one_takes(wrong):
    with pytest.raises(TypeError, match=r"of \(x, t, h, place, parameters by name\) .*it draws by sdekit.draws"):
        sk.MarkovProcess(wrong)


def test_a_wrong_call_of_a_draw_is_told_before_anything_is_compiled():
    wrong = sk.MarkovProcess(lambda x, t, h, place, r: x + draws.poisson(place, r * h), r=2.0)
    with pytest.raises(TypeError, match=r"transition fails at the start: poisson\(\) missing"):
        sk.simulate(wrong, 0.0, steps=5, paths=10, seed=1, backend="numba")
