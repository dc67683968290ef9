"""Laws that a method for SDEs keeps, and whether one's own does: `check_method`.

    without diffusion    it is its method for ODEs
    without drift        with constant diffusion it sums the increments: X(T) = x0 + G W(T)
    executions agree     NumPy = Numba = Torch on the same draws, to AGREE
    two halves           two runs, end to start on the same W, are one run
    change of variable   y = A x + b, steps before or after it: to AFFINE. A is any matrix, or a diagonal one where each
                         component has its own noise, or 1 where the method looks at the size of the state
    evaluations          a step calls drift and diffusion as often as it says
    strong order         on problems of every kind of noise that it takes: the smallest is what it claims, +-WITHIN,
                         measured on paths, the interval of probability LEVEL narrower than that
    weak order           the same for expectations; without sampling

Weak errors are worked out, not drawn (`sdekit.weak`). The order is the slope between the two finest steps; its interval
reaches to where the next halvings would lead.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sdekit import problems
from sdekit.brownian import Brownian
from sdekit.convergence import convergence, table
from sdekit.methods import Method
from sdekit.orders import Order, slopes, strong_claim
from sdekit.problems import Problem
from sdekit.processes.langevin import UnderdampedLangevin
from sdekit.sde import SDE, Stratonovich, noise_free, structure
from sdekit.simulation import integrate, simulate
from sdekit.weak import composed, expectations, moments

AGREE, AFFINE, WITHIN, LEVEL = 1e-12, 1e-9, 0.15, 0.999
SEED = 11


@dataclass(frozen=True)
class Law:
    """What became of a law: `passed` is None where it does not apply; `text` are the figures, or the reason."""

    name: str
    passed: bool | None
    text: str

    def __str__(self) -> str:
        return {True: "passed", False: "FAILED", None: "does not apply"}[self.passed]


@dataclass(frozen=True)
class Report:
    """What `check_method` found; print it."""

    method: Method
    laws: tuple[Law, ...]

    @property
    def ok(self) -> bool:
        return not self.failures

    @property
    def failures(self) -> tuple[Law, ...]:
        return tuple(law for law in self.laws if law.passed is False)

    def __str__(self) -> str:
        lines = [[law.name, str(law), law.text] for law in self.laws]
        return "\n".join([f"{self.method}: {'all laws kept' if self.ok else f'{len(self.failures)} laws broken'}",
                          *table(["law", "", ""], lines)[1:]])


def check_method(method: Method, *, equivariance: str | None = None) -> Report:
    """Run the laws of this module on a method; its claims are measured.

    equivariance  the changes of variable that it has to commute with: "affine", "scalings", "shifts"; by default
                  "affine" for methods that take general noise, else "scalings" (each includes the shifts)

    Returns `Report`: print it, .ok, .failures. Takes 5 to 20 s, most of it to compile. Raises TypeError for what is no
    Method, ValueError for one that fits none of the equations that are tried.

    >>> import sdekit as sk
    >>> from sdekit.laws import LAWS
    >>> print(LAWS["evaluations"](sk.euler_maruyama).text)
    1 + 1
    """
    if not isinstance(method, Method):
        raise TypeError(f"check_method needs a Method, got {method!r}")
    if equivariance not in (None, "affine", "scalings", "shifts"):
        raise ValueError(f'equivariance is "affine", "scalings" or "shifts", got {equivariance!r}')
    if not equations(method):
        raise ValueError(f"{method} takes none of the equations that it could be checked on. On dX = f dt + 0.4 dW: "
                         f"{_fault(method)}")
    checks = dict(LAWS)
    if equivariance is not None:
        checks["change of variable"] = lambda m: change_of_variable(m, equivariance)
    return Report(method, tuple(_tried(name, law, method) for name, law in checks.items()))


def _fault(method: Method) -> str:
    """What goes wrong on an equation with additive noise of one component."""
    sde = (Stratonovich if method.calculus == "stratonovich" else SDE)(_bump_drift, _constant)
    try:
        simulate(sde, 0.3, 1.0, 2, noise=Brownian(SEED, 1.0, 2, 2), method=method, backend="numpy")
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "nothing goes wrong, but another method was taken"


def _tried(name: str, law: Callable[[Method], Law], method: Method) -> Law:
    try:
        return law(method)
    except (ArithmeticError, TypeError, ValueError) as error:
        return Law(name, False, f"{type(error).__name__}: {error}")


# --- equations to run on: smooth and bounded, the time in both functions

def _whirl_drift(x, t):
    u, v = x
    return -1.5 * v - 0.6 * u * np.exp(-u * u), 1.5 * u + 0.1 * t


def _whirl_noise(x, t):
    u, v = x
    return (0.4, 0.1 * np.cos(v), -0.2), (0.3 * np.sin(u), 0.2 + 0.1 * np.sin(v), 0.1 * t)


def _own_noise(x, t):
    u, v = x
    return 0.4 + 0.2 * np.sin(u), 0.3 + 0.1 * t * np.cos(v)


def _bump_drift(x, t):
    return 0.7 * np.sin(t) - x * np.exp(-x * x)


def _bump_noise(x, t):
    return 0.4 + 0.2 * np.sin(x)


def _constant_noise(x, t):
    return (0.4, 0.1, -0.2), (0.3, 0.2, 0.1)


def _constant(x, t):
    return 0.4


def _pendulum(q):
    return -np.sin(q)


def _none(x, t):
    return 0.0


def _no_noise(x, t):
    return (0.0, 0.0, 0.0), (0.0, 0.0, 0.0)


def _no_drift(x, t):
    return 0.0, 0.0


START = (0.3, -0.2)


def equations(method: Method) -> dict[str, tuple[SDE, Any]]:
    """Name -> (sde, x0) of those that the method itself takes, the widest noise first."""
    make = Stratonovich if method.calculus == "stratonovich" else SDE
    tried = {"general": (make(_whirl_drift, _whirl_noise), START), "diagonal": (make(_whirl_drift, _own_noise), START),
             "scalar": (make(_bump_drift, _bump_noise), 0.3), "additive": (make(_whirl_drift, _constant_noise), START),
             "additive scalar": (make(_bump_drift, _constant), 0.3),
             "Langevin": (UnderdampedLangevin(_pendulum, gamma=0.5, temperature=0.5), START)}
    return {name: (sde, x0) for name, (sde, x0) in tried.items() if taken(method, sde, x0) == method}


def taken(method: Method, sde: SDE, x0) -> Method | None:
    """The method that `simulate` takes for it: itself, its `general` one, or None where it refuses."""
    W = Brownian(SEED, 1.0, 2, 2, structure(sde, x0, 0.0).noises)
    try:
        return simulate(sde, x0, 1.0, 2, noise=W, method=method, backend="numpy", nonfinite="stop").info["method"]
    except Exception:  # a method of one's own may raise anything
        return None


def _final(method: Method, sde: SDE, x0, W: Brownian, steps: int, t: Any = 1.0, backend: str = "numpy") -> np.ndarray:
    x = simulate(sde, x0, t, steps, noise=W, method=method, save="final", backend=backend, progress=False).values
    return x[:, -1].reshape(W.paths, -1)


def _off(a, b) -> float:
    """The largest difference, beside the size of the values."""
    return float(np.abs(a - b).max() / max(1.0, np.abs(b).max()))


# --- laws

def without_diffusion(method: Method) -> Law:
    name = "without diffusion"
    make = Stratonovich if method.calculus == "stratonovich" else SDE
    still = {"one component": (make(_bump_drift, _none), 0.3), "system": (make(_whirl_drift, _no_noise), START),
             "Langevin": (UnderdampedLangevin(_pendulum, gamma=0.0, temperature=0.0), START)}
    fits = {k: v for k, v in still.items() if taken(method, *v) == method}
    if not fits:
        return Law(name, None, "it takes no equation without diffusion")
    claim, off, least = 1 if method.ode is None else method.ode.order, 0.0, math.inf
    for sde, x0 in fits.values():
        noises = structure(sde, x0, 0.0).noises
        run = lambda n, sde=sde, x0=x0, m=noises: _final(method, sde, x0, Brownian(SEED, 1.0, n, 1, m), n)
        try:
            if method.ode is not None:
                solved = integrate(noise_free(sde), x0, 1.0, 8, method=method.ode, backend="numpy").values[:, -1]
                off = max(off, _off(run(8), solved.reshape(1, -1)))
                continue
        except ValueError:  # a method for equations of a form of their own, which the drift alone has not
            pass
        true = integrate(noise_free(sde), x0, 1.0, 2048, backend="numpy").values[:, -1].reshape(1, -1)
        found = slopes((1 / 16, 1 / 32, 1 / 64), [np.abs(run(n) - true).max() for n in (16, 32, 64)])
        least = min(least, found.estimate if found.told else math.inf)
    told = ([f"off {method.ode} by {off:.1g}"] if method.ode is not None else []) + (
        [f"an order of {least:.2f} was measured, claimed {claim}"] if least < math.inf else [])
    return Law(name, off < AGREE and least > claim - WITHIN, "; ".join(told))


def without_drift(method: Method) -> Law:
    name = "without drift"
    if method.strong is None:
        return Law(name, None, "it follows the law, not the path")
    make = Stratonovich if method.calculus == "stratonovich" else SDE
    sums = {"one": (make(_none, _constant), 0.3), "many": (make(_no_drift, _constant_noise), START)}
    fits = [v for v in sums.values() if taken(method, *v) == method]
    if not fits:
        return Law(name, None, "it takes no equation without drift")
    off = 0.0
    for sde, x0 in fits:
        G = np.atleast_2d(sde.diffusion(x0, 0.0))
        W = Brownian(SEED, 1.0, 8, 50, G.shape[1])
        off = max(off, _off(_final(method, sde, x0, W, 8), np.atleast_1d(x0) + W(1.0).reshape(50, -1) @ G.T))
    return Law(name, off < AGREE, f"off the sum by {off:.1g}")


def executions_agree(method: Method) -> Law:
    (which, (sde, x0)), off, told = next(iter(equations(method).items())), 0.0, ["numpy"]
    W = Brownian(SEED, 1.0, 8, 50, structure(sde, x0, 0.0).noises)
    ours = _final(method, sde, x0, W, 8)
    for backend in ("numba", "torch"):
        try:
            off = max(off, _off(_final(method, sde, x0, W, 8, backend=backend), ours))
        except ModuleNotFoundError:
            continue
        told.append(backend)
    return Law("executions agree", off < AGREE, f"{', '.join(told)} on {which} noise: apart by {off:.1g}")


def two_halves(method: Method) -> Law:
    name = "two halves"
    if method.memory:
        return Law(name, None, "it carries a memory along, which the state does not hold")
    off = 0.0
    for sde, x0 in equations(method).values():
        W = Brownian(SEED, 1.0, 8, 50, structure(sde, x0, 0.0).noises)
        middle = _final(method, sde, x0, W, 4, (0.0, 0.5))
        begin = tuple(middle.T) if isinstance(x0, tuple) else middle[:, 0]
        off = max(off, _off(_final(method, sde, begin, W, 4, (0.5, 1.0)), _final(method, sde, x0, W, 8)))
    return Law(name, off < AGREE, f"apart by {off:.1g}")


CHANGES = {"affine": ((1.5, -0.7), (0.4, 2.0)), "scalings": ((1.5, 0.0), (0.0, -2.0)),
           "shifts": ((1.0, 0.0), (0.0, 1.0))}


def change_of_variable(method: Method, equivariance: str | None = None) -> Law:
    name, which = "change of variable", equivariance or ("affine" if method.noise == "general" else "scalings")
    off, b, A = 0.0, np.array([0.25, -1.0]), np.array(CHANGES[which])
    found = {k: v for k, v in equations(method).items() if k != "Langevin" and (which != "affine" or k != "diagonal")}
    if not found:
        return Law(name, None, "it takes Langevin equations alone")
    for sde, x0 in found.values():
        dim = len(x0) if isinstance(x0, tuple) else 1
        W = Brownian(SEED, 1.0, 8, 50, structure(sde, x0, 0.0).noises)
        other, y0 = changed(sde, x0, A[:dim, :dim], b[:dim])
        off = max(off, _off(_final(method, other, y0, W, 8), _final(method, sde, x0, W, 8) @ A[:dim, :dim].T + b[:dim]))
    return Law(name, off < AFFINE, f"{which}: apart by {off:.1g}")


def changed(sde: SDE, x0, A: np.ndarray, b: np.ndarray) -> tuple[SDE, Any]:
    """The equation and the start of Y = A X + b."""
    inverse, dim = np.linalg.inv(A), len(b)
    back = lambda y: [sum(inverse[i, k] * (y[k] - b[k]) for k in range(dim)) for i in range(dim)]
    of = lambda rows: tuple(sum(A[i, k] * rows[k] for k in range(dim)) for i in range(dim))
    if not isinstance(x0, tuple):
        bare = lambda f: lambda y, t: A[0, 0] * f(back((y,))[0], t)
        return type(sde)(bare(sde.drift), bare(sde.diffusion)), float(A[0, 0] * x0 + b[0])

    def diffusion(y, t):
        g = sde.diffusion(tuple(back(y)), t)
        if not isinstance(g[0], tuple):
            return tuple(A[i, i] * g[i] for i in range(dim))
        return tuple(zip(*(of(column) for column in zip(*g))))

    drift = lambda y, t: of(sde.drift(tuple(back(y)), t))
    return type(sde)(drift, diffusion), tuple(map(float, A @ np.array(x0) + b))


def evaluations(method: Method) -> Law:
    found = equations(method)
    which = next((k for k in ("scalar", "additive scalar", "Langevin") if k in found), None)
    if which is None:
        return Law("evaluations", None, "it takes no equation of one noise")
    sde, x0 = found[which]
    calls = {"f": 0, "g": 0}

    def counted(name: str, function: Callable):
        def call(x, t, p):
            calls[name] += 1
            return function(x, t, p)
        return call

    c, values = composed(sde, x0)
    assert c.g is not None
    c = replace(c, f=counted("f", c.f), g=counted("g", c.g),
                langevin=None if c.langevin is None else counted("f", c.langevin))
    step, x = method.make(c), np.atleast_1d(x0).tolist()
    calls.update(f=0, g=0)
    step(tuple(x) * (1 + method.memory), 0.1, 0.25, (0.3, 0.05), values)
    got = calls["f"], calls["g"]
    claimed = "" if got == tuple(method.evaluations) else "; {} + {} are claimed".format(*method.evaluations)
    return Law("evaluations", not claimed, f"{got[0]} + {got[1]}{claimed}")


# --- orders

#: Where strong orders are measured, by the kind of noise: the problem, the end, the steps, the paths
STRONG = {
    "general": [(p, 1.0, (4, 8, 16, 32), 800)
                for p in (problems.non_commutative_linear, problems.non_commutative_stratonovich)],
    "commutative": [(p, 0.25, (32, 64, 128, 256), 2000)
                    for p in (problems.linear, problems.arsinh, problems.linear_stratonovich,
                              problems.arsinh_stratonovich, problems.commutative)],
    "additive": [(p, 1.0, (8, 16, 32, 64), 2000) for p in (problems.sine, problems.oscillator)],
}
#: For methods that take Levy areas, whose cost goes with the square of the steps where there are several noises
AREAS = STRONG | {"general": [(p, 1.0, (8, 16, 32), 1600) for p, *_ in STRONG["general"]],
                  "commutative": [(problems.linear, 0.25, (32, 64, 128, 256), 2000),
                                  (problems.arsinh, 0.25, (128, 256, 512, 1024), 6000),
                                  (problems.two_noises, 0.25, (16, 32, 64, 128), 1000)]}


def measured_on(method: Method) -> dict[str, list]:
    """The rows of STRONG or AREAS that the method takes."""
    table = AREAS if len(method.draws) == 3 else STRONG
    return {kind: [row for row in rows if taken(method, row[0].sde, row[0].x0) == method]
            for kind, rows in table.items() if method.strong is not None}


def strong_order(method: Method) -> Law:
    name = "strong order"
    if method.strong is None:
        return Law(name, None, "it follows the law, not the path")
    passed, told = True, []
    for kind, rows in measured_on(method).items():
        found = {row[0]: strong(method, *row) for row in rows}
        if found:
            claim = strong_claim(method, kind)
            good, text = judged(claim, found)
            passed, told = passed and good, [*told, f"{kind} {claim:g}: {text}"]
    return Law(name, passed, "; ".join(told)) if told else Law(name, None, "none of the problems fits")


def strong(method: Method, problem: Problem, t, steps, paths: int) -> Order:
    """The strong order on a problem; where it has no solution the best method that there is makes the reference."""
    x = convergence(problem.sde, problem.x0, t, [method], steps, paths, seed=SEED, solution=problem.solution, weak={},
                    level=LEVEL, backend="numpy", progress=False)
    return x.order(method)


def judged(claim: float | None, found: Mapping[Any, Order]) -> tuple[bool, str]:
    """Whether the smallest order is the claim, +-WITHIN with all its interval; an exact answer has any order."""
    assert claim is not None
    text = ", ".join(f"{p} {o}" for p, o in found.items())
    orders = [o for o in found.values() if o.note != "exact to rounding"]
    if not all(o.told for o in orders):
        return False, text
    if not orders:
        return True, text
    least = min(orders, key=lambda o: o.estimate)
    return min(o.low for o in orders) >= claim - WITHIN and least.high <= claim + WITHIN, text


#: Where weak errors are worked out: problems of one component with known moments, and linear systems
WEAK = [problems.linear, problems.arsinh, problems.benes, problems.growth_stratonovich, problems.arsinh_stratonovich,
        problems.mixing, problems.mixing_stratonovich, problems.oscillator]
WEAK_STEPS = (8, 16, 32, 64)


def weak_order(method: Method) -> Law:
    name, found = "weak order", {}
    if not math.isfinite(method.weak):
        return Law(name, None, "it claims to have no error in the law")
    for p in WEAK:
        if taken(method, p.sde, p.x0) == method:
            found |= weak(method, p)
    if not found:
        return Law(name, None, "no weak error can be worked out: none of the problems fits")
    good, text = judged(method.weak, found)
    return Law(name, good, text)


def weak(method: Method, problem: Problem, t: float = 0.5, steps=WEAK_STEPS) -> dict[Any, Order]:
    """The weak orders on a problem by name; none where they cannot be worked out."""
    h = t / np.array(steps)
    if isinstance(problem.x0, tuple) or method.memory:
        errors = [moments(method, problem, n, t) for n in steps] if problem.linear else [None]
        return {} if errors[0] is None else {problem: slopes(h, errors)}
    found = [expectations(method, problem, n, t) for n in steps]
    return {f"{problem} {name}": slopes(h, [each[name] - exact(t) for each in found])
            for name, (_, exact) in problem.moments.items()}


#: By name: method -> Law
LAWS: dict[str, Callable[[Method], Law]] = {
    "without diffusion": without_diffusion, "without drift": without_drift, "executions agree": executions_agree,
    "two halves": two_halves, "change of variable": change_of_variable, "evaluations": evaluations,
    "strong order": strong_order, "weak order": weak_order}
