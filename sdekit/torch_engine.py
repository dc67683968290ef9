"""The execution on Torch tensors, on any device: the same loop, the same noise, np.* and math.* as torch's.

A tensor state (batch, ...) is driven by a noise of its own for each element: element e of noise j is component
j size + e of the path, size being the number of elements of one path's state.

Gradients flow from the saved values to x0, to parameters that are tensors, and to tensors that the functions close
over. With `checkpoint` = k every k-th state is kept alone; the steps between are computed again in the backward pass,
from the same noise, which is a function of its counters. Where sqrt is at 0 its derivative counts as 0: that of
sqrt(max(x, 0)) is then right for every x but 0.
"""

import math
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache, partial
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch.utils.checkpoint import checkpoint

from sdekit import noise
from sdekit.adaptive import Cellwise, march_cells
from sdekit.areas import tree_areas
from sdekit.array_engine import march
from sdekit.brownian import split
from sdekit.components import written
from sdekit.maths import captured, rebind
from sdekit.run import NonFinite, Run
from sdekit.variates import EXPONENTIAL

LANES = 64
_RENAMED = {"power": "pow", "absolute": "abs", "fabs": "abs"}


def _sqrt(x: torch.Tensor) -> torch.Tensor:
    if not x.requires_grad:
        return torch.sqrt(x)
    zero = x == 0.0
    return torch.where(zero, 0.0, torch.sqrt(torch.where(zero, 1.0, x)))


def _taking_numbers(function: Callable, plain: Callable) -> Callable:
    """torch's function with numbers among its arguments, which become tensors; `plain` for numbers alone."""
    def call(*args: Any, **options):
        tensors = [a for a in args if isinstance(a, torch.Tensor)]
        if not tensors:
            return plain(*args, **options)
        like = next((a for a in tensors if a.is_floating_point()), tensors[0].new_empty(0, dtype=torch.float64))
        number = {"dtype": like.dtype, "device": like.device}
        truth = {"dtype": torch.bool, "device": like.device}
        return function(*(torch.full((), bool(a), **truth) if isinstance(a, bool | np.bool_) else
                          torch.full((), float(a), **number) if isinstance(a, Real) else a for a in args), **options)

    return call


def _namespace() -> types.ModuleType:
    """torch's functions under the names of NumPy's and math's: a module, which torch.compile can look into."""
    bound = types.ModuleType("torch under NumPy's names")
    for name in {*dir(np), *dir(math)}:
        function = _sqrt if name == "sqrt" else getattr(torch, _RENAMED.get(name, name), None)
        plain = getattr(np, name, None) or getattr(math, name, None)
        if isinstance(plain, float):
            setattr(bound, name, plain)  # np.pi
        elif callable(function) and callable(plain) and not isinstance(function, type):
            setattr(bound, name, _taking_numbers(function, plain))

    def missing(name: str):
        raise AttributeError(f"np.{name} (or math.{name}) has no counterpart in torch; write it with elementary "
                             "functions, or choose another backend")

    vars(bound)["__getattr__"] = missing
    return bound


_NUMPY = _namespace()


def _replace(value):
    if value is np or value is math:
        return _NUMPY
    if isinstance(value, np.ufunc) or getattr(value, "__module__", None) == "math":
        return getattr(_NUMPY, value.__name__)
    return value


def _with_bits(value):
    return _BITS.get(value) or _replace(value) if callable(value) else _replace(value)


_BITS = {noise.bits: lambda x: x.view(torch.int64), noise.from_bits: lambda k: k.view(torch.float64)}


def _nameless(function: types.FunctionType) -> types.FunctionType:
    """The function with globals of its own without a __name__, by which torch.compile would look for its module's."""
    names = function.__globals__
    module = sys.modules.get(names.get("__name__", ""))
    if "__name__" not in names or (module is not None and vars(module) is names):
        return function
    copy = types.FunctionType(function.__code__, {k: v for k, v in names.items() if k != "__name__"},
                              function.__name__, function.__defaults__, function.__closure__)
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


def _bound(law: Callable) -> Callable:
    """`noise.pair`, or another law, as a function (key, path, component, half, slot) of int64 tensors and numbers."""
    def draw(key: tuple[int, int], path: torch.Tensor, component: torch.Tensor, half: int, slot: Any = 0,
             faster: bool = False) -> tuple:
        number = {"dtype": torch.int64, "device": path.device}
        function = _compiled_law(law) if faster else plain
        return function(*torch.tensor(key, **number), path, component, torch.tensor(half, **number),
                        torch.as_tensor(slot, **number))

    plain = rebind(law, _with_bits)
    return draw


#: Each gives the numbers of the two (four: coarse) steps that a block serves, in float64; path, component broadcast.
normals, coarse, exponentials = _bound(noise.pair), _bound(noise.quad), _bound(noise.exponential_pair)


