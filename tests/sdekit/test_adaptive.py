"""Steps of each path's own length: the path's W whatever is rejected, the law, the error, and what cannot go on."""

import warnings
from typing import Any

import numpy as np
import pytest
from scipy.special import ndtr
from scipy.stats import norm

import sdekit as sk
from sdekit.adaptive import DEEPEST, Cellwise, deepest
from sdekit.runge_kutta import dri1, sra, sri, strong_general
from tests.conftest import K, array, assert_gaussian, assert_law, assert_near, rounding

PATHS, SEED = 24, 5
SPAN = (0.0, 2.0)
TIMES = np.array([0.01, 0.125, 0.3, 0.5, 0.7, 1.0, 1.0 + 2.0**-30, 1.2345, 1.9375, 2.0])  # cells' ends among them


def _drift(x, t, k, c):
    _, w, z = x
    return w, 0.0 * w, k * (z - z * z * z) + c * z * z * z


#: (int W dt, W, Z): the first two are exact by `sra`, whatever the cells; Z in its steep well is what rejects them.
#: Where c > k it ends: Z runs to infinity.
well = sk.SDE(_drift, lambda x, t: (0.0, 1.0, 1.0), k=30.0, c=np.zeros(PATHS))
gbm = sk.SDE(lambda x, t, mu: mu * x, lambda x, t, sigma: sigma * x, mu=0.1, sigma=1.0)


def run(backend="numpy", sde=well, x0=(0.0, 0.0, 0.1), t=SPAN, paths=PATHS, seed=SEED, save=TIMES, rtol=0.1, atol=0.1,
        **how):
    return sk.simulate(sde, x0, t, paths=paths, seed=seed, save=save, rtol=rtol, atol=atol, backend=backend, **how)


def same(a, b):
    return np.array_equal(array(a), array(b), equal_nan=True)


@pytest.mark.parametrize("tol", [0.3, 0.1, 0.01])
def test_whatever_is_rejected_the_cells_add_up_to_the_path_of_the_seed(backend, tol):
    """W(s) and int_0^s W = s (W/2 + H), at ends of cells, inside of them, and 2^-30 beside one."""
    paths = run(backend, rtol=tol, atol=tol)
    assert paths.info["rejected"] > PATHS / 2
    B = sk.Brownian(SEED, SPAN, 16, paths=PATHS, noises=3)
    W, area = zip(*(B.increments_and_areas(np.array([0.0, s])) for s in TIMES))
    W, H = (np.concatenate(part, axis=1)[..., 1] for part in (W, area))
    x = array(paths.x)
    steps = paths.info["accepted"] / PATHS
    assert np.abs(x[..., 1] - W).max() <= rounding(steps, W)
    assert np.abs(x[..., 0] - TIMES * (W / 2 + H)).max() <= rounding(steps, W)


def test_every_backend_takes_the_same_cells(backend):
    """A cell more or less would change the error itself, not the last digits of it."""
    one, other = run(), run(backend)
    assert {k: v for k, v in one.info.items() if k != "backend"} == {
        k: v for k, v in other.info.items() if k != "backend"}
    assert np.abs(array(other.x) - one.x).max() <= rounding(one.info["accepted"] / PATHS * 30, one.x)


def test_a_path_alone_is_its_row(backend):
    whole = run(backend)
    part = run(backend, sk.SDE(well.drift, well.diffusion, k=30.0, c=np.zeros(7)), paths=7, first=10)
    assert same(part.x, whole.x[10:17])
    grid = run(backend, save="all")
    assert same(grid.replay(13).x[0], grid.x[13])


def test_what_is_saved_changes_nothing(backend):
    often = np.sort(np.append(TIMES, np.linspace(0.003, 1.9, 90)))
    whole, few = run(backend, save=often), run(backend)
    assert whole.info["accepted"] == few.info["accepted"]
    assert same(whole.x[:, np.searchsorted(often, TIMES)], few.x)
    grid = run("numpy", save="all")
    assert same(run("numpy").x[:, -1], grid.x[:, -1]) and same(run("numpy").x[:, 5], grid.x[:, 8])


