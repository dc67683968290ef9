"""Distances against closed forms; errors, references, budgets and recommendations against what is known."""

import pickle
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance

import diffusion as df
import sdekit as sk
from diffusion.compare import CONVERGED, compare, norms, refined
from diffusion.distances import interval, mmd, picks, sliced_wasserstein
from diffusion.exact import Gaussian
from diffusion.problems import mixture
from tests.conftest import K, assert_near

FEW = {"n": 64, "rounds": 1, "progress": False}


def gaussian(n, d, seed, scale=1.0, mean=0.0):
    return mean + scale * torch.from_numpy(sk.normals(seed, 0, n, 1, d)[:, 0].copy())


def integral(a, b):
    """W_2 of two samples on the line, from quantiles on a grid that has every step of both."""
    n, m = len(a), len(b)
    q = (np.arange(n * m) + 0.5) / (n * m)
    return np.mean((np.sort(a)[(q * n).astype(int)] - np.sort(b)[(q * m).astype(int)]) ** 2) ** 0.5


# --- distances

@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 99))
def test_on_the_line_it_is_the_distance_of_quantiles(n, m, seed):
    a, b = gaussian(n, 1, seed), gaussian(m, 1, seed + 1)
    found = sliced_wasserstein(a, b, directions=3)
    np.testing.assert_allclose(found, integral(a[:, 0].numpy(), b[:, 0].numpy()), rtol=1e-12)
    assert found >= wasserstein_distance(a[:, 0], b[:, 0]) * (1 - 1e-12)  # W_1 <= W_2


def test_a_shift_is_seen_along_every_direction():
    x, c = gaussian(50, 3, 0), torch.tensor([3.0, 0.0, -4.0])
    n = 4000
    found = sliced_wasserstein(x, x + c, directions=n)
    # (u.c)^2 / |c|^2 ~ Beta(1/2, (d - 1)/2) of mean 1/d and variance 2 (d - 1) / (d^2 (d + 2))
    assert_near(found**2 / 25, 1 / 3, (2 * 2 / (9 * 5) / n) ** 0.5)


def test_gaussians_of_two_widths_differ_by_them():
    n = 4000
    found = sliced_wasserstein(gaussian(n, 2, 1, 2.0), gaussian(n, 2, 2, 0.5))
    # E W_2^2 = 1.5^2 + about (2^2 + .5^2) / n times the sum over quantiles, below 5 for n = 4000
    assert_near(found, 1.5, (2.0**2 + 0.5**2) ** 0.5 / (2 * n) ** 0.5, bias=5 * 4.25 / n)


def test_it_depends_on_neither_order_nor_shape():
    x, y = gaussian(20, 4, 3), gaussian(30, 4, 4)
    a = sliced_wasserstein(x, y, seed=5)
    assert a == sliced_wasserstein(x.flip(0).reshape(20, 2, 2), y.reshape(30, 2, 2), seed=5)
    assert a != sliced_wasserstein(x, y, seed=6)
    np.testing.assert_allclose(a, sliced_wasserstein(y, x, seed=5), rtol=1e-12)


def test_mmd_is_the_sum_over_pairs():
    x, y, h = gaussian(7, 2, 5), gaussian(9, 2, 6, 1.5), 0.8
    k = lambda a, b: np.exp(-float((a - b).square().sum()) / (2 * h**2))
    own = lambda s: np.mean([k(s[i], s[j]) for i in range(len(s)) for j in range(len(s)) if i != j])
    cross = np.mean([k(a, b) for a in x for b in y])
    np.testing.assert_allclose(mmd(x, y, h), own(x) + own(y) - 2 * cross, rtol=1e-10)


def test_mmd_of_gaussians_has_its_closed_form_and_no_bias():
    # E k(x, x') for x - x' ~ N(c, v I): (h^2 / (h^2 + v))^{d/2} exp(-c^2 / (2 (h^2 + v)))
    n, d, h, shift, scale = 300, 2, 1.0, 0.5, 1.3
    mean = lambda v, c: (h**2 / (h**2 + v)) ** (d / 2) * np.exp(-c / (2 * (h**2 + v)))
    exact = mean(2.0, 0.0) + mean(2 * scale**2, 0.0) - 2 * mean(1 + scale**2, d * shift**2)
    found = [mmd(gaussian(n, d, 2 * k), gaussian(n, d, 2 * k + 1, scale, shift), h) for k in range(40)]
    same = [mmd(gaussian(n, d, 2 * k), gaussian(n, d, 2 * k + 1), h) for k in range(40)]
    assert_near(np.mean(found), exact, np.std(found, ddof=1) / 40**0.5)
    assert_near(np.mean(same), 0.0, np.std(same, ddof=1) / 40**0.5)
    assert min(same) < 0


