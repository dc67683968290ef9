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

import torch
from torch import Tensor

from diffusion import checkpoint
from diffusion.data import Images
from diffusion.denoiser import Preconditioned
from diffusion.losses import LOSSES
from diffusion.networks.unet import UNetConfig
from sdekit.noise import key, whole

MOMENTS = ("exp_avg", "exp_avg_sq")  # what Adam remembers of each weight


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
    if resume and out is None:
        raise ValueError("resume=True needs out=, the folder that holds the checkpoint to go on from")
    if resume and not (options is None and network is None):
        raise ValueError("a resumed run keeps the options and the network of its checkpoint; leave them out")
    if not resume and out is not None and (Path(out) / "checkpoint.safetensors").exists():
        raise FileExistsError(f"{out} already holds a checkpoint; resume=True goes on from it, or take another folder")
    if (minutes is None) == (steps is None) and not (resume and steps is None):
        raise ValueError(f"give minutes or steps, one of them; got minutes={minutes}, steps={steps}")
    if min(v for v in (minutes, steps, 1) if v is not None) <= 0:
        raise ValueError(f"minutes and steps must be positive, got minutes={minutes}, steps={steps}")
    seed = whole("seed", seed, 2**32)
    return _run(data, minutes, steps, out, network, options or Options(), seed, resume, save_every, device)


@dataclass(frozen=True)
class _Parts:
    """What training changes: the network, the average of its weights, the optimiser; and what is said of them."""

    header: checkpoint.Header
    model: Preconditioned
    average: Preconditioned
    adam: torch.optim.Adam


def _begin(data: Images, network: UNetConfig | None, options: Options, seed: int, device: str) -> _Parts:
    pixels = data.tensor()
    center = pixels.mean(0)  # (channels, side, side)
    spread = float((pixels - center).square().mean().sqrt())
    if not spread > 0:
        raise ValueError(f"all pictures of {data.name} are the same; there is nothing to learn")
    network = network or UNetConfig(size=center.shape[-1], channels=center.shape[0], classes=len(data.classes))
    needed = {"channels": center.shape[0], "size": center.shape[-1], "classes": len(data.classes)}
    for name, value in needed.items():
        if getattr(network, name) != value:
            raise ValueError(f"the network is for {name}={getattr(network, name)}, but {data.name} has {value}")
    described = {"name": data.name, "shape": list(center.shape), "range": [-1, 1], "classes": list(data.classes)}
    return _parts(checkpoint.Header(network, spread, described), center, options, seed, device)


def _resume(data: Images, out: str | Path, device: str) -> _Parts:
    header, tensors = checkpoint.read(out)
    shape, classes = list(data.tensor().shape[1:]), list(data.classes)
    if header.data["shape"] != shape or header.data["classes"] != classes:
        raise ValueError(f"the checkpoint in {out} was trained on {header.data['name']}, pictures of shape "
                         f"{header.data['shape']} and classes {header.data['classes']}; {data.name} has {shape} and "
                         f"{classes}. Go on with the same data, or choose another folder")
    if not any(name.startswith("net.") for name in tensors):
        raise ValueError(f"the checkpoint in {out} holds only averaged weights, not the state of a training; "
                         "start a new one in another folder")
    history = header.training
    parts = _parts(header, tensors["model.center"], Options(**history["options"]), history["seed"], device)
    _restore(parts, tensors, history["step"])
    return parts


def _parts(header, center: Tensor, options: Options, seed: int, device: str) -> _Parts:
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers go on as if nothing had been drawn
        torch.manual_seed(seed)
        model = checkpoint.build(header, center).to(device)
        average = checkpoint.build(header, center).to(device).requires_grad_(False)
    average.load_state_dict(model.state_dict())
    adam = torch.optim.Adam(model.parameters(), lr=options.learning_rate, betas=(0.9, 0.99))
    return _Parts(header, model, average, adam)


