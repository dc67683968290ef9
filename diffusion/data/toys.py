"""Laws in the plane that are easy to see: x = m(u) + noise z, with u uniform, z ~ N(0, I), and a curve or set m.

Point i of a seed is always the same: its numbers are keyed by (seed, i), so that any part can be had alone and more
points leave the first ones as they are. Classes take turns, i mod K.

Sources: moons and swiss roll are those of scikit-learn (Pedregosa et al. 2011, make_moons and make_swiss_roll; the
roll is Marsland 2009, ch. 6); the scales of the swiss roll and of the eight Gaussians, and the checkerboard, are those
of FFJORD (Grathwohl et al. 2019, figure 2, and its code).
"""

from __future__ import annotations

import math
from numbers import Real

import numpy as np

from diffusion.data.points import Points
from sdekit.noise import normals, whole
from sdekit.variates import uniforms

_PLACES, _NOISE = 0xDA7A, 0xDA7B  # streams of u and of z
_MOST = 2**31
_COMPASS = ("east", "north-east", "north", "north-west", "west", "south-west", "south", "south-east")


def moons(n: int = 10_000, seed: int = 0, noise: float = 0.1, first: int = 0) -> Points:
    """Two half circles that reach into each other, a class each.

    m = (cos a, sin a) of the upper, (1 - cos a, 1/2 - sin a) of the lower, a = pi u.

    n, first    points first, ..., first + n - 1 of the seed, (n, 2)
    noise       the standard deviation around m, in the plane's units

    Raises TypeError or ValueError for counts that are no counts and a noise that is no number or below 0; as do the
    other three.

    >>> data = moons(1000, seed=7)
    >>> bool((moons(10, seed=7, first=500).x == data.x[500:510]).all()), data.classes
    (True, ('upper', 'lower'))
    """
    which, u, z = _draws(n, seed, noise, first)
    lower = (which % 2)[:, None]
    upper = _circle(math.pi * u[:, 0])
    return _points(np.where(lower, (1.0, 0.5) - upper, upper) + z, lower[:, 0], ("upper", "lower"), "moons")


def swiss_roll(n: int = 10_000, seed: int = 0, noise: float = 0.2, first: int = 0) -> Points:
    """A spiral of one and a half turns: m = (t cos t, t sin t)/5, t = (3 pi/2)(1 + 2 u). One class.

    >>> swiss_roll(5).shape
    (2,)
    """
    which, u, z = _draws(n, seed, noise, first)
    t = 1.5 * math.pi * (1 + 2 * u[:, 0])
    return _points(t[:, None] / 5 * _circle(t) + z, 0 * which, ("swiss roll",), "swiss roll")


def eight_gaussians(n: int = 10_000, seed: int = 0, noise: float = 0.5 / 2**0.5, first: int = 0) -> Points:
    """Eight Gaussians on a circle, a class each: m = 2 sqrt(2) (cos k pi/4, sin k pi/4), k = 0, ..., 7.

    >>> eight_gaussians(3, noise=0).x.round(3)
    array([[2.828, 0.   ], [2.   , 2.   ], [0.   , 2.828]], dtype=float32)
    """
    which, _, z = _draws(n, seed, noise, first)
    k = which % 8
    return _points(8**0.5 * _circle(k * math.pi / 4) + z, k, _COMPASS, "eight gaussians")


def checkerboard(n: int = 10_000, seed: int = 0, noise: float = 0.0, first: int = 0) -> Points:
    """Uniform on the eight black squares of a board of 4 x 4 on [-4, 4)^2. One class.

    m = (x, y) with floor(x/2) + floor(y/2) even: x = 8 u_0 - 4, y = 2 (u_1 - 2 b + floor(x/2) mod 2), b in {0, 1}.

    >>> x, y = np.floor(checkerboard(100).x.T / 2)
    >>> bool(((x + y) % 2 == 0).all())
    True
    """
    which, u, z = _draws(n, seed, noise, first)
    x = 4 * u[:, 0] - 2
    y = u[:, 1] - 2 * (u[:, 2] < 0.5) + np.floor(x) % 2
    return _points(2 * np.stack([x, y], axis=1) + z, 0 * which, ("checkerboard",), "checkerboard")


def _draws(n: int, seed: int, noise: float, first: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The points' numbers i (n,), u (n, 3) and noise times z (n, 2)."""
    n, first = whole("n", n, _MOST, start=1), whole("first", first, 2**39)
    if not isinstance(noise, Real) or isinstance(noise, bool):
        raise TypeError(f"noise must be a number, got {noise!r} ({type(noise).__name__})")
    if not 0 <= noise < math.inf:
        raise ValueError(f"noise must be a standard deviation, 0 or more, got {noise!r}")
    which = range(first, first + n)
    z = normals(seed, _NOISE, which, 1, 2)[:, 0]
    return np.asarray(which), uniforms(seed, _PLACES, which, 1, 3)[:, 0], noise * z


def _circle(angle: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _points(x: np.ndarray, labels: np.ndarray, classes: tuple[str, ...], name: str) -> Points:
    return Points(x.astype(np.float32), labels, classes, name)
