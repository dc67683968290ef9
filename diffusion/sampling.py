"""Sampling: from noise at the first level of a grid to data, by a denoiser. One loop, many steps.

x begins in N(alpha m, (alpha^2 s^2 + sigma^2) I), m and s the data's centre and spread, and goes down the grid by a
`Sampler`; after the last level, where sigma > 0, comes x <- E[x_0 | x]. All arithmetic is in float64; the network
computes in its own type.

Sample i is named by (seed, i): its noise depends on nothing else, not on the batch it is drawn in.
"""

import math
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from torch import Tensor, nn
from tqdm import tqdm

import sdekit as sk
from diffusion.denoiser import Denoiser, shaped
from diffusion.grid import Grid, default
from diffusion.guidance import Derived, classifier_free
from diffusion.process import Level, Process
from diffusion.samplers import Sampler, heun
from sdekit.noise import COMPILE_FROM, MAX_PATHS, check_seed, key, whole
from sdekit.torch_engine import normals

START, STEPS = 1, 0  # streams: of the first noise, and of the noise of the steps


@dataclass(frozen=True)
class Trajectory:
    """What a run went through: at every level of the grid the state and what was seen in it, (levels, n, ...).

    x, x0, eps   x = alpha x0 + sigma eps, x0 the denoiser's estimate
    """

    x: Tensor
    x0: Tensor
    eps: Tensor


@dataclass(frozen=True, eq=False)
class Samples:
    """samples (n, ...).

    nfe          evaluations of the denoiser for each sample, guided ones count two: a number, or (n,) where the steps
                 are of each sample's own length
    label        the classes asked for, (n,), or None
    trajectory   if `keep` was asked for
    """

    samples: Tensor
    label: Tensor | None
    nfe: float | Tensor
    seconds: float
    grid: Grid
    info: dict[str, Any] = field(repr=False)
    trajectory: Trajectory | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.samples)


@dataclass(frozen=True)
class Step:
    """One moment of a run: at `level`, the n-th of the grid, the state x and the estimates x0 and eps in it."""

    n: int
    level: Level
    x: Tensor
    x0: Tensor
    eps: Tensor


def sample(denoiser: Denoiser, n: int = 1, *, label: int | Sequence[int] | Tensor | None = None,
           steps: int | None = None, method: Sampler = heun, seed: int | None = None, first: int = 0,
           guidance: float = 0.0, interval: tuple[float, float] = (0.5, 8.0), process: Process | None = None,
           grid: Grid | None = None, shape: Sequence[int] | None = None, start: Tensor | None = None,
           close: bool = True, keep: bool = False, nested: bool = False, batch: int = 256,
           dtype: torch.dtype = torch.float32, progress: bool | None = None) -> Samples:
    """Draw n samples from a denoiser: x from N(alpha m, (alpha^2 s^2 + sigma^2) I) at the first level, then down.

    That start is right for the data as a whole up to what their law differs from a Gaussian at that level; of one
    class, or guided, its mean is off by alpha (m_y - m), of which the flow leaves about |m_y - m| s / (sigma/alpha).

    denoiser        D(x, alpha, sigma, condition), trained or exact
    label           the class asked for: one for all, or one a sample; None for no condition
    steps, method   a `Sampler` (see `diffusion.samplers`) in this many steps, 18 without a grid
    seed, first     sample i is named by (seed, first + i); seed None draws one
    guidance        w of classifier-free guidance, at noise levels within `interval`; 0 for none. In
                    `classifier_free` itself the interval is everywhere by default
    process, grid   the grid of levels; by default EDM's (sigma 40 to 0.02), or that of `diffusion.grid.default`
    shape           of one sample; by default that of the data the denoiser was trained on
    start           the state at the grid's first level, (n, ...), in place of noise drawn for it
    close           end with x <- D; off, the samples are those at the grid's last level
    keep            keep the trajectory: state, estimated x_0 and noise at every level
    nested          the noise of the steps is one Brownian motion a sample, on the clock alpha^2/sigma^2 (that of
                    reverse_sde is the process's time), so that all grids that end at one level refine one path; slower
    batch           how many go down together: the samples do not depend on it
    dtype           of the result; the computation is in float64

    Raises ValueError for a label outside the classes, TypeError for a seed that is no whole number, MemoryError before
    any work for a result larger than the free memory, FloatingPointError for values that are not finite, with the step
    and the noise level. Warns of a network in training mode, where samples are not those of their names.

    >>> from diffusion.exact import Gaussian
    >>> result = sample(Gaussian(3.0, 0.5), 1000, shape=(1,), steps=18, seed=1)
    >>> result.samples.shape, result.nfe
    (torch.Size([1000, 1]), 37.0)
    """
    run = _Run.of(denoiser, n, label, steps, method, seed, first, guidance, interval, process, grid, shape, start,
                  close, nested)
    batch = whole("batch", batch, 2**31, start=1)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise TypeError(f"dtype must be a floating-point type of torch, such as torch.float64; got {dtype!r}")
    run.check_memory(dtype.itemsize * (3 * (len(run.grid) + 1) if keep else 1))
    began, done, kept = time.perf_counter(), [], []
    with torch.no_grad(), tqdm(total=run.n * len(run.grid), unit="step", delay=2.0, leave=False,
                               disable=None if progress is None else not progress) as bar:
        for begin in range(0, run.n, batch):
            part = _Part(run, begin, min(batch, run.n - begin))
            moments = []
            for moment in part.moments(keep):
                bar.update(part.count)
                moments = [*moments, moment] if keep else [moment]
            done.append(part.closed(moments[-1].x).to(dtype).cpu())
            part.check(done[-1])
            if keep:
                kept.append([torch.stack([getattr(m, name) for m in moments]).to(dtype).cpu()
                             for name in ("x", "x0", "eps")])
    nfe = torch.cat([c.per_sample for c in run.counters])
    info = {"seed": run.seed, "first": run.first, "method": str(method), "guidance": guidance}
    return Samples(torch.cat(done), run.labels, float(nfe[0]) if (nfe == nfe[0]).all() else nfe,
                   time.perf_counter() - began, run.grid, info,
                   Trajectory(*(torch.cat(v, 1) for v in zip(*kept))) if keep else None)


