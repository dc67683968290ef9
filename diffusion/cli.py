"""The command line: `diffusion train | sample | evaluate`."""

import re
from pathlib import Path
from typing import Annotated, NoReturn

import torch
import typer
from tqdm import tqdm

import diffusion as df
from sdekit.noise import MAX_PATHS

app = typer.Typer(help="Train diffusion models, sample from them, measure what they make.", no_args_is_help=True,
                  add_completion=False, pretty_exceptions_enable=False)
ERRORS = (TypeError, ValueError, OSError, FloatingPointError)

Model = Annotated[Path | None, typer.Argument(help="A training folder or checkpoint; without one, the shipped digits.")]
Steps = Annotated[int, typer.Option(help="Steps of the sampler.")]
Method = Annotated[str, typer.Option(help="The sampler, such as heun, dpmpp-3m or ddpm; a wrong name lists all.")]
Guidance = Annotated[float, typer.Option(help="Scale of classifier-free guidance, 0 for none.")]
Seed = Annotated[int | None, typer.Option(help="Seed, 0 to 2^64 - 1; drawn and printed if not given.")]
METHODS = {
    "euler": df.euler, "ddim": df.ddim(), "heun": df.heun, "dpmpp-2s": df.dpmpp_2s, "dpmpp-3s": df.dpmpp_3s,
    "dpmpp-2m": df.dpmpp_2m, "dpmpp-3m": df.dpmpp_3m, "deis-2": df.deis(2), "deis-3": df.deis(3),
    "unipc-2": df.unipc(2), "unipc-3": df.unipc(3), "flow-ode": df.flow_ode(), "ancestral": df.ancestral,
    "ddpm": df.ddpm, "sde-dpmpp-1": df.sde_dpmpp_1, "sde-dpmpp-2m": df.sde_dpmpp_2m, "churned": df.churned(),
    "predictor-corrector": df.predictor_corrector(), "reverse-sde": df.reverse_sde(),
}
ORDERS = {"deis": "deis-3", "unipc": "unipc-3"}  # the orders that these have where none is named
MOST = 4096  # samples of one picture: ten thousand pixels high at most


@app.command()
def train(data: Annotated[str, typer.Argument(help="mnist.")] = "mnist",
          out: Annotated[Path, typer.Option(help="Folder for the checkpoint.")] = Path("runs/mnist"),
          minutes: Annotated[float | None, typer.Option(help="How long to train (20 if nothing is said).")] = None,
          steps: Annotated[int | None, typer.Option(help="How many steps to train instead.")] = None,
          folder: Annotated[Path | None, typer.Option(help="Folder of the IDX files, else downloaded.")] = None,
          batch: int = 64, seed: int = 0,
          loss: Annotated[str, typer.Option(help="edm, or ddpm: algorithm 1 of Ho et al. 2020.")] = "edm",
          bfloat16: Annotated[bool, typer.Option("--bfloat16", help="Faster where the processor has it.")] = False,
          resume: Annotated[bool, typer.Option("--resume", help="Go on from --out's checkpoint.")] = False) -> None:
    """Train a U-Net to denoise; Ctrl-C keeps what was learned."""
    if data != "mnist":
        _fail(f"unknown data {data!r}; this version trains on: mnist")
    if out.joinpath("checkpoint.safetensors").exists() and not resume:
        _fail(f"{out} already holds a checkpoint; add --resume to go on from it, or choose another --out")
    if resume and not out.joinpath("checkpoint.safetensors").exists():
        _fail(f"no checkpoint at {out} to resume from; leave --resume out to begin")
    if minutes is None and steps is None and not resume:
        minutes = 20.0
    try:
        options = df.Options(batch=batch, loss=loss, precision="bfloat16" if bfloat16 else "float32")
        records = df.train(df.mnist("train", folder), minutes=minutes, steps=steps, out=out,
                           options=None if resume else options, seed=seed,
                           resume=resume)
        with tqdm(unit="step") as bar:
            average = None
            for record in records:
                bar.total = record.steps
                average = record.loss if average is None else 0.98 * average + 0.02 * record.loss
                bar.set_postfix_str(f"loss {average:.4f}, {record.rate:.0f} images/s", refresh=False)
                bar.update(record.step - bar.n)
    except KeyboardInterrupt:
        typer.echo(f"stopped; go on with: diffusion train {data} --out {out} --resume", err=True)
        raise typer.Exit(130) from None
    except ERRORS as error:
        _fail(error)
    typer.echo(f"wrote {out / 'checkpoint.safetensors'}; look at it with: diffusion sample {out} --out digits.png")


