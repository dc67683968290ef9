"""European options on a stock, dS = (r - q) S dt + sigma S dW, in the risk-neutral measure.

    V(s, t) = e^{-r t} E payoff(S(t)),  S(0) = s                 t the time to maturity, q the dividend yield

    d1 = (ln(s/K) + (r - q + sigma^2/2) t) / (sigma t^{1/2}),    d2 = d1 - sigma t^{1/2}
    call = s e^{-q t} N(d1) - K e^{-r t} N(d2),                  put = K e^{-r t} N(-d2) - s e^{-q t} N(-d1)

Three ways to one number: the closed forms above (Black & Scholes 1973, eq. 13; Merton 1973 for q), the random walk
whose steps are exp(+-sigma h^{1/2}) (`binomial`), and the mean over simulated paths of any SDE (`monte_carlo`).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from sdekit.antithetic import antithetic as mirrored
from sdekit.inputs import saved_times, time_grid
from sdekit.methods import Method, own_method
from sdekit.noise import MAX_PATHS, check_seed, whole
from sdekit.sde import SDE
from sdekit.simulation import simulate
from sdekit.starts import is_random

BLOCK = 2**22  # numbers that are held at once; the result depends on it by rounding alone


@dataclass(frozen=True)
class Valuation:
    """What an option is worth, V(s, r, sigma, t), and its derivatives; numbers, or arrays where an argument was one.

    delta  dV/ds           gamma  d2V/ds2
    vega   dV/dsigma       volga  d2V/dsigma2      vanna  d2V/ds dsigma
    theta  -dV/dt, for the passing of a unit of time
    rho    dV/dr
    """

    price: Any
    delta: Any
    gamma: Any
    vega: Any
    theta: Any
    rho: Any
    vanna: Any
    volga: Any


def call(s, strike, r, sigma, t, q=0.0) -> Valuation:
    """The right to buy at the strike: payoff max(S(t) - K, 0), worth s e^{-q t} N(d1) - K e^{-r t} N(d2).

    s, strike  > 0, in one currency
    r, q       interest rate and dividend yield, continuous, per unit of time
    sigma      volatility > 0, per square root of the unit of time
    t          time to maturity >= 0; at 0 the price is the payoff, and gamma and theta at s = strike are infinite

    All are numbers or arrays that broadcast. Returns a `Valuation`. Raises TypeError or ValueError outside these
    bounds. Source: Black & Scholes 1973, eq. 13; the derivatives: Haug 2007, chapter 2.

    >>> v = call(100.0, 100.0, r=0.05, sigma=0.2, t=1.0)
    >>> round(v.price, 6), round(v.delta, 6)
    (10.450584, 0.636831)
    >>> call(100.0, [90.0, 100.0, 110.0], r=0.05, sigma=0.2, t=1.0).price.round(4)
    array([16.6994, 10.4506,  6.0401])
    """
    return _valuation(1.0, *_arguments(s, strike, r, sigma, t, q))


def put(s, strike, r, sigma, t, q=0.0) -> Valuation:
    """The right to sell at the strike: payoff max(K - S(t), 0), worth K e^{-r t} N(-d2) - s e^{-q t} N(-d1).

    All else as in `call`; call - put = s e^{-q t} - K e^{-r t}.

    >>> round(put(100.0, 100.0, r=0.05, sigma=0.2, t=1.0).price, 6)
    5.573526
    """
    return _valuation(-1.0, *_arguments(s, strike, r, sigma, t, q))


def _valuation(sign, s, strike, r, sigma, t, q) -> Valuation:
    """Of calls (sign 1) and puts (-1)."""
    from scipy.special import ndtr  # loaded where it is needed: it takes longer than all of sdekit
    root = np.sqrt(t)
    width = sigma * root
    stock, bond = s * np.exp(-q * t), strike * np.exp(-r * t)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        d1 = (np.log(s / strike) + (r - q + 0.5 * sigma**2) * t) / width
        d1 = np.where(np.isnan(d1), 0.0, d1)  # t = 0 at s = strike: the middle of the step
        d2 = d1 - width
        density = np.exp(-0.5 * d1**2) / math.sqrt(2.0 * math.pi)
        some = density > 0.0  # it vanishes faster than all that it is multiplied with grows
        per_root, once, twice = (np.where(some, density * factor, 0.0) for factor in (1.0 / root, d2, d1 * d2))
    above, below = sign * stock * ndtr(sign * d1), sign * bond * ndtr(sign * d2)
    floor = np.maximum(sign * (stock - bond), 0.0)
    found = Valuation(
        price=np.maximum(above - below, floor),  # rounding may fall below it
        delta=above / s,
        gamma=stock / s**2 * per_root / sigma,
        vega=stock * root * density,
        theta=-0.5 * stock * sigma * per_root - r * below + q * above,
        rho=t * below,
        vanna=-stock / s * once / sigma,
        volga=stock * root * twice / sigma,
    )
    return Valuation(*(float(v) if np.ndim(v) == 0 else v for v in vars(found).values()))


def implied_volatility(option: Callable[..., Valuation], price, s, strike, r, t, q=0.0):
    """The sigma for which option(s, strike, r, sigma, t, q).price is `price`.

    option   `call` or `put`
    price    between the bounds that hold without arbitrage: max(s e^{-q t} - K e^{-r t}, 0) and s e^{-q t} for a call,
             max(K e^{-r t} - s e^{-q t}, 0) and K e^{-r t} for a put, both excluded; t > 0

    Newton's method from sigma = |2 ln(s e^{-q t} / K e^{-r t}) / t|^{1/2}, where the price turns from convex to
    concave, so that every step goes the same way (Manaster & Koehler 1982). The result is as good as the
    rounding of the price over its vega: deep in the money few digits are left.

    Returns a number, or an array. Raises TypeError or ValueError outside these bounds.

    >>> round(implied_volatility(call, 10.450583572185565, 100.0, 100.0, r=0.05, t=1.0), 12)
    0.2
    """
    if option not in (call, put):
        raise TypeError(f"implied_volatility needs black_scholes.call or black_scholes.put, got {option!r}")
    s, strike, r, _, t, q = _arguments(s, strike, r, 1.0, t, q)
    price = _real("price", price)
    if np.any(t == 0.0):
        raise ValueError("at t = 0 an option is worth its payoff whatever the volatility; t must be > 0")
    sign = 1.0 if option is call else -1.0
    stock, bond = s * np.exp(-q * t), strike * np.exp(-r * t)
    low, high = np.maximum(sign * (stock - bond), 0.0), stock if option is call else bond
    price, low, high = np.broadcast_arrays(price, low, high)
    outside = ~((low < price) & (price < high))
    if outside.any():
        raise ValueError(f"without arbitrage this {option.__name__} is worth between {low[outside][0]:.10g} and "
                         f"{high[outside][0]:.10g}, both excluded; got price={price[outside][0]:.10g}")
    # At the forward the turn is at sigma = 0, where the price is a straight line in sigma.
    sigma = np.maximum(np.sqrt(2.0 * np.abs(np.log(stock / bond)) / t), 1e-8 / np.sqrt(t)) * np.ones_like(price)
    forwards = None
    while True:
        v = _valuation(sign, s, strike, r, sigma, t, q)
        step = (price - v.price) / v.vega
        forwards = np.sign(step) if forwards is None else forwards
        going = (np.sign(step) == forwards) & (np.abs(step) > 1e-16 * sigma)  # a step back is rounding
        if not going.any():
            return float(sigma) if sigma.ndim == 0 else sigma
        sigma = np.where(going, np.maximum(sigma + step, 0.5 * sigma), sigma)


def binomial(payoff: Callable, s: float, r: float, sigma: float, t: float, steps: int, q: float = 0.0) -> float:
    """The price on a random walk: each step of h = t/steps multiplies the stock by u = e^{sigma h^{1/2}} or by 1/u.

    V_n = e^{-r h} (p V_{n+1}(u S) + (1 - p) V_{n+1}(S/u)),   p = (e^{(r - q) h} - 1/u) / (u - 1/u)

    payoff   a function of the final stock prices, an array
    steps    of the walk; the error falls as 1/steps

    p is the one probability for which the discounted stock is a fair game. The option is European, so that the
    recursion is one sum, V_0 = e^{-r t} sum_k P(k of the steps go up) payoff(s u^k u^{k - n}); the work is
    that of the 40 steps^{1/2} ends whose probability is not 0 in double precision. The other arguments are those of
    `call`, numbers with t > 0. Raises TypeError or ValueError outside their bounds, and where the steps are too long
    for p to lie between 0 and 1. Source: Cox, Ross & Rubinstein 1979, eq. 6.

    >>> round(binomial(lambda s: np.maximum(s - 100.0, 0.0), 100.0, r=0.05, sigma=0.2, t=1.0, steps=1000), 2)
    10.45
    """
    _function("payoff", payoff)
    values = _arguments(s, 1.0, r, sigma, t, q)
    if any(map(np.ndim, values)) or not t > 0.0:
        raise ValueError(f"binomial takes numbers, with t > 0; got s={s!r}, r={r!r}, sigma={sigma!r}, t={t!r}, q={q!r}")
    steps = whole("steps", steps, 2**32, start=1)
    h = t / steps
    jump = sigma * h**0.5
    p = (math.expm1((r - q) * h) - math.expm1(-jump)) / (2.0 * math.sinh(jump))
    if not 0.0 < p < 1.0:
        raise ValueError(f"with steps of {h:g} the walk would go up with p = {p:.4g}; take more than "
                         f"(r - q)^2 t / sigma^2 = {(r - q) ** 2 * t / sigma**2:.4g} steps, got {steps}")
    from scipy.stats import binom
    # Hoeffding 1963: |k - p steps| > 20 steps^{1/2} has a probability below 2 e^{-800}
    near = 20.0 * steps**0.5
    k = np.arange(max(0, math.floor(p * steps - near)), min(steps, math.ceil(p * steps + near)) + 1)
    paid = _paid(payoff, s * np.exp(jump * (2 * k - steps)))
    return float(math.exp(-r * t) * (binom.pmf(k, steps, p) @ paid))


@dataclass(frozen=True)
class Estimate:
    """A mean over n independent samples, and its standard error.

    >>> print(Estimate(10.4532, 0.0147, 10_000))
    10.453 +- 0.015
    """

    value: float
    stderr: float
    n: int

    def __str__(self) -> str:
        if not 0.0 < self.stderr < math.inf:
            return f"{self.value} +- {self.stderr}"
        digits = max(0, 1 - math.floor(math.log10(self.stderr)))
        return f"{self.value:.{digits}f} +- {self.stderr:.{digits}f}"


def monte_carlo(payoff: Callable, sde: SDE, x0, t: Any = 1.0, steps: int | None = None, paths: int = 100_000, *,
                rate: float, seed: int | None = None, antithetic: bool | None = None,
                control: tuple[Callable, float] | None = None, save: Any = "final", method: Method | None = None,
                backend: str = "auto", threads: int | None = None, stream: int = 0) -> Estimate:
    """The price e^{-rate t} E payoff(X) of a European option, from simulated paths of any SDE.

    payoff      a function of the final state, (paths,) or (paths, dim) for a system, that returns (paths,); with `save`
                other than "final" it gets the values at all saved times, (paths, times) or (paths, times, dim)
    sde         the state in the risk-neutral measure: its stock has the drift (r - q) S
    x0          a number, a tuple of numbers, or laws
    steps       one step is enough, and the default, where a process with an exact transition pays by its end
    paths       how many W; sample i depends on (seed, stream, i) alone, and memory does not grow with their number
    rate        r, for discounting over the whole time
    antithetic  follow each W also on -W, and take the mean of the two as one sample: twice the work. By default where
                the steps are driven by normals, as all are but those of Heston's or the square-root process's own
    control     (function, its price): something else that pays function(X) and whose price is known, such as
                (lambda s: s, 100.0), the stock itself without dividends. Its error, times the slope of a regression, is
                taken from that of the option

    `save`, `method`, `backend`, `threads` and `stream` are those of `simulate`. Returns an `Estimate`, whose standard
    error is that of the samples, n = paths; it does not see the bias of the steps. Raises as `simulate`, and TypeError
    or ValueError for a payoff that does not give one finite number a path.

    Sources: Boyle 1977; Glasserman 2003, sections 4.1 and 4.2.

    >>> import sdekit as sk
    >>> stock = sk.GeometricBrownianMotion(mu=0.05, sigma=0.2)
    >>> paid = lambda s: np.maximum(s - 100.0, 0.0)
    >>> print(monte_carlo(paid, stock, 100.0, t=1.0, paths=200_000, rate=0.05, seed=1, antithetic=False))
    10.439 +- 0.033
    >>> print(monte_carlo(paid, stock, 100.0, t=1.0, paths=100_000, rate=0.05, seed=1, control=(lambda s: s, 100.0)))
    10.4412 +- 0.0062
    """
    if not isinstance(sde, SDE):
        raise TypeError(f"monte_carlo needs an SDE, got {sde!r}; make one of two functions by SDE(drift, diffusion)")
    entries = x0 if isinstance(x0, tuple) else (x0,)
    if any(np.ndim(v) for v in (*entries, *sde.parameters.values()) if not is_random(v)):
        raise TypeError("monte_carlo simulates equal paths, block by block; x0 and the parameters must be numbers (or "
                        "laws, for x0), and here one is an array")
    _function("payoff", payoff)
    if control is not None:
        if not isinstance(control, tuple) or len(control) != 2:
            raise TypeError("control must be (function, its price), such as (lambda s: s, 100.0); got "
                            f"{control!r}")
        _function("the first of control", control[0])
    rate, price = (_one(name, v) for name, v in (("rate", rate), ("the price of the control", (control or (0, 0))[1])))
    paths = whole("paths", paths, MAX_PATHS + 1, start=2 if control is None else 3)
    own = own_method(sde)
    if method not in (None, own):
        if own is not None and own.draws == "P":  # its drift and diffusion have a mirrored noise
            sde = SDE(sde.drift, sde.diffusion, **sde.parameters)
        own = None
    if steps is None and save == "final" and np.size(t) < 3 and own is not None and sde.transition_exact:
        steps = 1
    grid = time_grid(t, steps)
    discount = math.exp(-rate * (grid[-1] - grid[0]))
    if antithetic not in (None, True, False):
        raise TypeError(f"antithetic must be True, False or None, got {antithetic!r}")
    functions = [payoff] if control is None else [payoff, control[0]]
    pairs = (own is None or own.draws != "P") if antithetic is None else antithetic
    equations = [sde, mirrored(sde)] if pairs else [sde]
    how = {"seed": check_seed(seed), "method": method, "save": save, "backend": backend, "threads": threads,
           "stream": stream}

    def samples(first: int, count: int) -> np.ndarray:
        """Discounted payoffs, and those of the control: (1 or 2, count)."""
        total = np.zeros((len(functions), count))
        for equation in equations:
            result = simulate(equation, x0, t, steps, count, first=first, **how)
            x = result.values[:, -1] if save == "final" else result.values
            total += [_paid(function, x) for function in functions]
        return discount / len(equations) * total

    block = max(1, BLOCK // (len(saved_times(save, grid)[0]) * max(1, len(entries))))
    n, mean, scatter = 0, np.zeros(len(functions)), np.zeros((len(functions),) * 2)
    for first in range(0, paths, block):
        y = samples(first, min(block, paths - first))
        more, center = y.shape[1], y.mean(axis=1)
        off = center - mean
        spread = (y - center[:, None]) @ (y - center[:, None]).T
        # Chan, Golub & LeVeque 1983
        scatter = scatter + spread + np.outer(off, off) * (n * more / (n + more))
        n, mean = n + more, mean + off * (more / (n + more))
    if control is None:
        return Estimate(float(mean[0]), float((scatter[0, 0] / (n - 1) / n) ** 0.5), n)
    return _controlled(n, mean, scatter, price)


def _controlled(n: int, mean: np.ndarray, scatter: np.ndarray, price: float) -> Estimate:
    """The line of regression of the payoff on the control, at the control's true mean, and its standard error there."""
    (yy, yc), (_, cc) = scatter
    slope, off = (yc / cc, mean[1] - price) if cc > 0.0 else (0.0, 0.0)
    left = max(yy - slope * yc, 0.0) / (n - 2)
    variance = left * (1.0 / n + (off**2 / cc if cc > 0.0 else 0.0))
    return Estimate(float(mean[0] - slope * off), float(variance**0.5), n)


