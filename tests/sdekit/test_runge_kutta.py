"""Stochastic Runge-Kutta methods: their orders, measured or worked out; one body on every execution; what they cost."""

from dataclasses import replace
from functools import cache
from itertools import product

import numpy as np
import pytest
from scipy.linalg import expm

import sdekit as sk
from sdekit import runge_kutta
from sdekit.components import as_tuple, coefficients, written
from sdekit.numba_compiler import compiled
from sdekit.runge_kutta import dri1, kutta3, sra, sri, strong_general
from sdekit.sde import structure
from sdekit.tableaus import DIAGONAL
from tests.conftest import EPS, K, rounding
from tests.problems import additive, arsinh, linear, sinh, tanh, two_noises, wave

BATCHES = 20
STEPS = (16, 32, 64, 128)
FINE = 512  # steps of a reference
METHODS = [sra, sri, strong_general, dri1]
each_method = pytest.mark.parametrize("method", METHODS, ids=repr)

A, B1, B2 = (np.array(m, float) for m in ([[-0.3, 0.2], [0.1, 0.4]], [[0, 1], [0, 0]], [[0.2, 0], [1, 0]]))


def linear_system(A, *B):
    """dX = A X dt + sum_j B_j X dW_j"""
    times = lambda M, x: tuple(sum(float(a) * v for a, v in zip(row, x)) for row in M)
    return sk.SDE(lambda x, t: times(A, x), lambda x, t: tuple(zip(*(times(b, x) for b in B))))


def _curl(x, t):
    u, v = x
    return np.cos(v) - 0.3 * u + t, np.sin(u) - v * v * v / (1.0 + v * v)


sine = sk.SDE(lambda x, t: np.sin(x), lambda x, t: 1.0)
additive_matrix = sk.SDE(_curl, lambda x, t: ((0.5, 0.3 + 0.3 * t, 0.2), (-0.4, 0.7, np.cos(t))))
coupled = sk.SDE(_curl, lambda x, t: (0.5 * np.sin(x[0]) + 0.2 * t, 0.4 * np.cos(x[1])))
one_noise = sk.SDE(_curl, lambda x, t: ((0.5 * np.sin(x[1]) + 0.3 * t,), (0.4 * np.cos(x[0] + x[1]),)))
knot = linear_system(A, B1, B2)
tangle = sk.SDE(_curl, lambda x, t: ((np.sin(x[1]), 0.4 * t + 0.3), (0.2 * x[0], np.cos(x[0]))))
heston = sk.SDE(_curl, lambda x, t: (0.5 * np.cos(x[1]) * x[0] + 0.2, 0.5 + 0.2 * np.sin(x[1])))

#: sde, x0, its kind of noise, the methods that take it
FORMS = {
    "linear": (linear.sde, 0.5, "scalar", (sri, strong_general, dri1)),
    "sine": (sine, 1.0, "additive", (sra, sri, strong_general, dri1)),
    "additive matrix": (additive_matrix, (1.0, 0.3), "additive", (sra, strong_general, dri1)),
    "coupled": (coupled, (1.0, 0.3), "diagonal", (sri, strong_general, dri1)),
    "one noise": (one_noise, (1.0, 0.3), "scalar", (sri, strong_general, dri1)),
    "two noises": (two_noises.sde, 1.0, "commutative", (strong_general, dri1)),
    "tangle": (tangle, (1.0, 0.3), "general", (strong_general, dri1)),
    "heston": (heston, (1.0, 0.3), "general", (strong_general, dri1)),
}
CASES = [(method, name) for name, (*_, methods) in FORMS.items() for method in methods]
each_case = pytest.mark.parametrize("method, name", CASES, ids=lambda v: str(v))


def form(sde, x0, kind):
    return coefficients(sde.drift, sde.diffusion, None, tuple(sde.parameters), structure(sde, x0, 0.0), kind)


def march(method, sde, x0, kind, end, draws, backend=np):
    """X(end), (paths, dim), from the draws of equal steps, (paths, steps, draws)."""
    step, p = method.make(form(sde, x0, kind)), tuple(sde.parameters.values())
    start, h = x0 if isinstance(x0, tuple) else (x0,), end / draws.shape[1]
    x = tuple(backend.full((len(draws),), float(v), dtype=backend.float64) for v in start)
    for n in range(draws.shape[1]):
        x = step(x, n * h, h, tuple(draws[:, n].T), p)
    return backend.stack([v + 0.0 * draws[:, 0, 0] for v in x], -1)


