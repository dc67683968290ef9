"""Rows 19 and 20: a density that moves, and two ways for points to move it."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from scipy.stats import norm

import sdekit as sk
from examples.curriculum.rows import K, Number, bare, claim, near, row
from sdekit.density import Density, continuity, fokker_planck, grid
from sdekit.gaussian import Gaussian, Mixture
from sdekit.paths import Paths


@row(19, "Mass moves and none is lost: the continuity and the Fokker-Planck equation", size=(10.0, 8.0))
def moving_mass(figure: Figure) -> list[Number]:
    (left, right), below = figure.subplots(2, 2)
    return [*_spreads(left), *_into_wells(right), *_stirred(below)]


def _spreads(ax: Axes) -> list[Number]:
    """dp/dt = 1/2 p'' from N(0, 1/4) is N(0, 1/4 + t)."""
    found = []
    for cells in (80, 160, 320):
        p = fokker_planck(sk.BrownianMotion(), norm(0.0, 0.5), grid(-8, 8, cells), t=1.0, steps=200, save=5)
        exact = np.array([np.diff(norm.cdf(p.edges, 0.0, (0.25 + t) ** 0.5)) for t in p.t])  # of each cell
        found.append(float(np.abs(_shares(p, cells) - exact).sum(axis=1).max()))
    for k, t in enumerate(p.t):
        ax.plot(p.x, p.density[k], color=f"C{k}", label=f"t = {t:g}")
        ax.plot(p.x[::6], norm.pdf(p.x[::6], 0.0, (0.25 + t) ** 0.5), "o", color=f"C{k}", markersize=3)
    bare(ax, "Noise alone: solved (lines), exact (dots)", "x", "density").legend(frameon=False)
    ax.set(xlim=(-4, 4), ylim=0)
    return [
        near("dp/dt = p''/2: largest |mass - 1|", 0.0, np.abs(p.mass - 1).max(), 1e-10),
        near("its difference to N(0, 1/4 + t), sum |p - exact| dx at the worst time; allowed is dx^2", 0.0, found[2],
             (16 / 320) ** 2),
        near("order in dx of this, from 80 to 160 cells", 2.0, np.log2(found[0] / found[1]), 0.1, 3),
        near("from 160 to 320 cells", 2.0, np.log2(found[1] / found[2]), 0.1, 3),
    ]


def _into_wells(ax: Axes) -> list[Number]:
    """dp/dt = -((x - x^3) p)' + (s^2/2) p'' beside histograms of paths."""
    well, start, n, bins = sk.DoubleWell(sigma=0.6), norm(0.2, 0.3), 20_000, 64
    run = {"t": 4.0, "steps": 200, "save": [0.0, 0.5, 1.0, 4.0]}
    p = fokker_planck(well, start, grid(-3.2, 3.2, 5 * bins), **run)
    paths = sk.simulate(well, start, paths=n, seed=19, method=sk.sra, backend="numpy", **run)
    edges, counts = p.edges[::5], []
    for k, t in enumerate(p.t):
        counts.append(np.histogram(paths.x[:, k], edges)[0])
        ax.stairs(counts[k] / n / np.diff(edges), edges, fill=True, color=f"C{k}", alpha=0.2)
        ax.plot(p.x, p.density[k], color=f"C{k}", label=f"t = {t:g}")
    bare(ax, f"Two wells: solved (lines), {n:,} paths (bars)", "x", "density").legend(frameon=False)
    ax.set(xlim=(-2.2, 2.2), ylim=0)
    return [
        near("two wells: largest |mass - 1|", 0.0, np.abs(p.mass - 1).max(), 1e-10),
        _within_errors(f"histograms of {n:,} paths at 4 times", _off(np.array(counts), _shares(p, bins), n)),
    ]


PULL, TURN, NOISE, T = 0.1, 2.5, 0.35, 2.0


def _whirl(x, t):
    """F, of divergence -2 PULL everywhere: turning alone has none."""
    u, v = x
    turn = TURN / (1.0 + u * u + v * v)
    return -PULL * u - turn * v, turn * u - PULL * v


