"""Heston's stock and its variance (Heston 1993):

    dS = mu S dt + sqrt(v) S dW1,   dv = kappa (theta - v) dt + xi sqrt(v) dW2,   dW1 dW2 = rho dt

v is a square-root process, drawn exactly. Given v at both ends of a step, log S is Gaussian with

    log S' = log S + mu h + K0 + K1 v + K2 v' + sqrt(K3 v + K4 v') Z

where the integral of v is replaced by the trapezoidal rule, the one approximation: K1 = (h/2) (kappa rho/xi - 1/2) -
rho/xi, K2 = K1 + 2 rho/xi, K3 = K4 = (h/2) (1 - rho^2). K0 is chosen such that E S' = S e^{mu h} exactly, by the moment
generating function of v' (Andersen 2008, sections 4.2 and 4.3; "almost exact" in Oosterlee & Grzelak 2019). That is
finite at every step for rho <= 0; for rho > 0 and long steps of a wild variance it is not, E S' is infinite, and K0 is
the plain -kappa theta rho h / xi.
"""

from typing import Any

import numpy as np

from sdekit import draws
from sdekit.processes import cir
from sdekit.processes.check import asked, not_negative, positive, real
from sdekit.sde import SDE, numbers

NODES = 2**23  # of the integral of a call


def drift(x, t, mu, kappa, theta):
    s, v = x
    return mu * s, kappa * (theta - v)


def diffusion(x, t, xi, rho):
    s, v = x
    vol = np.sqrt(np.maximum(v, 0.0))  # full truncation, for other methods than its own
    return (vol * s, 0.0), (rho * xi * vol, np.sqrt(1.0 - rho * rho) * xi * vol)


def transition(x, t, h, place, mu, kappa, theta, xi, rho):
    s, v = x
    decay, d = np.exp(-kappa * h), 4.0 * kappa * theta / (xi * xi)
    c = -xi * xi * np.expm1(-kappa * h) / (4.0 * kappa)
    lam = v * decay / c
    after = c * cir.noncentral(place, d, lam)

    r, half = rho / xi, 0.5 * h
    k1, k3 = half * (kappa * r - 0.5) - r, half * (1.0 - rho * rho)
    k2 = k1 + 2.0 * r
    # E exp(a v') = exp(a c lambda / (1 - 2 a c)) / (1 - 2 a c)^{d/2}; it is infinite from 2 a c = 1 on
    a = k2 + 0.5 * k3
    tilt = 2.0 * a * c
    finite = tilt < 1.0
    safe = np.where(finite, tilt, 0.0)
    exact = 0.5 * d * np.log1p(-safe) - 0.5 * safe * lam / (1.0 - safe) - (k1 + 0.5 * k3) * v
    shift = np.where(finite, exact, -r * kappa * theta * h)
    z = draws.normal(place, 1)
    return s * np.exp(mu * h + shift + k1 * v + k2 * after + np.sqrt(k3 * (v + after)) * z), after


