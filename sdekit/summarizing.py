"""From the engines' values to statistics: each block of paths is counted by the thread that computed it."""

import threading
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from sdekit.bins import Bins
from sdekit.moments import BLOCK, Accumulator, Statistics
from sdekit.noise import MAX_STREAM
from sdekit.run import NonFinite, Whole
from sdekit.work import Work

CACHE = 2**20  # bytes of values that a thread holds at a time
PILOT = 2048  # paths that tell where the values lie
PART = 2**18  # paths at a time on Torch
PAIRED = 32  # components whose covariances are kept


class _Group:
    """Statistics of some of the numbers that the paths carry."""

    def __init__(self, which: slice, pilot: np.ndarray):
        self.which, self.bins = which, Bins.from_pilot(np.ascontiguousarray(pilot[:, which]))
        times, dim = self.bins.centre.shape
        self.pairs = dim * (dim - 1) // 2 if dim <= PAIRED else 0
        self.accumulator, self.counts = Accumulator(times, dim, paired=dim <= PAIRED), {}

    def add(self, law: Callable, values: np.ndarray, block: int, lock: threading.Lock) -> None:
        part = np.ascontiguousarray(values[:, self.which])
        thread = threading.get_ident()
        if thread not in self.counts:
            self.counts[thread] = self.bins.counts()
        times, dim, n = part.shape
        blocks = -(-n // BLOCK)
        moments, pairs = np.empty((7, blocks, times, dim)), np.empty((9, blocks, times, self.pairs))
        law(part, self.bins.centre, self.bins.base, self.counts[thread], moments, pairs)
        with lock:
            self.accumulator.add(block, moments, pairs)

    def result(self, paths: int) -> tuple[Statistics, Bins]:
        counts = sum(self.counts.values(), self.bins.counts())
        return self.accumulator.result(paths, counts), self.bins


class _Blocks:
    """The sink that keeps statistics."""

    block = BLOCK

    def __init__(self, work: Work, law: Callable, groups: list[_Group]):
        self.shape, self.law, self.groups = (len(work.run.save), work.dim), law, groups
        self.most = max(BLOCK, CACHE // (8 * self.shape[0] * self.shape[1]))
        self.own, self.lock = threading.local(), threading.Lock()
        self.stopped = 0 if work.stops else None
        self.first, self.tally = work.run.first, work.run.tally

    def room(self, rows: slice) -> tuple[np.ndarray, int]:
        shape = (*self.shape, rows.stop - rows.start)
        if getattr(self.own, "values", np.empty(0)).shape != shape:
            self.own.values = np.empty(shape)
        return self.own.values, 0

    def done(self, rows: slice, values: np.ndarray, place: int) -> None:
        if self.tally and self.tally.lost:
            self._check(rows, values, self.tally.lost)
        for group in self.groups:
            group.add(self.law, values, rows.start // BLOCK, self.lock)
        if self.stopped is not None:
            with self.lock:
                self.stopped += int((values[-1, -1] < np.inf).sum())

    def _check(self, rows: slice, values: np.ndarray, lost: dict[int, float]) -> None:
        """No statistics of what is left where adaptive steps lost paths: the end of some is not independent of x."""
        gone = np.isnan(values).any(axis=(0, 1))
        if gone.any():
            path = rows.start + int(gone.argmax())
            raise FloatingPointError(
                f"path {path} needs steps too small for the rounding of times at "
                f"t = {lost[self.first + path]:.6g}, and statistics of the others alone would be biased. "
                "Does the solution end there, or are rtol and atol too strict? simulate() keeps the other paths, and "
                "tells those that it lost in info['lost']")


def summarized(work: Work) -> tuple[list[tuple[Statistics, Bins]], int | None, Work]:
    """Statistics and bins of the state, then of each thing tracked; how many paths were stopped; the work as done."""
    def go(work: Work, tick: Callable):
        pilot, state = _pilot(work), work.dim - len(work.items) - work.stops
        groups = [_Group(slice(0, state), pilot)]
        groups += [_Group(slice(state + k, state + k + 1), pilot) for k in range(len(work.items))]
        sink = _Blocks(work, _law(work.backend), groups)
        if work.backend == "torch":
            for begin in range(0, work.run.paths, PART):
                rows = slice(begin, min(begin + PART, work.run.paths))
                sink.done(rows, _values(replace(work, run=work.run.part(rows))), 0)
                tick((rows.stop - rows.start) * work.run.steps)
        else:
            work.onto(sink, tick)
        return [group.result(work.run.paths) for group in groups], sink.stopped

    (groups, stopped), work = work.carried_out(go)
    return groups, stopped, work


def _law(backend: str) -> Callable:
    """What counts a block: compiled where Numba or Torch has been loaded anyway."""
    if backend == "numpy":
        from sdekit.moments import block_statistics
    else:
        from sdekit.numba_moments import block_statistics
    return block_statistics


def _pilot(work: Work) -> np.ndarray:
    """The first paths under a seed of their own, the same whatever the run's: so that summaries have the same bins.

    They say where the values lie, so those from the first one on that is not finite are left out.
    """
    starts = any(len(c) > 1 for c in work.begin.components) and work.begin.law is None
    own = starts or any(np.ndim(v) for v in work.run.p)
    count = min(PILOT, work.run.paths) if own else PILOT
    while count:
        try:
            return _values(work.trial(count, 0, MAX_STREAM - 1))
        except NonFinite as fault:
            count = fault.path
    start = np.concatenate([np.ravel(np.asarray(c[0], float)) for c in work.run.x0])
    return np.repeat(start[None, :, None], len(work.run.save), axis=0)


def _values(work: Work) -> np.ndarray:
    """(times, numbers a path carries, paths)"""
    if work.backend == "torch":
        from sdekit.torch_engine import run_torch
        device = work.how.device or getattr(work.run.x0[0], "device", "cpu")
        x = run_torch(work.step, work.run, work.begin.tensor, device, None, lambda steps: None)
        x = x.detach().cpu().double().numpy()
        return np.ascontiguousarray(x.reshape(*x.shape[:2], -1).transpose(1, 2, 0))
    sink = Whole(len(work.run.save), work.dim, work.run.paths)
    work.onto(sink, lambda steps: None)
    return sink.x
