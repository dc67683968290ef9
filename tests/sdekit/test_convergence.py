"""Orders, measured: right methods and wrong ones, intervals that cover, answers that are refused."""

import math
import sys

import numpy as np
import pytest

import sdekit as sk
from sdekit import problems
from sdekit.convergence import coarser, convergence
from sdekit.orders import order
from sdekit.problems import PROBLEMS, additive, benes, linear, linear_stratonovich, two_noises
from tests.conftest import assert_near

em = sk.euler_maruyama
STEPS = (16, 32, 64, 128)


def corrected(factor: float, name: str) -> sk.Method:
    """x' = x + f h + g dW + factor b g (dW^2 - h)/2 on `linear`, where g' = b; Milstein's has the factor 1."""

    def make(c):
        f, g = c.f, c.g

        def step(x, t, h, dw, p):
            slope = g(x, t, p)[0]
            return (x[0] + f(x, t, p)[0] * h + slope * dw[0] + factor * 0.87 * slope * (dw[0] * dw[0] - h) / 2,)

        return step

    return sk.Method(name, make, strong=1.0, weak=1.0)


milstein, halved, flipped = corrected(1.0, "milstein"), corrected(0.5, "halved"), corrected(-1.0, "flipped")


def near(found, value, within=0.15):
    assert found.told, found.note
    assert value - within <= found.low and found.high <= value + within, f"{found} is not {value}"


@pytest.fixture(scope="module")
def on_linear():
    return convergence(linear.sde, linear.x0, 0.25, [em, milstein, halved, flipped], STEPS, 4000, seed=1,
                       solution=linear.solution)


def test_euler_maruyama_has_strong_order_a_half_and_weak_order_1():
    found = convergence(linear.sde, linear.x0, 0.5, em, (8, 16, 32, 64), 60_000, seed=2, solution=linear.solution)
    near(found.order(em), 0.5)
    near(found.order(em, "rms"), 0.5)
    near(found.order(em, "E X"), 1.0)
    near(found.order(em, "E X^2"), 1.0)
    assert found.order(em).claimed == 0.5 and found.order(em, "E X").claimed == 1.0


def test_with_additive_noise_the_strong_order_is_1_and_so_is_the_claim():
    found = convergence(additive.sde, additive.x0, 1.0, steps=STEPS, paths=1000, solution=additive.solution).order(em)
    near(found, 1.0)
    assert found.claimed == 1.0


def test_a_wrong_factor_or_sign_is_measured_as_such(on_linear):
    near(on_linear.order(milstein), 1.0)
    near(on_linear.order(halved), 0.5)
    near(on_linear.order(flipped), 0.5)
    one, half = (on_linear.rows[k].strong[0] for k in (7, 11))  # at the finest step
    assert one < 0.3 * half


def test_a_wrong_drift_converges_to_nothing():
    wrong = sk.SDE(lambda x, t, a: -a * x, linear.sde.diffusion, a=1.01, b=0.87)
    found = convergence(wrong, linear.x0, 0.25, em, STEPS, 1000, solution=linear.solution).order(em)
    assert abs(found.estimate) < 0.1


def test_errors_are_those_of_the_runs_one_by_one():
    found = convergence(linear.sde, linear.x0, 1.0, em, (4, 8), 100, seed=3, solution=linear.solution)
    W = sk.Brownian(3, 1.0, 8, 100)
    for row in found.rows:
        x = sk.simulate(linear.sde, linear.x0, 1.0, row.steps, noise=W, method=em).final
        off, e = x - linear.solution(1.0, W(1.0)), x**2 - linear.solution(1.0, W(1.0)) ** 2
        assert row.strong[0] == pytest.approx(np.abs(off).mean(), rel=1e-10)
        assert row.rms[0] == pytest.approx((off**2).mean() ** 0.5, rel=1e-10)
        assert row.weak["E X"][0] == pytest.approx(off.mean(), rel=1e-8)
        assert row.weak["E X^2"][0] == pytest.approx(e.mean(), rel=1e-8)
        assert row.h == 1.0 / row.steps and row.evaluations == (row.steps, row.steps) and row.seconds > 0


