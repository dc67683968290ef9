"""Bits per dimension of MNIST's test pictures: `python benchmarks/bits_per_dim.py CHECKPOINT --method flow|bound`.

    flow    -E_u log2 p(x + (u - 1/2) 2/255) / d - log2(2/255), u uniform on (0, 1): log p by the flow, its trace by
            random probes (`df.log_likelihood`). For checkpoints that were trained on such pictures
    bound   prior + steps + last of `df.variational_bound`, which needs no dequantisation

Both are at least -log2 P(bytes) / d; the interval is of the mean over the test set, and has the scatter of draws,
probes and steps in it. The pictures are --n of the 10,000, spread evenly over them. With --given class it is
P(picture, class) = P(picture | class) / 10, whose last factor takes log2(10) / 784 = 0.0042 bits/dim: at least
-log2 P(picture) too, by the part of the network that sees the most training.

CHECKPOINT is a file, a run's folder, or "shipped". Beside it stands what was published for flows without a class on
uniformly dequantised pictures: RealNVP 1.06, Glow 1.05, FFJORD 0.99 (as in Grathwohl et al. 2019), Residual Flow 0.97
(Chen et al. 2019).
"""

import argparse
import math
import time

import numpy as np
import torch

import diffusion as df
from diffusion.bound import Bound, variational_bound
from diffusion.bytes import categorical, discretised_gaussian
from diffusion.likelihood import LogLikelihood, log_likelihood

LAST_STEPS = {"categorical": categorical, "gaussian": discretised_gaussian}
FLOWS = "flows: RealNVP 1.06, Glow 1.05, FFJORD 0.99, Residual Flow 0.97"


def flow(model: df.Denoiser, x: torch.Tensor, label, asked: argparse.Namespace, last: float) -> LogLikelihood:
    """By the flow, in steps of a grid: all pictures take as long."""
    grid = df.grid.log_snr(df.EDM(), asked.steps or 32, (last, asked.first))
    return log_likelihood(model, x, grid=grid, label=label, trace=asked.probes, dequantise=asked.draws or 1,
                          seed=asked.seed, batch=asked.batch)


def bound(model: df.Denoiser, x: torch.Tensor, label, asked: argparse.Namespace, last: float) -> Bound:
    """By the steps of ancestral sampling."""
    grid = df.grid.log_snr(df.EDM(), asked.steps or 1000, (last, asked.first))
    return variational_bound(model, x, grid, label=label, draws=asked.draws or 16, last=LAST_STEPS[asked.last_step],
                             seed=asked.seed, batch=asked.batch)


def told(found: LogLikelihood | Bound, given: str, classes: int) -> str:
    """Bits per dimension with their interval, and what they are made of."""
    more = math.log2(classes) / found.dimensions if given == "class" else 0.0  # of the class itself
    (low, high), mean = found.interval, float(found.bits_per_dim.mean())
    text = f"{mean + more:.4f} bits/dim, 95% {low + more:.4f} to {high + more:.4f}"
    return text + (f", of which {more:.4f} tell the class" if more else "") + f"\n  {found}"


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--n", type=int, default=1000, help="test pictures")
    parser.add_argument("--method", choices=("flow", "bound"), default="bound")
    parser.add_argument("--given", choices=("none", "class"), default="none", help="what the network is told")
    parser.add_argument("--last", type=float, nargs="+", default=[0.002], help="sigma/alpha of the last level, or some")
    parser.add_argument("--first", type=float, default=40.0, help="sigma/alpha of the first level")
    parser.add_argument("--steps", type=int, help="of the grid: 32 of rk4, or 1000 of the bound")
    parser.add_argument("--draws", type=int, help="of noise below a grey level (1), or of the bound's steps (16)")
    parser.add_argument("--probes", type=int, default=1, help="of the trace")
    parser.add_argument("--last-step", choices=tuple(LAST_STEPS), default="categorical")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--device", default="cpu")
    asked = parser.parse_args()
    test = df.mnist("test")
    test = test.subset(np.linspace(0, len(test), asked.n, endpoint=False).astype(int))
    model = df.load(None if asked.checkpoint == "shipped" else asked.checkpoint, asked.device)
    label = test.labels if asked.given == "class" else None
    for last in asked.last:
        start = time.monotonic()
        found = (flow if asked.method == "flow" else bound)(model, test.tensor(), label, asked, last)
        print(f"{asked.checkpoint}, {asked.n} of MNIST's test pictures, {asked.method}, given {asked.given}, to "
              f"sigma/alpha = {last:g}: {told(found, asked.given, model.classes)}\n  in "
              f"{time.monotonic() - start:.0f} seconds; {FLOWS}", flush=True)
        if isinstance(found, Bound):
            print("\n".join(f"  sigma/alpha {a:9.4g} to {b:9.4g}: {bits:.4f}" for a, b, bits in found.parts))


if __name__ == "__main__":
    main()
