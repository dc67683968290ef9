"""Learning the denoiser by stochastic gradients; the weights that are kept are a running average (EMA).

One generator, `train`, yields a record per step. Labels are dropped at random, so that one network learns both
D(x, y) and D(x, none), as classifier-free guidance needs (Ho & Salimans 2022).

The numbers drawn at step k depend on (seed, k) alone: a run that was stopped resumes from its checkpoint as if
it had not been.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffusion import checkpoint
from diffusion.data import Images
from diffusion.denoiser import Preconditioned
from diffusion.losses import LOSSES
from diffusion.networks.unet import UNetConfig


@dataclass(frozen=True)
class Options:
    """How a network is trained.

    batch, learning_rate   Adam's, with betas (0.9, 0.99)
    loss         "edm" or "ddpm": see `diffusion.losses`
    drop_label   how often a picture's label is replaced by "none"
    warm_up      steps over which the learning rate grows; over the last `decay` of the run it falls to 0
    clip         bound on the gradient's norm
    averaging    the share of the run that the average of the weights looks back on
    precision    "float32", or "bfloat16", faster where the processor has it (AMX, GPUs)
    """

    batch: int = 64
    learning_rate: float = 2e-3
    loss: str = "edm"
    drop_label: float = 0.15
    warm_up: int = 200
    decay: float = 0.4
    clip: float = 1.0
    averaging: float = 0.05
    precision: str = "float32"

    def __post_init__(self):
        for name, allowed in (("loss", tuple(LOSSES)), ("precision", ("float32", "bfloat16"))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}; got {getattr(self, name)!r}")
        for name in ("batch", "learning_rate", "warm_up", "decay", "clip", "averaging"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")


@dataclass(frozen=True)
class Record:
    """One step: its number, the number planned (None until known), loss, images per second, seconds so far."""

    step: int
    steps: int | None
    loss: float
    rate: float
    seconds: float


def train(data: Images, *, minutes: float | None = None, steps: int | None = None, out: str | Path | None = None,
          network: UNetConfig | None = None, options: Options | None = None, seed: int = 0, resume: bool = False,
          save_every: float = 60.0, device: str = "cpu") -> Iterator[Record]:
    """Train a U-Net on `data`, yielding a `Record` after every step; `load(out)` is the averaged denoiser.

    data            `Images`: (n, channels, side, side), with labels
    minutes, steps  when to stop: give one. `minutes` becomes a number of steps once the speed is known
    out             folder for checkpoint.safetensors, written every `save_every` seconds, at the end and on Ctrl-C
    network         the U-Net's configuration; by default one of the data's side, channels and classes
    resume          go on from `out`'s checkpoint, as if the run had not been interrupted

    Raises ValueError for settings that contradict each other, FloatingPointError if the loss is not finite.
    """
    if (minutes is None) == (steps is None) and not resume:
        raise ValueError(f"give minutes or steps, one of them; got minutes={minutes}, steps={steps}")
    if min(v for v in (minutes, steps, 1) if v is not None) <= 0:
        raise ValueError(f"minutes and steps must be positive, got minutes={minutes}, steps={steps}")
    if resume and out is None:
        raise ValueError("resume=True needs out=, the folder that holds the checkpoint to go on from")
    return _run(data, minutes, steps, out, network, options or Options(), seed, resume, save_every, device)


def _run(data, minutes, steps, out, network, options, seed, resume, save_every, device) -> Iterator[Record]:
    before: dict[str, Any] = {}
    if resume:
        header, tensors = checkpoint.read(out)
        network, spread, before = header.network, header.spread, header.training
        center, seed, options = tensors["model.center"], before["seed"], Options(**before["options"])
        steps = steps or before["steps"]
    else:
        pixels = data.tensor()
        center = pixels.mean(0)  # (channels, side, side)
        spread = float((pixels - center).square().mean().sqrt())
        channels, side = center.shape[0], center.shape[-1]
        network = network or UNetConfig(size=side, channels=channels, classes=len(data.classes))
        tensors = {}
    described = {"name": data.name, "shape": list(center.shape), "range": [-1, 1], "classes": list(data.classes)}
    torch.manual_seed(seed)
    header = checkpoint.Header(network, spread, described)
    model = checkpoint.build(header, center).to(device)
    average = checkpoint.build(header, center).to(device).requires_grad_(False)
    average.load_state_dict(model.state_dict())
    adam = torch.optim.Adam(model.parameters(), lr=options.learning_rate, betas=(0.9, 0.99))
    first = before.get("step", 0)
    if resume:
        _restore(model, average, adam, tensors, first)

    def save(step: int, seconds: float) -> None:
        if out is not None:
            history = {"step": step, "steps": steps, "images": step * options.batch, "seconds": round(seconds, 1),
                       "seed": seed, "options": asdict(options)}
            checkpoint.save(Path(out) / "checkpoint.safetensors", replace(header, training=history),
                            _state(model, average, adam))

    step, start = first, time.monotonic() - before.get("seconds", 0.0)
    saved = begun = time.monotonic()
    seconds = before.get("seconds", 0.0)
    try:
        while steps is None or step < steps:
            done = step / steps if steps else seconds / (60 * minutes)
            for group in adam.param_groups:
                group["lr"] = options.learning_rate * schedule(step, done, options)
            loss = _step(model, adam, data, seed, step, options)
            step += 1
            _average(average, model, step, options.averaging)
            seconds = time.monotonic() - start
            rate = (step - first) * options.batch / (time.monotonic() - begun)
            if steps is None and seconds > min(30.0, 6.0 * minutes):
                steps = max(step, round(step * 60 * minutes / seconds))
            yield Record(step, steps, loss, rate, seconds)
            if time.monotonic() - saved > save_every:
                save(step, seconds)
                saved = time.monotonic()
    finally:
        save(step, seconds)


def schedule(step: int, done: float, options: Options) -> float:
    """The learning rate's factor: a linear warm-up, then 1, then linear to 0 over the last `decay` of the run."""
    return min(1.0, (step + 1) / options.warm_up, max(0.0, (1 - done) / options.decay))


