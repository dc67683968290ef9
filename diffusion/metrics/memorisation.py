"""Whether a model gives back what it was trained on: distances to the training set, beside held-out images' own.

    d(x) = min_i |x - y_i| / sqrt(d),   copying = P(d(x) < d(h)) + P(d(x) = d(h)) / 2,   x samples, h held-out images

y are the training images, distances are of pixels in [-1, 1]. Copying is 1/2 for samples of the law of held-out images,
and 1 for copies (Meehan, Chaudhuri & Dasgupta 2020). Smooth pictures without a stray stroke lie near others, too: a
value above 1/2 is a reason to look at the nearest pairs, not a verdict. It is Mann & Whitney's statistic, and its error
is that of its placements, over both sets (DeLong, DeLong & Clarke-Pearson 1988).

A denoiser that has learnt its data by heart is the ideal one of the training set, D* = E[y | y + sigma eps]
(`diffusion.exact.Empirical`): of held-out images, noised, it gives back training images. `to_ideal` tells how far a
denoiser is from that, beside how far each of the two is from the truth.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

import sdekit as sk
from diffusion.data import Images
from diffusion.denoiser import Denoiser
from diffusion.exact import Empirical
from diffusion.metrics.extractor import Extractor, Features, pictures, pixels
from diffusion.metrics.score import WIDTH, Score, smooth
from sdekit.noise import check_seed

NOISE = 0x1DEA  # the stream of the noise in `to_ideal`
TABLE = 2**24  # distances at once
CLOSE = 0.01  # of held-out images are as near as that


@dataclass(frozen=True, eq=False)
class Memorisation:
    """Distances to the nearest training image; print it.

    copying            P(a sample is nearer than a held-out image), 1/2 without memorising
    distance, index    of each sample, and which training image it is, (n,)
    held_out           distances of held-out images, (m,)
    """

    copying: Score
    distance: np.ndarray = field(repr=False)
    index: np.ndarray = field(repr=False)
    held_out: np.ndarray = field(repr=False)

    @property
    def close(self) -> float:
        """The share of samples that are nearer than the nearest 1% of held-out images."""
        return float(np.mean(self.distance < np.quantile(self.held_out, CLOSE)))

    def __str__(self) -> str:
        return (f"{self.copying}, 0.5 without memorising; distances: median {np.median(self.distance):.4f}, of "
                f"held-out images {np.median(self.held_out):.4f};\n{100 * self.close:.1f}% of samples are nearer than "
                f"the nearest {100 * CLOSE:g}% of held-out images")


def memorisation(samples: Images | Tensor, data: Images | Tensor, held_out: Images | Tensor,
                 extractor: Extractor | None = None) -> Memorisation:
    """Whether samples lie nearer to the training data than held-out images of the same law do.

    samples, data, held_out    `Images`, or (n, channels, height, width) in [-1, 1]
    extractor                  of features in which distances are taken, pixels if nothing is said

    Raises as the extractor does, and ValueError for fewer than two samples or held-out images, or where more than half
    of the held-out images are among the data.

    >>> y = torch.linspace(-1, 1, 6).reshape(6, 1, 1, 1)
    >>> held = torch.tensor([-0.9, 0.1, 0.7]).reshape(3, 1, 1, 1)
    >>> found = memorisation(y[[2, 4]], y, held)
    >>> found.copying.value, found.index, found.close
    (1.0, array([2, 4]), 1.0)
    """
    see = extractor or pixels(pictures(samples, slice(0, 1)).shape[1:])
    x, y, h = see(samples), see(data), see(held_out)
    if len(x) < 2 or len(h) < 2:
        raise ValueError(f"copying takes two samples and two held-out images or more, got {len(x)} and {len(h)}")
    check_apart(data, held_out)
    distance, index = nearest(x, y)
    others, _ = nearest(h, y)
    return Memorisation(_copying(distance, others, y), distance, index, others)


def check_apart(data: Images | Tensor, held_out: Images | Tensor) -> None:
    """Raise ValueError where more than half of the held-out images are training images, every pixel the same.

    Data may hold a few twice; it takes that many for them to be the same images.
    """
    known = set(_prints(data))
    found = sum(each in known for each in _prints(held_out))
    if 2 * found > len(held_out):
        raise ValueError(f"{found} of {len(held_out)} held-out images are among the {len(data)} training images; give "
                         "held_out= images of the same law that were not trained on, such as another split")


def _prints(images: Images | Tensor) -> Iterator[int]:
    """A number for each image, the same for the same pixels."""
    for start in range(0, len(images), 500):
        x = pictures(images, slice(start, start + 500)).detach().cpu() + 0.0  # -0.0 is 0.0 too
        yield from (hash(each.tobytes()) for each in x.numpy())


def nearest(x: Features, y: Features) -> tuple[np.ndarray, np.ndarray]:
    """Of each x the distance to its nearest y, over sqrt(d), and that y's number."""
    a, b = torch.from_numpy(x.values), torch.from_numpy(y.values)
    index = torch.cat([torch.cdist(part, b).argmin(1) for part in a.split(max(1, TABLE // len(b)))])
    # In float32 the product form of a distance loses small ones; of the pair that it finds all digits are right
    apart = torch.cat([(p.double() - b[i].double()).square().mean(1) for p, i in zip(a.split(500), index.split(500))])
    return apart.sqrt().numpy(), index.numpy()


def _copying(x: np.ndarray, h: np.ndarray, y: Features) -> Score:
    """The share of pairs in which x is the lesser, ties half."""
    above, below = 1 - _placed(x, h), _placed(h, x)
    value, stderr = float(above.mean()), float(np.hypot(*(np.std(v, ddof=1) / len(v) ** 0.5 for v in (above, below))))
    low, high = max(0.0, value - WIDTH * stderr), min(1.0, value + WIDTH * stderr)
    return Score("copying", value, low, high, len(x), y.told, y.extractor)


def _placed(x: np.ndarray, among: np.ndarray) -> np.ndarray:
    """The share of `among` below each x, ties half."""
    ranked = np.sort(among)
    return (np.searchsorted(ranked, x, "left") + np.searchsorted(ranked, x, "right")) / (2 * len(among))


class Ideal(NamedTuple):
    """At one noise level, root mean squares over the pixels of held-out images y: |D - D*|, |D - y| and |D* - y|."""

    sigma: float
    distance: Score
    error: Score
    ideal_error: Score


def to_ideal(denoiser: Denoiser, data: Images | Tensor, held_out: Images | Tensor,
             sigmas: Sequence[float] = (0.2, 0.5, 1.0, 2.0), seed: int = 0) -> list[Ideal]:
    """How far a denoiser is from the ideal one D* of its training data, on held-out images with noise.

    A denoiser that memorised has distance 0, and error = ideal_error; one that learnt more than its data has an error
    below ideal_error, on images that it has not seen. The noise of image i is keyed by (seed, i).

    data        the training images, `Images` or (m, channels, height, width) in [-1, 1]
    held_out    y, others of the same law: some hundred do, for each is compared with all training images

    >>> y = torch.linspace(-1, 1, 6).reshape(6, 1, 1, 1)
    >>> [round(row.distance.value, 4) for row in to_ideal(Empirical(y), y, y[:4] + 0.1, sigmas=(0.1, 1.0))]
    [0.0, 0.0]
    """
    ideal, y = Empirical(pictures(data, slice(None))), pictures(held_out, slice(None)).double()
    if len(y) < 2:
        raise ValueError(f"to_ideal takes two held-out images or more, got {len(y)}")
    eps = torch.from_numpy(np.array(sk.normals(check_seed(seed), NOISE, len(y), 1, y[0].numel()))).reshape(y.shape)
    center = getattr(denoiser, "center", None)
    device = center.device if isinstance(center, Tensor) else "cpu"
    told = f"{getattr(data, 'name', '') or 'unnamed'}, {len(data):,}"

    def size(name: str, off: Tensor) -> Score:
        squares = off.flatten(1).square().mean(1).numpy()
        root = float(squares.mean() ** 0.5)
        return smooth(name, root, squares / (2 * root or 1.0), told, "pixels")

    rows = []
    with torch.no_grad():
        for sigma in sigmas:
            x = y + sigma * eps
            given = torch.cat([denoiser(part.float().to(device), 1.0, sigma).double().cpu() for part in x.split(100)])
            best = ideal(x, 1.0, sigma)
            rows.append(Ideal(float(sigma), size("|D - D*|", given - best), size("|D - y|", given - y),
                              size("|D* - y|", best - y)))
    return rows
