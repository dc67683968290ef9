"""Ito and Stratonovich: corrections that are known in closed form, by every execution; there and back.

The exact correction c = sum_k (dg_k/dx) g_k of each equation is worked out by hand. A difference over steps of
h = 10^-4 max(|x|, 10^-2) magnifies rounding in g by x/h <= 10^4, and by 10^6 near 0.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given

import sdekit as sk
from sdekit.array_engine import NUMPY
from sdekit.calculus import in_order, to_ito, to_stratonovich
from sdekit.maths import captured, fingerprint, rebind
from sdekit.sde import SDE, Stratonovich, call, takes
from tests import problems
from tests.conftest import EPS, array
from tests.strategies import numbers

ROUNDING = 16 * EPS * 1e4


@dataclass(frozen=True)
class Case:
    """correction(*x, parameters by name) -> c, a tuple for a system; `points` are a state of arrays."""

    name: str
    sde: SDE
    points: Any
    correction: Callable

    def __repr__(self):
        return self.name

    @property
    def exact(self):
        x = self.points if isinstance(self.points, tuple) else (self.points,)
        return rows(self.correction(*x, **self.sde.parameters))


def rows(value):
    value = value if isinstance(value, tuple) else (value,)
    return np.array(np.broadcast_arrays(*value, np.zeros(len(LINE)))[:-1])


def _noncommutative(x, t):
    u, v = x
    return (0.3 * u + 0.1 * v, -0.2 * v), (0.4 * u, 0.5 * u + 0.6 * v)


def _noncommutative_correction(u, v):
    A, B = np.array([[0.3, 0.1], [0.4, 0.0]]), np.array([[0.0, -0.2], [0.5, 0.6]])  # the columns of g: A x and B x
    return tuple((A @ A + B @ B) @ np.array([u, v]))


def _heston_drift(x, t, mu, k, m):
    s, v = x
    return mu * s, k * (m - v)


def _heston_noise(x, t, xi, rho):
    s, v = x
    return (np.sqrt(v) * s, 0.0), (rho * xi * np.sqrt(v), (1.0 - rho**2) ** 0.5 * xi * np.sqrt(v))


def _heston_correction(s, v, mu, k, m, xi, rho):
    return v * s + 0.5 * rho * xi * s, 0.5 * xi**2


def _crossed_drift(x, t, a):
    return a * x[1], 0.0


def _crossed_noise(x, t, b):
    return b * x[0] * x[1], np.cos(x[0]) + x[1]


def _crossed_correction(x, y, a, b):
    """Component j follows noise j alone: (dg_j/dx_j) g_j."""
    return b**2 * x * y**2, np.cos(x) + y


LINE = np.array([-2.5, -0.7, 0.02, 0.4, 1.1, 3.0])
POSITIVE = np.array([0.001, 0.02, 0.04, 0.3, 1.0, 2.5])
CASES = [
    Case("linear", problems.linear.sde, LINE, lambda x, a, b: b**2 * x),
    Case("tanh", problems.tanh.sde, LINE, lambda x: -0.5 * x * (1 - x**2)),
    Case("wave", problems.wave.sde, LINE, lambda x, p: -2 * p**2 * np.sin(x) * np.cos(x) ** 3),
    Case("sinh", problems.sinh.sde, LINE, lambda x: x),
    Case("additive", problems.additive.sde, LINE, lambda x, a, b: 0.0 * x),
    Case("square root", SDE(lambda x, t, k: -k * x, lambda x, t, s: s * np.sqrt(x), k=2.0, s=0.3), POSITIVE,
         lambda x, k, s: 0.5 * s**2 + 0.0 * x),
    Case("two noises", problems.two_noises.sde, LINE, lambda x, a, b1, b2: (b1**2 + b2**2) * x),
    Case("commutative", problems.commutative.sde, (LINE, LINE[::-1].copy()),
         lambda u, v, b: (4 * b**2 * u, 4 * b**2 * v)),
    Case("not commutative", SDE(lambda x, t: (x[1], -x[0]), _noncommutative), (LINE, LINE[::-1].copy()),
         _noncommutative_correction),
    Case("Heston", SDE(_heston_drift, _heston_noise, mu=0.1, k=1.5, m=0.04, xi=0.3, rho=-0.6),
         (100 * POSITIVE, POSITIVE[::-1].copy()), _heston_correction),
    Case("crossed", SDE(_crossed_drift, _crossed_noise, a=0.5, b=0.4), (LINE, POSITIVE), _crossed_correction),
]
each = pytest.mark.parametrize("case", CASES, ids=repr)


def size(case):
    """What a correction's rounding is measured by: |g|^2 / max(|x|, 10^-2), the largest over components."""
    x = np.abs(rows(case.points))
    g = call(case.sde, "diffusion", case.points, 0.0)
    g = np.abs([rows(row).sum(axis=0) if isinstance(row, tuple) else row + 0 * x[0] for row in
                (g if isinstance(case.points, tuple) else (g,))])
    return (g * (g / np.maximum(x, 1e-2)).max(axis=0)).max(axis=0)


