"""Under-damped Langevin dynamics and BAOAB: the formula, the exact facts of a spring, and the orders."""

import pickle

import numpy as np
import pytest
from scipy.linalg import expm, solve_discrete_lyapunov

import sdekit as sk
from sdekit.components import coefficients
from sdekit.langevin import baoab
from sdekit.maths import rebind
from sdekit.numba_compiler import compiled
from sdekit.processes import UnderdampedLangevin
from sdekit.sde import noise_free, structure
from tests.conftest import K, assert_near, rounding
from tests.problems import coarse, fine_increments

BATCHES = 20


def spring(q, k):
    return -k * q


def pendulum(q, t, mass, k):
    return -k * np.sin(q) + 0.3 * mass * np.cos(2.0 * t)


def pair(q, a, b):
    u, v = q
    return -a * u**3 + b * v, b * u - v - np.sin(v)


SPRING = UnderdampedLangevin(spring, gamma=0.7, temperature=2.0, mass=1.3, k=1.5)
PENDULUM = UnderdampedLangevin(pendulum, gamma=0.7, temperature=2.0, mass=1.3, k=1.5)
PAIR = UnderdampedLangevin(pair, gamma=0.7, temperature=2.0, mass=1.3, dim=2, a=0.8, b=0.6)
CASES = [(SPRING, (0.4, -0.7)), (PENDULUM, (0.4, -0.7)), (PAIR, (0.4, -0.7, 0.2, 0.5))]
each_case = pytest.mark.parametrize("sde, x", CASES, ids=["spring", "pendulum", "pair"])


def form(sde, x):
    return coefficients(sde.drift, sde.diffusion, None, tuple(sde.parameters), structure(sde, x, 0.0),
                        langevin=sde.langevin)


def stepper(sde, method=baoab):
    """(x, t, h, dw) -> x at t + h"""
    step, p = method.make(form(sde, (0.5,) * (2 * sde.dim))), tuple(sde.parameters.values())
    return lambda x, t, h, dw: step(x, t, h, dw, p)


def march(sde, x, end, dw):
    """X at the end, (paths, 2 n), from increments (paths, steps, n)."""
    step, h = stepper(sde), end / dw.shape[1]
    x = tuple(np.full(len(dw), v) for v in x)
    for n in range(dw.shape[1]):
        x = step(x, n * h, h, tuple(dw[:, n].T))
    return np.stack(x, axis=-1)


def matrices(sde, h):
    """A step of a linear force: x' = M x + N z, z normal."""
    step = stepper(sde)
    M = np.array([step(e, 0.0, h, (0.0,)) for e in ((1.0, 0.0), (0.0, 1.0))]).T
    return M, np.array(step((0.0, 0.0), 0.0, h, (h**0.5,)))[:, None]


def rates(sde, x, t):
    """The force at x, as this file writes it."""
    q, v = np.array_split(np.array(x), 2)
    named = {k: v for k, v in {**sde.parameters, "t": t}.items() if k in sde.force.__code__.co_varnames}
    return q, v, np.atleast_1d(sde.force(q[0] if sde.dim == 1 else tuple(q), **named))


@each_case
def test_its_drift_and_diffusion_are_langevins(sde, x):
    own = lambda f: {k: sde.parameters[k] for k in f.__code__.co_varnames[2:f.__code__.co_argcount]}
    (_, v, F), n = rates(sde, x, 0.9), sde.dim
    assert np.abs(np.array(sde.drift(x, 0.9, **own(sde.drift))) - [*v, *(F / 1.3 - 0.7 * v)]).max() < 1e-15
    g = np.array(sde.diffusion(x, 0.9, **own(sde.diffusion)))
    assert np.abs(g - np.vstack([np.zeros((n, n)), (2 * 0.7 * 2.0 / 1.3) ** 0.5 * np.eye(n)])).max() < 1e-15


@each_case
def test_baoab_is_its_formula(sde, x):
    t, h, dw = 0.9, 0.4, np.array([0.3, -0.2][:sde.dim])
    q, v, F = rates(sde, x, t)
    v = v + h / 2 * F / 1.3
    q = q + h / 2 * v
    v = np.exp(-0.7 * h) * v + (2.0 / 1.3 * (1 - np.exp(-2 * 0.7 * h)) / h) ** 0.5 * dw
    q = q + h / 2 * v
    v = v + h / 2 * rates(sde, [*q, *v], t + h)[2] / 1.3
    assert np.abs(np.array(stepper(sde)(x, t, h, tuple(dw))) - [*q, *v]).max() <= rounding(1, 1.0)