def test_neither_threads_nor_chunks_change_anything():
    one, two = (run("numba", threads=n) for n in (1, 2))
    assert same(one.x, two.x) and one.info == two.info


def test_a_time_inside_of_a_cell_is_a_step_aside():
    """All cells are whole steps: X(t_k + a) = Milstein's step from X(t_k), driven by W(t_k + a) - W(t_k)."""
    W = sk.Brownian(3, 1.0, 2, paths=50)
    x = run(sde=gbm, x0=1.0, t=None, noise=W, seed=None, paths=None, save=[0.5, 0.5 + 0.2], rtol=100.0,
            method=sk.milstein).x
    dw, h = W(0.7) - W(0.5), 0.2
    G = x[:, 0]
    slope = ((G + h**0.5 * G) - G) / h**0.5
    assert np.abs(x[:, 1] - (x[:, 0] + 0.1 * x[:, 0] * h + G * dw + slope * (dw**2 - h) / 2)).max() <= rounding(
        20, x)


def test_between_the_cells_the_path_has_the_variance_of_its_time():
    """Straight lines would give t - h/4 in the middle of a cell."""
    n, t = 20_000, np.arange(1, 17) / 16
    x = sk.simulate(sk.SDE(lambda x, t: 0.0 * x, lambda x, t: 1.0), 0.0, steps=8, paths=n, seed=1, rtol=1.0,
                    save=t).x
    assert_near((x**2).mean(axis=0), t, t * (2 / n) ** 0.5)


def naive(x, tol, rng):
    """Milstein on dX = 0.1 X dt + X dW until t = 1, h halved where the error is too large, and *new* noise drawn."""
    def step(x, h, dw):
        return x * (1 + 0.1 * h + dw + (dw**2 - h) / 2)

    x, t, h, W = x.copy(), np.zeros(len(x)), np.full(len(x), 1 / 16), np.zeros(len(x))
    while (t < 1).any():
        first, second = (h / 2) ** 0.5 * rng.standard_normal((2, len(x)))
        y, z = step(x, h, first + second), step(step(x, h / 2, first), h / 2, second)
        good = (np.abs(y - z) <= tol * np.maximum(np.abs(x), np.abs(z))) & (t < 1)
        x, t, W = np.where(good, z, x), np.where(good, t + h, t), np.where(good, W + first + second, W)
        h = np.minimum(np.where(good, h, h / 2), 1 / 16)
    return x, W


def test_rejections_do_not_bias_the_law():
    """ln X ~ N((mu - 1/2) t, t), where half of the attempts fail: and throwing the noise away with them would show."""
    n, tol = 8000, 0.003
    exact = lambda x: ndtr(np.log(x) + 0.4)
    ours = run(sde=gbm, x0=1.0, t=1.0, paths=n, rtol=tol, atol=0.0, method=sk.milstein, save="final")
    assert ours.info["rejected"] > n
    assert_law(ours.final, exact)
    assert_near(np.log(ours.final).var(), 1.0, (2 / n) ** 0.5, bias=tol)

    x, W = naive(np.ones(n), tol, np.random.default_rng(1))
    with pytest.raises(AssertionError, match="distance"):
        assert_law(x, exact)
    assert 1.0 - W.var() > 2 * K * (2 / n) ** 0.5  # large increments were left out


def test_rejections_do_not_bias_a_steep_ou_process():
    n, k, s, t = 8000, 40.0, 3.0, 0.5
    x = run(sde=sk.OrnsteinUhlenbeck(k, 1.0, s), x0=2.0, t=t, paths=n, rtol=1e-3, atol=1e-3, save="final")
    assert x.info["rejected"] > n / 2
    assert_gaussian(x.final, 1.0 + np.exp(-k * t), s**2 / (2 * k) * (1 - np.exp(-2 * k * t)))


