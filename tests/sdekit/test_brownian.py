"""Brownian paths: the halving's algebra, the laws, one path for every question, and the golden values of the format.

`reference` is the format written a second time, cell by cell in Python's own numbers.
"""

import subprocess
import sys
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdekit import brownian, noise
from sdekit.brownian import Brownian, halve, join, locate, within
from tests import strategies
from tests.conftest import EPS, assert_gaussian, assert_near, rounding
from tests.sdekit.test_noise import normal, philox, uniform

MANY = 20_000
THIRDS = np.linspace(0.0, 1.0, 4)  # no cells' ends
UNEVEN = np.array([0.0, 0.05, 0.3, 1 / 3, 0.375, 0.5, 0.501, 0.9, 1.0])


def both(W, grid):
    """(dW, H) over each step: (paths, steps), of the first noise."""
    return (x[..., 0] for x in W.increments_and_areas(grid))


# The algebra

COVARIANCE = np.diag([1.0, 1 / 12, 1 / 16, 1 / 12])  # of W, H, Z, N for a cell of length 1


def test_halves_are_independent_with_the_laws_of_cells():
    """Cov(W', H', W'', H'') = diag(1/2, 1/24, 1/2, 1/24)."""
    M = np.array(halve(*np.eye(4)))
    assert np.abs(M @ COVARIANCE @ M.T - np.diag([1 / 2, 1 / 24, 1 / 2, 1 / 24])).max() <= 2 * EPS


def test_halves_join_to_the_cell():
    M = np.array(halve(*np.eye(4)))
    length, W, A = join((0.5, M[0], 0.5 * M[1]), (0.5, M[2], 0.5 * M[3]))
    assert length == 1.0 and (W == [1, 0, 0, 0]).all() and (A == [0, 1, 0, 0]).all()


@given(st.lists(st.tuples(strategies.numbers(0.1, 2.0), strategies.numbers(-2.0, 2.0)), min_size=2, max_size=6),
       st.integers(1, 5))
def test_joining_adds_the_areas_of_a_polygon(pieces, cut):
    """A = int (W_u - u W / len) du by trapezoids, the pieces being straight; and joining is associative."""
    times, path = np.cumsum([(0.0, 0.0), *pieces], axis=0).T
    area = np.trapezoid(path - path[-1] * times / times[-1], times)
    triples = [(h, dw, 0.0) for h, dw in pieces]

    def fold(triples):
        total = triples[0]
        for triple in triples[1:]:
            total = join(total, triple)
        return total

    cut = min(cut, len(pieces) - 1)
    for length, W, A in (fold(triples), join(fold(triples[:cut]), fold(triples[cut:]))):
        assert length == pytest.approx(times[-1]) and W == pytest.approx(path[-1], abs=1e-12)
        assert A == pytest.approx(area, abs=1e-12)


# The format, a second time

