"""What an SDE is like and which method suits it, found by calling its functions along a few short paths.

    found by calling                                      method                                          source
    an exact transition                                   exact
    an UnderdampedLangevin                                baoab                        Leimkuhler & Matthews 2013
    an error, or nan, where steps may lead                euler_maruyama, the one that looks least far ahead
    stiff drift: additive noise                           theta(0.5)                           keeps stationary laws
                 another                                  theta(1.0)                                      Higham 2000
                 more than 8 components, real rates       srock_with(stages)        Abdulle, Almuslimani & Vilmart 2018
    drift that grows faster than |x|                      tamed_euler             Hutzenthaler, Jentzen & Kloeden 2012
    additive noise                                        sra                                            Roessler 2010
    Stratonovich: noise that commutes                     heun_stratonovich                              Ruemelin 1982
                  another                                 milstein_stratonovich
    one noise, or one for each component                  sri                                            Roessler 2010
    noise that commutes                                   milstein                                       Milstein 1974
    another                                               strong_general; for expectations dri1          Roessler 2010

The first row that holds decides. Rows for Ito hold for a Stratonovich equation whose noise is additive, else not.

Stability, with the eigenvalues l of the drift's Jacobian on the pilot paths: Euler is stable for h < -2 Re l / |l|^2,
and in the mean square, for a state of one number with b^2 = sum_j g_j'(x)^2, for h < -(2 l + b^2) / l^2 where 2 l + b^2
< 0 (Higham 2000, SIAM J. Numer. Anal. 38, section 4). `Stiff` is a drift for which that asks for more than STEPS = 100
steps, with which a method of order 1 is accurate to about a percent. Growth is p where |f| ~ |x|^p far out.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sdekit.inputs import start, time_grid
from sdekit.kinds import EPS, SAME, TIMES, around, fits, function, noise_kind, scales, slopes
from sdekit.langevin import baoab
from sdekit.markov import MarkovProcess
from sdekit.methods import Method, almost_exact, euler_maruyama, own_method
from sdekit.milstein import milstein, milstein_stratonovich
from sdekit.noise import normals
from sdekit.runge_kutta import sra, sri, strong_general
from sdekit.sde import SDE, Structure, call, in_numbers, structure
from sdekit.starts import is_random
from sdekit.stiff import srock_with, tamed_euler, theta
from sdekit.stratonovich import euler_heun, heun_stratonovich

STEPS, PATHS = 100, 4  # of the pilot
SIGMAS = 5.0  # how far a step may lead
END = ", the end"
NEAR = 1e-4  # how far apart, in units of s, two states tell f'
SUPER = 1.2  # growth above that is superlinear; x log x has 1.15 on the states that are tried
FAR = (1e1, 1e2, 1e4)  # states so far out, in units of s
NOISE = 1e-4  # real parts below that part of the Jacobian are rounding: it has errors of EPS^(2/3), its double
#               eigenvalues the square root of that, 6e-6
IMPLICIT = 8  # components that theta solves for

State = tuple[np.ndarray, float]  # x, t


@dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` found; print it for a report.

    kind            of the noise, see `sdekit.kinds`
    calculus        "ito" or "stratonovich"
    time_dependent  whether drift and diffusion depend on t
    span            of time
    stiffness       L: the fastest rate, per unit of time, at which the drift draws paths together; 0 if it does not
    stable_step     the longest step for which Euler is stable; inf if any is
    growth          p of drift and of diffusion where they grow like |x|^p
    domain          where a function raised or was not finite, in words
    transition      the process's own method, where it has one
    method          the recommended one
    reasons         for it, in sentences
    """

    kind: str
    calculus: str
    time_dependent: tuple[bool, bool]
    span: float
    stiffness: float
    stable_step: float
    growth: tuple[float, float]
    domain: tuple[str, ...]
    transition: Method | None
    method: Method
    reasons: tuple[str, ...]

    @property
    def stiff(self) -> bool:
        """Whether stability asks for more steps than accuracy would."""
        return self.span / self.stable_step > STEPS

    @property
    def superlinear(self) -> tuple[bool, bool]:
        """Whether drift and diffusion grow faster than |x|."""
        return self.growth[0] > SUPER, self.growth[1] > SUPER

    def __str__(self) -> str:
        timely = [name for name, is_so in zip(("drift", "diffusion"), self.time_dependent) if is_so]
        rate = (f"L = {self.stiffness:.3g}; Euler is stable for steps below {self.stable_step:.3g}: "
                f"{_count(self.span / self.stable_step)}" if math.isfinite(self.stable_step) else "none")
        rows = [
            ("noise", f"{self.kind}, in the sense of {self.calculus.capitalize()}"),
            ("time", f"{' and '.join(timely)} depend{'s' * (len(timely) == 1)} on it" if timely else "homogeneous"),
            ("stiffness", rate),
            ("growth", f"drift {_power(self.growth[0])}, diffusion {_power(self.growth[1])}"),
            ("domain", self.domain[0] + (f" (and {len(self.domain) - 1} more)" if len(self.domain) > 1 else "")
             if self.domain else "no trouble found"),
            ("method", str(self.method)),
        ]
        return "\n".join([*(f"{name:10}{value}" for name, value in rows), *(f"- {r}" for r in self.reasons)])