def _function(name: str, value) -> None:
    if not callable(value):
        raise TypeError(f"{name} must be a function of the final states, such as lambda s: np.maximum(s - 100, 0); got "
                        f"{value!r}")


def _one(name: str, value) -> float:
    if np.ndim(value):
        raise TypeError(f"{name} must be one number, got an array of shape {np.shape(value)}")
    return float(_real(name, value))


def _paid(payoff: Callable, x: np.ndarray) -> np.ndarray:
    """payoff(x), one finite number for each row of x."""
    try:
        paid = np.asarray(payoff(x))
    except ValueError as error:
        if "truth value of an array" not in str(error):
            raise
        raise TypeError("the payoff gets an array of states and must work on all of them at once; write np.maximum in "
                        "place of max, and np.where in place of if") from error
    if paid.dtype.kind not in "iufb":
        raise TypeError(f"the payoff must give numbers, one a path, but gave {paid.dtype}: {paid.ravel()[:1]}")
    paid = paid.astype(float)
    if paid.shape != x.shape[:1]:
        raise ValueError(f"the payoff must give one number a path, {x.shape[:1]} for the values {x.shape} that it got, "
                         f"but gave {paid.shape}; a system's components are x[..., 0], x[..., 1]")
    if not np.isfinite(paid).all():
        bad = int(np.argmin(np.isfinite(paid)))
        raise ValueError(f"the payoff must be finite, but is {paid[bad]} where it gets {x[bad]}")
    return paid


def _arguments(s, strike, r, sigma, t, q) -> tuple[np.ndarray, ...]:
    """The arguments as arrays that broadcast, each in its bounds."""
    named = {"s": s, "strike": strike, "r": r, "sigma": sigma, "t": t, "q": q}
    arrays = {name: _real(name, value) for name, value in named.items()}
    for name, good, bound in (("s", np.greater, "> 0"), ("strike", np.greater, "> 0"), ("sigma", np.greater, "> 0"),
                              ("t", np.greater_equal, ">= 0")):
        fits = good(arrays[name], 0.0)
        if not fits.all():
            raise ValueError(f"{name} must be {bound}, got {arrays[name][~fits][0]}")
    try:
        np.broadcast_shapes(*(a.shape for a in arrays.values()))
    except ValueError:
        shapes = ", ".join(f"{name} {a.shape}" for name, a in arrays.items() if a.ndim)
        raise ValueError(f"the arguments must broadcast to one shape, got {shapes}") from None
    return tuple(arrays.values())


def _real(name: str, value) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{name} must be a number or an array of numbers, got {value!r} ({type(value).__name__})")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got {array[~np.isfinite(array)][0]}")
    return array.astype(float)
