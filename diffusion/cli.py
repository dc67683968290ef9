"""The command line: `diffusion train | sample | evaluate | compare`."""

import os
import re
import shlex
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, NoReturn

import matplotlib.pyplot as plt
import numpy as np
import torch
import typer
from tqdm import tqdm

import diffusion as df
from diffusion import named
from diffusion.metrics.trained import trained
from diffusion.presets import PRESETS
from diffusion.presets import precision as fastest
from diffusion.training import NAME

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
ERRORS = (TypeError, ValueError, OSError, FloatingPointError, MemoryError, RuntimeError)
MINUTES = 20.0
MOST, MOST_POINTS = 4096, 10**6  # samples of one picture: ten thousand pixels high at most
DIGITS = (1, 28, 28)  # what the shipped extractor sees
PICTURES = (".png", ".pdf", ".svg", ".jpg")

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


@app.callback()
def main(context: typer.Context) -> None:
    """Train diffusion models, sample from them, measure what they make."""
    context.with_resource(_plain_warnings())


@app.command(no_args_is_help=True)
def train(data: Annotated[str, typer.Argument(metavar="DATA", help="mnist, fashion, moons, ..., a folder of pictures "
                                                                   "with a subfolder a class, a .zip or .tar of one, "
                                                                   "a .npz file.")],
          out: Annotated[Path | None, typer.Option(help="Folder for the checkpoint; by default runs/NAME.")] = None,
          minutes: Annotated[float | None, typer.Option(help="How long to train (20 if nothing is said).")] = None,
          images: Annotated[int | None, typer.Option(help="How many images to see instead.")] = None,
          steps: Annotated[int | None, typer.Option(help="How many steps to take instead.")] = None,
          preset: Annotated[str | None, typer.Option(help="cpu or gpu: network, batch, precision; by default the "
                                                          "device's. classifier: what `evaluate --extractor` takes.")
                            ] = None,
          only: Annotated[str | None, typer.Option("--class", help="Learn this class alone: its name or number.")
                          ] = None,
          folder: Folder = None, size: Size = None, channels: Channels = None, sha256: Sha256 = None,
          batch: Annotated[int | None, typer.Option(help="Images of a step, else the preset's.")] = None,
          loss: Annotated[str | None, typer.Option(help="edm, ddpm, v, min_snr or flow; edm if nothing is said.")
                          ] = None,
          precision: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16, else the preset's.")
                               ] = None,
          dequantise: Annotated[bool, typer.Option("--dequantise", help="Add the noise below a grey level, for "
                                                                        "likelihoods.")] = False,
          seed: Annotated[int | None, typer.Option(help="Of weights, batches and noise, 0 if nothing is said.")] = None,
          device: Device = None,
          snapshots: Annotated[bool, typer.Option(help="Draw the same samples as training goes on.")] = True,
          resume: Annotated[bool, typer.Option("--resume", help="Go on from --out's checkpoint, on the same DATA.")
                            ] = False) -> None:
    """Train a network to denoise DATA. Ctrl-C, or a kill, keeps what was learned; --resume goes on."""
    last: df.Record | None = None
    out = out or Path("runs", "-".join(filter(None, (_name(data), _file_name(only or "")))))
    told = {"folder": folder, "size": size, "channels": channels, "sha256": sha256}
    with _told():
        try:
            begins = {"preset": preset, "batch": batch, "loss": loss, "precision": precision, "seed": seed,
                      "dequantise": dequantise or None}
            _check_begin(out, resume, [name for name, value in begins.items() if value is not None])
            if minutes is None and steps is None and images is None and not resume:
                minutes = MINUTES
            where = _device(device)
            given = named.only(_data(data, "train", told), only)
            network, options = (None, None) if resume else _preset(where, given, **begins)
            records: Any = df.train(given, minutes=minutes, steps=steps, images=images, out=out, network=network,
                                    options=options, seed=seed or 0, resume=resume, device=where)
            with closing(records):  # wherever Ctrl-C came, what was learned is kept before it is said
                for record in _followed(records, out, snapshots, "samples" if len(given.shape) == 1 else "images"):
                    last = record
        except KeyboardInterrupt:
            known = last is not None and last.steps is not None  # and so kept with the checkpoint
            lengths = {} if known else {"minutes": minutes, "images": images, "steps": steps}
            _stopped(out, ["train", data, *_words({**told, "class": only, "out": out, "device": device, **lengths}),
                           *["--no-snapshots"] * (not snapshots)], _words(begins))
        if last is None:
            typer.echo(f"{out} has taken all of its steps already; --resume with more --steps, --images or --minutes, "
                       "counted from its beginning, goes on")
            return
        if last.levels is not None and last.levels.rows():
            typer.echo(f"error at each noise level, beside the closed-form Gaussian's of the data:\n{last.levels}")
        _write(df.plot.training(out)[0], out / "training.png")
    typer.echo(f"wrote {out / NAME}; " + (f"look at it with: diffusion sample {shlex.quote(str(out))}"
               if isinstance(last.model, df.Preconditioned) else "evaluate takes it as --extractor"))


