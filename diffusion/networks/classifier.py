"""The project's one judge of digits: a small convolutional network, shipped with its weights.

    z(x) = standardise(W_1 h(x)),    logits(x) = W_2 silu(z(x)) + b,    h: five convolutions, SiLU throughout.

The features z are what FID, KID, precision and recall compare. They are taken before the nonlinearity and
standardised over the training set, each to mean 0 and variance 1: so no feature can be dead, none outweighs
the others, and they lie nearer to the Gaussian that FID fits than one-sided activations would. (ReLU features
die: a third of one extractor's did.) A score is a statement about *these* weights: their SHA-256 is pinned.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import safetensors.torch
import torch
from torch import nn

WEIGHTS = Path(__file__).parents[1] / "weights" / "classifier.safetensors"
# Of that file; benchmarks/train_classifier.py prints it
SHA256 = "0579c5950599afb9c657cac6de74b5c0c09e686e20e841b8f9eb546b09087670"


class Classifier(nn.Module):
    """Digits 0..9 from grey images, 313 thousand parameters.

    x: float32 in [-1, 1], (batch, 1, 28, 28). Calling it gives the logits, (batch, 10).

    >>> net = Classifier().eval()
    >>> net(torch.zeros(2, 1, 28, 28)).shape, net.features(torch.zeros(2, 1, 28, 28)).shape
    (torch.Size([2, 10]), torch.Size([2, 96]))
    """

    dim = 96  # d, of the features

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_convolution(1, 32, 5, stride=2),  # (batch, 32, 14, 14)
            *_convolution(32, 64, 3),
            *_convolution(64, 96, 3, stride=2),  # (batch, 96, 7, 7)
            *_convolution(96, 96, 3),
            *_convolution(96, 64, 3, stride=2),  # (batch, 64, 4, 4)
            nn.Flatten(),
            nn.Linear(64 * 4 * 4, self.dim, bias=False),
            nn.BatchNorm1d(self.dim, affine=False),  # the standardisation of z
        )
        self.head = nn.Linear(self.dim, 10)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """z(x), (batch, 96)."""
        if x.ndim != 4 or x.shape[1:] != (1, 28, 28):
            raise ValueError(
                f"the classifier got images of shape {tuple(x.shape)}; it takes (batch, 1, 28, 28) in "
                "[-1, 1]. Other images need another extractor; its scores don't compare with this one's."
            )
        return self.body(x)  # (batch, 96)

    def logits(self, z: torch.Tensor) -> torch.Tensor:
        """Those of features z, (batch, 96); (batch, 10)."""
        return self.head(nn.functional.silu(z))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.logits(self.features(x))  # (batch, 10)


def _convolution(inputs: int, outputs: int, size: int, stride: int = 1) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.SiLU(inplace=True),
    )


@cache
def classifier(device: str = "cpu") -> Classifier:
    """The shipped classifier on a device, in eval mode, its parameters frozen; loaded once a device.

    Raises ValueError where the weights file is not the one that is pinned.

    >>> classifier().features(torch.zeros(1, 1, 28, 28)).shape
    torch.Size([1, 96])
    """
    net = Classifier()
    net.load_state_dict(safetensors.torch.load(_pinned(WEIGHTS, SHA256)))
    return net.eval().requires_grad_(False).to(device)


def _pinned(path: Path, sha256: str) -> bytes:
    content = path.read_bytes()
    got = hashlib.sha256(content).hexdigest()
    if got != sha256:
        raise ValueError(
            f"{path} has SHA-256 {got}, but {sha256} is pinned: scores would not be comparable. Restore the "
            "file (reinstall the package), or, if it was retrained on purpose, pin the new hash in SHA256."
        )
    return content