def test_rejections_do_not_bias_a_square_root_process():
    """Cox, Ingersoll & Ross 1985: mean and variance of dX = k (m - X) dt + s sqrt(X) dW."""
    n, k, m, s, x0, t = 8000, 3.0, 1.0, 0.8, 0.5, 1.0
    cir = sk.SDE(lambda x, t: k * (m - x), lambda x, t: s * np.sqrt(np.maximum(x, 0.0)))
    x = run(sde=cir, x0=x0, t=t, paths=n, rtol=2e-3, atol=1e-4, method=sk.milstein, save="final")
    assert x.info["rejected"] > n
    e = np.exp(-k * t)
    mean, variance = m + (x0 - m) * e, s**2 / k * (x0 * (e - e * e) + m * (1 - e) ** 2 / 2)
    assert_near(x.final.mean(), mean, (variance / n) ** 0.5, bias=2e-3)
    kurtosis = ((x.final - mean) ** 4).mean() / variance**2
    assert_near(x.final.var(), variance, variance * ((kurtosis - 1) / n) ** 0.5, bias=4e-3)


EXACT = {
    "linear": (gbm, 1.0, lambda W: np.exp(-0.4 + W)),
    "tanh": (sk.SDE(lambda x, t: -x * (1 - x * x), lambda x, t: 1 - x * x), 0.2,
             lambda W: np.tanh(W + np.arctanh(0.2))),
    "sinh": (sk.SDE(lambda x, t: 0.5 * x, lambda x, t: np.sqrt(1 + x * x)), 0.5,
             lambda W: np.sinh(W + np.arcsinh(0.5))),
}


@pytest.mark.parametrize("method, slope", [(sk.milstein, 2 / 3), (sri, 3 / 4)], ids=repr)
@pytest.mark.parametrize("name", EXACT)
def test_the_error_on_the_path_falls_with_the_tolerance(name, method, slope):
    """Cells with a local error tol = h^q, q = strong order + 1/2: N = 1/h of them leave sqrt(N) tol =
    tol^(1 - 1/(2 q)), as far as the errors that are let pass have the mean 0, and N tol at most."""
    (sde, x0, exact), paths = EXACT[name], 60
    W = sk.Brownian(2, 1.0, 4, paths=paths)(1.0)
    tolerances = (1e-3, 3e-5) if method is sri else (3e-3, 3e-4)
    error = []
    for tol in tolerances:
        x = run(sde=sde, x0=x0, t=1.0, steps=4, seed=2, paths=paths, rtol=tol, atol=tol, method=method, save="final")
        error.append(np.sqrt(np.mean(((x.final - exact(W)) / (1 + np.abs(exact(W)))) ** 2)))
    order = np.log(error[0] / error[1]) / np.log(tolerances[0] / tolerances[1])
    assert 2 * slope - 1 - 0.1 < order < slope + 0.25 and error[1] < 2 * tolerances[1] ** slope


def test_a_path_that_seems_easy_at_first_is_looked_at_closely(monkeypatch):
    """Of 2000 paths this one has next to no error by its first step, as a whole, and would be wrong by 3%."""
    path = 1218
    exact = np.exp(sk.Brownian(2, 1.0, 4, first=path)(1.0) - 0.4)
    error = lambda: np.abs(run(sde=gbm, x0=1.0, t=1.0, steps=4, seed=2, paths=1, first=path, rtol=1e-4, atol=0.0,
                               method=sk.milstein, save="final").final / exact - 1)
    assert error() < 2e-3
    monkeypatch.setattr(Cellwise, "start", lambda self, rtol, atol: 0)
    assert error() > 2e-2


def test_where_the_work_lies_in_a_short_time_steps_of_their_own_length_pay():
    """dX = f(t) X dt + 0.1 X dW with f = 100 / cosh((t - 1/3) / 0.005)^2: X = exp(int f - 0.005 + 0.1 W)."""
    width, paths = 0.005, 100
    burst = sk.SDE(lambda x, t: 1.0 / (width * np.cosh((t - 1 / 3) / width) ** 2) * x / 2, lambda x, t: 0.1 * x)
    exact = np.exp(0.5 * (np.tanh(2 / 3 / width) + np.tanh(1 / 3 / width)) - 0.005
                   + 0.1 * sk.Brownian(4, 1.0, 16, paths=paths)(1.0))
    how: dict[str, Any] = dict(sde=burst, x0=1.0, t=1.0, seed=4, paths=paths, method=sri, save="final")
    own = run(**how, rtol=1e-4, atol=0.0)
    cells = own.info["accepted"] + own.info["rejected"]
    steps = 1 << int(np.ceil(np.log2(3 * cells / paths)))  # each cell takes three steps
    W = sk.Brownian(4, 1.0, 16, paths=paths)
    fixed = sk.simulate(burst, 1.0, 1.0, steps, noise=W, method=sri, save="final")
    rms = lambda x: np.sqrt(np.mean((x / exact - 1) ** 2))
    assert rms(own.final) < 0.2 * rms(fixed.final)


