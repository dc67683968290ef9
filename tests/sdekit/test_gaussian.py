"""Gaussians and their mixtures: densities, conditioning, information and distances against other ways to have them.

Functions of second degree of a Gaussian Y are averaged exactly: their mean is that over `sigma_points`.
"""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import integrate, linalg, stats
from scipy.special import ndtr

import sdekit as sk
from sdekit.gaussian import (
    Gaussian,
    Mixture,
    TotalVariation,
    hellinger,
    kl,
    mutual_information,
    product,
    total_variation,
    wasserstein,
)
from tests.conftest import EPS, K, assert_gaussian, assert_law, assert_near

NEAR = {"rtol": 1e-9, "atol": 1e-9}  # of the laws drawn below, whose condition numbers stay below 1e6
number = st.floats(-3.0, 3.0).map(lambda x: round(x, 3))


def matrices(rows, columns):
    """Lower triangular, of positive diagonal: of full rank."""
    entries = st.lists(number, min_size=rows * columns, max_size=rows * columns)
    return entries.map(lambda x: _triangular(np.reshape(x, (rows, columns))))


def _triangular(A):
    diagonal = np.eye(*A.shape, dtype=bool)
    return np.where(diagonal, 0.3 + np.abs(A), np.tril(A))


def vectors(d):
    return st.lists(number, min_size=d, max_size=d).map(np.array)


def gaussians(d):
    return st.builds(lambda m, L: Gaussian(m, L @ L.T), vectors(d), matrices(d, d))


def several(count, dims=(1, 2, 3)):
    """`count` Gaussians of one dimension."""
    return st.sampled_from(dims).flatmap(lambda d: st.tuples(*[gaussians(d)] * count))


def sigma_points(law):
    """2 d points whose mean is E f(Y) for every f of second degree (Julier & Uhlmann 1997)."""
    offsets = law.d**0.5 * law.factor.B.T
    return np.concatenate([law.mean + offsets, law.mean - offsets])


def rotation(d, seed):
    return np.linalg.qr(sk.normals(seed, paths=d, components=d)[:, 0])[0]


def spectral(values, seed):
    """A covariance with these eigenvalues."""
    Q = rotation(len(values), seed)
    return Q * values @ Q.T


def slopes(f, x, h=1e-2):
    """grad f at points x (n, d), of fourth order."""
    e = h * np.eye(x.shape[-1])
    return np.stack([8 * (f(x + v) - f(x - v)) - (f(x + 2 * v) - f(x - 2 * v)) for v in e], axis=-1) / (12 * h)


# --- densities, maps, samples

@given(several(1), st.data())
def test_the_density_is_scipys(laws, data):
    p, = laws
    x = np.array(data.draw(st.lists(vectors(p.d), min_size=2, max_size=4)))
    reference = stats.multivariate_normal(p.mean, p.cov)
    np.testing.assert_allclose(p.logpdf(x), reference.logpdf(x).reshape(len(x)), **NEAR)
    np.testing.assert_allclose(p.pdf(x), reference.pdf(x).reshape(len(x)), **NEAR)
    assert p.entropy() == pytest.approx(float(reference.entropy()), abs=1e-9)


def test_shapes_of_points():
    one, two = Gaussian(1.0, 4.0), Gaussian([0.0, 1.0], 1.0)
    mixture = Mixture([0.5, 0.5], [two, two + 1.0])
    assert one.logpdf(0.0).shape == () and one.score(0.0).shape == ()
    assert one.logpdf([1.0, 2.0, 3.0]).shape == (3,) and one.score(np.zeros((3, 1))).shape == (3, 1)
    np.testing.assert_array_equal(one.score([1.0, 3.0]), one.score([[1.0], [3.0]])[:, 0])
    for law in (two, mixture):
        x = np.arange(24.0).reshape(3, 4, 2)
        assert law.logpdf(x).shape == (3, 4) and law.score(x).shape == x.shape
        np.testing.assert_array_equal(law.score(x)[1, 2], law.score(x[1, 2]))
        np.testing.assert_array_equal(law.logpdf(x)[1, 2], law.logpdf(x[1, 2]))
    assert mixture.responsibilities(np.zeros((3, 4, 2))).shape == (3, 4, 2)


def test_numbers_stand_for_all_components():
    np.testing.assert_array_equal(Gaussian([1.0, 2.0], 3.0).cov, 3 * np.eye(2))
    np.testing.assert_array_equal(Gaussian(1.0, [3.0, 4.0]).cov, np.diag([3.0, 4.0]))
    np.testing.assert_array_equal(Gaussian(1.0, np.eye(3)).mean, np.ones(3))


@given(several(2), st.data())
def test_affine_maps_and_sums(laws, data):
    p, q = laws
    A, b = data.draw(matrices(2, p.d)), data.draw(vectors(2))
    y = A @ p + b
    np.testing.assert_allclose(y.mean, A @ p.mean + b, **NEAR)
    np.testing.assert_allclose(y.cov, A @ p.cov @ A.T, **NEAR)
    for sign, z in ((1, p + q), (-1, p - q), (1, q.mean + q - (q.mean - p))):
        np.testing.assert_allclose(z.cov, p.cov + q.cov, **NEAR)
        np.testing.assert_allclose(z.mean, p.mean + sign * q.mean, **NEAR)
    np.testing.assert_allclose((-3.0 * p).cov, 9 * p.cov, **NEAR)
    np.testing.assert_allclose((p * -3.0).mean, -3 * p.mean, **NEAR)


