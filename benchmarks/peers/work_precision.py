"""Strong errors and times of torchsde and diffrax, for benchmarks/work_precision.py, which starts this and asks.

One line of JSON comes first: the contenders [problem, label] and the versions. Then each line of the input is answered:

    {"error": [number, steps, paths, seed]}  ->  {"error": E|X_h(T) - X(T)|, "stderr": of it}
    {"seconds": [number, steps, paths]}      ->  {"seconds": one run, final values alone}

Each library in its quickest way here: all paths as one float64 state with diagonal noise; diffrax compiled (quicker so
than by vmap over paths) with the UnsafeBrownianPath, which draws and keeps nothing, torchsde with a Brownian interval
that knows the step. diffrax's methods of strong order 1.5 for multiplicative noise, SlowRK, are of Stratonovich's
equation: it gets the drift f - g'g/2. Errors are measured on the libraries' own paths: diffrax's VirtualBrownianTree,
in the law the same as the other, with W(T) from it; `sine` against the same method in finer steps on the same path.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import version
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import lineax
import numpy as np
import torch
import torchsde

jax.config.update("jax_enable_x64", True)

PACKAGES = ("numpy", "torch", "torchsde", "jax", "diffrax")
FINE = 512  # steps of the reference of `sine`
AREA = diffrax.SpaceTimeLevyArea
P = 0.1


@dataclass(frozen=True)
class Problem:
    """dX = f dt + g dW, Ito, of arrays by `m`, which is torch or jax.numpy; f_strat is its drift in Stratonovich's."""

    x0: float
    f: Callable
    g: Callable
    f_strat: Callable
    solution: Callable | None  # of W(1)


PROBLEMS = {
    "linear": Problem(0.5, lambda m, x: 1.01 * x, lambda m, x: 0.87 * x, lambda m, x: (1.01 - 0.87**2 / 2) * x,
                      lambda W: 0.5 * np.exp((1.01 - 0.87**2 / 2) + 0.87 * W)),
    "wave": Problem(1.0, lambda m, x: -P**2 * m.sin(x) * m.cos(x) ** 3, lambda m, x: P * m.cos(x) ** 2,
                    lambda m, x: m.zeros_like(x), lambda W: np.arctan(P * W + np.tan(1.0))),
    "sine": Problem(1.0, lambda m, x: m.sin(x), lambda m, x: m.ones_like(x), lambda m, x: m.sin(x), None),
}


class InTorch(torch.nn.Module):
    """A problem as torchsde wants it; noise that is said to be additive gets its method for that."""

    sde_type = "ito"

    def __init__(self, problem: Problem, noise_type: str):
        super().__init__()
        self.problem, self.noise_type = problem, noise_type

    def f(self, t, y):
        return self.problem.f(torch, y)

    def g(self, t, y):
        value = self.problem.g(torch, y)
        return value[..., None] if self.noise_type == "additive" else value


