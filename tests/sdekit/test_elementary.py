"""The elementary functions against 80-bit and longer references, over all doubles; and that loops with them are
vector code."""

import math
import re
from types import SimpleNamespace

import mpmath
import numpy as np
import pytest
from numba import njit

from sdekit import elementary, numba_maths

# The largest error that is allowed, in units in the last place of the result.
BOUND = {"exp": 0.8, "exp2": 0.7, "expm1": 1.15, "log": 0.85, "log2": 1.0, "log10": 1.0, "log1p": 0.9, "sin": 0.8,
         "cos": 0.8, "tan": 1.0, "sinh": 1.3, "cosh": 1.3, "tanh": 1.1, "arctan": 1.05, "pow": 1.0}
UNARY = sorted(set(BOUND) - {"pow"})
OPTIONS = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}
COUNT = 4_000
each = pytest.mark.parametrize("name", UNARY)
def quiet():
    return np.errstate(all="ignore")


def loop(function, arguments=1):
    """A compiled loop over a function of numbers, its np.* and math.* replaced as in a user's function."""
    inner = njit(forceinline=True, pipeline_class=numba_maths.Powers, **OPTIONS)(numba_maths.bound(function))
    if arguments == 1:
        def run(x, out):
            for i in range(x.size):
                out[i] = inner(x[i])
    else:
        def run(x, y, out):
            for i in range(x.size):
                out[i] = inner(x[i], y[i])
    return njit(**OPTIONS)(run)


def values(run, *x):
    x = [np.asarray(v, np.float64) for v in x]
    out = np.empty(x[0].shape)
    run(*x, out)
    return out


COMPILED = {}


def evaluate(name, *x):
    if name not in COMPILED:
        function = getattr(np, "power" if name == "pow" else name)
        COMPILED[name] = loop((lambda x: function(x)) if len(x) == 1 else (lambda x, y: function(x, y)), len(x))
    return values(COMPILED[name], *x)


def random_bits(rng, n):
    return rng.integers(-2**63, 2**63, n, dtype=np.int64).view(np.float64)


def samples():
    rng = np.random.default_rng(1)
    n = COUNT
    special = [0.0, np.inf, np.nan, 5e-324, 2.2250738585072014e-308, 1.0, np.finfo(float).max]
    near = [0.5, 1.0, 2.0, math.pi, 709.78, 710.47, 745.13, math.sqrt(0.5), math.log(2) / 2, 0.4142135623730951, 1e-9,
            1e-17, 2.0**45, 37.0, 26 * math.log(2), 2.414213562373095]
    return np.concatenate([
        special, -np.array(special), (np.array(near)[:, None] + np.spacing(near)[:, None] * np.arange(-40, 41)).ravel(),
        random_bits(rng, n), rng.normal(size=n), rng.uniform(-750, 750, n), rng.uniform(-20, 20, n),
        10.0 ** rng.uniform(-20, 20, n) * rng.choice([-1, 1], n), 1 + rng.normal(size=n) / 4,
        rng.integers(-10**6, 10**6, n) * (math.pi / 2), rng.integers(-1100, 1100, n) * math.log(2) / 2])


def ulps(found, exact):
    """|found - exact| in units in the last place of `exact`, a long double; 0 where both are the same non-number."""
    with quiet():
        rounded = exact.astype(np.float64)
        unit = np.spacing(np.minimum(np.abs(rounded), np.finfo(float).max))
        error = np.abs(found - exact) / unit
    same = (found == rounded) & ~np.isfinite(rounded) | np.isnan(found) & np.isnan(rounded)
    return np.where(same, 0.0, np.where(np.isnan(error), np.inf, error)).astype(float)


needs_80_bits = pytest.mark.skipif(np.finfo(np.longdouble).nmant < 63, reason="no 80-bit numbers here")


@needs_80_bits
@each
def test_errors_stay_below_the_bound(name):
    x = samples()
    with quiet():
        error = ulps(evaluate(name, x), getattr(np, name)(x.astype(np.longdouble)))
    worst = error.argmax()
    assert error[worst] <= BOUND[name], f"{name}({x[worst]!r}) is off by {error[worst]:.3f} ulp"


