"""Random starts: x0 of path i is a function of uniforms that belong to path i alone.

    x0(i) = F^{-1}(U(seed, stream, i))        inverse transform sampling, F the distribution function

U is the noise's own construction under a key of its own (noise.START_TAG): independent of every increment, and the
same for path i whatever else is simulated.

    | x0                                          | the start                                            |
    | ------------------------------------------- | ---------------------------------------------------- |
    | scipy.stats.norm(100.0, 5.0)                | its ppf at U: anything with a method ppf or icdf     |
    | (scipy.stats.norm(100.0, 5.0), 0.04)        | entry k of the tuple at U(component k); or as it is  |
    | lambda u: 100.0 * (1.0 + u)                 | any function of one array of uniforms (paths,)       |
    | lambda u, v: (np.cos(6.28 * u), v)          | of several, dependent components: an array or tuple  |

A function must treat each path alone, as np.* and scipy.special.* do: no sorting, no mean over the paths.
"""

import inspect
import sys
from collections.abc import Callable

import numpy as np

from sdekit.noise import START_TAG, drawn, indices, uniform_pair

BLOCK = 2**16  # uniforms made at once; the numbers do not depend on it
SAMPLERS = ("rvs", "resample")  # how laws without an inverse distribution function draw


def is_random(x0) -> bool:
    """Whether x0, or an entry of it, is a law or a function."""
    if isinstance(x0, tuple):
        return any(map(is_random, x0))
    return any(hasattr(x0, name) for name in ("ppf", "icdf", *SAMPLERS)) or callable(x0)


def draw(x0, seed: int, stream: int, paths: range):
    """x0 with arrays (paths,) in place of the laws; what a function of uniforms returns is returned as it is.

    A function is given as many arrays of uniforms as it has positional parameters without a default. Raises TypeError
    for a law without ppf or icdf, and for a function that takes no uniforms.

    >>> law = lambda u, v: (u, u + v)
    >>> whole, alone = draw(law, 7, 0, range(1000)), draw(law, 7, 0, range(500, 501))
    >>> [bool((a[500:501] == b).all()) for a, b in zip(whole, alone)]
    [True, True]
    """
    def uniforms(component: int) -> np.ndarray:
        u = np.empty(len(paths))
        for begin in range(0, len(paths), BLOCK):
            rows = slice(begin, begin + BLOCK)
            key, places = indices(seed, stream, paths[rows], 1, range(component, component + 1), START_TAG)
            u[rows] = drawn(uniform_pair, key, places, 0)[:, 0, 0]
        return u

    if isinstance(x0, tuple):
        return tuple(_function(law, f"x0[{k}]", 1)[0](uniforms(k)) if is_random(law) else law
                     for k, law in enumerate(x0))
    function, count = _function(x0, "x0")
    return function(*map(uniforms, range(count)))


def is_family(given) -> bool:
    """Whether this is scipy.stats.norm, say, in place of scipy.stats.norm(); one's own may need no parameters."""
    if isinstance(given, type):
        return True
    stats = sys.modules.get("scipy.stats")
    return stats is not None and getattr(stats, str(getattr(given, "name", None)), None) is given


def _function(law, name: str, most: int | None = None) -> tuple[Callable, int]:
    """The law as a function of uniforms, and of how many."""
    if is_family(law):
        raise TypeError(f"{name} is a family of laws without its parameters, {law!r}; give one law of it, such as "
                        "scipy.stats.norm(0.0, 1.0)")
    inverse = getattr(law, "ppf", None) or getattr(law, "icdf", None)
    if inverse is not None:
        return lambda u: _inverse(inverse, u, name), 1
    if any(hasattr(law, sampler) for sampler in SAMPLERS):
        raise TypeError(f"{name} is a law without an inverse distribution function ({type(law).__name__} has no ppf), "
                        "as those of several components are; write it as a function of uniforms. For a Gaussian of "
                        "mean m and Cholesky factor L, with scipy.special.ndtri: x0=lambda u, v: (m[0] + L[0, 0] * "
                        "ndtri(u), m[1] + L[1, 0] * ndtri(u) + L[1, 1] * ndtri(v))")
    count = _uniforms_taken(law)
    if not count:
        raise TypeError(f"{name} is a function, but not of uniforms: {law!r}; it must take one or several arrays of "
                        "them, as in x0=lambda u: 100.0 * (1.0 + u)")
    if most is not None and count > most:
        raise TypeError(f"{name} is a function of {count} uniforms; in a tuple each takes one. Make the whole x0 a "
                        "function, as in x0=lambda u, v: (u, u + v)")
    return law, count


def _uniforms_taken(function: Callable) -> int:
    """The number of positional parameters without a default; 0 if there is no telling."""
    if isinstance(function, np.ufunc):
        return function.nin
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # a function of the interpreter's own
        return 0
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in positional and p.default is p.empty for p in parameters)


def _inverse(inverse: Callable, u: np.ndarray, name: str) -> np.ndarray:
    try:
        x = np.asarray(inverse(u), float)
    except (TypeError, ValueError, NotImplementedError) as error:
        raise TypeError(f"{name} is a law that does not give one number for each uniform: {error}; give a distribution "
                        "of scipy.stats with its parameters, such as gamma(2.0), or a tuple of them for a system"
                        ) from error
    if x.shape != u.shape:
        raise ValueError(f"{name} is a law whose ppf gave {x.shape} for {u.shape} uniforms; for a system give a tuple "
                         "of laws, one for each component")
    return x
