"""The execution on Torch tensors, on any device: the same loop, the same noise, np.* and math.* as torch's.

A tensor state (batch, ...) is driven by a noise of its own for each element: element e of noise j is component
j size + e of the path, size being the number of elements of one path's state.
"""

import math
from collections.abc import Callable
from numbers import Real

import numpy as np
import torch

from sdekit import noise
from sdekit.adaptive import Cellwise, march_cells
from sdekit.areas import tree_areas
from sdekit.array_engine import march
from sdekit.brownian import split
from sdekit.maths import namespace, rebind
from sdekit.run import Run
from sdekit.variates import EXPONENTIAL

LANES = 64
_RENAMED = {"power": "pow", "absolute": "abs", "fabs": "abs"}


class _Torch:
    """torch's functions under NumPy's names; numbers among the arguments become tensors."""

    def __getattr__(self, name: str):
        function = getattr(torch, _RENAMED.get(name, name), None)
        plain = getattr(np, name, None) or getattr(math, name, None)
        if not callable(function) or not callable(plain) or isinstance(function, type):
            return plain if isinstance(plain, float) else None  # np.pi; but no np function that would leave torch

        def call(*args, **options):
            tensors = [a for a in args if isinstance(a, torch.Tensor)]
            if not tensors:
                return plain(*args, **options)
            like = next((a for a in tensors if a.is_floating_point()), tensors[0].new_empty(0, dtype=torch.float64))
            number = {"dtype": like.dtype, "device": like.device}
            return function(*(torch.as_tensor(a, **number) if isinstance(a, Real) else a for a in args), **options)

        return call


_replace = namespace(_Torch(), "torch")
_BITS = {noise.bits: lambda x: x.view(torch.int64), noise.from_bits: lambda k: k.view(torch.float64)}


def _bound(law: Callable) -> Callable:
    """`noise.pair`, or another law, as a function (key, path, component, half, slot) of int64 tensors and numbers."""
    law = rebind(law, lambda value: _BITS.get(value) or _replace(value) if callable(value) else _replace(value))

    def draw(key: tuple[int, int], path: torch.Tensor, component: torch.Tensor, half: int, slot: int = 0) -> tuple:
        number = {"dtype": torch.int64, "device": path.device}
        return law(*torch.tensor(key, **number), path, component, torch.tensor(half, **number),
                   torch.as_tensor(slot, **number))

    return draw


#: Each gives the numbers of the two (four: coarse) steps that a block serves, in float64; path, component broadcast.
normals, coarse, exponentials = _bound(noise.pair), _bound(noise.quad), _bound(noise.exponential_pair)


def run_torch(step: Callable | Cellwise, run: Run, tensor: bool, device, dtype,
              tick: Callable[[int], None]) -> torch.Tensor:
    """The values: (paths, times, ...) for a tensor state, else (paths, times, dim); stored as `dtype`, if not None."""
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
    p = tuple(torch.tensor(v, **like)[row].reshape(-1, *(1,) * (x[0].ndim - 1)) if np.ndim(v) else v for v in run.p)

    saved = []
    if isinstance(step, Cellwise):
        states = march_cells(step.bound(_replace), x, run, p, Cells(run, x[0], row))
    else:
        states = march(_in_kind(rebind(step, _replace), number, device), x, run, p, *_draws(run, x[0], row), _finite)
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


def _finite(x: tuple) -> int | None:
    good = torch.stack([c.isfinite() for c in x]).all(0).reshape(len(x[0]), -1).all(1)
    return None if bool(good.all()) else int(good.int().argmin())


def _draws(run: Run, x: torch.Tensor, row: torch.Tensor) -> tuple[Callable, Callable]:
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
            held[slot] = n // per, law(run.key, path, component, n // per, slot)
        return held[slot][1][n % per]

    law = (normals, 2) if run.bits == 64 else (coarse, 4)

    def increments(n: int, h: float) -> tuple:
        dw = ()
        if run.noises:
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


_split = rebind(split, lambda value: _BITS.get(value) or _replace(value) if callable(value) else _replace(value))
