"""How fast sdekit is beside others, in one run, turn about: `python benchmarks/table.py`.

Prints the tables and writes docs/benchmarks.md. In every round each row of a table does its work once; a ratio is of
two times in the same round, so that a slow moment of a shared machine slows both. `make bench-peers` gets the peers;
without them NumPy alone is compared with. --quick is a short look, --only NAME one table; neither writes the file.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numba
import numpy as np
from peers import loops

import sdekit as sk
from sdekit import noise
from sdekit.numba_compiler import compiled

ROOT = Path(__file__).parent.parent
PEERS = ROOT / ".venv-peers" / "bin" / "python"
DOCUMENT = ROOT / "docs" / "benchmarks.md"
THREADS = len(os.sched_getaffinity(0))
STEPS, HESTON_STEPS = loops.STEPS, loops.HESTON_STEPS


@dataclass(frozen=True)
class Row:
    """One way to do a table's work: `seconds()` does it once; `amount`, in millions of the table's unit, is done."""

    label: str
    seconds: Callable[[], float]
    amount: float = 1.0
    compared: bool = True


@dataclass(frozen=True)
class Table:
    """Ways to do the same work. The first row is sdekit's, and the others are compared to it."""

    name: str
    title: str
    rows: list[Row]
    unit: str = "M path-steps/s"
    rounds: int | None = None


# --- the works

def heston_drift(x, t, mu, kappa, theta):
    s, v = x
    return mu * s, kappa * (theta - np.maximum(v, 0.0))  # full truncation (Lord et al. 2010)


def heston_diffusion(x, t, xi, rho):
    s, v = x
    vol = np.sqrt(np.maximum(v, 0.0))
    return (vol * s, 0.0), (rho * xi * vol, np.sqrt(1 - rho**2) * xi * vol)


def wave_drift(x, t, p):
    return -(p**2) * np.sin(x) * np.cos(x) ** 3


def wave_diffusion(x, t, p):
    return p * np.cos(x) ** 2


GBM = sk.GeometricBrownianMotion(mu=0.05, sigma=0.2)
WAVE = sk.SDE(wave_drift, wave_diffusion, p=0.1)
HESTON = sk.SDE(heston_drift, heston_diffusion, mu=0.05, kappa=2.0, theta=0.04, xi=0.3, rho=-0.7)


AGAIN = 50  # times that an array in the cache is filled


def our_normals(bits: int, dtype: type) -> Callable[[int], None]:
    sk.normals(1, paths=4000, steps=STEPS, bits=bits, dtype=dtype)  # so many load the compiled code

    def fill(paths: int) -> None:
        out = np.empty((paths, STEPS, 1), dtype)
        for stream in range(AGAIN):
            sk.normals(1, stream, paths, STEPS, bits=bits, out=out)
    return fill


def noise_alone(k0, k1, tiles, sink):
    """The noise of a run of `tiles` x 256 paths x STEPS steps, drawn as its kernel draws it, and not used."""
    even, odd = np.empty(256), np.empty(256)
    for tile in range(tiles):
        for half in range(STEPS // 2):
            for i in range(256):
                even[i], odd[i] = noise.pair(k0, k1, 256 * tile + i, 0, half, 0)
            sink[0] += even[0] + odd[0]


def first_touch(paths: int) -> None:
    """As much new memory as all states take, written by all threads."""
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda part: part.fill(1.0), np.array_split(np.empty(paths * (STEPS + 1)), THREADS)))


def numpy_normals(bits: type, dtype: type) -> Callable[[int], None]:
    random = np.random.Generator(bits(1))

    def fill(paths: int) -> None:
        out = np.empty((paths, STEPS), dtype)
        for _ in range(AGAIN):
            random.standard_normal(out=out, dtype=dtype)
    return fill


def clocked(work: Callable, *args, **options) -> Callable[[], float]:
    """A function that calls work(*args, **options) and returns the seconds it took."""
    def seconds() -> float:
        start = time.perf_counter()
        work(*args, **options)
        return time.perf_counter() - start
    return seconds


def ours(sde: sk.SDE, x0, steps: int, paths: int, save: str = "final") -> list[Row]:
    """Euler-Maruyama by sdekit on all cores, then on one."""
    options = {"x0": x0, "steps": steps, "paths": paths, "save": save, "seed": 1, "method": sk.euler_maruyama,
               "backend": "numba"}
    return [Row(f"sdekit, {n} thread{'s' * (n > 1)}", clocked(sk.simulate, sde, threads=n, **options),
                paths * steps / 1e6) for n in sorted({THREADS, 1}, reverse=True)]


