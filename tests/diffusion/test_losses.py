"""What training minimises: the published objectives in their own parametrisations, their levels, their exact values."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from scipy.special import ndtr

import diffusion as df
from diffusion.denoiser import column
from diffusion.losses import LOSSES, MOST, Denoising, Eps, Karras, LogNormal, LogUniform, MinSNR, Times, V, Velocity
from tests.conftest import EPS, K
from tests.diffusion.conftest import Net

EPS32 = torch.finfo(torch.float32).eps
SHARES = torch.linspace(0.003, 0.997, 41, dtype=torch.float64)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


class Model:
    """A denoiser that keeps what it was asked; by default a function of x/alpha, sigma/alpha and the label, no more."""

    def __init__(self, spread=0.6, denoiser=None):
        self.spread, self.denoiser = spread, denoiser or self.waves

    @staticmethod
    def waves(x, alpha, sigma, label):
        z, l = x / column(alpha, x), column(sigma, x) / column(alpha, x)
        return (1.3 * z).sin() / (1 + l) + 0.2 * column(label, z) * z.flip(-1).cos()

    def __call__(self, x, alpha, sigma, label):
        self.x, self.alpha, self.level, self.label = x, alpha, sigma, label
        return self.denoiser(x, torch.as_tensor(alpha).to(x), sigma.to(x), label)

    def gaussian_error(self, level):
        return (level * self.spread) ** 2 / (level**2 + self.spread**2)


def batch(n=64, seed=5):
    return torch.randn(n, 2, 3, 3, generator=generator(seed), dtype=torch.float64), torch.arange(n) % 3


# The published objectives


def eps_objective(D, x0, eps, l, label):
    """|eps - eps_theta(x_t)|^2 at x_t = alpha x_0 + sigma eps, alpha^2 + sigma^2 = 1 (Ho et al. 2020, algorithm 1)."""
    alpha, sigma = 1 / (1 + l**2).sqrt(), l / (1 + l**2).sqrt()
    x = column(alpha, x0) * x0 + column(sigma, x0) * eps
    guess = (x - column(alpha, x0) * D(x, alpha, sigma, label)) / column(sigma, x0)
    return (eps - guess).square().mean((1, 2, 3))


def v_objective(D, x0, eps, l, label):
    """|v - v_theta|^2, v = alpha eps - sigma x_0 = (alpha x_t - x_0)/sigma (Salimans & Ho 2022, appendix D)."""
    alpha, sigma = 1 / (1 + l**2).sqrt(), l / (1 + l**2).sqrt()
    a, s = column(alpha, x0), column(sigma, x0)
    x = a * x0 + s * eps
    return (a * eps - s * x0 - (a * x - D(x, alpha, sigma, label)) / s).square().mean((1, 2, 3))


def min_snr_objective(D, x0, eps, l, label):
    """min(SNR, 5)/SNR |eps - eps_theta|^2, SNR = alpha^2/sigma^2 (Hang et al. 2023, section 3.4)."""
    snr = (1 / (1 + l**2)) / (l**2 / (1 + l**2))
    return snr.clamp(max=5.0) / snr * eps_objective(D, x0, eps, l, label)


def flow_objective(D, x0, eps, l, label):
    """|u - u_theta|^2 at x_t = (1 - t) x_0 + t eps, u = dx_t/dt = eps - x_0, u_theta = (x_t - D)/t."""
    t = l / (1 + l)
    x = column(1 - t, x0) * x0 + column(t, x0) * eps
    return (eps - x0 - (x - D(x, 1 - t, t, label)) / column(t, x0)).square().mean((1, 2, 3))


def edm_objective(D, x0, eps, l, label, s=0.6):
    """|F - (x_0 - c_skip x)/c_out|^2 with D = c_skip x + c_out F (Karras et al. 2022, eq. 8 and table 1)."""
    x = x0 + column(l, x0) * eps
    skip, out = column(s**2 / (l**2 + s**2), x0), column(l * s / (l**2 + s**2).sqrt(), x0)
    F = (D(x, torch.ones_like(l), l, label) - skip * x) / out
    return (F - (x0 - skip * x) / out).square().mean((1, 2, 3))


OBJECTIVES = {"edm": edm_objective, "ddpm": eps_objective, "v": v_objective, "min_snr": min_snr_objective,
              "flow": flow_objective, "likelihood": eps_objective}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_loss_is_its_published_objective_in_its_own_parametrisation(name):
    """For a denoiser that is far from the best, picture by picture. The weights are in float32; what is told from x
    loses a factor 1 + 1/l in rounding, twice: the noise read off x, and the other parametrisation."""
    assert OBJECTIVES.keys() == LOSSES.keys()
    (x0, label), model = batch(), Model()
    for seed in range(3):
        terms = LOSSES[name]()(model, x0, label, generator(seed))
        l = terms.level.double()
        eps = (model.x - x0) / column(l, x0)
        exact = OBJECTIVES[name](model.waves, x0, eps, l, label)
        rounded = 1e3 * EPS * (1 + 1 / l) ** 2 * (1 + exact.sqrt()) ** 2 + 8 * EPS32 * exact
        assert ((terms.value - exact).abs() <= rounded).all()
        error = (model.waves(model.x, torch.ones_like(l), l, label) - x0).square().mean((1, 2, 3))
        torch.testing.assert_close(terms.error, error, rtol=1e-12, atol=0)


def test_the_table_of_the_module_is_what_the_losses_are():
    """Each weight as the module's docstring has it, at levels on both sides of all that changes."""
    l = torch.logspace(-3, 3, 61, dtype=torch.float64)
    gaussian = Model().gaussian_error(l)
    table = {Karras(): 1 / gaussian, Eps(): 1 / l**2, V(): 1 + 1 / l**2, MinSNR(5.0): (1 / l**2).clamp(max=5),
             MinSNR(1.0): (1 / l**2).clamp(max=1), Velocity(): (1 + 1 / l) ** 2}
    for weight, exact in table.items():
        torch.testing.assert_close(weight(l, gaussian), exact, rtol=1e-13, atol=0)
    assert {name: type(loss().weight) for name, loss in LOSSES.items()} == {
        "edm": Karras, "ddpm": Eps, "v": V, "min_snr": MinSNR, "flow": Velocity, "likelihood": Eps}
    assert df.losses.min_snr(2.0).weight.most == 2.0


