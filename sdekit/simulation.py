"""simulate() and integrate(): check what was asked for, choose an execution, run it, and hand back Paths."""

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import psutil
from tqdm import tqdm

from sdekit import noise as noises
from sdekit.array_engine import NUMPY, not_on_arrays, run_numpy
from sdekit.components import coefficients
from sdekit.inputs import Start, increments, saved_steps, start, time_grid
from sdekit.maths import captured, rebind
from sdekit.methods import Method, euler_maruyama, exact
from sdekit.noise import check_seed, whole
from sdekit.ode import ODEMethod, rk4
from sdekit.paths import Paths
from sdekit.run import NonFinite, Run, Unfit
from sdekit.sde import ODE, SDE, Structure, noise_free, structure, takes

COMPILE_ABOVE = 2e7  # steps x paths x (components + noises): where a compilation of 2 s pays
BACKENDS = ("auto", "numpy", "numba", "torch")


def simulate(sde: SDE, x0, t: Any = 1.0, steps: int | None = None, paths: int | None = None, *,
             seed: int | None = None, method: Method | None = None, save: Any = "all", noise=None,
             backend: str = "auto", threads: int | None = None, stream: int = 0, first: int = 0,
             device: Any = None, progress: bool | None = None) -> Paths:
    """Simulate paths of dX = drift(X, t) dt + diffusion(X, t) dW.

    sde      an `SDE`, or a process such as `GeometricBrownianMotion(mu, sigma)`
    x0       the start: a number; a tuple of numbers for a system; arrays (paths,) in their place; or a torch tensor
             (batch, ...), each element of which is driven by its own noise
    t        the end (from 0), or (start, end), or the grid itself: an increasing array of at least 3 times
    steps    how many equal steps; not with a grid
    paths    how many; by default as many as x0 has
    seed     integer in [0, 2^64); None draws one, which the result tells. Path i depends on (seed, stream, first + i)
             alone, not on threads nor on how many others are simulated
    method   None takes the exact transition of a process that has one, unless `noise` is given; else `euler_maruyama`
    save     "all", "final", a number of equally spaced times with both ends, or an array of times on the grid
    noise    increments dW in place of the seed's: (paths, steps), or (paths, steps, noises)
    backend  "numpy" (nothing to compile), "numba" (compiled, on `threads`), "torch" (tensors on `device`), or "auto",
             which decides by the work to be done
    progress True or False; by default a bar in a terminal for runs over 2 s

    Returns `Paths`. Raises TypeError and ValueError for arguments that do not fit, MemoryError before any work for a
    result larger than the free memory, FloatingPointError for a state that is not finite, naming path, step and time.

    >>> import sdekit as sk
    >>> paths = sk.simulate(sk.GeometricBrownianMotion(mu=0.05, sigma=0.2), 100.0, steps=252, paths=1000, seed=7)
    >>> paths.x.shape, paths.info["method"], paths.info["backend"]
    ((1000, 253), exact, 'numpy')
    """
    if not isinstance(sde, SDE):
        raise TypeError(f"simulate needs an SDE, got {sde!r}; make one of two functions by SDE(drift, diffusion), or "
                        "give an ODE to integrate()")
    method = _choose(sde, method, noise is not None)
    origin = {"seed": check_seed(seed), "stream": whole("stream", stream, noises.MAX_STREAM), "first": first}
    origin = origin if noise is None else {}
    how = Execution(backend, threads, device, progress)
    return _solve(sde, method, x0, t, steps, paths, save, noise, origin, how)


def integrate(ode: ODE | Callable, x0, t: Any = 1.0, steps: int | None = None, *, method: ODEMethod = rk4,
              save: Any = "all", backend: str = "auto", threads: int | None = None, device: Any = None,
              progress: bool | None = None) -> Paths:
    """Solve dx/dt = drift(x, t) in fixed steps.

    ode      an `ODE`, a function of (x, t), or an `SDE`, of which only the drift is followed: its noise-free curve
    method   `euler`, `heun` or `rk4`, of orders 1, 2 and 4

    The other arguments, the result and the errors are those of `simulate`.

    >>> import sdekit as sk
    >>> curve = sk.integrate(sk.ODE(lambda x, t, k: k * x, k=0.1), x0=10.0, t=10.0, steps=100)
    >>> round(float(curve.final[0]), 6)  # 10 e
    27.182818
    """
    if not isinstance(ode, ODE):
        ode = ODE(ode)
    if not isinstance(method, ODEMethod):
        raise TypeError(f"integrate needs a method for ODEs, one of euler, heun, rk4; got {method!r}")
    how = Execution(backend, threads, device, progress)
    return _solve(noise_free(ode), method, x0, t, steps, None, save, None, {}, how)


