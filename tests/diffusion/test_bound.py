"""The variational bound, term by term against closed forms, and as a whole against laws of bytes that are known."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax
from scipy.stats import norm

import diffusion as df
import sdekit as sk
from diffusion.bound import variational_bound
from diffusion.bytes import WIDTH, categorical, discretised_gaussian, levels, of
from tests.conftest import K, assert_near

GRIDS = [df.grid.log_snr(df.EDM(), 12, (0.01, 40.0)), df.grid.uniform(df.VP(), 9), df.grid.edm(7, 0.02, 5.0),
         df.grid.uniform(df.RectifiedFlow(), 8)]  # the last from alpha = 0
every_grid = pytest.mark.parametrize("grid", GRIDS, ids=repr)
either = pytest.mark.parametrize("last", [categorical, discretised_gaussian])
DATA = df.exact.Gaussian(torch.tensor([0.3, -0.5, 0.9], dtype=torch.float64), 0.4)
U = torch.tensor([[0, 100, 255]])
GREYS = levels()


def law(used=range(256)):
    """A law of one byte: two Gaussians, by their distribution functions between the middles of neighbours."""
    edges = np.concatenate(([-np.inf], (GREYS[list(used)][1:] + GREYS[list(used)][:-1]) / 2, [np.inf]))
    cdf = 0.7 * norm.cdf(edges, -0.6, 0.15) + 0.3 * norm.cdf(edges, 0.5, 0.3)
    w = torch.from_numpy(np.diff(cdf))
    return df.exact.GaussianMixture(GREYS[list(used), None], stds=torch.zeros(len(w)), weights=w / w.sum()), w / w.sum()


def copies(n):
    return GREYS[U].expand(n, 3)


@every_grid
def test_every_term_of_gaussian_data_is_its_closed_form(grid):
    n, x0, m, v = 4000, GREYS[U][0], DATA.center, DATA.spread**2
    found = variational_bound(DATA, copies(n), grid, draws=len(grid), seed=1)
    top = grid.levels[0]
    r = math.hypot(top.alpha * DATA.spread, top.sigma)
    first, prior = sk.gaussian.Gaussian((top.alpha * x0).numpy(), top.sigma**2 * np.eye(3)), sk.gaussian.Gaussian(
        (top.alpha * m).numpy(), r**2 * np.eye(3))
    torch.testing.assert_close(found.prior, torch.full((n,), sk.gaussian.kl(first, prior), dtype=torch.float64))
    for k, (t, s) in enumerate(zip(grid.levels, grid.levels[1:])):
        gain = t.alpha * v / (t.alpha**2 * v + t.sigma**2)  # D = m + gain (x_t - alpha m)
        mean, variance = _to(s, t, x0[0])
        shift = _to(s, t, x0[0] + 1.0)[0] - mean  # of the mean of q(x_s | x_t, x_0), by 1 of x_0
        square = (1 - gain * t.alpha)**2 * (x0 - m).square() + gain**2 * t.sigma**2  # E (x_0 - D)^2
        exact = shift**2 / (2 * variance) * float(square.sum())
        # at alpha = 0 it does not scatter
        assert_near(found.steps[:, k].mean(), exact, float(found.steps[:, k].std()) / n**0.5 + 1e-12 * exact)


def _to(s, t, x0):
    """The mean of q(x_s | x_t = 1, x_0), and its variance: of their joint law, conditioned."""
    ratio = t.alpha / s.alpha
    joint = sk.gaussian.Gaussian([float(s.alpha * x0), float(t.alpha * x0)], [
        [s.sigma**2, ratio * s.sigma**2], [ratio * s.sigma**2, t.sigma**2]])
    given = joint.conditional(1, 1.0)
    return float(np.squeeze(given.mean)), float(np.squeeze(given.cov))


@either
def test_the_last_step_has_the_mean_of_its_law(last):
    grid, n = df.grid.log_snr(df.VP(), 4, (0.002, 0.9)), 4000
    level = grid.levels[-1]
    found = variational_bound(DATA, copies(n), grid, draws=1, last=last, seed=2)
    z, w = np.polynomial.hermite_e.hermegauss(80)
    x = level.alpha * copies(80) + level.sigma * torch.from_numpy(z)[:, None]
    chance = last(U.expand(80, 3), x, level, lambda: DATA(x, level.alpha, level.sigma))
    exact = -(torch.from_numpy(w / w.sum())[:, None] * chance).sum()
    assert_near(found.last.mean(), float(exact), float(found.last.std()) / n**0.5)


@either
@given(x=st.floats(-1.5, 1.5), noise=st.floats(1e-3, 2.0), gain=st.floats(0.0, 1.0))
def test_the_last_step_is_a_law_of_bytes(last, x, noise, gain):
    level = df.RectifiedFlow().at(noise)
    at = torch.full((256, 1), level.alpha * x, dtype=torch.float64)
    chance = last(torch.arange(256)[:, None], at, level, lambda: gain * at / level.alpha).exp().squeeze()
    assert abs(float(chance.sum()) - 1) < 1e-10
    if last is categorical:
        exact = softmax(norm.logpdf(x, GREYS.numpy(), noise))
    else:
        edges = np.concatenate(([-np.inf], (GREYS.numpy() + WIDTH / 2)[:-1], [np.inf]))
        exact = np.diff(norm.cdf(edges, gain * x, noise))
    np.testing.assert_allclose(chance.numpy(), exact, rtol=1e-6, atol=1e-12)


def test_bytes_are_their_levels():
    assert torch.equal(of(levels()), torch.arange(256)) and torch.equal(of(levels().float()), torch.arange(256))


def minimum(data, level):
    """The least mean square error, E Var[x_0 | x], by quadrature over x."""
    width = 10 * level.noise
    x = torch.linspace(-1 - width, 1 + width, int(8 * (2 + 2 * width) / level.noise), dtype=torch.float64)[:, None]
    density = data.log_prob(level.alpha * x, level.alpha, level.sigma).exp() * level.alpha
    return float(torch.trapezoid(density * data.covariance(level.alpha * x, level.alpha, level.sigma).flatten(),
                                 x.flatten()))


def expected(data, grid):
    """E prior and steps, in nats: half the least square error times the growth of alpha^2 / sigma^2."""
    snr = np.array([(level.alpha / level.sigma) ** 2 for level in grid])
    return 0.5 * float(np.diff(snr) @ [minimum(data, level) for level in grid.levels[:-1]])


def test_it_falls_to_the_entropy_of_a_law_of_bytes_at_first_order():
    data, w = law(range(0, 256, 5))
    entropy = -float((w * w.log()).sum())
    x, above = data.sample(1000, seed=3), []
    for steps in (16, 32, 64, 128):
        grid = df.grid.log_snr(df.EDM(), steps, (0.001, 40.0))
        exact, found = expected(data, grid), variational_bound(data, x, grid, draws=16, seed=4)
        # beside log P(u) of the same samples, whose own scatter is gone
        off = found.steps.sum(1) + w[of(x[:, 0]) // 5].log()
        assert_near(off.mean(), exact - entropy, float(off.std()) / 1000**0.5)
        assert found.prior.mean() < 1e-3 and found.last.mean() < 1e-3
        # a step of h = ln(noise_t / noise_s) takes (e^2h - 1) / 2 for its part h of the integral over ln(sigma/alpha)
        h = math.log(40 / 0.001) / steps
        above.append((exact - entropy) / (entropy * (math.expm1(2 * h) / (2 * h) - 1)))
    np.testing.assert_allclose(above, 1.0, rtol=0.01)


def test_every_byte_s_own_bound_lies_below_its_log_probability():
    """Where steps are many, samples have the law of the data: the gap closes for every byte, from below."""
    data, w = law(range(0, 256, 51))  # 6 bytes
    grid, n = df.grid.log_snr(df.EDM(), 1000, (0.001, 40.0)), 1000
    for k in range(6):
        found = variational_bound(data, GREYS[51 * k].expand(n, 1), grid, draws=32, seed=5).nats
        error = float(found.std()) / n**0.5
        assert found.mean() < w[k].log() + K * error
        # the gap is that of q and p of the whole paths: nought in the limit
        assert found.mean() > w[k].log() - 0.05 - K * error


@either
@pytest.mark.parametrize("model", [df.exact.Gaussian(0.1, 0.5, shape=(1,)), law(range(0, 256, 51))[0]], ids=repr)
def test_it_is_a_bound_of_what_ancestral_sampling_makes(model, last):
    grid, n = df.grid.log_snr(df.VP(), 5, (0.002, 0.7)), 10000  # few steps: far from the data's law
    level = grid.levels[-1]
    x = df.sample(model, n, method=df.ancestral, grid=grid, close=False, seed=6, dtype=torch.float64).samples
    D = model(x, level.alpha, level.sigma)
    for u in (51, 102, 204):
        chance = last(torch.full((n, 1), u), x, level, lambda: D).exp()
        found = variational_bound(model, GREYS[u].expand(2000, 1), grid, draws=5, last=last, seed=7).nats
        error = math.hypot(float(chance.std() / chance.mean()) / n**0.5, float(found.std()) / 2000**0.5)
        assert found.mean() < math.log(chance.mean()) + K * error


def test_few_steps_drawn_stand_for_all_of_their_part():
    grid, n = df.grid.log_snr(df.EDM(), 32, (0.01, 40.0)), 1000
    every = variational_bound(DATA, copies(n), grid, draws=32, seed=8)
    for draws in (4, 3, 64):
        few = variational_bound(DATA, copies(n), grid, draws=draws, seed=9)
        assert_near(few.steps.sum(1).mean() - every.steps.sum(1).mean(), 0.0,
                    float((few.steps.sum(1).var() + every.steps.sum(1).var()) / n)**0.5)
    both = every.steps[:, -2:] - every.steps[:, -2:].mean(0)  # each step has noise of its own
    assert abs(float((both[:, 0] * both[:, 1]).mean() / (both.var(0).prod()) ** 0.5)) < K * n**-0.5
    few, every = variational_bound(DATA, copies(n), grid, draws=4, seed=9).steps, every.steps.reshape(n, 4, 8).sum(2)
    assert_near(few.mean(0) - every.mean(0), 0.0, ((few.var(0) + every.var(0)) / n).sqrt().numpy())


def test_its_parts_are_those_of_the_grid():
    grid = df.grid.log_snr(df.EDM(), 64, (0.01, 40.0))
    found = variational_bound(DATA, copies(10), grid, draws=4, seed=1)
    assert [(a, b) for a, b, _ in found.parts] == [(grid.levels[k].noise, grid.levels[k + 16].noise)
                                                  for k in (0, 16, 32, 48)]
    rest = (found.prior + found.last).mean() / (3 * math.log(2))
    assert sum(bits for *_, bits in found.parts) + rest == pytest.approx(float(found.bits_per_dim.mean()))


def test_a_class_has_a_bound_of_its_own():
    data = df.exact.GaussianMixture(GREYS[[50, 200], None], stds=[0.05, 0.3])
    x, label = GREYS[torch.tensor([40, 60, 180, 210])][:, None], torch.tensor([0, 0, 1, 1])
    grid = df.grid.edm(20)
    found = variational_bound(data, x, grid, label=label, draws=20, seed=1)
    for k in range(4):
        alone = df.exact.GaussianMixture(data._means[label[k], None], stds=data._values[label[k]].sqrt())
        alone.center, alone.spread = data.center, data.spread  # of the prior
        one = variational_bound(alone, x[k:k + 1], grid, draws=20, seed=1, first=k)
        torch.testing.assert_close(one.nats, found.nats[k:k + 1], rtol=1e-12, atol=1e-12)


@either
def test_a_picture_s_bound_does_not_depend_on_its_batch(last):
    x = GREYS[torch.arange(0, 252, 12).reshape(7, 3)]
    whole = variational_bound(DATA, x, draws=3, last=last, seed=1, batch=7)
    for batch in (1, 3):
        torch.testing.assert_close(variational_bound(DATA, x, draws=3, last=last, seed=1, batch=batch).nats, whole.nats,
                                   rtol=1e-12, atol=1e-12)
    alone = variational_bound(DATA, x[4:5].float().numpy(), draws=3, last=last, seed=1, first=4)
    torch.testing.assert_close(alone.nats, whole.nats[4:5], rtol=1e-12, atol=1e-12)
    assert variational_bound(DATA, x, draws=3, last=last, seed=2).nats.sub(whole.nats).abs().min() > 1e-6


@pytest.mark.parametrize(("change", "error", "words"), [
    ({"x": torch.zeros(2, 3)}, ValueError, "of their distance off"),  # 0 is no byte's level
    ({"x": torch.full((2, 3), 1 + WIDTH)}, ValueError, "goes from"),
    ({"x": torch.full((2, 3), 255, dtype=torch.uint8)}, TypeError, "floating-point"),
    ({"x": torch.ones(2, 2)}, ValueError, "shape"),
    ({"grid": 18}, TypeError, "df.grid"),
    ({"draws": 0}, ValueError, "draws"),
    ({"label": 1}, TypeError, "no classes"),
    ({"denoiser": df.Derived(DATA, lambda base: lambda x, a, s, c=None: x / 0)}, FloatingPointError, "not finite"),
    ({"denoiser": df.Derived(DATA, lambda base: lambda x, a, s, c=None: x[:, :1])}, ValueError, "must be equal"),
])
def test_what_does_not_fit_is_refused_by_name(change, error, words):
    asked = {"denoiser": DATA, "x": torch.ones(2, 3), **change}
    with pytest.raises(error, match=words):
        variational_bound(asked.pop("denoiser"), asked.pop("x"), **asked)
