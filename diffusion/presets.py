"""Network and options by name: `cpu`, twenty minutes of two cores; `gpu`, one accelerator; `classifier`, a judge.

Each is a function (shape, classes) -> (network, options), for data of samples of this shape in so many classes:

    network, options = df.presets.gpu(data.shape, len(data.classes))
    df.train(data, minutes=60, network=network, options=replace(options, loss=df.losses.v()))
"""

from dataclasses import replace
from typing import Any

import torch

from diffusion.losses import LogNormal
from diffusion.networks import default
from diffusion.networks.noise_aware import NoiseAwareConfig, NoisyLabels
from diffusion.networks.unet import UNetConfig
from diffusion.options import Options

SHAPES = "the shape of one sample is (channels, side, side) of pictures, (d,) of points"


def cpu(shape: tuple[int, ...], classes: int) -> tuple[Any, Options]:
    """Small network, small batches, many steps; in bfloat16 where the processor has matrix units for it (AMX).

    >>> network, options = cpu((1, 28, 28), 10)
    >>> network.widths, options.batch
    ((64, 128), 64)
    """
    shape = _checked(shape)
    return default(shape, classes), Options(precision=precision("cpu"))


def gpu(shape: tuple[int, ...], classes: int) -> tuple[Any, Options]:
    """Twice the width, two blocks at a size, attention at the lowest, batches of 512.

    >>> network, options = gpu((1, 28, 28), 10)
    >>> network.widths, network.attention, options.batch
    ((128, 256), True, 512)
    """
    shape = _checked(shape)
    network = default(shape, classes)
    if isinstance(network, UNetConfig):
        network = replace(network, widths=tuple(2 * width for width in network.widths), blocks=2, attention=True,
                          embedding=256)
    return network, Options(batch=512, learning_rate=1e-3, warm_up=500, precision=precision("cuda"))


def classifier(shape: tuple[int, ...], classes: int) -> tuple[Any, Options]:
    """A classifier of pictures, which scores of other pictures than digits need (`df.metrics.trained`).

    It learns log p(y | x) at small noise for the most part, so that its features do not hang on the last grey level;
    and in float32, being small. Raises ValueError for data that are no pictures, or of a single class.

    >>> network, options = classifier((3, 32, 32), 11)
    >>> network.size, network.classes, options.drop_label
    (32, 11, 0.0)
    """
    shape = _checked(shape)
    if len(shape) != 3:
        raise ValueError(f"the classifier is for pictures, (channels, height, width), and these samples have the shape "
                         f"{shape}")
    if classes < 2:
        raise ValueError("a classifier takes data of two classes or more, and these have one")
    network = NoiseAwareConfig(size=shape[-1], channels=shape[0], classes=classes)
    return network, Options(loss=NoisyLabels(LogNormal(-2.0, 1.5)), drop_label=0.0)


PRESETS = {"cpu": cpu, "gpu": gpu, "classifier": classifier}


def _checked(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape, if samples may have it."""
    if not isinstance(shape, tuple | list) or any(isinstance(s, bool) or not isinstance(s, int) for s in shape):
        raise TypeError(f"{SHAPES}, in whole numbers; got {shape!r}. It is the data's: data.shape")
    if not shape or min(shape) < 1:
        raise ValueError(f"{SHAPES}, each number 1 or more; got {shape!r}. It is the data's: data.shape")
    if len(shape) == 3 and shape[1] != shape[2]:
        raise ValueError(f"{SHAPES}; got {shape!r}, which is not square. Crop the pictures: data.load(folder, size=)")
    return tuple(shape)


def precision(device: str | torch.device) -> str:
    """The fastest arithmetic of a device that training bears: bfloat16 where there are units for it, else float32.

    float16, with a scaled loss, on a GPU that has none for bfloat16.
    """
    if torch.device(device).type == "cuda":
        return "bfloat16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "float16"
    told = getattr(torch.cpu, "get_capabilities", dict)()
    return "bfloat16" if told.get("amx_bf16") else "float32"