def _choose(sde: SDE, method: Method | None, given: bool) -> Method:
    if method is None:
        return exact if sde.transition is not None and not given else euler_maruyama
    if not isinstance(method, Method):
        raise TypeError(f"simulate needs a method for SDEs, such as euler_maruyama; got {method!r}")
    if method is exact and sde.transition is None:
        raise ValueError(f"{sde!r} has no exact transition; use method=euler_maruyama")
    if method is exact and given and not sde.transition_pathwise:
        raise ValueError(f"the exact transition of {sde!r} follows the law, not a given path; with noise= use "
                         "method=euler_maruyama")
    return method


@dataclass(frozen=True)
class Execution:
    """Where and how a run is to be executed, as the user asked."""

    backend: str
    threads: int | None
    device: Any
    progress: bool | None

    def __post_init__(self):
        if self.backend not in BACKENDS:
            raise ValueError(f"backend must be one of {', '.join(BACKENDS)}; got {self.backend!r}")


def _solve(equation, method, x0, t, steps, paths, save, noise, origin: dict[str, int], how: Execution) -> Paths:
    """One run for `simulate` and `integrate`; `origin` names the noise, empty where it is given or none."""
    grid = time_grid(t, steps)
    begin = start(x0, len(noise) if paths is None and np.ndim(noise) > 1 else paths)
    random = isinstance(equation, SDE)
    shape = Structure(1, int(random), True, True) if begin.tensor else structure(equation, begin.sample, grid[0])
    given = None if noise is None else increments(noise, begin.paths, len(grid) - 1, shape.noises, begin.inner)
    run = Run(grid, saved_steps(save, grid), begin.components, tuple(equation.parameters.values()), begin.paths,
              whole("first", origin.get("first", 0), noises.MAX_PATHS - begin.paths + 1),
              noises.key(origin.get("seed", 0), origin.get("stream", 0)), shape.noises, given,
              whole("threads", _processors() if how.threads is None else how.threads, 4096, start=1))
    _check_memory(run, begin, shape)
    backend = _backend(how, equation, begin, shape, run)
    step = _step(method, equation.drift, getattr(equation, "diffusion", None), getattr(equation, "transition", None),
                 tuple(equation.parameters), shape)
    with tqdm(total=run.paths, unit="path", delay=2.0, leave=False, unit_scale=True,
              disable=None if how.progress is None else not how.progress) as bar:
        try:
            try:
                x = _execute(backend, step, begin, shape, run, how.device, bar.update)
            except Unfit as error:
                if how.backend != "auto" or backend == "torch":
                    raise
                backend = "numpy" if backend == "numba" else "numba"
                warnings.warn(f"{error}\nGoing on with backend={backend!r}.", RuntimeWarning, stacklevel=3)
                bar.reset()
                x = _execute(backend, step, begin, shape, run, how.device, bar.update)
        except NonFinite as fault:
            raise _report(fault, backend, step, shape, run, origin) from None

    def again(path: int) -> Paths:
        state = tuple(c if len(c) == 1 else c[path:path + 1] for c in begin.components)
        return _solve(equation, method, state[0] if begin.scalar else state, grid, run.steps, 1, "all",
                      None if noise is None else np.asarray(noise)[path:path + 1],
                      {**origin, "first": run.first + path} if origin else {},
                      replace(how, backend=backend, progress=False))

    info = {"equation": equation, "method": method, "backend": backend, "steps": run.steps, **origin}
    if random:
        info["noise"] = noises.VERSION if given is None else "given"
    return Paths(grid[run.save], x, info, again)


def _execute(backend: str, step: Callable, begin: Start, shape: Structure, run: Run, device, tick: Callable):
    """The values in the user's layout, by the chosen execution."""
    if backend == "torch":
        from sdekit.torch_engine import run_torch
        x = run_torch(step, run, begin.tensor, device or (begin.components[0].device if begin.tensor else "cpu"), tick)
        return x if begin.tensor or not begin.scalar else x[..., 0]
    out = np.empty((len(run.save), shape.dim, run.paths))
    _fill(backend, step, shape, run, out, tick)
    return out[:, 0].T if begin.scalar else out.transpose(2, 0, 1)


