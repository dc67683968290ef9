"""What other libraries make of MNIST in the same minutes on the same cores: train, sample, grade.

    make .venv-peers-mnist/ready
    .venv-peers-mnist/bin/python benchmarks/mnist_peers.py train diffusers --minutes 20
    .venv-peers-mnist/bin/python benchmarks/mnist_peers.py sample diffusers --n 10000 --calls 20
    .venv/bin/python benchmarks/mnist_peers.py grade runs/peers/diffusers/samples.npz

The peers: `diffusers`, `diffusers-course` (benchmarks/peers/mnist_diffusers.py) and `smalldiffusion`
(benchmarks/peers/mnist_smalldiffusion.py), each with its own published recipe; --batch takes another batch than the
recipe's. They get every doubt. What is counted as minutes are the steps alone, wall time: not the imports, not reading
MNIST into memory, not the search for the quickest of float32, bfloat16 and memory layouts, not the 30 s of a training
thrown away that tell how many steps fit, so that schedules end with the time. Samples are drawn in float32 from the
averaged weights, 500 at a time; a run that was stopped goes on where it was. MNIST's files are in SDEKIT_MNIST.
"""

import argparse
import gzip
import json
import os
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("TQDM_DISABLE", "1")  # smalldiffusion's loop counts epochs, of which there is one

import numpy as np
import torch
from peers.pace import Way, quickest, seconds, steps_of
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

RUNS = Path(__file__).parent.parent / "runs" / "peers"
PEERS = ("diffusers", "diffusers-course", "smalldiffusion")
PACE = 30.0  # seconds that tell how many steps fit
NEWS = 30.0  # seconds between lines
CHUNK = 500  # samples that are drawn at once; their noise is keyed by (seed, the chunk's first)


def peer(name: str):
    """A network with its training and its sampler: batch, net, train(batches, steps), sample(labels, calls, random)."""
    import peers.torchvision_operators  # noqa: F401

    if name == "smalldiffusion":
        from peers.mnist_smalldiffusion import SmallDiffusion

        return SmallDiffusion()
    from peers.mnist_diffusers import COURSE, SCRIPT, Diffusers

    return Diffusers(SCRIPT if name == "diffusers" else COURSE)


# --- train

def train(asked: argparse.Namespace) -> None:
    """Train a peer for the minutes, save its averaged weights and what they cost."""
    x, labels = training_set()

    def begin(way: Way, steps: int = 10**9):
        torch.manual_seed(asked.seed)
        learner = peer(asked.peer)
        way.lay(learner.net)
        batch = asked.batch or learner.batch
        data = batches(x, labels, batch, steps, asked.seed)
        return learner, batch, steps_of(way, learner.train(data, steps))

    way = quickest(lambda way: begin(way)[2])
    pace = float(seconds(begin(way)[2], limit=PACE).mean()) if asked.steps is None else 0.0
    steps = asked.steps or max(1, int(60 * asked.minutes / pace))
    learner, batch, training = begin(way, steps)
    size = sum(weight.numel() for weight in learner.net.parameters())
    print(f"{asked.peer}: {size:,} parameters, {way}, {steps:,} steps of {batch} images", flush=True)
    start = told = time.perf_counter()
    losses = []
    for loss in training:
        losses.append(loss)
        if (now := time.perf_counter()) - told > NEWS or len(losses) == steps:
            told, done, spent = now, len(losses), now - start
            print(f"step {done:,}/{steps:,}  loss {np.mean(losses[-100:]):.4f}  {done * batch / spent:.1f} images/s  "
                  f"{spent / 60:.1f} min, {spent * (steps / done - 1) / 60:.1f} to go", flush=True)
    minutes = (time.perf_counter() - start) / 60
    facts = {"peer": asked.peer, "parameters": size, "batch": batch, "steps": steps, "minutes": round(minutes, 2),
             "images_per_second": round(steps * batch / minutes / 60, 1), "way": str(way), "seed": asked.seed,
             "threads": torch.get_num_threads(), "loss": round(float(np.mean(losses[-100:])), 5),
             "versions": {name: version(name) for name in ("torch", asked.peer.partition("-")[0])}}
    folder = asked.out or RUNS / asked.peer
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.contiguous() for name, value in learner.net.state_dict().items()}
    save_file(state, folder / "averaged.safetensors", metadata={"facts": json.dumps(facts)})
    print(f"{folder / 'averaged.safetensors'}: {json.dumps(facts)}")


