"""Milstein's method: its formula on linear equations, where differences are derivatives, and its orders on others."""

import pickle

import numpy as np
import pytest
from scipy.linalg import expm

import sdekit as sk
from sdekit.components import as_tuple, coefficients, written
from sdekit.milstein import milstein, milstein_stratonovich
from sdekit.numba_compiler import compiled
from sdekit.sde import structure
from tests import problems
from tests.conftest import K, rounding
from tests.problems import PATHWISE, bump, coarse, fine_increments

BATCHES = 20
END = 1 / 16  # a short time: orders show where h times the coefficients is small
STEPS = (16, 32, 64, 128)
METHODS = [milstein, milstein_stratonovich]
each_method = pytest.mark.parametrize("method", METHODS, ids=repr)

#: The drifts of PATHWISE in the sense of Stratonovich, f - g g'/2.
DRIFTS = {
    problems.linear: lambda x, t, a, b: (a - b**2 / 2) * x,
    problems.tanh: lambda x, t: 0.0 * x,
    problems.wave: lambda x, t: 0.0 * x,
    problems.additive: problems.additive.sde.drift,
    problems.sinh: lambda x, t: 0.0 * x,
    problems.arsinh: lambda x, t: np.sqrt(1 + x * x),
    problems.two_noises: lambda x, t, a, b1, b2: (a - (b1**2 + b2**2) / 2) * x,
    problems.commutative: lambda x, t, b: (x[1] - (0.99 + 2 * b**2) * x[0], x[0] - (0.99 + 2 * b**2) * x[1]),
}

#: dX = A X dt + B1 X dW1 + B2 X dW2 whose noises do not commute; B1 and B2 are nilpotent, and Ito is Stratonovich.
A, B1, B2 = (np.array(m, float) for m in ([[-0.3, 0.2], [0.1, 0.4]], [[0, 1], [0, 0]], [[0, 0], [1, 0]]))

#: Nonlinear, with a whole number, the time and no symmetry.
turn = sk.SDE(lambda x, t: (x[1], -x[0] * t), lambda x, t: ((x[1], 0.3), (0, np.sin(x[0]) + t)))


def in_sense_of(method, problem):
    """The problem's SDE, written for the method's calculus."""
    if method.calculus == "ito":
        return problem.sde
    return sk.SDE(DRIFTS[problem], problem.sde.diffusion, **problem.sde.parameters)


def linear(A, *B):
    """dX = A X dt + sum_j B_j X dW_j"""
    product = lambda M, x: tuple(sum(float(a) * v for a, v in zip(row, x)) for row in M)
    return sk.SDE(lambda x, t: product(A, x), lambda x, t: tuple(zip(*(product(b, x) for b in B))))


def form(sde, x0, kind="commutative"):
    return coefficients(sde.drift, sde.diffusion, None, tuple(sde.parameters), structure(sde, x0, 0.0), kind)


def march(method, sde, x0, grid, draws, kind="commutative"):
    """X at the end of the grid, (paths, dim), from x0 and the draws of the steps, (paths, steps, draws)."""
    step, p = method.make(form(sde, x0, kind)), tuple(sde.parameters.values())
    start = x0 if isinstance(x0, tuple) else (x0,)
    z = tuple(np.full(len(draws), float(v)) for v in start) * (1 + method.memory)
    for n, (t, h) in enumerate(zip(grid, np.diff(grid))):
        z = step(z, t, h, tuple(draws[:, n].T), p)
    return np.stack([np.broadcast_to(v, len(draws)) for v in z[:len(start)]], axis=-1)


def order(errors, steps=STEPS):
    """The order in h with K standard errors, from errors (steps, paths): a least-squares line for each batch."""
    means = np.reshape(errors, (len(steps), BATCHES, -1)).mean(axis=2)
    slopes = np.polyfit(-np.log(steps), np.log(means), 1)[0]
    return slopes.mean(), K * slopes.std(ddof=1) / BATCHES**0.5


def assert_strong_order(method, claim, problem, seed=21, paths=2000):
    sde, dw = in_sense_of(method, problem), fine_increments(seed, paths, STEPS[-1], problem.noises, END)
    exact = problem.solution(END, dw.sum(axis=1)[:, None])[:, 0].reshape(paths, -1)
    ends = [march(method, sde, problem.x0, np.linspace(0, END, n + 1), coarse(dw, n)) for n in STEPS]
    measured, width = order([np.abs(x - exact).max(axis=1) for x in ends])
    assert abs(measured - claim) + width < 0.15


