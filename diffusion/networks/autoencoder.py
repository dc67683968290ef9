"""The courses' autoencoders, on data in [0, 1]: y = (x + 1)/2 of pictures x in [-1, 1].

    autoencoder, denoising (Vincent et al. 2010)    |D(E(y + n z)) - y|^2 / d,   z ~ N(0, I), n = 0 for none
    five steps                                      |S(y_t, t/T) - y_(t-1)|^2 / d,   t uniform on 1, ..., T

E and D are linear, d-400-400 and 400-400-d, a sigmoid at the end of D. The steps' y_t = (1 - t/T) y + (t/T) w, w ~
N(1/2, 1/4), go from the picture to noise along a line, so that S = E[y_(t-1) | y_t] is a step of Euler's of the flow
that carries noise to pictures (Lipman et al. 2023).

A stacked autoencoder is trained layer by layer: each is a denoising autoencoder of the codes of the one before
(Vincent et al. 2010, section 3.5), which it sees in units of their spread, about their mean.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from diffusion.data import Data, Points
from diffusion.losses import Terms
from diffusion.options import Options
from diffusion.records import recorded

LOW, HIGH = -1.0, 1.0  # of pictures


@recorded
@dataclass(frozen=True)
class AutoencoderConfig:
    """An encoder through layers of `widths`, and a decoder back.

    pictures   the data are in [-1, 1], seen in [0, 1], and a sigmoid keeps them there; else they are seen about their
               mean, in units of their spread, and nothing bounds them
    """

    shape: tuple[int, ...] = (1, 28, 28)
    widths: tuple[int, ...] = (400, 400)
    pictures: bool = True

    def __post_init__(self):
        object.__setattr__(self, "shape", tuple(self.shape))
        object.__setattr__(self, "widths", tuple(self.widths))

    def build(self, center: Tensor, spread: float) -> "Autoencoder":
        """For data of this mean and spread."""
        return Autoencoder(self, center, spread)

    def check(self, shape: tuple[int, ...], classes: int, name: str) -> None:
        """Raise ValueError for data of another shape."""
        if self.shape != shape:
            raise ValueError(f"the autoencoder is for samples of shape {self.shape}, but {name} has {shape}")


class Autoencoder(nn.Module):
    """D(E(x)): x (batch, *shape), as the data are; returns the same shape.

    >>> net = Autoencoder(AutoencoderConfig(), torch.zeros(1, 28, 28), 0.6)
    >>> net.encode(torch.zeros(3, 1, 28, 28)).shape, net(torch.zeros(3, 1, 28, 28)).shape
    (torch.Size([3, 400]), torch.Size([3, 1, 28, 28]))
    """

    center: Tensor
    header: Any = None  # of the checkpoint that it was loaded from

    def __init__(self, config: AutoencoderConfig, center: Tensor, spread: float):
        super().__init__()
        self.config, self.spread = config, float(spread)
        self.register_buffer("center", center.detach().clone().float())
        sizes = [math.prod(config.shape), *config.widths]
        down, up = pairwise(sizes), pairwise(reversed(sizes))
        self.encoder = nn.Sequential(nn.Flatten(), *(nn.Linear(a, b) for a, b in down))
        end: list[nn.Module] = [nn.Sigmoid()] if config.pictures else []
        self.decoder = nn.Sequential(*(nn.Linear(a, b) for a, b in up), *end, nn.Unflatten(1, config.shape))

    def inside(self, x: Tensor) -> Tensor:
        """The data as the network sees them: y."""
        return _unit(x) if self.config.pictures else (x - self.center) / self.spread

    def outside(self, y: Tensor) -> Tensor:
        """Back again."""
        return _picture(y) if self.config.pictures else self.center + self.spread * y

    def encode(self, x: Tensor) -> Tensor:
        """The code, (batch, the last of the widths)."""
        return self.encoder(self.inside(x))

    def decode(self, code: Tensor) -> Tensor:
        """Data from a code."""
        return self.outside(self.decoder(code))

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))


def _unit(x: Tensor) -> Tensor:
    return (x - LOW) / (HIGH - LOW)


def _picture(y: Tensor) -> Tensor:
    return LOW + (HIGH - LOW) * y


@recorded
@dataclass(frozen=True)
class Reconstruction:
    """|D(E(y + noise z)) - y|^2 / d in the network's own units, where pictures are in [0, 1]; noise 0 for none."""

    noise: float = 0.5

    def __call__(self, model: Any, x0: Tensor, label: Tensor, random: torch.Generator) -> Terms:
        """Of an `Autoencoder`."""
        y = model.inside(x0)
        z = torch.randn(y.shape, generator=random, device=y.device)
        back = model.decoder(model.encoder(y + self.noise * z))
        return Terms((back.float() - y).square().flatten(1).mean(1))


