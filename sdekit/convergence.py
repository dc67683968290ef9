"""Strong and weak orders, measured on one's own SDE: the errors at the end T against the step size h.

    strong error   E|X_h(T) - X(T)|                  |.| is the Euclidean norm over the components
    rms error      (E|X_h(T) - X(T)|^2)^(1/2)
    weak error     E phi(X_h(T)) - E phi(X(T))       as the mean of phi(X_h(T)) - phi(X(T)) on the same W
    order          p in |error| = C h^p, see `sdekit.orders`

Every method and every step size gets the same paths of W, so that most of the sampling noise cancels. The paths are
cut into BATCHES, whose spread gives the intervals.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from numbers import Real
from typing import Any

import numpy as np
from tqdm import tqdm

from sdekit.brownian import Brownian
from sdekit.kinds import noise_kind
from sdekit.methods import Method, euler_maruyama, exact
from sdekit.noise import check_seed, whole
from sdekit.orders import BATCHES, Order, order, strong_claim
from sdekit.sde import SDE, in_numbers, structure
from sdekit.simulation import simulate

NORMALS = 1 << 21  # draws that are held at once
COMPILED = 1e8  # path-steps x (components + noises) of one method for which a compilation pays


@dataclass(frozen=True)
class Row:
    """The errors of a method at one step size; every error is a pair (estimate, standard error), NaN if not finite.

    weak         by the name of the expectation, with its sign
    seconds      for one path, timed on the seeded run
    evaluations  of drift and of diffusion for one path
    """

    method: Method
    steps: int
    h: float
    strong: tuple[float, float]
    rms: tuple[float, float]
    weak: Mapping[str, tuple[float, float]]
    seconds: float
    evaluations: tuple[int, int]


@dataclass(frozen=True)
class Convergence:
    """What `convergence` measured: `rows` of errors, `orders`, and the `refused` methods with the reason."""

    rows: Sequence[Row]
    orders: Sequence[Order]
    refused: Mapping[str, str]
    info: Mapping[str, Any] = field(repr=False)

    def order(self, method: Method, of: str = "strong") -> Order:
        """That order of that method."""
        found = [o for o in self.orders if o.method == method and o.of == of]
        if not found:
            have = sorted({f"{o.method}: {o.of}" for o in self.orders})
            raise KeyError(f"no order of {method!r} in {of!r} was measured; there are {', '.join(have)}")
        return found[0]

    def __str__(self) -> str:
        about = self.info
        lines = [f"{about['equation']} from x0 = {about['x0']}, t = {about['t'][0]:g} to {about['t'][1]:g}, "
                 f"{about['kind']} noise, {about['paths']:,} paths, seed {about['seed']}; X(T) by {about['truth']}", ""]
        claimed = lambda o: "-" if o.claimed is None else f"{o.claimed:g}"
        lines += table(["method", "order", "claimed", f"measured, {about['level']:.0%} interval"],
                       [[str(o.method), o.of, claimed(o), str(o)] for o in self.orders])
        weak = list(self.rows[0].weak) if self.rows else []
        errors = lambda r: [r.strong, *(r.weak[name] for name in weak)]
        lines += ["", *table(["method", "steps", "h", "strong error", *(f"error of {name}" for name in weak),
                              "µs a path", "evaluations"],
                             [[str(r.method), f"{r.steps}", f"{r.h:.3g}",
                               *(f"{e:.3g} ± {s:.1g}" if math.isfinite(e) else "not finite" for e, s in errors(r)),
                               f"{1e6 * r.seconds:.3g}", "{} + {}".format(*r.evaluations)] for r in self.rows])]
        return "\n".join(lines + [f"{name}: refused. {why}" for name, why in self.refused.items()])

    def plot(self, ax=None, *, of: str = "strong", against: str = "h"):
        """The errors on logarithmic axes with their slopes. See `sdekit.plot.orders`; returns the Axes."""
        from sdekit.plot import orders
        return orders(self, ax, of=of, against=against)


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Lines with aligned columns."""
    wide = [max(map(len, column)) for column in zip(head, *rows)]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, wide)).rstrip() for row in (head, *rows)]


