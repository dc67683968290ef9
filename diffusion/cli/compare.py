"""`diffusion compare`: samplers side by side on the same noise."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer

import diffusion as df
from diffusion.cli import named
from diffusion.cli.arguments import Device, Model, denoiser
from diffusion.cli.terminal import PICTURES, check_file, plain_errors, write


def compare(model: Model = None,
            methods: Annotated[str, typer.Option(help="Samplers, separated by commas.")] = "heun,dpmpp-2m,dpmpp-3m",
            nfe: Annotated[str, typer.Option(help="Network evaluations, separated by commas.")] = "9,17,33",
            n: Annotated[int, typer.Option("-n", help="Samples of each.")] = 64,
            guidance: Annotated[float, typer.Option(help="Scale of classifier-free guidance, 0 for none.")] = 0.0,
            seed: int = 0,
            out: Annotated[Path | None, typer.Option(help="Draw errors against evaluations into this picture.")] = None,
            device: Device = None) -> None:
    """Samplers side by side on the same noise: what each loses against the converged one, and how long it takes."""
    with plain_errors():
        check_file("--out", out, PICTURES)
        try:
            counts = [int(v) for v in nfe.split(",")]
        except ValueError:
            raise ValueError(f"--nfe is numbers separated by commas, such as 9,17,33; got {nfe!r}") from None
        chosen = [named.method(name.strip()) for name in methods.split(",")]
        net = denoiser(model, device)
        found = df.compare(net, chosen, nfe=counts, n=n, label=torch.arange(max(n, 0)) % net.classes,
                           guidance=guidance, seed=seed)
        found = replace(found, info={**found.info, "denoiser": model or "the shipped digits"})
        typer.echo(found)
        if out is not None:
            write(found.plot(), out)
            typer.echo(f"wrote {out}")
