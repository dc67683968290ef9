"""Option prices three ways: closed forms against 40 digits, the walk at its order, simulations at their own errors."""

import pickle
from dataclasses import fields
from functools import partial

import mpmath
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import sdekit as sk
from sdekit import black_scholes as bs
from sdekit.antithetic import antithetic
from sdekit.orders import slopes
from tests.conftest import EPS, array, assert_near, rounding
from tests.strategies import numbers

S, STRIKE, R, SIGMA, T = 100.0, 100.0, 0.05, 0.2, 1.0
STOCK = sk.GeometricBrownianMotion(mu=R, sigma=SIGMA)
OPTIONS = {bs.call: lambda s: np.maximum(s - STRIKE, 0.0), bs.put: lambda s: np.maximum(STRIKE - s, 0.0)}
each_option = pytest.mark.parametrize("option", OPTIONS, ids=["call", "put"])

# s, strike, r, sigma, t, q with |d1| below about 10
SETTINGS = st.tuples(numbers(50, 200), numbers(50, 200), numbers(-0.1, 0.2), numbers(0.1, 1), numbers(0.1, 3),
                     numbers(-0.1, 0.2)).filter(lambda a: abs(np.log(a[0] / a[1])) < 8 * a[3] * a[4]**0.5)


# --- closed forms

def test_the_numbers_of_the_literature():
    assert round(bs.call(S, STRIKE, R, SIGMA, T).price, 6) == 10.450584
    assert round(bs.put(S, STRIKE, R, SIGMA, T).price, 6) == 5.573526
    assert round(bs.call(60, 65, r=0.08, sigma=0.3, t=0.25).price, 4) == 2.1334  # Haug 2007, section 1.1.1
    assert round(bs.put(100, 95, r=0.1, sigma=0.2, t=0.5, q=0.05).price, 4) == 2.4648  # section 1.1.2


def exact_price(option, s, strike, r, sigma, t, q):
    """e^{-r t} E max(+-(s e^{(r - q - sigma^2/2) t + sigma t^{1/2} Z} - K), 0), by its antiderivative."""
    mp, sign = mpmath, 1 if option is bs.call else -1
    z = (mp.log(strike / s) - (r - q - sigma**2 / 2) * t) / (sigma * mp.sqrt(t))  # where the payoff begins
    return sign * (s * mp.exp(-q * t) * mp.ncdf(sign * (sigma * mp.sqrt(t) - z))
                   - strike * mp.exp(-r * t) * mp.ncdf(-sign * z))


@each_option
@given(SETTINGS)
def test_price_and_derivatives_to_the_last_digits(option, setting):
    """Of 40 digits, by differences of 40 digits. Allowed: what rounding d1 and d2 in 16 last places does."""
    v = option(*setting)
    s, strike, r, sigma, t, q = setting
    orders = {"price": (0, 0, 0, 0, 0, 0), "delta": (1, 0, 0, 0, 0, 0), "gamma": (2, 0, 0, 0, 0, 0),
              "vega": (0, 0, 0, 1, 0, 0), "theta": (0, 0, 0, 0, 1, 0), "rho": (0, 0, 1, 0, 0, 0),
              "vanna": (1, 0, 0, 1, 0, 0), "volga": (0, 0, 0, 2, 0, 0)}
    assert list(orders) == [f.name for f in fields(v)]
    width, size = sigma * t**0.5, max(s * np.exp(-q * t), strike * np.exp(-r * t))
    d = 1 + (abs(np.log(s / strike)) + (abs(r) + abs(q)) * t) / width + width
    rates = 1 + abs(r) + abs(q) + sigma / t**0.5
    scale = {"price": size, "delta": size / s, "gamma": size / s**2 / width, "vega": size * t**0.5,
             "theta": size * rates, "rho": size * t, "vanna": size / s / sigma, "volga": size * t**0.5 / sigma}
    with mpmath.workdps(40):
        for name, n in orders.items():
            exact = mpmath.diff(partial(exact_price, option), tuple(map(mpmath.mpf, setting)), n) if any(n) else (
                exact_price(option, *map(mpmath.mpf, setting)))
            exact = -exact if name == "theta" else exact
            assert abs(getattr(v, name) - exact) <= 16 * EPS * d**3 * scale[name], name


