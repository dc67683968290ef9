"""Rows 29, 31, 32 and 39: generation by denoising, with denoisers in closed form."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.integrate import solve_ivp
from torch import Tensor

import diffusion as df
from diffusion.exact import Empirical, GaussianMixture
from examples.curriculum.drawn import FONTS, GRAIN, SIDE, digits, drawn, pictures, read, training
from examples.curriculum.plane import (
    EPS,
    LATER,
    NARROW,
    ROUNDING,
    WIDE,
    allowed,
    contours,
    distance,
    dots,
    ends,
    excess,
    law,
    normal,
    tensor,
)
from examples.curriculum.rows import K, Number, bare, claim, near, row


@row(29, "One step to noise and one step back: the limit that fails" + LATER, size=(10.0, 6.6))
def one_step(figure: Figure) -> list[Number]:
    left, right = figure.subfigures(1, 2, width_ratios=[3, 2])
    return [*_there_and_back(left.subplots()), *_one_step_clouds(*right.subplots(2, 1))]


def _levels(shares) -> list[tuple[float, float]]:
    """alpha and sigma of E(x) = sqrt(e) x + N(0, (1 - e) I)."""
    return [(e**0.5, (1 - e) ** 0.5) for e in shares]


def _there_and_back(ax: Axes) -> list[Number]:
    """E(x) of digits, and D of it; D of noise; and many steps of the same D."""
    model, shares = digits(), (0.99, 0.9, 0.5, 0.1, 0.01, 0.0)
    x0, z, levels = model.sample(2, seed=3), normal(29, 64, 1, SIDE, SIDE), _levels(shares)
    encoded = [a * x0 + s * z[:2] for a, s in levels]
    back, made = ([model(x, a, s) for x, (a, s) in zip(given, levels)] for given in (encoded, [z] * len(levels)))
    many = pictures(model, 64, seed=4)
    rows = {"E(x)": [x[0] for x in encoded], "D(E(x))": [x[0] for x in back],
            "E(x′)": [x[1] for x in encoded], "D(E(x′))": [x[1] for x in back],
            "noise z": [z[0]] * 6, "D(z)": [x[0] for x in made], "D(z′)": [x[1] for x in made],
            "16 steps\nof this D": many[:6], "again": many[6:12]}
    df.plot.grid(torch.stack([x for each in rows.values() for x in each]), 6, ax, list(rows),
                 [f"e = {e:g}" for e in shares])
    kept = float(made[4].var(0).sum() / (SIDE**2 * model.spread**2))
    sure = float(read(many).amax(1).mean())
    return [
        near("digits: largest difference of what comes of noise at e = 0 to the mean picture", 0.0,
             float((made[5] - model.center).abs().max()), 16 * EPS * 10 * len(FONTS)),
        claim("digits, e = 0.01: one step makes nearly one picture, a blur, of all noise",
              f"{kept:.3f} of the variance of digits; contrast within a picture {float(made[4].std()):.2f}, of digits "
              f"{float(training()[0].std()):.2f}", kept < 0.1),
        claim("digits: 16 steps of the same D make of noise what is some digit", f"mean of max p(digit) {sure:.4f}",
              sure > 0.99),
    ]


def _one_step_clouds(cloud: Axes, curve: Axes) -> list[Number]:
    """Three narrow Gaussians: how much of their variance one step keeps, and how far what it makes is from them."""
    n, data, exact = 4000, NARROW, law(NARROW)
    x0, z, total = data.sample(n, seed=1), normal(30, n, 2), float(exact.cov.trace())
    shares = (0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.97, 0.99)
    numbers, kept, made = [], [], []
    for e, (a, s) in zip(shares, _levels(shares)):
        x = a * x0 + s * z
        square = (data(x, a, s) - data.center).square().sum(1) / total
        within = data.covariance(x, a, s).diagonal(dim1=1, dim2=2).sum(1) / total
        made.append(data(z, a, s))
        kept.append((float(square.mean()), float(made[-1].var(0).sum()) / total))
        if e in (0.1, 0.5, 0.9):
            numbers.append(near(f"plane, e = {e}: (Var D(E(x)) + mean of Var[x given E(x)]) / Var x", 1.0,
                                float((square + within).mean()), K * float((square + within).std()) / n**0.5, 4))
    many = ends(data, n, df.heun, 40, seed=6)
    square = (many - data.center).square().sum(1) / total
    far, bound = [distance(x, exact) for x in made], allowed(n)
    best = int(np.argmin(far))
    for x, color, name in ((many, "C0", "40 steps of this D"), (made[7], "C1", "one step, e = 0.5")):
        cloud.plot(*x[:1500].T, ".", color=color, markersize=1.5, label=name)
    contours(cloud, data, 3, 2.2).set(title="made of noise, z ~ N(0, I)", xlim=(-2.2, 3.2))
    cloud.legend(frameon=False, fontsize=8, markerscale=5, loc="upper right")
    for y, color, name in ((np.array(kept)[:, 0], "C2", "Var D(E(x)) / Var x"),
                           (np.array(kept)[:, 1], "C1", "Var D(z) / Var x"), (far, "C3", "sup |F - F|, D(z) to data")):
        curve.plot(shares, y, color=color, label=name)
    curve.axhline(distance(many, exact), color="C0", linestyle="--", linewidth=1, label="that of 40 steps to data")
    ticks = (0.001, 0.01, 0.1, 0.5, 0.9, 0.99)
    curve.set(xscale="logit", ylim=(0, 1.3), xticks=ticks, xticklabels=map(str, ticks))
    curve.minorticks_off()
    bare(curve, "no e keeps x and lets noise stand for E(x)", "e").legend(frameon=False, fontsize=7)
    curve.title.set_fontsize(10)
    few, fewer = (_variance_of_noise(data, e) / (e * float((exact.cov @ exact.cov).trace())) for e in (1e-3, 1e-4))
    return [
        *numbers,
        near("plane: Var D(z) over e tr Cov(x)^2 at e = 1e-4, by quadrature; allowed is a fifth of how far it is at "
             "1e-3", 1.0, fewer, abs(few - 1) / 5),
        claim("plane: at no e is D(z) near the data", f"sup |F - F| at best {far[best]:.3f}, at e = {shares[best]:g}; "
              f"of {n:,} true samples at most {bound:.3f}", far[best] > 2 * bound),
        near("plane, 40 steps: variance over the data's", 1.0, float(square.mean()),
             K * float(square.std()) / n**0.5, 4),
        near("plane, 40 steps: sup |F - F| to the data, the largest of 8 directions", 0.0, distance(many, exact), bound,
             3),
    ]


def _variance_of_noise(data: GaussianMixture, e: float) -> float:
    """Var D(z), z ~ N(0, I), by Gauss-Hermite quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    z, w = torch.cartesian_prod(tensor(nodes), tensor(nodes)), np.outer(weights, weights).ravel() / (2 * np.pi)
    D = data(z, *_levels([e])[0]).numpy()
    return float(w @ ((D - w @ D) ** 2).sum(axis=1))


