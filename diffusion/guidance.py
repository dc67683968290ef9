"""Guidance: denoiser -> denoiser, so that it composes with every sampler and with itself.

One scale w, 0 for none. With the guide's gradient d = (sigma^2 / alpha) grad_x log p(y | x), D + d is the denoiser of
the score grad log p(x) + grad log p(y | x).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from diffusion.denoiser import Denoiser, check_labels, column
from diffusion.process import levels, real


@dataclass(frozen=True)
class Derived:
    """A denoiser made of another: `make(base)` is the function, all else (shape, center, spread, classes) is base's but
    for what `attributes` says.

    Kept apart so that `sample` can count what the innermost denoiser is asked for.
    """

    base: Any
    make: Callable[[Any], Callable[..., Tensor]]
    name: str = "derived"
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, x: Tensor, alpha, sigma, condition: Any = None) -> Tensor:
        return self.make(self.base)(x, alpha, sigma, condition)

    @property
    def shape(self):
        """As `Denoiser` says."""
        return self._told("shape")

    @property
    def center(self):
        """As `Denoiser` says."""
        return self._told("center")

    @property
    def spread(self):
        """As `Denoiser` says."""
        return self._told("spread")

    @property
    def classes(self):
        """As `Denoiser` says."""
        return self._told("classes")

    def _told(self, name: str) -> Any:
        return self.attributes[name] if name in self.attributes else getattr(self.base, name, None)

    def __repr__(self) -> str:
        return f"{self.name} of {self.base!r}"


def classifier_free(denoiser: Denoiser, scale: float, interval: tuple[float, float] = (0.0, math.inf),
                    rescale: float = 0.0) -> Denoiser:
    """D(x, y) + w (D(x, y) - D(x, none)) for noise levels sigma/alpha within `interval`, else D(x, y).

    w = 0 is no guidance; Ho & Salimans 2022, eq. 6, with this w; others write w + 1 for it. The interval:
    Kynkaanniemi et al. 2024. Both are evaluated in one batch, so that a guided evaluation counts two.

    rescale   phi: the result is moved towards one of the standard deviation of D(x, y), phi of the way (Lin et al.
              2024, eq. 15 and 16), over each sample's elements

    Raises TypeError for a denoiser without classes, ValueError for a scale that is not finite.
    """
    _check(scale, interval)
    if not 0 <= real("rescale", rescale) <= 1:
        raise ValueError(f"rescale is the part of the way to go, from 0 to 1; got {rescale!r}")
    if scale == 0:
        return denoiser
    classes = getattr(denoiser, "classes", None)
    if classes is None:
        raise TypeError(f"classifier-free guidance needs a denoiser that knows classes, and {type(denoiser).__name__} "
                        "does not know any; "
                        "sample it with guidance=0, or guide it by a classifier: df.classifier_guided")

    make = partial(_classifier_free, scale, interval, rescale, classes)
    return Derived(denoiser, make, f"classifier_free({scale:g})")


def _classifier_free(scale, interval, rescale, classes, base: Any) -> Callable[..., Tensor]:
    def guided(x: Tensor, alpha, sigma, condition=None) -> Tensor:
        if condition is None or not _inside(alpha, sigma, interval):
            return base(x, alpha, sigma, condition)
        label = check_labels(condition, len(x), classes, x.device)
        labels = torch.cat((label, torch.full_like(label, classes)))
        twice = [torch.cat((v, v)) if isinstance(v, Tensor) and v.ndim else v for v in (alpha, sigma)]
        with_label, without = base(torch.cat((x, x)), *twice, labels).chunk(2)
        result = with_label + scale * (with_label - without)
        if rescale:
            over = tuple(range(1, x.ndim))
            spread, wanted = (v.std(over, keepdim=True, correction=0) for v in (result, with_label))
            result = torch.where(spread > 0, result * (1 + rescale * (wanted / spread - 1)), result)
        return result

    return guided


def classifier_guided(denoiser: Denoiser, log_prob: Callable[..., Tensor], classes: int, scale: float = 1.0,
                      interval: tuple[float, float] = (0.0, math.inf)) -> Denoiser:
    """D(x, y) = D(x) + w (sigma^2 / alpha) grad_x log p(y | x), by autograd through any classifier.

    log_prob   (x, alpha, sigma) -> log p(class | x), (batch, classes): a classifier of noisy x. The courses write
               -grad of its loss for the gradient
    classes    how many there are
    scale      w: 1 is Bayes' rule, the exact conditional model where both are exact (Dhariwal & Nichol 2021, eq. 10)

    The condition goes to the classifier alone. At alpha = 0 x tells nothing of the class: D is not guided there.
    """
    _check(scale, interval)
    if isinstance(classes, bool) or not isinstance(classes, int) or classes < 1:
        raise TypeError(f"classes is how many there are, a whole number of at least 1; got {classes!r}")
    if not callable(log_prob):
        raise TypeError(f"log_prob is a function (x, alpha, sigma) -> (batch, classes), got {log_prob!r}")
    return Derived(denoiser, partial(_classifier_guided, log_prob, classes, scale, interval),
                   f"classifier_guided({scale:g})", {"classes": classes})


def _classifier_guided(log_prob, classes, scale, interval, base: Any) -> Callable[..., Tensor]:
    def guided(x: Tensor, alpha, sigma, condition=None) -> Tensor:
        plain = base(x, alpha, sigma, None)
        if condition is None or not _inside(alpha, sigma, interval) or not _positive(alpha):
            return plain
        with torch.inference_mode(False), torch.enable_grad():
            label = check_labels(condition, len(x), classes, x.device).clone()
            held = x if x.requires_grad else x.clone().detach().requires_grad_(True)
            logs = log_prob(held, alpha, sigma)
            if tuple(logs.shape) != (len(x), classes):
                raise ValueError(f"the classifier gave a tensor of shape {tuple(logs.shape)} for {len(x)} "
                                 f"samples; it must give log p(class | x), ({len(x)}, {classes})")
            if not logs.requires_grad:
                raise TypeError("the classifier is not differentiable by autograd: does it compute under "
                                "torch.no_grad(), or detach?")
            asked = torch.cat((logs, torch.zeros_like(logs[:, :1])), 1).gather(1, label[:, None])  # none: 0
            grad, = torch.autograd.grad(asked.sum(), held, create_graph=x.requires_grad)
        a, s = column(alpha, x), column(sigma, x)
        return plain + scale * s**2 / a * grad.to(x.dtype)

    return guided


def _check(scale: float, interval: tuple[float, float]) -> None:
    if not math.isfinite(real("guidance", scale)):
        raise ValueError(f"guidance must be a finite number, 0 for none; got {scale!r}")
    levels(interval)


def _positive(alpha) -> bool:
    return bool((torch.as_tensor(alpha) > 0).all())


def _inside(alpha, sigma, interval: tuple[float, float]) -> bool:
    """Whether the noise level lies in the interval; samplers give one level for the whole batch."""
    noise = torch.as_tensor(sigma, dtype=torch.float64) / torch.as_tensor(alpha, dtype=torch.float64)
    within = (interval[0] <= noise) & (noise <= interval[1])
    if within.any() != within.all():
        raise ValueError("guidance within an interval needs one noise level for the whole batch")
    return bool(within.all())
