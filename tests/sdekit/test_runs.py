"""Runs as a whole: paths that are stopped, parameters and states that are arrays, going on, planning, Ctrl-C."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

import sdekit as sk
from sdekit import work
from tests.conftest import array, rounding
from tests.problems import bump

bm = sk.BrownianMotion(sigma=1.5)
TRACK = {"high": sk.maximum(), "low": sk.minimum(), "area": sk.integral(), "up": sk.first_passage(1.4),
         "down": sk.first_passage(-1.1)}


def same(a, b):
    return a.shape == b.shape and (a.view(np.int64) == b.view(np.int64)).all()


# --- nonfinite ------------------------------------------------------------------------------------------------------


def _cube(x, t):
    return x * x * x


def _one(x, t):
    return 1.0


wild = sk.SDE(_cube, _one)  # Euler's steps of h = 1 overshoot and blow up, once |x| is large


def burst(backend, **how):
    return sk.simulate(**({"sde": wild, "x0": 0.0, "t": 8.0, "steps": 8, "paths": 300, "seed": 2, "backend": backend}
                          | how))


def test_a_path_is_stopped_at_its_last_finite_state(backend):
    paths = burst(backend, nonfinite="stop")
    x, z = array(paths.x), sk.normals(2, paths=300, steps=8)[..., 0]
    assert np.isfinite(x).all()
    with np.errstate(all="ignore"):
        ahead = x[:, :-1] + x[:, :-1] ** 3 + z  # Euler-Maruyama from every state, whether it was taken or not
        good = np.isfinite(ahead)
        assert np.abs(x[:, 1:] / np.where(good, ahead, x[:, :-1]) - 1.0).max() < 1e-9
    stopped = ~good.all(axis=1)
    assert paths.info["stopped"] == stopped.sum() and 50 < stopped.sum() < 290
    first = np.where(stopped, np.argmin(good, axis=1), 8)
    assert len(set(first.tolist())) >= 3
    for row, n in zip(x, first):
        assert (row[n:] == row[n]).all()


def test_the_paths_beside_those_that_were_stopped_are_as_always(backend):
    x = array(burst(backend, nonfinite="stop").x)
    quiet = np.flatnonzero((np.diff(x, axis=1) != 0.0).all(axis=1))
    assert len(quiet) > 3
    for k in quiet[:10].tolist():
        assert same(array(burst(backend, first=k, paths=1).x)[0], x[k])


def test_how_many_were_stopped_is_told_with_whatever_is_saved(backend):
    whole, final = (burst(backend, nonfinite="stop", save=save) for save in ("all", "final"))
    assert final.info["stopped"] == whole.info["stopped"] and same(array(final.final), array(whole.final))
    alone = whole.replay(7)
    assert same(array(alone.x)[0], array(whole.x)[7])


def test_a_path_that_is_not_finite_is_an_error_by_default(backend):
    """Of two that burst at the same time the lower number is told."""
    x0 = np.zeros(300)
    x0[[290, 117]] = 1e100
    with pytest.raises(FloatingPointError, match=r"path 117 is not finite after step 2 of 2, at t = 2\.0"):
        burst(backend, x0=x0, t=2.0, steps=2)


def test_numba_names_the_lowest_path_whenever_it_burst():
    x0 = np.zeros(300)
    x0[[290, 117]] = 1e100, 10.0  # 117 bursts some steps later
    with pytest.raises(FloatingPointError, match="path 117 is not finite after step 6 of 6"):
        burst("numba", x0=x0, t=6.0, steps=6)


def test_a_system_is_stopped_as_one():
    both = sk.SDE(lambda x, t: (x[0] ** 3, -x[1]), lambda x, t: (1.0, 1.0))
    paths = sk.simulate(both, (0.0, 1.0), t=8.0, steps=8, paths=300, seed=2, nonfinite="stop")
    still = np.diff(paths.x, axis=1) == 0.0
    assert (still[..., 0] == still[..., 1]).all() and still[:, -1, 0].sum() == paths.info["stopped"] > 50


# --- arrays for parameters and states -------------------------------------------------------------------------------


def test_a_parameter_may_have_a_value_for_each_path(backend):
    a, s = np.linspace(-1.0, 1.0, 300), np.linspace(0.1, 0.9, 300)[::-1]
    make = lambda a, s: sk.SDE(bump.drift, bump.diffusion, a=a, s=s)
    run = lambda sde, **how: array(sk.simulate(sde, 0.3, t=2.0, steps=7, seed=5, backend=backend, **how).x)
    for one, two in ((a, 0.4), (a, s))[:1 if backend == "numba" else 2]:  # each compiles
        whole = run(make(one, two))
        assert whole.shape == (300, 8)
        for k in (0, 256, 299):
            numbers = (float(v[k]) if np.ndim(v) else v for v in (one, two))
            assert same(run(make(*numbers), first=k, paths=1)[0], whole[k])
        assert same(run(make(one[250:], two[250:] if np.ndim(two) else two), first=250), whole[250:])


def test_new_values_for_each_path_need_no_new_function():
    make = lambda seed: sk.SDE(bump.drift, bump.diffusion, a=np.random.default_rng(seed).normal(size=300), s=0.4)
    run = lambda seed: sk.simulate(make(seed), 0.3, t=2.0, steps=7, seed=5, backend="numba").x
    one, before = run(1), work._kernel.cache_info().misses
    assert (run(2)[:, 2:] != one[:, 2:]).all() and work._kernel.cache_info().misses == before


def test_a_replay_keeps_the_paths_own_parameters(backend):
    sde = sk.SDE(bump.drift, bump.diffusion, a=np.linspace(-1.0, 1.0, 300), s=0.4)
    paths = sk.simulate(sde, 0.3, t=2.0, steps=7, seed=5, backend=backend)
    assert same(array(paths.replay(299).x)[0], array(paths.x)[299])


@pytest.mark.parametrize("values, message", [
    (np.zeros(299), "the parameter a holds 299 values, but there are 300 paths"),
    (np.zeros(1), "the parameter a holds 1 values, but there are 300 paths"),
    (np.zeros((300, 2)), r"the parameter a must be a real number, or an array \(paths,\) of them"),
    (np.full(300, np.nan), "the parameter a must be finite"),
])
def test_parameters_that_do_not_fit_are_refused(values, message, backend):
    with pytest.raises((TypeError, ValueError), match=message):
        sk.simulate(sk.SDE(bump.drift, bump.diffusion, a=values, s=0.4), 0.3, steps=2, paths=300, backend=backend)


A = np.array([[-1.0, 0.5, 0.2], [0.3, -0.7, 0.0], [0.1, -0.4, -0.2]])


@pytest.mark.parametrize("kind", ["array", "tensor"])
def test_a_state_that_is_one_array_is_the_system_of_its_elements(kind):
    """dX = A X dt + s dW: element e has the noise number e, as component e of a tuple has."""
    x0 = np.random.default_rng(1).normal(size=(300, 3))
    rows = A.tolist()
    spread = lambda x, t: (0.5, 0.5, 0.5)
    tuples = sk.simulate(sk.SDE(lambda x, t: tuple(sum(a * u for a, u in zip(row, x)) for row in rows), spread),
                         tuple(x0.T), t=2.0, steps=9, seed=5, first=3, backend="numpy").x
    matrix, start = A.T, x0
    if kind == "tensor":
        torch = pytest.importorskip("torch")
        matrix, start = torch.as_tensor(A.T.copy()), torch.as_tensor(x0)
    whole = sk.simulate(sk.SDE(lambda x, t: x @ matrix, lambda x, t: 0.5), start, t=2.0, steps=9, seed=5, first=3)
    assert np.abs(array(whole.x) - tuples).max() <= rounding(9, tuples)
    alone = array(whole.replay(299).x)[0]  # a product of matrices rounds by their size
    assert np.abs(alone - array(whole.x)[299]).max() <= rounding(9, alone)
    assert whole.info["backend"] == {"array": "numpy", "tensor": "torch"}[kind]


def test_one_array_may_start_all_paths_and_have_any_shape():
    sde = sk.SDE(lambda x, t: -x, lambda x, t: 0.5)
    x0 = np.arange(6.0).reshape(1, 2, 3)
    one = sk.simulate(sde, x0, steps=3, paths=5, seed=1)
    assert one.x.shape == (5, 4, 2, 3) and (one.x[:, 0] == x0).all()
    assert same(one.replay(3).x[0], one.x[3])
    flat = sk.simulate(sde, x0.reshape(1, 6), steps=3, paths=5, seed=1)
    assert same(flat.x.reshape(one.x.shape), one.x)
    with pytest.raises(ValueError, match=r"a state that is one array of shape \(2, 3\) needs backend='numpy'"):
        sk.simulate(sde, x0, steps=3, paths=5, backend="numba")


# --- going on -------------------------------------------------------------------------------------------------------


def start(backend, case, steps, **how):
    asked = {"seed": 5, "paths": 300, "first": 7, "backend": backend} | how
    if case == "tracked":
        asked["track"] = TRACK
    return sk.simulate(bump if case == "plain" else bm, 0.3, t=steps / 4, steps=steps, **asked)


@pytest.mark.parametrize("case", ["plain", "tracked"])
@pytest.mark.parametrize("steps, more", [(4, 4), (3, 6), (5, 2), (1, 1)])
@pytest.mark.parametrize("save", ["all", "final"])
def test_a_run_that_goes_on_is_the_longer_run_bit_for_bit(backend, case, steps, more, save):
    longer = start(backend, case, steps, save=save).extend((steps + more) / 4)
    whole = start(backend, case, steps + more, save="all" if save == "all" else [steps / 4, (steps + more) / 4])
    assert (longer.t == whole.t).all() and same(array(longer.x), array(whole.x)) and type(longer.x) is type(whole.x)
    for name, values in whole.tracked.items():
        assert same(array(longer.tracked[name]), array(values))
    assert longer.info == whole.info
    alone = longer.replay(299)
    assert same(array(alone.final)[0], array(whole.final)[299]) and len(alone.t) == steps + more + 1


@pytest.mark.parametrize("case", ["plain", "tracked"])
def test_a_run_may_go_on_twice_and_with_other_steps(backend, case):
    thrice = start(backend, case, 3).extend(2.0, steps=5).extend(4.0, steps=2)
    grid = np.concatenate([np.linspace(0, 0.75, 4), np.linspace(0.75, 2.0, 6)[1:], [3.0, 4.0]])
    whole = sk.simulate(bump if case == "plain" else bm, 0.3, t=grid, seed=5, paths=300, first=7, backend=backend,
                        track=TRACK if case == "tracked" else None)
    assert (thrice.t == grid).all() and same(array(thrice.x), array(whole.x))
    assert all(same(array(thrice.tracked[name]), array(values)) for name, values in whole.tracked.items())


def test_a_run_in_float32_goes_on_from_where_it_was():
    run = lambda steps: sk.simulate(bump, 0.3, t=steps / 4, steps=steps, seed=5, paths=300, dtype="float32")
    longer, whole = run(3).extend(2.0, steps=5), run(8)
    assert longer.x.dtype == np.float32 and (longer.x == whole.x).all()


def test_paths_that_were_stopped_stay_where_they_are(backend):
    run = lambda steps: burst(backend, t=float(steps), steps=steps, nonfinite="stop")
    longer, whole = run(3).extend(8.0), run(8)
    assert same(array(longer.x), array(whole.x)) and longer.info["stopped"] == whole.info["stopped"]


def test_an_ode_goes_on_too():
    run = lambda steps: sk.integrate(sk.ODE(lambda x, t: np.cos(t) * x), 1.0, t=steps / 4, steps=steps)
    assert same(run(3).extend(2.0, steps=5).x, run(8).x)


W = sk.Brownian(5, 1.0, 4)
CANNOT = {
    "increments": ({"noise": np.zeros((1, 4))}, 2.0, "the noise that was given ends with the run"),
    "a Brownian": ({"noise": W}, 2.0, "the noise that was given ends with the run"),
    "backwards": ({}, 0.5, "the paths are known until 1.0; extend them to one later time, got 0.5"),
    "nowhere": ({}, 1.0, "the paths are known until 1.0; extend them to one later time"),
    "an array": ({"x0": np.zeros((2, 2))}, 2.0, "only numbers and systems of numbers whose last saved time is the end"),
    "end unknown": ({"save": [0.25, 0.5]}, 2.0, "only numbers and systems of numbers whose last saved time is the end"),
}


@pytest.mark.parametrize("how, t, message", CANNOT.values(), ids=CANNOT)
def test_what_cannot_go_on_says_so(how, t, message):
    paths = sk.simulate(**({"sde": sk.SDE(lambda x, t: -x, lambda x, t: 1.0), "x0": 0.0, "steps": 4} | how))
    with pytest.raises(ValueError, match=message):
        paths.extend(t)


# --- planning, threads, Ctrl-C --------------------------------------------------------------------------------------


def test_a_plan_tells_what_the_run_would_take(backend):
    """Exactly its bytes; its time to a factor that any machine keeps, since a trial is of the same work."""
    asked = {"t": 2.0, "steps": 40, "paths": 30_000, "save": 11, "backend": backend, "threads": 1}
    plan = sk.plan(bump, 0.3, **asked)
    begin = time.perf_counter()
    paths = sk.simulate(bump, 0.3, seed=1, **asked)
    took = time.perf_counter() - begin
    assert (plan.paths, plan.steps, plan.backend, plan.threads) == (30_000, 40, backend, 1)
    assert plan.bytes == array(paths.x).nbytes and plan.method is paths.info["method"]
    assert 0.02 * took < plan.seconds < 50 * took + 0.1
    assert str(plan).startswith(f"30,000 paths x 40 steps by euler_maruyama on {backend}, 1 threads: about ")


def test_a_plan_of_what_would_not_fit_is_no_error():
    plan = sk.plan(bm, 0.0, steps=1000, paths=10**9, threads=1)
    assert plan.bytes == 8 * 1001 * 10**9 > psutil.virtual_memory().total and plan.seconds > 60
    assert plan.backend == "numba" and sk.plan(bm, 0.0, steps=10, dtype="float32", paths=3).bytes == 3 * 11 * 4


def test_threads_are_those_that_this_process_may_use(monkeypatch, tmp_path):
    quota = tmp_path / "cpu.max"
    monkeypatch.setattr(work, "Path", lambda name: quota if name == "/sys/fs/cgroup/cpu.max" else Path(name))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(5)), raising=False)
    for text, count in ((None, 5), ("max 100000", 5), ("150000 100000", 2), ("300000 100000", 3), ("5000 100000", 1),
                        ("900000 100000", 5), ("", 5)):
        if text is not None:
            quota.write_text(text + "\n")
        assert work.processors() == count
        assert sk.simulate(bm, 0.0, steps=2).source.work.run.threads == count
    assert sk.simulate(bm, 0.0, steps=2, threads=7).source.work.run.threads == 7


def test_progress_is_shown_where_it_is_wanted(capsys, monkeypatch):
    monkeypatch.setattr(work, "tqdm", lambda *args, **options: _TQDM(*args, **(options | {"delay": 0.0})))
    for progress in (False, None, True):  # None: a terminal alone, and this is none
        sk.simulate(bm, 0.0, steps=2, paths=5, progress=progress)
        assert ("step" in capsys.readouterr().err) == (progress is True)


_TQDM = work.tqdm


def test_ctrl_c_ends_a_long_run_at_once():
    code = """
import threading, time, sdekit as sk
run = lambda paths, steps: sk.simulate(sk.BrownianMotion(sigma=1.5), 0.0, steps=steps, paths=paths, seed=1,
                                       save="final", backend="numba", threads=2)
run(10, 5)
print("ready", flush=True)
try:
    run(10**6, 10**5)
except KeyboardInterrupt:
    print("interrupted", [t.name for t in threading.enumerate() if type(t).__module__[:4] != "tqdm"], flush=True)
    raise
"""
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert child.stdout.readline() == "ready\n"
        time.sleep(0.5)
        assert child.poll() is None
        begin = time.perf_counter()
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=120)
        assert time.perf_counter() - begin < 5.0
    finally:
        child.kill()
    assert out == "interrupted ['MainThread']\n"
    assert err.rstrip().endswith("KeyboardInterrupt") and child.returncode != 0
