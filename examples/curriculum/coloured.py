"""Row 43: any folder of pictures trains, is sampled and is graded, here one of eleven classes in colour."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from matplotlib.figure import Figure

import diffusion as df
from diffusion.losses import LogNormal
from diffusion.metrics.trained import trained
from diffusion.networks.noise_aware import NoiseAwareConfig, NoisyLabels
from diffusion.snapshots import Snapshots
from examples.curriculum.rows import Number, bare, claim, near, row
from examples.shapes import SHAPES, write

SIDE, EACH = 16, 300  # pixels, pictures of a class
JUDGE = NoiseAwareConfig(size=SIDE, channels=3, classes=len(SHAPES), widths=(16, 32))
NETWORK = df.UNetConfig(SIDE, 3, len(SHAPES), widths=(32, 64), embedding=64)
GRADED, STEPS = 20 * len(SHAPES), 800


def folders(place: Path) -> tuple[df.Images, df.Images]:
    """Pictures to learn from, and others of the same law."""
    for split, seed in (("train", 0), ("test", 1)):
        write(place / split, SIDE, EACH, seed, progress=False)
    return df.data.folder(place / "train"), df.data.folder(place / "test")


def judge(data: df.Images):
    """A classifier of them, trained here."""
    options = df.Options(batch=64, loss=NoisyLabels(LogNormal(-2.0, 1.5)), drop_label=0.0, learning_rate=4e-3)
    *_, record = df.train(data, steps=400, network=JUDGE, options=options, seed=43)
    return trained(record.model)


@row(43, "A folder of eleven coloured classes, graded by the inception score and the Frechet distance",
     size=(10.0, 4.6))
def coloured(figure: Figure) -> list[Number]:
    with TemporaryDirectory() as place:
        data, test = folders(Path(place))
    see = judge(data)
    shots = Snapshots(GRADED, first=100, seed=43, steps=12, method=df.dpmpp_3m)
    for _ in shots.taken(df.train(data, steps=STEPS, network=NETWORK, options=df.Options(batch=32), seed=43)):
        pass
    reports = [df.evaluate(shot.samples, data=data, held_out=test, extractor=see, progress=False)
               for shot in shots.kept]
    fid, score = ([r[name] for r in reports] for name in ("fid", "inception"))
    noise = df.evaluate(2 * torch.rand(GRADED, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(43)) - 1,
                        data=data, held_out=test, extractor=see, progress=False)
    asked = torch.arange(GRADED) % len(SHAPES)
    accuracy = float((see(shots.kept[-1].samples, progress=False).probabilities.argmax(1) == asked.numpy()).mean())
    left, right = figure.subplots(1, 2, width_ratios=[2, 3])
    left.loglog([shot.step for shot in shots.kept], [s.value for s in fid], "o-", label=f"{GRADED} samples")
    left.axhline(fid[0].floor.value, color="black", linestyle="--", linewidth=1, label=f"{GRADED} other pictures")
    bare(left, "", "steps of training", "FID").legend(frameon=False)
    n = len(SHAPES)
    df.plot.grid(torch.cat([shot.samples[:n] for shot in shots.kept] + [data.tensor()[np.arange(n) * EACH]]), n, right,
                 [f"{s.value:.0f}" for s in fid] + ["real"])
    right.set_title("FID, and what was drawn of each class", fontsize=10)
    return [
        near("classes of the folder", 11, len(data.classes), 0),
        claim("FID falls during training", ", ".join(f"{s.value:.1f}" for s in fid) + " after "
              + ", ".join(str(shot.step) for shot in shots.kept)
              + f" steps; of other pictures {fid[0].floor.value:.1f}, of noise {noise['fid'].value:.0f}",
              fid[-1].value < 0.8 * fid[0].value < 0.8 * noise["fid"].value),
        claim("the inception score is between 1 and 11, and rises", ", ".join(f"{s.value:.2f}" for s in score)
              + f"; of other pictures {score[0].floor.value:.2f}, of noise {noise['inception'].value:.2f}",
              1 <= score[0].value < score[-1].value <= n),
        claim("classes are drawn on request", f"{100 * accuracy:.0f}% read as asked, by chance 9%", accuracy > 0.3),
    ]
