"""What `df.train` adds to a plain loop over the same network: `python benchmarks/training_overhead.py`.

The default U-Net for 28 x 28 on digits, or on noise of their size where SDEKIT_MNIST names no folder. Both do the same
mathematics: a batch, `df.losses.edm()`, backward, clipping, Adam, a running average of the weights. In every round each
runs turn about, the first of them alternating, and a ratio is of two times in the same round. Of `df.train` the journal
and the error by noise level are part, and checkpoints as often as they are by default: each time they take is spread
over the minute between two.

One thread, the processor's time beside the clock's: what else runs on the machine counts for little in the first. The
median of the rounds (least to most), after one that warms up and is not counted. Writes
benchmarks/results/training_overhead.md; --quick is a short look and writes nothing, --profile shows where the time of
`df.train` goes, by each function's own.
"""

import argparse
import cProfile
import os
import pstats
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from table import processor, spread

import diffusion as df

RESULTS = Path(__file__).parent / "results" / "training_overhead.md"
TARGET = 0.97
SAVE_EVERY = 60.0  # seconds, `df.train`'s own


def images() -> df.Images:
    """MNIST's, where they are; else as many bytes at random, which cost the same."""
    if os.environ.get("SDEKIT_MNIST"):
        return df.mnist("train")
    random = np.random.default_rng(0)
    return df.Images(random.integers(0, 256, (60_000, 28, 28), dtype=np.uint8), random.integers(0, 10, 60_000),
                     tuple("0123456789"), "noise")


def plain(data: df.Images, options: df.Options) -> Iterator[float]:
    """The loop that a course would show, a loss at a time."""
    x, labels = torch.from_numpy(data.images), torch.from_numpy(data.labels).long()
    network = df.UNetConfig.of(data.shape, len(data.classes))
    torch.manual_seed(0)
    some = data.subset(5000)
    deviation = float((some.tensor() - some.tensor().mean(0)).square().mean().sqrt())
    model, average = (network.build(torch.zeros(data.shape), deviation) for _ in range(2))
    model.fit(some.tensor(), torch.from_numpy(some.labels))
    average.load_state_dict(model.state_dict())
    adam = torch.optim.Adam(model.parameters(), lr=options.learning_rate, betas=(0.9, 0.99), fused=True)
    random = torch.Generator().manual_seed(0)
    while True:
        which = torch.randint(len(x), (options.batch,), generator=random)
        x0, label = x[which].float().div_(127.5).sub_(1)[:, None], labels[which]
        dropped = torch.rand(options.batch, generator=random) < options.drop_label
        loss = options.loss(model, x0, torch.where(dropped, len(data.classes), label), random).value.mean()
        adam.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), options.clip)
        adam.step()
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 0.01)
        yield loss.item()


def clocked(steps: Iterator, count: int) -> tuple[float, float]:
    """Seconds of the processor and of the clock for so many steps."""
    begun, by_clock = time.process_time(), time.perf_counter()
    for _ in islice(steps, count):
        pass
    return time.process_time() - begun, time.perf_counter() - by_clock


def saving(data: df.Images, options: df.Options) -> tuple[float, float]:
    """Seconds for one checkpoint, processor's and clock's: what steps take longer that save each time."""
    with tempfile.TemporaryDirectory() as folder:
        run = df.train(data, steps=10**6, out=folder, options=options, save_every=10**6)
        next(run)
        begun, by_clock = time.process_time(), time.perf_counter()
        run.close()  # writes one
        return time.process_time() - begun, time.perf_counter() - by_clock


def measured(data: df.Images, options: df.Options, rounds: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Seconds a step, (rounds, 2 loops, 2 clocks), plain first; and of a checkpoint, (2,)."""
    with tempfile.TemporaryDirectory() as folder:
        ours = df.train(data, steps=10**6, out=folder, options=options, save_every=10**6)
        loops: list[Iterator] = [plain(data, options), ours]
        seconds = np.empty((rounds + 1, 2, 2))
        for number in range(rounds + 1):
            for which in (0, 1) if number % 2 else (1, 0):
                seconds[number, which] = clocked(loops[which], count)
        ours.close()
    return seconds[1:] / count, np.array(saving(data, options))


def profile(run: Callable[[], object]) -> None:
    """Where the time goes, sorted by a function's own."""
    seen = cProfile.Profile()
    seen.enable()
    run()
    seen.disable()
    pstats.Stats(seen).sort_stats("tottime").print_stats(30)


def main() -> None:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=20, help="of each loop in a round")
    parser.add_argument("--quick", action="store_true", help="three rounds of five steps, no file")
    parser.add_argument("--profile", action="store_true", help="where the time of df.train goes; no file")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    before, data, options = os.getloadavg()[0], images(), df.Options()
    if asked.profile:
        run = df.train(data, steps=10**6, options=options)
        next(run)
        return profile(lambda: list(islice(run, asked.steps)))
    rounds, count = (3, 5) if asked.quick else (asked.rounds, asked.steps)
    seconds, save = measured(data, options, rounds, count)
    seconds[:, 1] *= 1 + save / SAVE_EVERY
    speed, ratio = options.batch / seconds, seconds[:, 0] / seconds[:, 1]
    rows = [f"| {name} | {spread(speed[:, k, 0])} | {spread(speed[:, k, 1])} | {mine} | {theirs} |"
            for k, (name, mine, theirs) in enumerate((
                ("a plain loop", "", ""), ("`df.train`", shares(ratio[:, 0]), shares(ratio[:, 1]))))]
    text = (f"# What `df.train` adds to a plain loop\n\nCommand: `python benchmarks/training_overhead.py`. "
            f"{processor()}, one thread, load before {before:.1f}, torch {torch.__version__}. {data.name}, "
            f"{df.UNetConfig.of(data.shape, len(data.classes))}, batches of {options.batch}; {rounds} rounds of "
            f"{count} steps of each loop, turn about; the median (least to most). A checkpoint takes {save[1]:.2f} s, "
            f"once in {SAVE_EVERY:.0f} s, and is counted in.\n\n"
            "| | images/s of the processor | images/s by the clock | of the plain loop's | by the clock |\n"
            "| --- | --- | --- | --- | --- |\n" + "\n".join(rows)
            + f"\n\nThe target is {100 * TARGET:.0f}% of the plain loop's images/s.\n")
    print(text)
    if not asked.quick:
        RESULTS.write_text(text)


def shares(ratio: np.ndarray) -> str:
    """In percent: the median (least to most)."""
    low, middle, high = 100 * np.quantile(ratio, (0, 0.5, 1))
    return f"{middle:.1f}% ({low:.1f} to {high:.1f})"


if __name__ == "__main__":
    main()
