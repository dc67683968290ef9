"""One self-describing .safetensors file: tensors, and a JSON header with all that is needed to use them.

Header entry "diffusion": {"version", "network" (its configuration, a recorded class), "spread", "data" (name, shape,
range, class names), "training" (how it was made)}. Tensors: "model.*" the averaged weights and what is known of the
data in closed form; a file written during training also holds "net.*" and "adam.*", from which `train` resumes. Header
entry "sha256" holds a digest of each tensor, checked when it is read. Nothing is ever unpickled.
"""

import hashlib
import json
import math
import os
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

import diffusion.networks  # noqa: F401  whose configurations can be read
from diffusion.records import reading, written

VERSION = 2
SHIPPED = Path(__file__).parent / "weights" / "digits.safetensors"


@dataclass(frozen=True)
class Header:
    """What a checkpoint says of itself; `training` holds seed, steps, images, minutes, options and data file."""

    network: Any
    spread: float
    data: dict[str, Any]
    training: dict[str, Any] = field(default_factory=dict)
    version: int = VERSION


def save(path: str | Path, header: Header, tensors: dict[str, Tensor]) -> Path:
    """Write `tensors` and `header` to `path`: to a neighbour file first, then renamed, so a crash leaves the old.

    Raises OSError where the disk is full or not writable: the old file stays then too.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    # copies: safetensors refuses two names for one memory, which tied weights are
    kept = {k: v.detach().to("cpu", copy=True, memory_format=torch.contiguous_format) for k, v in tensors.items()}
    digests = {k: _digest(v) for k, v in kept.items()}
    about = json.dumps({f.name: written(getattr(header, f.name)) for f in fields(header)})
    try:
        save_file(kept, part, metadata={"diffusion": about, "sha256": json.dumps(digests)})
        part.chmod(0o644)
        with part.open("rb") as file:
            os.fsync(file.fileno())  # its bytes are on the disk before its name is
        os.replace(part, path)
    except (OSError, SafetensorError) as error:
        part.unlink(missing_ok=True)
        raise OSError(f"{path} could not be written ({error}); what stood there before still does") from error
    return path


def read(path: str | Path, prefix: str = "") -> tuple[Header, dict[str, Tensor]]:
    """The header, and the tensors whose names begin with `prefix`.

    Raises FileNotFoundError, TypeError for what is no path, or ValueError for a file that is cut off, corrupted, or not
    a checkpoint of ours.
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"a checkpoint is named by the path of its file or its folder, got {path!r} "
                        f"({type(path).__name__})")
    path = Path(path)
    if path.is_dir():
        path = path / "checkpoint.safetensors"
    if not path.exists():
        folder = path.parent if path.suffix == ".safetensors" else path
        raise FileNotFoundError(f"no checkpoint at {path}; train one with `diffusion train DATA --out {folder}`, or "
                                "call load() without a path for the shipped digits")
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            header, digests = _header(about.get("diffusion", "")), dict(json.loads(about.get("sha256", "{}")))
            tensors = {k: file.get_tensor(k) for k in file.keys() if k.startswith(prefix)}
        for name, tensor in tensors.items():
            if digests.get(name) != _digest(tensor):
                raise ValueError(f"the tensor {name} is not the one that was written")
    except _Newer as error:
        raise ValueError(f"{path} was written by a newer version of this package ({error}); update the "
                         "package") from None
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError) as error:
        raise ValueError(f"{path} is not a whole checkpoint of this package ({error}); copy it or train "
                         "it again") from None
    return header, tensors


class _Newer(Exception):
    """The file's format is of a later version than this package's."""


def _digest(tensor: Tensor) -> str:
    return hashlib.sha256(tensor.numpy().tobytes()).hexdigest()[:16]


def _header(text: str) -> Header:
    if not text:
        raise ValueError("it has no 'diffusion' entry in its header")
    told = json.loads(text)
    if not isinstance(told, dict):
        raise ValueError(f"its header is {told!r}, not a record")
    version = told.get("version")
    if isinstance(version, int) and version > VERSION:
        raise _Newer(f"its format is version {version}, this package reads {VERSION}")
    if version != VERSION:
        raise ValueError(f"its format version is {version!r}, this package reads {VERSION}")
    header = Header(**{**reading(told), "data": told["data"]})
    if not isinstance(header.spread, float) or not 0 < header.spread < math.inf:
        raise ValueError(f"the spread of its data is {header.spread!r}, not a positive number")
    if not isinstance(header.data, dict) or "shape" not in header.data:
        raise ValueError(f"what it says of its data, {header.data!r}, lacks their shape")
    if not hasattr(header.network, "build"):
        raise ValueError(f"its network is {header.network!r}, which is no configuration of one")
    return header


def build(header: Header) -> nn.Module:
    """The network of the header's configuration, its weights not yet set: in float32, whatever torch's default is."""
    return header.network.build(torch.zeros(header.data["shape"]), header.spread).float()


def load(path: str | Path | None = None, device: str | torch.device = "cpu") -> Any:
    """A trained denoiser (or other network) from a checkpoint or a training folder; with no path, the shipped digits.

    Its `header` says what it was trained on. Raises as `read`.

    >>> load().header.data["classes"]
    ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9']
    """
    header, tensors = read(SHIPPED if path is None else path, prefix="model.")
    state = {k.removeprefix("model."): v for k, v in tensors.items()}
    if not state:
        raise ValueError(f"{path} holds no averaged weights ('model.*'); is it a checkpoint of `train`?")
    try:
        model: Any = build(header)
        model.load_state_dict(state)
    except (RuntimeError, ValueError, TypeError) as error:
        raise ValueError(f"the weights in {path} do not fit the network that its header names: {error}") from None
    model.header = header
    try:
        model = model.to(device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"the device {device!r} cannot be used here ({error}); \"cpu\" always can") from None
    return model.eval().requires_grad_(False)
