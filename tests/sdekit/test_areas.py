"""Levy areas: their sign and laws, the error that was asked for, Chen's relation, one path for every engine."""

from math import cosh

import numpy as np
import pytest
from hypothesis import given

from sdekit import brownian, noise
from sdekit.areas import area_level, pairs, step_areas, tile_areas, tree_areas
from sdekit.brownian import Brownian
from sdekit.numba_compiler import compiled
from tests import strategies
from tests.conftest import K, assert_near, rounding

MANY = 20_000
LANES = 64


def cross(x, y):
    """x_j y_k - x_k y_j for j < k, of the last axis."""
    j, k = np.triu_indices(x.shape[-1], 1)
    return x[..., j] * y[..., k] - x[..., k] * y[..., j]


def base(W, level):
    """(dW, H, A) over the base steps: A by `step_areas`, (paths, steps, ...)."""
    dW, H = W.increments_and_areas(W.steps)
    path = np.arange(W.first, W.first + W.paths)
    return dW, H, step_areas(W.key[0], W.key[1], path, np.arange(W.steps), np.diff(W.grid), level, dW, H)


def polygon(dW):
    """1/2 sum (W_j dW_k - W_k dW_j), W at the beginning of each cell: (paths, cells, noises) -> (paths, pairs)."""
    return 0.5 * cross(np.cumsum(dW, axis=1) - dW, dW).sum(axis=1)


def assert_mean(sample, exact, bias=0.0):
    assert_near(sample.mean(axis=0), exact, sample.std(axis=0) / len(sample) ** 0.5, bias)


# The laws

@pytest.mark.parametrize("level", [0, 3, 8])
def test_it_is_the_area_of_the_path(level):
    """Of a polygon's area on the same 2^l cells it misses sum H_i x W_i: E (A - polygon)^2 = h^2 / (6 2^l)."""
    W = Brownian(1, 0.5, 1, 2000, 3)
    off = base(W, level)[2][:, 0] - polygon(W.increments(1 << level))
    assert_mean(off, 0.0)
    assert_mean(off**2, 0.5**2 / 6 / 2**level)


@pytest.mark.parametrize("level", [1, 6])
def test_mean_variance_and_levys_formula(level):
    """E A = 0, E A^2 = h^2/4 - E error^2, areas uncorrelated; E cos(s A) = 1 / cosh(s h / 2) (Levy 1951), but for
    s^2/2 E error^2: the error has mean 0 whatever A is."""
    h = 2.0
    A = base(Brownian(2, h, 1, MANY, 3), level)[2][:, 0]
    missing = h**2 / 12 / 2**level
    assert_mean(A, 0.0)
    assert_mean(A**2, h**2 / 4 - missing)
    assert_mean(A[:, [0, 0, 1]] * A[:, [1, 2, 2]], 0.0)
    for s in (0.5, 1.0, 2.0):
        assert_mean(np.cos(s * A), 1 / cosh(s * h / 2), bias=s**2 / 2 * missing)


@pytest.mark.parametrize("level", [2, 6])
def test_given_w_and_h_it_has_its_mean_and_variance(level):
    """A = H x W + B with E[B | W, H] = 0 and E[B^2 | W, H] = h^2/20 + h/5 (H_j^2 + H_k^2) (Foster, Lyons &
    Oberhauser 2020), of which a level lacks 2^-l in the mean and 16^-l of what H says."""
    W, H, A = (x[:, 0] for x in base(Brownian(3, 1.0, 1, MANY, 2), level))
    B, one = A[:, 0] - cross(H, W)[:, 0], np.ones(MANY)
    x = np.concatenate([W, H * 12**0.5], axis=1).T
    products = [x[i] * x[j] for i in range(4) for j in range(i + 1)]
    variance = (1 - 2.0**-level) / 12 + (1 - 16.0**-level) / 5 * ((H**2).sum(axis=1) - 1 / 6)
    for known in (one, *x, *products):
        assert_mean(B * known, 0.0)
    for known in (one, *products):
        assert_mean((B**2 - variance) * known, 0.0)


def test_the_error_is_that_of_the_level():
    """Against 2^10 cells of the same path: E (A_l - A_10)^2 = h^2/12 (2^-l - 2^-10), uncorrelated with A_l."""
    W = Brownian(4, 3.0, 3, 500, 2)
    fine = base(W, 10)[2]
    for level in (0, 1, 2, 5):
        coarse = base(W, level)[2]
        assert_mean((coarse - fine).ravel() ** 2, (2.0**-level - 2.0**-10) / 12)
        assert_mean(((coarse - fine) * coarse).ravel(), 0.0)