class Stacked(nn.Module):
    """Autoencoders of one another's codes: x -> D_1(D_2(E_2(E_1(x))))."""

    layers: Any

    def __init__(self, layers: list[Autoencoder]):
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def encode(self, x: Tensor) -> Tensor:
        """The innermost code."""
        for layer in self.layers:
            x = layer.encode(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        code = self.encode(x)
        for layer in reversed(self.layers):
            code = layer.decode(code)
        return code


def stacked(data: Data, widths: tuple[int, ...] = (400, 400), *, steps: int, options: Options,
            seed: int = 0) -> Stacked:
    """Train a stacked autoencoder of pictures layer by layer, `steps` steps each; `options` hold the loss.

    A layer is trained on the codes of the pictures without noise, and adds its own. Raises as `df.train`.
    """
    from diffusion.training import train  # which imports the networks

    layers: list[Autoencoder] = []
    for width in widths:
        config = AutoencoderConfig(data.shape, (width,), pictures=not layers)
        *_, last = train(data, steps=steps, network=config, options=options, seed=seed)
        layer: Autoencoder = last.model
        layers.append(layer)
        with torch.no_grad():
            codes = torch.cat([layer.encode(part) for part in data.tensor().split(1000)]).numpy()
        data = Points(codes, data.labels, data.classes, f"codes of {data.name}")
    return Stacked(layers)


@recorded
@dataclass(frozen=True)
class StepperConfig:
    """S(y_t, t/T): the picture and the time in, (d + 1)-400-400-d, ReLUs between; `steps` is T."""

    shape: tuple[int, ...] = (1, 28, 28)
    widths: tuple[int, ...] = (400, 400)
    steps: int = 5

    def __post_init__(self):
        object.__setattr__(self, "shape", tuple(self.shape))
        object.__setattr__(self, "widths", tuple(self.widths))
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 1:
            raise ValueError(f"steps is how many lead from noise to a picture, at least 1; got {self.steps!r}")

    def build(self, center: Tensor, spread: float) -> "Stepper":
        """The network; neither mean nor spread of the data is made use of."""
        return Stepper(self)

    def check(self, shape: tuple[int, ...], classes: int, name: str) -> None:
        """Raise ValueError for data of another shape."""
        if self.shape != shape:
            raise ValueError(f"the denoiser is for samples of shape {self.shape}, but {name} has {shape}")


class Stepper(nn.Module):
    """S(x_t, t), (batch, *shape): x_t (batch, *shape) in [-1, 1] at t = 0, t a whole number or (batch,) of them.

    >>> net = Stepper(StepperConfig())
    >>> net(torch.zeros(3, 1, 28, 28), 5).shape, net.walk(torch.zeros(3, 1, 28, 28)).shape
    (torch.Size([3, 1, 28, 28]), torch.Size([6, 3, 1, 28, 28]))
    """

    header: Any = None  # of the checkpoint that it was loaded from

    def __init__(self, config: StepperConfig):
        super().__init__()
        self.config = config
        sizes = [math.prod(config.shape) + 1, *config.widths]
        hidden = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())]
        self.net = nn.Sequential(*hidden, nn.Linear(sizes[-1], sizes[0] - 1))

    def forward(self, x: Tensor, t) -> Tensor:
        time = torch.as_tensor(t, dtype=x.dtype, device=x.device).expand(len(x))[:, None] / self.config.steps
        return _picture(self.net(torch.cat([_unit(x).flatten(1), time], 1))).view(x.shape)

    def walk(self, noise: Tensor) -> Tensor:
        """x_T = noise, N(0, 1), x_(T-1), ..., x_0 as the steps lead, (T + 1, batch, *shape)."""
        x = [noise]
        for t in range(self.config.steps, 0, -1):
            x.append(self(x[-1], t))
        return torch.stack(x)


@recorded
@dataclass(frozen=True)
class NextState:
    """|S(y_t, t/T) - y_(t-1)|^2 / d in [0, 1]'s units, t uniform on 1, ..., T."""

    def __call__(self, model: Any, x0: Tensor, label: Tensor, random: torch.Generator) -> Terms:
        """Of a `Stepper`."""
        steps, batch = model.config.steps, len(x0)
        t = torch.randint(1, steps + 1, (batch,), generator=random, device=x0.device)
        noise = torch.randn(x0.shape, generator=random, device=x0.device)
        share = (t / steps).view(-1, *[1] * (x0.ndim - 1))
        now, before = (x0 + s * (noise - x0) for s in (share, share - 1 / steps))
        return Terms((_unit(model(now, t).float()) - _unit(before)).square().flatten(1).mean(1))
