"""What kind of noise an SDE has, found by calling its diffusion. With g_j the column of noise j:

    kind          the diffusion                                                                    narrowest first
    "additive"    g does not depend on x; it may on t
    "scalar"      one noise
    "diagonal"    noise j moves component j alone, and g_jj depends on x_j alone
    "commutative" L^j g_k = L^k g_j for all j and k, with L^j = sum_l g_lj d/dx_l     Kloeden & Platen, (10.3.13)
    "general"     none of these

It is called at the start x0 and around it, at four times, with s_i = max(|x0_i|, |g_i(x0)| sqrt(T)) and fixed
normals z at

    x0 + r s z  and  x0 exp(r z),  r from 0.05 to 10      the second keeps signs: square roots and logs stay defined

Points where it raises or is not finite are left out. Of two answers that the rest leaves open, the wider one is given.

Tolerances. What does not depend on x_l comes out with the same bits, or by another way of rounding: SAME = 64 EPS of
its size. Derivatives are central differences over e = EPS^(1/3) s, each with an error of about EPS^(2/3) = 4e-11 of
|g| / s; sums of products of them are nought if they are below FLAT = 256 EPS^(2/3) = 9e-9 of |g_j| |g_k| / s plus SMALL
= 1e-6 of the sum of the products' sizes, which is truncation for a g that changes over a length of s / 300. A bracket
below these moves the path by less than a millionth of what Milstein's own correction does.
"""

import warnings
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from sdekit.noise import normals
from sdekit.sde import SDE, Structure, call, takes

EPS = float(np.finfo(float).eps)
SAME = 64 * EPS
FLAT, SMALL = 256 * EPS ** (2 / 3), 1e-6
TIMES = (0.0, 0.31, 0.74, 1.0)  # parts of the time span
RADII = (0.1, 1.0, 10.0, 0.05, 0.3, 1.0)
FACTORS = 3  # the points from here on are x0 exp(r z)
PAIRS = ((0, 1), (4, 5))  # of the points, whose components are mixed
SMOOTH = (4, 0)  # of the points, where derivatives are taken
MOST = 10**7  # entries in the table of brackets; a larger system is not examined for commutativity
TAKES = {
    "additive": {"additive"},
    "diagonal": {"additive", "scalar", "diagonal"},
    "commutative": {"additive", "scalar", "diagonal", "commutative"},
    "general": {"additive", "scalar", "diagonal", "commutative", "general"},
}

Point = tuple[np.ndarray, np.ndarray | None]  # x, f(x, t)


def noise_kind(equation: SDE, x0, t0: float, t1: float, shape: Structure) -> str:
    """The narrowest kind of this module's table that the calls leave open.

    x0      one state, a number or a tuple of numbers; parameters are the first path's
    t0, t1  the span of time
    shape   of the equation, see `sde.structure`

    Nothing that the functions raise is passed on.

    >>> from sdekit.sde import structure
    >>> kind = lambda sde, x0: noise_kind(sde, x0, 0.0, 1.0, structure(sde, x0, 0.0))
    >>> kind(SDE(lambda x, t: -x, lambda x, t: np.exp(-t)), 1.0)
    'additive'
    >>> still = lambda x, t: (0.0, 0.0)
    >>> kind(SDE(still, lambda x, t: (0.2 * x[0], 0.3 * x[1] ** 0.5)), (100.0, 0.04))
    'diagonal'
    >>> kind(SDE(still, lambda x, t: (x[1] ** 0.5 * x[0], 0.3 * x[1] ** 0.5)), (100.0, 0.04))  # Heston
    'general'
    """
    g = function(equation, "diffusion", shape)
    at = np.atleast_1d(np.asarray(x0, float))
    scale = scales(at, g(at, t0), t1 - t0)
    times = [t0 + part * (t1 - t0) for part in TIMES]
    found = {t: around(g, at, t, n, scale) for n, t in enumerate(times)}
    if _additive(g, at, found):
        return "additive"
    if shape.noises == 1:
        return "scalar"
    if shape.noises == shape.dim and _diagonal(g, shape, found):
        return "diagonal"
    return "commutative" if _commutative(g, shape, scale, found) else "general"