def test_noise_that_commutes_and_fills_a_matrix():
    """dX_i = X_i (a_i dW_1 + b_i dW_2): X_i = exp(a_i W_1 + b_i W_2 - (a_i^2 + b_i^2)/2 t)."""
    a, b = (0.8, -0.3), (0.2, 0.6)
    sde = sk.SDE(lambda x, t: (0.0 * x[0], 0.0 * x[1]), lambda x, t: tuple((p * u, q * u) for p, q, u in zip(a, b, x)))
    W = sk.Brownian(1, 1.0, 16, paths=100, noises=2)(1.0)
    exact = np.exp(W @ np.array([a, b]) - 0.5 * (np.square(a) + np.square(b)))
    for backend in ("numpy", "torch") if _torch() else ("numpy",):
        x = run(backend, sde, (1.0, 1.0), 1.0, 100, 1, "final", rtol=1e-3, atol=0.0)
        assert repr(x.info["method"]) == "milstein" and x.info["rejected"] > 100
        assert np.sqrt(np.mean((array(x.final) / exact - 1) ** 2)) < 0.02


def _torch():
    try:
        import torch
        return torch
    except ImportError:
        return None


def test_a_state_that_is_one_array_or_tensor_has_one_clock():
    x0 = np.linspace(0.5, 1.5, 24).reshape(4, 2, 3)
    W = sk.Brownian(1, 1.0, 16, paths=4, noises=6)
    exact = x0[:, None] * np.exp(W([0.3, 1.0]).reshape(4, 2, 2, 3) - 0.4 * np.array([0.3, 1.0])[:, None, None])
    how: dict[str, Any] = dict(sde=gbm, t=1.0, paths=None, seed=1, save=[0.3, 1.0], rtol=1e-3, atol=0.0)
    x = run("numpy", x0=x0, **how)
    assert x.x.shape == (4, 2, 2, 3) and np.abs(x.x / exact - 1).max() < 0.02
    torch = _torch()
    if torch:
        y = run("torch", x0=torch.tensor(x0), **how)
        assert y.info["accepted"] == x.info["accepted"]
        assert np.abs(array(y.x) - x.x).max() <= rounding(100, x.x)


def test_coefficients_that_depend_on_time_and_starts_that_are_drawn():
    """dX = cos(t) dt + 2 t dW from N(0, 1): N(sin t, 1 + 4 t^3 / 3), and `sra` integrates W dt by H."""
    sde = sk.SDE(lambda x, t: np.cos(t), lambda x, t: 2.0 * t)
    x = run(sde=sde, x0=norm(), t=1.5, paths=8000, rtol=1e-3, atol=1e-3, save=[0.4, 1.5])
    assert repr(x.info["method"]) == "sra"
    for k, t in enumerate(x.t):
        assert_gaussian(x.x[:, k], np.sin(t), 1 + 4 * t**3 / 3)
    assert same(run(sde=sde, x0=norm(), t=1.5, paths=9, rtol=1e-3, atol=1e-3, save=[0.4, 1.5]).x, x.x[:9])


def test_a_stratonovich_equation_is_followed_in_its_own_sense():
    W = sk.Brownian(1, 1.0, 16, paths=100)(1.0)
    x = run(sde=sk.Stratonovich(lambda x, t: 0.0 * x, lambda x, t: x), x0=1.0, t=1.0, paths=100, seed=1, rtol=1e-3,
            save="final")
    assert repr(x.info["method"]) == "heun_stratonovich"
    assert np.sqrt(np.mean((x.final / np.exp(W) - 1) ** 2)) < 0.03


# --- paths that cannot go on


