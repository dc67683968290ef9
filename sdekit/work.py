"""A simulation made ready: everything that was asked for, checked; the execution chosen; to be run onto a sink."""

import math
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from tqdm import tqdm

from sdekit import noise as noises
from sdekit.adaptive import Cellwise, Tally, embedded, halving
from sdekit.areas import area_level
from sdekit.array_engine import NUMPY, not_on_arrays, run_numpy
from sdekit.brownian import Brownian
from sdekit.components import coefficients
from sdekit.drawing import of_arrays, of_brownian, to_the_side
from sdekit.fitting import adaptive_fit, fitted
from sdekit.inputs import Start, check_domain, saved_times, start, time_grid
from sdekit.markov import MarkovProcess
from sdekit.maths import captured, rebind
from sdekit.methods import exact, own_method
from sdekit.noise import whole
from sdekit.ode import ODEMethod
from sdekit.run import NonFinite, Run, Sink, Unfit, Whole, columns
from sdekit.sde import ODE, SDE, Equation, Structure, in_numbers, numbers, structure, takes
from sdekit.tracking import Tracker, exponentials, tracked, trackers

COMPILE_ABOVE = 2e7  # steps x paths x (components + noises): where a compilation of 2 s pays
CELLS = 30  # that adaptive steps make of a step of the grid, very roughly
COARSEST, DEFAULT = 16, (1e-6, 1e-9)  # adaptive steps: the grid where none is given; tolerances of an ODE's
BACKENDS = ("auto", "numpy", "numba", "torch")
RATES = {"numpy": 5e6, "numba": 1e8, "torch": 2e7}  # steps x paths x (components + noises) per second, roughly


@dataclass(frozen=True)
class Execution:
    """Where and how a run is to be executed, as the user asked."""

    backend: str = "auto"
    threads: int | None = None
    device: Any = None
    progress: bool | None = None
    nonfinite: str = "raise"
    dtype: Any = None
    bits: int = 64
    rtol: float | None = None
    atol: float | None = None
    checkpoint: int | None = None
    compile: bool = False

    def __post_init__(self):
        if self.backend not in BACKENDS:
            raise ValueError(f"backend must be one of {', '.join(BACKENDS)}; got {self.backend!r}")
        if self.nonfinite not in ("raise", "stop"):
            raise ValueError(f'nonfinite must be "raise" (an error that names the path) or "stop" (that path stays '
                             f"where it was); got {self.nonfinite!r}")
        if self.dtype is not None and np.dtype(self.dtype) not in (np.dtype(np.float32), np.dtype(np.float64)):
            raise ValueError(f"values are stored as float64 or float32, got dtype={self.dtype!r}")
        if self.bits not in (64, 32):
            raise ValueError(f"bits of the noise are 64, or 32 for a coarser and faster one; got {self.bits!r}")
        if self.progress not in (None, True, False):
            raise TypeError(f"progress must be True, False or None, got {self.progress!r}")
        for name, value in ("rtol", self.rtol), ("atol", self.atol):
            if value is not None and (isinstance(value, bool) or not isinstance(value, Real)
                                      or not 0.0 <= value < math.inf):
                raise ValueError(f"{name} must be a number from 0 on, got {value!r}")
        if self.checkpoint is not None:
            whole("checkpoint, the steps between two states that are kept,", self.checkpoint, noises.MAX_STEPS, start=1)
        if self.compile not in (True, False):
            raise TypeError(f"compile must be True or False, got {self.compile!r}")
        if self.tolerances and max(self.tolerances) == 0.0:
            raise ValueError("rtol and atol are both 0: no step is small enough; give one of them, as in rtol=1e-3")

    @property
    def tolerances(self) -> tuple[float, float] | None:
        """(rtol, atol), where one of them was given: alone, rtol has atol = rtol / 1000, and atol has rtol = 0."""
        if self.rtol is None:
            return None if self.atol is None else (0.0, float(self.atol))
        return float(self.rtol), float(1e-3 * self.rtol if self.atol is None else self.atol)