def test_the_answer_does_not_depend_on_how_the_paths_are_held(monkeypatch):
    ask = lambda: convergence(linear.sde, linear.x0, 1.0, em, (4, 8, 16), 1000, solution=linear.solution)
    whole = ask()
    monkeypatch.setattr(sys.modules["sdekit.convergence"], "NORMALS", 5000)  # the package's name is the function
    for a, b in zip(whole.orders, ask().orders):
        assert (a.estimate, a.low) == pytest.approx((b.estimate, b.low), rel=1e-9)


def test_what_is_drowned_is_not_told():
    found = convergence(benes.sde, benes.x0, 1.0, em, (64, 128, 256), 40, seed=4, reference=em, finer=2,
                        weak={"cos": lambda x: np.cos(40 * x)}).order(em, "cos")
    assert not found.told and "cannot tell" in found.note and math.isnan(found.low)


def test_an_exact_method_is_exact_to_rounding():
    found = convergence(sk.BrownianMotion(0.3, 0.7), 1.0, 1.0, [em, sk.exact], (4, 8, 16), 100)
    assert {o.note for o in found.orders} == {"exact to rounding"}


def test_intervals_cover_as_often_as_they_say():
    """On errors h^p (1 + noise), with batches that share their noise between the step sizes as coupled paths do."""
    rng, h, runs, hits = np.random.default_rng(5), 2.0 ** -np.arange(3, 8), 1000, 0
    for _ in range(runs):
        noise = 0.4 * rng.gamma(2.0, size=(1, 20)) + 0.2 * rng.gamma(2.0, size=(5, 20)) - 1.2
        found = order(h, (h**1.3)[:, None] * (1 + 0.3 * noise))
        hits += found.low <= 1.3 <= found.high
    assert_near(hits / runs, 0.95, (0.95 * 0.05 / runs) ** 0.5, bias=0.02)


def test_a_bend_costs_the_coarsest_points_or_is_told():
    rng, h = np.random.default_rng(6), 2.0 ** -np.arange(1, 8)
    errors = (h + 4 * h**3)[:, None] * (1 + 0.001 * rng.normal(size=(7, 20)))
    found = order(h, errors)
    assert len(found.steps) < 6 and found.low <= 1.0 <= found.high
    assert abs(found.estimate - 1.0) < 0.05


def test_a_change_of_sign_leaves_the_finer_points_alone():
    h = 2.0 ** -np.arange(1, 8)
    found = order(h, (h - 4 * h**2)[:, None] * (1 + 1e-3 * np.random.default_rng(7).normal(size=(7, 20))))
    assert max(found.steps) < 0.25


def test_the_fine_reference_answers_as_the_solution_does():
    ask = lambda **how: convergence(linear.sde, linear.x0, 0.25, em, STEPS, 2000, seed=8, **how)
    ours, exact = ask(reference=milstein, finer=8), ask(solution=linear.solution)
    for a, b in zip(ours.rows, exact.rows):
        assert a.strong[0] == pytest.approx(b.strong[0], rel=0.1)
    assert abs(ours.order(em).estimate - exact.order(em).estimate) < 0.05


def test_the_exact_transition_is_taken_where_it_follows_the_path():
    gbm = sk.GeometricBrownianMotion(mu=1.01, sigma=0.87)
    ours = convergence(gbm, 0.5, 1.0, em, (4, 8), 100)
    given = convergence(linear.sde, 0.5, 1.0, em, (4, 8), 100, solution=linear.solution)
    assert ours.info["truth"] == "the exact transition"
    assert ours.rows[0].strong == pytest.approx(given.rows[0].strong, rel=1e-9)


def test_systems_and_several_noises():
    found = convergence(two_noises.sde, 1.0, 0.1, em, STEPS, 4000, solution=two_noises.solution)
    near(found.order(em), 0.5)
    pair = problems.commutative
    found = convergence(pair.sde, pair.x0, 0.1, em, (16, 32), 100, solution=pair.solution)
    assert set(found.rows[0].weak) == {"E X[0]", "E X[0]^2", "E X[1]", "E X[1]^2"}