def diagnose(sde: SDE, x0, t: Any = 1.0) -> Diagnosis:
    """Look at an SDE from the start x0 over the time t, and recommend a method.

    x0   as in `simulate`, a number or a tuple of them; of arrays, laws and parameters given as arrays the first path's
    t    the end (from 0), or (start, end), or a grid, of which the ends count

    It calls drift and diffusion a few thousand times and advises only; the table is in this module. Raises as
    `simulate`, and TypeError for a state that is one array or tensor.

    >>> heston = SDE(lambda x, t: (0.05 * x[0], 2.0 * (0.04 - x[1])),
    ...              lambda x, t: (np.sqrt(x[1]) * x[0], 0.1 * np.sqrt(x[1])))
    >>> print(diagnose(heston, (100.0, 0.04)))
    noise     general, in the sense of Ito
    time      homogeneous
    ...
    """
    if isinstance(sde, MarkovProcess):
        raise TypeError(f"diagnose chooses a method for an SDE, and {sde!r} needs none: its own transition is the law "
                        "of a step; leave method out in simulate")
    if not isinstance(sde, SDE):
        raise TypeError(f"diagnose needs an SDE, got {sde!r}; an ODE has no noise to choose a method for")
    sde, grid = in_numbers(sde, []), time_grid(t, None if np.size(t) > 2 else 1)
    begin = start(x0, 1 if is_random(x0) else None, 0)
    if begin.inner is not None:
        raise TypeError(f"diagnose looks at the components of a state, and this x0 is one "
                        f"{'tensor' if begin.tensor else 'array'} (paths, ...); give the state of a smaller example "
                        "of the same equation as a tuple of numbers")
    t0, t1 = float(grid[0]), float(grid[-1])
    shape = structure(sde, begin.sample, t0)
    f, g = function(sde, "drift", shape), function(sde, "diffusion", shape)
    x = np.atleast_1d(np.asarray(begin.sample, float))
    scale = scales(x, g(x, t0), t1 - t0)
    visited, faults = _pilot(f, g, x, t0, t1, scale)
    fastest, stable, real = _rates(f, g, visited, scale, sde.calculus)
    far, outward = _growth(f, x, t0, scale)
    found = Diagnosis(
        kind=noise_kind(sde, begin.sample, t0, t1, shape), calculus=sde.calculus,
        time_dependent=(_moves(f, x, t0, t1, scale), _moves(g, x, t0, t1, scale)), span=t1 - t0, stiffness=fastest,
        stable_step=stable, growth=(far, _growth(g, x, t0, scale)[0]),
        domain=tuple(_fault(sde, which, shape, y, s, t1) for which, (y, s) in faults.items()),
        transition=own_method(sde), method=euler_maruyama, reasons=())
    bath = getattr(sde, "langevin", None) is not None
    method, why = _recommended(found, shape, real, bath)
    hint = _langevin(f, g, shape, x, t0, scale) and not bath
    more = ("It has Langevin's form: as an UnderdampedLangevin it could take baoab." if hint else "",
            _stability(found), _superlinearity(found, outward), _rare_paths(found, f, g, x, t0, scale), _advice(found))
    return replace(found, method=method, reasons=(why, *(reason for reason in more if reason)))


