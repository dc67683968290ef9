"""summarize(): the statistics of the very paths that simulate() would give, in little memory."""

import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from scipy import stats

import sdekit as sk
from sdekit import array_engine
from sdekit.moments import block_statistics
from tests.conftest import EPS, K, array, assert_near
from tests.problems import bump, whirl

gbm = sk.GeometricBrownianMotion(mu=0.05, sigma=0.2)
bm = sk.BrownianMotion(sigma=1.5)
TRACK = {"high": sk.maximum(), "low": sk.minimum(), "area": sk.integral(), "up": sk.first_passage(1.4),
         "down": sk.first_passage(-1.1)}
Q = np.array([0.0, 0.01, 0.3, 0.5, 0.95, 1.0])


def bits(summary):
    s = summary.statistics
    return (s.moments.tobytes(), s.pairs.tobytes(), s.counts.tobytes(), summary.bins.centre.tobytes(),
            *(bits(part) for part in summary.tracked.values()))


def assert_is_of(summary, values):
    """The summary is that of the values, (paths, times) or (paths, times, dim): NumPy's statistics of them."""
    x = values if values.ndim == 3 else values[:, :, None]
    shaped = lambda a: a if values.ndim == 3 else a[..., 0]
    good = np.isfinite(x)
    assert (summary.n == shaped(good.sum(axis=0))).all() and summary.total == len(x)
    counts = summary.bins.counts()
    block_statistics(np.ascontiguousarray(x.transpose(1, 2, 0)), summary.bins.centre, summary.bins.base, counts)
    assert (counts == summary.statistics.counts).all()
    for t, k in np.ndindex(*x.shape[1:]):
        v = x[good[:, t, k], t, k]
        one = lambda a, at=(t, k)[:values.ndim - 1]: a[at]
        if not len(v):
            assert np.isnan(one(summary.mean))
            continue
        scale = np.abs(v - summary.bins.centre[t, k]).mean()
        assert abs(one(summary.mean) - v.mean()) <= 64 * EPS * (scale + abs(v.mean()))
        assert one(summary.min) == v.min() and one(summary.max) == v.max()
        if v.min() < v.max():
            assert abs(one(summary.var) / v.var(ddof=1) - 1.0) <= 256 * EPS * (1.0 + scale**2 / v.var())
        exact, q, error = np.quantile(v, Q), summary.quantile(Q), summary.quantile_error(Q)
        q, error = (a[:, t] if values.ndim == 2 else a[:, t, k] for a in (q, error))
        assert (np.abs(q - exact) <= error * (1 + 8 * EPS) + 8 * EPS * np.abs(exact)).all()
    if values.ndim == 3:
        for t in range(x.shape[1]):
            scale = np.sqrt(np.outer(summary.var[t], summary.var[t]))
            assert (np.abs(summary.cov[t] - np.cov(x[:, t].T)) <= 1e-12 * scale + (256 * EPS) ** 2).all()


# --- the same numbers -----------------------------------------------------------------------------------------------


def test_it_is_the_summary_of_the_paths_and_of_what_is_tracked(backend):
    how = {"t": 2.0, "steps": 5, "paths": 5000, "seed": 3, "first": 70, "track": TRACK, "backend": backend}
    summary, paths = sk.summarize(bm, 0.5, at=[0.4, 2.0], **how), sk.simulate(bm, 0.5, save=[0.4, 2.0], **how)
    assert summary.info["backend"] == backend and (summary.t == paths.t).all()
    assert_is_of(summary, array(paths.x))
    assert list(summary.tracked) == list(TRACK)
    for name, values in paths.tracked.items():
        assert_is_of(summary.tracked[name], array(values))
    assert 0 < summary.tracked["up"].n[0] < summary.tracked["up"].n[1] < 5000


def test_a_system_has_covariances_at_times_between_the_steps(backend):
    how = {"t": (0.5, 2.5), "steps": 5, "paths": 4500, "seed": 3, "backend": backend}
    times = [0.5, 0.7, 1.3, 2.5]
    summary = sk.summarize(whirl, (0.3, -0.2), at=times, **how)
    assert_is_of(summary, array(sk.simulate(whirl, (0.3, -0.2), save=times, **how).x))
    assert summary.mean.shape == (4, 2) and summary.cov.shape == (4, 2, 2) and abs(summary.cov[3, 0, 1]) > 1e-3


@pytest.mark.parametrize("kind", ["array", "tensor"])
def test_a_state_that_is_one_array_or_tensor_has_components(kind):
    x0 = np.random.default_rng(1).normal(size=(3000, 3))
    if kind == "tensor":
        x0 = pytest.importorskip("torch").as_tensor(x0)
    sde = sk.SDE(lambda x, t: -x, lambda x, t: 0.5)
    how = {"steps": 4, "seed": 3}
    assert_is_of(sk.summarize(sde, x0, at=[0.5, 0.6, 1.0], **how),
                 array(sk.simulate(sde, x0, save=[0.5, 0.6, 1.0], **how).x))


