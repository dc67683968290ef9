"""Tamed Euler, the theta methods, S-ROCK: their formulas, what they bear, and their orders."""

from functools import cache

import numpy as np
import pytest
from scipy.special import eval_chebyt, eval_chebyu

import sdekit as sk
from sdekit.components import coefficients
from sdekit.sde import structure
from sdekit.stiff import srock, srock_with, tamed_euler, theta
from tests.conftest import EPS, K, assert_near, rounding
from tests.problems import PATHWISE, bump, coarse, fine_increments, whirl

METHODS = [tamed_euler, theta(0.25), theta(0.5), theta(1.0), srock, srock_with(8, damping=0.2)]
each_method = pytest.mark.parametrize("method", METHODS, ids=repr)
PROBLEM = {problem.name: problem for problem in PATHWISE}
STEPS, END, BATCHES = (16, 32, 64, 128), 0.25, 20


def form(sde, x0):
    return coefficients(sde.drift, getattr(sde, "diffusion", None), None, tuple(sde.parameters),
                        structure(sde, x0, 0.0))


def stepper(method, sde, x0):
    """(x, t, h, dw) -> x at t + h, tuples all."""
    step, p = method.make(form(sde, x0)), tuple(sde.parameters.values())
    return lambda x, t, h, dw: step(x, t, h, dw, p)


def march(method, sde, x0, grid, dw):
    """X at the end of the grid, (paths, dim), from x0 and the increments (paths, steps, noises)."""
    start = x0 if isinstance(x0, tuple) else (x0,)
    step, x = stepper(method, sde, x0), tuple(np.full(len(dw), v) for v in start)
    for n, (t, h) in enumerate(zip(grid, np.diff(grid))):
        x = step(x, t, h, tuple(dw[:, n].T))
    return np.stack([np.broadcast_to(v, len(dw)) for v in x], axis=-1)


def order(errors, steps=STEPS):
    """The order in h with K standard errors, from errors (steps, batches): a least-squares line for each batch."""
    slopes = np.polyfit(-np.log(steps), np.log(errors), 1)[0]
    return slopes.mean(), K * slopes.std(ddof=1) / BATCHES**0.5


def at(sde, x, t):
    """f and g at x, with the parameters by name."""
    own = lambda f: {k: sde.parameters[k] for k in f.__code__.co_varnames[2:f.__code__.co_argcount]}
    return np.array(sde.drift(x, t, **own(sde.drift))), np.array(sde.diffusion(x, t, **own(sde.diffusion)))


@pytest.mark.parametrize("sde, x0, dw", [(bump, 0.8, (0.3,)), (whirl, (0.8, -0.5), (0.3, -0.2, 0.1))],
                         ids=["one number", "2 x 3"])
@pytest.mark.parametrize("method, share", [(theta(0.25), 0.25), (theta(0.5), 0.5), (theta(1.0), 1.0)], ids=str)
def test_theta_solves_its_equation(method, share, sde, x0, dw):
    t, h, start = 0.7, 0.4, x0 if isinstance(x0, tuple) else (x0,)
    y = stepper(method, sde, x0)(start, t, h, dw)
    state = lambda v: v if isinstance(x0, tuple) else v[0]
    (f, g), (f_y, _) = at(sde, x0, t), at(sde, state(y), t + h)
    noise = g @ dw if isinstance(x0, tuple) else g * dw[0]
    assert np.abs(np.array(y) - (start + h * ((1 - share) * f + share * f_y) + noise)).max() <= rounding(1, 1.0)


@pytest.mark.parametrize("sde, x0, dw", [(bump, 0.8, (0.3,)), (whirl, (0.8, -0.5), (0.3, -0.2, 0.1))],
                         ids=["one number", "2 x 3"])
def test_tamed_euler_is_its_formula(sde, x0, dw):
    t, h, start = 0.7, 0.4, x0 if isinstance(x0, tuple) else (x0,)
    f, g = at(sde, x0, t)
    noise = g @ dw if isinstance(x0, tuple) else g * dw[0]
    exact = start + h * f / (1 + h * np.sqrt((f * f).sum())) + noise
    assert np.abs(np.array(stepper(tamed_euler, sde, x0)(start, t, h, dw)) - exact).max() <= rounding(1, 1.0)


