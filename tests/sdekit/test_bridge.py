"""The Brownian bridge: Gaussian, pinned at both ends, whatever the steps."""

import numpy as np
import pytest
from hypothesis import given

import sdekit as sk
from tests import strategies
from tests.conftest import array, assert_gaussian, assert_law, assert_near, rounding

PATHS = 40_000
GRID = np.array([0.0, 0.05, 0.4, 1.0, 1.7, 2.0])  # the horizon is 2


def drawn(bridge, x0, **how):
    return sk.simulate(bridge, x0, **{"paths": PATHS, "seed": 51, "backend": "numpy", **how})


def test_a_bridge_has_its_law_at_all_times_and_between_them():
    """W given W(2): mean x0 + (b - x0) t/2, covariance sigma^2 s (2 - t)/2."""
    result, t = drawn(sk.BrownianBridge(end=3.0, horizon=2.0, sigma=0.7), 1.0, t=GRID), GRID[1:-1]
    assert result.info["method"] is sk.exact and (result.final == 3.0).all()
    x, v = result.x[:, 1:-1], 0.49 * t * (2 - t) / 2
    assert_gaussian(x, 1.0 + t, v)
    exact = 0.49 * np.minimum.outer(t, t) * (2 - np.maximum.outer(t, t)) / 2
    assert_near(np.cov(x.T), exact, ((np.outer(v, v) + exact**2) / PATHS) ** 0.5)


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_the_law_of_a_bridge_does_not_depend_on_the_steps_between(steps):
    x = drawn(sk.BrownianBridge(-1.0, 4.0, 2.0), 0.5, t=1.0, steps=steps).final
    assert_gaussian(x, 0.5 - 1.5 / 4, 4 * 1.0 * 3.0 / 4)


@pytest.mark.parametrize("steps", [1, 5])
def test_a_bridge_that_begins_later_has_less_time_left(steps):
    """From X(1) = x0 with the horizon 2: at 1.5 half of the way is done, with the variance 1/2 1/2."""
    result = drawn(sk.BrownianBridge(end=4.0, horizon=2.0), 0.0, t=(1.0, 1.5), steps=steps)
    assert_gaussian(result.final, 2.0, 0.25)


@pytest.mark.parametrize("grid", [{"t": 2.0, "steps": 1}, {"t": 2.0, "steps": 10}, {"t": GRID}, {"t": (0.3, 2.0),
                                                                                               "steps": 7}], ids=repr)
def test_every_bridge_ends_where_it_has_to(grid, backend):
    x = array(drawn(sk.BrownianBridge(end=0.1, horizon=2.0), np.linspace(-5, 5, 50), paths=50, backend=backend,
                    **grid).final)
    assert np.abs(x - 0.1).max() <= rounding(1, x, 5.0)


def test_brownian_motion_less_its_end_is_a_bridge():
    """W(t) - (t/T) W(T), another construction, has the maximum's law P(max > m) = exp(-2 m^2 / T) (Doob 1949)."""
    n, t = 8000, np.linspace(0, 1, 65)
    W = sk.simulate(sk.BrownianMotion(), 0.0, t=t, paths=n, seed=52, backend="numpy").x
    bridge = drawn(sk.BrownianBridge(), 0.0, t=t, paths=n)
    for x in (W - t * W[:, -1:], bridge.x):
        # between its points the path is a bridge again: its maximum given both ends, by inversion
        u = sk.uniforms(53, paths=n, steps=64)[..., 0]
        a, b, h = x[:, :-1], x[:, 1:], 1 / 64
        peak = 0.5 * (a + b + np.sqrt((b - a) ** 2 - 2 * h * np.log(u))).max(axis=1)
        assert_law(peak, lambda m: 1 - np.exp(-2 * m * m))


def test_euler_steps_tend_to_the_bridge():
    """By induction Euler's mean is exact; its variance at T/2 in n steps is h sum_k prod (1 - h/(T - t))^2."""
    bridge, n = sk.BrownianBridge(end=2.0), 16
    x = drawn(bridge, 0.0, t=1.0, steps=n, method=sk.euler_maruyama).x[:, n // 2]
    variance = 0.0
    for k in range(n // 2):
        variance = variance * (1 - 1 / (n - k)) ** 2 + 1 / n
    assert abs(variance - 0.25) < 1 / n
    assert_gaussian(x, 1.0, variance)


@given(strategies.numbers(-3, 3), strategies.numbers(0.1, 5), strategies.numbers(0.1, 2), strategies.numbers(-3, 3))
def test_the_moments_of_a_bridge_are_those_of_conditioned_brownian_motion(end, horizon, sigma, x0):
    """E[X(t) | X(T) = b] and Cov(X(s), X(t) | X(T)) by the conditioning of Gaussians."""
    bridge, t = sk.BrownianBridge(end, horizon, sigma), horizon * np.array([0.1, 0.5, 0.9])
    free = sigma**2 * np.minimum.outer(t, t)
    exact = free - sigma**2 * np.outer(t, t) / horizon
    assert np.abs(bridge.covariance(x0, t[:, None], t) - exact).max() <= rounding(1, free)
    assert np.abs(bridge.mean(x0, t) - (x0 + t / horizon * (end - x0))).max() <= rounding(1, end, x0)


def test_a_bridge_ends_at_its_horizon():
    for call, message in (
            (lambda: drawn(sk.BrownianBridge(horizon=2.0), 0.0, t=2.5, steps=5), "lives until t = 2, and the run goes"),
            (lambda: sk.BrownianBridge(horizon=0.0), "needs horizon > 0, got 0.0"),
            (lambda: sk.BrownianBridge(sigma=-1.0), "needs sigma > 0, got -1.0"),
            (lambda: sk.BrownianBridge(horizon=np.array([1.0, 2.0])), "needs one horizon for all paths")):
        with pytest.raises(ValueError, match=message):
            call()
