"""Rows 36 to 38: generation on request, with denoisers and classifiers in closed form."""

import math

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

import diffusion as df
from examples.curriculum.drawn import digits, pictures, read
from examples.curriculum.plane import EPS, LATER, ROUNDING, WIDE, allowed, contours, distance, dots, ends, law
from examples.curriculum.rows import K, Number, bare, claim, near, row

EVERYWHERE = (0.0, math.inf)


@row(36, "Guided by a classifier: on request from a model that takes none" + LATER, size=(10.0, 7.6))
def classifier_guidance(figure: Figure) -> list[Number]:
    above, below = figure.subfigures(2, 1)
    return [*_bayes(), *_guided_plane(*above.subplots(1, 3)), *_guided_digits(below.subplots())]


def _by_classifier(w: float) -> df.Denoiser:
    return df.classifier_guided(WIDE, WIDE.log_posterior, 3, w)


def _bayes() -> list[Number]:
    """D by D: with the exact classifier and w = 1 the guided unconditional model is the conditional one."""
    label, off, courses, levels = torch.arange(300) % 3, 0.0, 0.0, [df.EDM().level(t) for t in (0.05, 1.0, 20.0)]
    for at in (*levels, df.VP().level(0.3), df.RectifiedFlow().level(0.7)):
        x = WIDE.sample(300, at.alpha, at.sigma, seed=36)
        asked, size = WIDE(x, at.alpha, at.sigma, label), float(x.abs().max()) / at.alpha
        off = max(off, float((_by_classifier(1.0)(x, at.alpha, at.sigma, label) - asked).abs().max()) / size)
        score = WIDE.score(x, at.alpha, at.sigma) - _loss_gradient(x, at, label)
        courses = max(courses, float(((x + at.sigma**2 * score) / at.alpha - asked).abs().max()) / size)
    return [
        near("plane, w = 1: D(x) guided to y less D(x, y), relative, 5 levels of 3 processes", 0.0, off, 64 * EPS),
        near("the same D from score - lambda grad loss, loss = cross-entropy, lambda = 1: relative", 0.0, courses,
             64 * EPS),
    ]


def _loss_gradient(x: Tensor, at: df.Level, label: Tensor) -> Tensor:
    """Of the classifier's cross-entropy."""
    held = x.clone().requires_grad_(True)
    loss = torch.nn.functional.cross_entropy(WIDE.log_posterior(held, at.alpha, at.sigma), label, reduction="sum")
    return torch.autograd.grad(loss, held)[0]


def _mean_p(x: Tensor, label: Tensor) -> float:
    """How sure the exact classifier is that samples are of the class asked for."""
    p = read(x) if x.ndim > 2 else WIDE.posterior(x, 1.0, 0.0)
    return float(p.gather(1, label[:, None]).mean())


