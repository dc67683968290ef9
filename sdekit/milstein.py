"""Milstein's method without derivatives: strong order 1, in the sense of Ito and in that of Stratonovich.

    X' = X + f h + sum_k g_k dW_k + sum_jk (g_k' g_j) I_jk,      f, g_k at (X, t), g_k the k-th column of g

    I_jk = int W_j dW_k = (dW_j dW_k - delta_jk h)/2 + A_jk      Ito
    J_jk = int W_j o dW_k = dW_j dW_k / 2 + A_jk                 Stratonovich

with the Levy areas A_jk = 1/2 int W_j dW_k - W_k dW_j (Milstein 1974; Kloeden & Platen 1992, section 10.3). Where the
noise commutes, g_k' g_j = g_j' g_k, they cancel and are not needed. The derivatives are differences along g_j:

    g_k' g_j ~ (g_k(X + r g_j) - g_k(X)) / r                     Ito, r = sqrt(h) (Kloeden & Platen 1992, section 11.1)
    g_k' g_j ~ (g_k(X + r g_j / 2) - g_k(X - r g_j / 2)) / r     Stratonovich

Their errors are O(r) and O(r^2). I_jk has mean 0, and O(r) leaves Ito's order; J_jj has mean h/2, and O(r) would add
up to an error of order 1/2.
"""

from collections.abc import Callable

import numpy as np

from sdekit.components import Coefficients, as_tuple, written
from sdekit.methods import Method, euler_maruyama
from sdekit.ode import euler


def _milstein(c: Coefficients, ito: bool, areas: bool) -> Callable:
    if c.kind == "additive":
        return euler_maruyama.make(c)
    if c.shape.noises == 1 or (c.shape.diagonal and c.kind == "diagonal"):
        return _one_noise(c, ito)
    return _many_noises(c, ito, areas)


def _one_noise(c: Coefficients, ito: bool) -> Callable:
    """Each component is moved by one noise, and the difference along g is that along this noise, for all at once."""
    f, g, scale, own, drives, around = c.f, c.g, c.scale, c.own(), c.drives(), _around(c, ito)
    mean = 1.0 if ito else 0.0
    move = c.each(lambda x, f, g, up, down, w, h, r: x + f * h + g * w + (up - down) * (w * w - mean * h) / (2 * r), 6)
    assert g is not None

    def step(x, t, h, dw, p):
        r, G = np.sqrt(h), g(x, t, p)
        up, down = around(x, scale(r, own(G)), G, t, p)
        return move(x, f(x, t, p), own(G), own(up), own(down), drives(dw), h, r)

    return step


def _many_noises(c: Coefficients, ito: bool, areas: bool) -> Callable:
    f, g, add, scale, dot, columns = c.f, c.g, c.add, c.scale, c.dot, c.columns()
    around, integrals, noises = _around(c, ito), _integrals(c, ito, areas), range(c.shape.noises)
    assert g is not None
    increase = c.each(lambda y, up, down, r: y + (up - down) / r, 3)

    def along(y, x, column, G, I, t, r, p):
        """y + sum_k (g_k' g_j) I_jk, for the j of this column of G and row of I"""
        up, down = around(x, scale(r, column), G, t, p)
        return increase(y, dot(up, I), dot(down, I), r)

    correct = written("y, x, C, G, I, t, r, p", "; ".join(
        [*(f"y = along(y, x, C[{j}], G, I[{j}], t, r, p)" for j in noises), "return y"]), along=along)

    def step(x, t, h, dw, p):
        G = g(x, t, p)
        y = add(add(x, scale(h, f(x, t, p))), dot(G, dw))
        return correct(y, x, columns(G), G, integrals(dw, h), t, np.sqrt(h), p)

    return step


def _around(c: Coefficients, ito: bool) -> Callable:
    """x, v, g(x), t, p -> g at two points around x whose difference is g' v."""
    g, add, scale = c.g, c.add, c.scale
    assert g is not None

    def forward(x, v, G, t, p):
        return g(add(x, v), t, p), G

    def central(x, v, G, t, p):
        return g(add(x, scale(0.5, v)), t, p), g(add(x, scale(-0.5, v)), t, p)

    return forward if ito else central


def _integrals(c: Coefficients, ito: bool, areas: bool) -> Callable:
    """dw, h -> I_jk, or J_jk: noises x noises."""
    def entry(j: int, k: int) -> str:
        return (f"0.5 * dw[{j}] * dw[{k}]" + (" - 0.5 * h" if ito and j == k else "")
                + (f" + A[{j}][{k}]" if areas and j != k else ""))

    noises = range(c.shape.noises)
    value = as_tuple(as_tuple(entry(j, k) for k in noises) for j in noises)
    if areas:
        return written("dw, h", f"A = areas(dw); return {value}", areas=c.areas())
    return written("dw, h", f"return {value}")


def _ito(c: Coefficients) -> Callable:
    return _milstein(c, ito=True, areas=False)


def _ito_with_areas(c: Coefficients) -> Callable:
    return _milstein(c, ito=True, areas=True)


def _stratonovich(c: Coefficients) -> Callable:
    return _milstein(c, ito=False, areas=False)


def _stratonovich_with_areas(c: Coefficients) -> Callable:
    return _milstein(c, ito=False, areas=True)


#: Milstein's method for Ito equations with commutative noise; m noises take 1 + m evaluations of the diffusion,
#: strictly diagonal noise 2. Its `general` has Levy areas and takes any noise.
milstein = Method(
    "milstein", _ito, strong=1.0, weak=1.0, noise="commutative", evaluations=(1, 2), ode=euler,
    general=Method("milstein", _ito_with_areas, strong=1.0, weak=1.0, draws="WHA", evaluations=(1, 2),
                   ode=euler))

#: The same for Stratonovich equations; m noises take 1 + 2 m evaluations of the diffusion, strictly diagonal noise 3.
milstein_stratonovich = Method(
    "milstein_stratonovich", _stratonovich, strong=1.0, weak=1.0, calculus="stratonovich",
    noise="commutative", evaluations=(1, 3), ode=euler,
    general=Method("milstein_stratonovich", _stratonovich_with_areas, strong=1.0, weak=1.0,
                   calculus="stratonovich", draws="WHA", evaluations=(1, 3), ode=euler))
