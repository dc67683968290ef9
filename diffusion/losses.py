"""What training minimises: loss(model, x0, label, random) -> a number to differentiate.

    x0 (batch, channels, height, width), label (batch,), random a generator on the CPU: all the chance there is
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from diffusion.denoiser import Preconditioned, column
from diffusion.process import linear_betas
from diffusion.views import eps

Loss = Callable[[Preconditioned, Tensor, Tensor, torch.Generator], Tensor]


def edm(mean: float = 0.3, deviation: float = 1.4) -> Loss:
    """E |F - target|^2 with ln sigma ~ N(mean, deviation^2), one noise level in each of `batch` strata.

    Karras et al. 2022, eq. 8, with weights that make the target's variance 1 at every level. The class of a digit is
    decided at sigma from 1.5 to 10, which their N(-1.2, 1.2^2) hardly visits; hence these defaults.
    """
    def loss(model: Preconditioned, x0: Tensor, label: Tensor, random: torch.Generator) -> Tensor:
        batch = len(x0)
        u = (torch.arange(batch) + torch.rand(batch, generator=random)) / batch
        sigma = (mean + deviation * torch.special.ndtri(u[torch.randperm(batch, generator=random)])).exp()
        noise = torch.randn(x0.shape, generator=random)
        return model.loss(x0, sigma.to(x0.device), noise.to(x0.device), label)

    return loss


def ddpm(betas: np.ndarray | None = None) -> Loss:
    """E |eps - eps_theta(sqrt(a_t) x_0 + sqrt(1 - a_t) eps, t)|^2, t uniform on 1 ... T, a_t = prod (1 - beta).

    Ho et al. 2020, algorithm 1; the betas are by default theirs, T = 1000.
    """
    kept = torch.from_numpy(np.cumprod(1 - np.asarray(linear_betas() if betas is None else betas, float)))

    def loss(model: Preconditioned, x0: Tensor, label: Tensor, random: torch.Generator) -> Tensor:
        t = torch.randint(len(kept), (len(x0),), generator=random)
        alpha, sigma = (v.sqrt().to(x0) for v in (kept[t], 1 - kept[t]))
        noise = torch.randn(x0.shape, generator=random).to(x0)
        x = column(alpha, x0) * x0 + column(sigma, x0) * noise
        return (noise - eps(model, x, alpha, sigma, label)).square().mean()

    return loss


LOSSES: dict[str, Callable[[], Loss]] = {"edm": edm, "ddpm": ddpm}