@pytest.mark.parametrize("ratio", [2, 3, 6])
def test_draws_over_longer_steps_are_the_brownians(ratio):
    W = sk.Brownian(9, 2.0, 12, 50, noises=3)
    fine = (*W.increments_and_areas(12), W.levy_areas(W.grid))
    n = 12 // ratio
    for ours, theirs in zip(coarser(fine, ratio), (*W.increments_and_areas(n), None)):
        if theirs is not None:
            assert np.abs(ours - theirs).max() < 1e-13
    twice = coarser(coarser(fine, ratio), n)
    assert all(np.abs(a - b).max() < 1e-13 for a, b in zip(twice, coarser(fine, 12)))


def test_a_method_of_the_other_calculus_is_refused_with_the_reason():
    other = sk.Method("other", em.make, 1.0, 1.0, calculus="stratonovich")
    found = convergence(linear.sde, linear.x0, 0.25, [em, other], (4, 8), 40, solution=linear.solution)
    assert list(found.refused) == ["other"] and "Stratonovich" in found.refused["other"]
    assert "other: refused" in str(found)
    with pytest.raises(ValueError, match="Ito"):
        convergence(linear_stratonovich.sde, 0.5, methods=em, solution=linear_stratonovich.solution)


def test_states_that_are_not_finite_are_told():
    steep = sk.SDE(lambda x, t: -(x**3), lambda x, t: 1.0)
    found = convergence(steep, 30.0, 1.0, em, (4, 8, 16), 40, solution=lambda t, W: W)
    assert found.order(em).note == "cannot tell: the states were not finite" and "not finite" in str(found)


def test_it_prints_and_draws(on_linear):
    text = str(on_linear)
    assert "milstein" in text and "95% interval" in text and "strong error" in text
    for of, against in (("strong", "h"), ("E X", "h"), ("rms", "seconds")):
        ax = on_linear.plot(of=of, against=against)
        assert ax.get_xscale() == ax.get_yscale() == "log" and len(ax.get_legend().get_texts()) == 4
    with pytest.raises(ValueError, match="against"):
        on_linear.plot(against="steps")
    with pytest.raises(KeyError, match="strong"):
        on_linear.order(em, "weak")


@pytest.mark.parametrize("how, error, words", [
    ({"steps": (16,)}, ValueError, "two step sizes"),
    ({"steps": (16, 8)}, ValueError, "increase"),
    ({"steps": 16}, TypeError, "numbers of steps"),
    ({"steps": (7, 11, 64)}, ValueError, "divide"),
    ({"steps": (4, 8.5)}, TypeError, "steps"),
    ({"methods": ["milstein"]}, TypeError, "values"),
    ({"methods": []}, ValueError, "one or more"),
    ({"methods": [em, em]}, ValueError, "different"),
    ({"t": (1.0, 0.0)}, ValueError, "increas|after|end"),
    ({"t": [0.0, 0.5, 1.0]}, ValueError, "steps"),
    ({"x0": np.ones(3)}, TypeError, "same x0"),
    ({"x0": (1.0, 2.0)}, (TypeError, ValueError), "component"),
    ({"paths": 10}, ValueError, "paths"),
    ({"level": 95}, ValueError, "level"),
    ({"solution": 1.0}, TypeError, "solution"),
    ({"solution": lambda t, W: 1.0}, ValueError, "solution must return"),
    ({"solution": None, "reference": "milstein"}, TypeError, "reference"),
    ({"weak": {"one": 1.0}}, TypeError, "weak"),
    ({"weak": {"one": lambda x: 1.0}}, ValueError, "one number for each path"),
])
def test_what_does_not_fit_is_told(how, error, words):
    options = {"x0": 0.5, "methods": em, "steps": (4, 8), "paths": 40, "solution": linear.solution} | how
    with pytest.raises(error, match=words):
        convergence(linear.sde, **options)


def test_an_equation_with_a_value_for_each_path_and_what_is_no_equation():
    with pytest.raises(ValueError, match="each path"):
        convergence(sk.SDE(linear.sde.drift, linear.sde.diffusion, a=np.ones(3), b=0.1), 0.5)
    with pytest.raises(TypeError, match="SDE"):
        convergence(sk.ODE(lambda x, t: x), 0.5)


# --- problems