@needs_80_bits
def test_powers_stay_below_the_bound():
    rng, n = np.random.default_rng(2), COUNT
    pairs = [(rng.lognormal(size=n), 3 * rng.normal(size=n)), (1 + 1e-5 * rng.normal(size=n), 1e6 * rng.normal(size=n)),
             (rng.uniform(0.7, 1.42, n), rng.uniform(-2000, 2000, n)), (random_bits(rng, n), random_bits(rng, n)),
             (10.0 ** rng.uniform(-300, 300, n), rng.uniform(-3, 3, n)), (rng.normal(size=n), rng.integers(-50, 50, n)),
             (rng.integers(1, 2**52, n).view(np.float64), rng.uniform(-1.1, 1.1, n))]
    x, y = np.concatenate(pairs, axis=1)
    with quiet():
        error = ulps(evaluate("pow", x, y), np.power(x.astype(np.longdouble), y.astype(np.longdouble)))
    worst = error.argmax()
    assert error[worst] <= BOUND["pow"], f"{x[worst]!r} ** {y[worst]!r} is off by {error[worst]:.3f} ulp"


@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
def test_huge_arguments_and_near_multiples_of_a_half_pi(name):
    """The double nearest to a multiple of pi/2 is 6381956970095103 2^797 (Muller 2016, ch. 11): 15 ulp in glibc."""
    rng = np.random.default_rng(3)
    x = np.concatenate([[6381956970095103 * 2.0**797, 1e22, np.finfo(float).max, 2.0**45, np.nextafter(2.0**45, 1e99)],
                        rng.integers(1, 10**13, 300) * (math.pi / 2), 2.0 ** rng.uniform(44, 1024, 300)])
    with mpmath.workprec(1300):
        exact = [getattr(mpmath, name)(mpmath.mpf(v)) for v in x.tolist()]
        found = [mpmath.mpf(v) for v in evaluate(name, x).tolist()]
        error = [float(abs(a - b)) / np.spacing(abs(float(b))) for a, b in zip(found, exact)]
    assert error[0] <= 15 and max(error[1:]) <= BOUND[name]


@each
def test_special_values_are_those_of_numpy(name):
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 5e-324, -5e-324, 1e308, -1e308, 2.0**60])
    with quiet():
        exact, found = getattr(np, name)(x), evaluate(name, x)
    np.testing.assert_allclose(found, exact, rtol=4e-16, atol=0)
    zeros = exact == 0
    assert (np.signbit(found) == np.signbit(exact))[zeros].all()


def test_special_powers_are_those_of_c99():
    ends = [0.0, 5e-324, 0.5, 1 - 2.0**-53, 1.0, 1 + 2.0**-52, 1.5, 2.0, 3.0, 1e300, 2.0**53 - 1, 2.0**53, 4e19, np.inf]
    ends = np.array(ends + [-v for v in ends] + [np.nan])
    x, y = (a.ravel() for a in np.meshgrid(ends, ends))
    with quiet():
        exact, found = np.power(x, y), evaluate("pow", x, y)
    np.testing.assert_allclose(found, exact, rtol=4e-16, atol=0)
    assert (np.signbit(found) == np.signbit(exact))[exact == 0].all()


def test_whole_results_are_exact():
    n = np.arange(-1074, 1024)
    assert (evaluate("exp2", n) == np.ldexp(1.0, n)).all()
    assert (evaluate("log2", np.ldexp(1.0, n)) == n).all()
    tens = np.arange(-22, 23)
    assert (evaluate("log10", 10.0 ** tens[22:]) == tens[22:]).all()
    assert (evaluate("pow", np.full(23, 10.0), tens[22:]) == [float(f"1e{k}") for k in range(23)]).all()


SEAMS = {"exp": math.log(2) / 2, "exp2": 0.5, "expm1": math.log(2) / 2, "log": math.sqrt(0.5), "tanh": math.log(2) / 4,
         "log1p": math.sqrt(2) - 1, "arctan": math.sqrt(2) - 1, "sinh": math.log(2) / 2}


@pytest.mark.parametrize("name", SEAMS)
def test_no_step_back_where_two_pieces_meet(name):
    x = SEAMS[name] * (1 + 1e-14 * np.arange(-2000, 2001))
    assert np.diff(evaluate(name, x)).min() >= -np.spacing(evaluate(name, x[:1]))[0]


@each
def test_plain_python_gives_the_same_bits(name):
    x = np.random.default_rng(4).uniform(0.01, 3.0, 20)
    plain = [getattr(elementary, name)(v) for v in x]
    assert np.array_equal(evaluate(name, x), plain)


BODIES = SimpleNamespace(
    pole=lambda x, p: -(p**2) * np.sin(x) * np.cos(x) ** 3 + p * np.cos(x) ** 2, power=lambda x, y: x**y,
    root=lambda x, y: x**1.5 + y, where=lambda x, y: np.where(x > y, x, 0), clip=lambda x, y: np.clip(x, 0, None) + y,
    least=lambda x, y: np.minimum(x, y), most=lambda x, y: np.maximum(x, y), sign=lambda x, y: np.sign(x) + abs(y),
    maths=lambda x, y: math.exp(x) * math.sqrt(abs(y)), own=lambda x, y: max(x, 0.0) + min(y, 1.0))


