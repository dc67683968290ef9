"""What the tests of `diffusion` share: a denoiser with classes in closed form, small networks, drawn digits."""

from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
import torch

import diffusion as df
from diffusion.denoiser import column
from diffusion.networks.unet import UNet

matplotlib.use("Agg")

TINY = df.UNetConfig(size=8, channels=1, classes=3, widths=(8, 16), components=0, attention=True, embedding=16)
SMALL = df.MLPConfig((2,), classes=2, width=16, blocks=1)


class Classes:
    """The denoiser of data N(means[label], std^2), the last mean standing for "none": label number `classes`."""

    def __init__(self, means, std):
        self.means, self.std = torch.as_tensor(means, dtype=torch.float64), std
        self.center, self.spread, self.classes, self.shape = float(self.means[-1]), std, len(means) - 1, None
        self.batches = []

    def __call__(self, x, alpha, sigma, condition=None):
        self.batches.append(len(x))
        label = torch.tensor(self.classes) if condition is None else torch.as_tensor(condition)
        m = self.means[label].to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))
        a, s = column(alpha, x), column(sigma, x)
        return m + a * self.std**2 / (a**2 * self.std**2 + s**2) * (x - a * m)


class Net(torch.nn.Module):
    """Any function of (u, c, label) as a network."""

    def __init__(self, function, classes=3):
        super().__init__()
        self.function, self.config = function, SimpleNamespace(classes=classes)

    def forward(self, u, c, label):
        return self.function(u, c, label)


def shaken(config=TINY, seed=0):
    """A U-Net with no weight at zero."""
    net = UNet(config)
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(0.3 * torch.randn(p.shape, generator=random) / max(1, p[0].numel()) ** 0.5)
    return net


@pytest.fixture(scope="session")
def shipped():
    """The shipped digits' denoiser."""
    return df.load()


@pytest.fixture(scope="session")
def tiny():
    """Blobs of three classes on 8 x 8 pixels, by the place of their centre: 120 `Images`."""
    random = np.random.default_rng(0)
    labels = np.arange(120) % 3
    at = np.stack([np.array([2.0, 4.0, 5.5])[labels], np.array([2.0, 5.5, 2.0])[labels]], axis=1)
    at = at + random.normal(0, 0.4, at.shape)
    y, x = np.mgrid[:8, :8]
    distance = (y - at[:, :1, None]) ** 2 + (x - at[:, 1:, None]) ** 2
    return df.Images((255 * np.exp(-distance / 3)).astype(np.uint8), labels, ("a", "b", "c"), "blobs")


def clouds():
    """90 points of the plane about two centres, by class."""
    random, labels = np.random.default_rng(2), np.arange(90) % 2
    x = np.array([[-1.0, 0.5], [1.5, 0.0]])[labels] + 0.3 * random.normal(size=(90, 2))
    return df.data.Points(x.astype(np.float32), labels, ("left", "right"), "two clouds")


@pytest.fixture(scope="session")
def points():
    """`clouds`."""
    return clouds()


@pytest.fixture(scope="session")
def digits():
    """400 digits of 28 x 28 pixels, set in a font, moved and turned."""
    from pathlib import Path

    from PIL import Image, ImageDraw, ImageFont

    random = np.random.default_rng(1)
    fonts = Path(matplotlib.get_data_path(), "fonts", "ttf")
    faces = [ImageFont.truetype(str(fonts / name), size) for name in ("DejaVuSans.ttf", "DejaVuSerif.ttf")
             for size in (18, 20, 22)]
    labels, pictures = np.arange(400) % 10, []
    for label in labels:
        picture = Image.new("L", (28, 28))
        at = tuple(14 + random.uniform(-2, 2, 2))
        ImageDraw.Draw(picture).text(at, str(label), fill=255, font=faces[random.integers(6)], anchor="mm")
        pictures.append(np.asarray(picture.rotate(random.uniform(-15, 15), Image.Resampling.BILINEAR)))
    return df.Images(np.stack(pictures), labels, tuple("0123456789"), "drawn digits")


@pytest.fixture(autouse=True)
def _figures_are_closed():
    yield
    import matplotlib.pyplot as plt
    plt.close("all")
