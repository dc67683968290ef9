"""`diffusion evaluate`: samples of each class, measured."""

from pathlib import Path
from typing import Annotated, Any

import typer

import diffusion as df
from diffusion.cli import named
from diffusion.cli.arguments import (
    Channels,
    Device,
    Folder,
    Guidance,
    Method,
    Model,
    Sha256,
    Size,
    Steps,
    denoiser,
    guidance_scale,
    read,
    usable_device,
    words,
)
from diffusion.cli.terminal import check_file, plain_errors
from diffusion.metrics.trained import trained

DIGITS = (1, 28, 28)  # what the shipped extractor sees


def evaluate(model: Model = None, n: Annotated[int, typer.Option("-n", help="How many to draw.")] = 1000,
             data: Annotated[str | None, typer.Option(help="The training data, for the scores that need it; mnist's "
                                                           "statistics are shipped.")] = None,
             extractor: Annotated[Path | None, typer.Option(help="What sees the pictures: a checkpoint of train "
                                                                 "--preset classifier; by default the shipped one, of "
                                                                 "28 x 28 grey digits.")] = None,
             folder: Folder = None, size: Size = None, channels: Channels = None, sha256: Sha256 = None,
             steps: Steps = 14, method: Method = "dpmpp-3m", guidance: Guidance = None, seed: int = 0,
             json: Annotated[Path | None, typer.Option(help="Write the report here too.")] = None,
             device: Device = None) -> None:
    """Draw samples of each class and measure them: class accuracy, FID and more, each with interval and floor."""
    with plain_errors():
        check_file("--json", json, (".json",))
        net = denoiser(model, device)
        _check_seen(net, extractor)
        see = None if extractor is None else trained(df.load(extractor, usable_device(device)))
        told = {"folder": folder, "size": size, "channels": channels, "sha256": sha256}
        if data is None and any(v is not None for v in told.values()):
            raise ValueError(f"{' '.join(words(told))} says how to read the data; name them, with --data")
        real = None if data is None else named.alike(read(data, "train", told), net.header)
        held = None if data is None else _held_out(data, told)
        held = None if held is None else named.alike(held, net.header)
        report = df.evaluate(net, n, data=real, held_out=held, extractor=see, method=named.method(method),
                             guidance=guidance_scale(guidance, net), seed=seed, grid=named.grid(method, steps))
        typer.echo(report)
        if json is not None:
            json.write_text(report.json())
            typer.echo(f"wrote {json}")


def _held_out(what: str, told: dict[str, Any]) -> Any:
    """The test split, where there is one."""
    try:
        return read(what, "test", told)
    except ValueError as error:
        if "has no test split" not in str(error):
            raise
    return None


def _check_seen(net: Any, extractor: Path | None) -> None:
    if len(net.shape) != 3:
        raise ValueError(f"evaluate is for pictures, and this model makes points of shape {net.shape}; in Python "
                         "df.sliced_wasserstein and df.mmd compare them with the data")
    if extractor is None and net.shape != DIGITS:
        raise ValueError(f"the shipped extractor sees {DIGITS}, and this model makes {net.shape}; train one: diffusion "
                         "train DATA --preset classifier --out runs/classifier, and add --extractor runs/classifier")