@given(SETTINGS)
def test_the_equation_parity_and_symmetry(setting):
    s, strike, r, sigma, t, q = setting
    c, p = bs.call(*setting), bs.put(*setting)
    stock, bond = s * np.exp(-q * t), strike * np.exp(-r * t)
    near = 64 * EPS * (stock + bond)
    for v in (c, p):  # theta + (r - q) s V_s + sigma^2 s^2 V_ss / 2 = r V
        left = v.theta + (r - q) * s * v.delta + 0.5 * sigma**2 * s**2 * v.gamma
        assert abs(left - r * v.price) <= near * (1 + sigma / t**0.5)
    assert abs(c.price - p.price - (stock - bond)) <= near
    assert abs(c.price - bs.put(strike, s, q, sigma, t, r).price) <= near * (1 + abs(np.log(s / strike)))
    assert max(stock - bond, 0) <= c.price <= stock and max(bond - stock, 0) <= p.price <= bond


@given(SETTINGS, st.sampled_from(["s", "strike", "r", "sigma"]), numbers(1.01, 1.5))
def test_the_price_moves_as_it_must(setting, name, factor):
    named = dict(zip(("s", "strike", "r", "sigma", "t", "q"), setting))
    up = named | {name: named[name] * factor if name != "r" else named["r"] + factor - 1}
    rise = [bs.call(**up).price - bs.call(**named).price, bs.put(**up).price - bs.put(**named).price]
    signs = {"s": (1, -1), "strike": (-1, 1), "r": (1, -1), "sigma": (1, 1)}[name]
    assert all(sign * r >= -64 * EPS * (up["s"] + up["strike"]) for sign, r in zip(signs, rise))


def test_at_the_end_it_is_the_payoff():
    s = np.array([80.0, 100.0, 120.0])
    for option, sign in ((bs.call, 1), (bs.put, -1)):
        v = option(s, STRIKE, R, SIGMA, 0.0)
        assert (v.price == OPTIONS[option](s)).all()
        assert (v.delta == [(0 if sign > 0 else -1), 0.5 * sign, (1 if sign > 0 else 0)]).all()
        assert (v.gamma == [0, np.inf, 0]).all() and v.theta[1] == -np.inf
        assert not any(np.any(g) for g in (v.vega, v.rho, v.vanna, v.volga))
        inside = s[::2] * sign > STRIKE * sign
        assert np.abs(v.theta[::2] + np.where(inside, sign * R * STRIKE, 0.0)).max() <= 8 * EPS * STRIKE  # interest


def test_without_volatility_it_is_the_forward():
    for sigma in (1e-3, 1e-300):
        v = bs.call([80.0, 120.0], STRIKE, R, sigma, T)
        assert np.abs(v.price - [0.0, 120.0 - STRIKE * np.exp(-R * T)]).max() <= 64 * EPS * STRIKE
        assert (v.delta == [0, 1]).all() and not v.gamma.any() and not v.vega.any() and not v.volga.any()
    at = bs.call(STRIKE, STRIKE, 0.0, 1e-9, T)  # at the forward s sigma (t / 2 pi)^{1/2}
    assert abs(at.price / (STRIKE * 1e-9 / (2 * np.pi)**0.5) - 1) < 1e-6  # 1e-9 is 4e6 last places of 1
    far = bs.call(1.0, 1e6, 0.0, 0.2, 1.0)
    assert far.price == far.delta == 0.0 and bs.put(1.0, 1e6, 0.0, 0.2, 1.0).price == 1e6 - 1.0


def test_rounding_breaks_no_bound():
    """Deep in and out of the money, where the time value is lost in rounding."""
    s, sigma = np.linspace(50.0, 200.0, 301)[:, None], np.array([0.01, 0.03, 0.1, 0.3])
    stock, bond = s * np.exp(-0.02 * T), STRIKE * np.exp(-R * T)
    for option, sign in ((bs.call, 1), (bs.put, -1)):
        assert (option(s, STRIKE, R, sigma, T, 0.02).price >= np.maximum(sign * (stock - bond), 0.0)).all()


def test_arguments_broadcast():
    strike, t = np.array([90.0, 100.0, 110.0]), np.array([[0.0], [0.5], [1.0], [2.0]])
    grid = bs.put(S, strike, R, SIGMA, t, 0.01)
    for f in fields(grid):
        each = [[getattr(bs.put(S, k, R, SIGMA, u, 0.01), f.name) for k in strike] for u in t[:, 0]]
        assert np.array_equal(getattr(grid, f.name), each)
        assert isinstance(each[0][0], float)


