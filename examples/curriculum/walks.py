"""Rows 1 to 4 and 21 to 23: walks in discrete time, and the steps that diffusion is made of."""

from typing import Any

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from scipy.stats import binom, chisquare, kstest, norm

import sdekit as sk
from examples.curriculum.rows import K, Number, bare, claim, near, row
from sdekit import draws
from sdekit.gaussian import Mixture
from sdekit.markov import MarkovProcess
from sdekit.plot import envelope
from sdekit.walks import CoinWalk, Finite, GaussianWalk, LazyWalk, mutation_clock

ROUNDING = 1e-12


def _moved(walk: MarkovProcess, x0, n: int, paths: int | None, seed: int, save: Any = "all") -> sk.Paths:
    """So many paths of n moves."""
    return sk.simulate(walk, x0, t=n, steps=n, paths=paths, seed=seed, save=save, backend="numpy")


def agrees(what: str, sample: np.ndarray, law) -> Number:
    """Whether numbers are a sample of a law."""
    p = kstest(sample, law.cdf).pvalue
    return claim(what, f"Kolmogorov-Smirnov p = {p:.2f}", p > 1e-4)


@row(1, "Flip a coin, walk left or right")
def coin(figure: Figure) -> list[Number]:
    left, middle, right = figure.subplots(1, 3, width_ratios=[3, 2, 3])
    p, n, paths = 0.7, 30, 20_000
    walk = CoinWalk(p)
    many = _moved(walk, 0.0, n, paths, seed=1)
    envelope(many, walk.mean(0.0, many.t), walk.variance(0.0, many.t) ** 0.5, left, lines=5)
    left.set(title=f"5 walks, P(right) = {p}", xlabel="flips", ylabel="where")
    two, law = walk.law(0.0, 2), walk.law(0.0, n)
    asked = {-2: (1 - p) ** 2, 0: 2 * p * (1 - p), 2: p**2}
    for ax, flips, exact in ((middle, 2, two), (right, n, law)):
        sites = np.arange(-flips, flips + 1)
        found = np.array([(many.x[:, flips] == x).mean() for x in sites])
        ax.bar(sites, found, 0.8 if flips == 2 else 1.4, alpha=0.4, label=f"{paths:,} walks")
        ax.plot(exact.x, exact.p, "o", color="black", markersize=3, label="exact")
        bare(ax, f"after {flips} flips", "where")
    for x, formula in zip(asked, ("(1-p)²", "2p(1-p)", "p²")):
        middle.text(x, asked[x] + 0.02, formula, ha="center")
    middle.set(ylabel="part of the walks", xticks=range(-2, 3), xlim=(-3, 3), ylim=(0, 0.57))
    right.set_xlim(-12, 31)
    right.legend(frameon=False, loc="upper left")
    counts = np.array([(many.final == x).sum() for x in law.x])
    common = law.p * paths > 10
    rare = ~common
    fit = chisquare(np.append(counts[common], counts[rare].sum()), paths * np.append(law.p[common], law.p[rare].sum()))
    return [
        *(near(f"n = 2: P({x}), the law", a, float(two.probability(x)), ROUNDING) for x, a in asked.items()),
        *(near(f"n = 2: P({x}), {paths:,} walks", a, (many.x[:, 2] == x).mean(), K * (a * (1 - a) / paths) ** 0.5)
          for x, a in asked.items()),
        near(f"n = {n}: largest difference to the binomial of (x + n) / 2", 0.0,
             np.abs(law.probability(2.0 * np.arange(n + 1) - n) - binom.pmf(np.arange(n + 1), n, p)).max(), ROUNDING),
        claim(f"n = {n}: the walks are binomial, shifted", f"chi-squared p = {fit.pvalue:.2f}", fit.pvalue > 1e-4),
        claim("after n flips only sites with the parity of n", f"{paths:,} walks at n = 0 to {n}",
              not ((many.x + many.t) % 2).any()),
    ]


