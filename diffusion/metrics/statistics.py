"""Mean and covariance of features, all that the Frechet distance takes of a big set: made once, kept in a file.

    m = 1/n sum_i z_i,   S = 1/(n - 1) sum_i (z_i - m)(z_i - m)^T;   of two sets together (Chan, Golub & LeVeque 1979):
    n = n_1 + n_2,   m = m_1 + (m_2 - m_1) n_2 / n,   M = M_1 + M_2 + (m_2 - m_1)(m_2 - m_1)^T n_1 n_2 / n,
    M = (n - 1) S

One .safetensors file, with names, digests and floors in its header; nothing is unpickled.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from diffusion.metrics.score import Score

SHIPPED = Path(__file__).parents[1] / "weights" / "mnist-statistics.safetensors"
BLOCK = 2**22  # numbers in float64 at once


@dataclass(frozen=True, eq=False)
class Statistics:
    """Of n features: mean (d,) and covariance (d, d), float64.

    extractor   name and digest of what saw the images
    data        the images' name
    source      what they were made from: a digest of the images
    floors      of real images of another set against these, by score: rows (n, value, low, high), n rising

    `a + b` are those of both sets. Raises ValueError for fewer than two features, or of different extractors.
    """

    n: int
    mean: np.ndarray
    covariance: np.ndarray
    extractor: str
    data: str
    source: str = ""
    floors: Mapping[str, list[list[float]]] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, values: np.ndarray, extractor: str, data: str, source: str = "") -> Statistics:
        """Of features (n, d), taken to float64 in blocks."""
        n, d = values.shape
        if n < 2:
            raise ValueError(f"a covariance takes two images or more, got {n}")
        size = max(1, BLOCK // d)
        parts = [values[k:k + size] for k in range(0, n, size)]
        mean = sum(part.sum(0, dtype=np.float64) for part in parts) / n
        centred = (part - mean for part in parts)
        return cls(n, mean, sum(c.T @ c for c in centred) / (n - 1), extractor, data, source)

    def __add__(self, other: Statistics) -> Statistics:
        same_extractor(self, other)
        n, apart = self.n + other.n, other.mean - self.mean
        total = (self.n - 1) * self.covariance + (other.n - 1) * other.covariance
        total = total + np.outer(apart, apart) * (self.n * other.n / n)
        names = " + ".join(dict.fromkeys([self.data, other.data]))
        return Statistics(n, self.mean + apart * (other.n / n), total / (n - 1), self.extractor, names)

    @property
    def told(self) -> str:
        """The reference's name in scores."""
        return f"{self.data or 'unnamed'}, {self.n:,}"

    def floor(self, name: str, n: int) -> Score | None:
        """That of a score at n, between the rows along 1/n, which is what the bias of a distance goes like.

        Beyond the last row the last row's, and its n says so; None below the first, or for a score that has none.
        """
        table = np.asarray(self.floors.get(name, []), dtype=np.float64)
        if not len(table) or n < table[0, 0]:
            return None
        at = int(min(n, table[-1, 0]))
        value, low, high = (float(np.interp(1 / at, 1 / table[::-1, 0], c)) for c in table[::-1, 1:].T)
        return Score(name, value, low, high, at, self.told, self.extractor)

    def save(self, path: str | Path) -> Path:
        """Write them for `load`: to a neighbour file first, then renamed."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        told = {k: getattr(self, k) for k in ("n", "extractor", "data", "source")} | {"floors": dict(self.floors)}
        save_file({"mean": self.mean, "covariance": self.covariance}, part, metadata={"statistics": json.dumps(told)})
        os.replace(part, path)
        return path

    @classmethod
    def load(cls, path: str | Path) -> Statistics:
        """Those that `save` wrote. Raises FileNotFoundError, or ValueError for a file of another kind.

        >>> Statistics.load(SHIPPED).n
        60000
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f"no statistics at {path}; write them with .save")
        try:
            with safe_open(path, framework="np") as file:
                told = json.loads((file.metadata() or {})["statistics"])
                mean, covariance = (file.get_tensor(k).astype(np.float64) for k in ("mean", "covariance"))
            if mean.ndim != 1 or covariance.shape != 2 * mean.shape or not np.isfinite(covariance).all():
                raise ValueError(f"mean {mean.shape} and covariance {covariance.shape} do not fit")
            return cls(mean=mean, covariance=covariance, **told)
        except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
            raise ValueError(f"{path} does not hold whole statistics of features ({error}); write them again") from None


@cache
def shipped() -> Statistics:
    """Of MNIST's 60,000 training images, as the extractor `digits` sees them; its floors are of the test images."""
    return Statistics.load(SHIPPED)


def same_extractor(x, y) -> None:
    """Raise ValueError for what two extractors saw."""
    if x.extractor != y.extractor:
        raise ValueError(f"features of different extractors do not compare: {x.extractor!r} and {y.extractor!r}; take "
                         "both sets through one of them")