@each_option
@given(SETTINGS)
def test_implied_volatility_finds_the_way_back(option, setting):
    """To the rounding of the price, over the vega."""
    s, strike, r, sigma, t, q = setting
    v = option(*setting)
    stock, bond = s * np.exp(-q * t), strike * np.exp(-r * t)
    near = 16 * EPS * (stock + bond) / v.vega + 64 * EPS
    assume(near < 1e-3 * sigma)
    assert abs(bs.implied_volatility(option, v.price, s, strike, r, t, q) - sigma) <= near


def test_implied_volatility_of_extreme_prices():
    """Far out of the money down to 1e-250; near the upper bound; at the forward; arrays of them."""
    strike, sigma = np.array([100.0, 300.0, 1e4, 1e4]), np.array([1e-6, 0.2, 0.2, 0.15])
    price = bs.call(S, strike, 0.0, sigma, T).price
    assert price[-1] < 1e-200
    d = np.log(strike / S) / sigma
    found = bs.implied_volatility(bs.call, price, S, strike, 0.0, T)
    assert (np.abs(found / sigma - 1) <= 64 * EPS * (1 + d**2) + 1e-9 * (sigma < 1e-3)).all()
    high = bs.call(S, 120.0, 0.0, 6.0, T).price
    assert high > 0.99 * S and abs(bs.implied_volatility(bs.call, high, S, 120.0, 0.0, T) - 6.0) < 1e-10


def test_what_has_no_price_is_refused():
    for option in OPTIONS:
        for bad, words in (({"sigma": 0.0}, "sigma must be > 0, got 0"), ({"t": -1.0}, "t must be >= 0, got -1"),
                           ({"s": [100.0, -3.0]}, "s must be > 0, got -3"), ({"strike": 0}, "strike must be > 0"),
                           ({"r": np.nan}, "r must be finite"), ({"s": [1.0, 2.0], "t": [1.0, 2.0, 3.0]}, "broadcast")):
            with pytest.raises(ValueError, match=words):
                option(**{"s": S, "strike": STRIKE, "r": R, "sigma": SIGMA, "t": T} | bad)
    with pytest.raises(TypeError, match="s must be a number"):
        bs.call("100", STRIKE, R, SIGMA, T)
    for price in (100.0, 100 - 100 * np.exp(-R), 0.0, -1.0):
        with pytest.raises(ValueError, match=r"between 4\.87705755 and 100"):
            bs.implied_volatility(bs.call, price, S, STRIKE, R, T)
    with pytest.raises(ValueError, match=r"put is worth between 0 and 95\.12"):
        bs.implied_volatility(bs.put, [5.0, 96.0], S, STRIKE, R, T)
    with pytest.raises(ValueError, match="t must be > 0"):
        bs.implied_volatility(bs.call, 5.0, S, STRIKE, R, 0.0)
    with pytest.raises(TypeError, match=r"black_scholes\.call or"):
        bs.implied_volatility("call", 5.0, S, STRIKE, R, T)


# --- the random walk

def test_two_steps_of_the_walk_by_hand():
    u, h = np.exp(0.2 * 0.5**0.5), 0.5
    p = (np.exp(0.03 * h) - 1 / u) / (u - 1 / u)
    by_hand = np.exp(-0.05) * (p**2 * (100 * u**2 - 95) + 2 * p * (1 - p) * (100 - 95))
    found = bs.binomial(lambda s: np.maximum(s - 95.0, 0.0), 100.0, r=0.05, sigma=0.2, t=1.0, steps=2, q=0.02)
    assert abs(found - by_hand) <= rounding(2, 100.0)


@each_option
def test_the_walk_converges_with_order_one(option):
    """At the money an even walk ends on the strike, and the error is smooth; elsewhere it swings below C/steps."""
    steps, payoff = 2 ** np.arange(4, 11), OPTIONS[option]
    error = [bs.binomial(payoff, S, R, SIGMA, T, n) - option(S, STRIKE, R, SIGMA, T).price for n in steps.tolist()]
    measured = slopes(1 / steps, error)
    assert abs(measured.estimate - 1) < 0.01 and measured.low < 1 < measured.high
    many = np.arange(50, 400, 7)
    off = [bs.binomial(payoff, 93.0, R, SIGMA, T, n) - option(93.0, STRIKE, R, SIGMA, T).price for n in many.tolist()]
    assert np.abs(off * many).max() < 4 * abs(error[-1]) * steps[-1]