def contrast(denoiser: Denoiser, n: int = 1, labels: Sequence[int] | None = None, **options) -> Tensor:
    """The same noise, another class: sample i of every class from the one noise (seed, first + i), (n, classes, ...).

    labels    the classes, by default all of the denoiser's
    options   those of `sample`, but for label and keep

    >>> from diffusion.problems import mixture
    >>> contrast(mixture(), 2, seed=1).shape
    torch.Size([2, 3, 2])
    """
    classes = getattr(denoiser, "classes", None)
    if classes is None:
        raise TypeError("contrasting cases are of classes, and this denoiser has none")
    if {"label", "keep"} & set(options):
        raise TypeError("contrast() takes labels=, a list of classes, and keeps no trajectories")
    options["seed"] = check_seed(options.get("seed"))
    chosen = list(range(classes)) if labels is None else labels
    if not isinstance(chosen, Sequence | Tensor) or not len(chosen):
        raise TypeError(f"labels is a list of classes, such as [3, 8]; got {labels!r}")
    return torch.stack([sample(denoiser, n, label=label, **options).samples for label in chosen], 1)


def steps(denoiser: Denoiser, n: int = 1, **options) -> Iterator[Step]:
    """Every moment of a run, as it goes: state, estimated x_0 and estimated noise at each level of the grid.

    options   those of `sample`, but for keep, batch, dtype and progress; all n samples go down together

    The last moment is that of the grid's end; its x0 is what `sample` returns.

    >>> from diffusion.exact import Gaussian
    >>> [round(m.level.sigma, 2) for m in steps(Gaussian(3.0, 0.5), 4, shape=(1,), steps=3, seed=1)]
    [40.0, 6.98, 0.68, 0.02]
    """
    wrong = set(options) - set(_DEFAULTS)
    if wrong:
        raise TypeError(f"steps() has no use for {', '.join(sorted(wrong))}; it yields every moment of all n samples, "
                        f"and takes {', '.join(_DEFAULTS)}")
    run = _Run.of(denoiser, n, **{**_DEFAULTS, **options})
    run.check_memory(8 * 4)

    def moments() -> Iterator[Step]:
        going = _Part(run, 0, run.n).moments(True)
        while True:
            with torch.no_grad():
                moment = next(going, None)
            if moment is None:
                return
            yield moment

    return moments()


