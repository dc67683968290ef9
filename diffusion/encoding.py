"""The flow both ways: a picture to the noise that it comes from, and back.

What a denoiser knows of no process, its flow does not either. With m and s the data's centre and spread, every level
is, but for a factor r = sqrt(alpha^2 s^2 + sigma^2), one of a circle:

    z = (x - alpha m) / r,   alpha s / r = -tanh q,   sigma / r = 1 / cosh q,   q = -asinh(alpha s / sigma) <= 0,

    dz/dq = a z - (D(a m + s z, a, s / cosh q) - m) / s,   a = -tanh q.

It has unit variance everywhere, stands still where the data are N(m, s^2 I), and is as smooth at alpha = 0 (q = 0) as
anywhere; towards the data q runs like ln sigma. (In the angle of tan = sigma / (alpha s) it is the trigonometric flow
of Lu & Song 2024, section 3; dq = dangle / sin.) So one equation serves all processes, upwards and downwards.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

import sdekit as sk
from diffusion.denoiser import Denoiser
from diffusion.exact.law import unpacked
from diffusion.grid import Grid
from diffusion.process import EDM, Level, Process
from diffusion.sampling import _Counter, _counting, _labels
from sdekit.noise import whole

TOLERANCE = 1e-6  # of adaptive steps, in units of z


@dataclass(frozen=True, eq=False)
class Route:
    """The levels that a solution goes over, from the noisiest down, and how it steps.

    levels   two of them, and steps of each sample's own length between; or those of a grid, one step each
    """

    levels: tuple[Level, ...]
    method: sk.ODEMethod
    rtol: float | None
    atol: float | None

    @classmethod
    def of(cls, process: Process | None, grid: Grid | None, method: sk.ODEMethod | None, rtol: float,
           atol: float) -> "Route":
        """As the arguments of `encode` say."""
        if method is not None and not isinstance(method, sk.ODEMethod):
            raise TypeError(f"method must be one of sdekit's for ODEs, such as sk.heun or sk.rk4; got {method!r}")
        if grid is None:
            if method is not None and method.pair is None:
                raise ValueError(f"{method!r} has no steps of its own length; give grid=, whose levels it steps over, "
                                 "or leave method out")
            process = process or EDM()
            if not isinstance(process, Process):
                raise TypeError(f"process must be one such as df.VP(), got {process!r}")
            low, high = process.span
            return cls((process.level(high), process.level(low)), method or sk.dopri5, rtol, atol)
        if not isinstance(grid, Grid):
            raise TypeError(f"grid must be one of df.grid's, such as df.grid.edm(18); got {grid!r}")
        if process is not None and process is not grid.process:
            raise ValueError(f"process={process!r} was given beside a grid of {grid.process!r}; give one of them")
        return cls(grid.levels, method or sk.rk4, None, None)


class Flow:
    """dz/dq of a denoiser for samples of one shape: `velocity` at q, `follow` along a route, `z` and `x` of each other.

    labels   (n,), or None
    nfe      (n,), evaluations so far of the innermost denoiser for each sample
    """

    def __init__(self, denoiser: Denoiser, shape: tuple[int, ...], labels: Tensor | None, count: int):
        center = getattr(denoiser, "center", 0.0)
        self.device = center.device if isinstance(center, Tensor) else torch.device("cpu")
        self.center = torch.as_tensor(center, dtype=torch.float64, device=self.device)
        self.spread = float(getattr(denoiser, "spread", 1.0)) or 1.0
        self.shape, self.size, self.count = shape, math.prod(shape), count
        self.labels = None if labels is None else labels.to(self.device)
        self.denoiser, self._counter = denoiser, _Counter(torch.zeros(count))
        self._model = _counting(denoiser, self._counter)

    @property
    def nfe(self) -> Tensor:
        """Of each sample."""
        return self._counter.per_sample

    def clock(self, level: Level) -> float:
        """q."""
        return -math.asinh(level.alpha * self.spread / level.sigma)

    def scale(self, level: Level) -> float:
        """r."""
        return math.hypot(level.alpha * self.spread, level.sigma)

    def z(self, x: Tensor, level: Level) -> Tensor:
        """(n, d)"""
        z = (x.to(self.device, torch.float64) - level.alpha * self.center) / self.scale(level)
        return z.reshape(self.count, self.size)

    def x(self, z: Tensor, level: Level) -> Tensor:
        """(n, *shape)"""
        return level.alpha * self.center + self.scale(level) * z.reshape(-1, *self.shape)

    def at(self, z: Tensor, q: float) -> tuple[Tensor, float, float]:
        """x, alpha, sigma of the circle: the arguments of a denoiser, r = s."""
        alpha, sigma = -math.tanh(q), self.spread / math.cosh(q)
        return alpha * self.center + self.spread * z.reshape(-1, *self.shape), alpha, sigma

    def denoised(self, x: Tensor, alpha: float, sigma: float, row: Tensor) -> Tensor:
        """D for these rows."""
        with self._counter.of(row):
            D = self._model(x, alpha, sigma, None if self.labels is None else self.labels[row])
        if D.shape != x.shape:
            raise ValueError(f"the denoiser gave a tensor of shape {tuple(D.shape)} for x of shape {tuple(x.shape)}; "
                             "they must be equal")
        return D.to(x.dtype)

    def velocity(self, z: Tensor, q: float, row: Tensor) -> Tensor:
        """dz/dq, (rows, d)."""
        x, alpha, sigma = self.at(z, q)
        return self.along(z, alpha, self.denoised(x, alpha, sigma, row))

    def along(self, z: Tensor, alpha: float, D: Tensor) -> Tensor:
        """dz/dq where D is known."""
        return alpha * z - ((D - self.center) / self.spread).reshape(z.shape)

    def follow(self, velocity: Callable, state: Tensor, route: Route, up: bool) -> Tensor:
        """The state (n, ...) at the other end of the route: d state / dq = velocity(state, q, row)."""
        q = np.array([self.clock(level) for level in route.levels])
        q, way = (q[::-1], 1.0) if up else (q, -1.0)
        low, high, start = float(q.min()), float(q.max()), float(q[0])

        def drift(y, tau, row):
            return way * velocity(y, min(max(start + way * tau, low), high), row.flatten().long())

        tau = way * (q - start)
        steps: dict[str, Any] = {"t": tau} if len(q) > 2 else {"t": (0.0, float(tau[-1])), "steps": 1}
        row: Any = torch.arange(self.count, dtype=torch.float64, device=state.device)
        end = sk.integrate(sk.ODE(drift, row=row), state, **steps, method=route.method, save="final", backend="torch",
                           rtol=route.rtol, atol=route.atol, progress=False).final
        bad = (~end.isfinite().reshape(self.count, -1).all(1)).nonzero().flatten().tolist()
        if bad:
            raise FloatingPointError(f"sample {bad[0]} is not finite at the end of its flow ({len(bad)} of "
                                     f"{self.count} are not): the denoiser gave what is not finite, or the grid is "
                                     "too coarse")
        return end


def encode(denoiser: Denoiser, x: Tensor | np.ndarray, *, label: Any = None, process: Process | None = None,
           grid: Grid | None = None, method: sk.ODEMethod | None = None, rtol: float = TOLERANCE,
           atol: float = TOLERANCE, batch: int = 256, progress: bool | None = None) -> Tensor:
    """What x at the last level was at the first: the flow upwards, (n, ...) to (n, ...) in x's type.

    x            states at the end of sampling, (n, ...), a tensor or a NumPy array: of a picture x_0, alpha x_0 + sigma
                 eps. The picture itself goes up and down as well, but lacks the noise of its level, and its latent
                 lacks it too (variance .25 to .43 in place of 1 for four digits of `df.load()` at .02)
    label        the class of each, or one of all; None for no condition
    process      from the lower end of its span to the upper, by default EDM's 0.02 to 40
    grid         in its place: from its last level to its first, one step of `method` from each level to the next
    method       without a grid `sk.dopri5`, in steps of each sample's own length; with one `sk.rk4`, or any other
                 (`sk.dopri5` goes from level to level in steps of its own length)
    rtol, atol   of the steps of their own length, in units of the standard deviation of the level

    What `df.sample(..., start=latent, grid=grid, close=False)` and `decode` come down from. Going up and down again
    gives x to the order of the method. Raises ValueError and TypeError for arguments that do not fit,
    FloatingPointError where the flow does not stay finite.

    >>> from diffusion.exact import Gaussian
    >>> data, x = Gaussian(3.0, 0.5, shape=(2,)), torch.tensor([[2.5, 4.0]], dtype=torch.float64)
    >>> encode(data, x)                 # 3 + (x - 3) sqrt(.5^2 + 40^2) / sqrt(.5^2 + .02^2)
    tensor([[-36.9712,  82.9423]], dtype=torch.float64)
    >>> decode(data, encode(data, x))
    tensor([[2.5000, 4.0000]], dtype=torch.float64)
    """
    route = Route.of(process, grid, method, rtol, atol)
    return _carried(denoiser, samples(denoiser, x), label, route, True, batch, progress)


def decode(denoiser: Denoiser, latent: Tensor | np.ndarray, *, label: Any = None, process: Process | None = None,
           grid: Grid | None = None, method: sk.ODEMethod | None = None, rtol: float = TOLERANCE,
           atol: float = TOLERANCE, batch: int = 256, progress: bool | None = None) -> Tensor:
    """What a state at the first level becomes at the last: the flow downwards, the inverse of `encode`.

    latent   (n, ...), a tensor or a NumPy array

    The closing x <- D is left out, for it has no inverse. The other arguments, and what is raised, are those of
    `encode`.
    """
    route = Route.of(process, grid, method, rtol, atol)
    return _carried(denoiser, samples(denoiser, latent), label, route, False, batch, progress)


def interpolate(denoiser: Denoiser, a: Tensor, b: Tensor, n: int = 9, *, label: Any = None, **options) -> Tensor:
    """n pictures from a to b, both included, (n, ...): decoded from between their latents.

    z_w = (sin((1 - w) W) z_a + sin(w W) z_b) / sin W,  W the angle between z_a and z_b

    Shoemake 1985 on the latents of unit variance, which independent noise is as likely between as at the ends.

    a, b      (...), one picture each
    label     of both; or a pair (of a, of b): then each picture is made under the label of the end that is nearer, the
              middle one under a's
    options   those of `encode`

    Raises ValueError for opposite latents, between which every way is as short, and as `encode`.

    >>> from diffusion.exact import Gaussian
    >>> data = Gaussian(0.0, 1.0, shape=(2,))
    >>> interpolate(data, torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), 3)
    tensor([[1.0000, 0.0000],
            [0.7071, 0.7071],
            [0.0000, 1.0000]])
    """
    n = whole("n, the pictures of an interpolation,", n, 2**31, start=2)
    if not (isinstance(a, Tensor) and isinstance(b, Tensor)) or a.shape != b.shape:
        raise ValueError("a and b must be two pictures of one shape, tensors, got "
                         f"{tuple(getattr(a, 'shape', ()))} and {tuple(getattr(b, 'shape', ()))}")
    ends: tuple[Any, ...] = (label, label) if label is None or np.ndim(label) == 0 else tuple(label)
    if len(ends) != 2 or (ends[0] is None) != (ends[1] is None):
        raise ValueError(f"label is one for both ends, or a pair of them, got {label!r}")
    w = torch.linspace(0, 1, n, dtype=torch.float64)
    both, each = (None, None) if ends[0] is None else (list(ends), [int(ends[v > 0.5]) for v in w])
    pair = torch.stack((a, b)).to(torch.float64)
    latent = encode(denoiser, pair, label=both, **options)
    flow = Flow(denoiser, tuple(a.shape), None, 2)
    top = Route.of(options.get("process"), options.get("grid"), None, 0.0, 0.0).levels[0]
    from_a, from_b = flow.z(latent, top)
    z = _between(from_a, from_b, w.to(flow.device))
    return decode(denoiser, flow.x(z, top), label=each, **options).to(a.dtype)


def _between(a: Tensor, b: Tensor, w: Tensor) -> Tensor:
    """Points (n, d) on the great arc from a to b."""
    # the half angle by two norms: exact for small angles, where an arccosine is not
    u, v = a / a.norm(), b / b.norm()
    angle = 2 * torch.atan2((u - v).norm(), (u + v).norm())
    if angle > math.pi - 1e-6:
        raise ValueError("a and b have opposite latents, between which no way is the shortest; take another picture")
    if not angle > 1e-9:  # also where one of them is 0
        return torch.lerp(a, b, w[:, None])
    return (torch.sin((1 - w) * angle)[:, None] * a + torch.sin(w * angle)[:, None] * b) / torch.sin(angle)


def _carried(denoiser: Denoiser, x: Tensor, label: Any, route: Route, up: bool, batch: int,
             progress: bool | None) -> Tensor:
    done = []
    with torch.no_grad():
        for part, labels in parts(denoiser, x, label, batch, progress):
            flow = Flow(denoiser, tuple(x.shape[1:]), labels, len(part))
            begin, end = (route.levels[-1], route.levels[0]) if up else (route.levels[0], route.levels[-1])
            state = flow.follow(flow.velocity, flow.z(part, begin), route, up)
            done.append(flow.x(state, end).to(x))
    return torch.cat(done)


def samples(denoiser: Denoiser, x: Any) -> Tensor:
    """x (n, ...), a tensor or a NumPy array, checked."""
    x = unpacked(x)
    if not isinstance(x, Tensor):
        raise TypeError(f"x must be a floating-point tensor of samples, (n, ...), or such an array; got {x!r}")
    if not x.is_floating_point():
        raise TypeError(f"x must be a floating-point tensor of samples, (n, ...), but is of {x.dtype}; give x.double() "
                        "if these numbers are on the scale of the data")
    if x.ndim < 1 or not x.numel():
        raise ValueError(f"x must hold at least one sample, (n, ...), but has the shape {tuple(x.shape)}: "
                         + ("give one sample as x[None]" if x.ndim < 1 else "it is empty"))
    shape = getattr(denoiser, "shape", None)
    if shape is not None and tuple(x.shape[1:]) != tuple(shape):
        raise ValueError(f"x holds samples of shape {tuple(x.shape[1:])}, but the denoiser's are {tuple(shape)}")
    if not x.isfinite().all():
        raise ValueError("x must be finite")
    return x


def parts(denoiser: Denoiser, x: Tensor, label: Any, batch: int,
          progress: bool | None) -> Iterator[tuple[Tensor, Tensor | None]]:
    """So many of the samples x (n, ...) at a time, with their labels, checked."""
    labels = None if label is None else _labels(label, len(x), denoiser)
    batch = whole("batch", batch, 2**31, start=1)
    with tqdm(total=len(x), unit="sample", delay=2.0, leave=False,
              disable=None if progress is None else not progress) as bar:
        for begin in range(0, len(x), batch):
            part = slice(begin, begin + batch)
            yield x[part], None if labels is None else labels[part]
            bar.update(len(x[part]))