@row(2, "A grain that may stay: how Brownian is it?")
def lazy(figure: Figure) -> list[Number]:
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    n, each, sizes = 200, 4000, (0, 10, 50, 100)
    for_each: Any = np.repeat(sizes, each)  # a parameter for each path
    many = _moved(LazyWalk(for_each), 0.0, n, None, seed=2)
    x, places = many.x.reshape(len(sizes), each, -1), (0, 20, 60, 130)  # drawn one above the other
    for k, b in enumerate(sizes):
        left.plot(many.t, x[k, :6].T + places[k], color=f"C{k}", linewidth=0.8, drawstyle="steps-post")
        left.text(n + 3, places[k], f"b = {b}", color=f"C{k}", va="center")
        right.plot(many.t[::10], x[k].var(axis=0)[::10], ".", color=f"C{k}", label=f"b = {b}")
        right.plot(many.t, LazyWalk(b).variance(0.0, many.t), color=f"C{k}", linewidth=0.8)
    left.set_yticks([])
    bare(left, "6 grains for each b, which leave from the same place", "turns n")
    bare(right, f"variance of {each:,} grains, and n b/100", "turns n").legend(frameon=False)
    laws = [LazyWalk(b).law(0.0, n) for b in sizes]
    fourth = [float(law.p @ law.x**4) for law in laws]
    return [
        *(near(f"b = {b}: variance after {n} turns, the law", n * b / 100, law.variance, 1e-9)
          for b, law in zip(sizes, laws)),
        *(near(f"b = {b}: variance after {n} turns, {each:,} grains", n * b / 100, x[k, :, -1].var(),
               K * ((fourth[k] - law.variance**2) / each) ** 0.5 + ROUNDING)
          for k, (b, law) in enumerate(zip(sizes, laws)) if b),
        claim("b = 0 never moves", f"{each:,} grains, {n} turns", not x[0].any()),
    ]


@row(3, "The clock of mutations: a letter of DNA")
def letters(figure: Figure) -> list[Number]:
    left, right = figure.subplots(1, 2)
    clock, n, paths = mutation_clock(), 10, 20_000
    many = _moved(clock, clock.number("A"), n, paths, seed=3)
    colors = ("#4c9f70", "#3b6fb6", "#e3a72f", "#c8553d")
    left.imshow(many.x[:30].T, cmap=ListedColormap(colors), aspect="auto")
    for (i, k), letter in np.ndenumerate(clock.names(many.x[:30])):
        left.text(i, k, letter, color="white", ha="center", va="center", fontsize=7)
    left.set(title="30 places of a strand that begins as A", xlabel="place", ylabel="mutations", xticks=[],
             yticks=range(n + 1))
    laws = np.array([clock.law("A", k).p for k in range(n + 1)])
    found = np.array([(many.x == k).mean(axis=0) for k in range(4)])
    for k, letter in enumerate("ACGT"):
        right.plot(laws[:, k], color=colors[k], linewidth=1)
        right.plot(found[k], "osv^"[k], color=colors[k], label=letter, markersize=4)
    right.axhline(0.25, color="0.7", linewidth=0.8, zorder=0)
    bare(right, f"exact, and {paths:,} places", "mutations n", "part of the places").legend(frameon=False)
    asked = 0.25 + 0.75 * (-1 / 3) ** np.arange(n + 1)
    error = (asked * (1 - asked) / paths) ** 0.5
    return [
        *(near(f"n = {k}: P(A), from A, the law", a, laws[k, 0], ROUNDING) for k, a in ((1, 0.0), (2, 1/3), (3, 2/9))),
        *(near(f"n = {k}: part of {paths:,} places", asked[k], found[0, k], K * error[k]) for k in (1, 2, 3)),
        near(f"P(A after n) less 1/4 + 3/4 (-1/3)^n, the largest of n = 0 to {n}", 0.0,
             np.abs(laws[:, 0] - asked).max(), ROUNDING),
    ]


@row(4, "The Gaussian walk, and the step before the last")
def walk_from_30(figure: Figure) -> list[Number]:
    left, middle, right = figure.subplots(1, 3, width_ratios=[3, 2, 2])
    s, end, paths = 2.0, 10.0, 20_000
    walk = GaussianWalk(s)
    many = _moved(walk, 30.0, 101, paths, seed=4)
    first, hundredth, last = many.x[:, 1], many.x[:, 100], many.x[:, 101]
    there = np.abs(last - end) < 0.5
    left.plot(many.t, many.x[:12].T, color="0.75", linewidth=0.6)
    left.plot(many.t, many.x[there][:6].T, color="C1", linewidth=0.8)
    left.plot(101, end, "o", color="C1", clip_on=False)
    bare(left, "in colour: walks that end near 10", "t", "X")
    wide, narrow = np.linspace(-50, 110, 300), np.linspace(2, 18, 300)
    given = walk.between(30.0, 100, 101, end)
    middle.hist(hundredth, 80, density=True, alpha=0.4)
    middle.plot(wide, walk.law(30.0, 100).pdf(wide), color="C0")
    bare(middle, "X₁₀₀ ~ N(30, 100 s²)", "X₁₀₀")
    right.hist(hundredth[there], 24, density=True, alpha=0.4, color="C1", label=f"{there.sum()} walks")
    right.plot(narrow, given.pdf(narrow), color="C1", label="exact, X₁₀₁ = 10")
    right.plot(narrow, norm.pdf(narrow, end, s), "--", color="black", linewidth=1, label="N(10, s²)")
    right.set_ylim(0, 0.3)
    bare(right, "X₁₀₀ given X₁₀₁ near 10", "X₁₀₀").legend(frameon=False, fontsize=8)
    residual = hundredth[there] - [walk.between(30.0, 100, 101, x).mean[0] for x in last[there]]
    v = 100 / 101 * s**2
    return [
        near("mean of X_1", 30.0, first.mean(), K * s * paths**-0.5),
        near("variance of X_1, s^2", s**2, first.var(), K * s**2 * (2 / paths) ** 0.5),
        agrees("X_1 ~ N(30, s^2)", first, norm(30.0, s)),
        near("mean of X_100", 30.0, hundredth.mean(), K * 10 * s * paths**-0.5),
        near("variance of X_100, 100 s^2", 100 * s**2, hundredth.var(), K * 100 * s**2 * (2 / paths) ** 0.5),
        agrees("X_100 ~ N(30, 100 s^2)", hundredth, norm(30.0, 10 * s)),
        near("given X_101 = 10: mean of X_100, 30 + (100/101)(10 - 30)", 30 - 2000 / 101, given.mean[0], ROUNDING),
        near("given X_101 = 10: variance of X_100, (100/101) s^2", v, given.cov[0, 0], ROUNDING),
        agrees("X_100 less its mean given X_101, of the walks that end near 10, ~ N(0, (100/101) s^2)", residual,
                norm(0.0, v**0.5)),
    ]


