"""Samplers on Gaussian data, where every step is affine: x' = A x + b + c z.

`steps_of` reads A, b, c off each step from two starts on the same noise, so that mean and variance at the end follow
without Monte Carlo. The flow carries N(alpha m, r^2), r^2 = alpha^2 s^2 + sigma^2, along exactly; what a sampler is
off by must vanish at its order. States are compared in float64 inside `solve`, samples in float32.
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

EPS32 = torch.finfo(torch.float32).eps
DATA = df.exact.Gaussian(1.0, 0.6)
METHODS = [df.heun, df.ddpm, df.reverse_sde(sk.euler_maruyama), df.flow_ode(sk.euler), df.flow_ode(sk.heun),
           df.flow_ode(sk.rk4)]
ORDER = dict(zip(map(repr, METHODS), (2, 1, 1, 1, 2, 4)))  # weak, in the number of steps
CALLS = dict(zip(map(repr, METHODS), (2, 1, 1, 1, 2, 4)))  # evaluations a step
GRIDS = {
    "EDM": df.Grid.edm,
    "EDM, from noise level 3": lambda n: df.Grid.edm(n, 0.1, 3.0, 3.0),
    "VP": lambda n: df.Grid.uniform(df.VP(), n),
    "VP, its middle": lambda n: df.Grid.uniform(df.VP(), n, (0.05, 0.7)),
}
every_method = pytest.mark.parametrize("method", METHODS, ids=repr)
every_grid = pytest.mark.parametrize("make", GRIDS.values(), ids=GRIDS)


def solved(method, grid, x, seed=11, first=0, data=DATA):
    """The states at all levels, (levels, rows, ...), float64."""
    def denoise(x, level):
        return data(x, level.alpha, level.sigma)

    return torch.stack([x, *method.solve(denoise, x, grid, seed, first)])


def steps_of(method, grid, seed=11, rows=6):
    """(A, b, c) of every step; z is known by its name, (seed, path, step)."""
    z = sk.normals(seed, paths=rows, steps=len(grid))[..., 0]
    zero, one = (solved(method, grid, torch.full((rows, 1), start, dtype=torch.float64), seed)[..., 0].numpy()
                 for start in (0.0, 1.0))
    found = []
    for k in range(len(grid)):
        A = ((one[k + 1] - zero[k + 1]) / (one[k] - zero[k])).mean()
        design = np.stack([np.ones(rows), z[:, k]], axis=1)
        rest = zero[k + 1] - A * zero[k]
        (b, c), *_ = np.linalg.lstsq(design, rest, rcond=None)
        # every row obeys the same three numbers; A is a quotient by the smaller and smaller difference of the runs
        shrunk = 1 / np.abs(one[k] - zero[k]).min()
        assert np.abs(design @ (b, c) - rest).max() <= rounding(10 * shrunk, zero[k], 1.0)
        found.append((A, b, c))
    return found


def law(level):
    """Mean and variance of the data noised to this level."""
    return np.array([level.alpha * DATA.mean, level.alpha**2 * DATA.std**2 + level.sigma**2])


def carried(method, grid):
    """Mean and variance at the last level, from the exact ones at the first."""
    mean, variance = law(grid.levels[0])
    for A, b, c in steps_of(method, grid):
        mean, variance = A * mean + b, A**2 * variance + c**2
    return np.array([mean, variance])


@every_method
@every_grid
def test_the_law_at_the_end_is_the_data_s_up_to_the_claimed_order(method, make):
    grids = [make(n) for n in (40, 80, 160)]
    errors = [np.linalg.norm(carried(method, grid) - law(grid.levels[-1])) for grid in grids]
    order = np.log2(errors[:-1] / np.array(errors[1:]))
    assert abs(order[-1] - ORDER[repr(method)]) < 0.15, order


@pytest.mark.parametrize("method", [df.heun, df.flow_ode(sk.heun), df.flow_ode(sk.rk4)], ids=repr)
@every_grid
def test_every_start_ends_where_its_flow_does(method, make):
    """(x - alpha m)/r stays what it was."""
    x = torch.tensor([[-30.0], [-1.0], [0.3], [2.0], [25.0]], dtype=torch.float64)

    def error(n):
        grid = make(n)
        (m0, v0), (m1, v1) = law(grid.levels[0]), law(grid.levels[-1])
        return (solved(method, grid, x)[-1] - m1 - (v1 / v0) ** 0.5 * (x - m0)).norm().item()

    assert abs(math.log2(error(80) / error(160)) - ORDER[repr(method)]) < 0.15


@every_method
@pytest.mark.parametrize("make", [GRIDS["EDM"], GRIDS["VP"]], ids=["EDM", "VP"])
def test_samples_have_the_law_that_the_steps_carry_to_the_end(method, make):
    """Exactly, no bias: then closed by x <- D, affine too. And so the data's, up to the sampler's own error."""
    n, grid = 4000, make(40)
    found = df.sample(DATA, n, shape=(1,), grid=grid, method=method, seed=21).samples[:, 0].double().numpy()
    last, (mean, variance) = grid.levels[-1], carried(method, grid)
    shrink = last.alpha * DATA.std**2 / law(last)[1]
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


def test_heun_on_the_edm_process_is_its_probability_flow_by_heun():
    """alpha = 1, dx/dsigma = eps in both; the reversed clock rounds times near 40, which counts near 0.02."""
    x = torch.linspace(-50, 50, 7, dtype=torch.float64)[:, None]
    grid = df.Grid.edm(25)
    one, other = (solved(method, grid, x) for method in (df.heun, df.flow_ode(sk.heun)))
    assert (one - other).abs().max() <= rounding(25 * 40 / 0.02, x) * 0.02


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
    levels = df.Grid.discrete(betas).levels[1000 - top:1000 - top + 6]
    x = torch.linspace(-2, 2, 12, dtype=torch.float64).reshape(4, 3)
    found = solved(df.ddpm, df.Grid("some", levels), x)[-1]
    times = [int(level.time) for level in levels[:-1]]
    exact = algorithm_2(x.numpy(), betas, times, sk.normals(11, paths=4, steps=5, components=3))
    # 1 - abar and beta are differences of numbers near 1: relative rounding of eps / 1e-4
    assert np.abs(found.numpy() - exact).max() <= rounding(5 / 1e-4, exact)


def test_ddpm_is_algorithm_2_from_noise_to_data():
    """The closing x <- D is its last step, which adds no noise: beta_1 = 1 - abar_1."""
    betas, n = df.linear_betas(20, 0.01, 0.4), 5
    grid = df.Grid.discrete(betas)
    found = df.sample(DATA, n, shape=(2,), grid=grid, method=df.ddpm, seed=3).samples
    mean, variance = law(grid.levels[0])
    x = mean + variance**0.5 * sk.normals(3, stream=1, paths=n, components=2)[:, 0]
    z = np.concatenate([sk.normals(3, paths=n, steps=19, components=2), np.zeros((n, 1, 2))], axis=1)
    exact = algorithm_2(x, betas, range(20, 0, -1), z)
    np.testing.assert_allclose(found, exact, atol=2 * EPS32 * np.abs(exact).max())


# What a sample depends on


@every_method
@pytest.mark.parametrize("make", [GRIDS["EDM"], GRIDS["VP"]], ids=["EDM", "VP"])
def test_sample_k_is_the_same_in_every_batch(method, make):
    """1e-12 in float64, plus the rounding to float32."""
    options = {"shape": (3,), "grid": make(4), "method": method, "seed": 5}
    exact = df.sample(DATA, 70, **options).samples
    allowed = {"rtol": 0, "atol": 1e-12 + EPS32 * exact.abs().max().item()}
    for batch in (1, 7, 64):
        torch.testing.assert_close(df.sample(DATA, 70, batch=batch, **options).samples, exact, **allowed)
    for first, n in ((1, 1), (13, 7), (69, 1)):
        part = df.sample(DATA, n, first=first, **options).samples
        torch.testing.assert_close(part, exact[first:first + n], **allowed)


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
    grid = df.Grid.edm(3)
    start = df.sample(DATA, 3, shape=(2,), grid=grid, seed=1, first=7, method=method, keep=True).trajectory[0]
    mean, variance = law(grid.levels[0])
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
@pytest.mark.parametrize("make", [GRIDS["EDM"], GRIDS["VP"]], ids=["EDM", "VP"])
def test_network_evaluations_are_counted(method, make, close):
    data = Classes((0.0, 1.0), 0.5)
    result = df.sample(data, 10, shape=(2,), grid=make(5), method=method, seed=0, batch=4, close=close)
    assert result.nfe == sum(data.batches) / 10 == 5 * CALLS[repr(method)] + close


@every_method
def test_a_guided_evaluation_counts_two_within_the_interval(method):
    data, grid, interval = Classes((0.0, 1.0, 0.5), 0.5), df.Grid.edm(12), (0.5, 8.0)
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
def test_the_trajectory_holds_every_level_and_then_the_samples(method):
    options = {"shape": (2,), "method": method, "seed": 4, "batch": 3}
    grid = df.Grid.edm(6)
    kept = df.sample(DATA, 5, grid=grid, keep=True, **options)
    assert kept.trajectory.shape == (8, 5, 2)
    assert torch.equal(kept.trajectory[-1], kept.samples)
    assert df.sample(DATA, 5, grid=grid, **options).trajectory is None
    open_end = df.sample(DATA, 5, grid=grid, keep=True, close=False, **options)
    assert torch.equal(open_end.trajectory, kept.trajectory[:-1])
    assert torch.equal(open_end.samples, kept.trajectory[-2])
    for k in (2, 5):  # the state at level k is where the grid cut off there ends
        short = df.sample(DATA, 5, grid=df.Grid("cut", grid.levels[:k + 1], grid.process), close=False, **options)
        torch.testing.assert_close(short.samples, kept.trajectory[k], rtol=4 * EPS32, atol=0)


def test_the_closing_step_is_the_denoiser():
    grid = df.Grid.edm(6)
    kept = df.sample(DATA, 5, shape=(2,), grid=grid, keep=True, seed=4)
    last = grid.levels[-1]
    torch.testing.assert_close(kept.samples, DATA(kept.trajectory[-2], last.alpha, last.sigma), rtol=8 * EPS32, atol=0)


def test_the_grid_is_edm_s_or_the_process_s():
    assert df.sample(DATA, shape=(1,), steps=5).grid.levels == df.Grid.edm(5).levels
    assert df.sample(DATA, shape=(1,)).grid.levels == df.Grid.edm(18).levels
    assert df.sample(DATA, shape=(1,), steps=5, process=df.VP()).grid.levels == df.Grid.uniform(df.VP(), 5).levels


def test_a_trained_denoiser_tells_its_shape_and_an_exact_one_takes_any():
    model = df.Preconditioned(shaken(), torch.zeros(1, 8, 8), 0.5)
    assert df.sample(model, 2, steps=1, seed=0).samples.shape == (2, 1, 8, 8)
    assert df.sample(DATA, 2, steps=1, seed=0, shape=(3, 4, 5)).samples.shape == (2, 3, 4, 5)
    assert df.sample(DATA, 2, steps=1, seed=0, shape=()).samples.shape == (2,)


def test_results_are_ordinary_tensors():
    """Not those of inference mode, which refuse gradients and changes in place."""
    result = df.sample(DATA, 2, shape=(2,), steps=2, seed=0, keep=True)
    for tensor in (result.samples, result.trajectory):
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
    ({"method": "heun"}, TypeError, "method must be a sampler: heun, .* got 'heun'"),
    ({"method": sk.heun}, TypeError, "method must be a sampler"),
    ({"method": df.reverse_sde}, TypeError, "method must be a sampler"),
    ({"shape": None}, TypeError, "does not tell the shape of its data; give shape="),
    ({"label": 0}, TypeError, "this denoiser has no classes; leave label out"),
    ({"guidance": math.nan}, ValueError, "guidance must be a finite number"),
    ({"interval": (2.0, 1.0)}, ValueError, "the interval of noise levels"),
    ({"method": df.flow_ode(), "grid": df.Grid.discrete(df.linear_betas())}, ValueError,
     "belongs to no process in continuous time"),
    ({"method": df.reverse_sde(), "grid": df.Grid.discrete(df.linear_betas())}, ValueError,
     "belongs to no process in continuous time"),
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


def test_samplers_say_their_names():
    assert list(map(repr, METHODS)) == ["heun", "ddpm", "reverse_sde(euler_maruyama)", "flow_ode(euler)",
                                        "flow_ode(heun)", "flow_ode(rk4)"]


def test_a_sample_that_is_not_finite_is_named():
    def broken(x, alpha, sigma, condition=None):
        return torch.where(torch.arange(len(x))[:, None] == 2, torch.nan, x)

    with pytest.raises(FloatingPointError, match=r"sample 9 of seed 3 is not finite \(1 of 4 are not\)"):
        df.sample(broken, 4, shape=(2,), steps=2, seed=3, first=7)