def convergence(sde: SDE, x0, t: Any = 1.0, methods: Sequence[Method] | Method | None = None,
                steps: Sequence[int] = (16, 32, 64, 128, 256), paths: int = 10_000, *, seed: int | None = 0,
                solution: Callable | None = None, reference: Method | None = None, finer: int = 8,
                weak: Mapping[str, Callable] | None = None, level: float = 0.95, backend: str = "auto",
                progress: bool | None = None) -> Convergence:
    """Measure the strong and weak orders of methods on an SDE, with confidence intervals.

    E|X_h(T) - X(T)| and E phi(X_h(T)) - E phi(X(T)) on the same paths of W for every method and step size; orders by
    weighted least squares with intervals from batches of paths. An interval covers the sampling of paths; see this
    module for how step sizes that are too coarse, or errors that are too small, are told.

    x0         a number, or a tuple of numbers for a system
    t          the end T (from 0), or (start, end)
    methods    by default `euler_maruyama`
    steps      increasing numbers of steps to the end; h = T/steps
    paths      how many; the errors' standard errors fall as paths^(-1/2)
    solution   (t, W) -> X(t) on a path: W is W(t) - W(start), (paths,) with one noise, (paths, noises) with more;
               returns (paths,), or for a system a tuple of them or (paths, dim). By default the exact transition of a
               process that has one path by path, else a fine reference
    reference  the method of the fine reference; by default the fitting one of the library that claims the highest order
    finer      how many times finer than the finest of `steps` the reference is
    weak       name -> phi, a function of X(T) as the drift gets it that returns (paths,); by default X and X^2 of each
               component
    backend    of `simulate`; "auto" compiles where the work is long enough for that to pay

    Returns `Convergence`: print it, .plot() it. A method that does not fit the equation is among its `refused`.
    Raises TypeError and ValueError for arguments that do not fit, and what `simulate` raises if no method runs.
    Source: Kloeden & Platen 1992, sections 9.3 and 9.4 (batches, intervals); Hotelling 1931 (the bend).

    >>> import sdekit as sk
    >>> from sdekit.convergence import convergence
    >>> gbm = sk.GeometricBrownianMotion(mu=0.5, sigma=0.5)
    >>> found = convergence(gbm, 1.0, methods=[sk.euler_maruyama], steps=(8, 16, 32), paths=2000, seed=1)
    >>> 0.4 < found.order(sk.euler_maruyama, "strong").estimate < 0.6
    True
    """
    if not isinstance(sde, SDE):
        raise TypeError(f"convergence needs an SDE, got {sde!r}")
    if isinstance(methods, str) or (methods is not None and not isinstance(methods, Method | Sequence)):
        raise TypeError("methods is a method such as sdekit.sri or sdekit.theta(0.5), or a list of them; got "
                        f"{methods!r}")
    if weak is not None and not isinstance(weak, Mapping):
        raise TypeError(f"weak maps names to functions of X(T), as in weak={{'E X^3': lambda x: x**3}}; got {weak!r}")
    if any(hasattr(v, "detach") for v in sde.parameters.values()):
        sde = in_numbers(sde, [])
    listed = [methods] if isinstance(methods, Method) else [euler_maruyama] if methods is None else list(methods)
    for method in listed:
        if not isinstance(method, Method):
            raise TypeError(f"methods are values such as sdekit.euler_maruyama, got {method!r}")
    if not listed or len(set(listed)) < len(listed):
        raise ValueError(f"methods must be one or more different ones, got {listed}")
    steps = _increasing(steps)
    paths, finer = whole("paths", paths, 2**40, start=2 * BATCHES), whole("finer", finer, 1025, start=2)
    if not 0.5 <= level < 1.0:
        raise ValueError(f"level is the probability of the intervals, such as 0.95; got {level!r}")
    state = _state(x0)
    for name, value in sde.parameters.items():
        if np.ndim(value):
            raise ValueError(f"the parameter {name} holds one value for each path; an order is that of one equation: "
                             "give a number")
    if np.size(t) > 2:
        raise ValueError("t is the end, or (start, end); the grids are made from steps")
    seed = check_seed(seed)
    W = Brownian(seed, t, math.lcm(*steps) if math.lcm(*steps) <= 8 * steps[-1] else steps[-1], paths)
    if any(W.steps % n for n in steps):
        raise ValueError(f"steps must divide the largest of them or a number up to 8 times it, got {steps}; such as "
                         "(16, 32, 64, 128)")
    shape = structure(sde, state, W.t[0])
    kind = noise_kind(sde, state, W.t[0], W.t[1], shape)
    W = replace(W, noises=shape.noises)
    go = _Runner(sde, state, W.t, _backend(backend, paths * sum(steps) * (shape.dim + shape.noises)))
    used, refused, fault = {}, {}, None
    for method in listed:
        try:
            used[method] = go.taken(method)
        except (TypeError, ValueError) as error:
            refused[str(method)], fault = str(error), error
    if not used and fault:
        raise fault
    truth, name, fine = _truth(go, solution, reference, listed, kind, W, finer)
    functions = _functionals(shape) if weak is None else dict(weak)
    for key, phi in functions.items():
        if not callable(phi):
            raise TypeError(f"weak maps names to functions of X(T), but {key!r} is {phi!r}")
    sums, scale = _errors(go, used, steps, replace(W, steps=fine), truth, functions, progress)
    h = (W.t[1] - W.t[0]) / np.array(steps)
    floor = 16 * np.finfo(float).eps * scale * np.array([*steps])
    rows, orders = [], []
    for (method, taken), errors in zip(used.items(), sums):
        seconds = go.seconds(method, steps[-1], paths, seed)
        claims = [strong_claim(taken, kind)] * 2 + [taken.weak] * len(functions)
        for of, claimed, e in zip(("strong", "rms", *functions), claims, errors):
            least = {"strong": floor, "rms": floor**2}.get(of, np.maximum(floor, floor * scale))
            found = order(h, e, least, level)
            if of == "rms":  # measured on squares
                found = replace(found, estimate=found.estimate / 2, low=found.low / 2, high=found.high / 2)
            orders.append(replace(found, method=method, of=of, claimed=claimed, steps=tuple(
                n for n, length in zip(steps, h) if length in found.steps)))
        with np.errstate(over="ignore", invalid="ignore"):
            mean, stderr = errors.mean(axis=2), errors.std(axis=2, ddof=1) / BATCHES**0.5
        root = np.sqrt(mean[1])
        half = np.divide(stderr[1], 2 * root, out=np.zeros_like(root), where=root > 0)
        pair = lambda e, s, k: (float(e[k]), float(s[k]))
        rows += [Row(method, n, float(h[k]), pair(mean[0], stderr[0], k), pair(root, half, k),
                     {key: pair(mean[2 + i], stderr[2 + i], k) for i, key in enumerate(functions)},
                     n * seconds, (n * taken.evaluations[0], n * taken.evaluations[1])) for k, n in enumerate(steps)]
    info = {"equation": sde, "x0": state, "t": W.t, "kind": kind, "paths": paths, "seed": seed, "truth": name,
            "level": level}
    return Convergence(tuple(rows), tuple(orders), refused, info)


