"""What the command line's words stand for: samplers and their grids, classes of data, ranges of samples."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

import diffusion.grid as grids
from diffusion.checkpoint import Header
from diffusion.grid import Grid
from diffusion.process import Discrete, linear_betas
from diffusion.samplers import (
    Sampler,
    ancestral,
    churned,
    ddim,
    ddpm,
    deis,
    dpmpp_2m,
    dpmpp_2s,
    dpmpp_3m,
    dpmpp_3s,
    euler,
    flow_ode,
    heun,
    predictor_corrector,
    reverse_sde,
    sde_dpmpp_1,
    sde_dpmpp_2m,
    unipc,
)
from sdekit.noise import MAX_PATHS

METHODS = {
    "euler": euler, "ddim": ddim(), "heun": heun, "dpmpp-2s": dpmpp_2s, "dpmpp-3s": dpmpp_3s, "dpmpp-2m": dpmpp_2m,
    "dpmpp-3m": dpmpp_3m, "deis-2": deis(2), "deis-3": deis(3), "unipc-2": unipc(2), "unipc-3": unipc(3),
    "flow-ode": flow_ode(), "ancestral": ancestral, "ddpm": ddpm, "sde-dpmpp-1": sde_dpmpp_1,
    "sde-dpmpp-2m": sde_dpmpp_2m, "churned": churned(), "predictor-corrector": predictor_corrector(),
    "reverse-sde": reverse_sde(),
}
ORDERS = {"deis": "deis-3", "unipc": "unipc-3"}  # the orders that these have where none is named
MOST = 10_000  # steps; a grid holds every level


def method(name: str) -> Sampler:
    """The sampler of this name. Raises ValueError, which lists all of them.

    >>> method("dpmpp_2m") is method("dpmpp-2m"), method("unipc")
    (True, unipc(3))
    """
    dashed = name.lower().replace("_", "-")
    known = ORDERS.get(dashed, dashed)
    if known not in METHODS:
        raise ValueError(f"unknown method {name!r}; choose one of {', '.join(METHODS)}")
    return METHODS[known]


def grid(name: str, steps: int) -> Grid:
    """The grid that goes with a method's name: of Ho et al. 2020's 1000 times for ddpm, of EDM's for the others.

    Raises ValueError for more steps than there are.

    >>> len(grid("ddpm", 50)), grid("ddpm", 50).process.span[1], len(grid("heun", 12))
    (50, 1000.0, 12)
    """
    discrete = method(name) is ddpm
    most = 999 if discrete else MOST
    if steps > most:
        raise ValueError(f"--steps is at most {most:,}{' with ddpm, which walks over 1000 times' * discrete}; got "
                         f"{steps:,}")
    return grids.linspace(Discrete(linear_betas()), steps) if discrete else grids.edm(steps)


def span(index: str) -> tuple[int, int]:
    """First and last of a range of samples. Raises ValueError for what is none, or beyond the names that there are.

    >>> span("0-63"), span("7")
    ((0, 63), (7, 7))
    """
    found = re.fullmatch(r"([0-9]+)(?:-([0-9]+))?", index)
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
    if first > last:
        raise ValueError(f"--index must be a number or a range such as 0-63, got {index!r}")
    if last >= MAX_PATHS:
        raise ValueError(f"--index must be below 2^40, got {index!r}")
    return first, last


def number(flag: str, name: str, classes: Sequence[str], more: str = "") -> int:
    """A class's number, by its name or, where none is called so, by that number. Raises ValueError for another.

    >>> number("--label", "dog", ("cat", "dog")), number("--label", "0", ("cat", "dog"))
    (1, 0)
    """
    if name in classes:
        return list(classes).index(name)
    if re.fullmatch("[0-9]+", name) and int(name) < len(classes):
        return int(name)
    raise ValueError(f"{flag} is one of {', '.join(classes)}{more}; got {name!r}")


def only(data: Any, name: str | None) -> Any:
    """The samples of one class, by its name or number; None for all. Raises ValueError for a class that is not there.

    >>> from diffusion.data import moons
    >>> one = only(moons(10), "lower")
    >>> len(one), one.classes, one.labels.tolist(), one.name
    (5, ('lower',), [0, 0, 0, 0, 0], 'moons, class lower')
    """
    if name is None:
        return data
    kept = data.classes[number("--class", name, data.classes)]
    return replace(_of(data, (kept,)), name=f"{data.name}, class {kept}")


def alike(data: Any, header: Header) -> Any:
    """What a model was to learn of the data: its classes, in its order, where they have more.

    Raises ValueError for data that do not have them.
    """
    classes = tuple(header.data["classes"])
    if data.classes == classes or len(data.classes) == len(classes) == 1:
        return data
    if not set(classes) <= set(data.classes):
        raise ValueError(f"the model was trained on {header.data['name']}, of classes {', '.join(classes)}, and "
                         f"{data.name} has {', '.join(data.classes)}; name its own data")
    return _of(data, classes)


def _of(data: Any, classes: tuple[str, ...]) -> Any:
    """The samples of these classes, numbered as they stand here."""
    new = np.array([classes.index(name) if name in classes else -1 for name in data.classes])[data.labels]
    kept = np.flatnonzero(new >= 0)
    return replace(data.subset(kept), labels=new[kept], classes=classes)