def reference(seed, stream, path, component, n, h, place):
    """[(length, W, H)] of the cells that make the part of step n before `place`, a Fraction in (0, 1)."""
    key = philox((stream, 0, 0, 1), (seed % 2**32, seed // 2**32))[:2]
    W = h**0.5 * normal(seed, stream, path, n, component)
    H = (h / 12) ** 0.5 * normal(seed, stream, path, n, component, slot=1)
    length, cell, parts = Fraction(1), 1, []
    while place:
        counter = (path % 2**32, component + 2**24 * (path // 2**32), n, 16 + cell)
        if cell >= 2**28:
            key, cell = philox(counter, key)[:2], 1
            continue
        words = philox(counter, key)
        r, angle = np.sqrt(-2 * np.log(uniform(*words[:2]))), 2 * np.pi * uniform(*words[2:])
        size = float(length) * h
        Z, N = r * np.cos(angle) * (size / 16) ** 0.5, r * np.sin(angle) * (size / 12) ** 0.5
        length, cell = length / 2, 2 * cell
        if place >= length:
            parts.append((float(length), W / 2 + 3 * H / 2 + Z, H / 4 - Z / 2 + N / 2))
            W, H, place, cell = W / 2 - 3 * H / 2 - Z, H / 4 - Z / 2 - N / 2, place - length, cell + 1
        else:
            W, H = W / 2 + 3 * H / 2 + Z, H / 4 - Z / 2 + N / 2
    return parts


@given(strategies.seeds, strategies.streams, strategies.paths, strategies.components, strategies.steps,
       st.integers(1, 2**50 - 1))
def test_within_is_the_join_of_the_cells(seed, stream, path, component, n, place):
    W, H = within(noise.key(seed, stream), path, component, n, 0.3, place / 2**50)
    total = 0.0, 0.0, 0.0
    for length, dw, area in reference(seed, stream, path, component, n, 0.3, Fraction(place, 2**50)):
        total = join(total, (length, dw, length * area))
    assert abs(W - total[1]) <= rounding(50, 1.0) and abs(H - total[2] / total[0]) <= rounding(50, 1.0)


NORMALS = {  # (seed, stream, path, step, component, slot)
    (0, 0, 0, 0, 0, 0): "-0x1.bc308deb02324p-1",
    (0, 0, 0, 0, 0, 1): "-0x1.5731e3face46dp-2",
    (7, 0, 4711, 251, 2, 0): "0x1.7f112adf67c3fp-2",
    (7, 1, 2**32 + 5, 250, 0, 1): "0x1.c5cee1ae769d9p-2",
    (2**64 - 1, 2**32 - 1, 2**40 - 1, 2**32 - 1, 2**24 - 1, 2): "0x1.fa89bfdbe726ep+0",
}
CELLS = {  # Brownian(2024, (0, 1), 4, first=3, noises=2): (level, cell): (W, H) of the second noise
    (0, 0): ("0x1.eeff2936ca0e1p-2", "-0x1.476753bcc19aap-6"),
    (0, 3): ("-0x1.2c911b4dc987fp-2", "-0x1.5a038383bcf9bp-6"),
    (1, 0): ("0x1.3c972e5fc8d42p-2", "-0x1.2e6576c440b92p-4"),
    (1, 1): ("0x1.64cff5ae0273ep-3", "-0x1.135934575e915p-5"),
    (2, 5): ("0x1.be590361e8f7dp-5", "0x1.6f753e142779ap-7"),
    (3, 0): ("-0x1.1c369c24b615cp-5", "0x1.213b5abbeca4fp-5"),
    (3, 31): ("0x1.ed9f07fd31368p-8", "0x1.b38dd95027eb7p-6"),
}
DEEP = {  # (seed, path, component, step, fraction): (W, H) within a step of length 1
    (7, 0, 0, 0, 0.5): ("-0x1.176771efc8c2ep+0", "-0x1.fd58ec6734317p-6"),
    (7, 1, 2, 3, 1 / 3): ("0x1.21b3f34d69da3p-4", "0x1.2e0cdf83879c9p-3"),
    (7, 2**32 + 1, 0, 2**32 - 1, 2**-30): ("-0x1.7e617ce2cb6d8p-19", "-0x1.eee9df9b8b015p-19"),
    (2**63, 2**40 - 1, 2**24 - 1, 1, 1 - 2**-49): ("-0x1.30b80a32046aep-1", "0x1.208b39e6f5c3dp-1"),
}


def test_version_1_of_the_format_has_its_golden_values():
    """Whoever changes these numbers changes every result ever published with a seed: raise noise.VERSION instead."""
    assert noise.VERSION == 1
    for (seed, stream, path, step, component, slot), value in NORMALS.items():
        z = noise.normals(seed, stream, range(path, path + 1), range(step, step + 1), range(component, component + 1),
                          slot=slot).item()
        assert abs(z - float.fromhex(value)) <= 4 * EPS * abs(z)
    for (level, cell), values in CELLS.items():
        ours = [x[0, cell, 1] for x in Brownian(2024, 1.0, 4, noises=2, first=3).increments_and_areas(4 << level)]
        assert np.abs(np.subtract(ours, [float.fromhex(v) for v in values])).max() <= rounding(1, 1.0)
    for (seed, path, component, n, fraction), values in DEEP.items():
        ours = within(noise.key(seed), path, component, n, 1.0, fraction)
        assert np.abs(np.subtract(ours, [float.fromhex(v) for v in values])).max() <= rounding(1, 1.0)


# The base grid is the noise of a plain run

@given(strategies.seeds, strategies.streams, strategies.paths.filter(lambda p: p < 2**40 - 3), st.integers(1, 9),
       st.integers(1, 3), strategies.numbers(-3.0, 3.0), strategies.numbers(0.1, 9.0))
def test_level_0_is_the_noise_bit_for_bit(seed, stream, first, steps, noises, start, length):
    W = Brownian(seed, (start, start + length), steps, 3, noises, stream=stream, first=first)
    h = np.diff(np.linspace(start, start + length, steps + 1))
    z, y = (noise.normals(seed, stream, range(first, first + 3), steps, noises, slot=slot) for slot in (0, 1))
    dW, H = W.increments_and_areas(steps)
    assert (dW == np.sqrt(h)[:, None] * z).all() and (H == np.sqrt(h / 12)[:, None] * y).all()
    assert (W.increments(np.linspace(start, start + length, steps + 1)) == dW).all()
    sums = np.cumsum(dW, axis=1)
    assert (W(W.grid[1:]) == (sums[..., 0] if noises == 1 else sums)).all()


def test_long_grids_are_drawn_in_pieces_of_any_parity():
    W = Brownian(1, 1.0, 3 * brownian.BLOCK + 5)
    z = noise.normals(1, 0, 1, W.steps)
    assert (W.increments(W.steps) == np.sqrt(np.diff(W.grid))[:, None] * z).all()
    for a in (0, 1, 2, 3):
        assert (W.increments(W.grid[a:]) == W.increments(W.steps)[:, a:]).all()
    assert (W(W.grid[[7, -1]]) == np.cumsum(W.increments(W.steps)[..., 0], axis=1)[:, [6, -1]]).all()


def test_long_sums_do_not_depend_on_blocks_paths_or_noises(monkeypatch):
    """Sums over 400 whole steps and a part of another, of W and of areas: the same bits."""
    W, grid = Brownian(2, 1.0, 1200, 5, 2), [0.0, 0.3334, 1.0]
    whole = W.increments_and_areas(3), W.increments_and_areas(grid)
    for how in (W.part(2, 1), Brownian(2, 1.0, 1200, 1, first=2)):
        for question, values in zip((3, grid), whole):
            for x, y in zip(how.increments_and_areas(question), values):
                assert (x == y[2:3, :, :how.noises]).all()
    monkeypatch.setattr(brownian, "BLOCK", 1000)
    for question, values in zip((3, grid), whole):
        assert all((x == y).all() for x, y in zip(W.increments_and_areas(question), values))


# One path, whatever is asked

@pytest.mark.parametrize("steps, fine, coarse", [(1, 64, 1), (3, 48, 3), (12, 12, 4), (12, 96, 2), (5, 20, 1)])
def test_coarsening_gives_the_coarser_grid(steps, fine, coarse):
    """Sums of W, joins of H; a relative 1e-15 for each level or term."""
    W = Brownian(3, 2.0, steps, paths=500)
    (dw, h), (dW, H) = both(W, fine), both(W, coarse)
    parts = [(1.0, dw[:, i::fine // coarse], h[:, i::fine // coarse]) for i in range(fine // coarse)]
    total = parts[0]
    for part in parts[1:]:
        total = join(total, part)
    assert np.abs(total[1] - dW).max() <= rounding(8, 1.0)
    assert np.abs(total[2] / total[0] - H).max() <= rounding(8, 1.0)


points = st.lists(st.integers(0, 2**12) | st.integers(0, 2**44), min_size=1, max_size=4).map(
    lambda ks: np.array([k / 2**12 if k <= 2**12 else k / 2**44 for k in ks]))


@given(strategies.seeds, points, st.integers(1, 5), st.integers(1, 2), st.data())
def test_the_answer_does_not_depend_on_what_else_is_asked(seed, times, steps, noises, data):
    """Any order, any batch, any part of the paths, any size of the blocks: the same bits."""
    W = Brownian(seed, 1.0, steps, 5, noises)
    whole = W(times)
    order = data.draw(st.permutations(range(len(times))))
    assert (W(times[order]) == whole[:, order]).all()
    one = data.draw(st.integers(0, len(times) - 1))
    assert (W(times[one]) == whole[:, one]).all() and (W(times[one:]) == whole[:, one:]).all()
    first = data.draw(st.integers(0, 4))
    rows = slice(first, first + data.draw(st.integers(1, 5 - first)))
    assert (W.part(first, rows.stop - first)(times) == whole[rows]).all()

    grid = np.unique(np.append(times, [0.0, 1.0]))
    dW, H = W.increments_and_areas(grid)
    a = data.draw(st.integers(0, len(grid) - 2))
    b = data.draw(st.integers(a + 1, len(grid) - 1))
    for part, mine in zip(W.part(first, rows.stop - first).increments_and_areas(grid[a:b + 1]), (dW, H)):
        assert (part == mine[rows, a:b]).all()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(brownian, "BLOCK", data.draw(st.sampled_from([16, 64])))
        assert (W(times) == whole).all()
        assert all((x == y).all() for x, y in zip(W.increments_and_areas(grid), (dW, H)))
    assert (W.increments(grid) == dW).all() and (W.areas(grid) == H).all()


@given(strategies.seeds, points, st.integers(1, 5))
def test_increments_sum_to_the_path_on_any_grid(seed, times, steps):
    """W(t) and the sum of increments, H and the join of areas: to rounding, 50 cells for each time."""
    W = Brownian(seed, 1.0, steps, 4)
    grid = np.unique(np.append(times, [0.0, 1.0]))
    dW, H = both(W, grid)
    assert np.abs(np.cumsum(dW, axis=1) - W(grid[1:])).max() <= rounding(50 * len(grid), W(grid), 1.0)
    total = 0.0, 0.0, 0.0
    for h, dw, area in zip(np.diff(grid), dW.T, H.T):
        total = join(total, (h, dw, h * area))
    assert np.abs(total[2] - W.areas(1)[:, 0, 0]).max() <= rounding(50 * len(grid), 1.0)
    assert (W(0.0) == 0.0).all()


@pytest.mark.parametrize("level", range(5))
def test_a_cell_is_the_same_on_every_grid(level):
    """Bit for bit: alone, on its own level's grid, and beside times that are no cells' ends."""
    W = Brownian(4, 1.0, 3, paths=6)
    size = 3 << level
    grid = np.linspace(0.0, 1.0, size + 1)
    dW, H = W.increments_and_areas(size)
    for k in range(size):
        for part in (grid[k:k + 2], np.concatenate([[grid[k] / 1.7] * (k > 0), grid[k:k + 2]])):
            ours = W.increments_and_areas(part)
            assert (ours[0][:, -1] == dW[:, k]).all() and (ours[1][:, -1] == H[:, k]).all()


@given(strategies.numbers(-1e3, 1e3), strategies.numbers(1e-3, 1e3), st.integers(1, 50), st.integers(0, 8))
def test_times_of_a_refined_linspace_are_cells_ends(start, length, steps, level):
    grid, fine = (np.linspace(start, start + length, n + 1) for n in (steps, steps << level))
    n, fraction = locate(grid, fine)
    assert (n * 2**level + fraction * 2**level == np.arange(len(fine))).all()


@given(strategies.grids(), st.integers(0, 2**53), strategies.numbers(1e-3, 1e3))
def test_a_time_is_found_in_its_step(grid, k, scale):
    """To 16 units in the last place, on uneven grids too; fractions have at most 49 bits."""
    grid = grid * scale
    t = grid[0] + (grid[-1] - grid[0]) * (k / 2**53)
    n, fraction = locate(grid, np.array([t]))
    h = np.append(np.diff(grid), 0.0)[n]
    unit = np.spacing(abs(grid[0]) + abs(grid[-1]))
    assert np.abs(grid[n] + fraction * h - t).item() <= 18 * unit
    assert 0.0 <= fraction < 1.0 and (fraction * 2**49) % 1 == 0.0


def test_time_scales_by_powers_of_four_bit_for_bit():
    """W(4 t) / 2 is the same path; so is a later start, at times that both can tell apart."""
    W, times = Brownian(8, 1.0, 3, 10), UNEVEN
    assert (Brownian(8, 4.0, 3, 10)(4.0 * times) == 2.0 * W(times)).all()
    assert (Brownian(8, 4.0, 3, 10).areas(4.0 * times) == 2.0 * W.areas(times)).all()
    halves = np.arange(17) / 16
    assert (Brownian(8, (64.0, 65.0), 2, 10)(64.0 + halves) == Brownian(8, 1.0, 2, 10)(halves)).all()


@pytest.mark.parametrize("other", [{"seed": 10}, {"stream": 1}, {"first": 2}, {"seed": 9 + 2**32}, {"first": 2**32}])
@pytest.mark.parametrize("time", [0.3, 0.5, 1.0])
def test_seed_stream_and_first_all_matter(other, time):
    one, two = (Brownian(**{"seed": 9, "paths": 2, "steps": 2, **how})(time) for how in ({}, other))
    assert len(np.unique([one, two])) == 4


def test_paths_beyond_2_to_the_32_and_noises_are_those_of_the_noise():
    W = Brownian(1, 1.0, 2, 3, 2, first=2**32 - 1)
    for path, p in enumerate(range(2**32 - 1, 2**32 + 2)):
        for component in range(2):
            alone = within(W.key, p, component, 1, 0.5, 0.625)[0]
            assert W.increments([0.5, 0.8125])[path, 0, component] == alone
    assert len(np.unique(W(0.7))) == 6 and W(0.7).shape == (3, 2) and W(THIRDS).shape == (3, 4, 2)


# Compiled

def both_ways(ask):
    """What ask() gives by NumPy, and compiled."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(brownian, "COMPILE_FROM", 2**62)
        plain = ask()
        patch.setattr(brownian, "COMPILE_FROM", 0)
        return plain, ask()


def same_bits(ask):
    plain, quick = both_ways(ask)
    return all(x.shape == y.shape and (x == y).all() for x, y in zip(plain, quick))


@settings(max_examples=15)
@given(strategies.seeds, strategies.streams, points, st.integers(1, 5), st.integers(1, 40), st.integers(1, 3),
       st.integers(0, 2**40 - 40), st.data())
def test_compiled_values_are_numpys_bit_for_bit(seed, stream, times, steps, paths, noises, first, data):
    """At any times, of any paths and any part of them; on grids of cells too, and sums over whole steps."""
    W = Brownian(seed, 1.0, steps, paths, noises, stream=stream, first=first)
    grid = np.unique(np.append(times, [0.0, 1.0]))
    regular = data.draw(st.sampled_from([1, steps, 2 * steps, 16 * steps]))
    plain, quick = both_ways(lambda: [W(times), *W.increments_and_areas(grid), *W.increments_and_areas(regular)])
    assert all((x == y).all() for x, y in zip(plain, quick))
    begin = data.draw(st.integers(0, paths - 1))
    some = W.part(begin, data.draw(st.integers(1, paths - begin)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(brownian, "COMPILE_FROM", 0)
        parts = [some(times), *some.increments_and_areas(grid)]
    assert all((x == y[begin:begin + some.paths]).all() for x, y in zip(parts, plain))


@given(strategies.seeds, strategies.streams, strategies.steps, st.lists(strategies.paths, min_size=1, max_size=5),
       st.lists(strategies.components, min_size=1, max_size=3), st.lists(strategies.numbers(0.0, 1.0), min_size=1,
                                                                         max_size=40), strategies.numbers(1e-6, 1e3))
def test_compiled_parts_of_steps_are_numpys_bit_for_bit(seed, stream, n, paths, components, fractions, h):
    path, fraction = np.array(paths)[:, None, None], np.array([0.0, 1.0, 0.5, *fractions])[:, None]
    assert same_bits(lambda: within(noise.key(seed, stream), path, np.array(components), n, h, fraction))
    assert same_bits(lambda: within(noise.key(seed, stream), paths[0], components[0], n, h, fractions[0]))


@pytest.mark.parametrize("ask", [
    lambda: [Brownian(3, 100.0, 1, 20, 2).increments(1 / np.linspace(1.0, 0.1, 200) ** 2)],
    lambda: Brownian(4, (-1.0, 2.0), 7, 30, 3).increments_and_areas(np.sort(np.append(UNEVEN, UNEVEN[1:-1] + 2**-40))),
    lambda: [Brownian(5, 1.0, 3000, 5)(UNEVEN), *Brownian(5, 1.0, 3000, 5, 2).increments_and_areas(THIRDS)],
    lambda: [Brownian(6, 1.0, 8, 20, 3).levy_areas(g) for g in (8, THIRDS)],
    lambda: [Brownian(7, 1.0, 2, 5)([])],
], ids=["squares", "close", "long", "areas", "none"])
def test_compiled_answers_are_numpys_bit_for_bit(ask):
    assert same_bits(ask)


def test_what_is_compiled_is_loaded_for_large_work_alone():
    code = ("import sys, sdekit as sk; W = sk.Brownian(1, paths=100); W(0.3); print('numba' in sys.modules); "
            "from sdekit import brownian; brownian.COMPILE_FROM = 100; W(0.3); print('numba' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


# The laws

@pytest.mark.parametrize("steps, grid", [(1, UNEVEN), (5, UNEVEN), (2, np.linspace(0, 1, 9)), (12, THIRDS),
                                         (7, THIRDS)])
def test_increments_and_areas_have_their_laws_and_are_independent(steps, grid):
    """dW ~ N(0, h), H ~ N(0, h/12), all of them independent."""
    dW, H = both(Brownian(11, 1.0, steps, MANY), grid)
    h = np.diff(grid)
    assert_gaussian(dW, 0.0, h)
    assert_gaussian(H, 0.0, h / 12)
    z = np.concatenate([dW / h**0.5, H / (h / 12) ** 0.5], axis=1)
    i, j = np.triu_indices(z.shape[1], 1)
    for x, y, variance in ((z, z, 1.0), (z**2 - 1, z**2 - 1, 4.0)):
        assert_near((x.T @ y / MANY)[i, j], 0.0, (variance / MANY) ** 0.5)


def test_the_covariance_is_the_earlier_time():
    """E W(s) W(t) = min(s, t), with variance s t + min(s, t)^2 of the product."""
    times = np.array([0.9, 0.1, 0.5, 1 / 3, 0.7, 1.0])
    W = Brownian(12, 1.0, 3, MANY)(times)
    least = np.minimum.outer(times, times)
    assert_near(W.T @ W / MANY, least, ((np.multiply.outer(times, times) + least**2) / MANY) ** 0.5)
    assert_gaussian(W, 0.0, times)


@pytest.mark.parametrize("s", [0.5, 0.25, 1 / 3, 0.9])
def test_between_grid_points_it_is_a_bridge(s):
    """Given the ends, W(s) ~ N(s W(1), s (1 - s)), apart from W(1) and from its square."""
    W = Brownian(13, 1.0, 1, MANY)
    end = W(1.0)
    z = (W(s) - s * end) / (s * (1 - s)) ** 0.5
    assert_gaussian(z, 0.0, 1.0)
    assert_near((z * end).mean(), 0.0, MANY**-0.5)
    assert_near((z**2 - 1) @ (end**2 - 1) / MANY, 0.0, 2 * MANY**-0.5)


@pytest.mark.parametrize("steps", [1, 3])
def test_quadratic_variation_tends_to_the_time(steps):
    """Over m cells it has mean T and variance 2 T^2 / m: at every level, all the way to one path's T."""
    W = Brownian(14, 2.0, steps, 500)
    for level in range(0, 13, 3):
        m = steps << level
        variation = (W.part(0, 500 if level < 8 else 20).increments(m) ** 2).sum(axis=1)[:, 0]
        variance = 2 * 2.0**2 / m
        assert_near(variation.mean(), 2.0, (variance / len(variation)) ** 0.5)


@pytest.mark.parametrize("m, grid", [(2**10, [0.0, 0.5, 1.0]), (2**6, THIRDS), (2**6, [0.0, 0.1, 1.0])])
def test_the_area_is_the_integral_of_the_path(m, grid):
    """H - 1/h int (W_u - u W / h) du by trapezoids on m cells is N(0, (h/12) / m^2): what the trapezoids miss."""
    W = Brownian(15, 1.0, 2, 200)
    for (s, t), H in zip(pairwise(grid), W.areas(grid)[..., 0].T):
        fine = np.linspace(s, t, m + 1)
        dw = W.increments(fine)[..., 0]
        path = np.cumsum(dw, axis=1)
        integral = (path.sum(axis=1) - 0.5 * path[:, -1]) / m - 0.5 * path[:, -1]
        assert_gaussian(H - integral, 0.0, (t - s) / 12 / m**2)


@pytest.mark.parametrize("level", [20, 27, 28, 29, 33, 40])
def test_the_finest_cells_have_the_law_of_cells(level):
    """Across the change of key below level 28, at a step's start and in its middle."""
    h = 2.0**-level
    for s in (0.0, 0.6875):
        grid = s + h * np.arange(5)
        dW, H = both(Brownian(16, 1.0, 1, 2000), grid)
        assert_gaussian(dW, 0.0, h)
        assert_gaussian(H, 0.0, h / 12)
        z = np.concatenate([dW / h**0.5, H / (h / 12) ** 0.5], axis=1)
        i, j = np.triu_indices(8, 1)
        assert_near((z.T @ z / 2000)[i, j], 0.0, 2000**-0.5)


def test_a_step_of_any_grid_can_be_cut():
    """`within` on uneven steps: the law of its part; nothing of it, all of it; H over the part as Brownian has it."""
    grid, key = np.array([0.0, 0.7, 1.0, 3.0]), noise.key(17)
    path = np.arange(MANY)[:, None]
    n, fraction = locate(grid, np.array([0.3, 0.7 + 1e-3, 2.9]))
    h = np.diff(grid)[n]
    W, H = within(key, path, 0, n, h, fraction)
    assert_gaussian(W, 0.0, fraction * h)
    assert_gaussian(H, 0.0, fraction * h / 12)
    rest = np.sqrt(h) * noise.normals(17, 0, MANY, 3)[..., 0] - W
    assert_gaussian(rest, 0.0, (1 - fraction) * h)
    assert_near((W * rest).mean(axis=0), 0.0, h * (fraction * (1 - fraction) / MANY) ** 0.5)

    B = Brownian(17, 1.0, 4, 8)
    W, H = within(B.key, np.arange(8), 0, 2, 0.25, np.array([[0.0], [0.375], [1.0]]))
    assert (W[0] == 0.0).all() and (H[0] == 0.0).all()
    assert (W[2] == B.increments(4)[:, 2, 0]).all() and (H[2] == B.areas(4)[:, 2, 0]).all()
    dW, A = both(B, [0.5, 0.59375])
    assert (W[1] == dW[:, 0]).all() and (H[1] == A[:, 0]).all()
    assert all(np.shape(x) == () for x in within(B.key, 0, 0, 0, 1.0, 0.3))
    with pytest.raises(ValueError, match=r"fraction must lie between 0 and 1, got 1\.5"):
        within(B.key, 0, 0, 0, 1.0, 1.5)


# The record, and saying no

def test_the_record_says_what_it_is():
    W = Brownian(5, 2, 4, 3)
    assert repr(W) == "Brownian(seed=5, t=(0.0, 2.0), steps=4, paths=3, noises=1, stream=0, first=0)"
    assert eval(repr(W)) == W and hash(W) == hash(Brownian(5, (0, 2.0), np.int64(4), 3))
    assert W.part(1, 2) == Brownian(5, 2.0, 4, 2, first=1) and W.part(1, 2).part(1, 1).first == 2
    assert Brownian(None).seed != Brownian(None).seed
    with pytest.raises(AttributeError):
        W.steps = 5
    with pytest.raises(ValueError, match="read-only"):
        W.grid[0] = 1.0


def test_shapes():
    W = Brownian(5, 1.0, 2, 3, 2)
    assert W(0.3).shape == (3, 2) and W([]).shape == (3, 0, 2) and W([0.2, 0.1, 0.1]).shape == (3, 3, 2)
    assert W.increments(5).shape == (3, 5, 2) and W.areas(THIRDS).shape == (3, 3, 2)
    W = Brownian(5, 1.0, 2, 3)
    assert W(1).shape == (3,) and W([]).shape == (3, 0) and W.increments([0.5, 0.6]).shape == (3, 1, 1)


@pytest.mark.parametrize("given, error, message", [
    ({"seed": 1.5}, TypeError, "seed must be a whole number, got 1.5"),
    ({"seed": -1}, ValueError, "seed must be at least 0"),
    ({"t": -1.0}, ValueError, "time must run forwards: t goes from 0.0 to -1.0"),
    ({"t": (1.0, 1.0)}, ValueError, "time must run forwards"),
    ({"t": np.inf}, ValueError, "times must be finite"),
    ({"t": "later"}, TypeError, "t must be an end time"),
    ({"t": [0.0, 0.3, 1.0]}, ValueError, r"equal steps between two ends, got 3 times; give t=\(start, end\)"),
    ({"steps": 0}, ValueError, "steps must be at least 1"),
    ({"steps": None}, TypeError, "steps must be a whole number, got None"),
    ({"paths": 0}, ValueError, "paths must be at least 1"),
    ({"paths": 2**40 + 1}, ValueError, "paths must be at least 1 and below 1099511627777"),
    ({"paths": 2, "first": 2**40 - 1}, ValueError, "paths must be at least 1 and below 2, got 2"),
    ({"first": -1}, ValueError, "first must be at least 0"),
    ({"noises": 0}, ValueError, "noises must be at least 1"),
    ({"noises": 2**24 + 1}, ValueError, "noises must be at least 1 and below 16777217"),
    ({"stream": 2**32}, ValueError, "stream must be at least 0 and below 4294967296"),
])
def test_bad_records_are_refused(given, error, message):
    with pytest.raises(error, match=message):
        Brownian(**{"seed": 1, **given})


@pytest.mark.parametrize("ask, error, message", [
    (lambda W: W(2.1), ValueError, "times must lie between 1.0 and 2.0, got 2.1"),
    (lambda W: W([1.5, 0.0, 3.0]), ValueError, "times must lie between 1.0 and 2.0, got 0.0"),
    (lambda W: W(np.nan), ValueError, "times must lie between 1.0 and 2.0, got nan"),
    (lambda W: W("1.5"), TypeError, "t must be a time or an array of times, got '1.5'"),
    (lambda W: W(True), TypeError, "t must be a time"),
    (lambda W: W([[1.5]]), TypeError, "t must be a time or an array of times"),
    (lambda W: W.increments(0), ValueError, "grid, where it is no array of times, must be at least 1"),
    (lambda W: W.increments(1.5), TypeError, "grid, where it is no array of times, must be a whole number, got 1.5"),
    (lambda W: W.increments([1.5]), ValueError, "an array of times"),
    (lambda W: W.increments([1.5, 1.2]), ValueError, "time must run forwards"),
    (lambda W: W.areas([1.0, 1.5, 1.5, 2.0]), ValueError, r"must increase, but t\[1\] = 1.5 and t\[2\] = 1.5"),
    (lambda W: W.areas([1.0, 1.5, 2.5]), ValueError, "times must lie between 1.0 and 2.0, got 2.5"),
    (lambda W: W.increments([1.0, 1.5, 1.5 + 2**-51]), ValueError, r"t\[1\] = 1.5 and .* too close to be told apart"),
    (lambda W: W.part(3, 1), ValueError, "first must be at least 0 and below 3, got 3"),
    (lambda W: W.part(1, 3), ValueError, "count must be at least 1 and below 3, got 3"),
    (lambda W: W.part(0, 0), ValueError, "count must be at least 1"),
    (lambda W: Brownian(1, paths=2**39).increments(64), MemoryError, r"GiB .* W.part\(first, count\)"),
    (lambda W: Brownian(1, paths=2**39)(0.3), MemoryError, "GiB"),
])
def test_bad_questions_are_refused(ask, error, message):
    with pytest.raises(error, match=message):
        ask(Brownian(1, (1.0, 2.0), 4, 3))
