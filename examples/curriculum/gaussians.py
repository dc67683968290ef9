"""Rows 14 to 18: facts about Gaussians, in closed form and by sampling."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.linalg import sqrtm
from scipy.stats import chi2, kstest, norm

from examples.curriculum.rows import K, Number, bare, claim, near, row
from sdekit import gaussian
from sdekit.gaussian import Gaussian, Mixture

ROUNDING = 1e-12
ANGLES = np.linspace(0, 2 * np.pi, 200)
CIRCLE = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)


def _ellipses(ax: Axes, law: Gaussian, color: str, label: str) -> None:
    """The ellipses at 1 and 2 standard deviations, named at their lowest point."""
    inner, outer = law.transport(CIRCLE), law.transport(2 * CIRCLE)
    ax.plot(*inner.T, color=color)
    ax.plot(*outer.T, color=color)
    ax.plot(*law.mean, "+", color=color)
    x, y = outer[outer[:, 1].argmin()]
    ax.text(x, y - 0.2, label, color=color, ha="center", va="top")


@row(14, "The sum of independent Gaussians")
def sums(figure: Figure) -> list[Number]:
    left, right = figure.subplots(1, 2)
    n, grid = 100_000, np.linspace(-6, 12, 400)
    u, v = Gaussian(-1.0, 1.0), Gaussian(4.0, 4.0)
    total = u.sample(n, seed=1) + v.sample(n, seed=1, stream=1)
    left.hist(total[:, 0], 100, density=True, color="C2", alpha=0.35, label=f"{n:,} sums X + Y")
    for law, color, name in ((u, "C0", "X ~ N(-1, 1)"), (v, "C1", "Y ~ N(4, 4)"), (u + v, "C2", "N(3, 5)")):
        left.plot(grid, law.pdf(grid), color=color, label=name)
    bare(left, "On the line", "x", "density").legend(frameon=False, fontsize=9)
    left.set_ylim(0, 0.45)

    X, Y = Gaussian([-3.0, 1.0], [[1.0, 0.8], [0.8, 1.0]]), Gaussian([4.0, 2.0], [[2.0, -1.2], [-1.2, 1.0]])
    both = X.sample(n, seed=2) + Y.sample(n, seed=2, stream=1)
    right.plot(*both[:3000].T, ".", color="C2", markersize=1.5, alpha=0.3)
    for law, color, name in ((X, "C0", "X"), (Y, "C1", "Y"), (X + Y, "C2", "X + Y")):
        _ellipses(right, law, color, name)
    right.set_aspect("equal")
    bare(right, "In the plane: 1 and 2 standard deviations", "x", "y")

    m, S = both.mean(axis=0), np.cov(both.T)
    asked_m, asked_S = X.mean + Y.mean, X.cov + Y.cov
    p = kstest((X + Y).mahalanobis(both) ** 2, chi2(2).cdf).pvalue
    of = {"(1, 1)": (0, 0), "(1, 2)": (0, 1), "(2, 2)": (1, 1)}
    return [
        *(near(f"mean of the sums, {k + 1}", asked_m[k], m[k], K * (asked_S[k, k] / n) ** 0.5) for k in range(2)),
        *(near(f"covariance of the sums, {name}", asked_S[i, j], S[i, j],
               K * ((asked_S[i, i] * asked_S[j, j] + asked_S[i, j] ** 2) / n) ** 0.5) for name, (i, j) in of.items()),
        near("the law X + Y, largest error of N(m + m', S + S')", 0.0,
             max(np.abs((X + Y).mean - asked_m).max(), np.abs((X + Y).cov - asked_S).max()), ROUNDING),
        claim("|(S + S')^-1/2 (x - m - m')|^2 is chi-squared", f"Kolmogorov-Smirnov p = {p:.2f}", p > 1e-4),
    ]


@row(15, "Entropy and mutual information")
def information(figure: Figure) -> list[Number]:
    left, middle, right = figure.subplots(1, 3)
    plane = Gaussian([0.0, 0.0], [[1.0, 0.8], [0.8, 1.0]])
    space = Gaussian([1.0, 0.0, 2.0], [[2.0, 0.5, 1.0], [0.5, 1.0, -0.6], [1.0, -0.6, 3.0]])
    X, grid = plane.marginal(0), np.linspace(-3.5, 3.5, 300)
    left.plot(grid, X.pdf(grid), color="black", label=f"X, H = {X.entropy():.3f}")
    for k, y in enumerate((-1.0, 0.0, 2.0)):
        given = plane.conditional(1, y)
        left.plot(grid, given.pdf(grid), color=f"C{k}", label=f"X | Y = {y:g}, H = {given.entropy():.3f}")
    bare(left, "What Y says about X", "x", "density").legend(frameon=False, fontsize=8, loc="upper left")
    left.set_ylim(0, 1.15)

    y = plane.marginal(1).sample(1000, seed=1)[:, 0]
    gains = np.array([gaussian.kl(plane.conditional(1, v), X) for v in y])
    middle.hist(gains, np.linspace(0, 2.5, 51), density=True, alpha=0.4)
    middle.axvline(gains.mean(), color="C0", label=f"mean {gains.mean():.3f}")
    middle.axvline(gaussian.mutual_information(plane, 0), color="black", linestyle="--", label="I(X; Y)")
    bare(middle, "KL(X | Y = y, X) over the y", "nats", "density").legend(frameon=False)

    rho = np.linspace(-0.999, 0.999, 201)
    right.plot(rho, [gaussian.mutual_information(Gaussian([0, 0], [[1, c], [c, 1]]), 0) for c in rho])
    right.plot(0.8, gaussian.mutual_information(plane, 0), "o", color="black")
    bare(right, "I(X; Y) = -log(1 - ρ²) / 2", "correlation ρ", "nats")
    right.set_ylim(0)
    closed = -0.5 * np.log(1 - 0.8**2)
    return [
        *(near(f"two numbers, {name}", closed, got, ROUNDING) for name, got in _informations(plane).items()),
        near(f"two numbers, mean KL(X|Y=y, X) over {len(y)} samples y", closed, gains.mean(),
             K * gains.std() / len(y) ** 0.5),
        *(near(f"X in the plane, {name}", 0.5 * np.log(np.linalg.det(space.cov[:2, :2]) * space.cov[2, 2]
                                                       / np.linalg.det(space.cov)), got, ROUNDING)
          for name, got in _informations(space).items()),
    ]


def _informations(joint: Gaussian) -> dict[str, float]:
    """I(X; Y) in each of its forms, Y the last component and X the others."""
    last = joint.d - 1
    x = list(range(last))
    X, Y = joint.marginal(x), joint.marginal(last)
    nodes, weights = np.polynomial.hermite_e.hermegauss(3)  # exact: KL is quadratic in y
    kls = [gaussian.kl(joint.conditional(last, y), X) for y in Y.transport(nodes[:, None])[:, 0]]
    return {
        "I(X; Y)": gaussian.mutual_information(joint, x),
        "H(X) - H(X|Y)": X.entropy() - joint.conditional(last, 0.0).entropy(),
        "H(Y) - H(Y|X)": Y.entropy() - joint.conditional(x, 0.0).entropy(),
        "E KL(X|Y=y, X)": float(weights @ kls / weights.sum()),
    }


@row(16, "Three distances: total variation, Kullback-Leibler, Wasserstein")
def distances(figure: Figure) -> list[Number]:
    left, middle, right = figure.subplots(1, 3)
    a, b, grid = Gaussian(0.0, 1.0), Gaussian(2.0, 1.0), np.linspace(-4, 6, 400)
    overlap = np.minimum(a.pdf(grid), b.pdf(grid))
    left.plot(grid, a.pdf(grid), color="black", label="N(0, 1)")
    left.plot(grid, b.pdf(grid), color="0.5", label="N(2, 1)")
    left.fill_between(grid, overlap, color="0.8", label=f"1 - TV = {1 - float(gaussian.total_variation(a, b)):.3f}")
    bare(left, "Total variation: 1 - what is shared", "x", "density").legend(frameon=False, loc="upper left")
    left.set_ylim(0, 0.6)

    of = {"TV": lambda p, q: float(gaussian.total_variation(p, q)), "KL": gaussian.kl, "W2": gaussian.wasserstein}
    shifts, flat = np.linspace(0, 4, 81), np.logspace(-3, 0, 81)
    for name, distance in of.items():
        middle.plot(shifts, [distance(a, a + m) for m in shifts], label=name)
        right.semilogx(flat, [distance(_round(), Gaussian([0, 0], [1, f**2])) for f in flat], label=name)
    bare(middle, "N(0, 1) and N(m, 1)", "m").legend(frameon=False)
    bare(right, "N(0, I) and one that is flattened", "its second standard deviation").legend(frameon=False)
    right.set_ylim(0, 4)
    middle.set_ylim(0, 4)
    return [*_equal_covariances(), *_general(), *_singular()]


def _round() -> Gaussian:
    return Gaussian([0.0, 0.0], 1.0)


def _equal_covariances() -> list[Number]:
    m = np.array([1.0, 2.0, -0.5])
    found = gaussian.total_variation(Gaussian(m, 1.0), Gaussian(np.zeros(3), 1.0))
    return [near("TV of N(m, I) and N(0, I) in space, 2 Phi(|m|/2) - 1", float(2 * norm.cdf(np.linalg.norm(m) / 2) - 1),
                 found.value, ROUNDING)]


def _general() -> list[Number]:
    """KL and W2 by their formulas with matrices, and the KL and TV by what they mean: averages over samples of p."""
    p = Gaussian([1.0, 0.0, -1.0], [[2.0, 0.5, 0.3], [0.5, 1.0, -0.2], [0.3, -0.2, 0.5]])
    q = Gaussian([0.0, 0.5, 0.0], [[1.0, -0.3, 0.0], [-0.3, 2.0, 0.4], [0.0, 0.4, 1.0]])
    off, n = p.mean - q.mean, 100_000
    precision = np.linalg.inv(q.cov)
    kl = 0.5 * (off @ precision @ off + np.trace(precision @ p.cov) - 3
                + np.log(np.linalg.det(q.cov) / np.linalg.det(p.cov)))
    frechet = off @ off + np.trace(p.cov + q.cov - 2 * np.real(sqrtm(p.cov @ q.cov)))
    x = p.sample(n, seed=1)
    log_ratio = p.logpdf(x) - q.logpdf(x)
    apart = np.maximum(1 - np.exp(-log_ratio), 0)
    return [
        near("KL in space, the formula", kl, gaussian.kl(p, q), ROUNDING),
        near(f"KL, mean of log p/q over {n:,} samples of p", gaussian.kl(p, q), log_ratio.mean(),
             K * log_ratio.std() / n**0.5),
        near("W2^2 in space, the formula", frechet, gaussian.wasserstein(p, q) ** 2, ROUNDING),
        near(f"TV, mean of max(1 - q/p, 0) over {n:,} samples of p", gaussian.total_variation(p, q).value,
             apart.mean(), K * apart.std() / n**0.5),
    ]


def _singular() -> list[Number]:
    """Laws on a line through the plane, y = x, and on another."""
    line, wider = Gaussian([0.0, 0.0], [[1.0, 1.0], [1.0, 1.0]]), Gaussian([1.0, 1.0], [[4.0, 4.0], [4.0, 4.0]])
    kl = gaussian.kl(line, _round())
    return [
        near("KL on the line y = x is that of N(0, 1) and N(1, 4)", gaussian.kl(Gaussian(0.0, 1.0), Gaussian(1.0, 4.0)),
             gaussian.kl(line, wider), ROUNDING),
        claim("KL of the line from the plane is infinite", f"{kl}", kl == np.inf),
        near("TV of the line and the plane", 1.0, gaussian.total_variation(line, _round()).value, 0.0),
        near("W2^2 of the line and the plane, tr(S + S') - 2 tr (S S')^(1/2) = 4 - 2 sqrt 2", 4 - 8**0.5,
             gaussian.wasserstein(line, _round()) ** 2, ROUNDING),
        near("W2 of two points is their distance", 5.0,
             gaussian.wasserstein(Gaussian([0.0, 0.0], 0.0), Gaussian([3.0, 4.0], 0.0)), ROUNDING),
    ]


@row(17, "The score: grad p = p grad log p")
def scores(figure: Figure) -> list[Number]:
    left, middle, right = figure.subplots(1, 3)
    line = Mixture([0.4, 0.6], [Gaussian(-2.0, 0.5), Gaussian(1.5, 1.0)])
    x = np.linspace(-5, 5, 401)
    left.plot(x, line.pdf(x), color="0.6", label="p")
    left.plot(x, line.pdf(x) * line.score(x), color="C0", label="p grad log p")
    left.plot(x[::12], _gradient(line, x[::12, None]), "o", color="C1", markersize=3, label="grad p, by differences")
    bare(left, "A mixture on the line", "x").legend(frameon=False, fontsize=9)
    left.set_ylim(-0.2, 0.45)

    one = Gaussian([0.5, 0.0], [[2.0, 1.0], [1.0, 1.0]])
    three = Mixture([0.3, 0.4, 0.3], [Gaussian([-1.5, -1.0], 0.5), Gaussian([1.5, 0.0], [[0.6, 0.4], [0.4, 0.8]]),
                                      Gaussian([-0.5, 2.0], [1.0, 0.2])])
    side = np.linspace(-3.5, 3.5, 141)
    plane = np.stack(np.meshgrid(side, side), axis=-1)
    for ax, name, law in ((middle, "a Gaussian", one), (right, "a mixture of three", three)):
        ax.contourf(side, side, law.pdf(plane), 12, cmap="Blues")
        some = plane[10::15, 10::15].reshape(-1, 2)
        ax.quiver(*some.T, *law.score(some).T, color="C1", width=0.006)
        ax.set_aspect("equal")
        bare(ax, f"Score of {name}", "x", "y" if ax is middle else "")

    points = plane[::7, ::7].reshape(-1, 2)
    cases = {"Gaussian on the line": (Gaussian(1.0, 2.0), x[:, None]), "mixture on the line": (line, x[:, None]),
             "Gaussian in the plane": (one, points), "mixture in the plane": (three, points)}
    return [near(f"{name}: largest |grad p - p grad log p|", 0.0,
                 float(np.abs(_gradient(law, at) - law.pdf(at)[:, None] * law.score(at)).max()), 1e-9)
            for name, (law, at) in cases.items()]


def _gradient(law: Gaussian | Mixture, x: np.ndarray, h: float = 1e-3) -> np.ndarray:
    """grad p at the points x (n, d) by differences: the error is h^4 p^(5) / 30, and rounding 1e-16 / h."""
    def slope(step: np.ndarray) -> np.ndarray:
        return (8 * (law.pdf(x + step) - law.pdf(x - step)) - law.pdf(x + 2 * step) + law.pdf(x - 2 * step)) / (12 * h)

    return np.stack([slope(step) for step in h * np.eye(law.d)], axis=-1)


@row(18, "The conditional mean has the least squared error")
def conditional_mean(figure: Figure) -> list[Number]:
    left, middle, right = figure.subplots(1, 3)
    n, sigma, h = 200_000, 0.6, 0.25
    clean = Mixture([0.35, 0.65], [Gaussian(-1.0, 0.02), Gaussian(1.0, 0.1)])
    noisy = clean.diffused(1.0, sigma)  # Y = X + sigma Z
    x = clean.sample(n, seed=1)[:, 0]
    y = x + Gaussian(0.0, sigma**2).sample(n, seed=1, stream=1)[:, 0]
    best = lambda y: y + sigma**2 * noisy.score(y)  # E[X | Y = y], Robbins 1956
    grid, knots = np.linspace(-6, 6, 4001), np.arange(-3, 3.5 + h / 2, h)
    over_y = noisy.pdf(grid) * (grid[1] - grid[0])
    least = clean.cov[0, 0] + clean.mean[0] ** 2 - over_y @ best(grid) ** 2  # E X^2 - E E[X|Y]^2
    residual = x - best(y)
    numbers = [near("squared error of E[X|Y]: E Var(X|Y)", least, (residual**2).mean(),
                    K * (residual**2).std() / n**0.5)]

    a, seen = np.linspace(-1, 1, 41), slice(None, 3000)
    for k, (name, g) in enumerate({"1": np.ones(n), "y": y, "sin 3y": np.sin(3 * y)}.items()):
        middle.plot(a, least + a**2 * (g**2).mean(), color=f"C{k}")
        middle.plot(a[::4], [((residual - c * g) ** 2).mean() for c in a[::4]], "o", color=f"C{k}", markersize=4,
                    label=f"g = {name}")
        numbers.append(near(f"slope there in the direction of g(Y): E (X - E[X|Y]) g, g = {name}", 0.0,
                            (residual * g).mean(), K * (residual * g).std() / n**0.5))
    middle.axhline(least, color="black", linewidth=0.8)
    bare(middle, "Squared error of E[X|Y] + a g(Y)", "a").legend(frameon=False)

    left.plot(y[seen], x[seen], ".", color="0.75", markersize=2)
    pairs, above, f = [], [], np.zeros_like(knots)
    for count, heights in _trained(x, y, knots, h):
        f = np.interp(grid, knots, heights)
        pairs, above = [*pairs, count], [*above, over_y @ (f - best(grid)) ** 2]
        if count in (100, 1000, n):
            left.plot(knots, heights, ".-", linewidth=1, label=f"after {count:,} pairs")
    left.plot(grid, best(grid), color="black", linestyle="--", label="E[X|Y]")
    bare(left, "Trained on pairs (y, x) alone", "y, with noise", "x").legend(frameon=False, fontsize=8)
    left.set(xlim=(-3, 3.5), ylim=(-2.8, 2.3))
    noise, pieces = len(knots) * least / n, over_y @ (np.interp(grid, knots, best(knots)) - best(grid)) ** 2
    right.loglog(pairs, above, label="above the least error")
    right.loglog(pairs, noise * n / np.array(pairs), "--", color="black", label=f"{len(knots)} E Var(X|Y) / pairs")
    bare(right, "The error while it trains", "pairs seen").legend(frameon=False)
    return [*numbers, near("trained, root mean squared distance from E[X|Y]", 0.0, above[-1] ** 0.5,
                           2 * noise**0.5 + pieces**0.5)]


def _trained(x: np.ndarray, y: np.ndarray, knots: np.ndarray, h: float, batch: int = 100):
    """Gradient descent on (x - f(y))^2, f straight between its heights at the knots; the pairs seen, and the heights.

    The rate of a height is 2 / (the pairs that it has seen), as Robbins & Monro 1951 ask.
    """
    heights, weight = np.zeros(len(knots)), np.ones(len(knots))
    for first in range(0, len(y), batch):
        at, target = y[first:first + batch], x[first:first + batch]
        slopes = np.maximum(1 - np.abs(at[:, None] - knots) / h, 0)  # df(y) / d heights: (batch, knots)
        weight += slopes.sum(axis=0)
        heights = heights + 2 * slopes.T @ (target - np.interp(at, knots, heights)) / weight
        if (first // batch + 1) in (1, 3, 10, 30, 100, 300, 1000) or first + batch == len(y):
            yield first + batch, heights
