"""Levy areas over a step of length h, of the same Brownian path as its increments:

    A_jk = 1/2 int (W_j dW_k - W_k dW_j), j < k, with W from the step's start
    A = A' + A'' + 1/2 W' x W'' for two stretches, one after the other (Chen), where (a x b)_jk = a_j b_k - a_k b_j

Given W and H over one cell of the path's tree (see brownian.py), the best estimate is H x W, with the mean-square error
h^2/12 of E A^2 = h^2/4 (Foster, Lyons & Oberhauser 2020). Over the 2^level cells of a level, joined, it is

    A = H x W + sum of N x R over all cells above that level,  E error^2 = h^2 / (12 2^level),

where a cell's halving (`halve`: R = 3H/2 + Z = (W' - W'')/2, N = H' - H'') adds N x R, because

    H' x W' + H'' x W'' + 1/2 W' x W'' = H x W + N x R.

Only H is carried down, never W. Any m linear functionals of the path leave an error^2 of order h^2 / m (Dickinson 2007,
Stoch. Anal. Appl. 25): `area_level` is the least level whose error^2 is at most c h^3, 1 / (12 c h) cells a step.
"""

import math
from collections.abc import Callable

import numpy as np

from sdekit import noise
from sdekit.brownian import BLOCK, halve, tiles

MOST = 20  # levels: a million cells to a step


def pairs(noises: int) -> list[tuple[int, int]]:
    """The pairs j < k, row by row: the order of the areas.

    >>> pairs(3)
    [(0, 1), (0, 2), (1, 2)]
    """
    return [(j, k) for j in range(noises) for k in range(j + 1, noises)]


def area_level(h, c: float = 1.0) -> int:
    """The least level with h^2 / (12 2^level) <= c h^3, to nine digits, for the shortest of the steps h.

    c   one over a time: the error of A over a step is at most sqrt(c h) h

    >>> area_level(0.01), area_level(0.01, c=10.0), area_level([0.5, 0.25])
    (4, 0, 0)
    """
    shortest = float(np.min(h))
    for name, value in ("a step", shortest), ("c", c):
        if not 0.0 < value < math.inf:
            raise ValueError(f"{name} must be positive and finite, got {value}")
    level = max(0, math.ceil(-math.log2(12.0) - math.log2(c) - math.log2(shortest) - 1e-9))
    if level > MOST:
        raise ValueError(f"areas with a mean-square error of {c:g} h^3 cut a step of h = {shortest:g} into 2^{level} "
                         f"cells, and 2^{MOST} is the limit; take longer steps, or c = "
                         f"{2.0**-MOST / (12.0 * shortest):.3g} and above")
    return level


def tree_areas(draw: Callable, W, H, h, level: int, concatenate: Callable = np.concatenate, most: int = BLOCK):
    """A (pairs, ...) over steps of length h with (W, H), both (noises, ...): arrays, or torch tensors.

    draw(cells)   the two standard normals of these cells of the steps' trees, each (len(cells), noises, ...)
    h             a number, or to broadcast to (...)
    concatenate   np.concatenate, or torch.cat
    most          numbers to an array, where that is more than W holds; the result does not depend on it
    """
    J, K = ([pair[i] for pair in pairs(len(W))] for i in (0, 1))

    def cross(a, b):
        return a[:, J] * b[:, K] - a[:, K] * b[:, J]

    def below(cells: list[int], H, length):
        """The sum of N x R over each of these cells, of one level, and all below it: (cells, pairs, ...)."""
        z, other = draw(cells)
        R, first, _, second = halve(0.0, H, (length / 16.0) ** 0.5 * z, (length / 12.0) ** 0.5 * other)
        own, count = cross(first - second, R), len(cells)
        if cells[0] >> (level - 1):
            return own
        left, right = [2 * cell for cell in cells], [2 * cell + 1 for cell in cells]
        if 2 * math.prod(H.shape) > most:
            return own + (below(left, first, 0.5 * length) + below(right, second, 0.5 * length))
        both = below(left + right, concatenate([first, second]), 0.5 * length)
        return own + (both[:count] + both[count:])

    A = cross(H[None], W[None])
    return (A + below([1], H[None], h) if level else A)[0]


def step_areas(k0, k1, path, n, h, level: int, W, H) -> np.ndarray:
    """A (paths, steps, pairs) of the steps n, of length h, of these paths, under the key (k0, k1).

    path, n   their numbers, int64 arrays (paths,) and (steps,)
    h         a number, or (steps,)
    W, H      (paths, steps, noises): sqrt(h) and sqrt(h / 12) times the normals of slots 0 and 1
    """
    k0, k1 = np.array([k0, k1], np.int64)[:, None]
    component, h = np.arange(W.shape[2])[:, None, None], np.broadcast_to(h, n.shape)
    out = np.empty((*W.shape[:2], len(pairs(W.shape[2]))))
    for rows, columns in tiles(*W.shape) if out.size else ():
        def draw(cells, path=path[rows, None], n=n[columns]):
            return noise.pair(k0, k1, path, component, n, 16 + np.array(cells)[:, None, None, None])

        dW, area = (np.moveaxis(x[rows, columns], 2, 0) for x in (W, H))
        out[rows, columns] = np.moveaxis(tree_areas(draw, dW, area, h[columns], level), 0, 2)
    return out


def tile_areas(noises: int, lanes: int) -> Callable:
    """A function for a kernel to be `compiled`, which puts the areas of a step of `lanes` paths behind their normals:

        fill(Z, g, path, n, k0, k1, level, S)

    Z[g]   (2 noises + pairs, lanes): given W / sqrt(h), then H / sqrt(h / 12), standard normals; gets A / h
    path   the first path; n the step's number in the noise
    S      for its own use, (2 level + 4, noises, lanes): H of the cells of each level that are still to come

    The cells are taken in the order 1, 2, 4, ..., each before its halves; a cell's row in S is 2 level + (cell & 1).
    """
    pair, root = noise.pair, math.sqrt(1.0 / 12.0)

    def fill(Z, g, path, n, k0, k1, level, S):
        R, N = 2 * level + 2, 2 * level + 3
        for j in range(noises):
            for i in range(lanes):
                S[1, j, i] = root * Z[g, noises + j, i]
        q = 2 * noises
        for j in range(noises):
            for k in range(j + 1, noises):
                for i in range(lanes):
                    Z[g, q, i] = S[1, j, i] * Z[g, k, i] - S[1, k, i] * Z[g, j, i]
                q += 1
        cell, l = 1, 0
        for _ in range((1 << level) - 1):
            here, length = 2 * l + (cell & 1), 0.5**l
            a, b = math.sqrt(length / 16.0), math.sqrt(length / 12.0)
            for j in range(noises):
                for i in range(lanes):
                    z, other = pair(k0, k1, path + i, j, n, 16 + cell)
                    S[R, j, i], first, _, second = halve(0.0, S[here, j, i], a * z, b * other)
                    S[N, j, i] = b * other
                    S[2 * l + 2, j, i], S[2 * l + 3, j, i] = first, second
            q = 2 * noises
            for j in range(noises):
                for k in range(j + 1, noises):
                    for i in range(lanes):
                        Z[g, q, i] += S[N, j, i] * S[R, k, i] - S[N, k, i] * S[R, j, i]
                    q += 1
            if l + 1 < level:
                cell, l = 2 * cell, l + 1
            else:
                while cell & 1:
                    cell, l = cell >> 1, l - 1
                cell += 1

    return fill
