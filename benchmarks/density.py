"""What densities cost: `python benchmarks/density.py` solves each case below, prints the table and writes
benchmarks/results/density.md; --quick takes a quarter of the cells along each axis, and writes no file.

Seconds are the median of --rounds; "error" is sum |p - exact| over the cells at the end, where the law is known.
"""

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.linalg import expm, solve_continuous_lyapunov
from scipy.stats import multivariate_normal, norm
from table import THREADS, processor

import sdekit as sk
from sdekit.density import Density, fokker_planck, grid

RESULTS = Path(__file__).parent / "results" / "density.md"
A, STEPS = np.array([[-1.0, 0.5], [-0.8, -0.6]]), 100
MEAN, COV = np.array([1.0, -0.5]), np.array([[0.25, 0.05], [0.05, 0.3]])


def turning(x, t):
    return -x[0] + 0.5 * x[1], -0.8 * x[0] - 0.6 * x[1]


def well(x, t):
    return x[0] - x[0] ** 3 + 0.5 * x[1], 0.5 * np.cos(x[0]) - x[1]


def driven(x, t):
    return x[0] - x[0] ** 3 + 0.3 * np.sin(3 * t), 0.5 * np.cos(x[0] - t) - x[1]


def exact(G: np.ndarray) -> Callable[[Density], np.ndarray]:
    """The Gaussian that dX = A X dt + G dW, started in N(MEAN, COV), has at t = 1."""
    E, rest = expm(A), solve_continuous_lyapunov(A, -G @ G.T)
    law = multivariate_normal(E @ MEAN, E @ (COV - rest) @ E.T + rest)
    return lambda p: law.pdf(np.stack(np.meshgrid(*p.x, indexing="ij"), -1))


@dataclass(frozen=True)
class Case:
    """An equation, where it starts, its square [-width, width]^2 of cells x cells, and its law if it is known."""

    name: str
    sde: sk.SDE
    start: object
    width: float
    cells: int
    exact: Callable[[Density], np.ndarray] | None = None


TWO, COMMON = np.diag([0.8, 0.6]), np.array([[0.8, 0.0], [0.5, 0.4]])
PAIR = (norm(-1.0, 0.3), norm(0.0, 0.4))
CASES = [
    Case("Ornstein-Uhlenbeck", sk.SDE(turning, lambda x, t: (0.8, 0.6)), multivariate_normal(MEAN, COV), 5.0, 200,
         exact(TWO)),
    Case("Ornstein-Uhlenbeck, correlated", sk.SDE(turning, lambda x, t: ((0.8, 0.0), (0.5, 0.4))),
         multivariate_normal(MEAN, COV), 5.0, 200, exact(COMMON)),
    Case("double well", sk.SDE(well, lambda x, t: (0.7, 0.6)), PAIR, 3.5, 200),
    Case("double well, driven in time", sk.SDE(driven, lambda x, t: (0.7, 0.6 + 0.1 * np.sin(x[0] + t))), PAIR, 3.5,
         200),
    Case("Langevin, no noise in x", sk.UnderdampedLangevin(lambda q: q - q**3, gamma=1.0, temperature=0.3), PAIR, 4.0,
         200),
]


def main() -> None:
    """Solve, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    before = os.getloadavg()[0]
    text = (f"# Densities in the plane\n\nThe Fokker-Planck equation to t = 1 on {THREADS} processors, {processor()}, "
            f"load before {before:.1f}; median of {options.rounds} rounds (least to most). \"error\" is sum "
            "|p - exact| over the cells at the end, where the law is known. Command: "
            "`python benchmarks/density.py`.\n\n"
            "| case | cells | steps | seconds | 1 - mass | least density | error |\n| --- " + "| --- " * 6 + "|\n")
    print(text, end="")
    for case in CASES:
        n = case.cells // 4 if options.quick else case.cells
        edges = grid(-case.width, case.width, n)
        seconds, p = [], None
        for _ in range(options.rounds):
            begin = time.perf_counter()
            p = fokker_planck(case.sde, case.start, (edges, edges), 1.0, STEPS, save="final", progress=False)
            seconds.append(time.perf_counter() - begin)
        assert p is not None
        error = ""
        if case.exact is not None:
            error = f"{np.abs(p.density[-1] - case.exact(p)).sum() * (2 * case.width / n) ** 2:.1e}"
        line = (f"| {case.name} | {n} x {n} | {STEPS} | {np.median(seconds):.1f} ({min(seconds):.1f} to "
                f"{max(seconds):.1f}) | {1 - p.mass[-1]:.0e} | {p.density.min():.0e} | {error} |\n")
        print(line, end="", flush=True)
        text += line
    if not options.quick:
        RESULTS.write_text(text)


if __name__ == "__main__":
    main()