def fresh(code: str, setup: str = "pass") -> Callable[[], float]:
    """A function that starts a Python, runs `setup` and `code` in it, and returns the seconds of `code`."""
    lines = ["import time", setup, "start = time.perf_counter()", code, "print(time.perf_counter() - start)"]
    command = [sys.executable, "-c", "\n".join(lines)]
    return lambda: float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def peak_memory(paths: int) -> Callable[[], float]:
    """A function that summarizes in a Python of its own and returns its largest resident set, in MB."""
    code = ("import re, sdekit as sk; gbm = sk.GeometricBrownianMotion(mu=0.05, sigma=0.2); "
            f"sk.summarize(gbm, 100.0, 1.0, 100, {paths}, at=11, seed=1, method=sk.euler_maruyama, backend='numba'); "
            "print(int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]) / 1e3)")
    command = [sys.executable, "-c", code]
    return lambda: float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def empty_function(folder: str) -> str:
    """Code that imports and calls an empty function which Numba has compiled and cached in `folder`."""
    (Path(folder) / "empty.py").write_text("import numba\n\n\n@numba.njit(cache=True)\ndef empty():\n    return 0.0\n")
    code = f"import sys; sys.path.insert(0, {folder!r}); import empty; empty.empty()"
    fresh(code)()
    return code


