"""Speed of the simulation engine, each figure a ratio within one run: `python benchmarks/engine.py`.

Writes benchmarks/results/engine.md. Rates are medians of REPEATS runs, turn about with what they are compared to, and
the range beside them.
"""

import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np

import sdekit as sk

REPEATS = 7
PATHS, STEPS = 100_000, 500
RESULTS = Path(__file__).parent / "results" / "engine.md"


def numpy_loop() -> np.ndarray:
    """Geometric Brownian motion by hand: vectorised over paths, only the current state kept."""
    random, x, h = np.random.default_rng(0), np.full(PATHS, 100.0), 1 / STEPS
    for _ in range(STEPS):
        x += 0.05 * x * h + 0.2 * x * np.sqrt(h) * random.standard_normal(PATHS)
    return x


def ours(threads: int, **options) -> Callable[[], object]:
    """The same work, final values, by sdekit."""
    gbm = sk.GeometricBrownianMotion(mu=0.05, sigma=0.2)
    work = {"x0": 100.0, "steps": STEPS, "save": "final", "method": sk.euler_maruyama, "backend": "numba", "seed": 1,
            "threads": threads} | options
    return lambda: sk.simulate(gbm, paths=PATHS, **work)


def rates(works: dict[str, Callable], amount: float) -> dict[str, np.ndarray]:
    """Amount per second of each, over REPEATS rounds in which they take turns, after one that is not counted."""
    found = {name: [] for name in works}
    for turn in range(REPEATS + 1):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            if turn:
                found[name].append(amount / (time.perf_counter() - start))
    return {name: np.array(v) for name, v in found.items()}


def fresh(code: str) -> np.ndarray:
    """Seconds that a fresh Python prints for this code, REPEATS times."""
    command = [sys.executable, "-c", "import time; start = time.perf_counter(); " + code]
    return np.array([float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
                     for _ in range(REPEATS)])


def spread(values: np.ndarray, form: str = ".0f") -> str:
    """Median (least to most)."""
    return f"{np.median(values):{form}} ({values.min():{form}} to {values.max():{form}})"


def main() -> None:
    """Measure, print and write the table."""
    threads = len(os.sched_getaffinity(0))
    found = rates({"NumPy loop": numpy_loop, "sdekit, 1 thread": ours(1), f"sdekit, {threads} threads": ours(threads)},
                  PATHS * STEPS / 1e6)
    loop = found["NumPy loop"]
    lines = [f"Machine: {platform.machine()}, {processor()}, {threads} cores. Python {platform.python_version()}, "
             f"NumPy {np.__version__}, Numba {numba.__version__}. Command: `python benchmarks/engine.py`. "
             f"Median of {REPEATS} (least to most).", "",
             f"Geometric Brownian motion, {PATHS:,} paths x {STEPS} Euler steps, final values:", "",
             "| | M path-steps/s | times the NumPy loop |", "| --- | --- | --- |"]
    lines += [f"| {name} | {spread(v)} | {spread(v / loop, '.1f')} |" for name, v in found.items()]
    own = "sk.SDE(lambda x, t, k: -k * x, lambda x, t: 1.0, k=2.0)"
    starts = {
        "`import sdekit`": "import sdekit; print(time.perf_counter() - start)",
        "first `simulate` of an own SDE, 1,000 paths x 250 steps": f"import sdekit as sk; start = time.perf_counter(); "
            f"sk.simulate({own}, 1.0, steps=250, paths=1000); print(time.perf_counter() - start)",
        "first `simulate` of an own SDE that compiles, 100,000 paths x 250 steps": f"import sdekit as sk; "
            f"start = time.perf_counter(); sk.simulate({own}, 1.0, steps=250, paths=100_000, save='final'); "
            "print(time.perf_counter() - start)",
    }
    lines += ["", "In a fresh Python:", "", "| | seconds |", "| --- | --- |"]
    lines += [f"| {name} | {spread(fresh(code), '.2f')} |" for name, code in starts.items()]
    text = "\n".join(lines) + "\n"
    print(text)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text("# Speed of the simulation engine\n\n" + text)


def processor() -> str:
    """The processor's name and the widest vectors it has."""
    try:
        info = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    name = next(line.split(":")[1].strip() for line in info.splitlines() if line.startswith("model name"))
    return f"{name}, {'AVX-512' if 'avx512f' in info else 'AVX2' if 'avx2' in info else 'SSE'}"


if __name__ == "__main__":
    main()