@pytest.mark.parametrize("part", [0.01, 0.3, 0.9, 0.999])
def test_a_spring_has_the_exact_stationary_law_of_q_and_a_known_one_of_v_at_every_stable_step(part):
    """Var Q = kT / (m w^2), Var V = kT / m (1 - h^2 w^2 / 4), Cov = 0, for h w < 2: P = M P M^T + N N^T.

    Leimkuhler & Matthews 2013.
    """
    omega = (1.5 / 1.3) ** 0.5
    h = 2 / omega * part
    M, N = matrices(SPRING, h)
    P = solve_discrete_lyapunov(M, N @ N.T)
    exact = np.diag([2.0 / 1.5, 2.0 / 1.3 * (1 - (h * omega) ** 2 / 4)])
    assert np.abs(P - exact).max() <= rounding(100 / min(h, 1 - part), 1.0)
    assert np.abs(np.linalg.eigvals(M)).max() < 1
    assert np.abs(np.linalg.eigvals(matrices(SPRING, 2.001 / omega)[0])).max() > 1


def test_without_friction_it_is_velocity_verlet_which_can_be_run_back_and_keeps_the_energy_bounded():
    still = UnderdampedLangevin(pair, gamma=0.0, temperature=2.0, mass=1.3, dim=2, a=0.8, b=0.6)
    step, h, start = stepper(still), 0.1, (0.4, -0.7, 0.2, 0.5)
    q, v, F = rates(still, start, 0.0)
    there = q + h * v + h**2 / 2 * F / 1.3
    v = v + h / 2 * (F + rates(still, [*there, *v], h)[2]) / 1.3
    assert np.abs(np.array(step(start, 0.0, h, (0.3, -0.2))) - [*there, *v]).max() <= rounding(1, 1.0)

    def energy(x):
        q, r, v, w = x
        return 1.3 / 2 * (v**2 + w**2) + 0.8 / 4 * q**4 - 0.6 * q * r + r**2 / 2 - np.cos(r)

    x, off = start, {}
    for h, steps in ((0.1, 4000), (0.05, 8000)):
        x, off[h] = start, 0.0
        for _ in range(steps):
            x = step(x, 0.0, h, (0.0, 0.0))
            off[h] = max(off[h], abs(energy(x) - energy(start)))
    assert off[0.1] < 0.01 and 3 < off[0.1] / off[0.05] < 5  # over a time of 400: no drift, and O(h^2)
    x = start
    for _ in ("there", "and back"):
        for _ in range(100):
            x = step(x, 0.0, 0.1, (0.0, 0.0))
        x = (*x[:2], *(-v for v in x[2:]))
    assert np.abs(np.array(x) - start).max() <= rounding(100_000, 1.0)


def moments(M, N, n, start):
    """Mean and covariance after n steps."""
    mean, P = np.array(start), np.zeros((2, 2))
    for _ in range(n):
        mean, P = M @ mean, M @ P @ M.T + N @ N.T
    return mean, P


def test_the_weak_order_is_2():
    """Mean and covariance of a spring at t = 2, of the method and of the equation, both without sampling."""
    A, start, steps = np.array([[0, 1], [-1.5 / 1.3, -0.7]]), (1.0, 0.3), (8, 16, 32)
    mean = expm(2 * A) @ start
    block = expm(2 * np.block([[-A, np.diag([0, 2 * 0.7 * 2.0 / 1.3])], [np.zeros((2, 2)), A.T]]))  # Van Loan 1978
    covariance = block[2:, 2:].T @ block[:2, 2:]
    errors = []
    for n in steps:
        m, P = moments(*matrices(SPRING, 2 / n), n, start)
        errors.append([*np.abs(m - mean), *np.abs(P - covariance).ravel()])
    measured = np.polyfit(-np.log(steps), np.log(errors), 1)[0]
    assert np.abs(measured - baoab.weak).max() < 0.15


def three_point(n):
    """Every path of n three-point numbers, 0 and +-3^{1/2}, and its probability; to the fifth moment they are normal,
    so that they keep a weak order up to 2 (Kloeden & Platen 1992, section 14.2)."""
    i = np.indices((3,) * n).reshape(n, -1).T
    return np.array([0.0, 3**0.5, -(3**0.5)])[i], np.array([2 / 3, 1 / 6, 1 / 6])[i].prod(axis=1)