def _guided_plane(field: Axes, right: Axes, wrong: Axes) -> list[Number]:
    n, at, aim = 3000, df.EDM().level(0.6), 2
    label = torch.arange(n) % 3
    x = torch.cartesian_prod(*[torch.linspace(-2.6, 2.6, 14, dtype=torch.float64)] * 2)
    for arrows, color in ((WIDE.score(x, at.alpha, at.sigma), "0.6"),
                          (-_loss_gradient(x, at, torch.full((len(x),), aim)), "C3")):
        field.quiver(*x.T, *arrows.T, color=color, scale=60, width=0.004)
    contours(field, WIDE, label=aim, colors=f"C{aim}")
    field.set_title(f"σ = {at.sigma:g}: score, and -∂ loss of C", fontsize=10)
    asked = ends(WIDE, n, df.heun, 24, seed=36, label=label)
    found = {w: ends(_by_classifier(w), n, df.heun, 24, seed=36, label=label) for w in (1.0, -1.0)}
    for ax, w, title in ((right, 1.0, "score - ∂ loss: as asked for"), (wrong, -1.0, "score + ∂ loss: the wrong sign")):
        dots(ax, found[w], label)
        for c in range(3):
            contours(ax, WIDE, 3, label=c, colors=f"C{c}")
        ax.set_title(title, fontsize=10)
    for ax in (field, right, wrong):
        for c, (u, v) in enumerate(((2.3, 1.9), (-2.7, 1.9), (0.9, -2.7))):
            ax.text(u, v, "ABC"[c], color=f"C{c}", fontsize=12, weight="bold")
    p = {w: _mean_p(x, label) for w, x in found.items()}
    return [
        near("plane, w = 1: samples less those of the conditional model from the same noise, largest", 0.0,
             float((found[1.0] - asked).abs().max()), ROUNDING),
        *(near(f"plane, w = 1, class {'ABC'[c]}: sup |F - F| to the exact law of the class, 8 directions", 0.0,
               distance(found[1.0][label == c], law(WIDE).components[c]), allowed(n // 3), 3) for c in range(3)),
        claim("plane: the wrong sign leads away", f"mean p(y given x) {p[-1.0]:.3f}; with the right one {p[1.0]:.3f}, "
              f"of the class itself {_mean_p(asked, label):.3f}", p[-1.0] < 1 / 3 < p[1.0]),
    ]


def _guided_digits(ax: Axes) -> list[Number]:
    model, label = digits(), torch.arange(20) % 10
    plain, asked = (pictures(model, 20, given, seed=36) for given in (None, label))
    one, three = (pictures(df.classifier_guided(model, model.log_posterior, 10, w), 20, label, seed=36)
                  for w in (1.0, 3.0))
    shown = [x[k:k + 10] for k in (0, 10) for x in (plain, one, three)]
    df.plot.grid(torch.cat(shown), 10, ax, ["unguided", "w = 1", "w = 3"] * 2, list("0123456789"))
    ax.set_title("asked for", fontsize=10)
    return [
        near("digits, w = 1: largest difference to the conditional model's pictures", 0.0,
             float((one - asked).abs().max()), ROUNDING),
        claim("digits: guided pictures are what was asked for", f"mean p(digit asked for) {_mean_p(one, label):.4f}, "
              f"unguided {_mean_p(plain, label):.2f}", _mean_p(one, label) > 0.99),
    ]


@row(37, "Guided without a classifier: (1 + e) D(x, y) - e D(x, none) sharpens and narrows" + LATER, size=(10.0, 6.0))
def classifier_free_guidance(figure: Figure) -> list[Number]:
    above, below = figure.subfigures(2, 1, height_ratios=[9, 10])
    return [*_free_plane(above.subplots(1, 4)), *_free_digits(below.subplots())]


def _free_plane(axes) -> list[Number]:
    n, guides, shown = 3000, (0.0, 0.5, 1.0, 2.0, 4.0), dict(zip((0.0, 1.0, 4.0), axes))
    label, p, square = torch.arange(n) % 3, [], []
    for e in guides:
        x = ends(WIDE, n, df.dpmpp_3m, 40, seed=37, label=label, guidance=e, interval=EVERYWHERE)
        middles = torch.stack([x[label == c].mean(0) for c in range(3)])
        p.append(WIDE.posterior(x, 1.0, 0.0).gather(1, label[:, None])[:, 0].numpy())
        square.append((x - middles[label]).square().sum(1).numpy())
        if e in shown:
            dots(shown[e], x, label)
            contours(shown[e], WIDE, reach=3.7, colors="0.3").text(-3.5, 2.6, f"e = {e:g}")
    spreads, narrow = [s.mean() ** 0.5 for s in square], square[3][label == 0]
    axes[3].plot(guides, [each.mean() for each in p], "o-", color="C2", label="mean p(y given x)")
    axes[3].plot(guides, spreads, "o-", color="C1", label="spread of a class")
    bare(axes[3], "", "e").legend(frameon=False, fontsize=8)
    axes[3].set(ylim=(0, 1.05), box_aspect=1)
    rise, fall = (np.array([d.mean() / (d.std() / n**0.5) for d in np.diff(found, axis=0)]) for found in (p, square))
    at, tilted, error = WIDE.sample(300, 1.0, 0.7, seed=37), _tilted(0, 2.0), narrow.std() / len(narrow) ** 0.5
    formula = 2.5 * WIDE(at, 1.0, 0.7, label[:300]) - 1.5 * WIDE(at, 1.0, 0.7)
    return [
        near("plane: D guided less (1 + e) D(x, y) - e D(x, none), e = 1.5: largest", 0.0,
             float((df.classifier_free(WIDE, 1.5)(at, 1.0, 0.7, label[:300]) - formula).abs().max()), 64 * EPS),
        claim("plane: mean p(y given x) rises with e", ", ".join(f"{each.mean():.4f}" for each in p) + " at e = "
              + ", ".join(f"{e:g}" for e in guides), bool((rise > K).all())),
        claim("plane: the spread of a class falls with e", ", ".join(f"{s:.3f}" for s in spreads),
              bool((fall < -K).all())),
        claim("plane: what comes out is not the law p(x given y)^(1+e) / p(x)^e", f"class A at e = 2: variance "
              f"{narrow.mean():.3f} ± {error:.3f}, of that law {tilted:.3f}", abs(narrow.mean() - tilted) > K * error),
    ]


def _tilted(label: int, e: float) -> float:
    """The variance of p(x | y)^(1+e) / p(x)^e, by sums over a grid."""
    x = torch.cartesian_prod(*[torch.linspace(-6, 6, 301, dtype=torch.float64)] * 2)
    p = ((1 + e) * WIDE.log_prob(x, 1.0, 0.0, label) - e * WIDE.log_prob(x, 1.0, 0.0)).softmax(0)
    return float(p @ (x - p @ x).square().sum(1))


def _free_digits(ax: Axes) -> list[Number]:
    guides = (0.0, 1.0, 3.0, 9.0)
    made = [pictures(digits(), 24, 3, seed=38, guidance=e, interval=EVERYWHERE) for e in guides]
    df.plot.grid(torch.cat([x[:16] for x in made]), 16, ax, [f"e = {e:g}" for e in guides])
    ax.set_title("asked for 3; one noise a column", fontsize=10)
    spreads = [float(x.var(0).sum()) ** 0.5 for x in made]
    return [claim("digits: the spread of the class falls with e", ", ".join(f"{s:.2f}" for s in spreads) + " at e = "
                  + ", ".join(f"{e:g}" for e in guides), spreads == sorted(spreads, reverse=True))]


@row(38, "Contrasting cases: the same noise, another class" + LATER, size=(10.0, 5.6))
def contrasting(figure: Figure) -> list[Number]:
    left, right = figure.subplots(1, 2, width_ratios=[5, 4])
    n, how = 10, {"method": df.dpmpp_3m, "seed": 38, "dtype": torch.float64, "progress": False}
    grid = df.contrast(digits(), n, steps=16, **how)  # (n, 10, 1, SIDE, SIDE)
    df.plot.grid(grid.flatten(0, 1), 10, left, [f"noise {i}" for i in range(n)], list("0123456789"))
    starts = torch.stack([next(df.steps(digits(), 3, label=c, seed=38)).x for c in range(10)])
    alone, found = pictures(digits(), 1, 7, seed=38, first=4)[0], read(grid.flatten(0, 1)).argmax(1).reshape(n, 10)
    rough, three = (df.contrast(WIDE, 24, steps=steps, close=False, **how) for steps in (20, 40))  # (24, 3, 2)
    for c in range(3):
        contours(right, WIDE, 3, label=c, colors=f"C{c}", alpha=0.5)
    for ends_of_one in three:
        right.plot(*torch.cat([ends_of_one, ends_of_one[:1]]).T, color="0.8", linewidth=0.6, zorder=1)
        right.scatter(*ends_of_one.T, s=14, c=["C0", "C1", "C2"], zorder=2)
    right.set(xlim=(-2.8, 2.8), ylim=(-2.8, 2.4))
    right.set_title("A, B, C of one noise, joined", fontsize=10)
    return [
        near("digits: first states of ten classes, largest difference", 0.0, float((starts - starts[0]).abs().max()),
             0.0),
        near("digits: noise 4 made a 7 alone, less that in the grid, largest", 0.0,
             float((alone - grid[4, 7]).abs().max()), 1e-12),
        claim(f"digits: each of {10 * n} pictures is of its column's class",
              f"{int((found == torch.arange(10)).sum())} by the exact classifier",
              bool((found == torch.arange(10)).all())),
        near("plane: largest difference to m_y + ((S_y + s_N^2) / (S_y + s_0^2))^(1/2) (x_0 - m_y), the exact flow "
             "from one noise x_0, N = 40; allowed is how far 20 steps are from 40", 0.0,
             float((three - _flown()).abs().max()), float((three - rough).abs().max()), 3),
    ]


def _flown() -> Tensor:
    """Where the flow of each class leads from the noises of the picture in the plane, (24, 3, 2)."""
    grid, found = df.grid.edm(40), []
    x0, (first, *_, last) = next(df.steps(WIDE, 24, seed=38)).x.numpy(), [level.sigma for level in grid]
    for part in law(WIDE).components:
        values, U = np.linalg.eigh(part.cov)
        kept = ((values + last**2) / (values + first**2)) ** 0.5
        found.append(part.mean + (x0 - part.mean) @ (U * kept) @ U.T)
    return torch.from_numpy(np.stack(found, 1))