@dataclass(frozen=True)
class Work:
    """One simulation, ready to run.

    shape     of the equation, and the kind of its noise, as far as the method asks; `items` are tracked beside its
              components
    origin    names the noise: seed, stream and first path; empty where increments were given, or there are none
    noise     the Brownian or the increments that were given
    backend   the execution, chosen
    """

    equation: Equation
    method: Any
    begin: Start
    shape: Structure
    kind: str
    items: tuple[Tracker, ...]
    run: Run
    origin: dict[str, int]
    how: Execution
    backend: str
    noise: Any = None

    @property
    def tolerances(self) -> tuple[float, float] | None:
        """(rtol, atol) of steps of each path's own length; None: the steps are those of the grid."""
        return (self.run.tally.rtol, self.run.tally.atol) if self.run.tally else None

    @property
    def times(self) -> np.ndarray:
        """The saved times."""
        return self.run.grid[self.run.save] + self.run.offset

    @property
    def dim(self) -> int:
        """How many numbers a path carries: the elements of its state, what is tracked, when it was stopped."""
        return math.prod(self.begin.inner or ()) * self.run.kept

    @property
    def stops(self) -> bool:
        return self.how.nonfinite == "stop"

    @property
    def step(self) -> Callable | Cellwise:
        equation, items = self.equation, tuple(replace(item, level=0.0) for item in self.items)  # the level is in p
        drift, diffusion, transition, langevin = (getattr(equation, name, None) for name in (
            "drift", "diffusion", "transition", "langevin"))
        return _step(self.method, drift, diffusion, transition, tuple(equation.parameters), self.shape, self.kind,
                     items, self.stops, self.method is exact and getattr(equation, "logarithmic", False),
                     self.tolerances is not None, langevin, self.run.draws == "P")

    @property
    def bytes(self) -> int:
        """What all saved values take."""
        each = self.begin.components[0][0].nbytes if self.begin.tensor else self.dim * self._dtype.itemsize
        return self.run.paths * len(self.run.save) * each

    @property
    def amount(self) -> float:
        """Steps x paths x (components + noises); of adaptive steps, roughly."""
        elements = math.prod(self.begin.inner or ()) * (CELLS if self.tolerances else 1)
        return float(self.run.paths) * self.run.steps * elements * (self.shape.dim + self.shape.noises)

    @property
    def _dtype(self) -> np.dtype:
        return np.dtype(self.how.dtype or np.float64)

    def check_memory(self) -> None:
        """Raise MemoryError if the result would not fit, before any work."""
        free, count, times = psutil.virtual_memory().available, self.run.paths, len(self.run.save)
        if self.bytes > 0.9 * free:
            raise MemoryError(
                f"the result would take {self.bytes / 2**30:,.1f} GiB ({count:,} paths x {times:,} times x "
                f"{self.bytes // (count * times)} bytes) and {free / 2**30:,.1f} GiB "
                f"are free; the run would take about {duration(self.amount / RATES[self.backend])}. Save fewer times "
                "(save='final' or save=11), store float32 (dtype='float32'), take the paths in several calls with "
                "first=, or let summarize() keep statistics alone")

    def onto(self, sink: Sink, tick: Callable[[int], None]) -> None:
        """Run on NumPy or Numba."""
        step, run = self.step, self.run
        if self.backend == "numpy":
            run_numpy(step.bound(NUMPY) if isinstance(step, Cellwise) else rebind(step, NUMPY), run, sink, tick)
            return
        varying = tuple(np.ndim(v) > 0 for v in run.p)
        if isinstance(step, Cellwise):
            from sdekit.numba_adaptive import run_cells
            compiled = _cell_kernel(step, len(run.x0), run.kept, run.noises, varying, run.aside is not None,
                                    captured(step.attempt))
            run_cells(compiled, step, run, sink, tick)
        else:
            from sdekit.numba_engine import run_numba
            compiled = _kernel(step, len(run.x0), run.finite, run.kept, run.noises, run.draws, run.waits, varying,
                               run.given is not None, run.aside is not None, run.bits, captured(step))
            run_numba(compiled, run, sink, tick)

    def values(self):
        """Every saved value: an array (times, numbers a path carries, paths); of Torch a tensor (paths, times, ...)."""
        def go(work: Work, tick: Callable):
            if work.backend == "torch":
                from sdekit.torch_engine import run_torch
                begin = work.begin
                device = work.how.device or (begin.components[0].device if begin.tensor else "cpu")
                return run_torch(work.step, work.run, begin.tensor, device, work.how.dtype, tick, work.how.checkpoint,
                                 work.how.compile)
            sink = Whole(len(work.run.save), work.dim, work.run.paths, work._dtype)
            work.onto(sink, tick)
            return sink.x

        return self.carried_out(go)

    def carried_out(self, go: Callable):
        """go(work, tick) with a progress bar, on another backend if the chosen one cannot; returns the result and the
        work as it was done. Raises FloatingPointError for a state that is not finite."""
        work, progress = self, self.how.progress
        with tqdm(total=self.run.paths * self.run.steps, unit="step", delay=2.0, leave=False, unit_scale=True,
                  disable=None if progress is None else not progress) as bar:
            try:
                try:
                    return go(work, bar.update), work
                except Unfit as error:
                    if self.how.backend != "auto" or self.backend == "torch":
                        raise
                    other = "numpy" if self.backend == "numba" else "numba"
                    warnings.warn(f"{error}\nGoing on with backend={other!r}.", RuntimeWarning, stacklevel=4)
                    bar.reset()
                    run = replace(self.run, tally=self.run.tally and self.run.tally.new())
                    work = replace(self, run=run, backend=other)
                    return go(work, bar.update), work
            except NonFinite as fault:
                raise _report(work, fault) from None

    def warn_of_lost(self) -> None:
        """Warn of paths that adaptive steps could not follow to the end."""
        lost = self.run.tally.lost if self.run.tally else {}
        if lost:
            number, t = min(lost.items())
            warnings.warn(f"{len(lost)} of {self.run.paths} paths need steps too small for the rounding of times: the "
                          f"first is path {number - self.run.first}, at t = {t:.6g}. They are NaN from there on, the "
                          "others are as they should be. Does the solution end there, or are rtol and atol too strict?",
                          RuntimeWarning, stacklevel=4)

    def longer(self, t, steps: int | None) -> "Work":
        """The same until the later time t."""
        run, grid = self.run, self.run.grid
        if run.given is not None or isinstance(self.noise, Brownian):
            raise ValueError("the noise that was given ends with the run; simulate from a seed to go on")
        if not isinstance(t, Real) or not grid[-1] < t < math.inf:
            raise ValueError(f"the paths are known until {grid[-1]}; extend them to one later time, got {t!r}")
        end = float(t)
        if steps is None:
            steps = max(1, round((end - grid[-1]) / (grid[-1] - grid[-2])))
        unit = getattr(self.equation, "unit", None)
        if unit and (abs(end - grid[-1] - steps * unit) > 1e-9 * unit * steps):
            raise ValueError(f"{self.equation!r} makes one move in each {unit:g} of time: extend it by whole moves, "
                             f"and leave steps out; got t={t!r}, steps={steps}")
        more = time_grid((float(grid[-1]), end), steps)[1:]
        every = len(run.save) > 1 and (np.diff(run.save) == 1).all() and not run.offset.any()
        save = np.append(run.save, run.steps + (np.arange(steps) + 1 if every else np.array([steps])))
        longer = replace(run, grid=np.append(grid, more), save=save,
                         offset=np.append(run.offset, np.zeros(len(save) - len(run.save))))
        return replace(self, run=longer)

    def first_ones(self, count: int) -> "Work":
        """The first paths by themselves."""
        run = self.run.part(slice(0, count))
        return replace(self, run=run, begin=replace(self.begin, components=run.x0[:len(self.begin.components)],
                                                    paths=count))

    def trial(self, count: int, seed: int, stream: int) -> "Work":
        """The same for paths of another seed, from the number 0 on; starts and parameters of its first paths.

        There can be more of them than of the work's own, where all start alike.
        """
        part = self.first_ones(count)
        run = part.run
        begin = part.begin if part.begin.law is None else start(part.begin.law, count, seed, stream)
        aside = None if run.aside is None else to_the_side(None, run.draws, run.noises, math.prod(begin.inner or ()),
                                                           run.grid, run.save, run.offset)
        x0 = _started(begin, self.items, run.grid[0], self.stops, self.method)
        run = replace(run, x0=x0, key=noises.key(seed, stream), first=0, given=None, aside=aside,
                      tally=run.tally and run.tally.new())
        return replace(part, noise=None, begin=begin, run=run)

    def alone(self, path: int) -> "Work":
        """One of the paths by itself, every step kept, in the same way."""
        run = self.run.alone(path)
        run = replace(run, tally=run.tally and run.tally.new())
        begin = replace(self.begin, components=run.x0[:len(self.begin.components)], paths=1)
        origin = {**self.origin, "first": run.first} if self.origin else {}
        return replace(self, run=run, begin=begin, origin=origin, how=replace(self.how, progress=False))


