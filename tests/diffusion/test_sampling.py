"""Sampling: what samples depend on, what they cost, what is kept, their law on Gaussian data, and what is refused.

The samplers' own orders and laws are in test_samplers.py.
"""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

import diffusion as df
import sdekit as sk
from tests.conftest import assert_gaussian, assert_near, rounding
from tests.diffusion.conftest import Classes, shaken
from tests.diffusion.problems import EVERY, MIXTURE, WALK, ZERO_TERMINAL, carried, law, states

EPS32 = torch.finfo(torch.float32).eps
DATA = df.exact.Gaussian(1.0, 0.6)
METHODS = [df.heun, df.ddpm, df.reverse_sde(sk.euler_maruyama), df.flow_ode(sk.euler), df.flow_ode(sk.heun),
           df.flow_ode(sk.rk4)]
ORDER = dict(zip(map(repr, METHODS), (2, 1, 1, 1, 2, 4)))  # weak, in the number of steps
CALLS = dict(zip(map(repr, METHODS), (2, 1, 1, 1, 2, 4)))  # evaluations a step
GRIDS = {
    "EDM": df.grid.edm,
    "VP": lambda n: df.grid.uniform(df.VP(), n),
}
every_method = pytest.mark.parametrize("method", METHODS, ids=repr)
every_grid = pytest.mark.parametrize("make", GRIDS.values(), ids=GRIDS)


@every_method
@every_grid
def test_the_law_at_the_end_is_the_data_s_up_to_the_claimed_order(method, make):
    grids = [make(n) for n in (40, 80, 160)]
    errors = [np.linalg.norm(np.subtract(carried(method, DATA, grid), law(DATA, grid.levels[-1]))) for grid in grids]
    order = np.log2(errors[:-1] / np.array(errors[1:]))
    assert abs(order[-1] - ORDER[repr(method)]) < 0.15, order


@pytest.mark.parametrize("method", [df.heun, df.flow_ode(sk.heun), df.flow_ode(sk.rk4)], ids=repr)
@every_grid
def test_every_start_ends_where_its_flow_does(method, make):
    """(x - alpha m)/r stays what it was."""
    x = torch.tensor([[-30.0], [-1.0], [0.3], [2.0], [25.0]], dtype=torch.float64)

    def error(n):
        grid = make(n)
        (m0, v0), (m1, v1) = law(DATA, grid.levels[0]), law(DATA, grid.levels[-1])
        return (states(method, DATA, grid, x)[-1] - m1 - (v1 / v0) ** 0.5 * (x - m0)).norm().item()

    assert abs(math.log2(error(80) / error(160)) - ORDER[repr(method)]) < 0.15


def test_heun_on_the_edm_process_is_its_probability_flow_by_heun():
    """alpha = 1, dx/dsigma = eps in both; the reversed clock rounds times near 40, which counts near 0.02."""
    x = torch.linspace(-50, 50, 7, dtype=torch.float64)[:, None]
    grid = df.grid.edm(25)
    one, other = (states(method, DATA, grid, x) for method in (df.heun, df.flow_ode(sk.heun)))
    assert (one - other).abs().max() <= rounding(25 * 40 / 0.02, x) * 0.02


@every_method
@every_grid
def test_samples_have_the_law_that_the_steps_carry_to_the_end(method, make):
    """Exactly, no bias: then closed by x <- D, affine too. And so the data's, up to the sampler's own error."""
    n, grid = 4000, make(40)
    found = df.sample(DATA, n, shape=(1,), grid=grid, method=method, seed=21).samples[:, 0].double().numpy()
    last, (mean, variance) = grid.levels[-1], carried(method, DATA, grid)
    shrink = last.alpha * DATA.std**2 / law(DATA, last)[1]
    closed = DATA.mean + shrink * (mean - last.alpha * DATA.mean), shrink**2 * variance
    assert_gaussian(found, *closed)
    assert_near(found.mean(), DATA.mean, (closed[1] / n) ** 0.5, abs(closed[0] - DATA.mean))
    assert_near(found.var(), DATA.std**2, closed[1] * (2 / n) ** 0.5, abs(closed[1] - DATA.std**2))