@pytest.mark.parametrize("stages, damping", [(2, 0.05), (5, 0.05), (8, 0.2), (30, 0.05)])
def test_srock_on_the_linear_equation_is_chebyshevs_polynomials(stages, damping):
    """x' = x (T_s(w) / T_s(w0) + U_{s-1}(w) / U_{s-1}(w0) (1 + w1 p / 2) m dW), w = w0 + w1 p, p = -l h."""
    sde, dw = sk.SDE(lambda x, t, l: -l * x, lambda x, t, m: m * x, l=0.7 * stages**2, m=0.8), 0.3
    w0 = 1 + damping / stages**2
    w1 = eval_chebyt(stages, w0) / (stages * eval_chebyu(stages - 1, w0))
    for h in (0.1, 1.0, 2.5):
        p = -0.7 * stages**2 * h
        A = eval_chebyt(stages, w0 + w1 * p) / eval_chebyt(stages, w0)
        B = eval_chebyu(stages - 1, w0 + w1 * p) / eval_chebyu(stages - 1, w0) * (1 + w1 * p / 2)
        x, = stepper(srock_with(stages, damping), sde, 1.0)((1.0,), 0.0, h, (dw,))
        assert abs(x - (A + B * 0.8 * dw)) <= 16 * rounding(stages**2, 1.0)


def test_srock_takes_the_time_as_it_would_take_a_component():
    """(X, Z) with dZ = dt and Z for t is the same equation."""
    twice = sk.SDE(lambda x, t: (np.sin(3 * x[1]) - x[0], 1.0), lambda x, t: ((x[0],), (0.0,)))
    once = sk.SDE(lambda x, t: np.sin(3 * t) - x, lambda x, t: x)
    for method in (srock, srock_with(2), srock_with(9)):
        x = stepper(method, once, 0.4)((0.4,), 0.7, 0.5, (0.3,))
        assert abs(x[0] - stepper(method, twice, (0.4, 0.7))((0.4, 0.7), 0.0, 0.5, (0.3,))[0]) <= rounding(30, 1.0)


@pytest.mark.parametrize("dim", range(1, 9))
def test_theta_solves_linear_drifts_of_any_stiffness_to_rounding(dim):
    """(I - h A) x' = x with h |A| from 1 to 10^6, and with a matrix whose first pivot is nought."""
    random = np.random.default_rng(dim)
    ones = [f"a{i}{j}" for i in range(dim) for j in range(dim)]
    rows = [" + ".join(f"a{i}{j} * x[{j}]" for j in range(dim)) for i in range(dim)]
    scope = {}
    exec(f"def f(x, t, {', '.join(ones)}): return ({', '.join(rows)},)\ndef g(x, t): return (0.0,) * {dim}", scope)
    for size in (1.0, 1e3, 1e6, 0.0):
        M = random.standard_normal((dim, dim))
        A = -size * M @ M.T if size else random.standard_normal((dim, dim))
        if not size and dim > 1:
            A[0, 0] = 1.0  # 1 - h A_00 = 0
        sde = sk.SDE(scope["f"], scope["g"], **dict(zip(ones, A.ravel().tolist())))
        x = tuple(random.standard_normal(dim).tolist())
        y = stepper(theta(1.0, iterations=2), sde, x)(x, 0.0, 1.0, (0.0,) * dim)
        S = np.eye(dim) - A
        assert np.abs(S @ y - x).max() <= 64 * dim * EPS * (np.abs(S).sum() * np.abs(y).max() + 1)


def test_a_state_at_rest_stays_at_rest():
    for drift in (lambda x, t: -x, lambda x, t: -x**3):
        x, = stepper(theta(0.5), sk.SDE(drift, lambda x, t: x), 0.0)((np.zeros(2),), 0.0, 0.1, (np.ones(2),))
        assert (x == 0.0).all()


@pytest.mark.parametrize("drift, h, iterations, bound", [
    (lambda x, t: x - x**3, 0.1, 4, 1e-6),
    (lambda x, t: -x**3, 0.1, 4, 1e-6),
    (lambda x, t: -1000.0 * (x + x**3), 0.1, 8, 1e-6),
], ids=["a double well", "a cubic", "a stiff spring that hardens"])
def test_a_few_iterations_solve_cubic_drifts(drift, h, iterations, bound):
    z = np.random.default_rng(1).standard_normal((2, 10_000))
    x = np.sign(z[0]) * (1 + 0.1 * z[0])
    sde = sk.SDE(drift, lambda x, t: 1.0)
    few, many = (stepper(theta(1.0, n), sde, 0.5)((x,), 0.0, h, (0.3 * z[1],))[0] for n in (iterations, 20))
    assert np.abs(many - h * drift(many, 0.0) - x - 0.3 * z[1]).max() <= rounding(100, x)
    assert np.abs(few - many).max() < bound


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.8, 1.0])
def test_theta_is_A_stable_from_a_half_on(share):
    """On dX = -1000 X dt + dW: x' = ((1 - (1 - theta) z) x + dW) / (1 + theta z), z = 1000 h."""
    sde = sk.SDE(lambda x, t: -1000.0 * x, lambda x, t: 1.0)
    step = stepper(theta(share), sde, 0.0)
    for h in (1e-3, 0.1, 10.0):
        z = 1000 * h
        a, b = step((1.0,), 0.0, h, (0.0,))[0], step((0.0,), 0.0, h, (1.0,))[0]
        assert abs(a - (1 - (1 - share) * z) / (1 + share * z)) <= rounding(10, 1.0, a)
        assert abs(b * (1 + share * z) - 1) <= rounding(10, 1.0)
        assert (abs(a) <= 1) == (share >= 0.5 or z * (1 - 2 * share) <= 2)


