"""Pictures of paths. Both functions take a result of `simulate` or `integrate` and return the matplotlib Axes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

if TYPE_CHECKING:
    from sdekit.paths import Paths


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
    bands = sorted(float(b) for b in bands)
    if bands and not 0 < bands[0] <= bands[-1] < 1:
        raise ValueError(f"bands are shares of the paths between 0 and 1, got {bands}; for 90% write 0.9")
    ax, x = ax or plt.figure(figsize=(8, 4.5), layout="constrained").add_subplot(), _component(paths, component)
    for band in reversed(bands):
        low, high = np.quantile(x, [(1 - band) / 2, (1 + band) / 2], axis=0)
        ax.fill_between(paths.t, low, high, color="C0", alpha=0.18, linewidth=0, label=f"{band:.0%} of the paths")
    ax.plot(paths.t, x[:lines].T, color="C0", linewidth=0.7, alpha=0.7)
    ax.plot(paths.t, x.mean(axis=0), color="C1", linewidth=2, label=label or "mean")
    return _finish(ax, f"{len(paths):,} paths, {paths.info['equation']}")


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
    ax.plot(paths.t, x[:lines].T, linewidth=0.8)
    ax.plot(paths.t, mean, color="black", linewidth=1.2, linestyle="--", label="mean")
    return _finish(ax, f"{min(lines, len(paths))} paths, {paths.info['equation']}")


def _component(paths: Paths, component: int | None) -> np.ndarray:
    x = np.asarray(paths.x)
    if x.ndim == 2 and not component:
        return x
    if x.ndim != 3:
        raise ValueError(f"only numbers and systems can be drawn over time, this result has shape {x.shape}")
    if component is not None and not 0 <= component < x.shape[2]:
        raise ValueError(f"component must be from 0 to {x.shape[2] - 1}, got {component}")
    return x[:, :, component or 0]


def _finish(ax: Axes, title: str) -> Axes:
    ax.set(xlabel="t", ylabel="X", title=title)
    ax.margins(x=0)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, loc="upper left")
    return ax
