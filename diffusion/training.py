"""Learning by stochastic gradients; the weights that are kept are a running average (EMA).

One generator, `train`, yields a record per step, for a denoiser or any other network of `diffusion.networks`. Labels
are dropped at random, so that one network learns both D(x, y) and D(x, none), as classifier-free guidance needs (Ho &
Salimans 2022).

The numbers drawn at step k depend on (seed, k) alone, and everything else that a step needs is in the checkpoint: a run
that was stopped, or killed, goes on from there as if it had not been, bit for bit on the same device.
"""

import math
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import Any

import torch
from torch import nn

from diffusion.bytes import dequantised
from diffusion.data import Data
from diffusion.device import usable
from diffusion.journal import Journal
from diffusion.levels import Levels
from diffusion.losses import Terms
from diffusion.options import Options
from diffusion.records import written
from diffusion.state import State, new, resumed
from sdekit.noise import key, whole

NAME = "checkpoint.safetensors"
EARLY = 2.0  # seconds after which a run is first kept; then after twice the time, until that is `save_every`
MEASURED = 30.0  # seconds after which a run by minutes knows its number of steps
LEAST_SCALE = 2.0**-14  # of a loss in float16, which begins at 2^16
KEPT = "what was learned before is kept. Lower the learning rate or train in float32"


@dataclass(frozen=True)
class Record:
    """One step: its number, the number planned (None until known), loss, samples per second, seconds so far.

    model    the average so far, ready to be sampled; it goes on changing with the next step
    levels   the error at each noise level beside the closed-form Gaussian's; None where the loss has no levels
    """

    step: int
    steps: int | None
    loss: float
    rate: float
    seconds: float
    learning_rate: float = 0.0
    model: Any = field(default=None, repr=False, compare=False)
    levels: Levels | None = field(default=None, repr=False, compare=False)


def train(data: Data, *, minutes: float | None = None, steps: int | None = None, images: int | None = None,
          out: str | Path | None = None, network: Any = None, options: Options | None = None, seed: int | None = None,
          resume: bool = False, save_every: float = 60.0, device: str | torch.device = "cpu") -> Iterator[Record]:
    """Train a network on `data`, yielding a `Record` after every step; `load(out)` is the averaged network.

    data            `Images`, `Points` or whatever has their attributes
    minutes, steps, images   when to stop: give one. `minutes` become a number of steps once the speed is known, after
                    30 seconds; `images` are samples seen, counted as often as they are
    out             folder for checkpoint.safetensors, written every `save_every` seconds (more often in the first
                    minute), at the end and on Ctrl-C, and for metrics.jsonl, a line every 20 steps
    network         the network's configuration, a record of `diffusion.networks`; by default a U-Net for pictures and
                    a perceptron for points, of the data's shape and classes
    resume          go on from `out`'s checkpoint, as if the run had not been interrupted

    Raises ValueError for settings that contradict each other, FloatingPointError if loss or gradient are not finite:
    the last checkpoint stays, and where there is none yet the step before is kept. OSError where the last checkpoint
    cannot be written; while the run lasts that is a warning, and the one before stays.
    """
    _check(data, out, network, options, seed, resume)
    _check_length({"minutes": minutes, "steps": steps, "images": images}, resume)
    if isinstance(save_every, bool) or not isinstance(save_every, Real):
        raise TypeError(f"save_every must be a number, got {save_every!r} ({type(save_every).__name__})")
    if not save_every >= 0:
        raise ValueError(f"save_every must be seconds, 0 or more, got {save_every!r}")
    seed, device = whole("seed", 0 if seed is None else seed, 2**32), usable(device)
    begun = resumed(data, out, device) if resume and out is not None else new(data, network, options, seed, device)
    if images is not None:
        steps = math.ceil(images / begun.batch)
    _plan(begun, minutes, steps)
    return _run(data, begun, minutes, None if out is None else Path(out), save_every)