def batches(x: Tensor, labels: Tensor, size: int, steps: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """That many batches; every image once before any is seen again, but for what is left over of an epoch."""
    if not 1 <= size <= len(x):
        raise SystemExit(f"a batch of {size} images; take 1 to {len(x)}, as many as there are")
    random = torch.Generator().manual_seed(seed)
    taken = 0
    while taken < steps:
        for index in torch.randperm(len(x), generator=random).split(size)[:min(len(x) // size, steps - taken)]:
            taken += 1
            yield x[index], labels[index]


def training_set() -> tuple[Tensor, Tensor]:
    """x, float32 in [-1, 1], (60000, 1, 28, 28), and labels, (60000,)."""
    images = idx("train-images-idx3-ubyte", 16).reshape(-1, 1, 28, 28)
    return torch.from_numpy(images.astype(np.float32) / 127.5 - 1), torch.from_numpy(idx("train-labels-idx1-ubyte", 8))


def idx(name: str, header: int) -> np.ndarray:
    """The bytes of an IDX file of MNIST, gzipped or not, behind its header; labels as int64."""
    folder = Path(os.environ.get("SDEKIT_MNIST", ""))
    packed = folder / f"{name}.gz"
    content = gzip.decompress(packed.read_bytes()) if packed.is_file() else (folder / name).read_bytes()
    values = np.frombuffer(content, np.uint8, offset=header)
    return values.astype(np.int64) if header == 8 else values


# --- sample

def sample(asked: argparse.Namespace) -> None:
    """Draw digits, the classes in turn, and save them after every chunk."""
    folder = asked.model or RUNS / asked.peer
    out = asked.out or folder / "samples.npz"
    weights = folder / "averaged.safetensors"
    with safe_open(weights, "pt") as file:
        facts = json.loads(file.metadata()["facts"])
    if facts["peer"] != asked.peer:
        raise SystemExit(f"{weights} was trained as {facts['peer']}, not as {asked.peer}; give --model its folder")
    learner = peer(asked.peer)
    learner.net.load_state_dict(load_file(weights))
    facts |= {"n": asked.n, "calls": asked.calls, "sample_seed": asked.seed}
    images, spent = earlier(out, facts)
    labels = torch.arange(asked.n) % 10
    for first in range(len(images), asked.n, CHUNK):
        start = time.perf_counter()
        random = torch.Generator().manual_seed(asked.seed * 2**32 + first)
        x = learner.sample(labels[first:first + CHUNK], asked.calls, random)
        drawn = (x.clamp(-1, 1) + 1).mul(127.5).round().to(torch.uint8)[:, 0].numpy()
        images, spent = np.concatenate([images, drawn]), spent + time.perf_counter() - start
        save(out, images=images, labels=labels[:len(images)].numpy(), facts=json.dumps(facts), seconds=spent)
        left = spent * (asked.n / len(images) - 1)
        print(f"{len(images):,}/{asked.n:,}  {spent:.0f} s, {left:.0f} s to go", flush=True)
    print(out)


def earlier(path: Path, facts: dict) -> tuple[np.ndarray, float]:
    """The samples that an earlier run left, and its seconds; none where it was asked for something else."""
    if path.is_file():
        with np.load(path) as found:
            if json.loads(str(found["facts"])) == facts:
                return found["images"], float(found["seconds"])
    return np.zeros((0, 28, 28), np.uint8), 0.0


def save(path: Path, **arrays) -> None:
    """All or nothing: the file that is there stays until the new one is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.savez_compressed(file, **arrays)
    part.replace(path)


# --- grade

def grade(asked: argparse.Namespace) -> None:
    """A row for each file of samples; it takes this project's own environment."""
    from peers.mnist_grade import COLUMNS, row

    print("| " + " | ".join(COLUMNS) + " |\n|" + " --- |" * len(COLUMNS))
    for path in asked.samples:
        print(row(path), flush=True)


def main() -> None:
    """One of the three."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    training = commands.add_parser("train")
    training.add_argument("peer", choices=PEERS)
    training.add_argument("--minutes", type=float, default=20.0)
    training.add_argument("--steps", type=int, help="instead of minutes")
    training.add_argument("--batch", type=int, help="the recipe's, unless given")
    training.add_argument("--out", type=Path, help="a folder")
    training.set_defaults(run=train)
    sampling = commands.add_parser("sample")
    sampling.add_argument("peer", choices=PEERS)
    sampling.add_argument("--n", type=int, default=10_000)
    sampling.add_argument("--calls", type=int, default=20)
    sampling.add_argument("--model", type=Path, help="the folder of the training")
    sampling.add_argument("--out", type=Path, help="an .npz file")
    sampling.set_defaults(run=sample)
    for command in (training, sampling):
        command.add_argument("--seed", type=int, default=0)
        command.add_argument("--threads", type=int, default=2)
    grading = commands.add_parser("grade")
    grading.add_argument("samples", type=Path, nargs="+")
    grading.set_defaults(run=grade, threads=2)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    asked.run(asked)


if __name__ == "__main__":
    main()