def array_kind(equation: SDE, x, t: float) -> str:
    """The kind of noise of a state that is one array, or tensor, (1, ...), where each element has noise of its own:
    "additive", "diagonal", or "general" where an element's coefficient depends on another element.

    With a few elements changed, those left alone must keep their coefficients: every pair of elements is parted by one
    of the bits of their numbers. A function that fails away from the start counts as diagonal.

    >>> array_kind(SDE(lambda x, t: -x, lambda x, t: x[:, ::-1]), np.array([[1.0, 2.0, 3.0]]), 0.0)
    'general'
    """
    g = lambda y: (call(equation, "diffusion", y, t) + 0.0 * x).reshape(-1)
    size, number = int(np.prod(x.shape)), np.arange(int(np.prod(x.shape)))
    like = getattr(x, "new_tensor", np.asarray)  # torch's, or NumPy's
    moved = lambda part: x + 0.37 * (1.0 + abs(x)) * like(part).reshape(x.shape)
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # np.sqrt of a tensor
            here = g(x)
            if bool((g(moved(np.ones(size))) == here).all()):
                return "additive"
            for bit in range(max(1, (size - 1).bit_length())):
                for side in (0, 1):
                    part = number >> bit & 1 == side
                    if size > 1 and not bool((g(moved(part * 1.0)) == here)[~part].all()):
                        return "general"
    except Exception:
        return "diagonal"
    return "diagonal"


def fits(noise: str, kind: str, shape: Structure) -> bool:
    """Whether a method whose widest noise is `noise` takes an equation of this kind and shape.

    A method for diagonal noise has one coefficient for each component: a diagonal, or one noise for all.

    >>> fits("diagonal", "scalar", Structure(2, 1, False, False))
    True
    >>> fits("commutative", "general", Structure(2, 2, True, False))
    False
    """
    return kind in TAKES[noise] and (noise != "diagonal" or shape.diagonal or shape.noises == 1)


def function(equation, which: str, shape: Structure) -> Callable:
    """(x, t) -> the value of drift or diffusion as an array, (dim,) or (dim, noises); None where it fails or is not
    finite. x is an array (dim,); the parameters are the first path's."""
    user = getattr(equation, which)
    named = {k: equation.parameters[k] for k in takes(user) if k in equation.parameters}
    named = {k: float(v[0]) if np.ndim(v) else v for k, v in named.items()}
    size = (shape.dim,) if which == "drift" or shape.diagonal else (shape.dim, shape.noises)

    def value(x: np.ndarray, t: float) -> np.ndarray | None:
        state = x.tolist()
        try:
            with np.errstate(all="ignore"):
                # A complex root of a negative number is a TypeError here.
                array = np.array(user(state[0] if shape.scalar else tuple(state), t, **named), float).reshape(size)
        except Exception:
            return None
        return array if np.isfinite(array).all() else None

    return value


def scales(x0: np.ndarray, g0: np.ndarray | None, span: float) -> np.ndarray:
    """s_i = max(|x0_i|, |g_i(x0)| sqrt(T)); where both are nought the largest of the others, or 1."""
    scale = np.abs(x0)
    if g0 is not None:
        scale = np.maximum(scale, np.linalg.norm(g0.reshape(len(x0), -1), axis=1) * span**0.5)
    return np.where(scale > 0, scale, scale.max() or 1.0)


