"""Pictures of pictures, and of what `train`, `compare` and `diagnose` measured. All return the matplotlib Axes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from diffusion.journal import EVERY, read_lines
from diffusion.moments import NOISE, after, chosen, moments, visible
from diffusion.mosaic import mosaic
from diffusion.sampling import Samples, Step
from diffusion.snapshots import Snapshot, Snapshots

if TYPE_CHECKING:
    from diffusion.compare import Comparison, Estimate
    from diffusion.diagnosis import Diagnosis

LEGEND = 40  # the size of a dot in a legend of points, however small those are


def grid(samples: Tensor | np.ndarray, columns: int | None = None, ax: Axes | None = None,
         rows: list[str] | None = None, titles: list[str] | None = None) -> Axes:
    """Pictures (n, channels, height, width) in [-1, 1] as one mosaic, `columns` to a row (by default about square).

    rows, titles   names beside the rows and above the columns, one for each

    Returns the Axes. Raises ValueError for samples that are no pictures, or all NaN, and for too few or too many names;
    TypeError for what is no array.

    >>> import torch
    >>> grid(torch.zeros(12, 1, 28, 28), columns=4).images[0].get_array().shape
    (90, 120)
    """
    shown = mosaic(samples, columns)
    height, width = np.shape(samples)[2:]
    down, across = len(shown) // (height + 2), shown.shape[1] // (width + 2)
    for name, given, count, what in (("rows", rows, down, "rows"), ("titles", titles, across, "columns")):
        if given is not None and len(given) != count:
            raise ValueError(f"{name} must name each of the {count} {what} of this mosaic, got {len(given)}: {given!r}")
    ax = ax or plt.figure(figsize=(0.6 * across + (0.6 if rows else 0), 0.6 * down + (0.5 if titles else 0)),
                          layout="constrained").add_subplot()
    ax.imshow(shown.squeeze(-1) if shown.shape[2] == 1 else shown, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    ax.set_frame_on(False)
    ax.set_yticks([(i + 0.5) * (height + 2) for i in range(down)] if rows else [], rows or [])
    ax.set_xticks([(i + 0.5) * (width + 2) for i in range(across)] if titles else [], titles or [], fontsize=8)
    ax.tick_params(length=0, top=bool(titles), labeltop=bool(titles), bottom=False, labelbottom=False)
    return ax


def strip(run: Samples | Iterable[Step], at: Sequence[int] | None = None, sample: int = 0,
          ax: Axes | None = None) -> Axes:
    """A picture on its way through a sampler: the state, the noise and the x_0 estimated in it, the next state.

    run      `Samples` drawn with keep=True, or `df.steps(...)`
    at       which steps, counted from 0, a column each; by default the first, the middle and the last
    sample   which of the pictures

    States x = alpha x_0 + sigma eps are shown over sqrt(alpha^2 + sigma^2), noise from -2 to 2. The last step
    is the closing one, x <- D. Raises ValueError for steps that the run does not have.

    >>> from diffusion.exact import Gaussian
    >>> from diffusion.sampling import steps
    >>> strip(steps(Gaussian(0.0, 0.5), shape=(1, 8, 8), steps=6, seed=0)).images[0].get_array().shape
    (40, 30)
    """
    found = moments(run)
    columns = chosen(found, at)
    rows = {"state": [visible(found[n]) for n in columns],
            "estimated\nnoise": [found[n].eps / NOISE for n in columns],
            "estimated\n$x_0$": [found[n].x0 for n in columns],
            "next\nstate": [after(found, n) for n in columns]}
    titles = [f"step {n + 1} of {len(found)}\nσ/α = {found[n].level.noise:.3g}" for n in columns]
    pictures = torch.stack([x[sample] for row in rows.values() for x in row])
    ax = ax or plt.figure(figsize=(1.4 + 1.3 * len(columns), 5.8), layout="constrained").add_subplot()
    return grid(pictures, len(columns), ax, list(rows), titles)


def snapshots(shots: Snapshots | Sequence[Snapshot], ax: Axes | None = None) -> Axes:
    """What a model drew from the same noises as it learned: a row a moment, the step beside it.

    Raises ValueError where no picture was kept.
    """
    kept = shots.kept if isinstance(shots, Snapshots) else list(shots)
    if not kept:
        raise ValueError("no snapshot was taken; go through .taken(train(...)) up to the step of the first one")
    return grid(torch.cat([shot.samples for shot in kept]), len(kept[0].samples), ax,
                [f"{shot.step:,} steps" for shot in kept])


def training(run: str | Path | Sequence[dict[str, Any]], axes: Sequence[Axes] | None = None) -> tuple[Axes, Axes]:
    """How a training went: the loss by steps; the error at each noise level, beside the closed-form Gaussian's.

    run    a training's folder, its metrics.jsonl, or the lines that `diffusion.journal.read_lines` read
    axes   two, for the two

    Errors |D - x_0|^2 / d are drawn at a tenth of the run, at a third, and at its end. The axis of the losses is
    logarithmic where their means span more than a decade. Returns the two Axes, the second empty, and narrow if made
    here, where the loss has no noise levels. Raises ValueError where there is no line.
    """
    lines = read_lines(run) if isinstance(run, str | Path) else list(run)
    if not lines:
        raise ValueError(f"there is no line of a training in {run!r}; one is written every {EVERY} steps, with the "
                         "checkpoint")
    told = [line for line in lines if line.get("levels")]
    if axes is None:
        figure = plt.figure(figsize=(10, 4), layout="constrained")
        axes = list(figure.subplots(1, 2, width_ratios=(1 if told else 4, 1)))
    left, right = axes
    step, loss = np.array([line["step"] for line in lines]), np.array([line["loss"] for line in lines])
    width = max(1, len(loss) // 25)
    left.plot(step, loss, color="0.8", linewidth=0.8)
    smooth = np.convolve(loss, np.full(width, 1 / width), "valid")
    left.plot(step[width - 1:], smooth, color="C0", label=f"mean of {EVERY * width} steps")
    # Within a decade a logarithmic axis has no power of ten to name.
    decades = loss.min() > 0 and smooth.max() > 10 * smooth.min()
    left.set(xlabel="step", ylabel="loss", yscale="log" if decades else "linear")
    left.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))
    last = len(told) - 1
    moments = dict.fromkeys((last // 10, last // 3, last)) if told else {}
    for n, color in zip(moments, ("0.75", "0.5", "C0")[-len(moments):]):
        level, error, gaussian = np.array(told[n]["levels"]).T
        right.loglog(level, error, "o-", color=color, markersize=3, label=f"after {told[n]['step']:,} steps")
        if n == last:
            right.loglog(level, gaussian, "--", color="black", linewidth=1, label="Gaussian, closed form")
    if not told:
        right.text(0.5, 0.5, "this loss has\nno noise levels", transform=right.transAxes, ha="center", va="center")
        right.set_axis_off()
    right.set(xlabel="noise level sigma/alpha", ylabel="mean square error of x₀")
    return _finished(left), _finished(right)


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


def points(samples: Tensor | np.ndarray, label: Tensor | np.ndarray | Sequence[int] | int | None = None,
           ax: Axes | None = None, classes: Sequence[str] | None = None) -> Axes:
    """Points of the plane (n, 2), in the data's units, a colour for each class.

    label     of each point, (n,), or one for all; without, all have one colour
    classes   what the labels are called, for the legend

    Returns the Axes. Raises ValueError for samples that are no points of the plane, or labels that do not fit.

    >>> points(torch.zeros(5, 2), [0, 1, 0, 1, 1], classes=("a", "b")).get_legend_handles_labels()[1]
    ['a', 'b']
    """
    x = torch.as_tensor(samples).detach().cpu().numpy()
    if x.ndim != 2 or x.shape[1] != 2 or not len(x):
        raise ValueError(f"points of the plane are (n, 2), got {tuple(x.shape)}; draw two coordinates at a time, such "
                         "as samples[:, [0, 1]]")
    of = np.zeros(1, int) if label is None else np.asarray(torch.as_tensor(label).cpu()).reshape(-1)
    if len(of) not in (1, len(x)):
        raise ValueError(f"label must be one, or one for each of the {len(x)} points; got {len(of)}")
    of = np.broadcast_to(of, len(x))
    figure = plt.figure(layout="constrained") if ax is None else None
    ax = ax or plt.gcf().add_subplot()
    size = float(np.clip(6000 / len(x), 1, 20))
    for k in np.unique(of):
        name = None if label is None else classes[k] if classes is not None else f"class {k}"
        ax.scatter(*x[of == k].T, s=size, color=f"C{k % 10}", linewidths=0, label=name)
    ax.set(xlabel="$x_1$", ylabel="$x_2$", aspect="equal")
    _finished(ax)
    names, columns = 0 if label is None else len(np.unique(of)), 4
    if figure is not None:  # a canvas in the shape of the data
        across, down = np.ptp([ax.get_xlim(), ax.get_ylim()], axis=1)
        width, height = 5.3 * np.clip([across / down, down / across], 0.25, 1)
        columns = max(1, int(width / 1.3))
        figure.set_size_inches(width + 0.7, height + 0.6 + 0.25 * -(-names // columns))
    if names:  # above, where no point can be taken for the legend's
        ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, borderaxespad=0,
                  markerscale=(LEGEND / size) ** 0.5)
    return ax
