"""`check_method`: a right method keeps the laws, and each law catches the method that breaks it."""

from dataclasses import replace

import numpy as np
import pytest

import sdekit as sk
from sdekit import laws, problems, weak
from sdekit.laws import LAWS, check_method
from tests.conftest import assert_near

em = sk.euler_maruyama


def wrong(name: str, step_of, **claims) -> sk.Method:
    """Euler-Maruyama with another step: step_of(c) -> step."""
    return replace(em, name=name, make=step_of, **claims)


def scaled(drift=1.0, noise=1.0):
    def make(c):
        f, g, add, scale, dot = c.f, c.g, c.add, c.scale, c.dot
        return lambda x, t, h, dw, p: add(add(x, scale(drift * h, f(x, t, p))), scale(noise, dot(g(x, t, p), dw)))
    return make


def tamed(c):
    """x' = x + f h / (1 + h f^2) + g dW: of order 1, but it knows the size of f."""
    f, g, add, dot, each = c.f, c.g, c.add, c.dot, c.each(lambda f, h: h * f / (1 + h * f * f), 1)
    return lambda x, t, h, dw, p: add(add(x, each(f(x, t, p), h)), dot(g(x, t, p), dw))


def late(c):
    """The time of the whole step instead of its start: it remembers where a run began."""
    f, g, add, scale, dot = c.f, c.g, c.add, c.scale, c.dot
    return lambda x, t, h, dw, p: add(add(x, scale(h, f(x, 0.0 if t == 0.5 else t, p))), dot(g(x, t, p), dw))


CASES = [
    ("without diffusion", wrong("slow", scaled(drift=0.5))),
    ("without diffusion", wrong("slow", scaled(drift=0.5), ode=None)),
    ("without drift", wrong("loud", scaled(noise=1.1))),
    ("change of variable", wrong("tamed", tamed)),
    ("evaluations", replace(em, name="cheap", evaluations=(1, 0))),
    ("strong order", replace(em, name="boastful", strong=1.0)),
    ("strong order", replace(em, name="commutes", commutative=1.0)),
    ("weak order", replace(em, name="second", weak=2.0)),
    ("weak order", wrong("loud", scaled(noise=1.1))),
    ("weak order", wrong("flipped", scaled(drift=-1.0))),
]


@pytest.mark.parametrize("law, method", CASES, ids=lambda v: v if isinstance(v, str) else v.name)
def test_each_law_catches_who_breaks_it(law, method, monkeypatch):
    monkeypatch.setattr(laws, "STRONG", {"commutative": [(problems.linear, 0.25, (16, 32, 64, 128), 2000)]})
    found = LAWS[law](method)
    assert found.passed is False and found.name == law, found.text


@pytest.fixture(scope="module")
def report():
    return check_method(em)


def test_euler_maruyama_keeps_the_laws(report):
    assert report.ok and not report.failures, str(report)
    assert [law.name for law in report.laws] == list(LAWS)
    assert "all laws kept" in str(report) and "strong order" in str(report)


def test_what_fails_is_listed():
    report = laws.Report(em, (laws.Law("a", True, "x"), laws.Law("b", False, "y"), laws.Law("c", None, "z")))
    assert not report.ok and [law.name for law in report.failures] == ["b"]
    assert "FAILED" in str(report) and "does not apply" in str(report)


def test_a_law_that_cannot_be_run_has_failed():
    def make(c):
        raise ValueError("no such step")

    with pytest.raises(ValueError, match="none of the equations"):
        check_method(replace(em, name="broken", make=make))

    def law(method: sk.Method) -> laws.Law:
        raise FloatingPointError("not finite")

    assert laws._tried("weak order", law, em).passed is False


def test_taming_keeps_shifts():
    method = wrong("tamed", tamed)
    assert laws.change_of_variable(method, "shifts").passed
    assert not laws.change_of_variable(method, "scalings").passed


