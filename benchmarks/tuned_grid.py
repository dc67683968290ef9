"""How few evaluations reach an error on tuned grids: `python benchmarks/tuned_grid.py`.

Two mixtures of three Gaussians in the plane, from noise level 80 to 0.02 with the exact denoiser: that of
`diffusion.problems`, whose components overlap, and one whose components stand apart. For each sampler of high order the
first number of evaluations (of 10, 12, ..., 24, then one fewer) with which the median strong error at 0.02 is at most
TARGET on a grid tuned by `df.grid.tuned` on 64 samples, and the error on the best of the families of `df.grid` in as
many steps. Errors are |x - x_ref| for 256 others (sqrt(2) times what `df.grid.tuned` tells), the reference is in 256
steps or more of fourth order. A closing evaluation is not counted: it adds one.

Writes benchmarks/results/tuned_grid.md; about ten minutes on one core. --quick takes one sampler and writes nothing.
"""

import argparse
import time
from pathlib import Path

import torch

import diffusion as df
from diffusion.exact import GaussianMixture
from diffusion.problems import mixture
from diffusion.tuning import Tuned, tuned

RESULTS = Path(__file__).parent / "results" / "tuned_grid.md"
TARGET, SPAN = 1e-3, (0.02, 80.0)
METHODS = [df.unipc(3), df.unipc(3, df.dpmpp_2s), df.deis(4), df.deis(4, df.dpmpp_2s), df.dpmpp_multistep(4),
           df.dpmpp_multistep(4, df.dpmpp_2s), df.dpmpp_3m, df.dpmpp_2m, df.heun]
COUNTS = (10, 12, 14, 16, 18, 20, 22, 24)


def apart() -> GaussianMixture:
    """Three Gaussians of which each is some three of its deviations from the others."""
    roots = torch.tensor([[[.3, .1], [0, .2]], [[.25, 0], [.1, .15]], [[.2, -.1], [0, .3]]], dtype=torch.float64)
    return GaussianMixture([[1.0, .5], [-1.2, .3], [.2, -1.3]], roots @ roots.mT, [.4, .35, .25])


def least(data: GaussianMixture, method: df.Sampler) -> list[Tuned]:
    """Tuned grids of growing budgets, until one reaches the target."""
    found = []
    for count in COUNTS:
        steps = (count - _start(method)) // method.evaluations
        if steps < 4:
            continue
        found.append(tuned(data, steps, method, span=SPAN, progress=False))
        if error(found[-1]) <= TARGET:
            below = steps - 1  # the counts go by twos
            if method.evaluations == 1 and below >= 4:
                nearer = tuned(data, below, method, span=SPAN, progress=False)
                if error(nearer) <= TARGET:
                    found.append(nearer)
            break
    return found


def _start(method: df.Sampler) -> int:
    """Evaluations that the steps of a `start` take beyond one each."""
    found = df.sample(mixture(), 1, method=method, steps=8, seed=0, close=False, progress=False)
    return round(float(found.nfe)) - 8 * method.evaluations


def error(grid: Tuned) -> float:
    """The median of |x - x_ref|, x of two numbers."""
    return 2**0.5 * grid.held_out


def line(name: str, found: list[Tuned]) -> str:
    """A row of the table."""
    best = min(found, key=lambda g: (error(g) > TARGET, g.nfe_used if error(g) <= TARGET else error(g)))
    reached = f"{best.nfe_used:g}" if error(best) <= TARGET else f"more than {max(g.nfe_used for g in found):g}"
    low, high = (2**0.5 * v for v in best.interval)
    return (f"| {name} | {reached} | {len(best)} | {error(best):.1e} ({low:.1e} to {high:.1e}) | "
            f"{2**0.5 * best.training:.1e} | {2**0.5 * best.before:.1e}, {best.base.name} |")


def main() -> None:
    """Search, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one sampler, no file")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    begun, text, grids = time.perf_counter(), "", []
    for title, data in (("Components that overlap (`diffusion.problems.mixture`)", mixture()),
                        ("Components that stand apart", apart())):
        rows = []
        for method in METHODS[:1] if asked.quick else METHODS:
            found = least(data, method)
            rows.append(line(f"`{method!r}`", found))
            print(rows[-1], flush=True)
            grids += [g for g in found[-1:] if error(g) <= TARGET]
        text += "\n".join([f"\n## {title}\n", "| sampler | evaluations for a median of 1e-3 | steps | its median, "
                           "other samples (95%) | on those tuned on | before tuning, family |",
                           "| --- | --- | --- | --- | --- | --- |", *rows, ""])
        best = min((g for g in grids), key=lambda g: g.nfe_used, default=None)
        if best is not None:
            text += (f"\nThe grid of `{best.method!r}` in {best.nfe_used:g} evaluations, sigma: "
                     + ", ".join(f"{level.sigma:.4g}" for level in best) + "\n")
        grids = []
    text = ("# Evaluations on tuned grids\n\nCommand: `python benchmarks/tuned_grid.py`, "
            f"{(time.perf_counter() - begun) / 60:.0f} minutes. 2-D mixtures with their exact denoisers, noise level "
            "80 to 0.02, the closing evaluation off; medians of |x - x_ref| over 256 samples on which nothing was "
            "tuned. "
            "The target was 25 evaluations for a median of 1e-3. The grids are those of `df.grid.tuned` with its "
            "defaults (64 samples, 200 trials); before tuning is the best of the families of `df.grid` in as many "
            "steps. Orders of each sampler are in its docstring.\n" + text)
    print(text)
    if not asked.quick:
        RESULTS.write_text(text)


if __name__ == "__main__":
    main()
