"""The same equation driven by -W: paths that come in pairs, whose errors partly cancel.

    dX = f(X, t) dt + g(X, t) dW        dX' = f(X', t) dt - g(X', t) dW        X' has the law of X

The mean over a pair has the variance (1 + rho)/2 Var phi(X), rho the correlation of phi(X) and phi(X'). It is negative
for a phi that is monotone where X is monotone in W; for an even phi of an odd X it is 1, and nothing is won
(Hammersley & Morton 1956; Glasserman 2003, section 4.2).
"""

from collections.abc import Callable
from functools import lru_cache

from sdekit.calculus import by_name, in_order
from sdekit.components import as_tuple, written
from sdekit.maths import BySize
from sdekit.sde import SDE, Stratonovich, takes


def antithetic(sde: SDE) -> SDE:
    """The SDE whose path on the noise of a seed is that of `sde` on -W: its diffusion is -g.

    A process with an exact transition keeps it, at -z. Space-time areas are those of -W too, and Levy areas are the
    same for W and -W, so every method follows the mirrored path. Parameters and calculus are those of `sde`.

    Raises TypeError for anything but an SDE, ValueError for a process whose transition is not driven by normals.

    >>> import sdekit as sk
    >>> from sdekit.antithetic import antithetic
    >>> bm = sk.BrownianMotion(mu=1.0, sigma=2.0)
    >>> up, down = (sk.simulate(e, 0.0, t=1.0, steps=4, paths=3, seed=7).final for e in (bm, antithetic(bm)))
    >>> (up + down).round(12)                                              # 2 mu t: W has cancelled
    array([2., 2., 2.])
    """
    if not isinstance(sde, SDE):
        raise TypeError(f"only an SDE has a mirrored noise, got {sde!r}; make one of two functions by SDE(drift, "
                        "diffusion)")
    if sde.transition is not None and sde.transition_draws == "P":
        raise ValueError(f"the steps of {sde!r} are not drawn from normals, so there is no -W; simulate it without "
                         "pairs, or give its drift and diffusion: SDE(drift, diffusion, ...)")
    names = tuple(sde.parameters)
    kind = _MirroredStratonovich if sde.calculus == "stratonovich" else _Mirrored
    other = kind(sde.drift, _diffusion(sde.diffusion, names), **sde.parameters)
    vars(other).update(mirrors=sde)
    if sde.transition is not None:
        vars(other).update(transition=_transition(sde.transition, names), logarithmic=sde.logarithmic,
                           transition_pathwise=sde.transition_pathwise)
    return other


class _Mirrored(SDE):
    """An SDE on -W. Its diffusion was written at run time, so it is pickled as what it mirrors."""

    mirrors: SDE

    def __reduce__(self):
        return antithetic, (self.mirrors,)

    def __repr__(self) -> str:
        return f"antithetic({self.mirrors!r})"


class _MirroredStratonovich(_Mirrored, Stratonovich):
    """The same in the sense of Stratonovich."""


# Made once for each function, so that kernels that were compiled for it serve again.

@lru_cache(maxsize=256)
def _diffusion(diffusion: Callable, names: tuple[str, ...]) -> Callable:
    taken = tuple(k for k in names if k in takes(diffusion))
    inner = written("x, t, p", "return negative(g(x, t, p))", g=in_order(diffusion, taken), negative=negative)
    return by_name(inner, taken)


@lru_cache(maxsize=256)
def _transition(transition: Callable, names: tuple[str, ...]) -> Callable:
    taken = [k for k in takes(transition, 4) if k in names]
    named = "".join(f", {k}={k}" for k in taken)
    return written(", ".join(["_x", "_t", "_h", "_z", *taken]), f"return _law(_x, _t, _h, _negative(_z){named})",
                   _law=transition, _negative=negative)


def _negative(size: tuple | None) -> Callable:
    def entry(place: str, size: tuple | None) -> str:
        return f"-{place}" if size is None else as_tuple(entry(f"{place}[{i}]", s) for i, s in enumerate(size))

    return written("g", f"return {entry('g', size)}")


#: -g of a number, an array or a tensor, of a tuple or a tuple of tuples of them.
negative = BySize(_negative)
