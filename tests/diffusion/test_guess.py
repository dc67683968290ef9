"""The mixture that is handed to the network: the exact denoiser of its own law, fitted to data of that law."""

import pytest
import torch

import diffusion as df
from diffusion.guess import Mixture
from tests.conftest import K


def drawn(n=4000, d=6, seed=0):
    """Two classes of points in d dimensions, the second of two clusters: x (n, d), labels."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 2
    side = torch.where(torch.rand(n, generator=random) < 0.3, 4.0, -4.0)
    x = torch.randn(n, d, generator=random) * torch.linspace(1.5, 0.1, d)
    x[:, 0] += torch.where(labels == 1, side, 0.0)
    return x, labels


def exact(mixture, y):
    """The same law as a `df.exact.GaussianMixture`, by its means and covariances."""
    parts = [mixture.means, mixture.vectors, mixture.values, mixture.rest, mixture.log_weights]
    m, v, l, t, w = (part[y].double() for part in parts)
    used = w > -torch.inf
    m, v, l, t, w = (part[used] for part in (m, v, l, t, w))
    eye = torch.eye(m.shape[1], dtype=torch.float64)
    covariance = (v * l[:, None]) @ v.transpose(1, 2) + t[:, None, None] * (eye - v @ v.transpose(1, 2))
    return df.exact.GaussianMixture(m, covariance, (w.exp() / w.exp().sum()).tolist())


@pytest.mark.parametrize("components, rank", [(1, 6), (1, 2), (3, 2), (3, 6)])
@pytest.mark.parametrize("alpha, sigma", [(1.0, 0.1), (1.0, 2.0), (0.3, 0.9), (0.01, 30.0)])
def test_it_is_the_exact_denoiser_of_its_own_law(components, rank, alpha, sigma):
    x, labels = drawn()
    mixture = Mixture((6,), 2, components, rank)
    mixture.fit(x, labels)
    noisy = alpha * x[:60] + sigma * torch.randn(60, 6, generator=torch.Generator().manual_seed(1))
    for label in (0, 1, 2):
        told = mixture(noisy, alpha, sigma, torch.full((60,), label))
        torch.testing.assert_close(told.double(), exact(mixture, label)(noisy.double(), alpha, sigma),
                                   rtol=2e-4, atol=2e-4)


def test_its_moments_are_the_data_s():
    x, labels = drawn()
    mixture = Mixture((6,), 2, 1, 6)
    mixture.fit(x, labels)
    for y in (0, 1, 2):
        some = x[labels == y] if y < 2 else x
        v, l = mixture.vectors[y, 0], mixture.values[y, 0]
        torch.testing.assert_close(mixture.means[y, 0], some.mean(0), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close((v * l) @ v.T, torch.cov(some.T, correction=0), rtol=1e-3, atol=1e-4)
        assert float(mixture.log_weights[y, 0]) == 0


def test_clusters_are_found():
    """The second class is 30% about +4 and 70% about -4, deviation 1.5 / 1: its two Gaussians say so."""
    x, labels = drawn()
    mixture = Mixture((6,), 2, 2, 6)
    mixture.fit(x, labels)
    order = mixture.means[1, :, 0].argsort()
    share = mixture.log_weights[1].exp()[order]
    assert abs(float(share[0]) - 0.7) < K * (0.3 * 0.7 / 2000) ** 0.5 + 0.01  # what K-means takes from a neighbour
    assert torch.allclose(mixture.means[1, order, 0], torch.tensor([-4.0, 4.0]), atol=0.2)


def test_a_guess_is_that_of_the_sample_s_own_class_wherever_it_stands_in_the_batch():
    x, labels = drawn()
    mixture = Mixture((6,), 2, 3, 4)
    mixture.fit(x, labels)
    sigma, order = torch.linspace(0.1, 3.0, 30), torch.randperm(30, generator=torch.Generator().manual_seed(2))
    label = torch.arange(30) % 3
    together = mixture(x[:30], 1.0, sigma, label)
    torch.testing.assert_close(mixture(x[:30][order], 1.0, sigma[order], label[order]), together[order])
    for i in (0, 1, 2):
        torch.testing.assert_close(mixture(x[i:i + 1], 1.0, sigma[i:i + 1], label[i:i + 1])[0], together[i])


def test_few_samples_and_classes_without_any_do_no_harm():
    x, _ = drawn(n=7)
    mixture = Mixture((6,), 3, 4, 6)
    mixture.fit(x, torch.tensor([0, 0, 0, 0, 0, 2, 2]))
    told = mixture(x, 1.0, 0.5, torch.tensor([0, 0, 2, 2, 3, 3, 1]))
    assert bool(told.isfinite().all())
    assert float((told - x).square().mean()) < float(x.square().mean())  # nearer to the data than their mean is


def test_the_same_data_give_the_same_mixture():
    x, labels = drawn()
    made = []
    for _ in range(2):
        torch.manual_seed(3)
        mixture = Mixture((6,), 2, 3, 4)
        mixture.fit(x, labels)
        made.append(mixture.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(made[0].values(), made[1].values()))