def change(converted, case):
    """The drift of the converted equation less that of the case."""
    return rows(call(converted, "drift", case.points, 0.0)) - rows(call(case.sde, "drift", case.points, 0.0))


def allowed(case):
    near = 2e-8 if case.name in ("square root", "Heston") else 0.0  # sqrt at 10^-3 and 10^-2: (h/x)^4
    return (ROUNDING + near) * (size(case) + np.abs(case.exact)) + 16 * EPS * np.abs(rows(case.points)).max()


@each
def test_the_corrections_are_those_of_the_formulas(case):
    same = to_stratonovich(case.sde)
    assert isinstance(same, Stratonovich) and same.calculus == "stratonovich" and same.diffusion is case.sde.diffusion
    assert (np.abs(change(same, case) + 0.5 * case.exact) <= allowed(case)).all()
    other = to_ito(Stratonovich(case.sde.drift, case.sde.diffusion, **case.sde.parameters))
    assert type(other) is SDE and other.calculus == "ito"
    assert (np.abs(change(other, case) - 0.5 * case.exact) <= allowed(case)).all()


def test_the_tests_can_tell_the_signs():
    """Every correction but that of additive noise is far larger than what the test above allows."""
    for case in CASES:
        assert case.name == "additive" or (np.abs(case.exact) > 100 * allowed(case)).any(axis=1).all()


@pytest.mark.parametrize("name", ["tanh", "wave", "sinh"])
def test_textbook_equations_have_no_drift_in_the_sense_of_stratonovich(name):
    """Kloeden & Platen make them so: dX = g(X) o dW."""
    case = next(c for c in CASES if c.name == name)
    assert (np.abs(rows(call(to_stratonovich(case.sde), "drift", case.points, 0.0))) <= allowed(case)).all()


def test_additive_noise_changes_no_bit():
    x = np.linspace(-3, 3, 50)
    for sde in (problems.additive.sde, sk.OrnsteinUhlenbeck(1.2, 0.3, 0.8)):
        assert (call(to_stratonovich(sde), "drift", x, 0.5) == call(sde, "drift", x, 0.5)).all()


def _slope_of_sqrt(x):
    return 0.5 / np.sqrt(x)


@pytest.mark.parametrize("g, slope, domain, error", [
    (np.sqrt, _slope_of_sqrt, (0.01, 100.0), 4e-12), (np.sqrt, _slope_of_sqrt, (1e-4, 0.01), 1e-8),
    (np.sqrt, _slope_of_sqrt, (1e-5, 1e-4), 1e-4), (np.sqrt, _slope_of_sqrt, (2.1e-6, 1e-5), 0.1),
    (np.exp, np.exp, (-1.0, 1.0), 4e-12), (np.cos, lambda x: -np.sin(x), (-1e-3, 1e-3), 4e-12),
    (np.sin, np.cos, (900.0, 1000.0), 3.4e-6),
    (lambda x: 2 - x + x**2 - 0.1 * x**4, lambda x: -1 + 2 * x - 0.4 * x**3, (-0.01, 0.01), 4e-12)])