def _run(data: Images, minutes: float | None, steps: int | None, out: str | Path | None, network: UNetConfig | None,
         options: Options, seed: int, resume: bool, save_every: float, device: str) -> Iterator[Record]:
    parts = _resume(data, out, device) if resume and out is not None else _begin(data, network, options, seed, device)
    before = parts.header.training
    if resume:
        seed, options = before["seed"], Options(**before["options"])
        steps = steps or (before["steps"] if minutes is None else None)
        if steps is None and minutes is None:
            raise ValueError("the run was stopped before its number of steps was known; say minutes= or steps= again")
    planned = math.inf if minutes is None else 60 * minutes  # seconds
    if out is not None:
        Path(out).mkdir(parents=True, exist_ok=True)
    first, earlier = before.get("step", 0), before.get("seconds", 0.0)

    def save() -> None:
        if out is not None:
            history = {"step": step, "steps": steps, "images": step * options.batch, "seconds": round(seconds, 1),
                       "seed": seed, "options": asdict(options)}
            checkpoint.save(Path(out) / "checkpoint.safetensors", replace(parts.header, training=history),
                            _state(parts))

    step, seconds = first, earlier
    begun = saved = time.monotonic()
    try:
        while steps is None or step < steps:
            done = step / steps if steps else seconds / planned
            for group in parts.adam.param_groups:
                group["lr"] = options.learning_rate * schedule(step, done, options)
            loss = _step(parts.model, parts.adam, data, seed, step, options)
            step += 1
            _average(parts.average, parts.model, step, options.averaging)
            seconds = earlier + time.monotonic() - begun
            rate = (step - first) * options.batch / (seconds - earlier)
            if steps is None and seconds > min(30.0, 0.1 * planned):
                steps = max(step, round(step * planned / seconds))
            yield Record(step, steps, loss, rate, seconds)
            if time.monotonic() - saved > save_every:
                save()
                saved = time.monotonic()
    except FloatingPointError:
        raise  # the weights are spoilt: keep the last checkpoint
    except BaseException:
        save()  # Ctrl-C, or the caller has seen enough
        raise
    save()


def schedule(step: int, done: float, options: Options) -> float:
    """The learning rate's factor: a linear warm-up, then 1, then linear to 0 over the last `decay` of the run."""
    return min(1.0, (step + 1) / options.warm_up, max(0.0, (1 - done) / options.decay))


def _step(model: Preconditioned, adam, data: Images, seed: int, step: int, options: Options) -> float:
    device = model.center.device
    random = torch.Generator().manual_seed(key(seed, step)[0])  # it takes 32 bits of a seed
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
    order = torch.randperm(n, generator=torch.Generator().manual_seed(key(seed, epoch)[1]))
    return order[place * batch:(place + 1) * batch]


@torch.no_grad()
def _average(average: Preconditioned, model: Preconditioned, step: int, width: float) -> None:
    """Power-law average: weights proportional to t^gamma, so about the last `width` of the run counts.

    Karras et al. 2024, eq. 6: a <- beta a + (1 - beta) theta with beta = (1 - 1/t)^(gamma + 1).
    """
    beta = (1 - 1 / step) ** (1 / width)
    for a, p in zip(average.parameters(), model.parameters()):
        a.lerp_(p, 1 - beta)


def _state(parts: _Parts) -> dict[str, Tensor]:
    state = {f"model.{k}": v for k, v in parts.average.state_dict().items()}
    state |= {f"net.{k}": v for k, v in parts.model.state_dict().items()}
    for name, p in parts.model.named_parameters():
        for moment in MOMENTS:
            if p in parts.adam.state:
                state[f"adam.{moment}.{name}"] = parts.adam.state[p][moment]
    return state


def _restore(parts: _Parts, tensors: dict[str, Tensor], step: int) -> None:
    def part(prefix):
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    parts.average.load_state_dict(part("model."))
    parts.model.load_state_dict(part("net."))
    for name, p in parts.model.named_parameters():
        if step:
            moments = {m: tensors[f"adam.{m}.{name}"].to(p.device) for m in MOMENTS}
            parts.adam.state[p] = {"step": torch.tensor(float(step)), **moments}