@row(31, "DDIM and DDPM are the flow and the reverse SDE, step by step" + LATER, size=(10.0, 4.0))
def two_equations(figure: Figure) -> list[Number]:
    left, middle, right = figure.subplots(1, 3, width_ratios=[1, 1, 1.1])
    _discretised(left, df.ddim(), 8, "DDIM: the flow")
    _discretised(middle, df.ancestral, 3, "DDPM: the reverse SDE")
    counts, apart = 2 ** np.arange(5, 10), []
    for N in counts.tolist():
        run = {"grid": df.grid.log_snr(df.VP(), N, (0.05, 1.0)), "seed": 31, "close": False}
        one, other = (ends(WIDE, 500, method, **run) for method in (_EULER_MARUYAMA, df.ancestral))
        apart.append(float((one - other).square().mean() ** 0.5))
    right.loglog(counts, apart, "o-", color="C1", markersize=4, label="Euler-Maruyama to DDPM")
    right.loglog(counts, apart[-1] * counts[-1] / counts, "--", color="black", linewidth=1, label="1/N")
    identities = _identities()
    for kind, marker, color, name in (("DDIM", "^", "C0", "DDIM to Euler in σ/α"),
                                      ("DDPM", "v", "C2", "DDPM to x₀ frozen in a step")):
        of_kind = [(steps, off) for what, steps, off in identities if what.startswith(kind)]
        right.loglog(*zip(*of_kind), marker, color=color, label=name)
    bare(right, "", "steps").legend(frameon=False, fontsize=8, loc="center right")
    right.set_title("difference between ends of one noise", fontsize=10)
    right.set(ylim=(1e-17, 10), xticks=[20, 100, 500], xticklabels=["20", "100", "500"])
    right.minorticks_off()
    order = -float(np.polyfit(np.log(counts), np.log(apart), 1)[0])
    return [
        *(near(f"{name}: largest difference, relative", 0.0, off, ROUNDING) for name, _, off in identities),
        near("order of Euler-Maruyama's difference to DDPM, fitted to 32, 64, ..., 512 steps", 1.0, order, 0.15, 3),
        claim("a step of Euler-Maruyama is not one of DDPM", f"RMS between their ends {apart[0]:.2g} in {counts[0]} "
              f"steps, {apart[-1]:.2g} in {counts[-1]}", apart[-1] > 1e-4),
    ]


