"""Stochastic Runge-Kutta methods in the sense of Ito, without derivatives; their coefficients are in `tableaus`.

    method           noise      strong   weak   f, g in a step    without noise
    sra              additive   1.5      2      2, 2              Heun's method
    sri              diagonal   1.5      2      2, 4              Heun's method
    strong_general   any        1        1      2, 1 + 2 m        Heun's method     m noises
    dri1             any        1/2      2      3, 1 + 4 m        Kutta's method    one noise: 3, 3

The first three treat the drift alike: f at both ends of the step, moved by noise that makes the term f'g exact,

    f1 = f(x + xi1 g, t),    f2 = f(x + h f1 + xi2 g, t + h),    (xi1 + xi2)/2 = W/2 + H = I_10/h.
"""

from collections.abc import Callable
from inspect import signature

import numpy as np

from sdekit.components import Coefficients, as_tuple, written
from sdekit.methods import Method
from sdekit.ode import ODEMethod, heun
from sdekit.tableaus import ADDITIVE, DIAGONAL, DRI1


def _sra(c: Coefficients) -> Callable:
    f, g, add, scale, dot = c.f, c.g, c.add, c.scale, c.dot
    assert g is not None
    (alpha1, alpha2), a = ADDITIVE.alpha, ADDITIVE.a
    low, high, first, last = (_draws(c, _line(*coefficients)) for coefficients in zip(
        (*ADDITIVE.p, *ADDITIVE.u), (*ADDITIVE.q, *ADDITIVE.v)))
    drift = c.each(lambda x, f1, f2, h: x + h * (alpha1 * f1 + alpha2 * f2), 3)

    def step(x, t, h, dw, p):
        G = g(x, t, p)
        f1 = f(add(x, dot(G, low(dw))), t, p)
        f2 = f(add(add(x, scale(a * h, f1)), dot(G, high(dw))), t + h, p)
        return add(drift(x, f1, f2, h), add(dot(G, first(dw)), dot(g(x, t + h, p), last(dw))))

    return step


def _sri(c: Coefficients) -> Callable:
    if c.kind == "additive":
        return _sra(c)
    f, g, own, W, H = c.f, c.g, c.own(), c.drives(0), c.drives(1)
    assert g is not None
    drift, b, c1, d = DIAGONAL.drift, DIAGONAL.b, DIAGONAL.c, DIAGONAL.d
    u, v1, (w1, w2) = DIAGONAL.u, DIAGONAL.v, DIAGONAL.w
    (alpha1, alpha2), a, (p1, p2), (q1, q2), (e1, e2, e3, e4) = drift.alpha, drift.a, drift.p, drift.q, DIAGONAL.e
    at_f1 = c.each(lambda x, g1, w, v: x + (p1 * w + q1 * v) * g1, 4)
    at_up = c.each(lambda x, f1, g1, h, r: x + a * h * f1 + b * r * g1, 3)
    at_f2 = c.each(lambda x, f1, g1, up, down, w, v, h, r: x + a * h * f1 + (p2 * w + q2 * v) * g1 + (
        (e1 * w + e2 * v) * w + e3 * v * v + e4 * h) / r * (up - down), 7)
    at_g0 = c.each(lambda x, f1, f2, up, down, h, r: x + h * ((1.0 - c1) * f1 + c1 * f2) + d * r * (up - down), 5)

    def sum_up(x, f1, f2, g1, up, down, g0, w, v, h, r):
        m0, m1, m2 = 0.5 * w - v, 0.5 * (w * w - h) / r, w * (w * w - 3.0 * h) / (6.0 * h)  # I_01/h, I_11/r, I_111/h
        return (x + h * (alpha1 * f1 + alpha2 * f2) + (0.5 * w + v) * g1 + (u * m0 + w1 * m2) * (up + down)
                + v1 * m1 * (up - down) + w2 * m2 * g0)

    end = c.each(sum_up, 9)

    def step(x, t, h, dw, p):
        w, v, r = W(dw), H(dw), np.sqrt(h)
        g1 = own(g(x, t, p))
        f1 = f(at_f1(x, g1, w, v), t, p)
        up, down = own(g(at_up(x, f1, g1, h, r), t + h, p)), own(g(at_up(x, f1, g1, h, -r), t + h, p))
        f2 = f(at_f2(x, f1, g1, up, down, w, v, h, r), t + h, p)
        g0 = own(g(at_g0(x, f1, f2, up, down, h, r), t + h, p))
        return end(x, f1, f2, g1, up, down, g0, w, v, h, r)

    return step


