"""The law of X_0 given X_1: closed forms, 30 digits, Tweedie's formula, small noise, and many samples in a slice."""

import math

import mpmath as mp
import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_ndtr, ndtr, ndtri

from sdekit.walks import Posterior, Prior, slice_experiment, weigh
from tests.conftest import EPS, assert_law, assert_near

BETA, UNIFORM = scipy.stats.beta(2, 7), scipy.stats.uniform()


def two_peaks(x):
    return 0.3 * scipy.stats.norm.pdf(x, -1.0, 0.5) + 0.7 * scipy.stats.norm.pdf(x, 1.5, 0.8)


PEAKS = Prior(two_peaks, sampler=lambda u, v: np.where(u < 0.3, -1.0 + 0.5 * ndtri(v), 1.5 + 0.8 * ndtri(v)))


@given(st.floats(-5, 5), st.floats(0.01, 10), st.floats(0.01, 10), st.floats(-20, 20))
def test_a_gaussian_prior_has_a_gaussian_posterior(m, sd, s, k):
    seen, v = Posterior(scipy.stats.norm(m, sd), s, k), sd**2 + s**2
    exact = scipy.stats.norm(m + sd**2 / v * (k - m), (sd**2 * s**2 / v) ** 0.5)
    log_q = -0.5 * ((k - m) ** 2 / v + np.log(2 * np.pi * v))
    digits = 1e-13 * (1 + abs(log_q) + (k - m) ** 2 / min(s, sd) ** 2)
    assert abs(seen.log_evidence - log_q) <= digits
    assert abs(seen.mean - exact.mean()) <= digits * exact.std() + 1e-14 * (abs(k) + abs(m))
    assert seen.variance == pytest.approx(exact.var(), rel=digits)
    assert seen.kl <= digits**2
    x = exact.ppf([0.001, 0.3, 0.9])
    assert seen.pdf(x) == pytest.approx(exact.pdf(x), rel=10 * digits)
    assert seen.cdf(x) == pytest.approx(exact.cdf(x), rel=10 * digits)


def beta_by_mpmath(s, k):
    """q, mean, variance and KL for Beta(2, 7), in 30 digits."""
    s, k = mp.mpf(s), mp.mpf(k)
    cuts = sorted({mp.mpf(0), mp.mpf(1)} | {x for x in (k + i * s for i in (-16, -8, -4, -2, 0, 2, 4, 8, 16))
                                           if 0 < x < 1})
    joint = lambda x: 56 * x * (1 - x) ** 6 * mp.npdf(k - x, 0, s)
    q = mp.quad(joint, cuts)
    mean = mp.quad(lambda x: x * joint(x), cuts) / q
    variance = mp.quad(lambda x: (x - mean) ** 2 * joint(x), cuts) / q
    kl = mp.quad(lambda x: joint(x) / q * mp.log(joint(x) / q / mp.npdf(x, mean, mp.sqrt(variance)))
                 if 0 < x < 1 and joint(x) > mp.mpf(10) ** -60 else mp.mpf(0), cuts)
    return q, mean, variance, kl


@pytest.mark.parametrize("s, k", [(0.1, 0.3), (0.5, 0.3), (0.025, 0.3), (0.002, 0.3), (0.05, -0.1), (0.002, 0.01)])
def test_where_did_you_come_from(s, k):
    """Beta(2, 7), X_1 seen at k: evidence, mean, variance, KL and density to 1e-11 and better."""
    seen = Posterior(BETA, s, k)
    with mp.workdps(35):
        q, mean, variance, kl = beta_by_mpmath(s, k)
        assert seen.evidence == pytest.approx(float(q), rel=1e-12)
        assert abs(seen.mean - float(mean)) <= 1e-13 * s + 2e-16
        assert seen.variance == pytest.approx(float(variance), rel=1e-12)
        assert seen.kl == pytest.approx(float(kl), rel=1e-9)
        x = np.array([0.0, 0.004, 0.29, 0.31, 1.0, 1.2, -0.1])
        density = 56 * x * (1 - x) ** 6 * np.exp(-((k - x) ** 2) / (2 * s**2)) / (s * (2 * np.pi) ** 0.5 * float(q))
        assert seen.pdf(x) == pytest.approx(np.where((x >= 0) & (x <= 1), density, 0.0), rel=1e-11, abs=1e-300)


