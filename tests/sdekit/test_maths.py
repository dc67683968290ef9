"""One body, three executions: np.* and math.* mean the same on numbers, arrays and tensors."""

import math
import types
from math import exp as plain_exp

import numpy as np
import pytest
from numpy import where as plain_where

import sdekit as sk
from sdekit.array_engine import NUMPY
from sdekit.components import written
from sdekit.maths import BySize, captured, fingerprint, rebind
from tests.conftest import EPS, array

POINTS = np.array([-2.5, -1.0, -0.3, 0.0, 0.2, 0.75, 1.0, 3.0])


def everything(x):
    """Elementary functions as users write them, on a number, an array or a tensor x."""
    y = 1.0 + x * x
    return (
        np.exp(-x), np.expm1(x), np.log(y), np.log1p(x * x), np.log2(y), np.log10(y), np.sqrt(y), np.square(x),
        np.sin(x), np.cos(x), np.tan(x), np.arcsin(x / y), np.arccos(x / y), np.arctan(x), np.arctan2(x, y),
        np.sinh(x), np.cosh(x), np.tanh(x), np.arcsinh(x), np.arccosh(y), np.arctanh(x / y), np.hypot(x, 2.0),
        np.power(y, 0.3), np.power(2.0, x), np.abs(x), np.absolute(x), np.fabs(x), np.sign(x), np.floor(x),
        np.ceil(x), np.maximum(x, 0.5), np.minimum(0.5, x), np.where(x > 0.1, x, -y), np.where(x > 0.1, 0.0, x),
        math.exp(x), math.log(y), math.sqrt(y), math.sin(x), math.cos(x), math.tanh(x), math.atan(x),
        math.pow(y, 0.3), math.fabs(x), np.pi * x, math.pi * x, math.e * x, abs(x), y**0.3, x**3, -x / y,
    )


@pytest.fixture(scope="module")
def bound(backend):
    """A function of one number, as each execution runs it on POINTS: f -> an array (values, points)."""
    rows = lambda values: np.array([np.broadcast_to(array(v), POINTS.shape) for v in values])
    if backend == "numpy":
        return lambda f: rows(rebind(f, NUMPY)(POINTS))
    if backend == "numba":
        from sdekit.numba_engine import compiled
        return lambda f: np.array(list(map(compiled(f), POINTS.tolist()))).T
    import torch

    from sdekit.torch_engine import _replace
    return lambda f: rows([torch.as_tensor(v) for v in rebind(f, _replace)(torch.tensor(POINTS))])


def exact(f):
    return np.array([f(x) for x in POINTS.tolist()]).T


def test_elementary_functions_mean_the_same_everywhere(bound):
    """To a few units in the last place of what plain Python gives on numbers."""
    assert agree(bound(everything), exact(everything))


COMMON = {  # one by one, so that one that is missing hides no other
    "where of two numbers": lambda x: (np.where(x > 0.1, 1.0, -1.0),),
    "where of a whole number": lambda x: (np.where(x > 0.1, 2, x),),
    "clip": lambda x: (np.clip(x, -0.5, 1.5),),
    "tau": lambda x: (math.tau * x,),
    "logical_and": lambda x: (np.where(np.logical_and(x > 0.0, x < 1.0), x, 0.0),),
    "and": lambda x: (np.where((x > 0.0) & (x < 1.0), x, 0.0),),
}
RARE = {  # an execution may lack these, if it says so by name
    "clip": lambda x: (np.clip(x, None, 1.5),),
    "mod": lambda x: (np.mod(x, 0.7),),
    "fmod": lambda x: (math.fmod(x, 0.7),),
    "cbrt": lambda x: (np.cbrt(x),),
    "heaviside": lambda x: (np.heaviside(x, 0.5),),
    "erf": lambda x: (math.erf(x),),
}


def agree(ours, plain):
    return (np.abs(ours - plain) <= 8 * EPS * np.maximum(np.abs(plain), 2**-10)).all()


@pytest.mark.parametrize("name", COMMON)
def test_a_common_function_means_the_same_everywhere(bound, name):
    assert agree(bound(COMMON[name]), exact(COMMON[name]))


@pytest.mark.parametrize("name", RARE)
def test_a_rare_function_means_the_same_or_is_refused_by_name(bound, name):
    try:
        ours = bound(RARE[name])
    except Exception as error:  # Numba's own, where nothing stands between
        assert name in str(error)
    else:
        assert agree(ours, exact(RARE[name]))


def taken_by_name(x):
    return plain_exp(-x), plain_where(x > 0.1, x, -x)


def test_functions_imported_by_name_are_bound_too(bound):
    assert agree(bound(taken_by_name), exact(taken_by_name))


def test_torch_never_hands_a_tensor_to_numpy():
    """np.cbrt(tensor) would leave the graph and the device: what torch lacks has to be done in torch, or refused."""
    torch = pytest.importorskip("torch")
    sde = sk.SDE(lambda x, t: np.cbrt(x), lambda x, t: 1.0)
    x0 = torch.ones(2, 3, requires_grad=True)
    try:
        x = sk.simulate(sde, x0, steps=2, seed=1).final
    except (AttributeError, TypeError) as error:
        assert "np.cbrt" in str(error) and "torch" in str(error)
    else:
        (slope,) = torch.autograd.grad(x.sum(), x0)
        assert (slope - 1.0).abs().min() > 0.1  # the drift takes part in it


