"""Costs and errors of log p by the flow: `python benchmarks/likelihood.py` writes benchmarks/results/likelihood.md.

1,000 exact samples of the plane's mixture of `diffusion.problems` at each process's last level, with the exact trace
and the exact density at the first level, in steps of each sample's own length, and with 16 and 32 steps of rk4 on a
grid equally spaced in ln(sigma/alpha). The error is against log p in closed form. On one thread: the work is
small. Seconds are medians of 5.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
import torch
from table import processor, spread

import diffusion as df
from diffusion.likelihood import LogLikelihood, log_likelihood
from diffusion.problems import mixture

RESULTS = Path(__file__).parent / "results" / "likelihood.md"
SAMPLES, ROUNDS = 1000, 5
PROCESSES = [df.EDM(), df.VE(), df.VP(), df.SubVP(), df.Cosine(), df.RectifiedFlow()]


def ways(process: df.Process) -> dict[str, dict]:
    """What `log_likelihood` is asked for."""
    found = {f"tolerance {tolerance:g}": {"process": process, "rtol": tolerance, "atol": tolerance}
             for tolerance in (1e-4, 1e-5, 1e-6)}
    if process.alpha(process.span[1]):  # ln(sigma/alpha) has no equal steps from alpha = 0
        found |= {f"rk4, {n} steps": {"grid": df.grid.log_snr(process, n)} for n in (16, 32)}
    return found


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    text = (f"# Likelihoods\n\nlog p of {SAMPLES:,} points of a mixture in the plane, exact trace and exact terminal "
            f"density, float64, on one thread, {processor()}, load before {os.getloadavg()[0]:.1f}; median of "
            f"{asked.rounds} (least to most). Command: `python benchmarks/likelihood.py`.\n\n"
            "| process | steps | seconds | evaluations | largest error, nats | mean error, nats |\n"
            "| --- | --- | --- | --- | --- | --- |\n")
    print(text, end="")
    law = mixture()
    for process in PROCESSES:
        level = process.level(process.span[0])
        x = law.sample(SAMPLES, level.alpha, level.sigma, seed=1)
        exact = law.log_prob(x, level.alpha, level.sigma)
        for name, options in ways(process).items():
            seconds, found = timed(asked.rounds, law, x, options)
            error = (found.nats - exact).abs()
            line = (f"| {process!r} | {name} | {spread(seconds)} | {float(found.nfe.mean()):.0f} | "
                    f"{float(error.max()):.1e} | {float(error.mean()):.1e} |\n")
            print(line, end="", flush=True)
            text += line
    if asked.rounds >= ROUNDS:
        RESULTS.write_text(text)


def timed(rounds: int, law, x: torch.Tensor, options: dict) -> tuple[np.ndarray, LogLikelihood]:
    """Seconds of each round after a first one, and what was found."""
    seconds = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        found = log_likelihood(law, x, prior=law.log_prob, batch=SAMPLES, **options)
        seconds.append(time.perf_counter() - start)
    return np.array(seconds[1:]), found


if __name__ == "__main__":
    main()