def test_every_pixel_has_its_own_mean():
    n, mean = 2000, torch.tensor([[[1.0, -2.0], [0.0, 5.0]]], dtype=torch.float64)
    found = df.sample(df.exact.Gaussian(mean, 0.5), n, shape=(1, 2, 2), steps=40, seed=2, close=False)
    level = found.grid.levels[-1]
    variance = 0.5**2 + level.sigma**2
    assert_near(found.samples.double().mean(0), mean.numpy(), (variance / n) ** 0.5)
    assert found.samples.shape == (n, 1, 2, 2) and found.samples.dtype == torch.float32


# Algorithm 2 of Ho et al. 2020, by hand


def algorithm_2(x, betas, times, z):
    """x_{t-1} = (x_t - beta_t / sqrt(1 - abar_t) eps(x_t, t)) / sqrt(1 - beta_t) + sqrt(beta_t) z, z = 0 at t = 1."""
    abar = np.cumprod(1 - betas)
    for k, t in enumerate(times):
        beta, a = betas[t - 1], abar[t - 1]
        posterior = DATA.mean + a**0.5 * DATA.std**2 / (a * DATA.std**2 + 1 - a) * (x - a**0.5 * DATA.mean)
        eps = (x - a**0.5 * posterior) / (1 - a) ** 0.5
        x = (x - beta / (1 - a) ** 0.5 * eps) / (1 - beta) ** 0.5
        if t > 1:
            x = x + beta**0.5 * z[:, k]
    return x


@pytest.mark.parametrize("top", [1000, 500, 6])
def test_ddpm_on_neighbouring_levels_is_algorithm_2(top):
    betas = df.linear_betas()
    levels = df.grid.linspace(WALK).levels[1000 - top:1000 - top + 6]
    x = torch.linspace(-2, 2, 12, dtype=torch.float64).reshape(4, 3)
    found = states(df.ddpm, DATA, df.Grid("some", levels, WALK), x)[-1]
    times = [int(level.time) for level in levels[:-1]]
    exact = algorithm_2(x.numpy(), betas, times, sk.normals(11, paths=4, steps=5, components=3))
    # 1 - abar and beta are differences of numbers near 1: relative rounding of eps / 1e-4
    assert np.abs(found.numpy() - exact).max() <= rounding(5 / 1e-4, exact)


def test_ddpm_is_algorithm_2_from_noise_to_data():
    """The closing x <- D is its last step, which adds no noise: beta_1 = 1 - abar_1."""
    betas, n = df.linear_betas(20, 0.01, 0.4), 5
    grid = df.grid.linspace(df.Discrete(betas))
    found = df.sample(DATA, n, shape=(2,), grid=grid, method=df.ddpm, seed=3).samples
    mean, variance = law(DATA, grid.levels[0])
    x = mean + variance**0.5 * sk.normals(3, stream=1, paths=n, components=2)[:, 0]
    z = np.concatenate([sk.normals(3, paths=n, steps=19, components=2), np.zeros((n, 1, 2))], axis=1)
    exact = algorithm_2(x, betas, range(20, 0, -1), z)
    np.testing.assert_allclose(found, exact, atol=2 * EPS32 * np.abs(exact).max())


# What a sample depends on