def peers(paths: int) -> tuple[dict[str, list[Row]], dict[str, str]]:
    """The peers' rows by task, run by a Python of their own that waits for its turn; and their versions."""
    if not PEERS.exists():
        print("The peers are missing: `make bench-peers` gets them.\n")
        return {}, {}
    script = [str(PEERS), str(ROOT / "benchmarks" / "peers" / "run.py"), "--serve", "--paths", str(paths)]
    process = subprocess.Popen(script, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def seconds(number: int) -> float:
        process.stdin.write(f"{number}\n")
        return json.loads(process.stdout.readline())["seconds"]

    hello = json.loads(process.stdout.readline())
    rows: dict[str, list[Row]] = {}
    for number, (task, label, count, amount) in enumerate(hello["works"]):
        label += "" if count == paths else f" ({count:,} paths)"
        rows.setdefault(task, []).append(Row(label, lambda number=number: seconds(number), amount))
    return rows, hello["versions"]


# --- the tables

def tables(paths: int, peers: dict[str, list[Row]], folder: str) -> list[Table]:
    """All that is measured. A new row is a line here, or in peers/run.py."""
    few, work, half = max(paths // 500, 1), paths * STEPS / 1e6, paths * HESTON_STEPS / 1e6
    own = "sk.SDE(lambda x, t, k: -k * x, lambda x, t: 1.0, k=2.0)"
    built_in = "sk.GeometricBrownianMotion(mu=0.05, sigma=0.2)"
    alone, tiles = compiled(noise_alone), paths // 256
    return [
        Table("normals", f"Standard normals on one core, {few:,} x {STEPS} into the same array {AGAIN} times", [
            Row("sdekit `normals`, float64", clocked(our_normals(64, np.float64), few), AGAIN * few * STEPS / 1e6),
            Row("sdekit `normals(bits=32)`, float32", clocked(our_normals(32, np.float32), few),
                AGAIN * few * STEPS / 1e6),
            *(Row(f"NumPy {bits.__name__}, {dtype.__name__}", clocked(numpy_normals(bits, dtype), few),
                  AGAIN * few * STEPS / 1e6)
              for dtype in (np.float64, np.float32) for bits in (np.random.SFC64, np.random.PCG64, np.random.Philox)),
        ], "M normals/s"),
        Table("gbm", f"Geometric Brownian motion, {paths:,} paths x {STEPS} Euler steps, final values", [
            *ours(GBM, 100.0, STEPS, paths),
            Row("the same noise drawn alone, 1 thread", clocked(alone, 1, 2, tiles, np.zeros(1)),
                tiles * 256 * STEPS / 1e6),
            Row("NumPy loop, current state alone", clocked(loops.gbm, paths), work),
            Row("NumPy loop, all states stored, as in courses", clocked(loops.gbm_stored, paths), work),
            *peers.get("gbm", []),
        ]),
        Table("wave", f"dX = -p² sin X cos³ X dt + p cos² X dW, {paths:,} paths x {STEPS} Euler steps, final values", [
            *ours(WAVE, 1.0, STEPS, paths),
            Row("NumPy loop", clocked(loops.wave, paths), work),
            *peers.get("wave", []),
        ]),
        Table("heston", f"Heston, full truncation, {paths:,} paths x {HESTON_STEPS} Euler steps, final values", [
            *ours(HESTON, (100.0, 0.04), HESTON_STEPS, paths),
            Row("NumPy loop", clocked(loops.heston, paths), half),
            *peers.get("heston", []),
        ]),
        Table("save", f"Geometric Brownian motion, {paths:,} paths x {STEPS} Euler steps, every state saved", [
            *ours(GBM, 100.0, STEPS, paths, save="all"),
            Row("NumPy loop, as in courses", clocked(loops.gbm_stored, paths), work),
            *ours(GBM, 100.0, STEPS, paths)[:1],
            Row(f"first touch of as much memory, {THREADS} threads", clocked(first_touch, paths), work),
        ]),
        Table("summarize", f"{100 * paths:,} paths x 100 Euler steps of geometric Brownian motion", [
            Row("sdekit `summarize` at 11 times, quantiles included", clocked(
                sk.summarize, GBM, 100.0, 1.0, 100, 100 * paths, at=11, seed=1, method=sk.euler_maruyama), paths / 1e2),
            Row("sdekit `simulate`, final values", clocked(
                sk.simulate, GBM, 100.0, 1.0, 100, 100 * paths, save="final", seed=1, method=sk.euler_maruyama),
                paths / 1e2),
        ]),
        Table("memory", f"Peak memory of `summarize`, {1000 * paths:,} paths x 100 steps, 11 times", [
            Row("whole process", peak_memory(1000 * paths)), Row("the process with 1,000 paths", peak_memory(1000)),
        ], "MB", 1),
        Table("fresh", "In a fresh Python", [
            Row("`import sdekit` and 1,000 paths x 250 steps of a built-in process, compiled code",
                fresh(f"import sdekit as sk; sk.simulate({built_in}, 100.0, steps=250, paths=1000, backend='numba')")),
            Row("`import numba` and an empty function, compiled before and cached", fresh(empty_function(folder))),
            Row("`import sdekit`", fresh("import sdekit"), compared=False),
            Row("first `simulate` of an own SDE, 1,000 paths x 250 steps",
                fresh(f"sk.simulate({own}, 1.0, steps=250, paths=1000)", "import sdekit as sk"), compared=False),
            Row("first `simulate` of an own SDE that compiles, 100,000 paths x 250 steps",
                fresh(f"sk.simulate({own}, 1.0, steps=250, paths=100_000, save='final')",
                      "import os; os.environ['SDEKIT_CACHE_DIR'] = ''; import sdekit as sk"),
                compared=False),
        ], "s"),
    ]


# --- measuring and writing

def measure(rows: list[Row], rounds: int) -> np.ndarray:
    """Seconds, (rounds, rows); a first round, which compiles and warms up, is not counted."""
    return np.array([[row.seconds() for row in rows] for _ in range(rounds + 1)])[1:]


def spread(values: np.ndarray) -> str:
    """Median (least to most)."""
    def short(x: float) -> str:
        return f"{x:.{0 if x >= 20 else 1 if x >= 2 else 2}f}"
    return f"{short(np.median(values))} ({short(values.min())} to {short(values.max())})"


def drawn(table: Table, seconds: np.ndarray) -> str:
    """The table in Markdown."""
    amounts = np.array([row.amount for row in table.rows])
    values = amounts / seconds if table.unit.endswith("/s") else seconds
    each = seconds / amounts
    ratios = "the first row is less by" if table.unit == "MB" else "the first row is faster by"
    lines = [f"## {table.title}", "", f"| | {table.unit} | {ratios} |", "| --- | --- | --- |"]
    for k, row in enumerate(table.rows):
        ratio = spread(each[:, k] / each[:, 0]) if k and row.compared else ""
        lines.append(f"| {row.label} | {spread(values[:, k])} | {ratio} |")
    return "\n".join(lines) + "\n"


def processor() -> str:
    """The processor's name and the widest vectors it has."""
    try:
        info = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    name = next(line.split(":")[1].strip() for line in info.splitlines() if line.startswith("model name"))
    return f"{name}, {'AVX-512' if 'avx512f' in info else 'AVX2' if 'avx2' in info else 'SSE'}"


def main() -> None:
    """Measure, print and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the paths, three rounds, no file")
    parser.add_argument("--only", metavar="NAME", help="one table: normals, gbm, wave, ...; no file")
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    paths, rounds = (10_000, 3) if asked.quick else (100_000, asked.rounds)
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        others, versions = peers(paths)
        wanted = [table for table in tables(paths, others, folder) if asked.only in (None, table.name)]
        if not wanted:
            parser.error(f"there is no table {asked.only!r}")
        versions = {"sdekit": sk.__version__, "Python": platform.python_version(), "numpy": np.__version__,
                    "numba": numba.__version__} | versions
        text = (f"Machine: {platform.machine()}, {processor()}, {THREADS} cores, load before {before:.1f}. Versions: "
                f"{', '.join(f'{name} {number}' for name, number in versions.items())}. Command: `python "
                f"benchmarks/table.py`. Median of {rounds} rounds (least to most); all rows of a table take turns in "
                "every round, and a ratio is of two times of one round. float64 unless said; the peers use the cores "
                "as they like.\n")
        if before > 0.5:
            text += f"\n**Measured on a busy machine (load {before:.1f}): not to be quoted.**\n"
        print(text)
        for table in wanted:
            part = drawn(table, measure(table.rows, table.rounds or rounds))
            print(part, flush=True)
            text += "\n" + part
    if not (asked.quick or asked.only):
        DOCUMENT.write_text("# Speed, beside others\n\n" + text)


if __name__ == "__main__":
    main()