def test_the_error_is_the_stated_one(g, slope, domain, error):
    """Relative to g^2 / max(|x|, 10^-2), or to the correction itself where that is larger."""
    x = np.linspace(*domain, 5001)
    found = -2 * to_stratonovich(SDE(lambda x, t: 0.0 * x, lambda x, t: g(x))).drift(x, 0.0)
    exact = g(x) * slope(x)
    scale = np.maximum(np.abs(exact), 1.0 if g is np.sin else g(x) ** 2 / np.maximum(np.abs(x), 1e-2))
    assert (np.abs(found - exact) / scale).max() <= error


def test_four_evaluations_for_each_noise():
    calls = []

    def counted(x, t):
        calls.append(x)
        return (0.3 * x[0], 0.1, x[1]), (x[1], 0.2, 0.5)

    same = to_stratonovich(SDE(lambda x, t: (0.0, 0.0), counted))
    same.drift((1.0, 2.0), 0.0)
    assert len(calls) == 1 + 4 * 3
    several = SDE(lambda x, t: 0.0, lambda x, t: calls.append(x) or (0.1 * x, 0.2 * x, 0.3 * x))
    calls.clear()
    to_stratonovich(several).drift(1.0, 0.0)
    assert len(calls) == 1 + 4


def test_a_column_of_zeros_stays_finite():
    same = to_stratonovich(SDE(lambda x, t: (1.0, 2.0), lambda x, t: ((0.0, x[0]), (0.0 * x[1], 0.0))))
    assert np.allclose(same.drift((0.0, 3.0), 0.0), (1.0, 2.0), atol=0)
    assert np.allclose(same.drift((0.5, 3.0), 0.0), (0.75, 2.0))


# Executions


def on_each(function, x, p):
    """function(x, t, p) on numbers, arrays, tensors, and compiled: rows (d, points)."""
    torch = pytest.importorskip("torch")
    from sdekit.numba_compiler import compiled
    from sdekit.torch_engine import _replace
    is_system = isinstance(x, tuple)
    points = list(zip(*(c.tolist() for c in x))) if is_system else x.tolist()
    tensors = tuple(torch.tensor(c) for c in x) if is_system else torch.tensor(x)
    whole = lambda value: rows(tuple(map(array, value)) if isinstance(value, tuple) else array(value))
    fast = compiled(function)
    return {"numpy": rows(rebind(function, NUMPY)(x, 0.0, p)),
            "torch": whole(rebind(function, _replace)(tensors, 0.0, p)),
            "numba": np.array([np.atleast_1d(fast(y, 0.0, p)) for y in points]).T,
            "numbers": np.array([np.atleast_1d(function(y, 0.0, p)) for y in points]).T}


@pytest.mark.parametrize("name", ["square root", "two noises", "Heston", "crossed"])
def test_every_execution_has_the_same_drift(name):
    case = next(c for c in CASES if c.name == name)
    same = to_stratonovich(case.sde)
    drift, p = in_order(same.drift, tuple(same.parameters)), tuple(same.parameters.values())
    exact = rows(call(case.sde, "drift", case.points, 0.0)) - 0.5 * case.exact
    for backend, found in on_each(drift, case.points, p).items():
        assert (np.abs(found - exact) <= allowed(case)).all(), backend


