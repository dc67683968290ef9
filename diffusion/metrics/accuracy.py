"""Class accuracy: the share of samples that an extractor reads as the class that was asked for, with Wilson's interval.

    z = 1.96,   p = right / n,   interval: (p + z^2 / 2n +- z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)   (1927)
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from diffusion.metrics.extractor import digits
from diffusion.metrics.score import share
from diffusion.sampling import Samples

DIGITS = tuple("0123456789")


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Of n samples, `right` were read as the class asked for; print it.

    by_class        the share for each class, (classes,), NaN for one that was not asked for
    nfe, seconds    network evaluations a sample, their mean where it is not the same for all, and seconds for all;
                    None where they are not known
    classes         what they are called
    """

    n: int
    right: int
    by_class: np.ndarray
    nfe: float | None = None
    seconds: float | None = None
    classes: tuple[str, ...] = DIGITS

    @property
    def accuracy(self) -> float:
        """right / n."""
        return self.right / self.n

    @cached_property
    def interval(self) -> tuple[float, float]:
        """95%, Wilson's."""
        score = share("accuracy", self.right, self.n, "", "")
        return score.low, score.high

    def __str__(self) -> str:
        low, high = self.interval
        classes = "  ".join(f"{k}: {v:.3f}" for k, v in zip(self.classes, self.by_class))
        cost = "" if self.nfe is None else f", {self.nfe:g} network evaluations each, {self.seconds:.1f} s"
        return (f"{self.right} of {self.n} {'digits' if self.classes == DIGITS else 'images'} read as the class asked "
                f"for: {self.accuracy:.4f} (95% interval {low:.4f} to {high:.4f}){cost}\nby class  {classes}")


def judge(samples: Samples) -> Evaluation:
    """What the shipped classifier reads in samples of digits, drawn with labels.

    Raises ValueError for samples without labels, or of other images than 28 x 28 grey ones.
    """
    if samples.label is None:
        raise ValueError("these samples were drawn without labels, so no class was asked for; sample with label=")
    nfe = float(torch.as_tensor(samples.nfe, dtype=torch.float64).mean())
    return judged(samples.label.cpu().numpy(), reading(samples.samples).numpy(), DIGITS, nfe, samples.seconds)


def judged(asked: np.ndarray, read: np.ndarray, classes: tuple[str, ...], nfe: float | None = None,
           seconds: float | None = None) -> Evaluation:
    """Of classes asked for, (n,), and read, (n,)."""
    right = asked == read
    by_class = np.array([right[asked == k].mean() if (asked == k).any() else np.nan for k in range(len(classes))])
    return Evaluation(len(right), int(right.sum()), by_class, nfe, seconds, classes)


def reading(images: Tensor) -> Tensor:
    """The class that the shipped classifier reads in each image, (n,)."""
    found = digits()(images).probabilities
    assert found is not None
    return torch.from_numpy(found.argmax(1))
