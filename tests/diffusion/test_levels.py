"""How well each level is learned: the closed-form Gaussian's error against its own denoiser, and the running means."""

import numpy as np
import pytest
import torch

import diffusion as df
from diffusion import levels
from diffusion.levels import EDGES, FADE, Levels, spectrum
from tests.conftest import EPS, K


def data(n=40, shape=(2, 3), seed=0):
    """Of a full covariance, off the origin."""
    random = np.random.default_rng(seed)
    d = int(np.prod(shape))
    return torch.from_numpy((random.normal(size=(n, d)) @ random.normal(size=(d, d)) + 3.0).reshape(n, *shape))


def gaussian(x, level):
    """What `Levels` has for the Gaussian at one level."""
    found = Levels(spectrum(x), x[0].numel())
    found.add(torch.tensor([level]), torch.zeros(1))
    return found.rows()[0].gaussian


@pytest.mark.parametrize("level", [0.05, 0.8, 4.0, 60.0])
def test_the_gaussian_s_error_is_that_of_its_denoiser(level):
    """E |D - x_0|^2 / d of `exact.Gaussian` with the data's mean and covariance, on samples of that law."""
    x = data()
    flat, n, d = x.flatten(1), 20_000, 6
    covariance = np.cov(flat.numpy().T, bias=True)
    random = np.random.default_rng(1)
    x0 = torch.from_numpy(random.multivariate_normal(flat.mean(0).numpy(), covariance, n))
    noisy = x0 + level * torch.from_numpy(random.normal(size=x0.shape))
    law = df.exact.Gaussian(flat.mean(0), cov=torch.from_numpy(covariance))
    error = (law(noisy, 1.0, level) - x0).square().mean(1)
    assert abs(error.mean() - gaussian(x, level)) <= K * error.std() / n**0.5
    # exactly: the trace of the posterior's covariance
    c = np.linalg.eigvalsh(covariance)
    assert gaussian(x, level) == pytest.approx((c * level**2 / (c + level**2)).sum() / d, rel=1e-6)  # l in float32


@pytest.mark.parametrize("n, shape", [(40, (2, 3)), (4, (2, 3)), (6, (6,)), (2, (1, 5, 5))])
def test_the_spectrum_is_the_covariance_s(n, shape):
    """With more elements than samples it is that of the Gram matrix, which lacks noughts alone."""
    x = data(n, shape)
    found = spectrum(x).numpy()
    exact = np.linalg.eigvalsh(np.cov(x.flatten(1).numpy().T, bias=True))
    assert len(found) == min(n, exact.size) and (found >= 0).all()
    rounded = 64 * EPS * exact.max() * exact.size
    np.testing.assert_allclose(found, exact[-len(found):], rtol=0, atol=rounded)
    assert np.abs(exact[:-len(found)]).max(initial=0) <= rounded
    for level in (0.3, 5.0):
        kept = np.maximum(exact, 0)
        assert gaussian(x, level) == pytest.approx((kept * level**2 / (kept + level**2)).sum() / exact.size, rel=1e-6)


def test_of_large_samples_some_stand_for_all(monkeypatch):
    monkeypatch.setattr(levels, "MOST", 4)
    x = data(40, (6,))
    np.testing.assert_allclose(spectrum(x), np.linalg.eigvalsh(np.cov(x[::10].numpy().T, bias=True))[-4:], rtol=1e-9,
                               atol=1e-12)  # four points span three directions
    small = data(40, (3,))
    assert len(spectrum(small)) == 3  # these are no more than MOST: all samples count
    np.testing.assert_allclose(spectrum(small), np.linalg.eigvalsh(np.cov(small.numpy().T, bias=True)), rtol=1e-9)


def test_steps_fade_and_ranges_are_apart():
    """After n steps that of k steps ago has the weight FADE^k; a level beyond all edges has a range too."""
    found = Levels(torch.ones(4).double(), 4)
    errors = np.random.default_rng(0).uniform(size=(5, 3)).astype(np.float32)
    at = torch.tensor([0.5, 7.0, 500.0])
    for row in errors:
        found.add(at, torch.from_numpy(row))
    weight = FADE ** np.arange(5)[::-1]
    rows = found.rows()
    assert len(rows) == 3
    for k, row in enumerate(rows):
        l = float(at[k])
        assert row.level == pytest.approx(l, rel=1e-6)
        assert row.error == pytest.approx((weight * errors[:, k]).sum() / weight.sum(), rel=1e-12)
        assert row.gaussian == pytest.approx(l**2 / (1 + l**2), rel=1e-6)
        assert row.share == row.error / row.gaussian


def test_two_levels_of_a_range_are_averaged_and_ranges_are_thirds_of_a_decade():
    edges = np.array(EDGES)
    np.testing.assert_allclose(np.diff(np.log10(edges)), 1 / 3, rtol=1e-12)
    found = Levels(torch.tensor([4.0]).double(), 1)
    found.add(torch.tensor([1.1, 1.9]), torch.tensor([0.2, 0.6]))  # between 1 and 10^(1/3) = 2.15
    (row,) = found.rows()
    assert row.error == pytest.approx(0.4) and row.level == pytest.approx((1.1 * 1.9) ** 0.5, rel=1e-6)
    assert row.gaussian == pytest.approx(np.mean([4 * l**2 / (4 + l**2) for l in (1.1, 1.9)]), rel=1e-6)
    found.add(torch.tensor([2.2]), torch.tensor([9.0]))
    assert [round(row.error, 9) for row in found.rows()] == [pytest.approx(0.4), 9.0]


def test_it_prints_a_line_for_each_range():
    found = Levels(torch.ones(2).double(), 2)
    found.add(torch.tensor([1.0 + 1e-3, 30.0]), torch.tensor([0.25, 0.5]))
    head, first, second = str(found).splitlines()
    assert head.split() == ["level", "error", "Gaussian", "share"]
    assert first.split() == ["1", "0.25", "0.5", "0.50"] and second.split() == ["30", "0.5", "0.999", "0.50"]