def test_starts_drawn_from_a_law_and_a_parameter_for_each_path(backend):
    wide = sk.SDE(bump.drift, bump.diffusion, a=np.linspace(-1.0, 1.0, 5000), s=0.4)
    law, how = stats.norm(100.0, 5.0), {"steps": 3, "seed": 3, "paths": 5000, "backend": backend}
    assert_is_of(sk.summarize(wide, law, **how), array(sk.simulate(wide, law, save="final", **how).x))


@pytest.mark.parametrize("first", [0, 40])
@pytest.mark.parametrize("steps", [4, 5])
def test_on_a_given_path_too(steps, first):
    W = sk.Brownian(5, 1.0, 4, paths=3000, first=first)
    how = {"t": 1.0, "steps": steps, "noise": W}
    times = [0.25, 0.33, 1.0]
    assert_is_of(sk.summarize(bm, 0.0, at=times, **how), sk.simulate(bm, 0.0, save=times, **how).x)


def test_given_increments_too():
    dw = np.random.default_rng(2).normal(size=(3000, 4))
    assert_is_of(sk.summarize(bm, 0.0, steps=4, noise=dw), sk.simulate(bm, 0.0, steps=4, noise=dw, save="final").x)


@pytest.mark.parametrize("paths", [1, 5, 6143, 6145])
def test_the_same_bits_for_any_threads_and_chunks(backend, paths, monkeypatch):
    run = lambda threads: bits(sk.summarize(bm, 0.5, 2.0, 5, paths, at=[0.4, 2.0], seed=3, track=TRACK,
                                            backend=backend, threads=threads))
    whole = run(1)
    assert run(2) == run(3) == whole
    monkeypatch.setattr(array_engine, "BLOCK", 512)
    for chunk in (1, 5 * 2048, 10**9):
        if backend == "numba":
            monkeypatch.setattr("sdekit.numba_engine.CHUNK", chunk)
        assert run(2) == whole


# --- parts ----------------------------------------------------------------------------------------------------------


STARTS = {"a number": 0.5, "a law": stats.norm(100.0, 5.0), "a function": lambda u: 50.0 + 3.0 * u}


@pytest.mark.parametrize("x0", STARTS.values(), ids=STARTS)
def test_parts_add_up_to_the_whole(x0):
    part = lambda first, paths: sk.summarize(bm, x0, 2.0, 5, paths, at=[0.4, 2.0], seed=3, first=first,
                                             track=sk.maximum())
    whole, a, b, c = part(10, 12_000), part(10, 2048), part(2058, 5000), part(7058, 4952)
    joined = b + a + c
    assert joined.info["first"] == 10 and joined.info["paths"] == joined.total == 12_000
    for one, other in ((joined, whole), (joined.tracked["maximum"], whole.tracked["maximum"])):
        assert (one.statistics.counts == other.statistics.counts).all()
        assert (one.quantiles == other.quantiles).all()
        for name in ("mean", "var", "skew", "kurtosis", "stderr", "var_stderr"):
            x, y = getattr(one, name), getattr(other, name)
            assert np.abs(x - y).max() <= 1e-10 * (1.0 + np.abs(y).max())
    with pytest.raises(ValueError, match="both summaries hold path 10 of seed=3"):
        a + whole


def test_backends_add_up():
    how = {"steps": 5, "paths": 3000, "seed": 3, "track": TRACK, "t": 2.0}
    one, two = (sk.summarize(bm, 0.5, backend=b, first=f, **how) for b, f in (("numpy", 0), ("numba", 3000)))
    assert (one + two).info["backend"] == "numba and numpy" and (one + two).total == 6000


# --- true to the law ------------------------------------------------------------------------------------------------


def test_the_standard_errors_are_honest():
    """(estimate - exact) / stderr over many summaries has the mean square 1: within K sqrt(2/n), and a tenth, allowed
    for the standard errors of variance and median, which are themselves estimates from 2000 lognormal values."""
    n, exact = 300, (gbm.mean(100.0, 1.0), gbm.variance(100.0, 1.0), 100.0 * np.exp(0.03))
    runs = [sk.summarize(gbm, 100.0, steps=1, paths=2000, seed=5, first=2000 * k, quantiles=[0.5]) for k in range(n)]
    for estimate, stderr, value in ((lambda s: s.mean, lambda s: s.stderr, exact[0]),
                                    (lambda s: s.var, lambda s: s.var_stderr, exact[1]),
                                    (lambda s: s.quantiles[0], lambda s: s.quantile_stderr(0.5), exact[2])):
        z = np.array([(estimate(s)[0] - value) / stderr(s)[0] for s in runs])
        assert_near((z**2).mean(), 1.0, (2 / n) ** 0.5, bias=0.1)
    whole = runs[0]
    for other in runs[1:]:
        whole = whole + other
    assert abs(whole.mean[0] - exact[0]) <= K * whole.stderr[0]
    assert abs(whole.var[0] - exact[1]) <= K * whole.var_stderr[0]
    assert abs(whole.quantiles[0, 0] - exact[2]) <= K * whole.quantile_stderr(0.5)[0] + whole.quantile_error(0.5)[0]
    assert whole.total == 600_000 and abs(whole.stderr[0] / (exact[1] / 600_000) ** 0.5 - 1.0) < 0.02


