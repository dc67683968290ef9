"""The Gaussian's denoiser against what it stands for: a posterior mean, and the gradient of a density."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given

import diffusion as df
from tests.conftest import EPS
from tests.strategies import numbers

positive = numbers(0.05, 20.0)


def gaussian(x, m, v):
    return np.exp(-((x - m) ** 2) / (2 * v)) / np.sqrt(2 * math.pi * v)


@given(numbers(-3, 3), numbers(0.2, 3.0), numbers(0.1, 2.0), numbers(0.1, 5.0), numbers(-4, 4))
def test_it_is_the_posterior_mean(m, std, alpha, sigma, z):
    """E[x_0 | x] by the trapezoidal rule on 12 standard deviations, which converges beyond rounding."""
    x = alpha * m + (alpha**2 * std**2 + sigma**2) ** 0.5 * z
    posterior = 1 / (1 / std**2 + alpha**2 / sigma**2)
    middle = posterior * (m / std**2 + alpha * x / sigma**2)
    x0 = middle + posterior**0.5 * np.linspace(-12, 12, 2001)
    weight = gaussian(x0, m, std**2) * gaussian(x, alpha * x0, sigma**2)
    exact = (weight * x0).sum() / weight.sum()
    found = df.exact.Gaussian(m, std)(torch.tensor([[x]], dtype=torch.float64), alpha, sigma).item()
    assert abs(found - exact) <= 1e3 * EPS * (abs(m) + abs(x / alpha) + std)


@given(numbers(-3, 3), numbers(0.2, 3.0), numbers(0.1, 2.0), positive, numbers(-4, 4))
def test_its_score_is_the_gradient_of_the_log_density(m, std, alpha, sigma, x):
    """log p is quadratic: the central difference is exact but for rounding, which it magnifies by 1/h."""
    r2, h = alpha**2 * std**2 + sigma**2, 0.5
    log_p = lambda x: -((x - alpha * m) ** 2) / (2 * r2)
    exact = (log_p(x + h) - log_p(x - h)) / (2 * h)
    found = df.score(df.exact.Gaussian(m, std), torch.tensor([[x]], dtype=torch.float64), alpha, sigma).item()
    size = abs(log_p(x + h)) + abs(log_p(x - h)) + (abs(x) + alpha * abs(m) + alpha * std) / sigma**2
    assert abs(found - exact) <= 32 * EPS * (size + abs(exact)) / h


def test_the_ends_of_noise():
    """Without noise D is x / alpha; where nothing of the data is left it is the mean."""
    data, x = df.exact.Gaussian(0.7, 0.4), torch.tensor([[-1.0], [2.0]], dtype=torch.float64)
    torch.testing.assert_close(data(x, 0.5, 0.0), x / 0.5)
    torch.testing.assert_close(data(x, 0.0, 1.0), torch.full_like(x, 0.7))


def test_a_level_for_each_sample():
    data, x = df.exact.Gaussian(0.7, 0.4), torch.randn(3, 1, 2, 2, generator=torch.Generator().manual_seed(1))
    alpha, sigma = torch.tensor([1.0, 0.6, 0.2]), torch.tensor([0.1, 2.0, 1.0])
    each = torch.cat([data(x[i:i + 1], float(alpha[i]), float(sigma[i])) for i in range(3)])
    torch.testing.assert_close(data(x, alpha, sigma), each)


def test_a_mean_for_each_pixel():
    mean, x = torch.tensor([[[1.0, -2.0]]]), torch.zeros(5, 1, 1, 2)
    found = df.exact.Gaussian(mean, 1.0)(x, 1.0, 1.0)
    torch.testing.assert_close(found, (mean / 2).expand(5, 1, 1, 2))  # halfway between 0 and the mean
    assert df.exact.Gaussian(mean, 1.0)(x, 1.0, 1.0, condition=None).dtype == torch.float32


@pytest.mark.parametrize("std", [0.0, -1.0, math.nan])
def test_a_spread_that_is_not_positive_is_refused(std):
    with pytest.raises(ValueError, match=f"std must be positive, got {std}"):
        df.exact.Gaussian(0.0, std)
