"""Pictures of any number set beside each other in one array, a white pixel around each."""

import numpy as np
import torch
from torch import Tensor

from sdekit.noise import whole


def mosaic(samples: Tensor | np.ndarray, columns: int | None = None) -> np.ndarray:
    """Pictures (n, channels, height, width) in [-1, 1], `columns` to a row, as one of numbers in [0, 1].

    Returns (down (height + 2), columns (width + 2), channels); about as many down as across if nothing is said. Raises
    ValueError for samples that are no pictures.

    >>> mosaic(torch.zeros(12, 1, 28, 28), columns=4).shape
    (90, 120, 1)
    """
    samples = torch.as_tensor(samples)
    if not samples.numel():
        raise ValueError("there is no picture to draw")
    if samples.ndim != 4 or samples.shape[1] not in (1, 3):
        raise ValueError(f"pictures must be (n, 1 or 3 channels, height, width), got {tuple(samples.shape)}")
    n, channels, height, width = samples.shape
    columns = int(np.ceil(np.sqrt(n))) if columns is None else whole("columns", columns, 2**31, start=1)
    down = -(-n // columns)
    cell = np.ones((down * columns, channels, height + 2, width + 2))
    cell[:n, :, 1:-1, 1:-1] = (samples.detach().cpu().clamp(-1, 1).numpy() + 1) / 2
    cell = cell.reshape(down, columns, channels, height + 2, width + 2).transpose(0, 3, 1, 4, 2)
    return cell.reshape(down * (height + 2), columns * (width + 2), channels)
