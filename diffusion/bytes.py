"""Bytes and numbers: a byte b is seen by models as x = b / 127.5 - 1, and noise of its width makes it continuous.

    x' = x + (2/255) (u - 1/2) = (b + u - 1/2) / 127.5 - 1,   u uniform on (0, 1)

is uniform on a cell of width 2/255 about x; the 256 cells fill -1 - 1/255 to 1 + 1/255 and do not overlap. So with p a
density of x', P(b) = E_u p(x') (2/255)^d, and E_u log p(x') + d log(2/255) <= log P(b) (Theis, van den Oord & Bethge
2016, eq. 6). The other way leads from a noisy x = alpha x_0 + sigma eps to laws of bytes, log P(b | x) of each element:

    categorical            P(b | x) proportional to N(x; alpha x_0(b), sigma^2), over the 256 values of b
    discretised_gaussian   what N(D(x), (sigma/alpha)^2) has within the cell of b; 0 and 255 have all that is beyond
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from diffusion.process import Level

COUNT, WIDTH = 256, 2 / 255  # of bytes; between two of them in x
CHUNK = 2**12

LastStep = Callable[[Tensor, Tensor, Level, Callable[[], Tensor]], Tensor]


def dequantised(x: Tensor, u: Tensor, width: float = WIDTH) -> Tensor:
    """x + width (u - 1/2): the one map by which training and likelihoods make bytes continuous.

    x       at the levels b / 127.5 - 1, or others
    u       uniform on (0, 1), of x's shape
    width   between two levels, in the units of x

    Raises ValueError for another shape of u.

    >>> dequantised(torch.tensor([-1.0, 1.0]), torch.tensor([0.0, 0.5]))
    tensor([-1.0039,  1.0000])
    """
    if u.shape != x.shape:
        raise ValueError(f"u must have the shape {tuple(x.shape)} of x, a number for each element; got "
                         f"{tuple(u.shape)}")
    return x + width * (u - 0.5)


def of(x: Tensor) -> Tensor:
    """The bytes, whole numbers of x's shape, that x = b / 127.5 - 1 are of. Raises ValueError for what lies between.

    >>> of(torch.tensor([-1.0, 0.0039216, 1.0]))
    tensor([  0, 128, 255])
    """
    b = (x.to(torch.float64) + 1) / WIDTH
    whole = b.round()
    off = float((b - whole).abs().max())
    if off > 1e-3 or whole.min() < 0 or whole.max() >= COUNT:
        raise ValueError(f"x must be of bytes b, b / 127.5 - 1 in [-1, 1], but is up to {off:.2g} of their distance "
                         f"off and goes from {float(x.min()):g} to {float(x.max()):g}; give it without noise, on the "
                         "scale of Images.tensor()")
    return whole.long()


def levels(device: torch.device | str = "cpu") -> Tensor:
    """x of all bytes, (256,), float64."""
    return torch.arange(COUNT, dtype=torch.float64, device=device) * WIDTH - 1


def categorical(b: Tensor, x: Tensor, level: Level, denoised: Callable[[], Tensor]) -> Tensor:
    """log P(b | x) of each element by Bayes' rule for bytes that are all as likely: certain where sigma/alpha << 2/255.

    b          0 to 255, (n, ...)
    x          at the level, (n, ...)
    denoised   () -> D(x), which it does not need

    Kingma et al. 2021, section 3.3.
    """
    means = level.alpha * levels(x.device)
    own = -0.5 * ((x - means[b]) / level.sigma).square()
    # so many at a time that their 256 numbers each stay in the cache
    some = x.split(max(1, CHUNK // max(1, x[0].numel())))
    return own - torch.cat([(-0.5 * ((v[..., None] - means) / level.sigma).square()).logsumexp(-1) for v in some])


def discretised_gaussian(b: Tensor, x: Tensor, level: Level, denoised: Callable[[], Tensor]) -> Tensor:
    """log P(b | x) of each element by D and the noise level: better than `categorical` where sigma/alpha > 2/255.

    The arguments are those of `categorical`. Ho, Jain & Abbeel 2020, eq. 13.
    """
    off = levels(x.device)[b] - denoised()
    low = torch.where(b == 0, -math.inf, (off - WIDTH / 2) / level.noise)
    high = torch.where(b == COUNT - 1, math.inf, (off + WIDTH / 2) / level.noise)
    # Phi(high) - Phi(low) = Phi(-low) - Phi(-high), of which the smaller tails have the digits
    low, high = torch.where(low > 0, -high, low), torch.where(low > 0, -low, high)
    below, above = torch.special.log_ndtr(low), torch.special.log_ndtr(high)
    return above + torch.log1p(-(below - above).exp())
