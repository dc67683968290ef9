"""What compiling is worth to a Brownian path: `python benchmarks/brownian.py` prints the table and writes
benchmarks/results/brownian.md.

Each question is asked of `sdekit.Brownian` by NumPy, of few of the paths, then compiled, of all: on one thread, and on
all of them, which take a part of the paths each. The answers have the same bits. All rows of a question do their work
once a round, turn about; times are for one number of the answer, and a ratio is of two times in the same round.
"""

import argparse
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from table import THREADS, Row, clocked, measure, processor, spread

import sdekit as sk
from sdekit import brownian

RESULTS = Path(__file__).parent / "results" / "brownian.md"
NEVER = 2**62  # halvings that are not reached


@dataclass(frozen=True)
class Question:
    """What is asked of W; NumPy is asked it of its first `few` paths."""

    label: str
    W: sk.Brownian
    few: int
    ask: Callable[[sk.Brownian], np.ndarray]

    def rows(self) -> list[Row]:
        """By NumPy, and compiled on one thread and on all; the amount is that of numbers, in billions."""
        def by_numpy() -> np.ndarray:
            brownian.COMPILE_FROM = NEVER
            return self.ask(self.W.part(0, self.few))

        def compiled(threads: int) -> np.ndarray:
            brownian.COMPILE_FROM = 0
            edges = [self.W.paths * k // threads for k in range(threads + 1)]
            with ThreadPoolExecutor(threads) as pool:
                parts = pool.map(lambda a, b: self.ask(self.W.part(a, b - a)), edges[:-1], edges[1:])
                return np.concatenate(list(parts))

        few = by_numpy()
        assert (few == compiled(1)[:self.few]).all()
        whole = few.size / self.few * self.W.paths / 1e9
        return [Row("NumPy", clocked(by_numpy), few.size / 1e9),
                *(Row(f"compiled, {n} thread{'s' * (n > 1)}", clocked(compiled, n), whole) for n in (1, THREADS))]


def questions() -> list[Question]:
    """The table's lines."""
    squares = 1 / np.linspace(1.0, 0.1, 1025) ** 2
    sevenths = np.linspace(0.0, 1.0, 70_001)
    hundred, one, base = sk.Brownian(3, 100.0, 1, 200, 2), sk.Brownian(4, 1.0, 1, 2), sk.Brownian(5, 1.0, 1000, 200)
    return [
        Question("increments(1 / np.linspace(1, 0.1, 1025)**2), t = 100, steps = 1, 2 noises", hundred, 16,
                 lambda W: W.increments(squares)),
        Question("increments and areas over the same", hundred, 16,
                 lambda W: np.stack(W.increments_and_areas(squares), axis=1)),
        Question("W at the same times", hundred, 16, lambda W: W(squares)),
        Question("one path's increments over 70,000 equal steps, steps = 1", one, 1,
                 lambda W: W.increments(sevenths)),
        Question("increments and areas over 16 cells to a step, steps = 1000", base, 10,
                 lambda W: np.stack(W.increments_and_areas(16_000), axis=1)),
        Question("Levy areas over 1000 steps, c = 30, 3 noises", sk.Brownian(6, 1.0, 1000, 30, 3), 3,
                 lambda W: W.levy_areas(1000, c=30.0)),
        Question("increments over 3 x 333 1/3 steps, steps = 1000", sk.Brownian(7, 1.0, 1000, 2000), 50,
                 lambda W: W.increments(3)),
    ]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", metavar="WORD", help="the questions whose label has this word; no file")
    asked = parser.parse_args()
    text = (f"# Brownian paths at any time: NumPy beside compiled\n\n{processor()}, load before "
            f"{os.getloadavg()[0]:.1f}; median of {asked.rounds} paired rounds (least to most), in nanoseconds for one "
            "number of the answer. NumPy has one thread. Command: `python benchmarks/brownian.py`.\n\n"
            f"| question | paths | NumPy, ns | compiled, 1 thread, ns | {THREADS} threads, ns | 1 thread is faster by "
            f"| {THREADS} threads by |\n| --- | --- | --- | --- | --- | --- | --- |\n")
    print(text, end="")
    for question in questions():
        if asked.only and asked.only not in question.label:
            continue
        rows = question.rows()
        each = measure(rows, asked.rounds) / [row.amount for row in rows]
        line = (f"| {question.label} | {question.W.paths:,} | {' | '.join(spread(x) for x in each.T)} | "
                f"{' | '.join(spread(each[:, 0] / x) for x in each.T[1:])} |\n")
        print(line, end="", flush=True)
        text += line
    if not asked.only:
        RESULTS.write_text(text)


if __name__ == "__main__":
    main()