def test_theta_keeps_the_stationary_variance_of_a_stiff_equation():
    """s^2 / (2 L) at theta = 1/2, s^2 / (2 L + L^2 h) at 1; Euler-Maruyama explodes."""
    sde, n = sk.SDE(lambda x, t: -1000.0 * x, lambda x, t: 1.0), 40_000
    how = dict(x0=0.0, t=10.0, steps=500, paths=2000, seed=5, save=21, backend="numpy")
    for share, variance in ((0.5, 1 / 2000), (1.0, 1 / (2000 + 1000**2 * 0.02))):
        x = sk.simulate(sde, method=theta(share), **how).x[:, 1:]
        # at theta = 1/2, x' = -0.82 x + ..., and 25 steps lie between two saved times
        assert_near((x**2).mean() / variance, 1.0, (2 / n * (1 + 0.82**50) / (1 - 0.82**50)) ** 0.5)
    with pytest.raises(FloatingPointError):
        sk.simulate(sde, method=sk.euler_maruyama, **how)


@pytest.mark.parametrize("stages", [2, 3, 5, 10, 50])
def test_srock_is_stable_in_the_mean_square_on_the_interval_it_claims(stages):
    """E x'^2 = (A^2 + 2 l h B^2) x^2 for m^2 = 2 l, up to l h = (2 - 4/3 damping) s^2, and not 4 % beyond."""
    sde, damping = sk.SDE(lambda x, t, l: -l * x, lambda x, t, m: m * x, l=1.0, m=2**0.5), 0.05
    claim = (2 - 4 / 3 * damping) * stages**2

    def growth(method, h):
        step = stepper(method, sde, 1.0)
        A = step((1.0,), 0.0, h, (0.0 * h,))[0]
        return A**2 + (step((1.0,), 0.0, h, (np.sqrt(h),))[0] - A) ** 2

    h = np.linspace(1e-3, claim, 20_001)
    assert growth(srock_with(stages), h).max() <= 1
    assert growth(srock_with(stages), np.array([1.04 * claim]))[0] > 1
    assert growth(sk.euler_maruyama, h).min() > 1


def test_where_euler_maruyama_explodes_srock_dies_out_and_tamed_euler_stays():
    stiff = sk.SDE(lambda x, t: -1000.0 * x, lambda x, t: 40.0 * x)
    how = dict(x0=1.0, t=2.0, steps=45, paths=1000, seed=1, backend="numpy")  # l h = 44
    assert np.abs(sk.simulate(stiff, method=srock, **how).final).max() < 1
    assert np.abs(sk.simulate(stiff, method=sk.euler_maruyama, **how).final).max() > 1e20
    cubic = sk.SDE(lambda x, t: -x**3, lambda x, t: 1.0)
    how = dict(x0=100.0, t=20.0, steps=1000, paths=1000, seed=2, save="final", backend="numpy")
    assert np.abs(sk.simulate(cubic, method=tamed_euler, **how).final).max() < 100.0
    with pytest.raises(FloatingPointError):
        sk.simulate(cubic, method=sk.euler_maruyama, **how)


@pytest.mark.parametrize("name, claim", [("linear", 0.5), ("commutative", 0.5), ("additive", 1.0)])
@each_method
def test_the_strong_order_is_a_half_and_1_where_the_noise_is_additive(method, name, claim):
    problem = PROBLEM[name]
    assert claim == (method.additive if name == "additive" else method.strong)
    dw = fine_increments(31, 3000, STEPS[-1], problem.noises, END)
    exact = problem.solution(END, dw.sum(axis=1)[:, None])[:, 0].reshape(len(dw), -1)
    errors = [np.abs(march(method, problem.sde, problem.x0, np.linspace(0, END, n + 1), coarse(dw, n)) - exact)
              .max(axis=1).reshape(BATCHES, -1).mean(axis=1) for n in STEPS]
    measured, width = order(errors)
    assert abs(measured - claim) + width < 0.15