@dataclass(frozen=True, eq=False)
class _Run:
    """What was asked for, checked."""

    denoiser: Any
    n: int
    labels: Tensor | None
    grid: Grid
    method: Sampler
    seed: int
    first: int
    shape: tuple[int, ...]
    start: Tensor | None
    close: bool
    nested: bool
    counters: list["_Counter"] = field(default_factory=list)

    @classmethod
    def of(cls, denoiser, n, label, steps, method, seed, first, guidance, interval, process, grid, shape, start, close,
           nested) -> "_Run":
        n, seed, first = whole("n", n, MAX_PATHS, start=1), check_seed(seed), whole("first", first, MAX_PATHS)
        _check_callable(denoiser)
        if not isinstance(method, Sampler):
            raise TypeError("method must be a sampler, such as df.heun, df.dpmpp_2m or df.reverse_sde(); got "
                            f"{method!r}")
        if grid is not None and not isinstance(grid, Grid):
            raise TypeError(f"grid must be one of df.grid's, such as df.grid.edm(18); got {grid!r}")
        if grid is not None and process is not None and process != grid.process:
            raise ValueError(f"process={process!r} was given beside a grid of {grid.process!r}; give one of them")
        if grid is not None and steps is not None and steps != len(grid):
            raise ValueError(f"steps={steps!r} was given beside a grid of {len(grid)} steps; give one of them")
        grid = grid or default(process, 18 if steps is None else steps)
        told = shaped(shape)
        if start is not None:
            start = torch.as_tensor(start)
            if not start.ndim or len(start) != n:
                raise ValueError(f"start must hold a state for each of n={n} samples, got shape {tuple(start.shape)}")
            if not start.isfinite().all():
                raise ValueError("start must be finite")
            shape = tuple(start.shape[1:])
            if told not in (None, shape):
                raise ValueError(f"start has samples of shape {shape}, not {told}")
        else:
            shape = _shape(denoiser) if told is None else told
        known = getattr(denoiser, "shape", None)
        if known is not None and tuple(known) != shape:
            raise ValueError(f"this denoiser is of samples of shape {tuple(known)}, not {shape}")
        if _training(denoiser):
            warnings.warn("the network is in training mode, where dropout and batch normalisation make a sample depend "
                          "on more than its name; call its .eval() first", RuntimeWarning, stacklevel=3)
        labels = None if label is None else _labels(label, n, denoiser)
        if guidance and labels is None:
            raise ValueError(f"guidance={guidance!r} needs the classes to guide to; give label=")
        return cls(classifier_free(denoiser, guidance, interval), n, labels, grid, method, seed, first, shape, start,
                   close, nested)

    def check_memory(self, each: int) -> None:
        """Whether a result of so many bytes an element fits."""
        need, free = each * self.n * math.prod(self.shape), psutil.virtual_memory().available
        if need > free:
            raise MemoryError(f"the result of {self.n:,} samples of shape {self.shape} takes {need / 2**30:,.1f} GiB, "
                              f"and {free / 2**30:,.1f} GiB are free; sample in parts, by n and first")


def _training(denoiser) -> bool:
    """Whether the network at the bottom of it is in training mode."""
    while isinstance(denoiser, Derived):
        denoiser = denoiser.base
    net = denoiser if isinstance(denoiser, nn.Module) else getattr(denoiser, "net", None)
    return isinstance(net, nn.Module) and net.training