@pytest.mark.parametrize("prior, s, k", [
    (BETA, 0.1, 0.3), (BETA, 0.7, 0.3), (BETA, 1e-3, 0.3), (BETA, 0.1, -0.4), (BETA, 0.05, 2.0), (UNIFORM, 0.1, 0.0),
    (UNIFORM, 1e-3, 1.002), (PEAKS, 0.2, 0.1), (PEAKS, 1.0, -3.0), (PEAKS, 3.0, 0.0), (PEAKS, 0.3, 12.0),
    (scipy.stats.expon(), 0.5, 0.2), (scipy.stats.laplace(), 0.2, 0.05)])
def test_tweedie_from_the_density_of_x1_alone(prior, s, k):
    """mean = k + s^2 (log q)'(k), variance = s^2 (1 + s^2 (log q)''(k)), for smooth priors and others."""
    seen = Posterior(prior, s, k)
    mean, variance = seen.tweedie()
    scale = 1 + abs(seen.mean - k) / s
    assert abs(mean - seen.mean) <= 1e-12 * s * scale + 4e-16 * abs(k)
    assert abs(variance - seen.variance) <= 1e-11 * s**2 * scale**2


def test_tweedie_with_derivatives_of_30_digits():
    with mp.workdps(40):
        log_q = lambda k: mp.log(mp.quad(lambda x: 56 * x * (1 - x) ** 6 * mp.npdf(k - x, 0, mp.mpf("0.125")),
                                         [0, 0.25, 0.5, 1]))
        first, second = (float(mp.diff(log_q, mp.mpf("0.25"), n)) for n in (1, 2))
    seen = Posterior(BETA, 0.125, 0.25)
    assert seen.mean == pytest.approx(0.25 + 0.125**2 * first, rel=1e-13)
    assert seen.variance == pytest.approx(0.125**2 * (1 + 0.125**2 * second), rel=1e-13)


@pytest.mark.parametrize("prior, k, third", [
    (BETA, 0.3, 2 / 0.3**3 - 12 / 0.7**3),
    (PEAKS, 0.4, float(mp.diff(lambda x: mp.log(0.3 * mp.npdf(x, -1, 0.5) + 0.7 * mp.npdf(x, 1.5, 0.8)), 0.4, 3)))])
def test_the_strange_fact(prior, k, third):
    """For small s the law is Gaussian of variance s^2: KL -> s^6 ((log p)''')^2 / 12, a 64th for each halving."""
    sizes = 0.0125 * 2.0 ** -np.arange(7)
    laws = [Posterior(prior, s, k) for s in sizes]
    kl = np.array([law.kl for law in laws])
    assert np.all(np.abs([law.variance / s**2 - 1 for law, s in zip(laws, sizes)]) <= 30 * sizes**2)
    off = np.abs(kl / (sizes**6 * third**2 / 12) - 1)
    assert kl[-1] < 1e-16 and off[-1] <= 1e-3
    # what is left of it is of order s^2, as far as the digits go: log(p/g), of size KL^{1/2}, is rounded to EPS
    assert np.all(np.abs(off[1:] - off[:-1] / 4) < 0.03 * off[:-1] + 16 * EPS / kl[1:] ** 0.5)
    assert abs(kl[-2] / kl[-1] - 64) < 0.1


@pytest.mark.parametrize("s", [0.1, 1e-3, 1e-6])
def test_at_the_edge_of_a_uniform_prior_it_never_becomes_gaussian(s):
    """Half a Gaussian: variance / s^2 = 1 - 2/pi, KL = ln 2 + ln(1 - 2/pi) / 2 = 0.187."""
    for k in (0.0, 1.0):
        seen = Posterior(UNIFORM, s, k)
        assert seen.variance / s**2 == pytest.approx(1 - 2 / np.pi, rel=1e-13)
        assert seen.kl == pytest.approx(np.log(2) + np.log(1 - 2 / np.pi) / 2, rel=1e-13)
        assert abs(seen.mean - k) == pytest.approx(s * (2 / np.pi) ** 0.5, rel=1e-9)
    assert round(Posterior(UNIFORM, s, 0.0).kl, 3) == 0.187


