"""Write the reference statistics that are shipped: `python benchmarks/reference_statistics.py`.

Mean and covariance of the shipped extractor's features of MNIST's 60,000 training images, with the SHA-256 of these
images, into diffusion/weights/mnist-statistics.safetensors; and the floors of its header, what n of the 10,000 test
images score against them: the mean of 20 random picks, and the 95% range of one, from its normal law. At n = 10,000
there is one set; its interval is that of the score. Prints the floors, and S, the FID between random disjoint sets of n
training images. It needs MNIST (fetched, or in the folder named by SDEKIT_MNIST) and a minute of one core.
"""

import hashlib
import time

import numpy as np

from diffusion.data import mnist
from diffusion.metrics import digits, fid, inception_score
from diffusion.metrics.extractor import Features
from diffusion.metrics.score import WIDTH, Score
from diffusion.metrics.statistics import SHIPPED, Statistics

SIZES = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
HALVES = (1000, 5000, 10_000, 30_000)
PICKS = 20


def row(n: int, scores: list[Score]) -> list[float]:
    """n, value, low, high."""
    values = np.array([score.value for score in scores])
    if len(values) == 1:
        return [n, values[0], scores[0].low, scores[0].high]
    mean, half = values.mean(), WIDTH * values.std(ddof=1)
    return [n, mean, mean - half, mean + half]


def main() -> None:
    """Measure, print, write."""
    start, see, random = time.perf_counter(), digits(), np.random.default_rng(0)
    data, test = mnist("train"), mnist("test")
    train, real = see(data), see(test)
    source = f"SHA-256 {hashlib.sha256(data.images.tobytes()).hexdigest()} of {data.images.shape} bytes"
    whole = train.statistics(source)
    floors: dict[str, list[list[float]]] = {"fid": [], "inception": []}
    for n in (*SIZES, len(real)):
        picks = [real.subset(random.permutation(len(real))[:n]) for _ in range(PICKS if n < len(real) else 1)]
        floors["fid"].append(row(n, [fid(pick, whole) for pick in picks]))
        floors["inception"].append(row(n, [inception_score(pick) for pick in picks]))
    right = (real.probabilities.argmax(1) == test.labels).mean()
    for name, table in floors.items():
        for n, *values in table:
            print(f"{name:10s} n = {n:6d}: {values[0]:.4f} ({values[1]:.4f} to {values[2]:.4f})")
    print(f"H = {floors['fid'][-1][1]:.4f}, accuracy of the 10,000 test images {right:.4f}")
    floors["accuracy"] = [[n, right, *_range(right, n)] for n in (*SIZES, len(real))]
    for n in HALVES:
        print(f"S, n = {n:6d}: {' '.join(f'{value:.4f}' for value in halves(train, n, random))}")
    path = Statistics(whole.n, whole.mean, whole.covariance, whole.extractor, whole.data, source, floors).save(SHIPPED)
    print(f"wrote {path}, {path.stat().st_size:,} bytes, SHA-256 {hashlib.sha256(path.read_bytes()).hexdigest()}; "
          f"{time.perf_counter() - start:.0f} s")


def halves(x: Features, n: int, random: np.random.Generator) -> list[float]:
    """FID of n random ones against n others, five times."""
    found = []
    for _ in range(5):
        order = random.permutation(len(x))
        found.append(fid(x.subset(order[:n]), x.subset(order[n:2 * n])).value)
    return found


def _range(p: float, n: int) -> tuple[float, float]:
    """Where the share of n lies with 95%, Wilson's."""
    from diffusion.metrics.score import share
    score = share("accuracy", round(p * n), n, "", "")
    return score.low, score.high


if __name__ == "__main__":
    main()