@pytest.mark.parametrize("method", EVERY, ids=repr)
@pytest.mark.parametrize("nested", [False, True])
def test_sample_k_is_the_same_in_every_batch_and_order(method, nested):
    """1e-12, in batches of 1, 7 and 64, or named one by one in any order."""
    if nested and not method.stochastic:
        return
    options = {"grid": df.grid.edm(3, 0.1, 5.0, process=df.VP()), "method": method, "seed": 5, "dtype": torch.float64,
               "nested": nested}
    exact = df.sample(MIXTURE, 66, **options).samples
    allowed = {"rtol": 0, "atol": 1e-12}
    for batch, n in ((64, 66), (7, 20), (1, 5)):
        torch.testing.assert_close(df.sample(MIXTURE, n, batch=batch, **options).samples, exact[:n], **allowed)
    for first, n in ((65, 1), (13, 7), (0, 1), (40, 2)):
        part = df.sample(MIXTURE, n, first=first, **options).samples
        torch.testing.assert_close(part, exact[first:first + n], **allowed)


ADAPTIVE = [df.flow_ode(rtol=1e-4, atol=1e-5), df.reverse_sde(sk.milstein, rtol=0.1, atol=0.1)]


@pytest.mark.parametrize("method", ADAPTIVE, ids=repr)
def test_with_steps_of_its_own_length_a_sample_does_not_see_its_batch_mates(method):
    """Nor does its cost, which is told for each; a start far out takes more, and the others no more for it."""
    grid = df.grid.uniform(df.VP(), 2, (0.05, 0.5))
    options = {"grid": grid, "method": method, "seed": 5, "dtype": torch.float64}
    whole = df.sample(MIXTURE, 12, **options)
    assert whole.nfe.shape == (12,) and len(set(whole.nfe.tolist())) > 1 and (whole.nfe >= 3).all()
    for first, n in ((0, 1), (3, 5), (11, 1)):
        part = df.sample(MIXTURE, n, first=first, **options)
        torch.testing.assert_close(part.samples, whole.samples[first:first + n], rtol=0, atol=1e-12)
        assert torch.as_tensor(part.nfe).expand(n).tolist() == whole.nfe[first:first + n].tolist()
    start = MIXTURE.sample(6, grid.levels[0].alpha, grid.levels[0].sigma)
    plain = df.sample(MIXTURE, 6, start=start, **options)
    start[2] *= 40
    other, rest = df.sample(MIXTURE, 6, start=start, **options), [0, 1, 3, 4, 5]
    torch.testing.assert_close(other.samples[rest], plain.samples[rest], rtol=0, atol=1e-12)
    one, two = (torch.as_tensor(result.nfe).expand(6)[rest] for result in (other, plain))
    assert one.tolist() == two.tolist()


def test_adaptive_steps_reach_their_tolerance():
    """The end of the flow to 1e-6 and to 1e-9 is told apart by no more than that; labels go along with their rows."""
    label = torch.arange(9) % 3
    options = {"grid": df.grid.uniform(df.VP(), 1, (0.05, 0.9)), "seed": 5, "dtype": torch.float64, "label": label}
    fine, coarse = (df.sample(MIXTURE, 9, method=df.flow_ode(rtol=tol, atol=tol), **options) for tol in (1e-9, 1e-6))
    assert 1e-12 < (fine.samples - coarse.samples).abs().max() < 1e-4 and (fine.nfe > coarse.nfe).all()
    for k in range(3):
        one = df.sample(MIXTURE, 1, first=k, method=df.flow_ode(rtol=1e-6, atol=1e-6), **{**options, "label": k})
        torch.testing.assert_close(one.samples[0], coarse.samples[k], rtol=0, atol=1e-12)


def test_a_run_may_start_where_it_is_told():
    """From the state of another run at a level of its grid it goes on as that did, where nothing is drawn."""
    grid = df.grid.edm(6)
    kept = df.sample(MIXTURE, 5, grid=grid, keep=True, seed=4, dtype=torch.float64)
    rest = df.Grid("rest", grid.levels[2:], grid.process)
    again = df.sample(MIXTURE, 5, grid=rest, start=kept.trajectory.x[2], dtype=torch.float64)
    torch.testing.assert_close(again.samples, kept.samples, rtol=1e-12, atol=0)