def _strong_general(c: Coefficients) -> Callable:
    """y = x + h (f1 + f2)/2,    g_k+- = g_k(y +- sum_j g_j I_jk / r, t + h),    r = sqrt(h)
    x' = y + sum_k I_k0/h g_k + (I_0k/h + r)/2 g_k+ + (I_0k/h - r)/2 g_k-

    I_jk = int W_j dW_k = (W_j W_k - delta_jk h)/2 + A_jk. The difference of the two is the term g_k' g_j I_jk, exact to
    third order, and their mean the term g_k' f I_0k. Roessler 2010 (SIAM J. Numer. Anal. 48), section 4, has the
    difference (SRI1, SRI2).
    """
    if c.kind == "additive":
        return _sra(c)
    f, g, add, scale, dot, areas, m = c.f, c.g, c.add, c.scale, c.dot, c.areas(), c.shape.noises
    assert g is not None
    a, alone, own = ADDITIVE.a, _alone(c), _own_columns(c)
    low, high, first = (_draws(c, _line(p, q)) for p, q in zip((*ADDITIVE.p, 0.5), (*ADDITIVE.q, 1.0)))
    plus = _draws(c, lambda w, v, r: 0.5 * (0.5 * w - v + r))
    minus = _draws(c, lambda w, v, r: 0.5 * (0.5 * w - v - r))
    entry = lambda j, k: f"0.5 * (dw[{j}] * dw[{k}]{' - h' * (j == k)}) + A[{j}][{k}]"
    column = lambda k: as_tuple(f"({entry(j, k)}) / r" for j in range(m))
    if alone:  # each component sees its own noise alone
        moves = written("G, dw, A, h, r", "return " + as_tuple(["dot(G, " + as_tuple(
            f"0.5 * (dw[{j}] * dw[{j}] - h) / r" for j in range(m)) + ")"]), dot=dot)
    else:
        moves = written("G, dw, A, h, r", "return " + as_tuple(f"dot(G, {column(k)})" for k in range(m)), dot=dot)

    def step(x, t, h, dw, p):
        r, G = np.sqrt(h), g(x, t, p)
        f1 = f(add(x, dot(G, low(dw))), t, p)
        f2 = f(add(add(x, scale(a * h, f1)), dot(G, high(dw))), t + h, p)
        y = add(x, scale(0.5 * h, add(f1, f2)))
        V = moves(G, dw, areas(dw), h, r)
        up, down = own(y, V, 1.0, t + h, p), own(y, V, -1.0, t + h, p)
        return add(add(y, dot(G, first(dw))), add(dot(up, plus(dw, r)), dot(down, minus(dw, r))))

    return step