def test_the_width_is_the_median_distance():
    y = torch.tensor([[0.0], [1.0], [3.0]])  # distances 1, 2, 3
    x = gaussian(5, 1, 1)
    assert mmd(x, y) == mmd(x, y, 2.0)


@pytest.mark.parametrize("x, y, error", [
    (torch.zeros(3, 2), torch.zeros(3, 3), "of one shape, got"), (torch.zeros(0, 2), torch.zeros(3, 2), "one shape"),
    (torch.full((3, 2), np.nan), torch.zeros(3, 2), "finite")])
def test_samples_that_do_not_fit_are_refused(x, y, error):
    for distance in (sliced_wasserstein, mmd):
        with pytest.raises(ValueError, match=error):
            distance(x, y)


def test_kernels_without_a_width_or_pairs_are_refused():
    x = gaussian(4, 2, 0)
    for width in (0.0, -1.0):
        with pytest.raises(ValueError, match="must be positive"):
            mmd(x, x, width)
    for a, b, width in ((x[:1], x, 1.0), (x, x[:1], None)):
        with pytest.raises(ValueError, match="two samples of either, for it is a mean over pairs"):
            mmd(a, b, width)
    with pytest.raises(ValueError, match="give the kernel's width"):
        mmd(x, torch.zeros(5, 2))


def test_the_bootstrap_covers():
    # of means of 100 exponentials: at least 87% and at most 99% of 95% intervals, K standard errors about .93 of 300
    inside = []
    for seed in range(300):
        e = -np.log(sk.uniforms(seed, 3, 100)[:, 0, 0])
        low, high = interval(e.mean(), e[picks(100, 200, seed)].mean(1))
        inside.append(low <= 1.0 <= high)
    assert_near(np.mean(inside), 0.93, (0.93 * 0.07 / 300) ** 0.5)


# --- the reference

def test_the_reference_is_the_flow_itself_where_that_is_known():
    # N(0, s^2 I): x sqrt((alpha^2 s^2 + sigma^2) / ...) along the flow, for any process
    for process in (df.EDM(), df.VP(), df.RectifiedFlow()):
        data = Gaussian(0.0, 0.6, shape=(2,))
        ends = df.grid.default(process, 4)
        fine = refined(ends, 300)
        assert (fine.levels[0], fine.levels[-1]) == (ends.levels[0], ends.levels[-1])
        x = gaussian(20, 2, 1)
        found = df.sample(data, 20, method=CONVERGED, grid=fine, start=x, close=False, dtype=torch.float64).samples
        size = [(l.alpha**2 * 0.36 + l.sigma**2) ** 0.5 for l in (ends.levels[0], ends.levels[-1])]
        np.testing.assert_allclose(found, x * size[1] / size[0], rtol=1e-6)


def test_errors_of_a_gaussian_are_those_of_its_factor():
    # DDIM is x -> A x for centred data: its error is |A - A_exact| |x_T| / sqrt(d), sample by sample
    data, make = Gaussian(0.0, 0.6, shape=(2,)), lambda n: df.grid.edm(n, 0.05, 10.0)
    row = compare(data, df.ddim(), [8], grid=make, close=False, **FEW).rows[0]
    factor = 1.0
    for t, s in pairwise(make(8)):
        D = 0.36 / (0.36 + t.sigma**2)
        factor *= D + s.sigma / t.sigma * (1 - D)
    exact = ((0.36 + 0.05**2) / (0.36 + 10.0**2)) ** 0.5
    start = df.sample(data, 64, grid=make(1), seed=0, method=df.ddim(), close=False, keep=True,
                      dtype=torch.float64).trajectory.x[0]
    np.testing.assert_allclose(row.errors, abs(factor - exact) * norms(start), rtol=1e-4)
    assert row.rms.value == pytest.approx((row.errors**2).mean() ** 0.5)
    assert row.median.value == np.median(row.errors) and row.median.low < row.median.value < row.median.high