def test_a_method_that_follows_the_law_alone_has_no_strong_order():
    free = replace(em, name="free", strong=None, additive=None)
    assert LAWS["strong order"](free).passed is None and LAWS["without drift"](free).passed is None


@pytest.mark.parametrize("argument, error", [("em", TypeError), (None, TypeError)])
def test_what_is_no_method_is_refused(argument, error):
    with pytest.raises(error, match="Method"):
        check_method(argument)


def test_the_changes_of_variable_have_names():
    with pytest.raises(ValueError, match="affine"):
        check_method(em, equivariance="rotations")


# --- weak errors without sampling

def test_expectations_of_euler_maruyama_on_linear_are_powers():
    """E X_h = x0 (1 + a h)^n and E X_h^2 = x0^2 ((1 + a h)^2 + b^2 h)^n."""
    found = weak.expectations(em, problems.linear, 8, 1.0)
    a, b, h = 1.01, 0.87, 1 / 8
    assert found["E X"] == pytest.approx(0.5 * (1 + a * h) ** 8, rel=1e-7)
    assert found["E X^2"] == pytest.approx(0.25 * ((1 + a * h) ** 2 + b * b * h) ** 8, rel=1e-7)


@pytest.mark.parametrize("problem", [problems.arsinh, problems.benes], ids=repr)
def test_expectations_are_what_is_sampled(problem):
    x = sk.simulate(problem.sde, problem.x0, 0.5, 8, 100_000, seed=5, save="final", method=em, backend="numpy").final
    for name, value in weak.expectations(em, problem, 8, 0.5).items():
        y = problem.moments[name][0](x)
        assert_near(y.mean(), value, y.std() / len(y) ** 0.5)


def test_second_moments_of_linear_systems():
    """E |X|^2 = 2 e^t of `non_commutative_linear`; E V^2 of the oscillator at rest is kT."""
    second = weak.second_moments(problems.non_commutative_linear, 0.7)
    assert second[0, 0] == pytest.approx(1.0) and np.allclose(second[0, 1:], 1.0)
    assert second[1, 1] + second[2, 2] == pytest.approx(2 * np.exp(0.7))
    rest = weak.second_moments(problems.oscillator, 200.0)
    assert np.allclose(rest[1:, 1:], 0.5 * np.eye(2))


def test_second_moments_of_euler_maruyama():
    """One step from x: E X'X'' = M xx' M' + h sum_j B_j x x' B_j', M = 1 + A h."""
    A = np.array([[-0.5, 0.6], [0.3, -0.4]])
    B = np.array([[[0.4, 0.2], [0.0, -0.3]], [[0.0, 0.5], [0.2, 0.3]]])
    x, h = np.array([1.0, -0.5]), 0.25
    M = np.eye(2) + A * h
    exact = weak.second_moments(problems.mixing, h)
    ours = np.outer(M @ x, M @ x) + h * sum(np.outer(b @ x, b @ x) for b in B)
    off = np.zeros((3, 3))
    off[0, 1:] = off[1:, 0] = M @ x
    off[1:, 1:], off[0, 0] = ours, 1.0
    assert weak.moments(em, problems.mixing, 1, h) == pytest.approx(np.linalg.norm(off - exact), rel=1e-9)


def test_the_nodes_have_the_moments_of_the_draws():
    """E H^2 = h/12, E A^2 = h^2/4, E A W_1 W_2 = 0, E A (H_1 W_2 - W_1 H_2) = h^2/6."""
    h = 0.3
    (W1, W2, H1, H2, A), w = weak.quadrature(replace(em, draws="WHA"), 2, h, (6, 4))
    mean = lambda x: float(w @ x)
    assert mean(W1**2) == pytest.approx(h) and mean(W1**4) == pytest.approx(3 * h * h)
    assert mean(H2**2) == pytest.approx(h / 12) and mean(A**2) == pytest.approx(h * h / 4)
    assert abs(mean(A * W1 * W2)) < 1e-15
    assert mean(A * (H1 * W2 - W1 * H2)) == pytest.approx(h * h / 6)
