"""Samplers: their orders against exact scores, their identities, and on Gaussian data their laws without Monte Carlo.

Orders are slopes in the number of steps of the error on the plane's mixture, from exact samples of p(t_start), the
closing step off: of the root mean square and of the median over the paths, within 0.15 of the claim. From noise level 1
all claims show; from 20 the first steps of a method of several levels hardly count, so that it may be better than its
claim. Tables of all samplers and processes: `make orders`.
"""

import math
import pickle

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

import diffusion as df
import sdekit as sk
from diffusion.sampling import Noise
from tests.conftest import EPS
from tests.diffusion.problems import (
    EVERY,
    FLOW,
    MIXTURE,
    NOISY,
    PROCESSES,
    SDES,
    STEPWISE,
    WALK,
    ZERO_TERMINAL,
    Shared,
    affine,
    carried,
    law,
    orders,
    states,
    thinned,
)

WITHIN = 0.15
REFERENCE = df.dpmpp_multistep(4, start=df.dpmpp_3s)
HIGH = [df.dpmpp_3m, df.unipc(3), df.dpmpp_multistep(3)]  # whose claim is that of their first steps
every_process = pytest.mark.parametrize("process", PROCESSES, ids=repr)


def down(process, n, high=1.0, low=0.1):
    """n steps between two noise levels, (sigma/alpha)^(1/7) equally spaced."""
    return df.grid.edm(n, low, high, process=process)


def timed(process, n, high=1.0, low=0.1):
    """n equal steps in the process's time between two noise levels."""
    return df.grid.uniform(process, n, (process.time(low), process.time(high)))


def start(grid, n, seed=1):
    top = grid.levels[0]
    return MIXTURE.sample(n, top.alpha, top.sigma, seed=seed)


def slopes(errors):
    """Of root mean squares and medians, over all step counts; errors (counts, paths), counts doubled each time."""
    errors = np.asarray([e.norm(dim=1).numpy() for e in errors])
    ends = errors[[0, -1]]
    found = np.stack([np.square(ends).mean(1) ** 0.5, np.median(ends, axis=1)])
    return np.log2(found[:, 0] / found[:, 1]) / (len(errors) - 1)


# Orders


@pytest.fixture(scope="module")
def flow():
    """(process, high) -> start and where the flow takes it, by the reference; kept."""
    known = {}

    def of(process, high):
        if (repr(process), high) not in known:
            fine = df.grid.edm(1024 if isinstance(process, df.VP) else 512, 0.1, high, process=process)
            x = start(fine, 64)
            known[repr(process), high] = x, states(REFERENCE, MIXTURE, fine, x)[-1]
        return known[repr(process), high]

    return of


def measured(method, process, high, counts, flow):
    x, exact = flow(process, high)
    make = down if method.step else timed
    return slopes([states(method, MIXTURE, make(process, n, high), x)[-1] - exact for n in counts])


@pytest.mark.parametrize("method", FLOW, ids=repr)
def test_samplers_of_the_flow_have_their_order(method, flow):
    counts = (24, 48) if method is FLOW[-1] else (96, 192)  # rk4 would be as good as the reference
    assert np.abs(measured(method, df.VP(), 1.0, counts, flow) - method.order).max() <= WITHIN


@pytest.mark.parametrize("method", [df.heun, df.deis(3, df.dpmpp_2s), df.flow_ode(sk.heun)], ids=repr)
@every_process
def test_they_have_it_on_every_process(method, process, flow):
    """But for the walk's own time, which has a kink at each whole number."""
    if method.step or process is not WALK:
        assert np.abs(measured(method, process, 1.0, (32, 64), flow) - method.order).max() <= WITHIN


@pytest.mark.parametrize("method", STEPWISE[:-1], ids=repr)
def test_steps_see_a_process_by_its_noise_levels_alone(method):
    """Where two processes have the same levels sigma/alpha, states are the same but for their scale."""
    x, runs = start(down(df.EDM(), 1, 20.0), 20), {}
    for process in PROCESSES:
        grid = down(process, 8, 20.0)
        runs[repr(process)] = states(method, MIXTURE, grid, x * grid.levels[0].alpha)[-1] / grid.levels[-1].alpha
    exact = runs.pop(repr(df.EDM()))
    for name, found in runs.items():
        assert (found - exact).abs().max() <= 1e-8 * exact.abs().max(), name


