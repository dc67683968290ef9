"""`diffusion sample`: into one picture, a strip, a film, or a file of numbers."""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

import diffusion as df
from diffusion.cli import named
from diffusion.cli.arguments import Device, Guidance, Method, Model, Seed, Steps, denoiser, guidance_scale
from diffusion.cli.terminal import PICTURES, check_file, plain_errors, write

MOST, MOST_POINTS = 4096, 10**6  # samples of one picture: ten thousand pixels high at most


def sample(model: Model = None,
           out: Annotated[Path, typer.Option(help="The picture to write, or a .npz file of the numbers.")
                          ] = Path("samples.png"),
           index: Annotated[str | None, typer.Option(help="Which samples of the seed: 0-63, or 7; by default eight of "
                                                          "each class.")] = None,
           label: Annotated[str | None, typer.Option(help="The class asked for, its name or number, else each in turn; "
                                                          "none for any.")] = None,
           steps: Steps = 14, method: Method = "dpmpp-3m", guidance: Guidance = None, seed: Seed = None,
           strip: Annotated[Path | None, typer.Option(help="Write how the first of them comes about, as a picture.")
                            ] = None,
           gif: Annotated[Path | None, typer.Option(help="Write how they come about, as a film.")] = None,
           device: Device = None) -> None:
    """Draw samples into one picture. Sample i of a seed is always the same picture."""
    with plain_errors():
        span = None if index is None else named.span(index)
        for flag, path, kinds in (("--out", out, (*PICTURES, ".npz")), ("--strip", strip, PICTURES),
                                  ("--gif", gif, (".gif",))):
            check_file(flag, path, kinds)
        net = denoiser(model, device)
        classes, pictures = net.header.data["classes"], len(net.shape) == 3
        _check_drawable(net, out, strip or gif)
        first, last = span or (0, _default_count(net, label) - 1)
        count, most = last - first + 1, MOST if pictures else MOST_POINTS
        if count > most:
            raise ValueError(f"one picture holds at most {most} samples, and --index {index} asks for {count}; draw "
                             "them in parts, sample i of a seed being always the same")
        labels = _labels(label, classes, first, last)
        scale = guidance_scale(guidance, net) if labels is not None else guidance or 0.0
        result = df.sample(net, count, label=labels, method=named.method(method), guidance=scale, seed=seed,
                           first=first, grid=named.grid(method, steps), keep=bool(strip or gif))
        _keep(result, net, out, len(classes) if label is None and first == 0 else None)
        which = f"samples {first} to {last}" if count > 1 else f"sample {first}"
        nfe = torch.as_tensor(result.nfe, dtype=torch.float64).mean()
        typer.echo(f"wrote {out}: {which} of seed {result.info['seed']}, {nfe:g} network evaluations each "
                   f"({method}, {steps} steps, guidance {scale:g}), {result.seconds:.1f} s")
        if strip is not None:
            write(df.plot.strip(result), strip)
            typer.echo(f"wrote {strip}")
        if gif is not None:
            typer.echo(f"wrote {df.film(result, gif)}")


def _default_count(net: Any, label: str | None) -> int:
    """Eight of each class, fewer of more than sixteen; points as many as make a picture."""
    if len(net.shape) != 3:
        return 2000
    return 64 if label is not None or net.classes == 1 else max(1, min(8, 128 // net.classes)) * net.classes


def _labels(label: str | None, classes: list[str], first: int, last: int) -> Any:
    """By a class's name, or its number; none for no class."""
    if label is None:
        return torch.arange(first, last + 1) % len(classes)
    return None if label == "none" and label not in classes else named.number("--label", label, classes, ", or none")


def _keep(result: df.Samples, net: Any, out: Path, columns: int | None) -> None:
    """The samples as a picture, or as arrays that `df.data.load` reads; a column for each class, if it may be."""
    x, classes = result.samples, net.header.data["classes"]
    if out.suffix == ".npz":
        labels = {}
        if result.label is not None:  # data have no class without a sample
            drawn, numbers = result.label.unique(return_inverse=True)
            labels = {"labels": numbers.numpy(), "classes": np.array([classes[k] for k in drawn.tolist()])}
        if x.ndim == 4:
            _arrays(out, images=((x.clamp(-1, 1) + 1) * 127.5).round().byte().numpy(), **labels)
        else:
            _arrays(out, x=x.float().numpy(), **labels)
    elif x.ndim == 4:
        each = columns is not None and len(x) % columns == 0 and len(x) <= 64 * columns and columns > 1
        write(df.plot.grid(x, columns if each else None), out)
    else:
        write(df.plot.points(x, result.label, classes=classes), out)


def _check_drawable(net: Any, out: Path, moments: Path | None) -> None:
    pictures = len(net.shape) == 3
    if moments is not None and not pictures:
        raise ValueError(f"--strip and --gif show pictures, and this model makes points of shape {net.shape}")
    if out.suffix != ".npz" and not pictures and net.shape != (2,):
        raise ValueError(f"samples of shape {net.shape} are not drawn; write the numbers, with --out samples.npz")


def _arrays(path: Path, **arrays: np.ndarray) -> None:
    np.savez_compressed(path, allow_pickle=False, **arrays)
