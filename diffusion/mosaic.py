"""Pictures of any number set beside each other in one array, a white pixel around each."""

import math

import numpy as np
import torch
from torch import Tensor

from sdekit.noise import whole


def mosaic(samples: Tensor | np.ndarray, columns: int | None = None) -> np.ndarray:
    """Pictures (n, channels, height, width) in [-1, 1], `columns` to a row, as one of numbers in [0, 1].

    Returns (down (height + 2), columns (width + 2), channels); if nothing is said about as many down as across, and no
    place left over where at most twice as many across avoid it. Raises TypeError for what is no array of numbers,
    ValueError for samples that are no pictures, and for pictures of which all is NaN.

    >>> mosaic(torch.zeros(12, 1, 28, 28), columns=4).shape
    (90, 120, 1)
    """
    try:
        samples = torch.as_tensor(samples)
    except (TypeError, ValueError, RuntimeError) as wrong:
        raise TypeError("pictures must be a tensor or an array (n, channels, height, width), got "
                        f"{type(samples).__name__}; of what `sample` returns, give .samples") from wrong
    if not samples.numel():
        raise ValueError("there is no picture to draw")
    if samples.ndim != 4 or samples.shape[1] not in (1, 3):
        raise ValueError(f"pictures must be (n, 1 or 3 channels, height, width), got {tuple(samples.shape)}")
    if samples.isnan().all():
        raise ValueError(f"every number of these {len(samples)} pictures is NaN, so there is nothing to draw; look for "
                         "the first step of what made them that is not finite")
    n, channels, height, width = samples.shape
    columns = _about_square(n) if columns is None else whole("columns", columns, 2**31, start=1)
    down = -(-n // columns)
    cell = np.ones((down * columns, channels, height + 2, width + 2))
    cell[:n, :, 1:-1, 1:-1] = (samples.detach().cpu().clamp(-1, 1).numpy() + 1) / 2
    cell = cell.reshape(down, columns, channels, height + 2, width + 2).transpose(0, 3, 1, 4, 2)
    return cell.reshape(down * (height + 2), columns * (width + 2), channels)


def _about_square(n: int) -> int:
    least = math.isqrt(n - 1) + 1
    return next((k for k in range(least, math.isqrt(4 * n) + 1) if n % k == 0), least)