def test_a_sum_of_samples_has_the_law_of_the_sum():
    p, q = Gaussian([1.0, 0.0], [[2.0, 1.0], [1.0, 3.0]]), Gaussian([0.0, -2.0], [[1.0, -0.5], [-0.5, 1.0]])
    total = p + q
    x = p.sample(20_000, seed=1) + q.sample(20_000, seed=1, stream=1)
    assert_gaussian(((x - total.mean) @ total.factor.G.T), 0.0, 1.0)


@pytest.mark.parametrize("law", [
    Gaussian([1.0, -2.0], [[2.0, -1.2], [-1.2, 1.0]]),
    Mixture([0.2, 0.8], [Gaussian([-2.0, 0.0], [1.0, 0.0]), Gaussian([1.0, 1.0], [[1.0, 0.9], [0.9, 1.0]])]),
])
def test_samples_have_mean_and_covariance(law):
    n = 50_000
    x = law.sample(n, seed=3)
    off = x - law.mean
    squares = off[:, :, None] * off[:, None, :]
    assert_near(x.mean(axis=0), law.mean, (np.diag(law.cov) / n) ** 0.5)
    assert_near(squares.mean(axis=0), law.cov, squares.std(axis=0) / n**0.5)


@pytest.mark.parametrize("law", [
    Gaussian(np.zeros(5), spectral([1.0, 2.0, 3.0, 4.0, 5.0], 1)),
    Mixture([0.5, 0.5], [Gaussian([1.0, 2.0], 1.0), Gaussian([0.0, 0.0], 2.0)]),
])
def test_a_sample_is_the_same_whatever_else_is_drawn(law):
    all_of_them = law.sample(1001, seed=5, stream=2)
    for first, n in ((0, 1), (500, 1), (17, 200), (1000, 1)):
        np.testing.assert_array_equal(law.sample(n, seed=5, stream=2, first=first), all_of_them[first:first + n])
    assert not (law.sample(1001, seed=5) == all_of_them).any()


def test_a_gaussian_is_a_start_of_simulate():
    start = Gaussian(100.0, 25.0)
    x = sk.simulate(sk.BrownianMotion(), start, t=1.0, steps=1, paths=20_000, seed=1, backend="numpy", save="final")
    assert_gaussian(x.final, 100.0, 26.0)
    np.testing.assert_allclose(start.ppf(start.cdf([90.0, 100.0, 107.0])), [90.0, 100.0, 107.0], rtol=1e-12)
    assert start.cdf(105.0) == pytest.approx(ndtr(1.0), rel=1e-14)
    np.testing.assert_array_equal(Gaussian(2.0, 0.0).cdf([1.0, 2.0, 3.0]), [0.0, 1.0, 1.0])


# --- scores

@given(several(1), st.data())
def test_the_score_is_the_slope_of_the_log_density(laws, data):
    p, = laws
    x = np.array(data.draw(st.lists(vectors(p.d), min_size=1, max_size=3)))
    score = p.score(x)  # of a quadratic: differences are exact
    np.testing.assert_allclose(slopes(p.logpdf, x, h=1.0), score, rtol=1e-8, atol=1e-8 * (1 + np.abs(score).max()))


@given(several(3), st.data())
def test_score_identity_of_a_mixture(laws, data):
    """grad p = p grad log p, with unequal weights."""
    law = Mixture([0.5, 0.2, 0.3], [part + Gaussian(0.0, np.ones(part.d)) for part in laws])
    x = np.array(data.draw(st.lists(vectors(law.d), min_size=1, max_size=3)))
    # Hermite: |d^5 p| <= 28.4 max p since every variance is >= 1; rounding of p over h
    h, top = 1e-2, (2 * math.pi) ** (-law.d / 2)
    error = 4 * h**4 / 120 * 10 * 28.4 * top + 40 * EPS * 100 * top / h
    np.testing.assert_allclose(slopes(law.pdf, x, h), law.pdf(x)[:, None] * law.score(x), rtol=0, atol=error)


def test_scores_far_out_do_not_underflow():
    law = Mixture([0.5, 0.5], [Gaussian(-1.0, 1.0), Gaussian(1.0, 1.0)])
    np.testing.assert_allclose(law.score([1e3, -1e3]), [1 - 1e3, 1e3 - 1], rtol=1e-14)
    assert law.logpdf(1e3) == pytest.approx(-0.5 * 999**2 - 0.5 * math.log(2 * math.pi) - math.log(2), rel=1e-14)


# --- conditioning