def ends(at, **how):
    """The run in which these paths run to infinity, and its warning."""
    c = np.zeros(PATHS)
    c[at] = 60.0
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        paths = run(sde=sk.SDE(well.drift, well.diffusion, k=30.0, c=c), save=np.linspace(*SPAN, 65), **how)
    return paths, [str(w.message) for w in told if w.category is RuntimeWarning]


def test_a_path_that_ends_is_told_and_the_others_are_kept(backend):
    """NaN from its end on, also inside of that step of the grid, and nothing else is touched."""
    lost, told = ends([11, 17], backend=backend, first=100)
    good, nothing = ends([], backend=backend, first=100)
    end = lost.info["lost"]
    assert list(end) == [11, 17] and not nothing and "lost" not in good.info
    assert f"2 of {PATHS} paths" in told[0] and f"path 11, at t = {end[11]:.6g}" in told[0]
    x = array(lost.x)
    for path, t in end.items():
        assert 0.0 < t < 1.0 and (np.isnan(x[path]).all(axis=1) == (lost.t > t)).all()
        assert np.isfinite(x[path][lost.t <= t]).all()
    others = np.delete(np.arange(PATHS), [11, 17])
    assert same(x[others], array(good.x)[others])


def test_statistics_without_the_paths_that_ended_are_refused(backend):
    c = np.zeros(PATHS)
    c[[7, 20]] = 60.0
    sde = sk.SDE(well.drift, well.diffusion, k=30.0, c=c)
    end = ends([7, 20], backend=backend)[0].info["lost"][7]
    with pytest.raises(FloatingPointError, match=rf"path 7 needs steps too small .* at t = {end:.6g}, and statistics"):
        sk.summarize(sde, (0.0, 0.0, 0.1), SPAN, paths=PATHS, seed=SEED, at=TIMES, rtol=0.1, atol=0.1, backend=backend)


def test_a_pole_in_time_ends_all_paths_before_it():
    with pytest.warns(RuntimeWarning, match="3 of 3 paths"):
        x = run(sde=sk.SDE(lambda x, t: 1.0 / (0.3 - t), lambda x, t: 1.0), x0=0.0, t=1.0, paths=3, save=[0.2, 0.5])
    assert all(0.299 < t <= 0.3 for t in x.info["lost"].values())
    assert np.isfinite(x.x[:, 0]).all() and np.isnan(x.x[:, 1]).all()


def test_times_far_from_nought_allow_fewer_halvings():
    """The last cell is 16 last places of t long: 2^(30 - 52 + 4)."""
    assert deepest(0.0, 1.0) == DEEPEST
    assert deepest(2.0**30, 1.0) == 18


def test_a_path_that_was_deep_tries_where_a_step_cannot_be_halved_so_often(monkeypatch):
    """Behind t = 2^20 floats are coarser and the least cell is longer: a path that was at the least one is not lost."""
    grid = 2.0**20 + np.array([-(2.0**-20), -(2.0**-21), 2.0**-21])
    caps = [deepest(t, h) for t, h in zip(grid, np.diff(grid))]
    assert max(caps) < DEEPEST
    monkeypatch.setattr(Cellwise, "start", lambda self, rtol, atol: DEEPEST)
    x = run(sde=sk.SDE(lambda x, t: 0.0 * x, lambda x, t: 1.0), x0=0.0, t=grid, paths=3, save="all")
    assert "lost" not in x.info


# --- beside simulate


def test_a_summary_is_that_of_the_paths():
    how: dict[str, Any] = dict(t=1.0, paths=3000, seed=1, rtol=1e-2, method=sk.milstein)
    x = sk.simulate(gbm, 1.0, save="final", **how)
    whole = sk.summarize(gbm, 1.0, **how)
    assert abs(whole.mean.item() - x.final.mean()) <= rounding(100, x.final)
    assert {k: whole.info[k] for k in ("accepted", "rejected")} == {k: x.info[k] for k in ("accepted", "rejected")}
    how["paths"] = 2048
    joint = sk.summarize(gbm, 1.0, **how) + sk.summarize(gbm, 1.0, **{**how, "paths": 952}, first=2048)
    assert joint.info["accepted"] == whole.info["accepted"] and joint.mean == whole.mean