def _check(data: Any, out: str | Path | None, network: Any, options: Options | None, seed: int | None,
           resume: bool) -> None:
    """What can be known to be wrong before any work."""
    if not all(hasattr(data, name) for name in ("tensor", "labels", "classes", "shape", "name")):
        raise TypeError("data are `Images`, `Points` or alike, such as df.mnist() or df.data.load(\"moons\"); got "
                        f"{data!r:.80}")
    if not len(data):
        raise ValueError(f"{data.name} holds no samples; there is nothing to learn")
    if network is not None and not (hasattr(network, "build") and hasattr(network, "check")):
        raise TypeError("network is a configuration, such as df.UNetConfig.of(data.shape, len(data.classes)); got "
                        f"{network!r:.80}")
    if options is not None and not isinstance(options, Options):
        raise TypeError(f"options are df.Options(...), got {options!r:.80}")
    if resume and out is None:
        raise ValueError("resume=True needs out=, the folder that holds the checkpoint to go on from")
    if resume and not (options is None and network is None and seed is None):
        raise ValueError("a resumed run keeps the options, the network and the seed of its checkpoint; leave them out")
    place = Path("." if out is None else out)
    there = next(folder for folder in (place, *place.absolute().parents) if folder.exists())
    if not there.is_dir():
        raise NotADirectoryError(f"out is a folder, got {out}, and {there} is a file; choose another")
    if not resume and out is not None and (Path(out) / NAME).exists():
        raise FileExistsError(f"{out} already holds a checkpoint; resume=True goes on from it, or take another folder")
    if out is not None:
        written([network, options])  # what cannot be kept in a checkpoint


def _check_length(lengths: dict[str, float | None], resume: bool) -> None:
    given = {name: v for name, v in lengths.items() if v is not None}
    if len(given) > 1 or (not given and not resume):
        raise ValueError(f"give minutes, steps or images, one of them; got {given or 'none of them'}")
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, Real):
            raise TypeError(f"{name} must be a number, got {value!r} ({type(value).__name__})")
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be positive, got {value!r}")
        if name != "minutes" and value != int(value):
            raise ValueError(f"{name} must be a whole number, got {value!r}")


def _plan(state: State, minutes: float | None, steps: int | None) -> None:
    """How many steps there will be; None until the speed is known."""
    if steps is not None and steps < state.step:
        raise ValueError(f"the checkpoint has {state.step} steps behind it, and {int(steps)} are asked for; the "
                         "length of a resumed run counts from its beginning")
    if steps is not None or minutes is not None:
        state.steps = None if steps is None else int(steps)
    elif state.steps is None:
        raise ValueError("the run was stopped before its number of steps was known; say minutes=, steps= or images= "
                         "again")


def _run(data: Data, state: State, minutes: float | None, out: Path | None, save_every: float) -> Iterator[Record]:
    options, first, earlier, batch = state.options, state.step, state.seconds, state.batch
    planned = math.inf if minutes is None else 60 * minutes  # seconds
    journal = Journal(out, first, state.losses)
    begun = saved = time.monotonic()

    def save() -> None:
        nonlocal saved
        saved = time.monotonic()  # also where it fails: the next attempt is not at the very next step
        if out is not None and state.step:
            try:
                journal.flush()
            finally:
                state.save(out / NAME)

    try:
        while state.steps is None or state.step < state.steps:
            done = state.step / state.steps if state.steps else state.seconds / planned
            rate = options.rate(state.step, done)
            loss, terms = _gradient(data, state)
            with _undivided():
                _update(state, rate, terms)
                state.seconds = earlier + time.monotonic() - begun
                speed = (state.step - first) * batch / max(state.seconds - earlier, 1e-9)
                known = state.steps is None and state.seconds > min(MEASURED, 0.1 * planned)
                if known:
                    state.steps = max(state.step, round(state.step * planned / state.seconds))
                record = Record(state.step, state.steps, loss, speed, state.seconds, rate, state.average, state.levels)
                journal.add(record)
            yield record
            if known or time.monotonic() - saved > min(save_every, max(EARLY, saved - begun)):
                _try(save)
    except FloatingPointError:
        # the weights that led here may be spoilt though finite: better the checkpoint before, if there is one
        if out is not None and not (out / NAME).exists() and all(p.isfinite().all() for p in state.model.parameters()):
            _try(save)
        raise
    except BaseException:
        save()  # Ctrl-C, or the caller has seen enough
        raise
    save()