@given(SETTINGS)
def test_the_walk_is_a_fair_game(setting):
    """The discounted stock costs s e^{-q t}, and so parity holds on the walk."""
    s, strike, r, sigma, t, q = setting
    steps = 20 + int(2 * (r - q) ** 2 * t / sigma**2)
    price = partial(bs.binomial, s=s, r=r, sigma=sigma, t=t, steps=steps, q=q)
    largest = s * np.exp(sigma * (t * steps) ** 0.5)
    assert abs(price(lambda x: x) - s * np.exp(-q * t)) <= rounding(steps, largest)
    gap = price(lambda x: np.maximum(x - strike, 0)) - price(lambda x: np.maximum(strike - x, 0))
    assert abs(gap - s * np.exp(-q * t) + strike * np.exp(-r * t)) <= rounding(steps, largest, strike)


def test_walks_that_cannot_be_fair_are_refused():
    with pytest.raises(ValueError, match=r"p = 1\..*more than .* = 4 steps, got 3"):
        bs.binomial(lambda s: s, S, r=0.2, sigma=0.1, t=1.0, steps=3)
    with pytest.raises(ValueError, match="takes numbers"):
        bs.binomial(lambda s: s, S, r=[0.1, 0.2], sigma=0.1, t=1.0, steps=9)
    with pytest.raises(ValueError, match="one number a path"):
        bs.binomial(lambda s: 1.0, S, r=0.0, sigma=0.1, t=1.0, steps=9)


def test_the_walk_takes_as_many_steps_as_one_likes():
    """The error is -c/steps at the money, the same c from a thousand to 4 10^9 steps."""
    exact = bs.call(S, STRIKE, R, SIGMA, T).price
    c = [(exact - bs.binomial(OPTIONS[bs.call], S, R, SIGMA, T, n)) * n for n in (1000, 10**5, 10**7)]
    assert np.abs(np.array(c[1:]) / c[0] - 1).max() < 0.002
    assert abs(bs.binomial(OPTIONS[bs.call], S, R, SIGMA, T, 4 * 10**9) - exact) < 2e-9


def test_the_walk_is_its_recursion():
    """V_n = e^{-r h} (p V_{n+1}(u S) + (1 - p) V_{n+1}(S/u)), step by step; 1500 steps leave ends of no weight out."""
    for n in (7, 1500):
        h, jump = T / n, SIGMA * (T / n) ** 0.5
        p = (np.exp((R - 0.01) * h) - np.exp(-jump)) / (2 * np.sinh(jump))
        v = OPTIONS[bs.put](90.0 * np.exp(jump * np.arange(-n, n + 1, 2)))
        for _ in range(n):
            v = np.exp(-R * h) * (p * v[1:] + (1 - p) * v[:-1])
        assert abs(bs.binomial(OPTIONS[bs.put], 90.0, R, SIGMA, T, n, 0.01) - v[0]) <= rounding(n, STRIKE)


# --- the same equation on -W

def system_drift(x, t, mu, kappa, theta):
    s, v = x
    return mu * s, kappa * (theta - v)


def system_diffusion(x, t, xi, rho):
    s, v = x
    vol = np.sqrt(np.maximum(v, 0.0))
    return (vol * s, 0.0), (rho * xi * vol, np.sqrt(1 - rho**2) * xi * vol)


HESTON = sk.SDE(system_drift, system_diffusion, mu=0.05, kappa=2.0, theta=0.04, xi=0.3, rho=-0.7)
OWN = sk.SDE(lambda x, t, k: -k * x, lambda x, t, b, k: b * np.sqrt(1 + k * x**2) + t, k=2.0, b=0.5)
PAIR = sk.SDE(lambda x, t: (x[1], -x[0]), lambda x, t: (0.1 * x[0], 0.2))
FALL = sk.UnderdampedLangevin(lambda q, k: -k * q, gamma=1.0, temperature=0.5, k=2.0)


@pytest.mark.parametrize("sde, x0", [(OWN, 1.0), (PAIR, (1.0, 0.5)), (HESTON, (100.0, 0.04)), (FALL, (1.0, 0.0)),
                                     (sk.Stratonovich(OWN.drift, OWN.diffusion, k=2.0, b=0.5), 1.0)])
