"""Each cause of errors put in by hand is found at its size, and the others are found to be nought."""

import math

import numpy as np
import pytest
import torch

import diffusion as df
from diffusion.diagnosis import diagnose, subdivided
from diffusion.exact import Gaussian
from diffusion.guidance import Derived
from diffusion.problems import mixture
from tests.conftest import assert_near, rounding

FEW = {"n": 64, "progress": False}
MIXTURE = mixture()


def shifted(data, by):
    """A model whose D is off by `by`(alpha, sigma), along every element."""
    return Derived(data, lambda base: lambda x, a, s, c=None: base(x, a, s, c) + by(a, s))


def centred(data, center, spread):
    """The exact denoiser with another idea of where to begin."""
    return Derived(data, lambda base: base, "centred", {"center": center, "spread": spread})


def test_an_exact_model_has_no_score_error():
    found = diagnose(MIXTURE, MIXTURE, steps=6, **FEW)
    assert all(e.score == (0, 0, 0) and e.share == 0 for e in found.levels)
    assert found.end["score"].value == 0 and found.worst == "discretisation"
    assert found.levels[0].discretisation.value == 0


@pytest.mark.parametrize("process", [df.EDM(), df.VP(), df.RectifiedFlow()], ids=repr)
def test_a_score_error_is_found_at_its_size_and_place(process):
    # D off by c: sigma^2 |s_model - s|^2 / d = (alpha c / sigma)^2, at every x
    model = shifted(MIXTURE, lambda a, s: 0.1 if 0.5 < s / max(a, 1e-9) < 2 else 0.0)
    found = diagnose(model, MIXTURE, process, steps=12, **FEW)
    for e in found.levels:
        exact = (0.1 / e.level.noise) ** 2 if 0.5 < e.level.noise < 2 else 0.0
        np.testing.assert_allclose(e.score, exact, rtol=1e-8, atol=1e-20)
    assert found.worst == "score" and sum(e.score.value > 0 for e in found.levels) >= 1


def test_the_share_is_of_the_exact_score():
    # N(0, s^2 I) at alpha = 1: E sigma^2 |s|^2 / d = sigma^2 / (s^2 + sigma^2)
    data, n = Gaussian(0.0, 0.7, shape=(5,)), 2000
    found = diagnose(shifted(data, lambda a, s: 0.1), data, grid=df.grid.edm(1, 0.5, 2.0), n=n, progress=False)
    for e in found.levels:
        s2 = e.level.sigma**2
        assert_near(e.score.value / e.share, s2 / (0.49 + s2), s2 / (0.49 + s2) * (2 / (5 * n)) ** 0.5)


def test_what_a_score_error_does_at_the_end_is_the_flows_own_answer():
    # with D + c for N(0, s^2 I), alpha = 1: dx/dsigma = (x - D - c)/sigma, so the shift y of x obeys
    # dy/dsigma = sigma y / (s^2 + sigma^2) - c / sigma, y = -c r int dsigma / (sigma r), r^2 = s^2 + sigma^2
    s, c, low, high = 0.6, 0.05, 0.05, 10.0
    data = Gaussian(0.0, s, shape=(3,))
    found = diagnose(shifted(data, lambda a, sigma: c), data, grid=df.grid.edm(12, low, high), **FEW)
    part = lambda v: math.asinh(s / v) / s  # -int dsigma / (sigma sqrt(s^2 + sigma^2))
    exact = c * math.hypot(s, low) * (part(low) - part(high))
    np.testing.assert_allclose(found.end["score"], exact, rtol=1e-6)


def test_discretisation_of_a_gaussian_is_that_of_its_factor():
    # ddim is x -> A_k x, the flow x -> r_k / r_0 x; E x_0^2 = r_0^2
    data, grid, n = Gaussian(0.0, 0.6, shape=(4,)), df.grid.edm(8, 0.05, 10.0), 2000
    found = diagnose(data, data, grid=grid, method=df.ddim(), n=n, progress=False)
    size, factor = [math.hypot(0.6, t.sigma) for t in grid], 1.0
    for k, (t, s) in enumerate(zip(grid.levels, grid.levels[1:])):
        D = 0.36 / (0.36 + t.sigma**2)
        factor *= D + s.sigma / t.sigma * (1 - D)
        exact = abs(factor - size[k + 1] / size[0]) * size[0]
        e = found.levels[k + 1].discretisation
        assert_near(e.value, exact, exact * (2 * 4 * n) ** -0.5)
        assert e.low < e.value < e.high
    assert found.end["discretisation"] == found.levels[-1].discretisation


def test_it_is_scaled_to_alpha_one():
    # the same levels sigma/alpha give the same errors in any process, but for the start's noise
    found = [diagnose(MIXTURE, MIXTURE, grid=df.grid.edm(6, 0.05, 5.0, process=p), method=df.ddim(), **FEW)
             for p in (df.EDM(), df.RectifiedFlow())]
    for a, b in zip(*(f.levels for f in found)):
        np.testing.assert_allclose(a.discretisation, b.discretisation, rtol=1e-6, atol=1e-12)
        np.testing.assert_allclose(a.score, b.score, atol=1e-20)


