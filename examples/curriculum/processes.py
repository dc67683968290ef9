"""Rows 7 to 12 and 24: Brownian motion, drift, stocks and their options, orders, jumps, time reversal."""

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import ks_2samp, kstest

import sdekit as sk
from examples.curriculum.rows import K, Number, bare, claim, near, row
from sdekit.plot import envelope, fan, orders


@row(7, "Brownian motion, dX = dW")
def brownian(figure: Figure) -> list[Number]:
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    process = sk.BrownianMotion()
    few = sk.simulate(process, 0.0, t=10.0, steps=1000, paths=5, seed=1)
    envelope(few, process.mean(0.0, few.t), process.variance(0.0, few.t) ** 0.5, left)
    left.set_title("5 runs of 1000 steps inside ±1 and ±2 sd")

    n = 100_000
    many = sk.simulate(process, 0.0, t=10.0, steps=4, paths=n, seed=2)
    steps = np.diff(many.x, axis=1)
    for k, color in ((1, "C0"), (2, "C1"), (4, "C2")):
        grid = np.linspace(-12, 12, 300)
        right.hist(many.x[:, k], np.linspace(-12, 12, 61), density=True, color=color, alpha=0.4,
                   label=f"t = {many.t[k]:g}")
        right.plot(grid, process.law(0.0, many.t[k]).pdf(grid), color=color)
    bare(right, f"{n:,} paths and N(0, t)", "W(t)").legend(frameon=False)
    correlation = np.corrcoef(steps[:, 0], steps[:, 2])[0, 1]
    p = kstest(many.final, process.law(0.0, 10.0).cdf).pvalue
    return [
        near("Var W(10)", 10.0, many.x[:, -1].var(), K * 10 * (2 / n) ** 0.5),
        near("correlation of two increments", 0.0, correlation, K * n**-0.5),
        claim("W(10) ~ N(0, 10)", f"Kolmogorov-Smirnov p = {p:.2f}", p > 1e-4),
        near("largest step over Levy's modulus of continuity, (2 h ln(T/h))^(1/2)", 1.0,
             np.abs(np.diff(few.x, axis=1)).max() / (0.02 * np.log(1000)) ** 0.5, 0.2, 3),
    ]


@row(8, "Growth with noise, dX = 0.1 X dt + dW from 10")
def growth(figure: Figure) -> list[Number]:
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    process, n = sk.LinearDrift(a=0.1), 100_000
    few = sk.simulate(process, 10.0, t=10.0, steps=1000, paths=5, seed=2)
    still = sk.integrate(process, 10.0, t=10.0, steps=1000)
    envelope(few, process.mean(10.0, few.t), process.variance(10.0, few.t) ** 0.5, left)
    left.plot(still.t, still.x[0], color="C3", linewidth=2, label="without noise")
    bare(left, "5 runs, and the curve without noise", "t", "X").legend(frameon=False)
    final = sk.simulate(process, 10.0, t=10.0, steps=10, paths=n, seed=3).final
    law, grid = process.law(10.0, 10.0), np.linspace(10, 45, 300)
    right.hist(final, 80, density=True, alpha=0.4, label=f"{n:,} paths")
    right.plot(grid, law.pdf(grid), color="C0", label="exact law")
    right.axvline(10 * np.e, color="C3", label="10 e")
    bare(right, "at t = 10", "X(10)").legend(frameon=False)
    v = (np.exp(2.0) - 1) / 0.2
    return [
        near("the curve without noise at t = 10, 10 e", 10 * np.e, float(still.final[0]), 1e-9, 10),
        near("mean at t = 10", 10 * np.e, final.mean(), K * (v / n) ** 0.5),
        near("variance at t = 10, (e^2 - 1) / 0.2", v, final.var(), K * v * (2 / n) ** 0.5),
    ]