def test_it_is_the_path_of_the_mirrored_noise(sde, x0):
    noises = 2 if sde in (PAIR, HESTON) else 1
    dw = sk.normals(3, paths=5, steps=12, components=noises) / 12**0.5
    run = partial(sk.simulate, x0=x0, steps=12, backend="numpy")
    other = antithetic(sde)
    assert np.array_equal(run(other, noise=dw).x, run(sde, noise=-dw).x)
    assert not np.allclose(run(other, noise=dw).x, run(sde, noise=dw).x)
    assert other.calculus == sde.calculus and other.parameters == sde.parameters


def test_it_is_so_on_every_backend(backend):
    run = partial(sk.simulate, x0=(100.0, 0.04), steps=8, paths=7, seed=5, save="final")
    known = run(antithetic(HESTON), backend="numpy").final
    found = array(run(antithetic(HESTON), backend=backend).final)
    assert np.abs(found / known - 1).max() <= rounding(8, 10.0)


def test_areas_are_mirrored_too():
    dw, area = sk.normals(3, paths=5, steps=12) / 12**0.5, sk.normals(4, paths=5, steps=12) / 12
    run = partial(sk.simulate, x0=1.0, steps=12, method=sk.sri, backend="numpy")
    assert np.array_equal(run(antithetic(OWN), noise=(dw, area)).x, run(OWN, noise=(-dw, -area)).x)


def test_exact_transitions_are_mirrored():
    for process, x0 in ((sk.BrownianMotion(mu=0.3, sigma=2.0), 1.0), (sk.OrnsteinUhlenbeck(1.0, 2.0, 0.5), 1.0),
                        (sk.LinearDrift(0.1, 1.0), 10.0), (STOCK, S)):
        up, down = (sk.simulate(p, x0, t=2.0, steps=5, paths=50, seed=2) for p in (process, antithetic(process)))
        assert up.info["method"] is down.info["method"] is sk.exact
        if process is STOCK:
            middle = np.log(S) + (R - SIGMA**2 / 2) * up.t
            u, v = np.log(up.x), np.log(down.x)
        else:
            middle, u, v = process.mean(x0, up.t), up.x, down.x
        assert np.abs(0.5 * (u + v) - middle).max() <= rounding(5, u, v)
        assert np.abs(u - v)[:, 1:].min() > 0.0
    dw = sk.normals(3, paths=5, steps=12)[..., 0] / 12**0.5
    follow = partial(sk.simulate, x0=S, steps=12, method=sk.exact, backend="numpy")
    assert np.array_equal(follow(antithetic(STOCK), noise=dw).x, follow(STOCK, noise=-dw).x)


def test_the_same_functions_make_the_same_kernel():
    other = sk.SDE(system_drift, system_diffusion, mu=0.0, kappa=1.0, theta=0.09, xi=0.1, rho=0.0)
    assert antithetic(HESTON).diffusion is antithetic(other).diffusion
    assert antithetic(STOCK).transition is antithetic(sk.GeometricBrownianMotion(0.1, 0.5)).transition


def test_what_is_not_driven_by_normals_has_no_mirror():
    class ByLaw(sk.GeometricBrownianMotion):
        transition_draws = "P"

    with pytest.raises(ValueError, match="without pairs"):
        antithetic(ByLaw(0.1, 0.2))
    with pytest.raises(TypeError, match="only an SDE"):
        antithetic(sk.ODE(lambda x, t: x))
    with pytest.raises(ValueError, match="baoab takes an UnderdampedLangevin"):
        sk.simulate(antithetic(FALL), (1.0, 0.0), steps=3, seed=1, method=sk.baoab)


@pytest.mark.parametrize("sde", [HESTON, STOCK, sk.Stratonovich(system_drift, system_diffusion, **HESTON.parameters)])
def test_mirrors_survive_pickling(sde):
    mirror = antithetic(sde)
    again = pickle.loads(pickle.dumps(mirror))
    x0 = S if sde is STOCK else (S, 0.04)
    a, b = (sk.simulate(e, x0, steps=4, paths=5, seed=6, backend="numpy") for e in (mirror, again))
    assert (a.x == b.x).all() and a.info["method"] is b.info["method"]
    assert again.diffusion is mirror.diffusion and again.calculus == sde.calculus
    assert isinstance(again, sk.Stratonovich) == isinstance(sde, sk.Stratonovich)
    assert repr(mirror) == f"antithetic({sde!r})"


# --- simulated prices

