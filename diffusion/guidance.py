"""Guidance: denoiser -> denoiser, so that it composes with every sampler."""

import math

import torch
from torch import Tensor

from diffusion.denoiser import Denoiser


def classifier_free(denoiser: Denoiser, scale: float, interval: tuple[float, float] = (0.0, math.inf),
                    none: int | None = None) -> Denoiser:
    """D(x, y) + w (D(x, y) - D(x, none)) for noise levels sigma/alpha within `interval`, else D(x, y).

    w = 0 is no guidance; Ho & Salimans 2022, eq. 6, with this w; others write w + 1 for it. The interval:
    Kynkaanniemi et al. 2024. Both denoisers are evaluated in one batch.

    none    the label that means no class; by default that of a trained denoiser of this package
    """
    if not math.isfinite(scale):
        raise ValueError(f"guidance must be a finite number, 0 for none; got {scale!r}")
    if not 0 <= interval[0] < interval[1]:
        raise ValueError(f"the interval of noise levels must be (low, high) with 0 <= low < high, got {interval}")
    if scale == 0:
        return denoiser

    config = getattr(denoiser, "config", None)
    if none is None and config is not None:
        none = config.classes

    def guided(x: Tensor, alpha, sigma, condition=None) -> Tensor:
        if condition is None or not interval[0] <= float(sigma) / float(alpha) <= interval[1]:
            return denoiser(x, alpha, sigma, condition)
        if none is None:
            raise TypeError("this denoiser does not tell which label means no class; give none=")
        labels = torch.cat((condition, torch.full_like(condition, none)))
        both = denoiser(torch.cat((x, x)), alpha, sigma, labels)
        with_label, without = both.chunk(2)
        return with_label + scale * (with_label - without)

    return guided
