"""Laws that a forward process keeps, and whether one's own does: `check_process`.

    levels      alpha and sigma are finite, at least 0, and not both 0
    alpha       never rises
    noise       sigma / alpha rises all the way, and is finite but at the end
    slopes      alpha' and sigma' lie between the differences of alpha and sigma to the left and to the right
    time        sigma / alpha at time(l) is l
    drift       f(t) x, f = alpha' / alpha
    diffusion   g(t) at every x, g^2 = (sigma^2)' - 2 f sigma^2

They are tried at times that crowd at both ends of the process's own, each number to a relative error of WITHIN. Where
alpha or sigma has a kink any slope between the two sides will do.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from diffusion.process import Process
from sdekit.convergence import table
from sdekit.laws import Law
from sdekit.sde import call

WITHIN = 1e-4
EPS, MOST = float(np.finfo(float).eps), float(np.finfo(float).max)

Claim = tuple[str, float, float, float]  # what it is, its value, and the least and the most that it may be


@dataclass(frozen=True)
class Report:
    """What `check_process` found; print it."""

    process: Process
    laws: tuple[Law, ...]

    @property
    def ok(self) -> bool:
        return not self.failures

    @property
    def failures(self) -> tuple[Law, ...]:
        return tuple(law for law in self.laws if not law.passed)

    def __str__(self) -> str:
        lines = [[law.name, str(law), law.text] for law in self.laws]
        return "\n".join([f"{self.process!r}: {'all laws kept' if self.ok else f'{len(self.failures)} laws broken'}",
                          *table(["law", "", ""], lines)[1:]])


def check_process(process: Process) -> Report:
    """Run the laws of this module on a process: on one of your own before it is sampled with.

    Returns `Report`: print it, .ok, .failures. Raises TypeError for what is no Process.

    >>> from diffusion import VP
    >>> check_process(VP()).ok
    True
    >>> class Hasty(VP):
    ...     def time(self, noise):
    ...         return 0.9 * super().time(noise)
    >>> [law.name for law in check_process(Hasty()).failures]
    ['time']
    """
    if not isinstance(process, Process):
        raise TypeError(f"check_process needs a Process, such as df.VP(), got {process!r}")
    low, high = process.times
    near = np.geomspace(1e-4, 0.5, 24) * (1 - 1e-3 * math.pi)  # off the whole numbers, where a walk has kinks
    times = (low + (high - low) * np.concatenate([near, 1 - near[::-1]])).tolist()
    return Report(process, tuple(_tried(name, law, process, times) for name, law in LAWS.items()))


def _tried(name: str, law: Callable[..., Iterator[Claim]], process: Process, times: list[float]) -> Law:
    try:
        claims = [claim for t, s in pairwise(times) for claim in law(process, t, s)]
    except (ArithmeticError, TypeError, ValueError) as error:
        return Law(name, False, f"{type(error).__name__}: {error}")
    for what, value, least, most in claims:
        if not least <= value <= most:
            wanted = f"{least:.6g}" if least == most else f"between {least:.6g} and {most:.6g}"
            return Law(name, False, f"{what} is {value:.6g}; it should be {wanted}")
    return Law(name, True, f"at {len(times) - 1} times")


def _about(what: str, value: float, exact: float, scale: float = 0.0) -> Claim:
    slack = WITHIN * max(abs(exact), scale)
    return what, value, exact - slack, exact + slack


def _levels(process: Process, t: float, s: float) -> Iterator[Claim]:
    alpha, sigma = process.alpha(t), process.sigma(t)
    yield f"alpha({t:.4g})", alpha, 0.0, MOST
    yield f"sigma({t:.4g})", sigma, 0.0, MOST
    yield f"alpha + sigma at {t:.4g}", alpha + sigma, math.ulp(0.0), MOST


def _alpha(process: Process, t: float, s: float) -> Iterator[Claim]:
    yield f"alpha({s:.4g})", process.alpha(s), 0.0, process.alpha(t)


def _noise(process: Process, t: float, s: float) -> Iterator[Claim]:
    yield f"sigma/alpha at {s:.4g}", process.level(s).noise, math.nextafter(process.level(t).noise, math.inf), MOST


def _slopes(process: Process, t: float, s: float) -> Iterator[Claim]:
    low, high = process.times
    h = min(1e-4 * min(t - low, high - t), 1e-5 * (high - low))
    for name, function, slope in zip(("alpha'", "sigma'"), (process.alpha, process.sigma), process.slopes(t)):
        sides = (function(t) - function(t - h)) / h, (function(t + h) - function(t)) / h
        slack = WITHIN * max(map(abs, sides)) + 16 * EPS * abs(function(t)) / h
        yield f"{name}({t:.4g})", slope, min(sides) - slack, max(sides) + slack


def _time(process: Process, t: float, s: float) -> Iterator[Claim]:
    noise = process.level(t).noise
    found = process.time(noise)
    yield f"time({noise:.4g})", found, *process.times
    yield _about(f"sigma/alpha at time({noise:.4g})", process.level(found).noise, noise)


def _drift(process: Process, t: float, s: float) -> Iterator[Claim]:
    f = process.slopes(t)[0] / process.alpha(t)
    for x in (1.0, -2.0):
        yield _about(f"the drift of x = {x:g} at t = {t:.4g}", float(call(process, "drift", x, t)), f * x)


def _diffusion(process: Process, t: float, s: float) -> Iterator[Claim]:
    (slope, growth), alpha, sigma = process.slopes(t), process.alpha(t), process.sigma(t)
    parts = 2 * sigma * growth, -2 * slope / alpha * sigma**2
    for x in (0.0, 1.0):
        g = float(call(process, "diffusion", x, t))
        yield _about(f"the square of the diffusion at x = {x:g}, t = {t:.4g}", g**2, sum(parts), max(map(abs, parts)))


LAWS: dict[str, Callable[..., Iterator[Claim]]] = {
    "levels": _levels, "alpha": _alpha, "noise": _noise, "slopes": _slopes, "time": _time, "drift": _drift,
    "diffusion": _diffusion}
