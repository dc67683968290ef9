"""Which network learns most in a minute: variants of the default, each trained alike, and what each costs.

    python benchmarks/design.py --out benchmarks/results/design.md          # all; --only NAME for one

Of each: parameters, multiply-adds of one evaluation, images per second in training (the variants take turns, so that
the machine's moods fall on all), the mean loss of the last fifth of the run, the test error beside the data's
closed-form Gaussian at three noise levels, and class accuracy and FID of n samples in 20 evaluations without guidance.
"""

import argparse
import time
import warnings
from pathlib import Path
from statistics import median

import torch
from torch.utils.flop_counter import FlopCounterMode

import diffusion as df
from diffusion.denoiser import parameter_count
from diffusion.presets import precision

BASE = df.UNetConfig()
VARIANTS = {
    "default": {},
    "no guess": {"components": 0},
    "one Gaussian a class": {"components": 1},
    "20 Gaussians a class": {"components": 20},
    "attention": {"attention": True},
    "two blocks": {"blocks": 2},
    "96-192 channels": {"widths": (96, 192)},
    "64-192 channels": {"widths": (64, 192)},
    "no patches, 32-64-128": {"patch": 1, "widths": (32, 64, 128)},
    "patches of 4": {"patch": 4, "widths": (192,)},
}
LOSSES = {
    "batch 32, as many images": {"batch": 32},
    "float32": {"precision": "float32"},
    "ln l ~ N(-1.2, 1.2^2)": {"loss": df.losses.edm(-1.2, 1.2)},
    "eps": {"loss": df.losses.ddpm()},
    "v": {"loss": df.losses.v()},
    "min-SNR": {"loss": df.losses.min_snr()},
    "flow": {"loss": df.losses.flow()},
}
LEVELS = (0.1, 0.5, 3.0)


def configuration(name: str) -> tuple[df.UNetConfig, df.Options]:
    """Network and options of a variant."""
    network = df.UNetConfig(**VARIANTS.get(name, {}))
    return network, df.Options(**{"precision": precision("cpu"), **LOSSES.get(name, {})})


def speeds(names: list[str], data: df.Images, rounds: int = 5, steps: int = 6) -> dict[str, float]:
    """Images per second in training: the variants in turn, the median of the rounds."""
    seconds: dict[str, list[float]] = {name: [] for name in names}
    runs = {}
    for name in names:
        network, options = configuration(name)
        runs[name] = df.train(data, steps=10**6, network=network, options=options)
        for _ in range(3):
            next(runs[name])
    for _ in range(rounds):
        for name in names:
            begun = time.perf_counter()
            for _ in range(steps):
                next(runs[name])
            seconds[name].append((time.perf_counter() - begun) / (steps * configuration(name)[1].batch))
    return {name: 1 / median(s) for name, s in seconds.items()}


def multiply_adds(network: df.UNetConfig) -> float:
    """Of one evaluation of one picture, in millions."""
    model = network.build(torch.zeros(1, 28, 28), 0.5)
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 1, 28, 28), 1.0, 1.0, 0)
    return counter.get_total_flops() / 2e6


def errors(model: df.Preconditioned, test: df.Images, gaussian: torch.Tensor) -> list[float]:
    """|D - x_0|^2 on 1,000 test images beside the Gaussian's, at LEVELS."""
    x, label = test.subset(1000).tensor(), torch.from_numpy(test.labels[:1000]).long()
    found = []
    for level in LEVELS:
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            error = float((model(x + level * noise, 1.0, level, label) - x).square().mean())
        best = float((gaussian * level**2 / (gaussian + level**2)).sum()) / x[0].numel()
        found.append(error / best)
    return found


def row(name: str, steps: int, n: int, data: df.Images, test: df.Images, gaussian: torch.Tensor, rate: float) -> str:
    """A line of the table."""
    network, options = configuration(name)
    losses, record = [], None
    for record in df.train(data, images=steps * 64, network=network, options=options):
        losses.append(record.loss)
    assert record is not None
    model = record.model
    share = errors(model, test, gaussian)
    report = df.evaluate(model, n, method=df.dpmpp_3m, grid=df.grid.edm(19), seed=1, progress=False)
    accuracy, fid = report.scores["accuracy"], report.scores["fid"]
    last = losses[-len(losses) // 5:]
    return (f"| {name} | {parameter_count(model.net) / 1e6:.2f} M | {multiply_adds(network):.0f} M | {rate:.0f} | "
            f"{sum(last) / len(last):.4f} | {' / '.join(f'{v:.3f}' for v in share)} | {100 * accuracy.value:.1f}% | "
            f"{fid.value:.2f} ({fid.low:.2f} to {fid.high:.2f}) |")


def main() -> None:
    """Print the table, and write it where --out says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1000, help="of 64 images")
    parser.add_argument("--n", type=int, default=2000, help="samples for accuracy and FID")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", action="append", help="this variant; may be given again")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore")
    data, test = df.mnist("train"), df.mnist("test")
    names = arguments.only or [*VARIANTS, *LOSSES]
    gaussian = df.levels.spectrum(data.tensor())
    rates = speeds(names, data)
    lines = ["| variant | parameters | multiply-adds | images/s | loss | error beside the Gaussian's at "
             f"{' / '.join(map(str, LEVELS))} | accuracy | FID, n = {arguments.n:,} |", "|" + " --- |" * 8]
    head = (f"`python benchmarks/design.py --steps {arguments.steps} --n {arguments.n} --threads {arguments.threads}`, "
            f"precision {precision('cpu')}. The floor of FID at this n, real images against real: docs/metrics.md.")
    for name in names:
        lines.append(row(name, arguments.steps, arguments.n, data, test, gaussian, rates[name]))
        print(lines[-1], flush=True)
        if arguments.out is not None:
            arguments.out.write_text("\n".join([head, "", *lines, ""]))


if __name__ == "__main__":
    main()
