"""Rows 10 and 13: the trillion-dollar equation, and which one is Poisson."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import sdekit as sk
from examples.curriculum.rows import K, Number, bare, claim, near, row
from sdekit import black_scholes, points
from sdekit.gaussian import Gaussian


@row(10, "The trillion-dollar equation: what an option is worth", size=(10.0, 7.0))
def options(figure: Figure) -> list[Number]:
    axes = figure.subplots(2, 2).flat
    pictures = (_closed_form, _from_a_walk, _from_samples, _stated_errors)
    return [number for picture, ax in zip(pictures, axes) for number in picture(ax)]


S, R, SIGMA = 100.0, 0.05, 0.2  # the stock and the strike; the interest rate; the volatility
CALL, PUT = black_scholes.call(S, S, R, SIGMA, 1.0), black_scholes.put(S, S, R, SIGMA, 1.0)


def _paid(s: np.ndarray) -> np.ndarray:
    return np.maximum(s - S, 0.0)


def _sampled(paths: int, seed: int, **how) -> black_scholes.Estimate:
    stock = sk.GeometricBrownianMotion(mu=R, sigma=SIGMA)
    return black_scholes.monte_carlo(_paid, stock, S, paths=paths, rate=R, seed=seed, backend="numpy", **how)


def _closed_form(ax: Axes) -> list[Number]:
    s = np.linspace(60, 140, 321)
    for t, color in ((1.0, "C0"), (0.25, "C1")):
        ax.plot(s, black_scholes.call(s, S, R, SIGMA, t).price, color=color, label=f"t = {t:g} to go")
    ax.plot(s, _paid(s), color="black", label="the payoff")
    near_by = s[140:221]
    ax.plot(near_by, CALL.price + CALL.delta * (near_by - S), "--", color="C3", label=f"delta = {CALL.delta:.3f}")
    ax.plot(S, CALL.price, "o", color="C3")
    bare(ax, "The right to buy at 100", "price of the stock", "price of the option").legend(frameon=False)
    equation = CALL.theta + R * S * CALL.delta + SIGMA**2 * S**2 * CALL.gamma / 2 - R * CALL.price
    return [
        near("call", 10.450584, CALL.price, 5e-7, 8),
        near("put", 5.573526, PUT.price, 5e-7, 7),
        near("the equation: dV/dt + r S dV/dS + sigma^2 S^2/2 d2V/dS2 - r V", 0.0, equation, 1e-12),
    ]


def _from_a_walk(ax: Axes) -> list[Number]:
    odd = np.array([3, 5, 7, 9, 11, 15, 21, 29, 41, 57, 81, 161, 321])
    for name, steps in (("odd", odd), ("even", odd - 1)):
        prices = [black_scholes.binomial(_paid, S, R, SIGMA, 1.0, n) for n in steps.tolist()]
        ax.semilogx(steps, prices, "o-", markersize=3, label=f"{name} steps")
    ax.axhline(CALL.price, color="black", linewidth=0.8, label=f"{CALL.price:.6f}")
    bare(ax, "From a random walk", "steps of the walk", "price of the option").legend(frameon=False)
    few, many = (black_scholes.binomial(_paid, S, R, SIGMA, 1.0, n) for n in (500, 1000))
    return [near("the call from random walks of 500 and 1000 steps, extrapolated to infinitely many", CALL.price,
                 2 * many - few, 10 / 1000**2, 7),
            near("the walk's error, 1000 steps over 500", 0.5, (many - CALL.price) / (few - CALL.price), 1e-2, 3)]


def _from_samples(ax: Axes) -> list[Number]:
    ways, numbers = {"plain": {"antithetic": False}, "W and -W": {},
                     "W, -W, the stock as control": {"control": (np.array, S)}}, []
    for k, (name, how) in enumerate(ways.items()):
        found = [_sampled(500 * 4**m, 1, **how) for m in range(5)]
        at = [e.n * 1.12 ** (k - 1) for e in found]
        ax.errorbar(at, [e.value for e in found], [2 * e.stderr for e in found], fmt="o", markersize=3, capsize=2,
                    label=name)
        last = found[-1]
        numbers.append(near(f"the call from {last.n:,} samples, {name}", CALL.price, last.value, K * last.stderr))
    ax.axhline(CALL.price, color="black", linewidth=0.8)
    ax.set_xscale("log")
    bare(ax, "From simulated stocks, ± 2 standard errors", "samples", "price of the option").legend(frameon=False)
    return numbers


def _stated_errors(ax: Axes) -> list[Number]:
    seeds, z, normal = 200, np.linspace(-4, 4, 200), Gaussian(0.0, 1.0)
    found = [_sampled(1000, seed) for seed in range(seeds)]
    off = np.array([(e.value - CALL.price) / e.stderr for e in found])
    ax.hist(off, 16, range=(-4, 4), density=True, alpha=0.4)
    ax.plot(z, normal.pdf(z), color="C0")
    bare(ax, f"{seeds} seeds, and N(0, 1)", "error, in standard errors of its own", "density")
    share = 1 - 2 * float(normal.cdf(-1.0))
    return [near("part of the seeds that are off by less than their standard error", share, (np.abs(off) < 1).mean(),
                 K * (share * (1 - share) / seeds) ** 0.5, 3)]


@row(13, "Which one is Poisson?", size=(10.0, 7.0))
def which_is_poisson(figure: Figure) -> list[Number]:
    pictures, (large, small, apart) = figure.subplots(2, 3, height_ratios=[6, 5])
    rate, box, seed, numbers = 7.0, (10.0, 10.0), 1, []
    families = points.clustered(rate, box, seed, size=5.0, spread=0.2)
    shown = {"A": points.regular(rate, box, seed), "B": points.poisson(rate, box, seed), "C": families}
    for k, (ax, (name, where)) in enumerate(zip(pictures, shown.items())):
        ax.plot(*where.T, ".", color=f"C{k}", markersize=3)
        ax.set(title=f"{name}: {len(where)} points", xticks=[], yticks=[], aspect="equal", xlim=(0, 10), ylim=(0, 10))
        for axis, side in ((large, 1.0), (small, 0.01)):
            test = points.count_test(where, rate, box, side, seed, sets=99)
            if name == "A":
                axis.bar(test.x, test.expected, color="0.85", label=f"Poisson({rate * side**2:g})")
            held, shift = test.observed > 0, 0.25 * (k - 1)
            axis.plot(test.x[held] + shift, test.observed[held], "osD"[k], color=f"C{k}", markersize=4, label=name)
            # hardly a cell of 0.01 x 0.01 holds two points: by these counts all the pictures look alike
            numbers.append(_verdict(f"{name}, counts in {side:g} x {side:g}", test, name == "B" or side < 1))
        test = points.neighbour_test(where, rate, box, seed, sets=99)
        apart.plot(test.x, test.observed - test.expected, color=f"C{k}", label=name)
        numbers.append(_verdict(f"{name}, distances to the nearest neighbour", test, name == "B"))
    apart.axhspan(-test.critical(), test.critical(), color="0.85", zorder=0, label="95% of Poisson's")
    bare(large, "In cells of 1 x 1", "points in a cell", "part of the cells").legend(frameon=False)
    bare(small, "In cells of 0.01 x 0.01", "points in a cell").legend(frameon=False, loc="upper right")
    small.set(yscale="log", xticks=[0, 1, 2])
    bare(apart, "A neighbour nearer than r", "r", "part of the points - (1 - exp(-7πr²))")
    apart.legend(frameon=False, loc="upper right", fontsize=8)
    ones, cells = points.count_test(shown["B"], rate, box, 0.01, seed, sets=1), 1e6
    p = ones.expected[1]
    return [
        near("B: points in the window, 7 x 100", 700, len(shown["B"]), K * 700**0.5),
        near("B: part of the cells of 0.01 x 0.01 that hold one", p, ones.observed[1], K * (p / cells) ** 0.5),
        *numbers,
    ]


def _verdict(what: str, test: points.PoissonTest, poisson: bool) -> Number:
    return claim(f"{what}: {'accepted' if poisson else 'rejected'}", str(test), test.accepted() == poisson)
