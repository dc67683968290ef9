"""Samplers side by side: for the same denoiser, how far each one ends from where it would lead with steps without end,
how far its samples are from those of the data, and what it costs.

    strong error   |x_N - x_ref| / sqrt(d) of each sample, x_ref by very many steps on the same noise
    rms, median    over the samples, in the data's units
    sliced         Wasserstein distance, and MMD^2, of the samples to independent ones of the reference

The flow ODE has one solution from each start, and all deterministic methods are compared with it: `CONVERGED` in many
steps. A stochastic method has a limit of its own, on one Brownian motion a sample; it is compared with itself in many
steps. What a reference lacks itself is measured, by one of half as many steps. Intervals are of 95%, by a bootstrap
over the samples with the same picks for all, so that differences have intervals too.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from diffusion.denoiser import Denoiser
from diffusion.distances import Kernel, between, interval, median_distance, picks, shadows, vectors
from diffusion.grid import Grid, default
from diffusion.guidance import Derived
from diffusion.process import Process
from diffusion.samplers import Sampler, dpmpp_2m, dpmpp_3s, dpmpp_multistep, heun
from diffusion.sampling import sample
from sdekit.convergence import table
from sdekit.noise import check_seed, whole

CONVERGED = dpmpp_multistep(4, start=dpmpp_3s)
FAR = 1e4  # sigma/alpha from which a reference counts on, where a grid begins at alpha = 0
TIMES, DIRECTIONS = 200, 128  # of the bootstrap; of sliced distances
LEAST = 8  # samples: of fewer the bootstrap soon picks one alone, which has no pairs for MMD
MEASURES = {"rms": "strong error, RMS", "median": "strong error, median", "sliced": "sliced Wasserstein distance",
            "mmd": "MMD²"}
_OPTIONS = {"guidance", "interval", "shape", "batch"}

Maker = Callable[[int], Grid]


class Estimate(NamedTuple):
    """A value and its 95% interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2g} ({self.low:.2g} to {self.high:.2g})"


@dataclass(frozen=True, eq=False)
class Row:
    """One method in so many steps.

    nfe           evaluations of the denoiser for a sample, the mean where they differ
    rms, median   strong error, in the data's units; None for a method that claims no order
    sliced        Wasserstein distance to the reference's samples, in the data's units
    mmd           MMD^2, without unit
    seconds       for all n samples, the median of the rounds
    ratio         of these seconds to those of the first row, the median of ratios within a round
    samples       (n, ...)
    errors        strong error of each sample, (n,)
    """

    method: Sampler
    steps: int
    nfe: float
    rms: Estimate | None
    median: Estimate | None
    sliced: Estimate
    mmd: Estimate
    seconds: float
    ratio: float
    samples: Tensor = field(repr=False)
    errors: np.ndarray | None = field(repr=False)
    again: Mapping[str, np.ndarray] = field(repr=False)

    def of(self, measure: str) -> Estimate | None:
        """One of "rms", "median", "sliced", "mmd"."""
        _known(measure)
        return getattr(self, measure)


@dataclass(frozen=True, eq=False)
class Recommendation:
    """`best` of the rows within a budget, and `equals`: other methods' that cannot be told from it; print it."""

    best: Row
    equals: tuple[Row, ...]
    of: str
    nfe: float

    def __str__(self) -> str:
        name = lambda row: f"{row.method!r} in {row.steps} steps ({row.nfe:g} evaluations)"
        told = (f"{name(self.best)}: {MEASURES[self.of]} {self.best.of(self.of)}, the least within {self.nfe:g} "
                "evaluations.")
        same = [f"It cannot be told from {name(row)}, {row.of(self.of)}." for row in self.equals]
        return "\n".join([told, *same])