@row(21, "The walk that keeps its variance")
def preserving(figure: Figure) -> list[Number]:
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    p, paths, start = 0.01, 3000, Finite(np.array([-3.0, 2.0]), np.array([0.3, 0.7]))
    walk, times, grid = GaussianWalk(p**0.5, (1 - p) ** 0.5), (20, 100, 400, 2000), np.linspace(-5, 5, 400)
    many = _moved(walk, start, 2000, paths, seed=21, save=[0, *times])
    few = _moved(walk, np.repeat([6.0, 0.0, -6.0], 2), 1000, None, seed=22)
    for k, x0 in enumerate((6.0, 0.0, -6.0)):
        mean, sd = walk.mean(x0, few.t), walk.variance(x0, few.t) ** 0.5
        left.fill_between(few.t, mean - 2 * sd, mean + 2 * sd, color=f"C{k}", alpha=0.15, linewidth=0)
        left.plot(few.t, few.x[2 * k:2 * k + 2].T, color=f"C{k}", linewidth=0.6)
    bare(left, "from 6, 0 and -6, and mean ± 2 sd", "T", "X")
    numbers = []
    for k, T in enumerate(times):
        laws, sample = [walk.law(x0, T) for x0 in start.x], many.x[:, k + 1]
        right.hist(sample, np.linspace(-5, 5, 61), density=True, bottom=-k, color=f"C{k}", alpha=0.4)
        right.plot(grid, Mixture(start.p, laws).pdf(grid) - k, color=f"C{k}")
        right.text(5, 0.15 - k, f"T = {T}", color=f"C{k}", ha="right")
        for x0, law in zip(start.x, laws):
            m, v, of = (1 - p) ** (T / 2) * x0, 1 - (1 - p) ** T, sample[many.x[:, 0] == x0]
            off = max(abs(law.mean[0] - m), abs(law.cov[0, 0] - v))
            numbers += [near(f"T = {T} from {x0:g}: the law less N((1-p)^(T/2) X_0, 1 - (1-p)^T)", 0.0, off, ROUNDING),
                        agrees(f"T = {T} from {x0:g}: {len(of)} walks have it", of, norm(m, v**0.5))]
    right.set(yticks=[], ylim=(-3.1, 0.75))
    bare(right, "from -3 or 2, at four times", "X")
    far = walk.law(1e6, 10_000)
    return [*numbers, agrees("from -3 or 2, in the end N(0, 1)", many.final, norm()),
            near("from a million, T = 10,000: mean", 0.0, far.mean[0], ROUNDING),
            near("from a million, T = 10,000: variance", 1.0, far.cov[0, 0], ROUNDING)]


