"""How well each noise level is learned, as training goes on, beside what a Gaussian in closed form would do.

For data of covariance C with eigenvalues c_i, the best affine denoiser, that of N(m, C), has the mean square error

    E(l) = (1/d) sum_i c_i l^2 / (c_i + l^2)

at the noise level l = sigma / alpha. A network is worth its cost where its error is below that.
"""

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

EDGES = tuple(0.01 * 10 ** (k / 3) for k in range(14))  # thirds of a decade, from .01 to about 215
FADE = 0.98  # a step's weight in the running means, by the steps since
MOST = 4096  # samples from which the eigenvalues are estimated where a sample has more elements than this


def spectrum(x: Tensor) -> Tensor:
    """The eigenvalues of the covariance of x (n, ...) about its mean, float64, those that can be above nought."""
    flat = x[:: max(1, len(x) // MOST)] if x[0].numel() > MOST else x
    flat = flat.flatten(1).double()
    flat = flat - flat.mean(0)
    gram = flat.T @ flat if flat.shape[0] >= flat.shape[1] else flat @ flat.T
    return torch.linalg.eigvalsh(gram / len(flat)).clamp_min(0)


@dataclass
class Levels:
    """Running means of the error |D - x_0|^2 / d of the noise levels that training visits, in thirds of a decade.

    eigenvalues   of the data's covariance; size is the number of elements, d

    >>> levels = Levels(torch.ones(4).double(), 4)
    >>> levels.add(torch.tensor([1.2, 1.2]), torch.tensor([0.25, 0.35]))
    >>> [(round(row.level, 2), round(row.error, 3), round(row.gaussian, 3)) for row in levels.rows()]
    [(1.2, 0.3, 0.59)]
    """

    eigenvalues: Tensor
    size: int
    weight: np.ndarray = field(default_factory=lambda: np.zeros((len(EDGES) + 1, 4)))  # weight, error, Gaussian's, ln l

    def add(self, level: Tensor, error: Tensor) -> None:
        """A step's levels and errors, (batch,) each."""
        l2 = level.double().cpu()[:, None] ** 2
        gaussian = (self.eigenvalues * l2 / (self.eigenvalues + l2)).sum(1) / self.size
        values = np.stack([np.ones(len(level)), error.double().cpu().numpy(), gaussian.numpy(),
                           level.double().log().cpu().numpy()], axis=1)
        self.weight *= FADE
        np.add.at(self.weight, np.searchsorted(EDGES, level.double().cpu().numpy()), values)

    def rows(self) -> list["Row"]:
        """Of each range of levels that was visited."""
        return [Row(math.exp(l / w), e / w, g / w) for w, e, g, l in self.weight.tolist() if w > 0]

    def __str__(self) -> str:
        lines = [f"{row.level:10.3g} {row.error:12.3g} {row.gaussian:12.3g} {row.share:8.2f}" for row in self.rows()]
        return "\n".join([f"{'level':>10} {'error':>12} {'Gaussian':>12} {'share':>8}", *lines])


@dataclass(frozen=True)
class Row:
    """Of the levels about `level`: the network's mean square error, and the closed-form Gaussian's."""

    level: float
    error: float
    gaussian: float

    @property
    def share(self) -> float:
        """The network's error in parts of the Gaussian's: below 1 what was learned beyond mean and covariance."""
        return self.error / self.gaussian
