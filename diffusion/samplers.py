"""Samplers: ways down a grid, each a pure step from level t to level s < t. One loop, many steps.

    step(denoise, x, t, s, memory, noise) -> x at s, memory;   denoise(x, t) = D = E[x_0 | x],  noise() ~ N(0, I)

With lambda = ln(alpha/sigma), h = lambda_s - lambda_t and eps = (x - alpha D) / sigma the flow ODE has two solutions
without a linear part, one with D and one with eps under the integral (Lu et al. 2022; Zhang & Chen 2023):

    x_s = (sigma_s/sigma_t) x_t + alpha_s int_0^h e^{r-h} D(lambda_t + r) dr
    x_s = (alpha_s/alpha_t) x_t - sigma_s int_0^h e^{h-r} eps(lambda_t + r) dr

and the reverse SDE, in the time alpha^2/sigma^2, with q = e^{-2h},

    x_s = (sigma_s/sigma_t) e^{-h} x_t + alpha_s 2 int_0^h e^{2(r-h)} D dr + sigma_s sqrt(1 - q) Z.

What a sampler puts in the place of D or eps under the integral is its whole difference from the others.

    | sampler                | order    | calls    | what it is                                                       |
    | ---------------------- | -------- | -------- | ---------------------------------------------------------------- |
    | ddim(eta=0), euler     | 1        | 1        | D frozen; Euler in sigma/alpha, which is the same                |
    | heun                   | 2        | 2        | Heun in sigma/alpha (Karras et al. 2022, algorithm 1)            |
    | dpmpp_2s, dpmpp_3s     | 2, 3     | 2, 3     | D a polynomial through stages within the step                    |
    | dpmpp_2m, dpmpp_3m     | 2, 3     | 1        | D a polynomial through the last levels                           |
    | deis(p)                | p        | 1        | eps a polynomial through the last p levels                       |
    | unipc(p)               | p + 1    | 1        | dpmpp's p levels, corrected by the evaluation that follows       |
    | flow_ode(method)       | method's | method's | the flow in the process's time by a method of sdekit             |
    | ddim(eta), ancestral   | 1        | 1        | part of eps drawn anew; eta = 1 is ancestral, all of it          |
    | ddpm                   | 1        | 1        | ancestral with variance beta (Ho et al. 2020, algorithm 2)       |
    | sde_dpmpp_1, _2m       | 1        | 1        | the reverse SDE with D frozen, or a line through two levels      |
    | churned(gamma)         |          | 2        | heun after adding some noise (Karras et al. 2022, algorithm 2)   |
    | predictor_corrector    |          |          | another sampler's step, then Langevin steps on its level         |
    | reverse_sde(method)    | method's | method's | the reverse SDE in the process's time by a method of sdekit      |

A method of p levels begins with what it has, one level, then two, ..., or with the steps of another sampler: its
`start`. Orders of more than start's plus one are those of its start. Orders are strong ones, and for those with noise
on one Brownian motion: `make orders` measures them.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

import sdekit as sk
from diffusion.grid import Grid
from diffusion.process import Level, Process, levels, real

Denoise = Callable[..., Tensor]
Step = Callable[[Denoise, Tensor, Level, Level, Any, Callable], tuple[Tensor, Any]]
NODES, WEIGHTS = np.polynomial.legendre.leggauss(32)  # exact to rounding for the integrands below up to h = 20


@dataclass(frozen=True)
class Sampler:
    """A way down a grid: solve(denoise, x, grid, noise) yields the state at each level after the first.

    order        that its strong error has, where it claims one
    evaluations  of the denoiser a step
    step         its step, where it is made of one
    """

    name: str
    solve: Callable[..., Iterator[Tensor]]
    order: float | None = None
    evaluations: int = 1
    stochastic: bool = False
    step: Step | None = None

    def __repr__(self) -> str:
        return self.name


def stepwise(name: str, step: Step, order: float | None = None, evaluations: int = 1,
             stochastic: bool = False) -> Sampler:
    """The sampler that takes one `step` after another: how one of your own is made.

    >>> def halfway(denoise, x, t, s, memory, noise):       # Euler in sigma/alpha, for alpha = 1
    ...     return x + (s.sigma - t.sigma) * (x - denoise(x, t)) / t.sigma, memory
    >>> stepwise("mine", halfway, order=1)
    mine
    """
    return Sampler(name, partial(_walk, name, step), order, evaluations, stochastic, step)


def _walk(name: str, step: Step, denoise: Denoise, x: Tensor, grid: Grid, noise: Callable) -> Iterator[Tensor]:
    memory: Any = ()
    for n, (t, s) in enumerate(pairwise(grid)):
        shape = x.shape
        x, memory = step(denoise, x, t, s, memory, partial(noise, n, t, s))
        if x.shape != shape:
            raise ValueError(f"the step of {name} made a state of shape {tuple(x.shape)} of one of {tuple(shape)}")
        yield x


def ddim(eta: float = 0.0) -> Sampler:
    """x_s = alpha_s D + sqrt(sigma_s^2 - v^2) eps + v Z,  v^2 = eta^2 sigma_s^2 (1 - e^{-2h}).

    eta   0 draws nothing (the flow), 1 is `ancestral` (Song, Meng & Ermon 2021, eq. 12 and 16)
    """
    if not 0 <= real("eta", eta) <= 1:
        raise ValueError(f"eta goes from 0, no noise, to 1, ancestral sampling; got {eta!r}")
    return stepwise("ancestral" if eta == 1 else f"ddim({eta:g})" if eta else "ddim", partial(_ddim, eta), 1,
                    stochastic=eta > 0)


def _ddim(eta, denoise, x, t, s, memory, noise):
    D, kept = denoise(x, t), s.noise / t.noise
    fresh = eta**2 * (1 - kept**2)
    x = s.alpha * D + s.sigma * (1 - fresh) ** 0.5 * ((x - t.alpha * D) / t.sigma)
    return (x + s.sigma * fresh**0.5 * noise() if eta else x), memory


def _euler(denoise, x, t, s, memory, noise):
    if not t.alpha:
        return _DDIM(denoise, x, t, s, memory, noise)
    y = x / t.alpha
    return s.alpha * (y + (s.noise - t.noise) * (y - denoise(x, t)) / t.noise), memory


def _heun(denoise, x, t, s, memory, noise):
    if not t.alpha:
        return _DDIM(denoise, x, t, s, memory, noise)
    y, l, m = x / t.alpha, t.noise, s.noise
    slope = (y - denoise(x, t)) / l  # eps = dy/dl
    end = y + (m - l) * slope
    return s.alpha * (y + (m - l) * (slope + (end - denoise(s.alpha * end, s)) / m) / 2), memory


def _ddpm(denoise, x, t, s, memory, noise):
    D, ratio = denoise(x, t), t.alpha / s.alpha  # sqrt(1 - beta) where t and s are neighbours
    beta = t.sigma**2 - ratio**2 * s.sigma**2
    mean = ratio * (s.sigma / t.sigma) ** 2 * x + s.alpha * beta / t.sigma**2 * D
    return mean + beta**0.5 * noise(), memory


def _dpmpp_2s(denoise, x, t, s, memory, noise):
    if not t.alpha:
        return _DDIM(denoise, x, t, s, memory, noise)
    h = s.log - t.log
    D = denoise(x, t)
    middle = _within(denoise, x, t, h / 2, [(0.0, D)])
    return _combined(x, t, s, h, [0.0, h / 2], [D, middle]), memory


def _dpmpp_3s(denoise, x, t, s, memory, noise):
    if not t.alpha:
        return _DDIM(denoise, x, t, s, memory, noise)
    h = s.log - t.log
    D = denoise(x, t)
    third = _within(denoise, x, t, h / 3, [(0.0, D)])
    later = _within(denoise, x, t, 2 * h / 3, [(0.0, D), (h / 3, third)])
    return _combined(x, t, s, h, [0.0, 2 * h / 3], [D, later]), memory


def _within(denoise: Denoise, x: Tensor, t: Level, h: float, known: list) -> Tensor:
    """D at lambda_t + h, the state there by the polynomial through what is known, on the scale alpha = 1."""
    s = Level(math.nan, 1.0, math.exp(-t.log - h))
    return denoise(_combined(x, t, s, h, *map(list, zip(*known))), s)


def _dpmpp_2m(denoise, x, t, s, memory, noise):
    D, h = denoise(x, t), s.log - t.log
    line = D if not memory else D + h / (2 * (t.log - memory[0].log)) * (D - memory[1])
    return s.sigma / t.sigma * x - s.alpha * math.expm1(-h) * line, (t, D)


def _sde_dpmpp_1(denoise, x, t, s, memory, noise):
    kept = s.noise / t.noise  # e^{-h}
    return (s.sigma / t.sigma * kept * x + s.alpha * (1 - kept**2) * denoise(x, t)
            + s.sigma * (1 - kept**2) ** 0.5 * noise(), memory)


def _sde_dpmpp_2m(denoise, x, t, s, memory, noise):
    D, h, kept = denoise(x, t), s.log - t.log, s.noise / t.noise
    line = D if not memory else D + h / (2 * (t.log - memory[0].log)) * (D - memory[1])
    return (s.sigma / t.sigma * kept * x + s.alpha * (1 - kept**2) * line
            + s.sigma * (1 - kept**2) ** 0.5 * noise(), (t, D))


def _past(memory: tuple, t: Level, value: Tensor, most: int) -> tuple:
    """What is known at the last levels, newest first; a level of alpha = 0 lies infinitely far back in lambda."""
    return ((t, value), *(known for known in memory if known[0].alpha))[:most]


def _weights(nodes: list[float], h: float, rate: float) -> list[float]:
    """int_0^h e^{rate (h - r)} L_j(r) dr of the Lagrange polynomials L_j through the nodes."""
    r = h * (1 + NODES) / 2
    kernel = WEIGHTS * h / 2 * np.exp(rate * (h - r))
    return [float(kernel @ np.prod([(r - b) / (a - b) for b in nodes if b != a] or [np.ones_like(r)], axis=0))
            for a in nodes]


def _combined(x: Tensor, t: Level, s: Level, h: float, nodes: list[float], values: list[Tensor]) -> Tensor:
    """x_s with D the polynomial through `values` at lambda_t + nodes; one value is kept constant, at any h."""
    weights = [-math.expm1(-h)] if len(nodes) == 1 else _weights(nodes, h, -1.0)
    total = s.sigma / t.sigma * x
    for weight, value in zip(weights, values):
        total = total + s.alpha * weight * value
    return total


def _adams(name: str, points: int, order: float, start: Sampler | None, corrected: bool = False) -> Sampler:
    """D a polynomial through the last `points` levels; corrected: and through the level that it led to."""
    return stepwise(name, partial(_adams_step, points, _single(start), corrected), order)


def _adams_step(points, single, corrected, denoise, x, t, s, memory, noise):
    known, before = memory or ((), None)
    D = denoise(x, t)
    fresh = _past(known, t, D, points + 1)
    if corrected and before and before[0].alpha:
        x = _combined(before[1], before[0], t, *_through(fresh, before[0], t))  # x_t again, D there being known
    if single is not None and len(fresh) < points:
        return single(denoise, x, t, s, (), noise)[0], (fresh, None)
    return _combined(x, t, s, *_through(fresh[:points], t, s)), (fresh[:points], (t, x))


def _through(known: tuple, t: Level, s: Level) -> tuple[float, list[float], list[Tensor]]:
    """h, nodes and values for `_combined`."""
    nodes = [level.log - t.log for level, _ in known] if t.alpha else [0.0]
    return s.log - t.log, nodes, [value for _, value in known]


def deis(order: int = 3, start: Sampler | None = None) -> Sampler:
    """Exponential Adams-Bashforth: eps a polynomial in lambda through the last `order` levels, 1 to 4.

    x_s = (alpha_s/alpha_t) x_t - sigma_s sum_j w_j eps_j,  w_j = int_0^h e^{h-r} L_j(r) dr

    Zhang & Chen 2023, eq. 15, with polynomials in lambda. start: see the module; without one the order is at most 2.
    """
    _check_order("deis", order, 4)
    return stepwise(_named("deis", order, start), partial(_deis, order, _single(start)), _reached(order, start))


def _deis(order, single, denoise, x, t, s, memory, noise):
    eps = (x - t.alpha * denoise(x, t)) / t.sigma
    known = _past(memory, t, eps, order)
    if not t.alpha:
        return _DDIM(denoise, x, t, s, (), noise)[0], ()
    if single is not None and len(known) < order:
        return single(denoise, x, t, s, (), noise)[0], known
    h = s.log - t.log
    total = s.alpha / t.alpha * x
    for weight, (_, value) in zip(_weights([level.log - t.log for level, _ in known], h, 1.0), known):
        total = total - s.sigma * weight * value
    return total, known


def unipc(order: int = 3, start: Sampler | None = None) -> Sampler:
    """D a polynomial through the last `order` levels, 1 to 3; at the next level x is corrected by what D is there.

    Of order + 1, but for the first steps: at most 3 without a `start` (Zhao et al. 2023, algorithm 1, whose weights
    are these where they satisfy the order conditions).
    """
    _check_order("unipc", order, 3)
    claim = min(order + 1, 3 if start is None else (start.order or 0) + 1)
    return _adams(_named("unipc", order, start), order, claim, start, corrected=True)


def dpmpp_multistep(order: int, start: Sampler | None = None) -> Sampler:
    """D a polynomial through the last `order` levels, 1 to 4: `dpmpp_3m` is that of order 3 (Lu et al. 2022b)."""
    _check_order("dpmpp_multistep", order, 4)
    return _adams(_named("dpmpp_multistep", order, start), order, _reached(order, start), start)


def _named(name: str, order: int, start: Sampler | None) -> str:
    return f"{name}({order})" if start is None else f"{name}({order}, start={start!r})"


def _reached(order: int, start: Sampler | None) -> float:
    return min(order, 2 if start is None else (start.order or 0) + 1)


def _check_order(name: str, order, most: int) -> None:
    if isinstance(order, bool) or not isinstance(order, int) or not 1 <= order <= most:
        raise ValueError(f"{name} has the orders 1 to {most}, got {order!r}")


def _single(start: Sampler | None) -> Step | None:
    if start is not None and (not isinstance(start, Sampler) or start.step is None or start.order is None
                              or start.stochastic):
        raise TypeError("start must be a sampler of single steps, without noise, of some order, such as dpmpp_3s; got "
                        f"{start!r}")
    return None if start is None else start.step


def churned(gamma: float = 0.4142135623730951, interval: tuple[float, float] = (0.05, 50.0),
            scale: float = 1.003) -> Sampler:
    """Heun's step after noise was added: from sigma/alpha = l to l (1 + gamma) (Karras et al. 2022, algorithm 2).

    gamma      S_churn / N of the paper, at most sqrt(2) - 1
    interval   the noise levels where that is done, S_min and S_max
    scale      of the noise that is added, S_noise
    """
    low, high = levels(interval)
    if not 0 <= real("gamma", gamma) <= 2**0.5 - 1 + 1e-12:
        raise ValueError(f"gamma goes from 0 to sqrt(2) - 1 = 0.414, got {gamma!r}")
    if not real("scale", scale) > 0:
        raise ValueError(f"scale is positive, got {scale!r}")
    return stepwise(f"churned({gamma:.3g})", partial(_churned, gamma, low, high, scale), None, 2, stochastic=True)


def _churned(gamma, low, high, scale, denoise, x, t, s, memory, noise):
    if t.alpha and low <= t.noise <= high:
        more = Level(math.nan, 1.0, t.noise * (1 + gamma))
        x, t = x / t.alpha + scale * (more.sigma**2 - t.noise**2) ** 0.5 * noise(1), more
    return _heun(denoise, x, t, s, memory, noise)


def predictor_corrector(predictor: Sampler | None = None, corrections: int = 1, ratio: float = 0.16) -> Sampler:
    """A step of `predictor`, ancestral by default, then Langevin steps x += d score + sqrt(2 d) Z at its level.

    d = (ratio sigma)^2, the same for every sample: what a sample becomes does not depend on the others in its batch
    (Song et al. 2021, algorithm 2, whose step is a mean over the batch).
    """
    predictor = ancestral if predictor is None else predictor
    if not isinstance(predictor, Sampler) or predictor.step is None:
        raise TypeError(f"the predictor is a sampler of single steps, such as ancestral; got {predictor!r}")
    if isinstance(corrections, bool) or not isinstance(corrections, int) or corrections < 1:
        raise ValueError(f"corrections is a whole number of at least 1, got {corrections!r}")
    if not real("ratio", ratio) > 0:
        raise ValueError(f"ratio is positive, got {ratio!r}")
    return stepwise(f"predictor_corrector({predictor!r}, {corrections}, {ratio:g})",
                    partial(_corrected, predictor.step, corrections, ratio), None, predictor.evaluations + corrections,
                    stochastic=True)


def _corrected(predict, corrections, ratio, denoise, x, t, s, memory, noise):
    x, memory = predict(denoise, x, t, s, memory, noise)
    for k in range(corrections):
        x = x + ratio**2 * (s.alpha * denoise(x, s) - x) + 2**0.5 * ratio * s.sigma * noise(1 + k)
    return x, memory


def reverse_sde(method: sk.Method | None = None, lam: float = 1.0, rtol: float | None = None,
                atol: float | None = None) -> Sampler:
    """dx = (f x - (1 + lam^2)/2 g^2 score) dt + lam g dW, backwards in the process's time, by a method of sdekit.

    lam          1 is the reverse of Anderson 1982, 0 the flow; the marginals are the same for all of them
    rtol, atol   steps of each sample's own length (see `sdekit.simulate`), between the grid's levels

    In f and g it needs alpha > 0: begin the grid where the noise level is finite.
    """
    if not 0 <= real("lam", lam) < math.inf:
        raise ValueError(f"lam is a number of at least 0, got {lam!r}")
    how = sk.euler_maruyama if method is None and rtol is None and atol is None else method
    if how is not None and not isinstance(how, sk.Method):
        raise TypeError(f"reverse_sde takes a method for SDEs, sdekit.euler_maruyama or sdekit.sra say; got {how!r}")
    _check_tolerances(rtol=rtol, atol=atol)
    return Sampler(_called("reverse_sde", how, lam=lam, rtol=rtol, atol=atol), partial(_reverse, how, lam, rtol, atol),
                   _strong(how), 1 if how is None else how.evaluations[0], stochastic=True)


def _reverse(how, lam, rtol, atol, denoise: Denoise, x: Tensor, grid: Grid, noise: Any) -> Iterator[Tensor]:
    process, clock, times = _clock(grid, grid.process.coefficients)

    def drift(x, tau, row):
        t = clock.level(tau)
        f, g2 = process.coefficients(t.time)
        score = (t.alpha * denoise(x, t, row) - x) / t.sigma**2
        return 0.5 * (1 + lam**2) * g2 * score - f * x

    def diffusion(x, tau):
        return torch.full_like(x, lam * process.coefficients(clock.level(tau).time)[1] ** 0.5)

    origin = ({"noise": noise.brownian(times[-1])} if noise.nested
              else {"seed": noise.seed, "first": noise.first, "stream": noise.stream})
    sde, steps = sk.SDE(drift, diffusion, **_rows(x)), _steps(times, rtol is not None or atol is not None)
    paths = sk.simulate(sde, x, **steps, method=how, rtol=rtol, atol=atol, backend="torch", progress=False, **origin)
    yield from paths.x[:, 1:].unbind(1)


def flow_ode(method: sk.ODEMethod | None = None, rtol: float | None = None, atol: float | None = None) -> Sampler:
    """dx/dt = alpha' D + sigma' eps, backwards in the process's time, by a method of sdekit: Heun's by default.

    rtol, atol   of `sk.dopri5`: steps of each sample's own length, between the grid's levels
    """
    adaptive = rtol is not None or atol is not None
    how = method or (sk.dopri5 if adaptive else sk.heun)
    if not isinstance(how, sk.ODEMethod) or (adaptive and how.pair is None):
        known = "dopri5, with rtol or atol" if adaptive else "euler, heun, rk4 or dopri5"
        raise TypeError(f"flow_ode takes a method for ODEs: {known}; got {how!r}")
    _check_tolerances(rtol=rtol, atol=atol)
    return Sampler(_called("flow_ode", how, rtol=rtol, atol=atol), partial(_flow, how, rtol, atol), how.order,
                   how.evaluations)


def _flow(how, rtol, atol, denoise: Denoise, x: Tensor, grid: Grid, noise: Any) -> Iterator[Tensor]:
    process, clock, times = _clock(grid, grid.process.slopes)

    def drift(x, tau, row):
        t = clock.level(tau)
        slope, growth = process.slopes(t.time)
        D = denoise(x, t, row)
        return -(slope * D + growth * (x - t.alpha * D) / t.sigma)

    ode, steps = sk.ODE(drift, **_rows(x)), _steps(times, rtol is not None or atol is not None)
    paths = sk.integrate(ode, x, **steps, method=how, rtol=rtol, atol=atol, backend="torch", progress=False)
    yield from paths.x[:, 1:].unbind(1)


@dataclass(frozen=True)
class _Clock:
    """The reversed clock tau = top - t, from 0 at the grid's first level."""

    process: Process
    bottom: float
    top: float

    def level(self, tau: float) -> Level:
        return self.process.level(min(max(self.top - tau, self.bottom), self.top))


