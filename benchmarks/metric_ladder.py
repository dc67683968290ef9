"""Whether the scores rank what is worse as worse: `python benchmarks/metric_ladder.py` writes results/metric_ladder.md.

Real MNIST test images are spoilt step by step, n = 2,000 at every rung: noise, blur, classes left out, and the same few
pictures again and again. FID is against the shipped statistics of the 60,000 training images; KID, precision and recall
are against 2,000 of them. The last column says whether each rung is told from the one above it: its 95% interval of FID
lies above that one's. It needs MNIST (fetched, or in the folder named by SDEKIT_MNIST) and two minutes of one core.
"""

import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d

from diffusion.data import Images, mnist
from diffusion.metrics import Score, digits, fid, inception_score, kid, precision, recall, shipped

RESULTS = Path(__file__).parent / "results" / "metric_ladder.md"
N = 2000
SCORES = {"FID": fid, "KID": kid, "precision": precision, "recall": recall}


def blurred(x: Tensor, width: float) -> Tensor:
    """By a Gaussian of so many pixels."""
    at = torch.arange(-6.0, 7.0)
    k = torch.exp(-(at**2) / (2 * width**2))
    k = k / k.sum()
    return conv2d(conv2d(x + 1, k.reshape(1, 1, 1, -1), padding=(0, 6)), k.reshape(1, 1, -1, 1), padding=(6, 0)) - 1


def ladders(test: Images, random: np.random.Generator) -> Iterator[tuple[str, list[tuple[str, Tensor]]]]:
    """Each ladder with its rungs, (N, 1, 28, 28), the worst last."""
    order = random.permutation(len(test))
    x, labels = test.tensor()[order], test.labels[order]
    noise = torch.randn(N, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    first = ("as they are", x[:N])
    yield "noise", [first, *((f"sigma {s:g}", x[:N] + s * noise) for s in (0.05, 0.1, 0.2, 0.4, 0.8))]
    yield "blur", [first, *((f"{w:g} pixels", blurred(x[:N], w)) for w in (0.5, 0.75, 1.0, 1.5, 2.5))]
    without = lambda left: x[torch.from_numpy(~np.isin(labels, left))][:N]
    yield "classes left out", [first, ("8", without([8])), ("7 to 9", without([7, 8, 9])),
                               ("5 to 9", without([5, 6, 7, 8, 9]))]
    yield "few pictures, again and again", [first, *((f"{k} of them", x[torch.arange(N) % k])
                                                     for k in (1000, 300, 100, 10))]
    even = np.concatenate([np.flatnonzero(labels == k)[:N // 10] for k in range(10)])
    yield "as many of each class", [first, (f"{N // 10} of each", x[torch.from_numpy(even)])]


def cell(score: Score) -> str:
    """Value and half width."""
    half = (score.high - score.low) / 2
    digits = max(0, 1 - int(np.floor(np.log10(half)))) if half > 0 else 2
    return f"{score.value:.{digits}f} ± {half:.{digits}f}"


def main() -> None:
    """Measure, print, write."""
    start, see, random = time.perf_counter(), digits(), np.random.default_rng(0)
    train = mnist("train")
    peers = see(train.subset(random.permutation(len(train))[:N]))
    text = (f"# Whether the scores rank what is worse as worse\n\n{N:,} test images of MNIST a rung, as the shipped "
            f"extractor sees them ({see}). FID: against the 60,000 training images; KID, precision, recall: against "
            f"{N:,} of them. Value ± half a 95% interval. Command: `python benchmarks/metric_ladder.py`.\n\n"
            f"| | {' | '.join(SCORES)} | inception score | FID told from the rung above |\n{'| --- ' * 7}|\n")
    for name, rungs in ladders(mnist("test"), random):
        assert all(x.shape == (N, 1, 28, 28) for _, x in rungs)
        seen = [see(x) for _, x in rungs]
        every = [{k: score(x, shipped() if score is fid else peers) for k, score in SCORES.items()} for x in seen]
        told = ["", *("yes" if low["FID"].high < high["FID"].low else "no" for low, high in pairwise(every))]
        for (rung, _), x, scores, verdict in zip(rungs, seen, every, told):
            cells = [*(cell(score) for score in scores.values()), cell(inception_score(x)), verdict]
            line = f"| {name}: {rung} | {' | '.join(cells)} |\n"
            print(line, end="", flush=True)
            text += line
    RESULTS.write_text(text)
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