def test_paths_with_parameters_of_their_own_agree_on_every_backend(backend):
    """k goes to the drift alone and s to the diffusion alone; the converted drift takes both."""
    n, s = 40, np.linspace(0.1, 0.5, 40)
    sde = Stratonovich(lambda x, t, k: (-k * x[0], 0.5 * x[0]), lambda x, t, s: ((s * x[0], 0.1), (s * x[1], x[0])),
                       k=1.5, s=s)
    same = to_ito(sde)
    assert takes(same.drift) == ["k", "s"] and (same.parameters["s"] == s).all() and same.parameters["k"] == 1.5
    by_hand = SDE(lambda x, t, k, s: (-k * x[0] + 0.5 * s**2 * x[0], 0.5 * x[0] + 0.5 * (s**2 * x[1] + 0.1)),
                  sde.diffusion, k=1.5, s=s)
    run = lambda e, backend: array(sk.simulate(e, (1.0, -0.5), steps=10, paths=n, seed=2, backend=backend).x)
    exact = run(by_hand, "numpy")
    assert np.abs(run(same, backend) - exact).max() <= 10 * ROUNDING * 100 * np.abs(exact).max()


def test_a_tensor_is_converted_element_by_element():
    torch = pytest.importorskip("torch")
    same = to_stratonovich(sk.GeometricBrownianMotion(0.5, 0.2))
    x = torch.linspace(0.5, 2.0, 12, dtype=torch.float64).reshape(2, 2, 3)
    torch.testing.assert_close(same.drift(x.numpy(), 0.0, **same.parameters), (0.48 * x).numpy(), rtol=1e-11, atol=0)
    again = to_ito(Stratonovich(lambda x, t, a: a * x, lambda x, t, b: b * x, a=0.5, b=0.2))
    by_hand = SDE(lambda x, t, a: a * x, lambda x, t, b: b * x, a=0.52, b=0.2)
    x, y = (sk.simulate(e, x, steps=4, seed=1).final for e in (again, by_hand))
    torch.testing.assert_close(x, y, rtol=1e-10, atol=0)


# It is the same process


def heun(sde, x0, dw):
    """Heun's step for the sense of Stratonovich as the textbook writes it; X(1), (dim, paths)."""
    steps, h = dw.shape[1], 1.0 / dw.shape[1]
    d = len(x0) if isinstance(x0, tuple) else 0
    x = np.array([np.full(len(dw), v) for v in (x0 if d else (x0,))])

    def move(x, t, w):
        at = tuple(x) if d else x[0]
        f, g = call(sde, "drift", at, t), call(sde, "diffusion", at, t)
        columns = [g] if not isinstance(g, tuple) else list(zip(*g)) if d else g
        return h * rows_of(f, x) + sum(rows_of(column, x) * w[:, k] for k, column in enumerate(columns))

    def rows_of(value, x):
        return np.array([v + 0 * x[0] for v in (value if isinstance(value, tuple) else (value,))])

    for n in range(steps):
        guess = move(x, n * h, dw[:, n])
        x = x + 0.5 * (guess + move(x + guess, (n + 1) * h, dw[:, n]))
    return x


@pytest.mark.parametrize("problem", [problems.linear, problems.tanh, problems.sinh, problems.two_noises,
                                     problems.commutative], ids=repr)
def test_a_method_of_the_other_sense_goes_to_the_same_paths(problem):
    """With strong order 1 on the solution of the Ito equation. Unconverted it goes elsewhere."""
    dw = problems.fine_increments(4, 300, 256, problem.noises)
    W = np.concatenate([np.zeros((300, 1, problem.noises)), dw.cumsum(axis=1)], axis=1)
    exact = problem.solution(np.linspace(0, 1, 257), W)[:, -1]

    def error(sde, steps):
        end = heun(sde, problem.x0, problems.coarse(dw, steps))
        return np.abs(end.T.reshape(exact.shape) - exact).mean()

    errors = [error(to_stratonovich(problem.sde), steps) for steps in (16, 64, 256)]
    assert errors[1] < errors[0] / 2.5 and errors[2] < errors[1] / 2.5
    assert error(problem.sde, 256) > 5 * errors[2]


# There and back


@each
def test_there_and_back_is_the_same_object(case):
    assert to_ito(to_stratonovich(case.sde)) is case.sde
    sde = Stratonovich(case.sde.drift, case.sde.diffusion, **case.sde.parameters)
    assert to_stratonovich(to_ito(sde)) is sde


