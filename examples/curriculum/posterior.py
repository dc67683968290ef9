"""Rows 5 and 6: where a walk came from."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.integrate import quad
from scipy.stats import beta, norm, uniform

from examples.curriculum.rows import K, Number, bare, claim, near, row
from examples.curriculum.walks import agrees
from sdekit.walks import Posterior, Prior, SliceExperiment, slice_experiment

ROUNDING = 1e-12
BETA: Any = beta(2, 7)
SEEN = 0.3  # where X_1 was seen
PEAKS = Prior(lambda x: 0.4 * norm.pdf(x, 0.1, 0.05) + 0.6 * norm.pdf(x, 0.45, 0.12))
FLAT = uniform(0, 10)  # its edge at 0; the other one is far


@row(5, "Where did you come from?")
def where_from(figure: Figure) -> list[Number]:
    left, right = figure.subplots(1, 2)
    grid, s, sizes = np.linspace(0, 1, 1001), 0.1, (0.5, 0.2, 0.1, 0.05)
    tried = slice_experiment(BETA, s, SEEN, samples=100_000, seed=5)
    left.plot(grid, BETA.pdf(grid), color="0.5", label="before: Beta(2, 7)")
    left.plot(grid, norm.pdf(grid, SEEN, s), "--", color="black", linewidth=1, label="noise around 0.3, s = 0.1")
    left.stairs(tried.histogram(30).density, tried.histogram(30).edges, fill=True, color="C0", alpha=0.4,
                label=f"{tried.count} samples with X₁ near 0.3")
    left.plot(grid, Posterior(BETA, s, SEEN).pdf(grid), color="C0", label="exact, X₁ = 0.3")
    bare(left, "X₀, before and after X₁ = 0.3 was seen", "X₀", "density").legend(frameon=False, fontsize=8)
    worst = []
    for k, size in enumerate(sizes):
        asked = lambda x, s=size: x * (1 - x) ** 6 * np.exp(-((SEEN - x) ** 2) / (2 * s**2))
        law = Posterior(BETA, size, SEEN)
        right.plot(grid, law.pdf(grid), color=f"C{k}", label=f"s = {size}")
        total = quad(asked, 0, 1, points=[SEEN], epsabs=0, epsrel=1e-13, limit=200)[0]
        worst.append(np.abs(law.pdf(grid) - asked(grid) / total).max())
    right.axvline(SEEN, color="0.7", linewidth=0.8, zorder=0)
    bare(right, "X₀ given X₁ = 0.3, for four sizes of the step", "X₀").legend(frameon=False)
    return [
        *(near(f"s = {size}: largest difference to x (1-x)^6 exp(-(0.3-x)^2 / 2 s^2), normalised", 0.0, off, 1e-9)
          for size, off in zip(sizes, worst)),
        near("s = 0.1: integral of the density", 1.0, quad(Posterior(BETA, s, SEEN).pdf, 0, 1)[0], 1e-9),
        agrees("X_0 of the samples with X_1 within 0.005 of 0.3", tried.slice, tried.posterior),
    ]


@row(6, "The one strange fact: small steps back are Gaussian, of the same variance", size=(10.0, 8.0))
def strange_fact(figure: Figure) -> list[Number]:
    (joint, cut), (divergence, ratio) = figure.subplots(2, 2)
    tried = slice_experiment(BETA, 0.05, SEEN, samples=300_000, width=0.01, seed=6)
    _slice(joint, cut, tried)
    sizes, numbers = 0.4 * 2.0 ** -np.arange(10), []
    cases = {"Beta(2, 7), k = 0.3": (BETA, SEEN), "bimodal, k = 0.25": (PEAKS, 0.25), "edge of a uniform": (FLAT, 0.0)}
    for color, (name, (prior, k)) in enumerate(cases.items()):
        laws = [Posterior(prior, s, k) for s in sizes]
        kl, scaled = np.array([law.kl for law in laws]), np.array([law.variance for law in laws]) / sizes**2
        divergence.loglog(sizes, kl, "o-", color=f"C{color}", markersize=3, linewidth=1, label=name)
        ratio.semilogx(sizes, scaled, "o-", color=f"C{color}", markersize=3, linewidth=1)
        numbers += _edge(laws, kl) if prior is FLAT else _smooth(name, laws, kl)
    divergence.loglog(sizes[4:], 1e5 * sizes[4:] ** 6, "--", color="0.5", linewidth=1, label="s⁶: a 64th for each half")
    bare(divergence, "KL(X₀ given X₁ = k, Gaussian of its moments)", "s", "nats").legend(frameon=False, fontsize=9)
    divergence.text(0.001, 0.02, "0.187", color="C2", va="center")
    ratio.axhline(1, color="0.7", linewidth=0.8, zorder=0)
    ratio.text(0.001, 0.29, "1 - 2/π", color="C2")
    bare(ratio, "variance of X₀ given X₁ = k, over s²", "s")
    return [near("samples in the slice of width 0.01", tried.expected, tried.count, K * tried.stderr),
            agrees("X_0 in the slice has the exact law", tried.slice, tried.posterior), *numbers]


def _slice(joint: Axes, cut: Axes, tried: SliceExperiment) -> None:
    """All samples with the slice marked; and the slice."""
    law, at, half = tried.posterior, np.linspace(0.1, 0.5, 300), tried.posterior.width / 2
    joint.hist2d(tried.x0, tried.x1, bins=(120, 140), range=((0, 0.8), (-0.15, 0.85)), cmap="Blues", cmin=1)
    joint.axhspan(law.k - half, law.k + half, color="C1", alpha=0.8, linewidth=0)
    joint.text(0.79, law.k - 0.02, f"{tried.count:,} of {len(tried.x0):,} samples\n({tried.expected:,.0f} expected)",
               color="C1", ha="right", va="top")
    bare(joint, f"X₁ = X₀ + {law.s} Z, and a slice of width {law.width}", "X₀", "X₁")
    found = tried.histogram(40)
    cut.stairs(found.density, found.edges, fill=True, color="C1", alpha=0.4, label=f"the {tried.count:,}")
    cut.plot(at, law.pdf(at), color="C1", label="exact")
    cut.plot(at, norm.pdf(at, law.k, law.s), "--", color="black", linewidth=1, label="N(k, s²)")
    bare(cut, "the slice, normalised", "X₀", "density").legend(frameon=False)


def _smooth(name: str, laws: list[Posterior], kl: np.ndarray) -> list[Number]:
    tweedie = np.array([(*law.tweedie(), law.mean, law.variance, law.s) for law in laws]).T
    falls = kl[:-1] / kl[1:]
    return [
        near(f"{name}: largest difference of the mean to k + s^2 (log q)'(k), in s", 0.0,
             (np.abs(tweedie[0] - tweedie[2]) / tweedie[4]).max(), 1e-10),
        near(f"{name}: largest difference of variance/s^2 to 1 + s^2 (log q)''(k)", 0.0,
             (np.abs(tweedie[1] - tweedie[3]) / tweedie[4] ** 2).max(), 1e-10),
        near(f"{name}: variance/s^2 at s = {laws[-1].s:.2g}", 1.0, laws[-1].variance / laws[-1].s ** 2, 1e-3),
        near(f"{name}: KL falls at the last halving by", 64.0, falls[-1], 0.1, 4),
        claim(f"{name}: the falls come nearer to 64", ", ".join(f"{fall:.4g}" for fall in falls[-4:]),
              bool((np.diff(np.abs(falls[-4:] - 64)) < 0).all())),
    ]


def _edge(laws: list[Posterior], kl: np.ndarray) -> list[Number]:
    """Half a Gaussian, as small as s may be."""
    scaled = np.array([law.variance / law.s**2 for law in laws])
    return [
        near("edge: variance/s^2 = 1 - 2/pi at every s, largest difference", 0.0,
             np.abs(scaled - (1 - 2 / np.pi)).max(), ROUNDING),
        near("edge: KL at the smallest s", 0.187, kl[-1], 5e-4),
        near("edge: KL at every s, largest difference to it", 0.0, np.abs(kl - kl[-1]).max(), ROUNDING),
    ]
