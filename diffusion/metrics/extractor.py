"""What sees the pictures: an extractor, x (n, channels, height, width) -> features z (n, d), and maybe p(class | x).

A score of features is a statement about the extractor as much as about the pictures: it is known by its name and by a
digest of its weights, and what two extractors saw is not compared. Values beyond [-1, 1] are clipped first, as a
picture clips them that is shown or written to a file.
"""

from __future__ import annotations

import copy
import hashlib
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from diffusion.data import Images
from diffusion.metrics.statistics import Statistics
from diffusion.networks.classifier import SHA256, Classifier, classifier

Seen = Callable[[Tensor], tuple[Tensor, Tensor | None]]
BYTES = 8.0  # a largest value above this, and none below 0: bytes, not [-1, 1]
ALMOST = 0.01


@dataclass(frozen=True, eq=False)
class Features:
    """What an extractor saw in n images.

    values          z, (n, d), float32
    probabilities   p(class | x), (n, classes), float64, or None
    extractor       its name and digest
    data            the name of the images
    """

    values: np.ndarray
    probabilities: np.ndarray | None
    extractor: str
    data: str

    def __len__(self) -> int:
        return len(self.values)

    @property
    def told(self) -> str:
        """The reference's name in scores."""
        return f"{self.data or 'unnamed'}, {len(self):,}"

    def subset(self, index: np.ndarray) -> Features:
        """Those at the indices."""
        p = self.probabilities
        return Features(self.values[index], None if p is None else p[index], self.extractor, self.data)

    def statistics(self, source: str = "") -> Statistics:
        """Their mean and covariance, in float64."""
        return Statistics.of(self.values, self.extractor, self.data, source)


def check_features(*sets: Any) -> None:
    """Raise TypeError for what is not `Features`."""
    for each in sets:
        if not isinstance(each, Features):
            raise TypeError("scores are of `Features`, which an extractor makes of images, such as "
                            f"df.metrics.digits()(images); got {type(each).__name__}")


@dataclass(frozen=True, eq=False)
class Extractor:
    """A frozen function of images; call it for their `Features`.

    name       its own
    dim        d, how many features
    digest     of its weights
    function   x (batch, channels, height, width) in [-1, 1] -> (z (batch, d), p (batch, classes) or None)
    shape      of one image, None for any
    classes    what the classes of p are called, () without p
    device     where the function takes its images
    """

    name: str
    dim: int
    digest: str
    function: Seen = field(repr=False)
    shape: tuple[int, ...] | None = None
    classes: tuple[str, ...] = ()
    device: str | torch.device = "cpu"

    def __str__(self) -> str:
        return f"{self.name} {self.digest[:12]}"

    def __call__(self, images: Images | Tensor | np.ndarray, data: str = "", batch: int = 500,
                 progress: bool | None = None) -> Features:
        """Features of n images, a batch at a time.

        images     `Images`, or floating-point (n, channels, height, width) in [-1, 1]
        data       their name, by default that of `Images`
        progress   a bar, for more than 2 s if nothing is said

        Raises TypeError or ValueError for what is not that, values that are not finite, bytes, or another shape than
        the extractor's; warns of images that seem to be in [0, 1].
        """
        _check(images, self)
        parts, n = [], len(images)
        with torch.inference_mode(), tqdm(total=n, unit="image", delay=2.0, leave=False,
                                          disable=None if progress is None else not progress) as bar:
            for start in range(0, n, batch):
                x = pictures(images, slice(start, start + batch)).to(self.device).clamp(-1, 1)
                z, p = self.function(x)
                self._fits(z, len(x))
                parts.append((z.float().cpu().numpy(), None if p is None else p.double().cpu().numpy()))
                bar.update(len(x))
        name = images.name if isinstance(images, Images) and not data else data
        every = [np.concatenate(part) if part[0] is not None else None for part in zip(*parts)]
        assert every[0] is not None
        return Features(every[0], every[1], str(self), name)

    def _fits(self, z: Tensor, n: int) -> None:
        if tuple(z.shape) != (n, self.dim):
            raise ValueError(f"the extractor {self.name} gave features of shape {tuple(z.shape)} for {n} images; they "
                             f"must be ({n}, {self.dim})")
        if not z.isfinite().all():
            raise ValueError(f"the extractor {self.name} gave features that are not finite")


def pictures(images: Images | Tensor | np.ndarray, which: slice | np.ndarray) -> Tensor:
    """Some of them as float32 (n, channels, height, width) in [-1, 1]."""
    if isinstance(images, Images):
        return images.subset(np.arange(len(images))[which]).tensor()
    return torch.as_tensor(images[which]).float()


@cache
def digits(device: str = "cpu") -> Extractor:
    """The shipped classifier as an extractor of 28 x 28 grey digits: 96 features, ten probabilities.

    >>> digits().dim, digits().classes[:3]
    (96, ('0', '1', '2'))
    >>> digits()(torch.zeros(5, 1, 28, 28) - 1).values.shape
    (5, 96)
    """
    net = classifier(device)

    def seen(x: Tensor) -> tuple[Tensor, Tensor]:
        z = net.features(x)
        return z, net.logits(z).double().softmax(1)

    return Extractor("digits", Classifier.dim, SHA256, seen, (1, 28, 28), tuple("0123456789"), device)


