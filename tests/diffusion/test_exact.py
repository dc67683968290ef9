"""Denoisers in closed form against what they stand for: posterior means, densities and their gradients, laws."""

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

import diffusion as df
from diffusion.exact import Empirical, Gaussian, GaussianMixture, empirical
from tests.conftest import EPS, K, assert_gaussian, assert_near
from tests.strategies import numbers

positive = numbers(0.05, 20.0)
F = torch.float64


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F)


def covariances(k, d, seed=1):
    A = random(k, d, d, seed=seed)
    return A @ A.mT / d + 0.05 * torch.eye(d, dtype=F)


DATA = random(40, 3, seed=5)
WEIGHTS = torch.tensor([0.2, 0.5, 0.3], dtype=F)
FULL = GaussianMixture(2 * random(3, 3), covariances(3, 3), WEIGHTS, labels=[1, 0, 1])
SINGULAR = GaussianMixture(random(2, 3), torch.stack([torch.ones(3, 3, dtype=F), torch.diag(torch.tensor([1., 0, 2]))]))
LAWS = {
    "gaussian": Gaussian(0.7, 0.4, shape=(3,)),
    "elementwise": Gaussian(random(3), torch.tensor([0.3, 1.0, 2.0])),
    "covariance": Gaussian(random(3), cov=covariances(1, 3)[0]),
    "isotropic": GaussianMixture(2 * random(3, 3), stds=[0.2, 0.5, 0.0], weights=WEIGHTS),
    "mixture": FULL,
    "singular": SINGULAR,
    "data": Empirical(DATA, labels=torch.arange(40) % 3),
}
LEVELS = [(1.0, 0.3), (0.6, 0.8), (0.05, 1.0), (3.0, 2.0)]


@pytest.fixture(params=LAWS, scope="module")
def law(request):
    return LAWS[request.param]


@pytest.fixture(params=[name for name, law in LAWS.items() if law.classes], scope="module")
def classed(request):
    return LAWS[request.param]


def at(law, alpha, sigma, n=6, seed=3):
    return law.sample(n, alpha, sigma, seed=seed)


def gaussian(x, m, v):
    return np.exp(-((x - m) ** 2) / (2 * v)) / np.sqrt(2 * math.pi * v)


# --- one Gaussian

@given(numbers(-3, 3), numbers(0.2, 3.0), numbers(0.1, 2.0), numbers(0.1, 5.0), numbers(-4, 4))
def test_it_is_the_posterior_mean(m, std, alpha, sigma, z):
    """E[x_0 | x] by the trapezoidal rule on 12 standard deviations, which converges beyond rounding."""
    x = alpha * m + (alpha**2 * std**2 + sigma**2) ** 0.5 * z
    posterior = 1 / (1 / std**2 + alpha**2 / sigma**2)
    middle = posterior * (m / std**2 + alpha * x / sigma**2)
    x0 = middle + posterior**0.5 * np.linspace(-12, 12, 2001)
    weight = gaussian(x0, m, std**2) * gaussian(x, alpha * x0, sigma**2)
    exact = (weight * x0).sum() / weight.sum()
    found = Gaussian(m, std)(torch.tensor([[x]], dtype=F), alpha, sigma).item()
    assert abs(found - exact) <= 1e3 * EPS * (abs(m) + abs(x / alpha) + std)


def test_the_ends_of_noise():
    """Without noise D is x / alpha; where nothing of the data is left it is the mean."""
    data, x = Gaussian(0.7, 0.4), torch.tensor([[-1.0], [2.0]], dtype=F)
    torch.testing.assert_close(data(x, 0.5, 0.0), x / 0.5)
    torch.testing.assert_close(data(x, 0.0, 1.0), torch.full_like(x, 0.7))


def test_a_mean_for_each_pixel():
    mean, x = torch.tensor([[[1.0, -2.0]]]), torch.zeros(5, 1, 1, 2)
    found = Gaussian(mean, 1.0)(x, 1.0, 1.0)
    torch.testing.assert_close(found, (mean / 2).expand(5, 1, 1, 2))  # halfway between 0 and the mean
    assert found.dtype == torch.float32


