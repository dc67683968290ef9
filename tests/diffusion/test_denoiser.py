"""The denoiser knows noise levels and no time: its homogeneity, its views, its preconditioning, its loss."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import diffusion as df
from diffusion.denoiser import check_labels, column, parameter_count
from tests.conftest import EPS
from tests.diffusion.conftest import TINY, Net, shaken
from tests.strategies import numbers

EPS32 = torch.finfo(torch.float32).eps
levels = {"alpha": numbers(0.05, 1.5), "sigma": numbers(0.05, 40.0)}


def pictures(n=5, size=8, seed=0, dtype=torch.float64):
    return torch.randn(n, 1, size, size, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def preconditioned(net, spread=0.6, seed=3):
    return df.Preconditioned(net, 0.5 * pictures(1, seed=seed)[0], spread)


def smooth(u, c, label):
    """A network whose output changes by no more than its input and its level together."""
    return (u + column(c, u)).sin() + 0.1 * column(label.float(), u)


# Homogeneity: D(k x, k alpha, k sigma) = D(x, alpha, sigma)


@given(**levels, k=numbers(0.01, 100.0))
def test_a_gaussian_s_denoiser_depends_on_the_noise_level_alone(alpha, sigma, k):
    data, x = df.exact.Gaussian(0.7, 0.4), pictures()
    difference = data(k * x, k * alpha, k * sigma) - data(x, alpha, sigma)
    assert difference.abs().max() <= 32 * EPS * (1 + (x / alpha).abs().max())


@given(**levels, k=numbers(0.01, 100.0))
def test_a_network_s_denoiser_depends_on_the_noise_level_alone(alpha, sigma, k):
    """To the rounding of u and c, which the network gets in float32; its own slope is at most 1 in each."""
    model, x = preconditioned(Net(smooth)), pictures()
    found, exact = model(k * x, k * alpha, k * sigma), model(x, alpha, sigma)
    u, r = scaled(model, x, alpha, sigma)
    scale = model.spread * sigma / r
    rounded = scale * 8 * EPS32 * (u.abs().max() + 7) + 64 * EPS * (1 + (x / alpha).abs().max())
    assert (found - exact).abs().max() <= rounded


@given(**levels, power=st.integers(-6, 6))
def test_a_factor_of_two_changes_no_bit(alpha, sigma, power):
    model, x, k = preconditioned(shaken()), pictures(2), 2.0**power
    assert torch.equal(model(k * x, k * alpha, k * sigma, 1), model(x, alpha, sigma, 1))


# Preconditioning: Karras et al. 2022, table 1, for any alpha and centre


@given(**levels)
def test_a_network_of_nought_is_the_gaussian_s_denoiser(alpha, sigma):
    model, x = preconditioned(Net(lambda u, c, label: torch.zeros_like(u))), pictures()
    exact = df.exact.Gaussian(model.center.double(), model.spread)(x, alpha, sigma)
    assert (model(x, alpha, sigma) - exact).abs().max() <= 32 * EPS * (1 + (x / alpha).abs().max())


@given(sigma=levels["sigma"])
def test_the_coefficients_are_those_of_edm(sigma):
    """With r^2 = sigma^2 + s^2: c_skip = s^2/r^2, c_out = sigma s/r, c_in = 1/r, c_noise = ln(sigma)/4."""
    s, x = 0.6, pictures()
    model = df.Preconditioned(Net(smooth), torch.zeros(1, 8, 8), s)
    r = (sigma**2 + s**2) ** 0.5
    c = torch.full((len(x),), math.log(sigma) / 4)
    f = smooth((x / r).float(), c, torch.full((len(x),), 3)).double()
    exact = s**2 / r**2 * x + sigma * s / r * f
    assert (model(x, 1.0, sigma) - exact).abs().max() <= 8 * EPS32 * s * (x.abs().max() / r + 7)


def test_the_network_s_input_has_unit_variance_and_zero_mean():
    """u = (x - alpha m)/r with Var x = r^2: exactly so for x = alpha (m + s z) + sigma z', z and z' orthonormal."""
    model, seen = preconditioned(Net(lambda u, c, label: seen.append((u, c)) or u)), []
    z = torch.linalg.qr(torch.cat((torch.ones(64, 1), pictures(2, seed=9, dtype=torch.float32).reshape(2, 64).T), 1))[0]
    z, other = (8 * column.reshape(1, 1, 8, 8).double() for column in z.T[1:])  # mean 0, variance 1, no correlation
    for alpha, sigma in ((1.0, 0.1), (0.6, 0.8), (1.0, 30.0)):
        model(alpha * (model.center + model.spread * z) + sigma * other, alpha, sigma)
        u, c = seen.pop()
        assert u.mean().item() == pytest.approx(0, abs=64 * EPS32)
        assert u.square().mean().item() == pytest.approx(1, abs=64 * EPS32)
        assert c.item() == pytest.approx(math.log(sigma / alpha) / 4, abs=4 * EPS32)


def test_the_level_is_clipped_where_the_logarithm_is_out_of_reach():
    seen = []
    model = preconditioned(Net(lambda u, c, label: seen.append(c) or u))
    for sigma, level in ((1e-9, -7 / 4), (1e9, 7 / 4), (0.0, -7 / 4)):
        assert model(pictures(), 1.0, sigma).isfinite().all()
        assert seen.pop().tolist() == [level] * 5
    assert model(pictures(), 0.0, 1.0).isfinite().all() and seen.pop().tolist() == [7 / 4] * 5


def test_without_noise_the_picture_is_returned():
    x = pictures()
    torch.testing.assert_close(preconditioned(shaken())(0.5 * x, 0.5, 0.0), x)


def test_a_level_for_each_sample_is_the_same_as_one_by_one():
    model, x = preconditioned(shaken()), pictures(4)
    alpha, sigma = torch.tensor([1.0, 0.6, 0.3, 1.0]), torch.tensor([0.05, 0.8, 2.0, 30.0])
    whole = model(x, alpha, sigma, torch.tensor([0, 1, 2, 3]))
    each = torch.cat([model(x[i:i + 1], float(alpha[i]), float(sigma[i]), i) for i in range(4)])
    torch.testing.assert_close(whole, each, rtol=0, atol=1e3 * EPS32)
    assert (whole[0] - whole[1]).abs().max() > 0.1


def test_the_result_has_the_type_of_x_and_the_network_its_own():
    seen = []
    model = preconditioned(Net(lambda u, c, label: seen.append((u.dtype, c.dtype, label.dtype)) or u))
    for dtype in (torch.float32, torch.float64):
        assert model(pictures(dtype=dtype), 1.0, 0.5).dtype == dtype
        assert seen.pop() == (torch.float32, torch.float32, torch.int64)


# Views


@given(**levels)
def test_noise_and_score_are_those_of_the_gaussian(alpha, sigma):
    """eps = sigma (x - alpha m)/r^2 and grad log p = -(x - alpha m)/r^2."""
    data, x = df.exact.Gaussian(0.7, 0.4), pictures()
    v = (x - alpha * 0.7) / (alpha**2 * 0.4**2 + sigma**2)
    lost = 32 * EPS * (1 + x.abs().max() + alpha) * (1 + 1 / sigma)  # x - alpha D cancels
    assert (df.eps(data, x, alpha, sigma) - sigma * v).abs().max() <= lost
    assert (df.score(data, x, alpha, sigma) + v).abs().max() <= lost / sigma


def test_data_and_noise_of_a_view_make_up_x():
    model, x = preconditioned(shaken()), pictures()
    alpha, sigma = torch.tensor([1.0, 0.8, 0.5, 0.3, 0.1]), torch.tensor([0.1, 0.6, 0.9, 2.0, 9.0])
    D, eps = model(x, alpha, sigma, 2), df.eps(model, x, alpha, sigma, 2)
    torch.testing.assert_close(column(alpha, x) * D + column(sigma, x) * eps, x)
    torch.testing.assert_close(df.score(model, x, alpha, sigma, 2), -eps / column(sigma, x))
    assert not torch.equal(eps, df.eps(model, x, alpha, sigma, 1))  # the class is handed on


@pytest.mark.parametrize("view", [df.eps, df.score])
@pytest.mark.parametrize("sigma", [0.0, torch.tensor([1.0, 0.0, 1.0, 1.0, 1.0])])
def test_without_noise_there_is_no_view_of_it(view, sigma):
    with pytest.raises(ZeroDivisionError, match="exists only where sigma > 0"):
        view(df.exact.Gaussian(0.0, 1.0), pictures(), 1.0, sigma)


# Loss


def scaled(model, x, alpha, sigma):
    """u = (x - alpha m) / r, and r, for one level."""
    r = (alpha**2 * model.spread**2 + sigma**2) ** 0.5
    return (x - alpha * model.center.to(x.dtype)) / r, r


def target_of(model, x0, sigma, noise):
    """What F has to be for D = x_0: (r / (s sigma)) (x_0 - m - (s^2 / r^2)(x - m)), Karras et al. 2022, eq. 8."""
    s, v = model.spread, column(sigma, x0).double()
    centred, x = x0.double() - model.center.double(), x0.double() + v * noise - model.center.double()
    r = (s**2 + v**2).sqrt()
    return (r / (s * v) * (centred - s**2 / r**2 * x)).float()


@given(st.lists(numbers(0.02, 40.0), min_size=5, max_size=5))
def test_the_network_that_meets_its_target_denoises_exactly(sigmas):
    x0, noise, sigma = pictures(dtype=torch.float32), pictures(seed=1, dtype=torch.float32), torch.tensor(sigmas)
    model = preconditioned(Net(None))
    target = target_of(model, x0, sigma, noise)
    meets = df.Preconditioned(Net(lambda u, c, label: target), model.center, model.spread)
    D = meets(x0 + column(sigma, x0) * noise, 1.0, sigma)
    # rounding of x, at most 40 * 5, passed on by D's skip, and of the target through s sigma / r <= s
    size = 1 + x0.abs().max() + 5 * model.spread + (target.abs() * model.spread).max()
    assert (D - x0).abs().max() <= 32 * EPS32 * size


def test_the_gaussian_s_error_is_that_of_a_network_of_nought():
    """On data N(m, s^2 I) |D - x_0|^2 / d is gaussian_error(l); the variance of a mean of n squares is 2/n of it."""
    model, n = preconditioned(Net(lambda u, c, label: torch.zeros_like(u))), 2000
    x0 = model.center + model.spread * pictures(n, seed=5, dtype=torch.float32)
    noise = pictures(n, seed=6, dtype=torch.float32)
    for sigma in (0.02, 0.6, 5.0, 40.0):
        error = (model(x0 + sigma * noise, 1.0, sigma) - x0).square().mean()
        known = model.gaussian_error(torch.tensor(sigma))
        assert abs(float(error / known) - 1) <= 4.5 * (2 / (64 * n)) ** 0.5 + 1e3 * EPS32


def test_the_target_has_no_part_along_what_the_network_sees():
    """E[target u] = 0 on Gaussian data: no linear network is better than nought."""
    model, n = preconditioned(Net(None)), 2000
    x0 = model.center + model.spread * pictures(n, seed=5, dtype=torch.float32)
    noise = pictures(n, seed=6, dtype=torch.float32)
    for sigma in (0.1, 0.6, 5.0):
        s = torch.full((n,), sigma)
        u, _ = scaled(model, x0 + sigma * noise, 1.0, sigma)
        assert abs((u * target_of(model, x0, s, noise)).mean().item()) <= 4.5 * (1 / (64 * n)) ** 0.5


def test_the_level_and_the_label_reach_the_network():
    seen = []
    model = preconditioned(Net(lambda u, c, label: seen.append((c, label)) or u))
    sigma, label = torch.tensor([0.05, 1.0, 9.0, 1e-9, 1e9]), torch.tensor([0, 1, 2, 3, 0])
    model(pictures(dtype=torch.float32), 1.0, sigma, label)
    c, passed = seen.pop()
    np.testing.assert_allclose(c, sigma.log().clamp(-7, 7) / 4, rtol=4 * EPS32)
    assert torch.equal(passed, label)


def test_a_guess_is_seen_beside_the_noisy_picture():
    """F's second input is (g - m) / s, g told x, alpha and sigma over r: the same at every scale."""
    told = []

    class Guess(torch.nn.Module):
        def forward(self, x, alpha, sigma, label):
            told.append((x, alpha, sigma, label))
            return x / alpha.reshape(-1, 1, 1, 1)

    seen, m, s = [], torch.full((1, 8, 8), 0.2), 0.6
    model = df.Preconditioned(Net(lambda u, c, label: seen.append(u) or u[:, :1]), m, s, Guess())
    x, sigma, label = pictures(dtype=torch.float32), torch.linspace(0.1, 3.0, 5), torch.tensor([0, 1, 2, 3, 0])
    D = model(x, 0.5, sigma, label)
    r = (0.25 * s**2 + sigma**2).sqrt()
    torch.testing.assert_close(seen[0][:, :1], (x - 0.5 * m) / column(r, x))
    torch.testing.assert_close(seen[0][:, 1:], (x / 0.5 - m) / s)
    torch.testing.assert_close(told[0][1], 0.5 / r)
    torch.testing.assert_close(told[0][2], sigma / r)
    assert torch.equal(told[0][3], label)
    torch.testing.assert_close(model(7 * x, 3.5, 7 * sigma, label), D)