def test_steps_are_the_trajectory_moment_by_moment():
    grid = df.grid.edm(4)
    kept = df.sample(MIXTURE, 5, grid=grid, keep=True, seed=4, dtype=torch.float64, method=df.ancestral)
    moments = list(df.steps(MIXTURE, 5, grid=grid, seed=4, method=df.ancestral))
    assert [m.n for m in moments] == [0, 1, 2, 3, 4] and [m.level for m in moments] == list(grid)
    for n, m in enumerate(moments):
        for name in ("x", "x0", "eps"):
            assert torch.equal(getattr(m, name), getattr(kept.trajectory, name)[n])
        assert (m.level.alpha * m.x0 + m.level.sigma * m.eps - m.x).abs().max() <= 1e-12 * m.x.abs().max()
        assert torch.equal(m.x0, MIXTURE(m.x, m.level.alpha, m.level.sigma))
    assert torch.equal(moments[-1].x0, kept.samples)
    with pytest.raises(TypeError, match=r"steps\(\) has no use for keep; it yields every moment"):
        next(df.steps(MIXTURE, 5, keep=True))


def test_labels_stay_with_their_samples_in_every_batch():
    data, label = Classes((-5.0, 5.0, 0.0), 0.2), torch.arange(10) % 2
    whole = df.sample(data, 10, label=label, shape=(1,), steps=6, seed=5)
    parts = df.sample(data, 10, label=label, shape=(1,), steps=6, seed=5, batch=3)
    torch.testing.assert_close(parts.samples, whole.samples)
    assert torch.equal(parts.label, label) and ((whole.samples[:, 0] > 0) == (label == 1)).all()


def test_a_network_s_sample_is_the_same_in_every_batch_up_to_its_rounding():
    """A relative error of one network call is some hundred units of float32; steps pass it on without growing it."""
    model = df.Preconditioned(shaken(), torch.zeros(1, 8, 8), 0.5).eval()
    whole = df.sample(model, 6, label=[0, 1, 2, 0, 1, 2], steps=4, seed=5).samples
    alone = torch.cat([df.sample(model, 1, label=k % 3, steps=4, seed=5, first=k).samples for k in range(6)])
    torch.testing.assert_close(alone, whole, rtol=0, atol=1e3 * EPS32)
    assert whole.shape == (6, 1, 8, 8)


@pytest.mark.parametrize("method", [df.heun, df.ddpm, df.reverse_sde()], ids=repr)
def test_the_first_noise_and_the_steps_noise_are_streams_of_their_own(method):
    one, other = (df.sample(DATA, 3, shape=(2,), steps=5, seed=seed, method=method).samples for seed in (1, 2))
    assert (one != other).all()
    grid = df.grid.edm(3)
    start = df.sample(DATA, 3, shape=(2,), grid=grid, seed=1, first=7, method=method, keep=True).trajectory.x[0]
    mean, variance = law(DATA, grid.levels[0])
    exact = mean + variance**0.5 * sk.normals(1, stream=1, paths=range(7, 10), components=2)[:, 0]
    np.testing.assert_allclose(start, exact, atol=EPS32 * np.abs(exact).max())


def test_without_a_seed_one_is_drawn_and_told():
    first, second = (df.sample(DATA, 2, shape=(1,), steps=2) for _ in range(2))
    assert first.info["seed"] != second.info["seed"]
    again = df.sample(DATA, 2, shape=(1,), steps=2, seed=first.info["seed"])
    assert torch.equal(again.samples, first.samples)


# Cost, trajectory, grid


@pytest.mark.parametrize("close", [True, False])
@every_method
@every_grid
def test_network_evaluations_are_counted(method, make, close):
    data = Classes((0.0, 1.0), 0.5)
    result = df.sample(data, 10, shape=(2,), grid=make(5), method=method, seed=0, batch=4, close=close)
    assert result.nfe == sum(data.batches) / 10 == 5 * CALLS[repr(method)] + close


