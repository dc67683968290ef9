"""Masses of cells that move along lines of cells: conservative, never negative, second order in space and in time.

Cell i holds the mass m_i = p_i vol_i. Along a line of neighbours, the mass that crosses the face between i and i + 1 in
a unit of time is F = r_i m_i - s_i m_{i+1} with rates r, s >= 0, so that dm/dt = A m is a Markov chain's forward
equation: every column of A sums to nought, and no entry off its diagonal is negative.

Rates. With w = D/2 per distance of the centres, v the drift over the face and u = min(w_i, w_{i+1}),

    F = (w_i - u + u B(-z)) p_i - (w_{i+1} - u + u B(z)) p_{i+1},    z = v / u,  B(z) = z / (e^z - 1):

the differences of D p as they are, and the drift by exponential fitting (Scharfetter & Gummel 1969; Chang & Cooper
1970): e^{-2U/D} stays what it is where f = -U', D is constant and |z| < 2. |z| is the cell's Peclet number. The fitted
flux is the central one with as much diffusion on top as keeps the rates from falling below 0: little for |z| < 2, where
it is of second order; |v|/2 - u for larger |z|, which is upwinding and of first order. This part is taken back (`high`
below) by phi(r) = min(1, max(0, 2 r)), r the ratio of the slopes before and across the face (Sweby 1984): wholly where
p is smooth, not at all at peaks and jumps, so that no new ones arise. Where other lines have a part of the noise in
this direction, the drift is fitted to the whole of it, by taking back the rest.

Noises that are correlated. D/2 = sum_e w_e e e^T with w_e >= 0 and offsets e of whole cells exists for every positive
definite D; the shortest offsets are found by Selling's reduction of lattices (1874; Bonnans, Ottenwaelter & Zidani
2004; Fehrenbach & Mirebeau 2014). Each offset has lines of its own, on which D_e = 2 w_e.

Time. With Y = (1 - hA/2)^{-1}, a step is 3 Y^2 - Y - Y^3, of second order and L-stable. Y^2, two half steps of backward
Euler, is positive; the rest is a difference of fluxes, of which no more leaves a cell than the cell holds (Boris & Book
1973; Zalesak 1979). Several families of lines take their steps by Strang's splitting (1968), with the rates of the
step's middle.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FARTHEST = 12  # cells that an offset reaches
NOTHING = 1e-12  # of the mass, over one face in one step: not worth being taken back
SLACK = 1e-12  # of a cell's mass stays, so that rounding takes no more than there is


@dataclass(frozen=True)
class Lines:
    """Cells in the order of the lines i, i + e, i + 2 e ... through a grid.

    order   the cells, (n,), of the grid's flattened array
    linked  (n - 1,), whether a cell and the next in this order are neighbours on a line
    """

    order: np.ndarray
    linked: np.ndarray


@dataclass(frozen=True)
class Rates:
    """Rates of the mass along lines, (n - 1,) each and 0 where nothing is linked.

    forward, backward  from a cell to the next and back, both >= 0
    high               how much both lose to be of second order where the drift dominates, (2, n - 1)
    rightward          whether the drift goes to the next cell
    limited            whether that is taken back by phi(r) alone
    """

    lines: Lines
    forward: np.ndarray
    backward: np.ndarray
    high: np.ndarray | None
    rightward: np.ndarray
    limited: np.ndarray


def lines(shape: tuple[int, ...], offset: tuple[int, ...]) -> Lines:
    """The lines along an offset of whole cells without a common divisor.

    >>> lines((2, 3), (1, 1)).order, lines((2, 3), (1, 1)).linked
    (array([2, 1, 5, 0, 4, 3]), array([False,  True, False,  True, False]))
    """
    if len(shape) == 1:
        return Lines(np.arange(shape[0]), np.ones(shape[0] - 1, bool))
    i, j = (c.ravel() for c in np.indices(shape))
    line, place = i * offset[1] - j * offset[0], i * offset[0] + j * offset[1]
    order = np.lexsort((place, line))
    return Lines(order, np.diff(line[order]) == 0)


def rates(along: Lines, half: np.ndarray, gap: np.ndarray, width: np.ndarray, drift: np.ndarray | None = None,
          whole: np.ndarray | None = None) -> Rates:
    """The rates of this module's flux.

    half   D/2 along the lines at the centres, (n,), in the grid's order, >= 0; or over the faces, (n - 1,), in the
           lines' order
    gap    from a centre to the next, (n - 1,), in the lines' order
    width  of the cells along the lines, (n,), in the grid's order
    drift  over the faces, (n - 1,), in the lines' order
    whole  D/2 in this direction with what goes along other lines, (n,), in the grid's order; by default `half`
    """
    here, there = along.order[:-1], along.order[1:]
    ends = (half, half) if len(half) == len(gap) else (half[here], half[there])
    w = np.where(along.linked, ends[0] / gap, 0.0), np.where(along.linked, ends[1] / gap, 0.0)
    if drift is None:
        return Rates(along, w[0] / width[here], w[1] / width[there], None, along.linked, along.linked)
    v, u = np.where(along.linked, drift, 0.0), np.minimum(*w)
    back = _against(v, u)  # B(-z) = B(z) + z leaves the rest to the drift itself
    forward, backward = w[0] - u + back + np.maximum(v, 0.0), w[1] - u + back + np.maximum(-v, 0.0)
    noise = u if whole is None else np.minimum(whole[here], whole[there]) / gap
    surplus = back - u - (_against(v, noise) - noise) + np.maximum(abs(v) / 2 - noise, 0.0)
    high = np.stack([surplus / width[here], surplus / width[there]]) if surplus.any() else None
    return Rates(along, forward / width[here], backward / width[there], high, v > 0, abs(v) > 2 * noise)


def _against(v: np.ndarray, u: np.ndarray) -> np.ndarray:
    """u B(|v| / u): what noise carries against a drift."""
    from scipy.special import exprel
    with np.errstate(over="ignore"):
        return u / exprel(np.divide(abs(v), u, out=np.full(len(u), np.inf), where=u > 0))


def advance(mass: np.ndarray, families: Sequence[Rates], h: float, volume: np.ndarray) -> np.ndarray:
    """The masses (n,) a time h later, by Strang's splitting over the families of lines."""
    *outer, inner = families
    for part, step in *((one, h / 2) for one in outer), (inner, h), *((one, h / 2) for one in reversed(outer)):
        order, along = part.lines.order, np.empty_like(mass)
        along[order] = _advance_along(mass[order], part, step, volume[order])
        mass = along
    return mass


