"""Pictures of paths, summaries, orders and densities. The functions take a result and return the matplotlib Axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.ticker import NullLocator

if TYPE_CHECKING:
    from sdekit.convergence import Convergence
    from sdekit.density import Density
    from sdekit.paths import Paths
    from sdekit.summary import Summary


def fan(paths: Paths, ax: Axes | None = None, *, bands=(0.5, 0.9), lines: int = 5, component: int | None = None,
        label: str = "") -> Axes:
    """Bands that hold these shares of the paths at each time, the mean, and the first few paths.

    bands      shares in (0, 1): 0.9 is the band between the 5% and the 95% quantile
    lines      how many single paths to draw
    component  which one of a system; by default the first

    >>> import sdekit as sk
    >>> ax = sk.simulate(sk.BrownianMotion(), 0.0, steps=50, paths=200, seed=1).plot()
    >>> ax.get_xlabel()
    't'
    """
    x, title = _component(paths, component), f"{len(paths):,} paths, {paths.info['equation']}"
    if len(paths.t) == 1:
        counts, edges = np.histogram(x[:, 0], bins="auto" if len(paths) > 1 else 1, density=True)
        return _histogram(ax, counts, edges, f"{title}, t = {paths.t[0]:g}", _name(paths, component))
    ax = _bands(ax, paths.t, bands, lambda q: np.quantile(x, q, axis=0))
    style = "steps-post" if getattr(paths.info["equation"], "jumps", False) else "default"
    ax.plot(paths.t, x[:lines].T, color="C0", linewidth=0.7, alpha=0.7, drawstyle=style)
    ax.plot(paths.t, x.mean(axis=0), color="C1", linewidth=2, label=label or "mean")
    return _finish(ax, title, _name(paths, component))


def summary_fan(summary: Summary, ax: Axes | None = None, *, bands=(0.5, 0.9), component: int | None = None,
                label: str = "") -> Axes:
    """Bands that hold these shares of the paths at each time, and the mean. The arguments are those of `fan`.

    >>> import sdekit as sk
    >>> from sdekit.bins import Bins
    >>> from sdekit.moments import Accumulator, block_statistics
    >>> from sdekit.summary import Summary
    >>> x = sk.simulate(sk.BrownianMotion(), 0.0, steps=50, paths=200, seed=1).x.T[:, None]  # (times, 1, paths)
    >>> bins, accumulator = Bins.from_pilot(x), Accumulator(51, 1)
    >>> counts = bins.counts()
    >>> accumulator.add(0, *block_statistics(x, bins.centre, bins.base, counts))
    >>> ax = Summary(np.linspace(0, 1, 51), accumulator.result(200, counts), bins, {"equation": "W"}).plot()
    >>> ax.get_title()
    '200 paths, W'
    """
    dim = summary.bins.centre.shape[1]
    if component is not None and not 0 <= component < dim:
        raise ValueError(f"component must be from 0 to {dim - 1}, got {component}")
    k = ... if summary.scalar else (..., component or 0)
    name = "X" if summary.scalar else f"X[{component or 0}]"
    title = f"{summary.total:,} paths, {summary.info.get('equation', '')}"
    if len(summary.t) == 1:
        found = summary.histogram(60, component=component or 0)
        return _histogram(ax, found.density, found.edges, f"{title}, t = {summary.t[0]:g}", name)
    ax = _bands(ax, summary.t, bands, lambda q: summary.quantile(q)[k])
    ax.plot(summary.t, summary.mean[k], color="C1", linewidth=2, label=label or "mean")
    return _finish(ax, title, name)


def envelope(paths: Paths, mean, std, ax: Axes | None = None, *, lines: int = 20, component: int | None = None) -> Axes:
    """The first few paths inside mean +- std and mean +- 2 std, arrays (times,) of the exact law or of anything else.

    >>> import sdekit as sk
    >>> paths = sk.simulate(sk.BrownianMotion(), 0.0, t=10.0, steps=100, paths=5, seed=1)
    >>> len(envelope(paths, 0 * paths.t, paths.t ** 0.5).lines)  # 5 paths and the mean
    6
    """
    ax, x = ax or plt.figure(figsize=(8, 4.5), layout="constrained").add_subplot(), _component(paths, component)
    mean, std = np.broadcast_to(mean, paths.t.shape), np.broadcast_to(std, paths.t.shape)
    for k in (2, 1):
        name = "mean ± sd" if k == 1 else f"mean ± {k} sd"
        ax.fill_between(paths.t, mean - k * std, mean + k * std, color="C0", alpha=0.15, linewidth=0, label=name)
    style = "steps-post" if getattr(paths.info["equation"], "jumps", False) else "default"
    ax.plot(paths.t, x[:lines].T, linewidth=0.8, drawstyle=style)
    ax.plot(paths.t, mean, color="black", linewidth=1.2, linestyle="--", label="mean")
    return _finish(ax, f"{min(lines, len(paths))} paths, {paths.info['equation']}", _name(paths, component))


def orders(found: Convergence, ax: Axes | None = None, *, of: str = "strong", against: str = "h") -> Axes:
    """Errors with two standard errors either way, on logarithmic axes, and the lines whose slopes are the orders.

    of       "strong", "rms", or the name of an expectation, such as "E X"
    against  "h", the step size, or "seconds" of a path: which method is the cheapest for an error

    Hollow points did not count for the order: they are drowned in sampling noise, or too coarse.

    >>> import sdekit as sk
    >>> from sdekit.convergence import convergence
    >>> found = convergence(sk.GeometricBrownianMotion(0.5, 0.5), 1.0, steps=(8, 16, 32), paths=200)
    >>> found.plot().get_xlabel()
    'step size h'
    """
    if against not in ("h", "seconds"):
        raise ValueError(f'errors are drawn against "h" or "seconds", got {against!r}')
    ax = ax or plt.figure(figsize=(7, 5), layout="constrained").add_subplot()
    for k, method in enumerate(dict.fromkeys(row.method for row in found.rows)):
        order, rows = found.order(method, of), [row for row in found.rows if row.method == method]
        pairs = np.array([{"strong": row.strong, "rms": row.rms}.get(of) or row.weak[of] for row in rows])
        x = np.array([row.h if against == "h" else 1e6 * row.seconds for row in rows])
        error, bar = np.abs(pairs[:, 0]), 2 * pairs[:, 1]
        shown, counts = error > 0, np.array([row.steps in order.steps for row in rows])
        low = np.minimum(bar, 0.9 * error)  # a bar that would reach nought stops before it
        color, marker = f"C{k % 10}", "osD^vPX*<>"[k % 10]
        claimed = "" if order.claimed is None else f" (claims {order.claimed:g})"
        label = f"{method}: {order}{claimed}" if order.told else f"{method}: {order.note.split(':')[0]}"
        ax.errorbar(x[shown], error[shown], [low[shown], bar[shown]], fmt="none", ecolor=color, elinewidth=1, capsize=2)
        ax.plot(x[shown & ~counts], error[shown & ~counts], marker, color=color, fillstyle="none")
        if not order.told:
            ax.plot([], [], marker, color=color, fillstyle="none", label=label)
        elif against == "h":
            h, centre = x[counts], np.exp(np.mean(np.log([x[counts], error[counts]]), axis=1))
            ax.plot(h, centre[1] * (h / centre[0]) ** order.estimate, color=color, linewidth=1)
            ax.plot(h, error[counts], marker, color=color, label=label)
        else:
            ax.plot(x[shown], error[shown], color=color, linewidth=1)
            ax.plot(x[counts], error[counts], marker, color=color, label=label)
    name = {"strong": "E|X_h(T) - X(T)|", "rms": "(E|X_h(T) - X(T)|²)^½"}.get(of, f"|error of {of}|")
    ax.set(xscale="log", yscale="log", ylabel=name, title=f"{found.info['equation']}, {found.info['paths']:,} paths",
           xlabel="step size h" if against == "h" else "µs for a path")
    h = sorted({row.h for row in found.rows})
    across = h if against == "h" else _round(*ax.get_xlim())
    for axis, ticks in ((ax.xaxis, across), (ax.yaxis, _round(*ax.get_ylim()))):
        axis.set_ticks(ticks, [f"{tick:.3g}" for tick in ticks])
        axis.set_minor_locator(NullLocator())
    ax.grid(alpha=0.25, which="major", linewidth=0.6)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False)
    return ax


def density(result: Density, ax: Axes | None = None) -> Axes:
    """One dimension: a curve for each saved time, coloured by it. Two: the last saved time as an image.

    >>> from scipy.stats import norm
    >>> import sdekit as sk
    >>> from sdekit.density import fokker_planck, grid
    >>> run = {"t": 1.0, "steps": 20, "save": 5}
    >>> ax = fokker_planck(sk.BrownianMotion(), norm(0.0, 0.5), grid(-7, 7, 100), **run).plot()
    >>> len(ax.lines), ax.get_ylabel()
    (5, 'density')
    """
    ax = ax or plt.figure(figsize=(8, 4.5), layout="constrained").add_subplot()
    figure, equation = ax.figure, result.info.get("equation", "")
    if result.density.ndim == 3:
        image = ax.pcolormesh(*result.edges, result.density[-1].T, cmap="Blues", rasterized=True)
        figure.colorbar(image, ax=ax, label="density")
        ax.set(xlabel="X[0]", ylabel="X[1]", title=f"{equation}, t = {result.t[-1]:g}")
        return ax
    colors, norm = plt.get_cmap("viridis"), Normalize(result.t[0], max(result.t[-1], result.t[0] + 1e-300))
    for t, p in zip(result.t, result.density):
        ax.plot(result.x, p, color=colors(norm(t)), linewidth=1.2)
    figure.colorbar(ScalarMappable(norm, colors), ax=ax, label="t")
    ax.set(xlabel="X", ylabel="density", title=str(equation), xlim=(result.edges[0], result.edges[-1]))
    ax.set_ylim(bottom=0.0)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _round(low: float, high: float) -> np.ndarray:
    """Round numbers in between, for a logarithmic axis: 1, 2, 5, 10, ..., or powers of ten where these are many."""
    powers = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    ticks = np.outer(powers, [1, 2, 5] if high < 300 * low else [1]).ravel()
    return ticks[(low <= ticks) & (ticks <= high)]


def _bands(ax: Axes | None, t: np.ndarray, bands, quantile: Callable) -> Axes:
    """Shaded bands between the quantiles (2, times), the widest one below."""
    bands = sorted(float(b) for b in bands)
    if bands and not 0 < bands[0] <= bands[-1] < 1:
        raise ValueError(f"bands are shares of the paths between 0 and 1, got {bands}; for 90% write 0.9")
    ax = ax or plt.figure(figsize=(8, 4.5), layout="constrained").add_subplot()
    shades = plt.get_cmap("Blues")(np.linspace(0.2, 0.5, max(len(bands), 2)))  # opaque: the key shows what is seen
    for band, shade in zip(reversed(bands), shades):
        low, high = quantile([(1 - band) / 2, (1 + band) / 2])
        ax.fill_between(t, low, high, color=shade, linewidth=0, label=f"{band:.0%} of the paths")
    return ax


def _histogram(ax: Axes | None, density: np.ndarray, edges: np.ndarray, title: str, name: str) -> Axes:
    """The density at a single time."""
    ax = ax or plt.figure(figsize=(8, 4.5), layout="constrained").add_subplot()
    ax.stairs(density, edges, fill=True, color="C0", alpha=0.5)
    ax.set(xlabel=name, ylabel="density", title=title)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _name(paths: Paths, component: int | None) -> str:
    return "X" if np.ndim(paths.x) == 2 else f"X[{component or 0}]"


def _component(paths: Paths, component: int | None) -> np.ndarray:
    x = np.asarray(paths.x)
    if x.ndim == 2 and not component:
        return x
    if x.ndim != 3:
        raise ValueError(f"only numbers and systems can be drawn over time, this result has shape {x.shape}")
    if component is not None and not 0 <= component < x.shape[2]:
        raise ValueError(f"component must be from 0 to {x.shape[2] - 1}, got {component}")
    return x[:, :, component or 0]


def _finish(ax: Axes, title: str, name: str) -> Axes:
    ax.set(xlabel="t", ylabel=name, title=title)
    ax.margins(x=0)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, loc="upper left")
    return ax
