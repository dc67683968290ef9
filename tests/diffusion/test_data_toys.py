"""The laws in the plane: without noise every point lies on its curve, where it lies follows the curve's law, and the
noise is Gaussian."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffusion.data import checkerboard, eight_gaussians, moons, swiss_roll
from tests.conftest import assert_gaussian, assert_law, assert_near

TOYS = [moons, swiss_roll, eight_gaussians, checkerboard]
N = 4000
SINGLE = 1e-6  # float32 holds coordinates below 4 to 2.4e-7
each = pytest.mark.parametrize("toy", TOYS)


def angle(x):
    return np.arctan2(x[:, 1], x[:, 0])


def test_moons_are_half_circles():
    data = moons(N, seed=1, noise=0)
    x = data.x.astype(float)
    upper, lower = x[data.labels == 0], np.array([1.0, 0.5]) - x[data.labels == 1]
    for half in (upper, lower):
        assert np.abs(np.hypot(*half.T) - 1).max() < SINGLE and half[:, 1].min() > -SINGLE
        assert_law(angle(half), lambda a: np.clip(a / np.pi, 0, 1))
    assert data.classes == ("upper", "lower") and len(upper) == len(lower)


def test_the_swiss_roll_is_a_spiral():
    data = swiss_roll(N, seed=1, noise=0)
    x = data.x.astype(float)
    t = 5 * np.hypot(*x.T)
    assert np.abs(x - t[:, None] / 5 * np.stack([np.cos(t), np.sin(t)], axis=1)).max() < 5 * SINGLE
    assert_law(t, lambda t: (t / np.pi - 1.5) / 3)


def test_eight_gaussians_stand_where_their_names_say():
    data = eight_gaussians(N, seed=1, noise=0)
    assert np.abs(np.hypot(*data.x.T) - 8**0.5).max() < SINGLE
    for label, name in enumerate(data.classes):
        x, y = data.x[data.labels == label].mean(axis=0)
        assert (y > 1) == ("north" in name) and (y < -1) == ("south" in name)
        assert (x > 1) == ("east" in name) and (x < -1) == ("west" in name)
    assert np.bincount(data.labels).tolist() == [N // 8] * 8


def test_the_checkerboard_is_uniform_on_its_black_squares():
    x = checkerboard(N, seed=1).x.astype(float)
    squares, inside = np.divmod(x, 2)
    assert (squares.sum(axis=1) % 2 == 0).all() and squares.min() == -2 and squares.max() == 1
    places, counts = np.unique(squares, axis=0, return_counts=True)
    assert len(places) == 8
    assert_near(counts / N, 1 / 8, (7 / 64 / N) ** 0.5)
    for k in range(2):
        assert_law(inside[:, k], lambda u: u / 2)


@each
def test_noise_is_gaussian_and_the_curve_stays(toy):
    noise = (toy(N, seed=2, noise=0.3).x.astype(float) - toy(N, seed=2, noise=0).x) / 0.3
    assert_gaussian(noise, 0.0, 1.0)
    assert_near((noise[:, 0] * noise[:, 1]).mean(), 0.0, N**-0.5)


@each
def test_the_noise_does_not_know_where_it_is_added(toy):
    x = toy(N, seed=2, noise=0).x.astype(float)
    z = toy(N, seed=2, noise=1.0).x.astype(float) - x
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    assert_near(x.T @ z / N, 0.0, N**-0.5)


@each
@given(first=st.integers(0, 2**38), n=st.integers(1, 20), skip=st.integers(0, 10))
def test_point_i_of_a_seed_is_always_the_same(toy, first, n, skip):
    long, part = toy(n + skip, seed=3, first=first), toy(n, seed=3, first=first + skip)
    np.testing.assert_array_equal(part.x, long.x[skip:], strict=True)
    np.testing.assert_array_equal(part.labels, long.labels[skip:])


@each
def test_another_seed_gives_other_points(toy):
    def around_their_class(data):
        means = np.stack([data.x[data.labels == k].mean(axis=0) for k in range(len(data.classes))])
        return data.x - means[data.labels]

    products = around_their_class(toy(N, seed=0, noise=0.5)) * around_their_class(toy(N, seed=1, noise=0.5))
    assert_near(products.mean(axis=0), 0.0, products.std(axis=0) / N**0.5)


@each
@pytest.mark.parametrize("options, error, message", [
    ({"n": 0}, ValueError, "n must be at least 1"), ({"n": 2.5}, TypeError, "n must be a whole number"),
    ({"noise": -0.1}, ValueError, "noise must be a standard deviation, 0 or more, got -0.1"),
    ({"noise": np.nan}, ValueError, "noise must be"), ({"noise": np.inf}, ValueError, "noise must be"),
    ({"seed": -1}, ValueError, "seed"), ({"first": -1}, ValueError, "first must be at least 0"),
])
def test_counts_that_are_none(toy, options, error, message):
    with pytest.raises(error, match=message):
        toy(**{"n": 3, **options})


@each
@pytest.mark.parametrize("noise", ["a", None, 1j, True])
def test_noise_is_a_number(toy, noise):
    with pytest.raises(TypeError, match="noise must be a number, got "):
        toy(5, noise=noise)
