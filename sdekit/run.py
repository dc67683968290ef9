"""What an engine is asked to do, and how it says that a state was not finite."""

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Run:
    """One simulation, checked and complete. Step n goes from grid[n] to grid[n + 1].

    grid    times, (steps + 1,)
    save    numbers of the grid points to keep, increasing, (saved times,)
    x0      a tuple of dim arrays, each (1,) or (paths,); or of one tensor (paths, ...)
    p       parameter values
    first   number of the first path in the noise: path i has the noise of first + i
    key     of the noise, two words
    noises  how many noises drive the state
    given   increments dW in place of the noise, (paths, steps, noises times the elements of a tensor); or None
    threads how many
    """

    grid: np.ndarray
    save: np.ndarray
    x0: tuple
    p: tuple[float, ...]
    paths: int
    first: int
    key: tuple[int, int]
    noises: int
    given: np.ndarray | None
    threads: int

    @property
    def steps(self) -> int:
        return len(self.grid) - 1

    def alone(self, path: int) -> "Run":
        """This path by itself, every step kept."""
        x0 = tuple(c if len(c) == 1 else c[path:path + 1] for c in self.x0)
        given = None if self.given is None else self.given[path:path + 1]
        return replace(self, x0=x0, save=np.arange(self.steps + 1), paths=1, first=self.first + path, given=given)


class Unfit(TypeError):
    """An execution cannot run these functions; another may."""


class NonFinite(Exception):
    """The state of `path` is not finite after `step` steps (-1: an execution that does not look at every step)."""

    def __init__(self, path: int, step: int):
        super().__init__(path, step)
        self.path, self.step = path, step