def known(problem):
    return [(name, *pair) for name, pair in problem.moments.items()]


@pytest.mark.parametrize("problem", [p for p in PROBLEMS if p.solution], ids=repr)
def test_a_problems_solution_solves_it(problem):
    """Stratonovich's chain rule along W(t) = W_j(t) e_j, a smooth path: dX/dt = f~ + g dW/dt, f~ = f - 1/2 g' g."""
    sde, system = problem.sde, isinstance(problem.x0, tuple)
    t0, e, w = 0.2, 1e-5, np.linspace(0.1, 0.3, problem.noises)

    def at(t):
        W = (w * t)[0] if problem.noises == 1 else w * t
        return np.atleast_1d(problem.solution(t, W))

    call = lambda f, x, t: f(tuple(x) if system else x[0], t, **{
        k: v for k, v in sde.parameters.items() if k in f.__code__.co_varnames})
    drift = lambda x, t: np.atleast_1d(call(sde.drift, x, t))
    noise = lambda x, t: np.reshape(call(sde.diffusion, x, t), (len(x), problem.noises))
    x = at(t0)
    rate = (at(t0 + e) - at(t0 - e)) / (2 * e)
    G, f = noise(x, t0), drift(x, t0)
    if problem.calculus == "ito":
        f = f - 0.5 * sum((noise(x + e * G[:, j], t0) - noise(x - e * G[:, j], t0))[:, j] / (2 * e)
                          for j in range(problem.noises))
    assert np.abs(rate - f - G @ w).max() < 1e-8
    assert np.abs(at(0.0) - np.atleast_1d(problem.x0)).max() < 1e-12


@pytest.mark.parametrize("problem", [p for p in PROBLEMS if p.moments], ids=repr)
def test_a_problems_moments_obey_its_generator(problem):
    """d/dt E phi = E L phi at t = 0, where X is x0: by a difference of the moment, and of phi at x0."""
    t, x0 = 1e-5, np.atleast_1d(problem.x0)
    system = isinstance(problem.x0, tuple)
    call = lambda f: f(problem.x0, 0.0, **{k: v for k, v in problem.sde.parameters.items()
                                            if k in f.__code__.co_varnames})
    f, e = np.atleast_1d(call(problem.sde.drift)), 1e-3
    G = np.reshape(call(problem.sde.diffusion), (len(x0), -1))
    if problem.calculus == "stratonovich":
        at = lambda x: np.reshape(problem.sde.diffusion(float(x[0]), 0.0, **{
            k: v for k, v in problem.sde.parameters.items()
            if k in problem.sde.diffusion.__code__.co_varnames}), (1, 1))
        f = f + 0.5 * (at(x0 + e * G[:, 0]) - at(x0 - e * G[:, 0]))[:, 0] / (2 * e)
    for name, phi, exact in known(problem):
        value = lambda x, phi=phi: float(phi(tuple(x) if system else x[0]))
        slope = (value(x0 + e * f) - value(x0 - e * f)) / (2 * e)
        curve = sum((value(x0 + e * g) - 2 * value(x0) + value(x0 - e * g)) / e**2 for g in G.T)
        assert abs(exact(0.0) - value(x0)) < 1e-12, name
        assert abs((exact(t) - exact(0.0)) / t - slope - 0.5 * curve) < 1e-3, name


def test_the_reference_of_a_stratonovich_equation_is_not_the_crudest():
    sde = sk.Stratonovich(lambda x, t: 0.1 * x, lambda x, t: 0.3 * x)
    found = sk.convergence(sde, 1.0, methods=[sk.euler_heun], steps=(8, 16, 32), paths=100, seed=1, weak={})
    assert "heun_stratonovich in" in str(found)


@pytest.mark.parametrize("asked, message", [({"methods": "sri"}, "methods is a method such as sdekit.sri"),
                                            ({"methods": sk.theta}, "methods is a method such as sdekit.sri"),
                                            ({"weak": lambda x: x}, "weak maps names to functions")])
def test_arguments_of_another_kind_are_refused(asked, message):
    with pytest.raises(TypeError, match=message):
        sk.convergence(sk.BrownianMotion(), 0.0, **asked)
