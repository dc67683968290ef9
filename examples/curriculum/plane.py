"""Laws in the plane, whose denoisers, classifiers and densities are exact; and how far samples are from them."""

import math
from functools import cache

import numpy as np
import torch
from matplotlib.axes import Axes
from scipy.special import kolmogi, ndtr
from torch import Tensor

import diffusion as df
import sdekit as sk
from diffusion.exact import GaussianMixture
from diffusion.problems import mixture
from examples.curriculum.rows import K
from sdekit.gaussian import Gaussian, Mixture

LATER = " (exact)"
EPS, ROUNDING = np.finfo(float).eps, 1e-10
ANGLES = np.arange(8) * math.pi / 8  # of the directions in which samples and laws are compared
WIDE = mixture()  # three overlapping Gaussians: classes A, B, C
NARROW = GaussianMixture([[0.2, 1.3], [-1.3, -0.4], [1.0, -0.8]], weights=[0.6, 0.3, 0.1], stds=[0.2] * 3)


def tensor(x) -> Tensor:
    """In float64."""
    return torch.as_tensor(np.ascontiguousarray(x), dtype=torch.float64)


def normal(seed: int, n: int, *shape: int) -> Tensor:
    """N(0, I), (n, *shape)."""
    return tensor(sk.normals(seed, 0, n, 1, math.prod(shape))).reshape(n, *shape)


def ends(model, n: int, method: df.Sampler, steps: int | None = None, **options) -> Tensor:
    """Samples, (n, ...), in float64, by 60 steps where neither their number nor a grid is given."""
    if "grid" not in options and steps is None:
        steps = 60
    options |= {"batch": n, "dtype": torch.float64, "progress": False}
    return df.sample(model, n, method=method, steps=steps, **options).samples


@cache
def law(data: GaussianMixture) -> Mixture:
    """The mixture, one component a class, as sdekit has it: at alpha = 0 D and C are the mean and Cov of a class."""
    w = data.prior if data.prior is not None else torch.ones(1)
    x, every = torch.zeros(len(w), 2, dtype=torch.float64), torch.arange(len(w))
    each = zip(data(x, 0.0, 1.0, every).numpy(), data.covariance(x, 0.0, 1.0, every).numpy())
    return Mixture(w.numpy(), [Gaussian(m, S) for m, S in each])


def excess(x: Tensor, exact: Gaussian | Mixture, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Samples (n, 2) along a direction, sorted, and F_n - F there, F_n in the middle of its jumps."""
    u = np.array([math.cos(angle), math.sin(angle)])
    along, shadow = np.sort(x.numpy() @ u), u[None] @ exact
    F = (shadow.weights @ [part.cdf(along) for part in shadow.components] if isinstance(shadow, Mixture)
         else shadow.cdf(along))
    return along, (np.arange(len(along)) + 0.5) / len(along) - F


def distance(x: Tensor, exact: Gaussian | Mixture) -> float:
    """Kolmogorov's sup |F_n - F|, the largest of eight directions."""
    return max(float(np.abs(excess(x, exact, angle)[1]).max()) for angle in ANGLES) + 0.5 / len(x)


def allowed(n: int) -> float:
    """The distance that n true samples exceed as seldom as one number is K standard errors off."""
    return float(kolmogi(2 * ndtr(-K) / len(ANGLES))) / n**0.5


def contours(ax: Axes, data: GaussianMixture, levels: int = 4, reach: float = 3.0, label: int | None = None,
             **how) -> Axes:
    """The density of the data, or of one class."""
    at = torch.linspace(-reach, reach, 121, dtype=torch.float64)
    p = data.log_prob(torch.cartesian_prod(at, at), 1.0, 0.0, label).exp().reshape(121, 121).T
    ax.contour(at, at, p, levels, **{"colors": "0.6", "linewidths": 0.7, **how})
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    return ax


def dots(ax: Axes, x: Tensor, labels: Tensor) -> None:
    """Samples (n, 2) in the colours of their classes."""
    ax.scatter(*x.T.numpy(), s=1.5, c=[f"C{c}" for c in labels], linewidths=0)
