"""Square roots: the process of Cox, Ingersoll & Ross and Heston's stock, against laws written a second time.

X(t + h) / c is non-central chi-square. The moments here come from the differential equations of E X^n, which follow
from Ito's formula; the laws of Heston's steps from their affine form, exp(a + b v), step by step, without sampling.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad, solve_ivp
from scipy.special import gammainc, ndtr
from scipy.stats import ncx2, poisson

import sdekit as sk
from tests.conftest import EPS, array, assert_law, assert_near, rounding

PATHS = 10_000


def drawn(process, x0, **how):
    return sk.simulate(process, x0, **{"paths": PATHS, "seed": 31, "backend": "numpy", **how})


# --- Cox, Ingersoll & Ross

CIRS = {  # (kappa, theta, sigma), x0; d = 4 kappa theta / sigma^2
    "Feller's condition kept, d = 9.2": ((1.2, 0.3, 0.396), 0.5),
    "broken, d = 0.16": ((0.5, 0.04, 0.7), 0.04),
    "d = 0.99": ((1.0, 0.2475, 1.0), 0.3),
    "d = 1": ((1.0, 0.25, 1.0), 0.3),
    "d = 1.01": ((1.0, 0.2525, 1.0), 0.3),
    "from 0": ((2.0, 0.5, 0.8), 0.0),
    "from 0, d = 0.5": ((0.5, 0.25, 1.0), 0.0),
    "slow": ((1e-2, 1.0, 0.5), 2.0),
}
each_cir = pytest.mark.parametrize("parameters, x0", CIRS.values(), ids=CIRS)


def law(parameters, x0, t):
    """P(X(t) <= x), straight from Feller 1951."""
    kappa, theta, sigma = parameters
    c = sigma**2 * (1 - np.exp(-kappa * t)) / (4 * kappa)
    d, lam = 4 * kappa * theta / sigma**2, x0 * np.exp(-kappa * t) / c
    if lam > 100:
        return lambda x: ncx2.cdf(x / c, d, lam)
    n = np.arange(lam / 2 + 8 * lam**0.5 + 15)  # a chi-square of d + 2N, N ~ Poisson(lambda/2), to the smallest x
    return lambda x: poisson.pmf(n, lam / 2) @ gammainc(d / 2 + n[:, None], x / (2 * c))


def moments(parameters, x0, t):
    """E X^n, n = 1..4: dm_n/dt = n kappa (theta m_{n-1} - m_n) + n (n - 1)/2 sigma^2 m_{n-1}."""
    kappa, theta, sigma = parameters
    n = np.arange(1, 5)

    def rate(_, m):
        before = np.append(1.0, m[:-1])
        return n * kappa * (theta * before - m) + n * (n - 1) / 2 * sigma**2 * before

    return solve_ivp(rate, (0.0, t), x0**n * 1.0, method="DOP853", rtol=1e-13, atol=1e-14).y[:, -1]


@each_cir
@pytest.mark.parametrize("t", [1e-3, 0.5, 50.0])
def test_a_square_root_process_has_its_law_after_short_and_long_steps(parameters, x0, t):
    result = drawn(sk.CoxIngersollRoss(*parameters), x0, t=t, steps=1)
    assert result.info["method"].name == "exact" and result.x.min() >= 0
    assert_law(result.final, law(parameters, x0, t))


@each_cir
def test_its_law_is_the_same_whatever_the_steps_between(parameters, x0):
    t = np.array([0.0, 0.01, 0.3, 0.35, 1.0, 2.0])
    result = drawn(sk.CoxIngersollRoss(*parameters), x0, t=t)
    for k in (2, 5):
        assert_law(result.x[:, k], law(parameters, x0, t[k]))
    X, exact = result.x[:, 1:], sk.CoxIngersollRoss(*parameters).covariance(x0, t[1:, None], t[1:])
    centred = X - X.mean(axis=0)
    products = centred[:, :, None] * centred[:, None]
    assert_near(products.mean(axis=0), exact, products.std(axis=0) / PATHS**0.5)


@each_cir
@pytest.mark.parametrize("t", [1e-3, 0.7, 20.0])
def test_mean_and_variance_solve_the_equations_of_the_moments(parameters, x0, t):
    process, m = sk.CoxIngersollRoss(*parameters), moments(parameters, x0, t)
    assert process.mean(x0, t) == pytest.approx(m[0], rel=1e-10)
    assert process.variance(x0, t) == pytest.approx(m[1] - m[0] ** 2, rel=1e-8, abs=1e-12 * m[1])
    assert process.law(x0, t).mean() == pytest.approx(m[0], rel=1e-10)
    assert process.law(x0, t).var() == pytest.approx(m[1] - m[0] ** 2, rel=1e-8, abs=1e-12 * m[1])


@each_cir
def test_its_first_four_moments_are_those_of_the_equations(parameters, x0):
    x, m = drawn(sk.CoxIngersollRoss(*parameters), x0, t=0.7, steps=2, seed=32).final, moments(parameters, x0, 0.7)
    for n in (1, 2):
        assert_near((x**n).mean(), m[n - 1], ((m[2 * n - 1] - m[n - 1] ** 2) / PATHS) ** 0.5)


def test_without_a_level_it_dies_out():
    """theta = 0: P(X(t) = 0) = exp(-lambda/2), and what is left has the mean x0 e^{-kappa t}."""
    kappa, sigma, x0, t = 0.7, 1.1, 0.9, 1.3
    c = sigma**2 * (1 - np.exp(-kappa * t)) / (4 * kappa)
    lam = x0 * np.exp(-kappa * t) / c
    for steps in (1, 5):
        result = drawn(sk.CoxIngersollRoss(kappa, 0.0, sigma), x0, t=t, steps=steps, seed=33)
        p = np.exp(-lam / 2)
        assert_near((result.final == 0).mean(), p, (p * (1 - p) / PATHS) ** 0.5)
        assert_near(result.final.mean(), x0 * np.exp(-kappa * t), (c * c * 4 * lam / PATHS) ** 0.5)
        dead = result.x[:, :-1] == 0
        assert (result.x[:, 1:][dead] == 0).all()  # 0 is never left


def test_each_path_may_have_parameters_of_its_own():
    """Both ways of drawing side by side, and theta = 0 between them: each as if it were alone."""
    kappa = np.array([0.5, 1.0, 2.0, 1.0])
    theta, sigma, x0 = np.array([0.04, 0.3, 0.0, 1.0]), np.array([0.7, 0.4, 0.9, 1.0]), np.array([0.1, 0.0, 1.0, 2.0])
    many = np.repeat(np.arange(4), 10_000)
    result = drawn(sk.CoxIngersollRoss(kappa[many], theta[many], sigma[many]), x0[many], paths=None, t=1.0, steps=2)
    for k in (0, 1, 3):
        assert_law(result.final[many == k], law((kappa[k], theta[k], sigma[k]), x0[k], 1.0))
    one = drawn(sk.CoxIngersollRoss(kappa[2], theta[2], sigma[2]), x0[2], t=1.0, steps=2, first=20_000, paths=100)
    assert (one.x == result.x[20_000:20_100]).all()


@pytest.mark.parametrize("parameters", [(1.2, 0.3, 0.4), (0.5, 0.04, 0.7)])
def test_its_stationary_law_is_kept(parameters):
    process = sk.CoxIngersollRoss(*parameters)
    gamma = process.stationary()
    kappa, theta, sigma = parameters
    assert gamma.mean() == pytest.approx(theta) and gamma.var() == pytest.approx(sigma**2 * theta / (2 * kappa))
    x = drawn(process, gamma, t=3.0, steps=3).final
    assert_law(x, gamma.cdf)
    assert_law(drawn(process, 7.0, t=60.0 / kappa, steps=1).final, gamma.cdf)


def test_it_begins_with_its_drift_and_diffusion():
    """(E X_h - x)/h -> kappa (theta - x) and Var X_h / h -> sigma^2 x, up to terms of order h."""
    kappa, theta, sigma, x0, h = 1.5, 0.4, 0.6, 0.9, 1e-4
    process = sk.CoxIngersollRoss(kappa, theta, sigma)
    x = drawn(process, x0, t=h, steps=1, paths=400_000).final
    f, g = process.drift(x0, 0.0, kappa=kappa, theta=theta), process.diffusion(x0, 0.0, sigma=sigma)
    variance = g * g * h
    assert_near((x - x0).mean(), f * h, (variance / 400_000) ** 0.5, bias=kappa**2 * x0 * h * h)
    assert_near(((x - x0) ** 2).mean(), variance, variance * (2 / 400_000) ** 0.5, bias=4 * variance * h)


@given(st.floats(-6, 3), st.floats(-6, 3), st.none() | st.floats(-6, 6), st.none() | st.floats(-300, 6),
       st.floats(-12, 6))
def test_it_is_never_negative_and_never_nan(kappa, sigma, theta, x0, h):
    """Exponents of 10. The mean stays right to K standard errors of the exact law, and rounding."""
    power = lambda e: 0.0 if e is None else 10.0**e
    process, x0, n = sk.CoxIngersollRoss(power(kappa), power(theta), power(sigma)), power(x0), 400
    with np.errstate(under="ignore"):
        x = drawn(process, x0, t=2 * power(h), steps=2, paths=n).x
    assert np.isfinite(x).all() and (x >= 0).all()
    t = 2 * power(h)
    mean, variance = process.mean(x0, t), process.variance(x0, t)
    # rare but large values (an atom at 0 beside them) have no Gaussian mean: their share has to be seen
    third = 6 * variance**2 / max(mean, 1e-300)  # E |X - m|^3 is of this size where the atom at 0 dominates
    if variance > 0 and third < variance**1.5 * n**0.5 / 40:
        assert_near(x[:, -1].mean(), mean, (variance / n) ** 0.5, bias=n * EPS * mean)


def test_every_execution_draws_the_same_square_roots(backend):
    """Both ways of drawing, in one array."""
    many = np.arange(300) % 3
    process = sk.CoxIngersollRoss(0.5, np.array([0.04, 0.0, 1.3])[many], 0.7)
    ours, numpys = (array(sk.simulate(process, 0.2, t=2.0, steps=7, seed=3, backend=b).x) for b in (backend, "numpy"))
    assert np.abs(ours - numpys).max() <= rounding(7 * 8, numpys)


def test_starts_and_parameters_outside_the_domain_of_a_square_root_are_refused():
    for make, message in ((lambda: sk.CoxIngersollRoss(0.0, 1.0, 1.0), "needs kappa > 0, got 0.0"),
                          (lambda: sk.CoxIngersollRoss(1.0, -1.0, 1.0), "needs theta >= 0, got -1.0"),
                          (lambda: sk.CoxIngersollRoss(1.0, 1.0, 0.0), "needs sigma > 0, got 0.0"),
                          (lambda: drawn(sk.CoxIngersollRoss(1.0, 1.0, 1.0), -1e-9, steps=1),
                           "x0 of CoxIngersollRoss.* must be at least 0, got -1e-09"),
                          (lambda: drawn(sk.Heston(0.0, 1.0, 1.0, 1.0, 0.0), (1.0, -1.0), steps=1),
                           r"x0\[1\] of Heston.* must be at least 0, got -1.0"),
                          (lambda: sk.Heston(0.0, 1.0, 0.04, 0.5, 1.1), "rho from -1 to 1, got 1.1"),
                          (lambda: sk.Heston(0.0, 1.0, 0.04, 0.0, 0.5), "needs xi > 0, got 0.0")):
        with pytest.raises(ValueError, match=message):
            make()


# --- Heston

HESTONS = {  # mu, kappa, theta, xi, rho; S0, v0
    "equity": ((0.025, 1.5768, 0.0398, 0.5751, -0.5711), (100.0, 0.0175)),
    "smooth": ((0.05, 2.0, 0.09, 0.3, -0.3), (100.0, 0.05)),
    "rho > 0": ((0.0, 3.0, 0.04, 0.5, 0.6), (50.0, 0.09)),
}
each_heston = pytest.mark.parametrize("parameters, x0", HESTONS.values(), ids=HESTONS)


def gil_pelaez(parameters, x0, strike, t):
    """The call by Heston 1993, eqs. 10 and 18, with his own form of the characteristic function."""
    mu, kappa, theta, xi, rho = parameters
    s0, v0 = x0

    def share(j):
        u_, b = (0.5, kappa - rho * xi) if j == 1 else (-0.5, kappa)

        def integrand(u):
            d = np.sqrt((rho * xi * u * 1j - b) ** 2 - xi**2 * (2 * u_ * u * 1j - u * u))
            g = (b - rho * xi * u * 1j - d) / (b - rho * xi * u * 1j + d)
            e = np.exp(-d * t)
            C = mu * u * 1j * t + kappa * theta / xi**2 * ((b - rho * xi * u * 1j - d) * t
                                                          - 2 * np.log((1 - g * e) / (1 - g)))
            D = (b - rho * xi * u * 1j - d) / xi**2 * (1 - e) / (1 - g * e)
            return (np.exp(C + D * v0 + 1j * u * np.log(s0 / strike)) / (1j * u)).real

        return 0.5 + quad(integrand, 0, 2000, limit=2000, epsabs=1e-12, epsrel=1e-12)[0] / np.pi

    return s0 * share(1) - strike * np.exp(-mu * t) * share(2)


@each_heston
@pytest.mark.parametrize("strike, t", [(100.0, 1.0), (70.0, 0.25), (130.0, 3.0)])
def test_hestons_call_is_that_of_his_paper(parameters, x0, strike, t):
    assert sk.Heston(*parameters).call(x0, strike, t) == pytest.approx(gil_pelaez(parameters, x0, strike, t), abs=1e-8)


def test_hestons_call_has_the_published_value():
    """Fang & Oosterlee 2008: 5.785155450, of which the last two digits are not right (see the test above)."""
    stock = sk.Heston(mu=0.0, kappa=1.5768, theta=0.0398, xi=0.5751, rho=-0.5711)
    assert stock.call((100.0, 0.0175), 100.0, 1.0) == pytest.approx(5.785155450, abs=2e-8)


def black_scholes(s, strike, mu, variance, t):
    w = (variance * t) ** 0.5
    d = (np.log(s / strike) + mu * t) / w + w / 2
    return s * ndtr(d) - strike * np.exp(-mu * t) * ndtr(d - w)


@pytest.mark.parametrize("xi", [1e-2, 1e-4, 1e-6, 1e-8])
def test_a_variance_that_hardly_moves_is_black_and_scholes(xi):
    """The difference is of the order xi^2 where rho = 0, with no digits lost on the way."""
    stock = sk.Heston(0.03, 1.0, 0.04, xi, 0.0)
    assert stock.call((100.0, 0.04), 90.0, 1.0) == pytest.approx(black_scholes(100.0, 90.0, 0.03, 0.04, 1.0),
                                                                 abs=10 * xi**2 + 1e-11)
    paths = drawn(sk.Heston(0.03, 1.0, 0.04, xi, -0.5), (100.0, 0.04), t=1.0, steps=4, save="final").final
    z = (np.log(paths[:, 0] / 100.0) - 0.03 + 0.02) / 0.2
    assert_near(z.mean(), 0.0, PATHS**-0.5, bias=xi)
    assert_near((z * z).mean(), 1.0, (2 / PATHS) ** 0.5, bias=xi)


@each_heston
def test_the_characteristic_function_knows_mean_and_martingale(parameters, x0):
    stock = sk.Heston(*parameters)
    assert stock.characteristic(0.0, x0, 1.7) == pytest.approx(1.0, abs=1e-14)
    assert stock.characteristic(-1j, x0, 1.7) == pytest.approx(stock.mean(x0, 1.7)[0], rel=1e-12)


@each_heston
@pytest.mark.parametrize("steps", [1, 3, 12])
def test_the_mean_of_hestons_stock_is_exact_at_any_step(parameters, x0, steps):
    result = drawn(sk.Heston(*parameters), x0, t=1.5, steps=steps, seed=34)
    assert result.info["method"] is sk.almost_exact and (result.x >= 0).all()
    s, exact = result.x[..., 0], sk.Heston(*parameters).mean(x0, result.t)
    assert_near(s.mean(axis=0)[1:], exact[1:, 0], s.std(axis=0)[1:] / PATHS**0.5)


@each_heston
def test_hestons_variance_is_the_square_root_process_of_the_same_draws(parameters, x0):
    stock = sk.Heston(*parameters)
    v = drawn(stock, x0, t=1.5, steps=6, paths=500).x[..., 1]
    alone = drawn(stock.volatility, x0[1], t=1.5, steps=6, paths=500).x
    assert np.abs(v - alone).max() <= rounding(6, alone)


class Affine:
    """The law of the scheme itself, E exp(u log S + w v) after n steps, by the affine form of each step: for numbers u.

    A step: log S' = log S + mu h + K0(v) + K1 v + K2 v' + sqrt(K3 (v + v')) Z, v' = c chi'^2_d(lambda).
    """

    def __init__(self, parameters, x0, t, steps):
        self.mu, self.kappa, self.theta, self.xi, self.rho = parameters
        self.x0, self.h, self.steps = x0, t / steps, steps

    def cgf(self, a):
        """(constant, slope) of log E exp(a v') in v."""
        e = np.exp(-self.kappa * self.h)
        c = self.xi**2 * (1 - e) / (4 * self.kappa)
        return -2 * self.kappa * self.theta / self.xi**2 * np.log(1 - 2 * a * c), a * e / (1 - 2 * a * c)

    def characteristic(self, u):
        """E exp(i u log S)."""
        p, h, r = 1j * np.asarray(u), self.h, self.rho / self.xi
        K1 = h / 2 * (self.kappa * r - 0.5) - r
        K2, K3 = K1 + 2 * r, h / 2 * (1 - self.rho**2)
        constant, slope = self.cgf(K2 + K3 / 2)  # of the correction K0 = -constant - (slope + K1 + K3/2) v
        total, w = 0.0 * p, 0.0 * p
        for _ in range(self.steps):
            more, w = self.cgf(p * K2 + p * p * K3 / 2 + w)
            total = total + more + p * (self.mu * h - constant)
            w = w + p * (-slope - K3 / 2) + p * p * K3 / 2
        return np.exp(total + w * self.x0[1] + p * np.log(self.x0[0]))

    def call(self, strike):
        s0, t = self.x0[0], self.h * self.steps
        k, discount = np.log(s0 / strike), np.exp(-self.mu * t)
        integrand = lambda u: (np.exp(-1j * (u - 0.5j) * np.log(strike)) * self.characteristic(u - 0.5j)
                               / (u * u + 0.25)).real
        assert np.isfinite(k)
        return s0 - discount * strike / np.pi * quad(integrand, 0, 400, limit=2000, epsabs=1e-13, epsrel=1e-13)[0]


@each_heston
def test_hestons_steps_have_the_law_of_their_affine_form(parameters, x0):
    """Calls and the moments E sqrt(S), worked out for these very steps, against paths: what is left is Monte Carlo."""
    affine = Affine(parameters, x0, 1.0, 2)
    s = drawn(sk.Heston(*parameters), x0, t=1.0, steps=2, save="final", seed=35, paths=200_000).final[:, 0]
    assert_near((s**0.5).mean(), affine.characteristic(-0.5j).real, (s**0.5).std() / len(s)**0.5)
    for strike in (0.8 * x0[0], x0[0], 1.2 * x0[0]):
        payoff = np.exp(-parameters[0]) * np.maximum(s - strike, 0.0)
        assert_near(payoff.mean(), affine.call(strike), payoff.std() / len(s) ** 0.5)


@each_heston
def test_hestons_steps_are_of_weak_order_2(parameters, x0):
    """The call's error, without sampling: it falls by 4 when the step is halved; 0.15 is what is left of h^3."""
    exact = sk.Heston(*parameters).call(x0, x0[0], 1.0)
    errors = np.array([Affine(parameters, x0, 1.0, n).call(x0[0]) for n in (32, 64, 128)]) - exact
    assert (np.abs(np.log2(errors[:-1] / errors[1:]) - 2) < 0.15).all()


def test_extremes_between_the_points_of_the_grid_are_not_made_up():
    """A Brownian bridge would go below 0."""
    rate, how = sk.CoxIngersollRoss(1.0, 0.04, 0.5), {"steps": 4, "paths": 50, "seed": 1, "backend": "numpy"}
    with pytest.raises(ValueError, match="track with bridge=False, or use method=euler_maruyama"):
        sk.simulate(rate, 0.04, track=sk.minimum(), **how)
    paths = sk.simulate(rate, 0.04, track=sk.minimum(bridge=False), **how)
    assert (paths.tracked["minimum"] == np.minimum.accumulate(paths.x, axis=1)).all()


# --- what closed forms are asked for

def test_a_square_root_from_0_and_from_elsewhere_has_its_laws_side_by_side():
    process = sk.CoxIngersollRoss(0.5, 0.04, 0.7)
    both = process.law([0.0, 0.3], 0.8).cdf(0.1)
    assert both == pytest.approx([law((0.5, 0.04, 0.7), x0, 0.8)(0.1).item() for x0 in (0.0, 0.3)], rel=1e-10)
    for form in (process.variance, process.mean, process.law, lambda x, t: process.covariance(x, t, t)):
        with pytest.raises(ValueError, match=r"x0 of CoxIngersollRoss.* must be at least 0, got -1"):
            form(-1.0, 0.5)
    still = sk.CoxIngersollRoss(0.5, 0.0, 0.7)
    for call in (lambda: still.law(0.3, 1.0), still.stationary):
        with pytest.raises(ValueError, match=r"with theta = 0 .* has an atom at 0"):
            call()


def by_panels(stock, x0, strike, t):
    """Heston's own two probabilities P1, P2 (1993, eq. 18): other integrands, by Gauss and Legendre on 4000 panels."""
    mu, nodes, weights = stock.parameters["mu"], *np.polynomial.legendre.leggauss(10)
    width = 40 / np.sqrt(max(x0[1], stock.parameters["theta"]) * t) / 4000
    u = width * (np.arange(4000)[:, None] + 0.5 * (1 + nodes))
    turn = np.exp(-1j * u * np.log(strike)) / (1j * u)
    half = lambda phi: 0.5 + (0.5 * width * weights * (turn * phi).real).sum() / np.pi
    forward = x0[0] * np.exp(mu * t)
    return x0[0] * half(stock.characteristic(u - 1j, x0, t) / forward) - strike * np.exp(-mu * t) * half(
        stock.characteristic(u, x0, t))


@pytest.mark.parametrize("parameters, x0, t", [((0.05, 2.0, 0.04, 0.5, -0.7), (100.0, 0.04), 1.0),
                                               ((0.05, 2.0, 0.04, 0.5, -0.7), (100.0, 0.04), 1e-3),
                                               ((0.0, 0.5, 0.04, 0.4, 0.6), (100.0, 0.09), 8.0)])
def test_calls_far_out_of_the_money_are_right_and_keep_their_bounds(parameters, x0, t):
    stock, strikes = sk.Heston(*parameters), np.array([[1.0, 20.0, 80.0, 100.0], [125.0, 300.0, 1e3, 1e4]])
    prices = stock.call(x0, strikes, t)
    floor = np.maximum(100.0 - strikes * np.exp(-parameters[0] * t), 0.0)
    assert prices.shape == (2, 4) and (prices >= floor).all() and (prices <= 100.0).all()
    exact = np.array([[by_panels(stock, x0, strike, t) for strike in row] for row in strikes])
    assert np.abs(prices - exact).max() <= 1e-9  # of the panels: 1e4 times what rounding leaves of P1 and P2
    single = [stock.call(x0, strike, t) for strike in strikes.ravel().tolist()]
    assert np.abs(prices.ravel() - single).max() <= 1e-12 and isinstance(single[0], float)
    assert (np.diff(prices.ravel()) <= 1e-12).all()  # it falls with the strike


def test_calls_of_what_does_not_move_are_their_payoff():
    stock, still = sk.Heston(0.05, 2.0, 0.04, 0.5, -0.7), sk.Heston(0.05, 2.0, 0.0, 0.5, -0.7)
    assert stock.call((100.0, 0.04), [90.0, 110.0], 0.0).tolist() == [10.0, 0.0]
    assert still.call((100.0, 0.0), [90.0, 110.0], 1.0) == pytest.approx([100 - 90 * np.exp(-0.05), 0.0], rel=1e-14)
    with pytest.raises(ValueError, match=r"in t=1e-12 log S moves by about 2e-07, .* the payoff, which t=0 gives"):
        stock.call((100.0, 0.04), 100.0, 1e-12)


@pytest.mark.parametrize("x0, strike, t, error, words", [
    ((100.0, 0.04), 0.0, 1.0, ValueError, "call needs S0 > 0 and strikes > 0"),
    ((0.0, 0.04), 100.0, 1.0, ValueError, "call needs S0 > 0 and strikes > 0"),
    ((100.0, 0.04), np.nan, 1.0, ValueError, "strike must be finite"),
    ((100.0, 0.04), None, 1.0, TypeError, "strike must be a real number"),
    ((100.0, 0.04), 100.0, -1.0, ValueError, "t must be a time from 0 on"),
    ((100.0, 0.04), 100.0, [0.5, 1.0], ValueError, "call takes one start, one time"),
    ((100.0, -0.04), 100.0, 1.0, ValueError, r"x0\[1\] of Heston.* must be at least 0, got -0.04"),
    (100.0, 100.0, 1.0, TypeError, "x0 of Heston.* must be a tuple of 2, got 100.0"),
])
def test_calls_of_no_price_are_refused(x0, strike, t, error, words):
    stock = sk.Heston(0.05, 2.0, 0.04, 0.5, -0.7)
    with pytest.raises(error, match=words):
        stock.call(x0, strike, t)
    if "S0" not in words and "strike" not in words and "one start" not in words:
        for form in (stock.mean, lambda x, t: stock.characteristic(0.5, x, t)):
            with pytest.raises(error, match=words):
                form(x0, t)


def test_tolerances_have_no_use_where_the_law_is_exact():
    """Near 0 the steps of a method would shrink to atol / sigma^2."""
    with pytest.raises(ValueError, match=r"drawn from its exact law.* leave out rtol and atol"):
        sk.simulate(sk.CoxIngersollRoss(1.0, 0.04, 0.5), 0.04, t=1.0, paths=8, rtol=1e-3, seed=1)