def test_a_covariance_of_any_form_is_the_same_law():
    std, x = torch.tensor([0.3, 1.0, 2.0], dtype=F), random(4, 3)
    one = Gaussian(0.5, std)
    turn = torch.linalg.qr(random(3, 3, seed=8))[0]  # the same law in other coordinates
    for other, to in ((Gaussian(0.5, cov=torch.diag(std**2)), torch.eye(3, dtype=F)),
                      (Gaussian(turn @ torch.full((3,), 0.5, dtype=F), cov=turn @ torch.diag(std**2) @ turn.T), turn)):
        torch.testing.assert_close(other(x @ to.T, 0.8, 0.6) @ to, one(x, 0.8, 0.6))
        torch.testing.assert_close(other.log_prob(x @ to.T, 0.8, 0.6), one.log_prob(x, 0.8, 0.6))


# --- mixtures and data by other means

def test_a_mixture_in_one_dimension_by_quadrature():
    m, s, w, alpha, sigma = [-1.0, 0.5, 2.0], [0.3, 0.1, 0.8], [0.2, 0.5, 0.3], 0.7, 0.6
    data = GaussianMixture([[mk] for mk in m], stds=s, weights=w)  # Python's numbers, not rounded to float32
    x0, h = np.linspace(-9, 11, 20001, retstep=True)
    p0 = sum(wk * gaussian(x0, mk, sk**2) for wk, mk, sk in zip(w, m, s))
    for x in (-2.0, 0.1, 1.7):
        joint = p0 * gaussian(x, alpha * x0, sigma**2)
        p, mean = joint.sum() * h, (joint * x0).sum() / joint.sum()
        point = torch.tensor([[x]], dtype=F)
        tolerance = 1e-12  # the trapezoidal rule converges beyond rounding
        assert abs(data(point, alpha, sigma).item() - mean) < tolerance
        assert abs(data.log_prob(point, alpha, sigma).item() - math.log(p)) < tolerance
        variance = (joint * (x0 - mean) ** 2).sum() / joint.sum()
        assert abs(data.covariance(point, alpha, sigma).item() - variance) < tolerance


@pytest.mark.parametrize("alpha, sigma", [*LEVELS, (1.0, 0.0), (0.0, 2.0)])
def test_a_mixture_beside_scipy(alpha, sigma):
    x = at(FULL, alpha, sigma)
    S = covariances(3, 3).numpy()
    parts = np.array([multivariate_normal(alpha * m, alpha**2 * C + sigma**2 * np.eye(3)).logpdf(x.numpy())
                      for m, C in zip(2 * random(3, 3).numpy(), S)])
    joint = parts + np.log(WEIGHTS.numpy())[:, None]
    np.testing.assert_allclose(FULL.log_prob(x, alpha, sigma), logsumexp(joint, axis=0), rtol=1e-11, atol=1e-11)
    two = logsumexp(joint[[0, 2]], axis=0) - math.log(0.5)  # class 1
    np.testing.assert_allclose(FULL.log_prob(x, alpha, sigma, 1), two, rtol=1e-11, atol=1e-11)
    one = joint[1] - logsumexp(joint, axis=0)  # class 0
    np.testing.assert_allclose(FULL.log_posterior(x, alpha, sigma)[:, 0], one, rtol=1e-10, atol=1e-11)


def direct(x, y, alpha, sigma):
    """D and log p of data, from differences."""
    l = -((x[:, None] - alpha * y.double()) ** 2).sum(-1) / (2 * sigma**2)
    log_p = l.logsumexp(1) - math.log(len(y)) - 0.5 * x.shape[1] * math.log(2 * math.pi * sigma**2)
    return l.softmax(1) @ y.double(), log_p


