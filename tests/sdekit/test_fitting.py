"""Which method takes which equation, and what the refusal says."""

import numpy as np
import pytest

import sdekit as sk
from sdekit.fitting import adaptive_fit, fitted
from sdekit.sde import structure

additive = sk.SDE(lambda x, t: -x, lambda x, t: 1.0 + t)
scalar = sk.SDE(lambda x, t: -x, lambda x, t: 0.3 * x)
diagonal = sk.SDE(lambda x, t: (-x[0], -x[1]), lambda x, t: (0.3 * x[0], 0.2 * x[1]))
crossed = sk.SDE(lambda x, t: (-x[0], -x[1]), lambda x, t: (0.3 * x[1], 0.2 * x[0]))
commuting = sk.SDE(lambda x, t: (-x[0], -x[1]), lambda x, t: ((0.3 * x[0], 0.1 * x[0]), (0.3 * x[1], 0.1 * x[1])))
turning = sk.SDE(lambda x, t: (-x[0], -x[1]), lambda x, t: ((x[1], 0.0 * x[0]), (0.0 * x[0], x[0])))


def asked(fit, method, sde, x0=None):
    x0 = (1.0 if sde in (additive, scalar) else (1.0, 0.5)) if x0 is None else x0
    return fit(method, sde, x0, 0.0, 1.0, structure(sde, x0, 0.0))


def stratonovich(sde):
    return sk.Stratonovich(sde.drift, sde.diffusion)


def test_a_method_for_any_noise_need_not_know_its_kind():
    assert asked(fitted, sk.euler_maruyama, scalar) == (sk.euler_maruyama, "general")


@pytest.mark.parametrize("sde, kind", [(additive, "additive"), (scalar, "scalar"), (diagonal, "diagonal"),
                                       (commuting, "commutative")])
def test_milstein_learns_the_kind(sde, kind):
    assert asked(fitted, sk.milstein, sde) == (sk.milstein, kind)


@pytest.mark.parametrize("sde", [crossed, turning])
def test_noise_that_does_not_commute_takes_the_variant_with_areas(sde):
    method, kind = asked(fitted, sk.milstein, sde)
    assert (method, kind) == (sk.milstein.general, "general") and method.draws == "WHA"


@pytest.mark.parametrize("method, sde, message", [
    (sk.sra, scalar, "sra takes noise that does not depend on the state, but this SDE has scalar noise; use sri"),
    (sk.sri, turning, "sri takes one noise, or one for each component, but this SDE has a 2 x 2 matrix of the general "
                      "kind; use milstein or strong_general"),
    (sk.sri, commuting, "a 2 x 2 matrix of the commutative kind"),
    (sk.sri, crossed, "general noise; use milstein or strong_general"),
])
def test_noise_of_another_kind_is_refused(method, sde, message):
    with pytest.raises(ValueError, match=message):
        asked(fitted, method, sde)


def test_the_other_calculus_is_refused_with_the_call_that_helps():
    with pytest.raises(ValueError, match=r"milstein is for equations in the sense of Ito.*Stratonovich: give "
                                         r"sdekit.to_ito\(sde\)"):
        asked(fitted, sk.milstein, stratonovich(scalar), 1.0)
    with pytest.raises(ValueError, match=r"give sdekit.to_stratonovich\(sde\)"):
        asked(fitted, sk.heun_stratonovich, scalar)


def test_with_additive_noise_the_two_are_one():
    assert asked(fitted, sk.heun_stratonovich, additive)[0] is sk.heun_stratonovich
    assert asked(fitted, sk.sra, stratonovich(additive), 1.0)[0] is sk.sra


@pytest.mark.parametrize("sde, method", [(additive, "sra"), (scalar, "sri"), (diagonal, "sri"),
                                         (commuting, "milstein")])
def test_adaptive_steps_choose_the_method_for_the_noise(sde, method):
    assert asked(adaptive_fit, None, sde)[0].name == method


def test_adaptive_steps_in_the_sense_of_stratonovich():
    assert asked(adaptive_fit, None, stratonovich(scalar), 1.0)[0] is sk.heun_stratonovich


@pytest.mark.parametrize("method, sde, message", [
    (sk.euler_maruyama, scalar, "no error estimate that could be trusted: it is of strong order 0.5.*method=sri"),
    (sk.euler_maruyama, additive, "takes no adaptive steps"),
    (sk.tamed_euler, scalar, "takes no adaptive steps"),
    (sk.milstein, turning, "needs the Levy areas of every cell.*fixed steps"),
    (None, turning, "no method takes adaptive steps on noise that does not commute.*fixed steps"),
    (sk.strong_general, scalar, "needs the Levy areas of every cell.*method=sri"),
])
def test_what_cannot_take_adaptive_steps_is_refused(method, sde, message):
    with pytest.raises(ValueError, match=message):
        asked(adaptive_fit, method, sde)


MIX = np.array([[1.0, 0.0], [1.0, 1.0]])
mixing = sk.SDE(lambda x, t: -x, lambda x, t: 0.5 * (x @ MIX))
apart = sk.SDE(lambda x, t: -x @ MIX, lambda x, t: 0.5 * x)
whole = np.ones((4, 2))


@pytest.mark.parametrize("method", [sk.sri, sk.milstein, sk.strong_general, sk.dri1], ids=repr)
def test_on_an_array_noise_that_mixes_elements_is_refused(method):
    assert sk.simulate(apart, whole, steps=2, seed=1, method=method).x.shape == (4, 3, 2)
    with pytest.raises(ValueError, match=f"{method} takes, on a state that is one array, a diffusion that"):
        sk.simulate(mixing, whole, steps=2, seed=1, method=method)


def test_on_an_array_an_equation_of_the_other_calculus_is_refused_if_it_mixes_elements():
    assert sk.simulate(sk.to_stratonovich(apart), whole, steps=2, seed=1).x.shape == (4, 3, 2)
    with pytest.raises(ValueError, match=r"made by to_stratonovich takes.*acts element by element"):
        sk.simulate(sk.to_stratonovich(mixing), whole, steps=2, seed=1)
    assert sk.simulate(mixing, whole, steps=2, seed=1, method=sk.euler_maruyama).x.shape == (4, 3, 2)


def test_a_tensor_is_looked_at_likewise():
    torch = pytest.importorskip("torch")
    x0, A = torch.ones(4, 2, dtype=torch.float64), torch.tensor(MIX)
    with pytest.raises(ValueError, match="this one mixes elements"):
        sk.simulate(sk.SDE(lambda x, t: -x, lambda x, t: x @ A), x0, steps=2, seed=1, method=sk.sri)
    with pytest.raises(ValueError, match="sra takes noise that does not depend on the state"):
        sk.simulate(sk.SDE(lambda x, t: -x, lambda x, t: 0.3 * x), x0, steps=2, seed=1, method=sk.sra)
    still = sk.SDE(lambda x, t: -x, lambda x, t: 0.3)
    assert sk.simulate(still, x0, steps=2, seed=1, method=sk.sra).x.shape == (4, 3, 2)
