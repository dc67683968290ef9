"""What samplers add to the network's time: `python benchmarks/sampler_overhead.py`.

The shipped digits' U-Net (28 x 28) on 64 digits at a time. Of the processor's seconds for 18 steps, those

    within the network's forward                    F
    within the denoiser, but not in the network     its preconditioning, in the type of the sampler
    elsewhere in `sample`                           the sampler: its step, its noise, what looks after it

and the last two as shares of the first. One thread, the processor's time and not the clock's, so that what else runs on
the machine counts for little; the median of the rounds (least to most). A first round, which warms up, is not counted.
Writes benchmarks/results/sampler_overhead.md; --profile NAME shows where a sampler's own time goes and writes nothing.
"""

import argparse
import cProfile
import os
import pstats
import time
from pathlib import Path

import numpy as np
import torch
from table import processor, spread

import diffusion as df

RESULTS = Path(__file__).parent / "results" / "sampler_overhead.md"
METHODS = {"dpmpp_2m": df.dpmpp_2m, "heun": df.heun, "ancestral": df.ancestral, "sde_dpmpp_2m": df.sde_dpmpp_2m,
           "unipc(3)": df.unipc(3)}
BATCH, STEPS, TARGET = 64, 18, 3.0


class Clocked:
    """A function whose processor seconds are summed."""

    def __init__(self, function):
        self.function, self.seconds, self.calls = function, 0.0, 0

    def __call__(self, *args):
        begun = time.process_time()
        try:
            return self.function(*args)
        finally:
            self.seconds, self.calls = self.seconds + time.process_time() - begun, self.calls + 1


class Model:
    """The shipped denoiser with a clock on it, and one on its network."""

    def __init__(self):
        model = df.load()
        self.shape, self.center, self.spread, self.classes = model.shape, model.center, model.spread, model.classes
        self.network = Clocked(model.net.forward)
        model.net.forward = self.network
        self.denoiser = Clocked(model)

    def __call__(self, x, alpha, sigma, condition=None):
        return self.denoiser(x, alpha, sigma, condition)

    def run(self, method: df.Sampler) -> tuple[float, float, float]:
        """Seconds of the network, the rest of the denoiser, the sampler; for one evaluation of the network."""
        self.network.seconds = self.denoiser.seconds = self.network.calls = 0
        begun = time.process_time()
        df.sample(self, BATCH, method=method, steps=STEPS, label=3, seed=1, progress=False)
        total, calls = time.process_time() - begun, self.network.calls
        return (self.network.seconds / calls, (self.denoiser.seconds - self.network.seconds) / calls,
                (total - self.denoiser.seconds) / calls)


def profile(method: df.Sampler) -> None:
    """Where the time goes, sorted by a function's own."""
    model, seen = Model(), cProfile.Profile()
    model.run(method)
    seen.enable()
    model.run(method)
    seen.disable()
    pstats.Stats(seen).sort_stats("tottime").print_stats(25)


def main() -> None:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--profile", metavar="NAME", choices=METHODS, help=f"one of {', '.join(METHODS)}")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.profile:
        return profile(METHODS[asked.profile])
    before, model = os.getloadavg()[0], Model()
    seconds = 1e3 * np.array([[model.run(m) for m in METHODS.values()] for _ in range(asked.rounds + 1)])[1:]
    shares = 100 * seconds[..., 1:] / seconds[..., :1]
    lines = ["| sampler | network, ms | preconditioning, % | sampler, % |", "| --- | --- | --- | --- |"]
    lines += [f"| {name} | {spread(seconds[:, k, 0])} | {spread(shares[:, k, 0])} | {spread(shares[:, k, 1])} |"
              for k, name in enumerate(METHODS)]
    worst = float(np.median(shares[..., 1], axis=0).max())
    text = (f"# What samplers add to the network's time\n\nCommand: `python benchmarks/sampler_overhead.py`. "
            f"{processor()}, one thread, load before {before:.1f}, torch {torch.__version__}. The shipped U-Net, "
            f"{BATCH} digits, {STEPS} steps; processor time for one evaluation, the median of {asked.rounds} rounds "
            "(least to most), after one that also loads the compiled noise. Preconditioning is what the denoiser "
            "does around its network, sampler what `sample` does around the denoiser, noise included; both as shares "
            "of the network's forward.\n\n" + "\n".join(lines)
            + f"\n\nThe largest share of a sampler is {worst:.1f}%; the target is {TARGET:g}%.\n")
    print(text)
    RESULTS.write_text(text)


if __name__ == "__main__":
    main()
