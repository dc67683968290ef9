"""Pictures of pictures: grids and strips."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from torch import Tensor


def grid(samples: Tensor, columns: int | None = None, ax: Axes | None = None, rows: list[str] | None = None,
         titles: list[str] | None = None) -> Axes:
    """Pictures (n, channels, height, width) in [-1, 1] as one mosaic, `columns` to a row (by default about square).

    rows, titles   names beside the rows and above the columns. Returns the Axes.

    >>> import torch
    >>> grid(torch.zeros(12, 1, 28, 28), columns=4).images[0].get_array().shape
    (90, 120)
    """
    if not len(samples):
        raise ValueError("there is no picture to draw")
    if samples.ndim != 4 or samples.shape[1] not in (1, 3):
        raise ValueError(f"pictures must be (n, 1 or 3 channels, height, width), got {tuple(samples.shape)}")
    n, channels, height, width = samples.shape
    columns = columns or int(np.ceil(np.sqrt(n)))
    down = -(-n // columns)
    cell = np.ones((down * columns, channels, height + 2, width + 2))
    cell[:n, :, 1:-1, 1:-1] = (samples.detach().cpu().clamp(-1, 1).numpy() + 1) / 2
    cell[n:] = 1.0
    mosaic = cell.reshape(down, columns, channels, height + 2, width + 2).transpose(0, 3, 1, 4, 2)
    mosaic = mosaic.reshape(down * (height + 2), columns * (width + 2), channels)
    ax = ax or plt.figure(figsize=(0.6 * columns + (0.6 if rows else 0), 0.6 * down + (0.5 if titles else 0)),
                          layout="constrained").add_subplot()
    ax.imshow(mosaic.squeeze(-1) if channels == 1 else mosaic, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    ax.set_frame_on(False)
    ax.set_yticks([(i + 0.5) * (height + 2) for i in range(down)] if rows else [], rows or [])
    ax.set_xticks([(i + 0.5) * (width + 2) for i in range(columns)] if titles else [], titles or [], fontsize=8)
    ax.tick_params(length=0, top=bool(titles), labeltop=bool(titles), bottom=False, labelbottom=False)
    return ax
