"""Labelled samples of floats in memory: points of the plane, or arrays of any other shape; models see x as it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike

from diffusion.data.labelled import check_finite, check_labels, picked


@dataclass(frozen=True, eq=False)
class Points:
    """Samples of floats with a class each; the same interface as `Images`.

    x: float32, (n, *shape), all of it finite
    labels: integers in 0, ..., len(classes) - 1, (n,)
    classes: what label k is called
    name: of the data, for tables and checkpoints

    Raises ValueError where the arrays don't fit together, a number is not finite or two classes have one name.

    >>> data = Points(np.zeros((3, 2), np.float32), np.array([1, 0, 1]), ("a", "b"), "nothing")
    >>> len(data), data.shape, data.subset(1).tensor()
    (3, (2,), tensor([[0., 0.]]))
    """

    x: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    name: str

    def __post_init__(self) -> None:
        if self.x.dtype != np.float32 or self.x.ndim < 2:
            raise ValueError(f"{self.name}: x is {self.x.dtype} of shape {self.x.shape}; it must be float32 of shape "
                             "(n, *shape), such as (n, 2) for points of the plane. Convert it with "
                             "x.astype(np.float32), and numbers with x[:, None].")
        check_finite(self.name, self.x)
        check_labels(self.name, self.labels, self.classes, len(self), "point")

    def __len__(self) -> int:
        return len(self.x)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample."""
        return self.x.shape[1:]

    def tensor(self) -> torch.Tensor:
        """A copy of x, float32 (n, *shape)."""
        return torch.from_numpy(self.x.copy())

    def subset(self, which: int | ArrayLike) -> Points:
        """The first `which` points if that is a number, else those at the indices (or the mask) `which`."""
        index = picked(self.name, which, len(self), "point")
        return Points(self.x[index], self.labels[index], self.classes, self.name)
