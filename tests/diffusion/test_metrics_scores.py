"""Scores against closed forms, sums over pairs and brute force; their intervals against how far samples differ."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

import sdekit as sk
from diffusion.data import Images
from diffusion.exact import Empirical, Gaussian
from diffusion.metrics import (
    Features,
    Statistics,
    fid,
    frechet,
    inception_score,
    kernel,
    kid,
    memorisation,
    nearest,
    neighbours,
    precision,
    recall,
    to_ideal,
)
from diffusion.metrics.score import WIDTH
from tests.conftest import EPS, K, assert_near

DRAWS = 400


def features(values, probabilities=None, extractor="mine 1", data="toy"):
    return Features(np.asarray(values), probabilities, extractor, data)


def normal(n, d, seed, scale=1.0, mean=0.0):
    return mean + scale * np.random.default_rng(seed).normal(size=(n, d))


def stderr(score):
    if score.name == "fid":
        return (score.high - score.value) / WIDTH  # its lower end is cut off at 0
    return (score.high - score.low) / 2 / WIDTH


def ratio(scores):
    """What the intervals say that values spread, over what they do; and the standard error of that."""
    values = np.array([score.value for score in scores])
    return np.mean([stderr(score) for score in scores]) / values.std(ddof=1), (2 * len(scores)) ** -0.5


# --- the Frechet distance

@given(st.integers(1, 5), st.integers(0, 5), st.integers(0, 5), st.integers(0, 99))
def test_fid_is_the_square_of_the_distance_of_gaussians(d, a, b, seed):
    random = np.random.default_rng(seed)
    p, q = (Statistics(9, random.normal(size=d), B @ B.T, "mine", "toy") for B in
            (random.normal(size=(d, rank)) for rank in (a, b)))  # singular where rank < d
    exact = sk.gaussian.wasserstein(*(sk.gaussian.Gaussian(s.mean, s.covariance) for s in (p, q))) ** 2
    np.testing.assert_allclose(frechet(p, q), exact, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(frechet(q, p), exact, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("n", [2, 7, 200])  # fewer than d, and more
def test_fid_of_a_set_with_itself_is_0_and_with_itself_moved_the_square_of_the_shift(n):
    x, c = normal(n, 20, 0), np.linspace(0, 1, 20)
    size = 16 * 20 * EPS * (x**2).sum() / (n - 1)
    assert fid(features(x), features(x)).value <= size
    np.testing.assert_allclose(fid(features(x + c), features(x)).value, c @ c, atol=size)


def test_fid_of_a_set_with_itself_stretched_is_the_variance_of_the_stretch():
    x = normal(100, 3, 1)
    np.testing.assert_allclose(fid(features(1.5 * x), features(x)).value,
                               0.25 * np.cov(x.T).trace() + 0.25 * (x.mean(0) ** 2).sum(), rtol=1e-12)


def test_the_influence_is_the_derivative_in_the_weight_of_a_sample():
    x, step = normal(40, 3, 2) @ np.array([[1.0, 0.3, 0], [0, 0.7, 0.2], [0, 0, 0.4]]), 1e-5
    ref = Statistics(100, np.array([0.2, -0.1, 0.3]), np.diag([1.0, 2.0, 0.5]), "mine 1", "toy")

    def value(w):
        m = w @ x / w.sum()
        c = (x - m) * (w / w.sum())[:, None] ** 0.5
        return frechet(Statistics(40, m, c.T @ c * 40 / 39, "mine 1", "toy"), ref)

    slopes = np.array([(value(1 + step * up) - value(1 - step * up)) / (2 * step) * 40 for up in np.eye(40)])
    found = fid(features(x), ref)
    np.testing.assert_allclose(found.value, value(np.ones(40)), rtol=1e-12)
    # the influence leaves out the factor n / (n - 1) of the covariance
    np.testing.assert_allclose(stderr(found), slopes.std(ddof=1) / 40**0.5, rtol=2 / 40)


def test_the_interval_of_fid_is_as_wide_as_samples_differ():
    ref = Statistics(10**9, np.zeros(4), np.eye(4), "mine 1", "toy")
    scores = [fid(features(normal(200, 4, k, 1.3, 0.2)), ref) for k in range(DRAWS)]
    assert_near(ratio(scores)[0], 1.0, ratio(scores)[1], bias=0.1)
    inside = np.mean([s.low <= np.mean([v.value for v in scores]) <= s.high for s in scores])
    assert_near(inside, 0.95, (0.95 * 0.05 / DRAWS) ** 0.5, bias=0.02)
    floor = [fid(features(normal(200, 4, k)), ref) for k in range(DRAWS)]
    # a quadratic form of what is sampled: the influence's variance is twice the form's
    assert_near(ratio(floor)[0], 2**0.5, 2**0.5 * ratio(floor)[1], bias=0.15)


def test_the_interval_of_fid_ends_at_0():
    x = normal(50, 4, 0)
    own = fid(features(x), features(x + 0.01))
    assert own.low == 0.0 < own.value < own.high
    far = fid(features(x), features(x + 3))
    assert far.value - far.low == pytest.approx(far.high - far.value) and far.low > 0


@pytest.mark.parametrize("x, y", [(np.zeros((5, 3)), features(normal(9, 3, 0))),
                                  (features(normal(9, 3, 0)), torch.zeros(5, 3))])
def test_scores_are_of_features(x, y):
    for score in (fid, kid, precision, recall):
        with pytest.raises(TypeError, match=r"an extractor makes of images, .*; got (ndarray|Tensor)"):
            score(x, y)
    with pytest.raises(TypeError, match="got ndarray"):
        inception_score(np.zeros((5, 3)))
    with pytest.raises(TypeError, match="got Statistics"):
        kid(features(normal(9, 3, 0)), features(normal(9, 3, 0)).statistics())


def test_features_of_two_extractors_are_not_compared():
    x, y = features(normal(9, 2, 0)), features(normal(9, 2, 1), extractor="yours 2")
    for score in (fid, kid, precision, recall):
        with pytest.raises(ValueError, match=r"different extractors do not compare: 'mine 1' and 'yours 2'"):
            score(x, y)


# --- the inception score

def test_the_inception_score_of_predictions_alike_is_1_and_of_sure_and_even_ones_the_number_of_classes():
    same = np.tile([0.5, 0.3, 0.2], (7, 1))
    assert inception_score(features(np.zeros((7, 1)), same)).value == pytest.approx(1.0, abs=8 * EPS)
    for classes in (2, 10):
        sure = features(np.zeros((3 * classes, 1)), np.tile(np.eye(classes), (3, 1)))
        assert inception_score(sure).value == pytest.approx(classes, rel=8 * EPS)


def test_the_inception_score_of_two_kinds_has_its_closed_form():
    a, b = 0.9, 0.5  # three of one kind and one of the other
    p = np.array([[a, 1 - a]] * 3 + [[b, 1 - b]])
    q = 0.75 * a + 0.25 * b
    kl = lambda r: r * np.log(r / q) + (1 - r) * np.log((1 - r) / (1 - q))
    found = inception_score(features(np.zeros((4, 1)), p))
    np.testing.assert_allclose(found.value, np.exp(0.75 * kl(a) + 0.25 * kl(b)), rtol=1e-14)
    psi = found.value * np.array([kl(a)] * 3 + [kl(b)])
    np.testing.assert_allclose(stderr(found), psi.std(ddof=1) / 2, rtol=1e-12)


def test_the_interval_of_the_inception_score_is_as_wide_as_samples_differ():
    scores = []
    for k in range(DRAWS):
        z = np.random.default_rng(k).normal(size=(200, 3)) * [3.0, 1.0, 1.0]
        scores.append(inception_score(features(z, np.exp(z) / np.exp(z).sum(1, keepdims=True))))
    assert_near(ratio(scores)[0], 1.0, ratio(scores)[1], bias=0.05)


def test_an_inception_score_needs_probabilities():
    with pytest.raises(ValueError, match=r"gives no p\(class \| x\), .* classes= of its logits"):
        inception_score(features(np.zeros((3, 1))))


# --- the kernel distance

def test_kid_is_the_sum_over_pairs_however_many_rows_go_at_once(monkeypatch):
    x, y = normal(7, 3, 0), normal(9, 3, 1, 1.5)
    k = lambda a, b: (a @ b / 3 + 1) ** 3
    own = lambda s: np.mean([k(s[i], s[j]) for i in range(len(s)) for j in range(len(s)) if i != j])
    exact = own(x) + own(y) - 2 * np.mean([k(a, b) for a in x for b in y])
    for rows in (2, 500):
        monkeypatch.setattr(kernel, "ROWS", rows)
        np.testing.assert_allclose(kid(features(x), features(y)).value, exact, rtol=1e-12)


def test_kid_has_no_bias_and_its_interval_is_as_wide_as_samples_differ():
    y = normal(4000, 3, 10**6)
    same = [kid(features(normal(60, 3, 2 * k)), features(normal(60, 3, 2 * k + 1))).value for k in range(DRAWS)]
    assert_near(np.mean(same), 0.0, np.std(same) / DRAWS**0.5)
    assert min(same) < 0
    # E (z / 3 + 1)^3 = 1 + 3 E (z / 3)^2 for z = x.y of odd moments 0, and E z^2 = 3 v w for variances v and w
    far = [kid(features(normal(60, 3, 2 * k, 1.5)), features(normal(60, 3, 2 * k + 1))).value for k in range(DRAWS)]
    assert_near(np.mean(far), 1.5**4 + 1 - 2 * 1.5**2, np.std(far) / DRAWS**0.5)
    scores = [kid(features(normal(100, 3, k, 1.0, 0.5)), features(y[:500])) for k in range(DRAWS // 2)]
    assert_near(ratio(scores)[0], 1.0, ratio(scores)[1], bias=0.1)


def test_the_interval_of_kid_leaves_out_the_reference_s_own_error():
    """Of real ones against as many real ones more than 5% miss 0; as docs/metrics.md says."""
    scores = [kid(*(features(normal(60, 3, 2 * k + i, mean=1.0)) for i in (0, 1))) for k in range(DRAWS)]
    missed = np.mean([not s.low <= 0 <= s.high for s in scores])
    assert 0.05 + K * (0.05 * 0.95 / DRAWS) ** 0.5 < missed < 0.25


# --- precision and recall

def balls(x, y, k):
    """The share of x within the balls of y, straight from the definition."""
    r = [np.sort(np.linalg.norm(y - c, axis=1))[k] for c in y]
    return np.mean([any(np.linalg.norm(a - c) <= s for c, s in zip(y, r)) for a in x])


@given(st.integers(5, 30), st.integers(5, 30), st.integers(1, 4), st.integers(0, 99))
def test_precision_and_recall_are_what_the_balls_say(n, m, k, seed):
    x, y = normal(n, 2, seed), normal(m, 2, seed + 100, 1.5)
    assert precision(features(x), features(y), k).value == pytest.approx(balls(x, y, k))
    assert recall(features(x), features(y), k).value == pytest.approx(balls(y, x, k))


def test_what_is_left_out_of_recall_is_left_out_of_its_balls(monkeypatch):
    x, y, k = normal(60, 2, 0, 0.6), normal(50, 2, 1), 3
    monkeypatch.setattr(neighbours, "TABLE", 200)  # a few rows at a time
    again = np.array([balls(y, x[np.arange(60) % 10 != g], k) for g in range(10)])
    found, half = recall(features(x), features(y), k), 2.2621571628 * (0.9 * ((again - again.mean()) ** 2).sum()) ** 0.5
    assert (found.low, found.high) == pytest.approx((max(0, found.value - half), min(1, found.value + half)))


def test_precision_falls_with_what_is_too_much_and_recall_with_what_is_missing():
    y = normal(500, 2, 0)
    wide, narrow = features(normal(500, 2, 1, 4.0)), features(normal(500, 2, 2, 0.25))
    for x, p, r in ((wide, (0.05, 0.5), (0.9, 1.0)), (narrow, (0.9, 1.0), (0.02, 0.5))):
        assert p[0] <= precision(x, features(y)).value <= p[1] and r[0] <= recall(x, features(y)).value <= r[1]


def test_the_intervals_of_precision_and_recall_cover():
    y = features(normal(200, 2, 10**6))
    x = [features(normal(200, 2, k, 0.8, 0.3)) for k in range(100)]
    for score, wide in ((precision, (0.75, 1.35)), (recall, (0.9, 2.8))):
        scores = [score(each, y) for each in x]
        mean = np.mean([s.value for s in scores])
        assert np.mean([s.low <= mean <= s.high for s in scores]) > 0.95 - K * (0.95 * 0.05 / 100) ** 0.5
        assert wide[0] < ratio(scores)[0] < wide[1]


def test_sets_without_a_kth_neighbour_are_refused():
    x, y = features(normal(3, 2, 0)), features(normal(9, 2, 1))
    for a, b in ((x, y), (y, x)):
        for score in (precision, recall):
            with pytest.raises(ValueError, match="3-th nearest neighbour takes more than 3 images"):
                score(a, b)


@pytest.mark.parametrize("score, n", [(fid, 1), (kid, 1)])
def test_one_image_has_no_score(score, n):
    with pytest.raises(ValueError, match="two"):
        score(features(normal(n, 2, 0)), features(normal(9, 2, 1)))


# --- memorisation

def images(values):
    return torch.as_tensor(np.asarray(values), dtype=torch.float32).reshape(len(values), 1, 2, -1)


def test_the_nearest_is_found_and_copies_are_at_0():
    y = normal(300, 8, 0)
    x = np.concatenate([y[[5, 250]], normal(20, 8, 1)])
    distance, index = nearest(features(x.astype(np.float32)), features(y.astype(np.float32)))
    apart = np.linalg.norm(x[:, None] - y[None], axis=2)
    np.testing.assert_array_equal(index, apart.argmin(1))
    np.testing.assert_allclose(distance, apart.min(1) / 8**0.5, rtol=1e-5)
    np.testing.assert_array_equal(distance[:2], 0.0)


def test_copying_is_mann_whitney_s_statistic():
    y, h, x = (images(0.3 * normal(n, 4, n)) for n in (200, 90, 70))
    found = memorisation(x, y, h)
    u = mannwhitneyu(found.held_out, found.distance).statistic
    assert found.copying.value == pytest.approx(u / (90 * 70)) and found.close <= 0.1
    ties = memorisation(h, y, h).copying
    assert ties.value == 0.5 and ties.low < 0.5 < ties.high


def test_copies_are_told_and_pictures_far_away_too():
    y, h = images(0.3 * normal(200, 4, 0)), images(0.3 * normal(90, 4, 1))
    copies = memorisation(y[:50] + 1e-4, y, h)
    assert copies.copying.value > 0.99 and copies.close == 1.0 and (copies.index == np.arange(50)).all()
    assert memorisation(y[:50] * 0 - 1.0, y, h).copying.value < 0.05


@pytest.mark.parametrize("shared, refused", [(0, False), (20, False), (45, False), (46, True), (90, True)])
def test_held_out_images_are_others_than_the_training_images(shared, refused):
    """A few that the data hold twice do not count, also where a zero has another sign."""
    y, h = images(0.3 * normal(200, 4, 0)), images(0.3 * normal(90, 4, 1))
    y[:, 0, 0, 0], h[:, 0, 0, 0] = 0.0, 0.0
    h[:shared] = y[7:7 + shared]
    h[:shared, 0, 0, 0] = -0.0
    if not refused:
        assert (memorisation(h + 0.01, y, h).held_out == 0).sum() == shared
        return
    with pytest.raises(ValueError, match=f"{shared} of 90 held-out images are among the 200 training images; give "
                       "held_out= images .* not trained on"):
        memorisation(h + 0.01, y, h)


def test_the_interval_of_copying_covers_samples_of_the_same_law():
    y, inside, values = images(0.3 * normal(100, 4, 10**6)), [], []
    for k in range(200):
        x, h = images(0.3 * normal(80, 4, 2 * k)), images(0.3 * normal(60, 4, 2 * k + 1))
        values.append(memorisation(x, y, h).copying)
        inside.append(values[-1].low <= 0.5 <= values[-1].high)
    assert_near(np.mean(inside), 0.95, (0.95 * 0.05 / 200) ** 0.5, bias=0.01)
    assert_near(ratio(values)[0], 1.0, ratio(values)[1], bias=0.02)


def test_of_what_was_learnt_by_heart_nothing_is_between_it_and_the_ideal():
    law = Gaussian(0.0, 0.3, shape=(1, 2, 2))
    y, h = law.sample(60, seed=1).float(), law.sample(200, seed=2).float()
    for row in to_ideal(Empirical(y), y, h, sigmas=(0.05, 0.5)):
        assert row.distance.value < 1e-4 and row.error.value == pytest.approx(row.ideal_error.value, rel=1e-4)
    for row in to_ideal(law, y, h, sigmas=(0.05, 0.2)):
        # the law's own error is sigma s / sqrt(s^2 + sigma^2) for each pixel, of which there are 800
        exact = 0.3 * row.sigma / (0.3**2 + row.sigma**2) ** 0.5
        assert_near(row.error.value, exact, exact / 1600**0.5)
        assert_near(row.error.value, exact, stderr(row.error))
        assert row.distance.low > 0 and row.ideal_error.low > row.error.high


def test_its_noise_is_each_image_s_own():
    law, y = Gaussian(0.0, 0.3, shape=(1, 2, 2)), images(0.3 * normal(30, 4, 0))
    data = Images((127.5 * (y[:, 0].numpy() + 1)).clip(0, 255).astype(np.uint8), np.zeros(30, int), ("a",), "toy")
    squares = [to_ideal(law, data, part, sigmas=(0.2,))[0].error for part in (y[:2], y)]
    assert squares[0].reference == "toy, 30"
    # image 0 of every set has the same noise: of a set and itself twice the first halves are one
    again = to_ideal(law, data, torch.cat([y[:2], y[:2]]), sigmas=(0.2,))[0].error
    other = again.value**2 * 2 - squares[0].value**2
    assert other != pytest.approx(squares[0].value**2)  # and images 2 and 3 another
    assert to_ideal(law, data, y[:2], sigmas=(0.2,), seed=1)[0].error.value != pytest.approx(squares[0].value)