@row(9, "Stocks: geometric Brownian motion")
def stocks(figure: Figure) -> list[Number]:
    left, middle, right = figure.subplots(1, 3)
    mu, sigma, n = 0.05, 0.2, 200_000
    gbm = sk.GeometricBrownianMotion(mu, sigma)
    fan(sk.simulate(gbm, 100.0, steps=252, paths=5000, seed=4), left, lines=3)
    left.set_title("a year of daily prices")
    final = sk.simulate(gbm, 100.0, steps=4, paths=n, seed=5, save="final").final
    grid = np.linspace(40, 220, 400)
    middle.hist(final, 100, density=True, alpha=0.4)
    middle.plot(grid, gbm.law(100.0, 1.0).pdf(grid), color="C0")
    bare(middle, f"{n:,} prices, and lognormal", "S(1)")
    W = sk.Brownian(seed=6, t=1.0, steps=256, paths=2)
    on_it = sk.simulate(gbm, 100.0, noise=W, steps=256, method=sk.exact)
    by_hand = 100.0 * np.exp((mu - sigma**2 / 2) * on_it.t + sigma * W(on_it.t))
    euler = sk.simulate(gbm, 100.0, noise=W, steps=16, method=sk.euler_maruyama)
    right.plot(on_it.t, by_hand.T, color="C0", linewidth=0.8)
    right.plot(euler.t, euler.x.T, "o--", color="C1", markersize=3, linewidth=0.8)
    bare(right, "on one W: exact, Euler", "t")
    mean, variance = 100 * np.exp(mu), 1e4 * np.exp(2 * mu) * np.expm1(sigma**2)
    fourth = ((final - final.mean()) ** 4).mean()
    return [
        near("mean of S(1), 100 e^0.05", mean, final.mean(), K * (variance / n) ** 0.5),
        near("variance of S(1)", variance, final.var(), K * ((fourth - variance**2) / n) ** 0.5),
        near("largest difference to the solution on the same W", 0.0, np.abs(on_it.x - by_hand).max(), 1e-10),
    ]


@row(11, "Any diffusion process: Euler-Maruyama's orders, measured")
def euler_orders(figure: Figure) -> list[Number]:
    left, right = figure.subplots(1, 2)
    sde = sk.SDE(lambda x, t, a: a * x, lambda x, t, b: b * x, a=1.01, b=0.87)
    found = sk.convergence(sde, 0.5, methods=[sk.euler_maruyama, sk.sri], steps=(8, 16, 32, 64), paths=8000, seed=7)
    orders(found, left)
    left.set_title("strong: on a given path")
    orders(found, right, of="E X")
    right.set_title("weak: of the mean")
    for ax in (left, right):
        ax.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.17), fontsize=9)
    strong, weak = found.order(sk.euler_maruyama), found.order(sk.euler_maruyama, "E X")
    return [
        near("strong order of Euler-Maruyama", 0.5, strong.estimate, 0.15, 3),
        near("weak order of Euler-Maruyama", 1.0, weak.estimate, 0.15, 3),
    ]


@row(12, "Discrete or continuous: a queue beside a stock, the same call plots both")
def queue(figure: Figure) -> list[Number]:
    left, right = figure.subplots(1, 2)
    line, n = sk.Queue(arrivals=1.0, services=1.5), 40_000
    fan(sk.simulate(line, 0.0, t=20.0, steps=200, paths=4000, seed=8), left, lines=3)
    left.set_title("length of an M/M/1 queue")
    fan(sk.simulate(sk.GeometricBrownianMotion(0.05, 0.2), 100.0, t=20.0, steps=400, paths=400, seed=8), right, lines=3)
    right.set_title("a stock")
    x = sk.simulate(line, 2.0, t=5.0, steps=2, paths=n, seed=9, save="final", backend="numpy").final
    p = line.probabilities(2, 5.0)
    counts = np.bincount(x.astype(int), minlength=len(p))
    worst = np.argmax(np.abs(counts[:8] / n - p[:8]) / (p[:8] * (1 - p[:8]) / n) ** 0.5)
    clicks = sk.simulate(sk.PoissonProcess(3.0), 0.0, t=2.0, steps=2, paths=n, seed=10, save="final",
                         backend="numpy").final
    settled = line.probabilities(2, 200.0)
    return [
        near(f"P({worst} customers at t = 5, from 2), the worst of 8", p[worst], counts[worst] / n,
             K * (p[worst] * (1 - p[worst]) / n) ** 0.5),
        near("in the long run P(empty) = 1 - 1/1.5", 1 / 3, float(settled[0]), 1e-4),
        near("Poisson process of rate 3: mean at t = 2", 6.0, clicks.mean(), K * (6 / n) ** 0.5),
        near("its variance", 6.0, clicks.var(), K * ((6 + 2 * 36) / n) ** 0.5),
    ]


