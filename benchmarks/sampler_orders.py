"""What samplers claim and what is measured: `python benchmarks/sampler_orders.py` writes docs/sampler-orders.md.

One row for each sampler and process: the slope of the strong error in the number of steps, from exact samples of
p(t_start), the closing step off, on the plane's mixture of `diffusion.problems`. Samplers of the flow are compared with
a reference of order 4; those with noise with their own run of 8 times as many steps on the same Brownian motion.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

import diffusion as df
import sdekit as sk
from diffusion.problems import mixture

DOCUMENT = Path(__file__).parent.parent / "docs" / "sampler-orders.md"
BATCHES, PATHS, SEED, FINE = 20, 400, 5, 4096
WITHIN = 0.15  # what a claim may be off by

FLOW = [df.euler, df.ddim(), df.heun, df.dpmpp_2s, df.dpmpp_3s, df.dpmpp_2m, df.dpmpp_3m,
        df.dpmpp_multistep(3, df.dpmpp_2s), df.dpmpp_multistep(4, df.dpmpp_3s), df.deis(1), df.deis(2),
        df.deis(3, df.dpmpp_2s), df.deis(4, df.dpmpp_3s), df.unipc(1), df.unipc(2), df.unipc(3),
        df.unipc(3, df.dpmpp_3s), df.flow_ode(sk.euler), df.flow_ode(sk.heun), df.flow_ode(sk.rk4)]
NOISY = [df.ddim(0.5), df.ancestral, df.ddpm, df.sde_dpmpp_1, df.sde_dpmpp_2m, df.reverse_sde(sk.euler_maruyama),
         df.reverse_sde(sk.euler_maruyama, lam=0.5)]
PROCESSES: dict[df.Process, tuple[str, Callable]] = {
    df.EDM(): ("edm", lambda p, n, noise: df.grid.edm(n, 0.1, noise, process=p)),
    df.VE(): ("uniform", lambda p, n, noise: df.grid.uniform(p, n, (p.time(0.1), p.time(noise)))),
    df.VP(): ("edm, rho = 4", lambda p, n, noise: df.grid.edm(n, 0.1, noise, 4.0, p)),
    df.SubVP(): ("log_snr", lambda p, n, noise: df.grid.log_snr(p, n, (p.time(0.1), p.time(noise)))),
    df.Cosine(): ("quadratic", lambda p, n, noise: df.grid.quadratic(p, n, (p.time(0.1), p.time(noise)))),
    df.RectifiedFlow(): ("uniform", lambda p, n, noise: df.grid.uniform(p, n, (p.time(0.1), p.time(noise)))),
}

HEAD = f"""# Samplers: orders claimed and measured

Written by `make orders` (`python benchmarks/sampler_orders.py`). Slopes of the error in the number of steps on a
mixture of three Gaussians in the plane with exact scores, from exact samples of p(t_start) at noise level 20 and at
noise level 1, down to 0.1, on a smooth grid of each process's own, the closing step off: of the root mean square over
{PATHS} paths, with an interval of 99.9% by the jackknife over {BATCHES} batches, and of the median. Samplers of the
flow are compared with `dpmpp_multistep(4, start=dpmpp_3s)` at {FINE} steps; those with noise with their own run of 8
times as many steps on the same Brownian motion. Claims are judged from noise level 1, where the first steps of a
method of several levels count most, to within {WITHIN}.

Grids: {", ".join(f"{p!r} {name}" for p, (name, _) in PROCESSES.items())}.

| sampler | process | claimed | from noise level 1 | median | from noise level 20 | median |
| --- | --- | --- | --- | --- | --- | --- |
"""


@dataclass(frozen=True)
class Slope:
    """Of the root mean square error, with its interval, and of the median."""

    rms: float
    low: float
    high: float
    median: float

    def __str__(self) -> str:
        return f"{self.rms:.2f} [{self.low:.2f}, {self.high:.2f}] | {self.median:.2f}"


def fitted(errors: np.ndarray, counts: list[int]) -> Slope:
    """Slopes over the step counts of errors (counts, paths)."""
    steps = np.log2(counts)

    def slope(level: np.ndarray) -> float:
        return float(-np.polyfit(steps, np.log2(level), 1)[0])

    squares = np.square(errors).reshape(len(counts), BATCHES, -1).mean(2)
    whole = slope(squares.mean(1) ** 0.5)
    left = np.array([slope(((squares.sum(1) - squares[:, k]) / (BATCHES - 1)) ** 0.5) for k in range(BATCHES)])
    half = 3.88 * ((BATCHES - 1) / BATCHES * np.square(left - left.mean()).sum()) ** 0.5  # Student's t, 19 freedoms
    return Slope(whole, whole - half, whole + half, slope(np.median(errors, axis=1)))


def measured(sampler: df.Sampler, process: df.Process, noise: float, counts: list[int], known: dict) -> Slope:
    """The slope of one sampler on one process, from one noise level."""
    model, make = mixture(), PROCESSES[process][1]
    top = make(process, 2, noise).levels[0]
    start = model.sample(PATHS, top.alpha, top.sigma, seed=SEED)

    def run(method: df.Sampler, n: int) -> torch.Tensor:
        return df.sample(model, PATHS, method=method, grid=make(process, n, noise), start=start, close=False, seed=SEED,
                         nested=sampler.stochastic, batch=PATHS, dtype=torch.float64, progress=False).samples

    if sampler.stochastic:
        reference = run(sampler, 8 * counts[-1])
    else:
        name = repr(process), noise
        if name not in known:
            known[name] = run(df.dpmpp_multistep(4, df.dpmpp_3s), FINE)
        reference = known[name]
    return fitted(np.array([(run(sampler, n) - reference).norm(dim=1).numpy() for n in counts]), counts)


def main() -> None:
    """Measure every sampler on every process, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="samplers whose name holds this; nothing is written")
    options = parser.parse_args()
    chosen = [s for s in FLOW + NOISY if not options.only or options.only in repr(s)]
    rows, known, wrong = [], {}, []
    for sampler in tqdm(chosen, unit="sampler"):
        first = 16 if sampler.stochastic else 32 if sampler.order == 4 else 64  # where the slopes have settled
        counts = [first, 2 * first, 4 * first, 8 * first]
        for process in PROCESSES:
            low, top = (measured(sampler, process, noise, counts, known) for noise in (1.0, 20.0))
            claim = "" if sampler.order is None else f"{sampler.order:g}"
            rows.append(f"| {sampler!r} | {process!r} | {claim} | {low} | {top} |")
            if sampler.order is not None and not abs(low.rms - sampler.order) <= WITHIN:
                wrong.append(rows[-1])
            if options.only:
                tqdm.write(rows[-1])
    print(f"{len(rows)} rows, {len(wrong)} further than {WITHIN} from their claim")
    print("\n".join(wrong))
    if not options.only:
        DOCUMENT.write_text(HEAD + "\n".join(rows) + "\n", encoding="utf-8")
        print(f"wrote {DOCUMENT}")


if __name__ == "__main__":
    main()