@cache
def fine_draws(seed, paths, noises, end, steps=FINE):
    """(W, H, A) of each of `steps` steps; A is the best guess H x W, which is what Chen's relation then builds on."""
    W, H = sk.Brownian(seed, end, steps, paths, noises).increments_and_areas(steps)
    return W, H, H[..., :, None] * W[..., None, :] - W[..., :, None] * H[..., None, :]


def joined(W, H, A, steps):
    """The same path's (W, H, A) on fewer steps, by Chen: A = A' + A'' + (W'_j W''_k - W'_k W''_j)/2, and as in join."""
    while W.shape[1] > steps:
        (W1, W2), (H1, H2), (A1, A2) = ((x[:, ::2], x[:, 1::2]) for x in (W, H, A))
        cross = W1[..., :, None] * W2[..., None, :]
        W, H, A = W1 + W2, (H1 + H2) / 2 + (W1 - W2) / 4, A1 + A2 + (cross - cross.swapaxes(-1, -2)) / 2
    return W, H, A


def draws(method, W, H, A):
    """(paths, steps, draws) in the order of `Method`"""
    j, k = np.triu_indices(W.shape[2], 1)
    return np.concatenate([W, H] + [A[..., j, k]] * (method.draws == "WHA"), axis=2)


def order(errors, steps):
    """The order in h with K standard errors, from errors (steps, paths): a least-squares line for each batch."""
    means = np.reshape(errors, (len(steps), BATCHES, -1)).mean(axis=2)
    slopes = np.polyfit(-np.log(steps), np.log(np.abs(means)), 1)[0]
    return slopes.mean(), K * slopes.std(ddof=1) / BATCHES**0.5


def strong_errors(method, sde, x0, kind, exact=None, seed=51, paths=1000, end=0.25, steps=STEPS, turn=1.0):
    """|X_h - X| at the end, (steps, paths); X is `exact(W)`, or this very method on FINE steps. A is times `turn`."""
    noises = form(sde, x0, kind).shape.noises
    W, H, A = fine_draws(seed, paths, noises, end, FINE if exact is None else steps[-1])
    ends = lambda n: march(method, sde, x0, kind, end, draws(method, *(f * v for f, v in zip(
        (1, 1, turn), joined(W, H, A, n)))))
    X = exact(W.sum(axis=1)[:, None]).reshape(paths, -1) if exact else march(
        method, sde, x0, kind, end, draws(method, W, H, A))
    return [np.abs(ends(n) - X).max(axis=1) for n in steps]


def assert_order(claim, errors, steps=STEPS):
    measured, width = order(errors, steps)
    assert abs(measured - claim) + width < 0.15, f"{measured:.3f} +- {width:.3f}"


@pytest.mark.parametrize("problem", [linear, tanh, wave, sinh, arsinh], ids=repr)
def test_the_strong_order_of_sri_is_3_2(problem):
    exact = lambda W: problem.solution(0.25, W)
    assert_order(1.5, strong_errors(sri, problem.sde, problem.x0, "scalar", exact, paths=4000))


@pytest.mark.parametrize("name", ["coupled", "one noise"])
def test_the_strong_order_of_sri_is_3_2_on_systems_with_time(name):
    sde, x0, kind, _ = FORMS[name]
    assert_order(1.5, strong_errors(sri, sde, x0, kind, end=1.0, steps=(8, 16, 32, 64)), (8, 16, 32, 64))


@pytest.mark.parametrize("name, end", [("sine", 1.0), ("additive matrix", 0.25)])
def test_the_strong_order_of_sra_is_3_2(name, end):
    sde, x0, kind, _ = FORMS[name]
    assert_order(1.5, strong_errors(sra, sde, x0, kind, end=end, steps=(8, 16, 32, 64)), (8, 16, 32, 64))


def test_sra_has_order_2_where_the_drift_is_linear():
    exact = lambda W: additive.solution(1.0, W)
    assert_order(2.0, strong_errors(sra, additive.sde, 1.0, "additive", exact, end=1.0))


@pytest.mark.parametrize("method", [strong_general, dri1], ids=repr)
@pytest.mark.parametrize("problem, kind", [(linear, "scalar"), (wave, "scalar"), (two_noises, "commutative")])
def test_the_strong_order_is_1_where_the_noise_commutes(method, problem, kind):
    exact = lambda W: problem.solution(1 / 16, W)
    assert_order(1.0, strong_errors(method, problem.sde, problem.x0, kind, exact, paths=4000, end=1 / 16))