VARIANTS = {"plain": {"antithetic": False}, "antithetic": {}, "control": {"antithetic": False, "control": True},
            "both": {"control": True}}
each_variant = pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)


def priced(option, variant, **how):
    control = {"control": (lambda s: s, S)} if "control" in variant else {}
    return bs.monte_carlo(OPTIONS[option], STOCK, S, T, rate=R, backend="numpy", **(variant | control | how))


def sample_moments(option, variant):
    """Standard deviation and kurtosis of one sample about the line of regression, by quadrature over z."""
    z = np.linspace(-12, 12, 200_001)
    weight = np.exp(-z**2 / 2) / np.exp(-z**2 / 2).sum()
    stock = lambda z: S * np.exp((R - SIGMA**2 / 2) * T + SIGMA * T**0.5 * z)
    folded = lambda f: np.exp(-R * T) * (f(stock(z)) if "antithetic" in variant else (f(stock(z)) + f(stock(-z))) / 2)
    y, c = (v - weight @ v for v in (folded(OPTIONS[option]), folded(lambda s: s)))
    if "control" in variant:
        y = y - (weight @ (y * c)) / (weight @ c**2) * c
    variance = weight @ y**2
    return variance**0.5, weight @ y**4 / variance**2


@each_variant
@each_option
def test_the_price_and_its_stated_error(option, variant):
    n = 100_000
    estimate, (deviation, kurtosis) = priced(option, variant, paths=n, seed=1), sample_moments(option, variant)
    exact = option(S, STRIKE, R, SIGMA, T).price
    assert estimate.n == n
    assert_near(estimate.value, exact, estimate.stderr)
    assert_near(estimate.stderr / (deviation / n**0.5), 1.0, ((kurtosis - 1) / (4 * n)) ** 0.5)


@each_option
def test_pairs_and_control_are_worth_their_work(option):
    """Variance for the same work, against plain samples: a pair is twice the work."""
    plain = sample_moments(option, VARIANTS["plain"])[0]
    gain = {name: (plain / sample_moments(option, v)[0]) ** 2 / (2 - ("antithetic" in v)) for name, v in
            VARIANTS.items()}
    assert gain["antithetic"] > 1.5 and gain["control"] > 2.0 and gain["both"] > 6.0


def test_the_stated_error_is_honest():
    """Over many seeds ((estimate - exact) / stderr)^2 has the mean 1; 2000 paths: their skewness adds below 1%."""
    seeds, exact = 300, bs.call(S, STRIKE, R, SIGMA, T).price
    estimates = [priced(bs.call, {}, paths=2000, seed=seed) for seed in range(seeds)]
    z = np.array([(e.value - exact) / e.stderr for e in estimates])
    assert_near((z**2).mean(), 1.0, (2 / seeds) ** 0.5, bias=0.01)
    assert_near(z.mean(), 0.0, seeds**-0.5, bias=0.02)


def bachelier(deviation):
    """E max(N(0, deviation^2), 0)."""
    return deviation / (2 * np.pi) ** 0.5


def test_systems_of_ones_own():
    """An option to exchange one Brownian motion for another, which Euler's method hits exactly; t from 1 to 3."""
    walks = sk.SDE(lambda x, t: (0.0, 0.0), lambda x, t, a, b, c: ((a, 0.0), (b, c)), a=0.5, b=0.2, c=0.3)
    paid = lambda x: np.maximum(x[:, 0] - x[:, 1], 0.0)
    found = bs.monte_carlo(paid, walks, (1.0, 1.0), (1.0, 3.0), 4, 50_000, rate=0.1, seed=3, backend="numpy")
    assert_near(found.value, np.exp(-0.2) * bachelier((2 * (0.3**2 + 0.3**2)) ** 0.5), found.stderr)


def test_payoffs_of_whole_paths():
    """An option on the mean of W over 4 times, Gaussian with variance sum_jk min(t_j, t_k) / 16."""
    t = np.array([0.25, 0.5, 0.75, 1.0])
    paid = lambda x: np.maximum(x[:, 1:].mean(axis=1), 0.0)
    found = bs.monte_carlo(paid, sk.BrownianMotion(), 0.0, 1.0, 4, 50_000, rate=0.0, seed=3, save="all",
                           backend="numpy")
    assert_near(found.value, bachelier((np.minimum(t[:, None], t).sum() / 16) ** 0.5), found.stderr)