def prepare(equation: Equation, method, x0, t, steps, paths, save, noise, origin: dict[str, int], how: Execution,
            track=None) -> Work:
    """Check what was asked for and choose the execution; `origin` names the noise, empty where there is none."""
    tolerances = how.tolerances
    if isinstance(method, ODEMethod) and method.pair is not None and tolerances is None and steps is None:
        tolerances = DEFAULT
    if tolerances and noise is not None and not isinstance(noise, Brownian):
        raise ValueError("adaptive steps ask for the path at times of their own, which given increments do not know; "
                         "give noise=Brownian(...)")
    if tolerances and steps is None and (t is None or np.size(t) < 3):
        steps = COARSEST if noise is None else noise.steps
    grid = time_grid(*_span(equation, t, steps, noise))
    if paths is None:
        paths = _paths_of(noise, equation)
    begin = start(numbers(x0) if isinstance(x0, tuple) else x0, paths, origin.get("seed"), origin.get("stream", 0),
                  origin.get("first", 0))
    check_domain(equation, begin)
    lifetime = getattr(equation, "lifetime", np.inf)
    if grid[-1] > lifetime * (1 + 1e-12):
        raise ValueError(f"{equation!r} lives until t = {lifetime:g}, and the run goes on to {grid[-1]:g}; end there")
    random, tensors = isinstance(equation, SDE), []
    probed = in_numbers(equation, tensors)
    if begin.inner is not None or isinstance(probed, MarkovProcess):
        shape = Structure(len(begin.components), int(random), True, begin.scalar)
        if begin.inner is None and isinstance(probed, MarkovProcess):
            _try_transition(probed, begin, grid)
    else:
        assert isinstance(probed, ODE)
        shape = structure(probed, begin.sample, float(grid[0]))
    if method is exact:
        method = own_method(equation) or method
    kind, draws = "general", getattr(method, "draws", "W")
    if isinstance(equation, SDE) and not isinstance(method, ODEMethod):
        fit = adaptive_fit if tolerances else fitted
        assert isinstance(probed, SDE)
        sample = begin.sample if begin.inner is None else begin.components[0][:1]
        method, kind = fit(method, equation if begin.tensor else probed, sample, float(grid[0]), float(grid[-1]), shape)
        one = shape.noises == 1 and len(method.draws) == 3  # no Levy areas
        draws = "WH" if tolerances or one else method.draws
    elif tolerances and getattr(method, "pair", None) is None:
        raise ValueError(f"{method} has no error estimate, so its steps cannot adapt to rtol and atol; use "
                         "method=dopri5")
    items = trackers(track, shape)
    if tolerances and (how.checkpoint or how.compile):
        raise ValueError("checkpoint= and compile= go with fixed steps; leave out rtol and atol, and give steps")
    if tolerances and (items or how.nonfinite == "stop" or how.bits == 32):
        raise ValueError("track=, nonfinite='stop' and bits=32 go with fixed steps; leave out rtol and atol")
    if begin.inner is not None and (items or how.nonfinite == "stop"):
        raise ValueError("track= and nonfinite='stop' work on numbers and systems of numbers, not on a state that is "
                         "one array or tensor")
    items = tuple(replace(item, down=item.down or (item.kind == "first_passage" and bool(
        np.min(begin.components[item.component]) > item.level))) for item in items)
    waits = len(exponentials(items))
    if waits and draws != "P" and not random:
        raise ValueError("an ODE has no noise between the points of the grid: track with bridge=False")
    if waits and draws == "P":
        raise ValueError(f"{equation!r}, by {method}, is known at the points of the grid alone, and is no Brownian "
                         "bridge between them: track with bridge=False" + ", or use method=euler_maruyama" * random)
    save, offset = saved_times(save, grid)
    if draws == "P":
        _check_place(equation, begin, how, offset, x0)
    key = noises.tagged_key(origin.get("seed", 0), origin.get("stream", 0),
                            noises.TAG if how.bits == 64 else noises.COARSE_TAG)
    if how.bits == 32 and (isinstance(noise, Brownian) or (offset > 0).any() or draws == "WHA"):
        raise ValueError("the noise of bits=32 is known at the points of its grid alone: no Brownian, no saved times "
                         "between them, no Levy areas")
    first = whole("first", origin.get("first", 0), noises.MAX_PATHS - begin.paths + 1)
    given = aside = None
    size = math.prod(begin.inner or ())
    if isinstance(noise, Brownian):
        key, first = noise.key, noise.first
        given = of_brownian(noise, draws, begin.paths, grid, shape.noises, size)
    elif noise is not None:
        array = of_arrays(noise, draws, method, begin.paths, len(grid) - 1, shape.noises, begin.inner)
        given = lambda numbers: array[numbers.start - first:numbers.stop - first]
    if (offset > 0).any():
        if noise is not None and not isinstance(noise, Brownian):
            k = int((offset > 0).argmax())
            raise ValueError(f"save={grid[save[k]] + offset[k]} is not a time of the grid, and given increments do not "
                             "say where the path is between its points; save times of the grid, or give a Brownian")
        if waits:
            raise ValueError("what is tracked with a bridge is known at the times of the grid; save these, or track "
                             "with bridge=False")
        aside = to_the_side(noise, draws, shape.noises, size, grid, save, offset)
    p = (*(_parameter(k, v, begin.paths) for k, v in equation.parameters.items()), *(item.level for item in items))
    started = _started(begin, items, grid[0], how.nonfinite == "stop", method)
    if isinstance(x0, tuple):  # tensors in it take their numbers' place, wherever that is
        given_as = {id(c): v.reshape(-1) for c, v in zip(begin.components, x0) if hasattr(v, "detach")}
        started = tuple(given_as.get(id(c), c) for c in started)
    threads = whole("threads", processors() if how.threads is None else how.threads, 4096, start=1)
    if given is not None and tolerances and isinstance(noise, Brownian):
        raise ValueError(f"adaptive steps are cells of the Brownian's own tree, whose base are its {noise.steps} steps "
                         f"from {noise.t[0]} to {noise.t[1]}; leave out t and steps, or give it those of the run")
    level = area_level(np.diff(grid)) if draws == "WHA" else 0
    kept = shape.dim + len(items) + (how.nonfinite == "stop")
    run = Run(grid, save, offset, started, p, begin.paths, first, key, shape.noises, draws, level, waits, given, aside,
              threads, shape.dim, kept, how.bits, Tally(*tolerances) if tolerances else None)
    work = Work(equation, method, begin, shape, kind, items, run, origin, how, "numpy", noise)
    return replace(work, backend=_backend(work, bool(tensors)))