@pytest.mark.parametrize("sde, x0", [(knot, (1.0, 1.0)), (tangle, (1.0, 0.3)), (heston, (1.0, 0.3))],
                         ids=["knot", "tangle", "heston"])
def test_it_is_1_where_the_noise_does_not_commute_with_the_true_areas_alone(sde, x0):
    W, H, A = fine_draws(51, 1000, 2, 0.25)
    X = march(strong_general, sde, x0, "general", 0.25, draws(strong_general, W, H, A))
    coarse = [joined(W, H, A, n) for n in STEPS]
    for turn, claim in ((1.0, 1.0), (0.0, 0.5), (-1.0, 0.5)):
        ends = [march(strong_general, sde, x0, "general", 0.25, draws(strong_general, W, H, turn * A))
                for W, H, A in coarse]
        assert_order(claim, [np.abs(x - X).max(axis=1) for x in ends])


@pytest.mark.parametrize("name", ["sine", "additive matrix"])
def test_the_strong_order_of_dri1_is_1_where_the_noise_is_additive(name):
    sde, x0, kind, _ = FORMS[name]
    assert_order(1.0, strong_errors(dri1, sde, x0, kind))


def test_the_strong_order_of_dri1_is_a_half():
    W, H, A = fine_draws(51, 1000, 2, 0.25)
    X = march(strong_general, knot, (1.0, 1.0), "general", 0.25, draws(strong_general, W, H, A))
    ends = [march(dri1, knot, (1.0, 1.0), "general", 0.25, draws(dri1, *joined(W, H, A, n))) for n in STEPS]
    assert_order(0.5, [np.abs(x - X).max(axis=1) for x in ends])


def nodes(noises, h, count=8):
    """Draws (nodes, 1, 2 noises) and weights: Gauss's rule for each, exact to degree 15. As many H > 0 as H < 0."""
    z, weight = np.polynomial.hermite_e.hermegauss(count)
    places = np.array(list(product(range(count), repeat=2 * noises)))
    scale = np.repeat([h**0.5, (h / 12) ** 0.5], noises)
    return (z[places] * scale)[:, None], (weight / weight.sum())[places].prod(axis=1)


@pytest.mark.parametrize("method", [sri, dri1], ids=repr)
def test_the_moments_of_a_linear_equation_have_order_2(method):
    """E X_h^p = X0^p (E R^p)^n, R a step's factor, by quadrature; E X^p = X0^p exp((p a + p (p - 1) b^2/2) T)."""
    a, b = linear.sde.parameters.values()
    for p in (1, 2, 3, 4):
        errors = []
        for n in (64, 128, 256):
            z, weight = nodes(1, 1 / n)
            R = march(method, linear.sde, 1.0, "scalar", 1 / n, z)[:, 0]
            errors.append(n * np.log(weight @ R**p) - (p * a + p * (p - 1) / 2 * b**2))
        orders = np.log2(np.abs(np.divide(errors[:-1], errors[1:])))
        claim = 3 if method is dri1 and p == 1 else 2  # the mean is that of the method for ODEs
        assert abs(orders[1] - claim) < 0.05 and abs(orders[1] - claim) <= abs(orders[0] - claim)


@pytest.mark.parametrize("x0", [0.0, 0.7])
@pytest.mark.parametrize("method", [sri, dri1], ids=repr)
def test_a_steps_error_in_the_law_is_of_order_3(method, x0):
    """E phi(arsinh X) after one step, phi(z) = z, z^2, z^3, by quadrature: arsinh X = arsinh x0 + h + W."""
    errors = []
    for h in (1 / 80, 1 / 160, 1 / 320):
        z, weight = nodes(1, h, 32)
        x = np.arcsinh(march(method, arsinh.sde, x0, "scalar", h, z)[:, 0])
        errors.append([weight @ (x**p - (np.arcsinh(x0) + h + z[:, 0, 0]) ** p) for p in (1, 2, 3)])
    orders = np.log2(np.divide(errors[:-1], errors[1:]))
    assert (np.abs(orders[1] - 3) < 0.15).all()