@pytest.mark.parametrize("method", STEPWISE, ids=repr)
def test_from_far_up_they_have_it_too_or_more(method, flow):
    found = measured(method, df.Cosine(), 20.0, (64, 128), flow)
    assert (found >= method.order - WITHIN).all()
    if repr(method) in map(repr, HIGH):
        assert (found >= method.order + 0.5).all()  # the first steps, which hold them back, lie where nothing happens
    else:
        assert found[0] <= method.order + WITHIN


@pytest.mark.parametrize("method", [df.dpmpp_2m, df.dpmpp_multistep(2), df.dpmpp_multistep(3, df.dpmpp_2s), df.deis(2),
                                    df.deis(3, df.dpmpp_2s), df.unipc(2)], ids=repr)
def test_methods_of_several_levels_have_it_on_uneven_grids(method, flow):
    """Steps of one, two, one, two ... parts: a method that took the last step for as long as this one would lose it."""
    x, exact = flow(df.VP(), 1.0)

    def uneven(n):
        even = down(df.VP(), 3 * n // 2)
        return df.Grid("uneven", tuple(level for k, level in enumerate(even) if k % 3 != 1), even.process)

    found = slopes([states(method, MIXTURE, uneven(n), x)[-1] - exact for n in (96, 192)])
    assert np.abs(found - method.order).max() <= WITHIN


@pytest.mark.parametrize("method, process", [*((method, df.VP()) for method in NOISY),
                                             *((df.ancestral, process) for process in PROCESSES[:2] + PROCESSES[3:]),
                                             *((df.ddpm, process) for process in PROCESSES[4:6])], ids=str)
def test_samplers_with_noise_have_their_strong_order_on_one_brownian_motion(method, process):
    fine = down(process, 512)
    x, noise = start(fine, 400), Shared(fine, (400, 2))
    exact = states(method, MIXTURE, fine, x, noise=noise)[-1]
    found = slopes([states(method, MIXTURE, thinned(fine, k), x, noise=noise)[-1] - exact for k in (32, 16, 8)])
    assert np.abs(found - method.order).max() <= WITHIN


@pytest.mark.parametrize("method", SDES, ids=repr)
@pytest.mark.parametrize("process", [df.VP(), df.EDM(), df.Cosine()], ids=repr)
def test_the_reverse_sde_has_its_method_s_strong_order(method, process):
    """On sdekit's Brownian motion; sra has 1.5 at least, for its noise does not depend on the state."""
    x = start(timed(process, 1), 100)

    def end(n):
        grid = timed(process, n)
        return states(method, MIXTURE, grid, x, noise=Noise((100, 2), 7, 0, "cpu", grid, True))[-1]

    exact = end(512)
    found = slopes([end(n) - exact for n in (16, 32, 64)])
    assert abs(found[0] - method.order) <= WITHIN if method.order == 1 else found[0] >= method.order - WITHIN


def test_with_nested_noise_samples_refine_one_path():
    """Through `sample`, on grids whose clocks share their levels."""
    fine = down(df.VP(), 128)
    options = {"start": start(fine, 60), "nested": True, "close": False, "seed": 3, "dtype": torch.float64}

    def end(k, **more):
        return df.sample(MIXTURE, 60, method=df.ancestral, grid=thinned(fine, k), **{**options, **more}).samples

    exact = end(1)
    errors = [(end(k) - exact).square().mean().item() ** 0.5 for k in (16, 8)]
    assert 0.6 < math.log2(errors[0] / errors[1]) < 1.6
    apart = (end(8, nested=False) - exact).square().mean().item() ** 0.5
    assert apart > 3 * errors[0]


# Nested noise


@pytest.mark.parametrize("process", [df.VP(), df.EDM(), df.RectifiedFlow()], ids=repr)
def test_grids_of_n_and_2n_steps_share_one_brownian_motion(process):
    """sqrt(u_s - u_t) z adds up over the steps of the finer grid; and z is standard normal."""
    fine = down(process, 8)
    shape = (500, 3)
    increments = {}
    for k in (1, 2, 4):
        grid = thinned(fine, k)
        noise = Noise(shape, 5, 10, "cpu", grid, True)
        u = [(level.alpha / level.sigma) ** 2 for level in grid]
        levels = list(grid)
        z = [noise(n, levels[n], levels[n + 1]) for n in range(len(grid))]
        for each in z:
            assert abs(each.mean()) < 4.5 * 1500**-0.5 and abs(each.var() - 1) < 4.5 * (2 / 1500) ** 0.5
        increments[k] = torch.stack([(u[n + 1] - u[n]) ** 0.5 * z[n] for n in range(len(grid))])
    for k in (2, 4):
        total = increments[1].reshape(8 // k, k, *shape).sum(1)
        assert (total - increments[k]).abs().max() <= 1e-10 * total.abs().max()


def test_other_kinds_of_noise_are_not_nested():
    grid = down(df.VP(), 4)
    nested, plain = (Noise((6, 2), 5, 0, "cpu", grid, flag) for flag in (True, False))
    first, second = grid.levels[:2]
    assert torch.equal(nested(0, first, second, 1), plain(0, first, second, 1))
    assert not torch.equal(nested(0, first, second), plain(0, first, second))


# Identities


def assert_equal_runs(one, other, grid, relative=1e-10, **options):
    x = start(grid, 50)
    a, b = (states(method, MIXTURE, grid, x, **options) for method in (one, other))
    assert (a - b).abs().max() <= relative * a.abs().max(), (one, other)


@every_process
@pytest.mark.parametrize("high", [1.0, 20.0])
def test_ddim_is_dpm_solver_1_is_exponential_euler_is_euler(process, high):
    grid = down(process, 12, high)
    for other in (df.euler, df.deis(1), df.dpmpp_multistep(1), df.ddim(0.0)):
        assert_equal_runs(df.ddim(), other, grid)


@every_process
@pytest.mark.parametrize("high", [1.0, 20.0])
def test_ancestral_sampling_is_ddim_of_eta_1_is_sde_dpm_solver_1(process, high):
    grid = down(process, 12, high)
    assert_equal_runs(df.ancestral, df.ddim(1.0), grid)
    assert_equal_runs(df.ancestral, df.sde_dpmpp_1, grid)


@every_process
@pytest.mark.parametrize("eta", [0.2, 0.5, 1.0])
def test_ddim_s_noise_is_eta_times_ancestral_s(process, eta):
    """x_s = alpha_s D + sqrt(sigma_s^2 - v^2) eps + v Z, v = eta (sigma_s/sigma_t) sqrt(1 - alpha_t^2/alpha_s^2) where
    alpha^2 + sigma^2 = 1 (Song, Meng & Ermon 2021, eq. 12 and 16); on another scale with r^2 = alpha^2 + sigma^2."""
    def of(value):
        return torch.tensor([value], dtype=torch.float64)

    grid = down(process, 3, 5.0, 0.5)
    for t, s in zip(grid.levels, grid.levels[1:]):
        (at, st), (a, b) = ((1 / math.hypot(1, v.noise), v.noise / math.hypot(1, v.noise)) for v in (t, s))
        v = eta * b / st * (1 - at**2 / a**2) ** 0.5
        scale, D, eps, z = math.hypot(s.alpha, s.sigma), -0.3, 1.1, 0.7
        exact = scale * (a * D + (b**2 - v**2) ** 0.5 * eps + v * z)
        x = of(t.alpha * D + t.sigma * eps)
        found = df.ddim(eta).step(lambda x, level: torch.full_like(x, -0.3), x, t, s, (), lambda: of(0.7))[0].item()
        assert found == pytest.approx(exact, rel=1e-10)


@every_process
def test_without_churn_it_is_heun_s(process):
    assert_equal_runs(df.churned(0.0), df.heun, down(process, 12, 20.0))
    assert_equal_runs(df.churned(0.4, interval=(100.0, 200.0)), df.heun, down(process, 12, 20.0))


def test_heun_on_edm_s_process_is_its_flow_by_heun():
    assert_equal_runs(df.heun, df.flow_ode(sk.heun), df.grid.edm(12))
    assert_equal_runs(df.euler, df.flow_ode(sk.euler), df.grid.edm(12))


@every_process
def test_the_reverse_sde_without_noise_is_the_flow(process):
    """lambda = 0: f x - g^2 score / 2 is alpha' D + sigma' eps."""
    assert_equal_runs(df.reverse_sde(sk.euler_maruyama, lam=0.0), df.flow_ode(sk.euler), timed(process, 12, 20.0))


def frozen(process, t, s, eta):
    """(a, b, v) of x_s = a x_t + b D + sqrt(v) Z, the linear SDE from t down to s with D frozen and noise eta g:

        dx = (f x - (1 + eta^2)/2 g^2 (alpha D - x)/sigma^2) dt + eta g dW,

    by integrating a, b and v from their definition; with eta = 0 the flow."""
    def rates(time, y):
        (f, g2), alpha, sigma = process.coefficients(time), process.alpha(time), process.sigma(time)
        pull = (1 + eta**2) / 2 * g2 / sigma**2
        a, b, v = y
        return [(f + pull) * a, (f + pull) * b - pull * alpha, 2 * (f + pull) * v - eta**2 * g2]

    return solve_ivp(rates, (t, s), [1.0, 0.0, 0.0], "DOP853", rtol=1e-13, atol=1e-15).y[:, -1]


@pytest.mark.parametrize("process", PROCESSES[:-1], ids=repr)
@pytest.mark.parametrize("method, eta", [(df.ancestral, 1.0), (df.sde_dpmpp_1, 1.0), (df.euler, 0.0)], ids=str)
def test_a_step_is_the_linear_sde_s_exact_solution_with_x0_frozen(process, method, eta):
    """Ancestral sampling solves the reverse SDE, and DDIM the flow, with D (or, for the flow, eps) constant."""
    grid = down(process, 3, 5.0, 0.5)
    for t, s in zip(grid.levels, grid.levels[1:]):
        a, b, v = frozen(process, t.time, s.time, eta)
        for z in (0.0, 1.7):
            def noise(kind=0, z=z):
                return torch.tensor([z], dtype=torch.float64)

            x = torch.tensor([0.8], dtype=torch.float64)
            found = method.step(lambda x, level: torch.full_like(x, -0.3), x, t, s, (), noise)[0].item()
            assert found == pytest.approx(a * 0.8 - b * 0.3 + math.sqrt(max(v, 0.0)) * z, rel=1e-10)


def test_with_the_score_frozen_it_is_another_step():
    """Exponential Euler with a constant score is not DDIM: on data of no width it misses alpha x_0 + sigma eps."""
    vp = df.VP()
    t, s = vp.level(0.6), vp.level(0.4)
    D, eps = 0.7, -1.1
    x, exact = t.alpha * D + t.sigma * eps, s.alpha * D + s.sigma * eps
    state = torch.tensor([x], dtype=torch.float64)
    found = df.euler.step(lambda x, level: torch.full_like(x, D), state, t, s, (), None)
    assert found[0].item() == pytest.approx(exact, rel=1e-12)
    rise = s.alpha / t.alpha  # x' = f x - g^2/2 score, the score constant: x_s - rise x_t = -int rise(s, r) g^2/2 dr
    r = np.linspace(t.time, s.time, 20_001)
    g2 = np.array([vp.coefficients(v)[1] * s.alpha / vp.alpha(v) for v in r])
    score_frozen = rise * x - np.trapezoid(g2, r) / 2 * (-eps / t.sigma)
    assert abs(score_frozen - exact) > 0.01


@pytest.mark.parametrize("process", [df.VP(), df.EDM(), df.SubVP()], ids=repr)
def test_euler_maruyama_differs_from_ddpm_at_first_order(process):
    """Twice the steps, half the difference; on one noise, step by step."""
    def difference(n):
        grid = down(process, n)
        x = start(grid, 500)
        one, other = (states(method, MIXTURE, grid, x)[-1] for method in (df.reverse_sde(sk.euler_maruyama), df.ddpm))
        return (one - other).square().mean().item() ** 0.5

    found = [difference(n) for n in (32, 64, 128)]
    assert found[-1] > 1e-4
    assert np.abs(orders(found) - 1).max() <= WITHIN


def test_ddpm_s_noise_is_larger_than_ancestral_s():
    """Variance beta, the posterior's times sigma_t^2/sigma_s^2 (Ho et al. 2020, section 3.2)."""
    grid = df.grid.linspace(WALK)
    for n in (0, 500, 998):
        t, s = grid.levels[n:n + 2]
        step = {method: [method.step(lambda x, level: x, torch.zeros(1, dtype=torch.float64), t, s, (),
                                     lambda: torch.ones(1, dtype=torch.float64))[0].item()]
                for method in (df.ddpm, df.ancestral)}
        assert step[df.ddpm][0] ** 2 == pytest.approx(WALK.betas[int(t.time) - 1], rel=1e-9)
        assert step[df.ancestral][0] ** 2 == pytest.approx(
            WALK.betas[int(t.time) - 1] * (s.sigma / t.sigma) ** 2, rel=1e-9)


# Gaussian data, without Monte Carlo


DATA = df.exact.Gaussian(1.0, 0.6)
GRIDS = {
    "EDM": lambda n: df.grid.edm(n, 0.1, 3.0, 3.0),
    "VP": lambda n: df.grid.uniform(df.VP(), n, (0.05, 0.7)),
    "flow": lambda n: df.grid.uniform(df.RectifiedFlow(), n, (0.1, 0.8)),
}
WEAK = {repr(df.sde_dpmpp_2m): 2, repr(SDES[2]): 2}  # where it is not the strong order
MORE = [repr(m) for m in [*HIGH, df.dpmpp_multistep(4, df.dpmpp_3s), df.deis(3, df.dpmpp_2s), df.deis(2)]]


@pytest.mark.parametrize("method, make", [
    *((method, "VP") for method in [*FLOW, *NOISY, *SDES]),
    *((method, name) for method in (df.heun, df.dpmpp_2m, df.ancestral, df.ddpm, SDES[0]) for name in ("EDM", "flow"))],
    ids=str)
def test_the_law_at_the_end_is_the_data_s_up_to_the_claimed_order(method, make):
    """Mean and variance; methods of several levels may do better, their first steps' part being small."""
    counts, make = (160, 320) if method in STEPWISE else (80, 160), GRIDS[make]
    errors = [np.linalg.norm(carried(method, DATA, make(n)) - law(DATA, make(n).levels[-1])) for n in counts]
    found, claim = orders(errors)[0], WEAK.get(repr(method), method.order)
    assert found >= claim - 2 * WITHIN
    if repr(method) not in MORE and method is not SDES[2]:
        assert found <= claim + 2 * WITHIN


@pytest.mark.parametrize("method", [df.heun, df.dpmpp_2s, df.dpmpp_3s, df.flow_ode(sk.heun),
                                    df.flow_ode(sk.rk4)], ids=repr)
@pytest.mark.parametrize("make", GRIDS.values(), ids=GRIDS)
def test_every_start_ends_where_its_flow_does(method, make):
    """(x - alpha m)/r stays what it was."""
    x = torch.tensor([[-30.0], [-1.0], [0.3], [2.0], [25.0]], dtype=torch.float64)

    def error(n):
        grid = make(n)
        (m0, v0), (m1, v1) = law(DATA, grid.levels[0]), law(DATA, grid.levels[-1])
        return (states(method, DATA, grid, x)[-1] - m1 - (v1 / v0) ** 0.5 * (x - m0)).norm().item()

    assert abs(math.log2(error(80) / error(160)) - method.order) < WITHIN


@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("process", [df.VP(), df.EDM(), df.Cosine()], ids=repr)
def test_the_reverse_sde_keeps_the_marginals_for_any_noise(process, lam):
    """Euler-Maruyama's moments miss those of p_t by half at twice the steps."""
    method = df.reverse_sde(sk.euler_maruyama, lam=lam)
    errors = []
    for n in (40, 80):
        grid = timed(process, n, 3.0, 0.3)
        coefficients = drift_and_noise(process, method, grid)
        mean, variance = law(DATA, grid.levels[0])
        for A, b, c in coefficients:
            mean, variance = A * mean + b, A**2 * variance + c**2
        errors.append(np.abs(np.array([mean, variance]) - law(DATA, grid.levels[-1])).max())
    assert errors[-1] < 0.15 and abs(orders(errors)[-1] - 1) <= 2 * WITHIN


def drift_and_noise(process, method, grid, seed=11, rows=6):
    """(A, b, c) of every step x' = A x + b + c z, from two starts on one noise, z known by its name."""
    z = sk.normals(seed, paths=rows, steps=len(grid))[..., 0]
    zero, one = (states(method, DATA, grid, torch.full((rows, 1), x, dtype=torch.float64), seed)[..., 0].numpy()
                 for x in (0.0, 1.0))
    for k in range(len(grid)):
        A = ((one[k + 1] - zero[k + 1]) / (one[k] - zero[k])).mean()
        design = np.stack([np.ones(rows), z[:, k]], axis=1)
        (b, c), *_ = np.linalg.lstsq(design, zero[k + 1] - A * zero[k], rcond=None)
        yield A, b, c


@pytest.mark.parametrize("process, off", [(df.VP(), -0.05150), (df.Cosine(), -0.02997), (df.RectifiedFlow(), -0.02985)],
                         ids=str)
def test_ddim_s_variance_is_too_small_at_32_uniform_steps(process, off):
    """A step shrinks the deviation by (alpha_s alpha_t s^2 + sigma_s sigma_t) / r_t^2, by Cauchy's inequality more than
    the flow's r_s/r_t; its mean is exact. For data of variance 0.36, from t = 1 to 0.001."""
    grid = df.grid.uniform(process, 32)
    mean, variance = carried(df.ddim(), DATA, grid)
    end, shrunk = law(DATA, grid.levels[-1]), law(DATA, grid.levels[0])[1]
    for t, s in zip(grid.levels, grid.levels[1:]):
        shrunk *= ((s.alpha * t.alpha * 0.36 + s.sigma * t.sigma) / law(DATA, t)[1]) ** 2
    assert abs(mean - end[0]) < 1e-12 and variance == pytest.approx(shrunk, rel=1e-11)
    assert variance - end[1] == pytest.approx(off, rel=1e-3)


@pytest.mark.parametrize("process", [*PROCESSES, ZERO_TERMINAL], ids=repr)
@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_data_of_one_point_is_found_in_any_number_of_steps(process, n):
    """D constant: the flow keeps eps, x_end = alpha m + sigma eps; with noise it is N(alpha m, sigma^2)."""
    def point(x, alpha, sigma):
        return torch.full_like(x, 0.7)

    grid = df.grid.linspace(process, n) if isinstance(process, df.Discrete) else df.grid.uniform(
        process, n, (0.1 * process.times[1], process.times[1]))
    top, end = grid.levels[0], grid.levels[-1]
    eps = torch.tensor([[-2.0], [0.4], [1.3]], dtype=torch.float64)
    x = top.alpha * 0.7 + top.sigma * eps
    l = grid.levels[not top.alpha].noise  # Heun's slope at the end of a step from l to m is a difference at l, over m
    for method in STEPWISE:
        found = states(method, point, grid, x)[-1]
        assert (found - end.alpha * 0.7 - end.sigma * eps).abs().max() <= 16 * n * EPS * (1 + l**2 / end.noise), method
    for method in (df.ancestral, df.ddim(0.5), df.sde_dpmpp_1, df.sde_dpmpp_2m, df.churned(scale=1.0)):
        A, b, c = affine(method, point, grid)
        mean, variance = A * top.alpha * 0.7 + b, A**2 * top.sigma**2 + c @ c
        assert (mean, variance) == pytest.approx(
            (end.alpha * 0.7, end.sigma**2), rel=1e-9 + 64 * EPS * l**2 / end.noise / end.sigma), method


@pytest.mark.parametrize("process", [*PROCESSES, ZERO_TERMINAL], ids=repr)
@pytest.mark.parametrize("method", EVERY, ids=repr)
def test_a_few_steps_are_enough_to_run(method, process):
    """One, two, three steps, some of a walk of 1000; the whole span and a part of it, from below 1 to above 0."""
    (low, high), walk = process.span, isinstance(process, df.Discrete)
    part = low + 0.2 * (high - low), low + 0.7 * (high - low)
    for n in (1, 2):
        for grid in ((df.grid.linspace(process, n), df.grid.leading(process, 2 * n + 1)) if walk else
                     (df.grid.uniform(process, n), df.grid.uniform(process, n + 1, part))):
            x, t = start(grid, 5), grid.levels[0]
            rates = process.slopes(t.time) if method in FLOW else process.coefficients(t.time)
            if method.step is None and not np.isfinite(rates).all():
                with pytest.raises(ValueError, match="infinite coefficients; begin the grid a little before"):
                    states(method, MIXTURE, grid, x)
            else:
                found = states(method, MIXTURE, grid, x)
                assert found.shape == (len(grid) + 1, 5, 2) and found.isfinite().all()


@pytest.mark.parametrize("process", [df.Cosine(), df.RectifiedFlow(), ZERO_TERMINAL], ids=repr)
@pytest.mark.parametrize("method", [*STEPWISE, *NOISY], ids=repr)
def test_from_pure_noise_the_law_is_right_too(method, process):
    """At alpha = 0 the first step has D = E x_0, which costs alpha_s^2 s^2 of the variance: second order at most."""
    T = process.times[1]

    def make(n):
        return df.grid.uniform(process, n, (0.2 * T, T))

    errors = [np.abs(carried(method, DATA, make(n)) - law(DATA, make(n).levels[-1])) for n in (40, 80)]
    assert make(2).levels[0].alpha == 0
    (_, coarse), (mean, fine) = errors
    assert mean < 1e-9 and fine < (0.05 if method.order == 1 else 0.01)
    assert fine < max(coarse * 2 ** (0.5 - min(method.order, 2)), 5e-4)


# Samplers with a law of their own


def test_the_corrector_s_law_is_langevin_s_at_a_fixed_step():
    """x += d (x - alpha m)(-1/r^2) + sqrt(2 d) Z holds the variance at r^2 / (1 - d/(2 r^2)), d = (ratio sigma)^2."""
    ratio, errors = 0.5, []
    for n in (40, 80, 160):
        grid = down(df.EDM(), n, 3.0, 0.5)
        mean, variance = carried(df.predictor_corrector(df.heun, 1, ratio), DATA, grid)
        r2 = law(DATA, grid.levels[-1])[1]
        d = (ratio * grid.levels[-1].sigma) ** 2
        errors.append(abs(variance - r2 / (1 - d / (2 * r2))))
        assert abs(mean - DATA.mean) < 1e-9
    assert (orders(errors) > 0.7).all() and errors[-1] < 0.02 * r2


def test_a_little_churn_has_heun_s_weak_order():
    """gamma = 1/N adds in all what does not depend on N, at every step exactly if the noise is not scaled."""
    errors = []
    for n in (40, 80, 160):
        grid = down(df.EDM(), n, 3.0, 0.5)
        found = carried(df.churned(1 / n, (0.0, 100.0), 1.0), DATA, grid)
        errors.append(np.abs(found - law(DATA, grid.levels[-1])).max())
    assert np.abs(orders(errors) - 2).max() <= WITHIN


# Their own words


def test_a_sampler_of_one_s_own_is_a_step():
    def halfway(denoise, x, t, s, memory, noise):
        return s.alpha * (x / t.alpha + (s.noise - t.noise) * (x - t.alpha * denoise(x, t)) / t.sigma), memory

    assert_equal_runs(df.stepwise("mine", halfway, order=1), df.euler, down(df.VP(), 5))


def test_samplers_say_their_names():
    assert list(map(repr, [df.euler, df.ddim(), df.ddim(0.5), df.ddim(1), df.deis(3), df.unipc(2, df.heun),
                           df.dpmpp_multistep(4, start=df.dpmpp_3s), df.reverse_sde(sk.sra, lam=0.5),
                           df.reverse_sde(), df.flow_ode(), df.flow_ode(rtol=1e-3), df.churned(),
                           df.predictor_corrector()])) == [
        "euler", "ddim", "ddim(0.5)", "ancestral", "deis(3)", "unipc(2, start=heun)",
        "dpmpp_multistep(4, start=dpmpp_3s)", "reverse_sde(sra, lam=0.5)", "reverse_sde(euler_maruyama)",
        "flow_ode(heun)", "flow_ode(dopri5, rtol=0.001)", "churned(0.414)", "predictor_corrector(ancestral, 1, 0.16)"]
    assert len({repr(method) for method in EVERY}) == len(EVERY)


@pytest.mark.parametrize("start, claim", [(None, 2), (df.euler, 2), (df.heun, 3), (df.dpmpp_2s, 3), (df.dpmpp_3s, 4)],
                         ids=repr)
def test_a_claim_is_that_of_the_start_and_one(start, claim):
    assert df.dpmpp_multistep(4, start).order == df.deis(4, start).order == claim
    assert df.unipc(3, start).order == (3 if start is None else start.order + 1)


@pytest.mark.parametrize("make, error, message", [
    (lambda: df.ddim(-0.1), ValueError, "eta goes from 0, no noise, to 1, ancestral sampling; got -0.1"),
    (lambda: df.ddim(1.1), ValueError, "eta goes from 0"), (lambda: df.ddim(math.nan), ValueError, "eta goes from 0"),
    (lambda: df.deis(0), ValueError, "deis has the orders 1 to 4, got 0"),
    (lambda: df.deis(5), ValueError, "deis has the orders 1 to 4, got 5"),
    (lambda: df.deis(2.0), ValueError, "deis has the orders"),
    (lambda: df.deis(True), ValueError, "deis has the orders"),
    (lambda: df.unipc(4), ValueError, "unipc has the orders 1 to 3, got 4"),
    (lambda: df.dpmpp_multistep(5), ValueError, "dpmpp_multistep has the orders 1 to 4"),
    (lambda: df.deis(3, start="heun"), TypeError, "start must be a sampler of single steps, without"),
    (lambda: df.deis(3, start=df.flow_ode()), TypeError, "start must be a sampler of single steps"),
    (lambda: df.deis(3, start=df.churned()), TypeError, "start must be a sampler of single steps, without"),
    (lambda: df.churned(-0.1), ValueError, r"gamma goes from 0 to sqrt\(2\) - 1"),
    (lambda: df.churned(0.5), ValueError, r"gamma goes from 0 to sqrt\(2\) - 1 = 0.414, got 0.5"),
    (lambda: df.predictor_corrector(df.flow_ode()), TypeError, "the predictor is a sampler of single steps"),
    (lambda: df.predictor_corrector("heun"), TypeError, "the predictor is a sampler of single steps"),
    (lambda: df.predictor_corrector(corrections=0), ValueError, "corrections is a whole number of at least 1"),
    (lambda: df.predictor_corrector(corrections=1.5), ValueError, "corrections is a whole number of at least 1"),
    (lambda: df.predictor_corrector(ratio=0.0), ValueError, "ratio is positive"),
    (lambda: df.reverse_sde(lam=-1.0), ValueError, "lam is a number of at least 0, got -1.0"),
    (lambda: df.reverse_sde(lam=math.inf), ValueError, "lam is a number of at least 0"),
    (lambda: df.reverse_sde(lam=math.nan), ValueError, "lam is a number of at least 0"),
])
def test_what_makes_no_sampler_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("make, message", [
    (lambda: df.ddim("a"), r"eta must be a number, got 'a' \(str\)"), (lambda: df.ddim(None), "eta must be a number"),
    (lambda: df.ddim(True), "eta must be a number"), (lambda: df.ddim([0.5]), "eta must be a number"),
    (lambda: df.churned("0.1"), "gamma must be a number, got '0.1'"),
    (lambda: df.churned(scale=None), "scale must be a number"),
    (lambda: df.churned(interval=("0", 1)), "low must be a number, got '0'"),
    (lambda: df.predictor_corrector(ratio="a"), "ratio must be a number, got 'a'"),
    (lambda: df.reverse_sde(lam="1"), "lam must be a number, got '1'"),
    (lambda: df.flow_ode(rtol="1e-3"), "rtol must be a number, got '1e-3'"),
    (lambda: df.reverse_sde(atol=[1]), r"atol must be a number, got \[1\]"),
])
def test_what_is_no_number_is_refused_by_its_name(make, message):
    with pytest.raises(TypeError, match=message):
        make()


@pytest.mark.parametrize("interval", [3, (1.0,), (0.1, 1.0, 2.0), (2.0, 1.0), (-1.0, 1.0), None])
def test_what_is_no_interval_is_refused(interval):
    with pytest.raises(ValueError, match=r"must be \(low, high\) with 0 <= low < high"):
        df.churned(interval=interval)


@pytest.mark.parametrize("method", [*EVERY, df.flow_ode(rtol=1e-4)], ids=repr)
def test_a_sampler_is_the_same_from_a_pickle(method):
    again = pickle.loads(pickle.dumps(method))
    assert (repr(again), again.order, again.evaluations, again.stochastic) == (
        repr(method), method.order, method.evaluations, method.stochastic)
    grid = timed(df.VP(), 2)
    x = start(grid, 3)
    assert torch.equal(states(again, MIXTURE, grid, x), states(method, MIXTURE, grid, x))
