"""Networks, each defined by a frozen record: its `build(center, spread)` makes it, a checkpoint stores the record."""

from typing import Any, Protocol

from torch import Tensor, nn

from diffusion.networks.autoencoder import AutoencoderConfig, StepperConfig
from diffusion.networks.mlp import MLPConfig
from diffusion.networks.noise_aware import NoiseAwareConfig
from diffusion.networks.perceptron import PerceptronConfig
from diffusion.networks.unet import UNetConfig

__all__ = ["AutoencoderConfig", "MLPConfig", "Network", "NoiseAwareConfig", "PerceptronConfig", "StepperConfig",
           "UNetConfig", "default"]


class Network(Protocol):
    """What `train` and checkpoints ask of a configuration; decorate yours with `diffusion.records.recorded`."""

    def build(self, center: Tensor, spread: float) -> nn.Module:
        """The network for data of mean `center` and spread `spread`, its weights drawn by torch's generator."""
        ...

    def check(self, shape: tuple[int, ...], classes: int, name: str) -> None:
        """Raise ValueError where the data called `name`, of this shape and number of classes, do not fit."""
        ...


def default(shape: tuple[int, ...], classes: int) -> Any:
    """The network that `train` takes for data of this shape: a U-Net for square pictures, else a perceptron.

    >>> default((2,), 1)
    MLPConfig(shape=(2,), classes=1, width=256, blocks=3)
    """
    if len(shape) == 3:
        return UNetConfig.of(shape, classes)
    return MLPConfig(shape, classes)
