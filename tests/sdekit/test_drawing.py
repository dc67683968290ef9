"""What methods draw beside the increments: space-time areas and Levy areas, from any source, on every execution."""

import numpy as np
import pytest

import sdekit as sk
from tests.conftest import array, rounding

GRID = np.array([0.0, 0.25, 0.5, 0.625, 1.0])


def _sums(c):
    """Each component adds up one of the draws."""
    add = c.add

    def step(x, t, h, dw, p):
        return add(x, dw)

    return step


def spy(draws):
    """A method whose state is the sum of all that it draws."""
    return sk.Method(f"spy {draws}", _sums, strong=1.0, weak=1.0, draws=draws)


def _still(x, t):
    a, b, c, d, e = x
    return 0.0 * a, 0.0 * b, 0.0 * c, 0.0 * d, 0.0 * e


def _rows(x, t):
    return (1.0, 0.0), (0.0, 1.0), (0.0, 0.0), (0.0, 0.0), (0.0, 0.0)


five = sk.SDE(_still, _rows)  # two noises: dW1, dW2, H1, H2, A12
SPY = spy("WHA")
ZERO = (0.0,) * 5


def drawn(W, grid):
    """What the spy should have seen: (paths, steps, 5)."""
    return np.concatenate([*W.increments_and_areas(grid), W.levy_areas(grid)], axis=2)


def summed(draws):
    return np.concatenate([np.zeros_like(draws[:, :1]), np.cumsum(draws, axis=1)], axis=1)


@pytest.mark.parametrize("paths, steps", [(300, 4), (1, 7), (257, 1)])
def test_a_seeds_draws_are_those_of_its_brownian(backend, paths, steps):
    W = sk.Brownian(7, 2.0, steps, paths=paths, noises=2, stream=3, first=50)
    exact = summed(drawn(W, steps))
    seeded = sk.simulate(five, ZERO, 2.0, steps, paths, seed=7, stream=3, first=50, method=SPY, backend=backend)
    given = sk.simulate(five, ZERO, 2.0, steps, noise=W, method=SPY, backend=backend)
    assert np.abs(array(seeded.x) - exact).max() <= rounding(8 * steps, exact)
    assert (array(seeded.x) == array(given.x)).all()


@pytest.mark.parametrize("steps", [1, 2, 16, 3])
def test_another_grid_has_the_draws_of_the_same_path(backend, steps):
    """Coarser, finer, and one that no tree of cells knows."""
    W = sk.Brownian(7, 1.0, 4, paths=20, noises=2)
    exact = summed(drawn(W, steps))
    x = array(sk.simulate(five, ZERO, 1.0, steps, noise=W, method=SPY, backend=backend).x)
    assert np.abs(x - exact).max() <= rounding(8 * steps, exact)


def test_a_grid_of_unequal_steps_has_areas_of_their_own_size(backend):
    """E H^2 = h / 12 and E A^2 = h^2 / 4 - h^2 / (12 2^level), in each step."""
    n, h = 20_000, np.diff(GRID)
    x = array(sk.simulate(five, ZERO, GRID, paths=n, seed=5, method=SPY, backend=backend).x)
    squares = (np.diff(x, axis=1) ** 2).mean(axis=0) / np.stack([h, h, h / 12, h / 12, h**2 / 4], -1)
    missing = np.array([0, 0, 0, 0, 1 / 3 / 2 ** np.ceil(np.log2(1 / 12 / h.min()))])
    assert np.abs(squares[:, :4] - 1.0).max() < 4.5 * (2 / n) ** 0.5
    assert np.abs(squares[:, 4] - 1.0 + missing[4]).max() < 4.5 * (5 / n) ** 0.5  # an area's kurtosis is 5, at most 6


def test_arrays_of_draws_can_be_given(backend):
    rng = np.random.default_rng(1)
    dW, H, A = (rng.normal(size=(30, 5, k)) for k in (2, 2, 1))
    x = array(sk.simulate(five, ZERO, steps=5, noise=(dW, H, A), method=SPY, backend=backend).x)
    exact = summed(np.concatenate([dW, H, A], axis=2))
    assert np.abs(x - exact).max() <= rounding(5, exact)


@pytest.mark.parametrize("noise, message", [
    (np.zeros((3, 5, 2)), r"driven by the increments, space-time areas and Levy areas \(dW, H, A\); give "
                          r"noise=Brownian\(...\), which has them all, or a tuple of 3 arrays"),
    ((np.zeros((3, 5, 2)),) * 2, "a tuple of 3 arrays"),
    ((np.zeros((3, 5, 2)),) * 3, r"noise must hold increments dW of shape \(3, 5, 1\)"),
])
def test_draws_that_do_not_fit_are_refused(noise, message):
    with pytest.raises(ValueError, match=message):
        sk.simulate(five, ZERO, steps=5, noise=noise, method=SPY)


def test_a_method_of_increments_alone_takes_one_array():
    with pytest.raises(ValueError, match="driven by the increments dW alone; give one array, got 2"):
        sk.simulate(five, ZERO, steps=5, noise=(np.zeros((3, 5, 2)),) * 2, method=sk.euler_maruyama)


