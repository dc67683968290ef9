"""Laws that every execution keeps, whatever the method: what a path's numbers depend on, and what they do not."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sdekit as sk
from sdekit import array_engine
from sdekit.draws import exponential, uniform
from tests import strategies
from tests.conftest import BACKENDS, array, rounding
from tests.problems import bump, euler_path, whirl

gbm = sk.GeometricBrownianMotion(mu=0.3, sigma=0.5)
noise_free = sk.ODE(whirl.drift, a=0.6, k=1.5)


def decay(x, t, h, place, k):
    """What draws from its place in the noise, two laws at once."""
    return x * np.exp(-k * h * exponential(place, 1)) + h * uniform(place, 0)


def starts(paths):
    return np.linspace(-1.0, 1.0, paths), np.linspace(0.5, -0.5, paths)


# A case runs one equation by one method: case(backend=..., paths=..., steps=..., ...) -> Paths
SDES = {
    "one noise": partial(sk.simulate, bump, 0.3, seed=5, method=sk.euler_maruyama),
    "two components, three noises": partial(sk.simulate, whirl, (0.3, -0.2), seed=5, method=sk.euler_maruyama),
    "exact": partial(sk.simulate, gbm, 2.0, seed=5, method=sk.exact),
    "draws of its own": partial(sk.simulate, sk.MarkovProcess(decay, k=0.3), 2.0, seed=5),
}
ODES = {
    method.name: lambda paths, method=method, **rest: sk.integrate(noise_free, starts(paths), method=method, **rest)
    for method in (sk.euler, sk.heun, sk.rk4)
}
CASES = SDES | ODES
all_cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
all_sdes = pytest.mark.parametrize("case", SDES.values(), ids=SDES)
GRID = np.array([-0.5, -0.25, 0.125, 0.1875, 1.0, 1.5])


def same(a, b):
    """Bit for bit."""
    return a.shape == b.shape and (a.view(np.int64) == b.view(np.int64)).all()


@all_cases
@pytest.mark.parametrize("paths, steps", [(700, 7), (257, 8), (1, 1), (3, 2)])
def test_threads_and_chunks_never_change_a_bit(case, backend, paths, steps, monkeypatch):
    run = partial(case, backend=backend, paths=paths, steps=steps)
    whole = array(run(threads=1).x)
    for threads, block, draws, chunk in ((2, 1000, 1, 1), (3, 7, 100, 2000), (1, 256, 10**6, 10**9)):
        monkeypatch.setattr(array_engine, "BLOCK", block)
        monkeypatch.setattr(array_engine, "DRAWS", draws)
        if backend == "numba":
            monkeypatch.setattr("sdekit.numba_engine.CHUNK", chunk)
        assert same(array(run(threads=threads).x), whole)


@pytest.mark.parametrize("block", [1, 7, 256])
def test_given_starts_and_increments_stay_with_their_paths_in_any_chunk(block, monkeypatch):
    dw = np.random.default_rng(2).normal(size=(300, 3, 3))
    run = lambda: sk.simulate(whirl, starts(300), steps=3, noise=dw, backend="numpy").x
    whole = run()
    monkeypatch.setattr(array_engine, "BLOCK", block)
    assert same(run(), whole)


@all_sdes
@pytest.mark.parametrize("steps", [1, 6, 7])
def test_a_path_is_the_same_alone_as_among_others(case, backend, steps):
    whole = array(case(backend=backend, paths=300, steps=steps, first=1000).x)
    for k in (0, 1, 254, 255, 256, 299):
        assert same(array(case(backend=backend, paths=1, steps=steps, first=1000 + k).x)[0], whole[k])


@all_sdes
def test_paths_beyond_2_to_the_32_follow_on(case, backend):
    """The path's number crosses from one word of the counter into the next."""
    edge = 2**32 - 2
    whole = array(case(backend=backend, paths=4, steps=3, first=edge).x)
    assert same(array(case(backend=backend, paths=2, steps=3, first=2**32).x), whole[2:])
    assert not np.isin(whole[:, 1:], array(case(backend=backend, paths=2, steps=3).x)[:, 1:]).any()