@pytest.mark.parametrize("sigma", [1e-8, 2e-3, 0.02, 0.3, 3.0, 1e8])
@pytest.mark.parametrize("alpha", [1.0, 0.3])
def test_data_beside_the_direct_sum(alpha, sigma, monkeypatch):
    """Also far from their origin, where |x|^2 - 2 x.y + |y|^2 cancels, and in many blocks."""
    monkeypatch.setattr(empirical, "BLOCK", 100)
    monkeypatch.setattr(empirical, "TABLE", 1000)
    y = 5 + random(300, 20).float()
    y[1::2] = y[::2] + 1e-3 * random(150, 20, seed=2).float()  # pairs that only small sigma tells apart
    data, x = Empirical(y), alpha * y[:7].double() + sigma * random(7, 20, seed=3)
    mean, log_p = direct(x, y, alpha, sigma)
    # an ulp of x moves a logit by |x - alpha y| EPS |x| / sigma^2: nobody knows it better
    ulp = EPS * float(x.norm(dim=1).max()) * (20**0.5 + 2) / sigma
    torch.testing.assert_close(data(x, alpha, sigma), mean, rtol=1e-10, atol=ulp)
    torch.testing.assert_close(data.log_prob(x, alpha, sigma), log_p, rtol=1e-10, atol=1e-10 + ulp)


def test_data_are_the_mixture_of_tiny_spreads():
    labels = torch.arange(40) % 3
    mixture, data = GaussianMixture(DATA, stds=[1e-7] * 40, labels=labels), LAWS["data"]
    x = at(data, 0.8, 0.5)
    for condition in (None, 1, [0, 1, 2, 3, 2, 1]):
        torch.testing.assert_close(data(x, 0.8, 0.5, condition), mixture(x, 0.8, 0.5, condition))
        torch.testing.assert_close(data.log_prob(x, 0.8, 0.5, condition), mixture.log_prob(x, 0.8, 0.5, condition))
        torch.testing.assert_close(data.covariance(x, 0.8, 0.5, condition), mixture.covariance(x, 0.8, 0.5, condition))
    torch.testing.assert_close(data.posterior(x, 0.8, 0.5), mixture.posterior(x, 0.8, 0.5))


# --- laws that all keep

@pytest.mark.parametrize("alpha, sigma", LEVELS)
def test_the_score_is_the_gradient_of_the_log_density(law, alpha, sigma):
    """By autograd, by central differences (error h^2/6 of a third derivative of size sigma^-3), and Tweedie's."""
    x, h = at(law, alpha, sigma), 1e-4 * sigma
    score = law.score(x, alpha, sigma)
    torch.testing.assert_close((alpha * law(x, alpha, sigma) - x) / sigma**2, score, rtol=1e-9, atol=1e-11 / sigma**2)
    leaf = x.clone().requires_grad_()
    slope, = torch.autograd.grad(law.log_prob(leaf, alpha, sigma).sum(), leaf)
    torch.testing.assert_close(slope, score, rtol=1e-9, atol=1e-11 / sigma**2)
    for j, step in enumerate(h * torch.eye(3, dtype=F)):
        difference = (law.log_prob(x + step, alpha, sigma) - law.log_prob(x - step, alpha, sigma)) / (2 * h)
        size = 50 * alpha**3 / sigma**3 + 50 / sigma**3
        torch.testing.assert_close(difference, score[:, j], rtol=0, atol=h**2 * size + 1e3 * EPS / h)


@pytest.mark.parametrize("alpha, sigma", LEVELS)
def test_the_covariance_is_the_slope_of_the_denoiser(law, alpha, sigma):
    x = at(law, alpha, sigma)
    condition = None if law.classes is None else [0, 1, 0, law.classes, 1, 1]
    covariance = law.covariance(x, alpha, sigma, condition)
    for k in range(len(x)):
        own = None if condition is None else condition[k]
        slope = torch.autograd.functional.jacobian(lambda z, own=own: law(z[None], alpha, sigma, own)[0], x[k])
        torch.testing.assert_close(sigma**2 / alpha * slope, covariance[k], rtol=1e-9, atol=1e-12 * sigma**2 / alpha)
    torch.testing.assert_close(covariance, covariance.mT)