@app.command()
def sample(model: Model = None,
           out: Annotated[Path, typer.Option(help="The picture to write, or a .npz file of the numbers.")
                          ] = Path("samples.png"),
           index: Annotated[str | None, typer.Option(help="Which samples of the seed: 0-63, or 7; by default eight of "
                                                          "each class.")] = None,
           label: Annotated[str | None, typer.Option(help="The class asked for, its name or number, else each in turn; "
                                                          "none for any.")] = None,
           steps: Steps = 12, method: Method = "heun", guidance: Guidance = None, seed: Seed = None,
           strip: Annotated[Path | None, typer.Option(help="Write how the first of them comes about, as a picture.")
                            ] = None,
           gif: Annotated[Path | None, typer.Option(help="Write how they come about, as a film.")] = None,
           device: Device = None) -> None:
    """Draw samples into one picture. Sample i of a seed is always the same picture."""
    with _told():
        span = None if index is None else named.span(index)
        for flag, path, kinds in (("--out", out, (*PICTURES, ".npz")), ("--strip", strip, PICTURES),
                                  ("--gif", gif, (".gif",))):
            _check_file(flag, path, kinds)
        net = _denoiser(model, device)
        classes, pictures = net.header.data["classes"], len(net.shape) == 3
        _check_drawable(net, out, strip or gif)
        first, last = span or (0, _default_count(net, label) - 1)
        count, most = last - first + 1, MOST if pictures else MOST_POINTS
        if count > most:
            raise ValueError(f"one picture holds at most {most} samples, and --index {index} asks for {count}; draw "
                             "them in parts, sample i of a seed being always the same")
        labels = _labels(label, classes, first, last)
        scale = _guidance(guidance, net) if labels is not None else guidance or 0.0
        result = df.sample(net, count, label=labels, method=named.method(method), guidance=scale, seed=seed,
                           first=first, grid=named.grid(method, steps), keep=bool(strip or gif))
        _keep(result, net, out, len(classes) if label is None and first == 0 else None)
        which = f"samples {first} to {last}" if count > 1 else f"sample {first}"
        nfe = torch.as_tensor(result.nfe, dtype=torch.float64).mean()
        typer.echo(f"wrote {out}: {which} of seed {result.info['seed']}, {nfe:g} network evaluations each, "
                   f"{result.seconds:.1f} s")
        if strip is not None:
            _write(df.plot.strip(result), strip)
            typer.echo(f"wrote {strip}")
        if gif is not None:
            typer.echo(f"wrote {df.film(result, gif)}")