def _increasing(steps) -> tuple[int, ...]:
    try:
        counts = tuple(whole("steps", n, 2**30, start=1) for n in steps)
    except TypeError as error:
        raise TypeError(f"steps are numbers of steps, such as (16, 32, 64, 128); got {steps!r}") from error
    if len(counts) < 2:
        raise ValueError(f"an order needs two step sizes or more, better four; got steps={counts}")
    if any(b <= a for a, b in pairwise(counts)):
        raise ValueError(f"steps must increase, got {counts}")
    return counts


def _state(x0):
    """x0 as one state: a number, or a tuple of numbers."""
    number = lambda v: isinstance(v, Real) and not isinstance(v, bool) and math.isfinite(v)
    if not (number(x0) or (isinstance(x0, tuple) and x0 and all(map(number, x0)))):
        raise TypeError(f"convergence starts every path at the same x0, a finite number or a tuple of them; got {x0!r}")
    return tuple(map(float, x0)) if isinstance(x0, tuple) else float(x0)


def _backend(asked: str, amount: float) -> str:
    return "numba" if asked == "auto" and amount > COMPILED else asked


def _functionals(shape) -> dict[str, Callable]:
    """X and X^2 of each component."""
    if shape.scalar:
        return {"E X": lambda x: x, "E X^2": lambda x: x * x}
    power = lambda i, k: lambda x: x[i] ** k
    return {f"E X[{i}]{'' if k == 1 else '^2'}": power(i, k) for i in range(shape.dim) for k in (1, 2)}


