"""Points in the plane: their laws, and what the tests accept and reject."""

import math
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import chdtri
from scipy.stats import kstest

import sdekit as sk
from sdekit import points
from tests.conftest import ALARM, EPS, assert_law, assert_near
from tests.strategies import numbers, seeds

RATE, BOX, SMALL = 7.0, (20.0, 20.0), (6.0, 4.0)
DRAWN = {"poisson": points.poisson, "lattice": partial(points.regular, jitter=0.0), "regular": points.regular,
         "clustered": partial(points.clustered, size=5.0, spread=0.2)}


# --- the points

def test_counts_are_poisson_and_independent():
    """In the six unit cells of 500 windows of 3 x 2: mean, variance, covariances."""
    found = []
    for seed in range(500):
        x, y = points.poisson(RATE, (3.0, 2.0), seed).T.astype(int)
        found.append(np.bincount(2 * x + y, minlength=6))
    found = np.array(found)
    n = len(found)
    assert_near(found.mean(axis=0), RATE, (RATE / n) ** 0.5)
    variance = (RATE + 2 * RATE**2) ** 0.5  # of (N - 7)^2, its root
    expected = RATE * np.eye(6)
    assert_near(np.cov(found.T), expected, np.where(expected > 0, variance, RATE) / n**0.5)


def test_places_are_uniform():
    place = points.poisson(RATE, (50.0, 20.0), 4)
    assert_law(place[:, 0], lambda x: x / 50.0)
    assert_law(place[:, 1], lambda y: y / 20.0)
    assert_near(np.corrcoef(place.T)[0, 1], 0.0, len(place) ** -0.5)


@given(seeds, numbers(0.0, 3.0), numbers(0.0, 3.0))
def test_a_point_depends_on_its_number_alone(seed, a, b):
    few, many = sorted((points.poisson(rate, SMALL, seed) for rate in (a, b)), key=len)
    assert np.array_equal(few, many[:len(few)])
    assert (sk.uniforms(seed, paths=len(many), components=2)[:, 0] * SMALL == many).all()
    assert not len(points.poisson(0.0, SMALL, seed))


@given(seeds, st.floats(0, 1), numbers(0.5, 40.0))
def test_a_regular_set_has_a_point_in_the_middle_of_each_cell(seed, jitter, rate):
    place = points.regular(rate, SMALL, seed, jitter)
    nx, ny = (round(side * rate**0.5) for side in SMALL)
    within = place * np.array([nx, ny]) / SMALL - np.indices((nx, ny)).reshape(2, -1).T
    assert len(place) == nx * ny
    assert np.abs(within - 0.5).max() <= 0.5 * jitter + 64 * EPS * max(nx, ny)
    if jitter > 0.5 and nx * ny > 30:
        assert np.abs(within - 0.5).max(axis=0).min() > 0.3 * jitter


def test_families_have_the_counts_and_pairs_of_thomas():
    """N has the variance rate |A| (1 + size); pairs nearer than r: rate^2 |A| K(r), with
    K(r) = pi r^2 + (1 - e^{-r^2 / 4 spread^2}) size / rate, on the torus."""
    from scipy.spatial import KDTree
    size, spread, r, n = 4.0, 0.15, np.array([0.1, 0.3, 0.6]), 400
    area = math.prod(SMALL)
    sets = [points.clustered(RATE, SMALL, seed, size, spread) for seed in range(n)]
    assert all(((p >= 0) & (p < SMALL)).all() for p in sets)
    count = np.array(list(map(len, sets)))
    variance = RATE * area * (1 + size)
    assert_near(count.mean(), RATE * area, (variance / n) ** 0.5)
    assert_near(count.var() / variance, 1.0, ((2 + 1 / (RATE * area / size)) / n) ** 0.5)
    pairs = np.array([KDTree(p, boxsize=SMALL).count_neighbors(KDTree(p, boxsize=SMALL), r) - len(p) for p in sets])
    K = np.pi * r**2 + -np.expm1(-(r**2) / (4 * spread**2)) * size / RATE
    assert_near(pairs.mean(axis=0), RATE**2 * area * K, pairs.std(axis=0) / n**0.5)
    wide = points.clustered(RATE, BOX, 1, size, spread=1000.0)  # around the torus many times: uniform again
    assert_law(wide, lambda x: x / BOX)


# --- what the tests look at

def test_frequencies_are_those_of_all_cells():
    place = points.poisson(RATE, SMALL, 3)
    for cells in (np.array([6, 4]), np.array([60, 40]), np.array([600, 400])):
        every = np.histogram2d(*place.T, bins=cells, range=[(0, SMALL[0]), (0, SMALL[1])])[0].astype(int)
        expected = np.bincount(every.ravel()) / cells.prod()
        assert np.array_equal(points._frequencies(place, np.array(SMALL), cells), expected)
    assert np.array_equal(points._frequencies(place[:0], np.array(SMALL), cells), [1.0])