@every_method
def test_a_guided_evaluation_counts_two_within_the_interval(method):
    data, grid, interval = Classes((0.0, 1.0, 0.5), 0.5), df.grid.edm(12), (0.5, 8.0)
    result = df.sample(data, 10, label=1, shape=(2,), grid=grid, method=method, seed=0, guidance=0.5, batch=4,
                       interval=interval)
    inside = [interval[0] <= level.sigma <= interval[1] for level in grid]
    if method is df.heun:
        exact = sum(2 + a + b for a, b in pairwise(inside)) + 1 + inside[-1]
        assert result.nfe == exact
    assert result.nfe == sum(data.batches) / 10 > 12 * CALLS[repr(method)] + 1
    assert result.info["guidance"] == 0.5


@pytest.mark.parametrize("steps", [1, 2, 3])
@every_method
@pytest.mark.parametrize("process", [None, df.VP()], ids=["EDM", "VP"])
def test_a_few_steps_are_enough_to_run(method, steps, process):
    result = df.sample(DATA, 4, shape=(2,), steps=steps, method=method, process=process, seed=0)
    assert len(result) == 4 and len(result.grid) == steps and result.samples.isfinite().all()


@every_method
def test_the_trajectory_holds_every_level_and_what_is_seen_there(method):
    options = {"shape": (2,), "method": method, "seed": 4, "batch": 3}
    grid = df.grid.edm(6)
    kept = df.sample(DATA, 5, grid=grid, keep=True, **options)
    path = kept.trajectory
    assert path.x.shape == path.x0.shape == path.eps.shape == (7, 5, 2)
    assert torch.equal(path.x0[-1], kept.samples)
    for k, level in enumerate(grid):
        again = level.alpha * path.x0[k] + level.sigma * path.eps[k]
        torch.testing.assert_close(again, path.x[k], rtol=0, atol=8 * EPS32 * path.x[k].abs().max().item())
    assert df.sample(DATA, 5, grid=grid, **options).trajectory is None
    open_end = df.sample(DATA, 5, grid=grid, keep=True, close=False, **options)
    assert torch.equal(open_end.trajectory.x, path.x) and torch.equal(open_end.samples, path.x[-1])
    for k in (2, 5):  # the state at level k is where the grid cut off there ends
        short = df.sample(DATA, 5, grid=df.Grid("cut", grid.levels[:k + 1], grid.process), close=False, **options)
        torch.testing.assert_close(short.samples, path.x[k], rtol=4 * EPS32, atol=0)


def test_the_closing_step_is_the_denoiser():
    grid = df.grid.edm(6)
    kept = df.sample(DATA, 5, shape=(2,), grid=grid, keep=True, seed=4)
    last = grid.levels[-1]
    exact = DATA(kept.trajectory.x[-1], last.alpha, last.sigma)
    torch.testing.assert_close(kept.samples, exact, rtol=8 * EPS32, atol=0)


def test_the_grid_is_edm_s_or_the_process_s():
    assert df.sample(DATA, shape=(1,), steps=5).grid.levels == df.grid.edm(5).levels
    assert df.sample(DATA, shape=(1,)).grid.levels == df.grid.edm(18).levels
    assert df.sample(DATA, shape=(1,), steps=5, process=df.VP()).grid.levels == df.grid.uniform(df.VP(), 5).levels


def test_a_trained_denoiser_tells_its_shape_and_an_exact_one_takes_any():
    model = df.Preconditioned(shaken(), torch.zeros(1, 8, 8), 0.5).eval()
    assert df.sample(model, 2, steps=1, seed=0).samples.shape == (2, 1, 8, 8)
    assert df.sample(DATA, 2, steps=1, seed=0, shape=(3, 4, 5)).samples.shape == (2, 3, 4, 5)
    assert df.sample(DATA, 2, steps=1, seed=0, shape=()).samples.shape == (2,)


