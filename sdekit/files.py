"""Results in files: one .npz with times, values, and what it takes to get them again."""

import json
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from sdekit import noise, processes, walks
from sdekit.brownian import Brownian
from sdekit.named import named
from sdekit.paths import Paths
from sdekit.sde import Equation, numbers
from sdekit.simulation import Source
from sdekit.summary import Summary
from sdekit.summary import load as load_summary
from sdekit.tracking import KINDS
from sdekit.work import Execution, Work, prepare

FORMAT = 1


def save(paths: Paths, file: Path) -> Path:
    """Write `paths` for `load`; the file gets the ending .npz if it has none."""
    file = file if file.suffix == ".npz" else file.with_name(file.name + ".npz")
    file.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {"t": paths.t, "x": paths.values}
    arrays |= {f"tracked {k}": np.asarray(v) for k, v in paths.tracked.items()}
    told = {k: v if isinstance(v, int | float | str) else str(v) for k, v in paths.info.items()}
    record: dict[str, Any] = {"format": FORMAT}
    work = paths.source.work if paths.source else None
    if work is not None and not work.begin.tensor and (work.noise is None or isinstance(work.noise, Brownian)):
        parameters, functions = _made_of(work.equation, work.run.grid)
        record |= {
            "class": type(work.equation).__name__, "method": repr(work.method), "origin": work.origin,
            "parameters": {k: v for k, v in parameters.items() if not isinstance(v, np.ndarray)},
            "functions": functions, "scalar": work.begin.scalar,
            "track": [[i.name, i.kind, i.component, i.bridge, i.level] for i in work.items], "paths": work.run.paths,
            "nonfinite": work.how.nonfinite, "dtype": np.dtype(work.how.dtype or float).name,
            "rtol": work.how.rtol, "atol": work.how.atol, "bits": work.how.bits, "backend": work.backend,
            "noise": noise.VERSION,
            "brownian": _brownian(work.noise) if work.noise else None,
        }
        arrays |= {"grid": work.run.grid, "saved": work.times}
        arrays |= {f"x0 {k}": c for k, c in enumerate(work.begin.components)}
        arrays |= {f"parameter {k}": v for k, v in parameters.items() if isinstance(v, np.ndarray)}
    np.savez(file, info=json.dumps(told), record=json.dumps(record), **arrays)
    return file


def load(file: str | Path, sde: Equation | None = None) -> Paths | Summary:
    """What `Paths.save` or `Summary.save` wrote.

    sde   the equation, for replay() and extend(): a file holds numbers, no functions. A process of this package needs
          none, unless it is made of functions, too

    Raises FileNotFoundError, or ValueError for a file of another kind, a process of another class, and an equation with
    other parameters: of a chain its matrix and its states, of a walk its schedule at the run's steps. Functions of your
    own, such as a drift, are not compared.

    >>> import sdekit as sk, tempfile
    >>> paths = sk.simulate(sk.BrownianMotion(), 0.0, steps=4, paths=100, seed=7)
    >>> again = sk.load(paths.save(tempfile.mkdtemp() + "/paths.npz"))
    >>> bool((again.x == paths.x).all() and (again.replay(3).x[0] == paths.x[3]).all())
    True
    """
    if sde is not None and not isinstance(sde, Equation):
        raise TypeError(f"sde must be the equation of the file's paths, an SDE, an ODE or a MarkovProcess, got {sde!r}")
    try:
        with np.load(file, allow_pickle=False) as archive:
            arrays = dict(archive)
    except (ValueError, TypeError, EOFError, BadZipFile) as error:
        raise ValueError(f"{file} is no .npz file of this package: {error}") from None
    if "record" not in arrays:
        return load_summary(file)
    record = json.loads(str(arrays["record"]))
    if record["format"] > FORMAT:
        raise ValueError(f"{file} was written by a later version of sdekit (format {record['format']})")
    info = json.loads(str(arrays["info"]))
    tracked = {k.removeprefix("tracked "): v for k, v in arrays.items() if k.startswith("tracked ")}
    work = _work(record, arrays, sde)
    if work is None:
        return Paths(arrays["t"], arrays["x"], info, tracked)
    info |= {"equation": work.equation, "method": work.method}
    whole = arrays["x"][..., None] if work.begin.scalar else arrays["x"]
    last = np.concatenate([whole[:, -1], *(v[:, -1:] for v in tracked.values())], axis=1) if whole.ndim == 3 else None
    return Paths(arrays["t"], arrays["x"], info, tracked, Source(work, None if work.stops else last))


