"""The state of a training: all that a step changes, begun from data, kept in a checkpoint and taken up from one."""

import hashlib
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diffusion import checkpoint
from diffusion.data import Data
from diffusion.levels import Levels, spectrum
from diffusion.networks import default
from diffusion.options import Options
from sdekit.noise import key

NEEDED = ("n", "digest", "seed", "options", "step", "steps", "seconds", "losses", "scaler", "levels")  # to go on


@dataclass
class State:
    """All that a step changes, and what it is told by: what a checkpoint holds.

    n, digest  how many samples the data have, and what tells them from others
    average    the running average of the model's weights, which is what is sampled
    scaler     of a loss in float16; elsewhere it does nothing
    steps      how many there will be; None until the speed is known
    losses     since the journal's last line
    """

    header: checkpoint.Header
    options: Options
    seed: int
    n: int
    digest: str
    model: nn.Module
    average: nn.Module
    adam: torch.optim.Adam
    scaler: torch.amp.GradScaler
    levels: Levels
    step: int = 0
    steps: int | None = None
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)

    @property
    def batch(self) -> int:
        """How many samples a step sees."""
        return min(self.options.batch, self.n)

    def indices(self) -> Tensor:
        """Which samples the next step sees: every epoch is its own permutation, its remainder dropped."""
        epoch, place = divmod(self.step, self.n // self.batch)
        return _order(self.n, self.seed, epoch)[place * self.batch:(place + 1) * self.batch]

    def save(self, path: Path) -> None:
        """Into a checkpoint. Raises OSError where it cannot be written; the one before stays then."""
        history = {"step": self.step, "steps": self.steps, "images": self.step * self.batch, "n": self.n,
                   "digest": self.digest, "seconds": round(self.seconds, 1), "seed": self.seed, "options": self.options,
                   "scaler": self.scaler.state_dict(), "levels": self.levels.weight, "losses": self.losses}
        tensors = {f"model.{k}": v for k, v in self.average.state_dict().items()}
        tensors |= {f"net.{k}": v for k, v in self.model.state_dict().items()}
        for name, p in self.model.named_parameters():
            for k, v in self.adam.state.get(p, {}).items():
                tensors[f"adam.{k}.{name}"] = v
        checkpoint.save(path, replace(self.header, training=history), tensors)


def new(data: Data, network: Any, options: Options | None, seed: int, device: str | torch.device) -> State:
    """Before the first step; what the network knows of the data in closed form is fitted."""
    x = data.tensor()
    if options is not None and options.dequantise and x.ndim != 4:
        raise ValueError(f"dequantise adds the noise below a grey level of pictures, and {data.name} has samples of "
                         f"shape {tuple(x.shape[1:])}; leave it out")
    center = x.mean(0)
    spread = float((x - center).square().mean().sqrt())
    if not spread > 0:
        raise ValueError(f"all samples of {data.name} are the same; there is nothing to learn")
    network = network or default(tuple(center.shape), len(data.classes))
    network.check(tuple(center.shape), len(data.classes), data.name)
    about = {"name": data.name, "shape": list(center.shape), "range": [-1, 1], "classes": list(data.classes)}
    state = _state(checkpoint.Header(network, spread, about), options or Options(), seed, data, device)
    if hasattr(state.model, "fit"):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            state.model.fit(x, torch.from_numpy(data.labels))  # type: ignore[operator]
        state.average.load_state_dict(state.model.state_dict())
    return state


def resumed(data: Data, out: str | Path, device: str | torch.device) -> State:
    """As `State.save` left it. Raises ValueError for other data, or a checkpoint without the state of a training."""
    header, tensors = checkpoint.read(out)
    shape, classes = list(data.shape), list(data.classes)
    if header.data["shape"] != shape or header.data["classes"] != classes:
        raise ValueError(f"the checkpoint in {out} was trained on {header.data['name']}, samples of shape "
                         f"{header.data['shape']} and classes {header.data['classes']}; {data.name} has {shape} and "
                         f"{classes}. Go on with the same data, or choose another folder")
    if not any(name.startswith("net.") for name in tensors):
        raise ValueError(f"the checkpoint in {out} holds only averaged weights, not the state of a training; "
                         "start a new one in another folder")
    history = header.training
    lacks = [name for name in NEEDED if name not in history]
    if lacks:
        raise ValueError(f"the checkpoint in {out} is of an earlier version, which did not keep {', '.join(lacks)}; it "
                         "can be sampled, but not go on: start a new training in another folder")
    if history["n"] != len(data):
        raise ValueError(f"the checkpoint in {out} was trained on {history['n']} samples of {header.data['name']}, and "
                         f"{data.name} has {len(data)}; go on with the same data, or choose another folder")
    state = _state(header, history["options"], history["seed"], data, device)
    if state.digest != history["digest"]:
        raise ValueError(f"the checkpoint in {out} was trained on other samples called {header.data['name']} than "
                         "these; go on with the same data, in the same order, or choose another folder")
    state.step, state.steps, state.seconds = history["step"], history["steps"], history["seconds"]
    state.losses = list(history["losses"])
    _restore(state, tensors)
    return state


def _state(header: checkpoint.Header, options: Options, seed: int, data: Data, device) -> State:
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers go on as if nothing had been drawn
        torch.manual_seed(seed)
        model = checkpoint.build(header).to(device).train()
        average: Any = checkpoint.build(header).to(device)
    average.requires_grad_(False).eval()
    average.load_state_dict(model.state_dict())
    average.header = header
    kind = torch.device(device).type
    if options.precision == "float16" and kind != "cuda":
        raise ValueError("float16 needs a GPU; choose bfloat16 or float32 on this device")
    adam = torch.optim.Adam(model.parameters(), lr=options.learning_rate, betas=(0.9, 0.99), fused=True)
    scaler = torch.amp.GradScaler(kind, enabled=options.precision == "float16")
    x = data.tensor()
    digest = hashlib.sha256(x.numpy().tobytes() + data.labels.astype("int64").tobytes()).hexdigest()[:16]
    levels = Levels(spectrum(x), x[0].numel())
    return State(header, options, seed, len(x), digest, model, average, adam, scaler, levels)


def _restore(state: State, tensors: dict[str, Tensor]) -> None:
    def part(prefix):
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    state.average.load_state_dict(part("model."))
    state.model.load_state_dict(part("net."))
    for name, p in state.model.named_parameters():
        kept = {k: part(f"adam.{k}.").get(name) for k in ("step", "exp_avg", "exp_avg_sq")}
        if kept["step"] is not None:
            # the fused Adam takes its moments to lie in memory in the order of the weights, such as channels_last
            state.adam.state[p] = {k: v.to(p.device) if k == "step" else torch.empty_like(p).copy_(v)
                                   for k, v in kept.items() if v is not None}
    history = state.header.training
    state.scaler.load_state_dict(history["scaler"])
    if history["levels"]:
        state.levels.weight[:] = history["levels"]


@lru_cache(maxsize=1)
def _order(n: int, seed: int, epoch: int) -> Tensor:
    return torch.randperm(n, generator=torch.Generator().manual_seed(key(seed, epoch)[1]))