def test_the_likelihood_s_loss_is_the_steps_of_the_bound():
    """Of N(0, s^2) and its best denoiser: d ln(high/low) L = d/2 ln((1 + s^2/low^2) / (1 + s^2/high^2)), half the
    integral of s^2 l^2/(s^2 + l^2) against the signal-to-noise ratio 1/l^2."""
    s, low, high, n, d = 0.6, 1e-3, 40.0, 20_000, 2
    x0 = s * torch.randn(n, d, generator=generator(1), dtype=torch.float64)
    best = Model(s, lambda x, alpha, sigma, label: column(s**2 / (s**2 + sigma**2), x) * x)
    found = d * math.log(high / low) * df.losses.likelihood(low, high)(best, x0, torch.zeros(n), generator(2)).value
    exact = d / 2 * math.log((1 + (s / low) ** 2) / (1 + (s / high) ** 2))
    assert abs(float(found.mean()) - exact) <= K * float(found.std()) / n**0.5


# How often each level is visited


@pytest.mark.parametrize("levels, law", [
    (LogNormal(0.3, 1.4), scipy.stats.lognorm(1.4, scale=math.exp(0.3))),
    (LogNormal(-1.2, 1.2), scipy.stats.lognorm(1.2, scale=math.exp(-1.2))),
    (LogUniform(0.02, 40.0), scipy.stats.loguniform(0.02, 40.0))])
def test_levels_are_the_quantiles_of_their_law(levels, law):
    np.testing.assert_allclose(levels(SHARES), law.ppf(SHARES), rtol=1e-12)


