"""Pictures of pictures, and of what `compare` and `diagnose` measured. All functions return the matplotlib Axes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor

from sdekit.noise import whole

if TYPE_CHECKING:
    from diffusion.compare import Comparison, Estimate
    from diffusion.diagnosis import Diagnosis


def grid(samples: Tensor | np.ndarray, columns: int | None = None, ax: Axes | None = None,
         rows: list[str] | None = None, titles: list[str] | None = None) -> Axes:
    """Pictures (n, channels, height, width) in [-1, 1] as one mosaic, `columns` to a row (by default about square).

    rows, titles   names beside the rows and above the columns, one for each

    Returns the Axes. Raises ValueError for samples that are no pictures, and for too few or too many names.

    >>> import torch
    >>> grid(torch.zeros(12, 1, 28, 28), columns=4).images[0].get_array().shape
    (90, 120)
    """
    samples = torch.as_tensor(samples)
    if not samples.numel():
        raise ValueError("there is no picture to draw")
    if samples.ndim != 4 or samples.shape[1] not in (1, 3):
        raise ValueError(f"pictures must be (n, 1 or 3 channels, height, width), got {tuple(samples.shape)}")
    n, channels, height, width = samples.shape
    columns = int(np.ceil(np.sqrt(n))) if columns is None else whole("columns", columns, 2**31, start=1)
    down = -(-n // columns)
    for name, given, count, what in (("rows", rows, down, "rows"), ("titles", titles, columns, "columns")):
        if given is not None and len(given) != count:
            raise ValueError(f"{name} must name each of the {count} {what} of this mosaic, got {len(given)}: {given!r}")
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
    """Errors with their 95% intervals against the evaluations of the denoiser, a line a method, on logarithmic axes.

    of       "rms" or "median", the strong error; "sliced" or "mmd", the distance to the reference's samples, beside
             which a dashed line, in a band that is its interval, is what two sets of the reference's own have
    against  "nfe", evaluations for a sample; or "seconds", for all of them

    Methods without a strong error have none to draw, and the legend says so. Where a value is not positive, as MMD^2
    of samples as good as the reference's may be, the axis is linear about 0, as far as the narrowest interval reaches.
    """
    from diffusion.compare import MEASURES
    if of not in MEASURES:
        raise ValueError(f"the measures are {', '.join(MEASURES)}; got {of!r}")
    if against not in ("nfe", "seconds"):
        raise ValueError(f'errors are drawn against "nfe" or "seconds", got {against!r}')
    ax = ax or plt.figure(figsize=(7, 5), layout="constrained").add_subplot()
    shown, floor = [e for row in found.rows if (e := row.of(of)) is not None], (found.floor or {}).get(of)
    linear = _linear([*shown, *([floor] if floor else [])])
    for k, method in enumerate(dict.fromkeys(row.method for row in found.rows)):
        pairs = [(getattr(row, against), e) for row in found.rows if row.method is method
                 and (e := row.of(of)) is not None]
        if not pairs:
            ax.plot([], [], " ", label=f"{method!r}: claims no order, no strong error")
            continue
        x, e = map(np.array, zip(*pairs))
        low = e[:, 0] - e[:, 1]
        if not linear:
            low = np.minimum(low, 0.9 * e[:, 0])  # a bar that would reach nought stops before it
        ax.errorbar(x, e[:, 0], np.abs([low, e[:, 2] - e[:, 0]]), color=f"C{k % 10}", marker="osD^vPX*<>"[k % 10],
                    linewidth=1, elinewidth=1, capsize=2, label=repr(method))
    if not shown:
        ax.text(0.5, 0.5, "no method here claims an order, so none has a strong error;\n"
                'of="sliced" and of="mmd" can be drawn', transform=ax.transAxes, ha="center", va="center")
    if floor is not None:
        ax.axhline(floor.value, color="black", linestyle="--", linewidth=1, label="the reference beside itself")
        ax.axhspan(floor.low if linear else max(floor.low, 0.1 * floor.value), floor.high, color="black", alpha=0.08,
                   linewidth=0)
    unit = "" if of == "mmd" else ", in the data's units"
    if linear:
        ax.set_yscale("symlog", linthresh=linear)
        ax.axhline(0, color="black", linewidth=0.5)
        unit += f" (axis linear within ±{linear:.1g})"
    else:
        ax.set_yscale("log")
    ax.set(xscale="log", ylabel=MEASURES[of] + unit,
           xlabel="evaluations of the denoiser" if against == "nfe" else f"seconds for {found.info['n']} samples",
           title=f"{found.info['denoiser']}, {found.info['n']} samples")
    if against == "nfe":
        ticks = sorted({row.nfe for row in found.rows})
        ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        ax.set_xticks([], minor=True)
    return _finished(ax)


def _linear(estimates: list[Estimate]) -> float | None:
    """How far about 0 the axis is linear: nowhere, if all is positive; else as far as the narrowest interval."""
    if all(e.value > 0 for e in estimates):
        return None
    return min((half for e in estimates if (half := (e.high - e.low) / 2) > 0), default=1.0)


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
