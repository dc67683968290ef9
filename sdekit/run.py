"""What an engine is asked to do, where it puts the values, and how it says that a state was not finite."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from sdekit.adaptive import Tally


@dataclass(frozen=True)
class Run:
    """One simulation, checked and complete. Step n goes from grid[n] to grid[n + 1].

    grid     times, (steps + 1,)
    save     for each time to keep, the number of the point of the grid at or before it, increasing, (saved times,)
    offset   how far behind that point it lies, (saved times,): 0 on the grid
    x0       a tuple of dim arrays, each (1,) or (paths,); or of one tensor (paths, ...)
    p        parameter values: numbers, or arrays (paths,)
    first    number of the first path in the noise: path i has the noise of first + i
    key      of the noise, two words
    noises   how many noises drive the state (each element of a tensor has its own)
    draws    what of them a step needs: "W", "WH", "WHA" or "P", see `sdekit.methods`
    level    Levy areas are joined from those of 2^level parts of a step
    waits    how many exponentials -ln U each step needs besides
    given    draws in place of the noise's: a range of path numbers -> (paths, steps, columns); or None
    aside    draws from the grid to the saved times that are not on it: key, range of path numbers ->
             (paths, such times, columns); or None. Each element of a tensor has columns of its own
    threads  how many
    finite   how many of the components have to be finite, the first ones
    kept     how many of the components are saved, the first ones
    bits     64, or 32: noise with four normals from a block instead of two, of another key
    tally    where adaptive steps are counted; None: the steps are those of the grid
    begun    number of the first step in the noise: a run that goes on from another one
    """

    grid: np.ndarray
    save: np.ndarray
    offset: np.ndarray
    x0: tuple
    p: tuple
    paths: int
    first: int
    key: tuple[int, int]
    noises: int
    draws: str
    level: int
    waits: int
    given: Callable[[range], np.ndarray] | None
    aside: Callable[[tuple[int, int], range], np.ndarray] | None
    threads: int
    finite: int
    kept: int
    bits: int = 64
    tally: Tally | None = None
    begun: int = 0

    @property
    def steps(self) -> int:
        return len(self.grid) - 1

    @property
    def columns(self) -> int:
        """The numbers that a step draws: increments, space-time areas, Levy areas."""
        return columns(self.noises, self.draws)

    def increments(self, rows: slice) -> np.ndarray:
        """The draws of these paths, where they are given."""
        assert self.given is not None
        return self.given(range(self.first + rows.start, self.first + rows.stop))

    def detours(self, rows: slice) -> np.ndarray:
        """The draws of these paths to the saved times that are not on the grid."""
        assert self.aside is not None
        return self.aside(self.key, range(self.first + rows.start, self.first + rows.stop))

    def part(self, rows: slice) -> "Run":
        """These of its paths by themselves."""
        own = lambda values: values if np.ndim(values) == 0 or len(values) == 1 else values[rows]
        return replace(self, x0=tuple(map(own, self.x0)), p=tuple(map(own, self.p)), paths=rows.stop - rows.start,
                       first=self.first + rows.start)

    def after(self, step: int, x: tuple) -> "Run":
        """What is left of it after this step, from the state x there on."""
        later = self.save > step
        return replace(self, grid=self.grid[step:], save=self.save[later] - step, offset=self.offset[later], x0=x,
                       begun=self.begun + step)

    def alone(self, path: int) -> "Run":
        """This path by itself, every step kept."""
        steps = np.arange(self.steps + 1)
        return replace(self.part(slice(path, path + 1)), save=steps, offset=np.zeros(len(steps)), aside=None)


def columns(noises: int, draws: str) -> int:
    """How many entries these draws have in dw.

    >>> columns(3, "W"), columns(3, "WH"), columns(3, "WHA"), columns(3, "P")
    (3, 6, 9, 1)
    """
    return {"W": noises, "WH": 2 * noises, "WHA": 2 * noises + noises * (noises - 1) // 2, "P": 1}[draws]


class Sink(Protocol):
    """Where an engine puts the saved values of a range of paths, from any thread.

    block   ranges begin at multiples of this many paths
    most    and should not be longer than this
    """

    block: int
    most: int

    def room(self, rows: slice) -> tuple[np.ndarray, int]:
        """An array (saved times, dim, ...) with room for these paths in its last axis, and where the first belongs."""
        ...

    def done(self, rows: slice, values: np.ndarray, place: int) -> None:
        """Called once the values of these paths are in what `room` returned."""
        ...


class Whole:
    """Keeps every value: `x` is (saved times, dim, paths)."""

    block = 1
    most = 2**40

    def __init__(self, times: int, dim: int, paths: int, dtype: Any = np.float64):
        self.x = np.empty((times, dim, paths), dtype)

    def room(self, rows: slice) -> tuple[np.ndarray, int]:
        return self.x, rows.start

    def done(self, rows: slice, values: np.ndarray, place: int) -> None:
        """They are where they belong."""


class Unfit(TypeError):
    """An execution cannot run these functions; another may."""


class NonFinite(Exception):
    """The state of `path` is not finite after `step` steps (-1: an execution that does not look at every step)."""

    def __init__(self, path: int, step: int):
        super().__init__(path, step)
        self.path, self.step = path, step
