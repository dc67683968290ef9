"""Summaries: the statistics of any number of paths in memory that does not grow with them.

What is kept adds up: moments (`moments.py`) and counts in bins (`bins.py`). With m_p = M_p / n the statistics are

    mean = c + mean_y     var = M_2 / (n - 1)     skew = m_3 / m_2^(3/2)     kurtosis = m_4 / m_2^2 - 3
    stderr of the mean = sqrt(var / n),     of the variance sqrt((m_4 - m_2^2 (n - 3)/(n - 1)) / n)

and quantiles, each with the bound of its error and its own standard error, are read off the counts.

>>> from sdekit.moments import BLOCK, Accumulator, block_statistics
>>> values = np.random.default_rng(0).standard_normal((3, 1, 5000))             # (times, dim, paths)
>>> bins = Bins.from_pilot(values[:, :, :500])
>>> accumulator, counts = Accumulator(3, 1), bins.counts()
>>> for begin in (4096, 0):                                                     # whole blocks, in any order
...     chunk = values[:, :, begin:begin + 4096]
...     accumulator.add(begin // BLOCK, *block_statistics(chunk, bins.centre, bins.base, counts))
>>> Summary(np.arange(3.0), accumulator.result(5000, counts), bins, {"equation": "Z", "seed": 0})
Summary(5,000 paths, 3 times from 0.0 to 2.0, Z, seed=0)
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from sdekit.bins import Bins, Cells, Histogram
from sdekit.moments import Statistics, component_pairs

FORMAT = 1  # of saved files


@dataclass(frozen=True, eq=False)
class Summary:
    """Statistics over the paths at given times: the result of `summarize`.

    t               the times, (times,)
    statistics      what was added up, see `Statistics`
    bins            of the histograms
    info            how it came to be: as for `Paths`, and how many paths; after `a + b`, the `runs` it is made of
    scalar          the state is a number: results have shape (times,), else (times, dim)
    probabilities   those of `quantiles`
    tracked         by name, the summaries of what was recorded along the paths

    All statistics are of the finite values: a first-passage time that has not come is inf and not among them. `n` says
    how many are, and `total` how many paths there were. Moments are exact to rounding, quantiles to `quantile_error`.
    """

    t: np.ndarray
    statistics: Statistics
    bins: Bins
    info: Mapping[str, Any]
    scalar: bool = True
    probabilities: Sequence[float] = (0.05, 0.25, 0.5, 0.75, 0.95)
    tracked: Mapping[str, "Summary"] = field(default_factory=dict)

    def __post_init__(self):
        _check_probabilities(self.probabilities)

    def __repr__(self) -> str:
        about = "".join(f", {self.info[k]}" for k in ("equation", "method", "backend") if k in self.info)
        seed = f", seed={self.info['seed']}" if "seed" in self.info else ""
        runs = f", {len(self.info['runs'])} runs" if "runs" in self.info else ""
        times = f"{len(self.t)} times from {self.t[0]} to {self.t[-1]}" if len(self.t) > 1 else f"time {self.t[0]}"
        tracked = f", tracked: {', '.join(self.tracked)}" if self.tracked else ""
        return f"Summary({self.total:,} paths, {times}{about}{seed}{runs}{tracked})"

    @property
    def total(self) -> int:
        """How many paths."""
        return self.statistics.total

    @property
    def n(self) -> np.ndarray:
        """How many finite values: (times,) or (times, dim), as the other statistics."""
        return self._shaped(self.statistics.moments[0].astype(np.int64))

    @property
    def mean(self) -> np.ndarray:
        return self._shaped(np.where(self._n > 0, self.bins.centre + self.statistics.moments[1], np.nan))

    @property
    def stderr(self) -> np.ndarray:
        """The standard error of the mean, sqrt(var / n)."""
        return self._shaped(np.sqrt(self._var / self._n))

    @property
    def var(self) -> np.ndarray:
        """The unbiased variance, M2 / (n - 1)."""
        return self._shaped(self._var)

    @property
    def var_stderr(self) -> np.ndarray:
        """The standard error of the variance: sqrt((m4 - m2^2 (n - 3)/(n - 1)) / n), m_p the central moments."""
        return self._shaped(self._var_stderr)

    @property
    def std(self) -> np.ndarray:
        return np.sqrt(self.var)

    @property
    def skew(self) -> np.ndarray:
        """m3 / m2^(3/2), m_p = M_p / n; NaN where all values are the same."""
        n, m2, m3 = self._n, *self.statistics.moments[2:4]
        return self._shaped(_ratio(np.sqrt(n) * m3, m2**1.5))

    @property
    def kurtosis(self) -> np.ndarray:
        """The excess, m4 / m2^2 - 3, m_p = M_p / n: 0 for a Gaussian; NaN where all values are the same."""
        n, m2, m4 = self._n, *self.statistics.moments[2:5:2]
        return self._shaped(_ratio(n * m4, m2**2) - 3)

    @property
    def cov(self) -> np.ndarray:
        """The unbiased covariances of the components, (times, dim, dim), over the paths where both are finite.

        Raises ValueError where no pairs were kept.
        """
        n, m11 = self.statistics.pairs[[0, 4]]
        return self._matrix(self._var, _ratio(m11, n - 1))

    @property
    def cov_stderr(self) -> np.ndarray:
        """Their standard errors: sqrt((m22 - m11^2 (n - 2)/(n - 1) + m20 m02/(n - 1)) / n), (times, dim, dim)."""
        n = self.statistics.pairs[0]
        m20, m11, m02, m22 = self.statistics.pairs[[3, 4, 5, 8]] / np.maximum(n, 1.0)
        square = _ratio(m22 * (n - 1) - m11**2 * (n - 2) + m20 * m02, n * (n - 1))
        return self._matrix(self._var_stderr, np.sqrt(np.maximum(square, 0.0)))

    @property
    def min(self) -> np.ndarray:
        return self._shaped(np.where(self._n > 0, self.statistics.moments[5], np.nan))

    @property
    def max(self) -> np.ndarray:
        return self._shaped(np.where(self._n > 0, self.statistics.moments[6], np.nan))

    @cached_property
    def quantiles(self) -> np.ndarray:
        """The quantiles at `probabilities`: (probabilities, times) or (probabilities, times, dim)."""
        return self.quantile(self.probabilities)

    def quantile(self, q) -> np.ndarray:
        """Quantiles as `np.quantile` defines them: (times, ...) for one q, (len(q), times, ...) for several.

        Off by `quantile_error(q)` at most. Raises ValueError for a probability outside [0, 1].
        """
        return self._each(q, lambda cells, q: cells.quantile(q)[0], self.bins.centre)

    def quantile_error(self, q) -> np.ndarray:
        """The bound of the error of `quantile(q)` against all values sorted: the width of the bin, at most
        2^-8 |x - c| for c of the `bins`, unless x lies in the outermost or the innermost bin."""
        return self._each(q, lambda cells, q: cells.quantile(q)[1])

    def quantile_stderr(self, q) -> np.ndarray:
        """The standard error of `quantile(q)`: sqrt(q (1 - q) / n) / density. NaN for q = 0 and 1, which have none.

        1 / density = (x(q + d) - x(q - d)) / 2d, Siddiqui 1960, with the bandwidth d of Bofinger 1975 for a Gaussian.
        """
        return self._each(q, Cells.quantile_stderr)

    def histogram(self, bins: int | Sequence[float] = 50, time: int = -1, component: int = 0) -> Histogram:
        """The histogram at t[time] of one component.

        bins   edges, increasing; or a number of equal cells from the 0.1% to the 99.9% quantile (fewer where there
               are not that many floating-point numbers between them)

        >>> from sdekit.moments import Accumulator, block_statistics
        >>> values = np.arange(5000.0).reshape(1, 1, -1)
        >>> bins = Bins.from_pilot(values)
        >>> counts, accumulator = bins.counts(), Accumulator(1, 1)
        >>> accumulator.add(0, *block_statistics(values, bins.centre, bins.base, counts))
        >>> summary = Summary(np.zeros(1), accumulator.result(5000, counts), bins, {})
        >>> summary.histogram([0.0, 2048.0, 4096.0]).counts
        array([2048., 2048.])
        """
        t, k = range(len(self.t))[time], range(self.bins.centre.shape[1])[component]
        cells, c = self._cells(t, k), self.bins.centre[t, k]
        if not cells.n:
            raise ValueError(f"no value of component {k} at t = {self.t[t]} is finite: there is no histogram")
        if isinstance(bins, int | np.integer):
            low, high = cells.quantile(np.array([0.001, 0.999]))[0]
            low, high = (low, high) if low < high else (low - 0.5, high + 0.5)
            edges = np.unique(c + np.linspace(low, high, max(int(bins), 0) + 1))
        else:
            edges = np.asarray(bins, float)
        if edges.ndim != 1 or len(edges) < 2 or not (np.diff(edges) > 0).all():
            raise ValueError(f"a histogram needs a number of cells or increasing edges, got {bins!r}")
        return cells.histogram(edges, c, self.statistics.moments[6, t, k])

    def __add__(self, other: "Summary") -> "Summary":
        """One summary of the paths of both, which must be of the same law and share no path.

        Raises ValueError if times, bins or what `info` says of the equation and its solution differ, or if a path of
        the same seed, stream and number is in both. Equations read from a file are compared by what is printed of
        them; given increments are not compared.
        """
        if not isinstance(other, Summary):
            return NotImplemented
        _check_alike(self, other)
        return Summary(self.t, self.statistics + other.statistics, self.bins, _joint_info(self, other),
                       self.scalar, self.probabilities,
                       {name: part + other.tracked[name] for name, part in self.tracked.items()})

    def plot(self, ax=None, **options):
        """A fan chart: bands between quantiles and the mean. See `sdekit.plot.summary_fan`; returns the Axes."""
        from sdekit.plot import summary_fan
        return summary_fan(self, ax, **options)

    def save(self, file: str | Path) -> Path:
        """Write all to one .npz file, for `load`."""
        file = Path(file)
        file = file if file.suffix == ".npz" else file.with_name(file.name + ".npz")
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(file, **_packed(self, ""))
        return file

    @property
    def _n(self) -> np.ndarray:
        return self.statistics.moments[0]

    @property
    def _var(self) -> np.ndarray:
        return _ratio(self.statistics.moments[2], self._n - 1)

    @property
    def _var_stderr(self) -> np.ndarray:
        n = self._n
        m2, m4 = self.statistics.moments[2:5:2] / np.maximum(n, 1.0)
        return np.sqrt(np.maximum(_ratio(m4 * (n - 1) - m2**2 * (n - 3), n * (n - 1)), 0.0))

    def _shaped(self, a: np.ndarray) -> np.ndarray:
        return a[..., 0] if self.scalar else a

    def _matrix(self, diagonal: np.ndarray, pairs: np.ndarray) -> np.ndarray:
        times, dim = diagonal.shape
        if dim > 1 and not pairs.shape[1]:
            raise ValueError(f"covariances of these {dim} components were not kept; there are var and var_stderr")
        out = np.empty((times, dim, dim))
        for k in range(dim):
            out[:, k, k] = diagonal[:, k]
        for p, (k, l) in enumerate(component_pairs(dim)):
            out[:, k, l] = out[:, l, k] = pairs[:, p]
        return out

    def _cells(self, t: int, k: int) -> Cells:
        return self.bins.cells(t, k, self.statistics.counts, *self.statistics.moments[5:, t, k])

    def _each(self, q, function: Callable[[Cells, np.ndarray], np.ndarray], shift: Any = None) -> np.ndarray:
        """function(cells, q) for each time and component: (times, ...) for one q, (len(q), times, ...) for several."""
        q = _check_probabilities(q)
        out = np.empty((q.size, *self.bins.centre.shape))
        with np.errstate(all="ignore"):
            for t, k in np.ndindex(*self.bins.centre.shape):
                out[:, t, k] = function(self._cells(t, k), q.ravel())
        if shift is not None:
            low, high = self.statistics.moments[5:]
            out = np.clip(out + shift, low, high)
        return self._shaped(out.reshape(*q.shape, *self.bins.centre.shape))


def _ratio(a, b):
    """a / b, NaN where b is not positive."""
    a, b = np.broadcast_arrays(a, b)
    return np.divide(a, b, out=np.full(a.shape, np.nan), where=b > 0)


def _check_probabilities(q) -> np.ndarray:
    q = np.asarray(q, float)
    if q.ndim > 1 or not ((q >= 0) & (q <= 1)).all():
        raise ValueError(f"quantiles are asked for by probabilities from 0 to 1, got {q}; for 5% write 0.05")
    return q


# Joining and keeping summaries ---------------------------------------------------------------------------------------

_OF_A_RUN = ("seed", "stream", "first", "paths")
_COUNTS = "stopped", "accepted", "rejected"


def _check_alike(a: Summary, b: Summary) -> None:
    if not np.array_equal(a.t, b.t):
        raise ValueError(f"summaries at different times cannot be added: {a.t} and {b.t}")
    if a.scalar != b.scalar or a.bins.centre.shape != b.bins.centre.shape:
        raise ValueError(f"summaries of different states cannot be added: {a.bins.centre.shape[1]} and "
                         f"{b.bins.centre.shape[1]} components")
    for key in sorted({*a.info, *b.info} - {*_OF_A_RUN, *_COUNTS, "runs", "backend"}):
        if not _same(a.info.get(key), b.info.get(key)):
            one, other = str(a.info.get(key)), str(b.info.get(key))
            why = f"{key} is {one} in one and {other} in the other"
            why = f"the functions of {one} differ" if one == other else why
            raise ValueError(f"summaries of different runs cannot be added: {why}")
    if set(a.tracked) != set(b.tracked):
        raise ValueError(f"summaries that track different things cannot be added: {sorted(a.tracked)} and "
                         f"{sorted(b.tracked)}")
    if not a.bins.same(b.bins):
        raise ValueError("summaries with different bins cannot be added; bins come from the equation, its start and "
                         "the times, one of which must differ")
    for seed, stream, first, paths in _runs(a.info):
        for seed_, stream_, first_, paths_ in _runs(b.info):
            if (seed, stream) == (seed_, stream_) and first < first_ + paths_ and first_ < first + paths:
                raise ValueError(
                    f"both summaries hold path {max(first, first_)} of seed={seed}, stream={stream}: the same numbers "
                    f"twice. Take another seed, or paths from first={max(first + paths, first_ + paths_)} on")


def _same(a, b) -> bool:
    if a is b:
        return True
    if isinstance(a, str) or isinstance(b, str):
        return str(a) == str(b)
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return np.array_equal(a, b)
    if hasattr(a, "parameters") and hasattr(b, "parameters"):
        functions = [(getattr(a, f, None), getattr(b, f, None)) for f in ("drift", "diffusion", "transition")]
        return repr(a) == repr(b) and all(_same_function(f, g) for f, g in functions)
    return a == b


def _same_function(f, g) -> bool:
    """The same code around the same values."""
    held = [repr([cell.cell_contents for cell in getattr(h, "__closure__", None) or ()]) for h in (f, g)]
    return f is g or (getattr(f, "__code__", f) == getattr(g, "__code__", g) and held[0] == held[1])


def _runs(info: Mapping[str, Any]) -> list[tuple[int, ...]]:
    """The (seed, stream, first, paths) of each run; none for given increments."""
    if "runs" in info:
        return [tuple(run) for run in info["runs"]]
    return [tuple(info[key] for key in _OF_A_RUN)] if all(key in info for key in _OF_A_RUN) else []


def _joint_info(a: Summary, b: Summary) -> dict[str, Any]:
    """What is common, and the runs; neighbours become one."""
    info = {key: value for key, value in a.info.items() if key not in (*_OF_A_RUN, "runs")}
    backends = {name for part in (a, b) for name in str(part.info.get("backend", "")).split(" and ") if name}
    if backends:
        info["backend"] = " and ".join(sorted(backends))
    runs: list[tuple[int, ...]] = []
    for seed, stream, first, paths in sorted(_runs(a.info) + _runs(b.info)):
        if runs and runs[-1][:2] == (seed, stream) and runs[-1][2] + runs[-1][3] == first:
            first, paths = runs[-1][2], runs.pop()[3] + paths
        runs.append((seed, stream, first, paths))
    info |= {key: a.info[key] + b.info[key] for key in _COUNTS if key in info}
    if len(runs) == 1:
        return info | dict(zip(_OF_A_RUN, runs[0]))
    return info | {"paths": a.total + b.total} | ({"runs": runs} if runs else {})


def _packed(summary: Summary, prefix: str) -> dict[str, Any]:
    """The arrays of a file; of the counts only those that are not 0. The parts of `tracked` have a longer prefix."""
    s, cells = summary.statistics, np.flatnonzero(summary.statistics.counts)
    about = {"format": FORMAT, "total": s.total, "scalar": summary.scalar, "tracked": list(summary.tracked),
             "probabilities": np.asarray(summary.probabilities, float).tolist(), "info": dict(summary.info)}
    arrays = {"about": json.dumps(about, default=str), "t": summary.t, "moments": s.moments, "pairs": s.pairs,
              "cells": cells, "counts": s.counts.ravel()[cells], "centre": summary.bins.centre,
              "exponent": summary.bins.exponent}
    packed = {prefix + name: value for name, value in arrays.items()}
    for i, part in enumerate(summary.tracked.values()):
        packed |= _packed(part, f"{prefix}{i}/")
    return packed


def _unpacked(held, prefix: str) -> Summary:
    about = json.loads(str(held[prefix + "about"]))
    if about["format"] != FORMAT:
        raise ValueError(f"format {about['format']}, but this version reads {FORMAT}")
    bins = Bins(held[prefix + "centre"], held[prefix + "exponent"])
    counts = bins.counts()
    counts.ravel()[held[prefix + "cells"]] = held[prefix + "counts"]
    statistics = Statistics(about["total"], held[prefix + "moments"], held[prefix + "pairs"], counts)
    tracked = {name: _unpacked(held, f"{prefix}{i}/") for i, name in enumerate(about["tracked"])}
    return Summary(held[prefix + "t"], statistics, bins, about["info"], about["scalar"],
                   tuple(about["probabilities"]), tracked)


def load(file: str | Path) -> Summary:
    """A summary from the file that `save` wrote; equation and method in `info` are what was printed of them.

    Raises FileNotFoundError, or ValueError for a file that holds no summary.
    """
    try:
        with np.load(file) as held:
            return _unpacked(held, "")
    except (KeyError, ValueError, OSError, TypeError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"{file} is no file of Summary.save: {error}") from None
