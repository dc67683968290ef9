"""The noise: Philox word for word, Box-Muller to the last places, the law, and independence along every axis.

`philox` and `normal` here are the format written a second time, in Python's own integers and math.log and math.cos:
what they and the package agree on is not a shared mistake of int64 arithmetic or polynomials.
"""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr

import sdekit as sk
from sdekit import noise
from sdekit.components import written
from tests import strategies
from tests.conftest import EPS, assert_gaussian, assert_law, assert_near

# Salmon et al. 2011, the known-answer file of Random123: counter, key, words.
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def philox(counter, key):
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p, q = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (q >> 32) ^ c1 ^ k0, q % 2**32, (p >> 32) ^ c3 ^ k1, p % 2**32
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return c0, c1, c2, c3


def uniform(high, low):
    """The odd multiple of 2^-53 that 52 bits of two words say."""
    return (2 * (high * 2**20 + low // 2**12) + 1) / 2**53


OFF = 2 * math.pi * EPS * 8.6  # how far `normal` may be off: cos(2 pi v) rounds its angle, and r is below 8.6


def normal(seed, stream, path, step, component, slot=0):
    key = philox((stream, 0, 0, 1), (seed % 2**32, seed // 2**32))[:2]
    w = philox((path % 2**32, component + 2**24 * (path // 2**32), step // 2, slot), key)
    r, angle = math.sqrt(-2 * math.log(uniform(*w[:2]))), 2 * math.pi * uniform(*w[2:])
    return r * (math.sin(angle) if step % 2 else math.cos(angle))


def columns(words):
    """Equal-length rows of words as int64 arrays."""
    return tuple(np.array(column, np.int64) for column in zip(*words))


@pytest.fixture(scope="module")
def words_of(backend):
    """Philox as each execution runs it: rows (c0, c1, c2, c3, k0, k1) to rows of four words."""
    if backend == "numpy":
        return lambda rows: [tuple(int(w) for w in ws) for ws in zip(*noise.philox(*columns(rows)))]
    if backend == "numba":
        from sdekit.numba_engine import compiled
        kernel = compiled(written("c0, c1, c2, c3, k0, k1", "return f(c0, c1, c2, c3, k0, k1)", f=noise.philox))
        return lambda rows: [tuple(int(w) for w in kernel(*row)) for row in rows]
    import torch
    return lambda rows: [tuple(w.tolist()) for w in torch.stack(noise.philox(*map(torch.tensor, columns(rows))), 1)]


@pytest.fixture(scope="module")
def pair_of(backend):
    """`noise.pair` as each execution runs it, on rows (k0, k1, path, component, half): (n, 2)."""
    if backend == "numpy":
        return lambda rows: np.stack(noise.pair(*columns(rows), np.int64(0)), axis=1)
    if backend == "numba":
        from sdekit.numba_engine import compiled
        kernel = compiled(written("k0, k1, path, component, half", "return f(k0, k1, path, component, half, 0)",
                                  f=noise.pair))
        return lambda rows: np.array([kernel(*row) for row in rows])
    import torch

    from sdekit.torch_engine import normals
    return lambda rows: np.array([[z.item() for z in normals(row[:2], *map(torch.tensor, row[2:4]), row[4])]
                                  for row in rows])


@pytest.mark.parametrize("counter, key, words", KNOWN)
def test_philox_gives_the_known_answers(words_of, counter, key, words):
    row = tuple(int(w, 16) for w in (counter + " " + key).split())
    assert " ".join(f"{w:08x}" for w in words_of([row])[0]) == words
    assert " ".join(f"{w:08x}" for w in philox(row[:4], row[4:])) == words


ROWS = [tuple(row) for row in np.random.default_rng(1).integers(0, 2**32, (2000, 6)).tolist()]


def test_every_execution_gives_the_same_words(words_of):
    assert words_of(ROWS) == [philox(row[:4], row[4:]) for row in ROWS]


def test_every_execution_gives_the_same_normals(pair_of):
    rows = [(k0, k1, path * 256 + high % 256, component % 2**24, half % 2**31)
            for k0, k1, path, high, component, half in ROWS[:200]]
    exact = np.stack(noise.pair(*columns(rows), np.int64(0)), axis=1)
    assert (np.abs(pair_of(rows) - exact) <= 4 * EPS * np.abs(exact)).all()


@pytest.mark.parametrize("slot", [0, 2**30 + 1, 2**31 - 1, 2**31, 2**31 + 2, 3 * 2**30])
def test_words_that_are_constants_of_the_compiled_code_change_nothing(slot):
    """With them LLVM works out what the products can be: they wrap, and must not be promised not to."""
    from sdekit.numba_engine import compiled
    kernel = compiled(written("k0, k1, path", f"return f(k0, k1, path, 0, 0, {slot})", f=noise.block))
    for path in (5, 2**31 + 5, 3 * 2**30, 2**32 - 1, 2**40 - 1):
        exact = philox((path & noise.MASK, path >> 32 << 24, 0, slot), (123456789, 3987654321))
        assert tuple(int(w) for w in kernel(123456789, 3987654321, path)) == exact


EDGES = (0, 1, 0xFFF, 0x1000, 0x3FFFFFFF, 0x40000000, 0x7FFFFFFF, 0x80000000, 0xBFFFFFFF, 0xC0000000,
         0xFFFFEFFF, 0xFFFFF000, 0xFFFFFFFE, 0xFFFFFFFF)
EXTREME = np.stack(np.meshgrid(EDGES, EDGES, EDGES, EDGES), axis=-1).reshape(-1, 4)
RANDOM = np.random.default_rng(2).integers(0, 2**32, (200_000, 4))


def exact_box_muller(w):
    """In the longest floats there are, the angle brought into [-pi/4, pi/4] by whole numbers."""
    long, pi = np.longdouble, np.longdouble("3.14159265358979323846264338327950288")
    u, v = (2 * ((w[:, i] << 20) | (w[:, i + 1] >> 12)) + 1 for i in (0, 2))  # of 2^-53
    r = np.sqrt(-2 * np.where(u < 2**52, np.log(u * long(2) ** -53), np.log1p((u - 2**53) * long(2) ** -53)))
    quarter = (v + 2**50) >> 51  # v = (quarter + f) / 4
    f = (v - (quarter << 51)).astype(long) / long(2) ** 51
    cos, sin = np.cos(pi / 2 * f), np.sin(pi / 2 * f)
    turns = quarter % 4
    return r * np.choose(turns, [cos, -sin, -cos, sin]), r * np.choose(turns, [sin, cos, -sin, -cos])


@pytest.mark.parametrize("words", [EXTREME, RANDOM], ids=["extreme", "random"])
def test_box_muller_is_right_to_a_few_units_in_the_last_place(words):
    ours, exact = noise.box_muller(*words.T), exact_box_muller(words)
    precision = EPS + np.finfo(np.longdouble).eps
    for z, true in zip(ours, exact):
        assert (np.abs(z - true) <= 4 * precision * np.abs(true)).all()


def test_normals_end_at_8_57():
    """u >= 2^-53 bounds |Z| by sqrt(106 ln 2), and the bound is reached: by Z at v = 2^-53, by Z' near 1/4 and 3/4."""
    bound = math.sqrt(106 * math.log(2))
    z = np.array(noise.box_muller(*EXTREME.T))
    assert np.isfinite(z).all() and bound == pytest.approx(8.5717, abs=1e-4)
    for highest in (z[0].max(), -z[0].min(), z[1].max(), -z[1].min()):
        assert highest == pytest.approx(bound, rel=4 * EPS)


def test_uniforms_are_odd_multiples_of_2_to_the_minus_53():
    """At both ends: Z^2 + Z'^2 = -2 ln u with u = 2^-53 and u = 1 - 2^-53, and tan = Z'/Z = 2 pi v with v = 2^-53."""
    lowest, highest = np.zeros(4, np.int64), np.array([0xFFFFFFFF, 0xFFFFFFFF, 0, 0])
    z, other = noise.box_muller(*lowest[:, None])
    assert z[0] ** 2 + other[0] ** 2 == pytest.approx(106 * math.log(2), rel=8 * EPS)
    assert other[0] / z[0] == pytest.approx(2 * math.pi * 2**-53, rel=8 * EPS)
    z, other = noise.box_muller(*highest[:, None])
    assert z[0] ** 2 + other[0] ** 2 == pytest.approx(-2 * math.log1p(-(2**-53)), rel=8 * EPS)


@given(strategies.seeds, strategies.streams, strategies.paths, strategies.steps, strategies.components,
       st.integers(0, 15))
def test_a_normal_is_the_function_of_its_six_names(seed, stream, path, step, component, slot):
    z = sk.normals(seed, stream, range(path, path + 1), range(step, step + 1), range(component, component + 1),
                   slot=slot)
    assert z.shape == (1, 1, 1)
    assert abs(z.item() - normal(seed, stream, path, step, component, slot)) <= OFF


GOLDEN = {  # (seed, stream, path, step, component): Z of format version 1
    (0, 0, 0, 0, 0): -0.86755794042355609,
    (0, 0, 0, 1, 0): -1.2025526171742710,
    (7, 0, 4711, 251, 2): 0.37408892620618765,
    (7, 1, 4711, 251, 2): 0.055538646884838773,
    (2**64 - 1, 2**32 - 1, 2**40 - 1, 2**32 - 1, 2**24 - 1): 2.0662557068808052,  # the last there is
}


def test_version_1_of_the_noise_has_its_golden_values():
    """Whoever changes these numbers changes every result ever published with a seed: raise VERSION instead."""
    assert noise.VERSION == 1
    for name, value in GOLDEN.items():
        z = sk.normals(*name[:2], *(range(i, i + 1) for i in name[2:])).item()
        assert abs(z - value) <= 4 * EPS * abs(value)
        assert abs(normal(*name) - value) <= OFF


@given(strategies.seeds, strategies.parts(9), strategies.parts(7), strategies.parts(5))
def test_any_part_of_the_noise_can_be_had_alone(seed, paths, steps, components):
    whole = sk.normals(seed, 3, 9, 7, 5)
    part = sk.normals(seed, 3, paths, steps, components)
    assert (part == whole[np.ix_(paths, steps, components)]).all()


def test_no_paths_no_steps_or_no_components_is_an_empty_array():
    assert sk.normals(1, paths=0, steps=2, components=3).shape == (0, 2, 3)
    assert sk.normals(1, paths=1, steps=0, components=3).shape == (1, 0, 3)
    assert sk.normals(1, paths=1, steps=2, components=range(0)).shape == (1, 2, 0)


MANY = 200_000


@pytest.mark.parametrize("axis", ["path", "step", "component"])
def test_the_law_is_standard_normal_along_every_axis(axis):
    shape = [MANY if axis == name else 1 for name in ("path", "step", "component")]
    assert_gaussian(sk.normals(4, 0, *shape).ravel(), 0.0, 1.0)


def test_the_higher_moments_are_those_of_a_normal():
    """E Z^3 = 0, E Z^4 = 3, E Z^6 = 15, of variances 15, 96 and E Z^12 - 15^2 = 10170."""
    z = sk.normals(5, paths=MANY // 2, steps=2).ravel()
    for power, moment, variance in ((3, 0, 15), (4, 3, 96), (6, 15, 10170)):
        assert_near((z**power).mean(), moment, (variance / MANY) ** 0.5)


def test_tails_are_as_heavy_as_they_should_be():
    """How many lie beyond 1, 2, 3, 4, on either side."""
    z = sk.normals(6, paths=MANY, steps=10).ravel()
    for level in (1.0, 2.0, 3.0, 4.0):
        p = ndtr(-level)
        for beyond in (z > level, z < -level):
            assert_near(beyond.mean(), p, (p * (1 - p) / z.size) ** 0.5)


PAIRS = {
    "path": lambda: sk.normals(7, paths=MANY + 1).ravel(),
    "step, in a block and between blocks": lambda: sk.normals(7, steps=MANY + 1).ravel(),
    "component": lambda: sk.normals(7, components=MANY + 1).ravel(),
    "step, two apart": lambda: sk.normals(7, steps=2 * MANY)[:, ::2].ravel(),
    "seed": lambda: np.stack([sk.normals(s, paths=MANY).ravel() for s in (7, 8)]),
    "seed, by its high word": lambda: np.stack([sk.normals(s, paths=MANY).ravel() for s in (7, 7 + 2**32)]),
    "stream": lambda: np.stack([sk.normals(7, s, paths=MANY).ravel() for s in (0, 1)]),
    "slot": lambda: np.stack([sk.normals(7, paths=MANY, slot=s).ravel() for s in (0, 1)]),
    "path, by its high bits": lambda: np.stack(
        [sk.normals(7, paths=range(high, high + MANY)).ravel() for high in (0, 2**32)]),
    "path against component": lambda: np.stack(
        [sk.normals(7, paths=range(1, MANY + 1)).ravel(), sk.normals(7, components=range(1, MANY + 1)).ravel()]),
    "seed against stream": lambda: np.stack(
        [sk.normals(s, stream, paths=MANY).ravel() for s, stream in ((7, 8), (8, 7))]),
}


@pytest.mark.parametrize("axis", PAIRS)
def test_neighbours_are_independent_along(axis):
    """No correlation of Z with its neighbour, of their squares, of one's square with the other; the sum's law."""
    z = PAIRS[axis]()
    x, y = (z[:-1], z[1:]) if z.ndim == 1 else z
    for product, variance in ((x * y, 1), ((x**2 - 1) * (y**2 - 1), 4), (x * (y**2 - 1), 2), ((x**2 - 1) * y, 2)):
        # neighbours' products are uncorrelated, though they share a factor: the variance of the mean is variance / n
        assert_near(product.mean(), 0.0, (variance / len(product)) ** 0.5)
    assert_law((x[::2] + y[::2]) / 2**0.5, ndtr)


def test_different_seeds_and_streams_share_no_number():
    drawn = [sk.normals(seed, stream, paths=100, steps=10).ravel() for seed in (0, 1, 2**32, 2**63)
             for stream in (0, 1, 2**31)]
    assert len(np.unique(np.concatenate(drawn))) == sum(map(len, drawn))


def test_a_sum_of_n_normals_has_the_variance_n():
    """Over the steps of a path: longer dependence would show here."""
    n = 1000
    sums = sk.normals(8, paths=2000, steps=n)[..., 0].sum(axis=1)
    assert_gaussian(sums, 0.0, n)


def test_a_fresh_seed_is_drawn_for_none():
    first, second = (noise.check_seed(None) for _ in range(2))
    assert first != second and 0 <= first < 2**64


BAD_SEEDS = [(True, TypeError, "True"), (1.5, TypeError, "1.5"), ("a", TypeError, "'a'"), (-1, ValueError, "-1"),
             (2**64, ValueError, str(2**64)), (np.float64(3.0), TypeError, "3.0"), ([1], TypeError, r"\[1\]")]


@pytest.mark.parametrize("seed, error, got", BAD_SEEDS)
def test_a_seed_that_is_none_is_refused(seed, error, got):
    with pytest.raises(error, match=f"seed must be .*{got}"):
        sk.normals(seed)
    with pytest.raises(error, match=f"seed must be .*{got}"):
        sk.simulate(sk.BrownianMotion(), 0.0, steps=1, seed=seed)


@pytest.mark.parametrize("seed", [np.int64(7), np.uint64(2**64 - 1), 2**64 - 1])
def test_every_whole_number_below_2_to_the_64_is_a_seed(seed):
    assert abs(sk.normals(seed).item() - normal(int(seed), 0, 0, 0, 0)) <= OFF


@pytest.mark.parametrize("given, error, message", [
    ({"stream": -1}, ValueError, "stream must be at least 0 and below 4294967296, got -1"),
    ({"stream": 2**32}, ValueError, "stream must be at least 0"),
    ({"paths": -1}, ValueError, "paths must be at least 0"),
    ({"paths": 2**40 + 1}, ValueError, "paths must be at least 0"),
    ({"paths": range(-1, 2)}, ValueError, r"paths must lie between 0 and .*, got range\(-1, 2\)"),
    ({"paths": range(2**40, 2**40 + 1)}, ValueError, "paths must lie between"),
    ({"steps": 1.5}, TypeError, r"steps must be a whole number, got 1.5 \(float\)"),
    ({"steps": range(2**32, 2**32 + 1)}, ValueError, "steps must lie between"),
    ({"components": 2**24 + 1}, ValueError, "components must be at least 0"),
    ({"components": range(2**24, 2**24 + 1)}, ValueError, "components must lie between"),
    ({"slot": -1}, ValueError, "slot must be at least 0 and below 16, got -1"),
    ({"slot": 16}, ValueError, "slot must be at least 0"),
    ({"slot": 1.5}, TypeError, r"slot must be a whole number, got 1.5 \(float\)"),
])
def test_names_outside_the_counter_are_refused(given, error, message):
    with pytest.raises(error, match=message):
        sk.normals(1, **given)


# float32


ULP = 2.0**-24  # half a unit in the last place of a float32 near 1
LAWS = {"64, float64": (64, np.float64), "64, float32": (64, np.float32), "32, float64": (32, np.float64),
        "32, float32": (32, np.float32)}


def single(words):
    """The two normals of two words in float32 and in float64 arithmetic."""
    ours = np.stack(noise.single_polar(*words.T.astype(np.int32)))
    return ours, np.stack(noise.polar(*(noise.coarse(w) for w in words.T)))


NEAR_ONE = 2**32 - 1 - np.exp2(np.random.default_rng(3).uniform(0, 31, 200_000)).astype(np.int64)
CORNERS = np.add.outer(np.arange(9) << 29, (-129, -128, -2, -1, 0, 1, 2, 64, 128)).ravel() % 2**32


@pytest.mark.parametrize("words", [
    np.stack(np.meshgrid(np.append(CORNERS, EDGES), np.append(CORNERS, EDGES)), axis=-1).reshape(-1, 2), RANDOM[:, :2],
    np.stack([NEAR_ONE, RANDOM[:, 1]], 1), np.stack([2**32 - 1 - NEAR_ONE, RANDOM[:, 1]], 1),
    np.stack([RANDOM[:, 1], NEAR_ONE], 1)], ids=["corners", "random", "u near 1", "u near 0", "v near 1"])
def test_float32_normals_are_those_of_float64_to_a_few_last_places(words):
    """Relative to Z, however small: within 6 2^-24, and so within 2.5e-6 and of the same sign."""
    z, exact = single(words)
    assert z.dtype == np.float32
    assert (np.abs(z - exact) <= 6 * ULP * np.abs(exact)).all() and (np.sign(z) == np.sign(exact)).all()


def test_float32_normals_end_at_6_76():
    """u >= 2^-33 bounds |Z| by sqrt(66 ln 2), and the bound is reached on every side."""
    z, _ = single(np.array([(0, w) for w in (0, 0x3FFFFFFF, 0x40000000, 0x7FFFFFFF, 0xC0000000)]))
    bound = math.sqrt(66 * math.log(2))
    for highest in (z[0].max(), -z[0].min(), z[1].max(), -z[1].min()):
        assert highest == pytest.approx(bound, rel=6 * ULP)


def test_the_law_of_float32_normals():
    """Distribution function, moments, tails: on either side, as for those of float64."""
    z = sk.normals(15, paths=MANY, steps=11, bits=32, dtype=np.float32)[..., 0].astype(float)  # compiled
    assert_gaussian(z, 0.0, 1.0)
    z = z.ravel()
    for power, moment, variance in ((3, 0, 15), (4, 3, 96), (6, 15, 10170)):
        assert_near((z**power).mean(), moment, (variance / z.size) ** 0.5)
    for level in (0.01, 1.0, 2.0, 3.0, 4.0, 4.5):
        p = ndtr(-level)
        for beyond in (z > level, z < -level):
            assert_near(beyond.mean(), p, (p * (1 - p) / z.size) ** 0.5)


def test_neighbours_in_a_block_of_float32_normals_are_independent():
    z = sk.normals(16, paths=MANY, steps=4, bits=32, dtype=np.float32)[..., 0].astype(float).T
    for a in range(4):
        for b in range(a):
            for x, y, variance in ((z[a], z[b], 1), (z[a]**2 - 1, z[b]**2 - 1, 4), (z[a], z[b]**2 - 1, 2)):
                assert_near((x * y).mean(), 0.0, (variance / MANY) ** 0.5)


SHAPES = [(range(3, 4), range(0, 700), 1), (range(2), range(5, 706), 1), (9, range(3, 131), 1), (2, range(1, 66), 1),
          (300, 10, range(7, 17)), (300, range(3, 8), 3), (1000, 1, 1), (70, range(1, 3), 1), (range(9, 2, -3), 31, 65),
          (1, 1, 1000), (3, range(2, 9), 40), (range(2**32 - 2, 2**32 + 3), range(6, 600), 2), (5, 3, range(70, 0, -1))]


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_compiled_normals_are_numpys_bit_for_bit(law, shape, monkeypatch):
    bits, dtype = LAWS[law]
    plain = sk.normals(11, 2, *shape, slot=1, bits=bits, dtype=dtype)
    monkeypatch.setattr(noise, "COMPILE_FROM", 0)
    out = np.full(plain.shape, np.nan, dtype)
    assert sk.normals(11, 2, *shape, slot=1, bits=bits, out=out) is out
    assert out.dtype == plain.dtype == dtype and (out == plain).all()


@pytest.mark.parametrize("law", LAWS)
@given(paths=strategies.parts(9), steps=strategies.parts(11), components=strategies.parts(5))
def test_any_part_of_every_noise_can_be_had_alone(law, paths, steps, components):
    bits, dtype = LAWS[law]
    whole = sk.normals(3, 3, 9, 11, 5, bits=bits, dtype=dtype)
    part = sk.normals(3, 3, paths, steps, components, bits=bits, dtype=dtype)
    assert (part == whole[np.ix_(paths, steps, components)]).all()


def test_numpy_makes_the_same_normals_however_many_at_once(monkeypatch):
    whole = sk.normals(5, paths=50, steps=range(3, 9), components=3)
    monkeypatch.setattr(noise, "TOGETHER", 1)
    assert (sk.normals(5, paths=50, steps=range(3, 9), components=3) == whole).all()


def test_float32_normals_of_64_bits_are_those_of_float64_rounded():
    assert (sk.normals(5, paths=50, steps=9, dtype=np.float32) == sk.normals(5, paths=50, steps=9).astype("f4")).all()


@pytest.mark.parametrize("given, message", [
    ({"dtype": np.float16}, "dtype must be float64 or float32, got float16"),
    ({"dtype": int}, "dtype must be float64 or float32, got int64"),
    ({"out": np.empty((2, 3, 1), np.int32)}, "dtype must be float64 or float32, got int32"),
    ({"out": np.empty((2, 3, 1)), "dtype": np.float32}, r"array of float32 and shape \(2, 3, 1\) .* got float64"),
    ({"out": np.empty((2, 3))}, r"shape \(2, 3, 1\) that can be written to, got float64 \(2, 3\)"),
    ({"out": np.empty((3, 2, 1)).swapaxes(0, 1)}, "out must be a C-contiguous array"),
    ({"out": np.broadcast_to(np.zeros(1), (2, 3, 1))}, "out must be a C-contiguous array"),
    ({"out": np.frombuffer(bytes(48)).reshape(2, 3, 1)}, "that can be written to"),
    ({"bits": 16}, "bits must be 64 or 32, got 16"),
])
def test_other_kinds_of_output_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        sk.normals(1, paths=2, steps=3, **given)
