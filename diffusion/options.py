"""How a network is trained: the optimiser's numbers, the schedule of its learning rate."""

import math
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any

from diffusion.losses import edm
from diffusion.records import recorded

PRECISIONS = ("float32", "bfloat16", "float16")
WARM = 0.1  # share of a run after which the learning rate has grown


@recorded
@dataclass(frozen=True)
class Options:
    """How a network is trained.

    batch, learning_rate   Adam's, with betas (0.9, 0.99)
    loss         what is minimised: `diffusion.losses.edm()` and the others there, or one of your own
    drop_label   how often a picture's label is replaced by "none"
    warm_up      steps over which the learning rate grows, or the first tenth of a shorter run
    decay        over the last part of the run it falls to 0: a share of the run, in whatever unit its length was given
    clip         bound on the gradient's norm
    averaging    the share of the run that the average of the weights looks back on
    precision    of the network's arithmetic: "float32"; "bfloat16", faster where the processor has matrix units for it
                 (AMX, GPUs); "float16" with a scaled loss, on GPUs
    dequantise   add the noise that makes bytes continuous, as likelihoods in bits need (`diffusion.bytes`)
    """

    batch: int = 64
    learning_rate: float = 2e-3
    loss: Any = field(default_factory=edm)
    drop_label: float = 0.15
    warm_up: int = 200
    decay: float = 0.4
    clip: float = 1.0
    averaging: float = 0.05
    precision: str = "float32"
    dequantise: bool = False

    def __post_init__(self):
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}; got {self.precision!r}")
        if not callable(self.loss):
            raise TypeError(f"loss is a function of (model, x0, label, random), such as diffusion.losses.edm(); got "
                            f"{self.loss!r}")
        positive = ("batch", "learning_rate", "warm_up", "decay", "clip", "averaging")
        for name in (*positive, "drop_label"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Real):
                raise TypeError(f"{name} must be a number, got {value!r} ({type(value).__name__})")
            if name in positive and not 0 < float(value) < math.inf:
                raise ValueError(f"{name} must be positive, got {value!r}")
        for name in ("decay", "averaging"):
            if getattr(self, name) > 1:
                raise ValueError(f"{name} is a share of the run, at most 1; got {getattr(self, name)!r}")
        if not isinstance(self.batch, Integral):
            raise TypeError(f"batch is a whole number of samples, got {self.batch!r}")
        if not isinstance(self.dequantise, bool):
            raise TypeError(f"dequantise is True or False, got {self.dequantise!r}")
        if not 0 <= self.drop_label <= 1:
            raise ValueError(f"drop_label is a probability, got {self.drop_label!r}")

    def rate(self, step: int, done: float) -> float:
        """The learning rate at a step (from 0), `done` of the run being over: first up, at last down to 0."""
        up = max((step + 1) / self.warm_up, done / WARM)
        return self.learning_rate * min(1.0, up, max(0.0, (1 - done) / self.decay))