def called(run) -> set:
    """The C library's functions in the machine code of a loop."""
    (text,) = run.inspect_asm().values()
    names = r"\$(exp|exp2|expm1|log|log2|log10|log1p|sin|cos|tan|sinh|cosh|tanh|atan|pow|fmin|fmax|fma|rint)\b"
    return set(re.findall(names, text))


def is_vector_code(run) -> bool:
    """Whether numbers are multiplied, compared or moved several at a time in the loop."""
    (text,) = run.inspect_llvm().values()
    return bool(re.search(r"(store|fmul|select).*<\d+ x double>", text))


@pytest.mark.parametrize("name", sorted(BOUND))
def test_loops_become_vector_code(name):
    evaluate(name, *[np.ones(1)] * (1 + (name == "pow")))
    assert is_vector_code(COMPILED[name])
    assert called(COMPILED[name]) <= {"sin", "cos", "tan"}


@pytest.mark.parametrize("name", vars(BODIES))
def test_users_functions_become_vector_code(name):
    function, rng = getattr(BODIES, name), np.random.default_rng(5)
    run, x, y = loop(function, 2), rng.uniform(0.1, 3, 50), rng.uniform(-2, 2, 50)
    found = values(run, x, y)
    assert np.allclose(found, [function(a, b) for a, b in zip(x, y)], rtol=1e-13)
    assert is_vector_code(run)
    assert called(run) <= {"sin", "cos"}


NUMBERS = [0.0, -0.0, 1.0, -1.0, 2.5, np.inf, -np.inf, np.nan]


@pytest.mark.parametrize("name", ["minimum", "maximum", "fmin", "fmax"])
def test_comparisons_treat_nan_as_numpy_does(name):
    function, (x, y) = getattr(np, name), (a.ravel() for a in np.meshgrid(NUMBERS, NUMBERS))
    assert np.array_equal(values(loop(lambda x, y: function(x, y), 2), x, y), function(x, y), equal_nan=True)


@pytest.mark.parametrize("name", ["sign", "abs", "absolute", "fabs"])
def test_signs_treat_nan_as_numpy_does(name):
    function, x = getattr(np, name), np.array(NUMBERS)
    assert np.array_equal(values(loop(lambda x: function(x)), x), function(x), equal_nan=True)


@pytest.mark.parametrize("function", [lambda x: np.clip(x, -1, 1), lambda x: np.clip(x, 0, None),
                                      lambda x: np.clip(x, None, 0.5), lambda x: np.clip(x, a_min=-1.0, a_max=2),
                                      lambda x: np.where(x > 0, 1, x), lambda x: np.where(x, x, 2.0)])
def test_clip_and_where_treat_nan_as_numpy_does(function):
    assert np.array_equal(values(loop(function), NUMBERS), function(np.array(NUMBERS)), equal_nan=True)


@pytest.mark.parametrize("function", [
    lambda x: x**2 + x**-1 + x**0 + x**3.0 + x**-2.0, lambda x: x**0.5 + x**1.5 + x**-0.5, lambda x: x**9 + 2**x,
    lambda x: 2.0**3 * x + 3**2.0 + int(x) ** 2, lambda x: pow(x, 1.3), lambda x: np.power(x, 3) + np.power(2, 3),
    lambda x: math.pow(2, 3) * x, lambda x: (np.array([x, 2.0]) ** 2).sum(), lambda x: abs((x + 1j) ** 2),
    lambda x: np.exp(np.array([x, 1.0])).sum(), lambda x: abs(np.exp(1j * x)),
    lambda x: np.exp(1) * x + math.log(True + 1)])
def test_powers_and_kinds_of_numbers(function):
    x = np.random.default_rng(6).uniform(0.1, 3, 20)
    assert np.allclose(values(loop(function), x), [function(v) for v in x], rtol=1e-14)


def test_in_place_powers():
    def function(x):
        x **= 1.25
        return x

    assert np.allclose(values(loop(function), [0.5, 3.0]), [0.5**1.25, 3.0**1.25], rtol=1e-15)


def test_functions_taken_from_a_module_are_replaced():
    first, second = np.exp, math.exp
    run = loop(lambda x: first(x) + second(x))
    assert np.allclose(values(run, [0.5, 1.5]), 2 * np.exp([0.5, 1.5]), rtol=1e-15)
    assert not called(run)


def test_other_values_stay_as_they_are():
    for value in (np.heaviside, math.gcd, np.pi, abs, test_in_place_powers, "np", re, np.float64, None):
        assert numba_maths.replace(value) is value