@app.command()
def evaluate(model: Model = None, n: Annotated[int, typer.Option("-n", help="How many to draw.")] = 1000,
             data: Annotated[str | None, typer.Option(help="The training data, for the scores that need it; mnist's "
                                                           "statistics are shipped.")] = None,
             extractor: Annotated[Path | None, typer.Option(help="What sees the pictures: a checkpoint of train "
                                                                 "--preset classifier; by default the shipped one, of "
                                                                 "28 x 28 grey digits.")] = None,
             folder: Folder = None, size: Size = None, channels: Channels = None, sha256: Sha256 = None,
             steps: Steps = 12, method: Method = "heun", guidance: Guidance = None, seed: int = 0,
             json: Annotated[Path | None, typer.Option(help="Write the report here too.")] = None,
             device: Device = None) -> None:
    """Draw samples of each class and measure them: class accuracy, FID and more, each with interval and floor."""
    with _told():
        _check_file("--json", json, (".json",))
        net = _denoiser(model, device)
        _check_seen(net, extractor)
        see = None if extractor is None else trained(df.load(extractor, _device(device)))
        told = {"folder": folder, "size": size, "channels": channels, "sha256": sha256}
        if data is None and any(v is not None for v in told.values()):
            raise ValueError(f"{' '.join(_words(told))} says how to read the data; name them, with --data")
        real = None if data is None else named.alike(_data(data, "train", told), net.header)
        held = None if data is None else _held_out(data, told)
        held = None if held is None else named.alike(held, net.header)
        report = df.evaluate(net, n, data=real, held_out=held, extractor=see, method=named.method(method),
                             guidance=_guidance(guidance, net), seed=seed, grid=named.grid(method, steps))
        typer.echo(report)
        if json is not None:
            json.write_text(report.json())
            typer.echo(f"wrote {json}")


@app.command()
def compare(model: Model = None,
            methods: Annotated[str, typer.Option(help="Samplers, separated by commas.")] = "heun,dpmpp-2m,dpmpp-3m",
            nfe: Annotated[str, typer.Option(help="Network evaluations, separated by commas.")] = "9,17,33",
            n: Annotated[int, typer.Option("-n", help="Samples of each.")] = 64,
            guidance: Annotated[float, typer.Option(help="Scale of classifier-free guidance, 0 for none.")] = 0.0,
            seed: int = 0,
            out: Annotated[Path | None, typer.Option(help="Draw errors against evaluations into this picture.")] = None,
            device: Device = None) -> None:
    """Samplers side by side on the same noise: what each loses against the converged one, and how long it takes."""
    with _told():
        _check_file("--out", out, PICTURES)
        try:
            counts = [int(v) for v in nfe.split(",")]
        except ValueError:
            raise ValueError(f"--nfe is numbers separated by commas, such as 9,17,33; got {nfe!r}") from None
        chosen = [named.method(name.strip()) for name in methods.split(",")]
        net = _denoiser(model, device)
        found = df.compare(net, chosen, nfe=counts, n=n, label=torch.arange(max(n, 0)) % net.classes,
                           guidance=guidance, seed=seed)
        found = replace(found, info={**found.info, "denoiser": model or "the shipped digits"})
        typer.echo(found)
        if out is not None:
            _write(found.plot(), out)
            typer.echo(f"wrote {out}")


# Data and models


def _data(what: str, split: str, told: dict[str, Any]) -> Any:
    return df.data.load(what, split, **{k: v for k, v in told.items() if v is not None})


def _held_out(what: str, told: dict[str, Any]) -> Any:
    """The test split, where there is one."""
    try:
        return _data(what, "test", told)
    except ValueError as error:
        if "has no test split" not in str(error):
            raise
    return None


def _denoiser(model: Path | None, device: str | None) -> Any:
    net = df.load(model, _device(device))
    if not isinstance(net, df.Preconditioned):
        raise ValueError(f"{model} holds a {type(net).__name__}, which is no denoiser; give one that `diffusion train` "
                         "made with --preset cpu or gpu")
    return net