def test_the_second_moments_of_a_system_whose_noise_does_not_commute_have_order_2():
    """X' = R X: E X X^T after n steps is (E R x R)^n, against exp(A x 1 + 1 x A + sum B_j x B_j)."""
    one = np.eye(2)
    exact = expm(np.kron(A, one) + np.kron(one, A) + np.kron(B1, B1) + np.kron(B2, B2))
    errors = []
    for n in (8, 16, 32):
        z, weight = nodes(2, 1 / n)
        R = np.stack([march(dri1, knot, x0, "general", 1 / n, z) for x0 in ((1.0, 0.0), (0.0, 1.0))], axis=-1)
        first = np.einsum("n,nij->ij", weight, R)
        second = np.einsum("n,nij,nkl->ikjl", weight, R, R).reshape(4, 4)
        errors.append((np.abs(np.linalg.matrix_power(second, n) - exact).max(),
                       np.abs(np.linalg.matrix_power(first, n) - expm(A)).max()))
    orders = np.log2(np.divide(errors[:-1], errors[1:]))
    assert (orders[-1] > 1.9).all() and (np.abs(orders[-1] - 2) < 0.15)[0]


def test_what_sri_does_beyond_its_order_makes_a_steps_error_less(monkeypatch):
    """On dX = X dt + X dW, where e and c enter at order 2: E (R - exp(h/2 + W))^2 / h^4 for small h, by quadrature.

    SRIW1 (Roessler 2010) has 0.80, SRIW2 0.35.
    """
    h, sde = 1e-3, sk.SDE(lambda x, t: x, lambda x, t: x)
    z, weight = nodes(1, h, 20)

    def error():
        return weight @ (march(sri, sde, 1.0, "scalar", h, z)[:, 0] - np.exp(h / 2 + z[:, 0, 0])) ** 2 / h**4

    ours = error()
    assert abs(ours - 0.0721) < 0.001
    for other in (replace(DIAGONAL, c=-DIAGONAL.c), replace(DIAGONAL, c=0.0), replace(DIAGONAL, c=-0.5),
                  replace(DIAGONAL, e=(0.0,) * 4), replace(DIAGONAL, e=tuple(-e for e in DIAGONAL.e))):
        monkeypatch.setattr(runge_kutta, "DIAGONAL", other)
        assert error() > 1.05 * ours


@each_case
def test_without_noise_it_is_the_method_for_odes(method, name):
    sde, x0, kind, _ = FORMS[name]
    c, p = form(sde, x0, kind), tuple(sde.parameters.values())
    nought = lambda g: tuple(map(nought, g)) if isinstance(g, tuple) else 0.0 * g
    still, noise = replace(c, g=lambda x, t, p: nought(c.g(x, t, p))), tuple(np.arange(1.0, 12.0))
    x, h = x0 if isinstance(x0, tuple) else (x0,), 0.3
    ours = method.make(still)(x, 0.2, h, noise, p)
    assert np.abs(np.subtract(ours, method.ode.make(c)(x, 0.2, h, (), p))).max() <= rounding(1, *x)


def test_kuttas_method_has_order_3():
    for z in (-1.5, 0.3, 2.0):
        x = sk.integrate(sk.ODE(lambda x, t, z: z * x, z=z), 1.0, steps=1, method=kutta3).final[0]
        assert abs(x - (1 + z + z**2 / 2 + z**3 / 6)) <= 16 * EPS * np.exp(abs(z))
    ends = [sk.integrate(sk.ODE(lambda x, t: -2.0 * t * x * x), 1.0, steps=n, method=kutta3).final[0] for n in (32, 64)]
    assert abs(np.log2((ends[0] - 0.5) / (ends[1] - 0.5)) - 3) < 0.15


@pytest.mark.parametrize("method, name", [(sri, "linear"), (dri1, "linear")])
def test_numba_takes_the_same_steps(method, name):
    """Of one number; on the widest noise that a method takes it is a law, in test_method_laws.py."""
    sde, x0, kind, _ = FORMS[name]
    c, p = form(sde, x0, kind), tuple(sde.parameters.values())
    W, H, A = fine_draws(71, 3, c.shape.noises, 1.0, 4)
    dw = draws(method, W, H, A)
    step = method.make(c)
    load = written("Z, i, n", "return " + as_tuple(f"Z[i, n, {k}]" for k in range(dw.shape[2])))
    start = written("x", "return " + as_tuple(f"1.0 * x[{k}]" for k in range(c.shape.dim)))
    store = written("X, i, x", "; ".join(f"X[i, {k}] = x[{k}]" for k in range(c.shape.dim)))

    def run(X, x0, Z, h, p):
        for i in range(len(Z)):
            x = start(x0)
            for n in range(Z.shape[1]):
                x = step(x, n * h, h, load(Z, i, n), p)
            store(X, i, x)

    X = np.empty((3, c.shape.dim))
    compiled(run)(X, x0 if isinstance(x0, tuple) else (x0,), dw, 0.25, p)
    ours = march(method, sde, x0, kind, 1.0, dw)
    assert np.abs(X - ours).max() <= 8 * rounding(4, ours)


