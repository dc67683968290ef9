"""Digits that are drawn here, and a model of them in closed form.

Each figure in each of four fonts is turned, slanted, sized and moved a little, at random; of these 40 sets the means
and covariances are taken. The mixture of the 40 Gaussians is the model, and the ten digits are its classes.
"""

from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from torch import Tensor

import diffusion as df
import sdekit as sk
from diffusion.exact import GaussianMixture
from examples.curriculum.plane import ends

FONTS = ("DejaVuSans.ttf", "DejaVuSerif-BoldItalic.ttf", "STIXGeneralBolIta.ttf", "cmb10.ttf")
SIDE, FINE = 16, 64  # pixels of a picture, and those that it is drawn in
MOVES = np.array([0.07, 0.09, 0.05, 0.75, 0.75])  # deviations: of turning, slanting, sizing; of moving, in FINE pixels
COUNT = 30  # pictures of a set
GRAIN = 0.03  # noise that makes every covariance regular


@cache
def drawn(count: int, seed: int) -> Tensor:
    """Pictures (fonts, digits, count, 1, SIDE, SIDE) in [-1, 1]."""
    fonts = Path(matplotlib.get_data_path(), "fonts", "ttf")
    moves = sk.normals(seed, 0, len(FONTS) * 10, count, 5).reshape(len(FONTS), 10, count, 5) * MOVES
    pictures = np.empty((*moves.shape[:3], SIDE, SIDE))
    for name, of_font, into in zip(FONTS, moves, pictures):
        font = ImageFont.truetype(str(fonts / name), FINE)
        for digit in range(10):
            clean = Image.new("L", (FINE, FINE))
            ImageDraw.Draw(clean).text((FINE / 2, FINE / 2), str(digit), fill=255, font=font, anchor="mm")
            clean = clean.filter(ImageFilter.GaussianBlur(2.5))
            for k, move in enumerate(of_font[digit]):
                into[digit, k] = _moved(clean, *move)
    return torch.from_numpy(pictures / 127.5 - 1)[:, :, :, None]


def _moved(picture: Image.Image, turn: float, slant: float, size: float, right: float, down: float) -> np.ndarray:
    A = np.array([[1 + size, turn + slant], [-turn, 1 + size]])
    origin = FINE / 2 * (1 - A.sum(axis=1)) + (right, down)
    how = (*A[0], origin[0], *A[1], origin[1])
    moved = picture.transform((FINE, FINE), Image.Transform.AFFINE, how, Image.Resampling.BILINEAR)
    return np.asarray(moved.resize((SIDE, SIDE), Image.Resampling.BOX), float)


@cache
def training() -> tuple[Tensor, Tensor]:
    """What the model is made of: pictures (1200, 1, SIDE, SIDE) and their digits (1200,)."""
    pictures = drawn(COUNT, seed=1).flatten(0, 2)
    return pictures, torch.arange(len(pictures)) // COUNT % 10


@cache
def digits() -> GaussianMixture:
    """The model."""
    x = training()[0].reshape(-1, COUNT, SIDE**2)
    off = x - x.mean(1, keepdim=True)
    S = off.mT @ off / COUNT + GRAIN**2 * torch.eye(SIDE**2, dtype=torch.float64)
    return GaussianMixture(x.mean(1).reshape(-1, 1, SIDE, SIDE), S, labels=torch.arange(len(x)) % 10)


def pictures(model, n: int, label=None, **options) -> Tensor:
    """Samples of a model of digits, (n, 1, SIDE, SIDE), in 17 evaluations."""
    return ends(model, n, df.dpmpp_3m, 16, label=label, **options)


def read(x: Tensor) -> Tensor:
    """p(digit | picture), (n, 10), exactly by the model."""
    return digits().posterior(x, 1.0, 0.0)