def test_ten_million_paths_take_no_more_memory_than_a_hundred_thousand():
    code = """
import resource, sdekit as sk
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
run = lambda paths: sk.summarize(sk.BrownianMotion(sigma=1.5), 0.0, steps=3, paths=paths, seed=1, at="all",
                                 backend="numba", progress=False)
run(100_000)
before = peak()
summary = run(10_000_000)
print(peak() - before, summary.total, abs(summary.var[-1] / 2.25 - 1.0))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    grown, total, off = map(float, done.stdout.split())
    assert grown < 150 and total == 10**7 and off < K * (2e-7) ** 0.5


# --- what is not finite, and what does not fit ----------------------------------------------------------------------


def _cliff(x, t, edge):
    return np.where(x > edge, np.inf, 0.0)


def _one(x, t):
    return 1.0


def test_a_trial_that_is_not_finite_says_nothing_of_the_paths():
    """Bins come from a few paths of another seed. Here some of those fall off the cliff, and none of ours."""
    sde = sk.SDE(_cliff, _one, edge=3.1)
    good = next(seed for seed in range(50) if sk.normals(seed, paths=300, steps=1).max() < 2.7)
    how = {"t": 2.0, "steps": 2, "paths": 300, "seed": good}
    trial = sk.simulate(sk.SDE(_cliff, _one, edge=9.0), 0.0, **how).x
    edge = trial[:, 1].max() + 1e-9
    for sde in (sk.SDE(_cliff, _one, edge=edge), sk.SDE(_cliff, _one, edge=0.0)):
        start = 0.0 if sde.parameters["edge"] > 0.0 else -100.0
        assert_is_of(sk.summarize(sde, start, **how), sk.simulate(sde, start, save="final", **how).x)


def test_the_path_that_is_not_finite_is_one_of_ours(backend):
    sde = sk.SDE(_cliff, _one, edge=0.5)
    how = {"t": 2.0, "steps": 2, "paths": 3000, "seed": 3, "backend": backend}
    faults = []
    for verb in (sk.simulate, sk.summarize):
        with pytest.raises(FloatingPointError, match="is not finite after step 2 of 2") as caught:
            verb(sde, 0.0, **how)
        faults.append(str(caught.value))
    assert faults[0] == faults[1]


def test_paths_that_were_stopped_are_counted_where_they_stand():
    sde = sk.SDE(_cliff, _one, edge=0.5)
    how = {"t": 2.0, "steps": 2, "paths": 3000, "seed": 3, "nonfinite": "stop"}
    assert_is_of(sk.summarize(sde, 0.0, **how), sk.simulate(sde, 0.0, save="final", **how).x)


BAD = [
    ({"sde": sk.ODE(lambda x, t: x)}, TypeError, r"summarize needs an SDE, got ODE\(\); an ODE has one path"),
    ({"quantiles": [0.5, 5.0]}, ValueError, "quantiles are asked for by probabilities from 0 to 1"),
    ({"at": [0.5, 2.0]}, ValueError, "save=2.0 is not a time of the run"),
    ({"at": "last"}, ValueError, 'save must be "all", "final"'),
    ({"paths": 0}, ValueError, "paths must be at least 1"),
    ({"method": "euler"}, TypeError, "simulate needs a method for SDEs"),
    ({"nonfinite": "ignore"}, ValueError, "nonfinite must be"),
    ({"track": [sk.maximum(3)]}, ValueError, "maximum of component 3"),
]


@pytest.mark.parametrize("how, error, message", BAD, ids=[message for *_, message in BAD])
def test_what_does_not_fit_is_refused(how, error, message):
    with pytest.raises(error, match=message):
        sk.summarize(**({"sde": bm, "x0": 0.0, "steps": 2} | how))


def test_stopped_paths_are_counted_and_the_counts_add_up():
    explosive = sk.SDE(lambda x, t: x**3, lambda x, t: 1.0)
    run = partial(sk.summarize, explosive, 1.0, t=3.0, steps=40, paths=3000, nonfinite="stop")
    one, two = run(seed=1), run(seed=2)
    alone = sk.simulate(explosive, 1.0, t=3.0, steps=40, paths=3000, nonfinite="stop", seed=1)
    assert one.info["stopped"] == alone.info["stopped"] > 0
    assert (one + two).info["stopped"] == one.info["stopped"] + two.info["stopped"]


@pytest.mark.parametrize("other", [{"x0": 0.25}, {"track": sk.first_passage(1.5)}])
def test_summaries_of_other_starts_or_levels_are_not_added(other):
    run = lambda seed, x0=0.0, track=None: sk.summarize(sk.BrownianMotion(), x0, steps=4, paths=100, seed=seed,
                                                        track=track or sk.first_passage(1.0))
    with pytest.raises(ValueError, match="summaries of different runs cannot be added"):
        run(1) + run(2, **other)
    assert (run(1) + run(2)).total == 200