class _Part:
    """Samples begin ... begin + count of a run, going down the grid together."""

    def __init__(self, run: _Run, begin: int, count: int):
        self.run, self.begin, self.count, self.last = run, begin, count, None
        self.step, self.flags = 1, []
        center = getattr(run.denoiser, "center", None)
        self.device = center.device if isinstance(center, Tensor) else "cpu"
        self.condition = None if run.labels is None else run.labels[begin:begin + count].to(self.device)
        self.counter = _Counter(torch.zeros(count))
        run.counters.append(self.counter)
        self.model = _counting(run.denoiser, self.counter)
        if run.method.stochastic and len(run.grid) * count * math.prod(run.shape) >= COMPILE_FROM // 4:
            import sdekit.numba_noise  # noqa: F401  # from here on `sk.normals` draws by compiled code
        self.noise = Noise((count, *run.shape), run.seed, run.first + begin, self.device, run.grid, run.nested)

    def denoise(self, x: Tensor, level: Level, row: Tensor | None = None) -> Tensor:
        """D at x; asked again for the same, it is not evaluated again."""
        if self.last is not None and self.last[0] is x and self.last[1] == level:
            return self.last[2]
        condition = self.condition
        if row is not None:
            row = row.flatten().long()
            condition = None if condition is None else condition[row]
        with self.counter.of(row):
            D = self.model(x, level.alpha, level.sigma, condition)
        if D.shape != x.shape:
            raise ValueError(f"the denoiser gave a tensor of shape {tuple(D.shape)} for x of shape {tuple(x.shape)}; "
                             "they must be equal")
        D = D.to(x.dtype)
        self.flags.append((self.step, level, D.isfinite().all()))
        self.last = (x, level, D)
        return D

    def moments(self, seen: bool) -> Iterator[Step]:
        """The state at each level, and what is seen in it if that was asked for."""
        states = chain([self.first()], self._solved())
        for n, (level, x) in enumerate(zip(self.run.grid, states)):
            self.step = n + 1
            D = self.denoise(x, level) if seen else x
            eps = (x - level.alpha * D) / level.sigma if seen else x
            self._held = x
            yield Step(n, level, x, D, eps)

    def _solved(self) -> Iterator[Tensor]:
        yield from self.run.method.solve(self.denoise, self._held, self.run.grid, self.noise)

    def first(self) -> Tensor:
        run, top = self.run, self.run.grid.levels[0]
        if run.start is not None:
            return run.start[self.begin:self.begin + self.count].to(self.device, torch.float64)
        center, spread = (getattr(run.denoiser, name, None) for name in ("center", "spread"))
        center = torch.as_tensor(0.0 if center is None else center, dtype=torch.float64, device=self.device)
        spread = 1.0 if spread is None else float(spread)
        z = self.noise.normal(START, 0)
        return top.alpha * center + (top.alpha**2 * spread**2 + top.sigma**2) ** 0.5 * z

    def closed(self, x: Tensor) -> Tensor:
        return self.denoise(x, self.run.grid.levels[-1]) if self.run.close else x

    def check(self, samples: Tensor) -> None:
        """Whether all was finite: asked once, at the end, for a GPU is not to wait at every step."""
        if self.flags and not torch.stack([flag for *_, flag in self.flags]).all():
            step, level = next((step, level) for step, level, flag in self.flags if not flag)
            grid = self.run.grid
            if self.run.method.step is None and step <= len(grid):  # a method of sdekit, which takes all steps at once
                step = sum(known.noise > level.noise for known in grid)
            where = f"in step {step} of {len(grid)}" if step <= len(grid) else "in the closing step"
            raise FloatingPointError(f"the denoiser gave values that are not finite, first {where}, at sigma = "
                                     f"{level.sigma:g}, alpha = {level.alpha:g}")
        bad = (~samples.isfinite().reshape(len(samples), -1).all(1)).nonzero().flatten().tolist()
        if bad:
            raise FloatingPointError(f"sample {self.noise.first + bad[0]} of seed {self.run.seed} is not finite "
                                     f"({len(bad)} of {len(samples)} are not): the grid is too coarse for the method")


class _Counter:
    """Evaluations of the innermost denoiser for each sample of a part."""

    def __init__(self, per_sample: Tensor):
        self.per_sample, self.rows = per_sample, 0
        self.row: Tensor | None = None
        self.asked = 1

    def of(self, row: Tensor | None) -> "_Counter":
        self.row, self.rows = row, 0
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        count = len(self.per_sample) if self.row is None else len(self.row)
        self.per_sample[slice(None) if self.row is None else self.row.cpu()] += self.rows / max(count, 1)


def _counting(denoiser, counter: _Counter):
    """The denoiser with its innermost one counted."""
    if isinstance(denoiser, Derived):
        return replace(denoiser, base=_counting(denoiser.base, counter))

    def counted(x: Tensor, alpha, sigma, condition=None) -> Tensor:
        counter.rows += len(x)
        return denoiser(x, alpha, sigma, condition)

    return counted