def _started(begin: Start, items: tuple[Tracker, ...], t0: float, stops: bool, method) -> tuple:
    """All that the paths carry at the start."""
    x = begin.components
    tracked = (np.asarray(item.start(x[item.component], t0, item.level), float) for item in items)
    return (*x, *tracked, *([np.array([np.inf])] if stops else []), *x * getattr(method, "memory", 0))


def _paths_of(noise, equation: Equation) -> int | None:
    """How many paths the noise, or parameters with a value for each path, are for."""
    if isinstance(noise, Brownian):
        return noise.paths
    array = noise[0] if isinstance(noise, tuple) and noise else noise
    if np.ndim(array) > 1:
        return len(array)
    sizes = {k: len(v) for k, v in equation.parameters.items() if np.ndim(v)}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"the parameters with a value for each path hold {sizes} values; they must hold as many")
    return next(iter(sizes.values()), None)


def _parameter(name: str, value, paths: int):
    if np.ndim(value) and len(value) != paths:
        raise ValueError(f"the parameter {name} holds {len(value)} values, but there are {paths} paths; give one for "
                         "all paths, or one each")
    return value


def _span(equation: Equation, t, steps: int | None, noise) -> tuple:
    """t and steps, where they were not given: those of a Brownian, of a walk in discrete time, or 1."""
    unit = getattr(equation, "unit", None)
    if t is None and isinstance(noise, Brownian):
        return noise.t, noise.steps if steps is None else steps
    if unit is None:
        return 1.0 if t is None else t, steps
    if t is None:
        if steps is None:
            raise TypeError("steps is missing: say how many moves the walk makes")
        t = unit * whole("steps", steps, noises.MAX_STEPS, start=1)
    elif steps is None and np.size(t) < 3:
        begin, end = time_grid(t, 1)
        steps = max(1, round((end - begin) / unit))
    moves = np.diff(time_grid(t, steps))
    if np.abs(moves - unit).max() > 1e-9 * unit:
        raise ValueError(f"{equation!r} makes one move in each {unit:g} of time, and a step of this run takes "
                         f"{moves[np.abs(moves - unit).argmax()]:g}; leave out t, or give as many steps as moves")
    return t, steps