@dataclass(frozen=True, eq=False)
class Comparison:
    """What `compare` measured: `rows`, methods in the order given, steps as given; print it, .plot() it.

    floor     "sliced" and "mmd", distances between two independent sets of the reference's own samples: no method can
              be seen to be better. None for a reference that was given
    lacking   the reference's own RMS error, by method: errors near it say nothing
    refused   what could not be run, with the reason
    info      n, seed, process, the grid's first and last noise level, how the references were made
    """

    rows: Sequence[Row]
    floor: Mapping[str, Estimate] | None
    lacking: Mapping[str, float]
    refused: Mapping[str, str]
    info: Mapping[str, Any] = field(repr=False)

    def __str__(self) -> str:
        about = self.info
        lines = [f"{about['denoiser']}, {about['n']} samples of {about['process']!r} from noise level "
                 f"{about['top']:g} to {about['end']:g}, seed {about['seed']}; distances to {about['reference']}", ""]
        told = lambda e: "-" if e is None else str(e)
        head = ["method", "steps", "nfe", "rms error", "median error", "sliced W", "MMD² / 1e-3", "s", "ratio"]
        lines += table(head, [
            [repr(r.method), f"{r.steps}", f"{r.nfe:g}", told(r.rms), told(r.median), str(r.sliced),
             str(Estimate(*(1e3 * v for v in r.mmd))), f"{r.seconds:.2g}", f"{r.ratio:.2f}"] for r in self.rows])
        lines.append("")
        if self.floor:
            lines.append("two sets of the reference's own samples: sliced W {sliced}, MMD² {mmd.value:.1e}".format(
                **self.floor))
        lines += [f"the reference of {name} lacks {value:.1e} (RMS)" for name, value in self.lacking.items()]
        return "\n".join(lines + [f"{name}: refused. {why}" for name, why in self.refused.items()])

    def recommend(self, nfe: float, of: str = "median") -> Recommendation:
        """The row of least error with at most so many evaluations, and what cannot be told from it.

        of   "median", "rms", "sliced" or "mmd"; strong errors of stochastic methods are those from their own limits

        Two cannot be told apart where the 95% interval of their difference has 0 in it, both on the same noise.
        Raises ValueError where no row is within the budget, or of a strong error where no method claims an order.
        """
        _known(of)
        known = [row for row in self.rows if row.of(of) is not None]
        if not known:
            raise ValueError(f"none of these methods claims an order, so none has a strong error; ask for "
                             f'recommend({nfe:g}, of="sliced"), by the distance of their samples')
        within = [row for row in known if row.nfe <= nfe * (1 + 1e-9)]
        if not within:
            raise ValueError(f"no method with {MEASURES[of]} took at most {nfe:g} evaluations; the least is "
                             f"{min(row.nfe for row in known):g}")
        value = lambda row: row.of(of).value
        best = min(within, key=value)
        rivals = [min((row for row in within if row.method is m), key=value)
                  for m in dict.fromkeys(row.method for row in within) if m is not best.method]

        def alike(row: Row) -> bool:
            low, high = interval(value(row) - value(best), row.again[of] - best.again[of])
            return low <= 0 <= high

        return Recommendation(best, tuple(row for row in sorted(rivals, key=value) if alike(row)), of, nfe)

    def plot(self, ax=None, *, of: str = "rms", against: str = "nfe"):
        """Errors against evaluations. See `diffusion.plot.comparison`; returns the Axes."""
        from diffusion.plot import comparison
        return comparison(self, ax, of=of, against=against)


