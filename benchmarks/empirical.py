"""What an exact denoiser of a data set costs: `python benchmarks/empirical.py` writes benchmarks/results/empirical.md.

60,000 x 784 float32 data like pictures (sparse strokes of few degrees of freedom in [-1, 1], which need no download),
64 samples x = y + sigma eps at a time, float64. Seconds are medians of 7; the memory is what the evaluations add to the
resident set of a Python of its own, at its peak; the error is the largest of any element, against softmax and distances
summed from differences.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import torch
from table import THREADS, processor, spread

from diffusion.exact import Empirical

RESULTS = Path(__file__).parent / "results" / "empirical.md"
SIGMAS = (1e-8, 0.002, 0.02, 0.1, 0.5, 2.0, 10.0, 80.0)
BATCH, SIDE = 64, 28


def pictures(n: int) -> torch.Tensor:
    """n x 784: a stroke through three random points, as a ridge of width 1.2 pixels."""
    random = torch.Generator().manual_seed(0)
    points = 6 + 16 * torch.rand(n, 3, 2, generator=random)
    t = torch.linspace(0, 1, 12)[:, None]
    curve = (1 - t)**2 * points[:, :1] + 2 * t * (1 - t) * points[:, 1:2] + t**2 * points[:, 2:]  # (n, 12, 2)
    pixel, ink = torch.arange(SIDE), torch.empty(n, SIDE * SIDE)
    for part, into in zip(curve.split(500), ink.split(500)):  # in place: the memory's peak is not here
        down, across = (torch.exp(-((part[..., k, None] - pixel) / 1.2)**2 / 2) for k in (0, 1))  # (part, 12, 28)
        into.copy_((torch.einsum("npi,npj->nij", down, across).clamp(max=1) * 2 - 1).flatten(1))
    return ink


def noised(y: torch.Tensor, sigma: float) -> torch.Tensor:
    """BATCH of them with noise."""
    random = torch.Generator().manual_seed(1)
    return y[:BATCH].double() + sigma * torch.randn(BATCH, y.shape[1], dtype=torch.float64, generator=random)


def direct(y: torch.Tensor, x: torch.Tensor, sigma: float) -> torch.Tensor:
    """D, from differences, sample by sample."""
    rows = []
    for each in x:
        l = torch.cat([-((each - part.double())**2).sum(1) for part in y.split(5000)]) / (2 * sigma**2)
        r = l.softmax(0)
        rows.append(sum(w @ part.double() for w, part in zip(r.split(5000), y.split(5000))))
    return torch.stack(rows)


def resident(which: str) -> float:
    """The resident set in MB: VmRSS as it is, VmHWM at its largest so far."""
    return int(re.search(rf"{which}:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


def memory(n: int) -> float:
    """MB that the first evaluation at every sigma adds, in a Python of its own."""
    code = (f"import empirical as e; y = e.pictures({n}); x = [e.noised(y, s) for s in e.SIGMAS]; "
            "before = e.resident('VmRSS'); data = e.Empirical(y); "
            "[data(each, 1.0, s) for each, s in zip(x, e.SIGMAS)]; print(e.resident('VmHWM') - before)")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                         cwd=Path(__file__).parent)
    return float(run.stdout)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    torch.set_num_threads(THREADS)
    before, y = os.getloadavg()[0], pictures(asked.n)
    start = time.perf_counter()
    data = Empirical(y)
    made = time.perf_counter() - start
    text = (f"# The exact denoiser of a data set\n\n{asked.n:,} x {y.shape[1]} data in float32, batch {BATCH}, in "
            f"float64 on {THREADS} threads, {processor()}, load before {before:.1f}; median of {asked.rounds} (least "
            f"to most). Made in {made:.2f} s; beside the data, {memory(asked.n):.0f} MB. Command: "
            "`python benchmarks/empirical.py`.\n\n"
            "| sigma | seconds an evaluation | largest error of D |\n| --- | --- | --- |\n")
    print(text, end="")
    for sigma in SIGMAS:
        x, seconds = noised(y, sigma), []
        for _ in range(asked.rounds + 1):
            start = time.perf_counter()
            found = data(x, 1.0, sigma)
            seconds.append(time.perf_counter() - start)
        error = (found - direct(y, x, sigma)).abs().max().item()
        line = f"| {sigma:g} | {spread(torch.tensor(seconds[1:]).numpy())} | {error:.1e} |\n"
        print(line, end="", flush=True)
        text += line
    if asked.n == 60_000:
        RESULTS.write_text(text)


if __name__ == "__main__":
    main()