def test_the_weak_order_is_2_for_a_force_that_is_not_linear():
    """E Q and E Q^2 of the pendulum at t = 1/2, by their differences between 3, 6 and 12 steps."""
    values = []
    for n in (3, 6, 12):
        z, weight = three_point(n)
        q = march(PENDULUM, (1.5, 0.0), 0.5, (0.5 / n) ** 0.5 * z[..., None])[:, 0]
        values.append([weight @ q, weight @ q**2])
    first, second = np.diff(values, axis=0)
    assert np.abs(np.log2(np.abs(first / second)) - baoab.weak).max() < 0.15


@pytest.mark.parametrize("sde, x", CASES, ids=["spring", "pendulum", "pair"])
def test_the_strong_order_is_1(sde, x):
    """Against 1024 steps on the same path, whose own error, 1/8 of the smallest one's, Richardson takes out."""
    steps, dw = (16, 32, 64, 128), fine_increments(41, 1000, 1024, sde.dim)
    fine, finer = (march(sde, x, 1.0, coarse(dw, n)) for n in (512, 1024))
    errors = [np.abs(march(sde, x, 1.0, coarse(dw, n)) - (2 * finer - fine)).max(axis=1)
              .reshape(BATCHES, -1).mean(axis=1) for n in steps]
    slopes = np.polyfit(-np.log(steps), np.log(errors), 1)[0]
    assert abs(slopes.mean() - baoab.strong) + K * slopes.std(ddof=1) / BATCHES**0.5 < 0.15


@each_case
def test_without_noise_it_is_its_method_for_ODEs_of_order_2(sde, x):
    ode = noise_free(sde)
    names, shape = tuple(sde.parameters), structure(ode, x, 0.0)
    step = baoab.ode.make(coefficients(ode.drift, None, None, names, shape, langevin=sde.langevin))
    ours, p, steps, errors = stepper(sde), tuple(sde.parameters.values()), (16, 32, 64), []
    exact = sk.integrate(ode, x, 1.0, 1000, save="final").final[0]
    for n in steps:
        y = z = x
        for i in range(n):
            y, z = step(y, i / n, 1 / n, (), p), ours(z, i / n, 1 / n, (0.0,) * sde.dim)
        assert y == z
        errors.append(np.abs(np.array(y) - exact).max())
    assert abs(np.polyfit(-np.log(steps), np.log(errors), 1)[0] - baoab.ode.order) < 0.15


@pytest.mark.parametrize("sde, x", CASES[1:], ids=["pendulum", "pair"])
def test_numba_torch_and_arrays_are_plain_numbers_to_rounding(sde, x):
    torch = pytest.importorskip("torch")
    step, euler, p = baoab.make(form(sde, x)), sk.euler_maruyama.make(form(sde, x)), tuple(sde.parameters.values())
    dw = 0.1**0.5 * sk.normals(4, paths=9, steps=10, components=2)

    def run(x, dw, h, p):
        for i in range(10):
            x = step(x, i * h, h, (dw[i, 0], dw[i, 1]), p)
        return euler(x, 1.0, h, (dw[0, 0], dw[0, 1]), p)

    plain = np.array([run(x, z, 0.1, p) for z in dw])
    arrays = run(tuple(np.full(9, v) for v in x), dw.transpose(1, 2, 0), 0.1, p)
    assert np.abs(np.stack(arrays, axis=-1) - plain).max() <= rounding(10, 1.0)
    assert np.abs(np.array(compiled(run)(x, dw[0], 0.1, p)) - plain[0]).max() <= rounding(10, 1.0)
    from sdekit.torch_engine import _replace
    start = tuple(torch.full((9,), v, dtype=torch.float64) for v in x)
    on_torch = rebind(run, _replace)(start, torch.as_tensor(dw.transpose(1, 2, 0)), 0.1, p)
    assert np.abs(torch.stack(on_torch, dim=-1).numpy() - plain).max() <= rounding(10, 1.0)


def test_it_takes_the_force_twice_a_step():
    count = []
    sde = UnderdampedLangevin(lambda q: count.append(q) or -q, gamma=1.0, temperature=1.0)
    step = stepper(sde)
    count.clear()
    step((0.5, 0.1), 0.0, 0.1, (0.2,))
    assert (len(count), 0) == baoab.evaluations and baoab.ode.evaluations == 2


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_other_methods_take_it_too(backend):
    x = sk.simulate(SPRING, (0.5, 0.0), t=2.0, steps=256, paths=4000, seed=3, save="final", backend=backend).final
    x = np.asarray(x)
    mean, P = moments(*matrices(SPRING, 2 / 4096), 4096, (0.5, 0.0))
    assert_near(x.mean(axis=0), mean, (np.diag(P) / 4000) ** 0.5, bias=0.02)
    assert_near(np.cov(x.T), P, ((np.outer(np.diag(P), np.diag(P)) + P**2) / 4000) ** 0.5, bias=0.02)