@dataclass(frozen=True)
class TorchSRK:
    """torchsde's srk: SRID2 of Roessler 2010, or SRA1 where the noise is additive."""

    problem: str

    def solve(self, steps: int, paths: int, bm) -> torch.Tensor:
        sde = InTorch(PROBLEMS[self.problem], "additive" if self.problem == "sine" else "diagonal")
        x0 = torch.full((paths, 1), PROBLEMS[self.problem].x0, dtype=torch.float64)
        ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
        with torch.no_grad():
            return torchsde.sdeint(sde, x0, ends, bm=bm, method="srk", dt=1 / steps)[-1]

    def brownian(self, steps: int, paths: int, seed: int):
        return torchsde.BrownianInterval(t0=0.0, t1=1.0, size=(paths, 1), dtype=torch.float64, entropy=seed,
                                         levy_area_approximation="space-time", dt=1 / steps)

    def run(self, steps: int, paths: int) -> None:
        self.solve(steps, paths, self.brownian(steps, paths, 1))

    def ends(self, steps: int, paths: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """X_h(1), and W(1), or X(1) in FINE steps."""
        known = PROBLEMS[self.problem].solution
        bm = self.brownian(steps if known else FINE, paths, seed)
        other = bm(0.0, 1.0) if known else self.solve(FINE, paths, bm)
        return self.solve(steps, paths, bm).numpy()[:, 0], other.numpy()[:, 0]


@dataclass(frozen=True)
class Diffrax:
    """A method of diffrax; `stratonovich` ones get that drift."""

    problem: str
    solver: Any
    stratonovich: bool = False

    def run(self, steps: int, paths: int) -> None:
        jax.block_until_ready(compiled(self, paths, False)(jax.random.key(0), 1 / steps))

    def ends(self, steps: int, paths: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        x = compiled(self, paths, True)(jax.random.key(seed), 1 / steps)
        return np.asarray(x), truth(self, paths, seed)


@cache
def compiled(what: Diffrax, paths: int, by_tree: bool) -> Callable:
    """(key, h) -> X_h(1); one compilation serves all step sizes, and costs no speed."""
    problem = PROBLEMS[what.problem]
    f = problem.f_strat if what.stratonovich else problem.f
    g = lambda t, y, args: lineax.DiagonalLinearOperator(problem.g(jnp, y))

    @jax.jit
    def solve(key, h):
        path = tree(paths, key) if by_tree else diffrax.UnsafeBrownianPath((paths,), key, AREA)
        terms = diffrax.MultiTerm(diffrax.ODETerm(lambda t, y, args: f(jnp, y)), diffrax.ControlTerm(g, path))
        return diffrax.diffeqsolve(terms, what.solver, 0.0, 1.0, h, jnp.full(paths, problem.x0),
                                   adjoint=diffrax.DirectAdjoint(), max_steps=None).ys[0]
    return solve


def tree(paths: int, key) -> diffrax.VirtualBrownianTree:
    return diffrax.VirtualBrownianTree(0.0, 1.0, tol=0.5 / FINE, shape=(paths,), key=key, levy_area=AREA)


@cache
def truth(what: Diffrax, paths: int, seed: int) -> np.ndarray:
    """W(1), or X(1) in FINE steps."""
    key = jax.random.key(seed)
    if PROBLEMS[what.problem].solution:
        return np.asarray(tree(paths, key).evaluate(0.0, 1.0))
    return np.asarray(compiled(what, paths, True)(key, 1 / FINE))


CONTENDERS = [
    ("linear", "torchsde srk (SRID2)", TorchSRK("linear")),
    ("linear", "diffrax SlowRK", Diffrax("linear", diffrax.SlowRK(), True)),
    ("sine", "torchsde srk (SRA1)", TorchSRK("sine")),
    ("sine", "diffrax ShARK", Diffrax("sine", diffrax.ShARK())),
    ("sine", "diffrax SRA1", Diffrax("sine", diffrax.SRA1())),
    ("wave", "torchsde srk (SRID2)", TorchSRK("wave")),
    ("wave", "diffrax SlowRK", Diffrax("wave", diffrax.SlowRK(), True)),
]


def error(number: int, steps: int, paths: int, seed: int) -> dict[str, float]:
    problem, _, contender = CONTENDERS[number]
    solution = PROBLEMS[problem].solution
    x, other = contender.ends(steps, paths, seed)
    e = np.abs(x - (solution(other) if solution else other))
    return {"error": float(e.mean()), "stderr": float(e.std() / paths**0.5)}


def seconds(number: int, steps: int, paths: int) -> dict[str, float]:
    run = partial(CONTENDERS[number][2].run, steps, paths)
    start = time.perf_counter()
    run()
    return {"seconds": time.perf_counter() - start}


if __name__ == "__main__":
    print(json.dumps({"contenders": [[problem, label] for problem, label, _ in CONTENDERS],
                      "versions": {name: version(name) for name in PACKAGES}}), flush=True)
    for line in sys.stdin:
        (name, arguments), = json.loads(line).items()
        print(json.dumps({"error": error, "seconds": seconds}[name](*arguments)), flush=True)
