"""log p by the flow, against closed forms: mixtures under every process, estimated traces, dequantised data."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from scipy.stats import t as student

import diffusion as df
import sdekit as sk
from diffusion.bytes import COUNT, WIDTH, dequantised, levels, of
from diffusion.likelihood import log_likelihood, mean_interval
from diffusion.problems import mixture
from tests.conftest import K, assert_near

NATS = 1e-3  # what log p may be off by
MIXTURE = mixture()
PROCESSES = [df.EDM(), df.VE(), df.VP(), df.SubVP(), df.Cosine(), df.RectifiedFlow(), df.Discrete(df.linear_betas())]
every_process = pytest.mark.parametrize("process", PROCESSES, ids=repr)


def at_the_end(law, process, n, **options):
    """Exact samples at the process's last level, and that level."""
    level = process.level(process.span[0])
    return law.sample(n, level.alpha, level.sigma, **options), level


def plain(law):
    """The same denoiser without its closed forms: the trace is autograd's."""
    return df.Derived(law, lambda base: base)


@every_process
def test_log_p_is_that_of_the_mixture(process):
    x, level = at_the_end(MIXTURE, process, 200, seed=1)
    found = log_likelihood(MIXTURE, x, process, prior=MIXTURE.log_prob)
    assert (found.nats - MIXTURE.log_prob(x, level.alpha, level.sigma)).abs().max() < NATS
    assert found.stderr is None and found.prior_gap.abs().max() == 0 and found.level == level


def test_log_p_given_a_class_is_that_of_its_component():
    label = torch.arange(60) % 3
    x, level = at_the_end(MIXTURE, df.VP(), 60, seed=1, condition=label)
    found = log_likelihood(MIXTURE, x, df.VP(), prior=MIXTURE.log_prob, label=label)
    assert (found.nats - MIXTURE.log_prob(x, level.alpha, level.sigma, label)).abs().max() < NATS


def test_what_a_gaussian_prior_adds_is_told_apart():
    data, process = df.exact.Gaussian(1.0, 0.6, shape=(1,)), df.VP()
    x, level = at_the_end(data, process, 1000, seed=2)

    def standard(x, alpha, sigma, condition):
        return torch.distributions.Normal(0.0, 1.0).log_prob(x).sum(1)

    found = log_likelihood(data, x, process, prior=standard)
    exact = data.log_prob(x, level.alpha, level.sigma)
    assert (found.nats - found.prior_gap - exact).abs().max() < NATS / 100
    # log N(x; 0, 1) - log N(x; a, r^2) = -a (x - a/2) + O(a^2): of standard deviation a
    a = process.alpha(1.0)
    assert_near(found.prior_gap.std(), a, a * (2 * 1000) ** -0.5, 2 * a**2)
    own = log_likelihood(data, x, process)  # the prior is centred, and the data are Gaussian
    assert own.prior_gap.abs().max() < NATS / 100


def test_the_prior_is_where_sampling_starts():
    data = df.exact.Gaussian(torch.tensor([1.0, -2.0]), cov=torch.tensor([[1.0, 0.3], [0.3, 0.2]], dtype=torch.float64))
    process = df.RectifiedFlow()
    grid = df.grid.log_snr(process, 24, (0.05, 0.7))  # from alpha = .3, where p_T is far from N(alpha m, r^2 I)
    top = grid.levels[0]
    x, _ = at_the_end(data, process, 100, seed=3)
    found = log_likelihood(data, x, grid=grid)
    r2 = top.alpha**2 * data.spread**2 + top.sigma**2
    prior = torch.distributions.Normal(top.alpha * data.center, r2**0.5).log_prob(found.latent).sum(1)
    exact = data.log_prob(found.latent, top.alpha, top.sigma)
    torch.testing.assert_close(found.prior_gap, prior - exact, rtol=0, atol=1e-12)
    last = grid.levels[-1]
    assert (found.nats - found.prior_gap - data.log_prob(x, last.alpha, last.sigma)).abs().max() < NATS


@pytest.mark.parametrize("method", [sk.heun, sk.rk4], ids=repr)
def test_on_a_grid_it_converges_at_the_order_of_the_method(method):
    grids = [df.grid.log_snr(df.VP(), n) for n in (16, 32, 64)]
    x, level = at_the_end(MIXTURE, df.VP(), 200, seed=4)
    exact = MIXTURE.log_prob(x, level.alpha, level.sigma)
    found = [log_likelihood(MIXTURE, x, grid=g, prior=MIXTURE.log_prob, method=method) for g in grids]
    error = [(each.nats - exact).square().mean().sqrt() for each in found]
    slopes = np.log2(np.array(error[:-1]) / np.array(error[1:]))
    assert (slopes > method.order - 0.3).all(), slopes
    assert [float(each.nfe[0]) for each in found] == [method.evaluations * n for n in (16, 32, 64)]


