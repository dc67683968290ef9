"""How well a network learns a score that is known: `python benchmarks/mixture_score.py --minutes 20`.

The data are drawn from a mixture of 784-dimensional Gaussians, two a class, that was fitted to MNIST: k-means splits
each class, and a component has the mean of its part and its covariance + FLOOR^2 I. So the score s of the noisy data
is known in closed form at every noise level, given the class and without it. A network is trained on these samples and
its error told on fresh ones,

    E|s_network - s|^2 sigma^2 / d = E|eps_network - eps|^2 / d,   eps = E[noise | x],

mean +- standard error over samples, beside the same of what knows less: one Gaussian with the mixture's mean and
covariance (one of each class, where the class is given), and s = 0. Writes benchmarks/results/mixture_score.md and
mixture_score.png; with --steps it is a trial, and writes nothing. MNIST: the folder named by SDEKIT_MNIST.
"""

import argparse
import os
from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.cluster.vq import kmeans2
from table import processor
from tqdm import tqdm

import diffusion as df
from diffusion.data import Points
from diffusion.exact import Gaussian, GaussianMixture

RESULTS = Path(__file__).parent / "results" / "mixture_score.md"
NOISES = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 40.0)
FLOOR, PARTS = 0.1, 2  # pixels are in [-1, 1]
SHAPE = (1, 28, 28)
FRESH = 10**7  # where the samples begin that no training sees

Eps = Callable[[torch.Tensor, float, torch.Tensor | None], torch.Tensor]  # of x = x_0 + sigma eps


def fitted(data: df.Images) -> GaussianMixture:
    """The mixture: components 2 k and 2 k + 1 are class k's; classes are all as likely."""
    x = data.tensor().flatten(1).double().numpy()
    means, covariances, shares = [], [], []
    for k in range(len(data.classes)):
        own = x[data.labels == k]
        _, part = kmeans2(own, PARTS, seed=k, minit="++")
        for j in range(PARTS):
            some = own[part == j]
            means.append(some.mean(0))
            covariances.append(np.cov(some.T, bias=True) + FLOOR**2 * np.eye(x.shape[1]))
            shares.append(len(some) / len(own) / len(data.classes))
    return GaussianMixture(np.stack(means).reshape(-1, *SHAPE), np.stack(covariances), shares,
                           labels=np.repeat(np.arange(len(data.classes)), PARTS))