@app.command()
def sample(model: Model = None, out: Annotated[Path, typer.Option(help="The picture to write.")] = Path("digits.png"),
           index: Annotated[str, typer.Option(help="Which samples of the seed: 0-63, or 7.")] = "0-63",
           label: Annotated[int | None, typer.Option(help="The class asked for, else each in turn.")] = None,
           steps: Steps = 12, method: Method = "heun", guidance: Guidance = 0.5, seed: Seed = None) -> None:
    """Draw samples into one picture. Sample i of a seed is always the same picture."""
    first, last = _range(index)
    _check_picture(out)
    count = last - first + 1
    try:
        net = df.load(model)
        classes = net.classes
        labels = torch.arange(first, last + 1) % classes if label is None else label
        result = df.sample(net, count, label=labels, method=_method(method), guidance=guidance, seed=seed, first=first,
                           grid=_grid(method, steps))
    except ERRORS as error:
        _fail(error)
    columns = classes if label is None and first == 0 and count % classes == 0 and count <= 64 * classes else None
    _write(df.plot.grid(result.samples, columns), out)
    which = f"samples {first} to {last}" if count > 1 else f"sample {first}"
    typer.echo(f"wrote {out}: {which} of seed {result.info['seed']}, {result.nfe:g} network "
               f"evaluations each, {result.seconds:.1f} s")


@app.command()
def evaluate(model: Model = None, n: Annotated[int, typer.Option("-n", help="How many digits to draw.")] = 1000,
             steps: Steps = 12, method: Method = "heun", guidance: Guidance = 0.5, seed: int = 0) -> None:
    """Draw digits of each class and count how many the shipped classifier reads as asked."""
    try:
        typer.echo(df.evaluate(df.load(model), n, method=_method(method), guidance=guidance, seed=seed,
                               grid=_grid(method, steps)))
    except ERRORS as error:
        _fail(error)


def _method(name: str) -> df.Sampler:
    """By its name here or in Python: dpmpp-2m or dpmpp_2m."""
    dashed = name.replace("_", "-")
    known = ORDERS.get(dashed, dashed)
    if known not in METHODS:
        _fail(f"unknown method {name!r}; choose one of {', '.join(METHODS)}")
    return METHODS[known]


def _grid(method: str, steps: int) -> df.Grid:
    """ddpm walks down the 1000 times of Ho et al. 2020, all of them or `steps` + 1; the others have EDM's grid."""
    if method == "ddpm":
        return df.grid.linspace(df.Discrete(df.linear_betas()), min(steps, 999))
    return df.grid.edm(steps)


def _range(index: str) -> tuple[int, int]:
    found = re.fullmatch(r"([0-9]+)(?:-([0-9]+))?", index)
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
    if first > last:
        _fail(f"--index must be a number or a range such as 0-63, got {index!r}")
    if last >= MAX_PATHS:
        _fail(f"--index must be below 2^40, got {index!r}")
    if last - first >= MOST:
        _fail(f"one picture holds at most {MOST} samples, and --index {index} asks for {last - first + 1}; draw them "
              "in parts, sample i of a seed being always the same")
    return first, last


def _write(ax, path: Path) -> None:
    try:
        ax.figure.savefig(path, dpi=120)
    except OSError as error:
        _fail(f"{path} cannot be written: {error}")


def _check_picture(path: Path) -> None:
    """Before any work: a file name that matplotlib can write to."""
    if path.is_dir() or path.suffix not in (".png", ".pdf", ".svg", ".jpg"):
        _fail(f"--out must be a picture's file name ending in .png, .pdf, .svg or .jpg, got {str(path)!r}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        _fail(f"the folder of {path} cannot be made: {error}")


def _fail(error) -> NoReturn:
    typer.echo(f"error: {error}", err=True)
    raise typer.Exit(2)


if __name__ == "__main__":
    app()