@all_cases
@pytest.mark.parametrize("steps", [1, 6])
@pytest.mark.parametrize("save", ["all", "final"])
def test_a_replay_is_the_row_bit_for_bit(case, backend, steps, save):
    paths = case(backend=backend, paths=300, steps=steps, save=save)
    for k in (0, 255, 299):
        alone = paths.replay(k)
        assert same(array(alone.final)[0], array(paths.final)[k])
        assert array(alone.x).shape[:2] == (1, steps + 1)
        if save == "all":
            assert same(array(alone.x)[0], array(paths.x)[k])


@all_cases
def test_a_replay_keeps_the_grid_and_the_starts(case, backend):
    whole = case(backend=backend, paths=5, t=GRID)
    assert same(array(whole.replay(3).x)[0], array(whole.x)[3])
    assert (whole.replay(3).t == GRID).all()


def test_a_replay_has_its_own_start_and_its_own_increments(backend):
    dw = np.random.default_rng(3).normal(size=(4, 5, 1))
    paths = sk.simulate(bump, starts(4)[0], steps=5, noise=dw, backend=backend)
    assert same(array(paths.replay(2).x)[0], array(paths.x)[2])


@all_cases
@pytest.mark.parametrize("steps", [1, 2, 6])
def test_what_is_saved_never_changes_a_value(case, backend, steps):
    whole = case(backend=backend, paths=260, steps=steps)
    x = array(whole.x)
    patterns = {"final": [steps], 2: [0, steps], steps + 1: range(steps + 1), 1: [steps]}
    for save, kept in patterns.items():
        part = case(backend=backend, paths=260, steps=steps, save=save)
        assert same(array(part.x), x[:, list(kept)]) and (part.t == whole.t[list(kept)]).all()
    for kept in ([0], [steps], range(0, steps + 1, 2), range(1, steps + 1, 2), range(max(steps - 1, 0), steps + 1)):
        part = case(backend=backend, paths=260, steps=steps, save=whole.t[list(kept)])
        assert same(array(part.x), x[:, list(kept)]) and (part.t == whole.t[list(kept)]).all()


NOISES = {"one noise": 1, "two components, three noises": 3}
SMOOTH = {"one noise": (bump, 0.3), "two components, three noises": (whirl, (0.3, -0.2))}


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("paths, t, steps", [
    (1, 1.0, 1), (1, 1.0, 2), (257, 1.0, 3), (3, (0.5, 2.5), 8), (256, GRID, None), (2, GRID[:4], None)])
def test_euler_maruyama_is_the_formula_of_the_textbook(name, backend, paths, t, steps):
    """X' = X + f h + G sqrt(h) Z(seed, stream, path, step, component), whatever the grid, from any time on."""
    sde, x0 = SMOOTH[name]
    result = sk.simulate(sde, x0, t, steps, paths, seed=8, stream=2, first=77, method=sk.euler_maruyama,
                         backend=backend)
    h = np.diff(result.t)
    z = sk.normals(8, 2, range(77, 77 + paths), len(h), NOISES[name])
    exact = euler_path(sde, x0, result.t, h[:, None] ** 0.5 * z)
    assert np.abs(array(result.x) - exact).max() <= rounding(len(h), exact)


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("paths, t, steps", [(257, 1.0, 7), (2, GRID, None), (1, 1.0, 1)])
def test_given_increments_take_the_place_of_the_seeds(name, backend, paths, t, steps):
    sde, x0 = SMOOTH[name]
    n = steps or len(t) - 1
    dw = np.random.default_rng(4).normal(size=(paths, n, NOISES[name]))
    result = sk.simulate(sde, x0, t, steps, paths, noise=dw, backend=backend)
    exact = euler_path(sde, x0, result.t, dw)
    assert np.abs(array(result.x) - exact).max() <= rounding(n, exact)
    assert result.info["noise"] == "given"


def test_the_increments_of_a_seed_given_by_hand_are_that_seed(backend):
    dw = 6**-0.5 * sk.normals(5, paths=300, steps=6)
    seeded, given_ = (array(sk.simulate(bump, 0.3, steps=6, paths=300, method=sk.euler_maruyama, backend=backend,
                                        **how).x) for how in ({"seed": 5}, {"noise": dw}))
    assert np.abs(seeded - given_).max() <= rounding(6, seeded)


@all_cases
def test_every_execution_gives_the_same_numbers_to_rounding(case, backend):
    ours, numpys = (array(case(backend=b, paths=300, t=GRID).x) for b in (backend, "numpy"))
    assert np.abs(ours - numpys).max() <= rounding(len(GRID) - 1, numpys)