def _step(model: Preconditioned, adam, data: Images, seed: int, step: int, options: Options) -> float:
    device = model.center.device
    random = torch.Generator().manual_seed(seed * 2**32 + step)
    some = data.subset(_indices(len(data), options.batch, seed, step).numpy())
    x0, label = some.tensor().to(device), torch.from_numpy(some.labels).long()
    dropped = torch.rand(len(some), generator=random) < options.drop_label
    label = torch.where(dropped, torch.tensor(model.config.classes), label).to(device)
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=options.precision == "bfloat16"):
        loss = LOSSES[options.loss]()(model, x0, label, random)
    value = float(loss.detach())
    if not math.isfinite(value):
        raise FloatingPointError(f"the loss is {value} at step {step + 1}; the last checkpoint is kept. "
                                 "Lower the learning rate or train in float32")
    adam.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), options.clip)
    adam.step()
    return value


def _indices(n: int, batch: int, seed: int, step: int) -> Tensor:
    """Which pictures step `step` sees: every epoch is its own permutation, its remainder dropped."""
    per_epoch = max(1, n // batch)
    epoch, place = divmod(step, per_epoch)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed * 2**32 + 2**31 + epoch))
    return order[place * batch:(place + 1) * batch]


@torch.no_grad()
def _average(average: Preconditioned, model: Preconditioned, step: int, width: float) -> None:
    """Power-law average: weights proportional to t^gamma, so about the last `width` of the run counts.

    Karras et al. 2024, eq. 6: a <- beta a + (1 - beta) theta with beta = (1 - 1/t)^(gamma + 1).
    """
    beta = (1 - 1 / step) ** (1 / width)
    for a, p in zip(average.parameters(), model.parameters()):
        a.lerp_(p, 1 - beta)


def _state(model, average, adam) -> dict[str, Tensor]:
    state = {f"model.{k}": v for k, v in average.state_dict().items()}
    state |= {f"net.{k}": v for k, v in model.state_dict().items()}
    for name, p in model.named_parameters():
        for moment in ("exp_avg", "exp_avg_sq"):
            if p in adam.state:
                state[f"adam.{moment}.{name}"] = adam.state[p][moment]
    return state


def _restore(model, average, adam, tensors: dict[str, Tensor], step: int) -> None:
    def part(prefix):
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    average.load_state_dict(part("model."))
    model.load_state_dict(part("net."))
    for name, p in model.named_parameters():
        moments = {m: tensors[f"adam.{m}.{name}"].to(p.device) for m in ("exp_avg", "exp_avg_sq")}
        adam.state[p] = {"step": torch.tensor(float(step)), **moments}
