"""A row of the table of peers for one file of samples: how many are read as the class asked for, and FID.

FID is that of the shipped classifier's features against the 60,000 training images; in units of H, it is divided by
the FID of as many real images that nobody trained on, for 10,000 samples MNIST's whole test set.
"""

import json
from pathlib import Path

import numpy as np
import torch

from diffusion.metrics.accuracy import DIGITS, judged
from diffusion.metrics.extractor import digits
from diffusion.metrics.frechet import fid
from diffusion.metrics.statistics import shipped

COLUMNS = ["peer", "parameters", "batch", "steps", "minutes", "trained in", "n", "calls", "seconds to sample",
           "class accuracy", "FID", "FID / H"]


def row(path: Path) -> str:
    """The row of an .npz file of images (n, 28, 28), labels, facts, seconds."""
    with np.load(path) as file:
        images, labels, seconds = file["images"], file["labels"], float(file["seconds"])
        facts = json.loads(str(file["facts"]))
    seen = digits()(torch.from_numpy(images[:, None].astype(np.float32) / 127.5 - 1))
    assert seen.probabilities is not None
    read = judged(labels, seen.probabilities.argmax(1), DIGITS)
    distance, floor = fid(seen, shipped()), shipped().floor("fid", len(images))
    low, high = read.interval
    cells = [facts["peer"], f"{facts['parameters']:,}", facts["batch"], f"{facts['steps']:,}", facts["minutes"],
             facts["way"], f"{len(images):,}", facts["calls"], f"{seconds:.0f}",
             f"{100 * read.accuracy:.2f}% ({100 * low:.2f} to {100 * high:.2f})",
             f"{distance.value:.2f} ({distance.low:.2f} to {distance.high:.2f})",
             f"{distance.over(floor).floors:.2f}" if floor else "-"]
    return "| " + " | ".join(map(str, cells)) + " |"
