"""Paths: times, values, and what it takes to get them again."""

import json
from collections.abc import Callable, Mapping
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
          noise's format, or noise="given"

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
    again: Callable[[int], "Paths"] = field(repr=False)

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
        return self._values().mean(axis=0)

    def std(self) -> np.ndarray:
        """The standard deviation over the paths at each saved time, (times, ...)."""
        return self._values().std(axis=0)

    def quantile(self, q) -> np.ndarray:
        """Quantiles over the paths at each saved time: (times, ...) for one q, (len(q), times, ...) for several."""
        q = np.asarray(q, float)
        if not ((q >= 0) & (q <= 1)).all():
            raise ValueError(f"quantiles are asked for by probabilities from 0 to 1, got {q}; for 5% write 0.05")
        return np.quantile(self._values(), q, axis=0)

    def replay(self, path: int) -> "Paths":
        """That path alone, at every step, from the same noise, whatever was saved: its row of x.

        Bit for bit; a tensor state to rounding, since some of Torch's functions round by where an element stands.
        """
        if isinstance(path, bool) or not isinstance(path, int | np.integer):
            raise TypeError(f"replay takes the number of a path, got {path!r}")
        if not 0 <= path < len(self):
            raise IndexError(f"there are {len(self)} paths, numbered from 0 to {len(self) - 1}; got {path}")
        return self.again(int(path))

    def plot(self, ax=None, **options):
        """A fan chart: bands between quantiles, the mean, a few paths. See `sdekit.plot.fan`; returns the Axes."""
        from sdekit.plot import fan
        return fan(self, ax, **options)

    def save(self, file: str | Path) -> Path:
        """Write t, x and info (as JSON) to one .npz file."""
        file = Path(file)
        file = file if file.suffix == ".npz" else file.with_name(file.name + ".npz")
        file.parent.mkdir(parents=True, exist_ok=True)
        info = {k: v if isinstance(v, int | float | str) else str(v) for k, v in self.info.items()}
        np.savez(file, t=self.t, x=self._values(), info=json.dumps(info))
        return file

    def _values(self) -> np.ndarray:
        return self.x if isinstance(self.x, np.ndarray) else self.x.detach().cpu().numpy()
