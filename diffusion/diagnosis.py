"""Where the errors of samples come from: the model, the steps, the start. Each is measured alone, against a law of the
data that is known exactly.

    score           E|s_model - s|^2 sigma^2 / d = (alpha/sigma)^2 E|D_model - D|^2 / d, x of the exact law, each level
    discretisation  RMS of |x_k - x_ref| / (alpha sqrt(d)) at each level: the sampler with the exact denoiser, from the
                    exact law at the first level, and the same with very many steps
    prior           N(alpha m, r^2 I), r^2 = alpha^2 s^2 + sigma^2, with the model's m and s, for the exact law at the
                    first level: Frechet's distance (of means and covariances) and KL(exact || prior)

The first is E|eps_model - eps|^2 / d, whose weighted integral bounds the KL divergence of what is sampled (Song et al.
2021, Maximum likelihood training, theorem 1). And at the grid's last level, in the data's units, what each moves a
sample by (RMS of |x - x'| / (alpha sqrt(d)), the others being exact):

    score           the converged flows of the model and of the exact denoiser from one start
    discretisation  as above
    prior           converged flows from x of the prior, and from m_T + C_T^{1/2} (x - alpha m) / r, x with the exact
                    law's mean and covariance
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from diffusion.compare import CONVERGED, FAR, Estimate, norms
from diffusion.denoiser import Denoiser
from diffusion.distances import interval, picks
from diffusion.exact import Law
from diffusion.grid import Grid, default
from diffusion.process import Level, Process
from diffusion.samplers import Sampler, heun
from diffusion.sampling import sample
from sdekit.convergence import table
from sdekit.noise import check_seed, whole

TIMES = 200  # of the bootstrap
CAUSES = {"score": "the model's score", "discretisation": "the steps", "prior": "the start"}


@dataclass(frozen=True)
class LevelErrors:
    """At one level of the grid.

    score           E|s_model - s|^2 sigma^2 / d, without unit; nought for a model that is exact
    share           of E|s|^2 sigma^2 / d
    discretisation  RMS |x_k - x_ref| / (alpha sqrt(d)), in the data's units; infinite at alpha = 0
    """

    level: Level
    score: Estimate
    share: float
    discretisation: Estimate


@dataclass(frozen=True)
class Prior:
    """The first noise beside the exact law at the first level.

    frechet   |m - m'|^2 + tr(C + C' - 2 (C C')^{1/2}) to the power 1/2, over sqrt(d) and the prior's r: without unit
    kl        KL(exact || prior) in nats, with the interval of its sample mean
    """

    frechet: float
    kl: Estimate


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What `diagnose` measured; print it, .plot() it.

    levels   in the order of sampling
    prior    the start
    end      "score", "discretisation", "prior": what each moves a sample by at the last level, in the data's units
    """

    levels: Sequence[LevelErrors]
    prior: Prior
    end: Mapping[str, Estimate]
    info: Mapping[str, Any] = field(repr=False)

    @property
    def worst(self) -> str:
        """The cause of the largest error at the end."""
        return max(self.end, key=lambda cause: self.end[cause].value)

    def __str__(self) -> str:
        about = self.info
        lines = [f"{about['method']!r} in {len(about['grid'])} steps of {about['grid'].process!r}, {about['n']} "
                 f"samples, seed {about['seed']}", ""]
        lines += table(["sigma/alpha", "score error x sigma²", "of the score", "discretisation error"], [
            [f"{e.level.noise:.3g}", str(e.score), f"{e.share:.1%}",
             str(e.discretisation) if e.level.alpha else "-"] for e in self.levels])
        lines += ["", f"prior: Frechet distance {self.prior.frechet:.2g} of its deviation, KL {self.prior.kl} nats", "",
                  "what each moves a sample by at the end, in the data's units:"]
        lines += table(["", "RMS"], [[f"{name}, {CAUSES[name]}", str(e)] for name, e in self.end.items()])[1:]
        return "\n".join([*lines, f"The largest is that of {CAUSES[self.worst]}."])

    def plot(self, ax=None):
        """Score and discretisation errors against the noise level. See `diffusion.plot.diagnosis`; returns the Axes."""
        from diffusion.plot import diagnosis
        return diagnosis(self, ax)


def diagnose(model: Denoiser, exact: Law, process: Process | None = None, *, steps: int = 18, grid: Grid | None = None,
             method: Sampler = heun, n: int = 256, label: Any = None, seed: int = 0, finer: int = 16,
             progress: bool | None = None) -> Diagnosis:
    """Tell the errors of a model's score, of a method's steps and of the first noise from each other.

    model          trained, or any denoiser
    exact          the law of the data that it should know, of `diffusion.exact`
    process, grid  as in `sample`; the steps whose error is measured are those of the grid
    method         a sampler that claims an order
    n              samples for each measurement
    label          one class, or one for each sample; of model and exact law
    finer          how many steps of the reference go into one of the grid

    Returns `Diagnosis`. Raises TypeError and ValueError for arguments that do not fit.

    >>> from diffusion.exact import Gaussian
    >>> exact, model = Gaussian(0.0, 1.0, shape=(2,)), Gaussian(0.0, 1.1, shape=(2,))
    >>> diagnose(model, exact, steps=18, progress=False).worst
    'score'
    """
    if not isinstance(exact, Law):
        raise TypeError(f"errors are told from an exact law, such as df.exact.GaussianMixture; got {exact!r}")
    if not isinstance(method, Sampler):
        raise TypeError(f"method must be a sampler, such as df.heun; got {method!r}")
    if method.order is None:
        raise ValueError(f"{method!r} claims no order: with more steps it does not come to an end that an error "
                         "could be measured from")
    if grid is not None and process is not None and process is not grid.process:
        raise ValueError(f"process={process!r} was given beside a grid of {grid.process!r}; give one of them")
    grid = grid or default(process, steps)
    n, seed, finer = whole("n", n, 2**31, start=2), check_seed(seed), whole("finer", finer, 2**20, start=2)
    picked = picks(n, TIMES, seed)
    top, bottom = grid.levels[0], grid.levels[-1]
    fine, common = subdivided(grid, finer), {"label": label, "seed": seed, "close": False, "dtype": torch.float64,
                                             "progress": False}
    condition = {} if label is None else {"condition": label}
    start = exact.sample(n, top.alpha, top.sigma, seed, **condition)

    def end(denoiser: Any, begin: Tensor) -> Tensor:
        return sample(denoiser, n, method=CONVERGED, grid=fine, start=begin, **common).samples

    def states(how: Sampler, on: Grid) -> Tensor:
        run = sample(exact, n, method=how, grid=on, start=start, keep=True, nested=method.stochastic, **common)
        assert run.trajectory is not None  # kept
        return run.trajectory.x

    bar = tqdm(total=len(grid) + 7, unit="run", leave=False, disable=None if progress is None else not progress)
    with bar, torch.no_grad():
        scores = [_score(model, exact, level, exact.sample(n, level.alpha, level.sigma, seed, **condition), label,
                         picked) for level in grid]
        bar.update(len(grid) + 1)
        walked, followed = states(method, grid), states(method if method.stochastic else CONVERGED, fine)[::finer]
        bar.update(2)
        steps_off = [_rms((a - b) / level.alpha, picked) if level.alpha else Estimate(*3 * (math.inf,))
                     for a, b, level in zip(walked, followed, grid)]
        by_exact = followed[-1] if not method.stochastic else end(exact, start)
        by_model = end(model, start)
        bar.update(2)
        prior, drawn, moved = _prior(model, exact, top, start, n, seed, label)
        off = end(exact, drawn) - end(exact, moved)
        bar.update(2)
    told = {"score": _rms((by_model - by_exact) / bottom.alpha, picked), "discretisation": steps_off[-1],
            "prior": _rms(off / bottom.alpha, picked)}
    levels = tuple(LevelErrors(level, *s, e) for level, s, e in zip(grid, scores, steps_off))
    return Diagnosis(levels, prior, told, {"grid": grid, "method": method, "n": n, "seed": seed, "model": model})


def subdivided(grid: Grid, parts: int) -> Grid:
    """Every step in so many equal ones of ln(sigma/alpha): a grid that has the given one's levels among its own."""
    levels = []
    for t, s in pairwise(grid):
        begin = t.noise if t.alpha else max(FAR, 10 * s.noise)
        inner = np.geomspace(begin, s.noise, parts + 1)[1:-1]
        levels += [t, *(grid.process.at(v) for v in inner.tolist())]
    return Grid("subdivided", (*levels, grid.levels[-1]), grid.process)


def _score(model, exact: Law, level: Level, x: Tensor, label, picked) -> tuple[Estimate, float]:
    """(alpha/sigma)^2 |D_model - D|^2 / d, its mean and interval, and its share of sigma^2 |s|^2 / d."""
    condition = None if label is None else torch.as_tensor(label).long().reshape(-1).expand(len(x))
    device = center.device if isinstance(center := getattr(model, "center", 0.0), Tensor) else x.device
    given = None if condition is None else condition.to(device)
    theirs = model(x.to(device), level.alpha, level.sigma, given).to(x.device, x.dtype)
    each = (level.alpha / level.sigma * norms(theirs - exact(x, level.alpha, level.sigma, condition))) ** 2
    size = float((norms(level.sigma * exact.score(x, level.alpha, level.sigma, condition)) ** 2).mean())
    return _mean(each, picked), float(each.mean()) / size if size else math.nan


def _prior(model, exact: Law, top: Level, x: Tensor, n: int, seed: int, label) -> tuple[Prior, Tensor, Tensor]:
    """The prior beside the exact law, samples of it, and the same moved to the exact law's mean and covariance."""
    shape, d = x.shape[1:], x[0].numel()
    m = torch.as_tensor(getattr(model, "center", 0.0), dtype=torch.float64).cpu().expand(shape).reshape(1, d)
    r = math.hypot(top.alpha * float(getattr(model, "spread", 1.0)), top.sigma)
    drawn = exact.sample(n, 0.0, 1.0, seed, first=n).reshape(n, d) * r + top.alpha * m  # alpha = 0: noise alone
    labels = None if label is None else torch.as_tensor(label).long().reshape(-1).expand(n)
    which = torch.zeros(n, dtype=torch.long) if labels is None else labels
    kl = exact.log_prob(x, top.alpha, top.sigma, labels) + (
        ((x.reshape(n, d) - top.alpha * m) / r).square().sum(1) / 2 + d * math.log(r * (2 * math.pi) ** 0.5))
    moved, squared = torch.empty_like(drawn), []
    for c in which.unique():
        one = None if labels is None else c[None]
        origin = x.new_zeros(1, *shape)  # without signal, D and Cov are those of the data
        mean = top.alpha * exact(origin, 0.0, 1.0, one).reshape(1, d)
        values, basis = torch.linalg.eigh(exact.covariance(origin, 0.0, 1.0, one)[0])
        widths = (top.alpha**2 * values.clamp(min=0) + top.sigma**2).sqrt()
        rows = which == c
        moved[rows] = mean + ((drawn[rows] - top.alpha * m) / r @ basis * widths) @ basis.T
        squared.append(float((mean - top.alpha * m).square().sum() + (widths - r).square().sum()) * int(rows.sum()) / n)
    value, half = float(kl.mean()), 1.96 * float(kl.std()) / n**0.5
    found = Prior((sum(squared) / d) ** 0.5 / r, Estimate(value, value - half, value + half))
    return found, drawn.reshape(n, *shape), moved.reshape(n, *shape)


def _rms(difference: Tensor, picked: np.ndarray) -> Estimate:
    squared = norms(difference) ** 2
    again = squared[picked].mean(1) ** 0.5
    return Estimate(value := float(squared.mean() ** 0.5), *interval(value, again))


def _mean(each: np.ndarray, picked: np.ndarray) -> Estimate:
    return Estimate(value := float(each.mean()), *interval(value, each[picked].mean(1)))