def test_the_flow_s_logit_normal_times_are_log_normal_levels():
    """t = 1/(1 + exp(-z)), z ~ N(m, s^2) (Esser et al. 2024, eq. 19): l = t/(1 - t) = exp(z)."""
    t = 1 / (1 + np.exp(-scipy.stats.norm(-0.5, 1.1).ppf(SHARES)))
    np.testing.assert_allclose(LogNormal(-0.5, 1.1)(SHARES), t / (1 - t), rtol=1e-12)


@pytest.mark.parametrize("process", [df.RectifiedFlow(), df.Cosine(), df.VP(), df.EDM()], ids=repr)
def test_times_of_a_process_are_uniform_on_its_span(process):
    """At the level below which a share u lies the process is at that share of its span."""
    low, high = process.span
    times = [process.time(l) for l in Times(process)(SHARES).tolist()]
    np.testing.assert_allclose(times, low + (high - low) * SHARES.numpy(), rtol=1e-7)


def test_times_of_a_walk_are_its_whole_times_each_as_often():
    process = df.Discrete(df.linear_betas(50))
    n = 7
    levels = Times(process)((torch.arange(50 * n, dtype=torch.float64) + 0.5) / (50 * n)).numpy()
    kept = np.cumprod(1 - df.linear_betas(50))
    np.testing.assert_allclose(levels, np.repeat(np.sqrt(1 / kept - 1), n), rtol=1e-9)


def test_ddpm_and_min_snr_have_ho_s_thousand_betas():
    kept = np.cumprod(1 - df.linear_betas())
    for loss in (df.losses.ddpm(), df.losses.min_snr()):
        ends = loss.levels(torch.tensor([1e-7, 1 - 1e-7]))
        np.testing.assert_allclose(ends, np.sqrt(1 / kept[[0, -1]] - 1), rtol=1e-5)


@pytest.mark.parametrize("n", [1, 7, 64])
@pytest.mark.parametrize("mean, deviation", [(0.3, 1.4), (-1.2, 1.2)])
def test_one_noise_level_is_drawn_in_each_stratum(n, mean, deviation):
    """To the rounding of u in float32 at the edges, where a level may fall to the neighbour: none of these does."""
    for seed in range(5):
        terms = df.losses.edm(mean, deviation)(Model(), torch.zeros(n, 1, 2, 2), torch.zeros(n), generator(seed))
        u = ndtr((terms.level.double().log().numpy() - mean) / deviation)
        assert sorted(np.floor(u * n).astype(int)) == list(range(n))


def test_within_a_stratum_levels_are_uniform():
    """One stratum, the whole law: 4000 draws."""
    x0 = torch.zeros(1, 1, 1, 1)
    found = [float(df.losses.edm()(Model(), x0, torch.zeros(1), generator(seed)).level) for seed in range(4000)]
    assert scipy.stats.kstest(found, scipy.stats.lognorm(1.4, scale=math.exp(0.3)).cdf).pvalue > 7e-6


def test_levels_come_in_no_order():
    """Which picture gets which level is a permutation at random: uncorrelated with the place."""
    place, found = np.arange(64) - 31.5, []
    for seed in range(100):
        level = df.losses.edm()(Model(), torch.zeros(64, 1, 1, 1), torch.zeros(64), generator(seed)).level
        found.append(np.corrcoef(place, level.log())[0, 1])
    assert abs(np.mean(found)) <= K * (1 / 63 / 100) ** 0.5


@pytest.mark.parametrize("name", LOSSES)
def test_the_noise_is_standard_normal_and_not_the_levels_own(name):
    model, (x0, label) = Model(), batch(400)
    level = LOSSES[name]()(model, x0, label, generator()).level.double()
    z = (model.x - x0) / column(level, x0)
    assert model.alpha == 1.0 and torch.equal(model.label, label) and torch.equal(model.level.double(), level)
    assert abs(z.mean()) <= K * z.numel() ** -0.5 and abs(z.var() - 1) <= K * (2 / z.numel()) ** 0.5
    assert abs(np.corrcoef(z.mean((1, 2, 3)), level.log())[0, 1]) <= K * 399**-0.5


