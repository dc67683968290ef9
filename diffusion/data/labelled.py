"""What training, grading and plots ask of a data set, and all that they ask: the protocol `Data`.

    len(data) = n       data.shape = the shape of one sample       data.tensor() = x, float32 (n, *shape)
    data.labels = y, integers (n,), y_i in {0, ..., K - 1}         data.classes = the K names

Data without classes of their own have K = 1: one name, every label 0.
"""

from __future__ import annotations

from collections import Counter
from typing import Protocol, Self, runtime_checkable

import numpy as np
import torch
from numpy.typing import ArrayLike

SPLITS = ("train", "test")


@runtime_checkable
class Data(Protocol):
    """Samples with a class each; `Images` and `Points` are such, and a record of your own may be.

    >>> from diffusion.data import moons
    >>> isinstance(moons(10), Data)
    True
    """

    @property
    def name(self) -> str:
        """Of the data, for tables and checkpoints."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """What label k is called."""
        ...

    @property
    def labels(self) -> np.ndarray:
        """Integers in 0, ..., len(classes) - 1, (n,)."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample: (channels, height, width) of a picture, (2,) of a point in the plane."""
        ...

    def __len__(self) -> int: ...

    def tensor(self) -> torch.Tensor:
        """float32, (n, *shape); of pictures in [-1, 1]."""
        ...

    def subset(self, which: int | ArrayLike) -> Self:
        """The first `which` samples if that is a number, else those at the indices (or the mask) `which`."""
        ...


def check_labels(name: str, labels: np.ndarray, classes: tuple[str, ...], n: int, noun: str) -> None:
    """Raise ValueError unless there are n labels in 0, ..., len(classes) - 1 and no two classes of one name.

    `noun` is what one sample is called.
    """
    if not np.issubdtype(labels.dtype, np.integer) or labels.ndim != 1:
        raise ValueError(f"{name}: labels are {labels.dtype} of shape {labels.shape}; they must be integers of shape "
                         f"(n,), one class index for each {noun}.")
    if n != len(labels):
        raise ValueError(f"{name}: {n} {noun}s but {len(labels)} labels; each {noun} needs one label. Take both from "
                         "the same split.")
    twice = [each for each, count in Counter(classes).items() if count > 1]
    if twice:
        raise ValueError(f"{name}: {len(classes)} classes, of which more than one is called {twice[0]!r}; each needs a "
                         "name of its own. Rename one, or give their samples one label.")
    outside = (labels < 0) | (labels >= len(classes))
    if outside.any():
        first = int(outside.argmax())
        raise ValueError(f"{name}: label {labels[first]} at index {first} is outside 0..{len(classes) - 1}, the "
                         f"classes {classes}. Name that class, or drop it.")


def check_finite(name: str, x: np.ndarray) -> None:
    """Raise ValueError naming the first sample, x (n, *shape), that has a NaN or an infinite value."""
    finite = np.isfinite(x).all(axis=tuple(range(1, x.ndim)))
    if not finite.all():
        first, count = int(finite.argmin()), (~finite).sum()
        raise ValueError(f"{name}: sample {first} is not finite ({count} of {len(x)} are not). Drop those, with their "
                         "labels: keep = np.isfinite(x.reshape(len(x), -1)).all(axis=1).")


def check_split(split: str) -> None:
    """Raise ValueError for a split that is neither "train" nor "test"."""
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}; it must be one of {', '.join(map(repr, SPLITS))}.")


def picked(name: str, which: int | ArrayLike, n: int, noun: str) -> np.ndarray:
    """The indices that `which` stands for: the first so many of n, or indices, or a mask.

    Raises TypeError for what is none of these, ValueError for more than n, IndexError for indices or a mask beyond n.
    """
    if isinstance(which, (int, np.integer)) and not isinstance(which, bool):
        if not 0 <= which <= n:
            raise ValueError(f"{name}: subset of the first {which} {noun}s, but there are {n}; ask for 0 to {n}, or "
                             "pass indices.")
        which = np.arange(which)
    index = np.asarray(which)
    if index.shape == (0,):
        return index.astype(np.intp)  # np.asarray([]) is float64, which does not index
    if index.ndim != 1 or index.dtype.kind not in "iub":
        raise TypeError(f"{name}: a subset is of a whole number, the first so many; of indices; or of a mask (n,); got "
                        f"{which!r}.")
    if index.dtype.kind == "b" and len(index) != n:
        raise IndexError(f"{name}: a mask of {len(index)} for {n} {noun}s; it needs one truth value for each.")
    if index.dtype.kind != "b" and not -n <= index.min() <= index.max() < n:
        raise IndexError(f"{name}: a subset of the indices {index.min()} to {index.max()}, but there are {n} {noun}s; "
                         f"indices are 0 to {n - 1}, or from -{n} to -1 counted from the end.")
    return index
