"""A classifier that `train` made, as an extractor: what scores of your own pictures are taken with.

    network, options = df.presets.classifier(data.shape, len(data.classes))
    for _ in df.train(data, minutes=5, out="runs/judge", network=network, options=options): ...
    report = df.evaluate(model, 1000, data=data, extractor=df.metrics.trained(df.load("runs/judge")))

The features are those of its last hidden layer, before the nonlinearity: none can be dead. Each picture's are divided
by their root mean square, so that KID's kernel (x.y / d + 1)^3 is at most 8:

    u = z sqrt(d) / |z|,   z (d,);   0 where z = 0
"""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from diffusion.metrics.extractor import Extractor, extractor
from diffusion.networks.noise_aware import NoiseAware
from diffusion.networks.perceptron import Perceptron

LEVEL = 0.02  # where samplers end: what a noise-aware classifier is told of the pictures' noise


class Judge(nn.Module):
    """log p(y | x) of a classifier net(x, *level), and on the way, as the output of `unit`, u of its layer's z."""

    def __init__(self, net: nn.Module, layer: str, *level: float):
        super().__init__()
        self.net, self.layer, self.level, self.unit = net, layer, level, Unit()

    def forward(self, x: Tensor) -> Tensor:
        kept: list[Any] = []
        with self.net.get_submodule(self.layer).register_forward_hook(lambda _module, _inputs, z: kept.append(z)):
            log = self.net(x, *self.level)
        self.unit(kept[0])
        return log

    def extra_repr(self) -> str:  # which the digest is of, too
        return f"layer={self.layer!r}, level={self.level}"


class Unit(nn.Module):
    """u = z sqrt(d) / |z|, (batch, d)."""

    def forward(self, z: Tensor) -> Tensor:
        z = z.flatten(1)
        return z.shape[1] ** 0.5 * F.normalize(z, dim=1)


def trained(model: Any) -> Extractor:
    """The extractor that a trained `NoiseAware` or `Perceptron` is, with the classes of the data it was trained on.

    Raises TypeError for another network: `df.metrics.extractor` makes an extractor of any.

    >>> import torch
    >>> from types import SimpleNamespace
    >>> from diffusion.networks.noise_aware import NoiseAwareConfig
    >>> net = NoiseAwareConfig(size=8, classes=2).build(torch.zeros(1, 8, 8), 0.5)
    >>> net.header = SimpleNamespace(data={"name": "pets", "shape": [1, 8, 8], "classes": ["cat", "dog"]})
    >>> trained(net).dim, trained(net).classes
    (96, ('cat', 'dog'))
    """
    if not isinstance(model, NoiseAware | Perceptron):
        raise TypeError(f"an extractor is a classifier that was trained as df.presets.classifier says, got a "
                        f"{type(model).__name__}; of any other module df.metrics.extractor(module, layer, ...) makes "
                        "one")
    if model.header is None:
        raise ValueError("the classifier does not say what it was trained on; take it from df.load(path)")
    about = model.header.data
    if isinstance(model, NoiseAware):
        module = Judge(model, "features", 1.0, LEVEL)
    else:
        module = Judge(model, f"net.{max(len(model.net) - 3, 0)}")
    return extractor(module, "unit", name=f"{about['name']} classifier", shape=about["shape"], classes=about["classes"])
