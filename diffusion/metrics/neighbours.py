"""Precision and recall by nearest neighbours (Kynkaanniemi et al. 2019, eqs. 1 and 2).

    M(Y) = union over y of balls about y, each up to y's k-th nearest neighbour in Y
    precision = the share of samples within M(reference),   recall = the share of the reference within M(samples)

k = 3, as there. Both sets are best of one size: balls shrink as a set grows, and floors tell what that does. Precision
is a share of independent samples, of Wilson's interval. In recall it is the balls that are sampled, and its interval
comes of leaving out one of ten parts of the samples at a time (Shao & Wu 1989): var = 9/10 sum_g (R_g - mean)^2, with
Student's quantile of nine degrees of freedom. It errs to the wide side, 1.1 to 2 times as far as samples differ.
"""

import numpy as np
import torch
from scipy.special import stdtrit
from torch import Tensor

from diffusion.metrics.extractor import Features, check_features
from diffusion.metrics.score import LEVEL, Score, share
from diffusion.metrics.statistics import same_extractor

K = 3
PARTS = 10  # of the samples, of which one is left out
SPARE = 3  # times k neighbours that are kept, should some be of the part that is left out
TABLE = 2**24  # distances at once


def precision(x: Features, y: Features, k: int = K) -> Score:
    """The share of samples x that lie among the reference y.

    Raises ValueError for features of different extractors, or sets of no more than k.

    >>> y = Features(np.array([[0.0], [1.0], [2.0]]), None, "mine", "toy")
    >>> x = Features(np.array([[1.5], [2.9], [3.5], [9.0]]), None, "mine", "toy")
    >>> precision(x, y, k=1).value, recall(y, x, k=1).value    # the balls of y end at -1 and 3, those of x overlap
    (0.5, 0.5)
    """
    _fit(x, y, k)
    found = _inside(_tensor(x), _tensor(y), _neighbours(_tensor(y), k)[0][None, :, -1])
    return share("precision", int(found[0].sum()), len(x), y.told, x.extractor)


def recall(x: Features, y: Features, k: int = K) -> Score:
    """The share of the reference y that lies among the samples x.

    Raises ValueError for features of different extractors, or sets of no more than k.
    """
    _fit(x, y, k)
    a = _tensor(x)
    distance, index = _neighbours(a, min(len(x) - 1, (1 + SPARE) * k))
    part = torch.arange(len(x)) % min(PARTS, max(2, len(x) // (k + 1)))
    parts = int(part.max()) + 1
    radii = [distance[:, k - 1], *(_without(distance, part[index] != g, k).where(part != g, -1.0)
                                   for g in range(parts))]
    value, *again = _inside(_tensor(y), a, torch.stack(radii)).double().mean(1).tolist()
    stderr = ((parts - 1) / parts * np.square(np.array(again) - np.mean(again)).sum()) ** 0.5
    half = float(stdtrit(parts - 1, (1 + LEVEL) / 2)) * stderr
    return Score("recall", value, max(0.0, value - half), min(1.0, value + half), len(x), y.told, x.extractor)


def _neighbours(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Distances and numbers of the k nearest others, nearest first, (n, k)."""
    rows = max(1, TABLE // len(x))
    found = []
    for start in range(0, len(x), rows):
        table = torch.cdist(x[start:start + rows], x)
        here = torch.arange(len(table))
        table[here, start + here] = torch.inf
        found.append(table.topk(k, largest=False))
    return torch.cat([f.values for f in found]), torch.cat([f.indices for f in found])


def _without(distance: Tensor, stays: Tensor, k: int) -> Tensor:
    """The distance to the k-th nearest of those that stay, (n,); the farthest kept where so many do not."""
    last = (stays.cumsum(1) >= k).int()
    at = torch.where(last.any(1), last.argmax(1), distance.shape[1] - 1)
    return distance.gather(1, at[:, None])[:, 0]


def _inside(y: Tensor, x: Tensor, radii: Tensor) -> Tensor:
    """Whether each y lies in one of the balls about x, (sets of radii, m); radii (sets, n), below 0 for no ball."""
    tables = (torch.cdist(part, x) for part in y.split(max(1, TABLE // len(x))))
    return torch.cat([torch.stack([(table <= r).any(1) for r in radii]) for table in tables], dim=1)


def _tensor(x: Features) -> Tensor:
    return torch.from_numpy(np.asarray(x.values, dtype=np.float64))


def _fit(x: Features, y: Features, k: int) -> None:
    check_features(x, y)
    same_extractor(x, y)
    if k < 1 or len(x) <= k or len(y) <= k:
        raise ValueError(f"the {k}-th nearest neighbour takes more than {k} images of either set, and k >= 1; got "
                         f"{len(x)} and {len(y)}")