@given(strategies.numbers(1e-4, 1.0), strategies.numbers(0.1, 10.0))
def test_the_level_is_the_least_for_the_error_asked_for(h, c):
    level = area_level(h, c)
    assert h**2 / 12 / 2**level <= c * h**3 * (1 + 1e-8)
    assert level == 0 or h**2 / 12 / 2 ** (level - 1) > c * h**3
    assert area_level(np.array([1.0, h, 0.5 + h]), c) == level


@pytest.mark.parametrize("h, c", [(0.25, 0.1), (0.05, 1.0), (0.01, 1.0)])
def test_the_error_is_as_small_as_asked_for(h, c):
    """E error^2 <= c h^3, against 32 times as many cells."""
    W = Brownian(5, 8 * h, 8, 100, 2)
    error2 = ((W.levy_areas(8, c) - W.levy_areas(8, c / 32)) ** 2).ravel()
    assert error2.mean() <= c * h**3 + K * error2.std() / len(error2) ** 0.5
    assert_mean(error2, h**2 / 12 * (1 - 1 / 32) / 2 ** area_level(h, c))


def test_equal_steps_have_one_level_despite_their_rounding():
    """h = 1/48 is the very edge between 2^2 cells and 2^3."""
    assert {area_level(h) for h in np.diff(np.linspace(0, 1, 49))} == {2}


# The algebra

@pytest.mark.parametrize("level", [0, 1, 4])
def test_areas_of_the_halves_join_to_that_of_the_step(level):
    """A = A' + A'' + 1/2 W' x W'' (Chen), with one level less; for base steps and on finer grids."""
    W = Brownian(6, 1.0, 3, 50, 3)
    c = 0.5**(level + 1)  # for this level with h = 1/6, and the next with h = 1/3 and c / 4
    dW, A = W.increments(6), W.levy_areas(6, c)
    joined = A[:, ::2] + A[:, 1::2] + 0.5 * cross(dW[:, ::2], dW[:, 1::2])
    assert np.abs(joined - base(W, level + 1)[2]).max() <= rounding(2 << level, 1.0)
    assert np.abs(W.levy_areas(3, c / 4) - base(W, level + 1)[2]).max() <= rounding(2 << level, 1.0)


def test_it_turns_with_the_noise():
    """W -> Q W turns the matrix of areas into Q A Q^T."""
    W = Brownian(7, 1.0, 1, 30, 4)
    Q = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0]
    dW, H = (x[:, 0].T for x in W.increments_and_areas(1))
    path, component = np.arange(30), np.arange(4)[:, None]
    k0, k1 = np.array(W.key)[:, None]

    def draw(cells):
        return noise.pair(k0, k1, path, component, 0, 16 + np.array(cells)[:, None, None])

    def matrix(A):
        full = np.zeros((4, 4, 30))
        full[tuple(zip(*pairs(4)))] = A
        return full - full.swapaxes(0, 1)

    A = tree_areas(draw, dW, H, 1.0, 5)
    turned = tree_areas(lambda cells: [Q @ z for z in draw(cells)], Q @ dW, Q @ H, 1.0, 5)
    assert np.abs(matrix(turned) - np.einsum("ij,jkp,lk->ilp", Q, matrix(A), Q)).max() <= rounding(32, A)
    assert (A.T == base(W, 5)[2][:, 0]).all()


def test_steps_of_no_cell_are_joined_too():
    """Thirds of a step, uneven ones, beside each other: each the polygon of the same path, finely."""
    W = Brownian(8, 1.0, 2, 300, 2)
    grid = np.array([0.0, 0.1, 1 / 3, 0.5, 0.9, 1.0])
    A, h, dW = W.levy_areas(grid, 0.2), np.diff(grid), W.increments(1024)
    for n in (2, 4):  # Chen: the whole path's area, of the steps and of the polygon
        assert (W.levy_areas(grid[n:n + 2], 0.2) == A[:, n:n + 1]).all()
    steps = W.increments(grid)
    off = (A.sum(axis=1) + polygon(steps) - polygon(dW))[:, 0]
    assert_mean(off, 0.0)
    missing = (h**2 / 12 / 2.0 ** np.array([area_level(x, 0.2) for x in h])).sum()
    assert_mean(off**2, missing, bias=1 / 6 / 1024)


# One path, whatever is asked, in every engine

def test_every_grid_of_a_brownian_has_the_areas_of_its_tree():
    W = Brownian(9, (1.0, 1.5), 4, 20, 3, first=2**32 - 3, stream=2)
    A = base(W, area_level(0.125))[2]
    assert W.levy_areas(4).shape == A.shape == (20, 4, 3)
    assert np.abs(W.levy_areas(4) - A).max() <= rounding(8, 1.0)
    assert np.abs(W.levy_areas(W.grid[1:3]) - A[:, 1:2]).max() <= rounding(8, 1.0)
    assert (W.part(3, 2).levy_areas(W.grid[1:4]) == W.levy_areas(4)[3:5, 1:3]).all()


