"""The options that several commands share, and what they stand for: data, models, devices."""

from pathlib import Path
from typing import Annotated, Any

import torch
import typer

import diffusion as df
from diffusion.device import usable

Model = Annotated[Path | None, typer.Argument(help="A training folder or checkpoint; without one, the shipped digits.")]
Steps = Annotated[int, typer.Option(help="Steps of the sampler.")]
Method = Annotated[str, typer.Option(help="The sampler, such as heun, dpmpp-3m or ddpm; a wrong name lists all.")]
Guidance = Annotated[float | None, typer.Option(help="Scale of classifier-free guidance, 0 for none; by default 0.5 "
                                                     "for pictures of several classes.")]
Seed = Annotated[int | None, typer.Option(help="Seed, 0 to 2^64 - 1; drawn and printed if not given.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1; by default a GPU where there is one.")]
Folder = Annotated[Path | None, typer.Option(help="Folder of mnist's or fashion's IDX files, else downloaded.")]
Size = Annotated[int | None, typer.Option(help="Crop and resize the pictures of a folder to this side.")]
Channels = Annotated[int | None, typer.Option(help="Make the pictures of a folder grey (1) or coloured (3).")]
Sha256 = Annotated[str | None, typer.Option(help="Of an archive from the web.")]


def read(what: str, split: str, told: dict[str, Any]) -> Any:
    """The data, by name or path, with the options about them that were given."""
    return df.data.load(what, split, **{k: v for k, v in told.items() if v is not None})


def denoiser(model: Path | None, device: str | None) -> Any:
    """The model of a checkpoint, or the shipped one. Raises ValueError for a network that is no denoiser."""
    net = df.load(model, usable_device(device))
    if not isinstance(net, df.Preconditioned):
        raise ValueError(f"{model} holds a {type(net).__name__}, which is no denoiser; give one that `diffusion train` "
                         "made with --preset cpu or gpu")
    return net


def usable_device(name: str | None) -> str:
    """The device asked for, else a GPU, else the CPU. Raises ValueError for one that is not there."""
    return str(usable(name or ("cuda" if torch.cuda.is_available() else "cpu")))


def guidance_scale(given: float | None, net: Any) -> float:
    """Of one class there is nothing to guide to, and guided points are not those of the data's law."""
    return given if given is not None else 0.5 if net.classes > 1 and len(net.shape) == 3 else 0.0


def words(options: dict[str, Any]) -> list[str]:
    """As they are typed; a flag is True."""
    return [word for name, value in options.items() if value is not None
            for word in (f"--{name}", str(value))[:1 if value is True else 2]]