def test_results_are_ordinary_tensors():
    """Not those of inference mode, which refuse gradients and changes in place."""
    result = df.sample(DATA, 2, shape=(2,), steps=2, seed=0, keep=True)
    for tensor in (result.samples, result.trajectory.x):
        assert tensor.add_(1).requires_grad_().sum().requires_grad


def test_info_tells_how_it_was_done():
    result = df.sample(DATA, 2, shape=(2,), steps=2, seed=7, first=3, method=df.reverse_sde())
    assert {**result.info} == {"seed": 7, "first": 3, "method": "reverse_sde(euler_maruyama)", "guidance": 0.0}
    assert result.seconds > 0 and result.label is None


# What is refused


@pytest.mark.parametrize("given, error, message", [
    ({"n": 0}, ValueError, "n must be at least 1"), ({"n": -3}, ValueError, "n must be at least 1"),
    ({"n": 1.5}, TypeError, "n must be a whole number, got 1.5"), ({"n": True}, TypeError, "n must be a whole number"),
    ({"seed": -1}, ValueError, "seed must be at least 0"), ({"seed": 2**64}, ValueError, "seed must be at least 0"),
    ({"seed": 1.0}, TypeError, "seed must be a whole number"), ({"seed": True}, TypeError, "seed must be a whole"),
    ({"seed": "1"}, TypeError, "seed must be a whole number, got '1'"),
    ({"first": -1}, ValueError, "first must be at least 0"), ({"first": 0.5}, TypeError, "first must be a whole"),
    ({"batch": 0}, ValueError, "batch must be at least 1"), ({"batch": 2.0}, TypeError, "batch must be a whole"),
    ({"steps": 0}, ValueError, "steps must be a whole number of at least 1, got 0"),
    ({"steps": 2.5}, ValueError, "steps must be a whole number of at least 1, got 2.5"),
    ({"method": "heun"}, TypeError, r"method must be a sampler, such as df.heun, .* got 'heun'"),
    ({"method": sk.heun}, TypeError, "method must be a sampler"),
    ({"method": df.reverse_sde}, TypeError, "method must be a sampler"),
    ({"shape": None}, TypeError, "does not tell the shape of its data; give shape="),
    ({"label": 0}, TypeError, "this denoiser has no classes; leave label out"),
    ({"guidance": math.nan}, ValueError, "guidance"),
    ({"interval": (2.0, 1.0)}, ValueError, "the interval of noise levels"),
    ({"guidance": 1.0}, ValueError, "guidance=1.0 needs the classes to guide to; give label="),
    ({"grid": "edm"}, TypeError, "grid must be one of df.grid's, such as df.grid.edm"),
    ({"grid": df.grid.edm(2), "process": df.VP()}, ValueError, "was given beside a grid of EDM.*; give one of them"),
    ({"grid": df.grid.edm(3)}, ValueError, "steps=2 was given beside a grid of 3 steps"),
    ({"dtype": torch.int32}, TypeError, "dtype must be a floating-point type of torch"),
    ({"n": 10**10, "shape": (1000,)}, MemoryError, "the result of 10,000,000,000 samples"),
    ({"start": torch.full((2, 1), math.nan)}, ValueError, "start must be finite"),
    ({"start": torch.zeros(3, 1)}, ValueError, "start must hold a state for each of n=2 samples"),
    ({"start": torch.zeros(2, 4)}, ValueError, r"start has samples of shape \(4,\), not \(1,\)"),
    ({"method": df.reverse_sde(), "grid": df.grid.linspace(ZERO_TERMINAL, 2)}, ValueError,
     "infinite coefficients; begin the grid a little before, or use ddim, ancestral or dpmpp_2m"),
    ({"method": df.reverse_sde(), "process": df.RectifiedFlow()}, ValueError, "infinite coefficients"),
    ({"method": df.flow_ode(), "grid": df.grid.linspace(ZERO_TERMINAL, 2)}, ValueError, "infinite coefficients"),
])
def test_what_cannot_be_sampled_is_refused(given, error, message):
    with pytest.raises(error, match=message):
        df.sample(DATA, **{"n": 2, "shape": (1,), "steps": 2, **given})


