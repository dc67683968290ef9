"""Rows 25 to 28: the courses' own networks on MNIST, and what they cannot do."""

from functools import cache

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

import diffusion as df
from diffusion.networks.autoencoder import (
    AutoencoderConfig,
    NextState,
    Reconstruction,
    StepperConfig,
    stacked,
)
from diffusion.networks.perceptron import NLL, PerceptronConfig
from examples.curriculum.grades import fid, floor, mnist, nearest, read
from examples.curriculum.rows import Number, bare, claim, near, row

TRACE = (85.5, 90.3, 91.4, 92.1, 92.5, 93.1, 93.6)  # the course's, % of the test images after each epoch
BATCH = 64  # that gives it
NOISE, STEPS = 0.5, 1500  # of the autoencoders; steps of 128 pictures, 3 epochs
INTO = 5  # the steps of the five-step denoiser, and passes of the others


def plain(loss, learning_rate: float, batch: int) -> df.Options:
    """Adam and nothing else, as the courses train: no warm-up, decay, clipping or averaging, no label dropped.

    What a `Record` calls the average is then the network itself: averaging looks back on the last step alone.
    """
    return df.Options(batch=batch, learning_rate=learning_rate, loss=loss, drop_label=0.0, warm_up=1, decay=1e-12,
                      clip=1e12, averaging=1e-12)


@cache
def _classifier() -> tuple[nn.Module, list[float]]:
    """784-512-512-10 after as many epochs as the trace has, and its accuracies on the test images, in %."""
    data, test = mnist("train"), mnist("test")
    x, label, found = test.tensor(), torch.from_numpy(test.labels), []
    model, epoch = None, len(data) // BATCH
    config, options = PerceptronConfig(), plain(NLL(), 1e-4, BATCH)
    for record in df.train(data, steps=len(TRACE) * epoch, network=config, options=options, seed=25):
        if record.step == 1 or record.step % epoch == 0:
            model = record.model
            found.append(100 * float((model(x).argmax(1) == label).double().mean()))
    assert model is not None
    return model, found


