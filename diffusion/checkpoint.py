"""One self-describing .safetensors file: tensors, and a JSON header with all that is needed to use them.

Header entry "diffusion": {"version", "network" (the configuration), "spread", "data" (name, shape, range, class
names), "training" (how it was made)}. Tensors: "model.*" the averaged weights and the data's centre; a file written
during training also holds "net.*" and "adam.*", from which `train` resumes. Header entry "sha256" holds a digest of
each tensor, checked when it is read. Nothing is ever unpickled.
"""

import hashlib
import json
import math
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from diffusion.denoiser import Preconditioned
from diffusion.networks.unet import UNet, UNetConfig

VERSION = 1
SHIPPED = Path(__file__).parent / "weights" / "digits.safetensors"


@dataclass(frozen=True)
class Header:
    """What a checkpoint says of itself; `training` holds seed, steps, images, minutes, options and data file."""

    network: UNetConfig
    spread: float
    data: dict[str, Any]
    training: dict[str, Any] = field(default_factory=dict)
    version: int = VERSION


def save(path: str | Path, header: Header, tensors: dict[str, Tensor]) -> Path:
    """Write `tensors` and `header` to `path`: to a neighbour file first, then renamed, so a crash leaves the old."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    kept = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    digests = {k: _digest(v) for k, v in kept.items()}
    save_file(kept, part, metadata={"diffusion": json.dumps(asdict(header)), "sha256": json.dumps(digests)})
    part.chmod(0o644)
    os.replace(part, path)
    return path


def read(path: str | Path, prefix: str = "") -> tuple[Header, dict[str, Tensor]]:
    """The header, and the tensors whose names begin with `prefix`.

    Raises FileNotFoundError, or ValueError for a file that is cut off, corrupted, or not a checkpoint of ours.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "checkpoint.safetensors"
    if not path.exists():
        folder = path.parent if path.suffix == ".safetensors" else path
        raise FileNotFoundError(f"no checkpoint at {path}; train one with `diffusion train mnist --out {folder}`, or "
                                "call load() without a path for the shipped digits")
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            header, digests = _header(about.get("diffusion", "")), dict(json.loads(about.get("sha256", "{}")))
            tensors = {k: file.get_tensor(k) for k in file.keys() if k.startswith(prefix)}
        for name, tensor in tensors.items():
            if digests.get(name) != _digest(tensor):
                raise ValueError(f"the tensor {name} is not the one that was written")
    except (SafetensorError, ValueError, KeyError, TypeError, OSError) as error:
        raise ValueError(f"{path} is not a whole checkpoint of this package ({error}); copy it or train "
                         "it again") from None
    return header, tensors


def _digest(tensor: Tensor) -> str:
    return hashlib.sha256(tensor.numpy().tobytes()).hexdigest()[:16]


def _header(text: str) -> Header:
    if not text:
        raise ValueError("it has no 'diffusion' entry in its header")
    fields = json.loads(text)
    if not isinstance(fields, dict):
        raise ValueError(f"its header is {fields!r}, not a record")
    if fields.get("version") != VERSION:
        raise ValueError(f"its format version is {fields.get('version')!r}, this package reads {VERSION}")
    header = Header(**{**fields, "network": UNetConfig(**fields["network"])})
    if not isinstance(header.spread, float) or not 0 < header.spread < math.inf:
        raise ValueError(f"the spread of its data is {header.spread!r}, not a positive number")
    return header


def build(header: Header, center: Tensor) -> Preconditioned:
    """A denoiser of the header's configuration, its weights not yet set: in float32, whatever torch's default is."""
    return Preconditioned(UNet(header.network), center, header.spread).float()


def load(path: str | Path | None = None, device: str | torch.device = "cpu") -> Preconditioned:
    """A trained denoiser from a checkpoint file or a training folder; with no path, the shipped digits.

    Its `header` says what it was trained on. Raises as `read`.

    >>> load().header.data["classes"]
    ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9']
    """
    header, tensors = read(SHIPPED if path is None else path, prefix="model.")
    state = {k.removeprefix("model."): v for k, v in tensors.items()}
    if "center" not in state:
        raise ValueError(f"{path} holds no averaged weights ('model.*'); is it a checkpoint of `train`?")
    network, center = header.network, tuple(state["center"].shape)
    if center != (network.channels, network.size, network.size):
        raise ValueError(f"the weights in {path} do not fit the network that its header names: the centre of the "
                         f"data has shape {center}")
    model = build(header, state["center"])
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"the weights in {path} do not fit the network that its header names: {error}") from None
    model.header = header
    return model.to(device).eval().requires_grad_(False)