def _recommended(d: Diagnosis, shape: Structure, real: bool, langevin: bool) -> tuple[Method, str]:
    """This module's table, and why."""
    ito = d.calculus == "ito" or d.kind == "additive"
    if d.transition is almost_exact:
        return almost_exact, "almost_exact: the process's own approximation, in its domain at any step size."
    if d.transition is not None:
        return d.transition, "exact: its transition is known in closed form, with no error at any step size."
    if langevin and not d.domain:
        return baoab, ("baoab: positions and velocities with friction and constant noise; the averages of positions "
                       "are of second order.")
    if d.domain:
        method = euler_maruyama if ito else euler_heun
        why = ("it does not look at the end, where a function is not defined" if _at_end(d)
               else "steps may lead where a function is not defined, and it looks least far ahead")
        return method, f"{method}: {why}."
    if ito and d.stiff and shape.dim <= IMPLICIT:
        value, what = (0.5, ", with the stationary law of linear drifts.") if d.kind == "additive" else (
            1.0, ", and damps what is fast.")
        return theta(value), f"theta({value}): stiff drift, and it is implicit: stable at any step size{what}"
    if ito and d.stiff and real:
        stages = max(2, math.ceil((d.stiffness * d.span / STEPS / 1.9) ** 0.5))
        return srock_with(stages), (f"srock_with({stages}): stiff drift of real rates; explicit, and stable with "
                                    f"{STEPS} steps.")
    if ito and d.superlinear[0]:
        return tamed_euler, ("tamed_euler: the drift grows faster than |x|, where Euler-Maruyama's moments explode "
                             "however small the steps.")
    if d.kind == "additive":
        return sra, "sra: the noise does not depend on the state; strong order 1.5, weak order 2."
    if not ito and d.kind != "general":
        return heun_stratonovich, "heun_stratonovich: the noise commutes, so that it has strong order 1."
    if not ito:
        return milstein_stratonovich, ("milstein_stratonovich: the noise does not commute; with Levy areas it has "
                                       "strong order 1. For expectations heun_stratonovich will do.")
    if fits("diagonal", d.kind, shape):
        each = "one noise" if d.kind == "scalar" else "each component has its own noise"
        return sri, f"sri: {each}; strong order 1.5."
    if d.kind != "general":
        return milstein, "milstein: the noise commutes, so that it has strong order 1 without Levy areas."
    return strong_general, ("strong_general: the noise does not commute; with Levy areas it has strong order 1. For "
                            "expectations alone take dri1, of weak order 2 without them.")


def _stability(d: Diagnosis) -> str:
    if not d.stiff:
        return ""
    return (f"Euler needs {_count(d.span / d.stable_step)} to be stable. Longer steps follow the slow movements: what "
            f"moves at the rate {d.stiffness:.3g} is seen with steps below {1 / d.stiffness:.2g} alone, by any method.")


def _superlinearity(d: Diagnosis, outward: bool) -> str:
    drift, diffusion = d.superlinear
    if drift and outward:
        return ("Far out the drift pushes outwards, faster than linearly: paths that get there explode in finite time, "
                "whatever the method.")
    if diffusion:
        return "The diffusion grows faster than |x|: moments may be infinite; compare with runs of half the step."
    if drift and d.calculus != "ito" and d.kind != "additive":
        return "The drift grows faster than |x|: to be safe from explosions, sdekit.to_ito(sde) with tamed_euler."
    return ""


def _rare_paths(d: Diagnosis, f: Callable, g: Callable, x: np.ndarray, t: float, scale: np.ndarray) -> str:
    """a - b^2/2 < 0 < 2 a + b^2: the paths fall and their mean square grows, with var log X = b^2 T."""
    if len(x) > 1 or d.calculus != "ito" or d.superlinear[0]:
        return ""
    slope = _linear(f, g, x, t, scale)
    if slope is None:
        return ""
    a, b2 = slope[0], float((slope[1] ** 2).sum())
    if a - b2 / 2 < 0 < 2 * a + b2 and b2 * d.span > 1:
        return (f"Near the start paths shrink at the rate {b2 / 2 - a:.2g} and their mean square grows at "
                f"{2 * a + b2:.2g}: rare paths rule the sample means, so take many.")
    return ""


