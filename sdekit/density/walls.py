"""Walls at which the noise dies out, where a density is no smooth function: D ~ y^m, 0 < m <= 1, y the distance.

    p ~ y^{a-1},  a = 1 - m + b,  b = lim 2 f y / D  (f counted from the wall)

unites what the wall lets through: it is where no mass flows, f p = (1/2) d(D p)/dy. For the square-root process, m = 1
and a = 2 kappa theta / sigma^2: below 1, where Feller's condition is broken, p is infinite at 0. A scheme that takes p
for a straight line in a cell is then wrong by y^a of the cells' width. With rho = y^{a-1} and p = rho q, q is smooth,

    J = rho (v q - (D/2) dq/dx),   v = f - (D/2) (b / y + d log(D / y^m)/dx),

v is of order y, and a cell's mass is q times the integral of rho, which is exact for the power. Nodes are where rho's
centre of mass in the cell is: then the mean moves as it should. Two walls' powers are multiplied.
"""

from dataclasses import dataclass

import numpy as np

STRAIGHT = 1e-3  # m may be above 1 by this
SMOOTH = 2.0  # from this a on p has a slope at the wall, and needs nothing of this


@dataclass(frozen=True)
class Wall:
    """One end of an axis where the noise dies out.

    y      distances of the cells' edges, (cells + 1,), 0 at the wall
    power  m; b   as above; one of each for every line that ends there, (lines,). Lines that are not so have 0 and 0
    inward   +1 at the lower end of the axis, -1 at the upper
    """

    y: np.ndarray
    inward: float
    power: np.ndarray
    b: np.ndarray

    @property
    def a(self) -> np.ndarray:
        """(lines,)"""
        return 1.0 - self.power + self.b


def wall(edges: np.ndarray, end: int, near: np.ndarray, D: np.ndarray, f: np.ndarray) -> Wall | None:
    """The wall at an end (0 or -1) of the axis, if its noise dies out there and p is not smooth.

    near   two distances, (2,), the second twice the first; D, f at these, (2, lines), f counted upwards

    >>> edges, near = np.linspace(0.0, 1.0, 5), np.array([1e-7, 2e-7])[:, None]
    >>> found = wall(edges, 0, near[:, 0], 0.5 * near, 0.1 - near)       # dX = (0.1 - X) dt + (X/2)^{1/2} dW
    >>> found.power.round(3), found.a.round(3)
    (array([1.]), array([0.4]))
    """
    inward = 1.0 if end == 0 else -1.0
    with np.errstate(all="ignore"):
        power, b = np.log2(D[1] / D[0]), 2 * inward * f[0] * near[0] / D[0]
        found = (D[0] > 0) & (power > STRAIGHT) & (power < 1 + STRAIGHT) & (1 - power + b < SMOOTH)
    if not found.any():
        return None
    return Wall(abs(edges - edges[end]), inward, np.where(found, power, 0.0), np.where(found, b, 0.0))


def fitted(walls: list[Wall], edges: np.ndarray, f: np.ndarray, D: np.ndarray, centre: np.ndarray) -> tuple:
    """What `finite_volumes.rates` takes for the flux above: D/2 and the drift over the faces, from node to node, and
    the cells' widths, all but the drift's and D's unit times rho: (cells - 1, lines) thrice, (cells, lines).

    f, D     over the faces, (cells - 1, lines)
    centre   D at the centres, (cells, lines)
    """
    middle, width = (edges[1:] + edges[:-1])[:, None] / 2, np.diff(edges)[:, None]
    nodes, mean, rho, smooth, pull = middle + 0 * centre, np.ones_like(centre), np.ones_like(D), centre, 0 * D
    for each in walls:
        a, y = each.a, each.y[:, None]
        mass, moment = (abs(np.diff(y**k, axis=0)) / k for k in (a, a + 1))
        nodes = nodes + each.inward * moment / mass - each.inward * (y[1:] + y[:-1]) / 2
        mean, rho = mean * mass / width, rho * y[1:-1] ** (a - 1)
        smooth = smooth / ((y[1:] + y[:-1]) / 2) ** each.power
        pull = pull + each.inward * each.b / y[1:-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.nan_to_num(np.diff(np.log(smooth), axis=0) / np.diff(middle, axis=0), posinf=0.0, neginf=0.0)
    return rho * D / 2, rho * (f - D / 2 * (pull + slope)), np.diff(nodes, axis=0), width * mean