def around(f: Callable, x0: np.ndarray, t: float, n: int, scale: np.ndarray) -> list[Point]:
    """(x, f(x, t)) at this module's points around x0; n tells the times' points apart."""
    r, z = np.array(RADII)[:, None], _normals(n, len(x0))  # (points, 1), (points, dim)
    apart = x0 + r * scale * z
    factor = np.where(x0 == 0, r * scale * np.abs(z), x0 * np.exp(r * z))
    return [(x, f(x, t)) for x in (*apart[:FACTORS], *factor[FACTORS:])]


@lru_cache(maxsize=64)
def _normals(n: int, dim: int) -> np.ndarray:
    return normals(0, stream=n, steps=len(RADII), components=dim)[0]


def _additive(g: Callable, x0: np.ndarray, found: dict) -> bool:
    seen = False
    for t, points in found.items():
        values = [v for v in (g(x0, t), *(v for _, v in points)) if v is not None]
        seen |= len(values) > 1
        if any(_differ(v, values[0]).any() for v in values[1:]):
            return False
    return seen


def _differ(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.abs(a - b) > SAME * np.maximum(np.abs(a), np.abs(b))


def _diagonal(g: Callable, shape: Structure, found: dict) -> bool:
    """Of two states y and z a third is mixed, w_i = y_i or z_i: then g_i(w) = g_i(y) or g_i(z).

    Mixed by each bit of the numbers of the components, any two of them come from different states once: log2(dim)
    calls find every dependence.
    """
    own = (lambda v: v) if shape.diagonal else np.diagonal
    values = [v for points in found.values() for _, v in points if v is not None]
    if not shape.diagonal and any((v != np.diag(np.diagonal(v))).any() for v in values):
        return False
    number = np.arange(shape.dim)
    for bit in range((shape.dim - 1).bit_length()):
        from_y, seen = (number >> bit & 1).astype(bool), False
        for t, points in found.items():
            for a, b in PAIRS:
                (y, at_y), (z, at_z) = points[a], points[b]
                mixed = g(np.where(from_y, y, z), t)
                if at_y is None or at_z is None or mixed is None:
                    continue
                seen = True
                if _differ(own(mixed), np.where(from_y, own(at_y), own(at_z))).any():
                    return False
        if not seen:
            return False
    return True


def _commutative(g: Callable, shape: Structure, scale: np.ndarray, found: dict) -> bool:
    """sum_l g_lj dg_ik/dx_l is symmetric in j and k, in units of s."""
    d, m = shape.dim, shape.noises
    if d * m * max(d, m) > MOST:
        return False
    columns = (lambda v: np.diag(v)) if shape.diagonal else (lambda v: v)
    places = [(t, points[n]) for n in SMOOTH for t, points in found.items()]
    most, seen = max(2, 16 // d), 0
    for t, (x, value) in places:
        change = None if value is None else slopes(g, x, t, scale)
        if value is None or change is None:
            continue
        G = columns(value) / scale[:, None]  # (d, m)
        D = np.stack([columns(v) for v in change]) / scale[:, None]  # (d: l, d: i, m: k)
        lie = np.tensordot(G, D, (0, 0))  # (m: j, d: i, m: k)
        sizes = np.tensordot(np.abs(G), np.abs(D), (0, 0))
        norm = np.abs(G).sum(axis=0)
        flat = FLAT * norm[:, None, None] * norm
        if (np.abs(lie - lie.T) > SMALL * (sizes + sizes.T) + flat).any():
            return False
        seen += 1
        if seen == most:
            break
    return seen > 0


def slopes(f: Callable, x: np.ndarray, t: float, scale: np.ndarray) -> list[np.ndarray] | None:
    """s_l df/dx_l for each l, by central differences; None where a value is missing."""
    found = []
    for l, s in enumerate(scale):
        up, down = x.copy(), x.copy()
        e = EPS ** (1 / 3) * max(s, abs(x[l]))
        up[l] += e
        down[l] -= e
        above, below = f(up, t), f(down, t)
        if above is None or below is None:
            return None
        found.append((above - below) / (up[l] - down[l]) * s)
    return found