@pytest.mark.parametrize("process", [df.VP(0.1, 6.0), df.EDM()], ids=repr)
def test_a_prior_is_compared_in_closed_form(process):
    s, m, center, spread, n = 0.7, 0.8, 0.0, 1.5, 4000
    data = Gaussian(m, s, shape=(3,))
    grid = df.grid.edm(2, 0.5, 2.0, process=process)
    top = grid.levels[0]
    found = diagnose(centred(data, center, spread), data, grid=grid, n=n, progress=False)
    r, own = math.hypot(top.alpha * spread, top.sigma), math.hypot(top.alpha * s, top.sigma)
    exact = math.hypot(top.alpha * (m - center), own - r) / r
    np.testing.assert_allclose(found.prior.frechet, exact, rtol=1e-10)
    kl = 3 * (math.log(r / own) + (own**2 + (top.alpha * (m - center)) ** 2) / (2 * r**2) - 0.5)
    assert_near(found.prior.kl.value, kl, (found.prior.kl.high - found.prior.kl.value) / 1.96)
    # the flow of a Gaussian is affine: the shift and the widening at the end are those at the start, times r_N / r_0
    end = grid.levels[-1]
    factor = math.hypot(end.alpha * s, end.sigma) / own / end.alpha
    moved = factor * exact * r
    assert_near(found.end["prior"].value, moved, moved * (2 / (3 * n)) ** 0.5)


def test_covariances_count_along_their_axes():
    data = Gaussian(0.0, cov=torch.tensor([[2.0, 0.9], [0.9, 1.0]], dtype=torch.float64))
    grid = df.grid.edm(2, 0.3, 1.0)
    found = diagnose(data, data, grid=grid, n=2000, progress=False)
    r = math.hypot(data.spread, 1.0)
    widths = np.linalg.eigvalsh([[3.0, 0.9], [0.9, 2.0]]) ** 0.5
    np.testing.assert_allclose(found.prior.frechet, (((widths - r) ** 2).sum() / 2) ** 0.5 / r, rtol=1e-10)
    assert found.prior.kl.value > 0


def test_without_signal_the_prior_is_exact():
    found = diagnose(centred(MIXTURE, 5.0, 3.0), MIXTURE, df.Cosine(), steps=6, method=df.dpmpp_2m, **FEW)
    assert found.prior.frechet < 1e-12 and abs(found.prior.kl.value) < 1e-12
    assert found.end["prior"].value < rounding(200, 10.0)


def test_labels_choose_the_law_and_the_model():
    for label in (1, torch.arange(64) % 3):
        found = diagnose(MIXTURE, MIXTURE, steps=6, label=label, **FEW)
        assert all(e.score.value == 0 for e in found.levels) and found.end["score"].value == 0
    other = Derived(MIXTURE, lambda base: lambda x, a, s, c=None: base(x, a, s, None))
    assert diagnose(other, MIXTURE, steps=6, label=1, **FEW).worst == "score"
    assert diagnose(MIXTURE, MIXTURE, steps=6, label=1, **FEW).prior.frechet > diagnose(
        MIXTURE, MIXTURE, steps=6, **FEW).prior.frechet  # the start is that of all classes


def test_a_stochastic_method_is_compared_with_itself():
    grid = lambda n: df.grid.log_snr(df.EDM(), n, (0.3, 3.0))
    coarse, fine = (diagnose(MIXTURE, MIXTURE, grid=grid(n), method=df.sde_dpmpp_1, n=48, finer=f, progress=False)
                    for n, f in ((4, 16), (8, 8)))
    assert 1.3 < coarse.end["discretisation"].value / fine.end["discretisation"].value < 2.8


def test_a_subdivided_grid_has_the_levels_it_was_made_from():
    for grid in (df.grid.edm(5), df.grid.uniform(df.Cosine(), 5), df.grid.linspace(df.Discrete(df.linear_betas()), 5)):
        fine = subdivided(grid, 7)
        assert fine.levels[::7] == grid.levels and len(fine) == 35
        steps = np.diff(
            [level.log for level in fine.levels[7:]]).reshape(-1, 7)
        np.testing.assert_allclose(steps, np.broadcast_to(steps.mean(1, keepdims=True), steps.shape), rtol=1e-6)


def test_it_tells_all_in_a_table_and_a_picture():
    found = diagnose(shifted(MIXTURE, lambda a, s: 0.1), MIXTURE, steps=5, **FEW)
    text = str(found)
    for part in ("sigma/alpha", "prior: Frechet distance", "score, the model's score", "The largest is that of"):
        assert part in text
    ax = found.plot()
    assert ax.get_xlim()[0] > ax.get_xlim()[1] and ax.get_yscale() == "log"
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [e.score.value**0.5 for e in found.levels])
    np.testing.assert_allclose(ax.lines[1].get_ydata(), [e.discretisation.value for e in found.levels[1:]])


@pytest.mark.parametrize("arguments, error, text", [
    ({"exact": lambda x, a, s: x}, TypeError, "an exact law"), ({"method": "heun"}, TypeError, "must be a sampler"),
    ({"method": df.churned()}, ValueError, "claims no order"), ({"n": 1}, ValueError, "n must"),
    ({"finer": 1}, ValueError, "finer"),
    ({"grid": df.grid.edm(3), "process": df.VP()}, ValueError, "give one of them")])
def test_bad_input_is_refused(arguments, error, text):
    with pytest.raises(error, match=text):
        diagnose(MIXTURE, **{"exact": MIXTURE, **FEW, **arguments})
