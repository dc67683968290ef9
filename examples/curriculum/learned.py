"""Rows 30 and 33 to 39 with trained networks: the shipped model of digits, its classifier of noisy ones, and MNIST."""

from dataclasses import replace

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

import diffusion as df
from diffusion.exact import Empirical
from diffusion.losses import ddpm
from diffusion.networks.noise_aware import noise_aware
from diffusion.snapshots import Snapshot, Snapshots
from examples.curriculum.grades import NETWORK, SHOWN, growing, mnist, nearest, read
from examples.curriculum.rows import K, Number, bare, claim, near, row

TEN = list("0123456789")
EVERYWHERE = (0.0, float("inf"))


def drawn(model, n: int, label=None, **options) -> Tensor:
    """Samples in 15 steps of DPM-Solver++(2M)."""
    how = {"method": df.dpmpp_2m, "steps": 15, "progress": False}
    return df.sample(model, n, label=label, **how | options).samples


def _right(x: Tensor, asked) -> float:
    """The share that the shipped classifier reads as asked."""
    return float((read(x) == torch.as_tensor(asked)).double().mean())


@row(30, "DDPM as it is written: algorithm 1, algorithm 2, and the strip", size=(10.0, 5.4))
def ddpm_strip(figure: Figure) -> list[Number]:
    model, walk = df.load(), df.Discrete(df.linear_betas())
    grid, label = df.grid.linspace(walk), [3, 8]
    found = list(df.steps(model, 2, label=label, method=df.ddpm, grid=grid, seed=30))
    T = len(found)
    for k, ax in enumerate(figure.subplots(1, 2)):
        df.plot.strip(found, at=(0, T // 2 - 1, T - 1), sample=k, ax=ax)
    noise = _algorithm_2(found, walk)
    eps_loss, ours = _algorithm_1(model, found[-1].x0.float(), torch.tensor(label), walk)
    n, end = noise.numel(), read(found[-1].x0.float()).tolist()
    return [
        near("steps of algorithm 2, from t = T to 1", 1000, T, 0),
        near("algorithm 1: its loss, E |eps - eps_theta|^2 / d, less `losses.ddpm()`, same noise, relative", 0.0,
             abs(ours / eps_loss - 1), 1e-4),
        near("(x_(t-1) - (x_t - b_t eps_theta / sqrt(1 - abar_t)) / sqrt(1 - b_t)) / sqrt(b_t) is noise: mean", 0.0,
             float(noise.mean()), K / n**0.5),
        near("and variance", 1.0, float(noise.var()), K * (2 / n) ** 0.5),
        near("the last step adds none: x_0 less (x_1 - b_1 eps_theta / sqrt(1 - abar_1)) / sqrt(1 - b_1)", 0.0,
             float((found[-1].x0 - _mean(found[-1], walk, 1)).abs().max()), 1e-4),
        claim("what comes out is what was asked for", f"read as {end}, asked for {label}", end == label),
    ]


def _mean(moment: df.Step, walk: df.Discrete, t: int) -> Tensor:
    """(x_t - b_t eps / sqrt(1 - abar_t)) / sqrt(1 - b_t)."""
    b, bar = float(walk.betas[t - 1]), float(np.prod(1 - walk.betas[:t]))
    return (moment.x - b * moment.eps / (1 - bar) ** 0.5) / (1 - b) ** 0.5


def _algorithm_2(found: list[df.Step], walk: df.Discrete) -> Tensor:
    """z of every step but the last, by the update as it is written."""
    T = len(found)
    return torch.stack([(found[k + 1].x - _mean(found[k], walk, T - k)) / float(walk.betas[T - k - 1]) ** 0.5
                        for k in range(T - 1)])


def _algorithm_1(model, x0: Tensor, label: Tensor, walk: df.Discrete) -> tuple[float, float]:
    """The loss as it is written, and ours, of 64 pictures with the same times and noise."""
    x0, label = x0.repeat(32, 1, 1, 1), label.repeat(32)
    with torch.no_grad():
        ours = float(ddpm()(model, x0, label, torch.Generator().manual_seed(30)).value.mean())
    random = torch.Generator().manual_seed(30)
    strata = torch.randperm(64, generator=random)
    t = (1000 * (strata + torch.rand(64, generator=random)) / 64).floor().long()  # t - 1
    eps = torch.randn(x0.shape, generator=random)
    bar = torch.from_numpy(np.cumprod(1 - walk.betas))[t].view(-1, 1, 1, 1)
    x = bar.sqrt() * x0 + (1 - bar).sqrt() * eps
    with torch.no_grad():
        D = model(x, bar.sqrt().flatten(), (1 - bar).sqrt().flatten(), label)
    guess = (x - bar.sqrt() * D) / (1 - bar).sqrt()
    return float((eps - guess).square().mean()), ours


@row(33, "A U-Net that was told the noise level: all digits, and the eights alone", size=(10.0, 5.2))
def unet(figure: Figure) -> list[Number]:
    model, some = df.load(), torch.arange(100) % 10
    of_all, eights = drawn(model, 100, seed=33), drawn(model, 50, 8, seed=33, guidance=0.5)
    left, right = figure.subplots(1, 2)
    df.plot.grid(of_all, 10, left).set_title("asked for nothing", fontsize=10)
    df.plot.grid(eights[:25], 5, right).set_title("asked for 8", fontsize=10)
    shares = np.bincount(read(of_all), minlength=10) / len(some)
    return [claim("all digits come up", "shares " + ", ".join(f"{s:.2f}" for s in shares), bool((shares > 0).all())),
            claim("eights alone", f"{100 * _right(eights, 8):.0f}% of 50 are read as 8", _right(eights, 8) >= 0.9)]


@row(33, "A small U-Net trained on the eights alone", size=(10.0, 3.6), learned=True, mnist=True)
def eights_alone(figure: Figure) -> list[Number]:
    data = mnist("train")
    eights = replace(data.subset(np.flatnonzero(data.labels == 8)), labels=np.zeros(int((data.labels == 8).sum()), int),
                     classes=("8",))
    shots = Snapshots(60, first=100, seed=33, steps=12, method=df.dpmpp_2m)
    network, options = replace(NETWORK, classes=1), df.Options(batch=32)
    for _ in shots.taken(df.train(eights, steps=400, network=network, options=options, seed=33)):
        pass
    df.plot.snapshots([Snapshot(s.step, s.seconds, s.samples[:SHOWN]) for s in shots.kept], figure.subplots())
    right = [_right(shot.samples, 8) for shot in shots.kept]
    return [claim("what it draws is read as 8", ", ".join(f"{100 * r:.0f}%" for r in right) + " of 60 after "
                  + ", ".join(f"{shot.step}" for shot in shots.kept) + " steps", right[-1] >= 0.9)]


@row(34, "Samples as a model learns: the same noises, step by step", size=(10.0, 3.6), mnist=True)
def learning(figure: Figure) -> list[Number]:
    shots = growing().kept
    df.plot.snapshots([Snapshot(s.step, s.seconds, s.samples[:SHOWN]) for s in shots], figure.subplots())
    asked = torch.arange(len(shots[0].samples)) % 10
    right = [_right(shot.samples, asked) for shot in shots]
    return [claim("more and more are read as the digit asked for", ", ".join(f"{100 * r:.0f}%" for r in right)
                  + " after " + ", ".join(f"{shot.step}" for shot in shots) + " steps",
                  right[-1] > right[0] + 0.03 and right[-1] > 0.9)]


@row(35, "A digit on request: the class as an input", size=(10.0, 5.0))
def conditioned(figure: Figure) -> list[Number]:
    asked = torch.arange(100) % 10
    plain, guided = (drawn(df.load(), 100, asked, seed=35, guidance=w) for w in (0.0, 0.5))
    for ax, x, title in zip(figure.subplots(1, 2), (plain, guided), ("D(x, y)", "guided, w = 0.5")):
        df.plot.grid(x, 10, ax, titles=TEN).set_title(title, fontsize=10)
    return [claim(f"{name}: read as asked", f"{100 * _right(x, asked):.0f} of 100", _right(x, asked) >= least)
            for name, x, least in (("D(x, y)", plain, 0.85), ("guided, w = 0.5", guided, 0.95))]


@row(36, "Guided by a classifier of noisy digits; the model is not told the digit", size=(10.0, 4.6), learned=True)
def classifier_guidance(figure: Figure) -> list[Number]:
    model, asked = df.load(), torch.arange(40) % 10
    scales, found = (0.0, 1.0, 3.0), []
    for w in scales:
        guide = df.classifier_guided(model, noise_aware(), 10, w, interval=(0.1, 20.0))
        found.append(drawn(guide, 40, asked, seed=36))
    right = [_right(x, asked) for x in found]
    df.plot.grid(torch.cat([x[k:k + 10] for k in (0, 10) for x in found]), 10, figure.subplots(),
                 [f"w = {w:g}" for w in scales] * 2, TEN)
    return [claim("digits on request from a model that was told none", ", ".join(f"{100 * r:.0f}%" for r in right)
                  + " are read as asked at w = " + ", ".join(f"{w:g}" for w in scales),
                  right[0] < 0.35 and right[2] > 0.8)]


@row(37, "Guided without a classifier: the shipped model", size=(10.0, 4.4), learned=True)
def classifier_free_guidance(figure: Figure) -> list[Number]:
    guides, n = (0.0, 0.5, 1.0, 2.0, 4.0), 60
    found = [drawn(df.load(), n, 3, seed=37, guidance=e, interval=EVERYWHERE) for e in guides]
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    df.plot.grid(torch.cat([x[:12] for x in found]), 12, left, [f"e = {e:g}" for e in guides])
    seen = [df.metrics.digits()(x, progress=False) for x in found]
    sure = [float(features.probabilities[:, 3].mean()) for features in seen]
    # of what they look like: in pixels they differ more, since the strokes of guided digits are thicker
    spread = [float(features.values.var(0).sum()) ** 0.5 for features in seen]
    right.plot(guides, sure, "o-", color="C2", label="mean p(3 given the picture)")
    right.plot(guides, np.array(spread) / spread[0], "o-", color="C1", label="spread of features, over that at e = 0")
    bare(right, "", "e").legend(frameon=False)
    right.set_ylim(0, 1.05)
    return [claim("it sharpens: mean p(3 given the picture)", ", ".join(f"{v:.3f}" for v in sure) + " at e = "
                  + ", ".join(f"{e:g}" for e in guides), sure[2] > sure[0] or sure[0] > 0.99),
            claim("it narrows: the spread of the threes' features falls", ", ".join(f"{v:.2f}" for v in spread),
                  spread[0] > spread[2] > spread[4])]


@row(38, "Contrasting cases: one noise a row, one class a column, by the shipped model", size=(6.4, 6.0), learned=True)
def contrasting(figure: Figure) -> list[Number]:
    x = df.contrast(df.load(), 10, seed=38, guidance=0.5, method=df.dpmpp_2m, steps=15, progress=False).flatten(0, 1)
    df.plot.grid(x, 10, figure.subplots(), [f"noise {k}" for k in range(10)], TEN)
    asked = torch.arange(100) % 10
    return [claim("each picture is of its column's class", f"{100 * _right(x, asked):.0f} of 100 are read so",
                  _right(x, asked) >= 0.95)]


@row(39, "The ideal denoiser of MNIST gives it back; a trained network does not", size=(10.0, 4.6), learned=True,
     mnist=True)
def memorising(figure: Figure) -> list[Number]:
    train, test = mnist("train"), mnist("test").subset(500).tensor()
    ideal = drawn(Empirical(train.tensor()), 16, seed=39, steps=12)
    made = drawn(df.load(), 200, torch.arange(200) % 10, seed=39, guidance=0.5)
    far = {name: nearest(x) for name, x in (("ideal", ideal), ("trained", made), ("test images", test))}
    above, below = figure.subplots(2, 1, height_ratios=[5, 3])
    rows = [v for x, (_, k) in ((ideal, far["ideal"]), (made, far["trained"]))
            for v in (x[:16], train.subset(k[:16]).tensor())]
    df.plot.grid(torch.cat(rows), 16, above, ["ideal", "nearest in\ntraining", "trained", "nearest in\ntraining"])
    for name, color in zip(far, ("C0", "C1", "C2")):
        below.hist(far[name][0], np.linspace(0, 0.6, 61), color=color, alpha=0.5, label=name,
                   weights=np.full(len(far[name][0]), 1 / len(far[name][0])))
    bare(below, "how far from the nearest of 60,000 training images", "RMS over the pixels, which go from -1 to 1",
         "part").legend(frameon=False)
    distance, usual = far["trained"][0], far["test images"][0]
    return [
        near("ideal: the largest distance to the nearest training image", 0.0, float(far["ideal"][0].max()), 1e-5),
        claim("the trained network's are no training images", f"distances {distance.min():.3f} to "
              f"{distance.max():.3f}, median {np.median(distance):.3f}; of test images {usual.min():.3f} to "
              f"{usual.max():.3f}, median {np.median(usual):.3f}", distance.min() > 0.5 * usual.min() > 0.01),
    ]