def test_every_budget_is_used_as_far_as_whole_steps_go():
    methods = [df.heun, df.dpmpp_multistep(3, df.dpmpp_2s), df.predictor_corrector()]
    found = compare(mixture(), methods, nfe=[10, 21], **FEW)
    assert [(r.steps, r.nfe) for r in found.rows] == [(4, 9), (10, 21), (7, 10), (18, 21), (4, 9), (10, 21)]
    guided = compare(mixture(), df.dpmpp_2m, nfe=[21], label=1, guidance=0.5, interval=(0.0, np.inf), **FEW)
    assert [(r.steps, r.nfe) for r in guided.rows] == [(9, 20)]
    none = compare(mixture(), [df.heun, df.dpmpp_2m], nfe=[2], **FEW)
    assert [r.steps for r in none.rows] == [1]
    assert "a step takes 2, and start and end 1 more; the least is 3" in str(none)
    begun = compare(mixture(), df.dpmpp_multistep(3, df.dpmpp_2s), nfe=3, **FEW)  # one step of its start, and the end
    assert [(r.steps, r.nfe) for r in begun.rows] == [(1, 3)]
    for nfe in ([2], 1):
        with pytest.raises(ValueError, match=r"no method could be run: heun in \d evaluations: .*the least is 3"):
            compare(mixture(), df.heun, nfe=nfe, **FEW)


def test_numbers_of_steps_are_one_or_several_each_once():
    for steps, each in ((4, [4]), (np.int64(3), [3]), ([4, 2, 4], [4, 2]), (range(2, 4), [2, 3])):
        assert [row.steps for row in compare(mixture(), df.euler, steps, **FEW).rows] == each


def test_the_fewest_samples_have_intervals():
    found = compare(mixture(), df.heun, 4, n=8, rounds=1, progress=False, reference=mixture().sample(8).numpy())
    assert all(np.isfinite(found.rows[0].of(of)).all() for of in ("rms", "median", "sliced", "mmd"))


def test_a_stochastic_method_is_compared_with_itself_on_its_own_noise():
    # ancestral on N(0, s^2 I) is affine, and of strong order 1: half the error at twice the steps, far below the spread
    found = compare(Gaussian(0.0, 1.0, shape=(1,)), df.sde_dpmpp_1, [8, 16], n=80, finer=8, rounds=1, progress=False,
                    grid=lambda n: df.grid.log_snr(df.EDM(), n, (0.3, 3.0)))
    coarse, fine = (row.rms.value for row in found.rows)
    assert 1.5 < coarse / fine < 2.6 and coarse < 0.3
    assert 0 < found.lacking["sde_dpmpp_1"] < 0.35 * fine


def test_what_has_no_limit_has_no_strong_error():
    found = compare(mixture(), [df.churned(), df.heun], [4], **FEW)
    assert found.rows[0].rms is None and found.rows[0].errors is None and found.rows[1].rms is not None
    assert found.recommend(50).best.method is df.heun
    assert len(found.plot().lines) and len(found.plot(of="sliced", against="seconds").containers) == 2


def test_what_cannot_be_run_is_refused_alone():
    found = compare(mixture(), [df.reverse_sde(), df.ddim()], [4], process=df.RectifiedFlow(), **FEW)
    assert [repr(r.method) for r in found.rows] == ["ddim"]
    assert "infinite coefficients" in str(found)
    with pytest.raises(ValueError, match=r"no method could be run: .*infinite"):
        compare(mixture(), df.reverse_sde(), [4], process=df.RectifiedFlow(), **FEW)


def test_samples_of_the_law_are_near_and_others_far():
    found = compare(mixture(), df.dpmpp_3m, [24], n=400, rounds=1, progress=False)
    row = found.rows[0]
    assert row.sliced.value < 2 * found.floor["sliced"].value and row.mmd.low < 0.003
    far = compare(mixture(), df.dpmpp_3m, [24], n=400, rounds=1, progress=False, reference=mixture().sample(300) + 1.0)
    assert far.floor is None and far.rows[0].mmd.low > 0.1
    # a shift by (1, 1) is of length 1 along a direction, in the root mean square: E (u.c)^2 = |c|^2 / 2
    assert far.rows[0].sliced.value == pytest.approx(1.0, abs=0.2)
    assert (far.rows[0].samples == row.samples).all()


def test_labels_go_to_the_law_too():
    found = compare(mixture(), df.dpmpp_3m, [24], n=200, label=1, rounds=1, progress=False)
    assert found.rows[0].mmd.low < 0.005 and found.rows[0].sliced.value < 2.5 * found.floor["sliced"].value


