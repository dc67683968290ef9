"""Whether a method fits an equation: its calculus, its noise; and what to do where it does not."""

from sdekit.kinds import array_kind, fits, noise_kind
from sdekit.methods import Method
from sdekit.sde import SDE, Structure

WORDS = {"additive": "noise that does not depend on the state", "diagonal": "one noise, or one for each component",
         "commutative": "noise that commutes"}
OTHERS = {("additive", "ito"): "sri, milstein or euler_maruyama", ("diagonal", "ito"): "milstein or strong_general",
          ("commutative", "ito"): "strong_general", ("additive", "stratonovich"): "heun_stratonovich",
          ("diagonal", "stratonovich"): "heun_stratonovich", ("commutative", "stratonovich"): "milstein_stratonovich"}


def fitted(method: Method, sde: SDE, x0, t0: float, t1: float, shape: Structure) -> tuple[Method, str]:
    """The method, or what it takes in its place for noise that does not commute; and the kind of the noise, "general"
    where the method need not know. x0 is one state: a number, a tuple of them, or one array (1, ...).

    Raises ValueError where calculus or noise do not fit.
    """
    foreign = method.calculus not in ("any", sde.calculus)
    alone = hasattr(x0, "shape") and x0.ndim > 0 and (
        method.noise != "general" or len(method.draws) > 1 or "converted_from" in vars(sde))
    if method.noise == "general" and not foreign and not alone:
        return method, "general"
    kind = _kind(sde, x0, t0, t1, shape)
    if alone and kind == "general":
        what = f"an equation made by to_{sde.calculus}" if "converted_from" in vars(sde) else method
        raise ValueError(f"{what} takes, on a state that is one array, a diffusion that acts element by element, and "
                         "this one mixes elements; give the state as a tuple of components, or use "
                         f"{'euler_maruyama' if sde.calculus == 'ito' else 'heun_stratonovich'}")
    if foreign and kind != "additive":
        ours = {"ito": "Ito", "stratonovich": "Stratonovich"}
        raise ValueError(f"{method} is for equations in the sense of {ours[method.calculus]}, and this one is in that "
                         f"of {ours[sde.calculus]}: give sdekit.to_{method.calculus}(sde)")
    if not fits(method.noise, kind, shape):
        if method.general is not None:
            return method.general, kind
        got = f"a {shape.dim} x {shape.noises} matrix" if not shape.diagonal and shape.noises > 1 else f"{kind} noise"
        raise ValueError(f"{method} takes {WORDS[method.noise]}, but this SDE has {got}"
                         f"{'' if kind in got else f' of the {kind} kind'}; use "
                         f"{OTHERS[method.noise, sde.calculus]}")
    return method, kind


def adaptive_fit(method: Method | None, sde: SDE, x0, t0: float, t1: float, shape: Structure) -> tuple[Method, str]:
    """The same for steps of each path's own length, which a method of strong order 1 allows: its error over a cell is
    told by halving it. None: the one for this kind of noise."""
    kind = _kind(sde, x0, t0, t1, shape)
    if method is None and not fits("commutative", kind, shape):
        raise ValueError("no method takes adaptive steps on noise that does not commute, whose Levy areas every cell "
                         "would need; use fixed steps (leave out rtol and atol), as by strong_general")
    if method is None:
        method = _own_choice(sde.calculus, kind, shape)
    method, _ = fitted(method, sde, x0, t0, t1, shape)
    strong = max(method.strong or 0.0, (method.commutative or 0.0) if kind != "general" else 0.0)
    if strong < 1.0 or len(method.draws) == 3 or method.memory:
        why = ("needs the Levy areas of every cell" if len(method.draws) == 3 else "carries more than the state"
               if method.memory else f"has no error estimate that could be trusted: it is of strong order {strong:g} "
               f"for {kind} noise, and below 1 adaptive steps can converge to something else"
               if method.strong else "follows the law, not the path")
        raise ValueError(f"{method} takes no adaptive steps: it {why}. Use " + (
            "fixed steps (leave out rtol and atol), as by strong_general" if kind == "general" else
            f"method={_own_choice(sde.calculus, kind, shape)}, or fixed steps"))
    return method, kind


def _kind(sde: SDE, x0, t0: float, t1: float, shape: Structure) -> str:
    return array_kind(sde, x0, t0) if hasattr(x0, "shape") and x0.ndim > 0 else noise_kind(sde, x0, t0, t1, shape)


def _own_choice(calculus: str, kind: str, shape: Structure) -> Method:
    if calculus == "stratonovich":
        from sdekit.stratonovich import heun_stratonovich
        return heun_stratonovich
    if kind == "additive":
        from sdekit.runge_kutta import sra
        return sra
    if fits("diagonal", kind, shape):
        from sdekit.runge_kutta import sri
        return sri
    from sdekit.milstein import milstein
    return milstein