def _dri1(c: Coefficients) -> Callable:
    """With I_k = W_k, I_kk = (W_k^2 - h)/2, s_k = r sign H_k = +-r, and r = sqrt(h):

    g_k+- = g_k(x + c h f1 +- b r g_k, t + c h)
    g_k^+- = g_k(x +- sum_{j != k} (b2 g_j + b3 (g_j+ + g_j-)) I_kj/r, t)
    I_kj = (W_k W_j - r s_k)/2 for k < j, (W_k W_j + r s_j)/2 for j < k: they replace the areas in the law

    f2, f3 at x + h (a21 f1) + sum_k B21 g_k I_k, and x + h (a31 f1 + a32 f2) + sum_k B31 g_k I_k
    x' = x + h sum alpha_i f_i + sum_k (b11 + b31) I_k g_k + (b12 I_k +- b23 I_kk/r) g_k+- + (b32 I_k +- b43 r) g_k^+-
    """
    f, g, add, scale, dot, columns, m = c.f, c.g, c.add, c.scale, c.dot, c.columns(), c.shape.noises
    assert g is not None
    alone, own = _alone(c), _own_columns(c)
    alpha1, alpha2, alpha3 = DRI1.alpha
    a21, (a31, a32, _) = DRI1.A0[1][0], DRI1.A0[2]
    B21, B31, node, b = DRI1.B0[1][0], DRI1.B0[2][0], DRI1.A1[1][0], DRI1.B1[1][0]
    b2, b3, _ = DRI1.B2[2]
    (b11, b12, _), (_, b22, _), (b31, b32, _), (_, _, b43) = DRI1.beta
    one = _draws(c, lambda w, v: w)
    at_f2 = c.each(lambda x, f1, noise, h: x + a21 * h * f1 + B21 * noise, 3)
    at_f3 = c.each(lambda x, f1, f2, noise, h: x + h * (a31 * f1 + a32 * f2) + B31 * noise, 4)
    drift = c.each(lambda x, f1, f2, f3, h: x + h * (alpha1 * f1 + alpha2 * f2 + alpha3 * f3), 4)
    outer = b11 if alone else b11 + b31  # alone, the g^ are g(x) itself, and b31 + 2 b32 = 0
    first = _draws(c, lambda w, v: outer * w)
    plus = _draws(c, lambda w, v, h, r: b12 * w + b22 * 0.5 * (w * w - h) / r)
    minus = _draws(c, lambda w, v, h, r: b12 * w - b22 * 0.5 * (w * w - h) / r)
    over = _draws(c, lambda w, v, r: b32 * w + b43 * r)
    under = _draws(c, lambda w, v, r: b32 * w - b43 * r)
    ones = as_tuple(["1.0"] * m)
    moves = written("G", f"return (dot(G, {ones}),)", dot=dot) if alone else columns
    mixed = _entries(c, lambda g, up, down: b2 * g + b3 * (up + down))

    def weight(k: int, j: int) -> str:
        if j == k:
            return "0.0"
        return f"0.5 * (dw[{k}] * dw[{j}] / r {'-' if k < j else '+'} r * np.sign(dw[{m + min(j, k)}]))"

    across = written("M, dw, r", "return " + as_tuple(
        f"dot(M, {as_tuple(weight(k, j) for j in range(m))})" for k in range(m)), dot=dot, np=np)

    def others(y, x, G, up, down, t, r, dw, p):
        """y with the terms of g_k^+- added"""
        V = across(mixed(G, up, down), dw, r)
        return add(y, add(dot(own(x, V, 1.0, t, p), over(dw, r)), dot(own(x, V, -1.0, t, p), under(dw, r))))

    rest = (lambda y, x, G, up, down, t, r, dw, p: y) if alone else others

    def step(x, t, h, dw, p):
        r, G, f1 = np.sqrt(h), g(x, t, p), f(x, t, p)
        noise = dot(G, one(dw))
        f2 = f(at_f2(x, f1, noise, h), t + a21 * h, p)
        f3 = f(at_f3(x, f1, f2, noise, h), t + (a31 + a32) * h, p)
        y, V = add(x, scale(node * h, f1)), moves(G)
        up, down = own(y, V, b * r, t + node * h, p), own(y, V, -b * r, t + node * h, p)
        y = add(drift(x, f1, f2, f3, h), dot(G, first(dw)))
        y = add(y, add(dot(up, plus(dw, h, r)), dot(down, minus(dw, h, r))))
        return rest(y, x, G, up, down, t, r, dw, p)

    return step