def _preset(device: str, data: Any, preset: str | None, loss: str | None, seed: int | None, **changed: Any
            ) -> tuple[Any, df.Options]:
    name = preset or ("gpu" if device.startswith("cuda") else "cpu")
    if name not in PRESETS:
        raise ValueError(f"--preset is one of {', '.join(PRESETS)}; got {name!r}")
    network, options = PRESETS[name](data.shape, len(data.classes))
    if loss is not None:
        known = loss.replace("-", "_")
        if known not in df.losses.LOSSES:
            raise ValueError(f"--loss is one of {', '.join(df.losses.LOSSES)}; got {loss!r}")
        if name == "classifier":
            raise ValueError("a classifier has its own loss; leave --loss out")
        changed["loss"] = df.losses.LOSSES[known]()
    if name != "classifier" and changed["precision"] is None:
        changed["precision"] = fastest(device)
    return network, replace(options, **{k: v for k, v in changed.items() if v is not None})


def _device(name: str | None) -> str:
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:  # an assertion where torch was built without CUDA
        raise ValueError(f"the device {name!r} cannot be used here ({error}); cpu always can") from None
    return name


def _check_begin(out: Path, resume: bool, given: list[str]) -> None:
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out is a folder, and {out} is a file; choose another")
    there = (out / NAME).exists()
    if there and not resume:
        raise ValueError(f"{out} already holds a checkpoint; add --resume to go on from it, or choose another --out")
    if resume and not there:
        raise ValueError(f"no checkpoint at {out} to resume from; leave --resume out to begin")
    if resume and given:
        raise ValueError("a resumed run keeps what it began with; leave out " + ", ".join(f"--{k}" for k in given))


def _name(data: str) -> str:
    """What a run on it is called: of a path the last part, without suffixes."""
    path = Path(data) if "://" in data else Path(data).resolve()
    return _file_name(path.name.split(".")[0]) or "data"


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.+-]+", "-", text)


# Training


def _followed(records: Any, out: Path, snapshots: bool, noun: str) -> Iterator[df.Record]:
    """The records, with a progress bar, and a picture of samples whenever some were taken."""
    first = next(records, None)
    if first is None:
        return
    begun, shots = first.step - 1, None
    going: Iterable[df.Record] = chain([first], records)
    if snapshots and isinstance(first.model, df.Preconditioned) and len(first.model.shape) == 3:
        shots = df.Snapshots(10, steps=10)
        going = shots.taken(going)
    picture, drawn, average = out / (f"snapshots-from-{begun}.png" if begun else "snapshots.png"), 0, first.loss
    often = 0.1 if sys.stderr.isatty() else 10.0  # seconds: a file gets few lines
    with tqdm(initial=begun, unit="step", mininterval=often, maxinterval=2 * often) as bar:
        for record in going:
            bar.total = record.steps
            average = 0.98 * average + 0.02 * record.loss
            bar.set_postfix_str(f"loss {average:.4f}, {record.rate:.0f} {noun}/s", refresh=False)
            bar.update(record.step - bar.n)
            yield record
            if shots is not None and len(shots.kept) > drawn:
                drawn = len(shots.kept)
                _write(df.plot.snapshots(shots), picture)


def _stopped(out: Path, words: list[str], begins: list[str]) -> NoReturn:
    """After Ctrl-C: the command that goes on."""
    kept = (out / NAME).exists()
    again = shlex.join(["diffusion", *words, *(["--resume"] if kept else begins)])
    typer.echo(f"stopped; go on with: {again}" if kept else
               f"stopped before the first step, and nothing was kept; begin again with: {again}", err=True)
    raise typer.Exit(130)


def _words(options: dict[str, Any]) -> list[str]:
    """As they are typed; a flag is True."""
    return [word for name, value in options.items() if value is not None
            for word in (f"--{name}", str(value))[:1 if value is True else 2]]


# Samples