@each
def test_there_and_back_by_the_formula_is_the_same_drift(case):
    same = to_stratonovich(case.sde)
    afresh = Stratonovich(same.drift, same.diffusion, **same.parameters)  # does not know where it comes from
    assert (np.abs(change(to_ito(afresh), case)) <= 2 * allowed(case)).all()


def test_what_has_the_sense_already_is_returned():
    gbm = sk.GeometricBrownianMotion(0.1, 0.2)
    assert to_ito(gbm) is gbm
    same = to_stratonovich(gbm)
    assert to_stratonovich(same) is same


@given(numbers(-3, 3), numbers(-2, 2), numbers(-2, 2), numbers(0, 2))
def test_polynomials_of_degree_4_are_exact_but_for_rounding(x, a, b, t):
    sde = SDE(lambda x, t: 0.7 * x + t, lambda x, t, a, b: (1 + t) * (a + b * x - 0.2 * x**4), a=a, b=b)
    g, slope = (1 + t) * (a + b * x - 0.2 * x**4), (1 + t) * (b - 0.8 * x**3)
    terms = (1 + t) * (abs(a) + abs(b * x) + 0.8 * x**4)  # their rounding, and that of x + h times the slope
    found = to_stratonovich(sde).drift(x, t, a=a, b=b)
    allowed = 8 * EPS * terms * (abs(g) / (1e-4 * max(abs(x), 1e-2)) + abs(slope)) + 8 * EPS * abs(0.7 * x + t)
    assert abs(found - (0.7 * x + t - 0.5 * g * slope)) <= allowed


# Names and keys


def test_parameters_of_any_name_and_defaults_are_kept():
    """Also names that the written functions use themselves, and a parameter x of a state that is called s."""
    sde = SDE(lambda s, t, x, h, g: x * s + h * g, lambda s, t, spread, f, inner=2.0, p=5.0, t_=1.0: f * s * spread * p,
              x=1.0, h=2.0, g=3.0, spread=0.5, f=0.2, p=1.0)
    same = to_stratonovich(sde)
    assert set(takes(same.drift)) == {"x", "h", "g", "spread", "f", "p"}
    assert abs(call(same, "drift", 2.0, 0.0) - (2.0 + 6.0 - 0.5 * 0.1**2 * 2.0)) < 1e-11


def test_the_key_on_disk_tells_diffusions_and_senses_apart():
    def key(sde):
        return fingerprint(captured(sde.drift))

    make = lambda kind, b: kind(lambda x, t: x, lambda x, t: b * x)
    one, same, other = (to_stratonovich(make(SDE, b)) for b in (0.5, 0.5, 0.7))
    assert key(one) == key(same) is not None
    assert len({key(one), key(other), key(to_ito(make(Stratonovich, 0.5)))}) == 3


def test_parameters_do_not_enter_the_key():
    keys = {fingerprint(captured(to_stratonovich(sk.GeometricBrownianMotion(mu, 0.2)).drift)) for mu in (0.1, 0.2)}
    assert len(keys) == 1


@pytest.mark.parametrize("make", [to_ito, to_stratonovich])
@pytest.mark.parametrize("what", [sk.ODE(lambda x, t: x), lambda x, t: x, None, 1.0])
def test_only_an_sde_can_be_converted(make, what):
    with pytest.raises(TypeError, match="only an SDE has a sense to convert"):
        make(what)


@pytest.mark.parametrize("g", [lambda x, t: 1.0, lambda x, t: (1.0,), lambda x, t: (1.0, 2.0, 3.0)])
def test_a_diffusion_of_another_size_is_refused(g):
    with pytest.raises(ValueError, match="x0 has 2 components, so diffusion must return a tuple of 2"):
        to_stratonovich(SDE(lambda x, t: (0.0, 0.0), g)).drift((1.0, 2.0), 0.0)
