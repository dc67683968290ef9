"""Frozen records written to JSON and read back: {"kind": the class's name, field: value, ...}, nested.

What defines a run - its network, its loss, the process behind its noise levels - is stored in the checkpoint in this
form, so that loading needs no flags and runs no code but that of the kinds known here.
"""

from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

import numpy as np

from diffusion.process import EDM, VE, VP, Cosine, Discrete, Process, RectifiedFlow, SubVP

Class = TypeVar("Class", bound=type)
KINDS: dict[str, type] = {kind.__name__: kind for kind in (EDM, VE, VP, SubVP, Cosine, RectifiedFlow, Discrete)}


def recorded(kind: Class) -> Class:
    """A class decorator: instances of this frozen dataclass can be written, and read back by the class's name.

    Networks and losses of your own need it to be kept in a checkpoint. Raises ValueError where the name is taken.

    >>> from dataclasses import dataclass
    >>> @recorded
    ... @dataclass(frozen=True)
    ... class Point:
    ...     x: float
    >>> written(Point(3.0))
    {'kind': 'Point', 'x': 3.0}
    >>> reading(written(Point(3.0)))
    Point(x=3.0)
    """
    known = KINDS.get(kind.__name__)
    if known is not None and (known.__module__, known.__qualname__) != (kind.__module__, kind.__qualname__):
        raise ValueError(f"there is a recorded class {kind.__name__!r} already, {known!r}; choose another name")
    KINDS[kind.__name__] = kind
    return kind


def written(value: Any) -> Any:
    """`value` in terms of JSON. Raises TypeError for what is no number, text, sequence or recorded class."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [written(v) for v in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if isinstance(value, dict):
        return {k: written(v) for k, v in value.items()}
    name = type(value).__name__
    if KINDS.get(name) is not type(value):
        raise TypeError(f"{value!r} cannot be kept in a checkpoint: its class {name} is not recorded; make it a frozen "
                        "dataclass and decorate it with diffusion.records.recorded")
    if isinstance(value, Discrete):
        return {"kind": name, "betas": value.betas.tolist()}
    if isinstance(value, Process):
        return {"kind": name, **value.parameters}
    if not is_dataclass(value):
        raise TypeError(f"{name} is recorded, but it is no dataclass")
    return {"kind": name, **{f.name: written(getattr(value, f.name)) for f in fields(value)}}


def reading(value: Any) -> Any:
    """What `written` wrote; sequences come back as tuples.

    Raises ValueError for a kind that is not known here, or fields that its class does not take.
    """
    if isinstance(value, list):
        return tuple(reading(v) for v in value)
    if not isinstance(value, dict):
        return value
    parts = {k: reading(v) for k, v in value.items()}
    if "kind" not in parts:
        return parts
    kind = parts.pop("kind")
    if kind not in KINDS:
        raise ValueError(f"{kind!r} is none of the recorded classes {', '.join(sorted(KINDS))}; import the module that "
                         "defines it first, or update this package")
    try:
        return KINDS[kind](**parts)
    except TypeError as error:
        raise ValueError(f"{kind} does not take {parts}: {error}") from None
