"""Train the classifier of noisy digits that ships with `diffusion`: `python -m examples.curriculum.noise_aware`.

Its accuracy on the test images, at each noise level, is printed beside that of two that need no training: the exact
classifier of the training set as the law of x_0, p(y | x) = sum of softmax(-|x - alpha y_i|^2 / 2 sigma^2) over the
images i of the class, which nothing beats at levels where the training set and the law it is drawn from cannot be told
apart; and the Gaussians of the ten classes (quadratic discriminants).
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

import diffusion as df
from diffusion import checkpoint
from diffusion.networks.noise_aware import WEIGHTS, NoiseAwareConfig, NoisyLabels, noise_aware

LEVELS = (0.05, 0.2, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 20.0)
OPTIONS = df.Options(batch=64, learning_rate=1e-3, loss=NoisyLabels(), drop_label=0.0)


def train(minutes: float | None, steps: int | None, out: Path, resume: bool) -> None:
    """Train, and put the average into the package."""
    data = df.mnist("train")
    given = {} if resume else {"network": NoiseAwareConfig(), "options": OPTIONS}
    with tqdm(unit="step") as bar:
        for record in df.train(data, minutes=minutes, steps=steps, out=out, resume=resume, **given):
            bar.total = record.steps
            bar.set_postfix_str(f"loss {record.loss:.3f}, {record.rate:.0f} images/s", refresh=False)
            bar.update(record.step - bar.n)
    checkpoint.save(WEIGHTS, *checkpoint.read(out, prefix="model."))


def gaussians(data: df.Images) -> df.exact.GaussianMixture:
    """A Gaussian for each class."""
    x, of = data.tensor().double(), torch.from_numpy(data.labels).long()
    each = [x[of == c].flatten(1) for c in range(len(data.classes))]
    covs = torch.stack([y.T.cov() + 1e-4 * torch.eye(y.shape[1], dtype=y.dtype) for y in each])
    means = torch.stack([y.mean(0) for y in each]).reshape(-1, *data.shape)
    return df.exact.GaussianMixture(means, covs, labels=torch.arange(len(each)))


def accuracy(log_prob, x: Tensor, label: Tensor, level: float, seed: int = 0) -> float:
    """The share of noisy images x + level eps that are read rightly."""
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=x.dtype)
    with torch.no_grad():
        parts = [log_prob(part, 1.0, level).argmax(1) for part in (x + level * noise).split(100)]
    return float((torch.cat(parts) == label).double().mean())


def table(n: int) -> None:
    """Accuracies on the first n test images."""
    train, test = df.mnist("train"), df.mnist("test").subset(n)
    x, label = test.tensor(), torch.from_numpy(test.labels).long()
    exact = df.exact.Empirical(train.tensor(), torch.from_numpy(train.labels).long())
    who = {"network": noise_aware(), "training set": exact.log_posterior, "Gaussians": gaussians(train).log_posterior}
    print(f"{'sigma/alpha':>12}", *(f"{name:>14}" for name in who), f"   (n = {n})")
    for level in LEVELS:
        found = [accuracy(log_prob, x if name == "network" else x.double(), label, level)
                 for name, log_prob in who.items()]
        print(f"{level:12g}", *(f"{100 * share:13.1f}%" for share in found), flush=True)


def main() -> None:
    """Train, then print the table; with --table the table alone."""
    parser = argparse.ArgumentParser(prog="python -m examples.curriculum.noise_aware", description=__doc__)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--out", type=Path, default=Path("out/noise-aware"))
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--table", type=int, metavar="N", help="no training: the table of N test images")
    asked = parser.parse_args()
    if asked.table is None:
        train(asked.minutes, asked.steps, asked.out, asked.resume)
    table(asked.table or 1000)


if __name__ == "__main__":
    main()