def _try_transition(equation: MarkovProcess, begin: Start, grid: np.ndarray) -> None:
    """Raise TypeError or ValueError unless the transition of one path gives as many numbers as the start has."""
    place = (*np.array([[1], [2]]), np.array([0]), np.array([0]))
    x = tuple(np.array(c[:1]) for c in begin.components)
    named = {k: v[:1] if np.ndim(v) else v for k, v in equation.parameters.items()}
    try:
        with np.errstate(all="ignore"):
            value = rebind(equation.transition, NUMPY)(x[0] if begin.scalar else x, np.float64(grid[0]),
                                                       grid[1] - grid[0], place, **named)
    except Exception as error:
        if _wrong_call(error):
            raise TypeError(f"transition fails at the start: {error}. It is called as transition(x, t, h, place, "
                            "parameters by name), and draws by draws.normal(place, k), uniform(place, k), "
                            "exponential(place, k), gamma(place, shape, k), poisson(place, mean, k), with a whole "
                            "number k") from error
        if begin.scalar and any(w in str(error) for w in ("unpack", "not subscriptable", "out of bounds")):
            raise TypeError(f"transition takes several components, but x0 holds one number a path: {error}. A system's "
                            "x0 is a tuple, one entry for each component") from error
        return  # a body that works on single numbers alone: Numba will tell
    got = f"a tuple of {len(value)}" if isinstance(value, tuple) else f"{type(value).__name__} {value!r}"
    if begin.scalar == isinstance(value, tuple) or (not begin.scalar and len(value) != len(x)):
        wanted = "one number" if begin.scalar else f"a tuple of {len(x)}"
        raise ValueError(f"x0 has {len(x)} component(s), so transition must return {wanted}, got {got}")
    for one in _leaves(value):
        if np.asarray(one).dtype.kind not in "iuf":
            raise TypeError(f"transition must return numbers, got {got}")