def test_a_plan_names_the_method():
    assert "sri" in str(sk.plan(gbm, 1.0, paths=10, rtol=1e-2))


def test_a_brownian_of_ones_own():
    """Its steps are the grid's, without being asked for."""
    W = sk.Brownian(1, 1.0, 8, paths=20)
    x = run(sde=gbm, x0=1.0, t=None, noise=W, seed=None, paths=None, save="all", rtol=1e-3)
    y = run(sde=gbm, x0=1.0, t=1.0, steps=8, seed=1, paths=20, save="all", rtol=1e-3)
    assert x.info["steps"] == 8 and same(x.x, y.x)


def test_one_tolerance_alone():
    assert run(sde=gbm, x0=1.0, rtol=1e-2, atol=None).info["atol"] == 1e-5
    assert run(sde=gbm, x0=1.0, rtol=None, atol=1e-2).info["rtol"] == 0.0


general = sk.SDE(lambda x, t: (0.0 * x[0], 0.0 * x[1]), lambda x, t: ((1.0, 0.0 * x[0]), (0.0 * x[0], x[0])))
own = sk.OrnsteinUhlenbeck(1.0, 0.0, 1.0)


@pytest.mark.parametrize("how, message", [
    (dict(method=sk.euler_maruyama), "euler_maruyama takes no adaptive steps: .* strong order 0.5 .* method=sri"),
    (dict(sde=own, method=sk.euler_maruyama), "euler_maruyama takes no adaptive steps: .* Use method=sra"),
    (dict(method=sk.tamed_euler), "tamed_euler takes no adaptive steps"),
    (dict(method=sk.theta(0.5)), r"theta\(0.5\) takes no adaptive steps"),
    (dict(method=sk.srock), "srock.* takes no adaptive steps"),
    (dict(sde=own, method=sk.exact), "exact takes no adaptive steps: it follows the law, not the path"),
    (dict(method=strong_general), "strong_general takes no adaptive steps: it needs the Levy areas"),
    (dict(sde=general, x0=(1.0, 1.0)), "no method takes adaptive steps on noise that does not commute"),
    (dict(sde=general, x0=(1.0, 1.0), method=dri1), "dri1 takes no adaptive steps"),
    (dict(sde=general, x0=(1.0, 1.0), method=sra), "sra takes noise that does not depend on the state"),
    (dict(noise=np.zeros((PATHS, 16)), seed=None), r"given increments do not know; give noise=Brownian"),
    (dict(noise=sk.Brownian(1, 2.0, 8, paths=PATHS), seed=None, steps=16), "base are its 8 steps from 0.0 to 2.0"),
    (dict(noise=sk.Brownian(1, 3.0, 16, paths=PATHS), seed=None), "base are its 16 steps from 0.0 to 3.0"),
    (dict(track=sk.maximum()), "track=, .* go with fixed steps"),
    (dict(nonfinite="stop"), "nonfinite='stop' .* go with fixed steps"),
    (dict(bits=32), "bits=32 go with fixed steps"),
    (dict(rtol=-1.0), "rtol must be a number from 0 on"),
    (dict(rtol=np.nan), "rtol must be a number from 0 on"),
    (dict(atol=np.inf), "atol must be a number from 0 on"),
    (dict(rtol=0.0, atol=0.0), "rtol and atol are both 0"),
])
def test_what_cannot_be_adapted_is_refused(how, message):
    with pytest.raises(ValueError, match=message):
        run(**{"sde": gbm, "x0": 1.0, "t": SPAN, **how})


def test_paths_of_adaptive_steps_are_not_extended():
    with pytest.raises(ValueError, match="adaptive steps cannot be extended"):
        run(sde=gbm, x0=1.0, save="all").extend(3.0)


def test_functions_that_change_their_argument_are_refused():
    def drift(x, t):
        x -= 1.0
        return x

    with pytest.raises(ValueError, match="changes its argument in place"):
        run(sde=sk.SDE(drift, lambda x, t: 0.5 + 0.0 * x), x0=1.0, method=sk.milstein)