def pixels(shape: Sequence[int]) -> Extractor:
    """The image itself, flattened: distances |x - y| in units of [-1, 1], (n, d)."""
    return Extractor("pixels", math.prod(shape), "itself", lambda x: (x.flatten(1), None), tuple(shape))


def extractor(module: nn.Module, layer: str | None = None, *, name: str, shape: Sequence[int],
              prepare: Callable[[Tensor], Tensor] | None = None, classes: Sequence[str] = ()) -> Extractor:
    """Any torch module as an extractor: of a copy, in eval mode, so that training it further changes nothing.

    layer     the submodule whose output, flattened, are the features: "avgpool", "body.3"; without, the module's own
    name      of the extractor; what `prepare` does belongs into it, since the digest is of layer, structure and weights
    shape     of the images, (channels, height, width)
    prepare   x in [-1, 1] -> what the module takes: size, range, channels
    classes   if the module's own output are logits, what its classes are called

    Raises ValueError for a layer that is not there, or has no output.

    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.Tanh(), nn.Linear(5, 2))
    >>> mine = extractor(net, "2", name="mine", shape=(3, 2, 2), classes=("cat", "dog"))
    >>> seen = mine(torch.rand(4, 3, 2, 2) - 0.5)
    >>> mine.dim, seen.values.shape, seen.probabilities.shape
    (5, (4, 5), (4, 2))
    """
    net = copy.deepcopy(module).eval().requires_grad_(False)
    layers = dict(net.named_modules())
    if layer is not None and layer not in layers:
        raise ValueError(f"{type(net).__name__} has no layer {layer!r}; it has {', '.join(filter(None, layers))}")
    device = next((p.device for p in net.parameters()), torch.device("cpu"))
    kept: list[Tensor] = []
    if layer is not None:  # a copy, for the next layer may write into it
        layers[layer].register_forward_hook(lambda _module, _inputs, output: kept.append(output.clone()))

    def seen(x: Tensor) -> tuple[Tensor, Tensor | None]:
        kept.clear()
        out = net(x if prepare is None else prepare(x))
        if layer is not None and not kept:
            raise ValueError(f"the layer {layer!r} of {name} was not run, and has no features to give")
        z = kept[-1] if layer is not None else out
        return z.flatten(1), out.double().softmax(1) if classes else None

    with torch.inference_mode():
        dim = seen(torch.zeros(1, *shape, device=device))[0].shape[1]
    return Extractor(name, dim, _digest(net, layer), seen, tuple(shape), tuple(classes), device)


def _digest(net: nn.Module, layer: str | None) -> str:
    """SHA-256 of structure, layer, and the bytes of each weight with its name."""
    found = hashlib.sha256(f"{net!r} {layer}".encode())
    for key, value in sorted(net.state_dict().items()):
        found.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
        found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def _check(images, extractor: Extractor) -> None:
    """Whether these are images that the extractor takes."""
    if isinstance(images, Images):
        found = images.shape
    elif not isinstance(images, Tensor | np.ndarray):
        raise TypeError(f"images are `Images` or (n, channels, height, width) in [-1, 1], got {images!r}")
    else:
        images = torch.as_tensor(images)
        if not images.is_floating_point():
            raise TypeError(f"images must be floating-point in [-1, 1] (x / 127.5 - 1 of bytes x), or `Images` of "
                            f"bytes; got {images.dtype}")
        found = tuple(images.shape[1:])
    if not len(images) or len(found) != 3 or extractor.shape not in (None, found):
        takes = "any size" if extractor.shape is None else f"{extractor.shape}"
        raise ValueError(f"the extractor {extractor.name} takes images (n, channels, height, width) of {takes}, got "
                         f"{(len(images), *found)}. Other images need an extractor of their own: "
                         "df.metrics.extractor(module, layer, name=, shape=, prepare=)")
    if not isinstance(images, Images):
        _check_range(images)


def _check_range(images: Tensor) -> None:
    low, high = (float(v) for v in images.aminmax())
    if not (math.isfinite(low) and math.isfinite(high)):
        bad = (~images.isfinite().flatten(1).all(1)).nonzero().flatten().tolist()
        raise ValueError(f"images must be finite, but image {bad[0]} is not ({len(bad)} of {len(images)} are not)")
    if low > -ALMOST and high > BYTES:
        raise ValueError(f"these images go from {low:g} to {high:g}, which looks like bytes; make it x / 127.5 - 1 in "
                         "[-1, 1]")
    if low > -ALMOST and 0.5 < high < 1 + ALMOST:
        warnings.warn(f"these images go from {low:g} to {high:g}, which looks like [0, 1]; scores are of images in "
                      "[-1, 1], so make it 2 x - 1 if they are", RuntimeWarning, stacklevel=4)