def test_new_parameters_and_new_starts_need_no_new_function(backend):
    """A compiled function is kept for its parameters' names; the values come with each call."""
    dw = np.random.default_rng(6).normal(size=(2, 3, 1))
    for a, s, x0 in ((0.1, 0.2, 1.0), (-1.0, 0.9, 1.0), (0.1, 0.2, np.array([2, 3]))):
        sde = sk.SDE(bump.drift, bump.diffusion, a=a, s=s)
        result = array(sk.simulate(sde, x0, steps=3, paths=2, noise=dw, backend=backend).x)
        exact = euler_path(sde, x0, np.linspace(0, 1, 4), dw)
        assert np.abs(result - exact).max() <= rounding(3, exact)


def test_every_path_may_start_at_a_place_of_its_own(backend):
    u, _ = starts(300)
    whole = array(sk.simulate(whirl, (u, -0.2), steps=3, seed=5, backend=backend).x)
    assert (whole[:, 0, 0] == u).all() and (whole[:, 0, 1] == -0.2).all()
    alone = sk.simulate(whirl, (u[270], -0.2), steps=3, seed=5, first=270, paths=1, backend=backend)
    assert same(array(alone.x)[0], whole[270])


@all_sdes
def test_the_seed_and_the_stream_are_the_noise(case, backend):
    few = partial(case, backend=backend, paths=5, steps=4)
    x = array(few().x)
    assert same(array(few(seed=5, stream=0).x), x)
    for other in ({"seed": 6}, {"stream": 1}, {"first": 1}):
        assert (array(few(**other).x)[:, 1:] != x[:, 1:]).all()


def test_without_diffusion_it_is_the_eulers_of_the_ode():
    still = sk.SDE(whirl.drift, lambda x, t: (0.0, 0.0), a=0.6, k=1.5)
    walked = array(sk.simulate(still, starts(5), t=GRID, seed=1).x)
    solved = array(CASES["euler"](paths=5, t=GRID).x)
    assert np.abs(walked - solved).max() <= rounding(len(GRID) - 1, solved)


@pytest.mark.parametrize("method", [sk.euler_maruyama, sk.exact])
def test_brownian_motion_sums_the_increments_it_is_given(method, backend):
    dw = np.random.default_rng(7).normal(size=(257, 9))
    t = np.cumsum(np.arange(10.0))
    x = array(sk.simulate(sk.BrownianMotion(mu=0.25, sigma=2.0), 0.5, t=t, paths=257, noise=dw, method=method,
                          backend=backend).x)
    exact = 0.5 + 0.25 * t + 2.0 * np.pad(dw.cumsum(axis=1), ((0, 0), (1, 0)))
    assert np.abs(x - exact).max() <= rounding(9, exact)


@settings(max_examples=15)
@given(strategies.seeds, strategies.grids(), st.integers(1, 5), st.sampled_from(BACKENDS[:2]))
def test_on_any_grid_brownian_motion_sums_the_seeds_increments(seed, grid, paths, backend):
    h = np.diff(grid)
    W = np.pad((h**0.5 * sk.normals(seed, paths=paths, steps=len(h))[..., 0]).cumsum(axis=1), ((0, 0), (1, 0)))
    for method in (sk.euler_maruyama, sk.exact):
        x = sk.simulate(sk.BrownianMotion(), 0.0, t=grid, paths=paths, seed=seed, method=method, backend=backend).x
        assert np.abs(x - W).max() <= rounding(len(h), W)


@settings(max_examples=15)
@given(strategies.grids(), strategies.numbers(-2.0, 2.0), strategies.numbers(0.01, 2.0))
def test_what_goes_in_linearly_comes_out_linearly(grid, mu, sigma):
    """X(dW + dW') = X(dW) + X(dW') for Brownian motion from 0: independent Gaussians add."""
    one, two = np.random.default_rng(1).normal(size=(2, 3, len(grid) - 1))
    X = lambda dw, mu: sk.simulate(sk.BrownianMotion(mu, sigma), 0.0, t=grid, noise=dw, backend="numpy", paths=3).x
    both = X(one + two, mu)
    assert np.abs(X(one, mu) + X(two, 0.0) - both).max() <= rounding(len(grid), both, X(one, mu), X(two, 0.0))