def with_areas(dw, steps):
    """The draws "WHA" of coarser steps of two noises, from increments of steps without areas, by Chen's relation:
    A = A' + A'' + (W1' W2'' - W2' W1'')/2. (paths, steps, 5); H is not a number, so that nobody takes it."""
    paths, fine, _ = dw.shape
    w = dw.reshape(paths, steps, fine // steps, 2)
    W = np.cumsum(w, axis=2) - w  # before each fine step
    area = 0.5 * (W[..., 0] * w[..., 1] - W[..., 1] * w[..., 0]).sum(axis=2)
    return np.concatenate([w.sum(axis=2), np.full((paths, steps, 2), np.nan), area[..., None]], axis=2)


def non_commutative(dw, t):
    """X(t) on the polygon through W, for A = 0: the product of expm(dW1 B1 + dW2 B2), q the product of the dW."""
    u, v = np.ones((2, len(dw)))
    for a, b in dw.transpose(1, 2, 0):
        q = a * b
        c, s = 1 + q / 2 + q**2 / 24 + q**3 / 720, 1 + q / 6 + q**2 / 120
        u, v = c * u + s * a * v, s * b * u + c * v
    return np.stack([u, v], axis=-1)


def non_commutative_order(method, areas, seed=22, paths=1000, fine=512):
    dw, steps = fine_increments(seed, paths, fine, 2, 0.25), (8, 16, 32, 64)
    exact, sde = non_commutative(dw, 0.25), linear(0 * A, B1, B2)
    ends = [march(method, sde, (1.0, 1.0), np.linspace(0, 0.25, n + 1),
                  with_areas(dw, n) if areas else coarse(dw, n), "general") for n in steps]
    return order([np.abs(x - exact).max(axis=1) for x in ends], steps)


def moments(method, steps, A, *B):
    """E X(1) and E X(1) (x) X(1) of a linear equation, exactly: by Gauss's rule for the one-step map X' = R(dW) X."""
    d, m = len(A), len(B)
    s = d * (1 + method.memory)
    nodes, weights = np.polynomial.hermite_e.hermegauss(5)
    Z, w = (np.stack([g.ravel() for g in np.meshgrid(*[v] * m)]) for v in (nodes, weights / weights.sum()))
    step, w = method.make(form(linear(A, *B), (1.0,) * d, "general")), w.prod(axis=0)
    x = tuple(np.eye(s)[:, :, None])
    R = np.stack([np.broadcast_to(v, (s, Z.shape[1])) for v in step(x, 0.0, 1 / steps, tuple(Z / steps**0.5), ())])
    start = np.tile(np.arange(1.0, d + 1), 1 + method.memory)
    mean = np.linalg.matrix_power(np.einsum("ijk,k->ij", R, w), steps) @ start
    square = np.einsum("ijk,abk,k->iajb", R, R, w).reshape(s * s, s * s)
    second = np.linalg.matrix_power(square, steps) @ np.kron(start, start)
    return mean[:d], second.reshape(s, s)[:d, :d]


def exact_moments(calculus, A, *B):
    """d/dt E X = A E X, d/dt E X (x) X = (A (x) 1 + 1 (x) A + sum_j B_j (x) B_j) E X (x) X, with the drift of Ito."""
    A = A + sum(b @ b for b in B) / 2 if calculus == "stratonovich" else A
    start, one = np.arange(1.0, len(A) + 1), np.eye(len(A))
    square = np.kron(A, one) + np.kron(one, A) + sum(np.kron(b, b) for b in B)
    return expm(A) @ start, (expm(square) @ np.kron(start, start)).reshape(A.shape)


def assert_weak_order_1(method):
    drift, noises = A, (0.4 * B1 + 0.3 * np.eye(2), 0.5 * B2 - 0.2 * np.eye(2))
    exact, steps = exact_moments(method.calculus, drift, *noises), (32, 64, 128)
    for k in (0, 1):
        errors = [np.abs(moments(method, n, drift, *noises)[k] - exact[k]).max() for n in steps]
        assert (np.abs(np.diff(np.log2(errors)) + 1.0) < 0.1).all()


def assert_counts(method, sde, x0, evaluations, kind="commutative"):
    """A step calls drift and diffusion so often."""
    calls = []
    counted = lambda name, f: lambda x, t: (calls.append(name), f(x, t))[1]
    c = coefficients(counted("f", sde.drift), counted("g", sde.diffusion), None, (), structure(sde, x0, 0.0), kind)
    x = x0 if isinstance(x0, tuple) else (x0,)
    method.make(c)(x * (1 + method.memory), 0.0, 0.1, (0.2, 0.3, 0.0, 0.0, 0.01), ())
    assert (calls.count("f"), calls.count("g")) == evaluations


def compiled_run(method, sde, x0, kind):
    """(h, draws, p, out): the steps from x0, path by path, compiled."""
    c = form(sde, x0, kind)
    step, columns = method.make(c), {"W": 1, "WHA": 2}[method.draws] * c.shape.noises
    columns += (c.shape.noises * (c.shape.noises - 1) // 2) * (method.draws == "WHA")
    start = (x0 if isinstance(x0, tuple) else (x0,)) * (1 + method.memory)
    drawn = written("draws, i, n", "return " + as_tuple(f"draws[i, n, {j}]" for j in range(columns)))
    store = written("out, i, x", "; ".join(f"out[i, {k}] = x[{k}]" for k in range(c.shape.dim)))

    def run(h, draws, p, out):
        for i in range(len(draws)):
            x = start
            for n in range(draws.shape[1]):
                x = step(x, n * h, h, drawn(draws, i, n), p)
            store(out, i, x)

    return compiled(run)


def assert_same_compiled(method, sde, x0, kind):
    c, steps, paths = form(sde, x0, kind), 6, 5
    draws = with_areas(fine_increments(23, paths, 4 * steps, 2), steps) if method.draws == "WHA" else \
        fine_increments(23, paths, steps, c.shape.noises)
    out = np.empty((paths, c.shape.dim))
    compiled_run(method, sde, x0, kind)(1 / steps, draws, tuple(sde.parameters.values()), out)
    plain = march(method, sde, x0, np.arange(steps + 1) / steps, draws, kind)
    assert np.abs(out - plain).max() <= rounding(10 * steps, plain)
    assert np.ptp(plain[:, 0]) > 0.1


def linear_step(method, A, B, h, w, area):
    """(1 + A h + sum_k B_k dW_k + sum_jk B_k B_j I_jk) as in the textbook, with the Levy areas given."""
    noises, ito = range(len(B)), method.calculus == "ito"
    I = np.outer(w, w) / 2 - ito * np.eye(len(B)) * h / 2 + area
    return (np.eye(len(A)) + A * h + sum(B[k] * w[k] for k in noises)
            + sum(B[k] @ B[j] * I[j, k] for j in noises for k in noises))


@each_method
@pytest.mark.parametrize("dim, noises", [(1, 1), (3, 1), (1, 2), (2, 2), (2, 3), (3, 4)])
@pytest.mark.parametrize("areas", [False, True])
def test_on_linear_equations_it_is_the_formula_with_derivatives(method, dim, noises, areas):
    """The differences along g_j are then exact; and arrays of torch give the same."""
    torch = pytest.importorskip("torch")
    random = np.random.default_rng(24)
    A, B, x, w = (random.normal(size=s) for s in ((dim, dim), (noises, dim, dim), dim, noises))
    area, upper = np.zeros((noises, noises)), np.triu_indices(noises, 1)
    area[upper] = random.normal(size=len(upper[0]))
    draws = (*w, *np.full(noises, np.nan), *area[upper]) if areas else tuple(w)
    h, used = 0.37, method.general if areas else method
    step = used.make(form(linear(A, *B), tuple(x), "general"))
    exact = linear_step(method, A, B, h, w, (area - area.T) * areas) @ x
    size = linear_step(method, abs(A), abs(B), h, abs(w), (abs(area) + abs(area.T)) * areas) @ abs(x)
    assert np.abs(np.array(step(tuple(x), 0.0, h, draws, ())) - exact).max() <= rounding(4, size)
    tensors = step(tuple(torch.tensor([v]) for v in x), 0.0, h, tuple(torch.tensor([v]) for v in draws), ())
    assert np.abs(torch.cat(tensors).numpy() - exact).max() <= rounding(4, size)


@each_method
@pytest.mark.parametrize("problem", PATHWISE, ids=repr)
def test_the_strong_order_is_1_where_the_noise_commutes(method, problem):
    assert method.strong == 1.0 and (method.additive, method.commutative) == (None, None)
    assert_strong_order(method, 1.0, problem)


@each_method
def test_the_strong_order_is_1_for_any_noise_with_areas_and_a_half_without(method):
    """The sign of the areas too: with the other sign it is a half."""
    assert method.noise == "commutative" and method.general.noise == "general"
    for used, areas, claim in ((method.general, True, 1.0), (method, False, 0.5)):
        measured, width = non_commutative_order(used, areas)
        assert abs(measured - claim) + width < 0.15


@each_method
def test_the_weak_order_is_1(method):
    assert method.weak == method.general.weak == 1.0
    assert_weak_order_1(method)


@each_method
def test_a_diagonal_that_depends_on_other_components_is_no_diagonal_noise(method):
    """(v, u) dW as a diagonal is the matrix B1, B2: the same steps; taken as strictly diagonal it would be another."""
    diagonal = sk.SDE(lambda x, t: (0.0, 0.0), lambda x, t: (x[1], x[0]))
    draws = with_areas(fine_increments(25, 50, 64, 2), 4)
    for used in (method, method.general):
        run = lambda sde, kind, used=used: march(used, sde, (1.0, 1.0), np.linspace(0, 1, 5), draws, kind)
        a, b, c = run(diagonal, "general"), run(linear(0 * A, B1, B2), "general"), run(diagonal, "diagonal")
        assert np.abs(a - b).max() <= rounding(4, a)
        assert np.abs(a - c).max() > 0.1


@each_method
@pytest.mark.parametrize("sde, kind", [
    (sk.SDE(lambda x, t: (x[1], -x[0]), lambda x, t: (np.sin(x[0]) + t, x[1] * x[1])), "diagonal"),
    (sk.SDE(lambda x, t: (x[1], -x[0]), lambda x, t: ((0.3,), (t,))), "additive"),
    (sk.SDE(lambda x, t: (x[1], -x[0]), lambda x, t: ((0.3, t), (0.1, -0.2))), "additive")], ids=["d", "a1", "a2"])
def test_simpler_noise_has_a_cheaper_step_of_the_same_value(method, sde, kind):
    draws = fine_increments(26, 50, 4, 2)
    general, special = (march(method, sde, (0.4, 0.7), np.linspace(0, 0.5, 5), draws, k) for k in ("general", kind))
    assert np.abs(general - special).max() <= rounding(8, general)
    assert_counts(method, sde, (0.4, 0.7), (1, 1) if kind == "additive" else method.evaluations, kind)


@each_method
def test_a_step_calls_the_functions_as_often_as_it_says(method):
    scalar = sk.SDE(lambda x, t: -x, lambda x, t: x)
    pair = sk.SDE(lambda x, t: x, lambda x, t: ((x[0],), (x[1],)))
    for used in (method, method.general):
        assert_counts(used, scalar, 1.0, used.evaluations)
        assert_counts(used, pair, (1.0, 2.0), used.evaluations)
        more = used.evaluations[1] - 1  # for each noise
        assert_counts(used, linear(A, B1, B2), (1.0, 2.0), (1, 1 + 2 * more))
        assert used.evaluations == ((1, 2) if method is milstein else (1, 3))


@each_method
@pytest.mark.parametrize("kind", ["general", "diagonal"])
def test_without_noise_it_is_its_method_for_odes(method, kind):
    drift = lambda x, t: (x[1] * t, -np.sin(x[0]))
    sde, grid = sk.SDE(drift, lambda x, t: (0.0, 0.0)), np.array([0.0, 0.1, 0.4, 0.5])
    ours = march(method, sde, (1.0, 2.0), grid, fine_increments(27, 1, 3, 2), kind)
    curve = sk.integrate(sk.ODE(drift), (1.0, 2.0), t=grid, method=method.ode, backend="numpy")
    assert np.abs(ours - curve.x[:, -1]).max() <= rounding(3, ours)


@each_method
def test_compiled_it_gives_the_same_numbers(method):
    assert_same_compiled(method, bump, 0.5, "scalar")
    assert_same_compiled(method.general, turn, (0.5, -0.2), "general")


def test_methods_are_called_by_their_names():
    assert [(repr(m), repr(m.general)) for m in METHODS] == [(n, n) for n in ("milstein", "milstein_stratonovich")]
    assert {(m.calculus, m.general.calculus) for m in METHODS} == {("ito",) * 2, ("stratonovich",) * 2}
    assert all((m.draws, m.general.draws, m.memory) == ("W", "WHA", 0) for m in METHODS)
    assert pickle.loads(pickle.dumps(METHODS)) == METHODS