def coarser(draws: tuple, ratio: int) -> tuple:
    """(dW, H, A), arrays (paths, steps, ...), or the first of them, over steps `ratio` times as long.

    Chen's relation, with W_i over the i-th of the short steps and S_i the sum of those before it:
    W = sum W_i,   H = 1/ratio sum_i H_i + ((ratio - 1)/2 - i) W_i,
    A_jk = sum_i A_i,jk + 1/2 (S_i,j W_i,k - S_i,k W_i,j).
    """
    dW, *rest = (d.reshape(len(d), -1, ratio, d.shape[2]) for d in draws)
    out = [dW.sum(axis=2)]
    if rest:
        i = np.arange(ratio)[:, None]
        out.append((rest[0] + ((ratio - 1) / 2 - i) * dW).sum(axis=2) / ratio)
    if len(rest) > 1:
        S = np.cumsum(dW, axis=2) - dW
        j, k = np.triu_indices(dW.shape[3], 1)
        out.append((rest[1] + 0.5 * (S[..., j] * dW[..., k] - S[..., k] * dW[..., j])).sum(axis=2))
    return tuple(out)


@dataclass(frozen=True)
class _Runner:
    """Runs of one equation from one start."""

    sde: SDE
    x0: Any
    t: tuple[float, float]
    backend: str

    def taken(self, method: Method) -> Method:
        """The method that `simulate` takes for it, which may be its `general` one. Raises its errors."""
        few = Brownian(1, self.t, 2, 2, structure(self.sde, self.x0, self.t[0]).noises)
        return simulate(self.sde, self.x0, self.t, 2, noise=few, method=method, save="final", backend="numpy",
                        nonfinite="stop").info["method"]

    def ends(self, method: Method, steps: int, draws: tuple) -> np.ndarray:
        """X_h(T), (paths, dim), driven by draws over these steps."""
        x = simulate(self.sde, self.x0, self.t, steps, len(draws[0]), noise=draws[0] if len(draws) == 1 else draws,
                     method=method, save="final", backend=self.backend, progress=False).final
        return np.asarray(x, float).reshape(len(draws[0]), -1)

    def seconds(self, method: Method, steps: int, most: int, seed: int) -> float:
        """A path-step of the seeded run takes, from growing numbers of paths; the first run may compile."""
        count = min(most, 1000)
        while True:
            for _ in range(2):
                start = time.perf_counter()
                simulate(self.sde, self.x0, self.t, steps, count, seed=seed, method=method, save="final",
                         backend=self.backend, nonfinite="stop", progress=False)
                took = time.perf_counter() - start
            if took > 0.05 or count == most:
                return took / (steps * count)
            count = min(most, 4 * count)


def columns(method: Method, noises: int) -> int:
    """How many of dW, H, A drive a method; one noise has no Levy areas."""
    return min(len(method.draws), 2 if noises == 1 else 3)


def _truth(go: _Runner, solution, reference, listed, kind: str, W: Brownian, finer: int):
    """((draws -> X(T), how many of dW, H, A it needs), how it is told, the steps of the draws)"""
    if solution is not None:
        if not callable(solution):
            raise TypeError(f"solution is a function of (t, W), got {solution!r}")

        def known(draws):
            ended = draws[0].sum(axis=1)
            x = solution(go.t[1], ended[:, 0] if W.noises == 1 else ended)
            x = np.stack(np.broadcast_arrays(*x), axis=-1) if isinstance(x, tuple) else np.asarray(x, float)
            dim = len(go.x0) if isinstance(go.x0, tuple) else 1
            if x.shape not in ((len(ended), dim), (len(ended),) if dim == 1 else None):
                raise ValueError(f"solution must return X(t) as (paths,), or for a system of {dim} a tuple of {dim} "
                                 f"or (paths, {dim}); for {len(ended)} paths it gave {x.shape}")
            return x.reshape(len(ended), dim)

        return (known, 1), "the solution", W.steps
    if reference is None and go.sde.transition is not None and go.sde.transition_pathwise:
        moved = lambda draws: go.ends(exact, 1, (draws[0].sum(axis=1, keepdims=True),))
        return (moved, 1), "the exact transition", W.steps
    method = _best(go, listed, kind) if reference is None else reference
    if not isinstance(method, Method):
        raise TypeError(f"reference is a method such as sdekit.milstein, got {reference!r}")
    taken = go.taken(method)
    fine = W.steps * finer

    def followed(draws):
        return go.ends(method, fine, draws[:columns(taken, W.noises)])

    return (followed, columns(taken, W.noises)), f"{method} in {fine} steps", fine