def _clock(grid: Grid, coefficients: Callable) -> tuple[Process, _Clock, np.ndarray]:
    """The process, its reversed clock, and the grid on it."""
    process, first, last = grid.process, grid.levels[0].time, grid.levels[-1].time
    if not np.isfinite(coefficients(first)).all():
        raise ValueError(f"at t = {first:g}, where {grid!r} begins, the equation of {process!r} in its time has "
                         "infinite coefficients; begin the grid a little before, or use ddim, ancestral or dpmpp_2m")
    return process, _Clock(process, last, first), first - np.array([level.time for level in grid])


def _check_tolerances(**given: float | None) -> None:
    for name, value in given.items():
        if value is not None and not 1e-13 <= real(name, value) < math.inf:
            raise ValueError(f"rtol and atol are numbers of at least 1e-13, the rounding of float64; got {value!r}")


def _strong(method: sk.Method | None) -> float | None:
    """The strong order where the noise does not depend on the state."""
    return None if method is None else method.additive or method.strong


def _steps(times: np.ndarray, adaptive: bool) -> dict[str, Any]:
    if adaptive:
        return {"t": (0.0, float(times[-1])), "steps": 1, "save": times}
    if len(times) == 2:
        return {"t": (0.0, float(times[-1])), "steps": 1}
    return {"t": times}


