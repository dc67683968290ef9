"""Draws that do not come from a run's own counters: given arrays, a Brownian on another grid, and, for saved times that
are not on the grid, the way from the point before them."""

from collections.abc import Callable
from typing import Any

import numpy as np

from sdekit.areas import pairs
from sdekit.brownian import Brownian, locate, within
from sdekit.inputs import increments

PARTS = {"W": "the increments dW", "WH": "the increments and space-time areas (dW, H)",
         "WHA": "the increments, space-time areas and Levy areas (dW, H, A)"}


def of_arrays(noise: Any, draws: str, method, paths: int, steps: int, noises: int,
              inner: tuple[int, ...] | None) -> np.ndarray:
    """Given arrays as one, (paths, steps, columns): dW, or a tuple (dW, H) or (dW, H, A) for methods that need more."""
    arrays = noise if isinstance(noise, tuple) and len(noise) > 1 else (noise,)
    if len(arrays) != len(draws):
        raise ValueError(f"{method} is driven by {PARTS[draws]}; give noise=Brownian(...), which has them all, "
                         f"or a tuple of {len(draws)} arrays" if len(draws) > 1 else
                         f"{method} is driven by {PARTS[draws]} alone; give one array, got {len(arrays)}")
    counts = noises, noises, len(pairs(noises))
    return np.concatenate([increments(a, paths, steps, count, inner) for a, count in zip(arrays, counts)], axis=2)


def of_brownian(noise: Brownian, draws: str, paths: int, grid: np.ndarray, noises: int, size: int) -> Callable | None:
    """Where the draws of each step come from; None where they are the plain ones of its seed."""
    if noise.noises != noises * size or noise.paths != paths:
        raise ValueError(f"this Brownian has {noise.paths} paths of {noise.noises} noises, but the run has "
                         f"{paths} paths of {noises * size}; make it Brownian(seed, t, steps, paths={paths}, "
                         f"noises={noises * size})")
    if len(grid) == len(noise.grid) and (grid == noise.grid).all():
        return None
    if grid[0] < noise.t[0] or grid[-1] > noise.t[1]:
        raise ValueError(f"the run goes from {grid[0]} to {grid[-1]}, but this Brownian from {noise.t[0]} to "
                         f"{noise.t[1]}; give a t inside, or make the Brownian longer")
    noise.part(0, 1).increments(grid)  # the grid has to fit
    return lambda numbers: _over(noise.part(numbers.start - noise.first, len(numbers)), draws, grid)


def _over(W: Brownian, draws: str, grid: np.ndarray) -> np.ndarray:
    """(paths, steps, columns)"""
    if draws == "W":
        return W.increments(grid)
    parts = W.increments_and_areas(grid)
    return np.concatenate([*parts, W.levy_areas(grid)] if draws == "WHA" else parts, axis=2)


def to_the_side(noise: Brownian | None, draws: str, noises: int, size: int, grid: np.ndarray, save: np.ndarray,
                offset: np.ndarray) -> Callable:
    """Draws from the points of the grid to the saved times that are not on it, (paths, such times, columns).

    Levy areas are the best guess from (W, H), whose error is of the order of one step's: nothing builds on it.
    """
    off = offset > 0
    n, times = save[off], grid[save[off]] + offset[off]
    place, fraction = locate(grid, times)
    part = np.where(place > n, 1.0, fraction)[:, None]
    own = noise is None or (len(grid) == len(noise.grid) and (grid == noise.grid).all())

    def draw(key: tuple[int, int], numbers: range) -> np.ndarray:
        if own:
            path = np.arange(numbers.start, numbers.stop)[:, None, None]
            W, H = within(key, path, np.arange(noises * size), n[:, None], np.diff(grid)[n][:, None], part)
        else:
            assert noise is not None
            B = noise.part(numbers.start - noise.first, len(numbers))
            ways = [B.increments_and_areas(np.array(ends)) for ends in zip(grid[n], times)]
            W, H = (np.concatenate(parts, axis=1) for parts in zip(*ways))
        A = [H[..., [j]] * W[..., [k]] - W[..., [j]] * H[..., [k]] for j, k in pairs(noises)]
        return np.concatenate([W, H, *A][:1 if draws == "W" else 2 if draws == "WH" else None], axis=-1)

    return draw