@pytest.mark.parametrize("label, error, message", [
    (2, ValueError, "label 2 is outside the classes of this model: 0 to 1"),  # the number that stands for none
    (-1, ValueError, "label -1 is outside"), ([0, 1, 5], ValueError, "label 5 is outside"),
    ([0, 1], ValueError, "give one label, or one for each of the 3 samples; got 2"),
    ([], (TypeError, ValueError), "label"),
    ([[0, 1, 0]], ValueError, "give one label, or one for each"),
    (1.0, TypeError, "a label is a whole number from 0 to 1, got 1.0"),
    ([0.0, 1.0, 0.0], TypeError, "a label is a whole number from 0 to 1"),
    (True, TypeError, "a label is a whole number from 0 to 1, got True"),
    (torch.tensor([True, False, True]), TypeError, "a label is a whole number"),
    ("1", TypeError, "a label is a whole number from 0 to 1, got '1'"),
    (2**70, (TypeError, ValueError), "label"),
])
def test_a_label_that_is_no_class_is_refused(label, error, message):
    with pytest.raises(error, match=message):
        df.sample(Classes((0.0, 1.0, 0.5), 0.5), 3, label=label, shape=(1,), steps=2)


@pytest.mark.parametrize("label", [1, np.int64(1), torch.tensor(1), [1, 1, 1], np.ones(3, np.uint8), range(1, 2)])
def test_every_whole_number_of_a_class_is_a_label(label):
    result = df.sample(Classes((0.0, 1.0, 0.5), 0.5), 3, label=label, shape=(1,), steps=2, seed=0)
    assert result.label.tolist() == [1, 1, 1]


@pytest.mark.parametrize("method", [df.heun, df.ancestral, df.dpmpp_3m, df.deis(3)], ids=repr)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_network_that_is_not_finite_is_told_with_its_step_and_level(method, bad):
    """From noise level 2 down, one sample of four; a step of one evaluation has it where it begins."""
    grid = df.grid.edm(6)

    def broken(x, alpha, sigma, condition=None):
        return torch.where((torch.arange(len(x))[:, None] == 2) & (sigma < 2.0), bad, x / 2)

    with pytest.raises(FloatingPointError) as told:
        df.sample(broken, 4, shape=(2,), grid=grid, seed=3, first=7, method=method)
    k = next(k for k, level in enumerate(grid) if level.sigma < 2.0)
    assert "the denoiser gave values that are not finite" in str(told.value)
    assert f"at sigma = {grid.levels[k].sigma:g}, alpha = 1" in str(told.value)
    assert method is df.heun or f"first in step {k + 1} of 6" in str(told.value)


def test_a_sample_that_is_not_finite_is_named():
    """Of a sampler, where the denoiser was finite throughout."""
    def overflow(denoise, x, t, s, memory, noise):
        return torch.where(torch.arange(len(x))[:, None] == 2, torch.inf, denoise(x, t)), memory

    with pytest.raises(FloatingPointError, match=r"sample 9 of seed 3 is not finite \(1 of 4 are not\)"):
        df.sample(lambda x, alpha, sigma, condition=None: x.clamp(-1, 1), 4, shape=(2,), steps=1, seed=3, first=7,
                  method=df.stepwise("overflow", overflow), close=False)


@pytest.mark.parametrize("shape", [(4,), (4, 1), (3, 2), (4, 2, 1)])
def test_a_denoiser_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"of shape \(.*\) for x of shape \(4, 2\); they must be equal"):
        df.sample(lambda x, alpha, sigma, condition=None: torch.zeros(shape), 4, shape=(2,), steps=2)