@given(st.sampled_from([2, 3, 4]).flatmap(gaussians), st.data())
def test_bayes_rule(joint, data):
    """log p(x) = log p(x_b) + log p(x_a | x_b), and the moments are Schur's."""
    b = data.draw(st.lists(st.integers(0, joint.d - 1), min_size=1, max_size=joint.d - 1, unique=True))
    a = np.setdiff1d(np.arange(joint.d), b)
    x = data.draw(vectors(joint.d))
    given_b = joint.conditional(b, x[b])
    logs = joint.marginal(b).logpdf(x[None, b])[0] + given_b.logpdf(x[None, a])[0]
    assert logs == pytest.approx(joint.logpdf(x[None])[0], rel=1e-7, abs=1e-7)
    K = np.linalg.solve(joint.cov[np.ix_(b, b)], joint.cov[np.ix_(b, a)]).T
    np.testing.assert_allclose(given_b.mean, joint.mean[a] + K @ (x[b] - joint.mean[b]), rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(given_b.cov, joint.cov[np.ix_(a, a)] - K @ joint.cov[np.ix_(b, a)], rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("t", [1, 2, 10, 1000])
def test_the_step_back_of_a_walk(t):
    """X_{t+1} = X_t + Z from x_0: X_t | X_{t+1} = y ~ N(x_0/(t+1) + (1 - 1/(t+1)) y, t/(t+1))."""
    x0, y = 3.0, -1.0
    step = Gaussian(x0, float(t)).joint(1.0, Gaussian(0.0, 1.0)).conditional(1, y)
    assert step.mean[0] == pytest.approx(x0 / (t + 1) + (1 - 1 / (t + 1)) * y, rel=1e-13)
    assert step.cov[0, 0] == pytest.approx(t / (t + 1), rel=1e-13)


def test_the_joint_law_of_a_state_and_its_observation():
    X, noise = Gaussian([1.0, 2.0], [[2.0, 1.0], [1.0, 3.0]]), Gaussian([5.0], [[0.5]])
    A = np.array([[1.0, -2.0]])
    both = X.joint(A, noise)
    cross = X.cov @ A.T
    np.testing.assert_allclose(both.cov, np.block([[X.cov, cross], [cross.T, A @ X.cov @ A.T + noise.cov]]), **NEAR)
    np.testing.assert_allclose(both.mean, [1.0, 2.0, 2.0], **NEAR)
    np.testing.assert_allclose(X.joint(2.0, X).cov[2:, :2], 2 * X.cov, **NEAR)


def test_conditioning_on_what_is_certain():
    """A X repeated, and a constant: nothing is lost, nothing is divided by nought."""
    X = Gaussian([1.0, 2.0], [[2.0, 1.0], [1.0, 3.0]])
    A = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, 0.0], [1.0, 0.0]])
    Y = A @ X
    given_sum = Y.conditional([2, 3], [4.0, 0.0])
    alone = (A[[0, 1, 2, 4]] @ X).conditional([2], [4.0])
    np.testing.assert_allclose(given_sum.cov, alone.cov, **NEAR)
    np.testing.assert_allclose(given_sum.mean, alone.mean, **NEAR)
    everything = Y.conditional([0, 1], [7.0, -3.0])
    np.testing.assert_array_equal(everything.cov, np.zeros((3, 3)))
    np.testing.assert_allclose(everything.mean, [4.0, 0.0, 7.0], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(Y.conditional([0, 4], [7.0, 7.0]).mean, Y.conditional(0, 7.0).mean[:3], **NEAR)
    with pytest.raises(ValueError, match="off its range"):
        Y.conditional([0, 4], [7.0, 7.1])
    with pytest.raises(ValueError, match="off its range"):
        Y.conditional(3, 0.1)


def test_the_conditional_mean_minimises_squared_error():
    """E |X - c(Y)|^2 = E Var(X|Y) + E |c(Y) - E[X|Y]|^2 for every c: measured, for some."""
    joint = Gaussian([1.0, -1.0], [[2.0, 1.2], [1.2, 1.5]])
    x, y = joint.sample(100_000, seed=11).T
    at_zero, slope = joint.conditional(1, 0.0).mean[0], 1.2 / 1.5
    assert joint.conditional(1, 1.0).mean[0] - at_zero == pytest.approx(slope, rel=1e-12)
    best = (x - (at_zero + slope * y)) ** 2
    assert_near(best.mean(), joint.conditional(1, 0.0).cov[0, 0], best.std() / len(x) ** 0.5)
    for change in (np.full_like(y, 0.1), 0.1 * y, -0.1 * y, np.sin(3 * y), 0.3 * (y > 0)):
        excess = (x - (at_zero + slope * y + change)) ** 2 - best
        stderr = excess.std() / len(x) ** 0.5
        assert_near(excess.mean(), (change**2).mean(), stderr)
        assert excess.mean() > K * stderr  # it is worse


@given(several(2), st.data())
def test_a_product_of_densities(laws, data):
    p, q = laws
    r, log_z = product(p, q)
    x = np.array(data.draw(st.lists(vectors(p.d), min_size=3, max_size=3)))
    size = 1 + np.abs(p.logpdf(x)) + np.abs(q.logpdf(x))
    assert (np.abs(p.logpdf(x) + q.logpdf(x) - log_z - r.logpdf(x)) < 1e-9 * size).all()


@pytest.mark.parametrize("d", [1, 3])
def test_a_product_with_a_flat_or_a_certain_density(d):
    q = Gaussian(np.arange(d) + 1.0, spectral(np.arange(d) + 1.0, 3))
    flat, _ = product(Gaussian(np.zeros(d), 1e25), q)
    np.testing.assert_allclose(flat.mean, q.mean, rtol=1e-14)
    np.testing.assert_allclose(flat.cov, q.cov, rtol=1e-13, atol=1e-14)
    certain, log_z = product(Gaussian(np.full(d, 2.0), 0.0), q)
    np.testing.assert_array_equal(certain.cov, np.zeros((d, d)))
    np.testing.assert_allclose(certain.mean, 2.0, rtol=1e-14)
    assert log_z == pytest.approx(float(q.logpdf(np.full((1, d), 2.0))[0]), rel=1e-14)


# --- information

@given(st.sampled_from([2, 3, 4]).flatmap(gaussians), st.integers(1, 3))
def test_four_expressions_of_the_mutual_information(joint, k):
    assume(k < joint.d)
    x, y = list(range(k)), list(range(k, joint.d))
    X, Y = joint.marginal(x), joint.marginal(y)
    X_given, Y_given = joint.conditional(y, 0.0), joint.conditional(x, 0.0)  # their entropy is that at every value
    information = mutual_information(joint, x)
    for expression in (
        X.entropy() - X_given.entropy(),
        Y.entropy() - Y_given.entropy(),
        X.entropy() + Y.entropy() - joint.entropy(),
        np.mean([kl(joint.conditional(y, value), X) for value in sigma_points(Y)]),
        mutual_information(joint, y),
        kl(joint, Gaussian(joint.mean, linalg.block_diag(X.cov, Y.cov))),
    ):
        assert expression == pytest.approx(information, rel=1e-6, abs=1e-7)
    assert joint.entropy() == pytest.approx(X.entropy() + Y_given.entropy(), abs=1e-7)  # the chain rule


def test_mutual_information_of_correlated_pairs():
    for rho in (0.0, 1e-9, -0.3, 0.99999):
        information = mutual_information(Gaussian(0.0, [[4.0, 6 * rho], [6 * rho, 9.0]]), 0)
        assert information == pytest.approx(-0.5 * math.log1p(-(rho**2)), rel=1e-10, abs=0)
    assert mutual_information(Gaussian(0.0, [[4.0, 6.0], [6.0, 9.0]]), 0) == math.inf
    assert mutual_information(Gaussian(0.0, [4.0, 0.0]), 0) == 0.0  # Y is certain


@given(st.sampled_from([2, 3]).flatmap(gaussians), st.data())
def test_processing_loses_information(joint, data):
    """I(X; a Y + N) <= I(X; Y), and KL and total variation shrink under every map."""
    noisy = joint + Gaussian(0.0, [0.0] * (joint.d - 1) + [data.draw(st.floats(0.1, 3.0))])
    assert mutual_information(noisy, 0) <= mutual_information(joint, 0) + 1e-9
    other = data.draw(gaussians(joint.d))
    A = data.draw(matrices(1, joint.d))
    assert kl(A @ joint, A @ other) <= kl(joint, other) * (1 + 1e-9) + 1e-9
    assert float(total_variation(A @ joint, A @ other)) <= total_variation(joint, other).upper + 1e-9
    assert hellinger(joint.marginal(0), other.marginal(0)) <= hellinger(joint, other) + 1e-9


# --- distances

@given(several(2))
def test_kl_is_the_textbooks(laws):
    p, q = laws
    inverse, off = np.linalg.inv(q.cov), p.mean - q.mean
    logs = np.linalg.slogdet(q.cov)[1] - np.linalg.slogdet(p.cov)[1]
    exact = 0.5 * (off @ inverse @ off + np.trace(inverse @ p.cov) - p.d + logs)
    assert kl(p, q) == pytest.approx(exact, rel=1e-8, abs=1e-8)
    assert kl(p, q) >= 0 and kl(p, p) == 0.0


@given(st.sampled_from([2, 3]).flatmap(lambda d: st.tuples(gaussians(d), gaussians(d))))
def test_chain_rule_of_kl(laws):
    """KL of the joints = KL of the marginals + the expected KL of the conditionals."""
    p, q = laws
    rest = np.mean([kl(p.conditional(0, y), q.conditional(0, y)) for y in sigma_points(p.marginal(0))])
    assert kl(p.marginal(0), q.marginal(0)) + rest == pytest.approx(kl(p, q), rel=1e-6, abs=1e-7)


@given(several(3))
def test_metrics(laws):
    p, q, r = laws
    for distance in (wasserstein, hellinger, lambda p, q: float(total_variation(p, q))):
        assert distance(p, p) <= 1e-13
        assert distance(p, q) == pytest.approx(distance(q, p), rel=1e-7, abs=1e-9)
        assert distance(p, r) <= distance(p, q) + distance(q, r) + 1e-9


@given(several(2))
def test_inequalities(laws):
    """Pinsker; Bretagnolle & Huber; Le Cam; KL and Hellinger; all strict for laws that differ."""
    p, q = laws
    tv, h2, divergence = float(total_variation(p, q)), hellinger(p, q) ** 2, kl(p, q)
    slack = 1e-12
    assert tv <= math.sqrt(divergence / 2) + slack
    assert tv <= math.sqrt(-math.expm1(-divergence)) + slack
    assert h2 <= tv + slack and tv <= math.sqrt(h2 * (2 - h2)) + slack
    assert -2 * math.log1p(-h2) <= divergence + slack if h2 < 1 - 1e-12 else divergence > 10


@given(several(2), st.data())
def test_invariance(laws, data):
    """KL, total variation, Hellinger under invertible affine maps; Wasserstein under rotations and shifts."""
    p, q = laws
    A, b = data.draw(matrices(p.d, p.d)), data.draw(vectors(p.d))
    for distance in (kl, hellinger, lambda p, q: float(total_variation(p, q))):
        assert distance(A @ p + b, A @ q + b) == pytest.approx(distance(p, q), rel=1e-6, abs=1e-7)
    Q = rotation(p.d, data.draw(st.integers(0, 99)))
    assert wasserstein(Q @ p + b, Q @ q + b) == pytest.approx(wasserstein(p, q), rel=1e-7, abs=1e-9)
    assert wasserstein(3.0 * p, 3.0 * q) == pytest.approx(3 * wasserstein(p, q), rel=1e-9, abs=1e-9)
    joint = Gaussian(np.concatenate([p.mean, q.mean]), linalg.block_diag(p.cov, q.cov) + 1.0)
    mapped = linalg.block_diag(A, A) @ joint
    exact = mutual_information(joint, range(p.d))
    assert mutual_information(mapped, range(p.d)) == pytest.approx(exact, rel=1e-6, abs=1e-8)


@given(several(2))
def test_wasserstein_is_frechets_formula(laws):
    p, q = laws
    root = linalg.sqrtm(p.cov)
    cross = np.trace(linalg.sqrtm(root @ q.cov @ root)).real
    exact = np.sum((p.mean - q.mean) ** 2) + np.trace(p.cov) + np.trace(q.cov) - 2 * cross
    assert wasserstein(p, q) ** 2 == pytest.approx(exact, rel=1e-6, abs=1e-6)


def test_wasserstein_in_one_dimension_and_of_singular_laws():
    assert wasserstein(Gaussian(1.0, 4.0), Gaussian(4.0, 36.0)) == pytest.approx(5.0, rel=1e-14)
    line, point = Gaussian([0.0, 0.0], [[1.0, 1.0], [1.0, 1.0]]), Gaussian([3.0, 4.0], 0.0)
    assert wasserstein(line, point) == pytest.approx(27**0.5, rel=1e-14)
    assert wasserstein(point, Gaussian([0.0, 0.0], 0.0)) == pytest.approx(5.0, rel=1e-14)
    across = Gaussian([0.0, 0.0], [[1.0, -1.0], [-1.0, 1.0]])
    assert wasserstein(line, across) == pytest.approx(2.0, rel=1e-14)  # no product of coordinates: independent


@pytest.mark.parametrize("eps", [1e-3, 1e-9, 1e-15])
@pytest.mark.parametrize("condition", [1.0, 1e12])
def test_wasserstein_of_close_laws_keeps_its_digits(eps, condition):
    """W_2(N(0, S), N(0, (1 + eps)^2 S)) = eps sqrt(tr S); tr(S + S' - 2 (S S')^{1/2}) would lose all below 1e-8."""
    p = Gaussian(np.zeros(3), spectral([1.0, condition**-0.5, 1 / condition], 5))
    q = (1 + eps) * p
    # the root of an eigenvalue that is off by EPS is off by EPS^{1/2} at worst
    rounding = 40 * EPS if condition == 1.0 else 16 * EPS * condition**0.5
    assert wasserstein(p, q) == pytest.approx(eps * np.trace(p.cov) ** 0.5, rel=1e-9, abs=rounding)


# --- total variation

@given(several(2))
def test_total_variation_of_equal_covariances(laws):
    p, q = laws
    q = Gaussian(q.mean, p.cov)
    tv = total_variation(p, q)
    distance = float(p.mahalanobis(q.mean[None])[0])
    assert tv.kind == "exact" and tv.lower == tv.value == tv.upper
    assert tv.value == pytest.approx(2 * ndtr(distance / 2) - 1, rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("mu, s", [(0.0, 2.0), (1.0, 2.0), (-1.0, 0.5), (3.0, 0.1), (0.01, 1.001), (2.0, 1.0)])
def test_total_variation_in_one_dimension(mu, s):
    """Against half the integral of |p - q|; and with a second, equal component by the contour integral."""
    p, q = Gaussian(mu, s**2), Gaussian(0.0, 1.0)
    tv = total_variation(p, q)
    # cut next to where p = q, as the quadrature does not like kinks
    x = np.linspace(-12.0, 12.0, 4801) + 1e-4
    edges = x[np.flatnonzero(np.diff(np.sign(p.logpdf(x) - q.logpdf(x))))]
    numerical = 0.5 * integrate.quad(lambda x: abs(float(p.pdf(x) - q.pdf(x))), -30, 30, limit=400, epsabs=1e-12,
                                     points=sorted([mu, *edges, *(edges + 0.005)]))[0]
    assert tv.kind == "exact" and tv.value == pytest.approx(numerical, abs=1e-9)
    contour = total_variation(Gaussian([mu, 7.0], [s**2, 4.0]), Gaussian([0.0, 7.0], [1.0, 4.0]))
    assert contour.lower - 1e-15 <= tv.value <= contour.upper + 1e-15 and contour.upper - contour.lower < 1e-12
    assert (contour.kind == "numerical") == (s != 1.0)


@pytest.mark.parametrize("d", [2, 3, 10, 100])
@pytest.mark.parametrize("s", [1e-3, 0.9, 1.0001, 2.0, 30.0])
def test_total_variation_of_spheres(d, s):
    """N(0, s^2 I) and N(0, I) cross on a sphere: |P - Q| of the ball, by the law of |x|^2."""
    r2 = 2 * d * math.log(s) / ((s - 1) * (s + 1)) * s**2
    exact = abs(stats.chi2.cdf(r2 / s**2, d) - stats.chi2.cdf(r2, d))
    tv = total_variation(Gaussian(np.zeros(d), s**2), Gaussian(np.zeros(d), 1.0))
    assert tv.kind == "numerical" and tv.upper - tv.lower < 1e-11
    assert tv.value == pytest.approx(exact, abs=1e-12)


def test_total_variation_in_the_plane():
    """Against the midpoint rule on a grid, whose error at kinks is of second order: from two grids."""
    p, q = Gaussian([1.0, -0.5], [[1.0, 0.6], [0.6, 2.0]]), Gaussian([0.0, 0.0], [[0.7, -0.3], [-0.3, 1.0]])

    def midpoint(n):
        x = (np.arange(n) + 0.5) / n * 24.0 - 12.0
        points = np.stack(np.meshgrid(x, x, indexing="ij"), axis=-1)
        return 0.5 * np.abs(p.pdf(points) - q.pdf(points)).sum() * (24.0 / n) ** 2

    coarse, fine = midpoint(400), midpoint(800)
    assert float(total_variation(p, q)) == pytest.approx(fine, abs=2 * abs(fine - coarse) + 1e-6)


def test_total_variation_is_a_record():
    tv = total_variation(Gaussian(0.0, 1.0), Gaussian(0.0, 0.0))
    assert tv == TotalVariation(1.0, "exact", 1.0, 1.0) and float(tv) == 1.0


def test_the_quadrature_says_when_it_fails(monkeypatch):
    """Then the bounds are Hellinger's, and hold."""
    p, q = Gaussian([1.0, 0.0], [1.0, 4.0]), Gaussian([0.0, 0.0], 1.0)
    true = float(total_variation(p, q))
    monkeypatch.setattr("sdekit.gaussian.distances._contour", lambda mu, s, tilt: (0.5, 0.1))
    tv = total_variation(p, q)
    h2 = hellinger(p, q) ** 2
    assert tv.kind == "bound" and tv.lower < true < tv.upper
    assert (tv.lower, tv.upper) == (pytest.approx(h2), pytest.approx(math.sqrt(h2 * (2 - h2))))


# --- Monte Carlo

@pytest.mark.parametrize("d", [1, 2, 5])
def test_monte_carlo_agrees(d):
    p = Gaussian(np.linspace(0.0, 0.5, d), spectral(np.linspace(0.5, 2.0, d), 1))
    q = Gaussian(np.zeros(d), spectral(np.linspace(2.0, 1.0, d), 2))
    x = p.sample(50_000, seed=21)
    logs = p.logpdf(x), q.logpdf(x)
    ratio = np.exp(logs[1] - logs[0])
    for values, exact in ((-logs[0], p.entropy()), (logs[0] - logs[1], kl(p, q)),
                          (np.maximum(1 - ratio, 0), float(total_variation(p, q))),
                          (1 - ratio**0.5, hellinger(p, q) ** 2)):
        assert_near(values.mean(), exact, values.std() / len(x) ** 0.5)


# --- singular and ill-conditioned covariances

@given(st.sampled_from([1, 2]).flatmap(lambda r: st.tuples(gaussians(r), gaussians(r), matrices(r + 1, r))))
def test_laws_on_one_plane(laws):
    """B X and B Y, B injective: everything but the entropy is that of X and Y; on another plane nothing is shared."""
    p, q, B = laws
    flat_p, flat_q = B @ p, B @ q
    assert flat_p.factor.rank == p.d and flat_p.entropy() == -math.inf
    assert kl(flat_p, flat_q) == pytest.approx(kl(p, q), rel=1e-5, abs=1e-6)
    assert hellinger(flat_p, flat_q) == pytest.approx(hellinger(p, q), rel=1e-5, abs=1e-6)
    assert float(total_variation(flat_p, flat_q)) == pytest.approx(float(total_variation(p, q)), rel=1e-5, abs=1e-6)
    normal = np.linalg.svd(B.T)[2][-1]
    for other in (flat_q + 0.01 * normal, flat_q + Gaussian(0.0, np.ones(p.d + 1)), 0.0 * flat_q,
                  B[::-1] @ q if abs(normal @ normal[::-1]) < 0.9 else 0.0 * flat_q):
        assert kl(flat_p, other) == math.inf
        assert hellinger(flat_p, other) == 1.0 == float(total_variation(flat_p, other))


def test_point_masses():
    here, same, there = Gaussian([1.0, 2.0], 0.0), Gaussian([1.0, 2.0], 0.0), Gaussian([1.0, 2.5], 0.0)
    assert kl(here, same) == hellinger(here, same) == float(total_variation(here, same)) == 0.0
    assert kl(here, there) == math.inf and hellinger(here, there) == 1.0 and wasserstein(here, there) == 0.5
    np.testing.assert_array_equal(here.sample(3, seed=1), [[1.0, 2.0]] * 3)
    for ask in (here.logpdf, here.pdf, here.score, here.mahalanobis):
        with pytest.raises(ValueError, match=r"singular \(rank 0 of 2\)"):
            ask([1.0, 2.0])


def reference(p, q, x):
    """KL, entropy, log density and Wasserstein distance with 60 digits, from the covariances as they are stored."""
    mp = pytest.importorskip("mpmath")
    with mp.workdps(60):
        S, T = mp.matrix(p.cov.tolist()), mp.matrix(q.cov.tolist())
        off, z = mp.matrix((p.mean - q.mean).tolist()), mp.matrix((x - p.mean).tolist())
        inverse = T**-1
        trace = sum((inverse * S)[i, i] for i in range(p.d))
        divergence = ((off.T * inverse * off)[0] + trace - p.d + mp.log(mp.det(T) / mp.det(S))) / 2
        log_det = p.d * mp.log(2 * mp.pi) + mp.log(mp.det(S))
        cross = sum(mp.sqrt(mp.re(value)) for value in mp.eig(S * T)[0])
        squared = sum(v**2 for v in off) + sum(S[i, i] + T[i, i] for i in range(p.d)) - 2 * cross
        score = -(S**-1) * z
        return (float(divergence), float((log_det + p.d) / 2), float(-((z.T * S**-1 * z)[0] + log_det) / 2),
                float(mp.sqrt(squared)), np.array([float(v) for v in score]))


@pytest.mark.parametrize("condition, units", [(10.0, [1.0, 1e-9, 1e6]), (1e6, [1.0, 1.0, 1.0]), (1e12, [1.0, 1.0, 1.0]),
                                              (1e6, [1e-8, 1.0, 1e5])])
def test_ill_conditioned_covariances(condition, units):
    """The error is the condition number of the correlations times rounding: units, and so 1e30, do not enter."""
    units = np.array(units)
    D = np.diag(units)
    p = Gaussian(0.1 * units, D @ spectral([1.0, condition**-0.5, 1 / condition], 7) @ D)
    q = Gaussian(p.mean - p.factor.B @ [0.3, 0.5, -0.2], D @ spectral([2.0, condition**-0.5, 1.5 / condition], 7) @ D)
    x = p.mean + p.factor.B @ [0.5, -1.0, 0.3]
    divergence, entropy, log_density, distance, score = reference(p, q, x)
    error = 8 * EPS * condition
    assert kl(p, q) == pytest.approx(divergence, rel=error, abs=error)
    assert p.entropy() == pytest.approx(entropy, rel=0, abs=error + 8 * EPS * abs(entropy))
    assert p.logpdf(x) == pytest.approx(log_density, rel=0, abs=error * abs(log_density))
    np.testing.assert_allclose(p.score(x) * units, score * units, rtol=0, atol=error * np.abs(score * units).max())
    assert wasserstein(p, q) == pytest.approx(distance, rel=64 * EPS)


def test_a_covariance_of_condition_1e12_is_not_called_singular():
    for d in (2, 5, 20):
        assert Gaussian(np.zeros(d), spectral(np.logspace(0, -12, d), 1)).factor.rank == d
        assert Gaussian(np.zeros(d), spectral(np.arange(d) > 0, 1)).factor.rank == d - 1


# --- mixtures

TWO = Mixture([0.3, 0.7], [Gaussian([-1.0, 0.0], [[1.0, 0.5], [0.5, 1.0]]), Gaussian([2.0, 1.0], [0.5, 2.0])])


def test_a_mixture_of_one_is_a_gaussian():
    p = TWO.components[1]
    law, x = Mixture([1.0], [p]), p.sample(10, seed=1)
    for ask in ("logpdf", "pdf", "score"):
        np.testing.assert_allclose(getattr(law, ask)(x), getattr(p, ask)(x), rtol=1e-13)
    np.testing.assert_array_equal(law.sample(10, seed=1), x)
    np.testing.assert_allclose(law.cov, p.cov, rtol=1e-15)


def test_density_and_responsibilities_of_a_mixture():
    x = TWO.sample(20, seed=2)
    parts = np.stack([w * part.pdf(x) for w, part in zip(TWO.weights, TWO.components)], axis=-1)
    np.testing.assert_allclose(TWO.pdf(x), parts.sum(axis=-1), rtol=1e-13)
    np.testing.assert_allclose(TWO.responsibilities(x), parts / parts.sum(axis=-1, keepdims=True), rtol=1e-12)
    never = Mixture([0.0, 1.0, 0.0], [TWO.components[0], TWO.components[1], TWO.components[0]])
    np.testing.assert_allclose(never.score(x), TWO.components[1].score(x), rtol=1e-13)
    np.testing.assert_array_equal(never.sample(50, seed=1), TWO.components[1].sample(50, seed=1))


def test_the_distribution_function_of_a_mixture():
    law = Mixture([0.3, 0.5, 0.2], [Gaussian(-1.0, 0.5), Gaussian(1.0, 2.0), Gaussian(0.5, 0.0)])
    x = np.array([-2.0, 0.4])
    exact = 0.3 * ndtr((x + 1.0) / 0.5**0.5) + 0.5 * ndtr((x - 1.0) / 2.0**0.5)
    np.testing.assert_allclose(law.cdf(x), exact, rtol=8 * EPS)
    assert float(law.cdf(0.5)) - float(law.cdf(0.5 - 1e-12)) == pytest.approx(0.2, abs=1e-11)  # the point mass
    smooth = Mixture([0.3, 0.7], [Gaussian(-1.0, 0.5), Gaussian(1.0, 2.0)])
    assert smooth.cdf(0.7) == pytest.approx(integrate.quad(lambda u: float(smooth.pdf(u)), -12, 0.7, epsabs=1e-13)[0],
                                            abs=1e-12)


def test_samples_of_a_mixture_have_its_law():
    law = Mixture([0.2, 0.5, 0.3], [Gaussian(-3.0, 0.25), Gaussian(0.0, 1.0), Gaussian(4.0, 4.0)])
    assert_law(law.sample(50_000, seed=4), lambda x: sum(
        w * part.cdf(x) for w, part in zip(law.weights, law.components)))


def test_maps_of_a_mixture():
    """The moments of A X + b, of sums and of alpha X + sigma Z; and the law of a sum is a convolution."""
    A = np.array([[1.0, -1.0], [2.0, 0.5], [0.0, 1.0]])
    mapped = A @ TWO + 1.0
    np.testing.assert_allclose(mapped.mean, A @ TWO.mean + 1.0, **NEAR)
    np.testing.assert_allclose(mapped.cov, A @ TWO.cov @ A.T, **NEAR)
    noise = Gaussian([1.0, 2.0], [1.0, 3.0])
    for total in (TWO + noise, noise + TWO):
        np.testing.assert_allclose(total.mean, TWO.mean + noise.mean, **NEAR)
        np.testing.assert_allclose(total.cov, TWO.cov + noise.cov, **NEAR)
    twice = TWO + -2.0 * TWO
    assert len(twice.components) == 4
    np.testing.assert_allclose(twice.mean, -TWO.mean, **NEAR)
    np.testing.assert_allclose(twice.cov, 5 * TWO.cov, **NEAR)
    x = Mixture([0.3, 0.7], [Gaussian(-1.0, 0.5), Gaussian(1.0, 0.2)])
    y = x.diffused(0.8, 0.6)
    for point in (-2.0, 0.1, 1.3):
        convolved = integrate.quad(lambda u, at=point: float(x.pdf(u) * Gaussian(0.8 * u, 0.36).pdf(at)), -8, 8,
                                   epsabs=1e-12, points=[-1.0, 1.0])[0]
        assert float(y.pdf(point)) == pytest.approx(convolved, rel=1e-8)


def test_tweedie():
    """E[X | alpha X + sigma Z = y] = (y + sigma^2 score(y)) / alpha, against the posterior's own integral."""
    x, alpha, sigma = Mixture([0.3, 0.7], [Gaussian(-1.0, 0.5), Gaussian(1.0, 0.2)]), 0.8, 0.6
    for y in (-1.5, 0.0, 0.7):
        def moment(k, y=y):
            return integrate.quad(lambda u: float(u**k * x.pdf(u) * Gaussian(alpha * u, sigma**2).pdf(y)), -8, 8,
                                  epsabs=1e-13, points=[-1.0, 1.0])[0]
        posterior = moment(1) / moment(0)
        assert (y + sigma**2 * float(x.diffused(alpha, sigma).score(y))) / alpha == pytest.approx(posterior, rel=1e-7)


# --- what is refused

@pytest.mark.parametrize("mean, cov, error, says", [
    ([0.0, 0.0], [[1.0, 0.5], [0.4, 1.0]], ValueError, r"reaches 0.1, 0.1 of the largest entry"),
    ([0.0, 0.0], [[1.0, 2.0], [2.0, 1.0]], ValueError, r"least eigenvalue is -1 and its largest 3"),
    ([0.0, 0.0], [[1e8, 2.0], [2.0, 1e-8]], ValueError, r"least eigenvalue is -1 .*own units the least is -3e-08"),
    ([0.0, 0.0], [[1.0, 0.1], [0.1, 0.0]], ValueError, r"a component that is certain has variance and covariances 0"),
    (0.0, -1.0, ValueError, r"least eigenvalue is -1"),
    (0.0, math.nan, ValueError, r"cov must be finite, got nan"),
    ([0.0, math.inf], 1.0, ValueError, r"mean must be finite, got inf"),
    ([0.0, 0.0], np.eye(3), ValueError, r"mean has 2 components and cov has 3"),
    ([0.0, 0.0], np.ones((2, 3)), ValueError, r"got \(2,\) and \(2, 3\)"),
    ([], 1.0, ValueError, r"got \(0,\)"),
    ("a", 1.0, TypeError, r"mean must be a number"),
])
def test_what_is_no_gaussian(mean, cov, error, says):
    with pytest.raises(error, match=says):
        Gaussian(mean, cov)


P2, P3 = Gaussian([0.0, 0.0], 1.0), Gaussian(np.zeros(3), 1.0)


@pytest.mark.parametrize("ask, error, says", [
    (lambda: kl(P2, P3), ValueError, "got 2 and 3"),
    (lambda: wasserstein(P2, P3), ValueError, "got 2 and 3"),
    (lambda: P2 + P3, ValueError, "got 2 and 3"),
    (lambda: np.eye(3) @ P2, ValueError, r"matrix \(k, 2\), got \(3, 3\)"),
    (lambda: [1.0, 2.0] * P2, ValueError, "for a matrix write A @ X"),
    (lambda: P2 + np.ones(3), ValueError, r"b must be a number or \(2,\)"),
    (lambda: P2.logpdf([1.0, 2.0, 3.0]), ValueError, r"are \(..., 2\), got \(3,\)"),
    (lambda: P2.cdf(0.0), ValueError, "take a marginal"),
    (lambda: P2.marginal([0, 2]), ValueError, "between 0 and 1"),
    (lambda: P2.marginal([0, 0]), ValueError, "must differ"),
    (lambda: P2.marginal(0.5), TypeError, "whole number"),
    (lambda: P2.conditional([0, 1], 0.0), ValueError, "leave one out"),
    (lambda: mutual_information(P2, [0, 1]), ValueError, "leave one out"),
    (lambda: P2.joint(np.eye(2), P3), ValueError, "2 components and the noise has 3"),
    (lambda: product(Gaussian(0.0, 0.0), Gaussian(0.0, 0.0)), ValueError, "singular"),
    (lambda: P2.sample(-1, seed=1), ValueError, "n must be at least 0"),
    (lambda: Mixture([0.5, 0.6], [P2, P2]), ValueError, r"the sum 1.1; w / w.sum\(\)"),
    (lambda: Mixture([1.5, -0.5], [P2, P2]), ValueError, "at least 0, got the least -0.5; leave out the components"),
    (lambda: Mixture([1.0], P2), TypeError, "sequence of Gaussians"),
    (lambda: Mixture([1.0], [stats.norm]), TypeError, "sequence of Gaussians"),
    (lambda: Mixture([1.0], [P2]).cdf(0.0), ValueError, "take a marginal"),
    (lambda: mutual_information(5, 0), TypeError, r"for Gaussians, got int 5; give Gaussian\(mean, cov\)"),
    (lambda: P2.joint(1.0, 5), TypeError, r"for Gaussians, got int 5"),
    *((lambda f=f: f(P2, 5), TypeError, r"for Gaussians, got int 5; give Gaussian\(mean, cov\)")
      for f in (kl, hellinger, wasserstein, total_variation, product)),
    (lambda: kl(Mixture([1.0], [P2]), P2), TypeError, "a Mixture has none; average"),
    (lambda: kl(stats.norm(), P2), TypeError, "for Gaussians, got rv_continuous_frozen"),
    (lambda: Mixture([1.0], [P2, P2]), ValueError, r"weights must be \(2,\)"),
    (lambda: Mixture([0.5, 0.5], [P2, P3]), ValueError, r"d = \[2, 3\]"),
    (lambda: Mixture([1.0], [1.0]), TypeError, "sequence of Gaussians"),
])
def test_what_is_refused(ask, error, says):
    with pytest.raises(error, match=says):
        ask()


@pytest.mark.parametrize("v", [1e-30, 1e-20, 1e-14, 1e-10, 0.3, 0.49, 0.51, 0.99, 1.0, 1.49, 1.51, 1e10])
def test_kl_of_a_narrow_law_has_its_digits(v):
    exact = (v - 1.0 - math.log(v)) / 2.0
    assert kl(Gaussian(0.0, v), Gaussian(0.0, 1.0)) == pytest.approx(exact, rel=1e-12, abs=EPS)