def _brownian(W: Brownian) -> dict[str, Any]:
    return {k: getattr(W, k) for k in ("seed", "t", "steps", "paths", "noises", "stream", "first")}


def _made_of(equation: Equation, grid: np.ndarray) -> tuple[dict[str, Any], list[str]]:
    """What the equation is made of, in numbers; and the names of what is a function of time, told by its values.

    That is its parameters; or what it tells pickle, where that is something else.
    """
    state = equation.__getstate__()
    made = state.get("parameters", state)
    functions = [k for k, v in made.items() if callable(v)]
    values = {k: np.array([float(v(t)) for t in grid[:-1]]) if k in functions else numbers(v) for k, v in made.items()}
    return {k: v if isinstance(v, np.ndarray) else _plain(v) for k, v in values.items()}, functions


def _plain(value):
    """As it comes back from a file."""
    return json.loads(json.dumps(value, default=lambda v: v.item() if isinstance(v, np.generic) else str(v)))


def _same(a, b) -> bool:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.shape == b.shape and np.allclose(a, b, rtol=1e-12, atol=0.0)  # another processor's exp may round so
    return type(a) is type(b) and a == b


def _work(record: dict, arrays: dict[str, np.ndarray], sde: Equation | None) -> Work | None:
    """The work behind the paths, made ready again; None where the file does not say what it takes."""
    if "class" not in record or record["noise"] != noise.VERSION:
        return None
    parameters = record["parameters"] | {k.removeprefix("parameter "): v for k, v in arrays.items()
                                         if k.startswith("parameter ")}
    if sde is None:
        kind = getattr(processes, record["class"], None) or getattr(walks, record["class"], None)
        try:
            sde = kind(**parameters) if kind and not record.get("functions") else None
        except TypeError:  # it is made of functions, too
            return None
    else:
        made, _ = _made_of(sde, arrays["grid"])
        if made.keys() != parameters.keys() or not all(_same(made[k], v) for k, v in parameters.items()):
            raise ValueError(f"the file is of an equation with the parameters {parameters}, this one is {sde!r}"
                             + f" with {made}" * (made.keys() != sde.parameters.keys()))
        if record["class"] not in (type(sde).__name__, "ODE"):  # integrate() takes of an SDE its drift alone
            raise ValueError(f"the file is of paths of a {record['class']} with the parameters {parameters}, this one "
                             f"is {sde!r}")
    method = named(record["method"])
    if sde is None or method is None:
        return None
    start = tuple(arrays[f"x0 {k}"] for k in range(sum(k.startswith("x0 ") for k in arrays)))
    track = {name: KINDS[kind](level, component, bridge=bridge) if kind == "first_passage" else
             KINDS[kind](component) if kind == "integral" else KINDS[kind](component, bridge=bridge)
             for name, kind, component, bridge, level in record["track"]}
    held = Brownian(**record["brownian"]) if record["brownian"] else None
    how = Execution(record["backend"], nonfinite=record["nonfinite"], dtype=record["dtype"], bits=record["bits"],
                    rtol=record.get("rtol"), atol=record.get("atol"))
    grid = arrays["grid"]
    return prepare(sde, method, start[0] if record["scalar"] else start, grid, len(grid) - 1, record["paths"],
                   arrays["saved"], held, record["origin"], how, track or None)