@pytest.mark.parametrize("given, message", [
    (None, "got None"), ("runs/x", r"got 'runs/x'; load it: df.load\('runs/x'\)"), (df.data.moons(4), "got Points")])
def test_what_is_no_denoiser_is_refused(given, message):
    with pytest.raises(TypeError, match=rf"a denoiser is a function of \(x, alpha, sigma, condition\), .* {message}"):
        df.sample(given, 1)


@pytest.mark.parametrize("shape", [3, "ab", (2.5,), (None,)])
def test_a_shape_that_is_none_is_refused(shape):
    with pytest.raises(TypeError, match=r"shape is that of one sample, such as \(2,\)"):
        df.sample(MIXTURE, 4, shape=shape, steps=2)


def test_guidance_of_an_unconditional_denoiser_is_refused():
    with pytest.raises(ValueError, match="needs the classes to guide to; give label="):
        df.sample(MIXTURE, 2, guidance=0.5)
    with pytest.raises(TypeError, match="this denoiser has no classes; leave label out"):
        df.sample(DATA, 2, shape=(1,), guidance=0.5, label=0)
    with pytest.raises(ValueError, match="guidance must be a finite number, 0 for none; got nan"):
        df.sample(MIXTURE, 2, guidance=math.nan, label=0)
    with pytest.raises(ValueError, match="label 3 is outside the classes of this model: 0 to 2"):
        df.sample(MIXTURE, 2, label=3)


def test_a_network_in_training_mode_is_warned_of():
    model = df.Preconditioned(shaken(), torch.zeros(1, 8, 8), 0.5)
    with pytest.warns(RuntimeWarning, match=r"the network is in training mode.* call its .eval\(\) first"):
        df.sample(df.classifier_free(model, 1.0), 1, steps=1, seed=0)


def test_a_step_that_changes_the_number_of_samples_is_refused():
    wrong = df.stepwise("mine", lambda denoise, x, t, s, memory, noise: (x[:1], memory))
    with pytest.raises(ValueError, match=r"the step of mine made a state of shape \(1, 1\) of one of \(2, 1\)"):
        df.sample(DATA, 2, shape=(1,), method=wrong, seed=0)


def test_equal_processes_are_equal():
    """So that a grid and a process that were made apart fit."""
    assert df.VP() == df.VP() != df.VP(0.1, 10.0) and hash(df.VP()) == hash(df.VP())
    assert df.Discrete([0.1, 0.2]) == df.Discrete([0.1, 0.2]) != df.Discrete([0.1, 0.3])
    assert df.grid.uniform(df.VP(), 4) == df.grid.uniform(df.VP(), 4)
    assert len(df.sample(DATA, 2, shape=(1,), process=df.VP(), grid=df.grid.uniform(df.VP(), 4), seed=0)) == 2


@pytest.mark.parametrize("make, error", [
    (lambda: df.deis(3, start=df.ancestral), TypeError), (lambda: df.flow_ode(sk.euler_maruyama), TypeError),
    (lambda: df.flow_ode(sk.rk4, rtol=1e-3), TypeError), (lambda: df.flow_ode(rtol=1e-30), ValueError),
    (lambda: df.reverse_sde(sk.rk4), TypeError), (lambda: df.churned(interval=(3, 1)), ValueError),
    (lambda: df.churned(scale=-1.0), ValueError)])
def test_samplers_that_cannot_be_are_refused_where_they_are_made(make, error):
    with pytest.raises(error):
        make()


def test_steps_check_what_they_are_given_at_once():
    with pytest.raises(TypeError, match="steps\\(\\) has no use for keep"):
        df.steps(DATA, 2, shape=(1,), keep=True)
    with pytest.raises(TypeError, match="labels is a list of classes"):
        df.contrast(MIXTURE, 1, labels=[])
