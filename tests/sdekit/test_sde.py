"""The record of an SDE: parameters by name, and the structure that its functions' values say."""

import dataclasses
import pickle

import numpy as np
import pytest

import sdekit as sk
from sdekit.sde import Structure, structure
from tests.conftest import array


def zero(x, t):
    return 0.0


def one(x, t):
    return 1.0


def test_parameters_are_kept_by_name_as_floats():
    sde = sk.SDE(lambda x, t, k: -k * x, lambda x, t, s: s, s=np.float32(0.5), k=2)
    assert dict(sde.parameters) == {"s": 0.5, "k": 2.0} and all(type(v) is float for v in sde.parameters.values())
    assert repr(sde) == "SDE(s=0.5, k=2.0)"
    assert repr(sk.ODE(zero)) == "ODE()"
    assert repr(sk.OrnsteinUhlenbeck(2.0)) == "OrnsteinUhlenbeck(kappa=2.0, theta=0.0, sigma=1.0)"


def test_an_sde_cannot_be_changed():
    sde = sk.SDE(lambda x, t, k: -k * x, one, k=2.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        sde.drift = zero
    with pytest.raises(TypeError):
        sde.parameters["k"] = 3.0


def test_a_parameter_may_have_a_default(backend):
    damped = sk.SDE(lambda x, t, k=2.0: -k * x, one)
    assert array(sk.simulate(damped, 1.0, steps=1, noise=[[0.25]], backend=backend).final)[0] == -0.75


def test_a_given_parameter_takes_the_defaults_place():
    damped = sk.SDE(lambda x, t, k=2.0: -k * x, one, k=3.0)
    assert sk.simulate(damped, 1.0, steps=1, noise=[[0.25]]).final[0] == -1.75


ROWS = [  # x0, drift, diffusion: the table of the module's docstring
    (1.0, 0.5, 1.0, Structure(dim=1, noises=1, diagonal=True, scalar=True)),
    (1.0, 0, np.float64(1.0), Structure(dim=1, noises=1, diagonal=True, scalar=True)),
    (1.0, np.array(0.5), np.array(1.0), Structure(dim=1, noises=1, diagonal=True, scalar=True)),
    (1.0, 0.5, (1.0, 2.0, 3.0), Structure(dim=1, noises=3, diagonal=False, scalar=True)),
    ((1.0,), (0.5,), (1.0,), Structure(dim=1, noises=1, diagonal=True, scalar=False)),
    ((1.0, 2.0), (0.5, 0), (1.0, 2), Structure(dim=2, noises=2, diagonal=True, scalar=False)),
    ((1.0, 2.0), (0.5, 0.0), ((1.0,), (2.0,)), Structure(dim=2, noises=1, diagonal=False, scalar=False)),
    ((1.0, 2.0), (0.5, 0.0), ((1.0, 2.0, 3.0), (0.0, 0, 1.0)), Structure(2, 3, diagonal=False, scalar=False)),
]


@pytest.mark.parametrize("x0, drift, diffusion, shape", ROWS)
def test_what_the_functions_return_says_what_the_sde_is(x0, drift, diffusion, shape):
    assert structure(sk.SDE(lambda x, t: drift, lambda x, t: diffusion), x0, 0.0) == shape


def test_an_ode_has_no_noise():
    assert structure(sk.ODE(lambda x, t: (0.0, 1.0)), (1.0, 2.0), 0.0) == Structure(2, 0, True, False)


BAD_RECORDS = [
    (lambda: sk.SDE(1.5, one), "drift must be a function of .*, got 1.5; for a constant write `lambda x, t: 1.5`"),
    (lambda: sk.SDE(zero, None), "diffusion must be a function of .*, got None"),
    (lambda: sk.SDE(lambda x: x, one), r"must take \(x, t\) and then its parameters, but takes \(x\)"),
    (lambda: sk.SDE(lambda *a: 0.0, one), r"takes \*args or \*\*kwargs; name its parameters"),
    (lambda: sk.SDE(zero, lambda x, t, **k: 1.0), r"takes \*args or \*\*kwargs; name its parameters"),
    (lambda: sk.SDE(lambda x, t, k: k, one), "drift takes the parameter 'k', which was not given; add k="),
    (lambda: sk.SDE(zero, lambda x, t, s: s, k=1.0), "diffusion takes the parameter 's', which was not given"),
    (lambda: sk.SDE(lambda x, t, k: k, one, k=1, sgima=2), "no function takes the parameter 'sgima'.*'k'"),
    (lambda: sk.SDE(zero, one, k=1.0), "no function takes the parameter 'k'; they take none"),
    (lambda: sk.SDE(lambda x, t, k: k, one, k="a"), r"k must be a real number, or an array .*; got 'a' \(str\)"),
    (lambda: sk.SDE(lambda x, t, k: k, one, k=True), r"k must be a real number, or an array .*; got True \(bool\)"),
    (lambda: sk.SDE(lambda x, t, k: k, one, k=None), "k must be a real number, or an array .*; got None"),
    (lambda: sk.SDE(lambda x, t, k: k, one, k=1j), "parameter k must be a real number, or an array .* of them; got 1j"),
    (lambda: sk.SDE(lambda x, t, k: k, one, k=np.ones((1, 1))), r"or an array .* of them; got array\("),
    (lambda: sk.SDE(max, one), "max.*(x, t)"),
]


@pytest.mark.parametrize("make, message", BAD_RECORDS, ids=[message for _, message in BAD_RECORDS])
def test_a_record_that_does_not_fit_is_refused(make, message):
    with pytest.raises(TypeError, match=message):
        make()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_parameters_are_finite(value):
    with pytest.raises(ValueError, match=f"the parameter k must be finite, got {value}"):
        sk.SDE(lambda x, t, k: k, one, k=value)


NUMBERS = r"must return numbers \(tuples of them for a system\), got"
TUPLE_OF_2 = "x0 has 2 components, so {} must return a tuple of 2, got"
MATRIX = r"diffusion must return either 2 numbers .* or 2 tuples of equal length"
SCALAR, PAIR = 1.0, (1.0, 1.0)
BAD_DRIFTS = [  # x0, what the drift returns, the message
    (SCALAR, [1.0], f"drift {NUMBERS} list"),
    (SCALAR, (1.0, 2.0), f"drift {NUMBERS} tuple"),
    (SCALAR, None, f"drift {NUMBERS} NoneType None"),
    (SCALAR, "a", f"drift {NUMBERS} str 'a'"),
    (SCALAR, 1j, f"drift {NUMBERS} complex 1j"),
    (SCALAR, np.ones(1), f"drift {NUMBERS} ndarray"),
    (SCALAR, float("nan"), r"drift is nan at the start, x=1.0, t=.*0.0.*; it must be finite there"),
    (SCALAR, float("inf"), "drift is inf at the start"),
    (PAIR, [1.0, 1.0], TUPLE_OF_2.format("drift") + r" list \[1.0, 1.0\]"),
    (PAIR, (1.0,), TUPLE_OF_2.format("drift") + " a tuple of 1"),
    (PAIR, (1.0, 2.0, 3.0), TUPLE_OF_2.format("drift") + " a tuple of 3"),
    (PAIR, 1.0, TUPLE_OF_2.format("drift") + " float 1.0"),
    (PAIR, None, TUPLE_OF_2.format("drift") + " NoneType"),
    (PAIR, np.ones(2), TUPLE_OF_2.format("drift") + " ndarray"),
    (PAIR, (1.0, None), f"drift {NUMBERS} NoneType None"),
    (PAIR, (1.0, (1.0,)), f"drift {NUMBERS} tuple"),
    (PAIR, (1.0, float("nan")), "drift is nan at the start"),
]
BAD_DIFFUSIONS = [
    (SCALAR, [1.0], f"diffusion {NUMBERS} list"),
    (SCALAR, None, f"diffusion {NUMBERS} NoneType None"),
    (SCALAR, "a", f"diffusion {NUMBERS} str 'a'"),
    (SCALAR, 1j, f"diffusion {NUMBERS} complex 1j"),
    (SCALAR, (), "diffusion must return either 1 numbers? .* or 1 tuples? of equal length"),
    (SCALAR, (1.0, [2.0]), f"diffusion {NUMBERS} list"),
    (SCALAR, float("nan"), "diffusion is nan at the start"),
    (PAIR, None, TUPLE_OF_2.format("diffusion") + " NoneType"),
    (PAIR, [(1.0, 1.0), (1.0, 1.0)], TUPLE_OF_2.format("diffusion") + " list"),
    (PAIR, (1.0, 2.0, 3.0), TUPLE_OF_2.format("diffusion") + " a tuple of 3"),
    (PAIR, 1.0, TUPLE_OF_2.format("diffusion") + " float 1.0"),
    (PAIR, ((1.0, 2.0), (3.0,)), MATRIX),
    (PAIR, ((1.0,), 2.0), MATRIX),
    (PAIR, ((), ()), MATRIX),
    (PAIR, ((1.0, 1j), (1.0, 1.0)), f"diffusion {NUMBERS} complex"),
    (PAIR, ((1.0, 1.0), (float("inf"), 1.0)), "diffusion is inf at the start"),
]


@pytest.mark.parametrize("x0, value, message", BAD_DRIFTS)
@pytest.mark.parametrize("backend", ["auto", "numpy"])
def test_a_drift_of_the_wrong_structure_is_refused(x0, value, message, backend):
    with pytest.raises((TypeError, ValueError), match=message):
        sk.simulate(sk.SDE(lambda x, t: value, lambda x, t: x), x0, steps=2, backend=backend)
    with pytest.raises((TypeError, ValueError), match=message):
        sk.integrate(lambda x, t: value, x0, steps=2, backend=backend)


@pytest.mark.parametrize("x0, value, message", BAD_DIFFUSIONS)
@pytest.mark.parametrize("backend", ["auto", "numpy"])
def test_a_diffusion_of_the_wrong_structure_is_refused(x0, value, message, backend):
    with pytest.raises((TypeError, ValueError), match=message):
        sk.simulate(sk.SDE(lambda x, t: x, lambda x, t: value), x0, steps=2, backend=backend)


def test_an_error_of_the_users_own_says_where_it_was_raised():
    with pytest.raises(ZeroDivisionError) as caught:
        sk.simulate(sk.SDE(lambda x, t: 1 / (x - 1.0), one), 1.0, steps=2)
    assert "raised by drift(x=1.0" in caught.value.__notes__[0]


@pytest.mark.parametrize("call, error, message", [
    (lambda: sk.SDE(lambda t, x: -x, one), TypeError, "takes .t, x.; here x comes before t"),
    (lambda: sk.simulate(sk.SDE(lambda x, t: np.random.normal(), one), 1.0, steps=2), ValueError,  # noqa: NPY002
     "drift must be a function of its arguments alone, but gave"),
    (lambda: sk.simulate(sk.SDE(lambda x, t: (x[0], x[1]), lambda x, t: (1.0, 1.0)), [1.0, 2.0], steps=2), TypeError,
     "drift takes several components, but x0 holds one number a path"),
    (lambda: sk.simulate(sk.SDE(lambda x, t: 2.0 * x, one), (1.0, 2.0), steps=2), TypeError,
     "drift cannot take the 2 components of x0"),
])
def test_what_newcomers_write_by_mistake_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_function_that_writes_to_its_argument_is_refused_on_arrays():
    def drift(x, t):
        x -= 1.0
        return -x

    with pytest.raises(ValueError, match="changes its argument in place"):
        sk.simulate(sk.SDE(drift, one), 3.0, steps=2, paths=5, backend="numpy")


def test_processes_and_their_paths_can_be_pickled():
    ou = pickle.loads(pickle.dumps(sk.OrnsteinUhlenbeck(kappa=2.0, theta=np.array([1.0, 3.0]))))
    assert repr(ou) == "OrnsteinUhlenbeck(kappa=2.0, theta=[1.0, 3.0], sigma=1.0)"
    paths = sk.simulate(ou, 1.0, steps=3, seed=1)
    again = pickle.loads(pickle.dumps(paths))
    assert (again.x == paths.x).all() and (again.replay(1).x == paths.replay(1).x).all()
