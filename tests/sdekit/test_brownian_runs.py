"""Runs on a given Brownian path: the same path at any step size, whatever computes it."""

import numpy as np
import pytest

import sdekit as sk
from sdekit import array_engine
from tests.conftest import K, array, rounding
from tests.problems import bump, euler_path, linear, whirl

START = (0.3, -0.2)
bm = sk.BrownianMotion(sigma=2.0)


def same(a, b):
    return a.shape == b.shape and (a.view(np.int64) == b.view(np.int64)).all()


@pytest.mark.parametrize("sde, x0, noises", [(bump, 0.3, 1), (whirl, START, 3)], ids=["one noise", "three noises"])
def test_on_its_own_grid_it_is_the_run_of_its_seed(sde, x0, noises, backend):
    W = sk.Brownian(5, (0.5, 2.0), 7, paths=300, noises=noises, stream=3, first=2**32 - 100)
    given = sk.simulate(sde, x0, (0.5, 2.0), 7, noise=W, backend=backend)
    seeded = sk.simulate(sde, x0, (0.5, 2.0), 7, 300, seed=5, stream=3, first=2**32 - 100, backend=backend)
    assert same(array(given.x), array(seeded.x))
    assert given.info["brownian"] == W and given.info["seed"] == 5 and given.info["first"] == 2**32 - 100


GRIDS = {"four times as fine": 24, "half as fine": 3, "other steps": 5, "a part": np.array([0.5, 0.6, 1.0, 1.9])}


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_on_any_grid_it_is_euler_maruyama_with_the_increments_of_the_path(grid, backend):
    W = sk.Brownian(5, (0.5, 2.0), 6, paths=257, noises=3, first=1000)
    t, steps = (grid, None) if np.ndim(grid) else (None, grid)  # None: from the path's start to its end
    result = sk.simulate(whirl, START, t, steps, noise=W, backend=backend)
    exact = euler_path(whirl, START, result.t, W.increments(result.t))
    assert (result.t[0], result.t[-1]) == (0.5, 1.9 if np.ndim(grid) else 2.0)
    assert np.abs(array(result.x) - exact).max() <= rounding(len(result.t), exact)


def test_fine_and_coarse_runs_go_along_the_same_path():
    """Brownian motion has no error at any step size, so all agree where they meet."""
    W = sk.Brownian(5, 2.0, 6, paths=300)
    for steps in (3, 6, 24):
        x = array(sk.simulate(bm, 1.0, 2.0, steps, noise=W, backend="numpy").x)
        exact = 1.0 + 2.0 * W(np.linspace(0.0, 2.0, steps + 1))
        assert np.abs(x - exact).max() <= rounding(24, exact)


def test_the_strong_error_of_euler_maruyama_falls_as_the_root_of_the_step():
    """dX = a X dt + b X dW on one path at steps of 1/16 to 1/256: order 0.5. The steps are not yet small, and the
    slope of 200,000 paths between them is 0.493 +- 0.0014: a bias of less than 0.02."""
    levels, batches, size = 2 ** np.arange(4, 9), 16, 500
    W = sk.Brownian(11, 1.0, 16, paths=batches * size)
    exact = linear.solution(1.0, W(1.0)[:, None])
    errors = [np.abs(sk.simulate(linear.sde, linear.x0, 1.0, int(n), noise=W, save="final", backend="numpy").final
                     - exact).reshape(batches, size).mean(axis=1) for n in levels]
    slopes = np.polyfit(-np.log(levels), np.log(errors), 1)[0]
    assert abs(slopes.mean() - 0.5) <= K * slopes.std(ddof=1) / batches**0.5 + 0.02
    assert K * slopes.std(ddof=1) / batches**0.5 < 0.2  # or it would tell nothing from order 1


@pytest.mark.parametrize("steps", [6, 5])
def test_a_path_is_the_same_in_any_company(backend, steps, monkeypatch):
    """Whatever the blocks, the chunks and the threads, and as part of a smaller Brownian with its numbers."""
    W = sk.Brownian(5, 1.0, 6, paths=600, noises=3)
    run = lambda noise, **how: array(sk.simulate(whirl, START, 1.0, steps, noise=noise, backend=backend, **how).x)
    whole = run(W, threads=1)
    monkeypatch.setattr(array_engine, "BLOCK", 7)
    if backend == "numba":
        monkeypatch.setattr("sdekit.numba_engine.CHUNK", 1)
    assert same(run(W, threads=3), whole)
    assert same(run(W.part(255, 3)), whole[255:258])
    assert same(run(sk.Brownian(5, 1.0, 6, paths=3, noises=3, first=255)), whole[255:258])


def test_another_stream_is_another_path(backend):
    one, two = (array(sk.simulate(whirl, START, 1.0, 4, noise=sk.Brownian(5, 1.0, 2, paths=5, noises=3, stream=s),
                                  backend=backend).x) for s in (0, 1))
    assert (one[:, 1:] != two[:, 1:]).all()


@pytest.mark.parametrize("steps", [6, 5, 12])
def test_a_replay_is_the_row_bit_for_bit(backend, steps):
    W = sk.Brownian(5, 1.0, 6, paths=300, noises=3, first=40)
    paths = sk.simulate(whirl, START, 1.0, steps, noise=W, backend=backend)
    for k in (0, 256, 299):
        assert same(array(paths.replay(k).x)[0], array(paths.x)[k])


def test_a_state_that_is_one_array_takes_a_noise_for_each_element():
    x0, W = np.zeros((4, 2, 3)), sk.Brownian(5, 1.0, 2, paths=4, noises=6)
    x = sk.simulate(sk.SDE(lambda x, t: 0.0 * x, lambda x, t: 2.0), x0, 1.0, 8, noise=W).x
    exact = 2.0 * W(np.linspace(0.0, 1.0, 9)).reshape(4, 9, 2, 3)
    assert np.abs(x - exact).max() <= rounding(9, exact)


W3 = sk.Brownian(5, (0.0, 1.0), 4, paths=3)


@pytest.mark.parametrize("how, message", [
    ({"paths": 2}, r"this Brownian has 3 paths of 1 noises, but the run has 2 paths of 1; make it Brownian\(seed"),
    ({"sde": whirl, "x0": START}, "this Brownian has 3 paths of 1 noises, but the run has 3 paths of 3;"),
    ({"x0": np.zeros(5)}, "x0 holds 5 values, but paths=3"),
    ({"t": 2.0}, "the run goes from 0.0 to 2.0, but this Brownian from 0.0 to 1.0"),
    ({"t": (-1.0, 1.0)}, "the run goes from -1.0 to 1.0, but this Brownian"),
    ({"sde": sk.OrnsteinUhlenbeck(1.0), "method": sk.exact}, "follows the law, not a given path"),
])
def test_a_path_that_does_not_fit_is_refused(how, message, backend):
    with pytest.raises(ValueError, match=message):
        sk.simulate(**({"sde": bm, "x0": 0.0, "t": 1.0, "steps": 8, "noise": W3, "backend": backend} | how))
