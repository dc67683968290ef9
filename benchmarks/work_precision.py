"""What a strong error costs: `make work-precision` measures, prints, writes docs/work-precision.md and its picture.

At the strong error E|X_h(1) - X(1)| that Euler-Maruyama reaches with 1,024 steps, and on `linear` at 1e-3, every
method takes the fewest steps that reach it, and runs of so many steps are timed in turn about, as in table.py, whose
machinery this is. Then each method's throughput is held against what its draws and evaluations cost by themselves.
`make bench-peers` gets the peers. --quick is a short look, --only NAME one part; neither writes the page, but
--only picture draws the picture.
"""

import argparse
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache

import numba
import numpy as np
from table import PEERS, ROOT, THREADS, Row, Table, clocked, drawn, measure, processor, spread

import sdekit as sk
from sdekit import noise, problems
from sdekit.components import coefficients
from sdekit.convergence import coarser
from sdekit.milstein import milstein, milstein_stratonovich
from sdekit.numba_compiler import compiled
from sdekit.problems import Problem
from sdekit.runge_kutta import dri1, sra, sri, strong_general
from sdekit.sde import Stratonovich, Structure
from sdekit.stiff import srock, tamed_euler
from sdekit.stratonovich import euler_heun, heun_stratonovich, midpoint, reversible_heun

DOCUMENT, PICTURE = (ROOT / "docs" / f"work-precision.{end}" for end in ("md", "png"))
EULER_STEPS = 1024
SMALL = 1e-3  # the second error on `linear`
FINE = 1024  # steps of the reference of `sine`, at least
SECONDS = 0.06  # that a timed run takes, at least
LANES = 256  # states of a tile, as the engine's

Error = tuple[float, float]  # a strong error and its standard error


