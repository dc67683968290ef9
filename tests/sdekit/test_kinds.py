"""Kinds of noise, of equations where they are known: textbook problems, and linear systems, whose matrices tell."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sdekit as sk
from sdekit.kinds import TAKES, fits, noise_kind
from sdekit.sde import SDE, Stratonovich, Structure, structure
from tests import problems

ORDER = ("additive", "scalar", "diagonal", "commutative", "general")


def kind_of(diffusion, x0, t0=0.0, t1=1.0, cls=SDE, **parameters):
    drift = (lambda x, t: (0.0,) * len(x0)) if isinstance(x0, tuple) else lambda x, t: 0.0
    sde = cls(drift, diffusion, **parameters)
    return noise_kind(sde, x0, t0, t1, structure(sde, x0, t0))


def counted(function):
    def inner(x, t):
        inner.calls += 1
        return function(x, t)
    inner.calls = 0
    return inner


@pytest.mark.parametrize("problem, kind", [
    (problems.linear, "scalar"), (problems.tanh, "scalar"), (problems.wave, "scalar"), (problems.sinh, "scalar"),
    (problems.arsinh, "scalar"), (problems.additive, "additive"), (problems.two_noises, "commutative"),
    (problems.commutative, "commutative")], ids=str)
def test_textbook_problems(problem, kind):
    sde = problem.sde
    assert noise_kind(sde, problem.x0, 0.0, 1.0, structure(sde, problem.x0, 0.0)) == kind
    same = Stratonovich(sde.drift, sde.diffusion, **sde.parameters)
    assert noise_kind(same, problem.x0, 0.0, 1.0, structure(same, problem.x0, 0.0)) == kind


@pytest.mark.parametrize("law", problems.LAWS, ids=str)
def test_named_processes(law):
    kind = "scalar" if isinstance(law.process, sk.GeometricBrownianMotion) else "additive"
    assert noise_kind(law.process, law.x0, 0.0, 1.0, structure(law.process, law.x0, 0.0)) == kind


@pytest.mark.parametrize("diffusion, x0, kind", [
    # One number.
    (lambda x, t: 0.5, 1.0, "additive"),
    (lambda x, t: np.exp(-t), 1.0, "additive"),
    (lambda x, t: 0.5 + 1e-9 * x, 1.0, "scalar"),
    (lambda x, t: 2.0 + np.tanh(x), 1e3, "scalar"),
    (lambda x, t: x * (t > 0.5), 1.0, "scalar"),  # additive up to 0.5
    (lambda x, t: max(x - 100.0, 0.0), 50.0, "scalar"),  # nought at the start and near it
    (lambda x, t: x, 0.0, "scalar"),
    (lambda x, t: 0.2 * x**0.5, 0.04, "scalar"),  # complex below 0
    (lambda x, t: np.sqrt(x * (1 - x)), 0.3, "scalar"),  # Wright-Fisher: nowhere but in (0, 1)
    (lambda x, t: 1 / (1 - t), 1.0, "additive"),  # fails at the end
    (lambda x, t: (0.1, t, 3.0), 1.0, "additive"),
    (lambda x, t: (np.sin(x), 2 * np.sin(x)), 1.0, "commutative"),
    (lambda x, t: (x, 1.0), 1.0, "general"),
    (lambda x, t: (x, x + 1e-4), 1.0, "general"),
    # Systems with a noise for each component.
    (lambda x, t: (0.1, t), (1.0, 2.0), "additive"),
    (lambda x, t: (0.2 * x[0], 0.3 * np.sqrt(x[1])), (100.0, 0.04), "diagonal"),
    (lambda x, t: (np.sqrt(x[1]) * x[0], 0.3 * np.sqrt(x[1])), (100.0, 0.04), "general"),  # Heston, rho = 0
    (lambda x, t: (0.1, x[0]), (1.0, 0.0), "general"),
    (lambda x, t: (x[0] * x[1], x[0] * x[1]), (1.0, 2.0), "general"),
    (lambda x, t: (x[0], x[1] + 1e-7 * x[0] * t), (1.0, 1.0), "general"),  # diagonal at time 0
    # Matrices.
    (lambda x, t: ((0.1, 0.2), (t, 3.0)), (1.0, 2.0), "additive"),
    (lambda x, t: ((x[0],), (x[1] * x[0],)), (1.0, 2.0), "scalar"),
    (lambda x, t: ((0.2 * x[0], 0.0), (0.0, 0.3 * x[1] ** 2)), (1.0, 2.0), "diagonal"),
    (lambda x, t: ((0.2 * x[0], 0.0, 0.0), (0.0, 0.3 * x[1], 0.0)), (1.0, 2.0), "commutative"),
    (lambda x, t: ((0.0, x[0]), (x[1], 0.0)), (1.0, 2.0), "commutative"),  # each noise moves the other's component
    (lambda x, t: ((x[1], x[0]), (-x[0], x[1])), (1.0, 1.0), "commutative"),  # a rotation, and a growth
    (lambda x, t: ((x[1], x[0]), (-x[0], 2 * x[1])), (1.0, 1.0), "general"),
    (lambda x, t: ((1.0, 0.0), (0.0, x[0])), (0.0, 0.0), "general"),  # the Levy area
    (lambda x, t: ((x[1], 0.0), (0.0, x[0])), (1.0, 1.0), "general"),
    (lambda x, t: ((np.sqrt(x[1]) * x[0], 0.0), (-0.2 * np.sqrt(x[1]), 0.2 * np.sqrt(x[1]))), (100.0, 0.04), "general"),
    (lambda x, t: ((0.2 * x[0], 0.1 * x[0]), (0.3 * x[1], -0.1 * x[1])), (1e6, 1e-6), "commutative"),  # two stocks
])
def test_what_each_diffusion_is(diffusion, x0, kind):
    assert kind_of(diffusion, x0) == kind


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize("t1", [1e-3, 1.0, 1e3])
def test_the_units_do_not_matter(unit, t1):
    """x in other units u x, time in others: the kind is the same."""
    in_units = lambda g: lambda x, t: tuple(tuple(unit * v / t1**0.5 for v in row)
                                            for row in g([v / unit for v in x]))
    rotation = lambda x: ((x[1], x[0]), (-x[0], x[1]))
    assert kind_of(in_units(rotation), (unit, 2 * unit), t1=t1) == "commutative"
    heston = lambda x: ((x[0] * np.sqrt(x[1]), 0.0), (0.0, 0.3 * np.sqrt(x[1])))
    assert kind_of(in_units(heston), (unit, 0.04 * unit), t1=t1) == "general"


matrices = st.integers(2, 4).flatmap(lambda d: st.lists(
    st.lists(st.integers(-3, 3), min_size=d * d, max_size=d * d).map(lambda a: np.reshape(a, (d, d))),
    min_size=2, max_size=3))


@given(matrices, st.booleans())
def test_linear_noise_commutes_where_its_matrices_do(B, powers):
    """g_j = B_j x: L^j g_k = B_k B_j x. Half of the examples are powers of one matrix, which commute."""
    if powers:
        B = [np.linalg.matrix_power(B[0], j) for j in range(len(B))]
    d, m = len(B[0]), len(B)
    diffusion = lambda x, t: tuple(tuple(float(b[i] @ np.array(x)) for b in B) for i in range(d))
    alone = [np.diag(np.eye(d)[j] * b[j, j]) for j, b in enumerate(B)] if m == d else []
    if not any(b.any() for b in B):
        expected = "additive"
    elif m == d and all((a == b).all() for a, b in zip(alone, B)):
        expected = "diagonal"
    else:
        expected = "commutative" if all((a @ b == b @ a).all() for a in B for b in B) else "general"
    assert kind_of(diffusion, tuple(float(i + 1) for i in range(d))) == expected


@given(st.lists(st.booleans(), min_size=9, max_size=9), st.integers(2, 9))
def test_a_diagonal_is_one_only_if_every_entry_minds_its_own(others, d):
    """g_i = cos(x_i), in some components plus a little of the neighbour's state."""
    diffusion = lambda x, t: tuple(np.cos(v) + (1e-6 * x[i - 1] if others[i] else 0.0) for i, v in enumerate(x))
    assert (kind_of(diffusion, (0.5,) * d) == "diagonal") == (not any(others[:d]))


