"""Every method against one list of laws (`sdekit.laws`). Where a law does not apply, the method's claims say so."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sdekit as sk
from sdekit.laws import LAWS, change_of_variable, changed, equations
from sdekit.sde import structure
from tests import strategies

METHODS = [sk.euler_maruyama, sk.milstein, sk.sra, sk.sri, sk.strong_general, sk.dri1, sk.tamed_euler, sk.theta(0.5),
           sk.theta(1.0), sk.srock, sk.euler_heun, sk.heun_stratonovich, sk.midpoint, sk.milstein_stratonovich,
           sk.reversible_heun, sk.baoab]
ABSENT = {("without drift", "baoab"), ("change of variable", "baoab"),  # it takes Langevin equations alone
          ("two halves", "reversible_heun")}  # it carries a memory along, which the state does not hold


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_every_method_keeps_every_law(method, law):
    check = LAWS[law]
    if law == "change of variable" and method is sk.tamed_euler:  # it looks at the size of the drift
        found = change_of_variable(method, "shifts")
    else:
        found = check(method)
    assert found.passed is not False, f"{method}, {law}: {found.text}"
    assert (found.passed is None) == ((law, method.name) in ABSENT), f"{method}, {law}: {found}: {found.text}"


taken_by = cache(equations)


@pytest.mark.parametrize("method", [m for m in METHODS if m is not sk.baoab], ids=repr)
@settings(max_examples=10)
@given(turn=strategies.numbers(0.0, 6.28), sizes=st.tuples(*[strategies.numbers(0.3, 3.0)] * 2),
       b=st.tuples(*[strategies.numbers(-2.0, 2.0)] * 2))
def test_steps_go_before_or_after_a_change_of_variable(method, turn, sizes, b):
    """y = A x + b: A any matrix for methods that take any noise, a diagonal one where each component has its own, 1 for
    the one that looks at the size of the drift."""
    turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    A = np.eye(2) if method is sk.tamed_euler else turned * sizes if method.noise == "general" else np.diag(sizes)
    kinds = taken_by(method)
    sde, x0 = kinds[next(k for k in ("general", "diagonal", "additive") if k in kinds)]
    W = sk.Brownian(3, 1.0, 4, 20, structure(sde, x0, 0.0).noises)
    ends = lambda sde, x0: sk.simulate(sde, x0, 1.0, 4, noise=W, method=method, save="final", backend="numpy").final
    other, y0 = changed(sde, x0, A, np.array(b))
    exact = ends(sde, x0) @ A.T + b
    assert np.abs(ends(other, y0) - exact).max() < 1e-9 * max(1.0, np.abs(exact).max())