def _fill(backend: str, step: Callable, shape: Structure, run: Run, out: np.ndarray, tick: Callable) -> None:
    if backend == "numpy":
        run_numpy(rebind(step, NUMPY), run, out, tick)
    else:
        from sdekit.numba_engine import run_numba
        run_numba(_kernel(step, shape, run.given is not None, captured(step)), run, out, tick)


@lru_cache(maxsize=1024)
def _step(method, drift, diffusion, transition, names: tuple[str, ...], shape: Structure) -> Callable:
    return method.make(coefficients(drift, diffusion, transition, names, shape))


@lru_cache(maxsize=64)
def _kernel(step: Callable, shape: Structure, given: bool, frozen: tuple) -> Callable:
    """The compiled loop; a variable outside the functions that has changed since makes another one."""
    from sdekit.numba_engine import kernel
    return kernel(step, shape.dim, shape.noises, given)


def _backend(how: Execution, equation, begin: Start, shape: Structure, run: Run) -> str:
    """The execution: what was asked for, or for "auto" what the work calls for, where the functions allow it."""
    asked = how.backend
    if begin.tensor or how.device is not None:
        if asked not in ("auto", "torch"):
            raise ValueError(f"a torch tensor or a device needs backend='torch', got {asked!r}")
        return "torch"
    if asked in ("numba", "torch"):
        return asked
    fault = _array_fault(equation, begin, shape, run.grid[0])
    if asked == "numpy" and fault:
        raise not_on_arrays(fault) from fault
    small = run.paths * run.steps * (shape.dim + shape.noises) < COMPILE_ABOVE
    return "numpy" if asked == "numpy" or (small and not fault) else "numba"


def _array_fault(equation, begin: Start, shape: Structure, t: float) -> Exception | None:
    """What goes wrong when the functions get arrays of three paths instead of numbers."""
    functions = [f for f in (equation.drift, getattr(equation, "diffusion", None)) if f is not None]
    state = tuple(np.full(3, float(c[0])) for c in begin.components)
    try:
        with np.errstate(all="ignore"):
            for function in functions:
                named = {k: v for k, v in equation.parameters.items() if k in takes(function)}
                value = rebind(function, NUMPY)(state[0] if begin.scalar else state, t, **named)
                np.broadcast_to(np.zeros(3) + sum(np.asarray(v) for v in _leaves(value)), 3)
    except Exception as error:
        return error
    return None


def _leaves(value):
    return [leaf for v in value for leaf in _leaves(v)] if isinstance(value, tuple) else [value]


def _check_memory(run: Run, begin: Start, shape: Structure) -> None:
    each = begin.components[0].nbytes // run.paths if begin.tensor else 8 * shape.dim
    need, free = run.paths * len(run.save) * each, psutil.virtual_memory().available
    if need > 0.9 * free:
        raise MemoryError(f"the result would take {need / 2**30:,.1f} GiB ({run.paths:,} paths x {len(run.save):,} "
                          f"times x {each} bytes) and {free / 2**30:,.1f} GiB are free; save fewer times "
                          f"(save='final' or save=11), or take the paths in several calls with first=")


def _report(fault: NonFinite, backend, step: Callable, shape: Structure, run: Run, origin) -> FloatingPointError:
    """The error that names path, step and time, the state before, and the call that leads there."""
    path, n, before = fault.path, fault.step, ""
    if backend != "torch":
        out = np.full((run.steps + 1, shape.dim, 1), np.nan)
        try:
            _fill(backend, step, shape, run.alone(path), out, lambda paths: None)
        except NonFinite:
            good = np.isfinite(out).all(axis=(1, 2))
            n = int(np.argmin(good))
            before = f"; the step before it was x = {', '.join(map(str, out[n - 1, :, 0].tolist()))}"
    again = f", seed={origin['seed']}, first={run.first + path}" if "seed" in origin else ""
    last = max(n - 1, 1)
    even = np.ptp(np.diff(run.grid)) < 1e-9 * np.diff(run.grid).max()
    cut = (f"t=({run.grid[0]}, {run.grid[last]}), steps={last}" if even or last == 1 else
           f"t={run.grid[:last + 1].tolist()}" if last < 50 else f"t=the first {last + 1} times of its grid")
    return FloatingPointError(
        f"path {path} is not finite after step {n} of {run.steps}, at t = {run.grid[n]}{before}. To see it come: the "
        f"same call with {cut}, paths=1{again}, "
        f"backend={backend!r}. Smaller steps, or coefficients that keep the state in its domain, may help")


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
