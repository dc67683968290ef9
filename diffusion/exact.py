"""Denoisers in closed form: first-class models, against which samplers are measured."""

from torch import Tensor

from diffusion.denoiser import column


class Gaussian:
    """The denoiser of data N(mean, std^2), every element independent; mean a number or a tensor of the data's shape.

    E[x_0 | x] = mean + (alpha std^2 / r^2)(x - alpha mean) with r^2 = alpha^2 std^2 + sigma^2.

    >>> import torch
    >>> Gaussian(0.0, 1.0)(torch.tensor([[2.0]]), alpha=1.0, sigma=1.0)
    tensor([[1.]])
    """

    def __init__(self, mean: float | Tensor, std: float):
        if not std > 0:
            raise ValueError(f"std must be positive, got {std}")
        self.mean, self.std = mean, std

    def __call__(self, x: Tensor, alpha, sigma, condition=None) -> Tensor:
        a, s = column(alpha, x), column(sigma, x)
        r2 = a**2 * self.std**2 + s**2
        return self.mean + a * self.std**2 / r2 * (x - a * self.mean)