def _advance_along(mass: np.ndarray, of: Rates, h: float, volume: np.ndarray) -> np.ndarray:
    """One family's step; the masses in the lines' order."""
    low = of.forward, of.backward
    first, second, third = _stages(mass, low, h)
    extra = h / 2 * (_flux(second, low) - _flux(third, low))  # beyond the fluxes of `second`
    if of.high is not None and h * float((of.high[0] * mass[:-1] + of.high[1] * mass[1:]).max()) > NOTHING * mass.sum():
        high = of.forward - of.high[0], of.backward - of.high[1]
        one, two, three = _stages(mass, high, h)
        whole = h / 2 * (_flux(one, high) + 2 * _flux(two, high) - _flux(three, high))
        fitted = h / 2 * (_flux(first, low) + _flux(second, low)) + extra
        extra = extra + _limiter(first / volume, of) * (whole - fitted)
    return _paid(second, extra)


def _stages(mass: np.ndarray, r: tuple, h: float) -> tuple[np.ndarray, ...]:
    """Y m, Y^2 m, Y^3 m. Where the rates are >= 0 elimination meets no pivots and only adds: nothing is negative."""
    from scipy.linalg import get_lapack_funcs
    gttrf, gttrs = get_lapack_funcs(("gttrf", "gttrs"), (mass,))
    forward, backward = (h / 2 * part for part in r)
    diagonal = np.ones(len(mass))
    diagonal[:-1] += forward
    diagonal[1:] += backward
    factors = gttrf(-forward, diagonal, -backward, overwrite_d=1)[:-1]
    found = [mass]
    for _ in range(3):
        found.append(gttrs(*factors, found[-1])[0])
    return tuple(found[1:])


