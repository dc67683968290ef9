"""The courses' classifier, p(y | x) = softmax(W_3 s(W_2 s(W_1 x + b_1) + b_2) + b_3), s(z) = 1 / (1 + e^-z).

It sees pictures in [0, 1] and learns by the negative log-likelihood -log p(y | x). Rumelhart, Hinton & Williams 1986.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffusion.losses import Terms
from diffusion.records import recorded


@recorded
@dataclass(frozen=True)
class PerceptronConfig:
    """Pixels, `widths` sigmoids in layers, `classes` log-probabilities: 784-512-512-10 if nothing is said."""

    shape: tuple[int, ...] = (1, 28, 28)
    widths: tuple[int, ...] = (512, 512)
    classes: int = 10

    def __post_init__(self):
        object.__setattr__(self, "shape", tuple(self.shape))
        object.__setattr__(self, "widths", tuple(self.widths))

    def build(self, center: Tensor, spread: float) -> "Perceptron":
        """The network; neither mean nor spread of the data is made use of."""
        return Perceptron(self)

    def check(self, shape: tuple[int, ...], classes: int, name: str) -> None:
        """Raise ValueError for data of another shape or number of classes."""
        if (self.shape, self.classes) != (shape, classes):
            raise ValueError(f"the classifier is for samples of shape {self.shape} and {self.classes} classes, but "
                             f"{name} has {shape} and {classes}")


class Perceptron(nn.Module):
    """log p(y | x), (batch, classes): x (batch, *shape) in [-1, 1].

    >>> Perceptron(PerceptronConfig())(torch.zeros(3, 1, 28, 28)).shape
    torch.Size([3, 10])
    """

    header: Any = None  # of the checkpoint that it was loaded from

    def __init__(self, config: PerceptronConfig):
        super().__init__()
        self.config = config
        layers: list[nn.Module] = [nn.Flatten()]
        inputs = math.prod(config.shape)
        for width in config.widths:
            layers += [nn.Linear(inputs, width), nn.Sigmoid()]
            inputs = width
        self.net = nn.Sequential(*layers, nn.Linear(inputs, config.classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.net((x + 1) / 2).log_softmax(1)


@recorded
@dataclass(frozen=True)
class NLL:
    """-log p(y | x_0), of a classifier x -> log p (batch, classes).

    Labels must not be dropped: train with drop_label=0.
    """

    def __call__(self, model: Any, x0: Tensor, label: Tensor, random: torch.Generator) -> Terms:
        """(batch,)."""
        logs = model(x0)
        if bool((label >= logs.shape[1]).any()):
            raise ValueError("a classifier learns from labels, and some were dropped; train it with drop_label=0.0")
        return Terms(F.nll_loss(logs.float(), label, reduction="none"))