def _at_end(d: Diagnosis) -> bool:
    return all(trouble.endswith(END) for trouble in d.domain)


def _advice(d: Diagnosis) -> str:
    if not d.domain:
        return ""
    if _at_end(d):
        return "To take another method, end a little before."
    return ("Where steps may leave the domain, let the coefficients go on: np.sqrt(np.maximum(v, 0)) (full truncation, "
            "Lord et al. 2010) or np.sqrt(np.abs(v)) (reflection); smaller steps leave it less often.")


# What is measured


@np.errstate(all="ignore")  # explosions
def _pilot(f: Callable, g: Callable, x0: np.ndarray, t0: float, t1: float,
           scale: np.ndarray) -> tuple[list[State], dict[str, State]]:
    """States on a few Euler paths, of steps h <= T / STEPS and h |f'| <= 1/2; and for each function where it failed: on
    them, at the end of a step of SIGMAS standard deviations, or at the end of time."""
    z = normals(1, paths=PATHS, steps=STEPS, components=1 if (g0 := g(x0, t0)) is None else g0.shape[-1])
    aside = scale * NEAR * normals(3, steps=STEPS, components=len(x0))[0]
    visited: list[State] = []
    faults: dict[str, State] = {}

    def tried(x: np.ndarray, t: float) -> list[np.ndarray | None]:
        values = []
        for which, user in (("drift", f), ("diffusion", g)):
            values.append(user(x, t))
            if values[-1] is None:
                faults.setdefault(which, (x, t))
        return values

    for path in range(PATHS):
        x, t = x0, t0
        for n in range(STEPS):
            drift, diffusion = tried(x, t)
            if drift is None or diffusion is None:
                break
            visited.append((x, t))
            beside = f(x + aside[n], t)
            change = 0.0 if beside is None else float(np.linalg.norm((beside - drift) / scale))
            h = min((t1 - t0) / STEPS, 0.5 * float(np.linalg.norm(aside[n] / scale)) / max(change, 1e-300))
            mean, spread = x + drift * h, np.linalg.norm(diffusion.reshape(len(x), -1), axis=1) * h**0.5
            if t + 1.5 * h > t1:
                break
            if n % 10 == 0:
                for sign in (-SIGMAS, SIGMAS):
                    tried(mean + sign * spread, t + h)
            step = diffusion * z[path, n] if diffusion.ndim == 1 else diffusion @ z[path, n]
            x, t = mean + step * h**0.5, t + h
    if not faults:
        tried(visited[-1][0], t1)
    return visited, faults


def _fault(sde: SDE, which: str, shape: Structure, x: np.ndarray, t: float, t1: float) -> str:
    """What is wrong with the function there, in words."""
    state = float(x[0]) if shape.scalar else tuple(map(float, x))
    told = f"{state:.4g}" if shape.scalar else f"({', '.join(f'{v:.4g}' for v in x[:4])}{', ...' * (len(x) > 4)})"
    try:
        with np.errstate(all="ignore"):
            values = np.array(call(sde, which, state, t)).ravel()
        what = ("is complex" if np.iscomplexobj(values) else "is nan" if np.isnan(values.astype(float)).any()
                else "is infinite")
    except Exception as error:
        what = f"raises {type(error).__name__}"
    return f"{which} {what} at x = {told}, t = {t:.4g}{END if t == t1 else ''}"


