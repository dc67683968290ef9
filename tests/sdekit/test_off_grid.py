"""Saved times between two points of the grid: a step aside, driven by the path's own W."""

import numpy as np
import pytest

import sdekit as sk
from tests.conftest import array, assert_near, rounding
from tests.problems import whirl

bm = sk.BrownianMotion(sigma=2.0)
swirl = sk.ODE(whirl.drift, a=0.6, k=1.5)
START = (0.3, -0.2)


def between(grid, fractions=(0.0, 0.1, 0.5, 0.9)):
    """Times at these fractions of every step, and the end."""
    h = np.diff(grid)
    return np.append((grid[:-1, None] + np.array(fractions) * h[:, None]).ravel(), grid[-1])


def same(a, b):
    return a.shape == b.shape and (a.view(np.int64) == b.view(np.int64)).all()


@pytest.mark.parametrize("steps", [2, 3])
def test_between_two_points_of_the_grid_brownian_motion_has_its_own_covariance(steps):
    """Cov(X(s), X(t)) = 4 min(s, t), at the points of the grid, between them, and across; a straight line between the
    points would give the variance 4 (t_k + h/4) in the middle of a step."""
    n, t = 20_000, between(np.linspace(0.0, 1.0, steps + 1))[1:]
    x = sk.simulate(bm, 0.0, steps=steps, paths=n, seed=3, save=t, method=sk.euler_maruyama, backend="numpy").x
    exact = 4.0 * np.minimum(t[:, None], t)
    assert_near(x.T @ x / n, exact, np.sqrt((exact**2 + np.outer(4.0 * t, 4.0 * t)) / n))


def test_the_bridge_between_two_points_is_independent_of_them():
    """B = X(t_k + u h) - (1 - u) X(t_k) - u X(t_k + h) ~ N(0, 4 h u (1 - u)), whatever the ends and the other steps."""
    n, steps = 20_000, 3
    x = sk.simulate(bm, 1.0, steps=steps, paths=n, seed=4, save=between(np.linspace(0.0, 1.0, 4), (0.0, 0.3)),
                    method=sk.euler_maruyama, backend="numpy").x
    ends = x[:, ::2]
    bridge = x[:, 1::2] - 0.7 * ends[:, :-1] - 0.3 * ends[:, 1:]
    variance = 4.0 / steps * 0.3 * 0.7
    assert_near((bridge**2).mean(axis=0), variance, variance * (2 / n) ** 0.5)
    rise = np.diff(ends, axis=1)
    assert_near(bridge.T @ rise / n, 0.0, (variance * 4.0 / steps / n) ** 0.5)


@pytest.mark.parametrize("paths, t, steps", [(257, (0.5, 2.5), 5), (3, (0.0, 1.0), 2), (1, (-1.0, 1.0), 1)])
def test_a_step_aside_is_the_formula_of_the_textbook_on_the_brownian_path(backend, paths, t, steps):
    """X(t_k + a) = X(t_k) + f a + G (W(t_k + a) - W(t_k)); at the points of the grid nothing changes, not a bit."""
    W = sk.Brownian(8, t, steps, paths=paths, noises=3, stream=2, first=77)
    times = between(W.grid, (0.0, 0.125, 0.5, 0.75))
    run = lambda save: sk.simulate(whirl, START, t, steps, paths, seed=8, stream=2, first=77, save=save,
                                   backend=backend)
    whole, x = array(run("all").x), array(run(times).x)
    assert same(x[:, ::4], whole)
    for k in range(steps):
        u, v = whole[:, k].T
        f = np.stack(np.broadcast_arrays(*whirl.drift((u, v), W.grid[k], a=0.6, k=1.5)), -1)
        G = np.stack([np.stack(np.broadcast_arrays(*row, u)[:3], -1)
                      for row in whirl.diffusion((u, v), W.grid[k], s=0.4)], 1)  # (paths, 2, 3)
        for i in (1, 2, 3):
            aside = times[4 * k + i]
            dw = W(aside) - W(W.grid[k])
            exact = whole[:, k] + f * (aside - W.grid[k]) + np.einsum("pij,pj->pi", G, dw)
            assert np.abs(x[:, 4 * k + i] - exact).max() <= rounding(steps + 4, exact, W(W.grid))


@pytest.mark.parametrize("steps", [4, 3])
def test_brownian_motion_on_a_given_path_is_that_path_at_any_time(backend, steps):
    """The run's own grid is the path's, for 4 steps, or not: then its increments are given."""
    W = sk.Brownian(5, (0.0, 2.0), 4, paths=300, first=9)
    times = np.sort(np.append(between(np.linspace(0.0, 2.0, steps + 1)), [0.01, 1.234]))
    x = array(sk.simulate(bm, 1.0, (0.0, 2.0), steps, noise=W, save=times, backend=backend).x)
    exact = 1.0 + 2.0 * W(times)
    assert np.abs(x - exact).max() <= rounding(20, exact)