@lru_cache
def _compiled_law(law: Callable) -> Callable:
    return _Compiled(rebind(law, _with_bits, _nameless), "the noise", dynamic=True)


@lru_cache(maxsize=64)
def _compiled_step(step: Callable, dtype, device, frozen: tuple) -> Callable:
    """Another one for a variable outside the functions that has changed, as `work._kernel`."""
    return _Compiled(_in_kind(rebind(step, _with_bits, _nameless), dtype, device), "a step")


class _Compiled:
    """A function compiled by torch.compile at its first call; as it is, with a warning, where that fails."""

    def __init__(self, function: Callable, what: str, dynamic: bool | None = None):
        self.plain, self.what, self.known = function, what, False
        # A code object of its own: torch counts the versions of each, and gives up after eight
        self.function = torch.compile(written("*args", "return own(*args)", own=function), fullgraph=True,
                                      dynamic=dynamic)

    def __call__(self, *args):
        if self.known:
            return self.function(*args)
        try:
            value = self.function(*args)
        except Exception as error:
            self.function = self.plain
            value = self.plain(*args)  # an error of the functions' own is raised here
            reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            warnings.warn(f"torch.compile failed on {self.what}, which goes on without it: {type(error).__name__}: "
                          f"{reason}", RuntimeWarning, stacklevel=2)
        self.known = True
        return value


def check_place(x, device) -> None:
    """Raise ValueError for a device that is not there, TypeError for a tensor x that is too coarse to add steps to."""
    if x is not None and x.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"a tensor x0 must be float32 or float64, got {x.dtype}, in whose rounding the steps would be "
                        "lost; give x0.float()")
    if device is None:
        return
    try:
        torch.empty(1, dtype=torch.float64 if x is None else x.dtype, device=device)
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        there = ["cpu", *(f"cuda:{k}" for k in range(torch.cuda.device_count()))]
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ValueError(f"device={device!r} cannot be used here ({reason}); there is {', '.join(there)}") from None