def test_what_is_differentiated_is_right_twice(law):
    x = at(law, 0.7, 0.6, n=2).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: law.log_prob(x, 0.7, 0.6), x)
    if law.classes:
        assert torch.autograd.gradcheck(lambda x: law.log_posterior(x, 0.7, 0.6), x)


@given(st.sampled_from(sorted(LAWS)), numbers(0.0, 2.0), numbers(0.05, 5.0), numbers(1e-3, 1e3))
def test_a_factor_in_all_changes_nothing(name, alpha, sigma, c):
    law = LAWS[name]
    x = at(law, alpha, sigma)
    size = 1e3 * EPS * (1 + float(x.abs().max()) / sigma) ** 2  # of the logits
    torch.testing.assert_close(law(c * x, c * alpha, c * sigma), law(x, alpha, sigma), rtol=0, atol=20 * size)
    torch.testing.assert_close(law.log_prob(c * x, c * alpha, c * sigma) + 3 * math.log(c),
                               law.log_prob(x, alpha, sigma), rtol=0, atol=size + 1e-12)


def test_without_data_in_x_the_denoiser_is_the_mean(law):
    x = 10 * random(4, 3)
    torch.testing.assert_close(law(x, 0.0, 10.0), law.center.expand(4, 3))
    torch.testing.assert_close(law(1e8 * x, 1.0, 1e8).mean(0), law.center, atol=1e-6, rtol=0)
    within = law.covariance(x, 0.0, 1.0)[0].trace().item()
    assert within / 3 == pytest.approx(law.spread**2)


def test_with_hardly_any_noise_it_gives_the_data_back(law):
    x0, x = at(law, 1.0, 0.0 if law.dense else 1e-200), at(law, 0.5, 1e-8)
    torch.testing.assert_close(law(x, 0.5, 1e-8), x0, rtol=0, atol=2e-7)
    far = 1e6 + x  # where exp(-l) is 0 for every part
    for found in (law(far, 0.5, 1e-8), law.log_prob(far, 0.5, 1e-8), law.score(far, 0.5, 1e-8)):
        assert found.isfinite().all()


def test_every_sample_has_its_own_level(law):
    x, alpha, sigma = random(4, 3), torch.tensor([1.0, 0.6, 0.2, 0.0]), torch.tensor([0.1, 2.0, 1.0, 3.0])
    for ask in (law, law.score, law.log_prob, law.covariance):
        each = torch.cat([ask(x[i:i + 1], alpha[i].item(), sigma[i].item()) for i in range(4)])
        torch.testing.assert_close(ask(x, alpha, sigma), each)


def test_float32_is_computed_in_float64(law):
    x = random(4, 3).float()
    for ask in (law, law.score, law.log_prob, law.covariance):
        torch.testing.assert_close(ask(x, 0.9, 0.1), ask(x.double(), 0.9, 0.1).float(), rtol=0, atol=0)


def test_all_is_the_classes_weighted_by_their_posterior(classed):
    x, n = at(classed, 0.7, 0.8), classed.classes
    p = classed.posterior(x, 0.7, 0.8)
    torch.testing.assert_close(p.sum(1), torch.ones(len(x), dtype=F))
    for ask in (classed, classed.score):
        each = torch.stack([ask(x, 0.7, 0.8, c) for c in range(n)], dim=1)
        torch.testing.assert_close((p[..., None] * each).sum(1), ask(x, 0.7, 0.8))
        torch.testing.assert_close(ask(x, 0.7, 0.8, n), ask(x, 0.7, 0.8), rtol=0, atol=0)
    density = torch.stack([classed.log_prob(x, 0.7, 0.8, c) for c in range(n)], dim=1).exp()
    torch.testing.assert_close(classed.prior * density / (density @ classed.prior)[:, None], p)
    labels = torch.arange(len(x)) % (n + 1)
    mixed = torch.cat([classed(x[i:i + 1], 0.7, 0.8, int(labels[i])) for i in range(len(x))])
    torch.testing.assert_close(classed(x, 0.7, 0.8, labels), mixed)


