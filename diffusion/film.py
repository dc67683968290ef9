"""A run of sampling as a film: an animated GIF, a frame for each moment."""

from collections.abc import Iterable, Sequence
from math import ceil
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from diffusion.moments import moments, visible
from diffusion.mosaic import mosaic
from diffusion.sampling import Samples, Step

PAUSE = 1500  # milliseconds on the last frame
BAR = 18  # pixels of the file above each half, for what it is called
FONT = ImageFont.load_default()


def film(run: Samples | Iterable[Step], path: str | Path, *, columns: int | None = None, seconds: float = 4.0,
         size: int = 2) -> Path:
    """Write the states of a run, each above what the denoiser makes of it, to an animated GIF.

    run       `Samples` drawn with keep=True, or `df.steps(...)`; of pictures
    columns   pictures to a row; by default a column for each class where the labels of `Samples` take turns, else all
              in one row up to ten, and more about square
    seconds   how long it runs; then the last frame stands for a moment, and it begins again
    size      pixels of the file for one of the picture

    The states x = alpha x_0 + sigma eps are shown over sqrt(alpha^2 + sigma^2), the estimates of x_0 as they are; each
    half has its name above it, the states their step, counted from 1, and noise level sigma/alpha. Returns the path.
    Raises ValueError for a run without moments, or samples that are no pictures, and for a path that does not end in
    .gif; OSError where it cannot be written.

    >>> import tempfile
    >>> from diffusion.exact import Gaussian
    >>> from diffusion.sampling import steps
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     made = film(steps(Gaussian(0.0, 0.5), 3, shape=(1, 4, 4), steps=6, seed=0), Path(folder, "a.gif"))
    ...     Image.open(made).n_frames
    7
    """
    path = Path(path)
    if path.suffix.lower() != ".gif":
        raise ValueError(f"a film is a .gif, got {str(path)!r}")
    if not seconds > 0 or isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ValueError(f"a film takes some seconds, and whole pixels; got seconds={seconds!r}, size={size!r}")
    found = moments(run)
    across = _columns(run, len(found[0].x)) if columns is None else columns
    names = [(f"state x, step {m.n + 1}, sigma/alpha {m.level.noise:.3g}", "estimate of x_0") for m in found]
    least = ceil(max(FONT.getlength(name) for pair in names for name in pair)) + size
    frames = [_frame([mosaic(x, across) for x in (visible(m), m.x0)], pair, size, least)
              for m, pair in zip(found, names)]
    times = [max(20, round(1000 * seconds / len(frames)))] * len(frames)
    times[-1] += PAUSE
    path.parent.mkdir(parents=True, exist_ok=True)
    # one palette for all frames, and every frame whole: pillow would drop those that are like the one before
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=times, loop=0, optimize=False)
    return path


def _columns(run: Samples | Iterable[Step], n: int) -> int | None:
    label = run.label if isinstance(run, Samples) else None
    if label is not None:
        classes = len(label.unique())
        if 1 < classes < n and n % classes == 0 and label.equal(label[:classes].repeat(n // classes)):
            return classes
    return n if n <= 10 else None


def _frame(halves: Sequence[np.ndarray], names: Sequence[str], size: int, least: int) -> Image.Image:
    """Each half under its name, at least so many pixels wide."""
    pictures = [_image(half, size) for half in halves]
    width, height = pictures[0].size
    whole = Image.new(pictures[0].mode, (max(width, least), 2 * (BAR + height)), "white")
    for top, picture, name in zip((0, BAR + height), pictures, names):
        ImageDraw.Draw(whole).text((size, top + 4), name, "black", FONT)
        whole.paste(picture, (0, top + BAR))
    return whole


def _image(numbers: np.ndarray, size: int) -> Image.Image:
    whole = (255 * torch.from_numpy(numbers)).round().to(torch.uint8).numpy()
    whole = whole.repeat(size, 0).repeat(size, 1)
    return Image.fromarray(whole[:, :, 0] if whole.shape[2] == 1 else whole)