def _kutta3(c: Coefficients) -> Callable:
    f = c.f
    (alpha1, alpha2, alpha3), a21, (a31, a32, _) = DRI1.alpha, DRI1.A0[1][0], DRI1.A0[2]
    second = c.each(lambda x, f1, h: x + a21 * h * f1, 2)
    third = c.each(lambda x, f1, f2, h: x + h * (a31 * f1 + a32 * f2), 3)
    end = c.each(lambda x, f1, f2, f3, h: x + h * (alpha1 * f1 + alpha2 * f2 + alpha3 * f3), 4)

    def step(x, t, h, dw, p):
        f1 = f(x, t, p)
        f2 = f(second(x, f1, h), t + a21 * h, p)
        f3 = f(third(x, f1, f2, h), t + (a31 + a32) * h, p)
        return end(x, f1, f2, f3, h)

    return step


def _alone(c: Coefficients) -> bool:
    """Whether no noise moves what another one's coefficient depends on."""
    return c.shape.noises == 1 or c.kind == "additive" or (c.shape.diagonal and c.kind == "diagonal")


def _line(p: float, q: float) -> Callable:
    return lambda w, v: p * w + q * v


def _draws(c: Coefficients, function: Callable) -> Callable:
    """`function` of a noise's W and H, then of numbers, for each noise: dw, numbers -> a tuple of noises."""
    m, rest = c.shape.noises, list(signature(function).parameters)[2:]
    return written(", ".join(["dw", *rest]), "return " + as_tuple(
        f"one({', '.join([f'dw[{j}]', f'dw[{m + j}]', *rest])})" for j in range(m)), one=function)


def _entries(c: Coefficients, function: Callable) -> Callable:
    """`function` of numbers, entry by entry of values of the diffusion."""
    names = list(signature(function).parameters)
    of = lambda place: f"one({', '.join(f'{k}{place}' for k in names)})"
    d, m = c.shape.dim, c.shape.noises
    rows = (of(f"[{i}]") if c.shape.diagonal else as_tuple(of(f"[{i}][{j}]") for j in range(m)) for i in range(d))
    return written(", ".join(names), "return " + as_tuple(rows), one=function)


def _own_columns(c: Coefficients) -> Callable:
    """y, V, s, t, p -> the matrix whose column k is g_k(y + s V_k, t); V a tuple of noises, of one where `_alone`."""
    d, m = c.shape.dim, c.shape.noises
    if _alone(c):
        return written("y, V, s, t, p", "return g(add(y, scale(s, V[0])), t, p)", g=c.g, add=c.add, scale=c.scale)
    values = as_tuple(f"g(add(y, scale(s, V[{k}])), t, p)" for k in range(m))
    rows = (f"G[{i}][{i}]" if c.shape.diagonal else as_tuple(f"G[{k}][{i}][{k}]" for k in range(m)) for i in range(d))
    return written("y, V, s, t, p", f"G = {values}; return {as_tuple(rows)}", g=c.g, add=c.add, scale=c.scale)


#: Kutta 1901; Hairer, Norsett & Wanner 1993, II.1.
kutta3 = ODEMethod("kutta3", _kutta3, order=3, evaluations=3)

#: `tableaus.ADDITIVE`. Strong order 2 where f is linear in x.
sra = Method("sra", _sra, strong=1.5, weak=2.0, noise="additive", calculus="any", draws="WH", evaluations=(2, 2),
             ode=heun)

#: `tableaus.DIAGONAL`. It takes one noise for a system too; where the noise is additive it is `sra`.
sri = Method("sri", _sri, strong=1.5, weak=2.0, noise="diagonal", draws="WH", evaluations=(2, 4), ode=heun)

#: Strong order 1 for any noise, by Levy areas; where the noise is additive it is `sra`.
strong_general = Method("strong_general", _strong_general, strong=1.0, weak=1.0, additive=1.5, draws="WHA",
                        evaluations=(2, 3), ode=heun)

#: Debrabant & Roessler 2009 (Appl. Numer. Math. 59). The signs of H take the place of the areas, in the law alone.
dri1 = Method("dri1", _dri1, strong=0.5, weak=2.0, additive=1.0, commutative=1.0, draws="WH", evaluations=(3, 3),
              ode=kutta3)