@pytest.mark.parametrize("own", [True, False])
def test_saved_times_off_the_grid_have_the_draws_of_the_path_until_there(backend, own):
    """W and H of the way from the point before; A by its best guess from them, H1 W2 - W1 H2."""
    times = np.array([0.1, 0.3, 0.5, 0.9])
    W = sk.Brownian(7, 1.0, 4 if own else 3, paths=20, noises=2)
    on_grid = array(sk.simulate(five, ZERO, steps=4, noise=W, method=SPY, backend=backend).x)
    x = array(sk.simulate(five, ZERO, steps=4, noise=W, method=SPY, backend=backend, save=times).x)
    for k, t in enumerate(times):
        n = int(4 * t)
        if t == n / 4:
            assert (x[:, k] == on_grid[:, n]).all()
            continue
        (w, h) = (part[:, 0] for part in W.increments_and_areas(np.array([n / 4, t])))
        area = h[:, 0] * w[:, 1] - w[:, 0] * h[:, 1]
        exact = on_grid[:, n] + np.concatenate([w, h, area[:, None]], axis=1)
        assert np.abs(x[:, k] - exact).max() <= rounding(60, exact)


def test_one_noise_has_no_levy_areas(backend):
    pair = sk.SDE(lambda x, t: (0.0 * x[0], 0.0 * x[1]), lambda x, t: ((1.0,), (0.0,)))
    W = sk.Brownian(3, 1.0, 4, paths=9)
    x = array(sk.simulate(pair, (0.0, 0.0), steps=4, noise=W, method=SPY, backend=backend).x)
    exact = summed(np.concatenate(W.increments_and_areas(4), axis=2))
    assert np.abs(x - exact).max() <= rounding(16, exact)


def test_each_element_of_an_array_has_areas_of_its_own():
    x0 = np.zeros((3, 2, 2))
    still = sk.SDE(lambda x, t: 0.0 * x, lambda x, t: 1.0)

    def make(c):
        return lambda x, t, h, dw, p: (x[0] + dw[1],)

    see_H = sk.Method("H", make, strong=1.0, weak=1.0, draws="WH")
    W = sk.Brownian(4, 1.0, 4, paths=3, noises=4)
    exact = W.areas(4).sum(axis=1).reshape(3, 2, 2)
    assert np.abs(sk.simulate(still, x0, steps=4, seed=4, method=see_H).final - exact).max() <= rounding(8, exact)
    torch = pytest.importorskip("torch")
    x = sk.simulate(still, torch.zeros(3, 2, 2, dtype=torch.float64), steps=4, seed=4, method=see_H).final
    assert np.abs(array(x) - exact).max() <= rounding(8, exact)


def test_the_noise_of_32_bits_has_space_time_areas_but_no_levy_areas(backend):
    n = 20_000
    pair = sk.SDE(lambda x, t: (0.0 * x[0], 0.0 * x[1]), lambda x, t: ((1.0,), (0.0,)))
    x = array(sk.simulate(pair, (0.0, 0.0), steps=2, paths=n, seed=1, bits=32, method=spy("WH"), backend=backend).final)
    assert np.abs((x**2).mean(axis=0) / [1.0, 1 / 12] - 1.0).max() < 4.5 * (2 / n) ** 0.5
    with pytest.raises(ValueError, match="no Levy areas"):
        sk.simulate(five, ZERO, steps=2, bits=32, method=SPY)


def _remembering(c):
    """x' = the copy, the copy' = x + the copy + dW: numbers of Fibonacci's kind."""
    def step(z, t, h, dw, p):
        return z[1], z[0] + z[1] + dw[0]

    return step


memory = sk.Method("memory", _remembering, strong=1.0, weak=1.0, memory=1)
line = sk.SDE(lambda x, t: 0.0 * x, lambda x, t: 1.0)


def remembered(dw, x0=1.0):
    x, y, out = np.full(len(dw), x0), np.full(len(dw), x0), [np.full(len(dw), x0)]
    for w in dw.T:
        x, y = y, x + y + w
        out.append(x)
    return np.stack(out, 1)


def test_what_a_method_remembers_is_carried_along_and_not_saved(backend):
    dw = np.random.default_rng(3).normal(size=(300, 6))
    run = lambda **how: sk.simulate(line, 1.0, steps=6, noise=dw, method=memory, backend=backend, **how)
    exact = remembered(dw)
    assert run().x.shape == (300, 7) and np.abs(array(run().x) - exact).max() <= rounding(6, exact)
    both = run(track=sk.maximum(bridge=False))
    assert np.abs(array(both.x) - exact).max() <= rounding(6, exact)
    highest = np.maximum.accumulate(exact, axis=1)
    assert np.abs(array(both.tracked["maximum"]) - highest).max() <= rounding(6, exact)
    assert np.abs(array(run(nonfinite="stop").x) - exact).max() <= rounding(6, exact)


def test_a_run_that_goes_on_remembers(backend):
    run = lambda t, steps: sk.simulate(line, 1.0, t, steps, 5, seed=2, method=memory, backend=backend)
    assert (array(run(1.0, 4).extend(2.0).x) == array(run(2.0, 8).x)).all()
    assert (array(run(2.0, 8).replay(3).x)[0] == array(run(2.0, 8).x)[3]).all()