def test_the_divergence_by_hand():
    place = np.array([[0.1, 0.1], [0.2, 0.3], [1.5, 0.5]])  # counts 2, 1, 0, 0 in four unit cells
    found = points.count_test(place, 0.75, (2.0, 2.0), 1.0, seed=1, sets=9)
    p = [math.exp(-0.75) * 0.75**k / math.factorial(k) for k in range(3)]
    by_hand = 0.5 * math.log(0.5 / p[0]) + 0.25 * math.log(0.25 / p[1]) + 0.25 * math.log(0.25 / p[2])
    assert abs(found.statistic - by_hand) <= 16 * EPS
    assert np.array_equal(found.observed[:4], [0.5, 0.25, 0.25, 0.0])
    assert np.abs(found.expected[:3] - p).max() <= 4 * EPS and found.x[2] == 2 and found.name == "KL"


def test_neighbours_are_the_nearest_on_the_torus():
    place = points.poisson(RATE, SMALL, 3)
    off = np.abs(place[:, None] - place)
    every = np.hypot(*np.moveaxis(np.minimum(off, SMALL - off), -1, 0)) + np.diag(np.full(len(place), np.inf))
    nearest = np.sort(every.min(axis=1))
    found = points.neighbour_test(place, RATE, SMALL, seed=1, sets=1)
    assert np.abs(found.x - nearest).max() <= 16 * EPS * SMALL[0]
    law = lambda r: 1 - np.exp(-RATE * np.pi * r**2)
    assert abs(found.statistic - kstest(nearest, law).statistic) <= 64 * EPS
    assert np.abs(found.expected - law(nearest)).max() <= 4 * EPS
    assert np.abs(found.observed - found.expected).max() <= found.statistic + 0.5 / len(place)


def test_neighbours_of_poisson_points_have_their_law():
    """P(R < r) over 200 windows, errors from the spread between windows; on the torus no edge is seen."""
    r = np.array([0.05, 0.1, 0.2, 0.3, 0.5])
    part, count = [], []
    for seed in range(200):
        found = points.neighbour_test(points.poisson(RATE, SMALL, seed), RATE, SMALL, seed, sets=1)
        part.append(np.searchsorted(found.x, r))
        count.append(len(found.x))
    law, part, count = 1 - np.exp(-RATE * np.pi * r**2), np.array(part), np.array(count)[:, None]
    off = part - law * count  # of mean 0: each point of a Poisson process sees the others as one (Slivnyak)
    assert_near(off.mean(axis=0), 0.0, off.std(axis=0) / 200**0.5)


# --- the verdicts

def test_which_one_is_poisson():
    """Rate 7 in a square of 20: unit cells and neighbours tell the regular set; cells of .01 are too small to tell."""
    verdicts = {}
    for name, draw in DRAWN.items():
        place = draw(RATE, BOX, seed=1)
        results = [points.count_test(place, RATE, BOX, cell, seed=1, sets=39) for cell in (1.0, 0.01)]
        results.append(points.neighbour_test(place, RATE, BOX, seed=1, sets=39))
        assert abs(results[0].expected @ results[0].x - 7) < 0.05 and len(results[1].x) >= 3
        assert abs(results[1].expected @ results[1].x / 7e-4 - 1) < 1e-6
        verdicts[name] = [r.accepted() for r in results]
    assert verdicts == {"poisson": [True, True, True], "lattice": [False, True, False],
                        "regular": [False, True, False], "clustered": [False, True, False]}


def each_test(place, seed, sets):
    yield points.count_test(place, RATE, SMALL, 1.0, seed, sets)
    yield points.count_test(place, RATE, SMALL, 0.1, seed, sets)
    yield points.neighbour_test(place, RATE, SMALL, seed, sets)


def test_false_alarms_are_as_many_as_stated():
    """p is uniform on 1/5, ..., 1 for Poisson points, but for ties, which are rare: chi-square over 200 seeds."""
    p = np.array([[t.p_value for t in each_test(points.poisson(RATE, SMALL, seed), seed, 4)] for seed in range(200)])
    for column in p.T:
        seen = np.bincount(np.rint(5 * column).astype(int), minlength=6)[1:]
        assert seen.sum() == 200
        assert ((seen - 40) ** 2 / 40).sum() <= chdtri(4, ALARM)


@pytest.mark.parametrize("name", ["lattice", "regular", "clustered"])
def test_what_is_not_poisson_is_found_out(name):
    """Each of ten sets at 1 in 20: by their neighbours 168 points, by unit cells 1008; 24 cells would be too few."""
    draw, large = DRAWN[name], (12.0, 12.0)
    for seed in range(10):
        assert not points.neighbour_test(draw(RATE, SMALL, seed), RATE, SMALL, seed, sets=19).accepted()
        assert not points.count_test(draw(RATE, large, seed), RATE, large, 1.0, seed, sets=19).accepted()


def test_another_rate_is_found_out():
    place = points.poisson(9.0, BOX, 2)
    assert not points.neighbour_test(place, RATE, BOX, 2, sets=19).accepted()
    assert not points.count_test(place, RATE, BOX, 1.0, 2, sets=19).accepted()