def test_a_function_without_counterpart_is_named():
    with pytest.raises(TypeError, match=r"np.erf \(or math.erf\) has no counterpart in NumPy"):
        sk.simulate(sk.SDE(lambda x, t: math.erf(x), lambda x, t: 1.0), 1.0, steps=2, backend="numpy")


def helper(x):
    return deeper(x) + 1.0


def deeper(x):
    return math.exp(x)


def calls_helpers(x):
    return (helper(x) * 2.0,)


def test_helper_functions_are_bound_in_turn(bound):
    assert agree(bound(calls_helpers), exact(calls_helpers))


def test_closures_are_bound_and_inner_functions_too(bound):
    def scaled(x):
        return math.exp(-x * scale)

    scale = 0.5

    def body(x):
        inner = lambda y: np.exp(y) + 1.0
        return scaled(x), inner(x)

    assert agree(bound(body), exact(body))


def test_the_original_is_never_changed():
    before = calls_helpers.__globals__["math"], helper.__globals__["deeper"]
    fake = types.SimpleNamespace(exp=lambda x: 10.0)
    copy = rebind(calls_helpers, lambda value: fake if value is math else value)
    assert copy(0.0) == (22.0,) and calls_helpers(0.0) == (4.0,)
    assert before == (math, deeper)


def test_defaults_and_keyword_only_parameters_survive():
    def f(x, k=2.0, *, m=3.0):
        return k * x + m

    assert rebind(f, NUMPY)(1.0) == 5.0


# Functions by the sizes of their arguments


def total(scale=1.0, helper=deeper):
    """The sum of all entries of exp(scale x), written out for the sizes."""
    def make(x, k):
        def terms(name, size):
            if size is None:
                return f"helper(scale * {name}) * k"
            return " + ".join(terms(f"{name}[{i}]", inner) for i, inner in enumerate(size))

        return written("x, k", f"return {terms('x', x)}", scale=scale, helper=helper)

    return BySize(make)


@pytest.mark.parametrize("shape", [lambda x: x, lambda x: (x, 2.0 * x, 1), lambda x: ((x, 1.0), (0.5, -x)),
                                   lambda x: (x, (x, 0))], ids=["number", "mixed tuple", "matrix", "ragged"])
def test_a_function_by_size_means_the_same_everywhere(bound, shape):
    f = total()
    body = lambda x: (f(shape(x), 2.0),)
    plain = exact(body)
    assert np.abs(bound(body) - plain).max() <= 8 * EPS * np.abs(plain).max()


def test_functions_by_size_nest_and_are_bound_in_turn(bound):
    inner = total(0.5)
    twice = BySize(lambda x: written("x", f"return inner(x, 1.0) + inner(({', '.join(['x[0]'] * len(x))}), 3)",
                                     inner=inner))
    body = lambda x: (twice((x, -x)), twice((x, 1, x)))
    assert agree(bound(body), exact(body))


def test_powers_and_branches_in_a_written_function_are_compiled_like_all_else(bound):
    f = BySize(lambda x: written("x", "return np.where(x[0] > 0.1, x[0] ** 3, x[1] ** 2.0) + abs(x[0]) ** 0.5", np=np))
    body = lambda x: (f((x, 0.5 * x)),)
    assert agree(bound(body), exact(body))


def test_each_size_is_made_once():
    made = []
    f = BySize(lambda x: made.append(x) or (lambda x: x))
    for x in (1.0, 2, np.ones(3), (1.0,), (2,), ((1,), (2,)), ((1.0,), (2,)), ()):
        assert f(x) is x
    assert made == [None, (None,), ((None,), (None,)), ()]


def test_without_contract_a_function_by_size_has_the_bits_of_numpy():
    from sdekit.numba_compiler import compiled
    f = BySize(lambda x: written("x", "return x[0] * x[1] + x[2] * x[0]"))
    x = np.random.default_rng(1).normal(size=(200, 3))
    body = lambda a, b, c: f((a, b, c))
    fast = compiled(body, contract=False)
    assert all(fast(*row) == body(*row) for row in x.tolist())


def test_what_a_maker_closes_over_and_its_code_are_part_of_the_key():
    def key(f):
        return fingerprint(captured(lambda x: f(x, 1.0)))

    assert key(total()) == key(total()) is not None
    others = [total(), total(2.0), total(1), total(helper=helper), BySize(lambda x, k: lambda x, k: k)]
    assert len({key(f) for f in others}) == len(others)


def test_what_a_maker_closes_over_is_compiled_anew_when_it_changes():
    from sdekit.numba_compiler import compiled
    make = lambda scale: lambda x: total(scale, lambda x: x)((x, x), 1.0)
    outer = lambda f: lambda x: f(x, 1.0)
    for scale in (2.0, 3.0, 2.0):
        assert compiled(outer(total(scale, lambda x: x)))(1.5) == 1.5 * scale == make(scale)(1.5) / 2


def test_rebinding_keeps_the_original_and_shares_one_copy():
    f = total()
    g = lambda x: f((x, x), 1.0) + f(x, 1.0)
    copy = rebind(g, lambda value: types.SimpleNamespace(exp=lambda x: 10.0) if value is math else value)
    assert copy(0.0) == 30.0 and g(0.0) == 3.0
