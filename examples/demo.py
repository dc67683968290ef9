"""What the two packages do, in pictures: `make demo` writes them to out/ and prints what was measured."""

import time
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch

import diffusion as df
import sdekit as sk
from diffusion.metrics import judge
from sdekit.plot import envelope, fan

OUT = Path("out")


def main() -> None:
    """Draw everything."""
    OUT.mkdir(exist_ok=True)
    start = time.perf_counter()
    random_motion()
    speed()
    digits()
    print(f"\nall of it took {time.perf_counter() - start:.0f} s")


def random_motion() -> None:
    """Brownian motion, a drift with noise, and a stock price."""
    print("sdekit: random motion")
    brownian = sk.BrownianMotion()
    paths = sk.simulate(brownian, x0=0.0, t=10.0, steps=1000, paths=5, seed=1)
    ax = envelope(paths, brownian.mean(0.0, paths.t), brownian.variance(0.0, paths.t) ** 0.5)
    write(ax, "brownian.png", "five paths of Brownian motion dx = dW inside their exact envelope")

    growth = sk.LinearDrift(a=0.1)
    paths = sk.simulate(growth, x0=10.0, t=10.0, steps=1000, paths=5, seed=2)
    curve = sk.integrate(growth, x0=10.0, t=10.0, steps=1000)
    ax = envelope(paths, growth.mean(10.0, paths.t), growth.variance(10.0, paths.t) ** 0.5)
    ax.plot(curve.t, curve.x[0], color="C3", linewidth=2, label="without noise: dx = 0.1 x dt")
    ax.legend(frameon=False, loc="upper left")
    write(ax, "drift.png", f"dx = 0.1 x dt + dW beside its noise-free curve, which ends at {curve.final[0]:.4f} "
                           f"(10 e = {10 * np.e:.4f})")

    gbm = sk.GeometricBrownianMotion(mu=0.05, sigma=0.2)
    paths = sk.simulate(gbm, x0=100.0, t=1.0, steps=252, paths=10_000, seed=3)
    error = paths.std()[-1] / len(paths) ** 0.5
    about = f"mean {paths.mean()[-1]:.2f} ± {error:.2f}, exactly {gbm.mean(100.0, 1.0):.2f}"
    write(fan(paths, lines=8), "gbm.png", f"10,000 stock prices over a year; {about}")


def speed() -> None:
    """How many path-steps a second, after compilation, beside the same loop in NumPy."""
    gbm = sk.GeometricBrownianMotion(mu=0.05, sigma=0.2)
    work = {"x0": 100.0, "steps": 500, "seed": 4, "save": "final", "method": sk.euler_maruyama, "backend": "numba"}
    sk.simulate(gbm, paths=1, **work)
    seconds = [timed(lambda: sk.simulate(gbm, paths=100_000, **work)) for _ in range(5)]
    loop = [timed(numpy_loop) for _ in range(3)]
    rate, reference = 50 / np.median(seconds), 50 / np.median(loop)
    print(f"  speed      {rate:,.0f} M path-steps/s: 100,000 stock prices x 500 Euler steps in "
          f"{np.median(seconds):.2f} s (a loop in NumPy: {reference:,.0f} M/s)")


def numpy_loop(paths: int = 100_000, steps: int = 500) -> np.ndarray:
    """The same work as people write it by hand."""
    random, x, h = np.random.default_rng(4), np.full(paths, 100.0), 1 / steps
    for _ in range(steps):
        x += 0.05 * x * h + 0.2 * x * np.sqrt(h) * random.standard_normal(paths)
    return x


def digits() -> None:
    """Noise a digit, take noise back to digits, and draw ten of each class."""
    print("diffusion: digits from a learned score")
    model = df.load()
    strip = df.sample(model, 4, label=[3, 8, 5, 2], steps=12, guidance=0.5, seed=10, keep=True)
    digit = strip.samples[1]

    times = np.array([0.0, 0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 1.0])
    forward = sk.simulate(df.VP(), digit[None].double(), t=1.0, steps=200, seed=5, save=times).x[0]
    ax = df.plot.grid(forward, columns=len(times), titles=[f"t = {t:g}" for t in times])
    write(ax, "noising.png", "a digit as the variance-preserving SDE turns it into noise")

    shown = [0, 4, 6, 7, 8, 9, 10, 12]
    sigmas = [strip.grid.levels[i].sigma for i in shown]
    states = torch.stack([strip.trajectory.x[i] / max(1.0, s) for i, s in zip(shown, sigmas)] + [strip.samples])
    titles = [f"σ = {s:.2g}" for s in sigmas] + ["digit"]
    ax = df.plot.grid(states.transpose(0, 1).flatten(0, 1), columns=9, titles=titles)
    write(ax, "denoising.png", "four digits out of noise, as the sampler goes (each state divided by its noise level)")

    result = df.sample(model, 100, label=torch.arange(100) // 10, steps=12, guidance=0.5, seed=0)
    found = judge(result)
    ax = df.plot.grid(result.samples, columns=10, rows=[str(k) for k in range(10)])
    write(ax, "digits.png", f"100 generated digits, one class a row; {result.nfe:g} network evaluations each, "
                            f"{result.seconds:.1f} s in all")
    print(f"  read       {found.right} of {found.n} digits are read as the class asked for by the shipped classifier")


def timed(work) -> float:
    """Seconds that it takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def write(ax, name: str, about: str) -> None:
    """Save the picture and say what it is."""
    ax.figure.savefig(OUT / name, dpi=120)
    plt.close(ax.figure)
    print(f"  {OUT / name}\n             {about}")


if __name__ == "__main__":
    main()