@each_case
def test_torch_takes_the_same_steps(method, name):
    torch = pytest.importorskip("torch")
    from sdekit.maths import rebind
    from sdekit.torch_engine import _replace

    sde, x0, kind, _ = FORMS[name]
    W, H, A = fine_draws(71, 3, form(sde, x0, kind).shape.noises, 1.0, 4)
    dw = draws(method, W, H, A)
    ours = march(method, sde, x0, kind, 1.0, dw)
    step, p = rebind(method.make(form(sde, x0, kind)), _replace), tuple(sde.parameters.values())
    x = tuple(torch.full((3,), float(v), dtype=torch.float64) for v in (x0 if isinstance(x0, tuple) else (x0,)))
    for n in range(4):
        x = step(x, n / 4, 0.25, tuple(torch.as_tensor(dw[:, n]).T), p)
    assert np.abs(torch.stack(x, -1).numpy() - ours).max() <= 8 * rounding(4, ours)


@each_method
def test_a_step_costs_what_the_method_says(method):
    calls = []
    drift = lambda x, t: calls.append("f") or np.sin(x)
    diffusion = lambda x, t: calls.append("g") or (1.0 if method is sra else np.cos(x))
    kind = "additive" if method is sra else "scalar"
    step = method.make(form(sk.SDE(drift, diffusion), 1.0, kind))
    calls.clear()
    step((1.0,), 0.0, 0.1, (0.2, 0.1), ())
    assert (calls.count("f"), calls.count("g")) == method.evaluations


@pytest.mark.parametrize("method", [sri, strong_general], ids=repr)
def test_with_additive_noise_they_are_sra(method):
    for name, noises in (("sine", 1), ("additive matrix", 3)):
        sde, x0, kind, methods = FORMS[name]
        if method in methods:
            W, H, A = fine_draws(81, 5, noises, 1.0, 8)
            both = [march(m, sde, x0, kind, 1.0, draws(m, W, H, A)) for m in (method, sra)]
            assert (both[0] == both[1]).all()


def test_the_general_step_is_that_of_sra_too_where_nobody_knows_that_the_noise_is_additive():
    sde, x0, _, _ = FORMS["additive matrix"]
    W, H, A = fine_draws(81, 5, 3, 1.0, 8)
    unknown = march(strong_general, sde, x0, "general", 1.0, draws(strong_general, W, H, A))
    assert np.abs(unknown - march(sra, sde, x0, "additive", 1.0, draws(sra, W, H, A))).max() <= rounding(8, unknown)


@pytest.mark.parametrize("method", [strong_general, dri1], ids=repr)
def test_the_short_way_for_noises_that_do_not_mix_is_the_general_one(method):
    sde, x0, kind, _ = FORMS["coupled"]
    W, H, A = fine_draws(81, 5, 2, 1.0, 8)
    short, long = (march(method, sde, x0, k, 1.0, draws(method, W, H, A)) for k in (kind, "general"))
    assert np.abs(short - long).max() <= 8 * rounding(8, long)


def test_few_steps_reach_the_error_of_euler_maruyamas_1024():
    """sri: 8 on linear (6 are enough), 1 on wave; sra: 64 on sine (36 are enough)."""
    W, H, A = fine_draws(91, 1000, 1, 1.0, 1024)
    fine = march(sra, sine, 1.0, "additive", 1.0, draws(sra, W, H, A))[:, 0]
    euler, ours = (march(method, sine, 1.0, "additive", 1.0, dw)[:, 0] for method, dw in (
        (sk.euler_maruyama, W), (sra, draws(sra, *joined(W, H, A, 64)))))
    assert np.abs(ours - fine).mean() < np.abs(euler - fine).mean()
    for problem, n in ((linear, 8), (wave, 1)):
        exact = problem.solution(1.0, W.sum(axis=1)[:, None])[:, 0]
        euler = march(sk.euler_maruyama, problem.sde, problem.x0, "scalar", 1.0, W)[:, 0]
        ours = march(sri, problem.sde, problem.x0, "scalar", 1.0, draws(sri, *joined(W, H, A, n)))[:, 0]
        assert np.abs(ours - exact).mean() < np.abs(euler - exact).mean()