def _rates(f: Callable, g: Callable, visited: list[State], scale: np.ndarray,
           calculus: str) -> tuple[float, float, bool]:
    """The fastest rate L = max -Re l, the longest step for which Euler is stable, whether all l are real."""
    fastest, stable, real = 0.0, math.inf, True
    count = max(3, 64 // len(scale))
    for x, t in visited[::max(1, len(visited) // count)]:
        change = slopes(f, x, t, scale)
        if change is None:
            continue
        J = (np.stack(change) / scale).T  # in units of s: df_i/dx_l s_l / s_i
        l = np.linalg.eigvals(J)
        l = l[l.real < -NOISE * np.linalg.norm(J)]
        real &= bool((np.abs(l.imag) <= 0.1 * np.abs(l.real)).all())
        if not len(l):
            continue
        fastest = max(fastest, float(-l.real.min()))
        stable = min(stable, float((-2 * l.real / np.abs(l) ** 2).min()))
        slope = _linear(f, g, x, t, scale) if len(x) == 1 and calculus == "ito" else None
        if slope is not None and (mean_square := 2 * slope[0] + float((slope[1] ** 2).sum())) < 0:
            stable = min(stable, -mean_square / slope[0] ** 2)
    return fastest, stable, real


def _linear(f: Callable, g: Callable, x: np.ndarray, t: float, scale: np.ndarray) -> tuple[float, np.ndarray] | None:
    """f'(x) and the g_j'(x) of a state of one number."""
    drift, diffusion = slopes(f, x, t, scale), slopes(g, x, t, scale)
    if drift is None or diffusion is None:
        return None
    return float(drift[0][0] / scale[0]), diffusion[0].ravel() / scale[0]


def _growth(function: Callable, x0: np.ndarray, t: float, scale: np.ndarray) -> tuple[float, bool]:
    """The largest p with |f| ~ |x|^p between two states far out in one direction; and whether f points outwards."""
    z = normals(2, paths=3, components=len(x0))[:, 0]
    keeping = np.where(x0 < 0, -1.0, 1.0) * np.abs(z[0])
    power, outward = 0.0, False
    for direction in (*z, *-z, keeping):
        known = [(r, r * scale * direction) for r in FAR]
        known = [(r, x, v) for r, x in known if (v := function(x, t)) is not None and v.any()][-2:]
        if len(known) < 2:
            continue
        (near, _, low), (far, x, high) = known
        low, high = (v.reshape(len(x0), -1) / scale[:, None] for v in (low, high))
        p = math.log(np.abs(high).max() / np.abs(low).max()) / math.log(far / near)
        outward |= p > SUPER and float(high[:, 0] @ (x / scale)) > 0
        power = max(power, p)
    return power, outward


def _moves(function: Callable, x0: np.ndarray, t0: float, t1: float, scale: np.ndarray) -> bool:
    """Whether the function gives other values at other times."""
    at = [[function(x0, t), *(v for _, v in around(function, x0, t, 0, scale))]
          for t in (t0 + part * (t1 - t0) for part in TIMES)]
    pairs = [(a, b) for later in at[1:] for a, b in zip(at[0], later) if a is not None and b is not None]
    return any((np.abs(a - b) > SAME * np.maximum(np.abs(a), np.abs(b))).any() for a, b in pairs)


def _langevin(f: Callable, g: Callable, shape: Structure, x0: np.ndarray, t: float, scale: np.ndarray) -> bool:
    """Whether x = (q, v), f = (v, F(q) - c v), and g moves each v alone, by a constant."""
    n, spread = shape.dim // 2, g(x0, t)
    if shape.dim % 2 or spread is None or not shape.diagonal or spread[:n].any() or not spread[n:].all():
        return False
    seen = []
    for x, value in around(f, x0, t, 0, scale):
        rest = f(np.where(np.arange(2 * n) < n, x, 0.0), t)
        other = g(x, t)
        if value is None or rest is None or other is None:
            continue
        if (np.abs(value[:n] - x[n:]) > SAME * np.abs(x[n:])).any() or (other != spread).any():
            return False
        seen.append(((rest - value)[n:] / x[n:], np.abs(value[n:]) / np.abs(x[n:])))  # c, and its size in rounding
    if not seen:
        return False
    c = seen[0][0]
    return bool((c > 0).all()) and all((np.abs(k - c) < 1e6 * EPS * (size + c)).all() for k, size in seen)


def _count(steps: float) -> str:
    return "any" if steps < 1.5 else f"{float(f'{steps:.2g}'):,.0f} steps or more"


def _power(p: float) -> str:
    return "at most like |x|" if p <= SUPER else f"like |x|^{p:.2g}" if p < 10 else "faster than |x|^10"