@row(24, "Anderson's reversal and the probability flow", size=(10.0, 7.0))
def reversal(figure: Figure) -> list[Number]:
    axes = figure.subplots(2, 2)
    numbers, n = [], 20_000
    cases = {"Gaussian": _gaussian(), "mixture": _mixture(), "Ornstein-Uhlenbeck": _ou(), "geometric": _gbm()}
    for ax, (name, (sde, score, T, start, end)) in zip(axes.flat, cases.items()):
        x0, xT = start(n, 11), end(n, 12)
        back = sk.simulate(sk.reverse(sde, score, T), xT, t=T, steps=800, seed=13, save="final", backend="numpy").final
        flow = sk.integrate(sk.probability_flow(sde, score, T), xT, t=T, steps=100, save="final", backend="numpy").final
        p, q = ks_2samp(back, x0).pvalue, ks_2samp(flow, x0).pvalue
        edges = np.linspace(*np.quantile(x0, [0.002, 0.998]), 60)
        ax.hist(xT, edges, density=True, color="0.85", label="at T")
        ax.hist(x0, edges, density=True, color="C0", alpha=0.35, label="the start")
        ax.hist(back, edges, density=True, histtype="step", color="C1", label=f"reversed (p = {p:.2f})")
        ax.hist(flow, edges, density=True, histtype="step", color="C2", label=f"flow (p = {q:.2f})")
        bare(ax, name).legend(frameon=False, fontsize=8)
        numbers += [claim(f"{name}: the reversed SDE ends in the starting law", f"two samples, p = {p:.3f}", p > 1e-4),
                    claim(f"{name}: the flow does too", f"two samples, p = {q:.3f}", q > 1e-4)]
    exact, error = float(np.exp(GBM_MEAN + GBM_SD**2 / 2)), flow.std() / n**0.5  # of the last case
    flat = sk.integrate(lambda x, s: -(0.1 * x - 0.08 * x * x * score(x, 1.0 - s)), xT, t=1.0, steps=100, save="final",
                        backend="numpy").final.mean()
    sde, mixed, T, *_ = cases["mixture"]
    found = sk.convergence(sk.reverse(sde, mixed, T), 0.4, T, steps=(32, 64, 128, 256), paths=1000, seed=14)
    numbers.append(near("mixture: strong order of Euler-Maruyama on the reversed SDE, whose noise is additive", 1.0,
                        found.order(sk.euler_maruyama).estimate, 0.15, 3))
    return [*numbers, near("geometric: mean at the end of the flow", exact, flow.mean(), K * error, 4),
            claim("without div D, which the courses leave out, the flow would end elsewhere",
                  f"its mean is {flat:.4g}", abs(flat - exact) > 10 * error)]


# (SDE, score at (x, s), T, samples of the start, samples of the end); score of N(m, v) is (m - x) / v

def _normals(n: int, seed: int) -> np.ndarray:
    return sk.normals(seed, paths=n)[:, 0, 0]


def _gaussian():
    v = 0.25
    return (sk.BrownianMotion(), lambda x, s: (1.0 - x) / (v + s), 2.0, lambda n, seed: 1.0 + 0.5 * _normals(n, seed),
            lambda n, seed: 1.0 + (v + 2.0) ** 0.5 * _normals(n, seed))


def _mixture():
    v = 0.1  # of the two halves, around -1 and 1

    def score(x, s):
        return (np.tanh(x / (v + s)) - x) / (v + s)

    def sample(n, seed, s):
        side = np.where(sk.uniforms(seed, 1, n)[:, 0, 0] < 0.5, -1.0, 1.0)
        return side + (v + s) ** 0.5 * _normals(n, seed)

    return sk.BrownianMotion(), score, 1.5, lambda n, seed: sample(n, seed, 0.0), lambda n, seed: sample(n, seed, 1.5)


def _ou():
    m, v, T = 2.0, 0.3, 1.0
    at = lambda s: (m * np.exp(-s), 1.0 + (v - 1.0) * np.exp(-2 * s))

    def score(x, s):
        return (m * np.exp(-s) - x) / (1.0 + (v - 1.0) * np.exp(-2 * s))

    def sample(n, seed, s):
        mean, variance = at(s)
        return mean + variance**0.5 * _normals(n, seed)

    return (sk.OrnsteinUhlenbeck(kappa=1.0, sigma=2**0.5), score, T, lambda n, seed: sample(n, seed, 0.0),
            lambda n, seed: sample(n, seed, T))


GBM_MEAN, GBM_SD = 0.0, 0.459  # of log S at the start: its mean is 1.111


def _gbm():
    mu, sigma, T = 0.1, 0.4, 1.0
    drift = mu - sigma**2 / 2

    def score(x, s):
        return -(1.0 + (np.log(x) - GBM_MEAN - drift * s) / (GBM_SD**2 + sigma**2 * s)) / x

    def sample(n, seed, s):
        return np.exp(GBM_MEAN + drift * s + (GBM_SD**2 + sigma**2 * s) ** 0.5 * _normals(n, seed))

    return (sk.GeometricBrownianMotion(mu, sigma), score, T, lambda n, seed: sample(n, seed, 0.0),
            lambda n, seed: sample(n, seed, T))