@given(st.floats(1e-6, 3), st.floats(-2, 3))
def test_a_uniform_prior_is_cut_out_of_a_gaussian(s, k):
    """q = Phi(k/s) - Phi((k-1)/s), and the truncated Gaussian, also far outside of the support."""
    seen = Posterior(UNIFORM, s, k)
    inside = min(k, 1 - k)
    near, far = -inside / s, (1 - inside) / s
    log_q = log_ndtr(-near) + np.log1p(-np.exp(log_ndtr(-far) - log_ndtr(-near)))
    assert seen.log_evidence == pytest.approx(log_q, abs=1e-12 * (1 + abs(log_q)))
    x = np.clip(k + s * np.linspace(-3, 3, 13), 0.0, 1.0)
    if log_q > -5:
        assert np.abs(seen.cdf(x) - (ndtr((x - k) / s) - ndtr(-k / s)) / np.exp(log_q)).max() <= 1e-12


def test_jumps_and_holes_and_spikes():
    """Two blocks with a hole between; a spike of width 1e-7 that a point names."""
    blocks = Prior(lambda x: np.where((x < 0.2) | (x > 0.7), 2.0, 0.0), support=(0.0, 1.0), points=(0.2, 0.7))
    s, k = 0.3, 0.4
    P = lambda a, b: ndtr((b - k) / s) - ndtr((a - k) / s)
    seen = Posterior(blocks, s, k)
    assert seen.evidence == pytest.approx(2 * (P(0, 0.2) + P(0.7, 1)), rel=1e-12)
    assert seen.cdf(0.5) == pytest.approx(P(0, 0.2) / (P(0, 0.2) + P(0.7, 1)), rel=1e-12)
    counted = scipy.stats.rv_histogram((np.array([2, 0, 3]), np.array([0.0, 0.2, 0.7, 1.0])), density=False)
    unnamed = Posterior(counted, s, k)
    assert unnamed.cdf(0.5) == pytest.approx(seen.cdf(0.5), rel=1e-9)
    spike = Prior(lambda x: 0.5 * scipy.stats.norm.pdf(x, 0.0, 1.0) + 0.5 * scipy.stats.norm.pdf(x, 0.8, 1e-7),
                    points=(0.8 - 1e-6, 0.8, 0.8 + 1e-6))
    seen = Posterior(spike, 1.0, 0.0)
    weights = np.array([scipy.stats.norm.pdf(0, 0, 2**0.5), scipy.stats.norm.pdf(0.8)])
    assert seen.evidence == pytest.approx(weights.mean(), rel=1e-12)
    assert seen.mean == pytest.approx(weights[1] * 0.8 / weights.sum(), rel=1e-9)