@cache
def sine():
    """dX = sin X dt + dW on 1000 paths: 2048 steps of Euler-Maruyama's, by Richardson with 1024."""
    sde, dw = sk.SDE(lambda x, t: np.sin(x), lambda x, t: 1.0), fine_increments(32, 1000, 2048, 1, END)
    fine, finer = (march(sk.euler_maruyama, sde, 1.0, np.linspace(0, END, n + 1), coarse(dw, n)) for n in (1024, 2048))
    return sde, dw, 2 * finer - fine


@each_method
def test_the_strong_order_is_1_with_additive_noise_and_a_drift_that_is_not_linear(method):
    sde, dw, exact = sine()
    errors = [np.abs(march(method, sde, 1.0, np.linspace(0, END, n + 1), coarse(dw, n)) - exact)
              .reshape(BATCHES, -1).mean(axis=1) for n in STEPS]
    measured, width = order(errors)
    assert abs(measured - 1.0) + width < 0.15


Z, WEIGHT = np.polynomial.hermite_e.hermegauss(20)


@pytest.mark.parametrize("method", METHODS[1:], ids=repr)
def test_the_weak_order_is_1(method):
    """E X_h^2 = X0^2 (E x'^2 / x^2)^n on the linear equation, with the expectation over a step by quadrature."""
    assert method.weak == 1.0
    (a, b), steps = PROBLEM["linear"].sde.parameters.values(), (16, 32, 64)
    step = stepper(method, PROBLEM["linear"].sde, 0.5)
    square = lambda n: WEIGHT @ step((np.ones(20),), 0.0, END / n, ((END / n) ** 0.5 * Z,))[0] ** 2 / WEIGHT.sum()
    errors = [abs(square(n) ** n - np.exp((2 * a + b**2) * END)) for n in steps]
    assert abs(np.polyfit(-np.log(steps), np.log(errors), 1)[0] - 1.0) < 0.15


def three_point(n):
    """Every path of n three-point numbers, 0 and +-3^{1/2}, and its probability; to the fifth moment they are normal,
    so that they keep a weak order up to 2 (Kloeden & Platen 1992, section 14.2)."""
    i = np.indices((3,) * n).reshape(n, -1).T
    return np.array([0.0, 3**0.5, -(3**0.5)])[i], np.array([2 / 3, 1 / 6, 1 / 6])[i].prod(axis=1)


def test_the_weak_order_of_tamed_euler_is_1():
    """E X and E X^2 on the linear equation, where the taming has no closed form."""
    (a, b), end, steps, errors = PROBLEM["linear"].sde.parameters.values(), 0.1, (3, 6, 12), []
    for n in steps:
        z, weight = three_point(n)
        x = march(tamed_euler, PROBLEM["linear"].sde, 0.5, np.linspace(0, end, n + 1), (end / n) ** 0.5 * z[..., None])
        errors.append([weight @ x[:, 0] - 0.5 * np.exp(a * end),
                       weight @ x[:, 0] ** 2 - 0.25 * np.exp((2 * a + b**2) * end)])
    assert np.abs(np.polyfit(-np.log(steps), np.log(np.abs(errors)), 1)[0] - tamed_euler.weak).max() < 0.15


@each_method
def test_without_noise_it_is_its_method_for_ODEs_of_the_order_it_claims(method):
    drift = lambda x, t: (x[1] - x[0] ** 3, np.sin(t) - x[0] * x[1])
    sde, ode, x0 = sk.SDE(drift, lambda x, t: ((1.0, x[0]), (0.5, x[1]))), sk.ODE(drift), (1.0, 0.5)
    exact = sk.integrate(ode, x0, 1.0, 2000, save="final").final[0]
    steps, errors = (32, 64, 128), []
    for n in steps:
        grid = np.linspace(0, 1, n + 1)
        ours = march(method.ode, ode, x0, grid, np.zeros((1, n, 0)))
        assert np.abs(ours - march(method, sde, x0, grid, np.zeros((1, n, 2)))).max() <= rounding(n, 1.0)
        errors.append(np.abs(ours[0] - exact).max())
    assert abs(np.polyfit(-np.log(steps), np.log(errors), 1)[0] - method.ode.order) < 0.15
    assert method.ode.order == (2 if method is theta(0.5) else 1)
    assert np.abs(sk.integrate(ode, x0, 1.0, 128, method=method.ode).final[0] - exact).max() == errors[-1]


