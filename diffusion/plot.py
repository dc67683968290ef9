"""Pictures of pictures, and of what `compare` and `diagnose` measured. All functions return the matplotlib Axes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from torch import Tensor

if TYPE_CHECKING:
    from diffusion.compare import Comparison
    from diffusion.diagnosis import Diagnosis


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


def comparison(found: Comparison, ax: Axes | None = None, *, of: str = "rms", against: str = "nfe") -> Axes:
    """Errors with their 95% intervals against the evaluations of the denoiser, on logarithmic axes, a line a method.

    of       "rms" or "median", the strong error; "sliced" or "mmd", the distance to the reference's samples, beside
             which a dashed line is what two sets of the reference's own have
    against  "nfe", evaluations for a sample; or "seconds", for all of them

    Methods without a strong error are left out of those pictures; values that are not positive out of all.
    """
    from diffusion.compare import MEASURES
    if of not in MEASURES:
        raise ValueError(f"the measures are {', '.join(MEASURES)}; got {of!r}")
    if against not in ("nfe", "seconds"):
        raise ValueError(f'errors are drawn against "nfe" or "seconds", got {against!r}')
    ax = ax or plt.figure(figsize=(7, 5), layout="constrained").add_subplot()
    for k, method in enumerate(dict.fromkeys(row.method for row in found.rows)):
        pairs = [(getattr(row, against), e) for row in found.rows if row.method is method
                 and (e := row.of(of)) is not None and e.value > 0]
        if not pairs:
            continue
        x, e = map(np.array, zip(*pairs))
        low = np.minimum(e[:, 0] - e[:, 1], 0.9 * e[:, 0])  # a bar that would reach nought stops before it
        ax.errorbar(x, e[:, 0], np.abs([low, e[:, 2] - e[:, 0]]), color=f"C{k % 10}", marker="osD^vPX*<>"[k % 10],
                    linewidth=1, elinewidth=1, capsize=2, label=repr(method))
    floor = (found.floor or {}).get(of, 0.0)
    if floor > 0:
        ax.axhline(floor, color="black", linestyle="--", linewidth=1, label="the reference beside itself")
    unit = "" if of == "mmd" else ", in the data's units"
    ax.set(xscale="log", yscale="log", ylabel=MEASURES[of] + unit,
           xlabel="evaluations of the denoiser" if against == "nfe" else f"seconds for {found.info['n']} samples",
           title=f"{found.info['denoiser']}, {found.info['n']} samples")
    if against == "nfe":
        ticks = sorted({row.nfe for row in found.rows})
        ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        ax.set_xticks([], minor=True)
    return _finished(ax)


def diagnosis(found: Diagnosis, ax: Axes | None = None) -> Axes:
    """Score and discretisation errors against the noise level, each as a root mean square, from the noisiest down.

    The score's is that of sigma times it (of eps), without unit; the steps' in the data's units. Dotted: what each
    does to a sample at the end.
    """
    ax = ax or plt.figure(figsize=(7, 5), layout="constrained").add_subplot()
    levels = [e for e in found.levels if e.level.alpha]
    noise = [e.level.noise for e in levels]
    curves = {"score": [e.score.value**0.5 for e in levels],
              "discretisation": [e.discretisation.value for e in levels]}
    names = {"score": "score error times sigma", "discretisation": "discretisation error"}
    for k, (cause, values) in enumerate(curves.items()):
        shown = [(l, v) for l, v in zip(noise, values) if v > 0]
        if shown:
            ax.plot(*zip(*shown), color=f"C{k}", marker="os"[k], linewidth=1, label=names[cause])
    for k, (cause, estimate) in enumerate(found.end.items()):
        if estimate.value > 1e-12:
            ax.axhline(estimate.value, color=f"C{k}", linestyle=":", linewidth=1, label=f"{cause}, at the end")
    ax.set(xscale="log", yscale="log", xlabel="noise level sigma/alpha", ylabel="root mean square",
           title=f"{found.info['method']!r} in {len(found.info['grid'])} steps, {found.info['n']} samples")
    ax.set_xlim(max(noise), min(noise))
    return _finished(ax)


def _finished(ax: Axes) -> Axes:
    ax.grid(alpha=0.25, which="major", linewidth=0.6)
    ax.spines[["top", "right"]].set_visible(False)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(frameon=False)
    return ax