@given(st.floats(1e-3, 2), st.floats(-0.2, 1.2), st.floats(1e-3, 0.5))
def test_a_slice_is_a_mean_over_the_places_where_x1_may_be(s, k, width):
    """The law of a slice is the mean of those for each place in it, weighted by q there."""
    seen = Posterior(BETA, s, k, width)
    points, weights = np.polynomial.legendre.leggauss(32)
    pieces = max(1, int(width / s))  # panels of at most s
    places = (k - width / 2 + width / pieces * (np.arange(pieces)[:, None] + (points + 1) / 2)).ravel()
    laws = [Posterior(BETA, s, float(place)) for place in places[:: max(1, len(places) // 64)]]
    if len(laws) == len(places):
        q = np.array([law.evidence for law in laws]) * np.tile(weights, pieces) / (2 * pieces)
        assert seen.evidence == pytest.approx(q.sum(), rel=1e-10)
        assert seen.mean == pytest.approx(q @ [law.mean for law in laws] / q.sum(), abs=1e-10)
        x = np.array([0.01, 0.2, 0.5])
        assert np.allclose(seen.pdf(x), q @ [law.pdf(x) for law in laws] / q.sum(), rtol=1e-9, atol=1e-12 / s)
        assert np.allclose(seen.cdf(x), q @ [law.cdf(x) for law in laws] / q.sum(), atol=1e-10)


def test_samples_for_a_prior_approach_the_prior():
    s, k, n = 0.1, 0.3, 200_000
    x = BETA.ppf((np.arange(n) + 0.5) / n)  # one from each n-th part: far better than random ones
    law, seen = weigh(x, s, k), Posterior(BETA, s, k)
    assert law.evidence == pytest.approx(seen.evidence, rel=1e-6)
    assert law.mean == pytest.approx(seen.mean, rel=1e-6) and law.variance == pytest.approx(seen.variance, rel=1e-5)
    assert np.abs(law.cdf(np.linspace(0, 1, 9)) - seen.cdf(np.linspace(0, 1, 9))).max() <= 3 / law.effective
    w = np.exp(-0.5 * ((x - k) / s) ** 2)
    assert law.effective == pytest.approx(w.sum() ** 2 / (w**2).sum(), rel=1e-12)
    assert law.stderr == pytest.approx(w.std() / (s * (2 * np.pi * n) ** 0.5), rel=1e-12)


def test_few_samples_obey_tweedie_too():
    """The law of samples is a prior as well: q a mixture of Gaussians, here of two."""
    law = weigh([0.0, 1.0], s=0.5, k=0.7)
    p = 1 / (1 + np.exp((0.7**2 - 0.3**2) / (2 * -0.25)))
    assert law.p[1] == pytest.approx(p, rel=1e-14) and law.variance == pytest.approx(p * (1 - p), rel=1e-14)
    far = weigh([0.0, 1.0], s=0.01, k=50.0)
    assert far.mean == 1.0 and far.evidence == 0.0


@pytest.mark.parametrize("prior, s, k, width, seed", [(BETA, 0.1, 0.3, 0.01, 3), (PEAKS, 0.8, 0.2, 0.02, 4),
                                                      (BETA, 0.02, 0.1, 0.05, 5)])
def test_the_slice_of_a_million_samples(prior, s, k, width, seed):
    tried = slice_experiment(prior, s, k, samples=10**6, width=width, seed=seed)
    assert_near(tried.count, tried.expected, tried.stderr)
    assert len(tried.slice) == tried.count
    assert_law(tried.slice, tried.posterior.cdf)
    assert_near(tried.slice.mean(), tried.posterior.mean, (tried.posterior.variance / tried.count) ** 0.5)
    bars = tried.histogram(20)
    assert (bars.density * np.diff(bars.edges)).sum() == pytest.approx(1.0, rel=1e-12)
    assert_near(bars.density[bars.exact > 0.2], bars.exact[bars.exact > 0.2], bars.stderr[bars.exact > 0.2])
    centres = (bars.edges[1:] + bars.edges[:-1]) / 2
    assert np.abs(bars.exact - tried.posterior.pdf(centres)).max() <= 0.05 * bars.exact.max()


def test_a_sample_depends_on_its_own_number():
    whole = slice_experiment(BETA, 0.1, 0.3, samples=1000, width=0.5, seed=9)
    part = slice_experiment(BETA, 0.1, 0.3, samples=100, width=0.5, seed=9, first=700)
    assert np.array_equal(whole.x0[700:800], part.x0) and np.array_equal(whole.x1[700:800], part.x1)
    assert abs(np.corrcoef(whole.x0, whole.x1 - whole.x0)[0, 1]) < 4.5 / 1000**0.5
    other = slice_experiment(BETA, 0.1, 0.3, samples=1000, width=0.5, seed=9, stream=1)
    assert not (whole.x0 == other.x0).any()


@pytest.mark.parametrize("make, error, words", [
    (lambda: Posterior(BETA, 0.0, 0.3), ValueError, "s must be a finite number > 0, got 0.0"),
    (lambda: Posterior(BETA, 0.1, float("nan")), ValueError, "k must be a finite number, got nan"),
    (lambda: Posterior(BETA, 0.1, 0.3, -1.0), ValueError, "width must be a finite number >= 0"),
    (lambda: Posterior(scipy.stats.poisson(3.0), 0.1, 0.3), TypeError, "continuous distribution"),
    (lambda: Posterior(lambda x: x, 0.1, 0.3), TypeError, "Prior"),
    (lambda: Posterior(scipy.stats.norm, 0.1, 0.3), TypeError, r"family of laws, norm, without.*norm\(0.0"),
    (lambda: Posterior(scipy.stats.beta, 0.1, 0.3), TypeError, "family of laws, beta, without its parameters"),
    (lambda: slice_experiment(scipy.stats.beta, 0.1, 0.3), TypeError, "family of laws, beta"),
    (lambda: Posterior(BETA, 0.1, 0.3, 0.01).tweedie(), ValueError, "about a single k"),
    (lambda: Prior(lambda x: 3 * x, support=(0, 1)), ValueError, "it is 1.5; divide it by that"),
    (lambda: Prior(lambda x: 1.5 - 2 * x, support=(0, 1)), ValueError, "at least 0, but pdf"),
    (lambda: Prior(np.exp, support=(1, 0)), ValueError, "a < b"),
    (lambda: Prior(lambda x: 0.0 * x, support=(0, 1)), ValueError, "it is 0. If it has narrow peaks, name them"),
    (lambda: Prior(lambda x: 2 * x, (0, 1), points=(np.nan,)), ValueError, r"in the support \(0, 1\), got nan"),
    (lambda: Prior(lambda x: 2 * x, (0, 1), points=(0.5, 7)), ValueError, r"in the support \(0, 1\), got 7; leave it"),
    (lambda: Prior(lambda x: 2 * x, (0, 1), points=0.5), TypeError, "points must be a tuple of numbers, got 0.5"),
    (lambda: Prior(lambda x: 2 * x, (0, 1), sampler=5), TypeError, "sampler must be a function of uniforms.*got 5"),
    (lambda: Prior(lambda x: 2 * x, 1.0), TypeError, "support must be a tuple of numbers, got 1.0"),
    (lambda: Prior(lambda x: 2 * math.fabs(x), (0, 1)), TypeError, "pdf must take an array x and give numbers"),
    (lambda: weigh([0.0, np.inf], 0.1, 0.3), ValueError, "finite numbers"),
    (lambda: weigh([1.0, np.nan, np.nan], 0.1, 0.3), ValueError, r"samples\[1\] is nan and 1 more are not; leave such"),
    (lambda: weigh([0.0, 1.0], 1e-200, 3.0), ValueError, r"2e\+200 s away from the nearest of the samples, 1"),
    (lambda: weigh([0.0], -0.1, 0.3), ValueError, "s must be"),
    (lambda: slice_experiment(BETA, 0.1, 3.0, samples=100, seed=1), ValueError, "none of 100 samples.*were expected"),
    (lambda: slice_experiment(Prior(lambda x: 2 * x, (0, 1)), 0.1, 0.3), TypeError, "give the prior a sampler"),
    (lambda: slice_experiment(BETA, 0.1, 0.3, width=0), ValueError, "width > 0"),
    (lambda: slice_experiment(BETA, 0.1, 0.3, samples=0), ValueError, "samples must be"),
])
def test_bad_input_is_told(make, error, words):
    with pytest.raises(error, match=words):
        make()


# --- far from the prior

@pytest.mark.parametrize("s", [0.5, 1e-3])
@pytest.mark.parametrize("k", [-10.0, -1e3, -1e6, -1e9, 11.0])
def test_a_bounded_prior_keeps_its_digits_however_far_off(s, k):
    """Uniform on (0, 1): the tail of a Gaussian, mean s (h - d) and variance s^2 (1 + d h - h^2), h its hazard at d."""
    seen = Posterior(UNIFORM, s, k)
    with mp.workdps(120):
        d = mp.mpf(min(abs(k), abs(k - 1))) / mp.mpf(s)
        tail = mp.erfc(d / mp.sqrt(2)) / 2
        h = mp.npdf(d) / tail
        mean, variance = float(s * (h - d)), float(mp.mpf(s) ** 2 * (1 + d * h - h**2))
        log_q = float(mp.log(tail))
    away = seen.mean if k < 0 else 1.0 - seen.mean
    assert away == pytest.approx(mean, rel=1e-12, abs=0 if k < 0 else 4 * EPS)
    assert seen.variance == pytest.approx(variance, rel=1e-12 if k < 0 else 1e-6)  # 1 - x is rounded, x is not
    assert seen.log_evidence == pytest.approx(log_q, rel=1e-14)
    assert seen.cdf(seen.mean) == pytest.approx(1 - np.exp(-1) if k < 0 else np.exp(-1), abs=3 * float((s / d) ** 0.5))


@pytest.mark.parametrize("s, width", [(1e-3, 0.004), (1e-3, 2e-7), (1.0, 0.4)])
def test_a_slice_far_off_keeps_its_digits_too(s, width):
    k = -10.0
    seen = Posterior(UNIFORM, s, k, width)
    with mp.workdps(60):
        y = lambda x, side: (x - mp.mpf(k) + side * mp.mpf(width) / 2) / mp.mpf(s)
        base = mp.erfc(y(mp.mpf(0), -1) / mp.sqrt(2))
        joint = lambda x: (mp.erfc(y(x, -1) / mp.sqrt(2)) - mp.erfc(y(x, 1) / mp.sqrt(2))) / base
        cuts = [mp.mpf(min(5 * i * s**2 / abs(k), 1.0)) for i in range(13) if 5 * (i - 1) * s**2 / abs(k) < 1]
        q = mp.quad(joint, cuts)
        mean = mp.quad(lambda x: x * joint(x), cuts) / q
        log_q = float(mp.log(q * base / 2 / mp.mpf(width)))
    assert seen.mean == pytest.approx(float(mean), rel=1e-11)
    assert seen.log_evidence == pytest.approx(log_q, rel=1e-14)


@pytest.mark.parametrize("s", [0.5, 1e-3])
@pytest.mark.parametrize("k", [1e3, 1e5, 1e6])
def test_an_unbounded_prior_is_followed_as_far_as_its_logarithm_has_digits(s, k):
    seen, v = Posterior(scipy.stats.norm(), s, k), 1 + s * s
    digits = 4 * EPS * (k / v) ** 2 / 2 + 8 * EPS * k / s
    assert abs(seen.mean - k / v) <= digits * s
    assert seen.variance == pytest.approx(s * s / v, rel=digits)


def test_where_nothing_is_left_it_says_so():
    with pytest.raises(ValueError, match=r"so far out that the prior's log density there, .* is known to 0.71 only"):
        _ = Posterior(scipy.stats.norm(), 0.5, 1e8).mean
    with pytest.raises(ValueError, match="where the prior's density ends in rounding, below 1e-300; give a"):
        _ = Posterior(Prior(scipy.stats.norm.pdf), 0.5, 100.0).mean
    assert Posterior(Prior(scipy.stats.norm.pdf), 0.5, 40.0).mean == pytest.approx(32.0, rel=1e-13)


@pytest.mark.parametrize("k", [50.0, 1e9, -1e9])
def test_weights_far_off_keep_their_digits(k):
    """p_1 / p_0 = exp((x_1 - x_0)(2 k - x_0 - x_1) / (2 s^2)), here chosen to be e^{1/2} or so."""
    s, x = 0.25, np.array([0.0, 2.0**-4 / abs(k)])
    law = weigh(x, s, k)
    ratio = np.exp((x[1] - x[0]) * (2 * k - x.sum()) / (2 * s**2))
    assert law.p[1] / law.p[0] == pytest.approx(ratio, rel=1e-13)
    with mp.workdps(50):
        log_q = mp.log(sum(mp.npdf(mp.mpf(k), mp.mpf(float(xi)), mp.mpf(s)) for xi in x) / 2)
    assert law.log_evidence == pytest.approx(float(log_q), rel=1e-14)
    assert law.p.sum() == pytest.approx(1.0, abs=4 * EPS)
    assert weigh([0.0, np.sign(k) * 1e-12], 1e-3, 1e9 * np.sign(k)).p.tolist() == [0.0, 1.0]  # e^1000 to 1
