"""MNIST, how far pictures are from it, and rows 41 and 42: two scores, in closed cases and as a model learns."""

from functools import cache

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

import diffusion as df
from diffusion.metrics import Features, Statistics, digits, frechet, inception_score
from diffusion.snapshots import Snapshots
from examples.curriculum.rows import Number, bare, claim, near, row

SHOWN, GRADED = 12, 500  # samples of a model in training
NETWORK = df.UNetConfig(widths=(32, 64), embedding=64)  # smaller than the default, so that a row takes a minute
STEPS = 800


@cache
def mnist(split: str) -> df.Images:
    """Where it is: in the folder named by SDEKIT_MNIST, or fetched before. Raises OSError where it is not."""
    return df.mnist(split, download=False)


@cache
def _reference() -> Features:
    return digits()(mnist("test").subset(np.arange(500, 5500)), progress=False)


def fid(x: Tensor) -> float:
    """To 5,000 test images, by the shipped extractor."""
    return df.metrics.fid(digits()(x, progress=False), _reference()).value


@cache
def floor() -> float:
    """Of 500 other test images."""
    return fid(mnist("test").subset(500).tensor())


def read(x: Tensor) -> Tensor:
    """The digits that the shipped classifier reads."""
    return df.metrics.reading(x.clamp(-1, 1))


def nearest(x: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The RMS distance, over pixels, to the nearest of the 60,000 training images, and its number."""
    see = df.metrics.pixels((1, 28, 28))
    return df.metrics.nearest(see(x, progress=False), _training())


@cache
def _training() -> Features:
    return df.metrics.pixels((1, 28, 28))(mnist("train"), progress=False)


@cache
def growing() -> Snapshots:
    """What a small network draws after 100, 200, 400, 800 steps of training on MNIST."""
    shots = Snapshots(GRADED, first=100, seed=34, steps=10, method=df.dpmpp_2m)
    options = df.Options(batch=32, warm_up=50)
    for _ in shots.taken(df.train(mnist("train"), steps=STEPS, network=NETWORK, options=options, seed=34)):
        pass
    return shots


@row(41, "The inception score, exp E KL(p(y given x) || p(y))", size=(10.0, 3.4))
def inception(figure: Figure) -> list[Number]:
    n, eye = 10, np.eye(10)
    mixed = np.full((10, 10), 0.1)
    cases = {"each unsure": mixed, "sure, balanced": eye, "sure, all alike": eye[[3] * 10],
             "sure, of two": eye[[3, 8] * 5], "half sure": 0.5 * eye + 0.5 * mixed}
    asked = {"each unsure": 1.0, "sure, balanced": 10.0, "sure, all alike": 1.0, "sure, of two": 2.0,
             "half sure": float(np.exp(0.55 * np.log(5.5) + 0.45 * np.log(0.5)))}
    got = {name: inception_score(Features(np.zeros((n, 1)), p, "closed", "")).value for name, p in cases.items()}
    for ax, (name, p) in zip(figure.subplots(1, 5), cases.items()):
        ax.imshow(p, cmap="Greys", vmin=0, vmax=1)
        ax.set(title=f"{name}: {got[name]:.3g}", xlabel="class y", ylabel="picture x", xticks=[], yticks=[])
        ax.title.set_fontsize(9)
    made = df.sample(df.load(), 200, label=torch.arange(200) % 10, seed=41, guidance=0.5, method=df.dpmpp_2m, steps=15,
                     progress=False).samples
    noise = 2 * torch.rand(made.shape, generator=torch.Generator().manual_seed(41)) - 1
    of = {name: inception_score(digits()(x, progress=False)).value for name, x in (("digits", made), ("noise", noise))}
    return [*(near(f"{name}: p(y given x) of ten pictures", asked[name], got[name], 1e-12) for name in cases),
            claim("200 digits of the shipped model come near to 10, noise does not",
                  f"{of['digits']:.2f}, and {of['noise']:.2f}", of["digits"] > 9 > of["noise"])]


@row(42, "The Frechet distance of features: nought for equals, and it falls as a model learns", size=(10.0, 3.6),
     mnist=True)
def frechet_distance(figure: Figure) -> list[Number]:
    a, b = (Statistics(9, m, S, "closed", "") for m, S in
            ((np.zeros(2), np.array([[2.0, 0.5], [0.5, 1.0]])), (np.array([1.0, -2.0]), np.diag([0.5, 3.0]))))
    exact = _formula(a.mean, a.covariance, b.mean, b.covariance)
    some = digits()(mnist("test").subset(500), progress=False)
    shots = growing().kept
    found = [fid(shot.samples) for shot in shots]
    left, right = figure.subplots(1, 2, width_ratios=[2, 3])
    left.loglog([shot.step for shot in shots], found, "o-", label=f"{GRADED} samples")
    left.axhline(floor(), color="black", linestyle="--", linewidth=1, label=f"{GRADED} test images")
    bare(left, "", "steps of training", "FID").legend(frameon=False)
    df.plot.grid(torch.cat([shot.samples[:SHOWN] for shot in shots]), SHOWN, right,
                 [f"{value:.0f}" for value in found])
    right.set_title("FID, and what was drawn", fontsize=10)
    return [
        near("equal sets of features, over their variance", 0.0,
             df.metrics.fid(some, some).value / float(np.trace(some.statistics().covariance)), 1e-9),
        near("two Gaussians: |m - n|^2 + tr(S + R - 2 (S R)^(1/2))", exact, frechet(a, b), 1e-9),
        claim("it falls during training", ", ".join(f"{v:.1f}" for v in found) + " after "
              + ", ".join(str(shot.step) for shot in shots) + f" steps; of test images {floor():.2f}",
              found == sorted(found, reverse=True) and found[-1] > floor()),
    ]


def _formula(m: np.ndarray, S: np.ndarray, n: np.ndarray, R: np.ndarray) -> float:
    """In the plane tr (S R)^(1/2) = (tr S R + 2 (det S R)^(1/2))^(1/2)."""
    root = (np.trace(S @ R) + 2 * np.linalg.det(S @ R) ** 0.5) ** 0.5
    return float((m - n) @ (m - n) + np.trace(S + R) - 2 * root)
