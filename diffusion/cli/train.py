"""`diffusion train`: a progress bar, pictures as training goes on, and a word on how to go on after Ctrl-C."""

import re
import shlex
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from tqdm import tqdm

import diffusion as df
from diffusion.cli import named
from diffusion.cli.arguments import Channels, Device, Folder, Sha256, Size, read, usable_device, words
from diffusion.cli.terminal import end_as_interrupt, plain_errors, write
from diffusion.presets import PRESETS
from diffusion.presets import precision as fastest
from diffusion.training import NAME

MINUTES = 20.0


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
          loss: Annotated[str | None, typer.Option(help="edm, ddpm, v, min_snr, flow or likelihood; by default edm.")
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
    with plain_errors(), end_as_interrupt():
        try:
            begins = {"preset": preset, "batch": batch, "loss": loss, "precision": precision, "seed": seed,
                      "dequantise": dequantise or None}
            _check_begin(out, resume, [name for name, value in begins.items() if value is not None])
            if minutes is None and steps is None and images is None and not resume:
                minutes = MINUTES
            where = usable_device(device)
            given = named.only(read(data, "train", told), only)
            network, options = (None, None) if resume else _preset(where, given, **begins)
            noun = "samples" if len(given.shape) == 1 else "images"
            typer.echo(f"{given.name}: {len(given):,} {noun} of shape {tuple(given.shape)}, {len(given.classes)} "
                       f"class{'es' * (len(given.classes) > 1)}; on {where}, into {out}")
            records: Any = df.train(given, minutes=minutes, steps=steps, images=images, out=out, network=network,
                                    options=options, seed=seed, resume=resume, device=where)
            with closing(records):  # wherever Ctrl-C came, what was learned is kept before it is said
                for record in _followed(records, out, snapshots, noun):
                    last = record
        except KeyboardInterrupt:
            known = last is not None and last.steps is not None  # and so kept with the checkpoint
            lengths = {} if known else {"minutes": minutes, "images": images, "steps": steps}
            _stopped(out, ["train", data, *words({**told, "class": only, "out": out, "device": device, **lengths}),
                           *["--no-snapshots"] * (not snapshots)], words(begins))
        if last is None:
            typer.echo(f"{out} has taken all of its steps already; --resume with more --steps, --images or --minutes, "
                       "counted from its beginning, goes on")
            return
        if last.levels is not None and last.levels.rows():
            typer.echo(f"error at each noise level, beside the closed-form Gaussian's of the data:\n{last.levels}")
        write(df.plot.training(out)[0], out / "training.png")
    typer.echo(f"wrote {out / NAME}; " + (f"look at it with: diffusion sample {shlex.quote(str(out))}"
               if isinstance(last.model, df.Preconditioned) else "evaluate takes it as --extractor"))


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


def _followed(records: Any, out: Path, snapshots: bool, noun: str) -> Iterator[df.Record]:
    """The records, with a progress bar, and a picture of samples whenever some were taken."""
    first = next(records, None)
    if first is None:
        return
    begun, shots = first.step - 1, None
    going: Iterable[df.Record] = chain([first], records)
    if snapshots and isinstance(first.model, df.Preconditioned) and len(first.model.shape) == 3:
        classes = first.model.classes
        shots = df.Snapshots(12 // classes * classes or 12, steps=10)
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
                write(df.plot.snapshots(shots), picture)


def _stopped(out: Path, words: list[str], begins: list[str]) -> NoReturn:
    """After Ctrl-C: the command that goes on."""
    kept = (out / NAME).exists()
    again = shlex.join(["diffusion", *words, *(["--resume"] if kept else begins)])
    typer.echo(f"stopped; go on with: {again}" if kept else
               f"stopped before the first step, and nothing was kept; begin again with: {again}", err=True)
    raise typer.Exit(130)