def _rows(x: Tensor) -> dict[str, Any]:
    """Which sample a row of the state is, where a method looks at some of them alone: a parameter of the equation."""
    return {"row": torch.arange(len(x), dtype=torch.float64, device=x.device)}


def _called(name: str, method, **given) -> str:
    told = [repr(method)] if method is not None else []
    told += [f"{k}={v:g}" for k, v in given.items() if v is not None and (k, v) != ("lam", 1.0)]
    return f"{name}({', '.join(told)})"


_DDIM: Any = ddim().step

#: x_s by Euler in sigma/alpha: y = x/alpha, dy/d(sigma/alpha) = eps. Equal to `ddim()`.
euler = stepwise("euler", _euler, 1)

#: Heun's method for the flow ODE in the noise level l = sigma/alpha: y = x/alpha, dy/dl = eps. Two evaluations a step,
#: order 2 (Karras et al. 2022, algorithm 1, for any alpha).
heun = stepwise("heun", _heun, 2, 2)

#: The posterior of x_s given x_t and x_0 = D: mean alpha_s D + q-part of eps, variance sigma_s^2 (1 - q). ddim(1).
ancestral = ddim(1.0)

#: x' = (x - beta eps / sigma_t) / sqrt(1 - beta) + sqrt(beta) z (Ho et al. 2020, algorithm 2, with variance beta);
#: over several steps of the walk at once beta is that of the larger step.
ddpm = stepwise("ddpm", _ddpm, 1, stochastic=True)