def drawn(law: GaussianMixture, n: int, first: int = 0) -> Points:
    """Samples first, ..., first + n - 1, of the classes in turn: sample i is of class i mod 10."""
    labels = np.arange(first, first + n) % len(law.prior)
    x = [law.sample(len(some), first=int(some[0]), condition=labels[some - first])
         for some in np.array_split(np.arange(first, first + n), max(1, n // 5000))]
    return Points(torch.cat(x).float().numpy(), labels, tuple("0123456789"), "mixture-784")


def one_gaussian(law: GaussianMixture, label: int | None) -> Gaussian:
    """Of the mean and covariance of the mixture, or of a class: what D and Cov are without signal."""
    origin = torch.zeros(1, *SHAPE, dtype=torch.float64)
    condition = None if label is None else torch.tensor([label])
    return Gaussian(law(origin, 0.0, 1.0, condition)[0], cov=law.covariance(origin, 0.0, 1.0, condition)[0])


def noise_of(denoiser: df.Denoiser, classes: int | None = None) -> Eps:
    """eps = (x - D) / sigma; where it has `classes`, it is told the label."""
    def eps(x: torch.Tensor, sigma: float, label: torch.Tensor | None) -> torch.Tensor:
        return (x - denoiser(x, 1.0, sigma, label if classes else None).to(x)) / sigma
    return eps


def apart(laws: list[Gaussian]) -> Eps:
    """eps of each class's Gaussian."""
    def eps(x: torch.Tensor, sigma: float, label: torch.Tensor | None) -> torch.Tensor:
        assert label is not None
        out = torch.empty_like(x)
        for k in label.unique().tolist():
            out[label == k] = noise_of(laws[k])(x[label == k], sigma, None)
        return out
    return eps


def errors(exact: Eps, models: dict[str, Eps], x0: torch.Tensor, noise: torch.Tensor, labels: torch.Tensor | None,
           sigma: float) -> dict[str, tuple[float, float]]:
    """E|eps_model - eps|^2 / d of each, and its standard error."""
    found: dict[str, list[torch.Tensor]] = {name: [] for name in models}
    with torch.no_grad():
        for rows in torch.arange(len(x0)).split(500):
            x, label = x0[rows] + sigma * noise[rows], None if labels is None else labels[rows]
            right = exact(x, sigma, label)
            for name, eps in models.items():
                found[name].append((eps(x, sigma, label) - right).square().flatten(1).mean(1))
    each = {name: torch.cat(values) for name, values in found.items()}
    return {name: (float(v.mean()), float(v.std()) / len(v)**0.5) for name, v in each.items()}


def measured(law: GaussianMixture, model: df.Denoiser, n: int) -> dict[str, dict[float, dict[str, tuple]]]:
    """For "no class" and "its class", at each noise level, the errors of the network, of Gaussians and of nought."""
    classes = len(law.prior)
    data = drawn(law, n, FRESH)
    x0, labels = data.tensor().double(), torch.from_numpy(data.labels)
    noise = law.sample(n, 0.0, 1.0, first=FRESH)  # at alpha = 0
    zero: Eps = lambda x, sigma, label: torch.zeros_like(x)
    single, own = one_gaussian(law, None), [one_gaussian(law, k) for k in range(classes)]
    blind = {"network": noise_of(model), "one Gaussian": noise_of(single), "s = 0": zero}
    told = {"network": noise_of(model, classes), "a Gaussian a class": apart(own), "s = 0": zero}
    ways = {"no class": (noise_of(law), blind, None), "its class": (noise_of(law, classes), told, labels)}
    return {given: {sigma: errors(exact, models, x0, noise, label, sigma)
                    for sigma in tqdm(NOISES, desc=f"errors given {given}")}
            for given, (exact, models, label) in ways.items()}


def table(found: dict[float, dict[str, tuple]]) -> str:
    """Noise levels down, models across."""
    names = list(next(iter(found.values())))
    lines = ["| sigma | " + " | ".join(names) + " |", "| --- " * (len(names) + 1) + "|"]
    lines += [f"| {sigma:g} | " + " | ".join(f"{v:.2e} ± {e:.0e}" for v, e in row.values()) + " |"
              for sigma, row in found.items()]
    return "\n".join(lines) + "\n"


def plotted(found: dict[str, dict[float, dict[str, tuple]]], path: Path) -> None:
    """Errors against the noise level, without a class and with it."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    for ax, (given, rows) in zip(axes, found.items()):
        for k, name in enumerate(next(iter(rows.values()))):
            value, error = np.array([row[name] for row in rows.values()]).T
            ax.errorbar(list(rows), value, np.minimum(1.96 * error, 0.9 * value), color=f"C{k}", marker="os^"[k],
                        linewidth=1, capsize=2, label=name)
        ax.set(xscale="log", yscale="log", xlabel="noise level sigma/alpha", title=f"given {given}")
        ax.grid(alpha=0.25)
        ax.legend()
    axes[0].set_ylabel("E|s' - s|² sigma² / d")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    """Fit, draw, train, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20.0, help="of training")
    parser.add_argument("--steps", type=int, help="of training in place of minutes: a trial")
    parser.add_argument("--samples", type=int, default=60_000, help="to train on")
    parser.add_argument("--n", type=int, default=1000, help="samples for each error")
    parser.add_argument("--out", type=Path, default=Path("runs/mixture-784"), help="folder of the checkpoint")
    parser.add_argument("--device", default="cpu")
    asked = parser.parse_args()
    before = os.getloadavg()[0]
    law = fitted(df.mnist("train"))
    data = drawn(law, asked.samples)
    length = {"steps": asked.steps} if asked.steps else {"minutes": asked.minutes}
    last = None
    for last in df.train(data, **length, out=asked.out, device=asked.device):
        if last.step % 50 == 0:
            print(f"step {last.step}, loss {last.loss:.4f}, {last.seconds:.0f} s", flush=True)
    assert last is not None
    model = df.load(asked.out)
    found = measured(law, model, asked.n)
    text = (f"# A network's score beside the exact one\n\nA mixture of {len(law.prior) * PARTS} Gaussians in 784 "
            f"dimensions fitted to MNIST, its covariances + {FLOOR:g}² I; {asked.samples:,} samples of it, trained on "
            f"for {last.step:,} steps in {last.seconds / 60:.1f} minutes ({model.config!r}) on {asked.device}, "
            f"{processor()}, load before {before:.1f}. E|s' - s|² sigma² / d on {asked.n:,} fresh samples, ± its "
            f"standard error. Command: `python benchmarks/mixture_score.py --minutes {asked.minutes:g}`.\n")
    for given, rows in found.items():
        text += f"\n## Given {given}\n\n{table(rows)}"
    print(text)
    if asked.steps:
        plotted(found, asked.out / RESULTS.with_suffix(".png").name)
    else:
        RESULTS.write_text(text + f"\n![errors against the noise level]({RESULTS.stem}.png)\n")
        plotted(found, RESULTS.with_suffix(".png"))


if __name__ == "__main__":
    main()
