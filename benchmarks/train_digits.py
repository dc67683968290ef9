"""Train the digits model that ships inside: half as wide again as the default, and for longer.

    python benchmarks/train_digits.py --out runs/digits             # again, with --resume, after a stop
    diffusion evaluate runs/digits -n 10000 --guidance 0.3
    python benchmarks/train_digits.py --out runs/digits --ship      # writes diffusion/weights/digits.safetensors

It needs MNIST (fetched, or in the folder named by SDEKIT_MNIST). What is shipped is the averaged weights alone, the
large tensors in half precision, which evaluates to the same scores and is half as large.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from tqdm import tqdm

import diffusion as df
from diffusion import checkpoint
from diffusion.presets import precision

LARGE = 10_000  # numbers in a tensor that is shipped in half precision


def ship(out: Path, path: Path) -> None:
    """The averaged weights of a training folder into the file that `load()` reads."""
    header, tensors = checkpoint.read(out, prefix="model.")
    kept = ("step", "steps", "images", "n", "seconds", "seed", "options")
    header = replace(header, training={k: header.training[k] for k in kept})
    checkpoint.save(path, header, {k: v.half() if v.numel() > LARGE and v.is_floating_point() else v
                                   for k, v in tensors.items()})
    print(f"wrote {path}, {path.stat().st_size / 1e6:.1f} MB")


def main() -> None:
    """Train, or ship."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/digits"))
    parser.add_argument("--steps", type=int, default=12_000, help="of 64 images")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--ship", action="store_true", help="write what was trained into the package")
    arguments = parser.parse_args()
    if arguments.ship:
        ship(arguments.out, checkpoint.SHIPPED)
        return
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    chosen = {} if arguments.resume else {"network": df.UNetConfig(widths=(96, 192)),
                                          "options": df.Options(precision=precision("cpu"))}
    data = df.mnist("train")
    with tqdm(total=arguments.steps, unit="step", mininterval=10) as bar:
        for record in df.train(data, steps=arguments.steps, out=arguments.out, resume=arguments.resume, **chosen):
            bar.update(record.step - bar.n)
    print(f"{record.step:,} steps, {record.seconds / 60:.0f} min")


if __name__ == "__main__":
    main()
