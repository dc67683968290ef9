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
from sdekit.array_engine import march
from sdekit.maths import namespace, rebind
from sdekit.run import Run

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
_pair = rebind(noise.pair, lambda value: _BITS.get(value) or _replace(value) if callable(value) else _replace(value))


def normals(key: tuple[int, int], path: torch.Tensor, component: torch.Tensor, half: int) -> tuple:
    """The normals of steps 2 half and 2 half + 1, float64: path and component int64 tensors that broadcast."""
    number = {"dtype": torch.int64, "device": path.device}
    return _pair(*torch.tensor(key, **number), path, component, torch.tensor(half, **number), torch.tensor(0, **number))


def run_torch(step: Callable, run: Run, tensor: bool, device, tick: Callable[[int], None]) -> torch.Tensor:
    """The values: (paths, times, ...) for a tensor state, else (paths, times, dim)."""
    if tensor:
        x, row = tuple(c.to(device) for c in run.x0), torch.arange(run.paths, device=device)
    else:
        # Full vectors only, the last path repeated: the same bits for a path wherever it stands
        row = torch.arange(-(-run.paths // LANES) * LANES, device=device).clamp(max=run.paths - 1)
        starts = [torch.as_tensor(c, dtype=torch.float64, device=device) for c in run.x0]
        x = tuple(c.expand(len(row)).clone() if len(c) == 1 else c[row] for c in starts)
    bound, number = rebind(step, _replace), x[0].dtype

    def step_in_kind(x, t, h, dw, p):
        return tuple(torch.as_tensor(c, device=device).to(number) for c in bound(x, t, h, dw, p))

    kept = set(run.save.tolist())
    saved = []
    for n, state in march(step_in_kind, x, run, _increments(run, x[0], row), _finite):
        if state[0].shape != x[0].shape:
            raise ValueError(f"x0 has shape {tuple(x[0].shape)}, but a step of the SDE's functions gives "
                             f"{tuple(state[0].shape)}; they must return the state's shape")
        if n in kept:
            saved.append(state[0] if tensor else torch.stack(torch.broadcast_tensors(*state), dim=-1)[:run.paths])
    tick(run.paths)
    return torch.stack(saved, dim=1)


def _finite(x: tuple) -> int | None:
    good = torch.stack([c.isfinite() for c in x]).all(0).reshape(len(x[0]), -1).all(1)
    return None if bool(good.all()) else int(good.int().argmin())


def _increments(run: Run, x: torch.Tensor, row: torch.Tensor) -> Callable[[int, float], tuple]:
    """dW of step n, a tuple of `noises` tensors of x's shape and dtype; `row` are the paths' numbers in this run."""
    size = x[0].numel()

    def parts(dw: torch.Tensor) -> tuple:
        """(paths, noises size) -> a tuple of noises"""
        return tuple(part.reshape(x.shape) for part in dw.split(size, dim=1))

    if not run.noises:
        return lambda n, h: ()
    if run.given is not None:
        given = torch.as_tensor(run.given, dtype=x.dtype, device=x.device)[row]
        return lambda n, h: parts(given[:, n])
    path = (run.first + row)[:, None]
    component = torch.arange(run.noises * size, device=x.device)[None, :]
    held: dict[int, tuple] = {}

    def increment(n: int, h: float) -> tuple:
        if n // 2 not in held:
            held.clear()
            held[n // 2] = normals(run.key, path, component, n // 2)
        return parts((h**0.5 * held[n // 2][n % 2]).to(x.dtype))

    return increment