@pytest.mark.parametrize("variant", [VARIANTS["plain"], VARIANTS["both"]], ids=["plain", "both"])
def test_blocks_do_not_matter(monkeypatch, variant):
    whole = priced(bs.put, variant, paths=5000, seed=4)
    monkeypatch.setattr(bs, "BLOCK", 700)
    parts = priced(bs.put, variant, paths=5000, seed=4)
    assert parts.n == whole.n == 5000
    assert abs(parts.value - whole.value) <= rounding(1, S) and abs(parts.stderr / whole.stderr - 1) <= 1e4 * EPS


def test_an_estimate_prints_the_digits_that_it_knows():
    assert str(bs.Estimate(10.4512, 0.0132, 9)) == "10.451 +- 0.013"
    assert str(bs.Estimate(1234.5, 37.0, 9)) == "1234 +- 37" and str(bs.Estimate(2.0, 0.0, 9)) == "2.0 +- 0.0"


def test_what_cannot_be_simulated_is_refused():
    paid = OPTIONS[bs.call]
    price = partial(bs.monte_carlo, rate=R, seed=1, paths=100)
    with pytest.raises(TypeError, match="steps is missing"):
        price(lambda x: x[:, 0], HESTON, (100.0, 0.04), 1.0)
    with pytest.raises(TypeError, match="needs an SDE"):
        price(paid, sk.ODE(lambda x, t: x), S)
    with pytest.raises(TypeError, match="one is an array"):
        price(paid, STOCK, np.full(100, S))
    with pytest.raises(ValueError, match="one number a path"):
        price(paid, HESTON, (100.0, 0.04), steps=4)
    with pytest.raises(ValueError, match=r"finite, but is inf where it gets"):
        price(lambda s: np.where(s > S, np.inf, 0.0), STOCK, S)
    with pytest.raises(ValueError, match="paths must be at least 2"):
        price(paid, STOCK, S, paths=1)
    with pytest.raises(TypeError, match="rate must be a number"):
        price(paid, STOCK, S, rate=None)


def test_hestons_own_steps_are_not_paired_and_eulers_are():
    stock = sk.Heston(mu=0.05, kappa=2.0, theta=0.04, xi=0.3, rho=-0.7)
    price = partial(bs.monte_carlo, lambda x: np.maximum(x[:, 0] - 100.0, 0.0), stock, (100.0, 0.04), rate=0.05, seed=1,
                    paths=20_000, steps=12, backend="numpy")
    own, again, pairs = price(), price(antithetic=False), price(method=sk.euler_maruyama)
    assert own == again and pairs.stderr < 0.8 * own.stderr
    exact = stock.call((100.0, 0.04), 100.0, 1.0)
    assert_near(own.value, exact, own.stderr)
    with pytest.raises(ValueError, match="no -W"):
        price(antithetic=True)


@pytest.mark.parametrize("change, words", [
    ({"payoff": None}, "payoff must be a function of the final states, .* got None"),
    ({"payoff": lambda s: max(s - 1.0, 0.0)}, "must work on all of them at once; write np.maximum in place of max"),
    ({"payoff": lambda s: "paid"}, "the payoff must give numbers"),
    ({"payoff": lambda s: None}, "the payoff must give numbers"),
    ({"control": 5}, r"control must be \(function, its price\), .* got 5"),
    ({"control": (100.0, lambda s: s)}, "the first of control must be a function"),
    ({"control": (lambda s: s, None)}, "the price of the control must be a number"),
    ({"rate": [0.0, 0.1]}, r"rate must be one number, got an array of shape \(2,\)"),
    ({"antithetic": "yes"}, "antithetic must be True, False or None, got 'yes'"),
])
def test_wrong_payoffs_and_controls_are_refused(change, words):
    how = {"payoff": OPTIONS[bs.call], "rate": R, **change}
    with pytest.raises(TypeError, match=words):
        bs.monte_carlo(sde=STOCK, x0=S, paths=100, seed=1, **how)


def test_a_walk_needs_a_payoff():
    for wrong, words in ((None, "payoff must be a function"), (lambda s: max(s - 1.0, 0.0), "np.maximum")):
        with pytest.raises(TypeError, match=words):
            bs.binomial(wrong, S, R, SIGMA, T, 9)
    with pytest.raises(ValueError, match="x0 is an empty tuple"):
        bs.monte_carlo(OPTIONS[bs.call], HESTON, (), steps=3, rate=R, seed=1)
