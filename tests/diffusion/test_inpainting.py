"""Inpainting: exact on Gaussian data, elsewhere the gradient that it says, of no more bias on a mixture than told."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import diffusion as df
from diffusion.encoding import encode
from diffusion.inpainting import inpaint
from diffusion.likelihood import log_likelihood
from diffusion.problems import mixture
from tests.conftest import K, assert_gaussian, assert_near

M, S = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64), 0.7
DATA = df.exact.Gaussian(M, S)
SEEN = torch.tensor([1.5, math.nan, 1.0], dtype=torch.float64)
MASK = torch.tensor([True, False, True])


def posterior(noise):
    """The law of x_0 given what was seen: mean and variance of each element."""
    gain = MASK * SEEN.new_tensor(S**2 / (S**2 + noise**2))
    return M + gain * torch.where(MASK, SEEN - M, 0.0), S**2 * (1 - gain)


def known(x, alpha, sigma, noise):
    """E[x_0 | x, seen]."""
    mean, variance = posterior(noise)
    return mean + alpha * variance / (alpha**2 * variance + sigma**2) * (x - alpha * mean)


levels = st.tuples(st.sampled_from([0.0, 0.1, 0.7, 1.0, 3.0]), st.floats(1e-3, 1e3))


@given(levels, st.sampled_from([0.0, 0.3, 5.0]), st.integers(0, 100))
def test_it_is_exact_on_gaussian_data(level, noise, seed):
    (alpha, sigma), random = level, torch.Generator().manual_seed(seed)
    x = (alpha**2 + sigma**2) ** 0.5 * torch.randn(4, 3, dtype=torch.float64, generator=random)
    found = inpaint(DATA, SEEN, MASK, noise)(x, alpha, sigma)
    size = float(known(x, alpha, sigma, noise).abs().max()) + 1
    torch.testing.assert_close(found, known(x, alpha, sigma, noise), rtol=0, atol=1e-9 * size)


def test_alpha_and_sigma_may_be_each_sample_s_own():
    x = torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    alpha, sigma = torch.tensor([0.0, 0.5, 1.0]).double(), torch.tensor([1.0, 0.5, 2.0]).double()
    model = inpaint(DATA, SEEN, MASK, 0.2)
    apart = torch.cat([model(x[k:k + 1], float(alpha[k]), float(sigma[k])) for k in range(3)])
    torch.testing.assert_close(model(x, alpha, sigma), apart, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("noise", [0.05, 1.0])
def test_on_other_data_it_is_the_gradient_that_it_says(noise):
    data, seen, mask = mixture(), torch.tensor([0.4, 0.0], dtype=torch.float64), torch.tensor([True, False])
    alpha, sigma, s = 0.8, 0.5, 0.9
    x = data.sample(20, alpha, sigma, seed=1)
    r2 = s**2 * sigma**2 / (alpha**2 * s**2 + sigma**2)

    def log_p(x):
        return -0.5 * (seen[0] - data(x, alpha, sigma)[:, 0]).square() / (r2 + noise**2)

    h = 1e-5
    slope = torch.stack([(log_p(x + h * e) - log_p(x - h * e)) / (2 * h) for e in torch.eye(2).double()], dim=1)
    expected = data(x, alpha, sigma) + sigma**2 / alpha * slope
    found = inpaint(data, seen, mask, noise, spread=s)(x, alpha, sigma)
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("method", [df.heun, df.dpmpp_3m, df.ancestral, df.sde_dpmpp_2m, df.churned(),
                                    df.predictor_corrector(), df.flow_ode()], ids=repr)
def test_every_sampler_keeps_what_was_seen_and_draws_the_rest(method):
    result = df.sample(inpaint(DATA, SEEN, MASK), 2000, method=method, steps=60, seed=3, dtype=torch.float64,
                       batch=2000)
    assert (result.samples[:, MASK] == SEEN[MASK]).all()
    rest = result.samples[:, 1]
    # .01 is the error of 60 steps of the methods of order 1, and of Langevin steps at a fixed ratio
    assert_near(rest.mean(), -1.0, S / 2000**0.5, 0.01)
    assert_near(rest.std(), S, S / 4000**0.5, 0.01)


def test_from_alpha_zero_it_samples_the_posterior():
    noise = 0.5
    mean, variance = posterior(noise)
    result = df.sample(inpaint(DATA, SEEN, MASK, noise), 2000, method=df.ancestral, close=False, seed=4, batch=2000,
                       grid=df.grid.uniform(df.RectifiedFlow(), 100), dtype=torch.float64)
    level = result.grid.levels[-1]
    law = level.alpha * mean, level.alpha**2 * variance + level.sigma**2
    assert_gaussian(result.samples.numpy(), *(v.numpy() for v in law))


def test_log_p_given_what_was_seen():
    """Through the product with the Jacobian inside: the trace differentiates it once more."""
    noise, process = 0.3, df.VP()
    mean, variance = posterior(noise)
    law = df.exact.Gaussian(mean, cov=torch.diag(variance))
    level = process.level(1e-3)
    x = law.sample(30, level.alpha, level.sigma, seed=5)
    found = log_likelihood(inpaint(DATA, SEEN, MASK, noise), x, process, prior=law.log_prob)
    assert (found.nats - law.log_prob(x, level.alpha, level.sigma)).abs().max() < 1e-3
    up = encode(inpaint(DATA, SEEN, MASK, noise), x, process=process)
    assert (found.latent - up).abs().max() < 1e-4


def test_labels_and_guidance_go_to_what_is_inside():
    means = torch.tensor([[1.0, 2.0], [-2.0, 0.5]], dtype=torch.float64)
    data = df.exact.GaussianMixture(means, stds=[0.6, 0.6])
    seen, mask = torch.tensor([0.3, 0.0]), torch.tensor([True, False])
    model = inpaint(data, seen, mask, spread=0.6)
    assert model.classes == 2 and model.shape == (2,)
    x, label = data.sample(6, 1.0, 0.8, seed=6), torch.tensor([0, 1] * 3)
    gain = 0.36 / (0.36 + 0.64)
    found, expected = model(x, 1.0, 0.8, label), means[label, 1] + gain * (x[:, 1] - means[label, 1])
    torch.testing.assert_close(found[:, 1], expected, rtol=0, atol=1e-12)
    assert (found[:, 0] == seen[0]).all()
    guided = inpaint(df.classifier_free(data, 0.5), seen, mask, spread=0.6)
    outside, inside = (df.sample(m, 4, label=1, steps=6, seed=7, guidance=w, interval=(0, math.inf))
                       for m, w in ((model, 0.5), (guided, 0.0)))
    assert outside.nfe == inside.nfe == 2 * outside.grid.nfe(2)
    for result in (outside, inside):
        assert (result.samples[:, 0] == 0.3).all()
    plain = df.sample(model, 4, label=1, steps=6, seed=7)
    assert (plain.samples - outside.samples)[:, 1].abs().min() > 1e-3


def test_its_bias_on_a_mixture_is_no_larger_than_told():
    data, n = mixture(), 1500
    every = data.sample(400_000, seed=8)  # the exact answer, by the formula below, is also that of these near 0
    near = every[every[:, 0].abs() < 0.02, 1]
    means = torch.tensor([[1.0, 0.5], [-1.1, 0.4], [0.2, -1.2]], dtype=torch.float64)
    cov = data.covariance(means, 1e-9, 1.0, torch.arange(3))  # with next to no knowledge of x: that of the class
    v = cov[:, 0, 0]
    weights = (data.prior.log() - 0.5 * (means[:, 0] ** 2 / v + v.log())).softmax(0)
    center = means[:, 1] - cov[:, 1, 0] / v * means[:, 0]
    mean = weights @ center
    variance = weights @ (cov[:, 1, 1] - cov[:, 1, 0] ** 2 / v + (center - mean) ** 2)
    assert abs(float(near.mean() - mean)) < 5 * (float(variance) / len(near)) ** 0.5
    assert [round(float(w), 2) for w in (mean, variance, *weights)] == [-0.53, 0.86, 0.26, 0.12, 0.62]

    model = inpaint(data, torch.zeros(2), torch.tensor([True, False]))
    for method, steps, told, shares in ((df.ancestral, 200, (-0.17, 0.85), (0.36, 0.20, 0.45)),
                                        (df.dpmpp_2m, 60, (-0.10, 0.87), (0.37, 0.22, 0.41))):
        x = df.sample(model, n, grid=df.grid.edm(steps), method=method, close=False, seed=9, batch=n,
                      dtype=torch.float64).samples
        error = 0.005 + K * 0.93 / n**0.5  # told to two places; of n samples
        assert abs(float(x[:, 1].mean() - mean)) <= abs(told[0] - float(mean)) + error
        assert abs(float(x[:, 1].var() - variance)) <= abs(told[1] - float(variance)) + error
        found, told = data.posterior(x, 1.0, 0.02).mean(0), torch.tensor(shares)
        assert (found - weights).abs().max() <= (told - weights).abs().max() + 0.005 + K * 0.5 / n**0.5


def blind(x, alpha, sigma, condition=None):
    return torch.zeros_like(x)


@pytest.mark.parametrize(("change", "error", "words"), [
    ({"observed": torch.zeros(3)}, ValueError, "shape"),
    ({"mask": torch.ones(2)}, TypeError, "booleans"),
    ({"mask": torch.ones(3, dtype=torch.bool)}, ValueError, "does not fit"),
    ({"mask": torch.zeros(2, dtype=torch.bool)}, ValueError, "nothing is observed"),
    ({"observed": torch.tensor([math.nan, 0.0])}, ValueError, "finite where"),
    ({"noise": -1.0}, ValueError, "noise"),
    ({"spread": 0.0}, ValueError, "spread"),
])
def test_what_does_not_fit_is_refused_by_name(change, error, words):
    asked = {"observed": torch.zeros(2), "mask": torch.tensor([True, False]), **change}
    with pytest.raises(error, match=words):
        inpaint(mixture(), **asked)


def test_a_denoiser_without_derivatives_is_refused():
    with pytest.raises(TypeError, match="not differentiable"):
        inpaint(blind, torch.zeros(2), torch.tensor([True, False]))(torch.zeros(1, 2), 1.0, 1.0)


def test_a_network_without_derivatives_is_refused_and_named_by_its_type():
    net = torch.nn.Linear(2, 2)
    model = df.denoiser(lambda x, t: net(x).detach(), "eps", df.VP(), shape=(2,))
    with pytest.raises(TypeError, match="not differentiable"):
        inpaint(model, torch.zeros(2), torch.tensor([True, False]))(torch.zeros(1, 2), 1.0, 1.0)


def test_without_any_noise_it_is_refused():
    given = (mixture(), torch.zeros(2), torch.tensor([True, False]))
    with pytest.raises(ZeroDivisionError, match="exists only where sigma > 0, got sigma = 0; end the grid"):
        inpaint(*given)(torch.ones(1, 2), 1.0, 0.0)
    x = torch.ones(1, 2)
    torch.testing.assert_close(inpaint(*given, noise=1.0)(x, 1.0, 0.0), x)


def test_arrays_are_taken_as_tensors():
    y, mask, x = torch.tensor([3.0, 0.0]), torch.tensor([True, False]), torch.ones(1, 2)
    given = inpaint(mixture(), y.numpy(), mask.numpy())
    assert torch.equal(given(x, 1.0, 1.0), inpaint(mixture(), y, mask)(x, 1.0, 1.0))


@pytest.mark.parametrize(("method", "power"), [(df.heun, 1), (df.ancestral, 2)], ids=["flow", "noise"])
def test_samples_stay_short_of_the_posterior_mean_by_what_is_told(method, power):
    n, left = 20_000, 0.5  # v
    known = inpaint(df.exact.Gaussian(0.0, 1.0, shape=(2,)), torch.tensor([3.0, 0.0]), torch.tensor([True, False]), 1.0)
    grid = df.grid.log_snr(df.EDM(), 100, (0.002, 4.0))
    x = df.sample(known, n, grid=grid, method=method, seed=1, batch=n, dtype=torch.float64).samples
    short = (left / (left + 4.0**2)) ** (power / 2)
    assert_near(x[:, 0].mean(), 1.5 * (1 - short), (left / n) ** 0.5, 0.01)  # and the steps' error