def test_nothing_depends_on_tiles(monkeypatch):
    """Blocks of any size, one path alone, one step alone, arrays of any size: the same bits."""
    W = Brownian(10, 1.0, 5, 9, 3)
    grid = np.array([0.0, 0.01, 0.4, 0.5, 1.0])
    whole = base(W, 4)[2], W.levy_areas(5, 0.05), W.levy_areas(grid, 0.5)
    monkeypatch.setattr(brownian, "BLOCK", 64)
    for x, y in zip(whole, (base(W, 4)[2], W.levy_areas(5, 0.05), W.levy_areas(grid, 0.5))):
        assert (x == y).all()
    alone = W.part(4, 1)
    assert (base(alone, 4)[2] == whole[0][4:5]).all() and (alone.levy_areas(grid, 0.5) == whole[2][4:5]).all()
    dW, H = W.increments_and_areas(5)
    component = np.arange(3)[:, None]
    k0, k1 = np.array(W.key)[:, None]
    draw = lambda cells: noise.pair(k0, k1, np.arange(9), component, 2, 16 + np.array(cells)[:, None, None])
    for most in (1, 100, 10**6):
        A = tree_areas(draw, dW[:, 2].T, H[:, 2].T, np.diff(W.grid)[2], 4, most=most)
        assert (A.T == whole[0][:, 2]).all()


def test_numba_has_the_areas_of_numpy():
    """`fill` leaves A / h behind the normals, at any step, beside other rows."""
    noises = 3
    fill, columns = tile_areas(noises, LANES), 2 * noises + len(pairs(noises))

    def run(z, n, k0, k1, path, level):
        Z, S = np.full((2, columns, LANES), np.nan), np.empty((2 * level + 4, noises, LANES))
        Z[1, :2 * noises] = z
        fill(Z, 1, path, n, k0, k1, level, S)
        return Z

    W, filled = Brownian(11, 2.0, 8, LANES, noises, first=2**32 - 5), compiled(run)
    for level in (0, 1, 2, 5):
        dW, H, A = (x[:, 5].T for x in base(W, level))
        z = np.concatenate([dW / 0.25**0.5, H / (0.25 / 12) ** 0.5])
        Z = filled(z, 5, *W.key, W.first, level)
        assert (Z[1, :2 * noises] == z).all() and np.isnan(Z[0]).all()
        assert np.abs(0.25 * Z[1, 2 * noises:] - A).max() <= rounding(1 << level, 1.0)


@pytest.mark.filterwarnings("ignore:To copy construct from a tensor")
@pytest.mark.parametrize("most", [1, 2**20])
def test_torch_has_the_areas_of_numpy(most):
    torch = pytest.importorskip("torch")
    from sdekit.torch_engine import normals

    W = Brownian(12, 1.0, 4, 7, 3)
    dW, H, A = (x[:, 3] for x in base(W, 4))
    path, component = torch.arange(7), torch.arange(3)[:, None]

    def draw(cells):
        return normals(W.key, path, component, 3, 16 + torch.tensor(cells)[:, None, None])

    ours = tree_areas(draw, torch.tensor(dW.T), torch.tensor(H.T), 0.25, 4, torch.cat, most)
    assert np.abs(ours.numpy().T - A).max() <= rounding(16, 1.0)


# Saying no

def test_one_noise_has_no_areas():
    W = Brownian(13, 1.0, 4, 3)
    assert pairs(1) == [] and W.levy_areas(8).shape == (3, 8, 0) and base(W, 2)[2].shape == (3, 4, 0)


@pytest.mark.parametrize("h, c, message", [
    (0.0, 1.0, "a step must be positive and finite, got 0.0"),
    ([1.0, np.nan], 1.0, "a step must be positive and finite, got nan"),
    (0.1, 0.0, "c must be positive and finite, got 0.0"),
    (0.1, np.inf, "c must be positive and finite, got inf"),
    (1e-9, 1.0, r"1 h\^3 cut a step of h = 1e-09 into 2\^27 cells, and 2\^20 is the limit; take .* c = 79.5 and above"),
])
def test_errors_that_cannot_be_had_are_refused(h, c, message):
    with pytest.raises(ValueError, match=message):
        area_level(h, c)


def test_bad_questions_are_refused():
    W = Brownian(1, (1.0, 2.0), 4, 3, 2)
    for ask, error, message in (
            (lambda: W.levy_areas(0), ValueError, "grid, where it is no array of times, must be at least 1"),
            (lambda: W.levy_areas([1.0, 2.5]), ValueError, "times must lie between 1.0 and 2.0, got 2.5"),
            (lambda: W.levy_areas(4, -1.0), ValueError, "c must be positive"),
            (lambda: Brownian(1, paths=2**39, noises=3).levy_areas(64), MemoryError, "GiB")):
        with pytest.raises(error, match=message):
            ask()
