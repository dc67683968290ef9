"""Paths: times, values, and what it takes to get them again."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Paths:
    """The result of `simulate` and `integrate`.

    t     the saved times, (times,)
    x     the values: (paths, times) for a number, (paths, times, dim) for several components,
          (batch, times, ...) for a tensor state
    info  how they came to be: equation, method, backend, steps; and seed, stream, first path, and the version of the
          noise's format, or noise="given"; `stopped`, how many paths were, with nonfinite="stop"
    tracked  what was recorded along the paths, by name: (paths, times)

    >>> import sdekit as sk
    >>> paths = sk.simulate(sk.BrownianMotion(), x0=0.0, t=1.0, steps=4, paths=1000, seed=7)
    >>> paths
    Paths(1000 paths, 5 times from 0.0 to 1.0, BrownianMotion(mu=0.0, sigma=1.0), exact, numpy, seed=7)
    >>> bool((paths.replay(3).x[0] == paths.x[3]).all())
    True
    """

    t: np.ndarray
    x: Any
    info: Mapping[str, Any]
    tracked: Mapping[str, Any] = field(default_factory=dict, repr=False)
    source: Any = field(default=None, repr=False)  # the work behind it: replay(path), extended(paths, t, steps)

    def __repr__(self) -> str:
        about = ", ".join(str(self.info[k]) for k in ("equation", "method", "backend"))
        seed = f", seed={self.info['seed']}" if "seed" in self.info else ""
        return f"Paths({len(self)} paths, {len(self.t)} times from {self.t[0]} to {self.t[-1]}, {about}{seed})"

    def __len__(self) -> int:
        return len(self.x)

    @property
    def final(self):
        """The values at the last saved time: (paths,), (paths, dim) or (batch, ...)."""
        return self.x[:, -1]

    def mean(self) -> np.ndarray:
        """The mean over the paths at each saved time, (times, ...)."""
        return self.values.mean(axis=0)

    def var(self) -> np.ndarray:
        """The variance over the paths at each saved time, (times, ...): the mean square of the deviation."""
        return self.values.var(axis=0)

    def std(self) -> np.ndarray:
        """The standard deviation over the paths at each saved time, (times, ...)."""
        return self.values.std(axis=0)

    def quantile(self, q) -> np.ndarray:
        """Quantiles over the paths at each saved time: (times, ...) for one q, (len(q), times, ...) for several."""
        q = np.asarray(q, float)
        if not ((q >= 0) & (q <= 1)).all():
            raise ValueError(f"quantiles are asked for by probabilities from 0 to 1, got {q}; for 5% write 0.05")
        return np.quantile(self.values, q, axis=0)

    def replay(self, path: int) -> "Paths":
        """That path alone, at every step, from the same noise, whatever was saved: its row of x.

        Bit for bit; a tensor state, or products of matrices, to rounding: they round by where an element stands.
        """
        if isinstance(path, bool) or not isinstance(path, int | np.integer):
            raise TypeError(f"replay takes the number of a path, got {path!r}")
        if not 0 <= path < len(self):
            raise IndexError(f"there are {len(self)} paths, numbered from 0 to {len(self) - 1}; got {path}")
        return self._source("replay").replay(int(path))

    def extend(self, t: float, steps: int | None = None) -> "Paths":
        """The same paths until the later time t, on the same noise: as if they had been simulated in one go.

        steps   how many more; by default as long as the last one. They are saved as the steps before: all, or the end
        """
        return self._source("extend").extended(self, t, steps)

    def plot(self, ax=None, **options):
        """A fan chart: bands between quantiles, the mean, a few paths. See `sdekit.plot.fan`; returns the Axes."""
        from sdekit.plot import fan
        return fan(self, ax, **options)

    def save(self, file: str | Path) -> Path:
        """Write everything to one .npz file, for `sdekit.load`; returns its name, which ends in .npz."""
        from sdekit.files import save
        return save(self, Path(file))

    def _source(self, verb: str):
        if self.source is None:
            raise ValueError(f"{verb}() needs the functions that made these paths, and a file holds none; give the "
                             "equation: sdekit.load(file, sde)")
        return self.source

    @property
    def values(self) -> np.ndarray:
        """x as a NumPy array."""
        return self.x if isinstance(self.x, np.ndarray) else self.x.detach().cpu().numpy()