# --- exact samples

@pytest.mark.parametrize("alpha, sigma", [(0.6, 0.8), (1.0, 0.2)])
def test_samples_have_the_mean_and_the_covariance(law, alpha, sigma):
    """Each within K standard errors, of the samples' own spread."""
    n = 20_000
    for condition in [None] if law.classes is None else [None, 1]:
        x = law.sample(n, alpha, sigma, seed=11, condition=condition)
        nothing = torch.zeros(1, 3, dtype=F)
        mean = alpha * law(nothing, 0.0, 1.0, condition)[0]
        covariance = alpha**2 * law.covariance(nothing, 0.0, 1.0, condition)[0] + sigma**2 * torch.eye(3, dtype=F)
        off = x - mean
        assert_near(off.mean(0).numpy(), 0.0, (covariance.diagonal() / n).sqrt().numpy())
        products = off[:, :, None] * off[:, None]
        assert_near(products.mean(0).numpy(), covariance.numpy(), (products.var(0) / n).sqrt().numpy())


def test_samples_of_a_gaussian_have_its_law():
    x = Gaussian(1.0, 0.5, shape=(2,)).sample(10_000, 0.6, 0.8, seed=3)
    assert_gaussian(x.numpy(), 0.6, 0.09 + 0.64)


def test_classes_come_at_their_rate(classed):
    n = 20_000
    found = classed.posterior(classed.sample(n, 0.6, 0.8, seed=4), 0.6, 0.8)
    assert_near(found.mean(0).numpy(), classed.prior.numpy(), (found.var(0) / n).sqrt().numpy())


def test_a_sample_is_its_seed_and_number(law):
    many = law.sample(50, 0.6, 0.8, seed=9)
    assert torch.equal(law.sample(3, 0.6, 0.8, seed=9, first=17), many[17:20])
    assert not torch.isclose(law.sample(50, 0.6, 0.8, seed=10), many).any()
    x0 = law.sample(50, seed=9)  # the same data with the same noise at every level
    eps = (many - 0.6 * x0) / 0.8
    torch.testing.assert_close(law.sample(50, 0.3, 2.0, seed=9), 0.3 * x0 + 2.0 * eps)
    z = law.sample(4000, 0.0, 1.0, seed=9)
    assert abs(float((z[:, 0] * law.sample(4000, seed=9)[:, 0]).mean())) < K * law.spread * 3 / 4000**0.5


def test_samples_are_drawn_a_few_at_a_time(law, monkeypatch):
    """With a level and a class for each; many are not all in memory twice, nor deaf to Ctrl-C."""
    n = 21
    levels = torch.linspace(0.1, 2.0, n, dtype=F), torch.linspace(3.0, 0.2, n, dtype=F)
    asked = {"seed": 9, "first": 4, "condition": None if law.classes is None else torch.arange(n) % law.classes}
    whole, drawn, draw = law.sample(n, *levels, **asked), [], type(law)._draw
    monkeypatch.setattr("diffusion.exact.law.CHUNK", 14)
    monkeypatch.setattr(type(law), "_draw", lambda law, u, z, c: drawn.append(len(u)) or draw(law, u, z, c))
    torch.testing.assert_close(law.sample(n, *levels, **asked), whole, rtol=1e-13, atol=1e-13)
    assert drawn == [4, 4, 4, 4, 4, 1]


def test_samples_that_do_not_fit_are_refused_before_any_is_drawn():
    with pytest.raises(MemoryError, match=r"of 1,000,000,000,000 samples of shape \(3,\) takes 22,351.7 GiB"):
        LAWS["gaussian"].sample(10**12)