@dataclass(frozen=True)
class Contender:
    """A method of some library on a problem: error(steps), and seconds(steps, paths) of one run."""

    problem: str
    label: str
    error: Callable[[int], Error]
    seconds: Callable[[int, int], float]
    ours: bool = True
    most: int = 4_000_000  # paths of a timed run

    def paths(self, steps: int) -> int:
        """So many that a run takes SECONDS."""
        paths = min(self.most, max(20_000, 2_000_000 // steps) if self.ours else self.most)
        self.seconds(steps, paths)
        while paths < self.most and (took := self.seconds(steps, paths)) < SECONDS:
            paths = min(self.most, int(paths * min(8.0, 1.3 * SECONDS / took)))
        return paths


# --- errors

@cache
def known_error(problem: Problem, method: sk.Method, steps: int, paths: int, seed: int = 1) -> Error:
    """By the solution: W(1) is a Brownian motion simulated with the same seed."""
    run = {"steps": steps, "paths": paths, "seed": seed, "save": "final", "backend": "numba"}
    x = sk.simulate(problem.sde, problem.x0, method=method, **run).final
    W = sk.simulate(sk.BrownianMotion(), 0.0, method=sk.euler_maruyama, **run).final
    return mean(np.abs(x - problem.solution(1.0, W)))


@lru_cache(maxsize=1)
def path(steps: int, paths: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """dW and H of every step."""
    return sk.Brownian(seed, 1.0, steps, paths).increments_and_areas(steps)


@cache
def reference_error(problem: Problem, method: sk.Method, steps: int, paths: int, seed: int = 1) -> Error:
    """By `sra` in steps FINE or more times as short, or as short, on the same path."""
    fine = steps * max(1, -(-FINE // steps))
    run = {"paths": paths, "save": "final", "backend": "numba"}
    draws = path(fine, paths, seed)
    X = sk.simulate(problem.sde, problem.x0, steps=fine, noise=draws, method=sra, **run).final
    thin = coarser(draws, fine // steps)[:len(method.draws)]
    x = sk.simulate(problem.sde, problem.x0, steps=steps, noise=thin if len(thin) > 1 else thin[0], method=method,
                    **run).final
    return mean(np.abs(x - X))


def mean(e: np.ndarray) -> Error:
    return float(e.mean()), float(e.std() / len(e)**0.5)


def steps_for(error: Callable[[int], Error], target: Error, sure: float) -> int:
    """The fewest steps whose error is at most the target, `sure` standard errors included.

    Doubled until they are enough, then by interpolation of log error on log steps between the last two, to 1 % of them.
    """
    def excess(n: int) -> float:
        e, s = error(n)
        return np.log(max(e + sure * (s**2 + target[1] ** 2) ** 0.5, 0.01 * e) / target[0])

    n, before = 1, 0.0
    while (now := excess(n)) > 0:
        n, before = 2 * n, now
    low, high, above, below = n // 2, n, before, now
    while high - low > max(1, high // 100):
        guess = low * (high / low) ** (above / (above - below)) if below < above else (low + high) / 2
        guess = min(max(int(np.ceil(guess)), low + 1), high - 1)
        value = excess(guess)
        if value > 0:
            low, above = guess, value
        else:
            high, below = guess, value
    return high


# --- who takes part

def ours(problem: Problem, method: sk.Method, paths: int) -> Contender:
    error = known_error if problem.solution else reference_error
    count = paths if problem.solution else paths // 4

    def seconds(steps: int, paths: int) -> float:
        return clocked(sk.simulate, problem.sde, problem.x0, steps=steps, paths=paths, seed=1, method=method,
                       save="final", backend="numba", threads=THREADS)()

    return Contender(problem.name, f"sdekit {method}", lambda n: error(problem, method, n, count), seconds)


def peers(paths: int) -> tuple[list[Contender], dict[str, str]]:
    """The other libraries', in a Python of their own that waits for its turn; and their versions."""
    if not PEERS.exists():
        print("The peers are missing: `make bench-peers` gets them.\n")
        return [], {}
    script = [str(PEERS), str(ROOT / "benchmarks" / "peers" / "work_precision.py")]
    process = subprocess.Popen(script, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                               text=True, bufsize=1)

    def ask(name: str, *arguments) -> dict[str, float]:
        process.stdin.write(json.dumps({name: arguments}) + "\n")
        return json.loads(process.stdout.readline())

    def contender(number: int, problem: str, label: str) -> Contender:
        @cache
        def error(steps: int) -> Error:
            answer = ask("error", number, steps, paths, 1)
            return answer["error"], answer["stderr"]
        return Contender(problem, label, error, lambda steps, paths: ask("seconds", number, steps, paths)["seconds"],
                         ours=False, most=20_000)

    hello = json.loads(process.stdout.readline())
    return [contender(k, *each) for k, each in enumerate(hello["contenders"])], hello["versions"]


def fewest(contender: Contender, target: Error) -> Row:
    """Our methods have to reach the target beyond doubt, the peers to be not surely above it."""
    steps = steps_for(contender.error, target, 2.0 if contender.ours else -2.0)
    paths = contender.paths(steps)
    return Row(f"{contender.label}, {steps:,} step{'s' * (steps > 1)} (error {told(contender.error(steps))})",
               lambda: contender.seconds(steps, paths), paths / 1e3)


def euler(contender: Contender, steps: int, error: Error, run: int) -> Row:
    """Euler-Maruyama's row; of a long run only `run` steps are timed, and the time is taken to go with the steps."""
    paths = max(256 * THREADS, contender.paths(run) if run <= EULER_STEPS else 8192)
    note = f"; timed in {run:,}" if run < steps else ""
    return Row(f"{contender.label}, {steps:,} steps (error {told(error)}{note})", lambda: contender.seconds(run, paths),
               paths * run / steps / 1e3)


def told(error: Error) -> str:
    return f"{error[0]:.3g} ± {error[1]:.1g}"


# --- throughput

def draws_alone(k0, k1, again, sink):
    """Normals as a kernel draws them, W's."""
    even, odd = np.empty(LANES), np.empty(LANES)
    for n in range(again):
        for i in range(LANES):
            even[i], odd[i] = noise.pair(k0, k1, i, 0, n, 0)
        sink[0] += even[0] + odd[0]


def evaluations_alone(function: Callable) -> Callable:
    """Evaluations of a coefficient in the engines' form on a tile of states X."""
    def run(X, Y, p, again):
        for _ in range(again):
            for i in range(LANES):
                Y[i] = 0.5 * Y[i] + function((X[i],), 0.0, p)[0]
    return compiled(run)


def costs(names: tuple[str, ...]) -> dict[str, Row]:
    """What measures a normal, and an evaluation of f and g of these problems beside a loop without one, "nothing"."""
    draw = compiled(draws_alone)
    works = {"draw": (lambda again: clocked(draw, 1, 2, again, np.zeros(1)), 2)}
    for key in ("nothing", *(f"{name} {part}" for name in names for part in "fg")):
        name, _, part = key.partition(" ")
        function, p = (lambda x, t, p: (1.0,)), ()
        if part:
            sde = getattr(problems, name).sde
            p = tuple(sde.parameters.values())
            c = coefficients(sde.drift, sde.diffusion, None, tuple(sde.parameters), Structure(1, 1, True, True))
            function = c.f if part == "f" else c.g
        kernel = evaluations_alone(function)
        works[key] = (lambda again, kernel=kernel, p=p: clocked(
            kernel, np.linspace(0.5, 1.5, LANES), np.ones(LANES), p, again)), 1
    rows = {}
    for key, (work, each) in works.items():
        again = 100
        work(again)()  # compiles
        while work(again)() < SECONDS / 3:
            again *= 2
        rows[key] = Row(key, work(again), each * again * LANES)
    return rows


EXPLICIT = {
    sk.euler_maruyama: "linear wave sine", tamed_euler: "linear wave", srock: "linear wave", milstein: "linear wave",
    sri: "linear wave", sra: "sine", strong_general: "linear wave", dri1: "linear wave", euler_heun: "linear wave",
    heun_stratonovich: "linear wave", midpoint: "linear wave", reversible_heun: "linear wave",
    milstein_stratonovich: "linear wave",
}


def throughput(rounds: int) -> str:
    """The table of measured and implied times of a path-step, on one core."""
    names, runs = ("linear", "wave", "sine"), {}
    for method, which in EXPLICIT.items():
        for name in which.split():
            problem = getattr(problems, name)
            sde = problem.sde
            if method.calculus == "stratonovich":  # the same coefficients in Stratonovich's sense: the same work
                sde = Stratonovich(sde.drift, sde.diffusion, **sde.parameters)
            steps, paths = 100, 80 * LANES
            runs[method, name] = Row(f"{method}, {name}", clocked(
                sk.simulate, sde, problem.x0, steps=steps, paths=paths, seed=1, method=method, save="final",
                backend="numba", threads=1), steps * paths)
    rows = costs(names) | runs
    each = measure(list(rows.values()), rounds) * 1e9 / [row.amount for row in rows.values()]  # ns, (rounds, rows)
    at = dict(zip(rows, each.T))
    cost = {key: np.maximum(at[key] - at["nothing"], 0.0) for key in at if isinstance(key, str) and " " in key}
    lines = [f"Nanoseconds: a normal {spread(at['draw'])}; "
             + "; ".join(f"{part} of `{name}` {spread(cost[f'{name} {part}'])}" for name in names for part in "fg"),
             "", "| method | equation | draws, f, g | M path-steps/s | implied | share of it |",
             "| --- | --- | --- | --- | --- | --- |"]
    for method, name in runs:
        D, (F, G) = min(len(method.draws), 2), method.evaluations
        implied = D * at["draw"] + F * cost[f"{name} f"] + G * cost[f"{name} g"]
        lines.append(f"| {method} | {name} | {D}, {F}, {G} | {spread(1e3 / at[method, name])} | "
                     f"{1e3 / np.median(implied):.0f} | {spread(implied / at[method, name])} |")
    return "\n".join(lines) + "\n"


# --- the picture

STYLE = {"sdekit": "-", "torchsde": "--", "diffrax": ":"}
COLOUR = {"euler_maruyama": "#767676", "milstein": "#2a9d8f", "sri": "#d1495b", "sra": "#d1495b", "torchsde": "#3d5a98",
          "ShARK": "#b07d2b", "SRA1": "#7d5ba6", "SlowRK": "#b07d2b"}


def curves(contenders: list[Contender], powers: dict[str, range]) -> dict[str, list[tuple[str, list]]]:
    """By problem: labels with points (strong error, µs a path), steps powers of 2."""
    panels: dict[str, list] = {}
    for c in contenders:
        points = []
        for n in (2**k for k in powers["euler" if "euler" in c.label else "ours" if c.ours else "peers"]):
            paths = c.paths(n)
            seconds = min(c.seconds(n, paths) for _ in range(3))
            points.append((n, c.error(n)[0], 1e6 * seconds / paths))
        panels.setdefault(c.problem, []).append((c.label, points))
    return panels


def draw_picture(panels: dict[str, list], targets: dict[str, Error], path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    titles = {"linear": "linear: dX = 1.01 X dt + 0.87 X dW", "sine": "sine: dX = sin X dt + dW",
              "wave": "wave: dX = −p² sin X cos³ X dt + p cos² X dW"}
    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure, axes = plt.subplots(1, len(panels), figsize=(4.2 * len(panels), 4.3), squeeze=False, layout="constrained")
    for ax, (name, lines) in zip(axes[0], panels.items()):
        for label, points in lines:
            _, errors, times = np.array(points).T
            colour = next(c for k, c in COLOUR.items() if k in label) if "torchsde" not in label else COLOUR["torchsde"]
            ax.loglog(errors, times, STYLE[label.split()[0]], color=colour, marker="o", ms=3.5, lw=1.6, label=label)
        if name in targets:
            ax.axvline(targets[name][0], color="#bbbbbb", lw=0.9, zorder=0,
                       label=f"error of Euler-Maruyama, {EULER_STEPS:,} steps")
        ax.invert_xaxis()
        ax.set_title(titles[name], fontsize=9.5)
        ax.set_xlabel("strong error E|X$_h$(1) − X(1)|")
        ax.grid(True, which="major", color="#eeeeee", lw=0.8)
        ax.set_axisbelow(True)
    axes[0, 0].set_ylabel("µs for one path")
    shown = {label: line for ax in axes[0] for line, label in zip(*ax.get_legend_handles_labels())}
    figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=5, frameon=False, fontsize=8.5)
    figure.savefig(path, dpi=150)
    plt.close(figure)


# --- all together

def comparison(problem: Problem, best: sk.Method, paths: int, others: list[Contender],
               rounds: int) -> tuple[str, Error]:
    """The tables of one problem, and the error that Euler-Maruyama has with EULER_STEPS."""
    em, mine = ours(problem, sk.euler_maruyama, paths), ours(problem, best, paths)
    target = em.error(EULER_STEPS)
    some = [mine, *([ours(problem, milstein, paths)] if problem.solution else []), *others]
    first, *rest = (fewest(c, target) for c in some)
    tables = [Table(problem.name, f"`{problem.name}`, the strong error of Euler-Maruyama with {EULER_STEPS:,} steps, "
                    f"{told(target)}", [first, euler(em, EULER_STEPS, target, EULER_STEPS), *rest], "thousand paths/s")]
    if problem.name == "linear":
        tables.append(small_error(problem, em, some, rounds < 5))
    return "\n".join(drawn(table, measure(table.rows, rounds)) for table in tables), target


def small_error(problem: Problem, em: Contender, some: list[Contender], quick: bool) -> Table:
    """At SMALL. How many steps Euler-Maruyama needs is extrapolated from 2^14 by its order 1/2, then measured there."""
    run = 2**12 if quick else 2**14
    e, s = known_error(problem, sk.euler_maruyama, run, 4_000 if quick else 20_000)
    steps = round(run * (e / SMALL) ** 2)
    there = known_error(problem, sk.euler_maruyama, steps, 512 if quick else 4096, 2)
    first, *rest = (fewest(c, (SMALL, 0.0)) for c in some)
    slow = euler(em, steps, there, run)
    return Table("small", f"`linear`, strong error {SMALL:g} (Euler-Maruyama: {told((e, s))} with {run:,} steps)",
                 [first, slow, *rest], "thousand paths/s")


INTRODUCTION = """# Work and precision: what a strong error costs

Command: `make work-precision`. {machine}

The strong error is E|X_h(1) - X(1)|, measured on paths: against the solution on the same W for `linear` (dX = 1.01 X dt
+ 0.87 X dW, X(0) = 1/2) and `wave` (dX = -p² sin X cos³ X dt + p cos² X dW, p = 0.1, X(0) = 1), against a run of `sra`
in at least {fine:,} steps on the same path for `sine` (dX = sin X dt + dW, X(0) = 1). Every row has the fewest equal
steps that reach the title's error: ours beyond doubt (2 standard errors included), the peers as soon as they are not
surely above it. Each row is timed on its seeded run, final values alone, compiled before, on all cores; the rows take
turns in every round, and a ratio is of two times of one round, each divided by its number of paths. The peers, 20,000
paths at once, are set up in their quickest way (`benchmarks/peers/work_precision.py`).

![Strong error and time](work-precision.png)

"""

THROUGHPUT = """## Throughput that the evaluations imply

On one core. Implied is the time of the method's draws and evaluations, each by itself: draws x the time of one normal
+ f x the time of one drift + g x the time of one diffusion, with one noise. These times are measured in loops over
{lanes} states in the cache, compiled by the engine, a loop without an evaluation taken off; the sums and products by
which a method puts its stages together are not in it, nor is reading and writing the state, and so a share below 1 is
what they cost. A share above 1 says that the compiler found work that stages have in common. Methods of Stratonovich's
sense run on the same coefficients in that sense.

"""


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer paths, three rounds, no files")
    parser.add_argument("--only", metavar="NAME", choices=("linear", "sine", "wave", "throughput", "picture"))
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    rounds, paths = (3, 4_000) if asked.quick else (asked.rounds, 20_000)
    before, began = os.getloadavg()[0], time.perf_counter()
    others, versions = ([], {}) if asked.only == "throughput" else peers(1_000 if asked.quick else 5_000)
    versions = {"sdekit": sk.__version__, "Python": platform.python_version(), "numpy": np.__version__,
                "numba": numba.__version__} | versions
    machine = (f"Machine: {platform.machine()}, {processor()}, {THREADS} cores, load before {before:.1f}. Versions: "
               f"{', '.join(f'{name} {number}' for name, number in versions.items())}. Median of {rounds} rounds "
               "(least to most). float64 everywhere.")
    if before > 0.5:
        machine += f"\n\n**Measured on a busy machine (load {before:.1f}): not to be quoted.**"
    text = INTRODUCTION.format(machine=machine, fine=FINE)
    print(machine + "\n")
    targets = {}
    for problem, best in ((problems.linear, sri), (problems.sine, sra), (problems.wave, sri)):
        if asked.only in (None, problem.name):
            part, targets[problem.name] = comparison(
                problem, best, paths, [c for c in others if c.problem == problem.name], rounds)
            print(part, flush=True)
            text += part + "\n"
    if asked.only in (None, "throughput"):
        part = THROUGHPUT.format(lanes=LANES) + throughput(rounds)
        print(part, flush=True)
        text += part
    if asked.only in (None, "picture") and not asked.quick:
        some = [ours(p, m, paths) for p, several in ((problems.linear, (sk.euler_maruyama, milstein, sri)),
                                                     (problems.sine, (sk.euler_maruyama, sra)),
                                                     (problems.wave, (sk.euler_maruyama, milstein, sri)))
                for m in several]
        targets |= {c.problem: c.error(EULER_STEPS) for c in some if "euler" in c.label}
        panels = curves([*some, *others], {"euler": range(4, 13, 2), "ours": range(0, 9, 2), "peers": range(0, 7, 2)})
        draw_picture(panels, targets, PICTURE)
    print(f"{time.perf_counter() - began:.0f} s")
    if not (asked.quick or asked.only):
        DOCUMENT.write_text(text)


if __name__ == "__main__":
    main()