def _wrong_call(error: Exception) -> bool:
    """Whether no backend can run it: a name that is not there, wrong arguments, or a draw that failed on its own."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = "" if place is None else place.tb_frame.f_globals.get("__name__", "")
    return (where in ("sdekit.draws", "sdekit.noise", "sdekit.variates") or isinstance(error, NameError)
            or (isinstance(error, AttributeError) and "counterpart" not in str(error))
            or (isinstance(error, TypeError) and any(w in str(error) for w in ("positional arg", "keyword arg"))))


def _check_place(equation: Equation, begin: Start, how: Execution, offset: np.ndarray, x0) -> None:
    """Raise ValueError for what a transition that draws for itself cannot do."""
    given = (*equation.parameters.values(), *(x0 if isinstance(x0, tuple) else (x0,)))
    other = "method=euler_maruyama" if isinstance(equation, SDE) else "numbers, one for each path"
    for wrong, what, instead in (
            (any(getattr(v, "requires_grad", False) for v in given),
             "accepts and rejects, and gradients do not see that", other),
            (begin.inner is not None, "starts from numbers, not from one array or tensor", other),
            (how.bits == 32, "knows no coarser noise", "bits=64"),
            (bool((offset > 0).any()), "is drawn at the times of the grid alone, and one of `save` lies between them",
             "the times that are wanted as the grid: t=[0.0, 0.1, ...]")):
        if wrong:
            raise ValueError(f"the transition of {equation!r} {what}; use {instead}")


@lru_cache(maxsize=1024)
def _step(method, drift, diffusion, transition, names: tuple[str, ...], shape: Structure, kind: str,
          items: tuple[Tracker, ...], stop: bool, logarithmic: bool, adaptive: bool, langevin,
          place: bool) -> Callable | Cellwise:
    c = coefficients(drift, diffusion, transition, names, shape, kind, langevin, place)
    if adaptive and diffusion is None:
        pair, dense = method.pair(c)
        return embedded(pair, dense, c, method.order)
    step = method.make(c)
    if adaptive:
        return halving(step, c, max(1.0, method.strong))
    if not items and not stop:
        return step
    memory = shape.dim * getattr(method, "memory", 0)
    draws = columns(shape.noises, getattr(method, "draws", "W"))
    return tracked(step, c, draws, memory, items, stop, len(names), logarithmic)


@lru_cache(maxsize=64)
def _kernel(step: Callable, dim: int, finite: int, kept: int, noises: int, draws: str, waits: int,
            varying: tuple[bool, ...], given: bool, aside: bool, bits: int, frozen: tuple) -> Callable:
    """The compiled loop; a variable outside the functions that has changed since makes another one."""
    from sdekit.numba_engine import kernel
    return kernel(step, dim, finite, kept, noises, draws, waits, varying, given, aside, bits)


@lru_cache(maxsize=64)
def _cell_kernel(cellwise: Cellwise, dim: int, kept: int, noises: int, varying: tuple[bool, ...], aside: bool,
                 frozen: tuple) -> Callable:
    """The compiled loop of adaptive steps."""
    from sdekit.numba_adaptive import kernel
    return kernel(cellwise, dim, kept, noises, varying, aside)


def _backend(work: Work, tensors: bool) -> str:
    """The execution: what was asked for, or for "auto" what the work calls for, where the functions allow it."""
    asked, begin = work.how.backend, work.begin
    tensors = tensors or any(hasattr(v, "detach") for v in (*work.run.x0, *work.run.p))
    if tensors or work.how.device is not None:
        if asked not in ("auto", "torch"):
            raise ValueError(f"a torch tensor or a device needs backend='torch', got {asked!r}")
        if begin.inner is not None and not begin.tensor:
            raise ValueError(f"x0 is an array of shape {begin.components[0].shape} beside torch tensors or a device; "
                             "give a tensor: torch.as_tensor(x0)")
        from sdekit.torch_engine import check_place
        check_place(begin.components[0] if begin.tensor else None, work.how.device)
        return "torch"
    if asked != "torch" and (work.how.checkpoint or work.how.compile):
        raise ValueError(f"checkpoint= and compile= are for runs on torch, and this one is none: give "
                         f"backend='torch', or tensors; got backend={asked!r}")
    if begin.inner is not None:
        if asked not in ("auto", "numpy"):
            raise ValueError(f"a state that is one array of shape {begin.inner} needs backend='numpy', got {asked!r}; "
                             "for 'numba' give a tuple of components, for 'torch' a tensor")
        return "numpy"
    if asked in ("numba", "torch"):
        return asked
    fault = _array_fault(work.equation, begin, work.run.grid[0])
    if asked == "numpy" and fault:
        raise not_on_arrays(fault) from fault
    return "numpy" if asked == "numpy" or (work.amount < COMPILE_ABOVE and not fault) else "numba"


def _array_fault(equation: Equation, begin: Start, t: float) -> Exception | None:
    """What goes wrong when the functions get arrays of three paths instead of numbers."""
    place = (*np.array([[1], [2]]), np.arange(3), np.array([0]))
    functions: list[tuple[Any, tuple]] = [(getattr(equation, name, None), ()) for name in ("drift", "diffusion")]
    if isinstance(equation, MarkovProcess):
        functions.append((equation.transition, (equation.unit or 1.0, place)))
    state = tuple(np.full(3, float(c[0])) for c in begin.components)
    try:
        with np.errstate(all="ignore"):
            for function, more in functions:
                if function is None:
                    continue
                taken = set(takes(function, 2 + len(more)))
                named = {k: np.full(3, v[0]) if np.ndim(v) else v for k, v in equation.parameters.items() if k in taken}
                value = rebind(function, NUMPY)(state[0] if begin.scalar else state, t, *more, **named)
                np.broadcast_to(np.zeros(3) + sum(np.asarray(v) for v in _leaves(value)), 3)
    except Exception as error:
        return error
    return None


def _leaves(value):
    return [leaf for v in value for leaf in _leaves(v)] if isinstance(value, tuple) else [value]


def _report(work: Work, fault: NonFinite) -> FloatingPointError:
    """The error that names path, step and time, the state before, and the call that leads there."""
    path, n, before, run = fault.path, fault.step, "", work.run
    if work.backend != "torch":
        alone = work.alone(path)
        sink = Whole(run.steps + 1, work.dim, 1)
        sink.x[:] = np.nan
        try:
            alone.onto(sink, lambda steps: None)
        except NonFinite:
            good = np.isfinite(sink.x[:, :run.finite]).all(axis=(1, 2))
            n = int(np.argmin(good))
            before = f"; the step before it was x = {', '.join(map(str, sink.x[n - 1, :run.finite, 0].tolist()))}"
    again = f", seed={work.origin['seed']}, first={run.first + path}" if "seed" in work.origin else ""
    last = max(n - 1, 1)
    even = np.ptp(np.diff(run.grid)) < 1e-9 * np.diff(run.grid).max()
    cut = (f"t=({run.grid[0]}, {run.grid[last]}), steps={last}" if even or last == 1 else
           f"t={run.grid[:last + 1].tolist()}" if last < 50 else f"t=the first {last + 1} times of its grid")
    return FloatingPointError(
        f"path {path} is not finite after step {n} of {run.steps}, at t = {run.grid[n]}{before}. To see it come: the "
        f"same call with {cut}, paths=1{again}, backend={work.backend!r}. Smaller steps, or coefficients that keep the "
        "state in its domain, may help; nonfinite='stop' stops such paths and goes on")


def processors() -> int:
    """How many processors this process may use: its affinity, and its share in a container."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(count, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):
        return count


def duration(seconds: float) -> str:
    """Seconds as a person would say it.

    >>> duration(7200.0), duration(0.031)
    ('2 h', '0.031 s')
    """
    for unit, size in (("days", 172800.0), ("h", 5400.0), ("min", 120.0)):
        if seconds >= size:
            return f"{seconds / {'days': 86400.0, 'h': 3600.0, 'min': 60.0}[unit]:.2g} {unit}"
    return f"{seconds:.2g} s"