def test_a_number_of_saved_times_need_not_divide_the_steps(backend):
    W = sk.Brownian(5, 1.0, 4, paths=300)
    paths = sk.simulate(bm, 0.0, steps=4, paths=300, seed=5, save=7, method=sk.euler_maruyama, backend=backend)
    assert np.allclose(paths.t, np.linspace(0.0, 1.0, 7), rtol=0, atol=1e-15) and paths.x.shape == (300, 7)
    assert np.abs(array(paths.x) - 2.0 * W(paths.t)).max() <= rounding(20, array(paths.x))


def test_float32_is_the_float64_run_rounded(backend):
    run = lambda dtype: array(sk.simulate(bm, 1.0, steps=4, paths=300, seed=5, save=[0.1, 0.5, 0.7, 1.0], dtype=dtype,
                                          method=sk.euler_maruyama, backend=backend).x)
    short = run("float32")
    assert short.dtype == np.float32 and (short == run(None).astype(np.float32)).all()


def test_an_ode_between_two_points_of_the_grid_is_a_step_of_its_method(backend):
    x0 = np.linspace(-1.0, 1.0, 5), np.linspace(0.5, -0.5, 5)
    run = lambda start, **how: array(sk.integrate(swirl, start, method=sk.heun, backend=backend, **how).x)
    whole, x = run(x0, t=2.0, steps=4), run(x0, t=2.0, steps=4, save=between(np.linspace(0.0, 2.0, 5), (0.0, 0.4)))
    assert same(x[:, ::2], whole)
    for k in range(4):
        exact = run(tuple(whole[:, k].T), t=(0.5 * k, 0.5 * k + 0.2), steps=1)[:, -1]
        assert np.abs(x[:, 2 * k + 1] - exact).max() <= rounding(2, exact)


def test_a_state_that_is_one_array_has_times_between_the_steps_too():
    """An ODE's, without noise, and an SDE's: each element has a Brownian path of its own."""
    x0 = np.linspace(-1.0, 1.0, 6).reshape(2, 3)
    fall = sk.integrate(sk.ODE(lambda x, t: -x), x0, steps=2, method=sk.euler, save=[0.25, 1.0]).x
    assert np.abs(fall - x0[:, None] * np.array([0.75, 0.25])[:, None]).max() <= rounding(2, x0)
    W = sk.Brownian(5, 1.0, 2, paths=2, noises=3)
    x = sk.simulate(sk.SDE(lambda x, t: 0.0 * x, lambda x, t: 2.0), x0, steps=2, seed=5, save=[0.25, 0.5, 0.9]).x
    assert np.abs(x - x0[:, None] - 2.0 * W([0.25, 0.5, 0.9])).max() <= rounding(9, x)


def test_a_tensor_has_times_between_the_steps_too():
    torch = pytest.importorskip("torch")
    x0 = torch.linspace(-1.0, 1.0, 6, dtype=torch.float64).reshape(2, 3)
    fall = array(sk.integrate(sk.ODE(lambda x, t: -x), x0, steps=2, method=sk.euler, save=[0.25, 1.0]).x)
    assert np.abs(fall - array(x0)[:, None] * np.array([0.75, 0.25])[:, None]).max() <= rounding(2, fall)


@pytest.mark.parametrize("times", [[0.5, 0.5 + 1e-12], [0.3, 0.5, 0.5 + 1e-12, 0.7]])
def test_two_times_at_one_point_of_the_grid_are_refused(times):
    with pytest.raises(ValueError, match=r"two times of save=.* are the same point of the grid"):
        sk.simulate(bm, 0.0, steps=2, save=times)


@pytest.mark.parametrize("how, message", [
    ({"noise": np.zeros((1, 2))}, "save=0.25 is not a time of the grid, and given increments do not say where"),
    ({"track": sk.maximum()}, "what is tracked with a bridge is known at the times of the grid"),
    ({"save": [0.5, 1.5]}, "save=1.5 is not a time of the run, which goes from 0.0 to 1.0"),
    ({"save": [0.5, 0.25]}, "save as times must be an increasing array"),
])
def test_times_that_cannot_be_had_are_refused(how, message):
    with pytest.raises(ValueError, match=message):
        sk.simulate(bm, 0.0, steps=2, **{"save": [0.25, 1.0], **how})