@row(25, "A classifier of digits learns: 784-512-512-10, sigmoids, -log p(y given x)", size=(10.0, 3.6), mnist=True)
def classifier(figure: Figure) -> list[Number]:
    model, (untrained, *found) = _classifier()
    left, right = figure.subplots(1, 2, width_ratios=[2, 3])
    epochs = range(1, len(TRACE) + 1)
    left.plot([0, *epochs], [untrained, *found], "o-", label=f"batches of {BATCH}")
    left.plot(epochs, TRACE, "x", color="black", label="the course's")
    bare(left, "", "epochs", "% of the test images").legend(frameon=False)
    test = mnist("test")
    x, said = test.tensor()[:60], model(test.tensor()[:60]).argmax(1)
    df.plot.grid(x, 12, right)
    for k, (one, asked) in enumerate(zip(said.tolist(), test.labels)):
        at = (30 * (k % 12) + 3, 30 * (k // 12) + 9)
        right.text(*at, str(one), color="C2" if one == asked else "C3", fontsize=8)
    right.set_title("what it reads; red: wrong", fontsize=10)
    return [near("untrained, after one step: % of the test images", 10.0, untrained, 8.0, 3),
            *(near(f"after epoch {k}: % of the test images", asked, got, 1.5, 4)
              for k, asked, got in zip(epochs, TRACE, found))]


@row(26, "Digits from a classifier alone, by brute force: certain, and noise", size=(10.0, 4.4), mnist=True)
def brute_force(figure: Figure) -> list[Number]:
    model, _ = _classifier()
    asked, start = torch.arange(20) % 10, 2 * torch.rand(20, 1, 28, 28, generator=torch.Generator().manual_seed(26)) - 1
    made = _ascended(model, start, asked)
    p, others = model(made).exp().gather(1, asked[:, None])[:, 0], read(made)
    test = mnist("test")
    real = torch.stack([test.tensor()[np.flatnonzero(test.labels == k)[:2]] for k in range(10)], 1).flatten(0, 1)
    far, usual = nearest(made)[0], nearest(real)[0]
    df.plot.grid(torch.cat([start[:10], made[:10], real[:10]]), 10, figure.subplots(),
                 ["the start", "of these it is\ncertain", "test images"], [f"{k}" for k in range(10)])
    return [
        claim("the classifier is certain", f"p(the digit asked for) from {float(p.min()):.4f} to {float(p.max()):.4f}",
              float(p.min()) > 0.99),
        claim("the pictures are no digits", f"the nearest of 60,000 training images is {far.min():.2f} or more away, "
              f"RMS over the pixels, {far.mean() / usual.mean():.1f} times as far as from test images, "
              f"{usual.max():.2f} at most", far.min() > usual.max()),
        claim("another classifier does not read them", f"{int((others == asked).sum())} of 20 as the digit asked for",
              int((others == asked).sum()) < 10),
        claim("their FID is far beyond that of digits", f"{fid(made):.0f}; of 500 test images "
              f"{floor():.2f}", fid(made) > 20 * floor()),
    ]


def _ascended(model: nn.Module, x: Tensor, asked: Tensor) -> Tensor:
    """Up the gradient of log p(asked | x) in the pixels, which stay in [-1, 1], until p > 0.999."""
    x = x.clone().requires_grad_(True)
    up = torch.optim.Adam([x], lr=0.05)
    for _ in range(500):
        logs = model(x).gather(1, asked[:, None])
        if float(logs.detach().exp().min()) > 0.999:
            break
        up.zero_grad()
        (-logs.sum()).backward()
        up.step()
        with torch.no_grad():
            x.clamp_(-1, 1)
    return x.detach()


@cache
def _autoencoders() -> dict[str, nn.Module]:
    """Without noise, denoising, and stacked layer by layer."""
    data, found = mnist("train"), {}
    for name, noise in (("autoencoder", 0.0), ("denoising", NOISE)):
        *_, last = df.train(data, steps=STEPS, network=AutoencoderConfig(), seed=27,
                            options=plain(Reconstruction(noise), 1e-3, 128))
        found[name] = last.model
    found["stacked"] = stacked(data, (400, 400), steps=STEPS, options=plain(Reconstruction(NOISE), 1e-3, 128), seed=27)
    return found


@torch.no_grad()
def _passes(model, x: Tensor, n: int) -> list[Tensor]:
    """x through the model once, twice, ..., n times."""
    found = []
    for _ in range(n):
        x = model(x)
        found.append(x)
    return found


@row(27, "Autoencoders that take noise away, and make no digit of noise alone", size=(10.0, 6.2), mnist=True)
def autoencoders(figure: Figure) -> list[Number]:
    models, test = _autoencoders(), mnist("test").subset(1000)
    x, random = test.tensor(), torch.Generator().manual_seed(27)
    z = torch.randn(x.shape, generator=random)
    noisy, noise = x + 2 * NOISE * z, torch.randn(500, 1, 28, 28, generator=random)  # deviation NOISE of y = (x + 1)/2
    with torch.no_grad():
        back = {name: model(noisy) for name, model in models.items()}
        clean = models["autoencoder"](x)
    made = _passes(models["denoising"], noise, INTO)
    left, right = figure.subplots(1, 2)
    df.plot.grid(torch.cat([v[:10] for v in (x, clean, noisy, *back.values())]), 10, left,
                 ["x", "autoencoder\nof x", "x + noise", *(f"{name}\nof it" for name in back)])
    df.plot.grid(torch.cat([v[:10] for v in (noise, *made)]), 10, right,
                 ["noise", *(f"pass {k + 1}" for k in range(INTO))])

    def error(u: Tensor) -> float:
        """RMS in [0, 1]."""
        return float((u - x).square().mean() ** 0.5) / 2

    first, last = fid(made[0]), fid(made[-1])
    return [
        near("RMS of the noise, in [0, 1]", NOISE, error(noisy), 4.5 * NOISE / (2 * x.numel()) ** 0.5, 4),
        claim("without noise: the autoencoder gives pictures back", f"RMS {error(clean):.3f}", error(clean) < 0.1),
        *(claim(f"the {name} autoencoder takes noise away", f"RMS {error(back[name]):.3f} of {error(noisy):.3f} left",
                error(back[name]) < 0.4 * error(noisy)) for name in ("denoising", "stacked")),
        claim("the one that saw no noise takes less away", f"RMS {error(back['autoencoder']):.3f}",
              error(back["autoencoder"]) > 1.2 * error(back["denoising"])),
        claim("noise becomes no digit, in one pass or five", f"FID {first:.0f} and {last:.0f}; of 500 test images "
              f"{floor():.2f}", min(first, last) > 10 * floor()),
    ]


@row(28, "Five steps from noise to a digit, the time being told", size=(10.0, 6.4), mnist=True)
def five_steps(figure: Figure) -> list[Number]:
    data, losses = mnist("train"), []
    model = None
    for record in df.train(data, steps=2 * STEPS, network=StepperConfig(), seed=28,
                           options=plain(NextState(), 1e-3, 128)):
        losses.append(record.loss)
        model = record.model
    assert model is not None
    noise = torch.randn(500, 1, 28, 28, generator=torch.Generator().manual_seed(28))
    with torch.no_grad():
        walked = model.walk(noise)
    passed = _passes(_autoencoders()["denoising"], noise, INTO)
    left, right = figure.subplots(1, 2)
    df.plot.grid(walked[:, :8].flatten(0, 1), 8, left, [f"$x_{t}$" for t in range(INTO, -1, -1)])
    left.set_title("five steps, the time told", fontsize=10)
    df.plot.grid(torch.cat([v[:8] for v in (noise, *passed)]), 8, right,
                 ["noise", *(f"pass {k + 1}" for k in range(INTO))])
    right.set_title("one denoiser, again and again", fontsize=10)
    five, once, again = fid(walked[-1]), fid(passed[0]), fid(passed[-1])
    begin, end = float(np.mean(losses[:100])), float(np.mean(losses[-100:]))
    return [
        claim("it trains", f"loss {begin:.4f} over the first 100 steps, {end:.4f} over the last", end < 0.75 * begin),
        claim("better than the one-shot denoiser, and no digit yet", f"FID {five:.0f}, of the other {once:.0f} (five "
              f"times over {again:.0f}); of 500 test images {floor():.2f}", 10 * floor() < five < 0.9 * once),
    ]