def test_the_trace_by_autograd_is_that_of_the_covariance():
    x, _ = at_the_end(MIXTURE, df.VP(), 50, seed=5)
    grid = df.grid.log_snr(df.VP(), 8)
    known, found = (log_likelihood(law, x, grid=grid) for law in (MIXTURE, plain(MIXTURE)))
    torch.testing.assert_close(found.nats, known.nats, rtol=0, atol=1e-9)
    assert found.prior_gap is None


@pytest.mark.parametrize("d, probes", [(64, False), (65, True)])
def test_the_trace_of_a_large_sample_is_estimated_unless_asked_for(d, probes):
    law = df.exact.Gaussian(torch.zeros(d), 0.5)
    grid, x = df.grid.log_snr(df.VP(), 3), torch.zeros(2, d, dtype=torch.float64)
    assert (log_likelihood(plain(law), x, grid=grid, seed=1).stderr is not None) is probes
    assert log_likelihood(law, x, grid=grid).stderr is None
    assert log_likelihood(plain(law), x, grid=grid, trace="exact").stderr is None


def test_a_derived_denoiser_does_not_pass_for_its_base():
    data, process = df.exact.Gaussian(0.5, 0.8, shape=(2,)), df.VP()
    x, level = at_the_end(data, process, 20, seed=6)
    other = df.Derived(MIXTURE, lambda base: data)
    found = log_likelihood(other, x, process, prior=data.log_prob)
    assert (found.nats - data.log_prob(x, level.alpha, level.sigma)).abs().max() < NATS


def tilted():
    """Gaussian data in 5 dimensions, correlated."""
    root = torch.tensor(np.tril(sk.normals(0, paths=5, components=5)[:, 0]))
    return df.exact.Gaussian(torch.zeros(5), cov=0.3 * (root @ root.mT + 0.2 * torch.eye(5)))


def test_an_estimated_trace_is_right_within_the_standard_error_it_tells():
    law, grid, n, probes = tilted(), df.grid.log_snr(df.VP(), 8), 600, 16
    x, _ = at_the_end(law, df.VP(), n, seed=7)
    exact = log_likelihood(law, x, grid=grid).nats  # on the same grid: its error is that of both
    found = log_likelihood(law, x, grid=grid, trace=probes, seed=8)
    off = found.nats - exact
    assert_near(off.mean(), 0.0, float(off.std()) / n**0.5)
    for share in (0.5, 0.8, 0.95):
        inside = (off.abs() < student.ppf(0.5 + share / 2, probes - 1) * found.stderr).double().mean()
        # sums of products of signs are no normals: .02 is what this alone takes
        assert_near(inside, share, (share * (1 - share) / n) ** 0.5, 0.02)
    again = log_likelihood(law, x, grid=grid, trace=probes, seed=9).nats - exact
    assert abs(float((off * again).mean() / off.square().mean())) < K * n**-0.5  # seeds are independent


def test_more_probes_tell_more_and_one_tells_no_error():
    law, grid = tilted(), df.grid.log_snr(df.VP(), 4)
    x, _ = at_the_end(law, df.VP(), 300, seed=7)
    few, more = (log_likelihood(law, x, grid=grid, trace=k, seed=8).stderr for k in (4, 32))
    assert_near(few.square().mean() / more.square().mean(), 8.0, 8.0 * (3 / 300) ** 0.5)
    assert log_likelihood(law, x[:3], grid=grid, trace=1, seed=8).stderr is None


def test_every_draw_has_probes_of_its_own():
    law, grid = tilted(), df.grid.log_snr(df.VP(), 4)
    x, _ = at_the_end(law, df.VP(), 400, seed=7)
    drawn = log_likelihood(law, x, grid=grid, trace=4, dequantise=4, width=1e-9, seed=8)
    # of draws that are all but the same, the scatter is that of their probes
    ratio = drawn.stderr_draws.square().mean() / drawn.stderr.square().mean()
    assert_near(ratio, 1.0, (4 / 400) ** 0.5)
    assert_near((drawn.nats - log_likelihood(law, x, grid=grid).nats).mean(), 0.0,
                float(drawn.stderr.square().mean() / 400) ** 0.5)