def test_a_guided_denoiser_is_compared_with_its_own_flow():
    found = compare(df.classifier_free(mixture(), 0.5), df.dpmpp_3m, [16], label=0, n=100, rounds=1, progress=False)
    assert "other samples of the flow in 128 steps" in str(found)
    assert found.rows[0].sliced.value < 2.5 * found.floor["sliced"].value


def test_the_recommendation_is_the_least_error_and_names_its_equals():
    twin = df.stepwise("twin", df.dpmpp_2m.step, 2)
    found = compare(mixture(), [df.euler, df.dpmpp_2m, twin, df.heun], [8, 16, 32], **FEW)
    told = found.recommend(20)
    assert told.best.method is df.dpmpp_2m and told.best.steps == 16
    assert [row.method for row in told.equals] == [twin]
    assert "dpmpp_2m in 16 steps (17 evaluations)" in str(told) and "cannot be told from twin" in str(told)
    assert found.recommend(9, of="rms").best.steps == 8
    assert {row.method for row in found.recommend(99, "mmd").equals} | {found.recommend(99, "mmd").best.method} >= {
        df.dpmpp_2m, twin}
    with pytest.raises(ValueError, match="at most 5 evaluations; the least is 9"):
        found.recommend(5)
    with pytest.raises(ValueError, match="the measures are rms, median, sliced, mmd"):
        found.recommend(20, of="fid")


def test_methods_are_told_apart_on_the_same_noise_where_their_intervals_overlap():
    # errors of ddim on N(0, s^2 I) are |A - A_exact| |x|: another A makes all of them larger by one factor
    def worse(denoise, x, t, s, memory, noise):
        x, memory = df.ddim().step(denoise, x, t, s, memory, noise)
        return x * (1 - 2e-4), memory

    other = df.stepwise("worse", worse, 1)
    found = compare(Gaussian(0.0, 0.6, shape=(2,)), [df.ddim(), other], [8], close=False,
                    grid=lambda n: df.grid.edm(n, 0.05, 10.0), **FEW)
    a, b = found.rows
    assert 1.001 < max(a.rms.value, b.rms.value) / min(a.rms.value, b.rms.value) < 1.1
    assert max(a.rms.low, b.rms.low) < min(a.rms.high, b.rms.high)
    for of in ("rms", "median"):
        assert not found.recommend(9, of).equals


def test_what_the_reference_lacks_is_told():
    data, make = Gaussian(0.0, 0.6, shape=(2,)), lambda n: df.grid.log_snr(df.EDM(), n, (0.3, 3.0))
    found = compare(data, df.heun, [8], grid=make, finer=4, close=False, **FEW)
    fine = {"grid": refined(make(8), 32), "seed": 0, "close": False, "dtype": torch.float64, "method": CONVERGED}
    run = df.sample(data, 64, keep=True, **fine)
    exact = run.trajectory.x[0] * (0.36 + 0.3**2) ** 0.5 / (0.36 + 3.0**2) ** 0.5
    lacks = (norms(run.samples - exact) ** 2).mean() ** 0.5
    told, = found.lacking.values()
    assert lacks / 2 < told < 2 * lacks


def test_it_is_the_same_again_and_tells_all_in_a_table():
    one, two = (compare(mixture(), [df.heun], [8], **FEW) for _ in range(2))
    for of in ("rms", "median", "sliced", "mmd"):
        assert one.rows[0].of(of) == two.rows[0].of(of)
    text = str(one)
    for part in ("method", "nfe", "17", "the reference of the flow", "two sets of the reference's own samples"):
        assert part in text
    assert one.rows[0].ratio == 1.0


def test_a_comparison_is_the_same_from_a_pickle():
    found = compare(mixture(), [df.heun, df.unipc(2)], [4], process=df.Discrete(df.linear_betas()), **FEW)
    again = pickle.loads(pickle.dumps(found))
    assert str(again) == str(found) and again.info["process"] == found.info["process"]
    assert str(again.recommend(20)) == str(found.recommend(20))


def test_pictures_have_a_line_for_each_method_and_the_floor():
    found = compare(mixture(), [df.euler, df.heun], [4, 8], **FEW)
    ax = found.plot()
    assert [h.get_label() for h in ax.containers] == ["euler", "heun"] and ax.get_yscale() == "log"
    np.testing.assert_allclose(ax.containers[1].lines[0].get_ydata(), [r.rms.value for r in found.rows[2:]])
    _, other = plt.subplots()
    assert found.plot(other, of="sliced") is other and "the reference beside itself" in [
        line.get_label() for line in other.lines]
    with pytest.raises(ValueError, match="the measures are"):
        found.plot(of="order")
    with pytest.raises(ValueError, match="against"):
        found.plot(against="h")
    plt.close("all")


