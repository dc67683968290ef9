"""Tuned grids keep their ends, are the same again, and are better on samples that they have not seen."""

import numpy as np
import pytest
import torch

import diffusion as df
from diffusion.compare import CONVERGED, norms, refined
from diffusion.exact import Gaussian
from diffusion.problems import mixture
from diffusion.tuning import HELD_OUT, Tuned, moved, tuned

MIXTURE = mixture()


@pytest.fixture(scope="module")
def found():
    return tuned(MIXTURE, 12, df.deis(4), span=(0.02, 80.0), progress=False)


def test_it_is_a_grid_with_the_ends_that_were_asked_for(found):
    assert isinstance(found, Tuned) and isinstance(found, df.Grid) and len(found) == 12
    assert (found.levels[0].noise, found.levels[-1].noise) == (80.0, 0.02)
    assert df.sample(MIXTURE, 3, method=df.deis(4), grid=found, seed=1).nfe == 13


def test_an_order_4_method_reaches_1e_3_within_25_evaluations(found):
    # in Euclidean norm, which for two numbers is sqrt(2) times the root mean square
    assert found.nfe_used == 12 and 2**0.5 * found.held_out < 1e-3 and 2**0.5 * found.interval[1] < 1.2e-3


def test_it_is_better_than_what_it_was_tuned_from(found):
    assert found.held_out < 0.5 * found.before


def test_its_error_is_what_other_samples_have(found):
    x = [df.sample(MIXTURE, HELD_OUT, method=m, grid=g, seed=0, first=64, close=False, dtype=torch.float64).samples
         for m, g in ((df.deis(4), found), (CONVERGED, refined(found, 400)), (df.deis(4), found.base))]
    assert found.held_out == pytest.approx(np.median(norms(x[0] - x[1])), rel=1e-3)
    assert found.before == pytest.approx(np.median(norms(x[2] - x[1])), rel=1e-3)
    assert found.interval[0] < found.held_out < found.interval[1]


def test_no_family_was_better_where_it_began():
    few = tuned(MIXTURE, 8, df.dpmpp_2m, trials=1, n=32, progress=False)
    truth = df.sample(MIXTURE, 32, method=CONVERGED, grid=refined(few, 256), close=False, seed=0,
                      dtype=torch.float64).samples

    def error(grid):
        x = df.sample(MIXTURE, 32, method=df.dpmpp_2m, grid=grid, seed=0, close=False, dtype=torch.float64).samples
        return np.log(norms(x - truth)).mean()

    for rho in (3, 5, 7, 10, 20):
        assert error(few) <= error(df.grid.edm(8, rho=rho)) + 1e-6
    # one trial is the family's own
    np.testing.assert_allclose([v.noise for v in few], [v.noise for v in few.base], rtol=1e-12)


def test_it_is_the_same_again_and_more_trials_are_no_worse():
    one, two, more = (tuned(MIXTURE, 6, df.dpmpp_2m, n=32, trials=k, progress=False) for k in (30, 30, 90))
    assert one.levels == two.levels and one.report == two.report
    assert more.training < 1.3 * one.training  # it is their geometric mean that cannot grow


@pytest.mark.parametrize("process, span", [(df.VP(), None), (df.RectifiedFlow(), (0.02, 0.98)),
                                           (df.Discrete(df.linear_betas()), None)], ids=["VP", "flow", "walk"])
def test_every_process_has_them(process, span):
    grid = tuned(MIXTURE, 6, df.dpmpp_2m, process, span, n=32, trials=40, progress=False)
    low, high = span or process.span
    assert grid.process is process and grid.levels[0].time == high and grid.levels[-1].time == low
    assert grid.held_out < grid.before * 1.02


def test_unmoved_knots_give_back_the_grid_they_began_with():
    for base in (df.grid.edm(9), df.grid.quadratic(df.VP(), 9)):
        shares = np.log(np.diff([level.log for level in base]))
        same, bent = (moved(base, shares, c) for c in (np.zeros(6), np.arange(6.0)))
        np.testing.assert_allclose([v.noise for v in same], [v.noise for v in base], rtol=1e-10)
        # shares that grow along the way: shorter steps first
        assert (np.diff([v.log for v in bent]) / np.exp(shares))[0] < 0.2 < 1 < (
            np.diff([v.log for v in bent]) / np.exp(shares))[-1]


def test_grids_that_are_too_coarse_for_the_method_are_bad_ones():
    def picky(denoise, x, t, s, memory, noise):
        if s.log - t.log > 1.0:
            raise FloatingPointError
        return df.dpmpp_2m.step(denoise, x, t, s, memory, noise)

    grid = tuned(MIXTURE, 10, df.stepwise("picky", picky, 2), n=16, trials=40, progress=False)
    assert np.diff([level.log for level in grid]).max() <= 1.0 and grid.held_out <= grid.before


def test_for_one_gaussian_the_best_ddim_grid_is_found():
    # of two steps for N(0, 1) between angles a > b, tan a = sigma: x -> x prod cos(angle between); halves are the best
    data, low, high = Gaussian(0.0, 1.0, shape=(1,)), 0.2, 20.0
    grid = tuned(data, 2, df.ddim(), span=(low, high), trials=120, n=16, progress=False)
    middle = np.tan((np.arctan(low) + np.arctan(high)) / 2)
    assert grid.levels[1].sigma == pytest.approx(middle, rel=0.02)


def test_a_stochastic_method_is_tuned_on_its_own_noise():
    # compared with the flow's end instead, errors would be the noise's own spread, which is that of the data, 1
    grid = tuned(Gaussian(0.0, 1.0, shape=(1,)), 8, df.sde_dpmpp_1, span=(0.3, 3.0), n=32, trials=20, progress=False)
    assert grid.training < 0.2 and grid.held_out < min(0.2, 1.2 * grid.before)


@pytest.mark.parametrize("arguments, error, text", [
    ({"method": "heun"}, TypeError, "must be a sampler"), ({"method": df.churned()}, ValueError, "claims no order"),
    ({"steps": 0}, ValueError, "steps must be"), ({"n": 1}, ValueError, "n must"),
    ({"trials": 0}, ValueError, "trials"), ({"span": (3.0, 1.0)}, ValueError, "span"),
    ({"process": df.Cosine()}, ValueError, r"Cosine\(.*\) has alpha = 0 at t = 1, .*give span=\("),
    ({"label": [0, 1]}, ValueError, "one label")])
def test_bad_input_is_refused(arguments, error, text):
    with pytest.raises(error, match=text):
        tuned(MIXTURE, **{"steps": 4, "method": df.dpmpp_2m, "progress": False, **arguments})