def test_pictures_keep_their_shape():
    y = random(12, 1, 2, 3)
    data = Empirical(y, labels=torch.arange(12) % 2)
    mixture = GaussianMixture(y[:3], covariances(3, 6))
    for law in (data, mixture, Gaussian(y[0], 0.3), Gaussian(y[0], cov=covariances(1, 6)[0])):
        x = law.sample(5, 0.5, 0.5, seed=1)
        assert law.shape == law.center.shape == (1, 2, 3) and x.shape == law(x, 0.5, 0.5).shape == (5, 1, 2, 3)
        assert law.log_prob(x, 0.5, 0.5).shape == (5,) and law.covariance(x, 0.5, 0.5).shape == (5, 6, 6)
        flat = law(x, 0.5, 0.5).flatten(1)
    assert flat.shape == (5, 6)


def test_every_process_asks_by_its_levels(law):
    """The noise level alone counts: the same x_0 from processes that differ by a factor."""
    x = at(law, 1.0, 0.7)
    for process in (df.EDM(), df.VP()):
        level = process.at(0.7)
        torch.testing.assert_close(law(level.alpha * x, level.alpha, level.sigma), law(x, 1.0, 0.7))


# --- what is refused

@pytest.mark.parametrize("make, error, words", [
    (lambda: Gaussian(0.0, 0.0), ValueError, "std must be positive, got 0.0"),
    (lambda: Gaussian(0.0, -1.0), ValueError, "std must be positive, got -1.0"),
    (lambda: Gaussian(0.0, math.nan), ValueError, "std must be positive, got nan"),
    (lambda: Gaussian(math.nan, 1.0), ValueError, "mean must be finite, but 1 of 1"),
    (lambda: Gaussian(0.0), TypeError, "give std, or in its place cov"),
    (lambda: Gaussian(torch.zeros(3), cov=torch.eye(2)), ValueError, r"cov is of 2 elements, but .* \(3,\)"),
    (lambda: Gaussian(0.0, 1.0, shape=3), TypeError, r"shape is that of one sample, such as \(2,\) .*; got 3"),
    (lambda: Gaussian(0.0, 1.0, shape=(2.5,)), TypeError, r"shape is that of one sample, .*; got \(2.5,\)"),
    (lambda: Gaussian(0.0, 1.0, shape=(-1,)), ValueError, "shape must be at least 0"),
    (lambda: Gaussian(torch.zeros(3), 1.0, shape=(2,)), (ValueError, RuntimeError), "shape|sizes|broadcast"),
    (lambda: GaussianMixture(torch.zeros(2, 2)), TypeError, "give covariances"),
    (lambda: GaussianMixture(torch.zeros(2, 2), torch.eye(2)), ValueError, r"must be \(2, 2, 2\).*got \(2, 2\)"),
    (lambda: GaussianMixture(torch.zeros(2, 1), [[[1.0]], [[-0.5]]]), ValueError,
     "covariance 1 is not positive semi-definite: it has the eigenvalue -0.5"),
    (lambda: GaussianMixture(torch.zeros(1, 2), [[[1.0, 2.0], [2.0, 1.0]]]), ValueError, "eigenvalue -1 beside .* 3"),
    (lambda: GaussianMixture(torch.zeros(1, 2), [[[1.0, 0.5], [0.0, 1.0]]]), ValueError, "transpose by 0.5"),
    (lambda: GaussianMixture(torch.zeros(2, 1), stds=[1.0]), ValueError, r"stds must be \(2,\)"),
    (lambda: GaussianMixture(torch.zeros(2, 1), stds=[1.0, -1.0]), ValueError, "least -1"),
    (lambda: GaussianMixture(torch.zeros(2, 1), stds=[1.0, 1.0], weights=[0.6, 0.6]), ValueError, "the sum 1.2"),
    (lambda: GaussianMixture(torch.zeros(2, 1), stds=[1.0, 1.0], weights=[1.5, -0.5]), ValueError, "the least -0.5"),
    (lambda: GaussianMixture(torch.zeros(2, 1), stds=[1.0, 1.0], weights=[1.0]), ValueError, r"weights must be \(2,\)"),
    (lambda: GaussianMixture(torch.zeros(2, 1), stds=[1.0, 1.0], labels=[0, -1]), ValueError, "at least 0, got -1"),
    (lambda: GaussianMixture(torch.zeros(2, 1), stds=[1.0, 1.0], labels=[0.0, 1.0]), TypeError, "whole numbers"),
    (lambda: Empirical(torch.zeros(3, 2), labels=[0, 1]), ValueError, r"labels must be \(3,\)"),
    (lambda: Empirical(torch.zeros(0, 2)), ValueError, "at least one sample"),
    (lambda: Empirical(torch.zeros(3, 2, dtype=torch.long)), TypeError, "floating-point tensor, got torch.int64"),
    (lambda: Empirical(torch.tensor([[0.0], [math.nan], [math.inf]])), ValueError, r"sample 1 is not \(2 of 3 are not"),
    (lambda: FULL(torch.zeros(2, 4), 1.0, 1.0), ValueError, r"shape \(batch, 3\), got \(2, 4\)"),
    (lambda: FULL(torch.zeros(2, 3, dtype=torch.long), 1.0, 1.0), TypeError, "got torch.int64"),
    (lambda: FULL(torch.zeros(2, 3), 0.0, 0.0), ValueError, "sigma must be positive where alpha is 0"),
    (lambda: FULL(torch.zeros(2, 3), 1.0, -1.0), ValueError, "sigma must be at least 0 and finite, got -1"),
    (lambda: FULL(torch.zeros(2, 3), -1.0, 1.0), ValueError, "alpha must be at least 0"),
    (lambda: FULL(torch.zeros(2, 3), 1.0, torch.ones(3)), ValueError, "one for each of the 2 samples, got 3"),
    (lambda: SINGULAR.log_prob(torch.zeros(2, 3), 1.0, 0.0), ValueError, "no density, got sigma = 0"),
    (lambda: LAWS["data"](torch.zeros(2, 3), 1.0, 0.0), ValueError, "no density, got sigma = 0"),
    (lambda: FULL(torch.zeros(2, 3), 1.0, 1.0, 3), ValueError, "class 3 is outside 0 to 1; 2 stands for any"),
    (lambda: FULL(torch.zeros(2, 3), 1.0, 1.0, 0.5), TypeError, "a condition is a whole number"),
    (lambda: FULL(torch.zeros(2, 3), 1.0, 1.0, [0, 1, 0]), ValueError, "each of the 2 samples"),
    (lambda: Gaussian(0.0, 1.0)(torch.zeros(2, 3), 1.0, 1.0, 0), TypeError, "has no classes; leave it out"),
    (lambda: Gaussian(0.0, 1.0).posterior(torch.zeros(2, 3), 1.0, 1.0), TypeError, "has no classes"),
    (lambda: Gaussian(0.0, 1.0).sample(3), ValueError, "make it with shape="),
    (lambda: Empirical(torch.zeros(2, 1), labels=[0, 2])(torch.zeros(1, 1), 1.0, 1.0, 1), ValueError,
     "class 1 has probability 0"),
])
def test_what_makes_no_sense_is_refused(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_data_may_be_an_array():
    y = random(5, 3)
    law = Empirical(y.numpy())
    assert torch.equal(law(y, 1.0, 0.5), Empirical(y)(y, 1.0, 0.5))
    assert law._data.data_ptr() == y.data_ptr()  # kept, not copied


def test_covariances_that_are_singular_but_for_rounding_are_taken():
    """Of fewer data than dimensions, in float32: its eigenvalues are 0 but for a rounding of either sign."""
    y = random(5, 12).float()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        law = Gaussian(y.mean(0), cov=torch.cov(y.T))
    assert not law.dense
    x = law.sample(4, 1.0, 1e-6, seed=1)
    torch.testing.assert_close(law(x, 1.0, 1e-6), law.sample(4, seed=1), rtol=0, atol=2e-5)
