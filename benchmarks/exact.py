"""What exact sampling is worth: `python benchmarks/exact.py` prints the table and writes benchmarks/results/exact.md.

A process that has its own transition takes one step (a bridge to the middle, Heston as many as its bias needs). Euler-
Maruyama takes the fewest steps, of 4, 8, 16, ..., at which its bias is below the standard error of 10^6 paths, for
each of the statistics named: |E_h phi - E phi| <= sd(phi) / 1000, E_h phi from 4 times as many paths, E phi in closed
form. Then both are timed turn about on 10^6 paths; the machinery is that of table.py.
"""

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from table import THREADS, measure, processor, spread

import sdekit as sk

RESULTS = Path(__file__).parent / "results" / "exact.md"
PATHS, MORE, MOST = 10**6, 4, 2**11

Statistic = tuple[str, Callable[[np.ndarray], np.ndarray], float]  # its name, phi of the final values, E phi


@dataclass(frozen=True)
class Case:
    """A process from x0 to t, and what is asked of it."""

    label: str
    process: sk.SDE
    x0: float | tuple
    t: float
    statistics: list[Statistic]

    def final(self, method: sk.Method | None, steps: int, seed: int = 1, first: int = 0) -> np.ndarray:
        """The final values of PATHS paths."""
        return sk.simulate(self.process, self.x0, self.t, steps, PATHS, seed=seed, first=first, method=method,
                           save="final", backend="numba", progress=False).final

    def enough(self, method: sk.Method | None, steps: int) -> int | None:
        """The fewest steps, by doubling, whose bias is below the standard error of PATHS paths."""
        while steps <= MOST:
            sums = np.zeros((2, len(self.statistics)))
            for part in range(MORE):
                x = self.final(method, steps, seed=100 + steps, first=part * PATHS)
                for k, (_, phi, _) in enumerate(self.statistics):
                    sums[:, k] += phi(x).sum(), (phi(x) ** 2).sum()
            mean, square = sums / (MORE * PATHS)
            exact = np.array([value for *_, value in self.statistics])
            if (np.abs(mean - exact) <= ((square - mean**2) / PATHS) ** 0.5).all():
                return steps
            steps *= 2
        return None


def moments(process: sk.SDE, x0: float, t: float) -> list[Statistic]:
    """Mean and second moment."""
    mean, variance = float(process.mean(x0, t)), float(process.variance(x0, t))
    return [("E X", lambda x: x, mean), ("E X^2", lambda x: x * x, variance + mean**2)]


def cases() -> list[Case]:
    """The processes."""
    def scalar(label: str, process: sk.SDE, x0: float, t: float) -> Case:
        return Case(label, process, x0, t, moments(process, x0, t))

    heston = sk.Heston(mu=0.05, kappa=2.0, theta=0.04, xi=0.5, rho=-0.7)
    price = [("E (S - 100)^+", lambda x: np.maximum(x[:, 0] - 100.0, 0.0),
              heston.call((100.0, 0.04), 100.0, 1.0) * np.exp(0.05)),
             ("E S", lambda x: x[:, 0], 100 * np.exp(0.05))]
    two = sk.CorrelatedGeometricBrownianMotion(0.05, [0.2, 0.3], [[1.0, 0.6], [0.6, 1.0]])
    both = float(two.covariance((100.0, 100.0), 1.0, 1.0)[0, 1] + 1e4 * np.exp(0.1))
    return [
        scalar("Ornstein-Uhlenbeck, kappa 1, sigma 1, from 2 to t = 1", sk.OrnsteinUhlenbeck(1.0), 2.0, 1.0),
        scalar("linear drift, a = 0.1, from 10 to t = 10", sk.LinearDrift(0.1), 10.0, 10.0),
        scalar("geometric, mu 0.05, sigma 0.2, from 100 to t = 1", sk.GeometricBrownianMotion(0.05, 0.2), 100.0, 1.0),
        Case("two geometric, correlation 0.6, to t = 1", two, (100.0, 100.0), 1.0,
             [("E S1 S2", lambda x: x[:, 0] * x[:, 1], both), ("E S1", lambda x: x[:, 0], 100 * np.exp(0.05))]),
        scalar("bridge from 0 to 1, at its middle", sk.BrownianBridge(1.0), 0.0, 0.5),
        scalar("square-root, kappa 1, theta 0.04, sigma 0.2, from 0.09 to t = 1 (Feller holds)",
               sk.CoxIngersollRoss(1.0, 0.04, 0.2), 0.09, 1.0),
        scalar("square-root, kappa 1, theta 0.04, sigma 0.5, from 0.04 to t = 1 (Feller broken)",
               sk.CoxIngersollRoss(1.0, 0.04, 0.5), 0.04, 1.0),
        Case("Heston, xi 0.5, rho -0.7, from (100, 0.04) to t = 1 (almost exact)", heston, (100.0, 0.04), 1.0, price),
    ]


def timed(case: Case, method: sk.Method | None, steps: int) -> Callable[[], float]:
    """Seconds of one run."""
    from time import perf_counter

    def seconds() -> float:
        start = perf_counter()
        case.final(method, steps)
        return perf_counter() - start

    return seconds


@dataclass(frozen=True)
class Timed:
    """What table.measure takes."""

    seconds: Callable[[], float]


def main() -> None:
    """Search, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", metavar="WORD", help="the cases whose label has this word; no file")
    asked = parser.parse_args()
    before = os.getloadavg()[0]
    text = (f"# Exact samplers beside Euler-Maruyama\n\n{PATHS:,} final values on {THREADS} threads, {processor()}, "
            f"load before {before:.1f}; median of {asked.rounds} paired rounds (least to most). Euler-Maruyama takes "
            "the fewest steps (doubled from 4) at which its bias is below the standard error of these paths for each "
            "statistic. Command: `python benchmarks/exact.py`.\n\n"
            "| process | statistics | its own steps | Euler's steps | own, ns a path | its own is faster by |\n"
            "| --- | --- | --- | --- | --- | --- |\n")
    print(text, end="")
    for case in cases():
        if asked.only and asked.only not in case.label:
            continue
        own, euler = case.enough(None, 1), case.enough(sk.euler_maruyama, 4)
        shown = euler or MOST
        seconds = measure([Timed(timed(case, None, own or MOST)), Timed(timed(case, sk.euler_maruyama, shown))],
                          asked.rounds)
        line = (f"| {case.label} | {', '.join(name for name, *_ in case.statistics)} | {own} | "
                f"{euler or f'over {MOST:,}'} | {spread(1e9 * seconds[:, 0] / PATHS)} | "
                f"{'over ' * (euler is None)}{spread(seconds[:, 1] / seconds[:, 0])} |\n")
        print(line, end="", flush=True)
        text += line
    if not asked.only:
        RESULTS.write_text(text)


if __name__ == "__main__":
    main()