def test_a_sample_s_log_p_does_not_depend_on_its_batch():
    x, _ = at_the_end(MIXTURE, df.VP(), 5, seed=10)
    options = {"trace": 2, "dequantise": 2, "width": 0.1, "seed": 11, "rtol": 1e-4, "atol": 1e-4}
    whole = log_likelihood(MIXTURE, x, df.VP(), **options)
    for batch in (1, 3):
        found = log_likelihood(MIXTURE, x, df.VP(), batch=batch, **options)
        torch.testing.assert_close(found.nats, whole.nats, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(found.nfe, whole.nfe, rtol=0, atol=0)
    alone = log_likelihood(MIXTURE, x[3:4], df.VP(), first=3, **options)
    torch.testing.assert_close(alone.nats, whole.nats[3:4], rtol=1e-12, atol=1e-12)
    assert len(set(whole.nfe.tolist())) > 1  # steps of its own length


def test_draws_within_a_grey_level_bound_its_probability():
    data, width, k = df.exact.Gaussian(0.2, 0.6, shape=(3,)), 0.5, 8
    x = (data.sample(300, seed=12) / width).round() * width
    grid = df.grid.log_snr(df.VP(), 16, (1e-4, 1.0))
    level = grid.levels[-1]
    found = log_likelihood(data, x, grid=grid, prior=data.log_prob, dequantise=k, width=width, seed=13)
    v = level.alpha**2 * 0.36 + level.sigma**2
    exact = data.log_prob(x, level.alpha, level.sigma) - 3 * width**2 / (24 * v)  # E log N(x + u)
    off = ((found.nats - exact) / found.stderr_draws).abs()
    for share in (0.5, 0.95):
        inside = (off < student.ppf(0.5 + share / 2, k - 1)).double().mean()
        assert_near(inside, share, (share * (1 - share) / 300) ** 0.5, 0.02)
    assert_near((found.nats - exact).mean(), 0.0, float(found.stderr_draws.square().mean()) ** 0.5 / 300**0.5)
    law = torch.distributions.Normal(level.alpha * 0.2, v**0.5)
    bits = -(law.cdf(x + width / 2) - law.cdf(x - width / 2)).log2().mean(1)
    assert_near(found.bits_per_dim.mean(), float(bits.mean()),
                float(found.stderr_draws.square().mean()) ** 0.5 / 300**0.5 / (3 * math.log(2)), 0.05)
    assert found.bits_per_dim.mean() > bits.mean()


@given(b=st.integers(0, 255), u=st.floats(1e-9, 1 - 1e-9))
def test_the_cells_of_bytes_lie_side_by_side(b, u):
    x = dequantised(levels()[[b]], torch.tensor([u], dtype=torch.float64))
    assert float(x) == pytest.approx((b + u - 0.5) / 127.5 - 1, abs=1e-12)
    lower, upper = (dequantised(levels()[[b]], torch.tensor([end], dtype=torch.float64)) for end in (0.0, 1.0))
    assert lower < x < upper
    after = -1 - 1 / 255 + 2 * (b + 1) * (1 + 1 / 255) / COUNT  # the 256 cells fill the range alike
    assert float(upper) == pytest.approx(after, abs=1e-12) and float(upper - lower) == pytest.approx(WIDTH)


def test_a_byte_s_probability_is_the_mean_density_of_its_noise():
    nodes, weights = np.polynomial.legendre.leggauss(8)
    u = torch.from_numpy((nodes + 1) / 2)
    for b in (0, 77, 255):
        x = levels()[b].expand(8)
        mean = float(weights / 2 @ norm.pdf(dequantised(x, u).numpy(), 0.1, 0.3)) * WIDTH
        edges = levels()[b].numpy() + np.array([-1, 1]) / 255
        assert mean == pytest.approx(np.diff(norm.cdf(edges, 0.1, 0.3)).item(), rel=1e-12)
        assert of(levels()[[b]]) == b


def test_it_takes_the_mean_of_its_draws_of_that_noise():
    data, grid = df.exact.Gaussian(0.1, 0.3, shape=(4,)), df.grid.log_snr(df.VP(), 16, (1e-5, 1.0))
    level, n = grid.levels[-1], 400
    found = log_likelihood(data, levels()[[0, 77, 200, 255]].expand(n, 4), grid=grid, prior=data.log_prob,
                           dequantise=2, seed=3)
    nodes, weights = np.polynomial.legendre.leggauss(8)
    u, v = torch.from_numpy((nodes + 1) / 2), level.alpha**2 * 0.09 + level.sigma**2
    cells = [dequantised(levels()[b].expand(8), u).numpy() for b in (0, 77, 200, 255)]
    exact = sum(float(weights / 2 @ norm.logpdf(cell, level.alpha * 0.1, v**0.5)) for cell in cells)
    assert_near(found.nats.mean(), exact, float(found.nats.std()) / n**0.5, 1e-4)
    bits = -exact / (4 * math.log(2)) + math.log2(127.5)
    low, high = found.interval
    assert_near((low + high) / 2, bits, (high - low) / 2 / 1.96, 1e-4)


def test_the_interval_of_a_mean_covers_at_its_rate():
    random = np.random.default_rng(0)
    for law in (random.normal, random.exponential):
        spans = np.array([mean_interval(torch.from_numpy(law(size=200))) for _ in range(1000)])
        middle = 0.0 if law == random.normal else 1.0
        inside = ((spans[:, 0] < middle) & (middle < spans[:, 1])).mean()
        assert_near(inside, 0.95, (0.95 * 0.05 / 1000) ** 0.5, 0.01)  # by Student's t and by skewness


def test_bits_per_dim_of_a_known_density():
    data = df.exact.Gaussian(0.0, 1.0, shape=(4,))
    x = torch.zeros(1, 4, dtype=torch.float64)
    found = log_likelihood(data, x, df.VP(), width=2 / 256)  # unit variance at every level
    assert found.bits_per_dim.item() == pytest.approx(0.5 * math.log2(2 * math.pi) + 7, abs=1e-9)
    grey = log_likelihood(data, x, df.VP())
    assert (found.bits_per_dim - grey.bits_per_dim).item() == pytest.approx(math.log2(256 / 255), abs=1e-12)


def blind(x, alpha, sigma, condition=None):
    return x.detach() * 0.5


@pytest.mark.parametrize(("change", "error", "words"), [
    ({"trace": 0}, ValueError, "number of probes"),
    ({"trace": "hutchinson"}, TypeError, "number of probes"),
    ({"dequantise": -1}, ValueError, "number of draws"),
    ({"width": 0.0}, ValueError, "width"),
    ({"prior": lambda x, a, s, c: x}, ValueError, r"must give log p, \(n,\)"),
    ({"x": torch.zeros(2, 3)}, ValueError, "shape"),
    ({"x": torch.full((2, 2), math.nan)}, ValueError, "finite"),
    ({"x": [[1.0, 2.0]]}, TypeError, "floating-point tensor"),
    ({"x": torch.zeros(2, 2, dtype=torch.long)}, TypeError, "is of torch.int64"),
    ({"x": torch.zeros(0, 2)}, ValueError, "it is empty"),
    ({"denoiser": df.denoiser(torch.no_grad()(lambda x, t: 0.5 * x), "eps", df.EDM())}, TypeError,
     "not differentiable"),
    ({"denoiser": blind}, TypeError, "not differentiable"),
    ({"label": 3}, ValueError, "0 to 2"),
    ({"grid": 18}, TypeError, "df.grid"),
    ({"process": df.EDM(), "grid": df.grid.edm(4)}, ValueError, "give one of them"),
])
def test_what_does_not_fit_is_refused_by_name(change, error, words):
    asked = {"denoiser": MIXTURE, "x": torch.zeros(2, 2), **change}
    with pytest.raises(error, match=words):
        log_likelihood(asked.pop("denoiser"), asked.pop("x"), **asked)


def test_an_array_is_taken_as_a_tensor():
    x, grid = torch.tensor([[0.5, -1.0], [0.0, 2.0]], dtype=torch.float64), df.grid.edm(4)
    array = x.numpy().copy()
    array.flags.writeable = False
    assert torch.equal(log_likelihood(MIXTURE, array, grid=grid).nats, log_likelihood(MIXTURE, x, grid=grid).nats)


def test_bits_are_told_of_pictures_and_draws_alone():
    grid = df.grid.edm(2)
    for shape, draws, told in (((2,), 0, False), ((2,), 1, True), ((1, 2, 2), 0, True)):
        x = torch.zeros(1, *shape)
        found = log_likelihood(df.exact.Gaussian(0.0, 1.0, shape=shape), x, grid=grid, dequantise=draws, seed=0)
        assert ("bits/dim" in str(found)) == told
        assert ("no dequantisation" in str(found)) == (told and not draws)
