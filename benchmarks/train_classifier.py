"""Train the classifier whose features every score of this project is measured in.

    python benchmarks/train_classifier.py

    loss = cross entropy + (DECORRELATE / d) sum_{i != j} C_ij^2,    C: covariance of z over a batch

It needs MNIST (fetched, or in the folder named by SDEKIT_MNIST) and about 15 minutes of one CPU core. The
training set alone is learnt from; accuracy on the test set is printed after each epoch but chooses nothing:
what is written is the network after the last epoch. Each image is turned, scaled, sheared and shifted a
little and gets a little noise, anew each time. Nesterov SGD, one cycle of the learning rate (Smith & Topin
2018). The printed SHA-256 goes into diffusion/networks/classifier.py.

Two choices serve the metric, not the accuracy. Without the noise, an error of .02 that no eye sees costs 4
times the floor. Without the penalty (Cogswell et al. 2016; Bardes, Ponce & LeCun 2022) the features z collapse
onto the ten classes, nine directions holding 93% of their variance, and a score sees little else.
"""

import argparse
import hashlib
import time
from pathlib import Path

import safetensors.torch
import torch
from torch.nn import functional as F

from diffusion.data import mnist
from diffusion.networks.classifier import WEIGHTS, Classifier

# At most: radians, relative, relative, and half widths of an image (2 pixels)
TURN, SCALE, SHEAR, SHIFT = 0.2, 0.1, 0.15, 2 / 14
NOISE = 0.3  # standard deviation, at most
DECORRELATE = 0.1
BATCH = 100


def augment(x: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """Each image of x, (batch, 1, 28, 28), under its own small affine map, with noise of its own size."""

    def uniform(limit: float) -> torch.Tensor:
        return limit * (2 * torch.rand(len(x), generator=random) - 1)

    turn, shear = uniform(TURN), uniform(SHEAR)
    wide, high = 1 + uniform(SCALE), 1 + uniform(SCALE)
    cos, sin = turn.cos(), turn.sin()
    rows = (
        torch.stack([wide * cos, wide * (shear * cos - sin), uniform(SHIFT)], -1),
        torch.stack([high * sin, high * (shear * sin + cos), uniform(SHIFT)], -1),
    )
    grid = F.affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
    # grid_sample pads with 0, and the background is -1
    moved = F.grid_sample(x + 1, grid, align_corners=False) - 1
    size = NOISE * torch.rand(len(x), 1, 1, 1, generator=random)
    return moved + size * torch.randn(x.shape, generator=random)


def correlation(z: torch.Tensor) -> torch.Tensor:
    """sum_{i != j} C_ij^2 / d of z, (batch, d), which the batch's own statistics have standardised."""
    covariance = z.T @ z / len(z)  # (d, d)
    return (covariance - covariance.diag().diag()).square().sum() / z.shape[1]


@torch.no_grad()
def accuracy(net: Classifier, x: torch.Tensor, labels: torch.Tensor) -> float:
    net.eval()
    hits = sum((net(a).argmax(1) == b).sum().item() for a, b in zip(x.split(500), labels.split(500)))
    return hits / len(x)


@torch.no_grad()
def settle(net: Classifier, x: torch.Tensor) -> None:
    """Replace the running statistics of all normalisations by those of x as it is, not augmented."""
    layers = [layer for layer in net.modules() if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm)]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the plain mean over batches
    net.train()
    for batch in x.split(500):
        net(batch)


def train(epochs: int, seed: int) -> tuple[Classifier, float]:
    torch.manual_seed(seed)
    random = torch.Generator().manual_seed(seed)
    data, test = mnist("train"), mnist("test")
    x, labels = data.tensor(), torch.tensor(data.labels)
    seen, truth = test.tensor(), torch.tensor(test.labels)
    net = Classifier().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    sgd = torch.optim.SGD(net.parameters(), momentum=0.9, nesterov=True, weight_decay=5e-4, lr=0.1)
    cycle = torch.optim.lr_scheduler.OneCycleLR(sgd, 0.1, epochs * len(x) // BATCH, pct_start=0.2)
    for epoch in range(epochs):
        start, total = time.perf_counter(), 0.0
        net.train()
        for index in torch.randperm(len(x), generator=random).split(BATCH):
            z = net.features(augment(x[index], random))
            loss = F.cross_entropy(net.logits(z), labels[index]) + DECORRELATE * correlation(z)
            sgd.zero_grad()
            loss.backward()
            sgd.step()
            cycle.step()
            total += loss.item() * len(index)
        seconds = time.perf_counter() - start
        print(
            f"epoch {epoch + 1:2d}/{epochs}: loss {total / len(x):.4f}, test accuracy "
            f"{100 * accuracy(net, seen, truth):.2f}%, {seconds:.0f} s",
            flush=True,
        )
    settle(net, x)
    return net.to(memory_format=torch.contiguous_format), accuracy(net, seen, truth)  # type: ignore[call-overload]


def main() -> None:
    options = argparse.ArgumentParser(description="Train the classifier and write its weights.")
    options.add_argument("--epochs", type=int, default=10)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--out", type=Path, default=WEIGHTS)
    chosen = options.parse_args()
    torch.set_num_threads(chosen.threads)
    start = time.perf_counter()
    net, test_accuracy = train(chosen.epochs, chosen.seed)
    header = {
        "data": "MNIST, the 60,000 training images, augmented",
        "epochs": str(chosen.epochs),
        "seed": str(chosen.seed),
        "minutes": f"{(time.perf_counter() - start) / 60:.1f} on {chosen.threads} CPU core(s)",
        "command": f"python benchmarks/train_classifier.py --epochs {chosen.epochs} --seed {chosen.seed}",
        "test_accuracy": f"{test_accuracy:.4f}",
    }
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    state = {name: value.contiguous() for name, value in net.state_dict().items()}
    chosen.out.write_bytes(safetensors.torch.save(state, metadata=header))
    print("\n".join(f"{key}: {value}" for key, value in header.items()))
    print(f"SHA-256: {hashlib.sha256(chosen.out.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    main()