def _discretised(ax: Axes, method: df.Sampler, paths: int, name: str) -> None:
    """12 steps beside 400 from the same noise, over the density on the way."""
    for steps, style, width in ((400, "-", 0.5), (12, "o-", 1.2)):
        grid = df.grid.log_snr(df.VP(), steps, (0.003, 1.0))
        run = df.sample(NARROW, paths, method=method, grid=grid, seed=4, nested=True, keep=True, progress=False)
        if steps == 400:
            _backdrop(ax, NARROW, grid)
        assert run.trajectory is not None
        for k, path in enumerate(run.trajectory.x[..., 0].T.numpy()):
            ax.plot([level.noise for level in grid], path, style, color=f"C{k}", linewidth=width, markersize=3)
    bare(ax, "", "σ / α", "x₁").set_title(f"{name}, 12 steps and 400", fontsize=10)


def _backdrop(ax: Axes, data: GaussianMixture, grid: df.Grid, spread: float = 0.0) -> None:
    """The density of x_1 at every level, in units of sqrt(1 + spread sigma^2), against the noise level."""
    at, shadow = np.linspace(-3, 3, 201), np.array([[1.0, 0.0]]) @ law(data)
    levels = grid.levels[::max(1, len(grid) // 100)]
    units = [(1 + spread * level.sigma**2) ** 0.5 for level in levels]
    density = np.array([w * shadow.diffused(t.alpha, t.sigma).pdf(w * at) for t, w in zip(levels, units)])
    noises = [level.noise for level in levels]
    ax.pcolormesh(noises, at, density.T, cmap="Greys", vmax=1.0, shading="nearest", rasterized=True)
    ax.set(xscale="log", xlim=(noises[0], noises[-1]), ylim=(-3, 3))
    ax.set_xticks([10, 1, 0.1], ["10", "1", "0.1"])


def _euler_maruyama(denoise, x, t, s, memory, noise):
    """dx = (f x - g^2 score) dt + g dW, backwards from t to s."""
    f, g2 = df.VP().coefficients(t.time)
    score, h = (t.alpha * denoise(x, t) - x) / t.sigma**2, t.time - s.time
    return x - (f * x - g2 * score) * h + (g2 * h) ** 0.5 * noise(), memory


def _in_noise_level(denoise, x, t, s, memory, noise):
    """Euler's step for y = x/alpha, l = sigma/alpha, dy/dl = eps."""
    eps = (x - t.alpha * denoise(x, t)) / t.sigma
    return s.alpha * (x / t.alpha + (s.sigma / s.alpha - t.sigma / t.alpha) * eps), memory


def _posterior_step(denoise, x, t, s, memory, noise):
    """x_s ~ q(x_s | x_t, x_0 = D) of x_t = sqrt(1 - b) x_s + sqrt(b) Z (Ho et al. 2020, eq. 6 and 7)."""
    kept, bar, before = (t.alpha / s.alpha) ** 2, t.alpha**2, s.alpha**2  # kept = 1 - b
    mean = (before**0.5 * (1 - kept) * denoise(x, t) + kept**0.5 * (1 - before) * x) / (1 - bar)
    return mean + ((1 - before) / (1 - bar) * (1 - kept)) ** 0.5 * noise(), memory


_EULER_MARUYAMA = df.stepwise("euler_maruyama", _euler_maruyama, stochastic=True)
_LEVEL = df.stepwise("in sigma/alpha", _in_noise_level)
_POSTERIOR = df.stepwise("posterior", _posterior_step, stochastic=True)


def _identities() -> list[tuple[str, int, float]]:
    """What is equal, in how many steps, and the largest difference relative to the largest number."""
    walk = df.Discrete(df.linear_betas(100, 1e-3, 0.2))
    grids = [df.grid.edm(20), df.grid.uniform(df.VP(), 30), df.grid.log_snr(df.Cosine(), 40, (1e-3, 0.99)),
             df.grid.uniform(df.RectifiedFlow(), 60, (0.01, 0.99)), df.grid.linspace(walk)]

    def off(one, other, grid) -> float:
        x, y = (ends(WIDE, 200, method, grid=grid, seed=31, close=False) for method in (one, other))
        return float((x - y).abs().max() / x.abs().max())

    return [
        *((f"DDIM = Euler in sigma/alpha, {type(g.process).__name__}", len(g), off(df.ddim(), _LEVEL, g))
          for g in grids),
        ("DDPM (posterior variance) = the posterior of x_(t-1) given x_t and x_0 = D, Discrete", len(grids[4]),
         off(df.ancestral, _POSTERIOR, grids[4])),
        *((f"DDPM = the reverse SDE with x_0 frozen within a step, {type(g.process).__name__}", len(g), _frozen(g))
          for g in grids[:2]),
    ]


def _frozen(grid: df.Grid) -> float:
    """A step of DDPM is a x + b D + c Z. With D kept, dx = (f x - g^2 (alpha D - x)/sigma^2) dt + g dW, solved
    numerically from t back to s, should have the same a, b and c^2; the largest difference of all steps."""
    def slopes(time: float, y: np.ndarray) -> list[float]:
        level, (f, g2) = grid.process.level(time), grid.process.coefficients(time)
        rate = f + g2 / level.sigma**2
        return [rate * y[0], rate * y[1] - g2 * level.alpha / level.sigma**2, 2 * rate * y[2] - g2]

    step: Any = df.ancestral.step
    worst, (x, D, z) = 0.0, torch.eye(3, dtype=torch.float64)
    for t, s in pairwise(grid):
        solved = solve_ivp(slopes, (t.time, s.time), [1.0, 0.0, 0.0], "DOP853", rtol=1e-12, atol=1e-14).y[:, -1]
        a, b, c = step(lambda *_, D=D: D, x, t, s, (), lambda z=z: z)[0].tolist()
        worst = max(worst, float(np.abs(np.array([a, b, c**2]) - solved).max()))
    return worst


@row(32, "A black box D(x; σ), any grid, SDE or ODE: one law" + LATER, size=(10.0, 6.4))
def black_box(figure: Figure) -> list[Number]:
    n, top, edm = 4000, 40.0, df.EDM()
    start, box = top * normal(32, n, 2), lambda x, alpha, sigma, condition=None: WIDE(x, alpha, sigma)
    odd = df.grid.custom(edm, top * (0.02 / top) ** (np.linspace(0, 1, 91) ** 0.8))
    cases = {
        "ODE, Heun": (df.heun, df.grid.edm(32)), "ODE, DPM-Solver++(3M)": (df.dpmpp_3m, df.grid.log_snr(edm, 32)),
        "SDE, ancestral": (df.ancestral, odd), "SDE, Euler-Maruyama": (df.reverse_sde(), df.grid.edm(100)),
        "ODE, UniPC": (df.unipc(3), odd), "ODE, adaptive between": (df.flow_ode(rtol=1e-5, atol=1e-5), df.grid.edm(8)),
        "both, churned Heun": (df.churned(), odd), "both, Langevin corrected": (df.predictor_corrector(), odd)}
    found = {name: ends(box, n, method, grid=grid, start=start, seed=32) for name, (method, grid) in cases.items()}
    above, below = figure.subfigures(2, 1)
    for ax, (name, x) in zip(above.subplots(1, 4), found.items()):
        grid = cases[name][1]
        dots(ax, x[:2000], WIDE.posterior(x[:2000], 1.0, 0.0).argmax(1))
        contours(ax, WIDE, colors="0.3").set_title(f"{name}\n{len(grid)} steps, grid “{grid.name}”", fontsize=9)
    down, off = below.subplots(1, 2, width_ratios=[3, 2])
    _down(down, box, start)
    for name, x in found.items():
        off.plot(*excess(x, law(WIDE), 0.0), linewidth=0.8, label=name)
    off.axhspan(-allowed(n), allowed(n), color="0.93", zorder=0, label="true samples")
    bare(off, f"F of {n:,} samples less the exact F", "x₁")
    off.legend(frameon=False, fontsize=7, ncols=2, loc="upper center")
    off.set_ylim(-0.06, 0.13)
    by_hand = _loop(lambda x, sigma: WIDE(x, 1.0, sigma), [level.sigma for level in odd], start)
    same = ends(box, n, df.euler, grid=odd, start=start)
    return [
        near("the loop x += (sigma' - sigma) (x - D(x; sigma)) / sigma and the library's, relative", 0.0,
             float((by_hand - same).abs().max() / same.abs().max()), ROUNDING),
        *(near(f"{name}, {len(cases[name][1])} steps: sup |F - F| to the data, the largest of 8 directions", 0.0,
               distance(x, law(WIDE)), allowed(n), 3) for name, x in found.items()),
    ]


def _loop(D: Callable, sigmas: list[float], x: Tensor) -> Tensor:
    """The whole of it, for the ODE: dx/dsigma = -sigma score = (x - D) / sigma."""
    for sigma, lower in pairwise(sigmas):
        x = x + (lower - sigma) * (x - D(x, sigma)) / sigma
    return D(x, sigmas[-1])


def _down(ax: Axes, box: Any, start: Tensor) -> None:
    """x_1 on its way, in units of how wide the law is, over the density."""
    _backdrop(ax, WIDE, df.grid.log_snr(df.EDM(), 150), 1.0)
    for method, color, name in ((df.heun, "C0", "ODE"), (df.ancestral, "C1", "SDE")):
        run = df.sample(box, 6, method=method, grid=df.grid.log_snr(df.EDM(), 150), start=start[:6], seed=2, keep=True,
                        progress=False)
        sigmas = np.array([level.sigma for level in run.grid])
        assert run.trajectory is not None
        ax.plot(sigmas, run.trajectory.x[..., 0].numpy() / (1 + sigmas**2)[:, None] ** 0.5, color=color, linewidth=0.8)
        ax.plot([], [], color=color, label=name)
    bare(ax, "six starts, down the noise levels", "σ", "x₁ / √(1 + σ²)").legend(frameon=False, loc="lower right")


@row(39, "The ideal denoiser of a training set gives it back" + LATER, size=(10.0, 6.8))
def memorising(figure: Figure) -> list[Number]:
    (train, labels), n, low = training(), 100, 0.02
    ideal, fresh = Empirical(train, labels), drawn(3, seed=2).flatten(0, 2)
    made = {"the ideal denoiser": pictures(ideal, n, seed=39), "the mixture": pictures(digits(), n, seed=39),
            "digits drawn anew": fresh}
    far, which = zip(*(_nearest(x, train) for x in made.values()))
    noisy, _ = _nearest(ends(ideal, n, df.dpmpp_3m, 40, seed=39, close=False), train)
    above, below = figure.subplots(2, 1, height_ratios=[5, 3])
    given_back, mixed, shown, names = made["the ideal denoiser"], made["the mixture"], [], []
    for x, k, name in ((given_back, which[0], "ideal"), (mixed, which[1], "mixture")):
        shown += [x[:16], train[k[:16]], (x[:16] - train[k[:16]]) / 2]
        names += [name, "nearest in\ntraining", "half their\ndifference"]
    df.plot.grid(torch.cat(shown), 16, above, names)
    for k, (name, color) in enumerate(zip(made, ("C0", "C1", "C2"))):
        below.hist(far[k], np.linspace(0, 0.25, 51), color=color, alpha=0.5, label=name,
                   weights=np.full(len(far[k]), 1 / len(far[k])))
    below.set_yscale("log")
    bare(below, f"how far from the nearest of {len(train):,} training pictures",
         "RMS over the pixels, which go from -1 to 1", "part of the samples").legend(frameon=False)
    shares = np.bincount(labels[which[0]], minlength=10) / n
    return [
        near("ideal: largest difference of a pixel to the nearest training picture", 0.0,
             float((given_back - train[which[0]]).abs().max()), 64 * EPS),
        near(f"ideal, without the closing step: distance^2 over sigma_min^2, sigma_min = {low}", 1.0,
             float((noisy**2).mean()) / low**2, K * (2 / (n * SIDE**2)) ** 0.5, 4),
        near("ideal: largest difference of a digit's share to 1/10", 0.0, float(np.abs(shares - 0.1).max()),
             K * (0.09 / n) ** 0.5, 3),
        claim("ideal: other noise, another training picture", f"{len(np.unique(which[0]))} of {n} are different",
              len(np.unique(which[0])) > n / 2),
        claim("the mixture's are no training pictures", f"distances {far[1].min():.3f} to {far[1].max():.3f}, of "
              f"digits drawn anew {far[2].min():.3f} to {far[2].max():.3f}", far[1].min() > GRAIN),
    ]


def _nearest(x: Tensor, train: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The RMS distance, over pixels, to the nearest of the training pictures, and its number."""
    found = torch.cdist(x.flatten(1), train.flatten(1), compute_mode="donot_use_mm_for_euclid_dist").min(1)
    return (found.values / x[0].numel() ** 0.5).numpy(), found.indices.numpy()