def _best(go: _Runner, listed, kind: str) -> Method:
    """The library's method that fits and claims the highest strong order, of several the cheapest; a listed one only
    where none of the library's fits, since what measures itself is always right."""
    import sdekit
    found = {value for value in vars(sdekit).values() if isinstance(value, Method)}
    ito = go.sde.calculus == "ito"  # of Stratonovich's of one order those that look twice at the drift err least
    cost = lambda m: sum(m.evaluations) if ito else -m.evaluations[0]
    rank = lambda m: (m not in found, -(strong_claim(m, kind) or 0.0), cost(m), m.name)
    for method in sorted({m for m in (*found, *listed) if m.strong is not None}, key=rank):
        try:
            go.taken(method)
            return method
        except (TypeError, ValueError):
            continue
    raise ValueError(f"no method fits {go.sde!r} path by path; give a solution, or a method as reference=")


def _errors(go: _Runner, used: Mapping[Method, Method], steps, W: Brownian, truth, functions,
            progress: bool | None) -> tuple[np.ndarray, float]:
    """(methods, strong | squared | weak ..., steps, batches) means, and how large X(T) is."""
    known, needs = truth
    needs = max([needs, *(columns(m, W.noises) for m in used.values())])
    sums = np.zeros((len(used), 2 + len(functions), len(steps), BATCHES))
    batch = np.arange(W.paths) * BATCHES // W.paths
    width = W.noises * (min(needs, 2) + (needs == 3) * (W.noises - 1) // 2)
    each = max(256, NORMALS // (W.steps * width))
    scale = 0.0
    bare = not isinstance(go.x0, tuple)
    of_state = lambda phi, x: np.asarray(phi(x[:, 0] if bare else tuple(x.T)), float)
    with tqdm(total=W.paths * len(used) * len(steps), unit="path", unit_scale=True, delay=2.0, leave=False,
              disable=None if progress is None else not progress) as bar:
        for first in range(0, W.paths, each):
            part = W.part(first, min(each, W.paths - first))
            draws = part.increments_and_areas(part.steps) if needs > 1 else (part.increments(part.steps),)
            draws = (*draws, part.levy_areas(part.grid)) if needs > 2 else draws
            X = known(draws)
            scale = max(scale, float(np.abs(X).max()))
            phis = [of_state(phi, X) for phi in functions.values()]
            for name, value in zip(functions, phis):
                if value.shape != (part.paths,):
                    raise ValueError(f"{name} must be one number for each path, ({part.paths},); got {value.shape}")
            which = batch[first:first + part.paths]
            for k, n in enumerate(steps):
                thin = coarser(draws, part.steps // n)
                for m, (method, taken) in enumerate(used.items()):
                    try:
                        x = go.ends(method, n, thin[:columns(taken, W.noises)])
                    except FloatingPointError:
                        sums[m, :, k] = np.nan
                        continue
                    with np.errstate(over="ignore"):
                        square = ((x - X) ** 2).sum(axis=1)
                    weak = (of_state(phi, x) - value for phi, value in zip(functions.values(), phis))
                    for s, e in enumerate((np.sqrt(square), square, *weak)):
                        sums[m, s, k] += np.bincount(which, e, BATCHES)
                    bar.update(part.paths)
    return sums / np.bincount(batch, minlength=BATCHES), scale