#: DPM-Solver++(2S): D at the middle of the step, in lambda (Lu et al. 2022b, algorithm 1).
dpmpp_2s = stepwise("dpmpp_2s", _dpmpp_2s, 2, 2)

#: Three stages, at 0, 1/3 and 2/3 of the step in lambda (Lu et al. 2022a, algorithm 2, with D instead of eps).
dpmpp_3s = stepwise("dpmpp_3s", _dpmpp_3s, 3, 3)

#: DPM-Solver++(2M): a line through the last two levels, its integral that of D times 1 - e^{-h} (Lu et al. 2022b,
#: algorithm 2).
dpmpp_2m = stepwise("dpmpp_2m", _dpmpp_2m, 2)

#: DPM-Solver++(3M): D a parabola through the last three levels, integrated exactly.
dpmpp_3m = Sampler(**{**vars(dpmpp_multistep(3)), "name": "dpmpp_3m"})

#: SDE-DPM-Solver++(1): D frozen in the reverse SDE. Equal to `ancestral` (Lu et al. 2022b, eq. 18).
sde_dpmpp_1 = stepwise("sde_dpmpp_1", _sde_dpmpp_1, 1, stochastic=True)

#: SDE-DPM-Solver++(2M): D a line through the last two levels (Lu et al. 2022b, eq. 19).
sde_dpmpp_2m = stepwise("sde_dpmpp_2m", _sde_dpmpp_2m, 1, stochastic=True)