@contextmanager
def _undivided():
    """Ctrl-C waits until the end of it: between the weights and their average it would leave a step half done."""
    # Ctrl-C comes to the main thread alone; a handler that is not Python's could not be put back
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is None:
        yield
        return
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if pressed:
            signal.raise_signal(signal.SIGINT)


def _try(save) -> None:
    """A checkpoint that cannot be written now does not end the run: the one before stays, and the next may succeed."""
    try:
        save()
    except OSError as error:
        warnings.warn(f"the checkpoint was not written ({error}); the one before stays, and training goes on. Make "
                      "room before it ends", stacklevel=3)


@contextmanager
def _deterministic():
    """cuDNN would choose among algorithms by their speed of the moment, and some of them add up in any order."""
    cudnn = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark = before


def _gradient(data: Data, state: State) -> tuple[float, Terms]:
    """The next step's loss; its clipped gradient is left with the parameters. Changes nothing else."""
    options, device, step = state.options, next(state.model.parameters()).device, state.step
    random = torch.Generator(device).manual_seed(key(state.seed, step)[0])  # it takes 32 bits of a seed
    some = data.subset(state.indices().numpy())
    x0, label = some.tensor().to(device), torch.from_numpy(some.labels).long().to(device)
    if options.dequantise:
        x0 = dequantised(x0, torch.rand(x0.shape, generator=random, device=device))
    dropped = torch.rand(len(some), generator=random, device=device) < options.drop_label
    label = torch.where(dropped, len(data.classes), label)
    dtype = getattr(torch, options.precision)
    with _deterministic():
        with torch.autocast(device.type, dtype=dtype) if dtype != torch.float32 else nullcontext():
            terms: Terms = options.loss(state.model, x0, label, random)
        loss = terms.value.mean()
        value = float(loss.detach())
        if not math.isfinite(value):
            raise FloatingPointError(f"the loss is {value} at step {step + 1}; {KEPT}")
        state.adam.zero_grad(set_to_none=True)
        state.scaler.scale(loss).backward()
    state.scaler.unscale_(state.adam)
    norm = torch.nn.utils.clip_grad_norm_(state.model.parameters(), options.clip)
    if not state.scaler.is_enabled() and not math.isfinite(float(norm)):
        raise FloatingPointError(f"the gradient's norm is {float(norm)} at step {step + 1}, of a loss of {value:.4g}; "
                                 f"{KEPT}")
    return value, terms


def _update(state: State, rate: float, terms: Terms) -> None:
    for group in state.adam.param_groups:
        group["lr"] = rate
    state.scaler.step(state.adam)
    state.scaler.update()
    if state.scaler.is_enabled() and state.scaler.get_scale() < LEAST_SCALE:  # halved at every gradient not finite
        raise FloatingPointError(f"the gradient in float16 is not finite at step {state.step + 1}, however the loss is "
                                 f"scaled; {KEPT}")
    state.step += 1
    _average(state.average, state.model, state.step, state.options.averaging)
    if terms.level is not None and terms.error is not None:
        state.levels.add(terms.level, terms.error)


@torch.no_grad()
def _average(average: nn.Module, model: nn.Module, step: int, width: float) -> None:
    """Power-law average: weights proportional to t^gamma, so about the last `width` of the run counts.

    Karras et al. 2024, eq. 6: a <- beta a + (1 - beta) theta with beta = (1 - 1/t)^(gamma + 1).
    """
    beta = (1 - 1 / step) ** (1 / width)
    torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - beta)  # type: ignore[attr-defined]
