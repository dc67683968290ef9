"""Inpainting: a denoiser of pictures whose observed elements are known, made of one that knows nothing of them.

For y = x_0 + noise on a mask M, and with the law of x_0 given x = alpha x_0 + sigma eps taken as N(D(x), r^2 I),
r^2 = s^2 sigma^2 / (alpha^2 s^2 + sigma^2), Bayes' rule for the score gives

    D' = D + (sigma^2 / alpha) grad_x log N(y; M D, (r^2 + noise^2) I)
       = D + (sigma^2 / alpha) (dD/dx)^T M (y - D) / (r^2 + noise^2)

(Song, Vahdat, Mardani & Kautz 2023, eq. 7 and 8). D' is exact where the data are N(m, s^2 I).
"""

import math
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffusion.denoiser import Denoiser, column
from diffusion.exact.law import unpacked
from diffusion.guidance import Derived
from diffusion.views import brief


def inpaint(denoiser: Denoiser, observed: Tensor | np.ndarray, mask: Tensor | np.ndarray, noise: float = 0.0,
            spread: float | None = None) -> Derived:
    """The denoiser of x_0 given that observed = x_0 + noise N(0, I) where mask: for every sampler, label and guidance.

    observed   y, of one sample's shape, the same for all samples; what it is outside of the mask does not matter
    mask       True where observed; of that shape, or one that broadcasts to it, such as (height, width)
    noise      the standard deviation of the observation; at 0 D' is y itself where mask, as every exact one is: so the
               given elements stand in every estimate of x_0 and, by the closing step, in samples; without that step
               they carry the noise of the last level
    spread     s, that of the data by default

    On N(m, s^2 I) D' is exact, but samples begin in N(alpha m, r^2), of what nothing was observed. So where mask and
    noise > 0, with v = s^2 noise^2 / (s^2 + noise^2) the variance that is left, they stay short of the posterior mean
    m + (v / noise^2)(y - m), on the side of m: by the part alpha v^(1/2) / (alpha^2 v + sigma^2)^(1/2) of its distance
    from m along the flow, and by the square of that part for methods that draw noise; alpha and sigma are the first
    level's. It is 0 for a process that begins at alpha = 0.

    An evaluation takes one product with the Jacobian of the denoiser beside its value. At alpha = 0, where the formula
    is 0/0, it is that of N(m, s^2 I).

    On other data it is biased. On `diffusion.problems.mixture` with its first element observed as 0, the second has
    mean -0.53, variance 0.86 and classes of probability (0.26, 0.12, 0.62); what `ancestral` draws in 200 steps of
    `df.grid.edm` has -0.17, 0.85 and (0.36, 0.20, 0.45), and what `dpmpp_2m` draws in 60 has -0.10, 0.87 and (0.37,
    0.22, 0.41). Of -1, 0, 0.5 and 1 the mean and the classes are furthest off here; the variance is at -1: 0.39
    and 0.47 in place of 0.28.

    Raises TypeError for a mask that is not boolean, ValueError for shapes that do not fit, an empty mask, observed
    values that are not finite, noise < 0 or spread <= 0; when called, ZeroDivisionError where sigma and noise are 0.

    >>> from diffusion.exact import Gaussian
    >>> data = Gaussian(0.0, 1.0, shape=(2,))
    >>> known = inpaint(data, torch.tensor([3.0, 0.0]), torch.tensor([True, False]), noise=1.0)
    >>> known(torch.tensor([[1.0, 1.0]]), alpha=1.0, sigma=1.0)       # (1 + 3 + 0) / 3 and (1 + 0) / 2
    tensor([[1.3333, 0.5000]])
    """
    observed, mask, shape = unpacked(observed), unpacked(mask), getattr(denoiser, "shape", None)
    shape = tuple(observed.shape) if shape is None else tuple(shape)
    y, where, s = _checked(denoiser, observed, mask, noise, spread, shape)
    return Derived(denoiser, partial(_inpainted, y, where, s, noise, brief(denoiser)), "inpaint")


def _inpainted(y: Tensor, where: Tensor, s: float, noise: float, name: str, base: Denoiser) -> Any:
    def conditioned(x: Tensor, alpha, sigma, condition: Any = None) -> Tensor:
        a, v = column(alpha, x), column(sigma, x)
        known, at = where.to(x.device), y.to(x)
        r2 = s**2 * v**2 / (a**2 * s**2 + v**2)
        if not (r2 + noise**2 > 0).all():
            raise ZeroDivisionError("without noise in the observation, inpainting exists only where sigma > 0, got "
                                    f"sigma = {float(v.min()):g}; end the grid of times at a positive sigma")
        with torch.enable_grad():
            held = x if x.requires_grad else x.detach().requires_grad_(True)
            D = base(held, alpha, sigma, condition)
            if not D.requires_grad:
                raise TypeError(f"{name} is not differentiable by autograd, as inpainting needs it: it "
                                "computes under torch.no_grad(), or outside of torch")
            off = torch.where(known, at - D, 0.0)
            # the quotient (dD/dx)^T / a: (sigma^2 / a) dD/dx is Cov[x_0 | x], which r^2 I stands for at alpha = 0
            pull, = torch.autograd.grad(D, held, off, create_graph=x.requires_grad)
        step = torch.where(a > 0, v**2 / torch.where(a > 0, a, 1.0) * pull, r2 * off)
        result = D + step / (r2 + noise**2)
        result = result if noise else torch.where(known, at, result)
        return result if x.requires_grad else result.detach()

    return conditioned


def _checked(denoiser: Denoiser, observed, mask, noise, spread, shape: tuple) -> tuple[Tensor, Tensor, float]:
    """y, the mask, s."""
    if not isinstance(observed, Tensor) or tuple(observed.shape) != shape:
        raise ValueError(f"observed must be a tensor of one sample's shape {shape}, got "
                         f"{tuple(observed.shape) if isinstance(observed, Tensor) else repr(observed)}")
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        raise TypeError("mask must be a tensor of booleans, True where observed, got "
                        f"{mask.dtype if isinstance(mask, Tensor) else repr(mask)}")
    try:
        where = mask.broadcast_to(shape)
    except RuntimeError:
        raise ValueError(f"mask has the shape {tuple(mask.shape)}, which does not fit samples of {shape}") from None
    if not where.any():
        raise ValueError("mask is False everywhere: nothing is observed; sample from the denoiser itself")
    if not observed[where].isfinite().all():
        raise ValueError("observed must be finite where mask is True")
    if not 0 <= noise < math.inf:
        raise ValueError(f"noise is a standard deviation, at least 0; got {noise!r}")
    s = float(getattr(denoiser, "spread", 1.0) if spread is None else spread)
    if not 0 < s < math.inf:
        raise ValueError(f"spread must be positive, got {s!r}")
    return torch.where(where, observed, 0.0).to(torch.float64), where, s
