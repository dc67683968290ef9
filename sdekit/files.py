"""Results in files: one .npz with times, values, and what it takes to get them again."""

import json
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from sdekit import noise, processes
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
        parameters = {k: numbers(v) for k, v in work.equation.parameters.items()}
        record |= {
            "class": type(work.equation).__name__, "method": repr(work.method), "origin": work.origin,
            "parameters": {k: v for k, v in parameters.items() if not np.ndim(v)}, "scalar": work.begin.scalar,
            "track": [[i.name, i.kind, i.component, i.bridge, i.level] for i in work.items], "paths": work.run.paths,
            "nonfinite": work.how.nonfinite, "dtype": np.dtype(work.how.dtype or float).name,
            "rtol": work.how.rtol, "atol": work.how.atol, "bits": work.how.bits, "backend": work.backend,
            "noise": noise.VERSION,
            "brownian": _brownian(work.noise) if work.noise else None,
        }
        arrays |= {"grid": work.run.grid, "saved": work.times}
        arrays |= {f"x0 {k}": c for k, c in enumerate(work.begin.components)}
        arrays |= {f"parameter {k}": v for k, v in parameters.items() if np.ndim(v)}
    np.savez(file, info=json.dumps(told), record=json.dumps(record), **arrays)
    return file


def load(file: str | Path, sde: Equation | None = None) -> Paths | Summary:
    """What `Paths.save` or `Summary.save` wrote.

    sde   the equation, for replay() and extend(): a file holds numbers, no functions. A process of this package needs
          none

    Raises FileNotFoundError, or ValueError for a file of another kind and an equation with other parameters.

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


def _work(record: dict, arrays: dict[str, np.ndarray], sde: Equation | None) -> Work | None:
    """The work behind the paths, made ready again; None where the file does not say what it takes."""
    if "class" not in record or record["noise"] != noise.VERSION:
        return None
    parameters = record["parameters"] | {k.removeprefix("parameter "): v for k, v in arrays.items()
                                         if k.startswith("parameter ")}
    if sde is None:
        kind = getattr(processes, record["class"], None)
        try:
            sde = kind(**parameters) if kind else None
        except TypeError:  # it is made of functions, too
            return None
    elif set(sde.parameters) != set(parameters) or not all(np.array_equal(sde.parameters[k], v)
                                                           for k, v in parameters.items()):
        raise ValueError(f"the file is of an equation with the parameters {parameters}, this one is {sde!r}")
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