def test_critical_values_are_where_the_verdict_turns():
    null = np.arange(1.0, 20.0)  # 19 sets
    at = lambda statistic: points.PoissonTest("D", statistic, null, null, null, null)
    assert at(18.0).p_value == 3 / 20 and at(18.5).p_value == 2 / 20 and at(19.5).p_value == 1 / 20
    for level, critical in ((0.05, 19.0), (0.1, 18.0), (0.5, 10.0)):
        assert at(0.0).critical(level) == critical
        assert at(critical).accepted(level) and not at(critical + 0.1).accepted(level)
    assert str(at(18.0)) == "D = 18, p = 0.15 among 19 sets"
    for level in (0.01, 0.0, 1.0):
        with pytest.raises(ValueError, match=r"with 19 sets a level is at least 0\.05"):
            at(1.0).accepted(level)


def test_the_sets_of_a_test_are_not_the_points():
    place = points.poisson(RATE, SMALL, 5)
    for test in each_test(place, 5, 19):
        assert len(test.null) == 19 and (np.diff(test.null) >= 0).all()
    found = points.neighbour_test(place, RATE, SMALL, 5, 19)
    assert found.statistic not in found.null and len(set(found.null)) == 19
    assert np.array_equal(points.neighbour_test(place[:9], RATE, SMALL, 5, 19).null, found.null)


@pytest.mark.parametrize("call, error, words", [
    (lambda: points.poisson(-1.0, SMALL, 1), ValueError, "rate must be at least 0 and finite, got -1"),
    (lambda: points.poisson("7", SMALL, 1), TypeError, "rate must be a number, got '7'"),
    (lambda: points.poisson(7.0, (0.0, 1.0), 1), ValueError, "a width and a height > 0"),
    (lambda: points.poisson(7.0, 20.0, 1), TypeError, r"box must be \(width, height\), got 20"),
    (lambda: points.regular(0.1, (1.0, 1.0), 1), ValueError, "no room for a cell of area 1/rate = 10"),
    (lambda: points.regular(7.0, SMALL, 1, jitter=1.5), ValueError, "jitter must be from 0"),
    (lambda: points.clustered(7.0, SMALL, 1, 0.0, 0.1), ValueError, "must be > 0, got 0"),
    (lambda: points.clustered(7.0, SMALL, 1, 2.0, -0.1), ValueError, "spread must be at least 0"),
    (lambda: points.count_test(np.ones((3, 2)), 7.0, SMALL, 0.7, 1), ValueError, "do not divide the window of 6 x 4"),
    (lambda: points.count_test(np.ones((3, 2)), 7.0, SMALL, 0.0, 1), ValueError, "cells of side 0 do not divide"),
    (lambda: points.count_test(np.ones((3, 2)), 0.0, SMALL, 1.0, 1), ValueError, "rate must be > 0 to be tested"),
    (lambda: points.count_test(np.ones((3, 3)), 7.0, SMALL, 1.0, 1), TypeError, r"array \(n, 2\)"),
    (lambda: points.count_test(np.ones((3, 2)), 7.0, SMALL, 1.0, 1, sets=0), ValueError, "sets must be at least 1"),
    (lambda: points.neighbour_test([[1.0, 2.0], [6.0, 1.0], [1.0, -1.0]], 7.0, SMALL, 1), ValueError,
     r"window \[0, 6\) x \[0, 4\), but 2 of 3 do not, the first at \[6\. 1\.\]"),
    (lambda: points.neighbour_test(np.ones((1, 2)), 7.0, SMALL, 1), ValueError, "at least 2 points, got 1"),
])
def test_what_does_not_fit_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()


@pytest.mark.parametrize("rate", [0.0025, 0.004, 0.02, 70.0])
def test_a_rate_far_off_is_found_out(rate):
    """Also where many Poisson sets of that rate have no neighbours: 1, 1.6, 8 points in this window, not 2800."""
    place = points.poisson(RATE, BOX, 2)
    found = points.neighbour_test(place, rate, BOX, 2, sets=19)
    assert not found.accepted() and found.p_value == 0.05
    with pytest.raises(ValueError, match=r"rate=0.001 has 0.4 points in this window, .* these points have the rate 6"):
        points.neighbour_test(place, 0.001, BOX, 2)


def test_few_points_raise_as_many_false_alarms_as_stated():
    """2.4 points a window: sets that have neighbours are compared with sets that have; p is as good as uniform."""
    box, p = (1.0, 0.8), []
    for seed in range(400):
        place = points.poisson(3.0, box, seed)
        if len(place) > 1:
            p.append(points.neighbour_test(place, 3.0, box, seed, 4).p_value)
    seen = np.bincount(np.rint(5 * np.array(p)).astype(int), minlength=6)[1:]
    assert ((seen - len(p) / 5) ** 2 / (len(p) / 5)).sum() <= chdtri(4, ALARM)