def run_torch(step: Callable | Cellwise, run: Run, tensor: bool, device, dtype,
              tick: Callable[[int], None], every: int | None = None, faster: bool = False) -> torch.Tensor:
    """The values: (paths, times, ...) for a tensor state, else (paths, times, dim); stored as `dtype`, if not None.

    every    steps whose states are computed again in the backward pass; None: all are kept for it
    faster   step and noise by torch.compile
    """
    if tensor:
        x, row = tuple(c.to(device) for c in run.x0), torch.arange(run.paths, device=device)
    else:
        # Full vectors only, the last path repeated: the same bits for a path wherever it stands
        full = run.paths if isinstance(step, Cellwise) else -(-run.paths // LANES) * LANES
        row = torch.arange(full, device=device).clamp(max=run.paths - 1)
        starts = [torch.as_tensor(c, dtype=torch.float64, device=device) for c in run.x0]
        x = tuple(c.expand(len(row)).clone() if len(c) == 1 else c[row] for c in starts)
    number = x[0].dtype
    like = {"dtype": number, "device": device}
    p = tuple(_parameter(v, like, row, x[0].ndim) for v in run.p)

    saved = []
    if isinstance(step, Cellwise):
        states = march_cells(_without_lost(step.bound(_replace)), x, run, p, Cells(run, x[0], row))
    else:
        if faster:
            p = tuple(torch.as_tensor(v, dtype=torch.float64, device=device) if np.ndim(v) == 0 else v for v in p)
            kernel = _in_tensors(_compiled_step(step, number, x[0].device, captured(step)), device)
        else:
            kernel = _in_kind(rebind(step, _with_bits), number, device)
        states = _marched(_careful(kernel), x, run, p, *_draws(run, x[0], row, faster), every)
    for _, state in states:
        if state[0].shape != x[0].shape:
            raise ValueError(f"x0 has shape {tuple(x[0].shape)}, but a step of the SDE's functions gives "
                             f"{tuple(state[0].shape)}; they must return the state's shape")
        kept = state[0] if tensor else torch.stack(torch.broadcast_tensors(*state[:run.kept]), dim=-1)[:run.paths]
        saved.append(kept if dtype is None else kept.to(getattr(torch, np.dtype(dtype).name)))
    tick(run.paths * run.steps)
    return torch.stack(saved, dim=1)


def _in_kind(step: Callable, dtype, device) -> Callable:
    """The step, its values tensors of this kind even where the functions give numbers."""
    def step_in_kind(x, t, h, dw, p):
        return tuple(torch.as_tensor(c, device=device).to(dtype) for c in step(x, t, h, dw, p))

    return step_in_kind


def _in_tensors(step: Callable, device) -> Callable:
    """The compiled step for times that are numbers: as tensors they do not compile it anew."""
    def in_tensors(x, t, h, dw, p):
        return step(x, *(torch.full((), v, dtype=torch.float64, device=device) for v in (t, h)), dw, p)

    return in_tensors


def _careful(step: Callable) -> Callable:
    """The step, refused where it changes the state in place."""
    def careful(x, t, h, dw, p):
        before = [c._version for c in x if not c.is_inference()]
        y = step(x, t, h, dw, p)
        if before != [c._version for c in x if not c.is_inference()]:
            raise ValueError("drift or diffusion changes its argument in place; write x = x - 1.0 in place of "
                             "x -= 1.0, so that it gets a tensor of its own")
        return y

    return careful


def _parameter(value, like: dict, row: torch.Tensor, ndim: int):
    """A number as it is; a tensor without axes, or with one entry for each path and as many axes as the state."""
    if not isinstance(value, np.ndarray | torch.Tensor):
        return value
    value = torch.as_tensor(value, **like) if isinstance(value, torch.Tensor) else torch.tensor(value, **like)
    return value[row].reshape(-1, *(1,) * (ndim - 1)) if value.ndim else value


def _marched(step: Callable, x: tuple, run: Run, p: tuple, increments: Callable, aside: Callable,
             every: int | None) -> Iterator[tuple[int, tuple]]:
    """As `march`; of each stretch of so many steps autograd keeps the state before it alone."""
    if every is None:
        yield from march(step, x, run, p, increments, aside, _finite)
        return
    before = np.append(0, np.cumsum(run.offset > 0.0))  # saved times off the grid before each saved time

    def over(begin: int, end: int, which: np.ndarray, *x: torch.Tensor) -> tuple:
        """The states at these saved times and at the end of the stretch, one after the other."""
        save, offset = (np.append(v[which], last) for v, last in ((run.save, end), (run.offset, 0.0)))
        twice = len(which) > 0 and save[-2] == end and offset[-2] == 0.0
        part = replace(run, grid=run.grid[begin:end + 1], save=save[:len(save) - twice] - begin,
                       offset=offset[:len(save) - twice])
        first = before[which[0]] if len(which) else 0
        try:
            states = [state for _, state in march(step, x, part, p, lambda n, h: increments(begin + n, h),
                                                  lambda k: aside(first + k), _finite)]
        except NonFinite as fault:
            raise NonFinite(fault.path, begin + fault.step) from None
        return tuple(c for state in (states + states[-1:] if twice else states) for c in state)

    for begin in range(0, run.steps, every):
        end = min(begin + every, run.steps)
        behind = run.save + (run.offset > 0.0)  # the step after which it is known
        which = np.flatnonzero((behind <= end) & ((behind > begin) | (begin == 0)))
        values = checkpoint(partial(over, begin, end, which), *x, use_reentrant=False)
        states = [values[k:k + len(x)] for k in range(0, len(values), len(x))]
        yield from zip(which.tolist(), states)
        x = states[-1]


def _without_lost(cellwise: Cellwise) -> Cellwise:
    """The same, but paths whose values are not finite are constants in it: a step that was too long, and is not taken,
    must not bring its NaN into the gradients (0 times infinity). They are computed at another path's place."""
    def on_others(function: Callable, state: Callable) -> Callable:
        def finite(*args):
            first = function(*args)
            x = state(first)
            if not any(c.requires_grad for c in x):
                return first
            good = torch.stack([c.isfinite().reshape(len(c), -1).all(1) for c in x]).all(0)
            if bool(good.all()):
                return first
            if not bool(good.any()):
                return _each(lambda v: v.detach(), first)
            rows = torch.where(good, torch.arange(len(good), device=good.device), int(good.int().argmax()))
            again = function(*_each(lambda v: v[rows] if v.ndim and len(v) == len(rows) else v, args))
            return _each(lambda v, w: torch.where(good.reshape(-1, *(1,) * (v.ndim - 1)), w, v.detach())
                         if v.ndim else w, first, again)

        return finite

    return replace(cellwise, attempt=on_others(cellwise.attempt, lambda result: result[0]),
                   aside=on_others(cellwise.aside, lambda x: x))


def _each(function: Callable, first, *others):
    """The function of every tensor in a tuple of tuples, and of those at its place in others."""
    if isinstance(first, tuple):
        return tuple(_each(function, *values) for values in zip(first, *others))
    return function(first, *others) if isinstance(first, torch.Tensor) else first


def _finite(x: tuple) -> int | None:
    good = torch.stack([c.isfinite() for c in x]).all(0).reshape(len(x[0]), -1).all(1)
    return None if bool(good.all()) else int(good.int().argmin())


def _draws(run: Run, x: torch.Tensor, row: torch.Tensor, faster: bool = False) -> tuple[Callable, Callable]:
    """The draws of step n, and those of the k-th saved time off the grid: tuples of tensors of x's shape and dtype.

    `row` are the paths' numbers in this run.
    """
    size, whole = x[0].numel(), slice(0, run.paths)
    number = {"dtype": x.dtype, "device": x.device}
    given = None if run.given is None else torch.as_tensor(run.increments(whole), **number)[row]
    aside = None if run.aside is None else torch.as_tensor(run.detours(whole), **number)[row]
    path = (run.first + row)[:, None]
    held: dict[int, tuple] = {}

    def parts(dw: torch.Tensor) -> tuple:
        """(paths, draws x elements) -> a tuple of draws"""
        return tuple(part.reshape(x.shape) for part in dw.split(size, dim=1)) if dw.shape[1] else ()

    def block(law: Callable, per: int, n: int, count: int, slot: int) -> torch.Tensor:
        """(paths, count) numbers of step n"""
        n += run.begun
        if held.get(slot, (None,))[0] != n // per:
            component = torch.arange(count, device=x.device)[None, :]
            held[slot] = n // per, law(run.key, path, component, n // per, slot, faster)
        return held[slot][1][n % per]

    law = (normals, 2) if run.bits == 64 else (coarse, 4)

    def increments(n: int, h: float) -> tuple:
        dw = ()
        if run.draws == "P":
            k0, k1, step = torch.tensor([*run.key, run.begun + n], device=x.device)
            dw = (k0, k1, path[:, 0], step),
        elif run.noises:
            if given is not None:
                z = given[:, n]
            else:
                z = torch.cat([math.sqrt(h / (12.0 if slot else 1.0)) * block(*law, n, run.noises * size, slot)
                               for slot in range(min(len(run.draws), 2))], dim=1)
                if len(run.draws) == 3:
                    W, H = z.split(run.noises, dim=1)
                    z = torch.cat([z, _areas(run, path[:, 0], n, h, W, H)], dim=1)
            dw = parts(z.to(x.dtype))
        return (*dw, *(block(exponentials, 2, n, run.waits, EXPONENTIAL).to(x.dtype).T if run.waits else ()))

    return increments, lambda k: parts(aside[:, k]) if aside is not None else ()


def _areas(run: Run, path: torch.Tensor, n: int, h: float, W: torch.Tensor, H: torch.Tensor) -> torch.Tensor:
    """The Levy areas of step n, (paths, pairs); W and H are (paths, noises)."""
    component = torch.arange(run.noises, device=W.device)[:, None]

    def draw(cells: list[int]) -> tuple:
        slot = 16 + torch.tensor(cells, device=W.device)[:, None, None]
        return normals(run.key, path, component, run.begun + n, slot)

    return tree_areas(draw, W.T, H.T, h, run.level, torch.cat).T


class Cells:
    """The arrays of `adaptive.march_cells`."""

    def __init__(self, run: Run, x: torch.Tensor, row: torch.Tensor):
        self.run, self.like, self.columns = run, x, run.noises * x[0].numel()
        self.everyone = torch.arange(len(row), device=x.device)
        self.path = (run.first + row)[:, None]
        self.component = torch.arange(self.columns, device=x.device)
        whole = {"dtype": torch.int64, "device": x.device}
        self.key = torch.tensor(run.key, **whole)
        self.detours = None if run.aside is None else torch.as_tensor(
            run.detours(slice(0, run.paths)), dtype=torch.float64, device=x.device)[row]

    def root(self, n: int):
        h = self.run.grid[n + 1] - self.run.grid[n]
        return tuple(math.sqrt(h / (12.0 if slot else 1.0)) * normals(self.run.key, self.path, self.component, n // 2,
                                                                        slot)[n % 2] for slot in (0, 1))

    def split(self, paths, n, cell, h, W, H):
        number = [torch.tensor(k, device=W.device) for k in (n, cell)]
        h = torch.tensor(h, dtype=torch.float64, device=W.device)
        W1, H1, W2, H2 = _split(self.key[0], self.key[1], self.path[paths], self.component, *number, h, W, H)
        return (W1, H1), (W2, H2)

    def aside(self, k: int):
        if self.detours is None:
            return self.like.new_empty((2, len(self.everyone), 0))
        return self.detours[:, k, :self.columns], self.detours[:, k, self.columns:]

    def draws(self, W, H) -> tuple:
        inner, m = self.like.shape[1:], self.run.noises
        return tuple(z.reshape(len(z), m, *inner)[:, j].to(self.like.dtype) for z in (W, H) for j in range(m))

    def put(self, array, which, values):
        array = array.clone()
        array[which] = values if isinstance(values, bool | float) else values.to(array.dtype)
        return array

    def norm(self, e):
        return e if e.ndim == 1 else e.reshape(len(e), -1).square().mean(dim=1).sqrt()


_split = rebind(split, _with_bits)