class Heston(SDE):
    """dS = mu S dt + sqrt(v) S dW1, dv = kappa (theta - v) dt + xi sqrt(v) dW2, dW1 dW2 = rho dt; the state is (S, v).

    mu     growth of the mean, a rate; r for prices
    kappa  rate of the variance's way back to theta, > 0
    theta  the level of the variance, >= 0
    xi     volatility of the variance, > 0
    rho    correlation of the two noises, from -1 to 1

    By default `simulate` takes the variance from its exact law and the stock given the variance, `almost_exact`: v is
    never negative, S never NaN, E S(t) exact (for rho > 0, at steps that are not too long). See the module
    for the formulas.

    >>> import sdekit as sk
    >>> stock = sk.Heston(mu=0.05, kappa=2.0, theta=0.04, xi=0.5, rho=-0.7)
    >>> paths = sk.simulate(stock, (100.0, 0.04), t=1.0, steps=12, paths=1000, seed=1)
    >>> paths.info["method"], bool((paths.x > 0.0).all())
    (almost_exact, True)
    """

    transition = staticmethod(transition)
    transition_draws = "P"
    transition_exact = False
    domain = ((0.0, np.inf), (0.0, np.inf))

    def __init__(self, mu: float, kappa: float, theta: float, xi: float, rho: float):
        super().__init__(drift, diffusion, mu=mu, kappa=kappa, theta=theta, xi=xi, rho=rho)
        positive(self, "kappa", "xi")
        not_negative(self, "theta")
        if np.max(np.abs(numbers(self.parameters["rho"]))) > 1:
            raise ValueError(f"Heston needs a correlation rho from -1 to 1, got {self.parameters['rho']}")

    @property
    def volatility(self) -> cir.CoxIngersollRoss:
        """The process of v alone."""
        return cir.CoxIngersollRoss(*(self.parameters[name] for name in ("kappa", "theta", "xi")))

    def mean(self, x0, t):
        """(E S(t), E v(t)) = (S0 e^{mu t}, theta + (v0 - theta) e^{-kappa t}), (..., 2)."""
        (s0, v0), t = asked(self, x0, t)
        return np.stack(np.broadcast_arrays(s0 * np.exp(self.parameters["mu"] * t), self.volatility.mean(v0, t)), -1)

    def characteristic(self, u, x0, t: float):
        """E exp(i u log S(t)), for numbers u or an array of them.

        In the form that does not leave the main branch of the logarithm (Albrecher, Mayer, Schoutens & Tistaert 2007),
        with b - d = -xi^2 q / (b + d), q = iu - (iu)^2, so that it has its digits at a small xi, too.
        """
        from scipy.special import log1p
        (s0, v0), t = asked(self, x0, t)
        if not np.all(np.greater(s0, 0.0)):
            raise ValueError(f"log S needs S > 0, got x0={x0!r}")
        mu, kappa, theta, xi, rho = (self.parameters[name] for name in ("mu", "kappa", "theta", "xi", "rho"))
        iu = 1j * np.asarray(u)
        b = kappa - rho * xi * iu
        q = iu - iu * iu
        d = np.sqrt(b * b + xi**2 * q)
        slope, gone = -q / (b + d), -np.expm1(-d * t)
        ratio = xi**2 * slope * gone / (2.0 * d)  # (1 - g e^{-d t}) / (1 - g) = 1 + ratio, g = (b - d) / (b + d)
        C = kappa * theta * (slope * t - 2.0 / xi**2 * log1p(ratio))
        D = slope * gone * (b + d) / (2.0 * d * (1.0 + ratio))
        return np.exp(C + D * v0 + iu * (np.log(s0) + mu * t))

    def call(self, x0, strike, t: float) -> Any:
        """The price of a European call at the rate mu: e^{-mu t} E max(S(t) - strike, 0), by Lewis 2001, eq. 3.11:

        S0 - sqrt(S0 K) e^{-mu t / 2} / pi int_0^inf Re(e^{i u k} phi(u - i/2)) / (u^2 + 1/4) du, where phi is that of
        log(S / S0) - mu t, and k = log(S0 / K) + mu t.

        x0       (S0, v0), one start, S0 > 0
        strike   K > 0, a number or an array; all strikes share the values of phi
        t        the time to maturity, >= 0; at 0 the payoff

        By the trapezoidal rule, which converges like e^{-pi / h} here, as the integrand is analytic for |Im u| < 1/2
        (Trefethen & Weideman 2014, theorem 5.1). The error is of some 1e-15 (S0 + sqrt(S0 K)), and so is what is left
        of prices far out of the money; they are kept within max(S0 - K e^{-mu t}, 0) and S0. Returns a number, or an
        array of the strikes' shape. Raises TypeError or ValueError outside these bounds, and just before the end,
        where the stock's law is all but a point.

        >>> stock = Heston(mu=0.0, kappa=1.0, theta=0.04, xi=1e-3, rho=0.0)  # all but Black & Scholes
        >>> round(stock.call((100.0, 0.04), strike=100.0, t=1.0), 3)
        7.966
        """
        (s0, v0), t = asked(self, x0, t)
        K = real("strike", strike)
        if any(map(np.ndim, (s0, v0, t, *self.parameters.values()))):
            raise ValueError(f"call takes one start, one time and one number for each parameter of {self!r}; the "
                             "strikes may be an array")
        if not (s0 > 0 and np.all(np.greater(K, 0.0))):
            raise ValueError(f"call needs S0 > 0 and strikes > 0, got x0={x0!r} and strike={strike!r}")
        mu, kappa, theta = (float(self.parameters[name]) for name in ("mu", "kappa", "theta"))
        discount = np.exp(-mu * t)
        floor = np.maximum(s0 - K * discount, 0.0)
        gone = -np.expm1(-kappa * t) / kappa
        width = (theta * (t - gone) + v0 * gone) ** 0.5  # that of log S, roughly: sqrt(E int v dt)
        if width == 0.0:
            return floor
        k = np.log(s0 / np.ravel(K)) + mu * t
        h = np.pi / (40.0 + 0.5 * np.abs(k).max())
        area, some = np.zeros(k.shape), min(4096, max(64, 2**20 // k.size))
        for n in range(0, NODES if 10.0 / width < NODES * h else 0, some):
            u = h * np.arange(n, n + some)
            phi = self.characteristic(u - 0.5j, (discount, v0), t) / (u * u + 0.25)
            area += h * (np.exp(1j * np.outer(k, u)) * phi).real.sum(axis=1)
            area -= 0.5 * h * phi[0].real * (n == 0)
            if not np.abs(phi[-1]) > 1e-18:
                break
        else:
            raise ValueError(f"in t={t:g} log S moves by about {width:.1g}, too little for this integral; but for such "
                             "a part of S0 the price is the payoff, which t=0 gives")
        price = s0 - np.sqrt(s0 * np.asarray(K) * discount) / np.pi * area.reshape(np.shape(K))
        price = np.clip(price, floor, s0)
        return price if np.ndim(K) else float(price)