def _stirred(axes) -> list[Number]:
    """A bar in a whirl. Along a path d log p / dt = -div F; d E|X|^2 / dt = -2 PULL E|X|^2 + 2 NOISE^2."""
    bar, sde, solved = Gaussian(0.0, [0.6, 0.1]), sk.SDE(_whirl, lambda x, t: (NOISE, NOISE)), {}
    for cells in (64, 128):
        run = {"start": bar, "grid": (grid(-4, 4, cells),) * 2, "t": T, "steps": cells // 4, "save": 2}
        solved[cells] = continuity(_whirl, **run), fokker_planck(sde, **run)
    titles = "A bar (white) stirred by a flow: dp/dt = -div(F p)", "The flow with noise: dp/dt = -div(F p) + ½ s² Δp"
    for ax, p, title in zip(axes, solved[128], titles, strict=True):
        p.plot(ax).collections[0].set(norm=PowerNorm(0.5), cmap="magma")  # roots show the faint arms
        ax.set(title=title, xlim=(-2.5, 2.5), ylim=(-2.5, 2.5), aspect="equal")
        ax.contour(*p.x, p.density[0].T, 4, colors="white", linewidths=0.6)
    far, near_by = (_apart(flow, bar) for flow, _ in solved.values())
    numbers = [claim("a bar in a whirl: the density is p_0(where it came from) e^{-t div F}",
                     f"sum |p - exact| dx dy falls from {far:.2f} to {near_by:.2f} as dx is halved", near_by < far / 2)]
    kept = np.exp(-2 * PULL * T)
    for k, (name, settled) in enumerate({"without noise": 0.0, "with noise": NOISE**2 / PULL}.items()):
        coarse, fine = (_square(each[k]) for each in solved.values())
        exact = kept * bar.cov.trace() + (1 - kept) * settled
        numbers += [
            near(f"whirl {name}: largest |mass - 1|", 0.0, np.abs(solved[128][k].mass - 1).max(), 1e-10),
            near(f"whirl {name}: E|X|^2 at the end; allowed is what cells of twice the size differ by", exact, fine,
                 abs(fine - coarse), 4),
        ]
    return numbers


def _apart(p: Density, start) -> float:
    """sum |p - exact| dx dy, by following every cell's centre back to the start."""
    x = tuple(c.ravel() for c in np.meshgrid(*p.x, indexing="ij"))
    back = sk.integrate(lambda x, t: tuple(-f for f in _whirl(x, t)), x, t=T, steps=20, save="final", backend="numpy")
    exact = start.pdf(back.final) * np.exp(2 * PULL * T)
    return float(np.abs(p.density[-1].ravel() - exact).mean() * 8.0**2)


def _square(p: Density) -> float:
    """E|X|^2 at the end."""
    return float(p.var()[-1].sum() + (p.mean()[-1] ** 2).sum())


def _shares(p: Density, bins: int) -> np.ndarray:
    """The masses of so many equal bins, (times, bins)."""
    return (p.density * np.diff(p.edges)).reshape(len(p.t), bins, -1).sum(axis=2)


def _off(counts: np.ndarray, shares: np.ndarray, n: int) -> float:
    """max |counts - n shares| in standard errors, over the bins that await 10 or more."""
    awaited = n * shares
    error = np.sqrt(np.maximum(awaited * (1 - shares), 1.0))
    return float((np.abs(counts - awaited) / error)[awaited >= 10].max())


def _within_errors(what: str, off: float) -> Number:
    return claim(what, f"off by {off:.1f} standard errors at most, of {K} allowed", off <= K)


START = Mixture([0.4, 0.6], [Gaussian(-1.5, 0.05), Gaussian(1.0, 0.05)])


@row(20, "Two views of diffusion: dx = dW, and a smooth flow with the same marginals", size=(10.0, 7.5))
def two_views(figure: Figure) -> list[Number]:
    axes, n, times = figure.subplots(2, 2), 20_000, 6
    brownian, law = sk.BrownianMotion(), lambda t: START.diffused(1.0, t**0.5)
    p = fokker_planck(brownian, START, grid(-9, 9, 720), t=1.5, steps=150)
    flows = {"exact": sk.probability_flow(brownian, lambda x, t: law(t).score(x)),
             "solved": sk.probability_flow(brownian, p.score)}
    x0, run = START.sample(n, seed=20)[:, 0], {"t": 1.5, "save": times, "backend": "numpy"}
    found = {"dx = dW": sk.simulate(brownian, x0, steps=5, seed=21, **run)}
    found |= {f"flow, {name} score": sk.integrate(flow, x0, steps=30, **run) for name, flow in flows.items()}
    fine = {"t": 1.5, "steps": 300, "backend": "numpy"}
    few = sk.simulate(brownian, x0[:16], seed=21, **fine), sk.integrate(flows["exact"], x0[:16], **fine)
    for ax, paths, name in zip(axes[0], few, ("dx = dW", "dx/dt = -½ ∂ log p / ∂x, from the same starts"), strict=True):
        ax.pcolormesh(p.t, p.x, p.density.T**0.5, cmap="Blues", shading="nearest", rasterized=True)
        ax.plot(paths.t, paths.x.T, color="C1", linewidth=0.8)
        bare(ax, name, "t", "x").set(ylim=(-4, 4))
    edges, styles = grid(-4.5, 4.5, 45), ({"alpha": 0.3}, {"histtype": "step"}, {"histtype": "step", "ls": ":"})
    for ax, k in zip(axes[1], (1, 5), strict=True):
        for c, ((name, paths), style) in enumerate(zip(found.items(), styles, strict=True)):
            ax.hist(paths.x[:, k], edges, density=True, color=f"C{c}", label=name, **style)
        ax.plot(p.x, law(p.t[30 * k]).pdf(p.x), color="black", linewidth=0.8, label="exact")
        bare(ax, f"{n:,} points at t = {p.t[30 * k]:g}", "x", "density").set(xlim=(-4.5, 4.5))
        ax.legend(frameon=False, fontsize=8)
    return [number for name, paths in found.items() for number in _agreement(name, paths, law)]


def _agreement(name: str, paths: Paths, law) -> list[Number]:
    """Mean, variance and histogram at every saved time beside the exact mixture's."""
    n, edges, exact = len(paths.x), grid(-6, 6, 60), [law(t) for t in paths.t]
    mean, var = (np.array([float(np.squeeze(each)) for each in of]) for of in
                 ([m.mean for m in exact], [m.cov for m in exact]))
    fourth = ((paths.x - mean) ** 4).mean(axis=0)
    counts = np.array([np.histogram(x, edges)[0] for x in paths.x.T])
    shares = np.array([np.diff(m.weights @ [part.cdf(edges) for part in m.components]) for m in exact])
    off = {"mean": np.abs(paths.mean() - mean) / (var / n) ** 0.5,
           "variance": np.abs(paths.std() ** 2 - var) / ((fourth - var**2) / n) ** 0.5,
           "histogram": _off(counts, shares, n)}
    return [_within_errors(f"{name}: {what} at {len(paths.t)} times", float(np.max(z))) for what, z in off.items()]