def test_parameters_are_shared_by_name_and_functions_by_force():
    again = UnderdampedLangevin(spring, 0.1, 1.0, k=2.0)
    assert again.drift is SPRING.drift and again.langevin is SPRING.langevin
    weight = UnderdampedLangevin(lambda q, mass, g=9.81: -mass * g, gamma=0.0, temperature=0.0, mass=2.0)
    assert weight.drift((1.0, 0.5), 0.0, gamma=0.0, mass=2.0) == (0.5, -9.81)
    moon = UnderdampedLangevin(lambda q, mass, g=9.81: -mass * g, gamma=0.0, temperature=0.0, mass=2.0, g=1.6)
    assert moon.drift((1.0, 0.5), 0.0, gamma=0.0, mass=2.0, g=1.6) == (0.5, -1.6)
    odd = UnderdampedLangevin(lambda q, x, s, q0, force, temperature: -x * s * q0 * force * temperature, gamma=0.0,
                              temperature=3.0, x=1.0, s=2.0, q0=1.0, force=1.0)
    assert stepper(odd)((0.0, 0.0), 0.0, 1.0, (0.0,)) == (-3.0, -6.0)
    many = UnderdampedLangevin(spring, gamma=np.array([0.5, 1.0]), temperature=1.0, k=np.array([1.0, 2.0]))
    assert sk.simulate(many, (1.0, 0.0), steps=4, seed=1).x.shape == (2, 5, 2)
    assert stepper(many)((np.ones(2), np.zeros(2)), 0.0, 0.1, (np.zeros(2),))[0].shape == (2,)


def test_it_can_be_pickled():
    copy = pickle.loads(pickle.dumps(PENDULUM))
    assert repr(copy) == repr(PENDULUM) == "UnderdampedLangevin(gamma=0.7, temperature=2.0, mass=1.3, k=1.5)"
    assert stepper(copy)((0.4, 0.1), 0.2, 0.3, (0.1,)) == stepper(PENDULUM)((0.4, 0.1), 0.2, 0.3, (0.1,))


@pytest.mark.parametrize("make, error, message", [
    (lambda: UnderdampedLangevin(spring, -1.0, 1.0, k=1.0), ValueError, "Langevin needs gamma >= 0, got -1.0"),
    (lambda: UnderdampedLangevin(spring, 1.0, -1.0, k=1.0), ValueError, "needs temperature >= 0, got -1.0"),
    (lambda: UnderdampedLangevin(spring, 1.0, 1.0, 0.0, k=1.0), ValueError, "needs mass > 0, got 0.0"),
    (lambda: UnderdampedLangevin(spring, 1.0, 1.0), TypeError, "takes the parameter 'k', which was not given"),
    (lambda: UnderdampedLangevin(spring, 1.0, 1.0, k=1.0, w=2.0), TypeError, "no function takes the parameter 'w'"),
    (lambda: UnderdampedLangevin(1.0, 1.0, 1.0), TypeError, "force must be a function of"),
    (lambda: UnderdampedLangevin(lambda: 1.0, 1.0, 1.0), TypeError, "force takes no argument; it must take q"),
    (lambda: UnderdampedLangevin(lambda q, dim: 1.0, 1.0, 1.0), TypeError, "takes a parameter 'dim'.*rename it"),
    (lambda: UnderdampedLangevin(spring, 1.0, 1.0, dim=0, k=1.0), ValueError, "integer >= 1; got 0"),
    (lambda: sk.simulate(sk.BrownianMotion(), 0.0, steps=2, method=baoab), ValueError,
     r"baoab takes an UnderdampedLangevin\(force, gamma, temperature, ...\) alone"),
    (lambda: sk.simulate(sk.SDE(lambda x, t: (x[1], -x[0]), lambda x, t: (0.0, 1.0)), (0.0, 0.0), steps=2,
                         method=baoab), ValueError, "baoab takes an UnderdampedLangevin"),
], ids=["gamma", "temperature", "mass", "k", "w", "1.0", "no q", "dim", "dim=0", "Brownian", "system"])
def test_what_does_not_fit_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