@row(22, "Halving, and noise that grows: two readings of σ(t)", size=(11.0, 4.0))
def exploding(figure: Figure) -> list[Number]:
    axes, x0, paths = figure.subplots(1, 3), 5.0, 10_000
    walks = {"halving walk, from 5": (GaussianWalk(0.5**0.5, 0.5**0.5), x0, lambda n: 1 - 2.0**-n),
             "σ(t) = √t is the sd of step t": (GaussianWalk(np.sqrt), 0.0, lambda n: n * (n - 1) / 2),
             "σ(t) = √t is the sd of x at t": (GaussianWalk.marginal(np.sqrt), 0.0, lambda n: n)}
    says = ("variance 1 - 2⁻ⁿ", "variances add up: 0 + 1 + ... + (n - 1),\nn(n - 1)/2 = 45 at n = 10",
            "variance σ(n)² = n,\n10 at n = 10, on the same noise")
    numbers = []
    for ax, say, (name, (walk, start, variance)) in zip(axes, says, walks.items()):
        many = _moved(walk, start, 10, paths, seed=23)
        mean = start * 2.0 ** (-many.t / 2)
        envelope(many, walk.mean(start, many.t), walk.variance(start, many.t) ** 0.5, ax, lines=25)
        bare(ax, name, "n", "x").legend().remove()
        ax.text(0.05 if start == 0 else 0.4, 0.97, say, transform=ax.transAxes, va="top")
        off = max(np.abs(walk.mean(start, many.t) - mean).max(),
                  np.abs(walk.variance(start, many.t) - variance(many.t)).max())
        numbers += [near(f"{name}: mean and variance, n = 0 to 10, largest difference", 0.0, off, ROUNDING),
                    *(agrees(f"{name}: n = {n}", many.x[:, n], norm(mean[n], variance(n) ** 0.5)) for n in (2, 10))]
    for ax in axes[1:]:
        ax.set_ylim(-16, 20)
    added, marginal = (float(walk.variance(0.0, 10)) for walk, start, _ in walks.values() if start == 0)
    return [*numbers, claim("the two readings are different walks", f"variance {added:g} and {marginal:g} at n = 10",
                            added == 45 and abs(marginal - 10) < ROUNDING)]


@row(23, "Bayes' step back: x_t given x_0 and x_{t+1}, σ(t) = √t")
def step_back(figure: Figure) -> list[Number]:
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    x0, T, paths, walk = 4.0, 30, 20_000, GaussianWalk.marginal(np.sqrt)

    def back(x, s, h, place, x0, T):
        t = T - s - 1
        return x0 / (t + 1) + (1 - 1 / (t + 1)) * x + np.sqrt(t / (t + 1)) * draws.normal(place, 0)

    there = sk.simulate(MarkovProcess(back, x0=x0, T=T), norm(x0, T**0.5), t=T, steps=T, paths=paths, seed=24,
                        backend="numpy")
    onward = _moved(walk, x0, T, paths, seed=25)
    sd = np.sqrt(T - there.t)
    for k in (2, 1):
        left.fill_between(T - there.t, x0 - k * sd, x0 + k * sd, color="C0", alpha=0.15, linewidth=0)
    left.plot(T - there.t, there.x[:12].T, linewidth=0.8)
    left.set_xlim(T, 0)
    bare(left, f"back, step by step, to x₀ = {x0:g} (N(x₀, t): ±1, ±2 sd)", "t", "x")
    t, ends = 3, np.linspace(-3, 11, 2)
    given = [walk.between(x0, t, t + 1, x) for x in ends]
    mean, sd = np.array([law.mean[0] for law in given]), given[0].std[0]
    right.plot(onward.x[:3000, t + 1], onward.x[:3000, t], ".", markersize=2, alpha=0.3, label="walks from 4")
    right.plot(ends, mean, color="C1", label="x₀/4 + (3/4) x₄")
    right.fill_between(ends, mean - 2 * sd, mean + 2 * sd, color="C1", alpha=0.15, linewidth=0, label="± 2 sd, √(3/4)")
    bare(right, "x₃ given x₀ and x₄", "x₄", "x₃").legend(frameon=False)
    numbers = []
    for t in (1, 3, 29):
        law, asked = walk.between(x0, t, t + 1, -2.0), x0 / (t + 1) + (1 - 1 / (t + 1)) * -2.0
        residual = onward.x[:, t] - x0 / (t + 1) - (1 - 1 / (t + 1)) * onward.x[:, t + 1]
        numbers += [near(f"t = {t}: mean x_0/(t+1) + (1 - 1/(t+1)) x_t+1, x_0 = 4, x_t+1 = -2", asked, law.mean[0],
                         ROUNDING),
                    near(f"t = {t}: variance t/(t+1)", t / (t + 1), law.cov[0, 0], ROUNDING),
                    agrees(f"t = {t}: walks less that mean ~ N(0, t/(t+1))", residual, norm(0, (t / (t + 1)) ** 0.5))]
    return [*numbers, *(agrees(f"back from x_{T} to x_{t}: N(x_0, {t})", there.x[:, T - t], norm(x0, t**0.5))
                        for t in (20, 5, 1)),
            near("back to x_0: largest difference", 0.0, np.abs(there.final - x0).max(), ROUNDING)]