def test_levels_without_bound_are_cut():
    """The cosine process has no data left at t = 1."""
    level = Denoising(Times(df.Cosine()), V())(Model(), torch.zeros(4096, 1), torch.zeros(4096), generator()).level
    assert level.max() <= MOST and level.isfinite().all()


# Its value


@pytest.mark.parametrize("name", LOSSES)
def test_the_best_denoiser_s_loss_is_what_cannot_be_known(name):
    """On data N(m, s^2) it is E w(l) (l s)^2/(l^2 + s^2) over the levels; |D - x_0|^2 of 18 elements has the variance
    2/18 of its mean squared, and one level in each stratum can only lessen the levels' own."""
    n, d, s = 4000, 18, 0.5
    x0 = 0.7 + s * batch(n, seed=1)[0]
    loss, model = LOSSES[name](), Model(s, denoiser=lambda *asked: df.exact.Gaussian(0.7, s)(*asked[:3]))
    l = loss.levels((torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000).clamp(max=MOST)
    gaussian = model.gaussian_error(l)
    unknown = loss.weight(l, gaussian) * gaussian
    found = loss(model, x0, torch.zeros(n), generator(1)).value
    stderr = float(((2 / d * unknown.square()).mean() + unknown.var()) / n) ** 0.5
    assert abs(float(found.mean()) - unknown.mean()) <= K * stderr
    for mean, std in ((0.4, s), (0.7, 2 * s)):
        worse = Model(s, denoiser=lambda *asked, mean=mean, std=std: df.exact.Gaussian(mean, std)(*asked[:3]))
        more = loss(worse, x0, torch.zeros(n), generator(1)).value - found  # of the same levels and noise
        assert float(more.mean()) > K * float(more.std()) / n**0.5


def test_edm_counts_one_for_nothing_learned_at_every_level():
    """F = 0 on data N(m, s^2 I): the weighted error is 1 on average, at low and at high levels alike."""
    x0 = 0.7 + 0.5 * batch(4000, seed=2)[0].float()
    net = Net(lambda u, c, label: torch.zeros_like(u))
    model = df.Preconditioned(net, torch.full((2, 3, 3), 0.7), 0.5)
    terms = df.losses.edm()(model, x0, torch.zeros(4000).long(), generator())
    order = terms.level.argsort()
    for part in terms.value[order].chunk(4):
        assert abs(part.mean() - 1) <= K * (2 / 18 / 1000) ** 0.5


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_depends_on_its_generator_alone(name):
    x0, label = batch(6)
    state = torch.random.get_rng_state()
    one, same, other = (LOSSES[name]()(Model(), x0, label, generator(seed)).value for seed in (3, 3, 4))
    assert torch.equal(one, same) and not (one == other).any()
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_has_a_gradient_and_hands_on_the_label(name):
    weight = torch.zeros(4, requires_grad=True)
    model = Model(denoiser=lambda x, alpha, sigma, label: column(weight[label], x).float() * x)
    x0, label = batch(6)[0].float(), torch.tensor([0, 1, 3, 3, 0, 1])
    terms = LOSSES[name]()(model, x0, label, generator())
    terms.value.mean().backward()
    assert (weight.grad[[0, 1, 3]] != 0).all() and weight.grad[2] == 0 and not terms.error.requires_grad


@pytest.mark.parametrize("low, high", [(0.0, 1.0), (2.0, 1.0), (1.0, 1.0), (math.nan, 1.0)])
def test_levels_that_are_no_interval_are_refused(low, high):
    with pytest.raises(ValueError, match="noise levels run from low to high"):
        LogUniform(low, high)


@pytest.mark.parametrize("make", [lambda: df.losses.min_snr(-1.0), lambda: df.losses.min_snr(math.nan),
                                  lambda: df.losses.edm(mean=math.nan), lambda: df.losses.edm(deviation=-1.0),
                                  lambda: df.losses.likelihood(high=math.inf)])
def test_what_would_train_the_wrong_way_is_refused(make):
    with pytest.raises(ValueError, match="got"):
        make()