@pytest.mark.parametrize("fault", [ZeroDivisionError, ValueError, KeyError, OverflowError])
@pytest.mark.parametrize("x0, widest", [(1.0, "scalar"), ((1.0, 1.0), "general")])
def test_functions_that_work_at_the_start_alone_are_of_the_widest_kind(fault, x0, widest):
    def diffusion(x, t):
        if x != x0:
            raise fault("outside")
        return x

    assert kind_of(diffusion, x0) == widest


def test_no_warning_passes():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert kind_of(lambda x, t: np.sqrt(x) * np.log(x) / t, 0.04, t0=1e-3) == "scalar"
        assert kind_of(lambda x, t: np.exp(np.exp(x)) * np.float64(0.0 - x) ** 0.5, -0.5) == "scalar"


def test_parameters_are_the_first_paths():
    assert kind_of(lambda x, t, b: 1.0 + b * x, 1.0, b=np.array([0.0, 1.0])) == "additive"
    assert kind_of(lambda x, t, b: 1.0 + b * x, 1.0, b=np.array([1.0, 0.0])) == "scalar"


def test_the_answer_is_always_the_same():
    assert len({kind_of(lambda x, t: (x[0], np.sqrt(x[1] - 0.9)), (1.0, 1.0)) for _ in range(20)}) == 1


@pytest.mark.parametrize("d", [2, 5, 20, 50])
def test_calls_grow_no_faster_than_the_system(d):
    """Diagonal: 2 + 4 (7 + 2 log2 d). Else twice as many as components, at max(2, 16 // d) points."""
    diagonal = counted(lambda x, t: tuple(np.sqrt(v) for v in x))
    assert kind_of(diagonal, (1.0,) * d) == "diagonal"
    assert diagonal.calls <= 4 + 4 * (7 + 2 * np.ceil(np.log2(d)))
    ring = counted(lambda x, t: x[1:] + x[:1])
    assert kind_of(ring, tuple(1.0 + i for i in range(d))) == "general"
    assert ring.calls < 50 + 2 * d
    equal = counted(lambda x, t: tuple((v, v) for v in x))
    assert kind_of(equal, (1.0,) * d) == "commutative"
    assert equal.calls < 50 + max(2, 16 // d) * 2 * d


def test_huge_systems_are_not_examined_for_commutativity():
    assert kind_of(lambda x, t: x[1:] + x[:1], tuple(range(1, 1001))) == "general"


def test_what_each_method_takes():
    diagonal, one, matrix = (Structure(2, 2, True, False), Structure(2, 1, False, False), Structure(2, 2, False, False))
    for widest, most in (("additive", 1), ("commutative", 4), ("general", 5)):
        for shape in (diagonal, one, matrix):
            assert tuple(k for k in ORDER if fits(widest, k, shape)) == ORDER[:most]
    for shape in (diagonal, one):
        assert tuple(k for k in ORDER if fits("diagonal", k, shape)) == ORDER[:3]
    assert not any(fits("diagonal", k, matrix) for k in ORDER)
    assert set(TAKES) == {"additive", "diagonal", "commutative", "general"}
