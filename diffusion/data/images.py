"""Labelled images of bytes in memory.

An image of bytes u in {0, ..., 255} is seen by every model as x = u / 127.5 - 1 in [-1, 1], so that 0 is -1 and 255 is
1 exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike

from diffusion.data.labelled import check_labels, picked


@dataclass(frozen=True, eq=False)
class Images:
    """Images of bytes with a class each.

    images: uint8, (n, height, width) or (n, channels, height, width)
    labels: integers in 0, ..., len(classes) - 1, (n,)
    classes: what label k is called
    name: of the data, for tables and checkpoints

    Raises ValueError where the arrays don't fit together or two classes have one name.

    >>> data = Images(np.zeros((3, 28, 28), np.uint8), np.array([1, 0, 1]), ("a", "b"), "blank")
    >>> len(data), data.shape, data.tensor().shape, data.tensor().min().item()
    (3, (1, 28, 28), torch.Size([3, 1, 28, 28]), -1.0)
    >>> data.subset([1]).labels
    array([0])
    """

    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    name: str

    def __post_init__(self) -> None:
        if self.images.dtype != np.uint8 or self.images.ndim not in (3, 4):
            raise ValueError(f"{self.name}: images are {self.images.dtype} of shape {self.images.shape}; they must be "
                             "uint8 of shape (n, height, width) or (n, channels, height, width). Convert them to "
                             "0..255, or take Points for floats.")
        check_labels(self.name, self.labels, self.classes, len(self), "image")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, ...]:
        """(channels, height, width) of one image; grey has one channel."""
        return self.images.shape[1:] if self.images.ndim == 4 else (1, *self.images.shape[1:])

    def tensor(self) -> torch.Tensor:
        """x = u / 127.5 - 1, float32 in [-1, 1], (n, channels, height, width)."""
        x = torch.from_numpy(self.images.astype(np.float32))
        return x.div_(127.5).sub_(1.0).reshape(len(self), *self.shape)

    def subset(self, which: int | ArrayLike) -> Images:
        """The first `which` images if that is a number, else those at the indices (or the mask) `which`."""
        index = picked(self.name, which, len(self), "image")
        return Images(self.images[index], self.labels[index], self.classes, self.name)