def test_values_that_are_not_positive_are_drawn_too():
    found = compare(mixture(), [df.euler, df.dpmpp_3m], [4, 24], n=400, rounds=1, progress=False)
    e = [row.mmd for row in found.rows]
    assert min(v.value for v in (*e, found.floor["mmd"])) <= 0 < e[0].low  # of methods as good as the law's own samples
    ax = found.plot(of="mmd")
    assert ax.get_yscale() == "symlog" and "linear within" in ax.get_ylabel()
    drawn = np.concatenate([c.lines[0].get_ydata() for c in ax.containers])
    np.testing.assert_allclose(drawn, [v.value for v in e])
    bars = np.concatenate([[s[:, 1] for s in c.lines[2][0].get_segments()] for c in ax.containers])
    np.testing.assert_allclose(bars, [[v.low, v.high] for v in e], atol=1e-15)
    assert found.plot(of="sliced").get_yscale() == "log"
    plt.close("all")


def test_the_floor_is_drawn_with_its_interval():
    found = compare(mixture(), df.heun, 8, **FEW)
    band = found.plot(of="sliced").patches[0].get_extents().transformed(plt.gca().transData.inverted())
    np.testing.assert_allclose([band.y0, band.y1], found.floor["sliced"][1:], rtol=1e-6)
    plt.close("all")


def test_methods_of_no_order_are_told_of():
    found = compare(mixture(), df.churned(), 4, **FEW)
    with pytest.raises(ValueError, match=r'none of these methods claims an order, .*of="sliced"'):
        found.recommend(50)
    assert found.recommend(50, of="sliced").best is found.rows[0]
    ax = found.plot()
    assert "no method here claims an order" in ax.texts[0].get_text()
    assert "claims no order" in ax.get_legend().get_texts()[0].get_text()
    assert not found.plot(of="sliced").texts
    plt.close("all")


@pytest.mark.parametrize("arguments, error, text", [
    ({"methods": ["heun"]}, TypeError, "methods are samplers"), ({"methods": []}, ValueError, "one or more"),
    ({"methods": [df.heun, df.heun]}, ValueError, "different"),
    ({"steps": [4], "nfe": [9]}, TypeError, "in their place"),
    ({"steps": [0]}, ValueError, "steps"), ({"n": 7}, ValueError, "n must be at least 8"),
    ({"finer": 1}, ValueError, "finer"),
    ({"start": torch.zeros(2, 2)}, TypeError, "has no use for start"),
    ({"grid": df.grid.edm(4)}, TypeError, "any number"),
    ({"grid": df.grid.edm, "process": df.EDM()}, ValueError, "give one"),
    ({"grid": lambda n: df.grid.edm(n, 0.1 / n)}, ValueError, "number of steps alone"),
    ({"grid": lambda n: df.grid.edm(3)}, ValueError, "asked for 2 steps and made 3"),
    ({"grid": lambda n: df.grid.edm(3), "steps": None, "nfe": 9}, ValueError, "asked for 8 steps and made 3"),
    ({"grid": lambda n: [3.0, 1.0]}, TypeError, "for 2 steps it made"),
    ({"steps": []}, ValueError, "steps must be one or more"),
    ({"steps": None, "nfe": []}, ValueError, "nfe must be one"),
    ({"reference": torch.zeros(50, 3)}, ValueError, "one shape"),
    ({"reference": torch.zeros(1, 2)}, ValueError, r"8 samples or more, .*got the shape \(1, 2\)")])
def test_bad_input_is_refused(arguments, error, text):
    with pytest.raises(error, match=text):
        compare(mixture(), **{"methods": [df.heun], "steps": [2, 4], **FEW, **arguments})


def test_estimates_of_dense_samples_agree_with_their_spread():
    # the interval of an RMS error is that of other samples: seeds 0 to 9 lie within K of its half width / 1.96
    rows = [compare(mixture(), df.heun, [8], seed=seed, n=100, rounds=1, progress=False).rows[0] for seed in range(10)]
    values = np.array([row.rms.value for row in rows])
    half = np.mean([(row.rms.high - row.rms.low) / 2 / 1.96 for row in rows])
    assert np.abs(values - values.mean()).max() < K * half
    assert values.std(ddof=1) > half / 2.5