@each_method
def test_it_evaluates_the_functions_as_often_as_it_claims(method):
    count = {"f": 0, "g": 0}

    def counted(name, value):
        count[name] += 1
        return value

    sde = sk.SDE(lambda x, t: counted("f", -x), lambda x, t: counted("g", x))
    step = stepper(method, sde, 1.0)
    count.update(f=0, g=0)
    step((1.0,), 0.0, 0.1, (0.2,))
    assert (count["f"], count["g"]) == method.evaluations
    assert method.ode.evaluations == method.evaluations[0]


@pytest.mark.parametrize("method", [tamed_euler, theta(0.5), srock], ids=repr)
def test_torch_is_numpy_to_rounding_in_both_precisions(method):
    """Numba's steps are held against NumPy's by a law that every method keeps, in test_method_laws.py."""
    torch = pytest.importorskip("torch")
    sde = sk.SDE(lambda x, t, k: (x[1] - k * x[0] ** 3, t - x[0] * x[1]), lambda x, t: ((1.0, x[0]), (0, x[1])), k=3.0)
    how = dict(x0=(1.0, 0.5), t=1.0, steps=10, paths=70, seed=4, method=method, save="final")
    ours = sk.simulate(sde, backend="numpy", **how).final
    assert np.abs(sk.simulate(sde, backend="torch", **how).final.numpy() - ours).max() <= rounding(100, 1.0)
    x = sk.simulate(bump, torch.full((3, 1), 0.7, dtype=torch.float32)[:, 0], 1.0, 10, seed=6, method=method)
    y = sk.simulate(bump, 0.7, 1.0, 10, 3, seed=6, method=method, backend="numpy")
    assert np.abs(np.asarray(x.x, float) - y.x).max() < 1e-5


def test_theta_solves_stiff_equations_in_single_precision():
    torch = pytest.importorskip("torch")
    x0 = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float32)
    x = sk.simulate(sk.SDE(lambda x, t: -1e4 * x, lambda x, t: 0.0 * x), x0, 1.0, 1, seed=1, method=theta(1.0)).final
    assert x.dtype == torch.float32
    assert bool((abs((1 + 1e4) * x / x0 - 1) < 1e-5).all())


def test_methods_are_known_by_their_arguments():
    assert theta() is theta(theta=0.5) and theta(0) is theta(0.0) and srock_with(stages=5, damping=0.05) is srock
    names = [repr(m) for m in (theta(1), theta(0.5, iterations=2), srock_with(7), srock_with(7, 1))]
    assert names == ["theta(1.0)", "theta(0.5, iterations=2)", "srock_with(7)", "srock_with(7, 1.0)"]
    assert theta(0.5, iterations=2).evaluations == (5, 1)
    x = [sk.simulate(bump, 0.5, steps=5, paths=9, seed=1, method=m).x for m in (theta(0), sk.euler_maruyama)]
    assert (x[0] == x[1]).all() and theta(0).evaluations == (1, 1)


@pytest.mark.parametrize("make, error, message", [
    (lambda: theta(1.5), ValueError, r"theta must be between 0 \(explicit\) and 1 \(implicit\), got 1.5"),
    (lambda: theta("half"), TypeError, "theta must be a number between 0"),
    (lambda: theta(0.5, 0), ValueError, "iterations of Newton's method must be an integer >= 1, got 0"),
    (lambda: srock_with(1), ValueError, "stages must lie between 2 and 1000, got 1"),
    (lambda: srock_with(2.5), TypeError, "stages must be an integer >= 2, got 2.5"),
    (lambda: srock_with(5, -1.0), ValueError, r"damping must lie in \(0, 1\], such as 0.05; got -1.0"),
    (lambda: srock_with(5, "low"), TypeError, "damping must be a number > 0"),
    (lambda: sk.simulate(sk.SDE(lambda x, t: x, lambda x, t: x), (1.0,) * 9, steps=2, method=theta(0.5)), ValueError,
     r"theta solves systems of at most 8 components, this one has 9; for more, srock_with"),
    (lambda: sk.simulate(sk.SDE(lambda x, t: -x, lambda x, t: 1.0), np.zeros((5, 3)), steps=2, method=theta(0.5)),
     ValueError, "not for a state that is one array or tensor, whose elements may be coupled; use srock_with"),
], ids=["1.5", "half", "0", "1", "2.5", "-1", "low", "9", "array"])
def test_what_does_not_fit_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