def _flux(mass: np.ndarray, r: tuple) -> np.ndarray:
    return r[0] * mass[:-1] - r[1] * mass[1:]


def _limiter(density: np.ndarray, of: Rates) -> np.ndarray:
    """phi(r), r the slope before the face, as the drift comes, over the slope across it."""
    slope = np.where(of.lines.linked, np.diff(density), 0.0)
    padded = np.concatenate(([0.0], slope, [0.0]))
    behind = np.where(of.rightward, padded[:-2], padded[2:])
    with np.errstate(over="ignore"):
        r = np.divide(behind, slope, out=np.zeros(len(slope)), where=slope != 0)
    return np.where(of.limited, np.clip(2 * r, 0.0, 1.0), 1.0)


def _paid(mass: np.ndarray, flux: np.ndarray) -> np.ndarray:
    """The masses after these fluxes, each cut to what its source can pay."""
    leaving = np.zeros(len(mass))
    leaving[:-1] += np.maximum(flux, 0.0)
    leaving[1:] += np.maximum(-flux, 0.0)
    share = np.minimum(1.0, np.divide((1 - SLACK) * mass, leaving, out=np.ones(len(mass)), where=leaving > 0))
    right, left = share[:-1] * np.maximum(flux, 0.0), share[1:] * np.maximum(-flux, 0.0)
    left_over = mass.copy()
    left_over[:-1] -= right
    left_over[1:] -= left
    left_over[1:] += right
    left_over[:-1] += left
    return left_over


def decomposed(xx: np.ndarray, xy: np.ndarray, yy: np.ndarray) -> dict[tuple[int, int], np.ndarray]:
    """Weights w_e >= 0, (n,), by offset e, with sum_e w_e e e^T = [[xx, xy], [xy, yy]] in each of the n cells.

    Raises ValueError with the index of a cell where an offset would reach over more than FARTHEST cells.

    >>> found = decomposed(np.array([2.0]), np.array([1.0]), np.array([3.0]))
    >>> {e: float(w[0]) for e, w in found.items()}
    {(0, 1): 2.0, (1, 0): 1.0, (1, 1): 1.0}
    """
    n = len(xx)
    v = np.tile(np.array([[-1, -1], [1, 0], [0, 1]])[:, :, None], (1, 1, n))  # a superbase: three that sum to nought
    near = 1e-12 * np.sqrt(np.maximum(xx * yy, xy * xy))

    def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return a[0] * xx * b[0] + (a[0] * b[1] + a[1] * b[0]) * xy + a[1] * yy * b[1]

    acute = np.ones(n, bool)
    for _ in range(4 * FARTHEST):
        acute[:] = False
        for i, j, k in (0, 1, 2), (1, 2, 0), (2, 0, 1):
            bad = product(v[i], v[j]) > near
            old_i, old_j = v[i].copy(), v[j]
            v[k] = np.where(bad, old_i - old_j, v[k])
            v[i] = np.where(bad, -old_i, old_i)
            acute |= bad
        if not acute.any():
            break
    weights = [np.maximum(-product(v[i], v[j]), 0.0) for i, j in ((1, 2), (2, 0), (0, 1))]
    offsets = [np.stack([-one[1], one[0]]) for one in v]  # perpendicular to the third
    lost = acute | (np.max([np.max(abs(e), axis=0) * (w > 0) for e, w in zip(offsets, weights)], axis=0) > FARTHEST)
    if lost.any():
        raise ValueError(int(np.argmax(lost)))
    found: dict[tuple[int, int], np.ndarray] = {}
    for e, w in zip(offsets, weights):
        e = np.where((e[0] < 0) | ((e[0] == 0) & (e[1] < 0)), -e, e)
        number = e[0] * (4 * FARTHEST) + e[1]
        for k in np.unique(number[w > 0]).tolist():
            mine = (number == k) & (w > 0)
            one = tuple(e[:, int(np.argmax(mine))].tolist())
            found[one] = found.get(one, np.zeros(n)) + np.where(mine, w, 0.0)
    return dict(sorted(found.items()))