# Labels


@pytest.mark.parametrize("condition, labels", [
    (None, [3, 3]), (0, [0, 0]), (3, [3, 3]), ([2, 1], [2, 1]), (torch.tensor([1]), [1, 1]),
    (np.array([0, 2], np.uint8), [0, 2]), (np.int64(2), [2, 2]), (range(2), [0, 1])])
def test_a_condition_is_a_class_for_all_or_for_each_or_none(condition, labels):
    found = check_labels(condition, 2, classes=3)
    assert found.tolist() == labels and found.dtype == torch.int64


@pytest.mark.parametrize("condition, error, message", [
    (4, ValueError, "label 4 is outside the classes of this model: 0 to 2"),
    (-1, ValueError, "label -1 is outside"),
    ([0, 7], ValueError, "label 7 is outside"),
    (1.0, TypeError, "a label is a whole number from 0 to 2, got 1.0"),
    (True, TypeError, "a label is a whole number from 0 to 2, got True"),
    (torch.tensor([True, False]), TypeError, "a label is a whole number"),
    ([0, 1, 2], ValueError, r"give one label, or one for each of the 2 samples, got labels of shape \(3,\)"),
    ([[0, 1]], ValueError, r"got labels of shape \(1, 2\)"),
    (torch.empty(0, dtype=torch.int64), ValueError, r"got labels of shape \(0,\)"),
])
def test_other_labels_are_refused(condition, error, message):
    with pytest.raises(error, match=message):
        preconditioned(Net(smooth))(pictures(2), 1.0, 1.0, condition)


def test_a_denoiser_keeps_its_own_copy_of_the_centre():
    center = torch.zeros(1, 8, 8)
    model = df.Preconditioned(Net(smooth), center, 1.0)
    center += 1
    assert model.center.sum() == 0 and "center" in model.state_dict()


def test_a_denoiser_tells_the_shape_of_its_data_and_its_classes():
    model = preconditioned(shaken())
    assert (model.shape, model.classes, model.spread) == ((1, 8, 8), 3, 0.6)


def test_parameters_are_counted():
    assert parameter_count(torch.nn.Linear(3, 4)) == 16
    assert parameter_count(df.Preconditioned(Net(smooth), torch.zeros(1, 8, 8), 1.0)) == 0
    assert parameter_count(shaken(TINY)) == sum(p.numel() for p in shaken(TINY).parameters())


def test_whatever_is_called_like_a_denoiser_is_one():
    zero = lambda x, alpha, sigma, condition=None: torch.zeros_like(x)
    x = pictures()
    torch.testing.assert_close(df.eps(zero, x, 1.0, 2.0), x / 2)
    torch.testing.assert_close(df.score(zero, x, 1.0, 2.0), -x / 4)
