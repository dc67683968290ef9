"""What training minimises, at its known value for the best denoiser there is, and over which noise levels."""

import numpy as np
import pytest
import torch
from scipy.special import ndtr

import diffusion as df
from diffusion.losses import LOSSES
from tests.conftest import K
from tests.diffusion.conftest import Net


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


class Seen:
    """Stands where a model stands and keeps what the loss hands it."""

    def loss(self, x0, sigma, noise, label):
        self.x0, self.sigma, self.noise, self.label = x0, sigma, noise, label
        return torch.zeros(())


@pytest.mark.parametrize("batch", [1, 7, 64])
@pytest.mark.parametrize("mean, deviation", [(0.3, 1.4), (-1.2, 1.2)])
def test_edm_draws_one_noise_level_in_each_stratum(batch, mean, deviation):
    seen = Seen()
    for seed in range(5):
        df.losses.edm(mean, deviation)(seen, torch.zeros(batch, 1, 2, 2), torch.zeros(batch), generator(seed))
        u = ndtr((seen.sigma.double().log().numpy() - mean) / deviation)
        assert sorted(np.floor(u * batch).astype(int)) == list(range(batch))


def test_edm_puts_its_noise_levels_in_no_order():
    """Which picture gets which level is a permutation at random: uncorrelated with the place."""
    seen, place = Seen(), np.arange(64) - 31.5
    found = []
    for seed in range(100):
        df.losses.edm()(seen, torch.zeros(64, 1, 1, 1), torch.zeros(64), generator(seed))
        found.append(np.corrcoef(place, seen.sigma.log())[0, 1])
    assert abs(np.mean(found)) <= K * (1 / 63 / 100) ** 0.5


def test_edm_s_noise_is_standard_normal_and_not_the_levels_own():
    seen, x0, label = Seen(), torch.rand(200, 1, 8, 8), torch.arange(200)
    df.losses.edm()(seen, x0, label, generator())
    z = seen.noise.double()
    assert z.shape == x0.shape and torch.equal(seen.x0, x0) and torch.equal(seen.label, label)
    assert abs(z.mean()) <= K * z.numel() ** -0.5 and abs(z.var() - 1) <= K * (2 / z.numel()) ** 0.5
    level = seen.sigma.log().double()
    assert abs(np.corrcoef(z.mean((1, 2, 3)), level)[0, 1]) <= K * 199**-0.5


def test_the_best_denoiser_s_ddpm_loss_is_the_noise_it_cannot_know():
    """On data N(m, s^2): E|eps - E[eps | x]|^2 = alpha^2 s^2 / (alpha^2 s^2 + sigma^2), averaged over t = 1 ... T."""
    n, size, s = 4000, 16, 0.5
    random, betas = generator(1), df.linear_betas(100, 1e-3, 0.1)
    x0 = 0.7 + s * torch.randn(n, 1, 4, 4, generator=random, dtype=torch.float64)
    kept = np.cumprod(1 - betas)
    unknown = kept * s**2 / (kept * s**2 + 1 - kept)
    found = df.losses.ddpm(betas)(df.exact.Gaussian(0.7, s), x0, None, random).item()
    # |eps - E eps|^2 of a picture of 16 pixels at level t: mean v_t, variance 2 v_t^2 / 16
    variance = (2 * unknown**2 / size).mean() + unknown.var()
    assert abs(found - unknown.mean()) <= K * (variance / n) ** 0.5
    for wrong in (df.exact.Gaussian(0.4, s), df.exact.Gaussian(0.7, 2 * s)):
        assert df.losses.ddpm(betas)(wrong, x0, None, generator(2)).item() > found + K * (variance / n) ** 0.5


def test_ddpm_s_betas_are_ho_s_by_default():
    seen = []

    def denoiser(x, alpha, sigma, condition=None):
        seen.append((alpha, sigma))
        return torch.zeros_like(x)

    x0 = torch.zeros(20_000, 1, 1, 1, dtype=torch.float64)
    df.losses.ddpm()(denoiser, x0, None, generator())
    (alpha, sigma), kept = seen[0], np.cumprod(1 - df.linear_betas())
    t = np.abs(alpha.numpy()[:, None] ** 2 - kept[None]).argmin(1)
    np.testing.assert_allclose(alpha**2, kept[t], rtol=1e-12)
    np.testing.assert_allclose(sigma**2, 1 - kept[t], rtol=1e-9)
    assert t.min() < 5 and t.max() > 994  # 1 - (1 - 5/1000)^20000 is 1
    assert abs(t.mean() - 499.5) <= K * (1000**2 / 12 / len(t)) ** 0.5


@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_depends_on_its_generator_alone(loss):
    model = df.Preconditioned(Net(lambda u, c, label: u.sin()), torch.zeros(1, 4, 4), 0.5)
    x0, label = torch.rand(6, 1, 4, 4), torch.zeros(6).long()
    state = torch.random.get_rng_state()
    one, same, other = (LOSSES[loss]()(model, x0, label, generator(seed)).item() for seed in (3, 3, 4))
    assert one == same != other
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_has_a_gradient_and_hands_on_the_label(loss):
    weight = torch.zeros(4, requires_grad=True)
    net = Net(lambda u, c, label: weight[label].reshape(-1, 1, 1, 1) * u)
    model = df.Preconditioned(net, torch.zeros(1, 4, 4), 0.5)
    LOSSES[loss]()(model, torch.rand(6, 1, 4, 4), torch.tensor([0, 1, 3, 3, 0, 1]), generator()).backward()
    assert (weight.grad[[0, 1, 3]] != 0).all() and weight.grad[2] == 0