def _default_count(net: Any, label: str | None) -> int:
    """Eight of each class, fewer of more than sixteen; points as many as make a picture."""
    if len(net.shape) != 3:
        return 2000
    return 64 if label is not None or net.classes == 1 else max(1, min(8, 128 // net.classes)) * net.classes


def _guidance(given: float | None, net: Any) -> float:
    """Of one class there is nothing to guide to, and guided points are not those of the data's law."""
    return given if given is not None else 0.5 if net.classes > 1 and len(net.shape) == 3 else 0.0


def _labels(label: str | None, classes: list[str], first: int, last: int) -> Any:
    """By a class's name, or its number; none for no class."""
    if label is None:
        return torch.arange(first, last + 1) % len(classes)
    return None if label == "none" and label not in classes else named.number("--label", label, classes, ", or none")


def _keep(result: df.Samples, net: Any, out: Path, columns: int | None) -> None:
    """The samples as a picture, or as arrays that `df.data.load` reads; a column for each class, if it may be."""
    x, classes = result.samples, net.header.data["classes"]
    if out.suffix == ".npz":
        labels = {} if result.label is None else {"labels": result.label.numpy(), "classes": np.array(classes)}
        if x.ndim == 4:
            _arrays(out, images=((x.clamp(-1, 1) + 1) * 127.5).round().byte().numpy(), **labels)
        else:
            _arrays(out, x=x.float().numpy(), **labels)
    elif x.ndim == 4:
        each = columns is not None and len(x) % columns == 0 and len(x) <= 64 * columns and columns > 1
        _write(df.plot.grid(x, columns if each else None), out)
    else:
        _write(df.plot.points(x, result.label, classes=classes), out)


# Files and messages


def _check_drawable(net: Any, out: Path, moments: Path | None) -> None:
    pictures = len(net.shape) == 3
    if moments is not None and not pictures:
        raise ValueError(f"--strip and --gif show pictures, and this model makes points of shape {net.shape}")
    if out.suffix != ".npz" and not pictures and net.shape != (2,):
        raise ValueError(f"samples of shape {net.shape} are not drawn; write the numbers, with --out samples.npz")


def _check_seen(net: Any, extractor: Path | None) -> None:
    if len(net.shape) != 3:
        raise ValueError(f"evaluate is for pictures, and this model makes points of shape {net.shape}; in Python "
                         "df.sliced_wasserstein and df.mmd compare them with the data")
    if extractor is None and net.shape != DIGITS:
        raise ValueError(f"the shipped extractor sees {DIGITS}, and this model makes {net.shape}; train one: diffusion "
                         "train DATA --preset classifier --out runs/classifier, and add --extractor runs/classifier")


def _check_file(flag: str, path: Path | None, kinds: tuple[str, ...]) -> None:
    """Before any work: whether a file of this name can be written."""
    if path is None:
        return
    if path.is_dir() or path.suffix not in kinds:
        raise ValueError(f"{flag} must be the name of a file ending in {' or '.join(kinds)}, got {str(path)!r}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"{flag}: the folder of {path} cannot be made ({error}); choose another place") from None
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise PermissionError(f"{flag} {path} cannot be written here; choose another place")


def _write(ax: Any, path: Path) -> None:
    try:
        ax.figure.savefig(path, dpi=120)
    except OSError as error:
        raise OSError(f"{path} cannot be written: {error}") from error
    finally:
        plt.close(ax.figure)


def _arrays(path: Path, **arrays: np.ndarray) -> None:
    np.savez_compressed(path, allow_pickle=False, **arrays)


@contextmanager
def _told() -> Iterator[None]:
    """What goes wrong is one line and the exit code 2; Ctrl-C is 130."""
    try:
        yield
    except typer.Exit:
        raise
    except KeyboardInterrupt:
        typer.echo("stopped", err=True)
        raise typer.Exit(130) from None
    except ERRORS as error:
        line = " ".join(str(error).split()) or type(error).__name__
        typer.echo(f"error: {line}", err=True)
        raise typer.Exit(2) from None


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """A warning is a line of its own, not a place in the source."""
    before = warnings.formatwarning
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    try:
        yield
    finally:
        warnings.formatwarning = before


if __name__ == "__main__":
    app()