def compare(denoiser: Denoiser, methods: Sequence[Sampler] | Sampler = (heun, dpmpp_2m),
            steps: Sequence[int] | int | None = None, *, nfe: Sequence[int] | int | None = None, n: int = 256,
            process: Process | None = None, grid: Maker | None = None, label: Any = None, seed: int = 0,
            reference: Tensor | None = None, close: bool = True, finer: int = 8, rounds: int = 3,
            progress: bool | None = None, **options) -> Comparison:
    """Sample by each method in each number of steps, on the same noise, and measure errors, distances and seconds.

    denoiser    trained or exact
    steps       a number of steps or several, by default (8, 16, 32); or in their place
    nfe         numbers of evaluations of the denoiser, of which every method takes as many steps as it can
    n           how many samples, 8 or more; each is compared with its own reference
    process     by default EDM's; with it goes the grid of `diffusion.grid.default`, or
    grid        a function: steps -> Grid; all of its grids begin and end at the same levels
    label       as in `sample`, for all methods and for the reference
    reference   samples (m, ...) of the data, 8 or more of the same shape, for the distances: MMD is a mean over pairs
                of different samples, and its interval comes of resampling them. By default those of an exact
                denoiser's own law, else independent ones of the converged flow
    close       whether the samples end with x <- D
    finer       how many times more steps than the most of `steps` the references have
    rounds      how often all rows take their turn to be timed
    options     of `sample`: guidance, interval, shape, batch

    Returns `Comparison`. Raises TypeError and ValueError for arguments that do not fit; what fails of a single method
    is among its `refused`.

    >>> from diffusion.exact import Gaussian
    >>> found = compare(Gaussian(0.0, 1.0, shape=(2,)), [heun, dpmpp_2m], nfe=[9, 17], n=50, rounds=1, progress=False)
    >>> [(row.method, row.steps, row.nfe) for row in found.rows]
    [(heun, 4, 9.0), (heun, 8, 17.0), (dpmpp_2m, 8, 9.0), (dpmpp_2m, 16, 17.0)]
    """
    listed = _methods(methods)
    n, seed = whole("n", n, 2**31, start=LEAST), check_seed(seed)
    finer, rounds = whole("finer", finer, 2**20, start=2), whole("rounds", rounds, 2**20, start=1)
    if set(options) - _OPTIONS:
        raise TypeError(f"compare hands guidance, interval, shape and batch on to sample, and has no use for "
                        f"{', '.join(sorted(set(options) - _OPTIONS))}")
    if grid is not None and (isinstance(grid, Grid) or not callable(grid)):
        raise TypeError("grid makes a grid of any number of steps, such as lambda n: df.grid.edm(n, rho=5); got "
                        f"{grid!r}")
    if grid is not None and process is not None:
        raise ValueError("a process was given beside a function that makes grids, which have their own; give one of "
                         "them")
    if reference is not None:
        reference = torch.as_tensor(reference)
        if reference.ndim < 1 or len(reference) < LEAST:
            raise ValueError(f"reference must be {LEAST} samples or more, (m, ...), for distances are taken between "
                             f"resampled ones; got the shape {tuple(reference.shape)}")
    make = (lambda count: default(process, count)) if grid is None else _checked(grid)
    run = _Runs(denoiser, n, label, seed, close, make, options)
    counts, refused = _counts(run, listed, steps, nfe)
    if not counts:
        raise _none(refused)
    ends = run.ends({count for _, count in counts})
    bar = tqdm(total=(rounds + 1) * len(counts) + len(listed) + 2, unit="run", leave=False,
               disable=None if progress is None else not progress)
    with bar:
        samples, seconds = run.timed(counts, rounds, bar, refused)
        counts = [key for key in counts if key in samples]
        if not counts:
            raise _none(refused)
        truths, lacking = {}, {}
        for kind in dict.fromkeys(run.limit(m) for m, _ in counts):
            if kind is not None:
                own = [c for m, c in counts if run.limit(m) is kind]
                truths[kind], lacking[_limit_name(kind)] = run.truth(kind, ends, finer * max(own))
            bar.update()
        target, floor, told = run.target(reference, ends, finer * max(c for _, c in counts), truths)
        measured = _Distances(target, next(iter(samples.values())).samples, seed)
        rows = []
        for k, (method, count) in enumerate(counts):
            found, limit = samples[method, count], run.limit(method)
            errors = None if limit is None else run.errors(method, count, found.samples, truths[limit])
            again, estimates = measured.of(found.samples, errors)
            rows.append(Row(method, count, float(torch.as_tensor(found.nfe).mean()), estimates.get("rms"),
                            estimates.get("median"), estimates["sliced"], estimates["mmd"],
                            float(np.median(seconds[:, k])), float(np.median(seconds[:, k] / seconds[:, 0])),
                            found.samples, errors, again))
            bar.update()
    if floor is not None:
        floor = measured.of(floor, None)[1]
    info = {"denoiser": denoiser, "n": n, "seed": seed, "process": ends.process, "top": ends.levels[0].noise,
            "end": ends.levels[-1].noise, "reference": told}
    return Comparison(tuple(rows), floor, lacking, refused, info)


def _checked(grid: Maker) -> Maker:
    """The function, whose grids are to have as many steps as they were asked for."""
    def make(count: int) -> Grid:
        found = grid(count)
        if not isinstance(found, Grid):
            raise TypeError(f"grid is to make a grid, such as lambda n: df.grid.edm(n, rho=5); for {count} steps it "
                            f"made {found!r}")
        if len(found) != count:
            raise ValueError(f"grid was asked for {count} steps and made {len(found)}: {found!r}; give a function of "
                             "the number of steps, such as lambda n: df.grid.edm(n, rho=5)")
        return found

    return make


def _none(refused: Mapping[str, str]) -> ValueError:
    return ValueError("no method could be run: " + "; ".join(f"{k}: {v}" for k, v in refused.items()))


