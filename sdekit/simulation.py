"""The public verbs: simulate, summarize, integrate, plan. Each checks what was asked for, runs it, tells the result."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sdekit.brownian import Brownian
from sdekit.markov import MarkovProcess
from sdekit.methods import Method, almost_exact, euler_maruyama, exact, exact_draws, own_method
from sdekit.noise import MAX_STREAM, VERSION, check_seed, whole
from sdekit.ode import ODEMethod, dopri5, rk4
from sdekit.paths import Paths
from sdekit.sde import ODE, SDE, noise_free
from sdekit.stratonovich import heun_stratonovich
from sdekit.summarizing import summarized
from sdekit.summary import Summary
from sdekit.work import Execution, Work, duration, prepare


def simulate(sde: SDE | MarkovProcess, x0, t: Any = None, steps: int | None = None, paths: int | None = None, *,
             seed: int | None = None, method: Method | None = None, save: Any = "all", noise=None, track=None,
             backend: str = "auto", threads: int | None = None, stream: int = 0, first: int = 0,
             device: Any = None, dtype: Any = None, bits: int = 64, nonfinite: str = "raise", rtol: float | None = None,
             atol: float | None = None, checkpoint: int | None = None, compile: bool = False,
             progress: bool | None = None) -> Paths:
    """Simulate paths of dX = drift(X, t) dt + diffusion(X, t) dW.

    sde      an `SDE`, a process such as `GeometricBrownianMotion(mu, sigma)`, or a `MarkovProcess` such as a walk
    x0       the start: a number; a tuple of numbers for a system; arrays (paths,) in their place; a law, such as
             scipy.stats.norm(100, 5) or a function of uniforms (see `sdekit.starts`); or one array or torch tensor
             (paths, ...), which the functions get whole, each element driven by its own noise: large coupled systems
    t        the end (from 0), or (start, end), or the grid itself: an increasing array of at least 3 times; by default
             that of the noise, or 1; of a walk in discrete time, the number of its steps
    steps    how many equal steps; not with a grid
    paths    how many; by default as many as x0, the noise, or a parameter given as an array have
    seed     integer in [0, 2^64); None draws one, which the result tells. Path i depends on (seed, stream, first + i)
             alone, not on threads nor on how many others are simulated
    method   None takes the own transition of a process that has one, unless `noise` is given; else `euler_maruyama`
    save     "all", "final", a number of equally spaced times with both ends, or an array of times. Between two points
             of the grid the value is a step aside, driven by the path's own W: it has the right law
    noise    a `Brownian`, whose path serves any grid; or increments dW in place of the seed's: (paths, steps), or
             (paths, steps, noises)
    track    what to record along the paths: `maximum()`, `minimum()`, `integral()`, `first_passage(level)`, several in
             a list, or in a dict with names; in the result's `tracked`
    backend  "numpy" (nothing to compile), "numba" (compiled, on `threads`), "torch" (tensors on `device`), or "auto",
             which decides by the work to be done
    dtype    float32 to keep the values in half the memory; the computation is in float64
    bits     64, or 32: another noise, of four normals from a block instead of two, that ends at 6.77 instead of 8.57
             standard deviations, for more speed
    nonfinite  "raise", or "stop": a path whose next state is not finite stays where it was, and is counted
    rtol, atol  steps of each path's own length: the steps are cut in half until the error of each is at most
             atol + rtol |x| (root mean square over the components; on the path's own W, see `sdekit.adaptive`); `steps`
             is the coarsest grid, 16 by default, and names the noise. A path that explodes is NaN from there on, told
             in a warning, and the others are kept. Needs a method of strong order 1, by default the one for the kind of
             noise. atol alone: rtol = 0; rtol alone: atol = rtol / 1000
    checkpoint  on torch, for gradients of long runs: of so many steps only the state before them is kept, and they are
             computed again in the backward pass. Memory falls from that of `steps` steps to steps / checkpoint states
             and `checkpoint` steps; the gradients are the same
    compile  on torch: noise and step by torch.compile, the same numbers to rounding; takes 10 to 60 s the first time
    progress True or False; by default a bar in a terminal for runs over 2 s

    On torch, gradients flow from the values to x0, to the parameters that are tensors and to tensors that the functions
    close over.

    Returns `Paths`. Raises TypeError and ValueError for arguments that do not fit, MemoryError before any work for a
    result larger than the free memory, FloatingPointError for a state that is not finite, naming path, step and time.

    >>> import sdekit as sk
    >>> paths = sk.simulate(sk.GeometricBrownianMotion(mu=0.05, sigma=0.2), 100.0, steps=252, paths=1000, seed=7)
    >>> paths.x.shape, paths.info["method"], paths.info["backend"]
    ((1000, 253), exact, 'numpy')
    """
    if not isinstance(sde, SDE | MarkovProcess):
        raise TypeError(f"simulate needs an SDE, got {sde!r}; make one of two functions by SDE(drift, diffusion), or "
                        "give an ODE to integrate()")
    how = Execution(backend, threads, device, progress, nonfinite, dtype, bits, rtol, atol, checkpoint, compile)
    method = _choose(sde, method, noise is not None, how)
    origin = _origin(seed, stream, first, noise)
    work = prepare(sde, method, x0, t, steps, paths, save, noise, origin, how, track)
    return _paths(work)


def integrate(ode: ODE | Callable, x0, t: Any = 1.0, steps: int | None = None, *, method: ODEMethod | None = None,
              save: Any = "all", track=None, backend: str = "auto", threads: int | None = None, device: Any = None,
              dtype: Any = None, nonfinite: str = "raise", rtol: float | None = None, atol: float | None = None,
              checkpoint: int | None = None, compile: bool = False, progress: bool | None = None) -> Paths:
    """Solve dx/dt = drift(x, t).

    ode      an `ODE`, a function of (x, t), or an `SDE`, of which only the drift is followed: its noise-free curve
    steps    how many equal steps; without them, or with rtol and atol, each trajectory takes steps of its own length
    method   `euler`, `heun` or `rk4`, of orders 1, 2 and 4, or `dopri5`, of order 5 with adaptive steps. By default
             `rk4` where the steps are given, else `dopri5`
    rtol, atol  of adaptive steps: each one's error is at most atol + rtol |x|, root mean square over the components;
             1e-6 and 1e-9 by default
    save     also between the steps: a polynomial of order 4 of the step's own stages

    The other arguments, the result and the errors are those of `simulate`.

    >>> import sdekit as sk
    >>> curve = sk.integrate(sk.ODE(lambda x, t, k: k * x, k=0.1), x0=10.0, t=10.0, steps=100)
    >>> round(float(curve.final[0]), 6)  # 10 e
    27.182818
    """
    if not isinstance(ode, ODE):
        ode = ODE(ode)
    how = Execution(backend, threads, device, progress, nonfinite, dtype, rtol=rtol, atol=atol, checkpoint=checkpoint,
                    compile=compile)
    if method is None:
        method = dopri5 if how.tolerances or (steps is None and np.size(t) < 3) else rk4
    if not isinstance(method, ODEMethod):
        raise TypeError(f"integrate needs a method for ODEs, one of euler, heun, rk4, dopri5; got {method!r}")
    return _paths(prepare(noise_free(ode), method, x0, t, steps, None, save, None, {}, how, track))


def _choose(sde: SDE | MarkovProcess, method: Method | None, given: bool, how: Execution) -> Method | None:
    """The method where none was named; None where the kind of the noise decides."""
    own = own_method(sde)
    if isinstance(sde, MarkovProcess):
        if method not in (None, exact, own):
            raise ValueError(f"{sde!r} is known by its transition alone, and {method!r} is for SDEs; leave method out")
        if given or how.tolerances:
            raise ValueError(f"{sde!r} draws its steps from a seed; it has no use for noise=, rtol or atol")
        return own
    if method is None:
        if how.tolerances:
            if own is exact_draws and not given:
                raise ValueError(f"{sde!r} is drawn from its exact law, without an error at any step: leave out rtol "
                                 "and atol and give steps, or name a method")
            return None
        if sde.calculus == "stratonovich":
            return heun_stratonovich
        return euler_maruyama if own is None or given else own
    if not isinstance(method, Method):
        raise TypeError("simulate needs a method for SDEs, a value such as sdekit.milstein or sdekit.theta(0.5); got "
                        f"{method!r}")
    if method is exact and own is not None and sde.transition_exact:
        method = own
    if method in (exact, exact_draws, almost_exact) and method is not own:
        raise ValueError(f"{sde!r} has no {'' if method is almost_exact else 'exact '}transition; use "
                         f"method={own or euler_maruyama}")
    if method is own and given and not sde.transition_pathwise:
        raise ValueError(f"the {'exact ' * sde.transition_exact}transition of {sde!r} follows the law, not a given "
                         "path; with noise= use method=euler_maruyama")
    return method


def _origin(seed, stream, first, noise) -> dict[str, int]:
    """What names the noise; nothing where increments are given."""
    if noise is not None and seed is not None:
        raise ValueError(f"seed={seed} and noise= are both given; the noise has no need of a seed: leave one out")
    if isinstance(noise, Brownian):
        return {"seed": noise.seed, "stream": noise.stream, "first": noise.first}
    if noise is not None:
        return {}
    return {"seed": check_seed(seed), "stream": whole("stream", stream, MAX_STREAM), "first": first}


def _paths(work: Work) -> Paths:
    """Run it and keep every value that is to be saved."""
    work.check_memory()
    values, work = work.values()
    work.warn_of_lost()
    return result(work, values)


def result(work: Work, values) -> Paths:
    """What the execution computed, in the user's layout."""
    begin, items = work.begin, work.items
    if work.backend != "torch":
        values = values.transpose(2, 0, 1)  # (paths, times, numbers a path carries)
        if begin.inner is not None:
            values = values.reshape(*values.shape[:2], *begin.inner)
    info = _told(work)
    if begin.inner is not None:
        return Paths(work.times, values, info, source=Source(work))
    if work.stops:
        info["stopped"] = int((values[:, -1, -1] < np.inf).sum())
    x = values[..., 0] if begin.scalar else values[..., :work.shape.dim]
    tracked = {item.name: values[..., work.shape.dim + k] for k, item in enumerate(items)}
    return Paths(work.times, x, info, tracked, Source(work, values[:, -1]))


def _told(work: Work) -> dict[str, Any]:
    """What a result tells of how it came to be."""
    info = {"equation": work.equation, "method": work.method, "backend": work.backend, "steps": work.run.steps,
            **work.origin}
    if isinstance(work.equation, SDE | MarkovProcess):
        info["noise"] = VERSION if work.origin else "given"
        if work.how.bits != 64:
            info["bits"] = work.how.bits
    if isinstance(work.noise, Brownian):
        info["brownian"] = work.noise
    tally = work.run.tally
    if tally:
        info |= {"rtol": tally.rtol, "atol": tally.atol, "accepted": tally.accepted,
                 "rejected": tally.rejected}
        if tally.lost:
            info["lost"] = {number - work.run.first: time for number, time in sorted(tally.lost.items())}
    return info


@dataclass(frozen=True)
class Source:
    """What stands behind a result: the work that it came from, and all that its paths carried at the end."""

    work: Work
    last: Any = None

    def replay(self, path: int) -> Paths:
        """One path by itself, every step."""
        values, work = self.work.alone(path).values()
        return result(work, values)

    def _end(self) -> np.ndarray:
        """All that the paths carry at the end, in float64; computed again where it was not kept so."""
        run, dtype = self.work.run, self.work.how.dtype
        known = self.last is not None and run.kept == len(run.x0)  # all that the paths carry was saved
        if known and (dtype is None or np.dtype(dtype) == np.float64):
            return np.asarray(self.last)
        final = replace(run, save=run.save[-1:], offset=run.offset[-1:])
        final = replace(final, kept=len(run.x0))
        values, work = replace(self.work, run=final, how=replace(self.work.how, dtype=None)).values()
        return np.asarray(values)[:, -1] if work.backend == "torch" else values[-1].T

    def extended(self, paths: Paths, t, steps: int | None) -> Paths:
        """The paths until t, on the same noise."""
        work = self.work.longer(t, steps)
        old = self.work.run
        if self.work.tolerances:
            raise ValueError("paths of adaptive steps cannot be extended; simulate to the later time")
        if self.work.begin.inner is not None or old.save[-1] != old.steps:
            raise ValueError("only numbers and systems of numbers whose last saved time is the end can be extended")
        if getattr(paths.x, "requires_grad", False):
            raise ValueError("the gradients of these paths end with them; simulate to the later time")
        after = replace(work, run=work.run.after(old.steps, tuple(self._end().T)))
        values, _ = after.values()
        more, joined = result(after, values), result(work, values)

        def join(a, b):
            whole = np.concatenate([np.asarray(a), np.asarray(b)], axis=1, dtype=np.asarray(b).dtype)
            return whole if isinstance(b, np.ndarray) else b.new_tensor(whole)

        return replace(joined, x=join(paths.x, more.x),
                       tracked={k: join(v, more.tracked[k]) for k, v in paths.tracked.items()})


def summarize(sde: SDE | MarkovProcess, x0, t: Any = None, steps: int | None = None, paths: int | None = None, *,
              at: Any = "final", quantiles: Sequence[float] = (0.05, 0.25, 0.5, 0.75, 0.95),
              seed: int | None = None, method: Method | None = None, noise=None, track=None, backend: str = "auto",
              threads: int | None = None, stream: int = 0, first: int = 0, device: Any = None, bits: int = 64,
              nonfinite: str = "raise", rtol: float | None = None, atol: float | None = None,
              progress: bool | None = None) -> Summary:
    """Statistics of the paths that `simulate` would give, in memory that does not grow with their number.

    at         the times, as `save` of `simulate`: "final", "all", a number of them, or an array
    quantiles  the probabilities of the result's `quantiles`; any others can be had later by its `quantile`

    The other arguments are those of `simulate`. Mean, variance, covariance, extremes, quantiles and histograms, each
    with its standard error, of the state and of what is tracked; the same bits for any number of threads. Summaries
    of other paths of the same equation add up: `a + b`. Returns `Summary`; raises as `simulate`.

    >>> import sdekit as sk
    >>> s = sk.summarize(sk.BrownianMotion(), 0.0, t=4.0, steps=8, paths=100_000, at=[1.0, 4.0], seed=1)
    >>> bool(np.all(np.abs(s.mean) < 4 * s.stderr)), s.var.round(1)
    (True, array([1., 4.]))
    """
    if not isinstance(sde, SDE | MarkovProcess):
        raise TypeError(f"summarize needs an SDE, got {sde!r}; an ODE has one path, which integrate() gives")
    how = Execution(backend, threads, device, progress, nonfinite, bits=bits, rtol=rtol, atol=atol)
    method = _choose(sde, method, noise is not None, how)
    origin = _origin(seed, stream, first, noise)
    work = prepare(sde, method, x0, t, steps, paths, at, noise, origin, how, track)
    groups, stopped, work = summarized(work)
    work.warn_of_lost()
    info = {**_told(work), "paths": work.run.paths, "x0": _start(work), "track": _tracks(work)}
    info |= {} if stopped is None else {"stopped": stopped}
    (statistics, bins), *tracked = groups
    inner = [Summary(work.times, *group, {**info, "equation": f"{item.name} of {sde!r}"}, True, tuple(quantiles))
             for group, item in zip(tracked, work.items)]
    return Summary(work.times, statistics, bins, info, work.begin.scalar and work.begin.inner is None,
                   tuple(quantiles), {item.name: one for one, item in zip(inner, work.items)})


def _start(work: Work) -> str:
    """x0 as it is told: what has to be the same for summaries to be added."""
    begin = work.begin
    if begin.law is not None:
        return "random"
    return repr(begin.sample) if begin.inner is None and all(len(c) == 1 for c in begin.components) else "one a path"


def _tracks(work: Work) -> str:
    return ", ".join(f"{i.name}: {i.kind}({i.level:g}, component={i.component}, bridge={i.bridge})" for i in work.items)


@dataclass(frozen=True)
class Plan:
    """What a run would take.

    bytes    of memory for its result
    seconds  about, from a short trial of the same work; the first run of an equation may compile for 2 to 5 s more
    """

    paths: int
    steps: int
    bytes: int
    seconds: float
    backend: str
    threads: int
    method: Any

    def __str__(self) -> str:
        return (f"{self.paths:,} paths x {self.steps:,} steps by {self.method} on {self.backend}, {self.threads} "
                f"threads: about {duration(self.seconds)}, {self.bytes / 2**20:,.1f} MiB for the result")


def plan(sde: SDE | MarkovProcess, x0, t: Any = None, steps: int | None = None, paths: int | None = None, *,
         save: Any = "all", seed: int | None = None, method: Method | None = None, noise=None, track=None,
         backend: str = "auto", threads: int | None = None, stream: int = 0, first: int = 0, device: Any = None,
         dtype: Any = None, bits: int = 64, nonfinite: str = "raise", rtol: float | None = None,
         atol: float | None = None, progress: bool | None = None) -> Plan:
    """What `simulate` with these arguments would take: memory and, from a short trial, time. Nothing else is done.

    >>> import sdekit as sk
    >>> p = sk.plan(sk.BrownianMotion(), 0.0, steps=1000, paths=10**9, save="final")
    >>> p.bytes, p.backend
    (8000000000, 'numba')
    """
    if not isinstance(sde, SDE | MarkovProcess):
        raise TypeError(f"plan is for simulate(), which needs an SDE; got {sde!r}")
    how = Execution(backend, threads, device, False, nonfinite, dtype, bits, rtol, atol)
    method = _choose(sde, method, noise is not None, how)
    work = prepare(sde, method, x0, t, steps, paths, save, noise, _origin(seed, stream, first, noise), how, track)
    return Plan(work.run.paths, work.run.steps, work.bytes, _trial(work), work.backend, work.run.threads, work.method)


def _trial(work: Work) -> float:
    """Seconds that the run would take, from growing parts of it."""
    usual, seconds = min(work.run.paths, 256 * work.run.threads), 0.0
    count = 1 if work.tolerances else usual  # a path of adaptive steps may take long by itself
    while True:
        part = work.first_ones(count)
        for _ in range(2):  # the first one may compile
            start = time.perf_counter()
            part.values()
            seconds = time.perf_counter() - start
            if seconds > 10:
                break
        if seconds > (0.05 if count >= usual else 0.5) or count == work.run.paths:
            return seconds * work.run.paths / count
        count = min(work.run.paths, max(4 * count, usual))