class Noise:
    """The noise of samples first, first + 1, ... along a grid: called (n, t, s, kind), N(0, I) of step n from t to s.

    Keyed by (seed, sample, n, kind, element). Nested, that of kind 0 is (B(u_s) - B(u_t)) / sqrt(u_s - u_t) of one
    Brownian motion in u = alpha^2/sigma^2: the reverse SDE in y = x alpha/sigma^2 is dy = D du + dB.
    """

    stream = STEPS

    def __init__(self, shape: tuple[int, ...], seed: int, first: int, device: Any, grid: Grid, nested: bool):
        self.shape, self.seed, self.first, self.device, self.nested = shape, seed, first, device, nested
        self.size = int(np.prod(shape[1:]))
        self.clock = np.array([(level.alpha / level.sigma) ** 2 for level in grid])
        self.pair: tuple[Any, Any] = (None, None)

    def __call__(self, n: int, t: Level, s: Level, kind: int = 0) -> Tensor:
        if not self.nested or kind:
            return self.normal(STEPS, n, kind)
        return self._tensor(self._nested[:, n])

    @cached_property
    def _nested(self) -> np.ndarray:
        rise = self.brownian(self.clock[-1]).increments(self.clock) / np.diff(self.clock)[:, None] ** 0.5
        return rise.reshape(self.shape[0], -1, self.size)

    def brownian(self, end: float) -> sk.Brownian:
        """The path of each sample, from 0 to `end`."""
        return sk.Brownian(self.seed, t=float(end), steps=1, paths=self.shape[0], noises=self.size, stream=STEPS,
                           first=self.first)

    def normal(self, stream: int, n: int, kind: int = 0) -> Tensor:
        """Z(seed, stream, sample, n, element) of sdekit's noise, float64; two steps are one block of it."""
        name = (stream, n // 2, kind)
        if self.pair[0] != name:
            self.pair = (name, self._blocks(*name))
        return self.pair[1][n % 2]

    def _blocks(self, stream: int, half: int, kind: int) -> tuple[Tensor, ...]:
        if torch.device(self.device).type == "cpu":
            z = sk.normals(self.seed, stream, range(self.first, self.first + self.shape[0]),
                           range(2 * half, 2 * half + 2), self.size, slot=kind)
            return tuple(self._tensor(z[:, k]) for k in (0, 1))
        path = torch.arange(self.first, self.first + self.shape[0], device=self.device)[:, None]
        component = torch.arange(self.size, device=self.device)[None, :]
        both = normals(key(self.seed, stream), path, component, half, kind, faster=True)
        return tuple(z.reshape(self.shape) for z in both)

    def _tensor(self, z: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(z)).to(self.device).reshape(self.shape)


_WHOLE = {"keep", "batch", "dtype", "progress"}  # the options that are about all samples together
_DEFAULTS: dict[str, Any] = {k: v for k, v in (sample.__kwdefaults__ or {}).items() if k not in _WHOLE}


def _check_callable(denoiser: Any) -> None:
    if not callable(denoiser):
        loads = f"; load it: df.load({denoiser!r})" if isinstance(denoiser, str | Path) else ""
        raise TypeError("a denoiser is a function of (x, alpha, sigma, condition), such as df.load() or "
                        f"df.exact.Gaussian(0.0, 1.0); got {denoiser!r:.80}{loads}")


def _shape(denoiser: Denoiser) -> tuple[int, ...]:
    shape = getattr(denoiser, "shape", None)
    if shape is None:
        raise TypeError("this denoiser does not tell the shape of its data; give shape=, that of one sample")
    return tuple(shape)


def _labels(label, n: int, denoiser: Denoiser) -> Tensor:
    classes = getattr(denoiser, "classes", None)
    if classes is None:
        raise TypeError(f"label={label!r} was given, but this denoiser has no classes; leave label out")
    try:
        labels = torch.as_tensor(label)
        if labels.dtype == torch.bool or labels.is_floating_point():
            raise TypeError
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"a label is a whole number from 0 to {classes - 1}, got {label!r}") from None
    if labels.ndim > 1 or labels.numel() not in (1, n):
        raise ValueError(f"give one label, or one for each of the {n} samples; got {labels.numel()}")
    wrong = labels[(labels < 0) | (labels >= classes)]
    if len(wrong.reshape(-1)):
        raise ValueError(f"label {int(wrong.reshape(-1)[0])} is outside the classes of this model: 0 to {classes - 1}")
    return labels.long().reshape(-1).expand(n)
