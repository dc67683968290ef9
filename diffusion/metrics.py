"""How good samples are: what the shipped classifier reads in digits that were asked for."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import binomtest
from torch import Tensor

from diffusion.denoiser import Denoiser
from diffusion.networks.classifier import classifier
from diffusion.sampling import Samples, sample


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Of n digits, `right` were read as the class asked for.

    accuracy     right / n
    interval     95%, Wilson's
    by_class     the same share for each class, (classes,)
    nfe, seconds network evaluations a digit, their mean where it is not the same for all, and seconds for all
    """

    n: int
    right: int
    interval: tuple[float, float]
    by_class: np.ndarray
    nfe: float
    seconds: float

    @property
    def accuracy(self) -> float:
        """right / n."""
        return self.right / self.n

    def __str__(self) -> str:
        low, high = self.interval
        classes = "  ".join(f"{k}: {v:.3f}" for k, v in enumerate(self.by_class))
        return (f"{self.right} of {self.n} digits read as the class asked for: {self.accuracy:.4f} "
                f"(95% interval {low:.4f} to {high:.4f}), {self.nfe:g} network evaluations each, {self.seconds:.1f} s\n"
                f"by class  {classes}")


def evaluate(denoiser: Denoiser, n: int = 1000, **options) -> Evaluation:
    """Sample n digits, the classes in turn, and have the shipped classifier read them; `options` go to `sample`.

    Raises ValueError for an n below the number of classes, or a denoiser of other pictures than 28 x 28 grey digits.

    >>> from diffusion.checkpoint import load
    >>> evaluate(load(), n=10, steps=2, seed=0).n
    10
    """
    if n < 10:
        raise ValueError(f"evaluation needs at least one digit of each of the 10 classes, got n={n}")
    return judge(sample(denoiser, n, label=torch.arange(n) % 10, **options))


def judge(samples: Samples) -> Evaluation:
    """What the shipped classifier reads in samples drawn with labels."""
    if samples.label is None:
        raise ValueError("these samples were drawn without labels, so no class was asked for; sample with label=")
    asked, read = samples.label.cpu(), reading(samples.samples)
    right = asked == read
    by_class = np.array([float(right[asked == k].double().mean()) if (asked == k).any() else np.nan for k in range(10)])
    low, high = binomtest(int(right.sum()), len(right)).proportion_ci(0.95, method="wilson")
    nfe = float(torch.as_tensor(samples.nfe, dtype=torch.float64).mean())
    return Evaluation(len(right), int(right.sum()), (float(low), float(high)), by_class, nfe, samples.seconds)


@torch.inference_mode()
def reading(images: Tensor, batch: int = 1000) -> Tensor:
    """The class that the shipped classifier reads in each image, (n,)."""
    net = classifier()
    return torch.cat([net(part.float()).argmax(1) for part in images.split(batch)])