def refined(ends: Grid, steps: int) -> Grid:
    """Equal steps in ln(sigma/alpha) between the ends of a grid; from alpha = 0 the first leads to FAR."""
    first, last, process = ends.levels[0], ends.levels[-1], ends.process
    top = min(first.noise, max(FAR, 10 * last.noise))
    inner = np.geomspace(top, last.noise, steps + 1)[1 if first.alpha else 0:-1]
    return Grid("refined", (first, *(process.at(v) for v in inner.tolist()), last), process)


def norms(x: Tensor) -> np.ndarray:
    """|x| / sqrt(d) of each sample, (n,)."""
    return x.flatten(1).square().mean(1).sqrt().numpy() if x.ndim > 1 else x.abs().numpy()


class _Runs:
    """Runs of one denoiser that share all but method and grid."""

    def __init__(self, denoiser: Any, n: int, label: Any, seed: int, close: bool, make: Maker, options: Mapping):
        self.denoiser, self.n, self.label, self.seed, self.close = denoiser, n, label, seed, close
        self.make, self.options = make, options

    def sampled(self, method: Sampler, grid: Grid, nested: bool = False, n: int | None = None, first: int = 0):
        label = self.label
        if n is not None and label is not None and np.ndim(label):
            label = torch.as_tensor(label)[torch.arange(n) % self.n]
        return sample(self.denoiser, n or self.n, method=method, grid=grid, label=label, seed=self.seed, first=first,
                      close=self.close, nested=nested, dtype=torch.float64, progress=False, **self.options)

    def ends(self, counts: set[int]) -> Grid:
        """A grid from which all others' ends are known, to be the same."""
        grids = [self.make(count) for count in sorted(counts)]
        for g in grids:
            for which, a, b in zip(("begins", "ends"), (g.levels[0], g.levels[-1]),
                                   (grids[0].levels[0], grids[0].levels[-1])):
                if a.noise != b.noise and not math.isclose(a.noise, b.noise, rel_tol=1e-9):
                    raise ValueError(f"errors are compared at the same end from the same start, but {g!r} {which} at "
                                     f"sigma/alpha = {a.noise:g} and {grids[0]!r} at {b.noise:g}; give a function "
                                     "whose grids differ in their number of steps alone")
        return grids[0]

    @staticmethod
    def limit(method: Sampler) -> Sampler | None:
        """What leads to where the method would in very many steps; None if it has no such limit."""
        return None if method.order is None else method if method.stochastic else CONVERGED

    def truth(self, limit: Sampler, ends: Grid, steps: int) -> tuple[Tensor, float]:
        """The limit's states, and the RMS of what they lack."""
        fine, half = (self.sampled(limit, refined(ends, k), limit.stochastic).samples for k in (steps, steps // 2))
        return fine, float((norms(fine - half) ** 2).mean() ** 0.5) * _remaining(limit)

    def errors(self, method: Sampler, count: int, samples: Tensor, truth: Tensor) -> np.ndarray:
        """Strong errors, (n,); those of stochastic methods on one Brownian motion."""
        if method.stochastic:
            samples = self.sampled(method, self.make(count), nested=True).samples
        return norms(samples - truth)

    def timed(self, counts, rounds: int, bar, refused: dict) -> tuple[dict, np.ndarray]:
        """Results by method and steps, and seconds (rounds, results), all of them in turn in each round."""
        samples, seconds = {}, []
        for again in range(rounds):
            took = []
            for method, count in list(counts if not again else samples):
                try:
                    found = self.sampled(method, self.make(count))
                except (TypeError, ValueError, FloatingPointError) as error:
                    refused[f"{method!r} in {count} steps"] = str(error)
                    continue
                finally:
                    bar.update()
                samples.setdefault((method, count), found)
                took.append(found.seconds)
            seconds.append(took)
        return samples, np.array(seconds)

    def target(self, reference, ends: Grid, steps: int, truths: Mapping) -> tuple[Tensor, Tensor | None, str]:
        """Samples to be compared with, as many independent ones if they are to be had, and what they are."""
        if reference is not None:
            return torch.as_tensor(reference), None, f"{len(reference)} samples that were given"
        if callable(getattr(self.denoiser, "sample", None)) and not isinstance(self.denoiser, Derived):
            two = [self.denoiser.sample(self.n, seed=self.seed, first=k * self.n, **(
                {} if self.label is None else {"condition": self.label})) for k in (0, 1)]
            return two[0], two[1], f"{self.n} samples of its exact law"
        grid = refined(ends, steps)
        other = truths.get(CONVERGED)
        return (self.sampled(CONVERGED, grid, n=self.n, first=self.n).samples, other,
                f"{self.n} other samples of the flow in {steps} steps")


class _Distances:
    """Of many sets of samples to one target, with the same directions, width and picks."""

    def __init__(self, target: Tensor, like: Tensor, seed: int):
        self.target, self.seed = target, seed
        x, y = vectors(like, target)
        self.width = median_distance(y)
        self.picked = picks(len(x), TIMES, seed), picks(len(y), TIMES, seed, 0xB1)

    def of(self, samples: Tensor, errors: np.ndarray | None) -> tuple[dict[str, np.ndarray], dict[str, Estimate]]:
        """Bootstrap estimates and intervals, by measure."""
        x, y = vectors(samples, self.target)
        a, b = shadows(x, y, DIRECTIONS, self.seed)
        kernel, (rows, others) = Kernel(x, y, self.width), self.picked
        often = lambda picked, n: np.apply_along_axis(np.bincount, 1, picked, minlength=n).astype(float)
        values = {"sliced": between(a, b), "mmd": kernel.value()}
        again = {"sliced": np.array([between(a[i], b[j]) for i, j in zip(rows, others)]),
                 "mmd": np.array([kernel.value(p, q) for p, q in zip(often(rows, len(x)), often(others, len(y)))])}
        if errors is not None:
            for name, function in (("rms", lambda e: (e**2).mean(-1) ** 0.5), ("median", lambda e: np.median(e, -1))):
                values[name], again[name] = float(function(errors)), function(errors[rows])
        return again, {name: Estimate(value, *interval(value, again[name])) for name, value in values.items()}


def _methods(methods) -> list[Sampler]:
    listed = [methods] if isinstance(methods, Sampler) else list(methods)
    for method in listed:
        if not isinstance(method, Sampler):
            raise TypeError(f"methods are samplers, such as df.heun or df.unipc(3); got {method!r}")
    if not listed or len({id(m) for m in listed}) < len(listed):
        raise ValueError(f"methods must be one or more different ones, got {listed}")
    return listed


def _counts(run: _Runs, methods: list[Sampler], steps, nfe) -> tuple[list[tuple[Sampler, int]], dict[str, str]]:
    """Methods and numbers of steps."""
    if steps is not None and nfe is not None:
        raise TypeError("give steps, or nfe in their place")
    if nfe is None:
        wanted = _numbers("steps", (8, 16, 32) if steps is None else steps)
        return [(method, k) for method in methods for k in wanted], {}
    budgets, counts, refused = _numbers("nfe", nfe), [], {}
    cost = lambda method, k: float(torch.as_tensor(run.sampled(method, run.make(k), n=1).nfe).mean())
    for method in methods:
        few, more = cost(method, 8), cost(method, 16)
        each = (more - few) / 8  # of a step; few - 8 each are those of its start and its end
        for budget in budgets:
            count = math.floor((budget - few) / each + 1e-6) + 8 if each else 0
            if count < 1 and (least := cost(method, 1)) > budget:
                refused[f"{method!r} in {budget} evaluations"] = (
                    f"a step takes {each:g}, and start and end {few - 8 * each:g} more; the least is {least:g}")
            elif (method, max(count, 1)) not in counts:
                counts.append((method, max(count, 1)))
    return counts, refused


def _numbers(name: str, given) -> list[int]:
    """One number or several, each once."""
    found = [whole(name, k, 2**30, start=1) for k in (given if isinstance(given, Iterable) else [given])]
    if not found:
        raise ValueError(f"{name} must be one or more numbers, got {given!r}")
    return list(dict.fromkeys(found))


def _limit_name(limit: Sampler) -> str:
    return f"{limit!r}" if limit.stochastic else f"the flow, {limit!r},"


def _remaining(limit: Sampler) -> float:
    """What is left of an error, in units of what doubling the steps took away."""
    return 1 / (2.0 ** (limit.order or 1) - 1)


def _known(measure: str) -> None:
    if measure not in MEASURES:
        raise ValueError(f"the measures are {', '.join(MEASURES)}; got {measure!r}")
