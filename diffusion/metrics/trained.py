"""A classifier that `train` made, as an extractor: what scores of your own pictures are taken with.

    network, options = df.presets.classifier(data.shape, len(data.classes))
    for _ in df.train(data, minutes=5, out="runs/judge", network=network, options=options): ...
    report = df.evaluate(model, 1000, data=data, extractor=df.metrics.trained(df.load("runs/judge")))

The features are those of its last hidden layer, before the nonlinearity: none can be dead.
"""

from typing import Any

from torch import Tensor, nn

from diffusion.metrics.extractor import Extractor, extractor
from diffusion.networks.noise_aware import NoiseAware
from diffusion.networks.perceptron import Perceptron

LEVEL = 0.02  # where samplers end: what a noise-aware classifier is told of the pictures' noise


class Noiseless(nn.Module):
    """log p(y | x) of a noise-aware classifier, x as good as without noise."""

    def __init__(self, net: NoiseAware):
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x, 1.0, LEVEL)


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
        module, layer = Noiseless(model), "net.features"
    else:
        module, layer = model, f"net.{max(len(model.net) - 3, 0)}"
    return extractor(module, layer, name=f"{about['name']} classifier", shape=about["shape"], classes=about["classes"])
