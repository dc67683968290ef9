"""How fast a network learns on this CPU, in each of four ways, and how many steps fit a time.

bfloat16 by autocast and channels-last memory each double one network's pace and halve another's; what is better is
measured, for each network.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import nn

TRIED = 4  # steps each way, of which the first is not counted


@dataclass(frozen=True)
class Way:
    """Arithmetic and memory of a network."""

    bfloat16: bool
    channels_last: bool

    def __str__(self) -> str:
        return f"{'bfloat16' if self.bfloat16 else 'float32'}{', channels last' if self.channels_last else ''}"

    def lay(self, net: nn.Module) -> None:
        """The network's weights in that memory."""
        if self.channels_last:
            net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def arithmetic(self) -> AbstractContextManager:
        """To enter anew for each step: weights that autocast keeps would outlive their change."""
        return torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16, cache_enabled=False)


WAYS = [Way(*both) for both in product((False, True), repeat=2)]


def steps_of(way: Way, training: Iterator[float]) -> Iterator[float]:
    """A training's losses, each step with that arithmetic."""
    while True:
        with way.arithmetic():
            loss = next(training, None)
        if loss is None:
            return
        yield loss


def quickest(start: Callable[[Way], Iterator[float]]) -> Way:
    """The way with the least median step; `start` begins a training to be thrown away."""
    medians = {way: float(np.median(seconds(start(way), count=TRIED))) for way in WAYS}
    for way, median in medians.items():
        print(f"{way}: {median:.3g} s a step", flush=True)
    return min(medians, key=lambda way: medians[way])


def seconds(training: Iterator[float], count: int = 10**9, limit: float = np.inf) -> np.ndarray:
    """Of the steps that a training takes, at most `count` or up to a time, without the first."""
    taken, start = [time.perf_counter()], time.perf_counter()
    for _ in training:
        taken.append(time.perf_counter())
        if len(taken) > count or (taken[-1] - start > limit and len(taken) > 2):
            break
    return np.diff(taken)[1:]
